import { DataChannels, type DataPayload } from "./data.js";
import { Detour } from "./detour.js";
import { Dialer } from "./dialer.js";
import { Emitter } from "./emitter.js";
import type { Encoding } from "./encoding.js";
import { SwitchyardError } from "./errors.js";
import type { Link, Server } from "./link.js";
import type { LocalTrack } from "./local.js";
import { Network } from "./network.js";
import { LocalParticipant } from "./participant.js";
import type {
  ChatMessage,
  Destination,
  Event,
  Grants,
  Guest,
  GuestId,
  IceServer,
  Joined,
  Limits,
  ParticipantId,
  Request,
  RoomSettings,
  RoomSettingsChange,
  Speaker,
  TrackId,
  VideoCodec,
} from "./protocol.js";
import { GOOD, type RemoteParticipant, type RemoteTrack } from "./remote.js";
import { connectionQuality, Roster, type RosterEvents } from "./roster.js";
import { type ReplyTo, Signaling } from "./signaling.js";
import { Transport } from "./transport.js";
import { View } from "./view.js";

/**
 * Where a room is in its life. `reconnecting`: something is interrupted and is being repaired, without end unless the
 * server refuses; {@link Room.outage} says what. `disconnected` is final: another room object joins again.
 */
export type RoomState = "new" | "connecting" | "connected" | "reconnecting" | "disconnected";

/** What is interrupted while a room is `reconnecting`. */
export interface Outage {
  /** No messages: what others do is heard, and requests are sent, when they flow again. */
  readonly signaling: boolean;
  /** Neither sound nor picture. */
  readonly media: boolean;
  /** The server has lost the session, perhaps because it was restarted: the room is being joined again. */
  readonly rejoining: boolean;
  /** The browser says that the device has no network. */
  readonly offline: boolean;
  /** Since when anything has been interrupted. */
  readonly since: Date;
  /** When the next attempt to reach the server begins; null while one is being made or none is needed. */
  readonly nextAttempt: Date | null;
  /** Why the server has ended the session or did not take this client in again, if it said so. */
  readonly error: SwitchyardError | null;
}

/** How to join. */
export interface ConnectOptions {
  /** The room's id: 1 to 64 letters, digits, `-`, `_`, `.`. */
  room: string;
  /** The name others see, unless the access token says another: 1 to 64 characters. */
  name: string;
  /**
   * An access token, where the server asks for one; or what gets one. A function is called with each join: also with one after
   * an outage so long, or a restart of the server, that the session is gone, when an old token may have expired.
   */
  token?: string | (() => string | Promise<string>);
  /** How messages are written; `json` unless told otherwise. */
  encoding?: Encoding;
  /**
   * The room's password, where it has one; moderators need none. Without it {@link Room.connect} rejects with
   * `password_required`, with another one with `wrong_password`.
   */
  password?: string;
  /** What video is sent in while everybody decodes it: {@link LocalParticipant.preferCodec}. */
  codec?: VideoCodec;
  /** What it is sent in once more for those who don't decode that. */
  backupCodec?: VideoCodec;
  /** Published from the beginning on, of those that may be: {@link Room.grants}. */
  tracks?: readonly LocalTrack[];
}

/** How to send a message to others. */
export interface DataOptions {
  /**
   * `true` unless told otherwise: messages arrive, in their order. `false`: each is sent once and may be lost, overtake
   * another, or be left out when the line is slower than the caller: for what is stale soon.
   */
  reliable?: boolean;
}

