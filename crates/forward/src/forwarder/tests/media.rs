//! What participants get of each other.

use std::time::Duration;

use switchyard_rtp::codec::{Codec, CodecTable, MediaKind, Payload};
use switchyard_rtp::rtcp::{Packet, Packets, ReportBlock, SenderInfo, TICKS_PER_SECOND};
use switchyard_rtp::srtp::Profile;

use super::world::*;
use crate::{Command, Drop, Event, IceCredentials, Path, TrackKey, WorkerIndex};

pub(super) const CAMERA: u64 = 1;
pub(super) const SSRC: u32 = 5_000;

/// Client 0 publishes a camera, the others have one audio and one video m-line each.
pub(super) fn room(others: usize, profile: Profile, rtx: bool) -> World {
    room_of(1, others, profile, rtx)
}

/// As [`room`], all on the first of so many workers.
fn room_of(workers: u8, others: usize, profile: Profile, rtx: bool) -> World {
    let mut world = World::new(workers);
    for _ in 0..=others {
        world.join(0, profile);
    }
    let peer = world.clients[0].key;
    world.command(0, Command::SetReceivers { peer, receivers: vec![receiver("1", MediaKind::Video, SSRC)] });
    world.publish(0, "1", CAMERA);
    for client in 1..=others {
        subscribe(&mut world, client, CAMERA, rtx);
    }
    world
}

pub(super) fn subscribe(world: &mut World, client: usize, track: u64, rtx: bool) {
    let (peer, worker) = (world.clients[client].key, world.clients[client].worker);
    let senders = vec![
        Some(sender(MediaKind::Audio, 100 * client as u32 + 10, false)),
        Some(sender(MediaKind::Video, 100 * client as u32 + 20, rtx)),
    ];
    world.command(worker, Command::SetSenders { peer, senders });
    world.route(client, 1, Some(track));
}

pub(super) fn frame(first: u64, count: u64, keyframe: bool) -> Vec<(u32, u8, u64, u32, Vec<u8>)> {
    (first..first + count)
        .map(|index| (SSRC, VP8, index, index as u32 / 3 * 3_000, vp8(keyframe && index == first, 1_100, index as u8)))
        .collect()
}

pub(super) fn rtcp_of(world: &World, client: usize, mut matches: impl FnMut(&Packet<'_>) -> bool) -> usize {
    world.clients[client].rtcp.iter().flat_map(|bytes| Packets::parse(bytes).flatten()).filter(|packet| matches(packet)).count()
}

pub(super) fn is_pli(packet: &Packet<'_>) -> bool {
    matches!(packet, Packet::PictureLossIndication { media: SSRC, .. })
}

#[test]
fn everyone_routed_gets_every_packet_once_in_order_under_their_own_numbers() {
    for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmHmacSha1_80] {
        let mut world = room(3, profile, true);
        world.send(0, &frame(70, 3, true));
        world.send(0, &frame(73, 3, false));
        for client in 1..=3 {
            let got: Vec<_> =
                world.clients[client].rtp.iter().map(|(header, payload)| (header.sequence, header.payload_type, payload[4])).collect();
            let first = got[0].0;
            let expected: Vec<_> = (0..6).map(|i| (first + i, 100, 70 + i as u8)).collect();
            assert_eq!(got, expected);
            assert!(world.clients[client].rtp.iter().all(|(header, _)| header.ssrc == 100 * client as u32 + 20));
        }
        assert!(world.clients[0].rtp.is_empty(), "nobody hears themselves");
    }
}

#[test]
fn packets_of_a_frame_that_differ_by_a_byte_leave_as_one_run() {
    let mut world = room(1, Profile::AeadAes128Gcm, true);
    world.send(0, &frame(1, 1, true));
    world.runs.clear();
    let packets: Vec<_> = [1_000, 1_001, 1_001, 400]
        .into_iter()
        .enumerate()
        .map(|(i, len)| (SSRC, VP8, 2 + i as u64, 3_000, vp8(false, len, i as u8)))
        .collect();
    world.send(0, &packets);
    let [run] = world.runs[..] else { panic!("{:?}", world.runs) };
    assert_eq!(run.len.div_ceil(run.segment), 4);
    let lens: Vec<_> = world.clients[1].rtp.iter().skip(1).map(|(_, payload)| payload.len()).collect();
    assert_eq!(lens, [1_000, 1_001, 1_001, 400], "padding is no payload");
}

/// Clients 0 and 1 publish a camera each, everybody else gets both.
fn two_cameras(others: usize) -> World {
    let mut world = World::new(1);
    for publisher in 0..2 {
        let client = world.join(0, Profile::AeadAes128Gcm);
        let peer = world.clients[client].key;
        world.command(0, Command::SetReceivers { peer, receivers: vec![receiver("1", MediaKind::Video, SSRC + publisher)] });
        world.publish(client, "1", CAMERA + u64::from(publisher));
    }
    for _ in 0..others {
        let client = world.join(0, Profile::AeadAes128Gcm);
        let sender = |place: u32| Some(sender(MediaKind::Video, 100 * client as u32 + 10 * place, true));
        world.command(0, Command::SetSenders { peer: world.clients[client].key, senders: vec![sender(1), sender(2)] });
        for place in 0..2 {
            world.route(client, place, Some(CAMERA + u64::from(place)));
        }
    }
    world.send(0, &frame(1, 1, true));
    world.send(1, &[(SSRC + 1, VP8, 1, 0, vp8(true, 1_100, 1))]);
    world
}

