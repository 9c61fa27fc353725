//! Signed tokens in compact form (RFC 7515 §7.1): `header.payload.signature`, each in base64url without padding.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::{Algorithm, Refusal};

/// A token taken apart; nothing of it is to be believed yet.
pub(crate) struct Compact<'a> {
    pub header: Header,
    /// What was signed.
    pub signed: &'a [u8],
    pub payload: Vec<u8>,
    pub signature: Vec<u8>,
}

/// The parameters that count. Those that would name keys from elsewhere (`jku`, `jwk`, `x5u`, `x5c`) are passed over: keys are the server's own.
#[derive(Debug, Deserialize)]
pub(crate) struct Header {
    pub alg: String,
    pub kid: Option<String>,
    pub typ: Option<String>,
    pub crit: Option<IgnoredAny>,
}

#[derive(Serialize)]
struct NewHeader<'a> {
    alg: &'static str,
    typ: &'static str,
    kid: &'a str,
}

impl<'a> Compact<'a> {
    /// Takes apart a token whose length is bounded.
    pub fn parse(token: &'a str) -> Result<Self, Refusal> {
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(Refusal::Malformed);
        };
        let signed = &token.as_bytes()[..header.len() + 1 + payload.len()];
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| Refusal::Malformed)?;
        if header.typ.as_ref().is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) {
            return Err(Refusal::Malformed);
        }
        if header.crit.is_some() {
            return Err(Refusal::Critical);
        }
        Ok(Self { header, signed, payload: decode(payload)?, signature: decode(signature)? })
    }
}

/// A token of this payload.
pub(crate) fn sign(algorithm: Algorithm, kid: &str, payload: &impl Serialize, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let header = NewHeader { alg: algorithm.name(), typ: "JWT", kid };
    let mut token = format!("{}.{}", encode(&json(&header)), encode(&json(payload)));
    let signature = sign(token.as_bytes());
    token.push('.');
    token.push_str(&encode(&signature));
    token
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings, numbers, lists and maps with string keys")
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Takes one spelling of each value only: no padding, no bits beyond the last byte.
fn decode(text: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::Malformed)
}
