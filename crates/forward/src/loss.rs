//! What is missing of a published encoding: retransmission requests (RFC 4585 §6.2.1) and reception statistics (RFC 3550 §6.4.1).

use std::ops::Range;
use std::time::{Duration, Instant};

use switchyard_rtp::MediaKind;
use switchyard_rtp::replay::ReplayWindow;

/// Packets of video tracked as missing at once: a burst longer than this needs a keyframe, not 200 retransmissions.
const MAX_MISSING: usize = 256;
/// The same of audio: what is sent in [`GIVE_UP_AUDIO`] in packets of 10 ms, nearly.
const MAX_MISSING_AUDIO: usize = 32;
/// A hole larger than this is no loss but a jump of the sender's.
const MAX_GAP: u64 = 512;
/// How long a packet may be late before it is asked for: reordering on the way is usually shorter.
const PATIENCE: Duration = Duration::from_millis(5);
/// Between two requests for the same packet, when the round trip isn't known.
const RETRY: Duration = Duration::from_millis(60);
/// Requests for one packet.
const MAX_TRIES: u8 = 8;
/// The same for audio, twice in a round trip.
const MAX_TRIES_AUDIO: u8 = 16;
/// After nothing came of an encoding for this long, it is taken to have stopped, and nothing of it to be on its way.
const STOPPED: Duration = Duration::from_secs(3);
/// A packet that has not come after this long would be shown too late.
const GIVE_UP: Duration = Duration::from_millis(1_000);
/// The same for audio, whose receivers wait for less: their buffers grow to some round trips and rarely to more than this.
const GIVE_UP_AUDIO: Duration = Duration::from_millis(400);

#[derive(Clone, Copy, Debug)]
struct Missing {
    index: u64,
    since: Instant,
    due: Instant,
    tries: u8,
    /// Among everything the publisher sends it comes between these two, if they were numbered so.
    after: u64,
    before: u64,
}

/// How a packet relates to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// To be forwarded.
    Fresh,
    /// It was here before, or it is too old to tell.
    Duplicate,
}

/// The receiving end of one encoding.
#[derive(Debug)]
pub(crate) struct Reception {
    /// What has arrived, by extended sequence number.
    seen: ReplayWindow<16>,
    first: Option<u64>,
    received: u64,
    /// Of those, what came because it was asked for.
    repaired: u64,
    received_at_report: u64,
    expected_at_report: u64,
    /// Sorted by index.
    missing: Vec<Missing>,
    kind: MediaKind,
    /// How many of those there may be, 0 if the publisher does not answer requests; and how long they are asked for.
    max_missing: usize,
    give_up: Duration,
    jitter: f64,
    /// Arrival minus media time of the last packet, in RTP units.
    transit: Option<i64>,
    /// When the packet with the highest index came, and its number among everything the publisher sends.
    heard: Option<Instant>,
    transport: Option<u64>,
}

/// The figures of a report block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Statistics {
    pub(crate) fraction_lost: u8,
    pub(crate) cumulative_lost: i32,
    pub(crate) highest: u64,
    pub(crate) jitter: u32,
}

impl Reception {
    /// `nack`: whether the publisher answers retransmission requests.
    pub(crate) fn new(kind: MediaKind, nack: bool) -> Self {
        let (max_missing, give_up) = match kind {
            MediaKind::Audio => (MAX_MISSING_AUDIO, GIVE_UP_AUDIO),
            MediaKind::Video => (MAX_MISSING, GIVE_UP),
        };
        Self {
            seen: ReplayWindow::default(),
            first: None,
            received: 0,
            repaired: 0,
            received_at_report: 0,
            expected_at_report: 0,
            missing: Vec::new(),
            kind,
            max_missing: if nack { max_missing } else { 0 },
            give_up,
            jitter: 0.0,
            transit: None,
            heard: None,
            transport: None,
        }
    }

    /// Takes note of a packet. Those without a media time were sent again and don't count for jitter. `transport`: its number among everything the publisher sends.
    pub(crate) fn handle_packet(&mut self, now: Instant, index: u64, media_time: Option<i64>, transport: Option<u64>) -> Arrival {
        let highest = self.seen.highest();
        if self.seen.insert(index).is_err() {
            return Arrival::Duplicate;
        }
        if self.first.is_none() {
            // With the first packet rather than with the m-line: most m-lines of most people never carry one.
            self.missing.reserve_exact(self.max_missing);
            self.first = Some(index);
        }
        self.received += 1;
        match highest {
            Some(highest) if index > highest => self.note_gap(now, highest + 1..index, transport),
            Some(_) => {
                if let Ok(position) = self.missing.binary_search_by_key(&index, |missing| missing.index) {
                    self.repaired += u64::from(self.missing.remove(position).tries > 0);
                }
            }
            None => {}
        }
        // Of one that was sent again, the number says nothing of when it was sent first.
        if media_time.is_some() && highest.is_none_or(|highest| index > highest) {
            (self.heard, self.transport) = (Some(now), transport);
        }
        if let Some(transit) = media_time {
            // RFC 3550 §6.4.1: J += (|D| − J) / 16.
            if let Some(last) = self.transit.replace(transit) {
                self.jitter += ((transit - last).unsigned_abs() as f64 - self.jitter) / 16.0;
            }
        }
        Arrival::Fresh
    }

