// The network fails and comes back: everybody stays, and sees and hears the others soon.
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { meeting } from "./lib/meeting.mjs";
import { Watch } from "./lib/watch.mjs";

/** Milliseconds from the network's return to media in all directions, sound and picture. */
const BACK = 3_000;
/** The same for a NAT that forgot, which nobody is told. */
const REBOUND = 5_000;
/** Milliseconds that are waited for it, so that a failure says how long it took. */
const PATIENCE = 30_000;
/** Milliseconds between two scenes: statistics, retransmissions and back-off come to rest. */
const REST = 2_000;
/** The same before one is played again: a client whose connection has not held for ten seconds is more careful with the next. */
const FORGOTTEN = 12_000;

const summary = (took) => {
  const [what, longest] = Object.entries(took).reduce((most, entry) => (entry[1] > most[1] ? entry : most), ["nothing", 0]);
  return longest > 0 ? `all is back after ${longest} ms (the last was ${what})` : "nothing stood still for more than half a second";
};

/** Runs in a page: has it seem that the DTLS of its peer connection has failed, as Firefox's does by itself. */
function failDtls() {
  const connection = window.switchyard.peerConnection;
  Object.defineProperty(connection.getTransceivers()[0].sender.transport, "state", { value: "failed" });
  connection.dispatchEvent(new Event("connectionstatechange"));
}

/** Milliseconds by which {@link answerLate} delays answers: checks from new ports are answered before. */
const LATE = 700;

/** Runs in a page: the next answer of the server takes effect later than the first checks, which Chromium makes with the server's old credentials and then keeps to. */
function answerLate(milliseconds) {
  const connection = window.switchyard.peerConnection;
  connection.setRemoteDescription = async (description) => {
    delete connection.setRemoteDescription;
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    return connection.setRemoteDescription(description);
  };
}

/** What happens, the mildest first, and how to make it so, `only` to some; `fail` resolves when the network is back, with that time. `tells`: what the app says of it. */
const OUTAGES = [
  {
    name: "a DTLS session that has failed",
    limit: BACK,
    async fail(_, behind) {
      for (const person of behind) await person.evaluate(failDtls);
      return Date.now();
    },
  },
  {
    name: "other UDP source ports, without signaling",
    limit: REBOUND,
    async fail(line) {
      await line.say("cut tcp");
      await line.say("rebind");
      return Date.now();
    },
    after: (line) => line.say("mend"),
  },
  {
    name: "another address",
    limit: BACK,
    async fail(line) {
      await line.say("address");
      return Date.now();
    },
  },
  {
    name: "another address, with an answer that comes after the checks",
    limit: BACK,
    only: "Ada",
    async fail(line, behind) {
      for (const person of behind) await person.evaluate(answerLate, LATE);
      await line.say("address");
      return Date.now();
    },
  },
  {
    name: "a link that is down for 10 s",
    limit: BACK,
    async fail(line) {
      await line.say("down");
      await pause(10_000);
      await line.say("up");
      return Date.now();
    },
  },
  ...[6, 20, 45].map((seconds) => ({
    name: `a black hole of ${seconds} s`,
    limit: BACK,
    async fail(line) {
      await line.say(`hole ${seconds}s`);
      await pause(seconds * 1000);
      return Date.now();
    },
    // What is over sooner need not be noticed.
    tells: seconds >= 20 ? ["Connection lost. You are still in the meeting; it goes on by itself.", "Connected again."] : undefined,
  })),
];

for (const who of ["Ada", "Eve"]) {
  meeting(`${who === "Ada" ? "Chromium" : "Firefox"} gets over what happens to a network`, { fps: 15, timeout: 560_000, who: [who] }, play);
}

async function play(scene, { line, Ada, Eve, Ben, behind }) {
  await line.say("line delay=10ms");
  const people = [Ada, Eve, Ben].filter(Boolean);
  const watch = await Watch.start(people);
  await scene.step("a WebSocket that is cut for 20 s: media goes on, and what was said meanwhile arrives", async () => {
    await pause(REST);
    await watch.begin();
    const since = Date.now();
    await line.say("cut tcp");
    await pause(10_000);
    await Ben.evaluate(() => window.switchyard.sendChat("while you were away"));
    await pause(10_000);
    await line.say("mend");
    for (const person of behind) {
      await person.tab.until(`${person.name} reads what was said meanwhile`, () => window.roomWatch.chat.includes("while you were away"));
    }
    for (const { at, of, what, gaps } of await watch.flows(since)) {
      if (!behind.includes(at) && !behind.includes(of)) continue;
      const longest = Math.max(0, ...gaps.map(({ begin, end }) => end - begin));
      scene.report(`${what}: ${longest > 250 ? `the longest gap was ${longest} ms` : "no gap of more than 250 ms"}`);
      assert.ok(longest < 500, `${what} was not there for ${longest} ms`);
    }
    for (const person of behind) await watch.tells(person, ["Reconnecting to the server. Sound and picture go on meanwhile.", "Connected again."]);
    await watch.nothingLost();
  });
  for (const { name, limit, fail, after, tells } of OUTAGES.filter(({ only }) => !only || behind.some(({ name }) => name === only))) {
    await scene.measured(`${name}: media within ${limit / 1000} s`, async () => {
      await pause(REST);
      await watch.begin();
      const back = await fail(line, behind);
      try {
        const took = await watch.flowsAgain(back, PATIENCE);
        scene.report(`${name}: ${summary(took)}`);
        if (Math.max(...Object.values(took)) > limit / 2) for (const events of await watch.timeline(back)) scene.report(events);
        assert.ok(Math.max(...Object.values(took)) <= limit, `${summary(took)}: ${JSON.stringify(took)}`);
      } catch (error) {
        for (const events of await watch.timeline(back)) scene.report(events);
        throw error;
      } finally {
        await after?.(line);
      }
      if (tells) for (const person of behind) await watch.tells(person, tells);
      scene.report(`${name}: ${await watch.nothingLost()} numbered messages arrived, all in order`);
    }, FORGOTTEN);
  }
}
