//! TCP connections of clients that UDP doesn't get through to (ICE-TCP, RFC 6544): datagrams in frames (RFC 4571), each way.
//!
//! A connection is handed over once its first frame is a binding request for a peer of this worker's. Nothing is trusted because it came this way: the
//! forwarder checks it as if it had come by UDP, and a connection that it does not know after [`UNKNOWN`] is closed.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use slab::Slab;
use switchyard_forward::{Address, Batch, Origin, Path, Received, Run, SocketId};

use crate::counters::Tally;
use crate::udp;

/// Connections of one worker: some 8 KiB each in the kernel and 300 bytes here. Browsers open one for each address they are offered, and use it only if UDP fails.
const MAX_STREAMS: usize = 4096;
/// Connections taken over and read in one turn; the others come in the next.
pub(crate) const EVENTS: usize = 32;
/// Bytes of the batch for each of them.
const PLACE: usize = 20 * 1024;
/// Bytes of the batch that are filled from connections.
pub(crate) const BYTES: usize = EVENTS * PLACE;
/// Datagrams of connections in one turn, and of one of them. What is left over of more is dropped, as by a full socket.
pub(crate) const DATAGRAMS: usize = EVENTS * 64;
const DATAGRAMS_OF_ONE: usize = 256;
/// Bytes of a datagram. Nobody sends more than an Ethernet frame's worth; who does speaks something else.
const MAX_FRAME: usize = 2048;
/// Bytes that the kernel may hold for a connection that doesn't keep up, its own overhead counted in, and as many here: beyond that datagrams are dropped, as by a
/// router. A keyframe has room; a third of a second at 3 Mbit/s, more on slower lines, where the pacer sends no faster than the line was measured.
const BUFFER: usize = 64 * 1024;
/// How long a connection may be nobody's before it is closed: nobody has shown that it is theirs, or they are gone. It comes with the first check, which is
/// looked at in the same turn.
const UNKNOWN: Duration = Duration::from_secs(3);
/// Between two looks for such connections.
const SWEEP: Duration = Duration::from_secs(1);

/// A connection on its way to the worker whose it is.
#[derive(Debug)]
pub(crate) struct Adopted {
    pub(crate) stream: TcpStream,
    pub(crate) local: IpAddr,
    pub(crate) remote: SocketAddr,
    /// What was read of it, whole frames and the beginning of another.
    pub(crate) received: Vec<u8>,
}

/// One worker's connections.
pub(crate) struct Streams {
    epoll: OwnedFd,
    streams: Slab<Stream>,
    /// Those with something to be taken that the kernel doesn't tell of.
    fresh: Vec<usize>,
    /// Those that have ended and are not taken away yet.
    ended: Vec<usize>,
    /// A run in frames.
    frames: Vec<u8>,
    sweep: Option<Instant>,
    /// Connections at most.
    most: usize,
}

struct Stream {
    stream: TcpStream,
    path: Path,
    since: Instant,
    /// The beginning of a frame.
    inbound: Vec<u8>,
    /// What the kernel did not take yet: the rest of a frame, and whole ones.
    outbound: Vec<u8>,
    ended: bool,
}

