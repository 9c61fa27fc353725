//! Media past the peer connection, as the load bench sends and receives it.

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::Server;
use switchyard_client::{Arrival, Client, Media, Options, Outgoing, Publish, Sender, Sink, Source, SrtpProfile, Stamp, State, now_micros};

const PATIENCE: Duration = Duration::from_secs(20);
const FRAMES: u64 = 100;
const PACKETS: u64 = 5;

/// Counts stamped packets: how often each number came.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<u64, u32>>>);

impl Seen {
    fn numbers(&self) -> Vec<(u64, u32)> {
        self.0.lock().unwrap().iter().map(|(number, times)| (*number, *times)).collect()
    }
}

impl Sink for Seen {
    fn handle_packet(&mut self, arrival: &Arrival<'_>) -> bool {
        if let Some(stamp) = Stamp::read(arrival.payload) {
            *self.0.lock().unwrap().entry(stamp.counter).or_default() += 1;
            assert!(arrival.at_micros + 1_000_000 > stamp.sent_micros, "the clocks are one");
        }
        false
    }

    fn handle_lag(&mut self, _: u64) {}
}

async fn join(server: &Server, name: &str, publishes: bool, srtp: Option<SrtpProfile>) -> (Client, Seen) {
    let seen = Seen::default();
    let mut options = Options::new(server.url(), "demo", name);
    options.srtp = srtp;
    if publishes {
        options = options.publish(Publish::new(Source::Camera, Media::Silent));
    }
    (Client::connect_direct(options, Box::new(seen.clone()), None).await.expect("joined"), seen)
}

/// Pushes one frame of stamped packets; false while the transport is not there yet.
fn push(sender: &mut Sender, counter: &mut u64) -> bool {
    for index in 0..PACKETS {
        let stamp = Stamp { publisher: 1, publication: 0, counter: *counter, sent_micros: now_micros() };
        let payload = stamp.payload(sender.kind(), 1000 + usize::from(index >= 2));
        let outgoing =
            Outgoing { timestamp: *counter as u32 * 3000, marker: index + 1 == PACKETS, payload: payload.len(), audio_level: None };
        if !sender.push(&outgoing, |out| out.copy_from_slice(&payload)) {
            return false;
        }
        *counter += 1;
    }
    sender.flush();
    true
}

async fn every_packet_arrives(srtp: Option<SrtpProfile>) {
    let server = Server::start(&[]).await;
    let (publisher, _) = join(&server, "Ada", true, srtp).await;
    let (direct, seen) = join(&server, "Ben", false, srtp).await;
    let through = Client::connect(Options::new(server.url(), "demo", "Eve")).await.expect("joined");
    for client in [&publisher, &direct, &through] {
        client.wait_connected(PATIENCE).await.expect("connected");
    }
    for client in [&direct, &through] {
        client.wait_until(PATIENCE, |state: &State| state.slots.len() == 1).await.expect("the track is in a slot");
    }
    let track = *publisher.state().published.keys().next().expect("published");
    let mut sender = publisher.sender(track).await.expect("a sender");
    let mut counter = 0;
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..FRAMES {
        ticks.tick().await;
        assert!(push(&mut sender, &mut counter), "connected");
    }
    assert_eq!(sender.packets(), FRAMES * PACKETS);
    let complete =
        |report: &switchyard_client::Report| report.sequences.values().any(|sequence| sequence.progress.last + 1 == FRAMES * PACKETS);
    let report = through.wait_for_report(PATIENCE, complete).await.expect("everything came the usual way");
    let through = &report.sequences.values().next().expect("one track").progress;
    assert!(through.is_clean() && through.received == FRAMES * PACKETS, "{through:?}");
    let wanted: Vec<(u64, u32)> = (0..FRAMES * PACKETS).map(|number| (number, 1)).collect();
    tokio::time::timeout(PATIENCE, async {
        while seen.numbers() != wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("every packet once, not {:?}", seen.numbers()));
    // Who comes later is shown a keyframe, which the server asks for.
    let before = sender.keyframe_requests();
    let (late, _) = join(&server, "Fay", false, srtp).await;
    tokio::time::timeout(PATIENCE, async {
        while sender.keyframe_requests() == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("a request for a keyframe");
    for client in [publisher, direct, late] {
        client.leave().await.expect("left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_packet_arrives_once_past_the_peer_connection() {
    every_packet_arrives(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_packet_arrives_with_the_older_profile_too() {
    every_packet_arrives(Some(SrtpProfile::AesCm128HmacSha1)).await;
}
