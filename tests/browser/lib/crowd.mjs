// Two hundred headless participants in rooms of their own, beside the browsers.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const PROGRAM = process.env.SWITCHYARD_CROWD ?? fileURLToPath(new URL("../../../target/debug/examples/crowd", import.meta.url));

export class Crowd {
  /** Options of a server in whose rooms everybody is heard, and which lets all of them in: they and the browsers share one machine with it. */
  static SERVER = ["--heard", "56", "--max-load", "0"];
  #child;
  #lines;
  #closed;

  /** Has them enter, and waits until everybody hears everybody in their room. */
  static async enter(server) {
    const crowd = new Crowd(server);
    const said = await crowd.#next();
    if (said !== "ready") throw new Error(`the crowd says ${said}`);
    return crowd;
  }

  constructor(server) {
    this.#child = spawn(PROGRAM, [`${server.origin.replace("http", "ws")}/v1/ws`], { stdio: ["pipe", "pipe", "inherit"] });
    this.#closed = once(this.#child, "close");
    this.#closed.catch(() => {});
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** Waits until everybody hears everybody after a time (milliseconds since the epoch): how long it took each of them, in ms. */
  async back(since) {
    this.#child.stdin.write(`${since}\n`);
    return JSON.parse(await this.#next());
  }

  async leave() {
    if (this.#child.pid === undefined) return;
    this.#child.stdin.end();
    const [code, signal] = await this.#closed;
    if (code !== 0) throw new Error(`the crowd ended with ${signal ?? code}`);
  }

  async #next() {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error("the crowd is gone");
    return value;
  }
}
