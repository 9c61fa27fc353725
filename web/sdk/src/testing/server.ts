import type {
  ClientMessage,
  Event,
  IceServer,
  Joined,
  Participant,
  ProtocolError,
  Reply,
  RoomSettings,
  ServerMessage,
  Snapshot,
} from "../protocol.js";
import { FakeSocket } from "./socket.js";

/** How a room is set that nobody has set. */
export const SETTINGS: RoomSettings = { locked: false, lobby: false, password: false, max_participants: 1_000 };

/** The reply to `join`. */
export function joinedAs(participant: number, participants: Participant[] = [], more: Partial<Joined> = {}): Joined {
  return {
    version: 1,
    room: "demo",
    participant,
    name: "Ada",
    grants: {
      publish: ["camera", "microphone", "screen", "screen_audio"],
      subscribe: true,
      data: true,
      moderate: false,
    },
    settings: SETTINGS,
    participants,
    ice_servers: [],
    limits: { message_bytes: 524_288, chat_bytes: 4_096, tracks: 4, slots: 56 },
    session: { token: `token of ${participant}`, resume_within: 60_000 },
    ...more,
  };
}

/**
 * A server that keeps one session through its connections, as PROTOCOL.md has it under *Resuming*. Nothing arrives by
 * itself: {@link deliverUp} and {@link deliverDown} move one message each, and what is under way when a connection is cut is lost.
 */
export class FakeServer {
  /** Connections, the latest last. */
  readonly wires: Wire[] = [];
  /** What it has handled of the session, in order. */
  readonly handled: ClientMessage[] = [];
  /** What it has said in the session, in order: kept until it is known to have arrived. */
  #kept: ServerMessage[] = [];
  #forgotten = 0;
  #received = 0;
  #participant = 6;
  /** Whoever else is in the room at the next join. */
  participants: Participant[] = [];
  /** For TURN. */
  iceServers: IceServer[] = [];
  /** The names under which somebody has joined. */
  readonly names: string[] = [];
  /** The access tokens they brought. */
  readonly tokens: (string | undefined)[] = [];
  /** Joins get this. */
  refusal: ProtocolError | null = null;
  /** Connections can't be made while it is away. */
  away = false;
  /** The next resumption gets this, and of what was missed only what is no event. */
  snapshot: Snapshot | null = null;
  /** What it answers; by default what suits the request. */
  answer: (message: ClientMessage) => Reply = suitable;

  readonly openSocket = (_: string, subprotocol: string): never => {
    const wire = new Wire(this, subprotocol);
    this.wires.push(wire);
    if (this.away) queueMicrotask(() => wire.cut());
    else queueMicrotask(() => wire.fire("open"));
    return wire as never;
  };

  get wire(): Wire {
    const wire = this.wires.at(-1);
    if (!wire) throw new Error("nobody has connected");
    return wire;
  }

  /** Says something to the session, if it is connected now or when it is again. */
  event(event: Event): void {
    this.#say({ type: "event", event });
  }

  /** Forgets the session, as a restart does. */
  forget(): void {
    this.handled.length = 0;
    this.#kept = [];
    this.#forgotten = 0;
    this.#received = -1;
  }

  take(wire: Wire, message: ClientMessage): void {
    if (message.type === "join" && this.refusal) {
      wire.down.push({ type: "error", id: message.id, error: this.refusal });
    } else if (message.type === "join") {
      this.forget();
      this.#received = 0;
      this.#participant += 1;
      this.names.push(message.name);
      this.tokens.push(message.token);
      wire.joined = true;
      const joined = joinedAs(this.#participant, this.participants, {
        ice_servers: this.iceServers,
        name: message.name,
      });
      wire.down.push({ type: "reply", id: message.id, result: { kind: "joined", ...joined } });
    } else if (message.type === "resume") {
      this.#resume(wire, message);
    } else if (wire.joined) {
      this.#received += 1;
      this.handled.push(message);
      if (message.type === "ping" && message.received !== undefined) this.#discard(message.received);
      this.#say({ type: "reply", id: message.id, result: this.answer(message) });
    }
  }

  #say(message: ServerMessage): void {
    this.#kept.push(message);
    const { wire } = this;
    if (wire.joined) wire.down.push(message);
  }

  #resume(wire: Wire, { id, received, token }: Extract<ClientMessage, { type: "resume" }>): void {
    if (this.#received < 0 || token !== `token of ${this.#participant}`) {
      wire.down.push({ type: "error", id, error: { code: "no_such_session", message: "gone", retryable: false } });
      return;
    }
    for (const other of this.wires) other.joined = false;
    this.#discard(received);
    wire.joined = true;
    const { snapshot } = this;
    this.snapshot = null;
    const result = { kind: "resumed", received: this.#received, ...(snapshot ? { snapshot } : {}) } as const;
    wire.down.push({ type: "reply", id, result });
    if (snapshot) {
      // What is not said again does not count either, for neither side.
      this.#kept = this.#kept.filter(({ type }) => type !== "event");
    }
    wire.down.push(...this.#kept);
  }

  #discard(received: number): void {
    const count = received - this.#forgotten;
    if (count < 0) return; // A ping that was under way for long.
    if (count > this.#kept.length) throw new Error(`the client counts ${received} messages, which is too many`);
    this.#kept.splice(0, count);
    this.#forgotten = received;
  }
}

/** A connection with messages under way. */
export class Wire extends FakeSocket {
  readonly up: ClientMessage[] = [];
  readonly down: ServerMessage[] = [];
  /** The session speaks over this one. */
  joined = false;
  readonly #server: FakeServer;
  #cut = false;

  constructor(server: FakeServer, subprotocol: string) {
    super(subprotocol);
    this.#server = server;
  }

  override send(frame: unknown): void {
    super.send(frame);
    if (!this.#cut) this.up.push(JSON.parse(frame as string) as ClientMessage);
  }

  override close(code?: number): void {
    super.close(code);
    this.#lose();
  }

  /** One message reaches the server. */
  deliverUp(): void {
    const message = this.up.shift();
    if (message) this.#server.take(this, message);
  }

  /** One message reaches the client. */
  deliverDown(): void {
    const message = this.down.shift();
    if (message) this.receive(message);
  }

  /** Everything arrives, and what is said because of it. */
  deliver(): void {
    while (this.up.length + this.down.length > 0) {
      this.deliverUp();
      this.deliverDown();
    }
  }

  /** The connection breaks, and both ends see it. */
  cut(): void {
    this.#lose();
    this.fire("close", { code: 1006 });
  }

  /** The connection breaks, and nobody sees it. */
  mute(): void {
    this.#lose();
  }

  #lose(): void {
    this.#cut = true;
    this.joined = false;
    this.up.length = 0;
    this.down.length = 0;
  }
}

/** What suits a request. */
export function suitable({ type, id }: ClientMessage): Reply {
  switch (type) {
    case "ping":
      return { kind: "pong" };
    case "renew":
      return { kind: "renewed", received: 0, ice_servers: [] };
    case "offer":
      return { kind: "answer", sdp: "answer" };
    case "publish":
      return { kind: "published", track: 100 + id };
    case "ice_servers":
      return { kind: "ice_servers", ice_servers: [{ urls: ["turn:fresh.example.org"] }] };
    default:
      return { kind: "done" };
  }
}
