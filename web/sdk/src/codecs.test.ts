import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { choose } from "./codecs.js";
import { LocalTrack } from "./local.js";
import type { VideoCodec } from "./protocol.js";
import type { ConnectOptions, Room } from "./room.js";
import { FakeConnection, type FakeTransceiver } from "./testing/connection.js";
import { roomOver } from "./testing/room.js";
import { joinedAs } from "./testing/server.js";
import type { FakeSocket } from "./testing/socket.js";

const CODECS = ["VP8", "rtx", "VP9", "H264", "AV1"].map((name) => ({ mimeType: `video/${name}`, clockRate: 90_000 }));
const CAMERA = 5;

let sockets: FakeSocket[];
let room: Room;
let camera: FakeTransceiver;
/** As {@link encoded} was when the camera was published. */
let encodedAtFirst: (string | undefined)[];

/** Everything that is waiting for a turn of the loop. */
const settle = () => vi.advanceTimersByTimeAsync(10);
const socket = () => sockets.at(-1)!;

/** Joins and publishes a camera, by a browser that can send in several codecs. */
async function publish(
  encodesInAny: boolean,
  codecs: Pick<ConnectOptions, "codec" | "backupCodec"> = {},
): Promise<void> {
  room = roomOver(sockets);
  const connected = room.connect("wss://example.org/v1/ws", { room: "demo", name: "Ada", ...codecs });
  socket().fire("open");
  await settle();
  socket().reply(socket().last("join").id, { kind: "joined", ...joinedAs(7) });
  await settle();
  camera = FakeConnection.latest.getTransceivers()[1]!;
  camera.sender.encodesInAny = encodesInAny;
  camera.sender.codecs = CODECS;
  await answer();
  await connected;
  const media = Object.assign(new EventTarget(), { kind: "video", readyState: "live", getSettings: () => ({}) });
  const published = room.localParticipant.publish(LocalTrack.from(media as never, "camera"));
  await settle();
  await answer();
  encodedAtFirst = encoded();
  socket().reply(socket().last("publish").id, { kind: "published", track: CAMERA });
  await published;
  await settle();
}

/** Answers the client's offer, if there is one that was not answered. */
async function answer(): Promise<void> {
  if (FakeConnection.latest.signalingState === "have-local-offer") {
    socket().reply(socket().last("offer").id, { kind: "answer", sdp: "answer" });
  }
  await settle();
}

/** Those who may receive the camera decode these. */
async function decoded(...sets: VideoCodec[][]): Promise<void> {
  socket().event({ kind: "codecs", track: CAMERA, sets });
  await settle();
  await answer();
}

/** The codecs of the camera's encodings; undefined: what is negotiated first. */
const encoded = () => [...new Set(camera.sender.encodings.map(({ codec }) => codec?.mimeType))];
const offered = () => camera.preferences?.map(({ mimeType }) => mimeType);
const offers = () => socket().requests.filter(({ type }) => type === "offer").length;

