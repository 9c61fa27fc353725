use super::*;

mod pacing;
mod payload;
mod sound;

const SECOND: Duration = Duration::from_secs(1);

/// A model under virtual time.
struct World {
    start: Instant,
    model: Model,
}

impl World {
    fn new(config: ModelConfig) -> Self {
        Self::seeded(config, 1)
    }

    fn seeded(config: ModelConfig, seed: u64) -> Self {
        let start = Instant::now();
        Self { start, model: Model::new(&config, seed, start).unwrap() }
    }

    fn video(config: VideoConfig) -> Self {
        Self::new(ModelConfig::Video(config))
    }

    /// All packets due by `until`, asked for at each timeout.
    fn run(&mut self, until: Duration) -> Vec<Packet> {
        let mut packets = Vec::new();
        let end = self.start + until;
        while let Some(now) = self.model.poll_timeout().filter(|now| *now <= end) {
            let before = packets.len();
            while let Some(packet) = self.model.poll(now) {
                assert_eq!(packet.at, now, "what was not due before is due exactly now");
                packets.push(packet);
            }
            // A captured frame may have to wait for the pacer, but time goes on.
            assert!(packets.len() > before || self.model.poll_timeout().is_some_and(|next| next > now));
        }
        assert!(packets.is_sorted_by_key(|packet| packet.at), "packets come in the order of being due");
        packets
    }

    fn micros(&self, packet: &Packet) -> u64 {
        (packet.at - self.start).as_micros() as u64
    }
}

fn bits_per_second(packets: &[Packet], seconds: f64) -> f64 {
    packets.iter().map(|packet| f64::from(packet.payload_len) * 8.0).sum::<f64>() / seconds
}

/// The packets of each frame of an encoding.
fn frames(packets: &[Packet], encoding: u8) -> Vec<Vec<Packet>> {
    let of_it: Vec<Packet> = packets.iter().copied().filter(|packet| packet.encoding == encoding).collect();
    of_it.chunk_by(|one, next| one.frame == next.frame).map(<[Packet]>::to_vec).collect()
}

fn simulcast() -> VideoConfig {
    let encoding = |rid: &str, percent, scale| Encoding { rid: rid.to_owned(), share: switchyard_netem::Ratio::percent(percent), scale };
    VideoConfig { encodings: vec![encoding("q", 10, 4), encoding("h", 30, 2), encoding("f", 60, 1)], ..VideoConfig::default() }
}

fn rate(bits: u64) -> switchyard_netem::Rate {
    switchyard_netem::Rate::bits(bits)
}

#[test]
fn a_camera_keeps_its_bitrate_whatever_keyframes_cost() {
    for (bits, fps, interval) in
        [(1_500_000, 30, None), (150_000, 15, Some(SECOND * 10)), (4_000_000, 60, Some(SECOND)), (300_000, 30, Some(SECOND / 2))]
    {
        let config = VideoConfig { bitrate: rate(bits), fps, keyframe_interval: interval, ..VideoConfig::default() };
        let mut world = World::video(config);
        let packets = world.run(SECOND * 120);
        let sent = bits_per_second(&packets, 120.0);
        assert!((sent / bits as f64 - 1.0).abs() < 0.005, "{bits} bit/s at {fps} fps: {sent}");
        assert_eq!(world.model.skipped(), 0);
    }
}

#[test]
fn each_simulcast_encoding_has_its_share_its_picture_and_its_numbers() {
    let packets = World::video(simulcast()).run(SECOND * 60);
    for (encoding, share, expected) in [(0, 0.1, (320, 180)), (1, 0.3, (640, 360)), (2, 0.6, (1280, 720))] {
        let own: Vec<Packet> = packets.iter().copied().filter(|packet| packet.encoding == encoding).collect();
        let sent = bits_per_second(&own, 60.0);
        assert!((sent / (1_500_000.0 * share) - 1.0).abs() < 0.03, "{encoding}: {sent}");
        assert!(own.iter().all(|packet| matches!(packet.content, Content::Vp8 { size, .. } if size == expected)));
        assert!(own.iter().map(|packet| packet.counter).eq(0..own.len() as u64), "its packets are counted without a gap");
    }
    let starts = |encoding| frames(&packets, encoding).iter().map(|frame| frame[0].timestamp).collect::<Vec<_>>();
    let (low, high) = (starts(0), starts(2));
    let apart = high[0].wrapping_sub(low[0]);
    assert!(low.iter().zip(&high).all(|(low, high)| high.wrapping_sub(*low) == apart), "one capture, one time in all encodings");
    assert_ne!(apart, 0, "each stream's clock begins elsewhere");
}

