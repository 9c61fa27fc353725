import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { type Received, LONGEST, LOOK_INTERVAL, Playout, Playouts, QUIET, readReceived } from "./playout.js";

/** What happens to the 50 packets of a second: how many never come, and how many are made up. */
interface Second {
  lost?: number;
  madeUp?: number;
  /** Milliseconds that sound waits. */
  wait?: number;
}

const NOTHING: Received = { due: 0, missed: 0, received: 0, lost: 0, asked: undefined, waited: 0, emitted: 0 };

function after(heard: Received, { lost = 0, madeUp = 0, wait = 60 }: Second): Received {
  return {
    due: heard.due + 48_000,
    missed: heard.missed + madeUp * 960,
    received: heard.received + 50 - lost,
    lost: heard.lost + lost,
    asked: undefined,
    waited: heard.waited + (48_000 * wait) / 1_000,
    emitted: heard.emitted + 48_000,
  };
}

/** A stream of sound that somebody looks at. */
function listen() {
  const playout = new Playout();
  let heard = NOTHING;
  playout.look(heard);
  return {
    playout,
    hear(second: Second, times = 1): void {
      for (let time = 0; time < times; time += 1) playout.look((heard = after(heard, second)));
    },
    restart(): void {
      playout.look((heard = NOTHING));
    },
  };
}

test("sound that keeps coming too late gets a longer buffer, up to a limit", () => {
  const { playout, hear } = listen();
  hear({ madeUp: 1 });
  expect(playout.target).toBeNull();
  hear({ madeUp: 1 });
  expect(playout.target).toBe(140);
  hear({ madeUp: 1, wait: 140 }, 2);
  expect(playout.target).toBe(220);
  hear({ madeUp: 1, wait: 220 }, 20);
  expect(playout.target).toBe(LONGEST);
});

test("one hiccup is none, nor is one now and then", () => {
  const { playout, hear } = listen();
  for (let minute = 0; minute < 10; minute += 1) {
    hear({ madeUp: 5 });
    hear({}, 12);
  }
  expect(playout.target).toBeNull();
});

test("sound that never comes gains nothing by waiting", () => {
  const { playout, hear } = listen();
  hear({ lost: 5, madeUp: 5 }, 60);
  // What is counted as lost at one look is made up at another.
  for (let time = 0; time < 30; time += 1) {
    hear({ lost: 5, madeUp: 7 });
    hear({ lost: 5, madeUp: 3 });
  }
  expect(playout.target).toBeNull();
  hear({ lost: 2, madeUp: 6 }, 2);
  expect(playout.target).not.toBeNull();
});

test("the buffer becomes shorter step by step when it has been quiet for long", () => {
  const { playout, hear } = listen();
  hear({ madeUp: 2, wait: 100 }, 2);
  expect(playout.target).toBe(180);
  hear({ wait: 180 }, QUIET - 1);
  expect(playout.target).toBe(180);
  hear({ wait: 180 });
  expect(playout.target).toBe(160);
  hear({ wait: 160 }, 5);
  expect(playout.target).toBe(140);
  hear({ madeUp: 1, wait: 140 }, 2);
  expect(playout.target, "too short").toBe(220);
  hear({}, QUIET + 100);
  expect(playout.target, "the browser's own size again").toBeNull();
});

test("a stream that begins anew, or that pauses, says nothing", () => {
  const { playout, hear, restart } = listen();
  for (let time = 0; time < 10; time += 1) {
    restart();
    hear({}, 1);
  }
  expect(playout.target).toBeNull();
  restart();
  playout.look({ ...NOTHING, due: 48_000, missed: 48_000 });
  playout.look({ ...NOTHING, due: 96_000, missed: 96_000 });
  expect(playout.target, "nothing comes").toBeNull();
});

test("made-up silence is not counted, and of several streams the latest counts", () => {
  const read = (...streams: object[]) =>
    readReceived(
      new Map(
        streams.map((stream, at) => [String(at), { type: "inbound-rtp", ...stream }]),
      ) as unknown as RTCStatsReport,
    );
  const sound = { kind: "audio", totalSamplesReceived: 48_000, packetsReceived: 50, packetsLost: 1 };
  expect(
    read(
      { ...sound, concealedSamples: 9_000, lastPacketReceivedTimestamp: 1 },
      { ...sound, concealedSamples: 900, silentConcealedSamples: 600, lastPacketReceivedTimestamp: 2 },
      { ...sound, type: "remote-outbound-rtp", lastPacketReceivedTimestamp: 3 },
    ),
  ).toEqual({ ...NOTHING, due: 48_000, missed: 300, received: 50, lost: 1 });
  const picture = {
    kind: "video",
    framesDecoded: 27,
    framesDropped: 3,
    packetsReceived: 60,
    packetsLost: 5,
    nackCount: 4,
  };
  expect(read(picture)).toEqual({ ...NOTHING, due: 30, missed: 3, received: 60, asked: 4 });
  expect(read({ kind: "audio" })).toBeNull();
  expect(read()).toBeNull();
});

test("pictures that are left out wait longer if packets are asked for, not for want of a processor", () => {
  for (const asks of [true, false]) {
    const playout = new Playout();
    for (let second = 0; second < 10; second += 1) {
      const pictures = { due: 30 * second, missed: 3 * second, received: 60 * second, asked: asks ? 5 * second : 5 };
      playout.look({ ...NOTHING, ...pictures, waited: 3 * second, emitted: 30 * second });
    }
    expect(playout.target).toBe(asks ? LONGEST : null);
  }
});

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("receivers are looked at every second, each by itself, and those that can't be set are left alone", async () => {
  let looks = 0;
  const receiver = (late: boolean, settable = true) => {
    let heard = NOTHING;
    return {
      ...(settable ? { jitterBufferTarget: null as number | null } : {}),
      getStats: async () => {
        looks += 1;
        heard = after(heard, { madeUp: late ? 1 : 0 });
        const { due, missed, received, waited, emitted } = heard;
        const stream = { totalSamplesReceived: due, concealedSamples: missed, packetsReceived: received };
        return new Map([
          [
            "A",
            {
              type: "inbound-rtp",
              kind: "audio",
              ...stream,
              jitterBufferDelay: waited,
              jitterBufferEmittedCount: emitted,
            },
          ],
        ]);
      },
    };
  };
  const [good, bad, old] = [receiver(false), receiver(true), receiver(true, false)];
  const playouts = new Playouts(() => [good, bad, old] as unknown as RTCRtpReceiver[]);
  await vi.advanceTimersByTimeAsync(3 * LOOK_INTERVAL);
  expect([good.jitterBufferTarget, bad.jitterBufferTarget]).toEqual([null, 140]);
  expect(old).not.toHaveProperty("jitterBufferTarget");
  expect(looks).toBe(6);
  playouts.close();
  await vi.advanceTimersByTimeAsync(5 * LOOK_INTERVAL);
  expect(looks).toBe(6);
});
