/** Milliseconds that a `disconnected` connection has to heal by itself before ICE is restarted. */
export const PATIENCE = 2_000;
/** Milliseconds until the next restart if one did not help; doubled each time up to {@link LONGEST_PAUSE}. */
export const FIRST_PAUSE = 5_000;
/** The longest time between two restarts, so that a network that comes back is found soon. */
export const LONGEST_PAUSE = 20_000;

/** Decides when to restart ICE: at once when the connection failed, soon when it is disconnected, again while it stays so. */
export class Recovery {
  readonly #restart: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #pause = FIRST_PAUSE;
  #restarting = false;

  constructor(restart: () => void) {
    this.#restart = restart;
  }

  /** Takes the connection's state at each change. */
  update(state: RTCPeerConnectionState): void {
    switch (state) {
      case "connected":
      case "closed":
        this.close();
        break;
      case "disconnected":
        if (!this.#restarting) this.#after(PATIENCE);
        break;
      case "failed":
        if (!this.#restarting) this.#now();
        break;
      default: // "new" and "connecting" go on by themselves, also after a restart.
    }
  }

  /** Stops. */
  close(): void {
    clearTimeout(this.#timer);
    this.#restarting = false;
    this.#pause = FIRST_PAUSE;
  }

  #after(delay: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#now(), delay);
  }

  #now(): void {
    this.#restarting = true;
    this.#restart();
    this.#after(this.#pause);
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE);
  }
}
