// Generated from crates/protocol by `cargo xtask types`. Do not edit.

export const PROTOCOL_VERSION = 1;

export type ParticipantId = number;

export type TrackId = number;

export type GuestId = number;

export type Kind = "audio" | "video";

export type Source = "camera" | "microphone" | "screen" | "screen_audio";

export type VideoCodec = "vp8" | "vp9" | "h264" | "av1" | "h265";

export type Grants = { 
/**
 * What it may publish.
 */
publish: Array<Source>, 
/**
 * Whether it receives what others publish.
 */
subscribe: boolean, 
/**
 * Whether it may say something, by `chat` and over data channels. Everybody hears what is said.
 */
data: boolean, 
/**
 * Whether it may mute, remove and ban others, say how the room is set and let in who waits; and come in without any of that in its way.
 */
moderate: boolean, };

export type TrackView = { 
/**
 * Somebody else's.
 */
track: TrackId, 
/**
 * Across, in pixels of the screen (CSS pixels times `devicePixelRatio`). 0 by 0: hidden, but its slot is kept as long as nothing else needs it.
 */
width: number, 
/**
 * Down.
 */
height: number, 
/**
 * It comes before all that is not pinned.
 */
pinned: boolean, };

export type Backup = { 
/**
 * The m-line it is sent on; it may be negotiated later.
 */
mid: string, 
/**
 * What it is sent in.
 */
codec: VideoCodec, 
/**
 * What the track itself is sent in.
 */
instead_of: VideoCodec, };

export type RoomSettings = { 
/**
 * Nobody new comes in but moderators.
 */
locked: boolean, 
/**
 * Who is no moderator waits until one lets them in.
 */
lobby: boolean, 
/**
 * Who is no moderator needs a password. Nobody is told which.
 */
password: boolean, 
/**
 * How many may be there at the same time; at most as many as the server permits.
 */
max_participants: number, };

export type RoomSettingsChange = { 
/**
 * See [`RoomSettings::locked`].
 */
locked?: boolean, 
/**
 * See [`RoomSettings::lobby`]. Turned off, it lets in all who wait.
 */
lobby?: boolean, 
/**
 * Who comes from now on needs this one; an empty one: none.
 */
password?: string, 
/**
 * See [`RoomSettings::max_participants`]. Whoever is there stays, also if they are more.
 */
max_participants?: number, };

