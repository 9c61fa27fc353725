//! Large rooms: a few are heard, a few are seen, and publishers know who is not.

use std::time::{Duration, Instant};

use switchyard_protocol::{Event, ParticipantId, Quality, Reception, Source, TrackId, TrackView};

use super::shell::Shell;
use crate::{Activity, Audience, Effect, Figures, Limits, Size};

const SECOND: Duration = Duration::from_secs(1);

struct Person {
    id: ParticipantId,
    microphone: TrackId,
    camera: TrackId,
}

/// So many people with microphone and camera, all negotiated.
fn crowd(count: usize) -> (Shell, Vec<Person>) {
    let mut shell = Shell::new(Limits::default());
    let people = (0..count)
        .map(|_| {
            let id = shell.join();
            shell.negotiate(id);
            let (microphone, camera) = (shell.publish(id, Source::Microphone), shell.publish(id, Source::Camera));
            Person { id, microphone, camera }
        })
        .collect::<Vec<_>>();
    people.iter().for_each(|person| shell.negotiate(person.id));
    (shell, people)
}

fn received(shell: &mut Shell, who: &Person, side: u16) -> Vec<TrackId> {
    let mut tracks: Vec<TrackId> =
        shell.client(who.id).routes.iter().filter(|(sender, _)| **sender % 2 == side).map(|(_, track)| *track).collect();
    tracks.sort();
    tracks
}

fn view(person: &Person, width: u16) -> TrackView {
    TrackView { track: person.camera, width, height: width / 16 * 9, pinned: false }
}

fn wanted(shell: &mut Shell, who: &Person) -> Vec<u16> {
    let events = std::mem::take(&mut shell.client(who.id).events);
    events
        .iter()
        .filter_map(|event| if let Event::Wanted { track, width, .. } = event { (*track == who.camera).then_some(*width) } else { None })
        .collect()
}

#[test]
fn what_is_received_is_as_large_as_it_is_shown() {
    let (mut shell, people) = crowd(3);
    let sizes = |shell: &mut Shell| {
        let client = shell.client(people[0].id);
        let of = |track: TrackId| {
            let sender = client.routes.iter().find(|(_, routed)| **routed == track).map(|(sender, _)| *sender)?;
            Some(client.sizes.get(&sender).copied().unwrap_or(Size::FULL))
        };
        [of(people[1].camera), of(people[2].camera)]
    };
    let size = |width| Some(Size { width, height: width / 16 * 9 });
    assert_eq!(sizes(&mut shell), [Some(Size::FULL); 2]);
    shell.view(people[0].id, &[view(&people[1], 320), view(&people[2], 640)], false);
    assert_eq!(sizes(&mut shell), [size(320), size(640)]);
    shell.view(people[0].id, &[view(&people[1], 1280)], true);
    assert_eq!(sizes(&mut shell), [size(1280), Some(Size::FULL)]);
}

#[test]
fn a_crowd_hears_five_and_sees_nine_in_no_more_slots_than_that_takes() {
    let (mut shell, people) = crowd(40);
    for who in [0, 20, 39] {
        let own = usize::from(who < 5);
        assert_eq!(received(&mut shell, &people[who], 0).len(), 5 - own, "{who}");
        assert_eq!(received(&mut shell, &people[who], 1).len(), 9, "{who}");
        assert_eq!(shell.client(people[who].id).wanted_slots, 12, "{who}");
    }
}

#[test]
fn whoever_speaks_is_heard_and_seen_by_all_at_once() {
    let (mut shell, people) = crowd(40);
    let now = Instant::now();
    shell.voice(now, people[30].microphone, Activity::Sound, 35);
    for who in [0, 20, 39] {
        assert!(received(&mut shell, &people[who], 0).contains(&people[30].microphone), "heard by {who}");
        assert!(!received(&mut shell, &people[who], 1).contains(&people[30].camera), "not seen yet: it may be a cough");
    }
    shell.voice(now, people[30].microphone, Activity::Speech, 35);
    for who in [0, 20, 39] {
        assert!(received(&mut shell, &people[who], 1).contains(&people[30].camera), "seen by {who}");
        assert_eq!(received(&mut shell, &people[who], 1).len(), 9);
    }
    let beside = |shell: &mut Shell| {
        let routes = &shell.client(people[39].id).routes;
        let at = |track| routes.iter().find(|(_, routed)| **routed == track).map(|(sender, _)| sender / 2);
        (at(people[30].microphone), at(people[30].camera))
    };
    assert!(beside(&mut shell).0.is_some(), "{:?}", beside(&mut shell));
}

