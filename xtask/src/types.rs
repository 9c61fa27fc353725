//! The TypeScript types of the signaling protocol, generated from `crates/protocol`.

use std::fs;
use std::process::Command;

use anyhow::{Context, bail};

use crate::process;
use crate::workspace::Workspace;

const FILE: &str = "web/sdk/src/protocol.ts";

#[derive(clap::Args)]
pub struct Arguments {
    /// Write nothing, fail if the file differs
    #[arg(long)]
    check: bool,
}

pub fn types(workspace: &Workspace, arguments: &Arguments) -> anyhow::Result<()> {
    let generated = process::read(&mut workspace.cargo(&["run", "--quiet", "-p", "switchyard-protocol", "--example", "typescript"]))?;
    if arguments.check {
        return compare(workspace, &generated);
    }
    let file = workspace.path(FILE);
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&file, generated).with_context(|| format!("writing {FILE}"))?;
    println!("wrote {FILE}");
    Ok(())
}

/// The same check with the generator that a build of the workspace left behind.
pub fn check_built(workspace: &Workspace) -> anyhow::Result<()> {
    compare(workspace, &process::read(&mut Command::new(workspace.product("examples/typescript")))?)
}

fn compare(workspace: &Workspace, generated: &str) -> anyhow::Result<()> {
    let present = fs::read_to_string(workspace.path(FILE)).with_context(|| format!("reading {FILE}"))?;
    if present == generated {
        return Ok(());
    }
    let line = present.lines().zip(generated.lines()).position(|(present, generated)| present != generated);
    let line = line.unwrap_or_else(|| present.lines().count().min(generated.lines().count())) + 1;
    bail!("{FILE} is not what crates/protocol says, from line {line} on: run `cargo xtask types`");
}
