//! VP8 (RFC 7741 §4.2): temporal layers, the picture id, TL0PICIDX and KEYIDX.

use switchyard_rtp::codec::vp8::Descriptor;

use super::{FrameInfo, Number, Numbers};

pub(super) fn read(payload: &[u8]) -> FrameInfo {
    let Some(descriptor) = Descriptor::parse(payload) else { return FrameInfo::default() };
    let byte = |(value, at): (u8, usize), bits| Number { value: u16::from(value), at: at as u8, bits };
    FrameInfo {
        starts: descriptor.starts_frame(),
        temporal: descriptor.temporal_layer.unwrap_or(0),
        sync: descriptor.layer_sync,
        size: descriptor.size(payload),
        numbers: Numbers {
            picture: descriptor.picture_id.map(|id| Number { value: id.value, at: id.at as u8, bits: if id.long { 15 } else { 7 } }),
            dense: descriptor.picture_id.is_some(),
            base: descriptor.tl0_picture_index.map(|index| byte(index, 8)),
            key: descriptor.key_index.map(|index| byte(index, 5)),
            frame: None,
        },
        ..FrameInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_and_numbers_are_read_from_the_descriptor() {
        let full = [0x90, 0xf0, 0x81, 0x23, 0x44, 0xa7, 0x51];
        let info = read(&full);
        assert_eq!((info.starts, info.temporal, info.sync), (true, 2, true));
        let Numbers { picture, base, key, .. } = info.numbers;
        assert_eq!(picture, Some(Number { value: 0x123, at: 2, bits: 15 }));
        assert_eq!((base, key), (Some(Number { value: 0x44, at: 4, bits: 8 }), Some(Number { value: 7, at: 5, bits: 5 })));
        let plain = read(&[0x00, 0x51]);
        assert_eq!((plain.starts, plain.temporal, plain.sync, plain.numbers), (false, 0, false, Numbers::default()));
        assert_eq!(read(&[]).numbers, Numbers::default());
    }
}
