//! TURN servers that clients are told of, this one (`relay`) among them, with credentials that are good for a while: coturn's `use-auth-secret`, which others know
//! as well (draft-uberti-behave-turn-rest).

mod relay;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use aws_lc_rs::hmac;
use axum::http::uri::Authority;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use switchyard_protocol::IceServer;

pub use relay::Relay;

/// Bytes of a secret at least: with fewer, credentials can be forged by whoever has seen one.
const LEAST_SECRET: usize = 16;
/// Bytes of its file at most.
const MAX_SECRET: usize = 4096;

/// How credentials are made: those who share the secret know them without having been told.
#[derive(Debug)]
pub struct Credentials {
    secret: hmac::Key,
    lifetime: Duration,
}

impl Credentials {
    /// Of the secret in a file (see [`find_secret`]).
    fn read(file: &Path, lifetime: Duration) -> anyhow::Result<Self> {
        crate::access::warn_if_readable_by_all(file, "the TURN secret");
        let text = std::fs::read_to_string(file).with_context(|| format!("turn_secret_file {}", file.display()))?;
        let secret = find_secret(&text).with_context(|| format!("turn_secret_file {}", file.display()))?;
        Ok(Self::new(secret.as_bytes(), lifetime))
    }

    /// Of a secret that nobody else knows.
    fn random(lifetime: Duration) -> anyhow::Result<Self> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).context("there is no randomness")?;
        Ok(Self::new(&secret, lifetime))
    }

    fn new(secret: &[u8], lifetime: Duration) -> Self {
        // SHA-1 is what TURN servers expect. Nothing is known against it in an HMAC (RFC 6194).
        Self { secret: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret), lifetime }
    }

    /// A user name and a password for `user`, good from `now` on for a while.
    fn at(&self, now: SystemTime, user: u64) -> (String, String) {
        let expires = (now + self.lifetime).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let username = format!("{expires}:{user:x}");
        let password = self.sign(&username);
        (username, password)
    }

    fn sign(&self, username: &str) -> String {
        BASE64_STANDARD.encode(hmac::sign(&self.secret, username.as_bytes()))
    }

    /// The password of a user name that is good now.
    pub fn password(&self, username: &str) -> Option<String> {
        let expires: u64 = username.split_once(':')?.0.parse().ok()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        (now < expires).then(|| self.sign(username))
    }
}

/// How clients reach this server's own TURN server.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    /// HTTP's port is HTTPS's.
    pub is_tls: bool,
    /// The port of UDP, if it listens there.
    pub udp: Option<u16>,
}

impl Own {
    /// Where it is for who came to `host` (RFC 9110 §7.2) by HTTP.
    fn urls(&self, host: &str) -> Vec<String> {
        let Ok(host) = host.parse::<Authority>() else { return Vec::new() };
        let name = host.host();
        let udp = self.udp.map(|port| format!("turn:{name}:{port}?transport=udp"));
        let (scheme, usual) = if self.is_tls { ("turns", 443) } else { ("turn", 80) };
        let tcp = format!("{scheme}:{name}:{}?transport=tcp", host.port_u16().unwrap_or(usual));
        udp.into_iter().chain([tcp]).collect()
    }
}

/// The TURN servers that clients are told of.
#[derive(Debug, Default)]
pub struct Turn {
    urls: Vec<String>,
    own: Option<Own>,
    /// Absent where there are no servers.
    credentials: Option<Arc<Credentials>>,
}

impl Turn {
    /// Those at `urls`, which share the secret in a file, and this server itself as `own`, which needs none.
    pub fn new(urls: &[String], own: Option<Own>, secret: Option<&Path>, lifetime: Duration) -> anyhow::Result<Self> {
        let credentials = match secret {
            Some(file) => Some(Credentials::read(file, lifetime)?),
            None if own.is_some() => Some(Credentials::random(lifetime)?),
            None => None,
        };
        Ok(Self { urls: urls.to_vec(), own, credentials: credentials.map(Arc::new) })
    }

