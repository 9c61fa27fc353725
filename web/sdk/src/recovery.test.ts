import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import type { IceServer } from "./protocol.js";
import { FIRST_PAUSE, FLICKER, LONGEST_PAUSE, Recovery, type RecoveryActions } from "./recovery.js";

/** Milliseconds at which ICE was restarted. */
let restarts: number[];
let servers: (readonly IceServer[] | null)[];
let recovery: Recovery;
/** Ends the negotiation of a restart. */
let negotiated: () => void;
let slow: boolean;
let broken: boolean[];
/** Milliseconds at which another connection was asked for. */
let renewals: number[];
let actions: RecoveryActions;
/** Has signaling show that it works. */
let prove: () => void;
let proven: boolean;

const pass = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds);

beforeEach(() => {
  vi.useFakeTimers();
  const start = performance.now();
  restarts = [];
  servers = [];
  broken = [];
  slow = false;
  renewals = [];
  proven = true;
  actions = {
    prove: () => (proven ? Promise.resolve() : new Promise<void>((resolve) => (prove = resolve))),
    restart: (fresh) => {
      restarts.push(performance.now() - start);
      servers.push(fresh);
      return slow ? new Promise((resolve) => (negotiated = resolve)) : Promise.resolve();
    },
    renew: () => renewals.push(performance.now() - start),
    changed: () => broken.push(recovery.broken),
  };
  recovery = new Recovery(actions);
});
afterEach(() => {
  recovery.close();
  vi.useRealTimers();
});

test.each(["disconnected", "failed"] as const)("a connection that is %s restarts ICE at once", async (state) => {
  recovery.setState("connected");
  recovery.setState(state);
  await pass(0);
  expect(restarts).toEqual([0]);
});

test("a connection that is disconnected for a moment is not broken, one that stays so is", async () => {
  recovery.setState("connected");
  recovery.setState("disconnected");
  await pass(FLICKER - 1);
  recovery.setState("connected");
  await pass(60_000);
  expect(restarts).toEqual([0]);
  expect(broken).toEqual([]);
  recovery.setState("disconnected");
  await pass(FLICKER);
  expect(broken).toEqual([true]);
  await pass(2_000);
  expect(restarts).toHaveLength(3);
  recovery.setState("connected");
  expect(broken).toEqual([true, false]);
});

test("a path that has fallen silent restarts ICE at once, before the browser calls it disconnected", async () => {
  recovery.setState("connected");
  recovery.setSilent(true);
  await pass(0);
  expect(restarts).toEqual([0]);
  recovery.setState("disconnected");
  await pass(0);
  expect(restarts).toEqual([0]);
});

test("a better path is looked for once, when there is signaling to do it by, and nothing counts as broken", async () => {
  recovery.setState("connected");
  recovery.setSignaling(false);
  recovery.explore();
  await pass(10_000);
  expect(restarts).toEqual([]);
  recovery.setSignaling(true);
  await pass(60_000);
  expect(restarts).toEqual([10_000]);
  expect(broken).toEqual([]);
});

test("restarts go on, ever more slowly, until one helps", async () => {
  recovery.setSilent(true);
  await pass(13_000);
  expect(restarts).toEqual([0, 2_000, 5_000, 9_500]);
  recovery.setState("connecting");
  await pass(LONGEST_PAUSE * 2);
  expect(restarts).toEqual([0, 2_000, 5_000, 9_500, 14_500, 19_500]);
  recovery.setSilent(false);
  recovery.setState("connected");
  await pass(LONGEST_PAUSE * 4);
  expect(restarts).toHaveLength(6);
  expect(broken).toEqual([true, false]);
  // The next time begins anew.
  recovery.setState("failed");
  await pass(FIRST_PAUSE);
  expect(restarts).toHaveLength(8);
});

describe("a connection that can't be repaired", () => {
  test("is given up for another at once", () => {
    recovery.setState("connected");
    recovery.giveUp();
    expect([restarts, renewals, broken]).toEqual([[], [0], [true]]);
  });

  test("is given up when there is signaling to do it by, once", async () => {
    recovery.setState("connected");
    recovery.setSignaling(false);
    recovery.giveUp();
    recovery.setState("failed");
    await pass(30_000);
    expect(renewals).toEqual([]);
    recovery.setSignaling(true);
    recovery.setSignaling(false);
    recovery.setSignaling(true);
    recovery.giveUp();
    await pass(30_000);
    expect([restarts, renewals]).toEqual([[], [30_000]]);
  });

  test("is one that has failed and three restarts did not bring back", async () => {
    recovery.setState("failed");
    await pass(9_499);
    expect([restarts, renewals]).toEqual([[0, 2_000, 5_000], []]);
    await pass(1);
    expect([restarts, renewals]).toEqual([[0, 2_000, 5_000], [9_500]]);
    await pass(60_000);
    expect(renewals).toHaveLength(1);
  });

  test("is none that came back in between", async () => {
    recovery.setState("failed");
    await pass(6_000);
    recovery.setState("connected");
    recovery.setState("failed");
    await pass(8_000);
    expect(renewals).toEqual([]);
  });

  test("is given up although a restart of it is under way", async () => {
    slow = true;
    recovery.setState("failed");
    await pass(0);
    recovery.giveUp();
    expect(renewals).toEqual([0]);
    negotiated();
    await pass(60_000);
    expect(restarts).toEqual([0]);
  });
});

