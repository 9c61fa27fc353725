//! A server for tests: real signaling over real WebSockets, one `webrtc` peer connection for its one client, and a media plane
//! that sends what it hears back through its slots. Enough to drive the session through what a server and a network can do to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rtc::ice::mdns::MulticastDnsMode;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::setting_engine::SctpMaxMessageSize;
use rtc::peer_connection::transport::RTCDtlsRole;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use switchyard_protocol::{
    Answered, ClientMessage, CloseReason, Encoding, ErrorCode, Event, Grants, Joined, Kind, Limits, Participant, ParticipantId,
    ProtocolError, Published, Reply, Request, Resumed, RoomSettings, ServerMessage, Session, SlotAssignment, Snapshot, Source, Token,
    Track, TrackId, VERSION,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
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

/// The client's id at the double, plus one for each time it has joined again, and that of the participant the double pretends to have.
pub(crate) const CLIENT: ParticipantId = ParticipantId(3);
pub(crate) const OTHER: ParticipantId = ParticipantId(9);

/// How its room is set.
const SETTINGS: RoomSettings = RoomSettings { locked: false, lobby: false, password: false, max_participants: 1000 };
/// How long the client may take for what it should do at once, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

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
    /// From now on nothing goes over the connection, in either direction, but it stays. Says when it is so.
    Stall(oneshot::Sender<()>),
    /// Cut the connection; what is on the way is lost.
    Cut,
    /// Cut it and know no session any more, as a server does that was started anew.
    Forget,
    /// Answer the next resumption with a snapshot, in which the other participant has this name and no track is in a slot; missed events are lost.
    Overflow(&'static str),
    /// Have no room for this many joins.
    RefuseJoins(usize),
}

/// A running double.
pub(crate) struct Double {
    pub(crate) url: String,
    orders: mpsc::UnboundedSender<Order>,
    requests: mpsc::UnboundedReceiver<Request>,
    closes: mpsc::UnboundedReceiver<u16>,
    answered: Arc<AtomicUsize>,
}

impl Double {
    /// Listens, and serves one client, which may come again.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("ws://{}/v1/ws", listener.local_addr().expect("bound"));
        let (orders, from_test) = mpsc::unbounded_channel();
        let (to_test, requests) = mpsc::unbounded_channel();
        let (closed, closes) = mpsc::unbounded_channel();
        let answered = Arc::new(AtomicUsize::new(0));
        let serving = Serving::new(to_test, closed, answered.clone()).await;
        tokio::spawn(serving.run(listener, from_test));
        Self { url, orders, requests, closes, answered }
    }

    pub(crate) fn order(&self, order: Order) {
        self.orders.send(order).expect("the double runs");
    }

    /// From when this returns, nothing goes over the connection.
    pub(crate) async fn stall(&self) {
        let (done, stalled) = oneshot::channel();
        self.order(Order::Stall(done));
        stalled.await.expect("the double runs");
    }

    /// The client's next request that is as wanted; others are skipped.
    pub(crate) async fn request(&mut self, mut wanted: impl FnMut(&Request) -> bool) -> Request {
        let found = async {
            loop {
                let request = self.requests.recv().await.expect("the double runs");
                if wanted(&request) {
                    return request;
                }
            }
        };
        timeout(SOON, found).await.expect("a request in time")
    }

    /// The code of the client's next farewell.
    pub(crate) async fn close(&mut self) -> u16 {
        timeout(SOON, self.closes.recv()).await.expect("a farewell in time").expect("the double runs")
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
    requests: mpsc::UnboundedSender<Request>,
    closes: mpsc::UnboundedSender<u16>,
    answered: Arc<AtomicUsize>,
    socket: Option<WebSocketStream<TcpStream>>,
    encoding: Encoding,
    stalled: bool,
    /// Sessions begun so far; the last one's token has this number.
    joined: u32,
    forgotten: bool,
    /// Messages got and sent in the session after `join`.
    got: u32,
    said: Vec<ServerMessage>,
    overflow: Option<&'static str>,
    refuse_joins: usize,
    connection: Box<dyn PeerConnection>,
    slots: Slots,
    revision: u32,
    in_flight: bool,
    published: u32,
    collide: bool,
    refuse: bool,
}

impl Serving {
    async fn new(requests: mpsc::UnboundedSender<Request>, closes: mpsc::UnboundedSender<u16>, answered: Arc<AtomicUsize>) -> Self {
        let slots = Slots::default();
        Self {
            requests,
            closes,
            answered,
            socket: None,
            encoding: Encoding::Json,
            stalled: false,
            joined: 0,
            forgotten: false,
            got: 0,
            said: Vec::new(),
            overflow: None,
            refuse_joins: 0,
            connection: connection(slots.clone()).await,
            slots,
            revision: 0,
            in_flight: false,
            published: 0,
            collide: false,
            refuse: false,
        }
    }

    async fn run(mut self, listener: TcpListener, mut orders: mpsc::UnboundedReceiver<Order>) {
        loop {
            tokio::select! {
                accepted = listener.accept() => self.accept(accepted.unwrap().0).await,
                message = next(&mut self.socket), if !self.stalled => match message {
                    Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                        let message = self.decode(message);
                        let request = message.request.clone();
                        self.got += 1;
                        self.handle(message).await;
                        if request == Request::Leave {
                            let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
                            let _ = self.socket.as_mut().unwrap().close(Some(frame)).await;
                        }
                        let _ = self.requests.send(request);
                    }
                    Some(Ok(Message::Close(Some(frame)))) => drop(self.closes.send(frame.code.into())),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => self.socket = None,
                },
                order = orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => break,
                },
            }
        }
        let _ = self.connection.close().await;
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Grow(slots) => self.grow(slots).await,
            Order::Collide => self.collide = true,
            Order::RefuseOffer => self.refuse = true,
            Order::Tell(event) => self.send(ServerMessage::Event { event }).await,
            Order::Close(reason) => {
                let event = Event::Closing { reason, message: "for the test".into(), to: None };
                self.send(ServerMessage::Event { event }).await;
            }
            Order::Stall(done) => {
                self.stalled = true;
                let _ = done.send(());
            }
            Order::Cut => self.socket = None,
            Order::Forget => (self.socket, self.forgotten) = (None, true),
            Order::Overflow(name) => self.overflow = Some(name),
            Order::RefuseJoins(times) => self.refuse_joins = times,
        }
    }

    /// Takes a connection, and what it begins with, in place of the last.
    async fn accept(&mut self, tcp: TcpStream) {
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
        .await;
        let Ok(socket) = socket else { return };
        (self.socket, self.encoding, self.stalled) = (Some(socket), encoding, false);
        while let Some(Ok(message)) = next(&mut self.socket).await {
            let ClientMessage { id, request } = match message {
                Message::Close(Some(frame)) => {
                    let _ = self.closes.send(frame.code.into());
                    continue;
                }
                message => self.decode(message),
            };
            let _ = self.requests.send(request.clone());
            match request {
                Request::Resume { token, received } if token == self.token() && !self.forgotten => return self.resume(id, received).await,
                Request::Resume { .. } => self.fail(id, ErrorCode::NoSuchSession).await,
                Request::Join { .. } if self.refuse_joins > 0 => {
                    self.refuse_joins -= 1;
                    self.fail(id, ErrorCode::Overloaded).await;
                }
                Request::Join { room, .. } => return self.join(id, room).await,
                other => panic!("a connection begins with {other:?}"),
            }
        }
        self.socket = None;
    }

    fn decode(&self, message: Message) -> ClientMessage {
        self.encoding.decode_client(&message.into_data()).expect("the client keeps to the protocol")
    }

    fn token(&self) -> Token {
        Token(format!("double {}", self.joined))
    }

    async fn join(&mut self, id: u32, room: String) {
        if self.joined > 0 {
            // The media plane goes with the session.
            let fresh = Self::new(self.requests.clone(), self.closes.clone(), self.answered.clone()).await;
            let last = std::mem::replace(self, fresh);
            let _ = last.connection.close().await;
            (self.socket, self.encoding, self.joined) = (last.socket, last.encoding, last.joined);
        }
        self.joined += 1;
        let joined = Joined {
            version: VERSION,
            room,
            participant: ParticipantId(CLIENT.0 + self.joined - 1),
            name: String::new(),
            identity: None,
            grants: Grants::without_access_control(),
            settings: SETTINGS,
            participants: vec![other("Other")],
            ice_servers: Vec::new(),
            relay_only: false,
            limits: Limits { message_bytes: 0, chat_bytes: 0, tracks: 8, slots: 64 },
            session: Session { token: self.token(), resume_within: 60_000 },
        };
        self.write(&ServerMessage::Reply { id, result: Reply::Joined(joined) }).await;
    }

    async fn resume(&mut self, id: u32, received: u32) {
        let mut missed = self.said.split_off(received as usize);
        let mut snapshot = None;
        if let Some(name) = self.overflow.take() {
            missed.retain(|message| !matches!(message, ServerMessage::Event { event } if !matches!(event, Event::Offer { .. })));
            snapshot = Some(Snapshot { participants: vec![other(name)], slots: Vec::new(), settings: SETTINGS });
        }
        let resumed = Resumed { received: self.got, snapshot };
        self.write(&ServerMessage::Reply { id, result: Reply::Resumed(resumed) }).await;
        for message in missed {
            self.send(message).await;
        }
    }

    async fn fail(&mut self, id: u32, code: ErrorCode) {
        self.write(&ServerMessage::Error { id: Some(id), error: ProtocolError::new(code, "for the test") }).await;
    }

    /// Says something in the session.
    async fn send(&mut self, message: ServerMessage) {
        self.write(&message).await;
        self.said.push(message);
    }

    async fn write(&mut self, message: &ServerMessage) {
        let Some(socket) = self.socket.as_mut().filter(|_| !self.stalled) else { return };
        let bytes = self.encoding.encode_server(message);
        let message = match self.encoding {
            Encoding::Json => Message::text(String::from_utf8(bytes).unwrap()),
            Encoding::MessagePack => Message::binary(bytes),
        };
        let _ = socket.send(message).await;
    }

    async fn handle(&mut self, message: ClientMessage) {
        let result = match message.request {
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
            Request::Ping { .. } => Reply::Pong,
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

/// What comes over the socket next; nothing while there is none.
async fn next(socket: &mut Option<WebSocketStream<TcpStream>>) -> Option<Result<Message, tokio_tungstenite::tungstenite::Error>> {
    match socket {
        Some(socket) => socket.next().await,
        None => std::future::pending().await,
    }
}

fn other(name: &str) -> Participant {
    let camera = Track { id: TrackId(50), kind: Kind::Video, source: Source::Camera, muted: false };
    Participant { id: OTHER, name: name.into(), identity: None, tracks: vec![camera] }
}
