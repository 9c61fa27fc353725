//! `cargo xtask bench`: the measurements, built with all optimisations.

use crate::workspace::Workspace;
use crate::{process, setup, web};

#[derive(clap::Args)]
pub struct Arguments {
    /// Which bench; all of them if none is named
    name: Option<String>,
    /// Arguments for the bench itself
    #[arg(last = true)]
    rest: Vec<String>,
}

pub fn bench(workspace: &Workspace, arguments: &Arguments) -> anyhow::Result<()> {
    setup::setup(workspace, setup::Purpose::Run)?;
    // The server embeds the app, so building it needs one.
    web::ensure_built(workspace)?;
    let mut command = workspace.cargo(&["bench", "-p", "switchyard"]);
    match &arguments.name {
        Some(name) => command.args(["--bench", name]),
        None => command.arg("--benches"),
    };
    process::run(command.arg("--").args(&arguments.rest))
}
