//! Transport-wide feedback to a publisher: when its packets arrived (draft-holmer-rmcat-transport-wide-cc-extensions-01).

use std::ops::Range;
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

/// How long it is not reported that a packet is missing, while it may be mended: time for a request and another one where a round trip is 60 ms.
const MENDING: Duration = Duration::from_millis(250);

/// The latest packet of a stream of sound.
#[derive(Clone, Copy, Debug)]
struct Sound {
    ssrc: u32,
    /// Its number in its own stream, and among everything.
    index: u64,
    number: u64,
    /// When it came.
    time: i64,
}

/// The arrivals that were not reported yet.
///
/// What a line loses is reported once it is clear that nothing mends it. What came again in time, and sound that nobody asks for because the next packet has it as well (RED),
/// is reported as if it had come at first: Chromium answers loss by sending less, and leaves 30 kbit/s to the picture of a line that loses 30 % of whatever is sent. Congestion still shows:
/// by delay, or by more loss than can be mended. What may still be needed is never reported as arrived, because browsers forget it then and could not send it again.
#[derive(Debug)]
pub(crate) struct Arrivals {
    /// The sequence number of the first place in `times`.
    base: Option<u64>,
    /// By sequence number, in ticks of 250 µs.
    times: Vec<Option<i64>>,
    /// When the latest came, in the same ticks; and the last that was reported.
    latest: i64,
    reported_time: i64,
    messages: u8,
    media_ssrc: u32,
    reported: Option<Instant>,
    /// As long as nothing behind it was reported as lost.
    sound: Option<Sound>,
}

impl Arrivals {
    pub(crate) fn new() -> Self {
        Self { base: None, times: Vec::new(), latest: 0, reported_time: 0, messages: 0, media_ssrc: 0, reported: None, sound: None }
    }

    /// A packet has arrived, `since_epoch` after any fixed moment; returns its number, without end. `None` if it comes too late to be reported.
    pub(crate) fn record(&mut self, sequence: u16, media_ssrc: u32, since_epoch: Duration) -> Option<u64> {
        let ticks = ticks(since_epoch);
        self.media_ssrc = media_ssrc;
        // Above 2^16, so that a packet that overtook the first one isn't before everything.
        let base = *self.base.get_or_insert(u64::from(sequence) | 1 << 16);
        let reference = base + (self.times.len() as u64).saturating_sub(1);
        let index = sequence::nearest(reference, sequence).filter(|&index| index >= base)?;
        let place = (index - base) as usize;
        let away = ticks - self.latest >= OUTAGE.as_millis() as i64 * TICKS_PER_SECOND / 1_000;
        self.latest = self.latest.max(ticks);
        if place >= MAX_PACKETS || (away && !self.is_pending()) {
            self.base = Some(index);
            self.times.clear();
            self.times.push(Some(ticks));
            self.sound = None;
            return Some(index);
        }
        if self.times.capacity() == 0 {
            self.times.reserve(MAX_PACKETS);
        }
        if place >= self.times.len() {
            self.times.resize(place + 1, None);
        }
        self.times[place] = Some(ticks);
        Some(index)
    }

    /// The packet just recorded as `number` is the one of this index of a stream of sound that nobody asks for when it is lost.
    pub(crate) fn record_sound(&mut self, number: u64, ssrc: u32, index: u64) {
        let Some(base) = self.base else { return };
        let Some(&Some(time)) = self.times.get((number - base) as usize) else { return };
        let before = self.sound.filter(|sound| sound.ssrc == ssrc);
        if before.is_some_and(|before| index <= before.index || number <= before.number) {
            return;
        }
        self.sound = Some(Sound { ssrc, index, number, time });
        let Some(before) = before else { return };
        let lost = index - before.index - 1;
        let begin = (before.number + 1).saturating_sub(base) as usize;
        let Some(between) = self.times.get_mut(begin..(number - base) as usize).filter(|_| lost > 0) else { return };
        // If as many are missing as the stream lacks, they are those; else some are of something else, and nobody knows which.
        if between.iter().filter(|time| time.is_none()).count() as u64 == lost {
            let step = (time - before.time) / (lost as i64 + 1);
            for (place, each) in (1..).zip(between.iter_mut().filter(|time| time.is_none())) {
                *each = Some(before.time + step * place);
            }
        }
    }

