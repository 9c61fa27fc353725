//! What is asked of rooms from outside, by the server's API.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use dashmap::Entry;
use switchyard_protocol::{
    Destination, ErrorCode, Guest, GuestId, IceServer, ParticipantId, ProtocolError, RoomSettings, RoomSettingsChange, Token,
};
use switchyard_room::{GrantChanges, Pass, Present, Room};
use tokio::sync::oneshot;

use super::feed::Happened;
use super::room_task::{Kept, RoomTask, unix_milliseconds};
use super::{Handle, MAX_ATTEMPTS, Message, Rooms};
use crate::peers::{Channel, Notice};
use crate::server::secret;

/// What passages begin with, and no JSON Web Token does: those begin with an encoded `{`.
const PASSAGE: &str = "passage.";
/// How long a room that was made stays when nobody is in it, unless it is said.
const EMPTY_TIMEOUT: Duration = Duration::from_secs(300);

/// A room as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    pub id: String,
    pub settings: RoomSettings,
    pub waiting: usize,
    pub participants: usize,
    pub viewers: usize,
    pub opened: SystemTime,
    /// How long it stays when nobody is in it.
    pub empty_timeout: Duration,
    pub ice: Ice,
}

/// How the way into a room is found, where that is not as for others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ice {
    /// Through TURN servers only.
    pub relay_only: Option<bool>,
    /// In place of the server's own list.
    pub servers: Option<Vec<IceServer>>,
}

/// How somebody takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    WebSocket,
    Whip,
    Whep,
}

/// Somebody in a room as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Person {
    pub present: Present,
    pub mode: Mode,
    pub since: SystemTime,
}

impl Ice {
    /// Whether there is a TURN server for it; `usual`: on the server's list.
    fn has_turn(&self, usual: bool) -> bool {
        let own = self.servers.as_deref().filter(|servers| !servers.is_empty());
        own.map_or(usual, |servers| servers.iter().flat_map(|server| &server.urls).any(|url| url.starts_with("turn")))
    }
}

/// What of a room is to be otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    pub settings: RoomSettingsChange,
    pub empty_timeout: Option<Duration>,
    /// What it says.
    pub ice: Ice,
    /// Whether the server has TURN servers for rooms that have none.
    pub has_turn: bool,
}

/// A message for data channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// Everybody, if `None`.
    pub to: Option<Vec<ParticipantId>>,
    pub channel: Channel,
    pub text: bool,
    pub payload: Vec<u8>,
}

impl Rooms {
    /// The rooms' ids, in no order.
    pub fn ids(&self) -> Vec<String> {
        self.rooms.iter().map(|entry| entry.key().clone()).collect()
    }

