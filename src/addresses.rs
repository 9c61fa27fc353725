//! Which of the machine's addresses clients are told for media.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Context;
use nix::net::if_::InterfaceFlags;
use switchyard_negotiation::Candidate;

/// Candidates in one session description; each costs a client a check for a path. A machine with more addresses says which by `--advertise`.
const MAX_CANDIDATES: usize = 16;
/// Each of these costs a client, and the server, a connection.
const MAX_TCP_CANDIDATES: usize = 4;

/// Host candidates: the addresses given, or else every address of the machine's that others could use, then loopback; each on `port` for UDP, and behind these on `tcp`
/// for TCP where it is listened to. An address given stands for one of the machine's that is not known.
pub fn candidates(advertise: &[IpAddr], port: u16, tcp: Option<SocketAddr>) -> anyhow::Result<Vec<Candidate>> {
    let addresses = if advertise.is_empty() { own().context("can't list the machine's addresses")? } else { advertise.to_vec() };
    let udp = addresses.iter().map(|&ip| Candidate { addr: SocketAddr::new(ip, port), tcp: false });
    let listens = |tcp: SocketAddr, ip: IpAddr| {
        let takes_all = tcp.ip().is_unspecified() && (tcp.is_ipv6() || ip.is_ipv4());
        takes_all || tcp.ip() == ip || (!tcp.ip().is_unspecified() && !advertise.is_empty() && !tcp.ip().is_loopback() && !ip.is_loopback())
    };
    let tcp = tcp.into_iter().flat_map(|tcp| {
        let listened = addresses.iter().filter(move |ip| listens(tcp, **ip));
        listened.map(move |&ip| Candidate { addr: SocketAddr::new(ip, tcp.port()), tcp: true })
    });
    let mut candidates: Vec<Candidate> = Vec::new();
    for candidate in udp.take(MAX_CANDIDATES).chain(tcp.take(MAX_TCP_CANDIDATES)) {
        if !candidates.contains(&candidate) {
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
        assert_eq!(candidates(&[ip, ip], 9, None).unwrap(), [Candidate { addr: SocketAddr::new(ip, 9), tcp: false }]);
    }

    #[test]
    fn tcp_is_offered_behind_udp_where_it_is_listened_to() {
        let offered = |advertise: &[&str], tcp: &str| -> Vec<String> {
            let advertise: Vec<IpAddr> = advertise.iter().map(|ip| ip.parse().unwrap()).collect();
            let candidates = candidates(&advertise, 9, Some(tcp.parse().unwrap())).unwrap();
            let first = candidates.iter().position(|candidate| candidate.tcp).unwrap_or(candidates.len());
            assert!(candidates[first..].iter().all(|candidate| candidate.tcp), "{candidates:?}");
            candidates[first..].iter().map(|candidate| candidate.addr.to_string()).collect()
        };
        assert_eq!(offered(&["192.0.2.7", "127.0.0.1"], "[::]:80"), ["192.0.2.7:80", "127.0.0.1:80"]);
        assert_eq!(offered(&["192.0.2.7"], "10.0.0.7:80"), ["192.0.2.7:80"], "behind a NAT");
        assert_eq!(offered(&["192.0.2.7"], "127.0.0.1:80"), [""; 0], "behind a proxy");
        assert_eq!(offered(&[], "127.0.0.1:80"), ["127.0.0.1:80"]);
        assert_eq!(offered(&["192.0.2.7", "2001:db8::7"], "0.0.0.0:80"), ["192.0.2.7:80"]);
        assert_eq!(offered(&["192.0.2.7", "2001:db8::7"], "[::]:80"), ["192.0.2.7:80", "[2001:db8::7]:80"]);
    }

    #[test]
    fn loopback_is_the_last_of_the_machines_own_addresses() {
        let own = candidates(&[], 9, None).unwrap();
        assert_eq!(own.last().unwrap().addr, SocketAddr::from((Ipv4Addr::LOCALHOST, 9)));
        assert!(own[..own.len() - 1].iter().all(|candidate| usable(candidate.addr.ip())));
    }
}
