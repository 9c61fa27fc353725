//! The handshake as it should go, on lines good and bad.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::ExtendedMasterSecretType;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use switchyard_rtp::srtp::{Profile, SrtpKeys};

use super::client::{Offer, Seen};
use super::line::{Line, To, Weather};
use crate::record::{APPLICATION_DATA, records};
use crate::{Event, FailReason, Reliability};

const MINUTE: Duration = Duration::from_secs(60);

fn keys(line: &Line) -> &SrtpKeys {
    line.events.iter().find_map(|event| if let Event::Keys(keys) = event { Some(keys) } else { None }).expect("keys")
}

#[test]
fn both_ends_export_the_same_srtp_keys() {
    let offers = [
        (vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80, SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm], Profile::AeadAes128Gcm),
        (vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm], Profile::AeadAes128Gcm),
        (vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80], Profile::Aes128CmHmacSha1_80),
    ];
    for (profiles, profile) in offers {
        let mut line = Line::new(1, Weather::default(), Offer { profiles, ..Offer::default() });
        assert!(line.run_until(MINUTE, |line| line.has_keys() && line.client.established));
        let keys = keys(&line);
        assert_eq!(keys.profile, profile);
        let salt = profile.salt_len();
        let material = line.client.keying_material(2 * (16 + salt));
        assert_eq!(keys.remote.key, material[..16], "the client's key");
        assert_eq!(keys.local.key, material[16..32], "the server's key");
        assert_eq!(keys.remote.salt[..salt], material[32..32 + salt]);
        assert_eq!(keys.local.salt[..salt], material[32 + salt..]);
    }
}

#[test]
fn a_good_line_takes_three_round_trips_and_no_repetition() {
    let mut line = Line::new(1, Weather::default(), Offer::default());
    assert!(line.run_until(MINUTE, |line| line.has_keys()));
    assert_eq!(line.elapsed(), Duration::from_millis(5 * 20));
    assert!(line.sent.len() <= 4, "{} datagrams", line.sent.len());
}

#[test]
fn two_hundred_handshakes_survive_a_line_that_loses_a_third() {
    let weather = Weather { loss: 30, repeat: 10, jitter: 60 };
    let mut longest = Duration::ZERO;
    for seed in 0..200 {
        let mut line = Line::new(seed, weather, Offer::default());
        let done = line.run_until(MINUTE, |line| line.has_keys() && line.client.established);
        assert!(done, "seed {seed}: keys {}, client {}, {:?}", line.has_keys(), line.client.established, line.failure());
        longest = longest.max(line.elapsed());
    }
    println!("200 handshakes at 30 % loss: the longest took {longest:?} of virtual time");
}

#[test]
fn small_fragments_make_a_handshake_all_the_same() {
    let mut line = Line::new(3, Weather { loss: 10, repeat: 10, jitter: 60 }, Offer { mtu: 120, ..Offer::default() });
    assert!(line.run_until(MINUTE, |line| line.has_keys() && line.client.established), "{:?}", line.failure());
}

#[test]
fn a_wrong_certificate_fails_without_keys() {
    let mut line = Line::new(1, Weather::default(), Offer::default());
    let other = Line::new(1, Weather::default(), Offer::default());
    line.session = crate::Session::new(super::line::CERTIFICATE.clone());
    line.session.set_remote_fingerprint(other.client.fingerprint()).expect("a fingerprint");
    assert!(line.run_until(MINUTE, |line| line.client.failed), "the alert tells the client");
    assert_eq!(line.failure(), Some(FailReason::CertificateMismatch));
    assert!(!line.has_keys());
}

#[test]
fn a_client_without_certificate_fails() {
    let mut line = Line::new(1, Weather::default(), Offer { certificate: false, ..Offer::default() });
    assert!(line.run_until(MINUTE, |line| line.client.failed));
    assert_eq!(line.failure(), Some(FailReason::NoCertificate));
    assert!(!line.has_keys());
}

