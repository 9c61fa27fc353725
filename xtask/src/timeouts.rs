//! `cargo xtask timeouts`: docs/timeouts.md, the table of every wait, retry and timeout, from the constants in the sources and what is said there about
//! them.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, bail};

use crate::sources;
use crate::workspace::Workspace;

#[cfg(test)]
mod tests;

const PAGE: &str = "docs/timeouts.md";
/// What is above this line is written by hand.
const MARK: &str = "<!-- The rest is written by `cargo xtask timeouts`. -->";
/// Where they are, and whose they are. The load bench has its own documentation.
const PARTS: [(&str, &str); 8] = [
    ("src", "The server: signaling and rooms"),
    ("crates/session/src", "The server: DTLS and data channels"),
    ("crates/forward/src", "The server: paths and media"),
    ("crates/bandwidth/src", "The server: bandwidth"),
    ("crates/worker/src", "The server: media threads"),
    ("web/sdk/src", "The browser SDK"),
    ("web/app/src", "The app"),
    ("crates/client/src", "The headless client"),
];
/// What a TypeScript constant's name ends with if it is a time, in milliseconds.
const TIMES: [&str; 8] = ["TIMEOUT", "DELAY", "INTERVAL", "PATIENCE", "TIME", "PERIOD", "BACKOFF", "SILENCE"];

/// Writes the page.
pub fn write(workspace: &Workspace) -> anyhow::Result<()> {
    let page = workspace.path(PAGE);
    fs::write(&page, build(workspace)?).with_context(|| format!("writing {PAGE}"))?;
    println!("wrote {PAGE}");
    Ok(())
}

/// Fails if the page is not what [`write`] would make of it.
pub fn check(workspace: &Workspace) -> anyhow::Result<()> {
    let page = fs::read_to_string(workspace.path(PAGE)).with_context(|| format!("reading {PAGE}"))?;
    if page != build(workspace)? {
        bail!("{PAGE} is not up to date: run `cargo xtask timeouts` and commit what it writes");
    }
    Ok(())
}

fn build(workspace: &Workspace) -> anyhow::Result<String> {
    let page = fs::read_to_string(workspace.path(PAGE)).with_context(|| format!("reading {PAGE}"))?;
    let mut page = page.split_once(MARK).with_context(|| format!("{PAGE} has no line {MARK}"))?.0.to_owned() + MARK + "\n";
    let mut silent = Vec::new();
    for (folder, title) in PARTS {
        write!(page, "\n## {title}\n\n| constant | time | what it is, and why so long |\n| --- | --- | --- |\n")?;
        for path in sources::files(&workspace.path(folder), &["rs", "ts", "tsx"])? {
            let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            let file = path.strip_prefix(workspace.path("."))?.display();
            for Time { name, value, why } in times(&text) {
                if why.is_empty() {
                    silent.push(format!("{file}: {name}"));
                }
                writeln!(page, "| `{name}`<br>{file} | {value} | {why} |")?;
            }
        }
    }
    if !silent.is_empty() {
        bail!("a comment has to say what these are and why:\n  {}", silent.join("\n  "));
    }
    Ok(page)
}

/// A constant that is a time.
#[derive(Debug, PartialEq)]
struct Time {
    name: String,
    /// With its unit.
    value: String,
    /// The comment above it, in one line.
    why: String,
}

fn times(text: &str) -> Vec<Time> {
    let lines: Vec<&str> = text.lines().collect();
    let time = |(number, code)| {
        let (name, value) = constant(code)?;
        let above = lines[..number - 1].iter().rev().map(|line| line.trim()).take_while(|line| is_comment(line));
        let mut why: Vec<&str> = above.map(|line| line.trim_start_matches(['/', '*']).trim_end_matches("*/").trim()).collect();
        why.reverse();
        Some(Time { name, value, why: why.join(" ").replace('|', "\\|").trim().to_owned() })
    };
    sources::code(text).filter_map(time).collect()
}

fn is_comment(line: &str) -> bool {
    ["//", "/*", "*"].iter().any(|sign| line.starts_with(sign))
}

/// The name and the value that a line declares, if it declares a time.
fn constant(line: &str) -> Option<(String, String)> {
    let (left, right) = line.split_once("const ")?.1.split_once('=')?;
    let value = right.trim().trim_end_matches(';');
    if let Some((name, kind)) = left.split_once(':') {
        if kind.trim() != "Duration" {
            return None;
        }
        let (unit, number) = value.strip_prefix("Duration::from_")?.strip_suffix(')')?.split_once('(')?;
        let factor = match unit {
            "micros" => 1,
            "millis" => 1_000,
            "secs" => 1_000_000,
            _ => return None,
        };
        let number = number.split('*').map(|factor| factor.trim().replace('_', "").parse::<u64>().ok()).product::<Option<u64>>()?;
        return Some((name.trim().to_owned(), words(number * factor)));
    }
    let name = left.trim();
    let number: u64 = value.replace('_', "").parse().ok()?;
    TIMES.iter().any(|ending| name.ends_with(ending)).then(|| (name.to_owned(), words(number * 1_000)))
}

/// So many microseconds, in a unit that fits.
fn words(micros: u64) -> String {
    match micros {
        _ if micros.is_multiple_of(1_000_000) => format!("{} s", micros / 1_000_000),
        _ if micros.is_multiple_of(1_000) => format!("{} ms", micros / 1_000),
        _ => format!("{micros} µs"),
    }
}
