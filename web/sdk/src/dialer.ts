import { Emitter } from "./emitter.js";
import { SwitchyardError } from "./errors.js";
import { answers, Link, openLink, type Server } from "./link.js";

/** Milliseconds that the first connection of all may take: nothing tries again if it fails. */
export const FIRST_TIMEOUT = 10_000;
/** Milliseconds that the first attempt after a loss may take: it is right after good times, or the network is gone. */
export const DIAL_TIMEOUT = 2_000;
/** Milliseconds that a WebSocket may take when the server has just answered by HTTP: the line is slow then, but there is one. */
export const OPEN_TIMEOUT = 5_000;
/**
 * Milliseconds that it may take at first: Firefox may have it wait for a connection that was begun in a black hole, and
 * whose turn comes only when TCP tries again. It begins another one when this one is given up.
 */
export const SOON_TIMEOUT = 700;
/** Or so many times as long as the answer took, on a slow line. */
const SLOW_FACTOR = 4;
/** Milliseconds that an HTTP answer may take: four round trips on the slowest line on which a meeting makes sense. */
export const PROBE_TIMEOUT = 5_000;
/**
 * Milliseconds until it is asked for once more, beside the first time: TCP sends again what was lost in a black hole after
 * 1, 3 and 7 s only. So five questions are open at most; browsers open six connections to a host.
 */
export const PROBE_INTERVAL = 1_000;
/** The first pause is a random part of this many milliseconds, each further one of twice as many, */
export const FIRST_PAUSE = 100;
/** up to this many while somebody is waiting, */
export const LONGEST_PAUSE = 2_000;
/** that is for this long after the loss; */
export const URGENT = 60_000;
/** and up to this many later. */
export const LATE_PAUSE = 10_000;
/** The shortest pause after the server has answered that it is busy, and how much longer it may be at first: there are others who wait. */
export const BUSY_PAUSE = 1_000;
const BUSY_SPREAD = 4_000;
/** Connections that hold for this long have been good ones: the next loss begins with short pauses again. */
export const STABLE = 10_000;
/** An attempt younger than this many milliseconds goes on when the network has changed: events of browsers come several at once. */
const YOUNG = 250;

/** The events of {@link Dialer}. */
export interface DialerEvents {
  /** {@link Dialer.nextAttempt} is another value. */
  changed: [];
}

/** Connects to the server, as often as it takes. */
export class Dialer extends Emitter<DialerEvents> {
  readonly #server: Server;
  readonly #random: () => number;
  /** When the last connection was lost. */
  #lostAt: number | null = null;
  #establishedAt: number | null = null;
  #attempts = 0;
  #pauses = 0;
  #busy = false;
  #spare: Link | null = null;
  #closed = false;
  #nextAttempt: Date | null = null;
  /** Ends the pause. */
  #wake: (() => void) | null = null;
  /** The attempt that is being made. */
  #attempt: { since: number; abort: AbortController } | null = null;

  constructor(server: Server, random: () => number = Math.random) {
    super();
    this.#server = server;
    this.#random = random;
  }

  /** When the next attempt begins; null while one is being made or none is needed. */
  get nextAttempt(): Date | null {
    return this.#nextAttempt;
  }

