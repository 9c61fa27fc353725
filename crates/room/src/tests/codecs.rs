//! Which codecs publishers hear that all decode, and who gets a track in its second codec.

use std::time::{Duration, Instant};

use switchyard_protocol::{Backup, ErrorCode, Event, ParticipantId, Reception, Source, TrackId, VideoCodec};

use super::shell::Shell;
use crate::{Limits, Size};

use VideoCodec::{Av1, H264, Vp8};

const SECOND: Duration = Duration::from_secs(1);

/// Everybody sends a camera.
fn people<const COUNT: usize>(shell: &mut Shell) -> [(ParticipantId, TrackId); COUNT] {
    std::array::from_fn(|_| {
        let id = shell.join();
        shell.negotiate(id);
        (id, shell.publish(id, Source::Camera))
    })
}

fn decodes(shell: &mut Shell, now: Instant, who: ParticipantId, codecs: &[VideoCodec]) {
    shell.client(who).codecs = Some(codecs.iter().copied().collect());
    shell.report_slots(who);
    shell.advance(now);
}

/// What somebody was told since this was asked last.
fn told(shell: &mut Shell, who: ParticipantId) -> Vec<(TrackId, Vec<Vec<VideoCodec>>)> {
    let events = std::mem::take(&mut shell.client(who).events);
    let sets = |event| if let Event::Codecs { track, sets } = event { Some((track, sets)) } else { None };
    events.into_iter().filter_map(sets).collect()
}

#[test]
fn publishers_hear_which_codecs_all_others_decode_and_a_snapshot_says_so_again() {
    let (mut shell, now) = (Shell::new(Limits::default()), Instant::now());
    let [(ada, camera), (ben, bens), (cai, cais)] = people(&mut shell);
    for who in [ada, ben, cai] {
        decodes(&mut shell, now, who, &[Vp8, Av1]);
    }
    let both = vec![vec![Vp8, Av1]];
    assert_eq!([ada, ben, cai].map(|who| told(&mut shell, who)), [camera, bens, cais].map(|track| vec![(track, both.clone())]));
    decodes(&mut shell, now, ben, &[Vp8]);
    let tell = |track| vec![(track, vec![vec![Vp8], vec![Vp8, Av1]])];
    assert_eq!([ada, ben, cai].map(|who| told(&mut shell, who)), [tell(camera), vec![], tell(cais)], "Ben does not watch himself");
    assert!(shell.room.snapshot(ada).is_some());
    shell.settle();
    assert_eq!(told(&mut shell, ada), tell(camera));
}

#[test]
fn who_begins_anew_decodes_what_they_did_and_who_has_left_may_be_back() {
    let (mut shell, now) = (Shell::new(Limits::default()), Instant::now());
    let [(ada, camera), (ben, _)] = people(&mut shell);
    decodes(&mut shell, now, ben, &[Vp8]);
    assert_eq!(told(&mut shell, ada), [(camera, vec![vec![Vp8]])]);
    shell.renew(ben);
    shell.advance(now);
    shell.advance(now + SECOND * 10);
    assert_eq!(told(&mut shell, ada), []);
    shell.leave(ben);
    shell.advance(now + SECOND * 10);
    assert_eq!(told(&mut shell, ada), []);
    shell.advance(now + SECOND * 13);
    assert_eq!(told(&mut shell, ada), [(camera, vec![])]);
}

#[test]
fn nobody_is_left_of_a_room_that_was_closed() {
    let (mut shell, now) = (Shell::new(Limits::default()), Instant::now());
    let [(ada, _), (ben, _)] = people(&mut shell);
    decodes(&mut shell, now, ada, &[Vp8]);
    decodes(&mut shell, now, ben, &[Vp8]);
    shell.ask(|room| {
        room.close();
        Ok(())
    });
    let [(cai, _)] = people(&mut shell);
    shell.advance(now);
    assert_eq!(told(&mut shell, cai), []);
}

fn backup(mid: &str) -> Option<Backup> {
    Some(Backup { mid: mid.into(), codec: Vp8, instead_of: Av1 })
}

/// Who gets a track in its second codec, of those who get it.
fn by_backup<const COUNT: usize>(shell: &mut Shell, track: TrackId, people: [ParticipantId; COUNT]) -> [Option<bool>; COUNT] {
    people.map(|who| {
        let client = shell.client(who);
        let sender = client.routes.iter().find(|(_, routed)| **routed == track).map(|(sender, _)| *sender)?;
        Some(client.by_backup.contains(&sender))
    })
}

