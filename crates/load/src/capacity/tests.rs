use proptest::prelude::*;

use super::*;
use crate::results::examples::{self, Noise};

/// A server that breaks the promise from `limit` on, and a bench that can't drive more than `bench`; within `noise` of each
/// (as a share) it is a matter of luck.
struct World {
    limit: f64,
    bench: f64,
    noise: f64,
    luck: Noise,
}

impl World {
    fn exact(limit: u64) -> Self {
        Self { limit: limit as f64, bench: f64::INFINITY, noise: 0.0, luck: Noise(1) }
    }

    fn run(&mut self, load: u64) -> Outcome {
        let mut beyond = |limit: f64| load as f64 > limit * (1.0 + (self.luck.next() * 2.0 - 1.0) * self.noise);
        if beyond(self.bench) {
            Outcome::Bench("its processor was busy".to_owned())
        } else if beyond(self.limit) {
            broken("p99<20ms: 31 ms")
        } else {
            Outcome::Kept
        }
    }
}

fn broken(what: &str) -> Outcome {
    Outcome::Broken(vec![Breach { promise: what.to_owned(), cause: Cause::NotMeasured(String::new()) }])
}

/// Carries the search out; what was run, in order, and what was found.
fn search(plan: Plan, mut outcome: impl FnMut(u64) -> Outcome) -> (Vec<u64>, Verdict) {
    let mut search = Search::new(plan);
    let mut loads = Vec::new();
    loop {
        match search.next() {
            Next::Run { load, .. } => {
                assert!(loads.len() < plan.steps, "the search goes on after {loads:?}");
                loads.push(load);
                search.record(&outcome(load));
                assert_eq!(search.steps(), loads.len());
            }
            Next::Done(verdict) => return (loads, verdict),
        }
    }
}

#[test]
fn a_search_doubles_then_halves_then_makes_sure() {
    let mut world = World::exact(437);
    let (loads, verdict) = search(Plan { start: 50, ..Plan::default() }, |load| world.run(load));
    assert_eq!(loads, [50, 100, 200, 400, 800, 600, 500, 450, 425, 437, 437, 450]);
    assert_eq!((verdict.largest_kept, verdict.smallest_broken, verdict.confirmed), (Some(437), Some(450), true));
    assert_eq!(verdict.bound, Bound::Server);
    assert_eq!(verdict.headline("viewers"), "437 viewers");
}

#[test]
fn a_start_that_is_too_large_is_halved_until_something_is_kept() {
    let mut world = World::exact(7);
    let (loads, verdict) = search(Plan { start: 100, ..Plan::default() }, |load| world.run(load));
    assert_eq!(loads[..5], [100, 50, 25, 12, 6]);
    assert_eq!((verdict.largest_kept, verdict.smallest_broken), (Some(7), Some(8)));
}

#[test]
fn a_server_that_holds_nothing_says_so() {
    let (loads, verdict) = search(Plan { start: 4, ..Plan::default() }, |_| broken("nothing arrived"));
    assert_eq!(loads, [4, 2, 1, 1]);
    assert_eq!((verdict.largest_kept, verdict.smallest_broken, verdict.bound.clone()), (None, Some(1), Bound::Server));
    assert_eq!(verdict.headline("viewers"), "no viewers at all");
}

#[test]
fn a_server_that_holds_all_that_was_asked_for_has_no_limit_known() {
    let (loads, verdict) = search(Plan { start: 30, most: 100, ..Plan::default() }, |_| Outcome::Kept);
    assert_eq!(loads, [30, 60, 100, 100]);
    assert_eq!((verdict.largest_kept, verdict.smallest_broken, verdict.bound.clone()), (Some(100), None, Bound::Plan));
    assert_eq!(verdict.headline("rooms"), "at least 100 rooms");
}

#[test]
fn the_bench_being_the_bottleneck_is_never_the_servers_limit() {
    let mut world = World { bench: 300.0, ..World::exact(1000) };
    let (_, verdict) = search(Plan { start: 50, ..Plan::default() }, |load| world.run(load));
    let Bound::Bench { load, why } = &verdict.bound else { panic!("{verdict:?}") };
    assert!(*load > 300 && *load < 320, "{load}");
    assert_eq!(why, "its processor was busy");
    assert_eq!((verdict.largest_kept, verdict.smallest_broken), (Some(300), None));
    assert_eq!(verdict.headline("viewers"), "at least 300 viewers");
    assert!(verdict.sentences("viewers")[1].contains("the bench itself was the bottleneck (its processor was busy)"));
}

#[test]
fn a_bench_that_fails_above_the_servers_limit_does_not_matter() {
    let mut world = World { bench: 500.0, ..World::exact(210) };
    let (_, verdict) = search(Plan { start: 150, ..Plan::default() }, |load| world.run(load));
    assert_eq!(verdict.bound, Bound::Server);
    assert!(verdict.largest_kept <= Some(210) && verdict.smallest_broken > Some(210), "{verdict:?}");
}

