//! Who begins to hear a voice hears it from the beginning of its word.

use std::time::Duration;

use switchyard_rtp::MediaKind;
use switchyard_rtp::srtp::Profile;

use super::world::*;
use crate::{Activity, Command, Event};

const VOICE: u64 = 1;
const SSRC: u32 = 7_000;
const QUIET: u8 = 90;
const LOUD: u8 = 30;

/// Client 0 has a microphone, client 1, at the other worker if there is one, an audio m-line.
fn room(workers: u8) -> World {
    let mut world = World::new(workers);
    world.join(0, Profile::AeadAes128Gcm);
    world.join(usize::from(workers) - 1, Profile::AeadAes128Gcm);
    let peer = world.clients[0].key;
    world.command(0, Command::SetReceivers { peer, receivers: vec![receiver("0", MediaKind::Audio, SSRC)] });
    world.publish(0, "0", VOICE);
    let (peer, worker) = (world.clients[1].key, world.clients[1].worker);
    world.command(worker, Command::SetSenders { peer, senders: vec![Some(sender(MediaKind::Audio, 110, false))] });
    world
}

/// Packets of 20 ms from `first` on.
fn speak(world: &mut World, first: u64, count: u64, level: u8) {
    for index in first..first + count {
        let packet = (SSRC, OPUS, index, index as u32 * 960, vec![index as u8; 80]);
        world.send_with_level(0, &packet, level);
        world.pass(Duration::from_millis(20));
    }
}

fn payloads(world: &mut World) -> Vec<u8> {
    world.clients[1].rtp.drain(..).map(|(_, payload)| payload[0]).collect()
}

#[test]
fn who_is_told_to_hear_a_voice_late_hears_its_word_from_the_beginning() {
    let mut world = room(1);
    speak(&mut world, 0, 100, QUIET);
    speak(&mut world, 100, 10, LOUD);
    world.route(1, 0, Some(VOICE));
    speak(&mut world, 110, 5, LOUD);
    let times: Vec<u32> = world.clients[1].rtp.iter().map(|(header, _)| header.timestamp).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 960), "in the voice's own time: {times:?}");
    assert_eq!(payloads(&mut world), (95..115).collect::<Vec<_>>(), "with the 100 ms before it, and nothing twice");
    world.route(1, 0, None);
    world.route(1, 0, Some(VOICE));
    speak(&mut world, 115, 1, LOUD);
    assert_eq!(payloads(&mut world), [115], "nothing again");
}

#[test]
fn a_word_that_began_long_ago_is_not_repeated() {
    let mut world = room(1);
    speak(&mut world, 0, 50, QUIET);
    speak(&mut world, 50, 50, LOUD);
    world.route(1, 0, Some(VOICE));
    speak(&mut world, 100, 2, LOUD);
    assert_eq!(payloads(&mut world), [100, 101]);
}

#[test]
fn a_word_crosses_to_another_worker_from_its_beginning() {
    let mut world = room(2);
    speak(&mut world, 0, 100, QUIET);
    speak(&mut world, 100, 5, LOUD);
    let (track, home) = (crate::TrackKey(VOICE), crate::WorkerIndex(0));
    world.command(1, Command::PublishRemote { track, kind: MediaKind::Audio, home });
    world.command(0, Command::Trunk { track, to: crate::WorkerIndex(1), on: true });
    world.route(1, 0, Some(VOICE));
    speak(&mut world, 105, 2, LOUD);
    assert_eq!(payloads(&mut world), (95..107).collect::<Vec<_>>());
}

#[test]
fn what_was_said_before_a_mute_is_not_heard_after_it() {
    let mut world = room(1);
    speak(&mut world, 0, 50, QUIET);
    speak(&mut world, 50, 5, LOUD);
    for enabled in [false, true] {
        world.command(0, Command::Enable { track: crate::TrackKey(VOICE), enabled });
    }
    world.route(1, 0, Some(VOICE));
    speak(&mut world, 55, 1, LOUD);
    assert_eq!(payloads(&mut world), [55]);
}

#[test]
fn the_control_plane_hears_of_sound_speech_and_silence() {
    let mut world = room(1);
    speak(&mut world, 0, 50, QUIET);
    speak(&mut world, 50, 50, LOUD);
    speak(&mut world, 100, 100, QUIET);
    let mut heard: Vec<Activity> = Vec::new();
    for event in &world.events {
        if let Event::Voice { peer, track, activity, level } = event {
            assert_eq!((*peer, track.0), (world.clients[0].key, VOICE));
            assert!(*activity != Activity::Speech || *level == LOUD);
            heard.push(*activity);
        }
    }
    heard.dedup();
    assert_eq!(heard, [Activity::Sound, Activity::Speech, Activity::Sound, Activity::Silent]);
}
