//! Spreads what is sent over time, so that it does not queue up on the line.
//!
//! A pacer is an imagined line of the paced rate: what is sent occupies it for a while. While it is occupied beyond a quantum what comes next waits here, in a bounded
//! queue; when it is free a quantum's worth leaves at once, so that packets leave in runs.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::probe::{Cluster, Probe};

/// What leaves at once: packets of up to this time at the paced rate. Longer bursts would show as delay on the line, shorter ones cost a system call each.
const QUANTUM: Duration = Duration::from_millis(5);
/// The same where the line has room for more than is sent: a mean picture and a half, of 30 in a second, so that most pictures leave at once, as they came.
const ROOMY: Duration = Duration::from_millis(30);
/// What waits at most, of each class: a key picture of 600 kB. Whoever holds the packets themselves keeps no more than twice as many.
const MAX_WAITING: usize = 512;
/// Bytes in a packet of padding at least: smaller ones measure the line's packets, not its bits.
const LEAST_PADDING: usize = 200;
/// Bytes that a datagram takes on the line beside its own: an IPv4 and a UDP header.
const OVERHEAD: usize = 28;

/// What goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Never waits; what it takes is taken from the others.
    Audio,
    /// What a receiver waits for.
    Retransmission,
    /// The rest.
    Video,
}

/// Too much waits: the packet can't be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What is to be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release<T> {
    /// What was pushed.
    Packet(T),
    /// A packet that means nothing, of about so many bytes, because a probe needs more than there is to send.
    Padding(usize),
}

/// Paces what goes to one subscriber, tokens of type `T`.
#[derive(Debug)]
pub struct Pacer<T> {
    /// Bits in a second.
    rate: f64,
    waiting: [VecDeque<(T, usize)>; 2],
    /// Until when the imagined line is occupied by what was sent.
    busy_until: Instant,
    /// Whether a quantum is being sent.
    open: bool,
    quantum: Duration,
    probe: Option<Probing>,
}

#[derive(Clone, Copy, Debug)]
struct Probing {
    probe: Probe,
    bytes: usize,
    packets: u32,
}

impl<T> Pacer<T> {
    /// With nothing to send, at a rate in bits a second.
    pub fn new(now: Instant, rate: u64) -> Self {
        let mut pacer =
            Self { rate: 0.0, waiting: [VecDeque::new(), VecDeque::new()], busy_until: now, open: true, quantum: QUANTUM, probe: None };
        pacer.set_rate(rate);
        pacer
    }

    /// What leaves, in bits a second: [`Estimator::pace`](crate::Estimator::pace).
    pub fn set_rate(&mut self, rate: u64) {
        self.rate = (rate as f64).max(1_000.0);
    }

    /// Whether the line has room for more than everything that is to be sent.
    pub fn set_room(&mut self, has_room: bool) {
        self.quantum = if has_room { ROOMY } else { QUANTUM };
    }

    /// Sends a probe, of what waits and of padding, from now on.
    pub fn begin_probe(&mut self, now: Instant, probe: Probe) {
        self.probe = Some(Probing { probe, bytes: 0, packets: 0 });
        // It doesn't wait for what was sent before: its own spacing counts.
        (self.busy_until, self.open) = (now, true);
    }

    /// Gives a probe up: there is nothing to send it with.
    pub fn end_probe(&mut self) {
        self.probe = None;
    }

    /// Whether a packet may be sent at once, past the queue. Whoever does so says it with [`Pacer::sent`].
    pub fn is_open(&mut self, now: Instant, class: Class) -> bool {
        class == Class::Audio || (self.waiting.iter().all(VecDeque::is_empty) && self.may_send(now))
    }

    /// The probe that whatever is sent now belongs to; to be asked before [`Pacer::sent`].
    pub fn cluster(&self) -> Option<Cluster> {
        self.probe.map(|probing| probing.probe.cluster)
    }

