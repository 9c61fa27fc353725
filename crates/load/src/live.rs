//! What a run looks like while it goes on, on the standard error output.
//!
//! On a terminal a small block is redrawn in place; anywhere else a plain line is written every few seconds. Each redraw is one write
//! that begins and ends with the cursor visible at the start of the line below the block. So whatever ends the program between two redraws, Ctrl-C
//! included, leaves a terminal that needs no restoring, and no signal has to be caught for it.

mod block;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use unicode_width::UnicodeWidthStr;

use crate::report::printable;
use crate::results::Sample;

/// Between redraws: often enough to look alive, seldom enough to cost nothing beside what is measured.
const REDRAW: Duration = Duration::from_millis(100);
/// Between plain lines.
const LINE: Duration = Duration::from_secs(5);
/// Latencies remembered for the sparkline: one a second, as many as a wide terminal shows.
const HISTORY: usize = 120;
/// Assumed where a terminal doesn't say its size.
const SIZE: (usize, usize) = (80, 24);

/// What goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// What is run, such as "broadcast" or "broadcast, run 5 at 400 viewers".
    pub title: String,
    /// How far it is.
    pub phase: Phase,
    /// The last second, once there was one.
    pub last: Option<Sample>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// People join.
    Connecting {
        /// Who got in.
        connected: u64,
        /// Who did not.
        failed: u64,
        /// Everybody.
        of: u64,
    },
    /// Everybody is there; nothing counts yet.
    WarmingUp {
        /// Time that passed.
        passed: Duration,
        /// How long it takes.
        of: Duration,
    },
    /// What happens now counts.
    Measuring {
        /// Time that passed.
        passed: Duration,
        /// How long it takes.
        of: Duration,
    },
    /// Everybody leaves.
    Leaving,
}

/// What the output can do.
pub struct Terminal {
    /// Whether the cursor can be moved.
    pub moves: bool,
    /// Whether colours are wanted.
    pub colours: bool,
    /// Columns and rows, asked before each redraw since windows change.
    pub size: Box<dyn Fn() -> (usize, usize) + Send>,
}

/// The view of one run after the other.
pub struct Live<W: Write> {
    out: W,
    terminal: Terminal,
    /// Columns of each line of the block that is on the screen; as many lines as the block has.
    drawn: Vec<usize>,
    /// The block, for drawing it again below a note.
    block: Vec<String>,
    shown: Option<Shown>,
    /// The 99th percentile of the latency second by second, bounded by [`HISTORY`].
    history: VecDeque<Option<f64>>,
    /// Nothing more is written once writing failed: nobody is looking.
    closed: bool,
}

struct Shown {
    at: Instant,
    phase: Phase,
    title: String,
    second: Option<f64>,
}

impl Terminal {
    /// What the standard error output can do: a terminal's cursor is moved unless `TERM` says `dumb`, and coloured unless `NO_COLOR` is
    /// set (no-color.org).
    pub fn of_stderr() -> Self {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let moves = io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let size = || match terminal_size::terminal_size_of(io::stderr()) {
            Some((width, height)) if width.0 > 0 && height.0 > 0 => (width.0.into(), height.0.into()),
            _ => SIZE,
        };
        Self { moves, colours: moves && !is_set("NO_COLOR"), size: Box::new(size) }
    }
}

impl Live<io::Stderr> {
    /// A view on the standard error output.
    pub fn on_stderr() -> Self {
        Self::new(io::stderr(), Terminal::of_stderr())
    }
}

impl<W: Write> Live<W> {
    /// A view on an output.
    pub fn new(out: W, terminal: Terminal) -> Self {
        Self { out, terminal, drawn: Vec::new(), block: Vec::new(), shown: None, history: VecDeque::new(), closed: false }
    }

    /// Shows how things are, if it is time to. To be called as often as is convenient.
    pub fn update(&mut self, now: Instant, status: &Status) {
        let second = status.last.as_ref().map(|last| last.at_seconds);
        let shown = self.shown.as_ref();
        let is_new_run = shown.is_none_or(|shown| shown.title != status.title);
        let is_new_phase =
            is_new_run || shown.is_none_or(|shown| std::mem::discriminant(&shown.phase) != std::mem::discriminant(&status.phase));
        let is_new_second = shown.is_none_or(|shown| shown.second != second);
        if is_new_run {
            self.history.clear();
        }
        if let Some(last) = status.last.as_ref().filter(|_| is_new_second) {
            self.history.extend([last.latency_p99_ms]);
            self.history.drain(..self.history.len().saturating_sub(HISTORY));
        }
        let every = if self.terminal.moves { REDRAW } else { LINE };
        let is_time = shown.is_none_or(|shown| now.saturating_duration_since(shown.at) >= every);
        if is_time || is_new_phase {
            self.shown = Some(Shown { at: now, phase: status.phase, title: status.title.clone(), second });
            self.show(status);
        } else if let Some(shown) = &mut self.shown {
            shown.second = second;
        }
    }

    /// Writes a line for good, above the block.
    pub fn note(&mut self, line: &str) {
        let line = printable(line).into_owned();
        if self.terminal.moves {
            let block = std::mem::take(&mut self.block);
            self.draw(&[line], &block);
            self.block = block;
        } else {
            self.write(&format!("{line}\n"));
        }
    }

    /// Takes the block away, so that what is written next stands in its place.
    pub fn finish(&mut self) {
        if !self.drawn.is_empty() {
            self.draw(&[], &[]);
        }
        self.block.clear();
        self.shown = None;
        self.history.clear();
    }

    /// The output, once there is nothing more to show.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn show(&mut self, status: &Status) {
        if self.terminal.moves {
            let (columns, rows) = (self.terminal.size)();
            // One column stays free, since terminals differ in what follows a full line, and one row for the cursor.
            let mut block = block::block(status, &self.history, columns.saturating_sub(1), self.terminal.colours);
            block.truncate(rows.saturating_sub(1));
            self.draw(&[], &block);
            self.block = block;
        } else {
            self.write(&format!("{}\n", block::line(status)));
        }
    }

    /// Replaces the block on the screen by lines that stay and a new block, in one write.
    fn draw(&mut self, staying: &[String], block: &[String]) {
        let (columns, _) = (self.terminal.size)();
        // A window that became narrower has wrapped the lines.
        let rows: usize = self.drawn.iter().map(|width| width.div_ceil(columns.max(1)).max(1)).sum();
        // Synchronized output where it is known (DEC private mode 2026), and no cursor jumping about where it is not.
        let mut frame = String::from("\x1b[?2026h\x1b[?25l\r");
        if rows > 0 {
            frame.push_str(&format!("\x1b[{rows}A"));
        }
        for line in staying.iter().chain(block) {
            frame.push_str(line);
            // The rest of the line is cleared behind the text, not the screen before it: nothing flickers.
            frame.push_str("\x1b[K\n");
        }
        frame.push_str("\x1b[J\x1b[?25h\x1b[?2026l");
        self.drawn = block.iter().map(|line| block::plain(line).width()).collect();
        self.write(&frame);
    }

    fn write(&mut self, text: &str) {
        if !self.closed {
            self.closed = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).is_err();
        }
    }
}
