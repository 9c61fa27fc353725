use proptest::prelude::*;

use super::*;
use crate::{BlackHole, Rate, RateStep};

mod statistics;

const MILLISECOND: Duration = Duration::from_millis(1);

/// A line under virtual time, carrying numbers.
struct World {
    start: Instant,
    line: Line<u64>,
}

impl World {
    fn new(config: &str) -> Self {
        Self::seeded(config, 1)
    }

    fn seeded(config: &str, seed: u64) -> Self {
        let start = Instant::now();
        Self { start, line: Line::new(&config.parse().unwrap(), seed, start).unwrap() }
    }

    /// Pushes `count` packets of `len` bytes, `apart` from each other, and returns what came out: when, and which.
    fn run(&mut self, count: u64, len: usize, apart: Duration) -> Vec<(Duration, u64)> {
        let mut out = Vec::new();
        for number in 0..count {
            let now = self.start + apart * u32::try_from(number).unwrap();
            self.drain(now, &mut out);
            self.line.push(now, len, number);
        }
        self.drain(self.start + Duration::from_secs(1_000_000), &mut out);
        out
    }

    /// Goes from timeout to timeout, as a caller with a timer does.
    fn drain(&mut self, until: Instant, out: &mut Vec<(Duration, u64)>) {
        while let Some(due) = self.line.poll_timeout().filter(|due| *due <= until) {
            if self.line.since_start(due) > self.line.now {
                assert_eq!(self.line.poll(due - Duration::from_nanos(1)), None, "nothing comes out before its time");
            }
            out.push((due - self.start, self.line.poll(due).expect("what is due comes out")));
        }
    }

    fn push(&mut self, at: Duration, len: usize) -> Verdict {
        self.line.push(self.start + at, len, 0)
    }

    fn dropped(&self, reason: Drop) -> u64 {
        self.line.counters().dropped(reason)
    }
}

#[test]
fn a_perfect_line_delivers_at_once_and_in_order() {
    let mut world = World::new("perfect");
    let out = world.run(100, 1_200, MILLISECOND);
    assert_eq!(out, (0..100).map(|number| (MILLISECOND * number as u32, number)).collect::<Vec<_>>());
    assert_eq!(world.line.poll_timeout(), None);
}

#[test]
fn a_delay_is_added_to_every_packet() {
    let out = World::new("delay=60ms").run(100, 1_200, MILLISECOND);
    assert_eq!(out.len(), 100);
    assert!(out.iter().all(|(at, number)| *at == MILLISECOND * *number as u32 + 60 * MILLISECOND));
}

#[test]
fn the_queueing_delay_is_bytes_by_rate() {
    // 1,250 bytes at 1 Mbit/s take 10 ms.
    let mut world = World::new("rate=1Mbit/s,overhead=50,queue=1s,delay=5ms");
    let out = world.run(20, 1_200, Duration::ZERO);
    let expected: Vec<_> = (0..20).map(|number| (10 * MILLISECOND * (number as u32 + 1) + 5 * MILLISECOND, number)).collect();
    assert_eq!(out, expected);
    assert_eq!(world.line.queue_delay(world.start + 50 * MILLISECOND), Duration::ZERO, "time does not go back");

    let mut world = World::new("rate=1Mbit/s,overhead=50,queue=1s");
    (0..20).for_each(|_| assert_eq!(world.push(Duration::ZERO, 1_200), Verdict::Carried));
    assert_eq!(world.line.queue_delay(world.start + 50 * MILLISECOND), 150 * MILLISECOND);
}

#[test]
fn an_idle_transmitter_saves_nothing_up() {
    let mut world = World::new("rate=1Mbit/s,overhead=0");
    world.push(Duration::ZERO, 1_250);
    world.push(Duration::from_secs(10), 1_250);
    let mut out = Vec::new();
    world.drain(world.start + Duration::from_secs(20), &mut out);
    assert_eq!(out.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [10 * MILLISECOND, 10_010 * MILLISECOND]);
}

