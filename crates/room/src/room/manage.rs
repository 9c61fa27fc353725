//! What is done with a room from outside of it: looking who is there, changing what they may do, closing it.

use std::time::Instant;

use switchyard_protocol::{
    CloseReason, ErrorCode, Event, Grants, Guest, LeaveReason, ParticipantId, ProtocolError, Quality, Source, Track,
};

use super::{Member, Pass, Room, nobody};
use crate::{Audience, Decision, Effect};

/// Somebody who is in a room, as they are now.
#[derive(Clone, Debug, PartialEq)]
pub struct Present {
    /// Who.
    pub participant: ParticipantId,
    /// The display name; `None`: a viewer, whom nobody sees.
    pub name: Option<String>,
    /// What the application calls them.
    pub identity: Option<String>,
    /// What they may do.
    pub grants: Grants,
    /// What they publish.
    pub tracks: Vec<Track>,
    /// How good their connection is.
    pub quality: Quality,
}

/// What somebody may do from now on; `None`: as before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantChanges {
    /// What they may publish.
    pub publish: Option<Vec<Source>>,
    /// To receive what others publish.
    pub subscribe: Option<bool>,
    /// To say something.
    pub data: Option<bool>,
    /// To moderate.
    pub moderate: Option<bool>,
}

impl Room {
    /// Who waits to be let in, in the order in which they came.
    pub fn guests(&self) -> Vec<Guest> {
        self.lobby.list()
    }

    /// How many viewers are there.
    pub fn viewers(&self) -> usize {
        self.members.values().filter(|member| member.name.is_none()).count()
    }

    /// Everybody who is there, viewers included, oldest first.
    pub fn present(&self) -> Vec<Present> {
        self.members.iter().map(|(&participant, member)| self.portray(participant, member)).collect()
    }

    /// One of them. Fails with [`ErrorCode::NoSuchParticipant`] if they aren't there.
    pub fn find(&self, participant: ParticipantId) -> Result<Present, ProtocolError> {
        let member = self.members.get(&participant).ok_or_else(nobody)?;
        Ok(self.portray(participant, member))
    }

    /// By which name and pass one of them is here, as they are now. Fails with [`ErrorCode::NoSuchParticipant`] if they aren't, or are a viewer.
    pub fn pass(&self, participant: ParticipantId) -> Result<(String, Pass), ProtocolError> {
        let member = self.members.get(&participant).ok_or_else(nobody)?;
        Ok((member.name.clone().ok_or_else(nobody)?, member.pass.clone()))
    }

    fn portray(&self, participant: ParticipantId, member: &Member) -> Present {
        let quality = match member.quality {
            Some(Event::Quality { quality, .. }) => quality,
            _ => Quality::Good,
        };
        Present {
            participant,
            name: member.name.clone(),
            identity: member.pass.identity.clone(),
            grants: member.pass.grants.clone(),
            tracks: member.tracks.iter().map(|track| self.tracks[track].track).collect(),
            quality,
        }
    }

    /// The identities that don't come in.
    pub fn banned(&self) -> impl Iterator<Item = &str> {
        self.banned.iter().map(String::as_str)
    }

    /// `participant` is called this from now on, whatever its pass says, and is told so as well. Fails with [`ErrorCode::NoSuchParticipant`] if it isn't there or
    /// is a viewer.
    pub fn set_name(&mut self, participant: ParticipantId, name: String) -> Result<(), ProtocolError> {
        let member = self.member_mut(participant).map_err(|_| nobody())?;
        if member.name.as_ref() != Some(&name) {
            member.name = Some(name.clone());
            self.invitations.rename(participant, &name);
            self.notify(Audience::All, Event::ParticipantChanged { participant, name });
        }
        Ok(())
    }

