//! A server that is killed and started again: everybody is back by themselves, in their rooms and with what they sent.

mod support;
#[path = "support/talker.rs"]
mod talker;

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use support::Server;
use switchyard_client::{Client, ClientEvent, Options, State, Transport, now_micros};
use talker::{EVERYBODY, Talker};
use tokio::sync::broadcast;

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
    let mut server = Server::start_to_be_killed(&EVERYBODY).await;
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
    // Started again at once, and when everybody has tried for a while.
    for away in [Duration::ZERO, Duration::from_secs(3)] {
        crash(&mut server, &talkers, away).await;
    }
}

/// Kills the server, starts it again after a while and checks that everybody hears everybody as before, soon.
async fn crash(server: &mut Server, talkers: &[Talker], away: Duration) {
    let before: Vec<State> = talkers.iter().map(|talker| talker.client.state()).collect();
    let mut events: Vec<_> = talkers.iter().map(|talker| talker.client.events()).collect();
    let killed = now_micros();
    server.kill().await;
    tokio::time::sleep(away).await;
    server.start_again(&EVERYBODY).await;
    let listening = now_micros();
    let back = join_all(talkers.iter().zip(&mut events).map(|(talker, events)| async move {
        let joined = rejoined(events).await;
        // What was heard before the loss is soon forgotten: whoever is heard has talked after it.
        loop {
            let voices = talker.hears(ROOM - 1, PATIENCE).await;
            if voices.values().all(|voice| voice.first > killed) {
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
    println!("the server was away for {} ms", (listening - killed) / 1000);
    for (what, from) in [("the kill", killed), ("listening again", listening)] {
        let since = |at: fn(&(u64, u64, u64)) -> u64| figures(back.iter().map(|back| at(back).saturating_sub(from)).collect());
        let (joined, somebody, everybody) = (since(|back| back.0), since(|back| back.1), since(|back| back.2));
        println!("ms after {what} (p50, p95, max): joined {joined:?}, somebody heard {somebody:?}, everybody heard {everybody:?}");
        assert!(Duration::from_millis(everybody[1]) <= BACK, "everybody heard after {what}: {everybody:?}");
    }
}

/// When a client is in another session.
async fn rejoined(events: &mut broadcast::Receiver<ClientEvent>) -> u64 {
    let rejoined = async {
        loop {
            match events.recv().await {
                Ok(ClientEvent::Rejoined { .. }) => return now_micros(),
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => panic!("the session is over"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, rejoined).await.expect("joined again")
}

/// The storm alone: nobody sends.
#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_at_once_all_come_back() {
    println!("seed {SEED}");
    let mut server = Server::start_to_be_killed(&[]).await;
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
    server.start_again(&EVERYBODY).await;
    let listening = now_micros();
    let back = join_all(clients.iter().zip(&mut events).map(|(client, events)| async move {
        let joined = rejoined(events).await - listening;
        client.wait_until(PATIENCE, |state| state.transport == Transport::Connected).await.expect("connected again");
        (joined, now_micros() - listening)
    }))
    .await;
    for client in &clients {
        client.wait_until(PATIENCE, |state| state.participants.len() == ROOM - 1).await.expect("everybody in the room");
    }
    let mut times: Vec<u64> = back.iter().map(|(joined, _)| *joined).collect();
    times.sort_unstable();
    let within_a_second = |first: &u64| times.iter().filter(|time| (*first..*first + 1_000_000).contains(time)).count();
    let most = times.iter().map(within_a_second).max().expect("somebody");
    let [joined, connected] = [figures(times), figures(back.iter().map(|(_, connected)| *connected).collect())];
    println!("ms after listening again (p50, p95, max): joined {joined:?}, connected {connected:?}; within a second at most {most} joined");
    assert!(Duration::from_millis(connected[1]) <= BACK, "connected: {connected:?}");
    // Fifty a second for each core, and eight at once; half more, because those are the times at which their answers were read.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    assert!(most <= (50 * cores + 8) * 3 / 2, "{most} joined within a second");
}
