//! Whether each impairment has the strength that was asked for, over many packets of one seed.

use super::*;

const PACKETS: u64 = 100_000;

fn share(count: u64) -> f64 {
    count as f64 / PACKETS as f64
}

/// Lengths of the runs of packets that are missing in `out`, which is in order.
fn gaps(out: &[(Duration, u64)]) -> Vec<u64> {
    let before = [0].into_iter().chain(out.iter().map(|(_, number)| number + 1));
    before.zip(out).map(|(expected, (_, number))| number - expected).filter(|gap| *gap > 0).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Correlation of each value with the one `apart` places further on.
fn correlation(values: &[f64], apart: usize) -> f64 {
    let mean = mean(values);
    let variance: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let together: f64 = values.iter().zip(&values[apart..]).map(|(one, other)| (one - mean) * (other - mean)).sum();
    together / variance
}

/// Milliseconds each packet took.
fn delays(out: &[(Duration, u64)], apart: Duration) -> Vec<f64> {
    out.iter().map(|(at, number)| (*at - apart * *number as u32).as_secs_f64() * 1e3).collect()
}

#[test]
fn independent_loss_has_its_share_and_no_bursts() {
    let mut world = World::seeded("loss=5%", 2);
    let out = world.run(PACKETS, 1_200, MILLISECOND);
    assert!((share(world.dropped(Drop::Loss)) - 0.05).abs() < 0.002);
    let gaps = gaps(&out);
    let length = gaps.iter().sum::<u64>() as f64 / gaps.len() as f64;
    assert!((length - 1.0 / 0.95).abs() < 0.02, "runs are as long as chance makes them: {length}");
}

#[test]
fn burst_loss_has_its_share_and_length() {
    let mut world = World::new("burst_loss=5%,burst_length=8");
    let out = world.run(PACKETS, 1_200, MILLISECOND);
    let lost = share(world.dropped(Drop::BurstLoss));
    assert!((lost - 0.05).abs() < 0.005, "{lost}");
    let gaps = gaps(&out);
    let length = gaps.iter().sum::<u64>() as f64 / gaps.len() as f64;
    assert!((length / 8.0 - 1.0).abs() < 0.06, "{length}");

    let mut world = World::new("burst_loss=40%,burst_length=3");
    world.run(PACKETS, 1_200, MILLISECOND);
    let lost = share(world.dropped(Drop::BurstLoss));
    assert!((lost - 0.4).abs() < 0.01, "{lost}");

    let mut world = World::new("burst_loss=5%,burst_length=20,burst_density=50%,loss=1%");
    world.run(PACKETS, 1_200, MILLISECOND);
    let (burst, single) = (share(world.dropped(Drop::BurstLoss)), share(world.dropped(Drop::Loss)));
    assert!((burst - 0.05).abs() < 0.006, "{burst}");
    assert!((single - 0.0095).abs() < 0.001, "{single}");
}

#[test]
fn jitter_has_its_mean_deviation_and_coherence() {
    // Packets so far apart that order hardly binds.
    let apart = 20 * MILLISECOND;
    let out = World::new("delay=100ms,jitter=5ms,coherence=40ms").run(PACKETS, 1_200, apart);
    let delays = delays(&out, apart);
    let average = mean(&delays);
    let deviation = (delays.iter().map(|delay| (delay - average).powi(2)).sum::<f64>() / delays.len() as f64).sqrt();
    assert!((average - 100.0).abs() < 0.3, "{average}");
    assert!((deviation / 5.0 - 1.0).abs() < 0.03, "{deviation}");
    // e^−1/2 and e^−2.
    assert!((correlation(&delays, 1) - 0.6065).abs() < 0.02);
    assert!((correlation(&delays, 4) - 0.1353).abs() < 0.03);
    let beyond = delays.iter().filter(|delay| (*delay - average).abs() > 2.0 * deviation).count() as f64 / delays.len() as f64;
    assert!((beyond - 0.0455).abs() < 0.01, "nearly normal: {beyond}");
}

#[test]
fn jitter_without_coherence_is_drawn_anew_for_every_packet() {
    let apart = 100 * MILLISECOND;
    let out = World::new("delay=200ms,jitter=5ms,coherence=0").run(PACKETS / 4, 1_200, apart);
    assert!(correlation(&delays(&out, apart), 1).abs() < 0.02);
}

#[test]
fn jitter_keeps_the_order_and_never_makes_a_packet_early() {
    let apart = Duration::from_micros(500);
    let out = World::new("delay=10ms,jitter=20ms,coherence=5ms").run(PACKETS, 1_200, apart);
    assert!(out.iter().map(|(_, number)| *number).eq(0..PACKETS));
    assert!(out.is_sorted(), "none is due before the one in front of it");
    assert!(delays(&out, apart).iter().all(|delay| *delay >= 0.0));
}

#[test]
fn packets_of_one_burst_meet_nearly_the_same_jitter() {
    let mut world = World::new("delay=100ms,jitter=10ms,coherence=50ms");
    for number in 0..10 {
        world.line.push(world.start, 1_200, number);
    }
    let mut out = Vec::new();
    world.drain(world.start + Duration::from_secs(1), &mut out);
    assert!(out.iter().all(|(at, _)| *at == out[0].0));
}

#[test]
fn duplicates_come_as_often_as_asked_right_behind_their_originals() {
    let mut world = World::new("duplicate=3%,delay=5ms");
    let out = world.run(PACKETS, 1_200, MILLISECOND);
    assert!((share(world.line.counters().duplicated) - 0.03).abs() < 0.002);
    assert_eq!(out.len() as u64, PACKETS + world.line.counters().duplicated);
    let pairs = out.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
    assert_eq!(pairs, world.line.counters().duplicated);
    assert_eq!(world.line.counters().reordered, 0, "a duplicate is not reordered");
}

#[test]
fn reordering_comes_as_often_and_reaches_as_far_as_asked() {
    let mut world = World::new("reorder=2%,reorder_by=25ms,delay=50ms");
    let out = world.run(PACKETS, 1_200, 10 * MILLISECOND);
    assert_eq!(out.len() as u64, PACKETS);
    let late: Vec<_> = out.iter().filter(|(at, number)| *at != 10 * MILLISECOND * *number as u32 + 50 * MILLISECOND).collect();
    assert!((share(late.len() as u64) - 0.02).abs() < 0.002);
    assert!(late.iter().all(|(at, number)| *at == 10 * MILLISECOND * *number as u32 + 75 * MILLISECOND), "held back by 25 ms");
    // Between two packets, unless the two behind it were held back too.
    let reordered = share(world.line.counters().reordered);
    assert!((reordered - 0.02).abs() < 0.002, "{reordered}");
}

#[test]
fn a_seed_replays_and_another_one_does_not() {
    let config = "loss=5%,burst_loss=3%,delay=60ms,jitter=10ms,duplicate=1%,reorder=1%,rate=12Mbit/s";
    let run = |seed| World::seeded(config, seed).run(20_000, 1_200, MILLISECOND);
    assert_eq!(run(42), run(42));
    assert_ne!(run(42), run(43));
    // The outcome itself, so that a change of the model or of a platform's arithmetic shows.
    let digest = run(42).iter().fold(0xcbf2_9ce4_8422_2325_u64, |digest, (at, number)| {
        [at.as_nanos() as u64, *number].iter().fold(digest, |digest, word| (digest ^ word).wrapping_mul(0x0000_0100_0000_01b3))
    });
    assert_eq!(digest, 0x3626_7642_7cec_f4f6, "{digest:#x}");
}

#[test]
fn turning_one_impairment_on_leaves_the_others_as_they_were() {
    let lost = |config: &str| {
        let out = World::new(config).run(5_000, 1_200, MILLISECOND);
        (0..5_000).filter(|number| !out.iter().any(|(_, out)| out == number)).collect::<Vec<u64>>()
    };
    assert_eq!(lost("loss=5%"), lost("loss=5%,delay=60ms,jitter=10ms,duplicate=2%,reorder=3%"));
}
