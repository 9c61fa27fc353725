//! A search for the largest load, as a chapter of a page.

use super::chart::scale::Scale;
use super::chart::{Chart, Dot, DotKind, Limit};
use super::figures::{self, NONE};
use super::judgement::{Tone, in_prose};
use super::run;
use super::table::Table;
use super::tables;
use super::text::runs;
use super::writer::{Html, markup};
use crate::capacity::{Bound, CapacityResult, Outcome, Step};
use crate::results::share;
use crate::slo::{Dimension, Metric, Promise};

/// From here on loads are shown by ratio, since they were found by doubling.
const RATIO_LOGARITHMIC: f64 = 8.0;
/// Values this many times the limit are shown as arrows at the top: how bad it is at twice the capacity is of no interest.
const LIMITS_IN_SIGHT: f64 = 3.0;

/// The runs of a search, in the order they were made.
pub(super) fn steps(capacity: &CapacityResult) -> Table {
    let mut head = vec![capacity.unit.clone(), "participants".to_owned()];
    let promises = capacity.promise.promises();
    head.extend(promises.iter().map(|promise| promise.metric.name().to_owned()));
    head.extend(["server CPU".to_owned(), "bench CPU".to_owned(), "outcome".to_owned()]);
    let mut table = Table { caption: "Runs, in the order they were made".to_owned(), head, rows: Vec::new() };
    for step in &capacity.steps {
        let mut cells = vec![figures::count(step.load), figures::count(step.run.load.participants)];
        cells.extend(promises.iter().map(|promise| measured(promise, step).map_or_else(|| NONE.to_owned(), |value| show(promise, value))));
        cells.push(figures::or_none(cores(step), |cores| format!("{cores:.2} cores")));
        cells.push(figures::share(step.run.bench.cpu_share));
        cells.push(outcome(&step.outcome).to_owned());
        table.row(cells);
    }
    table
}

/// Writes the search as a chapter.
pub(super) fn chapter(html: &mut Html, capacity: &CapacityResult) {
    let verdict = &capacity.verdict;
    let protocol = tables::protocol(capacity.server_kind);
    run::heading(html, &capacity.scenario, &capacity.description);
    run::source(html, &capacity.url, protocol, &capacity.started, capacity.seed, &capacity.switchyard_version);
    let tone = match (&verdict.bound, verdict.largest_kept) {
        (Bound::Server, None) => Tone::Bad,
        (Bound::Server, Some(_)) if verdict.confirmed => Tone::Good,
        (Bound::Plan, Some(_)) => Tone::Good,
        _ => Tone::Doubtful,
    };
    let headline = format!("Capacity: {}", verdict.headline(&capacity.unit));
    run::banner(html, tone, &headline, &verdict.sentences(&capacity.unit));

    let load = |load: Option<u64>| load.map_or_else(|| NONE.to_owned(), figures::count);
    let sure = if verdict.confirmed { "the loads at the edge were run more than once" } else { "the edge is not confirmed" };
    markup!(html, "<p class=\"load\">Promised: {}; the worst kind of media decides. ", in_prose(&capacity.promise));
    markup!(html, "{} in all; {}.</p>\n", runs(verdict.runs), sure);
    markup!(html, "<dl class=\"tiles\">");
    run::tile(html, "Largest load kept", &load(verdict.largest_kept), &capacity.unit);
    run::tile(html, "Smallest load broken", &load(verdict.smallest_broken), &capacity.unit);
    if let Some(step) = last(capacity, verdict.largest_kept) {
        let rate = figures::or_none(step.run.packets_per_second(), figures::quantity);
        run::tile(html, "Packets a second", &rate, "at the largest load kept");
        let cores = figures::or_none(cores(step), |cores| format!("{cores:.2} cores"));
        run::tile(html, "Server CPU", &cores, "at the largest load kept");
    }
    markup!(html, "</dl>\n");

    if !capacity.steps.is_empty() {
        markup!(html, "<section><h3>What was measured at which load</h3><div class=\"charts\">\n");
        for promise in capacity.promise.promises() {
            chart(capacity, promise).html(html);
        }
        markup!(html, "</div>\n");
        steps(capacity).html(html);
        markup!(html, "</section>\n");
    }
    details(html, capacity);
}

