//! The UDP sockets of the media port: opening them, receiving and sending in batches.

mod address;
mod receive;
mod send;
mod steering;
#[cfg(test)]
mod tests;

pub(crate) use receive::{BYTES, DATAGRAMS, Receiver};
pub(crate) use send::Sender;
pub(crate) use steering::Steering;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_int, c_void};

use crate::{Config, StartError};
use address::SocketAddress;

/// Which addresses a socket understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4 only.
    V4,
    /// IPv6, and IPv4 as mapped addresses (RFC 4291 §2.5.5.2).
    Dual,
}

/// One worker's socket on the media port.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    family: Family,
    /// Whether the kernel cuts a run into datagrams (`UDP_SEGMENT`, Linux 4.18).
    segments: bool,
}

impl Socket {
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What the kernel granted, for one line in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Granted {
    pub(crate) port: u16,
    /// Bytes; the kernel counts its own overhead in.
    pub(crate) receive_buffer: c_int,
    pub(crate) send_buffer: c_int,
    pub(crate) gso: bool,
    pub(crate) gro: bool,
    pub(crate) family: Family,
}

/// Opens one socket for each worker, all on one port.
///
/// The first is bound before it allows sharing, so that a port another process listens on is an error and not a port shared with it.
pub(crate) fn open(config: &Config) -> Result<(Vec<Socket>, Granted), StartError> {
    let wildcard_v4 = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let (first, granted) = match open_one(config, SocketAddr::new(config.bind, config.port), false) {
        Err(StartError::Bind { source, .. })
            if config.bind.is_ipv6()
                && config.bind.is_unspecified()
                && matches!(source.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) =>
        {
            open_one(config, SocketAddr::new(wildcard_v4, config.port), false)?
        }
        other => other?,
    };
    let bind = if granted.family == Family::V4 && config.bind.is_ipv6() { wildcard_v4 } else { config.bind };
    let mut sockets = vec![first];
    if config.workers > 1 {
        set(&sockets[0].fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1).map_err(system("sharing the media port (SO_REUSEPORT)"))?;
        for _ in 1..config.workers {
            sockets.push(open_one(config, SocketAddr::new(bind, granted.port), true)?.0);
        }
    }
    Ok((sockets, granted))
}

fn open_one(config: &Config, address: SocketAddr, share: bool) -> Result<(Socket, Granted), StartError> {
    let family = if address.is_ipv6() { Family::Dual } else { Family::V4 };
    let domain = if address.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET };
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::socket(domain, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
    if fd < 0 {
        return Err(StartError::Bind { address, source: io::Error::last_os_error() });
    }
    // SAFETY: the descriptor was just opened and is nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };

    if share {
        set(&fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1).map_err(system("sharing the media port (SO_REUSEPORT)"))?;
    }
    match family {
        Family::V4 => set(&fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
        Family::Dual => set(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, c_int::from(!address.ip().is_unspecified()))
            .and_then(|()| set(&fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)),
    }
    .map_err(system("asking for the addresses datagrams were sent to (IP_PKTINFO)"))?;
    // Without these the workers do their work, more slowly, counting less, or later as far as they know.
    let _ = set(&fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1);
    let _ = set(&fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1);
    let gro = set(&fd, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok();
    let gso = get(&fd, libc::SOL_UDP, libc::UDP_SEGMENT).is_ok();
    let receive_buffer = buffer(&fd, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, config.receive_buffer);
    let send_buffer = buffer(&fd, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, config.send_buffer);

    let bound = SocketAddress::encode(family, address).expect("the family is the address's");
    // SAFETY: pointer and length are `bound`'s, which outlives the call.
    if unsafe { libc::bind(fd.as_raw_fd(), bound.as_ptr(), bound.len()) } != 0 {
        return Err(StartError::Bind { address, source: io::Error::last_os_error() });
    }
    let mut local = SocketAddress::EMPTY;
    let mut len = SocketAddress::CAPACITY;
    // SAFETY: `local` has `len` writable bytes.
    if unsafe { libc::getsockname(fd.as_raw_fd(), local.as_mut_ptr(), &mut len) } != 0 {
        return Err(StartError::System { what: "reading the bound port", source: io::Error::last_os_error() });
    }
    let port = local.decode().map_or(address.port(), |local| local.port());
    Ok((Socket { fd, family, segments: gso }, Granted { port, receive_buffer, send_buffer, gso, gro, family }))
}

/// Asks for a buffer of `bytes`, past the system's limit if that is allowed; what was granted.
fn buffer(fd: &OwnedFd, force: c_int, ask: c_int, bytes: usize) -> c_int {
    let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX / 2);
    if set(fd, libc::SOL_SOCKET, force, bytes).is_err() {
        // Never refused, only cut to the limit: what counts is what is read back.
        let _ = set(fd, libc::SOL_SOCKET, ask, bytes);
    }
    get(fd, libc::SOL_SOCKET, ask).unwrap_or(0)
}

/// Bounds what the kernel holds of a TCP connection's that the other end has not taken. It counts its own overhead in.
pub fn limit_send_buffer(fd: BorrowedFd<'_>, bytes: usize) {
    // Never refused, only cut to the system's limit.
    let _ = set(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, c_int::try_from(bytes).unwrap_or(c_int::MAX));
}

fn system(what: &'static str) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::System { what, source }
}

fn set(fd: impl AsFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let pointer = std::ptr::from_ref(&value).cast::<c_void>();
    // SAFETY: `pointer` is readable for the length given, during the call.
    let result = unsafe { libc::setsockopt(fd.as_fd().as_raw_fd(), level, name, pointer, size_of::<c_int>() as libc::socklen_t) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn get(fd: &OwnedFd, level: c_int, name: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let mut len = size_of::<c_int>() as libc::socklen_t;
    let pointer = std::ptr::from_mut(&mut value).cast::<c_void>();
    // SAFETY: `pointer` is writable for the length given, during the call.
    let result = unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, pointer, &mut len) };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}
