//! One worker's state machine: it demultiplexes, opens and fans out what arrives. What it is told is in `control`, RTCP and timers in `feedback`.

mod control;
mod feedback;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_stun::message::Message;
use slab::Slab;
use switchyard_rtp::codec::{Codec, is_keyframe};
use switchyard_rtp::{Header, MediaKind, ParsedExtensions};

use crate::agent::{Refused, Request};
use crate::clock::WallClock;
use crate::drops::{Drop, Drops};
use crate::egress::Egress;
use crate::history::{Depth, History};
use crate::peer::Peer;
use crate::sender::{Packet, Passed};
use crate::track::{Home, Track};
use crate::{Batch, Event, Origin, Path, PeerKey, Received, Remote, TrackKey, TrunkPacket, Wire, WorkerIndex};

/// Packets of one batch are padded to the longest of their run if they lack at most this many bytes, so that the run can leave at once.
const MAX_PAD: usize = 8;

/// What a forwarder is told once.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Which worker this is.
    pub worker: WorkerIndex,
    /// How many there are.
    pub workers: u8,
    /// A moment on the monotonic clock, the same for all workers …
    pub epoch: Instant,
    /// … and what it is in NTP time (RFC 5905 §6, 32.32), for sender reports.
    pub epoch_ntp: u64,
}

/// Who owns a remote address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Peer(usize),
    Worker(WorkerIndex),
}

/// A packet of the batch at hand, opened and about to be fanned out.
#[derive(Clone, Copy, Debug)]
struct Ready {
    start: usize,
    len: usize,
    header: Header,
    index: u64,
    codec: Codec,
    keyframe: bool,
    extensions: ParsedExtensions,
    /// Set where the packet has to cross the trunk.
    map: switchyard_rtp::ExtensionMap,
    pad: u8,
}

/// One worker's state machine: peers, their paths, the streams they publish and the routes between them.
pub struct Forwarder {
    config: Config,
    clock: WallClock,
    crypto: AwsLcRsProvider,
    peers: Slab<Peer>,
    peer_keys: HashMap<PeerKey, usize>,
    ufrags: HashMap<Vec<u8>, usize>,
    addresses: HashMap<SocketAddr, Owner>,
    tracks: Slab<Track>,
    track_keys: HashMap<TrackKey, usize>,
    egress: Egress,
    drops: Drops,
    answer: Message,
    ready: Vec<Ready>,
    /// Tracks with packets in the batch at hand.
    touched: Vec<usize>,
    /// Senders that owe a sender report at once.
    reports: Vec<(usize, u16)>,
    /// Peers with unreported arrivals, peers and m-lines with holes, tracks whose keyframe somebody waits for.
    arrivals: Vec<usize>,
    holes: Vec<usize>,
    keyframes: Vec<usize>,
    /// Tracks of which there is something else to hear than before.
    voices: Vec<usize>,
    nack: Vec<u16>,
    next_tick: Option<Instant>,
    next_scan: Option<Instant>,
}

impl std::fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forwarder").field("peers", &self.peers.len()).field("tracks", &self.tracks.len()).finish_non_exhaustive()
    }
}

/// The protocols of one UDP port by their first byte (RFC 7983).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Stun,
    Dtls,
    Rtp,
    Rtcp,
}

impl Protocol {
    fn of(datagram: &[u8]) -> Option<Self> {
        match datagram {
            [0..=3, ..] => Some(Protocol::Stun),
            [20..=63, ..] => Some(Protocol::Dtls),
            // RFC 5761 §4: RTCP packet types 192–223 where RTP has marker and payload type.
            [128..=191, 192..=223, ..] => Some(Protocol::Rtcp),
            [128..=191, _, ..] => Some(Protocol::Rtp),
            _ => None,
        }
    }
}

