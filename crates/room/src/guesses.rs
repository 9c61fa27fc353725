//! How often a room's password may be guessed.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use crate::{Bucket, Rate};

/// What a wrong guess takes out of a bucket.
const GUESS: u32 = 10;
/// Wrong guesses from one address: five at once, then one in ten seconds. Who has mistyped it does not notice.
const OF_ONE: Rate = Rate { burst: 5 * GUESS, per_second: 1 };
/// Wrong guesses from everywhere: 60 at once, then one a second, which is 32 million in a year.
const OF_ALL: Rate = Rate { burst: 60 * GUESS, per_second: GUESS };

/// The wrong guesses of late.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Guesses {
    all: Bucket,
    /// Only those that are not full again: so many as [`OF_ALL`] lets through in the time that takes, 110 at most.
    by_address: BTreeMap<IpAddr, Bucket>,
}

impl Default for Guesses {
    fn default() -> Self {
        Self { all: Bucket::new(OF_ALL), by_address: BTreeMap::new() }
    }
}

impl Guesses {
    /// Whether somebody from there may try now.
    pub fn permit(&self, now: Instant, from: Option<IpAddr>) -> bool {
        let permits = |bucket: &Bucket| bucket.clone().take(now, GUESS);
        permits(&self.all) && from.and_then(|from| self.by_address.get(&network(from))).is_none_or(permits)
    }

    /// Somebody from there has tried a wrong one.
    pub fn count(&mut self, now: Instant, from: Option<IpAddr>) {
        self.all.take(now, GUESS);
        self.by_address.retain(|_, bucket| !bucket.clone().take(now, OF_ONE.burst));
        if let Some(from) = from {
            self.by_address.entry(network(from)).or_insert_with(|| Bucket::new(OF_ONE)).take(now, GUESS);
        }
    }
}

/// What one person has: an IPv4 address, or the 64 bits of an IPv6 address that say where a host is (RFC 4291 §2.5.4).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_address_guesses_five_times_then_every_ten_seconds_and_no_other_suffers() {
        let start = Instant::now();
        let (eve, ada) = ("2001:db8::7".parse().ok(), "192.0.2.1".parse().ok());
        let mut guesses = Guesses::default();
        let mut tries = |at: Duration, from| {
            let permitted = guesses.permit(start + at, from);
            if permitted {
                guesses.count(start + at, from);
            }
            permitted
        };
        assert_eq!((0..9).filter(|_| tries(Duration::ZERO, eve)).count(), 5);
        assert!(!tries(Duration::ZERO, "2001:db8::8".parse().ok()), "a host of the same network");
        assert!(tries(Duration::ZERO, ada) && tries(Duration::ZERO, "2001:db8:1::7".parse().ok()));
        assert!(!tries(Duration::from_secs(9), eve));
        assert!(tries(Duration::from_secs(10), eve) && !tries(Duration::from_secs(10), eve));
    }

    #[test]
    fn all_addresses_together_have_a_bound_and_are_forgotten() {
        let start = Instant::now();
        let mut guesses = Guesses::default();
        let from = |n: u32| Some(IpAddr::from(n.to_be_bytes()));
        let mut most = 0;
        let mut permitted = 0;
        for n in 0..20_000 {
            let now = start + Duration::from_millis(u64::from(n) * 10);
            if guesses.permit(now, from(n)) {
                guesses.count(now, from(n));
                permitted += 1;
            }
            most = most.max(guesses.by_address.len());
        }
        assert!((255..=261).contains(&permitted), "60 and one a second for 200 s: {permitted}");
        assert!(most <= 110, "{most}");
    }
}
