use super::{html, text};
use crate::capacity::CapacityResult;
use crate::results::{Document, Percentiles, RunResult, examples};

fn page(document: impl Into<Document>) -> String {
    html(&[document.into()])
}

/// What a reader of the page sees: no markup, no style.
fn words(page: &str) -> String {
    let body = page.split_once("<body>").expect("a page has a body").1;
    let mut words = String::new();
    let mut in_tag = false;
    for char in body.chars() {
        match char {
            '<' => in_tag = true,
            '>' => {
                in_tag = false;
                words.push(' ');
            }
            _ if !in_tag => words.push(char),
            _ => {}
        }
    }
    let words = words.split_whitespace().collect::<Vec<&str>>().join(" ");
    words.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&")
}

/// Every element that is opened is closed, in order.
fn assert_well_formed(page: &str) {
    const VOID: [&str; 3] = ["meta", "!doctype", "br"];
    let mut open: Vec<&str> = Vec::new();
    let without_style = page.split_once("<style>").map(|(before, rest)| (before, rest.split_once("</style>").expect("the style ends").1));
    let (before, after) = without_style.expect("a page has its style within");
    for part in before.split('<').skip(1).chain(after.split('<').skip(1)) {
        let (tag, _) = part.split_once('>').unwrap_or_else(|| panic!("an open tag in {part:?}"));
        assert_eq!(tag.matches('"').count() % 2, 0, "a quote is missing in {tag:?}");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "in {open:?}");
        } else if !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}

/// Nothing is loaded from anywhere.
fn assert_self_contained(page: &str) {
    for forbidden in ["<script", "<link", "<img", "<iframe", "@import", "url(", "src=", "href="] {
        assert!(!page.contains(forbidden), "the page has {forbidden}");
    }
}

fn hostile() -> RunResult {
    let mut run = examples::broadcast(5, 3, 1);
    let evil = "</style></title><script>alert(1)</script>\" onload='x' \u{1b}[2J\u{202e}&amp;";
    for text in [&mut run.scenario, &mut run.description, &mut run.url, &mut run.started, &mut run.switchyard_version] {
        *text = evil.to_owned();
    }
    run.media[0].name = evil.to_owned();
    run.joins.errors.insert(evil.to_owned(), 3);
    run.bench.bottleneck = Some(evil.to_owned());
    run
}

fn all() -> Vec<Document> {
    let mut absurd = examples::broadcast(1, 3, 1);
    absurd.measured_seconds = f64::NAN;
    absurd.media[0].latency_ms = Percentiles { p99: f64::INFINITY, max: f64::NAN, p50: -1.0, ..absurd.media[0].latency_ms };
    absurd.media[1].packets.received = u64::MAX;
    for (index, sample) in absurd.samples.iter_mut().enumerate() {
        sample.at_seconds = [0.0, -5.0, f64::MAX, f64::NAN][index % 4];
        sample.packets_per_second = f64::NEG_INFINITY;
        sample.lost_share = Some(f64::MAX);
    }
    let mut empty = examples::broadcast(1, 1, 1);
    empty.media.clear();
    empty.samples.clear();
    empty.server = None;
    empty.promise = None;
    empty.joins = Default::default();
    let mut no_steps = examples::capacity(1);
    no_steps.steps.clear();
    let mut unnamed = hostile();
    unnamed.scenario.clear();
    vec![
        examples::broadcast(200, 30, 1).into(),
        examples::silent().into(),
        examples::bench_bound().into(),
        examples::layered().into(),
        examples::capacity(1).into(),
        hostile().into(),
        absurd.into(),
        empty.into(),
        no_steps.into(),
        unnamed.into(),
    ]
}

