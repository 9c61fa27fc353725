//! Where a page comes from (RFC 6454), held against where it may come from.

use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName, header};

/// A scheme, a host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    /// In lower case, IPv6 addresses in brackets.
    host: String,
    port: u16,
}

/// No origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an origin is http://HOST, https://HOST, or either with :PORT, and nothing after it")]
pub struct NoOrigin;

impl FromStr for Origin {
    type Err = NoOrigin;

    fn from_str(text: &str) -> Result<Self, NoOrigin> {
        let (scheme, authority) = text.split_once("://").ok_or(NoOrigin)?;
        let scheme = scheme.to_ascii_lowercase();
        let default = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return Err(NoOrigin),
        };
        let (host, port) = host_and_port(authority).ok_or(NoOrigin)?;
        Ok(Self { scheme, host, port: port.unwrap_or(default) })
    }
}

/// Whether a request's origin, if it has one, is the host that it was sent to, or one of `allowed`. The scheme is not looked at in the former case: a proxy that
/// ends TLS hides it, and pages over plain HTTP are of use on loopback only.
pub fn is_welcome(headers: &HeaderMap, allowed: &[Origin]) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let origin = match (origins.next(), origins.next()) {
        (None, _) => return true,
        (Some(origin), None) => origin.to_str().ok().and_then(|origin| origin.parse::<Origin>().ok()),
        (Some(_), Some(_)) => None,
    };
    // Also `null`, of a page from a file or in a sandbox.
    let Some(origin) = origin else { return false };
    is_own(&origin, headers, header::HOST) || allowed.contains(&origin)
}

fn is_own(origin: &Origin, headers: &HeaderMap, name: HeaderName) -> bool {
    let own = headers.get(name).and_then(|host| host.to_str().ok()).and_then(host_and_port);
    own.is_some_and(|(host, port)| {
        let port = port.unwrap_or(if origin.scheme == "https" { 443 } else { 80 });
        (host, port) == (origin.host.clone(), origin.port)
    })
}

fn host_and_port(authority: &str) -> Option<(String, Option<u16>)> {
    let end = if authority.starts_with('[') { authority.find(']')? + 1 } else { authority.find(':').unwrap_or(authority.len()) };
    let (host, rest) = authority.split_at(end);
    let port = match rest.strip_prefix(':') {
        Some(port) => Some(port.parse().ok()?),
        None if rest.is_empty() => None,
        None => return None,
    };
    let is_host = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte));
    is_host.then(|| (host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn pages_of_the_server_itself_and_of_who_is_allowed_are_welcome() {
        let allowed: Vec<Origin> = ["https://meet.example", "http://localhost:5173"].map(|origin| origin.parse().expect(origin)).into();
        for (host, origin, welcome) in [
            ("room.example", None, true),
            ("room.example", Some("https://room.example"), true),
            ("room.example", Some("http://room.example"), true),
            ("room.example:443", Some("https://room.example"), true),
            ("Room.Example", Some("https://room.example"), true),
            ("room.example:8443", Some("https://room.example:8443"), true),
            ("room.example", Some("https://room.example:8443"), false),
            ("room.example:8080", Some("http://room.example"), false),
            ("127.0.0.1:8080", Some("http://127.0.0.1:8080"), true),
            ("[::1]:8080", Some("http://[::1]:8080"), true),
            ("127.0.0.1:8080", Some("http://localhost:8080"), false),
            ("room.example", Some("https://meet.example"), true),
            ("room.example", Some("https://meet.example:443"), true),
            ("room.example", Some("http://meet.example"), false),
            ("room.example", Some("http://localhost:5173"), true),
            ("room.example", Some("https://evil.example"), false),
            ("room.example", Some("https://room.example.evil.example"), false),
            ("room.example", Some("https://room.example@evil.example"), false),
            ("room.example", Some("https://evil.example/room.example"), false),
            ("room.example", Some("file://"), false),
            ("room.example", Some("null"), false),
            ("room.example", Some(""), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            origin.map(|origin| headers.insert(header::ORIGIN, HeaderValue::from_static(origin)));
            assert_eq!(is_welcome(&headers, &allowed), welcome, "{origin:?} to {host}");
        }
        let mut twice = HeaderMap::new();
        twice.insert(header::HOST, HeaderValue::from_static("room.example"));
        for _ in 0..2 {
            twice.append(header::ORIGIN, HeaderValue::from_static("https://room.example"));
        }
        assert!(!is_welcome(&twice, &allowed));
    }

    #[test]
    fn what_is_no_origin_can_not_be_allowed() {
        for text in
            ["", "example.org", "*", "https://", "https://example.org/", "https://a b", "wss://example.org", "https://example.org:x"]
        {
            assert_eq!(text.parse::<Origin>(), Err(NoOrigin), "{text}");
        }
    }
}
