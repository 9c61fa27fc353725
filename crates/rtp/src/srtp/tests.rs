use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::kdf::{Generator, Label, SessionKeys};
use super::*;
use crate::rtp::{HeaderFields, write_header};

mod interop;
mod vectors;

const PROFILES: [Profile; 2] = [Profile::AeadAes128Gcm, Profile::Aes128CmHmacSha1_80];

/// Bytes a test packet may grow to.
const ROOM: usize = 64;

fn master(seed: u8) -> MasterKey {
    MasterKey { key: std::array::from_fn(|at| seed ^ at as u8), salt: std::array::from_fn(|at| seed.wrapping_add(at as u8 * 7)) }
}

/// A clear packet with an extension: (bytes, header length).
fn packet(ssrc: u32, sequence: u16, payload: &[u8]) -> (Vec<u8>, usize) {
    let fields = HeaderFields { marker: true, payload_type: 96, sequence, timestamp: 90_000, ssrc };
    let mut bytes = vec![0; 64];
    let header_len = write_header(&mut bytes, &fields, [(4, &b"mid"[..])].into_iter()).unwrap();
    bytes.truncate(header_len);
    bytes.extend_from_slice(payload);
    (bytes, header_len)
}

fn seal(sealer: &mut Sealer, stream: StreamIndex, index: u64, payload: &[u8]) -> Result<Vec<u8>, SealError> {
    let (mut bytes, header_len) = packet(sealer.ssrc(stream).unwrap(), index as u16, payload);
    let len = bytes.len();
    bytes.resize(len + ROOM, 0xee);
    let sealed = sealer.seal_rtp(stream, index, &mut bytes, header_len, len)?;
    assert_eq!(sealed, len + sealer.profile().overhead());
    assert!(bytes[sealed..].iter().all(|&byte| byte == 0xee), "sealing wrote beyond its tag");
    bytes.truncate(sealed);
    Ok(bytes)
}

fn pair(profile: Profile) -> (Sealer, Opener) {
    (Sealer::new(profile, &master(1)), Opener::new(profile, &master(1)))
}

#[test]
fn what_is_sealed_opens_to_the_same_packet() {
    for profile in PROFILES {
        let (mut sealer, mut opener) = pair(profile);
        let stream = sealer.add_stream(7).unwrap();
        for index in 0..5u64 {
            let (clear, header_len) = packet(7, index as u16, b"payload");
            let mut bytes = seal(&mut sealer, stream, index, b"payload").unwrap();
            assert_eq!(bytes[..header_len], clear[..header_len], "the header stays in the clear");
            assert_ne!(bytes[header_len..clear.len()], clear[header_len..]);
            let opened = opener.open_rtp(&mut bytes).unwrap();
            assert_eq!(bytes[..opened.len], clear);
            assert_eq!((opened.index, opened.header.header_len, opened.header.ssrc), (index, header_len, 7));
        }
    }
}

#[test]
fn an_empty_payload_opens() {
    for profile in PROFILES {
        let (mut sealer, mut opener) = pair(profile);
        let stream = sealer.add_stream(7).unwrap();
        let mut bytes = seal(&mut sealer, stream, 1, b"").unwrap();
        assert_eq!(opener.open_rtp(&mut bytes).map(|opened| opened.len), Ok(packet(7, 1, b"").0.len()));
    }
}

#[test]
fn padding_is_read_from_the_decrypted_bytes() {
    for profile in PROFILES {
        let (mut sealer, mut opener) = pair(profile);
        let stream = sealer.add_stream(7).unwrap();
        for (sequence, count, outcome) in [(1u16, 6u8, Ok(6)), (2, 0, Err(())), (3, 13, Err(()))] {
            let (mut bytes, header_len) = packet(7, sequence, b"media-----");
            bytes[0] |= 0x20;
            let len = bytes.len();
            bytes[len - 1] = count;
            bytes.resize(len + ROOM, 0);
            let sealed = sealer.seal_rtp(stream, u64::from(sequence), &mut bytes, header_len, len).unwrap();
            let opened = opener.open_rtp(&mut bytes[..sealed]);
            assert_eq!(opened.map(|opened| opened.header.padding).map_err(|_| ()), outcome);
        }
    }
}

