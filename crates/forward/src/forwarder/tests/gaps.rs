//! Lines that were interrupted: whoever sees a picture sees it move at once when the line is back.

use std::time::Duration;

use switchyard_rtp::MediaKind;
use switchyard_rtp::rtcp::ReportBlock;
use switchyard_rtp::srtp::Profile;

use super::media::{CAMERA, SSRC, frame, is_pli, room, rtcp_of, subscribe};
use super::world::*;
use crate::{Command, Event, TrackKey, WorkerIndex};

const FRAME: Duration = Duration::from_millis(40);
/// In which a request must be made: two looks and a tick.
const AT_ONCE: Duration = Duration::from_millis(220);

/// A call: client 0 shows 25 pictures a second, the others report once a second and check their path every 2.5 s.
struct Call {
    world: World,
    next: u64,
    frames: u32,
    /// Whose packets are lost, both ways.
    lost: Vec<usize>,
}

impl Call {
    fn new(viewers: usize) -> Self {
        let mut call = Call { world: room(viewers, Profile::AeadAes128Gcm, true), next: 1, frames: 0, lost: Vec::new() };
        call.picture(true);
        call.run(Duration::from_secs(20));
        call.world.clients[0].rtcp.clear();
        call.world.events.clear();
        call
    }

    fn picture(&mut self, keyframe: bool) {
        if !self.lost.contains(&0) {
            self.world.send(0, &frame(self.next, 3, keyframe));
        }
        self.next += 3;
    }

    fn run(&mut self, duration: Duration) {
        for _ in 0..duration.as_millis() / FRAME.as_millis() {
            self.picture(false);
            self.frames += 1;
            for client in 0..self.world.clients.len() {
                if self.lost.contains(&client) {
                    continue;
                }
                if self.frames.is_multiple_of(62) {
                    self.world.check(client);
                }
                if self.frames % 25 == client as u32 {
                    self.report(client);
                }
            }
            self.world.pass(FRAME);
        }
    }

    fn report(&mut self, client: usize) {
        let block = ReportBlock { ssrc: 100 * client as u32 + 20, ..ReportBlock::default() };
        self.world.send_rtcp(client, |writer| writer.receiver_report(1, [block]).unwrap());
    }

    fn asks_for_a_keyframe(&mut self, viewer: usize) {
        let media = 100 * viewer as u32 + 20;
        self.world.send_rtcp(viewer, |writer| writer.picture_loss_indication(1, media).unwrap());
    }

    /// Keyframe requests at the publisher, since asked last.
    fn requests(&mut self) -> usize {
        let count = rtcp_of(&self.world, 0, is_pli);
        self.world.clients[0].rtcp.clear();
        count
    }

    fn recovered(&self) -> Vec<u64> {
        self.world.events.iter().filter_map(|event| if let Event::Recovered { peer } = event { Some(peer.0) } else { None }).collect()
    }
}

#[test]
fn a_quiet_call_asks_for_no_keyframes() {
    let mut call = Call::new(3);
    call.run(Duration::from_secs(60));
    assert_eq!((call.requests(), call.recovered()), (0, vec![]));
}

#[test]
fn a_viewer_back_from_an_outage_gets_a_keyframe_at_once() {
    for outage in [6, 20] {
        let mut call = Call::new(3);
        call.lost = vec![2];
        call.run(Duration::from_secs(outage));
        assert_eq!(call.requests(), 0);
        call.lost.clear();
        call.report(2);
        call.run(AT_ONCE);
        assert_eq!((call.requests(), call.recovered()), (1, vec![2]), "after {outage} s");
        call.picture(true);
        call.run(Duration::from_secs(10));
        assert_eq!(call.requests(), 0, "once");
    }
}

#[test]
fn a_publisher_back_from_an_outage_is_asked_at_once_and_not_before() {
    let mut call = Call::new(2);
    call.lost = vec![0];
    for _ in 0..6 {
        // The viewers miss the picture, and ask for it as browsers do.
        call.run(Duration::from_millis(120));
        call.asks_for_a_keyframe(1);
        call.asks_for_a_keyframe(2);
    }
    // Until it counts as silent; then nothing is spent on requests that nobody hears.
    assert!(call.requests() <= 2);
    call.run(Duration::from_secs(5));
    assert_eq!(call.requests(), 0);
    call.lost.clear();
    call.run(AT_ONCE);
    assert_eq!((call.requests(), call.recovered()), (1, vec![0]));
}

#[test]
fn another_path_is_a_gap_as_well() {
    let mut call = Call::new(2);
    call.world.clients[1].path.remote.set_port(20_001);
    call.world.check(1);
    call.world.pass(Duration::from_millis(10));
    assert_eq!(call.requests(), 1, "what was on its way to the old address is lost");
    call.picture(true);
    call.run(Duration::from_secs(2));
    call.requests();
    call.world.clients[0].path.remote.set_port(20_000);
    call.world.check(0);
    call.world.pass(Duration::from_millis(10));
    assert_eq!(call.requests(), 1);
    call.picture(true);
    call.run(Duration::from_secs(2));
    call.requests();
    // The same path, nominated again: nothing has changed.
    call.world.check(0);
    call.world.check(1);
    call.run(Duration::from_secs(2));
    assert_eq!(call.requests(), 0);
}

#[test]
fn a_request_that_meets_an_empty_bucket_is_made_when_it_is_refilled() {
    let mut call = Call::new(3);
    call.lost = vec![2];
    call.run(Duration::from_secs(6));
    for _ in 0..2 {
        call.asks_for_a_keyframe(1);
        call.run(FRAME);
        call.picture(true);
    }
    assert_eq!(call.requests(), 2, "the bucket is empty");
    call.lost.clear();
    call.report(2);
    call.run(AT_ONCE);
    assert_eq!((call.requests(), call.recovered()), (0, vec![2]));
    call.run(Duration::from_secs(1));
    assert_eq!(call.requests(), 1);
}

#[test]
fn a_worker_that_was_late_asks_nobody() {
    let mut call = Call::new(3);
    // Two seconds in which the worker does nothing, and what came meanwhile.
    call.world.now += Duration::from_secs(2);
    call.run(Duration::from_secs(3));
    assert_eq!((call.requests(), call.recovered()), (0, vec![]));
}

#[test]
fn a_viewer_at_another_worker_is_served_over_the_trunk() {
    let mut world = World::new(2);
    let publisher = world.join(0, Profile::AeadAes128Gcm);
    let viewer = world.join(1, Profile::AeadAes128Gcm);
    let peer = world.clients[publisher].key;
    world.command(0, Command::SetReceivers { peer, receivers: vec![receiver("1", MediaKind::Video, SSRC)] });
    world.publish(publisher, "1", CAMERA);
    let track = TrackKey(CAMERA);
    world.command(1, Command::PublishRemote { track, kind: MediaKind::Video, home: WorkerIndex(0) });
    world.command(0, Command::Trunk { track, to: WorkerIndex(1), on: true });
    subscribe(&mut world, viewer, CAMERA, true);
    let mut call = Call { world, next: 1, frames: 0, lost: Vec::new() };
    call.picture(true);
    call.run(Duration::from_secs(20));
    call.requests();
    call.lost = vec![viewer];
    call.run(Duration::from_secs(6));
    assert_eq!(call.requests(), 0);
    call.lost.clear();
    call.report(viewer);
    call.run(AT_ONCE);
    assert_eq!(call.requests(), 1);
}
