//! One participant's DTLS association and its SCTP data channels, without IO.
//!
//! A [`Session`] is the server's end: it answers the participant's DTLS handshake (RFC 6347, always as the server),
//! checks the client's certificate against the fingerprint from its SDP (RFC 8122), exports the SRTP keys
//! (RFC 5764 §4.2) and carries data channels (RFC 8831, RFC 8832) over the association. It owns no socket, clock or
//! thread: datagrams and instants go in through `handle_*`, datagrams, deadlines and [`Event`]s come out of `poll_*`.
//!
//! After any call that takes `now`, drain [`Session::poll_transmit`] and [`Session::poll_event`], then wait until
//! [`Session::poll_timeout`] or the next datagram.

use std::sync::Arc;
use std::time::Instant;

use switchyard_rtp::srtp::SrtpKeys;

/// A data channel's SCTP stream id. The server dials odd ids, the client even ones (RFC 8832 §6).
pub type ChannelId = u16;

/// The server's DTLS identity: a self-signed ECDSA P-256 certificate and its key, shared by all sessions.
#[derive(Debug)]
pub struct Certificate;

impl Certificate {
    /// Makes a new key and certificate.
    pub fn generate() -> Result<Arc<Self>, CertificateError> {
        todo!()
    }

    /// The certificate's SHA-256 as SDP writes it (`a=fingerprint:sha-256 …`): upper-case hex pairs joined by colons.
    pub fn fingerprint(&self) -> &str {
        todo!()
    }
}

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("can't make a self-signed certificate: {0}")]
pub struct CertificateError(String);

/// Why a fingerprint was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    /// Not 32 hex pairs joined by colons.
    #[error("not a SHA-256 fingerprint")]
    Malformed,
    /// The session already has another fingerprint; a new identity needs a new session.
    #[error("the session's fingerprint can't change")]
    Changed,
}

/// What a session reports.
#[derive(Clone, Debug)]
pub enum Event {
    /// The handshake is done and the client is who its SDP said: seal and open media with these. At most once.
    Keys(SrtpKeys),
    /// The session is over because something went wrong. Last event; an alert may still be in `poll_transmit`.
    Failed(FailReason),
    /// The client closed the association, or [`Session::close`] was called. Last event.
    Closed,
    /// A channel is usable: the client opened it, or confirmed one that [`Session::open_channel`] dialled.
    ChannelOpened {
        /// Its stream id.
        id: ChannelId,
        /// Its label; need not be unique.
        label: String,
        /// Its subprotocol; empty for none.
        protocol: String,
        /// Whether messages arrive in the order they were sent.
        ordered: bool,
        /// How hard messages are retried, in both directions.
        reliability: Reliability,
    },
    /// A whole message arrived.
    Message {
        /// The channel it came through.
        channel: ChannelId,
        /// Text (not checked to be UTF-8) or binary.
        text: bool,
        /// At most [`MAX_MESSAGE`] bytes; may be empty.
        data: Vec<u8>,
    },
    /// The channel is gone: either side closed it, or the association was lost.
    ChannelClosed(ChannelId),
}

/// Why a session failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FailReason {
    /// The client's certificate is not the one its SDP announced.
    #[error("the client's certificate does not match its fingerprint")]
    CertificateMismatch,
    /// The client sent no certificate.
    #[error("the client sent no certificate")]
    NoCertificate,
    /// The client lists neither AEAD_AES_128_GCM nor AES128_CM_HMAC_SHA1_80 in use_srtp.
    #[error("no common SRTP profile")]
    NoSrtpProfile,
    /// The client does not offer the extended master secret (RFC 7627).
    #[error("the client lacks the extended master secret")]
    NoExtendedMasterSecret,
    /// The client ended the handshake or the association with a fatal alert (RFC 5246 §7.2); its number where it came
    /// in the clear.
    #[error("the client sent the fatal alert {0:?}")]
    Alert(Option<u8>),
    /// The handshake broke the protocol, or no cipher suite, curve or signature is common.
    #[error("the DTLS handshake failed")]
    Handshake,
    /// The client sent more handshake data than any handshake needs.
    #[error("the handshake is too large")]
    TooLarge,
    /// The handshake was not over in time.
    #[error("the DTLS handshake timed out")]
    TimedOut,
}

/// How hard a channel tries to deliver a message (RFC 8832 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reliability {
    /// Until it is delivered.
    Reliable,
    /// At most this many retransmissions.
    MaxRetransmits(u32),
    /// At most this many milliseconds.
    MaxLifetime(u32),
}

/// The largest message either side may send, in bytes; what SDP announces as `a=max-message-size`.
pub const MAX_MESSAGE: usize = 262_144;

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No such channel, or it is not open yet or any more.
    #[error("the channel is not open")]
    NotOpen,
    /// More than [`MAX_MESSAGE`] bytes.
    #[error("the message is too large")]
    TooLarge,
    /// Too much is waiting to be sent; try again later.
    #[error("the send buffer is full")]
    Full,
}

/// Why a channel could not be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The session has failed or is closed.
    #[error("the session is over")]
    Ended,
    /// The session has as many channels as it may have.
    #[error("too many channels")]
    TooMany,
    /// Label or protocol are longer than the server allows.
    #[error("label or protocol are too long")]
    TooLong,
}

/// One participant's DTLS and data channels; see the crate's documentation for how to drive it.
pub struct Session;

impl Session {
    /// A passive session (the DTLS server, `a=setup:passive`) that waits for its client's ClientHello.
    pub fn new(_certificate: Arc<Certificate>) -> Self {
        todo!()
    }

    /// Tells the session whom to expect: the SHA-256 fingerprint from the client's SDP, in either case.
    ///
    /// No handshake is answered before; the latest hello is kept until then, and answered in the
    /// [`Session::handle_timeout`] that [`Session::poll_timeout`] asks for at once. Setting the same fingerprint again
    /// is fine.
    pub fn set_remote_fingerprint(&mut self, _sha256: &str) -> Result<(), FingerprintError> {
        todo!()
    }

    /// Takes a DTLS datagram (first byte 20–63) that came from any of the participant's validated paths.
    pub fn handle_datagram(&mut self, _now: Instant, _datagram: &[u8]) {
        todo!()
    }

    /// Runs what is due at `now`.
    pub fn handle_timeout(&mut self, _now: Instant) {
        todo!()
    }

    /// When [`Session::handle_timeout`] is next due; `None` while nothing is pending.
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// The next datagram to send to the participant: DTLS records, at most 1200 bytes.
    pub fn poll_transmit(&mut self, _now: Instant) -> Option<Vec<u8>> {
        todo!()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }

    /// Queues a message on an open channel.
    pub fn send(&mut self, _now: Instant, _channel: ChannelId, _text: bool, _message: &[u8]) -> Result<(), SendError> {
        todo!()
    }

    /// Dials a channel; [`Event::ChannelOpened`] says when the client confirmed it. May be called at any time: the
    /// dialling waits for the association.
    pub fn open_channel(
        &mut self,
        _now: Instant,
        _label: &str,
        _protocol: &str,
        _ordered: bool,
        _reliability: Reliability,
    ) -> Result<ChannelId, OpenError> {
        todo!()
    }

    /// Closes one channel in both directions; [`Event::ChannelClosed`] follows. Unknown ids are ignored.
    pub fn close_channel(&mut self, _now: Instant, _channel: ChannelId) {
        todo!()
    }

    /// Ends the session with a close_notify, to be fetched with [`Session::poll_transmit`].
    pub fn close(&mut self, _now: Instant) {
        todo!()
    }
}
