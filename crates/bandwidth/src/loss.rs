//! What loss says of the line: whether it is the line's own, like a radio link's, or made by sending too much.
//!
//! Loss that comes of sending too much goes away when less is sent than was last delivered; the line's own stays. So the first time that
//! more is lost than the line is known to lose, the rate is cut below what arrived, and what is lost then tells which it was. If it was the line's own, that
//! much is borne from then on and the rate is what it was before.

/// Packets that a judgement takes at least: fewer say little.
const LEAST_PACKETS: u32 = 20;
/// The same of whether a cut helped, which is remembered.
const LEAST_TRIED: u32 = 30;
/// The shortest time for a judgement, in microseconds: some feedback messages.
const LEAST_TIME: i64 = 200_000;
/// After so long a trial is over for want of packets, in microseconds: where nothing is sent any more only a probe brings some.
const LONGEST_TRIAL: i64 = 2_000_000;
/// What is lost beyond the expected before it means anything: one packet in fifty is neither heard nor seen, when it can be sent again.
const TOLERANCE: f64 = 0.02;
/// More than this is borne from no line: a picture can't be kept up by retransmissions.
const MOST_INHERENT: f64 = 0.4;
/// Of what was lost before a cut, the part that is still lost if the loss is the line's own.
const PERSISTING: f64 = 0.3;

/// What is to be done because of loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Nothing.
    Fine,
    /// Send less: this share of packets is lost beyond what the line loses by itself.
    Congested(f64),
    /// The last cut was in vain: the line loses by itself.
    Inherent,
}

/// The loss since the last judgement, and what the line is known to lose.
#[derive(Debug, Default)]
pub(crate) struct Loss {
    arrived: u32,
    missing: u32,
    begun: Option<i64>,
    /// Packets sent before this say nothing: they were sent at another rate.
    since: i64,
    inherent: f64,
    /// What cuts have shown it to lose: chance may hide some of it for a while, and bring it back, but no more than that.
    proven: f64,
    /// The loss before the cut that is being tried.
    trial: Option<f64>,
    ratio: f64,
}

impl Loss {
    /// A packet sent at `sent` microseconds is reported as arrived or as missing.
    pub(crate) fn add(&mut self, sent: i64, arrived: bool) {
        if sent >= self.since {
            *(if arrived { &mut self.arrived } else { &mut self.missing }) += 1;
        }
    }

    /// A packet that was reported as missing has arrived.
    pub(crate) fn correct(&mut self, sent: i64) {
        if sent >= self.since {
            self.missing = self.missing.saturating_sub(1);
            self.arrived += 1;
        }
    }

    /// The rate has been changed at `now`: what was sent before says nothing of it. With `trial` the next judgement says whether it helped.
    pub(crate) fn cut(&mut self, now: i64, trial: bool) {
        *self = Self {
            since: now,
            inherent: self.inherent,
            proven: self.proven,
            trial: trial.then_some(self.ratio),
            ratio: self.ratio,
            ..Self::default()
        };
    }

    /// Whether a cut is being tried.
    pub(crate) const fn is_trying(&self, now: i64) -> bool {
        self.trial.is_some() && now - self.since < LONGEST_TRIAL
    }

    /// Judges what was reported, if it is enough. `queued`: whether packets wait, so that loss may come of somebody else's sending.
    pub(crate) fn judge(&mut self, now: i64, round_trip: i64, queued: bool) -> Verdict {
        let begun = *self.begun.get_or_insert(now);
        let packets = self.arrived + self.missing;
        let least = if self.is_trying(now) { LEAST_TRIED } else { LEAST_PACKETS };
        if packets < least || now - begun < round_trip.max(LEAST_TIME) {
            return Verdict::Fine;
        }
        let count = f64::from(packets);
        let ratio = f64::from(self.missing) / count;
        (self.arrived, self.missing, self.begun) = (0, 0, Some(now));
        self.ratio = ratio;
        if let Some(before) = self.trial.take()
            && !queued
            && ratio > PERSISTING * before
        {
            self.inherent = self.inherent.max(ratio.min(before)).min(MOST_INHERENT);
            self.proven = self.proven.max(self.inherent);
            return Verdict::Inherent;
        }
        // Two standard deviations of what is drawn by chance.
        let expected = self.inherent.max(0.005);
        let tolerance = TOLERANCE + 2.0 * (expected * (1.0 - expected) / count).sqrt();
        let excess = ratio - self.inherent;
        if excess > tolerance {
            return Verdict::Congested(excess);
        }
        self.inherent = (self.inherent + 0.1 * excess).min(self.proven);
        self.proven += 0.01 * (self.inherent - self.proven);
        Verdict::Fine
    }

