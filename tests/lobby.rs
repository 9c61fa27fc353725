//! Rooms with a lobby, a password and a limit, against the real program over WebSockets and HTTP.

#[path = "support/http.rs"]
mod http;
mod support;
#[path = "support/tokens.rs"]
mod tokens;

use std::time::Duration;

use http::{Response, offer, request};
use serde_json::json;
use support::{Server, Socket, left};
use switchyard_protocol::{
    Encoding, ErrorCode, Event, Guest, Joined, LeaveReason, ProtocolError, Reply, Request, RoomSettings, RoomSettingsChange, ServerMessage,
    Token,
};
use tokens::{KeyFile, Signer, now};

const KEY: (&str, Signer) = ("key", Signer::Hmac(1));

fn token(identity: &str, role: &str) -> String {
    KEY.1.token(KEY.0, &json!({ "sub": identity, "name": identity, "room": "demo", "role": role, "exp": now() + 600 }))
}

fn join(identity: &str, role: &str, password: Option<&str>) -> Request {
    let token = Some(Token(token(identity, role)));
    Request::Join { room: "demo".into(), name: identity.into(), token, password: password.map(Token::from) }
}

/// A room in which a host is who has set it like this.
async fn hosted(settings: RoomSettingsChange) -> (Server, KeyFile, Socket) {
    hosted_with(settings, &[]).await
}

async fn hosted_with(settings: RoomSettingsChange, options: &[&str]) -> (Server, KeyFile, Socket) {
    let keys = KeyFile::new(&[KEY.1.jwk(KEY.0)]);
    let usual = ["--access-keys", keys.path(), "--advertise", "127.0.0.1", "--max-load", "0"];
    let server = Server::start(&[&usual[..], options].concat()).await;
    let mut host = server.connect(Encoding::Json).await;
    entered(host.request(join("host", "host", None)).await);
    assert_eq!(host.request(Request::Configure { settings }).await, Ok(Reply::Done));
    (server, keys, host)
}

fn with_lobby() -> RoomSettingsChange {
    RoomSettingsChange { lobby: Some(true), ..RoomSettingsChange::default() }
}

#[track_caller]
fn entered(answer: Result<Reply, ProtocolError>) -> Joined {
    match answer {
        Ok(Reply::Joined(joined)) => joined,
        other => panic!("not in: {other:?}"),
    }
}

/// Somebody knocks, and hears that they wait; the id of their `join`.
async fn knock(server: &Server, encoding: Encoding, identity: &str) -> (Socket, u32) {
    let mut socket = server.connect(encoding).await;
    let id = socket.ask(join(identity, "speaker", None)).await;
    socket.event(|event| matches!(event, Event::Waiting).then_some(())).await;
    (socket, id)
}

/// What somebody who waits is told at last.
async fn told(socket: &mut Socket, id: u32) -> Result<Reply, ProtocolError> {
    match socket.answer().await {
        ServerMessage::Reply { id: answered, result } if answered == id => Ok(result),
        ServerMessage::Error { id: answered, error } if answered == Some(id) => Err(error),
        other => panic!("not the answer to join: {other:?}"),
    }
}

/// Waits until a moderator is told that exactly these wait.
async fn guests(moderator: &mut Socket, names: &[&str]) -> Vec<Guest> {
    moderator
        .event(|event| match event {
            Event::Guests { guests } => guests.iter().map(|guest| &*guest.name).eq(names.iter().copied()).then(|| guests.clone()),
            _ => None,
        })
        .await
}

/// Whoever the room tells of coming or going has had a place in it.
fn seen(socket: &Socket) -> bool {
    socket.events.iter().any(|event| matches!(event, Event::ParticipantJoined { .. } | Event::ParticipantLeft { .. }))
}

async fn play(server: &Server, identity: &str, role: &str, password: Option<&str>) -> Response {
    let authorization = format!("authorization: Bearer {}", token(identity, role));
    let password = password.map(|password| format!("switchyard-password: {password}"));
    let mut headers = vec!["content-type: application/sdp", &*authorization];
    headers.extend(password.as_deref());
    request(server.http, "POST", "/v1/whep/demo", &headers, offer(&[("audio", "recvonly")]).as_bytes()).await
}

