//! A peer connection on the crate `webrtc` that publishes by WHIP or plays by WHEP, with numbered packets for media, and data channels if asked for.

#![allow(dead_code, reason = "each test target uses a part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc::data_channel::RTCDataChannelInit;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::setting_engine::SctpMaxMessageSize;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use switchyard_client::{Kind, Stamp, now_micros};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCPeerConnectionIceEvent, RTCPeerConnectionState,
    RTCSessionDescription, Registry, SettingEngineBuilder, register_default_interceptors,
};

use crate::http::{Response, request};

/// How many packets came, by publisher and publication.
pub type Counts = BTreeMap<(u32, u16), u64>;

/// When the last packet came, by publisher and publication.
type Latest = BTreeMap<(u32, u16), Instant>;

const PERIOD: Duration = Duration::from_millis(10);

pub struct Peer {
    connection: Box<dyn PeerConnection>,
    server: SocketAddr,
    /// What the server calls its media address, and where it is to be reached instead.
    detour: Option<(String, String)>,
    channels: Vec<Channel>,
    pub state: watch::Receiver<RTCPeerConnectionState>,
    pub candidates: mpsc::UnboundedReceiver<String>,
    counts: Arc<Mutex<Counts>>,
    latest: Arc<Mutex<Latest>>,
    /// What it comes in with.
    token: Option<String>,
    tracks: Vec<(Kind, Arc<TrackLocalStaticRTP>)>,
    sending: Option<JoinHandle<()>>,
    pub created: Option<Response>,
    pub etag: String,
}

/// A data channel, and what has come through it.
struct Channel {
    label: &'static str,
    channel: Arc<dyn DataChannel>,
    messages: mpsc::UnboundedReceiver<Vec<u8>>,
    open: watch::Receiver<bool>,
}

struct Handler {
    state: watch::Sender<RTCPeerConnectionState>,
    candidates: mpsc::UnboundedSender<String>,
    counts: Arc<Mutex<Counts>>,
    latest: Arc<Mutex<Latest>>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        if let Ok(init) = event.candidate.to_json() {
            let _ = self.candidates.send(init.candidate);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.state.send_replace(state);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let (counts, latest) = (self.counts.clone(), self.latest.clone());
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                let TrackRemoteEvent::OnRtpPacket(packet) = event else { continue };
                if let Some(stamp) = Stamp::read(&packet.payload) {
                    *counts.lock().unwrap().entry((stamp.publisher, stamp.publication)).or_default() += 1;
                    latest.lock().unwrap().insert((stamp.publisher, stamp.publication), Instant::now());
                }
            }
        });
    }
}

impl Peer {
    async fn new(server: SocketAddr) -> Self {
        let (state, states) = watch::channel(RTCPeerConnectionState::New);
        let (candidates, trickled) = mpsc::unbounded_channel();
        let (counts, latest) = (Arc::new(Mutex::new(Counts::new())), Arc::<Mutex<Latest>>::default());
        let mut engine = MediaEngine::default();
        engine.register_default_codecs().unwrap();
        let registry = register_default_interceptors(Registry::new(), &mut engine).unwrap();
        let connection = PeerConnectionBuilder::new()
            .with_media_engine(engine)
            .with_interceptor_registry(registry)
            .with_setting_engine(
                SettingEngineBuilder::new()
                    .with_include_loopback_candidate(true)
                    .with_sctp_max_message_size(SctpMaxMessageSize::Bounded(256 * 1024))
                    .build(),
            )
            .with_handler(Arc::new(Handler { state, candidates, counts: counts.clone(), latest: latest.clone() }))
            .with_udp_addrs(vec![SocketAddr::new(server.ip(), 0)])
            .build()
            .await
            .unwrap();
        Self {
            connection: Box::new(connection),
            server,
            detour: None,
            channels: Vec::new(),
            state: states,
            candidates: trickled,
            counts,
            latest,
            token: None,
            tracks: Vec::new(),
            sending: None,
            created: None,
            etag: String::new(),
        }
    }

