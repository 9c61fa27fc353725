use super::*;
use crate::packet::tests::{FAR, NEAR, udp};
use crate::packet::{End, udp_end};

const MILLISECOND: Duration = Duration::from_millis(1);

/// A bridge in virtual time, and what came out of it when.
struct World {
    bridge: Bridge,
    start: Instant,
    now: Instant,
    out: Vec<(u128, Side, Vec<u8>)>,
}

impl World {
    fn new(out: &str, inward: &str) -> Self {
        let start = Instant::now();
        let bridge = Bridge::new(out.parse().unwrap(), inward.parse().unwrap(), 1, start).unwrap();
        Self { bridge, start, now: start, out: Vec::new() }
    }

    /// Lets time pass, event by event.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.bridge.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            while let Some((side, packet)) = self.bridge.poll(self.now) {
                self.out.push(((self.now - self.start).as_millis(), side, packet));
            }
        }
        self.now = end;
    }

    fn send(&mut self, side: Side, mark: u8) {
        let (from, to) = if side == Side::Near { (NEAR, FAR) } else { (FAR, NEAR) };
        self.bridge.push(self.now, side, udp((from, 5000), (to, 8080), &[mark]));
    }

    fn tcp(&mut self, side: Side, mark: u8) {
        let mut packet = udp((NEAR, 1), (FAR, 2), &[mark]);
        packet[9] = 6;
        self.bridge.push(self.now, side, packet);
    }

    /// When what came out, by mark.
    fn marks(&self, side: Side) -> Vec<(u128, u8)> {
        self.out.iter().filter(|(_, to, _)| *to == side).map(|(at, _, packet)| (*at, *packet.last().unwrap())).collect()
    }

    fn change(&mut self, scope: Scope, text: &str) {
        self.bridge.change(self.now, scope, &Change::To(Box::new(text.parse().unwrap()))).unwrap();
    }

    /// Whether every packet is accounted for.
    fn balanced(&self) -> bool {
        let balanced = |counts: Counts| counts.packets + counts.duplicated == counts.delivered + counts.on_the_way + counts.lost();
        self.bridge.counts(self.now).into_iter().all(balanced)
    }
}

#[test]
fn each_direction_is_its_own_line() {
    let mut world = World::new("delay=30ms", "delay=70ms");
    world.send(Side::Near, 1);
    world.send(Side::Far, 2);
    world.pass(100 * MILLISECOND);
    assert_eq!((world.marks(Side::Far), world.marks(Side::Near)), (vec![(30, 1)], vec![(70, 2)]));
    assert_eq!(world.bridge.take_lateness(), Lateness { packets: 2, over_1ms: 0, max_us: 0 });
}

#[test]
fn a_packet_after_a_change_does_not_overtake_one_before_it() {
    let mut world = World::new("delay=100ms", "perfect");
    world.send(Side::Near, 1);
    world.pass(10 * MILLISECOND);
    world.send(Side::Near, 2);
    world.change(Scope::Out, "delay=5ms");
    world.send(Side::Near, 3);
    world.change(Scope::Both, "perfect");
    world.send(Side::Near, 4);
    world.pass(200 * MILLISECOND);
    world.send(Side::Near, 5);
    world.pass(MILLISECOND);
    assert_eq!(world.marks(Side::Far), [(100, 1), (110, 2), (110, 3), (110, 4), (210, 5)]);
    assert_eq!(world.bridge.take_lateness().over_1ms, 0, "those that waited for others were not late");
    assert!(world.balanced());
}

#[test]
fn one_property_can_change_alone() {
    let mut world = World::new("delay=20ms,rate=1Mbit/s", "delay=40ms");
    world.bridge.change(world.now, Scope::Both, &Change::Only("loss".into(), "100".into())).unwrap();
    assert_eq!(world.bridge.configs().map(ToString::to_string), ["loss=100%,delay=20ms,rate=1Mbit/s", "loss=100%,delay=40ms"]);
    let refused = world.bridge.change(world.now, Scope::Both, &Change::Only("rate".into(), "10".into()));
    assert!(refused.unwrap_err().to_string().contains("rate is 1kbit/s"));
    assert_eq!(world.bridge.configs()[0].to_string(), "loss=100%,delay=20ms,rate=1Mbit/s");
}

#[test]
fn changes_beyond_what_is_kept_are_refused_until_packets_have_arrived() {
    let mut world = World::new("delay=1s", "delay=1s");
    let mut done = 0;
    for mark in 0..100 {
        world.send(Side::Near, mark);
        done += usize::from(world.bridge.change(world.now, Scope::Both, &Change::Only("delay".into(), "1s".into())).is_ok());
    }
    assert_eq!(done, 63);
    world.pass(2 * Duration::from_secs(1));
    world.change(Scope::Both, "perfect");
    assert_eq!(world.marks(Side::Far).len(), 100);
}

