// Three Chromium windows in a meeting, by the page's own buttons.
import * as does from "./lib/conduct.mjs";
import { scene } from "./lib/scene.mjs";
import { inSync } from "./lib/sync.mjs";

/** Milliseconds: on a busy machine sound and picture are measured up to three times, 40 s each. */
const TIMEOUT = 240_000;

scene("three Chromium windows meet: they see and hear each other", async (scene) => {
  const chromium = await scene.chromium();
  const people = await does.threeMeet(scene, [chromium, chromium, chromium]);
  const [ada, ben, eve] = people;
  await scene.step("sound and picture come out together", () =>
    inSync(scene, [
      [ada, ben],
      [ben, eve],
      [eve, ada],
    ]),
  );
  await scene.step("whoever leaves is gone within a second and can come back", () => does.leaveAndReturn(people));
  await scene.step("a reloaded tab leaves no ghost", () => does.reload(people));
  await scene.step("a shared screen is another tile and goes", () => does.shareScreen(people));
  await scene.step("a screen shared again, on the m-lines of the first time, is seen as well", () => does.shareScreen(people));
  await scene.step("what one says all others read", () => does.chat(ada, [ben, eve]));
  await scene.step("a camera that is turned off is released, and comes back", () => does.turnCameraOffAndOn(ada, [ben, eve]));
  await scene.step("whoever is muted is not heard", () => does.muteAndUnmute(ada, [ben, eve]));
}, TIMEOUT);
