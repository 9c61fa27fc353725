//! One m-line of a client's.

use std::sync::Arc;

use rtc_sdp::description::common::Attribute;
use switchyard_rtp::codec::MediaKind;
use switchyard_rtp::extension::Extension;

use crate::format::{self, Described, Format};
use crate::{Feedback, MAX_ENCODINGS, NegotiationError, Simulcast, SsrcPair, candidate, digest};

/// Most SSRCs of one m-line: three simulcast encodings with RTX and FEC are 9.
const MAX_SSRCS: usize = 32;

/// Most RIDs of one m-line: browsers take at most 3, RFC 8851 knows no use for more than a few.
const MAX_RIDS: usize = 8;

/// Most bytes of a RID: what fits a one-byte header extension (RFC 8285 §4.2).
const MAX_RID_BYTES: usize = 16;

/// An m-line's identification (RFC 5888 §4): a token, short enough for a one-byte header extension.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mid {
    bytes: [u8; 16],
    len: u8,
}

impl Mid {
    pub(crate) fn new(text: &str) -> Option<Self> {
        if text.len() > 16 || !candidate::is_token(text) {
            return None;
        }
        let mut bytes = [0; 16];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self { bytes, len: text.len() as u8 })
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl std::fmt::Debug for Mid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an m-line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MediaType {
    Audio,
    Video,
    Application,
    /// `text`, `message`, `image` and whatever comes: always refused.
    Other,
}

impl MediaType {
    pub(crate) fn kind(self) -> Option<MediaKind> {
        match self {
            MediaType::Audio => Some(MediaKind::Audio),
            MediaType::Video => Some(MediaKind::Video),
            _ => None,
        }
    }
}

impl From<MediaKind> for MediaType {
    fn from(kind: MediaKind) -> Self {
        match kind {
            MediaKind::Audio => MediaType::Audio,
            MediaKind::Video => MediaType::Video,
        }
    }
}

/// `a=sendrecv` and its kin, seen from whoever wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Direction {
    pub(crate) sends: bool,
    pub(crate) receives: bool,
}

impl Direction {
    pub(crate) const BOTH: Self = Self { sends: true, receives: true };

    pub(crate) fn from_key(key: &str) -> Option<Self> {
        let (sends, receives) = match key {
            "sendrecv" => (true, true),
            "sendonly" => (true, false),
            "recvonly" => (false, true),
            "inactive" => (false, false),
            _ => return None,
        };
        Some(Self { sends, receives })
    }
}

/// `a=setup` (RFC 8842).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setup {
    ActPass,
    Active,
    Passive,
}

/// The transport attributes of a section or of the session, as written; checked where they are used.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Transport {
    pub(crate) ufrag: Option<String>,
    pub(crate) pwd: Option<String>,
    /// The first of SHA-256.
    pub(crate) fingerprint: Option<String>,
    pub(crate) setup: Option<Setup>,
}

impl std::fmt::Debug for Transport {
    /// The password stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("ufrag", &self.ufrag).field("setup", &self.setup).finish_non_exhaustive()
    }
}

impl Transport {
    pub(crate) fn of(attributes: &[Attribute]) -> Self {
        let mut transport = Self::default();
        for attribute in attributes {
            let Some(value) = attribute.value.as_deref() else { continue };
            match attribute.key.as_str() {
                "ice-ufrag" => transport.ufrag = Some(value.to_owned()),
                "ice-pwd" => transport.pwd = Some(value.to_owned()),
                "fingerprint" if transport.fingerprint.is_none() => {
                    transport.fingerprint = value
                        .split_once(' ')
                        .filter(|(hash, _)| hash.eq_ignore_ascii_case("sha-256"))
                        .map(|(_, hex)| hex.trim().to_owned());
                }
                "setup" => {
                    transport.setup = match value {
                        "actpass" => Some(Setup::ActPass),
                        "active" => Some(Setup::Active),
                        // "holdconn" neither connects.
                        _ => Some(Setup::Passive),
                    }
                }
                _ => {}
            }
        }
        transport
    }
}

