use std::time::{Duration, Instant};

use switchyard_protocol::{ErrorCode, Event, LeaveReason, ParticipantId, ProtocolError, Source, TrackId};

use super::shell::Shell;
use crate::{Audience, Effect, Limits, Pass, Rate, Room};

const NOBODY: ParticipantId = ParticipantId(999);
const NOTHING: TrackId = TrackId(999);

fn drain(room: &mut Room) -> Vec<Effect> {
    std::iter::from_fn(|| room.poll_effect()).collect()
}

#[test]
fn a_refused_request_changes_nothing() {
    type Request = Box<dyn Fn(&mut Room) -> Result<(), ProtocolError>>;
    let limits = Limits { participants: 3, chat: Rate { burst: 1, per_second: 1 }, ..Limits::default() };
    let mut room = Room::new(limits);
    let ada = room.join("Ada".into(), Pass::default()).unwrap().participant;
    let ben = room.join("Ben".into(), Pass::default()).unwrap().participant;
    let camera = room.publish(ada, "1".into(), Source::Camera, false).unwrap();
    let now = Instant::now();
    room.chat(now, 0, ada, "one".into(), None).unwrap();
    let viewer = room.watch(None, Pass::default()).unwrap().participant;
    drain(&mut room);

    let cases: Vec<(&str, ErrorCode, Request)> = vec![
        ("a room that is full", ErrorCode::LimitReached, Box::new(|room| room.join("Eve".into(), Pass::default()).map(drop))),
        ("a viewer of a room that is full", ErrorCode::LimitReached, Box::new(|room| room.watch(None, Pass::default()).map(drop))),
        ("a viewer of nobody", ErrorCode::NoSuchParticipant, Box::new(|room| room.watch(Some(NOBODY), Pass::default()).map(drop))),
        ("a viewer of a viewer", ErrorCode::NoSuchParticipant, Box::new(move |room| room.watch(Some(viewer), Pass::default()).map(drop))),
        (
            "publish by a viewer",
            ErrorCode::NotJoined,
            Box::new(move |room| room.publish(viewer, "2".into(), Source::Screen, false).map(drop)),
        ),
        ("rename of a viewer", ErrorCode::NotJoined, Box::new(move |room| room.rename(viewer, "Eve".into()))),
        ("chat by a viewer", ErrorCode::NotJoined, Box::new(move |room| room.chat(now, 0, viewer, "hello".into(), None))),
        ("chat to a viewer", ErrorCode::NoSuchParticipant, Box::new(move |room| room.chat(now, 0, ben, "psst".into(), Some(viewer)))),
        ("publish by nobody", ErrorCode::NotJoined, Box::new(|room| room.publish(NOBODY, "2".into(), Source::Screen, false).map(drop))),
        (
            "a source twice",
            ErrorCode::AlreadyPublished,
            Box::new(move |room| room.publish(ada, "2".into(), Source::Camera, false).map(drop)),
        ),
        (
            "an m-line twice",
            ErrorCode::AlreadyPublished,
            Box::new(move |room| room.publish(ada, "1".into(), Source::Screen, false).map(drop)),
        ),
        ("unpublish of nothing", ErrorCode::NoSuchTrack, Box::new(move |room| room.unpublish(ada, NOTHING))),
        ("unpublish of another's", ErrorCode::NoSuchTrack, Box::new(move |room| room.unpublish(ben, camera))),
        ("mute of another's", ErrorCode::Forbidden, Box::new(move |room| room.mute(ben, camera, true))),
        ("mute of nothing", ErrorCode::NoSuchTrack, Box::new(move |room| room.mute(ada, NOTHING, true))),
        ("subscribe to one's own", ErrorCode::NoSuchTrack, Box::new(move |room| room.subscribe(ada, camera, true))),
        ("subscribe to nothing", ErrorCode::NoSuchTrack, Box::new(move |room| room.subscribe(ben, NOTHING, true))),
        ("subscribe by nobody", ErrorCode::NotJoined, Box::new(move |room| room.subscribe(NOBODY, camera, false))),
        ("pause of one's own", ErrorCode::NoSuchTrack, Box::new(move |room| room.pause(ada, camera, true))),
        ("pause of nothing", ErrorCode::NoSuchTrack, Box::new(move |room| room.pause(ben, NOTHING, true))),
        ("rename of nobody", ErrorCode::NotJoined, Box::new(|room| room.rename(NOBODY, "Eve".into()))),
        ("chat to nobody", ErrorCode::NoSuchParticipant, Box::new(move |room| room.chat(now, 0, ben, "psst".into(), Some(NOBODY)))),
        ("chat by nobody", ErrorCode::NotJoined, Box::new(move |room| room.chat(now, 0, NOBODY, "hello".into(), None))),
        ("chat too fast", ErrorCode::RateLimited, Box::new(move |room| room.chat(now, 0, ada, "two".into(), None))),
    ];
    for (name, code, request) in cases {
        let before = room.clone();
        assert_eq!(request(&mut room).expect_err(name).code, code, "{name}");
        assert!(room == before, "{name} changed the room");
    }
    assert!(room.chat(now + Duration::from_secs(1), 0, ada, "two".into(), None).is_ok());
}

