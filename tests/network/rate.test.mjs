// Lines that carry little: pictures follow what they carry, and who has a good line gets a good picture.
import assert from "node:assert/strict";
import { meeting } from "./lib/meeting.mjs";
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
/** Seconds that pictures stand still meanwhile, all together. */
const FROZEN = 2;

/** What `at` decodes of `of` at the moment. */
const decoded = async (at, of) => (await at.received())[of]?.camera ?? {};

/** Milliseconds until `at` decodes `of` at `expected` pixels across, and goes on doing so. */
async function becomes(at, of, expected, patience) {
  const from = performance.now();
  await until(`${at.name} decodes ${of} ${expected} pixels wide`, async () => (await decoded(at, of)).frameWidth === expected, patience);
  return Math.round(performance.now() - from);
}

for (const who of ["Ada", "Eve"]) {
  const browser = who === "Ada" ? "Chromium" : "Firefox";
  meeting(`${browser} on a line of 3 Mbit/s, then 500 kbit/s, then 3 again`, { fps: FPS, timeout: 120_000, who: [who], camera: CAMERA }, async (scene, { line, Ben, ...people }) => {
    const person = people[who];
    const report = (result) => scene.report(describe(person, "Ben", result));
    await line.say("line delay=20ms,rate=3Mbit/s");
    await scene.step("at 3 Mbit/s the picture is as large as there is", async () => {
      await becomes(person, "Ben", LARGE, RECOVERS);
      // Longer than a path that has become longer is taken for a queue.
      const result = await quality(person, ["Ben"], 8_000);
      report(result);
      assert.ok(result.received.Ben.fps >= FPS * 0.8, `${result.received.Ben.fps} frames a second`);
    });
    await scene.step(`at 500 kbit/s it fits within ${FITS / 1000} s`, async () => {
      const measured = quality(person, ["Ben"], 12_000);
      await line.say("line delay=20ms,rate=500kbit/s");
      scene.report(`${SMALL} pixels after ${await becomes(person, "Ben", SMALL, FITS)} ms`);
      const result = await measured;
      report(result);
      const { fps, frozen, concealed } = result.received.Ben;
      assert.ok(frozen <= FROZEN, `frozen for ${frozen} s`);
      assert.ok(fps >= LEAST_FPS, `${fps} frames a second`);
      assert.ok(concealed <= 0.03, `${concealed} of the sound concealed`);
    });
    await scene.step(`at 3 Mbit/s again it is large again within ${RECOVERS / 1000} s`, async () => {
      await line.say("line delay=20ms,rate=3Mbit/s");
      await until("the picture is large and whole", async () => {
        const { frameWidth, framesPerSecond } = await decoded(person, "Ben");
        return frameWidth === LARGE && framesPerSecond >= FPS * 0.8;
      }, RECOVERS);
      report(await quality(person, ["Ben"], 4_000));
    });
  });
}
