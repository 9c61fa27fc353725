//! What each description must say and what callers must then find, told with browsers' own offers.

use switchyard_rtp::codec::{Codec, MediaKind, Payload};
use switchyard_rtp::extension::Extension;

use super::*;

#[test]
fn chromiums_first_offer_is_answered_with_what_the_server_receives() {
    let mut server = negotiator();
    let answer = server.handle_offer(CHROMIUM, no_restart).unwrap().unwrap();
    let blocks = blocks(&answer);
    assert_eq!(blocks.len(), 4);
    assert_eq!(attribute(&blocks[0], "group"), Some("BUNDLE 0 1 2"));
    assert!(blocks[0].contains(&"a=ice-lite") && blocks[0].contains(&"a=extmap-allow-mixed"));
    assert_eq!(blocks[1][0], "m=audio 9 UDP/TLS/RTP/SAVPF 63 111", "browsers send the first");
    assert_eq!(attribute(&blocks[1], "setup"), Some("passive"));
    assert_eq!(
        attributes(&blocks[1], "candidate").collect::<Vec<_>>(),
        ["1 1 udp 2130706431 192.0.2.10 8080 typ host", "2 1 udp 2130706175 2001:db8::10 8080 typ host"]
    );
    for line in [
        "a=recvonly",
        "a=rtcp-mux",
        "a=rtcp-rsize",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=rtcp-fb:111 transport-cc",
        "a=fmtp:63 111/111",
    ] {
        assert!(blocks[1].contains(&line), "{line}");
    }
    let expected = "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99 100 101 108 109 114 115 102 103 104 107 116 117 45 46";
    assert_eq!(blocks[2][0], expected, "in the server's order, each with RTX, without ULPFEC and H.264 main in mode 0");
    for line in [
        "a=recvonly",
        "a=fmtp:97 apt=96",
        "a=rtcp-fb:96 nack",
        "a=rtcp-fb:96 nack pli",
        "a=rtcp-fb:96 ccm fir",
        "a=rtcp-fb:96 transport-cc",
    ] {
        assert!(blocks[2].contains(&line), "{line}");
    }
    assert!(!answer.contains("goog-remb") && !answer.contains("simulcast") && !answer.contains("toffset"));
    assert!(blocks[3].contains(&"a=sctp-port:5000") && blocks[3].contains(&"a=max-message-size:262144"));

    assert_eq!(events(&mut server), [Event::RemoteChanged, Event::ReceiversChanged]);
    let remote = server.remote().unwrap();
    assert!(remote.data_channel && CHROMIUM.contains(&remote.fingerprint) && CHROMIUM.contains(&remote.ice.pwd));
    let [audio, video] = server.receivers() else { panic!() };
    assert_eq!((audio.mid.as_str(), audio.kind, audio.active), ("0", MediaKind::Audio, true));
    assert_eq!(audio.payloads.get(63), Some(Payload::Media(Codec::Red)));
    assert_eq!(audio.extensions.id(Extension::AudioLevel), Some(1));
    assert_eq!(audio.feedback, Feedback { transport_cc: true, ..Feedback::default() });
    assert_eq!(video.payloads.get(97), Some(Payload::Rtx(Codec::Vp8)));
    assert_eq!(video.payloads.get(108), Some(Payload::Media(Codec::H264ConstrainedBaseline1)));
    assert_eq!(video.payloads.get(120), None);
    assert_eq!(video.extensions.id(Extension::TransportSequence), Some(3));
    assert_eq!(video.feedback, Feedback { nack: true, pli: true, fir: true, transport_cc: true, remb: false });
    let [pair] = video.ssrcs[..] else { panic!() };
    assert!(CHROMIUM.contains(&format!("a=ssrc-group:FID {} {}", pair.ssrc, pair.rtx.unwrap())));
}

#[test]
fn lost_sound_is_asked_for_where_both_ends_say_so() {
    let says = |nack: bool| {
        let mut server = negotiator();
        let offer =
            if nack { CHROMIUM.replace("a=rtpmap:111 opus", "a=rtcp-fb:111 nack\r\na=rtpmap:111 opus") } else { CHROMIUM.to_owned() };
        let answer = server.handle_offer(&offer, no_restart).unwrap().unwrap();
        server.set_slots(1);
        let slot = server.poll_offer().unwrap().sdp;
        assert!(blocks(&slot)[4].contains(&"a=rtcp-fb:111 nack"), "the server always answers requests");
        (blocks(&answer)[1].contains(&"a=rtcp-fb:111 nack"), server.receivers()[0].feedback.nack)
    };
    assert_eq!(says(false), (false, false));
    assert_eq!(says(true), (true, true));
}

