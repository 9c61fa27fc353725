// Glare: offers from both sides at the same time, hundreds of times.
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { scene } from "./lib/scene.mjs";
import { percentile } from "./lib/statistics.mjs";

/** Times that both sides offer at once in each of two browsers, where two pages take part in each round. */
const GLARES = 300;
/** Rounds at most, those included in which the server had nothing to offer: it folds what comes and goes while it waits. */
const MOST_ROUNDS = 200;
/** Milliseconds that the server's offer may come after the page's was answered. */
const LATE = 250;
/** Milliseconds for all of it, on a machine that does other things as well. */
const TIMEOUT = 300_000;
/** Every so many rounds the page's offer restarts ICE as well. */
const RESTART_EVERY = 10;
/** Rounds after which the pages begin anew: Firefox looks with each description at every m-line that it ever had, of which a round makes eight. A round takes it 0.6 s at first, and 2 s after a hundred. */
const RELOAD_EVERY = 40;
/** Bots that publish and withdraw two groups of tracks each: eight groups more or less are eight slots more or less. */
const BOTS = 4;
/** Of the glares, so many must end in each of the two ways. */
const LEAST_OF_EACH = GLARES / 10;
/** Milliseconds by which the two sides' beginnings are moved against each other at most. */
const MAX_LEAD = 500;
/** Milliseconds by which they are moved after each round. */
const STEP = 4;

/**
 * Runs in the page: makes an offer after `delay` milliseconds, by a change of one sending m-line's direction or by an ICE
 * restart, and returns when that and what the server has offered meanwhile is settled. Resolves with how the first offer
 * of this round ended (`answer` or `ignored`) and how many milliseconds after it was sent the server's offer came, if one came.
 */
async function offerInPage({ delay, restart, late }) {
  const { peerConnection: connection } = window.switchyard;
  const { wire } = window;
  const begin = wire.length;
  const tick = () => new Promise((resolve) => setTimeout(resolve, 1));
  for (const start = performance.now(); performance.now() < start + delay; ) await tick();
  if (restart) window.switchyard.restartIce();
  else {
    window.swing ??= connection.addTransceiver("video", { direction: "inactive" });
    window.swing.direction = window.swing.direction === "inactive" ? "sendonly" : "inactive";
    // An answer to the server's offer may carry the change as well: an offer there is to be anyway.
    connection.dispatchEvent(new Event("negotiationneeded"));
  }
  const end = performance.now() + 10_000;
  let answered;
  for (;;) {
    const lines = wire.slice(begin);
    const own = lines.find((line) => line.out && line.type === "offer");
    const theirs = lines.find((line) => !line.out && line.type === "offer");
    const replies = lines.filter((line) => line.type === "reply");
    const asked = lines.filter((line) => line.out && line.type === "offer").length;
    const now = performance.now();
    if (own && asked === replies.length && replies.at(-1).kind === "answer" && connection.signalingState === "stable") {
      answered ??= now;
      const outcome = replies.find(({ id }) => id === own.id).kind;
      if (theirs) return { outcome, gap: theirs.at - own.at };
      if (now > answered + late) return { outcome };
    } else answered = undefined;
    if (now > end) throw new Error(`the round does not end: ${JSON.stringify(lines)}, ${connection.signalingState}`);
    await tick();
  }
}

/** Runs in the page: it wants all there is from now on, whatever it shows, so that whatever comes and goes changes the session. */
function wantEverything() {
  const { prototype } = window.WebSocket;
  const { send } = prototype;
  prototype.send = function (data) {
    const message = JSON.parse(data);
    send.call(this, message.type === "view" ? JSON.stringify({ ...message, tracks: [], others: true }) : data);
  };
}

/** Runs in the page. */
function showPage(shown) {
  document.body.style.display = shown ? "" : "none";
}

/** One side of the glares: a page, how its offers end, and when it makes them. */
class Subject {
  outcomes = { answer: 0, ignored: 0 };
  /** Milliseconds between its offer and the server's, by round. */
  gaps = [];
  /** Milliseconds by which it begins after the bots, negative if before; moved so that neither side always wins. */
  lead = 0;

  constructor(participant) {
    this.participant = participant;
  }

