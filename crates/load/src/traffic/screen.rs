//! A shared screen.

use std::time::Instant;

use switchyard_netem::{Random, Ratio};

use super::outbox::Outbox;
use super::rate::lognormal;
use super::stamp::MIN_VP8_FRAME;
use super::stream::{FrameClock, Stream};
use super::{ConfigError, MAX_BEHIND, Packet, ScreenConfig};

/// The standard deviations of the logarithm of an idle frame's and of a slide's bytes.
const IDLE_SPREAD: f64 = 0.6;
const SLIDE_SPREAD: f64 = 0.5;

/// After a slide's first, coarse frame the next ones refine it: their parts of its size.
const REFINEMENTS: [f64; 3] = [0.35, 0.2, 0.1];

/// A shared screen's track.
#[derive(Debug)]
pub struct ScreenModel {
    clock: FrameClock,
    outbox: Outbox,
    idle: f64,
    slide: f64,
    /// Probability that the slide changes with a frame.
    changes: Ratio,
    /// The current slide's bytes, and the next of [`REFINEMENTS`].
    current: (f64, usize),
    random: Random,
    skipped: u64,
}

impl ScreenModel {
    /// A screen that is shared from within a frame's time after `start`.
    pub fn new(config: &ScreenConfig, seed: u64, start: Instant) -> Result<Self, ConfigError> {
        config.check()?;
        let mut random = Random::new(seed, 0);
        let clock = FrameClock::new(start, config.fps, 90_000, &mut random);
        let stream = Stream::new(0, (config.width, config.height), &mut random);
        let changes = Ratio::from_fraction(1.0 / (f64::from(config.fps) * config.every.as_secs_f64()));
        Ok(Self {
            clock,
            outbox: Outbox::new(vec![stream], config.bitrate.bits_per_second(), start),
            idle: config.idle.0 as f64,
            slide: config.slide.0 as f64,
            changes,
            current: (0.0, REFINEMENTS.len()),
            random,
            skipped: 0,
        })
    }

    /// See [`Model::poll`](super::Model::poll).
    pub fn poll(&mut self, now: Instant) -> Option<Packet> {
        self.skipped += self.clock.skip(now, MAX_BEHIND);
        while self.clock.next() <= now && self.outbox.due().is_none_or(|due| due >= self.clock.next()) {
            self.capture();
        }
        self.outbox.poll(now)
    }

    fn capture(&mut self) {
        let (at, timestamp) = (self.clock.next(), self.clock.timestamp());
        self.clock.advance();
        if !self.outbox.is_empty() {
            self.skipped += 1;
            return;
        }
        let keyframe = self.outbox.streams[0].takes_keyframe(at, None);
        let bytes = if self.random.chance(self.changes) || keyframe {
            self.current = (varied(self.slide, SLIDE_SPREAD, &mut self.random), 0);
            self.current.0
        } else if let (slide, next) = self.current
            && next < REFINEMENTS.len()
        {
            self.current.1 += 1;
            slide * REFINEMENTS[next]
        } else {
            varied(self.idle, IDLE_SPREAD, &mut self.random)
        };
        let len = (bytes.round() as usize).max(MIN_VP8_FRAME);
        let frame = self.outbox.streams[0].frame(at, timestamp, keyframe, len);
        self.outbox.push(frame);
    }

    /// See [`Model::poll_timeout`](super::Model::poll_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        let capture = self.clock.next();
        Some(self.outbox.due().map_or(capture, |due| due.min(capture)))
    }

    /// See [`Model::request_keyframe`](super::Model::request_keyframe). A keyframe is as large as a slide.
    pub fn request_keyframe(&mut self, now: Instant, encoding: u8) -> bool {
        self.outbox.streams.get_mut(usize::from(encoding)).is_some_and(|stream| stream.request_keyframe(now))
    }

    /// See [`Model::skipped`](super::Model::skipped).
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }
}

/// Nearly lognormal around `mean`, from a third to three times of it.
fn varied(mean: f64, spread: f64, random: &mut Random) -> f64 {
    // The mean of e^(spread·g) is e^(spread²/2).
    let factor = lognormal(spread * random.normal() - spread * spread / 2.0);
    mean * factor.clamp(1.0 / 3.0, 3.0)
}
