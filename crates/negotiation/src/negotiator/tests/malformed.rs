//! What is refused, how, and that nothing comes of it.

use super::model::Client;
use super::*;

const FINGERPRINT: &str = "C1:C1:C1:C1:C1:C1:C1:C1:C1:C1:C1:C1:C1:C1:C1:C1:C1:C1:C1:C1:C1:C1:C1:C1:C1:C1:C1:C1:C1:C1:C1:C1";

/// A participant with a microphone (`0`), a camera (`1`) and two slots (`s00` to `s03`), and the client's next offer.
fn meeting() -> (Negotiator, Client, String) {
    let (mut server, mut client) = (negotiator(), Client::default());
    client.add("audio", "sendonly");
    client.add("video", "sendonly");
    let answer = server.handle_offer(&client.offer(), no_restart).unwrap().unwrap();
    client.take_answer(&answer);
    server.set_slots(2);
    let offer = server.poll_offer().unwrap();
    server.handle_answer(offer.revision, &client.take_offer(&offer.sdp, |_| false)).unwrap();
    events(&mut server);
    let offer = client.offer();
    (server, client, offer)
}

/// Drops the m-line at `index`, and its mid from the group.
fn without(sdp: &str, index: usize) -> String {
    let blocks = blocks(sdp);
    let mid = attribute(&blocks[index + 1], "mid").unwrap();
    let rest: Vec<&str> = blocks.iter().enumerate().filter(|(at, _)| *at != index + 1).flat_map(|(_, block)| block).copied().collect();
    (rest.join("\r\n") + "\r\n").replacen(&format!(" {mid}"), "", 1)
}

