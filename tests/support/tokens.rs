//! Access tokens and their keys, made without the program's own code: what it takes for good is held against this.

#![allow(dead_code, reason = "each test target uses a part")]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A key of a test's own.
#[derive(Clone, Copy, Debug)]
pub enum Signer {
    /// HMAC-SHA256 with 32 times this byte.
    Hmac(u8),
    /// Ed25519 of 32 times this byte.
    Ed25519(u8),
}

impl Signer {
    pub fn sign(self, signed: &[u8]) -> Vec<u8> {
        match self {
            Signer::Hmac(byte) => hmac_with(&[byte; 32], signed),
            Signer::Ed25519(byte) => pair(byte).sign(signed).as_ref().to_vec(),
        }
    }

    /// As a server is told it: of Ed25519 only the public half.
    pub fn jwk(self, kid: &str) -> Value {
        match self {
            Signer::Hmac(byte) => json!({ "kty": "oct", "kid": kid, "k": encode(&[byte; 32]) }),
            Signer::Ed25519(byte) => json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": encode(&public(byte)) }),
        }
    }

    fn alg(self) -> &'static str {
        match self {
            Signer::Hmac(_) => "HS256",
            Signer::Ed25519(_) => "EdDSA",
        }
    }

    /// A token of these claims as it has to be.
    pub fn token(self, kid: &str, claims: &Value) -> String {
        let signed = unsigned(&json!({ "alg": self.alg(), "typ": "JWT", "kid": kid }), claims);
        let signature = self.sign(signed.as_bytes());
        format!("{signed}.{}", encode(&signature))
    }
}

fn pair(byte: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[byte; 32]).expect("a seed")
}

/// The public key of [`Signer::Ed25519`].
pub fn public(byte: u8) -> Vec<u8> {
    pair(byte).public_key().as_ref().to_vec()
}

/// HMAC-SHA256.
pub fn hmac_with(secret: &[u8], signed: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed).as_ref().to_vec()
}

pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Header and payload, without a signature.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()))
}

/// Seconds since 1970-01-01 UTC.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64
}

/// A file with a key set, gone with the test.
pub struct KeyFile(pub PathBuf);

impl KeyFile {
    pub fn new(keys: &[Value]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = Self(std::env::temp_dir().join(format!("switchyard-keys-{}-{n}.json", std::process::id())));
        file.write(keys);
        file
    }

    /// Puts others in their place, at once.
    pub fn write(&self, keys: &[Value]) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, json!({ "keys": keys }).to_string()).expect("written");
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).expect("for nobody else");
        std::fs::rename(&new, &self.0).expect("renamed");
    }

    pub fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
