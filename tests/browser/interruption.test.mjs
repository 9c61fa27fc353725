// What the app says when a meeting is interrupted, and what happens next.
import { once } from "node:events";
import WebSocket from "ws";
import { isTold, recordEvents } from "./lib/events.mjs";
import { scene } from "./lib/scene.mjs";

for (const browser of ["chromium", "firefox"]) {
  scene(`an interruption is said, and that it is over, with ${browser}`, async (scene) => {
    const server = await scene.server();
    const [chromium, other] = await Promise.all([scene.chromium(), scene[browser]()]);
    const ada = await scene.join(other, server, "demo", "Ada");
    const ben = await scene.join(chromium, server, "demo", "Ben");
    await ada.receives(ben);
    await ada.evaluate(recordEvents);
    await scene.step("the server is started again", async () => {
      await server.crash();
      await isTold(ada, ["The server is restarting. This page takes you back in by itself.", "Connected again."]);
      await ada.receives(ben);
    });
    await scene.step("the session goes on elsewhere", async () => {
      const { token } = await ada.evaluate(() => window.wireSession);
      const socket = new WebSocket(`${server.origin.replace("http", "ws")}/v1/ws`, "switchyard.v1.json");
      await once(socket, "open");
      socket.send(JSON.stringify({ id: 1, type: "resume", token, received: 0 }));
      const says = (text) => ada.tab.until(`the page says "${text}"`, (text) => document.body.innerText.includes(text), text);
      await says("The meeting goes on elsewhere");
      await says("You are in demo in another window or on another device. Your camera and microphone are off here.");
      const closed = once(socket, "close");
      socket.close(1000);
      await closed;
      await ben.misses("Ada");
      await ada.tab.click("Use it here");
      await ada.receives(ben);
      await ben.receives(ada);
    });
  });
}