export type ClientMessage = { 
/**
 * Chosen by the client, unique among its unanswered requests.
 */
id: number, } & ({ "type": "join", 
/**
 * The room's id: letters, digits, `-`, `_`, `.`; made when the first participant enters.
 */
room: string, 
/**
 * The display name others see, unless the access token has another.
 */
name: string, 
/**
 * An access token (a JWT), where the server asks for one.
 */
token?: string, 
/**
 * The room's password, if it has one; moderators need none.
 */
password?: string, } | { "type": "resume", 
/**
 * From [`crate::Joined::session`].
 */
token: string, 
/**
 * How many of the server's messages arrived after the reply to `join`, over all connections of the session; the reply to
 * `resume` is not counted.
 */
received: number, } | { "type": "renew", 
/**
 * How many messages have come on the reliable data channel of the transport that has failed; the server sends the others again.
 */
received: number, } | { "type": "offer", 
/**
 * SDP.
 */
sdp: string, } | { "type": "answer", 
/**
 * From the offer.
 */
revision: number, 
/**
 * SDP.
 */
sdp: string, } | { "type": "candidate", 
/**
 * The `candidate:` line (RFC 8839 §5.1).
 */
candidate: string, 
/**
 * The m-line it is for.
 */
mid?: string, } | { "type": "end_of_candidates" } | { "type": "publish", 
/**
 * The m-line's identification in the client's session description; it may be negotiated later.
 */
mid: string, 
/**
 * What it shows.
 */
source: Source, 
/**
 * Whether it starts out muted.
 */
muted: boolean, } | { "type": "back_up", 
/**
 * One of the client's own.
 */
track: TrackId, 
/**
 * Absent: there is none any more.
 */
backup?: Backup, } | { "type": "unpublish", 
/**
 * One of the client's own.
 */
track: TrackId, } | { "type": "mute", 
/**
 * One of the client's own, or a moderator's choice.
 */
track: TrackId, 
/**
 * The new state.
 */
muted: boolean, } | { "type": "subscribe", 
/**
 * Somebody else's.
 */
track: TrackId, } | { "type": "unsubscribe", 
/**
 * Somebody else's.
 */
track: TrackId, } | { "type": "pause", 
/**
 * Somebody else's.
 */
track: TrackId, 
/**
 * The new state.
 */
paused: boolean, } | { "type": "view", 
/**
 * In the order of their importance, the pinned before the others.
 */
tracks: Array<TrackView>, 
/**
 * Whether other video tracks are sent as well while there is room.
 */
others: boolean, } | { "type": "rename", 
/**
 * The new name.
 */
name: string, } | { "type": "chat", 
/**
 * The text.
 */
text: string, 
/**
 * Only to this participant.
 */
to?: ParticipantId, } | { "type": "remove", 
/**
 * Whom.
 */
participant: ParticipantId, } | { "type": "ban", 
/**
 * As in access tokens.
 */
identity: string, 
/**
 * The new state.
 */
banned: boolean, } | { "type": "configure", 
/**
 * What is to be otherwise.
 */
settings: RoomSettingsChange, } | { "type": "admit", 
/**
 * Only this one.
 */
guest?: GuestId, } | { "type": "deny", 
/**
 * Only this one.
 */
guest?: GuestId, } | { "type": "ice_servers" } | { "type": "ping", 
/**
 * As in [`Request::Resume`]: the server need not keep those messages any longer.
 */
received?: number, } | { "type": "leave" });

export type Request = { "type": "join", 
/**
 * The room's id: letters, digits, `-`, `_`, `.`; made when the first participant enters.
 */
room: string, 
/**
 * The display name others see, unless the access token has another.
 */
name: string, 
/**
 * An access token (a JWT), where the server asks for one.
 */
token?: string, 
/**
 * The room's password, if it has one; moderators need none.
 */
password?: string, } | { "type": "resume", 
/**
 * From [`crate::Joined::session`].
 */
token: string, 
/**
 * How many of the server's messages arrived after the reply to `join`, over all connections of the session; the reply to
 * `resume` is not counted.
 */
received: number, } | { "type": "renew", 
/**
 * How many messages have come on the reliable data channel of the transport that has failed; the server sends the others again.
 */
received: number, } | { "type": "offer", 
/**
 * SDP.
 */
sdp: string, } | { "type": "answer", 
/**
 * From the offer.
 */
revision: number, 
/**
 * SDP.
 */
sdp: string, } | { "type": "candidate", 
/**
 * The `candidate:` line (RFC 8839 §5.1).
 */
candidate: string, 
/**
 * The m-line it is for.
 */
mid?: string, } | { "type": "end_of_candidates" } | { "type": "publish", 
/**
 * The m-line's identification in the client's session description; it may be negotiated later.
 */
mid: string, 
/**
 * What it shows.
 */
source: Source, 
/**
 * Whether it starts out muted.
 */
muted: boolean, } | { "type": "back_up", 
/**
 * One of the client's own.
 */
track: TrackId, 
/**
 * Absent: there is none any more.
 */
backup?: Backup, } | { "type": "unpublish", 
/**
 * One of the client's own.
 */
track: TrackId, } | { "type": "mute", 
/**
 * One of the client's own, or a moderator's choice.
 */
track: TrackId, 
/**
 * The new state.
 */
muted: boolean, } | { "type": "subscribe", 
/**
 * Somebody else's.
 */
track: TrackId, } | { "type": "unsubscribe", 
/**
 * Somebody else's.
 */
track: TrackId, } | { "type": "pause", 
/**
 * Somebody else's.
 */
track: TrackId, 
/**
 * The new state.
 */
paused: boolean, } | { "type": "view", 
/**
 * In the order of their importance, the pinned before the others.
 */
tracks: Array<TrackView>, 
/**
 * Whether other video tracks are sent as well while there is room.
 */
others: boolean, } | { "type": "rename", 
/**
 * The new name.
 */
name: string, } | { "type": "chat", 
/**
 * The text.
 */
text: string, 
/**
 * Only to this participant.
 */
to?: ParticipantId, } | { "type": "remove", 
/**
 * Whom.
 */
participant: ParticipantId, } | { "type": "ban", 
/**
 * As in access tokens.
 */
identity: string, 
/**
 * The new state.
 */
banned: boolean, } | { "type": "configure", 
/**
 * What is to be otherwise.
 */
settings: RoomSettingsChange, } | { "type": "admit", 
/**
 * Only this one.
 */
guest?: GuestId, } | { "type": "deny", 
/**
 * Only this one.
 */
guest?: GuestId, } | { "type": "ice_servers" } | { "type": "ping", 
/**
 * As in [`Request::Resume`]: the server need not keep those messages any longer.
 */
received?: number, } | { "type": "leave" };

