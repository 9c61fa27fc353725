//! What chooses among the machine's addresses: lists of what is in and, behind a `!`, what is out.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// Bytes of an interface's name at most (IFNAMSIZ, the zero at its end counted in).
const MAX_NAME: usize = 15;

/// An entry of a list: what it matches is in, or out if `!` stands in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule<Pattern> {
    excludes: bool,
    pattern: Pattern,
}

/// What a list says of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An entry names it, and none excludes it.
    Named,
    /// No entry matches it, and none has to.
    Passed,
    /// An entry excludes it, or others are named.
    Excluded,
}

/// What a list says of what `matches` tells about. In it is whatever is not excluded, and where anything is named, nothing else.
pub fn judge<Pattern>(rules: &[Rule<Pattern>], matches: impl Fn(&Pattern) -> bool) -> Verdict {
    let (mut named, mut names) = (false, false);
    for rule in rules {
        let is_match = matches(&rule.pattern);
        if rule.excludes && is_match {
            return Verdict::Excluded;
        }
        names |= !rule.excludes;
        named |= is_match;
    }
    match (named, names) {
        (true, _) => Verdict::Named,
        (false, false) => Verdict::Passed,
        (false, true) => Verdict::Excluded,
    }
}

impl<Pattern: FromStr<Err = String>> FromStr for Rule<Pattern> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let excluded = text.strip_prefix('!');
        Ok(Self { excludes: excluded.is_some(), pattern: excluded.unwrap_or(text).parse()? })
    }
}

/// Names of interfaces: `*` stands for any number of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfacePattern(String);

impl InterfacePattern {
    /// Whether a name is one of them.
    pub fn matches(&self, name: &str) -> bool {
        matches(self.0.as_bytes(), name.as_bytes())
    }
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|at| matches(rest, &name[at..])),
        ([one, pattern @ ..], [other, name @ ..]) => one == other && matches(pattern, name),
        _ => false,
    }
}

impl FromStr for InterfacePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let letters = text.bytes().filter(|byte| *byte != b'*').count();
        let is_name = text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'!' | b','));
        if text.is_empty() || letters > MAX_NAME || text.contains("**") || !is_name {
            return Err("that is no name of an interface, such as eth0, nor a pattern, such as eth*; ! excludes: !docker*".into());
        }
        Ok(Self(text.to_owned()))
    }
}

/// A network as addresses of it begin: `10.0.0.0/8`, `2001:db8::/32`; an address alone is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// How many bits they have in common.
    prefix: u8,
}

impl Network {
    /// Whether an address belongs to it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.address.is_ipv4() && masked(ip, self.prefix) == self.address
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "that is no network, such as 10.0.0.0/8 or 2001:db8::/32; ! excludes: !172.17.0.0/16".to_owned();
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(most), str::parse::<u8>).ok().filter(|prefix| *prefix <= most).ok_or_else(wrong)?;
        let network = Self { address: masked(address, prefix), prefix };
        if network.address == address { Ok(network) } else { Err(format!("that is an address and not its network, which is {network}")) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The first `prefix` bits of an address, zeroes after them.
fn masked(ip: IpAddr, prefix: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::from((u32::from(ip) & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)).to_be_bytes()),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interfaces(list: &str, name: &str) -> Verdict {
        let rules: Vec<Rule<InterfacePattern>> = list.split_whitespace().map(|rule| rule.parse().unwrap()).collect();
        judge(&rules, |pattern| pattern.matches(name))
    }

    fn networks(list: &str, ip: &str) -> Verdict {
        let rules: Vec<Rule<Network>> = list.split_whitespace().map(|rule| rule.parse().unwrap()).collect();
        judge(&rules, |network| network.contains(ip.parse().unwrap()))
    }

    #[test]
    fn what_is_excluded_is_out_and_where_something_is_named_all_else_is() {
        use Verdict::{Excluded, Named, Passed};
        for (list, name, verdict) in [
            ("", "eth0", Passed),
            ("eth0", "eth0", Named),
            ("eth0", "eth1", Excluded),
            ("eth*", "eth1", Named),
            ("eth*", "weth1", Excluded),
            ("!docker*", "docker0", Excluded),
            ("!docker*", "eth0", Passed),
            ("eth* !eth1", "eth1", Excluded),
            ("!eth1 eth*", "eth1", Excluded),
            ("!eth1 eth*", "eth2", Named),
            ("*", "lo", Named),
            ("e*p*s0", "enp3s0", Named),
            ("e*p*s0", "enp3s0f1", Excluded),
        ] {
            assert_eq!(interfaces(list, name), verdict, "{list:?} of {name}");
        }
    }

    #[test]
    fn networks_hold_the_addresses_that_begin_as_they_do() {
        use Verdict::{Excluded, Named, Passed};
        for (list, ip, verdict) in [
            ("10.0.0.0/8", "10.255.0.1", Named),
            ("10.0.0.0/8", "11.0.0.1", Excluded),
            ("10.0.0.0/8", "2001:db8::1", Excluded),
            ("!172.17.0.0/16", "172.17.3.4", Excluded),
            ("!172.17.0.0/16", "172.18.3.4", Passed),
            ("192.0.2.7", "192.0.2.7", Named),
            ("192.0.2.7", "192.0.2.6", Excluded),
            ("0.0.0.0/0", "192.0.2.7", Named),
            ("0.0.0.0/0", "::1", Excluded),
            ("!::/0", "2001:db8::1", Excluded),
            ("!::/0", "192.0.2.7", Passed),
            ("2001:db8::/32", "2001:db8:1::1", Named),
            ("2001:db8::/33", "2001:db8:8000::1", Excluded),
            ("2001:db8::1", "2001:db8::1", Named),
        ] {
            assert_eq!(networks(list, ip), verdict, "{list:?} of {ip}");
        }
    }

    #[test]
    fn what_is_neither_is_refused_with_what_would_be_right() {
        let network = |text: &str| text.parse::<Rule<Network>>().unwrap_err();
        for text in ["", "!", "10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "eth0", "::/129", "!!10.0.0.0/8", "10.0.0.0/-1"] {
            assert!(network(text).contains("10.0.0.0/8"), "{text}");
        }
        assert!(network("!10.1.2.3/8").contains("10.0.0.0/8"));
        assert!(network("2001:db8::1/32").contains("2001:db8::/32"));
        for text in ["", "!", "!!eth0", "eth 0", "an-interface-with-a-long-name", "a/b", "eth**", "é"] {
            assert!(text.parse::<Rule<InterfacePattern>>().is_err(), "{text}");
        }
    }
}