#[test]
fn an_estimate_of_the_receivers_own_is_taken_where_arrivals_are_not_reported() {
    let (arrivals, estimate) = ("a=rtcp-fb:96 transport-cc\r\n", "a=rtcp-fb:96 goog-remb\r\n");
    let both = [estimate, arrivals].concat();
    for (said, expected) in [(arrivals, (true, false)), (estimate, (false, true)), (both.as_str(), (true, false)), ("", (false, false))] {
        let say = |sdp: String| sdp.replace(arrivals, said);
        let mut server = negotiator();
        let mut client = model::Client::default();
        client.add("video", "sendonly");
        let answer = server.handle_offer(&say(client.offer()), no_restart).unwrap().unwrap();
        assert!(!answer.contains("goog-remb"), "the server gives none");
        client.take_answer(&answer);
        server.set_slots(1);
        let offer = server.poll_offer().unwrap();
        assert_eq!(offer.sdp.contains("goog-remb"), expected.1, "{said}");
        server.handle_answer(offer.revision, &say(client.take_offer(&offer.sdp, |_| false))).unwrap();
        let taken = |feedback: Feedback| (feedback.transport_cc, feedback.remb);
        assert_eq!(taken(server.slots()[0].video.feedback), expected, "{said}");

        let mut server = one_way(Mode::Egress);
        let mut player = model::Client::default();
        player.plays = true;
        player.add("video", "recvonly");
        let answer = server.handle_offer(&say(player.offer()), no_restart).unwrap().unwrap();
        assert_eq!(answer.contains("goog-remb"), expected.1, "{said}");
        assert_eq!(taken(server.slots()[0].video.feedback), expected, "{said}");
    }
}

#[test]
fn firefoxs_first_offer_is_answered_though_it_is_bundle_only_and_has_no_h264() {
    let mut server = negotiator();
    let answer = server.handle_offer(FIREFOX, no_restart).unwrap().unwrap();
    let blocks = blocks(&answer);
    assert_eq!(blocks[1][0], "m=audio 9 UDP/TLS/RTP/SAVPF 109");
    assert!(blocks[1].contains(&"a=fmtp:109 minptime=10;useinbandfec=1;stereo=1"));
    assert_eq!(blocks[2][0], "m=video 9 UDP/TLS/RTP/SAVPF 120 124 121 125 99 100");
    assert!(blocks[3][0].starts_with("m=application 9 "));
    assert!(!answer.contains("csrc-audio-level"));
    assert_eq!(server.receivers()[1].ssrcs.len(), 1);
    assert!(server.receivers()[1].ssrcs[0].rtx.is_some());

    server.set_slots(1);
    let offer = server.poll_offer().unwrap().sdp;
    let slot = &super::blocks(&offer)[5];
    assert_eq!(slot[0], "m=video 9 UDP/TLS/RTP/SAVPF 120 124 121 125 99 100", "the client's own numbers");
    assert_eq!(attributes(slot, "extmap").collect::<Vec<_>>()[0], "3 urn:ietf:params:rtp-hdrext:sdes:mid");
}

#[test]
fn simulcast_by_rid_is_taken_up_and_offered_again() {
    for offer in [CHROMIUM_SIMULCAST, FIREFOX_SIMULCAST] {
        let mut server = negotiator();
        let answer = server.handle_offer(offer, no_restart).unwrap().unwrap();
        server.set_slots(1);
        let again = server.poll_offer().unwrap().sdp;
        for sdp in [answer, again] {
            let (sections, line) = (blocks(&sdp), &"a=simulcast:recv q;h;f");
            let camera = sections.iter().find(|block| block.contains(line)).expect("a line that receives simulcast");
            assert!(["a=rid:q recv", "a=rid:h recv", "a=rid:f recv"].iter().all(|rid| camera.contains(rid)));
            for extension in [Extension::Mid, Extension::Rid, Extension::RepairedRid] {
                assert!(attributes(camera, "extmap").any(|value| value.ends_with(extension.uri())), "{extension:?}");
            }
            assert!(camera.iter().any(|line| line.contains("x-google-start-bitrate=2500")));
            assert_eq!(sdp.matches("a=simulcast").count(), 1);
        }
        assert!(server.receivers().iter().any(|receiver| receiver.simulcast.rids() == ["q", "h", "f"]));
    }
}