    /// Has a room's task do something; done is also what it causes. Fails with [`ErrorCode::NoSuchRoom`] if there is no such room.
    async fn with<T: Send + 'static>(
        &self,
        id: &str,
        job: impl FnOnce(&mut RoomTask) -> Result<T, ProtocolError> + Send + 'static,
    ) -> Result<T, ProtocolError> {
        let handle = self.rooms.get(id).map(|handle| handle.clone()).ok_or_else(no_such_room)?;
        ask(&handle, job).await.unwrap_or_else(|| Err(no_such_room()))
    }

    /// The same for what only the room's authority has to do with.
    async fn ask_room<T: Send + 'static>(
        &self,
        id: &str,
        job: impl FnOnce(&mut Room) -> Result<T, ProtocolError> + Send + 'static,
    ) -> Result<T, ProtocolError> {
        self.with(id, |task| job(&mut task.room)).await
    }

    /// A room as it is.
    pub async fn about(&self, id: &str) -> Result<About, ProtocolError> {
        self.with(id, |task| Ok(task.about())).await
    }

    /// Changes a room that is there.
    pub async fn change(&self, id: &str, changes: Changes) -> Result<About, ProtocolError> {
        self.with(id, move |task| task.change(changes)).await
    }

    /// Makes a room that nobody is in, or changes the one that there is; whether it was made.
    pub async fn make(self: &Arc<Self>, id: &str, changes: Changes) -> Result<(About, bool), ProtocolError> {
        for _ in 0..MAX_ATTEMPTS {
            let (handle, made) = self.find_or_open(id)?;
            let changes = changes.clone();
            if let Some(result) = ask(&handle, move |task| task.make(changes)).await {
                return result.map(|about| (about, made));
            }
            // It has closed; see `join`.
            self.close(id, handle.generation);
        }
        Err(ProtocolError::new(ErrorCode::Internal, "the room could not be made"))
    }

    /// Closes a room: everybody is sent away, and told why.
    pub async fn shut(&self, id: &str) -> Result<(), ProtocolError> {
        self.with(id, |task| {
            task.kept = None;
            task.room.close();
            Ok(())
        })
        .await
    }

    /// Everybody in a room, players by WHEP included.
    pub async fn people(&self, id: &str) -> Result<Vec<Person>, ProtocolError> {
        self.with(id, |task| Ok(task.room.present().into_iter().filter_map(|present| task.person(present)).collect())).await
    }

    /// One of them.
    pub async fn person(&self, id: &str, participant: ParticipantId) -> Result<Person, ProtocolError> {
        self.with(id, move |task| task.find(participant)).await
    }

    /// Gives somebody another name, or other grants.
    pub async fn change_person(
        &self,
        id: &str,
        participant: ParticipantId,
        name: Option<String>,
        grants: GrantChanges,
    ) -> Result<Person, ProtocolError> {
        self.with(id, move |task| {
            let before = task.room.find(participant)?.grants;
            if let Some(name) = name {
                task.room.set_name(participant, name)?;
            }
            task.room.regrant(participant, grants)?;
            let person = task.find(participant)?;
            if person.present.grants != before {
                task.tell(Happened::GrantsChanged { participant, grants: person.present.grants.clone() });
            }
            Ok(person)
        })
        .await
    }

    /// Sends somebody away; `ban`: with all of the same identity, and for good.
    pub async fn expel(&self, id: &str, participant: ParticipantId, ban: bool) -> Result<(), ProtocolError> {
        self.ask_room(id, move |room| if ban { room.expel_for_good(participant) } else { room.expel(participant) }).await
    }

    /// Moves somebody to another room, where they have a place from now on: they leave this one, and are told where to go and with what. Nothing happens if that
    /// room doesn't take them.
    pub async fn relocate(self: &Arc<Self>, id: &str, participant: ParticipantId, to: &str) -> Result<(), ProtocolError> {
        let (name, pass) = self.with(id, move |task| task.may_move(participant)).await?;
        let passage = format!("{PASSAGE}{}", secret()?);
        self.invite(to, passage.clone(), name, pass).await?;
        let destination = Arc::new(Destination { room: to.to_owned(), token: Token(passage.clone()) });
        let left = self.with(id, move |task| {
            task.may_move(participant)?;
            if let Some(member) = task.members.get(&participant) {
                member.mailbox.notify(Notice::Moved(destination));
            }
            task.room.relocate(participant)
        });
        let left = left.await;
        if left.is_err() {
            let cancel = move |room: &mut Room| {
                room.uninvite(&passage);
                Ok(())
            };
            let _ = self.ask_room(to, cancel).await;
        }
        left
    }

    /// Gives somebody a place in a room, which is opened for them if it isn't there.
    async fn invite(self: &Arc<Self>, id: &str, passage: String, name: String, pass: Pass) -> Result<(), ProtocolError> {
        for _ in 0..MAX_ATTEMPTS {
            let (handle, _) = self.find_or_open(id)?;
            let (passage, name, pass) = (passage.clone(), name.clone(), pass.clone());
            if let Some(result) = ask(&handle, move |task| task.room.invite(Instant::now(), passage, name, pass)).await {
                return result;
            }
            // It has closed; see `join`.
            self.close(id, handle.generation);
        }
        Err(ProtocolError::new(ErrorCode::Internal, "the room could not be opened"))
    }

    /// By which name and pass somebody comes into a room who brings a passage; `None` if the token is none.
    pub async fn redeem(&self, id: &str, token: Option<&Token>) -> Option<Result<(String, Pass), ProtocolError>> {
        let passage = token.filter(|token| token.0.starts_with(PASSAGE))?.0.clone();
        // Nobody learns by this which rooms there are.
        let found = self.ask_room(id, move |room| room.redeem(Instant::now(), &passage)).await;
        let refused = |_| ProtocolError::new(ErrorCode::Unauthorized, "this passage is good no longer: join by a token");
        Some(found.map_err(refused))
    }

    /// A room that takes somebody, and whether it was opened for them.
    pub(super) fn find_or_open(self: &Arc<Self>, id: &str) -> Result<(Handle, bool), ProtocolError> {
        match self.rooms.entry(id.to_owned()) {
            Entry::Occupied(entry) => Ok((entry.get().clone(), false)),
            Entry::Vacant(_) if self.drain.is_on() => {
                Err(ProtocolError::new(ErrorCode::ShuttingDown, "the server is about to go down and takes no new rooms"))
            }
            Entry::Vacant(entry) => Ok((entry.insert(self.open(id)).clone(), true)),
        }
    }

    /// Mutes a track of somebody's.
    pub async fn mute(
        &self,
        id: &str,
        participant: ParticipantId,
        track: switchyard_protocol::TrackId,
        muted: bool,
    ) -> Result<switchyard_protocol::Track, ProtocolError> {
        self.ask_room(id, move |room| {
            let published = |room: &Room| Ok(room.find(participant)?.tracks.into_iter().find(|other| other.id == track));
            let gone = || ProtocolError::new(ErrorCode::NoSuchTrack, "the participant publishes no track of this id");
            published(room)?.ok_or_else(gone)?;
            room.mute(ParticipantId::SERVER, track, muted)?;
            published(room)?.ok_or_else(gone)
        })
        .await
    }

    /// Who waits to be let in.
    pub async fn guests(&self, id: &str) -> Result<Vec<Guest>, ProtocolError> {
        self.ask_room(id, |room| Ok(room.guests())).await
    }

    /// Lets in somebody who waits, or sends them away.
    pub async fn decide(&self, id: &str, guest: GuestId, admitted: bool) -> Result<(), ProtocolError> {
        let decide = if admitted { Room::admit } else { Room::deny };
        self.ask_room(id, move |room| decide(room, ParticipantId::SERVER, Some(guest))).await
    }

    /// The identities that a room keeps out.
    pub async fn banned(&self, id: &str) -> Result<Vec<String>, ProtocolError> {
        self.ask_room(id, |room| Ok(room.banned().map(str::to_owned).collect())).await
    }

    /// Keeps an identity out, or lets it in again.
    pub async fn ban(&self, id: &str, identity: String, banned: bool) -> Result<(), ProtocolError> {
        self.ask_room(id, move |room| room.ban(ParticipantId::SERVER, identity, banned)).await
    }

    /// Says something in a room.
    pub async fn say(&self, id: &str, text: String, to: Option<ParticipantId>) -> Result<(), ProtocolError> {
        let (now, at) = (std::time::Instant::now(), unix_milliseconds());
        self.ask_room(id, move |room| room.chat(now, at, ParticipantId::SERVER, text, to)).await
    }

    /// Sends a message over data channels; to how many.
    pub async fn send_data(&self, id: &str, data: Data) -> Result<usize, ProtocolError> {
        self.with(id, move |task| task.send_data(data)).await
    }
}

