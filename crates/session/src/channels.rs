//! Data channels (RFC 8831, RFC 8832) over one SCTP association (RFC 9260), which the client opens.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use rtc_datachannel::data_channel::DataChannel;
use rtc_datachannel::message::Message;
use rtc_datachannel::message::message_channel_ack::DataChannelAck;
use rtc_datachannel::message::message_channel_open::{CHANNEL_PRIORITY_NORMAL, ChannelType, DataChannelOpen};
use rtc_sctp::{
    Association, AssociationHandle, DatagramEvent, Endpoint, EndpointConfig, Event as SctpEvent, Payload, PayloadProtocolIdentifier,
    ReliabilityType, ServerConfig, StreamEvent, TimerConfig, TransportConfig, max_payload_size_for_mtu,
};
use rtc_shared::TransportProtocol;
use rtc_shared::marshal::{Marshal, Unmarshal};

use crate::intake::Intake;
use crate::patience::Patience;
use crate::screen::{SINK, Screen, Verdict};
use crate::waiting::{Outgoing, Waiting};
use crate::{ChannelId, Event, MAX_MESSAGE, OpenError, Reliability, SendError};

/// The address `rtc-sctp` knows the client by; see `dtls::PEER`.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 255)), 9);

/// Channels of a session. A meeting needs a handful; each costs some 500 bytes here and as much in `rtc-sctp`.
pub(crate) const MAX_CHANNELS: usize = 64;
/// Bytes of label, and of protocol.
pub(crate) const MAX_NAME: usize = 1024;
/// What messages waiting to be sent or acknowledged in all reliable channels may cost, each with its overhead: four of the largest, 45 s of 50 short ones a second, and what
/// one slow participant may cost the server.
pub(crate) const MAX_BUFFERED: usize = 1 << 20;
/// Bytes received but not yet whole or in order: two of the largest messages.
const RECEIVE_WINDOW: u32 = 512 * 1024;
/// Bytes of an SCTP packet: a DTLS record adds at most 37 (header 13, nonce 8, tag 16), together 1200.
const MAX_PACKET: u32 = 1163;

/// What every association runs with.
static CONFIGS: LazyLock<(Arc<EndpointConfig>, Arc<ServerConfig>)> = LazyLock::new(|| {
    let transport = TransportConfig::default()
        .with_max_message_size(MAX_MESSAGE as u32)
        .with_max_receive_buffer_size(RECEIVE_WINDOW)
        // With a limit its timers stop for good after a silence of half a minute. ICE decides when a path is dead.
        .with_timer_config(TimerConfig {
            max_t3_rtx_retrans: usize::MAX,
            max_reconfig_retrans: usize::MAX,
            max_ack_retrans: usize::MAX,
            ..TimerConfig::default()
        });
    let mut endpoint = EndpointConfig::new();
    endpoint.max_payload_size(max_payload_size_for_mtu(MAX_PACKET));
    (Arc::new(endpoint), Arc::new(ServerConfig::new(transport)))
});

/// One session's channels and the association under them.
pub(crate) struct Channels {
    endpoint: Endpoint,
    association: Link,
    screen: Screen,
    /// Boxed: the map keeps places for eleven, and most sessions have two.
    channels: BTreeMap<ChannelId, Box<Channel>>,
    intake: Intake,
    /// Streams that may have messages to be taken.
    readable: BTreeSet<ChannelId>,
    patience: Patience,
    packets: VecDeque<Bytes>,
    events: VecDeque<Event>,
}

enum Link {
    /// The client's INIT has not come.
    Waiting,
    Up {
        handle: AssociationHandle,
        association: Box<Association>,
        connected: bool,
    },
    /// Gone for good: a client that wants channels again makes a new session.
    Lost,
}

struct Channel {
    stage: ChannelStage,
    label: String,
    protocol: String,
    ordered: bool,
    reliability: Reliability,
    waiting: Waiting,
}

