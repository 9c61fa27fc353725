//! A shell around a [`Room`]: executes effects on models of clients and of the media plane, negotiates slots when told to, and checks that all of
//! it fits together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use switchyard_protocol::{Event, Kind, LeaveReason, ParticipantId, ProtocolError, Quality, Source, TrackId, TrackView, VideoCodec};

use crate::{Activity, Answer, Audience, Codecs, Effect, Entrant, Entry, Figures, Knock, Limits, Pass, Room, Size, SlotMids};

/// What one participant's client and transport know.
#[derive(Debug, Default)]
pub struct Client {
    /// From `SetSlots`.
    pub wanted_slots: usize,
    /// The most slots any `SetSlots` asked for and should have.
    pub most_needed: usize,
    /// What was negotiated last.
    pub mids: Vec<SlotMids>,
    /// What it decodes, if it has said so.
    pub codecs: Option<Codecs>,
    /// What the client believes, from `Slots` events alone.
    pub shown: BTreeMap<String, TrackId>,
    /// The media plane's routes by sender position.
    pub routes: BTreeMap<u16, TrackId>,
    /// How large it shows what they carry; the others as large as they get.
    pub sizes: BTreeMap<u16, Size>,
    /// Which of them come first.
    pub pinned: BTreeSet<u16>,
    /// Which of them come in their second codec.
    pub by_backup: BTreeSet<u16>,
    /// Who is there, from the reply to `join` and events.
    pub present: BTreeMap<ParticipantId, BTreeSet<TrackId>>,
    pub events: Vec<Event>,
    pub unsubscribed: BTreeSet<TrackId>,
    pub paused: BTreeSet<TrackId>,
    /// It said what it shows.
    pub views: bool,
    /// Nobody knows of it.
    pub viewer: bool,
    /// Of a viewer: the one it is there for.
    pub only: Option<ParticipantId>,
    next_mid: usize,
}

#[derive(Clone, Debug)]
pub struct Published {
    pub publisher: ParticipantId,
    pub source: Source,
    pub enabled: bool,
    /// What is sent can be routed.
    pub bound: bool,
    /// In another codec as well.
    pub backed_up: bool,
}

pub struct Shell {
    pub room: Room,
    pub limits: Limits,
    pub clients: BTreeMap<ParticipantId, Client>,
    pub tracks: BTreeMap<TrackId, Published>,
    /// The camera that comes first.
    pub spotlight: Option<TrackId>,
    /// Viewers that are to leave.
    dismissed: Vec<ParticipantId>,
}

impl Room {
    /// Somebody enters who brings nothing but their pass.
    pub fn join(&mut self, name: String, pass: Pass) -> Result<Entry, ProtocolError> {
        self.entered(Entrant::Participant(name, pass))
    }

    /// A viewer enters who brings nothing but their pass.
    pub fn watch(&mut self, only: Option<ParticipantId>, pass: Pass) -> Result<Entry, ProtocolError> {
        self.entered(Entrant::Viewer(only, pass))
    }

    fn entered(&mut self, entrant: Entrant) -> Result<Entry, ProtocolError> {
        match self.enter(Instant::now(), entrant, &Knock::default())? {
            Answer::Entered(entry) => Ok(entry),
            Answer::Waits(guest) => panic!("{guest:?} can't wait"),
        }
    }
}

impl Shell {
    pub fn new(limits: Limits) -> Self {
        Self { room: Room::new(limits), limits, clients: BTreeMap::new(), tracks: BTreeMap::new(), spotlight: None, dismissed: Vec::new() }
    }

    pub fn join(&mut self) -> ParticipantId {
        self.join_with(Pass::default())
    }

    pub fn join_with(&mut self, pass: Pass) -> ParticipantId {
        let entry = self.room.join("Ada".into(), pass).expect("the room has space");
        self.enter(entry, Client::default())
    }

    /// Has the room do something that it does not refuse.
    pub fn ask(&mut self, request: impl FnOnce(&mut Room) -> Result<(), ProtocolError>) {
        request(&mut self.room).expect("not refused");
        self.execute();
    }

    /// A viewer with this many slots, which are yet to be negotiated.
    pub fn watch(&mut self, only: Option<ParticipantId>, slots: usize) -> ParticipantId {
        let entry = self.room.watch(only, Pass::default()).expect("the room has space");
        self.enter(entry, Client { viewer: true, only, wanted_slots: slots, ..Client::default() })
    }

