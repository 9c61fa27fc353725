//! A publisher of three encodings, and subscribers on lines of their own.

use std::time::{Duration, Instant};

use switchyard_bandwidth::Outcome;
use switchyard_netem::{Config as LineConfig, Line, Random};
use switchyard_rtp::rtcp::{Packet, Packets};
use switchyard_rtp::srtp::Profile;
use switchyard_rtp::{ExtensionMap, MediaKind};

use super::media::{CAMERA, subscribe};
use super::world::*;
use crate::{Command, Event, ReceiverConfig, SenderConfig, Simulcast, Target, TrackKey, WorkerIndex};

const RIDS: [&str; 3] = ["q", "h", "f"];
const SIZES: [(u16, u16); 3] = [(320, 180), (640, 360), (1280, 720)];
/// Packets in a frame, and the bytes in each: 100, 480 and 1,700 kbit/s.
const FRAMES: [(usize, usize); 3] = [(1, 416), (2, 1_000), (7, 1_010)];

/// How much larger a keyframe is, where pictures are as cameras have them; what the next ones make up for of that; and the bytes of their packets.
const KEY: f64 = 5.0;
const REPAID: f64 = 0.1;
const PACKET: usize = 1_100;
/// A picture that comes so much later than the one before is a freeze: webrtc-stats' measure (`freezeCount`) at 30 pictures a second.
const FREEZE: Duration = Duration::from_millis(183);

/// A picture that a subscriber got all of.
#[derive(Clone, Copy, Debug)]
struct Picture {
    at: Instant,
    encoding: usize,
    bytes: usize,
}

/// What of the latest picture of a subscriber's has come: which it is, its packets, their bytes.
#[derive(Clone, Copy, Default)]
struct Partial {
    frame: u32,
    encoding: u8,
    packets: u8,
    bytes: usize,
}

/// A call, frame by frame.
struct Lines {
    world: World,
    start: Instant,
    sent: [u64; 3],
    frames: u32,
    /// Requests of the publisher's that were answered.
    answered: usize,
    reported: Vec<(u16, u8)>,
    /// Whether arrivals are not reported.
    silent: bool,
    /// Whether the middle encoding takes a third of its bits in every second second.
    varying: bool,
    /// Whether packets of padding follow every picture.
    probing: bool,
    /// Pictures of a camera's: of varying size, and a keyframe, of all encodings whichever is asked for, several times as large. The bytes beyond the mean so far.
    lively: Option<Random>,
    debt: [f64; 3],
    /// Whether what no line carries is not sent; the size it is limited to.
    obedient: bool,
    most: Option<(u16, u16)>,
    /// When what was said of that.
    limits: Vec<(Instant, Option<(u16, u16)>)>,
    /// Keyframes that were asked for.
    asked: [usize; 3],
    pictures: Vec<Vec<Picture>>,
    partial: Vec<Partial>,
    /// When each packet came that says which of which encoding it is.
    got: Vec<Vec<(Instant, u8)>>,
    waits: Vec<Vec<Duration>>,
    /// Packets under the numbers of retransmissions: where nobody asks for any, they are padding.
    padding: usize,
    /// The number of the latest packet that each subscriber got, and how often it was not the next.
    latest: Vec<u16>,
    gaps: usize,
}

impl Lines {
    fn new(seed: u64, lines: &[&str]) -> Self {
        Self::over(1, seed, lines)
    }

