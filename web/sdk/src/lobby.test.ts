import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import type { Guest } from "./protocol.js";
import type { ConnectOptions, Room } from "./room.js";
import { FakeConnection } from "./testing/connection.js";
import { roomOver } from "./testing/room.js";
import { joinedAs, SETTINGS } from "./testing/server.js";
import type { FakeSocket } from "./testing/socket.js";

const BEN: Guest = { id: 3, name: "Ben", identity: "ben@example.org" };

let sockets: FakeSocket[];
let room: Room;
const socket = () => sockets.at(-1)!;

/** Everything that is waiting for a turn of the loop. */
const settle = () => vi.advanceTimersByTimeAsync(10);

/** Asks to come in; what becomes of it. */
async function connecting(options: Partial<ConnectOptions> = {}) {
  room = roomOver(sockets);
  const connected = room.connect("wss://example.org/v1/ws", { room: "demo", name: "Ada", ...options });
  const outcome = connected.then(
    () => "joined",
    (error: unknown) => error,
  );
  socket().fire("open");
  await settle();
  return { outcome };
}

/** Lets in who asked last. */
async function letIn(): Promise<void> {
  socket().reply(socket().last("join").id, { kind: "joined", ...joinedAs(7) });
  await settle();
  socket().reply(socket().last("offer").id, { kind: "answer", sdp: "answer" });
}

beforeEach(() => {
  sockets = [];
  vi.useFakeTimers();
  vi.stubGlobal("RTCPeerConnection", FakeConnection);
  vi.stubGlobal("window", new EventTarget());
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("who has to be let in", () => {
  test("waits for as long as it takes, with signs of life, and is in then", async () => {
    const { outcome } = await connecting();
    const told: boolean[] = [];
    room.on("waitingChanged", (waiting) => told.push(waiting));
    socket().event({ kind: "waiting" });
    expect([room.waiting, room.state]).toEqual([true, "connecting"]);
    for (let minute = 0; minute < 10; minute++) {
      for (let ping = 0; ping < 6; ping++) {
        await vi.advanceTimersByTimeAsync(10_000);
        socket().reply(socket().last("ping").id, { kind: "pong" });
      }
    }
    expect(room.waiting).toBe(true);
    await letIn();
    expect(await outcome).toBe("joined");
    expect([room.waiting, told]).toEqual([false, [true, false]]);
    // The server counts what was said while waiting, too.
    const pings = socket().requests.filter(({ type }) => type === "ping").length;
    const after = socket().requests.length - 1 - pings;
    socket().fire("close", { code: 1006 });
    await vi.advanceTimersByTimeAsync(5_000);
    socket().fire("open");
    await settle();
    socket().reply(socket().last("resume").id, { kind: "resumed", received: pings + after });
    await settle();
    expect(room.outage?.signaling ?? false).toBe(false);
  });

  test("goes on waiting over another connection when one is lost", async () => {
    const { outcome } = await connecting();
    socket().event({ kind: "waiting" });
    socket().fire("close", { code: 1006 });
    await vi.advanceTimersByTimeAsync(5_000);
    expect([sockets.length > 1, room.waiting]).toEqual([true, true]);
    socket().fire("open");
    await settle();
    expect(socket().last("join")).toMatchObject({ room: "demo", name: "Ada" });
    socket().event({ kind: "waiting" });
    await letIn();
    expect(await outcome).toBe("joined");
  });

  test("and is not, hears so", async () => {
    const { outcome } = await connecting();
    socket().event({ kind: "waiting" });
    const error = { code: "not_admitted", message: "a moderator has not let you in", retryable: false } as const;
    socket().refuse(socket().last("join").id, error);
    expect(await outcome).toMatchObject({ code: "not_admitted" });
    expect([room.waiting, room.state]).toEqual([false, "disconnected"]);
  });
});

test("a password goes along with the join, and another one is an error of its own", async () => {
  const { outcome } = await connecting({ password: "coffee" });
  expect(socket().last("join").password).toBe("coffee");
  const error = { code: "wrong_password", message: "the room has another password", retryable: false } as const;
  socket().refuse(socket().last("join").id, error);
  expect(await outcome).toMatchObject({ code: "wrong_password" });
});

test("a moderator hears who waits, lets in and sends away, one or all", async () => {
  const { outcome } = await connecting();
  await letIn();
  await outcome;
  const told: number[] = [];
  room.on("guestsChanged", (guests) => told.push(guests.length));
  for (const guests of [[], [BEN], []]) socket().event({ kind: "guests", guests });
  expect([told, room.guests]).toEqual([[1, 0], []]);
  const asked = [() => room.admit(3), () => room.admit(), () => room.deny(3), () => room.deny()];
  for (const ask of asked) {
    const done = ask();
    await settle();
    socket().reply(socket().requests.at(-1)!.id, { kind: "done" });
    await done;
  }
  const { length } = socket().requests;
  const sent = socket().requests.slice(length - 4);
  expect(sent.map(({ type, ...rest }) => [type, "guest" in rest ? rest.guest : "all"])).toEqual([
    ["admit", 3],
    ["admit", "all"],
    ["deny", 3],
    ["deny", "all"],
  ]);
  expect(room.settings).toEqual(SETTINGS);
});
