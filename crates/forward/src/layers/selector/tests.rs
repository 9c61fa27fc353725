use proptest::prelude::*;

use super::*;

/// One frame of a publisher's: what it is, and which frames of the same encoding it needs.
#[derive(Clone, Debug)]
struct Frame {
    encoding: u8,
    number: usize,
    info: FrameInfo,
    needs: Vec<usize>,
}

/// Two encodings with three temporal layers each, as libwebrtc makes them: 0 2 1 2, each layer's first frame after a keyframe a switching point, later ones
/// where `sync` says.
fn publish(keyframes: &[(usize, u8)], syncs: &[bool], count: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    for encoding in 0..2u8 {
        // The last frame of each temporal layer.
        let mut last = [None; 3];
        let mut phase = 0;
        for number in 0..count {
            let keyframe = number == 0 || keyframes.contains(&(number, encoding));
            if keyframe {
                (last, phase) = ([None; 3], 0);
            }
            let temporal = [0, 2, 1, 2][phase % 4];
            phase += 1;
            let layer = usize::from(temporal);
            // A switching point needs the lowest layer only; else the newest of every layer up to its own.
            let sync = !keyframe && temporal > 0 && (last[layer].is_none() || syncs[number % syncs.len()]);
            let needs: Vec<usize> =
                if keyframe { Vec::new() } else { last[..=if sync { 0 } else { layer }].iter().flatten().copied().collect() };
            if sync {
                // What comes after may need it, and nothing above or beside it from before.
                last[layer..].fill(None);
            }
            last[layer] = Some(number);
            let info = FrameInfo { starts: true, keyframe, temporal, sync, ..FrameInfo::default() };
            frames.push(Frame { encoding, number, info, needs });
        }
    }
    frames.sort_by_key(|frame| (frame.number, frame.encoding));
    frames
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_frame_that_is_forwarded_can_be_decoded(
        keyframes in prop::collection::vec((1usize..120, 0u8..2), 0..12),
        syncs in prop::collection::vec(any::<bool>(), 1..9),
        targets in prop::collection::vec((0usize..120, 0u8..3, 0u8..3), 0..20),
    ) {
        let mut selector = Selector::default();
        selector.set_target(Some((Layer::all_of(1), 0b11)));
        let mut decoded: Vec<(u8, usize)> = Vec::new();
        let mut now = 0;
        for frame in publish(&keyframes, &syncs, 120) {
            if frame.number != now {
                now = frame.number;
                for &(_, encoding, temporal) in targets.iter().filter(|(at, ..)| *at == now) {
                    let layer = Layer { encoding, spatial: 0, temporal };
                    selector.set_target((encoding < 2).then_some((layer, 1 << encoding)));
                }
            }
            let before = selector.current();
            match selector.choose(frame.encoding, &frame.info) {
                Choice::Begin => {
                    prop_assert!(frame.info.keyframe);
                    decoded.clear();
                }
                Choice::Forward => {}
                Choice::Skip => {
                    prop_assert!(before.is_some_and(|before| before.encoding == frame.encoding));
                    continue;
                }
                Choice::Other | Choice::Awaits => continue,
            }
            for needed in &frame.needs {
                prop_assert!(decoded.contains(&(frame.encoding, *needed)), "frame {frame:?} without {needed}");
            }
            decoded.push((frame.encoding, frame.number));
            // Down at once.
            if let (Some(target), Some(current)) = (selector.target(), selector.current())
                && target.encoding == current.encoding
            {
                prop_assert!(frame.info.temporal <= target.temporal);
            }
        }
    }
}

#[test]
fn the_highest_temporal_layer_is_reached_within_a_round_of_switching_points() {
    let mut selector = Selector::default();
    selector.set_target(Some((Layer { temporal: 0, ..Layer::all_of(0) }, 1)));
    let frames: Vec<_> = publish(&[], &[true], 24).into_iter().filter(|frame| frame.encoding == 0).collect();
    let sent = |selector: &mut Selector, frames: &[Frame]| {
        let chosen = |frame: &&Frame| matches!(selector.choose(0, &frame.info), Choice::Forward | Choice::Begin);
        frames.iter().filter(chosen).map(|frame| frame.info.temporal).collect::<Vec<_>>()
    };
    assert_eq!(sent(&mut selector, &frames[..8]), [0, 0]);
    selector.set_target(Some((Layer::all_of(0), 1)));
    assert_eq!(sent(&mut selector, &frames[8..16]), [0, 1, 2, 0, 2, 1, 2]);
    selector.set_target(Some((Layer { temporal: 1, ..Layer::all_of(0) }, 1)));
    assert_eq!(sent(&mut selector, &frames[16..]), [0, 1, 0, 1]);
}

#[test]
fn another_encoding_is_awaited_while_the_present_one_goes_on() {
    let frame = |keyframe| FrameInfo { starts: true, keyframe, ..FrameInfo::default() };
    let mut selector = Selector::default();
    assert_eq!((selector.awaits(), selector.choose(0, &frame(true))), (None, Choice::Other), "nothing is wanted");
    selector.set_target(Some((Layer::all_of(1), 0b011)));
    assert_eq!(selector.awaits(), Some(1));
    assert_eq!(selector.choose(0, &frame(false)), Choice::Awaits);
    assert_eq!(selector.choose(2, &frame(true)), Choice::Other, "larger than what is wanted");
    assert_eq!(selector.choose(0, &frame(true)), Choice::Begin, "smaller, until it comes");
    assert_eq!(selector.wants().collect::<Vec<_>>(), [0, 1]);
    assert_eq!(selector.choose(1, &frame(false)), Choice::Other);
    assert_eq!(selector.choose(0, &frame(false)), Choice::Forward);
    assert_eq!(selector.choose(1, &frame(true)), Choice::Begin);
    assert_eq!((selector.awaits(), selector.choose(0, &frame(true))), (None, Choice::Other));
    selector.set_target(None);
    assert_eq!((selector.choose(1, &frame(false)), selector.current()), (Choice::Other, None));
    selector.set_target(Some((Layer::all_of(1), 0b010)));
    assert_eq!(selector.choose(1, &frame(false)), Choice::Awaits, "what was missed meanwhile is missing");
}