    /// The subscribers are on the last of so many workers.
    fn over(workers: u8, seed: u64, lines: &[&str]) -> Self {
        let mut world = World::new(workers);
        world.join(0, Profile::AeadAes128Gcm);
        for (encoding, rid) in (0u32..).zip(RIDS) {
            world.clients[0].named.insert(7_000 + 10 * encoding, vec![(4, "1"), (10, rid)]);
        }
        let rids = RIDS.map(str::to_owned).to_vec();
        let camera = ReceiverConfig { ssrcs: Vec::new(), simulcast: Simulcast::Rids(rids), ..receiver("1", MediaKind::Video, 0) };
        let peer = world.clients[0].key;
        world.command(0, Command::SetReceivers { peer, receivers: vec![camera] });
        world.publish(0, "1", CAMERA);
        let last = workers - 1;
        if last > 0 {
            let (track, to) = (TrackKey(CAMERA), WorkerIndex(last));
            world.command(usize::from(last), Command::PublishRemote { track, kind: MediaKind::Video, home: WorkerIndex(0) });
            world.command(0, Command::Trunk { track, to, on: true });
        }
        let start = world.now;
        for (place, line) in lines.iter().enumerate() {
            let client = world.join(usize::from(last), Profile::AeadAes128Gcm);
            let config: LineConfig = line.parse().expect("a line");
            world.clients[client].line = Some(Line::new(&config, seed + place as u64, start).expect("a line"));
            subscribe(&mut world, client, CAMERA, true);
        }
        let count = lines.len();
        Self {
            world,
            start,
            sent: [100, 2_000, 30_000],
            frames: 0,
            answered: 0,
            reported: vec![(0, 0); count],
            silent: false,
            varying: false,
            probing: false,
            lively: None,
            debt: [0.0; 3],
            obedient: false,
            most: None,
            limits: Vec::new(),
            asked: [0; 3],
            pictures: vec![Vec::new(); count],
            partial: vec![Partial::default(); count],
            got: vec![Vec::new(); count],
            waits: vec![Vec::new(); count],
            padding: 0,
            latest: vec![0; count],
            gaps: 0,
        }
    }

    /// The encodings of which a keyframe was asked since the last time.
    fn asked(&mut self) -> Vec<usize> {
        let media: Vec<u32> = self.world.clients[0].rtcp[self.answered..]
            .iter()
            .flat_map(|bytes| Packets::parse(bytes).flatten())
            .filter_map(|packet| if let Packet::PictureLossIndication { media, .. } = packet { Some(media) } else { None })
            .collect();
        self.answered = self.world.clients[0].rtcp.len();
        media.into_iter().map(|media| (media as usize - 7_000) / 10).collect()
    }

    /// One frame of every encoding, and 33 ms.
    fn frame(&mut self) {
        let mut keyframes = if self.frames == 0 { vec![0, 1, 2] } else { self.asked() };
        keyframes.iter().for_each(|&encoding| self.asked[encoding] += 1);
        if self.lively.is_some() && !keyframes.is_empty() {
            keyframes = vec![0, 1, 2];
        }
        self.frames += 1;
        // Consent to send lasts for 30 s.
        if self.obedient && self.frames.is_multiple_of(300) {
            (0..self.world.clients.len()).for_each(|client| self.world.check(client));
        }
        self.obey();
        for (encoding, size) in SIZES.into_iter().enumerate() {
            if self.most.is_some_and(|most| size.0 > most.0) {
                continue;
            }
            let keyframe = keyframes.contains(&encoding);
            let (count, size) = self.shape(encoding, keyframe);
            let mut packets: Vec<_> = (0..count).map(|part| self.packet(encoding, (part, count), size, keyframe)).collect();
            for _ in 0..if self.probing { 2 } else { 0 } {
                self.sent[encoding] += 1;
                packets.push((packets[0].0, VP8, self.sent[encoding], packets[0].3, Vec::new()));
            }
            self.world.send(0, &packets);
        }
        for place in 0..self.got.len() {
            let line = self.world.clients[place + 1].line.as_ref().expect("a line");
            self.waits[place].push(line.queue_delay(self.world.now));
        }
        for _ in 0..3 {
            self.world.pass(Duration::from_millis(11));
            self.collect();
        }
        if self.frames.is_multiple_of(2) && !self.silent {
            (0..self.got.len()).for_each(|place| self.report(place));
        }
    }

    /// Packets of the next frame of an encoding, and the bytes in each.
    fn shape(&mut self, encoding: usize, keyframe: bool) -> (usize, usize) {
        let (count, size) = FRAMES[encoding];
        let Some(random) = &mut self.lively else {
            return (count, if self.varying && encoding == 1 && self.frames / 30 % 2 == 1 { size / 3 } else { size });
        };
        let mean = (count * size) as f64;
        let bytes = mean * (1.0 + 0.2 * random.normal()).clamp(0.3, 2.0) * if keyframe { KEY } else { 1.0 };
        let bytes = (bytes - REPAID * self.debt[encoding]).max(0.3 * mean);
        self.debt[encoding] += bytes - mean;
        let count = (bytes as usize).div_ceil(PACKET);
        (count, bytes as usize / count)
    }

