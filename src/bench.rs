//! `switchyard bench`: the load bench's command line.

mod own;
mod scenarios;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use clap::{Args, Subcommand};
use switchyard_load::capacity::{CapacityResult, Next, Outcome, Plan, Search, Step};
use switchyard_load::live::{Live, Status};
use switchyard_load::process::Process;
use switchyard_load::report;
use switchyard_load::results::{Document, FORMAT, RunResult};
use switchyard_load::run::{Options, run};
use switchyard_load::scenario::{Scale, Scenario};
use switchyard_load::slo::Slo;

/// The end of a promise that was broken: neither a success nor a failure to measure.
const BROKEN: u8 = 3;
/// Files a bench process may have open: a socket or two for each participant.
const OPEN_FILES: u64 = 200_000;

/// What to do with load.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Play a scenario and say what arrived.
    Run(Run),
    /// Find the largest load at which a promise holds, and what breaks beyond it.
    Capacity(Capacity),
    /// List the scenarios that come with the program.
    List,
    /// Print a scenario that comes with the program, to begin one's own with.
    Show {
        /// Its name.
        scenario: String,
    },
    /// Draw results files (JSON) as one HTML page, several beside each other, and list them.
    Report {
        /// What `--json` wrote.
        #[arg(required = true)]
        results: Vec<PathBuf>,
        /// Where the page goes.
        #[arg(long, value_name = "FILE", default_value = "bench.html")]
        html: PathBuf,
    },
}

/// What a run and a search have in common.
#[derive(Debug, Args)]
pub struct Common {
    /// A scenario file (TOML), or the name of one that comes with the program (`switchyard bench list`).
    pub scenario: String,

    /// A Switchyard server: ws://HOST:PORT/v1/ws, or http://HOST:PORT for a scenario that speaks WHIP. Without any address a server is started
    /// for the bench on this machine, and ended with it.
    #[arg(long, value_name = "URL", group = "server")]
    pub url: Option<String>,

    /// Where to publish at another server, for a scenario that speaks WHIP: http://… with {room} where the room's name goes, and {name} where
    /// the participant's may go.
    #[arg(long, value_name = "URL", group = "server", requires = "whep_url")]
    pub whip_url: Option<String>,

    /// Where to play at another server: as --whip-url.
    #[arg(long, value_name = "URL", requires = "whip_url")]
    pub whep_url: Option<String>,

    /// The id of the server's process, if it runs on this machine: its CPU and memory are measured.
    #[arg(long, value_name = "PID", requires = "server")]
    pub server_pid: Option<u32>,

    /// Media threads of the server that is started for the bench.
    #[arg(long, value_name = "N", conflicts_with = "server")]
    pub server_workers: Option<u8>,

    /// Another seed for everything that happens by chance.
    #[arg(long)]
    pub seed: Option<u64>,

    /// Measure for so long instead of what the scenario says.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,

    /// Measure for what the scenario says, but no longer than this.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "duration")]
    pub at_most: Option<Duration>,

    /// Write the figures to a file (JSON).
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write a page with charts to a file (HTML, complete in itself).
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// No live view.
    #[arg(long, short)]
    pub quiet: bool,
}

/// How to play a scenario.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub common: Common,

    /// What has to hold, such as "p99<20ms,loss<0.1%,freeze<1%"; if it doesn't, the program ends with 3.
    #[arg(long, value_name = "PROMISE")]
    pub slo: Option<Slo>,

    /// So many times as much of what the scenario scales.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub scale: f64,
}

/// How to search for the capacity.
#[derive(Debug, Args)]
pub struct Capacity {
    #[command(flatten)]
    pub common: Common,

    /// What has to hold.
    #[arg(long, value_name = "PROMISE", default_value = "p99<20ms,loss<0.1%,freeze<1%")]
    pub slo: Slo,

    /// The load to begin with, counted in what the scenario scales. Default: what the scenario says.
    #[arg(long, value_name = "N")]
    pub start: Option<u64>,

    /// No larger load is tried.
    #[arg(long, value_name = "N", default_value_t = Plan::default().most)]
    pub most: u64,

    /// How close to find the edge, as a share of the load.
    #[arg(long, value_name = "SHARE", default_value_t = Plan::default().resolution)]
    pub resolution: f64,

    /// Runs at most.
    #[arg(long, value_name = "N", default_value_t = Plan::default().steps)]
    pub steps: usize,
}

