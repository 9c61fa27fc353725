//! Who waits to be let in, and when moderators are told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use switchyard_protocol::{ErrorCode, Guest, GuestId, ProtocolError};

/// Moderators are told of others who wait this often at most.
const TOLD_APART: Duration = Duration::from_millis(200);
/// Who waits at the same time: more than anybody looks through, and a list that fits into a message several times.
const MAX_GUESTS: usize = 100;
/// Of one identity: a person's devices. Who has none is anybody.
const MAX_OF_ONE: usize = 5;
/// Identities that need not wait again; those of more come to wait. As many as a full room has.
const MAX_KNOWN: usize = 1000;

/// A room's lobby.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Lobby {
    waiting: BTreeMap<GuestId, Guest>,
    /// They have been let in and are on their way.
    admitted: BTreeSet<GuestId>,
    /// Identities that have been in the room.
    known: BTreeSet<String>,
    last: u32,
    /// Moderators were told of others than wait now.
    changed: bool,
    told_at: Option<Instant>,
}

impl Lobby {
    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.admitted.is_empty()
    }

    /// Somebody waits from now on. Fails with [`ErrorCode::LimitReached`] if too many do.
    pub fn add(&mut self, name: String, identity: Option<String>) -> Result<GuestId, ProtocolError> {
        if self.waiting.len() + self.admitted.len() >= MAX_GUESTS {
            return Err(ProtocolError::new(ErrorCode::LimitReached, "too many wait to be let in"));
        }
        if identity.is_some() && self.waiting.values().filter(|guest| guest.identity == identity).count() >= MAX_OF_ONE {
            return Err(ProtocolError::new(ErrorCode::LimitReached, "you wait to be let in already"));
        }
        let id = GuestId(crate::room::next(&mut self.last)?);
        self.waiting.insert(id, Guest { id, name, identity });
        self.changed = true;
        Ok(id)
    }

    /// Somebody waits no longer, or has come in. `false` if they weren't there.
    pub fn remove(&mut self, guest: GuestId) -> bool {
        let waited = self.waiting.remove(&guest).is_some();
        self.changed |= waited;
        self.admitted.remove(&guest) || waited
    }

    /// Whoever has been let in and isn't in yet has waited for nothing.
    pub fn forget_admitted(&mut self) {
        self.admitted.clear();
    }

    /// Some of those who wait are let in, or sent away; who it was.
    pub fn decide(&mut self, admitted: bool, which: impl Fn(&Guest) -> bool) -> Vec<GuestId> {
        let decided: Vec<GuestId> = self.waiting.extract_if(.., |_, guest| which(guest)).map(|(id, _)| id).collect();
        if admitted {
            self.admitted.extend(&decided);
        }
        self.changed |= !decided.is_empty();
        decided
    }

    /// Whether somebody who has waited may come in.
    pub fn is_admitted(&self, guest: GuestId) -> bool {
        self.admitted.contains(&guest)
    }

    /// Whether an identity need not wait.
    pub fn knows(&self, identity: &str) -> bool {
        self.known.contains(identity)
    }

    /// An identity need not wait again.
    pub fn remember(&mut self, identity: &str) {
        if self.known.len() < MAX_KNOWN && !self.knows(identity) {
            self.known.insert(identity.to_owned());
        }
    }

    /// An identity has to wait again.
    pub fn forget(&mut self, identity: &str) {
        self.known.remove(identity);
    }

    /// Those who wait, in the order in which they came.
    pub fn list(&self) -> Vec<Guest> {
        self.waiting.values().cloned().collect()
    }

    /// Whether moderators were ever told of any.
    pub fn were_told(&self) -> bool {
        self.told_at.is_some()
    }

    /// When moderators are to be told; `None`: they know.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        self.changed.then(|| self.told_at.map_or(now, |at| (at + TOLD_APART).max(now)))
    }

    /// Moderators are told.
    pub fn tell(&mut self, now: Instant) -> Vec<Guest> {
        self.changed = false;
        self.told_at = Some(now);
        self.list()
    }
}