impl Channel {
    fn is_reliable(&self) -> bool {
        self.reliability == Reliability::Reliable
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChannelStage {
    /// Waits for the association.
    Wanted,
    /// DATA_CHANNEL_OPEN is sent.
    Dialled,
    Open,
}

impl Channels {
    pub(crate) fn new() -> Self {
        let (endpoint, server) = &*CONFIGS;
        Self {
            endpoint: Endpoint::new(PEER, TransportProtocol::UDP, Arc::clone(endpoint), Some(Arc::clone(server))),
            association: Link::Waiting,
            screen: Screen::new(RECEIVE_WINDOW, MAX_PACKET as usize),
            channels: BTreeMap::new(),
            intake: Intake::new(),
            readable: BTreeSet::new(),
            patience: Patience::default(),
            packets: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Takes an SCTP packet.
    pub(crate) fn handle_packet(&mut self, now: Instant, packet: Bytes) {
        if matches!(self.association, Link::Lost) {
            return;
        }
        let mut packet = Vec::from(packet);
        match self.screen.inspect(&mut packet) {
            Verdict::Pass => {}
            Verdict::Drop => return,
            Verdict::Answer(answer) => return self.packets.push_back(answer),
            Verdict::Abuse => return self.abort(now),
        }
        match (self.endpoint.handle(now, PEER, None, packet.into()), &mut self.association) {
            (Some((handle, DatagramEvent::NewAssociation(association))), link @ Link::Waiting) => {
                *link = Link::Up { handle, association: Box::new(association), connected: false };
            }
            (Some((to, DatagramEvent::AssociationEvent(event))), Link::Up { handle, association, .. }) if to == *handle => {
                association.handle_event(event);
            }
            _ => {}
        }
        self.handle_events(now);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let believed = self.patience.expire(now);
        self.run_timers(now, believed);
    }

    /// What was sent in vain is sent again at once.
    pub(crate) fn hurry(&mut self, now: Instant) {
        let believed = self.patience.hurry(now);
        if believed > now {
            self.run_timers(now, believed);
        }
    }

    /// Has `rtc-sctp` do what is due at `believed`, which may be ahead of `now`.
    fn run_timers(&mut self, now: Instant, believed: Instant) {
        if let Link::Up { association, .. } = &mut self.association {
            association.handle_timeout(believed);
            self.handle_events(now);
            self.watch(now);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match &self.association {
            Link::Up { association, .. } => {
                let taking = self.intake.opens_at().filter(|_| !self.readable.is_empty());
                [association.poll_timeout(), self.patience.poll_timeout(), taking].into_iter().flatten().min()
            }
            _ => None,
        }
    }

    /// The next SCTP packet to send.
    pub(crate) fn poll_packet(&mut self, now: Instant) -> Option<Bytes> {
        if self.packets.is_empty() {
            self.pump(now);
            self.gather(now);
            self.watch(now);
        }
        self.packets.pop_front()
    }

    fn watch(&mut self, now: Instant) {
        if let Link::Up { association, .. } = &self.association {
            self.patience.watch(now, association.poll_timeout(), association.rtt(), association.stats());
        }
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(crate) fn send(&mut self, now: Instant, id: ChannelId, text: bool, bytes: Bytes) -> Result<(), SendError> {
        if bytes.len() > MAX_MESSAGE {
            return Err(SendError::TooLarge);
        }
        let message = Outgoing { text, bytes };
        let waiting: usize = self.channels.values().filter(|channel| channel.is_reliable()).map(|channel| channel.waiting.cost()).sum();
        match self.channels.get_mut(&id) {
            Some(channel) if channel.stage != ChannelStage::Open => return Err(SendError::NotOpen),
            None => return Err(SendError::NotOpen),
            Some(channel) if !channel.is_reliable() => channel.waiting.push_fleeting(message),
            Some(_) if waiting + message.cost() > MAX_BUFFERED => return Err(SendError::Full),
            Some(channel) => channel.waiting.push(message),
        }
        self.pump(now);
        Ok(())
    }

    /// Gives `rtc-sctp` as much of what waits as it may have.
    fn pump(&mut self, now: Instant) {
        let Link::Up { association, .. } = &mut self.association else { return };
        for (id, channel) in self.channels.iter_mut().filter(|(_, channel)| channel.stage == ChannelStage::Open) {
            while let Some(message) = channel.waiting.pop(channel.is_reliable()) {
                let (kind, payload) = message.wire();
                let Ok(mut stream) = association.stream(*id) else { break };
                // It fails only where the stream or the association has just been closed, which is reported as an event.
                let _ = stream.write_chunk_with_ppi(now, &payload, kind);
            }
        }
    }

    pub(crate) fn open(
        &mut self,
        now: Instant,
        label: &str,
        protocol: &str,
        ordered: bool,
        reliability: Reliability,
    ) -> Result<ChannelId, OpenError> {
        if matches!(self.association, Link::Lost) {
            return Err(OpenError::Ended);
        }
        if label.len() > MAX_NAME || protocol.len() > MAX_NAME {
            return Err(OpenError::TooLong);
        }
        if self.channels.len() >= MAX_CHANNELS {
            return Err(OpenError::TooMany);
        }
        let id = (1..).step_by(2).find(|&id| !self.channels.contains_key(&id) && !self.screen.is_closing(id)).ok_or(OpenError::TooMany)?;
        let (label, protocol) = (label.to_owned(), protocol.to_owned());
        let channel = Channel { stage: ChannelStage::Wanted, label, protocol, ordered, reliability, waiting: Waiting::default() };
        self.channels.insert(id, Box::new(channel));
        if matches!(self.association, Link::Up { connected: true, .. }) {
            self.dial(now, id);
        }
        Ok(id)
    }

    pub(crate) fn close(&mut self, now: Instant, id: ChannelId) {
        if self.channels.remove(&id).is_some() {
            self.reset(now, id);
            self.readable.remove(&id);
            self.events.push_back(Event::ChannelClosed(id));
        }
    }

    /// Ends the association and tells the client so (RFC 9260 §9.1).
    fn abort(&mut self, now: Instant) {
        self.gather(now);
        if let Some(association) = self.association() {
            let _ = association.abort();
        }
        self.gather(now);
        self.lose();
    }

    /// Forgets the association; every channel is closed.
    pub(crate) fn lose(&mut self) {
        self.association = Link::Lost;
        self.readable.clear();
        self.events.extend(std::mem::take(&mut self.channels).into_keys().map(Event::ChannelClosed));
    }

    fn association(&mut self) -> Option<&mut Association> {
        match &mut self.association {
            Link::Up { association, .. } => Some(association),
            _ => None,
        }
    }

    fn gather(&mut self, now: Instant) {
        if let Some(transmit) = self.association().and_then(|association| association.poll_transmit(now))
            && let Payload::RawEncode(packets) = transmit.message
        {
            let screen = &mut self.screen;
            self.packets.extend(packets.into_iter().filter_map(|packet| screen.release(packet)));
        }
    }

    /// Carries out what `rtc-sctp` reports, and takes messages; that may have it report more.
    fn handle_events(&mut self, now: Instant) {
        self.take_events(now);
        while self.take_messages(now) {
            self.take_events(now);
        }
        if let Link::Up { association, connected: true, .. } = &mut self.association
            && (association.is_closed() || association.poll_endpoint_event().is_some())
        {
            self.gather(now);
            self.lose();
        }
    }

    fn take_events(&mut self, now: Instant) {
        while let Some(event) = self.association().and_then(Association::poll) {
            match event {
                SctpEvent::Connected => {
                    if let Link::Up { connected, .. } = &mut self.association {
                        *connected = true;
                    }
                    let wanted: Vec<_> = self.channels.keys().copied().collect();
                    wanted.into_iter().for_each(|id| self.dial(now, id));
                }
                SctpEvent::Stream(StreamEvent::Readable { id }) => {
                    self.readable.insert(id);
                }
                SctpEvent::Stream(StreamEvent::BufferedAmountReleased { id, n_bytes }) => {
                    if let Some(channel) = self.channels.get_mut(&id) {
                        channel.waiting.release(n_bytes);
                    }
                }
                // The peer reset the stream, or the association is lost: reported for each stream.
                SctpEvent::AssociationLost { id, .. } => {
                    self.screen.gone(id);
                    if self.channels.remove(&id).is_some() {
                        self.events.push_back(Event::ChannelClosed(id));
                    }
                }
                _ => {}
            }
        }
    }

    /// Takes messages as long as there are any and they may be taken; whether there were any. A stream announces only once that it has some.
    fn take_messages(&mut self, now: Instant) -> bool {
        let mut taken = false;
        while let Some(&id) = self.readable.first()
            && self.intake.is_open(now)
        {
            let message = self.association().and_then(|association| association.stream(id).ok()).map(|mut stream| stream.read_sctp());
            let Some(Ok(Some(chunks))) = message else {
                self.readable.remove(&id);
                continue;
            };
            self.screen.taken(chunks.chunks.len());
            match chunks.to_payload(MAX_MESSAGE) {
                Ok(payload) => {
                    self.intake.take(payload.len());
                    self.handle_message(now, id, chunks.ppi, payload);
                }
                // More than SDP's max-message-size, which browsers respect.
                Err(_) => self.abort(now),
            }
            taken = true;
        }
        self.screen.set_untaken(!self.readable.is_empty());
        taken
    }

    fn handle_message(&mut self, now: Instant, id: ChannelId, kind: PayloadProtocolIdentifier, payload: BytesMut) {
        let (text, data) = match kind {
            PayloadProtocolIdentifier::Dcep => return self.handle_control(now, id, &payload),
            PayloadProtocolIdentifier::String => (true, payload.into()),
            PayloadProtocolIdentifier::Binary => (false, payload.into()),
            PayloadProtocolIdentifier::StringEmpty => (true, Vec::new()),
            PayloadProtocolIdentifier::BinaryEmpty => (false, Vec::new()),
            _ => return,
        };
        match self.channels.get(&id) {
            // Data on a stream nobody opened has no meaning here: channels are not negotiated out of band.
            None => {}
            Some(channel) => {
                if channel.stage == ChannelStage::Dialled {
                    // Its DATA_CHANNEL_ACK was overtaken (RFC 8832 §6).
                    self.opened(id);
                }
                self.events.push_back(Event::Message { channel: id, text, data });
            }
        }
    }

    fn handle_control(&mut self, now: Instant, id: ChannelId, mut payload: &[u8]) {
        match (Message::unmarshal(&mut payload), self.channels.get(&id).map(|channel| channel.stage)) {
            (Ok(Message::DataChannelOpen(open)), None) if id != SINK => match accept(id, open, self.channels.len()) {
                Some(channel) => {
                    self.channels.insert(id, Box::new(channel));
                    self.configure(id);
                    if let Ok(ack) = Message::DataChannelAck(DataChannelAck {}).marshal() {
                        let _ = self.write(now, id, &ack.freeze(), PayloadProtocolIdentifier::Dcep);
                    }
                    self.opened(id);
                }
                None => self.reset(now, id),
            },
            (Ok(Message::DataChannelAck(_)), Some(ChannelStage::Dialled)) => self.opened(id),
            _ => {}
        }
    }

    fn opened(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.stage = ChannelStage::Open;
            self.events.push_back(Event::ChannelOpened {
                id,
                label: channel.label.clone(),
                protocol: channel.protocol.clone(),
                ordered: channel.ordered,
                reliability: channel.reliability,
            });
        }
    }

    fn dial(&mut self, now: Instant, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.stage = ChannelStage::Dialled;
        let (channel_type, reliability_parameter) = wire_type(channel.ordered, channel.reliability);
        let open = Message::DataChannelOpen(DataChannelOpen {
            channel_type,
            priority: CHANNEL_PRIORITY_NORMAL,
            reliability_parameter,
            label: channel.label.clone().into_bytes(),
            protocol: channel.protocol.clone().into_bytes(),
        });
        let stream = self.association().map(|association| association.open_stream(id, PayloadProtocolIdentifier::Binary).is_ok());
        match (stream, open.marshal()) {
            (Some(true), Ok(open)) => {
                self.configure(id);
                let _ = self.write(now, id, &open.freeze(), PayloadProtocolIdentifier::Dcep);
            }
            // The client sent data on a stream that is not its to open.
            _ => self.close(now, id),
        }
    }

    /// Sends what the channel's type asks for; `rtc-sctp` does not learn it from DATA_CHANNEL_OPEN.
    fn configure(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(&id) else { return };
        let (kind, value) = match channel.reliability {
            Reliability::Reliable => (ReliabilityType::Reliable, 0),
            Reliability::MaxRetransmits(count) => (ReliabilityType::Rexmit, count),
            Reliability::MaxLifetime(milliseconds) => (ReliabilityType::Timed, milliseconds),
        };
        let unordered = !channel.ordered;
        if let Some(Ok(mut stream)) = self.association().map(|association| association.stream(id)) {
            let _ = stream.set_reliability_params(unordered, kind, value);
        }
    }

    fn write(&mut self, now: Instant, id: ChannelId, payload: &Bytes, kind: PayloadProtocolIdentifier) -> Result<(), SendError> {
        let association = self.association().ok_or(SendError::NotOpen)?;
        let mut stream = association.stream(id).map_err(|_| SendError::NotOpen)?;
        stream.write_chunk_with_ppi(now, payload, kind).map(|_| ()).map_err(|_| SendError::NotOpen)
    }

    /// Closes a stream in both directions (RFC 8831 §6.7).
    fn reset(&mut self, now: Instant, id: ChannelId) {
        if let Some(Ok(mut stream)) = self.association().map(|association| association.stream(id)) {
            let _ = stream.close(now);
            self.screen.closing(id);
        }
    }
}

/// The channel a client asks for, if it may have it.
fn accept(id: ChannelId, open: DataChannelOpen, existing: usize) -> Option<Channel> {
    // The DTLS client dials even ids (RFC 8832 §6).
    if !id.is_multiple_of(2) || existing >= MAX_CHANNELS || open.label.len() > MAX_NAME || open.protocol.len() > MAX_NAME {
        return None;
    }
    let (unordered, kind) = DataChannel::get_reliability_params(open.channel_type);
    Some(Channel {
        stage: ChannelStage::Open,
        label: String::from_utf8(open.label).ok()?,
        protocol: String::from_utf8(open.protocol).ok()?,
        ordered: !unordered,
        reliability: match kind {
            ReliabilityType::Rexmit => Reliability::MaxRetransmits(open.reliability_parameter),
            ReliabilityType::Timed => Reliability::MaxLifetime(open.reliability_parameter),
            _ => Reliability::Reliable,
        },
        waiting: Waiting::default(),
    })
}

/// Channel type and reliability parameter (RFC 8832 §5.1).
fn wire_type(ordered: bool, reliability: Reliability) -> (ChannelType, u32) {
    match (reliability, ordered) {
        (Reliability::Reliable, true) => (ChannelType::Reliable, 0),
        (Reliability::Reliable, false) => (ChannelType::ReliableUnordered, 0),
        (Reliability::MaxRetransmits(count), true) => (ChannelType::PartialReliableRexmit, count),
        (Reliability::MaxRetransmits(count), false) => (ChannelType::PartialReliableRexmitUnordered, count),
        (Reliability::MaxLifetime(milliseconds), true) => (ChannelType::PartialReliableTimed, milliseconds),
        (Reliability::MaxLifetime(milliseconds), false) => (ChannelType::PartialReliableTimedUnordered, milliseconds),
    }
}