#[test]
fn pages_are_well_formed_and_load_nothing_whatever_is_in_them() {
    for document in all() {
        let page = html(std::slice::from_ref(&document));
        assert_well_formed(&page);
        assert_self_contained(&page);
        for none in ["NaN", "inf%", " inf", "\"inf"] {
            let found = page.find(none).map(|at| page[at.saturating_sub(60)..].chars().take(80).collect::<String>());
            assert_eq!(found, None, "a figure that is none is shown");
        }
    }
    let together = html(&all());
    assert_well_formed(&together);
    assert_self_contained(&together);
    assert_well_formed(&html(&[]));
}

#[test]
fn names_and_errors_are_shown_as_they_are_and_never_take_effect() {
    let page = page(hostile());
    assert!(words(&page).contains("</style></title><script>alert(1)</script>\" onload='x' \u{fffd}[2J\u{fffd}&amp;"));
    assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""));
    let text = text(&hostile().into());
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text:?}");
}

#[test]
fn what_was_on_the_screen_is_said_where_there_was_a_choice() {
    for said in [words(&page(examples::layered())), text(&examples::layered().into())] {
        for figure in ["Layers", "q 320x180 75.0 %, f 1280x720 25.0 %", "95.0 %", "12.5 s"] {
            assert!(said.contains(figure), "{figure} in {said}");
        }
        assert!(!said.contains("640x360"), "what nobody saw is left out: {said}");
    }
    assert!(!text(&examples::broadcast(50, 5, 1).into()).contains("Layers"));
}

#[test]
fn a_promise_that_was_kept_is_the_headline() {
    let run = examples::broadcast(50, 5, 1);
    assert!(words(&page(run.clone())).contains("The promise was kept p99<20ms, loss<0.1%, freeze<1%."));
    assert!(text(&run.into()).contains("OK: The promise was kept.\n"));
}

#[test]
fn a_promise_that_was_broken_says_by_what() {
    let mut run = examples::broadcast(50, 5, 1);
    run.media[0].latency_ms.p99 = 61.0;
    run.joins.failed = 3;
    run.joins.refused = 2;
    run.joins.succeeded = 46;
    run.joins.errors.insert("no answer within 10 s".to_owned(), 3);
    for said in [words(&page(run.clone())), text(&run.into())] {
        assert!(said.contains("The promise was broken"), "{said}");
        assert!(said.contains("p99<20ms: 61.0 ms for video to viewers."), "{said}");
        assert!(said.contains("Of 51 joins 3 failed and 2 were refused; the figures are about the others."), "{said}");
        assert!(said.contains("no answer within 10 s"), "{said}");
    }
}

#[test]
fn that_the_bench_was_the_bottleneck_comes_before_everything_else() {
    for said in [words(&page(examples::bench_bound())), text(&examples::bench_bound().into())] {
        let headline = said.find("The bench itself was the bottleneck").expect("it is said");
        assert!(said.contains("The figures say nothing about the server."));
        assert!(!said.contains("The promise was kept"));
        assert!(headline < said.find("p99").unwrap_or(usize::MAX), "{said}");
    }
    assert!(text(&examples::bench_bound().into()).contains("DOUBTFUL: "));
}

#[test]
fn that_nothing_arrived_is_said_and_no_latency_is_made_up() {
    for said in [words(&page(examples::silent())), text(&examples::silent().into())] {
        assert!(said.contains("No packets arrived"), "{said}");
        assert!(!said.contains("was kept"), "{said}");
        assert!(!said.contains("0 ms 0 ms"), "{said}");
    }
    assert!(words(&page(examples::silent())).contains("nothing was measured"));
    let mut outside = examples::broadcast(5, 2, 1);
    outside.joins.failed = outside.joins.succeeded;
    outside.joins.succeeded = 0;
    assert!(text(&outside.into()).contains("FAILED: Nobody got in."));
}

#[test]
fn one_kind_of_media_that_never_arrived_is_named_without_a_promise_too() {
    let mut run = examples::broadcast(50, 5, 1);
    run.promise = None;
    run.media[1].packets.received = 0;
    let said = text(&run.into());
    assert!(said.contains("No packets of audio to viewers arrived."), "{said}");
    assert!(said.contains("RESULT: Measured, without a promise."), "{said}");
}