#[test]
fn what_is_sent_at_once_is_told_apart_by_rid_or_by_ssrc() {
    let rids = |rids: &[&str]| Simulcast::Rids(rids.iter().map(|rid| (*rid).to_owned()).collect());
    let sim =
        "a=ssrc:1 cname:x\r\na=ssrc:2 cname:x\r\na=ssrc:3 cname:x\r\na=ssrc:4 cname:x\r\na=ssrc-group:FID 2 4\r\na=ssrc-group:SIM 3 2 1";
    let table = [
        ("all of it", "a=simulcast:send q;h;f", rids(&["q", "h", "f"])),
        ("another order", "a=simulcast:send f;q", rids(&["f", "q"])),
        ("paused", "a=simulcast:send ~q;h;~f", rids(&["q", "h", "f"])),
        ("alternatives", "a=simulcast:send x,h;q,f", rids(&["h", "q"])),
        ("both ways", "a=simulcast:recv 1;2 send q;h", rids(&["q", "h"])),
        ("unknown ones", "a=simulcast:send x;y", Simulcast::Off),
        ("one too many", "a=rid:e send\r\na=simulcast:send e;q;h;f", rids(&["e", "q", "h"])),
        ("no simulcast", "a=x", Simulcast::Off),
        ("a SIM group", sim, Simulcast::Ssrcs),
        ("a SIM group of one", "a=ssrc:1 cname:x\r\na=ssrc-group:SIM 1 9", Simulcast::Off),
    ];
    for (what, lines, expected) in table {
        let mut server = negotiator();
        let offer = CHROMIUM_SIMULCAST.replace("a=simulcast:send q;h;f", lines);
        server.handle_offer(&offer, no_restart).unwrap();
        let camera = server.receivers().iter().find(|receiver| receiver.kind == MediaKind::Video).unwrap();
        assert_eq!(camera.simulcast, expected, "{what}");
        if lines == sim {
            let pairs: Vec<_> = camera.ssrcs.iter().map(|pair| (pair.ssrc, pair.rtx)).collect();
            assert_eq!(pairs, [(3, None), (2, Some(4)), (1, None)], "in the group's order");
        }
    }
    let mut server = negotiator();
    let offer: String = CHROMIUM_SIMULCAST.split_inclusive('\n').filter(|line| !line.contains("sdes:rtp-stream-id")).collect();
    let answer = server.handle_offer(&offer, no_restart).unwrap().unwrap();
    assert!(!answer.contains("simulcast"), "no packet could say its RID");
}

#[test]
fn orphan_feedback_and_unknown_lines_are_ignored() {
    let offer = CHROMIUM
        .replace("a=rtpmap:96 ", "a=rtcp-fb:77 nack\r\na=fmtp:78 x=y\r\na=rtpmap:79 H263/90000\r\na=x-new:thing\r\na=flag\r\na=rtpmap:96 ");
    let (mut plain, mut odd) = (negotiator(), negotiator());
    assert_eq!(plain.handle_offer(CHROMIUM, no_restart), odd.handle_offer(&offer, no_restart));
}

#[test]
fn wildcard_feedback_counts_for_every_codec() {
    let offer: String = CHROMIUM.split_inclusive('\n').filter(|line| !line.contains("rtcp-fb:")).collect();
    let offer = offer.replace("a=rtpmap:96 VP8", "a=rtcp-fb:* nack pli\r\na=rtpmap:96 VP8");
    let mut server = negotiator();
    server.handle_offer(&offer, no_restart).unwrap();
    assert_eq!(server.receivers()[1].feedback, Feedback { pli: true, ..Feedback::default() });
}

#[test]
fn unsupported_m_lines_are_refused_and_the_rest_goes_on() {
    let extra = "m=text 9 RTP/AVP 98\r\nc=IN IP4 0.0.0.0\r\na=mid:t\r\na=rtpmap:98 t140/1000\r\n\
        m=haptic 9 UDP/X y\r\na=mid:h\r\n\
        m=audio 9 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\na=mid:p\r\na=rtcp-mux\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:nomux\r\na=rtpmap:96 VP8/90000\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\na=mid:nocodec\r\na=rtcp-mux\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:d2\r\na=sctp-port:5000\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:alone\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n";
    let offer = CHROMIUM.replace("BUNDLE 0 1 2", "BUNDLE 0 1 2 t h p nomux nocodec d2") + extra;
    let mut server = negotiator();
    let answer = server.handle_offer(&offer, no_restart).unwrap().unwrap();
    let blocks = blocks(&answer);
    assert_eq!(attribute(&blocks[0], "group"), Some("BUNDLE 0 1 2"));
    let refused: Vec<&str> = blocks[4..].iter().map(|block| block[0]).collect();
    let expected = [
        "m=text 0 RTP/AVP 98",
        "m=haptic 0 UDP/X y",
        "m=audio 0 RTP/AVP 0",
        "m=video 0 UDP/TLS/RTP/SAVPF 96",
        "m=audio 0 UDP/TLS/RTP/SAVPF 0",
        "m=application 0 UDP/DTLS/SCTP webrtc-datachannel",
        "m=video 0 UDP/TLS/RTP/SAVPF 96",
    ];
    assert_eq!(refused, expected);
    assert_eq!(server.receivers().len(), 2);
}

