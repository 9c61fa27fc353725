//! What a line does to packets, as it is written in a file or on a command line.

use std::fmt;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::impairment::transitions;
use crate::units::{Bytes, Quantity, Rate, Ratio, Time, UnitError, duration, optional_duration, quantity};

#[cfg(test)]
mod tests;
mod text;

/// One direction of a line. [`Config::default`] is perfect: no delay, no loss, no limit.
///
/// In a file it is a table with these names, quantities as [`units`](crate::units) reads them; or one text, which is also the form for command
/// lines: `loss=5%,delay=60ms,jitter=10ms,rate=2Mbit/s`. There the schedules are written `rate@10s=500kbit/s` and `black_hole@5s=2s`, and `perfect`
/// is a line that does nothing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub struct Config {
    /// The mean time from leaving the transmitter to arriving; at most 10 s.
    #[serde(with = "duration")]
    pub delay: Duration,
    /// The standard deviation of the delay, which is nearly normal and never below 0; at most 2 s. Packets keep their order: one that would overtake
    /// another comes out right behind it.
    #[serde(with = "duration")]
    pub jitter: Duration,
    /// How long the jitter stays alike: its correlation falls by e over this time. 0 draws anew for every packet.
    #[serde(with = "duration")]
    pub coherence: Duration,
    /// Probability of losing a packet, independently of all others.
    pub loss: Ratio,
    /// Mean share of packets lost in bursts, beside `loss`.
    pub burst_loss: Ratio,
    /// Mean number of packets that a burst lasts, 1 to 100,000. Without gaps in the loss this is the mean number of packets lost in a row.
    pub burst_length: u32,
    /// The share of packets lost while a burst lasts.
    pub burst_density: Ratio,
    /// Probability of delivering a packet twice.
    pub duplicate: Ratio,
    /// Probability of holding a packet back, so that later ones overtake it.
    pub reorder: Ratio,
    /// How long such a packet is held back; at most 10 s.
    #[serde(with = "duration")]
    pub reorder_by: Duration,
    /// What the transmitter sends, overhead included.
    pub rate: Rate,
    /// Bytes that each packet takes on the line beyond its own length; at most 1,500. An IPv4 and a UDP header by default.
    pub overhead: u32,
    /// How much waits for the transmitter at most. A packet that finds it idle is always taken.
    pub queue: Queue,
    /// How the rate changes, in the order of time.
    pub rate_steps: Vec<RateStep>,
    /// When everything that enters is lost, in the order of time.
    pub black_holes: Vec<BlackHole>,
    /// Begins `rate_steps` and `black_holes` again every so often.
    #[serde(with = "optional_duration")]
    pub repeat: Option<Duration>,
    /// Packets that the line holds at most, waiting or on the way: a bound for memory, not a model of anything. 1 to 1,000,000.
    pub limit: u32,
}

/// From a moment on, another rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateStep {
    /// Counted from the line's beginning.
    #[serde(with = "duration")]
    pub at: Duration,
    /// The rate from then on; 0 keeps packets waiting.
    pub rate: Rate,
}

/// A while in which everything that enters is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlackHole {
    /// Counted from the line's beginning.
    #[serde(with = "duration")]
    pub at: Duration,
    /// How long it lasts.
    #[serde(rename = "for", with = "duration")]
    pub length: Duration,
}

/// The size of a queue, as bytes (`"64 KiB"`) or as time (`"200ms"`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Bytes that have not left the transmitter, overhead included.
    Bytes(u64),
    /// The longest that a packet waits before its own transmission begins.
    Time(Duration),
}

