//! What this client does to session descriptions on their way between the peer connection and the server, and what it reads
//! from them. Text in, text out: lines are moved or added, never understood twice.
//!
//! Each function here is the answer to a habit of `rtc` 0.21's peer connection; they name it.

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

/// Puts the data section first, in the m-lines and in BUNDLE.
///
/// `rtc` writes the data section of a first offer last; everybody in a Switchyard room has it first. Sections are matched by mid
/// from then on, so the peer connection takes the answer in its new order and keeps to it.
pub(crate) fn data_first(sdp: &str) -> String {
    let sections = Sections::of(sdp);
    let (data, media): (Vec<&str>, Vec<&str>) = sections.media.iter().partition(|section| section.starts_with("m=application "));
    let mids: Vec<&str> = data.iter().chain(&media).filter_map(|section| attribute(section, "mid")).collect();
    let mut out = String::with_capacity(sdp.len());
    for line in sections.session.split_inclusive('\n') {
        if line.starts_with("a=group:BUNDLE ") {
            let bundled: Vec<&str> = line.split_whitespace().skip(1).collect();
            out.push_str("a=group:BUNDLE");
            for mid in mids.iter().filter(|mid| bundled.contains(mid)) {
                out.push(' ');
                out.push_str(mid);
            }
            out.push_str("\r\n");
        } else {
            out.push_str(line);
        }
    }
    // The candidates of a bundle stand in its first section, which is another one now; trickling sends them anyway.
    data.iter().chain(&media).for_each(|section| out.push_str(section));
    out
}

/// Makes a remote description one that `rtc` takes as it is meant:
///
/// * A rejected section (port 0) gets `a=inactive` if it has no direction: `rtc` leaves a section without one out of its answer,
///   and an answer that is a section short fits no offer.
/// * Of the candidates only those at `server` stay, if there are any: the client has one socket, bound to the address
///   from which it reached the server, and every other pair would only be tried in vain.
pub(crate) fn for_peer_connection(sdp: &str, server: IpAddr) -> String {
    let sections = Sections::of(sdp);
    let at_server = |line: &str| candidate_address(line).is_some_and(|address| address == server);
    let narrow = sdp.lines().any(at_server);
    let mut out = String::with_capacity(sdp.len() + 64);
    for section in std::iter::once(&sections.session).chain(&sections.media) {
        for line in section.split_inclusive('\n') {
            if !narrow || candidate_address(line).is_none() || at_server(line) {
                out.push_str(line);
            }
        }
        if is_rejected(section) && !DIRECTIONS.iter().any(|direction| has_flag(section, direction)) {
            out.push_str("a=inactive\r\n");
        }
    }
    out
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

/// How many m-lines a description has.
pub(crate) fn media_lines(sdp: &str) -> usize {
    Sections::of(sdp).media.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1 2\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=sendonly\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=sendonly\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n";

    #[test]
    fn the_data_section_comes_first_and_nothing_is_lost() {
        let offer = data_first(OFFER);
        let sections = Sections::of(&offer);
        let mids: Vec<_> = sections.media.iter().map(|section| attribute(section, "mid").unwrap()).collect();
        assert_eq!(mids, ["2", "0", "1"]);
        assert!(sections.session.contains("a=group:BUNDLE 2 0 1\r\n"));
        assert_eq!(offer.len(), OFFER.len());
        assert_eq!(data_first(&offer), offer, "what is in order already stays as it is");
    }

    #[test]
    fn a_rejected_section_without_a_direction_is_inactive_to_the_peer_connection() {
        let rejected = OFFER.replace("m=audio 9", "m=audio 0").replace("a=mid:0\r\na=sendonly", "a=mid:0");
        let sdp = for_peer_connection(&rejected, "127.0.0.1".parse().unwrap());
        assert!(has_flag(Sections::of(&sdp).media[0], "inactive"));
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
        assert_eq!(media_lines(sdp), 5);
    }
}
