// Clients that decode different codecs in one room: a picture comes in one that all of them know, and in a better one while it may.
import assert from "node:assert/strict";
import { scene } from "./lib/scene.mjs";
import { until } from "./lib/tab.mjs";

/** Milliseconds until a picture comes in another codec: the change, a keyframe, and what two busy cores take. */
const CHANGES = 8_000;
/** Milliseconds more that somebody has to come back before a publisher changes to what they did not decode. */
const GRACE = 3_000;

/** Runs in the page: how somebody's camera is received. */
async function readReception(name) {
  const room = window.switchyard;
  const [participant] = [...room.participants.values()].filter((other) => other.name === name);
  const [track] = [...(participant?.tracks.values() ?? [])].filter(({ source }) => source === "camera");
  if (!track) return null;
  const report = await room.peerConnection.getStats();
  const streams = [...report.values()].filter(({ type, mid }) => type === "inbound-rtp" && mid === room.mid(track));
  const [stream] = streams.sort((a, b) => (b.lastPacketReceivedTimestamp ?? 0) - (a.lastPacketReceivedTimestamp ?? 0));
  const { framesDecoded, totalFreezesDuration, codecId } = stream ?? {};
  const codec = report.get(codecId)?.mimeType.split("/")[1];
  return { track: track.id, mid: room.mid(track), reception: track.reception, framesDecoded, totalFreezesDuration, codec };
}

/** Waits until `viewer` decodes the camera of `of` in `codec`; how it is received then, and after how many milliseconds. */
async function decodes(viewer, of, codec, patience = CHANGES) {
  const from = performance.now();
  let before;
  const received = await until(
    `${viewer.name} decodes ${of.name}'s camera in ${codec}`,
    async () => {
      const received = await viewer.evaluate(readReception, of.name);
      if (received?.codec !== codec) return false;
      before ??= received.framesDecoded;
      return received.framesDecoded >= before + 5 && received;
    },
    patience,
  );
  return { ...received, after: Math.round(performance.now() - from) };
}

/** Has video sent in `codec`, with a backup if there is to be one. */
function prefer(person, ...codecs) {
  return person.evaluate((codecs) => window.switchyard.localParticipant.preferCodec(...codecs), codecs.map((codec) => codec.toLowerCase()));
}

/** Runs in the page: encodings have no codecs of their own, as in older browsers. */
function forgetCodecs() {
  const { prototype } = RTCRtpSender;
  const { setParameters } = prototype;
  prototype.setParameters = function (parameters) {
    for (const encoding of parameters.encodings) delete encoding.codec;
    return setParameters.call(this, parameters);
  };
}

for (const [publisher, guest, codec, by] of [
  ["chromium", "firefox", "AV1", "itself"],
  ["chromium", "chromium", "H264", "itself"],
  ["firefox", "chromium", "VP9", "itself"],
  ["chromium", "chromium", "VP9", "an offer"],
  ["firefox", "chromium", "AV1", "an offer"],
]) {
  scene(`${codec} of ${publisher} becomes VP8 by ${by} while somebody decodes nothing else, and ${codec} again`, async (scene) => {
    const server = await scene.server();
    const chromium = await scene.chromium();
    const ada = await scene.join(publisher === "chromium" ? chromium : await scene[publisher](), server, "demo", "Ada");
    if (by === "an offer") await ada.evaluate(forgetCodecs);
    const offers = () => ada.evaluate(() => window.wire.filter(({ out, type }) => out && type === "offer").length);
    const before = await offers();
    await prefer(ada, codec);
    const cai = await scene.join(chromium, server, "demo", "Cai");
    const first = await decodes(cai, ada, codec, 15_000);

    const ben = await scene.join(await scene[guest]({ codec: "VP8" }), server, "demo", "Ben");
    scene.report(`Ben sees VP8 after ${(await decodes(ben, ada, "VP8", 15_000)).after} ms`);
    const common = await decodes(cai, ada, "VP8");
    assert.deepEqual([common.track, common.mid, common.reception], [first.track, first.mid, "full"], "it is the same track in the same slot");
    await ben.receives(ada, cai);
    await cai.receives(ada, ben);

    await ben.leave();
    const last = await decodes(cai, ada, codec, GRACE + CHANGES);
    scene.report(`${codec} again after ${last.after} ms; Cai's picture stood for ${((last.totalFreezesDuration - first.totalFreezesDuration) * 1_000).toFixed(0)} ms in all`);
    assert.deepEqual([last.track, last.mid], [first.track, first.mid]);
    await cai.receives(ada);
    const made = (await offers()) - before;
    assert.ok(by === "an offer" ? made >= 3 : made === 0, `${made} offers for three changes`);
  });
}

/** Runs in the page: on how many m-lines video is sent. */
function countSending() {
  const lines = window.switchyard.peerConnection.getTransceivers();
  return lines.filter(({ currentDirection, sender }) => currentDirection === "sendonly" && sender.track?.kind === "video").length;
}

for (const [publisher, guest, codec] of [
  ["chromium", "firefox", "AV1"],
  ["firefox", "chromium", "VP9"],
]) {
  scene(`with a backup ${publisher} sends ${codec} to who decodes it and VP8 to who doesn't, while they are there`, async (scene) => {
    // Whoever is second is at another worker than who comes before and after.
    const server = await scene.server("--span-rooms");
    const chromium = await scene.chromium();
    const ada = await scene.join(publisher === "chromium" ? chromium : await scene[publisher](), server, "demo", "Ada");
    await prefer(ada, codec, "VP8");
    const cai = await scene.join(chromium, server, "demo", "Cai");
    const first = await decodes(cai, ada, codec, 15_000);

    const ben = await scene.join(await scene[guest]({ codec: "VP8" }), server, "demo", "Ben");
    const { reception } = await decodes(ben, ada, "VP8", 15_000);
    assert.equal(reception, "full");
    const meanwhile = await decodes(cai, ada, codec);
    assert.deepEqual([meanwhile.track, meanwhile.mid], [first.track, first.mid]);
    assert.equal(await ada.evaluate(countSending), 2);
    await ben.receives(ada);

    await ada.tab.click("Camera off");
    await Promise.all([ben, cai].map((person) => person.seesTile("Ada", { picture: false, off: true })));
    await ada.tab.click("Camera on");
    await Promise.all([ben, cai].map((person) => person.sees("Ada")));
    await decodes(ben, ada, "VP8");

    await ben.leave();
    await until("one encoding is enough", async () => (await ada.evaluate(countSending)) === 1, GRACE + CHANGES);
    await decodes(cai, ada, codec);
    const again = await scene.join(await scene[guest]({ codec: "VP8" }), server, "demo", "Ben");
    await decodes(again, ada, "VP8", 15_000);
  });
}
