//! What the control plane tells a worker.

use switchyard_rtp::codec::{CodecTable, PayloadTypes};
use switchyard_rtp::srtp::SrtpKeys;
use switchyard_rtp::{ExtensionMap, MediaKind};

use crate::{MAX_ENCODINGS, Standing, Target};

/// A participant's transport; unique in the process, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey(pub u64);

/// A published track; unique in the process, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackKey(pub u64);

/// A worker, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerIndex(pub u8);

/// ICE short-term credentials (RFC 8445 §5.3).
///
/// The first two characters of a local ufrag are the owning worker's index in lower-case hexadecimal ([`IceCredentials::owner`]), so that any
/// worker that receives a STUN request knows whose it is.
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// Username fragment.
    pub ufrag: String,
    /// Password.
    pub pwd: String,
}

impl IceCredentials {
    /// Local credentials for a peer of `owner` from `random` bytes: 6 for the ufrag, 18 for the password (RFC 8445 asks for 24 and 128 bits).
    pub fn generate(owner: WorkerIndex, random: [u8; 24]) -> Self {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let text = |bytes: &[u8]| -> String {
            bytes
                .chunks_exact(3)
                .flat_map(|c| {
                    let bits = u32::from(c[0]) << 16 | u32::from(c[1]) << 8 | u32::from(c[2]);
                    [18, 12, 6, 0].map(|shift| char::from(ALPHABET[(bits >> shift) as usize & 63]))
                })
                .collect()
        };
        Self { ufrag: format!("{:02x}{}", owner.0, text(&random[..6])), pwd: text(&random[6..]) }
    }

    /// The worker a local ufrag names; `None` if it isn't one of this server's.
    pub fn owner(ufrag: &[u8]) -> Option<WorkerIndex> {
        let digits = ufrag.get(..2).filter(|digits| digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f')))?;
        u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok().map(WorkerIndex)
    }
}

impl std::fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceCredentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

/// An m-line on which a participant sends.
#[derive(Clone, Debug)]
pub struct ReceiverConfig {
    /// `a=mid`
    pub mid: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// What each payload type stands for.
    pub payloads: PayloadTypes,
    /// The ids of the header extensions.
    pub extensions: ExtensionMap,
    /// Announced SSRCs and their RTX twins; others are bound by their MID extension.
    pub ssrcs: Vec<(u32, Option<u32>)>,
    /// How its encodings are told apart.
    pub simulcast: Simulcast,
    /// Whether `nack` was negotiated.
    pub nack: bool,
    /// Whether `transport-cc` was negotiated.
    pub transport_cc: bool,
}

/// How the encodings on one m-line are told apart; those beyond [`MAX_ENCODINGS`] don't count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Simulcast {
    /// There is one.
    #[default]
    Off,
    /// By the RID extension (RFC 8852); whatever SSRCs were announced don't count.
    Rids(Vec<String>),
    /// By [`ReceiverConfig::ssrcs`], in their order.
    Ssrcs,
}

impl ReceiverConfig {
    /// How many encodings it has, 1 to [`MAX_ENCODINGS`].
    pub(crate) fn encodings(&self) -> usize {
        match &self.simulcast {
            Simulcast::Off => 1,
            Simulcast::Rids(rids) => rids.len().clamp(1, MAX_ENCODINGS),
            Simulcast::Ssrcs => self.ssrcs.len().clamp(1, MAX_ENCODINGS),
        }
    }

    /// The SSRCs that tell what is what: encoding, media, RTX.
    pub(crate) fn announced(&self) -> impl Iterator<Item = (u8, u32, Option<u32>)> {
        let (take, apart) = match self.simulcast {
            Simulcast::Off => (usize::MAX, false),
            Simulcast::Rids(_) => (0, false),
            Simulcast::Ssrcs => (MAX_ENCODINGS, true),
        };
        let encoding = move |at: usize| if apart { at as u8 } else { 0 };
        self.ssrcs.iter().take(take).enumerate().map(move |(at, &(media, rtx))| (encoding(at), media, rtx))
    }
}

