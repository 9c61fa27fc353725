//! The configuration as an operator meets it: the real program with files, environment variables and options.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

const SOON: Duration = Duration::from_secs(10);

/// A file that is gone with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let file = Self(std::env::temp_dir().join(format!("switchyard-{}-{name}.toml", std::process::id())));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).expect("written");
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn switchyard() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

async fn output(command: &mut Command) -> Output {
    tokio::time::timeout(SOON, command.output()).await.expect("in time").expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A server with a configuration file, its first line, and its log.
async fn serve(file: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> (Child, String, Lines<BufReader<ChildStderr>>) {
    let mut command = switchyard();
    command.arg("serve").args(arguments).envs(environment.iter().copied()).env("SWITCHYARD_CONFIG", file);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let first = tokio::time::timeout(SOON, lines.next_line()).await.expect("in time").expect("read").expect("a line");
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let log = BufReader::new(child.stderr.take().expect("piped")).lines();
    (child, first, log)
}

/// The log up to a line that says all of it; the lines before and that one.
async fn logged(log: &mut Lines<BufReader<ChildStderr>>, what: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    while let Ok(line) = tokio::time::timeout(SOON, log.next_line()).await {
        let line = line.expect("read").unwrap_or_else(|| panic!("the log ended without {what:?}: {lines:#?}"));
        let found = what.iter().all(|what| line.contains(what));
        lines.push(line);
        if found {
            return lines;
        }
    }
    panic!("{what:?} was not logged: {lines:#?}");
}

#[tokio::test]
async fn a_server_whose_options_leave_no_address_does_not_start_and_says_which_there_are() {
    let output =
        output(switchyard().args(["serve", "--dev", "--http", "127.0.0.1:0", "--media-port", "0", "--interfaces", "nowhere0"])).await;
    let said = text(&output.stderr);
    assert!(!output.status.success() && output.stdout.is_empty(), "{said}");
    for part in ["no address to offer to clients", "127.0.0.1 (lo, by interfaces)"] {
        assert!(said.contains(part), "{said}");
    }
}

#[tokio::test]
async fn the_command_line_comes_before_the_environment_and_that_before_the_file() {
    let file = File::new("order", "dev = true\nhttp = '127.0.0.1:0'\nmedia_port = 0\nlog = 'warn'\n");
    let free = || std::net::UdpSocket::bind(("::", 0)).expect("a port").local_addr().expect("its number").port().to_string();
    let (by_environment, by_option) = (free(), free());
    let environment = [("SWITCHYARD_MEDIA_PORT", by_environment.as_str())];
    for (arguments, environment, port) in [
        (&[][..], &[][..], None),
        (&[], &environment[..], Some(&by_environment)),
        (&["--media-port", &by_option], &environment, Some(&by_option)),
    ] {
        let (mut child, first, _log) = serve(&file.0, arguments, environment).await;
        assert!(first.starts_with("listening http=127.0.0.1:"), "{first}");
        if let Some(port) = port {
            assert!(first.ends_with(&format!(" media={port}")), "{first} is not at {port}");
        }
        child.kill().await.expect("killed");
    }
}

#[tokio::test]
async fn media_has_the_number_of_https_port_unless_told_otherwise() {
    let file = File::new("one-port", "dev = true\n");
    let free = support::lasting_port();
    let http = format!("127.0.0.1:{free}");
    let (mut child, first, _log) = serve(&file.0, &["--http", &http], &[]).await;
    assert_eq!(first, format!("listening http={http} media={free}"));
    child.kill().await.expect("killed");
}

#[tokio::test]
async fn a_wrong_file_is_refused_with_its_lines_before_anything_starts() {
    let file = File::new("wrong", "dev = true\nmedia_prot = 1\nheard = 99\n");
    let name = file.0.display().to_string();
    let serving = output(switchyard().args(["serve", "--config", &name])).await;
    let checking = output(switchyard().args(["config", "check", &name])).await;
    for output in [serving, checking] {
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains(&format!("{name}:2:1: ")) && said.contains("media_port") && said.contains(&format!("{name}:3:9: ")),
            "{said}"
        );
    }
    let missing = output(switchyard().args(["config", "check", "/nowhere.toml"])).await;
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).contains("/nowhere.toml: can't be read"), "{}", text(&missing.stderr));
}

#[tokio::test]
async fn the_example_is_right_and_the_page_in_docs_is_of_today() {
    let example = output(switchyard().args(["config", "example"])).await;
    let file = File::new("example", &text(&example.stdout));
    let checked = output(switchyard().args(["config", "check"]).arg(&file.0)).await;
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let page = text(&output(switchyard().args(["config", "reference"])).await.stdout);
    let kept = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configure.md")).expect("docs/configure.md");
    assert!(page == kept, "docs/configure.md is not of today: run `cargo run -- config reference > docs/configure.md`");
}

#[tokio::test]
async fn sighup_reads_the_file_again_and_a_wrong_one_changes_nothing() {
    let lines = |more: &str| format!("dev = true\nhttp = '127.0.0.1:0'\nmedia_port = 0\n{more}\n");
    let file = File::new("reload", &lines("log = 'warn'"));
    let (mut child, _, mut log) = serve(&file.0, &[], &[]).await;
    let pid = Pid::from_raw(child.id().expect("running") as i32);
    let hang_up = || kill(pid, Signal::SIGHUP).expect("signalled");

    file.write(&lines("log = 'warn'\nhaerd = 3"));
    hang_up();
    let said = logged(&mut log, &["ERROR", ":5:1: ", "heard"]).await;
    assert_eq!(said.len(), 1, "at the level warn nothing else is said: {said:#?}");

    file.write(&lines("log = 'info'\nheard = 3\nadvertise = '192.0.2.7'"));
    hang_up();
    logged(&mut log, &["INFO", "read again", "heard", "log"]).await;
    logged(&mut log, &["WARN", "need a restart", "advertise"]).await;

    file.write("no");
    hang_up();
    logged(&mut log, &["ERROR", ":1:"]).await;
    kill(pid, Signal::SIGTERM).expect("signalled");
    let status = tokio::time::timeout(SOON, child.wait()).await.expect("in time").expect("it ends");
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_log_for_programs_is_json() {
    let file = File::new("json", "dev = true\nhttp = '127.0.0.1:0'\nmedia_port = 0\nlog_format = 'json'");
    let (mut child, _, mut log) = serve(&file.0, &[], &[]).await;
    let line = tokio::time::timeout(SOON, log.next_line()).await.expect("in time").expect("read").expect("a line");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!(line["level"], "INFO");
    assert!(line["message"].is_string() && line["target"].as_str().is_some_and(|target| target.starts_with("switchyard")), "{line}");
    child.kill().await.expect("killed");
}
