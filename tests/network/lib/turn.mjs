// coturn, as a process of its own: a TURN server, which is a STUN server as well.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

const PROGRAM = "turnserver";
const REALM = "switchyard.test";

/**
 * Starts coturn at an address. `secret`: the one that it shares with a server; without it, it only answers STUN. `tls`: its `port` for TLS, the `certificate` and the `key` (files).
 * `within` has it run somewhere else, as a browser's. `more`: further options. Resolves with its log, which goes on, when it listens.
 */
export async function startTurn(scene, { address, port, secret, tls, within, more = [] }) {
  const who = secret ? [`--realm=${REALM}`, "--use-auth-secret", `--static-auth-secret=${secret}`] : ["--stun-only"];
  const where = [`--listening-ip=${address}`, `--relay-ip=${address}`, `--listening-port=${port}`];
  const secure = tls ? [`--tls-listening-port=${tls.port}`, `--cert=${tls.certificate}`, `--pkey=${tls.key}`] : ["--no-tls"];
  const arguments_ = ["-n", "--no-cli", "--no-dtls", "--log-file=stdout", "--verbose", "--pidfile=/dev/null", ...where, ...who, ...secure, ...more];
  const child = spawn(within ? await within(PROGRAM) : PROGRAM, arguments_, { stdio: ["ignore", "pipe", "pipe"] });
  scene.last(async () => {
    child.kill();
    if (child.exitCode === null && child.signalCode === null) await once(child, "close");
  });
  const log = [];
  await new Promise((resolve, reject) => {
    child.on("close", (code) => reject(new Error(`coturn ended with ${code}\n${log.join("\n")}`)));
    child.on("error", reject);
    createInterface({ input: child.stderr }).on("line", (line) => log.push(line));
    createInterface({ input: child.stdout }).on("line", (line) => {
      log.push(line);
      if (/listener opened on/i.test(line)) resolve();
    });
  });
  return log;
}
