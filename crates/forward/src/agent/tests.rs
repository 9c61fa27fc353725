use std::net::{IpAddr, Ipv4Addr};

use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_stun::attributes::{ATTR_ICE_CONTROLLING, ATTR_USE_CANDIDATE};
use rtc_stun::message::TransactionId;

use super::*;
use crate::{SocketId, WorkerIndex};

fn path(port: u16) -> Path {
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Path { socket: SocketId(0), local, remote: SocketAddr::new(local, port) }
}

fn credentials(seed: u8) -> IceCredentials {
    IceCredentials::generate(WorkerIndex(0), [seed; 24])
}

struct Check<'a> {
    ice: &'a IceCredentials,
    role: AttrType,
    nominate: bool,
    integrity: bool,
    fingerprint: bool,
    extra: Option<AttrType>,
    theirs: &'static str,
}

impl<'a> Check<'a> {
    fn new(ice: &'a IceCredentials) -> Self {
        Self { ice, role: ATTR_ICE_CONTROLLING, nominate: true, integrity: true, fingerprint: true, extra: None, theirs: "theirs" }
    }

    fn build(&self) -> Vec<u8> {
        let provider = AwsLcRsProvider::new();
        let mut m = Message::new();
        m.typ = BINDING_REQUEST;
        m.transaction_id = TransactionId([7; 12]);
        m.write_header();
        m.add(ATTR_USERNAME, format!("{}:{}", self.ice.ufrag, self.theirs).as_bytes());
        m.add(self.role, &[0; 8]);
        if let Some(extra) = self.extra {
            m.add(extra, &[0; 4]);
        }
        if self.nominate {
            m.add(ATTR_USE_CANDIDATE, &[]);
        }
        if self.integrity {
            MessageIntegrity::new_short_term_integrity_with_provider(self.ice.pwd.clone(), provider.crypto()).add_to(&mut m).unwrap();
        }
        if self.fingerprint {
            FINGERPRINT.add_to(&mut m).unwrap();
        }
        m.raw
    }
}

fn handle(agent: &mut Agent, now: Instant, path: &Path, datagram: &[u8]) -> (Result<Heard, Refused>, Message) {
    let mut answer = Message::new();
    let result = Request::parse(datagram)
        .and_then(|mut request| agent.handle_request(now, path, &mut request, AwsLcRsProvider::new().crypto(), &mut answer));
    (result, answer)
}

#[test]
fn an_authentic_check_is_answered_and_its_address_nominated() {
    let ice = credentials(1);
    let mut agent = Agent::new(ice.clone());
    let (heard, mut answer) = handle(&mut agent, Instant::now(), &path(1), &Check::new(&ice).build());
    assert_eq!(heard, Ok(Heard { new: true, forgotten: None, moved: true }));
    assert_eq!(answer.typ, BINDING_SUCCESS);
    MessageIntegrity::check(&mut answer, ice.pwd.as_bytes(), AwsLcRsProvider::new().crypto()).unwrap();
    assert_eq!(agent.egress(), Some(path(1)));
}

#[test]
fn nothing_is_learnt_from_a_forged_check() {
    let (ice, other, stranger) = (credentials(1), IceCredentials { pwd: "guessed".into(), ..credentials(1) }, credentials(9));
    let mut agent = Agent::new(ice.clone());
    let table = [
        (Check { integrity: false, ..Check::new(&ice) }, Refused::NotAuthentic),
        (Check { fingerprint: false, ..Check::new(&ice) }, Refused::NotAuthentic),
        (Check::new(&other), Refused::NotAuthentic),
        (Check::new(&stranger), Refused::UnknownUser),
    ];
    for (check, refused) in table {
        let (heard, answer) = handle(&mut agent, Instant::now(), &path(1), &check.build());
        assert_eq!(heard, Err(refused));
        assert_eq!(answer, Message::new(), "no answer");
        assert_eq!(agent.egress(), None);
    }
}

