//! Whether a participant's line was interrupted, as far as the server can tell: it hears the participant again after an unusual pause.
//!
//! What is usual differs: a camera sends every few milliseconds, a still screen once a second, and who only watches is heard by reports and checks, every 0.5 to
//! 2.5 s. So a pause counts if it is at least twice as long as the longest of late.

use std::time::{Duration, Instant};

/// The shortest pause that counts. It is looked for every 100 ms, so this finds every pause of 500 ms and none below 300.
const GAP: Duration = Duration::from_millis(400);
/// Longer pauses are never usual: who sends or receives media reports every 1.5 s at most (RFC 3550 §6.2, as browsers have it), and may lose a report.
const MAX_USUAL: Duration = Duration::from_millis(2_500);
/// What is taken to be usual at first: those reports.
const FIRST_USUAL: Duration = Duration::from_millis(1_500);
/// After so many packets without a longer pause, what was usual counts for a third: five seconds of sound, one of picture.
const MEMORY: u32 = 256;

/// When a participant was last heard, and how long its pauses are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pulse {
    packets: u64,
    heard: Option<Instant>,
    usual: Duration,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self { packets: 0, heard: None, usual: FIRST_USUAL }
    }

    /// Looks again; `packets` is how many authentic ones came so far. Whether the participant is heard again after a gap.
    pub(crate) fn look(&mut self, now: Instant, packets: u64) -> bool {
        let fresh = packets.abs_diff(std::mem::replace(&mut self.packets, packets));
        if fresh == 0 {
            return false;
        }
        let Some(heard) = self.heard.replace(now) else { return false };
        let pause = now.saturating_duration_since(heard);
        let is_gap = pause >= self.limit();
        self.usual -= self.usual * fresh.min(u64::from(MEMORY)) as u32 / MEMORY;
        if pause <= MAX_USUAL {
            self.usual = self.usual.max(pause);
        }
        is_gap
    }

    /// The server itself did not look for this long: that is nobody's silence.
    pub(crate) fn excuse(&mut self, late: Duration) {
        self.heard = self.heard.map(|heard| heard + late);
    }

    /// Whether the participant is in a gap now.
    pub(crate) fn is_silent(&self, now: Instant) -> bool {
        self.heard.is_some_and(|heard| now.saturating_duration_since(heard) >= self.limit())
    }

    fn limit(&self) -> Duration {
        (self.usual * 2).max(GAP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every 100 ms as `packets` says for each of them; when a gap was seen, in looks.
    fn gaps(packets: impl IntoIterator<Item = u64>) -> Vec<usize> {
        let (start, mut pulse, mut sum) = (Instant::now(), Pulse::new(), 0);
        let mut seen = Vec::new();
        for (look, packets) in packets.into_iter().enumerate() {
            sum += packets;
            if pulse.look(start + Duration::from_millis(100) * look as u32, sum) {
                seen.push(look);
            }
        }
        seen
    }

    /// `packets` every `every` looks, for as many looks as asked for.
    fn rhythm(packets: u64, every: usize, looks: usize) -> Vec<u64> {
        (0..looks).map(|look| if look % every == 0 { packets } else { 0 }).collect()
    }

    #[test]
    fn half_a_second_without_packets_is_a_gap_in_steady_media() {
        let steady = rhythm(30, 1, 100);
        assert_eq!(gaps([&steady[..], &[0; 4], &steady].concat()), [104]);
        assert_eq!(gaps([&steady[..], &[0; 1], &steady].concat()), Vec::<usize>::new());
        assert_eq!(gaps([&steady[..], &[0; 450], &steady, &[0; 60], &steady].concat()), [550, 710], "a gap does not hide the next");
    }

    #[test]
    fn a_slow_rhythm_is_no_gap_but_an_outage_in_it_is() {
        for every in [4, 10, 15] {
            let slow = rhythm(1, every, 600);
            assert_eq!(gaps(slow.clone()), Vec::<usize>::new(), "every {every}");
            assert_eq!(gaps([&slow[..], &[0; 60], &slow].concat()), [660], "every {every}");
        }
    }

    #[test]
    fn who_falls_silent_on_purpose_is_taken_for_interrupted_once() {
        let seen = gaps([rhythm(30, 1, 100), rhythm(1, 15, 600)].concat());
        assert_eq!(seen.len(), 1, "{seen:?}");
    }

    #[test]
    fn the_servers_own_pause_is_no_gap() {
        let start = Instant::now();
        let mut pulse = Pulse::new();
        for look in 0..100 {
            pulse.look(start + Duration::from_millis(100) * look, u64::from(look) * 30 + 30);
        }
        let late = Duration::from_secs(2);
        let mut excused = pulse;
        excused.excuse(late);
        let now = start + Duration::from_secs(10) + late;
        assert!(!excused.is_silent(now) && !excused.look(now, 9_999));
        assert!(pulse.is_silent(now) && pulse.look(now, 9_999));
    }
}
