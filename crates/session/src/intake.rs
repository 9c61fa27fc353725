//! How fast messages are taken from the client. What is not taken stays in SCTP's receive window, which then keeps the client from sending more: it has to wait, and
//! loses nothing.

use std::time::{Duration, Instant};

/// Bytes of messages taken in a second: each may go to everybody in a room.
pub(crate) const RATE: i64 = 2 << 20;
/// Bytes taken at once after a pause of two seconds.
pub(crate) const BURST: i64 = 4 << 20;
/// What a message counts for at least: it costs the server that much work, however short it is.
pub(crate) const LEAST: usize = 1 << 10;
/// Bytes that have to be there again after they were used up, so that taking goes on in lumps of 32 ms and not byte by byte.
const LUMP: i64 = 64 << 10;

/// A budget of bytes.
#[derive(Debug)]
pub(crate) struct Intake {
    /// Below zero after the last message of a lump, which is taken whole.
    level: i64,
    at: Option<Instant>,
    /// Used up, and not refilled by a [`LUMP`] since.
    waits: bool,
}

impl Intake {
    pub(crate) fn new() -> Self {
        Self { level: BURST, at: None, waits: false }
    }

    /// Whether a message may be taken now.
    pub(crate) fn is_open(&mut self, now: Instant) -> bool {
        let passed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        // Microseconds, so that many short pauses add up.
        let more = passed.as_micros().min(u128::from(u32::MAX)) as i64 * RATE / 1_000_000;
        if more > 0 || self.at.is_none() {
            self.level = (self.level + more).min(BURST);
            self.at = Some(now);
        }
        self.waits = if self.waits { self.level < LUMP } else { self.level <= 0 };
        !self.waits
    }

    /// A message was taken.
    pub(crate) fn take(&mut self, bytes: usize) {
        self.level -= bytes.max(LEAST) as i64;
    }

    /// When it opens again; `None` while it is open.
    pub(crate) fn opens_at(&self) -> Option<Instant> {
        let missing = (LUMP - self.level).max(0) as u64;
        self.at.filter(|_| self.waits).map(|at| at + Duration::from_micros(missing * 1_000_000 / RATE as u64 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_at_once_and_then_the_rate() {
        let start = Instant::now();
        let (mut now, mut intake, mut taken) = (start, Intake::new(), 0i64);
        while intake.is_open(now) {
            intake.take(10_000);
            taken += 10_000;
        }
        assert!((BURST..BURST + 10_000).contains(&taken), "{taken}");
        let mut lumps = 0;
        while now < start + Duration::from_secs(10) {
            now = intake.opens_at().expect("it waits");
            assert!(intake.is_open(now), "it opens when it says");
            lumps += 1;
            while intake.is_open(now) {
                intake.take(10_000);
                taken += 10_000;
            }
        }
        let expected = BURST + 10 * RATE;
        assert!((taken - expected).abs() < 200_000, "{taken} of {expected}");
        assert!((250..350).contains(&lumps), "{lumps}");
    }

    #[test]
    fn short_messages_count_for_a_kilobyte() {
        let now = Instant::now();
        let mut intake = Intake::new();
        let mut taken = 0;
        while intake.is_open(now) {
            intake.take(1);
            taken += 1;
        }
        assert_eq!(taken, BURST / LEAST as i64);
    }
}