#[test]
fn a_bench_that_is_always_the_bottleneck_leaves_the_server_unknown() {
    let (_, verdict) = search(Plan { start: 4, ..Plan::default() }, |_| Outcome::Bench("it sleeps".to_owned()));
    assert_eq!((verdict.largest_kept, verdict.smallest_broken), (None, None));
    assert_eq!(verdict.bound, Bound::Bench { load: 1, why: "it sleeps".to_owned() });
    assert_eq!(verdict.headline("viewers"), "not known");
}

#[test]
fn one_unlucky_run_is_outvoted() {
    let mut runs_at_the_edge = 0;
    let (loads, verdict) = search(Plan { start: 50, ..Plan::default() }, |load| match load {
        ..=200 => Outcome::Kept,
        // Good in truth, but the first run there is disturbed.
        201..=206 => {
            runs_at_the_edge += 1;
            if runs_at_the_edge == 1 { broken("a hiccup") } else { Outcome::Kept }
        }
        _ => broken("p99<20ms: 31 ms"),
    });
    assert_eq!(loads.iter().filter(|load| **load == 206).count(), 3, "{loads:?}");
    assert_eq!((verdict.largest_kept, verdict.smallest_broken), (Some(206), Some(212)));
    assert_eq!(verdict.broke_first, ["p99<20ms: 31 ms: "]);
}

#[test]
fn one_lucky_run_is_outvoted() {
    let mut runs_of_200 = 0;
    let (_, verdict) = search(Plan { start: 50, ..Plan::default() }, |load| match load {
        ..=190 => Outcome::Kept,
        200 => {
            runs_of_200 += 1;
            if runs_of_200 == 1 { Outcome::Kept } else { broken("p99<20ms: 31 ms") }
        }
        _ => broken("p99<20ms: 31 ms"),
    });
    assert_eq!(runs_of_200, 3);
    assert!(verdict.largest_kept <= Some(190) && verdict.smallest_broken <= Some(200), "{verdict:?}");
}

#[test]
fn three_runs_that_all_differ_are_no_limit_of_the_servers() {
    let mut runs_of_200 = 0;
    let (loads, verdict) = search(Plan { start: 100, ..Plan::default() }, |load| match load {
        ..=199 => Outcome::Kept,
        200 => {
            runs_of_200 += 1;
            [Outcome::Bench("busy".to_owned()), Outcome::Kept, broken("p99<20ms: 31 ms")][(runs_of_200 - 1) % 3].clone()
        }
        _ => broken("p99<20ms: 31 ms"),
    });
    assert_eq!(loads.iter().filter(|load| **load == 200).count(), 3, "{loads:?}");
    assert_eq!(verdict.bound, Bound::Bench { load: 200, why: "busy".to_owned() });
}

#[test]
fn a_search_that_runs_out_of_runs_says_what_is_known() {
    let mut world = World::exact(5000);
    let (loads, verdict) = search(Plan { start: 10, steps: 4, ..Plan::default() }, |load| world.run(load));
    assert_eq!(loads, [10, 20, 40, 80]);
    assert_eq!((verdict.largest_kept, verdict.bound.clone(), verdict.confirmed), (Some(80), Bound::Runs, false));
    assert_eq!(verdict.headline("viewers"), "at least 80 viewers");
    assert!(verdict.sentences("viewers").iter().any(|sentence| sentence.contains("ended after 4 runs")));
    let (_, unconfirmed) = search(Plan { start: 50, steps: 10, ..Plan::default() }, |load| World::exact(437).run(load));
    assert_eq!((unconfirmed.bound.clone(), unconfirmed.confirmed), (Bound::Server, false));
    assert!(unconfirmed.sentences("viewers").last().unwrap().contains("not confirmed"));
}

#[test]
fn what_broke_first_is_what_is_told_of_the_edge() {
    let (_, verdict) = search(Plan { start: 100, ..Plan::default() }, |load| match load {
        ..=120 => Outcome::Kept,
        121..=199 => Outcome::Refused { refused: 3, attempted: load },
        _ => broken("p99<20ms: 900 ms"),
    });
    let edge = verdict.smallest_broken.unwrap();
    assert_eq!(verdict.broke_first, [format!("the server refused 3 of {edge} joins")]);
}

#[test]
fn a_plan_out_of_range_is_moved_into_it() {
    let plan = Plan { start: 0, most: 0, resolution: f64::NAN, steps: 10 };
    let (loads, verdict) = search(plan, |_| Outcome::Kept);
    assert_eq!(loads, [1, 1]);
    assert_eq!(verdict.largest_kept, Some(1));
    assert!(matches!(Search::new(Plan { steps: 0, ..plan }).next(), Next::Done(_)));
}

#[test]
fn outcomes_of_runs() {
    let promise: Slo = "p99<20ms,loss<0.1%,freeze<1%".parse().unwrap();
    assert_eq!(Outcome::of(&examples::broadcast(50, 5, 1), &promise), Outcome::Kept);
    let overloaded = Outcome::of(&examples::broadcast(900, 5, 1), &promise);
    assert!(matches!(&overloaded, Outcome::Broken(breaches) if !breaches.is_empty()), "{overloaded:?}");
    assert_eq!(Outcome::of(&examples::silent(), &promise).reasons()[0], "p99<20ms: no packets arrived");
    let bench = Outcome::of(&examples::bench_bound(), &promise);
    assert!(matches!(bench, Outcome::Bench(_)), "a bench at its limit says nothing, though the figures are fine: {bench:?}");
}

