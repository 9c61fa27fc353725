//! A TCP connection that downloads, with CUBIC (RFC 9438): who shares the line with a call.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::network::{Flow, Message, Outbox, Packet};

/// Bytes in a segment, headers included up to IP's.
const SEGMENT: usize = 1_460;
/// RFC 9438 §4.1, §4.6.
const C: f64 = 0.4;
const BETA: f64 = 0.7;
/// A segment is lost when one sent so many later has arrived.
const REORDERING: u64 = 3;
/// The shortest time after which everything outstanding is taken for lost (RFC 6298 has a second; Linux this).
const TIMEOUT: Duration = Duration::from_millis(200);

/// Sends as fast as CUBIC lets it.
#[derive(Debug)]
pub struct Cubic {
    begin: Instant,
    window: f64,
    threshold: f64,
    /// The window before the last loss, and the time since then at which it is reached again, in seconds.
    most: f64,
    reached: f64,
    epoch: Option<Instant>,
    /// What Reno would have (RFC 9438 §4.3).
    reno: f64,
    next: u64,
    /// Losses of what was sent before this don't count again.
    recovery: u64,
    outstanding: BTreeMap<u64, Instant>,
    round_trip: Option<f64>,
    heard: Instant,
    end: Option<Instant>,
}

impl Cubic {
    /// Begins to send `begin` after `start`.
    pub fn new(start: Instant, begin: Duration) -> Self {
        Self {
            begin: start + begin,
            window: 10.0,
            threshold: f64::INFINITY,
            most: 0.0,
            reached: 0.0,
            epoch: None,
            reno: 0.0,
            next: 0,
            recovery: 0,
            outstanding: BTreeMap::new(),
            round_trip: None,
            heard: start + begin,
            end: None,
        }
    }

    /// Ends `end` after the start.
    pub fn until(self, start: Instant, end: Duration) -> Self {
        Self { end: Some(start + end), ..self }
    }

    fn timeout(&self) -> Duration {
        TIMEOUT.max(Duration::from_secs_f64(2.0 * self.round_trip.unwrap_or(0.5)))
    }

    fn fill(&mut self, now: Instant, out: &mut Outbox) {
        while self.end.is_none_or(|end| now < end) && (self.outstanding.len() as f64) < self.window.floor() {
            self.outstanding.insert(self.next, now);
            out.packet(SEGMENT, Packet { sequence: self.next, media: None });
            self.next += 1;
        }
    }

    fn grow(&mut self, now: Instant) {
        if self.window < self.threshold {
            self.window += 1.0;
            return;
        }
        let trip = self.round_trip.unwrap_or(0.1);
        let begun = *self.epoch.get_or_insert(now);
        let at = (now - begun).as_secs_f64() + trip - self.reached;
        let target = (C * at * at * at + self.most).clamp(self.window, 1.5 * self.window);
        self.reno += 3.0 * (1.0 - BETA) / (1.0 + BETA) / self.window;
        self.window = (self.window + (target - self.window) / self.window).max(self.reno);
    }

    fn lose(&mut self) {
        self.most = if self.window < self.most { self.window * (1.0 + BETA) / 2.0 } else { self.window };
        self.window = (self.window * BETA).max(2.0);
        self.threshold = self.window;
        self.reno = self.window;
        self.reached = cube_root(self.most * (1.0 - BETA) / C);
        self.epoch = None;
        self.recovery = self.next;
    }
}

/// By Newton's method: the usual functions differ between platforms.
fn cube_root(value: f64) -> f64 {
    let mut root = value.max(1.0);
    for _ in 0..100 {
        root = (2.0 * root + value / (root * root)) / 3.0;
    }
    root
}

impl Flow for Cubic {
    fn poll_timeout(&self) -> Option<Instant> {
        let at = if self.next == 0 { self.begin } else { self.heard + self.timeout() };
        Some(at).filter(|at| self.end.is_none_or(|end| *at < end))
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        if self.next > 0 {
            self.outstanding.clear();
            self.lose();
            self.window = 2.0;
        }
        self.heard = now;
        self.fill(now, out);
    }

    fn handle_packet(&mut self, _: Instant, packet: Packet, out: &mut Outbox) {
        out.message(Message::Ack(packet.sequence));
    }

    fn handle_message(&mut self, now: Instant, message: Message, out: &mut Outbox) {
        let Message::Ack(sequence) = message else { return };
        self.heard = now;
        let Some(sent) = self.outstanding.remove(&sequence) else { return };
        let sample = (now - sent).as_secs_f64();
        self.round_trip = Some(self.round_trip.map_or(sample, |smooth| 0.875 * smooth + 0.125 * sample));
        let kept = self.outstanding.split_off(&sequence.saturating_sub(REORDERING));
        let lost = std::mem::replace(&mut self.outstanding, kept);
        if lost.last_key_value().is_some_and(|(&last, _)| last >= self.recovery) {
            self.lose();
        } else if sequence >= self.recovery {
            self.grow(now);
        }
        self.fill(now, out);
    }

    fn estimate(&self) -> u64 {
        (self.window * SEGMENT as f64 * 8.0 / self.round_trip.unwrap_or(0.1)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Network;

    #[test]
    fn a_cube_root_is_one() {
        for value in [0.001, 1.0, 8.0, 27.0, 1e6] {
            let root = cube_root(value);
            assert!((root * root * root / value - 1.0).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn two_downloads_fill_the_line_and_share_it() {
        let config = "delay=25ms,rate=5Mbit/s".parse().unwrap();
        let start = Instant::now();
        let mut network = Network::new(start, &config, 1).unwrap();
        network.add(Cubic::new(start, Duration::ZERO));
        network.add(Cubic::new(start, Duration::from_secs(10)));
        network.run_until(Duration::from_secs(130));
        let (first, second) = (network.trace(0).rate(30.0, 130.0), network.trace(1).rate(30.0, 130.0));
        assert!(first + second > 4_700_000.0, "{first} + {second}");
        assert!((0.5..2.0).contains(&(first / second)), "{first} beside {second}");
    }
}
