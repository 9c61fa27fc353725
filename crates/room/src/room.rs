//! Membership, published tracks and requests.

mod backup;
mod door;
mod manage;
mod moderation;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use switchyard_protocol::{
    ChatMessage, ErrorCode, Event, Grants, Kind, LeaveReason, Participant, ParticipantId, ProtocolError, Quality, Reception, Snapshot,
    Source, Track, TrackId, TrackView,
};

use crate::contents::{Contents, Part};
use crate::decoders::{Codecs, Decoders};
use crate::demand::Size;
use crate::guesses::Guesses;
use crate::invitations::Invitations;
use crate::lobby::Lobby;
use crate::settings::Settings;
use crate::speakers::Speakers;
use crate::view::{Outcome, View};
use crate::{Activity, Audience, Bucket, Effect, Rate, SlotMids};

pub use door::{Answer, Entrant, Entry, Knock};
pub use manage::{GrantChanges, Present};

/// Bounds of one room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Participants and viewers at the same time. Each is told of each other's coming and going, so the cost of a full room's start grows with the
    /// square: a million small messages at 1,000.
    pub participants: usize,
    /// Slots a participant can have: 129 m-lines make a session description of about 150 KB, which browsers take a tenth of a second for.
    pub slots: usize,
    /// How many slots come and go at a time.
    pub slot_step: usize,
    /// Slots that are negotiated before they are needed.
    pub spare_slots: usize,
    /// Sources of sound that are forwarded at a time: with more voices nobody is understood.
    pub heard: usize,
    /// Video tracks that are forwarded to a client that has not said what it shows; and slots that a participant has for it.
    pub shown: usize,
    /// Chat messages of one participant: each goes to everybody.
    pub chat: Rate,
    /// Bytes of other participants in the reply to `join` and in a snapshot; whoever does not fit is announced right after, as if they had just joined.
    /// Half of what a message may have.
    pub roster_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            participants: 1000,
            slots: 56,
            slot_step: 4,
            spare_slots: 1,
            heard: 5,
            shown: 9,
            chat: Rate { burst: 20, per_second: 2 },
            roster_bytes: switchyard_protocol::MAX_MESSAGE_BYTES / 4,
        }
    }
}

/// What a connection's quality comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Packets lost, in percent.
    pub loss: u8,
    /// Milliseconds.
    pub round_trip: u16,
    /// Milliseconds.
    pub jitter: u16,
}

/// Who somebody is, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// What the application calls them; `None` where there is no access control.
    pub identity: Option<String>,
    /// What they may do.
    pub grants: Grants,
    /// Whether they may change their name.
    pub renames: bool,
}

impl Default for Pass {
    /// What everybody has where there is no access control.
    fn default() -> Self {
        Self { identity: None, grants: Grants::without_access_control(), renames: true }
    }
}

/// A room's state; see the crate's documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Room {
    limits: Limits,
    members: BTreeMap<ParticipantId, Member>,
    tracks: BTreeMap<TrackId, Publication>,
    contents: Contents,
    decoders: Decoders,
    speakers: Speakers,
    /// The camera of who speaks, or spoke last.
    spotlight: Option<TrackId>,
    settings: Settings,
    lobby: Lobby,
    invitations: Invitations,
    /// Somebody is on the way, as of the last [`Room::advance`].
    expecting: bool,
    guesses: Guesses,
    /// Identities that don't come in again.
    banned: BTreeSet<String>,
    last_participant: u32,
    last_track: u32,
    out: Outcome,
}

#[derive(Clone, Debug, PartialEq)]
struct Member {
    /// `None`: a viewer.
    name: Option<String>,
    pass: Pass,
    /// In order of publishing; at most one for each [`Source`].
    tracks: Vec<TrackId>,
    view: View,
    chat: Bucket,
    /// What the others were told last, if it is not good.
    quality: Option<Event>,
    /// It may do something else than it was told on entering.
    regranted: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Publication {
    publisher: ParticipantId,
    /// The m-line it arrives on; `None` from [`Room::renew`] until it is published there again.
    mid: Option<String>,
    /// The m-line on which it arrives in another codec.
    backup: Option<String>,
    track: Track,
    /// The moderator who muted it, as long as it is.
    muted_by: Option<ParticipantId>,
}

impl Room {
    /// Tracks one participant can publish: one of each source.
    pub const TRACKS_PER_PARTICIPANT: usize = 4;
    /// Identities that a room keeps out: more than moderators get round to.
    pub const MAX_BANNED: usize = 1000;

