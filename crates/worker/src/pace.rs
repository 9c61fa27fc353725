//! How long packets wait for others that go to the same destinations.

use std::time::{Duration, Instant};

/// Over which the load is measured.
const WINDOW: Duration = Duration::from_millis(200);

/// From this part of its time on which a worker is busy, packets that many get wait for others …
const BUSY: f32 = 0.6;

/// … up to [`MOST`] from this part on.
const FULL: f32 = 0.9;

/// The longest that a packet waits, and everything else that comes meanwhile.
const MOST: Duration = Duration::from_millis(20);

/// Copies of what dozens get for which it is worth it.
const CROWD: usize = 64;

/// What a worker knows of its load and of what it forwarded last.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// The part of its time in which the worker was busy, 0 to 1.
    busy: f32,
    /// When what many get was forwarded last.
    last: Option<Instant>,
}

impl Pace {
    /// Counts for how long the worker was awake, and then asleep.
    pub(crate) fn count(&mut self, awake: Duration, asleep: Duration) {
        let whole = (awake + asleep).as_secs_f32();
        if whole > 0.0 {
            let weight = (whole / WINDOW.as_secs_f32()).min(1.0);
            self.busy += (awake.as_secs_f32() / whole - self.busy) * weight;
        }
    }

    /// What is forwarded has so many copies for those who get what dozens get.
    pub(crate) fn forwards(&mut self, now: Instant, crowd: usize) {
        self.last = (crowd >= CROWD).then_some(now);
    }

    /// How long to wait before packets are taken, when something else is `due`.
    pub(crate) fn pause(&self, now: Instant, due: Option<Instant>) -> Option<Duration> {
        let share = ((self.busy - BUSY) / (FULL - BUSY)).clamp(0.0, 1.0);
        let next = self.last? + MOST.mul_f32(share);
        let next = due.map_or(next, |due| due.min(next));
        next.checked_duration_since(now).filter(|pause| !pause.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Duration = Duration::from_millis(1);

    /// Of a worker that has been busy for so many of each 100 turns, for a second.
    fn pace(busy: u32) -> Pace {
        let mut pace = Pace::default();
        for _ in 0..10 {
            pace.count(TURN * busy, TURN * (100 - busy));
        }
        pace
    }

    #[test]
    fn packets_that_many_get_wait_the_longer_the_busier_the_worker_is() {
        let now = Instant::now();
        let waits = [30, 60, 75, 90, 100].map(|busy| {
            let mut pace = pace(busy);
            pace.forwards(now, CROWD);
            pace.pause(now, None)
        });
        let half = waits[2].expect("some").as_secs_f32() / MOST.as_secs_f32();
        assert!((0.45..0.55).contains(&half), "{half}");
        let most = waits[3].expect("some").as_secs_f32() / MOST.as_secs_f32();
        assert!((0.95..=1.0).contains(&most), "{most}");
        assert_eq!((waits[0], waits[1], waits[4]), (None, None, Some(MOST)));
    }

    #[test]
    fn nothing_waits_for_what_few_get_or_beyond_its_time() {
        let mut pace = Pace { busy: 1.0, last: None };
        let now = Instant::now();
        assert_eq!(pace.pause(now, None), None, "nothing was forwarded yet");
        pace.forwards(now, CROWD);
        assert_eq!(pace.pause(now + MOST / 4, None), Some(MOST * 3 / 4));
        assert_eq!(pace.pause(now + MOST, None), None);
        assert_eq!(pace.pause(now, Some(now + MOST / 2)), Some(MOST / 2), "what is due is not late");
        assert_eq!(pace.pause(now, Some(now)), None);
        pace.forwards(now, CROWD - 1);
        assert_eq!(pace.pause(now, None), None);
    }

    #[test]
    fn a_worker_that_had_much_to_do_is_calm_again_soon() {
        let mut pace = pace(100);
        pace.forwards(Instant::now(), CROWD);
        pace.count(Duration::ZERO, WINDOW);
        assert_eq!(pace.pause(Instant::now(), None), None);
    }
}
