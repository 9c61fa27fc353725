import { Emitter } from "./emitter.js";
import { decodeMessage, encodeMessage, type Encoding, SUBPROTOCOLS } from "./encoding.js";
import { closeError, SwitchyardError } from "./errors.js";
import type { Event, ProtocolError, Reply, Request } from "./protocol.js";

/** A request without an answer fails after this many milliseconds with code `timeout`. */
export const REQUEST_TIMEOUT = 30_000;
/** A WebSocket that isn't open after this many milliseconds counts as failed. */
export const OPEN_TIMEOUT = 10_000;
/** Unanswered requests at a time: far more than a session has, few enough that a dead line fails fast. */
export const MAX_PENDING = 256;

/** The part of a WebSocket that signaling needs. */
export type Socket = Pick<WebSocket, "addEventListener" | "binaryType" | "close" | "protocol" | "send">;

/** Makes a WebSocket; tests make something else. */
export type OpenSocket = (url: string, subprotocol: string) => Socket;

/** The kinds of reply a request can get. */
interface Replies {
  join: "joined";
  offer: "answer" | "ignored";
  publish: "published";
  ping: "pong";
}

/** The reply to a request. */
export type ReplyTo<Type extends Request["type"]> = Extract<
  Reply,
  { kind: Type extends keyof Replies ? Replies[Type] : "done" }
>;

const REPLIES: { readonly [Type in keyof Replies]: readonly Replies[Type][] } = {
  join: ["joined"],
  offer: ["answer", "ignored"],
  publish: ["published"],
  ping: ["pong"],
};

interface Pending {
  type: Request["type"];
  timer: ReturnType<typeof setTimeout>;
  resolve(reply: Reply): void;
  reject(error: SwitchyardError): void;
}

/** The events of {@link Signaling}. */
export interface SignalingEvents {
  /** The server tells of something. */
  event: [event: Event];
  /** Something went wrong that no request asked for. */
  error: [error: SwitchyardError];
  /** The WebSocket is closed; without an error if this end closed it. Comes once, last. */
  closed: [error: SwitchyardError | null];
}

/** The WebSocket: numbers requests, finds the request of each reply, passes events on in their order. */
export class Signaling extends Emitter<SignalingEvents> {
  readonly #socket: Socket;
  readonly #encoding: Encoding;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #closed = false;
  /** Why the server is about to close. */
  #closing: SwitchyardError | null = null;

  private constructor(socket: Socket, encoding: Encoding) {
    super();
    this.#socket = socket;
    this.#encoding = encoding;
    socket.addEventListener("message", ({ data }) => this.#receive(data));
    socket.addEventListener("close", (event) => {
      const lost = new SwitchyardError("connection_lost", `The connection to the server was lost (${event.code}).`, {
        retryable: true,
      });
      this.#close(this.#closing ?? lost);
    });
  }

  /** Opens a WebSocket to `url` (ws: or wss:). Rejects with `connection_failed` or `timeout`. */
  static open(url: string, encoding: Encoding, openSocket: OpenSocket = browserSocket): Promise<Signaling> {
    return new Promise((resolve, reject) => {
      let socket: Socket;
      const fail = (code: "connection_failed" | "timeout", message: string, cause?: unknown) => {
        clearTimeout(timer);
        reject(new SwitchyardError(code, message, { retryable: true, cause }));
      };
      const timer = setTimeout(() => {
        fail("timeout", "The server did not answer.");
        socket?.close();
      }, OPEN_TIMEOUT);
      try {
        socket = openSocket(url, SUBPROTOCOLS[encoding]);
      } catch (cause) {
        fail("connection_failed", `${url} is not the address of a server.`, cause);
        return;
      }
      socket.binaryType = "arraybuffer";
      socket.addEventListener("open", () => {
        clearTimeout(timer);
        if (socket.protocol === SUBPROTOCOLS[encoding]) {
          resolve(new Signaling(socket, encoding));
        } else {
          socket.close();
          fail("connection_failed", "The server speaks another version of the protocol.");
        }
      });
      socket.addEventListener("close", () => fail("connection_failed", "The server could not be reached."));
    });
  }

  /** Sends a request. Rejects with the server's error, or `timeout`, `busy`, `not_connected`, `connection_lost`. */
  request<Type extends Request["type"]>(request: Extract<Request, { type: Type }>): Promise<ReplyTo<Type>> {
    return new Promise<Reply>((resolve, reject) => {
      if (this.#closed) {
        reject(new SwitchyardError("not_connected", "There is no connection to the server."));
        return;
      }
      if (this.#pending.size >= MAX_PENDING) {
        reject(new SwitchyardError("busy", "The server has too many requests to answer.", { retryable: true }));
        return;
      }
      const id = this.#nextId;
      this.#nextId = (this.#nextId + 1) >>> 0;
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        const message = `The server did not answer "${request.type}" in time.`;
        reject(new SwitchyardError("timeout", message, { retryable: true }));
      }, REQUEST_TIMEOUT);
      this.#pending.set(id, { type: request.type, timer, resolve, reject });
      this.#socket.send(encodeMessage(this.#encoding, { ...request, id }));
    }) as Promise<ReplyTo<Type>>;
  }

  /** Closes the WebSocket; what is unanswered fails with `not_connected`. */
  close(): void {
    if (this.#closed) return;
    this.#socket.close(1000);
    this.#close(null);
  }

  #receive(data: unknown): void {
    if (this.#closed) return;
    const message = decodeMessage(this.#encoding, data);
    switch (message?.type) {
      case "reply":
        this.#answer(message.id, message.result);
        break;
      case "error":
        this.#refuse(message.id, message.error);
        break;
      case "event":
        if (message.event.kind === "closing") {
          this.#closing = closeError(message.event.reason, message.event.message);
        }
        this.emit("event", message.event);
        break;
      default:
        this.emit("error", new SwitchyardError("unexpected_message", "The server sent something that is no message."));
    }
  }

  #answer(id: number, reply: Reply): void {
    const pending = this.#take(id);
    if (!pending) return; // It came after its timeout.
    const kinds: readonly string[] = pending.type in REPLIES ? REPLIES[pending.type as keyof Replies] : ["done"];
    if (kinds.includes(reply.kind)) {
      pending.resolve(reply);
    } else {
      const message = `The server answered "${pending.type}" with "${reply.kind}".`;
      pending.reject(new SwitchyardError("unexpected_message", message));
    }
  }

  #refuse(id: number | undefined, protocolError: ProtocolError): void {
    const error = SwitchyardError.fromProtocol(protocolError);
    const pending = id === undefined ? undefined : this.#take(id);
    if (pending) pending.reject(error);
    else this.emit("error", error);
  }

  #take(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    clearTimeout(pending?.timer);
    return pending;
  }

  #close(error: SwitchyardError | null): void {
    if (this.#closed) return;
    this.#closed = true;
    const reason = error ?? new SwitchyardError("not_connected", "The connection to the server was closed.");
    for (const id of [...this.#pending.keys()]) this.#take(id)?.reject(reason);
    this.emit("closed", error);
  }
}

function browserSocket(url: string, subprotocol: string): Socket {
  return new WebSocket(url, subprotocol);
}
