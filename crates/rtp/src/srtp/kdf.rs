//! Key derivation (RFC 3711 §4.3) with a key derivation rate of 0: once for a session.

use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

use super::MasterKey;
use super::Profile;

/// What a session key is for (RFC 3711 §4.3.2).
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Label {
    RtpEncryption = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpEncryption = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

/// The keys of one direction and one of the protocols, RTP or RTCP.
#[derive(Clone)]
pub(super) struct SessionKeys {
    pub(super) encryption: [u8; 16],
    /// Unused by AEAD profiles.
    pub(super) authentication: [u8; 20],
    /// The first [`Profile::salt_len`] bytes count; the rest is zero.
    pub(super) salt: [u8; 14],
}

impl SessionKeys {
    /// (the keys for RTP, the keys for RTCP)
    pub(super) fn derive(profile: Profile, master: &MasterKey) -> (SessionKeys, SessionKeys) {
        let mut salt = master.salt;
        // A salt shorter than the 112 bits of RFC 3711 is padded on the right (RFC 7714 §11).
        salt[profile.salt_len()..].fill(0);
        let generator = Generator::new(&master.key, salt);
        let keys = |encryption, authentication, salt| {
            let mut keys = SessionKeys { encryption: [0; 16], authentication: [0; 20], salt: [0; 14] };
            generator.fill(encryption, &mut keys.encryption);
            generator.fill(authentication, &mut keys.authentication);
            generator.fill(salt, &mut keys.salt[..profile.salt_len()]);
            keys
        };
        (
            keys(Label::RtpEncryption, Label::RtpAuthentication, Label::RtpSalt),
            keys(Label::RtcpEncryption, Label::RtcpAuthentication, Label::RtcpSalt),
        )
    }
}

/// AES in counter mode under the master key as pseudo-random function (RFC 3711 §4.3.3).
pub(super) struct Generator {
    key: EncryptingKey,
    salt: [u8; 14],
}

impl Generator {
    pub(super) fn new(key: &[u8; 16], salt: [u8; 14]) -> Self {
        Self { key: counter_mode(key), salt }
    }

    pub(super) fn fill(&self, label: Label, out: &mut [u8]) {
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&self.salt);
        // key_id = label || 48 bits of index DIV rate, right-aligned in 112 bits.
        iv[7] ^= label as u8;
        out.fill(0);
        apply_counter_mode(&self.key, iv, out);
    }
}

/// The key schedule of AES-128 in counter mode, computed once.
pub(super) fn counter_mode(key: &[u8; 16]) -> EncryptingKey {
    UnboundCipherKey::new(&AES_128, key).and_then(EncryptingKey::ctr).expect("AES-128 takes any 16 bytes as its key")
}

/// XORs the key stream that begins with counter block `iv` into `data`.
pub(super) fn apply_counter_mode(key: &EncryptingKey, iv: [u8; 16], data: &mut [u8]) {
    let applied = key.less_safe_encrypt(data, EncryptionContext::Iv128(FixedLength::from(iv)));
    debug_assert!(applied.is_ok(), "counter mode takes data of any length");
}
