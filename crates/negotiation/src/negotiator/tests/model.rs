//! A client written from RFC 9429 and not from the negotiator: it checks every description it gets, and remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::{attribute, attributes, blocks};

const AUDIO: &str = "a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\n\
    a=fmtp:63 111/111\r\na=rtpmap:9 G722/8000\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
    a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n";
const VIDEO: &str = "a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 ccm fir\r\na=rtcp-fb:96 transport-cc\r\n\
    a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=rtpmap:98 VP9/90000\r\na=fmtp:98 profile-id=0\r\na=rtpmap:99 rtx/90000\r\na=fmtp:99 apt=98\r\n\
    a=rtpmap:120 ulpfec/90000\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n";

/// One m-line as the client sees it.
#[derive(Clone, Debug)]
pub struct Line {
    pub mid: String,
    pub kind: String,
    /// The client's own m-line, or a slot.
    pub own: bool,
    /// What the application wants; slots receive.
    pub direction: &'static str,
    pub stopped: bool,
    /// Stopped by the application, not yet negotiated.
    stopping: bool,
    ssrc: u32,
}

/// A peer connection's signaling state machine.
#[derive(Clone, Debug, Default)]
pub struct Client {
    pub lines: Vec<Line>,
    /// The lines as the offer in flight has them.
    offered: Option<Vec<Line>>,
    wanted: Vec<(&'static str, &'static str)>,
    mids: u32,
    pub ice: u32,
    /// What each number meant, for good.
    payload_types: BTreeMap<String, String>,
    extensions: BTreeMap<String, String>,
    seen_mids: BTreeSet<String>,
    seen_ssrcs: BTreeSet<String>,
    /// The server's credentials.
    pub server_ufrag: String,
    /// The client wants to receive on m-lines of its own, and is answered so.
    pub plays: bool,
}

impl Client {
    /// Wants an m-line of its own.
    pub fn add(&mut self, kind: &'static str, direction: &'static str) {
        self.wanted.push((kind, direction));
    }

    pub fn stop(&mut self, mid: &str) {
        self.lines.iter_mut().find(|line| line.mid == mid).unwrap().stopping = true;
    }

    pub fn offer(&mut self) -> String {
        assert!(self.offered.is_none());
        let mut lines = self.lines.clone();
        for line in &mut lines {
            line.stopped |= line.stopping;
        }
        let mut free = self.lines.iter().enumerate().filter(|(_, line)| line.stopped).map(|(at, _)| at);
        for (kind, direction) in &self.wanted {
            let mid = self.mids.to_string();
            self.mids += 1;
            let ssrc = 1000 + self.mids;
            let line = Line { mid, kind: (*kind).into(), own: true, direction, stopped: false, stopping: false, ssrc };
            match free.next() {
                Some(at) => lines[at] = line,
                None => lines.push(line),
            }
        }
        let mut sdp = self.head(&lines);
        for line in &lines {
            self.write_head(&mut sdp, line, "actpass");
            match line.kind.as_str() {
                _ if line.stopped => continue,
                "application" => sdp += "a=sctp-port:5000\r\na=max-message-size:262144\r\n",
                kind => {
                    let direction = if line.own { line.direction } else { "recvonly" };
                    let _ = write!(sdp, "a={direction}\r\na=rtcp-mux\r\n{}", if kind == "audio" { AUDIO } else { VIDEO });
                    if line.own && direction == "sendonly" {
                        let _ = write!(sdp, "a=ssrc:{} cname:me\r\n", line.ssrc);
                    }
                }
            }
        }
        self.offered = Some(lines);
        sdp
    }

    fn head(&self, lines: &[Line]) -> String {
        let mids: Vec<&str> = lines.iter().filter(|line| !line.stopped).map(|line| line.mid.as_str()).collect();
        format!("v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=extmap-allow-mixed\r\n", mids.join(" "))
    }

