//! VP9 (RFC 9628 §4.2): spatial and temporal layers, the picture id and TL0PICIDX.

use switchyard_rtp::codec::vp9::Descriptor;

use super::{FrameInfo, Number, Numbers};

pub(super) fn read(payload: &[u8]) -> FrameInfo {
    let Some(descriptor) = Descriptor::parse(payload) else { return FrameInfo::default() };
    FrameInfo {
        starts: descriptor.starts_frame,
        ends: descriptor.ends_frame,
        spatial: descriptor.spatial_layer,
        temporal: descriptor.temporal_layer,
        opens: descriptor.switching_up,
        intra: !descriptor.inter_picture,
        size: descriptor.size,
        numbers: Numbers {
            picture: descriptor.picture_id.map(|(value, bits, at)| Number { value, at: at as u8, bits }),
            base: descriptor.tl0_picture_index.map(|(value, at)| Number { value: u16::from(value), at: at as u8, bits: 8 }),
            ..Numbers::default()
        },
        ..FrameInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_and_numbers_are_read_from_the_descriptor() {
        let info = read(&[0xec, 0x81, 0x05, 0x53, 0x44, 0x00]);
        assert_eq!((info.starts, info.ends, info.spatial, info.temporal), (true, true, 1, 2));
        assert_eq!((info.opens, info.intra), (true, false));
        assert_eq!(info.numbers.picture, Some(Number { value: 0x105, at: 1, bits: 15 }));
        assert_eq!(info.numbers.base, Some(Number { value: 0x44, at: 4, bits: 8 }));
        assert!(read(&[0x08, 0x80]).intra);
        assert_eq!(read(&[]).numbers, Numbers::default());
    }
}
