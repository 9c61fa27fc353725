import type { DataChannels } from "./data.js";
import { isDetour } from "./detour.js";
import { Emitter } from "./emitter.js";
import { SwitchyardError } from "./errors.js";
import { Negotiator, type ServerOffer } from "./negotiation.js";
import { Playouts } from "./playout.js";
import type { IceServer, Request, SlotAssignment, TrackId } from "./protocol.js";
import { Pulse, readPath } from "./pulse.js";
import { Recovery } from "./recovery.js";
import type { ReplyTo } from "./signaling.js";
import { Slots } from "./slots.js";

/** Sends a request by the session's signaling. */
export type SendRequest = <Type extends Request["type"]>(
  request: Extract<Request, { type: Type }>,
) => Promise<ReplyTo<Type>>;

/** The events of {@link Transport}. */
export interface TransportEvents {
  /** {@link Transport.broken} or {@link Transport.connected} is another value. */
  stateChanged: [];
  /** Whether media takes a detour; comes with each look at the path, the same or not. */
  pathSeen: [detour: boolean];
  /** Nothing comes any more: perhaps the whole network is gone. */
  doubted: [];
  /** These tracks may have another receiver now. */
  tracksMoved: [tracks: Iterable<TrackId>];
  /** The connection can't be repaired: another transport is to take its place. Comes once. */
  beyondRepair: [];
  /** Something failed that no call is waiting for. */
  error: [error: SwitchyardError];
}

/** A peer connection of a session: its negotiation, its m-lines, and the repair of its path. */
export class Transport extends Emitter<TransportEvents> {
  readonly connection: RTCPeerConnection;
  readonly slots = new Slots();
  readonly #request: SendRequest;
  readonly #negotiator: Negotiator;
  readonly #recovery: Recovery;
  readonly #pulse: Pulse;
  readonly #playouts: Playouts;
  readonly #relayOnly: boolean;
  #servers: readonly IceServer[];
  /** Candidates gathered before the offer that they belong to was sent. */
  #candidates: (RTCIceCandidate | null)[] | null = [];
  #wasConnected = false;
  #retired = false;
  #failure: SwitchyardError | null = null;

