//! Who comes in, who waits, and what moderators do about it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use switchyard_protocol::{ErrorCode, Event, Grants, GuestId, ParticipantId, ProtocolError, RoomSettingsChange, Token};

use crate::{Answer, Audience, Decision, Effect, Entrant, Entry, Knock, Limits, Pass, Room};

fn pass(identity: &str, moderate: bool) -> Pass {
    Pass { identity: Some(identity.into()), grants: Grants { moderate, ..Grants::without_access_control() }, renames: true }
}

fn change(change: impl FnOnce(&mut RoomSettingsChange)) -> RoomSettingsChange {
    let mut changed = RoomSettingsChange::default();
    change(&mut changed);
    changed
}

/// A room with a moderator in it, set like this.
fn room(settings: RoomSettingsChange) -> (Room, ParticipantId) {
    let mut room = Room::new(Limits::default());
    let host = room.join("Host".into(), pass("host", true)).unwrap().participant;
    room.configure(host, settings).unwrap();
    effects(&mut room);
    (room, host)
}

fn effects(room: &mut Room) -> Vec<Effect> {
    std::iter::from_fn(|| room.poll_effect()).collect()
}

fn come(room: &mut Room, identity: &str, knock: &Knock) -> Result<Answer, ProtocolError> {
    room.enter(Instant::now(), Entrant::Participant(identity.into(), pass(identity, false)), knock)
}

fn waiting() -> Knock {
    Knock { waits: true, ..Knock::default() }
}

fn with(password: &str) -> Knock {
    Knock { password: Some(Token::from(password)), from: "192.0.2.7".parse().ok(), ..Knock::default() }
}

#[track_caller]
fn entered(answer: Result<Answer, ProtocolError>) -> Entry {
    match answer {
        Ok(Answer::Entered(entry)) => entry,
        other => panic!("not in: {other:?}"),
    }
}

#[track_caller]
fn waits(answer: Result<Answer, ProtocolError>) -> GuestId {
    match answer {
        Ok(Answer::Waits(guest)) => guest,
        other => panic!("does not wait: {other:?}"),
    }
}

#[track_caller]
fn refused(answer: Result<Answer, ProtocolError>) -> ErrorCode {
    answer.expect_err("refused").code
}

/// Whom moderators are told of, by name, one list after the other.
fn told(room: &mut Room, moderator: ParticipantId) -> Vec<Vec<String>> {
    let of = |effect| match effect {
        Effect::Notify { to: Audience::One(one), event: Event::Guests { guests } } if one == moderator => Some(guests),
        Effect::Notify { event: Event::Guests { .. }, to } => panic!("{to:?} is told who waits"),
        _ => None,
    };
    let names = |guests: Vec<switchyard_protocol::Guest>| guests.into_iter().map(|guest| guest.name).collect();
    effects(room).into_iter().filter_map(of).map(names).collect()
}

#[test]
fn who_waits_is_nobody_to_the_room_until_a_moderator_lets_them_in() {
    let (mut room, host) = room(change(|it| it.lobby = Some(true)));
    let start = Instant::now();
    let ben = waits(come(&mut room, "ben", &waiting()));
    assert_eq!((room.len(), room.advance(start)), (1, None));
    assert_eq!(told(&mut room, host), [["ben"]]);
    let eve = waits(come(&mut room, "eve", &waiting()));
    let due = room.advance(start).expect("not told at once again");
    assert!(due > start && effects(&mut room).is_empty());
    room.advance(due);
    assert_eq!(told(&mut room, host), [["ben", "eve"]]);
    // Not before they are let in, and then as whom they waited.
    let again = |guest| Knock { guest: Some(guest), ..waiting() };
    let third = waits(come(&mut room, "ben", &again(ben)));
    assert!(room.withdraw_guest(third));
    room.admit(host, Some(ben)).unwrap();
    assert!(effects(&mut room).contains(&Effect::Decided { guest: ben, decision: Decision::Admitted }));
    let as_ben = entered(come(&mut room, "ben", &again(ben))).participant;
    assert!(!room.withdraw_guest(ben), "a place is good once");
    room.leave(as_ben, switchyard_protocol::LeaveReason::ConnectionLost);
    entered(come(&mut room, "ben", &Knock::default()));
    room.deny(host, None).unwrap();
    assert!(effects(&mut room).contains(&Effect::Decided { guest: eve, decision: Decision::Denied }));
    waits(come(&mut room, "eve", &again(eve)));
    assert_eq!(room.admit(host, Some(eve)).unwrap_err().code, ErrorCode::NoSuchParticipant);
}

