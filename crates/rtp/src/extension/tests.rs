use proptest::prelude::*;

use super::*;
use crate::rtp::{Header, HeaderFields, write_header};

fn map() -> ExtensionMap {
    let mut map = ExtensionMap::default();
    for (at, extension) in Extension::ALL.into_iter().enumerate() {
        map.set(extension, at as u8 + 1);
    }
    map
}

fn packet(extensions: &[(u8, &[u8])]) -> Vec<u8> {
    let fields = HeaderFields { marker: false, payload_type: 96, sequence: 1, timestamp: 1, ssrc: 1 };
    let mut packet = vec![0; 1024];
    let len = write_header(&mut packet, &fields, extensions.iter().copied()).unwrap();
    packet.truncate(len);
    packet.extend(b"payload");
    packet
}

fn parse(map: &ExtensionMap, packet: &[u8]) -> ParsedExtensions {
    map.parse(&Header::parse(packet).unwrap(), packet)
}

#[test]
fn every_known_extension_is_read() {
    let capture = [9; 16];
    // The descriptor is longer than the one-byte form carries in the second round.
    for descriptor in [&[0x80, 0, 1][..], &[0x80; 40]] {
        let packet = packet(&[
            (1, b"0"),
            (2, b"hi"),
            (3, b"hi-rtx"),
            (4, &[0x80 | 30]),
            (5, &[0x12, 0x34]),
            (6, &[1, 2, 3]),
            (7, &capture),
            (8, descriptor),
            (9, b"unknown"),
        ]);
        let parsed = parse(&map(), &packet);
        assert_eq!(parsed.mid.unwrap().as_str(), "0");
        assert_eq!(parsed.rid.unwrap().as_str(), "hi");
        assert_eq!(parsed.repaired_rid.unwrap().as_bytes(), b"hi-rtx");
        assert_eq!(parsed.audio_level, Some(0x80 | 30));
        assert_eq!(parsed.transport_sequence, Some(0x1234));
        assert_eq!(parsed.abs_send_time, Some(0x01_0203));
        assert_eq!(parsed.abs_capture_time.unwrap().as_bytes(), capture);
        assert_eq!(parsed.dependency_descriptor.unwrap().of(&packet), Some(descriptor));
    }
}

#[test]
fn values_of_the_wrong_size_are_absent() {
    let packet = packet(&[(1, b""), (2, b"seventeen-bytes-!"), (3, b"sp ace"), (4, b""), (5, &[1]), (6, &[1, 2]), (7, &[1; 9]), (8, b"")]);
    assert_eq!(parse(&map(), &packet), ParsedExtensions::default());
}

#[test]
fn nothing_is_read_under_ids_that_were_not_negotiated() {
    let packet = packet(&[(1, b"0"), (5, &[1, 2])]);
    assert_eq!(parse(&ExtensionMap::default(), &packet), ParsedExtensions::default());
}

#[test]
fn ids_are_short_printable_and_may_be_filled_with_zeros() {
    for (value, id) in [
        (&b"a"[..], Some("a")),
        (b"sixteen-bytes-!!", Some("sixteen-bytes-!!")),
        (b"hi\0\0", Some("hi")),
        (b"h\0i", None),
        (b"\0\0", None),
        (b"", None),
        (b"\xc3\xa4", None),
    ] {
        assert_eq!(ShortId::new(value).as_ref().map(ShortId::as_str), id);
    }
    assert_eq!("seventeen-bytes-!".parse::<ShortId>(), Err(InvalidId));
    assert_eq!("mid".parse::<ShortId>().unwrap().to_string(), "mid");
}

proptest! {
    #[test]
    fn random_blocks_never_panic_and_positions_lie_in_the_packet(
        content in prop::collection::vec(any::<u8>(), 0..120), two_byte: bool,
    ) {
        let words = content.len() / 4;
        let profile: [u8; 2] = if two_byte { [0x10, 0x00] } else { [0xbe, 0xde] };
        let packet = [&[0x90, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1][..], &profile, &[0, words as u8], &content].concat();
        let parsed = parse(&map(), &packet);
        if let Some(position) = parsed.dependency_descriptor {
            prop_assert!(position.of(&packet).is_some_and(|value| !value.is_empty()));
        }
    }
}
