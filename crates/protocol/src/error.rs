//! Typed errors: what went wrong, for a program (`code`) and for a person (`message`), and whether trying again can help.

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::ToSchema;

/// An error as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS, thiserror::Error)]
#[error("{message}")]
pub struct ProtocolError {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
}

impl ProtocolError {
    /// An error whose `retryable` follows from its code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retryable: code.retryable() }
    }
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, TS, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not a message: no JSON or MessagePack, no id, a field missing or of the wrong type.
    Malformed,
    /// `type` names no request of this version.
    UnknownType,
    /// More than [`crate::MAX_MESSAGE_BYTES`].
    TooLarge,
    /// Nested deeper than [`crate::MAX_DEPTH`].
    TooDeep,
    /// A text frame on a MessagePack connection, or a binary frame on a JSON connection.
    WrongEncoding,
    /// Anything but `join`, `resume` or `ping` before `join`.
    NotJoined,
    /// A second `join`, or `resume` after it.
    AlreadyJoined,
    /// To `join`: no access token, or one that isn't good: expired, not valid yet, of a key the server doesn't know, changed. The message says which.
    Unauthorized,
    /// The access token is good, but not for this: another room, or nothing that permits it; or the room lets this identity in no more.
    Forbidden,
    /// Nobody new comes into the room until a moderator unlocks it.
    RoomLocked,
    /// The room has a password; ask for it and join again.
    PasswordRequired,
    /// The room has another password.
    WrongPassword,
    /// A moderator has not let them in; or they can't wait for one.
    NotAdmitted,
    /// There is no such session, or no longer: join.
    NoSuchSession,
    /// The room's id is empty, too long or has other characters.
    InvalidRoom,
    /// The display name is empty, too long or has control characters.
    InvalidName,
    /// The identity is empty, too long or has control characters.
    InvalidIdentity,
    /// A password that is too long, or more or fewer participants than there can be.
    InvalidSettings,
    /// The mid is empty, too long or has other characters.
    InvalidMid,
    /// The chat message is empty or too long.
    InvalidChat,
    /// The session description can't be parsed or breaks a rule; the message says which.
    InvalidSdp,
    /// The candidate can't be parsed.
    InvalidCandidate,
    /// The answer is for no offer in flight, or the description does not fit the signaling state.
    WrongState,
    /// No such track in the room, or not one the request can be about.
    NoSuchTrack,
    /// No such participant in the room, or nobody of this id waits.
    NoSuchParticipant,
    /// By HTTP: there is no such room.
    NoSuchRoom,
    /// The source or the m-line is already published.
    AlreadyPublished,
    /// A limit of the room or the server is reached.
    LimitReached,
    /// The server has no room for another participant now.
    Overloaded,
    /// Requests arrive faster than the server takes them from one client.
    RateLimited,
    /// Unanswered for 30 seconds.
    Timeout,
    /// The server is going down.
    ShuttingDown,
    /// The server failed; its log says why.
    Internal,
}

impl ErrorCode {
    /// Whether the same request may succeed later.
    pub const fn retryable(self) -> bool {
        matches!(
            self,
            ErrorCode::RoomLocked
                | ErrorCode::LimitReached
                | ErrorCode::Overloaded
                | ErrorCode::RateLimited
                | ErrorCode::Timeout
                | ErrorCode::ShuttingDown
                | ErrorCode::Internal
        )
    }
}
