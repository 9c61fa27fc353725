//! Receiving: what came of each source, and what a receiver says about it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use switchyard_protocol::Kind;
use switchyard_rtp::rtcp::{MAX_REPORTS, ReportBlock, RtcpWriter, middle};
use switchyard_rtp::rtp::{Header, original_sequence};
use switchyard_rtp::sequence::SequenceExtender;

use super::{Arrival, Sink};
use crate::sdp::Incoming;
use crate::sdp::formats::Formats;

/// Between two receiver reports, in microseconds: what browsers do for video.
const REPORT_INTERVAL: u64 = 1_000_000;
/// Before a packet is asked for again; a round trip and then some.
const ASK_AGAIN: u64 = 100_000;
/// How often one packet is asked for: as often as browsers do.
const ASK_TIMES: u8 = 10;
/// How long a missing packet is of use.
const MISSING_PATIENCE: u64 = 1_000_000;
/// Missing packets of one source that are remembered: a burst that is longer is not repaired but needs a keyframe.
const MAX_MISSING: usize = 250;
/// Between two requests for a keyframe of one source, in microseconds.
const KEYFRAME_INTERVAL: u64 = 500_000;
/// Sources of one participant; the server announces them all, so that more are a fault.
const MAX_SOURCES: usize = 1024;
/// The SSRC that feedback is sent under, as browsers do that send nothing.
pub(super) const REPORTER: u32 = 1;

pub(super) struct Reception {
    sink: Box<dyn Sink>,
    /// Retransmissions' SSRCs, with the media's, as the server's description has them.
    repairs: HashMap<u32, u32>,
    /// Those that it does not have, found out; at most one for each source.
    found: HashMap<u32, u32>,
    /// Whether a source's losses are asked for, as the server's description has it: video's are.
    video: HashMap<u32, bool>,
    /// What packets of other sources are, by their payload types.
    formats: HashMap<u8, Format>,
    sources: BTreeMap<u32, Source>,
    report_due: u64,
}

/// Looks at nothing.
struct Nobody;

impl Sink for Nobody {
    fn handle_packet(&mut self, _: &Arrival<'_>) -> bool {
        false
    }

    fn handle_lag(&mut self, _: u64) {}
}

/// A retransmission of nobody knows whose packet.
struct Unknown;

/// What a payload type stands for. In a bundle it stands for one thing only (RFC 8843 §9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Media {
        video: bool,
    },
    /// Retransmissions (RFC 4588) of that payload type.
    Repair {
        of: u8,
    },
}

#[derive(Default)]
struct Source {
    numbers: SequenceExtender,
    base: u64,
    received: u64,
    /// Of the last report.
    expected_before: u64,
    received_before: u64,
    /// In sixteenths of clock ticks (RFC 3550 §A.8).
    jitter: u32,
    transit: Option<i64>,
    sender_report: Option<(u64, u64)>,
    missing: VecDeque<Missing>,
    wants_keyframe: bool,
    keyframe_asked: Option<u64>,
    video: bool,
    payload_type: u8,
}

struct Missing {
    index: u64,
    since: u64,
    asked: Option<u64>,
    times: u8,
}

impl Reception {
    pub(super) fn new(sink: Box<dyn Sink>) -> Self {
        Self {
            sink,
            repairs: HashMap::new(),
            found: HashMap::new(),
            video: HashMap::new(),
            formats: HashMap::new(),
            sources: BTreeMap::new(),
            report_due: 0,
        }
    }

    /// Gives the sink away; what comes now is seen by nobody.
    pub(super) fn retire(&mut self) -> Box<dyn Sink> {
        std::mem::replace(&mut self.sink, Box::new(Nobody))
    }