export type ServerMessage = { "type": "reply", 
/**
 * The request's id.
 */
id: number, 
/**
 * What was asked for.
 */
result: Reply, } | { "type": "error", 
/**
 * The request's id, if it could be read.
 */
id?: number, 
/**
 * What went wrong.
 */
error: ProtocolError, } | { "type": "event", 
/**
 * What.
 */
event: Event, };

export type Reply = { "kind": "joined" } & Joined | { "kind": "resumed" } & Resumed | { "kind": "renewed" } & Renewed | { "kind": "answer" } & Answered | { "kind": "ignored" } | { "kind": "published" } & Published | { "kind": "ice_servers" } & IceServers | { "kind": "pong" } | { "kind": "done" };

export type Joined = { 
/**
 * The protocol's version.
 */
version: number, 
/**
 * The room's id.
 */
room: string, 
/**
 * Who the client is.
 */
participant: ParticipantId, 
/**
 * The display name others see: the access token's, or else the one that was asked for.
 */
name: string, 
/**
 * Who the access token says that the client is; absent where there is no access control.
 */
identity?: string, 
/**
 * What the client may do.
 */
grants: Grants, 
/**
 * How the room is set.
 */
settings: RoomSettings, 
/**
 * Everybody else in the room with what they publish.
 */
participants: Array<Participant>, 
/**
 * For `RTCConfiguration.iceServers`.
 */
ice_servers: Array<IceServer>, 
/**
 * Only they lead to the server: `RTCConfiguration.iceTransportPolicy` is `relay`, for as long as the session lasts.
 */
relay_only?: boolean, 
/**
 * What the server accepts.
 */
limits: Limits, 
/**
 * How to go on over another connection when this one is lost.
 */
session: Session, };

export type Session = { 
/**
 * Whoever knows it is the participant. Not to be shown, logged or stored.
 */
token: string, 
/**
 * Milliseconds after the loss of a connection in which [`crate::Request::Resume`] is taken; then the participant has left.
 */
resume_within: number, };

export type Resumed = { 
/**
 * How many of the client's messages arrived after `join`, over all connections of the session; `resume` is not counted. The client sends the
 * others again.
 */
received: number, 
/**
 * More was missed than the server keeps: the room as it is now. Of what was missed only replies, errors and offers follow.
 */
snapshot?: Snapshot, };

export type Snapshot = { 
/**
 * Everybody else in the room with what they publish.
 */
participants: Array<Participant>, 
/**
 * What each of the client's receiving m-lines carries; those that carry nothing are not in it.
 */
slots: Array<SlotAssignment>, 
/**
 * How the room is set.
 */
settings: RoomSettings, };