/// Why something is no configuration of a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A part of the text is not `key=value`.
    #[error("`{0}` is not `key=value`; a line is written like loss=5%,delay=60ms,jitter=10ms,rate=2Mbit/s, or perfect")]
    NotKeyValue(String),
    /// No such key.
    #[error("there is no `{key}`; there are {known}")]
    UnknownKey {
        /// What was said.
        key: String,
        /// What can be said.
        known: &'static str,
    },
    /// A key was said twice.
    #[error("`{0}` is said twice")]
    Twice(String),
    /// A value is no such quantity.
    #[error("{key}: {source}")]
    Unit {
        /// Whose value.
        key: String,
        /// What is wrong with it.
        source: UnitError,
    },
    /// A value is less or more than makes sense.
    #[error("{key} is {least} to {most}, not {given}")]
    OutOfRange {
        /// Whose value.
        key: &'static str,
        /// What was said.
        given: String,
        /// The least that is allowed.
        least: String,
        /// The most that is allowed.
        most: String,
    },
    /// Bursts of this length and density don't come to that loss.
    #[error("bursts of {length} packets with {density} lost in them can't come to {loss} of all: make them longer, denser or rarer")]
    BurstTooShort {
        /// The burst's mean packets.
        length: u32,
        /// The part lost in it.
        density: Ratio,
        /// The wished mean loss.
        loss: Ratio,
    },
    /// A schedule's times don't grow, or its parts overlap.
    #[error("{key} at {at}: each must come after the one before is over, and the first after 0s")]
    Order {
        /// Which schedule.
        key: &'static str,
        /// The part that is wrong.
        at: Time,
    },
    /// A part of a schedule lies beyond the time after which it begins again.
    #[error("{key} at {at} is not over before it all repeats")]
    BeyondRepeat {
        /// Which schedule.
        key: &'static str,
        /// The part that is wrong.
        at: Time,
    },
    /// A rate of 0 that no later step ends.
    #[error("a rate of 0 needs a later step that ends it; to lose everything use a black hole")]
    RateStaysZero,
    /// Nothing to repeat.
    #[error("repeat needs rate steps or black holes to repeat")]
    NothingToRepeat,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            // Longer than a frame's packets take, shorter than a round of feedback.
            coherence: Duration::from_millis(50),
            loss: Ratio::ZERO,
            burst_loss: Ratio::ZERO,
            burst_length: 5,
            burst_density: Ratio::ONE,
            duplicate: Ratio::ZERO,
            reorder: Ratio::ZERO,
            reorder_by: Duration::from_millis(10),
            rate: Rate::UNLIMITED,
            overhead: 28,
            // What home routers hold.
            queue: Queue::Time(Duration::from_millis(200)),
            rate_steps: Vec::new(),
            black_holes: Vec::new(),
            repeat: None,
            // A second of 500 Mbit/s.
            limit: 50_000,
        }
    }
}

/// The longest `delay` and `reorder_by`: beyond it every peer has given up.
const MAX_DELAY: Duration = Duration::from_secs(10);
/// The largest `jitter`.
const MAX_JITTER: Duration = Duration::from_secs(2);
/// The longest `coherence`.
const MAX_COHERENCE: Duration = Duration::from_secs(600);
/// The shortest `repeat`.
const MIN_REPEAT: Duration = Duration::from_millis(10);
/// The parts of a schedule: enough for a step every second of an hour, little enough to look through.
const MAX_PARTS: usize = 10_000;
/// The lowest rate that is not 0, in bits a second.
const MIN_RATE: Rate = Rate::bits(1_000);

impl Config {
    /// Whether it makes sense. What was deserialized or parsed does.
    pub fn check(&self) -> Result<(), ConfigError> {
        within("delay", Time(self.delay), Time(Duration::ZERO), Time(MAX_DELAY))?;
        within("jitter", Time(self.jitter), Time(Duration::ZERO), Time(MAX_JITTER))?;
        within("coherence", Time(self.coherence), Time(Duration::ZERO), Time(MAX_COHERENCE))?;
        within("reorder_by", Time(self.reorder_by), Time(Duration::ZERO), Time(MAX_DELAY))?;
        within("burst_length", self.burst_length, 1, 100_000)?;
        within("burst_density", self.burst_density, Ratio::percent(1), Ratio::ONE)?;
        within("overhead", self.overhead, 0, 1_500)?;
        within("limit", self.limit, 1, 1_000_000)?;
        within("the number of rate steps", self.rate_steps.len(), 0, MAX_PARTS)?;
        within("the number of black holes", self.black_holes.len(), 0, MAX_PARTS)?;
        let (to_bad, _) = transitions(self);
        if !(0.0..=1.0).contains(&to_bad) {
            return Err(ConfigError::BurstTooShort { length: self.burst_length, density: self.burst_density, loss: self.burst_loss });
        }
        self.check_schedules()
    }

