//! Promises about what people notice (service level objectives), such as `p99<20ms,loss<0.1%,freeze<1%`.
//!
//! What the server costs may be promised as well, such as `memory<60KiB`, where the bench can measure it.
//!
//! A promise is held against every kind of media that was measured, and the worst of them decides: what viewers don't see is not
//! made up for by what listeners hear. A promise about something that was not measured is broken.

mod check;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use check::{Breach, Cause};
pub use parse::{SloError, SloErrorKind};

/// Promises, at least one, each about another metric. Read with [`str::parse`]; [`fmt::Display`] writes what reads as the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slo {
    promises: Vec<Promise>,
}

/// One promise: a metric stays below a limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Promise {
    /// What is measured.
    pub metric: Metric,
    /// Whether the limit itself keeps the promise (`<=`) or breaks it (`<`).
    pub inclusive: bool,
    /// The limit as it was written.
    pub limit: Quantity,
}

/// A number with its unit, as it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantity {
    /// The number; finite, not negative.
    pub value: f64,
    /// Its unit.
    pub unit: Unit,
}

/// Units of limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// `us`
    Microseconds,
    /// `ms`
    Milliseconds,
    /// `s`
    Seconds,
    /// `%`
    Percent,
    /// `KiB`, 1,024 bytes
    Kibibytes,
    /// `MiB`
    Mebibytes,
}

/// What a promise is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Median one-way latency of packets.
    LatencyP50,
    /// 90th percentile of the one-way latency.
    LatencyP90,
    /// 99th percentile of the one-way latency.
    LatencyP99,
    /// 99.9th percentile of the one-way latency.
    LatencyP999,
    /// The largest one-way latency.
    LatencyMax,
    /// Packets that never arrived, of those expected.
    Loss,
    /// Time that video stood still, of the time it was to be seen.
    Freeze,
    /// 95th percentile of the time to be connected.
    JoinP95,
    /// 99th percentile of the time to be connected.
    JoinP99,
    /// 95th percentile of the time to the first frame.
    FirstFrameP95,
    /// Joins that failed or were refused, of those attempted.
    Failures,
    /// The server's CPU time for each packet that arrived.
    PacketCpu,
    /// The server's CPU time for each join.
    JoinCpu,
    /// What each participant adds to the server's resident memory.
    Memory,
}

/// What a metric is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// Milliseconds.
    Time,
    /// A share from 0 to 1.
    Share,
    /// KiB.
    Memory,
}

impl Slo {
    /// What is promised, in the order it was written.
    pub fn promises(&self) -> &[Promise] {
        &self.promises
    }

    /// The promise about a metric, if there is one.
    pub fn promise(&self, metric: Metric) -> Option<&Promise> {
        self.promises.iter().find(|promise| promise.metric == metric)
    }
}

impl Promise {
    /// The limit in the metric's own dimension: milliseconds, a share or KiB.
    pub fn limit(&self) -> f64 {
        match self.limit.unit {
            Unit::Microseconds => self.limit.value / 1000.0,
            Unit::Milliseconds | Unit::Kibibytes => self.limit.value,
            Unit::Seconds => self.limit.value * 1000.0,
            Unit::Percent => self.limit.value / 100.0,
            Unit::Mebibytes => self.limit.value * 1024.0,
        }
    }

    /// Whether a measured value, in the metric's dimension, keeps the promise. What is not a number does not.
    pub fn keeps(&self, value: f64) -> bool {
        if self.inclusive { value <= self.limit() } else { value < self.limit() }
    }
}

impl Metric {
    /// All of them, in the order they are listed in messages.
    pub const ALL: [Self; 14] = [
        Self::LatencyP50,
        Self::LatencyP90,
        Self::LatencyP99,
        Self::LatencyP999,
        Self::LatencyMax,
        Self::Loss,
        Self::Freeze,
        Self::JoinP95,
        Self::JoinP99,
        Self::FirstFrameP95,
        Self::Failures,
        Self::PacketCpu,
        Self::JoinCpu,
        Self::Memory,
    ];

    /// As it is written in a promise.
    pub fn name(self) -> &'static str {
        match self {
            Self::LatencyP50 => "p50",
            Self::LatencyP90 => "p90",
            Self::LatencyP99 => "p99",
            Self::LatencyP999 => "p99.9",
            Self::LatencyMax => "max",
            Self::Loss => "loss",
            Self::Freeze => "freeze",
            Self::JoinP95 => "join-p95",
            Self::JoinP99 => "join-p99",
            Self::FirstFrameP95 => "first-frame-p95",
            Self::Failures => "failures",
            Self::PacketCpu => "packet-cpu",
            Self::JoinCpu => "join-cpu",
            Self::Memory => "memory",
        }
    }

    /// In words, as a report says it.
    pub fn title(self) -> &'static str {
        match self {
            Self::LatencyP50 => "Latency, median",
            Self::LatencyP90 => "Latency, p90",
            Self::LatencyP99 => "Latency, p99",
            Self::LatencyP999 => "Latency, p99.9",
            Self::LatencyMax => "Latency, largest",
            Self::Loss => "Packets lost",
            Self::Freeze => "Video frozen",
            Self::JoinP95 => "Connected within, p95",
            Self::JoinP99 => "Connected within, p99",
            Self::FirstFrameP95 => "First frame within, p95",
            Self::Failures => "Joins that failed",
            Self::PacketCpu => "CPU of a packet",
            Self::JoinCpu => "CPU of a join",
            Self::Memory => "Memory of a participant",
        }
    }

    /// What it is measured in.
    pub fn dimension(self) -> Dimension {
        match self {
            Self::Loss | Self::Freeze | Self::Failures => Dimension::Share,
            Self::Memory => Dimension::Memory,
            _ => Dimension::Time,
        }
    }
}

impl Unit {
    fn symbol(self) -> &'static str {
        match self {
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Percent => "%",
            Self::Kibibytes => "KiB",
            Self::Mebibytes => "MiB",
        }
    }

    fn dimension(self) -> Dimension {
        match self {
            Self::Microseconds | Self::Milliseconds | Self::Seconds => Dimension::Time,
            Self::Percent => Dimension::Share,
            Self::Kibibytes | Self::Mebibytes => Dimension::Memory,
        }
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, promise) in self.promises.iter().enumerate() {
            write!(out, "{}{promise}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}{}", self.metric.name(), if self.inclusive { "<=" } else { "<" }, self.limit)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}", self.value, self.unit.symbol())
    }
}

impl From<Slo> for String {
    fn from(slo: Slo) -> Self {
        slo.to_string()
    }
}

impl TryFrom<String> for Slo {
    type Error = SloError;

    fn try_from(text: String) -> Result<Self, SloError> {
        text.parse()
    }
}
