//! Who speaks, the loudest first, and when the room is to be told.

use std::time::{Duration, Instant};

use switchyard_protocol::{ParticipantId, Speaker};

/// The room is told of another order this often at most.
const TOLD_APART: Duration = Duration::from_millis(200);
/// So many dB louder one has to be to come before another.
const LOUDER: u8 = 6;
/// Speakers that are told: when more speak at once nobody is understood.
const MOST: usize = 8;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Speakers {
    /// The loudest first, within [`LOUDER`].
    speaking: Vec<Speaker>,
    told: Vec<ParticipantId>,
    told_at: Option<Instant>,
}

impl Speakers {
    /// `participant` speaks at `level`, in dB below overload, or no longer. Whether they have just begun to.
    pub fn set(&mut self, participant: ParticipantId, level: Option<u8>) -> bool {
        let at = self.speaking.iter().position(|speaker| speaker.participant == participant);
        match (at, level) {
            (Some(at), None) => {
                self.speaking.remove(at);
            }
            (Some(at), Some(level)) => self.speaking[at].level = level,
            (None, Some(level)) => self.speaking.push(Speaker { participant, level }),
            (None, None) => {}
        }
        // One has changed, and that one moves.
        for at in (1..self.speaking.len()).rev().chain(1..self.speaking.len()) {
            if self.speaking[at].level.saturating_add(LOUDER) <= self.speaking[at - 1].level {
                self.speaking.swap(at, at - 1);
            }
        }
        at.is_none() && level.is_some()
    }

    /// Those who speak, as the room is told.
    pub fn list(&self) -> Vec<Speaker> {
        self.speaking.iter().take(MOST).copied().collect()
    }

    /// Whether the room was ever told of any.
    pub fn were_told(&self) -> bool {
        self.told_at.is_some()
    }

    /// When the room is to be told; `None`: it knows.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let known = self.speaking.iter().take(MOST).map(|speaker| speaker.participant).eq(self.told.iter().copied());
        (!known).then(|| self.told_at.map_or(now, |at| (at + TOLD_APART).max(now)))
    }

    /// The room is told.
    pub fn tell(&mut self, now: Instant) -> Vec<Speaker> {
        let list = self.list();
        self.told = list.iter().map(|speaker| speaker.participant).collect();
        self.told_at = Some(now);
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(speakers: &Speakers) -> Vec<u32> {
        speakers.speaking.iter().map(|speaker| speaker.participant.0).collect()
    }

    #[test]
    fn the_clearly_louder_comes_first_and_near_equals_stay() {
        let mut speakers = Speakers::default();
        assert!(speakers.set(ParticipantId(1), Some(30)));
        speakers.set(ParticipantId(2), Some(26));
        assert_eq!(order(&speakers), [1, 2]);
        speakers.set(ParticipantId(3), Some(20));
        assert_eq!(order(&speakers), [3, 1, 2]);
        assert!(!speakers.set(ParticipantId(2), Some(10)));
        assert_eq!(order(&speakers), [2, 3, 1]);
        speakers.set(ParticipantId(2), Some(60));
        assert_eq!(order(&speakers), [3, 1, 2]);
        speakers.set(ParticipantId(3), None);
        assert_eq!(order(&speakers), [1, 2]);
    }

    #[test]
    fn the_room_is_told_at_once_then_five_times_a_second_at_most_and_only_what_is_new() {
        let (mut speakers, now) = (Speakers::default(), Instant::now());
        assert_eq!(speakers.due(now), None);
        speakers.set(ParticipantId(1), Some(30));
        assert_eq!(speakers.due(now), Some(now));
        assert_eq!(speakers.tell(now), [Speaker { participant: ParticipantId(1), level: 30 }]);
        speakers.set(ParticipantId(1), Some(20));
        assert_eq!(speakers.due(now), None, "louder is no other order");
        speakers.set(ParticipantId(2), Some(30));
        assert_eq!(speakers.due(now), Some(now + TOLD_APART));
        speakers.set(ParticipantId(2), None);
        assert_eq!(speakers.due(now), None);
    }

    #[test]
    fn no_more_are_told_than_can_be_understood() {
        let (mut speakers, now) = (Speakers::default(), Instant::now());
        for id in 0..20 {
            speakers.set(ParticipantId(id), Some(30));
        }
        assert_eq!(speakers.tell(now).len(), MOST);
        assert_eq!(speakers.due(now), None);
    }
}
