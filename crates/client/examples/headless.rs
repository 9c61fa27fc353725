//! Fills a room: headless participants that publish until Ctrl-C, then leave.
//!
//! `cargo run -p switchyard-client --example headless -- --room demo --count 3 --media loop`

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use switchyard_client::{AudioLoop, Client, Encoding, Feedback, Latency, Media, Options, Publish, Sequence, Source, VideoLoop};
use tokio::time::{Instant, interval_at};

/// Headless participants in one room.
#[derive(Parser)]
struct Args {
    /// The server's signaling.
    #[arg(long, default_value = "ws://localhost:8080/v1/ws")]
    url: String,
    /// The room to enter.
    #[arg(long, default_value = "demo")]
    room: String,
    /// How many participants.
    #[arg(long, default_value_t = 1)]
    count: u32,
    /// What they publish.
    #[arg(long, value_enum, default_value_t = Kind::Loop)]
    media: Kind,
    /// Packets a second, of each participant's numbered packets.
    #[arg(long, default_value_t = 250)]
    rate: u32,
    /// Payload bytes of a numbered packet.
    #[arg(long, default_value_t = 1000)]
    bytes: usize,
    /// Numbered packets sent at once.
    #[arg(long, default_value_t = 1)]
    burst: u32,
    /// Speak MessagePack instead of JSON.
    #[arg(long)]
    msgpack: bool,
    /// Leave after this many seconds instead of at Ctrl-C.
    #[arg(long)]
    seconds: Option<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// VP8 and Opus that browsers show and play.
    Loop,
    /// Numbered packets.
    Sequence,
    /// Nothing: they only receive.
    None,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut clients = Vec::new();
    for number in 0..args.count {
        let options = Options {
            encoding: if args.msgpack { Encoding::MessagePack } else { Encoding::Json },
            publish: publications(&args, number).await?,
            feedback: if matches!(args.media, Kind::Loop) { Feedback::BROWSER } else { Feedback::default() },
            ..Options::new(&args.url, &args.room, format!("Headless {}", number + 1))
        };
        clients.push(Client::connect(options).await.with_context(|| format!("participant {}", number + 1))?);
    }
    println!("{} in {}; Ctrl-C leaves", clients.len(), args.room);

    let end = Instant::now() + Duration::from_secs(args.seconds.unwrap_or(u32::MAX.into()));
    let mut ticks = interval_at(Instant::now() + Duration::from_secs(1), Duration::from_secs(1));
    let mut before = 0;
    loop {
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                break;
            }
            () = tokio::time::sleep_until(end) => break,
            _ = ticks.tick() => before = print(&clients, before),
        }
    }
    for client in clients {
        client.leave().await?;
    }
    Ok(())
}

async fn publications(args: &Args, number: u32) -> anyhow::Result<Vec<Publish>> {
    let sequence = Sequence { packets_per_second: args.rate, bytes: args.bytes, burst: args.burst };
    Ok(match args.media {
        Kind::Loop => {
            let (audio, video) = tokio::try_join!(AudioLoop::test_tone(number), VideoLoop::test_pattern(number))?;
            vec![
                Publish::new(Source::Microphone, Media::Audio(Arc::new(audio))),
                Publish::new(Source::Camera, Media::Video(Arc::new(video))),
            ]
        }
        Kind::Sequence => vec![Publish::new(Source::Camera, Media::Sequence(sequence))],
        Kind::None => Vec::new(),
    })
}

/// One line about everybody: what came in the last second, and what was wrong since the beginning.
fn print(clients: &[Client], before: u64) -> u64 {
    let (mut received, mut lost, mut duplicated, mut reordered, mut strange) = (0, 0, 0, 0, 0);
    let mut latency = Latency::default();
    for client in clients {
        let report = client.report();
        for stream in report.streams.values() {
            received += stream.progress.received;
            lost += stream.progress.lost();
            duplicated += stream.progress.duplicated;
            reordered += stream.progress.reordered;
        }
        report.sequences.values().for_each(|sequence| latency.merge(&sequence.latency));
        strange += report.unknown_ssrc + report.misrouted;
    }
    print!("{:6} packets/s  lost {lost}  duplicated {duplicated}  reordered {reordered}", received.saturating_sub(before));
    if strange > 0 {
        print!("  unknown or misrouted {strange}");
    }
    if latency.count > 0 {
        let at = |share| latency.percentile_micros(share) as f64 / 1000.0;
        print!("  latency p50 {:.2} ms, p99 {:.2} ms", at(0.5), at(0.99));
    }
    println!();
    received
}
