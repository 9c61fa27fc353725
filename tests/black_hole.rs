//! A media path on which nothing arrives for a while, with signaling untouched: the session stays, and media is back as soon as the path is.

mod support;
#[path = "support/talker.rs"]
mod talker;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use support::Server;
use switchyard_client::{ClientEvent, Lines};
use switchyard_netem::{BlackHole, Config};
use switchyard_protocol::Event;
use talker::Talker;

const PATIENCE: Duration = Duration::from_secs(20);
/// After its line begins, so that everybody hears everybody before.
const BEGINS: Duration = Duration::from_secs(5);
/// Within the five seconds in which a path counts as up; a restart or two; beyond the 30 s after which the server forgets an unheard address.
const HOLES: [Duration; 3] = [Duration::from_secs(4), Duration::from_secs(12), Duration::from_secs(45)];
/// In which media is back after the path is.
const BACK: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn media_is_back_within_three_seconds_of_the_path_in_the_same_session() {
    let server = Server::start(&[]).await;
    let (url, every) = (server.url(), Duration::from_millis(20));
    let witness = Talker::enter(&url, "demo", "Witness", every, 0).await;
    let talkers = join_all(HOLES.iter().map(|length| {
        let hole = Config { black_holes: vec![BlackHole { at: BEGINS, length: *length }], ..Config::default() };
        let lines = Lines { up: hole.clone(), down: hole, seed: 1 };
        let url = &url;
        async move { Talker::enter_over(Some(lines), url, "demo", &format!("{length:?}"), every, 1).await }
    }))
    .await;
    let began = Instant::now();
    join_all(talkers.iter().map(|talker| talker.hears(HOLES.len(), PATIENCE))).await;
    assert!(began.elapsed() < BEGINS, "too late: the holes begin");
    let mut events = witness.client.events();
    let ids: Vec<_> = talkers.iter().map(|talker| talker.client.id()).collect();

    for ((talker, length), id) in talkers.iter().zip(HOLES).zip(&ids) {
        let over = BEGINS + length + BACK;
        tokio::time::sleep((over + Duration::from_secs(1)).saturating_sub(began.elapsed())).await;
        let gaps = [(&witness, id), (talker, &witness.client.id())].map(|(ear, speaker)| ear.ear.voices()[&speaker.0].longest_gap);
        let state = talker.client.state();
        println!("{length:?}: silent for {gaps:?}; {:?}", state.negotiation);
        for gap in gaps {
            assert!(gap > length - Duration::from_millis(500), "there was no hole: {gap:?}");
            assert!(gap < length + BACK, "{gap:?}");
        }
        assert_eq!((talker.client.id(), state.reconnecting, state.negotiation.failed), (*id, false, 0));
    }
    while let Ok(event) = events.try_recv() {
        let told = matches!(event, ClientEvent::Room(Event::ParticipantLeft { .. } | Event::ParticipantJoined { .. }));
        assert!(!told, "{event:?}");
    }
}
