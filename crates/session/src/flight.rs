//! The server's last flight, kept to be sent again (RFC 6347 §4.2.4).

use std::time::{Duration, Instant};

use crate::record;

/// The server waits this long for an answer to its certificate, then twice as long, up to [`MAX_INTERVAL`].
/// (RFC 6347 §4.2.4.1 says 1 s, and lets time-critical applications wait less.)
const INTERVAL: Duration = Duration::from_millis(400);
/// The longest that it waits: whoever joins over a bad line is not kept waiting by a backoff that has grown out of all proportion.
const MAX_INTERVAL: Duration = Duration::from_millis(3200);
/// Two datagrams of a repeated flight make one answer.
const MIN_SPACING: Duration = Duration::from_millis(25);
/// How often a flight is sent again, for either reason: what an unauthenticated client can get (some 30 KB) is bounded.
pub(crate) const MAX_RESENDS: u32 = 30;

/// The datagrams of a flight, and when they are due again.
#[derive(Default)]
pub(crate) struct Flight {
    datagrams: Vec<Vec<u8>>,
    sent_at: Option<Instant>,
    resend_at: Option<Instant>,
    interval: Duration,
    resends: u32,
}

impl Flight {
    /// A flight that was just sent, to be repeated only when the client repeats its own.
    pub(crate) fn sent(now: Instant, datagrams: Vec<Vec<u8>>) -> Self {
        Self { datagrams, sent_at: Some(now), ..Self::default() }
    }

    /// From now on silence repeats the flight as well.
    pub(crate) fn await_answer(&mut self, now: Instant) {
        self.resend_at = Some(now + INTERVAL);
        self.interval = INTERVAL * 2;
    }

    /// The answer came.
    pub(crate) fn answered(&mut self) {
        self.resend_at = None;
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.resend_at
    }

    /// The flight again, if silence has lasted long enough.
    pub(crate) fn handle_timeout(&mut self, now: Instant, next_record: &mut u64) -> &[Vec<u8>] {
        let due = self.resend_at.is_some_and(|at| at <= now);
        self.resend(now, due, next_record)
    }

    /// The flight again, because the client repeats its own: the answer to it was lost.
    pub(crate) fn repeat(&mut self, now: Instant, next_record: &mut u64) -> &[Vec<u8>] {
        let due = self.sent_at.is_some_and(|at| now.saturating_duration_since(at) >= MIN_SPACING);
        self.resend(now, due, next_record)
    }

    fn resend(&mut self, now: Instant, due: bool, next_record: &mut u64) -> &[Vec<u8>] {
        if !due {
            return &[];
        }
        if self.resends >= MAX_RESENDS {
            self.resend_at = None;
            return &[];
        }
        self.resends += 1;
        self.sent_at = Some(now);
        if self.resend_at.is_some() {
            self.resend_at = Some(now + self.interval);
            self.interval = (self.interval * 2).min(MAX_INTERVAL);
        }
        self.datagrams.iter_mut().for_each(|datagram| record::renumber(datagram, next_record));
        &self.datagrams
    }
}
