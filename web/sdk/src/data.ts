import type { ParticipantId } from "./protocol.js";

/** In a binary message's first four bytes: to everyone else in the room. */
const EVERYONE = 0xffff_ffff;

/** What the data channel carries. */
export type DataPayload = string | Uint8Array<ArrayBuffer>;

/** A message for one participant, or for everyone else in the room. */
export function packData(payload: DataPayload, to: ParticipantId | null): string | Uint8Array<ArrayBuffer> {
  if (typeof payload === "string") return `${to ?? "*"}\n${payload}`;
  const message = new Uint8Array(4 + payload.byteLength);
  new DataView(message.buffer).setUint32(0, to ?? EVERYONE);
  message.set(payload, 4);
  return message;
}

/** A message as it arrives, with who sent it; undefined if it is malformed. */
export function unpackData(message: unknown): { from: ParticipantId; payload: DataPayload } | undefined {
  if (typeof message === "string") {
    const end = message.indexOf("\n");
    const from = message.slice(0, Math.max(end, 0));
    if (!/^\d{1,10}$/.test(from)) return undefined;
    return { from: Number(from), payload: message.slice(end + 1) };
  }
  if (message instanceof ArrayBuffer && message.byteLength >= 4) {
    return { from: new DataView(message).getUint32(0), payload: new Uint8Array(message, 4) };
  }
  return undefined;
}