#[test]
fn a_client_without_a_common_srtp_profile_fails() {
    for profiles in [vec![], vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_32]] {
        let mut line = Line::new(1, Weather::default(), Offer { profiles, ..Offer::default() });
        assert!(line.run_until(MINUTE, |line| line.client.failed));
        assert_eq!(line.failure(), Some(FailReason::NoSrtpProfile));
    }
}

#[test]
fn a_client_without_extended_master_secret_fails() {
    let offer = Offer { extended_master_secret: ExtendedMasterSecretType::Disable, ..Offer::default() };
    let mut line = Line::new(1, Weather::default(), offer);
    assert!(line.run_until(MINUTE, |line| line.client.failed));
    assert_eq!(line.failure(), Some(FailReason::NoExtendedMasterSecret));
}

#[test]
fn close_notify_ends_either_side() {
    let mut line = Line::established();
    line.session.close(line.now);
    assert!(line.run_until(MINUTE, |line| line.client.closed));
    assert!(matches!(line.events.back(), Some(Event::Closed)));

    let mut line = Line::established();
    line.client.close(line.now);
    assert!(line.run_until(MINUTE, |line| matches!(line.events.back(), Some(Event::Closed))));
    assert_eq!(line.session.poll_timeout(), None);
}

#[test]
fn a_session_keeps_the_keys_and_nothing_else_of_the_handshake_and_opens_no_record_twice() {
    let mut line = Line::new(1, Weather::default(), Offer::default());
    let sealed = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&sealed);
    line.filter = Box::new(move |to, datagram| {
        let is_data = |datagram| records(datagram).any(|record| record.epoch == 1 && record.content_type == APPLICATION_DATA);
        if to == To::Server && is_data(datagram) {
            seen.borrow_mut().push(datagram.to_vec());
        }
        true
    });
    assert!(line.run_until(MINUTE, |line| line.has_keys() && line.client.established));
    assert!(line.session.dtls.has_forgotten_handshake());
    line.client.write_raw(line.now, b"a packet");
    line.run(MINUTE);
    let sealed = sealed.borrow();
    assert!(!sealed.is_empty());
    for datagram in sealed.iter() {
        line.session.dtls.handle_datagram(line.now, datagram);
        assert!(line.session.dtls.poll_output().is_none(), "it was opened before");
    }
}

#[test]
fn data_goes_both_ways_under_either_cipher_suite() {
    for suite in [CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256, CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256] {
        let mut line = Line::new(1, Weather::default(), Offer { suites: vec![suite], ..Offer::default() });
        assert!(line.run_until(MINUTE, |line| line.has_keys() && line.client.seen.contains(&Seen::Connected)), "{suite}");
        let channel = line.session.open_channel(line.now, "chat", "", true, Reliability::Reliable).expect("a channel");
        assert!(line.run_until(MINUTE, |line| line.events.iter().any(|event| matches!(event, Event::ChannelOpened { .. }))));
        line.send(channel, true, b"hello").expect("an open channel");
        line.client.send(line.now, channel, false, b"and back");
        let heard = Seen::Message(channel, true, b"hello".to_vec());
        assert!(line.run_until(MINUTE, |line| line.client.seen.contains(&heard) && !line.messages().is_empty()), "{suite}");
        assert_eq!(line.messages(), [(channel, false, b"and back".to_vec())]);
    }
}

#[test]
fn an_idle_session_asks_for_no_timer() {
    let mut line = Line::established();
    line.run(MINUTE);
    assert_eq!(line.session.poll_timeout(), None);
}

#[test]
fn the_cost_of_a_handshake_is_printed() {
    let rounds = 50;
    let mut lines: Vec<_> = (0..rounds).map(|seed| Line::new(seed, Weather::default(), Offer::default())).collect();
    let began = Instant::now();
    for line in &mut lines {
        assert!(line.run_until(MINUTE, |line| line.has_keys() && line.client.established));
    }
    let server: Duration = lines.iter().map(|line| line.server_time).sum();
    println!("a handshake costs both ends {:?}, the server {:?}", began.elapsed() / rounds as u32, server / rounds as u32);
}
