// From the Dockerfile to people in a room: what docs/install.md says to type, in an engine that is started for it.
import assert from "node:assert/strict";
import { scene } from "../browser/lib/scene.mjs";
import { PROGRAM } from "../browser/lib/server.mjs";
import { findProgram } from "../browser/lib/programs.mjs";
import { until } from "../browser/lib/tab.mjs";
import { Commands } from "./lib/commands.mjs";
import { Engine } from "./lib/engine.mjs";
import { Prometheus } from "./lib/prometheus.mjs";

/** Milliseconds that it may take in all. */
const TIMEOUT = 240_000;
/** Frames a second of the cameras. */
const FPS = 10;
/** Bytes of the image at most, around a program that isn't optimised. */
const IMAGE_SIZE = 40e6;
/** Milliseconds until the health check has been asked twice, at most. */
const HEALTHY = 25_000;
const PORT = 8080;

/** Runs in a page: the path that media takes. */
async function path() {
  const stats = await window.switchyard.peerConnection.getStats();
  const all = [...stats.values()];
  const transport = all.find(({ type }) => type === "transport");
  const pair = transport?.selectedCandidatePairId ? stats.get(transport.selectedCandidatePairId) : all.find(({ type, nominated, state }) => type === "candidate-pair" && nominated && state === "succeeded");
  if (!pair) return undefined;
  const [local, remote] = [stats.get(pair.localCandidateId), stats.get(pair.remoteCandidateId)];
  return { type: local.candidateType, protocol: local.protocol, to: `${remote.address}:${remote.port}` };
}

scene(
  "in containers",
  async (scene) => {
    const engine = await Engine.start();
    scene.last(() => engine.stop());
    const install = await Commands.read("docs/install.md");
    const operate = await Commands.read("docs/operate.md");
    const { address } = engine;
    let enter, outside, people;
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
        assert.ok([`127.0.0.1:${PORT}`, `10.213.80.2:${PORT}`].includes(to), to);
        assert.equal(protocol, "udp");
      }
      await part(Ada, Eve);
      await browsers.chromium.close();
      await browsers.firefox.close();
      await engine.shell(install.next("Compose"));
    });

    await step("compose, for others, by tokens", async () => {
      await engine.shell(install.next("For others").replaceAll("203.0.113.7", address));
      enter = install.next("For others");
      const origin = `http://${address}:${PORT}`;
      outside = { chromium: await scene.chromium({ secure: origin, fps: FPS }), firefox: await scene.firefox({ secure: origin, fps: FPS }) };
      people = await meet(outside, origin, await room());
      for (const { protocol, to } of people.paths) assert.deepEqual({ protocol, to }, { protocol: "udp", to: `${address}:${PORT}` });
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
      assert.deepEqual(published.sort(), ["8080:8080/tcp", "8080:8080/udp"]);
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
      await engine.shell(`echo SWITCHYARD_RELAY_ONLY=true >> .env; docker compose up --detach`);
      const { Ada, Eve, paths } = await meet(outside, `http://${address}:${PORT}`, await room());
      for (const { type, to } of paths) assert.deepEqual({ type, to }, { type: "relay", to: `10.213.80.2:${PORT}` });
      await part(Ada, Eve);
    });

    await step("on the host's network", async () => {
      await engine.shell("docker compose down; sed -i /RELAY_ONLY/d .env");
      await engine.shell(install.next("The host's network"));
      const scraped = new Prometheus(engine, 9091).scrapes();
      scraped.catch(() => {});
      const name = await engine.shell("docker compose -f docker-compose.host.yml ps -q switchyard");
      const { Ada, Eve, paths } = await meet(outside, `http://${address}:${PORT}`, await room());
      for (const { protocol, to } of paths) assert.deepEqual({ protocol, to }, { protocol: "udp", to: `${address}:${PORT}` });
      await Promise.all([healthy(name), scraped]);
      await assert.rejects(fetch(`http://${address}:9090/metrics`), /fetch failed/);
      await part(Ada, Eve);
      await engine.shell(install.next("The host's network"));
    });

    await step("nothing to type is left", () => assert.deepEqual([...install.left, ...operate.left], []));
  },
  TIMEOUT,
);
