// What is sent follows what is shown and who speaks.
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { scene } from "./lib/scene.mjs";
import { until } from "./lib/tab.mjs";

/** Milliseconds after which a camera that nobody shows is no longer sent. */
const STOPS = 2_000;
/** Milliseconds until one that somebody shows again is sent. */
const STARTS = 500;

/** Runs in the page. Frames and bytes of the camera so far. */
async function sentVideo() {
  const streams = [...(await window.switchyard.peerConnection.getStats()).values()];
  const video = streams.filter(({ type, kind }) => type === "outbound-rtp" && kind === "video");
  return { frames: video.reduce((sum, { framesSent }) => sum + (framesSent ?? 0), 0), bytes: video.reduce((sum, { bytesSent }) => sum + (bytesSent ?? 0), 0) };
}

/** Runs in the page. */
function display(value) {
  document.querySelector(".meeting-main").style.display = value;
}

scene("a camera that nobody shows is not sent, and is again at once when somebody does", async (scene) => {
  const server = await scene.server();
  const chromium = await scene.chromium();
  const people = [];
  for (const name of ["Ada", "Ben", "Cai"]) people.push(await scene.join(chromium, server, "demo", name));
  const [sender, ...viewers] = people;
  await scene.measured("one stops showing it, the other as well, and one shows it again", async () => {
    for (const viewer of viewers) await viewer.evaluate(display, "");
    for (const viewer of viewers) await viewer.sees("Ada");

    await viewers[0].evaluate(display, "none");
    await pause(STOPS + 500);
    const half = await sender.evaluate(sentVideo);
    await until("one viewer is enough", async () => (await sender.evaluate(sentVideo)).frames > half.frames + 10);

    await viewers[1].evaluate(display, "none");
    await pause(STOPS);
    const before = await sender.evaluate(sentVideo);
    await pause(2_000);
    const after = await sender.evaluate(sentVideo);
    assert.equal(after.bytes, before.bytes, "nothing is sent that nobody is shown");

    const shown = performance.now();
    await viewers[0].evaluate(display, "");
    await until("the camera is sent again", async () => (await sender.evaluate(sentVideo)).frames > after.frames, STARTS);
    scene.report(`sent again ${Math.round(performance.now() - shown)} ms after it was shown`);
    await viewers[0].sees("Ada");
    const seen = performance.now() - shown;
    scene.report(`five frames decoded after ${Math.round(seen)} ms`);
    await viewers[1].evaluate(display, "");
    await viewers[1].sees("Ada");
  });
});
