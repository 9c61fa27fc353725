//! The server under load: one that runs already, or one that is started for the bench.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use switchyard_load::scenario::{Scenario, Transport};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::Common;

/// How long a server may take to listen.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// A server to put under load. One that was started ends when this is dropped.
pub struct Server {
    /// Where it is spoken to.
    pub url: String,
    /// Its process, if it is known.
    pub process: Option<u32>,
    _child: Option<Child>,
}

impl Server {
    /// The one that the arguments name, or a new one.
    pub async fn of(common: &Common, scenario: &Scenario) -> anyhow::Result<Self> {
        match &common.url {
            Some(url) => Ok(Self { url: url.clone(), process: common.server_pid, _child: None }),
            None => Self::start(common.server_workers, scenario.transport).await,
        }
    }

    async fn start(workers: Option<u8>, transport: Transport) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(program);
        command.args(["serve", "--dev", "--http", "127.0.0.1:0", "--media-port", "0", "--advertise", "127.0.0.1", "--log", "warn"]);
        if let Some(workers) = workers {
            command.args(["--workers", &workers.to_string()]);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().context("starting a server")?;
        let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        let ready = tokio::time::timeout(START_PATIENCE, lines.next_line()).await.context("the server does not begin to listen")??;
        let ready = ready.context("the server ended before it listened")?;
        // It may have more to say: somebody has to read it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let http = ready.strip_prefix("listening http=").and_then(|rest| rest.split(' ').next()).context("the server's first line")?;
        let url = match transport {
            Transport::Signaling => format!("ws://{http}/v1/ws"),
            Transport::Whip => format!("http://{http}"),
        };
        Ok(Self { url, process: child.id(), _child: Some(child) })
    }
}
