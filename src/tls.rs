//! TLS on HTTP's port: which certificate is shown, where it comes from (files, or an ACME server), and its exchange while the server runs.

mod acme;
mod store;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use x509_parser::extensions::GeneralName;

/// The application protocol of ACME's challenge (RFC 8737).
const ACME_TLS: &[u8] = b"acme-tls/1";
/// What else is spoken: HTTP, and STUN and TURN (RFC 7443).
const PROTOCOLS: [&[u8]; 3] = [b"http/1.1", b"stun.turn", ACME_TLS];

/// How the server comes by a certificate.
#[derive(Clone, Debug, Args)]
#[group(id = "tls")]
pub struct Options {
    /// The server's certificate and those between it and a known authority (PEM): HTTPS instead of HTTP at --http. SIGHUP reads it again.
    #[arg(long, value_name = "FILE", env = "SWITCHYARD_TLS_CERTIFICATE", help_heading = "TLS")]
    pub tls_certificate: Option<PathBuf>,

    /// The certificate's private key (PEM), which nobody else should be able to read.
    #[arg(long, value_name = "FILE", env = "SWITCHYARD_TLS_KEY", help_heading = "TLS")]
    pub tls_key: Option<PathBuf>,

    /// A name under which clients reach this server: HTTPS at --http, with a certificate that an ACME server (Let's Encrypt) gives and renews. Its terms are agreed to
    /// by this. May be repeated.
    #[arg(long, value_name = "NAME", env = "SWITCHYARD_ACME_DOMAIN", value_delimiter = ',', value_parser = domain, help_heading = "TLS")]
    pub acme_domain: Vec<String>,

    /// A directory in which the ACME account and the certificate outlive a restart.
    #[arg(long, value_name = "DIRECTORY", env = "SWITCHYARD_ACME_STORE", help_heading = "TLS")]
    pub acme_store: Option<PathBuf>,

    /// Where the ACME server may write to when something is wrong with the certificate.
    #[arg(long, value_name = "ADDRESS", env = "SWITCHYARD_ACME_EMAIL", help_heading = "TLS")]
    pub acme_email: Option<String>,

    /// The ACME server's directory. The default is Let's Encrypt's.
    #[arg(long, value_name = "URL", env = "SWITCHYARD_ACME_DIRECTORY", default_value = acme::LETS_ENCRYPT, value_parser = directory)]
    #[arg(help_heading = "TLS")]
    pub acme_directory: String,

    /// The authority of the ACME server's own certificate (PEM), if the system doesn't know it: for one of your own.
    #[arg(long, value_name = "FILE", env = "SWITCHYARD_ACME_CA", help_heading = "TLS")]
    pub acme_ca: Option<PathBuf>,

    /// How the ACME server sees that the names are this server's: by TLS on port 443, which --http has to be reached at; or by HTTP on port 80, for --redirect-http.
    #[arg(long, value_name = "CHALLENGE", env = "SWITCHYARD_ACME_CHALLENGE", default_value = "tls-alpn-01", help_heading = "TLS")]
    pub acme_challenge: Challenge,

    /// Where HTTP without TLS listens besides, ADDRESS:PORT: it sends browsers on to HTTPS. Default: nowhere; HTTP at --http is sent on as well.
    #[arg(long, value_name = "ADDRESS:PORT", env = "SWITCHYARD_REDIRECT_HTTP", help_heading = "TLS")]
    pub redirect_http: Option<SocketAddr>,
}

/// How an ACME server sees that a name is this server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Challenge {
    /// By TLS (RFC 8737).
    #[value(name = "tls-alpn-01")]
    TlsAlpn01,
    /// By HTTP (RFC 8555 §8.3).
    #[value(name = "http-01")]
    Http01,
}

