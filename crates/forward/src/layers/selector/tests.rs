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

/// One frame of a publisher of two spatial and three temporal layers.
#[derive(Clone, Debug)]
struct Layered {
    spatial: u8,
    temporal: u8,
    keyframe: bool,
    /// Refers to no picture before.
    intra: bool,
    /// Of all frames, by their place.
    needs: Vec<usize>,
}

/// `always`: the upper layer's pictures refer to the lower's, not only keyframes' do. `syncs` and `intras` say which frames of a temporal layer refer to
/// the lowest only, and which of the upper spatial layer to none before.
fn publish_layered(keyframes: &[usize], syncs: &[bool], intras: &[bool], always: bool, pictures: usize) -> Vec<Layered> {
    let mut frames: Vec<Layered> = Vec::new();
    let mut last = [[None; 3]; 2];
    let mut phase = 0;
    for picture in 0..pictures {
        let key = picture == 0 || keyframes.contains(&picture);
        if key {
            (last, phase) = ([[None; 3]; 2], 0);
        }
        let temporal = [0, 2, 1, 2][phase % 4];
        phase += 1;
        for spatial in 0..2usize {
            let place = frames.len();
            let layer = usize::from(temporal);
            let last = &mut last[spatial];
            let intra = key || spatial == 1 && temporal == 0 && intras[picture % intras.len()];
            let sync = temporal > 0 && (last[layer].is_none() || syncs[picture % syncs.len()]);
            let mut needs: Vec<usize> =
                if intra { Vec::new() } else { last[..=if sync { 0 } else { layer }].iter().flatten().copied().collect() };
            if spatial == 1 && (always || intra) {
                needs.push(place - 1);
            }
            if intra {
                *last = [None; 3];
            } else if sync {
                last[layer..].fill(None);
            }
            last[layer] = Some(place);
            frames.push(Layered { spatial: spatial as u8, temporal, keyframe: key && spatial == 0, intra, needs });
        }
    }
    frames
}

impl Layered {
    fn is_in(&self, spatial: u8, temporal: u8) -> bool {
        self.spatial <= spatial && self.temporal <= temporal
    }
}

/// The frames of the same coded sequence after `place`.
fn after(frames: &[Layered], place: usize) -> impl Iterator<Item = (usize, &Layered)> {
    frames.iter().enumerate().skip(place + 1).take_while(|(_, frame)| !frame.keyframe)
}

/// What a dependency descriptor says of the frame at `place`, found out from all that follow.
fn described(frames: &[Layered], place: usize) -> FrameInfo {
    let frame = &frames[place];
    let mut needed = vec![false; frames.len()];
    needed[place] = true;
    for at in (0..=place).rev().filter(|&at| at <= place) {
        if needed[at] {
            frames[at].needs.iter().for_each(|&needs| needed[needs] = true);
        }
    }
    let mut switches = 0;
    for (spatial, temporal) in (0..2).flat_map(|spatial| (0..3).map(move |temporal| (spatial, temporal))) {
        let mut known = needed.clone();
        let goes_on = |(at, later): (usize, &Layered)| {
            known[at] = true;
            later.needs.iter().all(|&needs| known[needs])
        };
        let part = after(frames, place).filter(|(_, later)| later.is_in(spatial, temporal)).collect::<Vec<_>>();
        if frame.is_in(spatial, temporal) && part.into_iter().all(goes_on) {
            switches |= 1 << (spatial * 8 + temporal);
        }
    }
    let needs = frame.needs.iter().try_fold(0u128, |mask, &needs| Some(mask | 1u128.checked_shl((place - needs - 1) as u32)?));
    let dependencies = Some(Dependencies { number: (place as u16).wrapping_add(65_500), switches, needs });
    FrameInfo {
        starts: true,
        keyframe: frame.keyframe,
        spatial: frame.spatial,
        temporal: frame.temporal,
        dependencies,
        ..FrameInfo::default()
    }
}