    fn note_gap(&mut self, now: Instant, gap: Range<u64>, transport: Option<u64>) {
        if self.max_missing == 0 || gap.end - gap.start > MAX_GAP {
            return;
        }
        let (after, before) = (self.transport.unwrap_or(0), transport.unwrap_or(u64::MAX));
        for index in gap {
            if self.missing.len() == self.max_missing {
                self.missing.remove(0);
            }
            self.missing.push(Missing { index, since: now, due: now + PATIENCE, tries: 0, after, before });
        }
    }

    /// Whether any of these numbers, among everything the publisher sends, may be of a packet that is missing and still asked for, or will be.
    pub(crate) fn may_lack(&self, now: Instant, numbers: &Range<u64>) -> bool {
        if self.max_missing == 0 {
            return false;
        }
        let goes_on = self.heard.is_some_and(|heard| now.saturating_duration_since(heard) < STOPPED);
        // The packets behind the last one are not known to be missing before the next one comes.
        goes_on && self.transport.is_none_or(|transport| transport < numbers.end)
            // What was asked for may also be missing as it was sent again.
            || self.missing.iter().any(|missing| missing.after < numbers.end && (missing.before > numbers.start || missing.tries > 0))
    }

    /// The extended sequence number a 16-bit one most likely stands for.
    pub(crate) fn index(&self, sequence: u16) -> Option<u64> {
        self.seen.highest().and_then(|highest| switchyard_rtp::sequence::nearest(highest, sequence))
    }

    /// Packets that were not here before.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// The highest extended sequence number so far.
    pub(crate) fn highest(&self) -> Option<u64> {
        self.seen.highest()
    }

    /// Whether there is anything to ask for, now or later.
    pub(crate) fn is_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Puts the sequence numbers to ask for now into `out`, oldest first.
    pub(crate) fn poll_nack(&mut self, now: Instant, round_trip: Option<Duration>, out: &mut Vec<u16>) {
        // Sound has to come soon, and who has just sent it does not do so again within a round trip: another request costs nothing, and the first may be lost.
        let retry = match self.kind {
            MediaKind::Audio => round_trip.unwrap_or(RETRY) / 2,
            MediaKind::Video => round_trip.map_or(RETRY, |round_trip| round_trip + round_trip / 2),
        };
        let retry = retry.clamp(Duration::from_millis(10), Duration::from_millis(300));
        let max_tries = if self.kind == MediaKind::Audio { MAX_TRIES_AUDIO } else { MAX_TRIES };
        self.missing.retain_mut(|missing| {
            if missing.tries == max_tries || now.saturating_duration_since(missing.since) > self.give_up {
                return false;
            }
            if missing.due <= now && out.len() < out.capacity() {
                out.push(missing.index as u16);
                missing.tries += 1;
                missing.due = now + retry;
            }
            true
        });
    }

