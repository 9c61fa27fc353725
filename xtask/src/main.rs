//! `cargo xtask`: everything that continuous integration does, as commands for people.

mod audit;
mod bench;
mod line;
mod process;
mod purity;
mod run;
mod setup;
mod sources;
mod tally;
mod test;
mod timeouts;
mod types;
mod web;
mod workspace;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Builds, runs and tests Switchyard")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the web app and the server, and start `switchyard serve --dev`
    Run(run::Arguments),
    /// Run every check and test there is, in real browsers too
    Test(test::Arguments),
    /// Measure: what a packet costs, then every scenario of the load bench; results in target/bench
    Bench(bench::Arguments),
    /// A namespace behind a bad network line, for programs to be tried in; needs root (line --help)
    Line(line::Arguments),
    /// Install what the other tasks need, or say what to install
    Setup(setup::Arguments),
    /// Write the TypeScript types of the signaling protocol
    Types(types::Arguments),
    /// Write docs/timeouts.md, the table of every wait, retry and timeout
    Timeouts,
    /// Build the web app
    Web,
}

fn main() -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    match Arguments::parse().task {
        Task::Run(arguments) => run::run(&workspace, &arguments),
        Task::Test(arguments) => test::test(&workspace, &arguments),
        Task::Bench(arguments) => bench::bench(&workspace, &arguments),
        Task::Line(arguments) => line::line(&workspace, &arguments),
        Task::Setup(arguments) => setup::setup(&workspace, arguments.purpose()),
        Task::Types(arguments) => types::types(&workspace, &arguments),
        Task::Timeouts => timeouts::write(&workspace),
        Task::Web => {
            setup::setup(&workspace, setup::Purpose::Run)?;
            web::install(&workspace)?;
            web::build(&workspace)
        }
    }
}