#[test]
fn the_room_is_told_who_speaks_and_so_is_who_comes_later() {
    let (mut shell, people) = crowd(3);
    let now = Instant::now();
    shell.voice(now, people[1].microphone, Activity::Speech, 35);
    shell.advance(now);
    let speakers = |shell: &mut Shell, id| {
        let events = std::mem::take(&mut shell.client(id).events);
        events.iter().filter_map(|event| if let Event::Speakers { speakers } = event { Some(speakers.clone()) } else { None }).next_back()
    };
    let told = speakers(&mut shell, people[0].id).expect("told");
    assert_eq!((told[0].participant, told[0].level, told.len()), (people[1].id, 35, 1));
    let late = shell.join();
    assert_eq!(speakers(&mut shell, late), Some(told));
    let due = shell.advance(now + SECOND).expect("what is not said again is over");
    shell.advance(due);
    assert_eq!(speakers(&mut shell, late), Some(Vec::new()));
    shell.voice(due, people[1].microphone, Activity::Speech, 35);
    shell.advance(due + SECOND);
    shell.leave(people[1].id);
    shell.advance(due + SECOND * 2);
    assert_eq!(speakers(&mut shell, late), Some(Vec::new()), "who has gone speaks no more");
}

#[test]
fn who_speaks_comes_first_until_somebody_else_does() {
    let (mut shell, people) = crowd(3);
    let start = Instant::now();
    let speak = |shell: &mut Shell, at: u64, who: usize, activity: Activity| {
        let now = start + SECOND * at as u32;
        shell.voice(now, people[who].microphone, activity, 35);
        shell.advance(now);
        shell.spotlight
    };
    assert_eq!(speak(&mut shell, 0, 1, Activity::Speech), Some(people[1].camera));
    assert_eq!(speak(&mut shell, 1, 1, Activity::Silent), Some(people[1].camera), "nobody else has spoken");
    assert_eq!(speak(&mut shell, 2, 2, Activity::Speech), Some(people[2].camera));
    shell.renew(people[2].id);
    speak(&mut shell, 3, 2, Activity::Silent);
    assert_eq!(speak(&mut shell, 4, 0, Activity::Speech), Some(people[0].camera));
}

#[test]
fn what_a_line_leaves_of_a_track_is_told_its_subscriber_alone() {
    let (mut shell, people) = crowd(2);
    shell.room.handle_reception(people[0].id, people[1].camera, false, Reception::Paused, Size::NONE);
    shell.room.handle_reception(people[0].id, TrackId(999), false, Reception::Paused, Size::NONE);
    shell.settle();
    let told = |shell: &mut Shell, who: &Person| {
        shell.client(who.id).events.iter().filter(|event| matches!(event, Event::Reception { .. })).count()
    };
    assert_eq!((told(&mut shell, &people[0]), told(&mut shell, &people[1])), (1, 0));
}