  /** Connects for the first time: one attempt, whose error is the caller's. */
  async first(): Promise<Link> {
    const link = await openLink(this.#server, FIRST_TIMEOUT);
    if (!this.#closed) return link;
    link.drop(1000);
    throw closed();
  }

  /** Connects again. Rejects only when the dialer is closed. */
  async dial(): Promise<Link> {
    const now = performance.now();
    const held = this.#establishedAt === null ? null : now - this.#establishedAt;
    const first = this.#lostAt === null;
    if (first || held !== null) this.#lostAt = now;
    if (first || (held !== null && held >= STABLE)) {
      this.#attempts = 0;
      this.#pauses = 0;
    }
    this.#establishedAt = null;
    const spare = this.#spare;
    this.#spare = null;
    if (spare?.open && !this.#closed) return spare;
    while (!this.#closed) {
      await this.#pause();
      if (this.#closed) break;
      const link = await this.#try();
      if (link) return link;
    }
    throw closed();
  }

  /** Makes an attempt now: something happened that may have brought the network back. */
  hurry(): void {
    this.#pauses = 0;
    if (this.#wake) this.#wake();
    else if (this.#attempt && performance.now() - this.#attempt.since >= YOUNG) this.#attempt.abort.abort();
  }

  /** The connection serves: it is resumed, or joined. */
  established(): void {
    this.#establishedAt = performance.now();
  }

  /** The server has answered that it is busy: the next pause is a longer one. */
  busy(): void {
    this.#busy = true;
  }

  /** Keeps an open connection for the next {@link dial}. */
  keep(link: Link): void {
    link.onMessage = () => {};
    this.#spare = link;
  }

  /** Stops. */
  close(): void {
    this.#closed = true;
    this.#spare?.drop(1000);
    this.#attempt?.abort.abort();
    this.#wake?.();
  }

  async #pause(): Promise<void> {
    const longest = this.#urgent ? LONGEST_PAUSE : LATE_PAUSE;
    const spread = this.#busy ? Math.max(BUSY_SPREAD, longest) : Math.min(longest, FIRST_PAUSE * 2 ** this.#pauses);
    const delay = (this.#busy ? BUSY_PAUSE : 0) + this.#random() * spread;
    this.#busy = false;
    this.#pauses += 1;
    this.#setNextAttempt(new Date(Date.now() + delay));
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, delay);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = null;
    this.#setNextAttempt(null);
  }

  async #try(): Promise<Link | null> {
    this.#attempts += 1;
    const first = this.#attempts === 1;
    const abort = new AbortController();
    this.#attempt = { since: performance.now(), abort };
    try {
      if (first) return await openLink(this.#server, DIAL_TIMEOUT, abort.signal);
      const took = await this.#find(abort.signal);
      if (took === null || took instanceof Link) return took;
      const soon = Math.max(SOON_TIMEOUT, took * SLOW_FACTOR);
      return await openLink(this.#server, Math.min(soon, OPEN_TIMEOUT), abort.signal).catch((cause: unknown) => {
        if (!(cause instanceof SwitchyardError) || cause.code !== "timeout" || soon >= OPEN_TIMEOUT) throw cause;
        return openLink(this.#server, OPEN_TIMEOUT, abort.signal);
      });
    } catch {
      return null;
    } finally {
      this.#attempt = null;
    }
  }

  /** Looks for the server until it is reached: an open connection, or how long it took to answer by HTTP; null if there is none. */
  async #find(signal: AbortSignal): Promise<Link | number | null> {
    if (!this.#server.knocks) return this.#reach(signal);
    const stop = new AbortController();
    const abort = () => stop.abort();
    signal.addEventListener("abort", abort);
    try {
      return await Promise.race([this.#reach(stop.signal), this.#knock(stop.signal)]);
    } finally {
      signal.removeEventListener("abort", abort);
      stop.abort();
    }
  }

  /** Opens WebSockets, one after the other, as long as there is no answer at all. Waits for ever once it is to stop, or once there is one. */
  async #knock(signal: AbortSignal): Promise<Link> {
    let pause = PROBE_INTERVAL;
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      if (signal.aborted) break;
      const opened = await openLink(this.#server, OPEN_TIMEOUT, signal).catch((cause: SwitchyardError) => cause);
      if (opened instanceof Link) return opened;
      if (opened.code !== "timeout") break;
      pause = this.#urgent ? 0 : LATE_PAUSE;
    }
    return new Promise(() => {});
  }

  /**
   * Asks by HTTP, again and again as long as there is no answer at all. How many milliseconds the answer took, to the one
   * that was asked last before it; null if there is no server.
   */
  #reach(signal: AbortSignal): Promise<number | null> {
    return new Promise((resolve) => {
      const stop = new AbortController();
      let timer: ReturnType<typeof setTimeout>;
      let asked = performance.now();
      const end = (reached: boolean) => {
        clearTimeout(timer);
        signal.removeEventListener("abort", abort);
        stop.abort();
        resolve(reached ? performance.now() - asked : null);
      };
      const abort = () => end(false);
      const ask = () => {
        asked = performance.now();
        void answers(this.#server, PROBE_TIMEOUT, stop.signal).then((reached) => {
          if (reached !== null) end(reached);
        });
        timer = setTimeout(ask, this.#urgent ? PROBE_INTERVAL : LATE_PAUSE);
      };
      signal.addEventListener("abort", abort);
      ask();
    });
  }

  get #urgent(): boolean {
    return performance.now() - (this.#lostAt ?? 0) < URGENT;
  }

  #setNextAttempt(at: Date | null): void {
    this.#nextAttempt = at;
    this.emit("changed");
  }
}

function closed(): SwitchyardError {
  return new SwitchyardError("not_connected", "The room was left.");
}
