//! Frames that wait to be sent, and the pacer.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Packet;
use super::stream::{Frame, Stream};

/// The pacer's rate as a multiple of the bitrate, as in libwebrtc.
pub(super) const PACE: f64 = 2.5;

/// How often the pacer sends.
const QUANTUM: Duration = Duration::from_millis(5);

/// Frames that wait at most: a keyframe of each of four encodings is out within some four frames' time, so this many wait only if the pacer can't
/// keep up.
const MAX_FRAMES: usize = 64;

/// The frames of a track's encodings, in the order in which they were made, paced together: what the bitrate allows in a quantum leaves at once, and
/// an overdraft of less than a packet is waited for.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    /// By encoding.
    pub(super) streams: Vec<Stream>,
    frames: VecDeque<Frame>,
    /// Bytes that leave in a quantum.
    per_quantum: f64,
    /// Bytes that may leave at the time `at`: up to a quantum's worth, and below 0 after an overdraft.
    budget: f64,
    at: Instant,
}

impl Outbox {
    /// For a track of `bits_per_second`, from `start` on.
    pub(super) fn new(streams: Vec<Stream>, bits_per_second: u64, start: Instant) -> Self {
        let per_quantum = bits_per_second as f64 / 8.0 * PACE * QUANTUM.as_secs_f64();
        Self { streams, frames: VecDeque::new(), per_quantum, budget: per_quantum, at: start }
    }

    /// Takes a frame of one of its streams, if it [has room](Self::has_room).
    pub(super) fn push(&mut self, frame: Frame) {
        debug_assert!(self.has_room(), "the caller asks first");
        self.frames.push_back(frame);
    }

    pub(super) fn has_room(&self) -> bool {
        self.frames.len() < MAX_FRAMES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// When the next packet leaves.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next().map(|(due, _)| due)
    }

    /// The next packet that leaves by `now`.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Packet> {
        let (due, budget) = self.next().filter(|(due, _)| *due <= now)?;
        let frame = self.frames.front_mut()?;
        let packet = self.streams[usize::from(frame.encoding())].packet(frame, due);
        if frame.is_done() {
            self.frames.pop_front();
        }
        self.at = due;
        self.budget = budget - f64::from(packet.payload_len);
        Some(packet)
    }

    /// When the next packet leaves, and the budget it finds.
    fn next(&self) -> Option<(Instant, f64)> {
        let ready = self.frames.front()?.ready.max(self.at);
        let earned = (ready - self.at).as_secs_f64() / QUANTUM.as_secs_f64() * self.per_quantum;
        let budget = (self.budget + earned).min(self.per_quantum);
        if budget > 0.0 {
            return Some((ready, budget));
        }
        let quanta = (-budget / self.per_quantum).floor() + 1.0;
        // A quantum carries 2 bytes or more and a packet overdraws by less than 1,500, so this is a small number.
        Some((ready + QUANTUM * quanta as u32, budget + quanta * self.per_quantum))
    }
}
