//! The codecs the server forwards, as small integers: a packet's payload type is looked up once on each side.
//! And how to tell from a packet what the forwarder needs to know of its payload.

mod bits;
pub mod dependency;
mod frame;
pub mod h264;
pub mod vp8;
pub mod vp9;

pub use frame::{DependencyHeader, is_keyframe, starts_frame};

/// Audio or video, as in an SDP `m=` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MediaKind {
    /// `m=audio`
    Audio,
    /// `m=video`
    Video,
}

/// A codec together with the parameters that make two payload types interchangeable.
///
/// The server's own order of preference is the order of declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Codec {
    /// Opus (RFC 7587), 48 kHz stereo.
    Opus,
    /// Redundant audio (RFC 2198) around Opus.
    Red,
    /// VP8 (RFC 7741).
    Vp8,
    /// VP9 (RFC 9628) profile 0: 8 bit 4:2:0.
    Vp9Profile0,
    /// VP9 profile 2: 10 bit 4:2:0.
    Vp9Profile2,
    /// H.264 (RFC 6184) constrained baseline, packetization mode 1.
    H264ConstrainedBaseline1,
    /// H.264 constrained baseline, packetization mode 0.
    H264ConstrainedBaseline0,
    /// H.264 baseline, packetization mode 1.
    H264Baseline1,
    /// H.264 baseline, packetization mode 0.
    H264Baseline0,
    /// H.264 main, packetization mode 1.
    H264Main1,
    /// H.264 high, packetization mode 1.
    H264High1,
    /// AV1 (AOMedia RTP payload format 1.0) profile 0.
    Av1,
    /// H.265 (RFC 7798) main profile, in a single stream.
    H265,
}

impl Codec {
    /// Every codec, in the server's order of preference.
    pub const ALL: [Codec; 13] = [
        Codec::Opus,
        Codec::Red,
        Codec::Vp8,
        Codec::Vp9Profile0,
        Codec::Vp9Profile2,
        Codec::H264ConstrainedBaseline1,
        Codec::H264ConstrainedBaseline0,
        Codec::H264Baseline1,
        Codec::H264Baseline0,
        Codec::H264Main1,
        Codec::H264High1,
        Codec::Av1,
        Codec::H265,
    ];

    /// Audio or video.
    pub const fn kind(self) -> MediaKind {
        match self {
            Codec::Opus | Codec::Red => MediaKind::Audio,
            _ => MediaKind::Video,
        }
    }

    /// RTP timestamp units in a second.
    pub const fn clock_rate(self) -> u32 {
        match self.kind() {
            MediaKind::Audio => 48_000,
            MediaKind::Video => 90_000,
        }
    }
}

/// What a payload type stands for within one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Media in this codec.
    Media(Codec),
    /// Retransmission (RFC 4588) of packets in this codec.
    Rtx(Codec),
}

/// Payload type → meaning; what one side of a session sends under each of the 128 payload types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadTypes([Option<Payload>; 128]);

impl Default for PayloadTypes {
    fn default() -> Self {
        Self([None; 128])
    }
}

impl PayloadTypes {
    /// What `payload_type` stands for; `None` if it was not negotiated.
    pub fn get(&self, payload_type: u8) -> Option<Payload> {
        self.0[usize::from(payload_type & 0x7f)]
    }

    /// Binds `payload_type` (0–127).
    pub fn set(&mut self, payload_type: u8, payload: Payload) {
        self.0[usize::from(payload_type & 0x7f)] = Some(payload);
    }
}

/// Codec → payload type; what a receiver wants each codec sent as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodecTable {
    media: [Option<u8>; Codec::ALL.len()],
    rtx: [Option<u8>; Codec::ALL.len()],
}

impl CodecTable {
    /// The payload type for media in `codec`; `None` if this receiver can't decode it.
    pub fn media(&self, codec: Codec) -> Option<u8> {
        self.media[codec as usize]
    }

    /// The payload type for retransmissions of `codec`; `None` if RTX was not negotiated for it.
    pub fn rtx(&self, codec: Codec) -> Option<u8> {
        self.rtx[codec as usize]
    }

    /// Binds what `payload` is sent as.
    pub fn set(&mut self, payload: Payload, payload_type: u8) {
        match payload {
            Payload::Media(codec) => self.media[codec as usize] = Some(payload_type),
            Payload::Rtx(codec) => self.rtx[codec as usize] = Some(payload_type),
        }
    }
}
