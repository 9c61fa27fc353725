import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import type { SwitchyardError } from "./errors.js";
import { LocalTrack } from "./local.js";
import type { Participant } from "./protocol.js";
import { Room } from "./room.js";
import { type FakeChannel, FakeConnection } from "./testing/connection.js";
import { joinedAs } from "./testing/server.js";
import { FakeSocket } from "./testing/socket.js";

const GRACE: Participant = {
  id: 1,
  name: "Grace",
  tracks: [{ id: 10, kind: "video", source: "camera", muted: false }],
};

let socket: FakeSocket;
let room: Room;
let connection: FakeConnection;

/** Everything that is waiting for a turn of the loop. */
const settle = () => vi.advanceTimersByTimeAsync(10);

async function joining(participants: Participant[] = []): Promise<{ connected: Promise<void> }> {
  room = new Room({ openSocket: (_, subprotocol) => (socket = new FakeSocket(subprotocol)) as never });
  const connected = room.connect("wss://example.org/v1/ws", { room: "demo", name: "Ada" });
  connected.catch(() => {});
  socket.fire("open");
  await settle();
  socket.reply(socket.last("join").id, { kind: "joined", ...joinedAs(7, participants) });
  await settle();
  connection = FakeConnection.latest;
  return { connected };
}

async function joined(participants: Participant[] = []): Promise<void> {
  const { connected } = await joining(participants);
  socket.reply(socket.last("offer").id, { kind: "answer", sdp: "answer" });
  await connected;
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

const views = () => socket.requests.filter((request) => request.type === "view");

describe("what is shown", () => {
  const element = () => ({ play: async () => {}, srcObject: null }) as unknown as HTMLVideoElement;

  test("is told to the server, again in every session, and only once a page attaches something", async () => {
    await joined([GRACE]);
    const [track] = [room.track(10)];
    expect(track?.wanted).toBe(true);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(views()).toEqual([]);
    const shown = element();
    track?.attach(shown);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(views().map(({ tracks, others }) => [tracks, others])).toEqual([
      [[{ track: 10, width: 65_535, height: 65_535, pinned: false }], false],
    ]);
    track?.detach(shown);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(views().at(-1)).toMatchObject({ tracks: [] });
    expect(track?.wanted).toBe(false);
  });

  test("of one's own turns the encodings off and on", async () => {
    await joined();
    const media = Object.assign(new EventTarget(), {
      kind: "video",
      readyState: "live",
      getSettings: () => ({ width: 1280, height: 720 }),
    });
    vi.stubGlobal("MediaStream", class {});
    const published = room.localParticipant.publish(LocalTrack.from(media as never, "camera"));
    await settle();
    // Said before the reply: what was wanted of the track is not forgotten.
    socket.event({ kind: "wanted", track: 5, width: 0, height: 0 });
    socket.reply(socket.last("publish").id, { kind: "published", track: 5 });
    await published;
    const { sender } = connection.getTransceivers()[1] as { sender: { encodings: RTCRtpEncodingParameters[] } };
    const active = () => sender.encodings.filter(({ active }) => active).map(({ rid }) => rid);
    expect(sender.encodings.map(({ rid }) => rid)).toEqual(["q", "h", "f"]);
    expect(active()).toEqual([]);
    socket.event({ kind: "wanted", track: 5, width: 640, height: 368 });
    await settle();
    expect(active()).toEqual(["q", "h"]);
  });
});

test("what the line leaves of a track is told, until another m-line carries it", async () => {
  await joined([GRACE]);
  const [track] = [...(room.participants.get(GRACE.id)?.tracks.values() ?? [])];
  expect(track?.reception).toBe("full");
  const told: unknown[] = [];
  room.on("trackReceptionChanged", ({ reception }) => told.push(reception));
  for (const reception of ["paused", "paused", "reduced", "full"]) {
    socket.event({ kind: "reception", track: track!.id, reception, width: 320, height: 180 } as never);
  }
  socket.event({ kind: "reception", track: 99, reception: "paused", width: 0, height: 0 });
  expect(told).toEqual(["paused", "reduced", "full"]);
});

test("how good connections are is told, one's own as well", async () => {
  await joined([GRACE]);
  const told: unknown[] = [];
  room.on("connectionQualityChanged", ({ id, connection }) =>
    told.push([id, connection.quality, connection.roundTrip]),
  );
  const figures = { loss: 12, round_trip: 90, jitter: 4 };
  socket.event({ kind: "quality", participant: GRACE.id, quality: "poor", ...figures });
  socket.event({ kind: "quality", participant: room.localParticipant.id!, quality: "fair", ...figures });
  socket.event({ kind: "quality", participant: 99, quality: "lost", ...figures });
  expect(told).toEqual([
    [GRACE.id, "poor", 90],
    [room.localParticipant.id, "fair", 90],
  ]);
});

test("only the servers named lead to the server, if it says so", async () => {
  await joined();
  expect(connection.configuration.iceTransportPolicy).toBe("all");
  room = new Room({ openSocket: (_, subprotocol) => (socket = new FakeSocket(subprotocol)) as never });
  room.connect("wss://example.org/v1/ws", { room: "demo", name: "Ada" }).catch(() => {});
  socket.fire("open");
  await settle();
  const ice_servers = [{ urls: ["turn:turn.example.org"], username: "1:7", credential: "secret" }];
  socket.reply(socket.last("join").id, { kind: "joined", ...joinedAs(7, []), ice_servers, relay_only: true });
  await settle();
  expect(FakeConnection.latest.configuration).toMatchObject({ iceTransportPolicy: "relay", iceServers: ice_servers });
});

test("that the server will go down is told with the time", async () => {
  await joined();
  const closing: Date[] = [];
  room.on("draining", (closesAt) => closing.push(closesAt));
  expect(room.closesAt).toBeNull();
  socket.event({ kind: "draining", within: 90 });
  expect(room.closesAt?.getTime()).toBe(Date.now() + 90_000);
  socket.event({ kind: "draining", within: 30 });
  expect(closing.map((at) => at.getTime() - Date.now())).toEqual([90_000, 30_000]);
});

test("who speaks is told until the room is joined anew", async () => {
  await joined([GRACE]);
  const heard: number[][] = [];
  room.on("speakersChanged", (speakers) => heard.push(speakers.map(({ participant }) => participant)));
  socket.event({ kind: "speakers", speakers: [{ participant: 1, level: 30 }] });
  expect(room.speakers).toEqual([{ participant: 1, level: 30 }]);
  socket.event({ kind: "speakers", speakers: [] });
  expect(heard).toEqual([[1], []]);
});

describe("joining", () => {
  test("is a join, then one offer with a data channel, a microphone and a camera", async () => {
    await joined([GRACE]);
    expect(socket.requests.map(({ type }) => type)).toEqual(["join", "offer"]);
    expect(connection.channels.map(({ label }) => label)).toEqual(["switchyard", "switchyard-lossy"]);
    expect(connection.getTransceivers().map(({ kind, direction }) => [kind, direction])).toEqual([
      ["audio", "sendonly"],
      ["video", "sendonly"],
    ]);
    expect(room.state).toBe("connected");
    expect(room.localParticipant.id).toBe(7);
    expect([...room.participants.values()].map(({ name }) => name)).toEqual(["Grace"]);
    expect(room.track(10)?.participant.name).toBe("Grace");
  });

  test("fails with the server's error, and the room is over", async () => {
    room = new Room({ openSocket: (_, subprotocol) => (socket = new FakeSocket(subprotocol)) as never });
    const failed = expect(room.connect("wss://example.org/v1/ws", { room: "full", name: "Ada" })).rejects.toMatchObject(
      {
        code: "limit_reached",
      },
    );
    socket.fire("open");
    await settle();
    socket.refuse(socket.last("join").id, { code: "limit_reached", message: "full", retryable: true });
    await failed;
    expect(room.state).toBe("disconnected");
    expect(socket.closedWith).toBe(1000);
    await expect(room.connect("wss://example.org", { room: "a", name: "b" })).rejects.toMatchObject({
      code: "wrong_state",
    });
  });

  test("fails if the first offer is refused", async () => {
    const { connected } = await joining();
    socket.refuse(socket.last("offer").id, { code: "invalid_sdp", message: "no", retryable: false });
    await expect(connected).rejects.toMatchObject({ code: "invalid_sdp" });
    expect(connection.closed).toBe(true);
  });

  test("can be broken off", async () => {
    const { connected } = await joining();
    room.leave();
    await expect(connected).rejects.toMatchObject({ code: "not_connected" });
    expect(room.state).toBe("disconnected");
  });

  test("sends candidates after the offer they belong to, and their end", async () => {
    await joining();
    connection.gather("candidate:1 1 udp 1 192.0.2.1 9 typ host", "0");
    connection.gather(null);
    await settle();
    expect(socket.requests.slice(1)).toMatchObject([
      { type: "offer" },
      { type: "candidate", candidate: "candidate:1 1 udp 1 192.0.2.1 9 typ host", mid: "0" },
      { type: "end_of_candidates" },
    ]);
  });
});

describe("a track's media", () => {
  test("is that of the m-line its slot names, whichever of the two comes first", async () => {
    await joined([GRACE]);
    const track = room.track(10);
    socket.event({ kind: "slots", slots: [{ mid: "s1", track: 10 }] });
    expect(track?.mediaStreamTrack).toBeNull();
    socket.event({ kind: "offer", revision: 1, sdp: "recv:s0,s1" });
    await settle();
    expect(track?.mediaStreamTrack).toMatchObject({ id: "media of s1" });
    expect(socket.last("answer").revision).toBe(1);
    socket.event({ kind: "slots", slots: [{ mid: "s0", track: 10 }, { mid: "s1" }] });
    expect(track?.mediaStreamTrack).toMatchObject({ id: "media of s0" });
  });

  test("can be assigned before the track is known", async () => {
    await joined([{ ...GRACE, tracks: [] }]);
    socket.event({ kind: "offer", revision: 1, sdp: "recv:s0,s1" });
    await settle();
    socket.event({ kind: "slots", slots: [{ mid: "s0", track: 11 }] });
    const track = { id: 11, kind: "audio", source: "microphone", muted: false } as const;
    socket.event({ kind: "track_published", participant: 1, track });
    expect(room.track(11)?.mediaStreamTrack).toMatchObject({ id: "media of s0" });
  });

  test("goes with its participant", async () => {
    await joined([GRACE]);
    socket.event({ kind: "offer", revision: 1, sdp: "recv:s0" });
    socket.event({ kind: "slots", slots: [{ mid: "s0", track: 10 }] });
    await settle();
    const track = room.track(10);
    socket.event({ kind: "participant_left", participant: 1, reason: "left" });
    expect(track?.mediaStreamTrack).toBeNull();
    expect(room.track(10)).toBeUndefined();
    expect(room.participants.size).toBe(0);
  });
});

test("what happens in the room is told in order", async () => {
  await joined();
  const told: string[] = [];
  room.on("participantJoined", ({ name }) => told.push(`${name} joined`));
  room.on("participantChanged", ({ name }) => told.push(`now ${name}`));
  room.on("trackPublished", ({ source }) => told.push(`${source} published`));
  room.on("trackMuted", ({ muted }) => told.push(`muted ${muted}`));
  room.on("trackUnpublished", ({ source }) => told.push(`${source} unpublished`));
  room.on("chat", ({ text }) => told.push(text));
  room.on("participantLeft", ({ name }, reason) => told.push(`${name} left: ${reason}`));
  socket.event({ kind: "participant_joined", participant: { id: 2, name: "Tim", tracks: [] } });
  socket.event({ kind: "participant_changed", participant: 2, name: "Timothy" });
  const track = { id: 20, kind: "video", source: "screen", muted: false } as const;
  socket.event({ kind: "track_published", participant: 2, track });
  socket.event({ kind: "track_muted", participant: 2, track: 20, muted: true });
  socket.event({ kind: "track_unpublished", participant: 2, track: 20 });
  socket.event({ kind: "chat", message: { from: 2, text: "hello", at: 0 } });
  socket.event({ kind: "participant_left", participant: 2, reason: "connection_lost" });
  expect(told).toEqual([
    "Tim joined",
    "now Timothy",
    "screen published",
    "muted true",
    "screen unpublished",
    "hello",
    "Timothy left: connection_lost",
  ]);
});

test("events about strangers and about tracks that are gone change nothing", async () => {
  await joined();
  socket.event({ kind: "participant_left", participant: 99, reason: "left" });
  socket.event({ kind: "participant_changed", participant: 99, name: "x" });
  socket.event({ kind: "track_muted", participant: 99, track: 99, muted: true });
  socket.event({ kind: "track_unpublished", participant: 99, track: 99 });
  const track = { id: 99, kind: "video", source: "screen", muted: false } as const;
  socket.event({ kind: "track_published", participant: 99, track });
  expect(room.track(99)).toBeUndefined();
});

describe("leaving", () => {
  test("says so, closes everything, and is told without an error", async () => {
    await joined();
    const disconnected: (SwitchyardError | null)[] = [];
    room.on("disconnected", (error) => disconnected.push(error));
    room.leave();
    room.leave();
    expect(socket.requests.at(-1)).toMatchObject({ type: "leave" });
    expect(socket.closedWith).toBe(1000);
    expect(connection.closed).toBe(true);
    expect(disconnected).toEqual([null]);
  });

  test("happens when the page goes away", async () => {
    await joined();
    window.dispatchEvent(new Event("pagehide"));
    expect(socket.closedWith).toBe(1000);
    expect(room.state).toBe("disconnected");
  });

  test("that the server decides is told with its reason", async () => {
    await joined();
    const disconnected: (SwitchyardError | null)[] = [];
    room.on("disconnected", (error) => disconnected.push(error));
    socket.event({ kind: "closing", reason: "protocol_violation", message: "what?" });
    socket.fire("close", { code: 1008 });
    expect(disconnected).toMatchObject([{ code: "protocol_violation" }]);
  });
});

describe("data", () => {
  const channels = () => connection.channels as [FakeChannel, FakeChannel];

  test("goes over the channel on which it arrives, unless told otherwise", async () => {
    await joined();
    const [reliable, lossy] = channels();
    expect([reliable.options, lossy.options]).toEqual([{}, { ordered: false, maxRetransmits: 0 }]);
    expect(() => room.sendData("early")).toThrow("not open");
    reliable.become("open");
    lossy.become("open");
    room.sendData("hello");
    room.sendData(new Uint8Array([9]), 2, { reliable: false });
    expect(reliable.sent).toEqual(["*\nhello"]);
    expect(lossy.sent).toEqual([new Uint8Array([0, 0, 0, 2, 9])]);
    const heard: unknown[] = [];
    room.on("data", (...message) => heard.push(message));
    reliable.receive("2\nyes");
    lossy.receive("2\nperhaps");
    lossy.receive("nonsense");
    expect(heard).toEqual([
      ["yes", 2, true],
      ["perhaps", 2, false],
    ]);
  });

  test("that the line can't take is refused, and then there is room again; what may be lost is left out", async () => {
    await joined();
    const [reliable, lossy] = channels();
    reliable.become("open");
    lossy.become("open");
    const low: boolean[] = [];
    room.on("dataBufferedLow", (each) => low.push(each));
    lossy.bufferedAmount = 128 * 1024 - 4;
    room.sendData("fives", null, { reliable: false });
    expect(lossy.sent).toEqual([]);
    // Until the server says that it has come, whatever the browser has sent.
    for (let count = 0; count < 15; count += 1) room.sendData("x".repeat(65_536));
    room.sendData("x".repeat(65_532));
    room.sendData("four");
    expect(room.dataBuffered()).toBe(1024 * 1024);
    expect(() => room.sendData("fives")).toThrow("full");
    reliable.receive("+\n13");
    expect(low).toEqual([true]);
    expect(room.dataBuffered()).toBe(3 * 65_536);
    // A count that can't be changes nothing, and neither is a message.
    reliable.receive("+\n18");
    expect(room.dataBuffered()).toBe(3 * 65_536);
    expect(() => room.sendData("x".repeat(65_537))).toThrow("at most 65536");
  });

  test("that comes is counted, and the server told soon", async () => {
    await joined();
    const [reliable] = channels();
    reliable.become("open");
    reliable.receive("2\none");
    reliable.receive("2\ntwo");
    expect(reliable.sent).toEqual([]);
    await vi.advanceTimersByTimeAsync(500);
    expect(reliable.sent).toEqual(["+\n2"]);
    reliable.receive(new ArrayBuffer(65_540));
    reliable.receive(new ArrayBuffer(65_540));
    expect(reliable.sent).toEqual(["+\n2", "+\n4"]);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(reliable.sent).toHaveLength(2);
  });

  test("in small pieces is bounded by their number", async () => {
    await joined();
    channels()[0].become("open");
    for (let count = 0; count < 4_096; count += 1) room.sendData("");
    expect(() => room.sendData("")).toThrow("full");
    const low: boolean[] = [];
    room.on("dataBufferedLow", (each) => low.push(each));
    channels()[0].receive("+\n3071");
    expect(low).toEqual([]);
    channels()[0].receive("+\n3072");
    expect(low).toEqual([true]);
  });
});

test("requests before joining and after leaving are refused", async () => {
  room = new Room();
  await expect(room.sendChat("hello")).rejects.toMatchObject({ code: "not_connected" });
  expect(() => room.sendData("hello")).toThrow("not open");
  await joined();
  room.leave();
  await expect(room.sendChat("hello")).rejects.toMatchObject({ code: "not_connected" });
});
