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

/** Restarts that are negotiated in vain, once the browser has called the connection `failed`, before it is given up for another. */
export const RESTARTS = 3;

/** What recovery does to the world. */
export interface RecoveryActions {
  /** Resolves once signaling has shown that it works. */
  prove(): Promise<unknown>;
  /** Restarts ICE, with these servers if there are any; resolves when that is negotiated, or failed. */
  restart(servers: readonly IceServer[] | null): Promise<void>;
  /** Gives up the connection for another one. Nothing more is asked for after this. */
  renew(): void;
  /** {@link Recovery.broken} is another value. */
  changed(): void;
}

/**
 * Decides when to restart ICE: at once when the path is broken, when the network is another one or when the server asks;
 * again while the path stays broken; never while there is no signaling to negotiate it by, which has to show first that
 * it works: an offer that does not arrive would keep the browser from going on along the old path when that is back. And when to give up the
 * connection for another: when it can't be repaired, or a failed one was not.
 */
export class Recovery {
  readonly #actions: RecoveryActions;
  #state: RTCPeerConnectionState = "new";
  #silent = false;
  #broken = false;
  #signaling = true;
  /** A restart is due even if the path is not broken. */
  #wanted = false;
  /** The same, unless the path comes back by itself. */
  #shaken = false;
  #servers: readonly IceServer[] | null = null;
  #running = false;
  /** Nothing can repair the connection. */
  #dead = false;
  /** Restarts since it has failed. */
  #futile = 0;
  #startedAt = -Infinity;
  #resumedAt = -Infinity;
  #notBefore = -Infinity;
  #pause = FIRST_PAUSE;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #flicker: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  /** `succeeds`: the connection is to replace another one, and counts as broken until it is there. */
  constructor(actions: RecoveryActions, succeeds = false) {
    this.#actions = actions;
    if (!succeeds) return;
    this.#broken = true;
    this.#notBefore = performance.now() + FIRST_PAUSE;
    this.#go();
  }

  /** Nothing comes along the path, as far as is known. */
  get broken(): boolean {
    return this.#broken;
  }

  /** Takes the connection's state at each change. */
  setState(state: RTCPeerConnectionState): void {
    this.#state = state;
    clearTimeout(this.#flicker);
    if (state === "connected") {
      this.#futile = 0;
      this.#shaken = false;
    }
    if (state === "disconnected") {
      this.#flicker = setTimeout(() => this.#judge(true), FLICKER);
      this.#shaken = true;
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

  /** There may be a better path than the one in use. */
  explore(): void {
    this.#wanted = true;
    this.#go();
  }

  /** The server asks for a restart: it hears nothing of this client. */
  asked(servers: readonly IceServer[]): void {
    this.#servers = servers;
    this.#wanted = true;
    this.#go();
  }

  /** No restart will help: DTLS has failed, at one of the ends. */
  giveUp(): void {
    if (this.#dead) return;
    this.#dead = true;
    this.#judge();
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
    const broken = failed || this.#dead || this.#silent || (this.#broken && this.#state !== "connected");
    if (broken === this.#broken) return;
    this.#broken = broken;
    if (!broken) this.#pause = FIRST_PAUSE;
    this.#actions.changed();
    this.#go();
  }

  #go(): void {
    clearTimeout(this.#timer);
    if (this.#closed || !this.#signaling) return;
    if (this.#dead) {
      this.close();
      this.#actions.renew();
      return;
    }
    if (this.#running || !this.#due) return;
    const wait = this.#notBefore - performance.now();
    if (wait > 0) this.#timer = setTimeout(() => this.#go(), wait);
    else if (this.#futile >= RESTARTS) this.giveUp();
    else void this.#restart();
  }

  get #due(): boolean {
    return this.#wanted || this.#shaken || this.#broken;
  }

  async #restart(): Promise<void> {
    this.#running = true;
    await this.#actions.prove().catch(() => {});
    if (this.#closed) return;
    if (!this.#due) {
      this.#running = false;
      return;
    }
    const servers = this.#servers;
    this.#servers = null;
    this.#wanted = this.#shaken = false;
    if (this.#state === "failed") this.#futile += 1;
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
