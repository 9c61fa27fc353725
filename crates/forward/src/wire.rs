//! What goes in and out of a [`crate::Forwarder`]: datagrams received, runs to send, messages between workers, events.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use switchyard_bandwidth::Outcome;
use switchyard_rtp::{Codec, ExtensionMap};

use crate::{PeerKey, TrackKey, Wanted, WorkerIndex};

/// A socket of the worker's; 0 is its UDP socket, each other one TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u32);

impl SocketId {
    /// The UDP socket, which means the same for all workers.
    pub const UDP: Self = Self(0);
}

/// The other end of a path. An address of UDP's and the same one of TCP's are two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// Through which socket it is reached.
    pub socket: SocketId,
    /// IP address and port.
    pub remote: SocketAddr,
}

/// Where a datagram came in and where its answer goes out: from the address that was asked to the address that asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// Through which socket.
    pub socket: SocketId,
    /// The address of this machine the datagram was sent to (`IP_PKTINFO`).
    pub local: IpAddr,
    /// The other end.
    pub remote: SocketAddr,
}

impl Path {
    /// The other end.
    pub const fn address(&self) -> Address {
        Address { socket: self.socket, remote: self.remote }
    }
}

/// What a worker took from its sockets and its inbox at once. The worker fills it, the forwarder works in place.
#[derive(Debug)]
pub struct Batch {
    /// The datagrams, anywhere in here.
    pub bytes: Vec<u8>,
    /// Where each is and where it is from, in order of arrival.
    pub received: Vec<Received>,
}

/// One datagram of a [`Batch`].
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Where it begins in [`Batch::bytes`].
    pub start: usize,
    /// Its bytes.
    pub len: usize,
    /// Where it is from.
    pub origin: Origin,
}

/// Where one datagram of a [`Batch`] is from.
#[derive(Clone, Copy, Debug)]
pub enum Origin {
    /// A socket, this worker's or (handed over) another's.
    Path {
        /// Between which ends.
        path: Path,
        /// When it arrived at this machine by UDP, which is before it was taken from there: the worker may have been busy, or waiting for a processor. By TCP, when it was taken.
        at: Instant,
    },
    /// The trunk: an RTP packet, already decrypted.
    Trunk(TrunkPacket),
}

/// What travels with a published packet from its home worker to another.
#[derive(Clone, Copy, Debug)]
pub struct TrunkPacket {
    /// Whose.
    pub track: TrackKey,
    /// What its payload type stands for.
    pub codec: Codec,
    /// The ids of its header extensions.
    pub extensions: ExtensionMap,
    /// Which encoding, below [`crate::MAX_ENCODINGS`].
    pub encoding: u8,
    /// Its extended sequence number (RFC 3550 §A.1): 2^16 × cycles + sequence.
    pub index: u64,
}

/// What workers tell each other besides packets.
#[derive(Clone, Copy, Debug)]
pub enum Remote {
    /// Somebody here needs a keyframe of a track of yours.
    RequestKeyframe {
        /// Which.
        track: TrackKey,
        /// Of which encoding.
        encoding: u8,
    },
    /// How many encodings a track has; some may not come.
    Encodings {
        /// Whose.
        track: TrackKey,
        /// 1 to [`crate::MAX_ENCODINGS`].
        count: u8,
    },
    /// Which encodings of a track of yours anyone here wants.
    Wanted {
        /// Which.
        track: TrackKey,
        /// Who says so.
        from: WorkerIndex,
        /// These.
        wanted: Wanted,
    },
    /// The clock of a track's encoding: at `ntp` (server time, NTP 32.32) its RTP timestamp was `rtp`.
    Clock {
        /// Whose.
        track: TrackKey,
        /// Of which encoding.
        encoding: u8,
        /// Server time.
        ntp: u64,
        /// RTP timestamp of the publisher's.
        rtp: u32,
    },
    /// What comes from `remote` over UDP belongs to `owner`; `None`: no longer to anyone.
    Address {
        /// The validated address.
        remote: SocketAddr,
        /// Whose.
        owner: Option<WorkerIndex>,
    },
}

/// Datagrams to one destination that may leave with one system call: all have `segment` bytes, the last may have fewer.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Which way.
    pub path: Path,
    /// Where the run begins in the bytes passed along.
    pub start: usize,
    /// Its bytes; at most 65,000, at most 64 segments.
    pub len: usize,
    /// Bytes in each datagram.
    pub segment: usize,
}

