//! What the server sends: replies and errors to requests, and events.

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::ToSchema;

use crate::{Grants, GuestId, Kind, ParticipantId, ProtocolError, RoomSettings, Source, Token, TrackId, VideoCodec};

/// One message of the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// A request succeeded.
    Reply {
        /// The request's id.
        id: u32,
        /// What was asked for.
        result: Reply,
    },
    /// A request failed and changed nothing; without an id, something that no request asked for went wrong.
    Error {
        /// The request's id, if it could be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional)]
        id: Option<u32>,
        /// What went wrong.
        error: ProtocolError,
    },
    /// Something happened.
    Event {
        /// What.
        event: Event,
    },
}

/// The result of a request; `kind` names it on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reply {
    /// To `join`.
    Joined(Joined),
    /// To `resume`.
    Resumed(Resumed),
    /// To `renew`.
    Renewed(Renewed),
    /// To `offer`.
    Answer(Answered),
    /// To `offer`, when it collided with the server's own: the client rolls back and answers that one.
    Ignored,
    /// To `publish`.
    Published(Published),
    /// To `ice_servers`.
    IceServers(IceServers),
    /// To `ping`.
    Pong,
    /// To everything else.
    Done,
}

/// The room as it is at the moment of joining; events tell what changes from there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Joined {
    /// The protocol's version.
    pub version: u32,
    /// The room's id.
    pub room: String,
    /// Who the client is.
    pub participant: ParticipantId,
    /// The display name others see: the access token's, or else the one that was asked for.
    pub name: String,
    /// Who the access token says that the client is; absent where there is no access control.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub identity: Option<String>,
    /// What the client may do.
    pub grants: Grants,
    /// How the room is set.
    pub settings: RoomSettings,
    /// Everybody else in the room with what they publish.
    pub participants: Vec<Participant>,
    /// For `RTCConfiguration.iceServers`.
    pub ice_servers: Vec<IceServer>,
    /// Only they lead to the server: `RTCConfiguration.iceTransportPolicy` is `relay`, for as long as the session lasts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[ts(as = "Option<bool>", optional)]
    pub relay_only: bool,
    /// What the server accepts.
    pub limits: Limits,
    /// How to go on over another connection when this one is lost.
    pub session: Session,
}

/// What a client needs to resume its session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Session {
    /// Whoever knows it is the participant. Not to be shown, logged or stored.
    #[ts(type = "string")]
    pub token: Token,
    /// Milliseconds after the loss of a connection in which [`crate::Request::Resume`] is taken; then the participant has left.
    pub resume_within: u32,
}

/// A session goes on. What the client missed of the server's messages follows, in order; then what is new.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Resumed {
    /// How many of the client's messages arrived after `join`, over all connections of the session; `resume` is not counted. The client sends the
    /// others again.
    pub received: u32,
    /// More was missed than the server keeps: the room as it is now. Of what was missed only replies, errors and offers follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub snapshot: Option<Snapshot>,
}

/// The room as it is, in place of events that told how it became so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Snapshot {
    /// Everybody else in the room with what they publish.
    pub participants: Vec<Participant>,
    /// What each of the client's receiving m-lines carries; those that carry nothing are not in it.
    pub slots: Vec<SlotAssignment>,
    /// How the room is set.
    pub settings: RoomSettings,
}

/// The servers that help in finding a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct IceServers {
    /// For `RTCConfiguration.iceServers`.
    pub ice_servers: Vec<IceServer>,
}

/// An entry of `RTCConfiguration.iceServers`.
#[derive(Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct IceServer {
    /// `stun:`, `turn:` and `turns:` URLs.
    pub urls: Vec<String>,
    /// For TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub username: Option<String>,
    /// For TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub credential: Option<String>,
}

impl std::fmt::Debug for IceServer {
    /// The credential stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceServer").field("urls", &self.urls).finish_non_exhaustive()
    }
}

/// Bounds that a client may want to respect before it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Limits {
    /// Bytes in a WebSocket message.
    pub message_bytes: u32,
    /// Bytes in a chat message.
    pub chat_bytes: u32,
    /// Tracks one participant may publish.
    pub tracks: u32,
    /// Slots one participant can have.
    pub slots: u32,
}

/// A member of the room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Participant {
    /// Who.
    pub id: ParticipantId,
    /// The display name.
    pub name: String,
    /// Who their access token says that they are; absent where there is no access control. Several participants may have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub identity: Option<String>,
    /// What they publish.
    pub tracks: Vec<Track>,
}