#[test]
fn directions_are_answered_one_by_one() {
    for (offered, answered, active) in [
        ("sendonly", "a=recvonly", true),
        ("sendrecv", "a=recvonly", true),
        ("recvonly", "a=inactive", false),
        ("inactive", "a=inactive", false),
    ] {
        let mut server = negotiator();
        let answer = server.handle_offer(&CHROMIUM.replace("a=sendonly", &format!("a={offered}")), no_restart).unwrap().unwrap();
        assert_eq!(answer.matches(answered).count(), 2, "{offered}");
        assert!(server.receivers().iter().all(|receiver| receiver.active == active), "{offered}");
    }
}

#[test]
fn a_client_without_media_is_offered_numbers_that_browsers_leave_free() {
    let mut server = negotiator();
    server.handle_offer(CHROMIUM_DATA, no_restart).unwrap();
    assert_eq!(events(&mut server), [Event::RemoteChanged]);
    server.set_slots(1);
    let offer = server.poll_offer().unwrap().sdp;
    let blocks = blocks(&offer);
    assert_eq!(blocks[2][0], "m=audio 9 UDP/TLS/RTP/SAVPF 111 63");
    assert_eq!(blocks[3][0], "m=video 9 UDP/TLS/RTP/SAVPF 49 50 51 52 53 54 55 56");
    for offer in [CHROMIUM, FIREFOX] {
        let theirs: Vec<&str> = super::blocks(offer)[2][0].split(' ').skip(3).collect();
        assert!(blocks[3][0].split(' ').skip(3).all(|number| !theirs.contains(&number)));
    }
}

#[test]
fn a_slot_is_two_m_lines_under_one_stream() {
    let mut server = negotiator();
    server.handle_offer(CHROMIUM, no_restart).unwrap();
    server.set_slots(1);
    let offer = server.poll_offer().unwrap().sdp;
    let blocks = blocks(&offer);
    let (audio, video) = (&blocks[4], &blocks[5]);
    assert_eq!((attribute(audio, "mid"), attribute(video, "mid")), (Some("s00"), Some("s01")));
    assert_eq!(attribute(audio, "msid"), Some("slot-0 slot-0-audio"));
    assert_eq!(attribute(video, "msid"), Some("slot-0 slot-0-video"));
    assert!(audio.contains(&"a=sendonly") && video.contains(&"a=sendonly"));
    let ids = |block: &[&str]| attributes(block, "extmap").map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(
        (ids(audio), ids(video)),
        (vec!["4".into(), "1".into(), "3".into(), "9".into()], vec!["4".into(), "3".into(), "9".into(), "12".into()])
    );
    assert!([audio, video].iter().all(|block| block.iter().any(|line| line.contains("transport-cc"))), "arrivals are reported");
    assert!(!video.iter().any(|line| line.contains("start-bitrate")));
    let group = attribute(video, "ssrc-group").unwrap().strip_prefix("FID ").unwrap();
    let ssrcs: Vec<&str> = attributes(video, "ssrc").filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(group, ssrcs.join(" "), "the media's SSRC is the first line: Chromium takes that for the primary");
    assert!(server.slots().is_empty(), "nothing is agreed yet");
}

