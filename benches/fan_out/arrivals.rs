//! When datagrams arrived, by the kernel's clock: a sink may be read later.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// Bytes of a datagram that are looked at: an RTP header with an extension of four bytes.
pub const START: usize = 20;

/// Nanoseconds of the system's clock, which the kernel stamps datagrams with.
pub fn now() -> anyhow::Result<i64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable during the call.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut time) };
    anyhow::ensure!(result == 0, "no clock: {}", std::io::Error::last_os_error());
    Ok(nanos(time))
}

fn nanos(time: libc::timespec) -> i64 {
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Has the kernel stamp what arrives at `socket`.
pub fn stamp(socket: &UdpSocket) -> anyhow::Result<()> {
    let on: libc::c_int = 1;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS);
    // SAFETY: `on` is readable for the length given, during the call.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const on).cast(), size_of_val(&on) as _) };
    anyhow::ensure!(result == 0, "SO_TIMESTAMPNS: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Has the calling thread's sleeps end in time instead of up to 50 µs later.
pub fn sleep_exactly() {
    // SAFETY: takes no pointers.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
}

/// The next media datagram that waits at `socket`, which doesn't block: its RTP sequence number, and when it arrived.
pub fn next(socket: &UdpSocket) -> Option<(u16, i64)> {
    next_start(socket).map(|(bytes, at)| (u16::from_be_bytes([bytes[2], bytes[3]]), at))
}

/// The same with its first bytes.
pub fn next_start(socket: &UdpSocket) -> Option<([u8; START], i64)> {
    let mut bytes = [0u8; START];
    loop {
        let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        let mut control = Control([0; 64]);
        // SAFETY: a C struct of integers and pointers, for which zeroes are valid.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut vector;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = control.0.len() as _;
        // SAFETY: the header points into locals, which live through the call. A datagram that is longer is cut.
        if unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) } < 4 {
            return None;
        }
        // RFC 7983, RFC 5761: SRTP, and not RTCP.
        if !(128..=191).contains(&bytes[0]) || (192..=223).contains(&bytes[1]) {
            continue;
        }
        // SAFETY: the kernel wrote `msg_controllen` bytes of control messages there; the length is checked before anything is read.
        unsafe {
            let found = libc::CMSG_FIRSTHDR(&raw const header).as_ref()?;
            if found.cmsg_type == libc::SCM_TIMESTAMPNS && found.cmsg_len >= libc::CMSG_LEN(size_of::<libc::timespec>() as _) as _ {
                let at = libc::CMSG_DATA(found).cast::<libc::timespec>().read_unaligned();
                return Some((bytes, nanos(at)));
            }
        }
    }
}

#[repr(C, align(8))]
struct Control([u8; 64]);
