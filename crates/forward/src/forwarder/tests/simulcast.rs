//! A publisher of three encodings, and who gets which of them.

use std::time::Duration;

use switchyard_rtp::MediaKind;
use switchyard_rtp::codec::vp8::Descriptor;
use switchyard_rtp::rtcp::{Packet, SenderInfo};
use switchyard_rtp::srtp::Profile;

use super::media::{CAMERA, rtcp_of, subscribe};
use super::world::*;
use crate::{Command, Drop, Layer, ReceiverConfig, Simulcast, Target, TrackKey, WorkerIndex};

const RIDS: [&str; 3] = ["q", "h", "f"];
const SIZES: [(u16, u16); 3] = [(320, 180), (640, 360), (1280, 720)];
/// A frame's time, in units of the RTP clock.
const FRAME: u32 = 3_000;

fn ssrc(encoding: usize) -> u32 {
    7_000 + 10 * encoding as u32
}

fn camera() -> ReceiverConfig {
    let rids = RIDS.map(str::to_owned).to_vec();
    ReceiverConfig { ssrcs: Vec::new(), simulcast: Simulcast::Rids(rids), ..receiver("1", MediaKind::Video, 0) }
}

/// The world and what the publisher, client 0, has sent. Client 1 subscribes.
struct Room {
    world: World,
    /// Packets sent, by encoding.
    sent: [u64; 3],
    frames: u32,
}

impl Room {
    fn new() -> Self {
        Self::over(1)
    }

    /// The subscriber is on the last of so many workers.
    fn over(workers: u8) -> Self {
        let mut world = World::new(workers);
        world.join(0, Profile::AeadAes128Gcm);
        world.join(usize::from(workers) - 1, Profile::AeadAes128Gcm);
        for (encoding, rid) in RIDS.iter().enumerate() {
            world.clients[0].named.insert(ssrc(encoding), vec![(4, "1"), (10, rid)]);
            world.clients[0].named.insert(ssrc(encoding) + 1, vec![(4, "1"), (11, rid)]);
        }
        let peer = world.clients[0].key;
        world.command(0, Command::SetReceivers { peer, receivers: vec![camera()] });
        world.publish(0, "1", CAMERA);
        if workers > 1 {
            let (track, to) = (TrackKey(CAMERA), WorkerIndex(workers - 1));
            world.command(1, Command::PublishRemote { track, kind: MediaKind::Video, home: WorkerIndex(0) });
            world.command(0, Command::Trunk { track, to, on: true });
        }
        subscribe(&mut world, 1, CAMERA, true);
        Self { world, sent: [100, 2_000, 30_000], frames: 0 }
    }

    /// The next packet of an encoding.
    fn packet(&mut self, encoding: usize, keyframe: bool, temporal: u8, time: u32) -> (u32, u8, u64, u32, Vec<u8>) {
        self.sent[encoding] += 1;
        let index = self.sent[encoding];
        let (width, height) = SIZES[encoding];
        let picture = 0x8000 | (index as u16 + 77 * encoding as u16);
        let base = (self.frames as u8).wrapping_add(100 * encoding as u8);
        let mut payload = vec![0; 300 + 100 * encoding];
        payload[..2].copy_from_slice(&[0x90, 0xe0]);
        payload[2..4].copy_from_slice(&picture.to_be_bytes());
        payload[4..7].copy_from_slice(&[base, temporal << 6 | 0x20, u8::from(!keyframe)]);
        payload[9..12].copy_from_slice(&[0x9d, 0x01, 0x2a]);
        payload[12..14].copy_from_slice(&width.to_le_bytes());
        payload[14..16].copy_from_slice(&height.to_le_bytes());
        // Which packet of the publisher's it is.
        payload[20..28].copy_from_slice(&index.to_be_bytes());
        payload[28] = encoding as u8;
        (ssrc(encoding), VP8, index, time.wrapping_add(1_000_000 * encoding as u32), payload)
    }

    /// The next frame of each encoding in `encodings`, one packet each: 33 ms.
    fn frame(&mut self, encodings: &[usize], keyframes: &[usize], temporal: u8) {
        self.frames += 1;
        let time = self.frames * FRAME;
        let packets: Vec<_> =
            encodings.iter().map(|&encoding| self.packet(encoding, keyframes.contains(&encoding), temporal, time)).collect();
        self.world.send(0, &packets);
        self.world.pass(Duration::from_millis(33));
    }

    fn frames(&mut self, encodings: &[usize], count: usize) {
        for _ in 0..count {
            self.frame(encodings, &[], 0);
        }
    }

    fn target(&mut self, target: Target) {
        let (peer, worker) = (self.world.clients[1].key, self.world.clients[1].worker);
        self.world.command(worker, Command::SetTarget { peer, sender: 1, target, pinned: false });
    }

