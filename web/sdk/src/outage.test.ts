// What a room does when its network or its server fails.
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import type { SwitchyardError } from "./errors.js";
import { LocalTrack } from "./local.js";
import type { Participant } from "./protocol.js";
import { Room } from "./room.js";
import { FakeConnection } from "./testing/connection.js";
import { FakeServer, SETTINGS } from "./testing/server.js";

const GRACE: Participant = {
  id: 1,
  name: "Grace",
  tracks: [{ id: 10, kind: "video", source: "camera", muted: false }],
};

let server: FakeServer;
let room: Room;
let told: unknown[];
let page: EventTarget;
let connection: FakeConnection;
/** Bytes that come along the path, each hundredth of a second. */
let traffic: number;

/** Time in which whatever is sent arrives. */
async function pass(milliseconds: number): Promise<void> {
  for (let passed = 0; passed < milliseconds; passed += 10) {
    for (const wire of server.wires) wire.deliver();
    FakeConnection.latest.bytesReceived += traffic;
    await vi.advanceTimersByTimeAsync(10);
  }
}

async function joined(tracks: LocalTrack[] = [], participants: Participant[] = [GRACE]): Promise<void> {
  server.participants = participants;
  const connected = room.connect("wss://example.org/v1/ws", { room: "demo", name: "Ada", tracks });
  await vi.advanceTimersByTimeAsync(1);
  server.wire.deliver();
  await vi.advanceTimersByTimeAsync(1);
  await pass(100);
  await connected;
  connection = FakeConnection.latest;
  connection.become("connected");
  told = [];
}

/** Grace's picture arrives. */
async function watching(): Promise<void> {
  server.event({ kind: "offer", revision: 1, sdp: "recv:s0" });
  server.event({ kind: "slots", slots: [{ mid: "s0", track: 10 }] });
  await pass(100);
}

const sent = (type: string) => server.wires.flatMap(({ requests }) => requests).filter((each) => each.type === type);
const restarts = () => sent("offer").filter((offer) => "sdp" in offer && offer.sdp.includes("restart")).length;
/** What is interrupted. */
const outage = () => {
  if (!room.outage) return null;
  const { signaling, media, rejoining, offline } = room.outage;
  const parts = Object.entries({ signaling, media, rejoining, offline });
  return parts
    .filter(([, is]) => is)
    .map(([part]) => part)
    .join(" ");
};

function media(kind: "audio" | "video"): MediaStreamTrack {
  const track = { kind, readyState: "live", enabled: true, stop: () => {}, getSettings: () => ({}) };
  return Object.assign(new EventTarget(), track) as unknown as MediaStreamTrack;
}