impl Streams {
    pub(crate) fn new() -> std::io::Result<Self> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just opened and is nobody else's.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        let frames = Vec::with_capacity(66 * 1024);
        Ok(Self { epoll, streams: Slab::new(), fresh: Vec::new(), ended: Vec::new(), frames, sweep: None, most: MAX_STREAMS })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// What becomes readable when a connection has something; `None` without connections.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        (!self.is_empty()).then(|| self.epoll.as_fd())
    }

    /// When to look at them again though none has anything.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        if self.fresh.is_empty() { self.sweep } else { Some(now) }
    }

    /// Takes a connection over. Where there are too many, it takes the place of the oldest that is nobody's, or is closed.
    pub(crate) fn adopt(&mut self, now: Instant, adopted: Adopted, tally: &Tally, is_known: impl Fn(Address) -> bool) {
        let Adopted { stream, local, remote, received } = adopted;
        if self.streams.len() >= self.most {
            let unknown = self.streams.iter().filter(|(_, stream)| !is_known(stream.path.address()));
            if let Some((key, _)) = unknown.min_by_key(|(_, stream)| stream.since) {
                self.streams.remove(key);
                tally.streams_closed.add(1);
            }
        }
        if self.streams.len() >= self.most || stream.set_nonblocking(true).is_err() {
            tally.streams_refused.add(1);
            return;
        }
        let _ = stream.set_nodelay(true);
        udp::limit_send_buffer(stream.as_fd(), BUFFER);
        let entry = self.streams.vacant_entry();
        let key = entry.key();
        let socket = SocketId(u32::try_from(key + 1).unwrap_or(u32::MAX));
        let path = Path { socket, local, remote };
        if watch(&self.epoll, libc::EPOLL_CTL_ADD, stream.as_fd(), key, false).is_err() {
            tally.streams_refused.add(1);
            return;
        }
        entry.insert(Stream { stream, path, since: now, inbound: received, outbound: Vec::new(), ended: false });
        self.fresh.push(key);
        self.sweep.get_or_insert(now + SWEEP);
        tally.streams_opened.add(1);
    }

    /// Takes what connections have, into `batch`, from `start` in its bytes on.
    pub(crate) fn receive(&mut self, now: Instant, batch: &mut Batch, start: usize, tally: &Tally) {
        let mut place = start;
        // What comes by UDP has its own room in the list.
        let limit = (batch.received.len() + DATAGRAMS).min(batch.received.capacity());
        for key in std::mem::take(&mut self.fresh) {
            if place - start == BYTES {
                self.fresh.push(key);
            } else if let Some(stream) = self.streams.get_mut(key) {
                stream.take((now, batch), place, 0, limit, tally);
                place += PLACE;
                if stream.ended {
                    self.ended.push(key);
                }
            }
        }
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        let free = (BYTES - (place - start)) / PLACE;
        if free == 0 {
            return;
        }
        // SAFETY: `events` has room for `free` ≤ EVENTS of them. On failure there are none.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), free as _, 0) };
        for event in events.iter().take(usize::try_from(count).unwrap_or(0)) {
            let (key, what) = (event.u64 as usize, event.events);
            let Some(stream) = self.streams.get_mut(key) else { continue };
            if what & libc::EPOLLOUT as u32 != 0 && stream.flush() {
                let _ = watch(&self.epoll, libc::EPOLL_CTL_MOD, stream.stream.as_fd(), key, false);
            }
            if what & !(libc::EPOLLOUT as u32) != 0 {
                stream.read((now, batch), place, limit, tally);
                place += PLACE;
            }
            if stream.ended {
                self.ended.push(key);
            }
        }
    }

    /// Sends a run. What a connection has no room for is dropped and counted.
    pub(crate) fn send(&mut self, bytes: &[u8], run: &Run, tally: &Tally) {
        let key = (run.path.socket.0 as usize).wrapping_sub(1);
        let datagrams = run.len.div_ceil(run.segment.max(1));
        // A number may have become another connection's.
        let stream = self.streams.get_mut(key).filter(|stream| stream.path == run.path && !stream.ended);
        let (Some(stream), Some(bytes)) = (stream, bytes.get(run.start..run.start + run.len)) else {
            tally.send_refused.add(datagrams);
            return;
        };
        self.frames.clear();
        for datagram in bytes.chunks(run.segment.max(1)) {
            self.frames.extend_from_slice(&(datagram.len() as u16).to_be_bytes());
            self.frames.extend_from_slice(datagram);
        }
        let was_waiting = !stream.outbound.is_empty();
        let taken = stream.push(&self.frames, run.segment + 2);
        tally.datagrams_out.add(taken);
        tally.bytes_out.add((taken * run.segment).min(run.len));
        tally.runs_out.add(1);
        tally.send_calls.add(1);
        tally.streams_full.add(datagrams - taken);
        if !was_waiting && !stream.outbound.is_empty() {
            let _ = watch(&self.epoll, libc::EPOLL_CTL_MOD, stream.stream.as_fd(), key, true);
        }
        if stream.ended {
            self.ended.push(key);
        }
    }

    /// A connection that has ended, once; it is gone with that.
    pub(crate) fn poll_ended(&mut self, tally: &Tally) -> Option<Address> {
        loop {
            let key = self.ended.pop()?;
            // The kernel takes a closed descriptor from the set by itself.
            if let Some(stream) = self.streams.try_remove(key) {
                tally.streams_closed.add(1);
                if self.streams.is_empty() {
                    self.sweep = None;
                }
                return Some(stream.path.address());
            }
        }
    }

    /// Ends connections that are nobody's.
    pub(crate) fn sweep(&mut self, now: Instant, is_known: impl Fn(Address) -> bool) {
        if self.sweep.is_none_or(|sweep| sweep > now) {
            return;
        }
        self.sweep = Some(now + SWEEP);
        for (key, stream) in &mut self.streams {
            if now.saturating_duration_since(stream.since) >= UNKNOWN && !is_known(stream.path.address()) {
                stream.ended = true;
                self.ended.push(key);
            }
        }
    }
}