    fn enter(&mut self, entry: Entry, client: Client) -> ParticipantId {
        let present = entry.participants.iter().map(|other| (other.id, other.tracks.iter().map(|track| track.id).collect())).collect();
        self.clients.insert(entry.participant, Client { present, ..client });
        self.execute();
        entry.participant
    }

    pub fn leave(&mut self, participant: ParticipantId) {
        self.clients.remove(&participant);
        self.tracks.retain(|_, track| track.publisher != participant);
        assert!(self.room.leave(participant, LeaveReason::Left));
        self.forget_wishes();
        self.execute();
        let orphans: Vec<_> = self.clients.iter().filter(|(_, client)| client.only == Some(participant)).map(|(id, _)| *id).collect();
        assert_eq!(std::mem::take(&mut self.dismissed), orphans, "who was there for somebody goes with them");
        orphans.into_iter().for_each(|orphan| self.leave(orphan));
    }

    pub fn publish(&mut self, participant: ParticipantId, source: Source) -> TrackId {
        let track = self.room.publish(participant, format!("{source:?}"), source, false).expect("not published yet");
        let before = self.tracks.insert(track, Published { publisher: participant, source, enabled: true, bound: true, backed_up: false });
        assert!(before.is_none_or(|before| !before.bound), "an id is used once");
        self.execute();
        track
    }

    /// Begins the transport anew: all m-lines are gone.
    pub fn renew(&mut self, participant: ParticipantId) {
        self.client(participant).mids.clear();
        self.tracks
            .values_mut()
            .filter(|track| track.publisher == participant)
            .for_each(|track| (track.bound, track.backed_up) = (false, false));
        assert!(self.room.renew(participant));
        self.execute();
    }

    pub fn unpublish(&mut self, track: TrackId) {
        let publisher = self.tracks.remove(&track).expect("published").publisher;
        self.room.unpublish(publisher, track).expect("published");
        self.forget_wishes();
        self.execute();
    }

    pub fn subscribe(&mut self, participant: ParticipantId, track: TrackId, subscribed: bool) {
        self.room.subscribe(participant, track, subscribed).expect("somebody else's");
        let unsubscribed = &mut self.client(participant).unsubscribed;
        let _ = if subscribed { unsubscribed.remove(&track) } else { unsubscribed.insert(track) };
        self.execute();
    }

    pub fn pause(&mut self, participant: ParticipantId, track: TrackId, paused: bool) {
        self.room.pause(participant, track, paused).expect("somebody else's");
        let set = &mut self.client(participant).paused;
        let _ = if paused { set.insert(track) } else { set.remove(&track) };
        self.execute();
    }

    /// Offer and answer: the client accepts as many slots as the room asked for, under mids never used before where a slot is new.
    pub fn negotiate(&mut self, participant: ParticipantId) {
        let client = self.client(participant);
        client.mids.truncate(client.wanted_slots);
        for index in 0..client.wanted_slots {
            let base = client.next_mid;
            client.next_mid += 2;
            let fresh = SlotMids { audio: Some(base.to_string()), video: Some((base + 1).to_string()) };
            match client.mids.get_mut(index) {
                None => client.mids.push(fresh),
                Some(mids) => {
                    mids.audio.get_or_insert(fresh.audio.expect("set above"));
                    mids.video.get_or_insert(fresh.video.expect("set above"));
                }
            }
        }
        self.report_slots(participant);
    }

    /// The client stops one m-line of a slot.
    pub fn refuse(&mut self, participant: ParticipantId, slot: usize, kind: Kind) {
        if let Some(mids) = self.client(participant).mids.get_mut(slot) {
            match kind {
                Kind::Audio => mids.audio = None,
                Kind::Video => mids.video = None,
            }
        }
        self.report_slots(participant);
    }

    pub fn view(&mut self, participant: ParticipantId, tracks: &[TrackView], others: bool) {
        self.room.view(participant, tracks.to_vec(), others).expect("in the room");
        self.client(participant).views = true;
        self.execute();
    }

    pub fn voice(&mut self, now: Instant, track: TrackId, activity: Activity, level: u8) {
        self.room.handle_voice(now, track, activity, level);
        self.execute();
    }

