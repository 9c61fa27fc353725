//! A large room: few are heard, few are seen, and they are the right ones.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use support::{OFFER, Server, Socket, server_offer};
use switchyard_client::{
    Arrival, Client, ClientEvent, Media, Options, Outgoing, ParticipantId, Publish, Sender, Sink, Source, Stamp, State, now_micros,
};
use switchyard_protocol::{Encoding, Event, Reply, Request};
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(60);
const PEOPLE: usize = 200;
/// What the server's defaults say.
const HEARD: usize = 5;
const SHOWN: usize = 9;
/// Who takes turns, by the order of coming.
const TALKERS: [usize; 4] = [40, 90, 140, 190];
const TURN: Duration = Duration::from_secs(3);
const LOUD: u8 = 30;
const QUIET: u8 = 90;
/// Between two packets of who speaks …
const PACKET: Duration = Duration::from_millis(20);
/// … and of who doesn't, and of a camera: every packet is a keyframe.
const RARE: u32 = 10;

/// The microphone's and the camera's publication.
const MICROPHONE: u16 = 0;
const CAMERA: u16 = 1;

/// By publisher and publication: the first counter that came.
type Received = BTreeMap<(u32, u16), u64>;

/// What one participant was sent since the last look.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Received>>);

impl Heard {
    fn take(&self) -> Received {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Sink for Heard {
    fn handle_packet(&mut self, arrival: &Arrival<'_>) -> bool {
        if let Some(stamp) = Stamp::read(arrival.payload) {
            let mut heard = self.0.lock().unwrap();
            let first = heard.entry((stamp.publisher, stamp.publication)).or_insert(stamp.counter);
            *first = stamp.counter.min(*first);
        }
        false
    }

    fn handle_lag(&mut self, _: u64) {}
}

struct Person {
    client: Client,
    heard: Heard,
}

/// One track's sender, and how far it has counted.
struct Track {
    who: usize,
    publisher: u32,
    publication: u16,
    sender: Sender,
    counter: u64,
}

impl Track {
    fn push(&mut self, level: Option<u8>) {
        let Track { publisher, publication, counter, .. } = *self;
        let stamp = Stamp { publisher, publication, counter, sent_micros: now_micros() };
        let payload = stamp.payload(self.sender.kind(), 80);
        let rate = if publication == MICROPHONE { 48 } else { 90 };
        let timestamp = ((now_micros() / 1_000) as u32).wrapping_mul(rate);
        let outgoing = Outgoing { timestamp, marker: true, payload: payload.len(), audio_level: level.map(|level| (level, level == LOUD)) };
        if self.sender.push(&outgoing, |out| out.copy_from_slice(&payload)) {
            self.sender.flush();
            self.counter += 1;
        }
    }
}

/// Plays everybody, those in `speaking` loudly and often, until who speaks is nobody's business any more.
fn play(mut tracks: Vec<Track>, speaking: watch::Receiver<BTreeSet<usize>>) -> Counters {
    let counters = Counters::default();
    let told = counters.clone();
    std::thread::spawn(move || {
        let start = Instant::now();
        for tick in 0u32.. {
            if speaking.has_changed().is_err() {
                break;
            }
            let loud = speaking.borrow().clone();
            for (place, track) in tracks.iter_mut().enumerate() {
                let is_due = tick % RARE == place as u32 % RARE;
                match track.publication {
                    MICROPHONE if loud.contains(&track.who) => {
                        told.0.lock().unwrap().entry(track.publisher).or_insert(track.counter);
                        track.push(Some(LOUD));
                    }
                    MICROPHONE if is_due => track.push(Some(QUIET)),
                    CAMERA if is_due => track.push(None),
                    _ => {}
                }
            }
            std::thread::sleep((start + PACKET * (tick + 1)).saturating_duration_since(Instant::now()));
        }
    });
    counters
}

/// The counter of each publisher's first loud packet since the last look.
#[derive(Clone, Default)]
struct Counters(Arc<Mutex<BTreeMap<u32, u64>>>);

async fn join(server: &Server, count: usize) -> Vec<Person> {
    let people = try_join_all((0..count).map(|n| async move {
        let heard = Heard::default();
        let options = Options::new(server.url(), "demo", format!("Participant {n}"))
            .publish(Publish::new(Source::Microphone, Media::Silent))
            .publish(Publish::new(Source::Camera, Media::Silent));
        let client = Client::connect_direct(options, Box::new(heard.clone()), None).await?;
        Ok::<_, switchyard_client::ClientError>(Person { client, heard })
    }))
    .await
    .expect("everybody joins");
    for Person { client, .. } in &people {
        client.wait_connected(PATIENCE).await.expect("connected");
    }
    people
}

async fn tracks_of(people: &[Person], first: usize) -> Vec<Track> {
    let tracks = join_all(people.iter().enumerate().map(|(at, person)| async move {
        let published = person.client.state().published;
        join_all(published.iter().map(|(&track, published)| async move {
            let sender = person.client.sender(track).await.expect("a sender");
            Track { who: first + at, publisher: person.client.id().0, publication: published.publication, sender, counter: 0 }
        }))
        .await
    }));
    tracks.await.into_iter().flatten().collect()
}

/// Bytes of the session description that a newcomer is offered.
async fn offered(server: &Server) -> usize {
    let mut socket = Socket::connect(server, Encoding::Json).await;
    socket.join("demo", "Newcomer").await;
    let answer = socket.request(Request::Offer { sdp: OFFER.into() }).await.expect("answered");
    assert!(matches!(answer, Reply::Answer(_)));
    let (_, sdp) = socket.event(server_offer).await;
    socket.close(Some(1000)).await;
    sdp.len()
}

/// By kind, who was received: microphones, cameras.
fn publishers(received: &Received, publication: u16) -> BTreeSet<u32> {
    received.keys().filter(|(_, which)| *which == publication).map(|(publisher, _)| *publisher).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_room_of_two_hundred_each_is_sent_nine_pictures_and_five_voices_and_the_right_ones() {
    let server = Server::start(&["--max-load", "0"]).await;
    let mut people = join(&server, 20).await;
    let at_twenty = offered(&server).await;
    let (speaking, listen) = watch::channel(BTreeSet::new());
    let tracks = tracks_of(&people, 0).await;
    play(tracks, listen.clone());

    people.extend(join(&server, PEOPLE / 2 - 20).await);
    let since = Instant::now();
    people.extend(join(&server, PEOPLE / 2).await);
    println!("a hundred joined within {:?}", since.elapsed());
    let at_two_hundred = offered(&server).await;
    println!("a newcomer is offered {at_twenty} bytes among 20 and {at_two_hundred} among 200");
    assert!(at_two_hundred * 10 <= at_twenty * 11, "{at_twenty} bytes among 20, {at_two_hundred} among 200");

    let loud = play(tracks_of(&people[20..], 20).await, listen);
    for Person { client, .. } in &people {
        let seen = |state: &State| state.slots.len() >= SHOWN + HEARD - 2;
        client.wait_until(PATIENCE, seen).await.expect("a picture in every slot");
        assert!(client.state().negotiation.media_lines <= 1 + 2 + 2 * 12, "{}", client.state().negotiation.media_lines);
    }
    let witnesses = [0, 60, 120, 199];
    let mut events: Vec<_> = witnesses.map(|at| people[at].client.events()).into();
    let mut delays = Vec::new();
    for talker in TALKERS {
        let who = people[talker].client.id();
        people.iter().for_each(|person| drop(person.heard.take()));
        loud.0.lock().unwrap().clear();
        let began = Instant::now();
        speaking.send_replace([talker].into());
        for events in &mut events {
            wait_for_speaker(events, who).await;
            delays.push(began.elapsed());
        }
        tokio::time::sleep(TURN.saturating_sub(began.elapsed())).await;
        let first = loud.0.lock().unwrap()[&who.0];
        for (at, person) in people.iter().enumerate().filter(|(at, _)| *at != talker) {
            let received = person.heard.take();
            let voice = received.get(&(who.0, MICROPHONE)).unwrap_or_else(|| panic!("{at} does not hear {talker}"));
            assert!(*voice <= first, "{at} hears {talker} from packet {voice} of a word that began with {first}");
            assert!(received.contains_key(&(who.0, CAMERA)), "{at} does not see {talker}");
        }
        // Now that everything has settled.
        people.iter().for_each(|person| drop(person.heard.take()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        for (at, person) in people.iter().enumerate() {
            let received = person.heard.take();
            let (voices, pictures) = (publishers(&received, MICROPHONE), publishers(&received, CAMERA));
            assert!(voices.len() <= HEARD && pictures.len() == SHOWN, "{at}: {} voices, {} pictures", voices.len(), pictures.len());
        }
        speaking.send_replace(BTreeSet::new());
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
    delays.sort();
    println!("who speaks is told after {:?} to {:?}", delays[0], delays[delays.len() - 1]);

    // One who says what it shows.
    let shown: Vec<_> = TALKERS.iter().map(|&at| people[at].client.id()).collect();
    let camera = |publisher: ParticipantId| {
        let tracks = people[0].client.tracks();
        let found = tracks.iter().find(|(owner, track)| *owner == publisher && track.source == Source::Camera);
        switchyard_protocol::TrackView { track: found.expect("published").1.id, width: 320, height: 180, pinned: false }
    };
    let tracks = shown.iter().map(|&id| camera(id)).collect();
    people[0].client.request(Request::View { tracks, others: false }).await.expect("taken");
    tokio::time::sleep(Duration::from_millis(500)).await;
    people[0].heard.take();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(publishers(&people[0].heard.take(), CAMERA), shown.iter().map(|id| id.0).collect());
}

async fn wait_for_speaker(events: &mut tokio::sync::broadcast::Receiver<ClientEvent>, who: ParticipantId) {
    let told = async {
        loop {
            if let Ok(ClientEvent::Room(Event::Speakers { speakers })) = events.recv().await
                && speakers.first().is_some_and(|speaker| speaker.participant == who)
            {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("nobody says that {who:?} speaks"));
}
