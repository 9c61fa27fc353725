//! Sending: one `sendmmsg` for many runs, each of which the kernel cuts into datagrams (`UDP_SEGMENT`).

mod control;

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use switchyard_forward::{Run, SocketId};

use super::Socket;
use super::address::SocketAddress;
use crate::counters::Tally;
use crate::wake::wait;
use control::Control;

/// Messages given to the kernel at once. Beyond some tens, the cost of the call itself is lost in the cost of the messages.
const MESSAGES: usize = 128;

/// How long one call of [`Sender::send`] waits, once, for a full socket to have room again: a millisecond of a gigabit is 125 KB.
/// Received packets wait in the kernel meanwhile; what does not fit afterwards is lost.
const PATIENCE: Duration = Duration::from_millis(1);

/// How many runs in a row the kernel may refuse to cut before a socket stops asking: no checksum offload on the device, or IPsec.
const REFUSALS: u8 = 8;

/// The sending half of a socket: what `sendmmsg` reads beside the bytes.
pub(crate) struct Sender {
    /// Whether runs are given to the kernel whole.
    segments: bool,
    refusals: u8,
    waited: bool,
    /// How many of each of the following are filled.
    filled: usize,
    pieces: Box<[Piece; MESSAGES]>,
    addresses: Box<[SocketAddress; MESSAGES]>,
    vectors: Box<[libc::iovec; MESSAGES]>,
    controls: Box<[Control; MESSAGES]>,
    headers: Box<[libc::mmsghdr; MESSAGES]>,
}

/// One message: where its bytes are and how they are cut.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: usize,
    len: usize,
    segment: usize,
}

impl Piece {
    const EMPTY: Self = Self { start: 0, len: 0, segment: 1 };

    fn datagrams(&self) -> usize {
        self.len.div_ceil(self.segment)
    }

    fn is_run(&self) -> bool {
        self.len > self.segment
    }
}

impl Sender {
    pub(crate) fn new(socket: &Socket) -> Self {
        // SAFETY: both are C structs of integers and pointers, for which zeroes are valid.
        let (vector, header) = unsafe { (std::mem::zeroed::<libc::iovec>(), std::mem::zeroed::<libc::mmsghdr>()) };
        Self {
            segments: socket.segments,
            refusals: 0,
            waited: false,
            filled: 0,
            pieces: Box::new([Piece::EMPTY; MESSAGES]),
            addresses: Box::new([SocketAddress::EMPTY; MESSAGES]),
            vectors: Box::new([vector; MESSAGES]),
            controls: Box::new([Control::new(socket.family); MESSAGES]),
            headers: Box::new([header; MESSAGES]),
        }
    }

    /// Whether runs leave whole. A socket whose kernel or device can't cut them sends datagram by datagram.
    #[cfg(test)]
    pub(crate) fn segments(&self) -> bool {
        self.segments
    }

    /// Sends those of `runs` out of `bytes` that are UDP's through `socket`, each from its path's local address. What the kernel does not take is counted and lost.
    pub(crate) fn send(&mut self, socket: &Socket, bytes: &[u8], runs: &[Run], tally: &Tally) {
        self.waited = false;
        for run in runs.iter().filter(|run| run.path.socket == SocketId::UDP) {
            let whole = Piece { start: run.start, len: run.len, segment: run.segment };
            let valid = run.segment > 0 && run.len > 0 && run.start.checked_add(run.len).is_some_and(|end| end <= bytes.len());
            debug_assert!(valid, "{run:?} of {} bytes", bytes.len());
            if !valid {
                tally.send_refused.add(1);
                continue;
            }
            let Some(address) = SocketAddress::encode(socket.family, run.path.remote) else {
                tally.send_refused.add(whole.datagrams());
                continue;
            };
            if self.segments || !whole.is_run() {
                self.push(socket, bytes, run, address, whole, tally);
            } else {
                for offset in (0..run.len).step_by(run.segment) {
                    let len = run.segment.min(run.len - offset);
                    self.push(socket, bytes, run, address, Piece { start: run.start + offset, len, segment: len }, tally);
                }
            }
        }
        self.flush(socket, bytes, tally);
    }

    fn push(&mut self, socket: &Socket, bytes: &[u8], run: &Run, address: SocketAddress, piece: Piece, tally: &Tally) {
        let i = self.filled;
        self.pieces[i] = piece;
        self.addresses[i] = address;
        self.controls[i].set(run.path.local, piece.segment);
        self.filled += 1;
        if self.filled == MESSAGES {
            self.flush(socket, bytes, tally);
        }
    }

