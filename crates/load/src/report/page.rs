//! The page around runs and searches, and several of them side by side.

use super::capacity;
use super::curves;
use super::figures;
use super::judgement::{Tone, judge};
use super::run;
use super::table::Table;
use super::tables;
use super::writer::{Html, markup};
use crate::results::{Document, RunResult};

/// Runs that are drawn in one chart, and that have a column each: more lines can't be told apart, and more columns have no room.
const COMPARED: usize = 6;

/// One page with all of the results.
pub(super) fn page(documents: &[Document]) -> String {
    let mut html = Html::default();
    let runs: Vec<&RunResult> = documents.iter().filter_map(as_run).collect();
    let title = match documents {
        [Document::Run(run)] => format!("{} · load on {}", run.scenario, run.url),
        [Document::Capacity(capacity)] => format!("{} · capacity of {}", capacity.scenario, capacity.url),
        _ => format!("{} measurements", documents.len()),
    };
    head(&mut html, &title);
    markup!(html, "<main>\n");
    match documents {
        [] => markup!(html, "<p>There are no results.</p>\n"),
        [only] => chapter(&mut html, only),
        _ => {
            if runs.len() > 1 {
                compare(&mut html, &runs);
            }
            for (index, document) in documents.iter().enumerate() {
                folded(&mut html, index, document);
            }
        }
    }
    markup!(html, "</main>\n<footer><p>Latency is one way, from sending a packet to having it, both ends on one clock. ");
    markup!(
        html,
        "Lost is what never arrived, not even as a retransmission. Frozen is how long a picture stood still, of the time it was to be seen. "
    );
    markup!(
        html,
        "Where several kinds of media are summed up, a percentile is that of the worst of them.</p></footer>\n</body>\n</html>\n"
    );
    html.into_string()
}

fn head(html: &mut Html, title: &str) {
    markup!(html, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    markup!(
        html,
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n"
    );
    // Nothing is loaded and nothing runs, even if something went in that should not have.
    markup!(html, "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n");
    markup!(html, "<title>{}</title>\n", title);
    html.style(include_str!("style.css"));
    markup!(html, "</head>\n<body>\n<header class=\"brand\"><svg viewBox=\"0 0 32 32\" width=\"30\" height=\"30\" aria-hidden=\"true\">");
    markup!(html, "<rect width=\"32\" height=\"32\" rx=\"9\"/><path d=\"M7 22h18M7 22c8 0 8-12 16-12h2\"/>");
    markup!(html, "<circle class=\"lamp\" cx=\"25\" cy=\"10\" r=\"2.9\"/><circle cx=\"25\" cy=\"22\" r=\"2.9\"/></svg>");
    markup!(html, "<h1>Switchyard <span>load bench</span></h1></header>\n");
}

fn chapter(html: &mut Html, document: &Document) {
    match document {
        Document::Run(run) => run::chapter(html, run),
        Document::Capacity(capacity) => capacity::chapter(html, capacity),
    }
}

/// One of several, to be opened.
fn folded(html: &mut Html, index: usize, document: &Document) {
    let (name, tone, said) = match document {
        Document::Run(run) => {
            let judgement = judge(run);
            (&run.scenario, judgement.tone, judgement.headline)
        }
        Document::Capacity(capacity) => {
            (&capacity.scenario, Tone::Plain, format!("Capacity: {}", capacity.verdict.headline(&capacity.unit)))
        }
    };
    markup!(html, "<details class=\"run\"><summary><span>{}</span> ", label(index, name));
    markup!(html, "<span class=\"badge {}\">{}</span></summary>\n", tone.word(), said);
    chapter(html, document);
    markup!(html, "</details>\n");
}

/// Runs side by side: a column for each, or if they are many, a row.
fn compare(html: &mut Html, runs: &[&RunResult]) {
    markup!(html, "<header><h2>{} runs compared</h2></header>\n<section>", runs.len());
    let named: Vec<(String, _)> =
        runs.iter().enumerate().take(COMPARED).map(|(index, run)| (label(index, &run.scenario), run.total().latency_ms)).collect();
    markup!(html, "<div class=\"beside\">");
    curves::percentiles("Latency by percentile", &named, &[]).html(html);
    if runs.len() > COMPARED {
        tables::overview(runs).html(html);
        markup!(html, "</div></section>\n<p>The chart shows the first {} of {} runs.</p>\n", COMPARED, runs.len());
        return;
    }
    let mut table = Table::new("Runs", &[""]);
    table.head.extend(runs.iter().enumerate().map(|(index, run)| label(index, &run.scenario)));
    let mut row = |name: &str, figure: &dyn Fn(&RunResult) -> String| {
        table.row(std::iter::once(name.to_owned()).chain(runs.iter().map(|run| figure(run))).collect());
    };
    row("outcome", &|run| judge(run).headline);
    let tiles: Vec<_> = runs.iter().map(|run| tables::tiles(run)).collect();
    for name in tiles.iter().max_by_key(|tiles| tiles.len()).into_iter().flatten().map(|(fact, _)| fact.name) {
        row(name, &|run| {
            let found = tables::tiles(run).into_iter().find(|(fact, _)| fact.name == name);
            found.map_or_else(|| figures::NONE.to_owned(), |(fact, _)| fact.value)
        });
    }
    let latency = |run: &RunResult, figure: fn(&crate::results::Percentiles) -> f64| {
        figures::or_none(run.total().latency_ms.measured().map(figure), figures::milliseconds)
    };
    row("Latency, median", &|run| latency(run, |latency| latency.p50));
    row("Latency, p99.9", &|run| latency(run, |latency| latency.p999));
    row("Latency, largest", &|run| latency(run, |latency| latency.max));
    row("Measured for", &|run| figures::seconds(run.measured_seconds));
    row("Server", &|run| run.url.clone());
    row("Spoken to by", &|run| tables::protocol(run.server_kind).to_owned());
    row("Started", &|run| run.started.clone());
    row("Seed", &|run| run.seed.to_string());
    table.html(html);
    markup!(html, "</div></section>\n");
}

/// Runs of one scenario are told apart by their number.
fn label(index: usize, scenario: &str) -> String {
    format!("{} · {scenario}", index + 1)
}

pub(super) fn as_run(document: &Document) -> Option<&RunResult> {
    match document {
        Document::Run(run) => Some(run),
        Document::Capacity(_) => None,
    }
}
