//! What a machine needs beyond Rust and Node: installed with apt as root on Debian, otherwise said.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;

use crate::process;
use crate::workspace::Workspace;

/// The oldest Node that the web app's tools run on.
const NODE: (u32, u32) = (20, 19);

#[derive(clap::Args)]
pub struct Arguments {
    /// Only what building and running needs, no browsers and no test tools
    #[arg(long)]
    minimal: bool,
}

impl Arguments {
    /// What the set-up is for.
    pub fn purpose(&self) -> Purpose {
        if self.minimal { Purpose::Run } else { Purpose::Test }
    }
}

/// What the set-up is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Building and running the server with its web app.
    Run,
    /// All tests, real browsers included.
    Test,
}

/// Something that apt can install.
struct Tool {
    /// How to see that it is there.
    sign: Sign,
    /// Debian's packages.
    packages: &'static [&'static str],
    /// What it is for.
    why: &'static str,
    purpose: Purpose,
}

/// How to see that a tool is there.
enum Sign {
    /// One of these programs is in `PATH`, or the environment variable names one.
    Program(&'static [&'static str], Option<&'static str>),
    /// This script of the checkout ends well when told to `--check`.
    Script(&'static str),
}

const TOOLS: &[Tool] = &[
    Tool {
        sign: Sign::Program(&["cc"], Some("CC")),
        packages: &["build-essential"],
        why: "builds the C parts of aws-lc",
        purpose: Purpose::Run,
    },
    Tool {
        sign: Sign::Program(&["chromium", "chromium-browser", "google-chrome"], Some("CHROMIUM")),
        packages: &["chromium"],
        why: "the browser tests",
        purpose: Purpose::Test,
    },
    Tool {
        sign: Sign::Program(&["firefox-esr", "firefox"], Some("FIREFOX")),
        packages: &["firefox-esr"],
        why: "the browser tests",
        purpose: Purpose::Test,
    },
    Tool { sign: Sign::Program(&["ip"], None), packages: &["iproute2"], why: "the network tests", purpose: Purpose::Test },
    Tool { sign: Sign::Program(&["nft"], None), packages: &["nftables"], why: "the network tests", purpose: Purpose::Test },
    Tool { sign: Sign::Program(&["turnserver"], None), packages: &["coturn"], why: "the network tests", purpose: Purpose::Test },
    Tool { sign: Sign::Program(&["curl"], None), packages: &["curl"], why: "the commands in docs/", purpose: Purpose::Test },
    Tool { sign: Sign::Program(&["prometheus"], None), packages: &["prometheus"], why: "the dashboard's test", purpose: Purpose::Test },
    Tool { sign: Sign::Program(&["certutil"], None), packages: &["libnss3-tools"], why: "has Firefox trust those", purpose: Purpose::Test },
    Tool { sign: Sign::Program(&["openssl"], None), packages: &["openssl"], why: "makes the tests' certificates", purpose: Purpose::Test },
    Tool { sign: Sign::Program(&["pebble"], None), packages: &["pebble"], why: "the tests of ACME", purpose: Purpose::Test },
    Tool {
        sign: Sign::Program(&["systemd-analyze"], None),
        packages: &["systemd"],
        why: "checks the systemd unit",
        purpose: Purpose::Test,
    },
    Tool { sign: Sign::Program(&["ffmpeg"], None), packages: &["ffmpeg"], why: "makes the test media", purpose: Purpose::Test },
    Tool {
        sign: Sign::Script("tests/interop/gstreamer.py"),
        packages: &[
            "python3-gst-1.0",
            "gir1.2-gst-plugins-bad-1.0",
            "gstreamer1.0-plugins-base",
            "gstreamer1.0-plugins-good",
            "gstreamer1.0-plugins-bad",
            "gstreamer1.0-nice",
        ],
        why: "WHIP and WHEP with GStreamer",
        purpose: Purpose::Test,
    },
];

/// What the container tests start. Where it can't be had they are skipped, which their step says.
const ENGINE: [(&str, &str); 5] = [
    ("dockerd", "docker.io"),
    ("docker-compose", "docker-compose"),
    ("iptables", "iptables"),
    ("nsenter", "util-linux"),
    ("strip", "binutils"),
];

/// Whether the tests can start a Docker engine of their own; if not, why.
pub fn engine_possible() -> Result<(), String> {
    if !is_root() {
        return Err("only root may start a Docker engine".to_owned());
    }
    let missing = missing_of_engine();
    if missing.is_empty() { Ok(()) } else { Err(format!("no Docker engine: {} is not installed", missing.join(", "))) }
}

/// Debian's packages with what a Docker engine lacks on this machine.
fn missing_of_engine() -> Vec<&'static str> {
    ENGINE.iter().filter(|(program, _)| find_program(program).is_none()).map(|(_, package)| *package).collect()
}

