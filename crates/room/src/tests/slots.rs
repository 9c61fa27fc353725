use std::time::Instant;

use proptest::prelude::*;
use switchyard_protocol::{Backup, ErrorCode, Event, Kind, ParticipantId, Source, TrackId, TrackView, VideoCodec};

use super::shell::Shell;
use crate::{Activity, Audience, Effect, Limits};

const SOURCES: [Source; 4] = [Source::Camera, Source::Microphone, Source::Screen, Source::ScreenAudio];

#[test]
fn camera_and_microphone_share_a_slot_and_the_screen_has_its_own() {
    let mut shell = Shell::new(Limits::default());
    let (ada, ben) = (shell.join(), shell.join());
    shell.negotiate(ben);
    let tracks = SOURCES.map(|source| shell.publish(ada, source));
    let shown = shell.client(ben).shown.clone();
    assert_eq!(shown["0"], tracks[1]);
    assert_eq!(shown["1"], tracks[0]);
    assert_eq!(shown["2"], tracks[3]);
    assert_eq!(shown["3"], tracks[2]);
}

#[test]
fn a_join_within_the_spare_slots_negotiates_nothing() {
    let mut shell = Shell::new(Limits::default());
    let watcher = shell.join();
    shell.negotiate(watcher);
    assert_eq!(shell.client(watcher).wanted_slots, 4);
    for expected in [4, 4, 4, 8, 8, 8, 8, 12] {
        let publisher = shell.join();
        shell.publish(publisher, Source::Camera);
        assert_eq!(shell.client(watcher).wanted_slots, expected);
        // Asked for before it is needed, so nobody waits for it.
        assert_eq!(shell.client(watcher).shown.len(), shell.wanted_groups(watcher).len());
        shell.negotiate(watcher);
    }
}

#[test]
fn slots_shrink_only_when_more_than_a_step_is_idle() {
    let mut shell = Shell::new(Limits::default());
    let watcher = shell.join();
    let publishers: Vec<_> = (0..9).map(|_| shell.join()).collect();
    for &publisher in &publishers {
        shell.publish(publisher, Source::Camera);
    }
    shell.negotiate(watcher);
    assert_eq!(shell.client(watcher).wanted_slots, 12);
    for (gone, expected) in publishers.iter().zip([12, 12, 12, 12, 12, 4]) {
        shell.leave(*gone);
        assert_eq!(shell.client(watcher).wanted_slots, expected);
    }
    // Whoever was in a high slot moved down before it is taken away.
    assert_eq!(shell.client(watcher).routes.keys().copied().collect::<Vec<_>>(), [1, 3, 5]);
}

#[test]
fn beyond_the_bound_the_oldest_waiting_group_gets_the_next_free_slot() {
    let mut shell = Shell::new(Limits { slots: 4, heard: 64, ..Limits::default() });
    let watcher = shell.join();
    shell.negotiate(watcher);
    let tracks: Vec<(ParticipantId, TrackId)> = (0..6)
        .map(|_| {
            let publisher = shell.join();
            (publisher, shell.publish(publisher, Source::Microphone))
        })
        .collect();
    let audio = |shell: &mut Shell| shell.client(watcher).shown.values().copied().collect::<Vec<_>>();
    assert_eq!(audio(&mut shell), tracks[..4].iter().map(|(_, track)| *track).collect::<Vec<_>>());
    shell.leave(tracks[1].0);
    assert_eq!(audio(&mut shell), [tracks[0].1, tracks[4].1, tracks[2].1, tracks[3].1]);
    shell.subscribe(watcher, tracks[0].1, false);
    assert_eq!(audio(&mut shell), [tracks[5].1, tracks[4].1, tracks[2].1, tracks[3].1]);
    shell.subscribe(watcher, tracks[0].1, true);
    shell.subscribe(watcher, tracks[4].1, false);
    assert_eq!(audio(&mut shell), [tracks[5].1, tracks[0].1, tracks[2].1, tracks[3].1]);
}

#[test]
fn a_paused_track_keeps_its_slot_and_loses_its_route() {
    let mut shell = Shell::new(Limits::default());
    let (ada, ben) = (shell.join(), shell.join());
    shell.negotiate(ben);
    let camera = shell.publish(ada, Source::Camera);
    shell.pause(ben, camera, true);
    assert_eq!((shell.client(ben).shown.len(), shell.client(ben).routes.len()), (1, 0));
    shell.pause(ben, camera, false);
    assert_eq!(shell.client(ben).routes[&1], camera);
}

