//! Against another implementation of SRTP, in both directions.

use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

use super::*;

fn other(profile: Profile, master: &MasterKey) -> Context {
    let theirs = match profile {
        Profile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Profile::Aes128CmHmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
    };
    Context::new(&master.key, &master.salt[..profile.salt_len()], theirs, None, None, AwsLcRsProvider::new().crypto()).unwrap()
}

/// Indices around two wraps, with a loss.
const INDICES: [u64; 8] = [0x9000, 0xfffe, 0xffff, 0x1_0000, 0x1_0002, 0x1_8001, 0x1_ffff, 0x2_0000];

#[test]
fn another_implementation_opens_what_this_one_seals() {
    for profile in PROFILES {
        let mut sealer = Sealer::new(profile, &master(9));
        let mut theirs = other(profile, &master(9));
        let stream = sealer.add_stream(0x1234_5678).unwrap();
        for index in INDICES {
            let sealed = seal(&mut sealer, stream, index, b"some payload").unwrap();
            let opened = theirs.decrypt_rtp(&sealed).unwrap_or_else(|error| panic!("{profile:?} {index:#x}: {error}"));
            assert_eq!(opened[..], packet(0x1234_5678, index as u16, b"some payload").0);
        }
        for _ in 0..3 {
            let clear = [0x80, 201, 0, 1, 0, 0, 0, 7, 0x81, 206, 0, 2, 0, 0, 0, 7, 0, 0, 0, 9];
            let mut sealed = clear.to_vec();
            sealed.resize(clear.len() + ROOM, 0);
            let len = sealer.seal_rtcp(&mut sealed, clear.len()).unwrap();
            assert_eq!(theirs.decrypt_rtcp(&sealed[..len]).unwrap()[..], clear);
        }
    }
}

#[test]
fn this_implementation_opens_what_another_seals() {
    for profile in PROFILES {
        let mut opener = Opener::new(profile, &master(9));
        let mut theirs = other(profile, &master(9));
        for index in INDICES {
            let (clear, _) = packet(0x1234_5678, index as u16, b"some payload");
            let mut sealed = theirs.encrypt_rtp(&clear).unwrap().to_vec();
            let opened = opener.open_rtp(&mut sealed).unwrap_or_else(|error| panic!("{profile:?} {index:#x}: {error}"));
            assert_eq!((&sealed[..opened.len], opened.index), (&clear[..], index));
        }
        for _ in 0..3 {
            let clear = [0x80, 201, 0, 1, 0, 0, 0, 7, 0x81, 206, 0, 2, 0, 0, 0, 7, 0, 0, 0, 9];
            let mut sealed = theirs.encrypt_rtcp(&clear).unwrap().to_vec();
            let len = opener.open_rtcp(&mut sealed).unwrap();
            assert_eq!(sealed[..len], clear);
        }
    }
}
