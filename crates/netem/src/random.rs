//! Randomness from a seed.

use crate::Ratio;

/// A repeatable source of randomness: the generator xoshiro256++ of Blackman and Vigna (256 bits of state, period 2^256 − 1), its state filled by
/// SplitMix64 as they advise. It is no source of secrets.
///
/// What is drawn uses only integers and exact operations on floating-point numbers, so that a seed means the same on every platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The generator number `stream` of `seed`. Streams are independent, so that drawing more for one purpose changes nothing for another.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut mixed = seed;
        // One output of SplitMix64 as the start of the next sequence keeps neighbouring seeds and streams apart.
        let mut filler = splitmix64(&mut mixed) ^ stream.wrapping_mul(0xd1b5_4a32_d192_ed03);
        Self { state: std::array::from_fn(|_| splitmix64(&mut filler)) }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number from 0 up to `bound`, which is not among them; 0 if `bound` is 0. The bias is below `bound` / 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from 0 up to 1, which is not among them.
    pub fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Yes with a probability of `ratio`.
    pub fn chance(&mut self, ratio: Ratio) -> bool {
        self.below(u64::from(Ratio::ONE.billionths())) < u64::from(ratio.billionths())
    }

    /// A number with mean 0 and standard deviation 1, nearly normal and never beyond ±6: the sum of twelve uniform numbers of 16 bits (Irwin–Hall).
    /// Unlike the usual methods it needs no logarithm or cosine, which differ between platforms.
    pub fn normal(&mut self) -> f64 {
        let sum: u64 = (0..3)
            .map(|_| {
                let bits = self.bits();
                (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48)
            })
            .sum();
        // Twelve times the mean, 65,535 / 2; the sum's standard deviation is 65,536 within 1e-10.
        (sum as f64 - 393_210.0) / 65_536.0
    }
}

/// One step of SplitMix64 (Steele, Lea, Flood).
fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generators_are_the_published_ones() {
        let mut state = 1_234_567;
        assert_eq!([splitmix64(&mut state), splitmix64(&mut state)], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
        let mut random = Random { state: [1, 2, 3, 4] };
        assert_eq!([random.bits(), random.bits(), random.bits()], [41_943_041, 58_720_359, 3_588_806_011_781_223]);
    }

    #[test]
    fn seeds_and_streams_differ() {
        let firsts: std::collections::BTreeSet<u64> =
            (0..100).flat_map(|seed| (0..100).map(move |stream| Random::new(seed, stream).bits())).collect();
        assert_eq!(firsts.len(), 10_000);
    }

    #[test]
    fn draws_have_the_distribution_they_promise() {
        const DRAWS: usize = 200_000;
        let mut random = Random::new(7, 0);
        let normal: Vec<f64> = (0..DRAWS).map(|_| random.normal()).collect();
        let mean = normal.iter().sum::<f64>() / DRAWS as f64;
        let variance = normal.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / DRAWS as f64;
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((variance - 1.0).abs() < 0.02, "{variance}");
        let beyond = normal.iter().filter(|value| value.abs() > 1.96).count() as f64 / DRAWS as f64;
        assert!((beyond - 0.05).abs() < 0.005, "{beyond}");

        let mean = (0..DRAWS).map(|_| random.fraction()).sum::<f64>() / DRAWS as f64;
        assert!((mean - 0.5).abs() < 0.005, "{mean}");
        assert!((0..DRAWS).all(|_| random.below(3) < 3));
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn a_chance_of_none_or_all_is_certain() {
        let mut random = Random::new(1, 1);
        assert!((0..10_000).all(|_| random.chance(Ratio::ONE) && !random.chance(Ratio::ZERO)));
    }
}
