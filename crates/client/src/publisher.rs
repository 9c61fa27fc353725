//! Sending: one task for each publication, which packetizes and paces while its gate is open.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use switchyard_protocol::{Kind, ParticipantId};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::media::{AudioLoop, Media, Sequence, VideoLoop, Vp8Packetizer};
use crate::peer::{self, Line};
use crate::sequence::{Stamp, micros_at, now_micros};

/// A publication's task and how it is told what to do. Dropping it ends the task.
pub(crate) struct Publisher {
    gate: watch::Sender<bool>,
    resting: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

/// What a publication is made of and who it belongs to.
pub(crate) struct Publication {
    pub(crate) line: Arc<Line>,
    pub(crate) media: Media,
    pub(crate) publisher: ParticipantId,
    pub(crate) number: u16,
    /// RTP packets sent.
    pub(crate) sent: Arc<AtomicU64>,
    /// Keyframes asked for.
    pub(crate) keyframe_requests: Arc<AtomicU64>,
    /// Whether to send sender reports.
    pub(crate) reports: bool,
}

impl Publisher {
    /// Starts the task with its gate closed.
    pub(crate) fn start(publication: Publication) -> Self {
        let (gate, open) = watch::channel(false);
        let (rests, resting) = watch::channel(true);
        Self { gate, resting, task: tokio::spawn(run(publication, open, rests)) }
    }

    /// Opens the gate or closes it.
    pub(crate) fn set_open(&self, open: bool) {
        self.gate.send_if_modified(|was| std::mem::replace(was, open) != open);
    }

    /// Turns true when nothing more is sent until the gate opens again.
    pub(crate) fn resting(&self) -> watch::Receiver<bool> {
        self.resting.clone()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(publication: Publication, mut open: watch::Receiver<bool>, rests: watch::Sender<bool>) {
    let mut stream = match &publication.media {
        Media::Video(video) => Stream::video(video.clone()),
        Media::Audio(audio) => Stream::audio(audio.clone()),
        Media::Sequence(sequence) => Stream::sequence(*sequence, publication.line.kind),
        Media::Silent => return,
    };
    let mut wire = Wire::new(publication);
    while open.wait_for(|open| *open).await.is_ok() {
        rests.send_replace(false);
        wire.resume();
        let mut ticks = interval(stream.period);
        // The rate holds over time: what a busy machine delayed is sent as soon as it can be.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            tokio::select! {
                biased;
                changed = open.changed() => {
                    if changed.is_err() || !*open.borrow() {
                        break;
                    }
                }
                _ = ticks.tick() => {
                    if !stream.next(&mut wire).await {
                        return;
                    }
                }
            }
        }
        // What waits for the gate to have closed finds every packet counted.
        rests.send_replace(true);
    }
}

/// Between two sender reports (RFC 3550 §6.2 asks for at least as much by default; browsers send video's as often).
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The RTP side of a publication: numbers, clock, counters.
struct Wire {
    publication: Publication,
    clock_rate: u32,
    started: Instant,
    /// When what is sent now is due, after the start. It goes by the media's own time, not by that of sending, and so do the
    /// sender reports: sound and picture fit together however late a busy machine sends them.
    due: Duration,
    sequence_number: u16,
    octets: u32,
    /// When the next sender report is due.
    report_due: Duration,
}

impl Wire {
    fn new(publication: Publication) -> Self {
        let clock_rate = match publication.line.kind {
            Kind::Audio => 48_000,
            Kind::Video => 90_000,
        };
        Self {
            publication,
            clock_rate,
            started: Instant::now(),
            due: Duration::ZERO,
            // Any start will do (RFC 3550 §5.1); near the wrap, so that everybody meets it soon.
            sequence_number: 0xff00,
            octets: 0,
            report_due: Duration::ZERO,
        }
    }

    /// The clock has gone on while nothing was sent.
    fn resume(&mut self) {
        self.due = self.started.elapsed();
        self.report_due = self.due;
    }

    fn timestamp(&self) -> u32 {
        ticks(self.due, self.clock_rate)
    }

    async fn send(&mut self, payload: Bytes, marker: bool) -> bool {
        self.octets = self.octets.wrapping_add(payload.len() as u32);
        let packet = peer::packet(&self.publication.line, self.sequence_number, self.timestamp(), marker, payload);
        self.sequence_number = self.sequence_number.wrapping_add(1);
        let sent = peer::send(&self.publication.line, packet).await;
        self.publication.sent.fetch_add(u64::from(sent), Ordering::Relaxed);
        sent
    }

