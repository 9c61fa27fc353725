//! Equal packets in equal bursts.

use std::time::{Duration, Instant};

use switchyard_netem::Random;

use super::stamp::VP8_DESCRIPTOR;
use super::stream::{Frame, FrameClock, Stream};
use super::{ConfigError, FixedConfig, MAX_BEHIND, Packet};

/// A track of equal packets: nothing about it is random but when it begins.
#[derive(Debug)]
pub struct FixedModel {
    clock: FrameClock,
    stream: Stream,
    /// The frame being sent, and its packets that have left.
    frame: Option<(Frame, u32)>,
    packets_per_second: u64,
    fps: u64,
    payload: usize,
    burst: u32,
    spacing: Duration,
    skipped: u64,
}

impl FixedModel {
    /// A track that begins within a frame's time after `start`.
    pub fn new(config: &FixedConfig, seed: u64, start: Instant) -> Result<Self, ConfigError> {
        config.check()?;
        let mut random = Random::new(seed, 0);
        Ok(Self {
            clock: FrameClock::new(start, config.fps, 90_000, &mut random),
            stream: Stream::new(0, FixedConfig::SIZE, &mut random),
            frame: None,
            packets_per_second: config.packets_per_second.into(),
            fps: config.fps.into(),
            payload: config.payload.into(),
            burst: config.burst,
            spacing: config.spacing,
            skipped: 0,
        })
    }

    /// See [`Model::poll`](super::Model::poll).
    pub fn poll(&mut self, now: Instant) -> Option<Packet> {
        if self.frame.is_none() {
            self.skipped += self.clock.skip(now, MAX_BEHIND);
            if self.clock.next() > now {
                return None;
            }
            self.frame = Some((self.next_frame(), 0));
        }
        let (frame, sent) = self.frame.as_mut()?;
        let at = frame.ready + self.spacing * (*sent / self.burst);
        if at > now {
            return None;
        }
        *sent += 1;
        let packet = self.stream.packet(frame, at);
        if frame.is_done() {
            self.frame = None;
        }
        Some(packet)
    }

    fn next_frame(&mut self) -> Frame {
        let (at, timestamp, ordinal) = (self.clock.next(), self.clock.timestamp(), self.clock.ordinal());
        self.clock.advance();
        // Where the packets don't divide evenly, some frames have one more.
        let packets = (ordinal + 1) * self.packets_per_second / self.fps - ordinal * self.packets_per_second / self.fps;
        let keyframe = self.stream.takes_keyframe(at, None);
        let len = packets as usize * (self.payload - VP8_DESCRIPTOR);
        self.stream.frame_of(at, timestamp, keyframe, len, packets as u16)
    }

    /// See [`Model::poll_timeout`](super::Model::poll_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        Some(match &self.frame {
            Some((frame, sent)) => frame.ready + self.spacing * (*sent / self.burst),
            None => self.clock.next(),
        })
    }

    /// See [`Model::request_keyframe`](super::Model::request_keyframe).
    pub fn request_keyframe(&mut self, now: Instant, encoding: u8) -> bool {
        encoding == 0 && self.stream.request_keyframe(now)
    }

    /// See [`Model::skipped`](super::Model::skipped).
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }
}
