//! What an encoder sends.

use std::time::{Duration, Instant};

use switchyard_netem::Random;

/// Bytes of media in a packet.
const PAYLOAD: usize = 1_150;
/// Between two pictures: 30 in a second.
const INTERVAL: Duration = Duration::from_nanos(33_333_333);
/// How much larger key pictures are.
const KEY: f64 = 4.0;
/// The part of what was too much or too little that the next picture makes up for.
const REPAID: f64 = 0.1;

/// A camera's encoder: pictures of varying size, at a mean rate that follows what it is told.
#[derive(Debug)]
pub struct Video {
    random: Random,
    /// Bits in a second at most: more makes nothing sharper.
    most: u64,
    next: Instant,
    pictures: u64,
    key_wanted: bool,
    /// Bytes sent beyond the mean.
    debt: f64,
}

impl Video {
    /// Sends from `start` on, at most `most` bits a second.
    pub fn new(start: Instant, seed: u64, most: u64) -> Self {
        let mut random = Random::new(seed, 40);
        let phase = Duration::from_nanos(random.below(INTERVAL.as_nanos() as u64));
        Self { random, most, next: start + phase, pictures: 0, key_wanted: true, debt: 0.0 }
    }

    /// A decoder needs a key picture.
    pub const fn request_key(&mut self) {
        self.key_wanted = true;
    }

    /// When the next picture comes.
    pub const fn poll_timeout(&self) -> Instant {
        self.next
    }

    /// The next picture, if it is time: its number, whether it is a key picture, and the bytes of its packets.
    pub fn poll(&mut self, now: Instant, rate: u64) -> Option<(u64, bool, Vec<usize>)> {
        if now < self.next {
            return None;
        }
        self.next += INTERVAL;
        let mean = rate.min(self.most) as f64 / 8.0 * INTERVAL.as_secs_f64();
        let key = std::mem::take(&mut self.key_wanted);
        let size = mean * (1.0 + 0.2 * self.random.normal()).clamp(0.3, 2.0) * if key { KEY } else { 1.0 };
        let size = (size - REPAID * self.debt).max(0.2 * mean).max(60.0);
        self.debt += size - mean;
        let number = self.pictures;
        self.pictures += 1;
        // Chromium splits evenly.
        let count = (size as usize).div_ceil(PAYLOAD);
        Some((number, key, (0..count).map(|_| size as usize / count + 22).collect()))
    }
}
