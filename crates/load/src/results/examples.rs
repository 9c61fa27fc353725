//! Results as a bench could have measured them, for tests and as example files: invented, but consistent, from a simple model of a
//! server whose latency, loss and freezes grow as its load comes near what it holds.

use std::collections::BTreeMap;

use super::{
    BenchResult, EncodingTime, FORMAT, Frames, Joins, Layers, Load, MediaResult, Packets, Percentiles, RunResult, Sample, ServerKind,
    ServerResult,
};
use crate::capacity::{CapacityResult, Next, Outcome, Plan, Search, Step};

/// Viewers at which the model's server is full.
pub(crate) const FULL: f64 = 430.0;

/// Packets a second to one viewer, video and sound.
const VIDEO_RATE: f64 = 250.0;
const AUDIO_RATE: f64 = 50.0;

/// A small repeatable generator (xorshift, Marsaglia 2003), so that the example files never change by themselves.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    /// From 0 to 1.
    pub(crate) fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Around 1, within the given share.
    fn about(&mut self, share: f64) -> f64 {
        1.0 + (self.next() * 2.0 - 1.0) * share
    }
}

/// One publisher, `viewers` viewers, `seconds` measured.
pub(crate) fn broadcast(viewers: u64, seconds: u64, seed: u64) -> RunResult {
    let noise = &mut Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let filled = viewers as f64 / FULL;
    let participants = viewers + 1;
    let window = seconds as f64;
    let video = media("video to viewers", viewers, VIDEO_RATE, window, filled, noise);
    let audio = media("audio to viewers", viewers, AUDIO_RATE, window, filled, noise);
    let cpu_share = (0.55 * filled).min(0.62);
    let packets = (video.packets.received + audio.packets.received) as f64;
    let cpu_seconds = cpu_share * 2.0 * window;
    RunResult {
        format: FORMAT,
        switchyard_version: "0.1.0".to_owned(),
        scenario: "broadcast".to_owned(),
        description: "One person talks, everybody else watches".to_owned(),
        url: "https://localhost:7880".to_owned(),
        server_kind: ServerKind::Signaling,
        seed,
        started: "2026-11-21T10:00:00Z".to_owned(),
        promise: "p99<20ms,loss<0.1%,freeze<1%".parse().ok(),
        load: Load { rooms: 1, participants, publications: 2, subscriptions: viewers * 2 },
        measured_seconds: window,
        joins: joins(participants, filled, noise),
        samples: samples(participants, seconds, &video, &audio, cpu_share, noise),
        media: vec![video, audio],
        server: Some(ServerResult {
            cpu_seconds: round(cpu_seconds),
            cpu_us_per_packet: super::share(cpu_seconds * 1e6, packets).map(round),
            cpu_ms_per_join: Some(round(2.7 * noise.about(0.1))),
            threads: Some(9),
            memory_kib_before: Some(18_432),
            memory_kib_joined: Some(18_432 + participants * 71),
            memory_kib_per_participant: Some(71.0),
        }),
        bench: BenchResult {
            cpu_share: round(cpu_share * 0.7),
            timer_lag_ms: latency(seconds * 500, 0.06, filled * 0.5, noise),
            sends_late: (filled * 12.0) as u64,
            kernel_drops: 0,
            bottleneck: None,
        },
    }
}

/// As [`broadcast`], but of three encodings each viewer gets what it shows or its line carries.
pub(crate) fn layered() -> RunResult {
    let mut run = broadcast(20, 5, 9);
    let video = &mut run.media[0];
    let time = |name: &str, width, height, seconds| EncodingTime { name: name.to_owned(), width, height, seconds };
    video.layers = Some(Layers {
        receivers: 20,
        receiver_bitrate_bps: round(video.bitrate_bps / 20.0),
        encodings: vec![time("q", 320, 180, 60.0), time("h", 640, 360, 0.0), time("f", 1280, 720, 20.0)],
        as_wanted_seconds: 76.0,
        wanted_ms: latency(24, 180.0, 0.3, &mut Noise(5)),
        unreached: 1,
        switches: 7,
        pauses: 2,
        paused_seconds: 12.5,
    });
    for (second, sample) in run.samples.iter_mut().enumerate() {
        sample.as_wanted_share = (second > 0).then_some(0.95);
    }
    run
}

/// As [`broadcast`], but nothing reaches anybody, though all got in.
pub(crate) fn silent() -> RunResult {
    let mut run = broadcast(20, 5, 3);
    for media in &mut run.media {
        media.packets =
            Packets { lost: media.packets.expected, received: 0, reordered: 0, retransmitted: 0, duplicated: 0, ..media.packets };
        media.frames.dropped = media.frames.expected;
        media.frames.complete = 0;
        media.bitrate_bps = 0.0;
        media.latency_ms = Percentiles::default();
    }
    for sample in &mut run.samples {
        *sample = Sample { packets_per_second: 0.0, lost_share: Some(1.0), latency_p50_ms: None, latency_p99_ms: None, ..*sample };
    }
    run
}

