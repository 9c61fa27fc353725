//! Microphones.

use switchyard_netem::Ratio;
use switchyard_rtp::Codec;

use super::*;

fn run(config: AudioConfig, seconds: u32) -> Vec<Packet> {
    World::new(ModelConfig::Audio(config)).run(SECOND * seconds)
}

const fn voice(packet: &Packet) -> bool {
    matches!(packet.content, Content::Opus { voice: true, .. })
}

fn conversation() -> AudioConfig {
    AudioConfig { talking: Ratio::percent(40), spurt: Duration::from_secs(3), ..AudioConfig::default() }
}

#[test]
fn who_talks_sends_fifty_packets_a_second_at_the_bitrate() {
    for bits in [24_000, 32_000, 64_000] {
        let packets = run(AudioConfig { bitrate: rate(bits), ..AudioConfig::default() }, 60);
        assert_eq!(packets.len(), 3_000);
        let sent = bits_per_second(&packets, 60.0);
        assert!((sent / bits as f64 - 1.0).abs() < 0.03, "{sent}");
        assert!(packets.windows(2).all(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp) == 960));
        let sizes: std::collections::BTreeSet<_> = packets.iter().map(|packet| packet.payload_len).collect();
        assert!(sizes.len() > 10, "variable bitrate");
        assert!(packets[0].marker && packets[1..].iter().all(|packet| !packet.marker));
    }
}

#[test]
fn a_conversation_has_spurts_and_pauses() {
    let packets = run(conversation(), 3_600);
    let talking = packets.iter().filter(|packet| voice(packet)).count() as f64 / (3_600.0 * 50.0);
    assert!((talking - 0.4).abs() < 0.04, "{talking}");
    let spurts = packets.iter().filter(|packet| packet.marker).count() as f64;
    let length = talking * 3_600.0 / spurts;
    assert!((length / 3.0 - 1.0).abs() < 0.1, "{length}");
    assert!(packets.iter().map(|packet| packet.counter).eq(0..packets.len() as u64), "no number is left out in silence");
}

#[test]
fn silence_is_comfort_noise_every_400_milliseconds() {
    let packets = run(conversation(), 600);
    let noise = |packet: &&Packet| matches!(packet.content, Content::Opus { level: 127, .. });
    let pauses: Vec<_> = packets.windows(2).filter(|pair| noise(&&pair[0]) && noise(&&pair[1])).collect();
    assert!(pauses.len() > 100);
    for pair in pauses {
        assert_eq!(pair[1].at - pair[0].at, Duration::from_millis(400));
        assert_eq!(pair[1].timestamp.wrapping_sub(pair[0].timestamp), 19_200, "the RTP clock goes on");
    }
    assert!(packets.iter().filter(noise).all(|packet| packet.payload_len < 40));
    // Spurts end in 200 ms of quiet sound.
    let quiet = packets.iter().filter(|packet| !voice(packet) && !noise(packet)).count() as f64;
    let spurts = packets.iter().filter(|packet| packet.marker).count() as f64;
    assert!((quiet / spurts - 10.0).abs() < 1.0, "{quiet} in {spurts}");
}

#[test]
fn without_dtx_silence_is_sent_and_quiet() {
    let packets = run(AudioConfig { dtx: false, talking: Ratio::ZERO, ..AudioConfig::default() }, 10);
    assert_eq!(packets.len(), 500);
    assert!(packets.iter().all(|packet| !voice(packet) && packet.payload_len < 40));
}

#[test]
fn levels_tell_talking_from_silence() {
    for packet in run(conversation(), 60) {
        let Content::Opus { level, voice } = packet.content else { panic!("audio is Opus") };
        assert!(if voice { (12..=60).contains(&level) } else { (75..=127).contains(&level) }, "{level}");
    }
}

#[test]
fn an_audio_packet_has_a_stamp_of_its_own_frame() {
    for (number, packet) in run(AudioConfig::default(), 10).iter().enumerate() {
        let mut payload = Vec::new();
        packet.write(3, 12_345, &mut payload);
        assert_eq!(payload.len(), usize::from(packet.payload_len));
        let number = number as u64;
        let expected = Stamp {
            publication: 3,
            encoding: 0,
            keyframe: true,
            counter: number,
            frame: number as u32,
            packets: 1,
            index: 0,
            sent_micros: 12_345,
        };
        assert_eq!(Stamp::read(Codec::Opus, &payload), Some(expected));
    }
}
