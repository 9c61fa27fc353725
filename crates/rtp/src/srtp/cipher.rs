//! The transforms of both profiles over buffers whose layout the caller has checked.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::EncryptingKey;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

use super::Profile;
use super::kdf::{SessionKeys, apply_counter_mode, counter_mode};

/// Bytes of an RTCP packet that stay in the clear: its header and the sender's SSRC (RFC 3711 §3.4).
pub(super) const RTCP_CLEAR_LEN: usize = 8;

/// The bit of the SRTCP index word that says the packet is encrypted (RFC 3711 §3.4).
pub(super) const ENCRYPTED_BIT: u32 = 1 << 31;

/// The transform refused: forged when opening, impossible when sealing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

/// One direction's keys for one of the protocols, with their key schedules computed.
///
/// AWS-LC keeps expanded keys and the hashed HMAC pads inside the keys, so a packet costs neither an allocation nor a
/// key expansion; an HMAC copies its prepared state.
pub(super) enum Cipher {
    Gcm {
        key: LessSafeKey,
        salt: [u8; 12],
    },
    /// Boxed because its keys take 50 times the place of the other's handle.
    Cm(Box<Cm>),
}

/// AES in counter mode and HMAC-SHA1.
pub(super) struct Cm {
    key: EncryptingKey,
    authentication: hmac::Key,
    salt: [u8; 14],
}

impl Cipher {
    pub(super) fn new(profile: Profile, keys: &SessionKeys) -> Self {
        match profile {
            Profile::AeadAes128Gcm => {
                let key = UnboundKey::new(&aead::AES_128_GCM, &keys.encryption).expect("AES-128 takes any 16 bytes as its key");
                let mut salt = [0; 12];
                salt.copy_from_slice(&keys.salt[..12]);
                Cipher::Gcm { key: LessSafeKey::new(key), salt }
            }
            Profile::Aes128CmHmacSha1_80 => Cipher::Cm(Box::new(Cm {
                key: counter_mode(&keys.encryption),
                authentication: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &keys.authentication),
                salt: keys.salt,
            })),
        }
    }

    /// Bytes of tag.
    pub(super) const fn tag_len(&self) -> usize {
        match self {
            Cipher::Gcm { .. } => Profile::AeadAes128Gcm.overhead(),
            Cipher::Cm(_) => Profile::Aes128CmHmacSha1_80.overhead(),
        }
    }

    /// Seals `packet[..len]` and writes its tag behind it. The caller vouches for `header_len <= len` and
    /// `len + tag_len <= packet.len()`.
    pub(super) fn seal_rtp(&self, ssrc: u32, index: u64, packet: &mut [u8], header_len: usize, len: usize) -> Result<(), Refused> {
        let (text, rest) = packet.split_at_mut(len);
        let tag = &mut rest[..self.tag_len()];
        let (header, payload) = text.split_at_mut(header_len);
        match self {
            Cipher::Gcm { key, salt } => {
                let nonce = Nonce::assume_unique_for_key(gcm_rtp_nonce(salt, ssrc, index));
                let sealed = key.seal_in_place_separate_tag(nonce, Aad::from(&*header), payload).map_err(|_| Refused)?;
                tag.copy_from_slice(sealed.as_ref());
            }
            Cipher::Cm(cm) => {
                apply_counter_mode(&cm.key, cm_iv(&cm.salt, ssrc, index), payload);
                tag.copy_from_slice(&hmac_tag(&cm.authentication, text, &rollover(index)));
            }
        }
        Ok(())
    }

    /// Checks and decrypts `packet`, tag included, in place. The caller vouches for
    /// `header_len + tag_len <= packet.len()`. The payload of a refused packet is undefined.
    pub(super) fn open_rtp(&self, ssrc: u32, index: u64, packet: &mut [u8], header_len: usize) -> Result<(), Refused> {
        let (text, tag) = packet.split_at_mut(packet.len() - self.tag_len());
        let (header, payload) = text.split_at_mut(header_len);
        match self {
            Cipher::Gcm { key, salt } => {
                let nonce = Nonce::assume_unique_for_key(gcm_rtp_nonce(salt, ssrc, index));
                key.open_in_place_separate_tag(nonce, Aad::from(&*header), tag, payload).map_err(|_| Refused)?;
            }
            Cipher::Cm(cm) => {
                verify_slices_are_equal(&hmac_tag(&cm.authentication, text, &rollover(index)), tag).map_err(|_| Refused)?;
                apply_counter_mode(&cm.key, cm_iv(&cm.salt, ssrc, index), &mut text[header_len..]);
            }
        }
        Ok(())
    }

    /// Seals the compound `packet[..len]` and writes its tag and index word behind it, in the profile's order. The caller
    /// vouches for `RTCP_CLEAR_LEN <= len` and `len + tag_len + 4 <= packet.len()`.
    pub(super) fn seal_rtcp(&self, ssrc: u32, index: u32, packet: &mut [u8], len: usize) -> Result<(), Refused> {
        let word = (index | ENCRYPTED_BIT).to_be_bytes();
        let tag_len = self.tag_len();
        match self {
            Cipher::Gcm { key, salt } => {
                let (text, rest) = packet.split_at_mut(len);
                let (header, payload) = text.split_at_mut(RTCP_CLEAR_LEN);
                let nonce = Nonce::assume_unique_for_key(gcm_rtcp_nonce(salt, ssrc, index));
                let sealed = key.seal_in_place_separate_tag(nonce, Aad::from(gcm_rtcp_aad(header, word)), payload).map_err(|_| Refused)?;
                rest[..tag_len].copy_from_slice(sealed.as_ref());
                rest[tag_len..tag_len + 4].copy_from_slice(&word);
            }
            Cipher::Cm(cm) => {
                apply_counter_mode(&cm.key, cm_iv(&cm.salt, ssrc, u64::from(index)), &mut packet[RTCP_CLEAR_LEN..len]);
                packet[len..len + 4].copy_from_slice(&word);
                let (text, rest) = packet.split_at_mut(len + 4);
                rest[..tag_len].copy_from_slice(&hmac_tag(&cm.authentication, text, &[]));
            }
        }
        Ok(())
    }

    /// The index word of a sealed compound, which the caller knows to be at least `RTCP_CLEAR_LEN + tag_len + 4` long.
    pub(super) fn rtcp_index_word(&self, packet: &[u8]) -> u32 {
        let end = match self {
            Cipher::Gcm { .. } => packet.len(),
            Cipher::Cm(_) => packet.len() - self.tag_len(),
        };
        let mut word = [0; 4];
        word.copy_from_slice(&packet[end - 4..end]);
        u32::from_be_bytes(word)
    }

    /// Checks and decrypts the compound `packet`, tag and index word included, in place; same vouching. Returns its clear
    /// length. The content of a refused packet is undefined.
    pub(super) fn open_rtcp(&self, ssrc: u32, index: u32, packet: &mut [u8]) -> Result<usize, Refused> {
        let len = packet.len() - self.tag_len() - 4;
        match self {
            Cipher::Gcm { key, salt } => {
                let (text, rest) = packet.split_at_mut(len);
                let (header, payload) = text.split_at_mut(RTCP_CLEAR_LEN);
                let aad = gcm_rtcp_aad(header, (index | ENCRYPTED_BIT).to_be_bytes());
                let nonce = Nonce::assume_unique_for_key(gcm_rtcp_nonce(salt, ssrc, index));
                let tag = &rest[..self.tag_len()];
                key.open_in_place_separate_tag(nonce, Aad::from(aad), tag, payload).map_err(|_| Refused)?;
            }
            Cipher::Cm(cm) => {
                let (text, tag) = packet.split_at_mut(len + 4);
                verify_slices_are_equal(&hmac_tag(&cm.authentication, text, &[]), tag).map_err(|_| Refused)?;
                apply_counter_mode(&cm.key, cm_iv(&cm.salt, ssrc, u64::from(index)), &mut text[RTCP_CLEAR_LEN..len]);
            }
        }
        Ok(len)
    }
}

