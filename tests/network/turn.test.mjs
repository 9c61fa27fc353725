// Nothing but a TURN server leads to the server: coturn, with credentials made of the secret that both know.
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { scene } from "../browser/lib/scene.mjs";
import { Line } from "./lib/line.mjs";
import { startTurn } from "./lib/turn.mjs";

/** Frames a second of the cameras. */
const FPS = 15;
const SECRET = "a secret that nobody else knows";
/** Below the ports that systems give to whoever asks for any. */
const PORT = 20_000 + (process.pid % 10_000);

/** Runs in a page: the type of the path that media takes, the protocol to the relay, and where to. */
async function path() {
  const stats = await window.switchyard.peerConnection.getStats();
  const all = [...stats.values()];
  const transport = all.find(({ type }) => type === "transport");
  const pair = transport?.selectedCandidatePairId ? stats.get(transport.selectedCandidatePairId) : all.find(({ type, nominated, state }) => type === "candidate-pair" && nominated && state === "succeeded");
  const local = pair && stats.get(pair.localCandidateId);
  return local && { type: local.candidateType, protocol: local.relayProtocol };
}

for (const [who, browser] of [["Ada", "chromium"], ["Eve", "firefox"]]) {
  for (const protocol of ["udp", "tcp"]) {
    scene(`${browser} by ${protocol} through a TURN server only`, async (scene) => {
      const line = await Line.start();
      scene.last(() => line.stop());
      const secret = line.file("secret");
      await writeFile(secret, `${SECRET}\n`);
      const turn = await startTurn(scene, { address: line.far, port: PORT, secret: SECRET });
      const url = `turn:${line.far}:${PORT}?transport=${protocol}`;
      const server = await scene.server("--http", `${line.far}:0`, "--advertise", line.far, "--turn-url", url, "--turn-secret-file", secret, "--relay-only");
      if (protocol === "tcp") await line.say("cut udp");
      const options = { secure: server.origin, fps: FPS, within: (program) => line.within(program) };
      const launched = browser === "chromium" ? await scene.chromium(options) : await scene.firefox({ ...options, port: await line.relay() });
      const inside = await scene.join(launched, server, "demo", who);
      const outside = await scene.join(await scene.chromium({ secure: server.origin, fps: FPS }), server, "demo", "Ben");
      await scene.step("sees and is seen", async () => {
        await inside.receives(outside);
        await outside.receives(inside);
        assert.deepEqual(await inside.evaluate(path), { type: "relay", protocol });
        assert.ok(turn.some((line) => /ALLOCATE processed, success/.test(line)), turn.slice(-40).join("\n"));
      });
    });
  }
}
