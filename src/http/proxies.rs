//! Where requests come from that a proxy has passed on.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};

use crate::addresses::Network;

/// Proxies add to its end the address of whom they have a request from. It is no standard, but what all of them send; `Forwarded` (RFC 7239) is not looked at, because whom a
/// proxy sends only one of the two could say anything in the other.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies whose word is taken for where requests come from.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Vec<Network>);

impl Proxies {
    /// Those at these addresses.
    pub fn new(trusted: &[Network]) -> Self {
        Self(trusted.to_vec())
    }

    /// Where a request comes from that `peer` has sent: the last of those it came by that is none of the proxies, so that nobody is believed but them.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let fields: Vec<&str> = headers.get_all(FORWARDED_FOR).iter().map(|value| value.to_str().unwrap_or_default()).collect();
        for hop in fields.iter().flat_map(|field| field.split(',')).rev() {
            if !self.0.iter().any(|network| network.contains(client)) {
                break;
            }
            let Some(before) = address(hop.trim()) else { break };
            client = before;
        }
        client
    }
}

/// An address as proxies write it, some with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let parsed = bare.parse().or_else(|_| text.parse().map(|address: SocketAddr| address.ip()));
    parsed.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_proxies_are_believed() {
        let proxies = Proxies::new(&["10.0.0.0/8", "2001:db8::/32", "127.0.0.1"].map(|network| network.parse().unwrap()));
        for (peer, fields, client) in [
            ("192.0.2.1", &[][..], "192.0.2.1"),
            ("192.0.2.1", &["198.51.100.7"], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("::ffff:10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["1.1.1.1, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["1.1.1.1,198.51.100.7 , 10.0.0.2"], "198.51.100.7"),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.7", "10.9.9.9, 127.0.0.1"], "198.51.100.7"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["198.51.100.7:4711"], "198.51.100.7"),
            ("2001:db8::9", &["[2001:db9::1]:4711"], "2001:db9::1"),
            ("2001:db8::9", &["[2001:db9::1]"], "2001:db9::1"),
            ("2001:db8::9", &["2001:db9::1"], "2001:db9::1"),
            ("10.0.0.1", &["::ffff:198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["1.1.1.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1, 999.1.1.1"], "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            fields.iter().for_each(|field| _ = headers.append(FORWARDED_FOR, field.parse().unwrap()));
            assert_eq!(proxies.client(peer.parse().unwrap(), &headers), client.parse::<IpAddr>().unwrap(), "{peer} {fields:?}");
        }
        let mut headers = HeaderMap::new();
        headers.append(FORWARDED_FOR, "198.51.100.7".parse().unwrap());
        assert_eq!(Proxies::default().client([10, 0, 0, 1].into(), &headers), IpAddr::from([10, 0, 0, 1]), "nobody is trusted unasked");
    }
}