#[test]
fn who_has_been_in_or_moderates_does_not_wait_and_who_cannot_wait_is_refused() {
    let (mut room, host) = room(RoomSettingsChange::default());
    let ada = entered(come(&mut room, "ada", &waiting())).participant;
    room.configure(host, change(|it| it.lobby = Some(true))).unwrap();
    room.leave(ada, switchyard_protocol::LeaveReason::ConnectionLost);
    entered(come(&mut room, "ada", &Knock::default()));
    entered(room.enter(Instant::now(), Entrant::Participant("Grace".into(), pass("grace", true)), &waiting()));
    assert_eq!(refused(come(&mut room, "ben", &Knock::default())), ErrorCode::NotAdmitted);
    assert_eq!(refused(room.enter(Instant::now(), Entrant::Viewer(None, pass("ben", false)), &Knock::default())), ErrorCode::NotAdmitted);
    // Nobody without an identity is known.
    let nameless = || Entrant::Participant("Anybody".into(), Pass::default());
    for _ in 0..2 {
        let guest = waits(room.enter(Instant::now(), nameless(), &waiting()));
        room.admit(ParticipantId::SERVER, Some(guest)).unwrap();
        entered(room.enter(Instant::now(), nameless(), &Knock { guest: Some(guest), ..waiting() }));
    }
    // A ban takes it back, and sends away who waits.
    let eve = waits(come(&mut room, "eve", &waiting()));
    effects(&mut room);
    room.ban(host, "eve".into(), true).unwrap();
    assert!(effects(&mut room).contains(&Effect::Decided { guest: eve, decision: Decision::Denied }));
    room.ban(host, "ada".into(), true).unwrap();
    room.ban(host, "ada".into(), false).unwrap();
    waits(come(&mut room, "ada", &waiting()));
}

#[test]
fn a_lobby_that_is_turned_off_lets_in_all_who_wait_also_past_lock_and_password() {
    let (mut room, host) = room(change(|it| it.lobby = Some(true)));
    let guests = ["ben", "eve"].map(|name| (name, waits(come(&mut room, name, &waiting()))));
    let closed = change(|it| (it.lobby, it.locked, it.password) = (Some(false), Some(true), Some("secret".into())));
    room.configure(host, closed).unwrap();
    let decided = effects(&mut room);
    for (name, guest) in guests {
        assert!(decided.contains(&Effect::Decided { guest, decision: Decision::Admitted }));
        entered(come(&mut room, name, &Knock { guest: Some(guest), ..waiting() }));
    }
    assert_eq!(refused(come(&mut room, "ben", &waiting())), ErrorCode::RoomLocked);
}

#[test]
fn a_moderator_who_comes_later_is_told_who_waits_and_the_room_waits_for_one() {
    let (mut room, host) = room(change(|it| it.lobby = Some(true)));
    let ben = waits(come(&mut room, "ben", &waiting()));
    room.advance(Instant::now());
    room.leave(host, switchyard_protocol::LeaveReason::Left);
    effects(&mut room);
    assert!(!room.is_empty(), "somebody waits");
    let late = room.join("Late".into(), pass("late", true)).unwrap().participant;
    assert_eq!(told(&mut room, late), [["ben"]]);
    room.snapshot(late).expect("in the room");
    assert_eq!(told(&mut room, late), [["ben"]]);
    room.leave(late, switchyard_protocol::LeaveReason::Left);
    assert!(room.withdraw_guest(ben) && room.is_empty());
}