    /// Publishes one track of each of `kinds`, in order; nothing is sent yet.
    pub async fn publish(server: SocketAddr, path: &str, kinds: &[Kind]) -> Self {
        let mut peer = Self::new(server).await;
        peer.add_tracks(kinds).await;
        peer.post(path).await;
        peer
    }

    /// The same with an access token.
    pub async fn publish_as(server: SocketAddr, path: &str, kinds: &[Kind], token: &str) -> Self {
        let mut peer = Self::new(server).await;
        peer.token = Some(token.to_owned());
        peer.add_tracks(kinds).await;
        peer.post(path).await;
        peer
    }

    /// The same with both data channels; its media goes to `inside` instead of to the server's `media` port.
    pub async fn publish_behind(server: SocketAddr, path: &str, kinds: &[Kind], media: u16, inside: SocketAddr) -> Self {
        let mut peer = Self::new(server).await;
        peer.detour = Some(detour(media, inside));
        peer.open("switchyard", RTCDataChannelInit::default()).await;
        peer.open("switchyard-lossy", RTCDataChannelInit { ordered: false, max_retransmits: Some(0), ..Default::default() }).await;
        peer.add_tracks(kinds).await;
        peer.post(path).await;
        peer
    }

    async fn open(&mut self, label: &'static str, init: RTCDataChannelInit) {
        let channel = self.connection.create_data_channel(label, Some(init)).await.unwrap();
        let (send, messages) = mpsc::unbounded_channel();
        let (opened, open) = watch::channel(false);
        let events = channel.clone();
        tokio::spawn(async move {
            while let Some(event) = events.poll().await {
                match event {
                    DataChannelEvent::OnOpen => drop(opened.send_replace(true)),
                    DataChannelEvent::OnClose => drop(opened.send_replace(false)),
                    DataChannelEvent::OnMessage(message) => drop(send.send(message.data.to_vec())),
                    _ => {}
                }
            }
        });
        self.channels.push(Channel { label, channel, messages, open });
    }

    fn channel(&mut self, label: &str) -> &mut Channel {
        self.channels.iter_mut().find(|channel| channel.label == label).expect("opened")
    }

    /// Waits until both data channels are open.
    pub async fn channels_open(&mut self) {
        for channel in &mut self.channels {
            let open = channel.open.wait_for(|open| *open);
            tokio::time::timeout(Duration::from_secs(20), open).await.expect("open in time").unwrap();
        }
    }

    /// Sends bytes to everybody else.
    pub async fn send_data(&mut self, label: &str, bytes: &[u8]) {
        let mut message = BytesMut::from(&[0xff; 4][..]);
        message.extend_from_slice(bytes);
        self.channel(label).channel.send(message).await.expect("sent");
    }

    /// Sends a text to everybody else.
    pub async fn send_text(&mut self, label: &str, text: &str) {
        self.channel(label).channel.send_text(&format!("*\n{text}")).await.expect("sent");
    }

    /// What came through a channel so far, with its sender in front, that was not asked for before.
    pub fn data(&mut self, label: &str) -> Vec<Vec<u8>> {
        let messages = &mut self.channel(label).messages;
        std::iter::from_fn(|| messages.try_recv().ok()).collect()
    }

    /// The next message of a channel.
    pub async fn next_data(&mut self, label: &str, patience: Duration) -> Option<Vec<u8>> {
        tokio::time::timeout(patience, self.channel(label).messages.recv()).await.ok().flatten()
    }

    async fn add_tracks(&mut self, kinds: &[Kind]) {
        for (index, &kind) in kinds.iter().enumerate() {
            let (codec_kind, mime_type, clock_rate, channels) = match kind {
                Kind::Audio => (RtpCodecKind::Audio, "audio/opus", 48_000, 2),
                Kind::Video => (RtpCodecKind::Video, "video/VP8", 90_000, 0),
            };
            let codec = RTCRtpCodec { mime_type: mime_type.into(), clock_rate, channels, ..Default::default() };
            let ssrc = Some(1000 + index as u32);
            let encoding = RTCRtpEncodingParameters {
                rtp_coding_parameters: RTCRtpCodingParameters { ssrc, ..Default::default() },
                active: true,
                codec,
                ..Default::default()
            };
            let name = format!("track-{index}");
            let track = MediaStreamTrack::new("stream".into(), name.clone(), name, codec_kind, vec![encoding]);
            let track = Arc::new(TrackLocalStaticRTP::new(track));
            self.connection.add_transceiver_from_track(track.clone(), Some(one_way(RTCRtpTransceiverDirection::Sendonly))).await.unwrap();
            self.tracks.push((kind, track));
        }
    }