#[tokio::test]
async fn who_is_let_in_joins_and_who_is_denied_does_not() {
    let (server, _keys, mut host) = hosted(with_lobby()).await;
    let (mut ben, as_ben) = knock(&server, Encoding::Json, "ben").await;
    let (mut eve, as_eve) = knock(&server, Encoding::MessagePack, "eve").await;
    let waiting = guests(&mut host, &["ben", "eve"]).await;
    assert_eq!(waiting[0].identity.as_deref(), Some("ben"));
    assert!(!seen(&host), "nobody has come in");

    // Those who wait may ping, and nothing else.
    assert_eq!(ben.request(Request::Ping { received: None }).await, Ok(Reply::Pong));
    let chat = Request::Chat { text: "let me in".into(), to: None };
    assert_eq!(ben.request(chat).await.unwrap_err().code, ErrorCode::NotJoined);

    assert_eq!(host.request(Request::Admit { guest: Some(waiting[0].id) }).await, Ok(Reply::Done));
    let joined = entered(told(&mut ben, as_ben).await);
    assert!(joined.settings.lobby && joined.participants.len() == 1);
    assert_eq!(host.request(Request::Deny { guest: None }).await, Ok(Reply::Done));
    let denied = told(&mut eve, as_eve).await.unwrap_err();
    assert_eq!((denied.code, denied.retryable, eve.closed().await), (ErrorCode::NotAdmitted, false, Some(1008)));
    guests(&mut host, &[]).await;

    // Who has been in need not wait again. What was said while they waited counts for the session.
    drop(ben);
    let mut ben = server.connect(Encoding::Json).await;
    let resumed = ben.resume(&joined, 0).await.expect("the session goes on");
    assert_eq!(resumed.received, 2);
    drop(ben);
    let mut ben = server.connect(Encoding::Json).await;
    entered(ben.request(join("ben", "speaker", None)).await);
    assert_eq!(ben.request(Request::Admit { guest: None }).await.unwrap_err().code, ErrorCode::Forbidden);
}

#[tokio::test]
async fn who_goes_while_they_wait_is_gone_and_the_room_waits_for_a_moderator() {
    let (server, _keys, mut host) = hosted(with_lobby()).await;
    let (ben, _) = knock(&server, Encoding::Json, "ben").await;
    let (mut eve, as_eve) = knock(&server, Encoding::Json, "eve").await;
    guests(&mut host, &["ben", "eve"]).await;
    drop(ben);
    guests(&mut host, &["eve"]).await;
    let (mut ada, as_ada) = knock(&server, Encoding::Json, "ada").await;
    guests(&mut host, &["eve", "ada"]).await;
    let leave = ada.ask(Request::Leave).await;
    assert!(leave > as_ada && told(&mut ada, leave).await == Ok(Reply::Done));
    assert_eq!(ada.closed().await, Some(1000));
    guests(&mut host, &["eve"]).await;

    assert_eq!(host.request(Request::Leave).await, Ok(Reply::Done));
    assert_eq!(eve.request(Request::Ping { received: None }).await, Ok(Reply::Pong));
    let mut late = server.connect(Encoding::Json).await;
    entered(late.request(join("late", "host", None)).await);
    guests(&mut late, &["eve"]).await;
    // Turned off, the lobby lets in all who wait.
    let off = RoomSettingsChange { lobby: Some(false), ..RoomSettingsChange::default() };
    assert_eq!(late.request(Request::Configure { settings: off }).await, Ok(Reply::Done));
    let joined = entered(told(&mut eve, as_eve).await);
    assert!(!joined.settings.lobby);
    assert_eq!(late.request(Request::Ban { identity: "eve".into(), banned: true }).await, Ok(Reply::Done));
    assert_eq!(late.event(left).await, (joined.participant, LeaveReason::Removed));
}

#[tokio::test]
async fn a_guest_waits_for_longer_than_a_join_may_take_and_takes_no_place() {
    let keys = KeyFile::new(&[KEY.1.jwk(KEY.0)]);
    let timeouts = ["--silence-timeout-ms", "400", "--request-timeout-ms", "400"];
    let arguments = [&["--access-keys", keys.path(), "--max-load", "0"][..], &timeouts].concat();
    let server = Server::start(&arguments).await;
    let mut host = server.connect(Encoding::Json).await;
    entered(host.request(join("host", "host", None)).await);
    let small = RoomSettingsChange { max_participants: Some(2), ..with_lobby() };
    assert_eq!(host.request(Request::Configure { settings: small }).await, Ok(Reply::Done));
    let (mut ben, as_ben) = knock(&server, Encoding::Json, "ben").await;
    let (mut eve, as_eve) = knock(&server, Encoding::Json, "eve").await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let waiting = guests(&mut host, &["ben", "eve"]).await;
    assert_eq!(host.request(Request::Admit { guest: Some(waiting[1].id) }).await, Ok(Reply::Done));
    entered(told(&mut eve, as_eve).await);
    assert_eq!(host.request(Request::Admit { guest: None }).await, Ok(Reply::Done));
    assert_eq!(told(&mut ben, as_ben).await.unwrap_err().code, ErrorCode::LimitReached);
    guests(&mut host, &[]).await;
    // The connection is good for another try.
    let more = RoomSettingsChange { max_participants: Some(3), ..RoomSettingsChange::default() };
    assert_eq!(host.request(Request::Configure { settings: more }).await, Ok(Reply::Done));
    let id = ben.ask(join("ben", "speaker", None)).await;
    guests(&mut host, &["ben"]).await;
    assert_eq!(host.request(Request::Admit { guest: None }).await, Ok(Reply::Done));
    entered(told(&mut ben, id).await);
}