    /// How many of the times may be reported. `may_lack` says whether any of these numbers may be a packet that is still to come.
    fn reportable(&mut self, now: i64, may_lack: impl Fn(&Range<u64>) -> bool) -> usize {
        let base = self.base.unwrap_or(0);
        let mut before = self.reported_time;
        let mut place = 0;
        while let Some(&time) = self.times.get(place) {
            if let Some(time) = time {
                before = time;
                place += 1;
                continue;
            }
            // What comes last has arrived, so every hole has another end.
            let Some((len, after)) = (0..).zip(&self.times[place..]).find_map(|(len, time)| time.map(|time| (len, time))) else { break };
            let hole = base + place as u64..base + (place + len) as u64;
            if !may_lack(&hole) {
                let step = (after - before) / (len as i64 + 1);
                for (number, time) in (1..).zip(&mut self.times[place..place + len]) {
                    *time = Some(before + step * number);
                }
            } else if now - before < MENDING.as_millis() as i64 * TICKS_PER_SECOND / 1_000 {
                break;
            } else {
                self.sound = self.sound.filter(|sound| sound.number >= hole.end);
            }
            place += len;
        }
        place
    }

    /// Whether there is anything to report.
    pub(crate) fn is_pending(&self) -> bool {
        !self.times.is_empty()
    }

    /// Whether it is time to.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.is_pending() && self.reported.is_none_or(|reported| now.saturating_duration_since(reported) >= INTERVAL)
    }

    /// Writes one message; what doesn't fit stays, and what may still be mended. `may_lack` says whether any of these numbers may be a packet that is still to come.
    pub(crate) fn report(
        &mut self,
        (now, since_epoch): (Instant, Duration),
        sender: u32,
        may_lack: impl Fn(&Range<u64>) -> bool,
        writer: &mut RtcpWriter<'_>,
    ) {
        let Some(base) = self.base else { return };
        let len = self.reportable(ticks(since_epoch), may_lack);
        if len == 0 {
            return;
        }
        match writer.transport_feedback(sender, self.media_ssrc, base as u16, self.messages, &self.times[..len]) {
            Ok(count) => {
                self.messages = self.messages.wrapping_add(1);
                let reported = self.times.drain(..count.min(len));
                self.reported_time = reported.flatten().last().unwrap_or(self.reported_time);
                self.base = Some(base + count as u64);
            }
            Err(_) => {
                self.times.clear();
                self.sound = None;
            }
        }
        self.reported = Some(now);
    }
}

