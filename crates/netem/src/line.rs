//! The line itself.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::{Config, ConfigError, Queue};
use crate::counters::{Counters, Drop};
use crate::impairment::{Jitter, Loss};
use crate::random::Random;
use crate::schedule::{Holes, RateSchedule};
use crate::units::{Ratio, nanoseconds};

#[cfg(test)]
mod tests;

/// One direction of a line, on which tokens of type `T` travel.
///
/// [`push`](Self::push) decides at once what becomes of a packet and when; [`poll`](Self::poll) hands out what is due. The line owns the packets in
/// between, at most [`Config::limit`] of them. Time that goes back counts as no time passed.
#[derive(Debug)]
pub struct Line<T> {
    start: Instant,
    /// The latest time it was told, in nanoseconds since the start, as all times here.
    now: u64,
    limit: usize,
    delay: u64,
    jitter: Jitter,
    loss: Loss,
    duplicate: (Ratio, Random),
    reorder: (Ratio, Random),
    reorder_by: u64,
    holes: Holes,
    bottleneck: Bottleneck,
    /// When the latest packet comes out that is not held back.
    latest_due: u64,
    next_number: u64,
    /// One more than the highest number that has come out.
    passed: u64,
    /// On the way, by the time they are due. Both queues are in order by themselves: what is held back is held back by the same time.
    travelling: VecDeque<Entry<T>>,
    held_back: VecDeque<Entry<T>>,
    counters: Counters,
}

#[derive(Debug)]
struct Entry<T> {
    due: u64,
    number: u64,
    packet: T,
}

/// What became of a packet on entering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It will come out.
    Carried,
    /// It will come out twice.
    Duplicated,
    /// It won't come out.
    Dropped(Drop),
}

impl<T> Line<T> {
    /// A line that begins at `start`, from which its schedules count.
    pub fn new(config: &Config, seed: u64, start: Instant) -> Result<Self, ConfigError> {
        config.check()?;
        // A stream for each purpose, so that turning one impairment on leaves the others as they were.
        let random = |stream| Random::new(seed, stream);
        Ok(Self {
            start,
            now: 0,
            limit: config.limit as usize,
            delay: nanoseconds(config.delay),
            jitter: Jitter::new(config.jitter, config.coherence, random(0)),
            loss: Loss::new(config, random(1)),
            duplicate: (config.duplicate, random(2)),
            reorder: (config.reorder, random(3)),
            reorder_by: nanoseconds(config.reorder_by),
            holes: Holes::new(&config.black_holes, config.repeat),
            bottleneck: Bottleneck::new(config),
            latest_due: 0,
            next_number: 0,
            passed: 0,
            travelling: VecDeque::new(),
            held_back: VecDeque::new(),
            counters: Counters::default(),
        })
    }

    /// Sends `packet`, which stands for `len` bytes.
    pub fn push(&mut self, now: Instant, len: usize, packet: T) -> Verdict
    where
        T: Clone,
    {
        self.now = self.now.max(self.since_start(now));
        self.counters.pushed += 1;
        let verdict = self.carry(len, packet);
        match verdict {
            Verdict::Carried => {}
            Verdict::Duplicated => self.counters.duplicated += 1,
            Verdict::Dropped(reason) => self.counters.count(reason),
        }
        verdict
    }

    fn carry(&mut self, len: usize, packet: T) -> Verdict
    where
        T: Clone,
    {
        if self.holes.is_open(self.now) {
            return Verdict::Dropped(Drop::BlackHole);
        }
        let room = self.limit.saturating_sub(self.len());
        if room == 0 {
            return Verdict::Dropped(Drop::LineFull);
        }
        let Some(left) = self.bottleneck.send(self.now, len, self.limit) else {
            return Verdict::Dropped(Drop::QueueFull);
        };
        if let Some(reason) = self.loss.next() {
            return Verdict::Dropped(reason);
        }
        let delay = self.delay.saturating_add_signed(self.jitter.at(left));
        self.latest_due = self.latest_due.max(left.saturating_add(delay));
        let (mut due, mut queue) = (self.latest_due, &mut self.travelling);
        if self.reorder.0 != Ratio::ZERO && self.reorder.1.chance(self.reorder.0) {
            (due, queue) = (due.saturating_add(self.reorder_by), &mut self.held_back);
        }
        let number = self.next_number;
        self.next_number += 1;
        let twice = self.duplicate.0 != Ratio::ZERO && self.duplicate.1.chance(self.duplicate.0) && room > 1;
        if twice {
            queue.push_back(Entry { due, number, packet: packet.clone() });
        }
        queue.push_back(Entry { due, number, packet });
        if twice { Verdict::Duplicated } else { Verdict::Carried }
    }

