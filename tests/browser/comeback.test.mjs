// A server that is ended on the spot and started again: everybody comes back by themselves.
import assert from "node:assert/strict";
import * as does from "./lib/conduct.mjs";
import { Crowd } from "./lib/crowd.mjs";
import { scene } from "./lib/scene.mjs";

/** Milliseconds in which everybody has everybody's picture and sound again, from the crash on. */
const BACK = 10_000;

for (const [browser, crowded] of [["chromium", false], ["firefox", true]]) {
  scene(`three windows, one of ${browser}${crowded ? ", and a crowd of 200" : ""}, come back after the server has crashed`, async (scene) => {
    const [chromium, other] = await Promise.all([scene.chromium(), scene[browser]()]);
    const people = await does.threeMeet(scene, [chromium, chromium, other], ...(crowded ? Crowd.SERVER : []));
    const crowd = crowded && (await Crowd.enter(scene.firstServer));
    if (crowd) scene.last(() => crowd.leave());
    const [ada, ben, eve] = people;
    await ben.tab.click("Mute");
    await Promise.all([ada, eve].map((person) => person.seesTile("Ben", { muted: true })));
    const room = await ada.evaluate(() => ((window.sameRoom = window.switchyard), window.switchyard.id));

    const crashed = performance.now();
    const time = Date.now();
    await scene.firstServer.crash();
    const listening = performance.now();
    const crowdBack = crowd && crowd.back(time);
    await Promise.all(
      people.map(async (person) => {
        const others = people.filter((other) => other !== person);
        for (const other of others) await person.seesTile(other.name, { picture: true, muted: other === ben }, BACK);
        await Promise.all(others.map((other) => person.sees(other.name, "camera", BACK)));
        const back = performance.now();
        scene.report(
          `${person.name} has everybody's picture again ${(back - crashed).toFixed(0)} ms after the crash, ${(back - listening).toFixed(0)} ms after the server listens`,
        );
        assert.ok(back - crashed <= BACK, `${person.name} was back after ${(back - crashed).toFixed(0)} ms`);
      }),
    );
    if (crowdBack) {
      const { people, median, p95, last } = await crowdBack;
      scene.report(`of ${people} others half hear everybody in their rooms again after ${median} ms, 95 % after ${p95}, the last after ${last}`);
      assert.ok(p95 <= BACK, `95 % of the crowd were back after ${p95} ms`);
    }
    await Promise.all([ada.hears("Eve"), eve.hears("Ada")]);
    for (const person of people) assert.equal((await person.tiles()).length, people.length, "nobody is there twice");
    assert.equal(await ada.evaluate(() => window.sameRoom === window.switchyard && window.switchyard.id), room, "it is the same room, to the page as well");
    await ben.tab.click("Unmute");
    await Promise.all([ada.hears("Ben"), eve.hears("Ben")]);
    await does.chat(ada, [ben, eve]);
  });
}