impl Forwarder {
    /// With no peers.
    pub fn new(config: Config) -> Self {
        Self {
            clock: WallClock::new(config.epoch, config.epoch_ntp),
            config,
            crypto: AwsLcRsProvider::new(),
            peers: Slab::new(),
            peer_keys: HashMap::new(),
            ufrags: HashMap::new(),
            addresses: HashMap::new(),
            tracks: Slab::new(),
            track_keys: HashMap::new(),
            egress: Egress::new(),
            drops: Drops::default(),
            answer: Message::new(),
            ready: Vec::with_capacity(1_024),
            touched: Vec::with_capacity(64),
            reports: Vec::with_capacity(64),
            arrivals: Vec::with_capacity(64),
            holes: Vec::with_capacity(64),
            keyframes: Vec::with_capacity(64),
            voices: Vec::with_capacity(64),
            nack: Vec::with_capacity(128),
            next_tick: None,
            next_scan: None,
        }
    }

    /// What was dropped and why.
    pub fn drops(&self) -> &Drops {
        &self.drops
    }

    /// Takes what arrived, forwards it, and empties the batch's list.
    pub fn handle_batch(&mut self, now: Instant, batch: &mut Batch, wire: &mut impl Wire) {
        let mut recent = None;
        for received in batch.received.drain(..) {
            let Some(bytes) = batch.bytes.get_mut(received.start..received.start + received.len) else { continue };
            let taken = match received.origin {
                Origin::Path(path) => self.handle_datagram(now, &path, &received, bytes, &mut recent, wire),
                Origin::Trunk(packet) => self.handle_trunk(now, &packet, &received, bytes),
            };
            if let Err(drop) = taken {
                self.drops.count(drop);
            }
        }
        self.cross(&batch.bytes, wire);
        self.fan_out(now, &batch.bytes, wire);
        self.send_due_reports(now, wire);
        self.egress.flush(wire);
        self.tell_voices(wire);
    }

    fn handle_datagram(
        &mut self,
        now: Instant,
        path: &Path,
        received: &Received,
        bytes: &mut [u8],
        recent: &mut Option<(SocketAddr, Owner)>,
        wire: &mut impl Wire,
    ) -> Result<(), Drop> {
        let protocol = Protocol::of(bytes).ok_or(Drop::UnknownProtocol)?;
        if protocol == Protocol::Stun {
            // It may change who owns an address.
            *recent = None;
            return self.handle_stun(now, path, bytes, wire);
        }
        let owner = match *recent {
            Some((remote, owner)) if remote == path.remote => owner,
            _ => {
                let owner = *self.addresses.get(&path.remote).ok_or(Drop::UnknownAddress)?;
                *recent = Some((path.remote, owner));
                owner
            }
        };
        let peer = match owner {
            Owner::Peer(peer) => peer,
            Owner::Worker(worker) => {
                wire.hand_over(worker, path, bytes);
                return Ok(());
            }
        };
        match protocol {
            Protocol::Dtls => {
                let peer = self.peers.get(peer).ok_or(Drop::UnknownAddress)?.key;
                wire.event(Event::Dtls { peer, datagram: bytes.to_vec() });
                Ok(())
            }
            Protocol::Rtcp => self.handle_rtcp(now, peer, bytes, wire),
            _ => self.handle_rtp(now, peer, received.start, bytes),
        }
    }

    fn handle_stun(&mut self, now: Instant, path: &Path, bytes: &[u8], wire: &mut impl Wire) -> Result<(), Drop> {
        let mut request = Request::parse(bytes)?;
        let Some(&index) = self.ufrags.get(request.local_ufrag()) else {
            return match crate::IceCredentials::owner(request.local_ufrag()) {
                Some(owner) if owner != self.config.worker && owner.0 < self.config.workers => {
                    wire.hand_over(owner, path, bytes);
                    Ok(())
                }
                _ => Err(Drop::StunUnknownUser),
            };
        };
        let Some(peer) = self.peers.get_mut(index) else { return Err(Drop::StunUnknownUser) };
        let heard = peer.agent.handle_request(now, path, &mut request, self.crypto.crypto(), &mut self.answer)?;
        peer.was_heard = true;
        peer.controls += 1;
        let key = peer.key;
        self.egress.datagram(path, &self.answer.raw, wire);
        if heard.moved {
            wire.event(Event::Connected { peer: key, remote: path.remote });
            self.forget_superseded_ufrags(index);
            self.refresh(now, index);
        }
        if let Some(address) = heard.forgotten {
            self.disown(index, address, wire);
        }
        if heard.new || self.addresses.get(&path.remote) != Some(&Owner::Peer(index)) {
            self.addresses.insert(path.remote, Owner::Peer(index));
            self.tell_all(wire, Remote::Address { remote: path.remote, owner: Some(self.config.worker) });
        }
        self.schedule_scan(now);
        Ok(())
    }

