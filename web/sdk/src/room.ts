import { type DataPayload, packData, unpackData } from "./data.js";
import { Emitter } from "./emitter.js";
import type { Encoding } from "./encoding.js";
import { SwitchyardError } from "./errors.js";
import type { LocalTrack } from "./local.js";
import { Negotiator } from "./negotiation.js";
import { LocalParticipant } from "./participant.js";
import type { ChatMessage, Event, Joined, LeaveReason, Limits, ParticipantId, Request, TrackId } from "./protocol.js";
import { Recovery } from "./recovery.js";
import { RemoteParticipant, type RemoteTrack } from "./remote.js";
import { type OpenSocket, type ReplyTo, Signaling } from "./signaling.js";
import { Slots } from "./slots.js";

/** The label of the data channel. */
const CHANNEL = "switchyard";
/** Bytes that may wait in the data channel: sixteen of its largest messages. */
const MAX_BUFFERED = 1024 * 1024;
/** Bytes of payload that the server relays in one message. */
const MAX_DATA = 64 * 1024;
/** Events that may come before the reply to `join`; the server sends none. */
const MAX_EARLY = 256;

/**
 * Where a room is in its life. `reconnecting`: signaling is up but the media connection is not, and is being repaired.
 * `disconnected` is final: another room object joins again.
 */
export type RoomState = "new" | "connecting" | "connected" | "reconnecting" | "disconnected";

/** How to join. */
export interface ConnectOptions {
  /** The room's id: 1 to 64 letters, digits, `-`, `_`, `.`. */
  room: string;
  /** The name others see: 1 to 64 characters. */
  name: string;
  /** How messages are written; `json` unless told otherwise. */
  encoding?: Encoding;
  /** Published from the beginning on. */
  tracks?: readonly LocalTrack[];
}

/** The events of {@link Room}. */
export interface RoomEvents {
  /** The room's state is another one. */
  stateChanged: [state: RoomState];
  /** The room is left: by {@link Room.leave} if there is no error. Comes once, last. */
  disconnected: [error: SwitchyardError | null];
  /** Somebody entered. */
  participantJoined: [participant: RemoteParticipant];
  /** Somebody left; their tracks are gone. */
  participantLeft: [participant: RemoteParticipant, reason: LeaveReason];
  /** Somebody's name is another one. */
  participantChanged: [participant: RemoteParticipant];
  /** Somebody publishes a track. */
  trackPublished: [track: RemoteTrack];
  /** A track is gone. */
  trackUnpublished: [track: RemoteTrack];
  /** A track was muted or unmuted. */
  trackMuted: [track: RemoteTrack];
  /** A track's `mediaStreamTrack` is another one: its first one, another slot's, none. */
  trackMediaChanged: [track: RemoteTrack];
  /** What this participant publishes changed, or whether it is muted. */
  localTracksChanged: [];
  /** Somebody, perhaps this participant, said something. */
  chat: [message: ChatMessage];
  /** A message of another participant on the data channel. */
  data: [payload: DataPayload, from: ParticipantId];
  /** The data channel can be used, or no longer. */
  dataChanged: [open: boolean];
  /** The browser refuses to play what was attached (until {@link Room.resumePlayback}), or no longer. */
  playbackChanged: [blocked: boolean];
  /** Something failed that no call is waiting for; the room goes on. */
  error: [error: SwitchyardError];
}

/** A room: joins it, tells who is there and what they publish, and holds the peer connection. */
export class Room extends Emitter<RoomEvents> {
  /** This client's participant. */
  readonly localParticipant: LocalParticipant;
  /** Everybody else. */
  readonly participants: ReadonlyMap<ParticipantId, RemoteParticipant>;
  readonly #participants = new Map<ParticipantId, RemoteParticipant>();
  readonly #tracks = new Map<TrackId, RemoteTrack>();
  readonly #slots = new Slots();
  readonly #openSocket: OpenSocket | undefined;
  #state: RoomState = "new";
  #joined: Joined | null = null;
  /** What came before the reply to `join`. */
  #early: Event[] = [];
  #signaling: Signaling | null = null;
  #connection: RTCPeerConnection | null = null;
  #channel: RTCDataChannel | null = null;
  #negotiator: Negotiator | null = null;
  #recovery: Recovery | null = null;
  /** Candidates gathered before the offer that they belong to was sent. */
  #candidates: (RTCIceCandidate | null)[] | null = [];
  #playbackBlocked = false;
  #left = false;
  /** Why the latest negotiation failed. */
  #failure: SwitchyardError | null = null;

