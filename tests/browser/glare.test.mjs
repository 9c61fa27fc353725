// Glare: offers from both sides at the same time, hundreds of times.
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { scene } from "./lib/scene.mjs";
import { percentile } from "./lib/statistics.mjs";
import { until } from "./lib/tab.mjs";

/** Rounds in each browser. */
const ROUNDS = 300;
/** Every so many rounds the page's offer restarts ICE as well. */
const RESTART_EVERY = 10;
/** Bots that publish and withdraw two groups of tracks each: eight groups more or less are eight slots more or less. */
const BOTS = 4;
/** Of the rounds, so many must end in each of the two ways. */
const LEAST_OF_EACH = ROUNDS / 10;
/** Milliseconds by which the two sides' beginnings are moved against each other at most. */
const MAX_LEAD = 60;

/**
 * Runs in the page: makes an offer after `delay` milliseconds, by a change of one sending m-line's direction or by an ICE
 * restart, and returns when that and what the server has offered meanwhile is settled. Resolves with how the first offer
 * of this round ended (`answer` or `ignored`) and how many milliseconds after it was sent the server's offer came.
 */
async function offerInPage({ delay, restart }) {
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
  for (;;) {
    const lines = wire.slice(begin);
    const own = lines.find((line) => line.out && line.type === "offer");
    const theirs = lines.find((line) => !line.out && line.type === "offer");
    const reply = own && lines.find((line) => !line.out && line.type === "reply" && line.id === own.id);
    const asked = lines.filter((line) => line.out && line.type === "offer").length;
    const replied = lines.filter((line) => !line.out && line.type === "reply").length;
    const lastAnswered = lines.findLast((line) => line.type === "reply")?.kind === "answer";
    if (own && theirs && reply && asked === replied && lastAnswered && connection.signalingState === "stable") {
      return { outcome: reply.kind, gap: theirs.at - own.at };
    }
    if (performance.now() > end) {
      throw new Error(`the round does not end: ${JSON.stringify(lines)}, ${connection.signalingState}`);
    }
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
  for (let round = 0; round < ROUNDS; round += 1) {
    const swing = async () => {
      await pause(Math.max(0, -lead));
      await Promise.all(bots.map((bot) => (round % 2 === 0 ? bot.publish() : bot.unpublish())));
    };
    const restart = round % RESTART_EVERY === RESTART_EVERY - 1;
    const [{ outcome, gap }] = await Promise.all([subject.evaluate(offerInPage, { delay: Math.max(0, lead), restart }), swing()]);
    assert.ok(outcome in outcomes, `round ${round}: the server replied ${outcome}`);
    outcomes[outcome] += 1;
    gaps.push(Math.abs(gap));
    // An ignored offer came too late, an answered one early enough.
    lead = Math.min(MAX_LEAD, Math.max(-MAX_LEAD, lead + (outcome === "ignored" ? -2 : 2)));
  }
  const seconds = (performance.now() - started) / 1000;
  scene.report(
    `${ROUNDS} rounds in ${seconds.toFixed(1)} s: ${outcomes.ignored} times the server's offer won, ${outcomes.answer} times the page's; ` +
      `the two were ${percentile(gaps, 0.5).toFixed(1)} ms apart in the median, ${percentile(gaps, 0.95).toFixed(1)} ms at p95`,
  );
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

scene("Chromium survives 300 offers from both sides at once", async (scene) => glare(scene, await scene.chromium()));
scene("Firefox survives 300 offers from both sides at once", async (scene) => glare(scene, await scene.firefox()));
