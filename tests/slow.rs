//! One participant who takes too little: nobody else notices, and what waits for it is bounded.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::{Server, Socket};
use switchyard_client::{
    Arrival, Client, ClientEvent, DataPayload, Lines, Media, Options, Outgoing, Publish, Sender, Sink, Source, Stamp, State, Transport,
    now_micros,
};
use switchyard_netem::Config;
use switchyard_protocol::{Encoding, Event, Request};
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(30);
const SUBSCRIBERS: usize = 6;
/// A frame of so many packets of so many bytes, 25 times a second: 1.2 Mbit/s.
const PACKETS: u64 = 5;
const BYTES: usize = 1_200;
const FRAME: Duration = Duration::from_millis(40);
const PHASE: Duration = Duration::from_secs(4);
/// Once is enough: what disturbs a machine now and then disturbs not all of them.
const ROUNDS: usize = 4;

fn slow_line() -> Lines {
    Lines { up: Config::default(), down: "rate=100kbit/s,queue=200ms".parse().expect("a line"), seed: 1 }
}

/// How late stamped packets came, in microseconds, and how often each.
#[derive(Clone, Default)]
struct Late(Arc<Mutex<Vec<(u64, u64)>>>);

impl Sink for Late {
    fn handle_packet(&mut self, arrival: &Arrival<'_>) -> bool {
        if let Some(stamp) = Stamp::read(arrival.payload) {
            self.0.lock().unwrap().push((stamp.counter, arrival.at_micros.saturating_sub(stamp.sent_micros)));
        }
        false
    }

    fn handle_lag(&mut self, _: u64) {}
}

