//! Published test vectors.

use aws_lc_rs::cipher::{AES_128, EncryptingKey, UnboundCipherKey};

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect()
}

fn array<const LEN: usize>(hex: &str) -> [u8; LEN] {
    bytes(hex).try_into().unwrap()
}

/// The master key of RFC 3711 §B.3.
const MASTER_KEY: &str = "E1F97A0D3E018BE0D64FA32C06DE4139";
const MASTER_SALT: &str = "0EC675AD498AFEEBB6960B3AABE6";

#[test]
fn counter_mode_makes_the_key_stream_of_rfc_3711_b2() {
    let key = UnboundCipherKey::new(&AES_128, &bytes("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
    let key = EncryptingKey::ctr(key).unwrap();
    let mut stream = vec![0; 0xff02 * 16];
    super::super::kdf::apply_counter_mode(&key, array("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000"), &mut stream);
    for (block, expected) in [
        (0, "E03EAD0935C95E80E166B16DD92B4EB4"),
        (1, "D23513162B02D0F72A43A2FE4A5F97AB"),
        (2, "41E95B3BB0A2E8DD477901E4FCA894C0"),
        (0xfeff, "EC8CDF7398607CB0F2D21675EA9EA1E4"),
        (0xff00, "362B7C3C6773516318A077D7FC5073AE"),
        (0xff01, "6A2CC3787889374FBEB4C81B17BA6C44"),
    ] {
        assert_eq!(stream[block * 16..][..16], bytes(expected), "block {block:#x}");
    }
}

#[test]
fn keys_derive_as_in_rfc_3711_b3() {
    let generator = Generator::new(&array(MASTER_KEY), array(MASTER_SALT));
    let mut key = [0; 16];
    generator.fill(Label::RtpEncryption, &mut key);
    assert_eq!(key, array("C61E7A93744F39EE10734AFE3FF7A087"));
    let mut salt = [0; 14];
    generator.fill(Label::RtpSalt, &mut salt);
    assert_eq!(salt, array("30CBBC08863D8C85D49DB34A9AE1"));
    let mut authentication = [0; 94];
    generator.fill(Label::RtpAuthentication, &mut authentication);
    assert_eq!(
        authentication[..],
        bytes(
            "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCEE049646C43D9327AD175578EF72270986371C10C9A369AC2\
             F94A8C5FBCDDDC256D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2"
        )
    );
}

#[test]
fn rtcp_keys_have_labels_of_their_own() {
    let generator = Generator::new(&array(MASTER_KEY), array(MASTER_SALT));
    let mut key = [0; 16];
    generator.fill(Label::RtcpEncryption, &mut key);
    assert_eq!(key, array("4c1aa45a81f73d61c800bbb00fbb1eaa"));
    let mut authentication = [0; 20];
    generator.fill(Label::RtcpAuthentication, &mut authentication);
    assert_eq!(authentication, array("8d54534feb49ae8e7993a6bd0b844fc323a93dfd"));
    let mut salt = [0; 14];
    generator.fill(Label::RtcpSalt, &mut salt);
    assert_eq!(salt, array("9581c7ad87b3e530bf3e4454a8b3"));
}

/// Session keys of AEAD_AES_128_GCM as RFC 7714 §16 gives them: "Quid pro quo" is the salt.
fn gcm_keys() -> SessionKeys {
    SessionKeys {
        encryption: array("000102030405060708090a0b0c0d0e0f"),
        authentication: [0; 20],
        salt: array("517569642070726f2071756f0000"),
    }
}

#[test]
fn gcm_seals_and_opens_rtp_as_in_rfc_7714_16_1() {
    let clear = bytes("8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573");
    let sealed = bytes(
        "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833\
         899d7f27beb16a9152cf765ee4390cce",
    );
    let keys = gcm_keys();
    let mut sealer = Sealer::from_session_keys(Profile::AeadAes128Gcm, &keys, &keys);
    let stream = sealer.add_stream(0x5501_a0b2).unwrap();
    let mut packet = clear.clone();
    packet.resize(clear.len() + 16, 0);
    assert_eq!(sealer.seal_rtp(stream, 0xf17b, &mut packet, 12, clear.len()), Ok(sealed.len()));
    assert_eq!(packet, sealed);
    let mut opener = Opener::from_session_keys(Profile::AeadAes128Gcm, &keys, &keys);
    let opened = opener.open_rtp(&mut packet).unwrap();
    assert_eq!((&packet[..opened.len], opened.index), (&clear[..], 0xf17b));
}

#[test]
fn gcm_seals_and_opens_rtcp_as_in_rfc_7714_17_1() {
    let clear = bytes("81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef");
    let sealed = bytes(
        "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275b\
         c84aa45896cf4d2fc5abf87245d9eade800005d4",
    );
    let keys = gcm_keys();
    let mut sealer = Sealer::from_session_keys(Profile::AeadAes128Gcm, &keys, &keys);
    sealer.set_next_rtcp(0x5d4);
    let mut packet = clear.clone();
    packet.resize(clear.len() + 20, 0);
    assert_eq!(sealer.seal_rtcp(&mut packet, clear.len()), Ok(sealed.len()));
    assert_eq!(packet, sealed);
    let mut opener = Opener::from_session_keys(Profile::AeadAes128Gcm, &keys, &keys);
    assert_eq!(opener.open_rtcp(&mut packet), Ok(clear.len()));
    assert_eq!(packet[..clear.len()], clear);
}

#[test]
fn gcm_rtcp_that_is_only_authenticated_is_refused() {
    // RFC 7714 §17.3
    let mut packet = bytes(
        "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef\
         841dd9683dd78ec92ae58790125f62b3000005d4",
    );
    let keys = gcm_keys();
    let mut opener = Opener::from_session_keys(Profile::AeadAes128Gcm, &keys, &keys);
    assert_eq!(opener.open_rtcp(&mut packet), Err(OpenError::NotEncrypted));
}

/// Seals and opens the packets of libsrtp's own validation, which other implementations share: (sealed RTP, sealed RTCP).
fn matches_libsrtp(profile: Profile, master: &MasterKey, rtp: &str, rtcp: &str) {
    let mut sealer = Sealer::new(profile, master);
    let mut opener = Opener::new(profile, master);
    let stream = sealer.add_stream(0xcafe_babe).unwrap();

    let (clear, sealed) = (bytes("800f1234decafbadcafebabeabababababababababababababababab"), bytes(rtp));
    let mut packet = clear.clone();
    packet.resize(sealed.len(), 0);
    assert_eq!(sealer.seal_rtp(stream, 0x1234, &mut packet, 12, clear.len()), Ok(sealed.len()));
    assert_eq!(packet, sealed);
    assert_eq!(opener.open_rtp(&mut packet).map(|opened| opened.len), Ok(clear.len()));
    assert_eq!(packet[..clear.len()], clear);

    let (clear, sealed) = (bytes("81c8000bcafebabeabababababababababababababababab"), bytes(rtcp));
    let mut packet = clear.clone();
    packet.resize(sealed.len(), 0);
    sealer.set_next_rtcp(1);
    assert_eq!(sealer.seal_rtcp(&mut packet, clear.len()), Ok(sealed.len()));
    assert_eq!(packet, sealed);
    assert_eq!(opener.open_rtcp(&mut packet), Ok(clear.len()));
    assert_eq!(packet[..clear.len()], clear);
}

#[test]
fn counter_mode_packets_are_those_of_libsrtp() {
    matches_libsrtp(
        Profile::Aes128CmHmacSha1_80,
        &MasterKey { key: array(MASTER_KEY), salt: array(MASTER_SALT) },
        "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb",
        "81c8000bcafebabe7128035be487b9bdbef89041f977a5a880000001993e08cd54d6c1230798",
    );
}

#[test]
fn gcm_packets_are_those_of_libsrtp_whatever_follows_the_salt() {
    for beyond in ["0000", "ffff"] {
        matches_libsrtp(
            Profile::AeadAes128Gcm,
            &MasterKey { key: array("000102030405060708090a0b0c0d0e0f"), salt: array(&format!("a0a1a2a3a4a5a6a7a8a9aaab{beyond}")) },
            "800f1234decafbadcafebabec5002ede04cfdd2eb91159e0880aa06ed2976826f796b201df3131a127e8a392",
            "81c8000bcafebabec98b8b5df0392a55852b6c21ac8e7025c52c6fbea2b3b446ea31123ba88ce61e80000001",
        );
    }
}