/// One `a=extmap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OfferedExtension {
    pub(crate) id: u8,
    pub(crate) direction: Direction,
    pub(crate) extension: Option<Extension>,
    /// Equal for equal URIs, also of unknown ones.
    pub(crate) identity: u64,
}

/// What an m-line says of its RTP streams; neighbours often say the same and share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Streams {
    pub(crate) formats: Vec<Format>,
    pub(crate) extensions: Vec<OfferedExtension>,
}

/// One m-line and its attributes.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    /// Of its text.
    pub(crate) digest: u64,
    pub(crate) media: MediaType,
    /// Port 0 without `a=bundle-only`: refused, or no longer used.
    pub(crate) stopped: bool,
    /// The transport, if medium, transport and multiplexing are what the server speaks.
    pub(crate) protocol: Option<&'static str>,
    /// What an m-line that refuses this one repeats: media, port 0, transport, formats.
    pub(crate) refusal: Arc<str>,
    pub(crate) mid: Option<Mid>,
    pub(crate) direction: Option<Direction>,
    pub(crate) transport: Arc<Transport>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) ssrcs: Vec<SsrcPair>,
    pub(crate) simulcast: Simulcast,
}

impl Section {
    /// Parses `text`, which begins with `m=`; `whole` has a minimal session part in front of it.
    pub(crate) fn parse(index: usize, whole: &str, text: &str, digest: u64) -> Result<Self, NegotiationError> {
        let syntax = || NegotiationError::SectionSyntax { section: index };
        let line = text.lines().next().and_then(|line| line.strip_prefix("m=")).ok_or_else(syntax)?;
        let mut words = line.split_whitespace();
        let (name, port, protocol) = (words.next().ok_or_else(syntax)?, words.next().ok_or_else(syntax)?, words.next().ok_or_else(syntax)?);
        let media = match name {
            "audio" => MediaType::Audio,
            "video" => MediaType::Video,
            "application" => MediaType::Application,
            _ => MediaType::Other,
        };
        // The first format is enough for a refusal; each word is checked as it is repeated to the client.
        let format = words.next().ok_or_else(syntax)?;
        if !candidate::is_token(name) || !candidate::is_token(format) || !protocol.split('/').all(candidate::is_token) {
            return Err(syntax());
        }
        let refusal = format!("{name} 0 {protocol} {format}").into();

        if media == MediaType::Other {
            return Self::unknown(text, digest, refusal).ok_or_else(syntax);
        }
        let parsed = super::unmarshal(whole).ok_or_else(syntax)?;
        let [description] = parsed.media_descriptions.as_slice() else { return Err(syntax()) };
        let attributes = &description.attributes;
        let flag = |key: &str| attributes.iter().any(|attribute| attribute.key == key);
        let stopped = description.media_name.port.value == 0 && port == "0" && !flag("bundle-only");
        let mid = match description.attribute("mid").flatten() {
            Some(mid) => Some(Mid::new(mid).ok_or(NegotiationError::Mid { section: index })?),
            None => None,
        };
        let (mut streams, mut ssrcs, mut simulcast) = (Streams::default(), Vec::new(), Simulcast::Off);
        let protocol = if media == MediaType::Application {
            let one = ["UDP/DTLS/SCTP", "TCP/DTLS/SCTP"].into_iter().find(|known| *known == protocol);
            one.filter(|_| format == "webrtc-datachannel")
        } else {
            if !stopped {
                streams = parse_streams(&description.media_name.formats, attributes, media == MediaType::Audio)?;
                ssrcs = parse_ssrcs(attributes).ok_or(NegotiationError::TooManyStreams { section: index })?;
                let rids = parse_rids(attributes).ok_or(NegotiationError::TooManyStreams { section: index })?;
                if media == MediaType::Video {
                    simulcast = parse_simulcast(attributes, &rids, &mut ssrcs).ok_or(NegotiationError::Simulcast { section: index })?;
                }
            }
            // RFC 9429 §5.1.2; the server has no second port for RTCP.
            let one = ["UDP/TLS/RTP/SAVPF", "TCP/DTLS/RTP/SAVPF", "RTP/SAVPF"].into_iter().find(|known| *known == protocol);
            one.filter(|_| flag("rtcp-mux") || flag("rtcp-mux-only"))
        };
        Ok(Self {
            digest,
            media,
            stopped,
            protocol,
            refusal,
            mid,
            direction: attributes.iter().find_map(|attribute| Direction::from_key(&attribute.key)),
            transport: Arc::new(Transport::of(attributes)),
            streams: Arc::new(streams),
            ssrcs,
            simulcast,
        })
    }

