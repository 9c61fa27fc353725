//! Which codecs those decode who may receive a video track, and when its publisher is to be told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use switchyard_protocol::{ParticipantId, TrackId, VideoCodec};

/// A publisher is told this much later of what asks for nothing else than it knows: who loads the page anew is back by then, and every change costs a keyframe.
const GRACE: Duration = Duration::from_secs(3);

/// A set of video codecs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Codecs(u8);

impl Codecs {
    /// What is in both.
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether a codec is in it.
    pub fn contains(self, codec: VideoCodec) -> bool {
        self.contains_all(Self::from_iter([codec]))
    }

    fn contains_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    fn list(self) -> Vec<VideoCodec> {
        VideoCodec::ALL.into_iter().filter(|codec| self.contains(*codec)).collect()
    }
}

impl FromIterator<VideoCodec> for Codecs {
    fn from_iter<T: IntoIterator<Item = VideoCodec>>(codecs: T) -> Self {
        Self(codecs.into_iter().fold(0, |set, codec| set | 1 << codec as u8))
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Receiver {
    codecs: Codecs,
    /// Whose tracks alone it may receive.
    only: Option<ParticipantId>,
}

#[derive(Clone, Debug, PartialEq)]
struct Published {
    publisher: ParticipantId,
    /// What the publisher believes that somebody decodes; at most 31 sets.
    told: BTreeSet<Codecs>,
    /// When it is to hear of what asks for nothing else.
    due: Option<Instant>,
}

/// Who decodes what in a room, and what publishers know of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Decoders {
    /// Those of whom it is known.
    receivers: BTreeMap<ParticipantId, Receiver>,
    tracks: BTreeMap<TrackId, Published>,
    /// Something else may have to be told than was.
    changed: bool,
}

impl Decoders {
    /// A participant decodes these from now on, in all its slots; nothing is sent to it, if `None`. Who decodes none of them can't be helped by any.
    pub fn set(&mut self, participant: ParticipantId, codecs: Option<Codecs>, only: Option<ParticipantId>) {
        let receiver = codecs.filter(|codecs| *codecs != Codecs::default()).map(|codecs| Receiver { codecs, only });
        let before = match receiver {
            Some(receiver) => self.receivers.insert(participant, receiver),
            None => self.receivers.remove(&participant),
        };
        self.changed |= before != receiver;
    }

    /// A new video track: its publisher believes that any codec will do.
    pub fn publish(&mut self, track: TrackId, publisher: ParticipantId) {
        self.tracks.insert(track, Published { publisher, told: BTreeSet::new(), due: None });
        self.changed = true;
    }

    pub fn unpublish(&mut self, track: TrackId) {
        self.tracks.remove(&track);
    }

    /// What publishers are to be told now: at once if somebody needs something else, after a while if all could go on as it is.
    pub fn tell(&mut self, now: Instant) -> Vec<(TrackId, Vec<Vec<VideoCodec>>)> {
        if !std::mem::take(&mut self.changed) {
            return Vec::new();
        }
        // Many decode the same.
        let mut general: BTreeMap<Codecs, usize> = BTreeMap::new();
        let mut special: BTreeSet<(ParticipantId, Codecs)> = BTreeSet::new();
        for receiver in self.receivers.values() {
            match receiver.only {
                None => *general.entry(receiver.codecs).or_default() += 1,
                Some(only) => {
                    special.insert((only, receiver.codecs));
                }
            }
        }
        let mut told = Vec::new();
        for (&track, published) in &mut self.tracks {
            let own = self.receivers.get(&published.publisher).map(|receiver| receiver.codecs);
            let others = general.iter().filter(|(codecs, count)| **count > usize::from(own == Some(**codecs))).map(|(codecs, _)| *codecs);
            let of_own = special.iter().filter(|(only, _)| *only == published.publisher).map(|(_, codecs)| *codecs);
            let sets: BTreeSet<Codecs> = others.chain(of_own).collect();
            let suffices = sets.iter().all(|set| published.told.iter().any(|told| set.contains_all(*told)));
            if sets == published.told {
                published.due = None;
            } else if suffices && *published.due.get_or_insert(now + GRACE) > now {
                self.changed = true;
            } else {
                published.due = None;
                told.push((track, list(&sets)));
                published.told = sets;
            }
        }
        told
    }

    /// When [`Decoders::tell`] wants to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        self.tracks.values().filter_map(|published| published.due).min()
    }

    /// What somebody believes about their own track who was told everything.
    pub fn told(&self, track: TrackId) -> Option<Vec<Vec<VideoCodec>>> {
        self.tracks.get(&track).map(|published| list(&published.told))
    }
}