    /// Hears what lines carry, and sends no more, if it does.
    fn obey(&mut self) {
        let now = self.world.now;
        for event in &self.world.events {
            if let Event::Limited { most, .. } = event
                && self.limits.last().is_none_or(|(_, last)| last != most)
            {
                self.limits.push((now, *most));
                self.most = most.filter(|_| self.obedient);
            }
        }
        self.world.events.retain(|event| !matches!(event, Event::Limited { .. }));
    }

    fn packet(&mut self, encoding: usize, (part, parts): (usize, usize), size: usize, keyframe: bool) -> (u32, u8, u64, u32, Vec<u8>) {
        self.sent[encoding] += 1;
        let (width, height) = SIZES[encoding];
        let mut payload = vec![0; size];
        payload[..2].copy_from_slice(&[if part == 0 { 0x90 } else { 0x80 }, 0xe0]);
        payload[2..4].copy_from_slice(&(0x8000 | self.frames as u16).to_be_bytes());
        payload[4..7].copy_from_slice(&[self.frames as u8, 0x20, u8::from(!keyframe)]);
        payload[9..12].copy_from_slice(&[0x9d, 0x01, 0x2a]);
        payload[12..14].copy_from_slice(&width.to_le_bytes());
        payload[14..16].copy_from_slice(&height.to_le_bytes());
        payload[28] = encoding as u8;
        payload[29..33].copy_from_slice(&self.frames.to_be_bytes());
        payload[33] = parts as u8;
        let time = (self.frames * 3_000).wrapping_add(1_000_000 * encoding as u32);
        (7_000 + 10 * encoding as u32, VP8, self.sent[encoding], time, payload)
    }

    /// Takes down what subscribers got under the number of the media stream; the rest is padding.
    fn collect(&mut self) {
        let now = self.world.now;
        for (place, got) in self.got.iter_mut().enumerate() {
            let media = 100 * (place as u32 + 1) + 20;
            self.padding += self.world.clients[place + 1].rtp.iter().filter(|(header, _)| header.ssrc == media + 1).count();
            for (header, payload) in
                self.world.clients[place + 1].rtp.drain(..).filter(|(header, payload)| header.ssrc == media && payload.len() > 33)
            {
                let before = std::mem::replace(&mut self.latest[place], header.sequence);
                self.gaps += usize::from(header.sequence != before.wrapping_add(1) && !got.is_empty());
                got.push((now, payload[28]));
                let frame = u32::from_be_bytes(payload[29..33].try_into().expect("four bytes"));
                let partial = &mut self.partial[place];
                if (partial.frame, partial.encoding) != (frame, payload[28]) {
                    *partial = Partial { frame, encoding: payload[28], ..Partial::default() };
                }
                (partial.packets, partial.bytes) = (partial.packets + 1, partial.bytes + payload.len());
                if partial.packets == payload[33] {
                    self.pictures[place].push(Picture { at: now, encoding: usize::from(payload[28]), bytes: partial.bytes });
                }
            }
        }
    }

    /// A subscriber reports what arrived, as browsers do.
    fn report(&mut self, place: usize) {
        let start = self.start;
        let arrivals = std::mem::take(&mut self.world.clients[place + 1].arrivals);
        let Some(last) = arrivals.last().map(|(number, _)| *number) else { return };
        let (next, count) = self.reported[place];
        let length = usize::from(last.wrapping_sub(next)) + 1;
        let mut times = vec![None; length];
        for (number, at) in arrivals {
            if let Some(time) = times.get_mut(usize::from(number.wrapping_sub(next))) {
                *time = Some((at - start).as_micros() as i64 / 250 + 77_777);
            }
        }
        self.world.send_rtcp(place + 1, |writer| {
            writer.transport_feedback(1, 9, next, count, &times).expect("it fits");
        });
        self.reported[place] = (last.wrapping_add(1), count.wrapping_add(1));
    }

