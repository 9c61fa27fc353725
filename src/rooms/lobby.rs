//! Outside of a room: refused, or waiting to be let in.

use switchyard_protocol::{ErrorCode, GuestId, ProtocolError};
use tokio::sync::{mpsc, oneshot};

use super::Message;

/// Why somebody who wants to enter a room is not in it.
pub enum Outside {
    /// They may not come in, or can't.
    Refused(ProtocolError),
    /// They wait for a moderator.
    Waits(Waiting),
}

impl From<ProtocolError> for Outside {
    fn from(error: ProtocolError) -> Self {
        Self::Refused(error)
    }
}

impl Outside {
    /// What somebody is told who does not wait.
    pub fn refusal(self) -> ProtocolError {
        match self {
            Self::Refused(error) => error,
            Self::Waits(_) => not_admitted(),
        }
    }
}

/// A place among those who wait to be let into a room; given up when it is dropped. To be kept until they are in.
pub struct Waiting {
    guest: GuestId,
    /// Whether they are let in.
    decision: oneshot::Receiver<Result<(), ProtocolError>>,
    room: mpsc::Sender<Message>,
}

impl Waiting {
    pub(super) fn new(guest: GuestId, decision: oneshot::Receiver<Result<(), ProtocolError>>, room: mpsc::Sender<Message>) -> Self {
        Self { guest, decision, room }
    }

    /// As whom they come again who were let in.
    pub const fn guest(&self) -> GuestId {
        self.guest
    }

    /// Returns once they are let in; fails if they are not. Nothing is lost if the future is dropped.
    pub async fn admitted(&mut self) -> Result<(), ProtocolError> {
        let gone = |_| Err(ProtocolError::new(ErrorCode::Internal, "the room is gone"));
        (&mut self.decision).await.unwrap_or_else(gone)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let (room, guest) = (self.room.clone(), self.guest);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move { room.send(Message::Withdraw { guest }).await });
    }
}

pub(super) fn not_admitted() -> ProtocolError {
    ProtocolError::new(ErrorCode::NotAdmitted, "a moderator has not let you in")
}