#[test]
fn a_black_hole_is_over_when_it_said() {
    let mut world = World::new("delay=5ms", "delay=5ms");
    world.send(Side::Near, 1);
    world.bridge.hole(world.now, Duration::from_secs(6));
    for mark in 2..=14 {
        world.send(Side::Near, mark);
        world.send(Side::Far, mark);
        world.pass(500 * MILLISECOND);
    }
    // What was on its way arrives; then nothing for exactly six seconds.
    assert_eq!(world.marks(Side::Far), [(5, 1), (6_005, 14)]);
    assert_eq!(world.marks(Side::Near), [(6_005, 14)]);
    assert_eq!(world.bridge.counts(world.now).map(|counts| counts.black_hole), [12, 12]);
    assert!(world.balanced());
}

#[test]
fn what_is_cut_is_lost_and_the_rest_is_not() {
    let mut world = World::new("perfect", "perfect");
    world.bridge.cut(Protocols { tcp: true, ..Protocols::NONE });
    for side in [Side::Near, Side::Far] {
        world.tcp(side, 1);
        world.send(side, 2);
    }
    world.bridge.cut(Protocols { udp: true, ..Protocols::NONE });
    world.send(Side::Near, 3);
    world.bridge.mend();
    world.tcp(Side::Near, 4);
    world.pass(MILLISECOND);
    assert_eq!((world.marks(Side::Far), world.marks(Side::Near)), (vec![(0, 2), (0, 4)], vec![(0, 2)]));
    assert_eq!(world.bridge.counts(world.now).map(|counts| counts.cut), [2, 1]);
    assert!(world.balanced());
}

#[test]
fn rebinding_changes_the_source_port_and_loses_what_was_on_its_way_to_the_old_one() {
    let mut world = World::new("delay=10ms", "delay=10ms");
    world.bridge.rebind();
    world.send(Side::Near, 1);
    world.pass(10 * MILLISECOND);
    let source = |world: &World| udp_end(&world.out.last().unwrap().2, End::Source).unwrap().1;
    let first = source(&world);
    assert_ne!(first, 5000);
    let answer = |port| udp((FAR, 8080), (NEAR, port), b"answer");
    world.bridge.push(world.now, Side::Far, answer(first));
    world.pass(5 * MILLISECOND);
    world.bridge.rebind();
    world.pass(20 * MILLISECOND);
    assert_eq!(world.marks(Side::Near), [], "its binding was gone when it arrived");
    world.send(Side::Near, 2);
    world.pass(10 * MILLISECOND);
    let second = source(&world);
    assert!(second != first && second != 5000);
    world.bridge.push(world.now, Side::Far, answer(second));
    world.pass(10 * MILLISECOND);
    assert_eq!(udp_end(&world.out.last().unwrap().2, End::Destination), Some((NEAR, 5000)));
    assert_eq!(world.bridge.counts(world.now)[1].unbound, 1);
    assert!(world.balanced());
}

#[test]
fn packets_of_another_kind_are_counted_and_not_carried() {
    let mut world = World::new("perfect", "perfect");
    for packet in [vec![], vec![0x60; 60], vec![0x45; 19]] {
        world.bridge.push(world.now, Side::Near, packet);
    }
    world.pass(MILLISECOND);
    assert_eq!((world.out.len(), world.bridge.counts(world.now)[0].foreign), (0, 3));
    assert!(world.balanced());
}

#[test]
fn a_seed_replays_also_after_changes() {
    let run = |seed| {
        let start = Instant::now();
        let config = || "loss=20%,delay=5ms,jitter=2ms".parse().unwrap();
        let mut world = World { bridge: Bridge::new(config(), config(), seed, start).unwrap(), start, now: start, out: Vec::new() };
        for mark in 0..200 {
            world.send(Side::Near, mark);
            world.send(Side::Far, mark);
            if mark == 100 {
                world.change(Scope::Both, "loss=20%,delay=8ms");
            }
            world.pass(MILLISECOND);
        }
        (world.marks(Side::Near), world.marks(Side::Far))
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
    let (near, far) = run(7);
    let order = |marks: &[(u128, u8)]| marks.iter().map(|(_, mark)| *mark).collect::<Vec<_>>();
    assert_ne!(order(&near), order(&far), "the directions have nothing to do with one another");
}
