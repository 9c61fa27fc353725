//! What is on its way to one client: a bounded queue, and the task that writes it to the WebSocket.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use futures_util::SinkExt;
use futures_util::stream::SplitSink;
use switchyard_protocol::{CloseReason, Encoding, Event, ServerMessage};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

/// Messages waiting for one client. A join into a full room announces up to 1,000 participants at once.
const MAX_MESSAGES: usize = 4096;
/// Their bytes: some 20 of the largest session descriptions.
const MAX_BYTES: usize = 4 << 20;
/// How often a client is pinged.
const PING_INTERVAL: Duration = Duration::from_secs(15);

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The client asked for it.
    Left,
    /// The server says why.
    Because(CloseReason),
    /// The client is gone, or doesn't take what is sent to it: nothing to say.
    Gone,
}

impl Close {
    fn frame(self) -> Option<(u16, &'static str)> {
        Some(match self {
            Close::Left => (close_code::NORMAL, "left"),
            Close::Because(CloseReason::ShuttingDown) => (close_code::AWAY, "shutting_down"),
            Close::Because(CloseReason::ProtocolViolation) => (close_code::POLICY, "protocol_violation"),
            Close::Because(CloseReason::TooSlow) => (close_code::POLICY, "too_slow"),
            Close::Because(CloseReason::TransportFailed) => (close_code::ERROR, "transport_failed"),
            Close::Because(CloseReason::TransportTimeout) => (close_code::ERROR, "transport_timeout"),
            Close::Because(CloseReason::ResumedElsewhere) => (RESUMED_ELSEWHERE, "resumed_elsewhere"),
            Close::Gone => return None,
        })
    }
}

enum Item {
    Message(Bytes),
    Close(u16, &'static str),
}

/// The client takes too little of what is sent to it, or nothing any more.
#[derive(Debug, thiserror::Error)]
#[error("the client does not take what is sent to it")]
pub struct TooSlow;

/// The queue's end that messages are put into.
#[derive(Debug)]
pub struct Outbox {
    encoding: Encoding,
    queue: mpsc::Sender<Item>,
    queued_bytes: Arc<AtomicUsize>,
}

/// The queue's other end.
pub struct Writer {
    encoding: Encoding,
    queue: mpsc::Receiver<Item>,
    queued_bytes: Arc<AtomicUsize>,
}

/// A queue for a client that speaks `encoding`.
pub fn outbox(encoding: Encoding) -> (Outbox, Writer) {
    let (sender, receiver) = mpsc::channel(MAX_MESSAGES);
    let queued_bytes = Arc::new(AtomicUsize::new(0));
    (Outbox { encoding, queue: sender, queued_bytes: Arc::clone(&queued_bytes) }, Writer { encoding, queue: receiver, queued_bytes })
}

impl Outbox {
    pub fn send(&self, message: &ServerMessage) -> Result<(), TooSlow> {
        self.push(self.encoding.encode_server(message).into())
    }

    /// Lets what is queued go out, then closes the WebSocket. What can't be queued any more is left out.
    pub fn close(self, close: Close) {
        let Some((code, reason)) = close.frame() else { return };
        if let Close::Because(reason) = close {
            let message = explanation(reason).to_owned();
            let _ = self.send(&ServerMessage::Event { event: Event::Closing { reason, message } });
        }
        let _ = self.queue.try_send(Item::Close(code, reason));
    }

    /// Queues a message as it is written.
    pub fn push(&self, bytes: Bytes) -> Result<(), TooSlow> {
        let len = bytes.len();
        if self.queued_bytes.fetch_add(len, Ordering::Relaxed) + len > MAX_BYTES {
            return Err(TooSlow);
        }
        self.queue.try_send(Item::Message(bytes)).map_err(|_| TooSlow)
    }
}

fn explanation(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::ShuttingDown => "the server is going down",
        CloseReason::ProtocolViolation => "the client broke the protocol",
        CloseReason::TooSlow => "the client does not take what is sent to it",
        CloseReason::TransportFailed => "the media connection failed or was closed",
        CloseReason::TransportTimeout => "nothing was heard on the media connection for too long",
        CloseReason::ResumedElsewhere => "the session goes on over another connection",
    }
}

impl Writer {
    /// Writes until the queue is closed or the client takes nothing for `patience`.
    pub async fn run(mut self, mut sink: SplitSink<WebSocket, Message>, patience: Duration) {
        let mut ping = tokio::time::interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (mut message, mut last) = tokio::select! {
                item = self.queue.recv() => match item {
                    None => return,
                    Some(item) => self.take(item),
                },
                _ = ping.tick() => (Message::Ping(Bytes::new()), false),
            };
            let written = tokio::time::timeout(patience, async {
                // What waits together is written together.
                loop {
                    sink.feed(message).await?;
                    match self.queue.try_recv() {
                        Ok(item) if !last => (message, last) = self.take(item),
                        _ => break sink.flush().await,
                    }
                }
            });
            match written.await {
                Ok(Ok(())) if !last => {}
                _ => return,
            }
        }
    }

    /// A queued item as a message, and whether it is the last.
    fn take(&self, item: Item) -> (Message, bool) {
        match item {
            Item::Message(bytes) => {
                self.queued_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
                (self.frame(bytes), false)
            }
            Item::Close(code, reason) => (Message::Close(Some(CloseFrame { code, reason: reason.into() })), true),
        }
    }

    fn frame(&self, bytes: Bytes) -> Message {
        match self.encoding {
            Encoding::Json => Message::Text(Utf8Bytes::try_from(bytes).expect("JSON is UTF-8")),
            Encoding::MessagePack => Message::Binary(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_takes_nothing_is_too_slow_after_a_bounded_number_of_bytes() {
        let (outbox, _writer) = outbox(Encoding::Json);
        let bytes = Bytes::from(vec![b'x'; 100_000]);
        let taken = (0..1000).take_while(|_| outbox.push(bytes.clone()).is_ok()).count();
        assert_eq!(taken, MAX_BYTES / bytes.len());
    }

    #[test]
    fn an_event_for_many_is_written_once() {
        let broadcast = Broadcast::new(Event::Offer { revision: 1, sdp: String::new() });
        assert_eq!(broadcast.bytes(Encoding::Json).as_ptr(), broadcast.bytes(Encoding::Json).as_ptr());
        assert_ne!(broadcast.bytes(Encoding::Json), broadcast.bytes(Encoding::MessagePack));
    }
}
