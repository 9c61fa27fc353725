//! The directory of rooms: each is a task that owns its [`Room`](switchyard_room::Room) and is reached by messages.

mod announcements;
mod bans;
pub mod feed;
mod lobby;
pub mod manage;
mod room_task;
mod trunks;

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use switchyard_forward::{Activity, Command, Figures, Grade, Outcome, PeerKey, TrackKey, WorkerIndex};
use switchyard_protocol::{ErrorCode, GuestId, LeaveReason, Participant, ParticipantId, ProtocolError, Reply, Request, RoomSettings};
use switchyard_room::{Codecs, Entrant, Knock, Limits, SlotMids};
use switchyard_worker::Workers;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::admission::Admission;
use crate::drain::Drain;
use crate::peers::{Channel, Mailbox, Peers};
use bans::Bans;
use feed::Feed;
pub use lobby::{Outside, Waiting};
use manage::Ice;
use room_task::RoomTask;

/// Messages waiting for one room. Who sends one waits for space, so a flood only slows down its sender.
const MAX_MESSAGES: usize = 1024;
/// How often a join is tried again that met its room just as it closed; each time the room is made anew.
const MAX_ATTEMPTS: usize = 16;

/// Rooms that are kept while nobody is in them: each is a task and some kilobytes.
const MAX_KEPT: usize = 1000;

/// What is done in a room's task for the server's API, and what is done after what that causes.
type Job = Box<dyn FnOnce(&mut RoomTask) -> Box<dyn FnOnce() + Send> + Send>;

/// What a room's task is asked.
enum Message {
    Join { entrant: Entrant, knock: Knock, mailbox: Mailbox, reply: oneshot::Sender<Result<Seat, Outside>> },
    Withdraw { guest: GuestId },
    Request { participant: ParticipantId, request: Request, reply: oneshot::Sender<Result<Reply, ProtocolError>> },
    SlotsChanged { participant: ParticipantId, mids: Vec<SlotMids>, codecs: Option<Codecs> },
    Look { participant: ParticipantId },
    Renew { participant: ParticipantId, reply: oneshot::Sender<PeerKey> },
    Relay { from: ParticipantId, to: Option<ParticipantId>, channel: Channel, text: bool, payload: Vec<u8> },
    Leave { participant: ParticipantId, reason: LeaveReason },
    Manage(Job),
}

/// What a worker says of a participant's media, for the room.
#[derive(Clone, Copy, Debug)]
pub enum Sensed {
    /// What there is to hear of a track; `level` in dB below overload.
    Voice { track: TrackKey, activity: Activity, level: u8 },
    /// What the line leaves of a subscription, and its size in pixels.
    Allocated { peer: PeerKey, track: TrackKey, outcome: Outcome, size: (u16, u16) },
    /// The largest size of a track that is of use to anybody, as far as lines go; none: they are no limit.
    Limited { track: TrackKey, most: Option<(u16, u16)> },
    /// Whether they know a codec that a track comes in.
    Decodable { peer: PeerKey, track: TrackKey, decodable: bool },
    /// How good the connection is; nothing has been heard for some seconds if there is no grade.
    Quality { peer: PeerKey, quality: Option<(Grade, Figures)> },
}

#[derive(Clone)]
struct Handle {
    /// Tells a room from an earlier one of the same name.
    generation: u64,
    messages: mpsc::Sender<Message>,
}

/// All rooms.
pub struct Rooms {
    rooms: DashMap<String, Handle>,
    workers: Workers,
    peers: Arc<Peers>,
    admission: Arc<Admission>,
    span: bool,
    /// Of rooms that open from now on.
    limits: Mutex<Limits>,
    last_generation: AtomicU64,
    last_track: AtomicU64,
    drain: Arc<Drain>,
    /// A room has closed.
    closed: Notify,
    feed: Arc<Feed>,
    /// For rooms that are kept while nobody is in them.
    kept: Arc<Semaphore>,
    bans: Mutex<Bans>,
}

impl Rooms {
    /// No rooms yet. `span`: participants go to the workers in turn, also in small rooms. `feed` is told what happens in them.
    pub fn new(
        workers: Workers,
        peers: Arc<Peers>,
        admission: Arc<Admission>,
        span: bool,
        limits: Limits,
        drain: Arc<Drain>,
        feed: Arc<Feed>,
    ) -> Arc<Self> {
        let (last_generation, last_track) = (AtomicU64::new(0), AtomicU64::new(0));
        let limits = Mutex::new(limits);
        Arc::new(Self {
            rooms: DashMap::new(),
            workers,
            peers,
            admission,
            span,
            limits,
            last_generation,
            last_track,
            drain,
            closed: Notify::new(),
            feed,
            kept: Arc::new(Semaphore::new(MAX_KEPT)),
            bans: Mutex::default(),
        })
    }