#[test]
fn an_encoding_that_is_stopped_sends_nothing_and_begins_again_with_a_keyframe() {
    let mut world = World::video(simulcast());
    world.run(SECOND * 2);
    world.model.set_active(2, false);
    // What was captured before is still on its way out.
    world.run(SECOND * 2 + SECOND / 10);
    let without = world.run(SECOND * 4);
    assert_eq!(without.iter().filter(|packet| packet.encoding == 2).count(), 0);
    assert!(frames(&without, 1).len() > 50, "the others go on");
    world.model.set_active(2, true);
    let with = world.run(SECOND * 6);
    let again = frames(&with, 2);
    assert!(again[0][0].keyframe() && again[1..].iter().all(|frame| !frame[0].keyframe()));
    let together = |encoding: u8| frames(&with, encoding).iter().rev().take(10).map(|frame| frame[0].timestamp).collect::<Vec<_>>();
    let (low, high) = (together(0), together(2));
    assert!(low.windows(2).zip(high.windows(2)).all(|(low, high)| low[0].wrapping_sub(low[1]) == high[0].wrapping_sub(high[1])));
    world.model.set_active(2, true);
    assert!(!frames(&world.run(SECOND * 7), 2)[0][0].keyframe(), "it was active already");
}

#[test]
fn temporal_layers_keep_the_bitrate_and_have_their_parts_of_it() {
    for (layers, parts) in [(2, &[0.6, 0.4][..]), (3, &[0.4, 0.2, 0.4])] {
        let packets = World::video(VideoConfig { temporal_layers: layers, ..VideoConfig::default() }).run(SECOND * 60);
        let sent = bits_per_second(&packets, 60.0);
        assert!((sent / 1_500_000.0 - 1.0).abs() < 0.02, "{layers} layers: {sent}");
        for (wanted, part) in (0..).zip(parts) {
            let own: Vec<Packet> =
                packets.iter().copied().filter(|packet| matches!(packet.content, Content::Vp8 { layer, .. } if layer == wanted)).collect();
            let share = bits_per_second(&own, 60.0) / sent;
            assert!((share - part).abs() < 0.03, "layer {wanted} of {layers}: {share}");
        }
    }
}

#[test]
fn frames_come_in_order_and_on_time() {
    let config = VideoConfig { fps: 30, ..VideoConfig::default() };
    let mut world = World::video(config);
    let packets = world.run(SECOND * 30);
    let frames = frames(&packets, 0);
    assert!((899..=900).contains(&frames.len()), "{}", frames.len());
    for (number, frame) in frames.iter().enumerate() {
        assert!(frame.iter().all(|packet| packet.frame == number as u32 && packet.timestamp == frame[0].timestamp));
        assert!(frame.iter().enumerate().all(|(index, packet)| usize::from(packet.index) == index));
        assert!(frame.iter().all(|packet| usize::from(packet.packets) == frame.len()));
        assert_eq!(frame.iter().filter(|packet| packet.marker).count(), 1);
        assert!(frame.last().unwrap().marker);
    }
    assert!(frames.windows(2).all(|pair| pair[1][0].timestamp.wrapping_sub(pair[0][0].timestamp) == 3_000));
}

#[test]
fn frames_vary_as_an_encoder_s_do() {
    let packets = World::video(VideoConfig { keyframe_interval: Some(SECOND * 10), ..VideoConfig::default() }).run(SECOND * 120);
    let target = 1_500_000.0 / 8.0 / 30.0;
    let size = |frame: &Vec<Packet>| frame.iter().map(|packet| f64::from(packet.payload_len)).sum::<f64>() / target;
    let (keyframes, deltas): (Vec<_>, Vec<_>) = frames(&packets, 0).into_iter().partition(|frame| frame[0].keyframe());
    assert_eq!(keyframes.len(), 12);
    assert!(keyframes.iter().all(|frame| (4.5..=8.2).contains(&size(frame))), "{:?}", keyframes.iter().map(size).collect::<Vec<_>>());
    let sizes: Vec<f64> = deltas.iter().map(size).collect();
    let mean = sizes.iter().sum::<f64>() / sizes.len() as f64;
    let deviation = (sizes.iter().map(|size| (size - mean).powi(2)).sum::<f64>() / sizes.len() as f64).sqrt();
    assert!((0.2..0.45).contains(&(deviation / mean)), "{deviation} of {mean}");
    let skew = sizes.iter().map(|size| ((size - mean) / deviation).powi(3)).sum::<f64>() / sizes.len() as f64;
    assert!(skew > 0.1, "large frames are further from the mean than small ones: {skew}");
}

