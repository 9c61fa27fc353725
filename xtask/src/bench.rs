//! `cargo xtask bench`: the measurements, built with all optimisations. First what a packet costs beside the floor (`benches/fan_out`), then
//! every scenario of the load bench, each against a server of its own.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::workspace::Workspace;
use crate::{process, setup, web};

/// The bench that is none of the scenarios.
const FAN_OUT: &str = "fan_out";
/// No scenario is measured for longer.
const AT_MOST: &str = "30s";

#[derive(clap::Args)]
pub struct Arguments {
    /// Only one: fan_out, or a scenario in benches/scenarios
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Arguments for the one bench itself
    #[arg(last = true, requires = "only")]
    rest: Vec<String>,
}

pub fn bench(workspace: &Workspace, arguments: &Arguments) -> anyhow::Result<()> {
    let mut names = scenarios(&workspace.path("benches/scenarios"))?;
    names.insert(0, FAN_OUT.to_owned());
    if let Some(only) = &arguments.only {
        if !names.contains(only) {
            bail!("there is no bench {only:?}; there are {}", names.join(", "));
        }
        names.retain(|name| name == only);
    }
    setup::setup(workspace, setup::Purpose::Run)?;
    // The server embeds the app, so building it needs one.
    web::ensure_built(workspace)?;
    if names.first().is_some_and(|name| name == FAN_OUT) {
        names.remove(0);
        process::run(workspace.cargo(&["bench", "-p", "switchyard", "--bench", FAN_OUT, "--"]).args(&arguments.rest))?;
    }
    if names.is_empty() {
        return Ok(());
    }
    process::run(&mut workspace.cargo(&["build", "--release", "-p", "switchyard", "--bin", "switchyard"]))?;
    play(workspace, &workspace.release_product("switchyard"), &names, &arguments.rest)
}

/// Plays the scenarios one after the other, then lists and draws what came of them. One that fails does not keep the others from being played.
fn play(workspace: &Workspace, program: &Path, names: &[String], rest: &[String]) -> anyhow::Result<()> {
    let folder = workspace.results();
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let (mut results, mut failed) = (Vec::new(), Vec::new());
    for name in names {
        println!("\n=== {name}");
        let json = folder.join(format!("{name}.json"));
        let mut run = Command::new(program);
        run.args(["bench", "run", name, "--at-most", AT_MOST, "--json"]).arg(&json).args(rest);
        match process::run(run.current_dir(workspace.path("."))) {
            Ok(()) => results.push(json),
            Err(error) => {
                eprintln!("{name}: {error:#}");
                failed.push(name.as_str());
            }
        }
    }
    if !results.is_empty() {
        println!();
        process::run(Command::new(program).args(["bench", "report", "--html"]).arg(folder.join("index.html")).args(&results))?;
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// The names of the scenarios, in order.
fn scenarios(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}
