use proptest::prelude::*;

use super::*;

const fn rung(spatial: u8, temporal: u8, kilobits: u64, height: u16, rate: u8) -> Rung {
    Rung { layer: Layer { spatial, temporal }, bitrate: kilobits * 1_000, width: height / 9 * 16, height, rate }
}

/// Three encodings of a camera, two temporal layers each.
const CAMERA: [Rung; 6] = [
    rung(0, 0, 100, 180, 15),
    rung(0, 1, 150, 180, 30),
    rung(1, 0, 300, 360, 15),
    rung(1, 1, 500, 360, 30),
    rung(2, 0, 1_200, 720, 15),
    rung(2, 1, 1_800, 720, 30),
];
const SCREEN: [Rung; 2] = [rung(0, 0, 800, 1_080, 5), rung(0, 1, 1_500, 1_080, 15)];
const AUDIO: [Rung; 1] = [rung(0, 0, 40, 0, 0)];

fn camera(height: u16) -> Demand<'static> {
    Demand { source: Source::Camera, speaker: false, priority: 0, wanted: (height / 9 * 16, height), current: None, rungs: &CAMERA }
}

fn screen() -> Demand<'static> {
    Demand { source: Source::Screen, rungs: &SCREEN, ..camera(1_080) }
}

fn audio() -> Demand<'static> {
    Demand { source: Source::Audio, rungs: &AUDIO, ..camera(0) }
}