/// As [`broadcast`], but it was the bench that could not keep up.
pub(crate) fn bench_bound() -> RunResult {
    let mut run = broadcast(300, 5, 5);
    run.bench.cpu_share = 0.97;
    run.bench.sends_late = 40_211;
    run.bench.bottleneck = Some("its processor was busy 97 % of the time and its timers fired up to 48 ms late".to_owned());
    run
}

/// A whole search with the model's server; each run `seconds` long.
pub(crate) fn capacity(seconds: u64) -> CapacityResult {
    let plan = Plan { start: 50, ..Plan::default() };
    let run = broadcast(1, 1, 1);
    let promise = run.promise.expect("the example makes a promise");
    let mut search = Search::new(plan);
    let mut steps = Vec::new();
    let verdict = loop {
        match search.next() {
            Next::Run { load, .. } => {
                let run = broadcast(load, seconds, 100 + steps.len() as u64);
                let outcome = Outcome::of(&run, &promise);
                search.record(&outcome);
                steps.push(Step { load, outcome, run });
            }
            Next::Done(verdict) => break verdict,
        }
    };
    CapacityResult {
        format: FORMAT,
        switchyard_version: run.switchyard_version,
        scenario: run.scenario,
        description: run.description,
        url: run.url,
        server_kind: run.server_kind,
        seed: 100,
        started: run.started,
        promise,
        unit: "viewers".to_owned(),
        plan,
        steps,
        verdict,
    }
}

fn media(name: &str, viewers: u64, rate: f64, window: f64, filled: f64, noise: &mut Noise) -> MediaResult {
    let sent = (rate * window) as u64;
    let expected = sent * viewers;
    let overload = (filled - 0.9).max(0.0);
    let lost = (expected as f64 * (0.000_02 + overload * overload * 0.08) * noise.about(0.2)) as u64;
    let received = expected - lost;
    let is_video = rate > 100.0;
    let frames = if is_video { (25.0 * window) as u64 * viewers } else { 0 };
    let dropped = (frames as f64 * overload * 0.2) as u64;
    let watched_seconds = if is_video { window * viewers as f64 } else { 0.0 };
    MediaResult {
        name: name.to_owned(),
        packets: Packets {
            sent,
            expected,
            received,
            lost,
            duplicated: 0,
            reordered: (received as f64 * 0.000_004) as u64,
            retransmitted: (lost as f64 * 1.7) as u64,
        },
        bitrate_bps: round(received as f64 / window * if is_video { 9440.0 } else { 960.0 }),
        latency_ms: latency(received, 0.31, filled, noise),
        frames: Frames {
            expected: frames,
            complete: frames - dropped,
            dropped,
            freezes: (watched_seconds * overload * 0.12) as u64,
            frozen_seconds: round(watched_seconds * (0.0004 * noise.about(0.5) + overload * 0.06)),
            watched_seconds,
        },
        layers: None,
    }
}

fn latency(count: u64, median: f64, filled: f64, noise: &mut Noise) -> Percentiles {
    let queue = 1.0 / (1.02 - filled.min(0.99)) * noise.about(0.08) + (filled - 0.99).max(0.0) * 400.0;
    let at = |quantile: f64| round(median + median * queue * (1.0 / (1.0 - quantile)).powf(0.33));
    Percentiles::by_quantile(count, round(median * 0.4), at(0.55), at(0.999_95), at)
}

fn joins(participants: u64, filled: f64, noise: &mut Noise) -> Joins {
    let mut times = |least: f64| {
        let mut values: Vec<f64> = (0..participants).map(|_| round(least * (1.0 + filled * noise.next() * noise.next() * 3.0))).collect();
        Percentiles::of(&mut values)
    };
    Joins {
        attempted: participants,
        succeeded: participants,
        failed: 0,
        refused: 0,
        errors: BTreeMap::new(),
        connected_ms: times(14.0),
        first_packet_ms: times(21.0),
        first_frame_ms: times(34.0),
    }
}

fn samples(participants: u64, seconds: u64, video: &MediaResult, audio: &MediaResult, cpu_share: f64, noise: &mut Noise) -> Vec<Sample> {
    let joining = (seconds / 6).max(1);
    (1..=seconds + joining)
        .map(|second| {
            let filled = (second as f64 / joining as f64).min(1.0);
            let there = (participants as f64 * filled) as u64;
            let rate = (video.packets.received + audio.packets.received) as f64 / seconds as f64;
            Sample {
                at_seconds: second as f64,
                participants: there,
                packets_per_second: (rate * filled * noise.about(0.01)).round(),
                lost_share: video.packets.lost_share().map(|lost| round(lost * 2.0 * noise.next() * noise.next())),
                latency_p50_ms: Some(round(video.latency_ms.p50 * noise.about(0.1))),
                latency_p99_ms: Some(round(video.latency_ms.p99 * noise.about(0.35))),
                frozen_share: video.frames.frozen_share().map(|frozen| round(frozen * 2.0 * noise.next())),
                as_wanted_share: None,
                server_cpu_share: Some(round(cpu_share * filled * noise.about(0.06))),
                bench_cpu_share: round(cpu_share * 0.7 * filled * noise.about(0.08)),
            }
        })
        .collect()
}

/// To as many digits as reading and writing keeps alike.
fn round(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
