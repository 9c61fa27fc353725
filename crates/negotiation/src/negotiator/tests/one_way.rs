//! Sessions in which only the client offers, and media goes one way.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::model::Client;
use super::*;

fn player(lines: &[(&'static str, &'static str)]) -> Client {
    let mut client = Client::default();
    client.plays = true;
    lines.iter().for_each(|(kind, direction)| client.add(kind, direction));
    client
}

/// The client offers, the server answers; the answer.
fn agree(server: &mut Negotiator, client: &mut Client) -> String {
    let answer = server.handle_offer(&client.offer(), no_restart).unwrap().unwrap();
    client.take_answer(&answer);
    answer
}

fn mids(negotiator: &Negotiator) -> Vec<(String, String)> {
    negotiator.slots().iter().map(|slot| (slot.audio.mid.clone(), slot.video.mid.clone())).collect()
}

fn fragment(ufrag: &str, pwd: &str) -> String {
    format!("a=group:BUNDLE 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n")
}

#[test]
fn m_lines_that_a_player_offers_pair_up_to_slots_in_order() {
    let mut server = one_way(Mode::Egress);
    let mut client = player(&[("video", "recvonly"), ("video", "sendrecv"), ("audio", "recvonly"), ("application", "")]);
    let answer = agree(&mut server, &mut client);
    assert_eq!(events(&mut server), [Event::RemoteChanged, Event::SlotsChanged]);
    assert_eq!(mids(&server), [("2".into(), "0".into()), (String::new(), "1".into())]);
    let [first, second] = server.slots() else { panic!("two slots") };
    assert!(first.audio.active && first.video.active && second.video.active && !second.audio.active);
    assert!(server.receivers().is_empty());

    let blocks = blocks(&answer);
    for (block, sender, slot, kind) in [(1, &first.video, 0, "video"), (2, &second.video, 1, "video"), (3, &first.audio, 0, "audio")] {
        let block = &blocks[block];
        let transport = ["setup", "ice-ufrag", "fingerprint"].map(|name| attribute(block, name).is_some());
        assert_eq!(transport, [true; 3], "not every client looks into the tagged section");
        assert_eq!(attribute(block, "msid"), Some(format!("slot-{slot} slot-{slot}-{kind}").as_str()));
        let ssrcs: Vec<String> =
            [Some(sender.ssrc), sender.rtx_ssrc].iter().flatten().map(|ssrc| format!("{ssrc} cname:slot-{slot}")).collect();
        assert_eq!(attributes(block, "ssrc").collect::<Vec<_>>(), ssrcs);
        assert_eq!(sender.rtx_ssrc.is_some(), kind == "video");
        assert_eq!(attribute(block, "ssrc-group"), sender.rtx_ssrc.map(|rtx| format!("FID {} {rtx}", sender.ssrc)).as_deref());
    }
}

#[test]
fn the_server_never_offers_where_only_the_client_does() {
    for (mode, direction) in [(Mode::Ingress, "sendonly"), (Mode::Egress, "recvonly")] {
        let mut server = one_way(mode);
        server.handle_offer(&player(&[("audio", direction)]).offer(), no_restart).unwrap();
        server.set_slots(4);
        assert_eq!(server.poll_offer(), None);
    }
}

#[test]
fn what_a_publisher_offers_is_received() {
    let mut server = one_way(Mode::Ingress);
    let mut client = Client::default();
    for (kind, direction) in [("audio", "sendonly"), ("video", "sendrecv"), ("video", "sendonly")] {
        client.add(kind, direction);
    }
    agree(&mut server, &mut client);
    let receivers: Vec<_> = server.receivers().iter().map(|receiver| (receiver.mid.as_str(), receiver.active)).collect();
    assert_eq!(receivers, [("0", true), ("1", true), ("2", true)]);
    assert!(server.slots().is_empty());
}