    /// Does what was asked of the room itself.
    pub fn settle(&mut self) {
        self.execute();
    }

    pub fn quality(&mut self, participant: ParticipantId, quality: Quality, figures: Figures) {
        self.room.handle_quality(participant, quality, figures);
        self.execute();
    }

    /// Does what is due.
    pub fn advance(&mut self, now: Instant) -> Option<Instant> {
        let due = self.room.advance(now);
        self.execute();
        due
    }

    pub fn report_slots(&mut self, participant: ParticipantId) {
        let Client { mids, codecs, .. } = self.client(participant);
        let (mids, codecs) = (mids.clone(), *codecs);
        self.room.slots_changed(participant, mids, codecs);
        self.execute();
    }

    pub fn client(&mut self, participant: ParticipantId) -> &mut Client {
        self.clients.get_mut(&participant).expect("in the room")
    }

    /// Groups (publisher, whether screen) `participant` should see if there were slots without end.
    pub fn wanted_groups(&self, participant: ParticipantId) -> BTreeSet<(ParticipantId, bool)> {
        let client = &self.clients[&participant];
        self.tracks
            .iter()
            .filter(|(id, track)| track.publisher != participant && !client.unsubscribed.contains(id))
            .filter(|(_, track)| client.only.is_none_or(|only| track.publisher == only))
            .map(|(_, track)| group(track))
            .collect()
    }

    pub fn target(&self, needed: usize) -> usize {
        let needed = needed.min(self.limits.shown.max(self.limits.heard));
        (needed + self.limits.spare_slots).div_ceil(self.limits.slot_step) * self.limits.slot_step
    }

    fn forget_wishes(&mut self) {
        for client in self.clients.values_mut() {
            client.unsubscribed.retain(|track| self.tracks.contains_key(track));
            client.paused.retain(|track| self.tracks.contains_key(track));
        }
    }

    fn execute(&mut self) {
        while let Some(effect) = self.room.poll_effect() {
            match effect {
                Effect::Notify { to, event } => {
                    let heard = |id: &ParticipantId| match to {
                        Audience::All => true,
                        Audience::Others(but) => *id != but,
                        Audience::One(one) => *id == one,
                    };
                    self.clients.iter_mut().filter(|(id, _)| heard(id)).for_each(|(_, client)| client.hear(event.clone()));
                }
                Effect::SetSlots { participant, count } => {
                    assert!(!self.clients[&participant].viewer, "viewers bring their slots");
                    self.client(participant).wanted_slots = count;
                }
                Effect::Remove { participant, .. } => {
                    let client = self.clients.remove(&participant).expect("it was there");
                    assert!(client.routes.is_empty(), "whoever is sent away is sent nothing");
                    self.tracks.retain(|_, track| track.publisher != participant);
                    self.forget_wishes();
                }
                Effect::Dismiss { viewer } => self.dismissed.push(viewer),
                Effect::Route { subscriber, sender, track, backup } => {
                    let exists = !backup || track.and_then(|track| self.tracks.get(&track)).is_some_and(|track| track.backed_up);
                    assert!(exists, "only what there is in a second codec comes in it");
                    let client = self.client(subscriber);
                    let old = match track {
                        Some(track) => client.routes.insert(sender, track),
                        None => client.routes.remove(&sender),
                    };
                    let old_backup = if backup { !client.by_backup.insert(sender) } else { client.by_backup.remove(&sender) };
                    assert_ne!((old, old_backup), (track, backup), "a route that changes nothing");
                    client.sizes.remove(&sender);
                    client.pinned.remove(&sender);
                }
                Effect::Show { subscriber, sender, size, pinned } => {
                    let client = self.client(subscriber);
                    assert!(sender % 2 == 1 && client.routes.contains_key(&sender), "of a video that is received");
                    let old = client.sizes.insert(sender, size).unwrap_or(Size::FULL);
                    let was_pinned = if pinned { !client.pinned.insert(sender) } else { client.pinned.remove(&sender) };
                    assert_ne!((old, was_pinned), (size, pinned), "a size that changes nothing");
                }
                Effect::Enable { track, enabled } => self.tracks.get_mut(&track).expect("published").enabled = enabled,
                Effect::BackUp { track, mid, .. } => {
                    let of_it = |client: &Client| client.by_backup.iter().any(|sender| client.routes.get(sender) == Some(&track));
                    assert!(mid.is_some() || !self.clients.values().any(of_it), "nothing is routed of what is gone");
                    self.tracks.get_mut(&track).expect("published").backed_up = mid.is_some();
                }
                Effect::Unpublish { track } => {
                    let routed = self.clients.values().any(|client| client.routes.values().any(|routed| *routed == track));
                    assert!(!routed, "nothing is routed of a track without an m-line");
                }
                Effect::Spotlight { track, on: true } => {
                    assert_eq!(self.tracks.get(&track).map(|track| track.source), Some(Source::Camera));
                    let before = self.spotlight.replace(track).and_then(|before| self.tracks.get(&before));
                    assert!(before.is_none_or(|before| !before.bound), "one at a time");
                }
                Effect::Spotlight { track, on: false } => assert_eq!(self.spotlight.take(), Some(track)),
                Effect::Publish { .. } | Effect::Decided { .. } | Effect::Guests { .. } => {}
            }
        }
        self.check();
    }