    /// The figures since the last call; `None` before the first packet. What of sound came only because it was asked for is reported as lost: encoders repeat
    /// in each packet what was in the one before (RFC 6716 §2.1.7) if they are told that packets get lost.
    pub(crate) fn poll_statistics(&mut self) -> Option<Statistics> {
        let received = self.received - if self.kind == MediaKind::Audio { self.repaired } else { 0 };
        let highest = self.seen.highest()?;
        let expected = highest.saturating_sub(self.first?) + 1;
        let expected_now = expected.saturating_sub(self.expected_at_report);
        let received_now = received.saturating_sub(self.received_at_report);
        let lost_now = expected_now.saturating_sub(received_now);
        self.expected_at_report = expected;
        self.received_at_report = received;
        Some(Statistics {
            fraction_lost: (lost_now * 256).checked_div(expected_now).unwrap_or(0).min(255) as u8,
            cumulative_lost: (expected as i64 - received as i64).clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest,
            jitter: self.jitter as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(reception: &mut Reception, now: Instant) -> Vec<u16> {
        let mut out = Vec::with_capacity(64);
        reception.poll_nack(now, None, &mut out);
        out
    }

    #[test]
    fn a_hole_is_asked_for_after_a_moment_and_again_until_it_is_filled() {
        let start = Instant::now();
        let mut reception = Reception::new(MediaKind::Video, true);
        for index in [1, 2, 5] {
            assert_eq!(reception.handle_packet(start, index, None, None), Arrival::Fresh);
        }
        assert!(asked(&mut reception, start).is_empty(), "it may just be late");
        let soon = start + PATIENCE;
        assert_eq!(asked(&mut reception, soon), [3, 4]);
        assert!(asked(&mut reception, soon + RETRY / 2).is_empty());
        assert_eq!(reception.handle_packet(soon, 3, None, None), Arrival::Fresh);
        assert_eq!(asked(&mut reception, soon + RETRY * 2), [4]);
        assert!(asked(&mut reception, soon + GIVE_UP * 2).is_empty());
        assert!(!reception.is_missing());
    }

    #[test]
    fn sound_is_asked_for_while_it_can_still_be_heard() {
        let start = Instant::now();
        let mut reception = Reception::new(MediaKind::Audio, true);
        for index in [1, 3] {
            reception.handle_packet(start, index, None, None);
        }
        let asked: usize = (0..100).map(|tick| asked(&mut reception, start + Duration::from_millis(10) * tick).len()).sum();
        assert_eq!(asked, 14, "after 10 ms, then every 30 for 400");
        assert!(!reception.is_missing());
        reception.handle_packet(start, 300, None, None);
        assert_eq!(reception.missing.len(), MAX_MISSING_AUDIO);
    }

    #[test]
    fn a_hole_among_everything_may_be_what_is_missing_or_was_sent_again_until_it_is_mended() {
        let start = Instant::now();
        let mut reception = Reception::new(MediaKind::Video, true);
        let may_lack = |reception: &Reception, number: u64| reception.may_lack(start + PATIENCE, &(number..number + 1));
        reception.handle_packet(start, 1, Some(0), Some(100));
        assert_eq!([98, 99, 100, 105].map(|number| may_lack(&reception, number)), [false, false, true, true], "more may follow");
        reception.handle_packet(start, 3, Some(0), Some(110));
        assert_eq!([99, 101, 109].map(|number| may_lack(&reception, number)), [false, true, true]);
        reception.handle_packet(start, 4, Some(0), Some(120));
        assert!(!may_lack(&reception, 112), "it was sent between 100 and 110");
        assert_eq!(asked(&mut reception, start + PATIENCE), [2]);
        assert!(may_lack(&reception, 112), "it may have been sent again, and lost again");
        reception.handle_packet(start, 2, None, None);
        assert_eq!([101, 112].map(|number| may_lack(&reception, number)), [false, false]);
        assert!(may_lack(&reception, 121));
        assert!(!reception.may_lack(start + STOPPED, &(121..122)), "nothing comes any more");
        assert!(!Reception::new(MediaKind::Audio, false).may_lack(start, &(0..500)), "nobody asks");
    }

    #[test]
    fn the_second_copy_of_a_packet_is_a_duplicate() {
        let now = Instant::now();
        let mut reception = Reception::new(MediaKind::Video, true);
        assert_eq!(reception.handle_packet(now, 7, None, None), Arrival::Fresh);
        assert_eq!(reception.handle_packet(now, 9, None, None), Arrival::Fresh);
        assert_eq!(reception.handle_packet(now, 7, None, None), Arrival::Duplicate);
        assert_eq!(reception.handle_packet(now, 8, None, None), Arrival::Fresh);
        assert_eq!(reception.handle_packet(now, 8, None, None), Arrival::Duplicate);
    }

    #[test]
    fn sound_that_came_because_it_was_asked_for_is_reported_as_lost() {
        for (kind, expected) in [(MediaKind::Audio, 64), (MediaKind::Video, 0)] {
            let start = Instant::now();
            let mut reception = Reception::new(kind, true);
            for index in (1..400u64).filter(|index| index % 4 != 2) {
                let now = start + Duration::from_millis(20) * index as u32;
                reception.handle_packet(now, index, None, None);
                if index % 4 == 3 {
                    assert_eq!(asked(&mut reception, now + PATIENCE), [index as u16 - 1]);
                    reception.handle_packet(now + PATIENCE, index - 1, None, None);
                }
            }
            let statistics = reception.poll_statistics().unwrap();
            assert!(statistics.fraction_lost.abs_diff(expected) <= 1, "{kind:?}: {statistics:?}");
        }
    }

    #[test]
    fn a_quarter_lost_is_reported_as_64_of_256() {
        let now = Instant::now();
        let mut reception = Reception::new(MediaKind::Video, false);
        for index in (0..400u64).filter(|index| index % 4 != 1) {
            reception.handle_packet(now, index, None, None);
        }
        let statistics = reception.poll_statistics().unwrap();
        assert_eq!((statistics.fraction_lost, statistics.cumulative_lost, statistics.highest), (64, 100, 399));
    }
}
