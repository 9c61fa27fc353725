//! The charts of a run.

use super::chart::scale::Scale;
use super::chart::{Chart, Hint, Limit, Line};
use super::figures;
use super::timeline;
use crate::results::{Percentiles, RunResult, Sample};
use crate::slo::{Metric, Slo};

/// Points of a line over time: about one for every three pixels of a telephone's screen.
const POINTS: usize = 120;
/// A limit this many times above everything measured would flatten the lines; it is mentioned instead of drawn.
const LIMIT_IN_SIGHT: f64 = 3.0;
/// How far right of p99.9 the largest value stands, in nines.
const NINES: f64 = 3.8;

/// What a line over time shows.
struct Course {
    name: &'static str,
    figure: fn(&Sample) -> Option<f64>,
}

/// A percentile's place on the chart.
struct Place {
    x: f64,
    name: &'static str,
    figure: fn(&Percentiles) -> f64,
}

/// A promised limit that a chart can show.
pub(super) struct Promised {
    /// In the metric's dimension.
    value: f64,
    /// The promise as it was written.
    text: String,
}

/// How long packets (or joins) took, by how many took no longer: to the right the rare ones, each step a tenth of the one before.
pub(super) fn percentiles(title: &str, parts: &[(String, Percentiles)], limits: &[Promised]) -> Chart {
    let measured: Vec<&(String, Percentiles)> = parts.iter().filter(|(_, part)| part.count > 0).collect();
    let most = measured.iter().map(|(_, part)| part.max).fold(0.0, f64::max);
    let least = measured.iter().map(|(_, part)| part.p50).fold(f64::INFINITY, f64::min);
    let limit = limits.first().filter(|_| !measured.is_empty());
    let highest =
        limit.map(|limit| limit.value).filter(|limit| *limit <= most * LIMIT_IN_SIGHT).map_or(most, |limit| most.max(limit * 1.05));
    // Where the rare ones take many times as long, the common ones would all lie on the floor.
    let scale = if most > least * 30.0 && least > 0.0 { Scale::logarithmic(least / 2.0, highest) } else { Scale::linear(highest, 1.0) };
    let place = |x, name, figure| Place { x, name, figure };
    let places = [
        place(nines(0.5), "p50", |part| part.p50),
        place(nines(0.9), "p90", |part| part.p90),
        place(nines(0.95), "p95", |part| part.p95),
        place(nines(0.99), "p99", |part| part.p99),
        place(nines(0.999), "p99.9", |part| part.p999),
        place(1.0, "max", |part| part.max),
    ];
    let lines = measured.iter().map(|(name, part)| Line {
        name: name.clone(),
        points: places.iter().map(|place| (place.x, Some(scale.at((place.figure)(part))))).collect(),
    });
    let said = measured.iter().map(|(name, part)| {
        let (p50, p99) = (figures::milliseconds(part.p50), figures::milliseconds(part.p99));
        format!("{name}: median {p50}, p99 {p99}, at most {}", figures::milliseconds(part.max))
    });
    let said: Vec<String> = said.collect();
    let hints = places.iter().enumerate().map(|(index, place)| {
        let from = index.checked_sub(1).map_or(0.0, |before| (places[before].x + place.x) / 2.0);
        let to = places.get(index + 1).map_or(1.0, |after| (after.x + place.x) / 2.0);
        let values = measured.iter().map(|(part, all)| format!("{part}: {}", figures::milliseconds((place.figure)(all))));
        Hint { from, to, text: format!("{}\n{}", place.name, values.collect::<Vec<String>>().join("\n")) }
    });
    Chart {
        title: title.to_owned(),
        description: format!("A line for each kind, rising to the rarest and slowest. {}.", said.join(". ")),
        x: places.iter().filter(|place| place.name != "p95").map(|place| (place.x, place.name.to_owned())).collect(),
        y: scale.labels(figures::milliseconds),
        hints: hints.collect(),
        lines: lines.collect(),
        limit: limit.map(|limit| Limit { y: scale.at(limit.value), text: limit.text.clone() }),
        ..Chart::default()
    }
}

/// The promise about one metric as a limit for a chart.
pub(super) fn limits(promise: Option<&Slo>, metrics: &[Metric]) -> Vec<Promised> {
    let found = metrics.iter().filter_map(|metric| promise?.promise(*metric));
    found.map(|promise| Promised { value: promise.limit(), text: promise.to_string() }).collect()
}

