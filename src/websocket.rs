//! The server's end of WebSockets (RFC 6455), over HTTP/1.1 and without extensions.
//!
//! A connection holds memory only for what is under way: what was read is taken apart on the stack, and what is written goes out from where it is. Most are idle
//! nearly all of the time, but each has once carried a session description of some ten kilobytes, which a buffer of its own would remember.

mod decoder;
mod handshake;
mod queue;

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{collections::VecDeque, io};

use axum::body::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

pub use decoder::{Incoming, Violation};
pub use handshake::Upgrade;
pub use queue::Full;

use decoder::Decoder;
use queue::Queue;

use crate::stream::Stream;

/// Bytes read at once, on the stack: most messages are shorter, and a description takes a few turns more.
const READ: usize = 4 * 1024;

/// Status codes of a close (RFC 6455 §7.4.1).
pub mod code {
    /// The purpose is fulfilled.
    pub const NORMAL: u16 = 1000;
    /// The server goes down, or the browser leaves the page.
    pub const AWAY: u16 = 1001;
    /// The client did what it must not.
    pub const POLICY: u16 = 1008;
    /// The server can't go on.
    pub const ERROR: u16 = 1011;
}

/// What a frame is (RFC 6455 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// Why nothing more comes of a connection.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// It was lost, or the client ended it without saying so.
    #[error("the connection is lost")]
    Lost,
    /// The client doesn't keep to RFC 6455.
    #[error(transparent)]
    Violation(#[from] Violation),
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Lost
    }
}

/// One connection. Dropping it breaks it off.
pub struct WebSocket {
    stream: Stream,
    decoder: Decoder,
    incoming: VecDeque<Incoming>,
    outgoing: Queue,
    /// Nothing is sent after a close.
    closing: bool,
}

impl WebSocket {
    /// A connection whose HTTP upgrade is done, with what the client has sent since.
    fn new(stream: Stream, read: &[u8], max_message: usize) -> Result<Self, Violation> {
        let mut decoder = Decoder::new(max_message);
        let mut incoming = VecDeque::new();
        decoder.decode(read, &mut incoming)?;
        Ok(Self { stream, decoder, incoming, outgoing: Queue::default(), closing: false })
    }

    /// The next message; writes what is queued meanwhile. Pings and closes are answered. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Result<Incoming, Broken> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Incoming, Broken>> {
        loop {
            if let Some(incoming) = self.incoming.pop_front() {
                if self.incoming.is_empty() {
                    self.incoming = VecDeque::new();
                }
                self.answer(&incoming);
                return Poll::Ready(Ok(incoming));
            }
            let written = self.outgoing.poll_write(&mut self.stream, context)?;
            if self.decoder.is_closed() {
                // The server is the first to close the connection under it (RFC 6455 §7.1.1).
                ready!(written);
                return Poll::Ready(Err(Broken::Lost));
            }
            let mut room = [MaybeUninit::uninit(); READ];
            let mut room = ReadBuf::uninit(&mut room);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut room))?;
            if room.filled().is_empty() {
                return Poll::Ready(Err(Broken::Lost));
            }
            self.decoder.decode(room.filled(), &mut self.incoming)?;
        }
    }

    fn answer(&mut self, incoming: &Incoming) {
        match incoming {
            Incoming::Ping(payload) if !self.closing => {
                // Who sends pings and reads no answers gets no more of them.
                let _ = self.outgoing.push(Opcode::Pong, payload.clone().into());
            }
            Incoming::Close(code) => self.close(*code, ""),
            _ => {}
        }
    }

    /// Queues a text message, which has to be UTF-8.
    pub fn send_text(&mut self, text: Bytes) -> Result<(), Full> {
        self.push(Opcode::Text, text)
    }

    /// Queues a binary message.
    pub fn send_binary(&mut self, bytes: Bytes) -> Result<(), Full> {
        self.push(Opcode::Binary, bytes)
    }

    /// Queues a ping.
    pub fn ping(&mut self) -> Result<(), Full> {
        self.push(Opcode::Ping, Bytes::new())
    }

    /// Queues a close, the last that is sent; the first counts. `None`: without a code.
    pub fn close(&mut self, code: Option<u16>, reason: &str) {
        let mut payload = Vec::new();
        if let Some(code) = code {
            payload.extend_from_slice(&code.to_be_bytes());
            payload.extend_from_slice(reason.as_bytes());
        }
        let _ = self.push(Opcode::Close, payload.into());
        self.closing = true;
    }

    fn push(&mut self, opcode: Opcode, payload: Bytes) -> Result<(), Full> {
        if self.closing { Ok(()) } else { self.outgoing.push(opcode, payload) }
    }

    /// Writes what can be written at once; [`WebSocket::next`] writes the rest.
    pub fn flush(&mut self) {
        // What fails here fails there as well.
        let _ = self.outgoing.try_write(&mut self.stream);
    }

    /// Writes everything.
    pub async fn drain(&mut self) -> Result<(), Broken> {
        Ok(std::future::poll_fn(|context| self.outgoing.poll_write(&mut self.stream, context)).await?)
    }

    /// How many bytes were ever written, as long as some wait to be; `None` if none do.
    pub fn waiting_after(&self) -> Option<u64> {
        self.outgoing.waiting_after()
    }
}

#[cfg(test)]
mod tests;
