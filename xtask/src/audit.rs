//! cargo-deny: licences, sources and banned crates by deny.toml, and known vulnerabilities where their list can be had.

use crate::process;
use crate::workspace::Workspace;

const VERSION: &str = "0.20.2";

/// Fails on a breach of deny.toml or a known vulnerability; returns what could not be checked.
pub fn check(workspace: &Workspace) -> anyhow::Result<Option<String>> {
    let mut program = "cargo-deny".to_owned();
    if !process::succeeds(std::process::Command::new(&program).arg("--version")) {
        let root = workspace.tools();
        program = root.join("bin/cargo-deny").to_string_lossy().into_owned();
        if !process::succeeds(std::process::Command::new(&program).arg("--version")) {
            println!("installing cargo-deny {VERSION} below {}", root.display());
            // Unoptimised: a minute and a half sooner there, and a second slower at work. An own target folder would be built anew
            // each time cargo's temporary one is removed, but once installed it is not needed again.
            let mut install = workspace.cargo(&["install", "cargo-deny", "--version", VERSION, "--locked", "--debug", "--quiet", "--root"]);
            process::run(install.arg(&root).env("CARGO_PROFILE_DEV_DEBUG", "0"))?;
        }
    }
    let deny = |arguments: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command.current_dir(workspace.path(".")).args(["--all-features", "--locked"]).args(arguments);
        command
    };
    process::run(&mut deny(&["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))?;
    if !process::succeeds(&mut deny(&["fetch", "db"])) {
        let notice = "known vulnerabilities were NOT checked: the advisory database can't be fetched";
        println!("{notice}");
        return Ok(Some(notice.to_owned()));
    }
    process::run(&mut deny(&["check", "advisories"])).map(|()| None)
}
