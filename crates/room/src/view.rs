//! What one participant receives: its wishes, its slots, and which group is in which.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use switchyard_protocol::{Event, ParticipantId, SlotAssignment, TrackId};

use crate::{Audience, Effect};

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
    /// Of those, the ones that are shown but have nothing to be routed: their publisher's transport begins anew.
    pub unbound: [bool; 2],
}

/// Which of a publisher's groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Person,
    Screen,
}

pub(crate) type Groups = BTreeMap<GroupId, Group>;

/// The m-lines of one slot; `None` where the m-line is not negotiated, stopped, or refused by the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotMids {
    /// The audio m-line's `a=mid`.
    pub audio: Option<String>,
    /// The video m-line's `a=mid`.
    pub video: Option<String>,
}

/// How many slots a participant gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotPolicy {
    /// Never more than this.
    pub most: usize,
    /// They come and go in this many at a time; `None`: the client brings as many as it likes, and nobody asks it for others.
    pub step: Option<usize>,
    /// This many at least are negotiated before they are needed.
    pub spare: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    owner: ParticipantId,
    /// Nobody else's tracks are wanted.
    only: Option<ParticipantId>,
    policy: SlotPolicy,
    /// How many slots were asked for.
    count: usize,
    /// As many as were ever negotiated; at most `policy.most`.
    slots: Vec<Slot>,
    /// Wanted groups without a slot, oldest first.
    waiting: BTreeSet<GroupId>,
    /// Both hold only tracks that are in the room.
    unsubscribed: BTreeSet<TrackId>,
    paused: BTreeSet<TrackId>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Slot {
    group: Option<GroupId>,
    /// Audio, video.
    halves: [Half; 2],
    /// What it should carry may differ from what it does.
    dirty: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Half {
    mid: Option<String>,
    /// What the client believes.
    told: Option<TrackId>,
    /// What the media plane does.
    routed: Option<TrackId>,
}

impl Slot {
    fn usable(&self) -> bool {
        self.halves.iter().any(|half| half.mid.is_some())
    }
}

impl View {
    pub fn new(owner: ParticipantId, only: Option<ParticipantId>, policy: SlotPolicy) -> Self {
        Self {
            owner,
            only,
            policy,
            count: if policy.step.is_some() { 0 } else { policy.most },
            slots: Vec::new(),
            waiting: BTreeSet::new(),
            unsubscribed: BTreeSet::new(),
            paused: BTreeSet::new(),
        }
    }

    /// For whom alone it is there.
    pub fn only(&self) -> Option<ParticipantId> {
        self.only
    }

    /// What the client believes, who was told everything: what its m-lines carry.
    pub fn shown(&self) -> Vec<SlotAssignment> {
        let halves = self.slots.iter().flat_map(|slot| &slot.halves);
        let assignment = |half: &Half| Some(SlotAssignment { mid: half.mid.clone()?, track: Some(half.told?) });
        halves.filter_map(assignment).collect()
    }

    /// Takes note that a group came, changed or went. [`View::settle`] carries it out.
    pub fn group_changed(&mut self, id: GroupId, groups: &Groups) {
        let wanted = groups.get(&id).is_some_and(|group| {
            group.publisher != self.owner
                && self.only.is_none_or(|only| group.publisher == only)
                && group.tracks.iter().flatten().any(|track| !self.unsubscribed.contains(track))
        });
        let slot = self.slots.iter_mut().find(|slot| slot.group == Some(id));
        match slot {
            Some(slot) => {
                slot.dirty = true;
                if !wanted {
                    slot.group = None;
                }
            }
            None if wanted => {
                self.waiting.insert(id);
            }
            None => {
                self.waiting.remove(&id);
            }
        }
    }

    pub fn set_unsubscribed(&mut self, track: TrackId, unsubscribed: bool) {
        if unsubscribed {
            self.unsubscribed.insert(track);
        } else {
            self.unsubscribed.remove(&track);
        }
    }

    pub fn set_paused(&mut self, track: TrackId, paused: bool) {
        if paused {
            self.paused.insert(track);
        } else {
            self.paused.remove(&track);
        }
    }

    /// Forgets wishes about a track that is gone.
    pub fn track_gone(&mut self, track: TrackId) {
        self.unsubscribed.remove(&track);
        self.paused.remove(&track);
    }

    /// Takes note of the m-lines that exist now, and says that those which don't any more carry nothing.
    pub fn negotiated(&mut self, mids: Vec<SlotMids>, groups: &Groups, effects: &mut VecDeque<Effect>) {
        let len = mids.len().min(self.policy.most).max(self.slots.len());
        self.slots.resize_with(len, Slot::default);
        let mut mids = mids.into_iter();
        let mut changed = Vec::new();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let SlotMids { audio, video } = mids.next().unwrap_or_default();
            for (side, (half, mid)) in slot.halves.iter_mut().zip([audio, video]).enumerate() {
                if half.mid == mid {
                    continue;
                }
                if half.routed.take().is_some() {
                    effects.push_back(Effect::Route { subscriber: self.owner, sender: position(index, side), track: None });
                }
                let old = std::mem::replace(&mut half.mid, mid);
                if let (Some(mid), Some(_)) = (old, half.told.take()) {
                    changed.push(SlotAssignment { mid, track: None });
                }
                slot.dirty = true;
            }
            if !slot.usable() {
                self.waiting.extend(slot.group.take());
            }
        }
        self.say(changed, effects);
        self.settle(groups, effects);
    }

    /// Takes note that no m-line exists any more, and asks for as many slots as before.
    pub fn renew(&mut self, groups: &Groups, effects: &mut VecDeque<Effect>) {
        self.negotiated(Vec::new(), groups, effects);
        if self.policy.step.is_some() {
            effects.push_back(Effect::SetSlots { participant: self.owner, count: self.count });
        }
    }

    /// Makes slots, routes and what the client believes follow from the groups and the wishes.
    pub fn settle(&mut self, groups: &Groups, effects: &mut VecDeque<Effect>) {
        self.resize(effects);
        self.place();
        self.route(groups, effects);
    }

    /// Asks for more slots as soon as the spare ones are used up, for fewer only when more than a step too many are there.
    fn resize(&mut self, effects: &mut VecDeque<Effect>) {
        let Some(step) = self.policy.step else { return };
        let needed = self.waiting.len() + self.slots.iter().filter(|slot| slot.group.is_some()).count();
        let target = (needed + self.policy.spare).next_multiple_of(step).min(self.policy.most);
        if target <= self.count && target + step >= self.count {
            return;
        }
        self.count = target;
        effects.push_back(Effect::SetSlots { participant: self.owner, count: target });
        for slot in self.slots.iter_mut().skip(target) {
            slot.dirty |= slot.group.is_some();
            self.waiting.extend(slot.group.take());
        }
    }

    /// Gives free slots to the oldest groups that wait.
    fn place(&mut self) {
        for slot in self.slots.iter_mut().take(self.count).filter(|slot| slot.group.is_none() && slot.usable()) {
            let Some(group) = self.waiting.pop_first() else { return };
            slot.group = Some(group);
            slot.dirty = true;
        }
    }

    fn route(&mut self, groups: &Groups, effects: &mut VecDeque<Effect>) {
        let mut changed = Vec::new();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if !std::mem::take(&mut slot.dirty) {
                continue;
            }
            let group = slot.group.and_then(|id| groups.get(&id));
            let (tracks, unbound) = group.map_or(([None; 2], [false; 2]), |group| (group.tracks, group.unbound));
            for (side, (half, track)) in slot.halves.iter_mut().zip(tracks).enumerate() {
                let shown = track.filter(|track| !self.unsubscribed.contains(track));
                let Some(mid) = &half.mid else { continue };
                if half.told != shown {
                    half.told = shown;
                    changed.push(SlotAssignment { mid: mid.clone(), track: shown });
                }
                let routed = shown.filter(|track| !self.paused.contains(track) && !unbound[side]);
                if half.routed != routed {
                    half.routed = routed;
                    effects.push_back(Effect::Route { subscriber: self.owner, sender: position(index, side), track: routed });
                }
            }
        }
        self.say(changed, effects);
    }

    fn say(&self, slots: Vec<SlotAssignment>, effects: &mut VecDeque<Effect>) {
        if !slots.is_empty() {
            effects.push_back(Effect::Notify { to: Audience::One(self.owner), event: Event::Slots { slots } });
        }
    }
}

/// The sender's position of one side (0 audio, 1 video) of a slot. Slots are bounded far below 2^15.
fn position(slot: usize, side: usize) -> u16 {
    u16::try_from(slot * 2 + side).expect("slots are bounded")
}
