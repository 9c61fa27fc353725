//! The estimate of what a subscriber's line carries.
//!
//! It is the least of what several parts allow, each in a module of its own: the trend of the delay, the queue's length, the loss, and what
//! arrived. It grows with time while all is well and what is sent comes near it, and by probes.

use std::time::{Duration, Instant};

use crate::acknowledged::Throughput;
use crate::loss::{Loss, Verdict};
use crate::probe::{Cluster, Finding, Probe, Probes};
use crate::queue::Queue;
use crate::sent::{Fate, REMEMBERED, Sent};
use crate::trend::{Trend, Usage};

#[cfg(test)]
mod tests;

/// Bytes that a datagram takes on the line beside its own: an IPv4 and a UDP header.
const OVERHEAD: u16 = 28;
/// Microseconds in a tick of transport-wide feedback.
const TICK: i64 = 250;
/// Arrivals further apart than this, in ticks, tell of a clock that was set: a minute, beyond any consent.
const MAX_JUMP: i64 = 240_000;

/// The windows over which throughput is measured, in microseconds: long for growth, short when the line is full, which makes arrivals even.
const LONG: i64 = 500_000;
const SHORT: i64 = 200_000;
const SHORTEST: i64 = 100_000;

/// After a sign of congestion the rate is at least and at most this part of what arrives, and in between so that the queue empties within [`DRAIN`]
/// milliseconds.
const BACK_OFF: std::ops::RangeInclusive<f64> = 0.8..=0.9;
const DRAIN: f64 = 250.0;
/// Between two cuts, in microseconds, unless a round trip lies between: what the first did has to be seen first.
const BETWEEN_CUTS: std::ops::RangeInclusive<i64> = 100_000..=300_000;
/// Growth in a second, as a part of the rate, where the line's capacity isn't known.
const GROWTH: f64 = 0.08;
/// Around the capacity found last, as a part of it, the rate grows by so many packets in a response time, and by at most this part
/// of it in a second: as much for all who share the line, so that who has less catches up.
const NEAR: f64 = 0.12;
const NEAR_PACKETS: f64 = 3.0;
const NEAR_GROWTH: f64 = 0.35;
/// After so long without congestion, in microseconds, the line carries more than it did.
const NEAR_TIME: i64 = 3_000_000;
/// Packets that make a rate.
const COUNTED: f64 = 5.0;
/// A packet, in bits.
const PACKET: f64 = 9_600.0;
/// What is sent has to be this part of the estimate before the estimate grows by itself: else nothing shows that the line carries it.
const USED: f64 = 0.7;
/// The estimate may be this much more than what arrives, and this many bits.
const AHEAD: (f64, f64) = (1.5, 10_000.0);

/// Between two probes for more, in microseconds.
const PROBE_INTERVAL: i64 = 5_000_000;
/// After a deep cut, sooner: the line may have recovered.
const RECOVERY_INTERVAL: i64 = 2_000_000;
/// After a probe that found nothing, because its packets or the reports of them were lost or late.
const AGAIN_INTERVAL: i64 = 500_000;
/// The first probe is this many times the rate, later ones are [`PROBE_STEP`] times.
const FIRST_PROBE: f64 = 3.0;
const PROBE_STEP: f64 = 2.0;
/// What is taken of a rate at which the line was full.
const UTILIZATION: f64 = 0.9;
/// How long a sign of congestion keeps probes that fill the line from counting, in microseconds: they would take from whoever shares the line.
const WARY: i64 = 5_000_000;

