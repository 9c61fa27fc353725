//! Which of the machine's addresses clients are told for media.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Context;
use nix::net::if_::InterfaceFlags;
use switchyard_negotiation::Candidate;

/// Candidates in one session description; each costs a client a check for a path. A machine with more addresses says which by `--advertise`.
const MAX_CANDIDATES: usize = 16;

/// Host candidates on `port`: the addresses given, or else every address of the machine's that others could use, then loopback.
pub fn candidates(advertise: &[IpAddr], port: u16) -> anyhow::Result<Vec<Candidate>> {
    let addresses = if advertise.is_empty() { own().context("can't list the machine's addresses")? } else { advertise.to_vec() };
    let mut candidates: Vec<Candidate> = Vec::new();
    for ip in addresses {
        let candidate = Candidate { addr: SocketAddr::new(ip, port) };
        if candidates.len() < MAX_CANDIDATES && !candidates.contains(&candidate) {
            candidates.push(candidate);
        }
    }
    Ok(candidates)
}

/// Addresses of interfaces that are up, IPv4 first, with 127.0.0.1 last: for a client on another machine it is a dead end.
fn own() -> nix::Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> = nix::ifaddrs::getifaddrs()?
        .filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP))
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .filter(|ip| usable(*ip))
        .collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    Ok(addresses)
}

/// Link-local addresses need a zone, which a candidate can't carry.
fn usable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local() && !ip.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advertised_addresses_replace_the_machines_own() {
        let ip: IpAddr = "203.0.113.7".parse().unwrap();
        assert_eq!(candidates(&[ip, ip], 9).unwrap(), [Candidate { addr: SocketAddr::new(ip, 9) }]);
    }

    #[test]
    fn loopback_is_the_last_of_the_machines_own_addresses() {
        let own = candidates(&[], 9).unwrap();
        assert_eq!(own.last().unwrap().addr, SocketAddr::from((Ipv4Addr::LOCALHOST, 9)));
        assert!(own[..own.len() - 1].iter().all(|candidate| usable(candidate.addr.ip())));
    }
}