/// `None` if the room has closed.
async fn ask<T: Send + 'static>(handle: &Handle, job: impl FnOnce(&mut RoomTask) -> T + Send + 'static) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    let job = Box::new(move |task: &mut RoomTask| {
        let result = job(task);
        // Whoever asked may have gone.
        Box::new(move || drop(reply.send(result))) as Box<dyn FnOnce() + Send>
    });
    handle.messages.send(Message::Manage(job)).await.ok()?;
    answer.await.ok()
}

impl RoomTask {
    fn ice(&self) -> MutexGuard<'_, Ice> {
        // Whoever held it has left what is to be.
        self.ice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn about(&self) -> About {
        let viewers = self.room.viewers();
        About {
            id: self.id.clone(),
            settings: self.room.settings(),
            waiting: self.room.guests().len(),
            participants: self.room.len() - viewers,
            viewers,
            opened: self.opened,
            empty_timeout: self.kept.as_ref().map_or(Duration::ZERO, |kept| kept.empty_timeout),
            ice: self.ice().clone(),
        }
    }

    /// As [`RoomTask::change`]; the room is there for them from now on, for as long as nobody comes.
    fn make(&mut self, changes: Changes) -> Result<About, ProtocolError> {
        let usual = self.kept.is_none().then_some(EMPTY_TIMEOUT);
        let about = self.change(Changes { empty_timeout: changes.empty_timeout.or(usual), ..changes })?;
        self.empty_since = None;
        Ok(about)
    }

