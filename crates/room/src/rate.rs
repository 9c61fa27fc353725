//! How often something may be done.

use std::time::{Duration, Instant};

/// A sustained rate with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// What may be spent at once after a pause.
    pub burst: u32,
    /// What comes back in a second.
    pub per_second: u32,
}

/// A token bucket: full at first, refilled as time passes.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket {
    rate: Rate,
    level: f64,
    at: Option<Instant>,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate) -> Self {
        Self { rate, level: f64::from(rate.burst), at: None }
    }

    /// Takes `cost` out at `now` if that much is there; otherwise changes nothing.
    pub fn take(&mut self, now: Instant, cost: u32) -> bool {
        let passed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let level = (self.level + passed.as_secs_f64() * f64::from(self.rate.per_second)).min(f64::from(self.rate.burst));
        if level < f64::from(cost) {
            return false;
        }
        self.level = level - f64::from(cost);
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Rate { burst: 3, per_second: 2 });
        assert_eq!((0..5).filter(|_| bucket.take(start, 1)).count(), 3);
        assert!(!bucket.take(start + Duration::from_millis(400), 1));
        assert!(bucket.take(start + Duration::from_millis(500), 1));
        assert_eq!((0..9).filter(|_| bucket.take(start + Duration::from_secs(60), 1)).count(), 3);
    }

    #[test]
    fn a_bucket_ignores_time_that_runs_backwards() {
        let start = Instant::now() + Duration::from_secs(10);
        let mut bucket = Bucket::new(Rate { burst: 1, per_second: 1 });
        assert!(bucket.take(start, 1));
        assert!(!bucket.take(start - Duration::from_secs(9), 1));
        assert!(!bucket.take(start, 1));
    }
}
