//! How long packets wait between two workers: a histogram with one writer.

use std::time::Duration;

use crate::counters::Count;

/// Four buckets for each doubling, from a microsecond to two seconds; what takes longer is in the last.
const BUCKETS: usize = 80;

/// How many packets of other workers waited for how long, from the moment they were put before a worker until it took them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waits([u64; BUCKETS]);

impl Default for Waits {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Waits {
    /// How many packets there were.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// What a share of `quantile` (0 to 1) of them did not exceed, rounded up by at most a quarter, and to microseconds; zero if there were none.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let wanted = (self.count() as f64 * quantile.clamp(0.0, 1.0)).ceil() as u64;
        let mut seen = 0;
        let found = self.0.iter().position(|count| {
            seen += count;
            seen >= wanted.max(1)
        });
        found.map_or(Duration::ZERO, bound)
    }

    /// For each doubling of the time where it ends, and how many packets waited for less than that but not less than half of it. All that took longer than the last
    /// end are counted there.
    pub fn doublings(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.0.chunks(4).enumerate().map(|(at, counts)| (bound(at * 4 + 3), counts.iter().sum()))
    }

    /// All times added up, rounded up by at most a quarter each.
    pub fn sum(&self) -> Duration {
        let seconds = self.0.iter().enumerate().map(|(at, &count)| bound(at).as_secs_f64() * count as f64).sum();
        Duration::from_secs_f64(seconds)
    }

    /// Those that came after `earlier` was read.
    pub fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|bucket| self.0[bucket].saturating_sub(earlier.0[bucket])))
    }
}

/// One worker's [`Waits`].
#[derive(Debug)]
pub(crate) struct WaitTally([Count; BUCKETS]);

impl Default for WaitTally {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Count::default()))
    }
}

impl WaitTally {
    /// `packets` waited for `time`.
    pub(crate) fn add(&self, packets: usize, time: Duration) {
        self.0[bucket(time)].add(packets);
    }

    /// Adds what was counted so far to `sums`.
    pub(crate) fn add_to(&self, sums: &mut Waits) {
        for (sum, count) in sums.0.iter_mut().zip(&self.0) {
            *sum += count.get();
        }
    }
}

fn bucket(time: Duration) -> usize {
    let micros = time.as_micros().min(u128::from(u32::MAX)) as usize;
    if micros < 4 {
        return micros;
    }
    let doubling = micros.ilog2() as usize;
    ((doubling - 1) * 4 + (micros >> (doubling - 2)) % 4).min(BUCKETS - 1)
}

/// Where a bucket ends.
fn bound(bucket: usize) -> Duration {
    let micros = if bucket < 4 { bucket + 1 } else { (bucket % 4 + 5) << (bucket / 4 - 1) };
    Duration::from_micros(micros as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn every_time_is_below_its_buckets_end_and_by_no_more_than_a_quarter() {
        for time in (0..5000).chain((5000..2_000_000).step_by(997)) {
            let end = bound(bucket(micros(time)));
            assert!(end > micros(time) && end <= micros((time + time / 4).max(time + 1)), "{time}: {end:?}");
        }
        assert_eq!(bucket(Duration::from_secs(100_000)), BUCKETS - 1);
        assert!(bound(BUCKETS - 1) > Duration::from_secs(2));
    }

    #[test]
    fn quantiles_are_those_of_what_was_counted() {
        let tally = WaitTally::default();
        let mut before = Waits::default();
        assert_eq!((before.count(), before.quantile(0.99)), (0, Duration::ZERO));
        tally.add(5, micros(900_000));
        tally.add_to(&mut before);
        tally.add(98, micros(10));
        tally.add(2, micros(1000));
        let mut after = Waits::default();
        tally.add_to(&mut after);
        let waits = after.since(&before);
        assert_eq!(waits.count(), 100);
        assert_eq!((waits.quantile(0.5), waits.quantile(0.98)), (micros(12), micros(12)));
        assert_eq!(waits.sum(), micros(98 * 12 + 2 * 1024));
        let mut many = Waits::default();
        many.0[bucket(micros(10))] = 10 * u64::from(u32::MAX);
        assert_eq!(many.sum().as_secs(), 10 * u64::from(u32::MAX) * 12 / 1_000_000);
        assert_eq!((waits.quantile(0.99), waits.quantile(1.0)), (micros(1024), micros(1024)));
    }
}
