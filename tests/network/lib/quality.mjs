// What comes out of a line for those who meet over it, from the browsers' own statistics.
import { setTimeout as pause } from "node:timers/promises";

/** What grows in a report of an incoming stream. */
const COUNTERS = [
  "framesDecoded",
  "keyFramesDecoded",
  "freezeCount",
  "totalFreezesDuration",
  "packetsReceived",
  "packetsLost",
  "bytesReceived",
  "retransmittedBytesReceived",
  "nackCount",
  "pliCount",
  "totalSamplesReceived",
  "concealedSamples",
  "silentConcealedSamples",
  "jitterBufferDelay",
  "jitterBufferEmittedCount",
  "fecPacketsReceived",
];

/** Runs in the page: the counters of what is received of everybody, by name and source; the states of what carries it. */
async function readQuality(counters) {
  const room = window.switchyard;
  const streams = [...(await room.peerConnection.getStats()).values()];
  const incoming = streams.filter(({ type }) => type === "inbound-rtp");
  const reported = streams.filter(({ type, kind }) => type === "remote-inbound-rtp" && kind === "audio");
  const outgoing = streams.filter(({ type }) => type === "outbound-rtp");
  const people = {};
  for (const participant of room.participants.values()) {
    for (const track of participant.tracks.values()) {
      const mid = room.mid(track);
      const ofLine = incoming.filter((stream) => mid !== null && stream.mid === mid);
      if (ofLine.length === 0) continue;
      people[participant.name] ??= {};
      // All that the m-line ever carried, so that the numbers only grow.
      const total = (name) => ofLine.reduce((sum, stream) => sum + (stream[name] ?? 0), 0);
      people[participant.name][track.source] = Object.fromEntries(counters.map((name) => [name, total(name)]));
    }
  }
  const sum = (name, kind) => outgoing.filter((stream) => stream.kind === kind).reduce((total, stream) => total + (stream[name] ?? 0), 0);
  return {
    at: performance.now(),
    people,
    sent: {
      frames: sum("framesEncoded", "video"),
      packets: sum("packetsSent", "video"),
      resent: sum("retransmittedPacketsSent", "video"),
      keyframes: sum("keyFramesEncoded", "video"),
      bytes: sum("bytesSent", "video"),
    },
    reportedLoss: Math.max(0, ...reported.map(({ fractionLost }) => fractionLost ?? 0)),
    connection: room.peerConnection.connectionState,
    room: room.state,
  };
}

/** Milliseconds between two looks: a stream that a browser begins anew counts from zero, and what it counted since the last look is lost. */
const LOOK = 500;

/** What `at` gets of each of `names` during `duration` milliseconds: rates, shares and counts; and what it sends itself. */
export async function quality(at, names, duration) {
  const looks = [await at.evaluate(readQuality, COUNTERS)];
  const [before] = looks;
  while (looks.at(-1).at - before.at < duration) {
    await pause(LOOK);
    looks.push(await at.evaluate(readQuality, COUNTERS));
  }
  const after = looks.at(-1);
  const seconds = (after.at - before.at) / 1000;
  const grown = (name, source) => {
    const all = looks.map(({ people }) => people[name]?.[source]);
    if (!all[0] || !all.at(-1)) throw new Error(`${at.name} receives no ${source} of ${name}`);
    const seen = all.filter((counters) => counters);
    const steps = seen.slice(1).map((now, index) => [now.packetsReceived < seen[index].packetsReceived ? null : seen[index], now]);
    const growth = (counter) => steps.reduce((sum, [then, now]) => sum + now[counter] - (then?.[counter] ?? 0), 0);
    return Object.fromEntries(COUNTERS.map((counter) => [counter, growth(counter)]));
  };
  const received = Object.fromEntries(
    names.map((name) => {
      const [video, audio] = [grown(name, "camera"), grown(name, "microphone")];
      return [
        name,
        {
          fps: video.framesDecoded / seconds,
          keyframes: video.keyFramesDecoded,
          freezes: video.freezeCount,
          frozen: video.totalFreezesDuration,
          lost: share(video.packetsLost, video.packetsReceived + video.packetsLost),
          // By bytes: what probes the line travels as retransmissions of nothing.
          resent: share(video.retransmittedBytesReceived, video.bytesReceived),
          nacks: video.nackCount,
          plis: video.pliCount,
          videoDelay: (video.jitterBufferDelay / video.jitterBufferEmittedCount) * 1000,
          // Concealment of silence (a sender that stops, comfort noise) is no loss of anything.
          concealed: share(audio.concealedSamples - audio.silentConcealedSamples, audio.totalSamplesReceived),
          repaired: audio.fecPacketsReceived,
          audioDelay: (audio.jitterBufferDelay / audio.jitterBufferEmittedCount) * 1000,
        },
      ];
    }),
  );
  const sent = Object.fromEntries(Object.keys(after.sent).map((key) => [key, after.sent[key] - before.sent[key]]));
  sent.fps = sent.frames / seconds;
  sent.kbps = (sent.bytes * 8) / 1000 / seconds;
  return { received, sent, reportedLoss: after.reportedLoss, connection: after.connection, room: after.room };
}

function share(part, whole) {
  return whole > 0 ? part / whole : 0;
}

/** A line for the report about what `at` got of `name`. */
export function describe(at, name, { received, sent, reportedLoss }) {
  const { fps, keyframes, freezes, frozen, lost, resent, nacks, plis, videoDelay, concealed, repaired, audioDelay } = received[name];
  const percent = (value) => `${(value * 100).toFixed(1)} %`;
  return (
    `${name} at ${at.name}: ${fps.toFixed(1)} frames/s, ${keyframes} keyframes, ${freezes} freezes (${frozen.toFixed(1)} s), ${percent(lost)} of packets lost for good, ` +
    `${percent(resent)} resent, ${nacks} NACKs, ${plis} PLIs, waits ${videoDelay.toFixed(0)} ms; sound: ${percent(concealed)} concealed, ${repaired} packets of error correction, waits ${audioDelay.toFixed(0)} ms; ` +
    `${at.name} itself encodes ${sent.fps.toFixed(1)} frames/s, ${sent.kbps.toFixed(0)} kbit/s, ${percent(share(sent.resent, sent.packets))} resent, ` +
    `is told that ${percent(reportedLoss)} of its sound is lost`
  );
}
