//! The random processes of a line: jitter and loss.

use std::time::Duration;

use crate::config::Config;
use crate::units::{Ratio, nanoseconds};
use crate::{Drop, Random};

/// How far the delay is from its mean, as a function of time: a stationary Gauss–Markov process, whose correlation between two moments falls by e
/// over the coherence time. Packets of one burst meet nearly the same delay, those of the next frame another.
#[derive(Clone, Debug)]
pub(crate) struct Jitter {
    deviation: f64,
    coherence: f64,
    /// In standard deviations, and when it was that.
    value: f64,
    at: Option<u64>,
    random: Random,
}

impl Jitter {
    pub(crate) fn new(deviation: Duration, coherence: Duration, random: Random) -> Self {
        Self { deviation: nanoseconds(deviation) as f64, coherence: nanoseconds(coherence) as f64, value: 0.0, at: None, random }
    }

    /// Nanoseconds more than the mean, at a moment that is not before the last one asked for.
    pub(crate) fn at(&mut self, at: u64) -> i64 {
        if self.deviation == 0.0 {
            return 0;
        }
        let kept = match self.at {
            Some(last) if self.coherence > 0.0 => decay(at.saturating_sub(last) as f64 / self.coherence),
            _ => 0.0,
        };
        self.value = kept * self.value + (1.0 - kept * kept).max(0.0).sqrt() * self.random.normal();
        self.at = Some(at);
        (self.value * self.deviation) as i64
    }
}

/// e^−x for x ≥ 0, within 1e-10, from exact operations only: the standard library's depends on the platform.
fn decay(x: f64) -> f64 {
    if x > 40.0 {
        return 0.0;
    }
    let y = x / 1024.0;
    let mut power = 1.0 - y * (1.0 - y / 2.0 * (1.0 - y / 3.0 * (1.0 - y / 4.0 * (1.0 - y / 5.0))));
    for _ in 0..10 {
        power *= power;
    }
    power
}

/// Independent loss and loss in bursts. The bursts are a Gilbert–Elliott model: a Markov chain with a good and a bad state that moves with every
/// packet. In the bad one packets are lost with a given probability, and in both with that of independent loss.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    single: Ratio,
    in_bad: Ratio,
    to_bad: f64,
    to_good: f64,
    bad: bool,
    random: Random,
}

impl Loss {
    /// Of a configuration that has been checked.
    pub(crate) fn new(config: &Config, mut random: Random) -> Self {
        let (to_bad, to_good) = transitions(config);
        // Begins as if it had run for ever.
        let bad = to_bad > 0.0 && random.fraction() < to_bad / (to_bad + to_good);
        Self { single: config.loss, in_bad: config.burst_density, to_bad, to_good, bad, random }
    }

    /// Whether the next packet is lost, and to what.
    pub(crate) fn next(&mut self) -> Option<Drop> {
        if self.to_bad > 0.0 {
            let leaves = self.random.fraction();
            self.bad = if self.bad { leaves >= self.to_good } else { leaves < self.to_bad };
            if self.bad && self.random.chance(self.in_bad) {
                return Some(Drop::BurstLoss);
            }
        }
        (self.single != Ratio::ZERO && self.random.chance(self.single)).then_some(Drop::Loss)
    }
}

/// The chain's probabilities of turning bad and of turning good again: bursts of the wished mean length, and bad often enough for the wished loss.
pub(crate) fn transitions(config: &Config) -> (f64, f64) {
    let bad = config.burst_loss.fraction() / config.burst_density.fraction();
    let to_good = 1.0 / f64::from(config.burst_length);
    (to_good * bad / (1.0 - bad), to_good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decay_is_the_exponential_function() {
        for step in 0..4_000 {
            let x = f64::from(step) / 100.0;
            assert!((decay(x) - (-x).exp()).abs() < 1e-10, "{x}");
        }
        assert_eq!(decay(0.0), 1.0);
        assert_eq!(decay(1e9), 0.0);
    }
}