    /// Takes what the server's description says. It need not name the sources: the payload types tell what they are.
    pub(super) fn describe(&mut self, incoming: &[Incoming], formats: &[Formats]) {
        let video = incoming.iter().map(|line| (line.ssrc, line.kind == Kind::Video)).collect();
        let before = std::mem::replace(&mut self.video, video);
        self.repairs = incoming.iter().filter_map(|line| Some((line.rtx?, line.ssrc))).collect();
        self.sources.retain(|ssrc, _| self.video.contains_key(ssrc) || !before.contains_key(ssrc));
        self.formats.clear();
        for line in formats.iter().filter(|line| line.sends) {
            self.formats
                .extend(line.codecs.iter().map(|(payload_type, _)| (*payload_type, Format::Media { video: line.kind == Kind::Video })));
            self.formats.extend(line.repairs.iter().map(|(payload_type, of)| (*payload_type, Format::Repair { of: *of })));
        }
    }

    /// Whose packet this is the retransmission of, if it is one; an error if that can't be told.
    fn repaired(&mut self, header: &Header, payload: &[u8]) -> Result<Option<u32>, Unknown> {
        if let Some(media) = self.repairs.get(&header.ssrc) {
            return Ok(Some(*media));
        }
        if self.sources.contains_key(&header.ssrc) || self.video.contains_key(&header.ssrc) {
            return Ok(None);
        }
        if let Some(media) = self.found.get(&header.ssrc) {
            return Ok(Some(*media));
        }
        let Some(Format::Repair { of }) = self.formats.get(&header.payload_type) else { return Ok(None) };
        // Only what was asked for is sent again, so the one who misses it tells whose it is. If two miss the same number, another will tell.
        let original = original_sequence(payload).ok_or(Unknown)?;
        let misses = |source: &Source| {
            source.payload_type == *of && source.missing.iter().any(|missing| missing.asked.is_some() && missing.index as u16 == original)
        };
        let free = |ssrc: &u32| !self.repairs.values().chain(self.found.values()).any(|media| media == ssrc);
        let mut candidates = self.sources.iter().filter(|(ssrc, source)| misses(source) && free(ssrc)).map(|(ssrc, _)| *ssrc);
        match (candidates.next(), candidates.next()) {
            (Some(media), None) => {
                drop(candidates);
                self.found.insert(header.ssrc, media);
                Ok(Some(media))
            }
            _ => Err(Unknown),
        }
    }

    pub(super) fn handle_lag(&mut self, micros: u64) {
        self.sink.handle_lag(micros);
    }

    pub(super) fn handle_keyframe_request(&mut self, ssrc: u32, at_micros: u64) {
        self.sink.handle_keyframe_request(ssrc, at_micros);
    }

    pub(super) fn handle_rtp(&mut self, header: &Header, payload: &[u8], at_micros: u64) {
        let Ok(repaired) = self.repaired(header, payload) else { return };
        let (ssrc, sequence, payload) = match repaired {
            // A retransmission without an original's number is padding, which probes the line.
            Some(media) => match original_sequence(payload) {
                Some(original) => (media, original, &payload[2..]),
                None => return,
            },
            None => (header.ssrc, header.sequence, payload),
        };
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&ssrc) {
            return;
        }
        let source = self.sources.entry(ssrc).or_insert_with(|| {
            let by_format = self.formats.get(&header.payload_type) == Some(&Format::Media { video: true });
            Source { video: self.video.get(&ssrc).copied().unwrap_or(by_format), ..Source::default() }
        });
        if repaired.is_none() {
            source.payload_type = header.payload_type;
        }
        source.handle(sequence, header.timestamp, at_micros, repaired.is_some());
        let arrival = Arrival {
            ssrc,
            sequence,
            timestamp: header.timestamp,
            marker: header.marker,
            payload,
            at_micros,
            retransmitted: repaired.is_some(),
        };
        source.wants_keyframe |= self.sink.handle_packet(&arrival);
    }

    pub(super) fn handle_sender_report(&mut self, ssrc: u32, ntp: u64, at_micros: u64) {
        if let Some(source) = self.sources.get_mut(&ssrc) {
            source.sender_report = Some((ntp, at_micros));
        }
    }

    /// Writes reports that are due, and requests for what is missing and for keyframes.
    pub(super) fn write_feedback(&mut self, now: u64, writer: &mut RtcpWriter<'_>) {
        if now >= self.report_due {
            self.report_due = now + REPORT_INTERVAL;
            let mut blocks: Vec<ReportBlock> = self.sources.iter_mut().map(|(ssrc, source)| source.report(*ssrc, now)).collect();
            // What does not fit into one datagram is left out this time: it never is, below some forty sources.
            blocks.truncate(writer.remaining().saturating_sub(64) / 24);
            for blocks in blocks.chunks(MAX_REPORTS) {
                let _ = writer.receiver_report(REPORTER, blocks.iter().copied());
            }
        }
        for (ssrc, source) in &mut self.sources {
            if source.wants_keyframe && source.keyframe_asked.is_none_or(|at| now >= at + KEYFRAME_INTERVAL) {
                source.wants_keyframe = false;
                source.keyframe_asked = Some(now);
                let _ = writer.picture_loss_indication(REPORTER, *ssrc);
            }
            let lost = source.ask(now);
            if !lost.is_empty() {
                let _ = writer.nack(REPORTER, *ssrc, lost);
            }
        }
    }
}

