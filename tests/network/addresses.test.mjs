// The addresses at which a server is reached: behind a NAT, by IPv6 alone, on several networks. Who comes by which sees the others.
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { scene } from "../browser/lib/scene.mjs";
import { makeCertificate } from "../browser/lib/trust.mjs";
import { Network } from "./lib/network.mjs";
import { path } from "./lib/path.mjs";
import { startTurn } from "./lib/turn.mjs";

/** Frames a second of the cameras. */
const FPS = 15;
/** Where a STUN server listens. */
const STUN = 3478;

/** Somebody on a machine of the network, who opens the server at `address`. */
async function person(scene, network, server, { name, at, address, firefox = false }) {
  const origin = `http://${address.includes(":") ? `[${address}]` : address}:${new URL(server.origin).port}`;
  const host = network.host(at);
  const options = { secure: origin, fps: FPS, ...host.runs };
  const browser = firefox ? await scene.firefox({ ...options, port: await host.relay() }) : await scene.chromium(options);
  return scene.join(browser, { origin }, "demo", name);
}

/** Everybody sees and hears everybody. */
const everybodySees = (...people) => Promise.all(people.map((one) => one.receives(...people.filter((other) => other !== one))));

/** How media goes to which address of the server's. */
async function remote(person) {
  const { protocol, remote } = await person.evaluate(path);
  return `${protocol} ${remote}`;
}

/** Runs in a page: what the server offers, in its order. */
function offered() {
  const lines = window.switchyard.peerConnection.remoteDescription.sdp.match(/^a=candidate:.*$/gmu);
  return [...new Set(lines.map((line) => line.split(" ")).map(([, , protocol, , address]) => `${protocol} ${address}`))];
}

scene("behind a NAT that gives the server another address, which a STUN server tells it: by that from outside, by its own from inside", async (scene) => {
  const network = await Network.create(
    scene,
    { router: "lan 10.1.0.1/24", server: "eth0 10.1.0.7/24", inside: "eth0 10.1.0.8/24" },
    { router: "wan 203.0.113.1/24 203.0.113.7/32", outside: "eth0 203.0.113.9/24", further: "eth0 203.0.113.10/24" },
  );
  await network.ip("server", "route add default via 10.1.0.1");
  await network.run("router", "sysctl", "-qw", "net.ipv4.ip_forward=1");
  const nat = `table ip nat {
    chain in { type nat hook prerouting priority dstnat; iifname wan ip daddr 203.0.113.7 dnat to 10.1.0.7; }
    chain out { type nat hook postrouting priority srcnat; oifname wan ip saddr 10.1.0.7 snat to 203.0.113.7; }
  }`;
  await network.run("router", "nft", nat);
  await startTurn(scene, { address: "203.0.113.10", port: STUN, ...network.host("further").runs });
  const server = await scene.server(network.host("server").runs, "--http", "0.0.0.0:0", "--advertise", `stun:203.0.113.10:${STUN},own`, "--interfaces", "!lo");
  const Ada = await person(scene, network, server, { name: "Ada", at: "outside", address: "203.0.113.7" });
  const Eve = await person(scene, network, server, { name: "Eve", at: "further", address: "203.0.113.7", firefox: true });
  const Ben = await person(scene, network, server, { name: "Ben", at: "inside", address: "10.1.0.7" });
  await everybodySees(Ada, Eve, Ben);
  assert.deepEqual(await Ben.evaluate(offered), ["udp 203.0.113.7", "udp 10.1.0.7", "tcp 203.0.113.7", "tcp 10.1.0.7"]);
  assert.deepEqual([await remote(Ada), await remote(Eve), await remote(Ben)], ["udp 203.0.113.7", "udp 203.0.113.7", "udp 10.1.0.7"]);
});

