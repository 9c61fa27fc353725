// Glare: offers from both sides at the same time, hundreds of times.
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { scene } from "./lib/scene.mjs";
import { percentile } from "./lib/statistics.mjs";
import { until } from "./lib/tab.mjs";

/** Rounds in each browser in which both sides offer. */
const ROUNDS = 300;
/** Rounds at most, those included in which the server had nothing to offer: it folds what comes and goes while it waits. */
const MOST_ROUNDS = 400;
/** Milliseconds that the server's offer may come after the page's was answered. */
const LATE = 250;
/** Milliseconds for all of it, on a machine that does other things as well. */
const TIMEOUT = 300_000;
/** Every so many rounds the page's offer restarts ICE as well. */
const RESTART_EVERY = 10;
/** Bots that publish and withdraw two groups of tracks each: eight groups more or less are eight slots more or less. */
const BOTS = 4;
/** Of the rounds, so many must end in each of the two ways. */
const LEAST_OF_EACH = ROUNDS / 10;
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

async function glare(scene, browser) {
  const server = await scene.server();
  const [subject, partner] = [await scene.join(browser, server, "demo", "Ada"), await scene.join(await scene.chromium(), server, "demo", "Ben")];
  await Promise.all([subject.receives(partner), partner.receives(subject)]);
  const bots = await Promise.all(Array.from({ length: BOTS }, (_, index) => scene.bot(server, "demo", `Bot ${index + 1}`)));

  const outcomes = { answer: 0, ignored: 0 };
  const gaps = [];
  // How long the page begins after the bots, negative if before; moved so that neither side always wins.
  let lead = 0;
  const started = performance.now();
  let round = 0;
  for (; gaps.length < ROUNDS && round < MOST_ROUNDS; round += 1) {
    scene.progress = `round ${round}, ${JSON.stringify(outcomes)}, lead ${lead} ms, ${Math.round(performance.now() - started)} ms`;
    const swing = async () => {
      await pause(Math.max(0, -lead));
      await Promise.all(bots.map((bot) => (round % 2 === 0 ? bot.publish() : bot.unpublish())));
    };
    const restart = round % RESTART_EVERY === RESTART_EVERY - 1;
    const offer = subject.evaluate(offerInPage, { delay: Math.max(0, lead), restart, late: LATE });
    const [{ outcome, gap }] = await Promise.all([offer, swing()]);
    assert.ok(outcome in outcomes, `round ${round}: the server replied ${outcome}`);
    if (gap === undefined) continue;
    outcomes[outcome] += 1;
    gaps.push(Math.abs(gap));
    // An ignored offer came too late, an answered one early enough.
    lead = Math.min(MAX_LEAD, Math.max(-MAX_LEAD, lead + (outcome === "ignored" ? -STEP : STEP)));
  }
  const seconds = (performance.now() - started) / 1000;
  scene.report(
    `${gaps.length} of ${round} rounds with offers of both sides in ${seconds.toFixed(1)} s: ${outcomes.ignored} times the server's offer won, ${outcomes.answer} times the page's; ` +
      `the two were ${percentile(gaps, 0.5).toFixed(1)} ms apart in the median, ${percentile(gaps, 0.95).toFixed(1)} ms at p95`,
  );
  assert.equal(gaps.length, ROUNDS);
  assert.ok(outcomes.ignored >= LEAST_OF_EACH && outcomes.answer >= LEAST_OF_EACH, `both ends of a glare: ${JSON.stringify(outcomes)}`);

  assert.equal(await subject.evaluate(() => window.switchyard.peerConnection.signalingState), "stable");
  assert.equal(await subject.evaluate(() => window.switchyard.state), "connected");
  await Promise.all([subject.receives(partner), partner.receives(subject)]);
  // What was negotiated is still good for something new.
  await partner.tab.click("Share screen");
  await subject.seesTile("Ben's screen", { picture: true });
  await subject.sees("Ben", "screen");
  await Promise.all(bots.map((bot) => bot.close()));
  await until("the bots are gone", async () => (await subject.tiles()).every(({ label }) => !label.startsWith("Bot")));
  await Promise.all([subject.receives(partner), partner.receives(subject)]);
}

scene("Chromium survives 300 offers from both sides at once", async (scene) => glare(scene, await scene.chromium()), TIMEOUT);
scene("Firefox survives 300 offers from both sides at once", async (scene) => glare(scene, await scene.firefox()), TIMEOUT);
