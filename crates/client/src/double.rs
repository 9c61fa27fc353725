//! A server for tests: real signaling over a real WebSocket, one `webrtc` peer connection for its one client, and a media plane
//! that sends what it hears back through its slots. Enough to drive the session through what a server can do to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{SinkExt, StreamExt};
use rtc::ice::mdns::MulticastDnsMode;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::setting_engine::SctpMaxMessageSize;
use rtc::peer_connection::transport::RTCDtlsRole;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use switchyard_protocol::{
    Answered, ClientMessage, CloseReason, Encoding, ErrorCode, Event, Joined, Kind, Limits, Participant, ParticipantId, ProtocolError,
    Published, Reply, Request, ServerMessage, Session, SlotAssignment, Source, Track, TrackId, VERSION,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request as Upgrade, Response};
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCSessionDescription, SettingEngineBuilder,
};

use crate::runtime::LoadRuntime;

/// The client's id at the double, and that of the participant it pretends to have.
pub(crate) const CLIENT: ParticipantId = ParticipantId(3);
pub(crate) const OTHER: ParticipantId = ParticipantId(9);

/// What a test tells the double to do.
pub(crate) enum Order {
    /// Offer this many slots more.
    Grow(usize),
    /// Ignore the next offer of the client's, as if one of its own were in flight, and only then offer a slot more.
    Collide,
    /// Refuse the next offer of the client's.
    RefuseOffer,
    /// Send this event.
    Tell(Event),
    /// Close with a reason.
    Close(CloseReason),
}

/// A running double.
pub(crate) struct Double {
    pub(crate) url: String,
    orders: mpsc::UnboundedSender<Order>,
    requests: mpsc::UnboundedReceiver<Request>,
    answered: Arc<AtomicUsize>,
}

impl Double {
    /// Listens, and serves the first that comes.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("ws://{}/v1/ws", listener.local_addr().expect("bound"));
        let (orders, from_test) = mpsc::unbounded_channel();
        let (to_test, requests) = mpsc::unbounded_channel();
        let answered = Arc::new(AtomicUsize::new(0));
        tokio::spawn(serve(listener, from_test, to_test, answered.clone()));
        Self { url, orders, requests, answered }
    }

    pub(crate) fn order(&self, order: Order) {
        self.orders.send(order).expect("the double runs");
    }

    /// The client's next request that is as wanted; others are skipped.
    pub(crate) async fn request(&mut self, mut wanted: impl FnMut(&Request) -> bool) -> Request {
        loop {
            let request = self.requests.recv().await.expect("the double runs");
            if wanted(&request) {
                return request;
            }
        }
    }

    /// Offers of the double's that the client answered.
    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }
}

/// A slot: a track that is sent and the SSRC it has.
type Slots = Arc<std::sync::Mutex<Vec<(Kind, u32, Arc<TrackLocalStaticRTP>)>>>;

struct Echo {
    slots: Slots,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Echo {
    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let slots = self.slots.clone();
        tokio::spawn(async move {
            let kind = if track.kind().await == RtpCodecKind::Audio { Kind::Audio } else { Kind::Video };
            while let Some(event) = track.poll().await {
                let TrackRemoteEvent::OnRtpPacket(mut packet) = event else { continue };
                let slot = slots.lock().unwrap().iter().find(|(of, ..)| *of == kind).map(|(_, ssrc, track)| (*ssrc, track.clone()));
                if let Some((ssrc, slot)) = slot {
                    packet.header.ssrc = ssrc;
                    let _ = slot.write_rtp(packet).await;
                }
            }
        });
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        tokio::spawn(async move {
            while let Some(event) = channel.poll().await {
                let DataChannelEvent::OnMessage(message) = event else { continue };
                if message.is_string {
                    let text = String::from_utf8_lossy(&message.data).into_owned();
                    let (_, payload) = text.split_once('\n').expect("an addressed message");
                    let _ = channel.send_text(&format!("{}\n{payload}", CLIENT.0)).await;
                } else {
                    let mut relayed = bytes::BytesMut::from(&CLIENT.0.to_be_bytes()[..]);
                    relayed.extend_from_slice(&message.data[4..]);
                    let _ = channel.send(relayed).await;
                }
            }
        });
    }
}