    /// What the subscriber got since the last time: encoding and the publisher's packet.
    fn got(&self) -> Vec<(u8, u64)> {
        let packet = |payload: &Vec<u8>| (payload[28], u64::from_be_bytes(payload[20..28].try_into().unwrap()));
        self.world.clients[1].rtp.iter().map(|(_, payload)| packet(payload)).collect()
    }

    fn encodings(&self) -> Vec<u8> {
        let mut encodings: Vec<u8> = self.got().into_iter().map(|(encoding, _)| encoding).collect();
        encodings.dedup();
        encodings
    }

    /// Whether what the subscriber got goes on in number, picture and index, and ever later.
    fn assert_seamless(&self) {
        let got: Vec<_> = self.world.clients[1].rtp.iter().collect();
        for pair in got.windows(2) {
            let [(before, old), (after, new)] = [pair[0], pair[1]];
            assert_eq!(after.sequence, before.sequence.wrapping_add(1));
            assert_eq!(after.ssrc, before.ssrc);
            let step = after.timestamp.wrapping_sub(before.timestamp) as i32;
            assert!((1..=3 * FRAME as i32).contains(&step), "{step}");
            let numbers = |payload: &Vec<u8>| {
                let descriptor = Descriptor::parse(payload).unwrap();
                (descriptor.picture_id.unwrap().value, descriptor.tl0_picture_index.unwrap().0)
            };
            assert_eq!(numbers(new).0, (numbers(old).0 + 1) & 0x7fff, "pictures");
        }
    }

    fn plis(&self) -> Vec<u32> {
        let mut asked = Vec::new();
        rtcp_of(&self.world, 0, |packet| {
            if let Packet::PictureLossIndication { media, .. } = packet {
                asked.push(*media);
            }
            false
        });
        asked
    }
}

#[test]
fn the_largest_that_comes_is_shown_as_it_comes() {
    let mut room = Room::new();
    room.frame(&[0], &[0], 0);
    room.frames(&[0], 2);
    room.frame(&[0, 1], &[1], 0);
    room.frames(&[0, 1], 2);
    room.frame(&[0, 1, 2], &[2], 0);
    room.frames(&[0, 1, 2], 2);
    assert_eq!(room.encodings(), [0, 1, 2]);
    assert_eq!(room.got().len(), 11, "twice two of a moment: the last of one and the first of the next");
    room.assert_seamless();
    assert_eq!(room.plis(), [], "each began with a keyframe of its own");
}

#[test]
fn a_target_is_switched_to_at_its_keyframe_which_is_asked_of_its_own_ssrc() {
    let mut room = Room::new();
    room.frame(&[0, 1, 2], &[0, 1, 2], 0);
    room.frames(&[0, 1, 2], 2);
    room.target(Target::Covering { width: 200, height: 112 });
    room.frames(&[0, 1, 2], 2);
    assert_eq!(room.encodings(), [2], "until then the old one goes on");
    assert_eq!(room.plis(), [ssrc(0)]);
    room.frame(&[0, 1, 2], &[0], 0);
    room.frames(&[0, 1, 2], 2);
    assert_eq!(room.encodings(), [2, 0]);
    room.target(Target::Layer(Layer::all_of(1)));
    room.frame(&[0, 1, 2], &[1], 0);
    room.frames(&[0, 1, 2], 2);
    assert_eq!(room.encodings(), [2, 0, 1]);
    assert_eq!(room.got().len(), 13, "twice two of a moment");
    room.assert_seamless();
    // The subscriber's own request is for what it gets.
    room.frames(&[0, 1, 2], 60);
    room.world.send_rtcp(1, |writer| writer.picture_loss_indication(1, 120).unwrap());
    room.world.pass(Duration::from_millis(20));
    assert_eq!(room.plis().last(), Some(&ssrc(1)));
}

#[test]
fn a_keyframe_that_nobody_waits_for_any_more_is_not_asked_for_again() {
    let mut room = Room::new();
    room.frame(&[0, 1, 2], &[0, 1], 0);
    room.frames(&[0, 1, 2], 2);
    let asked = |room: &Room, encoding| room.plis().into_iter().filter(|&asked| asked == ssrc(encoding)).count();
    assert_eq!(asked(&room, 2), 1, "the largest is shown, as soon as it can be");
    room.target(Target::Layer(Layer::all_of(1)));
    // Its publisher stops it.
    room.frames(&[0, 1], 150);
    assert_eq!(asked(&room, 2), 1, "in five seconds");
    room.target(Target::Layer(Layer::all_of(2)));
    room.frames(&[0, 1], 90);
    assert!((2..=6).contains(&asked(&room, 2)), "somebody waits again: {}", asked(&room, 2));
}

