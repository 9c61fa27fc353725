//! `p99<20ms,loss<0.1%` as promises.

use std::str::FromStr;

use thiserror::Error;

use super::{Dimension, Metric, Promise, Quantity, Slo, Unit};

/// Why a text is no promise, and where in it: the column counts characters from 1.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("at column {column} of the promise: {kind}")]
pub struct SloError {
    /// Where; one past the last character if something is missing at the end.
    pub column: usize,
    /// What is wrong.
    pub kind: SloErrorKind,
}

/// What is wrong with a promise.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SloErrorKind {
    /// Nothing stands where a promise should.
    #[error("a promise is missing, such as p99<20ms or loss<0.1%")]
    Empty,
    /// The metric is none that is known.
    #[error("{name:?} is not measured{}; known are {}", suggestion(.name), names())]
    Metric {
        /// As written.
        name: String,
    },
    /// The metric has been promised already.
    #[error("{} is promised a second time", .metric.name())]
    Twice {
        /// Which.
        metric: Metric,
    },
    /// Neither `<` nor `<=` follows the metric.
    #[error("{} wants < or <= and a limit here, as in {}", .metric.name(), example(*.metric))]
    Comparison {
        /// Which.
        metric: Metric,
    },
    /// No number follows the comparison.
    #[error("{} wants a number here, as in {}", .metric.name(), example(*.metric))]
    Number {
        /// Which.
        metric: Metric,
    },
    /// The number has no unit, or another dimension's.
    #[error("{} {} here, as in {}", .metric.name(), wanted_unit(*.metric), example(*.metric))]
    Unit {
        /// Which.
        metric: Metric,
    },
    /// Nothing can be below the limit.
    #[error("nothing is below 0; if none at all is meant, write {}<=0{}", .metric.name(), .unit.symbol())]
    Impossible {
        /// Which.
        metric: Metric,
        /// As written.
        unit: Unit,
    },
    /// Nothing can be above the limit.
    #[error("{} never exceeds 100%, so this promises nothing", .metric.name())]
    Certain {
        /// Which.
        metric: Metric,
    },
    /// Something else follows a complete promise.
    #[error("promises are separated by commas, as in p99<20ms,loss<0.1%")]
    Separator,
}

impl FromStr for Slo {
    type Err = SloError;

