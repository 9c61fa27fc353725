//! What a token says: its claims (RFC 7519 §4), roles and grants.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use switchyard_protocol::{Grants, Source};

/// What a token says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// Who it is for: what the application calls that person. 1 to [`switchyard_protocol::MAX_IDENTITY_CHARS`] characters.
    #[serde(rename = "sub")]
    pub identity: String,
    /// The display name; if there is none, the participant chooses one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The room's id, or [`Claims::ANY_ROOM`].
    pub room: String,
    /// What it grants by a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// What it grants one by one, in place of what the role would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grants: Option<GrantClaims>,
    /// From when on it is good.
    #[serde(rename = "nbf", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<i64>,
    /// Until when it is good.
    #[serde(rename = "exp")]
    pub expires: i64,
    /// When it was made.
    #[serde(rename = "iat", skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<i64>,
    /// What tells it from others.
    #[serde(rename = "jti", skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl Claims {
    /// What stands for every room.
    pub const ANY_ROOM: &str = "*";
}

/// Grants by a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything: publishes, receives, says something, moderates.
    Host,
    /// Publishes everything, receives, says something.
    Speaker,
    /// Receives.
    Listener,
    /// Publishes everything and receives nothing: an encoder.
    Publisher,
    /// Manages rooms by the server's API and comes into none: an application's back end.
    Server,
}

/// No role is called like this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is host, speaker, listener, publisher or server")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(name: &str) -> Result<Self, UnknownRole> {
        Ok(match name {
            "host" => Role::Host,
            "speaker" => Role::Speaker,
            "listener" => Role::Listener,
            "publisher" => Role::Publisher,
            "server" => Role::Server,
            _ => return Err(UnknownRole),
        })
    }
}

impl Role {
    /// What it grants.
    pub fn grants(self) -> GrantClaims {
        let all = Source::ALL.to_vec();
        let (publish, subscribe, data, moderate) = match self {
            Role::Host => (all, true, true, true),
            Role::Speaker => (all, true, true, false),
            Role::Listener => (Vec::new(), true, false, false),
            Role::Publisher => (all, false, false, false),
            Role::Server => return GrantClaims { manage: true, ..GrantClaims::default() },
        };
        GrantClaims { join: true, publish, subscribe, data, moderate, manage: false }
    }
}

/// Grants one by one. What isn't named isn't granted; what isn't known is an error, because somebody may rely on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrantClaims {
    /// To come in.
    pub join: bool,
    /// What may be published.
    pub publish: Vec<Source>,
    /// To receive what others publish.
    pub subscribe: bool,
    /// To say something.
    pub data: bool,
    /// To mute, remove and ban others, and lock the room.
    pub moderate: bool,
    /// To manage the room by the server's API; it doesn't include coming in.
    pub manage: bool,
}

impl From<GrantClaims> for Grants {
    fn from(GrantClaims { join: _, publish, subscribe, data, moderate, manage: _ }: GrantClaims) -> Self {
        Self { publish, subscribe, data, moderate }
    }
}

/// Claims as they come, before they are judged. Others than these are passed over (RFC 7519 §4).
#[derive(Debug, Deserialize)]
pub(crate) struct Unjudged {
    pub sub: Option<String>,
    pub name: Option<String>,
    pub room: Option<String>,
    pub role: Option<String>,
    pub grants: Option<GrantClaims>,
    pub nbf: Option<NumericDate>,
    pub exp: Option<NumericDate>,
    pub aud: Option<Audience>,
}

/// Seconds since 1970-01-01 UTC, which may have a fraction (RFC 7519 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NumericDate(pub i64);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Number {
            Whole(i64),
            // Beyond what counts, `as` stays at the ends.
            Other(f64),
        }
        Ok(Self(match Number::deserialize(deserializer)? {
            Number::Whole(seconds) => seconds,
            Number::Other(seconds) => seconds.floor() as i64,
        }))
    }
}

/// Whom a token is for: one or several services.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    pub fn includes(&self, service: &str) -> bool {
        match self {
            Audience::One(one) => one == service,
            Audience::Several(several) => several.iter().any(|each| each == service),
        }
    }
}