    fn run(&mut self, seconds: u32) {
        (0..seconds * 30).for_each(|_| self.frame());
    }

    /// Packets of each encoding that a subscriber got in the last `seconds`.
    fn shares(&self, place: usize, seconds: u64) -> [usize; 3] {
        let since = self.world.now - Duration::from_secs(seconds);
        let mut shares = [0; 3];
        self.got[place].iter().filter(|(at, _)| *at >= since).for_each(|(_, encoding)| shares[usize::from(*encoding)] += 1);
        shares
    }

    /// What became of a subscriber's picture from `from` seconds on.
    fn seen(&self, place: usize, from: u64) -> Seen {
        let since = self.start + Duration::from_secs(from);
        let pictures: Vec<&Picture> = self.pictures[place].iter().filter(|picture| picture.at >= since).collect();
        let seconds = (self.world.now - since).as_secs_f64();
        let gaps = pictures.windows(2).map(|pair| pair[1].at - pair[0].at);
        let mut waits = self.waits[place][from as usize * 30..].to_vec();
        waits.sort();
        Seen {
            shares: std::array::from_fn(|encoding| pictures.iter().filter(|picture| picture.encoding == encoding).count()),
            rate: pictures.iter().map(|picture| picture.bytes).sum::<usize>() as f64 * 8.0 / seconds,
            frozen: gaps.filter(|gap| *gap >= FREEZE).sum(),
            wait: waits[waits.len() * 95 / 100],
        }
    }

    fn longest_wait(&self, place: usize, percent: usize) -> Duration {
        let mut waits = self.waits[place][150..].to_vec();
        waits.sort();
        waits[waits.len() * percent / 100]
    }
}

/// A subscriber's part of a call: whole pictures by encoding, their bits a second, how long they stood still, how long packets waited in 95 of 100 cases.
#[derive(Debug)]
struct Seen {
    shares: [usize; 3],
    rate: f64,
    frozen: Duration,
    wait: Duration,
}

#[test]
fn three_subscribers_on_different_lines_each_get_the_layer_that_fits_undisturbed_by_each_other() {
    for seed in [1, 20, 300] {
        let mut lines = Lines::new(seed, &["delay=30ms,rate=200kbit/s", "delay=20ms,rate=1Mbit/s", "delay=10ms,rate=5Mbit/s"]);
        lines.run(30);
        for (place, (packets, _)) in FRAMES.into_iter().enumerate() {
            let shares = lines.shares(place, 10);
            let due = 300 * packets;
            assert!(shares[place] >= due * 97 / 100, "seed {seed}: subscriber {place} got {shares:?} of {due}");
            assert_eq!(shares.iter().sum::<usize>(), shares[place], "seed {seed}: subscriber {place} got {shares:?}");
            let wait = lines.longest_wait(place, 95);
            assert!(wait < Duration::from_millis(100), "seed {seed}: packets wait {wait:?} for subscriber {place}");
        }
    }
}

#[test]
fn what_does_not_fit_is_paused_and_said_and_comes_back_when_it_fits() {
    // All of it before consent to send expires, which nobody renews here.
    let line = "delay=20ms,rate=1Mbit/s,rate@8s=60kbit/s,rate@16s=1Mbit/s";
    let mut lines = Lines::new(7, &[line]);
    let mut said = |seconds: u32| -> Vec<(Outcome, (u16, u16))> {
        lines.run(seconds);
        let events = std::mem::take(&mut lines.world.events);
        let told = events.into_iter().filter_map(|event| match event {
            Event::Allocated { outcome, size, .. } => Some((outcome, size)),
            _ => None,
        });
        told.collect()
    };
    let (before, during, after) = (said(8), said(8), said(12));
    assert_eq!(before.last(), Some(&(Outcome::Reduced, SIZES[1])), "{before:?}");
    assert_eq!(during.last(), Some(&(Outcome::Paused, (0, 0))), "{during:?}");
    assert!(during.len() <= 2, "at once, or by way of less: {during:?}");
    assert_eq!(after.first().map(|told| told.0), Some(Outcome::Reduced), "{after:?}");
    assert_eq!(after.last(), Some(&(Outcome::Reduced, SIZES[1])), "{after:?}");
    assert!(before.len() <= 4 && after.len() <= 4, "told as it changes: {before:?} {after:?}");
    let shares = lines.shares(0, 3);
    assert!(shares[1] >= 170, "{shares:?}");
}

