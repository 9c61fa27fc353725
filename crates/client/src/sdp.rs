//! What this client does to session descriptions on their way between the peer connection and the server, and what it reads
//! from them. Text in, text out: lines are moved or added, never understood twice.
//!
//! Each function here is the answer to a habit of `rtc` 0.21's peer connection; they name it.

pub(crate) mod formats;
pub(crate) mod fragment;

use std::collections::HashMap;
use std::net::IpAddr;

use switchyard_protocol::Kind;

/// A session description cut at its m-lines.
struct Sections<'a> {
    session: &'a str,
    media: Vec<&'a str>,
}

impl<'a> Sections<'a> {
    fn of(sdp: &'a str) -> Self {
        let mut starts: Vec<usize> = sdp.match_indices("\nm=").map(|(at, _)| at + 1).collect();
        starts.push(sdp.len());
        Self { session: &sdp[..starts[0]], media: starts.windows(2).map(|ends| &sdp[ends[0]..ends[1]]).collect() }
    }
}

/// The value of the first `a=name:value` of a section.
fn attribute<'a>(section: &'a str, name: &str) -> Option<&'a str> {
    section.lines().find_map(|line| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
}

/// Whether a section has the flag `a=name`.
fn has_flag(section: &str, name: &str) -> bool {
    section.lines().any(|line| line.strip_prefix("a=") == Some(name))
}

const DIRECTIONS: [&str; 4] = ["sendrecv", "sendonly", "recvonly", "inactive"];

/// Makes an offer of `rtc` one for the wire:
///
/// * The data section is first, in the m-lines and in BUNDLE. `rtc` writes that of a first offer last; everybody in a Switchyard
///   room has it first. Sections are matched by mid from then on, so the peer connection takes the answer in its new order and
///   keeps to it.
/// * When the server has used a rejected m-line again under a new mid, `rtc` goes on offering the old mid, as one m-line more at
///   the end: [`Fate::Drop`].
/// * An m-line that the server has rejected is alive again in the next offer of `rtc`: [`Fate::Reject`] rejects it again.
pub(crate) fn for_server(sdp: &str, fate: impl Fn(&str) -> Fate) -> String {
    let sections = Sections::of(sdp);
    let (data, media): (Vec<&str>, Vec<&str>) = sections.media.iter().partition(|section| section.starts_with("m=application "));
    let data = data.into_iter().map(|section| (section, Fate::Keep));
    let media = media.into_iter().map(|section| (section, attribute(section, "mid").map_or(Fate::Keep, &fate)));
    let fated: Vec<(&str, Fate)> = data.chain(media).filter(|(_, fate)| *fate != Fate::Drop).collect();
    let mut out = String::with_capacity(sdp.len());
    for line in sections.session.split_inclusive('\n') {
        if line.starts_with("a=group:BUNDLE ") {
            let bundled: Vec<&str> = line.split_whitespace().skip(1).collect();
            out.push_str("a=group:BUNDLE");
            let kept = fated.iter().filter(|(_, fate)| *fate == Fate::Keep).filter_map(|(section, _)| attribute(section, "mid"));
            for mid in kept.filter(|mid| bundled.contains(mid)) {
                out.push(' ');
                out.push_str(mid);
            }
            out.push_str("\r\n");
        } else {
            out.push_str(line);
        }
    }
    // The candidates of a bundle stand in its first section, which may be another one now; trickling sends them anyway.
    for (section, fate) in fated {
        match fate {
            Fate::Reject => out.push_str(&section.replacen(" 9 ", " 0 ", 1)),
            _ => out.push_str(section),
        }
    }
    out
}

/// What becomes of a section of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is offered.
    Keep,
    /// It stays in its place with port 0 and outside of BUNDLE.
    Reject,
    /// It is left out.
    Drop,
}

/// Makes a remote description one that `rtc` takes as it is meant:
///
/// * A rejected section (port 0) gets `a=inactive` if it has no direction: `rtc` leaves a section without one out of its answer,
///   and an answer that is a section short fits no offer. And its formats become `0`, the only one `rtc` takes without an
///   `a=rtpmap`.
/// * Of the candidates only those at `server` stay, if there are any: the client has one socket, bound to the address
///   from which it reached the server, and every other pair would only be tried in vain.
/// * What it says of simulcast is left out: `rtc` has not offered any, [`with_encodings`] has.
pub(crate) fn for_peer_connection(sdp: &str, server: IpAddr) -> String {
    let sections = Sections::of(sdp);
    let at_server = |line: &str| candidate_address(line).is_some_and(|address| address == server);
    let narrow = sdp.lines().any(at_server);
    let mut out = String::with_capacity(sdp.len() + 64);
    for section in std::iter::once(&sections.session).chain(&sections.media) {
        let rejected = is_rejected(section);
        for line in section.split_inclusive('\n') {
            if rejected && line.starts_with("m=") && !line.starts_with("m=application ") {
                line.split(' ').take(3).for_each(|part| {
                    out.push_str(part);
                    out.push(' ');
                });
                out.push_str("0\r\n");
            } else if (!narrow || candidate_address(line).is_none() || at_server(line)) && !is_simulcast(line) {
                out.push_str(line);
            }
        }
        if rejected && !DIRECTIONS.iter().any(|direction| has_flag(section, direction)) {
            out.push_str("a=inactive\r\n");
        }
    }
    out
}

