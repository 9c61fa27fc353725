import { Emitter } from "./emitter.js";

/** The events of {@link Network}. */
export interface NetworkEvents {
  /** The device is on a network again, or on another one: its addresses are others. */
  changed: [];
  /** Something may have happened to the network: the browser estimates the line anew, or the page was put aside for a while. */
  doubted: [];
  /** {@link Network.offline} is another value. */
  offlineChanged: [];
}

/** The kind of network, where the browser tells; on computers most don't. */
interface NetworkInformation extends EventTarget {
  readonly type?: string;
}

/** What the browser knows of the device's network. */
export class Network extends Emitter<NetworkEvents> {
  readonly #stop = new AbortController();
  #type: string | undefined;

  constructor() {
    super();
    const { signal } = this.#stop;
    const { window, document, navigator } = globalThis as Partial<typeof globalThis>;
    const connection = (navigator as { connection?: NetworkInformation } | undefined)?.connection;
    this.#type = connection?.type;
    const follow = (target: EventTarget | undefined, event: string, action: () => void) =>
      target?.addEventListener(event, action, { signal });
    follow(window, "online", () => {
      this.emit("offlineChanged");
      this.emit("changed");
    });
    follow(window, "offline", () => this.emit("offlineChanged"));
    follow(window, "pageshow", () => this.emit("doubted"));
    follow(document, "visibilitychange", () => {
      if (document?.visibilityState === "visible") this.emit("doubted");
    });
    // Also fired when only the estimated speed is another one, several times a minute.
    follow(connection, "change", () => {
      const before = this.#type;
      this.#type = connection?.type;
      this.emit(this.#type === before ? "doubted" : "changed");
    });
  }

  /** The browser says that there is no network. Some say so although there is one, so this is only for people to read. */
  get offline(): boolean {
    return typeof navigator !== "undefined" && navigator.onLine === false;
  }

  /** Stops following. */
  close(): void {
    this.#stop.abort();
  }
}
