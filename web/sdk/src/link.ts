import { decodeMessage, encodeMessage, type Encoding, SUBPROTOCOLS } from "./encoding.js";
import { SwitchyardError } from "./errors.js";
import type { ClientMessage, ServerMessage } from "./protocol.js";

/** The part of a WebSocket that signaling needs. */
export type Socket = Pick<WebSocket, "addEventListener" | "binaryType" | "close" | "protocol" | "send">;

/** Makes a WebSocket; tests make something else. */
export type OpenSocket = (url: string, subprotocol: string) => Socket;

/** Where a server is, and how it is spoken to. */
export interface Server {
  /** Of the WebSocket. */
  readonly url: string;
  readonly encoding: Encoding;
  readonly openSocket: OpenSocket;
  /** Asks for the server's start page; only whether it answers counts. */
  readonly fetch: (url: string, options: RequestInit) => Promise<Response>;
  /**
   * WebSockets are tried although HTTP is not answered. For Chromium: its questions share six connections, which it keeps when
   * they are given up, and whose TCP tries again after 7, 15 and 31 s only; each WebSocket is a connection of its own.
   */
  readonly knocks: boolean;
}

/** One WebSocket that is open, or was. */
export class Link {
  readonly #socket: Socket;
  readonly #encoding: Encoding;
  #open = true;
  /** Takes each message; undefined for a frame that is none. */
  onMessage: (message: ServerMessage | undefined) => void = () => {};
  /** Told once, with the WebSocket's close code, unless this end has dropped it. */
  onClose: (code: number) => void = () => {};

  /** @internal */
  constructor(socket: Socket, encoding: Encoding) {
    this.#socket = socket;
    this.#encoding = encoding;
    socket.addEventListener("message", ({ data }) => {
      if (this.#open) this.onMessage(decodeMessage(encoding, data));
    });
    socket.addEventListener("close", ({ code }) => {
      if (!this.#open) return;
      this.#open = false;
      this.onClose(code);
    });
  }

  get open(): boolean {
    return this.#open;
  }

  send(message: ClientMessage): void {
    if (this.#open) this.#socket.send(encodeMessage(this.#encoding, message));
  }

  /** Closes the WebSocket. Nothing comes of it any more, however long the closing takes. */
  drop(code: number): void {
    if (!this.#open) return;
    this.#open = false;
    this.#socket.close(code);
  }
}

/** Opens a WebSocket. Fails after `patience` milliseconds, or when `signal` says so. */
export function openLink(server: Server, patience: number, signal?: AbortSignal): Promise<Link> {
  const { url, encoding } = server;
  return new Promise((resolve, reject) => {
    let socket: Socket;
    try {
      socket = server.openSocket(url, SUBPROTOCOLS[encoding]);
    } catch (cause) {
      reject(failed("connection_failed", `${url} is not the address of a server.`, cause));
      return;
    }
    let over = false;
    const end = () => {
      over = true;
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    };
    const fail = (code: "connection_failed" | "timeout", message: string) => {
      if (over) return;
      end();
      reject(failed(code, message));
      socket.close();
    };
    const abort = () => fail("connection_failed", "Another attempt begins.");
    const timer = setTimeout(() => fail("timeout", "The server did not answer."), patience);
    signal?.addEventListener("abort", abort);
    socket.binaryType = "arraybuffer";
    socket.addEventListener("open", () => {
      if (over) return;
      if (socket.protocol !== SUBPROTOCOLS[encoding]) {
        fail("connection_failed", "The server speaks another version of the protocol.");
        return;
      }
      end();
      resolve(new Link(socket, encoding));
    });
    socket.addEventListener("close", () => fail("connection_failed", "The server could not be reached."));
  });
}

/**
 * Whether there is a server that answers HTTP; null if there is no answer of any kind within `patience` milliseconds. To be
 * known before another WebSocket is tried: browsers make WebSockets wait (Firefox for up to a minute) after some to the
 * same host have failed, but not this.
 */
export async function answers(server: Server, patience: number, signal: AbortSignal): Promise<boolean | null> {
  const url = new URL("/", server.url);
  url.protocol = url.protocol === "wss:" ? "https:" : "http:";
  const stop = new AbortController();
  const abort = () => stop.abort();
  const timer = setTimeout(abort, patience);
  signal.addEventListener("abort", abort);
  try {
    const options = { method: "HEAD", mode: "no-cors", cache: "no-store", signal: stop.signal } as const;
    // Of another origin the answer's status can't be seen, and is 0.
    const { status } = await server.fetch(url.href, options);
    // A proxy that has no server behind it says one of these.
    return status < 502 || status > 504;
  } catch {
    return stop.signal.aborted ? null : false;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", abort);
  }
}

function failed(code: "connection_failed" | "timeout", message: string, cause?: unknown): SwitchyardError {
  return new SwitchyardError(code, message, { retryable: true, cause });
}
