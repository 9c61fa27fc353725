import type { ClientMessage, Event, ProtocolError, Reply, ServerMessage } from "../protocol.js";
import type { Socket } from "../link.js";

/** A WebSocket whose other end is the test. */
export class FakeSocket implements Socket {
  binaryType: BinaryType = "blob";
  protocol: string;
  /** What the client sent, as it was sent. */
  readonly frames: unknown[] = [];
  closedWith: number | undefined;
  /** Closed by the client. */
  closed = false;
  readonly #listeners = new Map<string, ((event: never) => void)[]>();

  constructor(protocol: string) {
    this.protocol = protocol;
  }

  addEventListener(type: string, listener: unknown): void {
    this.#listeners.set(type, [...(this.#listeners.get(type) ?? []), listener as (event: never) => void]);
  }

  send(frame: unknown): void {
    this.frames.push(frame);
  }

  close(code?: number): void {
    this.closed = true;
    this.closedWith = code;
  }

  /** What the client asked, of the JSON frames. */
  get requests(): ClientMessage[] {
    return this.frames.filter((frame) => typeof frame === "string").map((frame) => JSON.parse(frame) as ClientMessage);
  }

  /** The latest request of a type. */
  last<Type extends ClientMessage["type"]>(type: Type): Extract<ClientMessage, { type: Type }> {
    const found = this.requests.filter((request) => request.type === type).at(-1);
    if (!found) throw new Error(`no "${type}" was sent`);
    return found as Extract<ClientMessage, { type: Type }>;
  }

  fire(type: "open" | "close" | "message", event: object = {}): void {
    for (const listener of this.#listeners.get(type) ?? []) listener(event as never);
  }

  receive(message: ServerMessage): void {
    this.fire("message", { data: JSON.stringify(message) });
  }

  reply(id: number, result: Reply): void {
    this.receive({ type: "reply", id, result });
  }

  refuse(id: number | undefined, error: ProtocolError): void {
    this.receive(id === undefined ? { type: "error", error } : { type: "error", id, error });
  }

  event(event: Event): void {
    this.receive({ type: "event", event });
  }
}
