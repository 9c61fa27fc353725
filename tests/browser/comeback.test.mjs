// A server that is ended on the spot and started again: everybody comes back by themselves.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import * as does from "./lib/conduct.mjs";
import { Crowd } from "./lib/crowd.mjs";
import { recordEvents, timeline } from "./lib/events.mjs";
import { scene } from "./lib/scene.mjs";

/** Milliseconds in which 95 of 100, and every browser, have everybody's picture and sound again, from the crash on. */
const BACK = 10_000;
/** Milliseconds that are waited for it, so that a failure says how long it took. */
const PATIENCE = 30_000;
/** Milliseconds before another crash: a client whose connection has not held for ten seconds is more careful with the next. */
const FORGOTTEN = 12_000;
const TIMEOUT = 240_000;

/** Ends the server and starts it again: how long it takes until everybody sees and hears everybody, but for Ben, who is muted. */
async function crash(scene, people, crowd) {
  const crashed = Date.now();
  await scene.firstServer.crash();
  const listening = Date.now();
  const crowdBack = crowd ? crowd.back(crashed) : [];
  const results = await Promise.allSettled([
    ...people.map(async (person) => {
      const others = people.filter((other) => other !== person);
      await person.tab.until(`${person.name} is in the room again`, () => window.switchyard.state === "connected", undefined, PATIENCE);
      await person.receivesAnew(others, others.filter(({ name }) => name !== "Ben"), PATIENCE);
      const back = Date.now();
      scene.report(`${person.name} sees and hears everybody again ${back - crashed} ms after the crash, ${back - listening} ms after the server listens`);
      if (back - crashed > BACK / 2) scene.report(await timeline(person, crashed));
      return back - crashed;
    }),
    crowdBack,
  ]);
  const failed = results.find(({ status }) => status === "rejected");
  if (failed) throw failed.reason;
  const all = results.flatMap(({ value }) => value).sort((a, b) => a - b);
  const late = all[Math.ceil(all.length * 0.95) - 1];
  scene.report(`of ${all.length} half are back after ${all[Math.floor(all.length / 2)]} ms, 95 % after ${late}, the last after ${all.at(-1)}`);
  assert.ok(late <= BACK, `95 % were back after ${late} ms`);
  const last = Math.max(...results.slice(0, people.length).map(({ value }) => value));
  assert.ok(last <= BACK, `the last browser was back after ${last} ms`);
  for (const person of people) {
    for (const other of people.filter((other) => other !== person)) await person.seesTile(other.name, { picture: true, muted: other.name === "Ben" });
    assert.equal((await person.tiles()).length, people.length, "nobody is there twice");
  }
}

/** Resolves with a program that runs `program` behind what else there is to do. */
async function behind(scene, program) {
  const folder = await mkdtemp(join(tmpdir(), "switchyard-behind-"));
  scene.last(() => rm(folder, { recursive: true }));
  const wrapper = join(folder, basename(program));
  await writeFile(wrapper, `#!/bin/sh\nexec nice -n 5 '${program}' "$@"\n`, { mode: 0o755 });
  return wrapper;
}

for (const [browser, crowded] of [["chromium", false], ["firefox", false], ["firefox", true]]) {
  scene(`three windows, one of ${browser}${crowded ? ", and a crowd of 200" : ""}, come back after the server has crashed`, async (scene) => {
    // The browsers' pictures are on the same two cores as the server and the crowd, which would have machines of their own.
    const modest = crowded ? { fps: 5, size: { width: 480, height: 400 }, within: (program) => behind(scene, program) } : {};
    const [chromium, other] = await Promise.all([scene.chromium(modest), scene[browser](modest)]);
    const people = await does.threeMeet(scene, [chromium, chromium, other], ...(crowded ? Crowd.SERVER : []));
    const crowd = crowded && (await Crowd.enter(scene.firstServer));
    if (crowd) scene.last(() => crowd.leave());
    const [ada, ben, eve] = people;
    await ben.tab.click("Mute");
    await Promise.all([ada, eve].map((person) => person.seesTile("Ben", { muted: true })));
    const room = await ada.evaluate(() => ((window.sameRoom = window.switchyard), window.switchyard.id));

    for (const person of people) await person.evaluate(recordEvents);
    await scene.measured(`sound and picture within ${BACK / 1000} s`, () => crash(scene, people, crowd), FORGOTTEN);
    assert.equal(await ada.evaluate(() => window.sameRoom === window.switchyard && window.switchyard.id), room, "it is the same room, to the page as well");
    await ben.tab.click("Unmute");
    await Promise.all([ada.hears("Ben"), eve.hears("Ben")]);
    await does.chat(ada, [ben, eve]);
  }, TIMEOUT);
}
