//! What can go wrong.

use std::time::Duration;

use switchyard_protocol::{CloseReason, DecodeError, Destination, ErrorCode, ProtocolError, Source, TrackId};
use tokio_tungstenite::tungstenite;

/// Why a request of the client, joining included, did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is none of `ws://host[:port]/path`.
    #[error("not a ws:// URL: {0}")]
    Url(String),
    /// The WebSocket can't be opened.
    #[error("can't connect: {0}")]
    Connect(String),
    /// The server answered the request with an error.
    #[error("refused ({:?}): {}", .0.code, .0.message)]
    Refused(ProtocolError),
    /// The server did not answer the request in time.
    #[error("unanswered for {0:?}")]
    Timeout(Duration),
    /// The session is over.
    #[error("the session is over: {0}")]
    Closed(Closed),
    /// The request belonged to a session that the server knows no more; the participant is back in the room in another.
    #[error("the session was lost before the answer, and another has begun")]
    Rejoined,
    /// More requests are unanswered than are kept for the next connection.
    #[error("too many requests are unanswered")]
    Backlog,
    /// The peer connection failed at something.
    #[error("peer connection, {step}: {error}")]
    PeerConnection {
        /// What was being done.
        step: &'static str,
        /// What it said.
        error: String,
    },
    /// The server answered with something that is no answer to the request.
    #[error("an unexpected reply to {0}")]
    UnexpectedReply(&'static str),
    /// What is to be published has not the kind of its source.
    #[error("{0:?} can't be made of that")]
    WrongKind(Source),
    /// The track is none of this client's, or its packets pass through the peer connection.
    #[error("track {} has no direct sender", .0.0)]
    NotDirect(TrackId),
    /// The data channel is not open, or can't take the message.
    #[error("data channel: {0}")]
    Data(String),
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The client left.
    #[error("left")]
    Left,
    /// The server said that it closes the session.
    #[error("closed by the server ({reason:?}): {message}")]
    Closing {
        /// Why.
        reason: CloseReason,
        /// For people.
        message: String,
        /// Where to go on, for who was moved.
        to: Option<Destination>,
    },
    /// The WebSocket ended, and no other was to follow.
    #[error("the WebSocket ended: {0}")]
    WebSocket(String),
    /// The session was lost, and the server refused another.
    #[error("not let in again ({code:?}): {message}")]
    Refused {
        /// Why.
        code: ErrorCode,
        /// For people.
        message: String,
    },
    /// There is no peer connection any more, or none for the next session.
    #[error("the peer connection ended: {0}")]
    Peer(String),
    /// The server sent something that is not of the protocol.
    #[error("not understood: {0}")]
    Protocol(String),
}

impl From<DecodeError> for Closed {
    fn from(error: DecodeError) -> Self {
        Closed::Protocol(error.error.message)
    }
}

impl From<tungstenite::Error> for Closed {
    fn from(error: tungstenite::Error) -> Self {
        Closed::WebSocket(error.to_string())
    }
}

/// Why something waited for did not come.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WaitError {
    /// Not in time; with what there was instead.
    #[error("not after {after:?}; instead: {state}")]
    Timeout {
        /// How long was waited.
        after: Duration,
        /// What was last seen, for people.
        state: String,
    },
    /// The session was over before.
    #[error("the session is over: {0}")]
    Closed(Closed),
}