#[test]
fn whoever_is_left_outside_is_no_load() {
    let promise: Slo = "p99<20ms".parse().unwrap();
    let lenient: Slo = "p99<20ms,failures<10%".parse().unwrap();
    let mut run = examples::broadcast(99, 5, 1);
    run.joins.failed = 1;
    run.joins.succeeded -= 1;
    assert_eq!(Outcome::of(&run, &promise).reasons(), ["failures<=0%: 1.00 %"]);
    assert_eq!(Outcome::of(&run, &lenient), Outcome::Kept);
    run.joins.refused = 5;
    run.joins.succeeded -= 5;
    assert_eq!(Outcome::of(&run, &promise), Outcome::Refused { refused: 5, attempted: 100 });
    assert_eq!(Outcome::of(&run, &lenient), Outcome::Kept);
    run.joins.refused = 20;
    run.joins.succeeded -= 15;
    assert_eq!(Outcome::of(&run, &lenient), Outcome::Refused { refused: 20, attempted: 100 });
}

proptest! {
    #[test]
    fn an_exact_server_is_found_to_within_the_resolution(limit in 1u64..5000, start in 1u64..500) {
        let mut world = World::exact(limit);
        let plan = Plan { start, ..Plan::default() };
        let (_, verdict) = search(plan, |load| world.run(load));
        let (kept, broken) = (verdict.largest_kept.unwrap(), verdict.smallest_broken.unwrap());
        prop_assert!(kept <= limit && limit < broken);
        prop_assert!(broken - kept <= 1 || (broken - kept) as f64 <= kept as f64 * plan.resolution);
        prop_assert!(verdict.confirmed);
        prop_assert_eq!(verdict.bound, Bound::Server);
    }

    #[test]
    fn a_noisy_server_is_found_to_within_its_noise(limit in 20u64..5000, start in 1u64..500, noise in 0.0..0.2f64, seed in 1u64..) {
        let mut world = World { noise, luck: Noise(seed), ..World::exact(limit) };
        let plan = Plan { start, steps: 60, ..Plan::default() };
        let (loads, verdict) = search(plan, |load| world.run(load));
        let (kept, broken) = (verdict.largest_kept.unwrap() as f64, verdict.smallest_broken.unwrap() as f64);
        prop_assert!(kept < broken);
        prop_assert!(kept <= limit as f64 * (1.0 + noise) && broken >= limit as f64 * (1.0 - noise), "{} to {} of {}", kept, broken, limit);
        prop_assert!(verdict.confirmed);
        for load in &loads {
            prop_assert!(loads.iter().filter(|other| *other == load).count() <= RUNS_OF_ONE_LOAD);
        }
    }

    #[test]
    fn a_bench_weaker_than_the_server_never_gives_the_server_a_limit(
        bench in 1u64..2000, more in 1u64..2000, noise in 0.0..0.05f64, seed in 1u64..,
    ) {
        let limit = (bench + more) as f64 * 1.2;
        let mut world = World { limit, bench: bench as f64, noise, luck: Noise(seed) };
        let (_, verdict) = search(Plan { steps: 60, ..Plan::default() }, |load| world.run(load));
        let at_bench = matches!(verdict.bound, Bound::Bench { .. });
        prop_assert!(at_bench, "{:?}", verdict);
        prop_assert_eq!(verdict.smallest_broken, None);
        prop_assert!(verdict.largest_kept.unwrap_or(0) as f64 <= bench as f64 * (1.0 + noise));
    }

    #[test]
    fn no_search_leaves_its_bounds_whatever_it_is_told(outcomes in prop::collection::vec(0u8..4, 0..200), start: u64, most: u64, steps in 0usize..50) {
        let plan = Plan { start, most, steps, ..Plan::default() };
        let mut outcomes = outcomes.into_iter();
        let (loads, verdict) = search(plan, |_| match outcomes.next() {
            Some(1) => broken("p99<20ms: 31 ms"),
            Some(2) => Outcome::Bench("busy".to_owned()),
            Some(3) => Outcome::Refused { refused: 1, attempted: 2 },
            _ => Outcome::Kept,
        });
        prop_assert!(loads.iter().all(|load| (1..=most.max(1)).contains(load)));
        prop_assert_eq!(verdict.runs, loads.len());
        if let (Some(kept), Some(broken)) = (verdict.largest_kept, verdict.smallest_broken) {
            prop_assert!(kept < broken);
        }
        if verdict.bound == Bound::Server {
            prop_assert!(verdict.smallest_broken.is_some() && !verdict.broke_first.is_empty());
        }
        let _ = (verdict.headline("viewers"), verdict.sentences("viewers"));
    }
}