async fn connection(slots: Slots) -> Box<dyn PeerConnection> {
    let mut engine = MediaEngine::default();
    engine.register_default_codecs().unwrap();
    let settings = SettingEngineBuilder::new()
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        .with_lite(true)
        .with_answering_dtls_role(RTCDtlsRole::Server)
        .with_sctp_max_message_size(SctpMaxMessageSize::Bounded(256 * 1024))
        .with_include_loopback_candidate(true);
    let connection = PeerConnectionBuilder::new()
        .with_media_engine(engine)
        .with_setting_engine(settings.build())
        .with_runtime(Arc::new(LoadRuntime { lane: None }))
        .with_handler(Arc::new(Echo { slots }))
        .with_udp_addrs(vec!["127.0.0.1:0"])
        .build()
        .await
        .unwrap();
    Box::new(connection)
}

struct Serving {
    socket: WebSocketStream<TcpStream>,
    encoding: Encoding,
    connection: Box<dyn PeerConnection>,
    slots: Slots,
    revision: u32,
    in_flight: bool,
    published: u32,
    collide: bool,
    refuse: bool,
    answered: Arc<AtomicUsize>,
}

async fn serve(
    listener: TcpListener,
    mut orders: mpsc::UnboundedReceiver<Order>,
    requests: mpsc::UnboundedSender<Request>,
    answered: Arc<AtomicUsize>,
) {
    let (tcp, _) = listener.accept().await.unwrap();
    let mut encoding = Encoding::Json;
    #[allow(clippy::result_large_err)] // The callback's signature is the library's.
    let socket = tokio_tungstenite::accept_hdr_async(tcp, |upgrade: &Upgrade, mut response: Response| {
        let asked = upgrade.headers()[SEC_WEBSOCKET_PROTOCOL].clone();
        if asked == Encoding::MessagePack.subprotocol() {
            encoding = Encoding::MessagePack;
        }
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, asked);
        Ok(response)
    })
    .await
    .unwrap();
    let slots = Slots::default();
    let connection = connection(slots.clone()).await;
    let mut serving = Serving {
        socket,
        encoding,
        connection,
        slots,
        revision: 0,
        in_flight: false,
        published: 0,
        collide: false,
        refuse: false,
        answered,
    };
    loop {
        tokio::select! {
            message = serving.socket.next() => {
                let Some(Ok(message)) = message else { break };
                if !matches!(message, Message::Text(_) | Message::Binary(_)) {
                    continue;
                }
                let message = serving.encoding.decode_client(&message.into_data()).expect("the client keeps to the protocol");
                let request = message.request.clone();
                serving.handle(message).await;
                let leaving = request == Request::Leave;
                let _ = requests.send(request);
                if leaving {
                    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
                    let _ = serving.socket.close(Some(frame)).await;
                }
            }
            order = orders.recv() => match order {
                Some(Order::Grow(slots)) => serving.grow(slots).await,
                Some(Order::Collide) => serving.collide = true,
                Some(Order::RefuseOffer) => serving.refuse = true,
                Some(Order::Tell(event)) => serving.send(ServerMessage::Event { event }).await,
                Some(Order::Close(reason)) => {
                    let event = Event::Closing { reason, message: "for the test".into() };
                    serving.send(ServerMessage::Event { event }).await;
                }
                None => break,
            },
        }
    }
    let _ = serving.connection.close().await;
}

impl Serving {
    async fn send(&mut self, message: ServerMessage) {
        let bytes = self.encoding.encode_server(&message);
        let message = match self.encoding {
            Encoding::Json => Message::text(String::from_utf8(bytes).unwrap()),
            Encoding::MessagePack => Message::binary(bytes),
        };
        let _ = self.socket.send(message).await;
    }

