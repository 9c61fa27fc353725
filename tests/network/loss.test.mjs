// Loss, jitter and reordering: the picture goes on, the sound is whole, nobody is thrown out.
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { meeting } from "./lib/meeting.mjs";
import { describe, quality } from "./lib/quality.mjs";

/** Of a camera's frames in a second. */
const FPS = 30;
/** Milliseconds that a meeting goes on undisturbed before its line begins to lose: browsers are started and encoders know the line. */
const UNDISTURBED = 5_000;
/** Milliseconds that encoders and jitter buffers have to get used to a new line. */
const SETTLE = 5_000;
/** Milliseconds that are measured. */
const MEASURED = 12_000;
/** Each direction loses so much with 60 ms for the round trip: the least frames in a second, the most concealed sound. */
const LOSSES = [
  { loss: 5, fps: 24, concealed: 0.01 },
  { loss: 10, fps: 20, concealed: 0.03 },
  { loss: 30, fps: 5, concealed: 0.15 },
];
/**
 * Milliseconds in which signaling, which TCP carries, is back where it stalled; and in which Firefox, which at 30 % calls itself disconnected whenever a few checks in
 * a row were lost, though media goes on, calls itself connected again.
 */
const RESUMED = 15_000;

/** Runs in the page. */
function isConnected() {
  return window.switchyard.state === "connected" && window.switchyard.peerConnection.connectionState === "connected";
}

/** Measures at both ends what crosses the line, and that nobody lost the connection or is somebody else than before. */
async function measure(scene, Ben, behind) {
  await pause(SETTLE);
  const names = behind.map(({ name }) => name);
  const [atBen, ...others] = await Promise.all([quality(Ben, names, MEASURED), ...behind.map((person) => quality(person, ["Ben"], MEASURED))]);
  const results = [...names.map((name) => [Ben, name, atBen]), ...behind.map((person, index) => [person, "Ben", others[index]])];
  for (const [at, name, result] of results) {
    scene.report(`${describe(at, name, result)}; ${at.name} is ${result.connection}`);
    assert.ok(!["failed", "closed"].includes(result.connection), result.connection);
  }
  for (const person of [Ben, ...behind]) {
    await person.tab.until(`${person.name} is in the room and connected`, isConnected, undefined, RESUMED);
    assert.equal(await person.evaluate(() => window.switchyard.localParticipant.id), person.id, `${person.name} never left`);
  }
  return results.map(([at, name, { received }]) => ({ what: `${name} at ${at.name}`, ...received[name] }));
}

for (const who of ["Ada", "Eve"]) {
  meeting(`${who === "Ada" ? "Chromium" : "Firefox"} on a line that loses, jitters and reorders`, { fps: FPS, timeout: 300_000, who: [who] }, async (scene, { line, Ben, behind }) => {
    await pause(UNDISTURBED);
    for (const { loss, fps, concealed } of LOSSES) {
      await scene.measured(`${loss} % lost each way: at least ${fps} of ${FPS} frames, at most ${concealed * 100} % of the sound concealed`, async () => {
        await line.say(`line delay=30ms,loss=${loss}%`);
        for (const result of await measure(scene, Ben, behind)) {
          assert.ok(result.fps >= fps, `${result.what}: ${result.fps.toFixed(1)} frames a second`);
          assert.ok(result.concealed <= concealed, `${result.what}: ${(result.concealed * 100).toFixed(1)} % of the sound concealed`);
        }
      });
    }
    // Of 100 packets 95 come within 200 ms of the mean.
    await scene.measured("200 ms of jitter, 5 % reordered: retransmissions are less than 10 %", async () => {
      await line.say("line delay=200ms,jitter=100ms,reorder=5%,reorder_by=30ms");
      for (const result of await measure(scene, Ben, behind)) {
        assert.ok(result.resent < 0.1, `${result.what}: ${(result.resent * 100).toFixed(1)} % of the packets are retransmissions`);
      }
    });
  });
}
