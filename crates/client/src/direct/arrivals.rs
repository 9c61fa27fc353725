//! When packets arrived, as a receiver tells it: transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01), by which the
//! server estimates what the line carries.

use switchyard_rtp::extension::Extension;
use switchyard_rtp::rtcp::RtcpWriter;
use switchyard_rtp::rtp::Header;
use switchyard_rtp::sequence::SequenceExtender;

use super::reception::REPORTER;

/// Between two reports, in microseconds: what browsers begin with.
pub(super) const INTERVAL: u64 = 100_000;
/// Packets whose arrivals are known, a power of two: what a fast line brings in several intervals, so that what comes late is reported still.
const WINDOW: usize = 1024;
/// A tick of the feedback's times, in microseconds.
const TICK: u64 = 250;
/// Stands for a packet that has not come.
const ABSENT: u64 = u64::MAX;

/// What has come and is to be reported.
pub(super) struct Arrivals {
    /// The id of the extension that numbers packets; 0: not negotiated.
    id: u8,
    numbers: SequenceExtender,
    /// Microseconds by number modulo [`WINDOW`].
    times: Box<[u64; WINDOW]>,
    /// The first number to report and the one behind the last; none if there is nothing new.
    pending: Option<(u64, u64)>,
    /// The number behind the last that was reported; the first one before that.
    reported: u64,
    messages: u8,
    /// What a report is written from; kept for its memory.
    statuses: Vec<Option<i64>>,
}

impl Arrivals {
    pub(super) fn new() -> Self {
        Self {
            id: 0,
            numbers: SequenceExtender::default(),
            times: Box::new([ABSENT; WINDOW]),
            pending: None,
            reported: 0,
            messages: 0,
            statuses: Vec::new(),
        }
    }

    /// Reads the extension's id, which is one for all m-lines of a bundle (RFC 8843 §9.2), from the server's description.
    pub(super) fn describe(&mut self, sdp: &str) {
        let uri = Extension::TransportSequence.uri();
        let id = sdp.lines().filter_map(|line| line.trim_end().strip_prefix("a=extmap:")?.strip_suffix(uri)).next();
        self.id = id.and_then(|id| id.split(['/', ' ']).next()?.parse().ok()).unwrap_or(0);
    }

    /// Notes when a packet came.
    pub(super) fn handle(&mut self, header: &Header, packet: &[u8], at_micros: u64) {
        let value = header.extensions(packet).find(|(id, _)| *id == self.id).map(|(_, value)| value);
        let Some(&[high, low, ..]) = value else { return };
        let before = self.numbers.highest();
        let number = self.numbers.extend(u16::from_be_bytes([high, low]));
        let first = before.map_or(number, |before| before + 1);
        if before.is_some_and(|before| before >= number + WINDOW as u64) {
            return;
        }
        // What lies between has not come, and neither has what came a window before.
        for missing in first.max(number.saturating_sub(WINDOW as u64 - 1))..number {
            self.times[missing as usize % WINDOW] = ABSENT;
        }
        self.times[number as usize % WINDOW] = at_micros;
        if before.is_none() {
            self.reported = number;
        }
        let from = number.min(self.reported);
        self.pending = Some(self.pending.map_or((from, number + 1), |(first, end)| (first.min(from), end.max(number + 1))));
    }

    /// Writes what came since the last report, with what is missing in between.
    pub(super) fn write(&mut self, writer: &mut RtcpWriter<'_>) {
        let Some((from, end)) = self.pending.take() else { return };
        let from = from.max(end.saturating_sub(WINDOW as u64));
        self.statuses.clear();
        self.statuses.extend((from..end).map(|number| {
            let at = self.times[number as usize % WINDOW];
            (at != ABSENT).then_some((at / TICK) as i64)
        }));
        let Ok(written) = writer.transport_feedback(REPORTER, 0, from as u16, self.messages, &self.statuses) else { return };
        self.messages = self.messages.wrapping_add(1);
        let next = from + written as u64;
        self.reported = self.reported.max(next);
        // What did not fit goes with the next.
        self.pending = (next < end).then_some((next, end));
    }
}

