import { decode, encode } from "@msgpack/msgpack";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { Dialer } from "./dialer.js";
import type { SwitchyardError } from "./errors.js";
import type { Snapshot } from "./protocol.js";
import {
  MAX_PENDING,
  PING_INTERVAL,
  PONG_TIMEOUT,
  REQUEST_TIMEOUT,
  RESUME_TIMEOUT,
  Signaling,
  URGENT_PONG_TIMEOUT,
} from "./signaling.js";
import { seeded } from "./testing/random.js";
import { FakeServer, joinedAs, SETTINGS } from "./testing/server.js";
import { FakeSocket } from "./testing/socket.js";

let socket: FakeSocket;
let server: FakeServer;
let dialer: Dialer;
let signaling: Signaling;
let told: unknown[];

/** What is due, and what becomes due by that. */
const settle = async () => {
  for (let turn = 0; turn < 3; turn += 1) await vi.advanceTimersByTimeAsync(1);
};

function follow(): void {
  told = [];
  signaling.on("event", (event) => told.push(event.kind === "chat" ? event.message.text : event.kind));
  signaling.on("error", ({ code }) => told.push(code));
  signaling.on("lost", () => told.push("lost"));
  signaling.on("resumed", (snapshot) => told.push(snapshot ?? "resumed"));
  signaling.on("closed", (error) => told.push({ closed: error?.code ?? null }));
}

/** Joined over a socket whose other end is the test. */
async function connected(encoding: "json" | "msgpack" = "json"): Promise<void> {
  const openSocket = (_: string, subprotocol: string) => (socket = new FakeSocket(subprotocol)) as never;
  dialer = new Dialer({
    url: "wss://example.org/v1/ws",
    encoding,
    openSocket,
    knocks: false,
    fetch: async () => new Response(),
  });
  const opened = dialer.first();
  socket.fire("open");
  signaling = new Signaling(dialer, await opened);
  follow();
}

/** Joined at a server that keeps the session. */
async function joined(random: () => number = () => 0): Promise<void> {
  server = new FakeServer();
  const fetch = async () => {
    if (server.away) throw new TypeError("refused");
    return new Response();
  };
  const { openSocket } = server;
  dialer = new Dialer({ url: "wss://example.org/v1/ws", encoding: "json", openSocket, knocks: false, fetch }, random);
  signaling = new Signaling(dialer, await dialer.first());
  follow();
  const entered = signaling.join("demo", "Ada");
  server.wire.deliver();
  await entered;
}

/** The client notices the loss, connects again and resumes. */
async function resumed(): Promise<void> {
  await settle();
  server.wire.deliver();
  await settle();
}

function say(text: string): void {
  server.event({ kind: "chat", message: { from: 1, text, at: 0 } });
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  signaling.close();
  dialer.close();
  vi.useRealTimers();
});

