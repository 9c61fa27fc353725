//! Receiving: one `recvmmsg` for many messages, each of which the kernel may have joined from many datagrams (`UDP_GRO`).

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime};

use libc::{c_int, c_void};
use switchyard_forward::{Batch, Origin, Path, Received, SocketId};

use super::Socket;
use super::address::{SocketAddress, unmapped};
use crate::counters::Tally;

/// Messages taken in one turn. Each may be a run of up to 64 KiB, so this bounds a turn to 2 MiB, some 20 ms of a gigabit.
pub(crate) const MESSAGES: usize = 32;

/// Bytes from one message's buffer to the next: the longest message, and an odd number of cache lines more, so that the beginnings of
/// the buffers, the only parts short messages touch, don't compete for the same lines of the cache.
const STRIDE: usize = (64 << 10) + 33 * 64;

/// Bytes the messages of a turn need, from the beginning of [`Batch::bytes`].
pub(crate) const BYTES: usize = MESSAGES * STRIDE;

/// Datagrams a turn's messages may be: the kernel joins at most 64, and on loopback passes the 128 that a sender may put in a run.
pub(crate) const DATAGRAMS: usize = MESSAGES * 128;

/// Room for the control messages asked for: `IPV6_PKTINFO` (40), `SO_TIMESTAMPNS` (32), `UDP_GRO` (24), `SO_RXQ_OVFL` (24), and some more.
const CONTROL: usize = 128;

/// A datagram has waited for no longer than this; more would be since before the kernel's clock was set.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Two readings of clocks belong together if they are within this.
const TOGETHER: Duration = Duration::from_micros(100);

/// The receiving half of a socket: the buffers that `recvmmsg` fills beside the bytes.
pub(crate) struct Receiver {
    addresses: Box<[SocketAddress; MESSAGES]>,
    vectors: Box<[libc::iovec; MESSAGES]>,
    controls: Box<[Control; MESSAGES]>,
    headers: Box<[libc::mmsghdr; MESSAGES]>,
    /// Messages of this turn's, whose bytes are still needed.
    filled: usize,
    /// The kernel's count of drops so far.
    dropped: u32,
}

/// Aligned for `cmsghdr`.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// What came beside one message's bytes.
#[derive(Default)]
struct Ancillary {
    /// The address the message was sent to.
    local: Option<IpAddr>,
    /// Bytes of each datagram in it, if they were joined.
    segment: Option<usize>,
    /// When the kernel had it, since the Unix epoch.
    arrived: Option<Duration>,
    /// The kernel's count of drops.
    dropped: Option<u32>,
}

/// Both clocks at one moment: the kernel tells by the one what the server keeps by the other.
struct Clocks {
    now: Instant,
    since_epoch: Duration,
}

impl Clocks {
    fn read() -> Self {
        let mut now = Instant::now();
        // Something else may run between the two; once more, then.
        for _ in 0..3 {
            let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
            let before = std::mem::replace(&mut now, Instant::now());
            if now.saturating_duration_since(before) < TOGETHER {
                return Self { now, since_epoch };
            }
        }
        Self { now, since_epoch: SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default() }
    }

    /// When something arrived that did so at `since_epoch`, if that is known and can be.
    fn at(&self, since_epoch: Option<Duration>) -> Instant {
        let waited = since_epoch.and_then(|then| self.since_epoch.checked_sub(then)).unwrap_or_default();
        self.now.checked_sub(waited.min(LONGEST_WAIT)).unwrap_or(self.now)
    }
}

impl Receiver {
    pub(crate) fn new() -> Self {
        // SAFETY: both are C structs of integers and pointers, for which zeroes are valid.
        let (vector, header) = unsafe { (std::mem::zeroed::<libc::iovec>(), std::mem::zeroed::<libc::mmsghdr>()) };
        Self {
            addresses: Box::new([SocketAddress::EMPTY; MESSAGES]),
            vectors: Box::new([vector; MESSAGES]),
            controls: Box::new([Control([0; CONTROL]); MESSAGES]),
            headers: Box::new([header; MESSAGES]),
            filled: 0,
            dropped: 0,
        }
    }

    /// Takes what `socket` has, as far as it fits, into `batch`, in place of what was there. Whether there may be more.
    pub(crate) fn receive(&mut self, socket: &Socket, batch: &mut Batch, tally: &Tally) -> bool {
        self.filled = 0;
        self.receive_more(socket, batch, tally)
    }