#[test]
fn encodings_captured_together_are_shown_together() {
    let mut room = Room::new();
    room.frame(&[0, 1, 2], &[0, 1, 2], 0);
    // The second encoding's clock is a million units ahead of the first one's, and so on.
    for encoding in 0..3u32 {
        let rtp = FRAME + 1_000_000 * encoding;
        let info = SenderInfo { ssrc: ssrc(encoding as usize), ntp: 77 << 32, rtp, packets: 1, octets: 60 };
        room.world.send_rtcp(0, |writer| writer.sender_report(&info, []).unwrap());
    }
    room.frames(&[0, 1, 2], 3);
    room.target(Target::Layer(Layer::all_of(0)));
    // The keyframe of the low encoding comes much later than its time says.
    room.world.pass(Duration::from_millis(70));
    room.frame(&[0, 1, 2], &[0], 0);
    room.frames(&[0, 1, 2], 1);
    let times: Vec<_> = room.world.clients[1].rtp.iter().map(|(header, _)| header.timestamp).collect();
    assert_eq!(room.encodings(), [2, 0]);
    let steps: Vec<_> = times.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert_eq!(
        steps,
        [FRAME, FRAME, FRAME, FRAME, 90, FRAME - 90],
        "as they were captured, not as they came; two of one moment 1 ms apart"
    );
}

#[test]
fn temporal_layers_are_left_out_without_a_gap_and_retransmissions_find_their_packets() {
    let mut room = Room::new();
    room.target(Target::Layer(Layer { temporal: 0, ..Layer::all_of(2) }));
    room.frame(&[2], &[2], 0);
    for round in 0..8 {
        room.frame(&[2], &[], [2, 1, 2, 0][round % 4]);
    }
    assert_eq!(room.got(), [(2, 30_001), (2, 30_005), (2, 30_009)]);
    let headers: Vec<_> = room.world.clients[1].rtp.iter().map(|(header, _)| *header).collect();
    assert_eq!(headers[2].timestamp.wrapping_sub(headers[1].timestamp), 4 * FRAME);
    assert_eq!(headers[2].sequence.wrapping_sub(headers[0].sequence), 2);
    assert_eq!(room.world.forwarders[0].drops().get(Drop::LeftOut), 6);
    let payload = room.world.clients[1].rtp[1].1.clone();
    room.world.pass(Duration::from_millis(50));
    room.world.send_rtcp(1, |writer| writer.nack(1, 120, [headers[1].sequence]).unwrap());
    let (header, again) = room.world.clients[1].rtp.back().unwrap();
    assert_eq!((header.ssrc, header.timestamp), (121, headers[1].timestamp));
    assert_eq!((&again[..2], &again[2..]), (&headers[1].sequence.to_be_bytes()[..], &payload[..]), "numbers and all");
    // Up again: at switching points, one layer after the other.
    room.target(Target::Layer(Layer::all_of(2)));
    for round in 0..4 {
        room.frame(&[2], &[], [2, 1, 2, 0][round % 4]);
    }
    assert_eq!(room.got()[4..], [(2, 30_011), (2, 30_012), (2, 30_013)]);
}

#[test]
fn a_late_packet_of_what_is_left_out_goes_as_a_number_only() {
    let mut room = Room::new();
    room.target(Target::Layer(Layer { temporal: 0, ..Layer::all_of(2) }));
    room.frame(&[2], &[2], 0);
    room.frames += 1;
    let late = room.packet(2, false, 2, room.frames * FRAME);
    room.frame(&[2], &[], 0);
    room.world.send(0, &[late]);
    let got: Vec<_> = room.world.clients[1].rtp.iter().map(|(header, payload)| (header.sequence, payload.len())).collect();
    let first = got[0].0;
    assert_eq!(got, [(first, 500), (first + 2, 500), (first + 1, 0)], "receivers wait for the number, not for the picture");
}

#[test]
fn when_an_encoding_stops_the_next_lower_one_is_shown_and_when_it_comes_back_it_is() {
    let mut room = Room::new();
    room.frame(&[0, 1, 2], &[0, 1, 2], 0);
    room.frames(&[0, 1, 2], 5);
    room.frames(&[0, 1], 30);
    assert!(room.plis().contains(&ssrc(1)), "{:?}", room.plis());
    room.frame(&[0, 1], &[1], 0);
    room.frames(&[0, 1], 5);
    assert_eq!(room.encodings(), [2, 1]);
    room.frame(&[0, 1, 2], &[2], 0);
    room.frames(&[0, 1, 2], 1);
    assert_eq!(room.encodings(), [2, 1, 2]);
}

