//! Payload types as an m-line describes them (`a=rtpmap`, `a=fmtp`, `a=rtcp-fb`), and which codec each stands for.

use std::fmt::Write;

use switchyard_rtp::codec::{Codec, Payload};

use crate::{Feedback, digest};

/// What of `a=fmtp` the server repeats to a client; each number is checked, so that no client writes into a description of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params {
    /// H.264: `profile-level-id` (RFC 6184 §8.1).
    pub(crate) profile_level_id: u32,
    /// AV1: `level-idx` and `tier`.
    pub(crate) level_idx: u8,
    pub(crate) tier: u8,
    /// H.265: `level-id` (RFC 7798 §7.1); its `tier-flag` is [`Params::tier`].
    pub(crate) level_id: u8,
    /// Opus (RFC 7587 §7.1): stereo is sent or wanted.
    pub(crate) stereo: bool,
    /// Opus: discontinuous transmission. Repeated, never asked for.
    pub(crate) dtx: bool,
    /// Opus: `maxaveragebitrate`, bits per second; 0 if absent.
    pub(crate) max_average_bitrate: u32,
}

/// One payload type of a remote m-line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) payload_type: u8,
    /// What it stands for, if known.
    pub(crate) payload: Option<Payload>,
    /// RTX and RED: the payload type inside.
    pub(crate) inner: u8,
    /// Equal for equal meanings, also of unknown codecs; `None` where the m-line doesn't say (static payload types).
    pub(crate) identity: Option<u64>,
    pub(crate) params: Params,
    pub(crate) feedback: Feedback,
}

/// What the attributes say of one payload type.
#[derive(Clone, Copy, Default)]
pub(crate) struct Described<'a> {
    pub(crate) rtpmap: Option<&'a str>,
    pub(crate) fmtp: Option<&'a str>,
    pub(crate) feedback: Feedback,
}

/// What `payload_type` stands for. RTX and RED also need to know what is inside: see [`resolve`].
pub(crate) fn describe(payload_type: u8, described: &Described<'_>) -> Format {
    let rtpmap = described.rtpmap.unwrap_or_default();
    let fmtp = Fmtp(described.fmtp.unwrap_or_default());
    let mut parts = rtpmap.split('/');
    let name = parts.next().unwrap_or_default();
    let clock = parts.next().unwrap_or_default();
    let channels = parts.next().unwrap_or("1");
    let is = |codec: &str, rate: &str| name.eq_ignore_ascii_case(codec) && clock == rate;

    let mut params = Params::default();
    let media = if is("opus", "48000") && channels == "2" {
        params.stereo = fmtp.is_one("stereo") || fmtp.is_one("sprop-stereo");
        params.dtx = fmtp.is_one("usedtx");
        // RFC 7587 §6.1: useful between 6,000 and 510,000.
        params.max_average_bitrate =
            fmtp.get("maxaveragebitrate").and_then(|value| value.parse().ok()).map_or(0, |rate: u32| rate.clamp(6_000, 510_000));
        Some(Codec::Opus)
    } else if is("vp8", "90000") {
        Some(Codec::Vp8)
    } else if is("vp9", "90000") {
        match fmtp.get("profile-id").unwrap_or("0") {
            "0" => Some(Codec::Vp9Profile0),
            "2" => Some(Codec::Vp9Profile2),
            _ => None,
        }
    } else if is("h264", "90000") {
        // RFC 6184 §8.1: baseline level 1 in mode 0 where nothing is said.
        let id = fmtp.get("profile-level-id").unwrap_or("42000a");
        match (id.len(), u32::from_str_radix(id, 16), fmtp.get("packetization-mode").unwrap_or("0")) {
            (6, Ok(id), mode) => {
                params.profile_level_id = id;
                h264(id, mode)
            }
            _ => None,
        }
    } else if is("av1", "90000") {
        params.level_idx = fmtp.get("level-idx").and_then(|value| value.parse().ok()).unwrap_or(5).min(31);
        params.tier = fmtp.get("tier").and_then(|value| value.parse().ok()).unwrap_or(0).min(1);
        (fmtp.get("profile").unwrap_or("0") == "0").then_some(Codec::Av1)
    } else if is("h265", "90000") {
        // RFC 7798 §7.1: main profile and level 3.1 where nothing is said, in one stream.
        params.level_id = fmtp.get("level-id").and_then(|value| value.parse().ok()).unwrap_or(93);
        params.tier = fmtp.get("tier-flag").and_then(|value| value.parse().ok()).unwrap_or(0).min(1);
        let is_main = fmtp.get("profile-id").unwrap_or("1") == "1";
        (is_main && fmtp.get("tx-mode").unwrap_or("SRST") == "SRST").then_some(Codec::H265)
    } else {
        None
    };

    let inner = if is("rtx", "90000") {
        fmtp.get("apt").and_then(|apt| apt.parse().ok()).unwrap_or(NO_PAYLOAD_TYPE)
    } else if is("red", "48000") && channels == "2" {
        red(fmtp.0).unwrap_or(NO_PAYLOAD_TYPE)
    } else {
        NO_PAYLOAD_TYPE
    };
    // Another codec's retransmissions are another thing, and so is another RED.
    let identity = match (media, described.rtpmap) {
        (Some(codec), _) => Some(codec as u64),
        (None, Some(_)) => Some(rtpmap.bytes().map(|byte| byte.to_ascii_lowercase()).chain([b' ', inner]).fold(digest::START, digest::add)),
        (None, None) => None,
    };
    Format { payload_type, payload: media.map(Payload::Media), inner, identity, params, feedback: described.feedback }
}

