// The app with access tokens: links that let in, refusals in words, and what a moderator does.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { scene } from "./lib/scene.mjs";
import { PROGRAM } from "./lib/server.mjs";

/** Waits until the page says something. */
const reads = ({ tab }, text) => tab.until(`the page says "${text}"`, (text) => document.body.innerText.includes(text), text);

scene("a link with a token lets in, and nothing else does", async (scene) => {
  const folder = mkdtempSync(join(tmpdir(), "switchyard-access-"));
  scene.last(() => rmSync(folder, { recursive: true }));
  const keys = join(folder, "keys.json");
  const run = (...args) => execFileSync(PROGRAM, args, { encoding: "utf8" }).trim();
  run("keys", "new", keys);
  const token = (identity, ...more) => run("token", "--keys", keys, "--room", "demo", "--identity", identity, ...more);
  const server = await scene.server("--access-keys", keys);
  const chromium = await scene.chromium();
  const opens = async (name, token) => {
    const participant = await scene.open(chromium, server, "demo", name);
    if (token) participant.url += `#token=${token}`;
    return participant;
  };

  const ada = await opens("Somebody", token("ada", "--name", "Ada", "--role", "host"));
  const ben = await opens("Ben", token("ben", "--role", "listener"));
  const eve = await opens("Eve");
  await scene.step("the token is not in the address any more, and the name is the token's", async () => {
    await ada.enter();
    const [address, name] = await ada.evaluate(() => [location.href, window.switchyard.localParticipant.name]);
    if (address !== `${server.origin}/r/demo`) throw new Error(`the address is ${address}`);
    if (name !== "Ada") throw new Error(`the name is ${name}`);
  });
  await scene.step("a reload needs no new link", async () => {
    ada.url = `${server.origin}/r/demo`;
    await ada.enter();
  });
  await scene.step("who brings no token is told so", async () => {
    await eve.tab.goto(eve.url);
    await eve.tab.fill("Your name", "Eve");
    await eve.tab.click("Join");
    await reads(eve, "You were not let in: an access token is needed to join.");
  });
  await scene.step("a listener sees, and has no camera or microphone to turn on", async () => {
    await ben.enter();
    await ben.sees("Ada");
    await ada.seesTile("Ben");
    const labels = await ben.evaluate(() => [...document.querySelectorAll(".control-bar .control")].map((control) => control.innerText.trim()));
    if (labels.some((label) => /Camera|ute|Share/.test(label))) throw new Error(`there are ${labels}`);
  });
  await scene.step("who is removed is told so, and does not come in again", async () => {
    await ada.evaluate((id) => window.switchyard.remove(id), ben.id);
    await reads(ben, "A moderator has removed you from the room.");
    await ada.misses("Ben");
    await ben.tab.click("Try again");
    await reads(ben, "a moderator has removed you from this room");
  });
});