    /// An empty room.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            members: BTreeMap::new(),
            tracks: BTreeMap::new(),
            contents: Contents::new(limits.heard),
            decoders: Decoders::default(),
            speakers: Speakers::default(),
            spotlight: None,
            settings: Settings::open(limits.participants),
            lobby: Lobby::default(),
            invitations: Invitations::default(),
            expecting: false,
            guesses: Guesses::default(),
            banned: BTreeSet::new(),
            last_participant: 0,
            last_track: 0,
            out: Outcome::default(),
        }
    }

    /// Streams that each participant may be sent at a time, while nobody asks for more.
    pub fn streams(&self) -> usize {
        self.limits.heard + self.limits.shown
    }

    /// The next thing to do. To be emptied after every call; what is in it is bounded by what one call can cause.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.out.effects.pop_front()
    }

    /// Whether nobody is there or on the way, not even a viewer or somebody who waits to be let in.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.lobby.is_empty() && !self.expecting
    }

    /// How many are there, viewers included.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Everybody but `participant`, oldest first; who does not fit is announced to them.
    fn roster(&mut self, participant: ParticipantId) -> Vec<Participant> {
        let others = self.members.iter().filter(|(id, _)| **id != participant);
        let mut roster: VecDeque<Participant> = others.filter_map(|(&id, member)| self.describe(id, member)).collect();
        let mut budget = self.limits.roster_bytes;
        let fitting = roster
            .iter()
            .take_while(|participant| {
                let fits = budget.checked_sub(roster_bytes(participant));
                budget = fits.unwrap_or(0);
                fits.is_some()
            })
            .count();
        for other in roster.split_off(fitting) {
            self.notify(Audience::One(participant), Event::ParticipantJoined { participant: other });
        }
        roster.into()
    }

    /// The room as `participant` sees it now, for a client that has missed how it became so; who does not fit is announced right after, as if they had
    /// just joined. `None` if they aren't there.
    pub fn snapshot(&mut self, participant: ParticipantId) -> Option<Snapshot> {
        let member = self.members.get(&participant)?;
        let (slots, moderates) = (member.view.shown(), member.pass.grants.moderate);
        let regranted = member.regranted.then(|| member.pass.grants.clone());
        let (tracks, receptions) = (member.tracks.clone(), member.view.receptions().collect::<Vec<_>>());
        if let Some(grants) = regranted {
            self.notify(Audience::One(participant), Event::GrantsChanged { grants });
        }
        for track in tracks {
            if let Some(size) = self.out.demand.told(track) {
                self.tell_wanted(participant, track, size);
            }
            if let Some(sets) = self.decoders.told(track) {
                self.notify(Audience::One(participant), Event::Codecs { track, sets });
            }
            if let Some(Publication { muted_by: Some(by), .. }) = self.tracks.get(&track) {
                let event = Event::TrackMuted { participant, track, muted: true, by: Some(*by) };
                self.notify(Audience::One(participant), event);
            }
        }
        if self.speakers.were_told() {
            self.tell_speakers_to(participant);
        }
        receptions.into_iter().for_each(|event| self.notify(Audience::One(participant), event));
        self.tell_bad_connections_to(participant);
        if moderates && self.lobby.were_told() {
            self.tell_guests_to(participant);
        }
        Some(Snapshot { participants: self.roster(participant), slots, settings: self.settings.told() })
    }

    /// Somebody left, with all their tracks. `false` if they weren't there.
    pub fn leave(&mut self, participant: ParticipantId, reason: LeaveReason) -> bool {
        let Some(member) = self.members.remove(&participant) else { return false };
        member.view.end(&mut self.out.demand);
        self.decoders.set(participant, None, None);
        if member.name.is_none() {
            return true;
        }
        self.speakers.set(participant, None);
        self.withdraw(&member.tracks);
        self.notify(Audience::All, Event::ParticipantLeft { participant, reason });
        for track in member.tracks {
            self.out.effects.push_back(Effect::Unpublish { track });
        }
        let viewers = self.members.iter().filter(|(_, member)| member.view.only() == Some(participant));
        self.out.effects.extend(viewers.map(|(&viewer, _)| Effect::Dismiss { viewer }));
        true
    }

    /// What `participant` sends on the m-line `mid` is a track: the one that it has of this source since before [`Room::renew`], or another. Fails with
    /// [`ErrorCode::AlreadyPublished`] if the source or the m-line is one already, with [`ErrorCode::Forbidden`] if the source isn't granted.
    pub fn publish(&mut self, participant: ParticipantId, mid: String, source: Source, muted: bool) -> Result<TrackId, ProtocolError> {
        let member = self.member(participant)?;
        if !member.pass.grants.may_publish(source) {
            return Err(may_not("publish this"));
        }
        let mut unbound = None;
        for id in &member.tracks {
            let publication = &self.tracks[id];
            if [&publication.mid, &publication.backup].contains(&&Some(mid.clone())) {
                return Err(ProtocolError::new(ErrorCode::AlreadyPublished, "this m-line is published already"));
            }
            if publication.track.source == source {
                if publication.mid.is_some() {
                    return Err(ProtocolError::new(ErrorCode::AlreadyPublished, "a track of this source is published already"));
                }
                unbound = Some(*id);
            }
        }
        if let Some(id) = unbound {
            self.bind(participant, id, mid, muted);
            return Ok(id);
        }
        let id = TrackId(next(&mut self.last_track)?);
        let track = Track { id, kind: source.kind(), source, muted };
        let (part, side) = place(source);
        self.contents.publish(participant, part, side, id);
        match track.kind {
            Kind::Audio => self.contents.hearing.publish(id, muted),
            Kind::Video => {
                self.out.demand.publish(id);
                self.decoders.publish(id, participant);
            }
        }
        self.tracks.insert(id, Publication { publisher: participant, mid: Some(mid.clone()), backup: None, track, muted_by: None });
        self.member_mut(participant)?.tracks.push(id);

        self.out.effects.push_back(Effect::Publish { participant, mid, track: id, source: track.source, enabled: !muted });
        self.notify(Audience::Others(participant), Event::TrackPublished { participant, track });
        self.settle();
        Ok(id)
    }

    /// `participant`'s transport begins anew: none of its m-lines exists any more. Its tracks stay, and so does what others see of it; nothing of them is
    /// routed until they are published again. `false` if it isn't there.
    pub fn renew(&mut self, participant: ParticipantId) -> bool {
        let Some(member) = self.members.get_mut(&participant) else { return false };
        member.view.renew(&self.contents, &mut self.out);
        let tracks = member.tracks.clone();
        for id in &tracks {
            let Some(publication) = self.tracks.get_mut(id) else { continue };
            (publication.mid, publication.backup) = (None, None);
            self.contents.set_backup(*id, None);
            self.contents.set_unbound(*id, true);
            self.spotlight = self.spotlight.filter(|lit| lit != id);
        }
        self.settle();
        self.out.effects.extend(tracks.into_iter().map(|track| Effect::Unpublish { track }));
        true
    }

    /// A track arrives on another m-line, of another transport.
    fn bind(&mut self, participant: ParticipantId, id: TrackId, mid: String, muted: bool) {
        let publication = self.tracks.get_mut(&id).expect("a track of the participant's");
        publication.mid = Some(mid.clone());
        let source = publication.track.source;
        let changed = std::mem::replace(&mut publication.track.muted, muted) != muted;
        publication.muted_by = publication.muted_by.filter(|_| muted);
        self.contents.set_unbound(id, false);
        self.out.demand.limit(id, Size::FULL);
        self.out.effects.push_back(Effect::Publish { participant, mid, track: id, source, enabled: !muted });
        if changed {
            self.notify(Audience::Others(participant), Event::TrackMuted { participant, track: id, muted, by: None });
            self.contents.hearing.set_muted(id, muted);
        }
        self.settle();
    }

    /// `participant` withdraws a track of its own.
    pub fn unpublish(&mut self, participant: ParticipantId, track: TrackId) -> Result<(), ProtocolError> {
        self.own_track(participant, track)?;
        self.take_back(participant, track);
        Ok(())
    }

    fn take_back(&mut self, participant: ParticipantId, track: TrackId) {
        self.withdraw(&[track]);
        if let Some(member) = self.members.get_mut(&participant) {
            member.tracks.retain(|&own| own != track);
        }
        self.notify(Audience::Others(participant), Event::TrackUnpublished { participant, track });
        self.out.effects.push_back(Effect::Unpublish { track });
    }

    /// `participant` mutes or unmutes a track of its own, or, as a moderator, mutes somebody else's. A muted track keeps its slots and is not forwarded.
    ///
    /// Whoever was muted by a moderator may unmute, as people do who are asked something; who isn't to has to go, or comes with other grants. Nobody else
    /// turns on what another has turned off.
    pub fn mute(&mut self, participant: ParticipantId, track: TrackId, muted: bool) -> Result<(), ProtocolError> {
        let moderate = participant == ParticipantId::SERVER || self.member(participant)?.pass.grants.moderate;
        let publication = self.tracks.get_mut(&track).ok_or_else(not_yours)?;
        let publisher = publication.publisher;
        let by = (publisher != participant).then_some(participant);
        if by.is_some() && !moderate {
            return Err(may_not("mute others"));
        }
        if by.is_some() && !muted {
            return Err(ProtocolError::new(ErrorCode::Forbidden, "only its publisher can unmute a track"));
        }
        let Track { muted: state, source, .. } = &mut publication.track;
        if *state == muted {
            return Ok(());
        }
        *state = muted;
        let is_voice = *source == Source::Microphone;
        publication.muted_by = by;
        self.out.effects.push_back(Effect::Enable { track, enabled: !muted });
        let to = if by.is_some() { Audience::All } else { Audience::Others(participant) };
        self.notify(to, Event::TrackMuted { participant: publisher, track, muted, by });
        if self.contents.hearing.set_muted(track, muted) {
            self.settle();
        }
        if muted && is_voice {
            self.speakers.set(publisher, None);
        }
        Ok(())
    }

    /// `participant` wants somebody else's track, or no longer; giving up both tracks of a group gives up its slot.
    pub fn subscribe(&mut self, participant: ParticipantId, track: TrackId, subscribed: bool) -> Result<(), ProtocolError> {
        self.foreign_track(participant, track)?;
        self.receives(participant)?;
        self.wish(participant, |view| view.set_unsubscribed(track, !subscribed))
    }

    /// `participant` wants nothing of somebody else's track for a while, or wants it again; its slot stays.
    pub fn pause(&mut self, participant: ParticipantId, track: TrackId, paused: bool) -> Result<(), ProtocolError> {
        self.foreign_track(participant, track)?;
        self.receives(participant)?;
        self.wish(participant, |view| view.set_paused(track, paused))
    }

    /// What `participant`'s client shows, in place of what it said before: so large, and what is not named only if `others`, while there is room. Tracks
    /// that aren't there, or are no video of somebody else's, are passed over: they may just have gone.
    pub fn view(&mut self, participant: ParticipantId, mut tracks: Vec<TrackView>, others: bool) -> Result<(), ProtocolError> {
        self.receives(participant)?;
        tracks.retain(|wish| self.tracks.contains_key(&wish.track));
        self.wish(participant, |view| view.wish(&tracks, others))
    }

    /// A worker says what there is to hear of a track; `level` in dB below overload.
    pub fn handle_voice(&mut self, now: Instant, track: TrackId, activity: Activity, level: u8) {
        let Some(&Publication { publisher, track: Track { source, muted, .. }, .. }) = self.tracks.get(&track) else { return };
        let mut changed = self.contents.hearing.sound(now, track, activity, level);
        if source == Source::Microphone {
            let speaks = activity == Activity::Speech && !muted;
            if self.speakers.set(publisher, speaks.then_some(level)) {
                self.contents.spoke(track);
                changed = true;
            }
        }
        if changed {
            self.settle();
        }
    }

    /// A worker says what `participant`'s line leaves of a track, in its second codec if `backup`: this much, in this size.
    pub fn handle_reception(&mut self, participant: ParticipantId, track: TrackId, backup: bool, reception: Reception, size: Size) {
        let Some(member) = self.members.get_mut(&participant) else { return };
        if member.view.set_reception(track, backup, reception, size) {
            let event = Event::Reception { track, reception, width: size.width, height: size.height };
            self.notify(Audience::One(participant), event);
        }
    }

    /// A worker says that no line carries more of a video track than this of what is shown; `None`: no line is the limit.
    /// Of a track that is sent in two codecs none is taken note of: one size is told for both, and what is too much for who gets one may not be for who gets the other.
    pub fn handle_limit(&mut self, track: TrackId, most: Option<Size>) {
        let is_double = self.tracks.get(&track).is_some_and(|publication| publication.backup.is_some());
        self.out.demand.limit(track, most.filter(|_| !is_double).unwrap_or(Size::FULL));
    }

    /// Tells a participant of everybody whose connection isn't good.
    fn tell_bad_connections_to(&mut self, participant: ParticipantId) {
        let bad: Vec<Event> = self.members.values().filter_map(|member| member.quality.clone()).collect();
        bad.into_iter().for_each(|event| self.notify(Audience::One(participant), event));
    }

    /// A participant's connection is as good as this now.
    pub fn handle_quality(&mut self, participant: ParticipantId, quality: Quality, figures: Figures) {
        let Figures { loss, round_trip, jitter } = figures;
        let event = Event::Quality { participant, quality, loss, round_trip, jitter };
        let Ok(member) = self.member_mut(participant) else { return };
        member.quality = (quality != Quality::Good).then(|| event.clone());
        self.notify(Audience::All, event);
    }

    /// Does what is due, and says when there is more. To be called after every other call, and then.
    pub fn advance(&mut self, now: Instant) -> Option<Instant> {
        for track in self.contents.hearing.expire(now) {
            self.handle_voice(now, track, Activity::Silent, 127);
        }
        if self.speakers.due(now).is_some_and(|due| due <= now) {
            let speakers = self.speakers.tell(now);
            let camera = speakers.first().and_then(|speaker| self.camera(speaker.participant));
            self.notify(Audience::All, Event::Speakers { speakers });
            self.set_spotlight(camera);
        }
        for (track, size) in self.out.demand.tell(now) {
            let publisher = self.tracks[&track].publisher;
            self.tell_wanted(publisher, track, size);
        }
        for (track, sets) in self.decoders.tell(now) {
            let publisher = self.tracks[&track].publisher;
            self.notify(Audience::One(publisher), Event::Codecs { track, sets });
        }
        self.tell_guests(now);
        let on_the_way = self.invitations.deadline(now);
        self.expecting = on_the_way.is_some();
        let others = [self.contents.hearing.deadline(), self.speakers.due(now), self.out.demand.deadline(), self.lobby.due(now)];
        others.into_iter().chain([self.decoders.deadline(), on_the_way]).flatten().min()
    }

    fn camera(&self, participant: ParticipantId) -> Option<TrackId> {
        let tracks = &self.members.get(&participant)?.tracks;
        tracks.iter().copied().find(|id| self.tracks[id].track.source == Source::Camera && self.tracks[id].mid.is_some())
    }

    /// Who spoke last stays in it until somebody else does whose camera there is.
    fn set_spotlight(&mut self, camera: Option<TrackId>) {
        if camera.is_none() || camera == self.spotlight {
            return;
        }
        let before = std::mem::replace(&mut self.spotlight, camera);
        let changes = before.map(|track| (track, false)).into_iter().chain(camera.map(|track| (track, true)));
        self.out.effects.extend(changes.map(|(track, on)| Effect::Spotlight { track, on }));
    }

    fn tell_wanted(&mut self, publisher: ParticipantId, track: TrackId, size: Size) {
        self.notify(Audience::One(publisher), Event::Wanted { track, width: size.width, height: size.height });
    }

    fn tell_speakers_to(&mut self, participant: ParticipantId) {
        let speakers = self.speakers.list();
        self.notify(Audience::One(participant), Event::Speakers { speakers });
    }

    /// What everybody receives follows from what there is.
    fn settle(&mut self) {
        for member in self.members.values_mut() {
            member.view.settle(&self.contents, &mut self.out);
        }
    }

    /// `participant` has another name from now on. Fails with [`ErrorCode::Forbidden`] if its pass says which name it has.
    pub fn rename(&mut self, participant: ParticipantId, name: String) -> Result<(), ProtocolError> {
        let member = self.member_mut(participant)?;
        if !member.pass.renames {
            return Err(ProtocolError::new(ErrorCode::Forbidden, "your name is the one in your access token"));
        }
        if member.name.as_ref() != Some(&name) {
            member.name = Some(name.clone());
            self.invitations.rename(participant, &name);
            self.notify(Audience::Others(participant), Event::ParticipantChanged { participant, name });
        }
        Ok(())
    }

    /// `participant` says something to everybody or to one. `at`: milliseconds since 1970-01-01 UTC, for those who read it.
    pub fn chat(
        &mut self,
        now: Instant,
        at: u64,
        participant: ParticipantId,
        text: String,
        to: Option<ParticipantId>,
    ) -> Result<(), ProtocolError> {
        let is_server = participant == ParticipantId::SERVER;
        if !is_server && !self.member(participant)?.pass.grants.data {
            return Err(may_not("say something"));
        }
        if to.is_some_and(|to| self.member(to).is_err()) {
            return Err(nobody());
        }
        if !is_server && !self.member_mut(participant)?.chat.take(now, 1) {
            return Err(ProtocolError::new(ErrorCode::RateLimited, "too many chat messages; wait a moment"));
        }
        let event = Event::Chat { message: ChatMessage { from: participant, to, text, at } };
        match to {
            None => self.notify(Audience::All, event),
            Some(to) => {
                self.notify(Audience::One(participant), event.clone());
                if to != participant {
                    self.notify(Audience::One(to), event);
                }
            }
        }
        Ok(())
    }

    /// The slots negotiated with `participant` are these now, by index; in all of them it decodes `codecs`, if it receives video at all.
    pub fn slots_changed(&mut self, participant: ParticipantId, mids: Vec<SlotMids>, codecs: Option<Codecs>) {
        if let Some(member) = self.members.get_mut(&participant) {
            self.decoders.set(participant, codecs, member.view.only());
            member.view.set_codecs(codecs);
            member.view.negotiated(mids, &self.contents, &mut self.out);
        }
    }

    /// Takes tracks out of the room and of everybody's slots.
    fn withdraw(&mut self, tracks: &[TrackId]) {
        for id in tracks {
            let Some(publication) = self.tracks.remove(id) else { continue };
            self.contents.withdraw(*id);
            self.contents.hearing.unpublish(*id);
            self.out.demand.unpublish(*id);
            self.decoders.unpublish(*id);
            self.spotlight = self.spotlight.filter(|lit| lit != id);
            if publication.track.source == Source::Microphone {
                self.speakers.set(publication.publisher, None);
            }
        }
        if tracks.is_empty() {
            return;
        }
        for member in self.members.values_mut() {
            tracks.iter().for_each(|&track| member.view.track_gone(track));
        }
        self.settle();
    }

    fn wish(&mut self, participant: ParticipantId, change: impl FnOnce(&mut View)) -> Result<(), ProtocolError> {
        let member = self.members.get_mut(&participant).ok_or_else(not_there)?;
        change(&mut member.view);
        member.view.settle(&self.contents, &mut self.out);
        Ok(())
    }

    fn notify(&mut self, to: Audience, event: Event) {
        self.out.effects.push_back(Effect::Notify { to, event });
    }

    /// Whether what `participant` says over data channels is passed on.
    pub fn may_relay(&self, participant: ParticipantId) -> bool {
        participant == ParticipantId::SERVER || self.member(participant).is_ok_and(|member| member.pass.grants.data)
    }

    fn receives(&self, participant: ParticipantId) -> Result<(), ProtocolError> {
        if self.members.get(&participant).ok_or_else(not_there)?.pass.grants.subscribe {
            Ok(())
        } else {
            Err(may_not("receive what others publish"))
        }
    }

    /// What others are told of a member; nothing of a viewer.
    fn describe(&self, id: ParticipantId, member: &Member) -> Option<Participant> {
        let name = member.name.clone()?;
        let identity = member.pass.identity.clone();
        Some(Participant { id, name, identity, tracks: member.tracks.iter().map(|track| self.tracks[track].track).collect() })
    }

    /// Whether `participant` is there and others know it.
    pub fn shows(&self, participant: ParticipantId) -> bool {
        self.member(participant).is_ok()
    }

    /// A member that is no viewer.
    fn member(&self, participant: ParticipantId) -> Result<&Member, ProtocolError> {
        self.members.get(&participant).filter(|member| member.name.is_some()).ok_or_else(not_there)
    }

    /// A member that is no viewer.
    fn member_mut(&mut self, participant: ParticipantId) -> Result<&mut Member, ProtocolError> {
        self.members.get_mut(&participant).filter(|member| member.name.is_some()).ok_or_else(not_there)
    }

    fn own_track(&self, participant: ParticipantId, track: TrackId) -> Result<(), ProtocolError> {
        match self.tracks.get(&track) {
            Some(publication) if publication.publisher == participant => Ok(()),
            _ => Err(not_yours()),
        }
    }

    fn foreign_track(&self, participant: ParticipantId, track: TrackId) -> Result<(), ProtocolError> {
        match self.tracks.get(&track) {
            Some(publication) if publication.publisher != participant => Ok(()),
            _ => Err(ProtocolError::new(ErrorCode::NoSuchTrack, "nobody else publishes a track of this id")),
        }
    }
}

