// A bad line, as a process of its own, and programs behind it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Namespace } from "./namespace.mjs";

const product = (name) => fileURLToPath(new URL(`../../../target/debug/${name}`, import.meta.url));
const PROGRAM = process.env.SWITCHYARD_LINE ?? product("switchyard-line");
const PROBE = process.env.SWITCHYARD_PROBE ?? product("examples/probe");
/** Milliseconds until a command is answered. */
const ANSWER_TIMEOUT = 5_000;
/** Milliseconds between asking the line to end and ending it. */
const STOP_TIMEOUT = 5_000;

/** A line whose near end is a namespace and whose far end is here. */
export class Line {
  #child;
  #closed;
  #answers = [];
  #waiting = [];
  #said = [];
  #inside;

  /** Makes a line. `arguments_` are the program's. */
  static async start(...arguments_) {
    const line = new Line(spawn(PROGRAM, arguments_, { stdio: ["pipe", "pipe", "pipe"] }));
    try {
      const [word, ...fields] = (await line.#answer("starting")).split(" ");
      if (word !== "ready") throw new Error(`the line says ${word}, not ready`);
      const { namespace, near, far } = Object.fromEntries(fields.map((field) => field.split("=")));
      Object.assign(line, { namespace, near, far });
      line.#inside = await Namespace.open(namespace);
      return line;
    } catch (error) {
      await line.stop();
      throw error;
    }
  }

  constructor(child) {
    this.#child = child;
    this.#closed = once(child, "close");
    this.#closed.catch(() => {});
    createInterface({ input: child.stderr }).on("line", (text) => this.#said.push(text));
    createInterface({ input: child.stdout }).on("line", (text) => {
      const waiting = this.#waiting.shift();
      if (waiting) waiting(text);
      else this.#answers.push(text);
    });
  }

  /** Says a command (`switchyard-line`'s `help` lists them) and resolves when it is done, with the answer. */
  async say(command) {
    this.#child.stdin.write(`${command}\n`);
    const answer = await this.#answer(command);
    if (answer.startsWith("error ")) throw new Error(`${command}: ${answer.slice("error ".length)}`);
    return answer;
  }

  /** What became of the packets: `out`, `in` and `late`. */
  async counts() {
    return JSON.parse(await this.say("counts"));
  }

  /** The path of a file that is gone when the line is. */
  file(name) {
    return this.#inside.file(name);
  }

  /** Resolves with a program that runs `program` behind the line. */
  within(program) {
    return this.#inside.within(program);
  }

  /** Has programs behind the line that are started from now on know the address of `name`. */
  knows(name, address) {
    return this.#inside.knows(name, address);
  }

  /** Makes what listens on loopback behind the line reachable here, on the same port; resolves with the port. */
  relay() {
    return this.#inside.relay();
  }

  /** Sends `packets` numbered datagrams each way at the same time, one each `interval` microseconds; what became of them: `out` and `in`. */
  async probe({ packets, interval }) {
    const options = { namespace: this.namespace, near: this.near, far: this.far, packets, "interval-us": interval };
    const child = spawn(PROBE, Object.entries(options).flatMap(([key, value]) => [`--${key}`, String(value)]), { stdio: ["ignore", "pipe", "pipe"] });
    const [report, said] = [child.stdout, child.stderr].map((stream) => {
      const parts = [];
      stream.on("data", (part) => parts.push(part));
      return () => Buffer.concat(parts).toString();
    });
    const [code] = await once(child, "close");
    if (code !== 0) throw new Error(`the probe ended with ${code}: ${said()}`);
    return JSON.parse(report());
  }

  /** Ends the line, and with it the namespace. */
  async stop() {
    if (this.#child.pid !== undefined && this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.stdin.end();
      const timer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_TIMEOUT);
      const [code, signal] = await this.#closed;
      clearTimeout(timer);
      if (code !== 0) throw new Error(`the line ended with ${signal ?? code}\n${this.#said.join("\n")}`);
    }
    await this.#inside?.close();
  }

  #answer(what) {
    if (this.#answers.length > 0) return Promise.resolve(this.#answers.shift());
    return new Promise((resolve, reject) => {
      const fail = (why) => reject(new Error(`${what}: the line ${why}\n${this.#said.join("\n")}`));
      const timer = setTimeout(() => fail("does not answer"), ANSWER_TIMEOUT);
      this.#closed.then(
        () => fail("has ended"),
        (error) => fail(error.message),
      );
      this.#waiting.push((text) => {
        clearTimeout(timer);
        resolve(text);
      });
    });
  }
}