/// The last runs at the edge, in full.
fn details(html: &mut Html, capacity: &CapacityResult) {
    let verdict = &capacity.verdict;
    for (name, load) in [("Largest load kept", verdict.largest_kept), ("Smallest load broken", verdict.smallest_broken)] {
        let Some(step) = last(capacity, load) else { continue };
        markup!(html, "<details class=\"run\"><summary>{}: {} {}</summary>", name, figures::count(step.load), capacity.unit);
        run::body(html, &step.run);
        markup!(html, "</details>\n");
    }
}

/// One promised figure by load.
fn chart(capacity: &CapacityResult, promise: &Promise) -> Chart {
    let loads: Vec<f64> = capacity.steps.iter().map(|step| step.load as f64).collect();
    let (least, most) = loads.iter().fold((f64::INFINITY, 0.0f64), |(least, most), load| (least.min(*load), most.max(*load)));
    // A little more on both sides, so that no dot lies on the edge.
    let across =
        if most > least * RATIO_LOGARITHMIC { Scale::logarithmic(least * 0.85, most * 1.12) } else { Scale::linear(most * 1.05, 1.0) };
    let values: Vec<Option<f64>> = capacity.steps.iter().map(|step| measured(promise, step)).collect();
    let highest = values.iter().flatten().fold(0.0f64, |highest, value| highest.max(*value));
    let limit = promise.limit();
    let sight = if limit > 0.0 { highest.min(limit * LIMITS_IN_SIGHT).max(limit * 1.2) } else { highest };
    let up = Scale::linear(sight, default_height(promise));
    let dots = capacity.steps.iter().zip(&values).map(|(step, value)| {
        let shown = value.map_or_else(|| "not measured".to_owned(), |value| show(promise, value));
        let load = figures::count(step.load);
        Dot {
            x: across.at(step.load as f64),
            y: value.map(|value| up.at(value)),
            kind: match step.outcome {
                Outcome::Kept => DotKind::Kept,
                Outcome::Broken(_) | Outcome::Refused { .. } => DotKind::Broken,
                Outcome::Bench(_) => DotKind::Bench,
            },
            text: format!("{load} {}: {shown}\n{}", capacity.unit, outcome(&step.outcome)),
        }
    });
    let kept = capacity.verdict.largest_kept;
    let said = match kept {
        Some(kept) => format!("The largest load that keeps all promises is {}.", figures::count(kept)),
        None => "No load kept all promises.".to_owned(),
    };
    Chart {
        title: format!("{}, by {}", promise.metric.title(), capacity.unit),
        description: format!(
            "A dot for each of {}; the limit is {promise}. {said} The table below has the figures.",
            runs(capacity.steps.len())
        ),
        x: across.labels(figures::quantity),
        y: up.labels(|value| show(promise, value)),
        dots: dots.collect(),
        limit: Some(Limit { y: up.at(limit), text: promise.to_string() }),
        mark: kept.map(|kept| (across.at(kept as f64), figures::count(kept))),
        ..Chart::default()
    }
}

/// The last run at a load.
fn last(capacity: &CapacityResult, load: Option<u64>) -> Option<&Step> {
    capacity.steps.iter().rev().find(|step| Some(step.load) == load)
}

/// CPU time of the server in a second.
fn cores(step: &Step) -> Option<f64> {
    share(step.run.server.as_ref()?.cpu_seconds, step.run.measured_seconds)
}

fn measured(promise: &Promise, step: &Step) -> Option<f64> {
    promise.metric.measure(&step.run).ok().map(|measured| measured.value).filter(|value| value.is_finite())
}

fn show(promise: &Promise, value: f64) -> String {
    promise.metric.dimension().show(value)
}

/// Of the chart, if all is zero.
fn default_height(promise: &Promise) -> f64 {
    match promise.metric {
        Metric::Loss => 0.001,
        metric if metric.dimension() == Dimension::Share => 0.01,
        _ => 1.0,
    }
}

fn outcome(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Kept => "kept",
        Outcome::Broken(_) => "broken",
        Outcome::Refused { .. } => "refused",
        Outcome::Bench(_) => "bench at its limit",
    }
}