#[test]
fn every_chart_has_a_title_a_description_and_a_table() {
    let page = page(examples::broadcast(200, 30, 1));
    let charts = page.matches("<svg role=\"img\"").count();
    // Two by percentile, six over time.
    assert_eq!(charts, 8);
    assert_eq!(page.matches("<desc id=").count(), charts);
    for id in page.split("aria-labelledby=\"").skip(1).flat_map(|part| part.split('"').next().unwrap_or_default().split(' ')) {
        assert_eq!(page.matches(&format!(" id=\"{id}\"")).count(), 1, "{id}");
    }
    for caption in ["Latency", "Packets", "Video", "Joins", "Over time"] {
        assert!(page.contains(&format!("<caption>{caption}</caption>")), "{caption}");
    }
}

#[test]
fn long_runs_make_bounded_pages() {
    let run = examples::broadcast(5, 20_000, 1);
    let page = page(run);
    assert!(page.len() < 400_000, "{}", page.len());
    assert!(page.contains("Each point is"));
}

#[test]
fn many_errors_are_not_all_listed() {
    let mut run = examples::broadcast(5, 2, 1);
    run.joins.errors = (0..500).map(|index| (format!("{index} {}", "x".repeat(5000)), 2)).collect();
    let said = text(&run.into());
    assert!(said.contains("488 others"), "{said}");
    assert!(said.lines().all(|line| line.chars().count() < 200));
}

#[test]
fn the_columns_of_a_text_are_aligned() {
    let mut run = examples::broadcast(200, 5, 1);
    run.media[1].name = "Ton für die Zuschauer 音声".to_owned();
    let said = text(&run.into());
    let rows: Vec<&str> = said.lines().skip_while(|line| !line.starts_with("Latency")).take_while(|line| !line.is_empty()).collect();
    let widths: Vec<usize> = rows.iter().map(|row| unicode_width::UnicodeWidthStr::width(*row)).collect();
    assert_eq!(rows.len(), 3);
    assert!(widths.iter().all(|width| *width == widths[0]), "{widths:?}\n{said}");
}

#[test]
fn a_search_says_its_verdict_and_shows_its_runs() {
    let capacity: CapacityResult = examples::capacity(1);
    let kept = capacity.verdict.largest_kept.expect("the example keeps something");
    let page = page(capacity.clone());
    let said = words(&page);
    assert!(said.contains(&format!("Capacity: {kept} viewers")), "{said}");
    assert!(said.contains("the promise broke: p99<20ms:"), "{said}");
    assert!(
        said.contains("Latency, p99, by viewers") && said.contains("Packets lost, by viewers") && said.contains("Video frozen, by viewers")
    );
    assert_eq!(page.matches("<g class=\"dot\">").count(), 3 * capacity.steps.len());
    assert!(page.matches("class=\"limit\"").count() >= 3);
    let text = text(&capacity.clone().into());
    assert!(text.contains(&format!("CAPACITY: {kept} viewers under p99<20ms,loss<0.1%,freeze<1%.")), "{text}");
    assert_eq!(text.lines().filter(|line| line.ends_with(" kept") || line.ends_with(" broken")).count(), capacity.steps.len());
}

#[test]
fn several_runs_are_compared_side_by_side() {
    let runs = [examples::broadcast(50, 5, 1).into(), examples::broadcast(500, 5, 2).into(), examples::capacity(1).into()];
    let said = words(&html(&runs));
    assert!(said.contains("2 runs compared"), "{said}");
    assert!(said.contains("1 · broadcast 2 · broadcast outcome The promise was kept The promise was broken"), "{said}");
    assert!(said.contains("3 · broadcast Capacity:"), "{said}");
}
