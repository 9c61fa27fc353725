//! What both ends agreed on for one m-line's RTP streams, and the lines that say so.

use std::fmt::Write;
use std::sync::Arc;

use switchyard_rtp::codec::{Codec, CodecTable, MediaKind, Payload, PayloadTypes};
use switchyard_rtp::extension::{Extension, ExtensionMap};

use crate::description::Streams;
use crate::format::{self, Params};
use crate::{Feedback, Simulcast};

/// Where Chromium's estimate of the uplink begins, kbit/s; its own 300 keep a camera at a low resolution for seconds. Firefox ignores it.
const START_KBPS: u32 = 1000;
/// The same for simulcast: what three encodings of a camera take. With less the largest stays off for seconds.
const SIMULCAST_START_KBPS: u32 = 2500;

/// The estimate to begin with on an m-line of the client's; `None` for sound.
pub(crate) fn start_kbps(kind: MediaKind, simulcast: &Simulcast) -> Option<u32> {
    match (kind, simulcast) {
        (MediaKind::Audio, _) => None,
        (MediaKind::Video, Simulcast::Off) => Some(START_KBPS),
        (MediaKind::Video, _) => Some(SIMULCAST_START_KBPS),
    }
}

/// Which way the media goes, seen from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    In,
    Out,
}

impl Way {
    /// The header extensions the server understands, or sends, on an m-line of this kind.
    fn extensions(self, kind: MediaKind) -> &'static [Extension] {
        match (self, kind) {
            (Way::In, _) => &Extension::ALL,
            (Way::Out, MediaKind::Audio) => {
                &[Extension::Mid, Extension::AudioLevel, Extension::TransportSequence, Extension::AbsCaptureTime]
            }
            (Way::Out, MediaKind::Video) => {
                &[Extension::Mid, Extension::TransportSequence, Extension::AbsCaptureTime, Extension::DependencyDescriptor]
            }
        }
    }

    /// The feedback the server gives, or takes.
    fn feedback(self, kind: MediaKind) -> Feedback {
        let video = kind == MediaKind::Video;
        Feedback { nack: true, pli: video, fir: video, transport_cc: true, remb: self == Way::Out }
    }
}

/// One codec of an m-line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) codec: Codec,
    pub(crate) payload_type: u8,
    pub(crate) rtx: Option<u8>,
    pub(crate) params: Params,
    pub(crate) feedback: Feedback,
}

/// The codecs in the order in which they are said, the feedback and the extensions of one m-line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) kind: MediaKind,
    pub(crate) codecs: Vec<Agreed>,
    pub(crate) extensions: ExtensionMap,
    /// See [`start_kbps`]; only in what the server receives.
    pub(crate) start_kbps: Option<u32>,
}

impl Profile {
    /// What of the client's `streams` the server takes up; only what `allowed` has, if given.
    pub(crate) fn agree(kind: MediaKind, way: Way, streams: &Streams, allowed: Option<&Profile>) -> Self {
        let mut codecs: Vec<Agreed> = Vec::new();
        for codec in Codec::ALL.into_iter().filter(|codec| codec.kind() == kind) {
            let allowed = match allowed.map(|profile| profile.codecs.iter().find(|agreed| agreed.codec == codec)) {
                Some(None) => continue,
                Some(found) => found,
                None => None,
            };
            let opus = codecs.first().filter(|agreed| agreed.codec == Codec::Opus).map(|agreed| agreed.payload_type);
            let found = streams
                .formats
                .iter()
                .find(|format| format.payload == Some(Payload::Media(codec)) && (codec != Codec::Red || Some(format.inner) == opus));
            let Some(found) = found else { continue };
            let rtx = streams.formats.iter().find(|format| {
                format.payload == Some(Payload::Rtx(codec))
                    && format.inner == found.payload_type
                    && allowed.is_none_or(|it| it.rtx.is_some())
            });
            codecs.push(Agreed {
                codec,
                payload_type: found.payload_type,
                rtx: rtx.map(|format| format.payload_type),
                params: found.params,
                feedback: found.feedback.intersection(way.feedback(kind)).with_one_estimate(),
            });
        }
        // Browsers send the first codec of an answer. In RED a lost packet comes again with the next one.
        if way == Way::In
            && let [opus, red, ..] = &mut codecs[..]
            && red.codec == Codec::Red
        {
            std::mem::swap(opus, red);
        }
        let mut extensions = ExtensionMap::default();
        for offered in &streams.extensions {
            let Some(extension) = offered.extension else { continue };
            let passes = match way {
                Way::In => offered.direction.sends,
                Way::Out => offered.direction.receives,
            };
            if passes
                && way.extensions(kind).contains(&extension)
                && extensions.id(extension).is_none()
                && allowed.is_none_or(|profile| profile.extensions.id(extension).is_some())
            {
                extensions.set(extension, offered.id);
            }
        }
        Self { kind, codecs, extensions, start_kbps: None }
    }

