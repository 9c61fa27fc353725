//! The peer connection: `webrtc` 0.21's, configured for load, with its habits kept inside.
//!
//! * Directions are never changed and transceivers never stopped: `rtc` stops a transceiver for good when the server repeats
//!   it `inactive`. An m-line without a publication stays `sendonly` and silent, and is used again.
//! * `answering_dtls_role` is set: towards an ICE-lite server `rtc` would answer `setup:passive`, against the role it has.
//! * A rollback takes the mids of new m-lines away; the next offer gives them others. So a mid is only told to anybody once it
//!   is negotiated.
//! * Tracks of incoming media are not read: [`crate::tap`] counts before them.
//! * Its SCTP takes its next step with the next timer: a data channel opens 400 ms after the transport is connected.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rtc::ice::mdns::MulticastDnsMode;
use rtc::interceptor::{ReceiverReportBuilder, Slot};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::{
    MIME_TYPE_AV1, MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_RTX, MIME_TYPE_VP8, MIME_TYPE_VP9,
};
use rtc::peer_connection::configuration::setting_engine::SctpMaxMessageSize;
use rtc::peer_connection::transport::RTCDtlsRole;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpHeaderExtensionCapability,
    RTCRtpRtxParameters, RtpCodecKind,
};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use switchyard_protocol::Kind;
use switchyard_rtp::extension::Extension;
use tokio::sync::mpsc;
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionIceEvent,
    RTCPeerConnectionState, RTCSessionDescription, Registry, SettingEngineBuilder, SrtpProtectionProfile, configure_nack,
    configure_twcc_receiver_only, configure_twcc_sender_only,
};
use webrtc::rtp_transceiver::RtpTransceiver;

use crate::client::{Feedback, SrtpProfile};
use crate::direct::Lane;
use crate::error::ClientError;
use crate::runtime::LoadRuntime;
use crate::sdp::{self, Credentials, Fate};
use crate::state::{DataPayload, Transport};
use crate::tap::{SharedMeter, Tap};

/// The label of the data channel every participant opens.
const DATA_CHANNEL: &str = "switchyard";

/// Bytes of a message on the data channel, the same as the server takes (`a=max-message-size`).
const MAX_DATA_MESSAGE: u32 = 256 * 1024;

/// Between two connectivity checks. Joining takes two of them, which by default are 200 ms apart; where hundreds join at once and the machine is
/// busy, what checks more often takes the time away from what it waits for.
const CHECK_INTERVAL: Duration = Duration::from_millis(5);
/// Checks of a pair before it is given up: ten seconds, for a server on a busy machine.
const CHECKS: u16 = 2000;

/// Payload types as Chromium gives them.
pub(crate) const OPUS: u8 = 111;
/// See [`OPUS`].
pub(crate) const VP8: u8 = 96;
/// What tells the SSRC of a source's retransmissions from its own.
const RTX_BIT: u32 = 0x8000_0000;

/// What the peer connection tells the session.
#[derive(Debug)]
pub(crate) enum PeerEvent {
    Candidate { candidate: String, mid: Option<String> },
    EndOfCandidates,
    Transport(Transport),
    DataOpen(bool),
    Data(DataPayload),
}

/// How a peer connection is made.
pub(crate) struct PeerOptions {
    /// The address its one socket is bound to.
    pub(crate) local: IpAddr,
    /// Where the server is, of its addresses the one to prefer.
    pub(crate) server: IpAddr,
    pub(crate) feedback: Feedback,
    pub(crate) srtp: Option<SrtpProfile>,
    /// Where media goes instead of through the peer connection.
    pub(crate) lane: Option<Arc<Lane>>,
}

/// An m-line on which the client can send.
pub(crate) struct Line {
    pub(crate) kind: Kind,
    /// Of the first encoding; the others' follow it.
    pub(crate) ssrc: u32,
    /// The names of its simulcast encodings; none: it sends one stream.
    pub(crate) encodings: Vec<String>,
    pub(crate) track: Arc<TrackLocalStaticRTP>,
    transceiver: Arc<dyn RtpTransceiver>,
}

impl Line {
    /// The RTP payload type of what is sent: Opus or VP8.
    pub(crate) fn payload_type(&self) -> u8 {
        match self.kind {
            Kind::Audio => OPUS,
            Kind::Video => VP8,
        }
    }

