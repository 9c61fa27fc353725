//! What one participant receives: its wishes, its slots, and which track is in which.

use std::collections::{BTreeSet, VecDeque};

use switchyard_protocol::{Event, ParticipantId, Reception, SlotAssignment, TrackId, TrackView};

use crate::contents::{Contents, GroupId};
use crate::decoders::Codecs;
use crate::demand::{Demand, Size};
use crate::{Audience, Effect};

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
    /// Video tracks that are shown without a wish.
    pub shown: usize,
}

/// What a change of a view means for others.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub effects: VecDeque<Effect>,
    pub demand: Demand,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    owner: ParticipantId,
    /// Nobody else's tracks are wanted.
    only: Option<ParticipantId>,
    policy: SlotPolicy,
    /// Whether it may receive anything.
    receiving: bool,
    /// What the client decodes in all its slots, as far as it is known.
    codecs: Option<Codecs>,
    /// How many slots were asked for.
    count: usize,
    /// As many as were ever negotiated; at most `policy.most`.
    slots: Vec<Slot>,
    /// Both hold only tracks that are in the room.
    unsubscribed: BTreeSet<TrackId>,
    paused: BTreeSet<TrackId>,
    /// What the client said it shows.
    wishes: Option<Wishes>,
}

#[derive(Clone, Debug, PartialEq)]
struct Wishes {
    /// In the client's order, the pinned first; and whether they are.
    tracks: Vec<(TrackId, Size, bool)>,
    /// Whether what is not named is shown while there is room.
    others: bool,
}

/// Audio, video.
type Slot = [Half; 2];

#[derive(Clone, Debug, Default, PartialEq)]
struct Half {
    mid: Option<String>,
    /// What the client believes.
    told: Option<TrackId>,
    /// What the media plane does, and how large it is wanted.
    routed: Option<(TrackId, Size)>,
    pinned: bool,
    /// It is routed in its second codec.
    backup: bool,
    /// What was said of how much of it is received, unless that is everything.
    reception: Option<(Reception, Size)>,
}

/// A track that is to be received.
#[derive(Clone, Copy, Debug)]
struct Chosen {
    track: TrackId,
    group: GroupId,
    side: usize,
    size: Size,
    pinned: bool,
}

impl View {
    pub fn new(owner: ParticipantId, only: Option<ParticipantId>, policy: SlotPolicy, receiving: bool) -> Self {
        let count = if policy.step.is_some() { 0 } else { policy.most };
        let (unsubscribed, paused) = (BTreeSet::new(), BTreeSet::new());
        Self { owner, only, policy, receiving, codecs: None, count, slots: Vec::new(), unsubscribed, paused, wishes: None }
    }

    /// Whether it may receive anything from now on; what follows from it is settled after that.
    pub fn set_receiving(&mut self, receiving: bool) {
        self.receiving = receiving;
    }

    /// For whom alone it is there.
    pub fn only(&self) -> Option<ParticipantId> {
        self.only
    }

    /// What the client believes, who was told everything: what its m-lines carry.
    pub fn shown(&self) -> Vec<SlotAssignment> {
        let assignment = |half: &Half| Some(SlotAssignment { mid: half.mid.clone()?, track: Some(half.told?) });
        self.slots.iter().flatten().filter_map(assignment).collect()
    }

    /// How much is received of a track that is routed, in its second codec if `backup`. `false` if that is nothing new.
    pub fn set_reception(&mut self, track: TrackId, backup: bool, reception: Reception, size: Size) -> bool {
        let carries = |half: &&mut Half| half.routed.is_some_and(|(routed, _)| routed == track) && half.backup == backup;
        let Some(half) = self.slots.iter_mut().map(|[_, video]| video).find(carries) else { return false };
        let before = std::mem::replace(&mut half.reception, (reception != Reception::Full).then_some((reception, size)));
        before != half.reception || reception == Reception::Full
    }