/// Packets missing in a row for so long, in microseconds, were lost with the line, not by sending too much.
const OUTAGE: i64 = 500_000;
/// How long the queue stands, cuts or not, until it is somebody else's, in microseconds.
const STUBBORN: i64 = 3_000_000;
/// A queue that is this part of what it was is emptying.
const EMPTYING: f64 = 0.7;
/// Whether it is somebody else's is doubted so much later, and then at intervals, in microseconds: for so long, beyond a round trip, only this part of
/// the estimate is sent.
const DOUBT_AFTER: i64 = 1_000_000;
const DOUBT_INTERVAL: i64 = 20_000_000;
const DOUBT_FOR: i64 = 600_000;
/// A queue of ours is shorter by so many milliseconds then, or half as long.
const DOUBT_EMPTIES: f64 = 150.0;
/// So many times in a row it has to empty: others back off as well.
const DOUBT_TIMES: u8 = 2;
const DOUBT: f64 = 0.5;
/// Beside who fills the queue each loss costs this part of the rate, as with TCP's cubic growth (RFC 9438 §4.6).
const COMPETING_BACK_OFF: f64 = 0.7;
/// On a slow line a packet waits for the one before it, so many milliseconds at most.
const MOST_PACKET: f64 = 20.0;
/// What leaves at once is this much more than the estimate, unless the queue is longer than this, in milliseconds.
const BURSTS: f64 = 1.5;
const FULL: f64 = 50.0;
/// A queue below this, in milliseconds, is none.
const NO_QUEUE: f64 = 20.0;

/// The bounds of an estimate, in bits a second.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// What is assumed at first.
    pub start: u64,
    /// It never falls below this.
    pub least: u64,
    /// It never grows beyond this.
    pub most: u64,
}

impl Default for Config {
    /// 300 kbit/s, a picture of 180 lines with sound; 30 kbit/s, sound; 100 Mbit/s.
    fn default() -> Self {
        Self { start: 300_000, least: 30_000, most: 100_000_000 }
    }
}

/// What an estimator knows, to be shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Bits in a second.
    pub estimate: u64,
    /// Bits in a second that arrive.
    pub acknowledged: u64,
    /// From sending to feedback, the time between two messages included.
    pub round_trip: Option<Duration>,
    /// How long packets wait on the line.
    pub queue: Duration,
    /// The share of packets lost lately …
    pub loss: f64,
    /// … and what of it is the line's own.
    pub inherent_loss: f64,
    /// Whether somebody else on the line keeps its queue full.
    pub competing: bool,
}

/// What a message of feedback said that was not known before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// Packets that have arrived.
    pub arrived: usize,
    /// Packets that have not, so far.
    pub missing: usize,
}

/// Estimates the bandwidth to one subscriber.
///
/// Each packet that carries a transport-wide sequence number is recorded with [`Estimator::sent`] under the number that [`Estimator::sequence`] had given; the
/// subscriber's feedback goes to [`Estimator::handle_feedback`].
#[derive(Debug)]
pub struct Estimator {
    config: Config,
    start: Instant,
    sent: Sent,
    outgoing: Throughput,
    arriving: Throughput,
    trend: Trend,
    queue: Queue,
    loss: Loss,
    probes: Probes,
    /// Bits in a second.
    rate: f64,
    /// What arrived when the line was last full.
    capacity: Option<f64>,
    /// The latest arrival in ticks, as in the message and unwrapped.
    latest: Option<(i32, i64)>,
    /// Microseconds, smoothed.
    round_trip: Option<i64>,
    updated: i64,
    cut: Option<i64>,
    /// The rate before a cut that is being tried because of loss.
    before_trial: Option<f64>,
    congested: Option<i64>,
    standing: Option<Standing>,
    competing: bool,
    doubt: Doubt,
    wanted: f64,
    probe_at: i64,
    /// Bits in a second to be probed next, one probe after the other while the line carries them.
    ramp: Option<f64>,
    has_feedback: bool,
    settled: bool,
}

impl Estimator {
    /// Of a line of which nothing is known. `now` is when its time begins.
    pub fn new(now: Instant, config: Config) -> Self {
        Self {
            config,
            start: now,
            sent: Sent::default(),
            outgoing: Throughput::default(),
            arriving: Throughput::default(),
            trend: Trend::default(),
            queue: Queue::default(),
            loss: Loss::default(),
            probes: Probes::default(),
            rate: config.start as f64,
            capacity: None,
            latest: None,
            round_trip: None,
            updated: 0,
            cut: None,
            before_trial: None,
            congested: None,
            standing: None,
            competing: false,
            doubt: Doubt::default(),
            wanted: f64::INFINITY,
            probe_at: 0,
            ramp: Some(FIRST_PROBE * config.start as f64),
            has_feedback: false,
            settled: false,
        }
    }

