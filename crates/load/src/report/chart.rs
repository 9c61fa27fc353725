//! Charts as inline SVG that is as wide as its box: positions across are percentages, heights are pixels, so that text and strokes keep
//! their size on a telephone. Nothing but the lines themselves is stretched.

pub(super) mod scale;

use std::fmt::{self, Display, Write};

use super::figures;
use super::writer::{Html, markup};

/// Height of the plot, in CSS pixels.
const HEIGHT: f64 = 190.0;
/// Width of the lines' own coordinates; any would do.
const WIDTH: f64 = 1000.0;
/// Looks of lines there are (see style.css); more lines than that repeat them.
const LOOKS: usize = 6;

/// A chart. Positions go from 0, left and bottom, to 1.
#[derive(Debug, Default)]
pub(super) struct Chart {
    /// What it shows.
    pub(super) title: String,
    /// What is to be seen on it, in sentences, for those who don't see it.
    pub(super) description: String,
    /// Below it: positions and labels.
    pub(super) x: Vec<(f64, String)>,
    /// Beside it: positions and labels.
    pub(super) y: Vec<(f64, String)>,
    /// The lines.
    pub(super) lines: Vec<Line>,
    /// Single values.
    pub(super) dots: Vec<Dot>,
    /// A limit that should not be exceeded.
    pub(super) limit: Option<Limit>,
    /// A place across that matters, and its label.
    pub(super) mark: Option<(f64, String)>,
    /// What the pointer finds: stretches across and what they say.
    pub(super) hints: Vec<Hint>,
}

/// A line.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Its name in the legend.
    pub(super) name: String,
    /// Its points; where the second is absent there is a gap.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// A single value.
#[derive(Debug)]
pub(super) struct Dot {
    /// Where across.
    pub(super) x: f64,
    /// How high; above 1 it is drawn as an arrow at the top, absent as a cross there.
    pub(super) y: Option<f64>,
    /// What it means.
    pub(super) kind: DotKind,
    /// What it says.
    pub(super) text: String,
}

/// What a dot means; told apart by shape and by colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DotKind {
    /// The promise was kept.
    Kept,
    /// The promise was broken.
    Broken,
    /// The bench was the bottleneck.
    Bench,
}

/// A limit that should not be exceeded.
#[derive(Debug)]
pub(super) struct Limit {
    /// How high; above 1 it is only mentioned.
    pub(super) y: f64,
    /// Its label.
    pub(super) text: String,
}

/// What the pointer finds.
#[derive(Debug)]
pub(super) struct Hint {
    /// Where it begins.
    pub(super) from: f64,
    /// Where it ends.
    pub(super) to: f64,
    /// What it says.
    pub(super) text: String,
}

impl Chart {
    /// Writes the chart.
    pub(super) fn html(&self, html: &mut Html) {
        markup!(html, "<figure class=\"chart\"><figcaption><h4>{}</h4>", self.title);
        self.legend(html);
        markup!(html, "</figcaption><div class=\"plot\">");
        let (title, description) = (html.fresh_id(), html.fresh_id());
        markup!(html, "<svg role=\"img\" aria-labelledby=\"{} {}\" width=\"100%\" height=\"{}\">", title, description, HEIGHT);
        markup!(html, "<title id=\"{}\">{}</title><desc id=\"{}\">{}</desc>", title, self.title, description, self.description);
        self.axes(html);
        self.paths(html);
        if let Some(limit) = self.limit.as_ref().filter(|limit| limit.y <= 1.0) {
            let y = down(limit.y);
            markup!(html, "<line class=\"limit\" x1=\"0\" x2=\"100%\" y1=\"{}\" y2=\"{}\"/>", y, y);
            markup!(html, "<text class=\"limit\" x=\"4\" y=\"{}\" dy=\"-.4em\">{}</text>", y, limit.text);
        }
        for hint in &self.hints {
            let width = across(hint.to - hint.from);
            markup!(html, "<rect class=\"hint\" x=\"{}\" width=\"{}\" y=\"0\" height=\"{}\">", across(hint.from), width, HEIGHT);
            markup!(html, "<title>{}</title></rect>", hint.text);
        }
        self.dots.iter().for_each(|dot| dot.html(html));
        if self.lines.iter().all(|line| line.points.iter().all(|point| point.1.is_none())) && self.dots.is_empty() {
            markup!(html, "<text class=\"nothing\" x=\"50%\" y=\"{}\" text-anchor=\"middle\">nothing was measured</text>", HEIGHT / 2.0);
        }
        markup!(html, "</svg></div></figure>\n");
    }

