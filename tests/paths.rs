//! Lines that change or die under a participant, without a word of signaling: media and data go on.

#[path = "support/http.rs"]
mod http;
#[path = "support/nat.rs"]
mod nat;
#[path = "support/peer.rs"]
mod peer;
mod support;

use std::time::{Duration, Instant};

use nat::Nat;
use peer::Peer;
use support::Server;
use switchyard_client::Kind;

const BOTH: [Kind; 2] = [Kind::Video, Kind::Audio];
const RELIABLE: &str = "switchyard";
const LOSSY: &str = "switchyard-lossy";
/// In which media has to go on after a NAT has given somebody another port.
const REBINDING: Duration = Duration::from_secs(5);

async fn server() -> Server {
    Server::start(&["--advertise", "127.0.0.1"]).await
}

async fn publisher(server: &Server, name: &str, nat: &Nat, kinds: &[Kind]) -> Peer {
    let mut peer = Peer::publish_behind(server.http, &format!("/v1/whip/demo?name={name}"), kinds, server.media, nat.inside).await;
    peer.connected().await;
    peer.channels_open().await;
    peer
}

/// A message that tells its number.
fn numbered(number: u32, len: usize) -> Vec<u8> {
    let mut message = number.to_be_bytes().to_vec();
    message.resize(len, 7);
    message
}

/// Without who sent it.
fn payload(message: &[u8]) -> &[u8] {
    &message[4..]
}

#[tokio::test(flavor = "multi_thread")]
async fn media_and_data_follow_a_participant_whose_nat_changes_its_port() {
    let server = server().await;
    let (outer, inner, still) = (Nat::new(server.media).await, Nat::new(server.media).await, Nat::new(server.media).await);
    let mut ada = publisher(&server, "Ada", &outer, &BOTH).await;
    let mut ben = publisher(&server, "Ben", &still, &[Kind::Audio]).await;
    let mut player = Peer::play_behind(server.http, "/v1/whep/demo", &BOTH, server.media, inner.inside).await;
    player.connected().await;
    ada.send();
    let tracks = [(ada.participant(), 0), (ada.participant(), 1)];
    player.receives(&tracks, 20).await;
    for round in 0..2u32 {
        // The publisher's: what it sends is taken from nowhere else until its path is checked again.
        for nat in [&outer, &inner] {
            nat.rebind();
            let rebound = Instant::now();
            // What was under way may still come.
            tokio::time::sleep(Duration::from_millis(200)).await;
            player.receives(&tracks, 20).await;
            println!("media after {:?}", rebound.elapsed());
            assert!(rebound.elapsed() < REBINDING, "media after {:?}", rebound.elapsed());
        }
        let (up, down) = (numbered(round, 65_536), numbered(round + 100, 65_536));
        ada.send_data(RELIABLE, &up).await;
        ben.send_data(RELIABLE, &down).await;
        let came = ben.next_data(RELIABLE, REBINDING).await.expect("from who was rebound");
        assert!(payload(&came) == up, "{} bytes", came.len());
        let came = ada.next_data(RELIABLE, REBINDING).await.expect("to who was rebound");
        assert!(payload(&came) == down, "{} bytes", came.len());
    }
    ada.send_text(RELIABLE, "still here").await;
    let text = ben.next_data(RELIABLE, REBINDING).await.expect("a text");
    assert_eq!(text, format!("{}\nstill here", ada.participant()).into_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_data_channel_is_relayed_to_the_one_of_its_kind() {
    let server = server().await;
    let (nat, still) = (Nat::new(server.media).await, Nat::new(server.media).await);
    let mut ada = publisher(&server, "Ada", &nat, &[Kind::Audio]).await;
    let mut ben = publisher(&server, "Ben", &still, &[Kind::Audio]).await;
    ada.send_data(RELIABLE, b"reliable").await;
    ada.send_data(LOSSY, b"lossy").await;
    let (reliable, lossy) = (ben.next_data(RELIABLE, REBINDING).await, ben.next_data(LOSSY, REBINDING).await);
    assert_eq!((payload(&reliable.unwrap()), payload(&lossy.unwrap())), (&b"reliable"[..], &b"lossy"[..]));
    // Three seconds without a line: of what may be lost some is, and the latest is not; of the rest nothing is.
    nat.cut(true);
    for number in 0..300 {
        ben.send_data(LOSSY, &numbered(number, 100)).await;
        if number % 10 == 0 {
            ben.send_data(RELIABLE, &numbered(number, 100)).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    nat.cut(false);
    for number in (0..300).step_by(10) {
        let came = ada.next_data(RELIABLE, Duration::from_secs(3)).await.expect("everything reliable");
        assert_eq!(payload(&came), numbered(number, 100));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let lossy = ada.data(LOSSY);
    assert!(lossy.len() < 250, "{} of 300 came", lossy.len());
    assert_eq!(payload(lossy.last().expect("the latest")), numbered(299, 100));
}

/// Longer than consent lasts: nothing is sent to the participant any more, until it restarts ICE.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_reliable_is_lost_while_a_participant_is_away_for_45_seconds() {
    let server = server().await;
    let (nat, still) = (Nat::new(server.media).await, Nat::new(server.media).await);
    let mut ada = publisher(&server, "Ada", &nat, &[Kind::Audio]).await;
    let mut ben = publisher(&server, "Ben", &still, &[Kind::Audio]).await;
    nat.cut(true);
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for number in 0..450 {
        ticks.tick().await;
        ben.send_data(RELIABLE, &numbered(number, 200)).await;
    }
    nat.cut(false);
    ada.restart_ice().await;
    let back = Instant::now();
    for number in 0..450 {
        let came = ada.next_data(RELIABLE, Duration::from_secs(5)).await.unwrap_or_else(|| panic!("nothing after {number} messages"));
        assert_eq!(payload(&came), numbered(number, 200));
        if number == 0 {
            println!("the first message after {:?}", back.elapsed());
            assert!(back.elapsed() < Duration::from_secs(3), "{:?}", back.elapsed());
        }
    }
    println!("450 messages after {:?}", back.elapsed());
}