fn ticks(since_epoch: Duration) -> i64 {
    (since_epoch.as_micros() as i64) * TICKS_PER_SECOND / 1_000_000
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
            arrivals.report((Instant::now(), Duration::from_secs(5)), 1, |_| true, &mut RtcpWriter::new(&mut buffer));
            arrivals.record(20, 9, Duration::from_millis(5_000 + pause));
            let mut writer = RtcpWriter::new(&mut buffer);
            arrivals.report((Instant::now(), Duration::from_millis(5_000 + pause)), 1, |_| true, &mut writer);
            let len = writer.len();
            let Some(Ok(Packet::TransportFeedback(feedback))) = Packets::parse(&buffer[..len]).next() else { panic!("no feedback") };
            (feedback.base_sequence, feedback.status_count)
        };
        assert_eq!(reported(400), (11, 10));
        assert_eq!(reported(600), (20, 1));
    }

    /// Packets of these numbers arrive, each at its number times 10 ms.
    fn record(arrivals: &mut Arrivals, numbers: &[u16]) {
        for &number in numbers {
            arrivals.record(number, 9, Duration::from_millis(u64::from(number) * 10));
        }
    }

    /// Reports at `now` times 10 ms, when any of the numbers in `lacking` may still come: the first of the message, and when each came in units of 10 ms.
    fn report(arrivals: &mut Arrivals, now: u64, lacking: Range<u64>) -> Option<(u16, Vec<Option<i64>>)> {
        let mut buffer = [0; 1_000];
        let mut writer = RtcpWriter::new(&mut buffer);
        let lacking = lacking.start | 1 << 16..lacking.end | 1 << 16;
        let may_lack = |numbers: &Range<u64>| numbers.start < lacking.end && lacking.start < numbers.end;
        arrivals.report((Instant::now(), Duration::from_millis(now * 10)), 1, may_lack, &mut writer);
        let len = writer.len();
        let Some(Ok(Packet::TransportFeedback(feedback))) = Packets::parse(&buffer[..len]).next() else { return None };
        let times = feedback.statuses().map(|(_, ticks)| ticks.map(|ticks| ticks / 40)).collect();
        Some((feedback.base_sequence, times))
    }

    #[test]
    fn lost_sound_that_nobody_asks_for_is_reported_as_if_it_had_come_and_a_lost_picture_is_not() {
        let hear = |arrivals: &mut Arrivals, number: u16, index: u64| {
            let known = arrivals.record(number, 7, Duration::from_millis(u64::from(number) * 10)).unwrap();
            arrivals.record_sound(known, 7, index);
        };
        let mut arrivals = Arrivals::new();
        hear(&mut arrivals, 10, 1);
        record(&mut arrivals, &[11, 13]);
        hear(&mut arrivals, 14, 3);
        assert_eq!(report(&mut arrivals, 14, 0..500), Some((10, [10, 11, 12, 13, 14].map(Some).to_vec())));
        record(&mut arrivals, &[15, 17]);
        hear(&mut arrivals, 18, 4);
        assert_eq!(report(&mut arrivals, 60, 0..500), Some((15, vec![Some(15), None, Some(17), Some(18)])), "a picture's");
        record(&mut arrivals, &[20]);
        hear(&mut arrivals, 22, 6);
        assert_eq!(report(&mut arrivals, 60, 0..500), Some((19, vec![None, Some(20), None, Some(22)])), "one of each, nobody knows which");
        record(&mut arrivals, &[24]);
        assert_eq!(report(&mut arrivals, 70, 0..500), Some((23, vec![None, Some(24)])), "nothing shows that it was sound");
        hear(&mut arrivals, 26, 8);
        assert_eq!(report(&mut arrivals, 70, 0..500), Some((25, vec![None, Some(26)])), "it was the one before, which is said already");
        arrivals.record(28, 8, Duration::from_millis(280));
        hear(&mut arrivals, 29, 9);
        let other = arrivals.record(31, 8, Duration::from_millis(310)).unwrap();
        arrivals.record_sound(other, 8, 12);
        assert_eq!(report(&mut arrivals, 70, 0..500), Some((27, vec![None, Some(28), Some(29), None, Some(31)])), "of another stream");
    }

    #[test]
    fn what_was_mended_is_reported_as_if_it_had_come_at_first() {
        let mut arrivals = Arrivals::new();
        record(&mut arrivals, &[10, 11, 14, 16]);
        assert_eq!(report(&mut arrivals, 17, 12..15), Some((10, vec![Some(10), Some(11)])), "what is certain");
        assert_eq!(report(&mut arrivals, 20, 12..15), None);
        assert!(arrivals.is_pending());
        assert_eq!(report(&mut arrivals, 25, 0..1), Some((12, [12, 13, 14, 15, 16].map(Some).to_vec())));
        record(&mut arrivals, &[19]);
        assert_eq!(
            report(&mut arrivals, 25, 0..1),
            Some((17, [17, 18, 19].map(Some).to_vec())),
            "between what was reported and what was not"
        );
    }

    #[test]
    fn what_is_not_mended_in_time_is_reported_as_lost() {
        let mut arrivals = Arrivals::new();
        record(&mut arrivals, &[10, 12, 13, 30]);
        assert_eq!(report(&mut arrivals, 31, 0..500), Some((10, vec![Some(10)])));
        assert_eq!(report(&mut arrivals, 34, 0..500), None);
        assert_eq!(report(&mut arrivals, 35, 0..500), Some((11, vec![None, Some(12), Some(13)])), "250 ms after the one before it");
        let (base, times) = report(&mut arrivals, 38, 14..17).unwrap();
        assert_eq!((base, times.iter().flatten().count()), (14, 1), "all of a hole or nothing: nobody knows which of it is lost");
        assert!(!arrivals.is_pending());
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
        arrivals.report((Instant::now(), Duration::from_secs(1)), 1, |_| true, &mut writer);
        let len = writer.len();
        assert!(!arrivals.is_pending());
        let mut packets = Packets::parse(&buffer[..len]);
        let Some(Ok(Packet::TransportFeedback(feedback))) = packets.next() else { panic!("no feedback") };
        assert_eq!((feedback.base_sequence, feedback.status_count), (65_534, 5));
    }
}
