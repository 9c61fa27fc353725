//! WebSockets that are cut while a call goes on: nobody hears a gap, nobody is told, and nothing that was said is lost.

#[path = "support/proxy.rs"]
mod proxy;
mod support;
#[path = "support/talker.rs"]
mod talker;

use std::time::Duration;

use futures_util::future::join_all;
use proxy::Proxy;
use support::{Server, Socket};
use switchyard_client::{ClientEvent, Request};
use switchyard_protocol::Event;
use talker::{EVERYBODY, Talker};
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep_until};

const PATIENCE: Duration = Duration::from_secs(30);
const ROOMS: usize = 5;
const ROOM: usize = 10;
const AWAY: Duration = Duration::from_secs(3);
/// Longer than this, and people notice: three packets of 100 ms.
const GAP: Duration = Duration::from_millis(300);
const SEED: u64 = 9;

/// What a participant was told of others while it read `chats` messages.
async fn told(events: &mut broadcast::Receiver<ClientEvent>, chats: usize) -> (Vec<String>, Vec<Event>) {
    let (mut said, mut others, mut resumed) = (Vec::new(), Vec::new(), 0);
    let read = async {
        while said.len() < chats || resumed == 0 {
            match events.recv().await.expect("the session goes on") {
                ClientEvent::Room(Event::Chat { message }) => said.push(message.text),
                ClientEvent::Room(Event::Slots { .. }) | ClientEvent::Data(_) => {}
                // The state tells of who is there a moment before the event does.
                ClientEvent::Room(Event::ParticipantJoined { participant }) if participant.name == "Witness" => {}
                ClientEvent::Room(event) => others.push(event),
                ClientEvent::Resumed { missed } => {
                    assert!(!missed, "three seconds fit");
                    resumed += 1;
                }
                event @ (ClientEvent::Rejoined { .. } | ClientEvent::Renewed | ClientEvent::Closed(_)) => panic!("{event:?}"),
            }
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, read).await;
    assert!(in_time.is_ok(), "{said:?}, {others:?}, resumed {resumed} times");
    (said, others)
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_people_without_signaling_for_three_seconds_notice_nothing() {
    println!("seed {SEED}");
    let server = Server::start(&EVERYBODY).await;
    let proxy = Proxy::start(server.http).await;
    let mut talkers: Vec<Talker> = Vec::new();
    // In each room somebody whose connection is not cut.
    let mut witnesses: Vec<Socket> = Vec::new();
    for room in 0..ROOMS {
        let (url, id) = (proxy.url(), format!("room-{room}"));
        let entering = (0..ROOM).map(|number| {
            let (url, id) = (&url, &id);
            async move {
                Talker::enter(url, id, &format!("{number} of {room}"), Duration::from_millis(20), SEED + (room * ROOM + number) as u64)
                    .await
            }
        });
        talkers.extend(join_all(entering).await);
        witnesses.push(server.join(&id, "Witness").await.0);
    }
    join_all(talkers.iter().map(|talker| talker.hears(ROOM - 1, PATIENCE))).await;
    for talker in &talkers {
        talker.client.wait_until(PATIENCE, |state| state.participants.len() == ROOM).await.expect("everybody is told of everybody");
    }
    let ids: Vec<_> = talkers.iter().map(|talker| talker.client.id()).collect();
    let mut events: Vec<_> = talkers.iter().map(|talker| talker.client.events()).collect();
    let attempts = proxy.attempts();
    talkers.iter().for_each(|talker| talker.ear.clear());

    let back = Instant::now() + AWAY;
    proxy.cut();
    for talker in &talkers {
        talker.client.wait_until(PATIENCE, |state| state.reconnecting).await.expect("lost");
    }
    // The first of each room says something that nobody gets yet; the witness says something that only those who are back get.
    let asked: Vec<_> = talkers
        .iter()
        .step_by(ROOM)
        .map(|talker| {
            let client = talker.client.clone();
            tokio::spawn(async move { client.request(Request::Chat { text: "can you hear me?".into(), to: None }).await })
        })
        .collect();
    for witness in &mut witnesses {
        witness.request(Request::Chat { text: "where are you?".into(), to: None }).await.expect("said");
    }
    sleep_until(back).await;
    let tries = proxy.attempts() - attempts;
    proxy.mend();
    for events in &mut events {
        let (said, others) = told(events, 2).await;
        assert_eq!(said, ["where are you?", "can you hear me?"]);
        assert_eq!(others, [], "nobody came, went or changed");
    }
    for asked in asked {
        asked.await.unwrap().expect("said in the end");
    }
    let after: Vec<_> = talkers.iter().map(|talker| talker.client.id()).collect();
    assert_eq!(after, ids);
    // Full jitter: the waits are 50, 100, 200, 400, 800 and then 1000 ms on average.
    println!("{tries} tries of {} in {AWAY:?}", talkers.len());
    assert!((2 * talkers.len()..12 * talkers.len()).contains(&tries), "{tries} tries");

    let mut longest = Duration::ZERO;
    for talker in &talkers {
        let voices = talker.ear.voices();
        assert_eq!(voices.len(), ROOM - 1);
        for (publisher, voice) in voices {
            assert_eq!(voice.lost, 0, "of {publisher}'s packets at {:?}", talker.client.id());
            assert!(voice.received as f64 > AWAY.as_secs_f64() * 50.0 * 0.9, "{voice:?}");
            longest = longest.max(voice.longest_gap);
        }
    }
    println!("the longest gap: {longest:?}");
    assert!(longest < GAP, "{longest:?}");
    for witness in &mut witnesses {
        // Everything that the room was told by now comes before the reply.
        witness.request(Request::Ping { received: None }).await.expect("answered");
        let left = witness.events.iter().find(|event| matches!(event, Event::ParticipantLeft { .. }));
        assert!(left.is_none(), "{left:?}");
    }
}
