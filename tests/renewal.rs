//! Transports that begin anew within their session: the participant stays, media and data go on over another peer connection, nothing is lost or doubled.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::Server;
use switchyard_client::{
    Client, ClientError, ClientEvent, DataPayload, ErrorCode, Media, Options, ParticipantId, Publish, Request, Sequence, Source, TrackId,
};
use switchyard_protocol::{Encoding, Event};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(20);
/// Between two numbered messages.
const EVERY: Duration = Duration::from_millis(2);

async fn enter(server: &Server, name: &str, encoding: Encoding) -> Arc<Client> {
    let sequence = Media::Sequence(Sequence { packets_per_second: 100, bytes: 1000, burst: 1 });
    let mut options = Options::new(server.url(), "demo", name).publish(Publish::new(Source::Camera, sequence));
    options.encoding = encoding;
    let client = Client::connect(options).await.expect("joined");
    client.wait_connected(PATIENCE).await.expect("connected");
    Arc::new(client)
}

/// The publications of a participant by track, with the number that its packets carry.
fn published(client: &Client) -> BTreeMap<TrackId, u16> {
    client.state().published.iter().map(|(track, published)| (*track, published.publication)).collect()
}

/// Waits until packets of `of`'s present publication reach `at`.
async fn sees(at: &Client, of: &Client) {
    let state = of.wait_until(PATIENCE, |state| !state.published.is_empty()).await.expect("published");
    let number = state.published.values().next().expect("one").publication;
    let key = (of.id(), number);
    let came = at.wait_for_report(PATIENCE, |report| report.sequences.get(&key).is_some_and(|sequence| sequence.progress.received > 20));
    let report = came.await.unwrap_or_else(|error| panic!("{key:?}: {error:?}"));
    assert_eq!((report.misrouted, report.unassigned), (0, 0), "packets come where they belong");
}

/// Sends numbers until it is told to stop; how many.
fn count(client: Arc<Client>, mut stop: tokio::sync::watch::Receiver<bool>) -> JoinHandle<u32> {
    tokio::spawn(async move {
        for number in 0.. {
            if *stop.borrow_and_update() {
                return number;
            }
            if number % 2 == 0 {
                client.send_text(None, &number.to_string()).await.expect("sent or kept");
            } else {
                client.send_binary(None, &number.to_string().into_bytes()).await.expect("sent or kept");
            }
            tokio::time::sleep(EVERY).await;
        }
        0
    })
}

/// Reads numbers of `from` until `until` have come, and what else is told: nobody may come, go or change.
async fn read(events: &mut broadcast::Receiver<ClientEvent>, from: ParticipantId, until: u32) -> Vec<u32> {
    let mut numbers = Vec::new();
    let reading = async {
        while numbers.len() < until as usize {
            match events.recv().await.expect("the session goes on, and is read") {
                ClientEvent::Data(message) if message.from == from => {
                    let text = match message.payload {
                        DataPayload::Text(text) => text,
                        DataPayload::Binary(bytes) => String::from_utf8(bytes).expect("digits"),
                    };
                    numbers.push(text.parse().expect("a number"));
                }
                ClientEvent::Data(_) | ClientEvent::Renewed | ClientEvent::Room(Event::Slots { .. }) => {}
                other => panic!("nobody is to notice: {other:?}"),
            }
        }
    };
    let _ = tokio::time::timeout(PATIENCE, reading).await;
    numbers
}

