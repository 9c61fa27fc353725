//! Asking a publisher for keyframes: requests of all subscribers merged, from a bucket of two that refills once a second.

use std::time::{Duration, Instant};

/// Requests that may be sent at once.
const BURST: u8 = 2;
/// After this long another request may be sent.
const REFILL: Duration = Duration::from_secs(1);
/// A request is considered under way for this long; asking again before that can't bring a keyframe sooner.
const UNDER_WAY: Duration = Duration::from_millis(250);

/// The state of keyframe requests for one encoding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyframes {
    tokens: u8,
    refilled: Option<Instant>,
    asked: Option<Instant>,
    wanted: bool,
}

impl Keyframes {
    pub(crate) fn new() -> Self {
        Self { tokens: BURST, refilled: None, asked: None, wanted: false }
    }

    /// Somebody needs a keyframe.
    pub(crate) fn request(&mut self) {
        self.wanted = true;
    }

    /// A keyframe has come: whoever waited has it.
    pub(crate) fn handle_keyframe(&mut self) {
        self.wanted = false;
        self.asked = None;
    }

    /// Whether somebody still waits.
    pub(crate) fn wanted(&self) -> bool {
        self.wanted
    }

    /// Nobody waits any more.
    pub(crate) fn withdraw(&mut self) {
        self.handle_keyframe();
    }

    /// Whether the publisher was asked and has not answered.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// When it is time to look again, if somebody waits: before, [`Keyframes::poll`] asks for nothing.
    pub(crate) fn due(&self) -> Option<Instant> {
        let asked = self.asked.map(|asked| asked + UNDER_WAY);
        let refill = self.refilled.filter(|_| self.tokens == 0).map(|refilled| refilled + REFILL);
        asked.max(refill).filter(|_| self.wanted)
    }

    /// Whether to ask the publisher now. A request that brings no keyframe is repeated for as long as somebody waits.
    pub(crate) fn poll(&mut self, now: Instant) -> bool {
        if !self.wanted || self.asked.is_some_and(|asked| now.saturating_duration_since(asked) < UNDER_WAY) {
            return false;
        }
        match self.refilled {
            Some(refilled) => {
                let periods = now.saturating_duration_since(refilled).as_millis() / REFILL.as_millis();
                if periods > 0 {
                    self.tokens = u8::try_from(periods).unwrap_or(BURST).saturating_add(self.tokens).min(BURST);
                    self.refilled = Some(now);
                }
            }
            None => self.refilled = Some(now),
        }
        if self.tokens == 0 {
            return false;
        }
        if self.tokens == BURST {
            self.refilled = Some(now);
        }
        self.tokens -= 1;
        self.asked = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_requests_at_once_ask_once() {
        let now = Instant::now();
        let mut keyframes = Keyframes::new();
        let asked = (0..100)
            .filter(|_| {
                keyframes.request();
                keyframes.poll(now)
            })
            .count();
        assert_eq!(asked, 1);
    }

    #[test]
    fn over_ten_seconds_of_constant_requests_the_publisher_is_asked_at_most_twelve_times() {
        let start = Instant::now();
        let mut keyframes = Keyframes::new();
        let mut asked = 0;
        for ms in (0..10_000).step_by(10) {
            keyframes.request();
            if keyframes.poll(start + Duration::from_millis(ms)) {
                asked += 1;
                keyframes.handle_keyframe();
            }
        }
        assert!((11..=12).contains(&asked), "{asked}");
    }

    #[test]
    fn nothing_is_missed_by_looking_when_it_is_due() {
        let start = Instant::now();
        let (mut looked, mut polled) = (Keyframes::new(), Keyframes::new());
        looked.request();
        polled.request();
        let often: Vec<_> = (0..5_000).map(|ms| start + Duration::from_millis(ms)).filter(|now| polled.poll(*now)).collect();
        let (mut when_due, mut now) = (Vec::new(), start);
        while now < start + Duration::from_secs(5) {
            when_due.extend(looked.poll(now).then_some(now));
            now = looked.due().expect("somebody waits").max(now + Duration::from_millis(1));
        }
        assert_eq!(when_due, often);
        looked.handle_keyframe();
        assert_eq!(looked.due(), None);
    }

    #[test]
    fn a_request_that_brings_nothing_is_repeated() {
        let start = Instant::now();
        let mut keyframes = Keyframes::new();
        keyframes.request();
        let asked = (0..40).filter(|i| keyframes.poll(start + Duration::from_millis(100 * i))).count();
        assert_eq!(asked, 5, "two at once, then one a second");
    }
}
