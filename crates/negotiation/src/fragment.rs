//! A client's ICE fragment (RFC 8840 §9): trickled candidates, or the credentials that restart ICE.

use crate::description::Mid;
use crate::{IceCredentials, NegotiationError, candidate};

/// Bytes of a fragment. Sixty candidates with names for addresses take half of it.
const MAX_BYTES: usize = 16 * 1024;

/// What a fragment says. Its candidates were checked; a lite agent keeps none.
#[derive(Default)]
pub(crate) struct Fragment<'a> {
    ufrag: Option<&'a str>,
    pwd: Option<&'a str>,
}

impl<'a> Fragment<'a> {
    /// Reads lines of `a=` and `m=`. All m-lines share one transport, so that each may repeat the credentials but not change them.
    pub(crate) fn parse(text: &'a str) -> Result<Self, NegotiationError> {
        if text.len() > MAX_BYTES {
            return Err(NegotiationError::TooLarge { bytes: text.len() });
        }
        let mut fragment = Self::default();
        let mut lines = 0;
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
            lines += 1;
            let syntax = NegotiationError::Fragment { line: index + 1 };
            let Some((kind, value)) = line.split_once('=') else { return Err(syntax) };
            let (name, value) = match kind {
                "a" => value.split_once(':').unwrap_or((value, "")),
                "m" => continue,
                _ => return Err(syntax),
            };
            match name {
                "ice-ufrag" => set(&mut fragment.ufrag, value)?,
                "ice-pwd" => set(&mut fragment.pwd, value)?,
                "candidate" => candidate::validate(value).and(if value.is_empty() { Err(NegotiationError::Candidate) } else { Ok(()) })?,
                "mid" if Mid::new(value).is_none() => return Err(syntax),
                // Everything else says nothing that the server acts upon.
                _ => {}
            }
        }
        if lines == 0 {
            return Err(NegotiationError::Fragment { line: 1 });
        }
        Ok(fragment)
    }

    /// The credentials, if they are others than the `current` ones.
    pub(crate) fn restart(&self, current: &IceCredentials) -> Result<Option<IceCredentials>, NegotiationError> {
        match (self.ufrag, self.pwd) {
            (None, None) => Ok(None),
            (Some(ufrag), pwd) if ufrag == current.ufrag && pwd.is_none_or(|pwd| pwd == current.pwd) => Ok(None),
            (Some(ufrag), Some(pwd)) if ufrag != current.ufrag && candidate::is_ufrag(ufrag) && candidate::is_pwd(pwd) => {
                Ok(Some(IceCredentials { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() }))
            }
            _ => Err(NegotiationError::Ice),
        }
    }
}

fn set<'a>(field: &mut Option<&'a str>, value: &'a str) -> Result<(), NegotiationError> {
    if field.replace(value).is_some_and(|old| old != value) { Err(NegotiationError::Ice) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn current() -> IceCredentials {
        IceCredentials { ufrag: "EsAw".into(), pwd: "P2uYro0UCOQ4zxjKXaWCBui1".into() }
    }

    fn take(text: &str) -> Result<Option<String>, NegotiationError> {
        Ok(Fragment::parse(text)?.restart(&current())?.map(|ice| ice.ufrag))
    }

    #[test]
    fn fragments_trickle_or_restart() {
        let candidate = "a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\n";
        let own = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n";
        let new = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n";
        let section = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n";
        for (text, expected) in [
            (format!("a=group:BUNDLE 0 1\r\n{section}{own}{candidate}a=end-of-candidates\r\n"), Ok(None)),
            (format!("{own}{section}{candidate}"), Ok(None)),
            ("a=end-of-candidates".into(), Ok(None)),
            ("a=ice-ufrag:EsAw\n".into(), Ok(None)),
            (format!("a=ice-options:trickle ice2\r\n{section}{new}{candidate}"), Ok(Some("ysXw".to_owned()))),
            (format!("{new}{section}{new}"), Ok(Some("ysXw".to_owned()))),
            (format!("{own}{section}{new}"), Err(NegotiationError::Ice)),
            ("a=ice-ufrag:ysXw\r\n".into(), Err(NegotiationError::Ice)),
            ("a=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n".into(), Err(NegotiationError::Ice)),
            ("a=ice-ufrag:EsAw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n".into(), Err(NegotiationError::Ice)),
            ("a=ice-ufrag:ys\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n".into(), Err(NegotiationError::Ice)),
            ("a=ice-ufrag:ysXw\r\na=ice-pwd:short\r\n".into(), Err(NegotiationError::Ice)),
            ("a=candidate:\r\n".into(), Err(NegotiationError::Candidate)),
            ("a=candidate:1 1 udp\r\n".into(), Err(NegotiationError::Candidate)),
            (String::new(), Err(NegotiationError::Fragment { line: 1 })),
            ("a=mid:0\r\nhello\r\n".into(), Err(NegotiationError::Fragment { line: 2 })),
            ("v=0\r\n".into(), Err(NegotiationError::Fragment { line: 1 })),
            ("a=mid:a mid\r\n".into(), Err(NegotiationError::Fragment { line: 1 })),
        ] {
            assert_eq!(take(&text), expected, "{text}");
        }
        assert_eq!(take(&candidate.repeat(1000)).map_err(|error| matches!(error, NegotiationError::TooLarge { .. })), Err(true));
    }
}
