//! The server's end of one DTLS association (RFC 6347, RFC 5764).
//!
//! `rtc-dtls` does the handshake's cryptography and messages. What reaches it has been put in order here: whole
//! handshake messages, each once, of the kind that is due, then its sealed end. So lost, repeated, reordered and hostile
//! datagrams end in [`Reassembly`], retransmission is this module's own, and what an unauthenticated client can make
//! the server store, compute or send is bounded by the constants below. After the handshake it is gone, and the
//! records are [`Sealed`]'s.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error;
use switchyard_rtp::srtp::{MasterKey, Profile, SrtpKeys};

use crate::FailReason;
use crate::certificate::{Certificate, Fingerprint};
use crate::flight::Flight;
use crate::hello::{ClientHello, first_certificate};
use crate::reassembly::{Message, Pushed, Reassembly};
use crate::record::{self, ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, Record};
use crate::sealed::Sealed;

/// The address `rtc-dtls` knows the client by. It keys its connections by address, and a session's only client may
/// change address at any time, so it is always this one, which is nobody's (RFC 5737).
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 255)), 9);

/// Clear-text handshake messages a client sends when it is asked for a certificate: ClientHello, ClientHello with the
/// cookie, Certificate, ClientKeyExchange, CertificateVerify (RFC 5246 §7.3, RFC 6347 §4.2.1).
const CLIENT_MESSAGES: [u8; 5] = [CLIENT_HELLO, CLIENT_HELLO, CERTIFICATE, CLIENT_KEY_EXCHANGE, CERTIFICATE_VERIFY];
const CLIENT_HELLO: u8 = 1;
const CERTIFICATE: u8 = 11;
const CERTIFICATE_VERIFY: u8 = 15;
const CLIENT_KEY_EXCHANGE: u8 = 16;

/// Alert levels and descriptions (RFC 5246 §7.2).
const WARNING: u8 = 1;
const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;
const UNEXPECTED_MESSAGE: u8 = 10;
const HANDSHAKE_FAILURE: u8 = 40;
const BAD_CERTIFICATE: u8 = 42;
const DECODE_ERROR: u8 = 50;

/// Datagrams kept until the fingerprint is known: a ClientHello takes two in browsers.
const MAX_EARLY: usize = 4;
/// Sealed records kept until they can be opened, of each kind: the client's Finished and first data overtaking its
/// certificate. What is lost here is sent again.
const MAX_HELD: usize = 8;
/// The longest datagram kept while waiting; nobody's path MTU is larger.
const MAX_KEPT_DATAGRAM: usize = 2048;
/// A handshake that takes longer has no user any more.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// What the association reports.
#[derive(Debug)]
pub(crate) enum Output {
    Keys(Box<SrtpKeys>),
    Data(Bytes),
    Failed(FailReason),
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No ClientHello yet.
    Listening,
    Handshaking,
    Established,
    /// Closed or failed. Nothing starts it again.
    Ended,
}

/// One DTLS association, from the first ClientHello to the close_notify.
pub(crate) struct Dtls {
    certificate: Arc<Certificate>,
    expected: Option<Fingerprint>,
    stage: Stage,
    /// The handshake's, until it is complete; then its keys.
    endpoint: Option<Box<Endpoint>>,
    sealed: Option<Sealed>,
    profile: Profile,
    reassembly: Reassembly,
    /// Datagrams that came before the fingerprint, and when the first did.
    early: VecDeque<Vec<u8>>,
    early_since: Option<Instant>,
    /// Sealed handshake records and alerts that came before the client proved its certificate.
    held_handshake: VecDeque<Vec<u8>>,
    /// Sealed data that came before the handshake was complete.
    held_data: VecDeque<Vec<u8>>,
    /// The client proved its certificate: sealed records can be opened.
    proved: bool,
    opened_epoch: bool,
    deadline: Option<Instant>,
    flight: Flight,
    /// The next record numbers in epoch 0: ours, and those of what `rtc-dtls` is given.
    sent_records: u64,
    given_records: u64,
    transmits: VecDeque<Vec<u8>>,
    outputs: VecDeque<Output>,
}

