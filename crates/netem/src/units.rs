//! Quantities as people write them: `"60ms"`, `"2 Mbit/s"`, `"5 %"`, `"64 KiB"`.
//!
//! A bare number is in the base unit: seconds, bits a second, bytes, and for a [`Ratio`] the fraction from 0 to 1. Units are read in any case, with
//! or without a space before them. All of it can be (de)serialized with serde, durations by the modules [`duration`] and [`optional_duration`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

#[cfg(test)]
mod tests;

/// The longest duration that can be said: a day is more than any line or bench needs, and far from any overflow.
pub const MAX_DURATION: Duration = Duration::from_secs(24 * 3600);

/// The highest limited rate that can be said, 1 Tbit/s.
const MAX_RATE: u64 = 1_000_000_000_000;

/// The largest number of bytes that can be said, 1 TB.
const MAX_BYTES: u64 = 1_000_000_000_000;

/// Why a text is no such quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// It does not begin with a number.
    #[error("`{text}` is not {expected}")]
    NoNumber {
        /// What was said.
        text: String,
        /// What would be right.
        expected: &'static str,
    },
    /// The number's unit is missing or unknown.
    #[error("`{unit}` in `{text}` is no unit of {expected}")]
    UnknownUnit {
        /// What was said.
        text: String,
        /// The part after the number.
        unit: String,
        /// What would be right.
        expected: &'static str,
    },
    /// Less or more than makes sense.
    #[error("`{text}` is out of range: {range}")]
    OutOfRange {
        /// What was said.
        text: String,
        /// What would be right.
        range: &'static str,
    },
}

/// A part of a whole or a probability, in exact billionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio(u32);

impl Ratio {
    /// Nothing, never.
    pub const ZERO: Self = Self(0);
    /// Everything, always.
    pub const ONE: Self = Self(1_000_000_000);

    /// So many in a hundred; more than 100 is 100.
    pub const fn percent(percent: u32) -> Self {
        if percent >= 100 { Self::ONE } else { Self(percent * 10_000_000) }
    }

    /// The nearest to a number, which counts as 0 below that and as 1 above.
    pub fn from_fraction(fraction: f64) -> Self {
        Self((fraction.clamp(0.0, 1.0) * 1e9).round() as u32)
    }

    /// So many in 10^9; at most 10^9.
    pub const fn billionths(self) -> u32 {
        self.0
    }

    /// From 0 to 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 1e9
    }
}

/// Bits in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

impl Rate {
    /// No limit.
    pub const UNLIMITED: Self = Self(u64::MAX);

    /// A limited rate.
    pub const fn bits(per_second: u64) -> Self {
        Self(per_second)
    }

    /// Bits in a second; `u64::MAX` if unlimited.
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// A duration of at most [`MAX_DURATION`], as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub Duration);

/// What [`quantity`] needs to know of a type to read it from a number or a text.
pub(crate) trait Quantity: Sized {
    /// For "expected …".
    const EXPECTED: &'static str;

    /// Of a number with its unit, which is empty for a bare number.
    fn new(number: f64, unit: &str, text: &str) -> Result<Self, UnitError>;

    /// Of a text that need not begin with a number.
    fn parse(text: &str) -> Result<Self, UnitError> {
        let (number, unit) =
            number_and_unit(text).ok_or_else(|| UnitError::NoNumber { text: text.to_owned(), expected: Self::EXPECTED })?;
        Self::new(number, &unit, text)
    }
}

/// Splits `1.5 Mbit/s` into the number and the unit in lower case. Negative numbers are none.
fn number_and_unit(text: &str) -> Option<(f64, String)> {
    let text = text.trim();
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let number = text[..end].parse().ok()?;
    Some((number, text[end..].trim().to_lowercase()))
}

/// `number` times `factor` as an integer from 0 to `most`.
fn scaled(number: f64, factor: f64, most: u64, text: &str, range: &'static str) -> Result<u64, UnitError> {
    let value = (number * factor).round();
    if value >= 0.0 && value <= most as f64 { Ok(value as u64) } else { Err(UnitError::OutOfRange { text: text.to_owned(), range }) }
}

fn unknown<Q: Quantity>(text: &str, unit: &str) -> UnitError {
    UnitError::UnknownUnit { text: text.to_owned(), unit: unit.to_owned(), expected: Q::EXPECTED }
}

impl Quantity for Ratio {
    const EXPECTED: &'static str = "a ratio, such as \"5 %\" or 0.05";

    fn new(number: f64, unit: &str, text: &str) -> Result<Self, UnitError> {
        let factor = match unit {
            "" => 1e9,
            "%" => 1e7,
            _ => return Err(unknown::<Self>(text, unit)),
        };
        let range = "a ratio is a number from 0 to 1, or from \"0 %\" to \"100 %\"";
        Ok(Self(scaled(number, factor, u64::from(Self::ONE.0), text, range)? as u32))
    }
}

impl Quantity for Rate {
    const EXPECTED: &'static str = "a rate, such as \"2 Mbit/s\", \"500 kbit/s\", \"unlimited\" or a number of bits a second";

    fn new(number: f64, unit: &str, text: &str) -> Result<Self, UnitError> {
        let factor = match unit {
            "" | "bit/s" | "bps" => 1.0,
            "kbit/s" | "kbps" | "kbit" => 1e3,
            "mbit/s" | "mbps" | "mbit" => 1e6,
            "gbit/s" | "gbps" | "gbit" => 1e9,
            _ => return Err(unknown::<Self>(text, unit)),
        };
        Ok(Self(scaled(number, factor, MAX_RATE, text, "a rate is at most 1000 Gbit/s; \"unlimited\" is none")?))
    }