#[test]
fn a_transport_that_begins_anew_takes_routes_away_and_nothing_else() {
    let mut shell = Shell::new(Limits::default());
    let (ada, ben) = (shell.join(), shell.join());
    let (camera, voice) = (shell.publish(ada, Source::Camera), shell.publish(ben, Source::Microphone));
    shell.negotiate(ada);
    shell.negotiate(ben);
    shell.client(ada).events.clear();
    shell.client(ben).events.clear();
    shell.client(ada).wanted_slots = 0;
    shell.renew(ada);
    assert_eq!((shell.client(ada).shown.len(), shell.client(ada).routes.len()), (0, 0), "she has no m-lines");
    assert_eq!(shell.client(ada).wanted_slots, 4, "she is to be offered as many slots as before");
    assert_eq!((shell.client(ben).shown["1"], shell.client(ben).routes.len()), (camera, 0), "what she sends has none either");
    assert_eq!(shell.publish(ada, Source::Camera), camera, "it stays the same track");
    assert_eq!(shell.client(ben).routes[&1], camera);
    assert_eq!(shell.client(ben).events, [], "nobody hears of it");
    shell.negotiate(ada);
    assert_eq!(shell.client(ada).routes[&0], voice);
    // What she does not publish again she can withdraw.
    shell.renew(ada);
    shell.unpublish(camera);
    assert!(shell.client(ben).shown.is_empty());
}

#[test]
fn a_track_that_is_published_again_may_be_muted_meanwhile() {
    let mut shell = Shell::new(Limits::default());
    let (ada, ben) = (shell.join(), shell.join());
    let camera = shell.publish(ada, Source::Camera);
    shell.renew(ada);
    shell.client(ben).events.clear();
    assert_eq!(shell.room.publish(ada, "another".into(), Source::Camera, true), Ok(camera));
    let told = std::iter::from_fn(|| shell.room.poll_effect()).collect::<Vec<_>>();
    let muted = Event::TrackMuted { participant: ada, track: camera, muted: true, by: None };
    assert!(told.contains(&Effect::Notify { to: Audience::Others(ada), event: muted }), "{told:?}");
    let error = shell.room.publish(ada, "third".into(), Source::Camera, true).unwrap_err();
    assert_eq!(error.code, ErrorCode::AlreadyPublished, "once");
}

#[test]
fn nothing_is_routed_before_its_m_line_exists() {
    let mut shell = Shell::new(Limits::default());
    let (ada, ben) = (shell.join(), shell.join());
    let camera = shell.publish(ada, Source::Camera);
    assert!(shell.client(ben).shown.is_empty() && shell.client(ben).routes.is_empty());
    shell.negotiate(ben);
    assert_eq!(shell.client(ben).shown["1"], camera);
    shell.refuse(ben, 0, Kind::Video);
    assert_eq!(shell.client(ben).shown["3"], camera, "in another slot");
    assert_eq!(shell.client(ben).routes.iter().map(|(at, track)| (*at, *track)).collect::<Vec<_>>(), [(3, camera)]);
}

#[test]
fn a_viewer_is_seen_by_nobody_and_gets_whoever_fits_its_slots() {
    let mut shell = Shell::new(Limits::default());
    let ada = shell.join();
    let viewer = shell.watch(None, 2);
    shell.negotiate(viewer);
    let camera = shell.publish(ada, Source::Camera);
    let tracks: Vec<TrackId> = (0..3)
        .map(|_| {
            let publisher = shell.join();
            shell.publish(publisher, Source::Camera)
        })
        .collect();
    let video = |shell: &mut Shell| shell.client(viewer).routes.values().copied().collect::<Vec<_>>();
    assert_eq!(video(&mut shell), [camera, tracks[0]]);
    shell.leave(ada);
    assert_eq!(video(&mut shell), [tracks[1], tracks[0]]);
    // That nobody heard of the viewer is checked after every step.
    shell.leave(viewer);
}

