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

/// Sends what is due until told to leave; gives the model back.
pub(super) async fn publish(
    shared: Arc<Shared>,
    number: u32,
    mut model: Model,
    mut sender: Sender,
    mut leave: watch::Receiver<bool>,
) -> (u32, Model) {
    let clock_rate = match sender.kind() {
        Kind::Audio => 48_000,
        Kind::Video => 90_000,
    };
    let encoding = top_encoding(&model);
    let mut payload = Vec::new();
    let (mut answered, mut report_due) = (0, Instant::now());
    loop {
        let now = Instant::now();
        // One that comes too soon after another is answered as soon as the encoder may.
        if sender.keyframe_requests() != answered && model.request_keyframe(now, encoding) {
            answered = sender.keyframe_requests();
        }
        let mut last = None;
        while let Some(packet) = model.poll(now) {
            if packet.encoding != encoding {
                continue;
            }
            packet.write(number, now_micros(), &mut payload);
            let audio_level = match packet.content {
                Content::Opus { level, voice } => Some((level, voice)),
                Content::Vp8 { .. } => None,
            };
            let outgoing = Outgoing { timestamp: packet.timestamp, marker: packet.marker, payload: payload.len(), audio_level };
            if sender.push(&outgoing, |out| out.copy_from_slice(&payload))
                && let Some(publication) = shared.publications.get(number)
            {
                publication.sent.store(packet.counter + 1, Ordering::Relaxed);
                shared.sends.fetch_add(1, Ordering::Relaxed);
                shared.sends_late.fetch_add(u64::from(now > packet.at + LATE), Ordering::Relaxed);
            }
            last = Some((packet.at, packet.timestamp));
        }
        sender.flush();
        if let Some((at, timestamp)) = last
            && now >= report_due
        {
            report_due = now + REPORT_INTERVAL;
            let since = now.saturating_duration_since(at).as_micros() as u64 * clock_rate / 1_000_000;
            sender.report(ntp(now_micros()), timestamp.wrapping_add(since as u32));
        }
        let Some(due) = model.poll_timeout() else { return (number, model) };
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            _ = leave.wait_for(|leave| *leave) => return (number, model),
        }
    }
}

/// The best encoding of a simulcast: the one that is sent as long as servers are offered one.
fn top_encoding(model: &Model) -> u8 {
    match model {
        Model::Video(video) => video.encodings().saturating_sub(1),
        _ => 0,
    }
}

/// NTP time in 32.32 bits (RFC 3550 §4).
fn ntp(micros: u64) -> u64 {
    ((micros / 1_000_000 + TO_1970) << 32) | (((micros % 1_000_000) << 32) / 1_000_000)
}
