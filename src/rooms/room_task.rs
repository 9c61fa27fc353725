//! One room's task: asks the [`Room`] and carries out what it wants done.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use switchyard_forward::{Command, Outcome, PeerKey, Standing, Target, TrackKey, WorkerIndex};
use switchyard_protocol::{
    CloseReason, ErrorCode, Event, GuestId, Kind, LeaveReason, ParticipantId, ProtocolError, Published, Quality, Reception, Reply, Request,
    Source, TrackId,
};
use switchyard_room::{Activity, Answer, Audience, Decision, Effect, Entrant, Figures, Knock, Room, Size};
use switchyard_rtp::MediaKind;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::announcements::Announcements;
use super::feed::{Happened, RoomEvent};
use super::lobby::not_admitted;
use super::manage::Ice;
use super::trunks::{Crossing, Trunks};
use super::{Message, Outside, Rooms, Seat, Sensed, Waiting};
use crate::outbox::Broadcast;
use crate::participant::sleep_until;
use crate::peers::{Channel, Mailbox, Notice, Relayed};

/// Participants of one room at its first worker, however much that has to do. 32 people who all send 250 packets a second to each other take most of a core.
const TOGETHER: usize = 32;
/// Streams that participants may be sent by the room's first worker while that has little to do: two workers wake for each packet where one would do, which costs a tenth of
/// it. If all of them came, sixty packets a second each, it would be busy for half of the time or two thirds; who comes when it is busy goes elsewhere.
const TOGETHER_STREAMS: usize = 3_072;
/// How long a room waits for its first participant, who may be gone before their join arrives.
const EMPTY_PATIENCE: Duration = Duration::from_secs(10);
/// What workers say and waits for the room: a change of every second member of a large one. What is lost of voices is said again.
const MAX_SENSED: usize = 512;

pub struct RoomTask {
    pub(super) rooms: Arc<Rooms>,
    pub(super) id: String,
    generation: u64,
    /// For the seats.
    messages: mpsc::Sender<Message>,
    pub(super) room: Room,
    /// Where it was placed.
    home: WorkerIndex,
    /// Joins so far, for spanning in turn.
    joins: usize,
    pub(super) members: BTreeMap<ParticipantId, Member>,
    /// Those who wait to be let in, and are to hear whether they are.
    guests: BTreeMap<GuestId, oneshot::Sender<Result<(), ProtocolError>>>,
    tracks: BTreeMap<TrackId, Track>,
    track_ids: BTreeMap<TrackKey, TrackId>,
    trunks: Trunks,
    announcements: Announcements,
    sensed: mpsc::Sender<Sensed>,
    senses: mpsc::Receiver<Sensed>,
    /// When the room has something to do by itself.
    due: Option<Instant>,
    pub(super) opened: SystemTime,
    /// That it is there was told.
    announced: bool,
    pub(super) kept: Option<Kept>,
    pub(super) ice: Arc<Mutex<Ice>>,
    pub(super) empty_since: Option<Instant>,
}

/// A room stays while nobody is in it.
pub(super) struct Kept {
    pub empty_timeout: Duration,
    pub place: OwnedSemaphorePermit,
}

pub(super) struct Member {
    pub mailbox: Mailbox,
    pub since: SystemTime,
    peer: PeerKey,
    worker: WorkerIndex,
    /// How many of what is gathered it was told.
    heard: usize,
}

#[derive(Clone, Copy)]
struct Track {
    key: TrackKey,
    /// What there is of it in another codec: a track of its own to the media plane.
    backup: Option<TrackKey>,
    kind: MediaKind,
    home: WorkerIndex,
    standing: Standing,
}

impl Track {
    fn keys(&self) -> impl Iterator<Item = TrackKey> + use<> {
        [Some(self.key), self.backup].into_iter().flatten()
    }
}

