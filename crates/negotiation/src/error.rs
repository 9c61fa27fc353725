//! Why a description or a candidate was refused.

/// Why a client's description or candidate was refused. Whatever it is, nothing changed.
///
/// `section` is an m-line's index, from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationError {
    /// More bytes than [`Limits::bytes`](crate::Limits::bytes).
    #[error("{bytes} bytes are too many for a session description")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// More lines than [`Limits::lines`](crate::Limits::lines).
    #[error("too many lines")]
    TooManyLines,
    /// A line longer than any that the protocol has a use for.
    #[error("line {line} is too long")]
    LineTooLong {
        /// Its number, from 1.
        line: usize,
    },
    /// More m-lines than [`Limits`](crate::Limits) allows.
    #[error("too many m-lines")]
    TooManySections,
    /// More SSRCs or RIDs than one m-line has a use for.
    #[error("too many streams in m-line {section}")]
    TooManyStreams {
        /// Where.
        section: usize,
    },
    /// `a=simulcast` (RFC 8853 §5.1) or a SIM group that doesn't parse, names a stream twice, or is there twice.
    #[error("the simulcast streams of m-line {section} are malformed")]
    Simulcast {
        /// Where.
        section: usize,
    },
    /// The session part doesn't parse (RFC 8866).
    #[error("the session description does not parse")]
    Syntax,
    /// An m-line and its attributes don't parse (RFC 8866).
    #[error("m-line {section} does not parse")]
    SectionSyntax {
        /// Which.
        section: usize,
    },
    /// A payload type above 127, twice in one m-line, or of two minds about its codec.
    #[error("payload type {payload_type} is ambiguous or out of range")]
    PayloadType {
        /// As written.
        payload_type: String,
    },
    /// A header extension id that stands for two extensions in one BUNDLE group (RFC 9143 §11).
    #[error("header extension id {id} is ambiguous")]
    ExtensionId {
        /// Which.
        id: u8,
    },
    /// No `a=mid`, or one that is no token of at most 16 bytes (RFC 8843 §15 allows more; the header extension does not).
    #[error("m-line {section} has no valid mid")]
    Mid {
        /// Where.
        section: usize,
    },
    /// Two m-lines of one mid.
    #[error("m-line {section} repeats a mid")]
    DuplicateMid {
        /// The second of them.
        section: usize,
    },
    /// Fewer m-lines than were negotiated (RFC 3264 §8: they never go away).
    #[error("{present} m-lines where {negotiated} were negotiated")]
    SectionsLost {
        /// How many there must be at least.
        negotiated: usize,
        /// How many there are.
        present: usize,
    },
    /// An m-line in use came back under another mid or as another kind of media.
    #[error("m-line {section} changed its mid or kind while in use")]
    SectionChanged {
        /// Which.
        section: usize,
    },
    /// An m-line in use left the BUNDLE group.
    #[error("m-line {section} is not bundled")]
    NotBundled {
        /// Which.
        section: usize,
    },
    /// A first offer without a single m-line the server can use: bundled, over DTLS, with a known codec or a data channel.
    #[error("no m-line is usable")]
    NothingUsable,
    /// An m-line that goes the wrong way in a session that has one way only (RFC 9725 §4.2).
    #[error("m-line {section} must be {required}")]
    OneWay {
        /// Which.
        section: usize,
        /// The direction it should have had.
        required: &'static str,
    },
    /// An m-line that the server can't use, in a session that is taken up as a whole or not at all (RFC 9725 §4.4.3).
    #[error("m-line {section} has no codec, transport or BUNDLE group that the server can use")]
    Unusable {
        /// Which.
        section: usize,
    },
    /// An ICE fragment that doesn't parse (RFC 8840 §9).
    #[error("line {line} of the fragment does not parse")]
    Fragment {
        /// Its number, from 1.
        line: usize,
    },
    /// No ICE credentials, or some that RFC 8839 §5.4 does not allow.
    #[error("missing or malformed ICE credentials")]
    Ice,
    /// An answer restarted ICE though the offer did not (RFC 8839 §4.4.1.1.1).
    #[error("an answer may not restart ICE")]
    IceChanged,
    /// No SHA-256 certificate fingerprint, or a malformed one.
    #[error("missing or malformed sha-256 fingerprint")]
    Fingerprint,
    /// Another certificate than before; the DTLS association outlives every description.
    #[error("the fingerprint may not change within a session")]
    FingerprintChanged,
    /// The client does not take the active DTLS role (RFC 8842): the server is passive.
    #[error("the client must be the active side of DTLS")]
    Setup,
    /// A direction that does not answer the one offered (RFC 3264 §6.1).
    #[error("m-line {section} has a direction that was not on offer")]
    Direction {
        /// Which.
        section: usize,
    },
    /// An answer with another number of m-lines than its offer.
    #[error("{answered} m-lines answer {offered}")]
    SectionCount {
        /// How many were offered.
        offered: usize,
        /// How many were answered.
        answered: usize,
    },
    /// An answer accepts an m-line that was offered as stopped.
    #[error("m-line {section} was offered as stopped")]
    Stopped {
        /// Which.
        section: usize,
    },
    /// An answer accepts an m-line without what it was offered with: RTP and RTCP on one port over DTLS-SRTP, or SCTP over DTLS.
    #[error("m-line {section} has another transport than was offered")]
    Transport {
        /// Which.
        section: usize,
    },
    /// An answer, and no offer in flight.
    #[error("there is no offer to answer")]
    NoOffer,
    /// An answer to another offer than the one in flight.
    #[error("revision {answered} is not the offer in flight, {offered}")]
    Revision {
        /// The revision in flight.
        offered: u32,
        /// The revision answered.
        answered: u32,
    },
    /// A candidate that RFC 8839 §5.1 does not allow.
    #[error("malformed candidate")]
    Candidate,
}