/// ICE credentials as a description says them (RFC 8839 §5.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    ufrag: String,
    pwd: String,
}

impl Credentials {
    /// Those of a description.
    pub(crate) fn of(sdp: &str) -> Option<Self> {
        Some(Self { ufrag: attribute(sdp, "ice-ufrag")?.to_owned(), pwd: attribute(sdp, "ice-pwd")?.to_owned() })
    }

    /// A description with these in place of its own.
    pub(crate) fn put_into(&self, sdp: &str) -> String {
        let replaced = sdp.split_inclusive('\n').map(|line| match line {
            line if line.starts_with("a=ice-ufrag:") => format!("a=ice-ufrag:{}\r\n", self.ufrag),
            line if line.starts_with("a=ice-pwd:") => format!("a=ice-pwd:{}\r\n", self.pwd),
            line => line.to_owned(),
        });
        replaced.collect()
    }
}

/// Adds simulcast (RFC 8853) to a local description: an m-line for whose mid `encodings` has names sends that many streams, told
/// apart by them (RFC 8851) and no longer by their SSRCs.
pub(crate) fn with_encodings<'a>(sdp: &str, encodings: impl Fn(&str) -> &'a [String]) -> String {
    let sections = Sections::of(sdp);
    let mut out = String::with_capacity(sdp.len() + 64);
    out.push_str(sections.session);
    for section in sections.media {
        let rids = attribute(section, "mid").map_or(&[][..], &encodings);
        if rids.is_empty() || is_rejected(section) {
            out.push_str(section);
            continue;
        }
        section.split_inclusive('\n').filter(|line| !line.starts_with("a=ssrc")).for_each(|line| out.push_str(line));
        rids.iter().for_each(|rid| out.push_str(&format!("a=rid:{rid} send\r\n")));
        out.push_str(&format!("a=simulcast:send {}\r\n", rids.join(";")));
    }
    out
}

/// Whether a line says something of simulcast.
fn is_simulcast(line: &str) -> bool {
    line.starts_with("a=rid:") || line.starts_with("a=simulcast:")
}

/// The address in an `a=candidate` line (RFC 8839 §5.1).
fn candidate_address(line: &str) -> Option<IpAddr> {
    line.trim_end().strip_prefix("a=candidate:")?.split(' ').nth(4)?.parse().ok()
}

/// Whether a media section has port 0.
fn is_rejected(section: &str) -> bool {
    section.starts_with("m=") && section.split(' ').nth(1) == Some("0")
}

/// An m-line on which the server sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Incoming {
    pub(crate) mid: String,
    pub(crate) kind: Kind,
    pub(crate) ssrc: u32,
    /// The SSRC of its retransmissions (RFC 4588), from `a=ssrc-group:FID`.
    pub(crate) rtx: Option<u32>,
}

/// The m-lines of a remote description on which the server sends, with their SSRCs.
pub(crate) fn incoming(sdp: &str) -> Vec<Incoming> {
    let sends = |section: &&&str| !is_rejected(section) && !has_flag(section, "recvonly") && !has_flag(section, "inactive");
    Sections::of(sdp)
        .media
        .iter()
        .filter(sends)
        .filter_map(|section| {
            let kind = match section.get(2..7)? {
                "audio" => Kind::Audio,
                "video" => Kind::Video,
                _ => return None,
            };
            let pair: HashMap<u32, u32> = section
                .lines()
                .filter_map(|line| {
                    let (media, repair) = line.strip_prefix("a=ssrc-group:FID ")?.trim().split_once(' ')?;
                    Some((media.parse().ok()?, repair.parse().ok()?))
                })
                .collect();
            let ssrc = section.lines().find_map(|line| {
                let ssrc = line.strip_prefix("a=ssrc:")?.split(' ').next()?.parse().ok()?;
                (!pair.values().any(|repair| *repair == ssrc)).then_some(ssrc)
            })?;
            Some(Incoming { mid: attribute(section, "mid")?.to_owned(), kind, ssrc, rtx: pair.get(&ssrc).copied() })
        })
        .collect()
}

/// One m-line of a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MediaLine {
    pub(crate) mid: String,
    /// Whether it has port 0.
    pub(crate) rejected: bool,
}

