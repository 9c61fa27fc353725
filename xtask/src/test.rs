//! `cargo xtask test`: every check and every test, as named and timed steps with a table at the end.

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::ValueEnum;

use crate::tally::{Format, Tally};
use crate::workspace::Workspace;
use crate::{audit, line, process, purity, setup, timeouts, types, web};

/// A cold run takes longer than it may, beyond this.
const BUDGET: Duration = Duration::from_secs(30 * 60);

#[derive(clap::Args)]
pub struct Arguments {
    /// Only the steps of one part, with what they build on
    #[arg(long)]
    only: Option<Part>,
    /// Only browser, network and container tests whose file or name contains this
    #[arg(long)]
    filter: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Formatting, dependencies, purity, generated types, Clippy
    Lint,
    /// All Rust tests
    Rust,
    /// The TypeScript's checks, unit tests and build
    Web,
    /// The tests in real browsers
    Browser,
    /// Those in real browsers on bad lines, which need root
    Network,
    /// The image, the compose files and real browsers, in a Docker engine of the tests' own, which needs root
    Container,
}

/// What a step that went well has to say.
enum Report {
    Done,
    /// Done, except for something that the reader should know.
    Notice(String),
    Tests(Tally),
    /// Not possible on this machine, and why.
    Skipped(String),
}

struct Step {
    name: &'static str,
    /// The parts that ask for it.
    parts: &'static [Part],
    /// The steps without which it can't run.
    needs: &'static [&'static str],
    run: fn(&Workspace, &Arguments) -> anyhow::Result<Report>,
}

use Part::{Browser, Container, Lint, Network, Rust, Web};

/// In this order: what fails fastest first; the app before the server that embeds it.
const STEPS: [Step; 18] = [
    Step {
        name: "set-up",
        parts: &[Lint, Rust, Web, Browser, Network, Container],
        needs: &[],
        run: |w, _| done(setup::setup(w, setup::Purpose::Test)),
    },
    Step { name: "format", parts: &[Lint], needs: &["set-up"], run: |w, _| done(process::run(&mut w.cargo(&["fmt", "--all", "--check"]))) },
    Step { name: "purity", parts: &[Lint], needs: &[], run: |w, _| done(purity::check(w)) },
    Step { name: "timeouts", parts: &[Lint], needs: &[], run: |w, _| done(timeouts::check(w)) },
    Step {
        name: "npm packages",
        parts: &[Lint, Rust, Web, Browser, Network, Container],
        needs: &["set-up"],
        run: |w, _| done(web::install(w)),
    },
    Step { name: "web checks", parts: &[Web], needs: &["npm packages"], run: |w, _| done(web::check(w)) },
    Step { name: "web tests", parts: &[Web], needs: &["npm packages"], run: |w, _| web::test(w).map(Report::Tests) },
    Step {
        name: "web build",
        parts: &[Lint, Rust, Web, Browser, Network, Container],
        needs: &["npm packages"],
        run: |w, _| done(web::build(w)),
    },
    Step {
        name: "build",
        parts: &[Lint, Rust, Browser, Network, Container],
        needs: &["web build"],
        run: |w, _| done(process::run(&mut w.cargo(&BUILD))),
    },
    Step { name: "protocol types", parts: &[Lint, Web], needs: &["build"], run: |w, _| done(types::check_built(w)) },
    Step { name: "clippy", parts: &[Lint], needs: &["set-up", "web build"], run: |w, _| done(process::run(&mut w.cargo(&CLIPPY))) },
    Step {
        name: "Rust tests",
        parts: &[Rust],
        needs: &["build"],
        run: |w, _| Tally::of(Format::Cargo, &mut w.cargo(&["test", "--workspace", "--no-fail-fast"])).map(Report::Tests),
    },
    Step {
        name: "browser packages",
        parts: &[Browser, Network, Container],
        needs: &["set-up"],
        run: |w, _| done(web::install_in(w, "tests/browser")),
    },
    Step {
        name: "browser library",
        parts: &[Browser],
        needs: &["browser packages"],
        run: |w, _| browser_tests(w, "tests/browser", "lib/", None),
    },
    Step {
        name: "browser tests",
        parts: &[Browser],
        needs: &["build", "browser packages"],
        run: |w, arguments| browser_tests(w, "tests/browser", "", arguments.filter.as_deref()),
    },
    Step { name: "network tests", parts: &[Network], needs: &["build", "browser packages"], run: network_tests },
    Step { name: "container tests", parts: &[Container], needs: &["build", "browser packages"], run: container_tests },
    Step { name: "dependencies", parts: &[Lint], needs: &[], run: |w, _| audit::check(w).map(notice) },
];

// One build for all that runs: the same features and profile as `cargo test --workspace`, which then builds nothing but doc tests.
const BUILD: [&str; 5] = ["build", "--workspace", "--bins", "--tests", "--examples"];
const CLIPPY: [&str; 6] = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];

