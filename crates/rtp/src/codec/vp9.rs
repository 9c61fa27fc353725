//! The VP9 payload descriptor (RFC 9628 §4.2).

/// A parsed payload descriptor. Offsets count from the payload's first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Whether the packet begins a frame (of one spatial layer).
    pub starts_frame: bool,
    /// Whether the packet ends a frame.
    pub ends_frame: bool,
    /// Whether the frame refers to pictures before.
    pub inter_picture: bool,
    /// The picture id, how many bits it has, 7 or 15, and where it is.
    pub picture_id: Option<(u16, u8, usize)>,
    /// The temporal layer, 0–7.
    pub temporal_layer: u8,
    /// The spatial layer, 0–7.
    pub spatial_layer: u8,
    /// Whether pictures of higher temporal layers that follow refer to none of theirs before this one.
    pub switching_up: bool,
    /// Whether the frame refers to the spatial layer below.
    pub inter_layer: bool,
    /// The temporal layer 0 picture index, and where it is.
    pub tl0_picture_index: Option<(u8, usize)>,
    /// Width and height in pixels of the highest spatial layer that the scalability structure names.
    pub size: Option<(u16, u16)>,
    /// Bytes of the descriptor; the VP9 data begins there.
    pub len: usize,
}

impl Descriptor {
    /// `None` if the payload ends within the descriptor.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let flag = |bit: u8| first & bit != 0;
        let flexible = flag(0x10);
        let mut descriptor = Self { starts_frame: flag(0x08), ends_frame: flag(0x04), inter_picture: flag(0x40), ..Self::default() };
        let mut at = 1;
        if flag(0x80) {
            let high = *payload.get(at)?;
            let long = high & 0x80 != 0;
            let value = if long { u16::from_be_bytes([high & 0x7f, *payload.get(at + 1)?]) } else { u16::from(high) };
            descriptor.picture_id = Some((value, if long { 15 } else { 7 }, at));
            at += 1 + usize::from(long);
        }
        if flag(0x20) {
            let layers = *payload.get(at)?;
            descriptor.temporal_layer = layers >> 5;
            descriptor.switching_up = layers & 0x10 != 0;
            descriptor.spatial_layer = layers >> 1 & 0x07;
            descriptor.inter_layer = layers & 0x01 != 0;
            at += 1;
            if !flexible {
                descriptor.tl0_picture_index = Some((*payload.get(at)?, at));
                at += 1;
            }
        }
        if flexible && flag(0x40) {
            // At most three, each but the last with its lowest bit set.
            for _ in 0..3 {
                let reference = *payload.get(at)?;
                at += 1;
                if reference & 1 == 0 {
                    break;
                }
            }
        }
        if flag(0x02) {
            let structure = *payload.get(at)?;
            at += 1;
            if structure & 0x10 != 0 {
                for _ in 0..=structure >> 5 {
                    let &[w0, w1, h0, h1] = payload.get(at..)?.first_chunk()?;
                    descriptor.size = Some((u16::from_be_bytes([w0, w1]), u16::from_be_bytes([h0, h1])));
                    at += 4;
                }
            }
            if structure & 0x08 != 0 {
                let pictures = *payload.get(at)?;
                at += 1;
                for _ in 0..pictures {
                    at += 1 + usize::from(payload.get(at)? >> 2 & 0x03);
                }
            }
        }
        // What the structure skipped may be missing.
        payload.get(..at)?;
        descriptor.len = at;
        Some(descriptor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_read_to_the_end() {
        let plain = Descriptor::parse(&[0x0c, 0x80]).unwrap();
        assert_eq!((plain.starts_frame, plain.ends_frame, plain.inter_picture, plain.len), (true, true, false, 1));
        // I, L, B; a picture id of 15 bits; temporal 2, U, spatial 1, D; TL0PICIDX.
        let layered = Descriptor::parse(&[0xe8, 0x81, 0x05, 0x53, 0x44, 0x00]).unwrap();
        assert_eq!((layered.picture_id, layered.tl0_picture_index), (Some((0x105, 15, 1)), Some((0x44, 4))));
        assert_eq!((layered.temporal_layer, layered.spatial_layer), (2, 1));
        assert!(layered.switching_up && layered.inter_layer && layered.inter_picture);
        assert_eq!(layered.len, 5);
        // Flexible, with two references.
        let flexible = Descriptor::parse(&[0xf8, 0x05, 0x00, 0x03, 0x04, 0x00]).unwrap();
        assert_eq!((flexible.tl0_picture_index, flexible.len), (None, 5));
        // Three spatial layers with their sizes, and a group of two pictures.
        let sizes = [[1, 64, 0, 180], [2, 128, 1, 104], [5, 0, 2, 208]].concat();
        let structure = [&[0x0a, 0x58][..], &sizes, &[2, 0x00, 0x44, 1, 0x99]].concat();
        let structure = Descriptor::parse(&structure).unwrap();
        assert_eq!((structure.size, structure.len), (Some((1280, 720)), 2 + 12 + 4));
        for cut in [&[0x80][..], &[0x80, 0x80], &[0xa0, 0x00], &[0x50], &[0x02], &[0x02, 0x10, 0, 0], &[0x02, 0x08, 1, 0x0c, 0]] {
            assert_eq!(Descriptor::parse(cut), None, "{cut:02x?}");
        }
    }
}