/// The m-lines of a description, in order.
pub(crate) fn media_lines(sdp: &str) -> Vec<MediaLine> {
    let line = |section: &&str| MediaLine { mid: attribute(section, "mid").unwrap_or_default().to_owned(), rejected: is_rejected(section) };
    Sections::of(sdp).media.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mids(sdp: &str) -> Vec<String> {
        media_lines(sdp).into_iter().map(|line| line.mid).collect()
    }

    const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1 2\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=sendonly\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=sendonly\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n";

    #[test]
    fn the_data_section_comes_first_and_nothing_is_lost() {
        let offer = for_server(OFFER, |_| Fate::Keep);
        assert_eq!(mids(&offer), ["2", "0", "1"]);
        assert!(offer.contains("a=group:BUNDLE 2 0 1\r\n"));
        assert_eq!(offer.len(), OFFER.len());
        assert_eq!(for_server(&offer, |_| Fate::Keep), offer, "what is in order already stays as it is");
    }

    #[test]
    fn a_mid_that_is_in_use_no_more_is_not_offered() {
        let offer = for_server(OFFER, |mid| if mid == "1" { Fate::Keep } else { Fate::Drop });
        assert_eq!(mids(&offer), ["2", "1"], "data always is");
        assert!(offer.contains("a=group:BUNDLE 2 1\r\n"));
    }

    #[test]
    fn what_the_server_rejected_stays_rejected_in_its_place() {
        let offer = for_server(OFFER, |mid| if mid == "0" { Fate::Reject } else { Fate::Keep });
        let lines = media_lines(&offer);
        assert_eq!(lines.iter().map(|line| line.rejected).collect::<Vec<_>>(), [false, true, false]);
        assert!(offer.contains("a=group:BUNDLE 2 1\r\n"));
    }

    #[test]
    fn a_rejected_section_is_inactive_and_without_formats_to_the_peer_connection() {
        let rejected = OFFER.replace("m=audio 9", "m=audio 0").replace("a=mid:0\r\na=sendonly", "a=mid:0");
        let sdp = for_peer_connection(&rejected, "127.0.0.1".parse().unwrap());
        assert!(has_flag(Sections::of(&sdp).media[0], "inactive"));
        assert!(Sections::of(&sdp).media[0].starts_with("m=audio 0 UDP/TLS/RTP/SAVPF 0\r\n"));
        assert!(!has_flag(Sections::of(&sdp).media[1], "inactive"));
        assert_eq!(for_peer_connection(OFFER, "127.0.0.1".parse().unwrap()), OFFER);
    }

    #[test]
    fn only_candidates_at_the_servers_address_are_tried_if_there_are_any() {
        let candidates =
            "a=candidate:1 1 udp 2130706431 127.0.0.1 8080 typ host\r\na=candidate:2 1 udp 2130706431 10.0.0.2 8080 typ host\r\n";
        let sdp = OFFER.to_owned() + candidates;
        let addresses = |server: &str| -> Vec<String> {
            let out = for_peer_connection(&sdp, server.parse().unwrap());
            out.lines().filter_map(candidate_address).map(|address| address.to_string()).collect()
        };
        assert_eq!(addresses("127.0.0.1"), ["127.0.0.1"]);
        assert_eq!(addresses("192.0.2.1"), ["127.0.0.1", "10.0.0.2"]);
    }

    #[test]
    fn encodings_are_named_instead_of_their_ssrcs() {
        let offer = OFFER.replace("a=mid:1\r\n", "a=mid:1\r\na=ssrc-group:FID 1 2\r\na=ssrc:1 cname:x\r\na=ssrc:2 cname:x\r\n");
        let rids = ["q".to_owned(), "f".to_owned()];
        let sdp = with_encodings(&offer, |mid| if mid == "1" { &rids } else { &[] });
        let expected =
            OFFER.replace("a=mid:1\r\na=sendonly\r\n", "a=mid:1\r\na=sendonly\r\na=rid:q send\r\na=rid:f send\r\na=simulcast:send q;f\r\n");
        assert_eq!(sdp, expected);
        assert_eq!(for_peer_connection(&sdp, "127.0.0.1".parse().unwrap()), OFFER, "which is not for the peer connection");
    }

    #[test]
    fn what_the_server_sends_is_read_with_its_repair_streams() {
        let sdp = "v=0\r\ns=-\r\n\
            m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\n\
            m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:1\r\na=recvonly\r\n\
            m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:s0a\r\na=sendonly\r\na=ssrc:10 cname:x\r\n\
            m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:s0v\r\na=sendonly\r\na=ssrc:12 cname:x\r\na=ssrc-group:FID 11 12\r\na=ssrc:11 cname:x\r\n\
            m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:s1v\r\na=sendonly\r\na=ssrc:13 cname:x\r\n";
        let expected = [
            Incoming { mid: "s0a".into(), kind: Kind::Audio, ssrc: 10, rtx: None },
            Incoming { mid: "s0v".into(), kind: Kind::Video, ssrc: 11, rtx: Some(12) },
        ];
        assert_eq!(incoming(sdp), expected);
        assert_eq!(mids(sdp), ["0", "1", "s0a", "s0v", "s1v"]);
    }
}