    /// The payload type of its retransmissions.
    pub(crate) fn rtx_payload_type(&self) -> Option<u8> {
        (self.kind == Kind::Video).then_some(VP8 + 1)
    }
}

/// The SSRC of a source's retransmissions.
pub(crate) fn rtx_of(ssrc: u32) -> u32 {
    ssrc ^ RTX_BIT
}

/// One peer connection. Its methods are called by one task, one after the other.
pub(crate) struct Peer {
    connection: Arc<dyn PeerConnection>,
    server: IpAddr,
    /// The receiving ends of the server's last description.
    incoming: Vec<sdp::Incoming>,
    /// The m-lines of the server's last description.
    remote: Vec<sdp::MediaLine>,
    /// The m-lines added here, with the names of their encodings.
    own: Vec<(Arc<dyn RtpTransceiver>, Vec<String>)>,
    /// The ICE credentials of the offer in flight, and those that the server knows.
    offered: Option<Credentials>,
    agreed: Option<Credentials>,
}

struct Handler(mpsc::UnboundedSender<PeerEvent>);

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        if let Ok(init) = event.candidate.to_json() {
            let _ = self.0.send(PeerEvent::Candidate { candidate: init.candidate, mid: init.sdp_mid.filter(|mid| !mid.is_empty()) });
        }
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            let _ = self.0.send(PeerEvent::EndOfCandidates);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        let transport = match state {
            RTCPeerConnectionState::Connecting => Transport::Connecting,
            RTCPeerConnectionState::Connected => Transport::Connected,
            RTCPeerConnectionState::Disconnected => Transport::Disconnected,
            RTCPeerConnectionState::Failed => Transport::Failed,
            RTCPeerConnectionState::Closed => Transport::Closed,
            _ => Transport::New,
        };
        let _ = self.0.send(PeerEvent::Transport(transport));
    }
}

/// Names the step at which the peer connection failed.
fn at<T>(step: &'static str, result: webrtc::error::Result<T>) -> Result<T, ClientError> {
    result.map_err(|error| ClientError::PeerConnection { step, error: error.to_string() })
}

impl Peer {
    /// A connection with nothing in it. Its events come at the rate of a negotiation's steps, except for data messages, which SCTP's window
    /// bounds while nobody reads them.
    pub(crate) async fn new(
        options: PeerOptions,
        meter: Arc<SharedMeter>,
        events: mpsc::UnboundedSender<PeerEvent>,
    ) -> Result<Self, ClientError> {
        let mut engine = MediaEngine::default();
        at("codecs", register_codecs(&mut engine))?;
        at("extensions", register_extensions(&mut engine))?;
        let mut registry = Registry::new();
        if options.lane.is_some() {
            at("extensions", register_direct(&mut engine))?;
        }
        let feedback_of_library = if options.lane.is_some() { Feedback::NONE } else { options.feedback };
        if feedback_of_library.reports {
            // Sender reports are the publisher's own: it knows when what it sends was due.
            registry = registry.with(Slot::ReceiverReport, ReceiverReportBuilder::new().build());
        }
        if feedback_of_library.nack {
            registry = configure_nack(registry, &mut engine);
        } else {
            engine.register_feedback(feedback("nack", "pli"), RtpCodecKind::Video);
        }
        if feedback_of_library.transport_wide {
            registry = at("transport-wide feedback", configure_twcc_sender_only(registry, &mut engine))?;
            registry = at("transport-wide feedback", configure_twcc_receiver_only(registry, &mut engine))?;
        }
        registry = registry.with(Tap::SLOT, Tap::new(meter));
        let mut settings = SettingEngineBuilder::new()
            .with_multicast_dns_mode(MulticastDnsMode::Disabled)
            .with_answering_dtls_role(RTCDtlsRole::Client)
            .with_include_loopback_candidate(true)
            .with_sctp_max_message_size(SctpMaxMessageSize::Bounded(MAX_DATA_MESSAGE))
            .with_ice_connection_attempts(Some(CHECK_INTERVAL), Some(CHECKS))
            .with_srtp_replay_protection_window(0);
        if let Some(profile) = options.srtp {
            settings = settings.with_srtp_protection_profiles(vec![match profile {
                SrtpProfile::AeadAes128Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
                SrtpProfile::AesCm128HmacSha1 => SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
            }]);
        }
        let mut settings = settings.build();
        if let Some(lane) = &options.lane {
            settings.set_crypto_provider(lane.provider());
        }
        let connection = at(
            "creation",
            PeerConnectionBuilder::new()
                .with_media_engine(engine)
                .with_setting_engine(settings)
                .with_interceptor_registry(registry)
                .with_runtime(Arc::new(LoadRuntime { lane: options.lane }))
                .with_handler(Arc::new(Handler(events)))
                .with_udp_addrs(vec![SocketAddr::new(options.local, 0)])
                .build()
                .await,
        )?;
        let connection = Arc::new(connection);
        let server = options.server;
        Ok(Self { connection, server, incoming: Vec::new(), remote: Vec::new(), own: Vec::new(), offered: None, agreed: None })
    }