    fn from_str(text: &str) -> Result<Self, SloError> {
        let mut reader = Reader { rest: text, column: 1 };
        let mut promises: Vec<Promise> = Vec::new();
        loop {
            reader.skip_spaces();
            let column = reader.column;
            let promise = reader.promise()?;
            // Each metric once also bounds their number.
            if promises.iter().any(|earlier| earlier.metric == promise.metric) {
                return Err(SloError { column, kind: SloErrorKind::Twice { metric: promise.metric } });
            }
            promises.push(promise);
            reader.skip_spaces();
            if reader.rest.is_empty() {
                return Ok(Self { promises });
            }
            if !reader.take(",") {
                return Err(reader.error(SloErrorKind::Separator));
            }
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
    column: usize,
}

impl<'a> Reader<'a> {
    fn promise(&mut self) -> Result<Promise, SloError> {
        let metric = self.metric()?;
        self.skip_spaces();
        if !self.take("<") {
            return Err(self.error(SloErrorKind::Comparison { metric }));
        }
        let inclusive = self.take("=");
        self.skip_spaces();
        let column = self.column;
        let limit = self.quantity(metric)?;
        let kind = if limit.value == 0.0 && !inclusive {
            SloErrorKind::Impossible { metric, unit: limit.unit }
        } else if limit.unit == Unit::Percent && (limit.value > 100.0 || limit.value == 100.0 && inclusive) {
            SloErrorKind::Certain { metric }
        } else {
            return Ok(Promise { metric, inclusive, limit });
        };
        Err(SloError { column, kind })
    }

    fn metric(&mut self) -> Result<Metric, SloError> {
        let column = self.column;
        let name = self.take_while(|char| !char.is_whitespace() && !matches!(char, ',' | '<' | '>' | '='));
        if name.is_empty() {
            return Err(SloError { column, kind: SloErrorKind::Empty });
        }
        let known = Metric::ALL.into_iter().find(|metric| metric.name().eq_ignore_ascii_case(name));
        // What is quoted in an error is bounded: a promise may be anything that was passed on a command line.
        known.ok_or_else(|| SloError { column, kind: SloErrorKind::Metric { name: name.chars().take(40).collect() } })
    }

    fn quantity(&mut self, metric: Metric) -> Result<Quantity, SloError> {
        let column = self.column;
        let number = self.take_while(|char| char.is_ascii_digit() || char == '.');
        // The digits are checked here: str::parse alone would take "." for an error but "1e999" and "inf" for numbers.
        let value = number.parse().ok().filter(|value: &f64| value.is_finite());
        let value = value.ok_or(SloError { column, kind: SloErrorKind::Number { metric } })?;
        self.skip_spaces();
        let column = self.column;
        let unit = match self.take_while(|char| !char.is_whitespace() && char != ',') {
            "us" | "µs" | "μs" => Unit::Microseconds,
            "ms" => Unit::Milliseconds,
            "s" => Unit::Seconds,
            "%" => Unit::Percent,
            "KiB" => Unit::Kibibytes,
            "MiB" => Unit::Mebibytes,
            _ => return Err(SloError { column, kind: SloErrorKind::Unit { metric } }),
        };
        if unit.dimension() != metric.dimension() {
            return Err(SloError { column, kind: SloErrorKind::Unit { metric } });
        }
        Ok(Quantity { value, unit })
    }

    fn error(&self, kind: SloErrorKind) -> SloError {
        SloError { column: self.column, kind }
    }

    fn skip_spaces(&mut self) {
        self.take_while(char::is_whitespace);
    }

    fn take(&mut self, expected: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(expected) else { return false };
        self.rest = rest;
        self.column += expected.chars().count();
        true
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|char| !wanted(char)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.column += taken.chars().count();
        taken
    }
}

fn example(metric: Metric) -> String {
    match metric.dimension() {
        Dimension::Share => format!("{}<0.1%", metric.name()),
        Dimension::Time => format!("{}<20ms", metric.name()),
        Dimension::Memory => format!("{}<60KiB", metric.name()),
    }
}

fn wanted_unit(metric: Metric) -> &'static str {
    match metric.dimension() {
        Dimension::Share => "is a share and wants %",
        Dimension::Time => "is a time and wants us, ms or s",
        Dimension::Memory => "is measured in KiB or MiB, which is missing",
    }
}

fn names() -> String {
    Metric::ALL.map(Metric::name).join(", ")
}

/// What may have been meant: the same letters and digits, or a known name's beginning.
fn suggestion(name: &str) -> String {
    let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).map(|char| char.to_ascii_lowercase()).collect::<String>();
    let written = plain(name);
    let meant = match written.as_str() {
        "latency" | "delay" => Some(Metric::LatencyP99),
        "median" => Some(Metric::LatencyP50),
        "lost" | "packetloss" => Some(Metric::Loss),
        "frozen" | "freezes" | "stalls" => Some(Metric::Freeze),
        "failed" | "refused" | "errors" => Some(Metric::Failures),
        "connected" => Some(Metric::JoinP95),
        "cpu" => Some(Metric::PacketCpu),
        "ram" | "rss" => Some(Metric::Memory),
        "" => None,
        _ => Metric::ALL
            .into_iter()
            .find(|metric| plain(metric.name()) == written)
            .or_else(|| Metric::ALL.into_iter().find(|metric| plain(metric.name()).starts_with(&written))),
    };
    meant.map(|metric| format!(" (is {} meant?)", metric.name())).unwrap_or_default()
}
