//! Counting tests in what test runners write, since a runner that finds no test ends happily.

use std::process::Command;

use anyhow::{Context, bail};

use crate::process;

#[cfg(test)]
mod tests;

/// Whose output to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// libtest under `cargo test`.
    Cargo,
    /// Vitest's default reporter.
    Vitest,
    /// node:test's `spec` reporter.
    Node,
}

/// How many tests ran, and what became of them.
#[derive(Debug)]
pub struct Tally {
    format: Format,
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
    /// Files of integration tests that hold no test.
    empty: Vec<String>,
    /// The integration test that is running.
    current: Option<String>,
}

impl Tally {
    pub fn new(format: Format) -> Self {
        Self { format, passed: 0, failed: 0, skipped: 0, empty: Vec::new(), current: None }
    }

    /// Runs a suite and counts. Fails if a test failed, if none ran, or if the runner ended with something other than 0.
    pub fn of(format: Format, command: &mut Command) -> anyhow::Result<Self> {
        let mut tally = Self::new(format);
        let success = process::watch(command, |line| tally.line(line))?;
        tally.verdict(success).with_context(|| process::shown(command))?;
        Ok(tally)
    }

    /// Takes one line of output.
    pub fn line(&mut self, line: &str) {
        match self.format {
            Format::Cargo => self.cargo_line(line.trim_start()),
            Format::Vitest => self.vitest_line(line.trim()),
            Format::Node => self.node_line(line.trim()),
        }
    }

    /// Whether the suite counts as passed.
    fn verdict(&self, success: bool) -> anyhow::Result<()> {
        if self.failed > 0 {
            bail!("{} of {} tests failed", self.failed, self.passed + self.failed);
        }
        if !success {
            bail!("the runner failed after {} passing tests", self.passed);
        }
        if self.passed == 0 {
            bail!("not one test ran");
        }
        if !self.empty.is_empty() {
            bail!("not one test ran in {}", self.empty.join(", "));
        }
        Ok(())
    }

    /// `Running tests/meeting.rs (target/…)` names the file, `test result: ok. 3 passed; 0 failed; 1 ignored; …` counts.
    fn cargo_line(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("Running ") {
            self.current = rest.split_whitespace().next().filter(|file| file.starts_with("tests/")).map(str::to_owned);
        } else if line.starts_with("Doc-tests ") {
            self.current = None;
        } else if let Some(rest) = line.strip_prefix("test result: ") {
            let counts = rest.split_once(". ").map_or("", |(_, counts)| counts);
            let count = |what: &str| counts.split("; ").find_map(|part| part.strip_suffix(what)?.trim().parse().ok()).unwrap_or(0);
            let (passed, failed) = (count("passed"), count("failed"));
            self.passed += passed;
            self.failed += failed;
            self.skipped += count("ignored");
            // A run narrowed by a filter is none of this program's: every file of integration tests should have run one.
            if let Some(file) = self.current.take().filter(|_| passed + failed == 0) {
                self.empty.push(file);
            }
        }
    }

    /// `Tests  1 failed | 12 passed | 2 skipped (15)`.
    fn vitest_line(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("Tests ") else { return };
        let counts = counts.split_once('(').map_or(counts, |(counts, _)| counts);
        for part in counts.split('|') {
            let mut words = part.split_whitespace();
            let (Some(Ok(count)), Some(what)) = (words.next().map(str::parse::<u64>), words.next()) else { continue };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                _ => self.skipped += count,
            }
        }
    }

    /// `ℹ pass 12`, `ℹ fail 0`, `ℹ cancelled 0`, `ℹ skipped 0`, `ℹ todo 0`.
    fn node_line(&mut self, line: &str) {
        let Some((what, Ok(count))) = line.strip_prefix("ℹ ").and_then(|rest| rest.split_once(' ')).map(|(w, c)| (w, c.parse::<u64>()))
        else {
            return;
        };
        match what {
            "pass" => self.passed += count,
            "fail" | "cancelled" => self.failed += count,
            "skipped" | "todo" => self.skipped += count,
            _ => {}
        }
    }
}