scene("where there is only IPv6", async (scene) => {
  const network = await Network.create(scene, {
    server: "eth0 2001:db8::7/64",
    one: "eth0 2001:db8::8/64",
    two: "eth0 2001:db8::9/64",
    three: "eth0 2001:db8::a/64",
  });
  const server = await scene.server(network.host("server").runs, "--http", "[::]:0");
  const address = "2001:db8::7";
  const Ada = await person(scene, network, server, { name: "Ada", at: "one", address });
  const Eve = await person(scene, network, server, { name: "Eve", at: "two", address, firefox: true });
  const Ben = await person(scene, network, server, { name: "Ben", at: "three", address });
  await everybodySees(Ada, Eve, Ben);
  for (const one of [Ada, Eve, Ben]) assert.equal(await remote(one), `udp ${address}`);
});

scene("by HTTPS in a private network: media is where Chromium takes it", async (scene) => {
  const network = await Network.create(scene, { server: "eth0 10.1.0.7/24", one: "eth0 10.1.0.8/24", two: "eth0 10.1.0.9/24" });
  const address = "10.1.0.7";
  const { authority, options } = await makeCertificate((name) => network.host("server").file(name), address);
  const server = await scene.server({ ...network.host("server").runs, usualMedia: true }, "--http", "[::]:443", "--networks", "!127.0.0.0/8", ...options);
  assert.ok(server.log.some((line) => line.includes(`not at ${address}:443 (TCP)`)), server.log.join("\n"));
  const enter = async (name, launch, host) => scene.join(await launch({ authority, fps: FPS, ...host.runs }), { origin: `https://${address}` }, "demo", name);
  const Ada = await enter("Ada", (options) => scene.chromium(options), network.host("one"));
  const Eve = await enter("Eve", async (options) => scene.firefox({ ...options, port: await network.host("two").relay() }), network.host("two"));
  await everybodySees(Ada, Eve);
  for (const one of [Ada, Eve]) assert.equal(await remote(one), `udp ${address}`);
  assert.equal(server.media, 8080);
});

/** Two people where there is only IPv6, and no way but a TURN server: how they come to it. `options` are the server's. */
async function meetByRelay(scene, network, options) {
  const server = await scene.server(network.host("server").runs, "--http", "[::]:0", "--advertise", "2001:db8::7", "--relay-only", ...options);
  const Ada = await person(scene, network, server, { name: "Ada", at: "one", address: "2001:db8::7" });
  const Eve = await person(scene, network, server, { name: "Eve", at: "two", address: "2001:db8::7", firefox: true });
  await everybodySees(Ada, Eve);
  for (const one of [Ada, Eve]) assert.equal((await one.evaluate(path)).type, "relay");
}

const onlyIpv6 = (scene) => Network.create(scene, { server: "eth0 2001:db8::7/64", one: "eth0 2001:db8::8/64", two: "eth0 2001:db8::9/64", relay: "eth0 2001:db8::b/64" });

scene("where there is only IPv6, through a TURN server", async (scene) => {
  const network = await onlyIpv6(scene);
  const secret = network.host("server").file("secret");
  await writeFile(secret, "a secret that nobody else knows\n");
  // Browsers don't say of which family the address is to be.
  const more = ["--allocation-default-address-family=keep"];
  await startTurn(scene, { address: "2001:db8::b", port: STUN, secret: "a secret that nobody else knows", more, ...network.host("relay").runs });
  await meetByRelay(scene, network, ["--turn-url", `turn:[2001:db8::b]:${STUN}?transport=udp`, "--turn-secret-file", secret]);
});

scene("where there is only IPv6, through the server's own TURN server", async (scene) => {
  await meetByRelay(scene, await onlyIpv6(scene), ["--turn"]);
});