/// Installs what is missing, or fails with what to install.
pub fn setup(workspace: &Workspace, purpose: Purpose) -> anyhow::Result<()> {
    let missing: Vec<&Tool> = TOOLS.iter().filter(|tool| tool.purpose <= purpose && !tool.present(workspace)).collect();
    let mut packages: Vec<&str> = missing.iter().flat_map(|tool| tool.packages.iter().copied()).collect();
    let node = node_problem();
    let can_install = fs::exists("/etc/debian_version").unwrap_or(false) && find_program("apt-get").is_some() && is_root();
    if !packages.is_empty() || node.is_some() {
        for tool in &missing {
            println!("missing: {} ({})", tool.packages.join(" "), tool.why);
        }
        if !can_install {
            let apt = if packages.is_empty() { String::new() } else { format!("\n  apt-get install -y {}", packages.join(" ")) };
            let node = node.map(|problem| format!("\n  {problem}")).unwrap_or_default();
            bail!("this machine lacks something. As root on Debian this installs it, elsewhere install its like:{apt}{node}");
        }
        println!("apt-get update");
        process::run(&mut apt(&["update", "-qq"]))?;
        if let Some(problem) = &node {
            if !debian_node_is_new_enough() {
                bail!("{problem}");
            }
            packages.extend(["nodejs", "npm"]);
        }
        println!("apt-get install {}", packages.join(" "));
        process::run(apt(&["install", "-y", "-qq", "--no-install-recommends"]).args(&packages))?;
    }
    let engine = missing_of_engine();
    if purpose == Purpose::Test && can_install && !engine.is_empty() {
        println!("apt-get install {} (the container tests)", engine.join(" "));
        let installed = process::run(&mut apt(&["update", "-qq"]))
            .and_then(|()| process::run(apt(&["install", "-y", "-qq", "--no-install-recommends"]).args(&engine)));
        if let Err(error) = installed {
            eprintln!("the container tests will be skipped: {error:#}");
        }
    }
    if purpose == Purpose::Test {
        for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
            if !process::succeeds(&mut workspace.cargo(&[subcommand, "--version"])) {
                println!("rustup component add {component}");
                process::run(Command::new("rustup").args(["component", "add", component]))?;
            }
        }
    }
    Ok(())
}

impl Tool {
    fn present(&self, workspace: &Workspace) -> bool {
        match self.sign {
            Sign::Program(programs, variable) => {
                variable.is_some_and(|variable| env::var_os(variable).is_some())
                    || programs.iter().any(|program| find_program(program).is_some())
            }
            Sign::Script(script) => process::succeeds(Command::new(workspace.path(script)).arg("--check")),
        }
    }
}

/// What is wrong with the Node of this machine, in a sentence that says what to do.
fn node_problem() -> Option<String> {
    let wanted = format!("install Node {}.{} or newer with npm, from https://nodejs.org/en/download", NODE.0, NODE.1);
    let Ok(version) = process::read(Command::new("node").arg("--version")) else { return Some(wanted) };
    if parse_version(version.trim().trim_start_matches('v')).is_none_or(|version| version < NODE) {
        return Some(format!("Node is {}: {wanted}", version.trim()));
    }
    find_program("npm").is_none().then(|| format!("npm is missing: {wanted}"))
}

/// Whether Debian's own package is new enough; it is from Debian 13 on.
fn debian_node_is_new_enough() -> bool {
    let policy = process::read(Command::new("apt-cache").args(["policy", "nodejs"])).unwrap_or_default();
    let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    candidate.and_then(parse_version).is_some_and(|version| version >= NODE)
}

/// Major and minor of `20.19.2` or `20.19.2+dfsg-1`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn apt(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
    command
}

/// Where a program lies in `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Whether this runs as root.
pub fn is_root() -> bool {
    process::read(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::{NODE, parse_version};

    #[test]
    fn node_versions_compare_by_number() {
        assert_eq!(parse_version("20.19.2+dfsg-1"), Some((20, 19)));
        assert!(parse_version("20.9.0").unwrap() < NODE);
        assert!(parse_version("100.0.0").unwrap() > NODE);
        assert_eq!(parse_version("(none)"), None);
    }
}
