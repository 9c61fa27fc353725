//! What callers put in and get out.

use std::net::SocketAddr;
use std::sync::Arc;

use switchyard_rtp::codec::{CodecTable, MediaKind, PayloadTypes};
use switchyard_rtp::extension::ExtensionMap;

use crate::Shared;

/// One end's ICE credentials (RFC 8839 §5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// User name fragment, 4–256 ice-chars.
    pub ufrag: String,
    /// Password, 22–256 ice-chars.
    pub pwd: String,
}

impl std::fmt::Debug for IceCredentials {
    /// The password stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceCredentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

/// An address the server can be reached at: a host candidate of component 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where the client sends its checks.
    pub addr: SocketAddr,
    /// Over TCP, on which the server waits for connections (RFC 6544, passive), not UDP.
    pub tcp: bool,
}

/// How much one participant may negotiate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most slots (pairs of m-lines), whoever offers them; [`Negotiator::set_slots`](crate::Negotiator::set_slots) is capped by it.
    pub slots: usize,
    /// Most m-lines in use that are the client's own: what it sends, and its data m-line.
    pub client_sections: usize,
    /// Most bytes of an SDP.
    pub bytes: usize,
    /// Most lines of an SDP.
    pub lines: usize,
}

impl Default for Limits {
    /// Firefox reads no more than 128 m-lines from a BUNDLE group: 16 of its own carry a client's camera, microphone, screen, screen sound
    /// and data channels several times over, and 56 slots are left. Chromium's offers list every codec anew in each of them, some 5 KB a
    /// slot, 370 KB and 13,000 lines at most: 512 KiB, 16,384 lines.
    fn default() -> Self {
        Self { slots: 56, client_sections: 16, bytes: 512 * 1024, lines: 16_384 }
    }
}

impl Limits {
    /// Most m-lines of a description. The server recycles before it appends, so it never needs more.
    pub(crate) fn sections(&self) -> usize {
        self.client_sections + 2 * self.slots
    }
}

/// Who offers, and which way media goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Either side offers, at any time. The client sends on m-lines of its own; it receives on slots, which the server offers.
    #[default]
    Meeting,
    /// Only the client offers, and sends on all its m-lines (RFC 9725).
    Ingress,
    /// Only the client offers, and receives on all its m-lines (draft-ietf-wish-whep): its first audio and its first video m-line are the
    /// first slot, and so on.
    Egress,
}

/// What a negotiator is made from.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who offers, and which way media goes.
    pub mode: Mode,
    /// The `o=` line's session id; below 2^63 (RFC 9429 §5.2.1), the top bit is ignored.
    pub session_id: u64,
    /// Where the SSRCs come from. Another seed for each participant.
    pub seed: u64,
    /// The first local credentials.
    pub ice: IceCredentials,
    /// Where the server can be reached.
    pub candidates: Vec<Candidate>,
    /// The server certificate's SHA-256, as in `a=fingerprint`: upper-case hex with colons.
    pub fingerprint: String,
    /// Caps.
    pub limits: Limits,
    /// What the server's sessions have in common.
    pub shared: Arc<Shared>,
}

/// A session description the server offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Names the offer; its answer comes with it. Grows with every offer.
    pub revision: u32,
    /// The session description.
    pub sdp: String,
}

/// What is known of the client's end of the transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// SHA-256 of the client's certificate: upper-case hex with colons.
    pub fingerprint: String,
    /// The client's current ICE credentials.
    pub ice: IceCredentials,
    /// Whether an SCTP association was negotiated.
    pub data_channel: bool,
}

/// RTCP feedback (RFC 4585, RFC 5104) that both ends agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    /// Generic NACK.
    pub nack: bool,
    /// Picture loss indication.
    pub pli: bool,
    /// Full intra request.
    pub fir: bool,
    /// Transport-wide congestion control feedback.
    pub transport_cc: bool,
    /// The receiver's own estimate (draft-alvestrand-rmcat-remb-03), where there is no such feedback.
    pub remb: bool,
}

