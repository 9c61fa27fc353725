//! A hundred join at once a room whose cameras send a keyframe only when they are asked for one: they are asked rarely, and everybody sees everybody.

#[path = "support/camera.rs"]
mod camera;
mod support;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use camera::{Camera, ENCODINGS, Part};
use futures_util::future::{join_all, try_join_all};
use support::Server;
use switchyard_client::{Arrival, Client, Options, ParticipantId, Request, Sink, TrackView};
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(60);
const CAMERAS: usize = 3;
const VIEWERS: usize = 100;
/// Keyframes that may be asked of an encoding within any second …
const MOST: usize = 2;
/// … as the server sends the requests: the first of them may be this much longer on its way than the last, on a machine that is busy.
const JITTER: u64 = 50_000;
/// For all to join, on a machine that is busy: within a second where it isn't.
const AT_ONCE: Duration = Duration::from_secs(5);
/// How long after the last viewer's first picture requests are still counted, for whoever asks again.
const AFTER: Duration = Duration::from_secs(2);

/// When keyframes were asked for, by the stream of which.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<HashMap<u32, Vec<u64>>>>);

impl Sink for Asked {
    fn handle_packet(&mut self, _: &Arrival<'_>) -> bool {
        false
    }

    fn handle_lag(&mut self, _: u64) {}

    fn handle_keyframe_request(&mut self, ssrc: u32, at_micros: u64) {
        self.0.lock().unwrap().entry(ssrc).or_default().push(at_micros);
    }
}

/// What one viewer was sent: by stream and number.
type Sent = BTreeMap<(u32, u16), Part>;

/// A viewer's eye. It asks for a keyframe for as long as it has none of what it is to be shown, as browsers do.
struct Eye {
    sent: Arc<Mutex<Sent>>,
    encoding: u8,
    /// The packets there are of the latest keyframe of each camera, a bit for each, and whether the camera is seen.
    begun: [(u32, u32, bool); CAMERAS],
    /// How many pictures all viewers see that they are to see.
    seen: watch::Sender<usize>,
}

impl Sink for Eye {
    fn handle_packet(&mut self, arrival: &Arrival<'_>) -> bool {
        let Some(part) = Part::read(arrival.payload) else { return false };
        self.sent.lock().unwrap().insert((arrival.ssrc, arrival.sequence), part);
        let (picture, packets, seen) = &mut self.begun[usize::from(part.camera)];
        if !*seen && part.key && part.encoding == self.encoding {
            if *picture != part.picture {
                (*picture, *packets) = (part.picture, 0);
            }
            *packets |= 1 << part.part;
            if *packets == (1 << part.parts) - 1 {
                *seen = true;
                self.seen.send_modify(|seen| *seen += 1);
            }
        }
        !*seen
    }

    fn handle_lag(&mut self, _: u64) {}
}

