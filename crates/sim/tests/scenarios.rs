//! What the estimator and the pacer make of lines. Every scenario runs with several seeds, which failures name.

use std::time::{Duration, Instant};

use switchyard_netem::Config;
use switchyard_sim::{Call, Cubic, Flow, Message, Network, Outbox, Packet, Profile};

const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

/// Either kind of flow.
enum Either {
    Call(Box<Call>),
    Cubic(Cubic),
}

impl Either {
    fn flow(&self) -> &dyn Flow {
        match self {
            Self::Call(call) => &**call,
            Self::Cubic(cubic) => cubic,
        }
    }

    fn flow_mut(&mut self) -> &mut dyn Flow {
        match self {
            Self::Call(call) => &mut **call,
            Self::Cubic(cubic) => cubic,
        }
    }
}

impl Flow for Either {
    fn poll_timeout(&self) -> Option<Instant> {
        self.flow().poll_timeout()
    }
    fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        self.flow_mut().handle_timeout(now, out);
    }
    fn handle_packet(&mut self, now: Instant, packet: Packet, out: &mut Outbox) {
        self.flow_mut().handle_packet(now, packet, out);
    }
    fn handle_message(&mut self, now: Instant, message: Message, out: &mut Outbox) {
        self.flow_mut().handle_message(now, message, out);
    }
    fn estimate(&self) -> u64 {
        self.flow().estimate()
    }
}

type World = Network<Either>;

/// Calls that begin at these seconds, on a line.
fn calls(line: &str, seed: u64, begins: &[u64]) -> (Instant, World) {
    let config: Config = line.parse().expect("a line");
    let start = Instant::now();
    let mut world = Network::new(start, &config, seed).expect("a line");
    for (place, &begin) in begins.iter().enumerate() {
        let profile = Profile { begin: Duration::from_secs(begin), ..Profile::default() };
        world.add(Either::Call(Box::new(Call::new(start, seed * 100 + place as u64, &profile))));
    }
    (start, world)
}

fn call(world: &World, place: usize) -> &Call {
    match world.flow(place) {
        Either::Call(call) => call,
        Either::Cubic(_) => panic!("a download"),
    }
}