#[test]
fn a_line_that_narrows_and_widens_is_followed_by_the_picture() {
    let lines = ["delay=25ms", "delay=60ms", "delay=25ms,loss=1%"];
    for (line, seed) in lines.into_iter().flat_map(|line| (1..=5).map(move |seed| (line, seed))) {
        let line = format!("{line},rate=3Mbit/s,rate@20s=500kbit/s,rate@40s=3Mbit/s");
        let mut lines = Lines::new(seed, &[&line]);
        (lines.lively, lines.obedient) = (Some(Random::new(seed, 7)), true);
        lines.run(20);
        let wide = lines.seen(0, 10);
        lines.run(20);
        let narrow = lines.seen(0, 23);
        lines.run(20);
        let (all, recovered) = (lines.seen(0, 20), lines.seen(0, 55));
        let what =
            format!("seed {seed}, {line}:\n  wide {wide:?}\n  narrow {narrow:?}\n  since the step {all:?}\n  recovered {recovered:?}");
        println!("{what}");
        // The smallest encoding is what 500 kbit/s carry beside keyframes.
        assert!(narrow.shares[0] * 10 >= narrow.shares.iter().sum::<usize>() * 9, "it fits within three seconds: {what}");
        assert!(narrow.frozen.is_zero() && narrow.wait < Duration::from_millis(100), "what fits comes in time: {what}");
        assert!(all.frozen <= Duration::from_secs(2), "freezes: {what}");
        for good in [wide, recovered] {
            assert!(good.shares[2] * 100 >= good.shares.iter().sum::<usize>() * 85 && good.frozen.is_zero(), "the largest again: {what}");
        }
    }
}

#[test]
fn padding_that_waits_with_pictures_leaves_no_gap_either() {
    let mut lines = Lines::new(13, &["delay=20ms,rate=1Mbit/s"]);
    lines.probing = true;
    // Once it is known what the line carries nothing is lost on it.
    lines.run(3);
    lines.gaps = 0;
    lines.run(7);
    let shares = lines.shares(0, 3);
    assert!(shares[1] >= 170 && lines.gaps == 0, "{shares:?}, {} gaps", lines.gaps);
}

#[test]
fn a_few_lost_packets_are_sent_again_on_a_slow_line_and_nothing_begins_anew() {
    let mut lines = Lines::new(12, &["delay=20ms,rate=200kbit/s"]);
    lines.run(10);
    let (asked, padding, before) = (lines.asked[0], lines.padding, lines.got[0].len());
    // A burst of 28 packets of 416 bytes, which take 350 ms at the paced rate.
    let missed: Vec<u16> = (0..28).map(|back| lines.latest[0].wrapping_sub(back)).collect();
    lines.world.send_rtcp(1, |writer| writer.nack(1, 120, missed.iter().rev().copied()).unwrap());
    lines.run(2);
    assert_eq!(lines.asked[0], asked, "no keyframe is asked for");
    assert!(lines.padding - padding >= 28, "{} are sent again", lines.padding - padding);
    assert!(lines.got[0].len() - before >= 55, "{} of 60 pictures", lines.got[0].len() - before);
}

#[test]
fn who_asks_for_more_than_the_line_carries_gets_what_is_new_instead() {
    let mut lines = Lines::new(11, &["delay=20ms,rate=200kbit/s"]);
    lines.run(10);
    // Two seconds' worth, as after an outage, again and again until it has come.
    let missed: Vec<u16> = (0..60).map(|back| lines.latest[0].wrapping_sub(back)).collect();
    let (padding, before) = (lines.padding, lines.got[0].len());
    for _ in 0..4 * 30 {
        lines.world.send_rtcp(1, |writer| writer.nack(1, 120, missed.iter().rev().copied()).unwrap());
        lines.frame();
    }
    let got: Vec<f64> = lines.got[0][before..].iter().map(|(at, _)| (*at - lines.start).as_secs_f64() - 10.0).collect();
    let late = got.iter().position(|at| *at > 1.0).map_or(0, |first| got.len() - first);
    assert!(late >= 85, "{late} of 90 pictures in the last three seconds: {got:?}");
    let again = lines.padding - padding;
    assert!(again <= 60, "{again} were sent again");
}

