import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { LOOK_INTERVAL, Pulse, readPath, REGULAR, SILENCE } from "./pulse.js";

let pulse: Pulse;
let packets: number;
let expecting: boolean;
let told: boolean[];
let reading: () => Promise<string | null>;

beforeEach(() => {
  vi.useFakeTimers();
  packets = 0;
  expecting = true;
  told = [];
  reading = async () => String(packets);
  pulse = new Pulse(
    () => reading(),
    () => expecting,
    (silent) => told.push(silent),
  );
});
afterEach(() => {
  pulse.close();
  vi.useRealTimers();
});

/** Packets come, 50 a second. */
async function flow(milliseconds: number): Promise<void> {
  for (let passed = 0; passed < milliseconds; passed += 20) {
    packets += 1;
    await vi.advanceTimersByTimeAsync(20);
  }
}

test("silence is told within three seconds, and its end", async () => {
  await flow((REGULAR + 2) * LOOK_INTERVAL);
  expect(told).toEqual([]);
  await vi.advanceTimersByTimeAsync(SILENCE - 1_000);
  expect(told).toEqual([]);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(told).toEqual([true]);
  await flow(600);
  expect(told).toEqual([true, false]);
});

test("a pause shorter than two seconds is none", async () => {
  await flow(10_000);
  await vi.advanceTimersByTimeAsync(SILENCE - 20);
  await flow(10_000);
  expect(told).toEqual([]);
});

test("an idle line is not suspected", async () => {
  // As many answers to STUN as a browser gets while there is nothing else.
  for (let answers = 0; answers < 20; answers += 1) {
    packets += 1;
    await vi.advanceTimersByTimeAsync(2_500);
  }
  await vi.advanceTimersByTimeAsync(60_000);
  expect(told).toEqual([]);
});

test("silence is no wonder when nobody sends anything", async () => {
  await flow(10_000);
  expecting = false;
  await vi.advanceTimersByTimeAsync(60_000);
  expect(told).toEqual([]);
  // What comes then has to become regular first.
  expecting = true;
  await vi.advanceTimersByTimeAsync(60_000);
  expect(told).toEqual([]);
});

test("statistics that can't be had are silence, not an error", async () => {
  await flow(10_000);
  reading = async () => {
    throw new Error("no");
  };
  await vi.advanceTimersByTimeAsync(4_000);
  expect(told).toEqual([true]);
});

test("after its end nothing is read any more", async () => {
  await flow(10_000);
  pulse.close();
  reading = () => Promise.reject(new Error("read after the end"));
  await vi.advanceTimersByTimeAsync(60_000);
  expect(told).toEqual([]);
  expect(vi.getTimerCount()).toBe(0);
});

const report = (...entries: { id: string; type: string }[]) =>
  new Map(entries.map((entry) => [entry.id, entry])) as unknown as RTCStatsReport;

test("the path in use is the transport's selected pair, or the one that says so itself", () => {
  const transport = { id: "T", type: "transport", selectedCandidatePairId: "B" };
  const a = { id: "A", type: "candidate-pair", bytesReceived: 1, nominated: true, state: "succeeded" };
  const b = { id: "B", type: "candidate-pair", bytesReceived: 2, nominated: true, state: "succeeded" };
  expect(readPath(report(transport, a, b))).toMatch(/^B 2 /u);
  expect(readPath(report(a, { ...b, selected: true } as never))).toMatch(/^B 2 /u);
  expect(readPath(report(a))).toMatch(/^A 1 /u);
  expect(readPath(report({ ...a, nominated: false } as never))).toBeNull();
  expect(readPath(report())).toBeNull();
});
