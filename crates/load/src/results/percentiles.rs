//! A distribution in a few figures.

use serde::{Deserialize, Serialize};

/// A distribution; all zero if `count` is zero, which is to be asked first ([`Self::measured`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Values measured.
    pub count: u64,
    /// The smallest.
    pub min: f64,
    /// The arithmetic mean.
    pub mean: f64,
    /// What half of them do not exceed.
    pub p50: f64,
    /// What 90 % of them do not exceed.
    pub p90: f64,
    /// What 95 % of them do not exceed.
    pub p95: f64,
    /// What 99 % of them do not exceed.
    pub p99: f64,
    /// What 99.9 % of them do not exceed.
    pub p999: f64,
    /// The largest.
    pub max: f64,
}

impl Percentiles {
    /// Of `count` values with this `min`, `mean` and `max`, asking `at` for quantiles (0 to 1), as a histogram has them.
    pub fn by_quantile(count: u64, min: f64, mean: f64, max: f64, at: impl Fn(f64) -> f64) -> Self {
        if count == 0 {
            return Self::default();
        }
        Self { count, min, mean, p50: at(0.5), p90: at(0.9), p95: at(0.95), p99: at(0.99), p999: at(0.999), max }
    }

    /// Of a few values, exactly: each percentile is one of them (the nearest rank). Sorts them; what is not finite does not count.
    pub fn of(values: &mut Vec<f64>) -> Self {
        values.retain(|value| value.is_finite());
        values.sort_unstable_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (values.first(), values.last()) else {
            return Self::default();
        };
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count as f64;
        Self::by_quantile(count as u64, min, mean, max, |quantile| {
            let rank = (quantile * count as f64).ceil() as usize;
            values[rank.clamp(1, count) - 1]
        })
    }

    /// Itself if anything was measured.
    pub fn measured(&self) -> Option<&Self> {
        (self.count > 0).then_some(self)
    }

    /// Several distributions as one. Count, minimum, mean and maximum are exact; each percentile is the largest among them, which the
    /// one of all values together never exceeds.
    pub fn worst<'a>(parts: impl Iterator<Item = &'a Self>) -> Self {
        let mut all: Option<Self> = None;
        for part in parts.filter_map(Self::measured) {
            let Some(sum) = &mut all else {
                all = Some(*part);
                continue;
            };
            let count = sum.count.saturating_add(part.count);
            sum.mean += (part.mean - sum.mean) * (part.count as f64 / count as f64);
            sum.count = count;
            sum.min = sum.min.min(part.min);
            sum.p50 = sum.p50.max(part.p50);
            sum.p90 = sum.p90.max(part.p90);
            sum.p95 = sum.p95.max(part.p95);
            sum.p99 = sum.p99.max(part.p99);
            sum.p999 = sum.p999.max(part.p999);
            sum.max = sum.max.max(part.max);
        }
        all.unwrap_or_default()
    }
}
