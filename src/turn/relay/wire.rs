//! Messages to and from a TURN client, whatever carries them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::MAX_MESSAGE;
use crate::stream::Stream;

/// Bytes in front of a STUN message's attributes (RFC 8489 §5), and of channel data (RFC 8656 §12.4).
const STUN_HEADER: usize = 20;
const CHANNEL_HEADER: usize = 4;

/// One client's messages.
pub enum Wire {
    /// By TCP or TLS; what was read of the next ones.
    Stream(Stream, Vec<u8>),
    /// By UDP, from whoever reads the socket.
    Datagrams(Arc<UdpSocket>, SocketAddr, mpsc::Receiver<Vec<u8>>),
}

impl Wire {
    pub fn stream(stream: Stream, begun: &[u8]) -> Self {
        Self::Stream(stream, begun.to_vec())
    }

    pub fn datagrams(socket: Arc<UdpSocket>, client: SocketAddr, incoming: mpsc::Receiver<Vec<u8>>) -> Self {
        Self::Datagrams(socket, client, incoming)
    }

    /// The next message; `None`: there will be none. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Datagrams(_, _, incoming) => incoming.recv().await,
            Self::Stream(stream, read) => loop {
                if let Some((len, padded)) = measure(read).ok()?
                    && read.len() >= padded
                {
                    let mut message: Vec<u8> = read.drain(..padded).collect();
                    message.truncate(len);
                    return Some(message);
                }
                read.reserve(MAX_MESSAGE);
                if stream.read_buf(read).await.ok()? == 0 {
                    return None;
                }
            },
        }
    }

    /// Sends a message, whole.
    pub async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            // What the network does not take is lost, as in any network.
            Self::Datagrams(socket, client, _) => drop(socket.try_send_to(message, *client)),
            Self::Stream(stream, _) => {
                let padding = message.len().next_multiple_of(4) - message.len();
                stream.write_all(message).await?;
                stream.write_all(&[0; 3][..padding]).await?;
                stream.flush().await?;
            }
        }
        Ok(())
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