    /// Of which tracks not everything is received.
    pub fn receptions(&self) -> impl Iterator<Item = Event> {
        self.slots.iter().filter_map(|[_, Half { routed, reception, .. }]| {
            let ((track, _), (reception, Size { width, height })) = routed.zip(*reception)?;
            Some(Event::Reception { track, reception, width, height })
        })
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

    /// What the client shows, in place of what it said before. Of a track that is named twice the first counts.
    pub fn wish(&mut self, tracks: &[TrackView], others: bool) {
        let (pinned, rest): (Vec<&TrackView>, Vec<&TrackView>) = tracks.iter().partition(|wish| wish.pinned);
        let tracks =
            pinned.into_iter().chain(rest).map(|wish| (wish.track, Size { width: wish.width, height: wish.height }, wish.pinned)).collect();
        self.wishes = Some(Wishes { tracks, others });
    }

    /// Forgets wishes about a track that is gone.
    pub fn track_gone(&mut self, track: TrackId) {
        self.unsubscribed.remove(&track);
        self.paused.remove(&track);
        if let Some(wishes) = &mut self.wishes {
            wishes.tracks.retain(|(wished, ..)| *wished != track);
        }
    }

    /// Nothing is routed any more, for a member that is about to be gone.
    pub fn stop(&mut self, out: &mut Outcome) {
        let subscriber = self.owner;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            for (side, half) in slot.iter_mut().enumerate() {
                let Some((track, size)) = half.routed.take() else { continue };
                half.backup = false;
                if side == 1 {
                    out.demand.change(track, Some(size), None);
                }
                out.effects.push_back(Effect::Route { subscriber, sender: position(index, side), track: None, backup: false });
            }
        }
    }

    /// Nothing is received any more.
    pub fn end(&self, demand: &mut Demand) {
        for (track, size) in self.slots.iter().filter_map(|[_, video]| video.routed) {
            demand.change(track, Some(size), None);
        }
    }

    /// What the client decodes in all its slots; what follows from it is settled after that.
    pub fn set_codecs(&mut self, codecs: Option<Codecs>) {
        self.codecs = codecs;
    }

