// A Docker engine for a test: on a machine of its own as far as the network goes, and gone with all that it started when the test is over.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, copyFile, cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Line } from "../../network/lib/line.mjs";

const run = promisify(execFile);
const CHECKOUT = fileURLToPath(new URL("../../../", import.meta.url));
/** Milliseconds until the engine says that it listens. */
const START_TIMEOUT = 30_000;
/** Milliseconds that a command may take. */
const COMMAND_TIMEOUT = 90_000;
/** Lines of what a program says that are shown when a test fails. */
const KEPT_LINES = 30;
/** What of the checkout is needed to build the image around a program that is there, and to use it. */
const FILES = ["Dockerfile", ".dockerignore", "docker-compose.yml", "docker-compose.host.yml", "deploy"];

/** The directories of `PATH`. */
const folders = () => (process.env.PATH ?? "").split(delimiter);

/** A Docker client that builds with BuildKit: up to version 22 it does by itself, later ones have a plug-in. */
async function findClient() {
  for (const program of folders().map((folder) => join(folder, "docker")).filter(existsSync)) {
    const { stdout } = await run(program, ["--version"]);
    const version = Number(/version (\d+)/.exec(stdout)?.[1]);
    if (version < 23) return program;
    if (await run(program, ["buildx", "version"]).then(() => true, () => false)) return program;
  }
  throw new Error("no Docker client builds with BuildKit; on Debian `cargo xtask setup` installs one");
}

export class Engine {
  #line;
  #child;
  #closed;
  #folder;
  #environment;
  log = [];

  /**
   * Starts `dockerd` in the namespace behind a line: a machine that others reach at `address`, whose packet filters are its own. It has a process namespace and a
   * mount namespace, so that everything that it starts and mounts goes with it, and it goes with this process.
   */
  static async start() {
    const engine = new Engine();
    try {
      // Public, since Chromium takes no media at port 443 of a private address.
      engine.#line = await Line.start("--public");
      engine.#folder = await mkdtemp(join(tmpdir(), "switchyard-container-"));
      await engine.#serve();
      await engine.#prepare();
      return engine;
    } catch (error) {
      await engine.stop();
      throw error;
    }
  }

  /** The line between this machine and others. */
  get line() {
    return this.#line;
  }

  /** Where others reach this machine. */
  get address() {
    return this.#line.near;
  }

