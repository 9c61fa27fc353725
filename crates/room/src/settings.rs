//! How a room is set.

use switchyard_protocol::{ErrorCode, ProtocolError, RoomSettings, RoomSettingsChange, Token};

/// A room's settings, with the password that nobody is told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub locked: bool,
    pub lobby: bool,
    pub password: Option<Token>,
    pub max_participants: usize,
}

impl Settings {
    /// Anybody may come, `most` at a time.
    pub fn open(most: usize) -> Self {
        Self { locked: false, lobby: false, password: None, max_participants: most }
    }

    /// What everybody is told.
    pub fn told(&self) -> RoomSettings {
        RoomSettings {
            locked: self.locked,
            lobby: self.lobby,
            password: self.password.is_some(),
            max_participants: u32::try_from(self.max_participants).unwrap_or(u32::MAX),
        }
    }

    /// Sets what `change` says. Fails with [`ErrorCode::InvalidSettings`] if there can't be so many participants; the server has room for `most`.
    pub fn change(&mut self, change: RoomSettingsChange, most: usize) -> Result<(), ProtocolError> {
        change.validate()?;
        let RoomSettingsChange { locked, lobby, password, max_participants } = change;
        let participants = max_participants.map_or(self.max_participants, |participants| participants as usize);
        if participants > most {
            return Err(ProtocolError::new(ErrorCode::InvalidSettings, format!("a room of this server holds at most {most} participants")));
        }
        self.max_participants = participants;
        self.locked = locked.unwrap_or(self.locked);
        self.lobby = lobby.unwrap_or(self.lobby);
        if let Some(password) = password {
            self.password = (!password.0.is_empty()).then_some(password);
        }
        Ok(())
    }
}
