//! Clients that seal and open with real keys, around forwarders under virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_stun::attributes::{ATTR_ICE_CONTROLLING, ATTR_USE_CANDIDATE, ATTR_USERNAME};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, Message, Setter};
use switchyard_netem::Line;
use switchyard_rtp::codec::{Codec, CodecTable, MediaKind, Payload, PayloadTypes};
use switchyard_rtp::rtcp::RtcpWriter;
use switchyard_rtp::rtp::{HeaderFields, pad, write_header};
use switchyard_rtp::srtp::{MasterKey, Opener, Profile, Sealer, SrtpKeys};
use switchyard_rtp::{Extension, ExtensionMap, Header};

use crate::{
    Batch, Command, Config, Event, Forwarder, IceCredentials, Origin, Path, PeerKey, Received, ReceiverConfig, Remote, Run, SenderConfig,
    Simulcast, SocketId, TrackKey, TrunkPacket, Wire, WorkerIndex,
};

pub(super) const VP8: u8 = 96;
pub(super) const VP8_RTX: u8 = 97;
pub(super) const VP9: u8 = 98;
pub(super) const OPUS: u8 = 111;

/// What one forwarder put out.
#[derive(Default)]
pub(super) struct Out {
    pub(super) datagrams: Vec<(Path, Vec<u8>)>,
    pub(super) runs: Vec<Run>,
    pub(super) events: Vec<Event>,
    pub(super) handed: Vec<(WorkerIndex, Path, Instant, Vec<u8>)>,
    pub(super) trunk: Vec<(WorkerIndex, TrunkPacket, Vec<u8>)>,
    pub(super) told: Vec<(WorkerIndex, Remote)>,
    /// Put before other workers since [`Wire::deliver`].
    undelivered: usize,
}

impl Wire for Out {
    fn send(&mut self, bytes: &[u8], runs: &[Run]) {
        assert_eq!(self.undelivered, 0, "other workers wait until this one has sent");
        for run in runs {
            self.runs.push(*run);
            for datagram in bytes[run.start..run.start + run.len].chunks(run.segment) {
                self.datagrams.push((run.path, datagram.to_vec()));
            }
        }
    }
    fn hand_over(&mut self, to: WorkerIndex, path: &Path, at: Instant, datagram: &[u8]) {
        self.handed.push((to, *path, at, datagram.to_vec()));
    }
    fn trunk(&mut self, to: WorkerIndex, packet: &TrunkPacket, bytes: &[u8]) {
        self.undelivered += 1;
        self.trunk.push((to, *packet, bytes.to_vec()));
    }
    fn deliver(&mut self) {
        self.undelivered = 0;
    }
    fn tell(&mut self, to: WorkerIndex, message: Remote) {
        self.told.push((to, message));
    }
    fn event(&mut self, event: Event) {
        self.events.push(event);
    }
}

/// A participant's end: its address, its keys, what it received.
pub(super) struct Client {
    pub(super) key: PeerKey,
    pub(super) worker: usize,
    pub(super) path: Path,
    pub(super) ice: IceCredentials,
    sealer: Sealer,
    opener: Opener,
    streams: BTreeMap<u32, u64>,
    /// Header extensions that packets of an SSRC carry: id and value.
    pub(super) named: BTreeMap<u32, Vec<(u8, &'static str)>>,
    /// Packets it sends end no picture.
    pub(super) unmarked: bool,
    /// Opened RTP packets: header, payload.
    pub(super) rtp: VecDeque<(Header, Vec<u8>)>,
    /// Opened RTCP compounds.
    pub(super) rtcp: Vec<Vec<u8>>,
    /// Every SRTP datagram as it came.
    pub(super) ciphertexts: Vec<Vec<u8>>,
    /// What it is sent comes over this.
    pub(super) line: Option<Line<Vec<u8>>>,
    /// Transport-wide sequence numbers, and when they came.
    pub(super) arrivals: Vec<(u16, Instant)>,
}

/// Forwarders and clients.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) forwarders: Vec<Forwarder>,
    pub(super) clients: Vec<Client>,
    pub(super) runs: Vec<Run>,
    pub(super) events: Vec<Event>,
}

fn keys(seed: u8, profile: Profile) -> (SrtpKeys, Sealer, Opener) {
    let server = MasterKey { key: [seed; 16], salt: [seed ^ 0x55; 14] };
    let client = MasterKey { key: [seed ^ 0xaa; 16], salt: [seed ^ 0x33; 14] };
    let keys = SrtpKeys { profile, local: server.clone(), remote: client.clone() };
    (keys, Sealer::new(profile, &client), Opener::new(profile, &server))
}

