//! Where frames and keyframes begin, for every codec. A glance at the first bytes: bounded, and defined for any bytes.

#[cfg(test)]
mod tests;

use super::{Codec, MediaKind, vp8};

/// The mandatory part of a dependency descriptor (AV1 RTP payload format, appendix A.8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DependencyHeader {
    /// The packet is the first of its frame.
    pub start_of_frame: bool,
    /// The packet is the last of its frame.
    pub end_of_frame: bool,
    /// Which template the frame follows, 0–63.
    pub template_id: u8,
    /// Counts frames, modulo 2¹⁶.
    pub frame_number: u16,
    /// A new template structure is attached, which happens with keyframes only.
    pub structure_attached: bool,
}

impl DependencyHeader {
    /// `None` if `descriptor` is too short.
    pub fn parse(descriptor: &[u8]) -> Option<Self> {
        let (&[first, n0, n1], extended) = descriptor.split_first_chunk()?;
        Some(Self {
            start_of_frame: first & 0x80 != 0,
            end_of_frame: first & 0x40 != 0,
            template_id: first & 0x3f,
            frame_number: u16::from_be_bytes([n0, n1]),
            structure_attached: extended.first().is_some_and(|flags| flags & 0x80 != 0),
        })
    }
}

/// Whether a packet begins a keyframe: a receiver that starts here needs nothing sent before.
///
/// A dependency descriptor, if there is one, decides alone, because the payload may be end-to-end encrypted. Audio is always
/// decodable from anywhere. Of an H.264 or H.265 keyframe in several slices each slice's first packet counts: whoever switches there
/// compares timestamps too.
pub fn is_keyframe(codec: Codec, payload: &[u8], dependency_descriptor: Option<&[u8]>) -> bool {
    if codec.kind() == MediaKind::Audio {
        return true;
    }
    if let Some(header) = dependency_descriptor.and_then(DependencyHeader::parse) {
        return header.start_of_frame && header.structure_attached;
    }
    match codec {
        Codec::Vp8 => vp8::Descriptor::parse(payload).is_some_and(|descriptor| descriptor.is_keyframe(payload)),
        Codec::Vp9Profile0 | Codec::Vp9Profile2 => vp9_begins(payload).is_some_and(|frame| frame.starts && !frame.inter),
        Codec::H264ConstrainedBaseline1
        | Codec::H264ConstrainedBaseline0
        | Codec::H264Baseline1
        | Codec::H264Baseline0
        | Codec::H264Main1
        | Codec::H264High1 => h264_begins(payload, |unit| matches!(unit, H264_IDR | H264_SPS)),
        Codec::Av1 => payload.first().is_some_and(|aggregation| aggregation & (AV1_CONTINUES | AV1_NEW_SEQUENCE) == AV1_NEW_SEQUENCE),
        Codec::H265 => h265_begins(payload, |unit| matches!(unit, H265_BLA..=H265_LAST_IRAP | H265_VPS | H265_SPS)),
        Codec::Opus | Codec::Red => true,
    }
}

/// Whether a packet begins a frame, or in doubt may begin one: H.264 and H.265 say so only of the pieces a frame consists of, and AV1
/// of its OBUs. Whoever needs certainty compares timestamps too.
pub fn starts_frame(codec: Codec, payload: &[u8], dependency_descriptor: Option<&[u8]>) -> bool {
    if codec.kind() == MediaKind::Audio {
        return true;
    }
    if let Some(header) = dependency_descriptor.and_then(DependencyHeader::parse) {
        return header.start_of_frame;
    }
    match codec {
        Codec::Vp8 => vp8::Descriptor::parse(payload).is_some_and(|descriptor| descriptor.starts_frame()),
        Codec::Vp9Profile0 | Codec::Vp9Profile2 => vp9_begins(payload).is_some_and(|frame| frame.starts),
        Codec::H264ConstrainedBaseline1
        | Codec::H264ConstrainedBaseline0
        | Codec::H264Baseline1
        | Codec::H264Baseline0
        | Codec::H264Main1
        | Codec::H264High1 => h264_begins(payload, |_| true),
        Codec::Av1 => payload.first().is_some_and(|aggregation| aggregation & AV1_CONTINUES == 0),
        Codec::H265 => h265_begins(payload, |_| true),
        Codec::Opus | Codec::Red => true,
    }
}