    /// Opens the data channel, before the first offer.
    pub(crate) async fn open_data_channel(&self, events: mpsc::UnboundedSender<PeerEvent>) -> Result<Arc<dyn DataChannel>, ClientError> {
        let data = at("data channel", self.connection.create_data_channel(DATA_CHANNEL, None).await)?;
        tokio::spawn(read_data(data.clone(), events));
        Ok(data)
    }

    /// A new m-line that sends `encodings`, or one stream if they have no names; the next offer contains it. `ssrc` is the first one's.
    pub(crate) async fn add_line(&mut self, kind: Kind, ssrc: u32, encodings: Vec<String>) -> Result<Line, ClientError> {
        let (codec_kind, codec) = match kind {
            Kind::Audio => (RtpCodecKind::Audio, opus()),
            Kind::Video => (RtpCodecKind::Video, vp8()),
        };
        let rtx = (kind == Kind::Video).then_some(RTCRtpRtxParameters { ssrc: rtx_of(ssrc) });
        let encoding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), rtx, ..Default::default() },
            active: true,
            codec,
            ..Default::default()
        };
        let name = format!("{ssrc:08x}");
        let track =
            Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new("switchyard".into(), name.clone(), name, codec_kind, vec![encoding])));
        let init =
            RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Sendonly, streams: Vec::new(), send_encodings: Vec::new() };
        let transceiver = at("transceiver", self.connection.add_transceiver_from_track(track.clone(), Some(init)).await)?;
        // The track's codec alone would be offered, and the session would know no other ever after.
        at("codec preferences", transceiver.set_codec_preferences(Vec::new()).await)?;
        self.own.push((transceiver.clone(), encodings.clone()));
        Ok(Line { kind, ssrc, encodings, track, transceiver })
    }

    /// A new m-line that only receives; the next offer contains it.
    pub(crate) async fn add_receiving_line(&mut self, kind: Kind) -> Result<(), ClientError> {
        let kind = match kind {
            Kind::Audio => RtpCodecKind::Audio,
            Kind::Video => RtpCodecKind::Video,
        };
        let init =
            RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Recvonly, streams: Vec::new(), send_encodings: Vec::new() };
        let transceiver = at("transceiver", self.connection.add_transceiver_from_kind(kind, Some(init)).await)?;
        self.own.push((transceiver, Vec::new()));
        Ok(())
    }

    /// A line's mid, which is for good once the line is negotiated.
    pub(crate) async fn mid(&self, line: &Line) -> Option<String> {
        line.transceiver.mid().await.ok().flatten()
    }

    /// Makes an offer, takes it as the local description and says what to send.
    pub(crate) async fn offer(&mut self, restart_ice: bool) -> Result<String, ClientError> {
        if restart_ice {
            at("ICE restart", self.connection.restart_ice().await)?;
        }
        let offer = at("offer", self.connection.create_offer(None).await)?;
        let own = self.encodings().await;
        let sdp = sdp::for_server(&offer.sdp, |mid| match self.remote.iter().find(|line| line.mid == mid) {
            Some(line) if line.rejected => Fate::Reject,
            Some(_) => Fate::Keep,
            None if own.contains_key(mid) => Fate::Keep,
            None => Fate::Drop,
        });
        at("local offer", self.connection.set_local_description(offer).await)?;
        let sdp = sdp::with_encodings(&sdp, |mid| own.get(mid).copied().unwrap_or_default());
        self.offered = Credentials::of(&sdp);
        Ok(sdp)
    }

    /// The names of the encodings of each m-line that was added here and has a mid.
    async fn encodings(&self) -> HashMap<String, &[String]> {
        let mut encodings = HashMap::with_capacity(self.own.len());
        for (transceiver, names) in &self.own {
            encodings.extend(transceiver.mid().await.ok().flatten().map(|mid| (mid, &names[..])));
        }
        encodings
    }

    /// Takes the server's answer to the last offer.
    pub(crate) async fn apply_answer(&mut self, sdp: &str) -> Result<(), ClientError> {
        let answer = at("answer", RTCSessionDescription::answer(sdp::for_peer_connection(sdp, self.server)))?;
        at("remote answer", self.connection.set_remote_description(answer).await)?;
        self.agreed = self.offered.take();
        self.applied(sdp);
        Ok(())
    }

    /// Takes the last offer back.
    pub(crate) async fn roll_back(&self) -> Result<(), ClientError> {
        let rollback = at("rollback", RTCSessionDescription::rollback(None))?;
        at("rollback", self.connection.set_local_description(rollback).await)
    }

    /// Answers an offer of the server. One that can't be answered is taken back, so that the next finds the connection as it was.
    ///
    /// The answer has the ICE credentials that the server knows. `rtc` would name others after an offer that restarts ICE has been rolled back, which an answer may
    /// not; until that offer is made again no check gets through.
    pub(crate) async fn answer(&mut self, sdp: &str) -> Result<String, ClientError> {
        let result = self.try_answer(sdp).await;
        match result {
            Ok(answer) => {
                self.applied(sdp);
                Ok(answer)
            }
            Err(error) => {
                if let Ok(rollback) = RTCSessionDescription::rollback(None) {
                    let _ = self.connection.set_remote_description(rollback).await;
                }
                Err(error)
            }
        }
    }

    async fn try_answer(&self, sdp: &str) -> Result<String, ClientError> {
        let offer = at("offer", RTCSessionDescription::offer(sdp::for_peer_connection(sdp, self.server)))?;
        at("remote offer", self.connection.set_remote_description(offer).await)?;
        let answer = at("answer", self.connection.create_answer(None).await)?;
        let own = self.encodings().await;
        let sdp = sdp::with_encodings(&answer.sdp, |mid| own.get(mid).copied().unwrap_or_default());
        at("local answer", self.connection.set_local_description(answer).await)?;
        Ok(match &self.agreed {
            Some(agreed) => agreed.put_into(&sdp),
            None => sdp,
        })
    }

    fn applied(&mut self, remote: &str) {
        self.incoming = sdp::incoming(remote);
        self.remote = sdp::media_lines(remote);
    }

    /// The m-lines on which the server sends.
    pub(crate) fn incoming(&self) -> &[sdp::Incoming] {
        &self.incoming
    }

    /// m-lines in the server's last description.
    pub(crate) fn media_lines(&self) -> usize {
        self.remote.len()
    }

    /// The connection itself, for whoever has to close it when this is gone.
    pub(crate) fn connection(&self) -> Arc<dyn PeerConnection> {
        self.connection.clone()
    }

    pub(crate) async fn close(&self) {
        let _ = self.connection.close().await;
    }
}