    fn check(&mut self) {
        let ids: Vec<ParticipantId> = self.clients.keys().copied().collect();
        for id in ids {
            let needed = self.wanted_groups(id).len();
            let sounds = self.tracks.values().filter(|track| track.source.kind() == Kind::Audio).count();
            let all = sounds <= self.limits.heard && !self.clients[&id].views;
            let (least, most) = (self.target(needed).min(self.limits.slots), self.target(needed));
            let client = self.client(id);
            client.most_needed = client.most_needed.max(most);
            assert!(!all || client.viewer || client.wanted_slots >= least, "a slot for everybody and one to spare, up to the bound");
            assert!(
                client.views || client.viewer || client.wanted_slots <= client.most_needed,
                "never more slots than the largest room needed"
            );
            self.check_routes(id);
            self.check_roster(id);
            self.check_snapshot(id);
        }
    }

    fn check_routes(&self, id: ParticipantId) {
        let client = &self.clients[&id];
        let wanted = self.wanted_groups(id);
        let lame = client.mids.iter().filter(|mids| mids.audio.is_some() != mids.video.is_some()).count();
        // Whether the client is to receive all that is there.
        let sounds = self.tracks.values().filter(|track| track.source.kind() == Kind::Audio).count();
        let all = wanted.len() <= self.limits.shown && sounds <= self.limits.heard && !client.views;
        let (mut shown, mut routes, mut seen, mut free) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new(), 0);
        for (index, mids) in client.mids.iter().enumerate() {
            let mut groups = BTreeSet::new();
            for (side, mid, kind) in [(0, &mids.audio, Kind::Audio), (1, &mids.video, Kind::Video)] {
                let Some(mid) = mid else { continue };
                let Some(&track) = client.shown.get(mid) else { continue };
                let published = self.tracks.get(&track).expect("only published tracks are shown");
                assert_eq!(published.source.kind(), kind);
                assert_ne!(published.publisher, id, "nobody receives themselves");
                assert!(!client.unsubscribed.contains(&track));
                groups.insert(group(published));
                shown.insert(mid.clone(), track);
                if published.bound && !client.paused.contains(&track) {
                    routes.insert((index * 2 + side) as u16, track);
                }
            }
            let crowded = lame > 0 || wanted.len() > client.mids.iter().filter(|mids| mids.audio.is_some() || mids.video.is_some()).count();
            assert!(groups.len() <= 1 || (crowded && !client.viewer), "a slot carries one group if there are enough");
            for group in &groups {
                assert!(seen.insert(*group) || crowded, "a group is in one slot");
                if crowded || !all {
                    continue;
                }
                for (id, track) in self.tracks.iter().filter(|(_, track)| self::group(track) == *group) {
                    let mid = if track.source.kind() == Kind::Audio { &mids.audio } else { &mids.video };
                    let expected = mid.as_ref().is_some_and(|_| !client.unsubscribed.contains(id));
                    assert_eq!(
                        mid.as_ref().is_some_and(|mid| client.shown.get(mid) == Some(id)),
                        expected,
                        "a slot shows all of its group"
                    );
                }
            }
            // A slot that shows nothing may hold a group whose only m-line was refused.
            free += usize::from(groups.is_empty() && mids.audio.is_some() && mids.video.is_some() && index < client.wanted_slots);
        }
        assert_eq!(client.shown, shown, "the client believes nothing about m-lines that are gone");
        if client.views {
            assert!(client.routes.iter().all(|route| routes.get(route.0) == Some(route.1)), "what is hidden is not routed");
        } else {
            assert_eq!(client.routes, routes, "what a client believes is what is routed");
        }
        assert!(seen.is_subset(&wanted));
        // Tests have AV1 backed up by VP8.
        let needs_backup = client.codecs.is_some_and(|codecs| !codecs.contains(VideoCodec::Av1) && codecs.contains(VideoCodec::Vp8));
        let backed_up = client.routes.iter().filter(|(_, track)| needs_backup && self.tracks[track].backed_up).map(|(sender, _)| *sender);
        assert_eq!(client.by_backup, backed_up.collect(), "who needs the second codec gets it, and nobody else");
        if free > 0 && all {
            let hidden = wanted.difference(&seen).count();
            assert!(hidden <= lame, "nobody waits while a slot is free");
        }
    }

    fn check_roster(&self, id: ParticipantId) {
        let mut present: BTreeMap<ParticipantId, BTreeSet<TrackId>> = self
            .clients
            .iter()
            .filter(|(other, client)| **other != id && !client.viewer)
            .map(|(other, _)| (*other, BTreeSet::new()))
            .collect();
        for (track, published) in self.tracks.iter().filter(|(_, published)| published.publisher != id) {
            present.get_mut(&published.publisher).expect("publishers are in the room").insert(*track);
        }
        assert_eq!(self.clients[&id].present, present, "events tell who is there");
    }

    /// Whoever looks at the room now knows what those know who were told everything.
    fn check_snapshot(&mut self, id: ParticipantId) {
        let snapshot = self.room.snapshot(id).expect("in the room");
        let (mut present, mut all) = (BTreeMap::new(), snapshot.participants);
        while let Some(effect) = self.room.poll_effect() {
            match effect {
                Effect::Notify { to: Audience::One(one), event: Event::ParticipantJoined { participant } } if one == id => {
                    all.push(participant)
                }
                Effect::Notify {
                    to: Audience::One(one),
                    event:
                        Event::Wanted { .. }
                        | Event::Codecs { .. }
                        | Event::Speakers { .. }
                        | Event::Guests { .. }
                        | Event::Quality { .. }
                        | Event::Reception { .. }
                        | Event::TrackMuted { by: Some(_), .. },
                } if one == id => {}
                other => panic!("looking changes nothing: {other:?}"),
            }
        }
        for participant in all {
            let tracks: BTreeSet<TrackId> = participant.tracks.iter().map(|track| track.id).collect();
            assert!(present.insert(participant.id, tracks).is_none(), "everybody is there once");
        }
        let shown: BTreeMap<String, TrackId> =
            snapshot.slots.into_iter().map(|slot| (slot.mid, slot.track.expect("only m-lines that carry something"))).collect();
        assert_eq!((&present, &shown), (&self.clients[&id].present, &self.clients[&id].shown));
    }
}

impl Client {
    fn hear(&mut self, event: Event) {
        match &event {
            Event::Slots { slots } => {
                for slot in slots {
                    let old = match slot.track {
                        Some(track) => self.shown.insert(slot.mid.clone(), track),
                        None => self.shown.remove(&slot.mid),
                    };
                    assert_ne!(old, slot.track, "slots events carry only what changed");
                }
            }
            Event::ParticipantJoined { participant } => {
                let tracks = participant.tracks.iter().map(|track| track.id).collect();
                assert!(self.present.insert(participant.id, tracks).is_none());
            }
            Event::ParticipantLeft { participant, .. } => assert!(self.present.remove(participant).is_some()),
            Event::TrackPublished { participant, track } => {
                assert!(self.present.get_mut(participant).expect("joined before").insert(track.id));
            }
            Event::TrackUnpublished { participant, track } => {
                assert!(self.present.get_mut(participant).expect("joined before").remove(track));
            }
            _ => {}
        }
        self.events.push(event);
    }
}

fn group(track: &Published) -> (ParticipantId, bool) {
    (track.publisher, matches!(track.source, Source::Screen | Source::ScreenAudio))
}
