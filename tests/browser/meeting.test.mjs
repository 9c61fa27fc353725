// Three Chromium windows in a meeting, by the page's own buttons.
import { scene } from "./lib/scene.mjs";
import { inSync } from "./lib/sync.mjs";
import * as does from "./lib/conduct.mjs";

scene("three windows see and hear each other, with sound and picture together", async (scene) => {
  const [ada, ben, eve] = await does.threeMeet(scene, await does.threeChromiums(scene));
  await inSync(scene, [
    [ada, ben],
    [ben, eve],
    [eve, ada],
  ]);
});

scene("whoever leaves is gone at once and can come back", async (scene) => {
  await does.leaveAndReturn(await does.threeMeet(scene, await does.threeChromiums(scene)));
});

scene("a reloaded tab leaves no ghost", async (scene) => {
  await does.reload(await does.threeMeet(scene, await does.threeChromiums(scene)));
});

scene("a shared screen is another tile and goes", async (scene) => {
  const people = await does.threeMeet(scene, await does.threeChromiums(scene));
  await does.shareScreen(people);
  // Again, now on the m-lines of the first time.
  await does.shareScreen(people);
});

scene("what one says all others read", async (scene) => {
  const [ada, ...others] = await does.threeMeet(scene, await does.threeChromiums(scene));
  await does.chat(ada, others);
});

scene("a camera that is turned off is released and comes back", async (scene) => {
  const [ada, ...others] = await does.threeMeet(scene, await does.threeChromiums(scene));
  await does.turnCameraOffAndOn(ada, others);
});

scene("whoever is muted is not heard", async (scene) => {
  const [ada, ...others] = await does.threeMeet(scene, await does.threeChromiums(scene));
  await does.muteAndUnmute(ada, others);
});
