import { selectedPair } from "./pulse.js";

/** Milliseconds on a detour until the direct way is tried: what has just failed has time to recover, which browsers notice by themselves for half a minute. */
export const FIRST_INTERVAL = 20_000;
/** Each further try that does not help comes after this many times as long, */
const FACTOR = 2;
/** but not later than after this many milliseconds: what is still in the way after an hour may be so for good, and a try costs a negotiation and some connections. */
export const LONGEST_INTERVAL = 600_000;
/** Milliseconds that the direct way has to hold before its next end counts as the first: one that only seems to work costs some seconds without media each time. */
export const PROOF_TIME = 60_000;

/**
 * Leads media back to the direct way. Browsers that UDP has failed go on over TCP or a TURN server, and stay there though UDP works again: they
 * look for paths only when ICE restarts. So that is tried, ever more rarely, for as long as media takes a detour. What a try finds is used if it is better; until
 * then, and if nothing is found, media goes on as before.
 */
export class Detour {
  readonly #leave: () => void;
  #taken = false;
  #leftAt = -Infinity;
  #interval = FIRST_INTERVAL;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `leave` looks for another path. */
  constructor(leave: () => void) {
    this.#leave = leave;
  }

  /** Takes, at each look, whether media takes a detour. */
  setTaken(taken: boolean): void {
    if (taken === this.#taken) return;
    this.#taken = taken;
    clearTimeout(this.#timer);
    const now = performance.now();
    if (!taken) {
      this.#leftAt = now;
      return;
    }
    if (now - this.#leftAt >= PROOF_TIME) this.#interval = FIRST_INTERVAL;
    this.#wait();
  }

  /** The device has other addresses, for whose sake ICE restarts anyway: what was found out about the way before means nothing. */
  networkChanged(): void {
    this.#interval = FIRST_INTERVAL;
    if (this.#taken) this.#wait();
  }

  /** Stops. */
  close(): void {
    this.#taken = false;
    clearTimeout(this.#timer);
  }

  #wait(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#interval = Math.min(this.#interval * FACTOR, LONGEST_INTERVAL);
      this.#wait();
      this.#leave();
    }, this.#interval);
  }
}

/**
 * Whether media takes a detour, according to a browser's statistics: TCP or a TURN server, or with `relayOnly`, where nothing else is wanted, a TURN server by TCP. Null if no path is known.
 */
export function isDetour(report: RTCStatsReport, relayOnly: boolean): boolean | null {
  const id: unknown = selectedPair(report)?.["localCandidateId"];
  const candidate = typeof id === "string" ? (report.get(id) as Record<string, unknown> | undefined) : undefined;
  if (!candidate) return null;
  const { candidateType, protocol, relayProtocol } = candidate;
  const isRelay = candidateType === "relay";
  // A relay's own protocol towards the server is UDP, whatever leads to the relay.
  if (relayOnly && isRelay) return relayProtocol !== undefined && relayProtocol !== "udp";
  return isRelay || protocol === "tcp";
}
