//! `switchyard keys` and `switchyard token`: keys and tokens from the command line.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use switchyard_access::{Algorithm, Claims, GrantClaims, Key, KeySet, Role};
use switchyard_protocol::{Source, validate_identity, validate_name, validate_room};

use super::{read_keys, unix_seconds};

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a file with a new key, readable by nobody else.
    New {
        /// The file, which must not be there yet.
        file: PathBuf,
        /// EdDSA: servers need only the public keys. HS256: one secret for whoever makes tokens and whoever checks them.
        #[arg(long, value_name = "NAME", default_value = "EdDSA")]
        algorithm: Algorithm,
    },
    /// Put a new key in front, with which tokens are made from now on. Tokens of the one before stay good until the next rotation.
    Rotate {
        /// The file.
        file: PathBuf,
        /// The new key's; by default the same as before.
        #[arg(long, value_name = "NAME")]
        algorithm: Option<Algorithm>,
        /// How many of the keys before stay.
        #[arg(long, value_name = "N", default_value_t = 1)]
        keep: usize,
    },
    /// Print the public keys: all that a server needs to check tokens.
    Public {
        /// The file.
        file: PathBuf,
    },
}

/// What a new token says.
#[derive(Debug, Args)]
pub struct TokenOptions {
    /// The file with the keys; the first that can sign does.
    #[arg(long, value_name = "FILE", env = "SWITCHYARD_ACCESS_KEYS")]
    pub keys: PathBuf,

    /// The room's id; * for every room.
    #[arg(long)]
    pub room: String,

    /// Who it is for, as the application calls them: an account's name, a mail address.
    #[arg(long, value_name = "ID")]
    pub identity: String,

    /// The name others see. Without it they choose one themselves, and may change it.
    #[arg(long)]
    pub name: Option<String>,

    /// What it permits: host (everything), speaker (to publish, receive and say something; unless it is said), listener (to receive), publisher (to publish only), server (to manage rooms by the API, and not to join).
    #[arg(long, conflicts_with = "grants")]
    pub role: Option<Role>,

    /// What it permits, one by one, in place of a role: join, subscribe, data, moderate, manage, publish (everything) or publish:camera, publish:microphone, publish:screen, publish:screen_audio.
    #[arg(long, value_name = "GRANT", value_delimiter = ',')]
    pub grants: Vec<String>,

    /// How long it is good for joining. Who has joined stays.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    pub ttl: Duration,

    /// From when on it is good: 2026-11-28T15:00:00Z. By default from now on.
    #[arg(long, value_name = "WHEN", value_parser = humantime::parse_rfc3339_weak)]
    pub not_before: Option<SystemTime>,
}

/// Does what there is to do with keys; what is to be printed.
pub fn keys(command: KeysCommand) -> anyhow::Result<String> {
    match command {
        KeysCommand::New { file, algorithm } => {
            let set = KeySet::new(new_key(algorithm)?);
            write(&file, &set).with_context(|| format!("can't make {}", file.display()))?;
            Ok(format!("{}: {}\n", file.display(), listed(&set)))
        }
        KeysCommand::Rotate { file, algorithm, keep } => {
            let mut set = read_keys(&file)?;
            let algorithm = algorithm.or(set.keys().first().map(Key::algorithm)).unwrap_or(Algorithm::EdDsa);
            set.rotate(new_key(algorithm)?, keep);
            replace(&file, &set).with_context(|| format!("can't replace {}", file.display()))?;
            Ok(format!("{}: {}\n", file.display(), listed(&set)))
        }
        KeysCommand::Public { file } => read_keys(&file)?
            .public_json()
            .ok_or_else(|| anyhow!("{} has a secret key (HS256): whoever checks its tokens needs the file itself", file.display())),
    }
}