#[test]
fn a_keyframe_comes_with_the_next_frame_after_it_is_asked_for() {
    let mut world = World::video(simulcast());
    let before = world.run(SECOND * 5);
    for encoding in 0..3 {
        let keyframes = frames(&before, encoding).iter().filter(|frame| frame[0].keyframe()).count();
        assert_eq!(keyframes, 1, "the first frame and no other");
    }
    assert!(world.model.request_keyframe(world.start + SECOND * 5, 1));
    let after = world.run(SECOND * 6);
    let first_of = |encoding: u8| after.iter().find(|packet| packet.encoding == encoding && packet.index == 0).unwrap();
    assert!(first_of(1).keyframe());
    assert!(first_of(1).at <= world.start + SECOND * 5 + SECOND / 30 + Duration::from_millis(20));
    assert!(!first_of(0).keyframe() && !first_of(2).keyframe(), "the other encodings go on");

    let again = after.iter().rfind(|packet| packet.encoding == 1).unwrap().at;
    assert!(world.model.request_keyframe(again, 1), "the last one is long ago");
    world.run(SECOND * 6 + SECOND / 10);
    assert!(!world.model.request_keyframe(world.start + SECOND * 6 + SECOND / 10, 1), "it has just made one");
    assert!(!world.model.request_keyframe(world.start + SECOND * 9, 3), "there is no such encoding");
    assert!(!World::new(ModelConfig::Audio(AudioConfig::default())).model.request_keyframe(world.start, 0));
}

#[test]
fn requests_without_end_do_not_raise_the_bitrate_without_end() {
    for fps in [10, 30] {
        let mut world = World::video(VideoConfig { fps, ..VideoConfig::default() });
        let mut packets = Vec::new();
        for tenth in 1..=600 {
            packets.extend(world.run(SECOND / 10 * tenth));
            world.model.request_keyframe(world.start + SECOND / 10 * tenth, 0);
        }
        let keyframes = frames(&packets, 0).iter().filter(|frame| frame[0].keyframe()).count();
        assert!((120..=200).contains(&keyframes), "at most one in 300 ms: {keyframes}");
        let sent = bits_per_second(&packets, 60.0);
        assert!(sent < 1.1 * 1_500_000.0, "{fps} fps: {sent}");
        assert_eq!(world.model.skipped(), 0);
    }
}

#[test]
fn a_shared_screen_is_quiet_until_the_slide_changes() {
    let mut world = World::new(ModelConfig::Screen(ScreenConfig::default()));
    let packets = world.run(SECOND * 600);
    let frames = frames(&packets, 0);
    let sizes: Vec<usize> = frames.iter().map(|frame| frame.iter().map(|packet| usize::from(packet.payload_len)).sum()).collect();
    let slides = sizes.iter().filter(|size| **size > 45_000).count();
    // 600 s / 15 s, some of them with a refinement that is as large.
    assert!((25..=90).contains(&slides), "{slides}");
    let small = sizes.iter().filter(|size| **size < 3_000).count();
    assert!(small as f64 > 0.9 * sizes.len() as f64, "{small} of {}", sizes.len());
    let sent = bits_per_second(&packets, 600.0);
    assert!((80_000.0..300_000.0).contains(&sent), "{sent}");
    for pair in frames.windows(2) {
        let captured = f64::from(pair[1][0].timestamp.wrapping_sub(pair[0][0].timestamp)) / 90_000.0;
        let sent = (pair[1][0].at - pair[0][0].at).as_secs_f64();
        assert!((captured - sent).abs() < 0.01, "no frame waits for another: made {captured} s later, sent {sent} s later");
    }
    assert!(world.model.skipped() > 0, "instead some are left out");
    assert!(frames[0][0].keyframe());
    assert!(world.model.request_keyframe(world.start + SECOND * 600, 0));
    let keyframe = world.run(SECOND * 601);
    assert!(keyframe.iter().any(Packet::keyframe));
}

