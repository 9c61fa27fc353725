//! What parsers and receivers find in the payloads.

use switchyard_rtp::Codec;
use switchyard_rtp::codec::vp8::Descriptor;
use switchyard_rtp::codec::{is_keyframe, starts_frame};

use super::*;

/// All payloads of ten seconds, with a keyframe in the middle.
fn payloads(config: VideoConfig) -> Vec<(Packet, Vec<u8>)> {
    let mut world = World::video(config);
    let mut packets = world.run(SECOND * 5);
    for encoding in 0..3 {
        world.model.request_keyframe(world.start + SECOND * 5, encoding);
    }
    packets.extend(world.run(SECOND * 10));
    let payload = |packet: &Packet| {
        let mut payload = vec![0xff; 3];
        packet.write(0xdead_beef, world.micros(packet), &mut payload);
        payload
    };
    packets.iter().map(|packet| (*packet, payload(packet))).collect()
}

fn expected(packet: &Packet, sent_micros: u64) -> Stamp {
    Stamp {
        publication: 0xdead_beef,
        encoding: packet.encoding,
        keyframe: packet.keyframe(),
        counter: packet.counter,
        frame: packet.frame,
        packets: packet.packets,
        index: packet.index,
        sent_micros,
    }
}

#[test]
fn every_packet_has_the_length_it_said_and_a_stamp() {
    for (packet, payload) in payloads(simulcast()) {
        assert_eq!(payload.len(), usize::from(packet.payload_len));
        let stamp = Stamp::read(Codec::Vp8, &payload).expect("a stamp");
        assert_eq!(stamp, expected(&packet, stamp.sent_micros));
    }
}

#[test]
fn a_vp8_parser_sees_frames_and_keyframes_where_they_are() {
    let mut last: Option<Descriptor> = None;
    for (packet, payload) in payloads(VideoConfig::default()) {
        let descriptor = Descriptor::parse(&payload).expect("a descriptor");
        assert_eq!(starts_frame(Codec::Vp8, &payload, None), packet.index == 0);
        assert_eq!(is_keyframe(Codec::Vp8, &payload, None), packet.index == 0 && packet.keyframe());
        assert_eq!((descriptor.len, descriptor.temporal_layer), (6, Some(0)));
        assert!(descriptor.picture_id.is_some_and(|id| id.long));
        if packet.index == 0 && packet.keyframe() {
            let frame = &payload[descriptor.len..];
            assert_eq!(frame[0] & 1, 0, "a keyframe (RFC 6386 §9.1)");
            assert_eq!(frame[3..6], [0x9d, 0x01, 0x2a], "the start code");
            assert_eq!([u16::from_le_bytes([frame[6], frame[7]]), u16::from_le_bytes([frame[8], frame[9]])], [1280, 720]);
        }
        if let Some(last) = last {
            let steps = u16::from(packet.index == 0);
            let (id, before) = (descriptor.picture_id.unwrap().value, last.picture_id.unwrap().value);
            assert_eq!(id.wrapping_sub(before) & 0x7fff, steps, "one picture id for each frame");
            let (index, before) = (descriptor.tl0_picture_index.unwrap().0, last.tl0_picture_index.unwrap().0);
            assert_eq!(index.wrapping_sub(before), steps as u8);
        }
        last = Some(descriptor);
    }
}

#[test]
fn temporal_layers_are_as_browsers_number_them() {
    let mut before: Option<Descriptor> = None;
    let mut pattern = Vec::new();
    for (packet, payload) in payloads(VideoConfig { temporal_layers: 3, ..VideoConfig::default() }) {
        let descriptor = Descriptor::parse(&payload).expect("a descriptor");
        if packet.index > 0 {
            assert_eq!(descriptor.temporal_layer, before.unwrap().temporal_layer, "of one frame");
            continue;
        }
        if packet.keyframe() {
            pattern.clear();
        }
        pattern.push((descriptor.temporal_layer.unwrap(), descriptor.layer_sync, descriptor.non_reference));
        if let Some(before) = before.replace(descriptor) {
            let steps = u8::from(descriptor.temporal_layer == Some(0));
            let (index, last) = (descriptor.tl0_picture_index.unwrap().0, before.tl0_picture_index.unwrap().0);
            assert_eq!(index.wrapping_sub(last), steps, "TL0PICIDX counts the lowest layer");
            let (id, last) = (descriptor.picture_id.unwrap().value, before.picture_id.unwrap().value);
            assert_eq!(id.wrapping_sub(last) & 0x7fff, 1, "one picture id for each frame");
        }
    }
    let expected = [(0, false, false), (2, true, true), (1, true, false), (2, false, true)];
    assert!(pattern.len() > 100 && pattern.iter().zip(expected.iter().cycle()).all(|(seen, expected)| seen == expected));
}

#[test]
fn a_stamp_is_found_behind_any_descriptor_a_server_may_write() {
    let descriptors: [&dyn Fn(u8) -> Vec<u8>; 6] = [
        &|first| vec![first & 0x10],
        &|first| vec![first & 0x10 | 0x80, 0x80, 0x05],
        &|first| vec![first & 0x10 | 0x80, 0x80, 0x92, 0x34],
        &|first| vec![first & 0x10 | 0x80, 0xf0, 0x80, 0x01, 0x77, 0x20],
        &|first| vec![first & 0x10 | 0xa0, 0x20, 0x40],
        // Whatever it takes to be the beginning of a frame.
        &|_| vec![0x80, 0x00],
    ];
    for (packet, payload) in payloads(simulcast()) {
        for descriptor in descriptors {
            let mut rewritten = descriptor(payload[0]);
            rewritten.extend_from_slice(&payload[6..]);
            let stamp = Stamp::read(Codec::Vp8, &rewritten).expect("a stamp");
            assert_eq!(stamp, expected(&packet, stamp.sent_micros));
        }
        // Padding that was not taken off, too.
        let padded = [&payload[..], &[0, 0, 0, 4]].concat();
        assert!(Stamp::read(Codec::Vp8, &padded).is_some());
    }
}

#[test]
fn other_payloads_have_no_stamp() {
    for codec in Codec::ALL {
        for bytes in [vec![], vec![0x90], vec![0; 40], vec![0; 1_200], vec![0xff; 1_200]] {
            assert_eq!(Stamp::read(codec, &bytes), None);
        }
    }
    let (_, payload) = payloads(VideoConfig::default()).swap_remove(0);
    assert_eq!(Stamp::read(Codec::H264Main1, &payload), None);
    for len in 0..6 + 10 + Stamp::BYTES {
        assert_eq!(Stamp::read(Codec::Vp8, &payload[..len]), None, "cut off at {len}");
    }
}