#[test]
fn every_changed_bit_is_noticed() {
    for profile in PROFILES {
        let (mut sealer, mut opener) = pair(profile);
        let stream = sealer.add_stream(7).unwrap();
        let sealed = seal(&mut sealer, stream, 1, b"four").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(opener.open_rtp(&mut forged).is_err(), "bit {bit}");
        }
        assert!(opener.open_rtp(&mut sealed.clone()).is_ok(), "forgeries leave no trace");
    }
}

#[test]
fn a_packet_of_other_keys_is_not_authentic() {
    for profile in PROFILES {
        let mut sealer = Sealer::new(profile, &master(1));
        let mut opener = Opener::new(profile, &master(2));
        let stream = sealer.add_stream(7).unwrap();
        let mut sealed = seal(&mut sealer, stream, 1, b"payload").unwrap();
        assert_eq!(opener.open_rtp(&mut sealed), Err(OpenError::NotAuthentic));
    }
}

#[test]
fn a_replay_is_refused_and_a_late_packet_is_not() {
    for profile in PROFILES {
        let (mut sealer, mut opener) = pair(profile);
        let stream = sealer.add_stream(7).unwrap();
        let sealed: Vec<_> = (0..1500).map(|index| seal(&mut sealer, stream, index, b"x").unwrap()).collect();
        let mut open = |index: usize| opener.open_rtp(&mut sealed[index].clone()).map(|opened| opened.index);
        assert_eq!(open(0), Ok(0));
        assert_eq!(open(0), Err(OpenError::Replayed));
        assert_eq!(open(1000), Ok(1000));
        assert_eq!(open(1000 - 512), Ok(488));
        assert_eq!(open(488), Err(OpenError::Replayed));
        assert_eq!(open(1499), Ok(1499));
        assert_eq!(open(1), Err(OpenError::TooOld));
        let mut replayed = sealed[1499].clone();
        assert_eq!(opener.open_rtp(&mut replayed), Err(OpenError::Replayed));
        assert_eq!(replayed, sealed[1499], "a replay is refused before it costs a decryption");
    }
}

#[test]
fn the_rollover_counter_follows_the_sequence_numbers_through_loss_and_reordering() {
    for profile in PROFILES {
        let (mut sealer, mut opener) = pair(profile);
        let stream = sealer.add_stream(7).unwrap();
        let order = [0xfff0u64, 0xffff, 0x1_0001, 0x1_0000, 0xfffe, 0x1_7ff0, 0x1_ffef, 0x2_0003, 0x1_ffff];
        for index in order {
            let mut bytes = seal(&mut sealer, stream, index, b"x").unwrap();
            assert_eq!(opener.open_rtp(&mut bytes).map(|opened| opened.index), Ok(index));
        }
    }
}

#[test]
fn a_sequence_number_from_before_the_first_cycle_is_too_old() {
    let (mut sealer, mut opener) = pair(Profile::AeadAes128Gcm);
    let stream = sealer.add_stream(7).unwrap();
    let mut first = seal(&mut sealer, stream, 3, b"x").unwrap();
    assert!(opener.open_rtp(&mut first).is_ok());
    let (mut earlier, _) = packet(7, 0xfffe, b"x");
    earlier.resize(64, 0);
    assert_eq!(opener.open_rtp(&mut earlier), Err(OpenError::TooOld));
}

