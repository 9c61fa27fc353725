//! Access tokens: who may come into which room, and do what there.
//!
//! A token is a JSON Web Token (RFC 7519) in compact form, signed with HMAC-SHA256 (`HS256`, RFC 7518 §3.2) or Ed25519 (`EdDSA`, RFC 8037).
//! [`KeySet::verify`] makes an [`Access`] of it, or a [`Refusal`]; there is nothing in between, and what a token doesn't say isn't granted.
//! The rules are those of RFC 8725: the algorithm is the key's and never the token's, a key is for one algorithm, an unsigned token is no
//! token, what has to be understood and isn't (`crit`) is refused, and everything is bounded before it is parsed.
//!
//! The signatures are aws-lc-rs's. What is around them is written here, because it is little, and because the common library for it
//! (`jsonwebtoken`) asks the system for the time, takes HMAC keys of any length, passes over `crit`, and wants Ed25519 keys in PKCS #8.
//!
//! Pure: no clock, file or randomness; the time is passed in, in seconds since 1970-01-01 UTC, and so are the random bytes of a new key.

#![deny(clippy::iter_over_hash_type, reason = "what happens must not depend on a hash")]

mod claims;
mod jws;
mod keys;
mod refusal;
#[cfg(test)]
mod tests;
mod verify;

pub use claims::{Claims, GrantClaims, Role, UnknownRole};
pub use keys::{Algorithm, Key, KeyError, KeySet, NoSigningKey};
pub use refusal::Refusal;
pub use verify::{Access, LEEWAY, Managed, Scope};