#[test]
fn what_many_get_of_several_tracks_leaves_as_one_run_for_each_the_longest_first() {
    let mut world = two_cameras(40);
    // Who begins to get a track after the others gets it with the rest of what is theirs all the same.
    for (round, client) in (0..).zip([5, 30, 17]) {
        world.route(client, 0, None);
        world.send(0, &frame(2 + round, 1, false));
        world.route(client, 0, Some(CAMERA));
    }
    world.send(0, &frame(5, 1, true));
    world.send(1, &[(SSRC + 1, VP8, 2, 3_000, vp8(true, 1_100, 2))]);
    world.runs.clear();
    world.clients.iter_mut().for_each(|client| client.rtp.clear());
    let (short, long) = ((SSRC, VP8, 6, 6_000, vp8(false, 700, 6)), (SSRC + 1, VP8, 3, 6_000, vp8(false, 1_000, 3)));
    world.send_together(0, &[0, 1], &[short, long]);
    assert_eq!(world.runs.len(), 40);
    for client in &world.clients[2..] {
        let got: Vec<_> = client.rtp.iter().map(|(header, payload)| (header.ssrc % 100, payload.len())).collect();
        assert_eq!(got, [(20, 1_000), (10, 700)]);
    }
    assert!(world.clients[..2].iter().all(|client| client.rtp.is_empty()));
}

#[test]
fn what_few_get_leaves_track_by_track() {
    let mut world = two_cameras(3);
    world.runs.clear();
    world.send_together(0, &[0, 1], &[frame(2, 1, false).remove(0), (SSRC + 1, VP8, 2, 3_000, vp8(false, 700, 3))]);
    assert_eq!(world.runs.len(), 6);
    assert!(world.clients[2..].iter().all(|client| client.rtp.len() == 4));
}

/// Packets of nothing but padding, as publishers without RTX probe their line.
fn probe(first: u64, count: u64, time: u32) -> Vec<(u32, u8, u64, u32, Vec<u8>)> {
    (first..first + count).map(|index| (SSRC, VP8, index, time, Vec::new())).collect()
}

#[test]
fn padding_among_pictures_leaves_no_gap() {
    let mut world = World::new(2);
    world.join(0, Profile::AeadAes128Gcm);
    let peer = world.clients[0].key;
    world.command(0, Command::SetReceivers { peer, receivers: vec![receiver("1", MediaKind::Video, SSRC)] });
    world.publish(0, "1", CAMERA);
    let (track, to) = (TrackKey(CAMERA), WorkerIndex(1));
    world.command(1, Command::PublishRemote { track, kind: MediaKind::Video, home: WorkerIndex(0) });
    world.command(0, Command::Trunk { track, to, on: true });
    for worker in [0, 1] {
        let client = world.join(worker, Profile::AeadAes128Gcm);
        subscribe(&mut world, client, CAMERA, true);
    }
    world.send(0, &probe(1, 2, 0));
    assert!(world.forwarders.iter().flat_map(|forwarder| forwarder.encodings(track)).all(|encoding| !encoding.live), "no pictures yet");
    world.send(0, &frame(3, 3, true));
    world.send(0, &probe(6, 3, 3_000));
    world.send(0, &frame(9, 3, false));
    // One overtakes the padding before it, which has its number by then.
    world.send(0, &frame(13, 2, false));
    world.send(0, &probe(12, 1, 9_000));
    for client in &world.clients[1..] {
        let first = client.rtp[0].0.sequence;
        let got: Vec<_> = client.rtp.iter().map(|(header, payload)| (header.sequence - first, payload.get(4).copied())).collect();
        let pictures = [3, 4, 5, 9, 10, 11].into_iter().zip(0..).map(|(index, number)| (number, Some(index)));
        let expected: Vec<_> = pictures.chain([(7, Some(13)), (8, Some(14)), (6, None)]).collect();
        assert_eq!(got, expected);
    }
    assert_eq!(rtcp_of(&world, 0, |packet| matches!(packet, Packet::Nack(_))), 0);
    assert_eq!(world.forwarders.iter().map(|forwarder| forwarder.drops().get(Drop::Padding)).collect::<Vec<_>>(), [5, 5]);
}

#[test]
fn video_begins_at_a_keyframe_that_is_asked_for() {
    let mut world = room(1, Profile::AeadAes128Gcm, true);
    world.pass(Duration::from_millis(20));
    assert_eq!(rtcp_of(&world, 0, is_pli), 1, "the new subscriber needs one");
    world.send(0, &frame(10, 3, false));
    assert!(world.clients[1].rtp.is_empty());
    world.send(0, &frame(13, 3, true));
    assert_eq!(world.clients[1].rtp.len(), 3);
    assert_eq!(world.forwarders[0].drops().get(Drop::AwaitsKeyframe), 3);
}