    async fn handle(&mut self, message: ClientMessage) {
        let result = match message.request {
            Request::Join { room, .. } => Reply::Joined(Joined {
                version: VERSION,
                room,
                participant: CLIENT,
                participants: vec![Participant {
                    id: OTHER,
                    name: "Other".into(),
                    tracks: vec![Track { id: TrackId(50), kind: Kind::Video, source: Source::Camera, muted: false }],
                }],
                ice_servers: Vec::new(),
                limits: Limits { message_bytes: 0, chat_bytes: 0, tracks: 8, slots: 64 },
                session: Session { token: "double".into(), resume_within: 0 },
            }),
            Request::Offer { .. } if std::mem::take(&mut self.refuse) => {
                let error = ProtocolError::new(ErrorCode::InvalidSdp, "not today");
                return self.send(ServerMessage::Error { id: Some(message.id), error }).await;
            }
            Request::Offer { .. } if self.in_flight => Reply::Ignored,
            Request::Offer { .. } if std::mem::take(&mut self.collide) => {
                // In the order of a real collision: its own offer is on the way when the client's comes.
                self.grow(1).await;
                Reply::Ignored
            }
            Request::Offer { sdp } => {
                assert!(sdp.find("\nm=application").unwrap() < sdp.find("\nm=audio").unwrap(), "the data section is first");
                self.connection.set_remote_description(RTCSessionDescription::offer(sdp).unwrap()).await.unwrap();
                let answer = self.connection.create_answer(None).await.unwrap();
                self.connection.set_local_description(answer).await.unwrap();
                Reply::Answer(Answered { sdp: self.local_with_candidates().await })
            }
            Request::Answer { revision, sdp } => {
                assert_eq!(revision, self.revision);
                assert!(!sdp.contains("a=setup:passive"), "the client keeps its DTLS role");
                self.connection.set_remote_description(RTCSessionDescription::answer(sdp).unwrap()).await.unwrap();
                self.in_flight = false;
                self.answered.fetch_add(1, Ordering::Relaxed);
                Reply::Done
            }
            Request::Publish { .. } => {
                self.published += 1;
                Reply::Published(Published { track: TrackId(self.published) })
            }
            _ => Reply::Done,
        };
        self.send(ServerMessage::Reply { id: message.id, result }).await;
    }

    /// The local description with the candidates that gathering adds in its own time.
    async fn local_with_candidates(&self) -> String {
        loop {
            let local = self.connection.local_description().await.unwrap().sdp;
            if local.contains("a=candidate:") {
                return local;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn grow(&mut self, slots: usize) {
        for _ in 0..slots {
            for kind in [Kind::Audio, Kind::Video] {
                self.add_slot_line(kind).await;
            }
        }
        let offer = self.connection.create_offer(None).await.unwrap();
        self.connection.set_local_description(offer.clone()).await.unwrap();
        self.revision += 1;
        self.in_flight = true;
        self.send(ServerMessage::Event { event: Event::Offer { revision: self.revision, sdp: offer.sdp } }).await;
        let mids: Vec<String> = self.slot_mids().await;
        // What the client sends comes back, as if the other participant had sent it.
        if let Some(mid) = mids.first() {
            let slots = vec![SlotAssignment { mid: mid.clone(), track: Some(TrackId(50)) }];
            self.send(ServerMessage::Event { event: Event::Slots { slots } }).await;
        }
    }

    /// The mids of the double's sending video lines, oldest first.
    async fn slot_mids(&self) -> Vec<String> {
        let mut mids = Vec::new();
        for transceiver in self.connection.get_transceivers().await {
            let Some(sender) = transceiver.sender().await.unwrap() else { continue };
            if sender.track().kind().await == RtpCodecKind::Video {
                mids.push((transceiver.id(), transceiver.mid().await.unwrap().unwrap()));
            }
        }
        mids.sort();
        mids.into_iter().map(|(_, mid)| mid).collect()
    }

    async fn add_slot_line(&mut self, kind: Kind) {
        let index = self.slots.lock().unwrap().len() as u32;
        let ssrc = 0x5000_0000 + index;
        let (codec_kind, mime_type, clock_rate, channels) = match kind {
            Kind::Audio => (RtpCodecKind::Audio, "audio/opus", 48_000, 2),
            Kind::Video => (RtpCodecKind::Video, "video/VP8", 90_000, 0),
        };
        let encoding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
            codec: RTCRtpCodec { mime_type: mime_type.into(), clock_rate, channels, ..Default::default() },
            ..Default::default()
        };
        let id = format!("slot-{index}");
        let track = Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new(id.clone(), id.clone(), id, codec_kind, vec![encoding])));
        let init =
            RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Sendonly, streams: Vec::new(), send_encodings: Vec::new() };
        self.connection.add_transceiver_from_track(track.clone(), Some(init)).await.unwrap();
        self.slots.lock().unwrap().push((kind, ssrc, track));
    }
}
