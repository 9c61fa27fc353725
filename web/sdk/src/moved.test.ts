import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import type { Event } from "./protocol.js";
import type { Room } from "./room.js";
import { FakeConnection } from "./testing/connection.js";
import { roomOver } from "./testing/room.js";
import { joinedAs } from "./testing/server.js";
import type { FakeSocket } from "./testing/socket.js";

let sockets: FakeSocket[];
let room: Room;
const socket = () => sockets.at(-1)!;
const settle = () => vi.advanceTimersByTimeAsync(10);

const TO = { room: "side", token: "passage.3f0e1d2c4b5a69788796a5b4c3d2e1f0" };
const MOVED: Event = { kind: "closing", reason: "moved", message: "you were moved to another room", to: TO };

/** Has the join that was asked for last succeed. */
async function letIn(id: number, where: string): Promise<void> {
  socket().reply(socket().last("join").id, { kind: "joined", ...joinedAs(id), room: where });
  await settle();
  socket().reply(socket().last("offer").id, { kind: "answer", sdp: "answer" });
  await settle();
}

/** The next connection opens. */
async function opened(): Promise<void> {
  const before = sockets.length;
  while (sockets.length === before) await vi.advanceTimersByTimeAsync(100);
  socket().fire("open");
  await settle();
}

beforeEach(async () => {
  sockets = [];
  vi.useFakeTimers();
  vi.stubGlobal("RTCPeerConnection", FakeConnection);
  vi.stubGlobal("window", new EventTarget());
  room = roomOver(sockets);
  const connected = room.connect("wss://example.org/v1/ws", { room: "demo", name: "Ada", token: "own", password: "x" });
  socket().fire("open");
  await settle();
  await letIn(7, "demo");
  await connected;
});
afterEach(() => {
  room.leave();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("who is moved to another room", () => {
  test("joins it with what lets them in there, and is told so", async () => {
    const told: string[] = [];
    room.on("rejoined", () => told.push("rejoined"));
    room.on("moved", (where) => told.push(where));
    const opens = opened();
    socket().event(MOVED);
    await opens;
    expect(room.outage).toMatchObject({ rejoining: true, error: { code: "moved" } });
    expect(socket().last("join")).toMatchObject({ room: "side", name: "Ada", token: TO.token });
    expect(socket().last("join")).not.toHaveProperty("password");
    await letIn(3, "side");
    expect([room.id, room.localParticipant.id, told]).toEqual(["side", 3, ["rejoined", "side"]]);
  });

  test("comes back to that room after an outage, and is moved only once", async () => {
    let opens = opened();
    socket().event(MOVED);
    await opens;
    await letIn(3, "side");
    const moved = vi.fn();
    room.on("moved", moved);
    opens = opened();
    socket().event({ kind: "closing", reason: "too_slow", message: "" });
    await opens;
    expect(socket().last("join")).toMatchObject({ room: "side", token: TO.token });
    await letIn(4, "side");
    expect(moved).not.toHaveBeenCalled();
  });

  test.each([
    ["unauthorized", 1],
    ["forbidden", 1],
    ["room_locked", 1],
    ["limit_reached", 3],
  ] as const)("goes back to the first room if the other one doesn't take them: %s, %i times", async (code, times) => {
    let opens = opened();
    socket().event(MOVED);
    await opens;
    await letIn(3, "side");
    const errors: unknown[] = [];
    const moved: string[] = [];
    room.on("error", (error) => errors.push(error.code));
    room.on("moved", (where) => moved.push(where));
    opens = opened();
    socket().event({ kind: "closing", reason: "too_slow", message: "" });
    await opens;
    for (let at = 0; at < times; at++) {
      expect(socket().last("join")).toMatchObject({ room: "side", token: TO.token });
      opens = opened();
      const retryable = code === "limit_reached" || code === "room_locked";
      socket().refuse(socket().last("join").id, { code, message: "no", retryable });
      socket().fire("close", { code: 1008 });
      await opens;
    }
    expect(socket().last("join")).toMatchObject({ room: "demo", token: "own", password: "x" });
    expect(room.outage?.error?.code).toBe(code);
    await letIn(8, "demo");
    expect([room.id, room.state, errors, moved]).toEqual(["demo", "reconnecting", [code], ["demo"]]);
  });
});

describe("who was away", () => {
  /** Loses the connection, and is told this when they ask to go on over the next. */
  async function awayUntil(event: Event): Promise<void> {
    const opens = opened();
    socket().fire("close", { code: 1006 });
    await opens;
    expect(socket().last("resume")).toBeDefined();
    socket().event(event);
    await settle();
  }

  test.each(["removed", "room_closed"] as const)("hears that it is over, and stays out: %s", async (reason) => {
    const ended = new Promise((resolve) => room.on("disconnected", resolve));
    await awayUntil({ kind: "closing", reason, message: "over" });
    expect(await ended).toMatchObject({ code: reason, retryable: false });
    const before = sockets.length;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(sockets.length).toBe(before);
  });

  test("follows to where they were moved", async () => {
    await awayUntil(MOVED);
    await opened();
    expect(socket().last("join")).toMatchObject({ room: "side", token: TO.token });
  });
});