#[test]
fn use_candidate_behind_the_integrity_attribute_does_not_count() {
    let ice = credentials(1);
    let provider = AwsLcRsProvider::new();
    let mut m = Message::new();
    m.typ = BINDING_REQUEST;
    m.write_header();
    m.add(ATTR_USERNAME, format!("{}:theirs", ice.ufrag).as_bytes());
    MessageIntegrity::new_short_term_integrity_with_provider(ice.pwd.clone(), provider.crypto()).add_to(&mut m).unwrap();
    m.add(ATTR_USE_CANDIDATE, &[]);
    FINGERPRINT.add_to(&mut m).unwrap();
    let mut agent = Agent::new(ice);
    let (heard, _) = handle(&mut agent, Instant::now(), &path(1), &m.raw);
    assert_eq!(heard.map(|heard| heard.moved), Ok(false));
}

#[test]
fn a_controlled_client_is_told_of_the_role_conflict() {
    let ice = credentials(1);
    let mut agent = Agent::new(ice.clone());
    let (_, answer) = handle(&mut agent, Instant::now(), &path(1), &Check { role: ATTR_ICE_CONTROLLED, ..Check::new(&ice) }.build());
    assert_eq!(answer.typ, BINDING_ERROR);
    assert_eq!(agent.egress(), None, "nothing is learnt");
}

#[test]
fn an_unknown_attribute_that_must_be_understood_is_refused() {
    let ice = credentials(1);
    let mut agent = Agent::new(ice.clone());
    let (_, answer) = handle(&mut agent, Instant::now(), &path(1), &Check { extra: Some(AttrType(0x7777)), ..Check::new(&ice) }.build());
    assert_eq!(answer.typ, BINDING_ERROR);
    assert_eq!(agent.egress(), None);
}

#[test]
fn during_a_restart_both_credentials_count_until_the_new_path_is_nominated() {
    let (old, new) = (credentials(1), credentials(2));
    let now = Instant::now();
    let mut agent = Agent::new(old.clone());
    handle(&mut agent, now, &path(1), &Check::new(&old).build()).0.unwrap();
    agent.restart(new.clone(), "new".into());
    // Consent checks on the old path go on, and so does media there.
    assert!(handle(&mut agent, now, &path(1), &Check::new(&old).build()).0.is_ok());
    assert_eq!(agent.egress(), Some(path(1)));
    // A late nomination under old credentials elsewhere changes nothing.
    handle(&mut agent, now, &path(3), &Check::new(&old).build()).0.unwrap();
    assert_eq!(agent.egress(), Some(path(1)));
    let first = Check { nominate: false, ..Check::new(&new) };
    handle(&mut agent, now, &path(2), &first.build()).0.unwrap();
    assert_eq!(agent.egress(), Some(path(1)), "the new path is valid but not nominated");
    handle(&mut agent, now, &path(2), &Check::new(&new).build()).0.unwrap();
    assert_eq!(agent.egress(), Some(path(2)));
    assert_eq!(handle(&mut agent, now, &path(1), &Check::new(&old).build()).0, Err(Refused::UnknownUser));
}

#[test]
fn who_has_restarted_but_goes_on_under_the_servers_old_credentials_is_heard() {
    let ice: Vec<IceCredentials> = (1..6).map(credentials).collect();
    let now = Instant::now();
    let mut agent = Agent::new(ice[0].clone());
    let check = |agent: &mut Agent, ice, port, theirs| handle(agent, now, &path(port), &Check { theirs, ..Check::new(ice) }.build()).0;
    check(&mut agent, &ice[0], 1, "first").unwrap();
    assert!(check(&mut agent, &ice[0], 2, "second").unwrap().moved, "as soon as the client has made its offer, before that is read");
    assert_eq!(agent.restart(ice[1].clone(), "second".into()), None);
    assert!(!check(&mut agent, &ice[0], 1, "first").unwrap().moved, "what was under way before its restart");
    assert!(check(&mut agent, &ice[0], 3, "second").unwrap().moved, "a NAT gives it another port");
    // One that nominates only once is followed by what it checks from.
    let late = now + 2 * DESERTED;
    let consent = Check { nominate: false, theirs: "second", ..Check::new(&ice[0]) };
    assert!(handle(&mut agent, late, &path(2), &consent.build()).0.unwrap().moved);
    // It has heard of the second credentials in the meantime, and begins again under those.
    assert_eq!(agent.restart(ice[2].clone(), "third".into()), None);
    assert!(!check(&mut agent, &ice[0], 4, "second").unwrap().moved);
    assert!(check(&mut agent, &ice[1], 5, "third").unwrap().moved);
    // No more than that are kept.
    assert_eq!(agent.restart(ice[3].clone(), "fourth".into()), Some(ice[0].ufrag.clone()));
    assert_eq!(check(&mut agent, &ice[0], 5, "third"), Err(Refused::UnknownUser));
    // And none once it has taken up the new ones.
    assert!(check(&mut agent, &ice[3], 6, "fourth").unwrap().moved);
    assert_eq!(agent.ufrags().collect::<Vec<_>>(), [ice[3].ufrag.as_str()]);
}

