import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import {
  BUSY_PAUSE,
  DIAL_TIMEOUT,
  Dialer,
  FIRST_PAUSE,
  FIRST_TIMEOUT,
  LATE_PAUSE,
  LONGEST_PAUSE,
  OPEN_TIMEOUT,
  SOON_TIMEOUT,
  PROBE_INTERVAL,
  PROBE_TIMEOUT,
  STABLE,
  URGENT,
} from "./dialer.js";
import type { Link } from "./link.js";
import { FakeSocket } from "./testing/socket.js";

type Answer = "open" | "refuse" | "hang";

let dialer: Dialer;
/** Whether the browser is one that tries WebSockets although HTTP is not answered. */
let knocks: boolean;
let start: number;
/** What was tried when, in milliseconds. */
let tried: { at: number; what: "socket" | "probe" }[];
let sockets: FakeSocket[];
let socketAnswer: Answer;
let probeAnswer: Answer | number;
let random: number;
/** Of the probes that hang: whether they were given up, and how to answer them. */
let asked: AbortSignal[];
let answer: (() => void)[];

beforeEach(() => {
  vi.useFakeTimers();
  start = performance.now();
  knocks = false;
  tried = [];
  sockets = [];
  socketAnswer = "open";
  probeAnswer = 200;
  random = 1;
  asked = [];
  answer = [];
  const note = (what: "socket" | "probe") => tried.push({ at: Math.round(performance.now() - start), what });
  dialer = new Dialer(
    {
      url: "wss://example.org:8443/v1/ws",
      encoding: "json",
      get knocks() {
        return knocks;
      },
      openSocket: (_, subprotocol) => {
        note("socket");
        const socket = new FakeSocket(subprotocol);
        sockets.push(socket);
        const outcome = socketAnswer;
        if (outcome !== "hang")
          queueMicrotask(() => socket.fire(outcome === "open" ? "open" : "close", { code: 1006 }));
        return socket as never;
      },
      fetch: (url, { signal, method, mode, cache }) => {
        note("probe");
        expect({ url, method, mode, cache }).toEqual({
          url: "https://example.org:8443/",
          method: "HEAD",
          mode: "no-cors",
          cache: "no-store",
        });
        if (typeof probeAnswer === "number") return Promise.resolve(new Response(null, { status: probeAnswer }));
        if (probeAnswer === "refuse") return Promise.reject(new TypeError("refused"));
        asked.push(signal as AbortSignal);
        return new Promise((resolve, reject) => {
          answer.push(() => resolve(new Response()));
          signal?.addEventListener("abort", () => reject(new Error("aborted")));
        });
      },
    },
    () => random,
  );
});
afterEach(() => {
  dialer.close();
  vi.useRealTimers();
});

/** Dials, and lets time pass. */
async function dialFor(milliseconds: number): Promise<Link | null> {
  let link: Link | null = null;
  dialer.dial().then(
    (opened) => (link = opened),
    () => {},
  );
  await vi.advanceTimersByTimeAsync(milliseconds);
  return link;
}

const times = (what: "socket" | "probe") => tried.filter((each) => each.what === what).map(({ at }) => at);

describe("the first connection", () => {
  test.each([
    ["can't be reached", "refuse", "connection_failed"],
    ["takes too long", "hang", "timeout"],
  ] as const)("fails if the server %s", async (_, outcome, code) => {
    socketAnswer = outcome;
    const failed = expect(dialer.first()).rejects.toMatchObject({ code, retryable: true });
    await vi.advanceTimersByTimeAsync(FIRST_TIMEOUT);
    await failed;
    expect(tried).toHaveLength(1);
    expect(sockets[0]?.closed).toBe(true);
  });

  test("fails if the server takes another subprotocol", async () => {
    socketAnswer = "hang";
    const failed = expect(dialer.first()).rejects.toMatchObject({ code: "connection_failed" });
    Object.assign(sockets[0] as FakeSocket, { protocol: "something.else" });
    sockets[0]?.fire("open");
    await failed;
  });

  test("fails if the address is none", async () => {
    const broken = new Dialer({
      url: "nonsense",
      encoding: "json",
      knocks: false,
      openSocket: () => {
        throw new SyntaxError("no");
      },
      fetch,
    });
    await expect(broken.first()).rejects.toMatchObject({ code: "connection_failed" });
  });
});

