//! When an encoding that has stopped is asked for because a line would carry it: not at once again, and more rarely where it is soon given up.

use std::time::{Duration, Instant};

/// After an encoding has stopped it is asked for this much later at the earliest, …
const HOLD: Duration = Duration::from_secs(2);
/// … twice as long each time that it was sent for less than this, …
const SHORT: Duration = Duration::from_secs(30);
/// … and so long at most.
const LONGEST: Duration = Duration::from_secs(60);
/// Browsers send what they are asked for within half a second. What hasn't come after this won't: its publisher has other reasons.
const COMES: Duration = Duration::from_secs(3);

/// What is remembered of an encoding's coming and going.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Comeback {
    began: Option<Instant>,
    hold: Duration,
    not_before: Option<Instant>,
    asked: Option<Instant>,
}

impl Comeback {
    /// The encoding comes.
    pub(crate) fn begin(&mut self, now: Instant) {
        (self.began, self.asked) = (Some(now), None);
    }

    /// It has stopped.
    pub(crate) fn stop(&mut self, now: Instant) {
        let short = self.began.is_some_and(|began| now.saturating_duration_since(began) < SHORT);
        self.hold = if short && !self.hold.is_zero() { (self.hold * 2).min(LONGEST) } else { HOLD };
        self.not_before = Some(now + self.hold);
    }

    /// Somebody's line would carry it; whether that is reason enough to ask for it.
    pub(crate) fn ask(&mut self, now: Instant) -> bool {
        let may = self.not_before.is_none_or(|not_before| now >= not_before);
        if may {
            self.asked.get_or_insert(now);
        }
        may
    }

    /// Whether it was asked for and does not come.
    pub(crate) fn is_in_vain(&self, now: Instant) -> bool {
        self.asked.is_some_and(|asked| now.saturating_duration_since(asked) >= COMES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_soon_given_up_again_is_asked_for_ever_more_rarely() {
        let mut now = Instant::now();
        let mut comeback = Comeback::default();
        comeback.begin(now);
        // For how long it is sent, and how long after that it is not asked for.
        for (sent, held) in [(5, 2), (5, 4), (5, 8), (29, 16), (5, 32), (5, 60), (5, 60), (30, 2), (5, 4)] {
            now += Duration::from_secs(sent);
            comeback.stop(now);
            assert!(!comeback.ask(now + Duration::from_millis(held * 1_000 - 1)), "{held} s");
            now += Duration::from_secs(held);
            assert!(comeback.ask(now), "{held} s");
            comeback.begin(now);
        }
    }

    #[test]
    fn what_is_asked_for_and_does_not_come_is_in_vain() {
        let now = Instant::now();
        let mut comeback = Comeback::default();
        assert!(!comeback.is_in_vain(now + COMES));
        assert!(comeback.ask(now) && comeback.ask(now + COMES / 2));
        assert!(!comeback.is_in_vain(now + COMES / 2) && comeback.is_in_vain(now + COMES));
        comeback.begin(now);
        assert!(!comeback.is_in_vain(now + COMES));
    }
}