#[test]
fn leaving_twice_is_noticed_once() {
    let mut room = Room::new(Limits::default());
    let ada = room.join("Ada".into(), Pass::default()).unwrap().participant;
    assert!(room.leave(ada, LeaveReason::Left));
    drain(&mut room);
    assert!(!room.leave(ada, LeaveReason::ConnectionLost));
    assert_eq!(drain(&mut room), []);
    assert!(room.is_empty());
}

#[test]
fn ids_are_never_reused() {
    let mut room = Room::new(Limits::default());
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let id = room.join("Ada".into(), Pass::default()).unwrap().participant;
        let track = room.publish(id, "1".into(), Source::Camera, false).unwrap();
        assert!(seen.insert((id, track)));
        room.leave(id, LeaveReason::Left);
    }
    assert_eq!(seen.iter().map(|(_, track)| track).collect::<std::collections::BTreeSet<_>>().len(), 5);
}

#[test]
fn a_track_that_starts_muted_is_not_forwarded_until_unmuted() {
    let mut room = Room::new(Limits::default());
    let ada = room.join("Ada".into(), Pass::default()).unwrap().participant;
    drain(&mut room);
    let track = room.publish(ada, "1".into(), Source::Microphone, true).unwrap();
    assert!(drain(&mut room).iter().any(|effect| matches!(effect, Effect::Publish { enabled: false, .. })));
    room.mute(ada, track, true).unwrap();
    assert_eq!(drain(&mut room), []);
    room.mute(ada, track, false).unwrap();
    assert_eq!(
        drain(&mut room),
        [
            Effect::Enable { track, enabled: true },
            Effect::Notify { to: Audience::Others(ada), event: Event::TrackMuted { participant: ada, track, muted: false, by: None } }
        ]
    );
}

#[test]
fn a_private_chat_message_is_heard_by_two_and_a_public_one_by_all() {
    let mut shell = Shell::new(Limits::default());
    let (ada, ben, eve) = (shell.join(), shell.join(), shell.join());
    let now = Instant::now();
    let mut heard = |text: &str, to| {
        shell.room.chat(now, 7, ada, text.into(), to).unwrap();
        shell.report_slots(ada);
        [ada, ben, eve].map(|id| {
            shell.client(id).events.iter().filter(|event| matches!(event, Event::Chat { message } if message.text == text)).count()
        })
    };
    assert_eq!(heard("all", None), [1, 1, 1]);
    assert_eq!(heard("ben", Some(ben)), [1, 1, 0]);
    assert_eq!(heard("self", Some(ada)), [1, 0, 0]);
}

#[test]
fn whoever_does_not_fit_into_the_reply_to_join_or_a_snapshot_is_announced_after_it() {
    let mut room = Room::new(Limits { roster_bytes: 1000, ..Limits::default() });
    for _ in 0..30 {
        room.join("A name of some length".into(), Pass::default()).unwrap();
    }
    drain(&mut room);
    let entry = room.join("Zoe".into(), Pass::default()).unwrap();
    assert!((1..30).contains(&entry.participants.len()));
    let announced = |room: &mut Room| {
        let to_zoe = |effect: &Effect| matches!(effect, Effect::Notify { to: Audience::One(id), event: Event::ParticipantJoined { .. } } if *id == entry.participant);
        drain(room).iter().filter(|effect| to_zoe(effect)).count()
    };
    assert_eq!(entry.participants.len() + announced(&mut room), 30);
    let snapshot = room.snapshot(entry.participant).unwrap();
    assert_eq!((snapshot.participants, announced(&mut room)), (entry.participants.clone(), 30 - entry.participants.len()));
    assert_eq!(room.snapshot(NOBODY), None);
}

#[test]
fn the_estimate_of_a_roster_entry_is_above_what_it_takes() {
    use switchyard_protocol::{Encoding, Joined, Kind, Participant, Reply, RoomSettings, ServerMessage, Track};
    let track = Track { id: TrackId(u32::MAX), kind: Kind::Audio, source: Source::ScreenAudio, muted: false };
    let participant = Participant {
        id: ParticipantId(u32::MAX),
        name: "\"".repeat(64),
        identity: Some("\"".repeat(128)),
        tracks: vec![track; Room::TRACKS_PER_PARTICIPANT],
    };
    let reply = |participants| ServerMessage::Reply {
        id: 1,
        result: Reply::Joined(Joined {
            version: 1,
            room: "demo".into(),
            participant: ParticipantId(1),
            name: String::new(),
            identity: None,
            grants: switchyard_protocol::Grants::default(),
            settings: RoomSettings { locked: false, lobby: false, password: false, max_participants: 1000 },
            participants,
            ice_servers: Vec::new(),
            relay_only: false,
            limits: switchyard_protocol::Limits { message_bytes: 0, chat_bytes: 0, tracks: 0, slots: 0 },
            session: switchyard_protocol::Session { token: "".into(), resume_within: 0 },
        }),
    };
    for encoding in [Encoding::Json, Encoding::MessagePack] {
        let added = encoding.encode_server(&reply(vec![participant.clone()])).len() - encoding.encode_server(&reply(Vec::new())).len();
        assert!(added <= crate::room::roster_bytes(&participant), "{added} bytes");
    }
}