/// Somebody who waits to be let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS, ToSchema)]
pub struct Guest {
    /// Who.
    pub id: GuestId,
    /// The display name they will have.
    pub name: String,
    /// Who their access token says that they are; absent where there is no access control.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    #[schema(nullable = false)]
    pub identity: Option<String>,
}

/// A published track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS, ToSchema)]
pub struct Track {
    /// Which.
    pub id: TrackId,
    /// Audio or video.
    pub kind: Kind,
    /// What it shows.
    pub source: Source,
    /// Whether its publisher muted it.
    pub muted: bool,
}

/// The transport begins anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Renewed {
    /// How many messages have come on the reliable data channel of the transport that has failed; the client sends the others again.
    pub received: u32,
    /// For `RTCConfiguration.iceServers`.
    pub ice_servers: Vec<IceServer>,
}

/// The server's answer to a client's offer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Answered {
    /// SDP.
    pub sdp: String,
}

/// A track is known to the room from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Published {
    /// Its id.
    pub track: TrackId,
}

/// What one receiving m-line of the client carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SlotAssignment {
    /// The m-line.
    pub mid: String,
    /// What it carries from now on; nothing if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub track: Option<TrackId>,
}

/// Somebody who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Speaker {
    /// Who.
    pub participant: ParticipantId,
    /// How loud, in dB below overload (RFC 6464): 0 is the loudest, 127 silence.
    pub level: u8,
}

/// How good somebody's connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, TS, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// Nobody notices it.
    Good,
    /// Now and then something is noticed: 3 % of the packets are lost, or the round trip takes 250 ms, or the jitter is 30 ms.
    Fair,
    /// It disturbs: 10 %, 600 ms or 100 ms.
    Poor,
    /// Nothing has been heard for some seconds.
    Lost,
}

/// How much of a video track a client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Reception {
    /// As much as it shows, or all there is.
    Full,
    /// Less, because its line carries no more.
    Reduced,
    /// Nothing, because its line carries no more.
    Paused,
    /// Nothing, because it has negotiated no codec that the track comes in.
    Undecodable,
}

/// Something said in the room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ChatMessage {
    /// Who said it; [`ParticipantId::SERVER`] if it came by the server's API.
    pub from: ParticipantId,
    /// Present if only this participant was to hear it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub to: Option<ParticipantId>,
    /// What was said.
    pub text: String,
    /// When the server heard it, in milliseconds since 1970-01-01 UTC.
    #[ts(type = "number")]
    pub at: u64,
}

/// Why somebody left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeaveReason {
    /// They said so.
    Left,
    /// Their connection was lost.
    ConnectionLost,
    /// The server ended their session.
    Removed,
    /// The room was closed, by the server's API.
    RoomClosed,
    /// They were moved to another room, by the server's API.
    Moved,
}

/// Where somebody goes on who was moved to another room: they join that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Destination {
    /// The room's id.
    pub room: String,
    /// In place of an access token, which need not be for that room: good for an hour. For a minute a place is kept, past lock, password and lobby, once.
    #[ts(type = "string")]
    pub token: Token,
}

/// Why the server closes a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// The server is going down.
    ShuttingDown,
    /// The client broke the protocol in a way that can't be answered.
    ProtocolViolation,
    /// The client doesn't read what is sent to it.
    TooSlow,
    /// DTLS failed: the certificate does not match the session description, or no common parameters.
    TransportFailed,
    /// Nothing authenticated was heard for too long.
    TransportTimeout,
    /// The session was resumed over another connection and goes on there.
    ResumedElsewhere,
    /// A moderator has sent the participant away.
    Removed,
    /// The room was closed for everybody, by the server's API.
    RoomClosed,
    /// The participant was moved to another room, by the server's API.
    Moved,
}