#[test]
fn who_has_missed_what_a_line_leaves_and_whose_is_bad_is_told_with_the_room_as_it_is() {
    let (mut shell, people) = crowd(3);
    let [ada, ben, cleo] = [0, 1, 2].map(|at| people[at].id);
    let size = Size { width: 320, height: 180 };
    shell.room.handle_reception(ada, people[1].camera, false, Reception::Reduced, size);
    shell.room.handle_reception(ada, people[2].camera, false, Reception::Paused, Size::NONE);
    shell.room.handle_reception(ada, people[2].camera, false, Reception::Full, Size::FULL);
    shell.quality(ben, Quality::Poor, Figures { loss: 12, round_trip: 90, jitter: 20 });
    let mut retold = |who: ParticipantId| {
        shell.settle();
        shell.room.snapshot(who).expect("in the room");
        let effects = std::iter::from_fn(|| shell.room.poll_effect());
        let of = |effect: Effect| match effect {
            Effect::Notify { to, event: event @ (Event::Reception { .. } | Event::Quality { .. }) } if to == Audience::One(who) => {
                Some(event)
            }
            _ => None,
        };
        effects.filter_map(of).collect::<Vec<_>>()
    };
    let poor = Event::Quality { participant: ben, quality: Quality::Poor, loss: 12, round_trip: 90, jitter: 20 };
    let reduced = Event::Reception { track: people[1].camera, reception: Reception::Reduced, width: 320, height: 180 };
    assert_eq!(retold(ada), [reduced, poor.clone()]);
    assert_eq!(retold(cleo), [poor]);
    // Of what is received otherwise nothing was said yet.
    shell.room.subscribe(ada, people[1].camera, false).expect("somebody else's");
    shell.room.subscribe(ada, people[1].camera, true).expect("somebody else's");
    shell.settle();
    shell.room.snapshot(ada).expect("in the room");
    let effects = std::iter::from_fn(|| shell.room.poll_effect());
    assert!(!effects.into_iter().any(|effect| matches!(effect, Effect::Notify { event: Event::Reception { .. }, .. })));
}

#[test]
fn a_bad_connection_is_told_to_all_and_to_who_comes_later() {
    let (mut shell, people) = crowd(2);
    let bad = Event::Quality { participant: people[0].id, quality: Quality::Poor, loss: 12, round_trip: 90, jitter: 20 };
    shell.quality(people[0].id, Quality::Poor, Figures { loss: 12, round_trip: 90, jitter: 20 });
    let late = shell.join();
    for who in [people[0].id, people[1].id, late] {
        assert_eq!(shell.client(who).events.iter().filter(|event| **event == bad).count(), 1);
    }
    shell.quality(people[0].id, Quality::Good, Figures::default());
    let later = shell.join();
    assert!(!shell.client(later).events.iter().any(|event| matches!(event, Event::Quality { .. })));
}

#[test]
fn who_says_what_it_shows_gets_that_and_no_more() {
    let (mut shell, people) = crowd(20);
    let wish: Vec<TrackView> = people[3..15].iter().map(|person| view(person, 320)).collect();
    shell.view(people[0].id, &wish, false);
    shell.negotiate(people[0].id);
    let expected: Vec<TrackId> = people[3..15].iter().map(|person| person.camera).collect();
    assert_eq!(received(&mut shell, &people[0], 1), expected, "also more than are shown without being asked");
    shell.view(people[0].id, &wish[..2], false);
    assert_eq!(received(&mut shell, &people[0], 1), expected[..2]);
    shell.view(people[0].id, &wish[..2], true);
    let nine = received(&mut shell, &people[0], 1);
    assert!(nine.len() == 9 && expected[..2].iter().all(|track| nine.contains(track)));
    shell.view(people[0].id, &[], false);
    assert!(received(&mut shell, &people[0], 1).is_empty());
    assert_eq!(received(&mut shell, &people[1], 1).len(), 9, "others see what they saw");
    assert!(received(&mut shell, &people[0], 0).len() >= 4, "and who sees nothing still hears");
}

#[test]
fn what_is_hidden_keeps_its_slot_until_that_is_needed() {
    let (mut shell, people) = crowd(3);
    let shown = shell.client(people[0].id).shown.clone();
    shell.view(people[0].id, &[view(&people[1], 320)], false);
    assert_eq!((shell.client(people[0].id).shown.clone(), received(&mut shell, &people[0], 1)), (shown, vec![people[1].camera]));
    for _ in 0..12 {
        let id = shell.join();
        let camera = shell.publish(id, Source::Camera);
        let mut wish = vec![view(&people[1], 320)];
        wish.extend((shell.tracks.keys().filter(|track| track.0 >= camera.0.min(7))).map(|&track| TrackView {
            track,
            width: 320,
            height: 180,
            pinned: false,
        }));
        shell.view(people[0].id, &wish, false);
        shell.negotiate(people[0].id);
        assert_eq!(received(&mut shell, &people[0], 1).len(), wish.len(), "nobody waits for the hidden");
    }
}