/// Runs the command.
pub fn main(command: Command) -> ExitCode {
    match execute(command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(arguments) => {
            let scenario = load(&arguments.common)?;
            anyhow::ensure!(arguments.scale.is_finite() && arguments.scale > 0.0, "--scale {}: more than 0", arguments.scale);
            let scenario = if arguments.scale == 1.0 { scenario } else { scenario.scaled(arguments.scale) };
            asynchronously(play(&arguments, &scenario))
        }
        Command::Capacity(arguments) => {
            let scenario = load(&arguments.common)?;
            asynchronously(search(&arguments, &scenario))
        }
        Command::List => {
            for scenario in scenarios::all()? {
                println!("{:20} {}", scenario.name, scenario.description);
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Show { scenario } => {
            print!("{}", scenarios::text(&scenario)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Report { results, html } => {
            let read = |path: &PathBuf| {
                let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
                Document::from_json(&text).with_context(|| path.display().to_string())
            };
            let documents = results.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
            write(&html, &report::html(&documents))?;
            if let Some(overview) = report::overview(&documents) {
                print!("{overview}");
            }
            println!("wrote {}", html.display());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn load(common: &Common) -> anyhow::Result<Scenario> {
    let mut scenario = scenarios::load(&common.scenario)?;
    scenario.seed = common.seed.unwrap_or(scenario.seed);
    scenario.duration = common.duration.unwrap_or(scenario.duration).min(common.at_most.unwrap_or(Duration::MAX));
    anyhow::ensure!(!scenario.duration.is_zero(), "a measured time of 0s: there is nothing to measure");
    own::target(common, scenario.transport)?;
    // What can't be written is found before the measuring, not after.
    for path in [&common.json, &common.html].into_iter().flatten() {
        fs::OpenOptions::new().append(true).create(true).open(path).with_context(|| path.display().to_string())?;
    }
    Ok(scenario)
}

fn asynchronously(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let (_, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?;
    // As many as may be; a run that needs more says so by failing joins.
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, hard.min(OPEN_FILES), hard);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        tokio::select! {
            result = work => result,
            // The own server ends with its handle.
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted; nothing was written"),
        }
    })
}

async fn play(arguments: &Run, scenario: &Scenario) -> anyhow::Result<ExitCode> {
    let server = own::Server::of(&arguments.common, scenario).await?;
    let mut live = (!arguments.common.quiet).then(Live::on_stderr);
    // What the scenario promises is meant for a server that nobody else uses.
    let slo = arguments
        .slo
        .clone()
        .or_else(|| scenario.slo.clone().filter(|_| arguments.common.url.is_none() && arguments.common.whip_url.is_none()));
    let options = options(&server, 1, slo.clone());
    let result = once(scenario, options, &scenario.name, &mut live).await;
    if let Some(live) = &mut live {
        live.finish();
    }
    let result = result?;
    let kept = slo.as_ref().is_none_or(|slo| slo.check(&result).is_empty());
    tell(&arguments.common, Document::Run(Box::new(result)))?;
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::from(BROKEN) })
}

async fn once(scenario: &Scenario, options: Options, title: &str, live: &mut Option<Live<std::io::Stderr>>) -> anyhow::Result<RunResult> {
    let progress = |phase, sample: &_| {
        if let Some(live) = live {
            live.update(Instant::now(), &Status { title: title.to_owned(), phase, last: Some(*sample) });
        }
    };
    Ok(run(scenario, options, progress).await?)
}

async fn search(arguments: &Capacity, scenario: &Scenario) -> anyhow::Result<ExitCode> {
    let size = f64::from(scenario.size());
    let start = arguments.start.unwrap_or(u64::from(scenario.size()));
    let plan = Plan { start, most: arguments.most, resolution: arguments.resolution, steps: arguments.steps };
    let unit = match scenario.scale {
        Scale::Subscribers => "subscribers",
        Scale::Participants => "participants",
        Scale::Rooms => "rooms",
    };
    let started = now();
    let mut live = (!arguments.common.quiet).then(Live::on_stderr);
    let mut search = Search::new(plan);
    let mut steps: Vec<Step> = Vec::new();
    let mut loads = HashSet::new();
    let verdict = loop {
        let (wanted, purpose) = match search.next() {
            Next::Run { load, purpose } => (load, purpose),
            Next::Done(verdict) => break verdict,
        };
        // Another server for each run: what one left behind is no part of the next.
        let server = own::Server::of(&arguments.common, scenario).await?;
        let scaled = scenario.scaled(wanted as f64 / size);
        let title = format!("{}, run {} at {wanted} {unit}", scenario.name, steps.len() + 1);
        loads.insert(wanted);
        let run = once(&scaled, options(&server, steps.len() + 1, Some(arguments.slo.clone())), &title, &mut live).await?;
        let outcome = Outcome::of(&run, &arguments.slo);
        if let Some(live) = &mut live {
            let how = if outcome == Outcome::Kept { "kept".to_owned() } else { outcome.reasons().join("; ") };
            live.note(&format!("{wanted:>7} {unit} ({purpose:?}): {how}").to_lowercase());
        }
        search.record(&outcome);
        steps.push(Step { load: wanted, outcome, run });
    };
    if let Some(live) = &mut live {
        live.finish();
    }
    let first = steps.first().context("no run was allowed: --steps is 0")?;
    let result = CapacityResult {
        format: FORMAT,
        switchyard_version: env!("CARGO_PKG_VERSION").to_owned(),
        scenario: scenario.name.clone(),
        description: scenario.description.clone(),
        url: first.run.url.clone(),
        server_kind: first.run.server_kind,
        seed: scenario.seed,
        started,
        promise: arguments.slo.clone(),
        unit: unit.to_owned(),
        plan,
        steps,
        verdict,
    };
    tell(&arguments.common, Document::Capacity(Box::new(result)))?;
    Ok(ExitCode::SUCCESS)
}

fn options(server: &own::Server, number: usize, promise: Option<Slo>) -> Options {
    Options {
        target: server.target.clone(),
        server: server.process.map(Process::new),
        // Runs against the same server don't meet.
        room_prefix: format!("bench-{}-{number}-", std::process::id()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started: now(),
        promise,
    }
}

/// Says what came of it, and writes it where it is wanted.
fn tell(common: &Common, document: Document) -> anyhow::Result<()> {
    print!("{}", report::text(&document));
    if let Some(path) = &common.json {
        write(path, &document.to_json()?)?;
    }
    if let Some(path) = &common.html {
        write(path, &report::html(&[document]))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())
}

fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