  /** `openSocket` replaces the browser's WebSocket, for tests. */
  constructor(openSocket?: OpenSocket) {
    super();
    this.#openSocket = openSocket;
    this.participants = this.#participants;
    this.localParticipant = new LocalParticipant({
      connection: () => this.#needConnection(),
      negotiated: async (transceiver) => {
        await this.#negotiator?.settled();
        if (transceiver.currentDirection === transceiver.direction) return;
        this.#negotiator?.negotiate();
        await this.#negotiator?.settled();
      },
      publish: async (mid, source, muted) => (await this.#request({ type: "publish", mid, source, muted })).track,
      unpublish: (track) => this.#request({ type: "unpublish", track }),
      mute: (track, muted) => this.#request({ type: "mute", track, muted }),
      changed: () => this.emit("localTracksChanged"),
      failed: (error) => this.emit("error", error),
    });
  }

  /** Where the room is in its life. */
  get state(): RoomState {
    return this.#state;
  }

  /** The room's id, once joined. */
  get id(): string | null {
    return this.#joined?.room ?? null;
  }

  /** What the server accepts, once joined. */
  get limits(): Limits | null {
    return this.#joined?.limits ?? null;
  }

  /** The peer connection, once joined: for `getStats`. Its descriptions belong to the room. */
  get peerConnection(): RTCPeerConnection | null {
    return this.#connection;
  }

  /** Whether {@link sendData} can be used. */
  get dataOpen(): boolean {
    return this.#channel?.readyState === "open";
  }

  /** Whether the browser refuses to play something until the user clicks. */
  get playbackBlocked(): boolean {
    return this.#playbackBlocked;
  }

  /** The track that has an id, if somebody else publishes it. */
  track(id: TrackId): RemoteTrack | undefined {
    return this.#tracks.get(id);
  }

  /** The m-line that carries a track at the moment, if one does. */
  mid(track: RemoteTrack): string | null {
    return this.#slots.mid(track.id);
  }

  /**
   * Joins. `url` is the server's WebSocket, `wss://host/v1/ws`. Resolves when the room is joined and the first
   * negotiation is over. Rejects with a {@link SwitchyardError}; then the room is disconnected.
   */
  async connect(url: string, options: ConnectOptions): Promise<void> {
    if (this.#state !== "new") {
      throw new SwitchyardError("wrong_state", "This room was joined before; make another one.");
    }
    this.#setState("connecting");
    try {
      const signaling = await Signaling.open(url, options.encoding ?? "json", this.#openSocket);
      if (this.#left) {
        signaling.close();
        throw new SwitchyardError("not_connected", "The room was left while it was being joined.");
      }
      this.#follow(signaling);
      const joined = await signaling.request({ type: "join", room: options.room, name: options.name });
      this.#enter(joined, options.name);
      for (const track of options.tracks ?? []) {
        this.localParticipant.publish(track).catch((cause: unknown) => {
          if (!this.#left) this.emit("error", SwitchyardError.from(cause, "negotiation_failed"));
        });
      }
      this.#negotiator?.negotiate();
      await this.#negotiator?.settled();
      if (this.#left) throw new SwitchyardError("not_connected", "The room was left while it was being joined.");
      if (this.#failure && !this.#connection?.currentLocalDescription) throw this.#failure;
    } catch (cause) {
      const error = SwitchyardError.from(cause, "connection_failed");
      this.#end(error);
      throw error;
    }
  }

  /** Says something to everybody, or to one participant. */
  async sendChat(text: string, to?: ParticipantId): Promise<void> {
    await this.#request(to === undefined ? { type: "chat", text } : { type: "chat", text, to });
  }

  /**
   * Sends a message over the data channel to everybody else, or to one participant. Throws `not_connected` while the
   * channel isn't open, `too_large`, and `buffer_full` when the line is slower than the caller.
   */
  sendData(payload: DataPayload, to: ParticipantId | null = null): void {
    const channel = this.#channel;
    if (channel?.readyState !== "open") {
      throw new SwitchyardError("not_connected", "The data channel is not open.", { retryable: true });
    }
    const size = typeof payload === "string" ? new TextEncoder().encode(payload).byteLength : payload.byteLength;
    if (size > MAX_DATA) throw new SwitchyardError("too_large", `A data message has at most ${MAX_DATA} bytes.`);
    if (channel.bufferedAmount + size > MAX_BUFFERED) {
      throw new SwitchyardError("buffer_full", "The data channel's buffer is full.", { retryable: true });
    }
    const message = packData(payload, to);
    // Two overloads of send, one for each.
    if (typeof message === "string") channel.send(message);
    else channel.send(message);
  }

  /** Changes this participant's display name. */
  async rename(name: string): Promise<void> {
    await this.#request({ type: "rename", name });
    this.localParticipant.name = name;
    this.emit("localTracksChanged");
  }

  /** Asks the server for a sign of life; resolves with the milliseconds it took. */
  async ping(): Promise<number> {
    const start = performance.now();
    await this.#request({ type: "ping" });
    return performance.now() - start;
  }

  /** Restarts ICE: finds a new path to the server. The room does it by itself when the connection breaks. */
  restartIce(): void {
    this.#negotiator?.restartIce();
  }

  /** Plays what the browser refused to play. Has to be called while a click is handled. */
  resumePlayback(): void {
    this.#setPlaybackBlocked(false);
    for (const track of this.#tracks.values()) track.resume();
  }

  /** Leaves at once. What was published stays with the caller: `LocalTrack.stop` releases a device. */
  leave(): void {
    if (this.#left) return;
    this.#left = true;
    // Sent before the WebSocket closes; the reply is of no interest.
    this.#signaling?.request({ type: "leave" }).catch(() => {});
    this.#end(null);
  }

  #request<Type extends Request["type"]>(request: Extract<Request, { type: Type }>): Promise<ReplyTo<Type>> {
    if (!this.#signaling || !this.#joined) {
      return Promise.reject(new SwitchyardError("not_connected", "The room is not joined."));
    }
    return this.#signaling.request<Type>(request);
  }

  #needConnection(): RTCPeerConnection {
    if (this.#connection) return this.#connection;
    throw new SwitchyardError("not_connected", "The room is not joined.");
  }

  #follow(signaling: Signaling): void {
    this.#signaling = signaling;
    signaling.on("event", (event) => {
      if (this.#joined) this.#take(event);
      else if (this.#early.length < MAX_EARLY) this.#early.push(event);
    });
    signaling.on("error", (error) => this.emit("error", error));
    signaling.on("closed", (error) => this.#end(error));
    // Without this, others would see a ghost until the server notices.
    if (typeof window !== "undefined") window.addEventListener("pagehide", this.#pageHidden);
  }

  readonly #pageHidden = () => this.leave();

  #enter(joined: Joined, name: string): void {
    this.#joined = joined;
    this.localParticipant.id = joined.participant;
    this.localParticipant.name = name;
    this.#openConnection(joined);
    for (const info of joined.participants) this.#add(new RemoteParticipant(info, this.#subscriptions));
    this.#setState("connected");
    const early = this.#early;
    this.#early = [];
    for (const event of early) this.#take(event);
  }

  readonly #subscriptions = { request: (request: Request) => this.#request(request) };

  #openConnection(joined: Joined): void {
    const configuration: RTCConfiguration & { alwaysNegotiateDataChannels: boolean } = {
      bundlePolicy: "max-bundle",
      iceServers: joined.ice_servers,
      // The data channel's m-line comes first, where it carries the BUNDLE group and never goes away. Browsers that don't
      // know the option put the m-line where they like.
      alwaysNegotiateDataChannels: true,
    };
    const connection = new RTCPeerConnection(configuration);
    this.#connection = connection;
    this.#channel = this.#openChannel(connection);
    this.localParticipant.prepare();
    const negotiator = new Negotiator(connection, {
      offer: (sdp) => {
        const reply = this.#request({ type: "offer", sdp });
        this.#flushCandidates();
        return reply;
      },
      answer: (revision, sdp) => this.#request({ type: "answer", revision, sdp }),
      applied: () => this.#updateSlots(),
      failed: (error) => {
        this.#failure = error;
        this.emit("error", error);
      },
    });
    this.#negotiator = negotiator;
    const recovery = new Recovery(() => negotiator.restartIce());
    this.#recovery = recovery;
    connection.addEventListener("negotiationneeded", () => negotiator.negotiate());
    connection.addEventListener("icecandidate", ({ candidate }) => this.#sendCandidate(candidate));
    connection.addEventListener("connectionstatechange", () => {
      const state = connection.connectionState;
      recovery.update(state);
      if (state === "connected" && this.#state === "reconnecting") this.#setState("connected");
      if ((state === "disconnected" || state === "failed") && this.#state === "connected") {
        this.#setState("reconnecting");
      }
    });
  }

  #openChannel(connection: RTCPeerConnection): RTCDataChannel {
    const channel = connection.createDataChannel(CHANNEL);
    channel.binaryType = "arraybuffer";
    channel.addEventListener("open", () => this.emit("dataChanged", true));
    channel.addEventListener("close", () => this.emit("dataChanged", false));
    channel.addEventListener("message", ({ data }) => {
      const message = unpackData(data);
      if (message) this.emit("data", message.payload, message.from);
    });
    return channel;
  }

  #sendCandidate(candidate: RTCIceCandidate | null): void {
    if (this.#candidates) {
      this.#candidates.push(candidate);
      return;
    }
    const request: Request =
      candidate && candidate.candidate !== ""
        ? {
            type: "candidate",
            candidate: candidate.candidate,
            ...(candidate.sdpMid === null ? {} : { mid: candidate.sdpMid }),
          }
        : { type: "end_of_candidates" };
    // The server finds this client's address by itself: a candidate that gets lost costs nothing.
    this.#request(request).catch(() => {});
  }

  #flushCandidates(): void {
    const candidates = this.#candidates ?? [];
    this.#candidates = null;
    for (const candidate of candidates) this.#sendCandidate(candidate);
  }

  #take(event: Event): void {
    switch (event.kind) {
      case "offer":
        this.#negotiator?.handleOffer(event);
        break;
      case "slots":
        this.#bind(this.#slots.assign(event.slots));
        break;
      case "participant_joined": {
        const participant = new RemoteParticipant(event.participant, this.#subscriptions);
        this.#add(participant);
        this.emit("participantJoined", participant);
        break;
      }
      case "participant_left":
        this.#remove(event.participant, event.reason);
        break;
      case "participant_changed": {
        const participant = this.#participants.get(event.participant);
        if (!participant) break;
        participant.name = event.name;
        this.emit("participantChanged", participant);
        break;
      }
      case "track_published": {
        const track = this.#participants.get(event.participant)?.addTrack(event.track);
        if (!track) break;
        this.#addTrack(track);
        this.emit("trackPublished", track);
        break;
      }
      case "track_unpublished": {
        this.#tracks.delete(event.track);
        const track = this.#participants.get(event.participant)?.removeTrack(event.track);
        if (track) this.emit("trackUnpublished", track);
        break;
      }
      case "track_muted": {
        const track = this.#tracks.get(event.track);
        if (!track) break;
        track.updateMuted(event.muted);
        this.emit("trackMuted", track);
        break;
      }
      case "chat":
        this.emit("chat", event.message);
        break;
      case "closing":
        break; // Signaling ends with its reason.
    }
  }

  #add(participant: RemoteParticipant): void {
    this.#participants.set(participant.id, participant);
    for (const track of participant.tracks.values()) this.#addTrack(track);
  }

  #remove(id: ParticipantId, reason: LeaveReason): void {
    const participant = this.#participants.get(id);
    if (!participant) return;
    this.#participants.delete(id);
    for (const track of [...participant.tracks.keys()]) {
      this.#tracks.delete(track);
      participant.removeTrack(track);
    }
    this.emit("participantLeft", participant, reason);
  }

  #addTrack(track: RemoteTrack): void {
    this.#tracks.set(track.id, track);
    track.on("mediaChanged", () => this.emit("trackMediaChanged", track));
    track.on("playbackBlocked", () => this.#setPlaybackBlocked(true));
    track.bind(this.#slots.receiver(track.id));
  }

  #updateSlots(): void {
    const lines = (this.#connection?.getTransceivers() ?? [])
      .filter(({ mid, currentDirection }) => mid !== null && currentDirection === "recvonly")
      .map(({ mid, receiver }) => ({ mid: mid as string, receiver }));
    this.#bind(this.#slots.update(lines));
  }

  #bind(tracks: Iterable<TrackId>): void {
    for (const id of tracks) this.#tracks.get(id)?.bind(this.#slots.receiver(id));
  }

  #setPlaybackBlocked(blocked: boolean): void {
    if (blocked === this.#playbackBlocked) return;
    this.#playbackBlocked = blocked;
    this.emit("playbackChanged", blocked);
  }

  #setState(state: RoomState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.emit("stateChanged", state);
  }

  #end(error: SwitchyardError | null): void {
    if (this.#state === "disconnected") return;
    if (typeof window !== "undefined") window.removeEventListener("pagehide", this.#pageHidden);
    this.#left = true;
    this.#state = "disconnected";
    this.#recovery?.close();
    this.#negotiator?.close();
    this.localParticipant.close();
    this.#signaling?.close();
    this.#connection?.close();
    for (const track of this.#tracks.values()) {
      track.bind(null);
      track.detach();
    }
    this.emit("stateChanged", "disconnected");
    this.emit("disconnected", error);
  }
}