#[test]
fn a_viewer_of_one_gets_nobody_else_and_goes_with_them() {
    let mut shell = Shell::new(Limits::default());
    let (ada, ben) = (shell.join(), shell.join());
    let viewer = shell.watch(Some(ada), 2);
    shell.negotiate(viewer);
    shell.publish(ben, Source::Camera);
    assert!(shell.client(viewer).routes.is_empty());
    let camera = shell.publish(ada, Source::Camera);
    let screen = shell.publish(ada, Source::Screen);
    assert_eq!(shell.client(viewer).routes.iter().map(|(at, track)| (*at, *track)).collect::<Vec<_>>(), [(1, camera), (3, screen)]);
    shell.leave(ben);
    shell.leave(ada);
    assert!(shell.clients.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Join,
    Watch(Option<usize>, usize),
    Leave(usize),
    Publish(usize, usize),
    Unpublish(usize),
    Mute(usize, bool),
    Subscribe(usize, usize, bool),
    Pause(usize, usize, bool),
    Negotiate(usize),
    Report(usize),
    Refuse(usize, usize, bool),
    Renew(usize),
    View(usize, Vec<(usize, u16, bool)>, bool),
    Voice(usize, usize, u8),
    Decode(usize, bool),
    BackUp(usize, Option<usize>),
}

fn step() -> impl Strategy<Value = Step> {
    let index = || 0..1000usize;
    prop_oneof![
        3 => Just(Step::Join),
        2 => (prop::option::of(index()), 1..7usize).prop_map(|(only, slots)| Step::Watch(only, slots)),
        2 => index().prop_map(Step::Leave),
        6 => (index(), 0..4usize).prop_map(|(who, what)| Step::Publish(who, what)),
        2 => index().prop_map(Step::Unpublish),
        1 => (index(), any::<bool>()).prop_map(|(track, muted)| Step::Mute(track, muted)),
        3 => (index(), index(), any::<bool>()).prop_map(|(who, track, on)| Step::Subscribe(who, track, on)),
        2 => (index(), index(), any::<bool>()).prop_map(|(who, track, on)| Step::Pause(who, track, on)),
        6 => index().prop_map(Step::Negotiate),
        1 => index().prop_map(Step::Report),
        1 => (index(), prop::collection::vec((index(), 0..3u16, any::<bool>()), 0..8), any::<bool>())
            .prop_map(|(who, tracks, others)| Step::View(who, tracks, others)),
        4 => (index(), 0..3usize, 20..60u8).prop_map(|(track, activity, level)| Step::Voice(track, activity, level)),
        2 => (index(), 0..6usize, any::<bool>()).prop_map(|(who, slot, audio)| Step::Refuse(who, slot, audio)),
        2 => index().prop_map(Step::Renew),
        2 => (index(), any::<bool>()).prop_map(|(who, many)| Step::Decode(who, many)),
        3 => (index(), prop::option::of(0..2usize)).prop_map(|(track, line)| Step::BackUp(track, line)),
    ]
}

fn pick<T: Copy>(of: impl Iterator<Item = T>, at: usize) -> Option<T> {
    let all: Vec<T> = of.collect();
    (!all.is_empty()).then(|| all[at % all.len()])
}

fn run(shell: &mut Shell, step: Step) {
    let who = |shell: &Shell, at| pick(shell.clients.keys().copied(), at);
    let shown = |shell: &Shell, at| pick(shell.clients.iter().filter(|(_, client)| !client.viewer).map(|(id, _)| *id), at);
    let track = |shell: &Shell, at| pick(shell.tracks.keys().copied(), at);
    let foreign =
        |shell: &Shell, who, at| pick(shell.tracks.iter().filter(|(_, track)| track.publisher != who).map(|(track, _)| *track), at);
    match step {
        Step::Watch(only, slots) => {
            let only = only.and_then(|at| shown(shell, at));
            if shell.clients.len() < 12 {
                shell.watch(only, slots.min(shell.limits.slots));
            }
        }
        Step::Join => {
            if shell.clients.len() < 12 {
                shell.join();
            }
        }
        Step::Leave(at) => {
            if let Some(id) = who(shell, at) {
                shell.leave(id);
            }
        }
        Step::Publish(at, what) => {
            let Some(id) = shown(shell, at) else { return };
            if !shell.tracks.values().any(|track| track.bound && track.publisher == id && track.source == SOURCES[what]) {
                shell.publish(id, SOURCES[what]);
            }
        }
        Step::Unpublish(at) => {
            if let Some(id) = track(shell, at) {
                shell.unpublish(id);
            }
        }
        Step::Mute(at, muted) => {
            let Some(id) = track(shell, at) else { return };
            let publisher = shell.tracks[&id].publisher;
            shell.room.mute(publisher, id, muted).expect("published");
            shell.report_slots(publisher);
            assert_eq!(shell.tracks[&id].enabled, !muted);
        }
        Step::Subscribe(at, which, on) => {
            let Some(id) = who(shell, at) else { return };
            if let Some(track) = foreign(shell, id, which) {
                shell.subscribe(id, track, on);
            }
        }
        Step::Pause(at, which, on) => {
            let Some(id) = who(shell, at) else { return };
            if let Some(track) = foreign(shell, id, which) {
                shell.pause(id, track, on);
            }
        }
        Step::Negotiate(at) => {
            if let Some(id) = who(shell, at) {
                shell.negotiate(id);
            }
        }
        Step::Report(at) => {
            if let Some(id) = who(shell, at) {
                shell.report_slots(id);
            }
        }
        Step::View(at, wishes, others) => {
            let Some(id) = shown(shell, at) else { return };
            let wish = |&(which, size, pinned): &(usize, u16, bool)| {
                track(shell, which).map(|track| TrackView { track, width: size * 160, height: size * 90, pinned })
            };
            let tracks: Vec<TrackView> = wishes.iter().filter_map(wish).collect();
            shell.view(id, &tracks, others);
        }
        Step::Voice(at, activity, level) => {
            if let Some(id) = track(shell, at) {
                shell.voice(Instant::now(), id, [Activity::Silent, Activity::Sound, Activity::Speech][activity], level);
            }
        }
        Step::Refuse(at, slot, audio) => {
            if let Some(id) = who(shell, at) {
                shell.refuse(id, slot, if audio { Kind::Audio } else { Kind::Video });
            }
        }
        Step::Renew(at) => {
            if let Some(id) = shown(shell, at) {
                shell.renew(id);
            }
        }
        Step::Decode(at, many) => {
            let Some(id) = who(shell, at) else { return };
            let codecs: &[VideoCodec] = if many { &[VideoCodec::Vp8, VideoCodec::Av1] } else { &[VideoCodec::Vp8] };
            shell.client(id).codecs = Some(codecs.iter().copied().collect());
            shell.report_slots(id);
        }
        Step::BackUp(at, line) => {
            let videos = shell.tracks.iter().filter(|(_, track)| track.bound && track.source.kind() == Kind::Video);
            let Some((id, publisher)) = pick(videos.map(|(id, track)| (*id, track.publisher)), at) else { return };
            let mid = |line| format!("{line} for {}", id.0);
            let backup = line.map(|line| Backup { mid: mid(line), codec: VideoCodec::Vp8, instead_of: VideoCodec::Av1 });
            shell.ask(|room| room.back_up(publisher, id, backup));
        }
    }
}

proptest! {
    /// The shell checks after every step that slots, routes and beliefs fit together.
    #[test]
    fn every_client_knows_its_routes_through_any_history(bound in prop_oneof![Just(4usize), Just(8), Just(64)], steps in prop::collection::vec(step(), 1..120)) {
        let mut shell = Shell::new(Limits { slots: bound, heard: 64, shown: 64, ..Limits::default() });
        for step in steps {
            run(&mut shell, step);
        }
        let unbound: Vec<_> = shell.tracks.iter().filter(|(_, track)| !track.bound).map(|(id, track)| (*id, track.publisher, track.source)).collect();
        for (id, publisher, source) in unbound {
            prop_assert_eq!(shell.publish(publisher, source), id);
        }
        // Once everything is negotiated, everybody who fits is shown.
        let ids: Vec<_> = shell.clients.keys().copied().collect();
        for id in ids {
            shell.negotiate(id);
            let bound = if shell.clients[&id].viewer { shell.clients[&id].wanted_slots } else { bound };
            let wanted = shell.wanted_groups(id);
            let shown: std::collections::BTreeSet<_> = shell.clients[&id].routes.keys().map(|sender| sender / 2).collect();
            let paused = &shell.clients[&id].paused;
            if !paused.is_empty() || shell.clients[&id].views {
                continue;
            }
            if wanted.len() <= bound || shell.clients[&id].viewer {
                prop_assert_eq!(shown.len(), wanted.len().min(bound));
                continue;
            }
            for (side, kind) in [(0, Kind::Audio), (1, Kind::Video)] {
                let there = shell.tracks.iter().filter(|(track, published)| {
                    published.publisher != id && published.source.kind() == kind && !shell.clients[&id].unsubscribed.contains(track)
                });
                let received = shell.clients[&id].routes.keys().filter(|sender| **sender % 2 == side).count();
                prop_assert_eq!(received, there.count().min(bound));
            }
        }
    }
}