#[test]
fn keyframe_requests_of_a_hundred_subscribers_reach_the_publisher_from_a_bucket_of_two() {
    let mut world = room(100, Profile::AeadAes128Gcm, true);
    world.pass(Duration::from_millis(20));
    world.send(0, &frame(1, 3, true));
    world.clients[0].rtcp.clear();
    for round in 0..10 {
        for client in 1..=100 {
            let media = 100 * client as u32 + 20;
            world.send_rtcp(client, |writer| writer.picture_loss_indication(1, media).unwrap());
        }
        world.pass(Duration::from_millis(50));
        world.send(0, &frame(10 + round * 3, 3, true));
    }
    let asked = rtcp_of(&world, 0, is_pli);
    assert!((1..=2).contains(&asked), "{asked} in half a second");
}

#[test]
fn a_keyframe_that_is_wanted_again_before_it_was_looked_for_is_looked_for_once() {
    let mut world = room(1, Profile::AeadAes128Gcm, true);
    for round in 0..5 {
        world.send_rtcp(1, |writer| writer.picture_loss_indication(1, 120).unwrap());
        world.pass(Duration::from_millis(5));
        assert_eq!(world.forwarders[0].keyframes.len(), 1, "round {round}");
        world.send(0, &frame(1 + round * 3, 3, true));
    }
    // Asked twice at once, then a second later.
    world.pass(Duration::from_secs(2));
    assert_eq!(world.forwarders[0].keyframes.len(), 0);
}

#[test]
fn while_a_keyframe_is_waited_for_the_worker_sleeps_until_it_is_time_to_ask_again() {
    let mut world = room(1, Profile::AeadAes128Gcm, true);
    world.pass(Duration::from_millis(20));
    world.clients[0].rtcp.clear();
    let mut looked = 0;
    for _ in 0..1_000 {
        looked += u32::from(world.forwarders[0].next_tick.is_some_and(|tick| tick <= world.now + Duration::from_millis(10)));
        world.send_rtcp(0, |writer| writer.receiver_report(1, []).unwrap());
        world.pass(Duration::from_millis(10));
    }
    assert!((9..=11).contains(&rtcp_of(&world, 0, is_pli)), "two at once, one a second");
    assert!(looked <= 30, "{looked} times in ten seconds");
}

#[test]
fn a_packet_lost_on_the_way_to_a_subscriber_comes_again_by_rtx() {
    let mut world = room(1, Profile::AeadAes128Gcm, true);
    world.send(0, &frame(1, 6, true));
    let lost = world.clients[1].rtp[3].0;
    let payload = world.clients[1].rtp[3].1.clone();
    world.clients[1].rtp.clear();
    world.send_rtcp(1, |writer| writer.nack(1, lost.ssrc, [lost.sequence]).unwrap());
    let (header, again) = &world.clients[1].rtp[0];
    assert_eq!((header.ssrc, header.payload_type, header.timestamp), (lost.ssrc + 1, 101, lost.timestamp));
    assert_eq!(again[..2], lost.sequence.to_be_bytes());
    assert_eq!(again[2..], payload);
    // Asked again at once: nothing; asked later: again, under a new number.
    world.send_rtcp(1, |writer| writer.nack(1, lost.ssrc, [lost.sequence]).unwrap());
    assert_eq!(world.clients[1].rtp.len(), 1);
    world.pass(Duration::from_millis(50));
    world.send_rtcp(1, |writer| writer.nack(1, lost.ssrc, [lost.sequence]).unwrap());
    assert_eq!(world.clients[1].rtp[1].0.sequence, header_after(&world, 0));
}

#[test]
fn what_is_two_seconds_old_is_not_sent_again() {
    for (later, expected) in [(180_000, 1), (180_001, 0)] {
        let mut world = room(1, Profile::AeadAes128Gcm, true);
        let first = frame(1, 6, true);
        world.send(0, &first);
        let lost = world.clients[1].rtp[3].0;
        let mut next = frame(7, 1, false);
        next[0].3 = first[3].3.wrapping_add(later);
        world.send(0, &next);
        world.clients[1].rtp.clear();
        world.send_rtcp(1, |writer| writer.nack(1, lost.ssrc, [lost.sequence]).unwrap());
        assert_eq!(world.clients[1].rtp.len(), expected, "{later} ticks later");
    }
}

#[test]
fn a_packet_is_not_sent_again_while_its_last_copy_can_be_under_way() {
    let mut world = room(1, Profile::AeadAes128Gcm, true);
    world.pass(Duration::from_secs(1));
    world.send(0, &frame(1, 6, true));
    world.send_rtcp(0, |writer| {
        writer.sender_report(&SenderInfo { ssrc: SSRC, ntp: 1 << 40, rtp: 3_000, packets: 6, octets: 60 }, []).unwrap()
    });
    let mut reported = None;
    rtcp_of(&world, 1, |packet| {
        if let Packet::SenderReport(report) = packet {
            reported = Some((report.ssrc, (report.ntp >> 16) as u32));
        }
        false
    });
    let (ssrc, last_sender_report) = reported.expect("a first report at once");
    // The report was 400 ms under way, there and back.
    world.pass(Duration::from_millis(400));
    let block = ReportBlock { ssrc, last_sender_report, ..ReportBlock::default() };
    world.send_rtcp(1, |writer| writer.receiver_report(1, [block]).unwrap());
    let lost = world.clients[1].rtp[3].0;
    world.clients[1].rtp.clear();
    // Somebody impatient asks every 50 ms for 600.
    for _ in 0..12 {
        world.send_rtcp(1, |writer| writer.nack(1, lost.ssrc, [lost.sequence]).unwrap());
        world.pass(Duration::from_millis(50));
    }
    assert_eq!(world.clients[1].rtp.len(), 2);
}

