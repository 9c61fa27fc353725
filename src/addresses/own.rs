//! The addresses that the machine has.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// Where Linux says what it thinks of its IPv6 addresses.
const IPV6: &str = "/proc/self/net/if_inet6";
/// `ifa_flags` of `linux/if_addr.h`.
const TEMPORARY: u8 = 0x01;
const DUPLICATE: u8 = 0x08;
const DEPRECATED: u8 = 0x20;

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    pub ip: IpAddr,
    pub interface: String,
    /// Its interface is up.
    pub is_up: bool,
    pub life: Life,
}

/// How long an address may be expected to stay; of IPv4's nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Lasting,
    /// Made up for outgoing connections, for the sake of privacy, and another one by tomorrow (RFC 8981).
    Temporary,
    /// Not for new connections any more (RFC 4862 §5.5.4).
    Deprecated,
    /// Another machine has the same.
    Duplicate,
}

/// All of them, in the system's order.
pub fn own() -> nix::Result<Vec<Own>> {
    // Without the file every address is taken to last.
    let lives = lives(&std::fs::read_to_string(IPV6).unwrap_or_default());
    let own = getifaddrs()?.filter_map(|entry| {
        let address = entry.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        let ip = v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))?;
        let life = lives.get(&(ip, entry.interface_name.clone())).copied().unwrap_or(Life::Lasting);
        Some(Own { ip, interface: entry.interface_name, is_up: entry.flags.contains(InterfaceFlags::IFF_UP), life })
    });
    Ok(own.collect())
}

/// Reads `/proc/self/net/if_inet6`: address, index, prefix length, scope and flags in hexadecimal, and the interface.
fn lives(text: &str) -> HashMap<(IpAddr, String), Life> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[address, _, _, _, flags, interface] = fields.as_slice() else { return None };
        let ip = Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?);
        // What does not fit in a byte is written with more digits.
        let flags = (u32::from_str_radix(flags, 16).ok()? & 0xff) as u8;
        let life = match flags {
            _ if flags & DUPLICATE != 0 => Life::Duplicate,
            _ if flags & DEPRECATED != 0 => Life::Deprecated,
            _ if flags & TEMPORARY != 0 => Life::Temporary,
            _ => Life::Lasting,
        };
        Some(((ip.into(), interface.to_owned()), life))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_flags_say_how_long_an_address_stays() {
        let lives = lives(
            "20010db8000000000000000000000001 04 40 00 80     eth0\n\
             20010db8000000000000000000000002 04 40 00 01     eth0\n\
             20010db8000000000000000000000003 04 40 00 21     eth0\n\
             20010db8000000000000000000000004 04 40 00 c8     eth0\n\
             20010db8000000000000000000000005 04 40 00 301   eth0\n\
             nonsense\n",
        );
        let life = |last: u16| lives[&(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]), "eth0".to_owned())];
        assert_eq!([1, 2, 3, 4, 5].map(life), [Life::Lasting, Life::Temporary, Life::Deprecated, Life::Duplicate, Life::Temporary]);
        assert_eq!(lives.len(), 5);
    }

    #[test]
    fn every_machine_has_loopback() {
        assert!(own().unwrap().iter().any(|own| own.ip.is_loopback() && own.is_up));
    }
}