    /// Plays on one m-line for each of `kinds`.
    pub async fn play(server: SocketAddr, path: &str, kinds: &[Kind]) -> Self {
        let peer = Self::new(server).await;
        peer.play_with(path, kinds).await
    }

    /// The same with an access token.
    pub async fn play_as(server: SocketAddr, path: &str, kinds: &[Kind], token: &str) -> Self {
        let mut peer = Self::new(server).await;
        peer.token = Some(token.to_owned());
        peer.play_with(path, kinds).await
    }

    /// The same; its media goes to `inside` instead of to the server's `media` port.
    pub async fn play_behind(server: SocketAddr, path: &str, kinds: &[Kind], media: u16, inside: SocketAddr) -> Self {
        let mut peer = Self::new(server).await;
        peer.detour = Some(detour(media, inside));
        peer.play_with(path, kinds).await
    }

    async fn play_with(self, path: &str, kinds: &[Kind]) -> Self {
        let mut peer = self;
        for kind in kinds {
            let kind = if *kind == Kind::Audio { RtpCodecKind::Audio } else { RtpCodecKind::Video };
            let init = one_way(RTCRtpTransceiverDirection::Recvonly);
            peer.connection.add_transceiver_from_kind(kind, Some(init)).await.unwrap();
        }
        peer.post(path).await;
        peer
    }

    async fn post(&mut self, path: &str) {
        let offer = self.connection.create_offer(None).await.unwrap();
        self.connection.set_local_description(offer.clone()).await.unwrap();
        let authorization = self.token.as_ref().map(|token| format!("authorization: Bearer {token}"));
        let headers: Vec<&str> = ["content-type: application/sdp"].into_iter().chain(authorization.as_deref()).collect();
        let created = request(self.server, "POST", path, &headers, offer.sdp.as_bytes()).await;
        assert_eq!(created.status, 201, "{}", created.body);
        assert_eq!(created.header("content-type"), Some("application/sdp"));
        assert_eq!(created.header("accept-patch"), Some("application/trickle-ice-sdpfrag"));
        self.etag = created.header("etag").expect("an ETag").to_owned();
        self.take(&created.body).await;
        self.created = Some(created);
    }

    async fn take(&self, answer: &str) {
        let answer = match &self.detour {
            Some((from, to)) => {
                assert!(answer.contains(from), "no candidate at{from}in {answer}");
                answer.replace(from, to)
            }
            None => answer.to_owned(),
        };
        let answer = RTCSessionDescription::answer(answer).unwrap();
        self.connection.set_remote_description(answer).await.unwrap();
    }

    fn created(&self) -> &Response {
        self.created.as_ref().expect("posted")
    }

    pub fn resource(&self) -> &str {
        self.created().header("location").expect("a location")
    }

    /// Who it is in the room; of a publisher.
    pub fn participant(&self) -> u32 {
        self.created().header("switchyard-participant").and_then(|id| id.parse().ok()).expect("a participant's id")
    }

    pub async fn connected(&mut self) {
        let connected = self.state.wait_for(|state| *state == RTCPeerConnectionState::Connected);
        tokio::time::timeout(Duration::from_secs(20), connected).await.expect("connected in time").unwrap();
    }