fn header_after(world: &World, place: usize) -> u16 {
    world.clients[1].rtp[place].0.sequence + 1
}

#[test]
fn without_rtx_the_stored_ciphertext_is_sent_again() {
    let mut world = room(1, Profile::AeadAes128Gcm, false);
    world.send(0, &frame(1, 6, true));
    let lost = world.clients[1].rtp[3].0;
    let before = world.clients[1].ciphertexts[3].clone();
    world.clients[1].ciphertexts.clear();
    world.send_rtcp(1, |writer| writer.nack(1, lost.ssrc, [lost.sequence]).unwrap());
    assert_eq!(world.clients[1].ciphertexts, [before]);
}

#[test]
fn a_hole_in_what_a_publisher_sends_is_asked_for_and_its_retransmission_forwarded() {
    let mut world = room(1, Profile::AeadAes128Gcm, true);
    world.send(0, &frame(1, 3, true));
    world.send(0, &frame(5, 1, false));
    world.pass(Duration::from_millis(20));
    let mut asked = Vec::new();
    rtcp_of(&world, 0, |packet| {
        if let Packet::Nack(nack) = packet {
            asked.extend(nack.sequences());
        }
        false
    });
    assert_eq!(asked, [4]);
    let mut payload = 4u16.to_be_bytes().to_vec();
    payload.extend(vp8(false, 1_100, 4));
    world.send(0, &[(SSRC + 1, VP8_RTX, 900, 3_000, payload)]);
    let got: Vec<_> =
        world.clients[1].rtp.iter().map(|(header, payload)| (header.sequence - world.clients[1].rtp[0].0.sequence, payload[4])).collect();
    assert_eq!(got, [(0, 1), (1, 2), (2, 3), (4, 5), (3, 4)]);
    // The original, late after all, is not sent twice.
    world.send(0, &frame(4, 1, false));
    assert_eq!(world.clients[1].rtp.len(), 5);
}

#[test]
fn a_slot_that_is_switched_goes_on_in_number_and_time() {
    let mut world = room(1, Profile::AeadAes128Gcm, true);
    let other = world.join(0, Profile::AeadAes128Gcm);
    let peer = world.clients[other].key;
    world.command(0, Command::SetReceivers { peer, receivers: vec![receiver("1", MediaKind::Video, 7_000)] });
    world.publish(other, "1", 2);
    world.send(0, &frame(60_000, 6, true));
    world.pass(Duration::from_millis(100));
    world.route(1, 1, Some(2));
    world.send(other, &[(7_000, VP8, 3, 4_000_000_000, vp8(true, 500, 0)), (7_000, VP8, 4, 4_000_000_000, vp8(false, 500, 0))]);
    let headers: Vec<_> = world.clients[1].rtp.iter().map(|(header, _)| *header).collect();
    let sequences: Vec<_> = headers.iter().map(|header| header.sequence.wrapping_sub(headers[0].sequence)).collect();
    assert_eq!(sequences, [0, 1, 2, 3, 4, 5, 6, 7]);
    let step = headers[6].timestamp.wrapping_sub(headers[5].timestamp);
    assert!((9_000..9_900).contains(&step), "100 ms are 9,000 units, not {step}");
}

#[test]
fn sound_and_picture_of_one_participant_are_reported_on_one_clock() {
    let mut world = room(0, Profile::AeadAes128Gcm, true);
    let (peer, audio_ssrc) = (world.clients[0].key, 6_000);
    world.command(
        0,
        Command::SetReceivers { peer, receivers: vec![receiver("1", MediaKind::Video, SSRC), receiver("0", MediaKind::Audio, audio_ssrc)] },
    );
    world.publish(0, "0", 2);
    let listener = world.join(0, Profile::AeadAes128Gcm);
    subscribe(&mut world, listener, CAMERA, true);
    world.route(listener, 0, Some(2));
    world.send(0, &frame(1, 3, true));
    world.send(0, &[(audio_ssrc, OPUS, 1, 960, vec![1; 60])]);
    // The publisher's clock is hours away from the server's; video's report is 300 ms late on the way.
    let second = 1u64 << 32;
    let ntp = 0x1234_5678u64 << 32;
    world.send_rtcp(0, |writer| {
        writer.sender_report(&SenderInfo { ssrc: audio_ssrc, ntp, rtp: 48_000, packets: 1, octets: 60 }, []).unwrap();
    });
    world.pass(Duration::from_millis(1_300));
    world.send_rtcp(0, |writer| {
        writer.sender_report(&SenderInfo { ssrc: SSRC, ntp: ntp + second, rtp: 180_000, packets: 1, octets: 60 }, []).unwrap();
    });
    world.pass(Duration::from_millis(1_200));
    let mut reports = std::collections::BTreeMap::new();
    rtcp_of(&world, listener, |packet| {
        if let Packet::SenderReport(report) = packet {
            reports.insert(report.ssrc, (report.ntp, report.rtp));
        }
        false
    });
    let seconds = |ntp: u64| (ntp as f64) / (second as f64);
    let base = 100 * listener as u32;
    let (audio_ntp, audio_rtp) = reports[&(base + 10)];
    let (video_ntp, video_rtp) = reports[&(base + 20)];
    // When were the samples captured that the publisher calls 1 s of audio and 1 s of video (the same moment)?
    let audio_one = seconds(audio_ntp) - (f64::from(audio_rtp) - 48_000.0) / 48_000.0;
    let video_one = seconds(video_ntp) - (f64::from(video_rtp) - 90_000.0) / 90_000.0;
    assert!((audio_one - video_one).abs() < 0.005, "{audio_one} {video_one}");
}