/// What happens in the room and to the client's own session; `kind` names it on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// The server wants to change the session; the client answers with [`crate::Request::Answer`].
    Offer {
        /// To be repeated in the answer.
        revision: u32,
        /// SDP.
        sdp: String,
    },
    /// The server hears nothing on the media path: the client restarts ICE.
    RestartIce {
        /// For `RTCConfiguration.iceServers`, to be set before.
        ice_servers: Vec<IceServer>,
    },
    /// The server's end of the transport has failed: the client sends [`crate::Request::Renew`].
    Renew,
    /// Which slot's m-line carries which track; only what changed.
    Slots {
        /// By m-line.
        slots: Vec<SlotAssignment>,
    },
    /// Somebody entered.
    ParticipantJoined {
        /// Who.
        participant: Participant,
    },
    /// Somebody left; their tracks are gone with them.
    ParticipantLeft {
        /// Who.
        participant: ParticipantId,
        /// Why.
        reason: LeaveReason,
    },
    /// Somebody's name changed: somebody else's; or anybody's, by the server's API.
    ParticipantChanged {
        /// Who.
        participant: ParticipantId,
        /// The new name.
        name: String,
    },
    /// Somebody publishes a track.
    TrackPublished {
        /// Who.
        participant: ParticipantId,
        /// What.
        track: Track,
    },
    /// A track is gone.
    TrackUnpublished {
        /// Whose.
        participant: ParticipantId,
        /// Which.
        track: TrackId,
    },
    /// A track was muted or unmuted: somebody else's by its publisher; or, with `by`, anybody's by a moderator.
    TrackMuted {
        /// Whose.
        participant: ParticipantId,
        /// Which.
        track: TrackId,
        /// The new state.
        muted: bool,
        /// The moderator who muted it, [`ParticipantId::SERVER`] if it was the server's API; absent if the publisher did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional)]
        by: Option<ParticipantId>,
    },
    /// What the client may do was changed, by the server's API. What isn't granted any more has stopped: its tracks of other sources are gone, slots are
    /// taken away.
    GrantsChanged {
        /// All that it may do from now on.
        grants: Grants,
    },
    /// The room is set otherwise.
    Settings {
        /// All of it.
        settings: RoomSettings,
    },
    /// Before the reply to `join`: the client waits for a moderator to let it in, for however long that takes. The reply or an error follows then.
    Waiting,
    /// To moderators: who waits to be let in; nobody else does.
    Guests {
        /// In the order in which they came.
        guests: Vec<Guest>,
    },
    /// Who speaks now, the loudest first; nobody else does.
    Speakers {
        /// At most eight.
        speakers: Vec<Speaker>,
    },
    /// Somebody's connection with the server, perhaps the client's own, has become better or worse. It is good until this is said.
    Quality {
        /// Whose.
        participant: ParticipantId,
        /// What it is now.
        quality: Quality,
        /// Packets lost in the worse direction, before anything is sent again, in percent.
        loss: u8,
        /// Milliseconds.
        round_trip: u16,
        /// Of the worst stream, in milliseconds.
        jitter: u16,
    },
    /// The client gets more or less of a video track than was said before. Of a track that nothing was said of since a slot began to carry it the client gets as much as it
    /// shows.
    Reception {
        /// Which.
        track: TrackId,
        /// How much, and why not more.
        reception: Reception,
        /// Across; 0 if nothing is sent.
        width: u16,
        /// Down.
        height: u16,
    },
    /// How large a video track of the client's own is shown at most, in pixels: 0 by 0 if nobody is shown it, 65535 by 65535 if somebody takes it as large
    /// as it gets, which is what holds until this is said. What is larger need not be sent.
    Wanted {
        /// Which.
        track: TrackId,
        /// Across.
        width: u16,
        /// Down.
        height: u16,
    },
    /// Which codecs those decode who may receive a video track of the client's own: each set of codecs that somebody has, once. A codec that is in every set
    /// is seen by everybody. There is none until this is said. What asks for other codecs is told at once, the rest after a while.
    Codecs {
        /// Which.
        track: TrackId,
        /// At most 31: few, as clients are of few kinds.
        sets: Vec<Vec<VideoCodec>>,
    },
    /// Somebody said something; the sender hears it too.
    Chat {
        /// What.
        message: ChatMessage,
    },
    /// Messages for the client that came over reliable data channels were lost, because more was waiting for it than the server keeps.
    DataMissed {
        /// How many, since this was said last.
        messages: u32,
    },
    /// The server goes down before long: it takes no new rooms, those there are stay open for as long as is said, and sessions end when that has passed.
    Draining {
        /// In so many seconds at most.
        within: u32,
    },
    /// The server closes the session after this message.
    Closing {
        /// Why.
        reason: CloseReason,
        /// For people.
        message: String,
        /// With [`CloseReason::Moved`]: where to go.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional)]
        to: Option<Destination>,
    },
}