impl Source {
    fn handle(&mut self, sequence: u16, timestamp: u32, at_micros: u64, repaired: bool) {
        let highest = self.numbers.highest();
        let index = if repaired { self.numbers.index(sequence) } else { self.numbers.extend(sequence) };
        let Some(highest) = highest else {
            self.base = index;
            self.received = 1;
            return;
        };
        self.received += u64::from(!repaired);
        if index <= highest {
            self.missing.retain(|missing| missing.index != index);
            return;
        }
        if self.video {
            for skipped in (highest + 1)..index.min(highest + 1 + MAX_MISSING as u64) {
                if self.missing.len() == MAX_MISSING {
                    self.missing.pop_front();
                }
                self.missing.push_back(Missing { index: skipped, since: at_micros, asked: None, times: 0 });
            }
        }
        let clock = if self.video { 90 } else { 48 };
        let transit = (at_micros * clock / 1000) as i64 - i64::from(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let difference = (transit.wrapping_sub(before) as i32).unsigned_abs();
            // Retimed at a slot's change, the clock jumps: that is no jitter.
            if difference < 90_000 {
                self.jitter = self.jitter.saturating_add(difference) - ((self.jitter + 8) >> 4);
            }
        }
    }

    fn report(&mut self, ssrc: u32, now: u64) -> ReportBlock {
        let highest = self.numbers.highest().unwrap_or(self.base);
        let expected = highest + 1 - self.base;
        let (expected_now, received_now) = (expected - self.expected_before, self.received - self.received_before);
        (self.expected_before, self.received_before) = (expected, self.received);
        let lost_now = expected_now.saturating_sub(received_now);
        ReportBlock {
            ssrc,
            fraction_lost: (lost_now * 256).checked_div(expected_now).unwrap_or(0).min(255) as u8,
            cumulative_lost: (expected as i64 - self.received as i64).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32,
            highest_sequence: highest as u32,
            jitter: self.jitter >> 4,
            last_sender_report: self.sender_report.map_or(0, |(ntp, _)| middle(ntp)),
            delay_since_last_sender_report: self.sender_report.map_or(0, |(_, at)| (now.saturating_sub(at) * 65536 / 1_000_000) as u32),
        }
    }

