//! The systemd unit of deploy/: it says what systemd understands, leaves the server little it could do harm with, and gives it time to drain.

mod support;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use support::Folder;

const UNIT: &str = include_str!("../deploy/switchyard.service");
/// What `systemd-analyze security` may find at most, in tenths of its points, of which there are 100; a unit without any of it gets 96.
const EXPOSURE: &str = "20";

/// What a command of `systemd-analyze` finds in a file.
fn analyze(arguments: &[&str], file: &Path) -> Output {
    let analyzed = Command::new("systemd-analyze").args(arguments).arg(file).output();
    analyzed.expect("systemd-analyze runs; `cargo xtask test` installs it on Debian")
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

/// The value of a setting.
fn setting(name: &str) -> &'static str {
    let values: Vec<_> = UNIT.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect();
    assert_eq!(values.len(), 1, "{name} is said once");
    values[0]
}

#[test]
fn systemd_understands_the_unit_and_finds_little_to_fear() {
    let folder = Folder::new("systemd");
    let file = folder.0.join("switchyard.service");
    // The program is where it was built.
    let here = UNIT.replace("/usr/local/bin/switchyard", env!("CARGO_BIN_EXE_switchyard"));
    std::fs::write(&file, &here).expect("written");
    let verified = analyze(&["verify", "--man=no"], &file);
    assert!(verified.status.success() && verified.stderr.is_empty(), "{}", said(&verified));
    let judged = analyze(&["security", "--offline=true", "--no-pager", &format!("--threshold={EXPOSURE}")], &file);
    assert!(judged.status.success(), "{}", said(&judged));
}

#[test]
fn systemd_waits_longer_than_the_server() {
    let drain = setting("Environment").strip_prefix("SWITCHYARD_DRAIN=").expect("the time to drain");
    let time = |text: &str| humantime::parse_duration(text).expect("a time");
    assert!(time(setting("TimeoutStopSec")) >= time(drain) + Duration::from_secs(30));
    assert_eq!(setting("ExecReload"), "/bin/kill -HUP $MAINPID");
}