#[test]
fn who_reports_no_arrivals_gets_everything_as_it_comes() {
    let mut lines = Lines::new(7, &["delay=20ms"]);
    lines.silent = true;
    lines.run(5);
    let shares = lines.shares(0, 3);
    assert!(shares[2] >= 89 * 7 && shares[2] == shares.iter().sum::<usize>(), "{shares:?}");
}

#[test]
fn who_begins_to_report_late_is_probed_for_what_it_wants_and_no_more() {
    let mut lines = Lines::new(8, &["delay=20ms"]);
    let peer = lines.world.clients[1].key;
    let show = |lines: &mut Lines, (width, height): (u16, u16)| {
        lines.world.command(0, Command::SetTarget { peer, sender: 1, target: Target::Covering { width, height }, pinned: false });
    };
    show(&mut lines, SIZES[0]);
    lines.silent = true;
    lines.run(3);
    lines.silent = false;
    lines.run(3);
    assert_eq!(lines.padding, 0, "a line of 300 kbit/s, which nobody doubts, carries 100");
    show(&mut lines, SIZES[2]);
    lines.run(3);
    assert!(lines.padding > 0, "1,700 are looked for");
}

#[test]
fn an_encoding_that_fits_for_a_moment_only_is_not_gone_over_to() {
    let mut lines = Lines::new(9, &["delay=20ms,rate=400kbit/s"]);
    lines.varying = true;
    lines.run(24);
    let shares = lines.shares(0, 20);
    assert!(shares[0] >= 540 && shares[1] <= 60, "{shares:?}");
    assert!(lines.asked[1] <= 4, "{:?} keyframes", lines.asked);
}

/// Three lines, of which each carries one encoding more than the one before.
const LINES: [&str; 3] = ["delay=30ms,rate=200kbit/s", "delay=20ms,rate=1Mbit/s", "delay=10ms,rate=5Mbit/s"];

#[test]
fn on_three_lines_in_one_room_each_sees_what_it_would_see_alone() {
    let call = |pictures: u64, seed: u64, lines: &[&str]| {
        let mut call = Lines::new(seed, lines);
        (call.lively, call.obedient) = (Some(Random::new(pictures, 7)), true);
        call.run(60);
        call
    };
    for seed in [1, 20, 300] {
        let together = call(seed, seed, &LINES);
        for (place, line) in LINES.into_iter().enumerate() {
            let alone = call(seed, seed + place as u64, &[line]);
            // While estimates grow, others' keyframes cost a slow line some seconds of its picture, and a probe more or less five of a better one; after that nothing.
            for (from, apart, frozen, late) in [(0, 0.1, 4_000, 5), (20, 0.005, 0, 5)] {
                let (with, without) = (together.seen(place, from), alone.seen(0, from));
                let what = format!("seed {seed}, {line}, from {from} s on: {with:?}, alone {without:?}");
                println!("{what}");
                let pictures: usize = without.shares.iter().sum();
                let differs = with.shares.iter().zip(without.shares).map(|(with, without)| with.abs_diff(without)).max().unwrap_or(0);
                assert!(differs as f64 <= apart * pictures as f64, "other pictures: {what}");
                assert!((with.rate / without.rate - 1.0).abs() <= apart, "another rate: {what}");
                assert!(with.frozen <= without.frozen + Duration::from_millis(frozen), "freezes: {what}");
                assert!(with.wait <= without.wait + Duration::from_millis(late), "packets wait: {what}");
                assert!(with.shares[place] * 100 >= pictures * 90, "not its own layer: {what}");
            }
        }
    }
}

