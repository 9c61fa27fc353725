//! Who comes in, who waits, and who doesn't.

use std::net::IpAddr;
use std::time::Instant;

use subtle::ConstantTimeEq;
use switchyard_protocol::{ErrorCode, Event, GuestId, Participant, ParticipantId, ProtocolError, RoomSettings, Token};

use super::{Member, Pass, Room, may_not, next, nobody};
use crate::view::{SlotPolicy, View};
use crate::{Audience, Bucket};

/// Who comes.
#[derive(Clone, Debug)]
pub enum Entrant {
    /// A participant, by this name.
    Participant(String, Pass),
    /// A viewer, whom nobody sees, on slots of its own making: of everybody, or of one participant, and only for as long as that one is there.
    Viewer(Option<ParticipantId>, Pass),
}

/// What somebody brings who comes.
#[derive(Clone, Debug, Default)]
pub struct Knock {
    /// What they take for the room's password.
    pub password: Option<Token>,
    /// Where they are: wrong passwords are counted by that.
    pub from: Option<IpAddr>,
    /// Whether they can wait to be let in.
    pub waits: bool,
    /// As whom they have waited.
    pub guest: Option<GuestId>,
    /// What they were given who were moved here from another room; see [`Room::invite`].
    pub passage: Option<String>,
}

/// What becomes of somebody who comes, if they aren't refused.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// They are in.
    Entered(Entry),
    /// They wait until [`Effect::Decided`](crate::Effect::Decided), and then come again, or until [`Room::withdraw_guest`].
    Waits(GuestId),
}

/// What a participant finds on entering.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Who it is.
    pub participant: ParticipantId,
    /// Who else is there, oldest first.
    pub participants: Vec<Participant>,
    /// How the room is set.
    pub settings: RoomSettings,
}

impl Room {
    /// Somebody enters, or waits to be let in. The same identity may be there several times: a person with two devices.
    ///
    /// Moderators pass all that keeps others out but their being banned and the server's own bound; who has been let in, or is on the way from another room, passes lock, password and lobby.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::Forbidden`] if their identity was sent away, or a viewer may not receive; [`ErrorCode::RoomLocked`];
    /// [`ErrorCode::PasswordRequired`], [`ErrorCode::WrongPassword`], [`ErrorCode::RateLimited`] after too many of those; [`ErrorCode::LimitReached`] if the
    /// room or its lobby is full; [`ErrorCode::NotAdmitted`] if they can't wait; [`ErrorCode::NoSuchParticipant`] if the one a viewer is for isn't there.
    pub fn enter(&mut self, now: Instant, entrant: Entrant, knock: &Knock) -> Result<Answer, ProtocolError> {
        let (Entrant::Participant(_, pass) | Entrant::Viewer(_, pass)) = &entrant;
        if let Entrant::Viewer(only, _) = &entrant {
            if !pass.grants.subscribe {
                return Err(may_not("receive what others publish"));
            }
            only.map_or(Ok(()), |only| self.member(only).map(drop).map_err(|_| nobody()))?;
        }
        let waits = self.check(now, pass, knock)?;
        if waits && !knock.waits {
            return Err(ProtocolError::new(ErrorCode::NotAdmitted, "a moderator has to let you in, and you can't wait for that here"));
        }
        match entrant {
            Entrant::Participant(name, pass) if waits => self.lobby.add(name, pass.identity).map(Answer::Waits),
            Entrant::Participant(name, pass) => {
                let entry = self.seat_participant(name, pass)?;
                if let Some(passage) = &knock.passage {
                    self.invitations.came(passage, entry.participant);
                }
                if let Some(guest) = knock.guest {
                    self.withdraw_guest(guest);
                }
                Ok(Answer::Entered(entry))
            }
            Entrant::Viewer(only, pass) => {
                let policy = SlotPolicy { most: self.limits.slots, step: None, spare: 0, shown: self.limits.slots };
                self.seat(None, pass, only, policy).map(Answer::Entered)
            }
        }
    }

    /// Who waited has gone, or is in. `false` if they didn't wait.
    pub fn withdraw_guest(&mut self, guest: GuestId) -> bool {
        self.lobby.remove(guest)
    }

