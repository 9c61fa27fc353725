//! What of ACME outlives a restart: the account, and the certificate with its key. Files in a directory that nobody else can read.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use instant_acme::AccountCredentials;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

const ACCOUNT: &str = "account.json";
/// The key and the chain in one, so that they always belong together.
const CERTIFICATE: &str = "certificate.pem";

/// A directory for one ACME server.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// Below `root`, for the ACME server with this directory. Fails if nothing can be written to it.
    pub fn open(root: &Path, acme_directory: &str) -> anyhow::Result<Self> {
        // Staging's certificates are not to be taken for others.
        let name: String = acme_directory
            .trim_start_matches("https://")
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' })
            .collect();
        let store = Self { directory: root.join(name) };
        let failed = || format!("acme_store {}", root.display());
        DirBuilder::new().recursive(true).mode(0o700).create(&store.directory).with_context(failed)?;
        store.write("probe", b"").with_context(failed)?;
        fs::remove_file(store.directory.join("probe")).with_context(failed)?;
        Ok(store)
    }

    /// The account, if there is one that can be read.
    pub fn account(&self) -> Option<AccountCredentials> {
        let text = fs::read(self.directory.join(ACCOUNT)).ok()?;
        serde_json::from_slice(&text)
            .inspect_err(|error| tracing::warn!(%error, "the stored ACME account can't be read; there will be another"))
            .ok()
    }

    pub fn set_account(&self, credentials: &AccountCredentials) -> anyhow::Result<()> {
        self.write(ACCOUNT, &serde_json::to_vec(credentials).context("the ACME account")?)
    }

    /// The ACME server knows it no longer.
    pub fn forget_account(&self) {
        let _ = fs::remove_file(self.directory.join(ACCOUNT));
    }

    /// The key and the chain (PEM), if it is a certificate for these names, and no others.
    pub fn certificate(&self, names: &[String]) -> Option<Vec<u8>> {
        let both = fs::read(self.directory.join(CERTIFICATE)).ok()?;
        let first = CertificateDer::pem_slice_iter(&both).next()?.ok()?;
        let (mut stored, mut wanted) = (super::names(&first)?, names.to_vec());
        stored.sort();
        wanted.sort();
        wanted.dedup();
        (stored == wanted).then_some(both)
    }

    pub fn set_certificate(&self, both: &str) -> anyhow::Result<()> {
        self.write(CERTIFICATE, both.as_bytes())
    }

    /// A file is there whole, or as it was before.
    fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let (draft, file) = (self.directory.join(format!(".{name}")), self.directory.join(name));
        let failed = || format!("can't write {}", file.display());
        // One that was left over may be anybody's to read.
        let _ = fs::remove_file(&draft);
        let mut written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).with_context(failed)?;
        written.write_all(bytes).and_then(|()| written.sync_all()).with_context(failed)?;
        fs::rename(&draft, &file).with_context(failed)
    }
}
