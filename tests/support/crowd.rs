//! Two hundred headless participants beside whatever a test does, in rooms of four, who talk all the time: `crowd ws://…`.
//!
//! Says `ready` once everybody hears everybody in their room. Whenever it is told a time, in milliseconds since the epoch, it waits until everybody hears everybody with
//! something said after that, and says how long after it that was for each of them, in milliseconds, as JSON. Ends with its input.

#[path = "talker.rs"]
mod talker;

use std::time::Duration;

use anyhow::Context;
use futures_util::future::join_all;
use talker::Talker;

const ROOMS: usize = 50;
const IN_A_ROOM: usize = 4;
/// Between two packets of somebody.
const EVERY: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at what somebody hears.
const LOOK: Duration = Duration::from_millis(20);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(std::io::stderr).init();
    let url = std::env::args().nth(1).context("the WebSocket's URL is missing")?;
    let mut talkers = Vec::new();
    for room in 0..ROOMS {
        let (url, id) = (&url, format!("crowd-{room}"));
        let enter = |number: usize| {
            let id = &id;
            async move { Talker::enter(url, id, &format!("{number} of {room}"), EVERY, (room * IN_A_ROOM + number) as u64).await }
        };
        talkers.extend(join_all((0..IN_A_ROOM).map(enter)).await);
    }
    join_all(talkers.iter().map(|talker| talker.hears(IN_A_ROOM - 1, PATIENCE))).await;
    println!("ready");
    // Only this thread waits for it, and everybody else has others.
    for line in std::io::stdin().lines() {
        let since: u64 = line?.trim().parse().context("not a time")?;
        let took = join_all(talkers.iter().map(|talker| hears_all(talker, since * 1000))).await;
        println!("{took:?}");
    }
    Ok(())
}

/// How long after `since`, which is in microseconds, somebody hears everybody, in milliseconds.
async fn hears_all(talker: &Talker, since: u64) -> u64 {
    loop {
        let voices = talker.hears(IN_A_ROOM - 1, PATIENCE).await;
        if let Some(first) = voices.values().map(|voice| voice.first).min().filter(|first| *first > since) {
            return (voices.values().map(|voice| voice.first).fold(first, u64::max) - since) / 1000;
        }
        tokio::time::sleep(LOOK).await;
    }
}
