import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { LocalTrack } from "./local.js";
import type { Grants, Participant } from "./protocol.js";
import { type ConnectOptions, Room } from "./room.js";
import { FakeConnection } from "./testing/connection.js";
import { joinedAs, SETTINGS } from "./testing/server.js";
import { FakeSocket } from "./testing/socket.js";

const GRACE: Participant = {
  id: 1,
  name: "Grace",
  identity: "grace@example.org",
  tracks: [{ id: 10, kind: "video", source: "camera", muted: false }],
};
const EVERYTHING: Grants = {
  publish: ["camera", "microphone", "screen", "screen_audio"],
  subscribe: true,
  data: true,
  moderate: true,
};

let socket: FakeSocket;
let room: Room;

/** Everything that is waiting for a turn of the loop. */
const settle = () => vi.advanceTimersByTimeAsync(10);

async function connecting(options: Partial<ConnectOptions> = {}) {
  room = new Room({
    openSocket: (_, subprotocol) => (socket = new FakeSocket(subprotocol)) as never,
    fetch: async () => new Response(),
    random: () => 0,
  });
  const connected = room.connect("wss://example.org/v1/ws", { room: "demo", name: "Ada", ...options });
  connected.catch(() => {});
  socket.fire("open");
  await settle();
  return connected.then(
    () => null,
    (error: unknown) => error,
  );
}

async function joined(grants: Grants = EVERYTHING, options: Partial<ConnectOptions> = {}): Promise<void> {
  const connected = connecting(options);
  await settle();
  const more = { name: "Ada Lovelace", identity: "ada@example.org", grants };
  socket.reply(socket.last("join").id, { kind: "joined", ...joinedAs(7, [GRACE], more) });
  await settle();
  socket.reply(socket.last("offer").id, { kind: "answer", sdp: "answer" });
  await connected;
}

