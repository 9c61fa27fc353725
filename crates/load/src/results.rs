//! What a run measured, as plain data with the units in the names, and its JSON form.
//!
//! A figure that nothing was measured for is absent (`None`, or [`Percentiles`] with a count of zero), never zero: no packets is
//! not no loss. A [`Document`] is one results file; its format is stable within [`FORMAT`]: fields may be added, none changes its meaning.

mod document;
#[cfg(test)]
pub(crate) mod examples;
mod layers;
mod percentiles;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use document::{Document, ReadError, WriteError};
pub use layers::{EncodingTime, Layers};
pub use percentiles::Percentiles;

use crate::slo::Slo;

/// The version of the JSON form.
pub const FORMAT: u32 = 1;

/// One run of a scenario against a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// [`FORMAT`].
    pub format: u32,
    /// Version of the program that measured.
    pub switchyard_version: String,
    /// The scenario's name.
    pub scenario: String,
    /// What the scenario says about itself.
    pub description: String,
    /// The server's address.
    pub url: String,
    /// How the server was spoken to.
    pub server_kind: ServerKind,
    /// What the traffic was made from; the same seed sends the same packets.
    pub seed: u64,
    /// When the run began, as RFC 3339 says it.
    pub started: String,
    /// What the run was held to, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promise: Option<Slo>,
    /// What was asked of the server.
    pub load: Load,
    /// Length of the window the media figures are about, in seconds.
    pub measured_seconds: f64,
    /// How people got in.
    pub joins: Joins,
    /// What arrived, one entry for each kind of media and role, such as "video to viewers".
    pub media: Vec<MediaResult>,
    /// What it cost the server, if its process could be watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerResult>,
    /// How the bench itself fared.
    pub bench: BenchResult,
    /// The run second by second; bounded by its length, a whole day being 86,400.
    pub samples: Vec<Sample>,
}

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerKind {
    /// Switchyard's WebSocket.
    Signaling,
    /// WHIP (RFC 9725) to publish, WHEP to play.
    Whip,
}

/// How much was asked of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Rooms.
    pub rooms: u64,
    /// Participants in all rooms together.
    pub participants: u64,
    /// Published tracks.
    pub publications: u64,
    /// Tracks that somebody is to receive, counted once a receiver.
    pub subscriptions: u64,
}

/// How people got in; `attempted` is the sum of `succeeded`, `failed` and `refused`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Joins {
    /// Joins begun.
    pub attempted: u64,
    /// Joins that ended connected.
    pub succeeded: u64,
    /// Joins that ended in an error or in time running out.
    pub failed: u64,
    /// Joins the server turned away with a typed error that allows another try.
    pub refused: u64,
    /// Failures and refusals by what they said. The bench keeps this small by leaving addresses and names out of the texts.
    pub errors: BTreeMap<String, u64>,
    /// From the first byte to the server to DTLS done, in milliseconds.
    pub connected_ms: Percentiles,
    /// From the first byte to the server to the first media packet, in milliseconds.
    pub first_packet_ms: Percentiles,
    /// From the first byte to the server to the first frame that could be shown, in milliseconds.
    pub first_frame_ms: Percentiles,
}

/// What arrived of one kind of media at one kind of receiver.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MediaResult {
    /// Such as "video to viewers".
    pub name: String,
    /// Packets.
    pub packets: Packets,
    /// RTP bits a second that reached all receivers together, headers included.
    pub bitrate_bps: f64,
    /// From sending a packet to having it, one way, in milliseconds; both ends read one clock.
    pub latency_ms: Percentiles,
    /// Frames, as a decoder would see them; all zero for sound.
    pub frames: Frames,
    /// Which part of it came, where receivers get one on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Layers>,
}

/// Packets, counted at all receivers together unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packets {
    /// Packets published, counted once however many receive them.
    pub sent: u64,
    /// Packets that should have arrived: those published, times their receivers; where receivers get a part on purpose, those addressed to them.
    pub expected: u64,
    /// Packets that arrived, each counted once.
    pub received: u64,
    /// Packets that never arrived, not even as a retransmission.
    pub lost: u64,
    /// Further copies of packets that were there already.
    pub duplicated: u64,
    /// Packets that arrived behind a later one.
    pub reordered: u64,
    /// Packets that arrived as a retransmission.
    pub retransmitted: u64,
}

/// Frames at all receivers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Frames {
    /// Frames that should have been shown.
    pub expected: u64,
    /// Frames of which every packet arrived in time and whose references were there.
    pub complete: u64,
    /// Frames that could not be shown.
    pub dropped: u64,
    /// Times a picture stood still for noticeably longer than its frame rate explains.
    pub freezes: u64,
    /// Seconds of standing still.
    pub frozen_seconds: f64,
    /// Seconds of video that was to be seen, without pauses.
    pub watched_seconds: f64,
}