/// The run over time.
pub(super) fn over_time(run: &RunResult) -> Vec<Chart> {
    if run.samples.is_empty() {
        return Vec::new();
    }
    let course = |name, figure| Course { name, figure };
    let limit = |metric| limits(run.promise.as_ref(), &[metric]).into_iter().next();
    let mut charts = vec![
        over(
            run,
            "Latency",
            &[course("p99", |s| s.latency_p99_ms), course("p50", |s| s.latency_p50_ms)],
            1.0,
            figures::milliseconds,
            limit(Metric::LatencyP99),
        ),
        over(run, "Packets lost", &[course("lost", |s| s.lost_share)], 0.001, figures::share, limit(Metric::Loss)),
        over(run, "Video frozen", &[course("frozen", |s| s.frozen_share)], 0.01, figures::share, limit(Metric::Freeze)),
        over(run, "Packets a second", &[course("packets/s", |s| Some(s.packets_per_second))], 10.0, figures::quantity, None),
        over(run, "Participants", &[course("participants", |s| Some(s.participants as f64))], 5.0, figures::quantity, None),
    ];
    let bench = course("bench", |s| Some(s.bench_cpu_share));
    let watched = run.samples.iter().any(|sample| sample.server_cpu_share.is_some());
    let courses = if watched { vec![course("server", |s| s.server_cpu_share), bench] } else { vec![bench] };
    let title = if watched { "CPU, of all cores" } else { "CPU of the bench, of all cores" };
    charts.push(over(run, title, &courses, 0.1, figures::share, None));
    charts
}

fn over(run: &RunResult, title: &str, courses: &[Course], least_most: f64, show: fn(f64) -> String, limit: Option<Promised>) -> Chart {
    let samples = timeline::buckets(&run.samples, POINTS);
    let clock = Scale::clock(samples.last().map_or(1.0, |sample| sample.at_seconds));
    let values = |course: &Course| samples.iter().filter_map(course.figure).collect::<Vec<f64>>();
    let most = courses.iter().flat_map(values).fold(0.0, f64::max);
    let limit = limit.filter(|_| courses.iter().any(|course| !values(course).is_empty()));
    let in_sight = limit.as_ref().map(|limit| limit.value).filter(|limit| *limit <= most * LIMIT_IN_SIGHT);
    let scale = Scale::linear(most.max(in_sight.unwrap_or(0.0) * 1.05), least_most);
    let lines = courses.iter().map(|course| Line {
        name: course.name.to_owned(),
        points: samples.iter().map(|s| (clock.at(s.at_seconds), (course.figure)(s).map(|value| scale.at(value)))).collect(),
    });
    let mut before = 0.0;
    let hints = samples.iter().map(|sample| {
        let to = clock.at(sample.at_seconds);
        let from = std::mem::replace(&mut before, to);
        let values: Vec<String> =
            courses.iter().map(|course| format!("{} {}", course.name, figures::or_none((course.figure)(sample), show))).collect();
        Hint { from, to, text: format!("{}: {}", figures::seconds(sample.at_seconds), values.join(", ")) }
    });
    let said = courses.iter().map(|course| {
        let highest =
            samples.iter().filter_map(|s| Some((s.at_seconds, (course.figure)(s)?))).max_by(|one, other| one.1.total_cmp(&other.1));
        match highest {
            Some((at, value)) => format!("{}: at most {}, after {}", course.name, show(value), figures::seconds(at)),
            None => format!("{}: nothing was measured", course.name),
        }
    });
    let said: Vec<String> = said.collect();
    let stretch = timeline::stretch(run.samples.len(), POINTS);
    let stretched = if stretch > 1 { format!(" Each point is {stretch} seconds.") } else { String::new() };
    Chart {
        title: title.to_owned(),
        description: format!("{} over time. {}.{stretched}", title, said.join(". ")),
        x: clock.labels(moment),
        y: scale.labels(show),
        hints: hints.collect(),
        lines: lines.collect(),
        limit: limit.map(|limit| Limit { y: scale.at(limit.value), text: limit.text }),
        ..Chart::default()
    }
}

/// A quantile's place across: each nine is as wide as the one before.
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).log10() / NINES
}

/// A time on an axis: "30 s", "1:30", "1:05:00".
fn moment(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes}:{seconds:02}"),
        (hours, minutes, seconds) => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}
