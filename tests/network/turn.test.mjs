// Nothing but a TURN server leads to the server: coturn, with credentials made of the secret that both know.
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import { scene } from "../browser/lib/scene.mjs";
import { until } from "../browser/lib/tab.mjs";
import { makeCertificate } from "../browser/lib/trust.mjs";
import { knowing } from "./lib/hosts.mjs";
import { Line } from "./lib/line.mjs";
import { hasGivenUpUdp, path, restart, TRIED, TRY } from "./lib/path.mjs";
import { startTurn } from "./lib/turn.mjs";
import { Watch } from "./lib/watch.mjs";

/** Frames a second of the cameras. */
const FPS = 15;
const SECRET = "a secret that nobody else knows";
/** Below the ports that systems give to whoever asks for any. */
const PORT = 20_000 + (process.pid % 10_000);
/** Where TURN by TLS is; and what its certificate is for, beside the address: Firefox takes no URL of a TURN server by TLS that has one. */
const [SECURE, NAME] = [PORT + 1, "turn.test"];
/** Seconds that credentials are good, at least, and the milliseconds after which they are not any more. */
const [LIFETIME, EXPIRED] = [60, 62_000];

/** Milliseconds until there is a path again through a TURN server. */
const BACK = 45_000;

/** Two people, one behind a line, and between them a server with a TURN server to which that one comes by `protocol`; `options` are more of the server's. */
async function start(scene, { who, protocol, options }) {
  const line = await Line.start();
  scene.last(() => line.stop());
  const secret = line.file("secret");
  await writeFile(secret, `${SECRET}\n`);
  const { authority, ...tls } = protocol === "tls" ? await makeCertificate((name) => line.file(name), NAME) : {};
  const turn = await startTurn(scene, { address: line.far, port: PORT, secret: SECRET, tls: authority && { port: SECURE, ...tls } });
  if (authority) await line.knows(NAME, line.far);
  const url = authority ? `turns:${NAME}:${SECURE}?transport=tcp` : `turn:${line.far}:${PORT}?transport=${protocol}`;
  const server = await scene.server("--http", `${line.far}:0`, "--advertise", line.far, "--turn-url", url, "--turn-secret-file", secret, ...options);
  if (protocol === "tcp") await line.say("cut udp");
  const here = { secure: server.origin, fps: FPS, authority, ...(authority ? knowing((name) => line.file(name), NAME, line.far) : {}) };
  const behind = { ...here, within: (program) => line.within(program) };
  const launched = who === "Ada" ? await scene.chromium(behind) : await scene.firefox({ ...behind, port: await line.relay() });
  const inside = await scene.join(launched, server, "demo", who);
  const outside = await scene.join(await scene.chromium(here), server, "demo", "Ben");
  await scene.step("sees and is seen", async () => {
    await inside.receives(outside);
    await outside.receives(inside);
    const { type, relayProtocol } = await inside.evaluate(path);
    assert.deepEqual({ type, relayProtocol }, { type: "relay", relayProtocol: protocol });
    assert.ok(turn.some((line) => /ALLOCATE processed, success/.test(line)), turn.slice(-40).join("\n"));
  });
  return { line, turn, inside, outside };
}

/** Until when the credentials were good with which clients made allocations, in the order in which they did. */
const expiries = (log) => log.map((line) => /user <(\d+):\w+>.*ALLOCATE processed, success/u.exec(line)?.[1]).filter(Boolean).map(Number);

for (const [who, browser] of [["Ada", "chromium"], ["Eve", "firefox"]]) {
  for (const protocol of ["udp", "tcp", "tls"]) {
    scene(`${browser} by ${protocol} through a TURN server only`, (scene) => start(scene, { who, protocol, options: ["--relay-only"] }));
  }

  scene(`${browser} comes by another address after its credentials have expired`, async (scene) => {
    const { line, turn, inside, outside } = await start(scene, { who, protocol: "udp", options: ["--relay-only", "--turn-lifetime", `${LIFETIME}s`] });
    await pause(EXPIRED);
    await Promise.all([inside.receives(outside), outside.receives(inside)]);
    const now = Math.floor(Date.now() / 1_000);
    const first = expiries(turn);
    assert.ok(first.length >= 2 && first.every((expiry) => expiry < now), `what was given at first is of no use any more: ${first}, ${now}`);
    const watch = await Watch.start([inside, outside]);
    await watch.begin();
    const since = Date.now();
    // What was allocated is for the former one.
    await line.say("address");
    const back = await watch.flowsAgain(since, BACK);
    scene.report(`media is back ${Math.max(...Object.values(back))} ms after the address was another`);
    assert.equal((await inside.evaluate(path)).type, "relay");
    assert.ok(expiries(turn).at(-1) >= now, turn.slice(-40).join("\n"));
  }, 180_000);

  scene(`${browser} goes from a TURN server over to UDP when that gets through`, async (scene) => {
    const { line, inside, outside } = await start(scene, { who, protocol: "tcp", options: ["--no-ice-tcp"] });
    const watch = await Watch.start([inside, outside]);
    await scene.step("when it is tried after that", async () => {
      // Only then are there the pairs that are checked in vain.
      await watch.unnoticed(await restart(inside, TRIED[0] + TRY));
      await until("UDP is given up", () => inside.evaluate(hasGivenUpUdp), TRIED[1]);
      await line.say("mend");
      const since = await restart(inside, TRIED[1] + TRY);
      await until("media takes the direct way", async () => (await inside.evaluate(path))?.type !== "relay", TRY);
      scene.report(`from the TURN server to UDP: ${await watch.unnoticed(since)}`);
    });
  }, 180_000);
}