/// What the run cost the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerResult {
    /// User and system time in the measured window.
    pub cpu_seconds: f64,
    /// User and system time in the measured window by packet that arrived, in microseconds.
    pub cpu_us_per_packet: Option<f64>,
    /// User and system time while people joined, by join, in milliseconds; none if much of it was forwarding, or if some came later.
    pub cpu_ms_per_join: Option<f64>,
    /// Threads of the server.
    pub threads: Option<u64>,
    /// Resident memory before anybody joined, in KiB.
    pub memory_kib_before: Option<u64>,
    /// Resident memory with everybody there, in KiB.
    pub memory_kib_joined: Option<u64>,
    /// What a participant added to it, in KiB.
    pub memory_kib_per_participant: Option<f64>,
}

/// How the bench itself fared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BenchResult {
    /// The bench's CPU time as a share (0 to 1) of what all of its machine's cores have.
    pub cpu_share: f64,
    /// How late the bench's timers fired, in milliseconds.
    pub timer_lag_ms: Percentiles,
    /// Packets that the bench sent late.
    pub sends_late: u64,
    /// Datagrams that the kernel dropped because the bench read its sockets too slowly.
    pub kernel_drops: u64,
    /// If the bench could not keep up, why its figures say nothing about the server: a sentence.
    pub bottleneck: Option<String>,
}

/// One second of a run. Shares go from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the run began.
    pub at_seconds: f64,
    /// Participants connected.
    pub participants: u64,
    /// Packets that arrived at all receivers in this second.
    pub packets_per_second: f64,
    /// Packets of this second that are missing, as a share of those expected; absent if none was expected.
    pub lost_share: Option<f64>,
    /// Median of the one-way latency; absent if nothing arrived.
    pub latency_p50_ms: Option<f64>,
    /// The latency that one packet in a hundred exceeds; absent if nothing arrived.
    pub latency_p99_ms: Option<f64>,
    /// Video that stood still, as a share of what was to be seen; absent if nothing was.
    pub frozen_share: Option<f64>,
    /// Video that was of the encoding that its tile wants, as a share of what was to be seen; absent where there is nothing to choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_wanted_share: Option<f64>,
    /// The server's CPU time as a share of all cores, if its process could be watched.
    pub server_cpu_share: Option<f64>,
    /// The bench's CPU time as a share of all cores.
    pub bench_cpu_share: f64,
}

impl RunResult {
    /// All media together. Counts, bitrate and frames are sums; see [`Percentiles::worst`] for the latency.
    pub fn total(&self) -> MediaResult {
        let sum = |count: fn(&MediaResult) -> u64| self.media.iter().map(count).fold(0, u64::saturating_add);
        let add = |figure: fn(&MediaResult) -> f64| self.media.iter().map(figure).sum();
        MediaResult {
            name: "total".to_owned(),
            packets: Packets {
                sent: sum(|media| media.packets.sent),
                expected: sum(|media| media.packets.expected),
                received: sum(|media| media.packets.received),
                lost: sum(|media| media.packets.lost),
                duplicated: sum(|media| media.packets.duplicated),
                reordered: sum(|media| media.packets.reordered),
                retransmitted: sum(|media| media.packets.retransmitted),
            },
            bitrate_bps: add(|media| media.bitrate_bps),
            latency_ms: Percentiles::worst(self.media.iter().map(|media| &media.latency_ms)),
            frames: Frames {
                expected: sum(|media| media.frames.expected),
                complete: sum(|media| media.frames.complete),
                dropped: sum(|media| media.frames.dropped),
                freezes: sum(|media| media.frames.freezes),
                frozen_seconds: add(|media| media.frames.frozen_seconds),
                watched_seconds: add(|media| media.frames.watched_seconds),
            },
            layers: None,
        }
    }

    /// Packets that arrived in a second, at all receivers together; nothing if nothing was measured.
    pub fn packets_per_second(&self) -> Option<f64> {
        share(self.total().packets.received as f64, self.measured_seconds)
    }
}

impl Packets {
    /// What is missing, as a share of what was expected; nothing if nothing was.
    pub fn lost_share(&self) -> Option<f64> {
        share(self.lost as f64, self.expected as f64)
    }

    /// Copies, as a share of what arrived; nothing if nothing did.
    pub fn duplicated_share(&self) -> Option<f64> {
        share(self.duplicated as f64, self.received as f64)
    }

    /// Packets out of order, as a share of what arrived; nothing if nothing did.
    pub fn reordered_share(&self) -> Option<f64> {
        share(self.reordered as f64, self.received as f64)
    }
}

impl Frames {
    /// Standing still, as a share of what was to be seen; nothing if nothing was.
    pub fn frozen_share(&self) -> Option<f64> {
        share(self.frozen_seconds, self.watched_seconds)
    }
}

impl Joins {
    /// Joins that did not succeed, as a share of those attempted; nothing if none was.
    pub fn failed_share(&self) -> Option<f64> {
        share(self.failed.saturating_add(self.refused) as f64, self.attempted as f64)
    }
}

/// A part of a whole; nothing if there is no whole.
pub fn share(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole).filter(|share| share.is_finite())
}
