//! Switchyard's signaling protocol, version 1: the messages of the WebSocket at `/v1/ws`.
//!
//! One set of serde types serves both encodings, JSON text frames and MessagePack binary frames; the TypeScript types of the
//! browser SDK are generated from them. PROTOCOL.md describes the same for people who write a client of their own.
//!
//! Pure: no clock, socket, thread or environment.

#![deny(clippy::iter_over_hash_type, reason = "what happens must not depend on a hash")]

mod client;
mod codec;
mod error;
mod grants;
mod server;
mod settings;
#[cfg(test)]
mod tests;
mod typescript;

pub use client::{Backup, ClientMessage, Request, TrackView, validate_identity, validate_name, validate_room};
pub use codec::{DecodeError, Encoding};
pub use error::{ErrorCode, ProtocolError};
pub use grants::Grants;
pub use server::{
    Answered, ChatMessage, CloseReason, Destination, Event, Guest, IceServer, IceServers, Joined, LeaveReason, Limits, Participant,
    Published, Quality, Reception, Renewed, Reply, Resumed, ServerMessage, Session, SlotAssignment, Snapshot, Speaker, Track,
};
pub use settings::{RoomSettings, RoomSettingsChange};
pub use typescript::typescript;

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::ToSchema;

/// The protocol's major version; it changes only when an old client could not go on.
pub const VERSION: u32 = 1;

/// Bytes in one WebSocket message, either way. The largest session description there is, Chromium's with 56 slots, takes 278 KB and 10 % more in JSON.
pub const MAX_MESSAGE_BYTES: usize = 512 * 1024;
/// Nesting of arrays and maps; the deepest message of version 1 has 5.
pub const MAX_DEPTH: usize = 16;
/// Characters in a room's id.
pub const MAX_ROOM_CHARS: usize = 64;
/// Characters in a display name.
pub const MAX_NAME_CHARS: usize = 64;
/// Bytes in one chat message.
pub const MAX_CHAT_BYTES: usize = 4 * 1024;
/// Bytes in a media identification tag (`a=mid`); browsers use one to three characters.
pub const MAX_MID_BYTES: usize = 16;
/// Bytes in a session's token; the server's have 32.
pub const MAX_TOKEN_BYTES: usize = 128;
/// Bytes in an access token. Tokens with every claim there is take some 600; an HTTP header holds twice this much.
pub const MAX_ACCESS_TOKEN_BYTES: usize = 4 * 1024;
/// Characters in an identity: what an application calls a person by, a mail address for instance.
pub const MAX_IDENTITY_CHARS: usize = 128;
/// Bytes in one data channel message, without whom it is for.
pub const MAX_DATA_BYTES: usize = 64 * 1024;
/// Characters in a room's password: a sentence.
pub const MAX_PASSWORD_CHARS: usize = 128;
/// Tracks that a client can say how it shows them; more than it has slots, so that it can also say which it hides.
pub const MAX_VIEW_TRACKS: usize = 256;
/// Bytes in one ICE candidate; the longest host names allowed by RFC 1035 fit.
pub const MAX_CANDIDATE_BYTES: usize = 512;

/// A member of a room; unique in the room for as long as the room lives, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS, ToSchema)]
#[serde(transparent)]
pub struct ParticipantId(pub u32);

impl ParticipantId {
    /// Who does something in the room and isn't in it: whoever holds the server's API. Participants begin with 1.
    pub const SERVER: Self = Self(0);
}

/// A published track; unique in the room for as long as the room lives, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS, ToSchema)]
#[serde(transparent)]
pub struct TrackId(pub u32);

/// Somebody who waits to be let into a room; unique in the room for as long as the room lives, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS, ToSchema)]
#[serde(transparent)]
pub struct GuestId(pub u32);

/// What opens something to whoever knows it: a session's token, an access token, or a room's password. Not shown by `Debug`, so that no log tells it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl From<&str> for Token {
    fn from(token: &str) -> Self {
        Self(token.to_owned())
    }
}

/// Audio or video, as in an SDP `m=` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Sound.
    Audio,
    /// Picture.
    Video,
}

/// A video codec that a publisher can choose: each in the profile that all who know it have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum VideoCodec {
    /// VP8.
    Vp8,
    /// VP9, profile 0.
    Vp9,
    /// H.264, constrained baseline, packetization mode 1.
    H264,
    /// AV1, main profile.
    Av1,
    /// H.265, main profile.
    H265,
}

impl VideoCodec {
    /// All there are, in the order in which the server's session descriptions have them.
    pub const ALL: [VideoCodec; 5] = [VideoCodec::Vp8, VideoCodec::Vp9, VideoCodec::H264, VideoCodec::Av1, VideoCodec::H265];
}

/// What a track shows or sounds like to the people in the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A person's picture.
    Camera,
    /// A person's voice.
    Microphone,
    /// A shared screen or window.
    Screen,
    /// The sound of what is shared.
    ScreenAudio,
}

impl Source {
    /// All there are.
    pub const ALL: [Source; 4] = [Source::Camera, Source::Microphone, Source::Screen, Source::ScreenAudio];

    /// The kind of m-line that can carry this source.
    pub const fn kind(self) -> Kind {
        match self {
            Source::Camera | Source::Screen => Kind::Video,
            Source::Microphone | Source::ScreenAudio => Kind::Audio,
        }
    }
}
