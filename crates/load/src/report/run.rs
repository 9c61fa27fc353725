//! A run as a chapter of a page.

use super::curves;
use super::judgement::{Tone, judge};
use super::tables::{self, Fact};
use super::writer::{Html, markup};
use crate::results::{Percentiles, RunResult};
use crate::slo::Metric;

/// Writes the run as a chapter.
pub(super) fn chapter(html: &mut Html, run: &RunResult) {
    heading(html, &run.scenario, &run.description);
    source(html, &run.url, tables::protocol(run.server_kind), &run.started, run.seed, &run.switchyard_version);
    body(html, run);
}

/// Everything below the heading.
pub(super) fn body(html: &mut Html, run: &RunResult) {
    let judgement = judge(run);
    banner(html, judgement.tone, &judgement.headline, &judgement.details);
    markup!(html, "<p class=\"load\">{}</p>\n<dl class=\"tiles\">", tables::load(run));
    for (fact, note) in tables::tiles(run) {
        tile(html, fact.name, &fact.value, &note);
    }
    markup!(html, "</dl>\n");

    markup!(html, "<section><h3>Latency</h3><div class=\"beside\">\n");
    let media: Vec<(String, Percentiles)> = run.media.iter().map(|media| (media.name.clone(), media.latency_ms)).collect();
    let promised = [Metric::LatencyP99, Metric::LatencyP999, Metric::LatencyP90, Metric::LatencyP50, Metric::LatencyMax];
    curves::percentiles("Latency by percentile", &media, &curves::limits(run.promise.as_ref(), &promised)).html(html);
    tables::latency(run).html(html);
    markup!(html, "</div></section>\n");

    over_time(html, run);

    markup!(html, "<section><h3>What arrived</h3>\n");
    tables::packets(run).html(html);
    if let Some(frames) = tables::frames(run) {
        frames.html(html);
    }
    if let Some(layers) = tables::layers(run) {
        layers.html(html);
    }
    markup!(html, "</section>\n<section><h3>Getting in</h3><div class=\"beside\">\n");
    let joins = [
        ("connected".to_owned(), run.joins.connected_ms),
        ("first packet".to_owned(), run.joins.first_packet_ms),
        ("first frame".to_owned(), run.joins.first_frame_ms),
    ];
    curves::percentiles("Joins by percentile", &joins, &curves::limits(run.promise.as_ref(), &[Metric::JoinP95, Metric::JoinP99]))
        .html(html);
    tables::joins(run).html(html);
    markup!(html, "</div>\n");
    if let Some(errors) = tables::join_errors(run) {
        errors.html(html);
    }
    markup!(html, "</section>\n<section class=\"machines\">");
    facts(
        html,
        "The server",
        &tables::server(run),
        "The server's process was not watched, so nothing is known of its CPU time and memory.",
    );
    facts(html, "The bench itself", &tables::bench(run), "");
    markup!(html, "</section>\n");
}

/// Writes a chapter's heading.
pub(super) fn heading(html: &mut Html, scenario: &str, description: &str) {
    markup!(html, "<header><h2>{}</h2>", scenario);
    if !description.is_empty() {
        markup!(html, "<p class=\"description\">{}</p>", description);
    }
    markup!(html, "</header>\n");
}

/// Writes where and when it was measured.
pub(super) fn source(html: &mut Html, url: &str, protocol: &str, started: &str, seed: u64, version: &str) {
    markup!(html, "<p class=\"source\"><span>{}</span><span>by {}</span><span>{}</span>", url, protocol, started);
    markup!(html, "<span>seed {}</span><span>Switchyard {}</span></p>\n", seed, version);
}

/// Writes a headline.
pub(super) fn banner(html: &mut Html, tone: Tone, headline: &str, details: &[String]) {
    let (class, mark) = match tone {
        Tone::Good => ("good", "M5 12.5L10 17.5L19 7"),
        Tone::Bad => ("bad", "M7 7L17 17M17 7L7 17"),
        Tone::Doubtful => ("doubtful", "M12 6V13M12 17V17.2"),
        Tone::Plain => ("plain", "M6 17V13M12 17V7M18 17V10"),
    };
    markup!(html, "<div class=\"banner {}\"><svg viewBox=\"0 0 24 24\" width=\"32\" height=\"32\" aria-hidden=\"true\">", class);
    markup!(html, "<path d=\"{}\"/></svg><div><p class=\"headline\">{}</p>", mark, headline);
    for detail in details {
        markup!(html, "<p>{}</p>", detail);
    }
    markup!(html, "</div></div>\n");
}

/// Writes one of the figures that matter most.
pub(super) fn tile(html: &mut Html, name: &str, value: &str, note: &str) {
    let long = if value.chars().count() > 14 { "long" } else { "" };
    markup!(html, "<div><dt>{}</dt><dd class=\"value {}\">{}</dd><dd>{}</dd></div>", name, long, value, note);
}

fn over_time(html: &mut Html, run: &RunResult) {
    let charts = curves::over_time(run);
    if charts.is_empty() {
        return;
    }
    markup!(html, "<section><h3>Over time</h3><div class=\"charts\">\n");
    for chart in &charts {
        chart.html(html);
    }
    markup!(html, "</div>\n");
    if let Some(table) = tables::over_time(run) {
        markup!(html, "<details><summary>The same in numbers</summary>");
        table.html(html);
        markup!(html, "</details>\n");
    }
    markup!(html, "</section>\n");
}

fn facts(html: &mut Html, name: &str, facts: &[Fact], otherwise: &str) {
    markup!(html, "<div><h3>{}</h3>", name);
    if facts.is_empty() {
        markup!(html, "<p>{}</p>", otherwise);
    } else {
        markup!(html, "<dl class=\"facts\">");
        for fact in facts {
            markup!(html, "<div><dt>{}</dt><dd>{}</dd></div>", fact.name, fact.value);
        }
        markup!(html, "</dl>");
    }
    markup!(html, "</div>");
}
