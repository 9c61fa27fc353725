// A network namespace, and programs in it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Runs in a namespace: joins its standard input and output to a TCP connection. */
const JOIN = `const c=require("net").connect(+process.argv[1],"127.0.0.1");c.on("error",()=>process.exit(1));c.on("close",()=>process.exit(0));process.stdin.pipe(c).pipe(process.stdout)`;

/** A namespace that somebody else has made, with loopback. */
export class Namespace {
  #folder;
  #relays = [];
  #settings;

  static async open(name) {
    return new Namespace(name, await mkdtemp(join(tmpdir(), "switchyard-network-")));
  }

  constructor(name, folder) {
    this.name = name;
    this.#folder = folder;
  }

  /** The path of a file that is gone after {@link close}. */
  file(name) {
    return join(this.#folder, name);
  }

  /** For browsers and servers: has them run in the namespace. */
  get runs() {
    return { within: (program) => this.within(program) };
  }

  /** Resolves with a program that runs `program` in the namespace. */
  async within(program) {
    const wrapper = this.file(program.replaceAll("/", "_"));
    await writeFile(wrapper, `#!/bin/sh\nexec ip netns exec ${this.name} '${program}' "$@"\n`, { mode: 0o755 });
    return wrapper;
  }

  /** Makes what listens on loopback in the namespace reachable here, on the same port; resolves with the port. */
  async relay() {
    const server = createServer((connection) => {
      const inside = spawn("ip", ["netns", "exec", this.name, process.execPath, "-e", JOIN, String(server.address().port)], {
        stdio: ["pipe", "pipe", "inherit"],
      });
      connection.pipe(inside.stdin);
      inside.stdout.pipe(connection);
      for (const end of [connection, inside.stdin, inside.stdout, inside]) end.on("error", () => connection.destroy());
      connection.on("close", () => inside.kill());
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    this.#relays.push(server);
    return server.address().port;
  }

  /** Has programs in the namespace that are started from now on know the address of `name`. */
  async knows(name, address) {
    this.#settings = join("/etc/netns", this.name);
    await mkdir(this.#settings, { recursive: true });
    // `ip netns exec` shows this instead of the system's.
    await writeFile(join(this.#settings, "hosts"), `127.0.0.1 localhost\n${address} ${name}\n`);
    // Nobody is there, which is known at once: who asks for an IPv6 address as well need not wait for it.
    await writeFile(join(this.#settings, "resolv.conf"), "nameserver 127.0.0.254\n");
  }

  /** Leaves nothing behind; the namespace is whoever's who made it. */
  async close() {
    for (const relay of this.#relays) relay.close();
    for (const folder of [this.#folder, this.#settings].filter(Boolean)) await rm(folder, { recursive: true, force: true });
  }
}