#[test]
fn a_track_comes_in_its_second_codec_to_who_decodes_that_and_not_the_first() {
    let (mut shell, now) = (Shell::new(Limits::default()), Instant::now());
    let [(ada, camera), (ben, bens), (cai, _), (eve, _)] = people(&mut shell);
    decodes(&mut shell, now, ben, &[Vp8]);
    decodes(&mut shell, now, cai, &[Vp8, Av1]);
    decodes(&mut shell, now, eve, &[H264]);
    let all = [ben, cai, eve];
    assert_eq!(by_backup(&mut shell, camera, all), [Some(false); 3]);
    shell.room.handle_reception(ben, camera, false, Reception::Undecodable, Size::NONE);
    shell.settle();
    shell.ask(|room| room.back_up(ada, camera, backup("9")));
    assert_eq!(by_backup(&mut shell, camera, all), [Some(true), Some(false), Some(false)]);
    let full = |event: &Event| matches!(event, Event::Reception { track, reception: Reception::Full, .. } if *track == camera);
    assert!(shell.client(ben).events.iter().any(full), "what was undecodable no longer is");
    // Said late, of what Ben got before.
    shell.room.handle_reception(ben, camera, false, Reception::Undecodable, Size::NONE);
    shell.settle();
    assert!(shell.client(ben).events.last().is_some_and(full));

    decodes(&mut shell, now, cai, &[Vp8]);
    assert_eq!(by_backup(&mut shell, camera, all), [Some(true), Some(true), Some(false)]);
    shell.ask(|room| room.back_up(ada, camera, backup("10")));
    assert_eq!(by_backup(&mut shell, camera, all), [Some(true), Some(true), Some(false)], "on another m-line");
    for (who, track, mid, code) in [
        (ben, camera, "11", ErrorCode::NoSuchTrack),
        (ada, camera, "Camera", ErrorCode::AlreadyPublished),
        (ada, TrackId(999), "11", ErrorCode::NoSuchTrack),
    ] {
        assert_eq!(shell.room.back_up(who, track, backup(mid)).map_err(|error| error.code), Err(code), "{mid}");
    }
    assert_eq!(shell.room.publish(ada, "10".into(), Source::Screen, false).map_err(|error| error.code), Err(ErrorCode::AlreadyPublished));
    let voice = shell.publish(ben, Source::Microphone);
    assert_eq!(shell.room.back_up(ben, voice, backup("11")).map_err(|error| error.code), Err(ErrorCode::WrongState));
    assert_eq!(by_backup(&mut shell, bens, [cai]), [Some(false)], "another track has none");

    shell.renew(ada);
    assert_eq!(by_backup(&mut shell, camera, all), [None; 3]);
    assert_eq!(shell.room.back_up(ada, camera, backup("9")).map_err(|error| error.code), Err(ErrorCode::WrongState));
    assert_eq!(shell.publish(ada, Source::Camera), camera);
    assert_eq!(by_backup(&mut shell, camera, all), [Some(false); 3], "the new transport has none yet");
    shell.ask(|room| room.back_up(ada, camera, backup("9")));
    assert_eq!(by_backup(&mut shell, camera, [ben]), [Some(true)]);
    shell.ask(|room| room.back_up(ada, camera, None));
    assert_eq!(by_backup(&mut shell, camera, [ben]), [Some(false)]);
    shell.ask(|room| room.back_up(ada, camera, backup("9")));
    shell.leave(ada);
}

#[test]
fn what_a_line_carries_limits_nothing_that_is_sent_in_two_codecs() {
    let (mut shell, now) = (Shell::new(Limits::default()), Instant::now());
    let [(ada, camera), _] = people(&mut shell);
    let small = Size { width: 320, height: 180 };
    let told = |shell: &mut Shell, at: u32| {
        shell.advance(now + SECOND * at);
        shell.advance(now + SECOND * (at + 2));
        let size = |event: &Event| match event {
            Event::Wanted { track, width, height } if *track == camera => Some(Size { width: *width, height: *height }),
            _ => None,
        };
        shell.client(ada).events.iter().rev().find_map(size)
    };
    shell.room.handle_limit(camera, Some(small));
    assert_eq!(told(&mut shell, 0), Some(small));
    shell.ask(|room| room.back_up(ada, camera, backup("9")));
    assert_eq!(told(&mut shell, 5), Some(Size::FULL), "it holds no more");
    shell.room.handle_limit(camera, Some(small));
    assert_eq!(told(&mut shell, 10), Some(Size::FULL), "nor does another");
    shell.ask(|room| room.back_up(ada, camera, None));
    shell.room.handle_limit(camera, Some(small));
    assert_eq!(told(&mut shell, 15), Some(small));
}