beforeEach(() => {
  sockets = [];
  vi.useFakeTimers();
  vi.stubGlobal("RTCPeerConnection", FakeConnection);
  vi.stubGlobal("RTCRtpSender", { getCapabilities: () => ({ codecs: CODECS }) });
  vi.stubGlobal("MediaStream", class {});
  vi.stubGlobal("window", new EventTarget());
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("the first codec that is in every set is sent; two only where none is, or where it is wished for", () => {
  const order: VideoCodec[] = ["av1", "vp8", "h264"];
  const table: [sets: VideoCodec[][], backup: VideoCodec | null, codec: VideoCodec, second: VideoCodec | null][] = [
    [[], null, "av1", null],
    [[["vp8", "av1"], ["av1"]], null, "av1", null],
    [[["h264", "vp8"], ["vp8"]], null, "vp8", null],
    [[["h264"], ["vp8"]], null, "vp8", "h264"],
    [[["h264"], ["vp8"], ["av1"]], null, "av1", null],
    [[["h264"], ["av1"]], null, "av1", "h264"],
    [
      [
        ["vp8", "h264"],
        ["av1", "h264"],
      ],
      null,
      "h264",
      null,
    ],
    [
      [
        ["vp8", "h264"],
        ["av1", "h264"],
      ],
      "vp8",
      "av1",
      "vp8",
    ],
    [[["h264"], ["av1", "h264"]], "vp8", "av1", "h264"],
    [[["vp8", "h264"], ["av1"]], "h264", "av1", "h264"],
    [[["vp8"]], "vp8", "vp8", null],
    [[["av1"]], "vp8", "av1", null],
  ];
  for (const [sets, wish, codec, backup] of table) expect(choose(sets, order, wish)).toEqual({ codec, backup });
  expect(choose([], [])).toBeUndefined();
});

test("without a wish the codec changes only while somebody doesn't decode it, and without an offer", async () => {
  await publish(true);
  const before = offers();
  await decoded(["vp8", "vp9", "av1"]);
  expect(encoded()).toEqual([undefined]);
  await decoded(["vp8", "vp9"], ["h264", "vp9"]);
  expect(encoded()).toEqual(["video/VP9"]);
  await decoded();
  expect(encoded()).toEqual(["video/VP8"]);
  expect([offers(), offered()]).toEqual([before, undefined]);
});

test("the preferred codec is sent before the track is published, and again once everybody decodes it", async () => {
  await publish(true, { codec: "av1" });
  expect(encodedAtFirst).toEqual(["video/AV1"]);
  await decoded(["vp8", "h264"]);
  expect(encoded()).toEqual(["video/VP8"]);
  await decoded(["vp8", "av1"]);
  expect(encoded()).toEqual(["video/AV1"]);
  room.localParticipant.preferCodec("h264");
  await settle();
  expect(encoded()).toEqual(["video/VP8"]);
  await decoded();
  expect(encoded()).toEqual(["video/H264"]);
});

test("where encodings have no codec of their own another one is negotiated", async () => {
  await publish(false, { codec: "av1" });
  const before = offers();
  expect(offered()).toEqual(["video/AV1", "video/rtx"]);
  await decoded(["vp8", "h264"]);
  expect([offered(), encoded(), offers()]).toEqual([["video/VP8", "video/rtx"], [undefined], before + 1]);
  await decoded(["vp8", "h264"]);
  expect(offers()).toBe(before + 1);
  await decoded();
  expect([offered(), offers()]).toEqual([["video/AV1", "video/rtx"], before + 2]);
});

test("with a backup it is sent once more on an m-line of its own, only while somebody needs that", async () => {
  await publish(true, { codec: "av1", backupCodec: "vp8" });
  const lines = () => FakeConnection.latest.getTransceivers().length;
  const before = lines();
  const said = () => socket().requests.flatMap((request) => (request.type === "back_up" ? [request.backup] : []));
  await decoded(["vp8", "av1"], ["av1"]);
  expect([lines(), said()]).toEqual([before, []]);
  await decoded(["vp8"], ["av1"]);
  const backup = FakeConnection.latest.getTransceivers().at(-1)!;
  expect([lines(), backup.direction, backup.sender.track]).toEqual([before + 1, "sendonly", camera.sender.track]);
  expect([encoded(), backup.preferences?.map(({ mimeType }) => mimeType)]).toEqual([
    ["video/AV1"],
    ["video/VP8", "video/rtx"],
  ]);
  expect(said()).toEqual([{ mid: backup.mid, codec: "vp8", instead_of: "av1" }]);
  socket().reply(socket().last("back_up").id, { kind: "done" });
  await settle();
  socket().event({ kind: "wanted", track: CAMERA, width: 0, height: 0 });
  await settle();
  expect(backup.sender.encodings.some(({ active }) => active)).toBe(false);

  await decoded(["av1"]);
  socket().reply(socket().last("back_up").id, { kind: "done" });
  await settle();
  expect([said().at(-1), backup.sender.track]).toEqual([undefined, null]);
  expect(backup.sender.encodings.some(({ active }) => active)).toBe(false);
  const negotiated = offers();
  socket().event({ kind: "wanted", track: CAMERA, width: 640, height: 360 });
  await decoded(["vp8"], ["av1"]);
  expect([lines(), offers(), said().length]).toEqual([before + 1, negotiated, 3]);
  expect([backup.sender.track, backup.sender.encodings.some(({ active }) => active)]).toEqual([
    camera.sender.track,
    true,
  ]);
});
