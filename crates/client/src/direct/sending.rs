//! Sending: packets of one source in bursts, sealed together, one system call for those of one length; and what receivers ask of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use switchyard_protocol::Kind;
use switchyard_rtp::extension::Extension;
use switchyard_rtp::rtcp::{RtcpWriter, SenderInfo};
use switchyard_rtp::rtp::{HeaderFields, write_header};
use switchyard_rtp::srtp::{Sealer, StreamIndex};

use super::Lane;

/// Packets that a source can send again: two seconds of a high video rate, as browsers keep.
const HISTORY: usize = 512;
/// Bytes of the longest datagram.
const MAX_DATAGRAM: usize = 1500;
/// Datagrams collected before they are sent; the kernel takes at most 64 in one run.
const BURST: usize = 64;
/// Before the same packet is sent again, in microseconds: requests of several receivers come together at the server, which asks once.
const AGAIN: u64 = 20_000;
/// What is asked for at once is sent at once, but no more than this.
const MAX_WANTED: usize = 256;

/// The extensions a source writes, by the ids that were negotiated; 0: not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extensions {
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level` (RFC 6464).
    audio_level: u8,
    /// `abs-send-time`.
    send_time: u8,
    /// Transport-wide sequence numbers.
    transport: u8,
    /// The m-line, the stream and the stream that is sent again (RFC 8852, RFC 9143).
    mid: u8,
    rid: u8,
    repaired_rid: u8,
}

/// How a stream is told from the others when its SSRC is not announced.
#[derive(Clone, Debug)]
pub(crate) struct StreamName {
    /// The m-line.
    pub(crate) mid: String,
    /// Which of the m-line's (RFC 8851).
    pub(crate) rid: String,
}

/// What all sources of a participant share.
#[derive(Default)]
pub(super) struct Transmission {
    extensions: HashMap<Kind, Extensions>,
    transport_sequence: u16,
    sources: HashMap<u32, Source>,
}

struct Source {
    stream: StreamIndex,
    /// Of retransmissions.
    rtx: Option<(u32, u8, StreamIndex, u64)>,
    /// Clear packets by index modulo [`HISTORY`]; video only.
    history: Vec<Kept>,
    wanted: Vec<u16>,
    highest: u64,
    requests: Arc<AtomicU64>,
    name: Option<StreamName>,
    /// The receiver has reported on it, so that it knows whose it is.
    acknowledged: bool,
}

#[derive(Clone, Default)]
struct Kept {
    index: u64,
    header_len: usize,
    packet: Vec<u8>,
    again: u64,
}

impl Transmission {
    /// Reads which extensions the server takes, from its description's first section of each kind.
    pub(super) fn describe(&mut self, sdp: &str) {
        for (kind, start) in [(Kind::Audio, "\nm=audio "), (Kind::Video, "\nm=video ")] {
            let Some((_, section)) = sdp.split_once(start) else { continue };
            let section = section.split("\nm=").next().unwrap_or(section);
            let id = |uri: &str| {
                section
                    .lines()
                    .filter_map(|line| line.strip_prefix("a=extmap:")?.split_once(' '))
                    .find(|(_, rest)| rest.trim_end() == uri)
                    .and_then(|(id, _)| id.split('/').next()?.parse().ok())
                    .unwrap_or(0)
            };
            self.extensions.entry(kind).or_insert_with(|| Extensions {
                audio_level: id("urn:ietf:params:rtp-hdrext:ssrc-audio-level"),
                send_time: id("http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"),
                transport: id(Extension::TransportSequence.uri()),
                mid: id(Extension::Mid.uri()),
                rid: id(Extension::Rid.uri()),
                repaired_rid: id(Extension::RepairedRid.uri()),
            });
        }
    }

    /// The server has reported on a source.
    pub(super) fn acknowledged(&mut self, ssrc: u32) {
        if let Some(source) = self.sources.get_mut(&ssrc) {
            source.acknowledged = true;
        }
    }

    pub(super) fn keyframe_requested(&mut self, ssrc: u32) {
        if let Some(source) = self.sources.get(&ssrc) {
            source.requests.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn handle_nack(&mut self, ssrc: u32, sequences: impl Iterator<Item = u16>) {
        if let Some(source) = self.sources.get_mut(&ssrc) {
            let room = MAX_WANTED.saturating_sub(source.wanted.len());
            source.wanted.extend(sequences.take(room));
        }
    }

    /// Sends again what was asked for: by RTX where negotiated. Where not, the packet as it was would have to be sealed under an index that
    /// was used before, so it stays lost.
    pub(super) fn retransmit(&mut self, now: u64, sealer: &mut Sealer, mut send: impl FnMut(&[u8])) {
        let extensions = self.extensions.get(&Kind::Video).copied().unwrap_or_default();
        for source in self.sources.values_mut() {
            let wanted = std::mem::take(&mut source.wanted);
            let Some((ssrc, payload_type, stream, next)) = &mut source.rtx else { continue };
            for sequence in wanted {
                let behind = (source.highest as u16).wrapping_sub(sequence);
                let index = source.highest.wrapping_sub(u64::from(behind));
                let Some(kept) = source.history.get_mut(index as usize % HISTORY) else { continue };
                if kept.index != index || kept.packet.is_empty() || now < kept.again {
                    continue;
                }
                kept.again = now + AGAIN;
                let mut datagram = [0; MAX_DATAGRAM + 64];
                let fields = HeaderFields {
                    marker: kept.packet[1] & 0x80 != 0,
                    payload_type: *payload_type,
                    sequence: *next as u16,
                    timestamp: u32::from_be_bytes(kept.packet[4..8].try_into().expect("four bytes")),
                    ssrc: *ssrc,
                };
                let name = source.name.iter();
                let name = name.flat_map(|name| [(extensions.mid, name.mid.as_bytes()), (extensions.repaired_rid, name.rid.as_bytes())]);
                let Ok(header) = write_header(&mut datagram, &fields, name.filter(|(id, _)| *id != 0)) else { continue };
                let payload = &kept.packet[kept.header_len..];
                datagram[header..header + 2].copy_from_slice(&sequence.to_be_bytes());
                datagram[header + 2..header + 2 + payload.len()].copy_from_slice(payload);
                if let Ok(len) = sealer.seal_rtp(*stream, *next, &mut datagram, header, header + 2 + payload.len()) {
                    send(&datagram[..len]);
                }
                *next += 1;
            }
        }
    }
}

/// Sends one track's packets. Made by [`crate::Client::sender`] and [`crate::HttpSession::senders`].
pub struct Sender {
    lane: Arc<Lane>,
    kind: Kind,
    ssrc: u32,
    payload_type: u8,
    rtx: Option<(u32, u8)>,
    name: Option<StreamName>,
    /// The next packet's index (RFC 3711 §3.3.1).
    index: u64,
    packets: u32,
    octets: u32,
    requests: Arc<AtomicU64>,
    /// Sealed datagrams of one burst, one after the other, and their lengths.
    burst: Vec<u8>,
    lengths: Vec<usize>,
}

/// What a packet's header says, besides what its source says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outgoing {
    /// On the media's clock.
    pub timestamp: u32,
    /// The last of a video frame, the first of a talk spurt.
    pub marker: bool,
    /// Bytes of payload.
    pub payload: usize,
    /// The audio level in −dBov, 0 (loudest) to 127, and whether it is speech (RFC 6464).
    pub audio_level: Option<(u8, bool)>,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("kind", &self.kind).field("ssrc", &self.ssrc).field("packets", &self.packets).finish_non_exhaustive()
    }
}

impl Sender {
    pub(crate) fn new(lane: Arc<Lane>, kind: Kind, ssrc: u32, payload_type: u8, rtx: Option<(u32, u8)>, name: Option<StreamName>) -> Self {
        let requests = Arc::default();
        Self {
            lane,
            kind,
            ssrc,
            payload_type,
            rtx,
            name,
            index: 1,
            packets: 0,
            octets: 0,
            requests,
            burst: Vec::with_capacity(BURST * MAX_DATAGRAM),
            lengths: Vec::new(),
        }
    }

    /// Audio or video.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Which stream it sends.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Packets sent.
    pub fn packets(&self) -> u64 {
        self.index - 1
    }

    /// How often receivers have asked for a keyframe.
    pub fn keyframe_requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Adds a packet to the burst, its payload written by `write`. Nothing happens before the transport is connected: whether it is.
    pub fn push(&mut self, outgoing: &Outgoing, write: impl FnOnce(&mut [u8])) -> bool {
        let mut state = self.lane.lock();
        if !state.prepare(&self.lane.keys) || state.remote.is_none() {
            return false;
        }
        let super::State { crypto: Some((_, sealer)), transmission, .. } = &mut *state else { return false };
        let transport = transmission.transport_sequence.to_be_bytes();
        let extensions = transmission.extensions.get(&self.kind).copied().unwrap_or_default();
        let source = match transmission.sources.entry(self.ssrc) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let Ok(stream) = sealer.add_stream(self.ssrc) else { return false };
                let rtx = self.rtx.and_then(|(ssrc, payload_type)| Some((ssrc, payload_type, sealer.add_stream(ssrc).ok()?, 1)));
                let history = if rtx.is_some() { vec![Kept::default(); HISTORY] } else { Vec::new() };
                entry.insert(Source {
                    stream,
                    rtx,
                    history,
                    wanted: Vec::new(),
                    highest: 0,
                    requests: self.requests.clone(),
                    name: self.name.clone(),
                    acknowledged: false,
                })
            }
        };
        let send_time = send_time(crate::now_micros());
        let level = outgoing.audio_level.map_or([0], |(level, voice)| [level.min(127) | u8::from(voice) << 7]);
        // As browsers do: until the receiver has shown that it knows whose stream it is.
        let name = source.name.as_ref().filter(|_| !source.acknowledged);
        let (mid, rid) = name.map_or((&[][..], &[][..]), |name| (name.mid.as_bytes(), name.rid.as_bytes()));
        let values: [(u8, &[u8]); 5] = [
            (if outgoing.audio_level.is_some() { extensions.audio_level } else { 0 }, &level),
            (extensions.send_time, &send_time),
            (extensions.transport, &transport),
            (if name.is_some() { extensions.mid } else { 0 }, mid),
            (if name.is_some() { extensions.rid } else { 0 }, rid),
        ];
        let fields = HeaderFields {
            marker: outgoing.marker,
            payload_type: self.payload_type,
            sequence: self.index as u16,
            timestamp: outgoing.timestamp,
            ssrc: self.ssrc,
        };
        let start = self.burst.len();
        self.burst.resize(start + MAX_DATAGRAM + 64, 0);
        let packet = &mut self.burst[start..];
        let payload = outgoing.payload.min(MAX_DATAGRAM - 64);
        let sealed = write_header(packet, &fields, values.into_iter().filter(|(id, _)| *id != 0)).ok().and_then(|header_len| {
            let len = header_len + payload;
            write(&mut packet[header_len..len]);
            if !source.history.is_empty() {
                let kept = &mut source.history[self.index as usize % HISTORY];
                kept.packet.clear();
                kept.packet.extend_from_slice(&packet[..len]);
                (kept.index, kept.header_len, kept.again) = (self.index, header_len, 0);
            }
            sealer.seal_rtp(source.stream, self.index, packet, header_len, len).ok()
        });
        let Some(len) = sealed else {
            self.burst.truncate(start);
            return false;
        };
        self.burst.truncate(start + len);
        self.lengths.push(len);
        source.highest = self.index;
        self.index += 1;
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload as u32);
        transmission.transport_sequence = transmission.transport_sequence.wrapping_add(1);
        drop(state);
        if self.lengths.len() == BURST {
            self.flush();
        }
        true
    }

    /// Sends the burst: a run for each stretch of packets of one length, of which the last may be shorter.
    pub fn flush(&mut self) {
        let remote = self.lane.lock().remote;
        if let (Some(remote), Some(port)) = (remote, self.lane.port()) {
            let (mut at, mut next) = (0, 0);
            while next < self.lengths.len() {
                let segment = self.lengths[next];
                let (mut len, mut count) = (segment, 1);
                while let Some(&more) = self.lengths.get(next + count).filter(|more| **more <= segment && len + **more < 65_000) {
                    len += more;
                    count += 1;
                    if more < segment {
                        break;
                    }
                }
                port.send_run(remote, &self.burst[at..at + len], segment);
                at += len;
                next += count;
            }
        }
        self.burst.clear();
        self.lengths.clear();
    }

    /// Sends a sender report: the NTP time (RFC 3550 §4) at which the media's clock says `timestamp`.
    pub fn report(&mut self, ntp: u64, timestamp: u32) {
        let mut state = self.lane.lock();
        let super::State { crypto: Some((_, sealer)), remote: Some(remote), .. } = &mut *state else { return };
        let mut buffer = [0; 128];
        let mut writer = RtcpWriter::new(&mut buffer[..96]);
        let info = SenderInfo { ssrc: self.ssrc, ntp, rtp: timestamp, packets: self.packets, octets: self.octets };
        if writer.sender_report(&info, []).is_err() {
            return;
        }
        let len = writer.len();
        if let (Ok(len), Some(port)) = (sealer.seal_rtcp(&mut buffer, len), self.lane.port()) {
            port.send(*remote, &buffer[..len]);
        }
    }
}

/// The 24 bits of abs-send-time: seconds in 6.18 bits.
fn send_time(micros: u64) -> [u8; 3] {
    let fixed = ((u128::from(micros) << 18) / 1_000_000) as u32;
    let [_, a, b, c] = (fixed & 0x00ff_ffff).to_be_bytes();
    [a, b, c]
}
