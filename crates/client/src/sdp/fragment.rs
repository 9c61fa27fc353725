//! ICE by HTTP (RFC 9725 §4.3): candidates within an offer, and the fragments (RFC 8840) that restart ICE.

use super::{Sections, attribute};

/// An offer with `candidates` (`candidate:…`), for a server that is told all at once.
pub(crate) fn with_candidates(offer: &str, candidates: &[String]) -> String {
    let Some(first) = Sections::of(offer).media.first().copied() else { return offer.to_owned() };
    let mut section = first.to_owned();
    candidates.iter().for_each(|candidate| section.push_str(&format!("a={candidate}\r\n")));
    section.push_str("a=end-of-candidates\r\n");
    offer.replacen(first, &section, 1)
}

/// What tells a server of the ICE restart that `offer` makes.
pub(crate) fn restart(offer: &str, candidates: &[String]) -> Option<String> {
    let sections = Sections::of(offer);
    let first = sections.media.first()?;
    let credential = |name: &str| attribute(first, name).or_else(|| attribute(sections.session, name));
    let mut fragment = String::from("a=ice-options:trickle ice2\r\n");
    if let Some(bundle) = attribute(sections.session, "group") {
        fragment.push_str(&format!("a=group:{bundle}\r\n"));
    }
    fragment.push_str(&format!("{}\r\na=mid:{}\r\n", first.lines().next()?, attribute(first, "mid")?));
    fragment.push_str(&format!("a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", credential("ice-ufrag")?, credential("ice-pwd")?));
    candidates.iter().for_each(|candidate| fragment.push_str(&format!("a={candidate}\r\n")));
    fragment.push_str("a=end-of-candidates\r\n");
    Some(fragment)
}

/// `answer` with the credentials of the fragment that answered a restart, and with its candidates if it has any. Nothing if it has no
/// credentials.
pub(crate) fn restarted(answer: &str, fragment: &str) -> Option<String> {
    let (ufrag, password) = (attribute(fragment, "ice-ufrag")?, attribute(fragment, "ice-pwd")?);
    let candidates: Vec<&str> = fragment.lines().filter(|line| is_candidate(line)).collect();
    let mut out = String::with_capacity(answer.len() + fragment.len());
    // They stand at the end of the first section, which is where a bundle has them.
    let mut sections = 0;
    let place = |out: &mut String| candidates.iter().for_each(|line| out.push_str(&format!("{line}\r\n")));
    for line in answer.lines() {
        if line.starts_with("m=") {
            sections += 1;
            if sections == 2 {
                place(&mut out);
            }
        }
        if line.starts_with("a=ice-ufrag:") {
            out.push_str(&format!("a=ice-ufrag:{ufrag}\r\n"));
        } else if line.starts_with("a=ice-pwd:") {
            out.push_str(&format!("a=ice-pwd:{password}\r\n"));
        } else if candidates.is_empty() || !is_candidate(line) {
            out.push_str(&format!("{line}\r\n"));
        }
    }
    if sections == 1 {
        place(&mut out);
    }
    Some(out)
}

fn is_candidate(line: &str) -> bool {
    line.starts_with("a=candidate:") || line.starts_with("a=end-of-candidates")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\ns=-\r\na=group:BUNDLE 0 1\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:abcd\r\na=ice-pwd:secret\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=ice-ufrag:abcd\r\na=ice-pwd:secret\r\n";

    #[test]
    fn an_offer_gets_its_candidates_in_its_first_section() {
        let offer = with_candidates(OFFER, &["candidate:1 1 udp 1 127.0.0.1 5000 typ host".into()]);
        let expected = "a=ice-pwd:secret\r\na=candidate:1 1 udp 1 127.0.0.1 5000 typ host\r\na=end-of-candidates\r\nm=video";
        assert!(offer.contains(expected), "{offer}");
        assert_eq!(offer.matches("candidate").count(), 2);
    }

    #[test]
    fn a_restart_is_a_fragment_with_the_offers_credentials() {
        let fragment = restart(OFFER, &["candidate:1 1 udp 1 127.0.0.1 5000 typ host".into()]).unwrap();
        assert_eq!(
            fragment,
            "a=ice-options:trickle ice2\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:abcd\r\n\
             a=ice-pwd:secret\r\na=candidate:1 1 udp 1 127.0.0.1 5000 typ host\r\na=end-of-candidates\r\n"
        );
        assert_eq!(restart("v=0\r\ns=-\r\n", &[]), None);
    }

    #[test]
    fn the_servers_new_credentials_and_candidates_take_the_old_ones_places() {
        let answer = OFFER.replacen("a=mid:0\r\n", "a=mid:0\r\na=candidate:9 1 udp 1 127.0.0.1 1 typ host\r\n", 1);
        let kept = restarted(&answer, "a=ice-lite\r\na=ice-ufrag:new\r\na=ice-pwd:word\r\n").unwrap();
        assert_eq!((kept.matches("a=ice-ufrag:new\r\n").count(), kept.matches("a=ice-pwd:word\r\n").count()), (2, 2));
        assert_eq!(kept.matches(" 127.0.0.1 1 typ").count(), 1, "without new candidates the old ones hold");
        let moved =
            restarted(&answer, "a=ice-ufrag:new\r\na=ice-pwd:word\r\nm=audio 9 X 0\r\na=candidate:9 1 udp 1 127.0.0.1 2 typ host\r\n")
                .unwrap();
        assert!(moved.contains("a=candidate:9 1 udp 1 127.0.0.1 2 typ host\r\nm=video"), "{moved}");
        assert_eq!(moved.matches("candidate").count(), 1);
        assert_eq!(restarted(&answer, "a=ice-ufrag:new\r\n"), None);
    }
}
