//! Media time and wall time: what sender reports say (RFC 3550 §6.4.1).

use std::time::{Duration, Instant};

/// NTP time (RFC 5905 §6): 32 bits of seconds since 1900, 32 bits of fraction.
pub(crate) type Ntp = u64;

/// The server's wall clock, fixed at start: a step of the system's clock does not reach media.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallClock {
    epoch: Instant,
    epoch_ntp: Ntp,
}

impl WallClock {
    pub(crate) fn new(epoch: Instant, epoch_ntp: Ntp) -> Self {
        Self { epoch, epoch_ntp }
    }

    /// What NTP time it is at `now`.
    pub(crate) fn ntp(&self, now: Instant) -> Ntp {
        let since = now.saturating_duration_since(self.epoch);
        self.epoch_ntp.wrapping_add(since.as_secs() << 32).wrapping_add((u64::from(since.subsec_nanos()) << 32) / 1_000_000_000)
    }
}

/// The middle 32 bits of an NTP time, as report blocks repeat them: units of 1/65536 s.
pub(crate) fn compact(ntp: Ntp) -> u32 {
    (ntp >> 16) as u32
}

/// A duration in units of 1/65536 s.
pub(crate) fn compact_duration(duration: Duration) -> u32 {
    (duration.as_micros() * 65_536 / 1_000_000).min(u128::from(u32::MAX)) as u32
}

/// By how much a publisher's wall clock is behind the server's, the time on the way included: one value for all its tracks, so that
/// what was captured together is reported together.
///
/// The least delayed report tells the offset best, so it is the minimum over reports; it may creep up by 200 ppm, twice what two
/// crystals differ by, so that it follows a clock that is slower than ours.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PublisherClock {
    offset: Option<(u64, Instant)>,
}

impl PublisherClock {
    /// Hears a sender report with `reported` time that arrived at `now`, `arrived` by the server's clock; returns `reported` in server time.
    pub(crate) fn handle_report(&mut self, now: Instant, arrived: Ntp, reported: Ntp) -> Ntp {
        let sample = arrived.wrapping_sub(reported);
        let offset = match self.offset {
            None => sample,
            Some((offset, at)) => {
                let elapsed = now.saturating_duration_since(at).as_millis().min(3_600_000) as u64;
                let crept = offset.wrapping_add(elapsed * ((1u64 << 32) / 1_000) / 5_000);
                let difference = sample.wrapping_sub(offset) as i64;
                // A step of the publisher's own clock: begin anew.
                if difference.unsigned_abs() > 10 << 32 || difference < 0 {
                    sample
                } else if sample.wrapping_sub(crept) as i64 > 0 {
                    crept
                } else {
                    sample
                }
            }
        };
        self.offset = Some((offset, now));
        reported.wrapping_add(offset)
    }
}

/// When which sample of a track was captured: at `ntp` (server time) its RTP timestamp was `rtp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TrackClock {
    pub(crate) ntp: Ntp,
    pub(crate) rtp: u32,
}

impl TrackClock {
    /// The RTP timestamp at `ntp`, `rate` units a second.
    pub(crate) fn rtp_at(&self, ntp: Ntp, rate: u32) -> u32 {
        let elapsed = i128::from(ntp.wrapping_sub(self.ntp) as i64) * i128::from(rate);
        self.rtp.wrapping_add((elapsed >> 32) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1 << 32;

    #[test]
    fn audio_and_video_captured_together_are_reported_together() {
        let start = Instant::now();
        let mut clock = PublisherClock::default();
        let publisher = |seconds: u64| (1_000 + seconds) * SECOND;
        let server = |seconds: u64, delay: u64| (5_000 + seconds) * SECOND + delay;
        // Audio's report took 10 ms, video's, a second later, 250 ms.
        let ms = SECOND / 1_000;
        let audio = TrackClock { ntp: clock.handle_report(start, server(0, 10 * ms), publisher(0)), rtp: 48_000 };
        let later = start + Duration::from_millis(1_240);
        let video = TrackClock { ntp: clock.handle_report(later, server(1, 250 * ms), publisher(1)), rtp: 90_000 * 7 };
        let asked = server(3, 0);
        let audio_seconds = f64::from(audio.rtp_at(asked, 48_000)) / 48_000.0;
        let video_seconds = f64::from(video.rtp_at(asked, 90_000)) / 90_000.0;
        // By the publisher's clock sample 1 s of audio belongs to 6 s of video.
        assert!((video_seconds - audio_seconds - 5.0).abs() < 0.001, "{video_seconds} {audio_seconds}");
    }

    #[test]
    fn a_step_of_the_publishers_clock_is_followed() {
        let start = Instant::now();
        let mut clock = PublisherClock::default();
        clock.handle_report(start, 100 * SECOND, 100 * SECOND);
        let stepped = clock.handle_report(start + Duration::from_secs(1), 101 * SECOND, 701 * SECOND);
        assert_eq!(stepped, 101 * SECOND);
    }
}
