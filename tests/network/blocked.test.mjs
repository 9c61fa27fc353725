// A firewall that lets no UDP through: media goes over TCP, on the port of HTTP.
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { until } from "../browser/lib/tab.mjs";
import { meeting } from "./lib/meeting.mjs";
import { Watch } from "./lib/watch.mjs";

/** Milliseconds that pictures are watched. */
const WATCHED = 5_000;
/** Frames a second of the cameras. */
const FPS = 15;
/** Milliseconds from the beginning of a detour over TCP until UDP is tried, and from then until it is tried once more: `FIRST_INTERVAL` of the SDK, and twice that. */
const TRIED = [20_000, 40_000];
/** Milliseconds that a try may take, on a busy machine. */
const TRY = 10_000;
/** Milliseconds that sound and pictures may stand still while media changes its path. */
const UNNOTICED = 500;
/** Milliseconds after which media goes over TCP when UDP dies in a meeting: browsers take 5 to 7 s to say that nothing comes any more. */
const SWITCHED = 15_000;

/** Runs in a page: the protocol of the path that media takes. */
async function protocol() {
  const stats = await window.switchyard.peerConnection.getStats();
  const all = [...stats.values()];
  const transport = all.find(({ type }) => type === "transport");
  const pair = transport?.selectedCandidatePairId ? stats.get(transport.selectedCandidatePairId) : all.find(({ type, nominated, state }) => type === "candidate-pair" && nominated && state === "succeeded");
  return pair && stats.get(pair.localCandidateId)?.protocol;
}

/** Runs in a page: what is another one after each ICE restart. */
function restarts() {
  return /^a=ice-ufrag:(.*)$/mu.exec(window.switchyard.peerConnection.localDescription.sdp)[1];
}

/** Waits for an ICE restart; resolves with the time right before it. */
async function restart(person, deadline) {
  const before = await person.evaluate(restarts);
  let since = Date.now();
  const look = async () => {
    const now = Date.now();
    if ((await person.evaluate(restarts)) !== before) return true;
    since = now;
    return false;
  };
  await until("ICE is restarted", look, deadline);
  return since;
}

/** Runs in a page: whether no path over UDP is checked any more. */
async function hasGivenUpUdp() {
  const stats = await window.switchyard.peerConnection.getStats();
  const pairs = [...stats.values()].filter(({ type, localCandidateId }) => type === "candidate-pair" && stats.get(localCandidateId)?.protocol === "udp");
  return pairs.every(({ state }) => state === "failed");
}

/** Nothing stands still from `since` on, for the time that pictures are watched. */
async function unnoticed(scene, watch, since, what) {
  await pause(WATCHED);
  const flows = await watch.flows(since);
  const longest = Math.max(...flows.flatMap(({ gaps }) => gaps.map(({ begin, end }) => end - begin)));
  scene.report(`${what}: the longest gap was ${longest > UNNOTICED / 2 ? `${longest} ms` : `shorter than ${UNNOTICED / 2} ms`}`);
  for (const { what, gaps } of flows) assert.ok(gaps.every(({ begin, end }) => end - begin <= UNNOTICED), `${what}: ${JSON.stringify(gaps)}`);
}

async function pictures(scene, watch, people, what) {
  await watch.begin();
  const since = Date.now();
  await pause(WATCHED);
  for (const flow of await watch.flows(since)) {
    const still = flow.gaps.reduce((sum, { begin, end }) => sum + end - begin, 0);
    scene.report(`${what}: ${flow.what} stood still for ${still} of ${WATCHED} ms`);
    assert.ok(still < WATCHED / 5, `${flow.what}: ${JSON.stringify(flow.gaps)}`);
  }
}

for (const who of ["Ada", "Eve"]) {
  const browser = who === "Ada" ? "Chromium" : "Firefox";
  meeting(`${browser} behind a firewall that lets no UDP through`, { fps: FPS, timeout: 120_000, who: [who], blocked: "udp", conditions: "delay=20ms" }, async (scene, { line, Ada, Eve, Ben }) => {
    const inside = Ada ?? Eve;
    const watch = await Watch.start([inside, Ben]);
    await scene.step("media goes over TCP, both ways", async () => {
      assert.equal(await inside.evaluate(protocol), "tcp");
      assert.equal(await Ben.evaluate(protocol), "udp");
      await pictures(scene, watch, [inside, Ben], "over TCP");
    });
    await scene.step("a line that is down for 3 s", async () => {
      await line.say("down");
      await pause(3_000);
      await line.say("up");
      await inside.receives(Ben);
      await Ben.receives(inside);
    });
  });

  meeting(`${browser} in a network whose UDP dies`, { fps: FPS, timeout: 240_000, who: [who], conditions: "delay=20ms" }, async (scene, { line, Ada, Eve, Ben }) => {
    const inside = Ada ?? Eve;
    const watch = await Watch.start([inside, Ben]);
    await scene.step("media goes over UDP where it can", async () => {
      assert.equal(await inside.evaluate(protocol), "udp");
    });
    await scene.step(`and over TCP ${SWITCHED / 1000} s after UDP has died, at the latest`, async () => {
      await watch.begin();
      const since = Date.now();
      await line.say("cut udp");
      const back = await watch.flowsAgain(since, SWITCHED);
      scene.report(`all is back after ${Math.max(...Object.values(back))} ms`);
      assert.equal(await inside.evaluate(protocol), "tcp");
      await pictures(scene, watch, [inside, Ben], "after UDP died");
    });
    await scene.step("nobody notices that UDP is tried in vain", async () => {
      const since = await restart(inside, TRIED[0] + TRY);
      await unnoticed(scene, watch, since, "tried in vain");
      assert.equal(await inside.evaluate(protocol), "tcp");
    });
    await scene.step("and over UDP again, without a gap, when that is tried after it has come back", async () => {
      // Until then the browser still finds it by itself.
      await until("UDP is given up", () => inside.evaluate(hasGivenUpUdp), TRIED[1]);
      await watch.begin();
      const mended = Date.now();
      await line.say("mend");
      const since = await restart(inside, TRIED[1] + TRY);
      await until("media goes over UDP", async () => (await inside.evaluate(protocol)) === "udp", TRY);
      scene.report(`over UDP ${Date.now() - mended} ms after it has come back, ${Date.now() - since} ms after it was tried`);
      await unnoticed(scene, watch, since, "back to UDP");
      assert.equal(await inside.evaluate(protocol), "udp");
      await watch.nothingLost();
    });
  });
}
