//! The syntax of a candidate (RFC 8839 §5.1). Nothing is kept of it: a lite agent sends no checks.

use std::net::IpAddr;

use crate::NegotiationError;

/// Longest candidate; browsers write about 150 bytes, the longest name adds 255.
const MAX_BYTES: usize = 1024;

/// Checks a candidate, with or without `candidate:` in front. Empty means that there are no more.
pub(crate) fn validate(candidate: &str) -> Result<(), NegotiationError> {
    let candidate = candidate.strip_prefix("a=").unwrap_or(candidate);
    if candidate.is_empty() || candidate == "end-of-candidates" {
        return Ok(());
    }
    if candidate.len() > MAX_BYTES || !is_candidate(candidate.strip_prefix("candidate:").unwrap_or(candidate)) {
        return Err(NegotiationError::Candidate);
    }
    Ok(())
}

fn is_candidate(candidate: &str) -> bool {
    let mut fields = candidate.split(' ');
    let mut next = || fields.next().unwrap_or("");
    let fixed = is_ice_chars(next(), 1, 32)
        && next().parse::<u16>().is_ok_and(|component| (1..=256).contains(&component))
        && is_token(next())
        && is_digits(next(), 10)
        && is_address(next())
        && next().parse::<u16>().is_ok()
        && next() == "typ"
        && is_token(next());
    if !fixed {
        return false;
    }
    let rest: Vec<&str> = fields.collect();
    rest.len().is_multiple_of(2)
        && rest.chunks_exact(2).all(|pair| match pair[0] {
            "raddr" => is_address(pair[1]),
            "rport" => pair[1].parse::<u16>().is_ok(),
            name => is_visible(name) && is_visible(pair[1]),
        })
}

/// `ice-char` of RFC 8839 §5.1, between `least` and `most` of them.
fn is_ice_chars(text: &str, least: usize, most: usize) -> bool {
    (least..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// A user name fragment (RFC 8839 §5.4).
pub(crate) fn is_ufrag(text: &str) -> bool {
    is_ice_chars(text, 4, 256)
}

/// A password (RFC 8839 §5.4).
pub(crate) fn is_pwd(text: &str) -> bool {
    is_ice_chars(text, 22, 256)
}

/// `token` of RFC 8866 §9.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'(' | b')' | b',' | b'/' | b':'..=b'@' | b'['..=b']'))
}

fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_digits(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A literal, or a name: browsers hide their addresses behind names under `.local`.
fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
        || (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::validate;

    #[test]
    fn candidates_of_browsers_pass() {
        for candidate in [
            "",
            "end-of-candidates",
            "a=end-of-candidates",
            "candidate:2530088836 1 udp 2113937151 6a1d3a7e-4b1c-4dbf-a42b-1f4bd2cbd0a5.local 51013 typ host generation 0 ufrag EIYk network-cost 999",
            "a=candidate:0 1 UDP 2122252543 192.168.1.7 54321 typ host",
            "candidate:1 1 TCP 2105524479 192.168.1.7 9 typ host tcptype active",
            "842163049 1 udp 1677729535 203.0.113.5 41000 typ srflx raddr 0.0.0.0 rport 0 generation 0",
            "candidate:4 1 udp 41885439 2001:db8::1 3478 typ relay raddr :: rport 9",
        ] {
            assert_eq!(validate(candidate), Ok(()), "{candidate}");
        }
    }

    #[test]
    fn other_things_do_not() {
        let long = format!("candidate:1 1 udp 1 {}.local 9 typ host", "a".repeat(2000));
        for candidate in [
            "candidate:",
            "candidate:1 1 udp 1 192.0.2.1 9 typ",
            "candidate:1 0 udp 1 192.0.2.1 9 typ host",
            "candidate:1 1 udp 1 192.0.2.1 65536 typ host",
            "candidate:1 1 udp 99999999999 192.0.2.1 9 typ host",
            "candidate:1 1 udp 1 192.0.2.1\r\na=x 9 typ host",
            "candidate:1 1 udp 1 http://x 9 typ host",
            "candidate:1 1 udp 1 192.0.2.1 9 typ host raddr",
            "candidate:1 1 udp 1 192.0.2.1 9 typ srflx raddr 1:2:3 rport 9",
            "candidate:1  1 udp 1 192.0.2.1 9 typ host",
            "candidate:é 1 udp 1 192.0.2.1 9 typ host",
            long.as_str(),
        ] {
            assert!(validate(candidate).is_err(), "{candidate}");
        }
    }
}
