import { Emitter } from "./emitter.js";
import { SwitchyardError } from "./errors.js";
import type { ParticipantId } from "./protocol.js";

/** The label of the data channel whose messages all arrive, in their order. */
const RELIABLE = "switchyard";
/** The label of the one whose messages are sent once: they may get lost or overtake each other, and hold up nothing. */
const LOSSY = "switchyard-lossy";
/** Bytes that may wait in the reliable channel: sixteen of its largest messages. */
export const MAX_BUFFERED = 1024 * 1024;
/** Bytes that may wait in the other, where what waits gets stale: two of its largest messages. */
export const MAX_BUFFERED_LOSSY = 128 * 1024;
/** The part of those at which there is room again. */
const LOW = 1 / 4;
/** Bytes of payload that the server relays in one message. */
export const MAX_DATA = 64 * 1024;

/** In a binary message's first four bytes: to everyone else in the room. */
const EVERYONE = 0xffff_ffff;

/** What the data channels carry. */
export type DataPayload = string | Uint8Array<ArrayBuffer>;

/** The events of {@link DataChannels}. */
export interface DataEvents {
  /** A message of another participant. */
  message: [payload: DataPayload, from: ParticipantId, reliable: boolean];
  /** The reliable channel can be used, or no longer. */
  openChanged: [open: boolean];
  /** A channel in which much was waiting has room again. */
  low: [reliable: boolean];
}

/** The two data channels of a connection. */
export class DataChannels extends Emitter<DataEvents> {
  readonly #reliable: RTCDataChannel;
  readonly #lossy: RTCDataChannel;

  constructor(connection: RTCPeerConnection) {
    super();
    this.#reliable = this.#open(connection.createDataChannel(RELIABLE), true);
    this.#lossy = this.#open(connection.createDataChannel(LOSSY, { ordered: false, maxRetransmits: 0 }), false);
    this.#reliable.addEventListener("open", () => this.emit("openChanged", true));
    this.#reliable.addEventListener("close", () => this.emit("openChanged", false));
  }

  /** Whether the reliable channel can be used. */
  get open(): boolean {
    return this.#reliable.readyState === "open";
  }

  /** Bytes that wait in a channel. */
  buffered(reliable: boolean): number {
    return (reliable ? this.#reliable : this.#lossy).bufferedAmount;
  }

  /** As {@link Room.sendData}. */
  send(payload: DataPayload, to: ParticipantId | null, reliable: boolean): void {
    const channel = reliable ? this.#reliable : this.#lossy;
    if (channel.readyState !== "open") {
      throw new SwitchyardError("not_connected", "The data channel is not open.", { retryable: true });
    }
    const size = typeof payload === "string" ? new TextEncoder().encode(payload).byteLength : payload.byteLength;
    if (size > MAX_DATA) throw new SwitchyardError("too_large", `A data message has at most ${MAX_DATA} bytes.`);
    if (channel.bufferedAmount + size > (reliable ? MAX_BUFFERED : MAX_BUFFERED_LOSSY)) {
      // The line would have lost it, or it would be stale by the time it goes out.
      if (!reliable) return;
      throw new SwitchyardError("buffer_full", "The data channel's buffer is full.", { retryable: true });
    }
    const message = packData(payload, to);
    // Two overloads of send, one for each.
    if (typeof message === "string") channel.send(message);
    else channel.send(message);
  }

  #open(channel: RTCDataChannel, reliable: boolean): RTCDataChannel {
    channel.binaryType = "arraybuffer";
    channel.bufferedAmountLowThreshold = (reliable ? MAX_BUFFERED : MAX_BUFFERED_LOSSY) * LOW;
    channel.addEventListener("bufferedamountlow", () => this.emit("low", reliable));
    channel.addEventListener("message", ({ data }) => {
      const message = unpackData(data);
      if (message) this.emit("message", message.payload, message.from, reliable);
    });
    return channel;
  }
}

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
