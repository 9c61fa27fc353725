//! Test packets that say who sent them, which one they are and when: what a receiver needs to prove that every packet
//! arrived once and in order.
//!
//! The stamp is the end of the RTP payload, so that a server that rewrites a codec's payload descriptor leaves it alone; in
//! front of it is what the codec's parsers want to see. Every video packet is a VP8 keyframe of its own, so a server that
//! waits for a keyframe forwards the first one it gets.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use switchyard_protocol::Kind;

/// What tells a stamp from media that happens to be long enough.
const MAGIC: [u8; 4] = *b"SwYd";

/// VP8 payload descriptor (RFC 7741 §4.2): start of partition 0, no extensions.
const VP8_DESCRIPTOR: u8 = 0x10;
/// VP8 frame tag of a shown keyframe (RFC 6386 §9.1), first partition of one byte, then the start code, then 320x180.
const VP8_KEYFRAME: [u8; 10] = [0x30, 0x00, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00];
/// Opus: one 20 ms fullband CELT frame, mono (RFC 6716 §3.1).
const OPUS_TOC: u8 = 0xf8;

/// One test packet's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The sender's participant id.
    pub publisher: u32,
    /// Which of the sender's publications, in the order they were made.
    pub publication: u16,
    /// Counts the publication's packets from 0.
    pub counter: u64,
    /// When it was sent, on the clock of [`now_micros`].
    pub sent_micros: u64,
}

impl Stamp {
    /// Bytes a stamp takes.
    pub const BYTES: usize = MAGIC.len() + 4 + 2 + 8 + 8;

    /// Bytes of the smallest payload that can carry a stamp.
    pub const MIN_PAYLOAD: usize = 1 + VP8_KEYFRAME.len() + Self::BYTES;

    /// An RTP payload of `bytes` bytes (at least [`Self::MIN_PAYLOAD`]) that ends in the stamp.
    pub fn payload(&self, kind: Kind, bytes: usize) -> Bytes {
        let mut payload = BytesMut::with_capacity(bytes.max(Self::MIN_PAYLOAD));
        match kind {
            Kind::Video => {
                payload.put_u8(VP8_DESCRIPTOR);
                payload.put_slice(&VP8_KEYFRAME);
            }
            Kind::Audio => payload.put_u8(OPUS_TOC),
        }
        payload.put_bytes(0, bytes.max(Self::MIN_PAYLOAD) - Self::BYTES - payload.len());
        payload.put_slice(&MAGIC);
        payload.put_u32(self.publisher);
        payload.put_u16(self.publication);
        payload.put_u64(self.counter);
        payload.put_u64(self.sent_micros);
        payload.freeze()
    }

    /// Reads the stamp of an RTP payload; nothing if it has none.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let stamp = payload.last_chunk::<{ Self::BYTES }>()?;
        let (magic, rest) = stamp.split_first_chunk::<4>()?;
        let (publisher, rest) = rest.split_first_chunk::<4>()?;
        let (publication, rest) = rest.split_first_chunk::<2>()?;
        let (counter, rest) = rest.split_first_chunk::<8>()?;
        let (sent_micros, _) = rest.split_first_chunk::<8>()?;
        (*magic == MAGIC).then_some(Self {
            publisher: u32::from_be_bytes(*publisher),
            publication: u16::from_be_bytes(*publication),
            counter: u64::from_be_bytes(*counter),
            sent_micros: u64::from_be_bytes(*sent_micros),
        })
    }
}

/// Microseconds since 1970 that never go back: the wall clock when the process first asked plus the time since. Processes on
/// one machine agree to within the adjustments of its clock.
pub fn now_micros() -> u64 {
    micros_at(Instant::now())
}

/// [`now_micros`] at another instant.
pub(crate) fn micros_at(instant: Instant) -> u64 {
    static ORIGIN: OnceLock<(Instant, Duration)> = OnceLock::new();
    let (origin, since_epoch) =
        *ORIGIN.get_or_init(|| (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)));
    let micros = since_epoch.as_micros() as i128
        + match instant.checked_duration_since(origin) {
            Some(after) => after.as_micros() as i128,
            None => -(origin.duration_since(instant).as_micros() as i128),
        };
    micros.clamp(0, i128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { publisher: 7, publication: 2, counter: u64::MAX - 1, sent_micros: 1_700_000_000_000_000 };

    #[test]
    fn a_stamp_is_read_back_from_audio_and_video_of_any_size() {
        for kind in [Kind::Audio, Kind::Video] {
            for bytes in [0, Stamp::MIN_PAYLOAD, 160, 1150] {
                let payload = STAMP.payload(kind, bytes);
                assert_eq!(payload.len(), bytes.max(Stamp::MIN_PAYLOAD));
                assert_eq!(Stamp::read(&payload), Some(STAMP));
            }
        }
    }

    #[test]
    fn a_stamp_survives_another_payload_descriptor() {
        let payload = STAMP.payload(Kind::Video, 200);
        let mut rewritten = vec![0x90, 0x80, 0x81, 0x23];
        rewritten.extend_from_slice(&payload[1..]);
        assert_eq!(Stamp::read(&rewritten), Some(STAMP));
    }

    #[test]
    fn other_payloads_have_no_stamp() {
        assert_eq!(Stamp::read(&[]), None);
        assert_eq!(Stamp::read(&[0; 25]), None);
        assert_eq!(Stamp::read(&[0xff; 1200]), None);
    }

    #[test]
    fn every_video_packet_is_a_keyframe_to_a_vp8_parser() {
        let payload = STAMP.payload(Kind::Video, 300);
        assert_eq!(payload[0] & 0x90, 0x10, "no extension, start of a partition");
        assert_eq!(payload[0] & 0x07, 0, "partition 0");
        assert_eq!(payload[1] & 0x01, 0, "a keyframe");
        assert_eq!(payload[4..7], [0x9d, 0x01, 0x2a], "the start code");
    }

    #[test]
    fn the_clock_does_not_go_back() {
        let earlier = now_micros();
        let instant = Instant::now();
        assert!(micros_at(instant) >= earlier);
        assert!(micros_at(instant - Duration::from_millis(5)) <= micros_at(instant) - 4_900);
    }
}
