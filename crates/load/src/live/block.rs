//! What is shown of a moment, as lines.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{Phase, Status};
use crate::report::{figures, printable};
use crate::results::Sample;

/// Columns of the progress bar, if there is room.
const BAR: usize = 48;
/// Columns between figures.
const GAP: usize = 3;
/// Columns a sparkline has at least; below that it says nothing.
const SPARKLINE: usize = 8;
/// Where the bench's CPU time is shown as a warning: from about here on it may be the bottleneck.
const BUSY: f64 = 0.85;

/// Select Graphic Rendition (ECMA-48 §8.3.117).
#[derive(Clone, Copy)]
enum Colour {
    Bold,
    Dim,
    Green,
    Yellow,
}

/// A figure with its name.
struct Figure {
    name: &'static str,
    value: String,
    is_warning: bool,
}

/// The block, each line at most `width` columns.
pub(super) fn block(status: &Status, history: &VecDeque<Option<f64>>, width: usize, colours: bool) -> Vec<String> {
    let paint = |text: &str, colour: Colour| if colours { paint(text, colour) } else { text.to_owned() };
    let title = shortened(&printable(&status.title), width).into_owned();
    let phase = phase(&status.phase);
    let beside = title.width() + 2 + phase.width() <= width;
    let mut lines = vec![paint(&title, Colour::Bold)];
    match beside {
        true => lines[0].push_str(&format!("  {phase}")),
        false => lines.push(shortened(&phase, width).into_owned()),
    }
    if let Some(progress) = progress(&status.phase) {
        let percent = format!(" {:>3.0} %", progress * 100.0);
        let room = width.saturating_sub(percent.width()).min(BAR);
        let full = (progress * room as f64).round() as usize;
        let bar = format!("{}{}", paint(&"█".repeat(full), Colour::Green), paint(&"░".repeat(room.saturating_sub(full)), Colour::Dim));
        lines.push(if room < 4 { shortened(percent.trim_start(), width).into_owned() } else { format!("{bar}{percent}") });
    }
    let Some(last) = &status.last else { return lines };
    for row in rows(&figures(last), width) {
        let cells = row.iter().map(|(figure, name_width, value_width)| {
            let name = paint(&format!("{:<name_width$}", figure.name), Colour::Dim);
            let space = " ".repeat(value_width.saturating_sub(figure.value.width()));
            let value = if figure.is_warning { paint(&figure.value, Colour::Yellow) } else { figure.value.clone() };
            format!("{name} {space}{value}")
        });
        lines.push(cells.collect::<Vec<String>>().join(&" ".repeat(GAP)));
    }
    let name = "p99 by second ";
    if width >= name.width() + SPARKLINE && history.iter().flatten().count() > 1 {
        let line = sparkline(history, (width - name.width()).min(super::HISTORY));
        lines.push(format!("{}{}", paint(name, Colour::Dim), paint(&line, Colour::Green)));
    }
    lines
}

/// The moment in one line, without anything a log could not hold.
pub(super) fn line(status: &Status) -> String {
    let mut line = format!("{}: {}", printable(&status.title), phase(&status.phase));
    if let Some(last) = &status.last {
        let figures = figures(last).into_iter().map(|figure| format!("{} {}", figure.name, figure.value));
        line.push_str(&format!("; {}", figures.collect::<Vec<String>>().join(", ")));
    }
    line
}

/// A line without its colours.
pub(super) fn plain(line: &str) -> Cow<'_, str> {
    if !line.contains('\x1b') {
        return Cow::Borrowed(line);
    }
    let mut parts = line.split('\x1b');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    plain.extend(parts.map(|part| part.split_once('m').map_or("", |(_, text)| text)));
    Cow::Owned(plain)
}

fn phase(phase: &Phase) -> String {
    let of = |passed: Duration, of: Duration| format!("{} of {}", whole_seconds(passed.min(of)), figures::seconds(of.as_secs_f64()));
    match *phase {
        Phase::Connecting { connected, failed, of } => {
            let failed = if failed > 0 { format!(", {} failed", figures::count(failed)) } else { String::new() };
            format!("connecting {} of {}{failed}", figures::count(connected), figures::count(of))
        }
        Phase::WarmingUp { passed, of: length } => format!("warming up {}", of(passed, length)),
        Phase::Measuring { passed, of: length } => format!("measuring {}", of(passed, length)),
        Phase::Leaving => "leaving".to_owned(),
    }
}

