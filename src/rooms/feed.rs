//! What happens in rooms, for applications that listen: a bounded ring of it, which each listener reads at its own pace.
//!
//! Nothing is kept until somebody has listened for the first time. No room ever waits for a listener: one that reads too slowly finds that the ring has gone on, and is
//! told that it has missed something.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use switchyard_access::Scope;
use switchyard_protocol::{ErrorCode, Event, Grants, Guest, LeaveReason, ParticipantId, ProtocolError, RoomSettings, Track, TrackId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use utoipa::ToSchema;

/// What is kept for listeners that come back or are slow: some 2 MB; a thousand people come in with their tracks, and a minute's coming and going beside it.
const MAX_KEPT: usize = 8192;
/// Who listens at the same time: each holds a connection.
const MAX_LISTENERS: usize = 256;

/// Something that happened in a room.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct RoomEvent {
    /// The room's id.
    pub room: String,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub at: u64,
    #[serde(flatten)]
    pub happened: Happened,
}

/// What happened; `kind` names it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Happened {
    /// There is such a room from now on.
    RoomOpened,
    /// The room is no more.
    RoomClosed,
    /// Somebody entered; of players by WHEP nothing is told.
    ParticipantJoined {
        participant: ParticipantId,
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        identity: Option<String>,
    },
    /// Somebody left, and their tracks with them.
    ParticipantLeft { participant: ParticipantId, reason: LeaveReason },
    /// Somebody has another name.
    ParticipantChanged { participant: ParticipantId, name: String },
    /// Somebody may do something else than before.
    GrantsChanged { participant: ParticipantId, grants: Grants },
    /// Somebody publishes a track.
    TrackPublished { participant: ParticipantId, track: Track },
    /// A track is gone.
    TrackUnpublished { participant: ParticipantId, track: TrackId },
    /// A track was muted or unmuted; with `by`, by a moderator, 0 being the API.
    TrackMuted {
        participant: ParticipantId,
        track: TrackId,
        muted: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        by: Option<ParticipantId>,
    },
    /// Others wait to be let in than before.
    Guests { guests: Vec<Guest> },
    /// The room is set otherwise.
    Settings { settings: RoomSettings },
}

impl Happened {
    /// What an event for a whole room means to those outside; `None`: nothing.
    pub fn of(event: &Event) -> Option<Self> {
        Some(match event {
            Event::ParticipantJoined { participant } => Happened::ParticipantJoined {
                participant: participant.id,
                name: participant.name.clone(),
                identity: participant.identity.clone(),
            },
            Event::ParticipantLeft { participant, reason } => Happened::ParticipantLeft { participant: *participant, reason: *reason },
            Event::ParticipantChanged { participant, name } => {
                Happened::ParticipantChanged { participant: *participant, name: name.clone() }
            }
            Event::TrackPublished { participant, track } => Happened::TrackPublished { participant: *participant, track: *track },
            Event::TrackUnpublished { participant, track } => Happened::TrackUnpublished { participant: *participant, track: *track },
            Event::TrackMuted { participant, track, muted, by } => {
                Happened::TrackMuted { participant: *participant, track: *track, muted: *muted, by: *by }
            }
            Event::Settings { settings } => Happened::Settings { settings: *settings },
            _ => return None,
        })
    }

    /// Its `kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Happened::RoomOpened => "room_opened",
            Happened::RoomClosed => "room_closed",
            Happened::ParticipantJoined { .. } => "participant_joined",
            Happened::ParticipantLeft { .. } => "participant_left",
            Happened::ParticipantChanged { .. } => "participant_changed",
            Happened::GrantsChanged { .. } => "grants_changed",
            Happened::TrackPublished { .. } => "track_published",
            Happened::TrackUnpublished { .. } => "track_unpublished",
            Happened::TrackMuted { .. } => "track_muted",
            Happened::Guests { .. } => "guests",
            Happened::Settings { .. } => "settings",
        }
    }
}

/// The ring; see the module's documentation.
#[derive(Debug)]
pub struct Feed {
    /// Tells its numbers from those of another run of the server.
    run: String,
    /// Whether somebody has listened.
    on: AtomicBool,
    ring: Mutex<Ring>,
    /// The number of the next event.
    next: watch::Sender<u64>,
    places: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Arc<RoomEvent>>,
    /// The number of the first of them.
    first: u64,
}

impl Ring {
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }
}

