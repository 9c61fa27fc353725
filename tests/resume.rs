//! Sessions that outlive their connections, against the real program.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_stun::attributes::{ATTR_ICE_CONTROLLING, ATTR_USE_CANDIDATE, ATTR_USERNAME};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, Message, Setter};
use support::{OFFER, SOON, Server, Socket, accept, left, server_offer};
use switchyard_protocol::{
    CloseReason, Encoding, ErrorCode, Event, Joined, LeaveReason, MAX_CHAT_BYTES, Participant, ParticipantId, ProtocolError, Reply,
    Request, Resumed, ServerMessage, Snapshot, Source, TrackId,
};
use tokio::net::{TcpSocket, UdpSocket};

fn chat(text: &str) -> Request {
    Request::Chat { text: text.into(), to: None }
}

fn said(event: &Event) -> Option<String> {
    if let Event::Chat { message } = event { Some(message.text.clone()) } else { None }
}

/// What somebody is called now.
fn renamed(event: &Event) -> Option<String> {
    if let Event::ParticipantChanged { name, .. } = event { Some(name.clone()) } else { None }
}

/// Another connection, on which a session goes on.
async fn resume(server: &Server, encoding: Encoding, joined: &Joined, received: u32) -> Result<(Socket, Resumed), ProtocolError> {
    let mut socket = server.connect(encoding).await;
    let resumed = socket.resume(joined, received).await?;
    Ok((socket, resumed))
}

/// The session goes on without the client having been told the room anew.
async fn go_on(server: &Server, joined: &Joined, received: u32, sent: u32) -> Socket {
    let (socket, resumed) = resume(server, Encoding::Json, joined, received).await.expect("resumed");
    assert_eq!(resumed, Resumed { received: sent, snapshot: None });
    socket
}

#[tokio::test]
async fn a_cut_connection_is_resumed_without_anybody_hearing_of_it() {
    let server = Server::start(&[]).await;
    for encoding in [Encoding::Json, Encoding::MessagePack] {
        let (mut ben, _) = server.join("demo", "Ben").await;
        let mut ada = server.connect(encoding).await;
        let joined = ada.join("demo", "Ada").await;
        assert!(joined.session.token.0.len() == 32 && joined.session.resume_within == 60_000);
        assert_eq!(ada.request(chat("before")).await, Ok(Reply::Done));
        assert_eq!(ada.event(said).await, "before");
        assert_eq!(ben.event(said).await, "before");
        let received = ada.received;
        drop(ada);
        for text in ["one", "two"] {
            assert_eq!(ben.request(chat(text)).await, Ok(Reply::Done));
        }
        assert_eq!(ben.request(Request::Rename { name: "Benjamin".into() }).await, Ok(Reply::Done));
        assert_eq!(ben.request(chat("three")).await, Ok(Reply::Done));

        let (mut ada, resumed) = resume(&server, encoding, &joined, received).await.expect("resumed");
        assert_eq!(resumed, Resumed { received: 1, snapshot: None });
        assert_eq!(ben.request(chat("after")).await, Ok(Reply::Done));
        let mut heard = Vec::new();
        while heard.last().is_none_or(|last| last != "after") {
            heard.push(ada.event(|event| Some(said(event).or(renamed(event)).unwrap_or_else(|| format!("{event:?}")))).await);
        }
        assert_eq!(heard, ["one", "two", "Benjamin", "three", "after"]);
        assert_eq!(ada.received, received + 5);

        assert_eq!(ada.request(chat("I am back")).await, Ok(Reply::Done));
        let mut seen = Vec::new();
        while seen.last().is_none_or(|last| last != "I am back") {
            seen.push(ben.event(|event| Some(said(event).unwrap_or_else(|| format!("{event:?}")))).await);
        }
        assert_eq!(seen, ["one", "two", "three", "after", "I am back"], "nobody left or came");
        assert_eq!(ada.close(Some(1000)).await, Some(1000));
        assert_eq!(ben.close(Some(1000)).await, Some(1000));
    }
}

