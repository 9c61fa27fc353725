//! The server under load: one that runs already, or one that is started for the bench.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use switchyard_load::run::{Endpoints, Target};
use switchyard_load::scenario::{Scenario, Transport};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::Common;

/// How long a server may take to listen.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// A server to put under load. One that was started ends when this is dropped.
pub struct Server {
    /// Where it is spoken to.
    pub target: Target,
    /// Its process, if it is known.
    pub process: Option<u32>,
    _child: Option<Child>,
}

impl Server {
    /// The one that the arguments name, or a new one.
    pub async fn of(common: &Common, scenario: &Scenario) -> anyhow::Result<Self> {
        match target(common, scenario.transport)? {
            Some(target) => Ok(Self { target, process: common.server_pid, _child: None }),
            None => Self::start(common.server_workers, scenario.transport).await,
        }
    }

    async fn start(workers: Option<u8>, transport: Transport) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(program);
        command.args(["serve", "--dev", "--http", "127.0.0.1:0", "--media-port", "0", "--advertise", "127.0.0.1", "--log", "warn"]);
        // Everybody is heard and seen: what is measured is forwarding.
        command.args(["--heard", "56", "--shown", "56"]);
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
        let target = match transport {
            Transport::Signaling => Target::Signaling(format!("ws://{http}/v1/ws")),
            Transport::Whip => Target::Http(Endpoints::of_switchyard(&format!("http://{http}"))),
        };
        Ok(Self { target, process: child.id(), _child: Some(child) })
    }
}

/// The server that the arguments name, if they name one.
pub fn target(common: &Common, transport: Transport) -> anyhow::Result<Option<Target>> {
    if let (Some(whip), Some(whep)) = (&common.whip_url, &common.whep_url) {
        anyhow::ensure!(
            transport == Transport::Whip,
            "--whip-url: this scenario speaks Switchyard's own signaling; one with `transport = \"whip\"` speaks WHIP"
        );
        return Ok(Some(Target::Http(Endpoints::new(whip, whep)?)));
    }
    let Some(url) = &common.url else { return Ok(None) };
    let (scheme, target) = match transport {
        Transport::Signaling => ("ws://", Target::Signaling(url.clone())),
        Transport::Whip => ("http://", Target::Http(Endpoints::of_switchyard(url))),
    };
    anyhow::ensure!(url.starts_with(scheme), "--url {url}: this scenario speaks to a {scheme} address");
    Ok(Some(target))
}
