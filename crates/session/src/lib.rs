//! One participant's DTLS association and its SCTP data channels, without IO.
//!
//! A [`Session`] is the server's end: it answers the participant's DTLS handshake (RFC 6347, always as the server),
//! checks the client's certificate against the fingerprint from its SDP (RFC 8122), exports the SRTP keys
//! (RFC 5764 §4.2) and carries data channels (RFC 8831, RFC 8832) over the association. It owns no socket, clock or
//! thread: datagrams and instants go in through `handle_*`, datagrams, deadlines and [`Event`]s come out of `poll_*`.
//!
//! After any call that takes `now`, drain [`Session::poll_transmit`] and [`Session::poll_event`], then wait until
//! [`Session::poll_timeout`] or the next datagram.

#![deny(clippy::iter_over_hash_type, reason = "what happens must not depend on a hash")]

mod certificate;
mod channels;
mod dtls;
mod flight;
mod hello;
mod intake;
mod patience;
mod reassembly;
mod record;
mod screen;
mod sealed;
mod session;
mod waiting;

use switchyard_rtp::srtp::SrtpKeys;

pub use certificate::{Certificate, CertificateError};
pub use session::Session;

/// A data channel's SCTP stream id. The server dials odd ids, the client even ones (RFC 8832 §6).
pub type ChannelId = u16;

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
    /// A whole message arrived. They are taken at 2 MiB a second, each counted as 1 KiB at least, after 4 MiB at once; who sends faster has to wait.
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
    /// Too much is waiting to be sent on reliable channels; the message is lost unless it is sent again later.
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
