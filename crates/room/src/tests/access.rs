//! What a pass permits and what it doesn't, and what moderators can do.

use std::time::Instant;

use switchyard_protocol::{
    CloseReason, ErrorCode, Event, Grants, LeaveReason, ParticipantId, ProtocolError, RoomSettingsChange, Source, TrackId, TrackView,
};

use super::shell::Shell;
use crate::{Audience, Effect, GrantChanges, Limits, Pass, Room, SlotMids};

fn drain(room: &mut Room) -> Vec<Effect> {
    std::iter::from_fn(|| room.poll_effect()).collect()
}

fn pass(identity: &str, grants: Grants) -> Pass {
    Pass { identity: Some(identity.into()), grants, renames: true }
}

fn host(identity: &str) -> Pass {
    pass(identity, Grants { moderate: true, ..Grants::without_access_control() })
}

fn speaker(identity: &str) -> Pass {
    pass(identity, Grants::without_access_control())
}

fn locked(locked: bool) -> RoomSettingsChange {
    RoomSettingsChange { locked: Some(locked), ..RoomSettingsChange::default() }
}

#[test]
fn each_request_needs_its_grant_and_no_other() {
    type Request = fn(&mut Room, ParticipantId, TrackId) -> Result<(), ProtocolError>;
    let chat: Request = |room, me, _| room.chat(Instant::now(), 0, me, "hi".into(), None);
    let view: Request = |room, me, track| room.view(me, vec![TrackView { track, width: 1, height: 1, pinned: false }], false);
    let verbs: Vec<(&str, Grants, Request)> = vec![
        ("camera", Grants { publish: vec![Source::Camera], ..Grants::default() }, |room, me, _| {
            room.publish(me, "1".into(), Source::Camera, false).map(drop)
        }),
        ("screen", Grants { publish: vec![Source::Screen], ..Grants::default() }, |room, me, _| {
            room.publish(me, "1".into(), Source::Screen, false).map(drop)
        }),
        ("subscribe", Grants { subscribe: true, ..Grants::default() }, |room, me, track| room.subscribe(me, track, true)),
        ("unsubscribe", Grants { subscribe: true, ..Grants::default() }, |room, me, track| room.subscribe(me, track, false)),
        ("pause", Grants { subscribe: true, ..Grants::default() }, |room, me, track| room.pause(me, track, true)),
        ("view", Grants { subscribe: true, ..Grants::default() }, view),
        ("chat", Grants { data: true, ..Grants::default() }, chat),
        ("mute", Grants { moderate: true, ..Grants::default() }, |room, me, track| room.mute(me, track, true)),
        ("remove", Grants { moderate: true, ..Grants::default() }, |room, me, _| room.remove(me, ParticipantId(1))),
        ("ban", Grants { moderate: true, ..Grants::default() }, |room, me, _| room.ban(me, "eve".into(), true)),
        ("unban", Grants { moderate: true, ..Grants::default() }, |room, me, _| room.ban(me, "eve".into(), false)),
        ("configure", Grants { moderate: true, ..Grants::default() }, |room, me, _| room.configure(me, locked(true))),
    ];
    let all = Grants { moderate: true, ..Grants::without_access_control() };
    let without = |taken: &Grants| Grants {
        publish: all.publish.iter().copied().filter(|source| !taken.publish.contains(source)).collect(),
        subscribe: all.subscribe && !taken.subscribe,
        data: all.data && !taken.data,
        moderate: all.moderate && !taken.moderate,
    };
    for (name, needed, request) in &verbs {
        for (grants, permitted) in [(needed.clone(), true), (all.clone(), true), (without(needed), false), (Grants::default(), false)] {
            let mut room = Room::new(Limits::default());
            let other = room.join("Ben".into(), speaker("ben")).unwrap().participant;
            let track = room.publish(other, "0".into(), Source::Camera, false).unwrap();
            let me = room.join("Ada".into(), pass("ada", grants.clone())).unwrap().participant;
            let before = room.clone();
            match request(&mut room, me, track) {
                Ok(()) => assert!(permitted, "{name} with {grants:?}"),
                Err(error) => {
                    assert_eq!((permitted, error.code), (false, ErrorCode::Forbidden), "{name} with {grants:?}: {error}");
                    assert!(room == before, "{name} changed the room");
                }
            }
        }
    }
}

