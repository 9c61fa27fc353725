use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A terminal of the kind everybody has, as far as the view uses one.
struct Screen {
    columns: usize,
    lines: Vec<String>,
    row: usize,
    column: usize,
    cursor_visible: bool,
}

impl Screen {
    fn new(columns: usize) -> Self {
        Self { columns, lines: vec![String::new()], row: 0, column: 0, cursor_visible: true }
    }

    fn feed(&mut self, text: &str) {
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            match char {
                '\r' => self.column = 0,
                '\n' => {
                    self.row += 1;
                    self.column = 0;
                    if self.row == self.lines.len() {
                        self.lines.push(String::new());
                    }
                }
                '\x1b' => {
                    assert_eq!(chars.next(), Some('['));
                    let mut parameters = String::new();
                    let end = chars.by_ref().find(|char| char.is_alphabetic() || !parameters.extend_one_char(*char));
                    self.control(&parameters, end.expect("a control sequence ends"));
                }
                _ => {
                    assert!(!char.is_control());
                    let line: String = self.lines[self.row].chars().take(self.column).collect();
                    let rest: String = self.lines[self.row].chars().skip(self.column + 1).collect();
                    self.lines[self.row] = format!("{line}{char}{rest}");
                    self.column += 1;
                    assert!(self.column < self.columns, "a line of {} columns would wrap: {:?}", self.columns, self.lines[self.row]);
                }
            }
        }
    }

    fn control(&mut self, parameters: &str, end: char) {
        match (parameters, end) {
            (rows, 'A') => self.row = self.row.saturating_sub(rows.parse().expect("a number of rows")),
            ("", 'K') => self.lines[self.row] = self.lines[self.row].chars().take(self.column).collect(),
            ("", 'J') => {
                self.control("", 'K');
                self.lines.truncate(self.row + 1);
            }
            ("?25", 'l') => self.cursor_visible = false,
            ("?25", 'h') => self.cursor_visible = true,
            ("?2026", 'h' | 'l') | (_, 'm') => {}
            other => panic!("an unexpected control sequence {other:?}"),
        }
    }
}

trait ExtendOne {
    /// Adds the character; always true.
    fn extend_one_char(&mut self, char: char) -> bool;
}

impl ExtendOne for String {
    fn extend_one_char(&mut self, char: char) -> bool {
        self.push(char);
        true
    }
}

fn terminal(columns: usize) -> Terminal {
    Terminal { moves: true, colours: true, size: Box::new(move || (columns, 24)) }
}

fn written(live: &mut Live<Vec<u8>>) -> String {
    String::from_utf8(std::mem::take(&mut live.out)).expect("text is written")
}

fn sample(second: u32) -> Sample {
    Sample {
        at_seconds: f64::from(second),
        participants: 201,
        packets_per_second: 59_999.0,
        lost_share: Some(0.000_02),
        latency_p50_ms: Some(1.06),
        latency_p99_ms: Some(3.0 + f64::from(second % 5)),
        frozen_share: None,
        as_wanted_share: Some(0.75),
        server_cpu_share: Some(0.26),
        bench_cpu_share: 0.91,
    }
}

fn measuring(second: u32) -> Status {
    Status {
        title: "broadcast".to_owned(),
        phase: Phase::Measuring { passed: Duration::from_secs(second.into()), of: Duration::from_secs(30) },
        last: Some(sample(second)),
    }
}

fn connecting(connected: u64) -> Status {
    let phase = Phase::Connecting { connected, failed: 2, of: 201 };
    Status { title: "broadcast".to_owned(), phase, last: None }
}

#[test]
fn the_block_is_redrawn_in_place_and_the_terminal_left_as_it_was() {
    let mut live = Live::new(Vec::new(), terminal(90));
    let mut screen = Screen::new(90);
    screen.feed("$ switchyard bench run\n");
    let start = Instant::now();
    live.update(start, &connecting(57));
    screen.feed(&written(&mut live));
    assert_eq!(screen.lines[1], "broadcast  connecting 57 of 201, 2 failed");
    assert!(screen.lines[2].ends_with("░  29 %"), "{:?}", screen.lines);
    for second in 1..=12 {
        live.update(start + Duration::from_secs(second.into()), &measuring(second));
        screen.feed(&written(&mut live));
        assert!(screen.cursor_visible);
        assert_eq!((screen.column, screen.lines.last().map(String::as_str)), (0, Some("")), "the cursor is below the block");
        assert_eq!(screen.row, screen.lines.len() - 1);
    }
    let shown = screen.lines.join("\n");
    assert_eq!(shown.matches("broadcast").count(), 1, "{shown}");
    assert!(shown.contains("measuring 12 s of 30 s"), "{shown}");
    assert!(shown.contains(" 40 %"), "{shown}");
    for figure in [
        "packets/s     59,999",
        "p99         5.00 ms",
        "lost        0.002 %",
        "frozen            –",
        "as wanted     75.0 %",
        "server CPU    26.0 %",
        "bench CPU     91.0 %",
    ] {
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<&str>>().join(" ");
        assert!(squeezed(&shown).contains(&squeezed(figure)), "{figure} in {shown}");
    }
    assert!(shown.contains("p99 by second ▅▆▇█▄▅▆▇█▄▅▆"), "{shown}");

    live.finish();
    screen.feed(&written(&mut live));
    assert_eq!(screen.lines, ["$ switchyard bench run", ""]);
    assert!(screen.cursor_visible);
}

