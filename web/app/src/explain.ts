import type { SwitchyardError, SwitchyardErrorCode } from "@switchyard/sdk";

/** An error for the person in front of the screen. */
export interface Explanation {
  /** What happened. */
  what: string;
  /** What to do about it. */
  todo: string;
}

const AGAIN = "Try again in a moment.";
const RELOAD = "Reload the page; if it happens again, tell whoever runs this server.";
const OPERATOR = "If it happens again, tell whoever runs this server.";

const EXPLANATIONS: Record<SwitchyardErrorCode, Explanation> = {
  malformed: { what: "The server did not understand this page.", todo: RELOAD },
  unknown_type: { what: "This page is newer than the server.", todo: RELOAD },
  unexpected_message: { what: "This page did not understand the server.", todo: RELOAD },
  wrong_encoding: { what: "The server did not understand this page.", todo: RELOAD },
  too_large: { what: "That was too large to send.", todo: "Send something smaller." },
  too_deep: { what: "The server did not understand this page.", todo: RELOAD },
  not_joined: { what: "You are not in the room any more.", todo: "Rejoin the room." },
  already_joined: { what: "You are in the room already.", todo: RELOAD },
  unauthorized: { what: "You were not let in.", todo: "Ask whoever invited you for a new link." },
  forbidden: { what: "You may not do that here.", todo: "Ask whoever invited you, or a moderator." },
  room_locked: { what: "The room is locked: nobody new comes in.", todo: "Ask the host to unlock it, then try again." },
  removed: {
    what: "A moderator has removed you from the room.",
    todo: "If that was a mistake, ask the host to let you back in, then try again.",
  },
  password_required: { what: "The room has a password.", todo: "Ask whoever invited you for it." },
  wrong_password: { what: "That is not the room's password.", todo: "Check it, then try again." },
  not_admitted: { what: "The host has not let you in.", todo: "Ask whoever invited you, then try again." },
  room_closed: { what: "The room was closed.", todo: "Whoever runs it has ended this meeting for everybody." },
  moved: { what: "You are being taken to another room.", todo: "Rejoin the room if that takes long." },
  no_such_session: { what: "The server does not know this visit any more.", todo: "Rejoin the room." },
  resumed_elsewhere: { what: "The meeting goes on elsewhere.", todo: "Rejoin the room to use it here." },
  invalid_room: {
    what: "This is not a room's name.",
    todo: "Use 1 to 64 letters, digits, hyphens, dots or underscores.",
  },
  invalid_name: { what: "This name can't be used.", todo: "Use a name of 1 to 64 characters." },
  invalid_identity: { what: "Nobody can be called this.", todo: "Use 1 to 128 characters." },
  invalid_settings: { what: "The room can't be set like this.", todo: "Use another value." },
  invalid_mid: { what: "Your video could not be announced.", todo: RELOAD },
  invalid_chat: { what: "This message can't be sent.", todo: "Write a shorter message." },
  invalid_sdp: { what: "Your browser and the server could not agree on a connection.", todo: RELOAD },
  invalid_candidate: { what: "Your browser's network address was not understood.", todo: RELOAD },
  wrong_state: { what: "Your browser and the server got out of step.", todo: RELOAD },
  negotiation_failed: { what: "Your browser and the server could not agree on a connection.", todo: RELOAD },
  no_such_track: { what: "That video is gone.", todo: "There is nothing to do about it." },
  no_such_room: { what: "The room was closed before you came in.", todo: "Ask whoever invited you, then try again." },
  no_such_participant: { what: "That person has left.", todo: "There is nothing to do about it." },
  already_published: { what: "You are sharing this already.", todo: "Stop sharing first, then share again." },
  limit_reached: { what: "The room or the server is full.", todo: "Try again when somebody has left." },
  overloaded: { what: "The server is busy with other meetings.", todo: "Try again in a minute." },
  rate_limited: { what: "That was too much at once.", todo: AGAIN },
  timeout: { what: "The server did not answer in time.", todo: "Check your network, then try again." },
  shutting_down: { what: "The server is restarting.", todo: AGAIN },
  internal: { what: "The server failed.", todo: `${AGAIN} ${OPERATOR}` },
  protocol_violation: { what: "The server ended the connection: it did not understand this page.", todo: RELOAD },
  too_slow: { what: "Your connection was too slow to keep up.", todo: "Check your network, then rejoin." },
  transport_failed: { what: "The secure media connection could not be set up.", todo: `Rejoin the room. ${OPERATOR}` },
  transport_timeout: {
    what: "Nothing was heard from your device for too long.",
    todo: "Check your network: a firewall may be blocking UDP. Then rejoin.",
  },
  connection_failed: {
    what: "The server can't be reached.",
    todo: "Check your network and the address of this page, then try again.",
  },
  connection_lost: { what: "The connection to the server was lost.", todo: "Check your network." },
  not_connected: { what: "There is no connection to the room.", todo: "Wait for it to come back, or rejoin." },
  busy: { what: "The server is slow to answer.", todo: AGAIN },
  buffer_full: { what: "Your connection is too slow to send this much.", todo: AGAIN },
  permission_denied: {
    what: "The browser does not allow it.",
    todo: "Allow it in the browser's settings for this page, then try again.",
  },
  device_not_found: { what: "No such device was found.", todo: "Plug one in, then try again." },
  device_in_use: {
    what: "The device could not be started.",
    todo: "Close other programs that may be using it, then try again.",
  },
  device_failed: { what: "The device failed.", todo: "Unplug it and plug it in again, or use another one." },
  insecure_context: {
    what: "Cameras and microphones can't be used on this address.",
    todo: "Open the page by https:// or as http://localhost. You can still watch and listen.",
  },
  unsupported: {
    what: "This browser can't do that.",
    todo: "Use a current version of Chrome, Edge, Firefox or Safari.",
  },
};

/** What happened and what to do about it. */
export function explain(error: SwitchyardError): Explanation {
  if (error.code === "unauthorized" || error.code === "forbidden") {
    // The server says which of many reasons it is, in words for people.
    const { what, todo } = EXPLANATIONS[error.code];
    return { what: `${what.slice(0, -1)}: ${error.message}.`, todo };
  }
  return EXPLANATIONS[error.code] ?? { what: error.message, todo: AGAIN };
}

/** What happened to a device: the same with its name in it. */
export function explainDevice(device: "camera" | "microphone" | "screen", error: SwitchyardError): Explanation {
  const { what, todo } = explain(error);
  switch (error.code) {
    case "permission_denied":
      return device === "screen"
        ? { what: "The screen is not shared.", todo: "Choose a screen, a window or a tab when the browser asks." }
        : {
            what: `Your ${device} is blocked.`,
            todo: "Use the icon at the left end of the address bar to allow it for this page, then turn it on again.",
          };
    case "device_not_found":
      return { what: `No ${device} was found.`, todo };
    case "device_in_use":
      return { what: `Your ${device} could not be started.`, todo };
    default:
      return { what, todo };
  }
}
