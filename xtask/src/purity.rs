//! The rules of the pure crates: they are told the time and the randomness, and touch nothing outside themselves. What they
//! depend on is checked through all levels of `cargo tree`, what they use by a scan of their sources (tests excepted).

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, bail};

use crate::workspace::Workspace;
use crate::{process, sources};

#[cfg(test)]
mod tests;

/// The crates without IO, below `crates/`.
pub const PURE: [&str; 10] = ["protocol", "access", "rtp", "bandwidth", "forward", "room", "negotiation", "session", "netem", "sim"];

/// What no pure crate depends on, at any depth: runtimes, sockets, servers, and the crates with IO.
const NO_DEPENDENCY: [&str; 13] = [
    "async-io",
    "async-std",
    "axum",
    "hyper",
    "mio",
    "polling",
    "quinn",
    "smol",
    "socket2",
    "switchyard-client",
    "switchyard-worker",
    "tokio",
    "webrtc",
];

/// What no pure crate asks for itself. Cryptography below it may: nonces and keys of a handshake are made there.
const NO_DIRECT_DEPENDENCY: [&str; 8] = ["dashmap", "fastrand", "getrandom", "libc", "nix", "rand", "rustix", "tracing-subscriber"];

/// What no pure crate's source says, and why.
const NO_WORDS: [(&str, &str); 16] = [
    ("Instant::now", "the time is passed in"),
    ("SystemTime::now", "the time is passed in"),
    ("UNIX_EPOCH.elapsed", "the time is passed in"),
    ("thread::", "no threads"),
    ("UdpSocket", "no sockets"),
    ("TcpStream", "no sockets"),
    ("TcpListener", "no sockets"),
    ("UnixStream", "no sockets"),
    ("env::", "no environment"),
    ("std::fs", "no files"),
    ("std::process", "no processes"),
    ("thread_rng", "randomness is passed in"),
    ("rand::", "randomness is passed in"),
    ("println!", "no output"),
    ("dbg!", "no output"),
    ("unsafe", "unsafe code belongs to the worker"),
];

/// Checks all pure crates and reports every breach at once.
pub fn check(workspace: &Workspace) -> anyhow::Result<()> {
    let mut breaches = Vec::new();
    for name in PURE {
        let package = format!("switchyard-{name}");
        let tree = ["tree", "--quiet", "--locked", "-p", &package, "-e", "normal,build", "--prefix", "depth", "--format", " {p}"];
        breaches.extend(forbidden_dependencies(&package, &process::read(&mut workspace.cargo(&tree))?));
        let folder = workspace.path(&format!("crates/{name}/src"));
        for file in sources::files(&folder, &["rs"])? {
            let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            let shown = format!("crates/{name}/src/{}", file.strip_prefix(&folder)?.display());
            breaches.extend(forbidden_words(&shown, &text));
        }
    }
    if breaches.is_empty() {
        return Ok(());
    }
    bail!("the pure crates have no clock, socket, thread, randomness or environment:\n  {}", breaches.join("\n  "));
}

/// Reads `cargo tree --prefix depth --format " {p}"`: lines such as `2 tokio v1.54.1`.
fn forbidden_dependencies(package: &str, tree: &str) -> Vec<String> {
    let mut breaches = BTreeSet::new();
    for line in tree.lines() {
        let mut words = line.split_whitespace();
        let (Some(depth), Some(name)) = (words.next(), words.next()) else { continue };
        if NO_DEPENDENCY.contains(&name) {
            breaches.insert(format!("{package} depends on {name}: cargo tree -p {package} -e normal,build -i {name}"));
        } else if depth == "1" && NO_DIRECT_DEPENDENCY.contains(&name) {
            breaches.insert(format!("{package} depends directly on {name}"));
        }
    }
    breaches.into_iter().collect()
}

/// Words outside comments and tests.
fn forbidden_words(file: &str, text: &str) -> Vec<String> {
    let said = |(number, code)| {
        NO_WORDS.iter().filter(move |(word, _)| says(code, word)).map(move |(word, why)| format!("{file}:{number}: `{word}`: {why}"))
    };
    sources::code(text).flat_map(said).collect()
}

/// Whether `code` contains `word` where no longer identifier begins or ends.
fn says(code: &str, word: &str) -> bool {
    let joins = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(word).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + word.len()..]);
        let begins = !before.ends_with(joins);
        let ends = !word.ends_with(joins) || !after.starts_with(joins);
        begins && ends
    })
}
