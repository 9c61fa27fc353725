//! No (key, SSRC, index) is ever used for two different packets: under AES-GCM that would give the authentication key away.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use switchyard_rtp::MediaKind;
use switchyard_rtp::sequence::nearest;
use switchyard_rtp::srtp::Profile;

use super::world::*;
use crate::{Command, IceCredentials, WorkerIndex};

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Publisher sends a frame, with holes, out of order, or jumping ahead.
    Frame {
        publisher: usize,
        packets: u64,
        keyframe: bool,
        jump: u64,
        reorder: bool,
    },
    /// The subscriber's slot shows another track, or nothing.
    Route {
        slot: u16,
        track: Option<u64>,
    },
    /// The subscriber asks for what was sent last, minus so many.
    Nack {
        slot: u16,
        back: u16,
    },
    /// ICE restarts.
    Restart,
    /// The subscriber's m-lines are negotiated anew: kept, stopped, or recycled under new SSRCs, with RTX or without.
    Renegotiate {
        recycle: bool,
        stop: bool,
        rtx: bool,
    },
    /// The keys are announced again.
    KeysAgain,
    Mute {
        track: u64,
        enabled: bool,
    },
    Pass {
        ms: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0usize..2, 1u64..6, any::<bool>(), prop_oneof![Just(0), Just(0), Just(0), 1u64..6, Just(3_000u64), Just(70_000u64)], any::<bool>())
            .prop_map(|(publisher, packets, keyframe, jump, reorder)| Step::Frame { publisher, packets, keyframe, jump, reorder }),
        3 => (0u16..4, proptest::option::of(1u64..3)).prop_map(|(slot, track)| Step::Route { slot: slot / 2 * 2 + 1, track }),
        4 => (0u16..4, 0u16..12).prop_map(|(slot, back)| Step::Nack { slot: slot / 2 * 2 + 1, back }),
        1 => Just(Step::Restart),
        1 => (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(recycle, stop, rtx)| Step::Renegotiate { recycle, stop, rtx }),
        1 => Just(Step::KeysAgain),
        1 => (1u64..3, any::<bool>()).prop_map(|(track, enabled)| Step::Mute { track, enabled }),
        1 => (1u64..200).prop_map(|ms| Step::Pass { ms }),
    ]
}

struct Run {
    world: World,
    next: [u64; 2],
    ssrcs: [u32; 2],
    generation: u32,
    restarts: u8,
    rtx: bool,
}

const SUBSCRIBER: usize = 2;

impl Run {
    fn new(profile: Profile, rtx: bool) -> Self {
        let mut world = World::new(1);
        for _ in 0..3 {
            world.join(0, profile);
        }
        for publisher in 0..2 {
            let peer = world.clients[publisher].key;
            let receivers = vec![receiver("1", MediaKind::Video, 5_000 + 10 * publisher as u32)];
            world.command(0, Command::SetReceivers { peer, receivers });
            world.publish(publisher, "1", 1 + publisher as u64);
        }
        let mut run = Self { world, next: [1, 60_000], ssrcs: [1_000, 2_000], generation: 0, restarts: 100, rtx };
        run.negotiate(false);
        run
    }

