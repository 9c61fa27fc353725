//! How long packets wait on the line: their one-way delay above the least of late.

/// The least delay is kept for one to two of these, in microseconds. Clocks that differ by 50 parts in a million drift by 3 ms in two.
const BASE: i64 = 30_000_000;
/// While somebody else keeps the queue full it is kept for longer: nothing renews it.
const KEPT_BASE: i64 = 300_000_000;
/// The queue's lowest level is looked for over one to two of these.
const LOWEST: i64 = 1_500_000;
/// A queue this long, in milliseconds, that does not shrink counts as overuse whatever the trend says. Half of what conversations bear.
const LONG: f64 = 60.0;
/// A queue that never falls below this, and a packet's time, is somebody else's doing, if backing off did not help.
const STANDING: f64 = 15.0;

/// A queue whose lowest level stays within so many milliseconds …
const LEVEL: f64 = 4.0;
/// … for so long, in microseconds, is no queue but a path that has become longer: what others fill goes up and down.
const SETTLED: i64 = 5_000_000;

/// A queue has to be so many milliseconds long, and this many times longer than the delay varies by itself, before its growth means anything; …
const NOISE: (f64, f64) = (10.0, 2.0);
/// … but no longer than this.
const MOST_NOISE: f64 = 40.0;

/// The least of a value over a time between one and two windows.
#[derive(Clone, Copy, Debug, Default)]
struct Least {
    begun: i64,
    current: Option<f64>,
    before: Option<f64>,
}

impl Least {
    fn add(&mut self, at: i64, window: i64, value: f64) -> f64 {
        if self.current.is_none() || at - self.begun >= window {
            self.before = self.current.filter(|_| at - self.begun < 2 * window);
            self.current = None;
            self.begun = at;
        }
        let current = self.current.map_or(value, |current| current.min(value));
        self.current = Some(current);
        self.before.map_or(current, |before| before.min(current))
    }

    /// Everything so far was less by this than what comes.
    fn shift(&mut self, by: f64) {
        for value in [&mut self.before, &mut self.current].into_iter().flatten() {
            *value += by;
        }
    }

    fn get(&self) -> Option<f64> {
        // Only what has been looked for long enough counts.
        self.before.zip(self.current).map(|(before, current)| before.min(current))
    }
}

/// The queueing delay.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    base: Least,
    lowest: Least,
    /// Since when that is where it is, and where.
    level: Option<(i64, f64)>,
    /// Milliseconds, smoothed over some packets.
    delay: f64,
    /// The delay some packets ago, to see whether it shrinks.
    lagging: f64,
    /// The mean deviation of single packets from that, over some hundred of them: what the line does by itself, not queues that come and go.
    deviation: f64,
    keep_base: bool,
}

impl Queue {
    /// A packet has arrived; times in microseconds, each on its own clock.
    pub(crate) fn add(&mut self, sent: i64, arrived: i64) {
        let transit = (arrived - sent) as f64 / 1e3;
        let delay = transit - self.base.add(arrived, if self.keep_base { KEPT_BASE } else { BASE }, transit);
        self.delay += 0.25 * (delay - self.delay);
        self.lagging += 0.05 * (self.delay - self.lagging);
        self.deviation += 0.01 * ((delay - self.lagging).abs() - self.deviation);
        let lowest = self.lowest.add(arrived, LOWEST, delay);
        let (since, level) = *self.level.get_or_insert((arrived, lowest));
        if (lowest - level).abs() > LEVEL / 2.0 {
            self.level = Some((arrived, lowest));
        } else if arrived - since >= SETTLED && level > STANDING {
            self.follow_path(lowest);
        }
    }

    /// The path has become longer by this.
    fn follow_path(&mut self, by: f64) {
        self.base.shift(by);
        self.level = None;
        self.lowest.shift(-by);
        (self.delay, self.lagging) = (self.delay - by, self.lagging - by);
    }

    /// How long packets wait, in milliseconds.
    pub(crate) const fn delay(&self) -> f64 {
        self.delay
    }

    /// Whether the queue is longer than the delay varies by itself.
    pub(crate) fn is_more_than_noise(&self) -> bool {
        self.delay > (NOISE.0 + NOISE.1 * self.deviation).min(MOST_NOISE)
    }

    /// Whether the least delay is to be remembered for longer.
    pub(crate) const fn keep_base(&mut self, keep: bool) {
        self.keep_base = keep;
    }

    /// Whether the queue is long and does not get shorter.
    pub(crate) fn is_long(&self) -> bool {
        self.delay > LONG && self.delay >= self.lagging
    }

    /// Whether the queue has not been nearly empty for the last seconds; a packet takes `packet` milliseconds on the line.
    pub(crate) fn is_standing(&self, packet: f64) -> bool {
        self.lowest.get().is_some_and(|lowest| lowest > STANDING + packet)
    }

    /// Forgets the delays so far: the path is another.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_the_delay_above_the_least() {
        let mut queue = Queue::default();
        let mut run = |from: i64, until: i64, delay: i64| {
            for at in (from..until).step_by(10_000) {
                queue.add(at, at + 7_000_000 + delay);
            }
            (queue.delay().round(), queue.is_standing(0.0))
        };
        assert_eq!(run(0, 5_000_000, 20_000), (0.0, false));
        assert_eq!(run(5_000_000, 6_000_000, 70_000), (50.0, false));
        assert_eq!(run(6_000_000, 9_000_000, 70_000), (50.0, true));
        assert_eq!(run(9_000_000, 9_200_000, 20_000), (0.0, false));
        assert_eq!(run(9_200_000, 17_000_000, 70_000), (0.0, false), "another path, longer than before");
        assert_eq!(run(17_000_000, 17_200_000, 90_000), (20.0, false));
        assert_eq!(run(17_200_000, 17_400_000, 20_000), (0.0, false), "and shorter again");
    }

    #[test]
    fn a_queue_that_others_fill_is_no_longer_path() {
        let mut queue = Queue::default();
        for at in (0..30_000_000).step_by(10_000) {
            // Up by 3 ms in a second, and down when something is lost.
            let filled = if at < 1_000_000 { 0 } else { 60_000 + at % 8_000_000 * 3 / 1_000 };
            queue.add(at, at + 7_000_000 + filled);
            assert!(at < 5_000_000 || queue.is_standing(10.0) && queue.delay() > 55.0, "{} ms at {at}", queue.delay());
        }
    }
}