    /// Sends a sender report when it is time for one: with the first packet, so that receivers know the clock at once, and then
    /// every second.
    async fn report(&mut self) -> bool {
        if !self.publication.reports || self.due < self.report_due {
            return true;
        }
        self.report_due = self.due + REPORT_INTERVAL;
        let packets = self.publication.sent.load(Ordering::Relaxed) as u32;
        let report = peer::sender_report(&self.publication.line, ntp(self.started + self.due), self.timestamp(), packets, self.octets);
        peer::send_report(&self.publication.line, report).await
    }

    fn advance(&mut self, time: Duration) {
        self.due += time;
    }
}

/// An instant as NTP time in 32.32 bits (RFC 3550 §4).
fn ntp(instant: Instant) -> u64 {
    /// Seconds from 1900 to 1970.
    const TO_1970: u64 = 2_208_988_800;
    let micros = micros_at(instant);
    let fraction = ((micros % 1_000_000) << 32) / 1_000_000;
    (micros / 1_000_000 + TO_1970) << 32 | fraction
}

/// A duration on an RTP clock.
fn ticks(time: Duration, clock_rate: u32) -> u32 {
    (time.as_nanos() * u128::from(clock_rate) / 1_000_000_000) as u32
}

/// What comes next, and how often.
struct Stream {
    period: Duration,
    source: StreamSource,
}

enum StreamSource {
    Video { video: Arc<VideoLoop>, frame: usize, packetizer: Vp8Packetizer, answered_requests: u64 },
    Audio { audio: Arc<AudioLoop>, packet: usize },
    Sequence { sequence: Sequence, kind: Kind, counter: u64 },
}

impl Stream {
    fn video(video: Arc<VideoLoop>) -> Self {
        let period = video.frame_time;
        Self { period, source: StreamSource::Video { video, frame: 0, packetizer: Vp8Packetizer::default(), answered_requests: 0 } }
    }

    fn audio(audio: Arc<AudioLoop>) -> Self {
        Self { period: audio.packet_time, source: StreamSource::Audio { audio, packet: 0 } }
    }

    fn sequence(sequence: Sequence, kind: Kind) -> Self {
        let rate = f64::from(sequence.packets_per_second.max(1)) / f64::from(sequence.burst.max(1));
        Self { period: Duration::from_secs_f64(rate.recip()), source: StreamSource::Sequence { sequence, kind, counter: 0 } }
    }

    /// Sends what is due at one tick; false when the connection is gone.
    async fn next(&mut self, wire: &mut Wire) -> bool {
        match &mut self.source {
            StreamSource::Video { video, frame, packetizer, answered_requests } => {
                let requests = wire.publication.keyframe_requests.load(Ordering::Relaxed);
                if requests != *answered_requests {
                    // A loop can't encode one when asked: it jumps to the next it has.
                    *answered_requests = requests;
                    *frame = video.keyframe_from(*frame);
                }
                let payloads = packetizer.packetize(&video.frames[*frame].data);
                let last = payloads.len() - 1;
                for (index, payload) in payloads.into_iter().enumerate() {
                    if !wire.send(payload, index == last).await {
                        return false;
                    }
                }
                *frame = (*frame + 1) % video.frames.len();
            }
            StreamSource::Audio { audio, packet } => {
                if !wire.send(audio.packets[*packet].clone(), false).await {
                    return false;
                }
                *packet = (*packet + 1) % audio.packets.len();
            }
            StreamSource::Sequence { sequence, kind, counter } => {
                for _ in 0..sequence.burst.max(1) {
                    let stamp = Stamp {
                        publisher: wire.publication.publisher.0,
                        publication: wire.publication.number,
                        counter: *counter,
                        sent_micros: now_micros(),
                    };
                    if !wire.send(stamp.payload(*kind, sequence.bytes), *kind == Kind::Video).await {
                        return false;
                    }
                    *counter += 1;
                }
            }
        }
        let reported = wire.report().await;
        wire.advance(self.period);
        reported
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_count_their_ticks() {
        assert_eq!(ticks(Duration::from_millis(40), 90_000), 3_600);
        assert_eq!(ticks(Duration::from_millis(20), 48_000), 960);
        assert_eq!(ticks(Duration::from_secs(86_400), 90_000), (86_400_u64 * 90_000) as u32, "and wrap");
    }

    #[test]
    fn ntp_time_goes_on_like_any_other() {
        let now = Instant::now();
        let half_a_second = ntp(now + Duration::from_millis(500)) - ntp(now);
        assert!(half_a_second.abs_diff(1 << 31) < 1 << 14, "{half_a_second}");
    }

    #[test]
    fn bursts_keep_the_rate() {
        let sequence = Sequence { packets_per_second: 250, bytes: 1000, burst: 3 };
        assert_eq!(Stream::sequence(sequence, Kind::Video).period, Duration::from_millis(12));
    }
}
