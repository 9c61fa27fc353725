//! One track's packets, from its model to the wire.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use switchyard_client::{Kind, Outgoing, Sender, now_micros};
use tokio::sync::watch;

use super::Shared;
use crate::traffic::{Content, Model};

/// Between two sender reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// A packet that leaves this long after it was due is late: a frame's time at 50 frames a second.
const LATE: Duration = Duration::from_millis(20);
/// Seconds from 1900 to 1970.
const TO_1970: u64 = 2_208_988_800;

/// One encoding on its way out.
struct Stream {
    encoding: u8,
    sender: Sender,
    /// Requests for keyframes that were answered.
    answered: u64,
    report_due: Instant,
    /// When the last packet was due, and its time on the media's clock.
    last: Option<(Instant, u32)>,
}

/// Sends what is due until told to leave; gives the model back. `wanted`: in pixels, how large it is shown at most.
pub(super) async fn publish(
    shared: Arc<Shared>,
    number: u32,
    mut model: Model,
    senders: Vec<Sender>,
    mut wanted: watch::Receiver<(u16, u16)>,
    mut leave: watch::Receiver<bool>,
) -> (u32, Model) {
    // Where only one stream was agreed on, it is that of the best encoding.
    let first = encodings(&model).saturating_sub(senders.len() as u8);
    let stream = |(encoding, sender)| Stream { encoding, sender, answered: 0, report_due: Instant::now(), last: None };
    let mut streams: Vec<Stream> = (first..).zip(senders).map(stream).collect();
    let mut payload = Vec::new();
    loop {
        let now = Instant::now();
        for stream in &mut streams {
            // One that comes too soon after another is answered as soon as the encoder may.
            if stream.sender.keyframe_requests() != stream.answered && model.request_keyframe(now, stream.encoding) {
                stream.answered = stream.sender.keyframe_requests();
            }
            stream.last = None;
        }
        while let Some(packet) = model.poll(now) {
            let Some(stream) = streams.iter_mut().find(|stream| stream.encoding == packet.encoding) else { continue };
            packet.write(number, now_micros(), &mut payload);
            let audio_level = match packet.content {
                Content::Opus { level, voice } => Some((level, voice)),
                Content::Vp8 { .. } => None,
            };
            let outgoing = Outgoing { timestamp: packet.timestamp, marker: packet.marker, payload: payload.len(), audio_level };
            if stream.sender.push(&outgoing, |out| out.copy_from_slice(&payload))
                && let Some(publication) = shared.publications.get(number)
            {
                publication.count_sent(packet.encoding, packet.counter);
                shared.sends.fetch_add(1, Ordering::Relaxed);
                shared.sends_late.fetch_add(u64::from(now > packet.at + LATE), Ordering::Relaxed);
            }
            stream.last = Some((packet.at, packet.timestamp));
        }
        streams.iter_mut().for_each(|stream| stream.finish(now));
        let Some(due) = model.poll_timeout() else { return (number, model) };
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            _ = leave.wait_for(|leave| *leave) => return (number, model),
            Ok(()) = wanted.changed() => {
                let largest = shared.publications.get(number).and_then(|publication| publication.largest_of_use(*wanted.borrow_and_update()));
                for stream in &streams {
                    model.set_active(stream.encoding, largest.is_some_and(|largest| stream.encoding <= largest));
                }
            }
        }
    }
}

impl Stream {
    /// Lets go of what was pushed, with a sender report if one is due.
    fn finish(&mut self, now: Instant) {
        self.sender.flush();
        if let Some((at, timestamp)) = self.last.filter(|_| now >= self.report_due) {
            self.report_due = now + REPORT_INTERVAL;
            let clock_rate = match self.sender.kind() {
                Kind::Audio => 48_000,
                Kind::Video => 90_000,
            };
            let since = now.saturating_duration_since(at).as_micros() as u64 * clock_rate / 1_000_000;
            self.sender.report(ntp(now_micros()), timestamp.wrapping_add(since as u32));
        }
    }
}

fn encodings(model: &Model) -> u8 {
    match model {
        Model::Video(video) => video.encodings(),
        _ => 1,
    }
}

/// NTP time in 32.32 bits (RFC 3550 §4).
fn ntp(micros: u64) -> u64 {
    ((micros / 1_000_000 + TO_1970) << 32) | (((micros % 1_000_000) << 32) / 1_000_000)
}