#[tokio::test]
async fn a_request_is_answered_once_however_often_the_connection_is_lost() {
    let server = Server::start(&[]).await;
    let (mut ben, _) = server.join("demo", "Ben").await;
    let (mut ada, joined) = server.join("demo", "Ada").await;
    // It arrives; neither its answer nor what it caused does.
    let id = ada.ask(chat("arrived")).await;
    assert_eq!(ben.event(said).await, "arrived");
    drop(ada);
    for _ in 0..2 {
        // The second time, nothing of the first time had arrived.
        let mut ada = go_on(&server, &joined, 0, 1).await;
        match ada.answer().await {
            ServerMessage::Reply { id: answered, result } => assert_eq!((answered, result), (id, Reply::Done)),
            other => panic!("not the answer: {other:?}"),
        }
        assert_eq!(ada.event(said).await, "arrived");
        assert_eq!(ada.received, 2);
    }
    // A second and third request don't arrive: they are made again, as they were.
    let mut ada = go_on(&server, &joined, 2, 1).await;
    assert_eq!(ada.request(chat("again")).await, Ok(Reply::Done));
    assert_eq!(ada.event(said).await, "again");
    assert!(matches!(ada.request(Request::Unpublish { track: TrackId(9) }).await, Err(error) if error.code == ErrorCode::NoSuchTrack));
    let received = ada.received;
    drop(ada);
    let mut ada = go_on(&server, &joined, received, 3).await;
    assert_eq!(ada.request(Request::Ping { received: Some(received) }).await, Ok(Reply::Pong));
    assert_eq!(ada.received, received + 1, "nothing came twice");
    let refused = ada.request(Request::Ping { received: Some(received + 100) }).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::WrongState);
    assert_eq!(ben.event(said).await, "again");
    assert_eq!(ada.request(chat("end")).await, Ok(Reply::Done));
    assert_eq!(ben.event(said).await, "end", "nobody heard anything twice");
}

#[tokio::test]
async fn a_session_that_is_resumed_elsewhere_goes_on_there_and_says_so_here() {
    let server = Server::start(&[]).await;
    let (mut ben, _) = server.join("demo", "Ben").await;
    let (mut ada, joined) = server.join("demo", "Ada").await;
    let mut elsewhere = go_on(&server, &joined, 0, 0).await;
    match ada.message().await {
        Some(ServerMessage::Event { event: Event::Closing { reason, .. } }) => assert_eq!(reason, CloseReason::ResumedElsewhere),
        other => panic!("not told: {other:?}"),
    }
    assert_eq!(ada.closed().await, Some(4001));
    assert_eq!(
        elsewhere.request(Request::Join { room: "demo".into(), name: "Ada".into(), token: None, password: None }).await.unwrap_err().code,
        ErrorCode::AlreadyJoined
    );
    assert_eq!(elsewhere.resume(&joined, 0).await.unwrap_err().code, ErrorCode::AlreadyJoined);
    assert_eq!(elsewhere.request(chat("from elsewhere")).await, Ok(Reply::Done));
    assert_eq!(ben.event(|event| Some((said(event), left(event)))).await, (None, None), "Ada came");
    assert_eq!(ben.event(said).await, "from elsewhere");
}