    /// Whether this server is one of them.
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// What the credentials are made of, if there are any.
    pub fn credentials(&self) -> Option<&Arc<Credentials>> {
        self.credentials.as_ref()
    }

    /// For `RTCConfiguration.iceServers` of `user`, who came to `host` by HTTP; credentials that are good from now on.
    pub fn ice_servers(&self, user: u64, host: Option<&str>) -> Vec<IceServer> {
        self.at(SystemTime::now(), user, host).into_iter().collect()
    }

    fn at(&self, now: SystemTime, user: u64, host: Option<&str>) -> Option<IceServer> {
        let own = self.own.iter().zip(host).flat_map(|(own, host)| own.urls(host));
        let urls: Vec<String> = self.urls.iter().cloned().chain(own).collect();
        let (username, credential) = self.credentials.as_ref().filter(|_| !urls.is_empty())?.at(now, user);
        Some(IceServer { urls, username: Some(username), credential: Some(credential) })
    }
}

/// The secret in a file: behind `static-auth-secret=` if it is a part of coturn's configuration, or else all there is but white space around it.
fn find_secret(text: &str) -> anyhow::Result<&str> {
    let configured = text.lines().find_map(|line| line.trim_start().strip_prefix("static-auth-secret")?.trim_start().strip_prefix('='));
    let secret = configured.unwrap_or(text).trim();
    ensure!(
        (LEAST_SECRET..=MAX_SECRET).contains(&secret.len()),
        "a secret has {LEAST_SECRET} to {MAX_SECRET} characters, not {}; `switchyard turn-secret FILE` makes one",
        secret.len()
    );
    Ok(secret)
}

/// Makes a file with a new secret, unless there is one; what is to be said of it.
pub fn make_secret(file: &Path) -> anyhow::Result<String> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).context("no randomness")?;
    let secret: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    match made {
        Ok(mut made) => {
            let text = format!(
                "# Shared by coturn and switchyard; made by `switchyard turn-secret`.\nuse-auth-secret\nstatic-auth-secret={secret}\n"
            );
            made.write_all(text.as_bytes()).and_then(|()| made.sync_all()).with_context(|| format!("can't write {}", file.display()))?;
            Ok(format!("{}: a new secret\n", file.display()))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let text = std::fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
            find_secret(&text).with_context(|| format!("{}", file.display()))?;
            Ok(format!("{}: there is a secret already\n", file.display()))
        }
        Err(error) => Err(error).with_context(|| format!("can't make {}", file.display())),
    }
}