  /**
   * `expecting` says whether others send something that is to be received; `succeeds`, whether it takes the place of
   * another transport; `relayOnly`, whether nothing but `servers` leads to the server.
   */
  constructor(
    servers: readonly IceServer[],
    request: SendRequest,
    expecting: () => boolean,
    channels: DataChannels,
    succeeds: boolean,
    relayOnly = false,
  ) {
    super();
    this.#servers = servers;
    this.#request = request;
    this.#relayOnly = relayOnly;
    const configuration: RTCConfiguration & { alwaysNegotiateDataChannels: boolean } = {
      bundlePolicy: "max-bundle",
      iceServers: [...servers],
      iceTransportPolicy: relayOnly ? "relay" : "all",
      // The data channels' m-line comes first, where it carries the BUNDLE group and never goes away. Browsers that don't
      // know the option put the m-line where they like.
      alwaysNegotiateDataChannels: true,
    };
    const connection = new RTCPeerConnection(configuration);
    this.connection = connection;
    channels.connect(connection);
    this.#negotiator = new Negotiator(connection, {
      offer: (sdp) => {
        const reply = this.#request({ type: "offer", sdp });
        this.#flushCandidates();
        return reply;
      },
      answer: (revision, sdp) => this.#request({ type: "answer", revision, sdp }),
      applied: () => this.#updateLines(),
      failed: (error) => {
        this.#failure = error;
        this.emit("error", error);
      },
    });
    this.#recovery = new Recovery(
      {
        prove: () => this.#request({ type: "ping" }),
        restart: (fresh) => this.#restart(fresh),
        renew: () => this.emit("beyondRepair"),
        changed: () => {
          if (this.broken) this.emit("doubted");
          this.emit("stateChanged");
        },
      },
      succeeds,
    );
    this.#pulse = new Pulse(
      () => this.#readPath(),
      expecting,
      (silent) => this.#recovery.setSilent(silent),
    );
    this.#playouts = new Playouts(() => this.slots.receivers());
    connection.addEventListener("negotiationneeded", () => this.#negotiator.negotiate());
    connection.addEventListener("icecandidate", ({ candidate }) => this.#sendCandidate(candidate));
    connection.addEventListener("connectionstatechange", () => {
      const { connectionState } = connection;
      this.#recovery.setState(connectionState);
      if (this.#isDead) this.giveUp();
      if (connectionState !== "connected" || this.#wasConnected) return;
      this.#wasConnected = true;
      this.emit("stateChanged");
    });
  }

  /** Nothing comes from the server, as far as is known. */
  get broken(): boolean {
    return this.#recovery.broken;
  }

  /** It was connected once. */
  get wasConnected(): boolean {
    return this.#wasConnected;
  }

  /** Makes an offer, and waits until everything is negotiated. Rejects if the first offer fails. */
  async open(): Promise<void> {
    this.#negotiator.negotiate();
    await this.#negotiator.settled();
    if (this.#failure && !this.connection.currentLocalDescription) throw this.#failure;
  }

  /** Waits until an m-line is negotiated as it is wanted, and makes an offer for it only if none does, or if it is wanted `otherwise` than it was. */
  async negotiated(transceiver: RTCRtpTransceiver, otherwise = false): Promise<void> {
    await this.#negotiator.settled();
    if (!otherwise && transceiver.currentDirection === transceiver.direction) return;
    this.#negotiator.negotiate();
    await this.#negotiator.settled();
  }

  /** Takes an offer of the server's. */
  handleOffer(offer: ServerOffer): void {
    this.#negotiator.handleOffer(offer);
  }

  /** Takes what the receiving m-lines carry from now on: those that are named, or with `all` no others. */
  assign(slots: readonly SlotAssignment[], all = false): void {
    const others = all ? this.slots.mids().filter((mid) => slots.every((slot) => slot.mid !== mid)) : [];
    this.emit("tracksMoved", this.slots.assign([...others.map((mid) => ({ mid })), ...slots]));
  }

  /** Restarts ICE whatever the state of the path. */
  restartIce(): void {
    this.#negotiator.restartIce();
  }

  /** The server asks for a restart. */
  restartAsked(servers: readonly IceServer[]): void {
    this.#recovery.asked(servers);
  }

  /** No restart will help: the server says so, or the data channel is gone. */
  giveUp(): void {
    this.#recovery.giveUp();
  }

  /** The device has other addresses. */
  networkChanged(): void {
    this.#recovery.networkChanged();
  }

  /** There may be a better path than the one in use: looks for it by an ICE restart, which leaves media as it is until there is. */
  explore(): void {
    this.#recovery.explore();
  }

  /** Whether there is a connection to negotiate by. */
  setSignaling(up: boolean): void {
    this.#recovery.setSignaling(up);
  }

  /** Stops negotiating and repairing: the server has lost the session, or this transport's place in it is another's. */
  retire(): void {
    this.#retired = true;
    this.#pulse.close();
    this.#playouts.close();
    this.#recovery.close();
    this.#negotiator.close();
  }

  /** Closes the peer connection, which tells the server. */
  close(): void {
    this.retire();
    this.connection.close();
  }

  /**
   * DTLS has failed, which is for good: in Firefox it does so as soon as a path breaks off, and there is no other way out
   * then, however well ICE does afterwards. Chromium's lasts.
   */
  get #isDead(): boolean {
    const [first] = this.connection.getTransceivers();
    return first?.sender.transport?.state === "failed";
  }

  /** Media goes on along the old path until the new one is found. */
  async #restart(fresh: readonly IceServer[] | null): Promise<void> {
    try {
      // Credentials of TURN servers are good for a while only.
      const servers = fresh ?? (this.#servers.length > 0 ? await this.#freshServers() : []);
      if (servers.length > 0) {
        this.#servers = servers;
        this.connection.setConfiguration({ ...this.connection.getConfiguration(), iceServers: [...servers] });
      }
    } catch (cause) {
      this.emit("error", SwitchyardError.from(cause, "negotiation_failed"));
    }
    this.#negotiator.restartIce();
    await this.#negotiator.settled();
  }

  async #freshServers(): Promise<readonly IceServer[]> {
    const { ice_servers } = await this.#request({ type: "ice_servers" });
    return ice_servers;
  }

  async #readPath(): Promise<string | null> {
    // Of one sender alone, which browsers gather faster than everything.
    const [first] = this.connection.getTransceivers();
    const part = first ? this.#readReport(await first.sender.getStats()) : null;
    return part ?? this.#readReport(await this.connection.getStats());
  }

  #readReport(report: RTCStatsReport): string | null {
    const detour = isDetour(report, this.#relayOnly);
    if (detour !== null && !this.#retired) this.emit("pathSeen", detour);
    return readPath(report);
  }

  #sendCandidate(candidate: RTCIceCandidate | null): void {
    if (this.#retired) return;
    if (this.#candidates) {
      this.#candidates.push(candidate);
      return;
    }
    const request: Extract<Request, { type: "candidate" | "end_of_candidates" }> =
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

  #updateLines(): void {
    const lines = this.connection
      .getTransceivers()
      .filter(({ mid, currentDirection }) => mid !== null && currentDirection === "recvonly")
      .map(({ mid, receiver }) => ({ mid: mid as string, receiver }));
    this.emit("tracksMoved", this.slots.update(lines));
  }
}