    fn legend(&self, html: &mut Html) {
        let above = self.limit.as_ref().filter(|limit| limit.y > 1.0);
        let kinds = [(DotKind::Kept, "all kept"), (DotKind::Broken, "a promise broken"), (DotKind::Bench, "bench at its limit")];
        let kinds: Vec<_> = kinds.into_iter().filter(|(kind, _)| self.dots.iter().any(|dot| dot.kind == *kind)).collect();
        if self.lines.len() < 2 && kinds.is_empty() && above.is_none() {
            return;
        }
        markup!(html, "<ul class=\"legend\">");
        if self.lines.len() > 1 {
            for (index, line) in self.lines.iter().enumerate() {
                markup!(
                    html,
                    "<li><svg width=\"22\" height=\"10\" aria-hidden=\"true\"><path class=\"look{}\" d=\"M1 5H21\"/></svg>",
                    index % LOOKS
                );
                markup!(html, "{}</li>", line.name);
            }
        }
        for (kind, name) in kinds {
            markup!(html, "<li><svg width=\"12\" height=\"12\" aria-hidden=\"true\">");
            kind.shape(html, "6", 6.0);
            markup!(html, "</svg>{}</li>", name);
        }
        if let Some(limit) = above {
            markup!(html, "<li>{} is above the chart</li>", limit.text);
        }
        markup!(html, "</ul>");
    }

    fn axes(&self, html: &mut Html) {
        markup!(html, "<g class=\"axes\">");
        for (position, label) in &self.y {
            let y = down(*position);
            markup!(html, "<line x1=\"0\" x2=\"100%\" y1=\"{}\" y2=\"{}\"/>", y, y);
            markup!(html, "<text x=\"-8\" y=\"{}\" dy=\".33em\" text-anchor=\"end\">{}</text>", y, figures::brief(label));
        }
        for (position, label) in &self.x {
            let anchor = if *position > 0.97 {
                "end"
            } else if *position < 0.03 {
                "start"
            } else {
                "middle"
            };
            let x = across(*position);
            markup!(html, "<line x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>", x, x, HEIGHT, HEIGHT + 4.0);
            markup!(html, "<text x=\"{}\" y=\"{}\" text-anchor=\"{}\">{}</text>", x, HEIGHT + 18.0, anchor, label);
        }
        if let Some((position, label)) = &self.mark {
            let x = across(*position);
            let (anchor, shift) = if *position > 0.5 { ("end", "-6") } else { ("start", "6") };
            markup!(html, "<line class=\"mark\" x1=\"{}\" x2=\"{}\" y1=\"0\" y2=\"{}\"/>", x, x, HEIGHT);
            markup!(html, "<text class=\"mark\" x=\"{}\" dx=\"{}\" y=\"{}\" text-anchor=\"{}\">{}</text>", x, shift, 10.0, anchor, label);
        }
        markup!(html, "</g>");
    }

    /// The lines, in coordinates of their own that are stretched to the plot; the strokes are not.
    fn paths(&self, html: &mut Html) {
        markup!(
            html,
            "<svg class=\"lines\" viewBox=\"0 0 {} {}\" preserveAspectRatio=\"none\" width=\"100%\" height=\"{}\">",
            WIDTH,
            HEIGHT,
            HEIGHT
        );
        // Fewer lines on top of more: the first is what the chart is about.
        for (index, line) in self.lines.iter().enumerate().rev() {
            if self.lines.len() == 1 {
                markup!(html, "<path class=\"area\" d=\"{}\"/>", line.area());
            }
            markup!(html, "<path class=\"look{}\" d=\"{}\"/>", index % LOOKS, line.path());
        }
        markup!(html, "</svg>");
    }
}

