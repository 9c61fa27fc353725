//! What everybody in a room is told, in the order in which it happened. In a large room it is gathered for a moment: a thousand who come in one after the
//! other are a thousand messages to each of a thousand, and most of what a message costs is waking who it is for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_protocol::ParticipantId;

use crate::outbox::Broadcast;

/// Members up to whom each is told at once.
const AT_ONCE: usize = 32;
/// How long is gathered; nobody sees a name appear a tenth of a second later.
const GATHER: Duration = Duration::from_millis(100);
/// Announcements gathered at most: what fills some hundred milliseconds of a crowd coming in.
const MOST: usize = 256;

/// What was announced and not yet told to all. Each member knows how much of it was told to it.
#[derive(Debug, Default)]
pub struct Announcements {
    /// Each with whom it is not for.
    gathered: Vec<(Option<ParticipantId>, Arc<Broadcast>)>,
    due: Option<Instant>,
}

impl Announcements {
    /// Adds one for all but `except`. Whether everybody is to be told now.
    pub fn add(&mut self, now: Instant, members: usize, except: Option<ParticipantId>, broadcast: Arc<Broadcast>) -> bool {
        self.gathered.push((except, broadcast));
        self.due.get_or_insert(now + GATHER);
        members <= AT_ONCE || self.gathered.len() >= MOST
    }

    /// When everybody is to be told.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// How many there are: what a newcomer needn't hear, who knows it from joining.
    pub fn len(&self) -> usize {
        self.gathered.len()
    }

    /// What `member` has to be told that has `heard` the first so many.
    pub fn since(&self, heard: usize, member: ParticipantId) -> impl Iterator<Item = &Arc<Broadcast>> {
        let gathered = self.gathered.get(heard..).unwrap_or_default();
        gathered.iter().filter(move |(except, _)| *except != Some(member)).map(|(_, broadcast)| broadcast)
    }

    /// Everybody has been told everything.
    pub fn clear(&mut self) {
        self.gathered.clear();
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_protocol::Event;

    fn event(revision: u32) -> Arc<Broadcast> {
        Broadcast::new(Event::Offer { revision, sdp: String::new() })
    }

    #[test]
    fn a_small_room_hears_at_once_and_a_large_one_a_moment_later() {
        let now = Instant::now();
        let mut announcements = Announcements::default();
        assert!(announcements.add(now, AT_ONCE, None, event(1)));
        announcements.clear();
        assert_eq!(announcements.due(), None);
        assert!(!announcements.add(now, AT_ONCE + 1, None, event(2)));
        assert!(!announcements.add(now + GATHER / 2, AT_ONCE + 1, None, event(3)));
        assert_eq!(announcements.due(), Some(now + GATHER), "the first one's time counts");
    }

    #[test]
    fn no_more_is_gathered_than_there_is_room_for() {
        let mut announcements = Announcements::default();
        let added = (0..MOST).take_while(|_| !announcements.add(Instant::now(), 1000, None, event(1))).count();
        assert_eq!(added, MOST - 1);
    }

    #[test]
    fn everybody_hears_what_came_since_and_is_not_of_their_own_making() {
        let (ada, ben) = (ParticipantId(1), ParticipantId(2));
        let all: Vec<_> = (0..4).map(event).collect();
        let mut announcements = Announcements::default();
        for (except, broadcast) in [(None, 0), (Some(ada), 1), (Some(ben), 2), (None, 3)] {
            announcements.add(Instant::now(), 1000, except, all[broadcast].clone());
        }
        let heard = |heard, member| -> Vec<usize> {
            let place = |broadcast: &Arc<Broadcast>| all.iter().position(|other| Arc::ptr_eq(other, broadcast)).unwrap();
            announcements.since(heard, member).map(place).collect()
        };
        assert_eq!(heard(0, ada), [0, 2, 3]);
        assert_eq!(heard(1, ben), [1, 3]);
        assert!(heard(4, ada).is_empty());
    }
}