#[test]
fn who_begins_to_get_a_track_is_told_of_its_clock_at_once_and_again_with_the_others() {
    let mut world = room(1, Profile::AeadAes128Gcm, true);
    let reports = |world: &World, client| rtcp_of(world, client, |packet| matches!(packet, Packet::SenderReport(_)));
    world.send(0, &frame(1, 3, true));
    assert_eq!(reports(&world, 1), 0, "nobody knows the clock");
    world.send_rtcp(0, |writer| {
        writer.sender_report(&SenderInfo { ssrc: SSRC, ntp: 1 << 40, rtp: 3_000, packets: 3, octets: 60 }, []).unwrap();
    });
    assert_eq!(reports(&world, 1), 1, "with the publisher's first report");
    let late = world.join(0, Profile::AeadAes128Gcm);
    subscribe(&mut world, late, CAMERA, true);
    world.send(0, &frame(10, 3, true));
    assert_eq!((reports(&world, 1), reports(&world, late)), (1, 1), "with its first picture");
    world.send(0, &frame(20, 3, true));
    assert_eq!((reports(&world, 1), reports(&world, late)), (1, 1), "not with each");
}

#[test]
fn a_publisher_gets_transport_wide_feedback_and_receiver_reports() {
    let mut world = room(1, Profile::AeadAes128Gcm, true);
    for batch in 0..40 {
        world.send(0, &frame(1 + batch * 3, 3, batch == 0));
        world.pass(Duration::from_millis(33));
    }
    let mut covered = 0;
    let feedback = rtcp_of(&world, 0, |packet| match packet {
        Packet::TransportFeedback(feedback) => {
            covered += usize::from(feedback.status_count);
            true
        }
        _ => false,
    });
    assert!((15..=30).contains(&feedback), "{feedback} messages in 1.3 s");
    assert!((110..=120).contains(&covered), "{covered} of 120 packets");
    assert!(rtcp_of(&world, 0, |packet| matches!(packet, Packet::ReceiverReport(_))) >= 1);
}

#[test]
fn arrivals_are_reported_as_of_when_they_were_not_as_of_when_a_worker_had_time_for_them() {
    // Of what comes on the other worker's socket too, which hands it over.
    for entrance in [0, 1] {
        let mut world = room_of(2, 1, Profile::AeadAes128Gcm, true);
        world.send(0, &frame(1, 3, true));
        world.pass(Duration::from_millis(100));
        let (path, began) = (world.clients[0].path, world.now);
        world.now += Duration::from_millis(40);
        let late = [0, 5, 20].into_iter().zip(frame(4, 3, false));
        let late = late.map(|(after, packet)| (began + Duration::from_millis(after), world.clients[0].seal(&packet))).collect();
        world.deliver_late(entrance, path, late);
        world.pass(Duration::from_millis(100));
        let mut times = Vec::new();
        rtcp_of(&world, 0, |packet| {
            if let Packet::TransportFeedback(feedback) = packet {
                times.extend(feedback.statuses().map(|(_, ticks)| ticks.expect("all came") * 1_000 / TICKS_PER_SECOND));
            }
            false
        });
        let late = &times[times.len() - 3..];
        assert_eq!(late.iter().map(|time| time - late[0]).collect::<Vec<_>>(), [0, 5, 20], "through worker {entrance}");
    }
}

#[test]
fn a_muted_track_is_not_forwarded_and_comes_back_at_a_keyframe() {
    let mut world = room(1, Profile::AeadAes128Gcm, true);
    world.send(0, &frame(1, 3, true));
    world.command(0, Command::Enable { track: TrackKey(CAMERA), enabled: false });
    world.send(0, &frame(4, 3, true));
    assert_eq!(world.clients[1].rtp.len(), 3);
    world.command(0, Command::Enable { track: TrackKey(CAMERA), enabled: true });
    world.send(0, &frame(7, 3, false));
    assert_eq!(world.clients[1].rtp.len(), 3);
    world.send(0, &frame(10, 3, true));
    assert_eq!(world.clients[1].rtp.len(), 6);
    let gap = world.clients[1].rtp[3].0.sequence - world.clients[1].rtp[2].0.sequence;
    assert_eq!(gap, 1, "what was held back on purpose is no loss");
}

