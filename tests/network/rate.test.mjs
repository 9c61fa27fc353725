// Lines that carry little: pictures follow what they carry, and who has a good line gets a good picture.
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { audience, meeting } from "./lib/meeting.mjs";
import { describe, quality } from "./lib/quality.mjs";
import { until } from "../browser/lib/tab.mjs";

/** Of a camera's frames in a second, and of those at least … */
const FPS = 30;
const LEAST_FPS = 12;
/** … what Chromium's cameras show, … */
const CAMERA = { width: 640, height: 360 };
/** … and the widths of their encodings. */
const [SMALL, LARGE] = [320, 640];
/** Milliseconds until what is sent fits a line that has become slow, and until it has recovered with it. */
const FITS = 3_000;
const RECOVERS = 15_000;
/** Milliseconds of a wide line before it becomes slow: probes for more are over, and the queue of a path that has become longer is taken for its length. */
const UNDISTURBED = 8_000;
/** Seconds that pictures stand still meanwhile, all together. */
const FROZEN = 2;
/** Milliseconds without standing still after which somebody's picture counts as settled. A freeze is counted when it ends, with all of its time. */
const STEADY = 2_000;

/** What `at` decodes of `of` at the moment. */
const decoded = async (at, of) => (await at.received())[of]?.camera ?? {};

/** Milliseconds until `at` decodes `of` at `expected` pixels across, and goes on doing so. */
async function becomes(at, of, expected, patience) {
  const from = performance.now();
  await until(`${at.name} decodes ${of} ${expected} pixels wide`, async () => (await decoded(at, of)).frameWidth === expected, patience);
  return Math.round(performance.now() - from);
}

/** Waits until `at` decodes `of` at that width and at so many frames a second at least, for {@link STEADY} without standing still. */
async function settles(at, of, { width, fps }, patience) {
  const settled = async () => {
    const { fps: came, frozen } = (await quality(at, [of], STEADY)).received[of];
    return came >= fps && frozen === 0 && (await decoded(at, of)).frameWidth === width;
  };
  await until(`${at.name} sees ${of} ${width} pixels wide, ${fps} times a second`, settled, patience);
}

for (const who of ["Ada", "Eve"]) {
  const browser = who === "Ada" ? "Chromium" : "Firefox";
  meeting(`${browser} on a line of 3 Mbit/s, then 500 kbit/s, then 3 again`, { fps: FPS, timeout: 240_000, who: [who], camera: CAMERA, conditions: "delay=20ms" }, async (scene, { line, Ben, ...people }) => {
    const person = people[who];
    const report = (result) => scene.report(describe(person, "Ben", result));
    const large = async () => {
      await line.say("line delay=20ms,rate=3Mbit/s");
      await until("the picture is large and whole", async () => {
        const { frameWidth, framesPerSecond } = await decoded(person, "Ben");
        return frameWidth === LARGE && framesPerSecond >= FPS * 0.8;
      }, RECOVERS);
    };
    await scene.measured("at 3 Mbit/s the picture is as large as there is", async () => {
      await large();
      const result = await quality(person, ["Ben"], UNDISTURBED);
      report(result);
      assert.ok(result.received.Ben.fps >= FPS * 0.8, `${result.received.Ben.fps} frames a second`);
    });
    await scene.measured(`at 500 kbit/s it fits within ${FITS / 1000} s, and at 3 Mbit/s again it is large within ${RECOVERS / 1000} s`, async () => {
      await large();
      await pause(UNDISTURBED);
      const measured = quality(person, ["Ben"], 12_000);
      await line.say("line delay=20ms,rate=500kbit/s");
      scene.report(`${SMALL} pixels after ${await becomes(person, "Ben", SMALL, FITS)} ms`);
      const result = await measured;
      report(result);
      const { fps, frozen, concealed } = result.received.Ben;
      assert.ok(frozen <= FROZEN, `frozen for ${frozen} s`);
      assert.ok(fps >= LEAST_FPS, `${fps} frames a second`);
      assert.ok(concealed <= 0.03, `${concealed} of the sound concealed`);
      await large();
      report(await quality(person, ["Ben"], 4_000));
    });
  });
}

/** Of a camera with three encodings: how wide they are, the smallest first. */
const WIDTHS = [240, 480, 960];
/** Whose line carries what, and what they are to see of it. */
const LINES = [
  { who: "Ada", rate: "200kbit/s", width: WIDTHS[0], fps: 3 },
  { who: "Eve", rate: "1Mbit/s", width: WIDTHS[1], fps: 12 },
  { who: "Cai", rate: "5Mbit/s", width: WIDTHS[2], fps: 12 },
];

audience(
  "three viewers on 200 kbit/s, 1 and 5 Mbit/s",
  {
    fps: 15,
    timeout: 210_000,
    lines: Object.fromEntries(LINES.map(({ who, rate }) => [who, rate])),
    browser: { Ada: "chromium", Eve: "firefox", Cai: "chromium" },
    windows: { Cai: { width: 1400, height: 900 } },
    camera: { width: 960, height: 540 },
  },
  async (scene, { Ben, ...people }) => {
    // Who comes needs keyframes, of which each is half a second's worth of the slowest line, and sends a picture and sound themselves until they turn that off.
    const since = performance.now();
    await Promise.all(LINES.map(({ who, width, fps }) => settles(people[who], "Ben", { width, fps }, RECOVERS)));
    scene.report(`${Math.round(performance.now() - since)} ms after the last has come everybody's picture is as it is to be`);
    for (const { who, rate, width, fps } of LINES) {
      await scene.measured(`${rate}: ${width} pixels across, ${fps} frames a second and no freeze`, async () => {
        const took = await becomes(people[who], "Ben", width, RECOVERS);
        const result = await quality(people[who], ["Ben"], 8_000);
        scene.report(`${width} pixels after ${took} ms; ${describe(people[who], "Ben", result)}`);
        const { received } = result;
        assert.ok(received.Ben.fps >= fps, `${received.Ben.fps} frames a second`);
        assert.ok(received.Ben.frozen <= FROZEN, `frozen for ${received.Ben.frozen} s`);
        assert.ok(received.Ben.concealed <= 0.03, `${received.Ben.concealed} of the sound concealed`);
        assert.equal((await decoded(people[who], "Ben")).frameWidth, width);
      });
    }
    await scene.step("and its publisher's encoder is not short of time", async () => {
      const reasons = await Ben.evaluate(readReasons);
      assert.ok(reasons.length === WIDTHS.length && !reasons.includes("cpu"), reasons.join(", "));
    });
  },
);

/** Runs in the page: why each encoding that is sent is not better than it is. */
async function readReasons() {
  const streams = [...(await window.switchyard.peerConnection.getStats()).values()];
  return streams.filter(({ type, kind, active }) => type === "outbound-rtp" && kind === "video" && active).map((stream) => stream.qualityLimitationReason);
}
