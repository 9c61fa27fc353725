//! Promises held against what was measured.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Dimension, Metric, Promise, Slo};
use crate::report::figures;
use crate::results::{MediaResult, Percentiles, RunResult, ServerResult};

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Breach {
    /// The promise, as it was written.
    pub promise: String,
    /// How it was broken.
    pub cause: Cause,
}

/// How a promise was broken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The limit was exceeded.
    Exceeded {
        /// What was measured, in milliseconds, as a share from 0 to 1, or in KiB.
        measured: f64,
        /// The limit in the same dimension.
        limit: f64,
        /// What `measured` and `limit` are.
        dimension: Dimension,
        /// Whose figure it is, such as "video to viewers"; absent if it isn't about media.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<String>,
    },
    /// There was nothing to measure, and why, in words.
    NotMeasured(String),
}

/// A metric's value in one run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Measured<'a> {
    /// In the metric's dimension.
    pub(crate) value: f64,
    /// Which media it is, if it is about media.
    pub(crate) of: Option<&'a str>,
}

impl Slo {
    /// The promises that the run did not keep, the most exceeded first and those without a measurement before all.
    pub fn check(&self, run: &RunResult) -> Vec<Breach> {
        let mut breaches: Vec<Breach> = self.promises.iter().filter_map(|promise| promise.check(run)).collect();
        breaches.sort_by(|one, other| other.excess().total_cmp(&one.excess()));
        breaches
    }
}

impl Promise {
    /// How the run broke this promise, if it did.
    pub fn check(&self, run: &RunResult) -> Option<Breach> {
        let cause = match self.metric.measure(run) {
            Ok(measured) if !measured.value.is_finite() => Cause::NotMeasured("the figure is not a number".to_owned()),
            Ok(measured) if self.keeps(measured.value) => return None,
            Ok(Measured { value, of }) => {
                Cause::Exceeded { measured: value, limit: self.limit(), dimension: self.metric.dimension(), of: of.map(str::to_owned) }
            }
            Err(missing) => Cause::NotMeasured(missing),
        };
        Some(Breach { promise: self.to_string(), cause })
    }
}

impl Breach {
    /// How many times the limit was measured; without end if nothing was measured or nothing was allowed.
    pub fn excess(&self) -> f64 {
        match &self.cause {
            Cause::Exceeded { measured, limit, .. } if *limit > 0.0 && measured.is_finite() => measured / limit,
            _ => f64::INFINITY,
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", self.promise)?;
        match &self.cause {
            Cause::Exceeded { measured, dimension, of, .. } => {
                write!(out, "{}", dimension.show(*measured))?;
                of.as_ref().map_or(Ok(()), |of| write!(out, " for {of}"))
            }
            Cause::NotMeasured(why) => write!(out, "{why}"),
        }
    }
}

impl Dimension {
    /// A figure with its unit, for people.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::Time => figures::milliseconds(value),
            Self::Share => figures::share(value),
            Self::Memory => figures::kibibytes(value),
        }
    }
}

impl Metric {
    /// Its worst value in the run, or why there is none.
    pub(crate) fn measure(self, run: &RunResult) -> Result<Measured<'_>, String> {
        match self {
            Self::LatencyP50 => latency(run, |latency| latency.p50),
            Self::LatencyP90 => latency(run, |latency| latency.p90),
            Self::LatencyP99 => latency(run, |latency| latency.p99),
            Self::LatencyP999 => latency(run, |latency| latency.p999),
            Self::LatencyMax => latency(run, |latency| latency.max),
            Self::Loss => {
                expected(run)?;
                worst(run, |media| media.packets.lost_share()).ok_or_else(|| "no packets were expected".to_owned())
            }
            Self::Freeze => {
                expected(run)?;
                worst(run, |media| media.frames.frozen_share()).ok_or_else(|| "no video was to be seen".to_owned())
            }
            Self::JoinP95 => joins(&run.joins.connected_ms, |joins| joins.p95, "nobody was connected"),
            Self::JoinP99 => joins(&run.joins.connected_ms, |joins| joins.p99, "nobody was connected"),
            Self::FirstFrameP95 => joins(&run.joins.first_frame_ms, |joins| joins.p95, "nobody saw a frame"),
            Self::Failures => {
                let share = run.joins.failed_share().ok_or_else(|| "nobody tried to join".to_owned())?;
                Ok(Measured { value: share, of: None })
            }
            Self::PacketCpu => server(run, |server| server.cpu_us_per_packet.map(|us| us / 1000.0)),
            Self::JoinCpu => server(run, |server| server.cpu_ms_per_join),
            Self::Memory => server(run, |server| server.memory_kib_per_participant),
        }
    }
}

/// All media that is to be received arrived at least in part; otherwise why not, in words.
fn expected(run: &RunResult) -> Result<(), String> {
    if run.media.iter().all(|media| media.packets.expected == 0) {
        return Err("nothing was sent that anybody was to receive".to_owned());
    }
    let silent = |media: &&MediaResult| media.packets.expected > 0 && media.packets.received == 0;
    match run.media.iter().find(silent) {
        Some(_) if run.media.iter().all(|media| media.packets.received == 0) => Err("no packets arrived".to_owned()),
        Some(media) => Err(format!("no packets of {} arrived", media.name)),
        None => Ok(()),
    }
}

fn latency(run: &RunResult, figure: impl Fn(&Percentiles) -> f64) -> Result<Measured<'_>, String> {
    expected(run)?;
    if let Some(media) = run.media.iter().find(|media| media.packets.received > 0 && media.latency_ms.count == 0) {
        return Err(format!("the latency of {} was not measured", media.name));
    }
    worst(run, |media| media.latency_ms.measured().map(&figure)).ok_or_else(|| "no latency was measured".to_owned())
}

fn joins<'a>(joins: &Percentiles, figure: impl Fn(&Percentiles) -> f64, nobody: &str) -> Result<Measured<'a>, String> {
    let value = figure(joins.measured().ok_or_else(|| nobody.to_owned())?);
    Ok(Measured { value, of: None })
}

fn server<'a>(run: &RunResult, figure: impl Fn(&ServerResult) -> Option<f64>) -> Result<Measured<'a>, String> {
    let server =
        run.server.as_ref().ok_or_else(|| "what the server costs is measured only where the bench knows its process".to_owned())?;
    let value = figure(server).ok_or_else(|| "too little happened to measure it, or too much else".to_owned())?;
    Ok(Measured { value, of: None })
}

/// The largest figure of all media that have it; one that is not a number counts as infinite.
fn worst(run: &RunResult, figure: impl Fn(&MediaResult) -> Option<f64>) -> Option<Measured<'_>> {
    let finite = |value: f64| if value.is_nan() { f64::INFINITY } else { value };
    let all = run.media.iter().filter_map(|media| Some(Measured { value: finite(figure(media)?), of: Some(&media.name) }));
    all.max_by(|one, other| one.value.total_cmp(&other.value))
}
