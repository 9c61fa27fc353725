//! Who is heard: a few voices at a time, whoever speaks among them.
//!
//! As long as there are no more sources of sound than may be heard, all are. Beyond that, a seat goes to whoever makes a sound, from whoever has been
//! silent for longest; when all seats are taken by sound, speech takes that of what is no speech, and louder speech that of the softest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use switchyard_protocol::TrackId;

use crate::Activity;

/// What is not said again for this long is over: workers say it once a second for as long as there is something.
const EXPIRY: Duration = Duration::from_secs(3);
/// So many dB louder has speech to be to take the seat of other speech.
const LOUDER: u8 = 6;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Source {
    muted: bool,
    /// The turn in which it was last anything but silent.
    last: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Sounding {
    activity: Activity,
    /// dB below overload.
    level: u8,
    told: Instant,
}

/// How much a source deserves a seat: first what it is, then how loud it is, then how lately it was.
type Worth = (u8, u8, u64);

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hearing {
    most: usize,
    sources: BTreeMap<TrackId, Source>,
    /// Those that are not silent.
    sounding: BTreeMap<TrackId, Sounding>,
    /// At most `most`.
    heard: BTreeSet<TrackId>,
    turn: u64,
}

impl Hearing {
    pub fn new(most: usize) -> Self {
        Self { most, sources: BTreeMap::new(), sounding: BTreeMap::new(), heard: BTreeSet::new(), turn: 0 }
    }

    /// How many are heard at most.
    pub fn most(&self) -> usize {
        self.most
    }

    pub fn heard(&self) -> &BTreeSet<TrackId> {
        &self.heard
    }

    pub fn publish(&mut self, track: TrackId, muted: bool) {
        self.sources.insert(track, Source { muted, last: 0 });
        self.fill();
    }

    /// Whether other sources are heard than before.
    pub fn unpublish(&mut self, track: TrackId) -> bool {
        self.sources.remove(&track);
        self.sounding.remove(&track);
        let was_heard = self.heard.remove(&track);
        self.fill();
        was_heard
    }

    /// Who is muted keeps the seat until somebody else needs it. Whether other sources are heard than before.
    pub fn set_muted(&mut self, track: TrackId, muted: bool) -> bool {
        let Some(source) = self.sources.get_mut(&track) else { return false };
        source.muted = muted;
        self.sounding.remove(&track);
        self.contest()
    }

    /// What there is to hear of a source. Whether other sources are heard than before.
    pub fn sound(&mut self, now: Instant, track: TrackId, activity: Activity, level: u8) -> bool {
        let Some(source) = self.sources.get_mut(&track).filter(|source| !source.muted) else { return false };
        if activity == Activity::Silent {
            self.sounding.remove(&track);
        } else {
            self.turn += 1;
            source.last = self.turn;
            self.sounding.insert(track, Sounding { activity, level, told: now });
        }
        self.contest()
    }

    /// When [`Hearing::expire`] wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        self.sounding.values().map(|sounding| sounding.told + EXPIRY).min()
    }

    /// What was not said again is over; which that is.
    pub fn expire(&mut self, now: Instant) -> Vec<TrackId> {
        let over = self.sounding.iter().filter(|(_, sounding)| now.saturating_duration_since(sounding.told) >= EXPIRY);
        let over: Vec<TrackId> = over.map(|(&track, _)| track).collect();
        self.sounding.retain(|track, _| !over.contains(track));
        over
    }

    fn worth(&self, track: TrackId) -> Worth {
        let Some(source) = self.sources.get(&track) else { return (0, 0, 0) };
        match self.sounding.get(&track) {
            Some(Sounding { activity, level, .. }) => (2 + u8::from(*activity == Activity::Speech), 127 - level.min(&127), source.last),
            None => (u8::from(!source.muted), 0, source.last),
        }
    }

    /// Gives free seats to the worthiest; of equals to the oldest.
    fn fill(&mut self) {
        while self.heard.len() < self.most.min(self.sources.len()) {
            let waiting = self.sources.keys().filter(|track| !self.heard.contains(track));
            let Some(best) = waiting.copied().rev().max_by_key(|&track| self.worth(track)) else { return };
            self.heard.insert(best);
        }
    }

    /// Lets whoever has to be heard take a seat.
    fn contest(&mut self) -> bool {
        let mut changed = false;
        // Each takes a seat once at most: who has lost one is worth less than who has it.
        for _ in 0..self.most {
            let waiting = self.sounding.keys().filter(|track| !self.heard.contains(track)).map(|&track| (self.worth(track), track)).max();
            let seated = self.heard.iter().map(|&track| (self.worth(track), track)).min();
            let (Some((best, winner)), Some((worst, loser))) = (waiting, seated) else { break };
            let takes = match (best.0, worst.0) {
                (3, 3) => best.1 >= worst.1 + LOUDER,
                // Soft sounds don't push each other about.
                (best, worst) => best > worst,
            };
            if !takes {
                break;
            }
            self.heard.remove(&loser);
            self.heard.insert(winner);
            changed = true;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use Activity::{Silent, Sound, Speech};

    fn hearing(sources: u32) -> Hearing {
        let mut hearing = Hearing::new(3);
        (1..=sources).for_each(|track| hearing.publish(TrackId(track), false));
        hearing
    }

    fn heard(hearing: &Hearing) -> Vec<u32> {
        hearing.heard().iter().map(|track| track.0).collect()
    }

    #[test]
    fn as_long_as_all_fit_all_are_heard() {
        let mut hearing = hearing(3);
        assert_eq!(heard(&hearing), [1, 2, 3]);
        assert!(!hearing.sound(Instant::now(), TrackId(2), Speech, 20));
        hearing.publish(TrackId(4), false);
        assert_eq!(heard(&hearing), [1, 2, 3]);
        assert!(hearing.unpublish(TrackId(1)));
        assert_eq!(heard(&hearing), [2, 3, 4]);
    }

    #[test]
    fn the_first_sound_takes_the_seat_of_who_has_been_silent_for_longest() {
        let (mut hearing, now) = (hearing(6), Instant::now());
        for track in [2, 3, 1] {
            hearing.sound(now, TrackId(track), Speech, 30);
        }
        for track in [1, 2, 3] {
            hearing.sound(now, TrackId(track), Silent, 30);
        }
        for (track, expected) in [(6, [1, 3, 6]), (5, [1, 5, 6]), (4, [4, 5, 6])] {
            assert!(hearing.sound(now, TrackId(track), Sound, 40));
            assert_eq!(heard(&hearing), expected);
        }
    }

    #[test]
    fn sound_does_not_push_sound_about_but_speech_does_and_louder_speech_the_softest() {
        let (mut hearing, now) = (hearing(6), Instant::now());
        for (track, level) in [(1, 40), (2, 50), (3, 30)] {
            hearing.sound(now, TrackId(track), Sound, level);
        }
        assert!(!hearing.sound(now, TrackId(4), Sound, 10));
        assert!(hearing.sound(now, TrackId(4), Speech, 45));
        assert_eq!(heard(&hearing), [1, 3, 4], "the softest gave way");
        hearing.sound(now, TrackId(1), Speech, 40);
        hearing.sound(now, TrackId(3), Speech, 30);
        assert!(!hearing.sound(now, TrackId(5), Speech, 40));
        assert!(hearing.sound(now, TrackId(5), Speech, 39));
        assert_eq!(heard(&hearing), [1, 3, 5]);
    }

    #[test]
    fn who_speaks_and_is_not_heard_is_as_soon_as_somebody_falls_silent() {
        let (mut hearing, now) = (hearing(4), Instant::now());
        for track in 1..=4 {
            hearing.sound(now, TrackId(track), Speech, 30);
        }
        assert_eq!(heard(&hearing), [1, 2, 3]);
        assert!(hearing.sound(now, TrackId(2), Silent, 30));
        assert_eq!(heard(&hearing), [1, 3, 4]);
    }

    #[test]
    fn the_muted_give_way_first_and_what_they_said_counts_for_nothing() {
        let (mut hearing, now) = (hearing(4), Instant::now());
        hearing.sound(now, TrackId(1), Speech, 20);
        assert!(!hearing.set_muted(TrackId(1), true));
        assert!(!hearing.sound(now, TrackId(1), Speech, 20), "told late");
        assert!(hearing.sound(now, TrackId(4), Sound, 40));
        assert_eq!(heard(&hearing), [2, 3, 4]);
    }

    #[test]
    fn what_is_not_said_again_is_over() {
        let (mut hearing, now) = (hearing(1), Instant::now());
        assert_eq!(hearing.deadline(), None);
        hearing.sound(now, TrackId(1), Speech, 20);
        assert_eq!(hearing.deadline(), Some(now + EXPIRY));
        assert!(hearing.expire(now + EXPIRY / 2).is_empty());
        assert_eq!(hearing.expire(now + EXPIRY), [TrackId(1)]);
        assert_eq!(hearing.deadline(), None);
    }

    proptest! {
        /// Whatever happens: no more are heard than may be, and as many as can be; nobody who speaks is unheard while silence is heard.
        #[test]
        fn seats_go_to_those_who_speak(steps in prop::collection::vec((0u8..5, 1u32..12, 0u8..3, 0u8..128), 1..300)) {
            let (mut hearing, now) = (Hearing::new(3), Instant::now());
            for (step, track, activity, level) in steps {
                let track = TrackId(track);
                let before = hearing.heard.clone();
                let changed = match step {
                    0 if !hearing.sources.contains_key(&track) => {
                        hearing.publish(track, level > 100);
                        continue;
                    }
                    1 => hearing.unpublish(track),
                    2 => hearing.set_muted(track, level > 64),
                    _ => hearing.sound(now, track, [Silent, Sound, Speech][usize::from(activity)], level),
                };
                prop_assert_eq!(hearing.heard.len(), hearing.sources.len().min(3));
                prop_assert!(changed || before == hearing.heard);
                let unheard = hearing.sounding.keys().filter(|track| !hearing.heard.contains(track)).count();
                let silent = hearing.heard.iter().filter(|track| !hearing.sounding.contains_key(track)).count();
                prop_assert!(unheard == 0 || silent == 0);
            }
        }
    }
}