scene("where there are IPv4 and IPv6: both are offered, and each comes by what they have", async (scene) => {
  const [ipv4, ipv6] = ["10.1.0.7", "2001:db8::7"];
  const network = await Network.create(scene, {
    server: `eth0 ${ipv4}/24 ${ipv6}/64`,
    one: "eth0 10.1.0.8/24",
    two: "eth0 2001:db8::9/64",
    three: "eth0 10.1.0.10/24 2001:db8::a/64",
    four: "eth0 10.1.0.11/24 2001:db8::b/64",
  });
  const server = await scene.server(network.host("server").runs, "--http", "[::]:0");
  const Ada = await person(scene, network, server, { name: "Ada", at: "one", address: ipv4 });
  const Ben = await person(scene, network, server, { name: "Ben", at: "two", address: ipv6 });
  const Dan = await person(scene, network, server, { name: "Dan", at: "three", address: ipv6 });
  const Eve = await person(scene, network, server, { name: "Eve", at: "four", address: ipv4, firefox: true });
  await everybodySees(Ada, Ben, Dan, Eve);
  for (const one of [Ada, Ben, Dan, Eve]) {
    assert.deepEqual(await one.evaluate(offered), ["udp", "tcp"].flatMap((protocol) => [ipv4, ipv6, "127.0.0.1"].map((address) => `${protocol} ${address}`)));
  }
  assert.deepEqual([await remote(Ada), await remote(Ben)], [`udp ${ipv4}`, `udp ${ipv6}`]);
  for (const one of [Dan, Eve]) assert.ok([`udp ${ipv4}`, `udp ${ipv6}`].includes(await remote(one)), await remote(one));
  scene.report(`who has both comes by ${await remote(Dan)} (Chromium) and ${await remote(Eve)} (Firefox)`);
});

/** A machine with two addresses on one network, one on another and one towards its containers; and somebody on each, from where nothing leads to the other. */
const twoNetworks = (scene) =>
  Network.create(
    scene,
    { server: "eth0 10.1.0.7/24 10.1.0.17/24", one: "eth0 10.1.0.8/24" },
    { server: "docker0 172.17.0.1/16" },
    { server: "eth1 10.2.0.7/24", two: "eth0 10.2.0.8/24", three: "eth0 10.2.0.9/24" },
  );

scene("on two networks: each comes by its own", async (scene) => {
  const network = await twoNetworks(scene);
  const server = await scene.server(network.host("server").runs, "--http", "0.0.0.0:0");
  const Ada = await person(scene, network, server, { name: "Ada", at: "one", address: "10.1.0.7" });
  const Eve = await person(scene, network, server, { name: "Eve", at: "two", address: "10.2.0.7", firefox: true });
  const Ben = await person(scene, network, server, { name: "Ben", at: "three", address: "10.2.0.7" });
  await everybodySees(Ada, Eve, Ben);
  const addresses = ["10.1.0.7", "10.1.0.17", "10.2.0.7", "127.0.0.1"];
  assert.deepEqual(await Ada.evaluate(offered), ["udp", "tcp"].flatMap((protocol) => addresses.map((address) => `${protocol} ${address}`)));
  assert.match(await remote(Ada), /^udp 10\.1\.0\.1?7$/u);
  assert.deepEqual([await remote(Eve), await remote(Ben)], ["udp 10.2.0.7", "udp 10.2.0.7"]);
});

scene("an interface that is not named isn't offered, and the answers leave from the address that was asked, not from the network's first", async (scene) => {
  const network = await twoNetworks(scene);
  const server = await scene.server(network.host("server").runs, "--http", "0.0.0.0:0", "--interfaces", "eth0", "--networks", "!10.1.0.7");
  const Ada = await person(scene, network, server, { name: "Ada", at: "one", address: "10.1.0.7" });
  const Ben = await person(scene, network, server, { name: "Ben", at: "one", address: "10.1.0.17" });
  await everybodySees(Ada, Ben);
  assert.deepEqual(await Ada.evaluate(offered), ["udp 10.1.0.17", "tcp 10.1.0.17"]);
  assert.deepEqual([await remote(Ada), await remote(Ben)], ["udp 10.1.0.17", "udp 10.1.0.17"]);
  assert.ok(server.log.some((line) => line.includes("offered 10.1.0.17 (eth0); not ") && line.includes("10.2.0.7 (eth1, by interfaces)")), server.log.join("\n"));
});
