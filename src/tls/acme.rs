//! Certificates from an ACME server (RFC 8555): asked for, renewed when two thirds of their time are over, and asked for again at growing pauses when that fails.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow, bail};
use instant_acme::{
    Account, AuthorizationStatus, ChallengeHandle, ChallengeType, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use super::store::Store;
use super::{Certificates, Challenge, Options, lock};
use crate::signaling::stopped;

/// The directory of Let's Encrypt.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// The pause after a first failure; each further one is three times as long,
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// up to this: Let's Encrypt counts five failures an hour for a name.
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);
/// The longest time between two looks at the clock, which may have been set, or have stood still with the machine.
const LOOK: Duration = Duration::from_secs(60 * 60);
/// How long the ACME server may take to look at the challenges, and then to make a certificate.
const PATIENCE: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(120));

/// Shows what is stored, and asks for what is not; until `stop` turns true.
pub fn start(options: &Options, certificates: Arc<Certificates>, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let root = options.acme_store.as_deref().context("acme_domain wants an acme_store")?;
    let store = Store::open(root, &options.acme_directory)?;
    if let Some(stored) = store.certificate(&options.acme_domain)
        && let Err(error) = certificates.show(&stored, &stored)
    {
        tracing::warn!(error = format!("{error:#}"), "the stored certificate is of no use; there will be another");
    }
    let acme = Acme {
        names: options.acme_domain.clone(),
        email: options.acme_email.as_ref().map(|address| format!("mailto:{address}")),
        directory: options.acme_directory.clone(),
        ca: options.acme_ca.clone(),
        challenge: options.acme_challenge,
        store,
        certificates,
    };
    tokio::spawn(async move {
        tokio::select! {
            () = acme.run() => {}
            () = stopped(stop) => {}
        }
    });
    Ok(())
}

struct Acme {
    names: Vec<String>,
    email: Option<String>,
    directory: String,
    /// The authority of the ACME server's own certificate.
    ca: Option<PathBuf>,
    challenge: Challenge,
    store: Store,
    certificates: Arc<Certificates>,
}

impl Acme {
    async fn run(self) {
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(left) = self.until_renewal() {
                tokio::time::sleep(left.min(LOOK)).await;
                continue;
            }
            match self.renew().await {
                Ok(()) if self.until_renewal().is_some() => pause = FIRST_PAUSE,
                Ok(()) => {
                    tracing::warn!("the new certificate would have to be renewed already: is this machine's clock right?");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 3).min(LONGEST_PAUSE);
                }
                Err(error) => {
                    let pause_text = humantime::format_duration(pause);
                    tracing::error!(error = format!("{error:#}"), again_in = %pause_text, "no certificate from {}", self.directory);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 3).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// How long the certificate needs no successor; `None` if it does.
    fn until_renewal(&self) -> Option<Duration> {
        let (from, until) = self.certificates.validity()?;
        let renewal = from + until.duration_since(from).ok()? * 2 / 3;
        renewal.duration_since(SystemTime::now()).ok().filter(|left| !left.is_zero())
    }

    async fn renew(&self) -> anyhow::Result<()> {
        tracing::info!(names = %self.names.join(" "), "asking {} for a certificate", self.directory);
        let account = self.account().await?;
        let identifiers: Vec<Identifier> = self.names.iter().cloned().map(Identifier::Dns).collect();
        let ordered = account.new_order(&NewOrder::new(&identifiers)).await;
        if let Err(instant_acme::Error::Api(problem)) = &ordered
            && problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:accountDoesNotExist")
        {
            self.store.forget_account();
        }
        let mut order = ordered.context("the order was refused")?;
        let proven = self.prove(&mut order).await;
        lock(&self.certificates.challenges).clear();
        lock(&self.certificates.answers).clear();
        proven?;
        let key = order.finalize().await.context("the order can't be finished")?;
        let chain = order.poll_certificate(&PATIENCE).await.context("no certificate came of the order")?;
        let both = format!("{key}{chain}");
        self.certificates.show(both.as_bytes(), both.as_bytes())?;
        // What can't be stored serves all the same, until a restart.
        if let Err(error) = self.store.set_certificate(&both) {
            tracing::error!(error = format!("{error:#}"), "the certificate can't be stored");
        }
        Ok(())
    }

    async fn account(&self) -> anyhow::Result<Account> {
        let builder = match &self.ca {
            Some(file) => Account::builder_with_root(file).with_context(|| format!("acme_ca {}", file.display())),
            None => Account::builder().context("the system's certificate authorities"),
        }?;
        if let Some(credentials) = self.store.account() {
            return builder
                .from_credentials(credentials)
                .await
                .context("the stored account is of no use, or the ACME server can't be reached");
        }
        let contact: Vec<&str> = self.email.as_deref().into_iter().collect();
        let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let (account, credentials) = builder.create(&new, self.directory.clone(), None).await.context("no account at the ACME server")?;
        self.store.set_account(&credentials)?;
        Ok(account)
    }

    /// Shows the ACME server that the names are this server's.
    async fn prove(&self, order: &mut Order) -> anyhow::Result<()> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.context("an authorization")?;
            let name = authorization.identifier().to_string();
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                status => bail!("the authorization of {name} is {status:?}"),
            }
            let (kind, spelt) = match self.challenge {
                Challenge::TlsAlpn01 => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
                Challenge::Http01 => (ChallengeType::Http01, "http-01"),
            };
            let mut challenge = authorization.challenge(kind).with_context(|| format!("the ACME server has no {spelt} for {name}"))?;
            self.prepare(&name, &challenge)?;
            challenge.set_ready().await.with_context(|| format!("the challenge of {name}"))?;
        }
        match order.poll_ready(&PATIENCE).await.with_context(|| format!("{} is not shown to be this server's", self.names.join(" or ")))? {
            OrderStatus::Ready | OrderStatus::Valid | OrderStatus::Processing => Ok(()),
            _ => Err(reason(order).await),
        }
    }

    /// Has the answer ready before the ACME server asks.
    fn prepare(&self, name: &str, challenge: &ChallengeHandle<'_>) -> anyhow::Result<()> {
        let authorization = challenge.key_authorization();
        match self.challenge {
            Challenge::TlsAlpn01 => {
                let mut parameters = CertificateParams::new([name.to_owned()]).context("the challenge's certificate")?;
                parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(authorization.digest().as_ref())];
                let key = KeyPair::generate().context("the challenge's key")?;
                let certificate = parameters.self_signed(&key).context("the challenge's certificate")?;
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
                // Not `from_der`, which knows of no such extension.
                let key = self.certificates.provider.key_provider.load_private_key(key).context("the challenge's key")?;
                let shown = CertifiedKey::new(vec![certificate.der().clone()], key);
                lock(&self.certificates.challenges).insert(name.to_owned(), Arc::new(shown));
            }
            Challenge::Http01 => {
                lock(&self.certificates.answers).insert(challenge.token.clone(), authorization.as_str().to_owned());
            }
        }
        Ok(())
    }
}

/// Why the ACME server was not content.
async fn reason(order: &mut Order) -> anyhow::Error {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let name = authorization.identifier().to_string();
        // What is known of it is from before.
        let Ok(state) = authorization.refresh().await else { continue };
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            return anyhow!("{name} is not shown to be this server's: {problem}");
        }
    }
    anyhow!("the order has failed, the ACME server doesn't say why")
}