beforeEach(() => {
  vi.useFakeTimers();
  traffic = 0;
  page = new EventTarget();
  vi.stubGlobal("window", page);
  vi.stubGlobal("navigator", { onLine: true });
  vi.stubGlobal("RTCPeerConnection", FakeConnection);
  server = new FakeServer();
  const fetch = async () => {
    if (server.away) throw new TypeError("refused");
    return new Response();
  };
  room = new Room({ openSocket: server.openSocket, fetch, random: () => 0.5 });
  told = [];
  room.on("stateChanged", (state) => told.push(state));
  room.on("participantJoined", ({ name }) => told.push(`${name} joined`));
  room.on("participantLeft", ({ name }) => told.push(`${name} left`));
  room.on("participantChanged", ({ name }) => told.push(`now ${name}`));
  room.on("trackPublished", ({ source }) => told.push(`${source} published`));
  room.on("trackUnpublished", ({ source }) => told.push(`${source} unpublished`));
  room.on("trackMuted", ({ muted }) => told.push(`muted ${muted}`));
  room.on("rejoined", () => told.push("rejoined"));
  room.on("chat", ({ text }) => told.push(text));
  room.on("error", ({ code }) => told.push({ error: code }));
  room.on("disconnected", (error) => told.push({ disconnected: error?.code ?? null }));
});
afterEach(() => {
  room.leave();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("signaling that is lost", () => {
  test("is resumed: nothing is torn down, nobody is told, and what was said meanwhile arrives both ways", async () => {
    await joined();
    const grace = room.participants.get(1);
    server.away = true;
    server.wire.cut();
    expect(outage()).toBe("signaling");
    expect(room.state).toBe("reconnecting");
    server.event({ kind: "chat", message: { from: 1, text: "are you there?", at: 0 } });
    const said = room.sendChat("yes");
    await pass(20_000);
    server.away = false;
    await pass(3_000);
    await said;
    expect(told).toEqual(["reconnecting", "connected", "are you there?"]);
    expect(room.outage).toBeNull();
    expect(room.participants.get(1)).toBe(grace);
    expect(connection.closed).toBe(false);
    expect(FakeConnection.latest).toBe(connection);
    expect(restarts()).toBe(0);
  });

  test("with more missed than the server keeps leads to the room as it is, told as if it happened now", async () => {
    const tim: Participant = { id: 2, name: "Tim", tracks: [] };
    await joined([], [GRACE, tim]);
    await watching();
    server.wire.cut();
    const screen = { id: 12, kind: "video", source: "screen", muted: false } as const;
    server.snapshot = {
      participants: [
        { ...GRACE, name: "Grace H.", tracks: [{ id: 10, kind: "video", source: "camera", muted: true }, screen] },
        { id: 3, name: "Eve", tracks: [] },
      ],
      slots: [{ mid: "s1", track: 12 }],
      settings: SETTINGS,
    };
    await pass(500);
    const kept = [
      "reconnecting",
      "Tim left",
      "now Grace H.",
      "screen published",
      "muted true",
      "Eve joined",
      "connected",
    ];
    expect([...told].sort()).toEqual([...kept].sort());
    expect(told.at(-1)).toBe("connected");
    const [camera, shared] = [room.track(10), room.track(12)];
    expect(camera && room.mid(camera)).toBeNull();
    expect(camera?.mediaStreamTrack).toBeNull();
    expect(shared && room.mid(shared)).toBe("s1");
  });

  test("with more missed than that forgets what isn't as usual, which is told again where it still holds", async () => {
    await joined();
    await watching();
    server.event({ kind: "reception", track: 10, reception: "paused", width: 0, height: 0 });
    server.event({ kind: "quality", participant: 1, quality: "poor", loss: 12, round_trip: 90, jitter: 20 });
    await pass(100);
    const now = () => [room.track(10)?.reception, room.participants.get(1)?.connection.quality];
    expect(now()).toEqual(["paused", "poor"]);
    server.wire.cut();
    server.snapshot = { participants: [GRACE], slots: [{ mid: "s0", track: 10 }], settings: SETTINGS };
    await pass(500);
    expect(now()).toEqual(["full", "good"]);
  });

  test("is looked for at once when the network is back or the page is shown", async () => {
    await joined();
    server.away = true;
    server.wire.cut();
    await pass(30_000);
    const before = server.wires.length;
    server.away = false;
    page.dispatchEvent(new Event("online"));
    await pass(50);
    expect(server.wires.length).toBe(before + 1);
    expect(outage()).toBeNull();
  });

  test("is noticed soon after the network has changed", async () => {
    await joined();
    server.wire.mute();
    page.dispatchEvent(new Event("online"));
    await pass(1_200);
    expect(told).toEqual(["reconnecting", "connected"]);
  });

  test("while the device has no network is told so", async () => {
    await joined();
    server.away = true;
    vi.stubGlobal("navigator", { onLine: false });
    page.dispatchEvent(new Event("offline"));
    expect(room.state).toBe("connected"); // Some browsers are wrong about it.
    server.wire.cut();
    expect(outage()).toBe("signaling offline");
    vi.stubGlobal("navigator", { onLine: true });
    page.dispatchEvent(new Event("online"));
    expect(outage()).toBe("signaling");
  });
});

describe("media that stops", () => {
  test("is looked for on a new path within three seconds; signaling has to show that it works", async () => {
    await joined();
    await watching();
    traffic = 50;
    await pass(10_000);
    expect(restarts()).toBe(0);
    traffic = 0;
    const pings = sent("ping").length;
    await pass(3_000);
    expect(restarts()).toBe(1);
    expect(outage()).toBe("media");
    expect(sent("ping").length).toBeGreaterThan(pings);
    traffic = 50;
    await pass(1_000);
    expect(outage()).toBeNull();
    expect(told).toEqual(["reconnecting", "connected"]);
    expect(connection.closed).toBe(false);
  });

  test("because everybody is muted is no reason for anything", async () => {
    await joined();
    await watching();
    traffic = 50;
    await pass(10_000);
    traffic = 0;
    server.event({ kind: "track_muted", participant: 1, track: 10, muted: true });
    await pass(10_000);
    expect(restarts()).toBe(0);
    expect(room.state).toBe("connected");
  });

  test.each(["disconnected", "failed"] as const)("is looked for at once when the connection is %s", async (state) => {
    await joined();
    connection.become(state);
    await pass(100);
    expect(restarts()).toBe(1);
    await pass(500);
    expect(outage()).toBe("media");
    connection.become("connecting");
    expect(outage()).toBe("media");
    connection.become("connected");
    expect(outage()).toBeNull();
  });

  test("together with signaling is looked for when that is back", async () => {
    await joined();
    await watching();
    traffic = 50;
    await pass(10_000);
    traffic = 0;
    server.away = true;
    server.wire.mute();
    await pass(10_000);
    expect(outage()).toBe("signaling media");
    server.away = false;
    await pass(3_000);
    expect(outage()).toBe("media");
    traffic = 50;
    connection.become("connected");
    await pass(1_000);
    expect(told).toEqual(["reconnecting", "connected"]);
  });
});

describe("an ICE restart", () => {
  test("comes with every other network, before anything is lost", async () => {
    await joined();
    page.dispatchEvent(new Event("online"));
    await pass(5_000);
    expect(restarts()).toBe(1);
    expect(room.state).toBe("connected");
    expect(sent("ice_servers")).toEqual([]);
  });

  test("has fresh servers first, if there are any at all", async () => {
    server.iceServers = [{ urls: ["turn:old.example.org"] }];
    await joined();
    connection.become("failed");
    await pass(100);
    expect(sent("ice_servers")).toHaveLength(1);
    expect(connection.configuration).toMatchObject({
      bundlePolicy: "max-bundle",
      iceServers: [{ urls: ["turn:fresh.example.org"] }],
    });
    expect(restarts()).toBe(1);
  });

  test("that the server asks for has the servers that it names", async () => {
    await joined();
    server.event({ kind: "restart_ice", ice_servers: [{ urls: ["turn:named.example.org"] }] });
    await pass(100);
    expect(connection.configuration.iceServers).toEqual([{ urls: ["turn:named.example.org"] }]);
    expect(restarts()).toBe(1);
    expect(sent("ice_servers")).toEqual([]);
    expect(room.state).toBe("connected");
  });
});

describe("a session that the server has lost", () => {
  /** The server is killed, and is back after a while. */
  async function restarted(after = 5_000): Promise<void> {
    server.away = true;
    server.wire.cut();
    server.forget();
    await pass(after);
    server.away = false;
    await pass(5_000);
  }

  test("is begun anew by itself, with the same name and the same tracks, muted as they are", async () => {
    const microphone = LocalTrack.from(media("audio"), "microphone");
    const camera = LocalTrack.from(media("video"), "camera");
    const screen = LocalTrack.from(media("video"), "screen");
    await joined([microphone, camera]);
    await watching();
    const published = room.localParticipant.publish(screen);
    await pass(100);
    await published;
    const muted = microphone.setMuted(true);
    const renamed = room.rename("Ada L.");
    await pass(100);
    await Promise.all([muted, renamed]);
    const { localParticipant } = room;
    const grace = room.participants.get(1);
    const theirs = room.track(10);
    expect(theirs?.mediaStreamTrack).not.toBeNull();
    await restarted();
    expect(outage()).toBe("media");
    const fresh = FakeConnection.latest;
    expect(fresh).not.toBe(connection);
    expect(connection.closed).toBe(true);
    fresh.become("connected");
    expect(told).toEqual(["reconnecting", "rejoined", "connected"]);
    expect(server.names).toEqual(["Ada", "Ada L."]);
    expect(room.localParticipant).toBe(localParticipant);
    expect(localParticipant.id).toBe(8);
    expect(localParticipant.name).toBe("Ada L.");
    const publishes = server.handled.filter(({ type }) => type === "publish");
    expect(publishes.map((each) => "source" in each && [each.source, each.muted])).toEqual([
      ["microphone", true],
      ["camera", false],
      ["screen", false],
    ]);
    expect(fresh.getTransceivers().map(({ sender }) => sender.track)).toEqual(
      [microphone, camera, screen].map((track) => track.mediaStreamTrack),
    );
    expect(localParticipant.trackId(screen)).toBeDefined();
    expect(room.participants.get(1)).not.toBe(grace);
    expect(room.track(10)).not.toBe(theirs);
    expect(theirs?.mediaStreamTrack).toBeNull();
    expect(fresh.channels).toHaveLength(2);
  });

  test("is begun anew on the connection on which that was learnt", async () => {
    await joined();
    await restarted();
    const { requests } = server.wire;
    expect(requests.slice(0, 3).map(({ type }) => type)).toEqual(["resume", "join", "offer"]);
  });

  test("lets the others be seen until then", async () => {
    await joined();
    await watching();
    server.away = true;
    server.wire.cut();
    server.forget();
    await pass(60_000);
    expect(room.participants.size).toBe(1);
    expect(outage()).toBe("signaling");
    expect(room.outage?.since.getTime()).toBeLessThan(Date.now() - 59_000);
  });

  test("is begun anew when the server says that it goes down, and as often as it takes", async () => {
    await joined();
    server.event({ kind: "closing", reason: "shutting_down", message: "maintenance" });
    server.away = true;
    await pass(10);
    expect(outage()).toBe("signaling media rejoining");
    expect(room.outage?.error).toMatchObject({ code: "shutting_down" });
    // The last pictures stay until there are others.
    expect(room.participants.size).toBe(1);
    expect(connection.closed).toBe(false);
    await pass(180_000);
    expect(room.state).toBe("reconnecting");
    const next = room.outage?.nextAttempt?.getTime() ?? 0;
    expect(next - Date.now()).toBeGreaterThan(0);
    server.away = false;
    room.reconnectNow();
    await pass(100);
    FakeConnection.latest.become("connected");
    expect(connection.closed).toBe(true);
    expect(room.state).toBe("connected");
    expect(sent("resume")).toEqual([]);
  });

  test.each(["overloaded", "limit_reached", "shutting_down", "internal"] as const)(
    "is begun anew although the answer is %s at first",
    async (code) => {
      await joined();
      server.refusal = { code, message: "not now", retryable: true };
      await restarted(100);
      expect(room.state).toBe("reconnecting");
      expect(room.outage?.error).toMatchObject({ code });
      const attempts = sent("join").length;
      expect(attempts).toBeLessThan(5);
      server.refusal = null;
      await pass(15_000);
      expect(told).toContain("rejoined");
    },
  );

  test("is the end if the server refuses for good", async () => {
    await joined();
    server.refusal = { code: "invalid_room", message: "no more", retryable: false };
    await restarted(100);
    expect(told).toEqual(["reconnecting", "disconnected", { disconnected: "invalid_room" }]);
  });

  test("is begun anew after a failure of a media connection that was there, not of one that never was", async () => {
    await joined();
    server.event({ kind: "closing", reason: "transport_failed", message: "DTLS" });
    await pass(1_000);
    expect(told).toEqual(["reconnecting", "rejoined"]);
    server.event({ kind: "closing", reason: "transport_failed", message: "DTLS" });
    await pass(1_000);
    expect(told.at(-1)).toEqual({ disconnected: "transport_failed" });
  });

  test("takes a new name, and what is published and withdrawn meanwhile, into the next one", async () => {
    const camera = LocalTrack.from(media("video"), "camera");
    const screen = LocalTrack.from(media("video"), "screen");
    await joined([camera]);
    server.event({ kind: "closing", reason: "shutting_down", message: "maintenance" });
    server.away = true;
    await pass(1_000);
    await room.rename("Countess");
    await room.localParticipant.publish(screen);
    await room.localParticipant.unpublish(camera);
    await expect(room.sendChat("hello")).rejects.toMatchObject({ code: "not_connected", retryable: true });
    expect(() => room.sendData("hello")).toThrow("not open");
    server.away = false;
    await pass(5_000);
    expect(server.names).toEqual(["Ada", "Countess"]);
    const publishes = server.handled.filter(({ type }) => type === "publish");
    expect(publishes).toMatchObject([{ source: "screen" }]);
    expect(told.filter((each) => typeof each === "object")).toEqual([]);
  });

  test("does not fail what was being published, which is announced once in the next one", async () => {
    const screen = LocalTrack.from(media("video"), "screen");
    await joined();
    const published = room.localParticipant.publish(screen);
    await vi.advanceTimersByTimeAsync(1); // Its offer is under way.
    await restarted();
    await published;
    expect(server.handled.filter(({ type }) => type === "publish")).toHaveLength(1);
    expect(room.localParticipant.track("screen")).toBe(screen);
  });

  test("is over before the browser has taken up what was to be published: that is announced once, too", async () => {
    const camera = LocalTrack.from(media("video"), "camera");
    await joined();
    const sender = connection.getTransceivers()[1]?.sender;
    let taken = () => {};
    const slow = new Promise<void>((resolve) => (taken = resolve));
    Object.assign(sender ?? {}, { replaceTrack: () => slow });
    const published = room.localParticipant.publish(camera);
    await restarted();
    taken();
    await pass(100);
    await published;
    expect(server.handled.filter(({ type }) => type === "publish")).toHaveLength(1);
    expect(FakeConnection.latest.getTransceivers()[1]?.sender.track).toBe(camera.mediaStreamTrack);
    expect(told.filter((each) => typeof each === "object")).toEqual([]);
  });
});

test("a session that goes on elsewhere ends the room here, with a reason of its own", async () => {
  await joined();
  server.event({ kind: "closing", reason: "resumed_elsewhere", message: "moved" });
  await pass(60_000);
  expect(told).toEqual(["disconnected", { disconnected: "resumed_elsewhere" }]);
  expect(server.wires).toHaveLength(1);
});

describe("leaving", () => {
  test.each(["signaling is lost", "the room is being joined again"])("is at once while %s", async (when) => {
    await joined();
    server.away = true;
    if (when === "signaling is lost") server.wire.cut();
    else server.event({ kind: "closing", reason: "shutting_down", message: "maintenance" });
    await pass(5_000);
    page.dispatchEvent(new Event("pagehide"));
    expect(connection.closed).toBe(true);
    expect(told.at(-1)).toEqual({ disconnected: null });
    const { length } = server.wires;
    await pass(60_000);
    expect(server.wires).toHaveLength(length);
    expect(vi.getTimerCount()).toBe(0);
    await expect(room.sendChat("bye")).rejects.toMatchObject({ code: "not_connected" });
  });

  test("is told to the server if it can be", async () => {
    await joined();
    room.leave();
    expect(server.wire.requests.at(-1)).toMatchObject({ type: "leave" });
    expect(server.wire.closedWith).toBe(1000);
  });
});

test("a room that loses its session while it is being joined is joined nevertheless", async () => {
  const errors: SwitchyardError[] = [];
  room.on("error", (error) => errors.push(error));
  const connected = room.connect("wss://example.org/v1/ws", { room: "demo", name: "Ada" });
  await vi.advanceTimersByTimeAsync(1);
  server.wire.deliver();
  await vi.advanceTimersByTimeAsync(1);
  server.wire.cut();
  server.forget();
  await pass(2_000);
  await connected;
  expect(told).toContain("rejoined");
  expect(errors).toEqual([]);
});