/// A URL of a TURN server (RFC 7065), as it is written.
pub fn url(text: &str) -> Result<String, String> {
    let (scheme, rest) = text.split_once(':').ok_or("it is like turn:turn.example.org:3478 or turns:turn.example.org:443?transport=tcp")?;
    let (host, query) = rest.split_once('?').map_or((rest, None), |(host, query)| (host, Some(query)));
    if !matches!(scheme, "turn" | "turns") {
        return Err("it begins with turn: or turns:".into());
    }
    if host.is_empty() || host.starts_with('/') || host.contains(|c: char| c.is_whitespace() || c == '@' || c == '/') {
        return Err("behind turn: comes a host, and perhaps a port; no slashes and no user".into());
    }
    if !matches!(query, None | Some("transport=udp" | "transport=tcp")) {
        return Err("the only option is ?transport=udp or ?transport=tcp".into());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_those_that_a_turn_server_with_the_secret_expects() {
        let credentials = Credentials::new(b"north-of-the-wall-42", Duration::from_secs(600));
        let turn = Turn { urls: vec!["turn:192.0.2.1".into()], own: None, credentials: Some(Arc::new(credentials)) };
        let server = turn.at(UNIX_EPOCH + Duration::from_secs(1_796_000_000), 7, None).expect("a server");
        assert_eq!(server.username.as_deref(), Some("1796000600:7"));
        // printf 1796000600:7 | openssl dgst -sha1 -hmac north-of-the-wall-42 -binary | base64
        assert_eq!(server.credential.as_deref(), Some("2dKXEtyCl5MdGtuTZG14aev/E9o="));
        assert!(Turn::default().ice_servers(7, Some("meet.example")).is_empty());
    }

    #[test]
    fn credentials_are_good_until_they_expire() {
        let credentials = Credentials::random(Duration::from_secs(60)).expect("randomness");
        let (username, password) = credentials.at(SystemTime::now(), 7);
        assert_eq!(credentials.password(&username), Some(password));
        let (username, _) = credentials.at(SystemTime::now() - Duration::from_secs(61), 7);
        assert_eq!(credentials.password(&username), None, "expired");
        for wrong in ["", "7", "x:7", "-1:7"] {
            assert_eq!(credentials.password(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn this_server_is_where_clients_came_to() {
        let urls = |is_tls, udp, host| Own { is_tls, udp }.urls(host);
        assert_eq!(urls(true, None, "meet.example"), ["turns:meet.example:443?transport=tcp"]);
        assert_eq!(
            urls(false, Some(3478), "[2001:db8::7]:8080"),
            ["turn:[2001:db8::7]:3478?transport=udp", "turn:[2001:db8::7]:8080?transport=tcp"]
        );
        assert_eq!(urls(true, Some(3478), "not a host"), [""; 0]);
    }

    #[test]
    fn urls_are_those_of_turn() {
        for right in ["turn:a.example", "turn:192.0.2.1:3478?transport=udp", "turns:a.example:443?transport=tcp", "turn:[2001:db8::1]:3478"]
        {
            assert_eq!(url(right).as_deref(), Ok(right));
        }
        for wrong in
            ["", "a.example", "stun:a.example", "turn:", "turn://a.example", "turn:me@a.example", "turn:a b", "turn:a?transport=sctp"]
        {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_stands_alone_or_in_a_configuration() {
        for text in [
            "north-of-the-wall\n",
            "use-auth-secret\n static-auth-secret = north-of-the-wall \nrealm=x\n",
            "static-auth-secret=north-of-the-wall",
        ] {
            assert_eq!(find_secret(text).unwrap(), "north-of-the-wall", "{text:?}");
        }
        assert!(find_secret("use-auth-secret\nstatic-auth-secret=short\n").is_err());
    }

    #[test]
    fn a_secret_is_made_once() {
        use std::os::unix::fs::PermissionsExt;
        let file = std::env::temp_dir().join(format!("switchyard-turn-secret-{}", std::process::id()));
        let (made, text) = (make_secret(&file), std::fs::read_to_string(&file).unwrap());
        let (again, kept) = (make_secret(&file), std::fs::read_to_string(&file).unwrap());
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        std::fs::write(&file, "").unwrap();
        let empty = make_secret(&file);
        std::fs::remove_file(&file).unwrap();
        assert!(made.unwrap().ends_with(": a new secret\n") && again.unwrap().ends_with(": there is a secret already\n"));
        assert_eq!((find_secret(&text).unwrap().len(), mode & 0o777), (64, 0o600));
        assert_eq!(text, kept);
        assert!(empty.is_err(), "what a stop in the middle left is no secret");
    }

    #[test]
    fn a_secret_that_is_none_is_refused() {
        let lifetime = Duration::from_secs(1);
        let error = Turn::new(&["turn:a".into()], None, Some(Path::new("/nowhere")), lifetime).unwrap_err();
        assert!(format!("{error:#}").contains("/nowhere"), "{error:#}");
        let short = std::env::temp_dir().join(format!("switchyard-turn-{}", std::process::id()));
        std::fs::write(&short, "short\n").unwrap();
        let error = Turn::new(&["turn:a".into()], None, Some(&short), lifetime).unwrap_err();
        std::fs::remove_file(&short).unwrap();
        assert!(format!("{error:#}").contains("not 5"), "{error:#}");
    }
}