async fn read_data(data: Arc<dyn DataChannel>, events: mpsc::UnboundedSender<PeerEvent>) {
    while let Some(event) = data.poll().await {
        let event = match event {
            DataChannelEvent::OnOpen => PeerEvent::DataOpen(true),
            DataChannelEvent::OnClose => PeerEvent::DataOpen(false),
            DataChannelEvent::OnMessage(message) if message.is_string => {
                PeerEvent::Data(DataPayload::Text(String::from_utf8_lossy(&message.data).into_owned()))
            }
            DataChannelEvent::OnMessage(message) => PeerEvent::Data(DataPayload::Binary(message.data.to_vec())),
            _ => continue,
        };
        if events.send(event).is_err() {
            return;
        }
    }
}

/// A packet of a line.
pub(crate) fn packet(line: &Line, sequence_number: u16, timestamp: u32, marker: bool, payload: bytes::Bytes) -> rtp::Packet {
    rtp::Packet {
        header: rtp::Header {
            version: 2,
            marker,
            payload_type: line.payload_type(),
            sequence_number,
            timestamp,
            ssrc: line.ssrc,
            ..Default::default()
        },
        payload,
    }
}

/// Sends a packet; waits while the connection is behind.
pub(crate) async fn send(line: &Line, packet: rtp::Packet) -> bool {
    line.track.write_rtp(packet).await.is_ok()
}

