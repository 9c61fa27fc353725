import { Countdown } from "./countdown.js";
import type { Dialer } from "./dialer.js";
import { Emitter } from "./emitter.js";
import { closeError, isFarewell, SwitchyardError } from "./errors.js";
import type { Link } from "./link.js";
import type {
  ClientMessage,
  Event,
  Joined,
  ProtocolError,
  Reply,
  Request,
  Resumed,
  ServerMessage,
  Snapshot,
} from "./protocol.js";

/** A request without an answer fails after this many milliseconds of being connected, with code `timeout`. */
export const REQUEST_TIMEOUT = 30_000;
/** Milliseconds until `join` is given up. The server lets newcomers wait 6 s for their turn. */
export const JOIN_TIMEOUT = 10_000;
/** Milliseconds until `resume` is given up on a connection: time for the picture of a large room to come over a slow line. */
export const RESUME_TIMEOUT = 8_000;
/** Milliseconds after which it is given up when the network has changed meanwhile. */
const YOUNG_RESUME = 500;
/** Messages unanswered, or not known to have arrived, at a time: far more than a session has, few enough that a dead line fails fast. */
export const MAX_PENDING = 256;
/** Milliseconds between two pings. They also let the server forget what has arrived. */
export const PING_INTERVAL = 10_000;
/** A connection is given up when nothing comes on it for this many milliseconds after a ping, */
export const PONG_TIMEOUT = 2_000;
/** or this many if there is a reason to think that it is dead: going on over another one is cheap and loses nothing. */
export const URGENT_PONG_TIMEOUT = 1_000;
/** On slow lines it is this many times as long as answers have taken, */
const SLOW_FACTOR = 4;
/** but not longer than this. */
const LONGEST_PONG_TIMEOUT = 8_000;

/** The WebSocket's close code of a client that gives a connection up and goes on over another one. */
const GIVEN_UP = 4000;
/** The server's: the session goes on over another connection. */
const RESUMED_ELSEWHERE = 4001;

/** The kinds of reply a request can get. */
interface Replies {
  join: "joined";
  resume: "resumed";
  renew: "renewed";
  offer: "answer" | "ignored";
  publish: "published";
  ice_servers: "ice_servers";
  ping: "pong";
}

/** The reply to a request. */
export type ReplyTo<Type extends Request["type"]> = Extract<
  Reply,
  { kind: Type extends keyof Replies ? Replies[Type] : "done" }
>;

const REPLIES: { readonly [Type in keyof Replies]: readonly Replies[Type][] } = {
  join: ["joined"],
  resume: ["resumed"],
  renew: ["renewed"],
  offer: ["answer", "ignored"],
  publish: ["published"],
  ice_servers: ["ice_servers"],
  ping: ["pong"],
};

interface Pending {
  type: Request["type"];
  timeout: Countdown;
  resolve(reply: Reply): void;
  reject(error: SwitchyardError): void;
}

/** The events of {@link Signaling}. */
export interface SignalingEvents {
  /** The server tells of something. */
  event: [event: Event];
  /** Something went wrong that no request asked for. */
  error: [error: SwitchyardError];
  /** A moderator has to let this client in: `join` is answered when one has, or has not. */
  waiting: [];
  /** The connection is lost; another one is being made. */
  lost: [];
  /** The session goes on over another connection. With a snapshot, more was missed than the server kept: this is how the room is now. */
  resumed: [snapshot: Snapshot | null];
  /** The session is over; without an error if this end closed it. If the error is retryable, joining anew may help. Comes once, last. */
  closed: [error: SwitchyardError | null];
}

/**
 * The signaling of one session, from `join` to its end, over as many connections as it takes: numbers requests, finds the
 * request of each reply, passes events on in their order. Requests made while there is no connection wait for the next.
 */
