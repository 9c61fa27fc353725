//! TURN servers that clients are told of, with credentials that are good for a while: coturn's `use-auth-secret`, which others know as well
//! (draft-uberti-behave-turn-rest).

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use switchyard_protocol::IceServer;

/// Bytes of a secret at least: with fewer, credentials can be forged by whoever has seen one.
const LEAST_SECRET: usize = 16;
/// Bytes of its file at most.
const MAX_SECRET: usize = 4096;

/// The TURN servers and how their credentials are made.
#[derive(Debug, Default)]
pub struct Turn {
    urls: Vec<String>,
    /// Absent where there are no servers.
    secret: Option<hmac::Key>,
    lifetime: Duration,
}

impl Turn {
    /// No servers without a secret; else those at `urls`, which share the secret in a file (without white space around it) and take credentials for `lifetime`.
    pub fn new(urls: &[String], secret: Option<&Path>, lifetime: Duration) -> anyhow::Result<Self> {
        let Some(file) = secret else { return Ok(Self::default()) };
        crate::access::warn_if_readable_by_all(file, "the TURN secret");
        let secret = std::fs::read_to_string(file).with_context(|| format!("turn_secret_file {}", file.display()))?;
        let secret = secret.trim();
        ensure!(
            (LEAST_SECRET..=MAX_SECRET).contains(&secret.len()),
            "turn_secret_file {}: a secret has {LEAST_SECRET} to {MAX_SECRET} characters, not {}; `openssl rand -hex 32` makes one",
            file.display(),
            secret.len()
        );
        // SHA-1 is what TURN servers expect. Nothing is known against it in an HMAC (RFC 6194).
        let secret = Some(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes()));
        Ok(Self { urls: urls.to_vec(), secret, lifetime })
    }

    /// For `RTCConfiguration.iceServers` of `user`; credentials that are good from now on.
    pub fn ice_servers(&self, user: u32) -> Vec<IceServer> {
        self.at(SystemTime::now(), user).into_iter().collect()
    }

    fn at(&self, now: SystemTime, user: u32) -> Option<IceServer> {
        let secret = self.secret.as_ref()?;
        let expires = (now + self.lifetime).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let username = format!("{expires}:{user}");
        let credential = BASE64_STANDARD.encode(hmac::sign(secret, username.as_bytes()));
        Some(IceServer { urls: self.urls.clone(), username: Some(username), credential: Some(credential) })
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
        let secret = Some(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"north-of-the-wall-42"));
        let turn = Turn { urls: vec!["turn:192.0.2.1".into()], secret, lifetime: Duration::from_secs(600) };
        let server = turn.at(UNIX_EPOCH + Duration::from_secs(1_796_000_000), 7).expect("a server");
        assert_eq!(server.username.as_deref(), Some("1796000600:7"));
        // printf 1796000600:7 | openssl dgst -sha1 -hmac north-of-the-wall-42 -binary | base64
        assert_eq!(server.credential.as_deref(), Some("2dKXEtyCl5MdGtuTZG14aev/E9o="));
        assert!(Turn::default().ice_servers(7).is_empty());
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
    fn a_secret_that_is_none_is_refused() {
        let lifetime = Duration::from_secs(1);
        let error = Turn::new(&["turn:a".into()], Some(Path::new("/nowhere")), lifetime).unwrap_err();
        assert!(format!("{error:#}").contains("/nowhere"), "{error:#}");
        let short = std::env::temp_dir().join(format!("switchyard-turn-{}", std::process::id()));
        std::fs::write(&short, "short\n").unwrap();
        let error = Turn::new(&["turn:a".into()], Some(&short), lifetime).unwrap_err();
        std::fs::remove_file(&short).unwrap();
        assert!(format!("{error:#}").contains("not 5"), "{error:#}");
    }
}