    /// What `other` means, if it says the same as `text`, which means this section, but for its mid: parsing takes a hundred times as long as comparing.
    pub(crate) fn with_other_mid(&self, text: &str, other: &str, digest: u64) -> Option<Self> {
        let (before, mid, after) = around_mid(text)?;
        let (other_before, other_mid, other_after) = around_mid(other)?;
        // If this one's mid was not what stands there, it was read in another way. A line may begin with a carriage return as well.
        if (before, after) != (other_before, other_after) || before.contains("\ra=mid:") || self.mid != Some(Mid::new(mid)?) {
            return None;
        }
        Some(Self { digest, mid: Some(Mid::new(other_mid)?), ..self.clone() })
    }

    /// A medium that the parser doesn't know either: only its name is needed, to refuse it.
    fn unknown(text: &str, digest: u64, refusal: Arc<str>) -> Option<Self> {
        let mid = match text.lines().find_map(|line| line.strip_prefix("a=mid:")) {
            Some(mid) => Some(Mid::new(mid.trim())?),
            None => None,
        };
        Some(Self {
            digest,
            media: MediaType::Other,
            stopped: mid.is_none(),
            protocol: None,
            refusal,
            mid,
            direction: None,
            transport: Arc::default(),
            streams: Arc::default(),
            ssrcs: Vec::new(),
            simulcast: Simulcast::Off,
        })
    }
}

/// The mid, and what stands before and after it.
fn around_mid(text: &str) -> Option<(&str, &str, &str)> {
    const KEY: &str = "\na=mid:";
    let start = text.find(KEY)? + KEY.len();
    let end = start + text[start..].find(['\r', '\n'])?;
    Some((&text[..start], &text[start..end], &text[end..]))
}

fn parse_streams(payload_types: &[String], attributes: &[Attribute], is_audio: bool) -> Result<Streams, NegotiationError> {
    let ambiguous = |payload_type: &str| NegotiationError::PayloadType { payload_type: payload_type.chars().take(16).collect() };
    let mut described = [Described::default(); 128];
    let mut everywhere = Feedback::default();
    let mut extensions: Vec<OfferedExtension> = Vec::new();
    let mut ids = [None; 256];
    for attribute in attributes {
        let Some((subject, value)) = attribute.value.as_deref().and_then(|value| value.split_once(' ')) else { continue };
        let entry = subject.parse::<u8>().ok().filter(|payload_type| *payload_type < 128).map(usize::from);
        match (attribute.key.as_str(), entry) {
            ("rtpmap", Some(entry)) => match described[entry].rtpmap.replace(value) {
                Some(other) if other != value => return Err(ambiguous(subject)),
                _ => {}
            },
            ("fmtp", Some(entry)) => {
                described[entry].fmtp.get_or_insert(value);
            }
            ("rtcp-fb", Some(entry)) => add_feedback(&mut described[entry].feedback, value),
            ("rtcp-fb", None) if subject == "*" => add_feedback(&mut everywhere, value),
            ("extmap", _) => {
                let (id, direction) = subject.split_once('/').unwrap_or((subject, "sendrecv"));
                // 0 is padding, and beyond 255 are placeholders that no packet carries (RFC 8285 §4.2, §5).
                let (Ok(id @ 1..), Some(direction)) = (id.parse::<u8>(), Direction::from_key(direction)) else { continue };
                let uri = value.split(' ').next().unwrap_or_default();
                let identity = digest::of(uri);
                match ids[usize::from(id)].replace(identity) {
                    None => extensions.push(OfferedExtension { id, direction, extension: Extension::from_uri(uri), identity }),
                    Some(known) if known == identity => {}
                    Some(_) => return Err(NegotiationError::ExtensionId { id }),
                }
            }
            _ => {}
        }
    }

    // 128 payload types, none twice: that bounds the list.
    let mut formats = Vec::with_capacity(payload_types.len().min(128));
    let mut listed = [false; 128];
    for text in payload_types {
        let payload_type: u8 = text.parse().map_err(|_| ambiguous(text))?;
        match listed.get_mut(usize::from(payload_type)) {
            Some(listed) if !*listed => *listed = true,
            _ => return Err(ambiguous(text)),
        }
        let mut format = format::describe(payload_type, &described[usize::from(payload_type)]);
        format.feedback = format.feedback.union(everywhere);
        formats.push(format);
    }
    format::resolve(&mut formats, is_audio);
    Ok(Streams { formats, extensions })
}