/// What each gets, in kbit/s.
fn given(kilobits: u64, demands: &[Demand<'_>]) -> Vec<u64> {
    let mut grants = Vec::new();
    allocate(kilobits * 1_000, demands, &mut grants);
    grants.iter().map(|grant| grant.bitrate / 1_000).collect()
}

fn outcomes(kilobits: u64, demands: &[Demand<'_>]) -> Vec<Outcome> {
    let mut grants = Vec::new();
    allocate(kilobits * 1_000, demands, &mut grants);
    grants.iter().map(|grant| grant.outcome).collect()
}

#[test]
fn nobody_gets_more_than_their_place_shows() {
    assert_eq!(given(100_000, &[camera(180), camera(181), camera(360), camera(720), camera(2_160)]), [150, 500, 500, 1_800, 1_800]);
    assert_eq!(given(100_000, &[camera(0), Demand { rungs: &[], ..camera(720) }]), [0, 0]);
    assert_eq!(outcomes(100_000, &[camera(0), Demand { rungs: &[], ..camera(720) }]), [Outcome::Hidden, Outcome::Absent]);
}

#[test]
fn audio_goes_before_screens_screens_before_the_speaker_the_speaker_before_the_others() {
    let speaker = Demand { speaker: true, ..camera(720) };
    let all = [camera(360), camera(360), speaker, screen(), audio()];
    assert_eq!(given(40, &all), [0, 0, 0, 0, 40]);
    assert_eq!(outcomes(40, &all)[3], Outcome::Paused);
    assert_eq!(given(1_000, &all), [0, 0, 0, 800, 40]);
    assert_eq!(outcomes(1_000, &all)[3], Outcome::Reduced);
    assert_eq!(given(2_000, &all), [100, 0, 100, 1_500, 40]);
    assert_eq!(given(2_300, &all), [150, 150, 150, 1_500, 40]);
    assert_eq!(given(3_500, &all), [150, 150, 1_200, 1_500, 40]);
    assert_eq!(given(4_500, &all), [300, 150, 1_800, 1_500, 40], "the others rise together");
    assert_eq!(given(100_000, &all), [500, 500, 1_800, 1_500, 40]);
}

#[test]
fn what_is_sent_stays_while_it_fits_and_more_is_sent_only_with_headroom() {
    let at = |spatial, temporal| Demand { current: Some(Layer { spatial, temporal }), ..camera(720) };
    for (kilobits, before, after) in
        [(600, at(0, 1), 500), (570, at(0, 1), 300), (570, at(1, 1), 500), (500, at(1, 1), 500), (499, at(1, 1), 300), (344, at(0, 0), 150)]
    {
        assert_eq!(given(kilobits, &[before]), [after], "{kilobits} kbit/s, {:?}", before.current);
    }
}

#[test]
fn what_costs_as_much_as_something_better_is_not_sent() {
    // The publisher's line carries only the lowest; the others are there and nearly empty.
    let rungs = [rung(0, 0, 150, 180, 30), rung(1, 0, 120, 360, 30), rung(2, 0, 900, 720, 30)];
    assert_eq!(given(500, &[Demand { rungs: &rungs, ..camera(720) }]), [120]);
}

#[test]
fn a_larger_picture_is_no_excuse_for_stuttering_but_text_may_stutter() {
    let rungs = [rung(0, 0, 100, 180, 7), rung(0, 1, 150, 180, 30), rung(1, 0, 300, 360, 7), rung(1, 1, 500, 360, 30)];
    assert_eq!(given(400, &[Demand { rungs: &rungs, ..camera(360) }]), [150]);
    assert_eq!(given(120, &[Demand { rungs: &rungs, ..camera(360) }]), [100], "better than nothing");
    assert_eq!(given(400, &[Demand { rungs: &rungs, source: Source::Screen, ..camera(360) }]), [300]);
}

#[test]
fn what_all_would_take_is_told() {
    let mut grants = Vec::new();
    assert_eq!(allocate(0, &[camera(720), camera(180), screen(), audio(), camera(0)], &mut grants), 3_490_000);
}

/// Every way to climb the ladders, by brute force.
fn ways(demands: &[Demand<'_>]) -> Vec<Vec<usize>> {
    let ladders: Vec<Ladder> = demands.iter().map(Ladder::new).collect();
    ladders.iter().fold(vec![Vec::new()], |ways, ladder| {
        ways.into_iter().flat_map(|way| (0..=ladder.len).map(move |count| [&way[..], &[count]].concat())).collect()
    })
}

/// For each step in order, whether it is made.
fn steps(demands: &[Demand<'_>], way: &[usize]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..demands.len()).collect();
    order.sort_by_key(|&at| (255 - demands[at].priority, at));
    let first = |at: usize, from: usize, most: usize| (at, from..way[at].min(most).max(from), most);
    let kinds: [(Source, Option<bool>, usize, usize); 6] = [
        (Source::Audio, None, 0, MAX_RUNGS),
        (Source::Screen, None, 0, MAX_RUNGS),
        (Source::Camera, Some(true), 0, 1),
        (Source::Camera, Some(false), 0, 1),
        (Source::Camera, Some(true), 1, MAX_RUNGS),
        (Source::Camera, Some(false), 1, MAX_RUNGS),
    ];
    let mut made = Vec::new();
    for (source, speaker, from, most) in kinds {
        for level in from..most {
            for &at in &order {
                let demand = &demands[at];
                if demand.source == source && speaker.is_none_or(|speaker| demand.speaker == speaker) {
                    made.push(first(at, from, most).1.contains(&level));
                }
            }
        }
    }
    made
}

fn ladder_of_rungs() -> impl Strategy<Value = Vec<Rung>> {
    prop::collection::vec((0u8..3, 0u8..2, 1u64..40, 1u16..5, prop::sample::select(vec![0u8, 7, 15, 30])), 0..4).prop_map(|rungs| {
        let rungs: Vec<Rung> =
            rungs.into_iter().map(|(spatial, temporal, cost, size, rate)| rung(spatial, temporal, cost, size * 180, rate)).collect();
        // Each layer once, as there are.
        let is_first = |at: usize| rungs[..at].iter().all(|other| other.layer != rungs[at].layer);
        (0..rungs.len()).filter(|&at| is_first(at)).map(|at| rungs[at]).collect()
    })
}

type Wish = (Vec<Rung>, u8, bool, u8, u16, Option<(u8, u8)>);

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    let wish = (ladder_of_rungs(), 0u8..4, any::<bool>(), 0u8..2, 0u16..5, prop::option::of((0u8..3, 0u8..2)));
    prop::collection::vec(wish, 0..5)
}

fn demand((rungs, source, speaker, priority, size, current): &Wish) -> Demand<'_> {
    let source = [Source::Audio, Source::Camera, Source::Camera, Source::Screen][usize::from(*source)];
    let current = current.map(|(spatial, temporal)| Layer { spatial, temporal });
    Demand { source, speaker: *speaker, priority: *priority, current, wanted: (size * 320, size * 180), rungs }
}

proptest! {
    #[test]
    fn no_allocation_that_fits_is_better(wishes in wishes(), kilobits in 0u64..150) {
        // Without anything sent, all is measured against the same budget.
        let demands: Vec<Demand<'_>> = wishes.iter().map(|wish| Demand { current: None, ..demand(wish) }).filter(|d| d.source != Source::Audio).collect();
        let estimate = kilobits * 1_000;
        let mut grants = Vec::new();
        allocate(estimate, &demands, &mut grants);
        let ladders: Vec<Ladder> = demands.iter().map(Ladder::new).collect();
        let cost = |way: &[usize]| way.iter().enumerate().map(|(at, &count)| ladders[at].cost(&demands[at], count)).sum::<u64>();
        let best = ways(&demands).into_iter().filter(|way| cost(way) <= estimate * HEADROOM / 100).max_by_key(|way| steps(&demands, way)).unwrap();
        let expected: Vec<_> = best.iter().enumerate().map(|(at, &count)| ladders[at].rung(&demands[at], count).map(|rung| rung.layer)).collect();
        prop_assert_eq!(grants.iter().map(|grant| grant.layer).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_is_given_fits_and_is_stable(wishes in wishes(), kilobits in 0u64..150, less in 0u64..100) {
        let mut demands: Vec<Demand<'_>> = wishes.iter().map(demand).collect();
        let estimate = kilobits * 1_000;
        let (mut first, mut second) = (Vec::new(), Vec::new());
        allocate(estimate, &demands, &mut first);
        let sum: u64 = first.iter().map(|grant| grant.bitrate).sum();
        prop_assert!(sum <= estimate, "{} of {}", sum, estimate);
        for (demand, grant) in demands.iter_mut().zip(&first) {
            demand.current = grant.layer;
        }
        // The estimate falls, but not below what is sent, and rises again: nothing changes.
        let lower = sum + (estimate - sum) * less / 100;
        allocate(lower, &demands, &mut second);
        let layers = |grants: &[Grant]| grants.iter().map(|grant| grant.layer).collect::<Vec<_>>();
        prop_assert_eq!(layers(&first), layers(&second));
        allocate(estimate, &demands, &mut second);
        prop_assert_eq!(layers(&first), layers(&second));
    }
}
