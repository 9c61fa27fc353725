import { choose, type Choice, type CodecSets, LineCodec, preferCodec } from "./codecs.js";
import { EVERYTHING, NOTHING, type Sending, sendEncodings, sending, type Wanted } from "./encodings.js";
import { SwitchyardError } from "./errors.js";
import { LocalTrack } from "./local.js";
import type { Backup, ParticipantId, Source, TrackId, VideoCodec } from "./protocol.js";
import { type ConnectionQuality, GOOD } from "./remote.js";
import { kindOf } from "./track.js";

/** What publishing needs of the room. */
export interface PublishingRoom {
  /** The peer connection; null while the room is being joined again, throws `not_connected` before and after. */
  connection(): RTCPeerConnection | null;
  /** Waits until an m-line is negotiated as it is wanted, and makes an offer for it only if none does, or if it is wanted `otherwise` than it was. */
  negotiated(transceiver: RTCRtpTransceiver, otherwise?: boolean): Promise<void>;
  /** Makes a track known to the others. */
  publish(mid: string, source: Source, muted: boolean): Promise<TrackId>;
  /** Tells on which m-line a track is sent in another codec as well; undefined: on none. */
  backUp(track: TrackId, backup: Backup | undefined): Promise<unknown>;
  /** Withdraws a track. */
  unpublish(track: TrackId): Promise<unknown>;
  /** Tells whether a track is muted. */
  mute(track: TrackId, muted: boolean): Promise<unknown>;
  /** What is published changed, or whether it is muted. */
  changed(): void;
  /** Something failed that no caller waits for. */
  failed(error: SwitchyardError): void;
}

interface Publication {
  readonly track: LocalTrack;
  /** What sends it; null while the room is being joined again. */
  transceiver: RTCRtpTransceiver | null;
  /** From the server; undefined while the track is not announced. */
  id: TrackId | undefined;
  /** It was announced, in this session or in one before. */
  announced: boolean;
  /** The one that the server knows it by. */
  announcedOn: RTCRtpTransceiver | null;
  /** What the server was told last. */
  muted: boolean;
  /** What sends it in another codec as well, and what the server was told of that; null while none does. */
  backup: { readonly transceiver: RTCRtpTransceiver; readonly choice: Choice } | null;
  /** Whenever what was wanted last has been carried out. */
  applied: Promise<void>;
  /** Stops following the track. */
  release(): void;
}

/**
 * This client's participant and what it publishes: at most one track of each source.
 *
 * Each source has a sending m-line of its own. Those of microphone and camera are there from the first offer on, with
 * every codec, so that turning them on costs no negotiation. An m-line that is no longer needed turns inactive and is
 * used again; transceivers are never stopped, because the browser would give their m-line another mid.
 */
export class LocalParticipant {
  /** Who this is to the others; undefined before the room is joined. */
  id: ParticipantId | undefined;
  /** The display name. */
  name = "";
  /** How good the connection with the server is. */
  connection: ConnectionQuality = GOOD;
  readonly #room: PublishingRoom;
  readonly #publications = new Map<Source, Publication>();
  readonly #transceivers = new Map<Source, RTCRtpTransceiver>();
  /** Those of second codecs, and the codec they are negotiated with. */
  readonly #backups = new Map<Source, { readonly transceiver: RTCRtpTransceiver; readonly codec: VideoCodec }>();
  readonly #codecs = new WeakMap<RTCRtpTransceiver, LineCodec>();
  /** What the server said of tracks of this session's. */
  readonly #wanted = new Map<TrackId, Wanted>();
  readonly #decoded = new Map<TrackId, CodecSets>();
  #preferredCodec: VideoCodec | null = null;
  #backupCodec: VideoCodec | null = null;
  /** Publishing and withdrawing, one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  /** @internal */
  constructor(room: PublishingRoom) {
    this.#room = room;
  }