/// What there is to hear on an audio track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Activity {
    /// Nothing, or noise.
    Silent,
    /// Something has begun that may be a word, or was one until a second ago.
    Sound,
    /// Somebody speaks.
    Speech,
}

/// How good a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Nobody notices it.
    #[default]
    Good,
    /// Now and then something is noticed.
    Fair,
    /// It disturbs.
    Poor,
}

/// What a [`Grade`] comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Packets lost in the worse direction, before anything is sent again, in percent.
    pub loss: u8,
    /// Milliseconds.
    pub round_trip: u16,
    /// Of the worst stream, in milliseconds.
    pub jitter: u16,
}

/// What the control plane hears from a worker.
#[derive(Debug)]
pub enum Event {
    /// A DTLS datagram from a validated path.
    Dtls {
        /// Whose.
        peer: PeerKey,
        /// As received.
        datagram: Vec<u8>,
    },
    /// Media and DTLS can flow, over the path the client nominated. Also on every change of path.
    Connected {
        /// Whose.
        peer: PeerKey,
        /// The client's end.
        remote: SocketAddr,
    },
    /// Nothing authenticated was heard for some seconds: another path may help.
    Silent {
        /// Whose.
        peer: PeerKey,
    },
    /// Heard again after [`Event::Silent`].
    Heard {
        /// Whose.
        peer: PeerKey,
    },
    /// Heard again after a gap: what was sent meanwhile is lost, and need not wait any longer before it is sent again.
    Recovered {
        /// Whose.
        peer: PeerKey,
    },
    /// A participant's connection has become better or worse.
    Quality {
        /// Whose.
        peer: PeerKey,
        /// What it is now.
        grade: Grade,
        /// Why.
        figures: Figures,
    },
    /// What there is to hear on a local audio track has changed; while there is something it is said again once a second.
    Voice {
        /// Whose.
        peer: PeerKey,
        /// Which.
        track: TrackKey,
        /// What there is.
        activity: Activity,
        /// How loud it is, in dB below overload (RFC 6464): 0 to 127.
        level: u8,
    },
    /// How much of a published video lines to subscribers carry of what they show is another: more is told at once, less after some seconds; what was said once is
    /// said again.
    Limited {
        /// The publisher.
        peer: PeerKey,
        /// Which.
        track: TrackKey,
        /// The size in pixels of the largest encoding that is of use to anybody; `None`: no line is the limit.
        most: Option<(u16, u16)>,
    },
    /// What a participant's line leaves of a subscription has changed; until this is said it is all that is wanted.
    Allocated {
        /// Whose.
        peer: PeerKey,
        /// Of what.
        track: TrackKey,
        /// All, some or nothing of it, and why.
        outcome: Outcome,
        /// What is sent of it, in pixels; 0 by 0: nothing.
        size: (u16, u16),
    },
    /// A participant knows no codec that a video track comes in, and gets nothing of it; or does now.
    Decodable {
        /// Whose.
        peer: PeerKey,
        /// Which.
        track: TrackKey,
        /// Whether there is one.
        decodable: bool,
    },
    /// Nothing authenticated was heard for 30 s (RFC 7675): nothing more is sent.
    Expired {
        /// Whose.
        peer: PeerKey,
    },
}

/// The way out of a forwarder.
pub trait Wire {
    /// Sends runs out of `bytes`. What can't be sent at once may be dropped and counted.
    fn send(&mut self, bytes: &[u8], runs: &[Run]);
    /// Hands a datagram that is another worker's over to it, raw; it arrived at this machine `at` then.
    fn hand_over(&mut self, to: WorkerIndex, path: &Path, at: Instant, datagram: &[u8]);
    /// Sends a decrypted RTP packet over the trunk.
    fn trunk(&mut self, to: WorkerIndex, packet: &TrunkPacket, bytes: &[u8]);
    /// Memory that is about to be needed, so that it can be fetched while something else is done; it may be nobody's. Between two bursts a server sleeps, and other programs
    /// use its caches: most of what a fan-out then costs beside sealing is waiting for subscribers' state, one miss after the other.
    fn fetch(&self, _at: *const u8, _len: usize) {}
    /// Lets other workers begin with what they were given so far. What comes next takes long; without this they may begin after it.
    fn deliver(&mut self);
    /// Tells another worker something.
    fn tell(&mut self, to: WorkerIndex, message: Remote);
    /// Tells the control plane something.
    fn event(&mut self, event: Event);
}