    fn handle_rtp(&mut self, now: Instant, index: usize, start: usize, bytes: &mut [u8]) -> Result<(), Drop> {
        let peer = self.peers.get_mut(index).ok_or(Drop::UnknownAddress)?;
        if !peer.has_keys() {
            return peer.keep_early(bytes);
        }
        let was_pending = peer.arrivals.is_pending();
        let since_epoch = now.saturating_duration_since(self.config.epoch);
        let ingested = peer.open(now, since_epoch, bytes);
        if !was_pending && peer.arrivals.is_pending() {
            self.arrivals.push(index);
            self.schedule_tick(now, crate::feedback::INTERVAL);
        }
        let ingested = ingested?;
        let peer = &mut self.peers[index];
        let map = peer.receiver_of(ingested.track).map(|receiver| (receiver.config.extensions, receiver.reception.is_missing()));
        let (map, has_holes) = map.ok_or(Drop::NotPublished)?;
        if has_holes && !self.holes.contains(&index) {
            self.holes.push(index);
            self.schedule_tick(now, Duration::from_millis(5));
        }
        let packet = &bytes[ingested.skip..ingested.skip + ingested.len];
        let track = *self.track_keys.get(&ingested.track).ok_or(Drop::NotPublished)?;
        if ingested.restarted {
            self.restart_track(track);
        }
        let descriptor = ingested.extensions.dependency_descriptor.and_then(|at| at.of(packet));
        let ready = Ready {
            start: start + ingested.skip,
            len: ingested.len,
            header: ingested.header,
            index: ingested.index,
            codec: ingested.codec,
            keyframe: is_keyframe(ingested.codec, &packet[ingested.header.payload(packet.len())], descriptor),
            extensions: ingested.extensions,
            map,
            pad: 0,
        };
        self.enqueue(now, track, ready, packet)
    }

    /// A packet of another worker's track.
    fn handle_trunk(&mut self, now: Instant, trunk: &TrunkPacket, received: &Received, bytes: &[u8]) -> Result<(), Drop> {
        let track = *self.track_keys.get(&trunk.track).ok_or(Drop::NotPublished)?;
        let header = Header::parse(bytes).map_err(|_| Drop::Malformed)?;
        let extensions = trunk.extensions.parse(&header, bytes);
        let descriptor = extensions.dependency_descriptor.and_then(|at| at.of(bytes));
        let keyframe = is_keyframe(trunk.codec, &bytes[header.payload(bytes.len())], descriptor);
        let ready = Ready {
            start: received.start,
            len: bytes.len(),
            header,
            index: trunk.index,
            codec: trunk.codec,
            keyframe,
            extensions,
            map: trunk.extensions,
            pad: 0,
        };
        self.enqueue(now, track, ready, bytes)
    }

    /// Puts an opened packet on its track's list for the fan-out.
    fn enqueue(&mut self, now: Instant, index: usize, ready: Ready, packet: &[u8]) -> Result<(), Drop> {
        let track = &mut self.tracks[index];
        if !track.enabled {
            return Err(Drop::NotPublished);
        }
        if ready.keyframe {
            track.keyframes.handle_keyframe();
        }
        if let Some(history) = &mut track.history {
            history.insert(ready.index, ready.codec, packet);
            track.extensions = Some(ready.map);
        }
        if let Some(voice) = &mut track.voice {
            track.extensions = Some(ready.map);
            if voice.hear(now, ready.index, ready.codec, packet, ready.extensions.audio_level) && !self.voices.contains(&index) {
                self.voices.push(index);
            }
        }
        if track.batch.is_empty() {
            self.touched.push(index);
        }
        track.batch.push(self.ready.len() as u32);
        self.ready.push(ready);
        Ok(())
    }

