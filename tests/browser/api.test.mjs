// The app while an application's back end changes what people may do, and moves them.
import assert from "node:assert/strict";
import { request } from "node:http";
import { scene } from "./lib/scene.mjs";

/** Milliseconds in which somebody who is moved is seen in the other room. */
const MOVED = 3_000;

/** Asks the server's API, as a program of its own machine; resolves with what is answered. */
function ask(server, method, path, body) {
  return new Promise((resolve, reject) => {
    const asked = request(`${server.origin}${path}`, { method, headers: { "content-type": "application/json" } }, async (response) => {
      let text = "";
      for await (const piece of response) text += piece;
      if (response.statusCode >= 300) reject(new Error(`${method} ${path}: ${response.statusCode} ${text}`));
      else resolve(text === "" ? null : JSON.parse(text));
    });
    asked.on("error", reject);
    asked.end(JSON.stringify(body));
  });
}

const reads = ({ tab }, text) => tab.until(`the page says "${text}"`, (text) => document.body.innerText.includes(text), text);

for (const browser of ["chromium", "firefox"]) {
  scene(`an application changes what somebody may do and moves them, with ${browser}`, async (scene) => {
    const server = await scene.server();
    const [chromium, other] = await Promise.all([scene.chromium(), scene[browser]()]);
    const ada = await scene.join(chromium, server, "demo", "Ada");
    const eve = await scene.join(chromium, server, "side", "Eve");
    const ben = await scene.join(other, server, "demo", "Ben");
    const path = `/v1/rooms/demo/participants/${await ben.evaluate(() => window.switchyard.localParticipant.id)}`;
    await Promise.all([ada.receives(ben), ben.receives(ada)]);

    await scene.step("whose camera is taken away is told so, and no longer seen", async () => {
      await ask(server, "PATCH", path, { grants: { publish: ["microphone"] } });
      await reads(ben, "Your camera was turned off");
      await ada.tab.until("Ben has no camera", () => {
        const ben = [...window.switchyard.participants.values()].find(({ name }) => name === "Ben");
        return [...ben.tracks.values()].every(({ source }) => source === "microphone");
      });
      await ada.hears("Ben");
    });
    await scene.step("who gets it back turns it on again", async () => {
      await ask(server, "PATCH", path, { grants: { publish: ["camera", "microphone", "screen", "screen_audio"] } });
      await ben.tab.click("Camera on");
      await ada.receives(ben);
    });
    await scene.step("who may receive nothing for a while gets everything after that", async () => {
      await ask(server, "PATCH", path, { grants: { subscribe: false } });
      await ben.tab.until("nothing is received", () => [...window.switchyard.participants.values()].every(({ tracks }) => [...tracks.values()].every((track) => window.switchyard.mid(track) === null)));
      await ask(server, "PATCH", path, { grants: { subscribe: true } });
      await ben.receives(ada);
    });
    await scene.step("who is moved is in the other room at once, with camera and microphone, and past its lock", async () => {
      await ask(server, "PATCH", "/v1/rooms/side", { locked: true });
      const start = performance.now();
      await ask(server, "POST", `${path}/move`, { room: "side" });
      await eve.sees("Ben");
      const took = Math.round(performance.now() - start);
      scene.report(`seen in the other room after ${took} ms`);
      await Promise.all([eve.receives(ben), ben.receives(eve)]);
      await ada.misses("Ben");
      await reads(ben, "You are in the room side now.");
      assert.equal(await ben.evaluate(() => document.querySelector("h1").innerText), "side");
      assert.ok(took < MOVED, `${took} ms`);
    });
    await scene.step("who is removed from there is told so", async () => {
      const [{ id }] = (await ask(server, "GET", "/v1/rooms/side/participants")).participants.filter(({ name }) => name === "Ben");
      await ask(server, "DELETE", `/v1/rooms/side/participants/${id}`);
      await reads(ben, "A moderator has removed you from the room.");
      await eve.misses("Ben");
    });
  });
}
