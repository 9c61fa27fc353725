//! Running other programs.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// Runs a program whose output goes to the terminal as it is; an exit code other than 0 is an error.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("starting {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs a program and hands each line that it writes, to stdout or stderr, to `line`, after writing it to the terminal.
/// Both streams share one pipe, which keeps their order. Returns whether the program ended with 0.
pub fn watch(command: &mut Command, mut line: impl FnMut(&str)) -> anyhow::Result<bool> {
    let what = shown(command);
    let (reader, writer) = io::pipe().context("making a pipe")?;
    let mut child =
        command.stdout(writer.try_clone()?).stderr(writer).stdin(Stdio::null()).spawn().with_context(|| format!("starting {what}"))?;
    // The command keeps the pipe's writing ends open, and with them this side waiting, until it is given others.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut reader = BufReader::new(reader);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes)? > 0 {
        io::stdout().write_all(&bytes)?;
        line(String::from_utf8_lossy(&bytes).trim_end());
        bytes.clear();
    }
    Ok(child.wait().with_context(|| format!("waiting for {what}"))?.success())
}

/// What a program writes to stdout; an exit code other than 0 is an error that shows what it wrote to stderr.
pub fn read(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {}", shown(command)))?;
    if !output.status.success() {
        bail!("{} ended with {}:\n{}", shown(command), output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} wrote something other than UTF-8", shown(command)))
}

/// Whether a program can be started and ends with 0.
pub fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// A command as one would type it.
pub fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let mut text = program.to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}
