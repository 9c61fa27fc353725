// The app where a host decides who comes in: a waiting room, a password, and what is done about people.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { scene } from "./lib/scene.mjs";
import { PROGRAM } from "./lib/server.mjs";

/** Waits until the page says something. */
const reads = ({ tab }, text) => tab.until(`the page says "${text}"`, (text) => document.body.innerText.includes(text), text);

/** Presses what has an accessible name of its own, however it came by it. */
const presses = async ({ tab }, label) => {
  const find = (label) => {
    const found = document.querySelector(`[aria-label=${JSON.stringify(label)}]`);
    found?.click();
    return !!found;
  };
  await tab.until(`there is "${label}"`, find, label);
};

/** Types the room's password; resolves with what the name's field has in it by then. */
const types = ({ tab }, password) =>
  tab.evaluate((password) => {
    const input = document.querySelector('input[type="password"]');
    if (input !== document.activeElement) throw new Error("the password's field has not the focus");
    input.value = password;
    input.dispatchEvent(new Event("input", { bubbles: true }));
    return document.querySelector('input[autocomplete="name"]').value;
  }, password);

const isIn = ({ tab, name }) => tab.until(`${name} is in the room`, () => window.switchyard?.state === "connected");

async function meeting(scene) {
  const folder = mkdtempSync(join(tmpdir(), "switchyard-moderation-"));
  scene.last(() => rmSync(folder, { recursive: true }));
  const keys = join(folder, "keys.json");
  const run = (...args) => execFileSync(PROGRAM, args, { encoding: "utf8" }).trim();
  run("keys", "new", keys);
  const server = await scene.server("--access-keys", keys);
  const opens = async (browser, name, role) => {
    const participant = await scene.open(browser, server, "demo", name);
    const token = run("token", "--keys", keys, "--room", "demo", "--identity", name.toLowerCase(), "--role", role);
    participant.url += `#token=${token}`;
    return participant;
  };
  /** To the door, with a name and the camera. */
  const knocks = async (guest) => {
    await guest.tab.goto(guest.url);
    await guest.tab.until("the lobby has the camera's picture", () => (document.querySelector("video")?.videoWidth ?? 0) > 0);
    await guest.tab.fill("Your name", guest.name);
    await guest.tab.click("Join");
  };
  return { opens, knocks };
}

for (const browser of ["chromium", "firefox"]) {
  scene(`a host lets in, mutes and removes a guest with ${browser}`, async (scene) => {
    const { opens, knocks } = await meeting(scene);
    const [chromium, other] = await Promise.all([scene.chromium(), scene[browser]()]);
    const [ada, ben] = [await opens(chromium, "Ada", "host"), await opens(other, "Ben", "speaker")];
    await scene.step("who knocks waits with their picture before them, and nobody sees them", async () => {
      await ada.enter();
      await ada.tab.click("Room settings");
      await presses(ada, "Waiting room");
      await ada.tab.until("the waiting room is on", () => window.switchyard.settings.lobby);
      await knocks(ben);
      await reads(ben, "The host will let you in");
      await reads(ada, "Waiting (1)");
      await ben.tab.until("the preview goes on", () => (document.querySelector("video")?.videoWidth ?? 0) > 0);
      await ada.misses("Ben");
    });
    await scene.step("who is denied is told so, and may knock again", async () => {
      await presses(ada, "Deny Ben");
      await reads(ben, "The host has not let you in.");
      await ben.tab.click("Try again");
      await reads(ben, "The host will let you in");
    });
    await scene.step("who is admitted is in, seen and heard", async () => {
      await presses(ada, "Admit Ben");
      await isIn(ben);
      await Promise.all([ada.receives(ben), ben.receives(ada)]);
    });
    await scene.step("who is muted is told so, and heard no more", async () => {
      await presses(ada, "Moderate Ben");
      await ada.tab.click("Mute microphone");
      await reads(ben, "A moderator has muted your microphone.");
      await ada.seesTile("Ben", { muted: true });
      const focused = await ada.evaluate(() => document.activeElement.getAttribute("aria-label"));
      assert.equal(focused, "Moderate Ben", "the focus is where it was");
    });
    await scene.step("who is removed is told so, and comes back once they are let", async () => {
      await presses(ada, "Moderate Ben");
      await ada.tab.click("Remove…");
      await ada.tab.click("Remove");
      await reads(ben, "A moderator has removed you from the room.");
      await ada.misses("Ben");
      await ben.tab.click("Try again");
      await reads(ben, "a moderator has removed you from this room");
      await presses(ada, "Let Ben back in");
      await ada.tab.until("nobody is kept out", () => !document.body.innerText.includes("Let back in"));
      await ben.tab.click("Try again");
      await presses(ada, "Admit Ben");
      await isIn(ben);
    });
  });
}

scene("a room with a password is entered with that one, and nothing that was typed is lost", async (scene) => {
  const { opens, knocks } = await meeting(scene);
  const chromium = await scene.chromium();
  const [ada, ben] = [await opens(chromium, "Ada", "host"), await opens(chromium, "Ben", "speaker")];
  await ada.enter();
  await ada.tab.click("Room settings");
  await ada.tab.fill("Password", "tea at four");
  await ada.tab.click("Set password");
  await ada.tab.until("there is a password", () => window.switchyard.settings.password);
  await scene.step("who comes is asked for it", async () => {
    await knocks(ben);
    await reads(ben, "This room has a password");
    assert.equal(await types(ben, "coffee"), "Ben");
    await ben.tab.click("Join");
    await reads(ben, "That is not the password.");
    assert.equal(await types(ben, "tea at four"), "Ben");
    await ben.tab.click("Join");
    await isIn(ben);
    await ada.receives(ben);
  });
  await scene.step("a full room and a locked one say so", async () => {
    await ada.evaluate(() => window.switchyard.configure({ max_participants: 1 }));
    const eve = await opens(chromium, "Eve", "speaker");
    await knocks(eve);
    await reads(eve, "This room has a password");
    await types(eve, "tea at four");
    await eve.tab.click("Join");
    await reads(eve, "The room or the server is full.");
    await presses(ada, "Locked");
    await ada.tab.until("the room is locked", () => window.switchyard.settings.locked);
    await eve.tab.click("Try again");
    await reads(eve, "The room is locked");
  });
});
