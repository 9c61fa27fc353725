// Firefox with a fake camera and microphone, by puppeteer-core over WebDriver BiDi.
import puppeteer from "puppeteer-core";
import { findProgram } from "./programs.mjs";
import { onlyCodec, Tab } from "./tab.mjs";
import { trusting } from "./trust.mjs";

const PROGRAM = findProgram("FIREFOX", ["firefox-esr", "firefox"]);

/**
 * A fresh Firefox with a profile of its own. `window()` opens another window, which shares nothing with the others.
 * `within`, `secure`, `authority`, `fps`, `codec` and `size` as for Chromium; `port` is where to reach it in another network namespace.
 */
export async function launchFirefox({ within, port, secure, authority, fps = 15, codec, size = { width: 960, height: 600 } } = {}) {
  const profile = authority && (await trusting(authority));
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: within ? await within(PROGRAM) : PROGRAM,
    ...(port ? { debuggingPort: port } : {}),
    headless: true,
    ...(profile ? { userDataDir: profile.folder } : {}),
    // The tests' certificates are nobody's, as a rule.
    acceptInsecureCerts: !authority,
    extraPrefsFirefox: {
      "media.navigator.streams.fake": true,
      "media.navigator.permission.disabled": true,
      "media.autoplay.default": 0,
      "media.getdisplaymedia.enabled": true,
      // The fake camera's picture; smaller than a camera's, for the sake of two cores.
      "media.navigator.video.default_width": 640,
      "media.navigator.video.default_height": 360,
      "media.navigator.video.default_fps": fps,
      ...(secure ? { "dom.securecontext.allowlist": new URL(secure).hostname, "media.devices.insecure.enabled": true, "media.getusermedia.insecure.enabled": true } : {}),
    },
  });
  return {
    name: "Firefox",
    version: await browser.version(),
    async window(script) {
      const context = await browser.createBrowserContext();
      const page = await context.newPage();
      await page.setViewport(size);
      if (codec) await page.evaluateOnNewDocument(onlyCodec, codec);
      if (script) await page.evaluateOnNewDocument(script);
      return new FirefoxTab(page, context);
    },
    async close() {
      await browser.close();
      await profile?.remove();
    },
  };
}

class FirefoxTab extends Tab {
  #page;
  #context;

  constructor(page, context) {
    super();
    this.#page = page;
    this.#context = context;
    page.on("console", (message) => this.note(`${message.type()}: ${message.text()}`));
    page.on("pageerror", (error) => this.note(`uncaught: ${error.message}`));
  }

  goto(url) {
    return this.#page.goto(url, { waitUntil: "load" });
  }

  reload() {
    return this.#page.reload({ waitUntil: "load" });
  }

  evaluate(script, argument) {
    return this.#page.evaluate(script, argument);
  }

  click(name) {
    return this.#page.locator(`::-p-aria([name=${JSON.stringify(name)}][role="button"])`).click();
  }

  fill(name, text) {
    return this.#page.locator(`::-p-aria([name=${JSON.stringify(name)}][role="textbox"])`).fill(text);
  }

  screenshot(path) {
    return this.#page.screenshot({ path });
  }

  close() {
    return this.#context.close();
  }
}