impl Feedback {
    pub(crate) fn union(self, other: Self) -> Self {
        Self {
            nack: self.nack | other.nack,
            pli: self.pli | other.pli,
            fir: self.fir | other.fir,
            transport_cc: self.transport_cc | other.transport_cc,
            remb: self.remb | other.remb,
        }
    }

    /// Who reports arrivals need not estimate.
    pub(crate) fn with_one_estimate(self) -> Self {
        Self { remb: self.remb && !self.transport_cc, ..self }
    }

    pub(crate) fn intersection(self, other: Self) -> Self {
        Self {
            nack: self.nack & other.nack,
            pli: self.pli & other.pli,
            fir: self.fir & other.fir,
            transport_cc: self.transport_cc & other.transport_cc,
            remb: self.remb & other.remb,
        }
    }
}

/// A media SSRC and, where there is one, the SSRC of its retransmissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SsrcPair {
    /// The media.
    pub ssrc: u32,
    /// Its retransmissions (RFC 4588), from an FID group.
    pub rtx: Option<u32>,
}

/// An m-line on which the client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// The m-line's identification.
    pub mid: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// Whether the client's direction sends; a stopped m-line is not listed at all.
    pub active: bool,
    /// What each payload type stands for.
    pub payloads: PayloadTypes,
    /// The feedback the server may send.
    pub feedback: Feedback,
    /// The header extensions the client may send.
    pub extensions: ExtensionMap,
    /// The SSRCs the client announced; may be empty (the mid extension then tells).
    pub ssrcs: Vec<SsrcPair>,
    /// How its encodings are told apart.
    pub simulcast: Simulcast,
}

/// Most encodings of one m-line: what browsers send.
pub const MAX_ENCODINGS: usize = 3;

/// How the encodings on one m-line are told apart; at most [`MAX_ENCODINGS`] of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Simulcast {
    /// There is one encoding.
    #[default]
    Off,
    /// By RID (RFC 8853), in the client's order; packets carry it until they are acknowledged.
    Rids(Vec<String>),
    /// By SSRC: [`Receiver::ssrcs`] in the order of the SIM group, as browsers wrote it before there were RIDs.
    Ssrcs,
}

impl Simulcast {
    /// The RIDs; none if encodings are told apart otherwise.
    pub fn rids(&self) -> &[String] {
        match self {
            Simulcast::Rids(rids) => rids,
            Simulcast::Off | Simulcast::Ssrcs => &[],
        }
    }
}

/// One m-line on which the server sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The m-line's identification; empty where a client offered only the other half of a slot.
    pub mid: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// Negotiated, and the client receives.
    pub active: bool,
    /// What the client wants each codec sent as.
    pub codecs: CodecTable,
    /// The feedback the client may send.
    pub feedback: Feedback,
    /// The header extensions to send.
    pub extensions: ExtensionMap,
    /// The SSRC of the media.
    pub ssrc: u32,
    /// The SSRC of retransmissions; `None` if RTX was not negotiated.
    pub rtx_ssrc: Option<u32>,
}

impl Sender {
    /// Nothing is agreed yet but the name and the SSRC.
    pub(crate) fn new(mid: String, kind: MediaKind, ssrc: u32) -> Self {
        Self {
            mid,
            kind,
            active: false,
            codecs: CodecTable::default(),
            feedback: Feedback::default(),
            extensions: ExtensionMap::default(),
            ssrc,
            rtx_ssrc: None,
        }
    }
}

/// A pair of m-lines under one media stream, which browsers synchronise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its place, from 0; equal to its position in [`Negotiator::slots`](crate::Negotiator::slots).
    pub index: usize,
    /// The sound.
    pub audio: Sender,
    /// The picture.
    pub video: Sender,
}

/// Something about the negotiated session changed; the getters say what it is now. If several did, they come in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// [`Negotiator::remote`](crate::Negotiator::remote) became known, or its data channel came or went.
    RemoteChanged,
    /// The client restarted ICE: [`Negotiator::local_ice`](crate::Negotiator::local_ice) and `remote().ice` are new.
    IceRestarted,
    /// [`Negotiator::receivers`](crate::Negotiator::receivers) changed.
    ReceiversChanged,
    /// [`Negotiator::slots`](crate::Negotiator::slots) changed.
    SlotsChanged,
}
