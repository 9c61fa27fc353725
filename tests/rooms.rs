//! Rooms with real media: headless participants against the real program.

mod support;

use std::time::Duration;

use futures_util::future::try_join_all;
use support::Server;
use switchyard_client::{Client, DataPayload, Encoding, Media, Options, Publish, Sequence, Source};

const PATIENCE: Duration = Duration::from_secs(30);

fn camera(packets_per_second: u32) -> Publish {
    Publish::new(Source::Camera, Media::Sequence(Sequence { packets_per_second, bytes: 1000, burst: 1 }))
}

/// Everybody in a room, each publishing a camera that does not send yet, connected, with everybody else in their slots.
async fn meet(server: &Server, count: usize, packets_per_second: u32) -> Vec<Client> {
    let clients = try_join_all((0..count).map(|n| {
        let mut options = Options::new(server.url(), "demo", format!("Participant {n}")).publish(camera(packets_per_second));
        options.sending = false;
        options.encoding = if n % 2 == 0 { Encoding::Json } else { Encoding::MessagePack };
        Client::connect(options)
    }))
    .await
    .expect("everybody joins");
    for client in &clients {
        client.wait_connected(PATIENCE).await.expect("connected");
        client.wait_until(PATIENCE, |state| state.slots.len() == count - 1).await.expect("everybody in a slot");
    }
    clients
}

/// Lets everybody send for `duration`, then checks that everybody has every packet of everybody else, once and in order.
async fn exchange(clients: &[Client], rate: u32, duration: Duration) {
    try_join_all(clients.iter().map(|client| client.set_sending(true))).await.expect("sending");
    tokio::time::sleep(duration).await;
    try_join_all(clients.iter().map(|client| client.set_sending(false))).await.expect("stopped");
    let sent: Vec<_> = clients
        .iter()
        .map(|client| (client.id(), client.state().published.values().map(|published| published.packets_sent()).sum::<u64>()))
        .collect();
    let least = u64::from(rate) * duration.as_secs() * 8 / 10;
    assert!(sent.iter().all(|(_, sent)| *sent >= least), "the senders keep their rate: {sent:?}");
    for client in clients {
        let wanted = sent.iter().filter(|(id, _)| *id != client.id());
        let report = client
            .wait_for_report(Duration::from_secs(5), |report| {
                wanted.clone().all(|(id, sent)| report.sequences.get(&(*id, 0)).is_some_and(|sequence| sequence.progress.received >= *sent))
            })
            .await
            .unwrap_or_else(|_| client.report());
        for (id, sent) in wanted {
            let progress = report.sequences.get(&(*id, 0)).map(|sequence| sequence.progress.clone()).unwrap_or_default();
            assert_eq!(
                (progress.received, progress.lost(), progress.duplicated, progress.reordered),
                (*sent, 0, 0, 0),
                "{:?} of {id:?}'s packets: received, lost, duplicated, reordered",
                client.id()
            );
        }
        assert_eq!((report.misrouted, report.unassigned, report.unknown_ssrc), (0, 0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_participants_hear_each_other_and_talk_over_the_data_channel() {
    let server = Server::start(&[]).await;
    let clients = meet(&server, 2, 100).await;
    exchange(&clients, 100, Duration::from_secs(1)).await;

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
    let server = Server::start(&["--span-rooms", "--workers", "2"]).await;
    let clients = meet(&server, 12, 250).await;
    exchange(&clients, 250, Duration::from_secs(4)).await;
}