    fn change(&mut self, Changes { settings, empty_timeout, ice, has_turn }: Changes) -> Result<About, ProtocolError> {
        // Nothing is changed if anything is refused.
        let is_new = self.kept.is_none() && empty_timeout.is_some_and(|timeout| !timeout.is_zero());
        let place = is_new.then(|| self.rooms.place_for_kept()).transpose()?;
        let before = self.ice().clone();
        let ice = Ice { relay_only: ice.relay_only.or(before.relay_only), servers: ice.servers.or(before.servers) };
        if ice.relay_only == Some(true) && !ice.has_turn(has_turn) {
            let message = "relay_only wants a TURN server, the room's or the server's: clients would reach nothing";
            return Err(ProtocolError::new(ErrorCode::InvalidSettings, message));
        }
        self.room.configure(ParticipantId::SERVER, settings)?;
        *self.ice() = ice;
        if let Some(empty_timeout) = empty_timeout {
            let place = self.kept.take().map(|kept| kept.place).or(place);
            self.kept = place.filter(|_| !empty_timeout.is_zero()).map(|place| Kept { empty_timeout, place });
        }
        Ok(self.about())
    }

    fn find(&self, participant: ParticipantId) -> Result<Person, ProtocolError> {
        let present = self.room.find(participant)?;
        self.person(present).ok_or_else(|| ProtocolError::new(ErrorCode::NoSuchParticipant, "nobody of this id is in the room"))
    }

    /// By which name and pass somebody goes on elsewhere. Only who has a WebSocket can be told where.
    fn may_move(&self, participant: ParticipantId) -> Result<(String, Pass), ProtocolError> {
        match self.find(participant)?.mode {
            Mode::WebSocket => self.room.pass(participant),
            Mode::Whip | Mode::Whep => {
                Err(ProtocolError::new(ErrorCode::WrongState, "who publishes or plays over HTTP can't be told to go to another room"))
            }
        }
    }

    fn person(&self, present: Present) -> Option<Person> {
        let member = self.members.get(&present.participant)?;
        let mode = match (&present.name, member.mailbox.hears_events()) {
            (None, _) => Mode::Whep,
            (Some(_), true) => Mode::WebSocket,
            (Some(_), false) => Mode::Whip,
        };
        Some(Person { present, mode, since: member.since })
    }

    fn send_data(&self, Data { to, channel, text, payload }: Data) -> Result<usize, ProtocolError> {
        if let Some(to) = &to {
            to.iter().try_for_each(|to| self.room.find(*to).map(drop))?;
        }
        Ok(self.relay(ParticipantId::SERVER, to.as_deref(), channel, text, &payload))
    }
}

fn no_such_room() -> ProtocolError {
    ProtocolError::new(ErrorCode::NoSuchRoom, "there is no such room")
}