#[test]
fn a_full_queue_drops_what_comes_last() {
    // By bytes: four packets of 1,250, the one being sent among them.
    let mut world = World::new("rate=1Mbit/s,overhead=50,queue=5000B");
    let verdicts: Vec<_> = (0..6).map(|_| world.push(Duration::ZERO, 1_200)).collect();
    assert_eq!(verdicts[3..], [Verdict::Carried, Verdict::Dropped(Drop::QueueFull), Verdict::Dropped(Drop::QueueFull)]);
    assert_eq!(world.push(10 * MILLISECOND, 1_200), Verdict::Carried, "one has left");
    assert_eq!(world.push(10 * MILLISECOND, 1_200), Verdict::Dropped(Drop::QueueFull));
    assert_eq!(world.dropped(Drop::QueueFull), 3);

    // By time: what would wait more than 30 ms.
    let mut world = World::new("rate=1Mbit/s,overhead=50,queue=30ms");
    let carried = (0..10).filter(|_| world.push(Duration::ZERO, 1_200) == Verdict::Carried).count();
    assert_eq!(carried, 4);

    // An idle line takes what is larger than its queue.
    let mut world = World::new("rate=1Mbit/s,queue=100B");
    assert_eq!(world.push(Duration::ZERO, 1_200), Verdict::Carried);
    assert_eq!(world.push(Duration::ZERO, 10), Verdict::Dropped(Drop::QueueFull));
}

#[test]
fn a_rate_carries_what_it_promises_and_no_more() {
    let mut world = World::new("rate=2Mbit/s,overhead=28,queue=50ms");
    // 3 Mbit/s offered for 10 s.
    let out = world.run(3_125, 1_172, Duration::from_micros(3_200));
    let within = out.iter().filter(|(at, _)| *at <= Duration::from_secs(10)).count();
    let rate = within as f64 * 1_200.0 * 8.0 / 10.0;
    assert!((rate / 2e6 - 1.0).abs() < 0.01, "{rate}");
    assert_eq!(world.dropped(Drop::QueueFull), 3_125 - out.len() as u64);
}

#[test]
fn the_rate_follows_its_steps() {
    let mut world = World::new("rate=1Mbit/s,rate@1s=100kbit/s,rate@2s=0,rate@3s=1Mbit/s,overhead=0,queue=10s");
    let out = world.run(400, 1_250, 10 * MILLISECOND);
    let during = |from: u64, to: u64| {
        let (from, to) = (Duration::from_secs(from), Duration::from_secs(to));
        out.iter().filter(|(at, _)| *at > from && *at <= to).count()
    };
    assert_eq!([during(0, 1), during(1, 2), during(2, 3), during(3, 4)], [100, 10, 0, 100]);
    assert_eq!(out.len(), 400, "nothing was lost, only late");
}

#[test]
fn a_black_hole_swallows_what_enters_it() {
    let mut world = World::new("black_hole@1s=500ms,delay=100ms,repeat=2s");
    let out = world.run(400, 100, 10 * MILLISECOND);
    let lost: Vec<u64> = (0..400).filter(|number| !out.iter().any(|(_, out)| out == number)).collect();
    assert_eq!(lost, (100..150).chain(300..350).collect::<Vec<_>>());
    assert_eq!(world.dropped(Drop::BlackHole), 100);
}

#[test]
fn the_limit_bounds_what_the_line_holds() {
    let mut world = World::new("delay=10s,limit=100,duplicate=100%");
    for number in 0..200 {
        world.push(Duration::from_millis(number), 100);
        assert!(world.line.len() <= 100);
    }
    assert_eq!(world.line.counters().duplicated, 50);
    assert_eq!(world.dropped(Drop::LineFull), 150);

    let mut world = World::new("rate=1kbit/s,queue=24h,limit=10");
    let carried = (0..200).filter(|_| world.push(Duration::ZERO, 100) == Verdict::Carried).count();
    assert_eq!(carried, 10);
}

