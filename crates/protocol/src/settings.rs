//! How a room is set: who comes in, and how many.

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::ToSchema;

use crate::{ErrorCode, MAX_PASSWORD_CHARS, ProtocolError, Token};

/// How a room is set, as everybody in it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS, ToSchema)]
pub struct RoomSettings {
    /// Nobody new comes in but moderators.
    pub locked: bool,
    /// Who is no moderator waits until one lets them in.
    pub lobby: bool,
    /// Who is no moderator needs a password. Nobody is told which.
    pub password: bool,
    /// How many may be there at the same time; at most as many as the server permits.
    pub max_participants: u32,
}

/// What is to be set otherwise; the rest stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct RoomSettingsChange {
    /// See [`RoomSettings::locked`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub locked: Option<bool>,
    /// See [`RoomSettings::lobby`]. Turned off, it lets in all who wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub lobby: Option<bool>,
    /// Who comes from now on needs this one; an empty one: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional, as = "Option<String>")]
    pub password: Option<Token>,
    /// See [`RoomSettings::max_participants`]. Whoever is there stays, also if they are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub max_participants: Option<u32>,
}

impl RoomSettingsChange {
    /// Checks what the types can't say.
    pub fn validate(&self) -> Result<(), ProtocolError> {
        if self.password.as_ref().is_some_and(|password| !fits(password)) {
            return Err(ProtocolError::new(ErrorCode::InvalidSettings, format!("a password has at most {MAX_PASSWORD_CHARS} characters")));
        }
        if self.max_participants == Some(0) {
            return Err(ProtocolError::new(ErrorCode::InvalidSettings, "a room is for one participant at least"));
        }
        Ok(())
    }
}

/// Whether a room may have this password.
pub(crate) fn fits(password: &Token) -> bool {
    password.0.chars().count() <= MAX_PASSWORD_CHARS
}
