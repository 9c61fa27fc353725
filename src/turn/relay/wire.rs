//! Messages to and from a TURN client, whatever carries them.

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::{MAX_MESSAGE, STALLED};
use crate::stream::Stream;

/// Bytes in front of a STUN message's attributes (RFC 8489 §5), and of channel data (RFC 8656 §12.4).
const STUN_HEADER: usize = 20;
const CHANNEL_HEADER: usize = 4;

/// Bytes that wait for a client by TCP, here and as many again in the kernel; more are dropped, as by a router, so that nobody sees the past.
const BUFFER: usize = 64 * 1024;

/// One client's messages.
pub enum Wire {
    /// By TCP or TLS.
    Stream(Messages),
    /// By UDP, from whoever reads the socket.
    Datagrams(Arc<UdpSocket>, SocketAddr, mpsc::Receiver<Vec<u8>>),
}

impl Wire {
    /// A stream of which `begun` was read already.
    pub fn stream(stream: Stream, begun: &[u8]) -> Self {
        switchyard_worker::limit_send_buffer(stream.tcp().as_fd(), BUFFER);
        Self::Stream(Messages { stream, read: begun.to_vec(), unsent: Vec::new(), sent: 0, progress: Instant::now() })
    }

    pub fn datagrams(socket: Arc<UdpSocket>, client: SocketAddr, incoming: mpsc::Receiver<Vec<u8>>) -> Self {
        Self::Datagrams(socket, client, incoming)
    }

    /// The next message; `None`: there will be none. Sends what waits meanwhile. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Datagrams(_, _, incoming) => incoming.recv().await,
            Self::Stream(messages) => std::future::poll_fn(|context| messages.poll_next(context)).await,
        }
    }

    /// Sends a message, or has it sent by [`Wire::next`]. Fails if nothing more can be sent.
    pub fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            // What the network does not take is lost, as in any network.
            Self::Datagrams(socket, client, _) => {
                let _ = socket.try_send_to(message, *client);
                Ok(())
            }
            Self::Stream(messages) => messages.send(message),
        }
    }
}

/// Both ways of a stream, neither of which waits for the other.
pub struct Messages {
    stream: Stream,
    /// What was read of the next messages.
    read: Vec<u8>,
    /// What is to be sent, and how much of it is.
    unsent: Vec<u8>,
    sent: usize,
    /// When the client last took something, or nothing waited.
    progress: Instant,
}

impl Messages {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        if self.unsent.is_empty() {
            self.progress = Instant::now();
        } else if self.unsent.len() - self.sent > BUFFER {
            return if self.progress.elapsed() < STALLED { Ok(()) } else { Err(ErrorKind::TimedOut.into()) };
        }
        self.unsent.extend_from_slice(message);
        self.unsent.resize(self.unsent.len() + message.len().next_multiple_of(4) - message.len(), 0);
        self.write(&mut Context::from_waker(Waker::noop()))
    }

    fn write(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while self.sent < self.unsent.len() {
            match Pin::new(&mut self.stream).poll_write(context, &self.unsent[self.sent..]) {
                Poll::Ready(Ok(0)) => return Err(ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(len)) => {
                    self.sent += len;
                    self.progress = Instant::now();
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        if self.sent > BUFFER || self.sent == self.unsent.len() {
            self.unsent.drain(..self.sent);
            self.sent = 0;
        }
        match Pin::new(&mut self.stream).poll_flush(context) {
            Poll::Ready(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        if self.write(context).is_err() {
            return Poll::Ready(None);
        }
        loop {
            match measure(&self.read) {
                Ok(Some((len, padded))) if self.read.len() >= padded => {
                    let mut message: Vec<u8> = self.read.drain(..padded).collect();
                    message.truncate(len);
                    return Poll::Ready(Some(message));
                }
                Ok(_) => {}
                Err(Foreign) => return Poll::Ready(None),
            }
            let mut room = [MaybeUninit::uninit(); MAX_MESSAGE];
            let mut room = ReadBuf::uninit(&mut room);
            if ready!(Pin::new(&mut self.stream).poll_read(context, &mut room)).is_err() || room.filled().is_empty() {
                return Poll::Ready(None);
            }
            self.read.extend_from_slice(room.filled());
        }
    }
}

/// What is neither STUN nor channel data, or larger than any of ours.
#[derive(Debug)]
struct Foreign;

/// Bytes of the first message, without and with what pads it; `None` while that can't be told.
fn measure(read: &[u8]) -> Result<Option<(usize, usize)>, Foreign> {
    let Some((head, _)) = read.split_first_chunk::<4>() else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let len = match head[0] {
        0..0x40 => STUN_HEADER + len,
        0x40..0x80 => CHANNEL_HEADER + len,
        _ => return Err(Foreign),
    };
    if len <= MAX_MESSAGE { Ok(Some((len, len.next_multiple_of(4)))) } else { Err(Foreign) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_where_they_end() {
        assert_eq!(measure(&[0, 1, 0]).unwrap(), None, "not yet");
        assert_eq!(measure(&[0, 3, 0, 8]).unwrap(), Some((28, 28)));
        assert_eq!(measure(&[0x40, 0, 0, 5]).unwrap(), Some((9, 12)));
        assert_eq!(measure(&[0x40, 0, 0, 0]).unwrap(), Some((4, 4)));
        assert!(measure(&[0x40, 0, 0x08, 0]).is_err(), "too long");
        assert!(measure(b"GET /").is_err(), "HTTP");
        assert!(measure(&[0x80, 0, 0, 0]).is_err(), "media");
    }
}