/// A sender report of a line.
pub(crate) fn sender_report(line: &Line, ntp_time: u64, rtp_time: u32, packet_count: u32, octet_count: u32) -> SenderReport {
    SenderReport { ssrc: line.ssrc, ntp_time, rtp_time, packet_count, octet_count, ..Default::default() }
}

/// Sends a sender report; waits while the connection is behind.
pub(crate) async fn send_report(line: &Line, report: SenderReport) -> bool {
    line.track.write_rtcp(vec![Box::new(report)]).await.is_ok()
}

fn opus() -> RTCRtpCodec {
    codec(MIME_TYPE_OPUS, 48_000, 2, "minptime=10;useinbandfec=1", &[])
}

fn vp8() -> RTCRtpCodec {
    codec(MIME_TYPE_VP8, 90_000, 0, "", &[("ccm", "fir")])
}

fn feedback(typ: &str, parameter: &str) -> RTCPFeedback {
    RTCPFeedback { typ: typ.to_owned(), parameter: parameter.to_owned() }
}

fn codec(mime_type: &str, clock_rate: u32, channels: u16, fmtp: &str, feedbacks: &[(&str, &str)]) -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: mime_type.to_owned(),
        clock_rate,
        channels,
        sdp_fmtp_line: fmtp.to_owned(),
        rtcp_feedback: feedbacks.iter().map(|(typ, parameter)| feedback(typ, parameter)).collect(),
    }
}

/// One profile of each codec browsers have, each with retransmission: renegotiation in `rtc` costs by codec and m-line.
fn register_codecs(engine: &mut MediaEngine) -> webrtc::error::Result<()> {
    engine.register_codec(RTCRtpCodecParameters { rtp_codec: opus(), payload_type: OPUS }, RtpCodecKind::Audio)?;
    let h264 = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
    for (payload_type, mime_type, fmtp) in
        [(VP8, MIME_TYPE_VP8, ""), (98, MIME_TYPE_VP9, "profile-id=0"), (102, MIME_TYPE_H264, h264), (45, MIME_TYPE_AV1, "profile=0")]
    {
        let media = codec(mime_type, 90_000, 0, fmtp, &[("ccm", "fir")]);
        engine.register_codec(RTCRtpCodecParameters { rtp_codec: media, payload_type }, RtpCodecKind::Video)?;
        let rtx = codec(MIME_TYPE_RTX, 90_000, 0, &format!("apt={payload_type}"), &[]);
        engine.register_codec(RTCRtpCodecParameters { rtp_codec: rtx, payload_type: payload_type + 1 }, RtpCodecKind::Video)?;
    }
    Ok(())
}

/// What a browser negotiates besides, for media that doesn't pass through the peer connection.
fn register_direct(engine: &mut MediaEngine) -> webrtc::error::Result<()> {
    engine.register_feedback(feedback("nack", ""), RtpCodecKind::Video);
    for kind in [RtpCodecKind::Audio, RtpCodecKind::Video] {
        engine.register_feedback(feedback("transport-cc", ""), kind);
        let uri = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01".to_owned();
        engine.register_header_extension(RTCRtpHeaderExtensionCapability { uri }, kind, None)?;
    }
    // Encodings are told apart by these (RFC 8852).
    for extension in [Extension::Rid, Extension::RepairedRid] {
        let uri = extension.uri().to_owned();
        engine.register_header_extension(RTCRtpHeaderExtensionCapability { uri }, RtpCodecKind::Video, None)?;
    }
    Ok(())
}

fn register_extensions(engine: &mut MediaEngine) -> webrtc::error::Result<()> {
    use RtpCodecKind::{Audio, Video};
    for (uri, kinds) in [
        ("urn:ietf:params:rtp-hdrext:sdes:mid", &[Audio, Video][..]),
        ("urn:ietf:params:rtp-hdrext:ssrc-audio-level", &[Audio]),
        ("http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time", &[Audio, Video]),
    ] {
        for kind in kinds {
            engine.register_header_extension(RTCRtpHeaderExtensionCapability { uri: uri.to_owned() }, *kind, None)?;
        }
    }
    Ok(())
}