impl Line {
    /// Stretches without gaps.
    fn stretches(&self) -> impl Iterator<Item = Vec<(f64, f64)>> {
        let stretches = self.points.split(|point| point.1.is_none()).filter(|stretch| !stretch.is_empty());
        stretches.map(|stretch| stretch.iter().filter_map(|&(x, y)| Some((across(x).0 / 100.0 * WIDTH, down(y?)))).collect())
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for stretch in self.stretches() {
            for (index, (x, y)) in stretch.iter().enumerate() {
                let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' });
            }
            // A point by itself is seen by its round end.
            if stretch.len() == 1 {
                path.push_str("h0");
            }
        }
        path
    }

    fn area(&self) -> String {
        let mut path = String::new();
        for stretch in self.stretches() {
            let (Some(first), Some(last)) = (stretch.first(), stretch.last()) else { continue };
            let _ = write!(path, "M{:.1} {HEIGHT}", first.0);
            for (x, y) in &stretch {
                let _ = write!(path, "L{x:.1} {y:.1}");
            }
            let _ = write!(path, "L{:.1} {HEIGHT}Z", last.0);
        }
        path
    }
}

impl Dot {
    fn html(&self, html: &mut Html) {
        let x = across(self.x).to_string();
        markup!(html, "<g class=\"dot\">");
        match self.y {
            Some(y) if y <= 1.0 => self.kind.shape(html, &x, down(y)),
            Some(_) => {
                // An arrow that points at where the value is. Paths know no percentages, so it has a place of its own.
                markup!(html, "<svg x=\"{}\" y=\"0\" overflow=\"visible\" width=\"1\" height=\"1\">", x);
                markup!(html, "<path class=\"{}\" d=\"M-5 8L0 0L5 8Z\"/></svg>", self.kind.class());
            }
            None => {
                markup!(html, "<svg x=\"{}\" y=\"5\" overflow=\"visible\" width=\"1\" height=\"1\">", x);
                markup!(html, "<path class=\"{} cross\" d=\"M-4 -4L4 4M-4 4L4 -4\"/></svg>", self.kind.class());
            }
        }
        markup!(html, "<title>{}</title></g>", self.text);
    }
}

impl DotKind {
    fn class(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Broken => "broken",
            Self::Bench => "bench",
        }
    }

    fn shape(self, html: &mut Html, x: &str, y: f64) {
        match self {
            Self::Kept => markup!(html, "<circle class=\"kept\" cx=\"{}\" cy=\"{}\" r=\"4.5\"/>", x, y),
            Self::Broken => {
                markup!(html, "<svg x=\"{}\" y=\"{}\" overflow=\"visible\" width=\"1\" height=\"1\">", x, y);
                markup!(html, "<path class=\"broken\" d=\"M0 -5.5L5.5 0L0 5.5L-5.5 0Z\"/></svg>");
            }
            Self::Bench => {
                markup!(html, "<svg x=\"{}\" y=\"{}\" overflow=\"visible\" width=\"1\" height=\"1\">", x, y);
                markup!(html, "<path class=\"bench\" d=\"M-4 -4H4V4H-4Z\"/></svg>");
            }
        }
    }
}

/// From the top, in pixels.
fn down(position: f64) -> f64 {
    let position = if position.is_finite() { position.clamp(0.0, 1.0) } else { 1.0 };
    ((1.0 - position) * HEIGHT * 10.0).round() / 10.0
}

/// A position across, as a percentage.
fn across(position: f64) -> Percentage {
    Percentage(if position.is_finite() { position.clamp(0.0, 1.0) * 100.0 } else { 0.0 })
}

struct Percentage(f64);

impl Display for Percentage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:.2}%", self.0)
    }
}
