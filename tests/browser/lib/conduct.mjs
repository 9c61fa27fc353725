// What people do in meetings, and what the others must then see and hear.
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { until } from "./tab.mjs";

const NAMES = ["Ada", "Ben", "Eve"];
/** Milliseconds until a tile is gone after whoever it shows has left. */
const GONE = 1_000;

/** Ada, Ben and Eve join a room, each by a browser of `browsers`, and see and hear each other. `options`: of their server. */
export async function threeMeet(scene, browsers, ...options) {
  const server = await scene.server(...options);
  const people = [];
  for (const [index, name] of NAMES.entries()) people.push(await scene.join(browsers[index], server, "demo", name));
  await allReceiveAll(people);
  return people;
}

/** Everybody has a tile with a picture of everybody, and decodes and hears everybody else. */
export async function allReceiveAll(people) {
  await Promise.all(
    people.map(async (person) => {
      const others = people.filter((other) => other !== person);
      await person.receives(...others);
      await person.seesTile(`${person.name} (you)`, { picture: true });
      for (const other of others) await person.seesTile(other.name, { picture: true, off: false, muted: false });
      assert.equal((await person.tiles()).length, people.length, `${person.name} sees as many tiles as there are people`);
    }),
  );
}

/** The last of `people` leaves: the others lose the tile within a second; then it joins again. */
export async function leaveAndReturn(people) {
  const [leaver, others] = [people.at(-1), people.slice(0, -1)];
  await leaver.leave();
  await Promise.all(others.map((other) => other.misses(leaver.name, GONE)));
  await allReceiveAll(others);
  await leaver.enter();
  await allReceiveAll(people);
}

/** The last of `people` reloads the page: the others lose the tile, and have it once when it has joined again. */
export async function reload(people) {
  const [reloader, others] = [people.at(-1), people.slice(0, -1)];
  const before = reloader.id;
  await reloader.tab.reload();
  await Promise.all(others.map((other) => other.misses(reloader.name)));
  await reloader.goIn();
  assert.notEqual(reloader.id, before, "whoever joins again is somebody new");
  await allReceiveAll(people);
}

/** The first of `people` shares a screen: the others get another tile with it, which goes when the sharing ends. */
export async function shareScreen(people) {
  const [presenter, ...others] = people;
  const tile = `${presenter.name}'s screen`;
  await presenter.tab.click("Share screen");
  await Promise.all(
    others.map(async (other) => {
      await other.seesTile(tile, { picture: true });
      await other.sees(presenter.name, "screen");
      await other.sees(presenter.name, "camera");
    }),
  );
  await presenter.tab.click("Stop sharing");
  await Promise.all(others.map((other) => other.misses(tile)));
  await allReceiveAll(people);
}

/** `speaker` writes something, and all read it. */
export async function chat(speaker, others) {
  const text = `Good morning, I am ${speaker.name} & <b>glad</b> to be here`;
  for (const person of [speaker, ...others]) await openChat(person);
  await speaker.tab.fill("Message", text);
  await speaker.tab.click("Send");
  for (const person of [speaker, ...others]) {
    const read = (wanted) => document.querySelector('[role="log"]')?.innerText.includes(wanted) ?? false;
    await person.tab.until(`${person.name} reads what ${speaker.name} says`, read, text);
  }
}

async function openChat(person) {
  const open = () => !!document.querySelector('[role="log"]');
  if (await person.evaluate(open)) return;
  await person.tab.click("Chat");
  await person.tab.until(`${person.name} has the chat open`, open);
}

/** `person` turns the camera off: the device is released and there is an avatar everywhere; and on again. */
export async function turnCameraOffAndOn(person, others) {
  await person.evaluate(() => {
    window.heldCamera = window.switchyard.localParticipant.track("camera").mediaStreamTrack;
  });
  assert.equal(await person.evaluate(() => window.heldCamera.readyState), "live");
  await person.tab.click("Camera off");
  await person.tab.until("the camera is released", () => window.heldCamera.readyState === "ended");
  await person.seesTile(`${person.name} (you)`, { picture: false, off: true });
  await Promise.all(others.map((other) => other.seesTile(person.name, { picture: false, off: true })));
  await person.tab.click("Camera on");
  await Promise.all(
    others.map(async (other) => {
      await other.seesTile(person.name, { picture: true, off: false });
      await other.receives(person);
    }),
  );
}

/** `person` mutes: the others see it and get no more packets of it; and unmutes. */
export async function muteAndUnmute(person, others) {
  await person.tab.click("Mute");
  await Promise.all(
    others.map(async (other) => {
      await other.seesTile(person.name, { muted: true, picture: true });
      const packets = async () => (await other.received())[person.name].microphone.packetsReceived;
      await until(`no more packets of ${person.name}'s microphone come to ${other.name}`, async () => {
        const before = await packets();
        await pause(500);
        return (await packets()) === before;
      });
      await other.sees(person.name);
    }),
  );
  await person.tab.click("Unmute");
  await Promise.all(
    others.map(async (other) => {
      await other.seesTile(person.name, { muted: false });
      await other.hears(person.name);
    }),
  );
}