/// A token, in a line.
pub fn token(options: TokenOptions) -> anyhow::Result<String> {
    let TokenOptions { keys, room, identity, name, role, grants, ttl, not_before } = options;
    if room != Claims::ANY_ROOM {
        validate_room(&room)?;
    }
    validate_identity(&identity)?;
    name.as_deref().map_or(Ok(()), validate_name)?;
    let now = unix_seconds();
    let not_before = not_before.map(|at| at.duration_since(UNIX_EPOCH).map_or(0, seconds));
    let expires = not_before.unwrap_or(now).saturating_add(seconds(ttl));
    if expires <= now {
        bail!("it would have expired already");
    }
    let claims = Claims {
        identity,
        name,
        room,
        role: grants.is_empty().then_some(role.unwrap_or(Role::Speaker)),
        grants: (!grants.is_empty()).then(|| granted(&grants)).transpose()?,
        not_before,
        expires,
        issued_at: Some(now),
        id: Some(format!("{:016x}", getrandom::u64().context("no randomness")?)),
    };
    let token = read_keys(&keys)?.sign(&claims).with_context(|| format!("{}", keys.display()))?;
    Ok(token + "\n")
}

/// Grants by their names.
fn granted(names: &[String]) -> anyhow::Result<GrantClaims> {
    let mut grants = GrantClaims::default();
    for name in names {
        match name.split_once(':') {
            None if name == "join" => grants.join = true,
            None if name == "subscribe" => grants.subscribe = true,
            None if name == "data" => grants.data = true,
            None if name == "moderate" => grants.moderate = true,
            None if name == "manage" => grants.manage = true,
            None if name == "publish" => grants.publish = Source::ALL.to_vec(),
            Some(("publish", source)) => {
                let known = |known: &Source| serde_json::to_value(known).is_ok_and(|known| known == *source);
                let source =
                    Source::ALL.into_iter().find(known).ok_or_else(|| anyhow!("nothing is called {source:?} that could be published"))?;
                if !grants.publish.contains(&source) {
                    grants.publish.push(source);
                }
            }
            _ => bail!("{name:?} is no grant: join, subscribe, data, moderate, manage, publish, publish:SOURCE"),
        }
    }
    Ok(grants)
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// A key whose id says when it was made.
fn new_key(algorithm: Algorithm) -> anyhow::Result<Key> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).context("no randomness")?;
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let day = now.get(..10).unwrap_or_default();
    Ok(Key::new(algorithm, format!("{day}-{:08x}", getrandom::u32().context("no randomness")?), random))
}

fn listed(set: &KeySet) -> String {
    let keys = set.keys().iter().map(|key| format!("{} ({})", key.id(), key.algorithm().name()));
    keys.collect::<Vec<_>>().join(", ")
}

/// Writes a file that was not there, for its owner only.
fn write(file: &Path, set: &KeySet) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut written: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    written.write_all(set.to_json().as_bytes())?;
    written.sync_all()
}

/// Puts another file in a file's place, so that a server that reads it meanwhile finds either.
fn replace(file: &Path, set: &KeySet) -> std::io::Result<()> {
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    write(Path::new(&new), set)?;
    fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_what_is_named_and_nothing_else() {
        let grants = |names: &[&str]| granted(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        let listens = GrantClaims { join: true, subscribe: true, ..GrantClaims::default() };
        assert_eq!(grants(&["join", "subscribe"]).unwrap(), listens);
        let shows = GrantClaims { publish: vec![Source::Screen, Source::ScreenAudio], ..GrantClaims::default() };
        assert_eq!(grants(&["publish:screen", "publish:screen_audio", "publish:screen"]).unwrap(), shows);
        let all = grants(&["join", "publish", "subscribe", "data", "moderate", "manage"]).unwrap();
        assert_eq!(all, GrantClaims { manage: true, ..Role::Host.grants() });
        for wrong in ["", "Join", "publish:everything", "publish:", "subscribe:camera", "*"] {
            assert!(grants(&["join", wrong]).is_err(), "{wrong:?}");
        }
    }
}
