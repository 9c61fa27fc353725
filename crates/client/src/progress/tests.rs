use super::*;

fn progress(numbers: impl IntoIterator<Item = u64>) -> Progress {
    let mut progress = Progress::default();
    numbers.into_iter().for_each(|number| progress.record(number));
    progress
}

#[test]
fn packets_in_order_are_clean_wherever_they_start() {
    for start in [0, 1, 5_000_000_000] {
        let progress = progress(start..start + 5_000);
        assert_eq!((progress.received, progress.lost()), (5_000, 0));
        assert!(progress.is_clean());
    }
}

#[test]
fn a_gap_is_loss() {
    let progress = progress((0..10).chain(13..20));
    assert_eq!((progress.lost(), progress.reordered, progress.duplicated), (3, 0, 0));
    assert!(!progress.is_clean());
}

#[test]
fn a_gap_larger_than_the_window_is_loss_and_forgets_what_was_seen() {
    let mut progress = progress([5, 5 + 3 * WINDOW]);
    assert_eq!(progress.lost(), 3 * WINDOW - 1);
    progress.record(4 + 3 * WINDOW);
    assert_eq!((progress.reordered, progress.duplicated), (1, 0), "its bit belonged to a number a whole window earlier");
}

#[test]
fn a_late_packet_is_reordered_and_no_longer_lost() {
    let progress = progress([0, 1, 3, 2, 4]);
    assert_eq!((progress.lost(), progress.reordered, progress.duplicated), (0, 1, 0));
}

#[test]
fn a_packet_from_before_the_first_is_reordered() {
    let progress = progress([5, 4, 6]);
    assert_eq!((progress.first, progress.received, progress.lost(), progress.reordered), (4, 3, 0, 1));
}

#[test]
fn a_second_copy_is_a_duplicate_whether_at_once_or_later() {
    let progress = progress([0, 1, 1, 2, 3, 0]);
    assert_eq!((progress.received, progress.duplicated, progress.reordered), (4, 2, 0));
}

#[test]
fn what_is_too_old_to_judge_is_neither() {
    let progress = progress((0..2 * WINDOW).chain([3]));
    assert_eq!((progress.stale, progress.duplicated, progress.reordered), (1, 0, 0));
    assert!(!progress.is_clean());
}

#[test]
fn sequence_numbers_count_on_through_the_wrap_in_any_order() {
    let mut unwrapper = Unwrapper::default();
    let numbers: Vec<u64> = [65_534, 65_535, 1, 0, 2].into_iter().map(|sequence| unwrapper.unwrap(sequence)).collect();
    let start = 0x1_0000 + 65_534;
    assert_eq!(numbers, [start, start + 1, start + 3, start + 2, start + 4]);
}

#[test]
fn a_packet_overtaken_by_the_very_first_has_the_number_before_it() {
    let mut unwrapper = Unwrapper::default();
    assert_eq!(unwrapper.unwrap(0) - unwrapper.unwrap(65_535), 1);
}

#[test]
fn percentiles_are_at_most_a_quarter_too_high() {
    let mut latency = Latency::default();
    (1..=1000).for_each(|micros| latency.record(micros));
    for (share, exact) in [(0.5, 500), (0.95, 950), (1.0, 1000)] {
        let bound = latency.percentile_micros(share);
        assert!((exact..=exact * 5 / 4).contains(&bound), "{share}: {bound}");
    }
    assert_eq!((latency.count, latency.max_micros), (1000, 1000));
}

#[test]
fn any_duration_has_a_bucket() {
    let mut latency = Latency::default();
    for micros in [0, 3, 4, 7, 8, u64::MAX / 4] {
        latency = Latency::default();
        latency.record(micros);
        assert_eq!(latency.percentile_micros(1.0), micros);
    }
    let mut both = Latency::default();
    both.merge(&latency);
    both.merge(&latency);
    assert_eq!(both.count, 2);
}