/** The events of {@link Room}. */
export interface RoomEvents extends RosterEvents {
  /** The room's state is another one. */
  stateChanged: [state: RoomState];
  /** {@link Room.outage} is another one. */
  outageChanged: [outage: Outage | null];
  /** The room was joined anew: everybody in it, and every remote track, is another object. Local tracks are published again. */
  rejoined: [];
  /** This participant is in another room: the server's API has moved it, or it is back in the first because the other didn't take it any more. Comes after `rejoined`; {@link Room.id}. */
  moved: [room: string];
  /** {@link Room.peerConnection} is another one, because the one before could not be repaired; everything else goes on. */
  renewed: [];
  /** The server will go down: {@link Room.closesAt}. */
  draining: [closesAt: Date];
  /** The room is left: by {@link Room.leave} if there is no error. Comes once, last. */
  disconnected: [error: SwitchyardError | null];
  /** The room is set otherwise: {@link Room.settings}. */
  settingsChanged: [settings: RoomSettings];
  /** A moderator has to let this client in, or has: {@link Room.waiting}. */
  waitingChanged: [waiting: boolean];
  /** To moderators: others wait to be let in than before: {@link Room.guests}. */
  guestsChanged: [guests: readonly Guest[]];
  /** A moderator has muted what this participant publishes. It can be unmuted. */
  mutedByModerator: [track: LocalTrack];
  /**
   * What this participant may do is something else: {@link Room.grants}. What it published and may not any more has
   * ended: these tracks are withdrawn and their devices released.
   */
  grantsChanged: [grants: Grants, ended: readonly LocalTrack[]];
  /** What this participant publishes changed, or whether it is muted. */
  localTracksChanged: [];
  /** Others speak than before, or in another order: {@link Room.speakers}. */
  speakersChanged: [speakers: readonly Speaker[]];
  /** Somebody, perhaps this participant, said something. */
  chat: [message: ChatMessage];
  /** A message of another participant on a data channel. */
  data: [payload: DataPayload, from: ParticipantId, reliable: boolean];
  /** The data channels can be used, or no longer. */
  dataChanged: [open: boolean];
  /** There is room again where much was waiting to be sent: whoever was refused with `buffer_full` can go on. */
  dataBufferedLow: [reliable: boolean];
  /** The browser refuses to play what was attached (until {@link Room.resumePlayback}), or no longer. */
  playbackChanged: [blocked: boolean];
  /** Something failed that no call is waiting for; the room goes on. */
  error: [error: SwitchyardError];
}

/** Milliseconds between two times that a transport is begun anew: what it takes to find out whether the first was of use. */
const RENEWAL_PAUSE = 2_000;

/** Attempts to join a room that this participant was moved to and that is full, or whose server is. */
const PATIENCE_WHERE_FULL = 3;

/** What tests replace. */
export interface Environment {
  openSocket: Server["openSocket"];
  fetch: Server["fetch"];
  knocks: Server["knocks"];
  /** From 0 to 1. */
  random(): number;
}

const BROWSER: Environment = {
  openSocket: (url, subprotocol) => new WebSocket(url, subprotocol),
  fetch: (url, options) => fetch(url, options),
  knocks: "userAgentData" in (globalThis.navigator ?? {}),
  random: Math.random,
};

/**
 * A room: joins it, tells who is there and what they publish, and stays in it whatever the network does. A lost WebSocket
 * is replaced and a broken media path repaired within the same session; if the server has lost that, the room is joined
 * again by itself, with this participant's latest name and tracks.
 */
