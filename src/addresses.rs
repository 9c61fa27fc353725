//! Which addresses clients are told for media.

mod filter;
mod own;
mod stun;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use anyhow::Context;
use clap::Args;
use switchyard_negotiation::Candidate;

pub use filter::Network;
use filter::{InterfacePattern, Rule, Verdict, judge};
use own::{Life, Own};
use stun::StunServer;

/// Candidates in one session description; each costs a client a check for a path. A machine with more addresses says which by the options.
const MAX_CANDIDATES: usize = 16;
/// Each of these costs a client, and the server, a connection.
const MAX_TCP_CANDIDATES: usize = 4;

/// Where media is by UDP where the port of HTTP won't do.
const MEDIA_PORT: u16 = 8080;

/// Which addresses are offered to clients.
#[derive(Clone, Debug, Args)]
#[group(id = "addresses")]
pub struct Options {
    /// An address to offer to clients for media, instead of the machine's own: behind a NAT, its public address, or `stun:HOST:PORT`, a STUN server that is asked for it at the
    /// start. `own` stands for the machine's own: `203.0.113.7,own` offers both. May be repeated; what comes first is preferred.
    #[arg(long, value_name = "IP|stun:HOST:PORT|own", env = "SWITCHYARD_ADVERTISE", value_delimiter = ',', help_heading = "Addresses")]
    pub advertise: Vec<Advertised>,

    /// The interfaces whose addresses are offered, such as `eth0` or `eth*`; with `!` in front, those whose are not: `!docker*`. May be repeated. Default: all but those of
    /// containers and loopback, which are offered if there is nothing else, or if they are named here.
    #[arg(long, value_name = "NAME|!NAME", env = "SWITCHYARD_INTERFACES", value_delimiter = ',', help_heading = "Addresses")]
    pub interfaces: Vec<Rule<InterfacePattern>>,

    /// The networks whose addresses are offered, such as `10.0.0.0/8` or `2001:db8::/32`; with `!` in front, those whose are not: `!::/0` offers no IPv6. May be repeated. Default: all.
    #[arg(long, value_name = "CIDR|!CIDR", env = "SWITCHYARD_NETWORKS", value_delimiter = ',', help_heading = "Addresses")]
    pub networks: Vec<Rule<Network>>,
}

impl Options {
    /// Says what contradicts itself.
    pub fn check(&self) -> Result<(), &'static str> {
        let chooses = !self.interfaces.is_empty() || !self.networks.is_empty();
        if chooses && !self.wants_own() {
            return Err("interfaces and networks choose among the machine's own addresses, of which advertise wants none: add own to it");
        }
        Ok(())
    }

    /// Asks the STUN servers, whose answers take their places.
    async fn ask(&self) -> anyhow::Result<Self> {
        let mut asked = self.clone();
        for advertised in &mut asked.advertise {
            let Advertised::Stun(server) = advertised else { continue };
            let seen = server.ask().await.context("advertise: the public address can't be found out")?;
            if seen.changes_ports {
                tracing::warn!("{server} sees another port than was sent from: this NAT gives others, and clients may not get through");
            }
            *advertised = Advertised::Ip(seen.ip);
        }
        Ok(asked)
    }

    fn wants_own(&self) -> bool {
        self.advertise.is_empty() || self.advertise.contains(&Advertised::Own)
    }

    fn interface(&self, own: &Own) -> Verdict {
        judge(&self.interfaces, |pattern| pattern.matches(&own.interface))
    }
}

/// What is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advertised {
    /// The machine's own addresses.
    Own,
    /// This address, which clients reach the machine at.
    Ip(IpAddr),
    /// The address that this server sees.
    Stun(StunServer),
}

impl FromStr for Advertised {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(server) = text.strip_prefix("stun:") {
            return server.parse().map(Self::Stun);
        }
        match text {
            "own" => Ok(Self::Own),
            _ => text.parse().map(Self::Ip).map_err(|error| format!("{error}; the word for the machine's own addresses is own")),
        }
    }
}

/// Chooses as the options say. The log says what was chosen and why. With `dev`, loopback comes last.
pub async fn chosen(options: &Options, dev: bool) -> anyhow::Result<Choice> {
    let own = own::own().context("can't list the machine's addresses")?;
    let choice = choose(&options.ask().await?, dev, own)?;
    tracing::info!("clients are offered {choice}");
    Ok(choice)
}

/// What was chosen, and why not the rest.
#[derive(Debug)]
pub struct Choice {
    offered: Vec<Offered>,
    rest: Vec<(Own, Reason)>,
}

/// An address that clients are told, and the interface that has it, if it is one of the machine's.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Offered {
    ip: IpAddr,
    interface: Option<String>,
}