    /// Rooms that open from now on have these bounds.
    pub fn set_limits(&self, limits: Limits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    fn limits(&self) -> Limits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters the room called `id`, or begins to wait there to be let in, when it is the newcomer's turn and there is room for them. The room is made if it isn't there; but not for a viewer
    /// of one participant, who isn't there either.
    pub async fn join(self: &Arc<Self>, id: &str, entrant: Entrant, knock: &Knock, mailbox: Mailbox) -> Result<Seat, Outside> {
        self.admission.admit(&self.workers).await?;
        for _ in 0..MAX_ATTEMPTS {
            if matches!(entrant, Entrant::Viewer(Some(_), _)) && !self.rooms.contains_key(id) {
                return Err(ProtocolError::new(ErrorCode::NoSuchParticipant, "nobody is in this room").into());
            }
            let (handle, _) = self.find_or_open(id)?;
            let (reply, answer) = oneshot::channel();
            let message = Message::Join { entrant: entrant.clone(), knock: knock.clone(), mailbox: mailbox.clone(), reply };
            if handle.messages.send(message).await.is_ok()
                && let Ok(result) = answer.await
            {
                return result;
            }
            // The room has closed. It took itself out of the directory first, unless its task panicked.
            self.close(id, handle.generation);
        }
        Err(ProtocolError::new(ErrorCode::Internal, "the room could not be entered").into())
    }

    /// How many rooms there are.
    pub fn count(&self) -> usize {
        self.rooms.len()
    }

    /// What happens in rooms.
    pub const fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    fn bans(&self) -> MutexGuard<'_, Bans> {
        // Whoever held it has at most forgotten a room.
        self.bans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place_for_kept(&self) -> Result<OwnedSemaphorePermit, ProtocolError> {
        let full = |_| ProtocolError::new(ErrorCode::LimitReached, format!("at most {MAX_KEPT} rooms are kept while nobody is in them"));
        Arc::clone(&self.kept).try_acquire_owned().map_err(full)
    }

    /// The media threads.
    pub const fn workers(&self) -> &Workers {
        &self.workers
    }

    /// Returns when there is no room.
    pub async fn emptied(&self) {
        loop {
            let mut closed = pin!(self.closed.notified());
            closed.as_mut().enable();
            if self.rooms.is_empty() {
                return;
            }
            closed.await;
        }
    }

    fn open(self: &Arc<Self>, id: &str) -> Handle {
        let (messages, inbox) = mpsc::channel(MAX_MESSAGES);
        let generation = self.last_generation.fetch_add(1, Ordering::Relaxed);
        let task = RoomTask::new(Arc::clone(self), id.to_owned(), generation, messages.clone());
        tokio::spawn(task.run(inbox));
        Handle { generation, messages }
    }

    fn close(&self, id: &str, generation: u64) {
        self.rooms.remove_if(id, |_, handle| handle.generation == generation);
        self.closed.notify_waiters();
    }
}

/// A participant's place in a room. Dropping it leaves the room and takes the participant's peer from its worker.
pub struct Seat {
    /// Who the participant is in the room.
    pub participant: ParticipantId,
    /// Who was there already.
    pub participants: Vec<Participant>,
    /// How the room is set.
    pub settings: RoomSettings,
    /// How the way into the room is found.
    pub ice: Arc<Mutex<Ice>>,
    /// Their transport.
    pub peer: PeerKey,
    /// Where it belongs.
    pub worker: WorkerIndex,
    /// What the others are told when the seat is dropped.
    pub reason: LeaveReason,
    room: mpsc::Sender<Message>,
    rooms: Arc<Rooms>,
}

impl Seat {
    /// Asks the room something; only for requests that are about the room.
    pub async fn request(&self, request: Request) -> Result<Reply, ProtocolError> {
        let (reply, answer) = oneshot::channel();
        let gone = || ProtocolError::new(ErrorCode::Internal, "the room is gone");
        self.room.send(Message::Request { participant: self.participant, request, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Says which slots are negotiated now, and what the client decodes in all of them. [`Command::SetSenders`] comes first.
    pub async fn slots_changed(&self, mids: Vec<SlotMids>, codecs: Option<Codecs>) {
        let _ = self.room.send(Message::SlotsChanged { participant: self.participant, mids, codecs }).await;
    }

    /// Asks for the room as it is, which comes as [`Notice::Snapshot`](crate::peers::Notice::Snapshot), in its place among the events.
    pub async fn look(&self) {
        let _ = self.room.send(Message::Look { participant: self.participant }).await;
    }

    /// Gives the participant another transport: the one that there was is gone, with its paths and keys. Fails if the room is gone.
    pub async fn renew(&mut self) -> Result<(), ProtocolError> {
        let (reply, answer) = oneshot::channel();
        let gone = || ProtocolError::new(ErrorCode::Internal, "the room is gone");
        self.room.send(Message::Renew { participant: self.participant, reply }).await.map_err(|_| gone())?;
        let peer = std::mem::replace(&mut self.peer, answer.await.map_err(|_| gone())?);
        self.command(Command::RemovePeer { peer }).await;
        Ok(())
    }

    /// Sends a data channel message to one participant or to all others.
    pub async fn relay(&self, to: Option<ParticipantId>, channel: Channel, text: bool, payload: Vec<u8>) {
        let _ = self.room.send(Message::Relay { from: self.participant, to, channel, text, payload }).await;
    }

    /// Returns when the room's task is no more, which happens to a room with participants only if it failed.
    pub async fn lost(&self) {
        self.room.closed().await;
    }

    /// Tells the participant's worker something.
    pub async fn command(&self, command: Command) {
        // A worker that is stopped has no peers to tell anything about.
        let _ = self.rooms.workers.command(self.worker, command).await;
    }

    /// Puts something before the participant's worker, which is to be [rung](Seat::ring) for.
    pub async fn put(&self, command: Command) {
        let _ = self.rooms.workers.put(self.worker, command).await;
    }

    /// Wakes the participant's worker for what was put before it.
    pub fn ring(&self) {
        self.rooms.workers.ring(self.worker);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.rooms.peers.remove(self.peer);
        let (room, rooms) = (self.room.clone(), Arc::clone(&self.rooms));
        let (participant, reason, peer, worker) = (self.participant, self.reason, self.peer, self.worker);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let _ = room.send(Message::Leave { participant, reason }).await;
            let _ = rooms.workers.command(worker, Command::RemovePeer { peer }).await;
        });
    }
}