  /** What is published, by source. */
  get tracks(): ReadonlyMap<Source, LocalTrack> {
    return new Map([...this.#publications].map(([source, { track }]) => [source, track]));
  }

  /** The published track of a source. */
  track(source: Source): LocalTrack | undefined {
    return this.#publications.get(source)?.track;
  }

  /** The id by which the others know a published track, once it is announced. */
  trackId(track: LocalTrack): TrackId | undefined {
    const publication = this.#publications.get(track.source);
    return publication?.track === track ? publication.id : undefined;
  }

  /** What sends a published track: for `getStats`. */
  sender(track: LocalTrack): RTCRtpSender | undefined {
    const publication = this.#publications.get(track.source);
    return publication?.track === track ? publication.transceiver?.sender : undefined;
  }

  /**
   * Sends video in this codec as long as everybody who may receive it decodes that; otherwise in one that all do. Null, which holds unless this is called or
   * {@link ConnectOptions.codec} says something else: in the one that is negotiated first, VP8 as a rule.
   *
   * With `backup` it is sent in this codec as long as anybody decodes it, and once more in that one while somebody needs it, which takes as much again of
   * the device and its line. Without it that is done only where no codec is decoded by all.
   */
  preferCodec(codec: VideoCodec | null, backup: VideoCodec | null = null): void {
    this.#preferredCodec = codec;
    this.#backupCodec = backup;
    for (const publication of this.#publications.values()) void this.#apply(publication);
  }

  /**
   * Publishes a track; resolves when the room knows it. One that is muted and has had no media yet is announced when it
   * is unmuted for the first time: nobody has to hear of a camera that was never on. While the room is being joined again
   * it resolves at once, and the track is announced afterwards.
   */
  publish(track: LocalTrack): Promise<void> {
    return this.#next(() => this.#publish([track]));
  }

  /** Withdraws a track. Its media goes on: {@link LocalTrack.stop} ends it. */
  unpublish(track: LocalTrack): Promise<void> {
    return this.#next(() => this.#unpublish([track]));
  }

  /**
   * Asks the user for a screen, a window or a tab and publishes it, with its sound where the browser has it. It ends with
   * {@link stopSharing}, or when the user ends it by the browser's own control.
   */
  async shareScreen(): Promise<void> {
    const tracks = await LocalTrack.screen();
    for (const track of tracks) {
      if (track.source === "screen") track.on("ended", () => void this.stopSharing());
    }
    try {
      await this.#next(() => this.#publish(tracks));
    } catch (cause) {
      for (const track of tracks) track.stop();
      throw cause;
    }
  }

  /** Ends the sharing of the screen and of its sound. */
  stopSharing(): Promise<void> {
    const tracks = [this.track("screen"), this.track("screen_audio")].filter((track) => track !== undefined);
    for (const track of tracks) {
      this.#publications.get(track.source)?.release();
      track.stop();
    }
    return this.#next(() => this.#unpublish(tracks));
  }

  /** @internal Adds the m-lines of microphone and camera, and of whatever else is published, to a fresh connection. */
  connect(): void {
    this.#transceiver("microphone");
    this.#transceiver("camera");
    for (const publication of this.#publications.values()) {
      publication.transceiver = this.#transceiver(publication.track.source);
      void this.#next(() => this.#renew(publication));
    }
  }

  /** @internal Another connection has taken the place of the one before, in the same session. */
  renew(): void {
    this.#forgetLines();
    this.connect();
  }

  /** @internal The connection is gone. What is published goes on in the next one. */
  disconnect(): void {
    this.#forgetLines();
    this.#wanted.clear();
    this.#decoded.clear();
    for (const publication of this.#publications.values()) {
      publication.transceiver = null;
      publication.id = undefined;
    }
  }

  /** @internal How large others are shown a track at most: what nobody is shown is not sent. */
  setWanted(track: TrackId, { width, height }: Wanted): void {
    this.#wanted.set(track, { width, height });
    this.#follow(track);
  }

  /** @internal What those decode who may receive a track: it is sent in what all do. */
  setDecoded(track: TrackId, sets: CodecSets): void {
    this.#decoded.set(track, sets);
    this.#follow(track);
  }

  /** @internal The server has muted a track for a moderator; which one it is, if there is such a one. */
  async muteFromAfar(id: TrackId): Promise<LocalTrack | null> {
    const publication = [...this.#publications.values()].find((each) => each.id === id);
    if (!publication) return null;
    // The server knows already.
    publication.muted = true;
    await publication.track.setMuted(true);
    return publication.track;
  }

  /** @internal The server has ended what is of none of these sources; the tracks that are stopped with it. */
  revoke(granted: readonly Source[]): LocalTrack[] {
    const ended = [...this.#publications.values()].filter(({ track }) => !granted.includes(track.source));
    for (const publication of ended) {
      // The server knows already.
      publication.id = undefined;
      publication.release();
      publication.track.stop();
    }
    const tracks = ended.map(({ track }) => track);
    if (tracks.length > 0) void this.#next(() => this.#unpublish(tracks));
    return tracks;
  }

  /** @internal Stops following the tracks: the room is left. */
  close(): void {
    for (const publication of this.#publications.values()) publication.release();
  }

  #forgetLines(): void {
    this.#transceivers.clear();
    this.#backups.clear();
    for (const publication of this.#publications.values()) publication.backup = null;
  }

  #next(operation: () => Promise<void>): Promise<void> {
    const done = this.#last.then(operation);
    this.#last = done.catch(() => {});
    return done;
  }

  /** What the server said of a track is carried out. */
  #follow(track: TrackId): void {
    for (const publication of this.#publications.values()) {
      if (publication.id === track) void this.#apply(publication);
    }
  }

  /** The m-line of a source; null without a connection. */
  #transceiver(source: Source): RTCRtpTransceiver | null {
    if (!this.#room.connection()) return null;
    const known = this.#transceivers.get(source);
    if (known) {
      known.direction = "sendonly";
      return known;
    }
    const transceiver = this.#add(source);
    if (transceiver) this.#transceivers.set(source, transceiver);
    return transceiver;
  }

  /** Another m-line for a source. */
  #add(source: Source): RTCRtpTransceiver | null {
    const encodings = sendEncodings(source);
    const connection = this.#room.connection();
    if (!connection) return null;
    return connection.addTransceiver(kindOf(source), {
      direction: "sendonly",
      ...(encodings ? { sendEncodings: encodings } : {}),
    });
  }

  /** All or none. */
  async #publish(tracks: readonly LocalTrack[]): Promise<void> {
    const taken = tracks.find(({ source }) => this.#publications.has(source));
    if (taken) {
      throw new SwitchyardError("already_published", `A track of the source "${taken.source}" is published already.`);
    }
    const connection = this.#connection();
    try {
      const publications = tracks.map((track) => this.#start(track));
      for (const { transceiver, track } of publications) await transceiver?.sender.replaceTrack(track.mediaStreamTrack);
      for (const publication of publications) {
        if (publication.track.mediaStreamTrack) await this.#announce(publication);
      }
    } catch (cause) {
      if (!this.#outlived(connection)) {
        await this.#unpublish(tracks);
        throw SwitchyardError.from(cause, "negotiation_failed");
      }
    }
    this.#room.changed();
  }

  /** Publishes in a fresh connection what was published in the one before. */
  async #renew(publication: Publication): Promise<void> {
    const { track, transceiver } = publication;
    if (!transceiver || this.#publications.get(track.source) !== publication) return;
    const connection = this.#connection();
    try {
      await transceiver.sender.replaceTrack(track.mediaStreamTrack);
      if (publication.announced || track.mediaStreamTrack) await this.#announce(publication);
    } catch (cause) {
      if (!this.#outlived(connection)) this.#fail(cause);
    }
    this.#room.changed();
  }

  /** The connection as {@link PublishingRoom.connection} has it; undefined if the room is not joined. */
  #connection(): RTCPeerConnection | null | undefined {
    try {
      return this.#room.connection();
    } catch {
      return undefined;
    }
  }

  /** Whether the room goes on without this connection. */
  #outlived(connection: RTCPeerConnection | null | undefined): boolean {
    const current = this.#connection();
    return current !== undefined && current !== connection;
  }

  #start(track: LocalTrack): Publication {
    const stops = [
      track.on("mediaChanged", () => void this.#replaceMedia(publication)),
      track.on("mutedChanged", () => void this.#tellMuted(publication)),
    ];
    const publication: Publication = {
      track,
      transceiver: this.#transceiver(track.source),
      id: undefined,
      announced: false,
      announcedOn: null,
      muted: true,
      backup: null,
      applied: Promise.resolve(),
      release: () => stops.forEach((stop) => stop()),
    };
    this.#publications.set(track.source, publication);
    return publication;
  }

  async #announce(publication: Publication): Promise<void> {
    const { track, transceiver } = publication;
    if (!transceiver || publication.announcedOn === transceiver) return;
    // A new m-line has its final mid when it is negotiated, not when it is first offered: an offer may be rolled back.
    await this.#room.negotiated(transceiver);
    // Another connection has taken the place of this one, and announces it.
    if (publication.transceiver !== transceiver) return;
    if (transceiver.mid === null) {
      throw new SwitchyardError("negotiation_failed", "What is to be sent could not be negotiated.", {
        retryable: true,
      });
    }
    await this.#apply(publication);
    const muted = track.muted;
    publication.id = await this.#room.publish(transceiver.mid, track.source, muted);
    publication.announced = true;
    publication.announcedOn = transceiver;
    publication.muted = muted;
    await this.#apply(publication);
    await this.#tellMuted(publication);
  }

  /** Has a track sent as it was said last, and as the picture's size has it; one change after the other. */
  #apply(publication: Publication): Promise<void> {
    publication.applied = publication.applied.then(async () => {
      const { track, transceiver } = publication;
      if (!transceiver || track.kind !== "video") return;
      // It may be overtaken by a negotiation or another track, after which it is done again; or the connection is gone.
      const overtaken = () => {};
      for (const each of [transceiver, publication.backup?.transceiver])
        if (each) await this.#applyWanted(publication, each).catch(overtaken);
      await this.#applyCodec(publication, transceiver).catch(overtaken);
    });
    return publication.applied;
  }

  async #applyWanted({ track, id }: Publication, { sender }: RTCRtpTransceiver): Promise<void> {
    if (id === undefined) return;
    const parameters = sender.getParameters();
    const capture = track.mediaStreamTrack?.getSettings() ?? {};
    // Without a picture Firefox goes on with black ones, and with as much padding as the encodings would take.
    const wanted = track.mediaStreamTrack ? (this.#wanted.get(id) ?? EVERYTHING) : NOTHING;
    const changes = sending(track.source, parameters.encodings.length, capture, wanted);
    const same = (encoding: RTCRtpEncodingParameters, change: Sending) =>
      encoding.active === change.active &&
      encoding.maxBitrate === change.maxBitrate &&
      (encoding.scaleResolutionDownBy ?? 1) === change.scaleResolutionDownBy;
    if (parameters.encodings.every((encoding, at) => same(encoding, changes[at]!))) return;
    parameters.encodings.forEach((encoding, at) => Object.assign(encoding, changes[at]));
    await sender.setParameters(parameters);
  }

  /** What is said of the track counts from the moment that it is announced; what is preferred before that as well. */
  async #applyCodec(publication: Publication, transceiver: RTCRtpTransceiver): Promise<void> {
    const { id } = publication;
    const line = this.#codecs.get(transceiver) ?? new LineCodec(transceiver);
    this.#codecs.set(transceiver, line);
    const { usable } = line;
    const preferred = usable.filter((codec) => codec === this.#preferredCodec);
    const sets = (id !== undefined && this.#decoded.get(id)) || [];
    const choice = choose(sets, [...preferred, ...usable], this.#backupCodec);
    if (!choice) return;
    if (await line.use(choice.codec)) void this.#room.negotiated(transceiver, true);
    if (id !== undefined) await this.#backUp(publication, id, choice);
  }

  /** Has a track sent once more, as others need it. */
  async #backUp(publication: Publication, id: TrackId, choice: Choice): Promise<void> {
    const { backup, transceiver: own, track } = publication;
    if (!choice.backup) {
      if (!backup) return;
      publication.backup = null;
      await this.#room.backUp(id, undefined).finally(() => this.#rest(backup.transceiver));
      return;
    }
    if (backup?.choice.codec === choice.codec && backup.choice.backup === choice.backup) return;
    const known = this.#backups.get(track.source);
    const transceiver = known?.transceiver ?? this.#add(track.source);
    if (!transceiver) return;
    publication.backup = { transceiver, choice };
    try {
      await transceiver.sender.replaceTrack(track.mediaStreamTrack);
      if (known?.codec !== choice.backup) {
        this.#backups.set(track.source, { transceiver, codec: choice.backup });
        preferCodec(transceiver, choice.backup);
        await this.#room.negotiated(transceiver, true);
        // Another connection has taken the place of this one, which has no backup yet.
        if (publication.transceiver !== own) return;
      }
      await this.#applyWanted(publication, transceiver);
      const { mid } = transceiver;
      if (mid !== null) await this.#room.backUp(id, { mid, codec: choice.backup, instead_of: choice.codec });
    } catch (cause) {
      // What was not done is done with the next change.
      if (publication.backup?.transceiver === transceiver) publication.backup = backup;
      throw cause;
    }
  }

  /**
   * An m-line sends nothing for now. Its direction stays: Chromium does not say again which encoding is which on one that
   * was inactive.
   */
  async #rest({ sender }: RTCRtpTransceiver): Promise<void> {
    await sender.replaceTrack(null);
    const parameters = sender.getParameters();
    for (const encoding of parameters.encodings) encoding.active = false;
    await sender.setParameters(parameters);
  }

  async #unpublish(tracks: readonly LocalTrack[]): Promise<void> {
    const withdrawn = tracks
      .map(({ source }) => this.#publications.get(source))
      .filter((publication) => publication !== undefined)
      .filter(({ track }) => tracks.includes(track));
    const connection = this.#connection();
    try {
      for (const { track, transceiver, id, release } of withdrawn) {
        release();
        this.#publications.delete(track.source);
        if (id !== undefined) {
          this.#wanted.delete(id);
          this.#decoded.delete(id);
        }
        const spare = track.source === "screen" || track.source === "screen_audio";
        if (spare && transceiver) transceiver.direction = "inactive";
      }
      this.#room.changed();
      for (const { transceiver } of withdrawn) await transceiver?.sender.replaceTrack(null);
      await Promise.all(withdrawn.map(({ id }) => (id === undefined ? null : this.#room.unpublish(id))));
      for (const { transceiver } of withdrawn) {
        if (transceiver) await this.#room.negotiated(transceiver);
      }
      for (const publication of withdrawn) {
        await publication.applied;
        if (publication.backup) await this.#rest(publication.backup.transceiver);
      }
    } catch (cause) {
      if (!this.#outlived(connection)) this.#fail(cause);
    }
  }

  async #replaceMedia(publication: Publication): Promise<void> {
    const { track, transceiver } = publication;
    try {
      await transceiver?.sender.replaceTrack(track.mediaStreamTrack);
      await publication.backup?.transceiver.sender.replaceTrack(track.mediaStreamTrack);
      await this.#apply(publication);
    } catch (cause) {
      if (publication.transceiver === transceiver) this.#fail(cause);
    }
    this.#room.changed();
  }

  async #tellMuted(publication: Publication): Promise<void> {
    const { track, id } = publication;
    try {
      if (id !== undefined && publication.muted !== track.muted) {
        publication.muted = track.muted;
        await this.#room.mute(id, track.muted);
      } else if (id === undefined && !track.muted) {
        await this.#next(async () => {
          const wanted = this.#publications.get(track.source) === publication;
          if (wanted && publication.id === undefined) await this.#announce(publication);
        });
      }
    } catch (cause) {
      this.#fail(cause);
    }
    this.#room.changed();
  }

  #fail(cause: unknown): void {
    const error = SwitchyardError.from(cause, "negotiation_failed");
    if (error.code !== "not_connected" && error.code !== "connection_lost") this.#room.failed(error);
  }
}
