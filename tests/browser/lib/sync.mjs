// Whether sound and picture of somebody come out together.
import assert from "node:assert/strict";
import { loadavg } from "node:os";
import { setTimeout as pause } from "node:timers/promises";
import { percentile } from "./statistics.mjs";
import { until } from "./tab.mjs";

/** Milliseconds between two samples. */
const INTERVAL = 200;
/** Milliseconds that a receiver has to bring the two together after joining: it moves a delay by at most 80 ms a second. */
const WARM_UP = 30_000;
/** Samples by which the warm-up is judged: two seconds. */
const WARM_SAMPLES = 10;

/**
 * How far a participant's sound and picture are apart at the receiver `at`, in milliseconds: the 95th percentile over
 * `duration` milliseconds.
 *
 * `estimatedPlayoutTimestamp` of an incoming stream is the time, by the sender's clock, at which that was captured what
 * is being played at the moment of the report: the browser takes it from the RTP time of the latest frame or sample
 * played and from the stream's sender reports, and adds what has passed since. One report has both streams' values, and
 * both are by the clock of the same sender, so their difference is what a viewer perceives: positive if the picture is ahead.
 *
 * Measuring begins when the median of two seconds has come below `warm`, or after half a minute anyway.
 */
export async function playoutDifference(at, name, duration, warm) {
  const sample = async () => {
    const { camera, microphone } = (await at.received())[name] ?? {};
    const [picture, sound] = [camera?.estimatedPlayoutTimestamp, microphone?.estimatedPlayoutTimestamp];
    return picture && sound ? { difference: picture - sound } : undefined;
  };
  await until(`${at.name}'s browser has sender reports for both of ${name}'s tracks`, sample);
  const recent = [];
  const started = performance.now();
  for (; performance.now() < started + WARM_UP; await pause(INTERVAL)) {
    recent.push(Math.abs((await sample())?.difference ?? Infinity));
    if (recent.length >= WARM_SAMPLES && percentile(recent.slice(-WARM_SAMPLES), 0.5) < warm) break;
  }
  const warmUp = performance.now() - started;
  const differences = [];
  for (const end = performance.now() + duration; performance.now() < end; await pause(INTERVAL)) {
    const taken = await sample();
    if (taken) differences.push(taken.difference);
  }
  const wanted = (duration / INTERVAL) * 0.5;
  if (differences.length < wanted) throw new Error(`only ${differences.length} samples of ${name}'s playout in ${duration} ms`);
  const distances = differences.map(Math.abs);
  return { warmUp, samples: differences.length, median: percentile(differences, 0.5), p95: percentile(distances, 0.95) };
}

/** Times that a pair may be measured. */
const ATTEMPTS = 3;

/**
 * Checks that sound and picture of each `of` at `at` are within `limit` milliseconds (p95, ten seconds), all pairs at the same time. On a busy
 * machine a receiver's buffer for sound may grow while it is measured, and the browser takes some seconds to bring the picture after it: whoever was
 * too far apart is measured again. What the server does wrong stays wrong.
 */
export async function inSync(scene, pairs, limit = 60) {
  const apart = await measureSync(scene, pairs, limit);
  for (const { at, of, p95 } of apart) {
    assert.fail(`sound and picture of ${of.name} are ${p95.toFixed(1)} ms apart at ${at.name}`);
  }
}

async function measureSync(scene, pairs, limit, attempt = 1) {
  const results = await Promise.all(
    pairs.map(async ([at, of]) => {
      const { warmUp, samples, median, p95 } = await playoutDifference(at, of.name, 10_000, limit / 2);
      scene.report(
        `${of.name} at ${at.name}: picture − sound ${median.toFixed(1)} ms in the median, p95 of the distance ${p95.toFixed(1)} ms, ` +
          `${samples} samples after ${(warmUp / 1000).toFixed(1)} s; load ${loadavg()[0].toFixed(1)}`,
      );
      return { at, of, p95 };
    }),
  );
  const apart = results.filter(({ p95 }) => p95 > limit);
  if (apart.length === 0 || attempt === ATTEMPTS) return apart;
  return measureSync(scene, apart.map(({ at, of }) => [at, of]), limit, attempt + 1);
}
