/** A timer that can stand still: it counts only the time between {@link start} and {@link stop}. */
export class Countdown {
  readonly #over: () => void;
  #left: number;
  #started = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Calls `over` when it has run for `milliseconds` in all. It stands still at first. */
  constructor(milliseconds: number, over: () => void) {
    this.#left = milliseconds;
    this.#over = over;
  }

  start(): void {
    if (this.#timer !== undefined) return;
    this.#started = performance.now();
    this.#timer = setTimeout(this.#over, Math.max(0, this.#left));
  }

  stop(): void {
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#left -= performance.now() - this.#started;
  }
}
