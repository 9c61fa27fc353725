use proptest::prelude::*;

use super::*;

/// Two redundant blocks of 3 and 2 bytes, 960 and 480 samples old, before a primary of 4.
const PAYLOAD: [u8; 18] = [0x80 | 111, 0x0f, 0x00, 3, 0x80 | 112, 0x07, 0x80, 2, 111, 1, 1, 1, 2, 2, 3, 3, 3, 3];

#[test]
fn blocks_lie_where_their_headers_say() {
    let blocks: Vec<_> = Blocks::parse(&PAYLOAD).unwrap().collect();
    let expected = [
        Block { payload_type: 111, payload_type_at: 0, timestamp_offset: 960, data: 9..12, primary: false },
        Block { payload_type: 112, payload_type_at: 4, timestamp_offset: 480, data: 12..14, primary: false },
        Block { payload_type: 111, payload_type_at: 8, timestamp_offset: 0, data: 14..18, primary: true },
    ];
    assert_eq!(blocks, expected);
    assert_eq!(primary(&PAYLOAD), Some(14..18));
}

#[test]
fn a_payload_without_redundancy_is_its_primary() {
    assert_eq!(primary(&[111, 9, 9]), Some(1..3));
    assert_eq!(primary(&[111]), Some(1..1));
}

#[test]
fn malformed_payloads_have_no_blocks() {
    let endless = [0x80 | 111, 0, 0, 0].repeat(MAX_BLOCKS + 1);
    let mut longest = [0x80 | 111, 0, 0, 0].repeat(MAX_BLOCKS - 1);
    longest.push(111);
    assert_eq!(Blocks::parse(&longest).unwrap().count(), MAX_BLOCKS);
    let table: [(&str, &[u8]); 6] = [
        ("nothing", &[]),
        ("half a block header", &[0x80 | 111, 0]),
        ("no last block", &[0x80 | 111, 0, 0, 0]),
        ("data longer than the payload", &[0x80 | 111, 0, 0, 3, 111, 1, 1]),
        ("the longest data", &[0x80 | 111, 0xff, 0xff, 0xff, 111, 1, 1]),
        ("too many blocks", &endless),
    ];
    for (what, payload) in table {
        assert!(Blocks::parse(payload).is_none(), "{what}");
        assert_eq!(primary(payload), None, "{what}");
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic_and_blocks_tile_the_payload(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let Some(blocks) = Blocks::parse(&payload) else { return Ok(()) };
        let blocks: Vec<_> = blocks.collect();
        let last = blocks.last().unwrap();
        prop_assert!(last.primary && last.data.end == payload.len());
        let mut at = last.payload_type_at + 1;
        for block in &blocks {
            prop_assert_eq!(block.data.start, at);
            prop_assert_eq!(block.payload_type, payload[block.payload_type_at] & 0x7f);
            at = block.data.end;
        }
    }
}
