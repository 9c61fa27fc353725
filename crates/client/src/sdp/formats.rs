//! Payload types of a description: what is sent and taken under which number.

use switchyard_protocol::Kind;

use super::{Sections, attribute, has_flag, is_rejected};

/// What one audio or video m-line agrees on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Formats {
    pub(crate) mid: String,
    pub(crate) kind: Kind,
    /// Whether the one who wrote it sends on it.
    pub(crate) sends: bool,
    /// Whether the one who wrote it receives on it.
    pub(crate) receives: bool,
    /// Payload types with their encoding names in small letters, in the order of preference.
    pub(crate) codecs: Vec<(u8, String)>,
    /// Payload types of retransmissions (RFC 4588), with what they retransmit.
    pub(crate) repairs: Vec<(u8, u8)>,
}

impl Formats {
    /// The payload type of a codec, and that of its retransmissions.
    pub(crate) fn codec(&self, name: &str) -> Option<(u8, Option<u8>)> {
        let (payload_type, _) = self.codecs.iter().find(|(_, codec)| codec == name)?;
        let repair = self.repairs.iter().find(|(_, repaired)| repaired == payload_type).map(|(repair, _)| *repair);
        Some((*payload_type, repair))
    }
}

/// The audio and video m-lines of a description, in order; rejected ones neither send nor receive.
pub(crate) fn formats(sdp: &str) -> Vec<Formats> {
    Sections::of(sdp).media.iter().filter_map(|section| read(section)).collect()
}

fn read(section: &str) -> Option<Formats> {
    let kind = match section.get(2..7)? {
        "audio" => Kind::Audio,
        "video" => Kind::Video,
        _ => return None,
    };
    let listed: Vec<u8> = section.lines().next()?.split_whitespace().skip(3).filter_map(|number| number.parse().ok()).collect();
    let number = |rest: &str| rest.parse::<u8>().ok();
    let (mut codecs, mut repairs) = (Vec::new(), Vec::new());
    for payload_type in listed {
        let of = |name: &str| {
            section.lines().find_map(|line| {
                let (of, rest) = line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':')?.split_once(' ')?;
                (number(of)? == payload_type).then_some(rest)
            })
        };
        let Some(name) = of("rtpmap").and_then(|map| map.split('/').next()).map(str::to_ascii_lowercase) else { continue };
        if name != "rtx" {
            codecs.push((payload_type, name));
            continue;
        }
        let apt = of("fmtp").and_then(|parameters| parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("apt=")));
        repairs.extend(apt.and_then(number).map(|apt| (payload_type, apt)));
    }
    let open = !is_rejected(section) && !has_flag(section, "inactive");
    Some(Formats {
        mid: attribute(section, "mid").unwrap_or_default().to_owned(),
        kind,
        sends: open && !has_flag(section, "recvonly"),
        receives: open && !has_flag(section, "sendonly"),
        codecs,
        repairs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_and_their_retransmissions_are_read_in_the_order_of_preference() {
        let sdp = "v=0\r\ns=-\r\n\
            m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\na=mid:0\r\na=recvonly\r\na=rtpmap:111 opus/48000/2\r\n\
            m=video 9 UDP/TLS/RTP/SAVPF 120 102 97 121\r\na=mid:v\r\na=sendonly\r\n\
            a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=102\r\na=rtpmap:120 VP8/90000\r\na=rtpmap:121 rtx/90000\r\na=fmtp:121 rtx-time=3000;apt=120\r\n\
            a=rtpmap:102 H264/90000\r\na=rtpmap:96 VP9/90000\r\n\
            m=video 0 UDP/TLS/RTP/SAVPF 0\r\na=mid:w\r\n\
            m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:d\r\n";
        let formats = formats(sdp);
        let [audio, video, rejected] = &formats[..] else { panic!("{formats:?}") };
        assert_eq!((audio.kind, audio.sends, audio.receives, audio.codec("opus")), (Kind::Audio, false, true, Some((111, None))));
        assert_eq!((video.mid.as_str(), video.sends, video.receives), ("v", true, false));
        assert_eq!(video.codecs, [(120, "vp8".into()), (102, "h264".into())], "what the m-line does not list is not agreed on");
        assert_eq!((video.codec("vp8"), video.codec("h264")), (Some((120, Some(121))), Some((102, Some(97)))));
        assert!(!rejected.sends && !rejected.receives && rejected.codec("vp8").is_none());
    }
}
