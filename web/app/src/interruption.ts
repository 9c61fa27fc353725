import type { Outage } from "@switchyard/sdk";

import { explain } from "./explain.js";

/** What somebody in a meeting notices of an outage. */
export type Interruption = "offline" | "server" | "everything" | "messages" | "media";

/** Milliseconds that messages may be interrupted before there is a word about it: what is over by then nobody has noticed, and if sound and picture are gone as well, that is known by then. */
export const UNNOTICED = 3_000;
/** Milliseconds after which it is said when the next attempt is: before, there is one every other second. */
const LONG = 60_000;

/** What an outage is for the person in front of the screen. */
export function interruptionOf({ rejoining, offline, media, signaling }: Outage): Interruption {
  if (offline) return "offline";
  if (rejoining) return "server";
  if (media && signaling) return "everything";
  return media ? "media" : "messages";
}

/** An outage in words. */
export interface InterruptionText {
  /** What is interrupted. */
  what: string;
  /** What happens next. */
  next: string;
  /** When the server is tried again, if attempts are rare. */
  attempt: string | null;
}

/** Says what is interrupted and what happens next, at the time `now` in milliseconds since 1970. */
export function explainInterruption(outage: Outage, now: number): InterruptionText {
  const attempt = outage.signaling ? attemptText(outage, now) : null;
  switch (interruptionOf(outage)) {
    case "offline":
      return { what: "You are offline.", next: "The meeting goes on by itself when your network is back.", attempt };
    case "server":
      return outage.error?.code === "moved"
        ? { what: explain(outage.error).what, next: "This page follows by itself.", attempt }
        : { what: serverText(outage), next: "This page takes you back in by itself.", attempt };
    case "everything":
      return now - outage.since.getTime() < LONG
        ? { what: "Connection lost.", next: "You are still in the meeting; it goes on by itself.", attempt }
        : { what: "The server can't be reached.", next: "The meeting goes on by itself when it can.", attempt };
    case "messages":
      return { what: "Reconnecting to the server.", next: "Sound and picture go on meanwhile.", attempt };
    case "media":
      return {
        what: "Sound and picture are interrupted.",
        next: "Looking for another way through the network…",
        attempt,
      };
  }
}

function serverText({ error }: Outage): string {
  switch (error?.code) {
    case "overloaded":
    case "limit_reached":
    case "too_slow":
    case "transport_timeout":
      return explain(error).what;
    default:
      return "The server is restarting.";
  }
}

function attemptText({ nextAttempt, since, error }: Outage, now: number): string | null {
  const seconds = nextAttempt ? Math.ceil((nextAttempt.getTime() - now) / 1_000) : 0;
  const rare = now - since.getTime() >= LONG || error?.code === "overloaded" || error?.code === "limit_reached";
  if (!rare) return null;
  return seconds >= 1 ? `Next attempt in ${seconds}\u00a0s.` : "Trying now…";
}
