use proptest::prelude::*;

use super::*;

#[test]
fn newer_goes_round_the_circle() {
    for (a, b, newer) in [(1, 0, true), (0, 1, false), (0, 0xffff, true), (0xffff, 0, false), (5, 5, false), (0x8000, 0, false)] {
        assert_eq!(is_newer(a, b), newer, "{a} after {b}");
    }
    assert!(is_later(0, u32::MAX));
    assert!(!is_later(u32::MAX, 0));
    assert!(!is_later(9, 9));
}

#[test]
fn indices_count_on_through_wraps_and_back_for_late_packets() {
    let mut extender = SequenceExtender::default();
    let first = extender.extend(0xfffe);
    assert_eq!(extender.extend(0xffff), first + 1);
    assert_eq!(extender.extend(1), first + 3);
    assert_eq!(extender.extend(0xfffd), first - 1);
    assert_eq!(extender.extend(0), first + 2);
    assert_eq!(extender.highest(), Some(first + 3));
}

#[test]
fn a_packet_from_before_the_first_has_an_index_below_it() {
    let mut extender = SequenceExtender::default();
    let first = extender.extend(2);
    assert_eq!(extender.extend(0xffff), first - 3);
}

#[test]
fn the_nearest_index_below_zero_or_beyond_the_last_does_not_exist() {
    assert_eq!(nearest(5, 0xffff), None);
    assert_eq!(nearest(u64::MAX, 5), None);
    assert_eq!(nearest(5, 6), Some(6));
    assert_eq!(SequenceExtender::starting_at(5).index(0xffff), 0xffff);
}

proptest! {
    #[test]
    fn the_nearest_index_has_the_sequence_and_lies_within_half_a_cycle(reference in 0x1_0000u64..1 << 48, sequence: u16) {
        let index = nearest(reference, sequence).unwrap();
        prop_assert_eq!(index as u16, sequence);
        prop_assert!(index.abs_diff(reference) <= 0x8000);
    }
}