/// Why an address of the machine's is not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Reason {
    #[error("is down")]
    Down,
    /// They need a zone, which a candidate can't carry.
    #[error("link-local")]
    LinkLocal,
    #[error("another machine has it")]
    Duplicate,
    #[error("by interfaces")]
    Interface,
    #[error("by networks")]
    Network,
    #[error("temporary")]
    Temporary,
    #[error("deprecated")]
    Deprecated,
    #[error("of containers")]
    Container,
    #[error("loopback")]
    Loopback,
    #[error("too many")]
    TooMany,
}

/// The options leave nothing.
#[derive(Debug, thiserror::Error)]
#[error("there is no address to offer to clients; the machine's are {}", list(.0.iter().map(|(own, reason)| format!("{} ({}, {reason})", own.ip, own.interface))))]
struct NothingLeft(Vec<(Own, Reason)>);

/// How good an address is for others, the best first: worse ones are offered only if there are no better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Usual,
    Temporary,
    Deprecated,
    Container,
    Loopback,
}

impl Rank {
    fn reason(self) -> Reason {
        match self {
            Self::Usual => Reason::TooMany,
            Self::Temporary => Reason::Temporary,
            Self::Deprecated => Reason::Deprecated,
            Self::Container => Reason::Container,
            Self::Loopback => Reason::Loopback,
        }
    }
}

/// Chooses among the machine's addresses, IPv4 first, and puts them where `own` stands in what is advertised.
fn choose(options: &Options, dev: bool, mut own: Vec<Own>) -> Result<Choice, NothingLeft> {
    own.sort_by_key(|own| own.ip.is_ipv6());
    let known: Vec<Offered> = own.iter().map(Offered::from).collect();
    let (mut ranked, mut rest) = (Vec::new(), Vec::new());
    for own in own.into_iter().filter(|_| options.wants_own()) {
        match rank(options, &own) {
            Ok(rank) => ranked.push((own, rank)),
            Err(reason) => rest.push((own, reason)),
        }
    }
    let best = ranked.iter().map(|(_, rank)| *rank).min();
    let is_chosen = |own: &Own, rank: Rank| {
        let is_wanted = rank >= Rank::Container && options.interface(own) == Verdict::Named;
        Some(rank) == best || is_wanted || (dev && rank == Rank::Loopback)
    };
    let (mut chosen, others): (Vec<_>, Vec<_>) = ranked.into_iter().partition(|(own, rank)| is_chosen(own, *rank));
    chosen.sort_by_key(|(_, rank)| *rank);
    rest.extend(others.into_iter().map(|(own, rank)| (own, rank.reason())));

    let own = chosen.iter().map(|(own, _)| Offered::from(own));
    let mut offered: Vec<Offered> = Vec::new();
    let mut offer = |more: Offered| {
        if !offered.iter().any(|offered| offered.ip == more.ip) {
            offered.push(more);
        }
    };
    if options.advertise.is_empty() {
        own.for_each(offer);
    } else {
        for advertised in &options.advertise {
            match advertised {
                Advertised::Own => own.clone().for_each(&mut offer),
                &Advertised::Ip(ip) => offer(known.iter().find(|known| known.ip == ip).cloned().unwrap_or(Offered { ip, interface: None })),
                // Its answer stands in its place.
                Advertised::Stun(_) => {}
            }
        }
    }
    offered.truncate(MAX_CANDIDATES);
    rest.extend(chosen.into_iter().map(|(own, _)| (own, Reason::TooMany)));
    rest.retain(|(own, _)| !offered.iter().any(|offered| offered.ip == own.ip));
    if offered.is_empty() { Err(NothingLeft(rest)) } else { Ok(Choice { offered, rest }) }
}

/// How good an address is, if it can be used and the options don't exclude it.
fn rank(options: &Options, own: &Own) -> Result<Rank, Reason> {
    let is_link_local = match own.ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if !own.is_up {
        return Err(Reason::Down);
    }
    if is_link_local {
        return Err(Reason::LinkLocal);
    }
    if own.life == Life::Duplicate {
        return Err(Reason::Duplicate);
    }
    let interface = options.interface(own);
    if interface == Verdict::Excluded {
        return Err(Reason::Interface);
    }
    if judge(&options.networks, |network| network.contains(own.ip)) == Verdict::Excluded {
        return Err(Reason::Network);
    }
    Ok(match own.life {
        Life::Temporary => Rank::Temporary,
        Life::Deprecated => Rank::Deprecated,
        // Of the loopback addresses one is enough, which every machine has.
        _ if own.ip.is_loopback() && own.ip.is_ipv6() && interface != Verdict::Named => return Err(Reason::Loopback),
        _ if own.ip.is_loopback() => Rank::Loopback,
        _ if is_of_containers(&own.interface) => Rank::Container,
        _ => Rank::Usual,
    })
}

