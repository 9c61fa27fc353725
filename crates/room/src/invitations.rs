//! Who was moved here from another room: on the way, or here and perhaps to come back. Each has a passage, a secret that only they are told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use switchyard_protocol::{ErrorCode, Grants, ParticipantId, ProtocolError};

use crate::Pass;

/// Who is on the way has a place for so long, and is not held up by what keeps others out.
const ON_THE_WAY: Duration = Duration::from_secs(60);
/// For so long who was moved comes back with the passage, as others do with their tokens.
const LIFETIME: Duration = Duration::from_secs(3_600);
/// As many as a full room has.
const MAX_INVITATIONS: usize = 1000;

/// By their passages.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Invitations(BTreeMap<String, Invitation>);

#[derive(Clone, Debug, PartialEq)]
struct Invitation {
    name: String,
    pass: Pass,
    made: Instant,
    /// Who came in with it last.
    holder: Option<ParticipantId>,
}

impl Invitation {
    fn is_on_the_way(&self, now: Instant) -> bool {
        self.holder.is_none() && now.saturating_duration_since(self.made) < ON_THE_WAY
    }
}

impl Invitations {
    /// Somebody of this name and pass is on the way. Fails with [`ErrorCode::LimitReached`] if too many were moved here within an hour.
    pub fn add(&mut self, now: Instant, passage: String, name: String, pass: Pass) -> Result<(), ProtocolError> {
        self.0.retain(|_, invitation| now.saturating_duration_since(invitation.made) < LIFETIME);
        if self.0.len() >= MAX_INVITATIONS {
            return Err(ProtocolError::new(ErrorCode::LimitReached, "too many were moved to the room within an hour"));
        }
        self.0.insert(passage, Invitation { name, pass, made: now, holder: None });
        Ok(())
    }

    /// They don't come.
    pub fn cancel(&mut self, passage: &str) {
        self.0.remove(passage);
    }

    /// Nobody comes any more with what there is.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// By which name and pass the bearer of a passage comes in.
    pub fn find(&self, now: Instant, passage: &str) -> Option<(&str, &Pass)> {
        let invitation = self.0.get(passage).filter(|invitation| now.saturating_duration_since(invitation.made) < LIFETIME)?;
        Some((&invitation.name, &invitation.pass))
    }

    /// Whether the bearer of a passage has a place here.
    pub fn has_place(&self, now: Instant, passage: &str) -> bool {
        self.0.get(passage).is_some_and(|invitation| invitation.is_on_the_way(now))
    }

    /// How many are on the way.
    pub fn expected(&self, now: Instant) -> usize {
        self.0.values().filter(|invitation| invitation.is_on_the_way(now)).count()
    }

    /// When somebody has been on the way for too long.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        self.0.values().filter(|invitation| invitation.is_on_the_way(now)).map(|invitation| invitation.made + ON_THE_WAY).min()
    }

    /// The bearer of a passage has come in as this participant.
    pub fn came(&mut self, passage: &str, participant: ParticipantId) {
        if let Some(invitation) = self.0.get_mut(passage) {
            invitation.holder = Some(participant);
        }
    }

    /// A participant doesn't come back with the passage.
    pub fn revoke(&mut self, participant: ParticipantId) {
        self.0.retain(|_, invitation| invitation.holder != Some(participant));
    }

    /// A participant comes back with other grants.
    pub fn regrant(&mut self, participant: ParticipantId, grants: &Grants) {
        let of = self.0.values_mut().filter(|invitation| invitation.holder == Some(participant));
        of.for_each(|invitation| invitation.pass.grants.clone_from(grants));
    }

    /// A participant comes back by another name.
    pub fn rename(&mut self, participant: ParticipantId, name: &str) {
        let of = self.0.values_mut().filter(|invitation| invitation.holder == Some(participant));
        of.for_each(|invitation| name.clone_into(&mut invitation.name));
    }
}