impl Stream {
    /// Reads what there is, behind what has come of a frame.
    fn read(&mut self, (now, batch): (Instant, &mut Batch), place: usize, limit: usize, tally: &Tally) {
        let behind = self.inbound.len();
        let Some(room) = batch.bytes.get_mut(place + behind..place + PLACE) else {
            self.ended = true;
            return;
        };
        tally.receive_calls.add(1);
        match self.stream.read(room) {
            Ok(0) => self.ended = true,
            Ok(count) => self.take((now, batch), place, count, limit, tally),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.ended = true,
        }
    }

    /// Lists the datagrams in what had come of a frame and the `count` bytes that follow it at `place` in the batch, as long as the list has not more than `limit`; keeps
    /// what is not whole.
    fn take(&mut self, (now, batch): (Instant, &mut Batch), place: usize, count: usize, limit: usize, tally: &Tally) {
        let limit = limit.min(batch.received.len() + DATAGRAMS_OF_ONE);
        let (mut at, end) = (place, place + self.inbound.len() + count);
        batch.bytes[place..place + self.inbound.len()].copy_from_slice(&self.inbound);
        self.inbound.clear();
        while let Some(&[high, low]) = batch.bytes.get(at..(at + 2).min(end)).and_then(|header| header.first_chunk()) {
            let len = usize::from(u16::from_be_bytes([high, low]));
            if len > MAX_FRAME {
                tally.receive_malformed.add(1);
                self.ended = true;
                return;
            }
            if at + 2 + len > end {
                break;
            }
            // An empty one says nothing (RFC 4571 §2).
            if len > 0 {
                tally.datagrams_in.add(1);
                tally.bytes_in.add(len);
                if batch.received.len() < limit {
                    batch.received.push(Received { start: at + 2, len, origin: Origin::Path { path: self.path, at: now } });
                } else {
                    tally.receive_overflow.add(1);
                }
            }
            at += 2 + len;
        }
        self.inbound.extend_from_slice(&batch.bytes[at..end]);
    }

    /// Gives `frames`, each of `frame` bytes but the last, to the kernel, or keeps them for later; how many found room.
    fn push(&mut self, frames: &[u8], frame: usize) -> usize {
        let sent = if self.outbound.is_empty() { self.write(frames) } else { 0 };
        if self.ended {
            return 0;
        }
        // A frame that has begun has to go on; whole ones begin only where there is room.
        let begun = (sent.div_ceil(frame) * frame).min(frames.len());
        let room = BUFFER.saturating_sub(self.outbound.len() + begun - sent) / frame * frame;
        let kept = (begun + room).min(frames.len());
        self.outbound.extend_from_slice(&frames[sent..kept]);
        kept.div_ceil(frame)
    }

    /// Gives the kernel what waits; whether nothing does any more.
    fn flush(&mut self) -> bool {
        let waiting = std::mem::take(&mut self.outbound);
        let sent = self.write(&waiting);
        if sent < waiting.len() {
            self.outbound = waiting;
            self.outbound.drain(..sent);
        }
        self.outbound.is_empty()
    }

    /// How many of these bytes the kernel takes.
    fn write(&mut self, bytes: &[u8]) -> usize {
        match self.stream.write(bytes) {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
            Err(_) => {
                self.ended = true;
                0
            }
        }
    }
}

/// Has `epoll` tell of a connection: what can be read, and, if `output`, that something can be written.
fn watch(epoll: &OwnedFd, operation: i32, stream: BorrowedFd<'_>, key: usize, output: bool) -> std::io::Result<()> {
    let events = libc::EPOLLIN | if output { libc::EPOLLOUT } else { 0 };
    let mut event = libc::epoll_event { events: events as u32, u64: key as u64 };
    // SAFETY: `event` is valid during the call.
    let done = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), operation, stream.as_raw_fd(), &raw mut event) };
    if done < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