    fn parse(text: &str) -> Result<Self, UnitError> {
        if text.trim().eq_ignore_ascii_case("unlimited") {
            return Ok(Self::UNLIMITED);
        }
        let (number, unit) =
            number_and_unit(text).ok_or_else(|| UnitError::NoNumber { text: text.to_owned(), expected: Self::EXPECTED })?;
        Self::new(number, &unit, text)
    }
}

impl Quantity for Bytes {
    const EXPECTED: &'static str = "a number of bytes, such as \"64 KiB\", \"64 kB\" or 65536";

    fn new(number: f64, unit: &str, text: &str) -> Result<Self, UnitError> {
        let factor = match unit {
            "" | "b" => 1.0,
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            "kib" => 1024.0,
            "mib" => 1024.0 * 1024.0,
            "gib" => 1024.0 * 1024.0 * 1024.0,
            _ => return Err(unknown::<Self>(text, unit)),
        };
        Ok(Self(scaled(number, factor, MAX_BYTES, text, "at most 1000 GB")?))
    }
}

impl Quantity for Time {
    const EXPECTED: &'static str = "a duration, such as \"60ms\", \"1.5s\", \"2 min\" or a number of seconds";

    fn new(number: f64, unit: &str, text: &str) -> Result<Self, UnitError> {
        let factor = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "" | "s" => 1e9,
            "min" => 60e9,
            "h" => 3600e9,
            _ => return Err(unknown::<Self>(text, unit)),
        };
        let range = "a duration is at most \"24h\"; a bare number is in seconds";
        Ok(Self(Duration::from_nanos(scaled(number, factor, nanoseconds(MAX_DURATION), text, range)?)))
    }
}

/// A duration in whole nanoseconds; one of more than 584 years as `u64::MAX`.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Display for Ratio {
    /// In percent: `5%`, `0.05%`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 10_000_000, self.0 % 10_000_000);
        let decimals = format!("{rest:07}");
        match decimals.trim_end_matches('0') {
            "" => write!(formatter, "{whole}%"),
            decimals => write!(formatter, "{whole}.{decimals}%"),
        }
    }
}

impl fmt::Display for Rate {
    /// In the largest unit of which it is a multiple: `2Mbit/s`, `1500kbit/s`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::UNLIMITED {
            return formatter.write_str("unlimited");
        }
        let units = [(1_000_000_000, "Gbit/s"), (1_000_000, "Mbit/s"), (1_000, "kbit/s"), (1, "bit/s")];
        display(formatter, self.0, &units)
    }
}

impl fmt::Display for Bytes {
    /// In the largest unit of which it is a multiple: `64KiB`, `64kB`, `28B`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 20, "MiB"), (1_000_000, "MB"), (1 << 10, "KiB"), (1_000, "kB"), (1, "B")];
        display(formatter, self.0, &units)
    }
}

impl fmt::Display for Time {
    /// In the largest unit of which it is a multiple: `60ms`, `1500ms`, `2min`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(3_600_000_000_000, "h"), (60_000_000_000, "min"), (1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns")];
        match nanoseconds(self.0) {
            0 => formatter.write_str("0s"),
            nanos => display(formatter, nanos, &units),
        }
    }
}

/// `value` in the first of `units`, each larger than the next and the last 1, that divides it.
fn display(formatter: &mut fmt::Formatter<'_>, value: u64, units: &[(u64, &str)]) -> fmt::Result {
    match units.iter().find(|(size, _)| value > 0 && value.is_multiple_of(*size)) {
        Some((size, unit)) => write!(formatter, "{}{unit}", value / size),
        None => write!(formatter, "0{}", units.last().map_or("", |(_, unit)| *unit)),
    }
}

struct QuantityVisitor<Q>(std::marker::PhantomData<Q>);

impl<Q: Quantity> Visitor<'_> for QuantityVisitor<Q> {
    type Value = Q;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(Q::EXPECTED)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Q, E> {
        Q::parse(text).map_err(E::custom)
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Q, E> {
        Q::new(number, "", &number.to_string()).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Q, E> {
        Q::new(number as f64, "", &number.to_string()).map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Q, E> {
        Q::new(number as f64, "", &number.to_string()).map_err(E::custom)
    }
}

/// Reads a quantity that is a text or a number.
pub(crate) fn quantity<'de, Q: Quantity, D: Deserializer<'de>>(deserializer: D) -> Result<Q, D::Error> {
    deserializer.deserialize_any(QuantityVisitor(std::marker::PhantomData))
}

macro_rules! as_text {
    ($($type:ty),*) => { $(
        impl FromStr for $type {
            type Err = UnitError;

            fn from_str(text: &str) -> Result<Self, UnitError> {
                Quantity::parse(text)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                quantity(deserializer)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )* };
}

as_text!(Ratio, Rate, Bytes, Time);

/// For `#[serde(with = "…")]`: a [`Duration`] as a text with its unit, or as a number of seconds.
pub mod duration {
    use super::*;

    /// Writes it as [`Time`] shows it.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        Time(*duration).serialize(serializer)
    }

    /// Reads a text or a number.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Time::deserialize(deserializer).map(|time| time.0)
    }
}

/// For `#[serde(with = "…", default)]`: an [`Option`] of what [`duration`] reads.
pub mod optional_duration {
    use super::*;

    /// Writes it as [`Time`] shows it.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        duration.map(Time).serialize(serializer)
    }

    /// Reads a text or a number.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Option::<Time>::deserialize(deserializer).map(|time| time.map(|time| time.0))
    }
}