#[test]
fn a_seed_replays_and_another_one_does_not() {
    let all = [
        ModelConfig::Video(simulcast()),
        ModelConfig::Audio(AudioConfig { talking: switchyard_netem::Ratio::percent(40), ..AudioConfig::default() }),
        ModelConfig::Screen(ScreenConfig::default()),
        ModelConfig::Fixed(FixedConfig::default()),
    ];
    for config in all {
        let run = |seed| {
            let mut world = World::seeded(config.clone(), seed);
            let packets = world.run(SECOND * 20);
            packets
                .iter()
                .map(|packet| {
                    let mut payload = Vec::new();
                    packet.write(1, world.micros(packet), &mut payload);
                    (world.micros(packet), packet.timestamp, payload)
                })
                .collect::<Vec<_>>()
        };
        assert!(run(5) == run(5), "{config:?}");
        assert!(run(5) != run(6), "{config:?}");
    }
}

#[test]
fn a_model_that_is_asked_too_late_leaves_out_instead_of_catching_up() {
    for config in
        [ModelConfig::Video(VideoConfig::default()), ModelConfig::Fixed(FixedConfig::default()), ModelConfig::Audio(AudioConfig::default())]
    {
        let mut world = World::new(config.clone());
        world.run(SECOND);
        let late = world.start + SECOND * 60;
        let mut caught_up = 0;
        while let Some(packet) = world.model.poll(late) {
            caught_up += 1;
            assert!(caught_up < 1_000 && packet.at <= late);
        }
        assert!(caught_up < 60, "{config:?}: {caught_up}");
        let rate = if matches!(config, ModelConfig::Audio(_)) { 50 } else { 25 };
        assert!(world.model.skipped() >= 58 * rate, "{config:?}: {}", world.model.skipped());
        let packets = world.run(SECOND * 61);
        assert!(packets.len() > 40, "it goes on: {}", packets.len());
    }
}

#[test]
fn a_model_that_is_asked_a_little_late_says_when_packets_were_due() {
    let mut exact = World::video(VideoConfig::default());
    let mut late = World::video(VideoConfig::default());
    let expected: Vec<_> = exact.run(SECOND * 5).iter().map(|packet| (exact.micros(packet), packet.payload_len)).collect();
    let mut packets = Vec::new();
    for step in 1..=10 {
        while let Some(packet) = late.model.poll(late.start + SECOND / 2 * step) {
            packets.push((late.micros(&packet), packet.payload_len));
        }
    }
    assert_eq!(packets, expected);
}

#[test]
fn what_makes_no_sense_is_refused_with_the_reason() {
    let start = Instant::now();
    let error = |config: ModelConfig| Model::new(&config, 1, start).unwrap_err().to_string();
    let video = |change: fn(&mut VideoConfig)| {
        let mut config = simulcast();
        change(&mut config);
        ModelConfig::Video(config)
    };
    assert_eq!(error(video(|config| config.fps = 0)), "fps is 1 to 120, not 0");
    assert_eq!(error(video(|config| config.bitrate = rate(5))), "bitrate is 20kbit/s to 50Mbit/s, not 5bit/s");
    assert_eq!(error(video(|config| config.width = 0x4000)), "width is 16 to 16383, not 16384");
    assert_eq!(error(video(|config| drop(config.encodings.pop()))), "the encodings' shares come to 40 %; they must come to 100 %");
    assert!(error(video(|config| config.encodings[1].rid = "q".to_owned())).starts_with("`q` is no rid"));
    assert!(error(video(|config| config.encodings[0].rid = "a b".to_owned())).starts_with("`a b` is no rid"));
    let slide = switchyard_netem::units::Bytes(9_000_000);
    assert!(
        error(ModelConfig::Screen(ScreenConfig { slide, ..ScreenConfig::default() })).starts_with("a slide of 9MB at 2.5 times 2500kbit/s")
    );
    let fixed = FixedConfig { packets_per_second: 2_500, ..FixedConfig::default() };
    assert!(error(ModelConfig::Fixed(fixed)).starts_with("a frame of 100 packets in bursts of 3"));
    assert_eq!(error(ModelConfig::Fixed(FixedConfig { payload: 10, ..FixedConfig::default() })), "payload is 49 to 1164, not 10");
    let audio = AudioConfig { bitrate: rate(6_000), ..AudioConfig::default() };
    assert_eq!(error(ModelConfig::Audio(audio)), "bitrate is 16kbit/s to 510kbit/s, not 6kbit/s");
}
