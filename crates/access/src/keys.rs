//! The keys that tokens are signed with, as a JSON Web Key Set (RFC 7517).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::{Claims, jws};

/// Bytes of a key set that is parsed. A key takes some 200.
const MAX_SET_BYTES: usize = 64 * 1024;
/// Keys in a set: each rotation leaves one behind for as long as its tokens are good.
const MAX_KEYS: usize = 32;
/// Bytes in a key's id.
const MAX_KEY_ID_BYTES: usize = 64;
/// Bytes that an HMAC key has at least: as many as the hash (RFC 7518 §3.2).
const MIN_SECRET_BYTES: usize = 32;

/// What a key signs with; it is for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC-SHA256: whoever can check tokens can make them, too.
    Hs256,
    /// Ed25519: the server needs only the public key.
    EdDsa,
}

impl Algorithm {
    /// The value of `alg` in headers and keys.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Hs256 => "HS256",
            Algorithm::EdDsa => "EdDSA",
        }
    }

    /// Whether a header's `alg` means this algorithm. Ed25519 has a second name since RFC 9864.
    pub(crate) fn is_called(self, name: &str) -> bool {
        name == self.name() || (self == Algorithm::EdDsa && name == "Ed25519")
    }
}

impl FromStr for Algorithm {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Algorithm::Hs256, Algorithm::EdDsa]
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
            .ok_or("an algorithm is HS256 or EdDSA")
    }
}

/// Why a key set can't be used; nothing of a key is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is longer than 64 KiB.
    #[error("a key set has at most {MAX_SET_BYTES} bytes")]
    TooLong,
    /// It isn't `{"keys": […]}`.
    #[error("not a JSON Web Key Set, which is {{\"keys\": […]}}: line {line}, column {column}")]
    Malformed {
        /// Where, from 1 on.
        line: usize,
        /// Where, from 1 on.
        column: usize,
    },
    /// More than 32.
    #[error("a key set has at most {MAX_KEYS} keys")]
    TooMany,
    /// There is none that is for signing with HS256 or EdDSA.
    #[error("no key of the set is for HS256 (kty oct) or EdDSA (kty OKP, crv Ed25519)")]
    None,
    /// A key has no `kid`, or a long one.
    #[error("key {0}: every key needs a `kid` of at most {MAX_KEY_ID_BYTES} bytes")]
    KeyId(usize),
    /// Two keys have the same.
    #[error("two keys have the kid {0:?}")]
    Twice(String),
    /// `k` is no base64url, or too short.
    #[error("key {0:?}: `k` is to be at least {MIN_SECRET_BYTES} random bytes in base64url")]
    Secret(String),
    /// `x` or `d` is no Ed25519 key, or they don't belong together.
    #[error("key {0:?}: `x`, and `d` if there is one, are to be an Ed25519 key in base64url")]
    Pair(String),
    /// `alg`, `use` or `key_ops` say something else.
    #[error("key {0:?}: its `alg`, `use` or `key_ops` say that it is for something else")]
    Purpose(String),
}

/// A set without any key that can sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the set has only public keys; tokens are made with the private ones")]
pub struct NoSigningKey;

/// A key with its id. `Debug` shows no more than the id and the algorithm.
pub struct Key {
    id: String,
    material: Material,
}

enum Material {
    Secret { bytes: Vec<u8>, key: Box<hmac::Key> },
    Pair { public: [u8; 32], parsed: ParsedPublicKey, private: Option<(Vec<u8>, Ed25519KeyPair)> },
}

/// Keys by their ids. The first that can sign makes new tokens; all are good for checking them.
pub struct KeySet(Vec<Key>);

/// A key as it is written.
#[derive(Default, Serialize, Deserialize)]
struct Jwk {
    kty: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alg: Option<String>,
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    usage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_ops: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    k: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    d: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct JwkSet {
    keys: Vec<Jwk>,
}

impl Key {
    /// A new key, from 32 bytes that nobody can guess.
    pub fn new(algorithm: Algorithm, id: impl Into<String>, random: [u8; 32]) -> Self {
        let material = match algorithm {
            Algorithm::Hs256 => Material::secret(random.to_vec()),
            Algorithm::EdDsa => Material::private(random.to_vec()).expect("every 32 bytes are a seed (RFC 8032 §5.1.5)"),
        };
        Self { id: id.into(), material }
    }