  /** One offer; the bots begin `wait` milliseconds after this is called. */
  async offer(round, wait) {
    const delay = wait + this.lead;
    const restart = round % RESTART_EVERY === RESTART_EVERY - 1;
    const { outcome, gap } = await this.participant.evaluate(offerInPage, { delay, restart, late: LATE });
    assert.ok(outcome in this.outcomes, `round ${round}: the server replied ${outcome}`);
    if (gap === undefined) return;
    this.outcomes[outcome] += 1;
    this.gaps.push(Math.abs(gap));
    // An ignored offer came too late, an answered one early enough.
    this.lead = Math.min(MAX_LEAD, Math.max(-MAX_LEAD, this.lead + (outcome === "ignored" ? -STEP : STEP)));
  }

  toString() {
    const { outcomes, gaps } = this;
    const apart = (share) => percentile(gaps, share).toFixed(1);
    return (
      `${gaps.length} times both sides offered, ${outcomes.ignored} times the server's offer won, ${outcomes.answer} times the page's` +
      (gaps.length > 0 ? `; the two were ${apart(0.5)} ms apart in the median, ${apart(0.95)} ms at p95` : "")
    );
  }
}

async function glare(scene, browser) {
  const server = await scene.server("--shown", "56");
  const ada = await scene.join(await browser(), server, "demo", "Ada");
  const ben = await scene.join(await browser(), server, "demo", "Ben");
  const bothReceive = () => Promise.all([ada.receives(ben), ben.receives(ada)]);
  const bots = await Promise.all(Array.from({ length: BOTS }, (_, index) => scene.bot(server, "demo", `Bot ${index + 1}`)));
  // Drawing tiles that come and go is most of the work, and not what this is about.
  const show = (shown) => Promise.all([ada, ben].map((person) => person.evaluate(showPage, shown)));
  const beginAnew = async (person) => {
    await person.tab.reload();
    await person.goIn();
  };

  const subjects = [new Subject(ada), new Subject(ben)];
  const total = (of) => subjects.reduce((sum, subject) => sum + of(subject), 0);
  const glares = () => total(({ gaps }) => gaps.length);
  const started = performance.now();
  const seconds = () => ((performance.now() - started) / 1000).toFixed(1);
  let round = 0;
  for (; glares() < GLARES && round < MOST_ROUNDS; round += 1) {
    if (round % RELOAD_EVERY === 0) {
      if (round > 0) await Promise.all([ada, ben].map(beginAnew));
      await bothReceive();
      for (const person of [ada, ben]) await person.evaluate(wantEverything);
      await show(false);
    }
    scene.progress = `round ${round} after ${seconds()} s: ${subjects.join("; ")}`;
    // The two pages swing against the bots each with a lead of its own; the bots begin when the later of those that lead has led.
    const wait = Math.max(0, ...subjects.map(({ lead }) => -lead));
    const swing = async () => {
      await pause(wait);
      await Promise.all(bots.map((bot) => (round % 2 === 0 ? bot.publish() : bot.unpublish())));
    };
    await Promise.all([swing(), ...subjects.map((subject) => subject.offer(round, wait))]);
  }
  for (const subject of subjects) scene.report(`${subject.participant.name}, ${round} rounds in ${seconds()} s: ${subject}`);
  const outcomes = { answer: total(({ outcomes }) => outcomes.answer), ignored: total(({ outcomes }) => outcomes.ignored) };
  assert.ok(glares() >= GLARES, "enough rounds in which both sides offered");
  assert.ok(outcomes.ignored >= LEAST_OF_EACH && outcomes.answer >= LEAST_OF_EACH, `both ends of a glare: ${JSON.stringify(outcomes)}`);

  await show(true);
  for (const person of [ada, ben]) {
    await person.tab.until(`${person.name}'s connection is stable`, () => {
      const { peerConnection, state } = window.switchyard;
      return peerConnection.signalingState === "stable" && peerConnection.connectionState === "connected" && state === "connected";
    });
  }
  await bothReceive();
  // What was negotiated is still good for something new.
  const cai = await scene.join(await scene.chromium(), server, "demo", "Cai");
  await cai.tab.click("Share screen");
  for (const person of [ada, ben]) {
    await person.seesTile("Cai's screen", { picture: true });
    await person.sees("Cai", "screen");
    await person.receives(cai);
  }
  await Promise.all(bots.map((bot) => bot.close()));
  await Promise.all(bots.map((_, index) => ada.misses(`Bot ${index + 1}`)));
  await bothReceive();
}

scene(`Chromium survives ${GLARES} offers from both sides at once`, (scene) => glare(scene, () => scene.chromium()), TIMEOUT);
scene(`Firefox survives ${GLARES} offers from both sides at once`, (scene) => glare(scene, () => scene.firefox()), TIMEOUT);