    fn negotiate(&mut self, stop: bool) {
        let peer = self.world.clients[SUBSCRIBER].key;
        let video = |ssrc| Some(sender(MediaKind::Video, ssrc, self.rtx));
        let audio = |ssrc| Some(sender(MediaKind::Audio, ssrc, false));
        let [first, second] = self.ssrcs;
        let last = if stop { None } else { video(second) };
        let senders = vec![audio(first + 500), video(first), audio(second + 500), last];
        self.world.command(0, Command::SetSenders { peer, senders });
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Frame { publisher, packets, keyframe, jump, reorder } => {
                self.next[publisher] += jump;
                let first = self.next[publisher];
                self.next[publisher] += packets;
                let ssrc = 5_000 + 10 * publisher as u32;
                let mut frame: Vec<_> = (first..first + packets)
                    .map(|index| {
                        (ssrc, VP8, index, index as u32 * 1_000, vp8(keyframe && index == first, 40 + (index % 3) as usize, index as u8))
                    })
                    .collect();
                if reorder {
                    frame.reverse();
                }
                self.world.send(publisher, &frame);
            }
            Step::Route { slot, track } => self.world.route(SUBSCRIBER, slot, track),
            Step::Nack { slot, back } => {
                let ssrc = self.ssrcs[usize::from(slot / 2)];
                let last = self.world.clients[SUBSCRIBER]
                    .rtp
                    .iter()
                    .rev()
                    .find(|(header, _)| header.ssrc == ssrc)
                    .map(|(header, _)| header.sequence);
                if let Some(last) = last {
                    let sequences = [last.wrapping_sub(back), last.wrapping_sub(back / 2)];
                    self.world.send_rtcp(SUBSCRIBER, |writer| writer.nack(1, ssrc, sequences).unwrap());
                }
            }
            Step::Restart => {
                self.restarts += 1;
                let peer = self.world.clients[SUBSCRIBER].key;
                let ice = IceCredentials::generate(WorkerIndex(0), [self.restarts; 24]);
                self.world.command(0, Command::RestartIce { peer, ice: ice.clone(), client: "new".into() });
                let client = &mut self.world.clients[SUBSCRIBER];
                client.ice = ice;
                client.path.remote.set_port(20_000 + u16::from(self.restarts));
                self.world.check(SUBSCRIBER);
            }
            Step::Renegotiate { recycle, stop, rtx } => {
                self.rtx = rtx;
                if recycle {
                    self.generation += 1;
                    // The second slot comes back under an SSRC from two generations ago: the sealer has to remember it.
                    self.ssrcs[1] = 2_000 + 10 * (self.generation % 2);
                }
                self.negotiate(stop);
            }
            Step::KeysAgain => {
                let key = |key: u8, salt: u8| switchyard_rtp::srtp::MasterKey { key: [key; 16], salt: [salt; 14] };
                let seed = SUBSCRIBER as u8 + 1;
                let keys = switchyard_rtp::srtp::SrtpKeys {
                    profile: Profile::AeadAes128Gcm,
                    local: key(seed, seed ^ 0x55),
                    remote: key(seed ^ 0xaa, seed ^ 0x33),
                };
                let peer = self.world.clients[SUBSCRIBER].key;
                self.world.command(0, Command::SetKeys { peer, keys: Box::new(keys) });
            }
            Step::Mute { track, enabled } => self.world.command(0, Command::Enable { track: crate::TrackKey(track), enabled }),
            Step::Pass { ms } => self.world.pass(Duration::from_millis(ms)),
        }
    }

    /// Every index under which two different packets left.
    fn reused(&self) -> Vec<(u32, u64)> {
        let mut highest: BTreeMap<u32, u64> = BTreeMap::new();
        let mut seen: BTreeMap<(u32, u64), &[u8]> = BTreeMap::new();
        let mut reused = Vec::new();
        for packet in &self.world.clients[SUBSCRIBER].ciphertexts {
            let ssrc = u32::from_be_bytes(packet[8..12].try_into().unwrap());
            let sequence = u16::from_be_bytes([packet[2], packet[3]]);
            let highest = highest.entry(ssrc).or_insert(u64::from(sequence));
            let index = nearest(*highest, sequence).expect("an index is never negative");
            *highest = index.max(*highest);
            if *seen.entry((ssrc, index)).or_insert(packet) != packet {
                reused.push((ssrc, index));
            }
        }
        reused
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, max_shrink_iters: 2_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_index_is_ever_used_for_two_packets(steps in proptest::collection::vec(step(), 1..80), rtx in any::<bool>()) {
        let mut run = Run::new(Profile::AeadAes128Gcm, rtx);
        for step in steps {
            run.step(step);
        }
        prop_assert_eq!(run.reused(), vec![]);
        // Nor does the sealer ever have to refuse: the numbering itself is right.
        prop_assert_eq!(run.world.forwarders[0].drops().get(crate::Drop::IndexUsed), 0);
    }
}

#[test]
fn the_property_is_about_something() {
    let mut run = Run::new(Profile::AeadAes128Gcm, true);
    run.step(Step::Route { slot: 1, track: Some(1) });
    run.step(Step::Frame { publisher: 0, packets: 5, keyframe: true, jump: 0, reorder: false });
    run.step(Step::Nack { slot: 1, back: 2 });
    assert_eq!(run.world.clients[SUBSCRIBER].ciphertexts.len(), 7);
}
