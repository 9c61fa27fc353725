// An ICE restart by the client, and the data channel through the server.
import assert from "node:assert/strict";
import { scene } from "./lib/scene.mjs";
import { until } from "./lib/tab.mjs";

/** Two people who see and hear each other. */
async function twoMeet(scene, first, second) {
  const server = await scene.server();
  const ada = await scene.join(first, server, "demo", "Ada");
  const ben = await scene.join(second, server, "demo", "Ben");
  await Promise.all([ada.receives(ben), ben.receives(ada)]);
  return [ada, ben];
}

/** The credentials of both ends, as the browser has them, and the state of it all. */
function readTransport() {
  const { peerConnection: connection } = window.switchyard;
  const value = (description, name) => description?.sdp.match(new RegExp(`^a=${name}:(.*)$`, "m"))?.[1].trim();
  return {
    local: value(connection.currentLocalDescription, "ice-ufrag"),
    remote: value(connection.currentRemoteDescription, "ice-ufrag"),
    password: value(connection.currentLocalDescription, "ice-pwd"),
    signaling: connection.signalingState,
    state: connection.connectionState,
    room: window.switchyard.state,
  };
}

/** Restarts ICE at `person`, three times, while media goes on in both directions. */
async function restart(scene, person, other) {
  for (let round = 1; round <= 3; round += 1) {
    const before = await person.evaluate(readTransport);
    // The longest time between two decoded frames at the other end, which sees what this one sends.
    await other.evaluate((name) => {
      const track = () => window.switchyard && [...window.switchyard.participants.values()].find((each) => each.name === name)?.track("camera");
      const video = document.createElement("video");
      track().attach(video);
      video.muted = true;
      const watch = { longest: 0, last: performance.now() };
      const frame = () => {
        const now = performance.now();
        watch.longest = Math.max(watch.longest, now - watch.last);
        watch.last = now;
        watch.handle = video.requestVideoFrameCallback(frame);
      };
      video.requestVideoFrameCallback(frame);
      window.frameWatch = watch;
    }, person.name);
    await person.evaluate(() => window.switchyard.restartIce());
    const after = await until("ICE has restarted", async () => {
      const now = await person.evaluate(readTransport);
      return now.local !== before.local && now.signaling === "stable" && now.state === "connected" ? now : false;
    });
    assert.notEqual(after.password, before.password, "a restart has another password");
    assert.notEqual(after.remote, before.remote, "the server answers a restart with another user fragment");
    assert.equal(after.room, "connected");
    await Promise.all([person.receives(other), other.receives(person)]);
    const { longest } = await other.evaluate(() => window.frameWatch);
    scene.report(`restart ${round}: the longest pause between two frames was ${longest.toFixed(0)} ms`);
    assert.ok(longest < 3_000, `the picture stood still for ${longest.toFixed(0)} ms`);
  }
}

/** Sends text and 64 KiB of bytes from `from` to `to`, to everybody and to them alone. */
async function exchange(from, to) {
  for (const person of [from, to]) {
    await person.tab.until(`${person.name}'s data channel is open`, () => window.switchyard.dataOpen);
  }
  await to.evaluate(() => {
    window.received = [];
    window.stopHearing?.();
    window.stopHearing = window.switchyard.on("data", (payload, from) => window.received.push({ payload, from }));
  });
  const sent = await from.evaluate(async (id) => {
    const bytes = new Uint8Array(64 * 1024);
    for (let at = 0; at < bytes.length; at += 4096) crypto.getRandomValues(bytes.subarray(at, at + 4096));
    const text = "Grüße\naus der zweiten Zeile 🚂";
    for (const to of [null, id]) {
      window.switchyard.sendData(text, to);
      window.switchyard.sendData(bytes, to);
    }
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    return { text, length: bytes.length, digest: [...digest].join() };
  }, to.id);
  await to.tab.until(`${to.name} has all four messages`, () => window.received.length === 4);
  const received = await to.evaluate(() =>
    Promise.all(
      window.received.map(async ({ payload, from }) => {
        if (typeof payload === "string") return { from, text: payload };
        const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", payload));
        return { from, length: payload.length, digest: [...digest].join() };
      }),
    ),
  );
  const { text, length, digest } = sent;
  const both = [
    { from: from.id, text },
    { from: from.id, length, digest },
  ];
  assert.deepEqual(received, [...both, ...both], "messages arrive whole, in order, with who sent them");
}

scene("Chromium restarts ICE and nobody notices", async (scene) => {
  const chromium = await scene.chromium();
  const [ada, ben] = await twoMeet(scene, chromium, chromium);
  await restart(scene, ada, ben);
});

scene("Firefox and Chromium are connected by media and data", async (scene) => {
  const [firefox, chromium] = await Promise.all([scene.firefox(), scene.chromium()]);
  const [ada, ben] = await twoMeet(scene, firefox, chromium);
  const both = async () => {
    await exchange(ada, ben);
    await exchange(ben, ada);
  };
  await scene.step("text and 64 KiB of bytes arrive both ways", both);
  await scene.step("Firefox restarts ICE and nobody notices", () => restart(scene, ada, ben));
  await scene.step("text and 64 KiB of bytes arrive after the restart as well", both);
});
