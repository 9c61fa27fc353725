//! A client: DTLS with retransmission of its own (that of `rtc-dtls` gives up after seven), SCTP, data channels.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_datachannel::data_channel::DataChannel;
use rtc_datachannel::message::Message;
use rtc_datachannel::message::message_channel_ack::DataChannelAck;
use rtc_datachannel::message::message_channel_open::{ChannelType, DataChannelOpen};
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{ConfigBuilder, ExtendedMasterSecretType};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_sctp::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, EndpointConfig, Event as SctpEvent, Payload, PayloadProtocolIdentifier,
    StreamEvent,
};
use rtc_shared::TransportProtocol;
use rtc_shared::marshal::{Marshal, Unmarshal};

use crate::certificate::Fingerprint;

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5000);
const GCM: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm;

/// What a client offers.
pub(super) struct Offer {
    pub(super) profiles: Vec<SrtpProtectionProfile>,
    pub(super) extended_master_secret: ExtendedMasterSecretType,
    pub(super) certificate: bool,
    pub(super) mtu: usize,
    pub(super) suites: Vec<CipherSuiteId>,
}

impl Default for Offer {
    fn default() -> Self {
        Self {
            profiles: vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80, GCM],
            extended_master_secret: ExtendedMasterSecretType::Require,
            certificate: true,
            mtu: 1200,
            suites: vec![CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256],
        }
    }
}

/// What a client has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Connected,
    /// The server dialled this channel.
    Dialled(u16, String, String, ChannelType, u32),
    /// The server confirmed this channel.
    Confirmed(u16),
    Message(u16, bool, Vec<u8>),
    /// The stream was reset, or the association lost.
    Gone(u16),
}

pub(super) struct Client {
    endpoint: Endpoint,
    fingerprint: String,
    /// The last flight, the time of its next repetition, and the pause after that.
    flight: Vec<Vec<u8>>,
    repeat_at: Option<Instant>,
    pause: Duration,
    pub(super) repeats: bool,
    pub(super) established: bool,
    pub(super) closed: bool,
    pub(super) failed: bool,
    sctp: rtc_sctp::Endpoint,
    pub(super) association: Option<(AssociationHandle, Association)>,
    known: BTreeMap<u16, ()>,
    pub(super) seen: VecDeque<Seen>,
    transmits: VecDeque<Vec<u8>>,
}

impl Client {
    pub(super) fn new(now: Instant, offer: Offer) -> Self {
        let provider: Arc<dyn RTCCryptoProvider> = Arc::new(AwsLcRsProvider::new());
        let certificate = Certificate::generate_self_signed(["client".to_owned()], provider.crypto()).expect("a certificate");
        let fingerprint = Fingerprint::of(&certificate.certificate[0]).to_string();
        let config = ConfigBuilder::default()
            .with_crypto_provider(provider)
            .with_certificates(if offer.certificate { vec![certificate] } else { vec![] })
            .with_srtp_protection_profiles(offer.profiles)
            .with_extended_master_secret(offer.extended_master_secret)
            .with_insecure_skip_verify(true)
            .with_flight_interval(Duration::from_secs(3600))
            .with_mtu(offer.mtu)
            .with_cipher_suites(offer.suites)
            .build(true, Some(SERVER))
            .expect("a client's configuration");
        let mut endpoint = Endpoint::new(SERVER, TransportProtocol::UDP, None);
        endpoint.connect(now, SERVER, Arc::new(config), None).expect("a connection");
        let mut client = Self {
            endpoint,
            fingerprint,
            flight: Vec::new(),
            repeat_at: None,
            pause: Duration::ZERO,
            repeats: true,
            established: false,
            closed: false,
            failed: false,
            sctp: rtc_sctp::Endpoint::new(SERVER, TransportProtocol::UDP, Arc::new(EndpointConfig::new()), None),
            association: None,
            known: BTreeMap::new(),
            seen: VecDeque::new(),
            transmits: VecDeque::new(),
        };
        client.collect(now);
        client
    }

    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The exported keying material: client key, server key, client salt, server salt.
    pub(super) fn keying_material(&self, length: usize) -> Vec<u8> {
        let state = self.endpoint.get_connection_state(SERVER).expect("a connection");
        state.export_keying_material("EXTRACTOR-dtls_srtp", &[], length).expect("keys").into_bytes()
    }

    fn collect(&mut self, now: Instant) {
        let mut datagrams = Vec::new();
        while let Some(transmit) = self.endpoint.poll_transmit() {
            datagrams.push(Vec::from(transmit.message));
        }
        if !datagrams.is_empty() && !self.established {
            self.flight = datagrams.clone();
            self.pause = Duration::from_millis(100);
            self.repeat_at = Some(now + self.pause);
        }
        self.transmits.extend(datagrams);
    }