    /// Gives the filled messages to the kernel.
    fn flush(&mut self, socket: &Socket, bytes: &[u8], tally: &Tally) {
        let filled = std::mem::take(&mut self.filled);
        for i in 0..filled {
            let piece = self.pieces[i];
            self.vectors[i] = libc::iovec { iov_base: bytes[piece.start..].as_ptr().cast_mut().cast(), iov_len: piece.len };
            let header = &mut self.headers[i].msg_hdr;
            header.msg_name = self.addresses[i].as_ptr().cast_mut().cast();
            header.msg_namelen = self.addresses[i].len();
            header.msg_iov = &raw mut self.vectors[i];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[i].as_ptr().cast_mut();
            header.msg_controllen = self.controls[i].len(piece.is_run()) as _;
        }
        let mut next = 0;
        let mut retried = false;
        while next < filled {
            tally.send_calls.add(1);
            let waiting = &mut self.headers[next..filled];
            // SAFETY: the headers point into `self` and `bytes`, both borrowed by this function; the kernel writes only the headers' lengths.
            let sent = unsafe { libc::sendmmsg(socket.fd.as_raw_fd(), waiting.as_mut_ptr(), waiting.len() as _, libc::MSG_DONTWAIT as _) };
            let Ok(sent @ 1..) = usize::try_from(sent) else {
                next = self.refused(socket, next, filled, &mut retried, tally);
                continue;
            };
            tally.runs_out.add(sent);
            for piece in &self.pieces[next..next + sent] {
                tally.datagrams_out.add(piece.datagrams());
                tally.bytes_out.add(piece.len);
                if piece.is_run() {
                    self.refusals = 0;
                }
            }
            next += sent;
            retried = false;
        }
    }

    /// The kernel did not take message `i` of `filled`: with which message to go on.
    fn refused(&mut self, socket: &Socket, i: usize, filled: usize, retried: &mut bool, tally: &Tally) -> usize {
        let piece = self.pieces[i];
        match io::Error::last_os_error().raw_os_error().unwrap_or(0) {
            libc::EINTR => i,
            libc::EAGAIN if !self.waited => {
                self.waited = true;
                wait(&mut [libc::pollfd { fd: socket.fd.as_raw_fd(), events: libc::POLLOUT, revents: 0 }], Some(PATIENCE));
                i
            }
            libc::EAGAIN => {
                tally.send_full.add(self.pieces[i..filled].iter().map(Piece::datagrams).sum());
                filled
            }
            // The device's queue is full; the next message may leave through another.
            libc::ENOBUFS | libc::ENOMEM => {
                tally.send_full.add(piece.datagrams());
                i + 1
            }
            // EIO and EINVAL: can't cut, or some other fault, which then shows again; EMSGSIZE: the path's MTU is below the segment, which
            // goes in fragments if sent alone.
            error @ (libc::EIO | libc::EINVAL | libc::EMSGSIZE) if piece.is_run() => {
                let sent = self.send_apart(socket, i, tally);
                if sent > 0 {
                    tally.unsegmented_runs.add(1);
                }
                if sent > 0 && error != libc::EMSGSIZE {
                    self.refusals += 1;
                    if self.refusals >= REFUSALS && self.segments {
                        self.segments = false;
                        tracing::warn!(
                            "the kernel refuses to cut runs into datagrams (UDP_SEGMENT, error {error}): sending them one by one"
                        );
                    }
                }
                i + 1
            }
            // An ICMP answer to something sent before, reported in place of sending this.
            libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH if !*retried => {
                *retried = true;
                i
            }
            _ => {
                tally.send_refused.add(piece.datagrams());
                i + 1
            }
        }
    }

    /// Sends message `i` datagram by datagram; how many left.
    fn send_apart(&mut self, socket: &Socket, i: usize, tally: &Tally) -> usize {
        let mut sent = 0;
        let piece = self.pieces[i];
        let mut header = self.headers[i].msg_hdr;
        header.msg_controllen = self.controls[i].len(false) as _;
        let begin = self.vectors[i].iov_base;
        for offset in (0..piece.len).step_by(piece.segment) {
            let len = piece.segment.min(piece.len - offset);
            // SAFETY: `flush` made the vector of message `i` cover the `piece.len` > `offset` bytes that begin at `begin`.
            self.vectors[i] = libc::iovec { iov_base: unsafe { begin.byte_add(offset) }, iov_len: len };
            header.msg_iov = &raw mut self.vectors[i];
            tally.send_calls.add(1);
            // SAFETY: the header points into `self` and the bytes that `flush`, the caller, borrows.
            if unsafe { libc::sendmsg(socket.fd.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) } >= 0 {
                tally.runs_out.add(1);
                tally.datagrams_out.add(1);
                tally.bytes_out.add(len);
                sent += 1;
            } else if matches!(io::Error::last_os_error().raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM)) {
                tally.send_full.add(1);
            } else {
                tally.send_refused.add(1);
            }
        }
        sent
    }
}
