// Whether sound and picture of somebody come out together.
import { setTimeout as pause } from "node:timers/promises";
import { percentile } from "./statistics.mjs";
import { until } from "./tab.mjs";

/** Milliseconds between two samples. */
const INTERVAL = 200;

/**
 * How far a participant's sound and picture are apart at the receiver `at`, in milliseconds: the 95th percentile over
 * `duration` milliseconds.
 *
 * `estimatedPlayoutTimestamp` of an incoming stream is the time, by the sender's clock, at which that was captured what
 * is being played at the moment of the report: the browser takes it from the RTP time of the latest frame or sample
 * played and from the stream's sender reports, and adds what has passed since. One report has both streams' values, and
 * both are by the clock of the same sender, so their difference is what a viewer perceives: positive if the picture is ahead.
 */
export async function playoutDifference(at, name, duration) {
  const sample = async () => {
    const { camera, microphone } = (await at.received())[name] ?? {};
    const [picture, sound] = [camera?.estimatedPlayoutTimestamp, microphone?.estimatedPlayoutTimestamp];
    return picture && sound ? { difference: picture - sound } : undefined;
  };
  await until(`${at.name}'s browser has sender reports for both of ${name}'s tracks`, sample);
  const differences = [];
  for (const end = performance.now() + duration; performance.now() < end; await pause(INTERVAL)) {
    const taken = await sample();
    if (taken) differences.push(taken.difference);
  }
  const wanted = (duration / INTERVAL) * 0.5;
  if (differences.length < wanted) throw new Error(`only ${differences.length} samples of ${name}'s playout in ${duration} ms`);
  return { samples: differences.length, median: percentile(differences, 0.5), p95: percentile(differences.map(Math.abs), 0.95) };
}
