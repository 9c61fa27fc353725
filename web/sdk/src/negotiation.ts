import { SwitchyardError } from "./errors.js";
import { withAudioNack } from "./sdp.js";

/** The part of a peer connection that negotiation needs. */
export interface NegotiatingConnection {
  readonly signalingState: RTCSignalingState;
  readonly localDescription: Pick<RTCSessionDescription, "sdp"> | null;
  createOffer(options: RTCOfferOptions): Promise<RTCSessionDescriptionInit>;
  setLocalDescription(description?: RTCLocalSessionDescriptionInit): Promise<void>;
  setRemoteDescription(description: RTCSessionDescriptionInit): Promise<void>;
}

/** An offer of the server. */
export interface ServerOffer {
  /** Repeated in the answer. */
  revision: number;
  /** SDP. */
  sdp: string;
}

/** What a negotiator does to the world. */
export interface NegotiationActions {
  /** Sends the client's offer. Resolves with the answer, or with `ignored` if it collided with the server's. */
  offer(sdp: string): Promise<{ kind: "answer"; sdp: string } | { kind: "ignored" }>;
  /** Sends the answer to the server's offer. */
  answer(revision: number, sdp: string): Promise<unknown>;
  /** A description was applied: m-lines may have appeared, changed or gone. */
  applied(): void;
  /** Something failed; the connection is as it was before. */
  failed(error: SwitchyardError): void;
}

/** A refused offer that may be tried again is, this often. */
const RETRIES = 3;
/** Milliseconds before a refused offer is tried again. */
const RETRY_DELAY = 1_000;
/** Milliseconds to wait for the server's offer after it ignored one of ours; it is normally there already. */
const YIELD_TIMEOUT = 3_000;

/**
 * The polite side of perfect negotiation (WebRTC 1.0 §10.7).
 *
 * One operation at a time: either a local offer, from `createOffer` until its answer is applied, or an offer of the
 * server's, until the answer is set. An offer of the server's that arrives during a local one waits for that one's
 * reply, which says whether the two collided: `answer` means that the server's offer came after it and is next,
 * `ignored` that the local offer is rolled back and made again afterwards. So neither depends on how the events of
 * browser and network interleave.
 *
 * Wishes are folded: however often {@link negotiate} is called during an operation, one offer follows.
 */
export class Negotiator {
  readonly #connection: NegotiatingConnection;
  readonly #actions: NegotiationActions;
  #running = false;
  #closed = false;
  /** A local offer is wanted. */
  #wanted = false;
  /** The next local offer restarts ICE. */
  #restart = false;
  /** The latest unanswered offer of the server; an earlier one is void, for the server has one in flight. */
  #incoming: ServerOffer | null = null;
  /** The server ignored the local offer and its own has not been seen. */
  #yielding = false;
  #attempts = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #waiting: (() => void)[] = [];

  constructor(connection: NegotiatingConnection, actions: NegotiationActions) {
    this.#connection = connection;
    this.#actions = actions;
  }

  /** Asks for a local offer. */
  negotiate(): void {
    if (this.#closed) return;
    this.#wanted = true;
    void this.#run();
  }

  /** Asks for a local offer that restarts ICE. */
  restartIce(): void {
    this.#restart = true;
    this.negotiate();
  }

  /** Takes an offer of the server's. */
  handleOffer(offer: ServerOffer): void {
    if (this.#closed) return;
    this.#incoming = offer;
    this.#yielding = false;
    void this.#run();
  }

  /** Resolves when nothing is under way or wanted, or when the negotiator is closed. */
  settled(): Promise<void> {
    if (this.#isSettled()) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Stops; what is under way ends without effect. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#wake();
  }

  #isSettled(): boolean {
    return this.#closed || (!this.#running && !this.#wanted && !this.#incoming);
  }

  #wake(): void {
    if (!this.#isSettled()) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  async #run(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    // Callers finish first what they are doing, so that several wishes of one task become one offer.
    await Promise.resolve();
    while (!this.#closed) {
      if (this.#incoming) {
        const offer = this.#incoming;
        this.#incoming = null;
        await this.#takeOffer(offer);
      } else if (this.#wanted && !this.#yielding) {
        this.#wanted = false;
        await this.#makeOffer();
      } else {
        break;
      }
    }
    this.#running = false;
    this.#wake();
  }

  async #makeOffer(): Promise<void> {
    const restart = this.#restart;
    this.#restart = false;
    try {
      // In one operation, so that no `negotiationneeded` for what this offer contains comes between and makes another.
      if (restart) await this.#connection.setLocalDescription(await this.#connection.createOffer({ iceRestart: true }));
      else await this.#connection.setLocalDescription();
      // The server would take it for the next connection's.
      if (this.#closed) return;
      const reply = await this.#actions.offer(withAudioNack(this.#localSdp()));
      if (this.#closed) return;
      if (reply.kind === "answer") {
        await this.#connection.setRemoteDescription({ type: "answer", sdp: reply.sdp });
        this.#attempts = 0;
        this.#actions.applied();
      } else {
        this.#restart ||= restart;
        this.#wanted = true;
        await this.#rollBack();
        if (!this.#incoming) this.#yield();
      }
    } catch (cause) {
      if (this.#closed) return;
      await this.#rollBack();
      const error = SwitchyardError.from(cause, "negotiation_failed");
      if (error.retryable && this.#attempts < RETRIES) {
        this.#attempts += 1;
        this.#restart ||= restart;
        this.#later(RETRY_DELAY, () => this.negotiate());
      } else {
        this.#attempts = 0;
        this.#actions.failed(error);
      }
    }
  }

  async #takeOffer({ revision, sdp }: ServerOffer): Promise<void> {
    try {
      await this.#connection.setRemoteDescription({ type: "offer", sdp });
      await this.#connection.setLocalDescription();
    } catch (cause) {
      if (this.#closed) return;
      await this.#rollBack();
      this.#actions.failed(SwitchyardError.from(cause, "negotiation_failed"));
      return;
    }
    if (this.#closed) return;
    // The reply is not waited for: messages keep their order, so a local offer may follow the answer at once.
    this.#actions.answer(revision, withAudioNack(this.#localSdp(), sdp)).catch((cause: unknown) => {
      if (!this.#closed) this.#actions.failed(SwitchyardError.from(cause, "negotiation_failed"));
    });
    this.#actions.applied();
  }

  #localSdp(): string {
    return this.#connection.localDescription?.sdp ?? "";
  }

  async #rollBack(): Promise<void> {
    const state = this.#connection.signalingState;
    try {
      if (state === "have-local-offer") await this.#connection.setLocalDescription({ type: "rollback" });
      else if (state === "have-remote-offer") await this.#connection.setRemoteDescription({ type: "rollback" });
    } catch (cause) {
      if (!this.#closed) this.#actions.failed(SwitchyardError.from(cause, "negotiation_failed"));
    }
  }

  #yield(): void {
    this.#yielding = true;
    this.#later(YIELD_TIMEOUT, () => {
      this.#yielding = false;
      void this.#run();
    });
  }

  #later(delay: number, action: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (!this.#closed) action();
    }, delay);
  }
}
