//! Where things are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

/// The checkout that this program was built from.
pub struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// The workspace around this crate; its target folder is the one that this program runs from.
    pub fn find() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace's root")?.to_path_buf();
        let program = env::current_exe().context("finding the target folder")?;
        let target = program.ancestors().nth(2).context("xtask runs from <target>/<profile>/xtask")?.to_path_buf();
        Ok(Self { root, target })
    }

    /// A path below the root.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// A product of a development build, such as `switchyard` or `examples/typescript`.
    pub fn product(&self, name: &str) -> PathBuf {
        self.target.join("debug").join(name)
    }

    /// A product of a release build.
    pub fn release_product(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// Where tools that only this program uses are installed.
    pub fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// Where the results of measurements go.
    pub fn results(&self) -> PathBuf {
        self.target.join("bench")
    }

    /// The cargo that runs this program, to be run in the root.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root).args(arguments);
        command
    }

    /// npm in a folder below the root.
    pub fn npm(&self, folder: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("npm");
        command.current_dir(self.path(folder)).args(arguments);
        command
    }
}
