//! What clients are told: events for many of them, and why a session ends.

use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use switchyard_protocol::{CloseReason, Destination, Encoding, Event, ServerMessage};

use crate::websocket::code;

/// Close code of a connection whose session goes on over another one.
const RESUMED_ELSEWHERE: u16 = 4001;

/// An event for many clients, written once in each encoding.
#[derive(Debug)]
pub struct Broadcast {
    message: ServerMessage,
    json: OnceLock<Bytes>,
    message_pack: OnceLock<Bytes>,
}

impl Broadcast {
    pub fn new(event: Event) -> Arc<Self> {
        Arc::new(Self { message: ServerMessage::Event { event }, json: OnceLock::new(), message_pack: OnceLock::new() })
    }

    /// As it is sent to those who speak `encoding`.
    pub fn bytes(&self, encoding: Encoding) -> Bytes {
        let cell = match encoding {
            Encoding::Json => &self.json,
            Encoding::MessagePack => &self.message_pack,
        };
        cell.get_or_init(|| encoding.encode_server(&self.message).into()).clone()
    }
}

/// Why a session ends, as the client is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Close {
    /// The client asked for it.
    Left,
    /// The server says why.
    Because(CloseReason),
    /// The participant goes on in another room.
    Moved(Arc<Destination>),
    /// The client is gone, or doesn't take what is sent to it: nothing to say.
    Gone,
}

impl Close {
    /// The code and the reason that a WebSocket is closed with; `None`: it is broken off.
    pub fn frame(&self) -> Option<(u16, &'static str)> {
        Some(match self {
            Close::Left => (code::NORMAL, "left"),
            Close::Because(CloseReason::ShuttingDown) => (code::AWAY, "shutting_down"),
            Close::Because(CloseReason::ProtocolViolation) => (code::POLICY, "protocol_violation"),
            Close::Because(CloseReason::TooSlow) => (code::POLICY, "too_slow"),
            Close::Because(CloseReason::TransportFailed) => (code::ERROR, "transport_failed"),
            Close::Because(CloseReason::TransportTimeout) => (code::ERROR, "transport_timeout"),
            Close::Because(CloseReason::Removed) => (code::POLICY, "removed"),
            Close::Because(CloseReason::RoomClosed) => (code::POLICY, "room_closed"),
            Close::Because(CloseReason::Moved) | Close::Moved(_) => (code::POLICY, "moved"),
            Close::Because(CloseReason::ResumedElsewhere) => (RESUMED_ELSEWHERE, "resumed_elsewhere"),
            Close::Gone => return None,
        })
    }

    /// What the client is told before; `None`: nothing.
    pub fn event(&self) -> Option<Event> {
        let (reason, to) = match self {
            Close::Because(reason) => (*reason, None),
            Close::Moved(destination) => (CloseReason::Moved, Some(Destination::clone(destination))),
            Close::Left | Close::Gone => return None,
        };
        Some(Event::Closing { reason, message: explanation(reason).to_owned(), to })
    }

    /// Whether a client that has lost its connection has to be told when it comes back: it would join again otherwise.
    pub fn is_news(&self) -> bool {
        matches!(self, Close::Because(CloseReason::Removed | CloseReason::RoomClosed) | Close::Moved(_))
    }
}

/// Why, in words.
fn explanation(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::ShuttingDown => "the server is going down",
        CloseReason::ProtocolViolation => "the client broke the protocol",
        CloseReason::TooSlow => "the client does not take what is sent to it",
        CloseReason::TransportFailed => "the media connection failed or was closed",
        CloseReason::TransportTimeout => "nothing was heard on the media connection for too long",
        CloseReason::Removed => "a moderator has removed you from the room",
        CloseReason::RoomClosed => "the room was closed",
        CloseReason::Moved => "you were moved to another room",
        CloseReason::ResumedElsewhere => "the session goes on over another connection",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_for_many_is_written_once() {
        let broadcast = Broadcast::new(Event::Offer { revision: 1, sdp: String::new() });
        assert_eq!(broadcast.bytes(Encoding::Json).as_ptr(), broadcast.bytes(Encoding::Json).as_ptr());
        assert_ne!(broadcast.bytes(Encoding::Json), broadcast.bytes(Encoding::MessagePack));
    }
}