fn add_feedback(feedback: &mut Feedback, value: &str) {
    match value.trim() {
        "nack" => feedback.nack = true,
        "nack pli" => feedback.pli = true,
        "ccm fir" => feedback.fir = true,
        "transport-cc" => feedback.transport_cc = true,
        "goog-remb" => feedback.remb = true,
        _ => {}
    }
}

/// The SSRCs that carry media, with their RTX; `None` if there are too many.
fn parse_ssrcs(attributes: &[Attribute]) -> Option<Vec<SsrcPair>> {
    let mut ssrcs: Vec<u32> = Vec::new();
    let mut retransmissions: Vec<(u32, u32)> = Vec::new();
    let mut repairs: Vec<u32> = Vec::new();
    for attribute in attributes {
        let Some(value) = attribute.value.as_deref() else { continue };
        match attribute.key.as_str() {
            "ssrc" => {
                let Some(ssrc) = value.split(' ').next().and_then(|ssrc| ssrc.parse().ok()) else { continue };
                if !ssrcs.contains(&ssrc) {
                    ssrcs.push(ssrc);
                }
            }
            "ssrc-group" => {
                let mut words = value.split(' ');
                let semantics = words.next();
                let (first, second) = (words.next().and_then(|ssrc| ssrc.parse().ok()), words.next().and_then(|ssrc| ssrc.parse().ok()));
                let (Some(first), Some(second)) = (first, second) else { continue };
                match semantics {
                    Some("FID") => retransmissions.push((first, second)),
                    Some("FEC-FR" | "FEC") => repairs.push(second),
                    _ => {}
                }
            }
            _ => {}
        }
        if ssrcs.len().max(retransmissions.len()).max(repairs.len()) > MAX_SSRCS {
            return None;
        }
    }
    ssrcs.retain(|ssrc| !repairs.contains(ssrc) && !retransmissions.iter().any(|(_, rtx)| rtx == ssrc));
    let rtx = |ssrc| retransmissions.iter().find(|(media, _)| *media == ssrc).map(|(_, rtx)| *rtx);
    Some(ssrcs.into_iter().map(|ssrc| SsrcPair { ssrc, rtx: rtx(ssrc) }).collect())
}

/// The RIDs the client sends (RFC 8851); `None` if there are too many.
fn parse_rids(attributes: &[Attribute]) -> Option<Vec<String>> {
    let mut rids: Vec<String> = Vec::new();
    for value in attributes.iter().filter(|attribute| attribute.key == "rid").filter_map(|attribute| attribute.value.as_deref()) {
        let mut words = value.split(' ');
        let (rid, direction) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if direction != "send" || !candidate::is_token(rid) || rid.len() > MAX_RID_BYTES || rids.iter().any(|other| other == rid) {
            continue;
        }
        if rids.len() == MAX_RIDS {
            return None;
        }
        rids.push(rid.to_owned());
    }
    Some(rids)
}