pub(super) fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::default();
    map.set(Extension::Mid, 4);
    map.set(Extension::AudioLevel, 1);
    map.set(Extension::TransportSequence, 3);
    map.set(Extension::Rid, 10);
    map.set(Extension::RepairedRid, 11);
    map
}

pub(super) fn receiver(mid: &str, kind: MediaKind, ssrc: u32) -> ReceiverConfig {
    let mut payloads = PayloadTypes::default();
    payloads.set(VP8, Payload::Media(Codec::Vp8));
    payloads.set(VP8_RTX, Payload::Rtx(Codec::Vp8));
    payloads.set(VP9, Payload::Media(Codec::Vp9Profile0));
    payloads.set(OPUS, Payload::Media(Codec::Opus));
    ReceiverConfig {
        mid: mid.into(),
        kind,
        payloads,
        extensions: extensions(),
        ssrcs: vec![(ssrc, (kind == MediaKind::Video).then_some(ssrc + 1))],
        simulcast: Simulcast::Off,
        nack: kind == MediaKind::Video,
        transport_cc: true,
    }
}

pub(super) fn sender(kind: MediaKind, ssrc: u32, rtx: bool) -> SenderConfig {
    let mut codecs = CodecTable::default();
    codecs.set(Payload::Media(Codec::Vp8), 100);
    if rtx {
        codecs.set(Payload::Rtx(Codec::Vp8), 101);
    }
    codecs.set(Payload::Media(Codec::Vp9Profile0), 102);
    codecs.set(Payload::Media(Codec::Opus), 109);
    SenderConfig {
        codecs,
        extensions: extensions(),
        mid: format!("s{ssrc}"),
        kind,
        ssrc,
        rtx_ssrc: rtx.then_some(ssrc + 1),
        nack: kind == MediaKind::Video,
        remb: false,
    }
}

/// A VP8 payload: descriptor, then a frame tag whose lowest bit tells key and delta frames apart (RFC 7741 §4.3, RFC 6386 §9.1).
pub(super) fn vp8(keyframe: bool, len: usize, fill: u8) -> Vec<u8> {
    let mut payload = vec![fill; len];
    payload[..4].copy_from_slice(&[0x10, u8::from(!keyframe), 0, 0]);
    payload
}

impl World {
    pub(super) fn new(workers: u8) -> Self {
        let now = Instant::now();
        let forwarder = |worker| Forwarder::new(Config { worker: WorkerIndex(worker), workers, epoch: now, epoch_ntp: 0xe000_0000 << 32 });
        Self { now, forwarders: (0..workers).map(forwarder).collect(), clients: Vec::new(), runs: Vec::new(), events: Vec::new() }
    }

    /// A participant with a nominated path and keys.
    pub(super) fn join(&mut self, worker: usize, profile: Profile) -> usize {
        let index = self.clients.len();
        let seed = index as u8 + 1;
        let (keys, sealer, opener) = keys(seed, profile);
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let path = Path { socket: SocketId(0), local, remote: SocketAddr::new(local, 10_000 + index as u16) };
        let ice = IceCredentials::generate(WorkerIndex(worker as u8), [seed; 24]);
        let key = PeerKey(index as u64);
        self.clients.push(Client {
            key,
            worker,
            path,
            ice: ice.clone(),
            sealer,
            opener,
            streams: BTreeMap::new(),
            named: BTreeMap::new(),
            unmarked: false,
            rtp: VecDeque::new(),
            rtcp: Vec::new(),
            ciphertexts: Vec::new(),
            line: None,
            arrivals: Vec::new(),
        });
        self.command(worker, Command::AddPeer { peer: key, ice });
        self.check(index);
        self.command(worker, Command::SetKeys { peer: key, keys: Box::new(keys) });
        index
    }

    /// The client nominates its present path.
    pub(super) fn check(&mut self, client: usize) {
        let (ice, path, worker) = (self.clients[client].ice.clone(), self.clients[client].path, self.clients[client].worker);
        let provider = AwsLcRsProvider::new();
        let mut m = Message::new();
        m.typ = BINDING_REQUEST;
        m.write_header();
        m.add(ATTR_USERNAME, format!("{}:theirs", ice.ufrag).as_bytes());
        m.add(ATTR_ICE_CONTROLLING, &[0; 8]);
        m.add(ATTR_USE_CANDIDATE, &[]);
        MessageIntegrity::new_short_term_integrity_with_provider(ice.pwd, provider.crypto()).add_to(&mut m).unwrap();
        FINGERPRINT.add_to(&mut m).unwrap();
        self.deliver(worker, path, vec![m.raw]);
    }

