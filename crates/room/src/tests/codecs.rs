//! Which codecs publishers hear that all decode.

use std::time::{Duration, Instant};

use switchyard_protocol::{Event, ParticipantId, Source, TrackId, VideoCodec};

use super::shell::Shell;
use crate::Limits;

use VideoCodec::{Av1, Vp8};

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
