//! A participant's end of the media plane on a real socket: it nominates its path, seals, opens. Also for `benches/fan_out`.

#![allow(dead_code, reason = "not every test and bench uses all of it")]

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_stun::attributes::{ATTR_ICE_CONTROLLING, ATTR_USE_CANDIDATE, ATTR_USERNAME};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message, Setter};
use switchyard_forward::{Command, IceCredentials, PeerKey, ReceiverConfig, SenderConfig, Simulcast, Target, TrackKey, WorkerIndex};
use switchyard_rtp::codec::{Codec, CodecTable, MediaKind, Payload, PayloadTypes};
use switchyard_rtp::rtcp::{RtcpWriter, WriteError};
use switchyard_rtp::rtp::{HeaderFields, write_header};
use switchyard_rtp::srtp::{MasterKey, Opener, Profile, Sealer, SrtpKeys};
use switchyard_rtp::{Extension, ExtensionMap, Header};
use switchyard_worker::Workers;

/// What a publisher's video is sent under; its second encoding under the next, and so on.
pub const VIDEO: u32 = 0x1000;
/// Encodings that [`Client::publish_encodings`] may have, and how large they are.
pub const ENCODINGS: usize = 3;
const SIZES: [(u16, u16); ENCODINGS] = [(320, 180), (640, 360), (1280, 720)];
/// The byte before a transport-wide sequence number in a header of the one-byte form: id 3, two bytes.
pub const NUMBER: u8 = 0x31;
const VP8: u8 = 96;
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two binding requests (RFC 8489 §6.2.1: at least half a second over a network; this is loopback).
const RETRANSMISSION: Duration = Duration::from_millis(100);

/// Puts a command before a worker, from a test that isn't asynchronous.
pub fn command(workers: &Workers, worker: WorkerIndex, command: Command) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(workers.command(worker, command)).expect("the workers run");
}

/// One participant: a socket, credentials, keys.
pub struct Client {
    pub key: PeerKey,
    pub worker: WorkerIndex,
    pub socket: UdpSocket,
    ice: IceCredentials,
    server: SocketAddr,
    sealer: Sealer,
    opener: Opener,
}