/// Whoever watches: each shows all cameras at the size of one of their encodings.
async fn watch(server: &Server, number: usize, cameras: &[ParticipantId], seen: watch::Sender<usize>) -> (Client, Arc<Mutex<Sent>>) {
    let encoding = number % ENCODINGS.len();
    let sent = Arc::default();
    let eye = Eye { sent: Arc::clone(&sent), encoding: encoding as u8, begun: [(0, 0, false); CAMERAS], seen };
    let options = Options::new(server.url(), "demo", format!("Viewer {number}"));
    let client = Client::connect_direct(options, Box::new(eye), None).await.expect("joined");
    let tracks = client.tracks().into_iter().filter(|(owner, _)| cameras.contains(owner));
    let (_, width, height, ..) = ENCODINGS[encoding];
    let tracks = tracks.map(|(_, track)| TrackView { track: track.id, width, height, pinned: false }).collect();
    client.request(Request::View { tracks, others: false }).await.expect("taken");
    (client, sent)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_who_join_at_once_cost_each_encoding_two_keyframes_a_second_and_all_see_everybody() {
    let server = Server::start(&["--max-load", "0"]).await;
    let asked = Asked::default();
    let cameras =
        try_join_all((0..CAMERAS).map(|number| Camera::join(&server, number as u8, Box::new(asked.clone())))).await.expect("joined");
    let streams: BTreeMap<u32, (u8, u8)> = cameras.iter().flat_map(Camera::streams).collect();
    assert_eq!(streams.len(), CAMERAS * ENCODINGS.len());
    let (clients, encodings): (Vec<Client>, Vec<_>) = cameras.into_iter().map(|camera| (camera.client, camera.encodings)).unzip();
    let (playing, listen) = watch::channel(());
    let player = camera::play(encodings.into_iter().flatten().collect(), listen, |_| true);

    let ids: Vec<_> = clients.iter().map(Client::id).collect();
    let (seen, mut all) = watch::channel(0);
    let since = Instant::now();
    let viewers = join_all((0..VIEWERS).map(|number| watch(&server, number, &ids, seen.clone()))).await;
    let joined = since.elapsed();
    let shown = tokio::time::timeout(PATIENCE, all.wait_for(|seen| *seen == VIEWERS * CAMERAS)).await;
    assert!(shown.is_ok(), "{} of {} pictures are seen", *seen.borrow(), VIEWERS * CAMERAS);
    assert!(joined < AT_ONCE, "{VIEWERS} joined within {joined:?}");
    println!("{VIEWERS} joined within {joined:?}, and see all that they show after {:?}", since.elapsed());
    tokio::time::sleep(AFTER).await;
    drop(playing);
    player.join().expect("played");

    let asked = asked.0.lock().unwrap();
    for (ssrc, encoding) in &streams {
        let times = asked.get(ssrc).unwrap_or_else(|| panic!("{encoding:?} is asked for no keyframe"));
        println!("{encoding:?} was asked for {} keyframes", times.len());
        for more in times.windows(MOST + 1) {
            let within = more[MOST] - more[0];
            assert!(within >= 1_000_000 - JITTER, "{encoding:?} was asked for {} keyframes within {within} µs", MOST + 1);
        }
    }
    let beginnings: usize = viewers.iter().enumerate().map(|(number, (_, sent))| count_beginnings(number, &sent.lock().unwrap())).sum();
    println!("{beginnings} beginnings");
    assert!(beginnings >= VIEWERS * CAMERAS / 2, "{beginnings} beginnings");
}

/// Whatever a viewer's streams begin with, or go over to, begins with a keyframe, unless packets before it were lost: the first ones are while the client has no
/// keys yet. How many beginnings there were.
fn count_beginnings(viewer: usize, sent: &Sent) -> usize {
    let mut streams: BTreeMap<u32, Vec<(u16, Part)>> = BTreeMap::new();
    sent.iter().for_each(|(&(ssrc, number), &part)| streams.entry(ssrc).or_default().push((number, part)));
    let mut beginnings = 0;
    for (ssrc, packets) in &mut streams {
        // Numbers go on from 65,535 to 0; where there is a gap as wide as that, the stream begins behind it.
        let wraps = packets.windows(2).position(|pair| pair[1].0 - pair[0].0 > 0x8000);
        packets.rotate_left(wraps.map_or(0, |place| place + 1));
        // The server's first number of a stream, as it documents it.
        let mut next = (ssrc & 0x3fff) as u16;
        let mut before: Option<Part> = None;
        for &(number, part) in packets.iter() {
            let goes_on = before.is_some_and(|before| (before.camera, before.encoding) == (part.camera, part.encoding));
            if !goes_on && number == next {
                assert!(part.key && part.part == 0, "viewer {viewer} goes from {before:?} to {part:?} under {number}");
                beginnings += 1;
            }
            (next, before) = (number.wrapping_add(1), Some(part));
        }
    }
    beginnings
}
