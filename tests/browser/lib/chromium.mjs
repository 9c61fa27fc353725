// Chromium with a fake camera and microphone, by playwright-core.
import { chromium } from "playwright-core";
import { findProgram } from "./programs.mjs";
import { onlyCodec, Tab } from "./tab.mjs";
import { trusting } from "./trust.mjs";

const PROGRAM = findProgram("CHROMIUM", ["chromium", "chromium-browser", "google-chrome"]);
const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  // Answers the permission prompts, and getDisplayMedia with a fake screen.
  "--use-fake-ui-for-media-stream",
  "--autoplay-policy=no-user-gesture-required",
];

/**
 * A fresh Chromium with a profile of its own. `window()` opens another window, which shares nothing with the others.
 * `within(program)` resolves with a program that runs another one somewhere else; `secure` is an origin without TLS that counts as secure. `authority`: the only one
 * whose certificates are right, beside the usual ones (PEM); without it all are.
 * `voice` is a WAV file for the microphone, which otherwise beeps; `film` a Y4M file for the camera. `size`: the windows'. `codec`: the only one that video is sent in.
 * `layers`: the camera is sent in one stream of these (W3C webrtc-svc) instead of several encodings.
 * The camera's usual size and rate are less than a real one's: that leaves two cores enough for three windows that encode and decode in software.
 */
export async function launchChromium({ within, secure, authority, voice, fps = 15, camera = { width: 320, height: 240 }, film, codec, layers, size = { width: 960, height: 600 } } = {}) {
  const args = [...ARGUMENTS, `--use-fake-device-for-media-stream=fps=${fps}`];
  if (secure) args.push(`--unsafely-treat-insecure-origin-as-secure=${secure}`);
  // Where Chromium looks for its user's authorities.
  const home = authority && (await trusting(authority, ".pki/nssdb"));
  // The tests' certificates are nobody's, as a rule.
  if (!home) args.push("--ignore-certificate-errors");
  if (voice) args.push(`--use-file-for-fake-audio-capture=${voice}`);
  if (film) args.push(`--use-file-for-fake-video-capture=${film}`);
  const executablePath = within ? await within(PROGRAM) : PROGRAM;
  const browser = await chromium.launch({ executablePath, args, headless: true, ...(home ? { env: { ...process.env, HOME: home.folder } } : {}) });
  return {
    name: "Chromium",
    version: browser.version(),
    async window(script) {
      const context = await browser.newContext({ viewport: size });
      await context.addInitScript(plainCamera, camera);
      if (codec) await context.addInitScript(onlyCodec, codec);
      if (layers) await context.addInitScript(oneStream, layers);
      if (script) await context.addInitScript(script);
      return new ChromiumTab(await context.newPage(), context);
    },
    async close() {
      await browser.close();
      await home?.remove();
    },
  };
}

/** Runs in a page before anything else: its camera has this size, whatever is asked for. */
function plainCamera({ width, height }) {
  const { mediaDevices } = navigator;
  if (!mediaDevices) return;
  const getUserMedia = mediaDevices.getUserMedia.bind(mediaDevices);
  mediaDevices.getUserMedia = ({ video, ...others }) => {
    const wishes = typeof video === "object" ? video : {};
    return getUserMedia({ ...others, video: video ? { ...wishes, width: { exact: width }, height: { exact: height } } : false });
  };
}

/** Runs in a page before anything else: what is sent in several encodings is sent in one stream of these layers. */
function oneStream(scalabilityMode) {
  const { prototype } = RTCPeerConnection;
  const { addTransceiver } = prototype;
  prototype.addTransceiver = function (kind, options) {
    const several = options?.sendEncodings?.length > 1;
    return addTransceiver.call(this, kind, several ? { ...options, sendEncodings: [{ scalabilityMode }] } : options);
  };
}

class ChromiumTab extends Tab {
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
    return this.#page.getByRole("button", { name, exact: true }).click();
  }

  fill(name, text) {
    return this.#page.getByRole("textbox", { name, exact: true }).fill(text);
  }

  screenshot(path) {
    return this.#page.screenshot({ path });
  }

  close() {
    return this.#context.close();
  }
}