    fn write_head(&self, sdp: &mut String, line: &Line, setup: &str) {
        let port = if line.stopped { 0 } else { 9 };
        let (protocol, formats) = match line.kind.as_str() {
            "application" => ("UDP/DTLS/SCTP", "webrtc-datachannel"),
            "audio" => ("UDP/TLS/RTP/SAVPF", "111 63 9"),
            _ => ("UDP/TLS/RTP/SAVPF", "96 97 98 99 120"),
        };
        let (kind, mid, ice) = (&line.kind, &line.mid, self.ice);
        let fingerprint = vec!["C1"; 32].join(":");
        let _ = write!(sdp, "m={kind} {port} {protocol} {formats}\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\n");
        if !line.stopped {
            let _ = write!(
                sdp,
                "a=ice-ufrag:cl{ice:02}\r\na=ice-pwd:0123456789abcdefghijklmn\r\na=fingerprint:sha-256 {fingerprint}\r\na=setup:{setup}\r\n"
            );
        }
    }

    /// The server's answer to the offer in flight.
    pub fn take_answer(&mut self, sdp: &str) {
        let mut lines = self.offered.take().expect("an answer without an offer");
        let blocks = self.check(sdp, "passive");
        assert_eq!(blocks.len() - 1, lines.len(), "an answer has the offer's m-lines");
        for (line, block) in lines.iter_mut().zip(&blocks[1..]) {
            let (kind, port) = media(block);
            assert_eq!((attribute(block, "mid"), kind), (Some(line.mid.as_str()), line.kind.as_str()), "in the offer's order");
            if line.stopped {
                assert_eq!(port, "0", "what is offered as stopped is answered so");
            }
            if port == "0" {
                line.stopped = true;
                continue;
            }
            if kind != "application" {
                let expected = match (line.own, line.direction) {
                    (true, "recvonly" | "sendrecv") if self.plays => "a=sendonly",
                    (true, "sendonly" | "sendrecv") => "a=recvonly",
                    (true, _) => "a=inactive",
                    (false, _) => "a=sendonly",
                };
                assert!(block.contains(&expected), "{} is answered {expected}: {block:?}", line.mid);
                for number in block[0].split(' ').skip(3) {
                    assert!(["111", "63", "9", "96", "97", "98", "99", "120"].contains(&number), "{number} was not offered");
                }
            }
        }
        self.wanted.clear();
        self.lines = lines;
    }

    /// The server's offer; rolls an own one back. Returns the answer. `refuse` says which m-lines to refuse.
    pub fn take_offer(&mut self, sdp: &str, refuse: impl Fn(&str) -> bool) -> String {
        self.offered = None;
        let blocks = self.check(sdp, "actpass");
        assert!(blocks.len() > self.lines.len(), "no m-line goes away");
        let mut text = String::new();
        for (at, block) in blocks[1..].iter().enumerate() {
            let (kind, port) = media(block);
            let mid = attribute(block, "mid").expect("every m-line has its mid");
            match self.lines.get_mut(at) {
                Some(line) if !line.stopped => {
                    assert_eq!((line.mid.as_str(), line.kind.as_str()), (mid, kind), "what is in use keeps name and kind");
                    line.stopped |= port == "0";
                }
                Some(line) if port == "0" => assert_eq!(line.mid, mid, "what is stopped keeps its name until it is recycled"),
                old => {
                    assert!(self.seen_mids.insert(mid.into()), "{mid} was used before");
                    for ssrc in attributes(block, "ssrc").map(|value| value.split(' ').next().unwrap()) {
                        assert!(self.seen_ssrcs.insert(ssrc.into()), "SSRC {ssrc} was used before");
                    }
                    let stopped = port == "0";
                    assert!(stopped || block.contains(&"a=sendonly"));
                    let line =
                        Line { mid: mid.into(), kind: kind.into(), own: false, direction: "recvonly", stopped, stopping: false, ssrc: 0 };
                    match old {
                        Some(old) => *old = line,
                        None => self.lines.push(line),
                    }
                }
            }
            let line = &mut self.lines[at];
            line.stopped |= refuse(mid);
            let line = self.lines[at].clone();
            self.write_head(&mut text, &line, "active");
            if line.stopped {
                continue;
            }
            match kind {
                "application" => text += "a=sctp-port:5000\r\na=max-message-size:262144\r\n",
                _ if line.own => {
                    assert!(block.contains(&"a=recvonly"), "the client's m-lines are offered to be received");
                    let direction = if line.direction == "sendonly" { "sendonly" } else { "inactive" };
                    let _ = write!(text, "a={direction}\r\na=rtcp-mux\r\n{}", if kind == "audio" { AUDIO } else { VIDEO });
                    if direction == "sendonly" {
                        let _ = write!(text, "a=ssrc:{} cname:me\r\n", line.ssrc);
                    }
                }
                _ => {
                    let _ = write!(text, "a=recvonly\r\na=rtcp-mux\r\n{}", if kind == "audio" { AUDIO } else { VIDEO });
                }
            }
        }
        self.head(&self.lines) + &text
    }