export type IceServer = { 
/**
 * `stun:`, `turn:` and `turns:` URLs.
 */
urls: Array<string>, 
/**
 * For TURN.
 */
username?: string, 
/**
 * For TURN.
 */
credential?: string, };

export type IceServers = { 
/**
 * For `RTCConfiguration.iceServers`.
 */
ice_servers: Array<IceServer>, };

export type Limits = { 
/**
 * Bytes in a WebSocket message.
 */
message_bytes: number, 
/**
 * Bytes in a chat message.
 */
chat_bytes: number, 
/**
 * Tracks one participant may publish.
 */
tracks: number, 
/**
 * Slots one participant can have.
 */
slots: number, };

export type Participant = { 
/**
 * Who.
 */
id: ParticipantId, 
/**
 * The display name.
 */
name: string, 
/**
 * Who their access token says that they are; absent where there is no access control. Several participants may have the same.
 */
identity?: string, 
/**
 * What they publish.
 */
tracks: Array<Track>, };

export type Track = { 
/**
 * Which.
 */
id: TrackId, 
/**
 * Audio or video.
 */
kind: Kind, 
/**
 * What it shows.
 */
source: Source, 
/**
 * Whether its publisher muted it.
 */
muted: boolean, };

export type Guest = { 
/**
 * Who.
 */
id: GuestId, 
/**
 * The display name they will have.
 */
name: string, 
/**
 * Who their access token says that they are; absent where there is no access control.
 */
identity?: string, };

export type Renewed = { 
/**
 * How many messages have come on the reliable data channel of the transport that has failed; the client sends the others again.
 */
received: number, 
/**
 * For `RTCConfiguration.iceServers`.
 */
ice_servers: Array<IceServer>, };

export type Answered = { 
/**
 * SDP.
 */
sdp: string, };

export type Published = { 
/**
 * Its id.
 */
track: TrackId, };

export type SlotAssignment = { 
/**
 * The m-line.
 */
mid: string, 
/**
 * What it carries from now on; nothing if absent.
 */
track?: TrackId, };

export type Speaker = { 
/**
 * Who.
 */
participant: ParticipantId, 
/**
 * How loud, in dB below overload (RFC 6464): 0 is the loudest, 127 silence.
 */
level: number, };

export type Quality = "good" | "fair" | "poor" | "lost";

export type Reception = "full" | "reduced" | "paused" | "undecodable";

export type ChatMessage = { 
/**
 * Who said it; [`ParticipantId::SERVER`] if it came by the server's API.
 */
from: ParticipantId, 
/**
 * Present if only this participant was to hear it.
 */
to?: ParticipantId, 
/**
 * What was said.
 */
text: string, 
/**
 * When the server heard it, in milliseconds since 1970-01-01 UTC.
 */
at: number, };

export type LeaveReason = "left" | "connection_lost" | "removed" | "room_closed" | "moved";

export type CloseReason = "shutting_down" | "protocol_violation" | "too_slow" | "transport_failed" | "transport_timeout" | "resumed_elsewhere" | "removed" | "room_closed" | "moved";

export type Destination = { 
/**
 * The room's id.
 */
room: string, 
/**
 * In place of an access token, which need not be for that room: good for an hour. For a minute a place is kept, past lock, password and lobby, once.
 */
token: string, };

