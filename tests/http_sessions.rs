//! The load bench's publishers by WHIP and players by WHEP, with media past the peer connection.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::Server;
use switchyard_client::{Arrival, HttpError, HttpSession, Kind, Lines, Outgoing, Sender, Sink, Stamp, now_micros};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(20);

/// The numbers of the packets that came, by publication.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<u16, BTreeSet<u64>>>>);

impl Seen {
    /// Waits until `wanted` holds for the numbers of each of these publications.
    async fn each(&self, publications: &[u16], wanted: impl Fn(&BTreeSet<u64>) -> bool) {
        let all = || publications.iter().all(|publication| self.0.lock().unwrap().get(publication).is_some_and(&wanted));
        let waiting = async {
            while !all() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(came.is_ok(), "of {publications:?} came {:?}", self.0.lock().unwrap());
    }

    fn highest(&self) -> u64 {
        self.0.lock().unwrap().values().filter_map(|numbers| numbers.last()).max().copied().unwrap_or(0)
    }
}

impl Sink for Seen {
    fn handle_packet(&mut self, arrival: &Arrival<'_>) -> bool {
        if let Some(stamp) = Stamp::read(arrival.payload) {
            self.0.lock().unwrap().entry(stamp.publication).or_default().insert(stamp.counter);
        }
        false
    }