#[test]
fn a_keyframe_that_was_wanted_when_a_track_was_muted_is_asked_for_when_it_is_back() {
    let mut world = room(1, Profile::AeadAes128Gcm, true);
    world.pass(Duration::from_millis(20));
    world.command(0, Command::Enable { track: TrackKey(CAMERA), enabled: false });
    for _ in 0..30 {
        world.pass(Duration::from_millis(100));
        world.send_rtcp(0, |writer| writer.receiver_report(1, []).unwrap());
    }
    world.clients[0].rtcp.clear();
    world.command(0, Command::Enable { track: TrackKey(CAMERA), enabled: true });
    world.pass(Duration::from_millis(20));
    assert_eq!(rtcp_of(&world, 0, is_pli), 1);
}

#[test]
fn media_before_the_keys_is_kept_for_the_moment_it_takes() {
    let mut world = World::new(1);
    let (peer, worker) = (crate::PeerKey(0), 0);
    let ready = world.join(worker, Profile::AeadAes128Gcm);
    // The same keys again for a peer that has none yet.
    let mut late = World::new(1);
    let ice = world.clients[ready].ice.clone();
    late.clients.append(&mut world.clients);
    late.command(0, Command::AddPeer { peer, ice });
    late.check(0);
    late.command(0, Command::SetReceivers { peer, receivers: vec![receiver("1", MediaKind::Video, SSRC)] });
    late.publish(0, "1", CAMERA);
    late.send(0, &frame(1, 3, true));
    assert_eq!(late.forwarders[0].drops().get(Drop::BeforeKeys), 0);
    let key = |seed: u8, salt: u8| switchyard_rtp::srtp::MasterKey { key: [seed; 16], salt: [salt; 14] };
    let keys = switchyard_rtp::srtp::SrtpKeys { profile: Profile::AeadAes128Gcm, local: key(1, 1 ^ 0x55), remote: key(1 ^ 0xaa, 1 ^ 0x33) };
    late.command(0, Command::SetKeys { peer, keys: Box::new(keys) });
    late.pass(Duration::from_millis(1_200));
    assert_eq!(
        rtcp_of(&late, 0, |packet| matches!(packet, Packet::ReceiverReport(report) if report.reports().any(|b| b.highest_sequence == 3))),
        1
    );
}

#[test]
fn a_room_over_two_workers_forwards_over_the_trunk() {
    let mut world = World::new(2);
    let publisher = world.join(0, Profile::AeadAes128Gcm);
    let subscriber = world.join(1, Profile::AeadAes128Gcm);
    let peer = world.clients[publisher].key;
    world.command(0, Command::SetReceivers { peer, receivers: vec![receiver("1", MediaKind::Video, SSRC)] });
    world.publish(publisher, "1", CAMERA);
    let track = TrackKey(CAMERA);
    world.command(1, Command::PublishRemote { track, kind: MediaKind::Video, home: WorkerIndex(0) });
    world.command(0, Command::Trunk { track, to: WorkerIndex(1), on: true });
    subscribe(&mut world, subscriber, CAMERA, true);
    world.pass(Duration::from_millis(30));
    assert!(rtcp_of(&world, publisher, is_pli) >= 1, "the request crosses to the publisher's worker");
    world.send(publisher, &frame(1, 3, true));
    assert_eq!(world.clients[subscriber].rtp.len(), 3);
    world.send_rtcp(publisher, |writer| {
        writer.sender_report(&SenderInfo { ssrc: SSRC, ntp: 77 << 32, rtp: 3_000, packets: 3, octets: 60 }, []).unwrap();
    });
    world.pass(Duration::from_millis(1_100));
    assert!(rtcp_of(&world, subscriber, |packet| matches!(packet, Packet::SenderReport(_))) >= 1);
    world.command(0, Command::Trunk { track, to: WorkerIndex(1), on: false });
    world.send(publisher, &frame(4, 3, true));
    assert_eq!(world.clients[subscriber].rtp.len(), 3);
}

#[test]
fn a_datagram_that_lands_on_the_wrong_worker_is_handed_to_its_owner() {
    let mut world = room_of(2, 1, Profile::AeadAes128Gcm, true);
    let (publisher, subscriber) = (0, 1);
    let path = world.clients[publisher].path;
    for packet in frame(1, 3, true) {
        let sealed = world.clients[publisher].seal(&packet);
        world.deliver(1, path, vec![sealed]);
    }
    assert_eq!(world.clients[subscriber].rtp.len(), 3);
    // Its STUN as well, by the ufrag, from an address nobody has seen.
    world.clients[publisher].path.remote.set_port(33_333);
    let worker = std::mem::replace(&mut world.clients[publisher].worker, 1);
    world.check(publisher);
    world.clients[publisher].worker = worker;
    world.send(publisher, &frame(4, 3, false));
    assert_eq!(world.clients[subscriber].rtp.len(), 6);
}

