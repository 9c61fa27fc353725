//! What moderators do, and the server's API in their place.

use std::time::Instant;

use switchyard_protocol::{
    CloseReason, ErrorCode, Event, Guest, GuestId, LeaveReason, ParticipantId, ProtocolError, RoomSettings, RoomSettingsChange,
};

use super::{Room, may_not, nobody};
use crate::{Audience, Decision, Effect};

impl Room {
    /// How the room is set.
    pub fn settings(&self) -> RoomSettings {
        self.settings.told()
    }

    /// Sets the room otherwise. Fails with [`ErrorCode::InvalidSettings`].
    pub fn configure(&mut self, moderator: ParticipantId, change: RoomSettingsChange) -> Result<(), ProtocolError> {
        self.may_moderate(moderator)?;
        let before = self.settings.told();
        self.settings.change(change, self.limits.participants)?;
        let settings = self.settings.told();
        if settings == before {
            return Ok(());
        }
        self.notify(Audience::All, Event::Settings { settings });
        match (before.lobby, settings.lobby) {
            // Who is in has no need to be let in.
            (false, true) => self.members.values().filter_map(|member| member.pass.identity.as_deref()).for_each(|identity| {
                self.lobby.remember(identity);
            }),
            (true, false) => self.decide(Decision::Admitted, |_| true),
            _ => {}
        }
        Ok(())
    }

    /// Lets in who waits, or `guest` alone. Fails with [`ErrorCode::NoSuchParticipant`] if the guest doesn't wait.
    pub fn admit(&mut self, moderator: ParticipantId, guest: Option<GuestId>) -> Result<(), ProtocolError> {
        self.decide_for(moderator, guest, Decision::Admitted)
    }

    /// Sends away who waits, or `guest` alone; as [`Room::admit`].
    pub fn deny(&mut self, moderator: ParticipantId, guest: Option<GuestId>) -> Result<(), ProtocolError> {
        self.decide_for(moderator, guest, Decision::Denied)
    }

    fn decide_for(&mut self, moderator: ParticipantId, guest: Option<GuestId>, decision: Decision) -> Result<(), ProtocolError> {
        self.may_moderate(moderator)?;
        if guest.is_some_and(|guest| !self.lobby.list().iter().any(|other| other.id == guest)) {
            return Err(ProtocolError::new(ErrorCode::NoSuchParticipant, "nobody of this id waits to be let in"));
        }
        self.decide(decision, |other| guest.is_none_or(|guest| guest == other.id));
        Ok(())
    }

    pub(super) fn decide(&mut self, decision: Decision, which: impl Fn(&Guest) -> bool) {
        let decided = self.lobby.decide(decision == Decision::Admitted, which);
        self.out.effects.extend(decided.into_iter().map(|guest| Effect::Decided { guest, decision }));
    }

    /// `moderator` sends `participant` away, and everybody else with the same identity, which does not come in again. Nothing of theirs is forwarded, and nothing
    /// to them, from this call on.
    pub fn remove(&mut self, moderator: ParticipantId, participant: ParticipantId) -> Result<(), ProtocolError> {
        self.may_moderate(moderator)?;
        let identity = self.member(participant).map_err(|_| nobody())?.pass.identity.clone();
        match identity {
            Some(identity) => self.ban(moderator, identity, true),
            None => {
                self.send_away(participant, CloseReason::Removed, LeaveReason::Removed);
                Ok(())
            }
        }
    }

    /// `moderator` has an identity kept out, whether it is there, waits, or neither; or lets it in again. Fails with [`ErrorCode::Forbidden`] if it is its own.
    pub fn ban(&mut self, moderator: ParticipantId, identity: String, banned: bool) -> Result<(), ProtocolError> {
        self.may_moderate(moderator)?;
        if !banned {
            self.banned.remove(&identity);
            return Ok(());
        }
        if self.members.get(&moderator).is_some_and(|member| member.pass.identity.as_ref() == Some(&identity)) {
            return Err(ProtocolError::new(ErrorCode::Forbidden, "this would send yourself away: leave instead"));
        }
        if self.banned.len() >= Self::MAX_BANNED && !self.banned.contains(&identity) {
            return Err(ProtocolError::new(ErrorCode::LimitReached, format!("a room keeps at most {} identities out", Self::MAX_BANNED)));
        }
        let members = self.members.iter().filter(|(_, member)| member.pass.identity.as_ref() == Some(&identity));
        let members: Vec<ParticipantId> = members.map(|(&id, _)| id).collect();
        self.lobby.forget(&identity);
        self.decide(Decision::Denied, |guest| guest.identity.as_ref() == Some(&identity));
        self.banned.insert(identity);
        members.into_iter().for_each(|member| self.send_away(member, CloseReason::Removed, LeaveReason::Removed));
        Ok(())
    }

    /// Media stops here and now: whoever carries this out can be late. What the participant is told, and what the others.
    pub(super) fn send_away(&mut self, participant: ParticipantId, told: CloseReason, reason: LeaveReason) {
        if let Some(member) = self.members.get_mut(&participant) {
            member.view.stop(&mut self.out);
        }
        self.out.effects.push_back(Effect::Remove { participant, reason: told });
        self.leave(participant, reason);
        self.invitations.revoke(participant);
    }

    /// Tells moderators who waits, if it is time to.
    pub(super) fn tell_guests(&mut self, now: Instant) {
        if self.lobby.due(now).is_some_and(|due| due <= now) {
            let guests = self.lobby.tell(now);
            let moderators = self.members.iter().filter(|(_, member)| member.name.is_some() && member.pass.grants.moderate);
            let moderators: Vec<ParticipantId> = moderators.map(|(&id, _)| id).collect();
            moderators.into_iter().for_each(|id| self.notify(Audience::One(id), Event::Guests { guests: guests.clone() }));
            self.out.effects.push_back(Effect::Guests { guests });
        }
    }

    /// Tells a moderator who waits.
    pub(super) fn tell_guests_to(&mut self, moderator: ParticipantId) {
        let guests = self.lobby.list();
        self.notify(Audience::One(moderator), Event::Guests { guests });
    }

    fn may_moderate(&self, moderator: ParticipantId) -> Result<(), ProtocolError> {
        let may = moderator == ParticipantId::SERVER || self.member(moderator)?.pass.grants.moderate;
        if may { Ok(()) } else { Err(may_not("moderate")) }
    }
}
