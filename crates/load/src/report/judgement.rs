//! The headline of a run.

use std::collections::BTreeMap;

use super::figures;
use crate::results::RunResult;
use crate::slo::{Breach, Cause, Slo};

/// How a headline is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// A promise was kept.
    Good,
    /// A promise was broken, or there is nothing to judge.
    Bad,
    /// The figures say nothing about the server.
    Doubtful,
    /// Nothing was promised.
    Plain,
}

/// What is said before any figure.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Judgement {
    /// How it is meant.
    pub(super) tone: Tone,
    /// In a few words.
    pub(super) headline: String,
    /// Why, and what else should be known, in sentences.
    pub(super) details: Vec<String>,
}

impl Tone {
    /// One word for it, for a badge.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Good => "kept",
            Self::Bad => "broken",
            Self::Doubtful => "doubtful",
            Self::Plain => "measured",
        }
    }
}

/// What a run says.
pub(super) fn judge(run: &RunResult) -> Judgement {
    let (tone, headline, mut details) = headline(run);
    let joins = &run.joins;
    if joins.succeeded < joins.attempted && joins.succeeded > 0 {
        details.push(format!(
            "Of {} joins {} failed and {} were refused; the figures are about the others.",
            figures::count(joins.attempted),
            figures::count(joins.failed),
            figures::count(joins.refused)
        ));
    }
    let arrived = run.media.iter().any(|media| media.packets.received > 0);
    for media in run.media.iter().filter(|media| arrived && media.packets.expected > 0 && media.packets.received == 0) {
        let missing = format!("no packets of {} arrived", media.name);
        if !details.iter().any(|detail| detail.contains(&missing)) {
            details.push(format!("N{}.", &missing[1..]));
        }
    }
    Judgement { tone, headline, details }
}

fn headline(run: &RunResult) -> (Tone, String, Vec<String>) {
    let total = run.total();
    let breaches = broken(&run.promise.iter().flat_map(|promise| promise.check(run)).collect::<Vec<Breach>>());
    if let Some(why) = &run.bench.bottleneck {
        let mut details = vec![format!("{}.", why.trim_end_matches('.')), "The figures say nothing about the server.".to_owned()];
        details.extend(breaches);
        return (Tone::Doubtful, "The bench itself was the bottleneck".to_owned(), details);
    }
    if run.joins.attempted > 0 && run.joins.succeeded == 0 {
        let tried = format!("{} tried.", figures::count(run.joins.attempted));
        return (Tone::Bad, "Nobody got in".to_owned(), vec![tried]);
    }
    if total.packets.expected == 0 {
        return (Tone::Bad, "Nothing was sent".to_owned(), vec!["There was nothing that anybody was to receive.".to_owned()]);
    }
    if total.packets.received == 0 {
        let expected = format!("{} were expected.", figures::count(total.packets.expected));
        return (Tone::Bad, "No packets arrived".to_owned(), vec![expected]);
    }
    match &run.promise {
        Some(promise) if breaches.is_empty() => (Tone::Good, "The promise was kept".to_owned(), vec![format!("{}.", in_prose(promise))]),
        Some(_) => (Tone::Bad, "The promise was broken".to_owned(), breaches),
        None => {
            let p99 = total
                .latency_ms
                .measured()
                .map_or_else(String::new, |latency| format!("Packets took up to {} (p99); ", figures::milliseconds(latency.p99)));
            let lost = figures::or_none(total.packets.lost_share(), figures::share);
            let frozen = total
                .frames
                .frozen_share()
                .map_or_else(String::new, |frozen| format!("; video stood still {} of the time", figures::share(frozen)));
            (Tone::Plain, "Measured, without a promise".to_owned(), vec![format!("{p99}{lost} were lost{frozen}.")])
        }
    }
}

/// Promises with spaces between them, so that a narrow page can break the line.
pub(super) fn in_prose(promise: &Slo) -> String {
    promise.to_string().replace(',', ", ")
}

/// Breaches as sentences; those for one and the same lack of a measurement together.
fn broken(breaches: &[Breach]) -> Vec<String> {
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut exceeded = Vec::new();
    for breach in breaches {
        match &breach.cause {
            Cause::NotMeasured(why) => missing.entry(why).or_default().push(&breach.promise),
            Cause::Exceeded { .. } => exceeded.push(format!("{breach}.")),
        }
    }
    let missing = missing.into_iter().map(|(why, promises)| format!("{}: {why}.", promises.join(", ")));
    missing.chain(exceeded).collect()
}