#[test]
fn who_may_not_receive_gets_no_slot_and_no_track() {
    let mut room = Room::new(Limits::default());
    let ada = room.join("Ada".into(), speaker("ada")).unwrap().participant;
    let deaf = Grants { subscribe: false, ..Grants::without_access_control() };
    let encoder = room.join("Encoder".into(), pass("encoder", deaf.clone())).unwrap().participant;
    for (n, source) in Source::ALL.into_iter().enumerate() {
        room.publish(ada, n.to_string(), source, false).unwrap();
    }
    // Even slots that a client negotiates without being asked carry nothing.
    room.slots_changed(encoder, vec![SlotMids { audio: Some("10".into()), video: Some("11".into()) }; 4], None);
    let for_encoder = |effect: &Effect| match effect {
        Effect::SetSlots { participant, .. } => *participant == encoder,
        Effect::Route { subscriber, .. } | Effect::Show { subscriber, .. } => *subscriber == encoder,
        Effect::Notify { to: Audience::One(one), event: Event::Slots { .. } } => *one == encoder,
        _ => false,
    };
    let told = drain(&mut room);
    assert!(told.iter().any(|effect| matches!(effect, Effect::SetSlots { participant, .. } if *participant == ada)));
    assert!(!told.iter().any(for_encoder), "{told:?}");
    assert_eq!(room.watch(None, pass("player", deaf)).unwrap_err().code, ErrorCode::Forbidden);
}

#[test]
fn a_name_that_the_token_says_stays() {
    let mut room = Room::new(Limits::default());
    let ada = room.join("Ada".into(), Pass { renames: false, ..speaker("ada") }).unwrap().participant;
    assert_eq!(room.rename(ada, "Grace".into()).unwrap_err().code, ErrorCode::Forbidden);
    let ben = room.join("Ben".into(), speaker("ben")).unwrap();
    assert_eq!((&*ben.participants[0].name, ben.participants[0].identity.as_deref()), ("Ada", Some("ada")));
    assert!(room.rename(ben.participant, "Benjamin".into()).is_ok());
}

#[test]
fn a_moderator_mutes_and_only_the_publisher_unmutes() {
    let mut shell = Shell::new(Limits::default());
    let (ada, ben) = (shell.join_with(host("ada")), shell.join_with(speaker("ben")));
    let track = shell.publish(ben, Source::Microphone);
    shell.ask(|room| room.mute(ada, track, true));
    assert!(!shell.tracks[&track].enabled);
    let muted = Event::TrackMuted { participant: ben, track, muted: true, by: Some(ada) };
    for one in [ada, ben] {
        assert_eq!(shell.client(one).events.last(), Some(&muted), "also who was muted is told");
    }
    // Who has missed it is told with the room as it is.
    shell.room.snapshot(ben).expect("in the room");
    let told = drain(&mut shell.room);
    assert!(told.contains(&Effect::Notify { to: Audience::One(ben), event: muted }), "{told:?}");
    assert_eq!(shell.room.mute(ada, track, false).unwrap_err().code, ErrorCode::Forbidden);
    shell.ask(|room| room.mute(ben, track, false));
    assert!(shell.tracks[&track].enabled);
    shell.room.snapshot(ben).expect("in the room");
    assert_eq!(drain(&mut shell.room), []);
}

