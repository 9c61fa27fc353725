//! Transport-wide feedback to a publisher: when its packets arrived (draft-holmer-rmcat-transport-wide-cc-extensions-01).

use std::time::{Duration, Instant};

use switchyard_rtp::rtcp::{RtcpWriter, TICKS_PER_SECOND};
use switchyard_rtp::sequence;

/// Between two messages; what libwebrtc uses as its shortest interval.
pub(crate) const INTERVAL: Duration = Duration::from_millis(50);
/// Sequence numbers in one message: 50 ms of 80 Mbit/s. A jump beyond begins anew.
const MAX_PACKETS: usize = 512;
/// After nothing has arrived for so long the line was away, and what was sent meanwhile is not reported as lost: publishers would take it for congestion, and
/// send the keyframe that everybody waits for at a fraction of what the line carries.
const OUTAGE: Duration = Duration::from_millis(500);

/// The arrivals that were not reported yet.
#[derive(Debug)]
pub(crate) struct Arrivals {
    /// The sequence number of the first place in `times`.
    base: Option<u64>,
    /// By sequence number, in ticks of 250 µs.
    times: Vec<Option<i64>>,
    /// When the latest came, in the same ticks.
    latest: i64,
    messages: u8,
    media_ssrc: u32,
    reported: Option<Instant>,
}

impl Arrivals {
    pub(crate) fn new() -> Self {
        Self { base: None, times: Vec::new(), latest: 0, messages: 0, media_ssrc: 0, reported: None }
    }

    /// A packet has arrived, `since_epoch` after any fixed moment.
    pub(crate) fn record(&mut self, sequence: u16, media_ssrc: u32, since_epoch: Duration) {
        let ticks = (since_epoch.as_micros() as i64) * TICKS_PER_SECOND / 1_000_000;
        self.media_ssrc = media_ssrc;
        // Above 2^16, so that a packet that overtook the first one isn't before everything.
        let base = *self.base.get_or_insert(u64::from(sequence) | 1 << 16);
        let reference = base + (self.times.len() as u64).saturating_sub(1);
        let Some(index) = sequence::nearest(reference, sequence).filter(|&index| index >= base) else { return };
        let place = (index - base) as usize;
        let away = ticks - std::mem::replace(&mut self.latest, ticks) >= OUTAGE.as_millis() as i64 * TICKS_PER_SECOND / 1_000;
        if place >= MAX_PACKETS || (away && !self.is_pending()) {
            self.base = Some(index);
            self.times.clear();
            self.times.push(Some(ticks));
            return;
        }
        if self.times.capacity() == 0 {
            self.times.reserve(MAX_PACKETS);
        }
        if place >= self.times.len() {
            self.times.resize(place + 1, None);
        }
        self.times[place] = Some(ticks);
    }

    /// Whether there is anything to report.
    pub(crate) fn is_pending(&self) -> bool {
        !self.times.is_empty()
    }

    /// Whether it is time to.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.is_pending() && self.reported.is_none_or(|reported| now.saturating_duration_since(reported) >= INTERVAL)
    }

    /// Writes one message; what doesn't fit stays.
    pub(crate) fn report(&mut self, now: Instant, sender: u32, writer: &mut RtcpWriter<'_>) {
        let Some(base) = self.base else { return };
        match writer.transport_feedback(sender, self.media_ssrc, base as u16, self.messages, &self.times) {
            Ok(count) => {
                self.messages = self.messages.wrapping_add(1);
                self.times.drain(..count.min(self.times.len()));
                self.base = Some(base + count as u64);
            }
            Err(_) => self.times.clear(),
        }
        self.reported = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_rtp::rtcp::{Packet, Packets};

    #[test]
    fn what_was_lost_while_the_line_was_away_is_not_reported() {
        let reported = |pause: u64| {
            let mut arrivals = Arrivals::new();
            let mut buffer = [0; 1_000];
            arrivals.record(10, 9, Duration::from_secs(5));
            arrivals.report(Instant::now(), 1, &mut RtcpWriter::new(&mut buffer));
            arrivals.record(20, 9, Duration::from_millis(5_000 + pause));
            let mut writer = RtcpWriter::new(&mut buffer);
            arrivals.report(Instant::now(), 1, &mut writer);
            let len = writer.len();
            let Some(Ok(Packet::TransportFeedback(feedback))) = Packets::parse(&buffer[..len]).next() else { panic!("no feedback") };
            (feedback.base_sequence, feedback.status_count)
        };
        assert_eq!(reported(400), (11, 10));
        assert_eq!(reported(600), (20, 1));
    }

    #[test]
    fn what_is_read_from_the_message_is_what_arrived() {
        let mut arrivals = Arrivals::new();
        for (sequence, ms) in [(65_534u16, 10), (65_535, 12), (2, 20), (0, 21)] {
            arrivals.record(sequence, 9, Duration::from_millis(ms));
        }
        let mut buffer = [0; 1_000];
        let mut writer = RtcpWriter::new(&mut buffer);
        assert!(arrivals.is_due(Instant::now()));
        arrivals.report(Instant::now(), 1, &mut writer);
        let len = writer.len();
        assert!(!arrivals.is_pending());
        let mut packets = Packets::parse(&buffer[..len]);
        let Some(Ok(Packet::TransportFeedback(feedback))) = packets.next() else { panic!("no feedback") };
        assert_eq!((feedback.base_sequence, feedback.status_count), (65_534, 5));
    }
}