#[test]
fn the_pinned_come_first_where_not_all_fit() {
    let mut shell = Shell::new(Limits { slots: 4, ..Limits::default() });
    let watcher = shell.join();
    shell.negotiate(watcher);
    let cameras: Vec<TrackId> = (0..6)
        .map(|_| {
            let id = shell.join();
            shell.publish(id, Source::Camera)
        })
        .collect();
    let mut wish: Vec<TrackView> = cameras.iter().map(|&track| TrackView { track, width: 320, height: 180, pinned: false }).collect();
    wish[5].pinned = true;
    shell.view(watcher, &wish, false);
    let routes: Vec<TrackId> = shell.client(watcher).routes.values().copied().collect();
    assert!(routes.len() == 4 && routes.contains(&cameras[5]), "{routes:?}");
}

#[test]
fn screens_come_before_faces_and_the_last_to_speak_before_the_others() {
    let (mut shell, people) = crowd(30);
    let now = Instant::now();
    for speaker in &people[15..25] {
        shell.voice(now, speaker.microphone, Activity::Speech, 30);
    }
    let screen = shell.publish(people[29].id, Source::Screen);
    let mut expected: Vec<TrackId> = people[17..25].iter().map(|person| person.camera).chain([screen]).collect();
    expected.sort();
    assert_eq!(received(&mut shell, &people[0], 1), expected);
}

#[test]
fn a_publisher_is_told_at_once_that_it_is_wanted_and_a_moment_later_that_it_is_not() {
    let (mut shell, people) = crowd(3);
    let start = Instant::now();
    shell.advance(start);
    assert!(wanted(&mut shell, &people[0]).is_empty(), "it is, as it believes");
    for viewer in &people[1..] {
        shell.view(viewer.id, &[view(&people[0], 320)], false);
    }
    let due = shell.advance(start).expect("something is due");
    assert!(due - start <= SECOND * 2 && wanted(&mut shell, &people[0]).is_empty());
    shell.advance(due);
    assert_eq!(wanted(&mut shell, &people[0]), [320]);
    shell.view(people[1].id, &[view(&people[0], 1280)], false);
    shell.advance(due);
    assert_eq!(wanted(&mut shell, &people[0]), [1280]);
    shell.view(people[1].id, &[], false);
    shell.leave(people[2].id);
    let due = shell.advance(due).expect("something is due");
    shell.advance(due);
    assert_eq!(wanted(&mut shell, &people[0]), [0]);
    shell.view(people[1].id, &[], true);
    shell.advance(due);
    assert_eq!(wanted(&mut shell, &people[0]), [u16::MAX]);
}

#[test]
fn a_pause_counts_as_not_wanted() {
    let (mut shell, people) = crowd(2);
    let now = Instant::now();
    shell.pause(people[1].id, people[0].camera, true);
    let due = shell.advance(now).expect("something is due");
    shell.advance(due);
    assert_eq!(wanted(&mut shell, &people[0]), [0]);
}

#[test]
fn sound_and_picture_of_one_speaker_share_a_slot_where_they_can() {
    let (mut shell, people) = crowd(40);
    let now = Instant::now();
    for speaker in [30, 31, 32, 33] {
        shell.voice(now, people[speaker].microphone, Activity::Speech, 30);
    }
    let routes = shell.client(people[39].id).routes.clone();
    let at = |track| routes.iter().find(|(_, routed)| **routed == track).map(|(sender, _)| sender / 2).expect("received");
    let together = [30, 31, 32, 33].into_iter().filter(|&who: &usize| at(people[who].microphone) == at(people[who].camera)).count();
    assert!(together >= 3, "{together} of 4");
}