    pub(super) fn command(&mut self, worker: usize, command: Command) {
        let mut out = Out::default();
        self.forwarders[worker].handle_command(self.now, command, &mut out);
        self.settle(worker, out);
    }

    /// Publishes an m-line of a client's: "0" is audio.
    pub(super) fn publish(&mut self, client: usize, mid: &str, track: u64) {
        let (peer, worker) = (self.clients[client].key, self.clients[client].worker);
        let kind = if mid == "0" { MediaKind::Audio } else { MediaKind::Video };
        self.command(worker, Command::Publish { peer, mid: mid.into(), kind, track: TrackKey(track) });
    }

    pub(super) fn route(&mut self, client: usize, sender: u16, track: Option<u64>) {
        let (peer, worker) = (self.clients[client].key, self.clients[client].worker);
        self.command(worker, Command::Route { peer, sender, track: track.map(TrackKey) });
    }

    /// One batch of datagrams from `path` to a worker.
    pub(super) fn deliver(&mut self, worker: usize, path: Path, datagrams: Vec<Vec<u8>>) {
        let now = self.now;
        self.deliver_late(worker, path, datagrams.into_iter().map(|datagram| (now, datagram)).collect());
    }

    /// One batch of datagrams, each of which arrived at its time, from `path` to a worker that takes them now.
    pub(super) fn deliver_late(&mut self, worker: usize, path: Path, datagrams: Vec<(Instant, Vec<u8>)>) {
        self.deliver_together(worker, datagrams.into_iter().map(|(at, datagram)| (path, at, datagram)).collect());
    }

    /// One batch of datagrams, each from its path.
    fn deliver_together(&mut self, worker: usize, datagrams: Vec<(Path, Instant, Vec<u8>)>) {
        let mut batch = Batch { bytes: Vec::new(), received: Vec::new() };
        for (path, at, datagram) in datagrams {
            batch.received.push(Received { start: batch.bytes.len(), len: datagram.len(), origin: Origin::Path { path, at } });
            batch.bytes.extend(datagram);
        }
        let mut out = Out::default();
        self.forwarders[worker].handle_batch(self.now, &mut batch, &mut out);
        self.settle(worker, out);
    }

    /// Delivers what a forwarder put out: to clients, to the other forwarders.
    fn settle(&mut self, from: usize, mut out: Out) {
        self.runs.append(&mut out.runs);
        self.events.append(&mut out.events);
        for (path, datagram) in out.datagrams {
            let Some(index) = self.clients.iter().position(|client| client.path.remote == path.remote) else { continue };
            match &mut self.clients[index].line {
                Some(line) => {
                    line.push(self.now, datagram.len(), datagram);
                }
                None => self.clients[index].receive(self.now, datagram),
            }
        }
        for (to, message) in out.told {
            let mut out = Out::default();
            self.forwarders[usize::from(to.0)].handle_remote(self.now, message, &mut out);
            self.settle(usize::from(to.0), out);
        }
        for (to, path, at, datagram) in out.handed {
            assert_ne!(usize::from(to.0), from, "a datagram is not handed over to oneself");
            self.deliver_late(usize::from(to.0), path, vec![(at, datagram)]);
        }
        for (to, packet, bytes) in out.trunk {
            let len = bytes.len();
            let mut batch = Batch { bytes, received: vec![Received { start: 0, len, origin: Origin::Trunk(packet) }] };
            let mut out = Out::default();
            self.forwarders[usize::from(to.0)].handle_batch(self.now, &mut batch, &mut out);
            self.settle(usize::from(to.0), out);
        }
    }

