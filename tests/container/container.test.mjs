// From the Dockerfile to people in a room: what docs/install.md says to type, in an engine that is started for it.
import assert from "node:assert/strict";
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { scene } from "../browser/lib/scene.mjs";
import { PROGRAM } from "../browser/lib/server.mjs";
import { findProgram } from "../browser/lib/programs.mjs";
import { until } from "../browser/lib/tab.mjs";
import { makeCertificate } from "../browser/lib/trust.mjs";
import { knowing } from "../network/lib/hosts.mjs";
import { Commands } from "./lib/commands.mjs";
import { Engine } from "./lib/engine.mjs";
import { startPebble } from "./lib/pebble.mjs";
import { Prometheus } from "./lib/prometheus.mjs";

/** Milliseconds that it may take in all. */
const TIMEOUT = 420_000;
/** Frames a second of the cameras. */
const FPS = 10;
/** Bytes of the image at most, around a program that isn't optimised. */
const IMAGE_SIZE = 40e6;
/** Milliseconds until the health check has been asked twice, at most. */
const HEALTHY = 25_000;
/** Milliseconds until the server has its first certificate. */
const CERTIFIED = 30_000;
/** Where HTTP and media are on the machine itself … */
const PORT = 8080;
/** … and with HTTPS for others. */
const SECURE = 443;
/** What docs/install.md calls a server; and an address of the host's that it leaves to the host. */
const [NAME, IPV6] = ["meet.example.org", "2001:db8::7"];

/** Runs in a page: the path that media takes. */
async function path() {
  const stats = await window.switchyard.peerConnection.getStats();
  const all = [...stats.values()];
  const transport = all.find(({ type }) => type === "transport");
  const pair = transport?.selectedCandidatePairId ? stats.get(transport.selectedCandidatePairId) : all.find(({ type, nominated, state }) => type === "candidate-pair" && nominated && state === "succeeded");
  if (!pair) return undefined;
  const [local, remote] = [stats.get(pair.localCandidateId), stats.get(pair.remoteCandidateId)];
  return { type: local.candidateType, protocol: local.protocol, to: `${remote.address}:${remote.port}`, relayProtocol: local.relayProtocol };
}

/** Runs in a page: the addresses that the server offers. */
function offered() {
  const lines = window.switchyard.peerConnection.remoteDescription.sdp.match(/^a=candidate:.*$/gmu);
  return [...new Set(lines.map((line) => line.split(" ")[4]))];
}

