import type {
  Participant as ParticipantInfo,
  ParticipantId,
  Quality,
  Reception,
  Source,
  Track as TrackInfo,
  TrackId,
} from "./protocol.js";
import { Track } from "./track.js";

/** What a remote track asks of its room. */
export interface Subscriptions {
  /** A video track is shown in an element. */
  attached(track: RemoteTrack, element: HTMLMediaElement): void;
  /** An element shows nothing any more. */
  detached(element: HTMLMediaElement): void;
  /** Whether a track is to come before others. */
  pin(track: TrackId, pinned: boolean): void;
  /** Whether a track is in sight. */
  shows(track: TrackId): boolean;
  request(
    request: { type: "subscribe" | "unsubscribe"; track: TrackId } | { type: "pause"; track: TrackId; paused: boolean },
  ): Promise<unknown>;
}

/** How good somebody's connection with the server is, and what that comes from. */
export interface ConnectionQuality {
  /** `lost`: nothing has been heard of them for some seconds. */
  readonly quality: Quality;
  /** Packets lost in the worse direction, before anything is sent again, in percent. */
  readonly loss: number;
  /** Milliseconds. */
  readonly roundTrip: number;
  /** Of the worst sound, in milliseconds. */
  readonly jitter: number;
}

/** What holds until the server says something else. */
export const GOOD: ConnectionQuality = { quality: "good", loss: 0, roundTrip: 0, jitter: 0 };

/** A track that somebody else publishes. */
export class RemoteTrack extends Track {
  /** Unique in the room, never reused. */
  readonly id: TrackId;
  /** Whose it is. */
  readonly participant: RemoteParticipant;
  readonly #subscriptions: Subscriptions;
  #receiver: RTCRtpReceiver | null = null;
  #paused = false;
  #pinned = false;
  #reception: Reception = "full";
  #level = 0;
  #heard = 0;

  /** @internal */
  constructor(info: TrackInfo, participant: RemoteParticipant, subscriptions: Subscriptions) {
    super(info.source, info.muted);
    this.id = info.id;
    this.participant = participant;
    this.#subscriptions = subscriptions;
  }

  /** What receives it at the moment: for `getStats`. */
  get receiver(): RTCRtpReceiver | null {
    return this.#receiver;
  }

  /**
   * How much of a video track this client gets: as much as it shows, or all there is (`full`); less (`reduced`) or nothing
   * (`paused`), because its line carries no more; or nothing, because this browser knows no codec that it comes in (`undecodable`).
   */
  get reception(): Reception {
    return this.#reception;
  }

  /** Whether {@link setPaused} has stopped it here. */
  get paused(): boolean {
    return this.#paused;
  }

  /** How loud an audio track is, from 0 to 1: meant to be asked several times a second, and smoothed over those calls. */
  get audioLevel(): number {
    if (this.kind === "video" || this.muted) return (this.#level = 0);
    let level = 0;
    for (const { timestamp, audioLevel } of this.#receiver?.getSynchronizationSources() ?? []) {
      // Browsers remember a source for ten seconds: only what was heard since the last call counts.
      if (timestamp > this.#heard) level = Math.max(level, audioLevel ?? 0);
      this.#heard = Math.max(this.#heard, timestamp);
    }
    this.#level = Math.max(level, this.#level * 0.6);
    return this.#level;
  }

  /**
   * Whether the server was asked to send it: a video track that is attached to nothing in sight isn't sent. Of a page that
   * attaches nothing at all, every track is.
   */
  get wanted(): boolean {
    return !this.#paused && (this.kind === "audio" || this.#subscriptions.shows(this.id));
  }

  /** Whether {@link setPinned} has put it before others. */
  get pinned(): boolean {
    return this.#pinned;
  }

  /** Puts the track before others where not everything that is shown can be sent, or no longer. */
  setPinned(pinned: boolean): void {
    this.#pinned = pinned;
    this.#subscriptions.pin(this.id, pinned);
  }

  override attach(element: HTMLMediaElement): void {
    super.attach(element);
    if (this.kind === "video") this.#subscriptions.attached(this, element);
  }

  override detach(element?: HTMLMediaElement): void {
    for (const each of element ? [element] : this.elements) this.#subscriptions.detached(each);
    super.detach(element);
  }

  /** Receives the track again after {@link unsubscribe}. New tracks are subscribed by themselves. */
  async subscribe(): Promise<void> {
    await this.#subscriptions.request({ type: "subscribe", track: this.id });
  }

  /** Stops receiving the track and gives up its slot. */
  async unsubscribe(): Promise<void> {
    await this.#subscriptions.request({ type: "unsubscribe", track: this.id });
  }

  /** Stops receiving the track for a while but keeps its slot, or goes on. */
  async setPaused(paused: boolean): Promise<void> {
    await this.#subscriptions.request({ type: "pause", track: this.id, paused });
    this.#paused = paused;
  }

  /** @internal Whether that is new. */
  updateReception(reception: Reception): boolean {
    const changed = this.#reception !== reception;
    this.#reception = reception;
    return changed;
  }

  /** @internal */
  bind(receiver: RTCRtpReceiver | null): void {
    // Of what another m-line carries nothing was said yet.
    if (receiver !== this.#receiver) this.#reception = "full";
    this.#receiver = receiver;
    this.setMedia(receiver?.track ?? null);
  }

  /** @internal */
  updateMuted(muted: boolean): void {
    this.markMuted(muted);
  }
}

/** Somebody else in the room. */
export class RemoteParticipant {
  /** Unique in the room, never reused. */
  readonly id: ParticipantId;
  /** The display name: text by a stranger, never to be used as HTML. */
  name: string;
  /** Who their access token says that they are; null where there is no access control. Several participants may have the same. */
  readonly identity: string | null;
  /** How good their connection is: what others see and hear of them depends on it. */
  connection: ConnectionQuality = GOOD;
  /** What they publish. */
  readonly tracks: ReadonlyMap<TrackId, RemoteTrack>;
  readonly #tracks = new Map<TrackId, RemoteTrack>();
  readonly #subscriptions: Subscriptions;

  /** @internal */
  constructor(info: ParticipantInfo, subscriptions: Subscriptions) {
    this.id = info.id;
    this.name = info.name;
    this.identity = info.identity ?? null;
    this.tracks = this.#tracks;
    this.#subscriptions = subscriptions;
    for (const track of info.tracks) this.addTrack(track);
  }

  /** The track of a source, if they publish one. */
  track(source: Source): RemoteTrack | undefined {
    return [...this.#tracks.values()].find((track) => track.source === source);
  }

  /** @internal */
  addTrack(info: TrackInfo): RemoteTrack {
    const track = new RemoteTrack(info, this, this.#subscriptions);
    this.#tracks.set(info.id, track);
    return track;
  }

  /** @internal */
  removeTrack(id: TrackId): RemoteTrack | undefined {
    const track = this.#tracks.get(id);
    this.#tracks.delete(id);
    track?.bind(null);
    track?.detach();
    return track;
  }
}