fn whole_seconds(time: Duration) -> String {
    figures::seconds(time.as_secs() as f64)
}

/// From 0 to 1, where there is an end in sight.
fn progress(phase: &Phase) -> Option<f64> {
    let share = |part: f64, whole: f64| crate::results::share(part, whole).unwrap_or(1.0).clamp(0.0, 1.0);
    match *phase {
        Phase::Connecting { connected, failed, of } => Some(share(connected.saturating_add(failed) as f64, of as f64)),
        Phase::WarmingUp { passed, of } | Phase::Measuring { passed, of } => Some(share(passed.as_secs_f64(), of.as_secs_f64())),
        Phase::Leaving => None,
    }
}

fn figures(last: &Sample) -> Vec<Figure> {
    let figure = |name, value| Figure { name, value, is_warning: false };
    let mut figures = vec![
        figure("packets/s", figures::quantity(last.packets_per_second)),
        figure("p50", figures::or_none(last.latency_p50_ms, figures::milliseconds)),
        figure("p99", figures::or_none(last.latency_p99_ms, figures::milliseconds)),
        figure("lost", figures::or_none(last.lost_share, figures::share)),
        figure("frozen", figures::or_none(last.frozen_share, figures::share)),
        figure("people", figures::count(last.participants)),
    ];
    figures.extend(last.as_wanted_share.map(|share| figure("as wanted", figures::share(share))));
    figures.extend(last.server_cpu_share.map(|cpu| figure("server CPU", figures::share(cpu))));
    let is_warning = last.bench_cpu_share >= BUSY;
    figures.push(Figure { name: "bench CPU", value: figures::share(last.bench_cpu_share), is_warning });
    figures
}

/// Figures in as many columns as fit, at most four, with the widths of names and values.
fn rows(figures: &[Figure], width: usize) -> Vec<Vec<(&Figure, usize, usize)>> {
    let widest = |measure: fn(&Figure) -> usize, least: usize| figures.iter().map(measure).max().unwrap_or(0).max(least);
    let name = widest(|figure| figure.name.width(), 0);
    // Wide enough for most values, so that the columns don't move with each of them.
    let value = widest(|figure| figure.value.width(), 9);
    let columns = ((width + GAP) / (name + 1 + value + GAP)).min(4);
    if columns == 0 {
        // Too narrow even for one: what does not fit is cut rather than wrapped.
        return figures.iter().filter(|f| f.name.width() + 1 + f.value.width() <= width).map(|f| vec![(f, 0, 0)]).collect();
    }
    figures.chunks(columns).map(|chunk| chunk.iter().map(|figure| (figure, name, value)).collect()).collect()
}

/// The last values as bars of eight heights, the largest of them the highest.
fn sparkline(history: &VecDeque<Option<f64>>, room: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown: Vec<Option<f64>> = history.iter().skip(history.len().saturating_sub(room)).copied().collect();
    let most = shown.iter().flatten().fold(0.0f64, |most, value| most.max(*value));
    let bar = |value: f64| {
        let height = if most > 0.0 { value / most * (BARS.len() - 1) as f64 } else { 0.0 };
        BARS[(height.round().max(0.0) as usize).min(BARS.len() - 1)]
    };
    shown.into_iter().map(|value| value.map_or(' ', bar)).collect()
}

/// A text in at most `width` columns.
fn shortened(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return Cow::Borrowed(text);
    }
    let mut used = 0;
    let fitting = text.chars().take_while(|char| {
        used += char.width().unwrap_or(0);
        used < width
    });
    let mut short: String = fitting.collect();
    if width > 0 {
        short.push('…');
    }
    Cow::Owned(short)
}

fn paint(text: &str, colour: Colour) -> String {
    let code = match colour {
        Colour::Bold => 1,
        Colour::Dim => 2,
        Colour::Green => 32,
        Colour::Yellow => 33,
    };
    if text.is_empty() { String::new() } else { format!("\x1b[{code}m{text}\x1b[0m") }
}
