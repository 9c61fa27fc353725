import { decode, encode } from "@msgpack/msgpack";

import type { ClientMessage, ServerMessage } from "./protocol.js";

/** How messages are written on the WebSocket. */
export type Encoding = "json" | "msgpack";

/** What a WebSocket frame holds: text for JSON, binary for MessagePack. */
export type Frame = string | Uint8Array<ArrayBuffer> | ArrayBuffer;

/** The WebSocket subprotocol that asks for an encoding. */
export const SUBPROTOCOLS: Readonly<Record<Encoding, string>> = {
  json: "switchyard.v1.json",
  msgpack: "switchyard.v1.msgpack",
};

/** Writes a request. */
export function encodeMessage(encoding: Encoding, message: ClientMessage): string | Uint8Array<ArrayBuffer> {
  return encoding === "json" ? JSON.stringify(message) : encode(message, { ignoreUndefined: true });
}

/** Reads a message of the server; undefined if it isn't one. */
export function decodeMessage(encoding: Encoding, frame: unknown): ServerMessage | undefined {
  let value: unknown;
  try {
    if (encoding === "json" && typeof frame === "string") value = JSON.parse(frame);
    else if (encoding === "msgpack" && frame instanceof ArrayBuffer) value = decode(frame);
    else return undefined;
  } catch {
    return undefined;
  }
  return isServerMessage(value) ? value : undefined;
}

// The envelope is checked; what is in it comes from the same build's types.
function isServerMessage(value: unknown): value is ServerMessage {
  if (!isRecord(value)) return false;
  switch (value["type"]) {
    case "reply":
      return typeof value["id"] === "number" && isRecord(value["result"]);
    case "error":
      return isRecord(value["error"]) && (value["id"] === undefined || typeof value["id"] === "number");
    case "event":
      return isRecord(value["event"]);
    default:
      return false;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
