//! `cargo xtask line`: a bad line to try things on.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::workspace::Workspace;
use crate::{process, setup};

/// The program's own, so that it reads and explains them.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Arguments {
    /// Such as --loss 10 --delay 60 -- COMMAND; --help lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    line: Vec<String>,
}

pub fn line(workspace: &Workspace, arguments: &Arguments) -> anyhow::Result<()> {
    process::run(&mut workspace.cargo(&["build", "--quiet", "-p", "switchyard-line", "--bin", "switchyard-line"]))?;
    let program = workspace.product("switchyard-line");
    let asks = arguments.line.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--help" || argument == "-h");
    if !asks && !setup::is_root() {
        bail!("only root may make network namespaces; it is built, so run: sudo {} {}", program.display(), arguments.line.join(" "));
    }
    // It takes this process's place, so that Ctrl-C and signals reach it alone.
    let error = Command::new(&program).args(&arguments.line).exec();
    Err(error).with_context(|| format!("starting {}", program.display()))
}

/// Whether a line can be made on this machine; if not, why. Makes one and ends it.
pub fn possible(program: &Path) -> Result<(), String> {
    let output = Command::new(program).args(["--", "true"]).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(said.trim().trim_start_matches("Error: ").to_owned()) }
}