impl Client {
    /// A participant of `worker` with a nominated path and keys. `number` is its peer key and what its keys are made of.
    pub fn join(workers: &Workers, worker: WorkerIndex, number: u16) -> Self {
        let (client, commands) = Self::new(worker, number, SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), workers.port()));
        commands.into_iter().for_each(|command| self::command(workers, worker, command));
        client.nominate();
        client
    }

    /// The same without a path, and what the worker has to be told.
    pub fn new(worker: WorkerIndex, number: u16, server: SocketAddr) -> (Self, [Command; 2]) {
        let [high, low] = number.to_be_bytes();
        let mut random = [high; 24];
        random.iter_mut().step_by(2).for_each(|byte| *byte = low);
        let master = |end: u8| {
            let (mut key, mut salt) = ([end; 16], [end; 14]);
            key[..2].copy_from_slice(&[high, low]);
            salt[..2].copy_from_slice(&[low, high]);
            MasterKey { key, salt }
        };
        let (theirs, ours) = (master(1), master(2));
        let keys = SrtpKeys { profile: Profile::AeadAes128Gcm, local: theirs.clone(), remote: ours.clone() };
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let client = Self {
            key: PeerKey(number.into()),
            worker,
            socket,
            ice: IceCredentials::generate(worker, random),
            server,
            sealer: Sealer::new(Profile::AeadAes128Gcm, &ours),
            opener: Opener::new(Profile::AeadAes128Gcm, &theirs),
        };
        let commands =
            [Command::AddPeer { peer: client.key, ice: client.ice.clone() }, Command::SetKeys { peer: client.key, keys: Box::new(keys) }];
        (client, commands)
    }

    /// Sends where media goes.
    pub fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.server).expect("loopback takes it");
    }

    /// Nominates the path of the socket and waits for the answer. Asks again as ICE does: a request that overtakes the command which adds
    /// the peer is dropped.
    pub fn nominate(&self) {
        let deadline = Instant::now() + PATIENCE;
        self.socket.set_read_timeout(Some(RETRANSMISSION)).expect("a timeout");
        self.send(&self.binding_request());
        let mut bytes = [0; 2048];
        loop {
            assert!(Instant::now() < deadline, "no answer to a binding request");
            let (len, from) = match self.socket.recv_from(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.send(&self.binding_request());
                    continue;
                }
                received => received.expect("loopback works"),
            };
            let mut answer = Message::new();
            if answer.unmarshal_binary(&bytes[..len]).is_ok() && answer.typ == BINDING_SUCCESS {
                assert_eq!(from, self.server, "the answer comes from the address that was asked");
                return self.socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            }
        }
    }

    /// A binding request that nominates (RFC 8445 §7.1).
    pub fn binding_request(&self) -> Vec<u8> {
        let provider = AwsLcRsProvider::new();
        let mut message = Message::new();
        message.typ = BINDING_REQUEST;
        message.write_header();
        message.add(ATTR_USERNAME, format!("{}:them", self.ice.ufrag).as_bytes());
        message.add(ATTR_ICE_CONTROLLING, &[0; 8]);
        message.add(ATTR_USE_CANDIDATE, &[]);
        MessageIntegrity::new_short_term_integrity_with_provider(self.ice.pwd.clone(), provider.crypto())
            .add_to(&mut message)
            .expect("room for MESSAGE-INTEGRITY");
        FINGERPRINT.add_to(&mut message).expect("room for FINGERPRINT");
        message.raw
    }

    /// Publishes one video track.
    pub fn publish(&self, workers: &Workers, track: TrackKey) {
        self.publish_encodings(workers, track, 1);
    }

    /// Publishes one video track of so many encodings.
    pub fn publish_encodings(&self, workers: &Workers, track: TrackKey, encodings: usize) {
        self.publishing(track, encodings).into_iter().for_each(|command| self::command(workers, self.worker, command));
    }

    /// What that is for the worker.
    pub fn publishing(&self, track: TrackKey, encodings: usize) -> [Command; 2] {
        let mut payloads = PayloadTypes::default();
        payloads.set(VP8, Payload::Media(Codec::Vp8));
        let receiver = ReceiverConfig {
            mid: "0".into(),
            kind: MediaKind::Video,
            payloads,
            extensions: extensions(),
            ssrcs: (VIDEO..).take(encodings).map(|ssrc| (ssrc, None)).collect(),
            simulcast: if encodings > 1 { Simulcast::Ssrcs } else { Simulcast::Off },
            nack: true,
            transport_cc: true,
        };
        [
            Command::SetReceivers { peer: self.key, receivers: vec![receiver] },
            Command::Publish { peer: self.key, mid: "0".into(), kind: MediaKind::Video, track },
        ]
    }

    /// Receives `track` in its first slot, with RTX as browsers negotiate it.
    pub fn subscribe(&self, workers: &Workers, track: TrackKey) {
        self.subscribe_as(workers, track, slot_extensions());
    }

    /// The same with transport-wide sequence numbers, shown as large as that encoding is.
    pub fn subscribe_numbered(&self, workers: &Workers, track: TrackKey, encoding: usize) {
        self.subscribe_as(workers, track, extensions());
        let (width, height) = SIZES[encoding];
        let target = Target::Covering { width, height };
        command(workers, self.worker, Command::SetTarget { peer: self.key, sender: 1, target, pinned: false });
    }

    /// What it gets media under.
    pub fn ssrc(&self) -> u32 {
        0x2000 + self.key.0 as u32 * 2
    }

    fn subscribe_as(&self, workers: &Workers, track: TrackKey, extensions: ExtensionMap) {
        self.subscribing(track, extensions).into_iter().for_each(|command| self::command(workers, self.worker, command));
    }

    /// What that is for the worker.
    pub fn subscribing(&self, track: TrackKey, extensions: ExtensionMap) -> [Command; 2] {
        let mut codecs = CodecTable::default();
        codecs.set(Payload::Media(Codec::Vp8), VP8);
        codecs.set(Payload::Rtx(Codec::Vp8), VP8 + 1);
        let sender = SenderConfig {
            codecs,
            extensions,
            mid: "1".into(),
            kind: MediaKind::Video,
            ssrc: self.ssrc(),
            rtx_ssrc: Some(self.ssrc() + 1),
            nack: true,
            remb: false,
        };
        [
            Command::SetSenders { peer: self.key, senders: vec![None, Some(sender)] },
            Command::Route { peer: self.key, sender: 1, track: Some(track) },
        ]
    }

    /// A sealed packet of `payload_len` bytes of VP8, with the extensions a browser sends.
    pub fn seal(&mut self, index: u64, keyframe: bool, payload_len: usize) -> Vec<u8> {
        let mut packet = vec![0; 1600];
        let fields =
            HeaderFields { marker: true, payload_type: VP8, sequence: index as u16, timestamp: index as u32 / 4 * 3000, ssrc: VIDEO };
        let transport = (index as u16).to_be_bytes();
        let values = [(3, transport.as_slice()), (4, b"0".as_slice())];
        let header_len = write_header(&mut packet, &fields, values.into_iter()).expect("room for a header");
        let len = header_len + payload_len;
        let payload = &mut packet[header_len..len];
        // A descriptor that begins a frame, and a frame tag whose lowest bit tells key and delta frames apart (RFC 7741 §4).
        payload[..2].copy_from_slice(&[0x10, u8::from(!keyframe)]);
        payload[4..12].copy_from_slice(&index.to_be_bytes());
        let stream = self.sealer.add_stream(VIDEO).expect("one stream");
        let len = self.sealer.seal_rtp(stream, index, &mut packet, header_len, len).expect("an index not used before");
        packet.truncate(len);
        packet
    }

    /// A sealed packet of `picture`, of one of the encodings, with what a browser writes into VP8's descriptor where there are several. `first` and `last` say
    /// where in the picture it is.
    pub fn seal_encoding(
        &mut self,
        encoding: usize,
        index: u64,
        picture: u32,
        (first, last): (bool, bool),
        key: bool,
        len: usize,
    ) -> Vec<u8> {
        let mut packet = vec![0; 1600];
        let ssrc = VIDEO + encoding as u32;
        let fields = HeaderFields { marker: last, payload_type: VP8, sequence: index as u16, timestamp: picture * 3_600, ssrc };
        let transport = (index as u16).to_be_bytes();
        let values = [(3, transport.as_slice()), (4, b"0".as_slice())];
        let header_len = write_header(&mut packet, &fields, values.into_iter()).expect("room for a header");
        let len = header_len + len;
        let payload = &mut packet[header_len..len];
        let [high, low] = (picture as u16 | 0x8000).to_be_bytes();
        let (width, height) = SIZES[encoding];
        let [w0, w1] = width.to_le_bytes();
        let [h0, h1] = height.to_le_bytes();
        // Picture id, TL0PICIDX, temporal layer 0; then the frame's tag, start code and size (RFC 7741 §4.2, RFC 6386 §9.1).
        let start =
            [0x80 | u8::from(first) << 4, 0xe0, high, low, picture as u8, 0, u8::from(!key), 0, 0, 0x9d, 0x01, 0x2a, w0, w1, h0, h1];
        payload[..start.len()].copy_from_slice(&start);
        let stream = self.sealer.add_stream(ssrc).expect("a stream for each encoding");
        let len = self.sealer.seal_rtp(stream, index, &mut packet, header_len, len).expect("an index not used before");
        packet.truncate(len);
        packet
    }

    /// Sends what `write` writes, and returns what that returns.
    pub fn send_rtcp<T>(&mut self, write: impl FnOnce(&mut RtcpWriter<'_>) -> Result<T, WriteError>) -> T {
        let mut packet = [0; 1_500];
        let mut writer = RtcpWriter::new(&mut packet[..1_200]);
        let written = write(&mut writer).expect("room for it");
        let len = writer.len();
        let len = self.sealer.seal_rtcp(&mut packet, len).expect("room for the tag");
        self.send(&packet[..len]);
        written
    }

    /// The next media packet: its header and what [`Client::seal`] called its index. RTCP is skipped.
    pub fn receive(&mut self) -> (Header, u64) {
        let mut bytes = [0; 2048];
        loop {
            let (len, _) = match self.socket.recv_from(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no media came"),
                received => received.expect("loopback works"),
            };
            let datagram = &mut bytes[..len];
            if datagram[0] < 4 || (192..=223).contains(&datagram[1]) {
                continue;
            }
            let opened = self.opener.open_rtp(datagram).expect("sealed for this participant");
            let payload = &datagram[opened.header.payload(opened.len)];
            return (opened.header, u64::from_be_bytes(payload[4..12].try_into().expect("eight bytes")));
        }
    }
}

/// What browsers negotiate and this client sends.
pub fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::default();
    map.set(Extension::TransportSequence, 3);
    map.set(Extension::Mid, 4);
    map
}

/// What slots are negotiated with.
fn slot_extensions() -> ExtensionMap {
    let mut map = ExtensionMap::default();
    map.set(Extension::Mid, 4);
    map
}
