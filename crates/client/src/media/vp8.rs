//! VP8 frames to RTP payloads (RFC 7741).

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of a payload: with RTP header, extensions and SRTP tag below 1,200, what browsers stay below too.
const MAX_PAYLOAD: usize = 1150;

/// Bytes of the descriptor it writes: extended, with a picture id of 15 bits.
const DESCRIPTOR: usize = 4;

/// Splits frames and counts pictures on, through loops and jumps.
#[derive(Debug, Default)]
pub(crate) struct Packetizer {
    picture_id: u16,
}

impl Packetizer {
    /// The payloads of the next frame, in order; the last one's packet has the marker bit.
    pub(crate) fn packetize(&mut self, frame: &Bytes) -> Vec<Bytes> {
        let picture_id = self.picture_id;
        self.picture_id = picture_id.wrapping_add(1) & 0x7fff;
        // Equal parts: a small last packet would cost as much as a full one.
        let parts = frame.len().div_ceil(MAX_PAYLOAD - DESCRIPTOR).max(1);
        let size = frame.len().div_ceil(parts).max(1);
        frame
            .chunks(size)
            .enumerate()
            .map(|(index, part)| {
                let mut payload = BytesMut::with_capacity(DESCRIPTOR + part.len());
                payload.put_u8(if index == 0 { 0x90 } else { 0x80 });
                payload.put_u8(0x80);
                payload.put_u16(0x8000 | picture_id);
                payload.put_slice(part);
                payload.freeze()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_cut_into_payloads_that_say_where_it_starts() {
        let frame: Bytes = (0..3000_u32).map(|byte| byte as u8).collect();
        let payloads = Packetizer::default().packetize(&frame);
        assert_eq!(payloads.len(), 3);
        assert!(payloads.iter().all(|payload| payload.len() <= MAX_PAYLOAD));
        assert_eq!(payloads.iter().map(|payload| payload[0] & 0x10 != 0).collect::<Vec<_>>(), [true, false, false]);
        let whole: Vec<u8> = payloads.iter().flat_map(|payload| payload[DESCRIPTOR..].to_vec()).collect();
        assert_eq!(whole, frame);
    }

    #[test]
    fn picture_ids_count_on_through_their_wrap() {
        let mut packetizer = Packetizer { picture_id: 0x7fff };
        let ids: Vec<u16> = (0..2)
            .map(|_| {
                let payload = packetizer.packetize(&Bytes::from_static(&[0x10]));
                u16::from_be_bytes([payload[0][2], payload[0][3]]) & 0x7fff
            })
            .collect();
        assert_eq!(ids, [0x7fff, 0]);
    }
}
