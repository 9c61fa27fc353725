//! The m-lines of a session as they stand, or as an offer proposes them, and the text that says so.

use std::fmt::Write;
use std::sync::Arc;

use switchyard_rtp::codec::MediaKind;

use crate::description::{Direction, MediaType, Mid, Section};
use crate::profile::{Body, Known, Profile};
use crate::{Candidate, Config, IceCredentials, Mode, Receiver, Remote, Sender, Shared, Simulcast, Slot, SsrcPair};

/// What an m-line is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Stopped on both sides: whoever needs one next recycles it (RFC 9429 §5.2.2).
    Stopped,
    /// Offered by the server as stopped.
    Stopping,
    /// The data channels.
    Data,
    /// The client sends.
    Client,
    /// The server sends; the slot's index.
    Slot(usize),
}

/// One m-line.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// `None` only if stopped by a client that forgot the name.
    pub(crate) mid: Option<Mid>,
    pub(crate) media: MediaType,
    pub(crate) role: Role,
    /// The server's.
    pub(crate) direction: Direction,
    pub(crate) protocol: &'static str,
    /// Audio and video in use.
    pub(crate) body: Option<Arc<Body>>,
    /// A slot's; RTX where it is offered.
    pub(crate) ssrcs: Option<SsrcPair>,
    /// What the client sends at once; the server receives all of it.
    pub(crate) simulcast: Simulcast,
    /// The `m=` line that refuses it; of a stopped one.
    pub(crate) refusal: Option<Arc<str>>,
    /// What the client last wrote of it.
    pub(crate) seen: Option<Arc<Section>>,
}

impl Line {
    /// The client's line, stopped by either side.
    pub(crate) fn stopped(section: &Arc<Section>) -> Self {
        Self {
            mid: section.mid,
            media: section.media,
            role: Role::Stopped,
            direction: INACTIVE,
            protocol: "",
            body: None,
            ssrcs: None,
            simulcast: Simulcast::Off,
            refusal: Some(Arc::clone(&section.refusal)),
            seen: Some(Arc::clone(section)),
        }
    }

    /// A line of a new slot.
    pub(crate) fn of_slot(mid: Mid, kind: MediaKind, index: usize, ssrcs: SsrcPair, body: &Arc<Body>) -> Self {
        Self {
            mid: Some(mid),
            media: kind.into(),
            role: Role::Slot(index),
            direction: SENDONLY,
            protocol: RTP,
            body: Some(Arc::clone(body)),
            ssrcs: Some(ssrcs),
            simulcast: Simulcast::Off,
            refusal: None,
            seen: None,
        }
    }

    /// Stops a line of the server's own.
    pub(crate) fn stop(&mut self) {
        let name = if self.media == MediaType::Audio { "audio" } else { "video" };
        let format = self.body.as_ref().and_then(|body| body.profile.codecs.first()).map_or(0, |agreed| agreed.payload_type);
        self.refusal = Some(format!("{name} 0 {RTP} {format}").into());
        self.body = None;
        self.direction = INACTIVE;
        self.role = Role::Stopping;
    }

    pub(crate) fn is_used(&self) -> bool {
        !matches!(self.role, Role::Stopped | Role::Stopping)
    }
}

pub(crate) const RTP: &str = "UDP/TLS/RTP/SAVPF";
pub(crate) const INACTIVE: Direction = Direction { sends: false, receives: false };
pub(crate) const SENDONLY: Direction = Direction { sends: true, receives: false };
pub(crate) const RECVONLY: Direction = Direction { sends: false, receives: true };

/// Everything that an offer and its answer agree on. The next one is built beside it and replaces it as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) lines: Vec<Line>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) receivers: Vec<Receiver>,
    pub(crate) remote: Option<Remote>,
    pub(crate) local_ice: IceCredentials,
    pub(crate) known: Known,
    /// Which line tags the BUNDLE group: its transport is everyone's (RFC 9143 §7). It stays as long as it is in use, since a browser gives
    /// a new line new credentials, whatever its group.
    pub(crate) tag: Option<usize>,
    /// What slots are offered with, by kind; made with the first slot.
    pub(crate) to_send: [Option<Arc<Body>>; 2],
    /// Whether that is what the client took up of the first offer of it. What it left is never offered again: Firefox gives the ids of
    /// extensions it refused to others.
    pub(crate) settled: [bool; 2],
}

impl Layout {
    pub(crate) fn new(local_ice: IceCredentials) -> Self {
        Self {
            lines: Vec::new(),
            slots: Vec::new(),
            receivers: Vec::new(),
            remote: None,
            local_ice,
            known: Known::default(),
            tag: None,
            to_send: [None, None],
            settled: [false, false],
        }
    }

