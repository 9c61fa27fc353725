// The same meeting with one Firefox among the windows.
import * as does from "./lib/conduct.mjs";
import { scene } from "./lib/scene.mjs";
import { inSync } from "./lib/sync.mjs";

/** Milliseconds: on a busy machine sound and picture are measured up to three times, 40 s each. */
const TIMEOUT = 240_000;

scene("a Firefox and two Chromium windows meet: they see and hear each other", async (scene) => {
  const [chromium, firefox] = await Promise.all([scene.chromium(), scene.firefox()]);
  const people = await does.threeMeet(scene, [chromium, chromium, firefox]);
  const [ada, ben, eve] = people;
  // Firefox doesn't report estimatedPlayoutTimestamp, so what it sends is measured and what it plays is not.
  await scene.step("sound and picture of Firefox come out together", () =>
    inSync(scene, [
      [ada, eve],
      [ben, eve],
    ]),
  );
  await scene.step("Firefox leaves and comes back", () => does.leaveAndReturn(people));
  await scene.step("a reloaded Firefox leaves no ghost", () => does.reload(people));
  await scene.step("Firefox shows a screen that Chromium shares", () => does.shareScreen(people));
  await scene.step("what Firefox says all others read", () => does.chat(eve, [ada, ben]));
  await scene.step("Firefox reads what others say", () => does.chat(ada, [ben, eve]));
  await scene.step("a muted Firefox is not heard", () => does.muteAndUnmute(eve, [ada, ben]));
  await scene.step("Firefox turns its camera off and on", () => does.turnCameraOffAndOn(eve, [ada, ben]));
  await scene.step("Firefox sees a camera go and come back", () => does.turnCameraOffAndOn(ada, [ben, eve]));
}, TIMEOUT);