    /// Its `kid`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it signs with.
    pub fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Secret { .. } => Algorithm::Hs256,
            Material::Pair { .. } => Algorithm::EdDsa,
        }
    }

    /// Whether it makes tokens, or only checks them.
    pub fn can_sign(&self) -> bool {
        !matches!(self.material, Material::Pair { private: None, .. })
    }

    /// Whether the holder of the key signed this.
    pub(crate) fn verify(&self, signed: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Secret { key, .. } => hmac::verify(key, signed, signature).is_ok(),
            Material::Pair { parsed, .. } => parsed.verify_sig(signed, signature).is_ok(),
        }
    }

    fn sign(&self, signed: &[u8]) -> Option<Vec<u8>> {
        match &self.material {
            Material::Secret { key, .. } => Some(hmac::sign(key, signed).as_ref().to_vec()),
            Material::Pair { private, .. } => private.as_ref().map(|(_, pair)| pair.sign(signed).as_ref().to_vec()),
        }
    }

    /// `None`: a key of a kind that isn't known, to be passed over (RFC 7517 §5). `index` from 1 on, for messages.
    fn parse(jwk: Jwk, index: usize) -> Result<Option<Self>, KeyError> {
        let algorithm = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("oct", _) => Algorithm::Hs256,
            ("OKP", Some("Ed25519")) => Algorithm::EdDsa,
            _ => return Ok(None),
        };
        let id = jwk.kid.filter(|id| (1..=MAX_KEY_ID_BYTES).contains(&id.len())).ok_or(KeyError::KeyId(index))?;
        let is_for_signing = jwk.alg.is_none_or(|name| algorithm.is_called(&name))
            && jwk.usage.is_none_or(|usage| usage == "sig")
            && jwk.key_ops.is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
        if !is_for_signing {
            return Err(KeyError::Purpose(id));
        }
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        let material = match algorithm {
            Algorithm::Hs256 => jwk.k.as_deref().and_then(decode).filter(|bytes| bytes.len() >= MIN_SECRET_BYTES).map(Material::secret),
            Algorithm::EdDsa => {
                let public = jwk.x.as_deref().and_then(decode).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
                match (public, jwk.d.as_deref().map(decode)) {
                    (Some(public), None) => Material::public(public),
                    (Some(public), Some(Some(seed))) => {
                        Material::private(seed).filter(|material| matches!(material, Material::Pair { public: own, .. } if *own == public))
                    }
                    _ => None,
                }
            }
        };
        match (material, algorithm) {
            (Some(material), _) => Ok(Some(Self { id, material })),
            (None, Algorithm::Hs256) => Err(KeyError::Secret(id)),
            (None, Algorithm::EdDsa) => Err(KeyError::Pair(id)),
        }
    }

    fn to_jwk(&self, with_private: bool) -> Jwk {
        let encode = |bytes: &[u8]| Some(jws::encode(bytes));
        let common =
            Jwk { kid: Some(self.id.clone()), alg: Some(self.algorithm().name().into()), usage: Some("sig".into()), ..Jwk::default() };
        match &self.material {
            Material::Secret { bytes, .. } => Jwk { kty: "oct".into(), k: encode(bytes), ..common },
            Material::Pair { public, private, .. } => {
                let d = private.as_ref().filter(|_| with_private).and_then(|(seed, _)| encode(seed));
                Jwk { kty: "OKP".into(), crv: Some("Ed25519".into()), x: encode(public), d, ..common }
            }
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("algorithm", &self.algorithm()).finish_non_exhaustive()
    }
}

impl Material {
    fn secret(bytes: Vec<u8>) -> Self {
        Self::Secret { key: Box::new(hmac::Key::new(hmac::HMAC_SHA256, &bytes)), bytes }
    }

    fn public(public: [u8; 32]) -> Option<Self> {
        Some(Self::Pair { public, parsed: ParsedPublicKey::new(&ED25519, public).ok()?, private: None })
    }

    fn private(seed: Vec<u8>) -> Option<Self> {
        // The library takes more bytes and uses the first.
        let pair = Ed25519KeyPair::from_seed_unchecked(&<[u8; 32]>::try_from(seed.as_slice()).ok()?).ok()?;
        let public = pair.public_key().as_ref().try_into().ok()?;
        Some(Self::Pair { public, parsed: ParsedPublicKey::new(&ED25519, public).ok()?, private: Some((seed, pair)) })
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl KeySet {
    /// A set of one key.
    pub fn new(key: Key) -> Self {
        Self(vec![key])
    }

    /// Reads a JSON Web Key Set. Keys of kinds that aren't known are passed over.
    pub fn parse(json: &[u8]) -> Result<Self, KeyError> {
        if json.len() > MAX_SET_BYTES {
            return Err(KeyError::TooLong);
        }
        // What serde says may quote a key.
        let set: JwkSet =
            serde_json::from_slice(json).map_err(|error| KeyError::Malformed { line: error.line(), column: error.column() })?;
        if set.keys.len() > MAX_KEYS {
            return Err(KeyError::TooMany);
        }
        let mut keys: Vec<Key> = Vec::new();
        for (index, jwk) in set.keys.into_iter().enumerate() {
            let Some(key) = Key::parse(jwk, index + 1)? else { continue };
            if keys.iter().any(|other| other.id == key.id) {
                return Err(KeyError::Twice(key.id));
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(KeyError::None) } else { Ok(Self(keys)) }
    }

    /// All of them, as [`KeySet::parse`] reads them: whoever knows it can make tokens, unless only public keys were read.
    pub fn to_json(&self) -> String {
        self.write(&self.0.iter().map(|key| key.to_jwk(true)).collect::<Vec<_>>())
    }

    /// What may be known to everybody: the public keys. `None` if one of them is secret, because the set would be less than this one.
    pub fn public_json(&self) -> Option<String> {
        let are_public = self.0.iter().all(|key| key.algorithm() == Algorithm::EdDsa);
        are_public.then(|| self.write(&self.0.iter().map(|key| key.to_jwk(false)).collect::<Vec<_>>()))
    }

    fn write(&self, keys: &[Jwk]) -> String {
        let mut json = serde_json::to_string_pretty(&serde_json::json!({ "keys": keys })).expect("strings");
        json.push('\n');
        json
    }

    /// The keys, in their order.
    pub fn keys(&self) -> &[Key] {
        &self.0
    }

    /// Makes tokens with `key` from now on. The `keep` keys before the others stay, so that tokens made with them are still good.
    pub fn rotate(&mut self, key: Key, keep: usize) {
        self.0.retain(|other| other.id != key.id);
        self.0.truncate(keep.min(MAX_KEYS - 1));
        self.0.insert(0, key);
    }

    /// A token that says this, signed with the first key that can.
    pub fn sign(&self, claims: &Claims) -> Result<String, NoSigningKey> {
        let key = self.0.iter().find(|key| key.can_sign()).ok_or(NoSigningKey)?;
        Ok(jws::sign(key.algorithm(), &key.id, claims, |signed| key.sign(signed).expect("it can")))
    }
}