/// The line's rate at first, in bits a second.
fn rate(line: &str) -> f64 {
    let config: Config = line.parse().expect("a line");
    config.rate.bits_per_second() as f64
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What most packets wait at most.
const MAX_QUEUE: Duration = Duration::from_millis(100);

#[test]
fn alone_on_a_bottleneck_the_estimate_is_at_what_it_carries_within_five_seconds() {
    let lines = [
        "delay=30ms,rate=200kbit/s",
        "delay=25ms,rate=500kbit/s",
        "delay=25ms,rate=1Mbit/s",
        "delay=25ms,rate=3Mbit/s",
        "delay=80ms,rate=3Mbit/s",
        "delay=10ms,rate=10Mbit/s",
        "delay=40ms,rate=2Mbit/s,queue=1s",
    ];
    for line in lines {
        for seed in SEEDS {
            let (_, mut world) = calls(line, seed, &[0]);
            world.run_until(seconds(60));
            let trace = world.trace(0);
            for from in (5..60).step_by(5) {
                let part = trace.estimate(from as f64 - 0.5, from as f64 + 4.5) / rate(line);
                assert!((0.8..=1.0).contains(&part), "{line}, seed {seed}: {part:.2} of the line at {from} s");
            }
            let queue = trace.queue(5.0, 60.0, 95);
            assert!(queue < MAX_QUEUE, "{line}, seed {seed}: packets wait {queue:?}");
            assert_eq!(call(&world, 0).overflow(), 0, "{line}, seed {seed}");
        }
    }
}

#[test]
fn two_calls_share_a_line() {
    for line in ["delay=60ms,rate=1Mbit/s", "delay=25ms,rate=2Mbit/s", "delay=25ms,rate=4Mbit/s"] {
        for begins in [[0, 0], [0, 10], [0, 30]] {
            for seed in SEEDS {
                let (_, mut world) = calls(line, seed, &begins);
                world.run_until(seconds(180));
                let share = |flow: usize| world.trace(flow).rate(60.0, 180.0) / rate(line);
                let fair = |share: f64| (0.35..=0.65).contains(&share);
                assert!(fair(share(0)) && fair(share(1)), "{line}, {begins:?}, seed {seed}: {:.2} and {:.2}", share(0), share(1));
                let queue = world.trace(0).queue(40.0, 180.0, 95);
                assert!(queue < MAX_QUEUE, "{line}, {begins:?}, seed {seed}: packets wait {queue:?}");
            }
        }
    }
}

#[test]
fn beside_a_download_a_call_gets_its_part_and_leaves_the_download_one() {
    let lines =
        ["delay=25ms,rate=2Mbit/s", "delay=25ms,rate=5Mbit/s", "delay=25ms,rate=5Mbit/s,queue=50ms", "delay=50ms,rate=5Mbit/s,queue=1s"];
    for line in lines {
        for seed in SEEDS {
            let (start, mut world) = calls(line, seed, &[0]);
            world.add(Either::Cubic(Cubic::new(start, seconds(10))));
            world.run_until(seconds(150));
            let share = |flow: usize| world.trace(flow).rate(30.0, 150.0) / rate(line);
            assert!(share(0) >= 0.15 && share(1) >= 0.15, "{line}, seed {seed}: {:.2} beside {:.2}", share(0), share(1));
        }
    }
}

#[test]
fn after_a_download_the_queue_is_short_again() {
    let line = "delay=25ms,rate=3Mbit/s";
    for seed in SEEDS {
        let (start, mut world) = calls(line, seed, &[0]);
        world.add(Either::Cubic(Cubic::new(start, seconds(10)).until(start, seconds(40))));
        world.run_until(seconds(80));
        let queue = world.trace(0).queue(45.0, 80.0, 95);
        assert!(queue < MAX_QUEUE, "seed {seed}: packets wait {queue:?}");
        let part = world.trace(0).estimate(55.0, 80.0) / rate(line);
        assert!((0.8..=1.0).contains(&part), "seed {seed}: {part:.2} of the line");
    }
}

#[test]
fn random_loss_does_not_keep_the_estimate_down() {
    let lines = [
        ("delay=25ms,loss=5%", 2_400_000),
        ("delay=50ms,loss=5%,rate=3Mbit/s", 2_400_000),
        ("delay=25ms,loss=10%", 2_400_000),
        ("delay=30ms,loss=30%", 400_000),
    ];
    for (line, wanted) in lines {
        for seed in SEEDS {
            let config: Config = line.parse().expect("a line");
            let start = Instant::now();
            let mut world = Network::new(start, &config, seed).expect("a line");
            let profile = Profile { most: wanted, wanted, ..Profile::default() };
            world.add(Either::Call(Box::new(Call::new(start, seed, &profile))));
            world.run_until(seconds(60));
            let trace = world.trace(0);
            assert!(trace.estimates(0.0, 0.1).iter().all(|&estimate| estimate <= 310_000), "it begins low");
            // Nothing is sent beyond what is wanted, so the estimate needs not be more than that.
            let reached = trace.estimates(0.0, 30.0).iter().position(|&estimate| estimate >= wanted);
            assert!(reached.is_some(), "{line}, seed {seed}: {} at 30 s", trace.estimate(29.0, 30.0));
            let kept = trace.estimate(30.0, 60.0);
            assert!(kept >= 0.8 * wanted as f64, "{line}, seed {seed}: {kept} is kept");
            let inherent = call(&world, 0).figures().inherent_loss;
            assert!(inherent > 0.02, "{line}, seed {seed}: {inherent} is taken for the line's own loss");
        }
    }
}

#[test]
fn loss_by_a_short_queue_is_congestion() {
    // A queue of which a picture at the paced rate takes half.
    let line = "delay=25ms,rate=1Mbit/s,queue=30ms";
    for seed in SEEDS {
        let (_, mut world) = calls(line, seed, &[0]);
        world.run_until(seconds(60));
        let trace = world.trace(0);
        let part = trace.estimate(10.0, 60.0) / rate(line);
        assert!((0.75..=1.05).contains(&part), "seed {seed}: {part:.2} of the line");
        let lost = 1.0 - trace.rate(10.0, 60.0) / trace.sent_rate(10.0, 60.0);
        assert!(lost < 0.03, "seed {seed}: {lost:.3} is lost");
    }
}

#[test]
fn a_line_that_narrows_and_widens_is_followed() {
    for line in [
        "delay=25ms,rate=3Mbit/s,rate@20s=500kbit/s,rate@40s=3Mbit/s",
        "delay=60ms,rate=3Mbit/s,rate@20s=500kbit/s,rate@40s=3Mbit/s",
        "delay=25ms,loss=1%,rate=3Mbit/s,rate@20s=500kbit/s,rate@40s=3Mbit/s",
    ] {
        for seed in SEEDS {
            let (_, mut world) = calls(line, seed, &[0]);
            world.run_until(seconds(70));
            let trace = world.trace(0);
            let narrow = trace.sent_rate(22.0, 40.0);
            assert!(trace.sent_rate(21.0, 23.0) <= 500_000.0 && narrow <= 500_000.0, "{line}, seed {seed}: {narrow} is sent");
            assert!(trace.estimate(25.0, 40.0) >= 0.75 * 500_000.0, "{line}, seed {seed}: too little is left");
            let recovered = trace.estimate(53.0, 55.0);
            assert!(recovered >= 0.8 * 3e6, "{line}, seed {seed}: {recovered} 15 s after the line has recovered");
            let (frozen, longest) = call(&world, 0).freezes();
            assert!(frozen <= seconds(2), "{line}, seed {seed}: frozen for {frozen:?}, at most {longest:?} at once");
            for (from, until) in [(5.0, 20.0), (23.0, 40.0), (43.0, 70.0)] {
                let queue = trace.queue(from, until, 95);
                assert!(queue < MAX_QUEUE, "{line}, seed {seed}: packets wait {queue:?} from {from} s on");
            }
        }
    }
}

#[test]
fn a_line_that_falls_to_a_fifteenth_is_not_taken_for_somebody_elses_queue() {
    for line in ["delay=25ms,rate=3Mbit/s,rate@20s=200kbit/s", "delay=60ms,rate=3Mbit/s,rate@20s=200kbit/s"] {
        for seed in SEEDS {
            let (_, mut world) = calls(line, seed, &[0]);
            world.run_until(seconds(60));
            let trace = world.trace(0);
            let queue = trace.queue(25.0, 60.0, 95);
            assert!(queue < MAX_QUEUE * 3 / 2, "{line}, seed {seed}: packets wait {queue:?}");
            let left = trace.estimate(25.0, 60.0) / 200_000.0;
            assert!((0.6..=1.05).contains(&left), "{line}, seed {seed}: {left:.2} of the line");
        }
    }
}

#[test]
fn what_a_subscriber_does_not_want_is_not_looked_for() {
    let (start, line) = (Instant::now(), "delay=25ms,rate=10Mbit/s");
    let mut world = Network::new(start, &line.parse::<Config>().expect("a line"), 1).expect("a line");
    let profile = Profile { most: 500_000, wanted: 600_000, ..Profile::default() };
    world.add(Either::Call(Box::new(Call::new(start, 1, &profile))));
    world.run_until(seconds(120));
    let sent = world.trace(0).sent_rate(10.0, 120.0);
    assert!(sent < 600_000.0, "{sent} for 500,000 bits a second of picture and its sound");
}

#[test]
fn ten_minutes_are_the_same_to_the_bit_for_a_seed() {
    let line = "delay=30ms,jitter=3ms,loss=1%,reorder=1%,rate=2Mbit/s,rate@100s=600kbit/s,rate@200s=4Mbit/s,repeat=300s";
    let run = |seed| {
        let (start, mut world) = calls(line, seed, &[0, 20]);
        world.add(Either::Cubic(Cubic::new(start, seconds(400))));
        world.run_until(seconds(600));
        (world.digest(), call(&world, 0).pictures())
    };
    let (first, second) = (run(7), run(7));
    assert!(first.1 > 10_000, "{} pictures", first.1);
    assert_eq!(first, second);
    assert_ne!(first.0, run(8).0);
}
