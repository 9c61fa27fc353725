// What a room does when its peer connection can't be repaired.
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { LocalTrack } from "./local.js";
import type { ClientMessage, Participant, Reply, Source } from "./protocol.js";
import { Room } from "./room.js";
import { type FakeChannel, FakeConnection } from "./testing/connection.js";
import { FakeServer, suitable } from "./testing/server.js";

const GRACE: Participant = {
  id: 1,
  name: "Grace",
  tracks: [{ id: 10, kind: "video", source: "camera", muted: false }],
};
const TRACKS: Partial<Record<Source, number>> = { microphone: 21, camera: 22, screen: 23 };

let server: FakeServer;
let room: Room;
let told: unknown[];
let connection: FakeConnection;
/** How many messages the server has got on the connection before. */
let came: number;

async function pass(milliseconds: number): Promise<void> {
  for (let passed = 0; passed < milliseconds; passed += 10) {
    for (const wire of server.wires) wire.deliver();
    await vi.advanceTimersByTimeAsync(10);
  }
}

function channel(of: FakeConnection): FakeChannel {
  return of.channels[0] as FakeChannel;
}

function media(kind: "audio" | "video"): MediaStreamTrack {
  const track = { kind, readyState: "live", enabled: true, stop: () => {}, getSettings: () => ({}) };
  return Object.assign(new EventTarget(), track) as unknown as MediaStreamTrack;
}

function answer(message: ClientMessage): Reply {
  if (message.type === "renew") return { kind: "renewed", received: came, ice_servers: [{ urls: ["turn:fresh"] }] };
  if (message.type === "publish") return { kind: "published", track: TRACKS[message.source] ?? 0 };
  return suitable(message);
}

/** Grace's picture is there, and the data channel. */
async function joined(tracks: LocalTrack[] = []): Promise<void> {
  server.participants = [GRACE];
  const connected = room.connect("wss://example.org/v1/ws", { room: "demo", name: "Ada", tracks });
  await vi.advanceTimersByTimeAsync(1);
  server.wire.deliver();
  await vi.advanceTimersByTimeAsync(1);
  await pass(100);
  await connected;
  connection = FakeConnection.latest;
  connection.become("connected");
  channel(connection).become("open");
  server.event({ kind: "offer", revision: 1, sdp: "recv:s0" });
  server.event({ kind: "slots", slots: [{ mid: "s0", track: 10 }] });
  await pass(100);
  told = [];
}