    /// A datagram of `size` bytes was sent.
    pub fn sent(&mut self, now: Instant, size: usize) {
        let bytes = size + OVERHEAD;
        let rate = self.probe.map_or(self.rate, |probing| probing.probe.rate as f64);
        if let Some(probing) = &mut self.probe {
            (probing.bytes, probing.packets) = (probing.bytes + bytes, probing.packets + 1);
            if probing.bytes >= probing.probe.bytes as usize && probing.packets >= Probe::PACKETS {
                self.probe = None;
            }
        }
        self.busy_until = self.busy_until.max(now) + Duration::from_nanos((bytes as f64 * 8e9 / rate) as u64);
        // What measures the line by its own spacing keeps to it.
        let quantum = if self.probe.is_some() { QUANTUM } else { self.quantum };
        self.open &= self.busy_until < now + quantum;
    }

    /// Has a packet of about `size` bytes wait for its turn.
    pub fn push(&mut self, class: Class, size: usize, token: T) -> Result<(), Full> {
        let queue = &mut self.waiting[usize::from(class == Class::Video)];
        if queue.len() == MAX_WAITING {
            return Err(Full);
        }
        queue.push_back((token, size));
        Ok(())
    }

    /// The next to be sent, if it is time; to be followed by [`Pacer::sent`], if it was.
    pub fn poll(&mut self, now: Instant) -> Option<Release<T>> {
        if !self.may_send(now) {
            return None;
        }
        if let Some((token, _)) = self.waiting.iter_mut().find_map(VecDeque::pop_front) {
            return Some(Release::Packet(token));
        }
        let Probing { probe, bytes, packets } = self.probe?;
        let left = (probe.bytes as usize).saturating_sub(bytes) / Probe::PACKETS.saturating_sub(packets).max(1) as usize;
        Some(Release::Padding(left.saturating_sub(OVERHEAD).max(LEAST_PADDING)))
    }

    /// Opens for another quantum when the last one is through.
    fn may_send(&mut self, now: Instant) -> bool {
        self.open |= self.busy_until <= now;
        self.open
    }

