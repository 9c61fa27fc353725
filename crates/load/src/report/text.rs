//! Results for a terminal.

use std::fmt::Write;

use super::figures;
use super::judgement::{Tone, judge};
use super::table::Table;
use super::tables::{self, Fact};
use super::writer::printable;
use crate::capacity::CapacityResult;
use crate::results::RunResult;

/// A run.
pub(super) fn run(run: &RunResult) -> String {
    let mut text = head(&run.scenario, &run.description);
    line(&mut text, &source(&run.url, tables::protocol(run.server_kind), run.seed, &run.started, &run.switchyard_version));
    line(&mut text, &tables::load(run));
    text.push('\n');
    let judgement = judge(run);
    let mark = match judgement.tone {
        Tone::Good => "OK",
        Tone::Bad => "FAILED",
        Tone::Doubtful => "DOUBTFUL",
        Tone::Plain => "RESULT",
    };
    line(&mut text, &format!("{mark}: {}.", judgement.headline));
    for detail in &judgement.details {
        line(&mut text, &format!("  {detail}"));
    }
    let tables = [
        Some(tables::latency(run)),
        Some(tables::packets(run)),
        tables::frames(run),
        tables::layers(run),
        Some(tables::joins(run)),
        tables::join_errors(run),
    ];
    for table in tables.iter().flatten().filter(|table| !table.rows.is_empty()) {
        let _ = write!(text, "\n{}", table.text());
    }
    text.push('\n');
    facts(&mut text, "Server", &tables::server(run));
    facts(&mut text, "Bench", &tables::bench(run));
    text
}

/// A search.
pub(super) fn capacity(capacity: &CapacityResult) -> String {
    let mut text = head(&capacity.scenario, &capacity.description);
    let protocol = tables::protocol(capacity.server_kind);
    line(&mut text, &source(&capacity.url, protocol, capacity.seed, &capacity.started, &capacity.switchyard_version));
    text.push('\n');
    line(&mut text, &format!("CAPACITY: {} under {}.", capacity.verdict.headline(&capacity.unit), capacity.promise));
    for sentence in capacity.verdict.sentences(&capacity.unit) {
        line(&mut text, &format!("  {sentence}"));
    }
    let steps: Table = super::capacity::steps(capacity);
    let _ = write!(text, "\n{}", steps.text());
    text
}

fn head(scenario: &str, description: &str) -> String {
    let mut text = String::new();
    let colon = if description.is_empty() { "" } else { ": " };
    line(&mut text, &format!("{scenario}{colon}{description}"));
    text
}

fn source(url: &str, protocol: &str, seed: u64, started: &str, version: &str) -> String {
    format!("{url} by {protocol} · {started} · seed {seed} · Switchyard {version}")
}

fn facts(text: &mut String, name: &str, facts: &[Fact]) {
    if facts.is_empty() {
        line(text, &format!("{name}: its process was not watched"));
        return;
    }
    let facts: Vec<String> = facts.iter().map(|fact| format!("{} {}", fact.name, fact.value)).collect();
    line(text, &format!("{name}: {}", facts.join(", ")));
}

fn line(text: &mut String, line: &str) {
    text.push_str(&printable(line));
    text.push('\n');
}

/// A count of runs, for people.
pub(super) fn runs(count: usize) -> String {
    format!("{} {}", figures::count(count as u64), if count == 1 { "run" } else { "runs" })
}
