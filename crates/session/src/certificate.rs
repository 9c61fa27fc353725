//! The server's DTLS identity, and fingerprints (RFC 8122 §5).

use std::sync::Arc;

use aws_lc_rs::digest;
use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_dtls::crypto::Certificate as DtlsCertificate;

/// The server's DTLS identity: a self-signed ECDSA P-256 certificate and its key, shared by all sessions.
pub struct Certificate {
    provider: Arc<dyn RTCCryptoProvider>,
    certificate: DtlsCertificate,
    fingerprint: String,
}

impl Certificate {
    /// Makes a new key and certificate.
    pub fn generate() -> Result<Arc<Self>, CertificateError> {
        let provider: Arc<dyn RTCCryptoProvider> = Arc::new(AwsLcRsProvider::default());
        let certificate = DtlsCertificate::generate_self_signed(["switchyard".to_owned()], provider.crypto())
            .map_err(|error| CertificateError(error.to_string()))?;
        let der = certificate.certificate.first().ok_or_else(|| CertificateError("it is empty".to_owned()))?;
        let fingerprint = Fingerprint::of(der).to_string();
        Ok(Arc::new(Self { provider, certificate, fingerprint }))
    }

    /// The certificate's SHA-256 as SDP writes it (`a=fingerprint:sha-256 …`): upper-case hex pairs joined by colons.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    pub(crate) fn provider(&self) -> Arc<dyn RTCCryptoProvider> {
        Arc::clone(&self.provider)
    }

    pub(crate) fn for_dtls(&self) -> DtlsCertificate {
        self.certificate.clone()
    }
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
