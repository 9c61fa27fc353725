import type { Outage, SwitchyardError } from "@switchyard/sdk";
import { expect, test } from "vitest";

import { explainInterruption, interruptionOf } from "./interruption.js";

const START = 1_000_000;

function outage(parts: Partial<Outage>): Outage {
  const nothing = { signaling: false, media: false, rejoining: false, offline: false, nextAttempt: null, error: null };
  return { ...nothing, since: new Date(START), ...parts };
}

test.each([
  [{ media: true }, "media"],
  [{ signaling: true }, "messages"],
  [{ signaling: true, media: true }, "everything"],
  [{ signaling: true, media: true, rejoining: true }, "server"],
  [{ signaling: true, media: true, rejoining: true, offline: true }, "offline"],
  [{ signaling: true, offline: true }, "offline"],
] as const)("%j is %s", (parts, expected) => expect(interruptionOf(outage(parts))).toBe(expected));

test("what is said is what is interrupted, and what happens next", () => {
  const said = (parts: Partial<Outage>, now = START) => Object.values(explainInterruption(outage(parts), now));
  expect(said({ media: true })).toEqual([
    "Sound and picture are interrupted.",
    "Looking for another way through the network…",
    null,
  ]);
  expect(said({ signaling: true })[1]).toBe("Sound and picture go on meanwhile.");
  expect(said({ signaling: true, media: true })[0]).toBe("Connection lost.");
  expect(said({ signaling: true, media: true }, START + 60_000)[0]).toBe("The server can't be reached.");
  expect(said({ signaling: true, media: true, rejoining: true })[0]).toBe("The server is restarting.");
  const error = { code: "overloaded" } as SwitchyardError;
  expect(said({ signaling: true, media: true, rejoining: true, error })[0]).toBe(
    "The server is busy with other meetings.",
  );
  const moved = { code: "moved" } as SwitchyardError;
  expect(said({ signaling: true, media: true, rejoining: true, error: moved }).slice(0, 2)).toEqual([
    "You are being taken to another room.",
    "This page follows by itself.",
  ]);
});

test("the time of the next attempt is said when attempts have become rare", () => {
  const nextAttempt = new Date(START + 66_400);
  const said = (now: number) => explainInterruption(outage({ signaling: true, nextAttempt }), now).attempt;
  expect(said(START + 59_000)).toBeNull();
  expect(said(START + 60_000)).toBe("Next attempt in 7\u00a0s.");
  expect(said(START + 66_000)).toBe("Next attempt in 1\u00a0s.");
  expect(said(START + 66_400)).toBe("Trying now…");
});