export class Signaling extends Emitter<SignalingEvents> {
  readonly #dialer: Dialer;
  /** The connection in use; null while another one is being made. */
  #link: Link | null;
  /** While `resume` is unanswered: since when, and how to give up that connection. */
  #resuming: { since: number; giveUp(code: number): void } | null = null;
  /** From the reply to `join`; null before. */
  #token: string | null = null;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  /** What the server may not have got, in order. */
  #outbox: ClientMessage[] = [];
  /** How many messages before those the server is known to have got. */
  #arrived = 0;
  /** How many of the server's messages have come. */
  #received = 0;
  #ping: { id: number; since: number; patience: number; timer: ReturnType<typeof setTimeout> } | null = null;
  #pingTimer: ReturnType<typeof setTimeout> | undefined;
  /** Milliseconds that answers take lately. */
  #roundTrip = 0;
  #closed = false;

  /** Speaks over an open connection, whose successors come from `dialer`. */
  constructor(dialer: Dialer, link: Link) {
    super();
    this.#dialer = dialer;
    this.#link = link;
    this.#adopt(link);
  }

  /** Whether there is a connection, as far as is known. */
  get connected(): boolean {
    return this.#link !== null;
  }

  /**
   * Joins, also if that takes a while because a moderator has to let one in. Rejects with the server's error, `timeout`, or
   * `connection_lost`; another request may follow on the same connection then.
   */
  async join(room: string, name: string, secrets: { token?: string; password?: string } = {}): Promise<Joined> {
    const joined = await new Promise<Reply>((resolve, reject) => {
      const id = this.#expect(
        "join",
        JOIN_TIMEOUT,
        (reply) => {
          // At once, so that what follows is counted.
          if (reply.kind === "joined") this.#enter(reply);
          resolve(reply);
        },
        reject,
      );
      if (id !== null) this.#link?.send({ type: "join", id, room, name, ...secrets });
    });
    return joined as ReplyTo<"join">;
  }

  /** Sends a request, now or when there is a connection. Rejects with the server's error, or `timeout`, `busy`, `not_connected`, `connection_lost`. */
  request<Type extends Request["type"]>(request: Extract<Request, { type: Type }>): Promise<ReplyTo<Type>> {
    return new Promise<Reply>((resolve, reject) => {
      const id = this.#expect(request.type, REQUEST_TIMEOUT, resolve, reject);
      if (id !== null) this.#send({ ...request, id });
    }) as Promise<ReplyTo<Type>>;
  }

  /** Finds out whether the connection still works; there is a reason to doubt it, perhaps one that makes it likely to be dead. */
  doubt(urgent = false): void {
    if (this.#token !== null) this.#sendPing(urgent ? URGENT_PONG_TIMEOUT : PONG_TIMEOUT);
  }

  /** The network may be another one: a connection that is being made is begun anew, one that is there has to show that it works. */
  networkChanged(): void {
    this.doubt(true);
    if (this.#link) return;
    if (this.#resuming && performance.now() - this.#resuming.since >= YOUNG_RESUME) this.#resuming.giveUp(GIVEN_UP);
    this.#dialer.hurry();
  }

  /** Closes the WebSocket; what is unanswered fails with `not_connected`. */
  close(): void {
    this.#end(null);
  }

  /** Notes a request that is to be answered; null if there can't be one more. */
  #expect(
    type: Request["type"],
    patience: number,
    resolve: (reply: Reply) => void,
    reject: (error: SwitchyardError) => void,
  ): number | null {
    if (this.#closed) {
      reject(new SwitchyardError("not_connected", "There is no connection to the server."));
      return null;
    }
    if (Math.max(this.#pending.size, this.#outbox.length) >= MAX_PENDING) {
      reject(new SwitchyardError("busy", "The server has too many requests to answer.", { retryable: true }));
      return null;
    }
    const id = this.#takeId();
    const timeout = new Countdown(patience, () => {
      this.#pending.delete(id);
      const message = `The server did not answer "${type}" in time.`;
      reject(new SwitchyardError("timeout", message, { retryable: true }));
    });
    if (this.#link) timeout.start();
    this.#pending.set(id, { type, timeout, resolve, reject });
    return id;
  }

  #takeId(): number {
    const id = this.#nextId;
    this.#nextId = (id + 1) >>> 0;
    return id;
  }

  #send(message: ClientMessage): void {
    this.#outbox.push(message);
    this.#link?.send(message);
  }

  #enter({ session }: Joined): void {
    this.#token = session.token;
    this.#dialer.established();
    this.#pingLater();
  }

  /** However long a moderator takes, only the loss of the connection ends it. */
  #wait(): void {
    for (const { timeout } of this.#pending.values()) timeout.stop();
    this.#dialer.established();
    this.#pingLater();
    this.emit("waiting");
  }

  #adopt(link: Link): void {
    link.onMessage = (message) => this.#receive(message);
    link.onClose = (code) => this.#lose(code);
  }

  #receive(message: ServerMessage | undefined): void {
    if (this.#token !== null) this.#received += 1;
    // Whatever comes is a sign of life: a pong may have a lot to wait for.
    if (this.#ping) this.#awaitPong(this.#ping.patience);
    switch (message?.type) {
      case "reply":
        this.#answer(message.id, message.result);
        break;
      case "error":
        this.#refuse(message.id, message.error);
        break;
      case "event":
        this.#hear(message.event);
        break;
      default:
        this.emit("error", new SwitchyardError("unexpected_message", "The server sent something that is no message."));
    }
  }

  #hear(event: Event): void {
    if (event.kind === "waiting") this.#wait();
    this.emit("event", event);
    if (event.kind === "closing") this.#end(closeError(event.reason, event.message));
  }

  #answer(id: number, reply: Reply): void {
    this.#confirm(id);
    if (this.#ping?.id === id) {
      this.#roundTrip = Math.max(performance.now() - this.#ping.since, this.#roundTrip * 0.75);
      this.#pingLater();
      return;
    }
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
    if (id !== undefined) this.#confirm(id);
    // A refused ping, of all requests, is as good as an answered one.
    if (id !== undefined && this.#ping?.id === id) {
      this.#pingLater();
      return;
    }
    const pending = id === undefined ? undefined : this.#take(id);
    if (pending) pending.reject(error);
    else this.emit("error", error);
  }

  /** A message that is answered has arrived, and so has what was sent before it. */
  #confirm(id: number): void {
    const index = this.#outbox.findIndex((message) => message.id === id);
    if (index >= 0) this.#forget(index + 1);
  }

  #forget(count: number): void {
    this.#outbox.splice(0, count);
    this.#arrived += count;
  }

  #take(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    pending?.timeout.stop();
    return pending;
  }

  #sendPing(patience: number): void {
    if (!this.#link) return;
    if (this.#ping) {
      if (patience < this.#ping.patience) this.#awaitPong(patience);
      return;
    }
    clearTimeout(this.#pingTimer);
    const id = this.#takeId();
    this.#ping = { id, since: performance.now(), patience, timer: undefined as never };
    this.#awaitPong(patience);
    this.#send({ type: "ping", id, received: this.#received });
  }

  #awaitPong(patience: number): void {
    if (!this.#ping) return;
    clearTimeout(this.#ping.timer);
    this.#ping.patience = patience;
    const slow = Math.min(SLOW_FACTOR * this.#roundTrip, LONGEST_PONG_TIMEOUT);
    this.#ping.timer = setTimeout(() => this.#lose(null), Math.max(patience, slow));
  }

  #pingLater(): void {
    this.#noPing();
    this.#pingTimer = setTimeout(() => this.#sendPing(PONG_TIMEOUT), PING_INTERVAL);
  }

  #noPing(): void {
    clearTimeout(this.#ping?.timer);
    clearTimeout(this.#pingTimer);
    this.#ping = null;
  }

  /** The connection was closed with a code, or is to be given up without one. */
  #lose(code: number | null): void {
    if (this.#token === null) {
      this.#end(
        new SwitchyardError("connection_lost", `The connection to the server was lost (${code}).`, { retryable: true }),
      );
    } else if (code === RESUMED_ELSEWHERE) {
      this.#end(closeError("resumed_elsewhere", "The session goes on over another connection."));
    } else {
      this.#link?.drop(GIVEN_UP);
      this.#link = null;
      this.#noPing();
      for (const { timeout } of this.#pending.values()) timeout.stop();
      this.emit("lost");
      void this.#reconnect(this.#token);
    }
  }

  async #reconnect(token: string): Promise<void> {
    while (!this.#closed) {
      let link: Link;
      try {
        link = await this.#dialer.dial();
      } catch {
        return; // The room was left.
      }
      if (this.#closed) {
        link.drop(1000);
        return;
      }
      const error = await this.#resume(link, token);
      if (!error || this.#closed) return;
      if (error.retryable) {
        link.drop(GIVEN_UP);
        if (error.code !== "connection_lost") this.#dialer.busy();
        continue;
      }
      // The connection is as good as any other: the room can be joined on it.
      if (link.open) this.#dialer.keep(link);
      const message = "The server has lost the session.";
      this.#end(new SwitchyardError("connection_lost", message, { retryable: true, cause: error }));
    }
  }

  /** Asks to go on over a connection; resolves with null once it does. */
  #resume(link: Link, token: string): Promise<SwitchyardError | null> {
    return new Promise((resolve) => {
      const end = (error: SwitchyardError | null) => {
        clearTimeout(timer);
        this.#resuming = null;
        resolve(error);
      };
      const lost = () => {
        end(new SwitchyardError("connection_lost", "The connection was lost again.", { retryable: true }));
      };
      const giveUp = (code: number) => {
        link.drop(code);
        lost();
      };
      const timer = setTimeout(() => giveUp(GIVEN_UP), RESUME_TIMEOUT);
      this.#resuming = { since: performance.now(), giveUp };
      const id = this.#takeId();
      link.onClose = lost;
      // What comes before the reply is not counted, nor is the reply.
      link.onMessage = (message) => {
        if (message?.type === "reply" && message.id === id && message.result.kind === "resumed") {
          end(this.#goOn(link, message.result));
        } else if (message?.type === "error" && message.id === id) {
          end(SwitchyardError.fromProtocol(message.error));
        } else if (message?.type === "event" && message.event.kind === "closing") {
          if (isFarewell(message.event.reason)) {
            end(null);
            this.#hear(message.event);
            link.drop(1000);
            return;
          }
          end(new SwitchyardError(message.event.reason, message.event.message, { retryable: true }));
        }
      };
      link.send({ type: "resume", id, token, received: this.#received });
    });
  }

  /** The server has the session: it gets what it has missed, and its replay follows. */
  #goOn(link: Link, { received, snapshot }: Resumed): SwitchyardError | null {
    const news = received - this.#arrived;
    if (news < 0 || news > this.#outbox.length) {
      link.drop(1000);
      return new SwitchyardError("unexpected_message", "The server has counted other messages than were sent.");
    }
    this.#forget(news);
    this.#link = link;
    this.#adopt(link);
    this.#dialer.established();
    for (const message of this.#outbox) link.send(message);
    for (const { timeout } of this.#pending.values()) timeout.start();
    this.#pingLater();
    this.emit("resumed", snapshot ?? null);
    return null;
  }

  #end(error: SwitchyardError | null): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#noPing();
    this.#link?.drop(1000);
    this.#link = null;
    this.#resuming?.giveUp(1000);
    this.#outbox = [];
    const reason = error ?? new SwitchyardError("not_connected", "The connection to the server was closed.");
    for (const id of [...this.#pending.keys()]) this.#take(id)?.reject(reason);
    this.emit("closed", error);
  }
}