impl Feed {
    /// Nothing has happened. `run`: a name that no other run of the server has.
    pub fn new(run: String) -> Arc<Self> {
        Arc::new(Self {
            run,
            on: AtomicBool::new(false),
            ring: Mutex::default(),
            next: watch::Sender::new(0),
            places: Arc::new(Semaphore::new(MAX_LISTENERS)),
        })
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // Whoever held it has left a ring.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything that happens is to be told: to ask before it is described.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Something has happened.
    pub fn tell(&self, event: RoomEvent) {
        let end = {
            let mut ring = self.ring();
            if ring.events.len() == MAX_KEPT {
                ring.events.pop_front();
                ring.first += 1;
            }
            ring.events.push_back(Arc::new(event));
            ring.end()
        };
        self.next.send_replace(end);
    }

    /// Listens to what happens in the rooms of `scope` from now on; or after the event that `last` names.
    pub fn listen(self: &Arc<Self>, scope: Scope, last: Option<&str>) -> Result<Listener, ProtocolError> {
        let full = |_| ProtocolError::new(ErrorCode::LimitReached, format!("at most {MAX_LISTENERS} listen to events at a time"));
        let permit = Arc::clone(&self.places).try_acquire_owned().map_err(full)?;
        let news = self.next.subscribe();
        let ring = self.ring();
        self.on.store(true, Ordering::Relaxed);
        let after = last.map(|last| {
            let number = last.strip_prefix(&self.run).and_then(|rest| rest.strip_prefix('-')?.parse::<u64>().ok());
            number.map(|number| number.saturating_add(1)).filter(|next| (ring.first..=ring.end()).contains(next))
        });
        let (next, missed) = (after.flatten().unwrap_or(ring.end()), after == Some(None));
        drop(ring);
        Ok(Listener { feed: Arc::clone(self), scope, next, missed, news, _permit: permit })
    }
}

/// Somebody who listens.
pub struct Listener {
    feed: Arc<Feed>,
    scope: Scope,
    next: u64,
    /// What it wanted to hear next isn't there any more.
    missed: bool,
    news: watch::Receiver<u64>,
    _permit: OwnedSemaphorePermit,
}

/// What a listener is told, each with the id after which it may go on.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    Event(String, Arc<RoomEvent>),
    /// More happened than is kept: what is so now has to be asked for.
    Missed(String),
}

impl Listener {
    /// What comes next. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Told {
        loop {
            self.news.mark_unchanged();
            if let Some(told) = self.poll() {
                return told;
            }
            // The feed is held, so it goes on.
            let _ = self.news.changed().await;
        }
    }

    fn poll(&mut self) -> Option<Told> {
        let ring = self.feed.ring();
        if std::mem::take(&mut self.missed) || self.next < ring.first {
            self.next = ring.end();
            return Some(Told::Missed(self.id(self.next.checked_sub(1))));
        }
        let skip = usize::try_from(self.next - ring.first).ok()?;
        let found = ring.events.iter().skip(skip).position(|event| self.scope.covers(&event.room));
        let Some(at) = found else {
            self.next = ring.end();
            return None;
        };
        let event = Arc::clone(&ring.events[skip + at]);
        self.next += at as u64 + 1;
        Some(Told::Event(self.id(Some(self.next - 1)), event))
    }

    /// Before the first event there is none to go on after: whoever comes with this has missed something.
    fn id(&self, number: Option<u64>) -> String {
        match number {
            Some(number) => format!("{}-{number}", self.feed.run),
            None => self.feed.run.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happens(feed: &Feed, room: &str, locked: bool) {
        let settings = RoomSettings { locked, lobby: false, password: false, max_participants: 9 };
        feed.tell(RoomEvent { room: room.into(), at: 0, happened: Happened::Settings { settings } });
    }

    fn id(told: Told) -> String {
        match told {
            Told::Event(id, _) | Told::Missed(id) => id,
        }
    }

    #[tokio::test]
    async fn a_listener_hears_of_its_room_in_order_and_goes_on_where_it_was() {
        let feed = Feed::new("run".into());
        assert!(!feed.is_on());
        let mut listener = feed.listen(Scope::One("demo".into()), None).unwrap();
        assert!(feed.is_on());
        for n in 0..6 {
            happens(&feed, if n % 2 == 0 { "demo" } else { "other" }, n % 3 == 0);
        }
        let ids = [id(listener.next().await), id(listener.next().await)];
        assert_eq!(ids, ["run-0", "run-2"]);
        drop(listener);
        let mut again = feed.listen(Scope::Every, Some("run-2")).unwrap();
        assert_eq!(id(again.next().await), "run-3");
        let mut at_the_end = feed.listen(Scope::Every, Some("run-5")).unwrap();
        assert!(at_the_end.poll().is_none(), "nothing was missed");
    }

    #[tokio::test]
    async fn who_has_missed_something_is_told_once() {
        let feed = Feed::new("run".into());
        let mut slow = feed.listen(Scope::Every, None).unwrap();
        (0..=MAX_KEPT).for_each(|_| happens(&feed, "demo", true));
        assert_eq!(feed.ring().events.len(), MAX_KEPT);
        assert_eq!(slow.next().await, Told::Missed(format!("run-{MAX_KEPT}")));
        assert!(slow.poll().is_none());
        for unknown in ["before-3", "run-9999999", "run", "", "run--1"] {
            let mut listener = feed.listen(Scope::Every, Some(unknown)).unwrap();
            assert!(matches!(listener.next().await, Told::Missed(_)), "{unknown}");
            assert!(listener.poll().is_none());
        }
        assert!(feed.listen(Scope::Every, Some("run-0")).unwrap().poll().is_some_and(|told| id(told) == "run-1"), "this is still there");
    }

    #[test]
    fn listeners_are_bounded() {
        let feed = Feed::new("run".into());
        let listeners: Vec<_> = (0..MAX_LISTENERS).map(|_| feed.listen(Scope::Every, None).unwrap()).collect();
        assert!(matches!(feed.listen(Scope::Every, None), Err(error) if error.code == ErrorCode::LimitReached));
        drop(listeners);
        assert!(feed.listen(Scope::Every, None).is_ok());
    }
}
