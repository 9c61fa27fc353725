//! Signaling against the real program: what is refused and how, and that a refusal disturbs nobody.

mod support;

use std::time::{Duration, Instant};

use support::{OFFER, SOON, Server, Socket, accept, left, server_offer};
use switchyard_protocol::{
    CloseReason, Encoding, ErrorCode, Event, LeaveReason, MAX_CHAT_BYTES, MAX_MESSAGE_BYTES, ParticipantId, Reply, Request, ServerMessage,
    Source, TrackId,
};
use tokio_tungstenite::tungstenite::Message;

fn offer(sdp: impl Into<String>) -> Request {
    Request::Offer { sdp: sdp.into() }
}

/// Checks that `socket` is a member like any other and that `other` has seen nothing of what came before.
async fn still_works(socket: &mut Socket, me: ParticipantId, other: &mut Socket) {
    assert_eq!(socket.request(Request::Chat { text: "still here".into(), to: None }).await, Ok(Reply::Done));
    match other.message().await {
        Some(ServerMessage::Event { event: Event::Chat { message } }) => assert_eq!((message.from, &*message.text), (me, "still here")),
        unexpected => panic!("the other participant saw {unexpected:?}"),
    }
    socket.events.clear();
}

#[tokio::test]
async fn every_malformed_message_gets_its_typed_error_and_disturbs_nobody() {
    use ErrorCode::*;
    let server = Server::start(&[]).await;
    let (mut ben, _) = server.join("demo", "Ben").await;
    let (mut ada, joined) = server.join("demo", "Ada").await;
    ben.event(|event| matches!(event, Event::ParticipantJoined { .. }).then_some(())).await;

    let deep = format!(r#"{{"id":1,"type":"ping","x":{}{}}}"#, "[".repeat(40), "]".repeat(40));
    let long = |bytes: usize| format!(r#"{{"id":1,"type":"offer","sdp":"{}"}}"#, "x".repeat(bytes));
    let (too_long, nearly_too_long) = (long(MAX_MESSAGE_BYTES), long(200_000));
    let chat = format!(r#"{{"id":1,"type":"chat","text":"{}"}}"#, "x".repeat(MAX_CHAT_BYTES + 1));
    let candidate = format!(r#"{{"id":1,"type":"candidate","candidate":"{}"}}"#, "x".repeat(600));
    let cases: Vec<(&str, ErrorCode, Option<u32>)> = vec![
        ("", Malformed, None),
        ("{", Malformed, None),
        ("null", Malformed, None),
        ("[]", Malformed, None),
        ("\u{0}", Malformed, None),
        (r#"{"type":"ping"}"#, Malformed, None),
        (r#"{"id":-1,"type":"ping"}"#, Malformed, None),
        (r#"{"id":4294967296,"type":"ping"}"#, Malformed, None),
        (r#"{"id":1}"#, Malformed, Some(1)),
        (r#"{"id":1,"type":"fly"}"#, UnknownType, Some(1)),
        (r#"{"id":1,"type":"offer"}"#, Malformed, Some(1)),
        (r#"{"id":1,"type":"offer","sdp":7}"#, Malformed, Some(1)),
        (r#"{"id":1,"type":"publish","mid":"1","source":"webcam"}"#, Malformed, Some(1)),
        (&deep, TooDeep, None),
        (&too_long, TooLarge, None),
        (r#"{"id":1,"type":"join","room":"demo","name":"Ada"}"#, AlreadyJoined, Some(1)),
        (r#"{"id":1,"type":"join","room":"","name":"Ada"}"#, InvalidRoom, Some(1)),
        (r#"{"id":1,"type":"rename","name":" "}"#, InvalidName, Some(1)),
        (r#"{"id":1,"type":"rename","name":"a\u0007b"}"#, InvalidName, Some(1)),
        (r#"{"id":1,"type":"publish","mid":"","source":"camera"}"#, InvalidMid, Some(1)),
        (r#"{"id":1,"type":"publish","mid":"12345678901234567","source":"camera"}"#, InvalidMid, Some(1)),
        (r#"{"id":1,"type":"chat","text":"  "}"#, InvalidChat, Some(1)),
        (&chat, InvalidChat, Some(1)),
        (r#"{"id":1,"type":"chat","text":"hi","to":99}"#, NoSuchParticipant, Some(1)),
        (r#"{"id":1,"type":"candidate","candidate":"candidate:1 1 udp"}"#, InvalidCandidate, Some(1)),
        (&candidate, InvalidCandidate, Some(1)),
        (r#"{"id":1,"type":"offer","sdp":""}"#, InvalidSdp, Some(1)),
        (r#"{"id":1,"type":"offer","sdp":"v=0\r\n"}"#, InvalidSdp, Some(1)),
        (&nearly_too_long, InvalidSdp, Some(1)),
        (r#"{"id":1,"type":"answer","revision":1,"sdp":"v=0\r\n"}"#, WrongState, Some(1)),
        (r#"{"id":1,"type":"unpublish","track":1}"#, NoSuchTrack, Some(1)),
        (r#"{"id":1,"type":"mute","track":1,"muted":true}"#, NoSuchTrack, Some(1)),
        (r#"{"id":1,"type":"subscribe","track":1}"#, NoSuchTrack, Some(1)),
        (r#"{"id":1,"type":"unsubscribe","track":1}"#, NoSuchTrack, Some(1)),
        (r#"{"id":1,"type":"pause","track":1,"paused":true}"#, NoSuchTrack, Some(1)),
    ];
    for (text, code, id) in cases {
        let shown: String = text.chars().take(80).collect();
        ada.send(Message::text(text)).await;
        match ada.answer().await {
            ServerMessage::Error { id: answered, error } => assert_eq!((answered, error.code), (id, code), "{shown}"),
            other => panic!("{shown} was answered by {other:?}"),
        }
    }
    ada.send(Message::binary(br#"{"id":1,"type":"ping"}"#.to_vec())).await;
    assert!(matches!(ada.answer().await, ServerMessage::Error { id: None, error } if error.code == WrongEncoding));
    still_works(&mut ada, joined.participant, &mut ben).await;
}

#[tokio::test]
async fn every_malformed_messagepack_message_gets_its_typed_error() {
    use ErrorCode::*;
    let server = Server::start(&[]).await;
    let (mut ben, _) = server.join("demo", "Ben").await;
    let mut ada = server.connect(Encoding::MessagePack).await;
    let joined = ada.join("demo", "Ada").await;
    ben.event(|event| matches!(event, Event::ParticipantJoined { .. }).then_some(())).await;

    let deep = [&b"\x83\xa2id\x01\xa4type\xa4ping\xa1x"[..], &[0x91; 40], &[0xc0]].concat();
    let trailing = b"\x82\xa2id\x01\xa4type\xa4ping\xc0";
    let bomb = b"\x82\xa2id\x01\xa4type\xdd\xff\xff\xff\xff";
    for (bytes, code) in [
        (&b""[..], Malformed),
        (b"\xc1", Malformed),
        (b"\x90", Malformed),
        (b"\x81\xa2id", Malformed),
        (bomb, Malformed),
        (trailing, Malformed),
        (b"\x82\xa2id\x01\xa4type\xa3fly", UnknownType),
        (&deep, TooDeep),
        (&vec![0xc0; MAX_MESSAGE_BYTES + 1], TooLarge),
    ] {
        ada.send(Message::binary(bytes.to_vec())).await;
        match ada.answer().await {
            ServerMessage::Error { error, .. } => assert_eq!(error.code, code, "{:?}", &bytes[..bytes.len().min(20)]),
            other => panic!("answered by {other:?}"),
        }
    }
    ada.send(Message::text(r#"{"id":1,"type":"ping"}"#)).await;
    assert!(matches!(ada.answer().await, ServerMessage::Error { id: None, error } if error.code == WrongEncoding));
    still_works(&mut ada, joined.participant, &mut ben).await;
}

#[tokio::test]
async fn nothing_but_join_and_ping_is_answered_before_join() {
    let server = Server::start(&[]).await;
    for encoding in [Encoding::Json, Encoding::MessagePack] {
        let mut socket = server.connect(encoding).await;
        assert_eq!(socket.request(Request::Ping { received: None }).await, Ok(Reply::Pong));
        for request in [offer(OFFER), Request::Leave, Request::EndOfCandidates, Request::Unpublish { track: TrackId(1) }] {
            assert_eq!(socket.request(request).await.unwrap_err().code, ErrorCode::NotJoined);
        }
        for (room, name, code) in [
            ("", "Ada", ErrorCode::InvalidRoom),
            ("a/b", "Ada", ErrorCode::InvalidRoom),
            ("demo", "", ErrorCode::InvalidName),
            ("demo", "a\nb", ErrorCode::InvalidName),
        ] {
            let refused =
                socket.request(Request::Join { room: room.into(), name: name.into(), token: None, password: None }).await.unwrap_err();
            assert_eq!((refused.code, refused.retryable), (code, false));
        }
        socket.join("demo", "Ada").await;
    }
}

#[tokio::test]
async fn a_refused_description_leaves_session_and_room_as_they_were() {
    let server = Server::start(&[]).await;
    let (mut ben, _) = server.join("demo", "Ben").await;
    let (mut ada, joined) = server.join("demo", "Ada").await;
    ben.event(|event| matches!(event, Event::ParticipantJoined { .. }).then_some(())).await;

    let broken = [
        ("no fingerprint", OFFER.replace("a=fingerprint:", "a=x-fingerprint:")),
        ("no ICE password", OFFER.replace("a=ice-pwd:", "a=x-ice-pwd:")),
        ("no mids", OFFER.replace("a=mid:", "a=x-mid:")),
        ("the client as DTLS server", OFFER.replace("a=setup:actpass", "a=setup:passive")),
        ("a mid twice", OFFER.replace("a=mid:1", "a=mid:0")),
        ("an m-line without a port", OFFER.replace("m=video 9 ", "m=video ")),
        ("m-lines without end", format!("{OFFER}{}", "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n".repeat(2000))),
        ("not SDP", "hello".to_owned()),
    ];
    for (name, sdp) in &broken {
        let refused = ada.request(offer(sdp)).await.expect_err(name);
        assert_eq!(refused.code, ErrorCode::InvalidSdp, "{name}: {refused}");
    }
    let Ok(Reply::Answer(first)) = ada.request(offer(OFFER)).await else { panic!("a good offer is answered") };
    assert!(first.sdp.contains("a=ice-lite") && first.sdp.contains("a=candidate:"));

    // The server offers slots. A broken answer changes nothing: the good one still fits.
    let (revision, sdp) = ada.event(server_offer).await;
    let wrong_revision = ada.request(Request::Answer { revision: revision + 1, sdp: accept(&sdp) }).await.unwrap_err();
    assert_eq!(wrong_revision.code, ErrorCode::WrongState);
    let broken_answer = accept(&sdp).replace("a=mid:", "a=x-mid:");
    assert_eq!(ada.request(Request::Answer { revision, sdp: broken_answer }).await.unwrap_err().code, ErrorCode::InvalidSdp);
    assert_eq!(ada.request(Request::Answer { revision, sdp: accept(&sdp) }).await, Ok(Reply::Done));
    still_works(&mut ada, joined.participant, &mut ben).await;

    // And what Ben publishes is shown in a slot of that offer.
    let published = ben.request(Request::Publish { mid: "1".into(), source: Source::Camera, muted: false }).await;
    let Ok(Reply::Published(published)) = published else { panic!("not published: {published:?}") };
    let mid = ada
        .event(|event| match event {
            Event::Slots { slots } => slots.iter().find(|slot| slot.track == Some(published.track)).map(|slot| slot.mid.clone()),
            _ => None,
        })
        .await;
    assert!(sdp.contains(&format!("a=mid:{mid}\r\n")));
}

#[tokio::test]
async fn an_m_line_that_receives_or_carries_another_kind_can_not_be_published() {
    let server = Server::start(&[]).await;
    let (mut ada, _) = server.join("demo", "Ada").await;
    let Ok(Reply::Answer(_)) = ada.request(offer(OFFER)).await else { panic!("answered") };
    let audio = OFFER.split("\r\nm=").find(|section| section.starts_with("audio")).expect("an audio m-line");
    let mid = audio.lines().find_map(|line| line.strip_prefix("a=mid:")).expect("a mid").to_owned();
    let publish = |mid: &str, source| Request::Publish { mid: mid.into(), source, muted: false };
    assert_eq!(ada.request(publish(&mid, Source::Camera)).await.unwrap_err().code, ErrorCode::InvalidMid);
    assert!(ada.request(publish(&mid, Source::Microphone)).await.is_ok());
    assert_eq!(ada.request(publish(&mid, Source::ScreenAudio)).await.unwrap_err().code, ErrorCode::AlreadyPublished);
    assert_eq!(ada.request(publish("other", Source::Microphone)).await.unwrap_err().code, ErrorCode::AlreadyPublished);
}

#[tokio::test]
async fn an_unanswered_offer_times_out_and_is_made_again() {
    let server = Server::start(&["--request-timeout-ms", "300"]).await;
    let (mut ada, _) = server.join("demo", "Ada").await;
    let Ok(Reply::Answer(_)) = ada.request(offer(OFFER)).await else { panic!("answered") };
    let (first, _) = ada.event(server_offer).await;
    let at = Instant::now();
    match ada.answer().await {
        ServerMessage::Error { id: None, error } => assert_eq!((error.code, error.retryable), (ErrorCode::Timeout, true)),
        other => panic!("not a timeout: {other:?}"),
    }
    assert!(at.elapsed() >= Duration::from_millis(200));
    let (second, sdp) = ada.event(server_offer).await;
    assert!(second > first);
    assert_eq!(ada.request(Request::Answer { revision: first, sdp: accept(&sdp) }).await.unwrap_err().code, ErrorCode::WrongState);
    assert_eq!(ada.request(Request::Answer { revision: second, sdp: accept(&sdp) }).await, Ok(Reply::Done));
}

#[tokio::test]
async fn an_offer_that_collides_with_the_servers_is_ignored() {
    let server = Server::start(&[]).await;
    let (mut ada, _) = server.join("demo", "Ada").await;
    let Ok(Reply::Answer(_)) = ada.request(offer(OFFER)).await else { panic!("answered") };
    let (revision, sdp) = ada.event(server_offer).await;
    assert_eq!(ada.request(offer(OFFER)).await, Ok(Reply::Ignored));
    assert_eq!(ada.request(Request::Answer { revision, sdp: accept(&sdp) }).await, Ok(Reply::Done));
}

#[tokio::test]
async fn requests_that_come_too_fast_are_refused_and_the_session_goes_on() {
    let server = Server::start(&[]).await;
    let (mut ada, _) = server.join("demo", "Ada").await;
    let mut refused = 0;
    for _ in 0..500 {
        match ada.request(Request::Ping { received: None }).await {
            Ok(reply) => assert_eq!(reply, Reply::Pong),
            Err(error) => {
                assert_eq!((error.code, error.retryable), (ErrorCode::RateLimited, true));
                refused += 1;
            }
        }
    }
    assert!((1..300).contains(&refused), "{refused} of 500 refused");
    let again = async { while ada.request(Request::Ping { received: None }).await.is_err() {} };
    tokio::time::timeout(SOON, again).await.expect("served again");
}

#[tokio::test]
async fn leaving_and_vanishing_are_told_apart() {
    let server = Server::start(&["--resume-within-ms", "100"]).await;
    let (mut ben, _) = server.join("demo", "Ben").await;
    let (mut ada, joined) = server.join("demo", "Ada").await;
    assert_eq!(ada.request(Request::Leave).await, Ok(Reply::Done));
    assert_eq!(ada.closed().await, Some(1000));
    assert_eq!(ben.event(left).await, (joined.participant, LeaveReason::Left));

    let (ada, again) = server.join("demo", "Ada").await;
    assert!(again.participant > joined.participant, "ids are not reused");
    drop(ada);
    assert_eq!(ben.event(left).await, (again.participant, LeaveReason::ConnectionLost));
}

#[tokio::test]
async fn many_joins_and_leaves_of_one_room_at_once_all_succeed() {
    let server = std::sync::Arc::new(Server::start(&[]).await);
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let server = server.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    let (mut socket, _) = server.join("busy", &format!("Participant {n}")).await;
                    assert_eq!(socket.request(Request::Leave).await, Ok(Reply::Done));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("every join succeeds");
    }
    let (_last, joined) = server.join("busy", "Last").await;
    assert!(joined.participants.len() <= 1, "nobody lingers: {:?}", joined.participants);
}

/// The worker a participant belongs to, which the first two characters of the server's ufrag name.
async fn worker_of(socket: &mut Socket) -> String {
    let Ok(Reply::Answer(answer)) = socket.request(offer(OFFER)).await else { panic!("answered") };
    let ufrag = answer.sdp.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).expect("credentials");
    ufrag[..2].to_owned()
}

/// 34 participants who come into one room, and their workers.
async fn crowd(server: &Server) -> (Vec<Socket>, Vec<String>) {
    let (mut sockets, mut workers) = (Vec::new(), Vec::new());
    for n in 0..34 {
        let (mut socket, _) = server.join("large", &format!("Participant {n}")).await;
        workers.push(worker_of(&mut socket).await);
        sockets.push(socket);
    }
    (sockets, workers)
}

#[tokio::test]
async fn a_room_is_on_one_worker_until_more_may_be_sent_than_that_can() {
    // 32 participants may be sent 3,072 streams.
    let server = Server::start(&["--workers", "2", "--shown", "56", "--heard", "40"]).await;
    let (_sockets, workers) = crowd(&server).await;
    assert!(workers[..32].iter().all(|worker| *worker == workers[0]), "{workers:?}");
    assert!(workers[32..].iter().all(|worker| *worker != workers[0]), "{workers:?}");
    // Another room goes where there is space.
    let (mut other, _) = server.join("small", "Ada").await;
    assert_ne!(worker_of(&mut other).await, workers[0]);
}

#[tokio::test]
async fn a_room_of_some_dozens_stays_on_one_worker_that_has_little_to_do() {
    let server = Server::start(&["--workers", "2"]).await;
    let (_sockets, workers) = crowd(&server).await;
    assert!(workers.iter().all(|worker| *worker == workers[0]), "{workers:?}");
}

#[tokio::test]
async fn spanning_rooms_use_the_workers_in_turn() {
    let server = Server::start(&["--workers", "2", "--span-rooms"]).await;
    let (mut ada, _) = server.join("demo", "Ada").await;
    let (mut ben, _) = server.join("demo", "Ben").await;
    assert_ne!(worker_of(&mut ada).await, worker_of(&mut ben).await);
}

#[tokio::test]
async fn a_server_that_goes_down_says_so() {
    let mut server = Server::start(&[]).await;
    let (mut ada, _) = server.join("demo", "Ada").await;
    let mut silent = server.connect(Encoding::Json).await;
    let stopping = tokio::spawn(async move { server.terminate().await });
    match ada.message().await {
        Some(ServerMessage::Event { event: Event::Closing { reason, .. } }) => assert_eq!(reason, CloseReason::ShuttingDown),
        other => panic!("no farewell: {other:?}"),
    }
    assert_eq!(ada.closed().await, Some(1001));
    assert_eq!(silent.closed().await, Some(1001));
    let status = stopping.await.unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn no_log_at_any_level_tells_what_people_say_or_who_and_where_they_are() {
    use tokio::io::AsyncReadExt;
    let mut server = Server::start_with(&["--log", "trace"], std::process::Stdio::piped()).await;
    let (mut ada, joined) = server.join("secretroom", "Secretname").await;
    assert_eq!(ada.request(Request::Chat { text: "secretchat".into(), to: None }).await, Ok(Reply::Done));
    assert!(ada.request(offer("secretsdp")).await.is_err());
    let Ok(Reply::Answer(answer)) = ada.request(offer(OFFER)).await else { panic!("answered") };
    let candidate = "candidate:1 1 udp 2130706431 203.0.113.7 5000 typ host".to_owned();
    assert_eq!(ada.request(Request::Candidate { candidate, mid: None }).await, Ok(Reply::Done));
    ada.send(Message::text("secretmalformed")).await;
    ada.answer().await;
    let mut again = server.connect(Encoding::Json).await;
    let wrong = Request::Resume { token: "secrettoken".into(), received: 0 };
    assert_eq!(again.request(wrong).await.unwrap_err().code, ErrorCode::NoSuchSession);
    again.resume(&joined, ada.received).await.expect("resumed");
    drop(again);
    let mut stderr = server.child.stderr.take().expect("piped");
    assert!(server.terminate().await.success());
    let mut log = String::new();
    stderr.read_to_string(&mut log).await.unwrap();
    assert!(log.contains("going down"), "there is a log: {log}");
    let passwords = [OFFER, &answer.sdp].map(|sdp| sdp.lines().find_map(|line| line.strip_prefix("a=ice-pwd:")).expect("a password"));
    // The server's own addresses, of which this client has one, are no secret.
    let (own, log): (Vec<&str>, Vec<&str>) = log.lines().partition(|line| line.contains("clients are offered"));
    assert_eq!(own.len(), 1, "{own:?}");
    let log = log.join("\n");
    for secret in ["secret", "Secret", "203.0.113.7", "127.0.0.1", &joined.session.token.0].into_iter().chain(passwords) {
        assert!(!log.contains(secret), "{secret:?} is in the log: {log}");
    }
}
