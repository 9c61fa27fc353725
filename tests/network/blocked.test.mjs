// A firewall that lets no UDP through: media goes over TCP, on the port of HTTP.
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { until } from "../browser/lib/tab.mjs";
import { meeting } from "./lib/meeting.mjs";
import { hasGivenUpUdp, path, restart, TRIED, TRY } from "./lib/path.mjs";
import { Watch } from "./lib/watch.mjs";

/** Milliseconds that pictures are watched. */
const WATCHED = 5_000;
/** Frames a second of the cameras. */
const FPS = 15;
/** Milliseconds after which media goes over TCP when UDP dies in a meeting: browsers take 5 to 7 s to say that nothing comes any more. */
const SWITCHED = 15_000;

const protocol = async (person) => (await person.evaluate(path))?.protocol;

/** Runs in a page: the candidates that the server offers. */
const offered = () => window.switchyard.peerConnection.remoteDescription.sdp.match(/(?<=^a=)candidate:.*$/gmu);

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
      assert.equal(await protocol(inside), "tcp");
      assert.equal(await protocol(Ben), "udp");
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

  meeting(`${browser} behind a firewall that lets no UDP through, by HTTPS`, { fps: FPS, timeout: 120_000, who: [who], blocked: "udp", tls: true }, async (scene, { line, server, Ada, Eve, Ben }) => {
    const inside = Ada ?? Eve;
    const { origin } = new URL(await inside.evaluate(() => location.href));
    assert.equal(origin, `https://${line.far}:${server.media}`);
    assert.equal(await protocol(inside), "tcp");
    assert.equal(await protocol(Ben), "udp");
    const ports = (await inside.evaluate(offered)).map((candidate) => candidate.split(" ")[5]);
    assert.deepEqual([...new Set(ports)], [String(server.media)], "HTTPS, media by UDP and media by TCP have one port number");
    const watch = await Watch.start([inside, Ben]);
    await pictures(scene, watch, [inside, Ben], "over TCP beside TLS");
  });

  meeting(`${browser} in a network whose UDP dies`, { fps: FPS, timeout: 240_000, who: [who], conditions: "delay=20ms" }, async (scene, { line, Ada, Eve, Ben }) => {
    const inside = Ada ?? Eve;
    const watch = await Watch.start([inside, Ben]);
    await scene.step("media goes over UDP where it can", async () => {
      assert.equal(await protocol(inside), "udp");
    });
    await scene.step(`and over TCP ${SWITCHED / 1000} s after UDP has died, at the latest`, async () => {
      await watch.begin();
      const since = Date.now();
      await line.say("cut udp");
      const back = await watch.flowsAgain(since, SWITCHED);
      scene.report(`all is back after ${Math.max(...Object.values(back))} ms`);
      assert.equal(await protocol(inside), "tcp");
      await pictures(scene, watch, [inside, Ben], "after UDP died");
    });
    await scene.step("nobody notices that UDP is tried in vain", async () => {
      const since = await restart(inside, TRIED[0] + TRY);
      scene.report(`tried in vain: ${await watch.unnoticed(since)}`);
      assert.equal(await protocol(inside), "tcp");
    });
    await scene.step("and over UDP again, without a gap, when that is tried after it has come back", async () => {
      // Until then the browser still finds it by itself.
      await until("UDP is given up", () => inside.evaluate(hasGivenUpUdp), TRIED[1]);
      await watch.begin();
      const mended = Date.now();
      await line.say("mend");
      const since = await restart(inside, TRIED[1] + TRY);
      await until("media goes over UDP", async () => (await protocol(inside)) === "udp", TRY);
      scene.report(`over UDP ${Date.now() - mended} ms after it has come back, ${Date.now() - since} ms after it was tried`);
      scene.report(`back to UDP: ${await watch.unnoticed(since)}`);
      assert.equal(await protocol(inside), "udp");
      await watch.nothingLost();
    });
  });
}