    /// The share of packets lost at the last judgement, and what the line is known to lose.
    pub(crate) const fn ratios(&self) -> (f64, f64) {
        (self.ratio, self.inherent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges `lost` of 100 packets sent within a second of `at`.
    fn judged(loss: &mut Loss, at: i64, lost: u32, queued: bool) -> Verdict {
        assert_eq!(loss.judge(at * 1_000_000, 0, queued), Verdict::Fine, "nothing to judge yet");
        for packet in 0..100 {
            loss.add(at * 1_000_000, packet >= lost);
        }
        loss.judge(at * 1_000_000 + 900_000, 0, queued)
    }

    #[test]
    fn loss_that_outlasts_a_cut_is_the_lines_own() {
        let mut loss = Loss::default();
        assert_eq!(judged(&mut loss, 1, 1, false), Verdict::Fine);
        assert_eq!(judged(&mut loss, 2, 6, false), Verdict::Congested(0.06));
        loss.cut(3_000_000, true);
        assert_eq!(judged(&mut loss, 3, 5, false), Verdict::Inherent);
        assert_eq!(judged(&mut loss, 4, 8, false), Verdict::Fine, "no more than that by chance");
        assert!(matches!(judged(&mut loss, 5, 18, false), Verdict::Congested(_)), "far more than that");
        for at in 6..60 {
            judged(&mut loss, at, 0, false);
        }
        assert!(matches!(judged(&mut loss, 60, 6, false), Verdict::Congested(_)), "the line has long been clean");
    }

    #[test]
    fn what_a_line_was_shown_to_lose_is_borne_as_chance_has_it_and_no_more() {
        for (lost, least, most) in [(6, 2, 10), (30, 22, 38)] {
            let mut loss = Loss::default();
            assert!(matches!(judged(&mut loss, 1, lost, false), Verdict::Congested(_)));
            loss.cut(2_000_000, true);
            assert_eq!(judged(&mut loss, 2, lost, false), Verdict::Inherent);
            for at in 3..60 {
                assert_eq!(judged(&mut loss, at, if at % 2 == 0 { least } else { most }, false), Verdict::Fine, "{lost} at {at}");
            }
            let creeping = (60..120).map(|at| judged(&mut loss, at, lost + (at as u32 - 60) / 2, false));
            assert!(creeping.into_iter().any(|verdict| verdict != Verdict::Fine), "no more than was shown");
        }
    }

    #[test]
    fn a_trial_for_which_nothing_is_sent_ends() {
        let mut loss = Loss::default();
        loss.cut(1_000_000, true);
        assert!(loss.is_trying(1_000_000 + LONGEST_TRIAL - 1) && !loss.is_trying(1_000_000 + LONGEST_TRIAL));
    }

    #[test]
    fn loss_that_ends_with_a_cut_or_comes_with_a_queue_is_congestion() {
        for (after, queued) in [(0, false), (6, true)] {
            let mut loss = Loss::default();
            assert_eq!(judged(&mut loss, 1, 6, queued), Verdict::Congested(0.06));
            loss.cut(2_000_000, true);
            assert_ne!(judged(&mut loss, 2, after, queued), Verdict::Inherent);
            assert_eq!(judged(&mut loss, 3, 6, queued), Verdict::Congested(0.06), "as at first");
        }
    }

    #[test]
    fn what_was_sent_before_a_cut_and_what_is_only_late_do_not_count() {
        let mut loss = Loss::default();
        loss.cut(1_000_000, false);
        loss.judge(1_000_000, 0, false);
        for packet in 0..100 {
            loss.add(999_999, false);
            loss.add(1_000_001, packet >= 10);
        }
        for _ in 0..10 {
            loss.correct(1_000_001);
        }
        assert_eq!(loss.judge(2_000_000, 0, false), Verdict::Fine);
        assert_eq!(loss.ratios(), (0.0, 0.0));
    }
}