/// Two people, of whom both get another transport several times while numbered messages go both ways.
async fn renewed(server: &Server, encoding: Encoding) {
    let (ada, ben) = (enter(server, "Ada", encoding).await, enter(server, "Ben", encoding).await);
    for (at, of) in [(&ada, &ben), (&ben, &ada)] {
        sees(at, of).await;
    }
    let (ids, tracks) = ((ada.id(), ben.id()), published(&ada));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let (mut at_ada, mut at_ben) = (ada.events(), ben.events());
    let (to_ben, to_ada) = (count(ada.clone(), stopped.clone()), count(ben.clone(), stopped));
    for round in 0..3 {
        let since = Instant::now();
        ada.renew().await.expect("renewed");
        if round == 1 {
            // Also in the middle of the one before, and both at once.
            ben.renew().await.expect("renewed");
            ada.renew().await.expect("renewed");
        }
        for client in [&ada, &ben] {
            client.wait_connected(PATIENCE).await.expect("connected");
        }
        for (at, of) in [(&ada, &ben), (&ben, &ada)] {
            sees(at, of).await;
        }
        println!("{encoding:?}, {round}: media and data after {:?}", since.elapsed());
    }
    stop.send_replace(true);
    let (to_ben, to_ada) = (to_ben.await.unwrap(), to_ada.await.unwrap());
    println!("{to_ben} messages to Ben, {to_ada} to Ada");
    for (events, from, sent) in [(&mut at_ben, ids.0, to_ben), (&mut at_ada, ids.1, to_ada)] {
        let came = read(events, from, sent).await;
        assert_eq!(came, (0..sent).collect::<Vec<_>>(), "all of {from:?}'s messages, once and in order");
    }
    assert_eq!((ada.id(), ben.id()), ids);
    let after = published(&ada);
    assert_eq!(after.keys().collect::<Vec<_>>(), tracks.keys().collect::<Vec<_>>(), "the same track");
    assert_ne!(after, tracks, "sent anew");
    assert_eq!(ben.tracks().iter().map(|(_, track)| track.id).collect::<Vec<_>>(), tracks.keys().copied().collect::<Vec<_>>());
    for client in [&ada, &ben] {
        assert_eq!((client.state().negotiation.failed, client.state().reconnecting), (0, false));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn media_goes_on_and_no_message_is_lost_or_doubled() {
    let server = Server::start(&["--workers", "1"]).await;
    renewed(&server, Encoding::Json).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_is_between_two_workers() {
    let server = Server::start(&["--span-rooms", "--workers", "2"]).await;
    renewed(&server, Encoding::MessagePack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_begins_anew_too_often_or_counts_wrongly_is_refused_and_goes_on_as_before() {
    let server = Server::start(&[]).await;
    let (mut ada, _) = server.join("demo", "Ada").await;
    let refused = |result: Result<_, switchyard_protocol::ProtocolError>| result.expect_err("refused").code;
    assert_eq!(refused(ada.request(Request::Renew { received: 1 }).await), ErrorCode::WrongState);
    let mut codes = Vec::new();
    for _ in 0..6 {
        codes.push(ada.request(Request::Renew { received: 0 }).await.map(drop).map_err(|error| (error.code, error.retryable)));
    }
    assert_eq!(codes.pop(), Some(Err((ErrorCode::RateLimited, true))));
    // Nothing of all that is in the way of a transport.
    let answer = ada.request(Request::Offer { sdp: support::OFFER.into() }).await;
    assert!(matches!(answer, Ok(switchyard_protocol::Reply::Answer(_))), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_track_is_silent_until_it_is_published_again_and_can_be_withdrawn_instead() {
    let server = Server::start(&[]).await;
    let (mut ada, _) = server.join("demo", "Ada").await;
    let (mut ben, _) = server.join("demo", "Ben").await;
    let publish = |mid: &str, source| Request::Publish { mid: mid.into(), source, muted: false };
    let track = |reply| match reply {
        Ok(switchyard_protocol::Reply::Published(published)) => published.track,
        other => panic!("not published: {other:?}"),
    };
    let camera = track(ada.request(publish("2", Source::Camera)).await);
    let microphone = track(ada.request(publish("1", Source::Microphone)).await);
    ada.request(Request::Renew { received: 0 }).await.expect("renewed");
    assert_eq!(track(ada.request(publish("7", Source::Camera)).await), camera);
    let twice = ada.request(publish("8", Source::Camera)).await;
    assert_eq!(twice.expect_err("refused").code, ErrorCode::AlreadyPublished);
    ada.request(Request::Unpublish { track: microphone }).await.expect("withdrawn");
    ben.request(Request::Ping { received: None }).await.expect("answered");
    let mut told = Vec::new();
    let read = |event: &Event| match event {
        Event::Slots { .. } | Event::Offer { .. } => None,
        Event::TrackUnpublished { track, .. } => Some(*track),
        other => {
            told.push(other.clone());
            None
        }
    };
    assert_eq!(ben.event(read).await, microphone);
    let published = told.iter().filter(|event| matches!(event, Event::TrackPublished { .. })).count();
    assert_eq!((published, told.len()), (2, 2), "nobody hears of a renewal: {told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_reconnection_is_told_of_a_refusal() {
    let server = Server::start(&[]).await;
    let ada = enter(&server, "Ada", Encoding::Json).await;
    for _ in 0..5 {
        ada.renew().await.expect("renewed");
    }
    let refused = ada.renew().await;
    assert!(matches!(&refused, Err(ClientError::Refused(error)) if error.code == ErrorCode::RateLimited), "{refused:?}");
    ada.wait_connected(PATIENCE).await.expect("the one before goes on");
}
