import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { FIRST_PAUSE, LONGEST_PAUSE, PATIENCE, Recovery } from "./recovery.js";

let restarts: number;
let recovery: Recovery;

beforeEach(() => {
  vi.useFakeTimers();
  restarts = 0;
  recovery = new Recovery(() => (restarts += 1));
});
afterEach(() => void vi.useRealTimers());

test("a short disconnection heals by itself", () => {
  recovery.update("disconnected");
  vi.advanceTimersByTime(PATIENCE - 1);
  recovery.update("connected");
  vi.advanceTimersByTime(LONGEST_PAUSE * 3);
  expect(restarts).toBe(0);
});

test("a longer disconnection restarts ICE after two seconds", () => {
  recovery.update("disconnected");
  vi.advanceTimersByTime(2_000);
  expect(restarts).toBe(1);
});

test("a failed connection restarts ICE at once", () => {
  recovery.update("failed");
  expect(restarts).toBe(1);
});

test("restarts go on, ever more slowly, until one helps", () => {
  recovery.update("failed");
  vi.advanceTimersByTime(FIRST_PAUSE);
  expect(restarts).toBe(2);
  recovery.update("connecting");
  recovery.update("failed");
  expect(restarts).toBe(2);
  vi.advanceTimersByTime(FIRST_PAUSE * 2);
  expect(restarts).toBe(3);
  vi.advanceTimersByTime(LONGEST_PAUSE * 4);
  expect(restarts).toBe(7);
  recovery.update("connected");
  vi.advanceTimersByTime(LONGEST_PAUSE * 4);
  expect(restarts).toBe(7);
});

test("a closed connection is left alone", () => {
  recovery.update("disconnected");
  recovery.update("closed");
  vi.advanceTimersByTime(LONGEST_PAUSE * 3);
  expect(restarts).toBe(0);
});