    /// Puts what other workers' subscribers get on the trunk, so that those workers are at it while this one serves its own.
    fn cross(&self, bytes: &[u8], wire: &mut impl Wire) {
        for track in self.touched.iter().map(|&index| &self.tracks[index]) {
            for &worker in &track.trunks {
                for ready in track.batch.iter().map(|&at| &self.ready[at as usize]) {
                    let header = TrunkPacket { track: track.key, codec: ready.codec, extensions: ready.map, index: ready.index };
                    wire.trunk(worker, &header, &bytes[ready.start..ready.start + ready.len]);
                }
            }
        }
        wire.deliver();
    }

    /// Sends what the batch brought to everyone who gets it: by track, by subscriber, so that what goes to one destination leaves as a run.
    fn fan_out(&mut self, now: Instant, bytes: &[u8], wire: &mut impl Wire) {
        while let Some(index) = self.touched.pop() {
            let track = &mut self.tracks[index];
            level(&mut self.ready, &track.batch);
            for subscriber in &track.subscribers {
                let Some(peer) = self.peers.get_mut(subscriber.peer) else { continue };
                let Some(path) = peer.agent.egress() else {
                    self.drops.count(Drop::NoPath);
                    continue;
                };
                let is_lossy = peer.lossy_until.is_some_and(|until| until > now);
                let (Some(sealer), Some(Some(sender))) = (&mut peer.sealer, peer.senders.get_mut(usize::from(subscriber.sender))) else {
                    self.drops.count(Drop::NoKeys);
                    continue;
                };
                for ready in track.batch.iter().map(|&at| &self.ready[at as usize]) {
                    let packet = ready.packet(&bytes[ready.start..ready.start + ready.len]);
                    match sender.forward(now, track.key, &packet, sealer, self.egress.room(wire)) {
                        Ok(len) => {
                            let copy = if is_lossy { sender.repeat(&self.egress.room(wire)[..len]) } else { None };
                            self.egress.commit(&path, len);
                            if let Some(copy) = copy {
                                self.egress.datagram(&path, copy, wire);
                            }
                        }
                        Err(drop) => self.drops.count(drop),
                    }
                }
                if sender.report_due {
                    self.reports.push((subscriber.peer, subscriber.sender));
                }
                if sender.needs_keyframe() && !track.keyframes.wanted() {
                    track.keyframes.request();
                    self.keyframes.push(index);
                    schedule(&mut self.next_tick, now);
                }
            }
            track.batch.clear();
        }
        self.ready.clear();
    }

    /// Says what there is to hear of local tracks.
    pub(super) fn tell_voices(&mut self, wire: &mut impl Wire) {
        while let Some(index) = self.voices.pop() {
            let Some(track) = self.tracks.get(index) else { continue };
            if let (Home::Local { peer }, Some(voice)) = (track.home, &track.voice)
                && let Some(peer) = self.peers.get(peer)
            {
                let (activity, level) = voice.activity();
                wire.event(Event::Voice { peer: peer.key, track: track.key, activity, level });
            }
        }
    }

