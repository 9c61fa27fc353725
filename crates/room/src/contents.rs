//! What there is in a room to be seen and heard, the same for everybody.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use switchyard_protocol::{ParticipantId, TrackId, VideoCodec};

use crate::decoders::Codecs;
use crate::hearing::Hearing;

/// A publisher's tracks that belong together; the older, the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupId(pub u64);

/// The tracks that share a slot.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    pub publisher: ParticipantId,
    pub part: Part,
    /// Audio, video.
    pub tracks: [Option<TrackId>; 2],
    /// The turn in which its publisher began to speak last; 0: never.
    pub spoke: u64,
}

/// Which of a publisher's groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Person,
    Screen,
}

/// Screens first, then who spoke last, then the oldest.
type Rank = (bool, Reverse<u64>, GroupId);

impl Group {
    fn rank(&self, id: GroupId) -> Rank {
        (self.part == Part::Person, Reverse(self.spoke), id)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Contents {
    groups: BTreeMap<GroupId, Group>,
    /// Those with video, in the order in which they are shown to who has no wishes.
    ranking: BTreeSet<Rank>,
    /// Where each track is: its group and side.
    places: BTreeMap<TrackId, (GroupId, usize)>,
    /// What is shown and has nothing to be routed: its publisher's transport begins anew.
    unbound: BTreeSet<TrackId>,
    /// What is sent twice: in which codec, and in which for those who don't decode that.
    backups: BTreeMap<TrackId, (VideoCodec, VideoCodec)>,
    pub hearing: Hearing,
    last_group: u64,
    /// Turns taken in speaking.
    turns: u64,
}

impl Contents {
    pub fn new(heard: usize) -> Self {
        let (groups, ranking, places, unbound) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
        Self { groups, ranking, places, unbound, backups: BTreeMap::new(), hearing: Hearing::new(heard), last_group: 0, turns: 0 }
    }

    /// The track's group and side (0 audio, 1 video).
    pub fn place(&self, track: TrackId) -> Option<(GroupId, usize)> {
        self.places.get(&track).copied()
    }

    pub fn group(&self, id: GroupId) -> &Group {
        &self.groups[&id]
    }

    /// Video tracks with their groups, in the order in which they are shown to who has no wishes.
    pub fn videos(&self) -> impl Iterator<Item = (TrackId, GroupId)> {
        self.ranking.iter().filter_map(|&(_, _, id)| Some((self.groups[&id].tracks[1]?, id)))
    }

    /// A publisher's sources of sound.
    pub fn sounds_of(&self, publisher: ParticipantId) -> impl Iterator<Item = TrackId> {
        self.groups.values().filter(move |group| group.publisher == publisher).filter_map(|group| group.tracks[0])
    }

    pub fn publish(&mut self, publisher: ParticipantId, part: Part, side: usize, track: TrackId) {
        let existing = self.groups.iter().find(|(_, group)| group.publisher == publisher && group.part == part).map(|(&id, _)| id);
        let id = existing.unwrap_or_else(|| {
            self.last_group += 1;
            GroupId(self.last_group)
        });
        let group = self.groups.entry(id).or_insert(Group { publisher, part, tracks: [None; 2], spoke: 0 });
        group.tracks[side] = Some(track);
        if side == 1 {
            self.ranking.insert(group.rank(id));
        }
        self.places.insert(track, (id, side));
    }

    pub fn withdraw(&mut self, track: TrackId) {
        self.unbound.remove(&track);
        self.backups.remove(&track);
        let Some((id, side)) = self.places.remove(&track) else { return };
        let Some(group) = self.groups.get_mut(&id) else { return };
        if side == 1 {
            self.ranking.remove(&group.rank(id));
        }
        group.tracks[side] = None;
        if group.tracks == [None; 2] {
            self.groups.remove(&id);
        }
    }

    pub fn set_unbound(&mut self, track: TrackId, unbound: bool) {
        if unbound {
            self.unbound.insert(track);
        } else {
            self.unbound.remove(&track);
        }
    }

    pub fn is_unbound(&self, track: TrackId) -> bool {
        self.unbound.contains(&track)
    }

    /// A track is sent in the first codec and in the second.
    pub fn set_backup(&mut self, track: TrackId, codecs: Option<(VideoCodec, VideoCodec)>) {
        match codecs {
            Some(codecs) => self.backups.insert(track, codecs),
            None => self.backups.remove(&track),
        };
    }

    /// Whether who decodes `codecs` gets a track in its second codec.
    pub fn needs_backup(&self, track: TrackId, codecs: Option<Codecs>) -> bool {
        let (Some((first, second)), Some(codecs)) = (self.backups.get(&track), codecs) else { return false };
        !codecs.contains(*first) && codecs.contains(*second)
    }

    /// Whoever's microphone this is has begun to speak.
    pub fn spoke(&mut self, track: TrackId) {
        self.turns += 1;
        let Some((id, _)) = self.place(track) else { return };
        let Some(group) = self.groups.get_mut(&id) else { return };
        let was_ranked = self.ranking.remove(&group.rank(id));
        group.spoke = self.turns;
        if was_ranked {
            self.ranking.insert(group.rank(id));
        }
    }
}