fn list(sets: &BTreeSet<Codecs>) -> Vec<Vec<VideoCodec>> {
    sets.iter().map(|set| set.list()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use VideoCodec::{Av1, H264, Vp8, Vp9};

    const ADA: ParticipantId = ParticipantId(1);
    const CAMERA: TrackId = TrackId(1);
    const MANY: [VideoCodec; 4] = [Vp8, Vp9, H264, Av1];

    /// Ada publishes, and decodes many codecs.
    fn published() -> (Decoders, Instant) {
        let mut decoders = Decoders::default();
        decoders.publish(CAMERA, ADA);
        decoders.set(ADA, codecs(&MANY), None);
        (decoders, Instant::now())
    }

    fn codecs(codecs: &[VideoCodec]) -> Option<Codecs> {
        Some(codecs.iter().copied().collect())
    }

    fn tell(decoders: &mut Decoders, now: Instant) -> Option<Vec<Vec<VideoCodec>>> {
        let told = decoders.tell(now);
        assert!(told.len() <= 1 && told.iter().all(|(track, _)| *track == CAMERA));
        told.into_iter().next().map(|(_, sets)| sets)
    }

    #[test]
    fn what_everybody_decodes_is_in_every_set() {
        let (mut decoders, now) = published();
        assert_eq!(tell(&mut decoders, now), None, "a publisher does not watch itself");
        decoders.set(ParticipantId(2), codecs(&MANY), None);
        assert_eq!(tell(&mut decoders, now), Some(vec![MANY.to_vec()]));
        decoders.set(ParticipantId(3), codecs(&[Vp8, H264]), None);
        assert_eq!(tell(&mut decoders, now), Some(vec![vec![Vp8, H264], MANY.to_vec()]));
        decoders.set(ParticipantId(4), codecs(&[Vp8, Av1]), None);
        assert_eq!(tell(&mut decoders, now), Some(vec![vec![Vp8, H264], vec![Vp8, Av1], MANY.to_vec()]));
        decoders.set(ParticipantId(5), codecs(&[]), None);
        assert_eq!(tell(&mut decoders, now), None, "nothing helps who decodes nothing");
        decoders.set(ParticipantId(6), codecs(&[Vp8, H264, Av1]), None);
        assert_eq!((tell(&mut decoders, now), decoders.deadline()), (None, Some(now + GRACE)), "nobody waits for that");
    }

    #[test]
    fn two_hundred_who_decode_the_same_are_told_of_once() {
        let (mut decoders, now) = published();
        let told: Vec<_> = (2..202)
            .filter_map(|id| {
                decoders.set(ParticipantId(id), codecs(&[Vp8]), None);
                tell(&mut decoders, now)
            })
            .collect();
        assert_eq!(told, [[[Vp8]]]);
        let left: Vec<_> = (2..202)
            .filter_map(|id| {
                decoders.set(ParticipantId(id), None, None);
                tell(&mut decoders, now + GRACE * 2)
            })
            .collect();
        assert_eq!((left, decoders.deadline()), (vec![], Some(now + GRACE * 3)), "the last of them counts");
        assert_eq!(tell(&mut decoders, now + GRACE * 3), Some(vec![]));
    }

    #[test]
    fn who_is_back_in_time_was_not_away() {
        let (mut decoders, now) = published();
        decoders.set(ParticipantId(2), codecs(&[Vp8]), None);
        tell(&mut decoders, now);
        decoders.set(ParticipantId(2), None, None);
        assert_eq!((tell(&mut decoders, now), decoders.deadline()), (None, Some(now + GRACE)));
        decoders.set(ParticipantId(3), codecs(&[Vp8]), None);
        assert_eq!((tell(&mut decoders, now + GRACE / 2), decoders.deadline()), (None, None));
        decoders.set(ParticipantId(3), None, None);
        assert_eq!(tell(&mut decoders, now + GRACE), None, "the time begins anew");
        assert_eq!(tell(&mut decoders, now + GRACE * 2), Some(vec![]));
    }

    #[test]
    fn other_needs_are_told_at_once_even_where_some_have_gone() {
        let (mut decoders, now) = published();
        decoders.set(ParticipantId(2), codecs(&[Vp8]), None);
        tell(&mut decoders, now);
        decoders.set(ParticipantId(2), codecs(&[H264]), None);
        assert_eq!(tell(&mut decoders, now), Some(vec![vec![H264]]));
    }

    #[test]
    fn who_watches_one_participant_alone_matters_to_that_one() {
        let (mut decoders, now) = published();
        decoders.set(ParticipantId(2), codecs(&[Vp8]), Some(ParticipantId(9)));
        assert_eq!(tell(&mut decoders, now), None);
        decoders.set(ParticipantId(3), codecs(&[H264]), Some(ADA));
        assert_eq!(tell(&mut decoders, now), Some(vec![vec![H264]]));
        assert_eq!(decoders.told(CAMERA), Some(vec![vec![H264]]));
        decoders.unpublish(CAMERA);
        assert_eq!((decoders.told(CAMERA), decoders.deadline()), (None, None));
    }
}