#[tokio::test]
async fn a_password_is_asked_for_and_can_be_guessed_few_times() {
    let password = RoomSettingsChange { password: Some("tea at four".into()), ..RoomSettingsChange::default() };
    let (server, _keys, mut host) = hosted(password).await;
    let settings = host.event(|event| if let Event::Settings { settings } = event { Some(*settings) } else { None }).await;
    assert_eq!(settings, RoomSettings { locked: false, lobby: false, password: true, max_participants: 1000 });

    let mut ben = server.connect(Encoding::Json).await;
    let mut tries = async |password| ben.request(join("ben", "speaker", password)).await;
    assert_eq!(tries(None).await.unwrap_err().code, ErrorCode::PasswordRequired);
    assert_eq!(play(&server, "player", "listener", None).await.code(), "password_required");
    assert_eq!(play(&server, "player", "listener", Some("tea")).await.code(), "wrong_password");
    assert_eq!(play(&server, "player", "listener", Some("tea at four")).await.status, 201);
    assert_eq!(play(&server, "second host", "host", None).await.status, 201);
    for _ in 0..4 {
        assert_eq!(tries(Some("coffee")).await.unwrap_err().code, ErrorCode::WrongPassword);
    }
    let refused = tries(Some("tea at four")).await.unwrap_err();
    assert_eq!((refused.code, refused.retryable), (ErrorCode::RateLimited, true), "too many from here");
    assert_eq!(play(&server, "player", "listener", Some("tea at four")).await.status, 429);
    let mut second = server.connect(Encoding::Json).await;
    entered(second.request(join("second host", "host", None)).await);

    let none = RoomSettingsChange { password: Some("".into()), ..RoomSettingsChange::default() };
    assert_eq!(host.request(Request::Configure { settings: none }).await, Ok(Reply::Done));
    assert!(!entered(tries(None).await).settings.password);
}

#[tokio::test]
async fn who_comes_by_http_cannot_wait_and_a_full_room_says_so() {
    let (server, _keys, mut host) = hosted(RoomSettingsChange { max_participants: Some(1), ..with_lobby() }).await;
    assert_eq!(play(&server, "ben", "listener", None).await.code(), "limit_reached");
    let mut ben = server.connect(Encoding::Json).await;
    let full = ben.request(join("ben", "speaker", None)).await.unwrap_err();
    assert_eq!((full.code, full.retryable), (ErrorCode::LimitReached, true));
    assert_eq!(play(&server, "second host", "host", None).await.status, 201, "the bound is not for moderators");

    for (participants, code) in [(0, ErrorCode::InvalidSettings), (1001, ErrorCode::InvalidSettings)] {
        let settings = RoomSettingsChange { max_participants: Some(participants), ..RoomSettingsChange::default() };
        assert_eq!(host.request(Request::Configure { settings }).await.unwrap_err().code, code);
    }
    let settings = RoomSettingsChange { max_participants: Some(9), ..RoomSettingsChange::default() };
    assert_eq!(host.request(Request::Configure { settings }).await, Ok(Reply::Done));
    let refused = play(&server, "ben", "listener", None).await;
    assert_eq!((refused.status, refused.code()), (403, "not_admitted"));
}

#[tokio::test]
async fn behind_a_trusted_proxy_everybody_has_guesses_of_their_own() {
    let password = || RoomSettingsChange { password: Some("tea at four".into()), ..RoomSettingsChange::default() };
    let guess = async |server: &Server, client: &str| {
        let token = format!("authorization: Bearer {}", token("player", "listener"));
        let forwarded = format!("x-forwarded-for: 203.0.113.9, {client}");
        let headers = [&token, "content-type: application/sdp", "switchyard-password: coffee", &forwarded];
        let answer = request(server.http, "POST", "/v1/whep/demo", &headers, offer(&[("audio", "recvonly")]).as_bytes()).await;
        answer.code().to_owned()
    };
    for (trusted, code) in [(&["--trusted-proxies", "127.0.0.0/8"][..], "wrong_password"), (&[], "rate_limited")] {
        let (server, _keys, _host) = hosted_with(password(), trusted).await;
        for _ in 0..5 {
            assert_eq!(guess(&server, "198.51.100.1").await, "wrong_password");
        }
        assert_eq!(guess(&server, "198.51.100.1").await, "rate_limited");
        assert_eq!(guess(&server, "198.51.100.2").await, code, "{trusted:?}");
    }
}