impl Late {
    fn take(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

async fn watcher(server: &Server, name: &str, lines: Option<Lines>) -> (Client, Late) {
    let late = Late::default();
    let client = Client::connect_direct(Options::new(server.url(), "demo", name), Box::new(late.clone()), lines).await.expect("joined");
    let there = |state: &State| state.transport == Transport::Connected && state.slots.len() == 1;
    client.wait_until(PATIENCE, there).await.expect("connected, and the track in a slot");
    (client, late)
}

/// Sends frames for a while; the numbers of the packets that were sent.
async fn send(sender: &mut Sender, counter: &mut u64, duration: Duration) -> std::ops::Range<u64> {
    let first = *counter;
    let mut ticks = tokio::time::interval(FRAME);
    for _ in 0..duration.as_millis() / FRAME.as_millis() {
        ticks.tick().await;
        for index in 0..PACKETS {
            let stamp = Stamp { publisher: 1, publication: 0, counter: *counter, sent_micros: now_micros() };
            let payload = stamp.payload(sender.kind(), BYTES);
            let frame = (*counter / PACKETS) as u32;
            let outgoing = Outgoing { timestamp: frame * 3_600, marker: index + 1 == PACKETS, payload: payload.len(), audio_level: None };
            assert!(sender.push(&outgoing, |out| out.copy_from_slice(&payload)), "connected");
            *counter += 1;
        }
        sender.flush();
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    first..*counter
}

/// The 99th percentile of all, after a check that everybody got everything once.
fn p99(watchers: &[(Client, Late)], sent: std::ops::Range<u64>) -> u64 {
    let mut all = Vec::new();
    for (client, late) in watchers {
        let mut seen = late.take();
        all.extend(seen.iter().map(|(_, micros)| *micros));
        seen.sort_unstable();
        let numbers: Vec<u64> = seen.into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, sent.clone().collect::<Vec<_>>(), "what {:?} got", client.id());
    }
    all.sort_unstable();
    all[all.len() * 99 / 100]
}

/// Joins, and reads nothing any more while others talk.
async fn stalled_reader(server: &Server) -> Socket {
    let mut socket = server.connect(Encoding::Json).await;
    socket.join("demo", "Stalled").await;
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_line_and_a_stalled_reader_delay_and_cost_nobody_else_anything() {
    let server = Server::start(&[]).await;
    let publish = Publish::new(Source::Camera, Media::Silent);
    let publisher = Client::connect_direct(Options::new(server.url(), "demo", "Ada").publish(publish), Box::new(Late::default()), None);
    let publisher = publisher.await.expect("joined");
    publisher.wait_connected(PATIENCE).await.expect("connected");
    let mut watchers = Vec::new();
    for n in 0..SUBSCRIBERS {
        watchers.push(watcher(&server, &format!("Watcher {n}"), None).await);
    }
    let track = *publisher.state().published.keys().next().expect("published");
    let (mut sender, mut counter) = (publisher.sender(track).await.expect("a sender"), 0);
    send(&mut sender, &mut counter, Duration::from_secs(1)).await;
    watchers.iter().for_each(|(_, late)| drop(late.take()));
    let mut worse = Vec::new();
    for _ in 0..ROUNDS {
        let sent = send(&mut sender, &mut counter, PHASE).await;
        let without = p99(&watchers, sent);
        let slow = watcher(&server, "Slow", Some(slow_line())).await;
        let stalled = stalled_reader(&server).await;
        // What is said to all waits for the reader that has stopped, and data for the slow line.
        let (talking, mut stop) = watch::channel(());
        let (mut talker, _) = server.join("demo", "Talker").await;
        let talks = tokio::spawn(async move {
            let text = "x".repeat(4_000);
            while tokio::time::timeout(Duration::from_millis(100), stop.changed()).await.is_err() {
                let _ = talker.request(Request::Chat { text: text.clone(), to: None }).await;
            }
        });
        for _ in 0..40 {
            publisher.send_binary(Some(slow.0.id()), &[1; 8_000]).await.expect("sent");
        }
        let sent = send(&mut sender, &mut counter, PHASE).await;
        let with = p99(&watchers, sent);
        println!("p99 {without} µs without the slow ones, {with} µs with them");
        assert!(!slow.1.take().is_empty(), "the slow one gets something");
        worse.push(with.saturating_sub(without));
        drop(talking);
        talks.await.expect("said");
        slow.0.leave().await.expect("left");
        drop(stalled);
    }
    // Others use this machine as well: half of the rounds.
    worse.sort_unstable();
    assert!(worse[(worse.len() - 1) / 2] <= 5_000, "the others' p99 rises by {worse:?} µs");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_falls_a_megabyte_behind_misses_messages_and_is_told_how_many() {
    const MESSAGES: usize = 300;
    const LEN: usize = 8_000;
    let server = Server::start(&[]).await;
    let ada = Client::connect(Options::new(server.url(), "demo", "Ada")).await.expect("joined");
    ada.wait_connected(PATIENCE).await.expect("connected");
    let line = Lines { up: Config::default(), down: "rate=2Mbit/s,queue=200ms".parse().expect("a line"), seed: 1 };
    let options = Options::new(server.url(), "demo", "Slow");
    let slow = Client::connect_direct(options, Box::new(Late::default()), Some(line)).await.expect("joined");
    slow.wait_connected(PATIENCE).await.expect("connected");
    let mut events = slow.events();
    for number in 0..MESSAGES as u32 {
        let mut message = number.to_be_bytes().to_vec();
        message.resize(LEN, 1);
        ada.send_binary(Some(slow.id()), &message).await.expect("sent");
    }
    let (mut numbers, mut missed) = (Vec::new(), 0);
    while numbers.len() + missed < MESSAGES {
        match tokio::time::timeout(PATIENCE, events.recv()).await.expect("all came or are told of").expect("an event") {
            ClientEvent::Data(message) => match message.payload {
                DataPayload::Binary(bytes) => numbers.push(u32::from_be_bytes(bytes[..4].try_into().unwrap())),
                DataPayload::Text(text) => panic!("{text}"),
            },
            ClientEvent::Room(Event::DataMissed { messages }) => missed += messages as usize,
            _ => {}
        }
    }
    println!("{} came, {missed} are told of", numbers.len());
    assert!(missed > 0 && numbers.len() * LEN > 1_000_000, "{missed} of {MESSAGES} missed");
    assert!(numbers.is_sorted_by(|a, b| a < b), "in order");
}