#[test]
fn malformed_packets_are_named_and_never_reach_the_keys() {
    for profile in PROFILES {
        let mut opener = Opener::new(profile, &master(1));
        let header = |first: u8, len: usize| {
            let mut bytes = vec![0; len];
            if let Some(byte) = bytes.first_mut() {
                *byte = first;
            }
            bytes
        };
        let rtp = [
            (vec![], OpenError::Header(crate::rtp::HeaderError::Truncated)),
            (header(0x80, 11), OpenError::Header(crate::rtp::HeaderError::Truncated)),
            (header(0x40, 60), OpenError::Header(crate::rtp::HeaderError::Version)),
            (header(0x8f, 60), OpenError::Header(crate::rtp::HeaderError::Truncated)),
            (header(0x80, 12 + profile.overhead() - 1), OpenError::Malformed),
        ];
        for (mut bytes, error) in rtp {
            assert_eq!(opener.open_rtp(&mut bytes), Err(error));
        }
        let rtcp = [
            (vec![], OpenError::Malformed),
            (header(0x80, 8 + profile.rtcp_overhead() - 1), OpenError::Malformed),
            (header(0x40, 60), OpenError::Malformed),
            (header(0x80, 60), OpenError::NotEncrypted),
        ];
        for (mut bytes, error) in rtcp {
            assert_eq!(opener.open_rtcp(&mut bytes), Err(error));
        }
    }
}

#[test]
fn forged_sources_take_no_memory_and_real_ones_are_bounded() {
    for profile in PROFILES {
        let (mut sealer, mut opener) = pair(profile);
        for ssrc in 0..10_000u32 {
            let (mut forged, _) = packet(ssrc.wrapping_mul(0x9e37_79b9), 1, b"payload-and-a-tag-of-no-meaning");
            assert_eq!(opener.open_rtp(&mut forged), Err(OpenError::NotAuthentic));
        }
        for ssrc in 0..MAX_SOURCES as u32 {
            // Descending, so that each is put before the others.
            let stream = sealer.add_stream(u32::MAX - ssrc).unwrap();
            assert!(opener.open_rtp(&mut seal(&mut sealer, stream, 1, b"x").unwrap()).is_ok());
        }
        let one_more = sealer.add_stream(1).unwrap();
        let mut bytes = seal(&mut sealer, one_more, 1, b"x").unwrap();
        assert_eq!(opener.open_rtp(&mut bytes), Err(OpenError::TooManySources));
        let known = sealer.add_stream(u32::MAX).unwrap();
        assert!(opener.open_rtp(&mut seal(&mut sealer, known, 2, b"x").unwrap()).is_ok());
    }
}

#[test]
fn an_index_is_sealed_once() {
    for profile in PROFILES {
        let mut sealer = Sealer::new(profile, &master(1));
        let stream = sealer.add_stream(7).unwrap();
        for index in [1000, 999, 1001, 1000 - 128] {
            assert!(seal(&mut sealer, stream, index, b"first").is_ok(), "{index}");
            assert_eq!(seal(&mut sealer, stream, index, b"other"), Err(SealError::IndexUsed), "{index}");
        }
        assert_eq!(seal(&mut sealer, stream, 1001 - 256, b"first"), Err(SealError::IndexUsed), "too old to know");
        assert_eq!(sealer.highest(stream), Some(1001));
    }
}

#[test]
fn a_refused_packet_is_left_as_it_was() {
    for profile in PROFILES {
        let mut sealer = Sealer::new(profile, &master(1));
        let stream = sealer.add_stream(7).unwrap();
        seal(&mut sealer, stream, 5, b"payload").unwrap();
        let (clear, header_len) = packet(7, 5, b"payload");
        let len = clear.len();
        let mut roomy = clear.clone();
        roomy.resize(len + ROOM, 0);
        let before = roomy.clone();
        let mut refused = |index, header_len, len, expected| {
            assert_eq!(sealer.seal_rtp(stream, index, &mut roomy, header_len, len), Err(expected));
            assert_eq!(roomy, before);
        };
        refused(5, header_len, len, SealError::IndexUsed);
        refused(6, header_len, len, SealError::Header);
        refused(MAX_RTP_INDEX + 1, header_len, len, SealError::Exhausted);
        refused(0x1_0005, 11, len, SealError::NoSpace);
        refused(0x1_0005, len + 1, len, SealError::NoSpace);
        refused(0x1_0005, header_len, len + ROOM - profile.overhead() + 1, SealError::NoSpace);
        refused(0x1_0005, header_len, usize::MAX, SealError::NoSpace);
        let (mut other, header_len) = packet(8, 6, b"payload");
        other.resize(len + ROOM, 0);
        assert_eq!(sealer.seal_rtp(stream, 6, &mut other, header_len, len), Err(SealError::Header));
        assert_eq!(sealer.highest(stream), Some(5), "a refusal uses no index");
    }
}