#[test]
fn a_nomination_from_another_port_moves_media_at_once_and_back() {
    let ice = credentials(1);
    let now = Instant::now();
    let mut agent = Agent::new(ice.clone());
    for port in [1, 2, 1, 3] {
        let (heard, _) = handle(&mut agent, now, &path(port), &Check::new(&ice).build());
        assert!(heard.unwrap().moved);
        assert_eq!(agent.egress(), Some(path(port)));
    }
    assert!(!handle(&mut agent, now, &path(3), &Check::new(&ice).build()).0.unwrap().moved, "there already");
}

#[test]
fn a_check_of_another_path_moves_media_only_when_the_path_in_use_is_deserted() {
    let ice = credentials(1);
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let consent = Check { nominate: false, ..Check::new(&ice) }.build();
    let mut agent = Agent::new(ice.clone());
    handle(&mut agent, at(0), &path(1), &Check::new(&ice).build()).0.unwrap();
    // A second path that is kept alive: nothing moves while the first is.
    for ms in (0..60_000).step_by(2_500) {
        handle(&mut agent, at(ms), &path(1), &consent).0.unwrap();
        handle(&mut agent, at(ms + 2_400), &path(2), &consent).0.unwrap();
        assert_eq!(agent.egress(), Some(path(1)));
    }
    let last = 57_500;
    let (heard, _) = handle(&mut agent, at(last) + DESERTED - Duration::from_millis(1), &path(3), &consent);
    assert!(!heard.unwrap().moved);
    // The NAT has given the client another port, and the client doesn't know.
    let (heard, _) = handle(&mut agent, at(last) + DESERTED, &path(3), &consent);
    assert!(heard.unwrap().moved);
    assert_eq!(agent.egress(), Some(path(3)));
    // What is still under way from before moves nothing back.
    handle(&mut agent, at(last) + DESERTED, &path(1), &consent).0.unwrap();
    assert_eq!(agent.egress(), Some(path(3)));
}

#[test]
fn during_a_restart_only_a_nomination_moves_media() {
    let (old, new) = (credentials(1), credentials(2));
    let now = Instant::now();
    let mut agent = Agent::new(old.clone());
    handle(&mut agent, now, &path(1), &Check::new(&old).build()).0.unwrap();
    agent.restart(new.clone(), "new".into());
    let late = now + 2 * DESERTED;
    handle(&mut agent, late, &path(2), &Check { nominate: false, ..Check::new(&new) }.build()).0.unwrap();
    handle(&mut agent, late, &path(3), &Check { nominate: false, ..Check::new(&old) }.build()).0.unwrap();
    assert_eq!(agent.egress(), Some(path(1)));
    handle(&mut agent, late, &path(2), &Check::new(&new).build()).0.unwrap();
    assert_eq!(agent.egress(), Some(path(2)));
}

#[test]
fn the_same_address_through_another_of_the_servers_is_another_path() {
    let ice = credentials(1);
    let now = Instant::now();
    let mut agent = Agent::new(ice.clone());
    let elsewhere = Path { local: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), ..path(1) };
    handle(&mut agent, now, &path(1), &Check::new(&ice).build()).0.unwrap();
    let (heard, _) = handle(&mut agent, now, &elsewhere, &Check::new(&ice).build());
    assert_eq!(heard, Ok(Heard { new: false, forgotten: None, moved: true }));
    assert_eq!(agent.egress(), Some(elsewhere));
    // One of the two expires: the address is still the peer's.
    handle(&mut agent, now + CONSENT / 2, &elsewhere, &Check::new(&ice).build()).0.unwrap();
    assert!(agent.expire(now + CONSENT).is_empty());
    assert_eq!(agent.egress(), Some(elsewhere));
}