    /// The numbers to ask for now; gives up what is too old.
    fn ask(&mut self, now: u64) -> Vec<u16> {
        let before = self.missing.len();
        self.missing.retain(|missing| missing.times < ASK_TIMES && now < missing.since + MISSING_PATIENCE);
        self.wants_keyframe |= self.missing.len() < before;
        self.missing
            .iter_mut()
            .filter(|missing| missing.asked.is_none_or(|at| now >= at + ASK_AGAIN))
            .map(|missing| {
                missing.asked = Some(now);
                missing.times += 1;
                missing.index as u16
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::sdp::formats::formats;

    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<(u32, u16, bool)>>>);

    impl Sink for Seen {
        fn handle_packet(&mut self, arrival: &Arrival<'_>) -> bool {
            self.0.lock().unwrap().push((arrival.ssrc, arrival.sequence, arrival.retransmitted));
            false
        }

        fn handle_lag(&mut self, _: u64) {}
    }

    const ANSWER: &str = "v=0\r\ns=-\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=sendonly\r\na=rtpmap:111 opus/48000/2\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:1\r\na=sendonly\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n";

    fn receive(reception: &mut Reception, payload_type: u8, ssrc: u32, sequence: u16, payload: &[u8]) {
        let mut packet = [0; 12];
        packet[0] = 0x80;
        let mut header = Header::parse(&packet).unwrap();
        (header.payload_type, header.ssrc, header.sequence) = (payload_type, ssrc, sequence);
        reception.handle_rtp(&header, payload, 0);
    }

    #[test]
    fn sources_that_the_description_does_not_name_are_told_apart_by_payload_types() {
        let seen = Seen::default();
        let mut reception = Reception::new(Box::new(seen.clone()));
        reception.describe(&[], &formats(ANSWER));
        // Two pictures and a sound, of which each misses a packet; padding that probes belongs to nobody.
        for (payload_type, ssrc, numbers) in [(96, 10, [5, 7]), (96, 20, [8, 10]), (111, 30, [1, 3])] {
            numbers.iter().for_each(|number| receive(&mut reception, payload_type, ssrc, *number, b"x"));
        }
        receive(&mut reception, 97, 11, 1, &[0, 6, b'x']);
        let mut buffer = [0; 1200];
        reception.write_feedback(1000, &mut RtcpWriter::new(&mut buffer));
        receive(&mut reception, 97, 11, 2, &[0, 1, b'x']);
        receive(&mut reception, 97, 11, 3, b"");
        receive(&mut reception, 97, 11, 4, &[0, 6, b'x']);
        receive(&mut reception, 97, 21, 1, &[0, 9, b'x']);
        // From then on the SSRC says it, also of what was not asked for.
        receive(&mut reception, 97, 11, 5, &[0, 5, b'x']);
        let repaired: Vec<_> = seen.0.lock().unwrap().iter().copied().filter(|(_, _, again)| *again).collect();
        assert_eq!(repaired, [(10, 6, true), (20, 9, true), (10, 5, true)]);
        assert_eq!(seen.0.lock().unwrap().len(), 9);
        assert!(reception.sources[&10].missing.is_empty() && reception.sources[&30].missing.is_empty(), "sound is not asked for again");
        // The description again, as after an ICE restart, takes nothing away.
        reception.describe(&[], &formats(ANSWER));
        assert_eq!(reception.sources.len(), 3);
    }

    #[test]
    fn two_that_miss_the_same_number_wait_for_another_to_tell_them_apart() {
        let seen = Seen::default();
        let mut reception = Reception::new(Box::new(seen.clone()));
        reception.describe(&[], &formats(ANSWER));
        for ssrc in [10, 20] {
            [1, 3].iter().for_each(|number| receive(&mut reception, 96, ssrc, *number, b"x"));
        }
        receive(&mut reception, 96, 20, 5, b"x");
        let mut buffer = [0; 1200];
        reception.write_feedback(1000, &mut RtcpWriter::new(&mut buffer));
        receive(&mut reception, 97, 21, 1, &[0, 2, b'x']);
        receive(&mut reception, 97, 21, 2, &[0, 4, b'x']);
        receive(&mut reception, 97, 11, 1, &[0, 2, b'x']);
        let repaired: Vec<_> = seen.0.lock().unwrap().iter().copied().filter(|(_, _, again)| *again).collect();
        assert_eq!(repaired, [(20, 4, true), (10, 2, true)]);
    }
}