#[cfg(test)]
mod tests {
    use switchyard_rtp::rtcp::{Packet, Packets};
    use switchyard_rtp::rtp::{HeaderFields, write_header};

    use super::*;

    const ANSWER: &str = "v=0\r\ns=-\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
        a=extmap:5 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n";

    fn arrivals() -> Arrivals {
        let mut arrivals = Arrivals::new();
        arrivals.describe(ANSWER);
        arrivals
    }

    fn receive(arrivals: &mut Arrivals, number: u16, at_micros: u64) {
        let mut packet = [0; 32];
        let fields = HeaderFields { marker: false, payload_type: 96, sequence: 7, timestamp: 0, ssrc: 1 };
        let value = number.to_be_bytes();
        write_header(&mut packet, &fields, [(5, &value[..])].into_iter()).unwrap();
        let header = Header::parse(&packet).unwrap();
        arrivals.handle(&header, &packet, at_micros);
    }

    /// What is reported: the first number, and the ticks since the first arrival.
    fn report(arrivals: &mut Arrivals) -> Option<(u16, Vec<Option<i64>>)> {
        let mut buffer = [0; 1200];
        let mut writer = RtcpWriter::new(&mut buffer);
        arrivals.write(&mut writer);
        let len = writer.len();
        let feedback = match Packets::parse(&buffer[..len]).next()? {
            Ok(Packet::TransportFeedback(feedback)) => feedback,
            other => panic!("{other:?}"),
        };
        let statuses: Vec<Option<i64>> = feedback.statuses().map(|(_, at)| at).collect();
        let first = statuses.iter().flatten().next().copied()?;
        Some((feedback.base_sequence, statuses.iter().map(|at| at.map(|at| at - first)).collect()))
    }

    #[test]
    fn arrivals_are_reported_once_with_what_is_missing_between_them() {
        let mut arrivals = arrivals();
        assert_eq!(report(&mut arrivals), None);
        for (number, at) in [(65_534, 10_000), (65_535, 11_000), (1, 20_000)] {
            receive(&mut arrivals, number, at);
        }
        assert_eq!(report(&mut arrivals), Some((65_534, vec![Some(0), Some(4), None, Some(40)])));
        assert_eq!(report(&mut arrivals), None);
        receive(&mut arrivals, 3, 30_000);
        assert_eq!(report(&mut arrivals), Some((2, vec![None, Some(0)])), "it goes on where the last ended");
    }

    #[test]
    fn what_comes_late_is_reported_again_with_what_came_behind_it() {
        let mut arrivals = arrivals();
        for (number, at) in [(10, 1_000), (12, 2_000)] {
            receive(&mut arrivals, number, at);
        }
        report(&mut arrivals);
        receive(&mut arrivals, 13, 3_000);
        receive(&mut arrivals, 11, 3_250);
        assert_eq!(report(&mut arrivals), Some((11, vec![Some(0), Some(-5), Some(-1)])));
    }

    #[test]
    fn a_burst_that_one_message_can_t_tell_takes_another() {
        let mut arrivals = arrivals();
        for number in 0..1000u16 {
            // Deltas of two bytes.
            receive(&mut arrivals, number, u64::from(number) * 100_000);
        }
        let (first, statuses) = report(&mut arrivals).unwrap();
        let (second, rest) = report(&mut arrivals).unwrap();
        assert_eq!((first, usize::from(second), statuses.len() + rest.len()), (0, statuses.len(), 1000));
        assert_eq!(report(&mut arrivals), None);
    }

    #[test]
    fn after_a_long_silence_only_what_is_known_is_reported() {
        let mut arrivals = arrivals();
        receive(&mut arrivals, 1, 1_000);
        report(&mut arrivals);
        receive(&mut arrivals, 5_000, 2_000);
        let (first, statuses) = report(&mut arrivals).unwrap();
        assert_eq!((usize::from(first), statuses.len()), (5_001 - WINDOW, WINDOW));
        assert_eq!(statuses.iter().flatten().count(), 1, "nothing of before is taken for something new");
    }
}
