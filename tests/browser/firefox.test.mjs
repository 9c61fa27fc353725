// The same meeting with one Firefox among the windows.
import assert from "node:assert/strict";
import { scene } from "./lib/scene.mjs";
import { playoutDifference } from "./lib/sync.mjs";
import * as does from "./lib/conduct.mjs";

/** Firefox is the third. */
async function meet(scene) {
  const [chromium, firefox] = await Promise.all([scene.chromium(), scene.firefox()]);
  return does.threeMeet(scene, [chromium, chromium, firefox]);
}

scene("Firefox and Chromium see and hear each other, with sound and picture together", async (scene) => {
  const [ada, ben, eve] = await meet(scene);
  // Firefox doesn't report estimatedPlayoutTimestamp, so both directions of it are not measured: only what it sends.
  for (const [at, of] of [
    [ada, eve],
    [ada, ben],
  ]) {
    const { samples, median, p95 } = await playoutDifference(at, of.name, 10_000);
    scene.report(`${of.name} at ${at.name}: picture − sound ${median.toFixed(1)} ms in the median, p95 of the distance ${p95.toFixed(1)} ms, ${samples} samples`);
    assert.ok(p95 <= 60, `sound and picture of ${of.name} are ${p95.toFixed(1)} ms apart at ${at.name}`);
  }
});

scene("Firefox leaves, comes back, reloads", async (scene) => {
  const people = await meet(scene);
  await does.leaveAndReturn(people);
  await does.reload(people);
});

scene("Firefox chats, mutes, turns its camera off and on", async (scene) => {
  const [ada, ben, eve] = await meet(scene);
  await does.chat(eve, [ada, ben]);
  await does.chat(ada, [ben, eve]);
  await does.muteAndUnmute(eve, [ada, ben]);
  await does.turnCameraOffAndOn(eve, [ada, ben]);
  await does.turnCameraOffAndOn(ada, [ben, eve]);
});

scene("Firefox shows a screen that Chromium shares", async (scene) => {
  await does.shareScreen(await meet(scene));
});
