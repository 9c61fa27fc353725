// What tests do with a browser's window, the same for all browsers.
import { setTimeout as pause } from "node:timers/promises";

/** Milliseconds that a condition has to come true, unless told otherwise. */
export const DEADLINE = 15_000;
/** Milliseconds between two looks at a condition. */
const INTERVAL = 50;
/** Lines of console that are kept to be shown when a test fails. */
const KEPT_LINES = 40;

/**
 * A window. Subclasses have `goto`, `reload`, `evaluate`, `click(button's accessible name)`, `fill(textbox's accessible
 * name, text)`, `screenshot` and `close`.
 */
export class Tab {
  /** The latest lines of its console. */
  console = [];

  /** Takes a line of the console. */
  note(line) {
    this.console.push(line);
    if (this.console.length > KEPT_LINES) this.console.shift();
  }

  /**
   * Waits until `script`, run in the page with `argument`, returns something truthy, and returns that.
   * `what` says what is waited for; the last value and error are in the error.
   */
  until(what, script, argument, deadline = DEADLINE) {
    return until(what, () => this.evaluate(script, argument), deadline);
  }
}

/** Waits until `look` returns (or resolves with) something truthy, and returns that. Looks every `interval` milliseconds. */
export async function until(what, look, deadline = DEADLINE, interval = INTERVAL) {
  const end = performance.now() + deadline;
  for (;;) {
    let seen;
    try {
      seen = await look();
      if (seen) return seen;
    } catch (error) {
      // A page that is being loaded has nothing to look at.
      seen = error;
    }
    if (performance.now() > end) {
      throw new Error(`after ${deadline} ms still not: ${what} (last seen: ${seen instanceof Error ? seen.message : JSON.stringify(seen)})`);
    }
    await pause(interval);
  }
}

/** Runs in a page before anything else: video is sent in this codec (`VP8`) or not at all. */
export function onlyCodec(codec) {
  const { prototype } = RTCPeerConnection;
  const { addTransceiver } = prototype;
  prototype.addTransceiver = function (kind, options) {
    const transceiver = addTransceiver.call(this, kind, options);
    if (kind === "video" && options?.direction === "sendonly") {
      const wanted = ["rtx", codec.toLowerCase()].map((name) => `video/${name}`);
      const codecs = RTCRtpSender.getCapabilities("video").codecs.filter(({ mimeType }) => wanted.includes(mimeType.toLowerCase()));
      transceiver.setCodecPreferences(codecs);
    }
    return transceiver;
  };
}