export class Room extends Emitter<RoomEvents> {
  /** This client's participant. */
  readonly localParticipant: LocalParticipant;
  /** Everybody else. */
  readonly participants: ReadonlyMap<ParticipantId, RemoteParticipant>;
  readonly #roster: Roster;
  /** What is shown of others' video. */
  readonly #view = new View(async (tracks) => {
    // Who may not receive is shown nothing, and is refused to say anything about it.
    if (this.grants?.subscribe) await this.#request({ type: "view", tracks, others: false });
  });
  #speakers: readonly Speaker[] = [];
  readonly #environment: Environment;
  #state: RoomState = "new";
  #outage: Outage | null = null;
  #closesAt: Date | null = null;
  #relayOnly = false;
  #joined: Joined | null = null;
  #grants: Grants | null = null;
  #settings: RoomSettings | null = null;
  #guests: readonly Guest[] = [];
  #waiting = false;
  #token: ConnectOptions["token"];
  #password: string | undefined;
  #network: Network | null = null;
  #dialer: Dialer | null = null;
  /** The session's; null while the room is being joined, again or for the first time. */
  #signaling: Signaling | null = null;
  #transport: Transport | null = null;
  /** The session's data channels. */
  #channels: DataChannels | null = null;
  /** Of the transport's path, and of those of the transports before: they lead through the same network. */
  readonly #detour = new Detour(() => this.#transport?.explore());
  /** While another transport is asked for: until there is one, or the session is over. */
  #renewal: Promise<void> | null = null;
  #renewedAt = -Infinity;
  /** There may be tracks that show what came on the transport before. */
  #stale = false;
  /** The one before, while another one is being begun: as long as it is open the last pictures stay. */
  #retired: Transport | null = null;
  /** Of the session that is being begun. */
  #entering: Signaling | null = null;
  /** Sessions before this one. */
  #lostSessions = 0;
  /** The room that was asked for. */
  #home = "";
  /** Where the server has moved this participant, and what lets it in there. */
  #destination: Destination | null = null;
  /** Why the latest of those ended, or the latest attempt to begin another one failed. */
  #lostBy: SwitchyardError | null = null;
  #playbackBlocked = false;

  /** `environment` is for tests. */
  constructor(environment: Partial<Environment> = {}) {
    super();
    this.#environment = { ...BROWSER, ...environment };
    this.#roster = new Roster({
      request: (request) => this.#request(request),
      attached: (track, element) => this.#view.attach(track.id, element),
      detached: (element) => this.#view.detach(element),
      pin: (track, pinned) => this.#view.pin(track, pinned),
      shows: (track) => this.#view.shows(track),
      receiver: (track) => this.#transport?.slots.receiver(track) ?? null,
      tell: (name, ...args) => this.emit(name, ...(args as never)),
      playbackBlocked: () => this.#setPlaybackBlocked(true),
    });
    this.participants = this.#roster.participants;
    this.localParticipant = new LocalParticipant({
      connection: () => {
        if (!this.#joined || this.#state === "disconnected") throw notJoined();
        return this.peerConnection;
      },
      negotiated: async (transceiver, otherwise) => {
        await this.#renewal;
        await this.#transport?.negotiated(transceiver, otherwise);
      },
      publish: async (mid, source, muted) => (await this.#request({ type: "publish", mid, source, muted })).track,
      backUp: (track, backup) => this.#request({ type: "back_up", track, ...(backup ? { backup } : {}) }),
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

  /** What is interrupted while the room is `reconnecting`; null otherwise. */
  get outage(): Outage | null {
    return this.#outage;
  }

  /** The room's id, once joined. */
  get id(): string | null {
    return this.#joined?.room ?? null;
  }

  /** What this participant may do, once joined; what isn't granted is refused with `forbidden`. */
  get grants(): Grants | null {
    return this.#grants;
  }

  /** Who the access token says that this is; null before the room is joined, and where there is no access control. */
  get identity(): string | null {
    return this.#joined?.identity ?? null;
  }

  /** How the room is set, once joined: whether it is locked, has a lobby or a password, and for how many it is. */
  get settings(): RoomSettings | null {
    return this.#settings;
  }

  /** Whether this client waits for a moderator to let it in. {@link connect} goes on then, or rejects: with `not_admitted`, or with `no_such_room` if the room was closed meanwhile. */
  get waiting(): boolean {
    return this.#waiting;
  }

  /** For moderators: who waits to be let in, in the order in which they came. */
  get guests(): readonly Guest[] {
    return this.#guests;
  }

  /** What the server accepts, once joined. */
  get limits(): Limits | null {
    return this.#joined?.limits ?? null;
  }

  /** The session's peer connection, for `getStats`; null while there is none. Its descriptions belong to the room. */
  get peerConnection(): RTCPeerConnection | null {
    return this.#transport?.connection ?? null;
  }

  /** Whether {@link sendData} can be used. */
  get dataOpen(): boolean {
    return this.#channels?.open ?? false;
  }

  /** Whether the browser refuses to play something until the user clicks. */
  get playbackBlocked(): boolean {
    return this.#playbackBlocked;
  }

  /** When the server goes down, and the room ends with it; null unless the server has said so. */
  get closesAt(): Date | null {
    return this.#closesAt;
  }

  /** Who speaks, this participant included; the loudest first. */
  get speakers(): readonly Speaker[] {
    return this.#speakers;
  }

  /** The track that has an id, if somebody else publishes it. */
  track(id: TrackId): RemoteTrack | undefined {
    return this.#roster.tracks.get(id);
  }

  /** The m-line that carries a track at the moment, if one does. */
  mid(track: RemoteTrack): string | null {
    return this.#transport?.slots.mid(track.id) ?? null;
  }

  /**
   * Joins. `url` is the server's WebSocket, `wss://host/v1/ws`. Resolves when the room is joined and the first
   * negotiation is over; where there is a lobby, that is after a moderator has let this client in. Rejects with a {@link SwitchyardError}; then the room is disconnected.
   */
  async connect(url: string, options: ConnectOptions): Promise<void> {
    if (this.#state !== "new") {
      throw new SwitchyardError("wrong_state", "This room was joined before; make another one.");
    }
    this.#setState("connecting");
    const { random, ...environment } = this.#environment;
    const dialer = new Dialer({ url, encoding: options.encoding ?? "json", ...environment }, random);
    this.#dialer = dialer;
    this.localParticipant.name = options.name;
    if (options.codec) this.localParticipant.preferCodec(options.codec, options.backupCodec ?? null);
    this.#token = options.token;
    this.#password = options.password;
    this.#home = options.room;
    try {
      const transport = await this.#enter(dialer);
      for (const track of options.tracks ?? []) {
        if (!this.grants?.publish.includes(track.source)) continue;
        this.localParticipant.publish(track).catch((cause: unknown) => {
          if (!this.#left) this.emit("error", SwitchyardError.from(cause, "negotiation_failed"));
        });
      }
      await transport.open();
      if (this.#left) throw new SwitchyardError("not_connected", "The room was left while it was being joined.");
    } catch (cause) {
      const error = SwitchyardError.from(cause, "connection_failed");
      this.#end(error);
      throw error;
    }
  }

  /** Says something to everybody, or to one participant. While the room is reconnecting it is said afterwards. */
  async sendChat(text: string, to?: ParticipantId): Promise<void> {
    await this.#request(to === undefined ? { type: "chat", text } : { type: "chat", text, to });
  }

  /**
   * Sends a message over a data channel to everybody else, or to one participant. Throws `not_connected` while the
   * channel isn't open, `too_large`, and `buffer_full` when the line is slower than the caller: `dataBufferedLow` says
   * when there is room again. While media is interrupted messages wait; those that were not sent when the room has to be
   * joined again are lost.
   */
  sendData(payload: DataPayload, to: ParticipantId | null = null, { reliable = true }: DataOptions = {}): void {
    const channels = this.#channels;
    if (!channels) throw new SwitchyardError("not_connected", "The data channel is not open.", { retryable: true });
    channels.send(payload, to, reliable);
  }

  /** Bytes that wait to be sent over a data channel; of reliable ones, also those that are not known to have arrived. */
  dataBuffered({ reliable = true }: DataOptions = {}): number {
    return this.#channels?.buffered(reliable) ?? 0;
  }

  /** Changes this participant's display name. */
  async rename(name: string): Promise<void> {
    // While the room is being joined again, that takes the name along.
    if (!this.#rejoining) await this.#request({ type: "rename", name });
    this.localParticipant.name = name;
    this.emit("localTracksChanged");
  }

  /** For moderators: mutes somebody's track. They may unmute it; nobody else can. */
  async muteRemote(track: RemoteTrack): Promise<void> {
    await this.#request({ type: "mute", track: track.id, muted: true });
  }

  /** For moderators: sends somebody away, with all of the same identity, who don't come in again; see {@link ban}. */
  async remove(participant: ParticipantId): Promise<void> {
    await this.#request({ type: "remove", participant });
  }

  /** For moderators: keeps an identity out for as long as the room exists and a day longer, or lets it in again. */
  async ban(identity: string, banned = true): Promise<void> {
    await this.#request({ type: "ban", identity, banned });
  }

  /** For moderators: sets the room otherwise; what is not named stays as it is. An empty password: none. */
  async configure(settings: RoomSettingsChange): Promise<void> {
    await this.#request({ type: "configure", settings });
  }

  /** For moderators: lets in who waits, or this one alone. */
  async admit(guest?: GuestId): Promise<void> {
    await this.#request(guest === undefined ? { type: "admit" } : { type: "admit", guest });
  }

  /** For moderators: sends away who waits, or this one alone. They may come again, unless they are banned. */
  async deny(guest?: GuestId): Promise<void> {
    await this.#request(guest === undefined ? { type: "deny" } : { type: "deny", guest });
  }

  /** Asks the server for a sign of life; resolves with the milliseconds it took. */
  async ping(): Promise<number> {
    const start = performance.now();
    await this.#request({ type: "ping" });
    return performance.now() - start;
  }

  /** Restarts ICE: finds a new path to the server. The room does it by itself when the connection breaks. */
  restartIce(): void {
    this.#transport?.restartIce();
  }

  /** Tries to reach the server now, not only at {@link Outage.nextAttempt}. */
  reconnectNow(): void {
    this.#dialer?.hurry();
  }

  /** Plays what the browser refused to play. Has to be called while a click is handled. */
  resumePlayback(): void {
    this.#setPlaybackBlocked(false);
    for (const track of this.#roster.tracks.values()) track.resume();
  }

  /** Leaves at once. What was published stays with the caller: `LocalTrack.stop` releases a device. */
  leave(): void {
    if (this.#left) return;
    // Sent before the WebSocket closes; the reply is of no interest. Without a WebSocket the end of the peer connection says it.
    if (this.#signaling?.connected) this.#signaling.request({ type: "leave" }).catch(() => {});
    this.#end(null);
  }

  get #left(): boolean {
    return this.#state === "disconnected";
  }

  get #rejoining(): boolean {
    return this.#joined !== null && !this.#transport && !this.#left;
  }

  #request<Type extends Request["type"]>(request: Extract<Request, { type: Type }>): Promise<ReplyTo<Type>> {
    return this.#signaling?.request<Type>(request) ?? Promise.reject(notJoined());
  }

  /** Joins for the first time. Who loses the connection while they wait to be let in, goes on waiting over another. */
  async #enter(dialer: Dialer): Promise<Transport> {
    let link = await dialer.first();
    for (;;) {
      try {
        return await this.#begin(dialer, link);
      } catch (cause) {
        if (!this.#waiting || this.#left || SwitchyardError.from(cause, "connection_failed").code !== "connection_lost")
          throw cause;
        link = await dialer.dial();
      }
    }
  }

  /** Joins over an open connection: where the server has moved this participant, or else the room that was asked for. */
  async #begin(dialer: Dialer, link: Link): Promise<Transport> {
    const signaling = new Signaling(dialer, link);
    this.#entering = signaling;
    signaling.on("waiting", () => this.#setWaiting(true));
    let joined: Joined;
    try {
      const to = this.#destination;
      const secrets = to ? { token: to.token } : await this.#fetchSecrets();
      joined = await signaling.join(to?.room ?? this.#home, this.localParticipant.name, secrets);
    } catch (cause) {
      signaling.close();
      throw cause;
    } finally {
      this.#entering = null;
    }
    this.#setWaiting(false);
    this.#joined = joined;
    this.#grants = joined.grants;
    this.#signaling = signaling;
    this.localParticipant.id = joined.participant;
    this.localParticipant.name = joined.name;
    this.#setSettings(joined.settings);
    this.#setGuests([]);
    this.#follow(signaling);
    this.#channels = this.#openChannels(signaling);
    this.#relayOnly = joined.relay_only ?? false;
    const transport = this.#openTransport(joined.ice_servers, this.#channels, false);
    this.#transport = transport;
    this.localParticipant.connect();
    this.#roster.replace(joined.participants);
    this.localParticipant.connection = GOOD;
    this.#forgetRetired();
    this.#view.restart();
    this.#setSpeakers([]);
    if (!this.#network) this.#watch();
    this.#update();
    return transport;
  }

  /** What opens the room to the next join. That there is no access token now may be the network's doing. */
  async #fetchSecrets(): Promise<{ token?: string; password?: string }> {
    try {
      const token = typeof this.#token === "function" ? await this.#token() : this.#token;
      const password = this.#password;
      return { ...(token === undefined ? {} : { token }), ...(password === undefined ? {} : { password }) };
    } catch (cause) {
      throw new SwitchyardError("connection_failed", "An access token could not be had.", { retryable: true, cause });
    }
  }

  #follow(signaling: Signaling): void {
    signaling.on("event", (event) => this.#take(event));
    signaling.on("error", (error) => this.emit("error", error));
    signaling.on("lost", () => {
      this.#transport?.setSignaling(false);
      this.#update();
    });
    signaling.on("resumed", (snapshot) => {
      if (snapshot) {
        this.#roster.reconcile(snapshot.participants);
        this.localParticipant.connection = GOOD;
        this.#transport?.assign(snapshot.slots, true);
        this.#setSettings(snapshot.settings);
      }
      this.#transport?.setSignaling(true);
      this.#update();
    });
    signaling.on("closed", (error) => {
      if (signaling === this.#signaling) this.#sessionEnded(error);
    });
  }

  #openChannels(signaling: Signaling): DataChannels {
    const channels = new DataChannels();
    channels.on("message", (payload, from, reliable) => this.emit("data", payload, from, reliable));
    channels.on("openChanged", (open) => {
      if (signaling === this.#signaling) this.emit("dataChanged", open);
    });
    channels.on("low", (reliable) => this.emit("dataBufferedLow", reliable));
    channels.on("lost", () => this.#transport?.giveUp());
    return channels;
  }

  #openTransport(servers: readonly IceServer[], channels: DataChannels, succeeds: boolean): Transport {
    const request = <Type extends Request["type"]>(request: Extract<Request, { type: Type }>) =>
      this.#request<Type>(request);
    const transport = new Transport(
      servers,
      request,
      () => this.#roster.expecting,
      channels,
      succeeds,
      this.#relayOnly,
    );
    transport.on("stateChanged", () => {
      if (transport === this.#transport && transport.wasConnected) {
        this.#forgetRetired();
        this.#unbindRest(transport);
      }
      this.#update();
    });
    transport.on("pathSeen", (detour) => {
      if (transport === this.#transport) this.#detour.setTaken(detour);
    });
    transport.on("doubted", () => this.#signaling?.doubt(true));
    transport.on("beyondRepair", () => {
      if (transport === this.#transport) this.#renewal ??= this.#renew(transport);
    });
    transport.on("tracksMoved", (tracks) => {
      this.#roster.bind(tracks);
      this.#unbindRest(transport);
    });
    transport.on("error", (error) => this.emit("error", error));
    return transport;
  }

  /** Puts another transport in the place of one that can't be repaired, in the same session. */
  async #renew(broken: Transport): Promise<void> {
    const [signaling, channels] = [this.#signaling, this.#channels];
    if (!signaling || !channels) return;
    const gone = () => this.#left || signaling !== this.#signaling;
    const pause = this.#renewedAt + RENEWAL_PAUSE - performance.now();
    if (pause > 0) await new Promise((resolve) => setTimeout(resolve, pause));
    if (gone()) return;
    this.#renewedAt = performance.now();
    broken.retire();
    const received = channels.disconnect();
    let transport: Transport | null = null;
    try {
      const renewed = await signaling.request({ type: "renew", received });
      if (gone()) return;
      if (!channels.renewed(renewed.received)) {
        throw new SwitchyardError("unexpected_message", "The server has counted other messages than were sent.");
      }
      this.#retire(broken);
      transport = this.#openTransport(renewed.ice_servers, channels, true);
      this.#transport = transport;
      this.#renewal = null;
      this.#stale = true;
      this.localParticipant.renew();
      this.emit("renewed");
      this.#update();
      await transport.open();
    } catch (cause) {
      // Over, or begun anew once more: that is another call's.
      if (gone() || (transport && transport !== this.#transport)) return;
      // Without a transport the session is of no use. Another one is.
      const message = "The connection could not be begun anew.";
      this.#sessionEnded(new SwitchyardError("connection_lost", message, { retryable: true, cause }));
    }
  }

  /** Keeps a transport open that is used no more, if it has shown anything. */
  #retire(transport: Transport): void {
    transport.retire();
    if (transport.wasConnected) {
      this.#forgetRetired();
      this.#retired = transport;
    } else {
      transport.close();
    }
  }

  /** Tracks that a new transport has no slot for show the last that they had on the one before until it is known what its slots carry. */
  #unbindRest(transport: Transport): void {
    if (!this.#stale || transport !== this.#transport || !transport.wasConnected || transport.slots.mids().length === 0)
      return;
    this.#stale = false;
    this.#roster.bind(this.#roster.tracks.keys());
  }

  #forgetRetired(): void {
    this.#retired?.close();
    this.#retired = null;
  }

  /** Follows what the browser knows of the network, and the end of the page, from the first session to the last. */
  #watch(): void {
    const network = new Network();
    this.#network = network;
    network.on("changed", () => {
      this.#signaling?.networkChanged();
      this.#transport?.networkChanged();
      this.#detour.networkChanged();
      if (!this.#signaling) this.#dialer?.hurry();
    });
    network.on("doubted", () => {
      if (this.#signaling?.connected) this.#signaling.doubt();
      else this.#dialer?.hurry();
    });
    network.on("offlineChanged", () => this.#update());
    this.#dialer?.on("changed", () => this.#update());
    // Without this, others would see a ghost until the server notices.
    if (typeof window !== "undefined") window.addEventListener("pagehide", this.#pageHidden);
  }

  readonly #pageHidden = () => this.leave();

  /** The session is over, at the server as well. */
  #sessionEnded(error: SwitchyardError | null): void {
    if (this.#left) return;
    // A connection that was never secure will not be so the next time; one that was may have suffered from the network.
    const suffered = error?.code === "transport_failed" && this.#transport?.wasConnected;
    if (error && (error.retryable || suffered)) void this.#rejoin(error);
    else this.#end(error);
  }

  /**
   * Joins anew, however long it takes. Until then the old participants are there to be looked at. Who isn't let in where they were moved, perhaps because the
   * server was restarted since, goes back to the room that was asked for.
   */
  async #rejoin(error: SwitchyardError): Promise<void> {
    const dialer = this.#dialer;
    if (!dialer) return;
    const before = this.id;
    let full = 0;
    this.#closeSession();
    this.#lostSessions += 1;
    this.#lostBy = error;
    this.#update();
    for (;;) {
      let transport: Transport | null = null;
      try {
        transport = await this.#begin(dialer, await dialer.dial());
        this.emit("rejoined");
        if (this.id !== null && this.id !== before) this.emit("moved", this.id);
        await transport.open();
        return;
      } catch (cause) {
        // Left, or lost again: that is another call's.
        if (this.#left || (transport && transport !== this.#transport)) return;
        const failure = SwitchyardError.from(cause, "connection_failed");
        // The server may be full for a moment.
        if (failure.code === "limit_reached") full += 1;
        const refused = !failure.retryable || failure.code === "room_locked" || full >= PATIENCE_WHERE_FULL;
        if (refused && this.#destination) {
          this.#destination = null;
          this.#lostBy = failure;
          this.#closeSession();
          this.emit("error", failure);
          continue;
        }
        if (!failure.retryable) {
          this.#end(failure);
          return;
        }
        this.#closeSession();
        this.#lostBy = failure;
        if (failure.code !== "connection_lost") dialer.busy();
        this.#update();
      }
    }
  }

  #closeSession(): void {
    const [signaling, transport, channels] = [this.#signaling, this.#transport, this.#channels];
    this.#signaling = null;
    this.#transport = null;
    this.#channels = null;
    this.#renewal = null;
    this.#closesAt = null;
    signaling?.close();
    this.localParticipant.disconnect();
    const wasOpen = channels?.open;
    channels?.close();
    if (wasOpen) this.emit("dataChanged", false);
    if (transport) this.#retire(transport);
  }

  #take(event: Event): void {
    switch (event.kind) {
      case "offer":
        this.#transport?.handleOffer(event);
        break;
      case "slots":
        this.#transport?.assign(event.slots);
        break;
      case "speakers":
        this.#setSpeakers(event.speakers);
        break;
      case "quality":
        if (event.participant === this.localParticipant.id) {
          this.localParticipant.connection = connectionQuality(event);
          this.emit("connectionQualityChanged", this.localParticipant);
        } else {
          this.#roster.take(event);
        }
        break;
      case "settings":
        this.#setSettings(event.settings);
        break;
      case "guests":
        this.#setGuests(event.guests);
        break;
      case "grants_changed":
        this.#regrant(event.grants);
        break;
      case "participant_changed":
        if (event.participant === this.localParticipant.id) {
          this.localParticipant.name = event.name;
          this.emit("localTracksChanged");
        } else {
          this.#roster.take(event);
        }
        break;
      case "track_muted":
        if (event.participant === this.localParticipant.id) void this.#mutedByModerator(event.track);
        else this.#roster.take(event);
        break;
      case "wanted":
        this.localParticipant.setWanted(event.track, event);
        break;
      case "codecs":
        this.localParticipant.setDecoded(event.track, event.sets);
        break;
      case "restart_ice":
        this.#transport?.restartAsked(event.ice_servers);
        break;
      case "renew":
        this.#transport?.giveUp();
        break;
      case "chat":
        this.emit("chat", event.message);
        break;
      case "draining":
        this.#closesAt = new Date(Date.now() + event.within * 1_000);
        this.emit("draining", this.#closesAt);
        break;
      case "closing":
        // Signaling ends with its reason.
        if (event.to) this.#destination = event.to;
        break;
      default:
        this.#roster.take(event);
    }
  }

  /** Finds out what is interrupted, and tells if that is something else than before. */
  #update(): void {
    if (!this.#joined || this.#left) return;
    const outage = this.#findOutage();
    if (sameOutage(outage, this.#outage)) {
      if (this.#state === "connecting") this.#setState("connected");
      return;
    }
    this.#outage = outage;
    this.#setState(outage ? "reconnecting" : "connected");
    this.emit("outageChanged", outage);
  }

  #findOutage(): Outage | null {
    const transport = this.#transport;
    const signaling = !this.#signaling?.connected;
    // The first session counts as connected before its media is; another one has to make up for what was lost.
    const media = !transport || transport.broken || (this.#lostSessions > 0 && !transport.wasConnected);
    if (!signaling && !media) return null;
    return {
      signaling,
      media,
      rejoining: !transport,
      offline: this.#network?.offline ?? false,
      since: this.#outage?.since ?? new Date(),
      nextAttempt: this.#dialer?.nextAttempt ?? null,
      error: transport ? null : this.#lostBy,
    };
  }

  #regrant(grants: Grants): void {
    const before = this.#grants;
    this.#grants = grants;
    const ended = this.localParticipant.revoke(grants.publish);
    // While nothing could be received nothing was said of what is shown.
    if (grants.subscribe && !before?.subscribe) this.#view.restart();
    if (!grants.moderate) this.#setGuests([]);
    this.emit("grantsChanged", grants, ended);
  }

  async #mutedByModerator(id: TrackId): Promise<void> {
    const track = await this.localParticipant.muteFromAfar(id);
    if (track) this.emit("mutedByModerator", track);
  }

  #setSettings(settings: RoomSettings): void {
    const before = this.#settings;
    this.#settings = settings;
    if (before && !same(settings, before)) this.emit("settingsChanged", settings);
  }

  #setGuests(guests: readonly Guest[]): void {
    if (guests.length === 0 && this.#guests.length === 0) return;
    this.#guests = guests;
    this.emit("guestsChanged", guests);
  }

  #setWaiting(waiting: boolean): void {
    if (waiting === this.#waiting) return;
    this.#waiting = waiting;
    this.emit("waitingChanged", waiting);
  }

  #setSpeakers(speakers: readonly Speaker[]): void {
    if (speakers.length === 0 && this.#speakers.length === 0) return;
    this.#speakers = speakers;
    this.emit("speakersChanged", speakers);
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
    if (this.#left) return;
    if (typeof window !== "undefined") window.removeEventListener("pagehide", this.#pageHidden);
    this.#state = "disconnected";
    this.#outage = null;
    this.#setWaiting(false);
    this.#network?.close();
    this.#detour.close();
    this.#dialer?.close();
    this.#entering?.close();
    this.#closeSession();
    this.#retired?.close();
    this.localParticipant.close();
    this.#roster.clear();
    this.#view.close();
    this.emit("stateChanged", "disconnected");
    this.emit("disconnected", error);
  }
}

function notJoined(): SwitchyardError {
  return new SwitchyardError("not_connected", "The room is not joined.", { retryable: true });
}

function sameOutage(one: Outage | null, other: Outage | null): boolean {
  return one && other ? same(one, other) : one === other;
}

function same<Value extends object>(one: Value, other: Value): boolean {
  return (Object.keys(one) as (keyof Value)[]).every((key) => one[key] === other[key]);
}
