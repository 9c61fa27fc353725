//! The VP8 payload descriptor (RFC 7741 §4.2).

/// A parsed payload descriptor. Offsets count from the payload's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Whether the packet begins a partition of a frame.
    pub starts_partition: bool,
    /// The partition's index, 0–7.
    pub partition: u8,
    /// Whether no other frame refers to this one.
    pub non_reference: bool,
    /// The picture id, 7 or 15 bits.
    pub picture_id: Option<PictureId>,
    /// The temporal layer 0 picture index, and where it is.
    pub tl0_picture_index: Option<(u8, usize)>,
    /// The temporal layer, 0–3, if said.
    pub temporal_layer: Option<u8>,
    /// The key frame index, 0–31, and where it is; that byte's upper three bits say the temporal layer.
    pub key_index: Option<(u8, usize)>,
    /// Whether a receiver can move up to this temporal layer here; false if not said.
    pub layer_sync: bool,
    /// Bytes of the descriptor; the VP8 data begins there.
    pub len: usize,
}

/// A picture id and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureId {
    /// The id.
    pub value: u16,
    /// Whether it has 15 bits, in two bytes, instead of 7.
    pub long: bool,
    /// Where it is.
    pub at: usize,
}

impl PictureId {
    /// Overwrites the id in `payload`, keeping its size; higher bits are dropped.
    pub fn write(&self, payload: &mut [u8], value: u16) {
        if self.long {
            if let Some(bytes) = payload.get_mut(self.at..self.at + 2) {
                bytes.copy_from_slice(&(value | 0x8000).to_be_bytes());
            }
        } else if let Some(byte) = payload.get_mut(self.at) {
            *byte = value as u8 & 0x7f;
        }
    }
}

impl Descriptor {
    /// `None` if the payload ends within the descriptor.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let mut descriptor = Self {
            starts_partition: first & 0x10 != 0,
            partition: first & 0x07,
            non_reference: first & 0x20 != 0,
            picture_id: None,
            tl0_picture_index: None,
            temporal_layer: None,
            key_index: None,
            layer_sync: false,
            len: 1,
        };
        if first & 0x80 == 0 {
            return Some(descriptor);
        }
        let flags = *payload.get(1)?;
        let mut at = 2;
        if flags & 0x80 != 0 {
            let high = *payload.get(at)?;
            let long = high & 0x80 != 0;
            let value = if long { u16::from_be_bytes([high & 0x7f, *payload.get(at + 1)?]) } else { u16::from(high) };
            descriptor.picture_id = Some(PictureId { value, long, at });
            at += 1 + usize::from(long);
        }
        if flags & 0x40 != 0 {
            descriptor.tl0_picture_index = Some((*payload.get(at)?, at));
            at += 1;
        }
        if flags & 0x30 != 0 {
            let layer = *payload.get(at)?;
            if flags & 0x20 != 0 {
                descriptor.temporal_layer = Some(layer >> 6);
                descriptor.layer_sync = layer & 0x20 != 0;
            }
            if flags & 0x10 != 0 {
                descriptor.key_index = Some((layer & 0x1f, at));
            }
            at += 1;
        }
        descriptor.len = at;
        Some(descriptor)
    }

    /// Whether the packet is the first of its frame.
    pub const fn starts_frame(&self) -> bool {
        self.starts_partition && self.partition == 0
    }

    /// Whether `payload`, which this was parsed from, begins a keyframe (RFC 7741 §4.3).
    pub fn is_keyframe(&self, payload: &[u8]) -> bool {
        self.starts_frame() && payload.get(self.len).is_some_and(|header| header & 1 == 0)
    }

    /// Width and height in pixels that a keyframe's first packet says (RFC 6386 §9.1).
    pub fn size(&self, payload: &[u8]) -> Option<(u16, u16)> {
        if !self.is_keyframe(payload) {
            return None;
        }
        let &[_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1] = payload.get(self.len..)?.first_chunk()? else { return None };
        let pixels = |low, high| u16::from_le_bytes([low, high]) & 0x3fff;
        Some((pixels(w0, w1), pixels(h0, h1)))
    }
}