describe("requests", () => {
  test("each reply goes to the request with its id, in whatever order they come", async () => {
    await connected();
    const chat = signaling.request({ type: "chat", text: "hello" });
    const ping = signaling.request({ type: "ping" });
    const [first, second] = socket.requests;
    expect(first?.id).not.toBe(second?.id);
    socket.reply(second?.id ?? 0, { kind: "pong" });
    socket.reply(first?.id ?? 0, { kind: "done" });
    expect(await chat).toEqual({ kind: "done" });
    expect(await ping).toEqual({ kind: "pong" });
  });

  test("the server's error reaches the request it is for, typed", async () => {
    await connected();
    const join = signaling.join("full", "Ada");
    socket.refuse(socket.last("join").id, { code: "limit_reached", message: "the room is full", retryable: true });
    await expect(join).rejects.toMatchObject({ code: "limit_reached", message: "the room is full", retryable: true });
  });

  test("an error without a request is an event", async () => {
    await connected();
    socket.refuse(undefined, { code: "malformed", message: "what?", retryable: false });
    expect(told).toEqual(["malformed"]);
  });

  test("a request unanswered for 30 seconds fails with a typed timeout, and its late reply is ignored", async () => {
    await connected();
    const chat = signaling.request({ type: "chat", text: "hello" });
    let failed: SwitchyardError | undefined;
    chat.catch((error: SwitchyardError) => (failed = error));
    await vi.advanceTimersByTimeAsync(REQUEST_TIMEOUT - 1);
    expect(failed).toBeUndefined();
    await vi.advanceTimersByTimeAsync(1);
    expect(failed).toMatchObject({ code: "timeout", retryable: true });
    expect(REQUEST_TIMEOUT).toBe(30_000);
    socket.reply(socket.last("chat").id, { kind: "done" });
    expect(told).toEqual([]);
  });

  test("an answered request leaves no timer behind", async () => {
    await connected();
    const ping = signaling.request({ type: "ping" });
    socket.reply(socket.last("ping").id, { kind: "pong" });
    await ping;
    expect(vi.getTimerCount()).toBe(0);
  });

  test("a reply of the wrong kind fails its request", async () => {
    await connected();
    const ping = signaling.request({ type: "ping" });
    socket.reply(socket.last("ping").id, { kind: "done" });
    await expect(ping).rejects.toMatchObject({ code: "unexpected_message" });
  });

  test("beyond the bound they are refused at once, connected or not", async () => {
    await joined();
    server.wire.cut();
    const pending = Array.from({ length: MAX_PENDING }, () => signaling.request({ type: "chat", text: "x" }));
    const over = signaling.request({ type: "chat", text: "x" });
    await expect(over).rejects.toMatchObject({ code: "busy", retryable: true });
    await resumed();
    await Promise.all(pending);
    await Promise.all([signaling.request({ type: "chat", text: "x" }), resumed()]);
  });

  test("before the join is answered a lost connection is the end, for there is nothing to go on with", async () => {
    await connected();
    const join = signaling.join("demo", "Ada");
    socket.fire("close", { code: 1006 });
    await expect(join).rejects.toMatchObject({ code: "connection_lost", retryable: true });
    expect(told).toEqual([{ closed: "connection_lost" }]);
    await expect(signaling.request({ type: "ping" })).rejects.toMatchObject({ code: "not_connected" });
  });
});

