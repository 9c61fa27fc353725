use proptest::prelude::*;

use super::*;

const FIELDS: HeaderFields = HeaderFields { marker: true, payload_type: 96, sequence: 0xfffe, timestamp: 0x0102_0304, ssrc: 0xa0b0_c0d0 };

fn write(extensions: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = vec![0xee; 2048];
    let len = write_header(&mut out, &FIELDS, extensions.iter().copied()).unwrap();
    assert!(out[len..].iter().all(|&byte| byte == 0xee), "wrote beyond the header");
    out.truncate(len);
    out
}

fn read(packet: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let header = Header::parse(packet).unwrap();
    header.extensions(packet).map(|(id, value)| (id, value.to_vec())).collect()
}

#[test]
fn a_header_has_its_fields() {
    let mut packet = vec![0x91, 0xe0, 0xff, 0xfe, 1, 2, 3, 4, 0xa0, 0xb0, 0xc0, 0xd0];
    packet.extend([0, 0, 0, 9]); // one contributing source
    packet.extend([0xbe, 0xde, 0, 1, 0x10, 0x7f, 0, 0]);
    packet.extend(b"payload");
    let header = Header::parse(&packet).unwrap();
    assert_eq!((header.marker, header.payload_type, header.sequence), (true, 96, 0xfffe));
    assert_eq!((header.timestamp, header.ssrc, header.padding), (0x0102_0304, 0xa0b0_c0d0, 0));
    assert_eq!(&packet[header.payload(packet.len())], b"payload");
    assert_eq!(read(&packet), [(1, vec![0x7f])]);
}

#[test]
fn malformed_headers_are_named() {
    let fixed = |first: u8| [first, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1].to_vec();
    let with = |first: u8, rest: &[u8]| [&fixed(first), rest].concat();
    let table = [
        ("nothing", vec![], HeaderError::Truncated),
        ("eleven bytes", fixed(0x80)[..11].to_vec(), HeaderError::Truncated),
        ("version 0", fixed(0x00), HeaderError::Version),
        ("version 1", fixed(0x40), HeaderError::Version),
        ("version 3", fixed(0xc0), HeaderError::Version),
        ("fifteen sources, none there", fixed(0x8f), HeaderError::Truncated),
        ("one source, half there", with(0x81, &[0, 0]), HeaderError::Truncated),
        ("no extension block", fixed(0x90), HeaderError::Truncated),
        ("half an extension header", with(0x90, &[0xbe, 0xde, 0]), HeaderError::Truncated),
        ("an extension block that is too long", with(0x90, &[0xbe, 0xde, 0, 1, 0, 0, 0]), HeaderError::Truncated),
        ("the longest extension block", with(0x9f, &[0xff; 64]), HeaderError::Truncated),
        ("padding of zero", with(0xa0, &[1, 0]), HeaderError::Padding),
        ("padding longer than the payload", with(0xa0, &[1, 3]), HeaderError::Padding),
        ("padding without a payload", fixed(0xa0), HeaderError::Padding),
    ];
    for (what, packet, error) in table {
        assert_eq!(Header::parse(&packet), Err(error), "{what}");
    }
}

#[test]
fn padding_is_read_only_when_asked_for() {
    let packet = [0xa0, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 7, 7, 0, 2];
    let mut header = Header::parse_encrypted(&packet).unwrap();
    assert_eq!((header.padding, header.payload(packet.len())), (0, 12..16));
    header.read_padding(&packet).unwrap();
    assert_eq!((header.padding, header.payload(packet.len())), (2, 12..14));
    assert_eq!(header.payload(3), 1..1, "a length that can't be is harmless");
}

#[test]
fn padding_added_is_padding_read() {
    let mut packet = [0; 40];
    packet[0] = 0x80;
    assert_eq!(pad(&mut packet, 20, 8), Ok(28));
    assert_eq!(Header::parse(&packet[..28]).unwrap().payload(28), 12..20);
    assert_eq!(pad(&mut packet, 28, 1), Err(WriteError::Padding), "padded already");
    packet[0] = 0x80;
    assert_eq!(pad(&mut packet, 20, 0), Err(WriteError::Padding));
    assert_eq!(pad(&mut packet, 20, 21), Err(WriteError::NoSpace));
    assert_eq!(pad(&mut packet, usize::MAX, 1), Err(WriteError::NoSpace));
    assert_eq!(pad(&mut packet, 11, 1), Err(WriteError::Padding));
}

#[test]
fn the_one_byte_form_is_taken_when_it_can_carry_everything() {
    for (extensions, profile) in [
        (&[(1u8, &[7u8][..]), (14, &[8; 16])][..], ONE_BYTE_PROFILE),
        (&[(15, &[7])], TWO_BYTE_PROFILE),
        (&[(1, &[])], TWO_BYTE_PROFILE),
        (&[(1, &[7; 17])], TWO_BYTE_PROFILE),
        (&[(1, &[7; 255]), (255, &[1, 2])], TWO_BYTE_PROFILE),
    ] {
        let packet = write(extensions);
        let header = Header::parse(&packet).unwrap();
        assert_eq!(header.extensions.unwrap().profile, profile);
        assert_eq!(header.header_len, packet.len());
        let expected: Vec<_> = extensions.iter().map(|(id, value)| (*id, value.to_vec())).collect();
        assert_eq!(read(&packet), expected);
    }
    assert_eq!(write(&[]).len(), FIXED_HEADER_LEN, "no block without extensions");
}