#[test]
fn forged_replayed_and_wrongly_sourced_packets_go_nowhere() {
    let mut world = room(1, Profile::AeadAes128Gcm, true);
    world.send(0, &frame(1, 3, true));
    let sealed = world.clients[0].seal(&(SSRC, VP8, 4, 0, vp8(false, 100, 0)));
    let path = world.clients[0].path;
    let mut forged = sealed.clone();
    *forged.last_mut().unwrap() ^= 1;
    world.deliver(0, path, vec![forged]);
    let elsewhere = Path { remote: "203.0.113.5:5".parse().unwrap(), ..path };
    world.deliver(0, elsewhere, vec![sealed.clone()]);
    let other = world.clients[1].path;
    world.deliver(0, other, vec![sealed.clone()]);
    assert_eq!(world.clients[1].rtp.len(), 3);
    world.deliver(0, path, vec![sealed.clone(), sealed]);
    assert_eq!(world.clients[1].rtp.len(), 4, "once");
    let drops = world.forwarders[0].drops();
    assert_eq!((drops.get(Drop::NotAuthentic), drops.get(Drop::UnknownAddress), drops.get(Drop::Replayed)), (2, 1, 1));
}

#[test]
fn random_ssrcs_leave_no_trace() {
    let mut world = room(1, Profile::AeadAes128Gcm, true);
    for round in 0..1_000u32 {
        world.send(0, &[(round.wrapping_mul(2_654_435_761), VP8, 1, 0, vp8(true, 20, 0))].map(|packet| packet));
    }
    assert!(world.clients[1].rtp.is_empty());
    let drops = world.forwarders[0].drops();
    assert_eq!(drops.get(Drop::UnknownSsrc) + drops.get(Drop::TooManyStreams), 1_000);
    assert!(world.clients[1].rtcp.is_empty());
}

#[test]
fn what_is_removed_leaves_nothing_behind() {
    let mut world = room(2, Profile::AeadAes128Gcm, true);
    world.send(0, &frame(1, 3, true));
    let track_gone = world.clients[0].key;
    world.command(0, Command::RemovePeer { peer: track_gone });
    world.send(0, &frame(4, 3, true));
    assert_eq!(world.clients[1].rtp.len(), 3);
    for client in [1, 2] {
        let peer = world.clients[client].key;
        world.command(0, Command::RemovePeer { peer });
    }
    world.pass(Duration::from_secs(60));
    let forwarder = &world.forwarders[0];
    assert!(forwarder.peers.is_empty() && forwarder.tracks.is_empty() && forwarder.addresses.is_empty() && forwarder.ufrags.is_empty());
    assert!(forwarder.poll_timeout().is_none());
}

#[test]
fn thirty_seconds_of_silence_end_sending() {
    let mut world = room(1, Profile::AeadAes128Gcm, true);
    world.send(0, &frame(1, 3, true));
    for _ in 0..12 {
        world.check(0);
        world.pass(Duration::from_millis(2_600));
    }
    assert!(world.events.iter().any(|event| matches!(event, crate::Event::Expired { peer } if *peer == world.clients[1].key)));
    let rtcp = world.clients[1].rtcp.len();
    world.send(0, &frame(4, 3, true));
    world.pass(Duration::from_secs(2));
    assert_eq!((world.clients[1].rtp.len(), world.clients[1].rtcp.len()), (3, rtcp));
}

#[test]
fn silence_is_told_of_who_is_not_heard_by_checks_reports_or_media() {
    let mut world = room(3, Profile::AeadAes128Gcm, true);
    let told = |world: &World, client: usize| -> Vec<&str> {
        let key = world.clients[client].key;
        let name = |event: &crate::Event| match event {
            crate::Event::Silent { peer } if *peer == key => Some("silent"),
            crate::Event::Heard { peer } if *peer == key => Some("heard"),
            crate::Event::Expired { peer } if *peer == key => Some("expired"),
            _ => None,
        };
        world.events.iter().filter_map(name).collect()
    };
    for second in 0..10 {
        world.pass(Duration::from_secs(1));
        world.send(0, &frame(second * 3 + 1, 3, second == 0));
        world.send_rtcp(1, |writer| writer.picture_loss_indication(1, 120).unwrap());
    }
    assert_eq!((told(&world, 0), told(&world, 1)), (Vec::new(), Vec::new()));
    assert_eq!(told(&world, 2), ["silent"]);
    world.check(2);
    world.pass(Duration::from_secs(1));
    assert_eq!(told(&world, 2), ["silent", "heard"]);
    world.pass(Duration::from_secs(60));
    assert_eq!(told(&world, 2), ["silent", "heard", "silent", "expired"]);
    world.check(2);
    world.pass(Duration::from_secs(1));
    assert_eq!(told(&world, 2), ["silent", "heard", "silent", "expired", "heard"]);
}

#[test]
fn an_ice_restart_moves_media_only_when_the_new_path_is_nominated() {
    let mut world = room(1, Profile::AeadAes128Gcm, true);
    world.send(0, &frame(1, 3, true));
    let peer = world.clients[1].key;
    let ice = IceCredentials::generate(WorkerIndex(0), [99; 24]);
    world.command(0, Command::RestartIce { peer, ice: ice.clone(), client: "new".into() });
    world.send(0, &frame(4, 3, false));
    assert_eq!(world.clients[1].rtp.len(), 6, "the old path goes on");
    world.clients[1].ice = ice;
    world.clients[1].path.remote.set_port(44_444);
    world.check(1);
    world.send(0, &frame(7, 3, false));
    assert_eq!(world.clients[1].rtp.len(), 9);
    assert_eq!(world.forwarders[0].ufrags.len(), 2, "one for each client");
    assert!(matches!(world.forwarders[0].addresses.len(), 2 | 3));
    world.command(0, Command::RemovePeer { peer });
    assert_eq!(world.forwarders[0].ufrags.len(), 1);
}