describe("a lost connection", () => {
  test("is replaced, and the session goes on where it was", async () => {
    await joined();
    say("one");
    say("two");
    server.wire.deliver();
    server.wire.cut();
    say("three");
    await resumed();
    expect(server.wires).toHaveLength(2);
    expect(server.wire.requests[0]).toMatchObject({ type: "resume", token: "token of 7", received: 2 });
    expect(told).toEqual(["one", "two", "lost", "resumed", "three"]);
    expect(signaling.connected).toBe(true);
  });

  test("loses no request: what the server did not get is sent again in its order, what it got is not", async () => {
    await joined();
    const requests = ["a", "b", "c", "d"].map((text) => signaling.request({ type: "chat", text }));
    server.wire.deliverUp();
    server.wire.deliverUp();
    server.wire.deliverDown(); // Of the first the reply arrives, of the second it gets lost.
    server.wire.cut();
    requests.push(signaling.request({ type: "chat", text: "e" }));
    await resumed();
    await Promise.all(requests);
    const texts = (messages: readonly object[]) => messages.map((message) => (message as { text?: string }).text);
    expect(texts(server.handled)).toEqual(["a", "b", "c", "d", "e"]);
    expect(texts(server.wire.requests.slice(1))).toEqual(["c", "d", "e"]);
  });

  test("lets the time of requests stand still", async () => {
    await joined(() => 0.5);
    server.answer = () => ({ kind: "pong" });
    let failed = false;
    signaling.request({ type: "leave" }).catch(() => (failed = true));
    await vi.advanceTimersByTimeAsync(1_000);
    server.away = true;
    server.wire.cut();
    await vi.advanceTimersByTimeAsync(REQUEST_TIMEOUT * 2);
    expect(failed).toBe(false);
    server.away = false;
    while (server.wire.up.length === 0) await vi.advanceTimersByTimeAsync(100);
    server.wire.deliverUp(); // The resumption, but no reply to the request after it.
    server.wire.deliverDown();
    await settle();
    expect(told.at(-1)).toBe("resumed");
    await vi.advanceTimersByTimeAsync(1_000);
    expect(failed).toBe(false);
    // One second before the loss, one after it, and the rest. Pings are answered meanwhile, the request is not.
    for (let passed = 2_000; passed < REQUEST_TIMEOUT; passed += 100) {
      server.wire.up.splice(0, server.wire.up.length, ...server.wire.up.filter(({ type }) => type === "ping"));
      server.wire.deliver();
      expect(failed).toBe(false);
      await vi.advanceTimersByTimeAsync(100);
    }
    expect(failed).toBe(true);
  });

  test("counts errors and what it doesn't understand as the server does", async () => {
    await connected();
    const join = signaling.join("demo", "Ada");
    const first = socket;
    socket.reply(socket.last("join").id, { kind: "joined", ...joinedAs(7) });
    await join;
    first.refuse(undefined, { code: "timeout", message: "no answer", retryable: true });
    first.fire("message", { data: '{"type":"from the future"}' });
    first.fire("close", { code: 1006 });
    await vi.advanceTimersByTimeAsync(200);
    socket.fire("open");
    await settle();
    expect(socket.last("resume").received).toBe(2);
    socket.refuse(undefined, { code: "internal", message: "before the reply: not counted", retryable: true });
    socket.reply(socket.last("resume").id, { kind: "resumed", received: 0 });
    socket.event({ kind: "chat", message: { from: 1, text: "counted", at: 0 } });
    const second = socket;
    second.fire("close", { code: 1006 });
    await vi.advanceTimersByTimeAsync(2_000);
    expect(socket).not.toBe(second);
    socket.fire("open");
    await settle();
    expect(socket.last("resume").received).toBe(3);
  });

  test("that says nothing more for good is dropped late messages and all", async () => {
    await joined();
    const { wire } = server;
    wire.mute();
    signaling.doubt();
    await vi.advanceTimersByTimeAsync(PONG_TIMEOUT);
    expect(wire.closedWith).toBe(4000);
    wire.receive({ type: "event", event: { kind: "chat", message: { from: 1, text: "late", at: 0 } } });
    await resumed();
    expect(server.wire.requests[0]).toMatchObject({ type: "resume", received: 0 });
    expect(told).toEqual(["lost", "resumed"]);
  });

  test("brings the room as it is now if too much was missed, and the replies all the same", async () => {
    await joined();
    const chat = signaling.request({ type: "chat", text: "hello" });
    server.wire.deliverUp();
    server.wire.cut();
    say("missed for good");
    const snapshot: Snapshot = { participants: [{ id: 2, name: "Tim", tracks: [] }], slots: [], settings: SETTINGS };
    server.snapshot = snapshot;
    await resumed();
    expect(await chat).toEqual({ kind: "done" });
    expect(told).toEqual(["lost", snapshot]);
  });

  test("is given up, and so is its successor, until one serves", async () => {
    await joined();
    server.wire.cut();
    await settle();
    server.wire.mute(); // Connected, but nothing gets through.
    await vi.advanceTimersByTimeAsync(RESUME_TIMEOUT);
    await settle();
    expect(server.wire).not.toBe(server.wires[1]);
    await resumed();
    expect(told).toEqual(["lost", "resumed"]);
  });
});