    /// Takes note of the m-lines that exist now, and says that those which don't any more carry nothing.
    pub fn negotiated(&mut self, mids: Vec<SlotMids>, contents: &Contents, out: &mut Outcome) {
        let len = mids.len().min(self.policy.most).max(self.slots.len());
        self.slots.resize_with(len, Slot::default);
        let mut mids = mids.into_iter();
        let mut changed = Vec::new();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let SlotMids { audio, video } = mids.next().unwrap_or_default();
            for (side, (half, mid)) in slot.iter_mut().zip([audio, video]).enumerate() {
                if half.mid == mid {
                    continue;
                }
                (half.reception, half.backup) = (None, false);
                if let Some((track, size)) = half.routed.take() {
                    out.effects.push_back(Effect::Route {
                        subscriber: self.owner,
                        sender: position(index, side),
                        track: None,
                        backup: false,
                    });
                    out.demand.change(track, Some(size), None);
                }
                let old = std::mem::replace(&mut half.mid, mid);
                if let (Some(mid), Some(_)) = (old, half.told.take()) {
                    changed.push(SlotAssignment { mid, track: None });
                }
            }
        }
        self.say(changed, out);
        self.settle(contents, out);
    }

    /// Takes note that no m-line exists any more, and asks for as many slots as before.
    pub fn renew(&mut self, contents: &Contents, out: &mut Outcome) {
        self.negotiated(Vec::new(), contents, out);
        if self.policy.step.is_some() {
            out.effects.push_back(Effect::SetSlots { participant: self.owner, count: self.count });
        }
    }

    /// Makes slots, routes and what the client believes follow from the room's contents and the wishes.
    pub fn settle(&mut self, contents: &Contents, out: &mut Outcome) {
        let mut chosen = self.videos(contents);
        let videos = chosen.len();
        chosen.extend(self.sounds(contents));
        let groups = chosen.iter().map(|chosen| chosen.group).collect::<BTreeSet<_>>().len();
        self.resize(groups.min(videos.max(self.policy.shown).max(contents.hearing.most())), out);
        let places = self.place(&chosen, groups, contents);
        self.route(&chosen, &places, contents, out);
    }

    fn wants(&self, track: TrackId, group: GroupId, contents: &Contents) -> bool {
        let publisher = contents.group(group).publisher;
        self.receiving && publisher != self.owner && self.only.is_none_or(|only| publisher == only) && !self.unsubscribed.contains(&track)
    }

    /// The video tracks to be received, the most wanted first.
    fn videos(&self, contents: &Contents) -> Vec<Chosen> {
        // Who brings their own slots is shown what fits there.
        let most = match self.policy.step {
            Some(_) => self.policy.most,
            None => self.slots.iter().filter(|[_, video]| video.mid.is_some()).count(),
        };
        let chosen = |track, group, size, pinned| Chosen { track, group, side: 1, size, pinned };
        let mut videos: Vec<Chosen> = Vec::new();
        let named: &[(TrackId, Size, bool)] = self.wishes.as_ref().map_or(&[], |wishes| &wishes.tracks);
        for &(track, size, pinned) in named.iter().filter(|(_, size, _)| *size != Size::NONE) {
            let Some((group, 1)) = contents.place(track) else { continue };
            if videos.len() < most && self.wants(track, group, contents) && !videos.iter().any(|other| other.track == track) {
                videos.push(chosen(track, group, size, pinned));
            }
        }
        if self.wishes.as_ref().is_none_or(|wishes| wishes.others) {
            let free = most.min(self.policy.shown).saturating_sub(videos.len());
            let others = contents
                .videos()
                .filter(|(track, group)| self.wants(*track, *group, contents) && !named.iter().any(|(other, ..)| other == track));
            videos.extend(others.take(free).map(|(track, group)| chosen(track, group, Size::FULL, false)).collect::<Vec<_>>());
        }
        videos
    }

    fn sounds(&self, contents: &Contents) -> Vec<Chosen> {
        let heard: Vec<TrackId> = match self.only {
            Some(only) => contents.sounds_of(only).collect(),
            None => contents.hearing.heard().iter().copied().collect(),
        };
        let placed = heard.into_iter().filter_map(|track| Some((track, contents.place(track)?.0)));
        let wanted = placed.filter(|(track, group)| self.wants(*track, *group, contents));
        wanted.map(|(track, group)| Chosen { track, group, side: 0, size: Size::NONE, pinned: false }).collect()
    }

    /// Asks for more slots as soon as the spare ones are used up, for fewer only when more than a step too many are there, or nothing may be received.
    fn resize(&mut self, needed: usize, out: &mut Outcome) {
        let Some(step) = self.policy.step else { return };
        let target = match self.receiving {
            true => (needed + self.policy.spare).next_multiple_of(step).min(self.policy.most),
            false => 0,
        };
        if target == self.count || (self.receiving && target < self.count && target + step >= self.count) {
            return;
        }
        self.count = target;
        out.effects.push_back(Effect::SetSlots { participant: self.owner, count: target });
    }

    /// Whether the client hides a video track, which may come back any moment.
    fn hides(&self, track: TrackId, contents: &Contents) -> bool {
        let Some(wishes) = &self.wishes else { return false };
        let Some((group, 1)) = contents.place(track) else { return false };
        let named = wishes.tracks.iter().find(|(named, ..)| *named == track);
        self.wants(track, group, contents) && named.map_or(!wishes.others, |(_, size, _)| *size == Size::NONE)
    }

    /// What each half of each slot is to carry: what it does, if that is still wanted; then the rest, beside what belongs to it or else alone. Tracks of
    /// different groups share a slot only where there are more groups than slots. What the client hides stays until its place is needed.
    fn place(&self, chosen: &[Chosen], groups: usize, contents: &Contents) -> Vec<[Option<TrackId>; 2]> {
        let is_chosen = |track: TrackId| chosen.iter().any(|chosen| chosen.track == track);
        let group = |track: TrackId| contents.place(track).map(|(group, _)| group);
        let slots = self.slots.iter().take(self.count);
        let usable = slots.clone().filter(|slot| slot.iter().any(|half| half.mid.is_some())).count();
        let mut places: Vec<[Option<TrackId>; 2]> = slots
            .map(|slot| slot.each_ref().map(|half| half.told.filter(|&track| is_chosen(track) || self.hides(track, contents))))
            .collect();
        if groups <= usable {
            // Who had to be parted is joined again.
            for index in 0..places.len() {
                let [Some(audio), beside] = places[index] else { continue };
                let own = places.iter().position(|place| place[1].is_some_and(|video| group(video) == group(audio)));
                let elsewhere = own.is_some_and(|own| own != index && self.slots[own][0].mid.is_some());
                if elsewhere || beside.is_some_and(|video| group(video) != group(audio)) {
                    places[index][0] = None;
                }
            }
        }
        let may_mix = self.policy.step.is_some() && usable == self.count && groups > usable;
        for Chosen { track, group: own, side, .. } in chosen {
            if places.iter().any(|place| place[*side] == Some(*track)) {
                continue;
            }
            let fits =
                places.iter().enumerate().filter(|(index, _)| self.slots[*index][*side].mid.is_some()).filter_map(|(index, place)| {
                    let taken = match place[*side] {
                        Some(other) if is_chosen(other) => return None,
                        other => other.is_some(),
                    };
                    let company = match place[1 - side].map(|beside| group(beside) == Some(*own)) {
                        Some(true) => 0,
                        None => 1,
                        Some(false) if may_mix => 2,
                        Some(false) => return None,
                    };
                    Some((company, taken, index))
                });
            if let Some((_, _, index)) = fits.min() {
                places[index][*side] = Some(*track);
            }
        }
        places
    }

    fn route(&mut self, chosen: &[Chosen], places: &[[Option<TrackId>; 2]], contents: &Contents, out: &mut Outcome) {
        let mut changed = Vec::new();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            for (side, half) in slot.iter_mut().enumerate() {
                let Some(mid) = &half.mid else { continue };
                let shown = places.get(index).and_then(|place| place[side]);
                if half.told != shown {
                    half.told = shown;
                    changed.push(SlotAssignment { mid: mid.clone(), track: shown });
                }
                let received = chosen.iter().find(|chosen| Some(chosen.track) == shown);
                let received = received.filter(|Chosen { track, .. }| !self.paused.contains(track) && !contents.is_unbound(*track));
                let routed = received.map(|chosen| (chosen.track, chosen.size));
                let pinned = received.is_some_and(|chosen| chosen.pinned);
                let backup = received.is_some_and(|chosen| contents.needs_backup(chosen.track, self.codecs));
                let pin_moved = std::mem::replace(&mut half.pinned, pinned) != pinned;
                let recoded = std::mem::replace(&mut half.backup, backup) != backup;
                if half.routed == routed && !pin_moved && !recoded {
                    continue;
                }
                let before = std::mem::replace(&mut half.routed, routed);
                if side == 1 {
                    for (track, from, to) in changes(before, routed) {
                        out.demand.change(track, from, to);
                    }
                }
                let (subscriber, sender, track) = (self.owner, position(index, side), routed.map(|(track, _)| track));
                let other = before.map(|(track, _)| track) != track;
                let anew = other || recoded;
                if anew {
                    let lacked = half.reception.take();
                    out.effects.push_back(Effect::Route { subscriber, sender, track, backup });
                    // The slot carries the same as ever to the client, who would go on believing it.
                    if let Some((track, _)) = routed.filter(|_| !other && lacked.is_some()) {
                        let event = Event::Reception { track, reception: Reception::Full, width: 0, height: 0 };
                        out.effects.push_back(Effect::Notify { to: Audience::One(subscriber), event });
                    }
                }
                if let Some((_, size)) = routed.filter(|(_, size)| side == 1 && !(anew && *size == Size::FULL && !pinned)) {
                    out.effects.push_back(Effect::Show { subscriber, sender, size, pinned });
                }
            }
        }
        self.say(changed, out);
    }

    fn say(&self, slots: Vec<SlotAssignment>, out: &mut Outcome) {
        if !slots.is_empty() {
            out.effects.push_back(Effect::Notify { to: Audience::One(self.owner), event: Event::Slots { slots } });
        }
    }
}

/// How the demand for tracks changes with what is routed.
fn changes(before: Option<(TrackId, Size)>, after: Option<(TrackId, Size)>) -> Vec<(TrackId, Option<Size>, Option<Size>)> {
    match (before, after) {
        (Some((old, from)), Some((new, to))) if old == new => vec![(old, Some(from), Some(to))],
        (before, after) => {
            let (gone, come) =
                (before.map(|(track, size)| (track, Some(size), None)), after.map(|(track, size)| (track, None, Some(size))));
            gone.into_iter().chain(come).collect()
        }
    }
}

/// The sender's position of one side (0 audio, 1 video) of a slot. Slots are bounded far below 2^15.
fn position(slot: usize, side: usize) -> u16 {
    u16::try_from(slot * 2 + side).expect("slots are bounded")
}