#[tokio::test]
async fn what_names_no_session_is_refused_and_the_connection_may_join() {
    let server = Server::start(&[]).await;
    let (mut ben, _) = server.join("demo", "Ben").await;
    let (mut ada, joined) = server.join("demo", "Ada").await;
    let received = ada.received;
    let mut stranger = server.connect(Encoding::Json).await;
    for token in ["", "guess", &"0".repeat(32), &"0".repeat(1000), &joined.session.token.0[..31]] {
        let refused = stranger.request(Request::Resume { token: token.into(), received: 0 }).await.unwrap_err();
        assert_eq!((refused.code, refused.retryable), (ErrorCode::NoSuchSession, false));
    }
    // Another encoding, and a count that can't be: whoever has the session keeps it.
    let wrong = resume(&server, Encoding::MessagePack, &joined, received).await.map(drop).unwrap_err();
    assert_eq!(wrong.code, ErrorCode::WrongEncoding);
    assert_eq!(stranger.resume(&joined, received + 7).await.unwrap_err().code, ErrorCode::NoSuchSession);
    assert_eq!(ada.request(chat("still here")).await, Ok(Reply::Done));
    assert_eq!(ben.event(said).await, "still here");
    stranger.join("demo", "Eve").await;

    assert_eq!(ada.request(Request::Leave).await, Ok(Reply::Done));
    assert_eq!(ben.event(left).await, (joined.participant, LeaveReason::Left));
    let refused = resume(&server, Encoding::Json, &joined, received).await.map(drop).unwrap_err();
    assert_eq!(refused.code, ErrorCode::NoSuchSession);
}

#[tokio::test]
async fn whoever_does_not_come_back_in_time_has_left() {
    let server = Server::start(&["--resume-within-ms", "400"]).await;
    let (mut ben, _) = server.join("demo", "Ben").await;
    let (ada, joined) = server.join("demo", "Ada").await;
    assert_eq!(joined.session.resume_within, 400);
    let mut received = ada.received;
    drop(ada);
    // The time begins anew with each loss.
    for sent in 0..4 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let mut ada = go_on(&server, &joined, received, sent).await;
        assert_eq!(ada.request(Request::EndOfCandidates).await, Ok(Reply::Done));
        received = ada.received;
    }
    let at = Instant::now();
    assert_eq!(ben.event(left).await, (joined.participant, LeaveReason::ConnectionLost));
    assert!(at.elapsed() >= Duration::from_millis(300), "{:?}", at.elapsed());
    let refused = resume(&server, Encoding::Json, &joined, received).await.map(drop).unwrap_err();
    assert_eq!(refused.code, ErrorCode::NoSuchSession);

    // Who can't go on from what the server has is out at once, rather than being there twice.
    let (ada, joined) = server.join("demo", "Ada").await;
    drop(ada);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(resume(&server, Encoding::Json, &joined, 99).await.map(drop).unwrap_err().code, ErrorCode::NoSuchSession);
    assert_eq!(ben.event(left).await.0, joined.participant);
}

#[tokio::test]
async fn how_a_connection_is_closed_says_whether_the_client_leaves() {
    let server = Server::start(&[]).await;
    let (mut ben, _) = server.join("demo", "Ben").await;
    for code in [1000, 1001] {
        let (ada, joined) = server.join("demo", "Ada").await;
        assert_eq!(ada.close(Some(code)).await, Some(code));
        assert_eq!(ben.event(left).await, (joined.participant, LeaveReason::Left), "{code}");
    }
    for code in [None, Some(1002), Some(1011), Some(3000), Some(4000)] {
        let (ada, joined) = server.join("demo", "Ada").await;
        let received = ada.received;
        assert_eq!(ada.close(code).await, code, "the close is answered");
        let mut ada = go_on(&server, &joined, received, 0).await;
        assert_eq!(ada.request(chat("back")).await, Ok(Reply::Done));
        assert!(ben.event(|event| left(event).map(|_| false).or(said(event).map(|_| true))).await, "{code:?}");
        assert_eq!(ada.close(Some(1000)).await, Some(1000));
        assert_eq!(ben.event(left).await, (joined.participant, LeaveReason::Left));
    }
}