    /// What the server offers to send: the codecs and ids `known` to the client, completed with free ids for what it didn't name.
    pub(crate) fn to_send(kind: MediaKind, known: &Known) -> Self {
        let mut codecs = Vec::new();
        let learned = &known.codecs[kind as usize];
        // Their own estimate only from those who said that they have one and report no arrivals.
        let offered = |said: Feedback| Feedback { remb: said.remb, ..Way::Out.feedback(kind) };
        if learned.is_empty() {
            let mut free = known.free_payload_types();
            let mut take = |preferred: u8| if free.take(preferred) { Some(preferred) } else { free.next() };
            for (codec, payload_type, rtx, profile_level_id) in DEFAULTS {
                if codec.kind() != kind {
                    continue;
                }
                let Some(payload_type) = take(payload_type) else { break };
                let params = Params { profile_level_id, level_idx: 5, ..Params::default() };
                codecs.push(Agreed { codec, payload_type, rtx: rtx.and_then(&mut take), params, feedback: offered(Feedback::default()) });
            }
        } else {
            codecs.extend(learned.iter().map(|agreed| Agreed {
                params: Params { stereo: false, dtx: false, max_average_bitrate: 0, ..agreed.params },
                feedback: offered(agreed.feedback),
                ..*agreed
            }));
        }
        let mut extensions = ExtensionMap::default();
        let mut free = (1..=14u8).chain(16..=255).filter(|id| !known.ids.has(*id));
        // In one order for both kinds, so that an extension of both gets one id.
        for extension in Extension::ALL {
            let id = match known.extensions.id(extension) {
                Some(id) => Some(id),
                None if is_sent(extension) => free.next(),
                None => None,
            };
            if let Some(id) = id.filter(|_| Way::Out.extensions(kind).contains(&extension)) {
                extensions.set(extension, id);
            }
        }
        Self { kind, codecs, extensions, start_kbps: None }
    }

    /// Every payload type's meaning.
    pub(crate) fn payload_types(&self) -> PayloadTypes {
        let mut table = PayloadTypes::default();
        for agreed in &self.codecs {
            table.set(agreed.payload_type, Payload::Media(agreed.codec));
            if let Some(rtx) = agreed.rtx {
                table.set(rtx, Payload::Rtx(agreed.codec));
            }
        }
        table
    }

    /// Every codec's payload types.
    pub(crate) fn codec_table(&self) -> CodecTable {
        let mut table = CodecTable::default();
        for agreed in &self.codecs {
            table.set(Payload::Media(agreed.codec), agreed.payload_type);
            if let Some(rtx) = agreed.rtx {
                table.set(Payload::Rtx(agreed.codec), rtx);
            }
        }
        table
    }

    /// What feedback any of the codecs has.
    pub(crate) fn feedback(&self) -> Feedback {
        self.codecs.iter().fold(Feedback::default(), |all, agreed| all.union(agreed.feedback))
    }

    /// Whether any codec has retransmissions.
    pub(crate) fn has_rtx(&self) -> bool {
        self.codecs.iter().any(|agreed| agreed.rtx.is_some())
    }

    /// Whether there is media in it: RED is never without its Opus.
    pub(crate) fn is_usable(&self) -> bool {
        !self.codecs.is_empty()
    }
}

/// Whether slots have this extension at all.
fn is_sent(extension: Extension) -> bool {
    [MediaKind::Audio, MediaKind::Video].into_iter().any(|kind| Way::Out.extensions(kind).contains(&extension))
}

/// What the server offers to a client that named no codec of a kind: what every browser decodes. The numbers are free in Chromium's and in
/// Firefox's own lists; Firefox would use one twice.
const DEFAULTS: [(Codec, u8, Option<u8>, u32); 6] = [
    (Codec::Opus, 111, None, 0),
    (Codec::Red, 63, None, 0),
    (Codec::Vp8, 49, Some(50), 0),
    (Codec::Vp9Profile0, 51, Some(52), 0),
    (Codec::H264ConstrainedBaseline1, 53, Some(54), 0x42_e0_1f),
    (Codec::Av1, 55, Some(56), 0),
];

