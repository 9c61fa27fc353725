//! SRTP and SRTCP (RFC 3711, RFC 7714): keys, sealing and opening.

mod cipher;
mod kdf;
mod open;
mod seal;
#[cfg(test)]
mod tests;

pub use open::{MAX_SOURCES, OpenError, Opened, Opener};
pub use seal::{MAX_STREAMS, SealError, Sealer, StreamIndex, TooManyStreams};

/// The highest index of an RTP packet: a 32-bit rollover counter and a 16-bit sequence number (RFC 3711 §3.3.1).
pub const MAX_RTP_INDEX: u64 = (1 << 48) - 1;

/// The highest index of an SRTCP packet (RFC 3711 §3.4).
pub const MAX_RTCP_INDEX: u32 = (1 << 31) - 1;

/// A DTLS-SRTP protection profile (RFC 5764 §4.1.2, RFC 7714 §14.2) the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `SRTP_AEAD_AES_128_GCM`
    AeadAes128Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`
    Aes128CmHmacSha1_80,
}

impl Profile {
    /// The profile's number in the `use_srtp` extension.
    pub const fn id(self) -> u16 {
        match self {
            Profile::AeadAes128Gcm => 0x0007,
            Profile::Aes128CmHmacSha1_80 => 0x0001,
        }
    }

    /// Bytes of master key.
    pub const fn key_len(self) -> usize {
        16
    }

    /// Bytes of master salt.
    pub const fn salt_len(self) -> usize {
        match self {
            Profile::AeadAes128Gcm => 12,
            Profile::Aes128CmHmacSha1_80 => 14,
        }
    }

    /// Bytes by which sealing lengthens an RTP packet: the tag.
    pub const fn overhead(self) -> usize {
        match self {
            Profile::AeadAes128Gcm => 16,
            Profile::Aes128CmHmacSha1_80 => 10,
        }
    }

    /// Bytes by which sealing lengthens a compound RTCP packet: the tag and the SRTCP index.
    pub const fn rtcp_overhead(self) -> usize {
        self.overhead() + 4
    }
}

/// One direction's master key and salt.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    /// 16 bytes.
    pub key: [u8; 16],
    /// The first [`Profile::salt_len`] bytes count.
    pub salt: [u8; 14],
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// What a DTLS handshake exports for SRTP (RFC 5764 §4.2), seen from this end.
#[derive(Clone, Debug)]
pub struct SrtpKeys {
    /// The profile both directions use.
    pub profile: Profile,
    /// What this end seals with.
    pub local: MasterKey,
    /// What this end opens with.
    pub remote: MasterKey,
}
