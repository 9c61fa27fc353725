//! Who joins when.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::Scenario;

/// How fast participants join.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ramp {
    /// All in the same moment: `"at once"`.
    AtOnce,
    /// So many in a second, in equal steps: `"5/s"`.
    PerSecond(f64),
}

impl Ramp {
    /// What can be said.
    const EXPECTED: &'static str = "joins a second from 0.01 to 10000, such as \"5/s\", or \"at once\"";

    /// When the participant number `index`, counted from 0, joins after the first.
    pub fn delay(self, index: u32) -> Duration {
        match self {
            Self::AtOnce => Duration::ZERO,
            Self::PerSecond(rate) => Duration::from_secs_f64(f64::from(index) / rate),
        }
    }

    fn per_second(rate: f64) -> Option<Self> {
        (0.01..=10_000.0).contains(&rate).then_some(Self::PerSecond(rate))
    }

    fn parse(text: &str) -> Option<Self> {
        if text.trim().eq_ignore_ascii_case("at once") {
            return Some(Self::AtOnce);
        }
        Self::per_second(text.trim().strip_suffix("/s")?.trim().parse().ok()?)
    }
}

impl fmt::Display for Ramp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtOnce => formatter.write_str("at once"),
            Self::PerSecond(rate) => write!(formatter, "{rate}/s"),
        }
    }
}

impl Serialize for Ramp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ramp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrNumber;

        fn or_error<E: Error>(ramp: Option<Ramp>, said: &dyn fmt::Display) -> Result<Ramp, E> {
            ramp.ok_or_else(|| E::custom(format!("`{said}` is not {}", Ramp::EXPECTED)))
        }

        impl Visitor<'_> for TextOrNumber {
            type Value = Ramp;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(Ramp::EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Ramp, E> {
                or_error(Ramp::parse(text), &text)
            }

            fn visit_f64<E: Error>(self, rate: f64) -> Result<Ramp, E> {
                or_error(Ramp::per_second(rate), &rate)
            }

            fn visit_i64<E: Error>(self, rate: i64) -> Result<Ramp, E> {
                or_error(Ramp::per_second(rate as f64), &rate)
            }
        }

        deserializer.deserialize_any(TextOrNumber)
    }
}

/// One participant's joining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Join {
    /// Whether it is during the measured time ([`Role::joins_after`](super::Role::joins_after)) rather than before.
    pub measured: bool,
    /// Counted from the beginning of the measured time if it is during that, and else from the first join.
    pub at: Duration,
    /// The room, counted from 0.
    pub room: u32,
    /// The role, an index into [`Scenario::roles`].
    pub role: usize,
    /// The participant's number among those of the role in the room.
    pub number: u32,
}

/// Those who join before the measured time come first. Rooms fill one after the other, roles in their order; a role with a ramp of its own or a time
/// of its own has its own sequence, over all rooms.
pub(super) fn joins(scenario: &Scenario) -> Vec<Join> {
    let mut joins = Vec::with_capacity(scenario.participants() as usize);
    let mut common = 0;
    let mut own = vec![0; scenario.roles.len()];
    for room in 0..scenario.rooms {
        for (index, role) in scenario.roles.iter().enumerate() {
            let is_common = role.ramp.is_none() && role.joins_after.is_none();
            let sequence = if is_common { &mut common } else { &mut own[index] };
            let ramp = role.ramp.unwrap_or(scenario.ramp);
            for number in 0..role.count {
                let at = role.joins_after.unwrap_or_default() + ramp.delay(*sequence);
                *sequence += 1;
                joins.push(Join { measured: role.joins_after.is_some(), at, room, role: index, number });
            }
        }
    }
    // Stable: who joins in the same moment stays in order.
    joins.sort_by_key(|join| (join.measured, join.at));
    joins
}
