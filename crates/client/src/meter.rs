//! What has arrived, counted packet by packet, and what was asked of the sender.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rtc::rtcp;
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc::rtp;
use switchyard_protocol::{Kind, ParticipantId, TrackId};

use crate::progress::{Latency, Progress, Unwrapper};
use crate::sdp::Incoming;
use crate::sequence::{Stamp, micros_at};

/// Publications of sequences a report can hold: a stamp is believed, so what it says must not fill the memory.
const MAX_SEQUENCES: usize = 4096;

/// Everything a client has received since it joined, as it is at one moment.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One entry for each receiving m-line of the session, by mid.
    pub streams: BTreeMap<String, StreamReport>,
    /// One entry for each publication that sent stamped packets, by sender and publication.
    pub sequences: BTreeMap<(ParticipantId, u16), SequenceReport>,
    /// Packets and bytes by the track they were said to belong to.
    pub tracks: BTreeMap<TrackId, TrackReport>,
    /// RTCP that came in.
    pub rtcp: RtcpReport,
    /// RTP packets with an SSRC that no description mentions.
    pub unknown_ssrc: u64,
    /// RTP packets on an m-line to which no track was assigned when they came.
    pub unassigned: u64,
    /// Stamped packets on an m-line that was assigned to a track of somebody else when they came. A slot's change is told by
    /// signaling and done in the media, so a few around a change are no mistake.
    pub misrouted: u64,
}

/// What arrived on one m-line with one SSRC.
#[derive(Clone, Debug)]
pub struct StreamReport {
    /// Audio or video.
    pub kind: Kind,
    /// From the session description.
    pub ssrc: u32,
    /// What the m-line carries, if anything.
    pub track: Option<TrackId>,
    /// By RTP sequence number, retransmissions included.
    pub progress: Progress,
    /// Of RTP payload.
    pub bytes: u64,
    /// Packets with the marker bit: the last of a video frame, the first of a talk spurt.
    pub markers: u64,
    /// First packets of VP8 keyframes.
    pub vp8_keyframes: u64,
    /// Packets that came as retransmissions (RFC 4588).
    pub retransmitted: u64,
    /// Sender reports, and the last one's clocks: NTP time in 32.32 bits and RTP time (RFC 3550 §6.4.1).
    pub sender_reports: u64,
    /// See [`Self::sender_reports`].
    pub last_sender_report: Option<(u64, u32)>,
}

/// What arrived of one track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackReport {
    /// RTP packets.
    pub packets: u64,
    /// Of RTP payload.
    pub bytes: u64,
}

/// What arrived of one publication's stamped packets.
#[derive(Clone, Debug, Default)]
pub struct SequenceReport {
    /// By the stamps' counters.
    pub progress: Progress,
    /// From the sender's write to this client's socket.
    pub latency: Latency,
}

/// RTCP that came in, by packet type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RtcpReport {
    /// SR.
    pub sender_reports: u64,
    /// RR.
    pub receiver_reports: u64,
    /// PLI and FIR.
    pub keyframe_requests: u64,
    /// Generic NACK.
    pub nacks: u64,
    /// Transport-wide congestion control feedback.
    pub transport_feedback: u64,
    /// Anything else.
    pub other: u64,
}

struct Stream {
    mid: String,
    report: StreamReport,
    unwrapper: Unwrapper,
    /// Who publishes what the m-line carries.
    publisher: Option<ParticipantId>,
}

/// Where an SSRC belongs.
#[derive(Clone, Copy)]
enum Route {
    Media(usize),
    Repair(usize),
}

/// The counters behind [`Report`]. One packet costs a hash lookup or two and no allocation, except for a publication's first.
#[derive(Default)]
pub(crate) struct Meter {
    streams: Vec<Stream>,
    routes: HashMap<u32, Route>,
    /// By mid, for m-lines that exist and for those that are still to come.
    slots: HashMap<String, (TrackId, ParticipantId)>,
    sequences: HashMap<(u32, u16), SequenceReport>,
    tracks: HashMap<TrackId, TrackReport>,
    keyframe_requests: HashMap<u32, Arc<AtomicU64>>,
    rtcp: RtcpReport,
    unknown_ssrc: u64,
    unassigned: u64,
    misrouted: u64,
}

impl Meter {
    /// The m-lines on which the server sends from now on. One that stays keeps its numbers.
    pub(crate) fn set_incoming(&mut self, incoming: &[Incoming]) {
        let mut before = std::mem::take(&mut self.streams);
        self.routes.clear();
        for line in incoming {
            let index = self.streams.len();
            self.routes.insert(line.ssrc, Route::Media(index));
            if let Some(rtx) = line.rtx {
                self.routes.insert(rtx, Route::Repair(index));
            }
            let kept = before.iter().position(|stream| stream.mid == line.mid && stream.report.ssrc == line.ssrc);
            self.streams.push(match kept {
                Some(kept) => before.swap_remove(kept),
                None => Stream {
                    mid: line.mid.clone(),
                    report: StreamReport {
                        kind: line.kind,
                        ssrc: line.ssrc,
                        track: None,
                        progress: Progress::default(),
                        bytes: 0,
                        markers: 0,
                        vp8_keyframes: 0,
                        retransmitted: 0,
                        sender_reports: 0,
                        last_sender_report: None,
                    },
                    unwrapper: Unwrapper::default(),
                    publisher: None,
                },
            });
        }
        self.assign();
    }

    /// Says what an m-line carries, now or when it comes to exist.
    pub(crate) fn set_slot(&mut self, mid: &str, track: Option<(TrackId, ParticipantId)>) {
        match track {
            Some(track) => self.slots.insert(mid.to_owned(), track),
            None => self.slots.remove(mid),
        };
        self.assign();
    }