#[test]
fn an_encoding_that_no_line_carries_is_not_sent_and_comes_back_once_one_does() {
    for workers in [1, 2] {
        let mut lines = Lines::over(workers, 3, &["delay=20ms,rate=1Mbit/s,rate@20s=5Mbit/s"]);
        lines.obedient = true;
        lines.run(19);
        assert_eq!(lines.most, Some(SIZES[1]), "over {workers}: {:?}", lines.limits);
        assert_eq!(lines.limits.len(), 1, "{:?}", lines.limits);
        let told = |lines: &Lines| {
            let of = |event: &Event| if let Event::Allocated { outcome, size, .. } = event { Some((*outcome, *size)) } else { None };
            lines.world.events.iter().rev().find_map(of)
        };
        assert_eq!(told(&lines), Some((Outcome::Reduced, SIZES[1])), "it is the line that leaves less");
        let shares = lines.shares(0, 5);
        assert!(shares[1] >= 290 && shares[0] == 0, "{shares:?}");
        // The line is found to carry more; the publisher is told, and sends.
        let enough = (FRAMES[2].0 * FRAMES[2].1 * 8 * 30) as u64 * 105 / 87;
        let mut carries = None;
        while lines.most.is_some() && lines.frames < 40 * 30 {
            lines.frame();
            let forwarder = &lines.world.forwarders[usize::from(workers) - 1];
            let downlink = forwarder.peers.iter().find_map(|(_, peer)| peer.downlink.as_ref()).expect("a line");
            carries = carries.or((downlink.estimator.estimate() >= enough).then_some(lines.world.now));
        }
        let asked = lines.world.now - carries.expect("the line carries it by now");
        assert!(lines.most.is_none() && asked <= Duration::from_millis(500), "asked for {asked:?} after the line carries it");
        lines.run(3);
        let shares = lines.shares(0, 1);
        assert!(shares[2] >= 7 * 29 && shares[1] == 0, "{shares:?}");
        assert_eq!(told(&lines).map(|told| told.1), Some(SIZES[2]));
    }
}

#[test]
fn what_a_line_carries_just_about_does_not_come_and_go() {
    for (seed, rate) in [(1, "1.9Mbit/s"), (2, "2.05Mbit/s"), (3, "2.2Mbit/s")] {
        let mut lines = Lines::new(seed, &[&format!("delay=20ms,rate={rate}")]);
        (lines.lively, lines.obedient) = (Some(Random::new(seed, 7)), true);
        lines.run(120);
        println!(
            "{rate}: {:?}, keyframes {:?}",
            lines.limits.iter().map(|(at, most)| (*at - lines.start, most)).collect::<Vec<_>>(),
            lines.asked
        );
        assert!(lines.limits.len() <= 10, "{rate}: {}", lines.limits.len());
    }
}

#[test]
fn who_reports_no_arrivals_but_says_what_its_line_carries_is_sent_that() {
    let mut lines = Lines::new(5, &["delay=20ms"]);
    lines.silent = true;
    let unnumbered = |kind, ssrc, rtx| SenderConfig { extensions: ExtensionMap::default(), remb: true, ..sender(kind, ssrc, rtx) };
    let senders = vec![Some(unnumbered(MediaKind::Audio, 110, false)), Some(unnumbered(MediaKind::Video, 120, true))];
    let peer = lines.world.clients[1].key;
    lines.world.command(0, Command::SetSenders { peer, senders });
    lines.run(3);
    let shares = lines.shares(0, 2);
    assert!(shares[2] >= 59 * 7 && shares[2] == shares.iter().sum::<usize>(), "nothing is known of the line: {shares:?}");
    for (bits, encoding) in [(800_000, 1), (250_000, 0), (5_000_000, 2)] {
        lines.world.send_rtcp(1, |writer| writer.remb(1, bits, [120]).expect("it fits"));
        lines.run(3);
        let estimates: Vec<u64> =
            lines.world.forwarders[0].peers.iter().filter_map(|(_, peer)| Some(peer.downlink.as_ref()?.estimator.estimate())).collect();
        assert_eq!(estimates, [bits]);
        let shares = lines.shares(0, 1);
        assert!(shares[encoding] >= 29 * FRAMES[encoding].0 && shares[encoding] == shares.iter().sum::<usize>(), "{bits}: {shares:?}");
    }
    assert_eq!((lines.padding, lines.world.clients[1].arrivals.len()), (0, 0), "nothing is numbered, and nothing probed");
}
