//! A publisher of three encodings, and subscribers on lines of their own.

use std::time::{Duration, Instant};

use switchyard_bandwidth::Outcome;
use switchyard_netem::{Config as LineConfig, Line};
use switchyard_rtp::MediaKind;
use switchyard_rtp::rtcp::{Packet, Packets};
use switchyard_rtp::srtp::Profile;

use super::media::{CAMERA, subscribe};
use super::world::*;
use crate::{Command, Event, ReceiverConfig, Simulcast, Target};

const RIDS: [&str; 3] = ["q", "h", "f"];
const SIZES: [(u16, u16); 3] = [(320, 180), (640, 360), (1280, 720)];
/// Packets in a frame, and the bytes in each: 100, 480 and 1,700 kbit/s.
const FRAMES: [(usize, usize); 3] = [(1, 416), (2, 1_000), (7, 1_010)];

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
    /// Keyframes that were asked for.
    asked: [usize; 3],
    /// When each packet came that says which of which encoding it is.
    got: Vec<Vec<(Instant, u8)>>,
    waits: Vec<Vec<Duration>>,
    /// Packets under the numbers of retransmissions: where nobody asks for any, they are padding.
    padding: usize,
    /// The number of the latest packet that each subscriber got.
    latest: Vec<u16>,
}

impl Lines {
    fn new(seed: u64, lines: &[&str]) -> Self {
        let mut world = World::new(1);
        world.join(0, Profile::AeadAes128Gcm);
        for (encoding, rid) in (0u32..).zip(RIDS) {
            world.clients[0].named.insert(7_000 + 10 * encoding, vec![(4, "1"), (10, rid)]);
        }
        let rids = RIDS.map(str::to_owned).to_vec();
        let camera = ReceiverConfig { ssrcs: Vec::new(), simulcast: Simulcast::Rids(rids), ..receiver("1", MediaKind::Video, 0) };
        let peer = world.clients[0].key;
        world.command(0, Command::SetReceivers { peer, receivers: vec![camera] });
        world.publish(0, "1", CAMERA);
        let start = world.now;
        for (place, line) in lines.iter().enumerate() {
            let client = world.join(0, Profile::AeadAes128Gcm);
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
            asked: [0; 3],
            got: vec![Vec::new(); count],
            waits: vec![Vec::new(); count],
            padding: 0,
            latest: vec![0; count],
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
        let keyframes = if self.frames == 0 { vec![0, 1, 2] } else { self.asked() };
        keyframes.iter().for_each(|&encoding| self.asked[encoding] += 1);
        self.frames += 1;
        for (encoding, (count, size)) in FRAMES.into_iter().enumerate() {
            let size = if self.varying && encoding == 1 && self.frames / 30 % 2 == 1 { size / 3 } else { size };
            let packets: Vec<_> = (0..count).map(|part| self.packet(encoding, part, size, keyframes.contains(&encoding))).collect();
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

    fn packet(&mut self, encoding: usize, part: usize, size: usize, keyframe: bool) -> (u32, u8, u64, u32, Vec<u8>) {
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
        let time = (self.frames * 3_000).wrapping_add(1_000_000 * encoding as u32);
        (7_000 + 10 * encoding as u32, VP8, self.sent[encoding], time, payload)
    }

    /// Takes down what subscribers got under the number of the media stream; the rest is padding.
    fn collect(&mut self) {
        let now = self.world.now;
        for (place, got) in self.got.iter_mut().enumerate() {
            let media = 100 * (place as u32 + 1) + 20;
            self.padding += self.world.clients[place + 1].rtp.iter().filter(|(header, _)| header.ssrc == media + 1).count();
            let rtp = self.world.clients[place + 1].rtp.drain(..);
            let rtp = rtp.inspect(|(header, _)| {
                if header.ssrc == media {
                    self.latest[place] = header.sequence;
                }
            });
            got.extend(rtp.filter(|(header, payload)| header.ssrc == media && payload.len() > 28).map(|(_, payload)| (now, payload[28])));
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

    fn longest_wait(&self, place: usize, percent: usize) -> Duration {
        let mut waits = self.waits[place][150..].to_vec();
        waits.sort();
        waits[waits.len() * percent / 100]
    }
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
    assert_eq!(during, [(Outcome::Paused, (0, 0))]);
    assert_eq!(after.first().map(|told| told.0), Some(Outcome::Reduced), "{after:?}");
    assert_eq!(after.last(), Some(&(Outcome::Reduced, SIZES[1])), "{after:?}");
    assert!(before.len() <= 4 && after.len() <= 4, "told as it changes: {before:?} {after:?}");
    let shares = lines.shares(0, 3);
    assert!(shares[1] >= 170, "{shares:?}");
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
