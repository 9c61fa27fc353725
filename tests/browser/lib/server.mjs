// The real server, as a process of its own on free ports.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const PROGRAM = process.env.SWITCHYARD_BIN ?? fileURLToPath(new URL("../../../target/debug/switchyard", import.meta.url));
/** Lines of log that are kept to be shown when a test fails. */
const KEPT_LINES = 400;
/** Milliseconds until the server says that it listens. */
const START_TIMEOUT = 10_000;
/** Milliseconds between asking the server to go down and ending it. */
const STOP_TIMEOUT = 5_000;

/**
/**
 * Starts `switchyard serve --dev` (on loopback, unless an option says where) and resolves when it listens, with `origin` (`http://127.0.0.1:PORT`), `media`
 * (the UDP port), `log` (its latest lines), `stop()`, and `crash()`: ends it on the spot and starts it again on the same ports; resolves when it listens again.
 */
export async function startServer(...options) {
  const log = [];
  const http = options.includes("--http") ? [] : ["--http", "127.0.0.1:0"];
  let current = await start([...http, "--media-port", "0", ...options], log);
  const { origin, media } = current;
  return {
    origin,
    media,
    log,
    stop: () => stop(current),
    async crash() {
      current.child.kill("SIGKILL");
      await current.closed;
      const others = options.filter((option, at) => option !== "--http" && options[at - 1] !== "--http");
      current = await start(["--http", new URL(origin).host, "--media-port", String(media), ...others], log);
    },
  };
}

async function start(options, log) {
  const child = spawn(PROGRAM, ["serve", "--dev", ...options], { stdio: ["ignore", "pipe", "pipe"] });
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
      const match = /^listening http=(\S+) media=(\d+)$/.exec(line);
      if (!match) return;
      clearTimeout(timer);
      resolve({ origin: `http://${match[1]}`, media: Number(match[2]) });
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
