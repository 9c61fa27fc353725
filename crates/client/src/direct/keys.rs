//! The SRTP keys of a peer connection of `rtc`, which exports them from DTLS for itself and has no way to ask for them.
//!
//! All its cryptography goes through a provider that the application may supply. This one is `aws-lc-rs`'s and notes what the key derivation of
//! SRTP (RFC 3711 §4.3) is given: the master key, and in its first block, that of label 0, the master salt. The connection derives the keys of
//! its own direction first.

use std::sync::{Mutex, OnceLock, PoisonError};

use rtc::crypto::providers::AwsLcRsProvider;
use rtc::crypto::{
    ActiveKeyExchange, AeadAlgorithm, AeadCipher, BlockCipherAlgorithm, CbcAlgorithm, CbcCipher, CryptoAlgorithm, CryptoError,
    HashAlgorithm, HmacAlgorithm, KeyExchangeAlgorithm, Mac, PublicKey, RTCCrypto, RTCCryptoProvider, RTCRandom, SignatureScheme,
    SigningKey, StreamCipher, StreamCipherAlgorithm,
};
use switchyard_rtp::srtp::{MasterKey, Profile, SrtpKeys};

/// `aws-lc-rs`, listened to.
pub(super) struct KeyTap {
    provider: AwsLcRsProvider,
    /// Master keys in the order of derivation.
    noted: Mutex<Vec<MasterKey>>,
    keys: OnceLock<SrtpKeys>,
}

impl KeyTap {
    pub(super) fn new() -> Self {
        Self { provider: AwsLcRsProvider::new(), noted: Mutex::default(), keys: OnceLock::new() }
    }

    /// The keys, once the handshake is done.
    pub(super) fn keys(&self) -> Option<&SrtpKeys> {
        self.keys.get()
    }

    /// A cipher is made, which says of which profile the keys are.
    fn conclude(&self, profile: Profile) {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if let [local, remote] = &noted[..] {
            let _ = self.keys.set(SrtpKeys { profile, local: local.clone(), remote: remote.clone() });
        }
    }
}

impl RTCCryptoProvider for KeyTap {
    fn name(&self) -> &'static str {
        self.provider.name()
    }

    fn crypto(&self) -> &dyn RTCCrypto {
        self
    }

    fn random(&self) -> &dyn RTCRandom {
        self.provider.random()
    }
}

impl RTCCrypto for KeyTap {
    fn block_encrypt(&self, algorithm: BlockCipherAlgorithm, key: &[u8], block: &mut [u8]) -> Result<(), CryptoError> {
        if let (Ok(key), Some(salt)) = (key.try_into(), block.first_chunk()) {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            if noted.len() < 2 && !noted.iter().any(|known| known.key == key) {
                noted.push(MasterKey { key, salt: *salt });
            }
        }
        self.provider.crypto().block_encrypt(algorithm, key, block)
    }

    fn new_aead(&self, algorithm: AeadAlgorithm, key: &[u8]) -> Result<Box<dyn AeadCipher>, CryptoError> {
        self.conclude(Profile::AeadAes128Gcm);
        self.provider.crypto().new_aead(algorithm, key)
    }

    fn new_stream_cipher(&self, algorithm: StreamCipherAlgorithm, key: &[u8]) -> Result<Box<dyn StreamCipher>, CryptoError> {
        self.conclude(Profile::Aes128CmHmacSha1_80);
        self.provider.crypto().new_stream_cipher(algorithm, key)
    }

    fn supports(&self, algorithm: CryptoAlgorithm) -> bool {
        self.provider.crypto().supports(algorithm)
    }

    fn hash(&self, algorithm: HashAlgorithm, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.provider.crypto().hash(algorithm, data)
    }

    fn new_hmac(&self, algorithm: HmacAlgorithm, key: &[u8]) -> Result<Box<dyn Mac>, CryptoError> {
        self.provider.crypto().new_hmac(algorithm, key)
    }

    fn new_cbc(&self, algorithm: CbcAlgorithm, key: &[u8]) -> Result<Box<dyn CbcCipher>, CryptoError> {
        self.provider.crypto().new_cbc(algorithm, key)
    }

    fn start_key_exchange(&self, algorithm: KeyExchangeAlgorithm) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        self.provider.crypto().start_key_exchange(algorithm)
    }

    fn generate_signing_key(&self, scheme: SignatureScheme) -> Result<std::sync::Arc<dyn SigningKey>, CryptoError> {
        self.provider.crypto().generate_signing_key(scheme)
    }

    fn import_signing_key(&self, scheme: SignatureScheme, pkcs8_der: &[u8]) -> Result<std::sync::Arc<dyn SigningKey>, CryptoError> {
        self.provider.crypto().import_signing_key(scheme, pkcs8_der)
    }

    fn verify_signature(
        &self,
        scheme: SignatureScheme,
        public_key: PublicKey<'_>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.provider.crypto().verify_signature(scheme, public_key, message, signature)
    }
}