/// AV1 aggregation header (AV1 RTP payload format §4.4): the first OBU continues one of the packet before.
const AV1_CONTINUES: u8 = 0x80;
/// AV1 aggregation header: the packet is the first of a coded video sequence.
const AV1_NEW_SEQUENCE: u8 = 0x08;

struct Vp9Beginning {
    /// The packet is the first of a picture: it begins a frame of spatial layer 0.
    starts: bool,
    /// The picture refers to pictures before.
    inter: bool,
}

/// Reads the VP9 payload descriptor (RFC 9628 §4.2) up to the layer indices.
fn vp9_begins(payload: &[u8]) -> Option<Vp9Beginning> {
    let first = *payload.first()?;
    let mut at = 1;
    if first & 0x80 != 0 {
        at += 1 + usize::from(payload.get(at)? & 0x80 != 0);
    }
    let spatial_layer = if first & 0x20 != 0 { payload.get(at)? >> 1 & 0x07 } else { 0 };
    Some(Vp9Beginning { starts: first & 0x08 != 0 && spatial_layer == 0, inter: first & 0x40 != 0 })
}

/// NAL unit types (RFC 6184 §5.2 and ITU-T H.264 table 7-1).
const H264_IDR: u8 = 5;
const H264_SPS: u8 = 7;
const H264_STAP_A: u8 = 24;
const H264_FU_A: u8 = 28;

/// Whether the packet holds the beginning of a NAL unit whose type satisfies `wanted`.
fn h264_begins(payload: &[u8], wanted: impl Fn(u8) -> bool) -> bool {
    let Some(&head) = payload.first() else { return false };
    match head & 0x1f {
        H264_STAP_A => aggregates(&payload[1..], |head| wanted(head & 0x1f)),
        H264_FU_A => payload.get(1).is_some_and(|fragment| fragment & 0x80 != 0 && wanted(fragment & 0x1f)),
        unit @ 1..=23 => wanted(unit),
        _ => false,
    }
}

/// Whether the first byte of one of the units satisfies `wanted`, each of which has its length in front (RFC 6184 §5.7.1, RFC 7798 §4.4.2).
fn aggregates(mut units: &[u8], wanted: impl Fn(u8) -> bool) -> bool {
    // Each unit takes at least three bytes of the packet, so the walk is bounded by its size.
    while let Some((&[l0, l1], rest)) = units.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        let Some((unit, rest)) = rest.split_at_checked(len) else { return false };
        let Some(&head) = unit.first() else { return false };
        if wanted(head) {
            return true;
        }
        units = rest;
    }
    false
}

/// NAL unit types (RFC 7798 §1.1.4 and ITU-T H.265 table 7-1): the pictures that need no other begin with these.
const H265_BLA: u8 = 16;
const H265_LAST_IRAP: u8 = 23;
const H265_VPS: u8 = 32;
const H265_SPS: u8 = 33;
const H265_AGGREGATION: u8 = 48;
const H265_FRAGMENT: u8 = 49;

/// Whether the packet holds the beginning of a NAL unit whose type satisfies `wanted`. Units have two bytes of header; decoding order numbers are not negotiated.
fn h265_begins(payload: &[u8], wanted: impl Fn(u8) -> bool) -> bool {
    let kind = |head: u8| head >> 1 & 0x3f;
    let Some((&[head, _], rest)) = payload.split_first_chunk() else { return false };
    match kind(head) {
        H265_AGGREGATION => aggregates(rest, |head| wanted(kind(head))),
        H265_FRAGMENT => rest.first().is_some_and(|fragment| fragment & 0x80 != 0 && wanted(fragment & 0x3f)),
        unit @ 0..=47 => wanted(unit),
        _ => false,
    }
}
