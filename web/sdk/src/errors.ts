import type { CloseReason, ErrorCode, ProtocolError } from "./protocol.js";

/** What goes wrong on the client's side of the wire. */
export type ClientErrorCode =
  /** The WebSocket could not be opened. */
  | "connection_failed"
  /** The WebSocket was closed without a reason. */
  | "connection_lost"
  /** The room is not joined: not yet, or not any more. */
  | "not_connected"
  /** Too many requests are unanswered. */
  | "busy"
  /** The server said something that this version doesn't understand. */
  | "unexpected_message"
  /** The browser refused a session description. */
  | "negotiation_failed"
  /** The data channel's buffer is full; send less or wait. */
  | "buffer_full"
  /** The user or the browser's settings don't allow the device or the screen to be used. */
  | "permission_denied"
  /** There is no such device. */
  | "device_not_found"
  /** Another program holds the device. */
  | "device_in_use"
  /** The device failed for another reason. */
  | "device_failed"
  /** Cameras and microphones are available to pages from https: or localhost only. */
  | "insecure_context"
  /** The browser can't do this. */
  | "unsupported";

/** Everything a {@link SwitchyardError} can be about. */
export type SwitchyardErrorCode = ErrorCode | CloseReason | ClientErrorCode;

/** Every error of this SDK: `code` for programs, `message` for people. */
export class SwitchyardError extends Error {
  override readonly name = "SwitchyardError";
  /** What went wrong. */
  readonly code: SwitchyardErrorCode;
  /** Whether trying the same again can help. */
  readonly retryable: boolean;

  constructor(code: SwitchyardErrorCode, message: string, options: { retryable?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? false;
  }

  /** An error as the server sent it. */
  static fromProtocol(error: ProtocolError): SwitchyardError {
    return new SwitchyardError(error.code, error.message, { retryable: error.retryable });
  }

  /** Anything thrown as a SwitchyardError: itself if it is one, otherwise the cause of one with this code. */
  static from(cause: unknown, code: SwitchyardErrorCode): SwitchyardError {
    if (cause instanceof SwitchyardError) return cause;
    return new SwitchyardError(code, cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

/** Why the server closed the session, as an error. */
export function closeError(reason: CloseReason, message: string): SwitchyardError {
  const retryable = ["shutting_down", "too_slow", "transport_timeout", "moved"].includes(reason);
  return new SwitchyardError(reason, message, { retryable });
}

/** Whether this is how the session has ended, not only the connection on which it is said. */
export function isFarewell(reason: CloseReason): boolean {
  return reason === "removed" || reason === "room_closed" || reason === "moved";
}

/** What `getUserMedia` or `getDisplayMedia` threw, as an error. */
export function deviceError(cause: unknown): SwitchyardError {
  if (cause instanceof SwitchyardError) return cause;
  const name = cause instanceof DOMException || cause instanceof Error ? cause.name : "";
  switch (name) {
    case "NotAllowedError":
    case "SecurityError":
      return new SwitchyardError("permission_denied", "The browser did not allow it.", { cause });
    case "NotFoundError":
    case "OverconstrainedError":
      return new SwitchyardError("device_not_found", "No such device was found.", { cause });
    case "NotReadableError":
    case "AbortError":
      return new SwitchyardError("device_in_use", "The device could not be started; another program may be using it.", {
        cause,
        retryable: true,
      });
    default:
      return SwitchyardError.from(cause, "device_failed");
  }
}
