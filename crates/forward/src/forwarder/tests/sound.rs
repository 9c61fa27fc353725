//! Sound on its way to people whose lines lose some of it.

use std::time::Duration;

use switchyard_rtp::codec::{Codec, Payload};
use switchyard_rtp::rtcp::ReportBlock;
use switchyard_rtp::srtp::Profile;
use switchyard_rtp::{ExtensionMap, MediaKind};

use super::world::*;
use crate::{Command, SenderConfig};

const SSRC: u32 = 6_000;
const LISTENER: u32 = 110;

/// Client 0 talks, client 1 listens on an m-line that is as `change` makes it.
fn talk(change: impl FnOnce(&mut SenderConfig)) -> World {
    let mut world = World::new(1);
    for _ in 0..2 {
        world.join(0, Profile::AeadAes128Gcm);
    }
    let peer = world.clients[0].key;
    world.command(0, Command::SetReceivers { peer, receivers: vec![receiver("0", MediaKind::Audio, SSRC)] });
    world.publish(0, "0", 1);
    let mut config = SenderConfig { extensions: ExtensionMap::default(), ..sender(MediaKind::Audio, LISTENER, false) };
    change(&mut config);
    world.command(0, Command::SetSenders { peer: world.clients[1].key, senders: vec![Some(config)] });
    world.route(1, 0, Some(1));
    world
}

/// Says the words of these numbers, 20 ms each; which numbers arrive, copies as well.
fn say(world: &mut World, words: std::ops::Range<u64>) -> Vec<u16> {
    world.clients[1].ciphertexts.clear();
    for word in words {
        world.send(0, &[(SSRC, OPUS, word, word as u32 * 960, vec![word as u8; 60])]);
        world.pass(Duration::from_millis(20));
    }
    let sequence = |packet: &Vec<u8>| u16::from_be_bytes([packet[2], packet[3]]);
    world.clients[1].ciphertexts.iter().map(sequence).collect()
}

fn report_loss(world: &mut World, fraction_lost: u8) {
    let block = ReportBlock { ssrc: LISTENER, fraction_lost, ..ReportBlock::default() };
    world.send_rtcp(1, |writer| writer.receiver_report(1, [block]).unwrap());
}

/// Whether every packet but the last came once more, right behind the next one.
fn is_repeated(numbers: &[u16]) -> bool {
    numbers.chunks(2).zip(numbers[2..].chunks(2)).all(|(first, second)| second.get(1) == Some(&first[0]))
}

#[test]
fn what_a_listener_lost_is_sent_again_once_it_has_asked_for_something() {
    let mut world = talk(|config| config.nack = true);
    let first = say(&mut world, 1..4)[0];
    let ask = |world: &mut World, sequence: u16| {
        world.clients[1].ciphertexts.clear();
        world.send_rtcp(1, |writer| writer.nack(1, LISTENER, [sequence]).unwrap());
        world.clients[1].ciphertexts.len()
    };
    assert_eq!(ask(&mut world, first), 0, "nothing is kept for who loses nothing");
    say(&mut world, 4..8);
    let sent = world.clients[1].ciphertexts.clone();
    assert_eq!(ask(&mut world, first + 5), 1);
    assert_eq!(world.clients[1].ciphertexts[0], sent[2], "the very same packet");
}

#[test]
fn who_can_neither_ask_nor_read_red_gets_everything_twice_while_its_line_loses() {
    let mut world = talk(|config| config.nack = false);
    assert_eq!(say(&mut world, 1..6).len(), 5);
    report_loss(&mut world, 4);
    assert_eq!(say(&mut world, 6..11).len(), 5, "a packet in a hundred is not much");
    report_loss(&mut world, 8);
    let numbers = say(&mut world, 11..21);
    assert_eq!(numbers.len(), 19);
    assert!(is_repeated(&numbers[1..]), "{numbers:?}");

    for loss in [1, 0] {
        world.pass(Duration::from_secs(25));
        world.check(0);
        world.check(1);
        report_loss(&mut world, loss);
    }
    assert!(say(&mut world, 21..24).len() > 5, "what is left of the loss shows that it goes on");
    world.pass(Duration::from_secs(6));
    assert_eq!(say(&mut world, 24..27).len(), 3, "a line that loses nothing for a while is a good one");
}

#[test]
fn a_picture_that_is_sent_again_says_that_sound_gets_lost_as_well() {
    let mut world = talk(|config| config.nack = false);
    let camera = SSRC + 10;
    let receivers = vec![receiver("0", MediaKind::Audio, SSRC), receiver("1", MediaKind::Video, camera)];
    world.command(0, Command::SetReceivers { peer: world.clients[0].key, receivers });
    world.publish(0, "1", 2);
    let audio = SenderConfig { nack: false, ..sender(MediaKind::Audio, LISTENER, false) };
    let senders = vec![Some(audio), Some(sender(MediaKind::Video, LISTENER + 10, true))];
    world.command(0, Command::SetSenders { peer: world.clients[1].key, senders });
    world.route(1, 1, Some(2));
    world.send(0, &[(camera, VP8, 1, 3_000, vp8(true, 500, 1))]);
    let picture = world.clients[1].rtp.back().unwrap().0;
    assert_eq!(say(&mut world, 1..4).len(), 3);
    world.send_rtcp(1, |writer| writer.nack(1, picture.ssrc, [picture.sequence]).unwrap());
    assert_eq!(say(&mut world, 4..7).len(), 5, "all but the last twice");
}

#[test]
fn who_reads_red_gets_nothing_twice() {
    let mut world = talk(|config| {
        config.nack = false;
        config.codecs.set(Payload::Media(Codec::Red), 63);
    });
    report_loss(&mut world, 50);
    assert_eq!(say(&mut world, 1..11).len(), 10);
}

#[test]
fn who_only_says_that_it_asks_gets_everything_twice_until_it_does() {
    let mut world = talk(|config| config.nack = true);
    report_loss(&mut world, 50);
    let numbers = say(&mut world, 1..11);
    assert_eq!(numbers.len(), 19, "Firefox offers to ask for sound, and never does");
    world.send_rtcp(1, |writer| writer.nack(1, LISTENER, [numbers[0]]).unwrap());
    assert_eq!(say(&mut world, 11..21).len(), 10);
}