    /// When [`Forwarder::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match (self.next_tick, self.next_scan) {
            (Some(tick), Some(scan)) => Some(tick.min(scan)),
            (tick, scan) => tick.or(scan),
        }
    }

    fn schedule_tick(&mut self, now: Instant, after: Duration) {
        schedule(&mut self.next_tick, now + after);
    }

    fn schedule_scan(&mut self, now: Instant) {
        if self.next_scan.is_none() {
            self.next_scan = Some(now + feedback::SCAN);
        }
    }

    fn tell_all(&self, wire: &mut impl Wire, message: Remote) {
        for worker in (0..self.config.workers).map(WorkerIndex).filter(|&worker| worker != self.config.worker) {
            wire.tell(worker, message);
        }
    }

    /// An address is no longer a peer's.
    fn disown(&mut self, peer: usize, address: SocketAddr, wire: &mut impl Wire) {
        if self.addresses.get(&address) == Some(&Owner::Peer(peer)) {
            self.addresses.remove(&address);
            self.tell_all(wire, Remote::Address { remote: address, owner: None });
        }
    }

    /// Somebody needs a keyframe of a track.
    fn request_keyframe(&mut self, now: Instant, index: usize) {
        let track = &mut self.tracks[index];
        if track.kind == MediaKind::Video && track.enabled && !track.keyframes.wanted() {
            track.keyframes.request();
            self.keyframes.push(index);
            self.schedule_tick(now, Duration::ZERO);
        }
    }

    /// A participant's packets were lost both ways: what it is shown and what it shows begin anew.
    fn refresh(&mut self, now: Instant, index: usize) {
        let peer = &self.peers[index];
        let keys = peer.routes.iter().flatten().chain(peer.published.iter().map(|(_, track)| track));
        let tracks: Vec<usize> = keys.filter_map(|key| self.track_keys.get(key).copied()).collect();
        for track in tracks {
            if !(self.tracks[track].subscribers.is_empty() && self.tracks[track].trunks.is_empty()) {
                self.request_keyframe(now, track);
            }
        }
    }

    /// A track's source has begun anew: what was kept of it means nothing any more.
    fn restart_track(&mut self, index: usize) {
        let track = &mut self.tracks[index];
        track.clock = None;
        if track.history.is_some() {
            track.history = Some(History::new(Depth::ENCODING));
        }
        for subscriber in &track.subscribers {
            if let Some(sender) = self.peers.get_mut(subscriber.peer).and_then(|peer| peer.sender_mut(subscriber.sender)) {
                sender.restart();
            }
        }
    }
}

fn schedule(at: &mut Option<Instant>, when: Instant) {
    *at = Some(at.map_or(when, |at| at.min(when)));
}

/// Pads the packets of one batch so that neighbours are of equal length where a few bytes do it. Chromium splits a frame into packets that
/// differ by a byte, the shorter first; a run ends with the first packet that is shorter than the one before.
fn level(ready: &mut [Ready], batch: &[u32]) {
    let mut rest = batch;
    while let Some(&first) = rest.first() {
        let shape = |at: u32| {
            let extensions = &ready[at as usize].extensions;
            let descriptor = extensions.dependency_descriptor.map(|at| at.range().len());
            (extensions.audio_level.is_some(), extensions.abs_capture_time.map(|time| time.as_bytes().len()), descriptor)
        };
        let size = |at: u32| ready[at as usize].payload_len();
        let (mut low, mut high, mut count) = (size(first), size(first), 1);
        while let Some(&next) = rest.get(count) {
            let (lower, higher) = (low.min(size(next)), high.max(size(next)));
            if higher - lower > MAX_PAD || shape(next) != shape(first) {
                break;
            }
            (low, high, count) = (lower, higher, count + 1);
        }
        let (run, after) = rest.split_at(count);
        // The last of a run may be the shortest.
        for &at in &run[..count - 1] {
            let ready = &mut ready[at as usize];
            ready.pad = (high - ready.payload_len()) as u8;
        }
        rest = after;
    }
}

impl Ready {
    fn payload_len(&self) -> usize {
        self.header.payload(self.len).len()
    }

    fn packet<'a>(&'a self, bytes: &'a [u8]) -> Packet<'a> {
        packet_of(bytes, &self.header, self.index, self.codec, self.keyframe, &self.extensions, self.pad)
    }
}

fn packet_of<'a>(
    bytes: &'a [u8],
    header: &Header,
    index: u64,
    codec: Codec,
    keyframe: bool,
    extensions: &'a ParsedExtensions,
    pad: u8,
) -> Packet<'a> {
    Packet {
        marker: header.marker,
        timestamp: header.timestamp,
        index,
        codec,
        keyframe,
        payload: bytes.get(header.payload(bytes.len())).unwrap_or_default(),
        passed: Passed {
            audio_level: extensions.audio_level.map(|level| [level]),
            capture_time: extensions.abs_capture_time.as_ref().map(|time| time.as_bytes()),
            dependency_descriptor: extensions.dependency_descriptor.and_then(|at| at.of(bytes)),
        },
        pad,
    }
}

impl From<Refused> for Drop {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Malformed => Drop::StunMalformed,
            Refused::UnknownUser => Drop::StunUnknownUser,
            Refused::NotAuthentic => Drop::StunNotAuthentic,
        }
    }
}