    fn handle_lag(&mut self, _: u64) {}
}

/// Sends a packet on each track every 10 ms; the n-th is publication `first` + n.
async fn send(mut senders: Vec<Sender>, first: u16) {
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    for counter in 0.. {
        ticks.tick().await;
        for (publication, sender) in (first..).zip(&mut senders) {
            let stamp = Stamp { publisher: 1, publication, counter, sent_micros: now_micros() };
            let payload = stamp.payload(sender.kind(), 300);
            let outgoing = Outgoing { timestamp: counter as u32 * 900, marker: true, payload: payload.len(), audio_level: None };
            sender.push(&outgoing, |out| out.copy_from_slice(&payload));
            sender.flush();
        }
    }
}

async fn publish(server: &Server, room: &str, kinds: &[Kind]) -> HttpSession {
    publish_over(server, room, kinds, None).await
}

async fn publish_over(server: &Server, room: &str, kinds: &[Kind], lines: Option<Lines>) -> HttpSession {
    let url = format!("http://{}/v1/whip/{room}?name=Studio", server.http);
    let session = HttpSession::publish(&url, kinds, Box::new(Seen::default()), lines).await.expect("published");
    session.wait_connected(PATIENCE).await.expect("connected");
    session
}

async fn play(server: &Server, room: &str, audio: usize, video: usize) -> (HttpSession, Seen) {
    play_over(server, room, audio, video, None).await
}

async fn play_over(server: &Server, room: &str, audio: usize, video: usize, lines: Option<Lines>) -> (HttpSession, Seen) {
    let seen = Seen::default();
    let url = format!("http://{}/v1/whep/{room}", server.http);
    let session = HttpSession::play(&url, audio, video, Box::new(seen.clone()), lines).await.expect("plays");
    session.wait_connected(PATIENCE).await.expect("connected");
    (session, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_by_whip_is_played_by_whep_without_a_gap() {
    let server = Server::start(&["--advertise", "127.0.0.1"]).await;
    let mut ada = publish(&server, "demo", &[Kind::Video, Kind::Audio]).await;
    let mut ben = publish(&server, "demo", &[Kind::Video]).await;
    let senders = ada.senders();
    assert_eq!(senders.iter().map(Sender::kind).collect::<Vec<_>>(), [Kind::Video, Kind::Audio]);
    assert!(ada.senders().is_empty(), "one for each track");
    let sending = [tokio::spawn(send(senders, 0)), tokio::spawn(send(ben.senders(), 2))];
    let (first, came) = play(&server, "demo", 2, 2).await;
    assert_ne!(first.media_address(), ada.media_address());
    came.each(&[0, 1, 2], |numbers| numbers.len() > 100).await;
    for (publication, numbers) in came.0.lock().unwrap().iter() {
        let (from, to) = (numbers.first().unwrap(), numbers.last().unwrap());
        assert_eq!(numbers.len() as u64, to - from + 1, "publication {publication} without a gap");
    }
    // One picture fits where only one is asked for.
    let (second, came) = play(&server, "demo", 1, 1).await;
    came.each(&[0, 1], |numbers| numbers.len() > 20).await;
    assert!(!came.0.lock().unwrap().contains_key(&2));
    sending.iter().for_each(|task| task.abort());
    for session in [first, second, ben, ada] {
        session.leave().await.expect("left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn media_goes_on_after_ice_restarts_on_both_sides() {
    let server = Server::start(&["--advertise", "127.0.0.1"]).await;
    let mut ada = publish(&server, "demo", &[Kind::Video]).await;
    let sending = tokio::spawn(send(ada.senders(), 0));
    let (mut player, came) = play(&server, "demo", 0, 1).await;
    came.each(&[0], |numbers| numbers.len() > 20).await;
    for _ in 0..2 {
        for session in [&mut ada, &mut player] {
            let before = session.etag().map(str::to_owned);
            session.restart_ice(PATIENCE).await.expect("restarted");
            assert!(before.is_some() && session.etag() != before.as_deref(), "another ICE session");
            let highest = came.highest();
            came.each(&[0], |numbers| numbers.range(highest + 1..).count() > 50).await;
        }
    }
    sending.abort();
    player.leave().await.expect("left");
    ada.leave().await.expect("left");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_bad_lines_lose_is_sent_again_on_both_sides_of_the_server() {
    let server = Server::start(&["--advertise", "127.0.0.1"]).await;
    let line = |up: &str, down: &str, seed| Some(Lines { up: up.parse().unwrap(), down: down.parse().unwrap(), seed });
    let mut ada = publish_over(&server, "demo", &[Kind::Video], line("loss=5%,delay=10ms", "delay=10ms", 5)).await;
    let sending = tokio::spawn(send(ada.senders(), 0));
    let (player, came) = play_over(&server, "demo", 0, 1, line("delay=10ms", "loss=5%,delay=10ms", 6)).await;
    // Without repair, of 200 packets some 20 are missing.
    let whole =
        |numbers: &BTreeSet<u64>| numbers.first().is_some_and(|first| (*first..first + 200).all(|number| numbers.contains(&number)));
    came.each(&[0], whole).await;
    sending.abort();
    player.leave().await.expect("left");
    ada.leave().await.expect("left");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_refuses_has_its_reason() {
    let server = Server::start(&[]).await;
    let at = |path: &str| format!("http://{}{path}", server.http);
    let play = async |url: String| HttpSession::play(&url, 1, 1, Box::new(Seen::default()), None).await.expect_err("refused");
    match play(at("/v1/whep/demo/7")).await {
        HttpError::Refused { status: 404, code, retryable: false, .. } => assert_eq!(code, "no_such_participant"),
        other => panic!("{other}"),
    }
    let three = HttpSession::publish(&at("/v1/whip/demo"), &[Kind::Video; 3], Box::new(Seen::default()), None).await;
    assert!(matches!(three, Err(HttpError::Refused { status: 422, .. })), "{three:?}");
    let nowhere = play(at("/v1/nowhere")).await;
    assert!(matches!(nowhere, HttpError::Refused { status: 404 | 405, retryable: false, .. }), "{nowhere}");
    assert!(matches!(play("https://127.0.0.1/v1/whep/demo".into()).await, HttpError::Tls(_)));
    assert!(matches!(play("ws://127.0.0.1/v1/ws".into()).await, HttpError::Url(_)));
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert!(matches!(play(format!("http://{nobody}/")).await, HttpError::Connect(_)));
}

/// Answers each request on a connection of its own with the next of `responses`.
async fn other_server(responses: Vec<String>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for response in responses {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            stream.write_all(response.as_bytes()).await.unwrap();
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn redirections_are_followed_and_useless_answers_are_said_to_be() {
    let server = Server::start(&["--advertise", "127.0.0.1"]).await;
    let redirect = |to: &str| format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
    let there = format!("http://{}/v1/whip/demo", server.http);
    let at = other_server(vec![redirect("/again"), redirect(&there)]).await;
    let publish = async |url: &str| HttpSession::publish(url, &[Kind::Video], Box::new(Seen::default()), None).await;
    let session = publish(&format!("http://{at}/whip")).await.expect("redirected");
    session.wait_connected(PATIENCE).await.expect("connected");
    session.leave().await.expect("left where it came in");

    let at = other_server(vec![redirect("/"); 10]).await;
    assert!(matches!(publish(&format!("http://{at}/")).await, Err(HttpError::Refused { status: 307, .. })), "not for ever");
    let created = "HTTP/1.1 201 Created\r\ncontent-length: 5\r\n\r\nhello".to_owned();
    for (response, expected) in [
        (created, "peer connection"),
        ("HTTP/1.1 201 Created\r\ncontent-length: 600000\r\n\r\n".to_owned() + &"a".repeat(600_000), "the body can't be read"),
        ("HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n".to_owned() + "\u{e9}", "peer connection"),
        ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 6\r\n\r\nlater\n".to_owned(), "refused (503 ): later"),
        ("nonsense\r\n\r\n".to_owned(), "can't connect"),
    ] {
        let at = other_server(vec![response]).await;
        let said = publish(&format!("http://{at}/")).await.expect_err("of no use").to_string();
        assert!(said.contains(expected), "{expected}: {said}");
    }
}
