use bytes::Bytes;

use super::*;

const ALICE: ParticipantId = ParticipantId(1);
const BOB: ParticipantId = ParticipantId(2);

fn line(mid: &str, kind: Kind, ssrc: u32, rtx: Option<u32>) -> Incoming {
    Incoming { mid: mid.into(), kind, ssrc, rtx }
}

fn packet(ssrc: u32, sequence_number: u16, payload: Bytes) -> rtp::Packet {
    rtp::Packet { header: rtp::Header { ssrc, sequence_number, marker: true, ..Default::default() }, payload }
}

fn stamped(publisher: ParticipantId, counter: u64) -> Bytes {
    Stamp { publisher: publisher.0, publication: 0, counter, sent_micros: 0 }.payload(Kind::Video, 100)
}

#[test]
fn packets_are_counted_by_m_line_by_track_and_by_sender() {
    let mut meter = Meter::default();
    meter.set_incoming(&[line("v", Kind::Video, 10, None)]);
    meter.set_slot("v", Some((TrackId(5), ALICE)));
    for number in 0..3 {
        meter.rtp(&packet(10, 65_534_u16.wrapping_add(number), stamped(ALICE, number.into())), Instant::now());
    }
    let report = meter.report();
    let stream = &report.streams["v"];
    assert_eq!((stream.progress.received, stream.markers, stream.vp8_keyframes), (3, 3, 3));
    assert!(stream.progress.is_clean());
    assert_eq!(report.tracks[&TrackId(5)], TrackReport { packets: 3, bytes: 300 });
    assert_eq!(report.sequences[&(ALICE, 0)].progress.received, 3);
    assert_eq!((report.unknown_ssrc, report.unassigned, report.misrouted), (0, 0, 0));
}

#[test]
fn a_slot_told_of_before_its_m_line_exists_is_remembered() {
    let mut meter = Meter::default();
    meter.set_slot("v", Some((TrackId(5), ALICE)));
    meter.set_incoming(&[line("v", Kind::Video, 10, None)]);
    assert_eq!(meter.report().streams["v"].track, Some(TrackId(5)));
    meter.set_slot("v", None);
    assert_eq!(meter.report().streams["v"].track, None);
}

#[test]
fn somebody_elses_packets_in_a_slot_are_misrouted() {
    let mut meter = Meter::default();
    meter.set_incoming(&[line("v", Kind::Video, 10, None)]);
    meter.rtp(&packet(10, 0, stamped(BOB, 0)), Instant::now());
    assert_eq!((meter.report().unassigned, meter.report().misrouted), (1, 0));
    meter.set_slot("v", Some((TrackId(5), ALICE)));
    meter.rtp(&packet(10, 1, stamped(BOB, 1)), Instant::now());
    assert_eq!((meter.report().unassigned, meter.report().misrouted), (1, 1));
}

#[test]
fn a_renegotiation_keeps_the_numbers_of_what_stays_and_a_new_ssrc_starts_anew() {
    let mut meter = Meter::default();
    meter.set_incoming(&[line("a", Kind::Audio, 1, None), line("b", Kind::Audio, 2, None)]);
    meter.rtp(&packet(2, 7, stamped(ALICE, 0)), Instant::now());
    meter.set_incoming(&[line("b", Kind::Audio, 2, None)]);
    assert_eq!(meter.report().streams["b"].progress.received, 1);
    meter.rtp(&packet(1, 7, stamped(ALICE, 1)), Instant::now());
    assert_eq!(meter.report().unknown_ssrc, 1);
    meter.set_incoming(&[line("b", Kind::Audio, 3, None)]);
    assert_eq!(meter.report().streams["b"].progress.received, 0);
}

#[test]
fn a_retransmission_fills_the_gap_it_was_sent_for() {
    let mut meter = Meter::default();
    meter.set_incoming(&[line("v", Kind::Video, 10, Some(11))]);
    for (sequence, counter) in [(1, 0), (3, 2)] {
        meter.rtp(&packet(10, sequence, stamped(ALICE, counter)), Instant::now());
    }
    assert_eq!(meter.report().streams["v"].progress.lost(), 1);
    let mut payload = vec![0, 2];
    payload.extend_from_slice(&stamped(ALICE, 1));
    meter.rtp(&packet(11, 900, payload.into()), Instant::now());
    meter.rtp(&packet(11, 901, Bytes::new()), Instant::now());
    let report = meter.report();
    assert_eq!((report.streams["v"].progress.lost(), report.streams["v"].retransmitted), (0, 1));
    assert_eq!(report.sequences[&(ALICE, 0)].progress.reordered, 1);
}

#[test]
fn keyframe_requests_reach_the_publication_they_are_for() {
    let mut meter = Meter::default();
    let requested = Arc::new(AtomicU64::new(0));
    meter.count_keyframe_requests(20, requested.clone());
    let pli = |media_ssrc| -> Box<dyn rtcp::Packet> { Box::new(PictureLossIndication { sender_ssrc: 0, media_ssrc }) };
    meter.rtcp(&[pli(20), pli(21)]);
    assert_eq!((requested.load(Ordering::Relaxed), meter.report().rtcp.keyframe_requests), (1, 2));
}

#[test]
fn vp8_keyframes_are_recognised_behind_any_descriptor() {
    let frame = |descriptor: &[u8], tag: u8| [descriptor, &[tag]].concat();
    for descriptor in [&[0x10][..], &[0x90, 0x80, 0x05], &[0x90, 0x80, 0x85, 0x00], &[0x90, 0xf0, 0x81, 0x00, 0x01, 0x20]] {
        assert!(starts_vp8_keyframe(&frame(descriptor, 0x10)));
        assert!(!starts_vp8_keyframe(&frame(descriptor, 0x11)));
    }
    assert!(!starts_vp8_keyframe(&frame(&[0x00], 0x10)), "not the start of a frame");
    assert!(!starts_vp8_keyframe(&[]));
    assert!(!starts_vp8_keyframe(&[0x90]));
}