/** Answers what was asked last. */
async function done<Result>(asked: Promise<Result>): Promise<Result> {
  await settle();
  socket.reply(socket.requests.at(-1)!.id, { kind: "done" });
  return asked;
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("RTCPeerConnection", FakeConnection);
  vi.stubGlobal("window", new EventTarget());
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("an access token", () => {
  test("goes along with the join, and says who one is and what one may do", async () => {
    await joined(EVERYTHING, { token: "aaa.bbb.ccc" });
    expect(socket.last("join")).toMatchObject({ room: "demo", token: "aaa.bbb.ccc" });
    expect(room.localParticipant.name).toBe("Ada Lovelace");
    expect(room.identity).toBe("ada@example.org");
    expect(room.grants).toEqual(EVERYTHING);
    expect(room.participants.get(1)?.identity).toBe("grace@example.org");
  });

  test("that there isn't is not sent", async () => {
    await joined();
    expect(socket.last("join")).not.toHaveProperty("token");
  });

  test("is asked for again when the room is joined again, and a failure to get one is not the end", async () => {
    const token = vi
      .fn<() => Promise<string>>()
      .mockResolvedValueOnce("first")
      .mockRejectedValueOnce(new Error("no network"))
      .mockResolvedValue("third");
    await joined(EVERYTHING, { token });
    expect(socket.last("join").token).toBe("first");
    socket.event({ kind: "closing", reason: "shutting_down", message: "" });
    socket.fire("close", { code: 1001 });
    for (let tries = 0; tries < 2; tries++) {
      const before = socket;
      await vi.advanceTimersByTimeAsync(10_000);
      expect(socket).not.toBe(before);
      socket.fire("open");
      await settle();
    }
    expect(token).toHaveBeenCalledTimes(3);
    expect(socket.last("join").token).toBe("third");
    room.leave();
  });

  test("that is refused ends it, with the reason", async () => {
    const failed = connecting({ token: "old" });
    await settle();
    const error = { code: "unauthorized", message: "the access token has expired", retryable: false } as const;
    socket.receive({ type: "error", id: socket.last("join").id, error });
    expect(await failed).toMatchObject({ code: "unauthorized", message: "the access token has expired" });
    expect(room.state).toBe("disconnected");
  });
});

describe("who may not", () => {
  test("publish, publishes nothing of what it was told to from the beginning", async () => {
    const media = Object.assign(new EventTarget(), { kind: "audio", readyState: "live", getSettings: () => ({}) });
    vi.stubGlobal("MediaStream", class {});
    const track = LocalTrack.from(media as never, "microphone");
    await joined({ ...EVERYTHING, publish: [] }, { tracks: [track] });
    await settle();
    expect(socket.requests.some(({ type }) => type === "publish")).toBe(false);
  });

  test("receive, says nothing of what it shows", async () => {
    await joined({ ...EVERYTHING, subscribe: false });
    room.track(10)?.attach({ play: async () => {}, srcObject: null } as unknown as HTMLVideoElement);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(socket.requests.some(({ type }) => type === "view")).toBe(false);
  });
});

describe("whoever runs the room", () => {
  test("takes grants: what is published without one ends, and its device is released", async () => {
    await joined();
    const media = (kind: string) =>
      Object.assign(new EventTarget(), {
        kind,
        readyState: "live",
        enabled: true,
        getSettings: () => ({}),
        stop: vi.fn(),
      });
    vi.stubGlobal("MediaStream", class {});
    const [camera, microphone] = [media("video"), media("audio")];
    const tracks = [LocalTrack.from(camera as never, "camera"), LocalTrack.from(microphone as never, "microphone")];
    for (const [at, track] of tracks.entries()) {
      const published = room.localParticipant.publish(track);
      await settle();
      socket.reply(socket.last("publish").id, { kind: "published", track: 5 + at });
      await published;
    }
    const told: unknown[] = [];
    room.on("grantsChanged", (grants, ended) => told.push(grants.publish, ended));
    socket.event({ kind: "grants_changed", grants: { ...EVERYTHING, publish: ["microphone"], data: false } });
    await settle();
    expect(told).toEqual([["microphone"], [tracks[0]]]);
    expect(room.grants).toMatchObject({ publish: ["microphone"], data: false });
    expect([...room.localParticipant.tracks.keys()]).toEqual(["microphone"]);
    expect([tracks[0]!.stopped, camera.stop.mock.calls.length, tracks[1]!.stopped]).toEqual([true, 1, false]);
    // The server knows.
    expect(socket.requests.some(({ type }) => type === "unpublish")).toBe(false);
  });

  test("grants reception, and is told what is shown", async () => {
    await joined({ ...EVERYTHING, subscribe: false });
    room.track(10)?.attach({ play: async () => {}, srcObject: null } as unknown as HTMLVideoElement);
    await vi.advanceTimersByTimeAsync(1_000);
    socket.event({ kind: "grants_changed", grants: EVERYTHING });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(socket.requests.some(({ type }) => type === "view")).toBe(true);
  });

  test("renames this participant", async () => {
    await joined();
    socket.event({ kind: "participant_changed", participant: 7, name: "Countess" });
    expect(room.localParticipant.name).toBe("Countess");
  });

  test("closes the room for everybody, and nobody comes back by themselves", async () => {
    await joined();
    const before = socket;
    const ended = new Promise((resolve) => room.on("disconnected", resolve));
    socket.event({ kind: "closing", reason: "room_closed", message: "the room was closed" });
    socket.fire("close", { code: 1008 });
    expect(await ended).toMatchObject({ code: "room_closed", retryable: false });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(socket).toBe(before);
  });
});

describe("a moderator", () => {
  test("mutes, removes, bans and sets the room", async () => {
    await joined();
    await done(room.muteRemote(room.track(10)!));
    expect(socket.last("mute")).toMatchObject({ track: 10, muted: true });
    await done(room.remove(1));
    expect(socket.last("remove")).toMatchObject({ participant: 1 });
    await done(room.ban("eve"));
    expect(socket.last("ban")).toMatchObject({ identity: "eve", banned: true });
    await done(room.configure({ locked: true, password: "tea at four" }));
    expect(socket.last("configure")).toMatchObject({ settings: { locked: true, password: "tea at four" } });
    const told: boolean[] = [];
    room.on("settingsChanged", ({ locked }) => told.push(locked));
    for (const locked of [true, true, false]) socket.event({ kind: "settings", settings: { ...SETTINGS, locked } });
    expect(told).toEqual([true, false]);
    expect(room.settings).toEqual(SETTINGS);
  });

  test("mutes this participant, who is told and stops sending, and may go on", async () => {
    await joined();
    const media = Object.assign(new EventTarget(), {
      kind: "audio",
      readyState: "live",
      enabled: true,
      getSettings: () => ({}),
    });
    vi.stubGlobal("MediaStream", class {});
    const track = LocalTrack.from(media as never, "microphone");
    const published = room.localParticipant.publish(track);
    await settle();
    socket.reply(socket.last("publish").id, { kind: "published", track: 5 });
    await published;
    const told: string[] = [];
    room.on("mutedByModerator", ({ source }) => told.push(source));
    socket.event({ kind: "track_muted", participant: 7, track: 5, muted: true, by: 1 });
    await settle();
    expect([track.muted, told]).toEqual([true, ["microphone"]]);
    expect(socket.requests.some(({ type }) => type === "mute")).toBe(false);
    await track.setMuted(false);
    await settle();
    expect(socket.last("mute")).toMatchObject({ track: 5, muted: false });
  });

  test("removes this participant, who does not come back by itself", async () => {
    await joined();
    const before = socket;
    const ended = new Promise((resolve) => room.on("disconnected", resolve));
    socket.event({ kind: "closing", reason: "removed", message: "a moderator has removed you from the room" });
    socket.fire("close", { code: 1008 });
    expect(await ended).toMatchObject({ code: "removed", retryable: false });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(socket).toBe(before);
  });
});
