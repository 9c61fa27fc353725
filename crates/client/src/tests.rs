//! The session against a server that does what the test wants.

mod reconnect;

use std::time::Duration;

use switchyard_protocol::{CloseReason, Encoding, ErrorCode, Event, Request, Source};

use crate::double::{CLIENT, Double, Order};
use crate::*;

const LONG: Duration = Duration::from_secs(10);

fn video(packets_per_second: u32) -> Publish {
    Publish::new(Source::Camera, Media::Sequence(Sequence { packets_per_second, bytes: 900, burst: 1 }))
}

fn options(double: &Double) -> Options {
    Options::new(&double.url, "test", "Alice")
}

/// Gives an order and waits until it was taken: orders are taken one after the other, and the second one shows.
async fn obeyed(double: &Double, client: &Client, order: Order) {
    let mut events = client.events();
    double.order(order);
    let participant = ParticipantId(1000);
    double.order(Order::Tell(Event::ParticipantChanged { participant, name: String::new() }));
    while !matches!(events.recv().await.unwrap(), ClientEvent::Room(Event::ParticipantChanged { .. })) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_packet_that_is_sent_comes_back_once_and_in_order_in_either_encoding() {
    for encoding in [Encoding::Json, Encoding::MessagePack] {
        let double = Double::start().await;
        let client = Client::connect(Options { encoding, sending: false, ..options(&double).publish(video(200)) }).await.unwrap();
        double.order(Order::Grow(2));
        client.wait_connected(LONG).await.unwrap();
        client.wait_until(LONG, |state| state.negotiation.server_offers == 1 && !state.slots.is_empty()).await.unwrap();
        client.set_sending(true).await.unwrap();
        let received = |report: &Report| report.sequences.get(&(CLIENT, 0)).map_or(0, |sequence| sequence.progress.received);
        client.wait_for_report(LONG, |report| received(report) >= 150).await.unwrap();
        client.set_sending(false).await.unwrap();
        let sent = client.state().published.values().next().unwrap().packets_sent();
        let report = client.wait_for_report(LONG, |report| received(report) == sent).await.unwrap();
        let sequence = &report.sequences[&(CLIENT, 0)];
        assert!(sequence.progress.is_clean(), "{:?}", sequence.progress);
        assert_eq!((sequence.progress.first, sequence.progress.last), (0, sent - 1));
        assert_eq!((sequence.latency.count, report.unknown_ssrc), (sent, 0));
        assert_eq!(report.misrouted, sent, "the slot is said to be somebody else's");
        client.leave().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loops_are_sent_as_frames_with_keyframes() {
    let double = Double::start().await;
    let video = Media::Video(VideoLoop::test_pattern(0).await.unwrap().into());
    let audio = Media::Audio(AudioLoop::test_tone(0).await.unwrap().into());
    let publish = vec![Publish::new(Source::Microphone, audio), Publish::new(Source::Camera, video)];
    let client = Client::connect(Options { publish, feedback: Feedback::BROWSER, ..options(&double) }).await.unwrap();
    double.order(Order::Grow(1));
    let report = client
        .wait_for_report(LONG, |report| {
            let enough = |kind, markers| report.streams.values().any(|stream| stream.kind == kind && stream.markers >= markers);
            enough(Kind::Video, 55) && report.streams.values().any(|stream| stream.kind == Kind::Audio && stream.progress.received > 100)
        })
        .await
        .unwrap();
    let stream = report.streams.values().find(|stream| stream.kind == Kind::Video).unwrap();
    assert!((2..=4).contains(&stream.vp8_keyframes), "{stream:?}");
    assert!(stream.progress.received > stream.markers, "frames of several packets");
    client.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collision_is_won_by_the_server_and_the_offer_made_again() {
    let double = Double::start().await;
    let client = Client::connect(options(&double)).await.unwrap();
    double.order(Order::Grow(1));
    client.wait_until(LONG, |state| state.negotiation.server_offers == 1).await.unwrap();
    assert_eq!(client.renegotiate().await.unwrap(), Renegotiated::Answered);
    for round in 1..=20 {
        obeyed(&double, &client, Order::Collide).await;
        assert_eq!(client.renegotiate().await.unwrap(), Renegotiated::AfterCollision, "round {round}");
    }
    let negotiation = client.wait_until(LONG, |state| state.negotiation.stable).await.unwrap().negotiation;
    assert_eq!((negotiation.rolled_back, negotiation.ignored, negotiation.failed), (20, 20, 0));
    assert_eq!((negotiation.server_offers, double.answered()), (21, 21));
    assert_eq!(negotiation.media_lines, 3 + 2 * 21);
    client.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_on_a_new_m_line_survives_a_collision() {
    let mut double = Double::start().await;
    let client = Client::connect(options(&double).publish(video(100))).await.unwrap();
    client.wait_connected(LONG).await.unwrap();
    obeyed(&double, &client, Order::Collide).await;
    let screen = Publish { source: Source::Screen, ..video(100) };
    let track = client.publish(screen).await.unwrap();
    let state = client.state();
    let mid = state.published[&track].mid.clone();
    let publish = double.request(|request| matches!(request, Request::Publish { source: Source::Screen, .. })).await;
    assert_eq!(publish, Request::Publish { mid, source: Source::Screen, muted: false });
    client.wait_for_report(LONG, |report| report.sequences.contains_key(&(CLIENT, 1))).await.unwrap();
    client.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_m_line_that_was_given_up_is_used_again_without_negotiation() {
    let double = Double::start().await;
    let client = Client::connect(options(&double).publish(video(100))).await.unwrap();
    let before = client.state();
    let (track, first) = before.published.iter().next().unwrap();
    client.unpublish(*track).await.unwrap();
    let track = client.publish(Publish { source: Source::Screen, ..video(100) }).await.unwrap();
    let after = client.state();
    assert_eq!(after.published[&track].mid, first.mid);
    assert_eq!((after.published.len(), after.negotiation.offers), (1, 1));
    client.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_muted_track_sends_nothing() {
    let double = Double::start().await;
    let client = Client::connect(options(&double).publish(Publish { muted: true, ..video(100) })).await.unwrap();
    client.wait_connected(LONG).await.unwrap();
    let track = *client.state().published.keys().next().unwrap();
    let sent = || client.state().published[&track].packets_sent();
    assert_eq!(sent(), 0);
    client.mute(track, false).await.unwrap();
    while sent() == 0 {
        tokio::task::yield_now().await;
    }
    client.mute(track, true).await.unwrap();
    assert!(client.state().published[&track].muted);
    client.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_slots_are_answered_and_all_their_m_lines_known() {
    let double = Double::start().await;
    let client = Client::connect(options(&double).publish(video(500))).await.unwrap();
    for _ in 0..4 {
        double.order(Order::Grow(10));
        let answered = double.answered();
        client.wait_until(LONG, |state| state.negotiation.server_offers as usize > answered).await.unwrap();
        while double.answered() == answered {
            tokio::task::yield_now().await;
        }
    }
    client.wait_for_report(LONG, |report| report.streams.len() == 80 && report.sequences.contains_key(&(CLIENT, 0))).await.unwrap();
    client.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_goes_both_ways() {
    let double = Double::start().await;
    let client = Client::connect(options(&double)).await.unwrap();
    client.wait_connected(LONG).await.unwrap();
    let mut events = client.events();
    let large = vec![7; 64 * 1024];
    client.send_text(None, "hello").await.unwrap();
    client.send_binary(Some(ParticipantId(1)), &large).await.unwrap();
    let mut received = Vec::new();
    while received.len() < 2 {
        if let ClientEvent::Data(message) = events.recv().await.unwrap() {
            assert_eq!(message.from, CLIENT);
            received.push(message.payload);
        }
    }
    assert_eq!(received, [DataPayload::Text("hello".into()), DataPayload::Binary(large)]);
    client.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_offer_is_an_error_and_the_next_one_works() {
    let double = Double::start().await;
    let client = Client::connect(options(&double)).await.unwrap();
    obeyed(&double, &client, Order::RefuseOffer).await;
    match client.renegotiate().await {
        Err(ClientError::Refused(error)) => assert_eq!(error.code, ErrorCode::InvalidSdp),
        other => panic!("{other:?}"),
    }
    assert_eq!(client.renegotiate().await.unwrap(), Renegotiated::Answered);
    client.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_the_server_ends_fails_what_waits() {
    let double = Double::start().await;
    let client = Client::connect(options(&double)).await.unwrap();
    double.order(Order::Close(CloseReason::ProtocolViolation));
    let error = client.wait_until(LONG, |_| false).await.unwrap_err();
    assert!(matches!(error, WaitError::Closed(Closed::Closing { reason: CloseReason::ProtocolViolation, .. })), "{error}");
    assert!(matches!(client.request(Request::Ping { received: None }).await, Err(ClientError::Closed(_))));
    assert!(matches!(client.wait_for_report(LONG, |_| false).await, Err(WaitError::Closed(_))));
}

#[tokio::test]
async fn what_is_no_server_is_an_error() {
    for (url, expected) in [("http://127.0.0.1:1/", "not a ws:// URL"), ("ws://127.0.0.1:1/v1/ws", "can't connect")] {
        let error = Client::connect(Options::new(url, "test", "Alice")).await.err().unwrap();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