    /// What the line carries, in bits a second, headers of IP and UDP included.
    pub const fn estimate(&self) -> u64 {
        if self.doubt.ends.is_some() { (self.rate * DOUBT) as u64 } else { self.rate as u64 }
    }

    /// What may leave in a moment, in bits a second: more than the estimate, so that a picture that is larger than the mean leaves before the next comes; but while
    /// packets wait on the line no more than it carries, so that the queue empties.
    pub fn pace(&self) -> u64 {
        let bursts = if self.settled && !self.competing && self.queue.delay() > FULL { 1.0 } else { BURSTS };
        (self.estimate() as f64 * bursts) as u64
    }

    /// Whether the estimate means anything yet: the line's first probes are over, or something has shown that it carries no more.
    pub const fn is_settled(&self) -> bool {
        self.settled
    }

    /// Whether the subscriber has said anything of its line.
    pub const fn has_reports(&self) -> bool {
        self.has_feedback || self.settled
    }

    /// The transport-wide sequence number of the next packet.
    pub const fn sequence(&self) -> u16 {
        self.sent.sequence()
    }

    /// A datagram of `size` bytes leaves, under the number that [`Estimator::sequence`] says; it may belong to a probe.
    pub fn sent(&mut self, now: Instant, size: usize, cluster: Option<Cluster>) {
        let at = self.micros(now);
        let size = u16::try_from(size).unwrap_or(u16::MAX).saturating_add(OVERHEAD);
        if let Some(cluster) = cluster {
            self.probes.sent(cluster, size);
        }
        self.outgoing.add(at, size);
        self.sent.record(at, size, cluster);
    }

    /// How many bits a second there is use for. Probes look for no more than that.
    pub fn set_wanted(&mut self, now: Instant, bits: u64) {
        let wanted = bits as f64;
        // Somebody wants to see more: that is found out at once, not at the next turn.
        if wanted > self.wanted * 1.2 && wanted > self.rate {
            self.probe_at = self.probe_at.min(self.micros(now));
        }
        self.wanted = wanted;
    }

    /// The subscriber's own estimate (draft-alvestrand-rmcat-remb-03). It counts where there is no transport-wide feedback.
    pub fn handle_remb(&mut self, bits: u64) {
        if !self.has_feedback {
            self.settled = true;
            self.rate = bits.clamp(self.config.least, self.config.most) as f64;
        }
    }

    /// The path has changed: delays of the old one say nothing of the new.
    pub fn handle_path_change(&mut self, now: Instant) {
        let now = self.micros(now);
        self.forget_delays();
        self.capacity = None;
        self.loss.cut(now, false);
        self.probe_at = now;
    }

    /// Takes a message of transport-wide feedback: sequence numbers, and when each arrived on the receiver's clock, in ticks of 250 µs modulo 2³².
    pub fn handle_feedback(&mut self, now: Instant, statuses: impl IntoIterator<Item = (u16, Option<i64>)>) -> Reported {
        let now = self.micros(now);
        let (mut newest, mut run, mut reported) = (None, Run::default(), Reported::default());
        for (sequence, arrival) in statuses.into_iter().take(REMEMBERED) {
            let Some(packet) = self.sent.get_mut(sequence) else { continue };
            let (before, sent, size, cluster) = (packet.fate, packet.at, packet.size, packet.cluster);
            match arrival {
                None if before == Fate::Unknown => {
                    packet.fate = Fate::Missing;
                    reported.missing += 1;
                    run.add(sent);
                    if let Some(cluster) = cluster {
                        self.probes.missing(cluster);
                    }
                }
                Some(ticks) if before != Fate::Arrived => {
                    packet.fate = Fate::Arrived;
                    reported.arrived += 1;
                    if run.end(&mut self.loss) {
                        self.forget_delays();
                    }
                    let arrived = self.unwrap(ticks) * TICK;
                    self.arriving.add(arrived, size);
                    if before == Fate::Missing {
                        // It was overtaken, or is the same again: its delay is not the line's.
                        self.loss.correct(sent);
                        continue;
                    }
                    self.loss.add(sent, true);
                    self.trend.add(sent, arrived);
                    self.queue.add(sent, arrived);
                    if let Some(cluster) = cluster {
                        self.probes.arrived(cluster, sent, arrived, size);
                    }
                    newest = newest.max(Some(sent));
                }
                _ => {}
            }
        }
        run.end(&mut self.loss);
        let Some(newest) = newest else { return reported };
        let sample = (now - newest).max(0);
        self.round_trip = Some(self.round_trip.map_or(sample, |smooth| (smooth * 7 + sample) / 8));
        self.has_feedback = true;
        self.update(now);
        reported
    }