  /** The folder with what of the checkout one needs; commands are run there. */
  get checkout() {
    return join(this.#folder, "checkout");
  }

  /** Resolves with a program that runs another one on the engine's machine. */
  within(program) {
    return this.#line.within(program);
  }

  /** Makes what listens on the machine's loopback reachable here, on the same port; resolves with the port. */
  relay() {
    return this.#line.relay();
  }

  /** Runs a program on the engine's machine, in the checkout; resolves with what it writes, or fails with it. */
  async run(program, arguments_, environment = {}) {
    const command = ["--net=" + this.#namespace, program, ...arguments_];
    const options = { cwd: this.checkout, env: { ...this.#environment, ...environment }, timeout: COMMAND_TIMEOUT, maxBuffer: 64 << 20 };
    try {
      const { stdout } = await run("nsenter", command, options);
      return stdout.trim();
    } catch (error) {
      const why = error.killed ? `is not over after ${COMMAND_TIMEOUT} ms` : `ended with ${error.code}`;
      const said = `${error.stdout}\n${error.stderr}`.trim().split("\n").slice(-KEPT_LINES).join("\n");
      throw new Error(`${program} ${arguments_.join(" ")} ${why}\n${said}`);
    }
  }

  docker(...arguments_) {
    return this.run("docker", arguments_);
  }

  /** What `docker inspect` says of something. */
  async inspect(name) {
    const [said] = JSON.parse(await this.docker("inspect", name));
    return said;
  }

  /** Runs commands as they stand in the documentation. */
  shell(commands, environment) {
    return this.run("bash", ["-euo", "pipefail", "-c", commands], environment);
  }

  /** Has everything end, and takes away what it wrote. */
  async stop() {
    if (this.#child) {
      // With the first process of its process namespace go all others, and the one outside, which waits for it.
      const [first] = await readFile(`/proc/${this.#child.pid}/task/${this.#child.pid}/children`, "utf8").then((pids) => pids.split(" ").map(Number), () => []);
      if (first) process.kill(first, "SIGKILL");
      else this.#child.kill("SIGKILL");
      await this.#closed;
    }
    await this.#line?.stop();
    if (this.#folder) await rm(this.#folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
  }

  get #namespace() {
    return `/run/netns/${this.#line.namespace}`;
  }

  async #serve() {
    const socket = `unix://${join(this.#folder, "docker.sock")}`;
    const place = (name) => join(this.#folder, name);
    // Not `ip netns exec`, which hides the control groups.
    const command = ["--pdeathsig", "KILL", "nsenter", `--net=${this.#namespace}`, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    const options = ["--host", socket, "--data-root", place("data"), "--exec-root", place("exec"), "--pidfile", place("pid")];
    // What it writes to these folders whatever it is told goes with it, too.
    const serve = 'for folder in /run /opt /etc/docker; do mkdir -p $folder; mount -t tmpfs tmpfs $folder; done; exec dockerd "$@"';
    this.#child = spawn("setpriv", [...command, "sh", "-c", serve, "dockerd", ...options], { stdio: ["ignore", "ignore", "pipe"] });
    this.#closed = once(this.#child, "close").catch(() => {});
    await new Promise((resolve, reject) => {
      const fail = (why) => reject(new Error(`the engine ${why}\n${this.log.join("\n")}`));
      const timer = setTimeout(() => fail("does not say that it listens"), START_TIMEOUT);
      this.#child.on("error", (error) => fail(`does not start: ${error.message}`));
      this.#child.on("close", (code, signal) => fail(`ended with ${signal ?? code}`));
      createInterface({ input: this.#child.stderr }).on("line", (line) => {
        this.log.push(line);
        if (this.log.length > KEPT_LINES) this.log.shift();
        if (!line.includes("API listen on")) return;
        clearTimeout(timer);
        resolve();
      });
    });
    this.#environment = { ...process.env, DOCKER_HOST: socket, DOCKER_CONFIG: place("config"), DOCKER_BUILDKIT: "1", COMPOSE_DOCKER_CLI_BUILD: "1", COMPOSE_PROJECT_NAME: "switchyard" };
  }

  /** The checkout, and a `docker` that knows `compose` and builds what is built from nothing but what is there. */
  async #prepare() {
    const program = join(this.#folder, "bin", "docker");
    await mkdir(dirname(program));
    await mkdir(this.checkout);
    for (const file of FILES) await cp(join(CHECKOUT, file), join(this.checkout, file), { recursive: true });
    const client = await findClient();
    const script = `#!/bin/sh
case "$1" in
  compose) shift; exec docker-compose "$@" ;;
  build) shift; exec '${client}' build --build-arg BINARY=prebuilt --build-arg RUNTIME_IMAGE=runtime "$@" ;;
  *) exec '${client}' "$@" ;;
esac
`;
    await writeFile(program, script, { mode: 0o755 });
    this.#environment.PATH = `${dirname(program)}${delimiter}${process.env.PATH}`;
  }

  /**
   * Makes an image of programs of this machine's and the libraries they are linked with, since no registry is asked. `folders`: whose owner is nobody. `changes`: the
   * Dockerfile's instructions for it.
   */
  async image(name, { programs = [], like = programs, folders: owned = [], changes = [] }) {
    const root = await mkdtemp(join(this.#folder, "image-"));
    const files = new Set(programs);
    for (const program of like) {
      const { stdout } = await run("ldd", [program]);
      for (const [, path] of stdout.matchAll(/(\/\S+) \(0x/g)) files.add(path);
    }
    for (const file of files) {
      await mkdir(dirname(join(root, file)), { recursive: true });
      await copyFile(file, join(root, file));
    }
    for (const folder of ["/tmp", "/etc", ...owned]) await mkdir(join(root, folder), { recursive: true });
    await chmod(join(root, "tmp"), 0o1777);
    if (owned.length > 0) await run("chown", ["65534:65534", ...owned.map((folder) => join(root, folder))]);
    const archive = join(root, "..", `${name.replaceAll("/", "_")}.tar`);
    await run("tar", ["-C", root, "-cf", archive, "."]);
    await this.docker("import", ...changes.flatMap((change) => ["--change", change]), archive, name);
  }
}
