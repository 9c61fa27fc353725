//! How many bits pass in a second, over a sliding window.

/// Microseconds in a bucket: two of libwebrtc's shortest pacing intervals.
const BUCKET: i64 = 10_000;
/// Buckets kept: a second, the longest window asked for.
const BUCKETS: usize = 100;

/// Bytes by time, for the last second.
#[derive(Debug)]
pub(crate) struct Throughput {
    buckets: [u32; BUCKETS],
    /// The bucket of the latest byte, counting from time 0, and of the first.
    latest: Option<i64>,
    first: i64,
}

impl Default for Throughput {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], latest: None, first: 0 }
    }
}

impl Throughput {
    /// `size` bytes passed at `at` microseconds. What is a second older than the latest is ignored.
    pub(crate) fn add(&mut self, at: i64, size: u16) {
        let bucket = at.div_euclid(BUCKET);
        match self.latest {
            None => (self.latest, self.first) = (Some(bucket), bucket),
            Some(latest) if bucket > latest => {
                if bucket - latest >= BUCKETS as i64 {
                    self.buckets = [0; BUCKETS];
                } else {
                    for passed in latest + 1..=bucket {
                        self.buckets[place(passed)] = 0;
                    }
                }
                self.latest = Some(bucket);
            }
            Some(latest) if latest - bucket >= BUCKETS as i64 => return,
            Some(_) => self.first = self.first.min(bucket),
        }
        self.buckets[place(bucket)] += u32::from(size);
    }

    /// Bits in a second over the `window` microseconds before `until`, or before the latest byte if that is earlier and `until` is not given. Nothing before
    /// half the window is full.
    pub(crate) fn rate(&self, window: i64, until: Option<i64>) -> Option<f64> {
        let latest = self.latest?;
        let end = until.map_or(latest, |until| until.div_euclid(BUCKET));
        // The bucket at hand is not full: it doesn't count.
        let count = (window / BUCKET).min(end - self.first);
        if count < window / BUCKET / 2 || count == 0 {
            return None;
        }
        let oldest = latest - BUCKETS as i64 + 1;
        let (from, to) = ((end - count).max(oldest), end.min(latest + 1));
        let sum = |buckets: &[u32]| buckets.iter().map(|&bytes| u64::from(bytes)).sum::<u64>();
        let bytes = match (place(from), place(to)) {
            _ if from >= to => 0,
            (from, to) if from < to => sum(&self.buckets[from..to]),
            (from, to) => sum(&self.buckets[from..]) + sum(&self.buckets[..to]),
        };
        Some(bytes as f64 * 8e6 / (count * BUCKET) as f64)
    }
}

const fn place(bucket: i64) -> usize {
    bucket.rem_euclid(BUCKETS as i64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1,250 bytes every 10 ms: 1 Mbit/s.
    fn steady(throughput: &mut Throughput, from: i64, until: i64) {
        for at in (from..until).step_by(10_000) {
            throughput.add(at, 1_250);
        }
    }

    #[test]
    fn the_rate_is_what_passed_in_the_window() {
        let mut throughput = Throughput::default();
        assert_eq!(throughput.rate(500_000, None), None);
        steady(&mut throughput, 5_000_000, 5_200_000);
        assert_eq!(throughput.rate(500_000, None), None, "less than half the window");
        steady(&mut throughput, 5_200_000, 6_000_000);
        assert_eq!(throughput.rate(500_000, None), Some(1e6));
        assert_eq!(throughput.rate(500_000, Some(6_250_000)), Some(0.5e6), "nothing for a while");
        assert_eq!(throughput.rate(500_000, Some(9_000_000)), Some(0.0));
        throughput.add(3_000_000, 60_000);
        throughput.add(8_005_000, 1_250);
        assert_eq!(throughput.rate(500_000, None), Some(0.0), "what is long past is forgotten, what is not complete doesn't count");
    }

    #[test]
    fn every_window_holds_what_passed_in_it_wherever_the_ring_begins() {
        for shift in [0, 37, 99] {
            let (mut throughput, start) = (Throughput::default(), shift * BUCKET);
            for bucket in 0..250i64 {
                throughput.add(start + bucket * BUCKET, (bucket % 7) as u16 * 100);
            }
            for (window, until) in [(10, 249), (50, 249), (100, 249), (50, 200), (50, 260), (50, 400), (50, 140)] {
                let passed = (until - window..until).filter(|bucket| (150..250).contains(bucket)).map(|bucket| (bucket % 7) * 100);
                let expected = passed.sum::<i64>() as f64 * 8e6 / (window * BUCKET) as f64;
                assert_eq!(throughput.rate(window * BUCKET, Some(start + until * BUCKET)), Some(expected), "{window} before {until}");
            }
        }
    }
}
