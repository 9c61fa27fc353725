//! Lost connections and lost sessions.

use std::pin::Pin;
use std::time::{Duration, Instant};

use switchyard_protocol::{ChatMessage, CloseReason, Event, Request, Source};
use tokio::sync::broadcast;

use super::{LONG, obeyed, options, video};
use crate::double::{CLIENT, Double, OTHER, Order};
use crate::sdp::Credentials;
use crate::*;

/// The client's id in its second session.
const AGAIN: ParticipantId = ParticipantId(CLIENT.0 + 1);

fn said(text: &str) -> Event {
    Event::Chat { message: ChatMessage { from: OTHER, to: None, text: text.into(), at: 0 } }
}

/// The next event of which `wanted` makes something.
async fn event<T>(events: &mut broadcast::Receiver<ClientEvent>, mut wanted: impl FnMut(ClientEvent) -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = wanted(events.recv().await.expect("the session goes on")) {
                return found;
            }
        }
    };
    tokio::time::timeout(LONG, found).await.expect("an event in time")
}

async fn resumed(events: &mut broadcast::Receiver<ClientEvent>) -> bool {
    event(events, |event| match event {
        ClientEvent::Resumed { missed } => Some(missed),
        _ => None,
    })
    .await
}

async fn rejoined(events: &mut broadcast::Receiver<ClientEvent>) -> ParticipantId {
    event(events, |event| match event {
        ClientEvent::Rejoined { me } => Some(me),
        _ => None,
    })
    .await
}

/// What others said, in order, up to `last`.
async fn chat_until(events: &mut broadcast::Receiver<ClientEvent>, last: &str) -> Vec<String> {
    let mut heard = Vec::new();
    event(events, |event| match event {
        ClientEvent::Room(Event::Chat { message }) => {
            let over = message.text == last;
            heard.push(message.text);
            over.then_some(())
        }
        _ => None,
    })
    .await;
    heard
}

/// Asks for something; returns when it is asked, with what waits for the answer.
async fn asked<F: Future>(client: &Client, request: F) -> Pin<Box<F>> {
    let mut request = Box::pin(request);
    tokio::select! {
        biased;
        _ = &mut request => panic!("answered at once"),
        () = std::future::ready(()) => {}
    }
    // What the handle wants is taken one after the other, and this is answered here.
    assert!(client.sender(TrackId(u32::MAX)).await.is_err());
    request
}

