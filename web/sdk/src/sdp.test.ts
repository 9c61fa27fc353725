import { describe, expect, it } from "vitest";
import { withAudioNack } from "./sdp.js";

const sdp = (...lines: string[]): string => `${lines.join("\r\n")}\r\n`;
const AUDIO = [
  "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 0",
  "a=rtpmap:111 opus/48000/2",
  "a=rtpmap:63 red/48000/2",
  "a=rtpmap:0 PCMU/8000",
];
const VIDEO = ["m=video 9 UDP/TLS/RTP/SAVPF 96", "a=rtpmap:96 VP8/90000"];

describe("sound that is sent again", () => {
  it("is said of Opus and RED on each audio m-line, and of nothing else", () => {
    const [opus, red] = ["a=rtcp-fb:111 nack", "a=rtcp-fb:63 nack"];
    const said = [AUDIO[0], AUDIO[1], opus, AUDIO[2], red, AUDIO[3]] as string[];
    expect(withAudioNack(sdp("v=0", ...AUDIO, ...VIDEO, ...AUDIO))).toBe(sdp("v=0", ...said, ...VIDEO, ...said));
  });

  it("is said once", () => {
    const once = withAudioNack(sdp(...AUDIO));
    expect(withAudioNack(once)).toBe(once);
  });

  it("is answered only where it was offered", () => {
    expect(withAudioNack(sdp(...AUDIO), sdp(...AUDIO))).toBe(sdp(...AUDIO));
    const offer = sdp(...AUDIO, "a=rtcp-fb:111 nack", "a=rtcp-fb:63 nack pli");
    expect(withAudioNack(sdp(...AUDIO), offer)).toContain(
      "a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 nack\r\na=rtpmap:63 red/48000/2\r\na=rtpmap:0",
    );
  });

  it("is not answered by a browser that doesn't know RED", () => {
    const plain = sdp(AUDIO[0] as string, AUDIO[1] as string);
    expect(withAudioNack(plain, sdp(...AUDIO, "a=rtcp-fb:111 nack"))).toBe(plain);
    expect(withAudioNack(plain)).toContain("nack");
  });
});
