//! A run over time in no more points than can be told apart.

use crate::results::Sample;

/// The samples in at most `most` stretches of equal length, in order. Of a stretch: the last time and the largest number of participants; the
/// worst of what people notice as it happens (loss, p99, freezes); the mean of the rest.
pub(super) fn buckets(samples: &[Sample], most: usize) -> Vec<Sample> {
    samples.chunks(stretch(samples.len(), most)).map(merge).collect()
}

/// Samples in a stretch.
pub(super) fn stretch(samples: usize, most: usize) -> usize {
    samples.div_ceil(most.max(1)).max(1)
}

fn merge(samples: &[Sample]) -> Sample {
    let worst = |figure: fn(&Sample) -> Option<f64>| samples.iter().filter_map(figure).max_by(f64::total_cmp);
    let mean = |figure: fn(&Sample) -> Option<f64>| {
        let figures: Vec<f64> = samples.iter().filter_map(figure).collect();
        crate::results::share(figures.iter().sum(), figures.len() as f64)
    };
    Sample {
        at_seconds: samples.last().map_or(0.0, |sample| sample.at_seconds),
        participants: samples.iter().map(|sample| sample.participants).max().unwrap_or(0),
        packets_per_second: mean(|sample| Some(sample.packets_per_second)).unwrap_or(0.0),
        lost_share: worst(|sample| sample.lost_share),
        latency_p50_ms: mean(|sample| sample.latency_p50_ms),
        latency_p99_ms: worst(|sample| sample.latency_p99_ms),
        frozen_share: worst(|sample| sample.frozen_share),
        as_wanted_share: mean(|sample| sample.as_wanted_share),
        server_cpu_share: mean(|sample| sample.server_cpu_share),
        bench_cpu_share: mean(|sample| Some(sample.bench_cpu_share)).unwrap_or(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: u32) -> Sample {
        let value = f64::from(second);
        Sample {
            at_seconds: value,
            participants: 5,
            packets_per_second: value,
            latency_p99_ms: (second % 2 == 1).then_some(value),
            ..Sample::default()
        }
    }

    #[test]
    fn few_samples_stay_as_they_are() {
        let samples: Vec<Sample> = (1..=10).map(sample).collect();
        assert_eq!(buckets(&samples, 10), samples);
        assert_eq!(buckets(&[], 10), []);
    }

    #[test]
    fn of_many_samples_the_worst_and_the_mean_are_kept() {
        let samples: Vec<Sample> = (1..=100).map(sample).collect();
        let merged = buckets(&samples, 10);
        assert_eq!(merged.len(), 10);
        assert_eq!((merged[9].at_seconds, merged[9].packets_per_second, merged[9].latency_p99_ms), (100.0, 95.5, Some(99.0)));
        assert_eq!(merged[0].lost_share, None);
    }
}