#[test]
fn who_is_removed_is_gone_at_once_and_stays_out_whatever_the_token() {
    let mut shell = Shell::new(Limits::default());
    let (ada, ben, phone) = (shell.join_with(host("ada")), shell.join_with(speaker("ben")), shell.join_with(speaker("ben")));
    let eve = shell.join_with(speaker("eve"));
    for each in [ada, ben, phone, eve] {
        shell.negotiate(each);
    }
    let (camera, voice) = (shell.publish(ben, Source::Camera), shell.publish(ada, Source::Camera));
    assert!(shell.client(ben).routes.values().any(|track| *track == voice));
    shell.client(eve).events.clear();
    shell.ask(|room| room.remove(ada, ben));
    assert!(!shell.clients.contains_key(&ben) && !shell.clients.contains_key(&phone), "all of the identity");
    assert!(!shell.client(eve).routes.values().any(|track| *track == camera));
    let left = |id| Event::ParticipantLeft { participant: id, reason: LeaveReason::Removed };
    assert!(shell.client(eve).events.contains(&left(ben)) && shell.client(eve).events.contains(&left(phone)));
    assert!(!shell.room.leave(ben, LeaveReason::Left), "it has left");
    for pass in [speaker("ben"), host("ben")] {
        assert_eq!(shell.room.join("Ben".into(), pass.clone()).unwrap_err().code, ErrorCode::Forbidden);
        assert_eq!(shell.room.watch(None, pass).unwrap_err().code, ErrorCode::Forbidden);
    }
    shell.ask(|room| room.ban(ada, "ben".into(), false));
    shell.join_with(speaker("ben"));
}

#[test]
fn a_ban_reaches_players_and_those_who_never_came_but_not_oneself() {
    let mut room = Room::new(Limits::default());
    let ada = room.join("Ada".into(), host("ada")).unwrap().participant;
    let player = room.watch(None, speaker("ben")).unwrap().participant;
    drain(&mut room);
    room.ban(ada, "ben".into(), true).unwrap();
    assert!(drain(&mut room).contains(&Effect::Remove { participant: player, reason: CloseReason::Removed }));
    room.ban(ada, "eve".into(), true).unwrap();
    assert_eq!(room.join("Eve".into(), speaker("eve")).unwrap_err().code, ErrorCode::Forbidden);
    assert_eq!(room.ban(ada, "ada".into(), true).unwrap_err().code, ErrorCode::Forbidden);
    assert_eq!(room.remove(ada, ada).unwrap_err().code, ErrorCode::Forbidden);
    for n in 0..Room::MAX_BANNED - 2 {
        room.ban(ada, n.to_string(), true).unwrap();
    }
    assert_eq!(room.ban(ada, "one more".into(), true).unwrap_err().code, ErrorCode::LimitReached);
    assert!(room.ban(ada, "eve".into(), true).is_ok(), "it is kept out already");
}

#[test]
fn into_a_locked_room_come_only_moderators() {
    let mut room = Room::new(Limits::default());
    let ada = room.join("Ada".into(), host("ada")).unwrap().participant;
    room.configure(ada, locked(true)).unwrap();
    room.configure(ada, locked(true)).unwrap();
    let told = drain(&mut room)
        .into_iter()
        .filter(|effect| matches!(effect, Effect::Notify { to: Audience::All, event: Event::Settings { settings } } if settings.locked));
    assert_eq!(told.count(), 1, "told once");
    let refused = room.join("Ben".into(), speaker("ben")).unwrap_err();
    assert_eq!((refused.code, refused.retryable), (ErrorCode::RoomLocked, true));
    assert_eq!(room.watch(None, speaker("ben")).unwrap_err().code, ErrorCode::RoomLocked);
    assert!(room.join("Grace".into(), host("grace")).is_ok_and(|entry| entry.settings.locked));
    assert!(room.snapshot(ada).is_some_and(|snapshot| snapshot.settings.locked));
    room.configure(ada, locked(false)).unwrap();
    assert!(room.join("Ben".into(), speaker("ben")).is_ok_and(|entry| !entry.settings.locked));
}