    /// What must hold of every description.
    fn check<'a>(&mut self, sdp: &'a str, setup: &str) -> Vec<Vec<&'a str>> {
        let blocks = blocks(sdp);
        assert!(sdp.ends_with("\r\n") && blocks[0][0] == "v=0" && blocks[0].contains(&"a=ice-lite"));
        let used: Vec<&Vec<&str>> = blocks[1..].iter().filter(|block| media(block).1 != "0").collect();
        let mids: BTreeSet<&str> = blocks[1..].iter().filter_map(|block| attribute(block, "mid")).collect();
        assert_eq!(mids.len(), blocks[1..].iter().filter(|block| attribute(block, "mid").is_some()).count(), "mids are unique");
        assert!(mids.iter().all(|mid| mid.len() <= 16));
        let group: Vec<&str> = attribute(&blocks[0], "group").map_or(Vec::new(), |group| group.split(' ').skip(1).collect());
        let bundled: BTreeSet<&str> = group.iter().copied().collect();
        assert_eq!(bundled, used.iter().filter_map(|block| attribute(block, "mid")).collect(), "what is in use is bundled, nothing else");
        assert_eq!(bundled.len(), group.len());
        if let Some(tagged) = group.first().map(|tag| used.iter().find(|block| attribute(block, "mid") == Some(*tag)).unwrap()) {
            assert_eq!(attribute(tagged, "setup"), Some(setup));
            assert!(attribute(tagged, "candidate").is_some() && tagged.contains(&"a=end-of-candidates"));
            assert_eq!(attribute(tagged, "ice-ufrag"), attribute(&blocks[0], "ice-ufrag"));
            self.server_ufrag = attribute(tagged, "ice-ufrag").unwrap().to_owned();
        }
        let mut ssrcs = BTreeSet::new();
        for block in used {
            for ssrc in attributes(block, "ssrc") {
                assert!(ssrcs.insert(ssrc), "{ssrc} is in one m-line only");
            }
            for (table, name) in [(&mut self.payload_types, "rtpmap"), (&mut self.extensions, "extmap")] {
                for (number, meaning) in attributes(block, name).map(|value| value.split_once(' ').unwrap()) {
                    let known = table.entry(number.into()).or_insert_with(|| meaning.into());
                    assert!(known.eq_ignore_ascii_case(meaning), "{name} {number} means {known} and {meaning}");
                }
            }
            if media(block).0 != "application" {
                assert!(block.contains(&"a=rtcp-mux"));
                let listed: BTreeSet<&str> = block[0].split(' ').skip(3).collect();
                let described: BTreeSet<&str> = attributes(block, "rtpmap").filter_map(|value| value.split(' ').next()).collect();
                assert_eq!(listed, described, "every payload type is described");
            }
        }
        blocks
    }

    /// The slots' m-lines in use, in order.
    pub fn receiving(&self) -> Vec<&str> {
        self.lines.iter().filter(|line| !line.own && !line.stopped).map(|line| line.mid.as_str()).collect()
    }
}

fn media<'a>(block: &[&'a str]) -> (&'a str, &'a str) {
    let mut words = block[0].strip_prefix("m=").unwrap().split(' ');
    (words.next().unwrap(), words.next().unwrap())
}
