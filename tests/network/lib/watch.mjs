// What somebody notices while the network fails: when pictures and sound stand still, who leaves, which messages arrive.
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { until } from "../../browser/lib/tab.mjs";
import { isTold, recordEvents, timeline } from "../../browser/lib/events.mjs";

/** Milliseconds between two looks at the browser's statistics, and thus how exactly a gap is known. */
const LOOK = 100;
/** Milliseconds without a decoded frame, or without a packet of sound, that count as a gap. At 15 frames a second one is due every 67. */
const GAP = 500;
/** Milliseconds without a gap after which everything counts as being back. */
const STEADY = 2_000;
/** Milliseconds after something that nobody may notice, for which it would show. */
const AFTERMATH = 5_000;
/** Milliseconds between two numbered messages. */
const MESSAGES = 200;
/** Milliseconds for signaling to be resumed, and for everything that was sent to arrive, once there is media. */
const ARRIVAL = 10_000;

/** Runs in the page: begins to watch the room. Times are those of the machine, which all browsers share. */
function watchRoom({ look, shortest, messages }) {
  const room = window.switchyard;
  const watch = { left: [], closed: 0, refused: 0, sent: 0, data: {}, chat: [], flows: {}, audio: {} };
  window.roomWatch = watch;
  room.on("participantLeft", (participant) => watch.left.push(participant.name));
  room.on("dataChanged", (open) => (watch.closed += open ? 0 : 1));
  room.on("chat", ({ text }) => watch.chat.push(text));
  room.on("data", (payload, from) => {
    if (typeof payload === "string" && payload.startsWith("number ")) (watch.data[from] ??= []).push(Number(payload.slice("number ".length)));
  });
  setInterval(() => {
    try {
      room.sendData(`number ${watch.sent}`);
      watch.sent += 1;
    } catch {
      watch.refused += 1;
    }
  }, messages);
  const note = (flows, key, value) => {
    const now = Date.now();
    const flow = (flows[key] ??= { value, at: now, gaps: [] });
    // A counter that begins anew belongs to another stream, which is no less a sign of life.
    if (value === flow.value) return;
    if (now - flow.at > shortest) flow.gaps.push([flow.at, now]);
    [flow.value, flow.at] = [value, now];
  };
  const tick = async () => {
    const streams = [...(await room.peerConnection.getStats()).values()].filter(({ type }) => type === "inbound-rtp");
    for (const participant of room.participants.values()) {
      for (const track of participant.tracks.values()) {
        const stream = streams.filter(({ mid }) => mid === room.mid(track)).sort((a, b) => (b.lastPacketReceivedTimestamp ?? 0) - (a.lastPacketReceivedTimestamp ?? 0))[0];
        if (!stream) continue;
        if (track.source === "camera") note(watch.flows, participant.name, stream.framesDecoded ?? 0);
        if (track.source === "microphone") note(watch.audio, participant.name, stream.packetsReceived);
      }
    }
  };
  (async () => {
    for (;;) {
      await tick().catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, look));
    }
  })();
}

/** Runs in the page: what it has seen. Of each flow the gaps that ended after `since`, as begin and end, the one that lasts included. */
function readWatch(since) {
  const { left, closed, refused, sent, data, chat, flows, audio } = window.roomWatch;
  const room = window.switchyard;
  const now = Date.now();
  const gaps = (all) =>
    Object.fromEntries(Object.entries(all).map(([name, flow]) => [name, [...flow.gaps, [flow.at, now]].filter(([, end]) => end > since)]));
  return {
    left,
    events: window.roomEvents.filter(([at]) => at > since - 60_000),
    told: window.told,
    closed,
    refused,
    sent,
    data,
    chat,
    pictures: gaps(flows),
    sounds: gaps(audio),
    id: room.localParticipant.id,
    ids: Object.fromEntries([...room.participants.values()].map(({ name, id }) => [name, id])),
    now,
    state: room.state,
    dataOpen: room.dataOpen,
  };
}

export class Watch {
  #before;

  /** Begins to watch `people`, each by their own page. */
  static async start(people) {
    for (const person of people) {
      await person.tab.until(`${person.name}'s data channel is open`, () => window.switchyard.dataOpen);
      await person.evaluate(recordEvents);
      await person.evaluate(watchRoom, { look: LOOK, shortest: GAP / 2, messages: MESSAGES });
    }
    return new Watch(people);
  }

  constructor(people) {
    this.people = people;
  }

  /** Begins a part: what {@link nothingLost} is compared with. */
  async begin() {
    this.#before = await this.read(Date.now());
  }

  /** What all have seen since a time, in the order of the people. */
  read(since) {
    return Promise.all(this.people.map((person) => person.evaluate(readWatch, since)));
  }