/// [`Format::inner`] of whatever carries no other payload type.
pub(crate) const NO_PAYLOAD_TYPE: u8 = 0xff;

/// Names the RTX and RED formats by what is inside them; `formats` are all of one m-line.
pub(crate) fn resolve(formats: &mut [Format], is_audio: bool) {
    let mut media = [None; 256];
    for format in formats.iter() {
        if let Some(Payload::Media(codec)) = format.payload {
            media[usize::from(format.payload_type)] = Some(codec);
        }
    }
    for format in formats.iter_mut().filter(|format| format.inner != NO_PAYLOAD_TYPE) {
        format.payload = match media[usize::from(format.inner)] {
            Some(Codec::Opus) if is_audio => Some(Payload::Media(Codec::Red)),
            Some(codec) if !is_audio => Some(Payload::Rtx(codec)),
            _ => None,
        };
    }
}

/// The H.264 profile by `profile_idc` and the constraint flags (RFC 6184 §8.1, table 5), as far as the server tells them apart.
fn h264(profile_level_id: u32, mode: &str) -> Option<Codec> {
    let (idc, flags) = ((profile_level_id >> 16) as u8, (profile_level_id >> 8) as u8);
    let (one, zero) = (mode == "1", mode == "0");
    let constrained_baseline = match idc {
        0x42 => flags & 0x4f == 0x40,
        0x4d => flags & 0x8f == 0x80,
        0x58 => flags & 0xcf == 0xc0,
        _ => false,
    };
    let baseline = match idc {
        0x42 => flags & 0x4f == 0x00,
        0x58 => flags & 0xcf == 0x80,
        _ => false,
    };
    match () {
        () if constrained_baseline && one => Some(Codec::H264ConstrainedBaseline1),
        () if constrained_baseline && zero => Some(Codec::H264ConstrainedBaseline0),
        () if baseline && one => Some(Codec::H264Baseline1),
        () if baseline && zero => Some(Codec::H264Baseline0),
        () if idc == 0x4d && flags & 0xaf == 0x00 && one => Some(Codec::H264Main1),
        () if idc == 0x64 && flags == 0x00 && one => Some(Codec::H264High1),
        () => None,
    }
}

/// The one payload type that a RED's `a=fmtp` lists (RFC 2198 §3: `111/111`).
fn red(fmtp: &str) -> Option<u8> {
    let mut inner = fmtp.trim().split('/').map(|part| part.parse::<u8>().ok());
    let first = inner.next()??;
    inner.all(|other| other == Some(first)).then_some(first)
}

/// `name=value` pairs between semicolons.
struct Fmtp<'a>(&'a str);

impl<'a> Fmtp<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0
            .split(';')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
            .map(|(_, v)| v.trim())
    }

    fn is_one(&self, name: &str) -> bool {
        self.get(name) == Some("1")
    }
}

