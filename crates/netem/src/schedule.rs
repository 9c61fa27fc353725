//! What changes with time: rates and black holes. Times are nanoseconds since the line began.

use std::time::Duration;

use crate::config::{BlackHole, Config};
use crate::units::{Rate, nanoseconds};

/// The rate at every moment: a step function, repeated if it has a period.
#[derive(Clone, Debug)]
pub(crate) struct RateSchedule {
    /// Where each rate begins; the first at 0.
    steps: Vec<(u64, Rate)>,
    period: Option<u64>,
    /// Bits times 10^9 that a whole period carries, if every rate in it has a limit.
    per_period: Option<u128>,
}

impl RateSchedule {
    /// Of a configuration that has been checked: its rates come to more than 0 in the end.
    pub(crate) fn new(config: &Config) -> Self {
        let first = (0, config.rate);
        let steps: Vec<_> = std::iter::once(first).chain(config.rate_steps.iter().map(|step| (nanoseconds(step.at), step.rate))).collect();
        let period = config.repeat.map(nanoseconds);
        let per_period = period.filter(|_| steps.iter().all(|(_, rate)| *rate != Rate::UNLIMITED)).map(|period| {
            let ends = steps.iter().skip(1).map(|(start, _)| *start).chain([period]);
            steps.iter().zip(ends).map(|((start, rate), end)| u128::from(rate.bits_per_second()) * u128::from(end - start)).sum()
        });
        Self { steps, period, per_period }
    }

    /// Whether there is no limit, ever.
    pub(crate) fn is_unlimited(&self) -> bool {
        self.steps.iter().all(|(_, rate)| *rate == Rate::UNLIMITED)
    }

    /// When the last of `bits` has left if the first leaves at `from`.
    pub(crate) fn finish(&self, from: u64, bits: u64) -> u64 {
        // In bits times 10^9, what a rate carries in a second: no rounding before the end.
        let mut left = u128::from(bits) * 1_000_000_000;
        let mut at = from;
        loop {
            let (begin, offset) = match self.period {
                Some(period) => (at / period * period, at % period),
                None => (0, at),
            };
            let index = self.steps.partition_point(|(start, _)| *start <= offset) - 1;
            let rate = self.steps[index].1;
            if rate == Rate::UNLIMITED || left == 0 {
                return at;
            }
            let per_second = u128::from(rate.bits_per_second());
            let next = self.steps.get(index + 1).map(|(start, _)| *start).or(self.period);
            let carried = next.map_or(u128::MAX, |next| per_second * u128::from(next - offset));
            if left <= carried && per_second > 0 {
                return at.saturating_add(u64::try_from(left.div_ceil(per_second)).unwrap_or(u64::MAX));
            }
            // Only a checked configuration gets here: the last rate of all is not 0, so there is a next one.
            let Some(next) = next else { return u64::MAX };
            left -= carried;
            at = begin + next;
            if let (Some(period), Some(per_period)) = (self.period, self.per_period)
                && next == period
                && per_period > 0
            {
                // Whole periods at once, so that a long packet on a slow line costs no long loop.
                let whole = left.saturating_sub(1) / per_period;
                left -= whole * per_period;
                at = at.saturating_add(u64::try_from(whole).unwrap_or(u64::MAX).saturating_mul(period));
            }
        }
    }
}

/// The times when everything that enters is lost.
#[derive(Clone, Debug)]
pub(crate) struct Holes {
    /// Begin and end, in order, apart.
    holes: Vec<(u64, u64)>,
    period: Option<u64>,
}

impl Holes {
    pub(crate) fn new(holes: &[BlackHole], repeat: Option<Duration>) -> Self {
        let holes = holes.iter().map(|hole| (nanoseconds(hole.at), nanoseconds(hole.at + hole.length))).collect();
        Self { holes, period: repeat.map(nanoseconds) }
    }

    pub(crate) fn is_open(&self, at: u64) -> bool {
        let offset = self.period.map_or(at, |period| at % period);
        let after = self.holes.partition_point(|(begin, _)| *begin <= offset);
        after > 0 && offset < self.holes[after - 1].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn schedule(text: &str) -> RateSchedule {
        RateSchedule::new(&text.parse().unwrap())
    }

    #[test]
    fn bits_leave_at_the_rate_of_the_moment() {
        let steps = schedule("rate=8kbit/s,rate@1s=16kbit/s,rate@2s=0,rate@3s=1kbit/s");
        assert_eq!(steps.finish(0, 8_000), SECOND);
        assert_eq!(steps.finish(SECOND / 2, 4_000 + 8_000), SECOND * 3 / 2, "half of it at each rate");
        assert_eq!(steps.finish(SECOND, 16_000), 2 * SECOND);
        assert_eq!(steps.finish(2 * SECOND, 1), 3 * SECOND + SECOND / 1_000, "it waits while the rate is 0");
        assert_eq!(steps.finish(9 * SECOND, 0), 9 * SECOND);
    }

    #[test]
    fn a_schedule_repeats() {
        let steps = schedule("rate=8kbit/s,rate@1s=0,repeat=2s");
        assert_eq!(steps.finish(0, 8_000), SECOND);
        assert_eq!(steps.finish(0, 8_001), 2 * SECOND + SECOND / 8_000);
        assert_eq!(steps.finish(5 * SECOND, 8_000), 7 * SECOND);
        let long = 8_000 * 1_000_000;
        assert_eq!(steps.finish(0, long), (2 * 1_000_000 - 1) * SECOND, "a million periods, each half used");
    }

    #[test]
    fn an_unlimited_rate_takes_no_time() {
        let steps = schedule("rate=unlimited,rate@1s=8kbit/s,repeat=2s");
        assert_eq!(steps.finish(5, 1_000_000), 5);
        assert_eq!(steps.finish(SECOND, 1_000_000), 2 * SECOND, "the rest when the limit is lifted");
        assert!(!steps.is_unlimited());
        assert!(schedule("delay=1s").is_unlimited());
    }

    #[test]
    fn holes_open_and_close() {
        let config: Config = "black_hole@1s=500ms,black_hole@2s=1s,repeat=5s".parse().unwrap();
        let holes = Holes::new(&config.black_holes, config.repeat);
        let open: Vec<u64> = (0..100).filter(|tenth| holes.is_open(tenth * SECOND / 10)).collect();
        let expected: Vec<u64> = [10..15, 20..30, 60..65, 70..80].into_iter().flatten().collect();
        assert_eq!(open, expected);
    }
}