#[test]
fn consent_expires_30_seconds_after_the_last_authentic_check() {
    let ice = credentials(1);
    let start = Instant::now();
    let mut agent = Agent::new(ice.clone());
    handle(&mut agent, start, &path(1), &Check::new(&ice).build()).0.unwrap();
    assert!(agent.expire(start + CONSENT - Duration::from_millis(1)).is_empty());
    let forged = Check { integrity: false, ..Check::new(&ice) }.build();
    let _ = handle(&mut agent, start + Duration::from_secs(29), &path(1), &forged);
    assert_eq!(agent.expire(start + CONSENT), [path(1).address()]);
    assert_eq!(agent.egress(), None);
    // Each path by its own checks.
    let again = start + CONSENT * 2;
    for (port, seconds) in [(2, 0), (3, 10), (2, 20), (3, 25)] {
        handle(&mut agent, again + Duration::from_secs(seconds), &path(port), &Check::new(&ice).build()).0.unwrap();
    }
    assert!(agent.expire(again + Duration::from_secs(49)).is_empty());
    assert_eq!(agent.expire(again + Duration::from_secs(50)), [path(2).address()]);
    assert!(agent.expire(again + Duration::from_secs(54)).is_empty());
    assert_eq!(agent.expire(again + Duration::from_secs(55)), [path(3).address()]);
}

#[test]
fn media_of_a_connection_that_is_closed_goes_where_the_client_was_heard_last() {
    let ice = credentials(1);
    let start = Instant::now();
    let mut agent = Agent::new(ice.clone());
    // UDP and TCP from the same port are two addresses.
    let tcp = Path { socket: SocketId(3), ..path(1) };
    let probe = Check { nominate: false, ..Check::new(&ice) }.build();
    handle(&mut agent, start, &path(1), &probe).0.unwrap();
    assert!(handle(&mut agent, start + Duration::from_secs(1), &tcp, &Check::new(&ice).build()).0.unwrap().new);
    assert_eq!((agent.egress(), agent.addresses().count()), (Some(tcp), 2));
    assert!(!agent.close(SocketId(4)), "somebody else's");
    assert!(agent.close(SocketId(3)));
    assert_eq!(agent.egress(), Some(path(1)));
    assert!(agent.close(SocketId(0)) || agent.egress().is_none());
}

#[test]
fn the_paths_of_one_peer_are_bounded_and_the_one_in_use_stays() {
    let ice = credentials(1);
    let start = Instant::now();
    let mut agent = Agent::new(ice.clone());
    handle(&mut agent, start, &path(1), &Check::new(&ice).build()).0.unwrap();
    let probe = Check { nominate: false, ..Check::new(&ice) }.build();
    for port in 2..100 {
        handle(&mut agent, start + Duration::from_millis(u64::from(port)), &path(port), &probe).0.unwrap();
    }
    assert_eq!(agent.addresses().count(), MAX_PATHS);
    assert_eq!(agent.egress(), Some(path(1)));
}

proptest::proptest! {
    #[test]
    fn random_and_damaged_requests_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), flips in proptest::collection::vec((0usize..140, 0u8..=255), 0..6)) {
        let ice = credentials(1);
        let mut agent = Agent::new(ice.clone());
        let _ = handle(&mut agent, Instant::now(), &path(1), &bytes);
        let mut damaged = Check::new(&ice).build();
        let mut changed = false;
        for (at, flip) in flips {
            if let Some(byte) = damaged.get_mut(at) {
                *byte ^= flip;
                changed |= flip != 0;
            }
        }
        let (heard, _) = handle(&mut agent, Instant::now(), &path(1), &damaged);
        if changed && damaged != Check::new(&ice).build() {
            proptest::prop_assert!(heard.is_err());
        }
    }
}
