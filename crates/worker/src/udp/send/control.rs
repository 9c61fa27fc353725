//! The control messages of a datagram or run: where it leaves from, and how it is cut.

use std::net::IpAddr;

use super::super::Family;
use super::super::address::mapped;

/// A `cmsghdr` is a length of a word, a level and a type; what follows is aligned to a word.
const HEADER: usize = 16;
/// Room for an `in_pktinfo` (12 bytes) or an `in6_pktinfo` (20), and for the segment's size (2), each with its header, each aligned.
const CAPACITY: usize = HEADER + 24 + HEADER + 8;

const _: () = {
    assert!(size_of::<libc::cmsghdr>() == HEADER);
    assert!(std::mem::offset_of!(libc::cmsghdr, cmsg_level) == 8);
    assert!(std::mem::offset_of!(libc::cmsghdr, cmsg_type) == 12);
    assert!(std::mem::offset_of!(libc::in_pktinfo, ipi_spec_dst) == 4);
    assert!(std::mem::offset_of!(libc::in6_pktinfo, ipi6_addr) == 0);
    assert!(size_of::<libc::in_pktinfo>() == 12 && size_of::<libc::in6_pktinfo>() == 20);
    // SAFETY: computes.
    assert!(unsafe { libc::CMSG_SPACE(20) as usize + libc::CMSG_SPACE(2) as usize } == CAPACITY);
};

/// `IP_PKTINFO` or `IPV6_PKTINFO`, by the socket's family, then `UDP_SEGMENT`, which a length without it leaves off. Everything but the
/// values is written once.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Control {
    bytes: [u8; CAPACITY],
    family: Family,
}

impl Control {
    pub(super) fn new(family: Family) -> Self {
        let mut control = Self { bytes: [0; CAPACITY], family };
        match family {
            Family::V4 => control.header(0, size_of::<libc::in_pktinfo>(), libc::IPPROTO_IP, libc::IP_PKTINFO),
            Family::Dual => control.header(0, size_of::<libc::in6_pktinfo>(), libc::IPPROTO_IPV6, libc::IPV6_PKTINFO),
        }
        control.header(control.len(false), size_of::<u16>(), libc::SOL_UDP, libc::UDP_SEGMENT);
        control
    }

    fn header(&mut self, at: usize, data: usize, level: libc::c_int, kind: libc::c_int) {
        self.bytes[at..at + 8].copy_from_slice(&((HEADER + data) as u64).to_ne_bytes());
        self.bytes[at + 8..at + 12].copy_from_slice(&level.to_ne_bytes());
        self.bytes[at + 12..at + 16].copy_from_slice(&kind.to_ne_bytes());
    }

    /// From which of this machine's addresses, and how many bytes in each datagram. An address of the other family: from any.
    pub(super) fn set(&mut self, local: IpAddr, segment: usize) {
        match self.family {
            Family::V4 => {
                let octets = if let IpAddr::V4(local) = local { local.octets() } else { [0; 4] };
                self.bytes[HEADER + 4..HEADER + 8].copy_from_slice(&octets);
            }
            Family::Dual => self.bytes[HEADER..HEADER + 16].copy_from_slice(&mapped(local).octets()),
        }
        let at = self.len(false) + HEADER;
        self.bytes[at..at + 2].copy_from_slice(&(segment as u16).to_ne_bytes());
    }

    pub(super) fn as_ptr(&self) -> *const libc::c_void {
        self.bytes.as_ptr().cast()
    }

    /// Bytes that count, for a run (`cut`) or a single datagram.
    pub(super) const fn len(&self, cut: bool) -> usize {
        let source = match self.family {
            Family::V4 => HEADER + 16,
            Family::Dual => HEADER + 24,
        };
        if cut { source + HEADER + 8 } else { source }
    }
}