pub fn test(workspace: &Workspace, arguments: &Arguments) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut results: Vec<(&Step, Duration, anyhow::Result<Report>)> = Vec::new();
    for step in STEPS.iter().filter(|step| arguments.only.is_none_or(|part| step.parts.contains(&part))) {
        let before = Instant::now();
        let broken = |needed: &&&str| results.iter().any(|(step, _, result)| step.name == **needed && result.is_err());
        let result = match step.needs.iter().find(broken) {
            Some(needed) => Err(anyhow::anyhow!("not run, since \"{needed}\" failed")),
            None => {
                println!("\n=== {}", step.name);
                (step.run)(workspace, arguments)
            }
        };
        if let Err(error) = &result {
            eprintln!("{}: {error:#}", step.name);
        }
        results.push((step, before.elapsed(), result));
    }
    summarise(&results, started.elapsed())
}

/// The table, and the verdict.
fn summarise(results: &[(&Step, Duration, anyhow::Result<Report>)], elapsed: Duration) -> anyhow::Result<()> {
    println!("\n{:<18} {:>8}  result", "step", "seconds");
    let (mut tests, mut skipped, mut failed) = (0, Vec::new(), Vec::new());
    for (step, took, result) in results {
        let said = match result {
            Ok(Report::Done) => "ok".to_owned(),
            Ok(Report::Notice(notice)) => format!("ok, but {notice}"),
            Ok(Report::Tests(tally)) => {
                tests += tally.passed;
                let skipped = if tally.skipped > 0 { format!(", {} SKIPPED", tally.skipped) } else { String::new() };
                format!("ok, {} tests{skipped}", tally.passed)
            }
            Ok(Report::Skipped(why)) => {
                skipped.push(step.name);
                format!("SKIPPED: {why}")
            }
            Err(error) => {
                failed.push(step.name);
                format!("FAILED: {}", format!("{error:#}").lines().next().unwrap_or_default())
            }
        };
        println!("{:<18} {:>8.1}  {said}", step.name, took.as_secs_f64());
    }
    println!("{:<18} {:>8.1}  {tests} tests ran in the steps that passed", "all", elapsed.as_secs_f64());
    if !skipped.is_empty() {
        println!("SKIPPED, since this machine can't run them: {}", skipped.join(", "));
    }
    if elapsed > BUDGET {
        println!("that is more than the {} minutes that it may take", BUDGET.as_secs() / 60);
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// The browser tests, one file at a time: two at once would measure each other.
fn browser_tests(workspace: &Workspace, root: &str, folder: &str, filter: Option<&str>) -> anyhow::Result<Report> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(workspace.path(root).join(folder))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".test.mjs") {
            files.push(format!("{folder}{name}"));
        }
    }
    files.sort();
    if let Some(filter) = filter.filter(|filter| files.iter().any(|file| file.contains(filter))) {
        files.retain(|file| file.contains(filter));
    }
    if files.is_empty() {
        bail!("there is no test file in {root}/{folder}");
    }
    let mut command = std::process::Command::new("node");
    command.current_dir(workspace.path(root)).args(["--test", "--test-concurrency=1", "--test-reporter=spec"]);
    if let Some(filter) = filter.filter(|filter| !files.iter().any(|file| file.contains(filter))) {
        command.arg(format!("--test-name-pattern={filter}"));
    }
    command.args(&files).env("NO_COLOR", "1");
    for (variable, product) in [
        ("SWITCHYARD_BIN", "switchyard"),
        ("SWITCHYARD_LINE", "switchyard-line"),
        ("SWITCHYARD_PROBE", "examples/probe"),
        ("SWITCHYARD_CROWD", "examples/crowd"),
    ] {
        command.env(variable, workspace.product(product));
    }
    Tally::of(Format::Node, &mut command).map(Report::Tests)
}

/// The tests behind bad lines, where such lines can be made.
fn network_tests(workspace: &Workspace, arguments: &Arguments) -> anyhow::Result<Report> {
    if let Err(why) = line::possible(&workspace.product("switchyard-line")) {
        eprintln!("no network test can run: {why}");
        return Ok(Report::Skipped(why.lines().next().unwrap_or("no line can be made").to_owned()));
    }
    browser_tests(workspace, "tests/network", "", arguments.filter.as_deref())
}

/// The tests in containers, where an engine can be started.
fn container_tests(workspace: &Workspace, arguments: &Arguments) -> anyhow::Result<Report> {
    if let Err(why) = setup::engine_possible().and_then(|()| line::possible(&workspace.product("switchyard-line"))) {
        eprintln!("no container test can run: {why}");
        return Ok(Report::Skipped(why.lines().next().unwrap_or("no engine can be started").to_owned()));
    }
    browser_tests(workspace, "tests/container", "", arguments.filter.as_deref())
}

fn done(result: anyhow::Result<()>) -> anyhow::Result<Report> {
    result.map(|()| Report::Done)
}

fn notice(notice: Option<String>) -> Report {
    notice.map_or(Report::Done, Report::Notice)
}