    /// What slots of this kind are offered with.
    pub(crate) fn body_to_send(&mut self, kind: MediaKind) -> Arc<Body> {
        let known = &mut self.known;
        let body = self.to_send[kind as usize].get_or_insert_with(|| {
            let profile = Profile::to_send(kind, known);
            known.take(&profile);
            Body::new(profile)
        });
        Arc::clone(body)
    }

    /// Takes as little room as it can: it stays like this for a while, commonly until the session ends.
    pub(crate) fn settle(&mut self, shared: &Shared) {
        let bodies = self.lines.iter_mut().map(|line| &mut line.body).chain(&mut self.to_send);
        for body in bodies.flatten() {
            *body = shared.body(body);
        }
        self.lines.shrink_to_fit();
        self.slots.shrink_to_fit();
        self.receivers.shrink_to_fit();
    }

    /// The sender of a slot's line.
    pub(crate) fn sender(&mut self, index: usize, media: MediaType) -> Option<&mut Sender> {
        let slot = self.slots.get_mut(index)?;
        Some(if media == MediaType::Audio { &mut slot.audio } else { &mut slot.video })
    }

    /// The whole description. `setup` is the server's DTLS role: `passive` in an answer, `actpass` in an offer (RFC 8842 §5.2).
    pub(crate) fn write(&self, config: &Config, version: u64, setup: &str) -> String {
        let bodies: usize = self.lines.iter().map(|line| 512 + line.body.as_ref().map_or(0, |body| body.lines.len())).sum();
        let mut out = String::with_capacity(1024 + bodies);
        let session = config.session_id & (u64::MAX >> 1);
        let _ = write!(out, "v=0\r\no=- {session} {version} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
        out.push_str("a=ice-lite\r\na=ice-options:trickle\r\na=extmap-allow-mixed\r\na=msid-semantic:WMS *\r\n");
        // For all sections at once: Chromium refuses bundled m-lines that no credentials and no fingerprint apply to, though only the
        // tagged section's count (RFC 9143 §7.1.3). That one repeats them, because some look for them nowhere else.
        self.write_transport(&mut out, config, setup);
        self.write_group(&mut out);
        for (index, line) in self.lines.iter().enumerate() {
            let tagged = self.tag == Some(index);
            // Clients of plain HTTP are of many kinds, and GStreamer 1.22 takes no section without a `setup`; browsers write all of it
            // into each.
            let transport = tagged || line.is_used() && config.mode != Mode::Meeting;
            self.write_line(&mut out, line, transport.then_some((config, setup)));
            if tagged {
                write_candidates(&mut out, &config.candidates);
            }
            self.write_streams(&mut out, line);
        }
        out
    }

    /// The ICE half of it as a fragment (RFC 8840 §9), with the attributes that stay the same (RFC 9725 §4.3.3).
    pub(crate) fn write_fragment(&self, config: &Config) -> String {
        let mut out = String::from("a=ice-lite\r\na=ice-options:trickle\r\n");
        self.write_group(&mut out);
        let Some(tagged) = self.tagged() else { return out };
        write_media(&mut out, tagged);
        let IceCredentials { ufrag, pwd } = &self.local_ice;
        let _ = write!(out, "a=mid:{}\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n", mid(tagged));
        write_candidates(&mut out, &config.candidates);
        out
    }

    fn tagged(&self) -> Option<&Line> {
        self.tag.and_then(|tag| self.lines.get(tag))
    }

    /// The BUNDLE group, the tagging line first.
    fn write_group(&self, out: &mut String) {
        let Some(tagged) = self.tagged() else { return };
        out.push_str("a=group:BUNDLE ");
        out.push_str(mid(tagged));
        for (_, line) in self.lines.iter().enumerate().filter(|(index, line)| line.is_used() && self.tag != Some(*index)) {
            out.push(' ');
            out.push_str(mid(line));
        }
        out.push_str("\r\n");
    }

    fn write_transport(&self, out: &mut String, config: &Config, setup: &str) {
        let (IceCredentials { ufrag, pwd }, fingerprint) = (&self.local_ice, &config.fingerprint);
        let _ = write!(out, "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\na=fingerprint:sha-256 {fingerprint}\r\na=setup:{setup}\r\n");
    }

    fn write_line(&self, out: &mut String, line: &Line, transport: Option<(&Config, &str)>) {
        write_media(out, line);
        out.push_str("c=IN IP4 0.0.0.0\r\n");
        if line.mid.is_some() {
            let _ = write!(out, "a=mid:{}\r\n", mid(line));
        }
        if let Some((config, setup)) = transport {
            self.write_transport(out, config, setup);
        }
    }

    fn write_streams(&self, out: &mut String, line: &Line) {
        if line.role == Role::Data {
            out.push_str("a=sctp-port:5000\r\na=max-message-size:262144\r\n");
            return;
        }
        out.push_str(match line.direction {
            SENDONLY => "a=sendonly\r\n",
            RECVONLY => "a=recvonly\r\n",
            _ => "a=inactive\r\n",
        });
        let Some(body) = &line.body else { return };
        out.push_str("a=rtcp-mux\r\na=rtcp-rsize\r\n");
        out.push_str(&body.lines);
        let rids = line.simulcast.rids();
        for rid in rids {
            let _ = write!(out, "a=rid:{rid} recv\r\n");
        }
        if !rids.is_empty() {
            let _ = write!(out, "a=simulcast:recv {}\r\n", rids.join(";"));
        }
        if let (Role::Slot(index), Some(SsrcPair { ssrc, rtx })) = (line.role, line.ssrcs) {
            let name = if line.media == MediaType::Audio { "audio" } else { "video" };
            let _ = write!(out, "a=msid:slot-{index} slot-{index}-{name}\r\n");
            if let Some(rtx) = rtx.filter(|_| body.profile.has_rtx()) {
                let _ = write!(out, "a=ssrc-group:FID {ssrc} {rtx}\r\n");
            }
            // The media's own comes first: Chromium takes the first line for the primary SSRC, whatever the group says.
            for ssrc in [Some(ssrc), rtx.filter(|_| body.profile.has_rtx())].into_iter().flatten() {
                let _ = write!(out, "a=ssrc:{ssrc} cname:slot-{index}\r\n");
            }
        }
    }
}

/// The `m=` line.
fn write_media(out: &mut String, line: &Line) {
    let _ = match line.role {
        Role::Stopped | Role::Stopping => write!(out, "m={}\r\n", line.refusal.as_deref().unwrap_or_default()),
        Role::Data => write!(out, "m=application 9 {} webrtc-datachannel\r\n", line.protocol),
        Role::Client | Role::Slot(_) => {
            let name = if line.media == MediaType::Audio { "audio" } else { "video" };
            write!(out, "m={name} 9 {} {}\r\n", line.protocol, line.body.as_ref().map_or("", |body| &body.formats))
        }
    };
}

/// All candidates: a lite agent knows them from the start.
fn write_candidates(out: &mut String, candidates: &[Candidate]) {
    for (index, candidate) in candidates.iter().enumerate() {
        write_candidate(out, index, candidate);
    }
    out.push_str("a=end-of-candidates\r\n");
}

fn mid(line: &Line) -> &str {
    line.mid.as_ref().map_or("", Mid::as_str)
}

/// A host candidate (RFC 8839 §5.1), the earlier the more preferred (RFC 8445 §5.1.2.1), and UDP's before TCP's (RFC 6544 §4.2 and §4.5).
fn write_candidate(out: &mut String, index: usize, candidate: &Candidate) {
    let (foundation, ip, port) = (index + 1, candidate.addr.ip(), candidate.addr.port());
    let index = index.min(8_191) as u32;
    let _ = if candidate.tcp {
        let priority = 90 << 24 | (4 << 13 | (8_191 - index)) << 8 | 255;
        write!(out, "a=candidate:{foundation} 1 tcp {priority} {ip} {port} typ host tcptype passive\r\n")
    } else {
        let priority = 126 << 24 | (65_535 - index) << 8 | 255;
        write!(out, "a=candidate:{foundation} 1 udp {priority} {ip} {port} typ host\r\n")
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_of_tcp_are_passive_and_come_after_all_of_udp() {
        let mut text = String::new();
        let candidate = |addr: &str, tcp| Candidate { addr: addr.parse().unwrap(), tcp };
        write_candidates(
            &mut text,
            &[candidate("192.0.2.1:80", false), candidate("[2001:db8::1]:80", false), candidate("192.0.2.1:443", true)],
        );
        let lines: Vec<&str> = text.lines().collect();
        // 90 × 2^24 + (4 × 2^13 + 8189) × 2^8 + 255 (RFC 8445 §5.1.2.1, RFC 6544 §4.2).
        assert_eq!(lines[2], "a=candidate:3 1 tcp 1520434687 192.0.2.1 443 typ host tcptype passive");
        let priority = |line: &str| line.split(' ').nth(3).and_then(|priority| priority.parse::<u32>().ok()).unwrap();
        assert!(priority(lines[0]) > priority(lines[1]) && priority(lines[1]) > priority(lines[2]), "{text}");
    }
}
