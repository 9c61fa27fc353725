import { Emitter } from "./emitter.js";
import { SwitchyardError } from "./errors.js";
import type { ParticipantId } from "./protocol.js";

/** The label of the data channel whose messages all arrive, in their order. */
const RELIABLE = "switchyard";
/** The label of the one whose messages are sent once: they may get lost or overtake each other, and hold up nothing. */
const LOSSY = "switchyard-lossy";
/** Bytes in the reliable channel that may not have arrived: sixteen of its largest messages. */
export const MAX_BUFFERED = 1024 * 1024;
/** Messages of which the same may be true: more than the server takes in a second. */
export const MAX_KEPT = 4_096;
/** Bytes that may wait in the other, where what waits gets stale: two of its largest messages. */
export const MAX_BUFFERED_LOSSY = 128 * 1024;
/** The part of those at which there is room again. */
const LOW = 1 / 4;
/** Bytes of payload that the server relays in one message. */
export const MAX_DATA = 64 * 1024;
/** After so many bytes of messages the server is told how many have come: it keeps eight times as much. */
const TELL_AFTER = 128 * 1024;
/** It is told this many milliseconds after a message at the latest, so that it doesn't keep what has long come. */
export const TELL_WITHIN = 500;

/** In a binary message's first four bytes: to everyone else in the room. */
const EVERYONE = 0xffff_ffff;

/** What the data channels carry. */
export type DataPayload = string | Uint8Array<ArrayBuffer>;

/** The events of {@link DataChannels}. */
export interface DataEvents {
  /** A message of another participant. */
  message: [payload: DataPayload, from: ParticipantId, reliable: boolean];
  /** {@link DataChannels.open} is another value. */
  openChanged: [open: boolean];
  /** A channel in which much was waiting has room again. */
  low: [reliable: boolean];
  /** The reliable channel is gone, although its connection was not given up. */
  lost: [];
}

/** A message that may not have arrived. */
interface Kept {
  readonly message: string | Uint8Array<ArrayBuffer>;
  readonly size: number;
}

/**
 * A session's two data channels, over one peer connection after the other. Reliable messages are counted, so that none is
 * lost or doubled between one connection and the next: each side keeps what it sent until the other says that it came.
 */
export class DataChannels extends Emitter<DataEvents> {
  #reliable: RTCDataChannel | null = null;
  #lossy: RTCDataChannel | null = null;
  #open = false;
  /** What was sent on this connection and is not known to have come, then what waits for a channel. */
  #kept: Kept[] = [];
  #keptBytes = 0;
  /** How many messages of this connection before those have come. */
  #arrived = 0;
  /** How many of those that are kept the channel has. */
  #handed = 0;
  /** Much was waiting: there may be somebody who waits for room. */
  #full = false;
  /** Messages that have come on this connection's reliable channel. */
  #received = 0;
  /** Bytes of those that the server has not been told of. */
  #untold = 0;
  #tellTimer: ReturnType<typeof setTimeout> | undefined;

  /** Whether the reliable channel can be used: from when it is open until {@link close}. What is sent while it is gone waits for the next one. */
  get open(): boolean {
    return this.#open;
  }

