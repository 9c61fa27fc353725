//! What the server must know of a ClientHello before it answers (RFC 5246 §7.4.1.2, RFC 6347 §4.2.1).

use switchyard_rtp::srtp::Profile;

/// `use_srtp` (RFC 5764 §4.1.1)
const USE_SRTP: u16 = 14;
/// `extended_master_secret` (RFC 7627 §5.1)
const EXTENDED_MASTER_SECRET: u16 = 23;

/// The parts of a ClientHello that decide how, and whether, it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientHello {
    /// The profile to use: the fastest of those listed.
    pub(crate) profile: Option<Profile>,
    pub(crate) extended_master_secret: bool,
}

impl ClientHello {
    /// Reads a ClientHello's body (without the handshake header); `None` if it is malformed.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        reader.take(2 + 32)?; // client_version, random
        reader.vector8()?; // session_id
        reader.vector8()?; // cookie
        reader.vector16()?; // cipher_suites
        reader.vector8()?; // compression_methods
        let mut hello = Self { profile: None, extended_master_secret: false };
        if reader.0.is_empty() {
            return Some(hello);
        }
        let mut extensions = Reader(reader.vector16()?);
        while !extensions.0.is_empty() {
            let kind = extensions.u16()?;
            let mut extension = Reader(extensions.vector16()?);
            match kind {
                USE_SRTP => {
                    let listed = extension.vector16()?;
                    let lists = |profile: &Profile| listed.chunks_exact(2).any(|id| id == profile.id().to_be_bytes());
                    hello.profile = [Profile::AeadAes128Gcm, Profile::Aes128CmHmacSha1_80].into_iter().find(lists);
                }
                EXTENDED_MASTER_SECRET => hello.extended_master_secret = true,
                _ => {}
            }
        }
        Some(hello)
    }
}

/// The first certificate (DER) of a Certificate message's body (RFC 5246 §7.4.6): `Some(None)` if the list is empty,
/// `None` if it is malformed.
pub(crate) fn first_certificate(body: &[u8]) -> Option<Option<&[u8]>> {
    let mut list = Reader(Reader(body).vector24()?);
    if list.0.is_empty() {
        return Some(None);
    }
    list.vector24().map(Some)
}

/// Takes TLS's length-prefixed vectors off the front of a slice.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = self.take(1)?[0];
        self.take(usize::from(length))
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    fn vector24(&mut self) -> Option<&'a [u8]> {
        let length = crate::record::u24(self.take(3)?);
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(profiles: &[u16], extended: bool) -> Vec<u8> {
        let mut extensions = vec![0, 10, 0, 4, 0, 2, 0, 23]; // supported_groups: secp256r1
        extensions.extend([0, 14]);
        extensions.extend(((profiles.len() * 2 + 3) as u16).to_be_bytes());
        extensions.extend(((profiles.len() * 2) as u16).to_be_bytes());
        extensions.extend(profiles.iter().flat_map(|profile| profile.to_be_bytes()));
        extensions.push(0); // mki
        if extended {
            extensions.extend([0, 23, 0, 0]);
        }
        let mut body = vec![0xfe, 0xfd];
        body.extend([7; 32]);
        body.extend([0, 0]); // session_id, cookie
        body.extend([0, 2, 0xc0, 0x2b, 1, 0]);
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        body
    }

    #[test]
    fn gcm_is_chosen_wherever_it_is_listed() {
        let profile = |listed: &[u16]| ClientHello::parse(&hello(listed, true)).and_then(|hello| hello.profile);
        assert_eq!(profile(&[1, 8, 7]), Some(Profile::AeadAes128Gcm)); // Chromium's order
        assert_eq!(profile(&[7, 8, 1, 2]), Some(Profile::AeadAes128Gcm)); // Firefox's order
        assert_eq!(profile(&[2, 1]), Some(Profile::Aes128CmHmacSha1_80));
        assert_eq!(profile(&[2, 8]), None);
        assert_eq!(profile(&[]), None);
    }

    #[test]
    fn the_extended_master_secret_is_seen() {
        assert!(ClientHello::parse(&hello(&[7], true)).is_some_and(|hello| hello.extended_master_secret));
        assert!(ClientHello::parse(&hello(&[7], false)).is_some_and(|hello| !hello.extended_master_secret));
    }

    #[test]
    fn every_cut_off_hello_is_malformed() {
        let whole = hello(&[7, 1], true);
        let without_extensions = 2 + 32 + 2 + 4 + 2;
        for end in (0..whole.len()).filter(|&end| end != without_extensions) {
            assert_eq!(ClientHello::parse(&whole[..end]), None, "{end} bytes");
        }
    }

    #[test]
    fn the_first_certificate_is_found() {
        assert_eq!(first_certificate(&[0, 0, 0]), Some(None));
        assert_eq!(first_certificate(&[0, 0, 9, 0, 0, 2, 5, 6, 0, 0, 1, 7]), Some(Some(&[5, 6][..])));
        assert_eq!(first_certificate(&[0, 0, 4, 0, 0, 2, 5]), None);
        assert_eq!(first_certificate(&[]), None);
    }
}
