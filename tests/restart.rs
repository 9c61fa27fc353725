//! A server that is killed and started again: everybody is back by themselves, in their rooms and with what they sent.

mod support;
#[path = "support/talker.rs"]
mod talker;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use support::Server;
use switchyard_client::{Client, ClientEvent, Options, State, Transport, now_micros};
use talker::{Talker, Voice};

const PATIENCE: Duration = Duration::from_secs(60);
/// In which people have media again, 95 of 100 of them.
const BACK: Duration = Duration::from_secs(10);
const ROOM: usize = 10;
const SEED: u64 = 5;

/// Of durations in microseconds, in milliseconds: the median, the 95th percentile and the longest.
fn figures(mut micros: Vec<u64>) -> [u64; 3] {
    micros.sort_unstable();
    [50, 95, 100].map(|percent| micros[(micros.len() * percent).div_ceil(100) - 1] / 1000)
}

fn names(state: &State) -> BTreeSet<String> {
    state.participants.values().map(|participant| participant.name.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_people_hear_each_other_again_within_ten_seconds() {
    println!("seed {SEED}");
    let mut server = Server::start(&[]).await;
    let mut talkers: Vec<Talker> = Vec::new();
    for room in 0..20 {
        let (url, id) = (server.url(), format!("room-{room}"));
        let entering = (0..ROOM).map(|number| {
            let (url, id) = (&url, &id);
            async move {
                let seed = SEED + (room * ROOM + number) as u64;
                Talker::enter(url, id, &format!("{number} of {room}"), Duration::from_millis(100), seed).await
            }
        });
        talkers.extend(join_all(entering).await);
    }
    join_all(talkers.iter().map(|talker| talker.hears(ROOM - 1, PATIENCE))).await;
    let before: Vec<State> = talkers.iter().map(|talker| talker.client.state()).collect();
    let mut events: Vec<_> = talkers.iter().map(|talker| talker.client.events()).collect();

    let killed = now_micros();
    server.kill().await;
    server.start_again(&[]).await;
    let listening = now_micros();
    let back = join_all(talkers.iter().zip(&mut events).map(|(talker, events)| async move {
        let rejoined = async {
            while !matches!(events.recv().await, Ok(ClientEvent::Rejoined { .. })) {}
            now_micros()
        };
        let joined = tokio::time::timeout(PATIENCE, rejoined).await.expect("joined again");
        // What was heard before the loss is soon forgotten: whoever is heard has talked after it.
        let since = |voices: &BTreeMap<u32, Voice>| voices.values().all(|voice| voice.first > killed);
        loop {
            let voices = talker.hears(ROOM - 1, PATIENCE).await;
            if since(&voices) {
                let first = voices.values().map(|voice| voice.first).min().expect("somebody");
                let all = voices.values().map(|voice| voice.first).max().expect("somebody");
                return (joined, first, all);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }))
    .await;

    for (talker, before) in talkers.iter().zip(&before) {
        let after = talker.client.state();
        assert_eq!((&after.room, names(&after)), (&before.room, names(before)), "the same people in the same room");
        assert!(after.negotiation.failed == 0 && !after.reconnecting, "{after:?}");
    }
    for (what, from) in [("the kill", killed), ("listening again", listening)] {
        let figures = [
            figures(back.iter().map(|(joined, ..)| joined.saturating_sub(from)).collect()),
            figures(back.iter().map(|(_, first, _)| first.saturating_sub(from)).collect()),
            figures(back.iter().map(|(.., all)| all.saturating_sub(from)).collect()),
        ];
        println!(
            "ms after {what} (p50, p95, max): joined {:?}, somebody heard {:?}, everybody heard {:?}",
            figures[0], figures[1], figures[2]
        );
        assert!(Duration::from_millis(figures[2][1]) <= BACK, "everybody heard after {what}: {:?}", figures[2]);
    }
    println!("the server was away for {} ms", (listening - killed) / 1000);
}

/// The storm alone: nobody sends.
#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_at_once_all_come_back() {
    println!("seed {SEED}");
    let mut server = Server::start(&[]).await;
    let mut clients = Vec::new();
    for room in 0..50 {
        let url = server.url();
        clients.extend(
            join_all((0..ROOM).map(|number| {
                let mut options = Options::new(&url, format!("room-{room}"), format!("{number} of {room}"));
                options.seed = SEED + (room * ROOM + number) as u64;
                async move { Client::connect(options).await.expect("joined") }
            }))
            .await,
        );
    }
    join_all(clients.iter().map(|client| async { drop(client.wait_connected(PATIENCE).await.expect("connected")) })).await;
    let mut events: Vec<_> = clients.iter().map(Client::events).collect();

    server.kill().await;
    server.start_again(&[]).await;
    let listening = now_micros();
    let back = join_all(clients.iter().zip(&mut events).map(|(client, events)| async move {
        let rejoined = async {
            while !matches!(events.recv().await, Ok(ClientEvent::Rejoined { .. })) {}
            now_micros() - listening
        };
        let joined = tokio::time::timeout(PATIENCE, rejoined).await.expect("joined again");
        client.wait_until(PATIENCE, |state| state.transport == Transport::Connected).await.expect("connected again");
        (joined, now_micros() - listening)
    }))
    .await;
    for client in &clients {
        client.wait_until(PATIENCE, |state| state.participants.len() == ROOM - 1).await.expect("everybody in the room");
    }
    let [joined, connected] =
        [figures(back.iter().map(|(joined, _)| *joined).collect()), figures(back.iter().map(|(_, connected)| *connected).collect())];
    println!("ms after listening again (p50, p95, max): joined {joined:?}, connected {connected:?}");
}
