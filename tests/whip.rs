//! WHIP and WHEP: the real program, peer connections of the crate `webrtc`, plain HTTP, and participants of the WebSocket in the same rooms.

#[path = "support/http.rs"]
mod http;
#[path = "support/peer.rs"]
mod peer;
mod support;

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use http::{Response, offer, request};
use peer::Peer;
use support::{Server, Socket};
use switchyard_client::{Client, Kind, Media, Options, Publish, Sequence, Source, State};
use switchyard_protocol::{Event, LeaveReason, ParticipantId};

const PATIENCE: Duration = Duration::from_secs(20);
const SDP: &str = "content-type: application/sdp";
const FRAGMENT: &str = "content-type: application/trickle-ice-sdpfrag";
const BOTH: [Kind; 2] = [Kind::Video, Kind::Audio];

async fn post(server: &Server, path: &str, sdp: &str) -> Response {
    request(server.http, "POST", path, &[SDP], sdp.as_bytes()).await
}

async fn server() -> Server {
    Server::start(&["--advertise", "127.0.0.1"]).await
}

fn camera() -> Publish {
    Publish::new(Source::Camera, Media::Sequence(Sequence { packets_per_second: 100, bytes: 300, burst: 1 }))
}

fn microphone() -> Publish {
    Publish::new(Source::Microphone, Media::Sequence(Sequence { packets_per_second: 50, bytes: 100, burst: 1 }))
}

