/**
 * Switchyard's browser SDK.
 *
 * ```ts
 * const room = new Room();
 * room.on("trackPublished", (track) => console.log(track.participant.name, track.source));
 * await room.connect("wss://example.org/v1/ws", { room: "demo", name: "Ada", tracks: [LocalTrack.microphone()] });
 * ```
 *
 * @module
 */
export type { DataPayload } from "./data.js";
export { Emitter, type Listener } from "./emitter.js";
export type { Encoding } from "./encoding.js";
export { type ClientErrorCode, deviceError, SwitchyardError, type SwitchyardErrorCode } from "./errors.js";
export { LocalTrack, openDevices } from "./local.js";
export { LocalParticipant } from "./participant.js";
export type {
  ChatMessage,
  CloseReason,
  ErrorCode,
  Grants,
  Guest,
  GuestId,
  Kind,
  LeaveReason,
  Limits,
  ParticipantId,
  Quality,
  Reception,
  RoomSettings,
  RoomSettingsChange,
  Source,
  Speaker,
  TrackId,
  VideoCodec,
} from "./protocol.js";
export { type ConnectionQuality, RemoteParticipant, RemoteTrack } from "./remote.js";
export { type ConnectOptions, type DataOptions, type Outage, Room, type RoomEvents, type RoomState } from "./room.js";
export { kindOf, Track, type TrackEvents } from "./track.js";