    fn check_schedules(&self) -> Result<(), ConfigError> {
        if let Some(repeat) = self.repeat {
            within("repeat", Time(repeat), Time(MIN_REPEAT), Time(crate::units::MAX_DURATION))?;
            if self.rate_steps.is_empty() && self.black_holes.is_empty() {
                return Err(ConfigError::NothingToRepeat);
            }
        }
        let rates = || std::iter::once(self.rate).chain(self.rate_steps.iter().map(|step| step.rate));
        for rate in rates().filter(|rate| rate.bits_per_second() > 0) {
            within("rate", rate, MIN_RATE, Rate::UNLIMITED)?;
        }
        let stays =
            if self.repeat.is_some() { rates().all(|rate| rate.bits_per_second() == 0) } else { rates().last() == Some(Rate::bits(0)) };
        if stays {
            return Err(ConfigError::RateStaysZero);
        }
        let steps = self.rate_steps.iter().map(|step| (step.at, Duration::from_nanos(1)));
        in_order("rate step", steps, Duration::from_nanos(1), self.repeat)?;
        in_order("black hole", self.black_holes.iter().map(|hole| (hole.at, hole.length)), Duration::ZERO, self.repeat)
    }
}

fn within<V: PartialOrd + fmt::Display>(key: &'static str, given: V, least: V, most: V) -> Result<(), ConfigError> {
    if least <= given && given <= most {
        return Ok(());
    }
    Err(ConfigError::OutOfRange { key, given: given.to_string(), least: least.to_string(), most: most.to_string() })
}

/// Whether parts, each with its begin and length, come one after the other, the first at `least` at the earliest.
fn in_order(
    key: &'static str,
    parts: impl Iterator<Item = (Duration, Duration)>,
    least: Duration,
    repeat: Option<Duration>,
) -> Result<(), ConfigError> {
    let mut over = least;
    for (at, length) in parts {
        if at < over || length.is_zero() {
            return Err(ConfigError::Order { key, at: Time(at) });
        }
        over = at.saturating_add(length);
        if repeat.is_some_and(|repeat| over > repeat) {
            return Err(ConfigError::BeyondRepeat { key, at: Time(at) });
        }
        // So that no time on the line overflows.
        within(key, Time(over), Time(Duration::ZERO), Time(crate::units::MAX_DURATION * 2))?;
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TableOrText;

        impl<'de> Visitor<'de> for TableOrText {
            type Value = Config;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a line: a table, or a text such as \"loss=5%,delay=60ms\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Config, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Config, A::Error> {
                // The derived function of the same name, which reads a table only.
                let config = Config::deserialize(MapAccessDeserializer::new(map))?;
                config.check().map_err(serde::de::Error::custom)?;
                Ok(config)
            }
        }

        deserializer.deserialize_any(TableOrText)
    }
}

impl Serialize for Config {
    /// As the text that [`Display`](fmt::Display) shows.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Quantity for Queue {
    const EXPECTED: &'static str = "a queue's size, such as \"200ms\", \"64 KiB\" or a number of bytes";

    fn new(number: f64, unit: &str, text: &str) -> Result<Self, UnitError> {
        let read = match Bytes::new(number, unit, text) {
            Err(UnitError::UnknownUnit { .. }) => Time::new(number, unit, text).map(|time| Self::Time(time.0)),
            bytes => bytes.map(|bytes| Self::Bytes(bytes.0)),
        };
        read.map_err(|error| match error {
            UnitError::UnknownUnit { text, unit, .. } => UnitError::UnknownUnit { text, unit, expected: Self::EXPECTED },
            error => error,
        })
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => Bytes(*bytes).fmt(formatter),
            Self::Time(time) => Time(*time).fmt(formatter),
        }
    }
}

impl<'de> Deserialize<'de> for Queue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        quantity(deserializer)
    }
}

impl Config {
    /// Whether the line carries everything at once and unharmed.
    pub fn is_perfect(&self) -> bool {
        self.delay.is_zero()
            && self.jitter.is_zero()
            && [self.loss, self.burst_loss, self.duplicate, self.reorder].iter().all(|ratio| *ratio == Ratio::ZERO)
            && self.rate == Rate::UNLIMITED
            && self.rate_steps.iter().all(|step| step.rate == Rate::UNLIMITED)
            && self.black_holes.is_empty()
    }
}
