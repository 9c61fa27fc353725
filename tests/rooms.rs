//! Rooms with real media: headless participants against the real program.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::try_join_all;
use support::Server;
use switchyard_client::{Client, DataPayload, Encoding, Media, Options, ParticipantId, Publish, Report, Sequence, Source, State};

const PATIENCE: Duration = Duration::from_secs(30);

fn camera(packets_per_second: u32) -> Publish {
    Publish::new(Source::Camera, Media::Sequence(Sequence { packets_per_second, bytes: 1000, burst: 1 }))
}

/// A participant, and how much each of the others had sent when both were there.
struct Member {
    client: Client,
    missed: BTreeMap<ParticipantId, u64>,
}

fn sent(client: &Client) -> u64 {
    client.state().published.values().map(|published| published.packets_sent()).sum()
}

/// Lets participants into the room, each publishing a camera that does not send yet, until everybody is connected and has everybody else in
/// a slot. `rate`: packets a second.
async fn enter(server: &Server, members: &mut Vec<Member>, count: usize, rate: u32) {
    let clients = try_join_all((0..count).map(|n| {
        let mut options = Options::new(server.url(), "demo", format!("Participant {n}")).publish(camera(rate));
        options.sending = false;
        options.encoding = if n % 2 == 0 { Encoding::Json } else { Encoding::MessagePack };
        Client::connect(options)
    }))
    .await
    .expect("everybody joins");
    let before: BTreeMap<_, _> = members.iter().map(|member| (member.client.id(), sent(&member.client))).collect();
    members.extend(clients.into_iter().map(|client| Member { client, missed: before.clone() }));
    settle(members).await;
}

/// Waits until everybody is connected and has everybody else, and nobody who left, in a slot.
async fn settle(members: &[Member]) {
    for Member { client, .. } in members {
        client.wait_connected(PATIENCE).await.expect("connected");
        let everybody = |state: &State| {
            let shown: BTreeSet<_> = state.slots.values().copied().collect();
            shown.len() == members.len() - 1 && shown == state.tracks().map(|(_, track)| track.id).collect()
        };
        client.wait_until(PATIENCE, everybody).await.expect("everybody in a slot");
    }
}

/// Lets everybody send for `duration`, then checks that everybody has every packet of everybody else since they met, once and in order.
async fn exchange(members: &[Member], rate: u32, duration: Duration) {
    let before: Vec<u64> = members.iter().map(|member| sent(&member.client)).collect();
    try_join_all(members.iter().map(|member| member.client.set_sending(true))).await.expect("sending");
    tokio::time::sleep(duration).await;
    try_join_all(members.iter().map(|member| member.client.set_sending(false))).await.expect("stopped");
    let after: Vec<(ParticipantId, u64)> = members.iter().map(|member| (member.client.id(), sent(&member.client))).collect();
    let least = u64::from(rate) * duration.as_secs() * 8 / 10;
    assert!(after.iter().zip(&before).all(|((_, after), before)| after - before >= least), "the senders keep their rate: {after:?}");
    for Member { client, missed } in members {
        let others = after.iter().filter(|(id, _)| *id != client.id());
        let complete = |report: &Report| {
            others.clone().all(|(id, sent)| report.sequences.get(&(*id, 0)).is_some_and(|sequence| sequence.progress.last + 1 >= *sent))
        };
        let report = client.wait_for_report(Duration::from_secs(5), complete).await.unwrap_or_else(|_| client.report());
        for (id, sent) in others {
            let progress = report.sequences.get(&(*id, 0)).map(|sequence| sequence.progress.clone()).unwrap_or_default();
            let missed = missed.get(id).copied().unwrap_or(0);
            assert_eq!(
                (progress.received, progress.lost(), progress.duplicated, progress.reordered),
                (sent - missed, 0, 0, 0),
                "of {id:?}'s packets at {:?}: received, lost, duplicated, reordered",
                client.id()
            );
        }
        assert_eq!((report.misrouted, report.unassigned, report.unknown_ssrc), (0, 0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_participants_hear_each_other_and_talk_over_the_data_channel() {
    let server = Server::start(&[]).await;
    let mut members = Vec::new();
    enter(&server, &mut members, 2, 100).await;
    exchange(&members, 100, Duration::from_secs(1)).await;

    let clients: Vec<&Client> = members.iter().map(|member| &member.client).collect();
    let mut events = clients[1].events();
    clients[0].send_text(None, "hello\neverybody").await.unwrap();
    clients[0].send_binary(Some(clients[1].id()), &vec![7; 60_000]).await.unwrap();
    let mut payloads = Vec::new();
    while payloads.len() < 2 {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await.expect("a message in time").unwrap();
        if let switchyard_client::ClientEvent::Data(message) = event {
            assert_eq!(message.from, clients[0].id());
            payloads.push(message.payload);
        }
    }
    assert!(matches!(&payloads[0], DataPayload::Text(text) if text == "hello\neverybody"));
    assert!(matches!(&payloads[1], DataPayload::Binary(bytes) if **bytes == [7; 60_000]));
}

/// All to all, the room forced over two workers: 33,000 packets a second leave the server, and none may be missing.
#[tokio::test(flavor = "multi_thread")]
async fn twelve_participants_over_two_workers_get_every_packet_once_and_in_order() {
    let server = Server::start(&["--span-rooms", "--workers", "2", "--shown", "11"]).await;
    let mut members = Vec::new();
    enter(&server, &mut members, 12, 250).await;
    exchange(&members, 250, Duration::from_secs(4)).await;
}

/// Slots are refilled, grow and shrink, and tracks begin and cease to cross between the workers, while nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_and_goes_disturbs_nobody_elses_packets() {
    let server = Server::start(&["--span-rooms", "--workers", "2"]).await;
    let mut members = Vec::new();
    enter(&server, &mut members, 3, 100).await;
    exchange(&members, 100, Duration::from_secs(1)).await;
    for (leave, join) in [(1, 6), (6, 0), (1, 4)] {
        for member in members.drain(..leave) {
            member.client.leave().await.expect("left");
        }
        settle(&members).await;
        enter(&server, &mut members, join, 100).await;
        exchange(&members, 100, Duration::from_secs(1)).await;
    }
}