/// Which group a source is in, and on which side of a slot (0 audio, 1 video).
fn place(source: Source) -> (Part, usize) {
    let part = match source {
        Source::Camera | Source::Microphone => Part::Person,
        Source::Screen | Source::ScreenAudio => Part::Screen,
    };
    (part, usize::from(source.kind() == Kind::Video))
}

/// Ids are never reused, so a room that has used up four billion of them takes no more.
pub(crate) fn next(last: &mut u32) -> Result<u32, ProtocolError> {
    *last = last.checked_add(1).ok_or_else(|| ProtocolError::new(ErrorCode::LimitReached, "the room has used up its ids"))?;
    Ok(*last)
}

/// At least what a participant takes in either encoding: JSON writes a quote or backslash as two bytes, and a track in under 80.
pub(crate) fn roster_bytes(participant: &Participant) -> usize {
    let texts = participant.name.len() + participant.identity.as_ref().map_or(0, |identity| 8 + identity.len());
    64 + 2 * texts + 80 * participant.tracks.len()
}

fn not_yours() -> ProtocolError {
    ProtocolError::new(ErrorCode::NoSuchTrack, "no track of yours has this id")
}

fn may_not(verb: &str) -> ProtocolError {
    ProtocolError::new(ErrorCode::Forbidden, format!("your access token doesn't permit you to {verb}"))
}

fn nobody() -> ProtocolError {
    ProtocolError::new(ErrorCode::NoSuchParticipant, "nobody of this id is in the room")
}

fn not_there() -> ProtocolError {
    ProtocolError::new(ErrorCode::NotJoined, "not in the room")
}