#[test]
fn every_frame_is_one_write_that_shows_the_cursor_again() {
    struct Writes(Vec<String>);
    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(String::from_utf8(bytes.to_vec()).expect("text is written"));
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut live = Live::new(Writes(Vec::new()), terminal(80));
    let start = Instant::now();
    live.update(start, &measuring(1));
    live.update(start + Duration::from_secs(1), &measuring(2));
    let writes = live.into_inner().0;
    assert_eq!(writes.len(), 2);
    for frame in writes {
        assert!(frame.starts_with("\x1b[?2026h\x1b[?25l") && frame.ends_with("\x1b[?25h\x1b[?2026l"), "{frame:?}");
    }
}

#[test]
fn no_width_makes_a_line_wrap() {
    for columns in 1..=200 {
        let mut live = Live::new(Vec::new(), terminal(columns));
        let mut screen = Screen::new(columns);
        let start = Instant::now();
        let mut long = measuring(3);
        long.title = "a title that is 長い and goes on and on for more columns than a narrow window has".to_owned();
        for (index, status) in [connecting(1), measuring(1), measuring(2), long].iter().enumerate() {
            live.update(start + Duration::from_secs(index as u64), status);
            // The screen counts characters; wide ones are checked by their width.
            for line in &live.block {
                let width = block::plain(line).width();
                assert!(width < columns.max(2), "{columns}: {line:?}");
            }
            screen.feed(&written(&mut live));
        }
    }
}

#[test]
fn a_window_that_became_narrower_is_cleaned_up_whole() {
    let columns = Arc::new(AtomicUsize::new(100));
    let now_columns = Arc::clone(&columns);
    let terminal = Terminal { moves: true, colours: false, size: Box::new(move || (now_columns.load(Ordering::Relaxed), 24)) };
    let mut live = Live::new(Vec::new(), terminal);
    let start = Instant::now();
    live.update(start, &measuring(1));
    live.update(start + Duration::from_secs(1), &measuring(2));
    let rows: usize = live.drawn.iter().map(|width| width.div_ceil(40).max(1)).sum();
    assert!(rows > live.drawn.len(), "the window has to be narrow enough to wrap something");
    written(&mut live);
    columns.store(40, Ordering::Relaxed);
    live.update(start + Duration::from_secs(2), &measuring(3));
    assert!(written(&mut live).contains(&format!("\x1b[{rows}A")));
}

#[test]
fn a_low_window_is_not_scrolled() {
    let mut live = Live::new(Vec::new(), Terminal { moves: true, colours: false, size: Box::new(|| (80, 3)) });
    live.update(Instant::now(), &measuring(5));
    assert_eq!(live.drawn.len(), 2);
}

#[test]
fn without_a_terminal_there_is_a_plain_line_every_few_seconds() {
    let mut live = Live::new(Vec::new(), Terminal { moves: false, colours: false, size: Box::new(|| (80, 24)) });
    let start = Instant::now();
    for tenth in 0..200 {
        live.update(start + Duration::from_millis(tenth * 100), &measuring((tenth / 10) as u32));
    }
    live.note("one more thing");
    live.finish();
    let lines = written(&mut live);
    assert_eq!(lines.lines().count(), 5, "{lines}");
    assert!(!lines.contains('\x1b'));
    assert!(
        lines.starts_with("broadcast: measuring 0 s of 30 s; packets/s 59,999, p50 1.06 ms, p99 3.00 ms, lost 0.002 %, frozen –,"),
        "{lines}"
    );
    assert!(lines.ends_with("one more thing\n"), "{lines}");
}

#[test]
fn a_new_phase_is_shown_at_once_and_all_else_not_too_often() {
    let mut live = Live::new(Vec::new(), terminal(80));
    let start = Instant::now();
    live.update(start, &connecting(1));
    assert!(!written(&mut live).is_empty());
    live.update(start + Duration::from_millis(20), &connecting(2));
    assert!(written(&mut live).is_empty());
    live.update(start + Duration::from_millis(30), &measuring(0));
    assert!(!written(&mut live).is_empty());
    live.update(start + Duration::from_millis(130), &measuring(0));
    assert!(!written(&mut live).is_empty());
}

#[test]
fn no_colour_means_none() {
    let mut live = Live::new(Vec::new(), Terminal { colours: false, ..terminal(80) });
    let start = Instant::now();
    live.update(start, &measuring(1));
    live.update(start + Duration::from_secs(1), &measuring(2));
    assert!(live.block.len() > 3);
    assert!(live.block.iter().all(|line| !line.contains('\x1b')), "{:?}", live.block);
}

#[test]
fn a_note_stays_above_the_block() {
    let mut live = Live::new(Vec::new(), terminal(80));
    let mut screen = Screen::new(80);
    let start = Instant::now();
    live.update(start, &measuring(1));
    live.note("400 viewers: kept\x1b[2J");
    live.update(start + Duration::from_secs(1), &measuring(2));
    screen.feed(&written(&mut live));
    assert_eq!(screen.lines[0], "400 viewers: kept\u{fffd}[2J");
    assert!(screen.lines[1].starts_with("broadcast  measuring 2 s"));
    assert_eq!(screen.lines.join("\n").matches("broadcast").count(), 1);
}

#[test]
fn an_output_that_is_closed_is_left_alone() {
    struct Closed(usize);
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut live = Live::new(Closed(0), terminal(80));
    let start = Instant::now();
    for second in 0..10 {
        live.update(start + Duration::from_secs(second), &measuring(second as u32));
    }
    assert_eq!(live.into_inner().0, 1);
}

#[test]
fn what_is_remembered_is_bounded_and_begins_anew_with_each_run() {
    let mut live = Live::new(Vec::new(), terminal(80));
    let start = Instant::now();
    for second in 0..1000 {
        live.update(start + Duration::from_secs(second), &measuring(second as u32));
    }
    assert_eq!(live.history.len(), HISTORY);
    live.update(start + Duration::from_secs(1000), &Status { title: "another".to_owned(), ..measuring(0) });
    assert_eq!(live.history.len(), 1);
}