/// Whether an interface is, by the name that Docker, Podman, Kubernetes, LXC, Incus or libvirt give it, one between this machine and what runs on it: nobody else has a way there.
fn is_of_containers(interface: &str) -> bool {
    const BEGINNINGS: [&str; 12] =
        ["docker", "veth", "virbr", "podman", "cni", "flannel", "cali", "kube-", "lxcbr", "lxdbr", "incusbr", "nodelocaldns"];
    // Docker's other networks. `br-lan` is a router's, and the way to everybody.
    let is_network = |name: &str| name.len() == 12 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    BEGINNINGS.iter().any(|beginning| interface.starts_with(beginning)) || interface.strip_prefix("br-").is_some_and(is_network)
}

impl Choice {
    /// Where media is by UDP unless that is said: at the port of HTTP, so that a firewall has one number to open, if browsers take that at any of the addresses.
    pub fn usual_port(&self, http: u16) -> u16 {
        if self.offered.iter().all(|offered| is_refused(SocketAddr::new(offered.ip, http))) { MEDIA_PORT } else { http }
    }

    /// Says which of the candidates Chromium takes for none.
    pub fn warn_of_refusals(&self, port: u16, tcp: Option<SocketAddr>) {
        const WHY: &str = "Chromium takes no media at ports below 1024, but for 80 and 443 of public addresses";
        let (refused, taken): (Vec<Candidate>, Vec<Candidate>) =
            self.candidates(port, tcp).into_iter().partition(|candidate| is_refused(candidate.addr));
        let places = list(refused.iter().map(|candidate| format!("{} ({})", candidate.addr, if candidate.tcp { "TCP" } else { "UDP" })));
        match (refused.is_empty(), taken.is_empty()) {
            (true, _) => {}
            (false, false) => tracing::info!("{WHY}; not at {places}"),
            (false, true) => tracing::warn!("{WHY}, and so none of this server at all: {places}"),
        }
    }

    /// Host candidates: the addresses, each on `port` for UDP, and behind these on `tcp` for TCP where it is listened to.
    pub fn candidates(&self, port: u16, tcp: Option<SocketAddr>) -> Vec<Candidate> {
        let udp = self.offered.iter().map(|offered| Candidate { addr: SocketAddr::new(offered.ip, port), tcp: false });
        let tcp = tcp.into_iter().flat_map(|tcp| {
            let listened = self.offered.iter().filter(move |offered| offered.is_listened_to(tcp.ip()));
            listened.map(move |offered| Candidate { addr: SocketAddr::new(offered.ip, tcp.port()), tcp: true })
        });
        udp.chain(tcp.take(MAX_TCP_CANDIDATES)).collect()
    }
}

impl Offered {
    /// Whether what comes to this address reaches a listener. Somebody else's address leads to one of this machine's, it is not known to which: to any but loopback.
    fn is_listened_to(&self, listener: IpAddr) -> bool {
        let takes_all = listener.is_unspecified() && (listener.is_ipv6() || self.ip.is_ipv4());
        let may_lead_to = self.interface.is_none() && !listener.is_unspecified() && !listener.is_loopback() && !self.ip.is_loopback();
        takes_all || listener == self.ip || may_lead_to
    }
}

impl From<&Own> for Offered {
    fn from(own: &Own) -> Self {
        Self { ip: own.ip, interface: Some(own.interface.clone()) }
    }
}

/// For the log.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offered = |offered: &Offered| format!("{} ({})", offered.ip, offered.interface.as_deref().unwrap_or("not this machine's"));
        f.write_str(&list(self.offered.iter().map(offered)))?;
        if self.rest.is_empty() {
            return Ok(());
        }
        write!(f, "; not {}", list(self.rest.iter().map(|(own, reason)| format!("{} ({}, {reason})", own.ip, own.interface))))
    }
}

/// Whether libwebrtc, and so Chromium, takes no candidate at this place: at ports below 1024 it takes only those of the web, and these only at public addresses (`VerifyCandidate`
/// in p2p/base/ice_transport_internal.cc, `IPIsPrivate` in rtc_base/ip_address.cc).
fn is_refused(place: SocketAddr) -> bool {
    let is_private = match place.ip() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.to_bits() >> 22 == 0x6440_0000 >> 22,
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local(),
    };
    match place.port() {
        80 | 443 => is_private,
        port => port < 1024,
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "none".into() } else { items.join(", ") }
}