    /// Takes what has come since then as well, behind it. Whether there may be more.
    pub(crate) fn receive_more(&mut self, socket: &Socket, batch: &mut Batch, tally: &Tally) -> bool {
        let first = self.filled;
        let bytes = batch.bytes.as_mut_ptr();
        assert!(batch.bytes.len() >= BYTES);
        for i in first..MESSAGES {
            // SAFETY: i × STRIDE + STRIDE ≤ BYTES, which `batch.bytes` has.
            self.vectors[i] = libc::iovec { iov_base: unsafe { bytes.add(i * STRIDE) }.cast::<c_void>(), iov_len: 64 << 10 };
            let header = &mut self.headers[i].msg_hdr;
            header.msg_name = self.addresses[i].as_mut_ptr().cast();
            header.msg_namelen = SocketAddress::CAPACITY;
            header.msg_iov = &raw mut self.vectors[i];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[i].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL as _;
            header.msg_flags = 0;
        }
        tally.receive_calls.add(1);
        let free = &mut self.headers[first..];
        // SAFETY: the headers point into `self` and `batch.bytes`, both borrowed by this function and not touched during the call.
        let count = unsafe {
            libc::recvmmsg(socket.fd.as_raw_fd(), free.as_mut_ptr(), free.len() as _, libc::MSG_DONTWAIT as _, std::ptr::null_mut())
        };
        let Ok(count) = usize::try_from(count) else {
            // EAGAIN: nothing there. EINTR and a pending error of an earlier send are over with this call: ask again.
            return io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock;
        };
        self.filled += count;
        let clocks = Clocks::read();
        for i in first..self.filled {
            self.take(i, &clocks, batch, tally);
        }
        self.filled == MESSAGES
    }

    /// Lists the datagrams of message `i`.
    fn take(&mut self, i: usize, clocks: &Clocks, batch: &mut Batch, tally: &Tally) {
        let header = &self.headers[i];
        let ancillary = ancillary(&header.msg_hdr);
        if let Some(dropped) = ancillary.dropped {
            tally.kernel_drops.add(dropped.wrapping_sub(self.dropped) as usize);
            self.dropped = dropped;
        }
        let total = header.msg_len as usize;
        let segment = ancillary.segment.unwrap_or(total).clamp(1, 64 << 10);
        tally.datagrams_in.add(total.div_ceil(segment).max(1));
        tally.bytes_in.add(total);
        let cut = header.msg_hdr.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
        let (Some(local), Some(remote), false) = (ancillary.local, self.addresses[i].decode(), cut) else {
            tally.receive_malformed.add(total.div_ceil(segment).max(1));
            return;
        };
        let origin = Origin::Path { path: Path { socket: SocketId(0), local, remote }, at: clocks.at(ancillary.arrived) };
        for offset in (0..total).step_by(segment) {
            if batch.received.len() == batch.received.capacity() {
                tally.receive_overflow.add((total - offset).div_ceil(segment));
                return;
            }
            batch.received.push(Received { start: i * STRIDE + offset, len: segment.min(total - offset), origin });
        }
    }
}

/// Reads the control messages of a received message.
#[allow(clippy::unnecessary_cast, reason = "cmsg_len is a usize with glibc and a u32 with musl")]
fn ancillary(header: &libc::msghdr) -> Ancillary {
    let mut found = Ancillary::default();
    // SAFETY: the kernel wrote `msg_controllen` bytes of control messages at `msg_control`, which points into a live, aligned buffer;
    // the macros stay inside it, and the lengths are checked before anything is read.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(header);
        while let Some(control) = next.as_ref() {
            let data = libc::CMSG_DATA(control);
            let holds = |bytes: usize| control.cmsg_len as usize >= libc::CMSG_LEN(bytes as _) as usize;
            match (control.cmsg_level, control.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) if holds(size_of::<libc::in_pktinfo>()) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    found.local = Some(IpAddr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if holds(size_of::<libc::in6_pktinfo>()) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    found.local = Some(unmapped(info.ipi6_addr.s6_addr));
                }
                (libc::SOL_UDP, libc::UDP_GRO) if holds(size_of::<c_int>()) => {
                    found.segment = usize::try_from(data.cast::<c_int>().read_unaligned()).ok();
                }
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) if holds(size_of::<libc::timespec>()) => {
                    let time = data.cast::<libc::timespec>().read_unaligned();
                    found.arrived = Some(Duration::new(time.tv_sec as u64, time.tv_nsec as u32));
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) if holds(size_of::<u32>()) => {
                    found.dropped = Some(data.cast::<u32>().read_unaligned());
                }
                _ => {}
            }
            next = libc::CMSG_NXTHDR(header, control);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waited_arrived_before_and_in_order_whatever_the_clock_was_set_to() {
        let clocks = Clocks { now: Instant::now() + Duration::from_secs(60), since_epoch: Duration::from_secs(1_000_000) };
        let ago = |millis| clocks.now - clocks.at(clocks.since_epoch.checked_sub(Duration::from_millis(millis)));
        assert_eq!([0, 20, 999].map(ago), [0, 20, 999].map(Duration::from_millis));
        assert_eq!([1_300, 3_600_000].map(ago), [LONGEST_WAIT; 2], "a machine that stood still, or a clock that was set");
        assert_eq!(clocks.at(Some(clocks.since_epoch + Duration::from_secs(5))), clocks.now, "a clock that was set back");
        assert_eq!(clocks.at(None), clocks.now);
    }
}
