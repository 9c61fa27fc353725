//! `cargo xtask run`: from a checkout to a server that one can open in a browser.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;

use crate::workspace::Workspace;
use crate::{process, setup, web};

#[derive(clap::Args)]
pub struct Arguments {
    /// Build with all optimisations: a longer build, and less CPU for each packet
    #[arg(long)]
    release: bool,
    /// More arguments for `switchyard serve --dev`
    #[arg(last = true)]
    serve: Vec<String>,
}

pub fn run(workspace: &Workspace, arguments: &Arguments) -> anyhow::Result<()> {
    setup::setup(workspace, setup::Purpose::Run)?;
    println!("building the web app");
    web::install(workspace)?;
    web::build(workspace)?;
    println!("building the server");
    let mut build = workspace.cargo(&["build", "-p", "switchyard", "--bin", "switchyard"]);
    let program = if arguments.release {
        build.arg("--release");
        workspace.release_product("switchyard")
    } else {
        workspace.product("switchyard")
    };
    process::run(&mut build)?;
    // The server takes this process's place, so that Ctrl-C and signals reach it alone.
    let error = Command::new(&program).args(["serve", "--dev"]).args(&arguments.serve).exec();
    Err(error).with_context(|| format!("starting {}", program.display()))
}