    /// A probe to be sent now. Ask after each feedback message and some times a second.
    pub fn poll_probe(&mut self, now: Instant) -> Option<Probe> {
        let now = self.micros(now);
        self.end_probe(now);
        if !self.has_feedback || self.probes.is_active() || self.loss.is_trying(now) {
            return None;
        }
        if self.wanted <= self.rate {
            return None;
        }
        let target = match self.ramp.take() {
            Some(target) => target,
            None if now >= self.probe_at && !self.competing => PROBE_STEP * self.rate,
            None => {
                self.settled = true;
                return None;
            }
        };
        self.probe_at = now + PROBE_INTERVAL;
        // A little more than is wanted, so that all of it is known to fit.
        let target = target.min(self.wanted * 1.15).min(self.config.most as f64);
        (target > self.rate).then(|| self.probes.begin(now, target))
    }

    /// What is known of the line.
    pub fn figures(&self) -> Figures {
        let (loss, inherent_loss) = self.loss.ratios();
        Figures {
            estimate: self.estimate(),
            acknowledged: self.arriving.rate(LONG, None).unwrap_or(0.0) as u64,
            round_trip: self.round_trip.map(|micros| Duration::from_micros(micros as u64)),
            queue: Duration::from_micros((self.queue.delay() * 1e3).max(0.0) as u64),
            loss,
            inherent_loss,
            competing: self.competing,
        }
    }

    fn micros(&self, now: Instant) -> i64 {
        now.saturating_duration_since(self.start).as_micros() as i64
    }

    /// Ticks that go on where the 32 bits of the message begin anew, and where the receiver's clock jumps.
    fn unwrap(&mut self, ticks: i64) -> i64 {
        let wrapped = ticks as i32;
        let (latest, unwrapped) = *self.latest.get_or_insert((wrapped, i64::from(wrapped)));
        let ahead = i64::from(wrapped.wrapping_sub(latest));
        if ahead.abs() > MAX_JUMP {
            self.forget_delays();
            self.latest = Some((wrapped, unwrapped));
            return unwrapped;
        }
        if ahead > 0 {
            self.latest = Some((wrapped, unwrapped + ahead));
        }
        unwrapped + ahead
    }

    fn forget_delays(&mut self) {
        self.trend.reset();
        self.queue.reset();
        self.standing = None;
        self.competing = false;
    }

    fn update(&mut self, now: i64) {
        let elapsed = (now - self.updated).clamp(0, 1_000_000) as f64 / 1e6;
        self.updated = now;
        self.end_probe(now);
        self.look_for_competition(now);
        let queued = self.queue.delay() > NO_QUEUE;
        match self.loss.judge(now, self.round_trip.unwrap_or(0), queued) {
            Verdict::Congested(excess) => self.cut_for_loss(now, excess, queued),
            Verdict::Inherent => self.rate = self.before_trial.take().map_or(self.rate, |before| before.max(self.rate)),
            Verdict::Fine => {}
        }
        let usage = self.trend.take_usage();
        let over = usage == Usage::Over && self.queue.is_more_than_noise() || self.queue.is_long();
        if over && !self.competing {
            self.cut_for_delay(now);
        } else if usage == Usage::Normal || self.competing {
            self.grow(now, elapsed);
        }
        self.rate = self.rate.clamp(self.config.least as f64, self.config.most as f64);
    }