export type Event = { "kind": "offer", 
/**
 * To be repeated in the answer.
 */
revision: number, 
/**
 * SDP.
 */
sdp: string, } | { "kind": "restart_ice", 
/**
 * For `RTCConfiguration.iceServers`, to be set before.
 */
ice_servers: Array<IceServer>, } | { "kind": "renew" } | { "kind": "slots", 
/**
 * By m-line.
 */
slots: Array<SlotAssignment>, } | { "kind": "participant_joined", 
/**
 * Who.
 */
participant: Participant, } | { "kind": "participant_left", 
/**
 * Who.
 */
participant: ParticipantId, 
/**
 * Why.
 */
reason: LeaveReason, } | { "kind": "participant_changed", 
/**
 * Who.
 */
participant: ParticipantId, 
/**
 * The new name.
 */
name: string, } | { "kind": "track_published", 
/**
 * Who.
 */
participant: ParticipantId, 
/**
 * What.
 */
track: Track, } | { "kind": "track_unpublished", 
/**
 * Whose.
 */
participant: ParticipantId, 
/**
 * Which.
 */
track: TrackId, } | { "kind": "track_muted", 
/**
 * Whose.
 */
participant: ParticipantId, 
/**
 * Which.
 */
track: TrackId, 
/**
 * The new state.
 */
muted: boolean, 
/**
 * The moderator who muted it, [`ParticipantId::SERVER`] if it was the server's API; absent if the publisher did.
 */
by?: ParticipantId, } | { "kind": "grants_changed", 
/**
 * All that it may do from now on.
 */
grants: Grants, } | { "kind": "settings", 
/**
 * All of it.
 */
settings: RoomSettings, } | { "kind": "waiting" } | { "kind": "guests", 
/**
 * In the order in which they came.
 */
guests: Array<Guest>, } | { "kind": "speakers", 
/**
 * At most eight.
 */
speakers: Array<Speaker>, } | { "kind": "quality", 
/**
 * Whose.
 */
participant: ParticipantId, 
/**
 * What it is now.
 */
quality: Quality, 
/**
 * Packets lost in the worse direction, before anything is sent again, in percent.
 */
loss: number, 
/**
 * Milliseconds.
 */
round_trip: number, 
/**
 * Of the worst stream, in milliseconds.
 */
jitter: number, } | { "kind": "reception", 
/**
 * Which.
 */
track: TrackId, 
/**
 * How much, and why not more.
 */
reception: Reception, 
/**
 * Across; 0 if nothing is sent.
 */
width: number, 
/**
 * Down.
 */
height: number, } | { "kind": "wanted", 
/**
 * Which.
 */
track: TrackId, 
/**
 * Across.
 */
width: number, 
/**
 * Down.
 */
height: number, } | { "kind": "codecs", 
/**
 * Which.
 */
track: TrackId, 
/**
 * At most 31: few, as clients are of few kinds.
 */
sets: Array<Array<VideoCodec>>, } | { "kind": "chat", 
/**
 * What.
 */
message: ChatMessage, } | { "kind": "data_missed", 
/**
 * How many, since this was said last.
 */
messages: number, } | { "kind": "draining", 
/**
 * In so many seconds at most.
 */
within: number, } | { "kind": "closing", 
/**
 * Why.
 */
reason: CloseReason, 
/**
 * For people.
 */
message: string, 
/**
 * With [`CloseReason::Moved`]: where to go.
 */
to?: Destination, };

export type ErrorCode = "malformed" | "unknown_type" | "too_large" | "too_deep" | "wrong_encoding" | "not_joined" | "already_joined" | "unauthorized" | "forbidden" | "room_locked" | "password_required" | "wrong_password" | "not_admitted" | "no_such_session" | "invalid_room" | "invalid_name" | "invalid_identity" | "invalid_settings" | "invalid_mid" | "invalid_chat" | "invalid_sdp" | "invalid_candidate" | "wrong_state" | "no_such_track" | "no_such_participant" | "no_such_room" | "already_published" | "limit_reached" | "overloaded" | "rate_limited" | "timeout" | "shutting_down" | "internal";

export type ProtocolError = { 
/**
 * For programs.
 */
code: ErrorCode, 
/**
 * For people.
 */
message: string, 
/**
 * Whether the same request may succeed later.
 */
retryable: boolean, };