    /// Nothing is known any more of what m-lines carry.
    pub(crate) fn clear_slots(&mut self) {
        self.slots.clear();
        self.assign();
    }

    fn assign(&mut self) {
        for stream in &mut self.streams {
            let slot = self.slots.get(&stream.mid);
            stream.report.track = slot.map(|(track, _)| *track);
            stream.publisher = slot.map(|(_, publisher)| *publisher);
        }
    }

    /// Where requests for a keyframe of the client's own SSRC are counted.
    pub(crate) fn count_keyframe_requests(&mut self, ssrc: u32, counter: Arc<AtomicU64>) {
        self.keyframe_requests.insert(ssrc, counter);
    }

    /// Counts an RTP packet that came out of the decryption at `now`.
    pub(crate) fn rtp(&mut self, packet: &rtp::Packet, now: Instant) {
        let mut payload: &[u8] = &packet.payload;
        let mut sequence = packet.header.sequence_number;
        let stream = match self.routes.get(&packet.header.ssrc) {
            None => {
                self.unknown_ssrc += 1;
                return;
            }
            Some(Route::Media(index)) => &mut self.streams[*index],
            Some(Route::Repair(index)) => {
                // RFC 4588 §4: the original sequence number comes first. Without it the packet is padding.
                let Some((original, rest)) = payload.split_first_chunk::<2>() else { return };
                (sequence, payload) = (u16::from_be_bytes(*original), rest);
                let stream = &mut self.streams[*index];
                stream.report.retransmitted += 1;
                stream
            }
        };
        let report = &mut stream.report;
        report.progress.record(stream.unwrapper.unwrap(sequence));
        report.bytes += payload.len() as u64;
        report.markers += u64::from(packet.header.marker);
        report.vp8_keyframes += u64::from(report.kind == Kind::Video && starts_vp8_keyframe(payload));
        match report.track {
            Some(track) => {
                let track = self.tracks.entry(track).or_default();
                track.packets += 1;
                track.bytes += payload.len() as u64;
            }
            None => self.unassigned += 1,
        }
        let Some(stamp) = Stamp::read(payload) else { return };
        if stream.publisher.is_some_and(|publisher| publisher.0 != stamp.publisher) {
            self.misrouted += 1;
        }
        let key = (stamp.publisher, stamp.publication);
        if self.sequences.len() >= MAX_SEQUENCES && !self.sequences.contains_key(&key) {
            return;
        }
        let sequence = self.sequences.entry(key).or_default();
        sequence.progress.record(stamp.counter);
        sequence.latency.record(micros_at(now).saturating_sub(stamp.sent_micros));
    }

    /// Counts a compound RTCP packet.
    pub(crate) fn rtcp(&mut self, packets: &[Box<dyn rtcp::Packet>]) {
        for packet in packets {
            let packet = packet.as_any();
            if let Some(report) = packet.downcast_ref::<SenderReport>() {
                self.rtcp.sender_reports += 1;
                if let Some(Route::Media(index)) = self.routes.get(&report.ssrc) {
                    let stream = &mut self.streams[*index].report;
                    stream.sender_reports += 1;
                    stream.last_sender_report = Some((report.ntp_time, report.rtp_time));
                }
            } else if packet.is::<ReceiverReport>() {
                self.rtcp.receiver_reports += 1;
            } else if let Some(request) = packet.downcast_ref::<PictureLossIndication>() {
                self.keyframe_requested(request.media_ssrc);
            } else if let Some(request) = packet.downcast_ref::<FullIntraRequest>() {
                request.fir.iter().for_each(|entry| self.keyframe_requested(entry.ssrc));
            } else if packet.is::<TransportLayerNack>() {
                self.rtcp.nacks += 1;
            } else if packet.is::<TransportLayerCc>() {
                self.rtcp.transport_feedback += 1;
            } else {
                self.rtcp.other += 1;
            }
        }
    }

    fn keyframe_requested(&mut self, ssrc: u32) {
        self.rtcp.keyframe_requests += 1;
        if let Some(counter) = self.keyframe_requests.get(&ssrc) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn report(&self) -> Report {
        Report {
            streams: self.streams.iter().map(|stream| (stream.mid.clone(), stream.report.clone())).collect(),
            sequences: self
                .sequences
                .iter()
                .map(|(&(publisher, publication), report)| ((ParticipantId(publisher), publication), report.clone()))
                .collect(),
            tracks: self.tracks.iter().map(|(track, report)| (*track, *report)).collect(),
            rtcp: self.rtcp,
            unknown_ssrc: self.unknown_ssrc,
            unassigned: self.unassigned,
            misrouted: self.misrouted,
        }
    }
}

/// Whether an RTP payload begins a VP8 keyframe (RFC 7741 §4.2, §4.3).
fn starts_vp8_keyframe(payload: &[u8]) -> bool {
    let Some(&first) = payload.first() else { return false };
    if first & 0x1f != 0x10 {
        return false;
    }
    let mut header = 1;
    if first & 0x80 != 0 {
        let Some(&extensions) = payload.get(1) else { return false };
        header += 1;
        if extensions & 0x80 != 0 {
            header += 1 + usize::from(payload.get(header).is_some_and(|picture| picture & 0x80 != 0));
        }
        header += usize::from(extensions & 0x40 != 0) + usize::from(extensions & 0x30 != 0);
    }
    payload.get(header).is_some_and(|tag| tag & 0x01 == 0)
}

#[cfg(test)]
mod tests;
