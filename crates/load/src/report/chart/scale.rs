//! From values to positions, and where the labels go.

/// A scale from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    /// From 0, evenly.
    Linear {
        /// What is at 1.
        most: f64,
        /// Between labels.
        step: f64,
    },
    /// By ratio.
    Logarithmic {
        /// What is at 0; positive.
        least: f64,
        /// What is at 1.
        most: f64,
    },
}

/// Labels there are at most in a scale, so that they don't touch on a narrow page.
const LABELS: f64 = 5.0;
/// Steps between labels of a clock, in seconds.
const CLOCK_STEPS: [f64; 18] =
    [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0, 21_600.0, 43_200.0, 86_400.0];

impl Scale {
    /// From 0 to at least `most`, ending at a round number; `least_most` instead of nothing at all.
    pub(crate) fn linear(most: f64, least_most: f64) -> Self {
        let most = sane(most).unwrap_or(least_most);
        let step = round_up(most / LABELS);
        Self::Linear { most: (most / step - 1e-9).ceil().max(1.0) * step, step }
    }

    /// From 0 to `most` exactly, labelled at round times.
    pub(crate) fn clock(most: f64) -> Self {
        let most = sane(most).unwrap_or(1.0);
        let step = CLOCK_STEPS.into_iter().find(|step| most / step <= LABELS + 1.0);
        Self::Linear { most, step: step.unwrap_or_else(|| (most / LABELS / 86_400.0).ceil() * 86_400.0) }
    }

    /// From `least` to `most`, which are moved apart if they are one.
    pub(crate) fn logarithmic(least: f64, most: f64) -> Self {
        let least = sane(least).unwrap_or(1.0);
        Self::Logarithmic { least, most: sane(most).unwrap_or(0.0).max(least * 2.0) }
    }

    /// Where a value is: 0 to 1 within the scale, above 1 beyond it.
    pub(crate) fn at(&self, value: f64) -> f64 {
        match *self {
            Self::Linear { most, .. } => value / most,
            Self::Logarithmic { least, most } if value > 0.0 => ((value / least).ln() / (most / least).ln()).max(0.0),
            Self::Logarithmic { .. } => 0.0,
        }
    }

    /// The values to be labelled, in order.
    pub(crate) fn labelled(&self) -> Vec<f64> {
        match *self {
            Self::Linear { most, step } => {
                let count = (most / step + 1e-9).floor() as u32;
                (0..=count).map(|index| f64::from(index) * step).collect()
            }
            Self::Logarithmic { least, most } => {
                let decades = (most / least).log10();
                let of_a_decade: &[f64] = match decades {
                    few if few <= 2.0 => &[1.0, 2.0, 5.0],
                    some if some <= 3.0 => &[1.0, 3.0],
                    _ => &[1.0],
                };
                let first = least.log10().floor() as i32;
                let last = most.log10().ceil() as i32;
                // With many decades not each of them.
                let every = (f64::from(last - first) / LABELS).ceil().max(1.0) as usize;
                (first..=last)
                    .step_by(every)
                    .flat_map(|decade| of_a_decade.iter().map(move |digit| digit * 10f64.powi(decade)))
                    .filter(|value| (least * 0.999..=most * 1.001).contains(value))
                    .collect()
            }
        }
    }

    /// Positions and labels.
    pub(crate) fn labels(&self, show: impl Fn(f64) -> String) -> Vec<(f64, String)> {
        self.labelled().into_iter().map(|value| (self.at(value), show(value))).collect()
    }
}

/// The end of a scale, if it can be one. No figure is beyond these bounds; a file may say so all the same.
fn sane(end: f64) -> Option<f64> {
    (end.is_finite() && end > 0.0).then(|| end.clamp(1e-12, 1e15))
}

/// The next of 1, 2, 2.5, 5 and 10 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let digit = value / power;
    let round = [1.0, 2.0, 2.5, 5.0].into_iter().find(|round| digit <= round + 1e-9).unwrap_or(10.0);
    round * power
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_linear_scale_ends_at_a_round_number() {
        assert_eq!(Scale::linear(31.0, 1.0).labelled(), [0.0, 10.0, 20.0, 30.0, 40.0]);
        assert_eq!(Scale::linear(100.0, 1.0).labelled().last(), Some(&100.0));
        assert_eq!(Scale::linear(0.0, 0.01).labelled().len(), 6);
    }

    #[test]
    fn a_scale_of_absurd_figures_is_still_a_scale() {
        for end in [f64::MAX, f64::MIN_POSITIVE, f64::NAN, f64::INFINITY, -1.0, 0.0] {
            for scale in [Scale::linear(end, 1.0), Scale::clock(end), Scale::logarithmic(end, end), Scale::logarithmic(1.0, end)] {
                assert!((1..=9).contains(&scale.labelled().len()), "{end}: {scale:?}");
            }
        }
    }

    #[test]
    fn a_clock_is_labelled_at_round_times() {
        assert_eq!(Scale::clock(32.0).labelled(), [0.0, 10.0, 20.0, 30.0]);
        assert_eq!(Scale::clock(3700.0).labelled(), [0.0, 900.0, 1800.0, 2700.0, 3600.0]);
    }

    #[test]
    fn a_logarithmic_scale_is_labelled_at_ones_twos_and_fives() {
        let scale = Scale::logarithmic(50.0, 800.0);
        assert_eq!(scale.labelled(), [50.0, 100.0, 200.0, 500.0]);
        assert_eq!((scale.at(50.0), scale.at(800.0), scale.at(0.0)), (0.0, 1.0, 0.0));
    }

    proptest! {
        #[test]
        fn scales_have_a_few_labels_within_themselves(least in 1e-6..1e6f64, ratio in 1.0..1e9f64) {
            let most = least * ratio;
            for scale in [Scale::linear(most, 1.0), Scale::clock(most), Scale::logarithmic(least, most)] {
                let labelled = scale.labelled();
                prop_assert!(labelled.len() <= 9, "{:?}: {:?}", scale, labelled);
                let within = labelled.iter().all(|value| (-1e-3..=1.001).contains(&scale.at(*value)));
                prop_assert!(within, "{:?}: {:?}", scale, labelled);
                prop_assert!(scale.at(most) <= 1.0 + 1e-9);
            }
        }
    }
}