describe("connecting again", () => {
  test("begins with a WebSocket, within a tenth of a second", async () => {
    expect(await dialFor(FIRST_PAUSE)).not.toBeNull();
    expect(tried).toEqual([{ at: FIRST_PAUSE, what: "socket" }]);
    expect(FIRST_PAUSE).toBe(100);
  });

  test("goes on at pauses that double up to two seconds, and for a while after a minute up to ten", async () => {
    socketAnswer = "refuse";
    probeAnswer = "refuse";
    await dialFor(URGENT + 4 * LATE_PAUSE);
    const pauses = tried.map(({ at }, index) => at - (tried[index - 1]?.at ?? 0));
    expect(pauses.slice(0, 7)).toEqual([100, 200, 400, 800, 1_600, LONGEST_PAUSE, LONGEST_PAUSE]);
    expect(pauses.at(-1)).toBe(LATE_PAUSE);
    expect(LONGEST_PAUSE).toBe(2_000);
    expect(LATE_PAUSE).toBe(10_000);
  });

  test("takes any part of a pause, so that a room full of people doesn't come at once", async () => {
    random = 0.25;
    socketAnswer = "refuse";
    probeAnswer = "refuse";
    await dialFor(1_000);
    expect(tried.slice(0, 4).map(({ at }) => at)).toEqual([25, 75, 175, 375]);
  });

  test("asks by HTTP first from the second attempt on, and opens no WebSocket while that isn't answered", async () => {
    socketAnswer = "refuse";
    probeAnswer = "refuse";
    await dialFor(30_000);
    expect(times("socket")).toEqual([100]);
    expect(times("probe").length).toBeGreaterThan(10);
    probeAnswer = 404;
    socketAnswer = "open";
    await vi.advanceTimersByTimeAsync(LONGEST_PAUSE);
    expect(times("socket")).toHaveLength(2);
  });

  test.each([502, 503, 504])("takes a proxy's %d for no server", async (status) => {
    socketAnswer = "refuse";
    probeAnswer = status;
    await dialFor(10_000);
    expect(times("socket")).toHaveLength(1);
  });

  test("gives up the first WebSocket after two seconds; of a server that answers one soon and the next later", async () => {
    socketAnswer = "hang";
    random = 0;
    await dialFor(DIAL_TIMEOUT - 1);
    expect(sockets[0]?.closed).toBe(false);
    await vi.advanceTimersByTimeAsync(10);
    expect(sockets[0]?.closed).toBe(true);
    expect(sockets).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(SOON_TIMEOUT - 20);
    expect(sockets[1]?.closed).toBe(false);
    await vi.advanceTimersByTimeAsync(20);
    expect(sockets.map(({ closed }) => closed)).toEqual([true, true, false]);
    await vi.advanceTimersByTimeAsync(OPEN_TIMEOUT - 20);
    expect(sockets[2]?.closed).toBe(false);
    await vi.advanceTimersByTimeAsync(20);
    expect(sockets[2]?.closed).toBe(true);
    expect(DIAL_TIMEOUT).toBe(2_000);
  });

  test("has more patience with a WebSocket of a server that took long to answer", async () => {
    socketAnswer = "hang";
    probeAnswer = "hang";
    random = 0;
    await dialFor(DIAL_TIMEOUT + 600);
    answer[0]?.();
    await vi.advanceTimersByTimeAsync(SOON_TIMEOUT + 1_000);
    expect(sockets.map(({ closed }) => closed)).toEqual([true, false]);
  });

  test("asks every second as long as nothing answers, and takes the first answer to any", async () => {
    socketAnswer = "hang";
    probeAnswer = "hang";
    random = 0;
    await dialFor(DIAL_TIMEOUT + 3 * PROBE_INTERVAL + 100);
    expect(times("probe").map((at) => Math.round(at / 100) * 100)).toEqual([2_000, 3_000, 4_000, 5_000]);
    expect(asked.map(({ aborted }) => aborted)).toEqual([false, false, false, false]);
    socketAnswer = "open";
    answer[1]?.();
    await vi.advanceTimersByTimeAsync(1);
    expect(sockets).toHaveLength(2);
    expect(asked.map(({ aborted }) => aborted)).toEqual([true, false, true, true]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(times("probe")).toHaveLength(4);
  });

  test("asks five times at once at most, and less often after a minute", async () => {
    socketAnswer = "hang";
    probeAnswer = "hang";
    let most = 0;
    void dialFor(0);
    for (let second = 0; second < 120; second += 1) {
      await vi.advanceTimersByTimeAsync(1_000);
      most = Math.max(most, asked.filter(({ aborted }) => !aborted).length);
    }
    expect(most).toBe(PROBE_TIMEOUT / PROBE_INTERVAL);
    const probes = times("probe");
    expect((probes.at(-1) ?? 0) - (probes.at(-2) ?? 0)).toBe(LATE_PAUSE);
  });

  describe("where questions share connections that were begun in a black hole", () => {
    beforeEach(() => {
      knocks = true;
      socketAnswer = "hang";
      probeAnswer = "hang";
      random = 0;
    });

    test("WebSockets are tried as well, one at a time, and without a pause", async () => {
      await dialFor(DIAL_TIMEOUT + PROBE_INTERVAL + 3 * OPEN_TIMEOUT - 1);
      expect(times("socket").map((at) => Math.round(at / 100) * 100)).toEqual([0, 3_000, 8_000, 13_000]);
      expect(sockets.map(({ closed }) => closed)).toEqual([true, true, true, false]);
    });

    test("the first that opens is the connection, and nothing more is asked", async () => {
      let link: Link | undefined;
      void dialer.dial().then((opened) => (link = opened));
      await vi.advanceTimersByTimeAsync(DIAL_TIMEOUT + PROBE_INTERVAL + 200);
      sockets[1]?.fire("open", {});
      await vi.advanceTimersByTimeAsync(1);
      expect(link?.open).toBe(true);
      expect(asked.every(({ aborted }) => aborted)).toBe(true);
      await vi.advanceTimersByTimeAsync(60_000);
      expect(sockets).toHaveLength(2);
      expect(sockets[1]?.closed).toBe(false);
    });

    test("an answer by HTTP ends the one that waits and begins another", async () => {
      await dialFor(DIAL_TIMEOUT + PROBE_INTERVAL + 200);
      socketAnswer = "open";
      answer[0]?.();
      await vi.advanceTimersByTimeAsync(1);
      expect(sockets.map(({ closed }) => closed)).toEqual([true, true, false]);
      await vi.advanceTimersByTimeAsync(60_000);
      expect(sockets).toHaveLength(3);
    });

    test("none is tried again that was refused: there is a network, and soon an answer", async () => {
      await dialFor(DIAL_TIMEOUT + 100);
      socketAnswer = "refuse";
      await vi.advanceTimersByTimeAsync(20_000);
      expect(sockets).toHaveLength(2);
    });

    test("after a minute they come at longer pauses", async () => {
      await dialFor(120_000);
      const late = times("socket").filter((at) => at > 75_000);
      expect(late.slice(1).map((at, index) => Math.round((at - (late[index] ?? 0)) / 100) * 100)).toEqual([
        15_000, 15_000,
      ]);
    });
  });

  test("says when the next attempt begins", async () => {
    socketAnswer = "refuse";
    probeAnswer = "hang";
    const told: (number | null)[] = [];
    const now = Date.now();
    dialer.on("changed", () => told.push(dialer.nextAttempt && dialer.nextAttempt.getTime() - now));
    await dialFor(300);
    expect(told).toEqual([100, null, 300, null]);
  });
});

describe("when the network may be back", () => {
  test("the pause ends at once, and the next ones are short", async () => {
    socketAnswer = "refuse";
    probeAnswer = "refuse";
    await dialFor(10_000);
    tried.length = 0;
    start = performance.now();
    dialer.hurry();
    await vi.advanceTimersByTimeAsync(FIRST_PAUSE);
    expect(tried.map(({ at }) => at)).toEqual([0, 100]);
  });

  test("an attempt that was begun before is begun anew", async () => {
    socketAnswer = "hang";
    random = 0;
    await dialFor(1_000);
    socketAnswer = "open";
    dialer.hurry();
    await vi.advanceTimersByTimeAsync(10);
    expect(sockets).toHaveLength(2);
    // What becomes of the first is of no interest any more.
    sockets[0]?.fire("open");
  });

  test("questions that are unanswered are asked anew", async () => {
    socketAnswer = "hang";
    probeAnswer = "hang";
    random = 0;
    await dialFor(2_900);
    probeAnswer = 200;
    socketAnswer = "open";
    dialer.hurry();
    await vi.advanceTimersByTimeAsync(10);
    expect(sockets).toHaveLength(2);
    expect(asked.map(({ aborted }) => aborted)).toEqual([true]);
  });

  test("several signs of it are one", async () => {
    socketAnswer = "hang";
    random = 0;
    await dialFor(1_000);
    dialer.hurry();
    await vi.advanceTimersByTimeAsync(10);
    dialer.hurry();
    dialer.hurry();
    await vi.advanceTimersByTimeAsync(100);
    expect(sockets).toHaveLength(2);
  });
});

test("a connection that broke again soon is followed by longer pauses, one that held by short ones", async () => {
  for (const pause of [100, 200, 400]) {
    start = performance.now();
    tried.length = 0;
    expect(await dialFor(5_000)).not.toBeNull();
    expect(tried[0]?.at).toBe(pause);
    dialer.established();
  }
  await vi.advanceTimersByTimeAsync(STABLE);
  start = performance.now();
  tried.length = 0;
  await dialFor(5_000);
  expect(tried).toEqual([{ at: 100, what: "socket" }]);
});

test("a connection that was there, however shortly, is urgently looked for again, however long that before was", async () => {
  socketAnswer = "hang";
  probeAnswer = "hang";
  random = 0;
  await dialFor(URGENT - 1_000);
  socketAnswer = "open";
  answer.at(-1)?.();
  await vi.advanceTimersByTimeAsync(1);
  dialer.established();
  await vi.advanceTimersByTimeAsync(STABLE / 2);
  start = performance.now();
  tried.length = 0;
  await dialFor(URGENT - 1_000);
  expect(times("probe").length).toBeGreaterThan(URGENT / PROBE_INTERVAL - 5);
});

test("a busy server is given at least a second, and a random time more", async () => {
  dialer.busy();
  random = 0;
  await dialFor(BUSY_PAUSE - 1);
  expect(tried).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  expect(tried).toHaveLength(1);
  dialer.busy();
  random = 0.5;
  start = performance.now();
  tried.length = 0;
  await dialFor(5_000);
  expect(tried[0]?.at).toBe(3_000);
});

test("an open connection that was kept is the next one, unless it has closed meanwhile", async () => {
  const first = await dialFor(100);
  dialer.keep(first as Link);
  expect(await dialFor(0)).toBe(first);
  dialer.keep(first as Link);
  sockets[0]?.fire("close", { code: 1006 });
  expect(await dialFor(10_000)).not.toBe(first);
  expect(sockets).toHaveLength(2);
});

test.each([
  ["in a pause", 50, "open"],
  ["while connecting", 1_000, "hang"],
  ["while asking", 5_000, "hang"],
] as const)("a closed one stops %s", async (_, after, outcome) => {
  socketAnswer = outcome;
  probeAnswer = "hang";
  const dialled = dialer.dial();
  const failed = expect(dialled).rejects.toMatchObject({ code: "not_connected" });
  await vi.advanceTimersByTimeAsync(after);
  dialer.close();
  await failed;
  expect(vi.getTimerCount()).toBe(0);
});