impl RoomTask {
    pub fn new(rooms: Arc<Rooms>, id: String, generation: u64, messages: mpsc::Sender<Message>) -> Self {
        let home = rooms.workers.place();
        let (sensed, senses) = mpsc::channel(MAX_SENSED);
        let mut task = Self {
            room: Room::new(rooms.limits()),
            rooms,
            id,
            generation,
            messages,
            home,
            joins: 0,
            members: BTreeMap::new(),
            guests: BTreeMap::new(),
            tracks: BTreeMap::new(),
            track_ids: BTreeMap::new(),
            trunks: Trunks::default(),
            announcements: Announcements::default(),
            sensed,
            senses,
            due: None,
            opened: SystemTime::now(),
            announced: false,
            kept: None,
            ice: Arc::default(),
            empty_since: None,
        };
        let banned = task.rooms.bans().recall(Instant::now(), &task.id);
        for identity in banned {
            // As many as it kept out before.
            let _ = task.room.ban(ParticipantId::SERVER, identity, true);
        }
        task
    }

    /// Runs until the room has become empty, and longer if it is kept. A join that comes too late finds its reply dropped, and makes the room anew.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        if let Ok(Some(message)) = tokio::time::timeout(EMPTY_PATIENCE, inbox.recv()).await {
            self.handle(message).await;
        }
        while self.stays() {
            let due = [self.announcements.due(), self.due, self.closes_at()].into_iter().flatten().min();
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => self.handle(message).await,
                    None => break,
                },
                Some(sensed) = self.senses.recv() => self.sense(sensed).await,
                () = self.rooms.drain.begun(), if self.members.is_empty() => {
                    // Nobody is here to let anybody in, and nobody will come.
                    self.room.close();
                    self.settle().await;
                }
                () = sleep_until(due) => {
                    if self.announcements.due().is_some_and(|due| due <= Instant::now()) {
                        self.tell_all();
                    }
                    self.settle().await;
                }
            }
        }
        // Before anybody can open another of this name.
        let banned = self.room.banned().map(str::to_owned).collect();
        self.rooms.bans().remember(Instant::now(), self.id.clone(), banned);
        if self.announced {
            self.tell(Happened::RoomClosed);
        }
        self.rooms.close(&self.id, self.generation);
        tracing::debug!(generation = self.generation, "a room closed");
    }

    /// Whether somebody is here, or the room is kept for them.
    fn stays(&mut self) -> bool {
        if !self.room.is_empty() {
            self.empty_since = None;
            return true;
        }
        self.empty_since.get_or_insert_with(Instant::now);
        self.closes_at().is_some_and(|at| Instant::now() < at) && !self.rooms.drain.is_on()
    }

    /// When a room closes that is kept, if nobody comes.
    fn closes_at(&self) -> Option<Instant> {
        Some(self.empty_since? + self.kept.as_ref()?.empty_timeout)
    }

    /// Tells those who listen from outside.
    pub(super) fn tell(&self, happened: Happened) {
        if self.rooms.feed.is_on() {
            self.rooms.feed.tell(RoomEvent { room: self.id.clone(), at: unix_milliseconds(), happened });
        }
    }

    async fn handle(&mut self, message: Message) {
        let mut after: Option<Box<dyn FnOnce() + Send>> = None;
        match message {
            Message::Manage(job) => after = Some(job(self)),
            Message::Join { entrant, knock, mailbox, reply } => {
                let seat = self.join(entrant, &knock, mailbox);
                // If nobody waits for it any more, the seat leaves as it is dropped; and so does who waits to be let in.
                let _ = reply.send(seat);
            }
            Message::Request { participant, request, reply } => {
                let _ = reply.send(self.request(participant, request));
            }
            Message::Withdraw { guest } => {
                self.guests.remove(&guest);
                self.room.withdraw_guest(guest);
            }
            Message::SlotsChanged { participant, mids, codecs } => self.room.slots_changed(participant, mids, codecs),
            Message::Look { participant } => self.look(participant),
            Message::Renew { participant, reply } => {
                if let Some(peer) = self.renew(participant) {
                    // Whoever asked waits for it, or is about to leave.
                    let _ = reply.send(peer);
                }
            }
            Message::Relay { from, to, channel, text, payload } => {
                self.relay(from, to.as_ref().map(std::slice::from_ref), channel, text, &payload);
            }
            Message::Leave { participant, reason } => self.leave(participant, reason).await,
        }
        if !self.announced && (self.kept.is_some() || !self.room.is_empty()) {
            self.announced = true;
            self.tell(Happened::RoomOpened);
        }
        self.settle().await;
        if let Some(after) = after {
            after();
        }
    }

    async fn sense(&mut self, sensed: Sensed) {
        match sensed {
            Sensed::Voice { track, activity, level } => self.hear(track, activity, level),
            Sensed::Quality { peer, quality } => self.grade(peer, quality),
            Sensed::Allocated { peer, track, outcome, size } => {
                let reception = match outcome {
                    // Of what isn't there or isn't shown the client has all that it can have.
                    Outcome::Full | Outcome::Hidden | Outcome::Absent => Reception::Full,
                    Outcome::Reduced => Reception::Reduced,
                    Outcome::Paused => Reception::Paused,
                };
                self.receives(peer, track, reception, size);
            }
            Sensed::Limited { track, most } => {
                if let Some(&track) = self.track_ids.get(&track) {
                    self.room.handle_limit(track, most.map(|(width, height)| Size { width, height }));
                }
            }
            Sensed::Decodable { peer, track, decodable } => {
                let reception = if decodable { Reception::Full } else { Reception::Undecodable };
                self.receives(peer, track, reception, (0, 0));
            }
        }
        self.settle().await;
    }

    fn member_of(&self, peer: PeerKey) -> Option<ParticipantId> {
        self.members.iter().find(|(_, member)| member.peer == peer).map(|(&participant, _)| participant)
    }

    fn receives(&mut self, peer: PeerKey, track: TrackKey, reception: Reception, (width, height): (u16, u16)) {
        let (Some(participant), Some(&id)) = (self.member_of(peer), self.track_ids.get(&track)) else { return };
        let backup = self.tracks.get(&id).is_some_and(|published| published.backup == Some(track));
        self.room.handle_reception(participant, id, backup, reception, Size { width, height });
    }

    fn grade(&mut self, peer: PeerKey, quality: Option<(switchyard_forward::Grade, switchyard_forward::Figures)>) {
        let Some(participant) = self.member_of(peer) else { return };
        let (grade, figures) = quality.unzip();
        let quality = match grade {
            Some(switchyard_forward::Grade::Good) => Quality::Good,
            Some(switchyard_forward::Grade::Fair) => Quality::Fair,
            Some(switchyard_forward::Grade::Poor) => Quality::Poor,
            None => Quality::Lost,
        };
        let switchyard_forward::Figures { loss, round_trip, jitter } = figures.unwrap_or_default();
        self.room.handle_quality(participant, quality, Figures { loss, round_trip, jitter });
    }

    fn hear(&mut self, track: TrackKey, activity: switchyard_forward::Activity, level: u8) {
        let Some(&track) = self.track_ids.get(&track) else { return };
        let activity = match activity {
            switchyard_forward::Activity::Silent => Activity::Silent,
            switchyard_forward::Activity::Sound => Activity::Sound,
            switchyard_forward::Activity::Speech => Activity::Speech,
        };
        self.room.handle_voice(Instant::now(), track, activity, level);
    }

    /// Carries out what the room wants done.
    async fn settle(&mut self) {
        self.due = self.room.advance(Instant::now());
        while let Some(effect) = self.room.poll_effect() {
            self.execute(effect).await;
        }
    }

    fn join(&mut self, entrant: Entrant, knock: &Knock, mailbox: Mailbox) -> Result<Seat, Outside> {
        let worker = self.place()?;
        let entry = match self.room.enter(Instant::now(), entrant, knock)? {
            Answer::Entered(entry) => entry,
            Answer::Waits(guest) => {
                let (decided, decision) = oneshot::channel();
                self.guests.insert(guest, decided);
                return Err(Outside::Waits(Waiting::new(guest, decision, self.messages.clone())));
            }
        };
        self.joins += 1;
        let peer = self.rooms.peers.add(mailbox.clone(), self.sensed.clone());
        if let Some(event) = self.rooms.drain.event() {
            mailbox.notify(Notice::Event(Broadcast::new(event)));
        }
        self.members.insert(entry.participant, Member { mailbox, since: SystemTime::now(), peer, worker, heard: self.announcements.len() });
        Ok(Seat {
            participant: entry.participant,
            participants: entry.participants,
            settings: entry.settings,
            ice: Arc::clone(&self.ice),
            peer,
            worker,
            reason: LeaveReason::ConnectionLost,
            room: self.messages.clone(),
            rooms: Arc::clone(&self.rooms),
        })
    }

    /// Where the next participant goes: where the room wants them, or else wherever there is room.
    fn place(&self) -> Result<WorkerIndex, ProtocolError> {
        let Rooms { workers, admission, span, .. } = &*self.rooms;
        let others = self.members.len();
        let is_small = || others < TOGETHER || (others * self.room.streams() < TOGETHER_STREAMS && admission.is_calm(self.home));
        let wanted = if *span {
            let turn = self.joins % usize::from(workers.count());
            WorkerIndex(u8::try_from(turn).expect("below the number of workers"))
        } else if is_small() {
            self.home
        } else {
            return admission.place(workers);
        };
        if admission.has_room(workers, wanted) { Ok(wanted) } else { admission.place(workers) }
    }

    async fn leave(&mut self, participant: ParticipantId, reason: LeaveReason) {
        if self.room.leave(participant, reason) {
            self.forget(participant).await;
        }
    }

    /// Ends the session of a member that the room has sent away. What is routed to and from it has been undone before, so that nobody has to wait for that.
    async fn remove(&mut self, participant: ParticipantId, reason: CloseReason) {
        if let Some(member) = self.members.get(&participant) {
            member.mailbox.notify(Notice::Removed(reason));
        }
        self.forget(participant).await;
    }

    async fn forget(&mut self, participant: ParticipantId) {
        self.members.remove(&participant);
        for crossing in self.trunks.leave(participant) {
            self.cross(crossing).await;
        }
    }

    fn request(&mut self, from: ParticipantId, request: Request) -> Result<Reply, ProtocolError> {
        let room = &mut self.room;
        match request {
            Request::Publish { mid, source, muted } => {
                return room.publish(from, mid, source, muted).map(|track| Reply::Published(Published { track }));
            }
            Request::BackUp { track, backup } => room.back_up(from, track, backup),
            Request::Unpublish { track } => room.unpublish(from, track),
            Request::Mute { track, muted } => room.mute(from, track, muted),
            Request::Subscribe { track } => room.subscribe(from, track, true),
            Request::Unsubscribe { track } => room.subscribe(from, track, false),
            Request::Pause { track, paused } => room.pause(from, track, paused),
            Request::View { tracks, others } => room.view(from, tracks, others),
            Request::Rename { name } => room.rename(from, name),
            Request::Chat { text, to } => room.chat(Instant::now(), unix_milliseconds(), from, text, to),
            Request::Remove { participant } => room.remove(from, participant),
            Request::Ban { identity, banned } => room.ban(from, identity, banned),
            Request::Configure { settings } => room.configure(from, settings),
            Request::Admit { guest } => room.admit(from, guest),
            Request::Deny { guest } => room.deny(from, guest),
            Request::Join { .. }
            | Request::Offer { .. }
            | Request::Answer { .. }
            | Request::Candidate { .. }
            | Request::EndOfCandidates
            | Request::Resume { .. }
            | Request::Renew { .. }
            | Request::IceServers
            | Request::Ping { .. }
            | Request::Leave => Err(ProtocolError::new(ErrorCode::Internal, "not a request to a room")),
        }
        .map(|()| Reply::Done)
    }

    /// Gives a member another transport. Nothing comes of the one that there was any more.
    fn renew(&mut self, participant: ParticipantId) -> Option<PeerKey> {
        let member = self.members.get_mut(&participant)?;
        self.rooms.peers.remove(member.peer);
        member.peer = self.rooms.peers.add(member.mailbox.clone(), self.sensed.clone());
        self.room.renew(participant);
        Some(member.peer)
    }

    /// Shows a member the room as it is, after everything they were to be told of how it became so.
    fn look(&mut self, participant: ParticipantId) {
        let Some(member) = self.members.get_mut(&participant) else { return };
        catch_up(&self.announcements, participant, member);
        if let Some(snapshot) = self.room.snapshot(participant) {
            member.mailbox.notify(Notice::Snapshot(Box::new(snapshot)));
        }
    }

    /// Viewers, and who may not, hear what is said to all, but say nothing themselves. `to`: these; everybody else, if `None`. To how many it goes.
    pub(super) fn relay(&self, from: ParticipantId, to: Option<&[ParticipantId]>, channel: Channel, text: bool, payload: &[u8]) -> usize {
        if !self.room.may_relay(from) {
            return 0;
        }
        let mut bytes = if text { format!("{}\n", from.0).into_bytes() } else { from.0.to_be_bytes().to_vec() };
        bytes.extend_from_slice(payload);
        let message = Arc::new(Relayed { channel, text, bytes: bytes.into() });
        let relay = |member: &Member| member.mailbox.relay(Arc::clone(&message));
        match to {
            Some(to) => to.iter().filter_map(|to| self.members.get(to)).map(relay).count(),
            None => self.members.iter().filter(|(id, _)| **id != from).map(|(_, member)| relay(member)).count(),
        }
    }

    async fn execute(&mut self, effect: Effect) {
        match effect {
            Effect::Notify { to, event } => self.notify(to, event),
            Effect::SetSlots { participant, count } => {
                if let Some(member) = self.members.get(&participant) {
                    member.mailbox.notify(Notice::SetSlots(count));
                }
            }
            Effect::Remove { participant, reason } => self.remove(participant, reason).await,
            Effect::Decided { guest, decision } => {
                if let Some(decided) = self.guests.remove(&guest) {
                    let answer = match decision {
                        Decision::Admitted => Ok(()),
                        Decision::Denied => Err(not_admitted()),
                        Decision::Closed if self.rooms.drain.is_on() => {
                            Err(ProtocolError::new(ErrorCode::ShuttingDown, "the server is about to go down"))
                        }
                        Decision::Closed => Err(ProtocolError::new(ErrorCode::NoSuchRoom, "the room was closed")),
                    };
                    // Who has gone meanwhile withdraws.
                    let _ = decided.send(answer);
                }
            }
            Effect::Guests { guests } => self.tell(Happened::Guests { guests }),
            Effect::Dismiss { viewer } => {
                if let Some(member) = self.members.get(&viewer) {
                    member.mailbox.notify(Notice::Dismissed);
                }
            }
            Effect::Publish { participant, mid, track, source, enabled } => {
                let Some(&Member { peer, worker: home, .. }) = self.members.get(&participant) else { return };
                let key = self.new_key();
                let kind = match source.kind() {
                    Kind::Audio => MediaKind::Audio,
                    Kind::Video => MediaKind::Video,
                };
                let standing = if source == Source::Screen { Standing::Screen } else { Standing::Other };
                self.tracks.insert(track, Track { key, backup: None, kind, home, standing });
                self.begin(track, key, peer, mid, enabled).await;
            }
            Effect::BackUp { participant, track: id, mid } => {
                let Some(&Member { peer, .. }) = self.members.get(&participant) else { return };
                let key = mid.is_some().then(|| self.new_key());
                let Some(track) = self.tracks.get_mut(&id) else { return };
                let (before, home) = (std::mem::replace(&mut track.backup, key), track.home);
                if let Some(before) = before {
                    self.track_ids.remove(&before);
                    self.command(home, Command::Unpublish { track: before }).await;
                }
                if let Some((key, (mid, enabled))) = key.zip(mid) {
                    self.begin(id, key, peer, mid, enabled).await;
                }
            }
            Effect::Spotlight { track: id, on } => {
                let Some(track) = self.tracks.get_mut(&id) else { return };
                track.standing = if on { Standing::Speaker } else { Standing::Other };
                let track = *track;
                for key in track.keys() {
                    for worker in std::iter::once(track.home).chain(self.trunks.crossings(key)) {
                        self.command(worker, Command::SetStanding { track: key, standing: track.standing }).await;
                    }
                }
            }
            Effect::Unpublish { track } => {
                let Some(track) = self.tracks.remove(&track) else { return };
                for key in track.keys() {
                    self.track_ids.remove(&key);
                    self.command(track.home, Command::Unpublish { track: key }).await;
                }
            }
            Effect::Enable { track, enabled } => {
                let Some(&track) = self.tracks.get(&track) else { return };
                for key in track.keys() {
                    self.command(track.home, Command::Enable { track: key, enabled }).await;
                }
            }
            Effect::Route { subscriber, sender, track, backup } => {
                let track = track.and_then(|track| self.tracks.get(&track)).copied();
                let key = track.and_then(|track| Some((if backup { track.backup? } else { track.key }, track.home)));
                self.route(subscriber, sender, key).await;
            }
            Effect::Show { subscriber, sender, size, pinned } => {
                if let Some(&Member { peer, worker, .. }) = self.members.get(&subscriber) {
                    let target =
                        if size == Size::FULL { Target::Largest } else { Target::Covering { width: size.width, height: size.height } };
                    self.command(worker, Command::SetTarget { peer, sender, target, pinned }).await;
                }
            }
        }
    }

    fn new_key(&self) -> TrackKey {
        TrackKey(self.rooms.last_track.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// What arrives on an m-line is a track from now on, under a key of its own.
    async fn begin(&mut self, id: TrackId, key: TrackKey, peer: PeerKey, mid: String, enabled: bool) {
        let Some(&Track { kind, home, standing, .. }) = self.tracks.get(&id) else { return };
        self.track_ids.insert(key, id);
        self.command(home, Command::Publish { peer, mid, kind, track: key }).await;
        if standing != Standing::Other {
            self.command(home, Command::SetStanding { track: key, standing }).await;
        }
        if !enabled {
            self.command(home, Command::Enable { track: key, enabled }).await;
        }
    }

    /// `track`: its key, and where its publisher is.
    async fn route(&mut self, subscriber: ParticipantId, sender: u16, track: Option<(TrackKey, WorkerIndex)>) {
        let Some(&Member { peer, worker, .. }) = self.members.get(&subscriber) else { return };
        let crossings = self.trunks.route(subscriber, worker, sender, track);
        let (begin, cease): (Vec<_>, Vec<_>) = crossings.into_iter().partition(|crossing| matches!(crossing, Crossing::Begins { .. }));
        for crossing in begin {
            self.cross(crossing).await;
        }
        self.command(worker, Command::Route { peer, sender, track: track.map(|(track, _)| track) }).await;
        for crossing in cease {
            self.cross(crossing).await;
        }
    }

    /// The receiving worker knows a track before it comes and until it has stopped coming.
    async fn cross(&mut self, crossing: Crossing) {
        let (Crossing::Begins { track: key, to } | Crossing::Ceases { track: key, to }) = crossing;
        let Some(&Track { kind, home, standing, .. }) = self.track_ids.get(&key).and_then(|id| self.tracks.get(id)) else { return };
        match crossing {
            Crossing::Begins { .. } => {
                self.command(to, Command::PublishRemote { track: key, kind, home }).await;
                if standing != Standing::Other {
                    self.command(to, Command::SetStanding { track: key, standing }).await;
                }
                self.command(home, Command::Trunk { track: key, to, on: true }).await;
            }
            Crossing::Ceases { .. } => {
                self.command(home, Command::Trunk { track: key, to, on: false }).await;
                self.command(to, Command::Unpublish { track: key }).await;
            }
        }
    }

    async fn command(&self, worker: WorkerIndex, command: Command) {
        // A worker that is stopped has no peers to tell anything about.
        let _ = self.rooms.workers.command(worker, command).await;
    }

    fn notify(&mut self, to: Audience, event: Event) {
        if self.rooms.feed.is_on()
            && !matches!(to, Audience::One(_))
            && let Some(happened) = Happened::of(&event)
        {
            self.tell(happened);
        }
        let broadcast = Broadcast::new(event);
        let except = match to {
            Audience::All => None,
            Audience::Others(but) => Some(but),
            Audience::One(one) => {
                if let Some(member) = self.members.get_mut(&one) {
                    // In the order in which it happened.
                    catch_up(&self.announcements, one, member);
                    member.mailbox.notify(Notice::Event(broadcast));
                }
                return;
            }
        };
        if self.announcements.add(Instant::now(), self.members.len(), except, broadcast) {
            self.tell_all();
        }
    }

    fn tell_all(&mut self) {
        for (id, member) in &mut self.members {
            catch_up(&self.announcements, *id, member);
            member.heard = 0;
        }
        self.announcements.clear();
    }
}

/// Tells a member what it was not told yet.
fn catch_up(announcements: &Announcements, id: ParticipantId, member: &mut Member) {
    for broadcast in announcements.since(member.heard, id) {
        member.mailbox.notify(Notice::Event(Arc::clone(broadcast)));
    }
    member.heard = announcements.len();
}

/// Milliseconds since 1970-01-01 UTC, for people to read.
pub(super) fn unix_milliseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
