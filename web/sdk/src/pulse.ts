/** Milliseconds between two looks while something comes. */
export const LOOK_INTERVAL = 1_000;
/** Milliseconds between two looks while nothing comes. */
export const SILENT_INTERVAL = 500;
/** Milliseconds without anything after which the path counts as broken. */
export const SILENCE = 2_000;
/** Looks in a row that have to find something new before silence means anything: a line that is idle anyway is not suspected. */
export const REGULAR = 3;

/** What has come in on the path in use, media and answers to STUN, as counters of which any may be another than before. */
export type Reading = string;

/**
 * Watches whether anything comes from the server: browsers take 5 s and more to call a connection disconnected, and some
 * never do while they still wait for an answer.
 */
export class Pulse {
  readonly #read: () => Promise<Reading | null>;
  readonly #expecting: () => boolean;
  readonly #changed: (silent: boolean) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;
  #latest: Reading | null = null;
  /** When there was something new. */
  #heardAt = 0;
  #looks = 0;
  #silent = false;

  /** `expecting` says whether there is something to come; `changed` is told of silence and of its end. */
  constructor(read: () => Promise<Reading | null>, expecting: () => boolean, changed: (silent: boolean) => void) {
    this.#read = read;
    this.#expecting = expecting;
    this.#changed = changed;
    this.#later(LOOK_INTERVAL);
  }

  /** Stops. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #later(delay: number): void {
    this.#timer = setTimeout(() => void this.#look(), delay);
  }

  async #look(): Promise<void> {
    const reading = await this.#read().catch(() => null);
    if (this.#closed) return;
    const now = performance.now();
    const news = reading !== null && reading !== this.#latest;
    this.#latest = reading;
    if (news) {
      this.#heardAt = now;
      this.#looks += 1;
      this.#setSilent(false);
    } else if (!this.#silent && (this.#looks < REGULAR || !this.#expecting())) {
      this.#looks = 0;
    } else if (now - this.#heardAt >= SILENCE) {
      this.#looks = 0;
      this.#setSilent(true);
    }
    this.#later(news || (this.#looks === 0 && !this.#silent) ? LOOK_INTERVAL : SILENT_INTERVAL);
  }

  #setSilent(silent: boolean): void {
    if (silent === this.#silent) return;
    this.#silent = silent;
    this.#changed(silent);
  }
}

/** The path in use, in a browser's statistics; undefined if there is none. */
export function selectedPair(report: RTCStatsReport): Record<string, unknown> | undefined {
  const entries = [...report.values()] as Record<string, unknown>[];
  const selected = entries.find(({ type }) => type === "transport")?.["selectedCandidatePairId"];
  const pairs = entries.filter(({ type }) => type === "candidate-pair");
  // Firefox says so in the pair itself.
  return (
    pairs.find(({ id }) => id === selected) ??
    pairs.find((each) => each["selected"] === true) ??
    pairs.find(({ nominated, state }) => nominated === true && state === "succeeded")
  );
}

/** What has come in on the path in use; null if there is none. */
export function readPath(report: RTCStatsReport): Reading | null {
  const pair = selectedPair(report);
  if (!pair) return null;
  const { id, bytesReceived, packetsReceived, responsesReceived, lastPacketReceivedTimestamp } = pair;
  return [id, bytesReceived, packetsReceived, responsesReceived, lastPacketReceivedTimestamp].join(" ");
}
