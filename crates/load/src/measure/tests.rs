//! Pictures on their way through slots, as a server that leaves things out sends them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_client::{Arrival, Sink};
use switchyard_netem::Ratio;
use switchyard_rtp::Codec;
use switchyard_rtp::codec::vp8::Descriptor;

use super::*;
use crate::traffic::{Encoding, Model, ModelConfig, VideoConfig};

/// Two cameras in two encodings each, and one who looks at them.
struct World {
    start: Instant,
    cameras: Vec<Model>,
    sink: MeterSink,
}

/// A slot: its SSRC, the next sequence number, and its last picture id.
struct Slot {
    ssrc: u32,
    sequence: u16,
    picture: u16,
}

impl World {
    fn new() -> Self {
        let encoding = |rid: &str, percent, scale| Encoding { rid: rid.to_owned(), share: Ratio::percent(percent), scale };
        let config = VideoConfig { encodings: vec![encoding("q", 20, 4), encoding("f", 80, 1)], ..VideoConfig::default() };
        let start = Instant::now();
        let pictures = [("q", (320, 180)), ("f", (1280, 720))].map(|(name, size)| Picture { name: name.to_owned(), size });
        let publication = || Publication::selective("video", Codec::Vp8, false, pictures.to_vec());
        let publications = Arc::new(Publications::new(vec![publication(), publication()]));
        let sink = MeterSink::new(publications.clone(), Arc::default(), 0, 0, Vec::new());
        // All that comes is measured.
        publications.open_window();
        let cameras = (0..2).map(|seed| Model::new(&ModelConfig::Video(config.clone()), seed, start).unwrap()).collect();
        Self { start, cameras, sink }
    }

    fn micros(&self, at: Instant) -> u64 {
        (at - self.start).as_micros() as u64
    }

    /// Sends an encoding of a camera through a slot until `until`, from a keyframe on; whether a packet comes is up to `comes`.
    fn send(&mut self, camera: usize, encoding: u8, slot: &mut Slot, until: Duration, comes: impl Fn(u16) -> bool) {
        let end = self.start + until;
        let mut begun = false;
        let mut asked = false;
        while let Some(now) = self.cameras[camera].poll_timeout().filter(|now| *now <= end) {
            if !asked {
                asked = self.cameras[camera].request_keyframe(now, encoding);
            }
            while let Some(packet) = self.cameras[camera].poll(now) {
                begun |= packet.keyframe() && packet.index == 0 && asked && packet.encoding == encoding;
                if packet.encoding != encoding || !begun {
                    continue;
                }
                let mut payload = Vec::new();
                packet.write(camera as u32, self.micros(now), &mut payload);
                slot.picture = slot.picture.wrapping_add(u16::from(packet.index == 0)) & 0x7fff;
                Descriptor::parse(&payload).unwrap().picture_id.unwrap().write(&mut payload, slot.picture);
                let sequence = slot.sequence;
                slot.sequence = sequence.wrapping_add(1);
                if comes(sequence) {
                    self.arrive(slot.ssrc, sequence, &payload, now);
                }
            }
        }
    }

    fn arrive(&mut self, ssrc: u32, sequence: u16, payload: &[u8], at: Instant) {
        let at_micros = self.micros(at);
        self.sink.handle_packet(&Arrival { ssrc, sequence, timestamp: 0, marker: false, payload, at_micros, retransmitted: false });
    }

    /// What was seen of a camera, up to now.
    fn totals(&self, camera: u32, now: Duration) -> TrackTotals {
        let mut meter = self.sink.lock();
        meter.watch(now.as_micros() as u64);
        meter.totals(camera)
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_encoding_in_the_place_of_another_is_neither_loss_nor_freeze() {
    let mut world = World::new();
    let mut slot = Slot { ssrc: 1, sequence: 65_000, picture: 0x7ff0 };
    for (second, encoding) in (1..=6).zip([0, 1, 0, 1, 1, 0]) {
        world.send(0, encoding, &mut slot, SECOND * second, |_| true);
    }
    let totals = world.totals(0, SECOND * 6);
    assert_eq!((totals.lost, totals.seen.dropped, totals.seen.freezes, totals.seen.switches), (0, 0, 0, 4));
    assert!(totals.received > 300 && totals.seen.shown > 150, "{totals:?}");
    let [low, high, _] = totals.seen.by_encoding.map(|micros| micros / 100_000);
    assert!((25..=35).contains(&low) && (25..=35).contains(&high), "half of the time each: {totals:?}");
}

#[test]
fn what_never_comes_is_lost_to_whom_it_was_addressed() {
    let mut world = World::new();
    let mut slot = Slot { ssrc: 1, sequence: 0, picture: 0 };
    world.send(0, 1, &mut slot, SECOND, |_| true);
    let first = slot.sequence;
    world.send(0, 1, &mut slot, SECOND * 2, |sequence| sequence % 10 != 0 || sequence == first);
    world.send(1, 0, &mut slot, SECOND * 3, |_| true);
    let (lossy, clean) = (world.totals(0, SECOND * 3), world.totals(1, SECOND * 3));
    assert!(lossy.lost > 5 && lossy.seen.dropped > 0, "{lossy:?}");
    assert!(clean.lost <= 1 && clean.seen.dropped == 0, "what is missing where one follows the other is taken for the other's: {clean:?}");
}

#[test]
fn a_camera_that_comes_in_another_slot_begins_anew_there() {
    let mut world = World::new();
    let (mut one, mut other) = (Slot { ssrc: 1, sequence: 100, picture: 20_000 }, Slot { ssrc: 2, sequence: 9_000, picture: 100 });
    world.send(0, 1, &mut one, SECOND, |_| true);
    world.send(1, 1, &mut other, SECOND, |_| true);
    // They change places, and back.
    for second in 2..=5 {
        let (first, second_slot) = if second % 2 == 0 { (&mut other, &mut one) } else { (&mut one, &mut other) };
        world.send(0, 1, first, SECOND * second, |_| true);
        world.send(1, 1, second_slot, SECOND * second, |_| true);
    }
    for camera in 0..2 {
        let totals = world.totals(camera, SECOND * 5);
        assert_eq!((totals.lost, totals.seen.dropped, totals.seen.freezes), (0, 0, 0), "camera {camera}: {totals:?}");
        assert!(totals.seen.shown > 120, "camera {camera}: {totals:?}");
    }
}