#[test]
fn an_answer_makes_slots_active_with_what_the_client_takes() {
    let mut server = negotiator();
    let mut client = model::Client::default();
    client.add("audio", "sendonly");
    client.add("video", "sendonly");
    let answer = server.handle_offer(&client.offer(), no_restart).unwrap().unwrap();
    client.take_answer(&answer);
    server.set_slots(2);
    let offer = server.poll_offer().unwrap();
    assert_eq!(server.poll_offer(), None, "one offer at a time");
    events(&mut server);
    server.handle_answer(offer.revision, &client.take_offer(&offer.sdp, |_| false)).unwrap();
    assert_eq!(events(&mut server), [Event::SlotsChanged]);
    let [first, second] = server.slots() else { panic!() };
    assert_eq!((first.index, second.index), (0, 1));
    assert!(first.audio.active && first.video.active && second.audio.active && second.video.active);
    let video = &first.video;
    assert_eq!((video.codecs.media(Codec::Vp8), video.codecs.rtx(Codec::Vp8), video.codecs.media(Codec::Av1)), (Some(96), Some(97), None));
    assert_eq!(video.extensions.id(Extension::Mid), Some(4));
    assert_eq!(video.extensions.id(Extension::DependencyDescriptor), None, "the client left it out");
    assert_eq!(video.feedback, Feedback { nack: true, pli: true, fir: true, transport_cc: true, remb: false });
    assert!(offer.sdp.contains(&format!("a=ssrc-group:FID {} {}", video.ssrc, video.rtx_ssrc.unwrap())));
    assert_eq!(first.audio.rtx_ssrc, None);

    server.set_slots(3);
    let again = server.poll_offer().unwrap().sdp;
    assert!(!again.contains("dependency-descriptor"), "what the client left out is not offered again");
}

#[test]
fn nothing_is_offered_before_the_client_has_offered_and_changes_fold_into_one() {
    let mut server = negotiator();
    server.set_slots(4);
    assert_eq!(server.poll_offer(), None);
    assert_eq!(server.handle_answer(1, CHROMIUM), Err(NegotiationError::NoOffer));
    server.handle_offer(CHROMIUM, no_restart).unwrap();
    for count in [9, 2, 1000, 3] {
        server.set_slots(count);
    }
    let offer = server.poll_offer().unwrap().sdp;
    assert_eq!(blocks(&offer).len(), 1 + 3 + 6);
}

#[test]
fn slots_are_capped() {
    let mut server = Negotiator::new(config(Limits { slots: 2, ..Limits::default() }));
    server.handle_offer(CHROMIUM, no_restart).unwrap();
    server.set_slots(usize::MAX);
    assert_eq!(blocks(&server.poll_offer().unwrap().sdp).len(), 1 + 3 + 4);
}

#[test]
fn an_ice_restart_gets_fresh_credentials_and_nothing_else_does() {
    let mut server = negotiator();
    server.handle_offer(CHROMIUM, no_restart).unwrap();
    events(&mut server);
    server.handle_offer(CHROMIUM, no_restart).unwrap();
    assert_eq!(events(&mut server), []);
    let ufrag = attribute(&blocks(CHROMIUM)[1], "ice-ufrag").unwrap();
    let fresh = IceCredentials { ufrag: "fresh1".into(), pwd: "a1b2c3d4e5f6a1b2c3d4e5f6".into() };
    let offer = CHROMIUM.replace(&format!("a=ice-ufrag:{ufrag}"), "a=ice-ufrag:again");
    let answer = server.handle_offer(&offer, || fresh.clone()).unwrap().unwrap();
    assert!(answer.contains("a=ice-ufrag:fresh1\r\n") && !answer.contains("host0"));
    assert_eq!(server.local_ice(), &fresh);
    assert_eq!(server.remote().unwrap().ice.ufrag, "again");
    assert_eq!(events(&mut server), [Event::IceRestarted]);
}

#[test]
fn candidates_are_checked_and_forgotten() {
    let mut server = negotiator();
    let before = format!("{server:?}");
    for candidate in
        ["", "candidate:1 1 udp 2113937151 8a1e.local 50000 typ host", "candidate:1 1 tcp 1 10.0.0.1 9 typ host tcptype active"]
    {
        assert_eq!(server.handle_candidate(candidate, Some("0")), Ok(()));
    }
    assert_eq!(server.handle_candidate("candidate:nonsense", None), Err(NegotiationError::Candidate));
    assert_eq!(server.handle_candidate("", Some("a mid that is far too long")), Err(NegotiationError::Candidate));
    assert_eq!(format!("{server:?}"), before);
}

#[test]
fn passwords_stay_out_of_debug_output() {
    let mut server = negotiator();
    server.handle_offer(CHROMIUM, no_restart).unwrap();
    let (local, remote) = (server.local_ice().pwd.clone(), server.remote().unwrap().ice.pwd.clone());
    let shown = format!("{server:?}");
    assert!(!shown.contains(&local) && !shown.contains(&remote));
}
