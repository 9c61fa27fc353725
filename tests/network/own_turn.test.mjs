// Nothing but the server's own TURN server leads to it.
import assert from "node:assert/strict";
import { scene } from "../browser/lib/scene.mjs";
import { makeCertificate } from "../browser/lib/trust.mjs";
import { Line } from "./lib/line.mjs";
import { path } from "./lib/path.mjs";

/** Frames a second of the cameras. */
const FPS = 15;
/** The server's, behind the line. Firefox takes no URL of a TURN server by TLS that has an address. */
const NAME = "switchyard.test";

/** Somebody behind a line and somebody beside the server meet, the former by `protocol` to the relay. */
async function meet(scene, line, server, { who, protocol, origin = server.origin, authority }) {
  const secure = origin.startsWith("http:") ? origin : undefined;
  const here = { secure, fps: FPS };
  const behind = { ...here, authority, within: (program) => line.within(program) };
  const launched = who === "Ada" ? await scene.chromium(behind) : await scene.firefox({ ...behind, port: await line.relay() });
  const inside = await scene.join(launched, { origin }, "demo", who);
  const outside = await scene.join(await scene.chromium(here), server, "demo", "Ben");
  await inside.receives(outside);
  await outside.receives(inside);
  const { type, relayProtocol } = await inside.evaluate(path);
  assert.deepEqual({ type, relayProtocol }, { type: "relay", relayProtocol: protocol });
}

for (const [who, browser] of [["Ada", "Chromium"], ["Eve", "Firefox"]]) {
  for (const [protocol, blocked] of [["udp", undefined], ["tcp", "udp"]]) {
    scene(`${browser} by ${protocol} through the server's own TURN server only`, async (scene) => {
      const line = await Line.start();
      scene.last(() => line.stop());
      const server = await scene.server("--http", `${line.far}:0`, "--advertise", line.far, "--turn", "--turn-udp", `${line.far}:0`, "--relay-only");
      if (blocked) await line.say(`cut ${blocked}`);
      await meet(scene, line, server, { who, protocol });
    });
  }

  scene(`${browser} where nothing but HTTPS gets out`, async (scene) => {
    const line = await Line.start();
    scene.last(() => line.stop());
    const { authority, options } = await makeCertificate((name) => line.file(name), NAME, line.far);
    const server = await scene.server("--http", `${line.far}:0`, "--advertise", line.far, "--turn", ...options);
    await line.say("cut plain");
    await line.knows(NAME, line.far);
    await meet(scene, line, server, { who, protocol: "tls", origin: server.origin.replace(line.far, NAME), authority });
    assert.ok((await line.counts()).out.cut > 0, "UDP and TCP without TLS were tried, and lost");
  });
}
