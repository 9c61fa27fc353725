// Machines and what connects them, as network namespaces: nothing of them is seen by other programs, and no address of theirs clashes with anything.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { promisify } from "node:util";
import { Namespace } from "./namespace.mjs";

const run = promisify(execFile);
/** What the names of namespaces begin with; the process id and the machine's name follow. */
const NAME = "switchyard-net-";
/** The machine that the cables of all networks end at. */
const SWITCH = "switch";

let made = 0;

export class Network {
  #prefix = `${NAME}${process.pid}-${made++}-`;
  #hosts = new Map();
  #bridges = 0;
  #cables = 0;

  /** Makes a network, gone with the scene; `lans` are {@link lan}'s arguments. */
  static async create(scene, ...lans) {
    const network = new Network();
    scene.last(() => network.close());
    await sweep();
    for (const plugs of lans) await network.lan(plugs);
    return network;
  }

  /** A machine, by its name: a {@link Namespace}. */
  host(name) {
    return this.#hosts.get(name);
  }

  /** Connects machines, new ones as well, with each other: `{ server: "eth0 10.1.0.7/24 2001:db8::7/64" }` says by which interface and at which addresses. */
  async lan(plugs) {
    const bridge = `lan${this.#bridges++}`;
    await this.#add(SWITCH);
    await this.ip(SWITCH, `link add ${bridge} type bridge mcast_snooping 0`);
    await this.ip(SWITCH, `link set ${bridge} up`);
    for (const [name, plug] of Object.entries(plugs)) {
      const [device, ...addresses] = plug.split(" ");
      await this.#add(name);
      const port = `port${this.#cables++}`;
      await run("ip", ["link", "add", port, "netns", this.#prefix + SWITCH, "type", "veth", "peer", "name", device, "netns", this.#prefix + name]);
      await this.ip(SWITCH, `link set ${port} master ${bridge} up`);
      await this.ip(name, `link set ${device} up`);
      for (const address of addresses) await this.ip(name, `address add ${address} dev ${device}${address.includes(":") ? " nodad" : ""}`);
    }
  }

  /** Runs `ip` on a machine. */
  ip(name, command) {
    return run("ip", ["-n", this.#prefix + name, ...command.split(" ")]);
  }

  /** Runs a program on a machine. */
  run(name, ...command) {
    return run("ip", ["netns", "exec", this.#prefix + name, ...command]);
  }

  /** Ends it, and with it whatever runs on its machines' networks. */
  async close() {
    for (const [name, host] of this.#hosts) {
      await host.close();
      await run("ip", ["netns", "del", this.#prefix + name]);
    }
  }

  async #add(name) {
    if (this.#hosts.has(name)) return;
    await run("ip", ["netns", "add", this.#prefix + name]);
    this.#hosts.set(name, await Namespace.open(this.#prefix + name));
    await this.ip(name, "link set lo up");
  }
}

/** Removes what processes that are gone have left behind. */
async function sweep() {
  const { stdout } = await run("ip", ["netns", "list"]);
  for (const line of stdout.split("\n")) {
    const [name] = line.split(" ");
    const id = name.startsWith(NAME) && Number.parseInt(name.slice(NAME.length), 10);
    if (id && !existsSync(`/proc/${id}`)) await run("ip", ["netns", "del", name]).catch(() => {});
  }
}
