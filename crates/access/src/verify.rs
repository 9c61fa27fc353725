//! From a token to what it permits.

use switchyard_protocol::{Grants, MAX_ACCESS_TOKEN_BYTES, validate_identity, validate_name};

use crate::claims::{NumericDate, Unjudged};
use crate::jws::Compact;
use crate::{Claims, GrantClaims, Key, KeySet, Refusal, Role};

/// Seconds by which the clocks of whoever makes tokens and of the server may differ: a token is good so much earlier and later than it says.
pub const LEEWAY: i64 = 10;

/// What this server is called in `aud`, if a token says whom it is for (RFC 7519 §4.1.3).
const AUDIENCE: &str = "switchyard";

/// What a token permits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Who its bearer is.
    pub identity: String,
    /// The display name they have, if the token says it.
    pub name: Option<String>,
    /// What they may do in the room.
    pub grants: Grants,
}

/// What a token permits that is to manage rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Managed {
    /// Which rooms.
    pub scope: Scope,
    /// Until when, in seconds since 1970-01-01 UTC.
    pub until: i64,
}

/// Which rooms a token permits to manage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every room there is or will be.
    Every,
    /// The room of this id.
    One(String),
}

impl Scope {
    /// Whether it includes a room.
    pub fn covers(&self, room: &str) -> bool {
        match self {
            Scope::Every => true,
            Scope::One(one) => one == room,
        }
    }
}

impl KeySet {
    /// Judges whether the bearer of `token` may come into `room` at `now` (seconds since 1970-01-01 UTC), and what they may do there.
    ///
    /// A token without `kid` is taken only where there is one key: one that names its key is held against that key and no other, and so nobody's
    /// signature is tried with keys that it isn't for.
    pub fn verify(&self, token: &str, room: &str, now: i64) -> Result<Access, Refusal> {
        let Judged { identity, name, scope, grants, .. } = self.judge(token, now)?;
        if !scope.covers(room) {
            return Err(Refusal::WrongRoom);
        }
        if !grants.join {
            return Err(Refusal::NotGranted);
        }
        Ok(Access { identity, name, grants: grants.into() })
    }

    /// Judges which rooms the bearer of `token` may manage at `now` (seconds since 1970-01-01 UTC), and for how long.
    pub fn verify_manager(&self, token: &str, now: i64) -> Result<Managed, Refusal> {
        let Judged { scope, grants, expires, .. } = self.judge(token, now)?;
        if grants.manage { Ok(Managed { scope, until: expires.saturating_add(LEEWAY) }) } else { Err(Refusal::NotManaging) }
    }

    fn judge(&self, token: &str, now: i64) -> Result<Judged, Refusal> {
        if token.len() > MAX_ACCESS_TOKEN_BYTES {
            return Err(Refusal::TooLong);
        }
        let compact = Compact::parse(token)?;
        let key = self.key(compact.header.kid.as_deref())?;
        if !key.algorithm().is_called(&compact.header.alg) {
            return Err(Refusal::Algorithm);
        }
        if !key.verify(compact.signed, &compact.signature) {
            return Err(Refusal::Signature);
        }
        judge(&compact.payload, now)
    }

    fn key(&self, id: Option<&str>) -> Result<&Key, Refusal> {
        match (id, self.keys()) {
            (Some(id), keys) => keys.iter().find(|key| key.id() == id).ok_or(Refusal::UnknownKey),
            (None, [key]) => Ok(key),
            (None, _) => Err(Refusal::NoKeyId),
        }
    }
}

/// What a token says that is good, for whatever it is.
struct Judged {
    identity: String,
    name: Option<String>,
    scope: Scope,
    grants: GrantClaims,
    expires: i64,
}

/// What a payload says that is known to be authentic.
fn judge(payload: &[u8], now: i64) -> Result<Judged, Refusal> {
    let claims: Unjudged = serde_json::from_slice(payload).map_err(|_| unreadable(payload))?;
    let NumericDate(expires) = claims.exp.ok_or(Refusal::Claim("exp"))?;
    if expires.saturating_add(LEEWAY) <= now {
        return Err(Refusal::Expired);
    }
    if claims.nbf.is_some_and(|NumericDate(not_before)| now < not_before.saturating_sub(LEEWAY)) {
        return Err(Refusal::NotYet);
    }
    if claims.aud.is_some_and(|audience| !audience.includes(AUDIENCE)) {
        return Err(Refusal::Audience);
    }
    let identity = claims.sub.filter(|identity| validate_identity(identity).is_ok()).ok_or(Refusal::Claim("sub"))?;
    if claims.name.as_deref().is_some_and(|name| validate_name(name).is_err()) {
        return Err(Refusal::Claim("name"));
    }
    // A role that isn't known may be one that was to forbid something: it is refused even beside grants.
    let role = claims.role.map(|role| role.parse::<Role>().map_err(|_| Refusal::UnknownRole)).transpose()?;
    let room = claims.room.ok_or(Refusal::Claim("room"))?;
    let scope = if room == Claims::ANY_ROOM { Scope::Every } else { Scope::One(room) };
    let grants = claims.grants.or(role.map(Role::grants)).unwrap_or_default();
    Ok(Judged { identity, name: claims.name, scope, grants, expires })
}

/// Which claim can't be read, for whoever makes tokens.
fn unreadable(payload: &[u8]) -> Refusal {
    const NAMES: [&str; 8] = ["sub", "name", "room", "role", "grants", "nbf", "exp", "aud"];
    let Ok(serde_json::Value::Object(claims)) = serde_json::from_slice(payload) else { return Refusal::Malformed };
    let is_unreadable = |name: &&&str| {
        let one = claims.get(**name).map(|value| serde_json::json!({ **name: value }));
        one.is_some_and(|one| serde_json::from_value::<Unjudged>(one).is_err())
    };
    NAMES.iter().find(is_unreadable).map_or(Refusal::Malformed, |name| Refusal::Claim(name))
}
