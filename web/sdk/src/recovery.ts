import type { IceServer } from "./protocol.js";

/** Milliseconds from the end of one restart's negotiation to the next restart, if there has to be one: a path is checked within two round trips. */
export const FIRST_PAUSE = 2_000;
/** Each further one that does not help makes it this many times as long, */
const FACTOR = 1.5;
/** up to this, so that a network that comes back is found soon. */
export const LONGEST_PAUSE = 5_000;
/** Browsers tell of one change of the network by several events: those within this many milliseconds are one. */
const TOGETHER = 500;

/** Milliseconds that a connection has to be `disconnected` to count as broken: for shorter than that they often are when a path takes over from another. */
export const FLICKER = 500;

/** What recovery does to the world. */
export interface RecoveryActions {
  /** Restarts ICE, with these servers if there are any; resolves when that is negotiated, or failed. */
  restart(servers: readonly IceServer[] | null): Promise<void>;
  /** {@link Recovery.broken} is another value. */
  changed(): void;
}

/**
 * Decides when to restart ICE: at once when the path is broken, when the network is another one or when the server asks;
 * again while the path stays broken; never while there is no signaling to negotiate it by.
 */
export class Recovery {
  readonly #actions: RecoveryActions;
  #state: RTCPeerConnectionState = "new";
  #silent = false;
  #broken = false;
  #signaling = true;
  /** A restart is due even if the path is not broken. */
  #wanted = false;
  #servers: readonly IceServer[] | null = null;
  #running = false;
  #startedAt = -Infinity;
  #resumedAt = -Infinity;
  #notBefore = -Infinity;
  #pause = FIRST_PAUSE;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #flicker: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(actions: RecoveryActions) {
    this.#actions = actions;
  }

  /** Nothing comes along the path, as far as is known. */
  get broken(): boolean {
    return this.#broken;
  }

  /** Takes the connection's state at each change. */
  setState(state: RTCPeerConnectionState): void {
    this.#state = state;
    clearTimeout(this.#flicker);
    if (state === "disconnected") {
      this.#flicker = setTimeout(() => this.#judge(true), FLICKER);
      this.#wanted = true;
    }
    this.#judge();
    this.#go();
  }

  /** Whether media and STUN have stopped although they were to come. */
  setSilent(silent: boolean): void {
    this.#silent = silent;
    this.#judge();
  }

  /** Whether there is a connection to negotiate by. */
  setSignaling(up: boolean): void {
    if (up && !this.#signaling) {
      // The network is back, most likely with other addresses than an offer has that was made before.
      this.#resumedAt = performance.now();
      this.#notBefore = -Infinity;
    }
    this.#signaling = up;
    this.#go();
  }

  /** The device has other addresses. */
  networkChanged(): void {
    if (performance.now() - this.#startedAt < TOGETHER) return;
    this.#wanted = true;
    this.#go();
  }

  /** The server asks for a restart: it hears nothing of this client. */
  asked(servers: readonly IceServer[]): void {
    this.#servers = servers;
    this.#wanted = true;
    this.#go();
  }

  /** Stops. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#flicker);
  }

  #judge(lasting = false): void {
    const failed = this.#state === "failed" || (lasting && this.#state === "disconnected");
    // Between the failure of one path and the next path, a connection is "connecting".
    const broken = failed || this.#silent || (this.#broken && this.#state !== "connected");
    if (broken === this.#broken) return;
    this.#broken = broken;
    if (!broken) this.#pause = FIRST_PAUSE;
    this.#actions.changed();
    this.#go();
  }

  #go(): void {
    clearTimeout(this.#timer);
    if (this.#closed || this.#running || !this.#signaling || !(this.#wanted || this.#broken)) return;
    const wait = this.#notBefore - performance.now();
    if (wait > 0) this.#timer = setTimeout(() => this.#go(), wait);
    else void this.#restart();
  }

  async #restart(): Promise<void> {
    const servers = this.#servers;
    this.#servers = null;
    this.#wanted = false;
    this.#running = true;
    this.#startedAt = performance.now();
    await this.#actions.restart(servers).catch(() => {});
    this.#running = false;
    if (this.#startedAt >= this.#resumedAt) {
      this.#notBefore = performance.now() + this.#pause;
      this.#pause = this.#broken ? Math.min(this.#pause * FACTOR, LONGEST_PAUSE) : FIRST_PAUSE;
    }
    this.#go();
  }
}
