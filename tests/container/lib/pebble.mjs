// Pebble, an ACME server for tests, which finds every name at one address.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { makeCertificate } from "../../browser/lib/trust.mjs";
import { until } from "../../browser/lib/tab.mjs";

/** A free port. */
async function freePort(address) {
  const server = createServer().listen(0, address);
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  return port;
}

/**
 * Starts one that listens at `address` and looks for proofs at `target`, port 443. `file` says where a file may lie. Resolves with its `directory`, the authority of its own
 * certificate (`ca`, a file), and `root()`, which resolves with that of the certificates that it gives (PEM).
 */
export async function startPebble(scene, { address, target, file }) {
  const { authority, certificate, key } = await makeCertificate((name) => file(`pebble-${name}`), address);
  const [listen, management, dns, names] = await Promise.all([address, address, "127.0.0.1", "127.0.0.1"].map(async (at) => `${at}:${await freePort(at)}`));
  const config = { listenAddress: listen, managementListenAddress: management, certificate, privateKey: key, httpPort: 80, tlsPort: 443, certificateValidityPeriod: 86_400 };
  await writeFile(file("pebble.json"), JSON.stringify({ pebble: config }));
  const log = [];
  const start = (program, ...arguments_) => {
    const child = spawn(program, arguments_, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, PEBBLE_VA_NOSLEEP: "1", PEBBLE_WFE_NONCEREJECT: "0" } });
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (part) => log.push(part.toString()));
    child.on("error", (error) => log.push(String(error)));
    scene.last(async () => {
      child.kill();
      if (child.exitCode === null && child.signalCode === null) await once(child, "close");
    });
  };
  const off = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""];
  start("pebble-challtestsrv", ...off, "-dns01", dns, "-defaultIPv4", target, "-management", names);
  start("pebble", "-config", file("pebble.json"), "-dnsserver", dns);
  const root = () => ask(`https://${management}/roots/0`, authority);
  await until(`Pebble answers\n${log.join("")}`, root);
  return { directory: `https://${listen}/dir`, ca: authority, root };
}

/** Asks a server whose certificate is by an authority; resolves with the answer. */
async function ask(url, authority) {
  const child = spawn("curl", ["-fsS", "--cacert", authority, url], { stdio: ["ignore", "pipe", "inherit"] });
  const parts = [];
  child.stdout.on("data", (part) => parts.push(part));
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`curl ended with ${code}`);
  return Buffer.concat(parts).toString();
}