#[tokio::test]
async fn an_offer_waits_for_a_client_that_is_not_there() {
    let server = Server::start(&["--request-timeout-ms", "400"]).await;
    let (mut ada, joined) = server.join("demo", "Ada").await;
    let Ok(Reply::Answer(_)) = ada.request(Request::Offer { sdp: OFFER.into() }).await else { panic!("answered") };
    let received = ada.received;
    drop(ada);
    // Meanwhile an offer that was made later, to somebody who is there, is given up.
    let (mut ben, _) = server.join("demo", "Ben").await;
    let Ok(Reply::Answer(_)) = ben.request(Request::Offer { sdp: OFFER.into() }).await else { panic!("answered") };
    assert!(matches!(ben.answer().await, ServerMessage::Error { id: None, error } if error.code == ErrorCode::Timeout));

    let mut ada = go_on(&server, &joined, received, 1).await;
    let (revision, sdp) = ada.event(server_offer).await;
    assert_eq!(revision, 1);
    assert_eq!(ada.request(Request::Answer { revision, sdp: accept(&sdp) }).await, Ok(Reply::Done));
    assert_eq!(ada.request(Request::IceServers).await.map(|reply| matches!(reply, Reply::IceServers(_))), Ok(true));
}

#[tokio::test]
async fn an_offer_is_waited_for_as_long_as_ever_after_the_client_came_back() {
    let server = Server::start(&["--request-timeout-ms", "400"]).await;
    let (mut ada, joined) = server.join("demo", "Ada").await;
    let Ok(Reply::Answer(_)) = ada.request(Request::Offer { sdp: OFFER.into() }).await else { panic!("answered") };
    let (first, _) = ada.event(server_offer).await;
    let received = ada.received;
    drop(ada);
    let at = Instant::now();
    let mut ada = go_on(&server, &joined, received, 1).await;
    assert!(matches!(ada.answer().await, ServerMessage::Error { id: None, error } if error.code == ErrorCode::Timeout));
    assert!(at.elapsed() >= Duration::from_millis(350), "{:?}", at.elapsed());
    let (second, _) = ada.event(server_offer).await;
    assert!(second > first);
}

/// A room as a client knows it, from `joined` or a snapshot and from events, none of which may contradict it.
#[derive(Debug, Default, PartialEq)]
struct Known {
    names: BTreeMap<ParticipantId, String>,
    tracks: BTreeMap<TrackId, (ParticipantId, bool)>,
    slots: BTreeMap<String, TrackId>,
}

impl Known {
    fn add(&mut self, participant: &Participant) {
        assert!(self.names.insert(participant.id, participant.name.clone()).is_none(), "{participant:?} was known");
        self.tracks.extend(participant.tracks.iter().map(|track| (track.id, (participant.id, track.muted))));
    }

    fn see(&mut self, snapshot: &Snapshot) {
        *self = Self::default();
        snapshot.participants.iter().for_each(|participant| self.add(participant));
        self.slots.extend(snapshot.slots.iter().map(|slot| (slot.mid.clone(), slot.track.expect("it carries something"))));
    }

    fn hear(&mut self, event: &Event) {
        match event {
            Event::ParticipantJoined { participant } => self.add(participant),
            Event::ParticipantLeft { participant, .. } => {
                assert!(self.names.remove(participant).is_some(), "{participant:?} was not there");
                self.tracks.retain(|_, (publisher, _)| publisher != participant);
            }
            Event::ParticipantChanged { participant, name } => {
                assert_ne!(self.names.insert(*participant, name.clone()).expect("there"), *name, "a change that is none");
            }
            Event::TrackPublished { participant, track } => {
                assert!(self.names.contains_key(participant));
                assert_eq!(self.tracks.insert(track.id, (*participant, track.muted)), None);
            }
            Event::TrackUnpublished { track, .. } => assert!(self.tracks.remove(track).is_some()),
            Event::TrackMuted { track, muted, .. } => {
                assert_ne!(std::mem::replace(&mut self.tracks.get_mut(track).expect("there").1, *muted), *muted);
            }
            Event::Slots { slots } => {
                for slot in slots {
                    let before = match slot.track {
                        Some(track) => self.slots.insert(slot.mid.clone(), track),
                        None => self.slots.remove(&slot.mid),
                    };
                    assert_ne!(before, slot.track, "a change that is none");
                }
            }
            _ => {}
        }
    }
}

