//! Payloads that codecs' parsers accept and that say who sent them, which packet of which frame they are, and when.

use switchyard_rtp::Codec;
use switchyard_rtp::codec::vp8::Descriptor;

use super::{Content, Packet};

/// What tells a stamp from media.
const MAGIC: [u8; 4] = *b"SwLd";

/// VP8 payload descriptor (RFC 7741 §4.2) with a picture id of 15 bits, TL0PICIDX, and TID with KEYIDX.
pub(super) const VP8_DESCRIPTOR: usize = 6;
/// A frame begins with a tag of 3 bytes; in a keyframe the start code and the picture's size follow (RFC 6386 §9.1).
const VP8_TAG: usize = 3;
const VP8_KEYFRAME: usize = 10;
/// Opus: one 20 ms fullband CELT frame, mono (RFC 6716 §3.1).
const OPUS_TOC: u8 = 0xf8;

/// Bytes of the smallest video frame: its header and a stamp.
pub(super) const MIN_VP8_FRAME: usize = VP8_KEYFRAME + Stamp::BYTES;
/// Bytes of the smallest audio payload. Opus gets by with two in silence.
pub(super) const MIN_OPUS: usize = 1 + Stamp::BYTES;

/// One packet's identity. It stands right behind what the codec's parser looks at, so that it is found whatever a server has made of the payload
/// descriptor or appended as padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The publication, a number that the whole bench gives out once.
    pub publication: u32,
    /// Which of its encodings, 0 to 127.
    pub encoding: u8,
    /// Whether the packet's frame can be decoded by itself.
    pub keyframe: bool,
    /// Counts the encoding's packets from 0.
    pub counter: u64,
    /// Counts the encoding's frames from 0.
    pub frame: u32,
    /// Packets of the frame.
    pub packets: u16,
    /// The packet's place in its frame.
    pub index: u16,
    /// When it was sent, in microseconds of the sender's clock.
    pub sent_micros: u64,
}

impl Stamp {
    /// Bytes a stamp takes.
    pub const BYTES: usize = MAGIC.len() + 4 + 1 + 8 + 4 + 2 + 2 + 8;

    /// Reads the stamp of an RTP payload without padding; nothing if it has none, or if the codec is neither VP8 nor Opus.
    pub fn read(codec: Codec, payload: &[u8]) -> Option<Self> {
        // Where it can be: behind a keyframe's header, another frame's, or none.
        let offsets: &[usize] = match codec {
            Codec::Vp8 => &[0, VP8_TAG, VP8_KEYFRAME],
            Codec::Opus => &[1],
            _ => return None,
        };
        let descriptor = if codec == Codec::Vp8 { Descriptor::parse(payload)?.len } else { 0 };
        offsets.iter().find_map(|offset| Self::parse(payload.get(descriptor + offset..)?))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let (publication, rest) = rest.split_first_chunk::<4>()?;
        let (flags, rest) = rest.split_first()?;
        let (counter, rest) = rest.split_first_chunk::<8>()?;
        let (frame, rest) = rest.split_first_chunk::<4>()?;
        let (packets, rest) = rest.split_first_chunk::<2>()?;
        let (index, rest) = rest.split_first_chunk::<2>()?;
        let (sent_micros, _) = rest.split_first_chunk::<8>()?;
        (*magic == MAGIC).then_some(Self {
            publication: u32::from_be_bytes(*publication),
            encoding: flags & 0x7f,
            keyframe: flags & 0x80 != 0,
            counter: u64::from_be_bytes(*counter),
            frame: u32::from_be_bytes(*frame),
            packets: u16::from_be_bytes(*packets),
            index: u16::from_be_bytes(*index),
            sent_micros: u64::from_be_bytes(*sent_micros),
        })
    }

    fn write(&self, payload: &mut Vec<u8>) {
        payload.extend_from_slice(&MAGIC);
        payload.extend_from_slice(&self.publication.to_be_bytes());
        payload.push(self.encoding & 0x7f | u8::from(self.keyframe) << 7);
        payload.extend_from_slice(&self.counter.to_be_bytes());
        payload.extend_from_slice(&self.frame.to_be_bytes());
        payload.extend_from_slice(&self.packets.to_be_bytes());
        payload.extend_from_slice(&self.index.to_be_bytes());
        payload.extend_from_slice(&self.sent_micros.to_be_bytes());
    }
}

pub(super) fn write(packet: &Packet, publication: u32, sent_micros: u64, payload: &mut Vec<u8>) {
    payload.clear();
    match packet.content {
        Content::Vp8 { keyframe, picture_id, tl0_index, layer, sync, leaf, size, frame_len } => {
            let begins = packet.index == 0;
            // Extended; non-reference frame; start of partition 0.
            payload.push(0x80 | u8::from(leaf) << 5 | u8::from(begins) << 4);
            // Picture id, TL0PICIDX, TID and KEYIDX follow.
            payload.push(0xf0);
            payload.extend_from_slice(&(picture_id | 0x8000).to_be_bytes());
            // The layer, whether it is synchronised here, key frame index 0.
            payload.extend_from_slice(&[tl0_index, layer << 6 | u8::from(sync) << 5]);
            if begins {
                write_vp8_header(keyframe, size, frame_len, payload);
            }
        }
        Content::Opus { .. } => payload.push(OPUS_TOC),
    }
    let stamp = Stamp {
        publication,
        encoding: packet.encoding,
        keyframe: packet.keyframe(),
        counter: packet.counter,
        frame: packet.frame,
        packets: packet.packets,
        index: packet.index,
        sent_micros,
    };
    stamp.write(payload);
    payload.resize(usize::from(packet.payload_len).max(payload.len()), 0);
}

/// The frame tag of a shown frame and, in a keyframe, the start code and the size (RFC 6386 §9.1).
fn write_vp8_header(keyframe: bool, (width, height): (u16, u16), frame_len: u32, payload: &mut Vec<u8>) {
    // 19 bits; half of the frame, as a decoder would expect something in the other partitions.
    let first_partition = (frame_len / 2).min(0x7_ffff);
    let tag = u32::from(!keyframe) | 1 << 4 | first_partition << 5;
    payload.extend_from_slice(&tag.to_le_bytes()[..VP8_TAG]);
    if keyframe {
        payload.extend_from_slice(&[0x9d, 0x01, 0x2a]);
        payload.extend_from_slice(&(width & 0x3fff).to_le_bytes());
        payload.extend_from_slice(&(height & 0x3fff).to_le_bytes());
    }
}
