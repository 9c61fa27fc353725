//! The other process: headless participants, or a bare publisher and bare sockets.

use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;
use switchyard_client::{Client, Feedback, Media, Options, Publish, Sequence, Source};
use tokio::net::UdpSocket;
use tokio::time::{MissedTickBehavior, interval};

use super::{BURST, PAYLOAD, RATE};

const PATIENCE: Duration = Duration::from_secs(60);

/// One participant that publishes, `count` that receive, all as real peer connections.
pub fn clients(url: &str, count: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let sequence = Sequence { packets_per_second: RATE, bytes: PAYLOAD, burst: BURST };
        let mut options = Options::new(url, "bench", "publisher").publish(Publish::new(Source::Camera, Media::Sequence(sequence)));
        options.sending = false;
        options.feedback = Feedback::BROWSER;
        let publisher = Client::connect(options).await?;
        publisher.wait_connected(PATIENCE).await?;
        let subscribers = try_join_all((0..count).map(|number| {
            let mut options = Options::new(url, "bench", format!("subscriber {number}"));
            options.feedback = Feedback::BROWSER;
            Client::connect(options)
        }))
        .await?;
        for subscriber in &subscribers {
            subscriber.wait_connected(PATIENCE).await?;
            subscriber.wait_until(PATIENCE, |state| !state.slots.is_empty()).await?;
        }
        say("ready")?;
        let mut lines = lines();
        while let Some(line) = lines.recv().await {
            match line.as_str() {
                "start" => publisher.set_sending(true).await?,
                "stop" => publisher.set_sending(false).await?,
                _ => {
                    let received = |client: &Client| client.report().streams.values().map(|stream| stream.progress.received).sum::<u64>();
                    say(subscribers.iter().map(received).sum::<u64>())?;
                }
            }
        }
        Ok(())
    })
}

/// A bare publisher to `server`, and `count` sockets that receive, whose addresses are told first.
pub fn sinks(server: SocketAddr, count: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let received = Arc::new(AtomicU64::new(0));
        for _ in 0..count {
            let sink = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            say(sink.local_addr()?)?;
            let received = received.clone();
            tokio::spawn(async move {
                let mut bytes = [0; 2048];
                while sink.recv(&mut bytes).await.is_ok() {
                    received.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let sending = Arc::new(AtomicBool::new(false));
        tokio::spawn(publish(server, sending.clone()));
        let mut lines = lines();
        while let Some(line) = lines.recv().await {
            match line.as_str() {
                "start" => sending.store(true, Ordering::Relaxed),
                "stop" => sending.store(false, Ordering::Relaxed),
                _ => say(received.load(Ordering::Relaxed))?,
            }
        }
        Ok(())
    })
}

async fn publish(server: SocketAddr, sending: Arc<AtomicBool>) -> anyhow::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let mut ticks = interval(Duration::from_secs(1) * BURST / RATE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if sending.load(Ordering::Relaxed) {
            for _ in 0..BURST {
                // A header and what is added by sealing, too.
                socket.send_to(&[0x80; 12 + PAYLOAD], server).await?;
            }
        }
    }
}

fn say(what: impl std::fmt::Display) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what}")?;
    Ok(out.flush()?)
}

/// What the parent says, until it has nothing more to say.
fn lines() -> tokio::sync::mpsc::Receiver<String> {
    let (tell, told) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if tell.blocking_send(line).is_err() {
                return;
            }
        }
    });
    told
}