/// What the client sends at once (RFC 8853 §5.1): of every stream the first alternative it has a RID for, paused or not. Else the SSRCs of a
/// SIM group; `ssrcs` are then just those. `None`: the attribute is malformed, or there are two.
fn parse_simulcast(attributes: &[Attribute], rids: &[String], ssrcs: &mut Vec<SsrcPair>) -> Option<Simulcast> {
    let mut values = attributes.iter().filter(|attribute| attribute.key == "simulcast").map(|attribute| attribute.value.as_deref());
    if let Some(value) = values.next() {
        let mut sent: Option<&str> = None;
        let mut received = false;
        let mut words = value?.split_ascii_whitespace();
        while let Some(direction) = words.next() {
            let streams = words.next()?;
            match direction {
                "send" if sent.is_none() => sent = Some(streams),
                "recv" if !received => received = true,
                _ => return None,
            }
        }
        if values.next().is_some() || (sent.is_none() && !received) {
            return None;
        }
        let mut chosen: Vec<String> = Vec::new();
        for stream in sent.unwrap_or_default().split(';') {
            let known = |rid: &&str| rids.iter().any(|known| known == rid);
            let Some(rid) = stream.split(',').map(|rid| rid.trim_start_matches('~')).find(known) else { continue };
            if chosen.iter().any(|other| other == rid) {
                return None;
            }
            // The first are those that the client likes best.
            if chosen.len() < MAX_ENCODINGS {
                chosen.push(rid.to_owned());
            }
        }
        return Some(if chosen.is_empty() { Simulcast::Off } else { Simulcast::Rids(chosen) });
    }
    let group = attributes.iter().filter(|attribute| attribute.key == "ssrc-group").filter_map(|attribute| attribute.value.as_deref());
    let Some(group) = group.filter_map(|value| value.strip_prefix("SIM ")).next() else { return Some(Simulcast::Off) };
    let mut chosen: Vec<SsrcPair> = Vec::new();
    for word in group.split_ascii_whitespace() {
        let ssrc: u32 = word.parse().ok()?;
        if chosen.iter().any(|pair| pair.ssrc == ssrc) {
            return None;
        }
        let announced = ssrcs.iter().find(|pair| pair.ssrc == ssrc).copied();
        if let Some(pair) = announced.filter(|_| chosen.len() < MAX_ENCODINGS) {
            chosen.push(pair);
        }
    }
    if chosen.len() < 2 {
        return Some(Simulcast::Off);
    }
    *ssrcs = chosen;
    Some(Simulcast::Ssrcs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Section {
        Section::parse(0, &format!("{}{text}", super::super::PREFIX), text, digest::of(text)).unwrap()
    }

    #[test]
    fn a_section_that_differs_by_its_mid_means_what_it_would_by_itself() {
        let like = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=rtcp-mux\r\na=ice-ufrag:abcd\r\na=rtpmap:96 VP8/90000\r\na=ssrc:7 cname:x\r\na=recvonly\r\n";
        let section = parse(like);
        let of = |text: &str| section.with_other_mid(like, text, digest::of(text));
        let other = like.replace("mid:0", "mid:s01");
        let copied = of(&other).expect("alike");
        assert_eq!(format!("{copied:?}"), format!("{:?}", parse(&other)));
        assert_eq!((copied.mid, copied.transport.clone()), (Mid::new("s01"), parse(&other).transport));
        for unlike in [
            other.replace("recvonly", "sendonly"),
            other.replace("m=video", "m=audio"),
            other.replace("a=mid:s01", "a=mid:s01 "),
            other.replace("a=mid:s01", "a=mid:seventeen-letters"),
            other.replace("a=mid:s01\r\n", ""),
            other.replace("a=mid:s01\r\n", "a=mid:s01\n"),
            other.replace("a=mid:s01\r\n", "") + "a=mid:s01",
            other[..other.len() - 2].to_owned(),
        ] {
            assert!(of(&unlike).is_none(), "{unlike}");
        }
        let hidden = like.replace("a=mid:0", "a=x\n\ra=mid:0\r\na=mid:0");
        assert!(parse(&hidden).with_other_mid(&hidden, &hidden.replace("\r\na=mid:0", "\r\na=mid:1"), 0).is_none());
        // What stands there was not taken for its mid.
        let odd = Section { mid: Mid::new("7"), ..parse(like) };
        assert!(odd.with_other_mid(like, &other, 0).is_none());
    }
}