const handled = (type: string) => server.handled.filter((each) => each.type === type);

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("window", new EventTarget());
  vi.stubGlobal("navigator", { onLine: true });
  vi.stubGlobal("RTCPeerConnection", FakeConnection);
  server = new FakeServer();
  server.answer = answer;
  came = 0;
  room = new Room({ openSocket: server.openSocket, fetch: async () => new Response(), random: () => 0.5 });
  told = [];
  room.on("stateChanged", (state) => told.push(state));
  for (const event of [
    "participantJoined",
    "participantLeft",
    "trackPublished",
    "trackUnpublished",
    "rejoined",
  ] as const) {
    room.on(event, () => told.push(event));
  }
  room.on("renewed", () => told.push("renewed"));
  room.on("dataChanged", (open) => told.push({ open }));
  room.on("data", (payload) => told.push(payload));
  room.on("error", ({ code }) => told.push({ error: code }));
  room.on("disconnected", (error) => told.push({ disconnected: error?.code ?? null }));
});
afterEach(() => {
  room.leave();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("a peer connection that can't be repaired", () => {
  const reasons: [string, () => void][] = [
    ["because its DTLS has failed", () => connection.fail()],
    ["because the server's has", () => server.event({ kind: "renew" })],
    ["because its data channel is gone", () => channel(connection).become("closed")],
  ];

  test.each(reasons)("%s is replaced within the session, and everything else is as it was", async (_, fail) => {
    const microphone = LocalTrack.from(media("audio"), "microphone");
    const screen = LocalTrack.from(media("video"), "screen");
    await joined([microphone]);
    const published = room.localParticipant.publish(screen);
    await pass(100);
    await published;
    // Her screen was in a slot before; afterwards there is none for it.
    server.event({
      kind: "track_published",
      participant: 1,
      track: { id: 11, kind: "video", source: "screen", muted: false },
    });
    server.event({ kind: "offer", revision: 2, sdp: "recv:s2" });
    server.event({ kind: "slots", slots: [{ mid: "s2", track: 11 }] });
    await pass(100);
    told = [];
    const [grace, theirs, second] = [room.participants.get(1), room.track(10), room.track(11)];
    expect(second?.mediaStreamTrack).not.toBeNull();
    const changes: unknown[] = [];
    theirs?.on("mediaChanged", (changed) => changes.push(changed));
    fail();
    await pass(100);
    const fresh = FakeConnection.latest;
    expect(fresh).not.toBe(connection);
    expect(room.peerConnection).toBe(fresh);
    expect(fresh.configuration.iceServers).toEqual([{ urls: ["turn:fresh"] }]);
    expect(told).toEqual(["reconnecting", "renewed"]);
    // The last picture stays until there is another.
    expect(connection.closed).toBe(false);
    expect(theirs?.mediaStreamTrack).not.toBeNull();
    server.event({ kind: "slots", slots: [{ mid: "s0" }, { mid: "s2" }] });
    server.event({ kind: "offer", revision: 1, sdp: "recv:s0" });
    fresh.become("connected");
    await pass(100);
    expect(theirs?.mediaStreamTrack).not.toBeNull();
    server.event({ kind: "slots", slots: [{ mid: "s0", track: 10 }] });
    await pass(100);
    expect(second?.mediaStreamTrack).toBeNull();
    expect(connection.closed).toBe(true);
    expect(told).toEqual(["reconnecting", "renewed", "connected"]);
    expect([room.participants.get(1), room.track(10)]).toEqual([grace, theirs]);
    expect(changes).toHaveLength(1);
    expect(theirs?.receiver).toBe(fresh.getTransceivers().find(({ mid }) => mid === "s0")?.receiver);
    expect(room.localParticipant.id).toBe(7);
    expect(
      fresh
        .getTransceivers()
        .map(({ sender }) => sender.track)
        .slice(0, 3),
    ).toEqual([microphone.mediaStreamTrack, undefined, screen.mediaStreamTrack]);
    const after = server.handled.slice(server.handled.findIndex(({ type }) => type === "renew"));
    expect(after.filter(({ type }) => type === "publish").map((each) => "source" in each && each.source)).toEqual([
      "microphone",
      "screen",
    ]);
    expect([microphone, screen].map((track) => room.localParticipant.trackId(track))).toEqual([21, 23]);
  });

  test("leaves nothing of itself behind: neither its offer nor its candidates come after", async () => {
    await joined();
    // An ICE restart whose offer is still being made.
    let made = () => {};
    const slow = new Promise<void>((resolve) => (made = resolve));
    const offer = connection.createOffer.bind(connection);
    connection.createOffer = (options) => slow.then(() => offer(options));
    room.restartIce();
    await vi.advanceTimersByTimeAsync(1);
    connection.fail();
    await vi.advanceTimersByTimeAsync(1);
    made();
    connection.gather("candidate:1 1 udp 1 192.0.2.1 9 typ host", "0");
    await pass(100);
    const types = server.handled.map(({ type }) => type);
    expect(types.slice(types.indexOf("renew")).filter((type) => type !== "ping")).toEqual(["renew", "offer"]);
    expect(handled("offer").filter((each) => "sdp" in each && each.sdp.includes("restart"))).toEqual([]);
  });

  test("waits for signaling", async () => {
    await joined();
    server.away = true;
    server.wire.cut();
    connection.fail();
    await pass(20_000);
    expect(FakeConnection.latest).toBe(connection);
    server.away = false;
    await pass(5_000);
    expect(handled("renew")).toHaveLength(1);
    expect(FakeConnection.latest).not.toBe(connection);
  });

  test("may be followed by another such one, but not at once", async () => {
    await joined();
    connection.fail();
    await pass(100);
    const second = FakeConnection.latest;
    second.fail();
    await pass(1_500);
    expect(handled("renew")).toHaveLength(1);
    await pass(1_000);
    expect(handled("renew")).toHaveLength(2);
    const third = FakeConnection.latest;
    expect([second.closed, connection.closed, third === second]).toEqual([true, false, false]);
    third.become("connected");
    expect(connection.closed).toBe(true);
    expect(told.at(-1)).toBe("connected");
  });

  test("takes along what is published, muted and withdrawn meanwhile", async () => {
    const microphone = LocalTrack.from(media("audio"), "microphone");
    const camera = LocalTrack.from(media("video"), "camera");
    await joined([microphone]);
    connection.fail();
    const published = room.localParticipant.publish(camera);
    const muted = microphone.setMuted(true);
    await vi.advanceTimersByTimeAsync(1);
    await pass(200);
    await Promise.all([published, muted]);
    const types = server.handled.map(({ type }) => type);
    const publishes = server.handled.slice(types.indexOf("renew")).filter(({ type }) => type === "publish");
    const announced = publishes.map((each) => "source" in each && `${each.source} ${each.muted ? "muted" : "on"}`);
    expect(announced.sort()).toEqual(["camera on", "microphone muted"]);
    expect(FakeConnection.latest.getTransceivers()[1]?.sender.track).toBe(camera.mediaStreamTrack);
    expect(told.filter((each) => typeof each === "object")).toEqual([]);
  });

  test("takes along what begins to be published while it is being replaced, and announces it once", async () => {
    const screen = LocalTrack.from(media("video"), "screen");
    await joined();
    connection.fail();
    await vi.advanceTimersByTimeAsync(1);
    const published = room.localParticipant.publish(screen);
    await vi.advanceTimersByTimeAsync(50);
    await pass(200);
    await published;
    const publishes = handled("publish");
    expect(publishes).toMatchObject([{ source: "screen", muted: false }]);
    const sends = FakeConnection.latest
      .getTransceivers()
      .find(({ sender }) => sender.track === screen.mediaStreamTrack);
    expect(publishes[0]).toMatchObject({ mid: sends?.mid });
    expect(room.localParticipant.trackId(screen)).toBe(23);
    expect(told.filter((each) => typeof each === "object")).toEqual([]);
  });

  test("is the end of the session if the server does not take another; the room is joined anew", async () => {
    await joined();
    server.answer = (message) => (message.type === "renew" ? { kind: "done" } : answer(message));
    came = 0;
    connection.fail();
    await pass(3_000);
    expect(told).toContain("rejoined");
  });
});

describe("reliable data", () => {
  test("that did not come before a renewal is sent again after it, once and in order, and so is what was sent meanwhile", async () => {
    await joined();
    const before = channel(connection);
    for (const text of ["one", "two", "three"]) room.sendData(text);
    before.receive("+\n1");
    came = 2;
    connection.fail();
    room.sendData("four");
    await pass(100);
    room.sendData("five");
    const after = channel(FakeConnection.latest);
    expect([before.sent, after.sent]).toEqual([
      ["*\none", "*\ntwo", "*\nthree", "*\nfour"].slice(0, before.sent.length),
      [],
    ]);
    after.become("open");
    room.sendData("six");
    expect(after.sent).toEqual(["*\nthree", "*\nfour", "*\nfive", "*\nsix"]);
    // Counts begin at nothing.
    after.receive("+\n2");
    came = 3;
    FakeConnection.latest.fail();
    await pass(5_000);
    channel(FakeConnection.latest).become("open");
    expect(channel(FakeConnection.latest).sent).toEqual(["*\nsix"]);
    expect(told.filter((each) => typeof each === "object")).toEqual([]);
    expect(room.dataOpen).toBe(true);
  });

  test("is heard until the renewal is asked for and not after, and the server told how much that was", async () => {
    await joined();
    channel(connection).receive("1\nhello");
    channel(connection).receive("+\n0");
    channel(connection).receive("1\nthere");
    connection.fail();
    await vi.advanceTimersByTimeAsync(1);
    channel(connection).receive("1\nlate");
    await pass(100);
    expect(handled("renew")).toMatchObject([{ received: 2 }]);
    channel(FakeConnection.latest).become("open");
    channel(FakeConnection.latest).receive("1\nlate");
    FakeConnection.latest.fail();
    await pass(5_000);
    expect(handled("renew")).toMatchObject([{ received: 2 }, { received: 1 }]);
    expect(told.filter((each) => ["hello", "there", "late"].includes(each as string))).toEqual([
      "hello",
      "there",
      "late",
    ]);
  });

  test("that a server counts which was never sent ends the session", async () => {
    await joined();
    room.sendData("one");
    came = 2;
    connection.fail();
    await pass(3_000);
    expect(told).toContain("rejoined");
  });

  test("is lost with the session", async () => {
    await joined();
    connection.fail();
    room.sendData("one");
    server.event({ kind: "closing", reason: "shutting_down", message: "maintenance" });
    await pass(1_000);
    expect(told).toContainEqual({ open: false });
    channel(FakeConnection.latest).become("open");
    expect(channel(FakeConnection.latest).sent).toEqual([]);
    expect(told.at(-1)).toEqual({ open: true });
  });
});
