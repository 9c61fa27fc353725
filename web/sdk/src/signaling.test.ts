import { decode, encode } from "@msgpack/msgpack";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import type { SwitchyardError } from "./errors.js";
import { MAX_PENDING, OPEN_TIMEOUT, REQUEST_TIMEOUT, Signaling } from "./signaling.js";
import { FakeSocket } from "./testing/socket.js";

let socket: FakeSocket;

async function connected(encoding: "json" | "msgpack" = "json"): Promise<Signaling> {
  const opened = Signaling.open("wss://example.org/v1/ws", encoding, (_, subprotocol) => {
    socket = new FakeSocket(subprotocol);
    return socket as never;
  });
  socket.fire("open");
  return await opened;
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("each reply goes to the request with its id, in whatever order they come", async () => {
  const signaling = await connected();
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
  const signaling = await connected();
  const join = signaling.request({ type: "join", room: "full", name: "Ada" });
  socket.refuse(socket.last("join").id, { code: "limit_reached", message: "the room is full", retryable: true });
  await expect(join).rejects.toMatchObject({ code: "limit_reached", message: "the room is full", retryable: true });
});

test("an error without a request is an event", async () => {
  const signaling = await connected();
  const errors: SwitchyardError[] = [];
  signaling.on("error", (error) => errors.push(error));
  socket.refuse(undefined, { code: "malformed", message: "what?", retryable: false });
  expect(errors).toMatchObject([{ code: "malformed" }]);
});

test("a request unanswered for 30 seconds fails with a typed timeout, and its late reply is ignored", async () => {
  const signaling = await connected();
  const ping = signaling.request({ type: "ping" });
  const failed = expect(ping).rejects.toMatchObject({ code: "timeout", retryable: true });
  await vi.advanceTimersByTimeAsync(REQUEST_TIMEOUT - 1);
  expect(vi.getTimerCount()).toBe(1);
  await vi.advanceTimersByTimeAsync(1);
  await failed;
  expect(REQUEST_TIMEOUT).toBe(30_000);
  socket.reply(socket.last("ping").id, { kind: "pong" });
});

test("requests that have timed out don't count as unanswered any more", async () => {
  const signaling = await connected();
  const pending = Array.from({ length: MAX_PENDING }, () => signaling.request({ type: "ping" }).catch(() => {}));
  await vi.advanceTimersByTimeAsync(REQUEST_TIMEOUT);
  await Promise.all(pending);
  const ping = signaling.request({ type: "ping" });
  socket.reply(socket.last("ping").id, { kind: "pong" });
  await ping;
});

test("an answered request leaves no timer behind", async () => {
  const signaling = await connected();
  const ping = signaling.request({ type: "ping" });
  socket.reply(socket.last("ping").id, { kind: "pong" });
  await ping;
  expect(vi.getTimerCount()).toBe(0);
});

test("a reply of the wrong kind fails its request", async () => {
  const signaling = await connected();
  const ping = signaling.request({ type: "ping" });
  socket.reply(socket.last("ping").id, { kind: "done" });
  await expect(ping).rejects.toMatchObject({ code: "unexpected_message" });
});

test("requests beyond the bound are refused at once", async () => {
  const signaling = await connected();
  const pending = Array.from({ length: MAX_PENDING }, () => signaling.request({ type: "ping" }).catch(() => {}));
  await expect(signaling.request({ type: "ping" })).rejects.toMatchObject({ code: "busy", retryable: true });
  signaling.close();
  await Promise.all(pending);
});

test("a lost connection fails everything unanswered and says so once", async () => {
  const signaling = await connected();
  const closed: unknown[] = [];
  signaling.on("closed", (error) => closed.push(error));
  const ping = signaling.request({ type: "ping" });
  socket.fire("close", { code: 1006 });
  socket.fire("close", { code: 1006 });
  await expect(ping).rejects.toMatchObject({ code: "connection_lost", retryable: true });
  expect(closed).toMatchObject([{ code: "connection_lost" }]);
  await expect(signaling.request({ type: "ping" })).rejects.toMatchObject({ code: "not_connected" });
});

test("the reason the server gave before it closed is the reason that is told", async () => {
  const signaling = await connected();
  const closed: unknown[] = [];
  signaling.on("closed", (error) => closed.push(error));
  socket.event({ kind: "closing", reason: "shutting_down", message: "maintenance" });
  socket.fire("close", { code: 1001 });
  expect(closed).toMatchObject([{ code: "shutting_down", message: "maintenance", retryable: true }]);
});

test("closing tells of no error", async () => {
  const signaling = await connected();
  const closed: unknown[] = [];
  signaling.on("closed", (error) => closed.push(error));
  signaling.close();
  expect(closed).toEqual([null]);
  expect(socket.closedWith).toBe(1000);
});

describe("opening", () => {
  const open = (fake: FakeSocket) => Signaling.open("wss://example.org/v1/ws", "json", () => fake as never);

  test("fails if the server can't be reached", async () => {
    const fake = new FakeSocket("");
    const opened = open(fake);
    fake.fire("close");
    await expect(opened).rejects.toMatchObject({ code: "connection_failed", retryable: true });
  });

  test("fails if the server takes another subprotocol", async () => {
    const fake = new FakeSocket("something.else");
    const opened = open(fake);
    fake.fire("open");
    await expect(opened).rejects.toMatchObject({ code: "connection_failed" });
  });

  test("fails if it takes too long", async () => {
    const fake = new FakeSocket("");
    const failed = expect(open(fake)).rejects.toMatchObject({ code: "timeout" });
    await vi.advanceTimersByTimeAsync(OPEN_TIMEOUT);
    await failed;
  });

  test("fails if the address is none", async () => {
    const opened = Signaling.open("nonsense", "json", () => {
      throw new SyntaxError("no");
    });
    await expect(opened).rejects.toMatchObject({ code: "connection_failed" });
  });
});

test("MessagePack goes in binary frames, without the fields that are undefined", async () => {
  const signaling = await connected("msgpack");
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
  const signaling = await connected();
  const errors: SwitchyardError[] = [];
  signaling.on("error", (error) => errors.push(error));
  socket.fire("message", { data });
  expect(errors).toMatchObject([{ code: "unexpected_message" }]);
});
