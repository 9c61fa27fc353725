//! What participants report of themselves.

use std::time::{Duration, Instant};

use switchyard_client::{ClientError, Closed, ErrorCode, HttpError};

use crate::measure::MeterSink;

/// Why somebody did not get in, without anything that differs from one to the next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The server turned them away, and says that another try may succeed.
    #[error("refused: {0}")]
    Refused(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// One attempt to join.
#[derive(Clone, Debug)]
pub(crate) struct Joined {
    /// From the first byte to the transport being connected.
    pub(crate) result: Result<Duration, JoinError>,
}

/// One session of a participant.
pub(crate) struct Session {
    pub(crate) role: usize,
    pub(crate) room: u32,
    /// The participant's own publications.
    pub(crate) own: Vec<u32>,
    pub(crate) sink: MeterSink,
    /// When joining began, in microseconds of the bench's clock.
    pub(crate) began_micros: u64,
    pub(crate) connected: Instant,
    pub(crate) ended: Option<Instant>,
}

impl From<ClientError> for JoinError {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Refused(refused) if refused.retryable && refused.code != ErrorCode::Internal => {
                JoinError::Refused(format!("{:?}", refused.code))
            }
            ClientError::Refused(refused) => JoinError::Failed(format!("refused for good: {:?}", refused.code)),
            ClientError::Connect(_) => JoinError::Failed("the server can't be reached".into()),
            ClientError::Timeout(_) => JoinError::Failed("a request was not answered in time".into()),
            ClientError::Closed(Closed::Closing { reason, .. }) => JoinError::Failed(format!("closed by the server: {reason:?}")),
            ClientError::Closed(_) => JoinError::Failed("the connection was lost".into()),
            ClientError::PeerConnection { step, .. } => JoinError::Failed(format!("peer connection: {step}")),
            other => JoinError::Failed(other.to_string()),
        }
    }
}

impl From<HttpError> for JoinError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Refused { status, code, retryable, .. } => {
                let what = if code.is_empty() { status.to_string() } else { format!("{status} {code}") };
                if retryable && status != 500 { JoinError::Refused(what) } else { JoinError::Failed(format!("refused for good: {what}")) }
            }
            HttpError::Connect(_) => JoinError::Failed("the server can't be reached".into()),
            HttpError::Timeout(_) => JoinError::Failed("a request was not answered in time".into()),
            HttpError::NotConnected { .. } => JoinError::Failed("the transport did not connect".into()),
            HttpError::Peer(error) => error.into(),
            // The address is the same for all of them, and the other answers are the server's own fault.
            HttpError::Url(_) | HttpError::Tls(_) | HttpError::Answer(_) => JoinError::Failed(error.to_string()),
        }
    }
}