#[test]
fn a_lobby_is_bounded() {
    let (mut room, host) = room(change(|it| it.lobby = Some(true)));
    let came: Vec<_> = (0..200).map(|n| come(&mut room, &n.to_string(), &waiting())).collect();
    assert_eq!(came.iter().filter(|answer| answer.is_ok()).count(), 100);
    assert_eq!(refused(came.into_iter().last().unwrap()), ErrorCode::LimitReached);
    // Those on their way count as well.
    room.admit(host, None).unwrap();
    assert_eq!(refused(come(&mut room, "late", &waiting())), ErrorCode::LimitReached);
}

#[test]
fn a_password_is_asked_of_all_but_moderators_and_told_to_nobody() {
    let (mut room, host) = room(change(|it| it.password = Some("tea at four".into())));
    let player = |room: &mut Room, knock: &Knock| room.enter(Instant::now(), Entrant::Viewer(None, pass("player", false)), knock);
    assert_eq!(refused(come(&mut room, "ben", &Knock::default())), ErrorCode::PasswordRequired);
    assert_eq!(refused(player(&mut room, &Knock::default())), ErrorCode::PasswordRequired);
    for wrong in ["", "tea", "tea at fouR", "tea at four "] {
        assert_eq!(refused(come(&mut room, "ben", &with(wrong))), ErrorCode::WrongPassword, "{wrong}");
    }
    assert!(entered(come(&mut room, "ben", &with("tea at four"))).settings.password);
    entered(player(&mut room, &with("tea at four")));
    room.join("Grace".into(), pass("grace", true)).unwrap();
    assert!(!format!("{room:?}{:?}", effects(&mut room)).contains("tea at four"));
    room.configure(host, change(|it| it.password = Some("".into()))).unwrap();
    assert!(!entered(come(&mut room, "eve", &Knock::default())).settings.password);
}

#[test]
fn a_password_can_be_tried_few_times_whatever_comes_then() {
    let (mut room, _) = room(change(|it| it.password = Some("right".into())));
    let start = Instant::now();
    let mut guess = |at: u64, from: &str, password: &str| {
        let knock = Knock { from: from.parse().ok(), ..with(password) };
        let entrant = Entrant::Participant("Eve".into(), pass("eve", false));
        room.enter(start + Duration::from_secs(at), entrant, &knock).map(drop).map_err(|error| error.code)
    };
    for _ in 0..5 {
        assert_eq!(guess(0, "192.0.2.1", "wrong"), Err(ErrorCode::WrongPassword));
    }
    assert_eq!(guess(0, "192.0.2.1", "right"), Err(ErrorCode::RateLimited), "or it could be told by that");
    assert_eq!(guess(0, "192.0.2.2", "right"), Ok(()), "nobody else suffers");
    assert_eq!(guess(10, "192.0.2.1", "right"), Ok(()));
}

#[test]
fn a_room_holds_as_many_as_it_is_set_to_and_moderators_as_many_as_the_server_lets() {
    let (mut room, host) = room(change(|it| it.max_participants = Some(2)));
    entered(come(&mut room, "ben", &Knock::default()));
    assert_eq!(refused(come(&mut room, "eve", &Knock::default())), ErrorCode::LimitReached);
    room.join("Grace".into(), pass("grace", true)).unwrap();
    let most = Limits::default().participants as u32;
    for wrong in [0, most + 1, u32::MAX] {
        let before = room.clone();
        let error = room.configure(host, change(|it| (it.max_participants, it.locked) = (Some(wrong), Some(true)))).unwrap_err();
        assert_eq!((error.code, room == before), (ErrorCode::InvalidSettings, true), "{wrong}");
    }
    room.configure(host, change(|it| it.max_participants = Some(most))).unwrap();
    entered(come(&mut room, "eve", &Knock::default()));
}

