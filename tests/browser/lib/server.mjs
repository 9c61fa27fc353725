// The real server, as a process of its own on free ports.
import { spawn } from "node:child_process";
import { createSocket as createUdp } from "node:dgram";
import { once } from "node:events";
import { createServer as createTcp } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** The program under test. */
export const PROGRAM = process.env.SWITCHYARD_BIN ?? fileURLToPath(new URL("../../../target/debug/switchyard", import.meta.url));
/** Lines of log that are kept to be shown when a test fails. */
const KEPT_LINES = 400;
/** Milliseconds until the server says that it listens. */
const START_TIMEOUT = 10_000;
/** Milliseconds between asking the server to go down and ending it. */
const STOP_TIMEOUT = 5_000;

/**
 * A port that is free for TCP and UDP and stays so while the server is away: below those that systems give to whoever asks for any (on Linux 32,768 and up),
 * as browsers do all the time.
 */
export async function lastingPort() {
  for (let tries = 0; tries < 100; tries++) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    const tcp = createTcp();
    const udp = createUdp("udp6");
    const bound = (socket, bind) => new Promise((resolve) => bind(socket.once("error", () => resolve(false)), () => resolve(true)));
    const free = (await bound(tcp, (socket, done) => socket.listen(port, "127.0.0.1", done))) && (await bound(udp, (socket, done) => socket.bind(port, done)));
    tcp.close();
    udp.close();
    if (free) return port;
  }
  throw new Error("no free port was found");
}

/**
 * Starts `switchyard serve --dev` (on loopback and free ports, unless options say where) and resolves when it listens, with `origin` (`http://127.0.0.1:PORT`, or `https:` if there is a certificate), `media`
 * (the UDP port), `log` (its latest lines), `stop()`, and `crash()`: ends it on the spot and starts it again on the same ports; resolves when it listens again.
 * A first argument with `within` has it run somewhere else, as a browser's; with `usualMedia` the server chooses the port of media as it does when nobody says it.
 */
export async function startServer(...options) {
  const log = [];
  const { within, usualMedia } = typeof options[0] === "object" ? options.shift() : {};
  const program = within ? await within(PROGRAM) : PROGRAM;
  const places = [];
  if (!options.includes("--http")) places.push("--http", `127.0.0.1:${await lastingPort()}`);
  if (!usualMedia && !options.includes("--media-port")) places.push("--media-port", String(await lastingPort()));
  let current = await start(program, [...places, ...options], log);
  const { origin, media } = current;
  return {
    origin,
    media,
    log,
    stop: () => stop(current),
    async crash() {
      current.child.kill("SIGKILL");
      await current.closed;
      const isPlace = (option) => option === "--http" || option === "--media-port";
      const others = options.filter((option, at) => !isPlace(option) && !isPlace(options[at - 1]));
      current = await start(program, ["--http", new URL(origin).host, "--media-port", String(media), ...others], log);
    },
  };
}

async function start(program, options, log) {
  const child = spawn(program, ["serve", "--dev", ...options], { stdio: ["ignore", "pipe", "pipe"] });
  const keep = (line) => {
    log.push(line);
    if (log.length > KEPT_LINES) log.shift();
  };
  const closed = once(child, "close");
  closed.catch(() => {});
  createInterface({ input: child.stderr }).on("line", keep);
  const ready = new Promise((resolve, reject) => {
    const fail = (why) => reject(new Error(`${PROGRAM} ${why}\n${log.join("\n")}`));
    const timer = setTimeout(() => fail("did not say that it listens"), START_TIMEOUT);
    child.on("error", (error) => fail(`does not start: ${error.message}`));
    child.on("close", (code, signal) => fail(`ended with ${code ?? signal}`));
    createInterface({ input: child.stdout }).on("line", (line) => {
      keep(line);
      const match = /^listening http=(\S+) media=(\d+)(?: admin=\S+)?$/.exec(line);
      if (!match) return;
      clearTimeout(timer);
      resolve({ origin: `${options.includes("--tls-certificate") ? "https" : "http"}://${match[1]}`, media: Number(match[2]) });
    });
  });
  try {
    const { origin, media } = await ready;
    return { origin, media, child, closed };
  } catch (error) {
    await stop({ child, closed });
    throw error;
  }
}

/** Asks the process to go down, ends it if it does not, and fails if it ended in another way than asked. */
async function stop({ child, closed }) {
  if (child.pid === undefined) return;
  const asked = child.exitCode === null && child.signalCode === null;
  if (asked) child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT);
  const [code, signal] = await closed;
  clearTimeout(timer);
  if (!asked || code !== 0) throw new Error(`the server ended with ${signal ?? code}${asked ? " when asked to go down" : " by itself"}`);
}