/// More events than are kept, for everybody else in the room, of whom `witness` has heard them all.
async fn more_than_is_kept(server: &Server, room: &str, witness: &mut Socket) {
    let renamers = (0..7).map(|_| async move {
        let (mut socket, _) = server.join(room, "Renamer").await;
        for n in 0..280 {
            assert_eq!(socket.request(Request::Rename { name: format!("Renamer {n}") }).await, Ok(Reply::Done));
        }
        assert_eq!(socket.close(Some(1000)).await, Some(1000));
    });
    let heard = async {
        // A connection is closed before the room knows of it.
        for _ in 0..7 {
            witness.event(left).await;
        }
    };
    futures_util::future::join(futures_util::future::join_all(renamers), heard).await;
}

#[tokio::test]
async fn who_missed_too_much_is_told_the_room_as_it_is_and_gets_all_answers() {
    let server = Server::start(&[]).await;
    let (mut ben, _) = server.join("demo", "Ben").await;
    let (mut ada, joined) = server.join("demo", "Ada").await;
    let Ok(Reply::Answer(_)) = ada.request(Request::Offer { sdp: OFFER.into() }).await else { panic!("answered") };
    let (revision, sdp) = ada.event(server_offer).await;
    assert_eq!(ada.request(Request::Answer { revision, sdp: accept(&sdp) }).await, Ok(Reply::Done));
    let (received, events) = (ada.received, std::mem::take(&mut ada.events));
    assert!(events.iter().all(|event| !matches!(event, Event::Slots { .. })));
    // Two requests whose answers she doesn't get, nor the event that comes with them.
    let refused = ada.ask(Request::Unpublish { track: TrackId(99) }).await;
    let done = ada.ask(chat("said before it was lost")).await;
    assert_eq!(ben.event(said).await, "said before it was lost");
    drop(ada);
    let Ok(Reply::Published(camera)) = ben.request(Request::Publish { mid: "1".into(), source: Source::Camera, muted: false }).await else {
        panic!("published")
    };
    assert_eq!(ben.request(Request::Mute { track: camera.track, muted: true }).await, Ok(Reply::Done));
    more_than_is_kept(&server, "demo", &mut ben).await;

    for _ in 0..2 {
        // Also a second time: nothing shows that the first arrived.
        let (mut ada, resumed) = resume(&server, Encoding::Json, &joined, received).await.expect("resumed");
        assert_eq!(resumed.received, 4);
        let snapshot = resumed.snapshot.expect("more was missed than is kept");
        assert_eq!(snapshot.slots.iter().map(|slot| slot.track).collect::<Vec<_>>(), [Some(camera.track)]);
        assert!(sdp.contains(&format!("a=mid:{}\r\n", snapshot.slots[0].mid)));
        let mut known = Known::default();
        known.see(&snapshot);
        assert_eq!(known.names.into_values().collect::<Vec<_>>(), ["Ben"]);
        assert_eq!(known.tracks.into_values().map(|(_, muted)| muted).collect::<Vec<_>>(), [true]);
        match ada.message().await.expect("an answer") {
            ServerMessage::Error { id, error } => assert_eq!((id, error.code), (Some(refused), ErrorCode::NoSuchTrack)),
            other => panic!("not the refusal: {other:?}"),
        }
        assert_eq!(ada.message().await, Some(ServerMessage::Reply { id: done, result: Reply::Done }));
        // Then it goes on as ever.
        assert_eq!(ben.request(chat("welcome back")).await, Ok(Reply::Done));
        match ada.message().await {
            Some(ServerMessage::Event { event }) => assert_eq!(said(&event).as_deref(), Some("welcome back")),
            other => panic!("not what was said: {other:?}"),
        }
        assert_eq!(ada.received, received + 3);
    }
    let ada = go_on(&server, &joined, received + 1, 4).await;
    drop(ada);
    assert_eq!(ben.request(chat("anybody?")).await, Ok(Reply::Done));
    let mut ada = go_on(&server, &joined, received + 3, 4).await;
    assert_eq!(ada.event(said).await, "anybody?");
}