    /// Waits until the session is no more.
    pub async fn gone(&self) {
        let wait = async {
            while request(self.server, "GET", self.resource(), &[], b"").await.status != 404 {
                tokio::time::sleep(PERIOD).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("gone in time");
    }

    /// Sends stamped packets on every track from now on. The n-th track is publication n.
    pub fn send(&mut self) {
        let (tracks, publisher) = (self.tracks.clone(), self.participant());
        self.sending = Some(tokio::spawn(async move {
            let mut interval = tokio::time::interval(PERIOD);
            for counter in 0.. {
                interval.tick().await;
                for (publication, (kind, track)) in tracks.iter().enumerate() {
                    let stamp = Stamp { publisher, publication: publication as u16, counter, sent_micros: now_micros() };
                    let (payload_type, clock) = if *kind == Kind::Audio { (111, 48) } else { (96, 90) };
                    let header = rtp::Header {
                        version: 2,
                        marker: true,
                        payload_type,
                        sequence_number: counter as u16,
                        timestamp: counter as u32 * 10 * clock,
                        ssrc: 1000 + publication as u32,
                        ..Default::default()
                    };
                    let _ = track.write_rtp(rtp::Packet { header, payload: stamp.payload(*kind, 200) }).await;
                }
            }
        }));
    }

    /// When the last packet of a publication came.
    pub fn last(&self, publication: (u32, u16)) -> Option<Instant> {
        self.latest.lock().unwrap().get(&publication).copied()
    }

    pub fn counts(&self) -> Counts {
        self.counts.lock().unwrap().clone()
    }

    /// Waits until `least` more packets of each of these publications have come.
    pub async fn receives(&self, publications: &[(u32, u16)], least: u64) {
        let before = self.counts();
        let more = || {
            let now = self.counts();
            publications.iter().all(|key| now.get(key).copied().unwrap_or(0) >= before.get(key).copied().unwrap_or(0) + least)
        };
        let wait = async {
            while !more() {
                tokio::time::sleep(PERIOD).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(waited.is_ok(), "{least} more of each of {publications:?}; before {before:?}, now {:?}", self.counts());
    }

    pub async fn patch(&self, if_match: &str, fragment: &str) -> Response {
        let headers = ["content-type: application/trickle-ice-sdpfrag", &format!("if-match: {if_match}")];
        request(self.server, "PATCH", self.resource(), &headers, fragment.as_bytes()).await
    }

    /// Restarts ICE: a new offer here, the fragment's answer put into the description the server gave at first.
    pub async fn restart_ice(&mut self) {
        self.connection.restart_ice().await.unwrap();
        let offer = self.connection.create_offer(None).await.unwrap();
        self.connection.set_local_description(offer.clone()).await.unwrap();
        let line = |sdp: &str, name: &str| sdp.lines().find(|line| line.starts_with(name)).expect("an attribute").to_owned();
        let credentials = |sdp: &str| format!("{}\r\n{}\r\n", line(sdp, "a=ice-ufrag:"), line(sdp, "a=ice-pwd:"));
        let fragment = format!("a=ice-options:trickle\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n{}", credentials(&offer.sdp));
        let restarted = self.patch("*", &fragment).await;
        assert_eq!(restarted.status, 200, "{}", restarted.body);
        assert_eq!(restarted.header("content-type"), Some("application/trickle-ice-sdpfrag"));
        let etag = restarted.header("etag").expect("an ETag").to_owned();
        assert_ne!(std::mem::replace(&mut self.etag, etag), self.etag, "another ICE session");
        let mut answer = self.created().body.clone();
        for name in ["a=ice-ufrag:", "a=ice-pwd:"] {
            answer = answer.replace(&line(&answer, name), &line(&restarted.body, name));
        }
        self.take(&answer).await;
    }

    pub async fn delete(&self) -> Response {
        request(self.server, "DELETE", self.resource(), &[], b"").await
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(sending) = self.sending.take() {
            sending.abort();
        }
    }
}

/// What of a candidate's line is replaced by what.
fn detour(media: u16, inside: SocketAddr) -> (String, String) {
    (format!(" 127.0.0.1 {media} typ host"), format!(" {} {} typ host", inside.ip(), inside.port()))
}

fn one_way(direction: RTCRtpTransceiverDirection) -> RTCRtpTransceiverInit {
    RTCRtpTransceiverInit { direction, streams: Vec::new(), send_encodings: Vec::new() }
}