#[test]
fn a_header_that_can_not_be_written_is_refused() {
    let refused = |extensions: &[(u8, &[u8])], room: usize| write_header(&mut vec![0; room], &FIELDS, extensions.iter().copied());
    assert_eq!(refused(&[(0, &[1])], 100), Err(WriteError::Extension));
    assert_eq!(refused(&[(1, &[1; 256])], 1000), Err(WriteError::Extension));
    assert_eq!(refused(&[], 11), Err(WriteError::NoSpace));
    assert_eq!(refused(&[(1, &[1])], 19), Err(WriteError::NoSpace));
    assert_eq!(refused(&[(1, &[1])], 20), Ok(20));
    let many = vec![(1u8, &[1u8; 255][..]); 2000];
    assert_eq!(refused(&many, 1 << 20), Err(WriteError::NoSpace), "the block's length has 16 bits");
}

#[test]
fn malformed_extension_blocks_end_early() {
    let with = |profile: [u8; 2], content: &[u8]| {
        assert_eq!(content.len() % 4, 0);
        [&[0x90, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1][..], &profile, &[0, (content.len() / 4) as u8], content, b"\x1a\x1b"].concat()
    };
    const ONE: [u8; 2] = [0xbe, 0xde];
    const TWO: [u8; 2] = [0x10, 0x05];
    type Values = Vec<(u8, Vec<u8>)>;
    let table: [(&str, Vec<u8>, Values); 10] = [
        ("only padding", with(ONE, &[0; 8]), vec![]),
        ("padding between", with(ONE, &[0, 0x10, 7, 0, 0, 0x20, 8, 0]), vec![(1, vec![7]), (2, vec![8])]),
        ("id 15 ends", with(ONE, &[0x10, 7, 0xf0, 1, 0x20, 8, 0, 0]), vec![(1, vec![7])]),
        ("id 0 with a length ends", with(ONE, &[0x10, 7, 0x01, 1, 1, 0x20, 8, 0]), vec![(1, vec![7])]),
        ("a value beyond the block", with(ONE, &[0x10, 7, 0x23, 1]), vec![(1, vec![7])]),
        ("a head at the end", with(ONE, &[0x10, 7, 0, 0x20]), vec![(1, vec![7])]),
        ("two-byte form, application bits set", with(TWO, &[1, 0, 200, 2, 5, 6, 0, 0]), vec![(1, vec![]), (200, vec![5, 6])]),
        ("two-byte form, a value beyond the block", with(TWO, &[1, 1, 9, 2, 4, 1, 1, 0]), vec![(1, vec![9])]),
        ("two-byte form, an id at the end", with(TWO, &[1, 1, 9, 2]), vec![(1, vec![9])]),
        ("an unknown profile", with([0x12, 0x34], &[0x10, 7, 0, 0]), vec![]),
    ];
    for (what, packet, expected) in table {
        assert_eq!(read(&packet), expected, "{what}");
    }
}

#[test]
fn an_rtx_payload_begins_with_the_original_sequence_number() {
    assert_eq!(original_sequence(&[0x12, 0x34, 9]), Some(0x1234));
    assert_eq!(original_sequence(&[0x12]), None);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(mut packet in prop::collection::vec(any::<u8>(), 0..200), likely: bool, two_byte: bool) {
        if likely && packet.len() > 16 {
            packet[0] = 0x90;
            let profile = if two_byte { TWO_BYTE_PROFILE } else { ONE_BYTE_PROFILE };
            packet[12..14].copy_from_slice(&profile.to_be_bytes());
            packet[14] = 0;
            packet[15] %= 48;
        }
        if let Ok(header) = Header::parse_encrypted(&packet) {
            prop_assert!(header.header_len <= packet.len());
            for (_, value) in header.extensions(&packet) {
                prop_assert!(value.len() <= 255);
            }
            // A shorter packet than the one that was parsed is a caller's mistake, and harmless.
            let _ = header.extensions(&packet[..packet.len() / 2]).count();
        }
        if let Ok(header) = Header::parse(&packet) {
            prop_assert!(header.payload(packet.len()).end <= packet.len());
        }
    }

    #[test]
    fn what_is_written_is_what_is_read(
        extensions in prop::collection::vec((1u8..=255, prop::collection::vec(any::<u8>(), 0..40)), 0..12),
        marker: bool, payload_type in 0u8..128, sequence: u16, timestamp: u32, ssrc: u32,
    ) {
        let fields = HeaderFields { marker, payload_type, sequence, timestamp, ssrc };
        let mut packet = [0; 1024];
        let len = write_header(&mut packet, &fields, extensions.iter().map(|(id, value)| (*id, &value[..]))).unwrap();
        let header = Header::parse(&packet[..len]).unwrap();
        let same = HeaderFields {
            marker: header.marker,
            payload_type: header.payload_type,
            sequence: header.sequence,
            timestamp: header.timestamp,
            ssrc: header.ssrc,
        };
        prop_assert_eq!(same, fields);
        prop_assert_eq!(header.header_len, len);
        prop_assert_eq!(read(&packet[..len]), extensions);
    }
}