#[test]
fn an_offer_that_cant_be_taken_up_as_a_whole_is_refused_and_changes_nothing() {
    use NegotiationError::{OneWay, TooManySections, Unusable};
    let offer = |lines: &[(&'static str, &'static str)]| player(lines).offer();
    let both = offer(&[("audio", "sendrecv"), ("video", "sendrecv")]);
    let limits = Limits { slots: 2, ..Limits::default() };
    let wrong = |section, required| OneWay { section, required };
    for (mode, sdp, expected) in [
        (Mode::Ingress, offer(&[("audio", "sendonly"), ("video", "recvonly")]), wrong(1, "sendonly")),
        (Mode::Ingress, offer(&[("audio", "inactive")]), wrong(0, "sendonly")),
        (Mode::Egress, offer(&[("audio", "recvonly"), ("video", "sendonly")]), wrong(1, "recvonly")),
        (Mode::Egress, offer(&[("audio", "inactive")]), wrong(0, "recvonly")),
        (Mode::Ingress, both.replace("opus", "speex"), Unusable { section: 0 }),
        (Mode::Egress, both.replace("opus", "speex"), Unusable { section: 0 }),
        (Mode::Ingress, both.replace("BUNDLE 0 1", "BUNDLE 0"), Unusable { section: 1 }),
        (Mode::Egress, both.replace("a=rtcp-mux\r\n", ""), Unusable { section: 0 }),
        (Mode::Egress, offer(&[("audio", "recvonly"); 3]), TooManySections),
        (Mode::Egress, String::from("v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"), NegotiationError::NothingUsable),
    ] {
        let mut server = Negotiator::new(Config { mode, ..config(limits) });
        let before = format!("{server:?}");
        assert_eq!(server.handle_offer(&sdp, no_restart), Err(expected), "{mode:?} {sdp}");
        assert_eq!(format!("{server:?}"), before);
        assert!(server.handle_offer(&both, no_restart).is_ok());
    }
}

#[test]
fn a_fragment_with_new_credentials_restarts_ice_and_is_answered_by_one() {
    let mut server = one_way(Mode::Egress);
    assert_eq!(server.handle_fragment("a=end-of-candidates", no_restart), Err(NegotiationError::NoOffer));
    let mut client = player(&[("audio", "recvonly"), ("video", "recvonly")]);
    agree(&mut server, &mut client);
    events(&mut server);

    let trickled = format!("{}a=candidate:1 1 udp 1 192.0.2.1 5000 typ host\r\n", fragment("cl00", "0123456789abcdefghijklmn"));
    assert_eq!(server.handle_fragment(&trickled, no_restart), Ok(None));
    assert_eq!(server.handle_fragment(&fragment("cl01", "short"), no_restart), Err(NegotiationError::Ice));
    assert_eq!((events(&mut server), server.local_ice().ufrag.as_str()), (vec![], "host0"));

    let fresh = || IceCredentials { ufrag: "fresh1".into(), pwd: "a1b2c3d4e5f6a1b2c3d4e5f6".into() };
    let answer = server.handle_fragment(&fragment("cl01", "vw5LmwG4y/e6dPP/zAP9Gp5k"), fresh).unwrap().unwrap();
    assert_eq!(events(&mut server), [Event::IceRestarted]);
    assert_eq!((server.local_ice().ufrag.as_str(), server.remote().unwrap().ice.ufrag.as_str()), ("fresh1", "cl01"));
    let blocks = blocks(&answer);
    assert!(blocks[0].contains(&"a=ice-lite") && blocks[0].contains(&"a=group:BUNDLE 0 1"));
    assert_eq!((blocks.len(), attribute(&blocks[1], "mid"), attribute(&blocks[1], "ice-ufrag")), (2, Some("0"), Some("fresh1")));
    assert_eq!(attribute(&blocks[1], "ice-pwd"), Some("a1b2c3d4e5f6a1b2c3d4e5f6"));
    assert_eq!(attributes(&blocks[1], "candidate").count(), 2);
    assert!(blocks[1].contains(&"a=end-of-candidates"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// M-lines come and go in any order: each is in the first slot that had none of its kind, no SSRC comes twice.
    #[test]
    fn a_player_that_offers_again_keeps_its_slots(steps in prop::collection::vec((any::<bool>(), any::<bool>(), 0..20usize), 1..20)) {
        let mut server = one_way(Mode::Egress);
        let mut client = player(&[("audio", "recvonly")]);
        agree(&mut server, &mut client);
        let mut known: BTreeSet<(String, u32)> = BTreeSet::new();
        for (add, audio, at) in steps {
            let used: Vec<String> = client.lines.iter().filter(|line| !line.stopped).map(|line| line.mid.clone()).collect();
            match add || used.len() < 2 {
                true => client.add(if audio { "audio" } else { "video" }, "recvonly"),
                false => client.stop(&used[at % used.len()]),
            }
            let before: BTreeSet<String> = used.into_iter().collect();
            agree(&mut server, &mut client);
            let active: Vec<&Sender> =
                server.slots().iter().flat_map(|slot| [&slot.audio, &slot.video]).filter(|sender| sender.active).collect();
            let mids: BTreeSet<&str> = active.iter().map(|sender| sender.mid.as_str()).collect();
            let expected: BTreeSet<&str> = client.lines.iter().filter(|line| !line.stopped).map(|line| line.mid.as_str()).collect();
            prop_assert_eq!(mids, expected);
            for sender in active {
                if !before.contains(&sender.mid) {
                    prop_assert!(!known.iter().any(|(_, ssrc)| *ssrc == sender.ssrc), "a new m-line has a new SSRC");
                    known.insert((sender.mid.clone(), sender.ssrc));
                }
            }
        }
    }
}