    /// When [`Pacer::poll`] has something, unless more is pushed.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let has_more = self.probe.is_some() || self.waiting.iter().any(|queue| !queue.is_empty());
        has_more.then_some(self.busy_until)
    }

    /// Packets that wait, and how long it takes to send them.
    pub fn waiting(&self) -> (usize, Duration) {
        let bytes: usize = self.waiting.iter().flatten().map(|(_, size)| size + OVERHEAD).sum();
        (self.waiting.iter().map(VecDeque::len).sum(), Duration::from_secs_f64(bytes as f64 * 8.0 / self.rate))
    }

    /// How long a retransmission would wait that is pushed now, if all are of about the same size.
    pub fn next_again(&self) -> Duration {
        let [again, _] = &self.waiting;
        let bytes = again.front().map_or(0, |(_, size)| again.len() * (size + OVERHEAD));
        Duration::from_secs_f64(bytes as f64 * 8.0 / self.rate)
    }

    /// Forgets what waits, but for what `keep` says.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        for queue in &mut self.waiting {
            queue.retain(|(token, _)| keep(token));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// When each of what waits leaves, in milliseconds.
    fn drain(pacer: &mut Pacer<u32>, start: Instant, size: usize) -> Vec<(u64, Release<u32>)> {
        let (mut now, mut released) = (start, Vec::new());
        while let Some(at) = pacer.poll_timeout() {
            now = now.max(at);
            let before = released.len();
            while let Some(release) = pacer.poll(now) {
                pacer.sent(now, size);
                released.push(((now - start).as_millis() as u64, release));
            }
            assert!(released.len() > before, "nothing leaves at its time");
        }
        released
    }

    #[test]
    fn what_waits_leaves_in_quanta_at_one_and_a_half_times_the_estimate() {
        let start = Instant::now();
        // 1,200 bytes with headers take 2 ms.
        let mut pacer = Pacer::new(start, 4_800_000);
        assert!(pacer.is_open(start, Class::Video));
        for token in 0..100 {
            pacer.push(Class::Video, 1_172, token).unwrap();
        }
        assert!(!pacer.is_open(start, Class::Video), "it would overtake");
        let released = drain(&mut pacer, start, 1_172);
        let expected: Vec<_> = (0..100).map(|token| (u64::from(token / 3 * 6), Release::Packet(token))).collect();
        assert_eq!(released, expected);
    }

    #[test]
    fn where_there_is_room_a_picture_leaves_as_it_came_unless_it_measures_the_line() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start, 4_800_000);
        pacer.set_room(true);
        for token in 0..30 {
            pacer.push(Class::Video, 1_172, token).unwrap();
        }
        let released = drain(&mut pacer, start, 1_172);
        let expected: Vec<_> = (0..30).map(|token| (u64::from(token / 15 * 30), Release::Packet(token))).collect();
        assert_eq!(released, expected, "as fast as before, in fewer quanta");
        for token in 0..15 {
            pacer.push(Class::Video, 972, token).unwrap();
        }
        pacer.begin_probe(start, crate::probe::Probes::default().begin(0, 4_000_000.0));
        let probe: Vec<u64> = drain(&mut pacer, start, 972)[..10].iter().map(|(at, _)| *at).collect();
        assert_eq!(probe, [0, 0, 0, 6, 6, 6, 12, 12, 12, 18]);
        pacer.set_room(false);
        for token in 0..4 {
            pacer.push(Class::Video, 1_172, token).unwrap();
        }
        let before = start + Duration::from_secs(1);
        let released: Vec<u64> = drain(&mut pacer, before, 1_172).iter().map(|(at, _)| *at).collect();
        assert_eq!(released, [0, 0, 0, 6]);
    }

    #[test]
    fn audio_never_waits_and_retransmissions_go_before_the_rest() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start, 150_000);
        for token in 0..3 {
            pacer.push(Class::Video, 1_000, token).unwrap();
        }
        pacer.push(Class::Retransmission, 1_000, 9).unwrap();
        for _ in 0..50 {
            assert!(pacer.is_open(start, Class::Audio));
            pacer.sent(start, 100);
        }
        let order: Vec<_> = drain(&mut pacer, start, 1_000).into_iter().map(|(at, release)| (at > 0, release)).collect();
        assert_eq!(order, [9, 0, 1, 2].map(|token| (true, Release::Packet(token))), "all after the audio is through");
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut pacer = Pacer::new(Instant::now(), 150_000);
        let taken = (0..10_000).filter(|&token| pacer.push(Class::Video, 1, token).is_ok()).count();
        assert_eq!(taken, MAX_WAITING);
        pacer.retain(|&token| token >= 500);
        assert_eq!(pacer.waiting().0, 12);
    }

    #[test]
    fn a_probe_is_sent_at_its_rate_with_padding_where_there_is_nothing_else() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start, 150_000);
        pacer.push(Class::Video, 1_000, 1).unwrap();
        let probe = crate::probe::Probes::default().begin(0, 4_000_000.0);
        pacer.begin_probe(start, probe);
        assert_eq!(pacer.cluster(), Some(probe.cluster));
        let released = drain(&mut pacer, start, 972);
        assert_eq!(released[0], (0, Release::Packet(1)));
        assert!(matches!(released[1], (0, Release::Padding(2_222))));
        let times: Vec<u64> = released.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [0, 0, 0, 6, 6, 6, 12, 12, 12, 18], "10,000 bytes, 2 ms each 1,000");
        pacer.sent(start + 20 * MS, 972);
        assert!(!pacer.is_open(start + 40 * MS, Class::Video), "after the probe its rate is the old one");
        assert!(pacer.is_open(start + 75 * MS, Class::Video));
    }
}
