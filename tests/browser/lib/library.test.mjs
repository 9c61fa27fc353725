import assert from "node:assert/strict";
import { test } from "node:test";
import { answer } from "./bot.mjs";
import { percentile } from "./statistics.mjs";
import { until } from "./tab.mjs";

test("a percentile is one of the values", () => {
  assert.equal(percentile([5], 0.95), 5);
  assert.equal(percentile([3, 1, 2], 0.5), 2);
  assert.equal(percentile(Array.from({ length: 100 }, (_, index) => index + 1), 0.95), 95);
  assert.throws(() => percentile([], 0.5));
});

test("a bot's answer turns directions round and leaves rejected m-lines rejected", () => {
  const offer = [
    "v=0",
    "s=-",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    "a=mid:0",
    "a=sctp-port:5000",
    "m=audio 9 UDP/TLS/RTP/SAVPF 111",
    "a=mid:s0",
    "a=sendonly",
    "a=rtpmap:111 opus/48000/2",
    "a=ssrc:1 cname:x",
    "m=video 0 UDP/TLS/RTP/SAVPF 96",
    "a=mid:s1",
    "a=inactive",
    "",
  ].join("\r\n");
  const answered = answer(offer, ["a=ice-ufrag:x"]);
  assert.match(answered, /a=group:BUNDLE 0 s0\r\n/);
  assert.match(answered, /m=audio 9 .*\r\n(?:a=.*\r\n|c=.*\r\n)*a=recvonly\r\n/);
  assert.match(answered, /m=video 0 /);
  assert.doesNotMatch(answered, /ssrc|a=sendonly/);
});

test("a condition that stays false is an error that says what was waited for and what was seen", async () => {
  await assert.rejects(until("rain", () => 0, 60), /after 60 ms still not: rain \(last seen: 0\)/);
});

test("a condition is looked at until it is true", async () => {
  let looks = 0;
  assert.equal(await until("three looks", () => ++looks === 3 && "seen"), "seen");
});
