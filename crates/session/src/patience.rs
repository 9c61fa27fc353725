//! How long to wait before something that was not acknowledged is sent again.
//!
//! `rtc-sctp` doubles its pause with every attempt, up to a minute (RFC 9260 §6.3.3), and gives no way to change that. Over a line that was dead for 45 s the next attempt
//! would come half a minute after it has come back. So its timers are run ahead of their time here.
//! A message with a lifetime (`maxPacketLifeTime`) that waits meanwhile may be given up early for that; those with a number of retransmissions, or none, are not.

use std::time::{Duration, Instant};

use rtc_sctp::AssociationStats;

/// The longest pause, unless the line's round trip is longer than half of that. What is sent in vain is one packet each time. Browsers wait 3 s at most.
const LONGEST: Duration = Duration::from_secs(2);
/// What was sent less than this long ago may well be acknowledged yet, unless nothing has been of late.
const FRESH: Duration = Duration::from_millis(200);
/// `rtc-sctp` delays acknowledgements by up to this long; a deadline so near is not one of those that grow.
const ACKNOWLEDGEMENT: Duration = Duration::from_millis(200);

/// Watches the deadline of an association.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// The deadline and when it was first seen.
    watched: Option<(Instant, Instant)>,
    round_trip: Duration,
    /// Attempts that were made because nothing was acknowledged in time, and acknowledgements that had come when the last of them was.
    attempts: u64,
    acknowledged: u64,
    /// None has come since.
    in_vain: bool,
}

impl Patience {
    /// Notes the association's next deadline. To be called after whatever may have changed it.
    pub(crate) fn watch(&mut self, now: Instant, deadline: Option<Instant>, round_trip: Duration, mut stats: AssociationStats) {
        self.round_trip = round_trip;
        let (attempts, acknowledged) = (stats.get_num_t3timeouts(), stats.get_num_sacks());
        if std::mem::replace(&mut self.attempts, attempts) != attempts {
            self.acknowledged = acknowledged;
        }
        self.in_vain = attempts > 0 && self.acknowledged == acknowledged;
        let is_near = deadline.is_some_and(|deadline| deadline <= now + ACKNOWLEDGEMENT);
        self.watched = match (deadline, self.watched) {
            (Some(deadline), Some((watched, since))) if deadline == watched => Some((watched, since)),
            // An acknowledgement that is due hides the deadline behind it.
            (Some(_), Some((watched, since))) if is_near && watched > now => Some((watched, since)),
            (Some(deadline), _) if !is_near => Some((deadline, now)),
            _ => None,
        };
    }

    /// When [`Patience::expire`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.watched.map(|(deadline, since)| deadline.min(since + self.longest()))
    }

    /// The moment that the association is to believe it is: `now`, or its deadline if that was waited for long enough.
    pub(crate) fn expire(&mut self, now: Instant) -> Instant {
        match self.watched {
            Some((deadline, since)) if now >= since + self.longest() => self.end(now, deadline),
            _ => now,
        }
    }

    /// The line is back: the same at once, but not for what was sent just now for the first time.
    pub(crate) fn hurry(&mut self, now: Instant) -> Instant {
        match self.watched {
            Some((deadline, since)) if self.in_vain || now >= since + FRESH => self.end(now, deadline),
            _ => now,
        }
    }

    fn longest(&self) -> Duration {
        (self.round_trip * 2).max(LONGEST)
    }

    fn end(&mut self, now: Instant, deadline: Instant) -> Instant {
        self.watched = None;
        deadline.max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    #[test]
    fn no_pause_is_longer_than_two_seconds_or_two_round_trips() {
        let now = Instant::now();
        let minute = Some(now + Duration::from_secs(60));
        for (round_trip, pause) in [(RTT, LONGEST), (Duration::from_secs(3), Duration::from_secs(6))] {
            let mut patience = Patience::default();
            patience.watch(now, minute, round_trip, AssociationStats::default());
            patience.watch(now + pause / 2, minute, round_trip, AssociationStats::default());
            assert_eq!(patience.poll_timeout(), Some(now + pause));
            let early = now + pause - Duration::from_millis(1);
            assert_eq!(patience.expire(early), early);
            assert_eq!(Some(patience.expire(now + pause)), minute);
            assert_eq!(patience.poll_timeout(), None);
        }
    }

    #[test]
    fn a_line_that_is_back_ends_a_pause_at_once_but_for_what_was_sent_just_now() {
        let now = Instant::now();
        let deadline = now + Duration::from_secs(30);
        let mut patience = Patience::default();
        patience.watch(now, Some(deadline), RTT, AssociationStats::default());
        assert_eq!(patience.hurry(now + FRESH / 2), now + FRESH / 2);
        assert_eq!(patience.hurry(now + FRESH), deadline);
        assert_eq!(patience.hurry(now + FRESH), now + FRESH, "once");
        let mut stats = AssociationStats::default();
        stats.inc_t3timeouts();
        patience.watch(now, Some(deadline), RTT, stats);
        assert_eq!(patience.hurry(now), deadline, "what was sent in vain need not wait");
        stats.inc_sacks();
        patience.watch(now, Some(deadline), RTT, stats);
        assert_eq!(patience.hurry(now), now);
    }

    #[test]
    fn acknowledgements_that_are_due_hide_nothing() {
        let now = Instant::now();
        let deadline = now + Duration::from_secs(30);
        let mut patience = Patience::default();
        patience.watch(now, Some(deadline), RTT, AssociationStats::default());
        for ms in (0..1_900).step_by(100) {
            let now = now + Duration::from_millis(ms);
            patience.watch(now, Some(now + ACKNOWLEDGEMENT), RTT, AssociationStats::default());
        }
        assert_eq!(patience.expire(now + LONGEST), deadline);
    }

    #[test]
    fn a_deadline_that_has_passed_is_forgotten() {
        let now = Instant::now();
        let mut patience = Patience::default();
        patience.watch(now, Some(now + Duration::from_secs(1)), RTT, AssociationStats::default());
        let later = now + Duration::from_secs(1);
        patience.watch(later, Some(later + ACKNOWLEDGEMENT / 2), RTT, AssociationStats::default());
        assert_eq!(patience.poll_timeout(), None);
    }
}
