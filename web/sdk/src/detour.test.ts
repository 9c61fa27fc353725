import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { Detour, FIRST_INTERVAL, isDetour, LONGEST_INTERVAL, PROOF_TIME } from "./detour.js";

let detour: Detour;
/** Milliseconds at which the direct way was tried. */
let tries: number[];

const pass = (milliseconds: number) => vi.advanceTimersByTime(milliseconds);

beforeEach(() => {
  vi.useFakeTimers();
  const start = performance.now();
  tries = [];
  detour = new Detour(() => tries.push(performance.now() - start));
});
afterEach(() => {
  detour.close();
  vi.useRealTimers();
});

/** A look each second, as long as media goes the same way. */
function goes(taken: boolean, milliseconds: number): void {
  for (let passed = 0; passed < milliseconds; passed += 1_000) {
    detour.setTaken(taken);
    pass(1_000);
  }
}

test("who takes the direct way is left alone", () => {
  goes(false, 2 * LONGEST_INTERVAL);
  expect(tries).toEqual([]);
  expect(vi.getTimerCount()).toBe(0);
});

test("on a detour the direct way is tried, ever more rarely", () => {
  goes(true, 700_000);
  expect(tries).toEqual([20_000, 60_000, 140_000, 300_000, 620_000]);
  goes(true, 2_000_000);
  const pauses = tries.slice(1).map((at, index) => at - (tries[index] as number));
  expect(pauses.slice(-3)).toEqual([LONGEST_INTERVAL, LONGEST_INTERVAL, LONGEST_INTERVAL]);
});

test("a direct way that has held is tried soon when the next detour begins", () => {
  goes(true, 70_000);
  goes(false, PROOF_TIME);
  goes(true, FIRST_INTERVAL);
  expect(tries).toEqual([20_000, 60_000, 150_000]);
});

test("a direct way that ends soon again is tried as rarely as before", () => {
  goes(true, 60_000);
  goes(false, PROOF_TIME - 1_000);
  goes(true, 79_000);
  expect(tries).toEqual([20_000, 60_000]);
  goes(true, 1_000);
  expect(tries).toEqual([20_000, 60_000, 199_000]);
});

test("in another network it begins anew", () => {
  goes(true, 70_000);
  detour.networkChanged();
  goes(true, 20_000);
  expect(tries).toEqual([20_000, 60_000, 90_000]);
  goes(false, 1_000);
  detour.networkChanged();
  expect(vi.getTimerCount()).toBe(0);
});

test("nothing is tried after the end", () => {
  goes(true, 1_000);
  detour.close();
  expect(vi.getTimerCount()).toBe(0);
});

const report = (...entries: { id: string; type: string }[]) =>
  new Map(entries.map((entry) => [entry.id, entry])) as unknown as RTCStatsReport;
const pair = { id: "P", type: "candidate-pair", selected: true, localCandidateId: "C" };
const local = (candidate: object) => report(pair, { id: "C", type: "local-candidate", ...candidate });

test.each([
  ["host", { candidateType: "host", protocol: "udp" }, false, false],
  ["host by TCP", { candidateType: "host", protocol: "tcp" }, true, true],
  ["a NAT's address by TCP", { candidateType: "prflx", protocol: "tcp" }, true, true],
  ["a relay", { candidateType: "relay", protocol: "udp", relayProtocol: "udp" }, true, false],
  ["a relay by TCP", { candidateType: "relay", protocol: "udp", relayProtocol: "tcp" }, true, true],
  ["a relay by TLS", { candidateType: "relay", protocol: "udp", relayProtocol: "tls" }, true, true],
  ["a relay, it isn't said how", { candidateType: "relay", protocol: "udp" }, true, false],
])("%s is a detour, or is none", (_, candidate, taken, takenWithRelayOnly) => {
  expect(isDetour(local(candidate), false)).toBe(taken);
  expect(isDetour(local(candidate), true)).toBe(takenWithRelayOnly);
});

test("of a path that isn't known nothing is said", () => {
  expect(isDetour(report(), false)).toBeNull();
  expect(isDetour(report(pair), false)).toBeNull();
});