#[test]
fn everybody_is_told_how_the_room_is_set_once() {
    let (mut room, host) = room(RoomSettingsChange::default());
    let ben = entered(come(&mut room, "ben", &Knock::default())).participant;
    effects(&mut room);
    let all = change(|it| (it.lobby, it.password, it.max_participants) = (Some(true), Some("x".into()), Some(5)));
    for _ in 0..2 {
        room.configure(host, all.clone()).unwrap();
    }
    let settings = room.settings();
    assert_eq!(effects(&mut room), [Effect::Notify { to: Audience::All, event: Event::Settings { settings } }]);
    assert!(settings.lobby && settings.password && !settings.locked && settings.max_participants == 5);
    assert_eq!(room.snapshot(ben).map(|snapshot| snapshot.settings), Some(settings));
    for request in [Room::admit, Room::deny] {
        assert_eq!(request(&mut room, ben, None).unwrap_err().code, ErrorCode::Forbidden);
    }
}

#[test]
fn a_room_that_is_closed_has_nobody_at_its_door() {
    let (mut room, host) = room(change(|it| it.lobby = Some(true)));
    let (ben, eve) = (waits(come(&mut room, "ben", &waiting())), waits(come(&mut room, "eve", &waiting())));
    room.admit(host, Some(ben)).unwrap();
    effects(&mut room);
    room.close();
    assert!(room.is_empty(), "also of who has been let in and is on the way");
    assert!(effects(&mut room).contains(&Effect::Decided { guest: eve, decision: Decision::Closed }));
    let knock = Knock { guest: Some(ben), ..waiting() };
    waits(come(&mut room, "ben", &knock));
}

#[test]
fn nobody_fills_a_lobby_alone() {
    let (mut room, _) = room(change(|it| it.lobby = Some(true)));
    let first = waits(come(&mut room, "ben", &waiting()));
    for _ in 1..5 {
        waits(come(&mut room, "ben", &waiting()));
    }
    assert_eq!(refused(come(&mut room, "ben", &waiting())), ErrorCode::LimitReached);
    waits(come(&mut room, "eve", &waiting()));
    room.withdraw_guest(first);
    waits(come(&mut room, "ben", &waiting()));
}

proptest! {
    /// Whatever happens, nobody is in who was not let in, and who waits is heard of by moderators.
    #[test]
    fn nobody_passes_a_lobby_unseen(steps in proptest::collection::vec((0..5u8, 0..6usize), 1..60)) {
        let (mut room, host) = room(change(|it| it.lobby = Some(true)));
        let mut now = Instant::now();
        let (mut outside, mut let_in, mut inside, mut seen) = (Vec::new(), BTreeSet::new(), 0, Vec::new());
        for (step, n) in steps {
            let guest = outside.get(n % outside.len().max(1)).copied();
            match (step, guest) {
                (0, _) => outside.push(waits(room.enter(now, Entrant::Participant("A".into(), Pass::default()), &waiting()))),
                (1, Some(guest)) => drop(room.admit(host, Some(guest))),
                (2, Some(guest)) => drop(room.deny(host, Some(guest))),
                (3, Some(guest)) => {
                    let knock = Knock { guest: Some(guest), ..waiting() };
                    match room.enter(now, Entrant::Participant("A".into(), Pass::default()), &knock).unwrap() {
                        Answer::Entered(_) => {
                            prop_assert!(let_in.remove(&guest), "not let in");
                            outside.retain(|other| *other != guest);
                            inside += 1;
                        }
                        Answer::Waits(another) => {
                            prop_assert!(!let_in.contains(&guest), "let in");
                            outside.push(another);
                        }
                    }
                }
                (4, Some(guest)) => {
                    room.withdraw_guest(guest);
                    let_in.remove(&guest);
                    outside.retain(|other| *other != guest);
                }
                _ => {}
            }
            now += Duration::from_secs(1);
            room.advance(now);
            for effect in effects(&mut room) {
                match effect {
                    Effect::Decided { guest, decision: Decision::Admitted } => drop(let_in.insert(guest)),
                    Effect::Decided { guest, .. } => outside.retain(|other| *other != guest),
                    Effect::Notify { event: Event::Guests { guests }, .. } => seen = guests.iter().map(|guest| guest.id).collect(),
                    _ => {}
                }
            }
            let unseen: Vec<_> = outside.iter().copied().filter(|guest| !let_in.contains(guest)).collect();
            prop_assert_eq!(&seen, &unseen);
            prop_assert_eq!(room.len(), 1 + inside);
        }
    }
}