describe("a session", () => {
  test("that the server has lost is over, and its connection is kept to join on", async () => {
    await joined();
    const chat = signaling.request({ type: "chat", text: "hello" });
    const failed = expect(chat).rejects.toMatchObject({ code: "connection_lost", retryable: true });
    server.wire.cut();
    server.forget();
    await resumed();
    await failed;
    expect(told).toEqual(["lost", { closed: "connection_lost" }]);
    expect(server.wire.closedWith).toBeUndefined();
    const link = await dialer.dial();
    expect(server.wires).toHaveLength(2);
    expect(link.open).toBe(true);
  });

  test("is over at once, with the reason, when the server says that it closes", async () => {
    await joined();
    server.event({ kind: "closing", reason: "shutting_down", message: "maintenance" });
    server.wire.deliver();
    expect(told).toEqual(["closing", { closed: "shutting_down" }]);
    expect(server.wire.closedWith).toBe(1000);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(server.wires).toHaveLength(1);
  });

  test.each(["by an event", "by the close code alone"])(
    "that goes on elsewhere is not resumed: told %s",
    async (how) => {
      await joined();
      if (how === "by an event") {
        server.event({ kind: "closing", reason: "resumed_elsewhere", message: "moved" });
        server.wire.deliver();
      } else {
        server.wire.fire("close", { code: 4001 });
      }
      expect(told.at(-1)).toEqual({ closed: "resumed_elsewhere" });
      await vi.advanceTimersByTimeAsync(60_000);
      expect(server.wires).toHaveLength(1);
    },
  );

  test("whose counts the server gets wrong is not gone on with", async () => {
    await connected();
    const join = signaling.join("demo", "Ada");
    socket.reply(socket.last("join").id, { kind: "joined", ...joinedAs(7) });
    await join;
    socket.fire("close", { code: 1006 });
    await vi.advanceTimersByTimeAsync(200);
    socket.fire("open");
    await settle();
    socket.reply(socket.last("resume").id, { kind: "resumed", received: 5 });
    await settle();
    expect(told).toEqual(["lost", { closed: "connection_lost" }]);
    expect(socket.closedWith).toBe(1000);
  });

  test("that is busy is resumed later", async () => {
    await joined();
    server.wire.cut();
    await settle();
    const { id } = server.wire.last("resume");
    server.wire.refuse(id, { code: "rate_limited", message: "slowly", retryable: true });
    await vi.advanceTimersByTimeAsync(900);
    expect(server.wires).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(100);
    await resumed();
    expect(told).toEqual(["lost", "resumed"]);
  });

  test.each(["while nothing is tried", "while it connects", "while it resumes"])("can be closed %s", async (when) => {
    await joined(() => (when === "while nothing is tried" ? 1 : 0));
    server.away = when === "while nothing is tried";
    server.wire.cut();
    if (when === "while it resumes") await settle();
    const chat = signaling.request({ type: "chat", text: "never" });
    signaling.close();
    dialer.close();
    await expect(chat).rejects.toMatchObject({ code: "not_connected" });
    await vi.advanceTimersByTimeAsync(60_000);
    if (when === "while it resumes") expect(server.wire.closedWith).toBe(1000);
    expect(server.wires.length).toBeLessThanOrEqual(2);
    expect(told).toEqual(["lost", { closed: null }]);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("pings", () => {
  test("are sent every ten seconds and say what has arrived", async () => {
    await joined();
    say("one");
    server.wire.deliver();
    await vi.advanceTimersByTimeAsync(PING_INTERVAL);
    expect(server.wire.last("ping")).toMatchObject({ received: 1 });
    server.wire.deliver();
    await vi.advanceTimersByTimeAsync(PING_INTERVAL);
    expect(server.wire.last("ping")).toMatchObject({ received: 2 });
    expect(PING_INTERVAL).toBe(10_000);
  });

  test("are sent at once in doubt, one at a time, and two seconds later the connection is given up", async () => {
    await joined();
    server.wire.mute();
    signaling.doubt();
    signaling.doubt();
    expect(server.wire.requests.filter(({ type }) => type === "ping")).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(PONG_TIMEOUT - 1);
    expect(told).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(told).toEqual(["lost"]);
    expect(PONG_TIMEOUT).toBe(2_000);
  });

  test("have to be answered sooner when the network has changed, also one that is under way", async () => {
    await joined();
    server.wire.mute();
    signaling.doubt();
    signaling.networkChanged();
    await vi.advanceTimersByTimeAsync(URGENT_PONG_TIMEOUT);
    expect(told).toEqual(["lost"]);
  });

  test("that are answered change nothing", async () => {
    await joined();
    signaling.doubt();
    server.wire.deliver();
    await vi.advanceTimersByTimeAsync(PONG_TIMEOUT * 2);
    expect(told).toEqual([]);
  });

  test("may take longer when something else comes meanwhile", async () => {
    await joined();
    signaling.doubt();
    await vi.advanceTimersByTimeAsync(PONG_TIMEOUT - 1);
    say("a large room");
    server.wire.deliverDown();
    await vi.advanceTimersByTimeAsync(PONG_TIMEOUT - 1);
    expect(told).toEqual(["a large room"]);
    await vi.advanceTimersByTimeAsync(1);
    expect(told).toEqual(["a large room", "lost"]);
  });

  test("may take longer on a line that is known to be slow", async () => {
    await joined();
    signaling.doubt();
    await vi.advanceTimersByTimeAsync(1_500);
    server.wire.deliver();
    signaling.doubt();
    await vi.advanceTimersByTimeAsync(5_999);
    expect(told).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(told).toEqual(["lost"]);
  });
});

// Whatever gets lost and whenever, both sides see everything once and in order.
test.each(Array.from({ length: 100 }, (_, seed) => seed))("no message is lost or doubled, seed %d", async (seed) => {
  const random = seeded(seed);
  await joined(random);
  const below = (count: number) => Math.floor(random() * count);
  const requests: Promise<unknown>[] = [];
  const said: string[] = [];
  const heard = () => told.filter((each) => typeof each === "string" && each.startsWith("event"));
  for (let step = 0; step < 120; step += 1) {
    const choice = below(20);
    if (choice < 5) {
      const text = `request ${requests.length}`;
      requests.push(signaling.request({ type: "chat", text }));
    } else if (choice < 10) {
      said.push(`event ${said.length}`);
      say(said.at(-1) as string);
    } else if (choice < 13) {
      server.wire.deliverUp();
    } else if (choice < 16) {
      server.wire.deliverDown();
    } else if (choice < 17) {
      server.wire.deliver();
    } else if (choice < 18) {
      if (below(2) === 0) server.wire.cut();
      else server.wire.mute();
    } else if (choice < 19) {
      signaling.doubt();
    } else {
      await vi.advanceTimersByTimeAsync(below(4_000));
    }
    await settle();
  }
  for (let round = 0; round < 100 && heard().length + server.handled.length < said.length; round += 1) {
    server.wire.deliver();
    await vi.advanceTimersByTimeAsync(500);
  }
  signaling.doubt();
  for (let round = 0; round < 40; round += 1) {
    server.wire.deliver();
    await vi.advanceTimersByTimeAsync(500);
  }
  await Promise.all(requests);
  expect(heard()).toEqual(said);
  const texts = server.handled
    .filter(({ type }) => type === "chat")
    .map((message) => "text" in message && message.text);
  expect(texts).toEqual(requests.map((_, index) => `request ${index}`));
});

test("MessagePack goes in binary frames, without the fields that are undefined", async () => {
  await connected("msgpack");
  expect(socket.binaryType).toBe("arraybuffer");
  const chat = signaling.request({ type: "chat", text: "hello" });
  expect(decode(socket.frames[0] as Uint8Array)).toEqual({ id: 1, type: "chat", text: "hello" });
  const bytes = encode({ type: "reply", id: 1, result: { kind: "done" } });
  socket.fire("message", { data: bytes.slice().buffer });
  expect(await chat).toEqual({ kind: "done" });
});

test.each([
  ["no JSON", "{"],
  ["no message", "[]"],
  ["an unknown envelope", '{"type":"greeting"}'],
  ["a reply without an id", '{"type":"reply","result":{"kind":"done"}}'],
  ["a binary frame", new ArrayBuffer(3)],
])("%s from the server is an error, not a crash", async (_, data) => {
  await connected();
  socket.fire("message", { data });
  expect(told).toEqual(["unexpected_message"]);
});