#[test]
fn a_slot_that_is_negotiated_anew_thousands_of_times_still_carries_what_it_is_told_to() {
    let mut world = room(1, Profile::AeadAes128Gcm, true);
    let peer = world.clients[1].key;
    for generation in 1..=3_000 {
        let senders = vec![None, Some(sender(MediaKind::Video, 10_000 + 10 * generation, true))];
        world.command(0, Command::SetSenders { peer, senders });
        if generation % 100 == 0 {
            world.clients[1].rtp.clear();
            let first = 70 + u64::from(generation);
            world.send(0, &frame(first, 3, true));
            assert_eq!(world.clients[1].rtp.len(), 3, "generation {generation}");
        }
    }
}

#[test]
fn who_knows_no_codec_of_a_picture_is_told_so_and_no_keyframe_is_asked_for_them() {
    let mut world = room(1, Profile::AeadAes128Gcm, true);
    let peer = world.clients[1].key;
    let mut knows_vp9 = sender(MediaKind::Video, 120, false);
    knows_vp9.codecs = CodecTable::default();
    knows_vp9.codecs.set(Payload::Media(Codec::Vp9Profile0), 102);
    world.command(0, Command::SetSenders { peer, senders: vec![None, Some(knows_vp9)] });
    let told = |world: &World| -> Vec<bool> {
        let decodable = |event: &Event| match event {
            Event::Decodable { peer: told, track: TrackKey(CAMERA), decodable } if *told == peer => Some(*decodable),
            _ => None,
        };
        world.events.iter().filter_map(decodable).collect()
    };
    world.send(0, &frame(70, 3, true));
    assert_eq!(told(&world), [false]);
    world.pass(Duration::from_secs(1));
    let asked = rtcp_of(&world, 0, is_pli);
    for at in 0..5 {
        world.send(0, &frame(73 + 3 * at, 3, false));
        world.pass(Duration::from_secs(1));
    }
    assert_eq!((told(&world), rtcp_of(&world, 0, is_pli)), (vec![false, false], asked), "again after five seconds");
    // The publisher goes over to what they know: a keyframe of one packet (RFC 9628 §4.2).
    let vp9 = |index: u64| (SSRC, VP9, index, index as u32 * 1_000, vec![0x08, 0x82, 0x49, 0x83, 0x42, 0, 0, 0, 0]);
    world.send(0, &[vp9(88)]);
    assert_eq!(told(&world), [false, false, true]);
    // And to and fro with each packet: no more than once a second is told of that.
    for index in (89..189).step_by(2) {
        world.send(0, &frame(index, 1, false));
        world.send(0, &[vp9(index + 1)]);
    }
    assert_eq!(told(&world), [false, false, true, false]);
}

#[test]
fn a_track_goes_on_in_another_codec_and_nobody_misses_what_they_could_not_decode() {
    let mut world = room(2, Profile::AeadAes128Gcm, true);
    let peer = world.clients[2].key;
    let mut knows_vp8 = sender(MediaKind::Video, 220, true);
    knows_vp8.codecs = CodecTable::default();
    knows_vp8.codecs.set(Payload::Media(Codec::Vp8), 100);
    world.command(0, Command::SetSenders { peer, senders: vec![None, Some(knows_vp8)] });
    let vp9 = |index: u64, keyframe: bool| {
        let descriptor = if keyframe { 0x08 } else { 0x48 };
        (SSRC, VP9, index, index as u32 * 1_000, vec![descriptor, 0x82, 0x49, 0x83, 0x42, 0, 0, 0, 0])
    };
    world.send(0, &frame(72, 3, true));
    world.send(0, &[vp9(75, true), vp9(76, false), vp9(77, false)]);
    world.send(0, &frame(78, 3, true));
    world.send(0, &frame(81, 3, false));
    let received = |client: usize| -> Vec<(u16, u8)> {
        let rtp = &world.clients[client].rtp;
        rtp.iter().map(|(header, _)| (header.sequence.wrapping_sub(rtp[0].0.sequence), header.payload_type)).collect()
    };
    let expected = |types: &[u8]| -> Vec<(u16, u8)> { (0..).zip(types.iter().copied()).collect() };
    assert_eq!(received(1), expected(&[100, 100, 100, 102, 102, 102, 100, 100, 100, 100, 100, 100]));
    assert_eq!(received(2), expected(&[100; 9]));
    let times = |client: usize| -> Vec<u32> {
        let rtp = &world.clients[client].rtp;
        rtp.iter().map(|(header, _)| header.timestamp.wrapping_sub(rtp[0].0.timestamp)).collect()
    };
    assert_eq!(times(2)[3], 6_000, "its time has gone on");
    world.pass(Duration::from_secs(1));
    assert_eq!(rtcp_of(&world, 0, is_pli), 0, "the publisher began with keyframes");
}
