//! SSRCs that are never handed out twice.

/// Hands out each SSRC at most once, in an order that `seed` decides.
///
/// The outgoing SRTP index of an SSRC never goes back (RFC 3711 §9.1), so an m-line that is used anew gets new ones. A keyed
/// permutation of a counter never repeats and remembers nothing.
#[derive(Clone, Debug)]
pub(crate) struct Ssrcs {
    keys: [u64; 4],
    counter: u32,
}

impl Ssrcs {
    pub(crate) fn new(seed: u64) -> Self {
        let mut state = seed;
        Self { keys: std::array::from_fn(|_| splitmix(&mut state)), counter: 0 }
    }

    /// The next one that `taken` doesn't know. All have ten digits: equal layouts make descriptions of equal size.
    pub(crate) fn next(&mut self, taken: impl Fn(u32) -> bool) -> u32 {
        loop {
            let ssrc = self.permute(self.counter);
            self.counter = self.counter.wrapping_add(1);
            if ssrc >= 1_000_000_000 && !taken(ssrc) {
                return ssrc;
            }
        }
    }

    /// A Feistel network over the two halves: a bijection whatever the round function is.
    fn permute(&self, value: u32) -> u32 {
        let (mut left, mut right) = (value >> 16, value & 0xffff);
        for key in self.keys {
            let mut state = key ^ u64::from(right);
            (left, right) = (right, left ^ (splitmix(&mut state) as u32 & 0xffff));
        }
        left << 16 | right
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_ssrc_is_handed_out_twice_and_seeds_differ() {
        let mut ssrcs = Ssrcs::new(7);
        let mut seen = BTreeSet::new();
        for _ in 0..200_000 {
            assert!(seen.insert(ssrcs.next(|_| false)));
        }
        let (mut a, mut b) = (Ssrcs::new(1), Ssrcs::new(2));
        assert_ne!((0..8).map(|_| a.next(|_| false)).collect::<Vec<_>>(), (0..8).map(|_| b.next(|_| false)).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_taken_is_skipped() {
        let first = Ssrcs::new(7).next(|_| false);
        assert_ne!(Ssrcs::new(7).next(|ssrc| ssrc == first), first);
    }
}