  /** What everybody gets of everybody else: `what` it is, and its `gaps` that ended after `since`, each with `begin`, `end` and whether it is `open`. */
  async flows(since) {
    const seen = await this.read(since);
    return this.people.flatMap((at, index) =>
      this.people
        .filter((of) => of !== at)
        .flatMap((of) =>
          ["picture", "sound"].map((kind) => {
            const gaps = seen[index][`${kind}s`][of.name];
            const what = `${of.name}'s ${kind} at ${at.name}`;
            if (!gaps) return { at, of, kind, what, gaps: [{ begin: since, end: seen[index].now, open: true }] };
            return { at, of, kind, what, gaps: gaps.map(([begin, end]) => ({ begin, end, open: end === seen[index].now })) };
          }),
        ),
    );
  }

  /**
   * Waits until pictures and sound of everybody have reached everybody else for a while without a gap. Resolves with how many milliseconds
   * after `since` the last gap of each ended; 0 for those that had none.
   */
  async flowsAgain(since, deadline) {
    let took;
    const steady = async () => {
      const flows = await this.flows(since);
      const now = Date.now();
      took = Object.fromEntries(
        flows.map(({ what, gaps }) => {
          const long = gaps.filter(({ begin, end }) => end - begin > GAP);
          return [what, long.some(({ open }) => open) ? Infinity : Math.max(0, ...long.map(({ end }) => end - since))];
        }),
      );
      return Object.values(took).every((milliseconds) => since + milliseconds + STEADY <= now);
    };
    try {
      await until("everybody sees and hears everybody", steady, deadline);
    } catch (error) {
      const missing = Object.entries(took ?? {}).filter(([, milliseconds]) => milliseconds === Infinity);
      throw new Error(`${error.message}: ${missing.map(([what]) => what).join(", ") || "there are gaps again and again"}`);
    }
    return took;
  }

  /** Watches for a while: nothing may have stood still since a time, for longer than a {@link GAP}. Resolves with a sentence about it. */
  async unnoticed(since) {
    await pause(AFTERMATH);
    const flows = await this.flows(since);
    const longest = Math.max(...flows.flatMap(({ gaps }) => gaps.map(({ begin, end }) => end - begin)));
    for (const { what, gaps } of flows) assert.ok(gaps.every(({ begin, end }) => end - begin <= GAP), `${what}: ${JSON.stringify(gaps)}`);
    return longest > GAP / 2 ? `the longest gap was ${longest} ms` : `no gap of more than ${GAP / 2} ms`;
  }

  /** Waits until the app has told `person` of an outage: these sentences, in this order, since the part began. */
  async tells(person, sentences) {
    const index = this.people.indexOf(person);
    await isTold(person, sentences, this.#before[index].told.length, ARRIVAL);
  }

  /** Nobody left or is somebody else, and every message that was sent since the part began has arrived, once and in order. */
  async nothingLost() {
    const { people } = this;
    await Promise.all(people.map((person) => person.tab.until(`${person.name} is connected`, () => window.switchyard.state === "connected", ARRIVAL)));
    const now = await this.read(0);
    for (const [index, person] of people.entries()) {
      const [then, seen] = [this.#before[index], now[index]];
      assert.deepEqual(seen.left.slice(then.left.length), [], `${person.name} saw nobody leave`);
      assert.deepEqual(seen.ids, then.ids, `${person.name} sees the same participants`);
      assert.equal(seen.id, then.id, `${person.name} is the same participant`);
      assert.equal(seen.closed, then.closed, `${person.name}'s data channel did not close`);
      assert.equal(seen.refused, then.refused, `${person.name} could always send`);
    }
    /** What of `from`'s messages of this part has come to the person at `at`. */
    const arrived = (seen, from) => (seen.data[now[from].id] ?? []).filter((number) => number >= this.#before[from].sent && number < now[from].sent);
    const wanted = (from) => now[from].sent - this.#before[from].sent;
    const pairs = people.flatMap((_, at) => people.map((_, from) => [at, from]).filter(([at, from]) => at !== from));
    const complete = async () => {
      const seen = await this.read(0);
      return pairs.every(([at, from]) => arrived(seen[at], from).length >= wanted(from));
    };
    // What is missing shows below.
    await until("all messages have arrived", complete, ARRIVAL).catch(() => {});
    const seen = await this.read(0);
    for (const [at, from] of pairs) {
      const numbers = arrived(seen[at], from);
      const expected = Array.from({ length: wanted(from) }, (_, index) => this.#before[from].sent + index);
      const wrong = expected.findIndex((number, index) => numbers[index] !== number);
      assert.ok(
        wrong === -1 && numbers.length === expected.length,
        `${people[at].name} got ${numbers.length} of ${people[from].name}'s ${expected.length} messages; wrong from the one at ${wrong} on`,
      );
    }
    return pairs.reduce((total, [, from]) => total + wanted(from), 0);
  }

  /** What happened at each of them, in seconds from `since`. */
  async timeline(since) {
    return Promise.all(this.people.map((person) => timeline(person, since)));
  }
}
