//! Frames on their way to the client: a bounded queue, written from where their payloads are.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use axum::body::Bytes;
use tokio::io::AsyncWrite;

use super::Opcode;
use crate::stream::Stream;

/// Messages waiting for one client. A join into a full room announces up to 1,000 participants at once.
const MAX_MESSAGES: usize = 4096;
/// Their bytes: some 20 of the largest session descriptions.
const MAX_BYTES: usize = 4 << 20;
/// Frames written by one system call.
const AT_ONCE: usize = 16;
/// Bytes of a frame's header: two, and eight of length. What the server sends is not masked.
const MAX_HEADER: usize = 10;

/// The client takes too little of what is sent to it.
#[derive(Debug, thiserror::Error)]
#[error("the client does not take what is sent to it")]
pub struct Full;

#[derive(Debug)]
struct Frame {
    header: [u8; MAX_HEADER],
    header_len: u8,
    payload: Bytes,
}

impl Frame {
    fn new(opcode: Opcode, payload: Bytes) -> Self {
        let mut header = [0; MAX_HEADER];
        // The last fragment of its message.
        header[0] = 0x80 | opcode as u8;
        let len = payload.len();
        let header_len = match (len, u16::try_from(len)) {
            (..126, _) => {
                header[1] = len as u8;
                2
            }
            (_, Ok(short)) => {
                header[1] = 126;
                header[2..4].copy_from_slice(&short.to_be_bytes());
                4
            }
            _ => {
                header[1] = 127;
                header[2..].copy_from_slice(&(len as u64).to_be_bytes());
                10
            }
        };
        Self { header, header_len, payload }
    }

    fn parts(&self) -> [&[u8]; 2] {
        [&self.header[..usize::from(self.header_len)], &self.payload]
    }

    fn len(&self) -> usize {
        self.parts().into_iter().map(<[u8]>::len).sum()
    }
}

/// What waits to be written.
#[derive(Debug, Default)]
pub struct Queue {
    frames: VecDeque<Frame>,
    /// Of payload.
    bytes: usize,
    /// Bytes of the first frame that are written already.
    begun: usize,
    written: u64,
}

impl Queue {
    /// Puts a frame behind the others.
    pub fn push(&mut self, opcode: Opcode, payload: Bytes) -> Result<(), Full> {
        if self.frames.len() >= MAX_MESSAGES || self.bytes + payload.len() > MAX_BYTES {
            return Err(Full);
        }
        self.bytes += payload.len();
        self.frames.push_back(Frame::new(opcode, payload));
        Ok(())
    }

    /// How many bytes were ever written, as long as some wait to be.
    pub fn waiting_after(&self) -> Option<u64> {
        (!self.frames.is_empty()).then_some(self.written)
    }

    /// Writes until all is written or the socket is full. Nobody is woken for the rest.
    pub fn try_write(&mut self, stream: &mut Stream) -> io::Result<()> {
        match self.poll_write(stream, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    /// The same; `Pending` if the task is to be woken for the rest.
    pub fn poll_write(&mut self, stream: &mut Stream, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write(|slices| Pin::new(&mut *stream).poll_write_vectored(context, slices)))?;
        // TLS keeps what the socket did not take.
        Pin::new(stream).poll_flush(context)
    }

    fn write(&mut self, mut write: impl FnMut(&[IoSlice<'_>]) -> Poll<io::Result<usize>>) -> Poll<io::Result<()>> {
        while !self.frames.is_empty() {
            let mut slices = [IoSlice::new(&[]); 2 * AT_ONCE];
            let mut count = 0;
            let mut skip = self.begun;
            for part in self.frames.iter().take(AT_ONCE).flat_map(Frame::parts) {
                let skipped = skip.min(part.len());
                skip -= skipped;
                if skipped < part.len() {
                    slices[count] = IoSlice::new(&part[skipped..]);
                    count += 1;
                }
            }
            match write(&slices[..count]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => self.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, written: usize) {
        self.written += written as u64;
        self.begun += written;
        while let Some(frame) = self.frames.pop_front_if(|frame| frame.len() <= self.begun) {
            self.begun -= frame.len();
            self.bytes -= frame.payload.len();
        }
        if self.frames.is_empty() {
            self.frames = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_takes_nothing_is_too_slow_after_a_bounded_number_of_bytes_and_messages() {
        let taken = |len: usize| {
            let mut queue = Queue::default();
            let payload = Bytes::from(vec![b'x'; len]);
            (0..10_000).take_while(|_| queue.push(Opcode::Text, payload.clone()).is_ok()).count()
        };
        assert_eq!(taken(100_000), MAX_BYTES / 100_000);
        assert_eq!(taken(1), MAX_MESSAGES);
    }

    #[test]
    fn what_is_written_in_pieces_is_what_was_queued() {
        let mut queue = Queue::default();
        let mut expected = Vec::new();
        for len in [0, 1, 125, 126, 65_535, 65_536, 3] {
            let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
            expected.push(0x82);
            match len {
                ..126 => expected.push(len as u8),
                126..65_536 => expected.extend([126, (len >> 8) as u8, len as u8]),
                _ => expected.extend([127, 0, 0, 0, 0, 0, 1, 0, 0]),
            }
            expected.extend_from_slice(&payload);
            queue.push(Opcode::Binary, payload.into()).unwrap();
        }
        let mut written = Vec::new();
        let mut room = 1;
        while queue.waiting_after().is_some() {
            // As a socket that takes a little more each time, and then nothing for once.
            let mut open = true;
            let result = queue.write(|slices| {
                if !std::mem::take(&mut open) {
                    return Poll::Pending;
                }
                let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(room).collect();
                written.extend_from_slice(&all);
                Poll::Ready(Ok(all.len()))
            });
            assert!(matches!(result, Poll::Pending | Poll::Ready(Ok(()))));
            room = room * 3 / 2 + 1;
        }
        assert!(written == expected);
        assert_eq!((queue.bytes, queue.begun, queue.frames.capacity()), (0, 0, 0));
    }
}
