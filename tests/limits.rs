//! What no line carries is not sent by its publisher, and is again once one does.

#[path = "support/camera.rs"]
mod camera;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use camera::{Camera, ENCODINGS, Part};
use support::Server;
use switchyard_client::{Arrival, Client, Feedback, Lines, Options, Sink, State};
use switchyard_netem::Config;
use tokio::sync::watch;

/// The middle encoding fits, the large one doesn't; until the line widens.
const LINE: &str = "delay=20ms,rate=500kbit/s,rate@25s=4Mbit/s";
const WIDENS: Duration = Duration::from_secs(25);
/// For the line to be found to carry more: a second or two, unless the machine is so busy that it looks like the line's jitter.
const FOUND: Duration = Duration::from_secs(60);
/// From the message to the publisher until it is seen.
const COMES: Duration = Duration::from_millis(500);
const MIDDLE: u8 = 1;
const LARGE: u8 = 2;

/// Which encoding comes.
struct Eye(watch::Sender<Option<u8>>);

impl Sink for Eye {
    fn handle_packet(&mut self, arrival: &Arrival<'_>) -> bool {
        let Some(part) = Part::read(arrival.payload) else { return false };
        self.0.send_if_modified(|latest| latest.replace(part.encoding) != Some(part.encoding));
        false
    }

    fn handle_lag(&mut self, _: u64) {}
}

/// What a camera's publisher is told to send at most.
async fn told(camera: &Client, patience: Duration, wanted: (u16, u16)) {
    let is_told = |state: &State| state.published.values().all(|published| published.wanted == wanted);
    camera.wait_until(patience, is_told).await.expect("told");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoding_that_no_line_carries_is_not_sent_and_is_seen_half_a_second_after_its_publisher_hears_that_one_does() {
    let server = Server::start(&[]).await;
    let (unseen, _) = watch::channel(None);
    let Camera { client: camera, encodings } = Camera::join(&server, 0, Box::new(Eye(unseen))).await.expect("joined");
    // As browsers do: an encoding is sent if none smaller covers what is wanted.
    let wanted = Arc::new(AtomicU64::new(u64::from(u16::MAX)));
    let (playing, listen) = watch::channel(());
    let width = Arc::clone(&wanted);
    let sends = move |encoding: u8| encoding == 0 || u64::from(ENCODINGS[usize::from(encoding) - 1].1) < width.load(Ordering::Relaxed);
    let player = camera::play(encodings, listen, sends);
    let follow = |(across, _): (u16, u16)| wanted.store(u64::from(across), Ordering::Relaxed);

    let (seeing, mut seen) = watch::channel(None);
    let options = Options { feedback: Feedback::BROWSER, ..Options::new(server.url(), "demo", "Viewer") };
    let line = Lines { up: Config::default(), down: LINE.parse().expect("a line"), seed: 1 };
    let begins = Instant::now();
    let viewer = Client::connect_direct(options, Box::new(Eye(seeing)), Some(line)).await.expect("joined");
    let (_, width, height, ..) = ENCODINGS[usize::from(MIDDLE)];
    told(&camera, WIDENS - Duration::from_secs(2), (width, height)).await;
    follow((width, height));
    println!("the large one is given up after {:?}", begins.elapsed());
    assert_eq!(*seen.borrow_and_update(), Some(MIDDLE));

    told(&camera, (WIDENS + FOUND).saturating_sub(begins.elapsed()), (u16::MAX, u16::MAX)).await;
    let heard = Instant::now();
    assert!(begins.elapsed() > WIDENS, "not before the line carries it");
    follow((u16::MAX, u16::MAX));
    tokio::time::timeout(COMES, seen.wait_for(|latest| *latest == Some(LARGE))).await.expect("seen in time").expect("the viewer is there");
    println!("asked for {:?} after the line widens, seen {:?} after that", heard - begins - WIDENS, heard.elapsed());
    assert!(viewer.state().closed.is_none());
    drop(playing);
    player.join().expect("played");
}