    pub(super) fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        if self.closed || self.failed {
            return;
        }
        let result = self.endpoint.read(now, SERVER, None, BytesMut::from(datagram));
        self.collect(now);
        let Ok(events) = result else {
            self.failed = true;
            self.repeat_at = None;
            return;
        };
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => {
                    self.established = true;
                    self.repeat_at = None;
                    let connected = self.sctp.connect(now, ClientConfig::default(), SERVER).expect("an association");
                    self.association = Some(connected);
                }
                EndpointEvent::ApplicationData(data) => self.handle_packet(now, data.freeze()),
                EndpointEvent::PeerClosed => self.closed = true,
                _ => {}
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let sctp = self.association.as_ref().and_then(|(_, association)| association.poll_timeout());
        [self.repeat_at.filter(|_| self.repeats), sctp].into_iter().flatten().min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.repeats && self.repeat_at.is_some_and(|at| at <= now) {
            self.transmits.extend(self.flight.iter().cloned());
            self.pause = (self.pause * 2).min(Duration::from_millis(1600));
            self.repeat_at = Some(now + self.pause);
        }
        if let Some((_, association)) = &mut self.association {
            association.handle_timeout(now);
        }
        self.handle_events(now);
    }

    pub(super) fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.transmits.is_empty() && !self.closed {
            let transmit = self.association.as_mut().and_then(|(_, association)| association.poll_transmit(now));
            if let Some(Payload::RawEncode(packets)) = transmit.map(|transmit| transmit.message) {
                packets.into_iter().for_each(|packet| self.write_raw(now, &packet));
            }
        }
        self.transmits.pop_front()
    }

    /// Seals `packet` as application data.
    pub(super) fn write_raw(&mut self, now: Instant, packet: &[u8]) {
        let _ = self.endpoint.write(now, SERVER, packet);
        self.collect(now);
    }

    pub(super) fn close(&mut self, now: Instant) {
        self.endpoint.stop(now, SERVER);
        self.collect(now);
        self.closed = true;
    }

    fn handle_packet(&mut self, now: Instant, packet: Bytes) {
        if let (Some((_, DatagramEvent::AssociationEvent(event))), Some((_, association))) =
            (self.sctp.handle(now, SERVER, None, packet), &mut self.association)
        {
            association.handle_event(event);
        }
        self.handle_events(now);
    }

    fn handle_events(&mut self, now: Instant) {
        while let Some(event) = self.association.as_mut().and_then(|(_, association)| association.poll()) {
            match event {
                SctpEvent::Connected => self.seen.push_back(Seen::Connected),
                SctpEvent::AssociationLost { id, .. } => {
                    self.known.remove(&id);
                    self.seen.push_back(Seen::Gone(id));
                }
                SctpEvent::Stream(StreamEvent::Readable { id }) => self.read(now, id),
                _ => {}
            }
        }
    }

    fn read(&mut self, now: Instant, id: u16) {
        while let Some(chunks) = self.association().stream(id).ok().and_then(|mut stream| stream.read_sctp().ok().flatten()) {
            let payload = chunks.to_payload(1 << 20).expect("a message");
            let seen = match chunks.ppi {
                PayloadProtocolIdentifier::Dcep => match Message::unmarshal(&mut &payload[..]).expect("a control message") {
                    Message::DataChannelOpen(open) => {
                        let ack = Message::DataChannelAck(DataChannelAck {}).marshal().expect("an ack");
                        self.write(now, id, PayloadProtocolIdentifier::Dcep, &ack);
                        let text = |bytes| String::from_utf8(bytes).expect("text");
                        Seen::Dialled(id, text(open.label), text(open.protocol), open.channel_type, open.reliability_parameter)
                    }
                    _ => Seen::Confirmed(id),
                },
                PayloadProtocolIdentifier::String => Seen::Message(id, true, payload.into()),
                PayloadProtocolIdentifier::Binary => Seen::Message(id, false, payload.into()),
                PayloadProtocolIdentifier::StringEmpty => Seen::Message(id, true, vec![]),
                PayloadProtocolIdentifier::BinaryEmpty => Seen::Message(id, false, vec![]),
                _ => continue,
            };
            self.seen.push_back(seen);
        }
    }

    pub(super) fn association(&mut self) -> &mut Association {
        &mut self.association.as_mut().expect("an association").1
    }

    pub(super) fn dial(&mut self, now: Instant, id: u16, label: &str, channel_type: ChannelType, reliability_parameter: u32) {
        let open = DataChannelOpen {
            channel_type,
            priority: 256,
            reliability_parameter,
            label: label.as_bytes().to_vec(),
            protocol: b"test".to_vec(),
        };
        let open = Message::DataChannelOpen(open).marshal().expect("an open");
        self.association().open_stream(id, PayloadProtocolIdentifier::Binary).expect("a stream");
        self.write(now, id, PayloadProtocolIdentifier::Dcep, &open);
    }

    pub(super) fn send(&mut self, now: Instant, id: u16, text: bool, data: &[u8]) {
        let message = DataChannel::get_data_channel_message(text, BytesMut::from(data));
        self.write(now, id, message.ppi, &message.payload);
    }

    pub(super) fn write(&mut self, now: Instant, id: u16, kind: PayloadProtocolIdentifier, data: &[u8]) {
        let mut stream = self.association().stream(id).expect("a stream");
        stream.write_chunk_with_ppi(now, &Bytes::copy_from_slice(data), kind).expect("written");
    }

    pub(super) fn reset(&mut self, now: Instant, id: u16) {
        self.association().stream(id).expect("a stream").close(now).expect("closed");
    }
}
