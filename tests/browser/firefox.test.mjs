// The same meeting with one Firefox among the windows.
import { scene } from "./lib/scene.mjs";
import { inSync } from "./lib/sync.mjs";
import * as does from "./lib/conduct.mjs";

/** Firefox is the third. */
async function meet(scene) {
  const [chromium, firefox] = await Promise.all([scene.chromium(), scene.firefox()]);
  return does.threeMeet(scene, [chromium, chromium, firefox]);
}

scene("Firefox and Chromium see and hear each other, with sound and picture together", async (scene) => {
  const [ada, ben, eve] = await meet(scene);
  // Firefox doesn't report estimatedPlayoutTimestamp, so what it sends is measured and what it plays is not.
  await inSync(scene, [
    [ada, eve],
    [ada, ben],
  ]);
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