    /// Whether somebody else keeps the queue full: then backing off for delay only makes room for them.
    fn look_for_competition(&mut self, now: i64) {
        if !self.queue.is_standing((PACKET / self.rate * 1e3).min(MOST_PACKET)) {
            self.stop_competing();
            return;
        }
        let delay = self.queue.delay();
        let standing = self.standing.get_or_insert(Standing { since: now, cuts: 0, delay });
        if !self.competing && now - standing.since >= STUBBORN && standing.cuts >= 3 {
            if delay < EMPTYING * standing.delay {
                *standing = Standing { since: now, cuts: 0, delay };
            } else {
                self.competing = true;
                self.doubt = Doubt { due: now + DOUBT_AFTER, ..Doubt::default() };
            }
        }
        self.queue.keep_base(self.competing);
        if self.competing && self.doubt.look(now, self.queue.delay(), self.round_trip.unwrap_or(0)) {
            self.stop_competing();
        }
    }

    fn stop_competing(&mut self) {
        self.standing = None;
        self.competing = false;
        self.doubt = Doubt::default();
        self.queue.keep_base(false);
    }

    fn may_cut(&self, now: i64) -> bool {
        let apart = self.round_trip.unwrap_or(0).clamp(*BETWEEN_CUTS.start(), *BETWEEN_CUTS.end());
        self.cut.is_none_or(|cut| now - cut >= apart)
    }

    /// Whether what is sent shows what the line carries.
    fn is_used(&self, now: i64) -> bool {
        self.outgoing.rate(LONG, Some(now)).is_some_and(|rate| rate >= USED * self.rate)
    }

    fn cut_for_delay(&mut self, now: i64) {
        // A long queue keeps the line busy: the shortest window tells its rate. A short one may come of a burst after a lull.
        let arriving = if self.queue.is_long() {
            // Some packets have to have come in it.
            let some = (COUNTED * PACKET / self.rate * 1e6) as i64;
            self.arriving.rate(some.clamp(SHORTEST, LONG), None)
        } else {
            self.arriving.rate(SHORT, None).into_iter().chain(self.arriving.rate(LONG, None)).reduce(f64::max)
        };
        let Some(arriving) = arriving else { return };
        if !(self.may_cut(now) || arriving < 0.5 * self.rate) {
            return;
        }
        self.congested = Some(now);
        self.ramp = None;
        if let Some(Standing { since, cuts, delay }) = &mut self.standing {
            // What stood before the first of them says nothing of what they do.
            if *cuts == 0 {
                (*since, *delay) = (now, self.queue.delay());
            }
            *cuts += 1;
        }
        let back_off = (1.0 - self.queue.delay() / DRAIN).clamp(*BACK_OFF.start(), *BACK_OFF.end());
        let mut rate = back_off * arriving;
        if self.is_used(now) {
            let before = self.capacity.filter(|capacity| (arriving - capacity).abs() <= NEAR * capacity);
            self.capacity = Some(before.map_or(arriving, |capacity| 0.8 * capacity + 0.2 * arriving));
        } else if self.queue.delay() < 2.0 * NO_QUEUE {
            // Little was sent: what arrived is not what the line carries.
            rate = rate.max(back_off * self.rate);
        }
        self.lower(now, rate);
    }

    fn cut_for_loss(&mut self, now: i64, excess: f64, queued: bool) {
        self.congested = Some(now);
        if self.competing {
            return self.lower(now, COMPETING_BACK_OFF * self.rate);
        }
        let before = self.rate;
        let delivered = self.arriving.rate(LONG, None).unwrap_or(self.rate);
        let rate = self.rate * (1.0 - 0.5 * excess);
        let rate = if queued { rate } else { rate.min(0.95 * delivered) };
        self.lower(now, rate);
        self.loss.cut(now, !queued);
        self.before_trial = (!queued).then_some(before);
    }

    fn lower(&mut self, now: i64, rate: f64) {
        self.settled = true;
        if rate >= self.rate {
            return;
        }
        if rate < 0.66 * self.rate {
            self.probe_at = self.probe_at.min(now + RECOVERY_INTERVAL);
        }
        self.rate = rate;
        self.cut = Some(now);
        self.before_trial = None;
        self.loss.cut(now, false);
    }

