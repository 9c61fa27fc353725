use super::*;

/// Between two frames, in microseconds.
const FRAME: u64 = 33_333;

fn packet(frame: u32, index: u16, keyframe: bool) -> FramePacket {
    FramePacket { frame, packets: 3, index, keyframe, encoding: 0, layer: None }
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

/// The frames of three temporal layers, by number from a keyframe on.
fn layered(frame: u32, encoding: u8) -> FramePacket {
    let (temporal, sync) = [(0, false), (2, true), (1, true), (2, false)][frame as usize % 4];
    let layer = Some(Layer { temporal, base: (frame / 4) as u8, sync });
    FramePacket { frame, packets: 1, index: 0, keyframe: frame == 0, encoding, layer }
}

#[test]
fn a_missing_frame_of_an_upper_layer_takes_only_its_like_with_it() {
    for (lost, shown) in [(1, 39), (2, 38), (3, 39)] {
        let mut decoder = Decoder::default();
        for frame in (0..40).filter(|frame| *frame != 20 + lost) {
            assert!(!decoder.handle_packet(layered(frame, 0), u64::from(frame) * FRAME), "no keyframe is needed");
        }
        let seen = decoder.take(40 * FRAME);
        assert_eq!((seen.shown, seen.dropped, seen.freezes), (shown, 40 - shown, 0), "the {lost}. after the lowest");
    }
}

#[test]
fn a_missing_frame_of_the_lowest_layer_stops_the_picture_until_a_keyframe() {
    let mut decoder = Decoder::default();
    let asked = (0..60)
        .filter(|frame| *frame != 20)
        .fold(false, |asked, frame| asked | decoder.handle_packet(layered(frame, 0), u64::from(frame) * FRAME));
    assert!(asked);
    decoder.handle_packet(FramePacket { keyframe: true, ..layered(60, 0) }, 60 * FRAME);
    let seen = decoder.take(60 * FRAME);
    assert_eq!((seen.shown, seen.dropped, seen.freezes), (21, 40, 1));
}

#[test]
fn time_is_counted_by_the_encoding_on_the_screen_and_a_switch_is_no_freeze() {
    let mut decoder = Decoder::default();
    decoder.want(Some(2), 0);
    for frame in 0..30 {
        decoder.handle_packet(layered(frame, 0), u64::from(frame + 1) * FRAME);
    }
    // Another encoding's keyframe goes on in the numbers.
    for frame in 30..90 {
        let keyframe = frame == 30;
        let packet = FramePacket { keyframe, layer: Some(Layer { temporal: 0, base: frame as u8, sync: false }), ..layered(frame, 2) };
        assert!(!decoder.handle_packet(packet, u64::from(frame + 1) * FRAME));
    }
    let seen = decoder.take(90 * FRAME);
    assert_eq!((seen.shown, seen.dropped, seen.freezes, seen.switches), (90, 0, 0, 1));
    assert_eq!(seen.by_encoding, [30 * FRAME, 0, 59 * FRAME]);
    assert_eq!((seen.as_wanted, seen.watched), (59 * FRAME, 89 * FRAME));
    assert_eq!(decoder.take_reached(90 * FRAME), (vec![31 * FRAME], false));
    decoder.want(Some(1), 90 * FRAME);
    assert_eq!(decoder.take_reached(90 * FRAME + 10_000_000), (vec![], true), "it never came");
}

#[test]
fn nobody_looks_at_a_picture_that_is_paused_or_hidden() {
    let mut decoder = Decoder::default();
    decoder.want(Some(0), 0);
    let take = |decoder: &mut Decoder, frames: std::ops::Range<u32>, later: u32| {
        frames.for_each(|frame| assert!(!decoder.handle_packet(layered(frame, 0), u64::from(frame + later) * FRAME)));
    };
    take(&mut decoder, 0..40, 0);
    decoder.pause(true, 40 * FRAME);
    // What was on its way.
    decoder.handle_packet(layered(40, 0), 41 * FRAME);
    let paused = decoder.take(90 * FRAME);
    assert_eq!((paused.pauses, paused.paused, paused.watched, paused.freezes), (1, 50 * FRAME, 40 * FRAME, 0));
    decoder.handle_packet(FramePacket { keyframe: true, ..layered(41, 0) }, 100 * FRAME);
    decoder.pause(false, 101 * FRAME);
    take(&mut decoder, 44..80, 58);
    let back = decoder.take(138 * FRAME);
    assert_eq!((back.paused, back.watched, back.freezes), (10 * FRAME, 38 * FRAME, 0), "the keyframe is the end of the pause");

    decoder.hide(138 * FRAME);
    let hidden = decoder.take(300 * FRAME);
    assert_eq!((hidden.watched, hidden.freezes), (0, 0));
    decoder.want(Some(0), 300 * FRAME);
    decoder.enter();
    decoder.handle_packet(FramePacket { keyframe: true, ..layered(5_000, 0) }, 310 * FRAME);
    let shown = decoder.take(311 * FRAME);
    assert_eq!((shown.shown, shown.dropped, shown.watched, shown.freezes), (1, 0, FRAME, 0));
    assert_eq!(decoder.take_reached(311 * FRAME).0, [0, 10 * FRAME], "at first, and again");
}