fn chat(text: &str) -> Request {
    Request::Chat { text: text.into(), to: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_loses_nothing_that_was_said_and_no_packet() {
    for encoding in [Encoding::Json, Encoding::MessagePack] {
        let mut double = Double::start().await;
        let client = Client::connect(Options { encoding, ..options(&double).publish(video(200)) }).await.unwrap();
        double.order(Order::Grow(1));
        client.wait_connected(LONG).await.unwrap();
        let received = |report: &Report| report.sequences.get(&(CLIENT, 0)).map_or(0, |sequence| sequence.progress.received);
        client.wait_for_report(LONG, |report| received(report) >= 20).await.unwrap();
        let before = client.state();
        for round in 0..5 {
            let mut events = client.events();
            let text = |number: u32| format!("{round} {number}");
            double.order(Order::Tell(said(&text(0))));
            assert_eq!(chat_until(&mut events, &text(0)).await, [text(0)]);
            // On the way when the connection is cut: neither end gets what the other says.
            double.stall().await;
            double.order(Order::Tell(said(&text(1))));
            let first = asked(&client, client.request(chat(&text(1)))).await;
            let second = asked(&client, client.request(chat(&text(2)))).await;
            double.order(Order::Tell(said(&text(2))));
            double.order(Order::Cut);
            double.order(Order::Tell(said(&text(3))));
            assert!(!resumed(&mut events).await, "nothing is missed");
            assert_eq!(chat_until(&mut events, &text(3)).await, [text(1), text(2), text(3)]);
            first.await.expect("answered over the next connection");
            second.await.expect("answered over the next connection");
            for number in [1, 2] {
                let heard = double.request(|request| matches!(request, Request::Chat { .. })).await;
                assert_eq!(heard, chat(&text(number)), "once and in order");
            }
        }
        let at = received(&client.report());
        client.wait_for_report(LONG, |report| received(report) >= at + 20).await.unwrap();
        client.set_sending(false).await.unwrap();
        let sent = client.state().published.values().next().unwrap().packets_sent();
        let all = |report: &Report| report.sequences[&(CLIENT, 0)].progress.last + 1 == sent;
        let report = client.wait_for_report(LONG, all).await.unwrap();
        let sequence = &report.sequences[&(CLIENT, 0)];
        assert!(sequence.progress.is_clean(), "media does not notice: {:?}", sequence.progress);
        let after = client.state();
        assert_eq!((after.me, after.negotiation, after.reconnecting), (before.me, before.negotiation, false));
        client.leave().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_no_longer_keeps_comes_as_a_snapshot() {
    let double = Double::start().await;
    let client = Client::connect(options(&double).publish(video(200))).await.unwrap();
    double.order(Order::Grow(1));
    client.wait_until(LONG, |state| !state.slots.is_empty()).await.unwrap();
    let mut events = client.events();
    double.stall().await;
    double.order(Order::Tell(said("lost")));
    let answer = asked(&client, client.request(chat("hello"))).await;
    double.order(Order::Overflow("Renamed"));
    double.order(Order::Cut);
    assert!(resumed(&mut events).await, "told that something is missed");
    answer.await.expect("requests are never lost");
    let state = client.state();
    assert_eq!((state.participants[&OTHER].name.as_str(), state.slots.len()), ("Renamed", 0));
    assert!(client.report().streams.values().all(|stream| stream.track.is_none()));
    double.order(Order::Tell(said("new")));
    assert_eq!(chat_until(&mut events, "new").await, ["new"]);
    // The next loss is counted from there.
    double.order(Order::Cut);
    double.order(Order::Tell(said("newer")));
    assert!(!resumed(&mut events).await);
    assert_eq!(chat_until(&mut events, "newer").await, ["newer"]);
    client.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_given_up_when_nothing_comes_over_it_but_not_for_being_doubted() {
    let mut double = Double::start().await;
    let client = Client::connect(options(&double)).await.unwrap();
    let mut events = client.events();
    client.check_connection().await.unwrap();
    let ping = double.request(|request| matches!(request, Request::Ping { .. })).await;
    assert!(matches!(ping, Request::Ping { received: Some(received) } if received > 0), "{ping:?}");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(!client.state().reconnecting);
    assert!(matches!(events.try_recv(), Err(broadcast::error::TryRecvError::Empty)), "an answered ping is all");
    double.stall().await;
    let doubted = Instant::now();
    client.check_connection().await.unwrap();
    assert!(!resumed(&mut events).await);
    let took = doubted.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(8)).contains(&took), "{took:?}");
    client.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_gone_is_followed_by_another_with_all_that_was_published() {
    let mut double = Double::start().await;
    let sound = Media::Sequence(Sequence { packets_per_second: 50, bytes: 100, burst: 1 });
    let microphone = Publish { muted: true, ..Publish::new(Source::Microphone, sound) };
    let client = Client::connect(options(&double).publish(video(100)).publish(microphone)).await.unwrap();
    double.order(Order::Grow(1));
    client.wait_for_report(LONG, |report| report.sequences.contains_key(&(CLIENT, 0))).await.unwrap();
    assert_eq!(client.id(), CLIENT);
    client.request(Request::Rename { name: "Alicia".into() }).await.unwrap();
    let track = |source| *client.state().published.iter().find(|(_, published)| published.source == source).unwrap().0;
    client.mute(track(Source::Camera), true).await.unwrap();
    let mut events = client.events();

    double.stall().await;
    let answer = asked(&client, client.request(chat("into the void"))).await;
    let unmuted = asked(&client, client.mute(track(Source::Camera), false)).await;
    double.order(Order::RefuseJoins(1));
    double.order(Order::Forget);
    client.wait_until(LONG, |state| state.reconnecting).await.unwrap();
    assert_eq!(rejoined(&mut events).await, AGAIN);
    assert!(matches!(answer.await, Err(ClientError::Rejoined)), "it is not known whether it was heard");
    unmuted.await.expect("it is so in the new session");
    let join = double.request(|request| matches!(request, Request::Join { name, .. } if name != "Alice")).await;
    assert_eq!(join, Request::Join { room: "test".into(), name: "Alicia".into(), token: None, password: None });
    let state = client.wait_until(LONG, |state| state.published.len() == 2).await.unwrap();
    assert_eq!((state.me, state.reconnecting), (AGAIN, false));
    let mut published: Vec<_> =
        state.published.values().map(|published| (published.publication, published.source, published.muted)).collect();
    published.sort_unstable_by_key(|(publication, ..)| *publication);
    assert_eq!(published, [(0, Source::Camera, false), (1, Source::Microphone, true)]);

    client.wait_connected(LONG).await.unwrap();
    double.order(Order::Grow(1));
    let report = client.wait_for_report(LONG, |report| report.sequences.contains_key(&(AGAIN, 0))).await.unwrap();
    assert!(report.sequences.keys().all(|key| *key == (AGAIN, 0)), "counted anew: {:?}", report.sequences.keys());
    // The data channel is another one, and everything else works as before.
    client.send_text(None, "hello").await.unwrap();
    event(&mut events, |event| matches!(event, ClientEvent::Data(_)).then_some(())).await;
    client.publish(Publish { source: Source::Screen, ..video(100) }).await.unwrap();
    client.wait_for_report(LONG, |report| report.sequences.contains_key(&(AGAIN, 2))).await.unwrap();
    client.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_down_is_waited_for() {
    let double = Double::start().await;
    let client = Client::connect(options(&double)).await.unwrap();
    let mut events = client.events();
    for id in [AGAIN, ParticipantId(AGAIN.0 + 1)] {
        double.order(Order::Close(CloseReason::ShuttingDown));
        assert_eq!(rejoined(&mut events).await, id);
    }
    client.wait_connected(LONG).await.unwrap();
    client.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_resumed_elsewhere_does_not_come_back() {
    let mut double = Double::start().await;
    let client = Client::connect(options(&double)).await.unwrap();
    double.order(Order::Close(CloseReason::ResumedElsewhere));
    let error = client.wait_until(LONG, |_| false).await.unwrap_err();
    assert!(matches!(error, WaitError::Closed(Closed::Closing { reason: CloseReason::ResumedElsewhere, .. })), "{error}");
    assert_eq!(double.close().await, 1000);
    let came = double.request(|request| matches!(request, Request::Resume { .. } | Request::Join { .. }));
    assert!(matches!(came.await, Request::Join { .. }), "the first");
    let came = double.request(|request| matches!(request, Request::Resume { .. } | Request::Join { .. }));
    assert!(tokio::time::timeout(Duration::from_millis(500), came).await.is_err(), "and no other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_to_come_back_ends_with_the_connection() {
    let double = Double::start().await;
    let client = Client::connect(Options { reconnect: false, ..options(&double) }).await.unwrap();
    double.order(Order::Cut);
    let error = client.wait_until(LONG, |_| false).await.unwrap_err();
    assert!(matches!(error, WaitError::Closed(Closed::WebSocket(_))), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_dropped_says_goodbye() {
    let mut double = Double::start().await;
    drop(Client::connect(options(&double)).await.unwrap());
    assert_eq!(double.close().await, 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_without_a_connection_ends_all_the_same() {
    let mut double = Double::start().await;
    let client = Client::connect(options(&double)).await.unwrap();
    double.order(Order::RefuseJoins(usize::MAX));
    double.order(Order::Forget);
    client.wait_until(LONG, |state| state.reconnecting).await.unwrap();
    assert!(matches!(client.leave().await, Err(ClientError::Timeout(_))));
    double.request(|request| matches!(request, Request::Resume { .. })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ice_restart_that_collides_is_made_again_and_the_answer_in_between_restarts_nothing() {
    let mut double = Double::start().await;
    let client = Client::connect(options(&double).publish(video(100))).await.unwrap();
    double.order(Order::Grow(1));
    client.wait_connected(LONG).await.unwrap();
    obeyed(&double, &client, Order::Collide).await;
    double.order(Order::Tell(Event::RestartIce { ice_servers: Vec::new() }));
    let credentials = |request: &Request| match request {
        Request::Offer { sdp } => Some(('o', Credentials::of(sdp).expect("credentials"))),
        Request::Answer { sdp, .. } => Some(('a', Credentials::of(sdp).expect("credentials"))),
        _ => None,
    };
    let mut seen = Vec::new();
    while seen.len() < 5 {
        seen.push(credentials(&double.request(|request| credentials(request).is_some()).await).expect("just looked"));
    }
    let (kinds, seen): (String, Vec<Credentials>) = seen.into_iter().unzip();
    assert_eq!(kinds, "oaoao");
    let same: Vec<bool> = seen.iter().map(|credentials| *credentials == seen[0]).collect();
    assert_eq!(same, [true, true, false, true, false]);
    client.wait_until(LONG, |state| state.negotiation.answered == 2 && state.transport == Transport::Connected).await.unwrap();
    let received = |report: &Report| report.sequences.get(&(CLIENT, 0)).map_or(0, |sequence| sequence.progress.received);
    let at = received(&client.report());
    client.wait_for_report(LONG, |report| received(report) >= at + 100).await.unwrap();
    client.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ice_restarts_when_the_server_asks_for_it() {
    let mut double = Double::start().await;
    let client = Client::connect(options(&double).publish(video(100))).await.unwrap();
    double.order(Order::Grow(1));
    client.wait_connected(LONG).await.unwrap();
    let ufrag = |request: &Request| match request {
        Request::Offer { sdp } => sdp.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:").map(str::to_owned)),
        _ => None,
    };
    let first = ufrag(&double.request(|request| ufrag(request).is_some()).await);
    double.order(Order::Tell(Event::RestartIce { ice_servers: Vec::new() }));
    let second = ufrag(&double.request(|request| ufrag(request).is_some()).await);
    assert_ne!(first, second);
    client.wait_until(LONG, |state| state.negotiation.answered == 2 && state.transport == Transport::Connected).await.unwrap();
    let received = |report: &Report| report.sequences.get(&(CLIENT, 0)).map_or(0, |sequence| sequence.progress.received);
    let at = received(&client.report());
    client.wait_for_report(LONG, |report| received(report) >= at + 100).await.unwrap();
    client.leave().await.unwrap();
}
