/**
 * A description of the browser's that also says that lost packets of sound are asked for and sent again (`nack`, RFC 4585). Browsers send again what they are
 * asked for, and most ask if the other end's description says so, but they don't say it themselves. `offer`: the server's, if this is the answer
 * to it; only what it has is answered, and only by browsers that know RED: those that don't (Firefox) don't ask either.
 */
export function withAudioNack(sdp: string, offer?: string): string {
  const asks = offer === undefined || /^a=rtpmap:\d+ red\/48000/m.test(sdp);
  if (!asks) return sdp;
  const offered = offer === undefined ? null : new Set(offer.match(NACK));
  let audio = false;
  const lines = sdp.split("\r\n");
  const said = new Set(sdp.match(NACK));
  return lines
    .flatMap((line) => {
      if (line.startsWith("m=")) audio = line.startsWith("m=audio ");
      const payloadType = audio ? /^a=rtpmap:(\d+) (?:opus|red)\/48000/i.exec(line)?.[1] : undefined;
      const nack = `a=rtcp-fb:${payloadType} nack`;
      return payloadType !== undefined && !said.has(nack) && (offered?.has(nack) ?? true) ? [line, nack] : [line];
    })
    .join("\r\n");
}

const NACK = /^a=rtcp-fb:\d+ nack$/gm;