#[test]
fn offers() {
    use NegotiationError::*;
    let (_, _, good) = meeting();
    let edit = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replace(from, to)
    };
    let once = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    let table: Vec<(&str, String, NegotiationError)> = vec![
        ("empty", String::new(), Syntax),
        ("no SDP", "hello".into(), Syntax),
        ("JSON", "{\"sdp\":1}".into(), Syntax),
        ("version 1", once("v=0", "v=1"), Syntax),
        ("no origin", once("o=-", "x=-"), Syntax),
        ("a NUL line", once("s=-\r\n", "s=-\r\n\0\r\n"), Syntax),
        ("cut short", good.split("m=").next().unwrap().to_owned() + "m=audio", SectionSyntax { section: 0 }),
        ("no formats", edit("m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9", "m=audio 9 UDP/TLS/RTP/SAVPF"), SectionSyntax { section: 0 }),
        ("a port beyond 65535", once("m=audio 9 ", "m=audio 99999 "), SectionSyntax { section: 0 }),
        ("a broken attribute line", once("a=mid:1\r\n", "a=mid:1\r\nnonsense\r\n"), SectionSyntax { section: 1 }),
        ("too large", good.clone() + &"a=x:y\r\n".repeat(100_000), TooLarge { bytes: good.len() + 700_000 }),
        ("too many lines", good.clone() + &"a=x\r\n".repeat(16_384), TooManyLines),
        ("a long line", good.clone() + "a=x:" + &"y".repeat(5000) + "\r\n", LineTooLong { line: good.lines().count() + 1 }),
        ("too many m-lines", good.clone() + &"m=audio 0 RTP/AVP 0\r\n".repeat(200), TooManySections),
        (
            "too many SSRCs",
            once("a=mid:1\r\n", &format!("a=mid:1\r\n{}", (1..40).map(|n| format!("a=ssrc:{n} cname:x\r\n")).collect::<String>())),
            TooManyStreams { section: 1 },
        ),
        (
            "too many RIDs",
            once("a=mid:1\r\n", &format!("a=mid:1\r\n{}", (1..40).map(|n| format!("a=rid:{n} send\r\n")).collect::<String>())),
            TooManyStreams { section: 1 },
        ),
        ("simulcast without streams", once("a=mid:1\r\n", "a=mid:1\r\na=simulcast:send\r\n"), Simulcast { section: 1 }),
        ("simulcast without a value", once("a=mid:1\r\n", "a=mid:1\r\na=simulcast\r\n"), Simulcast { section: 1 }),
        ("simulcast both ways at once", once("a=mid:1\r\n", "a=mid:1\r\na=simulcast:sendrecv q\r\n"), Simulcast { section: 1 }),
        ("simulcast twice one way", once("a=mid:1\r\n", "a=mid:1\r\na=simulcast:send q send h\r\n"), Simulcast { section: 1 }),
        ("simulcast twice", once("a=mid:1\r\n", "a=mid:1\r\na=simulcast:send q\r\na=simulcast:recv h\r\n"), Simulcast { section: 1 }),
        (
            "a stream twice in simulcast",
            once("a=mid:1\r\n", "a=mid:1\r\na=rid:q send\r\na=simulcast:send q;q\r\n"),
            Simulcast { section: 1 },
        ),
        ("a SIM group of words", once("a=mid:1\r\n", "a=mid:1\r\na=ssrc-group:SIM 1 x\r\n"), Simulcast { section: 1 }),
        (
            "an SSRC twice in a SIM group",
            once("a=mid:1\r\n", "a=mid:1\r\na=ssrc:1 cname:x\r\na=ssrc-group:SIM 1 1\r\n"),
            Simulcast { section: 1 },
        ),
        (
            "a payload type of two codecs",
            once("a=rtpmap:97 rtx/90000", "a=rtpmap:96 H264/90000"),
            PayloadType { payload_type: "96".into() },
        ),
        ("a payload type twice", edit("96 97 98 99 120", "96 97 98 99 96"), PayloadType { payload_type: "96".into() }),
        ("a payload type above 127", edit("96 97 98 99 120", "96 97 98 99 300"), PayloadType { payload_type: "300".into() }),
        (
            "a payload type above 127 that fits a byte",
            edit("96 97 98 99 120", "96 97 98 99 200"),
            PayloadType { payload_type: "200".into() },
        ),
        ("a payload type that is none", edit("96 97 98 99 120", "96 97 98 99 x"), PayloadType { payload_type: "x".into() }),
        (
            "a payload type of two codecs in two m-lines",
            edit("111 63 9\r\n", "111 63 96\r\n").replace("a=rtpmap:9 G722/8000", "a=rtpmap:96 G722/8000"),
            PayloadType { payload_type: "96".into() },
        ),
        ("an extension id of two URIs", once("a=extmap:1 ", "a=extmap:4 urn:x\r\na=extmap:1 "), ExtensionId { id: 4 }),
        (
            "an extension id of two URIs in two m-lines",
            edit("a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level", "a=extmap:7 urn:x")
                .replace("a=rtpmap:120 ulpfec/90000", "a=rtpmap:120 ulpfec/90000\r\na=extmap:7 urn:y"),
            ExtensionId { id: 7 },
        ),
        ("no mid", once("a=mid:1\r\n", ""), Mid { section: 1 }),
        ("a long mid", once("a=mid:1\r\n", "a=mid:12345678901234567\r\n"), Mid { section: 1 }),
        ("a mid that is no token", once("a=mid:1\r\n", "a=mid:a b\r\n"), Mid { section: 1 }),
        ("a mid of control characters", once("a=mid:1\r\n", "a=mid:a\rb\r\n"), Mid { section: 1 }),
        ("a mid twice", once("a=mid:1\r\n", "a=mid:0\r\n"), DuplicateMid { section: 1 }),
        ("fewer m-lines", without(&good, 5), SectionsLost { negotiated: 6, present: 5 }),
        ("no m-lines", good.split("m=").next().unwrap().to_owned(), SectionsLost { negotiated: 6, present: 0 }),
        ("another mid", edit("a=mid:1\r\n", "a=mid:new\r\n").replace("BUNDLE 0 1", "BUNDLE 0 new"), SectionChanged { section: 1 }),
        (
            "another kind",
            once("m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99 120", "m=audio 9 UDP/TLS/RTP/SAVPF 96 97 98 99 120"),
            SectionChanged { section: 1 },
        ),
        ("no group", once("a=group:BUNDLE", "a=group:LS"), NotBundled { section: 0 }),
        ("a slot out of the group", once(" s02", ""), NotBundled { section: 4 }),
        ("no ufrag", edit("a=ice-ufrag:cl00\r\n", ""), Ice),
        ("no password", edit("a=ice-pwd:0123456789abcdefghijklmn\r\n", ""), Ice),
        ("a short ufrag", edit("a=ice-ufrag:cl00", "a=ice-ufrag:cl0"), Ice),
        ("a short password", edit("a=ice-pwd:0123456789abcdefghijklmn", "a=ice-pwd:0123456789abcdefghijk"), Ice),
        ("a long ufrag", edit("a=ice-ufrag:cl00", &format!("a=ice-ufrag:{}", "x".repeat(257))), Ice),
        ("a password of other characters", edit("a=ice-pwd:0123456789abcdefghijklmn", "a=ice-pwd:0123456789abcdefghij:lmn"), Ice),
        ("no fingerprint", edit(&format!("a=fingerprint:sha-256 {FINGERPRINT}\r\n"), ""), Fingerprint),
        ("another hash", edit("a=fingerprint:sha-256", "a=fingerprint:sha-1"), Fingerprint),
        ("a short fingerprint", edit(FINGERPRINT, &FINGERPRINT[3..]), Fingerprint),
        ("a fingerprint that is not hex", edit("C1:C1", "C1:G1"), Fingerprint),
        ("another fingerprint", edit(FINGERPRINT, &FINGERPRINT.replace("C1", "C2")), FingerprintChanged),
        ("a passive client", edit("a=setup:actpass", "a=setup:passive"), Setup),
        ("holdconn", edit("a=setup:actpass", "a=setup:holdconn"), Setup),
    ];
    for (name, offer, expected) in table {
        let (mut server, _, _) = meeting();
        let before = format!("{server:?}");
        assert_eq!(server.handle_offer(&offer, no_restart), Err(expected), "{name}");
        assert_eq!(format!("{server:?}"), before, "{name}");
        assert!(server.handle_offer(&good, no_restart).is_ok(), "{name}: the session goes on");
    }
}