#[test]
fn who_is_moved_here_has_a_place_past_everything_but_a_ban_once() {
    let shut =
        change(|it| (it.locked, it.lobby, it.password, it.max_participants) = (Some(true), Some(true), Some(Token::from("x")), Some(2)));
    let (mut room, host) = room(shut);
    let start = Instant::now();
    let later = |seconds| start + Duration::from_secs(seconds);
    let moved = |passage: &str| Knock { passage: Some(passage.to_owned()), ..Knock::default() };
    let enter = |room: &mut Room, now, knock: &Knock| room.enter(now, Entrant::Participant("Ben".into(), pass("ben", false)), knock);
    room.ban(host, "eve".into(), true).unwrap();
    assert_eq!(room.invite(start, "0".into(), "Eve".into(), pass("eve", false)).unwrap_err().code, ErrorCode::Forbidden);
    room.invite(start, "1".into(), "Ben".into(), pass("ben", false)).unwrap();
    assert_eq!(room.invite(start, "2".into(), "Cleo".into(), pass("cleo", false)).unwrap_err().code, ErrorCode::LimitReached);
    assert_eq!(room.redeem(start, "1"), Ok(("Ben".into(), pass("ben", false))));
    assert_eq!(room.redeem(start, "2").unwrap_err().code, ErrorCode::Unauthorized);
    let ben = entered(enter(&mut room, later(59), &moved("1"))).participant;
    assert_eq!(refused(enter(&mut room, later(59), &moved("1"))), ErrorCode::RoomLocked, "once");
    assert!(room.redeem(later(3_599), "1").is_ok() && room.redeem(later(3_600), "1").is_err());
    room.remove(host, ben).unwrap();
    assert!(room.redeem(later(60), "1").is_err(), "who is sent away doesn't come back with it");
    room.configure(host, change(|it| it.locked = Some(false))).unwrap();
    // Who doesn't come in time has no place any more.
    room.invite(start, "3".into(), "Cleo".into(), pass("cleo", false)).unwrap();
    assert_eq!(refused(enter(&mut room, later(60), &moved("3"))), ErrorCode::Forbidden, "banned meanwhile");
    let cleo = Entrant::Participant("Cleo".into(), pass("cleo", false));
    assert_eq!(refused(room.enter(later(60), cleo, &moved("3"))), ErrorCode::PasswordRequired);
}

#[test]
fn a_room_is_there_for_whoever_is_on_the_way() {
    let mut room = Room::new(Limits::default());
    let start = Instant::now();
    room.invite(start, "1".into(), "Ben".into(), pass("ben", false)).unwrap();
    assert!(!room.is_empty());
    let due = room.advance(start).expect("until they are given up");
    assert_eq!(due, start + Duration::from_secs(60));
    assert_eq!(room.advance(due), None);
    assert!(room.is_empty());
    room.invite(due, "2".into(), "Ben".into(), pass("ben", false)).unwrap();
    room.uninvite("2");
    room.advance(due);
    assert!(room.is_empty() && room.redeem(due, "2").is_err());
    room.invite(due, "3".into(), "Ben".into(), pass("ben", false)).unwrap();
    room.close();
    assert!(room.is_empty() && room.redeem(due, "3").is_err());
}
