//! A publisher of one encoding with spatial layers: VP9 (RFC 9628).

use std::time::Duration;

use switchyard_rtp::codec::vp9::Descriptor;
use switchyard_rtp::srtp::Profile;

use super::media::{CAMERA, SSRC, is_pli, room, rtcp_of};
use super::world::*;
use crate::{Command, Layer, Target};

/// A picture of two spatial layers of one packet each, the last of which is marked.
fn picture(world: &mut World, number: u16, keyframe: bool) {
    for spatial in 0..2u8 {
        let inter = if keyframe { 0 } else { 0x40 };
        let mut payload = vec![0xac | inter, 0x80, 0, spatial << 1 | spatial, number as u8, 7, 7, 7];
        payload[1..3].copy_from_slice(&(0x8000 | number).to_be_bytes());
        world.clients[0].unmarked = spatial == 0;
        world.send(0, &[(SSRC, VP9, 2 * u64::from(number) + u64::from(spatial), u32::from(number) * 3_000, payload)]);
    }
}

fn target(world: &mut World, spatial: u8) {
    let peer = world.clients[1].key;
    world.command(
        0,
        Command::SetTarget { peer, sender: 1, target: Target::Layer(Layer { encoding: 0, spatial, temporal: 7 }), pinned: false },
    );
}

#[test]
fn the_last_packet_of_the_layer_that_is_sent_ends_the_picture() {
    let mut world = room(1, Profile::AeadAes128Gcm, true);
    assert_eq!(world.clients[1].rtp.len(), 0, "of track {CAMERA}");
    picture(&mut world, 50, true);
    target(&mut world, 0);
    picture(&mut world, 51, false);
    picture(&mut world, 52, false);
    target(&mut world, 1);
    picture(&mut world, 53, false);
    picture(&mut world, 54, true);
    let got = world.clients[1].rtp.iter().map(|(header, payload)| {
        let descriptor = Descriptor::parse(payload).unwrap();
        (header.sequence, header.marker, descriptor.spatial_layer, descriptor.picture_id.unwrap().0)
    });
    let got: Vec<_> = got.collect();
    let first = got[0].0;
    let expected = [(false, 0, 50), (true, 1, 50), (true, 0, 51), (true, 0, 52), (true, 0, 53), (false, 0, 54), (true, 1, 54)];
    let expected: Vec<_> = (0..).zip(expected).map(|(at, (marker, spatial, picture))| (first + at, marker, spatial, picture)).collect();
    assert_eq!(got, expected);
}

#[test]
fn a_tile_is_shown_the_layer_that_covers_it_and_a_higher_one_from_a_keyframe_on() {
    let mut world = room(1, Profile::AeadAes128Gcm, true);
    let peer = world.clients[1].key;
    let mut number = 50;
    let mut play = |world: &mut World, keyframe: bool, count: usize| {
        world.clients[1].rtp.clear();
        for place in 0..count {
            number += 1;
            picture(world, number, keyframe && place == 0);
            world.pass(Duration::from_millis(33));
        }
        let layers = world.clients[1].rtp.iter().map(|(_, payload)| Descriptor::parse(payload).unwrap().spatial_layer);
        layers.fold([0; 2], |counts, layer| std::array::from_fn(|place| counts[place] + usize::from(usize::from(layer) == place)))
    };
    let show = |world: &mut World, width: u16, height: u16| {
        world.command(0, Command::SetTarget { peer, sender: 1, target: Target::Covering { width, height }, pinned: false });
    };
    assert_eq!(play(&mut world, true, 40), [40, 40]);
    world.clients[0].rtcp.clear();
    // The higher of two is taken for 1280 by 720 while nothing says its size.
    show(&mut world, 480, 270);
    assert_eq!(play(&mut world, false, 10), [10, 0]);
    assert_eq!(rtcp_of(&world, 0, is_pli), 0, "down at any picture");
    show(&mut world, 1_280, 720);
    assert_eq!(play(&mut world, false, 5), [5, 0]);
    assert_eq!(rtcp_of(&world, 0, is_pli), 1, "up at a keyframe, which is asked for");
    assert_eq!(play(&mut world, true, 10), [10, 10]);
    world.pass(Duration::from_secs(2));
    assert_eq!(rtcp_of(&world, 0, is_pli), 1);
}