#[test]
fn the_last_index_is_sealed_and_none_after_it() {
    for profile in PROFILES {
        let mut sealer = Sealer::new(profile, &master(1));
        let stream = sealer.add_stream(7).unwrap();
        assert!(seal(&mut sealer, stream, MAX_RTP_INDEX, b"x").is_ok());
        assert_eq!(seal(&mut sealer, stream, MAX_RTP_INDEX + 1, b"x"), Err(SealError::Exhausted));
        sealer.set_next_rtcp(MAX_RTCP_INDEX);
        let mut report = vec![0x80, 201, 0, 1, 0, 0, 0, 7];
        report.resize(40, 0);
        assert!(sealer.seal_rtcp(&mut report.clone(), 8).is_ok());
        assert_eq!(sealer.seal_rtcp(&mut report, 8), Err(SealError::Exhausted));
    }
}

#[test]
fn a_stream_added_again_remembers_and_their_number_is_bounded() {
    let mut sealer = Sealer::new(Profile::AeadAes128Gcm, &master(1));
    let stream = sealer.add_stream(0).unwrap();
    seal(&mut sealer, stream, 77, b"x").unwrap();
    for ssrc in 1..MAX_STREAMS as u32 {
        sealer.add_stream(ssrc).unwrap();
    }
    assert_eq!(sealer.add_stream(u32::MAX), Err(TooManyStreams));
    assert_eq!(sealer.add_stream(0), Ok(stream));
    assert_eq!(seal(&mut sealer, stream, 77, b"y"), Err(SealError::IndexUsed));
}

#[test]
fn rtcp_opens_once_and_only_unchanged() {
    for profile in PROFILES {
        let (mut sealer, mut opener) = pair(profile);
        let clear: Vec<u8> = [0x80, 201, 0, 1, 0, 0, 0, 7].into_iter().chain([0x81, 206, 0, 2, 0, 0, 0, 7, 0, 0, 0, 9]).collect();
        let mut sealed = Vec::new();
        for _ in 0..3 {
            let mut bytes = clear.clone();
            bytes.resize(clear.len() + ROOM, 0xee);
            let len = sealer.seal_rtcp(&mut bytes, clear.len()).unwrap();
            assert_eq!(len, clear.len() + profile.rtcp_overhead());
            assert!(bytes[len..].iter().all(|&byte| byte == 0xee), "sealing wrote beyond its end");
            bytes.truncate(len);
            sealed.push(bytes);
        }
        for bit in 0..sealed[1].len() * 8 {
            let mut forged = sealed[1].clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(opener.open_rtcp(&mut forged).is_err(), "bit {bit}");
        }
        for place in [0, 2, 1] {
            let mut bytes = sealed[place].clone();
            assert_eq!(opener.open_rtcp(&mut bytes), Ok(clear.len()));
            assert_eq!(bytes[..clear.len()], clear);
            let mut replayed = sealed[place].clone();
            assert_eq!(opener.open_rtcp(&mut replayed), Err(OpenError::Replayed));
            assert_eq!(replayed, sealed[place], "a replay is refused before it costs a decryption");
        }
        assert_eq!(sealer.seal_rtcp(&mut clear.clone(), clear.len()), Err(SealError::NoSpace));
        assert_eq!(sealer.seal_rtcp(&mut [0; 60], 7), Err(SealError::NoSpace));
    }
}

#[test]
fn keys_never_show_in_debug_output() {
    let keys = SrtpKeys { profile: Profile::AeadAes128Gcm, local: master(1), remote: master(2) };
    assert!(!format!("{keys:?}").contains('['));
    let (sealer, opener) = pair(Profile::AeadAes128Gcm);
    assert!(!format!("{sealer:?}{opener:?}").contains('['));
}

