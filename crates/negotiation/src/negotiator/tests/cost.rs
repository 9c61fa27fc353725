//! What a renegotiation costs.

use std::time::{Duration, Instant};

use super::*;

/// What Chromium answers, made from its own offer's m-lines: as long and as full of codecs as its answers are.
fn chromium_answer(offer: &str) -> String {
    let own = blocks(CHROMIUM);
    let group = attribute(&blocks(offer)[0], "group").unwrap().to_owned();
    let mut answer = format!("v=0\r\no=- 9 9 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:{group}\r\na=msid-semantic: WMS\r\n");
    for (index, block) in blocks(offer)[1..].iter().enumerate() {
        let mid = attribute(block, "mid").unwrap();
        let like = match block[0].split(' ').next().unwrap() {
            "m=audio" => &own[1],
            "m=video" => &own[2],
            _ => &own[3],
        };
        for line in like {
            if index > 2 && (line.starts_with("a=ssrc") || line.starts_with("a=msid")) {
                continue;
            }
            match *line {
                "a=sendonly" if index > 2 => answer += "a=recvonly",
                "a=setup:actpass" => answer += "a=setup:active",
                line if line.starts_with("a=mid:") => answer += &format!("a=mid:{mid}"),
                line => answer += line,
            }
            answer += "\r\n";
        }
    }
    answer
}

#[test]
fn adding_a_slot_to_a_hundred_costs_two_milliseconds_at_most() {
    let limits = Limits { slots: 200, bytes: 4 << 20, lines: 1 << 17, ..Limits::default() };
    let mut server = Negotiator::new(config(limits));
    server.handle_offer(CHROMIUM, no_restart).unwrap();
    let (mut took, mut parts) = (Vec::new(), Vec::new());
    for count in (0..=40).map(|more| 100 + more) {
        server.set_slots(count);
        let start = Instant::now();
        let offer = server.poll_offer().unwrap();
        let offered = start.elapsed();
        let answer = chromium_answer(&offer.sdp);
        let start = Instant::now();
        server.handle_answer(offer.revision, &answer).unwrap();
        let answered = start.elapsed();
        if count == 100 {
            println!("the first 100 slots: {offered:?} to offer, {answered:?} to take the answer of {} bytes", answer.len());
        } else {
            took.push(offered + answered);
            parts.push((offered, answered));
        }
    }
    assert!(server.slots().iter().all(|slot| slot.audio.active && slot.video.active));
    took.sort_unstable();
    parts.sort_unstable();
    println!("one more slot: {:?} (median of {}), of it {:?} to offer", took[took.len() / 2], took.len(), parts[parts.len() / 2].0);
    assert!(took[took.len() / 2] <= Duration::from_millis(2), "{took:?}");
}

#[test]
fn what_m_lines_say_alike_is_read_once() {
    let limits = Limits { slots: 100, bytes: 4 << 20, lines: 1 << 17, ..Limits::default() };
    let took = |edit: &dyn Fn(usize, &str) -> String| {
        let mut server = Negotiator::new(config(limits));
        server.handle_offer(CHROMIUM, no_restart).unwrap();
        server.set_slots(100);
        let offer = server.poll_offer().unwrap();
        let answer = chromium_answer(&offer.sdp);
        let answer: String = answer.split_inclusive('\n').enumerate().map(|(number, line)| edit(number, line)).collect();
        let start = Instant::now();
        server.handle_answer(offer.revision, &answer).unwrap();
        let took = start.elapsed();
        assert!(server.slots().iter().all(|slot| slot.audio.active && slot.video.active));
        took
    };
    // The fastest of a few: the machine does other things as well.
    let fastest = |edit: &dyn Fn(usize, &str) -> String| (0..5).map(|_| took(edit)).min().unwrap();
    let alike = fastest(&|_, line| line.into());
    let unlike = fastest(&|number, line| if line.starts_with("a=mid:") { format!("{line}a=x:{number}\r\n") } else { line.into() });
    println!("an answer with 100 slots: {alike:?}; if no two of its m-lines say the same: {unlike:?}");
    assert!(alike * 3 < unlike, "{alike:?}, {unlike:?}");
}

#[test]
fn the_worst_descriptions_that_the_limits_allow_are_refused_or_read_in_milliseconds() {
    let head = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
    let mids = |count: usize| (0..count).map(|mid| format!(" {mid}")).collect::<String>();
    let line = |mid: usize| format!("m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:{mid}\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n");
    let repeated = |text: &str, lines: usize| CHROMIUM.to_owned() + &text.repeat(lines);
    let descriptions = [
        ("m-lines", head.to_owned() + &format!("a=group:BUNDLE{}\r\n", mids(128)) + &(0..128).map(line).collect::<String>()),
        (
            "a group of strangers",
            head.to_owned() + "a=group:BUNDLE" + &" x".repeat(2000) + "\r\n" + &(0..128).map(line).collect::<String>(),
        ),
        ("attributes", repeated("a=x\r\n", 16_000)),
        ("rtpmaps", repeated("a=rtpmap:96 VP8/90000\r\n", 16_000)),
        ("extmaps", repeated("a=extmap:1 urn:x\r\n", 16_000)),
        ("feedback", repeated("a=rtcp-fb:* nack\r\n", 16_000)),
        ("SSRCs", repeated("a=ssrc:1 cname:x\r\n", 16_000)),
        ("empty lines", repeated("\r\n", 16_000)),
        ("groups", CHROMIUM.replacen("a=group", &(("a=group:BUNDLE".to_owned() + &" y".repeat(1000) + "\r\n").repeat(100) + "a=group"), 1)),
        ("long lines", repeated(&format!("a=fmtp:96 {}\r\n", "a=b;".repeat(1000)), 120)),
        ("a line without an end", CHROMIUM.to_owned() + &"x".repeat(400_000)),
    ];
    for (name, description) in descriptions {
        // The fastest of a few: the machine does other things as well.
        let once = || {
            let start = Instant::now();
            let answered = negotiator().handle_offer(&description, no_restart).map(|answer| answer.map(|answer| answer.len()));
            (start.elapsed(), answered)
        };
        let (took, answered) = (0..5).map(|_| once()).min_by_key(|(took, _)| *took).unwrap();
        println!("{name}: {took:?} for {} bytes, {answered:?}", description.len());
        assert!(took < Duration::from_millis(40), "{name}: {took:?}");
    }
}