    fn grow(&mut self, now: i64, elapsed: f64) {
        let Some(arriving) = self.arriving.rate(LONG, None) else { return };
        if !self.is_used(now) || self.loss.is_trying(now) {
            return;
        }
        if self.capacity.is_some_and(|capacity| arriving > (1.0 + NEAR) * capacity) {
            self.capacity = None;
        }
        let is_near = self.capacity.is_some_and(|capacity| arriving >= (1.0 - NEAR) * capacity)
            && self.congested.is_some_and(|congested| now - congested < NEAR_TIME);
        let trip = self.round_trip.unwrap_or(0) as f64 / 1e6;
        let more = if self.competing {
            // As TCP: a packet in each round trip; also where long queues make those long.
            let trip = trip.clamp(0.1, 0.3);
            PACKET / (trip * trip)
        } else {
            let near = (NEAR_PACKETS * PACKET / (trip + 0.1)).min(NEAR_GROWTH * self.rate);
            if is_near { near } else { near.max(GROWTH * self.rate) }
        };
        let most = self.rate.max(AHEAD.0 * arriving + AHEAD.1);
        self.rate = (self.rate + more * elapsed).min(most);
    }

    fn end_probe(&mut self, now: i64) {
        let Some(finding) = self.probes.poll(now, self.round_trip.unwrap_or(0)) else { return };
        match finding {
            Finding::Carried(rate) => {
                self.rate = self.rate.max(rate);
                self.ramp = Some(PROBE_STEP * rate);
            }
            Finding::Full(rate) => {
                let wary = self.congested.is_some_and(|congested| now - congested < WARY);
                if !wary && !self.competing {
                    self.rate = self.rate.max(UTILIZATION * rate);
                }
            }
            Finding::Nothing if self.settled => self.probe_at = self.probe_at.min(now + AGAIN_INTERVAL),
            Finding::Nothing => self.ramp = Some(FIRST_PROBE * self.config.start as f64),
        }
    }
}

/// A queue that does not empty.
#[derive(Clone, Copy, Debug)]
struct Standing {
    /// Since when, although the rate was cut.
    since: i64,
    /// How often it was.
    cuts: u32,
    /// How long the queue was then, in milliseconds.
    delay: f64,
}

/// Whether the queue is somebody else's after all: now and then much less is sent for a moment, and if the queue empties it was ours.
#[derive(Clone, Copy, Debug, Default)]
struct Doubt {
    due: i64,
    /// Until when less is sent.
    ends: Option<i64>,
    /// The queue before, and its least since, in milliseconds.
    before: f64,
    least: f64,
    /// How often it has emptied in a row.
    times: u8,
}

impl Doubt {
    /// Whether it has turned out to be ours.
    fn look(&mut self, now: i64, queue: f64, round_trip: i64) -> bool {
        match self.ends {
            None if now >= self.due => {
                *self = Self { due: 0, times: self.times, ends: Some(now + round_trip + DOUBT_FOR), before: queue, least: queue };
                false
            }
            None => false,
            Some(ends) => {
                self.least = self.least.min(queue);
                let emptied = self.least < (0.5 * self.before).max(self.before - DOUBT_EMPTIES);
                if emptied || now >= ends {
                    let (due, times) = if emptied { (now + DOUBT_AFTER, self.times + 1) } else { (now + DOUBT_INTERVAL, 0) };
                    *self = Self { due, times, ..Self::default() };
                }
                self.times >= DOUBT_TIMES
            }
        }
    }
}

/// Packets missing in a row.
#[derive(Debug, Default)]
struct Run {
    packets: u32,
    first: i64,
    last: i64,
}

impl Run {
    fn add(&mut self, sent: i64) {
        if self.packets == 0 {
            self.first = sent;
        }
        self.packets += 1;
        self.last = sent;
    }

    /// Ends the run; whether it was an outage, which says nothing of congestion.
    fn end(&mut self, loss: &mut Loss) -> bool {
        let Self { packets, first, last } = std::mem::take(self);
        if last - first >= OUTAGE {
            return true;
        }
        for _ in 0..packets {
            loss.add(first, false);
        }
        false
    }
}
