//! Socket addresses as the kernel writes them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::Family;

/// A `sockaddr_in` or a `sockaddr_in6`, told apart by its first field.
///
/// Kept as a `sockaddr_in6`, the longer of the two. A `sockaddr_in`'s family and port are in the same places, and its address where the
/// flow information of a `sockaddr_in6` is; the assertions below say so.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(crate) struct SocketAddress(libc::sockaddr_in6);

const _: () = {
    assert!(std::mem::offset_of!(libc::sockaddr_in, sin_family) == std::mem::offset_of!(libc::sockaddr_in6, sin6_family));
    assert!(std::mem::offset_of!(libc::sockaddr_in, sin_port) == std::mem::offset_of!(libc::sockaddr_in6, sin6_port));
    assert!(std::mem::offset_of!(libc::sockaddr_in, sin_addr) == std::mem::offset_of!(libc::sockaddr_in6, sin6_flowinfo));
    assert!(size_of::<libc::sockaddr_in>() <= size_of::<libc::sockaddr_in6>());
};

impl SocketAddress {
    /// Nothing yet.
    pub(crate) const EMPTY: Self = Self(libc::sockaddr_in6 {
        sin6_family: 0,
        sin6_port: 0,
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
        sin6_scope_id: 0,
    });

    /// Bytes the kernel may write.
    pub(crate) const CAPACITY: libc::socklen_t = size_of::<libc::sockaddr_in6>() as libc::socklen_t;

    /// `None` for an IPv6 address on a socket that speaks only IPv4.
    pub(crate) fn encode(family: Family, address: SocketAddr) -> Option<Self> {
        let mut encoded = Self::EMPTY;
        encoded.0.sin6_port = address.port().to_be();
        match (family, address) {
            (Family::V4, SocketAddr::V4(address)) => {
                encoded.0.sin6_family = libc::AF_INET as libc::sa_family_t;
                encoded.0.sin6_flowinfo = u32::from_ne_bytes(address.ip().octets());
            }
            (Family::V4, SocketAddr::V6(_)) => return None,
            (Family::Dual, address) => {
                encoded.0.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                encoded.0.sin6_addr.s6_addr = mapped(address.ip()).octets();
                if let SocketAddr::V6(address) = address {
                    encoded.0.sin6_scope_id = address.scope_id();
                }
            }
        }
        Some(encoded)
    }

    /// `None` if the kernel wrote neither family. A mapped address comes out as IPv4.
    pub(crate) fn decode(&self) -> Option<SocketAddr> {
        let port = u16::from_be(self.0.sin6_port);
        match libc::c_int::from(self.0.sin6_family) {
            libc::AF_INET => Some(SocketAddr::new(Ipv4Addr::from(self.0.sin6_flowinfo.to_ne_bytes()).into(), port)),
            libc::AF_INET6 => Some(match unmapped(self.0.sin6_addr.s6_addr) {
                IpAddr::V4(ip) => SocketAddr::new(ip.into(), port),
                IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, self.0.sin6_scope_id).into(),
            }),
            _ => None,
        }
    }

    /// For a system call that reads it.
    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        std::ptr::from_ref(&self.0).cast()
    }

    /// For a system call that writes [`SocketAddress::CAPACITY`] bytes.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        std::ptr::from_mut(&mut self.0).cast()
    }

    /// Bytes that count, by family.
    pub(crate) fn len(&self) -> libc::socklen_t {
        match libc::c_int::from(self.0.sin6_family) {
            libc::AF_INET => size_of::<libc::sockaddr_in>() as libc::socklen_t,
            _ => Self::CAPACITY,
        }
    }
}

/// As a dual socket writes it.
pub(crate) fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// As everyone else writes it.
pub(crate) fn unmapped(octets: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
}
