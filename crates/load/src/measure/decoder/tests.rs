use super::*;

/// Between two frames, in microseconds.
const FRAME: u64 = 33_333;

fn packet(frame: u32, index: u16, keyframe: bool) -> FramePacket {
    FramePacket { frame, packets: 3, index, keyframe }
}

/// Hands a decoder a whole frame at its time.
fn whole(decoder: &mut Decoder, frame: u32, keyframe: bool) -> bool {
    (0..3).fold(false, |_, index| decoder.handle_packet(packet(frame, index, keyframe), u64::from(frame) * FRAME))
}

#[test]
fn a_stream_without_faults_is_shown_without_a_freeze() {
    let mut decoder = Decoder::default();
    for frame in 1..=300 {
        assert!(!whole(&mut decoder, frame, frame == 1));
    }
    let seen = decoder.take(300 * FRAME);
    assert_eq!((seen.shown, seen.dropped, seen.freezes, seen.frozen), (300, 0, 0, 0));
    assert_eq!(seen.watched, 299 * FRAME);
}

#[test]
fn a_packet_that_comes_late_delays_the_frames_behind_it_and_none_is_lost() {
    let mut decoder = Decoder::default();
    for frame in 1..=60 {
        whole(&mut decoder, frame, frame == 1);
    }
    for index in [0, 2] {
        decoder.handle_packet(packet(61, index, false), 61 * FRAME);
    }
    whole(&mut decoder, 62, false);
    whole(&mut decoder, 63, false);
    assert!(!decoder.handle_packet(packet(61, 1, false), 63 * FRAME + 1));
    let seen = decoder.take(63 * FRAME + 2);
    assert_eq!((seen.shown, seen.dropped, seen.freezes), (63, 0, 0));
}

#[test]
fn what_never_comes_stops_the_picture_until_a_keyframe() {
    let mut decoder = Decoder::default();
    for frame in 1..=60 {
        whole(&mut decoder, frame, frame == 1);
    }
    let mut asked = false;
    for frame in 62..=90 {
        asked |= whole(&mut decoder, frame, false);
    }
    assert!(asked, "a keyframe is asked for");
    assert!(!whole(&mut decoder, 91, true));
    let seen = decoder.take(91 * FRAME);
    assert_eq!((seen.shown, seen.dropped), (61, 30));
    assert_eq!((seen.freezes, seen.frozen), (1, 31 * FRAME));
}

#[test]
fn a_picture_that_stands_still_freezes_while_it_does() {
    let mut decoder = Decoder::default();
    for frame in 1..=60 {
        whole(&mut decoder, frame, frame == 1);
    }
    decoder.take(60 * FRAME);
    let first = decoder.take(60 * FRAME + 1_000_000);
    let second = decoder.take(60 * FRAME + 3_000_000);
    assert_eq!((first.freezes, first.frozen, first.watched), (1, 1_000_000, 1_000_000));
    assert_eq!((second.freezes, second.frozen, second.watched), (0, 2_000_000, 2_000_000), "the same freeze goes on");
}

#[test]
fn who_enters_in_the_middle_asks_for_a_keyframe() {
    let mut decoder = Decoder::default();
    assert!(whole(&mut decoder, 500, false));
    assert_eq!(decoder.first_shown_at(), None);
    assert!(!whole(&mut decoder, 501, true));
    assert_eq!(decoder.first_shown_at(), Some(501 * FRAME));
    assert_eq!(decoder.take(501 * FRAME).dropped, 0, "what came before is not missed");
}

#[test]
fn duplicates_and_old_packets_change_nothing() {
    let mut decoder = Decoder::default();
    for frame in 1..=30 {
        whole(&mut decoder, frame, frame == 1);
        whole(&mut decoder, frame, frame == 1);
    }
    assert_eq!(decoder.take(30 * FRAME).shown, 30);
}

#[test]
fn a_copy_does_not_stand_for_a_packet_that_is_missing() {
    let mut decoder = Decoder::default();
    for index in [0, 1, 1] {
        decoder.handle_packet(packet(1, index, true), FRAME);
    }
    assert_eq!(decoder.first_shown_at(), None);
    decoder.handle_packet(packet(1, 2, true), 2 * FRAME);
    assert_eq!(decoder.first_shown_at(), Some(2 * FRAME));
}