/// In a large room, where announcements are gathered, and while it changes all the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_and_what_follows_fit_together() {
    let server = Server::start(&[]).await;
    let (mut crowd, mut ids) = (Vec::new(), Vec::new());
    for n in 0..33 {
        let (socket, joined) = server.join("large", &format!("Participant {n}")).await;
        crowd.push(socket);
        ids.push(joined.participant);
    }
    let (ada, joined) = server.join("large", "Ada").await;
    let received = ada.received;
    drop(ada);
    more_than_is_kept(&server, "large", &mut crowd[4]).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let churn = crowd.drain(..4).enumerate().map(|(n, mut socket)| {
        let stopped = stopped.clone();
        tokio::spawn(async move {
            for round in 0.. {
                let _ = socket.request(Request::Rename { name: format!("Churner {n}.{round}") }).await;
                let published = socket.request(Request::Publish { mid: "1".into(), source: Source::Camera, muted: false }).await;
                if let Ok(Reply::Published(published)) = published {
                    let _ = socket.request(Request::Mute { track: published.track, muted: true }).await;
                    if *stopped.borrow() {
                        break;
                    }
                    let _ = socket.request(Request::Unpublish { track: published.track }).await;
                }
                // As fast as the server takes requests after the first burst.
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
            socket
        })
    });
    let churn: Vec<_> = churn.collect();
    let mut known = Known::default();
    // Who never gets further than to the snapshot is shown one each time.
    for _ in 0..15 {
        let (mut ada, resumed) = resume(&server, Encoding::Json, &joined, received).await.expect("resumed");
        known.see(&resumed.snapshot.expect("a snapshot"));
        for _ in 0..10 {
            if let Some(ServerMessage::Event { event }) = ada.message().await {
                known.hear(&event);
            }
        }
    }
    let (mut ada, resumed) = resume(&server, Encoding::Json, &joined, received).await.expect("resumed");
    known.see(&resumed.snapshot.expect("a snapshot"));
    stop.send_replace(true);
    let mut stayed = Vec::new();
    for task in churn {
        stayed.push(task.await.expect("it churns"));
    }
    assert_eq!(stayed.remove(0).close(Some(1000)).await, Some(1000));
    // Others have left before, who had more to say than is kept.
    crowd[0].event(|event| left(event).filter(|(who, _)| *who == ids[0])).await;
    assert_eq!(crowd[0].request(chat("the end")).await, Ok(Reply::Done));
    loop {
        let Some(ServerMessage::Event { event }) = ada.message().await else { panic!("an event") };
        if said(&event).is_some() {
            break;
        }
        known.hear(&event);
    }
    let (_eve, entered) = server.join("large", "Eve").await;
    let mut fresh = Known::default();
    entered.participants.iter().filter(|participant| participant.id != joined.participant).for_each(|participant| fresh.add(participant));
    assert_eq!(known, fresh);
}