impl Options {
    /// Says what contradicts itself.
    pub fn check(&self) -> Result<(), &'static str> {
        let acme = !self.acme_domain.is_empty();
        match (&self.tls_certificate, &self.tls_key) {
            (Some(_), None) => return Err("tls_certificate wants a tls_key"),
            (None, Some(_)) => return Err("tls_key is of no use without tls_certificate"),
            (Some(_), Some(_)) if acme => return Err("tls_certificate and acme_domain are two ways to have a certificate: choose one"),
            (None, None) if !acme && self.redirect_http.is_some() => {
                return Err("redirect_http is of no use without tls_certificate or acme_domain: there is no HTTPS to send anybody on to");
            }
            _ => {}
        }
        if acme && self.acme_store.is_none() {
            return Err(
                "acme_domain wants an acme_store: without it every restart needs another certificate, and Let's Encrypt gives five a week",
            );
        }
        if !acme && (self.acme_store.is_some() || self.acme_email.is_some() || self.acme_ca.is_some()) {
            return Err("acme_store, acme_email and acme_ca are of no use without acme_domain");
        }
        if acme && self.acme_challenge == Challenge::Http01 && self.redirect_http.is_none() {
            return Err("acme_challenge http-01 wants redirect_http: the ACME server asks on port 80");
        }
        Ok(())
    }
}

/// Where a certificate comes from.
#[derive(Debug)]
enum Source {
    Files { certificate: PathBuf, key: PathBuf },
    Acme,
}

/// The TLS of HTTP's port. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    source: Arc<Source>,
}

impl Tls {
    /// TLS as the options say, if they say any. What ACME has stored is used at once, and what it hasn't is asked for until `stop`.
    pub fn start(options: &Options, stop: watch::Receiver<bool>) -> anyhow::Result<Option<Self>> {
        let certificates = Arc::new(Certificates::new());
        let source = match (&options.tls_certificate, &options.tls_key) {
            (Some(certificate), Some(key)) => Source::Files { certificate: certificate.clone(), key: key.clone() },
            _ if !options.acme_domain.is_empty() => Source::Acme,
            _ => return Ok(None),
        };
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&certificates.provider))
            .with_safe_default_protocol_versions()
            .context("TLS")?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificates) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        let tls = Self { config: Arc::new(config), certificates, source: Arc::new(source) };
        match *tls.source {
            Source::Files { .. } => tls.reload()?,
            Source::Acme => acme::start(options, Arc::clone(&tls.certificates), stop)?,
        }
        Ok(Some(tls))
    }

    /// Reads the certificate again, where it is in files. What is wrong leaves all as it is.
    pub fn reload(&self) -> anyhow::Result<()> {
        let Source::Files { certificate, key } = &*self.source else { return Ok(()) };
        let chain = read(certificate, "tls_certificate")?;
        crate::access::warn_if_readable_by_all(key, "the TLS key");
        let secret = read(key, "tls_key")?;
        self.certificates.show(&chain, &secret).with_context(|| format!("{} with {}", certificate.display(), key.display()))
    }

    /// What takes connections over.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// What is to be answered to an ACME server that asks for a token by HTTP.
    pub fn answer(&self, token: &str) -> Option<String> {
        lock(&self.certificates.answers).get(token).cloned()
    }

    /// Until when the certificate is valid; `None` while there is none.
    pub fn valid_until(&self) -> Option<SystemTime> {
        self.certificates.validity().map(|(_, until)| until)
    }
}

fn read(file: &Path, key: &str) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("{key} {}", file.display()))
}

/// What is shown to whom.
#[derive(Debug)]
struct Certificates {
    provider: Arc<CryptoProvider>,
    current: RwLock<Option<Current>>,
    /// To ACME servers, by the name that they ask for.
    challenges: Mutex<HashMap<String, Arc<CertifiedKey>>>,
    /// The same by HTTP, by token.
    answers: Mutex<HashMap<String, String>>,
}

#[derive(Debug)]
struct Current {
    key: Arc<CertifiedKey>,
    /// From when until when.
    validity: (SystemTime, SystemTime),
}