/// What a session's payload types and extension ids already stand for: they mean the same on every m-line of a BUNDLE group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// By kind: the codecs a client named, in the server's order.
    codecs: [Vec<Agreed>; 2],
    extensions: ExtensionMap,
    payload_types: Numbers,
    ids: Numbers,
}

/// A set of payload types or extension ids.
#[derive(Clone, Copy, Debug, Default)]
struct Numbers([u128; 2]);

impl Numbers {
    fn has(&self, number: u8) -> bool {
        self.0[usize::from(number >> 7)] >> (number & 127) & 1 == 1
    }

    /// Whether `number` was not in it.
    fn insert(&mut self, number: u8) -> bool {
        let is_new = !self.has(number);
        self.0[usize::from(number >> 7)] |= 1 << (number & 127);
        is_new
    }
}

impl Known {
    /// Adds what an m-line names. What is known already stays.
    pub(crate) fn learn(&mut self, kind: MediaKind, streams: &Streams) {
        for format in &streams.formats {
            self.payload_types.insert(format.payload_type);
        }
        for offered in &streams.extensions {
            self.ids.insert(offered.id);
            if let Some(extension) = offered.extension.filter(|extension| self.extensions.id(*extension).is_none()) {
                self.extensions.set(extension, offered.id);
            }
        }
        let codecs = &mut self.codecs[kind as usize];
        for agreed in Profile::agree(kind, Way::Out, streams, None).codecs {
            if !codecs.iter().any(|known| known.codec == agreed.codec) {
                codecs.push(agreed);
            }
        }
        codecs.sort_by_key(|agreed| agreed.codec);
    }

    /// Adds what the server offers: `profile`'s numbers are taken from then on.
    pub(crate) fn take(&mut self, profile: &Profile) {
        for agreed in &profile.codecs {
            for payload_type in [Some(agreed.payload_type), agreed.rtx].into_iter().flatten() {
                self.payload_types.insert(payload_type);
            }
        }
        for extension in Extension::ALL {
            if let Some(id) = profile.extensions.id(extension) {
                self.ids.insert(id);
                self.extensions.set(extension, id);
            }
        }
    }

    fn free_payload_types(&self) -> FreePayloadTypes {
        FreePayloadTypes(self.payload_types)
    }
}

/// The dynamic payload types (RFC 3551 §6; 64–95 would look like RTCP, RFC 5761 §4) that nothing uses.
struct FreePayloadTypes(Numbers);

impl FreePayloadTypes {
    /// Whether `payload_type` was still free.
    fn take(&mut self, payload_type: u8) -> bool {
        self.0.insert(payload_type)
    }

    fn next(&mut self) -> Option<u8> {
        (96..=127).chain(35..=63).find(|payload_type| self.take(*payload_type))
    }
}

/// A profile and the lines that say it: everything of a section but its name, direction, transport and SSRCs. Shared by m-lines that
/// say the same, and written once.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) profile: Profile,
    /// The payload types of the m-line.
    pub(crate) formats: String,
    pub(crate) lines: String,
}

impl Body {
    pub(crate) fn new(profile: Profile) -> Arc<Self> {
        let (mut formats, mut lines) = (String::new(), String::new());
        let opus = profile.codecs.iter().find(|agreed| agreed.codec == Codec::Opus).map(|agreed| agreed.payload_type);
        for agreed in &profile.codecs {
            let payload_type = agreed.payload_type;
            let separator = if formats.is_empty() { "" } else { " " };
            let _ = write!(formats, "{separator}{payload_type}");
            let _ = write!(lines, "a=rtpmap:{payload_type} {}\r\n", format::rtpmap(agreed.codec));
            let feedback = agreed.feedback;
            for (present, name) in [
                (feedback.transport_cc, "transport-cc"),
                (feedback.remb, "goog-remb"),
                (feedback.fir, "ccm fir"),
                (feedback.nack, "nack"),
                (feedback.pli, "nack pli"),
            ] {
                if present {
                    let _ = write!(lines, "a=rtcp-fb:{payload_type} {name}\r\n");
                }
            }
            format::write_fmtp(&mut lines, agreed.codec, payload_type, opus, &agreed.params, profile.start_kbps);
            if let Some(rtx) = agreed.rtx {
                let _ = write!(formats, " {rtx}");
                let _ = write!(lines, "a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={payload_type}\r\n");
            }
        }
        for extension in Extension::ALL {
            if let Some(id) = profile.extensions.id(extension) {
                let _ = write!(lines, "a=extmap:{id} {}\r\n", extension.uri());
            }
        }
        Arc::new(Self { profile, formats, lines })
    }
}