    /// The next packet that has come out by `now`, in the order of coming out.
    pub fn poll(&mut self, now: Instant) -> Option<T> {
        self.now = self.now.max(self.since_start(now));
        let held_back = self.held_back_is_next();
        let queue = if held_back { &mut self.held_back } else { &mut self.travelling };
        let entry = queue.pop_front_if(|entry| entry.due <= self.now)?;
        self.counters.delivered += 1;
        self.counters.reordered += u64::from(entry.number + 1 < self.passed);
        self.passed = self.passed.max(entry.number + 1);
        Some(entry.packet)
    }

    /// When [`poll`](Self::poll) has something, unless more is pushed; nothing if the line is empty.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let queue = if self.held_back_is_next() { &self.held_back } else { &self.travelling };
        queue.front().map(|entry| self.start + Duration::from_nanos(entry.due))
    }

    fn held_back_is_next(&self) -> bool {
        match (self.travelling.front(), self.held_back.front()) {
            (Some(travelling), Some(held_back)) => (held_back.due, held_back.number) < (travelling.due, travelling.number),
            (travelling, _) => travelling.is_none(),
        }
    }

    /// Packets that will come out and have not yet.
    pub fn len(&self) -> usize {
        self.travelling.len() + self.held_back.len()
    }

    /// Whether nothing is on the way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How long a packet pushed at `now` would wait before its own transmission begins.
    pub fn queue_delay(&self, now: Instant) -> Duration {
        Duration::from_nanos(self.bottleneck.busy_until.saturating_sub(self.now.max(self.since_start(now))))
    }

    /// What has become of the packets so far.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    fn since_start(&self, now: Instant) -> u64 {
        nanoseconds(now.saturating_duration_since(self.start))
    }
}

/// The queue and the transmitter. Nothing waits here in fact: when a packet leaves is known when it enters, since nothing overtakes it.
#[derive(Debug)]
struct Bottleneck {
    rate: RateSchedule,
    unlimited: bool,
    queue: Queue,
    overhead: u64,
    busy_until: u64,
    /// What has not left, with the time when it has; at most [`Config::limit`] of them.
    waiting: VecDeque<(u64, u64)>,
    waiting_bytes: u64,
}

impl Bottleneck {
    fn new(config: &Config) -> Self {
        let rate = RateSchedule::new(config);
        Self {
            unlimited: rate.is_unlimited(),
            rate,
            queue: config.queue,
            overhead: u64::from(config.overhead),
            busy_until: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        }
    }

    /// When a packet has left that enters now; nothing if it finds the queue full.
    fn send(&mut self, now: u64, len: usize, limit: usize) -> Option<u64> {
        if self.unlimited {
            return Some(now);
        }
        while let Some((_, bytes)) = self.waiting.pop_front_if(|(left, _)| *left <= now) {
            self.waiting_bytes -= bytes;
        }
        let bytes = len as u64 + self.overhead;
        let fits = match self.queue {
            Queue::Bytes(most) => self.waiting_bytes + bytes <= most,
            Queue::Time(most) => self.busy_until.saturating_sub(now) <= nanoseconds(most),
        };
        if !(self.waiting.is_empty() || fits && self.waiting.len() < limit) {
            return None;
        }
        self.busy_until = self.rate.finish(self.busy_until.max(now), bytes.saturating_mul(8));
        self.waiting.push_back((self.busy_until, bytes));
        self.waiting_bytes += bytes;
        Some(self.busy_until)
    }
}