/// An m-line on which a participant receives: one half of a slot.
#[derive(Clone, Debug)]
pub struct SenderConfig {
    /// What each codec is sent as.
    pub codecs: CodecTable,
    /// The ids of the header extensions.
    pub extensions: ExtensionMap,
    /// `a=mid`
    pub mid: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// What it is sent under; never reused within a peer for another m-line.
    pub ssrc: u32,
    /// What its retransmissions are sent under; without it they are the stored ciphertext again.
    pub rtx_ssrc: Option<u32>,
    /// Whether the participant asks for lost packets (`nack`).
    pub nack: bool,
    /// Whether it says what its line carries (`goog-remb`) instead of when packets arrived.
    pub remb: bool,
}

/// What the control plane tells a worker. Unknown keys are ignored: the peer or track has just gone.
#[derive(Debug)]
pub enum Command {
    /// A participant's transport, answering STUN under `ice` from now on.
    AddPeer {
        /// Who.
        peer: PeerKey,
        /// Local credentials.
        ice: IceCredentials,
    },
    /// Everything of a participant's is gone: paths, tracks, routes.
    RemovePeer {
        /// Who.
        peer: PeerKey,
    },
    /// An ICE restart: `ice` counts from now on, the previous credentials until a path is nominated under the new.
    RestartIce {
        /// Who.
        peer: PeerKey,
        /// Local credentials.
        ice: IceCredentials,
        /// The client's new ufrag.
        client: String,
    },
    /// The keys that a DTLS handshake exported. Once for each peer.
    SetKeys {
        /// Who.
        peer: PeerKey,
        /// Both directions.
        keys: Box<SrtpKeys>,
    },
    /// The participant's sending m-lines, all of them.
    SetReceivers {
        /// Who.
        peer: PeerKey,
        /// In any order.
        receivers: Vec<ReceiverConfig>,
    },
    /// The participant's receiving m-lines, all of them; `None` where one is stopped. The position is what [`Command::Route`] names:
    /// slot × 2 for audio, slot × 2 + 1 for video.
    SetSenders {
        /// Who.
        peer: PeerKey,
        /// By position.
        senders: Vec<Option<SenderConfig>>,
    },
    /// What arrives on an m-line is this track. The m-line may be negotiated later.
    Publish {
        /// Who.
        peer: PeerKey,
        /// `a=mid`
        mid: String,
        /// Audio or video.
        kind: MediaKind,
        /// Which.
        track: TrackKey,
    },
    /// A track whose publisher belongs to another worker: it arrives over the trunk.
    PublishRemote {
        /// Which.
        track: TrackKey,
        /// Audio or video.
        kind: MediaKind,
        /// Where its publisher is.
        home: WorkerIndex,
    },
    /// A track, local or remote, is gone, and every route to it.
    Unpublish {
        /// Which.
        track: TrackKey,
    },
    /// Whether a local track is forwarded (it isn't while muted).
    Enable {
        /// Which.
        track: TrackKey,
        /// The new state.
        enabled: bool,
    },
    /// Whether a local track crosses to another worker, which has been told [`Command::PublishRemote`].
    Trunk {
        /// Which.
        track: TrackKey,
        /// To whom.
        to: WorkerIndex,
        /// The new state.
        on: bool,
    },
    /// What a track's standing is, local or remote; [`Standing::Other`] until this is said.
    SetStanding {
        /// Which.
        track: TrackKey,
        /// The new one.
        standing: Standing,
    },
    /// What a sender carries from now on.
    Route {
        /// To whom.
        peer: PeerKey,
        /// The position in [`Command::SetSenders`]; it may be negotiated later.
        sender: u16,
        /// The track; `None`: nothing.
        track: Option<TrackKey>,
    },
    /// What a sender is to get of the track it carries; after each [`Command::Route`] that is [`Target::Largest`] again, and not pinned.
    SetTarget {
        /// To whom.
        peer: PeerKey,
        /// As in [`Command::Route`].
        sender: u16,
        /// Nothing changes before the next keyframe or switching point, but for what can be left out at once.
        target: Target,
        /// Whether it comes before others of the same [`Standing`].
        pinned: bool,
    },
    /// A DTLS datagram for a participant, sent where media goes; dropped if there is no path.
    Send {
        /// To whom.
        peer: PeerKey,
        /// At most a path's MTU.
        datagram: Vec<u8>,
    },
}
