//! The other process: headless participants, or bare publishers and bare sockets.

use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use switchyard_client::{Arrival, Client, Media, Options, Outgoing, Publish, Sender, Sink, Source, now_micros};
use tokio::net::UdpSocket;

use super::Pattern;

const PATIENCE: Duration = Duration::from_secs(60);

/// Counts packets.
struct Count(Arc<AtomicU64>);

impl Sink for Count {
    fn handle_packet(&mut self, _: &Arrival<'_>) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        false
    }

    fn handle_lag(&mut self, _: u64) {}
}

/// Participants with real peer connections, the first of which publish.
pub fn clients(url: &str, pattern: Pattern) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let (received, sending) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let clients = try_join_all((0..pattern.participants).map(|number| {
            let mut options = Options::new(url, "bench", format!("participant {number}"));
            if number < pattern.publishers {
                options = options.publish(Publish::new(Source::Camera, Media::Silent));
            }
            Client::connect_direct(options, Box::new(Count(received.clone())), None)
        }))
        .await?;
        for (number, client) in clients.iter().enumerate() {
            let others = pattern.publishers - usize::from(number < pattern.publishers);
            client.wait_connected(PATIENCE).await?;
            client.wait_until(PATIENCE, |state| state.slots.len() == others).await?;
        }
        for (number, client) in clients[..pattern.publishers].iter().enumerate() {
            let track = *client.state().published.keys().next().expect("published");
            tokio::spawn(publish(pattern, number, sending.clone(), client.sender(track).await?));
        }
        serve(&received, &sending).await
    })
}

/// Sends what is due while it is to, without catching up what was due while it was not.
async fn publish(pattern: Pattern, number: usize, sending: Arc<AtomicBool>, mut sender: Sender) -> anyhow::Result<()> {
    let mut model = pattern.model(number)?;
    let (mut payload, mut answered) = (Vec::new(), 0);
    loop {
        let now = Instant::now();
        if sender.keyframe_requests() != answered && model.request_keyframe(now, 0) {
            answered = sender.keyframe_requests();
        }
        while let Some(packet) = model.poll(now) {
            packet.write(number as u32, now_micros(), &mut payload);
            let outgoing = Outgoing { timestamp: packet.timestamp, marker: packet.marker, payload: payload.len(), audio_level: None };
            if sending.load(Ordering::Relaxed) {
                sender.push(&outgoing, |out| out.copy_from_slice(&payload));
            }
        }
        sender.flush();
        tokio::time::sleep_until(model.poll_timeout().expect("never ends").into()).await;
    }
}

/// Bare publishers to `server`, and sockets that receive, whose addresses are told first.
pub fn sinks(server: SocketAddr, pattern: Pattern) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let (received, sending) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        for _ in 0..pattern.participants {
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
        for number in 0..pattern.publishers {
            tokio::spawn(publish_bare(pattern, number, server, sending.clone()));
        }
        serve(&received, &sending).await
    })
}

async fn publish_bare(pattern: Pattern, number: usize, server: SocketAddr, sending: Arc<AtomicBool>) -> anyhow::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let mut model = pattern.model(number)?;
    loop {
        let now = Instant::now();
        while let Some(packet) = model.poll(now) {
            // A header, and what sealing adds.
            let mut datagram = vec![0x80; 12 + usize::from(packet.payload_len) + 16];
            datagram[12] = number as u8;
            if sending.load(Ordering::Relaxed) {
                socket.send_to(&datagram, server).await?;
            }
        }
        tokio::time::sleep_until(model.poll_timeout().expect("never ends").into()).await;
    }
}

/// Does what the parent says.
async fn serve(received: &AtomicU64, sending: &AtomicBool) -> anyhow::Result<()> {
    say("ready")?;
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        match line.as_str() {
            "start" => sending.store(true, Ordering::Relaxed),
            "stop" => sending.store(false, Ordering::Relaxed),
            _ => say(received.load(Ordering::Relaxed))?,
        }
    }
    Ok(())
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
