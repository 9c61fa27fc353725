//! Sizes and bursts, as they are on the line.

use super::*;

#[test]
fn a_frame_is_cut_into_packets_that_differ_by_a_byte_the_smaller_first() {
    let packets = World::video(simulcast()).run(SECOND * 30);
    assert!(packets.iter().all(|packet| usize::from(packet.payload_len) <= MAX_PAYLOAD));
    for encoding in 0..3 {
        for frame in frames(&packets, encoding) {
            let sizes: Vec<u16> = frame.iter().map(|packet| packet.payload_len).collect();
            assert!(sizes.is_sorted() && sizes[sizes.len() - 1] - sizes[0] <= 1, "{sizes:?}");
            // As few as it fits in: one fewer would not do.
            let bytes: usize = sizes.iter().map(|size| usize::from(*size) - 6).sum();
            assert!(sizes.len() == 1 || bytes > (sizes.len() - 1) * (MAX_PAYLOAD - 6), "{sizes:?}");
        }
    }
}

#[test]
fn most_packets_of_a_large_picture_are_nearly_full() {
    let packets = World::video(VideoConfig { bitrate: rate(4_000_000), ..VideoConfig::default() }).run(SECOND * 30);
    let full = packets.iter().filter(|packet| packet.payload_len >= 1_000).count();
    assert!(full as f64 > 0.9 * packets.len() as f64, "{full} of {}", packets.len());
}

#[test]
fn the_pacer_sends_at_two_and_a_half_times_the_bitrate_in_quanta_of_five_milliseconds() {
    for bits in [150_000, 1_500_000, 6_000_000] {
        let mut world = World::video(VideoConfig { bitrate: rate(bits), keyframe_interval: Some(SECOND), ..VideoConfig::default() });
        let packets = world.run(SECOND * 30);
        let per_quantum = bits as f64 * 2.5 / 8.0 * 0.005;
        let bursts: Vec<&[Packet]> = packets.chunk_by(|one, next| one.at == next.at).collect();
        for burst in &bursts {
            let bytes: f64 = burst.iter().map(|packet| f64::from(packet.payload_len)).sum();
            assert!(bytes < per_quantum + MAX_PAYLOAD as f64, "{bits}: {bytes} at once, {per_quantum} allowed");
        }
        assert!(bursts.windows(2).all(|pair| pair[1][0].at - pair[0][0].at >= Duration::from_micros(1)));
        // While a keyframe is being sent, the line is used at exactly the pacer's rate.
        let keyframe = frames(&packets, 0).into_iter().filter(|frame| frame[0].keyframe()).max_by_key(Vec::len).unwrap();
        let took = (keyframe.last().unwrap().at - keyframe[0].at).as_secs_f64();
        let bytes: f64 = keyframe.iter().map(|packet| f64::from(packet.payload_len)).sum();
        let paced = bytes * 8.0 / (took + 0.005);
        assert!((0.8..1.25).contains(&(paced / (bits as f64 * 2.5))), "{bits}: {paced}");
        let quanta = keyframe.windows(2).map(|pair| (pair[1].at - pair[0].at).as_micros());
        assert!(quanta.clone().all(|apart| apart % 5_000 == 0), "{:?}", quanta.collect::<Vec<_>>());
    }
}

#[test]
fn the_pacer_saves_no_more_than_one_quantum_up() {
    let mut world = World::new(ModelConfig::Screen(ScreenConfig::default()));
    let packets = world.run(SECOND * 120);
    let per_quantum = 2_500_000.0 * 2.5 / 8.0 * 0.005;
    for burst in packets.chunk_by(|one, next| one.at == next.at) {
        let bytes: f64 = burst.iter().map(|packet| f64::from(packet.payload_len)).sum();
        assert!(bytes < per_quantum + MAX_PAYLOAD as f64, "{bytes} after an idle while");
    }
}

#[test]
fn the_fixed_pattern_is_exactly_as_it_is_written() {
    for (packets_per_second, bursts) in [(250, vec![3, 3, 3, 1]), (100, vec![3, 1])] {
        let mut world = World::new(ModelConfig::Fixed(FixedConfig { packets_per_second, ..FixedConfig::default() }));
        let packets = world.run(SECOND * 10);
        assert!(packets.iter().all(|packet| packet.payload_len == 1_150));
        let frames = frames(&packets, 0);
        for frame in &frames[..240] {
            let sent: Vec<_> =
                frame.chunk_by(|one, next| one.at == next.at).map(|burst| (burst.len(), burst[0].at - frame[0].at)).collect();
            let expected: Vec<_> = bursts.iter().enumerate().map(|(index, len)| (*len, Duration::from_millis(5) * index as u32)).collect();
            assert_eq!(sent, expected);
        }
        assert!(frames.windows(2).all(|pair| pair[1][0].at - pair[0][0].at == Duration::from_millis(40)));
        assert_eq!(frames.iter().filter(|frame| frame[0].keyframe()).count(), 1);
        assert!(world.model.request_keyframe(world.start + SECOND * 10, 0));
        assert!(world.run(SECOND * 10 + SECOND / 10).iter().any(Packet::keyframe));
    }
}

#[test]
fn a_fixed_pattern_that_does_not_divide_evenly_keeps_its_rate() {
    let config = FixedConfig { packets_per_second: 70, fps: 25, burst: 10, ..FixedConfig::default() };
    let packets = World::new(ModelConfig::Fixed(config)).run(SECOND * 100);
    assert!((6_990..=7_000).contains(&packets.len()), "{}", packets.len());
    assert!(packets.iter().all(|packet| packet.payload_len == 1_150 && (2..=3).contains(&packet.packets)));
}

#[test]
fn many_tracks_do_not_beat_as_one() {
    let start = Instant::now();
    let firsts: std::collections::BTreeSet<_> = (0..100)
        .map(|seed| Model::new(&ModelConfig::Video(VideoConfig::default()), seed, start).unwrap().poll_timeout().unwrap() - start)
        .collect();
    assert_eq!(firsts.len(), 100);
    assert!(*firsts.last().unwrap() < SECOND / 30 && *firsts.last().unwrap() - *firsts.first().unwrap() > SECOND / 40);
}