impl Dtls {
    pub(crate) fn new(certificate: Arc<Certificate>) -> Self {
        Self {
            certificate,
            expected: None,
            stage: Stage::Listening,
            endpoint: None,
            sealed: None,
            profile: Profile::AeadAes128Gcm,
            reassembly: Reassembly::default(),
            early: VecDeque::new(),
            early_since: None,
            held_handshake: VecDeque::new(),
            held_data: VecDeque::new(),
            proved: false,
            opened_epoch: false,
            deadline: None,
            flight: Flight::default(),
            sent_records: 0,
            given_records: 0,
            transmits: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    pub(crate) fn expected(&self) -> Option<Fingerprint> {
        self.expected
    }

    pub(crate) fn expect(&mut self, fingerprint: Fingerprint) {
        self.expected = Some(fingerprint);
    }

    pub(crate) fn is_established(&self) -> bool {
        self.stage == Stage::Established
    }

    pub(crate) fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        if self.expected.is_none() {
            self.keep_early(now, datagram);
            return;
        }
        self.handle_early(now);
        self.handle_records(now, datagram);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.expected.is_some() {
            self.handle_early(now);
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.fail(FailReason::TimedOut);
        }
        self.transmits.extend(self.flight.handle_timeout(now, &mut self.sent_records).iter().cloned());
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let early = self.early_since.filter(|_| self.expected.is_some());
        [early, self.deadline, self.flight.poll_timeout()].into_iter().flatten().min()
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmits.pop_front()
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Seals `data` as one record, which becomes one datagram.
    pub(crate) fn write(&mut self, data: &[u8]) {
        self.seal(APPLICATION_DATA, data);
    }

    fn seal(&mut self, content_type: u8, body: &[u8]) {
        // It fails only if the association's 2^48 record numbers are used up: the data is lost then.
        self.transmits.extend(self.sealed.as_mut().and_then(|sealed| sealed.seal(content_type, body)));
    }

    pub(crate) fn close(&mut self) {
        match self.stage {
            Stage::Ended => return,
            Stage::Listening => {}
            Stage::Handshaking => self.send_alert(WARNING, CLOSE_NOTIFY),
            Stage::Established => self.seal(ALERT, &[WARNING, CLOSE_NOTIFY]),
        }
        self.end(Output::Closed);
    }

    #[cfg(test)]
    pub(crate) fn kept_bytes(&self) -> usize {
        self.early.iter().chain(&self.held_handshake).chain(&self.held_data).map(Vec::len).sum()
    }

    /// Whether what is left of the handshake are the keys.
    #[cfg(test)]
    pub(crate) fn has_forgotten_handshake(&self) -> bool {
        self.is_established() && self.endpoint.is_none() && self.sealed.is_some()
    }

    fn keep_early(&mut self, now: Instant, datagram: &[u8]) {
        let is_hello = record::records(datagram).any(|record| record.content_type == HANDSHAKE && record.epoch == 0);
        if self.stage == Stage::Ended || !is_hello || datagram.len() > MAX_KEPT_DATAGRAM {
            return;
        }
        if self.early.len() == MAX_EARLY {
            self.early.pop_front();
        }
        self.early_since.get_or_insert(now);
        self.early.push_back(datagram.to_vec());
    }

    fn handle_early(&mut self, now: Instant) {
        self.early_since = None;
        for datagram in std::mem::take(&mut self.early) {
            self.handle_records(now, &datagram);
        }
    }

    fn handle_records(&mut self, now: Instant, datagram: &[u8]) {
        for record in record::records(datagram) {
            match (self.stage, record.epoch, record.content_type) {
                (Stage::Ended, ..) => return,
                (_, 0, HANDSHAKE) => self.handle_plain_handshake(now, &record),
                (Stage::Handshaking, 0, ALERT) => self.handle_plain_alert(&record),
                (Stage::Handshaking, 1, HANDSHAKE | ALERT) if self.proved => self.handle_sealed_handshake(now, record.whole),
                (Stage::Handshaking, 1, HANDSHAKE | ALERT) => hold(&mut self.held_handshake, &record),
                (Stage::Handshaking, 1, APPLICATION_DATA) => hold(&mut self.held_data, &record),
                (Stage::Established, 1, HANDSHAKE) => self.repeat(now),
                (Stage::Established, 1, ALERT | APPLICATION_DATA) => self.open(&record),
                // The rest is stale, forged, or a ChangeCipherSpec, which the first sealed record stands for as well.
                _ => {}
            }
        }
    }

    fn handle_plain_handshake(&mut self, now: Instant, record: &Record<'_>) {
        for fragment in record::fragments(record.body) {
            match self.reassembly.push(&fragment, CLIENT_MESSAGES.len() as u16) {
                Pushed::Taken => self.handle_messages(now),
                Pushed::Repeat => self.repeat(now),
                Pushed::Ignored => {}
                Pushed::TooLarge => self.refuse(HANDSHAKE_FAILURE, FailReason::TooLarge),
            }
            if self.stage == Stage::Ended {
                return;
            }
        }
    }

    fn handle_messages(&mut self, now: Instant) {
        while let Some(message) = self.reassembly.pop() {
            if let Err((alert, reason)) = self.admit(now, &message) {
                self.refuse(alert, reason);
                return;
            }
            let body = record::whole_message(message.kind, message.sequence, &message.body);
            let record = record::plain_record(HANDSHAKE, self.given_records, &body);
            self.given_records += 1;
            self.feed(now, &record);
            if self.stage == Stage::Ended {
                return;
            }
            match (message.kind, message.sequence) {
                // The client answers the certificate, or the server sends it again.
                (CLIENT_HELLO, 1) => self.flight.await_answer(now),
                (CERTIFICATE_VERIFY, _) => {
                    self.flight.answered();
                    self.proved = true;
                    for record in std::mem::take(&mut self.held_handshake) {
                        self.handle_sealed_handshake(now, &record);
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether `rtc-dtls` may see this message; otherwise the alert to send and the reason.
    fn admit(&mut self, now: Instant, message: &Message) -> Result<(), (u8, FailReason)> {
        if CLIENT_MESSAGES.get(usize::from(message.sequence)) != Some(&message.kind) {
            let reason = if message.sequence == 2 { FailReason::NoCertificate } else { FailReason::Handshake };
            return Err((UNEXPECTED_MESSAGE, reason));
        }
        match message.kind {
            CLIENT_HELLO => {
                let hello = ClientHello::parse(&message.body).ok_or((DECODE_ERROR, FailReason::Handshake))?;
                if !hello.extended_master_secret {
                    return Err((HANDSHAKE_FAILURE, FailReason::NoExtendedMasterSecret));
                }
                let profile = hello.profile.ok_or((HANDSHAKE_FAILURE, FailReason::NoSrtpProfile))?;
                if self.endpoint.is_none() {
                    self.start(now, profile);
                }
            }
            CERTIFICATE => {
                let first = first_certificate(&message.body).ok_or((DECODE_ERROR, FailReason::Handshake))?;
                let der = first.ok_or((HANDSHAKE_FAILURE, FailReason::NoCertificate))?;
                if self.expected != Some(Fingerprint::of(der)) {
                    return Err((BAD_CERTIFICATE, FailReason::CertificateMismatch));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, now: Instant, profile: Profile) {
        self.endpoint = Some(Box::new(Endpoint::new(PEER, TransportProtocol::UDP, Some(self.certificate.config(profile)))));
        self.profile = profile;
        self.stage = Stage::Handshaking;
        self.deadline = Some(now + HANDSHAKE_TIMEOUT);
    }

    fn handle_plain_alert(&mut self, record: &Record<'_>) {
        match *record.body {
            [_, CLOSE_NOTIFY] => self.end(Output::Closed),
            [FATAL, description] => self.end(Output::Failed(FailReason::Alert(Some(description)))),
            _ => {}
        }
    }

    fn handle_sealed_handshake(&mut self, now: Instant, record: &[u8]) {
        if self.stage != Stage::Handshaking {
            return;
        }
        if !self.opened_epoch {
            // The client's own may be lost or late; a record that opens under the new keys says the same.
            self.opened_epoch = true;
            let record = record::plain_record(CHANGE_CIPHER_SPEC, self.given_records, &[1]);
            self.given_records += 1;
            self.feed(now, &record);
        }
        self.feed(now, record);
    }

    /// Gives one record to `rtc-dtls` and takes what comes of it.
    fn feed(&mut self, now: Instant, record: &[u8]) {
        let Some(endpoint) = &mut self.endpoint else { return };
        let result = endpoint.read(now, PEER, None, BytesMut::from(record));
        let mut datagrams = Vec::new();
        while let Some(transmit) = endpoint.poll_transmit() {
            let mut datagram = Vec::from(transmit.message);
            record::renumber(&mut datagram, &mut self.sent_records);
            datagrams.push(datagram);
        }
        self.transmits.extend(datagrams.iter().cloned());
        match result {
            Ok(events) => {
                if self.stage == Stage::Handshaking && !datagrams.is_empty() {
                    self.flight = Flight::sent(now, datagrams);
                }
                for event in events {
                    self.handle_event(event);
                }
            }
            Err(Error::ErrAlertFatalOrClose) => self.end(Output::Failed(FailReason::Alert(None))),
            Err(_) => self.end(Output::Failed(FailReason::Handshake)),
        }
    }

    fn handle_event(&mut self, event: EndpointEvent) {
        match event {
            EndpointEvent::HandshakeComplete => match self.export_keys() {
                Some((keys, sealed)) => {
                    self.stage = Stage::Established;
                    self.deadline = None;
                    self.endpoint = None;
                    self.sealed = Some(sealed);
                    self.outputs.push_back(Output::Keys(Box::new(keys)));
                    for datagram in std::mem::take(&mut self.held_data) {
                        record::records(&datagram).for_each(|record| self.open(&record));
                    }
                }
                None => self.end(Output::Failed(FailReason::Handshake)),
            },
            EndpointEvent::PeerClosed => self.end(Output::Closed),
            _ => {}
        }
    }

    /// Takes a sealed record of an established association.
    fn open(&mut self, record: &Record<'_>) {
        let Some(body) = self.sealed.as_mut().and_then(|sealed| sealed.open(record.whole)) else { return };
        match (record.content_type, &body[..]) {
            (APPLICATION_DATA, _) => self.outputs.push_back(Output::Data(body.into())),
            (ALERT, &[_, CLOSE_NOTIFY]) => {
                self.seal(ALERT, &[WARNING, CLOSE_NOTIFY]);
                self.end(Output::Closed);
            }
            (ALERT, &[FATAL, description]) => self.end(Output::Failed(FailReason::Alert(Some(description)))),
            // Alerts below fatal mean nothing.
            _ => {}
        }
    }

    /// The SRTP keys (RFC 5764 §4.2) and the association's own, if it is what was asked for.
    fn export_keys(&self) -> Option<(SrtpKeys, Sealed)> {
        let state = self.endpoint.as_ref()?.get_connection_state(PEER)?;
        let certificate = state.peer_certificates.first().map(|der| Fingerprint::of(der));
        if certificate.is_none() || certificate != self.expected || state.srtp_protection_profile() as u16 != self.profile.id() {
            return None;
        }
        let (key, salt) = (self.profile.key_len(), self.profile.salt_len());
        let material = state.export_keying_material("EXTRACTOR-dtls_srtp", &[], 2 * (key + salt)).ok()?;
        let (keys, salts) = material.as_ref().split_at_checked(2 * key)?;
        let master = |index: usize| {
            let mut master = MasterKey { key: [0; 16], salt: [0; 14] };
            master.key.copy_from_slice(&keys[index * key..][..key]);
            master.salt[..salt].copy_from_slice(&salts[index * salt..][..salt]);
            master
        };
        let keys = SrtpKeys { profile: self.profile, local: master(1), remote: master(0) };
        Some((keys, Sealed::take_over(state, self.certificate.provider())?))
    }

    fn repeat(&mut self, now: Instant) {
        self.transmits.extend(self.flight.repeat(now, &mut self.sent_records).iter().cloned());
    }

    fn refuse(&mut self, alert: u8, reason: FailReason) {
        self.send_alert(FATAL, alert);
        self.fail(reason);
    }

    fn send_alert(&mut self, level: u8, description: u8) {
        self.transmits.push_back(record::plain_record(ALERT, self.sent_records, &[level, description]));
        self.sent_records += 1;
    }

    fn fail(&mut self, reason: FailReason) {
        self.end(Output::Failed(reason));
    }

    /// Drops everything but what is still to be sent.
    fn end(&mut self, output: Output) {
        if self.stage == Stage::Ended {
            return;
        }
        self.stage = Stage::Ended;
        self.endpoint = None;
        self.sealed = None;
        self.reassembly = Reassembly::default();
        self.early.clear();
        self.early_since = None;
        self.held_handshake.clear();
        self.held_data.clear();
        self.deadline = None;
        self.flight = Flight::default();
        self.outputs.push_back(output);
    }
}

/// Keeps the newest [`MAX_HELD`] records.
fn hold(held: &mut VecDeque<Vec<u8>>, record: &Record<'_>) {
    if record.whole.len() > MAX_KEPT_DATAGRAM {
        return;
    }
    if held.len() == MAX_HELD {
        held.pop_front();
    }
    held.push_back(record.whole.to_vec());
}