#[test]
fn a_paused_subscriber_gets_nothing_and_begins_with_a_keyframe() {
    let mut room = Room::new();
    room.frame(&[2], &[2], 0);
    room.target(Target::Nothing);
    room.frames(&[2], 5);
    assert_eq!((room.got().len(), room.plis()), (1, vec![]));
    room.target(Target::Largest);
    room.frames(&[2], 2);
    assert_eq!((room.got().len(), room.plis()), (1, vec![ssrc(2)]));
    room.frame(&[2], &[2], 0);
    room.frames(&[2], 1);
    assert_eq!(room.got().len(), 3);
    let sequences: Vec<_> = room.world.clients[1].rtp.iter().map(|(header, _)| header.sequence).collect();
    assert_eq!(sequences[1], sequences[0] + 1);
}

#[test]
fn a_lost_packet_is_asked_of_its_encoding_and_comes_by_its_repaired_rid() {
    let mut room = Room::new();
    room.frame(&[0, 1, 2], &[0, 1, 2], 0);
    let time = (room.frames + 1) * FRAME;
    let lost = room.packet(2, false, 0, time);
    room.frames += 1;
    room.frames(&[0, 1, 2], 1);
    let mut asked = Vec::new();
    rtcp_of(&room.world, 0, |packet| {
        if let Packet::Nack(nack) = packet {
            asked.extend(nack.sequences().map(|sequence| (nack.media, sequence)));
        }
        false
    });
    assert_eq!(asked, [(ssrc(2), lost.2 as u16)]);
    let payload = [&(lost.2 as u16).to_be_bytes()[..], &lost.4].concat();
    room.world.send(0, &[(ssrc(2) + 1, VP8_RTX, 9, lost.3, payload)]);
    assert_eq!(room.got(), [(2, 30_001), (2, 30_003), (2, 30_002)]);
}

#[test]
fn encodings_told_apart_by_ssrc_are_bound_as_announced() {
    let mut room = Room::new();
    let peer = room.world.clients[0].key;
    let ssrcs = (0..3).map(|encoding| (ssrc(encoding), Some(ssrc(encoding) + 1))).collect();
    let receivers = vec![ReceiverConfig { ssrcs, simulcast: Simulcast::Ssrcs, ..camera() }];
    room.world.command(0, Command::SetReceivers { peer, receivers });
    room.world.clients[0].named.clear();
    room.frame(&[0, 1, 2], &[0, 1, 2], 0);
    room.frames(&[0, 1, 2], 2);
    assert_eq!(room.encodings(), [2]);
    let drops = room.world.forwarders[0].drops();
    let counts = (drops.get(Drop::UnknownSsrc), drops.get(Drop::OtherEncoding));
    assert_eq!(counts, (0, 2), "of the first frame; later nobody even looks at what is not shown");
}

#[test]
fn a_packet_without_a_known_rid_is_nobodys() {
    let mut room = Room::new();
    for (rid, expected) in [(None, 1), (Some("x"), 2)] {
        let names = [(4, "1")].into_iter().chain(rid.map(|rid| (10, rid))).collect();
        room.world.clients[0].named.insert(ssrc(0), names);
        room.frame(&[0], &[0], 0);
        assert_eq!(room.world.forwarders[0].drops().get(Drop::UnknownSsrc), expected);
    }
    assert_eq!(room.got(), []);
}

#[test]
fn what_an_encoding_takes_and_how_large_it_is_is_measured() {
    let mut room = Room::new();
    room.frame(&[0, 1, 2], &[0, 1, 2], 0);
    for round in 0..120 {
        room.frame(&[0, 2], &[], [2, 1, 2, 0][round % 4]);
    }
    let views: Vec<_> = room.world.forwarders[0].encodings(TrackKey(CAMERA)).collect();
    assert_eq!(
        views.iter().map(|view| (view.live, view.size)).collect::<Vec<_>>(),
        [(true, SIZES[0]), (false, SIZES[1]), (true, SIZES[2])]
    );
    // 30 frames a second of some 550 bytes, a quarter of which is the lowest layer.
    let [lowest, middle, all] = [0, 1, 2].map(|temporal| views[2].bit_rate(0, temporal) as f64);
    assert!((100_000.0..160_000.0).contains(&all), "{all}");
    assert!((lowest / all - 0.25).abs() < 0.08 && (middle / all - 0.5).abs() < 0.08, "{lowest} {middle} {all}");
    assert_eq!(room.world.forwarders[0].encodings(TrackKey(9)).count(), 0);
}

#[test]
fn encodings_cross_to_another_worker() {
    let mut room = Room::over(2);
    room.world.pass(Duration::from_millis(30));
    room.frame(&[0, 1, 2], &[0, 1, 2], 0);
    room.frames(&[0, 1, 2], 2);
    room.target(Target::Covering { width: 640, height: 360 });
    room.frames(&[0, 1, 2], 1);
    assert_eq!(room.plis().last(), Some(&ssrc(1)));
    room.frame(&[0, 1, 2], &[1], 0);
    room.frames(&[0, 1, 2], 2);
    assert_eq!(room.encodings(), [0, 1, 2, 1], "one packet after the other");
    room.assert_seamless();
}