  /** Makes the channels on a connection. */
  connect(connection: RTCPeerConnection): void {
    const reliable = this.#make(connection.createDataChannel(RELIABLE), true);
    this.#reliable = reliable;
    this.#lossy = this.#make(connection.createDataChannel(LOSSY, { ordered: false, maxRetransmits: 0 }), false);
    reliable.addEventListener("open", () => {
      if (reliable !== this.#reliable) return;
      this.#pump();
      this.#setOpen(true);
    });
    reliable.addEventListener("close", () => {
      if (reliable === this.#reliable && this.#open) this.emit("lost");
    });
  }

  /** Gives up the connection: what comes on it from now on has not come. How many reliable messages have. */
  disconnect(): number {
    this.#reliable = this.#lossy = null;
    clearTimeout(this.#tellTimer);
    this.#tellTimer = undefined;
    return this.#received;
  }

  /** Before the next connection: the server has got so many reliable messages on the one before. Whether that can be. */
  renewed(received: number): boolean {
    if (received > this.#arrived + this.#handed) return false;
    this.#acknowledge(received);
    this.#arrived = this.#handed = this.#received = this.#untold = 0;
    return true;
  }

  /** Ends it for good. */
  close(): void {
    this.disconnect();
    this.#kept = [];
    this.#keptBytes = 0;
    this.#setOpen(false);
  }

  /** Bytes that wait in a channel; in the reliable one, those that are not known to have arrived. */
  buffered(reliable: boolean): number {
    return reliable ? this.#keptBytes : (this.#lossy?.bufferedAmount ?? 0);
  }

  /** As {@link Room.sendData}. */
  send(payload: DataPayload, to: ParticipantId | null, reliable: boolean): void {
    if (!this.#open) throw new SwitchyardError("not_connected", "The data channel is not open.", { retryable: true });
    const size = typeof payload === "string" ? new TextEncoder().encode(payload).byteLength : payload.byteLength;
    if (size > MAX_DATA) throw new SwitchyardError("too_large", `A data message has at most ${MAX_DATA} bytes.`);
    const message = packData(payload, to);
    if (!reliable) {
      const channel = this.#lossy;
      // The line would lose it, or it would be stale by the time it goes out.
      const fits = channel?.readyState === "open" && channel.bufferedAmount + size <= MAX_BUFFERED_LOSSY;
      if (fits) write(channel, message);
      return;
    }
    if (this.#keptBytes + size > MAX_BUFFERED || this.#kept.length >= MAX_KEPT) {
      this.#full = true;
      throw new SwitchyardError("buffer_full", "The data channel's buffer is full.", { retryable: true });
    }
    this.#kept.push({ message, size });
    this.#keptBytes += size;
    this.#full ||= this.#keptBytes > MAX_BUFFERED * LOW;
    this.#pump();
  }

  /** Gives the channel what waits for it. */
  #pump(): void {
    const channel = this.#reliable;
    if (channel?.readyState !== "open") return;
    for (; this.#handed < this.#kept.length; this.#handed += 1)
      write(channel, (this.#kept[this.#handed] as Kept).message);
  }

  #make(channel: RTCDataChannel, reliable: boolean): RTCDataChannel {
    channel.binaryType = "arraybuffer";
    if (!reliable) {
      channel.bufferedAmountLowThreshold = MAX_BUFFERED_LOSSY * LOW;
      channel.addEventListener("bufferedamountlow", () => this.emit("low", false));
    }
    channel.addEventListener("message", ({ data }) => {
      if (channel !== this.#reliable && channel !== this.#lossy) return;
      if (reliable && this.#isCount(data)) return;
      if (reliable) this.#count(typeof data === "string" ? data.length : (data as ArrayBuffer).byteLength);
      const message = unpackData(data);
      if (message) this.emit("message", message.payload, message.from, reliable);
    });
    return channel;
  }

  /** Whether a message is none, but says how many have come. */
  #isCount(data: unknown): boolean {
    const [, count] = (typeof data === "string" && /^\+\n(\d{1,10})$/.exec(data)) || [];
    if (count !== undefined && Number(count) <= this.#arrived + this.#handed) this.#acknowledge(Number(count));
    return count !== undefined;
  }

  #acknowledge(received: number): void {
    const news = Math.max(0, received - this.#arrived);
    for (const { size } of this.#kept.splice(0, news)) this.#keptBytes -= size;
    this.#arrived += news;
    this.#handed -= news;
    if (!this.#full || this.#keptBytes > MAX_BUFFERED * LOW || this.#kept.length > MAX_KEPT * LOW) return;
    this.#full = false;
    this.emit("low", true);
  }

  #count(size: number): void {
    this.#received += 1;
    this.#untold += size;
    if (this.#untold >= TELL_AFTER) this.#tell();
    else this.#tellTimer ??= setTimeout(() => this.#tell(), TELL_WITHIN);
  }

  #tell(): void {
    clearTimeout(this.#tellTimer);
    this.#tellTimer = undefined;
    this.#untold = 0;
    const channel = this.#reliable;
    if (channel?.readyState === "open") channel.send(`+\n${this.#received}`);
  }

  #setOpen(open: boolean): void {
    if (open === this.#open) return;
    this.#open = open;
    this.emit("openChanged", open);
  }
}

function write(channel: RTCDataChannel, message: string | Uint8Array<ArrayBuffer>): void {
  // Two overloads of send, one for each.
  if (typeof message === "string") channel.send(message);
  else channel.send(message);
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
