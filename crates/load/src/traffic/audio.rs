//! A microphone.

use std::time::Instant;

use switchyard_netem::{Random, Ratio};

use super::rate::RateControl;
use super::stamp::MIN_OPUS;
use super::stream::FrameClock;
use super::{AudioConfig, ConfigError, Content, MAX_BEHIND, MAX_PAYLOAD, Packet};

/// Packets a second: 20 ms each.
const PER_SECOND: u32 = 50;

/// Opus goes on sending for this many packets after the last word before it turns to comfort noise (200 ms).
const HANGOVER: u64 = 10;

/// In silence one packet in this many is sent: every 400 ms.
const NOISE_EVERY: u64 = 20;

/// The standard deviation of a packet's logarithm (variable bitrate).
const SPREAD: f64 = 0.2;

/// Packets over which rate control evens out: a second.
const HORIZON: f64 = 50.0;

/// A packet of quiet sound as a part of one with words.
const QUIET: f64 = 0.4;

/// A microphone's track.
#[derive(Debug)]
pub struct AudioModel {
    clock: FrameClock,
    rate: RateControl,
    quiet: usize,
    /// Probabilities of falling silent and of beginning to talk, by packet.
    stops: Ratio,
    starts: Ratio,
    dtx: bool,
    talks: bool,
    /// Packets since talking began or ended.
    since: u64,
    /// In −dBov; wanders.
    level: f64,
    first_timestamp: u32,
    packets: u64,
    random: Random,
    skipped: u64,
}

impl AudioModel {
    /// A microphone that is open from within 20 ms after `start`.
    pub fn new(config: &AudioConfig, seed: u64, start: Instant) -> Result<Self, ConfigError> {
        config.check()?;
        let mut random = Random::new(seed, 0);
        let clock = FrameClock::new(start, PER_SECOND, 48_000, &mut random);
        let target = config.bitrate.bits_per_second() as f64 / 8.0 / f64::from(PER_SECOND);
        // Lengths of spurts and pauses are geometric, and their means are as the parts of the time.
        let spurt = config.spurt.as_secs_f64() * f64::from(PER_SECOND);
        let talking = config.talking.fraction();
        let (stops, starts) = match config.talking {
            Ratio::ONE => (Ratio::ZERO, Ratio::ONE),
            Ratio::ZERO => (Ratio::ONE, Ratio::ZERO),
            _ => (Ratio::from_fraction(1.0 / spurt), Ratio::from_fraction(talking / (1.0 - talking) / spurt)),
        };
        let talks = random.chance(config.talking);
        Ok(Self {
            clock,
            rate: RateControl::new(target, MIN_OPUS, HORIZON, SPREAD),
            quiet: ((target * QUIET).round() as usize).max(MIN_OPUS),
            stops,
            starts,
            dtx: config.dtx,
            talks,
            // Who is silent falls silent soon, each at another moment, so that comfort noise of many does not come at once.
            since: if talks { 0 } else { random.below(HANGOVER) },
            level: 30.0,
            first_timestamp: random.bits() as u32,
            packets: 0,
            random,
            skipped: 0,
        })
    }

    /// See [`Model::poll`](super::Model::poll).
    pub fn poll(&mut self, now: Instant) -> Option<Packet> {
        self.skipped += self.clock.skip(now, MAX_BEHIND);
        while self.clock.next() <= now {
            let (at, timestamp) = (self.clock.next(), self.first_timestamp.wrapping_add(self.clock.timestamp()));
            self.clock.advance();
            if let Some((payload_len, marker, level)) = self.frame() {
                let counter = self.packets;
                self.packets += 1;
                return Some(Packet {
                    at,
                    encoding: 0,
                    timestamp,
                    marker,
                    counter,
                    frame: counter as u32,
                    index: 0,
                    packets: 1,
                    payload_len: payload_len.min(MAX_PAYLOAD) as u16,
                    content: Content::Opus { level, voice: self.talks },
                });
            }
        }
        None
    }

    /// The next 20 ms: bytes, marker and level; nothing if none are sent of them.
    fn frame(&mut self) -> Option<(usize, bool, u8)> {
        let turns = self.random.chance(if self.talks { self.stops } else { self.starts });
        if turns {
            self.talks = !self.talks;
            self.since = 0;
        }
        let since = self.since;
        self.since += 1;
        if self.talks {
            self.level = (0.9 * self.level + 0.1 * 28.0 + 2.0 * self.random.normal()).clamp(12.0, 60.0);
            return Some((self.rate.delta(&mut self.random, 1.0), since == 0, self.level as u8));
        }
        if !self.dtx || since < HANGOVER {
            return Some((self.quiet, false, 75));
        }
        (since - HANGOVER).is_multiple_of(NOISE_EVERY).then_some((MIN_OPUS, false, 127))
    }

    /// See [`Model::poll_timeout`](super::Model::poll_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        Some(self.clock.next())
    }

    /// See [`Model::skipped`](super::Model::skipped).
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }
}
