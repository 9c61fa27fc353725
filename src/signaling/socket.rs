//! One WebSocket: the frames it brings, and the queue of what it takes.

use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket, close_code};
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use switchyard_protocol::{ClientMessage, CloseReason, DecodeError, Encoding, ErrorCode, ProtocolError, ServerMessage};
use switchyard_room::{Bucket, Rate};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use crate::outbox::{Close, Outbox, TooSlow, outbox};

/// Requests of one client. A join with its candidates takes some 50 at once, a hundred offers and answers a second are more than a browser makes.
const REQUEST_RATE: Rate = Rate { burst: 300, per_second: 100 };
/// A client of which nothing at all was heard for this long is gone: it answers pings, which come every 15 s.
const SILENCE: Duration = Duration::from_secs(40);
/// How long a client may take to close its end of a connection that the server closes.
const LINGER: Duration = Duration::from_secs(1);

/// A message as it came.
pub enum Frame {
    Text(Bytes),
    Binary(Bytes),
}

/// Both halves of a WebSocket. Dropping it breaks the connection off.
pub struct Socket {
    stream: SplitStream<WebSocket>,
    outbox: Outbox,
    encoding: Encoding,
    /// How long the client may take nothing of what is sent to it.
    patience: Duration,
    writer: Writing,
    requests: Bucket,
    heard: Instant,
    /// Nothing is read before, so that a flood is not even parsed faster than twice the rate of requests.
    resume: Instant,
    _permit: OwnedSemaphorePermit,
}

/// The task of the writing half; `None` once it has ended. It ends with the socket, however much there is to write.
struct Writing(Option<JoinHandle<()>>);

impl Drop for Writing {
    fn drop(&mut self) {
        if let Some(writer) = &self.0 {
            writer.abort();
        }
    }
}

impl Socket {
    /// Begins to write. A client that takes nothing for `patience` has lost the connection.
    pub fn new(socket: WebSocket, encoding: Encoding, patience: Duration, permit: OwnedSemaphorePermit) -> Self {
        let (sink, stream) = socket.split();
        let (outbox, writer) = outbox(encoding);
        let writer = Writing(Some(tokio::spawn(writer.run(sink, patience))));
        let now = Instant::now();
        let requests = Bucket::new(REQUEST_RATE);
        Self { stream, outbox, encoding, patience, writer, requests, heard: now, resume: now, _permit: permit }
    }

    /// How messages are written on it.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The next message, or what to say to there being no more: [`Close::Left`] if the client closed it to leave, [`Close::Gone`] if it was lost. Nothing
    /// is lost if the future is dropped.
    pub async fn next(&mut self) -> Result<Frame, Close> {
        tokio::time::sleep_until(self.resume.into()).await;
        loop {
            let message = tokio::select! {
                message = self.stream.next() => message,
                () = self.writer.ended() => return Err(Close::Gone),
                () = tokio::time::sleep_until((self.heard + SILENCE).into()) => return Err(Close::Gone),
            };
            self.heard = Instant::now();
            match message {
                Some(Ok(Message::Text(text))) => return Ok(Frame::Text(text.into())),
                Some(Ok(Message::Binary(bytes))) => return Ok(Frame::Binary(bytes)),
                Some(Ok(Message::Close(Some(frame)))) if matches!(frame.code, close_code::NORMAL | close_code::AWAY) => {
                    return Err(Close::Left);
                }
                // Of a connection that is closed otherwise nothing more comes, but the close is answered.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_))) => {}
                None => return Err(Close::Gone),
                Some(Err(error)) if is_lost(&error) => return Err(Close::Gone),
                Some(Err(_)) => return Err(Close::Because(CloseReason::ProtocolViolation)),
            }
        }
    }

    /// Reads a request, unless they come too fast.
    pub fn decode(&mut self, frame: Frame) -> Result<ClientMessage, DecodeError> {
        let bytes = match (self.encoding, frame) {
            (Encoding::Json, Frame::Text(bytes)) | (Encoding::MessagePack, Frame::Binary(bytes)) => bytes,
            (Encoding::Json, Frame::Binary(_)) => return Err(wrong_encoding("this connection speaks JSON in text frames")),
            (Encoding::MessagePack, Frame::Text(_)) => return Err(wrong_encoding("this connection speaks MessagePack in binary frames")),
        };
        let message = self.encoding.decode_client(&bytes);
        let now = Instant::now();
        if self.requests.take(now, 1) {
            return message;
        }
        self.resume = now + Duration::from_secs(1) / (2 * REQUEST_RATE.per_second);
        let id = message.map_or_else(|refused| refused.id, |message| Some(message.id));
        Err(DecodeError { id, error: ProtocolError::new(ErrorCode::RateLimited, "requests come too fast; wait a moment") })
    }

    /// Queues a message; fails if too much waits already.
    pub fn send(&self, message: &ServerMessage) -> Result<(), TooSlow> {
        self.outbox.send(message)
    }

    /// Queues what [`Socket::encoding`] has made of a message.
    pub fn push(&self, bytes: Bytes) -> Result<(), TooSlow> {
        self.outbox.push(bytes)
    }

    /// Says why, and lets the writer finish and the client close its end, so that the last messages arrive.
    pub async fn close(self, close: Close) {
        let Self { mut stream, outbox, patience, mut writer, .. } = self;
        outbox.close(close);
        let _ = tokio::time::timeout(patience, writer.ended()).await;
        let drained = async { while let Some(Ok(_)) = stream.next().await {} };
        let _ = tokio::time::timeout(LINGER, drained).await;
    }
}

impl Writing {
    /// Returns when the task has ended; a task that is gone has.
    async fn ended(&mut self) {
        if let Some(running) = &mut self.0 {
            let _ = running.await;
            self.0 = None;
        }
    }
}

/// Whether a connection just broke, as opposed to a client that breaks the protocol.
fn is_lost(error: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.is::<std::io::Error>() || error.to_string().contains("without closing handshake") {
            return true;
        }
        cause = error.source();
    }
    false
}

fn wrong_encoding(message: &str) -> DecodeError {
    DecodeError { id: None, error: ProtocolError::new(ErrorCode::WrongEncoding, message) }
}