    /// `participant` may do something else from now on. What it may not any more has stopped with this call: nothing of its tracks of other sources is forwarded,
    /// and nothing to it. Fails with [`ErrorCode::NoSuchParticipant`] if it isn't there.
    pub fn regrant(&mut self, participant: ParticipantId, changes: GrantChanges) -> Result<(), ProtocolError> {
        let member = self.members.get_mut(&participant).ok_or_else(nobody)?;
        let before = member.pass.grants.clone();
        let GrantChanges { publish, subscribe, data, moderate } = changes;
        let grants = Grants {
            publish: publish.unwrap_or_else(|| before.publish.clone()),
            subscribe: subscribe.unwrap_or(before.subscribe),
            data: data.unwrap_or(before.data),
            moderate: moderate.unwrap_or(before.moderate),
        };
        if grants == member.pass.grants {
            return Ok(());
        }
        member.pass.grants = grants.clone();
        self.invitations.regrant(participant, &grants);
        member.regranted = true;
        member.view.set_receiving(grants.subscribe);
        member.view.settle(&self.contents, &mut self.out);
        let revoked = member.tracks.iter().copied().filter(|track| !grants.may_publish(self.tracks[track].track.source));
        let revoked: Vec<_> = revoked.collect();
        let hears_guests = grants.moderate && !before.moderate && self.lobby.were_told();
        self.notify(Audience::One(participant), Event::GrantsChanged { grants });
        if hears_guests {
            self.tell_guests_to(participant);
        }
        revoked.into_iter().for_each(|track| self.take_back(participant, track));
        Ok(())
    }

    /// Sends `participant` away, who may come again. Nothing of it is forwarded, and nothing to it, from this call on. Fails with
    /// [`ErrorCode::NoSuchParticipant`] if it isn't there.
    pub fn expel(&mut self, participant: ParticipantId) -> Result<(), ProtocolError> {
        if !self.members.contains_key(&participant) {
            return Err(nobody());
        }
        self.send_away(participant, CloseReason::Removed, LeaveReason::Removed);
        Ok(())
    }

    /// `participant` leaves to go on in another room. Nothing of it is forwarded, and nothing to it, from this call on. Fails with
    /// [`ErrorCode::NoSuchParticipant`] if it isn't there.
    pub fn relocate(&mut self, participant: ParticipantId) -> Result<(), ProtocolError> {
        if !self.members.contains_key(&participant) {
            return Err(nobody());
        }
        self.send_away(participant, CloseReason::Moved, LeaveReason::Moved);
        Ok(())
    }

    /// Somebody of this name and pass is moved here: they have a place, and come with `passage`, which nobody can guess. Fails as [`Room::enter`] would for
    /// them, whom neither lock, password nor lobby hold up.
    pub fn invite(&mut self, now: Instant, passage: String, name: String, pass: Pass) -> Result<(), ProtocolError> {
        self.check_banned(&pass)?;
        self.check_full(now, &pass, false)?;
        self.invitations.add(now, passage, name, pass)?;
        self.expecting = true;
        Ok(())
    }

    /// They don't come.
    pub fn uninvite(&mut self, passage: &str) {
        self.invitations.cancel(passage);
    }

    /// By which name and pass somebody comes in who was moved here. Fails with [`ErrorCode::Unauthorized`] if nobody was with this passage, or too long ago, or they were
    /// sent away since.
    pub fn redeem(&self, now: Instant, passage: &str) -> Result<(String, Pass), ProtocolError> {
        let found = self.invitations.find(now, passage).map(|(name, pass)| (name.to_owned(), pass.clone()));
        found.ok_or_else(|| ProtocolError::new(ErrorCode::Unauthorized, "this passage is good no longer: join by a token"))
    }

    /// Sends `participant` away with everybody else of the same identity, which doesn't come in again. Fails with [`ErrorCode::InvalidIdentity`] if it has none.
    pub fn expel_for_good(&mut self, participant: ParticipantId) -> Result<(), ProtocolError> {
        let identity = self.members.get(&participant).ok_or_else(nobody)?.pass.identity.clone();
        let identity = identity.ok_or_else(|| {
            ProtocolError::new(ErrorCode::InvalidIdentity, "without access control nobody has an identity that could be kept out")
        })?;
        self.ban(ParticipantId::SERVER, identity, true)
    }

    /// Sends everybody away, also who waits to be let in. They are told why; that the others have left as well is told to nobody who was in the room.
    pub fn close(&mut self) {
        self.decide(Decision::Closed, |_| true);
        self.lobby.forget_admitted();
        self.invitations.clear();
        self.expecting = false;
        let mut members = std::mem::take(&mut self.members);
        for (&participant, member) in &mut members {
            member.view.stop(&mut self.out);
            self.out.effects.push_back(Effect::Remove { participant, reason: CloseReason::RoomClosed });
        }
        for (participant, member) in members {
            self.decoders.set(participant, None, None);
            self.withdraw(&member.tracks);
            self.out.effects.extend(member.tracks.into_iter().map(|track| Effect::Unpublish { track }));
            if member.name.is_some() {
                self.speakers.set(participant, None);
                self.notify(Audience::All, Event::ParticipantLeft { participant, reason: LeaveReason::RoomClosed });
            }
        }
    }
}
