//! The browser side: installing npm packages, building and testing the web app.

use std::fs;

use anyhow::{Context, bail};

use crate::process;
use crate::tally::{Format, Tally};
use crate::workspace::Workspace;

/// Installs the packages of the SDK and the app, if the lock file has changed since the last time.
pub fn install(workspace: &Workspace) -> anyhow::Result<()> {
    install_in(workspace, "web")
}

/// Builds the SDK and the app into `web/app/dist`, which the server embeds.
pub fn build(workspace: &Workspace) -> anyhow::Result<()> {
    process::run(&mut workspace.npm("web", &["run", "--silent", "build"]))?;
    if !workspace.path("web/app/dist/index.html").exists() {
        bail!("the build of the web app made no web/app/dist/index.html");
    }
    Ok(())
}

/// Builds the web app if there is none yet, for tasks that only need one to embed.
pub fn ensure_built(workspace: &Workspace) -> anyhow::Result<()> {
    if workspace.path("web/app/dist/index.html").exists() {
        return Ok(());
    }
    install(workspace)?;
    build(workspace)
}

/// The compiler's and the linter's opinion of the TypeScript.
pub fn check(workspace: &Workspace) -> anyhow::Result<()> {
    process::run(&mut workspace.npm("web", &["run", "--silent", "check"]))?;
    process::run(&mut workspace.npm("web", &["run", "--silent", "--if-present", "lint"]))
}

/// The unit tests of the SDK and the app.
pub fn test(workspace: &Workspace) -> anyhow::Result<Tally> {
    let mut command = workspace.npm("web", &["test", "--silent"]);
    Tally::of(Format::Vitest, command.env("NO_COLOR", "1"))
}

/// `npm ci` in a folder, unless a copy of its lock file in `node_modules` says that it was done.
pub fn install_in(workspace: &Workspace, folder: &str) -> anyhow::Result<()> {
    let lock = fs::read(workspace.path(folder).join("package-lock.json")).with_context(|| format!("reading {folder}/package-lock.json"))?;
    let installed = workspace.path(folder).join("node_modules/.installed-lock.json");
    if fs::read(&installed).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    process::run(&mut workspace.npm(folder, &["ci", "--no-audit", "--no-fund", "--loglevel=error"]))?;
    // A package without dependencies leaves no folder behind.
    fs::create_dir_all(workspace.path(folder).join("node_modules"))?;
    fs::write(&installed, lock).with_context(|| format!("writing {}", installed.display()))
}
