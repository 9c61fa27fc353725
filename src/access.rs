//! Access control: whose tokens are good here, and which pages may open WebSockets.
//!
//! The keys are a file that is looked at with each join, so that a rotation needs no restart. What a token says is judged by
//! [`switchyard_access`], what it permits is held against each request by the room.

mod commands;
mod origin;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use axum::http::{HeaderMap, header};
use clap::Args;
use switchyard_access::{Key, KeySet, Managed, Refusal};
use switchyard_protocol::{ErrorCode, ProtocolError, Token};
use switchyard_room::Pass;

pub use commands::{KeysCommand, TokenOptions, keys, token};
pub use origin::Origin;

/// Who may come in.
#[derive(Debug, Args)]
pub struct Options {
    /// Access control: a file with the keys that access tokens are signed with (a JSON Web Key Set; `switchyard keys` makes one). Without a good token nobody comes
    /// in. It is read again whenever it has changed.
    #[arg(long, value_name = "FILE", env = "SWITCHYARD_ACCESS_KEYS", help_heading = "Access")]
    pub access_keys: Option<PathBuf>,

    /// A page that may open WebSockets, beside those of the server itself: https://HOST or https://HOST:PORT. May be repeated.
    #[arg(long, value_name = "ORIGIN", env = "SWITCHYARD_ALLOW_ORIGIN", value_delimiter = ',', help_heading = "Access")]
    pub allow_origin: Vec<Origin>,
}

/// Who may come in; see the module's documentation.
pub struct Access {
    /// `None`: anybody.
    keys: Option<Keys>,
    origins: Vec<Origin>,
}

struct Keys {
    file: PathBuf,
    current: Mutex<Current>,
}

struct Current {
    keys: Arc<KeySet>,
    /// Of the file as it was read, or could not be.
    stamp: Option<Stamp>,
}

/// What is different once a file was written anew.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    len: u64,
    inode: u64,
}

/// Who comes in: by which name, if the token says it, and what they may do.
pub struct Admitted {
    pub name: Option<String>,
    pub pass: Pass,
}

impl Access {
    /// Access control as it was asked for. Fails if the keys can't be read.
    pub fn new(options: &Options) -> anyhow::Result<Self> {
        let keys = options.access_keys.as_deref().map(Keys::open).transpose()?;
        Ok(Self { keys, origins: options.allow_origin.clone() })
    }

    /// Judges whether the bearer of `token` may come into `room`.
    pub fn admit(&self, token: Option<&Token>, room: &str) -> Result<Admitted, Refusal> {
        let Some(keys) = &self.keys else { return Ok(Admitted { name: None, pass: Pass::default() }) };
        let judged = token.ok_or(Refusal::Missing).and_then(|token| keys.current().verify(&token.0, room, unix_seconds()));
        let access = judged.inspect_err(|refusal| tracing::debug!(%refusal, "somebody is not let in"))?;
        let renames = access.name.is_none();
        Ok(Admitted { name: access.name, pass: Pass { identity: Some(access.identity), grants: access.grants, renames } })
    }

    /// Judges which rooms the bearer of `token` may manage; `None`: there is no access control.
    pub fn manager(&self, token: Option<&Token>) -> Result<Option<Managed>, Refusal> {
        let Some(keys) = &self.keys else { return Ok(None) };
        let judged = token.ok_or(Refusal::Missing).and_then(|token| keys.current().verify_manager(&token.0, unix_seconds()));
        judged.map(Some).inspect_err(|refusal| tracing::debug!(%refusal, "somebody may not manage rooms"))
    }

    /// Whether a page may open a WebSocket that comes with this header. Browsers name the page's origin and can't be made not to (RFC 6455 §10.2); other programs
    /// name none.
    pub fn is_welcome(&self, headers: &HeaderMap) -> bool {
        origin::is_welcome(headers, &self.origins)
    }
}

/// The token of a request's only `Authorization` field (RFC 6750 §2.1).
pub fn bearer(headers: &HeaderMap) -> Option<Token> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    let (scheme, token) = field.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Token(token.trim().to_owned()))
}

/// What a client is told.
pub fn refused(refusal: Refusal) -> ProtocolError {
    let code = if refusal.is_forbidden() { ErrorCode::Forbidden } else { ErrorCode::Unauthorized };
    ProtocolError::new(code, refusal.to_string())
}

impl Keys {
    fn open(file: &Path) -> anyhow::Result<Self> {
        let stamp = Stamp::of(file).ok();
        let keys = read_keys(file)?;
        // Public keys may be known to everybody.
        if keys.keys().iter().any(Key::can_sign) {
            warn_if_readable_by_all(file, "the access keys");
        }
        tracing::info!(keys = keys.keys().len(), "access control is on");
        Ok(Self { file: file.to_owned(), current: Mutex::new(Current { keys: Arc::new(keys), stamp }) })
    }

    /// The keys as the file has them now; those there were, while it can't be read.
    fn current(&self) -> Arc<KeySet> {
        let stamp = Stamp::of(&self.file).ok();
        // Whoever held it has at most left other good keys there.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.stamp != stamp {
            current.stamp = stamp;
            match read_keys(&self.file) {
                Ok(keys) => {
                    tracing::info!(keys = keys.keys().len(), "the access keys have changed");
                    current.keys = Arc::new(keys);
                }
                Err(error) => tracing::error!("{error:#}; the keys before it are still used"),
            }
        }
        Arc::clone(&current.keys)
    }
}

impl Stamp {
    fn of(file: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::metadata(file)?;
        Ok(Self { modified: metadata.modified()?, len: metadata.len(), inode: metadata.ino() })
    }
}

/// The keys in a file.
pub fn read_keys(file: &Path) -> anyhow::Result<KeySet> {
    let json = fs::read(file).with_context(|| format!("can't read the keys in {}", file.display()))?;
    KeySet::parse(&json).with_context(|| format!("{}", file.display()))
}

/// Whoever reads a secret or private key can make tokens, or credentials.
pub fn warn_if_readable_by_all(file: &Path, what: &str) {
    use std::os::unix::fs::PermissionsExt;
    if fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0) {
        tracing::warn!(file = %file.display(), "{what} can be read by every user of this machine: chmod o-r");
    }
}

/// Seconds since 1970-01-01 UTC, by which tokens are dated.
pub fn unix_seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
