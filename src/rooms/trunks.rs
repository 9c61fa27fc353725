//! Which tracks cross to which other workers: exactly those that somebody there receives.

use std::collections::BTreeMap;

use switchyard_forward::{TrackKey, WorkerIndex};
use switchyard_protocol::ParticipantId;

/// Whether a track begins or ceases to cross to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crossing {
    Begins { track: TrackKey, to: WorkerIndex },
    Ceases { track: TrackKey, to: WorkerIndex },
}

/// Routes between workers, counted.
#[derive(Debug, Default)]
pub struct Trunks {
    /// By subscriber and sender position: where the subscriber is and what is routed there. Only routes between workers.
    routes: BTreeMap<(ParticipantId, u16), (WorkerIndex, TrackKey)>,
    /// How many routes need a track at a worker; never 0.
    needed: BTreeMap<(TrackKey, WorkerIndex), usize>,
}

impl Trunks {
    /// A subscriber at a worker gets `track`, published at its home, on a sender of theirs; or nothing. What begins is to be set up before the
    /// route, what ceases taken down after it.
    pub fn route(
        &mut self,
        subscriber: ParticipantId,
        at: WorkerIndex,
        sender: u16,
        track: Option<(TrackKey, WorkerIndex)>,
    ) -> Vec<Crossing> {
        let mut crossings = Vec::new();
        let old = self.routes.remove(&(subscriber, sender));
        if let Some((track, _)) = track.filter(|(_, home)| *home != at) {
            self.routes.insert((subscriber, sender), (at, track));
            let needed = self.needed.entry((track, at)).or_default();
            *needed += 1;
            if *needed == 1 {
                crossings.push(Crossing::Begins { track, to: at });
            }
        }
        crossings.extend(old.and_then(|(to, track)| self.release(track, to)));
        crossings
    }

    /// The workers that a track crosses to.
    pub fn crossings(&self, track: TrackKey) -> Vec<WorkerIndex> {
        let all = (track, WorkerIndex(0))..=(track, WorkerIndex(u8::MAX));
        self.needed.range(all).map(|((_, to), _)| *to).collect()
    }

    /// A subscriber is gone and receives nothing any more.
    pub fn leave(&mut self, subscriber: ParticipantId) -> Vec<Crossing> {
        let senders: Vec<u16> = self.routes.range((subscriber, 0)..=(subscriber, u16::MAX)).map(|((_, sender), _)| *sender).collect();
        let gone = senders.into_iter().filter_map(|sender| self.routes.remove(&(subscriber, sender))).collect::<Vec<_>>();
        gone.into_iter().filter_map(|(to, track)| self.release(track, to)).collect()
    }

    fn release(&mut self, track: TrackKey, to: WorkerIndex) -> Option<Crossing> {
        let needed = self.needed.get_mut(&(track, to))?;
        *needed -= 1;
        if *needed > 0 {
            return None;
        }
        self.needed.remove(&(track, to));
        Some(Crossing::Ceases { track, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: WorkerIndex = WorkerIndex(0);
    const AWAY: WorkerIndex = WorkerIndex(1);
    const ADA: ParticipantId = ParticipantId(1);
    const BEN: ParticipantId = ParticipantId(2);
    const TRACK: TrackKey = TrackKey(1);
    const OTHER: TrackKey = TrackKey(2);

    #[test]
    fn a_track_crosses_once_for_as_long_as_somebody_there_receives_it() {
        let mut trunks = Trunks::default();
        assert_eq!(trunks.route(ADA, AWAY, 1, Some((TRACK, HOME))), [Crossing::Begins { track: TRACK, to: AWAY }]);
        assert_eq!(trunks.route(BEN, AWAY, 3, Some((TRACK, HOME))), []);
        assert_eq!(trunks.route(ADA, AWAY, 1, None), []);
        assert_eq!(trunks.leave(BEN), [Crossing::Ceases { track: TRACK, to: AWAY }]);
        assert!(trunks.routes.is_empty() && trunks.needed.is_empty());
    }

    #[test]
    fn what_takes_a_place_begins_before_what_was_there_ceases() {
        let mut trunks = Trunks::default();
        trunks.route(ADA, AWAY, 1, Some((TRACK, HOME)));
        assert_eq!(
            trunks.route(ADA, AWAY, 1, Some((OTHER, HOME))),
            [Crossing::Begins { track: OTHER, to: AWAY }, Crossing::Ceases { track: TRACK, to: AWAY }]
        );
        assert_eq!(trunks.route(ADA, AWAY, 1, Some((OTHER, HOME))), []);
    }

    #[test]
    fn nothing_crosses_within_a_worker() {
        let mut trunks = Trunks::default();
        assert_eq!(trunks.route(ADA, HOME, 1, Some((TRACK, HOME))), []);
        assert_eq!(trunks.leave(ADA), []);
    }
}
