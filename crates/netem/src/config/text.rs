//! The form for command lines: `loss=5%,delay=60ms,rate=2Mbit/s,rate@10s=500kbit/s,black_hole@5s=2s`.

use std::fmt;
use std::str::FromStr;

use super::{BlackHole, Config, ConfigError, RateStep};
use crate::units::{Quantity, Time, UnitError};

/// What [`FromStr`] knows, for its errors.
const KEYS: &str = "delay, jitter, coherence, loss, burst_loss, burst_length, burst_density, duplicate, reorder, reorder_by, rate, overhead, queue, \
                    limit, repeat, rate@TIME, black_hole@TIME";

impl FromStr for Config {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        if text.trim().eq_ignore_ascii_case("perfect") {
            return Ok(config);
        }
        let mut said = Vec::new();
        for part in text.split(',') {
            let (key, value) = part.split_once('=').ok_or_else(|| ConfigError::NotKeyValue(part.trim().to_owned()))?;
            // A dash as in other options of a command line.
            let (key, value) = (key.trim().replace('-', "_"), value.trim());
            if said.contains(&key) {
                return Err(ConfigError::Twice(key));
            }
            config.set(&key, value)?;
            said.push(key);
        }
        config.rate_steps.sort_by_key(|step| step.at);
        config.black_holes.sort_by_key(|hole| hole.at);
        config.check()?;
        Ok(config)
    }
}

impl Config {
    fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        match key {
            "delay" => self.delay = read::<Time>(key, value)?.0,
            "jitter" => self.jitter = read::<Time>(key, value)?.0,
            "coherence" => self.coherence = read::<Time>(key, value)?.0,
            "loss" => self.loss = read(key, value)?,
            "burst_loss" => self.burst_loss = read(key, value)?,
            "burst_length" => self.burst_length = read_count(key, value)?,
            "burst_density" => self.burst_density = read(key, value)?,
            "duplicate" => self.duplicate = read(key, value)?,
            "reorder" => self.reorder = read(key, value)?,
            "reorder_by" => self.reorder_by = read::<Time>(key, value)?.0,
            "rate" => self.rate = read(key, value)?,
            "overhead" => self.overhead = read_count(key, value)?,
            "queue" => self.queue = read(key, value)?,
            "limit" => self.limit = read_count(key, value)?,
            "repeat" => self.repeat = Some(read::<Time>(key, value)?.0),
            _ => match key.split_once('@') {
                Some(("rate", at)) => self.rate_steps.push(RateStep { at: read::<Time>(key, at)?.0, rate: read(key, value)? }),
                Some(("black_hole", at)) => {
                    self.black_holes.push(BlackHole { at: read::<Time>(key, at)?.0, length: read::<Time>(key, value)?.0 });
                }
                _ => return Err(ConfigError::UnknownKey { key: key.to_owned(), known: KEYS }),
            },
        }
        Ok(())
    }
}

fn read<Q: Quantity>(key: &str, value: &str) -> Result<Q, ConfigError> {
    Q::parse(value).map_err(|source| ConfigError::Unit { key: key.to_owned(), source })
}

fn read_count(key: &str, value: &str) -> Result<u32, ConfigError> {
    value.parse().map_err(|_| ConfigError::Unit {
        key: key.to_owned(),
        source: UnitError::NoNumber { text: value.to_owned(), expected: "a whole number" },
    })
}

impl fmt::Display for Config {
    /// What differs from the default, so that [`FromStr`] reads the same configuration from it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = Self::default();
        let mut parts = Vec::new();
        let mut say = |key: &str, differs: bool, value: &dyn fmt::Display| {
            if differs {
                parts.push(format!("{key}={value}"));
            }
        };
        say("loss", self.loss != usual.loss, &self.loss);
        say("burst_loss", self.burst_loss != usual.burst_loss, &self.burst_loss);
        say("burst_length", self.burst_length != usual.burst_length, &self.burst_length);
        say("burst_density", self.burst_density != usual.burst_density, &self.burst_density);
        say("delay", self.delay != usual.delay, &Time(self.delay));
        say("jitter", self.jitter != usual.jitter, &Time(self.jitter));
        say("coherence", self.coherence != usual.coherence, &Time(self.coherence));
        say("duplicate", self.duplicate != usual.duplicate, &self.duplicate);
        say("reorder", self.reorder != usual.reorder, &self.reorder);
        say("reorder_by", self.reorder_by != usual.reorder_by, &Time(self.reorder_by));
        say("rate", self.rate != usual.rate, &self.rate);
        for step in &self.rate_steps {
            say(&format!("rate@{}", Time(step.at)), true, &step.rate);
        }
        say("overhead", self.overhead != usual.overhead, &self.overhead);
        say("queue", self.queue != usual.queue, &self.queue);
        for hole in &self.black_holes {
            say(&format!("black_hole@{}", Time(hole.at)), true, &Time(hole.length));
        }
        if let Some(repeat) = self.repeat {
            say("repeat", true, &Time(repeat));
        }
        say("limit", self.limit != usual.limit, &self.limit);
        if parts.is_empty() { formatter.write_str("perfect") } else { formatter.write_str(&parts.join(",")) }
    }
}