/// RFC 7714 §8.1: two zero bytes, the SSRC and the 48-bit index, XORed with the salt.
fn gcm_rtp_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> [u8; 12] {
    let mut nonce = *salt;
    xor(&mut nonce[2..6], &ssrc.to_be_bytes());
    xor(&mut nonce[6..12], &index.to_be_bytes()[2..]);
    nonce
}

/// RFC 7714 §9.1: two zero bytes, the SSRC, two zero bytes and the 31-bit index, XORed with the salt.
fn gcm_rtcp_nonce(salt: &[u8; 12], ssrc: u32, index: u32) -> [u8; 12] {
    let mut nonce = *salt;
    xor(&mut nonce[2..6], &ssrc.to_be_bytes());
    xor(&mut nonce[8..12], &index.to_be_bytes());
    nonce
}

/// RFC 7714 §9.2: the clear header and the index word.
fn gcm_rtcp_aad(header: &[u8], word: [u8; 4]) -> [u8; RTCP_CLEAR_LEN + 4] {
    let mut aad = [0; RTCP_CLEAR_LEN + 4];
    aad[..RTCP_CLEAR_LEN].copy_from_slice(header);
    aad[RTCP_CLEAR_LEN..].copy_from_slice(&word);
    aad
}

/// RFC 3711 §4.1.1: (salt << 16) XOR (SSRC << 64) XOR (index << 16).
fn cm_iv(salt: &[u8; 14], ssrc: u32, index: u64) -> [u8; 16] {
    let mut iv = [0; 16];
    iv[..14].copy_from_slice(salt);
    xor(&mut iv[4..8], &ssrc.to_be_bytes());
    xor(&mut iv[8..14], &index.to_be_bytes()[2..]);
    iv
}

/// The rollover counter, which HMAC-SHA1 covers although it isn't sent (RFC 3711 §4.2).
fn rollover(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

/// HMAC-SHA1 cut to 80 bits (RFC 3711 §4.2.1).
fn hmac_tag(key: &hmac::Key, text: &[u8], suffix: &[u8]) -> [u8; 10] {
    let mut context = hmac::Context::with_key(key);
    context.update(text);
    context.update(suffix);
    let mut tag = [0; 10];
    tag.copy_from_slice(&context.sign().as_ref()[..10]);
    tag
}

fn xor(bytes: &mut [u8], with: &[u8]) {
    for (byte, with) in bytes.iter_mut().zip(with) {
        *byte ^= with;
    }
}