#[test]
fn grants_are_taken_at_once_and_given_again() {
    let mut shell = Shell::new(Limits::default());
    let (ada, ben) = (shell.join_with(host("ada")), shell.join_with(speaker("ben")));
    shell.negotiate(ada);
    shell.negotiate(ben);
    let (camera, _) = (shell.publish(ada, Source::Camera), shell.publish(ada, Source::Microphone));
    let shown = shell.publish(ben, Source::Camera);
    assert!(shell.client(ada).routes.values().any(|track| *track == shown));
    let before = shell.room.clone();
    shell.room.regrant(ada, GrantChanges::default()).unwrap();
    assert!(shell.room == before, "nothing changes with nothing");

    let changes = GrantChanges { publish: Some(vec![Source::Microphone]), subscribe: Some(false), moderate: Some(false), data: None };
    shell.room.regrant(ada, changes).unwrap();
    let effects = drain(&mut shell.room);
    let grants = Grants { publish: vec![Source::Microphone], data: true, ..Grants::default() };
    let told = Event::GrantsChanged { grants: grants.clone() };
    assert!(effects.contains(&Effect::Notify { to: Audience::One(ada), event: told.clone() }), "{effects:?}");
    assert!(effects.contains(&Effect::Unpublish { track: camera }) && effects.contains(&Effect::SetSlots { participant: ada, count: 0 }));
    let stopped = |effect: &Effect| matches!(effect, Effect::Route { subscriber, track: None, .. } if *subscriber == ada);
    assert!(effects.iter().any(stopped), "nothing is routed to who may not receive");
    assert_eq!(shell.room.find(ada).unwrap().grants, grants);
    assert_eq!(shell.room.configure(ada, locked(true)).unwrap_err().code, ErrorCode::Forbidden);
    assert_eq!(shell.room.publish(ada, "9".into(), Source::Camera, false).unwrap_err().code, ErrorCode::Forbidden);
    // Who has missed it is told with the room as it is.
    shell.room.snapshot(ada).expect("in the room");
    assert!(drain(&mut shell.room).contains(&Effect::Notify { to: Audience::One(ada), event: told }));
    shell.room.regrant(ada, GrantChanges { subscribe: Some(true), ..GrantChanges::default() }).unwrap();
    assert!(
        drain(&mut shell.room)
            .iter()
            .any(|effect| matches!(effect, Effect::Route { subscriber, track: Some(_), .. } if *subscriber == ada))
    );
}

#[test]
fn a_closed_room_is_empty_and_tells_each_member_once() {
    let mut shell = Shell::new(Limits::default());
    let all = [shell.join_with(host("ada")), shell.join_with(speaker("ben")), shell.watch(None, 4)];
    for each in all {
        shell.negotiate(each);
    }
    shell.publish(all[0], Source::Camera);
    shell.publish(all[1], Source::Microphone);
    shell.ask(|room| {
        room.close();
        Ok(())
    });
    assert!(shell.room.is_empty() && shell.clients.is_empty() && shell.tracks.is_empty());
}

#[test]
fn the_server_is_a_moderator_whom_nobody_can_be() {
    let mut room = Room::new(Limits::default());
    let ben = room.join("Ben".into(), Pass { renames: false, ..speaker("ben") }).unwrap().participant;
    let track = room.publish(ben, "1".into(), Source::Microphone, false).unwrap();
    let server = ParticipantId::SERVER;
    assert!(ben > server);
    room.mute(server, track, true).unwrap();
    assert_eq!(room.mute(server, track, false).unwrap_err().code, ErrorCode::Forbidden);
    room.configure(server, locked(true)).unwrap();
    assert!(room.settings().locked);
    room.set_name(ben, "Benjamin".into()).unwrap();
    assert_eq!(room.find(ben).unwrap().name.as_deref(), Some("Benjamin"));
    room.configure(server, locked(false)).unwrap();
    room.expel(ben).unwrap();
    assert_eq!(room.expel(ben).unwrap_err().code, ErrorCode::NoSuchParticipant);
    let again = room.join("Ben".into(), speaker("ben")).unwrap().participant;
    room.expel_for_good(again).unwrap();
    assert_eq!(room.banned().collect::<Vec<_>>(), ["ben"]);
    let nobody = room.join("Anonymous".into(), Pass::default()).unwrap().participant;
    assert_eq!(room.expel_for_good(nobody).unwrap_err().code, ErrorCode::InvalidIdentity);
}