async fn left(socket: &mut Socket) -> (ParticipantId, LeaveReason) {
    socket
        .event(|event| match event {
            Event::ParticipantLeft { participant, reason } => Some((*participant, *reason)),
            _ => None,
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_by_whip_is_received_in_the_room() {
    let server = server().await;
    let watcher = Client::connect(Options::new(server.url(), "demo", "Ada")).await.expect("joins");
    let mut publisher = Peer::publish(server.http, "/v1/whip/demo?name=Studio%20One", &BOTH).await;
    let id = ParticipantId(publisher.participant());
    let shown = |state: &State| state.slots.len() == 2;
    watcher.wait_until(PATIENCE, shown).await.expect("both tracks are in a slot");
    let participant = watcher.state().participants[&id].clone();
    assert_eq!(participant.name, "Studio One");
    assert_eq!(participant.tracks.iter().map(|track| track.source).collect::<Vec<_>>(), [Source::Camera, Source::Microphone]);

    publisher.connected().await;
    publisher.send();
    let both = |report: &switchyard_client::Report| {
        [0, 1].iter().all(|publication| report.sequences.get(&(id, *publication)).is_some_and(|sequence| sequence.progress.received >= 100))
    };
    let report = watcher.wait_for_report(PATIENCE, both).await.expect("both tracks arrive");
    assert_eq!(report.misrouted, 0);

    assert_eq!(publisher.delete().await.status, 200);
    watcher.wait_until(PATIENCE, |state| state.participants.is_empty()).await.expect("gone at once");
    assert_eq!(publisher.delete().await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn whep_plays_one_or_everybody_and_fills_its_slots_as_people_come_and_go() {
    let server = server().await;
    let ada = Client::connect(Options::new(server.url(), "demo", "Ada").publish(camera()).publish(microphone())).await.expect("joins");
    let ben = Client::connect(Options::new(server.url(), "demo", "Ben").publish(camera())).await.expect("joins");
    let (a, b) = (ada.id().0, ben.id().0);
    let lines = [Kind::Video, Kind::Audio, Kind::Video, Kind::Audio];
    let one = Peer::play(server.http, &format!("/v1/whep/demo/{b}"), &lines).await;
    let all = Peer::play(server.http, "/v1/whep/demo", &lines).await;
    all.receives(&[(a, 0), (a, 1), (b, 0)], 50).await;
    one.receives(&[(b, 0)], 50).await;
    assert_eq!(one.counts().keys().copied().collect::<Vec<_>>(), [(b, 0)], "nobody else's");
    assert!(ada.state().participants.keys().eq([&ben.id()]), "players are not shown");

    // What comes later comes into the slot that is there; a third waits until one is free.
    ben.publish(microphone()).await.expect("published");
    one.receives(&[(b, 0), (b, 1)], 20).await;
    let eve = Client::connect(Options::new(server.url(), "demo", "Eve").publish(camera())).await.expect("joins");
    let e = eve.id().0;
    all.receives(&[(a, 0), (b, 0), (b, 1)], 20).await;
    assert!(!all.counts().contains_key(&(e, 0)), "there is no third slot");
    ada.leave().await.expect("left");
    all.receives(&[(b, 0), (e, 0)], 20).await;

    // Who plays one participant goes with them.
    ben.leave().await.expect("left");
    one.gone().await;
    all.receives(&[(e, 0)], 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_that_comes_first_gets_what_is_published_by_whip_later() {
    let server = server().await;
    let player = Peer::play(server.http, "/v1/whep/early", &BOTH).await;
    let mut publisher = Peer::publish(server.http, "/v1/whip/early", &BOTH).await;
    publisher.connected().await;
    publisher.send();
    let id = publisher.participant();
    player.receives(&[(id, 0), (id, 1)], 50).await;
    assert_eq!(publisher.delete().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_trickle_and_ice_restarts_on_both_sides_of_the_server() {
    let server = server().await;
    let mut publisher = Peer::publish(server.http, "/v1/whip/demo", &BOTH).await;
    let mut player = Peer::play(server.http, &format!("/v1/whep/demo/{}", publisher.participant()), &BOTH).await;
    for peer in [&mut publisher, &mut player] {
        let candidate = tokio::time::timeout(PATIENCE, peer.candidates.recv()).await.expect("a candidate").unwrap();
        let trickled = peer.patch(&peer.etag, &format!("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na={candidate}\r\n")).await;
        assert_eq!((trickled.status, trickled.header("etag")), (204, None), "{candidate}: {}", trickled.body);
    }
    publisher.connected().await;
    publisher.send();
    let id = publisher.participant();
    player.receives(&[(id, 0), (id, 1)], 20).await;

    for _ in 0..2 {
        let old = publisher.etag.clone();
        publisher.restart_ice().await;
        assert_eq!(publisher.patch(&old, "a=end-of-candidates\r\n").await.code(), "wrong_state");
        assert_eq!(publisher.patch(&publisher.etag, "a=end-of-candidates\r\n").await.status, 204);
        player.receives(&[(id, 0), (id, 1)], 50).await;
        player.restart_ice().await;
        player.receives(&[(id, 0), (id, 1)], 50).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gstreamer_publishes_by_whip_and_decodes_what_it_plays_by_whep() {
    let server = Server::start(&[]).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/gstreamer.py");
    let url = format!("http://{}", server.http);
    let mut run = tokio::process::Command::new(script).args([&url, "interop", "--again"]).kill_on_drop(true).spawn().expect("it starts");
    let status = tokio::time::timeout(4 * PATIENCE, run.wait()).await.expect("ends in time").expect("waited for");
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_has_its_error_and_nobody_in_the_room_hears_of_it() {
    let server = server().await;
    let (mut watcher, joined) = server.join("demo", "Ada").await;
    let (av, recvonly) = (offer(&[("audio", "sendonly"), ("video", "sendonly")]), offer(&[("audio", "recvonly"), ("video", "recvonly")]));
    let whep_one = format!("/v1/whep/demo/{}", joined.participant.0);
    let large = "a".repeat(600_000);
    for (method, path, header, body, status, code) in [
        ("POST", "/v1/whip/demo", "content-type: text/plain", av.as_bytes(), 415, "wrong_encoding"),
        ("POST", "/v1/whip/demo", "x: y", av.as_bytes(), 415, "wrong_encoding"),
        ("POST", "/v1/whip/demo", SDP, large.as_bytes(), 413, "too_large"),
        ("POST", "/v1/whip/demo", SDP, b"hello", 400, "invalid_sdp"),
        ("POST", "/v1/whip/demo", SDP, b"\xff", 400, "malformed"),
        ("POST", "/v1/whip/demo", SDP, b"", 400, "invalid_sdp"),
        ("POST", "/v1/whip/demo", SDP, recvonly.as_bytes(), 400, "invalid_sdp"),
        ("POST", "/v1/whip/demo", SDP, av.replace("opus", "speex").as_bytes(), 400, "invalid_sdp"),
        ("POST", "/v1/whip/demo", SDP, av.replace("actpass", "passive").as_bytes(), 400, "invalid_sdp"),
        ("POST", "/v1/whip/demo", SDP, offer(&[("video", "sendonly"); 3]).as_bytes(), 422, "invalid_sdp"),
        ("POST", "/v1/whip/a%20room", SDP, av.as_bytes(), 400, "invalid_room"),
        ("POST", "/v1/whip/demo?name=", SDP, av.as_bytes(), 400, "invalid_name"),
        ("POST", "/v1/whip/demo?name=a%00b", SDP, av.as_bytes(), 400, "invalid_name"),
        ("PUT", "/v1/whip/demo", SDP, av.as_bytes(), 405, "unknown_type"),
        ("DELETE", "/v1/whip/demo", "x: y", b"", 405, "unknown_type"),
        ("POST", "/v1/whep/demo", SDP, av.as_bytes(), 400, "invalid_sdp"),
        ("POST", "/v1/whep/demo", "x: y", recvonly.as_bytes(), 415, "wrong_encoding"),
        ("POST", "/v1/whep/a%20room", SDP, recvonly.as_bytes(), 400, "invalid_room"),
        ("POST", "/v1/whep/demo/999", SDP, recvonly.as_bytes(), 404, "no_such_participant"),
        ("POST", "/v1/whep/demo/ada", SDP, recvonly.as_bytes(), 404, "no_such_participant"),
        ("POST", "/v1/whep/elsewhere/1", SDP, recvonly.as_bytes(), 404, "no_such_participant"),
        ("POST", &whep_one, SDP, av.as_bytes(), 400, "invalid_sdp"),
        ("PUT", &whep_one, SDP, recvonly.as_bytes(), 405, "unknown_type"),
        ("PATCH", "/v1/sessions/0123", FRAGMENT, b"a=end-of-candidates", 404, "no_such_participant"),
        ("DELETE", "/v1/sessions/0123", "x: y", b"", 404, "no_such_participant"),
    ] {
        let response = request(server.http, method, path, &[header], body).await;
        assert_eq!((response.status, response.code()), (status, code), "{method} {path} {header}: {}", response.body);
        assert_eq!(response.header("access-control-allow-origin"), Some("*"));
        assert_eq!(response.header("allow").is_some(), status == 405, "{method} {path}");
    }
    // Whoever had come in would have been heard of before this.
    let (_ben, ben) = server.join("demo", "Ben").await;
    let first = watcher.event(|event| if let Event::ParticipantJoined { participant } = event { Some(participant.id) } else { None }).await;
    assert_eq!(first, ben.participant);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_a_resource_that_takes_fragments_for_its_ice_session_only() {
    let server = server().await;
    let created = post(&server, "/v1/whep/demo", &offer(&[("video", "recvonly")])).await;
    assert_eq!(created.status, 201);
    let (path, etag) = (created.header("location").unwrap(), created.header("etag").unwrap());
    assert!(path.strip_prefix("/v1/sessions/").is_some_and(|id| id.len() == 32), "128 bits: {path}");
    assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 2, "a strong tag: {etag}");
    let if_match = |tag: &str| format!("if-match: {tag}");
    let same = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdefghijkl\r\na=candidate:1 1 udp 1 192.0.2.1 5000 typ host\r\n";
    let new = "a=ice-ufrag:efgh\r\na=ice-pwd:0123456789abcdefghijkl\r\n";
    for (headers, body, status, code) in [
        (vec![SDP, &if_match(etag)], same, 415, "wrong_encoding"),
        (vec![FRAGMENT], same, 428, "wrong_state"),
        (vec![FRAGMENT, &if_match("\"other\"")], same, 412, "wrong_state"),
        (vec![FRAGMENT, &if_match(&format!("W/{etag}"))], same, 412, "wrong_state"),
        (vec![FRAGMENT, &if_match("\"other\"")], new, 412, "wrong_state"),
        (vec![FRAGMENT, &if_match(etag)], "hello", 400, "invalid_sdp"),
        (vec![FRAGMENT, &if_match(etag)], "a=candidate:1\r\n", 400, "invalid_candidate"),
        (vec![FRAGMENT, &if_match("*")], "a=ice-ufrag:efgh\r\n", 400, "invalid_sdp"),
    ] {
        let response = request(server.http, "PATCH", path, &headers, body.as_bytes()).await;
        assert_eq!((response.status, response.code()), (status, code), "{headers:?} {body}: {}", response.body);
    }
    for tags in [etag.to_owned(), format!("\"other\", {etag}"), "*".into(), "\"*\"".into()] {
        let response = request(server.http, "PATCH", path, &[FRAGMENT, &if_match(&tags)], same.as_bytes()).await;
        assert_eq!((response.status, response.header("etag"), response.body.as_str()), (204, None, ""), "{tags}");
    }
    // Other credentials than before restart ICE whatever the tag says, as long as it fits.
    let restarted = request(server.http, "PATCH", path, &[FRAGMENT, &if_match(etag)], new.as_bytes()).await;
    assert_eq!(restarted.status, 200);
    assert_ne!(restarted.header("etag"), Some(etag));
    assert!(restarted.body.contains("a=ice-lite\r\n") && restarted.body.contains("a=candidate:") && restarted.body.contains("a=ice-pwd:"));

    let flood = join_all((0..100).map(|_| request(server.http, "PATCH", path, &[FRAGMENT, "if-match: *"], b"a=end-of-candidates"))).await;
    let refused: Vec<&Response> = flood.iter().filter(|response| response.status != 204).collect();
    assert!(!refused.is_empty() && refused.iter().all(|response| response.status == 429 && response.code() == "rate_limited"));

    for (method, path, status) in [
        ("GET", path, 204),
        ("HEAD", path, 204),
        ("GET", "/v1/whip/demo", 204),
        ("HEAD", "/v1/whep/demo", 200),
        ("GET", "/v1/sessions/0", 404),
    ] {
        assert_eq!(request(server.http, method, path, &[], b"").await.status, status, "{method} {path}");
    }
    assert_eq!(request(server.http, "HEAD", "/v1/whep/demo/1", &[], b"").await.header("content-type"), Some("application/sdp"));
    for (path, method) in [("/v1/whip/demo", "POST"), ("/v1/whep/demo", "POST"), ("/v1/whep/demo/1", "POST"), (path, "PATCH")] {
        let options = request(server.http, "OPTIONS", path, &["origin: https://example.com"], b"").await;
        assert_eq!(options.status, 200);
        let accepted = options.header("accept-post").or(options.header("accept-patch"));
        assert_eq!(accepted, Some(if method == "POST" { "application/sdp" } else { "application/trickle-ice-sdpfrag" }));
        assert!(options.header("access-control-allow-methods").is_some_and(|methods| methods.contains(method)));
        assert!(options.header("access-control-allow-headers").is_some_and(|headers| headers.contains("if-match")));
        assert_eq!(options.header("access-control-allow-origin"), Some("*"));
    }
    assert_eq!(request(server.http, "POST", path, &[SDP], b"").await.code(), "unknown_type");
    assert_eq!(request(server.http, "DELETE", path, &["if-match: \"other\""], b"").await.status, 200, "DELETE ignores tags");
    assert_eq!(request(server.http, "DELETE", path, &[], b"").await.status, 404);
}

/// The TURN server that a response tells of: its URL, until when the credentials are good, and for whom.
fn turn_server(response: &Response) -> Option<(&str, u64, &str)> {
    let (url, attributes) = response.header("link")?.strip_prefix('<')?.split_once(">; ")?;
    let attribute =
        |name: &str| attributes.split("; ").find_map(|attribute| attribute.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'));
    assert_eq!((attribute("rel"), attribute("credential-type")), (Some("ice-server"), Some("password")), "{attributes}");
    assert!(!attribute("credential")?.is_empty());
    let (expires, user) = attribute("username")?.split_once(':')?;
    Some((url, expires.parse().ok()?, user))
}

#[tokio::test(flavor = "multi_thread")]
async fn turn_servers_are_in_link_fields_with_fresh_credentials_when_ice_restarts() {
    let server = Server::start(&["--turn"]).await;
    for (path, direction) in [("/v1/whip/demo", "sendonly"), ("/v1/whep/demo", "recvonly")] {
        let created = post(&server, path, &offer(&[("video", direction)])).await;
        assert_eq!(created.status, 201, "{}", created.body);
        let (url, expires, user) = turn_server(&created).expect("a TURN server");
        assert_eq!(url, format!("turn:{}?transport=tcp", server.http));
        assert!(created.header("access-control-expose-headers").is_some_and(|exposed| exposed.contains("link")));

        let patch = async |body: &'static str| {
            request(server.http, "PATCH", created.header("location").expect("a location"), &[FRAGMENT, "if-match: *"], body.as_bytes())
                .await
        };
        let trickled = patch("a=end-of-candidates\r\n").await;
        assert_eq!((trickled.status, trickled.header("link")), (204, None));
        // They say until which second they are good.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let restarted = patch("a=ice-ufrag:efgh\r\na=ice-pwd:0123456789abcdefghijkl\r\n").await;
        assert_eq!(restarted.status, 200, "{}", restarted.body);
        let (same_url, later, same_user) = turn_server(&restarted).expect("a TURN server");
        assert_eq!((same_url, same_user), (url, user));
        assert!(later > expires, "{later} after {expires}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_whose_dtls_never_comes_is_taken_for_lost() {
    let server = Server::start(&["--request-timeout-ms", "500"]).await;
    let (mut watcher, _) = server.join("demo", "Ada").await;
    let created = post(&server, "/v1/whip/demo", &offer(&[("video", "sendonly"), ("video", "sendonly"), ("audio", "sendrecv")])).await;
    let id: u32 = created.header("switchyard-participant").unwrap().parse().unwrap();
    for expected in [Source::Camera, Source::Screen, Source::Microphone] {
        let published = |event: &Event| if let Event::TrackPublished { track, .. } = event { Some(track.source) } else { None };
        assert_eq!(watcher.event(published).await, expected);
    }
    assert_eq!(left(&mut watcher).await, (ParticipantId(id), LeaveReason::ConnectionLost));
    assert_eq!(request(server.http, "DELETE", created.header("location").unwrap(), &[], b"").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_not_waited_for() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::start(&["--silence-timeout-ms", "300"]).await;
    let mut stream = tokio::net::TcpStream::connect(server.http).await.unwrap();
    let head = format!("POST /v1/whip/demo HTTP/1.1\r\nhost: {}\r\n{SDP}\r\ncontent-length: 100\r\n\r\nv=0", server.http);
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut status)).await.expect("answered in time").unwrap();
    assert_eq!(&status, b"HTTP/1.1 408");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_room_says_when_to_try_again_and_the_server_goes_down_with_its_players() {
    let mut server = server().await;
    let sdp = offer(&[("video", "recvonly")]);
    let players = stream::iter(0..1000).map(|_| post(&server, "/v1/whep/demo", &sdp)).buffer_unordered(8);
    let created = players.filter(|response| std::future::ready(response.status == 201)).count().await;
    assert_eq!(created, 1000);
    for (path, sdp) in [("/v1/whep/demo", &sdp), ("/v1/whip/demo", &offer(&[("video", "sendonly")]))] {
        let refused = post(&server, path, sdp).await;
        assert_eq!((refused.status, refused.code(), refused.header("retry-after")), (503, "limit_reached", Some("5")));
    }
    assert_eq!(post(&server, "/v1/whep/other", &sdp).await.status, 201);
    assert!(server.terminate().await.success());
}
