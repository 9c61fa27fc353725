//! Who is kept out of rooms that are not there at the moment: nobody who was sent away comes in again because the others have left as well.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long it is remembered whom a room kept out that is no more.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);
/// Of so many rooms; of more the longest gone are forgotten.
const MAX_ROOMS: usize = 1000;

/// The identities, by room.
#[derive(Debug, Default)]
pub struct Bans(HashMap<String, (Instant, Vec<String>)>);

impl Bans {
    /// A room is no more that kept these out.
    pub fn remember(&mut self, now: Instant, room: String, identities: Vec<String>) {
        if identities.is_empty() {
            return;
        }
        self.0.retain(|_, (since, _)| now.saturating_duration_since(*since) < REMEMBERED);
        if self.0.len() >= MAX_ROOMS
            && let Some(oldest) = self.0.iter().min_by_key(|(_, (since, _))| *since).map(|(room, _)| room.clone())
        {
            self.0.remove(&oldest);
        }
        self.0.insert(room, (now, identities));
    }

    /// A room opens: whom it keeps out from the beginning.
    pub fn recall(&mut self, now: Instant, room: &str) -> Vec<String> {
        let remembered = self.0.remove(room).filter(|(since, _)| now.saturating_duration_since(*since) < REMEMBERED);
        remembered.map(|(_, identities)| identities).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_kept_out_is_for_a_day_and_of_a_thousand_rooms() {
        let start = Instant::now();
        let mut bans = Bans::default();
        let of = |name: &str| vec![name.to_owned()];
        bans.remember(start, "demo".into(), of("eve"));
        assert_eq!(bans.recall(start + REMEMBERED - Duration::from_secs(1), "demo"), of("eve"));
        assert!(bans.recall(start, "demo").is_empty(), "the room has it again");
        bans.remember(start, "demo".into(), of("eve"));
        assert!(bans.recall(start + REMEMBERED, "demo").is_empty());
        bans.remember(start, "empty".into(), Vec::new());
        for n in 0..=MAX_ROOMS {
            bans.remember(start + Duration::from_secs(n as u64), n.to_string(), of("eve"));
        }
        assert_eq!(bans.0.len(), MAX_ROOMS);
        let later = start + Duration::from_secs(2_000);
        assert_eq!((bans.recall(later, "0"), bans.recall(later, "1")), (Vec::new(), of("eve")), "the oldest is forgotten");
    }
}
