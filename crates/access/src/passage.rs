//! Passages: what lets somebody into the room that the server has moved them to. Their own token need not be for it, and the server may only be able to check
//! tokens, not to sign them.

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use switchyard_protocol::{Grants, MAX_ACCESS_TOKEN_BYTES};

use crate::Refusal;
use crate::jws::{decode, encode};

/// What passages begin with, and no JSON Web Token does: those begin with an encoded `{`.
const PREFIX: &str = "passage.";

/// Who may come into which room, by the server's own word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// The room's id.
    pub room: String,
    /// What the application calls them; `None` where there is no access control.
    pub identity: Option<String>,
    /// The display name they have; `None`: one of their choice.
    pub name: Option<String>,
    /// What they may do there.
    pub grants: Grants,
    /// When it was made, in seconds since 1970-01-01 UTC.
    pub issued_at: i64,
}

impl Passage {
    /// Seconds for which it is good: who loses the connection for so long that the session is gone comes back with it.
    pub const LIFETIME: i64 = 3_600;
    /// Seconds for which its bearer is on the way, and not held up by what keeps others out.
    pub const ESCORTED: i64 = 60;

    /// Whether its bearer is still on the way.
    pub fn is_escorted(&self, now: i64) -> bool {
        now < self.issued_at.saturating_add(Self::ESCORTED)
    }
}

/// What passages are sealed with (HMAC-SHA256, RFC 2104): a secret of this run of the server.
#[derive(Debug)]
pub struct PassageKey(hmac::Key);

impl PassageKey {
    /// Of random bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// A passage to be handed to its bearer.
    pub fn seal(&self, passage: &Passage) -> String {
        let json = serde_json::to_vec(passage).expect("strings, numbers, lists and maps with string keys");
        let payload = encode(&json);
        let tag = hmac::sign(&self.0, payload.as_bytes());
        format!("{PREFIX}{payload}.{}", encode(tag.as_ref()))
    }

    /// Judges whether the bearer of `token` may come into `room` at `now` (seconds since 1970-01-01 UTC). `None` if it is no passage.
    pub fn open(&self, token: &str, room: &str, now: i64) -> Option<Result<Passage, Refusal>> {
        token.strip_prefix(PREFIX).map(|sealed| self.judge(sealed, room, now))
    }

    fn judge(&self, sealed: &str, room: &str, now: i64) -> Result<Passage, Refusal> {
        if sealed.len() > MAX_ACCESS_TOKEN_BYTES {
            return Err(Refusal::TooLong);
        }
        let (payload, tag) = sealed.split_once('.').ok_or(Refusal::Malformed)?;
        hmac::verify(&self.0, payload.as_bytes(), &decode(tag)?).map_err(|_| Refusal::Signature)?;
        let passage: Passage = serde_json::from_slice(&decode(payload)?).map_err(|_| Refusal::Malformed)?;
        if passage.issued_at.saturating_add(Passage::LIFETIME) <= now {
            return Err(Refusal::Expired);
        }
        if passage.room != room {
            return Err(Refusal::WrongRoom);
        }
        Ok(passage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn passage() -> Passage {
        let grants = Grants { publish: Vec::new(), subscribe: true, data: true, moderate: false };
        Passage { room: "side".into(), identity: Some("ada".into()), name: Some("Ada".into()), grants, issued_at: NOW }
    }

    #[test]
    fn a_passage_is_good_for_its_room_and_its_time() {
        let key = PassageKey::new(&[1; 32]);
        let sealed = key.seal(&passage());
        assert_eq!(key.open(&sealed, "side", NOW), Some(Ok(passage())));
        assert_eq!(key.open(&sealed, "side", NOW + Passage::LIFETIME - 1), Some(Ok(passage())));
        assert_eq!(key.open(&sealed, "side", NOW + Passage::LIFETIME), Some(Err(Refusal::Expired)));
        assert_eq!(key.open(&sealed, "demo", NOW), Some(Err(Refusal::WrongRoom)));
        assert!(passage().is_escorted(NOW + Passage::ESCORTED - 1) && !passage().is_escorted(NOW + Passage::ESCORTED));
    }

    #[test]
    fn what_another_has_sealed_or_anybody_has_changed_is_no_passage() {
        let key = PassageKey::new(&[1; 32]);
        let sealed = key.seal(&passage());
        assert_eq!(PassageKey::new(&[2; 32]).open(&sealed, "side", NOW), Some(Err(Refusal::Signature)));
        for at in PREFIX.len()..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(matches!(key.open(&changed, "side", NOW), Some(Err(_))), "{changed}");
        }
        let payload = sealed.strip_prefix(PREFIX).and_then(|rest| rest.split_once('.')).expect("two parts").0;
        for forged in [
            format!("{PREFIX}{payload}"),
            format!("{PREFIX}{payload}."),
            format!("{PREFIX}."),
            PREFIX.into(),
            format!("{PREFIX}{}", "x".repeat(5000)),
        ] {
            assert!(matches!(key.open(&forged, "side", NOW), Some(Err(_))), "{forged}");
        }
        assert_eq!(key.open("eyJhbGciOiJub25lIn0.e30.", "side", NOW), None);
    }
}
