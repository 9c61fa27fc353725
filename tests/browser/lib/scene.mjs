// A test with a server, browsers and participants, all of which end with it.
import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { Bot } from "./bot.mjs";
import { launchChromium } from "./chromium.mjs";
import { launchFirefox } from "./firefox.mjs";
import { Participant } from "./participant.mjs";
import { startServer } from "./server.mjs";

/** Milliseconds that a scene may take. */
const TIMEOUT = 120_000;
/** Where pictures of the windows of a failed scene go. */
const PICTURES = join(tmpdir(), "switchyard-browser-tests");

/** Defines a test. `play` gets a {@link Scene}; its steps are tests of their own, in the same rooms with the same people. */
export function scene(name, play, timeout = TIMEOUT) {
  test(name, async (context) => {
    const scene = new Scene(name, context);
    // Not the runner's own timeout, which would leave browsers and server behind.
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`not over after ${timeout / 1000} s`)), timeout);
    });
    try {
      await Promise.race([play(scene), late]);
    } catch (error) {
      await scene.explain();
      throw error;
    } finally {
      clearTimeout(timer);
      await scene.end();
    }
  });
}

class Scene {
  /** How far a long part has come, to be said when it takes too long. */
  progress = "";
  #name;
  #context;
  #servers = [];
  #browsers = [];
  #participants = [];
  #bots = [];
  #last = [];

  constructor(name, context) {
    this.#name = name;
    this.#context = context;
  }

  /** Adds a line to the report. */
  report(line) {
    this.#context.diagnostic(line);
  }

  /** A part of the scene that can fail by itself; the next ones are played nevertheless. `todo`: why it is known to fail; counted as neither passed nor failed. */
  step(name, play, todo = undefined) {
    return this.#context.test(name, { todo }, async () => {
      try {
        await play();
      } catch (error) {
        await this.explain(name);
        throw error;
      }
    });
  }

  /**
   * A step that measures times or rates, which a machine that has other things to do can spoil: it holds if it does at first, or twice when it is played again, each time
   * after `rest` milliseconds. What it begins with it has to bring about itself. `todo` as for {@link step}.
   */
  measured(name, play, rest = 0, todo = undefined) {
    return this.step(name, async () => {
      try {
        await play();
      } catch (error) {
        this.report(`${name}: measured again, twice, because at first ${error.message}`);
        for (let times = 0; times < 2; times++) {
          await pause(rest);
          await play();
        }
      }
    }, todo);
  }

  /** Starts a server; `options` are `startServer`'s. */
  async server(...options) {
    const server = await startServer(...options);
    this.#servers.push(server);
    return server;
  }

  /** The server that was started first. */
  get firstServer() {
    return this.#servers[0];
  }

  async chromium(options) {
    return this.#browser(await launchChromium(options));
  }

  async firefox(options) {
    return this.#browser(await launchFirefox(options));
  }

  /** Has `end` called when the server has ended. */
  last(end) {
    this.#last.push(end);
  }

  #browser(browser) {
    this.#browsers.push(browser);
    this.report(`${browser.name} ${browser.version}`);
    return browser;
  }

  /** Opens a window of `browser` and joins `room` through the page, as a person would. */
  async join(browser, server, room, name) {
    const participant = await this.open(browser, server, room, name);
    await participant.enter();
    return participant;
  }

  /** Opens a window of `browser` for somebody who is about to join. */
  async open(browser, server, room, name) {
    const participant = await Participant.open(browser, server, room, name);
    this.#participants.push(participant);
    return participant;
  }

  /** A participant that speaks signaling only and has no media. */
  async bot(server, room, name) {
    const bot = await Bot.join(server, room, name);
    this.#bots.push(bot);
    return bot;
  }

  /** Says what is known when a test has failed. */
  async explain(step = "") {
    await mkdir(PICTURES, { recursive: true });
    if (this.progress) console.error(`--- ${this.progress}`);
    for (const { tab, name: who } of this.#participants) {
      const picture = join(PICTURES, `${this.#name} ${step} ${who}.png`.replaceAll(/[^\w.-]+/g, "_"));
      const taken = await Promise.race([tab.screenshot(picture).then(() => true, () => false), falseAfter(5_000)]);
      console.error(`--- console of ${who}${taken ? ` (picture: ${picture})` : ""}\n${tab.console.join("\n")}`);
    }
    for (const server of this.#servers) console.error(`--- log of the server\n${server.log.slice(-60).join("\n")}`);
  }

  /** Ends everything; the server after the browsers, so that it sees everybody go. */
  async end() {
    const failures = [];
    for (const group of [this.#bots.map((bot) => () => bot.close()), this.#browsers.map((browser) => () => browser.close()), this.#servers.map((server) => () => server.stop()), this.#last]) {
      const results = await Promise.allSettled(group.map((end) => end()));
      failures.push(...results.filter(({ status }) => status === "rejected").map(({ reason }) => reason));
    }
    if (failures.length > 0) throw failures[0];
  }
}

function falseAfter(milliseconds) {
  return new Promise((resolve) => setTimeout(() => resolve(false), milliseconds).unref());
}
