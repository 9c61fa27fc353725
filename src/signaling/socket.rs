//! One client's WebSocket, in the terms of the protocol: how fast requests are taken, how long silence may last, how messages are written.

use std::time::{Duration, Instant};

use axum::body::Bytes;
use switchyard_protocol::{ClientMessage, CloseReason, DecodeError, Encoding, ErrorCode, ProtocolError, ServerMessage};
use switchyard_room::{Bucket, Rate};
use tokio::sync::OwnedSemaphorePermit;

use crate::outbox::Close;
use crate::websocket::{Broken, Full, Incoming, WebSocket, code};

/// Requests of one client. A join with its candidates takes some 50 at once, a hundred offers and answers a second are more than a browser makes.
const REQUEST_RATE: Rate = Rate { burst: 300, per_second: 100 };
/// How often a client is pinged.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// A client of which nothing at all was heard for this long is gone: it answers pings, which come every 15 s.
const SILENCE: Duration = Duration::from_secs(40);
/// How long a client may take to close its end of a connection that the server closes.
const LINGER: Duration = Duration::from_secs(1);

/// Bytes of a close frame's reason (RFC 6455 §5.5).
const MAX_REASON_BYTES: usize = 123;

/// A message as it came.
pub enum Frame {
    Text(Vec<u8>),
    Binary(Vec<u8>),
}

/// A WebSocket. Dropping it breaks the connection off.
pub struct Socket {
    socket: WebSocket,
    encoding: Encoding,
    /// How long the client may take nothing of what is sent to it.
    patience: Duration,
    requests: Bucket,
    heard: Instant,
    ping: Instant,
    /// Nothing is read before, so that a flood is not even parsed faster than twice the rate of requests.
    resume: Option<Instant>,
    /// Bytes wait since then, after so many were written.
    waiting: Option<(Instant, u64)>,
    _permit: OwnedSemaphorePermit,
}

impl Socket {
    /// A client that takes nothing for `patience` has lost the connection.
    pub fn new(socket: WebSocket, encoding: Encoding, patience: Duration, permit: OwnedSemaphorePermit) -> Self {
        let now = Instant::now();
        let requests = Bucket::new(REQUEST_RATE);
        Self { socket, encoding, patience, requests, heard: now, ping: now + PING_INTERVAL, resume: None, waiting: None, _permit: permit }
    }

    /// How messages are written on it.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The next message, or what to say to there being no more: [`Close::Left`] if the client closed it to leave, [`Close::Gone`] if it was lost. Nothing
    /// is lost if the future is dropped.
    pub async fn next(&mut self) -> Result<Frame, Close> {
        if let Some(resume) = self.resume {
            let written = async {
                match self.socket.drain().await {
                    Ok(()) => std::future::pending().await,
                    Err(_) => Close::Gone,
                }
            };
            tokio::select! {
                close = written => return Err(close),
                () = tokio::time::sleep_until(resume.into()) => self.resume = None,
            }
        }
        loop {
            let due = self.timeout(Instant::now())?;
            let incoming = tokio::select! {
                incoming = self.socket.next() => incoming,
                () = tokio::time::sleep_until(due.into()) => continue,
            };
            self.heard = Instant::now();
            match incoming {
                Ok(Incoming::Text(text)) => return Ok(Frame::Text(text)),
                Ok(Incoming::Binary(bytes)) => return Ok(Frame::Binary(bytes)),
                Ok(Incoming::Ping(_) | Incoming::Pong) => {}
                Ok(Incoming::Close(Some(code::NORMAL | code::AWAY))) => return Err(Close::Left),
                Ok(Incoming::Close(_)) => {
                    self.socket.flush();
                    return Err(Close::Gone);
                }
                Err(Broken::Lost) => return Err(Close::Gone),
                Err(Broken::Violation(_)) => return Err(Close::Because(CloseReason::ProtocolViolation)),
            }
        }
    }

    /// Pings if it is time to, and gives up a client that says nothing or takes nothing. When to look again.
    fn timeout(&mut self, now: Instant) -> Result<Instant, Close> {
        if self.ping <= now {
            self.ping = now + PING_INTERVAL;
            self.socket.ping().map_err(|_| Close::Gone)?;
        }
        let waiting_after = self.socket.waiting_after();
        if waiting_after != self.waiting.map(|(_, written)| written) {
            self.waiting = waiting_after.map(|written| (now, written));
        }
        let stalled = self.waiting.map(|(since, _)| since + self.patience);
        let gone = stalled.map_or(self.heard + SILENCE, |stalled| stalled.min(self.heard + SILENCE));
        if gone <= now { Err(Close::Gone) } else { Ok(gone.min(self.ping)) }
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
        self.resume = Some(now + Duration::from_secs(1) / (2 * REQUEST_RATE.per_second));
        let id = message.map_or_else(|refused| refused.id, |message| Some(message.id));
        Err(DecodeError { id, error: ProtocolError::new(ErrorCode::RateLimited, "requests come too fast; wait a moment") })
    }

    /// Queues a message; fails if too much waits already.
    pub fn send(&mut self, message: &ServerMessage) -> Result<(), Full> {
        self.push(self.encoding.encode_server(message).into())
    }

    /// Queues what [`Socket::encoding`] has made of a message.
    pub fn push(&mut self, bytes: Bytes) -> Result<(), Full> {
        match self.encoding {
            Encoding::Json => self.socket.send_text(bytes),
            Encoding::MessagePack => self.socket.send_binary(bytes),
        }
    }

    /// Writes what can be written at once; [`Socket::next`] writes the rest.
    pub fn flush(&mut self) {
        self.socket.flush();
    }

    /// Says why, and lets what waits arrive and the client close its end.
    pub async fn close(mut self, close: Close) {
        let Some((code, reason)) = close.frame() else { return };
        if let Some(event) = close.event() {
            let _ = self.send(&ServerMessage::Event { event });
        }
        self.finish(code, reason).await;
    }

    /// Closes it to a client that may not come in.
    pub async fn refuse(self, error: &ProtocolError) {
        let reason = error.message.get(..MAX_REASON_BYTES).unwrap_or(&error.message);
        self.finish(code::POLICY, reason).await;
    }

    async fn finish(mut self, code: u16, reason: &str) {
        self.socket.close(Some(code), reason);
        if let Ok(Ok(())) = tokio::time::timeout(self.patience, self.socket.drain()).await {
            let ended = async { while !matches!(self.socket.next().await, Ok(Incoming::Close(_)) | Err(_)) {} };
            let _ = tokio::time::timeout(LINGER, ended).await;
        }
    }
}

fn wrong_encoding(message: &str) -> DecodeError {
    DecodeError { id: None, error: ProtocolError::new(ErrorCode::WrongEncoding, message) }
}