/// What VP9's payload descriptor says of it.
fn described_by_vp9(frames: &[Layered], place: usize) -> FrameInfo {
    let frame = &frames[place];
    let picture = place - usize::from(frame.spatial);
    let higher = |layered: &Layered| layered.temporal > frame.temporal;
    let opens = after(frames, place)
        .filter(|(_, later)| higher(later))
        .all(|(_, later)| later.needs.iter().all(|&needs| needs >= picture || !higher(&frames[needs])));
    let Layered { spatial, temporal, keyframe, intra, .. } = *frame;
    FrameInfo { starts: true, keyframe, spatial, temporal, opens, intra, ..FrameInfo::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_frame_of_every_layer_that_is_forwarded_can_be_decoded(
        keyframes in prop::collection::vec(1usize..48, 0..4),
        syncs in prop::collection::vec(any::<bool>(), 1..9),
        intras in prop::collection::vec(any::<bool>(), 1..9),
        (always, vp9) in any::<(bool, bool)>(),
        // 7 stands for all there are.
        targets in prop::collection::vec((0usize..48, prop_oneof![0u8..2, Just(7)], prop_oneof![0u8..3, Just(7)]), 0..12),
    ) {
        let frames = publish_layered(&keyframes, &syncs, &intras, always, 48);
        let mut selector = Selector::default();
        selector.set_target(Some((Layer::all_of(0), 1)));
        let mut sent = vec![false; frames.len()];
        for place in 0..frames.len() {
            for &(_, spatial, temporal) in targets.iter().filter(|(picture, ..)| *picture * 2 == place) {
                selector.set_target(Some((Layer { encoding: 0, spatial, temporal }, 1)));
            }
            let info = if vp9 { described_by_vp9(&frames, place) } else { described(&frames, place) };
            sent[place] = matches!(selector.choose(0, &info), Choice::Forward | Choice::Begin);
            let frame = &frames[place];
            if sent[place] {
                let missing: Vec<_> = frame.needs.iter().filter(|&&needs| !sent[needs]).collect();
                prop_assert!(missing.is_empty(), "{place} {frame:?} without {missing:?}");
                // Down at once.
                prop_assert!(selector.target().is_some_and(|target| frame.is_in(target.spatial, target.temporal)));
            } else if frame.keyframe {
                prop_assert!(false, "keyframes are for all");
            }
        }
    }
}

#[test]
fn who_gets_all_spatial_layers_gets_more_pictures_where_the_descriptor_allows_it() {
    for spatials in 1..=2 {
        let frames = publish_layered(&[], &[true], &[false], true, 16);
        let mut selector = Selector::default();
        selector.set_target(Some((Layer { encoding: 0, spatial: 7, temporal: 0 }, 1)));
        let mut sent = Vec::new();
        for place in (0..frames.len()).filter(|place| place % 2 < spatials) {
            if place == 8 {
                selector.set_target(Some((Layer::all_of(0), 1)));
            }
            if selector.choose(0, &described(&frames, place)) != Choice::Skip {
                sent.push((place / 2, frames[place].spatial));
            }
        }
        let expected = [0, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
        let expected: Vec<_> =
            expected.into_iter().flat_map(|picture| (0..spatials as u8).map(move |spatial| (picture, spatial))).collect();
        assert_eq!(sent, expected, "{spatials} spatial layers");
    }
}

#[test]
fn layers_are_reached_where_the_descriptor_allows_it() {
    for vp9 in [false, true] {
        let frames = publish_layered(&[8], &[true], &[false], true, 16);
        let mut selector = Selector::default();
        selector.set_target(Some((Layer { encoding: 0, spatial: 0, temporal: 0 }, 1)));
        let mut sent = Vec::new();
        for place in 0..frames.len() {
            if place == 8 {
                selector.set_target(Some((Layer { encoding: 0, spatial: 1, temporal: 2 }, 1)));
            }
            let info = if vp9 { described_by_vp9(&frames, place) } else { described(&frames, place) };
            if selector.choose(0, &info) != Choice::Skip {
                sent.push((place / 2, frames[place].spatial));
            }
        }
        let lower: Vec<_> = sent.iter().filter(|(_, spatial)| *spatial == 0).map(|(picture, _)| *picture).collect();
        let upper: Vec<_> = sent.iter().filter(|(_, spatial)| *spatial == 1).map(|(picture, _)| *picture).collect();
        assert_eq!(lower, [0, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], "more pictures at once");
        assert_eq!(upper, [8, 9, 10, 11, 12, 13, 14, 15], "larger ones from the keyframe on");
    }
}