    /// Whether somebody who may come in has to wait.
    fn check(&mut self, now: Instant, pass: &Pass, knock: &Knock) -> Result<bool, ProtocolError> {
        self.check_banned(pass)?;
        let has_place = knock.passage.as_deref().is_some_and(|passage| self.invitations.has_place(now, passage));
        let passes = pass.grants.moderate || has_place || knock.guest.is_some_and(|guest| self.lobby.is_admitted(guest));
        if !passes && self.settings.locked {
            return Err(ProtocolError::new(ErrorCode::RoomLocked, "the room is locked: nobody new comes in"));
        }
        if !passes {
            self.check_password(now, knock)?;
        }
        self.check_full(now, pass, has_place)?;
        let known = pass.identity.as_ref().is_some_and(|identity| self.lobby.knows(identity));
        Ok(self.settings.lobby && !passes && !known)
    }

    pub(super) fn check_banned(&self, pass: &Pass) -> Result<(), ProtocolError> {
        if pass.identity.as_ref().is_some_and(|identity| self.banned.contains(identity)) {
            return Err(ProtocolError::new(ErrorCode::Forbidden, "a moderator has removed you from this room"));
        }
        Ok(())
    }

    /// Those who are on the way have their places.
    pub(super) fn check_full(&self, now: Instant, pass: &Pass, has_place: bool) -> Result<(), ProtocolError> {
        let most = if pass.grants.moderate { self.limits.participants } else { self.settings.max_participants };
        if !has_place && self.members.len() + self.invitations.expected(now) >= most {
            return Err(ProtocolError::new(ErrorCode::LimitReached, format!("the room holds at most {most} participants")));
        }
        Ok(())
    }

    fn check_password(&mut self, now: Instant, knock: &Knock) -> Result<(), ProtocolError> {
        let Some(password) = &self.settings.password else { return Ok(()) };
        let Some(guess) = &knock.password else {
            return Err(ProtocolError::new(ErrorCode::PasswordRequired, "the room has a password"));
        };
        if !self.guesses.permit(now, knock.from) {
            return Err(ProtocolError::new(ErrorCode::RateLimited, "too many wrong passwords; wait a minute"));
        }
        if bool::from(password.0.as_bytes().ct_eq(guess.0.as_bytes())) {
            return Ok(());
        }
        self.guesses.count(now, knock.from);
        Err(ProtocolError::new(ErrorCode::WrongPassword, "the room has another password"))
    }

    fn seat_participant(&mut self, name: String, pass: Pass) -> Result<Entry, ProtocolError> {
        let crate::Limits { slots, slot_step, spare_slots, shown, .. } = self.limits;
        let policy = SlotPolicy { most: slots, step: Some(slot_step), spare: spare_slots, shown: shown.min(slots) };
        let (identity, moderates) = (pass.identity.clone(), pass.grants.moderate);
        let entry = self.seat(Some(name.clone()), pass, None, policy)?;
        if let Some(identity) = identity.as_deref().filter(|_| self.settings.lobby) {
            self.lobby.remember(identity);
        }
        if moderates && self.lobby.were_told() {
            self.tell_guests_to(entry.participant);
        }
        let participant = Participant { id: entry.participant, name, identity, tracks: Vec::new() };
        self.notify(Audience::Others(entry.participant), Event::ParticipantJoined { participant });
        Ok(entry)
    }

    fn seat(&mut self, name: Option<String>, pass: Pass, only: Option<ParticipantId>, policy: SlotPolicy) -> Result<Entry, ProtocolError> {
        let participant = ParticipantId(next(&mut self.last_participant)?);
        let participants = self.roster(participant);

        let mut view = View::new(participant, only, policy, pass.grants.subscribe);
        view.settle(&self.contents, &mut self.out);
        if !self.speakers.list().is_empty() {
            self.tell_speakers_to(participant);
        }
        self.tell_bad_connections_to(participant);
        let chat = Bucket::new(self.limits.chat);
        self.members.insert(participant, Member { name, pass, tracks: Vec::new(), view, chat, quality: None, regranted: false });
        Ok(Entry { participant, participants, settings: self.settings.told() })
    }
}
