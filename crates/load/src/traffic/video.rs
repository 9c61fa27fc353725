//! A camera.

use std::time::{Duration, Instant};

use switchyard_netem::Random;

use super::outbox::Outbox;
use super::rate::RateControl;
use super::stamp::{MIN_VP8_FRAME, VP8_DESCRIPTOR};
use super::stream::{FrameClock, Stream};
use super::temporal::Temporal;
use super::{ConfigError, MAX_BEHIND, MAX_PAYLOAD, Packet, VideoConfig};

/// The standard deviation of a frame's logarithm.
const SPREAD: f64 = 0.25;

/// How long a camera's encoder takes to pay back a keyframe.
const PAYBACK_SECONDS: f64 = 0.5;

/// A camera's track: every captured frame goes through all encodings, lowest first, and one pacer sends them.
#[derive(Debug)]
pub struct VideoModel {
    clock: FrameClock,
    outbox: Outbox,
    /// By encoding, as all three.
    rates: Vec<RateControl>,
    temporal: Vec<Temporal>,
    active: Vec<bool>,
    keyframe_interval: Option<Duration>,
    random: Random,
    skipped: u64,
}

impl VideoModel {
    /// A camera that begins within a frame's time after `start`.
    pub fn new(config: &VideoConfig, seed: u64, start: Instant) -> Result<Self, ConfigError> {
        config.check()?;
        let mut random = Random::new(seed, 0);
        let clock = FrameClock::new(start, config.fps, 90_000, &mut random);
        let fps = f64::from(config.fps);
        let encodings = config.streams();
        let streams = encodings.iter().enumerate().map(|(index, (_, size))| Stream::new(index as u8, *size, &mut random)).collect();
        let rates = encodings
            .iter()
            .map(|(bits, _)| {
                let payload = *bits as f64 / 8.0 / fps;
                // The bitrate counts descriptors as well.
                let target = payload - VP8_DESCRIPTOR as f64 * (payload / MAX_PAYLOAD as f64).ceil();
                RateControl::new(target, MIN_VP8_FRAME, fps * PAYBACK_SECONDS, SPREAD)
            })
            .collect();
        let outbox = Outbox::new(streams, config.bitrate.bits_per_second(), start);
        let (temporal, active) = (vec![Temporal::new(config.temporal_layers); encodings.len()], vec![true; encodings.len()]);
        Ok(Self { clock, outbox, rates, temporal, active, keyframe_interval: config.keyframe_interval, random, skipped: 0 })
    }

    /// How many encodings it has: 1 without simulcast.
    pub fn encodings(&self) -> u8 {
        u8::try_from(self.rates.len()).unwrap_or(u8::MAX)
    }

    /// See [`Model::poll`](super::Model::poll).
    pub fn poll(&mut self, now: Instant) -> Option<Packet> {
        self.skipped += self.clock.skip(now, MAX_BEHIND);
        // A frame is made when its time has come in the order of packets, not earlier: a keyframe may still be asked for.
        while self.clock.next() <= now && self.outbox.due().is_none_or(|due| due >= self.clock.next()) {
            self.capture();
        }
        self.outbox.poll(now)
    }

    fn capture(&mut self) {
        let (at, timestamp) = (self.clock.next(), self.clock.timestamp());
        self.clock.advance();
        for (index, rate) in self.rates.iter_mut().enumerate() {
            if !self.active[index] {
                continue;
            }
            if !self.outbox.has_room() {
                self.skipped += 1;
                continue;
            }
            let stream = &mut self.outbox.streams[index];
            let keyframe = stream.takes_keyframe(at, self.keyframe_interval);
            let place = self.temporal[index].advance(keyframe);
            let len = if keyframe { rate.keyframe(&mut self.random, place.part) } else { rate.delta(&mut self.random, place.part) };
            let frame = stream.layered(at, timestamp, keyframe, len, &place);
            self.outbox.push(frame);
        }
    }

    /// See [`Model::poll_timeout`](super::Model::poll_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        let capture = self.clock.next();
        Some(self.outbox.due().map_or(capture, |due| due.min(capture)))
    }

    /// See [`Model::request_keyframe`](super::Model::request_keyframe).
    pub fn request_keyframe(&mut self, now: Instant, encoding: u8) -> bool {
        self.outbox.streams.get_mut(usize::from(encoding)).is_some_and(|stream| stream.request_keyframe(now))
    }

    /// See [`Model::set_active`](super::Model::set_active).
    pub fn set_active(&mut self, encoding: u8, active: bool) {
        let Some(was) = self.active.get_mut(usize::from(encoding)) else { return };
        if active && !std::mem::replace(was, active) {
            self.outbox.streams[usize::from(encoding)].begin_anew();
        }
        *was = active;
    }

    /// See [`Model::skipped`](super::Model::skipped).
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }
}