    /// Lets time pass, with every timeout and arrival on the way.
    pub(super) fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let arrival = |client: &Client| client.line.as_ref().and_then(Line::poll_timeout);
            let next = (0..self.clients.len()).filter_map(|i| arrival(&self.clients[i]).map(|at| (at, i))).min();
            let timeout = self.forwarders.iter().filter_map(Forwarder::poll_timeout).min();
            if let Some((at, index)) = next.filter(|(at, _)| *at <= end && timeout.is_none_or(|timeout| *at <= timeout)) {
                self.now = self.now.max(at);
                if let Some(datagram) = self.clients[index].line.as_mut().and_then(|line| line.poll(self.now)) {
                    self.clients[index].receive(self.now, datagram);
                }
                continue;
            }
            let next = (0..self.forwarders.len()).filter_map(|i| self.forwarders[i].poll_timeout().map(|at| (at, i))).min();
            match next {
                Some((at, index)) if at <= end => {
                    self.now = self.now.max(at);
                    let mut out = Out::default();
                    self.forwarders[index].handle_timeout(self.now, &mut out);
                    assert!(self.forwarders[index].poll_timeout() != Some(at), "a timeout that was handled is over");
                    self.settle(index, out);
                }
                _ => break,
            }
        }
        self.now = end;
    }

    /// Sends RTP of a client's in one batch: (ssrc, payload type, sequence, timestamp, payload). One without payload is padded.
    pub(super) fn send(&mut self, client: usize, packets: &[(u32, u8, u64, u32, Vec<u8>)]) {
        let datagrams = packets.iter().map(|packet| self.clients[client].seal(packet)).collect();
        let (worker, path) = (self.clients[client].worker, self.clients[client].path);
        self.deliver(worker, path, datagrams);
    }

    /// One batch of a packet of each of these clients of a worker's.
    pub(super) fn send_together(&mut self, worker: usize, clients: &[usize], packets: &[(u32, u8, u64, u32, Vec<u8>)]) {
        let datagrams = clients.iter().zip(packets).map(|(&client, packet)| {
            let client = &mut self.clients[client];
            (client.path, self.now, client.seal(packet))
        });
        let datagrams = datagrams.collect();
        self.deliver_together(worker, datagrams);
    }

    /// Sends a packet of sound of this level (RFC 6464).
    pub(super) fn send_with_level(&mut self, client: usize, packet: &(u32, u8, u64, u32, Vec<u8>), level: u8) {
        let datagram = self.clients[client].seal_with(packet, Some(level));
        let (worker, path) = (self.clients[client].worker, self.clients[client].path);
        self.deliver(worker, path, vec![datagram]);
    }

    pub(super) fn send_rtcp(&mut self, client: usize, write: impl FnOnce(&mut RtcpWriter<'_>)) {
        let mut buffer = vec![0; 1_500];
        let mut writer = RtcpWriter::new(&mut buffer);
        write(&mut writer);
        let len = writer.len();
        let len = self.clients[client].sealer.seal_rtcp(&mut buffer, len).unwrap();
        buffer.truncate(len);
        let (worker, path) = (self.clients[client].worker, self.clients[client].path);
        self.deliver(worker, path, vec![buffer]);
    }
}

impl Client {
    pub(super) fn seal(&mut self, packet: &(u32, u8, u64, u32, Vec<u8>)) -> Vec<u8> {
        self.seal_with(packet, None)
    }

    fn seal_with(&mut self, (ssrc, payload_type, index, timestamp, payload): &(u32, u8, u64, u32, Vec<u8>), level: Option<u8>) -> Vec<u8> {
        let mut packet = vec![0; 1_500];
        let fields = HeaderFields {
            marker: !self.unmarked,
            payload_type: *payload_type,
            sequence: *index as u16,
            timestamp: *timestamp,
            ssrc: *ssrc,
        };
        let transport = (*index as u16).to_be_bytes();
        let level = level.map(|level| [0x80 | level]);
        let extensions = [Some((3, transport.as_slice())), level.as_ref().map(|level| (1, level.as_slice()))];
        let named = self.named.get(ssrc).into_iter().flatten().map(|(id, value)| (*id, value.as_bytes()));
        let header_len = write_header(&mut packet, &fields, extensions.into_iter().flatten().chain(named)).unwrap();
        let mut len = header_len + payload.len();
        packet[header_len..len].copy_from_slice(payload);
        if payload.is_empty() {
            len = pad(&mut packet, len, 200).unwrap();
        }
        let stream = self.sealer.add_stream(*ssrc).unwrap();
        let len = self.sealer.seal_rtp(stream, *index, &mut packet, header_len, len).unwrap();
        packet.truncate(len);
        packet
    }

    fn receive(&mut self, now: Instant, mut datagram: Vec<u8>) {
        if datagram[0] < 4 {
            return;
        }
        if (192..=223).contains(&datagram[1]) {
            let len = self.opener.open_rtcp(&mut datagram).expect("SRTCP opens");
            datagram.truncate(len);
            self.rtcp.push(datagram);
            return;
        }
        self.ciphertexts.push(datagram.clone());
        match self.opener.open_rtp(&mut datagram) {
            Ok(opened) => {
                let highest = self.streams.entry(opened.header.ssrc).or_default();
                *highest = opened.index.max(*highest);
                let number = opened.header.extensions(&datagram).find(|(id, _)| *id == 3).map(|(_, number)| number);
                self.arrivals.extend(number.map(|number| (u16::from_be_bytes([number[0], number[1]]), now)));
                let payload = datagram[opened.header.payload(opened.len)].to_vec();
                self.rtp.push_back((opened.header, payload));
            }
            // The stored ciphertext of a packet that had not been lost.
            Err(switchyard_rtp::srtp::OpenError::Replayed) => {}
            Err(error) => panic!("SRTP opens: {error}"),
        }
    }
}