test("a connection that takes the place of another is repaired if it isn't there soon", async () => {
  recovery.close();
  recovery = new Recovery(actions, true);
  expect(recovery.broken).toBe(true);
  await pass(FIRST_PAUSE);
  expect(restarts).toEqual([FIRST_PAUSE]);
  recovery.setState("connected");
  await pass(60_000);
  expect(restarts).toHaveLength(1);
  expect(recovery.broken).toBe(false);
});

test("the next one waits for the negotiation of the one before, and then for what that brings", async () => {
  slow = true;
  recovery.setState("failed");
  await pass(10_000);
  expect(restarts).toEqual([0]);
  negotiated();
  await pass(FIRST_PAUSE - 1);
  expect(restarts).toEqual([0]);
  await pass(1);
  expect(restarts).toEqual([0, 12_000]);
});

describe("without signaling", () => {
  test("it is put off, and done as soon as there is some", async () => {
    recovery.setState("connected");
    recovery.setSignaling(false);
    recovery.setSilent(true);
    await pass(30_000);
    expect(restarts).toEqual([]);
    recovery.setSignaling(true);
    await pass(0);
    expect(restarts).toEqual([30_000]);
  });

  test("the pause after the one before ends", async () => {
    recovery.setState("failed");
    await pass(100);
    recovery.setSignaling(false);
    await pass(100);
    recovery.setSignaling(true);
    await pass(0);
    expect(restarts).toEqual([0, 200]);
  });

  test("nothing is done if the path has come back by itself", async () => {
    recovery.setState("connected");
    recovery.setSignaling(false);
    recovery.setSilent(true);
    await pass(5_000);
    recovery.setSilent(false);
    recovery.setSignaling(true);
    await pass(30_000);
    expect(restarts).toEqual([]);
  });

  test("that only seems to work no offer is made: the browser can go on along the old path when it is back", async () => {
    recovery.setState("connected");
    proven = false;
    recovery.setSilent(true);
    recovery.setState("disconnected");
    await pass(1_000);
    recovery.setSignaling(false);
    await pass(20_000);
    recovery.setState("connected");
    recovery.setSilent(false);
    recovery.setSignaling(true);
    prove();
    await pass(30_000);
    expect(restarts).toEqual([]);
    // The next time it shows that it does.
    recovery.setSilent(true);
    await pass(500);
    prove();
    await pass(0);
    expect(restarts).toEqual([51_500]);
  });

  test("an offer that was made before it was lost is followed at once by one with the addresses of now", async () => {
    recovery.setState("connected");
    slow = true;
    recovery.setSilent(true);
    await pass(0);
    recovery.setSignaling(false);
    await pass(20_000);
    recovery.setSignaling(true);
    await pass(100);
    negotiated();
    await pass(0);
    expect(restarts).toEqual([0, 20_100]);
  });
});

describe("another network", () => {
  test("restarts ICE once although nothing is broken yet, however many events tell of it", async () => {
    recovery.setState("connected");
    recovery.networkChanged();
    recovery.networkChanged();
    await pass(400);
    recovery.networkChanged();
    await pass(60_000);
    expect(restarts).toEqual([0]);
    expect(broken).toEqual([]);
  });

  test("again is another restart, after a pause", async () => {
    recovery.setState("connected");
    recovery.networkChanged();
    await pass(1_500);
    recovery.networkChanged();
    await pass(60_000);
    expect(restarts).toEqual([0, FIRST_PAUSE]);
  });
});

test("the server's wish is done with the servers that it names", async () => {
  const fresh = [{ urls: ["turn:example.org"] }];
  recovery.setState("connected");
  recovery.asked(fresh);
  await pass(60_000);
  expect(restarts).toEqual([0]);
  expect(servers).toEqual([fresh]);
});

test("a closed one does nothing more", async () => {
  recovery.setState("disconnected");
  await pass(0);
  recovery.close();
  await pass(60_000);
  expect(restarts).toEqual([0]);
});

test("one that is closed before signaling has shown that it works does nothing either", async () => {
  recovery.setState("disconnected");
  recovery.close();
  await pass(60_000);
  expect(restarts).toEqual([]);
});