#[test]
fn time_that_goes_back_changes_nothing() {
    let mut world = World::new("delay=10ms");
    world.push(100 * MILLISECOND, 1);
    world.push(50 * MILLISECOND, 1);
    let mut out = Vec::new();
    world.drain(world.start + Duration::from_secs(1), &mut out);
    assert_eq!(out.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [110 * MILLISECOND; 2]);
}

/// Everything that can be set, within the values that make sense.
fn any_config() -> impl Strategy<Value = Config> {
    let ratio = || prop_oneof![2 => Just(Ratio::ZERO), 1 => (1_u32..100).prop_map(Ratio::percent), 1 => Just(Ratio::ONE)];
    let millis = |most: u64| (0..=most).prop_map(Duration::from_millis);
    let rate = || prop_oneof![1 => Just(Rate::UNLIMITED), 3 => (1_000_u64..20_000_000).prop_map(Rate::bits)];
    let queue = prop_oneof![(0_u64..100_000).prop_map(Queue::Bytes), millis(500).prop_map(Queue::Time)];
    let schedule = (proptest::option::of(rate()), proptest::option::of((1_u64..400, 1_u64..400)), any::<bool>());
    ((ratio(), ratio(), ratio()), (millis(300), millis(50), millis(100), millis(50)), (rate(), queue, 1_u32..200), schedule).prop_map(
        |((loss, duplicate, reorder), (delay, jitter, coherence, reorder_by), (rate, queue, limit), (step, hole, repeat))| Config {
            loss,
            burst_loss: Ratio::percent(loss.billionths() / 100_000_000),
            duplicate,
            reorder,
            delay,
            jitter,
            coherence,
            reorder_by,
            rate,
            queue,
            limit,
            rate_steps: step.map(|rate| RateStep { at: Duration::from_millis(300), rate }).into_iter().collect(),
            black_holes: hole
                .map(|(at, length)| BlackHole { at: Duration::from_millis(at), length: Duration::from_millis(length) })
                .into_iter()
                .collect(),
            repeat: (repeat && (step.is_some() || hole.is_some())).then_some(Duration::from_secs(1)),
            ..Config::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_in_comes_out_or_is_counted(
        config in any_config(),
        seed: u64,
        pushes in proptest::collection::vec((0_u64..30_000, 0_usize..1_500, any::<bool>()), 0..300),
    ) {
        let start = Instant::now();
        let mut line = Line::new(&config, seed, start).unwrap();
        let mut twin = Line::new(&config, seed, start).unwrap();
        let mut now = start;
        let mut delivered = Vec::new();
        for (number, (wait, len, poll)) in pushes.iter().enumerate() {
            now += Duration::from_micros(*wait);
            prop_assert_eq!(line.push(now, *len, number), twin.push(now, *len, number), "the same seed and calls give the same outcome");
            while *poll && let Some(packet) = line.poll(now) {
                prop_assert_eq!(twin.poll(now), Some(packet));
                delivered.push(packet);
            }
            let counters = line.counters();
            let on_the_way = line.len() as u64;
            prop_assert_eq!(counters.pushed, number as u64 + 1);
            prop_assert_eq!(counters.pushed + counters.duplicated, counters.delivered + counters.total_dropped() + on_the_way);
            prop_assert!(on_the_way <= u64::from(config.limit));
        }
        let mut last = now;
        while let Some(due) = line.poll_timeout() {
            last = last.max(due);
            let packet = line.poll(last);
            prop_assert!(packet.is_some(), "what is due comes out");
            delivered.extend(packet);
        }
        prop_assert!(line.is_empty());
        let counters = line.counters();
        prop_assert_eq!(counters.pushed + counters.duplicated, counters.delivered + counters.total_dropped());
        prop_assert_eq!(counters.delivered, delivered.len() as u64);
        if config.reorder == Ratio::ZERO {
            prop_assert!(delivered.is_sorted(), "no reordering without asking for it: {:?}", delivered);
            prop_assert_eq!(counters.reordered, 0);
        }
    }
}