#[test]
fn first_offers() {
    use NegotiationError::*;
    let table = [
        ("nothing bundled", CHROMIUM.replace("a=group:BUNDLE 0 1 2\r\n", ""), NothingUsable),
        ("only codecs that nobody knows", CHROMIUM.split("m=video").next().unwrap().replace("opus", "speex"), NothingUsable),
        ("only what is stopped", CHROMIUM.replace(" 9 UDP", " 0 UDP"), NothingUsable),
        ("no m-lines", CHROMIUM.split("m=").next().unwrap().to_owned(), NothingUsable),
    ];
    for (name, offer, expected) in table {
        let mut server = negotiator();
        let before = format!("{server:?}");
        assert_eq!(server.handle_offer(&offer, no_restart), Err(expected), "{name}");
        assert_eq!(format!("{server:?}"), before, "{name}");
    }
}

#[test]
fn more_m_lines_of_its_own_than_a_client_may_have() {
    let mut server = Negotiator::new(config(Limits { client_sections: 4, ..Limits::default() }));
    let mut client = Client::default();
    for _ in 0..5 {
        client.add("audio", "sendonly");
    }
    assert_eq!(server.handle_offer(&client.offer(), no_restart), Err(NegotiationError::TooManySections));
}

#[test]
fn answers() {
    use NegotiationError::*;
    // The answer to an offer that drops slot 1 (s02, s03), so that two m-lines are offered as stopped.
    let story = || {
        let (mut server, client, _) = meeting();
        server.set_slots(1);
        let offer = server.poll_offer().unwrap();
        (server, client, offer)
    };
    let (_, mut client, offer) = story();
    let good = client.take_offer(&offer.sdp, |_| false);
    let edit = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replace(from, to)
    };
    let once = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    let table: Vec<(&str, String, NegotiationError)> = vec![
        ("empty", String::new(), Syntax),
        ("the offer itself", offer.sdp.clone(), Direction { section: 0 }),
        ("fewer m-lines", without(&good, 5), SectionCount { offered: 6, answered: 5 }),
        ("more m-lines", good.clone() + "m=audio 0 RTP/AVP 0\r\n", SectionCount { offered: 6, answered: 7 }),
        ("another mid", edit("a=mid:s01\r\n", "a=mid:other\r\n").replacen(" s01", " other", 1), SectionChanged { section: 3 }),
        (
            "another kind",
            once("m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99 120", "m=audio 9 UDP/TLS/RTP/SAVPF 96 97 98 99 120"),
            SectionChanged { section: 1 },
        ),
        ("a stopped m-line accepted", edit("m=audio 0 ", "m=audio 9 "), Stopped { section: 4 }),
        ("a slot out of the group", once(" s00", ""), NotBundled { section: 2 }),
        ("a slot that sends", edit("a=recvonly", "a=sendrecv"), Direction { section: 2 }),
        ("a camera that receives", once("a=sendonly", "a=sendrecv"), Direction { section: 0 }),
        ("no RTCP multiplexing", edit("a=rtcp-mux\r\n", ""), Transport { section: 0 }),
        ("another transport", edit("UDP/TLS/RTP/SAVPF", "RTP/AVP"), Transport { section: 0 }),
        ("an ICE restart", edit("a=ice-ufrag:cl00", "a=ice-ufrag:cl77"), IceChanged),
        ("no credentials", edit("a=ice-ufrag:cl00\r\n", ""), Ice),
        ("another fingerprint", edit(FINGERPRINT, &FINGERPRINT.replace("C1", "C2")), FingerprintChanged),
        ("no fingerprint", edit("a=fingerprint:sha-256", "a=fingerprint:md5"), Fingerprint),
        ("a passive client", edit("a=setup:active", "a=setup:passive"), Setup),
        ("no decision on who is active", edit("a=setup:active", "a=setup:actpass"), Setup),
    ];
    for (name, answer, expected) in table {
        let (mut server, _, offer) = story();
        let before = format!("{server:?}");
        assert_eq!(server.handle_answer(offer.revision, &answer), Err(expected), "{name}");
        assert_eq!(format!("{server:?}"), before, "{name}");
        assert_eq!(server.handle_answer(offer.revision, &good), Ok(()), "{name}: the offer can still be answered");
        assert_eq!(server.slots().len(), 1);
    }
}

#[test]
fn what_a_client_writes_does_not_come_back_as_lines_of_ours() {
    for (from, to) in [
        ("m=audio 9 UDP/TLS/RTP/SAVPF 111", "m=audio 9 UDP/TLS/RTP/SAVPF\ra=evil 111"),
        ("m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "m=image 9 udptl t\ra=evil"),
        ("a=mid:0", "a=mid:0\ra=evil"),
        ("a=rid", "a=rid"),
    ] {
        let mut server = negotiator();
        if let Ok(Some(answer)) = server.handle_offer(&CHROMIUM.replace(from, to), no_restart) {
            assert!(!answer.contains("evil") && !answer.replace("\r\n", "").contains(['\r', '\n']));
        }
    }
}