impl Certificates {
    fn new() -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        Self { provider, current: RwLock::default(), challenges: Mutex::default(), answers: Mutex::default() }
    }

    /// From when until when what is shown is valid.
    fn validity(&self) -> Option<(SystemTime, SystemTime)> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|current| current.validity)
    }

    /// Shows another certificate from now on. `chain` and `key`: PEM.
    fn show(&self, chain: &[u8], key: &[u8]) -> anyhow::Result<()> {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().context("the certificate is no PEM")?;
        ensure!(!chain.is_empty(), "there is no certificate in it (PEM begins with -----BEGIN CERTIFICATE-----)");
        let key = PrivateKeyDer::from_pem_slice(key).context("there is no private key in it (PEM, as in -----BEGIN PRIVATE KEY-----)")?;
        let validity = validity(&chain[0])?;
        let key = CertifiedKey::from_der(chain, key, &self.provider).context("the key is not the certificate's")?;
        if validity.1 < SystemTime::now() {
            tracing::warn!(expired = %humantime::format_rfc3339_seconds(validity.1), "the TLS certificate has expired: browsers refuse it");
        }
        let current = Current { key: Arc::new(key), validity };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(current);
        tracing::info!(until = %humantime::format_rfc3339_seconds(validity.1), "the TLS certificate");
        Ok(())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if hello.alpn().is_some_and(|mut protocols| protocols.next() == Some(ACME_TLS)) {
            return lock(&self.challenges).get(hello.server_name()?).cloned();
        }
        self.current.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|current| Arc::clone(&current.key))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From when until when a certificate is valid.
fn validity(certificate: &CertificateDer<'_>) -> anyhow::Result<(SystemTime, SystemTime)> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).context("the certificate can't be read")?;
    let at = |time: x509_parser::time::ASN1Time| UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default());
    let validity = certificate.validity();
    Ok((at(validity.not_before), at(validity.not_after)))
}

/// The names that a certificate is for.
fn names(certificate: &CertificateDer<'_>) -> Option<Vec<String>> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let dns = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    Some(dns.collect())
}

/// A name as DNS has them. No address, and no `*`: HTTP and TLS don't prove those.
fn domain(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        !label.is_empty() && label.len() <= 63 && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if text.len() > 253 || !text.split('.').all(label) || text.parse::<std::net::IpAddr>().is_ok() {
        return Err("it is a name such as meet.example.org; no address, no port, and no *".into());
    }
    Ok(text.to_ascii_lowercase())
}

fn directory(text: &str) -> Result<String, String> {
    if text.starts_with("https://") { Ok(text.to_owned()) } else { Err("it begins with https://".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_dns() {
        assert_eq!(domain("Meet.Example.org").as_deref(), Ok("meet.example.org"));
        for wrong in ["", "a..b", "*.example.org", "192.0.2.7", "a.example:443", "https://a.example", &"a".repeat(64)] {
            assert!(domain(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_certificate_or_not_the_keys_is_refused_and_leaves_the_last_one() {
        let pair = || rcgen::generate_simple_self_signed(vec!["a.example".into()]).expect("a certificate");
        let (one, other) = (pair(), pair());
        let certificates = Certificates::new();
        let key = one.signing_key.serialize_pem();
        certificates.show(one.cert.pem().as_bytes(), key.as_bytes()).expect("right");
        let shown = || Arc::clone(&certificates.current.read().unwrap().as_ref().expect("one is shown").key);
        let first = shown();
        for (chain, key, why) in [
            (String::new(), key.clone(), "no certificate in it"),
            (one.cert.pem(), String::new(), "no private key in it"),
            (other.cert.pem(), key.clone(), "not the certificate's"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into(), key.clone(), "can't be read"),
        ] {
            let error = certificates.show(chain.as_bytes(), key.as_bytes()).expect_err(why);
            assert!(format!("{error:#}").contains(why), "{error:#}");
        }
        assert!(Arc::ptr_eq(&first, &shown()));
        certificates.show(other.cert.pem().as_bytes(), other.signing_key.serialize_pem().as_bytes()).expect("right");
        assert!(!Arc::ptr_eq(&first, &shown()));
    }
}
