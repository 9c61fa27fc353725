//! How long to wait before the next try.

use std::time::Duration;

use switchyard_netem::Random;

/// Before the first try it is waited for up to this long; twice as long before each further one.
const BASE: Duration = Duration::from_millis(100);
/// But no longer than this: a person waits for the meeting to go on.
const CAP: Duration = Duration::from_secs(2);
/// Before asking again a server that has no room, at least and at most: it lets a hundred in meanwhile on two cores, and those whom it refused at
/// one moment come back at different ones.
const REFUSED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));

/// Exponential backoff with full jitter: each wait is anything between nothing and a bound that doubles, so that clients that were lost together
/// don't come back together.
#[derive(Debug)]
pub(super) struct Backoff {
    random: Random,
    tries: u32,
}

impl Backoff {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: Random::new(seed, 0), tries: 0 }
    }

    /// Before the next try.
    pub(super) fn wait(&mut self) -> Duration {
        let bound = (BASE * (1 << self.tries.min(16))).min(CAP);
        self.tries += 1;
        self.below(bound)
    }

    /// Before the next try, when the server has said that it has no room.
    pub(super) fn wait_for_room(&mut self) -> Duration {
        REFUSED.0 + self.below(REFUSED.1 - REFUSED.0)
    }

    /// What follows is the first try again.
    pub(super) fn reset(&mut self) {
        self.tries = 0;
    }

    fn below(&mut self, bound: Duration) -> Duration {
        Duration::from_micros(self.random.below(bound.as_micros() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_are_anything_below() {
        let waits: Vec<Vec<Duration>> = (0..1000)
            .map(|seed| {
                let mut backoff = Backoff::new(seed);
                (0..60).map(|_| backoff.wait()).collect()
            })
            .collect();
        for attempt in 0..60 {
            let bound = if attempt < 5 { Duration::from_millis(100 << attempt) } else { CAP };
            let mean = waits.iter().map(|waits| waits[attempt]).sum::<Duration>() / 1000;
            assert!(waits.iter().all(|waits| waits[attempt] < bound), "attempt {attempt}");
            assert!(waits.iter().any(|waits| waits[attempt] > bound * 9 / 10), "attempt {attempt}");
            assert!(mean > bound * 4 / 10 && mean < bound * 6 / 10, "attempt {attempt}: {mean:?}");
        }
    }

    #[test]
    fn after_a_reset_the_first_wait_is_short_again() {
        let mut backoff = Backoff::new(1);
        for _ in 0..20 {
            backoff.wait();
        }
        backoff.reset();
        assert!(backoff.wait() < BASE);
    }

    #[test]
    fn whom_a_server_has_no_room_for_lets_it_breathe() {
        let mut backoff = Backoff::new(1);
        assert!((0..1000).map(|_| backoff.wait_for_room()).all(|wait| (REFUSED.0..REFUSED.1).contains(&wait)));
    }
}