#[tokio::test]
async fn who_does_not_read_loses_the_connection_but_not_the_session_and_disturbs_nobody() {
    let server = Server::start(&["--silence-timeout-ms", "500"]).await;
    let stream = TcpSocket::new_v4().unwrap();
    stream.set_recv_buffer_size(4096).unwrap();
    let stream = stream.connect(server.http).await.unwrap();
    let mut deaf = Socket::open(&server, Encoding::Json, stream).await;
    let joined = deaf.join("demo", "Deaf").await;
    let (mut watcher, _) = server.join("demo", "Watcher").await;
    // As JSON, a control character is six bytes: a few hundred messages are more than the kernel buffers and the server queues.
    let text = "\u{1}".repeat(MAX_CHAT_BYTES);
    for n in 0..25 {
        let (mut chatter, _) = server.join("demo", &format!("Chatter {n}")).await;
        for _ in 0..20 {
            let told = chatter.request(Request::Chat { text: text.clone(), to: Some(joined.participant) }).await;
            assert_eq!(told, Ok(Reply::Done));
        }
        assert_eq!(chatter.close(Some(1000)).await, Some(1000));
    }
    let mut read = 0;
    while let Some(message) = deaf.message().await {
        assert!(!matches!(message, ServerMessage::Event { event: Event::Closing { .. } }), "{message:?}");
        read += 1;
    }
    assert!(read < 500, "it was broken off");

    let (mut deaf, resumed) = resume(&server, Encoding::Json, &joined, deaf.received).await.expect("resumed");
    let snapshot = resumed.snapshot.expect("more was missed than is kept");
    assert_eq!(snapshot.participants.iter().map(|participant| &*participant.name).collect::<Vec<_>>(), ["Watcher"]);
    assert_eq!(deaf.request(chat("I hear you now")).await, Ok(Reply::Done));
    let mut names = 0;
    let heard = |event: &Event| {
        names += i32::from(matches!(event, Event::ParticipantJoined { .. })) - i32::from(left(event).is_some());
        assert_ne!(left(event).map(|(participant, _)| participant), Some(joined.participant));
        said(event)
    };
    assert_eq!(watcher.event(heard).await, "I hear you now");
    assert_eq!(names, 0);
}

/// Checks a path to the server, as an ICE agent does that nominates it.
async fn check(socket: &UdpSocket, answer: &str) {
    let line = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)).expect("credentials").to_owned();
    let provider = AwsLcRsProvider::new();
    let mut request = Message::new();
    request.typ = BINDING_REQUEST;
    request.write_header();
    request.add(ATTR_USERNAME, format!("{}:{}", line("a=ice-ufrag:"), "theirs").as_bytes());
    request.add(ATTR_ICE_CONTROLLING, &[0; 8]);
    request.add(ATTR_USE_CANDIDATE, &[]);
    MessageIntegrity::new_short_term_integrity_with_provider(line("a=ice-pwd:"), provider.crypto()).add_to(&mut request).unwrap();
    FINGERPRINT.add_to(&mut request).unwrap();
    socket.send(&request.raw).await.unwrap();
    let mut response = [0; 1500];
    tokio::time::timeout(SOON, socket.recv(&mut response)).await.expect("answered").unwrap();
}

#[tokio::test]
async fn who_is_not_heard_on_the_media_path_is_asked_to_restart_ice_until_they_are() {
    let server = Server::start(&[]).await;
    let (mut ada, _) = server.join("demo", "Ada").await;
    let Ok(Reply::Answer(answer)) = ada.request(Request::Offer { sdp: OFFER.into() }).await else { panic!("answered") };
    let path = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    path.connect(("127.0.0.1", server.media)).await.unwrap();
    check(&path, &answer.sdp).await;
    let asked = |event: &Event| matches!(event, Event::RestartIce { .. }).then(Instant::now);
    let silent = Instant::now();
    let first = ada.event(asked).await;
    assert!((6..10).contains(&(first - silent).as_secs()), "{:?}", first - silent);
    let second = ada.event(asked).await;
    assert!((4..8).contains(&(second - first).as_secs()), "{:?}", second - first);
    check(&path, &answer.sdp).await;
    let more = tokio::time::timeout(Duration::from_secs(6), ada.event(asked)).await;
    assert!(more.is_err(), "asked once more though it was heard");
}

#[tokio::test]
async fn a_server_that_goes_down_does_not_wait_for_who_is_not_there() {
    let mut server = Server::start(&[]).await;
    let (ada, _) = server.join("demo", "Ada").await;
    let (ben, joined) = server.join("demo", "Ben").await;
    let received = ben.received;
    drop(ada);
    let ben = (ben, go_on(&server, &joined, received, 0).await);
    let start = Instant::now();
    let stopping = tokio::spawn(async move { server.terminate().await });
    let (mut former, mut ben) = ben;
    assert_eq!(former.closed().await, Some(4001));
    assert_eq!(ben.closed().await, Some(1001));
    assert!(stopping.await.unwrap().success());
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}
