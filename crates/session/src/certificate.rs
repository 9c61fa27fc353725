//! The server's DTLS identity, and fingerprints (RFC 8122 §5).

use std::sync::Arc;

use aws_lc_rs::digest;
use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate as DtlsCertificate;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::error::Error;
use switchyard_rtp::srtp::Profile;

/// Bytes of handshake message in a fragment the server sends: with the headers (25) below 1200, also where
/// `rtc-dtls` fills a datagram with one record more than it means to.
const FRAGMENT_BYTES: usize = 1100;

/// The server's DTLS identity: a self-signed ECDSA P-256 certificate and its key, shared by all sessions.
pub struct Certificate {
    provider: Arc<dyn RTCCryptoProvider>,
    fingerprint: String,
    /// What handshakes run with that agree on AES-GCM, or on AES-CM: a copy for each session would cost it kilobytes and time.
    gcm: Arc<HandshakeConfig>,
    cm: Arc<HandshakeConfig>,
}

impl Certificate {
    /// Makes a new key and certificate.
    pub fn generate() -> Result<Arc<Self>, CertificateError> {
        let provider: Arc<dyn RTCCryptoProvider> = Arc::new(AwsLcRsProvider::default());
        let certificate = DtlsCertificate::generate_self_signed(["switchyard".to_owned()], provider.crypto())
            .map_err(|error| CertificateError(error.to_string()))?;
        let der = certificate.certificate.first().ok_or_else(|| CertificateError("it is empty".to_owned()))?;
        let fingerprint = Fingerprint::of(der).to_string();
        let config = |profile| config(&provider, &certificate, profile).map_err(|error| CertificateError(error.to_string()));
        let (gcm, cm) =
            (config(SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm)?, config(SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80)?);
        Ok(Arc::new(Self { provider, fingerprint, gcm, cm }))
    }

    /// The certificate's SHA-256 as SDP writes it (`a=fingerprint:sha-256 …`): upper-case hex pairs joined by colons.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    pub(crate) fn provider(&self) -> Arc<dyn RTCCryptoProvider> {
        Arc::clone(&self.provider)
    }

    /// What a handshake runs with that agrees on `profile`.
    pub(crate) fn config(&self, profile: Profile) -> Arc<HandshakeConfig> {
        Arc::clone(match profile {
            Profile::AeadAes128Gcm => &self.gcm,
            Profile::Aes128CmHmacSha1_80 => &self.cm,
        })
    }
}

fn config(
    provider: &Arc<dyn RTCCryptoProvider>,
    certificate: &DtlsCertificate,
    profile: SrtpProtectionProfile,
) -> Result<Arc<HandshakeConfig>, Error> {
    let config = ConfigBuilder::default()
        .with_crypto_provider(Arc::clone(provider))
        .with_certificates(vec![certificate.clone()])
        // What WebRTC requires (RFC 8827 §6.5) and its usual companion; both add 37 bytes at most to a record.
        .with_cipher_suites(vec![
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256,
        ])
        .with_srtp_protection_profiles(vec![profile])
        .with_client_auth(ClientAuthType::RequireAnyClientCert)
        // Certificates are self-signed: the fingerprint decides, not a chain. Sessions compare it before the certificate is handed on, and
        // again before the keys are used.
        .with_insecure_skip_verify(true)
        .with_extended_master_secret(ExtendedMasterSecretType::Require)
        .with_mtu(FRAGMENT_BYTES)
        .build(false, None)?;
    Ok(Arc::new(config))
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Certificate").field(&self.fingerprint).finish()
    }
}

/// Why a certificate could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("can't make a self-signed certificate: {0}")]
pub struct CertificateError(String);

/// A certificate's SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn of(der: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
        Self(bytes)
    }

    /// Reads 32 hex pairs joined by colons, in either case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next()?;
            if pair.len() != 2 || !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        pairs.next().is_none().then_some(Self(bytes))
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_reads_back_in_either_case() {
        let certificate = Certificate::generate().expect("a certificate");
        let text = certificate.fingerprint();
        assert_eq!(text.len(), 32 * 3 - 1);
        assert_eq!(Fingerprint::parse(text).map(|it| it.to_string()).as_deref(), Some(text));
        assert_eq!(Fingerprint::parse(&text.to_lowercase()), Fingerprint::parse(text));
    }

    #[test]
    fn what_is_no_sha_256_is_refused() {
        let good = Fingerprint::of(b"").to_string();
        for bad in [String::new(), good.replace(':', ""), format!("{good}:00"), good[3..].to_owned(), good.replacen(&good[..2], "+1", 1)] {
            assert_eq!(Fingerprint::parse(&bad), None, "{bad}");
        }
    }
}