/// Writes what the server says of `codec`: what it may be sent, or what it will send.
pub(crate) fn write_fmtp(out: &mut String, codec: Codec, payload_type: u8, opus: Option<u8>, params: &Params, start_kbps: Option<u32>) {
    let start = out.len();
    let _ = write!(out, "a=fmtp:{payload_type} ");
    let empty = out.len();
    let profile = params.profile_level_id;
    let _ = match codec {
        Codec::Opus => {
            out.push_str("minptime=10;useinbandfec=1");
            if params.stereo {
                out.push_str(";stereo=1");
            }
            if params.dtx {
                out.push_str(";usedtx=1");
            }
            match params.max_average_bitrate {
                0 => Ok(()),
                rate => write!(out, ";maxaveragebitrate={rate}"),
            }
        }
        Codec::Red => {
            let opus = opus.unwrap_or_default();
            write!(out, "{opus}/{opus}")
        }
        Codec::Vp8 => Ok(()),
        Codec::Vp9Profile0 => write!(out, "profile-id=0"),
        Codec::Vp9Profile2 => write!(out, "profile-id=2"),
        Codec::H264ConstrainedBaseline1 | Codec::H264Baseline1 | Codec::H264Main1 | Codec::H264High1 => {
            write!(out, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={profile:06x}")
        }
        Codec::H264ConstrainedBaseline0 | Codec::H264Baseline0 => {
            write!(out, "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id={profile:06x}")
        }
        Codec::Av1 => write!(out, "level-idx={};profile=0;tier={}", params.level_idx, params.tier),
        Codec::H265 => write!(out, "level-id={};profile-id=1;tier-flag={};tx-mode=SRST", params.level_id, params.tier),
    };
    if let Some(kbps) = start_kbps {
        let separator = if out.len() == empty { "" } else { ";" };
        let _ = write!(out, "{separator}x-google-start-bitrate={kbps}");
    }
    match out.len() == empty {
        true => out.truncate(start),
        false => out.push_str("\r\n"),
    }
}

/// The `a=rtpmap` value of `codec`.
pub(crate) const fn rtpmap(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => "opus/48000/2",
        Codec::Red => "red/48000/2",
        Codec::Vp8 => "VP8/90000",
        Codec::Vp9Profile0 | Codec::Vp9Profile2 => "VP9/90000",
        Codec::H264ConstrainedBaseline1
        | Codec::H264ConstrainedBaseline0
        | Codec::H264Baseline1
        | Codec::H264Baseline0
        | Codec::H264Main1
        | Codec::H264High1 => "H264/90000",
        Codec::Av1 => "AV1/90000",
        Codec::H265 => "H265/90000",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codec(rtpmap: &str, fmtp: &str) -> Option<Codec> {
        match describe(96, &Described { rtpmap: Some(rtpmap), fmtp: Some(fmtp), ..Described::default() }).payload {
            Some(Payload::Media(codec)) => Some(codec),
            _ => None,
        }
    }

    #[test]
    fn codecs_match_by_their_profile() {
        for (rtpmap, fmtp, expected) in [
            ("opus/48000/2", "minptime=10;useinbandfec=1", Some(Codec::Opus)),
            ("OPUS/48000/2", "", Some(Codec::Opus)),
            ("opus/48000", "", None),
            ("VP8/90000", "max-fs=12288;max-fr=60", Some(Codec::Vp8)),
            ("VP8/48000", "", None),
            ("VP9/90000", "", Some(Codec::Vp9Profile0)),
            ("VP9/90000", "profile-id=2", Some(Codec::Vp9Profile2)),
            ("VP9/90000", "profile-id=1", None),
            ("AV1/90000", "", Some(Codec::Av1)),
            ("AV1/90000", "level-idx=5;profile=1;tier=0", None),
            ("H265/90000", "level-id=180;profile-id=1;tier-flag=0;tx-mode=SRST", Some(Codec::H265)),
            ("H265/90000", "", Some(Codec::H265)),
            ("H265/90000", "profile-id=2", None),
            ("H265/90000", "tx-mode=MRST", None),
            ("H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f", Some(Codec::H264ConstrainedBaseline1)),
            ("H264/90000", "profile-level-id=42E01F; packetization-mode=0", Some(Codec::H264ConstrainedBaseline0)),
            ("H264/90000", "packetization-mode=1;profile-level-id=42001f", Some(Codec::H264Baseline1)),
            ("H264/90000", "", Some(Codec::H264Baseline0)),
            ("H264/90000", "packetization-mode=1;profile-level-id=4d001f", Some(Codec::H264Main1)),
            ("H264/90000", "packetization-mode=0;profile-level-id=4d001f", None),
            ("H264/90000", "packetization-mode=1;profile-level-id=640028", Some(Codec::H264High1)),
            ("H264/90000", "packetization-mode=1;profile-level-id=640c1f", None),
            ("H264/90000", "packetization-mode=1;profile-level-id=f4001f", None),
            ("H264/90000", "packetization-mode=2;profile-level-id=42e01f", None),
            ("H264/90000", "packetization-mode=1;profile-level-id=+2e01f", None),
            ("H264/90000", "packetization-mode=1;profile-level-id=zz", None),
        ] {
            assert_eq!(codec(rtpmap, fmtp), expected, "{rtpmap} {fmtp}");
        }
    }
}