scene(
  "in containers",
  async (scene) => {
    const engine = await Engine.start();
    scene.last(() => engine.stop());
    const install = await Commands.read("docs/install.md");
    const operate = await Commands.read("docs/operate.md");
    const { address } = engine;
    let acme, enter, outside, people;
    const origin = `https://${NAME}`;
    const file = (name) => engine.line.file(name);
    /** What docs/install.md has for others, at this machine and with certificates of an ACME server of the test's; `more` says where that is. */
    const forOthers = (section, more) => install.next(section).replaceAll("203.0.113.7", address).replace(/^.*acme_store.*$/imu, (line) => `${line}\n${more}`);
    /** The certificate that the server shows, once there is one by an authority. */
    const certified = (authority) =>
      until(`there is a certificate by ${authority}`, async () => {
        const checked = ["--cacert", authority, "--resolve", `${NAME}:${SECURE}:${address}`, `${origin}/readyz`];
        const said = await engine.run("curl", ["-fsS", "--write-out", "%{certs}", ...checked]);
        assert.match(said, /^ready\n/u);
        return said;
      }, CERTIFIED);
    /** The way in, with a token. */
    const room = async () => `demo#token=${await engine.shell(enter)}`;

    let broken;
    /** A step that builds on those before it, and shows what the containers and the engine say when it fails. */
    const step = (name, play) =>
      scene.step(name, async () => {
        if (broken) throw new Error(`not played, since "${broken}" failed`);
        try {
          await play();
        } catch (error) {
          broken = name;
          const names = await engine.docker("ps", "--all", "--quiet").catch(() => "");
          for (const name of names.split("\n").filter(Boolean)) {
            console.error(`--- ${await engine.shell(`docker inspect --format '{{.Name}} {{.State.Status}} {{.State.ExitCode}}' ${name}; docker logs --tail 30 ${name} 2>&1`).catch(String)}`);
          }
          console.error(`--- engine\n${engine.log.join("\n")}`);
          throw error;
        }
      });
    const container = (service) => engine.shell(`docker compose ps -q ${service}`);
    const healthy = (name) => until(`${name} is healthy`, async () => (await engine.inspect(name)).State.Health.Status === "healthy", HEALTHY);

    /** Two people, in Chromium and in Firefox, who join and see and hear each other; and which paths their media takes. */
    const meet = async (browsers, origin, room = "demo") => {
      const [Ada, Eve] = [await scene.join(browsers.chromium, { origin }, room, "Ada"), await scene.join(browsers.firefox, { origin }, room, "Eve")];
      await Promise.all([Ada.receives(Eve), Eve.receives(Ada)]);
      return { Ada, Eve, paths: [await Ada.evaluate(path), await Eve.evaluate(path)] };
    };
    const part = async (...people) => {
      await Promise.all(people.map((person) => person.tab.close()));
    };

    await step("the image is small and safe", async () => {
      await engine.image("runtime", { like: [PROGRAM] });
      await engine.run("strip", ["-o", "switchyard", PROGRAM]);
      await engine.shell(install.next("A container"));
      const { Size, Config, Architecture, Os } = await engine.inspect("switchyard:latest");
      scene.report(`the image has ${(Size / 1e6).toFixed(1)} MB, with a program that isn't optimised`);
      assert.ok(Size < IMAGE_SIZE, `${Size}`);
      assert.equal(Config.User, "65534:65534");
      assert.deepEqual(Config.Healthcheck.Test, ["CMD", "/usr/local/bin/switchyard", "healthcheck"]);
      assert.match(`${Os}/${Architecture}`, /^linux\/(amd64|arm64)$/);
      await healthy("switchyard");
      const answer = await engine.run("curl", ["-fsS", `http://${address}:${PORT}/readyz`]);
      assert.equal(answer, "ready");
      await engine.shell(install.next("A container"));
      await assert.rejects(engine.docker("run", "--rm", "--entrypoint", "/bin/sh", "switchyard", "-c", "true"), /no such file/);
    });

    await step("one container, for others", async () => {
      const pebble = await startPebble(scene, { address: engine.line.far, target: address, file });
      const root = file("root.pem");
      await writeFile(root, await pebble.root());
      acme = { ...pebble, root };
      const trust = { authority: root, fps: FPS, ...knowing(file, NAME, address) };
      outside = { chromium: await scene.chromium(trust), firefox: await scene.firefox(trust) };
      await mkdir(join(engine.checkout, "config"));
      await copyFile(acme.ca, join(engine.checkout, "config/acme-ca.pem"));
      await engine.shell(forOthers("For others, in one container", `acme_directory = "${acme.directory}"\nacme_ca = "/etc/switchyard/acme-ca.pem"`));
      await certified(root);
      await healthy("switchyard");
      enter = install.next("For others, in one container");
      const { Ada, Eve, paths } = await meet(outside, origin, await room());
      for (const { protocol, to } of paths) assert.deepEqual({ protocol, to }, { protocol: "udp", to: `${address}:${SECURE}` });
      await part(Ada, Eve);
      await engine.shell("docker rm --force switchyard; rm access-keys.json");
    });

    await step("other images", async () => {
      await engine.image("coturn/coturn:4.6", { programs: [findProgram("TURNSERVER", ["turnserver"])], changes: ['ENTRYPOINT ["/usr/bin/turnserver"]'] });
      await engine.image("prom/prometheus:v2.53.0", { programs: [findProgram("PROMETHEUS", ["prometheus"])], folders: ["/prometheus"], changes: ['ENTRYPOINT ["/usr/bin/prometheus"]'] });
    });

    await step("compose, for the browsers of this machine", async () => {
      const up = install.next("Compose");
      assert.equal((await Commands.read("README.md")).next("Try it"), up);
      await engine.shell(up);
      const within = (program) => engine.within(program);
      const browsers = {
        chromium: await scene.chromium({ within, fps: FPS }),
        firefox: await scene.firefox({ within, port: await engine.relay(), fps: FPS }),
      };
      const { paths, Ada, Eve } = await meet(browsers, `http://localhost:${PORT}`);
      for (const { to, protocol } of paths) {
        assert.ok([`127.0.0.1:${PORT}`, `198.19.80.2:${PORT}`].includes(to), to);
        assert.equal(protocol, "udp");
      }
      await part(Ada, Eve);
      await browsers.chromium.close();
      await browsers.firefox.close();
      await engine.shell(install.next("Compose"));
    });

    await step("compose, for others, by HTTPS and tokens", async () => {
      await copyFile(acme.ca, join(engine.checkout, "deploy/access/acme-ca.pem"));
      await engine.shell(forOthers("For others", `SWITCHYARD_ACME_DIRECTORY=${acme.directory}\nSWITCHYARD_ACME_CA=/etc/switchyard/acme-ca.pem`));
      acme.given = await certified(acme.root);
      enter = install.next("For others");
      people = await meet(outside, origin, await room());
      for (const { protocol, to } of people.paths) assert.deepEqual({ protocol, to }, { protocol: "udp", to: `${address}:${SECURE}` });
    });

    await step("it is healthy, nobody, and read-only", async () => {
      const name = await container("switchyard");
      await healthy(name);
      const { Config, HostConfig, RestartCount } = await engine.inspect(name);
      assert.equal(Config.User, "65534:65534");
      assert.deepEqual([HostConfig.ReadonlyRootfs, HostConfig.CapDrop, HostConfig.CapAdd], [true, ["ALL"], null]);
      assert.equal(RestartCount, 0);
      const processes = await engine.docker("top", name, "-eo", "pid,uid,comm");
      assert.match(processes, /^ *\d+ +65534 +switchyard$/m);
      const published = Object.entries(HostConfig.PortBindings).flatMap(([port, bindings]) => bindings.map(({ HostPort }) => `${HostPort}:${port}`));
      assert.deepEqual(published.sort(), ["443:443/tcp", "443:443/udp"]);
    });

    await step("Prometheus answers every panel's query", async () => {
      const prometheus = new Prometheus(engine, 9090);
      await prometheus.scrapes();
      const { expressions, silent } = await prometheus.panels();
      assert.deepEqual(silent, []);
      assert.ok(expressions.length > 15, `${expressions.length}`);
      const [sessions] = await prometheus.query("sum(switchyard_signaling_sessions)");
      assert.equal(sessions.value[1], "2");
      // It is for that machine only.
      await assert.rejects(fetch(`http://${address}:9090/api/v1/query?query=up`), /fetch failed/);
    });

    await step("stopping waits until the meeting is over", async () => {
      const { Ada, Eve } = people;
      const name = await container("switchyard");
      const stopping = engine.shell(operate.next("Going down"));
      stopping.catch(() => {});
      await Ada.tab.until("Ada is told", () => document.body.innerText.includes("goes down for maintenance"));
      await Promise.all([Ada.receives(Eve), Eve.receives(Ada)]);
      assert.equal((await engine.inspect(name)).State.Running, true);
      await Ada.leave();
      await Eve.leave();
      await stopping;
      const { State } = await engine.inspect(name);
      assert.deepEqual([State.Running, State.ExitCode, State.OOMKilled], [false, 0, false]);
      await part(Ada, Eve);
    });

    await step("through coturn only", async () => {
      await engine.shell(`sed -i /SWITCHYARD_TURN=/d .env; echo SWITCHYARD_RELAY_ONLY=true >> .env; docker compose up --detach`);
      const { Ada, Eve, paths } = await meet(outside, origin, await room());
      for (const { type, to } of paths) assert.deepEqual({ type, to }, { type: "relay", to: `198.19.80.2:${SECURE}` });
      await part(Ada, Eve);
    });

    await step("where nothing but HTTPS gets out", async () => {
      await engine.shell(`sed -i s/SWITCHYARD_RELAY_ONLY/SWITCHYARD_TURN/ .env; docker compose up --detach`);
      await engine.line.say("cut plain");
      const { Ada, Eve, paths } = await meet(outside, origin, await room());
      for (const { type, relayProtocol } of paths) assert.deepEqual({ type, relayProtocol }, { type: "relay", relayProtocol: "tls" });
      await part(Ada, Eve);
      await engine.line.say("mend");
    });

    await step("on the host's network", async () => {
      await engine.shell(`ip link add ipv6 type veth peer name elsewhere; ip link set elsewhere up; ip link set ipv6 up; ip address add ${IPV6}/64 dev ipv6 nodad`);
      await engine.shell(install.next("The host's network"));
      const scraped = new Prometheus(engine, 9091).scrapes();
      scraped.catch(() => {});
      const name = await engine.shell("docker compose -f docker-compose.host.yml ps -q switchyard");
      assert.equal(await certified(acme.root), acme.given, "the certificate was kept");
      const { Ada, Eve, paths } = await meet(outside, origin, await room());
      for (const { protocol, to } of paths) assert.deepEqual({ protocol, to }, { protocol: "udp", to: `${address}:${SECURE}` });
      assert.deepEqual(await Ada.evaluate(offered), [address, IPV6]);
      await Promise.all([healthy(name), scraped]);
      await assert.rejects(fetch(`http://${address}:9090/metrics`), /fetch failed/);
      await part(Ada, Eve);
      await engine.shell(install.next("The host's network"));
    });

    await step("a certificate of one's own, and another one", async () => {
      const given = async () => {
        const { authority, certificate, key } = await makeCertificate((name) => file(`own-${name}`), NAME);
        await copyFile(certificate, join(engine.checkout, "certificate.pem"));
        await copyFile(key, join(engine.checkout, "key.pem"));
        return authority;
      };
      let authority = await given();
      const commands = install.next("A certificate of your own");
      await engine.shell(commands);
      await certified(authority);
      authority = await given();
      await engine.shell(commands.match(/^install .*$/gmu).join("\n"));
      await engine.shell(install.next("A certificate of your own"));
      await certified(authority);
    });

    await step("nothing to type is left", () => assert.deepEqual([...install.left, ...operate.left], []));
  },
  TIMEOUT,
);