/// What may happen to a sealer.
#[derive(Clone, Debug)]
enum Act {
    AddStream(u32),
    Seal { stream: usize, index: u64, payload: u8 },
    Rtcp { ssrc: u32 },
}

fn act() -> impl Strategy<Value = Act> {
    // Few SSRCs and indices, so that they meet; a wrap among them.
    let index = prop_oneof![0xffc0u64..0x1_0040, 0u64..400, Just(MAX_RTP_INDEX)];
    prop_oneof![
        1 => (0u32..4).prop_map(Act::AddStream),
        12 => (0usize..6, index, any::<u8>()).prop_map(|(stream, index, payload)| Act::Seal { stream, index, payload }),
        2 => (0u32..3).prop_map(|ssrc| Act::Rtcp { ssrc }),
    ]
}

proptest! {
    #[test]
    fn no_key_ssrc_and_index_is_ever_sealed_twice(acts in prop::collection::vec(act(), 1..400), cm: bool) {
        let profile = PROFILES[usize::from(cm)];
        let mut sealer = Sealer::new(profile, &master(3));
        let mut streams: Vec<StreamIndex> = Vec::new();
        let mut sealed: BTreeMap<(u32, u64), Vec<u8>> = BTreeMap::new();
        let mut reports: BTreeSet<(u32, u32)> = BTreeSet::new();
        for act in acts {
            match act {
                Act::AddStream(ssrc) => streams.push(sealer.add_stream(ssrc).unwrap()),
                Act::Seal { stream, index, payload } => {
                    let Some(&stream) = streams.get(stream) else { continue };
                    let ssrc = sealer.ssrc(stream).unwrap();
                    let before = sealer.highest(stream);
                    match seal(&mut sealer, stream, index, &[payload; 3]) {
                        Ok(bytes) => prop_assert!(sealed.insert((ssrc, index), bytes).is_none(), "({ssrc}, {index}) twice"),
                        Err(error) => {
                            prop_assert_eq!(error, SealError::IndexUsed);
                            let used = sealed.contains_key(&(ssrc, index));
                            prop_assert!(used || before.is_some_and(|highest| highest - index >= 128), "refused for no reason");
                        }
                    }
                    prop_assert!(sealer.highest(stream) >= before, "the index went back");
                }
                Act::Rtcp { ssrc } => {
                    let mut bytes = vec![0x80, 201, 0, 1];
                    bytes.extend_from_slice(&ssrc.to_be_bytes());
                    bytes.resize(40, 0);
                    let len = sealer.seal_rtcp(&mut bytes, 8).unwrap();
                    let word = sealer.rtcp_index_word(&bytes[..len]);
                    prop_assert!(reports.insert((ssrc, word)), "SRTCP index {word:#x} twice");
                }
            }
        }
    }

    #[test]
    fn any_packet_survives_the_round_trip(
        ssrc: u32,
        indices in prop::collection::btree_set(0u64..0x8000, 1..20),
        payload in prop::collection::vec(any::<u8>(), 0..1300),
        cm: bool,
    ) {
        let (mut sealer, mut opener) = pair(PROFILES[usize::from(cm)]);
        let stream = sealer.add_stream(ssrc).unwrap();
        for index in indices {
            let mut bytes = seal(&mut sealer, stream, index, &payload).unwrap();
            let opened = opener.open_rtp(&mut bytes);
            prop_assert_eq!(opened.map(|opened| opened.index), Ok(index));
            prop_assert_eq!(&bytes[..opened.unwrap().len], &packet(ssrc, index as u16, &payload).0);
        }
    }

    #[test]
    fn random_bytes_never_panic_and_never_open(mut bytes in prop::collection::vec(any::<u8>(), 0..200), cm: bool) {
        let mut opener = Opener::new(PROFILES[usize::from(cm)], &master(1));
        if let Some(first) = bytes.first_mut() {
            *first = *first & 0x3f | 0x80;
        }
        prop_assert!(opener.open_rtp(&mut bytes.clone()).is_err());
        prop_assert!(opener.open_rtcp(&mut bytes).is_err());
    }
}
