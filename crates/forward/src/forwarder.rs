//! One worker's state machine: it demultiplexes and opens what arrives. Who gets it is in `fan_out`, what it is told in `control`, RTCP and timers in
//! `feedback`.

mod control;
mod downlinks;
mod fan_out;
mod feedback;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_stun::message::Message;
use slab::Slab;
use switchyard_rtp::{Header, MediaKind};

use crate::agent::{Refused, Request};
use crate::clock::WallClock;
use crate::counted::{Drop, Drops, Estimates, Happenings};
use crate::egress::Egress;
use crate::encoding::EncodingView;
use crate::history::{Depth, History};
use crate::peer::Peer;
use crate::track::{Home, Subscriber, Track};
use crate::{Address, Batch, Event, Origin, Path, PeerKey, Received, Remote, SocketId, TrackKey, TrunkPacket, Wire, WorkerIndex};
use fan_out::{Ready, packet_of};

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

/// One worker's state machine: peers, their paths, the streams they publish and the routes between them.
pub struct Forwarder {
    config: Config,
    clock: WallClock,
    crypto: AwsLcRsProvider,
    peers: Slab<Peer>,
    peer_keys: HashMap<PeerKey, usize>,
    ufrags: HashMap<Vec<u8>, usize>,
    addresses: HashMap<Address, Owner>,
    tracks: Slab<Track>,
    track_keys: HashMap<TrackKey, usize>,
    egress: Egress,
    drops: Drops,
    happenings: Happenings,
    estimates: Estimates,
    answer: Message,
    ready: Vec<Ready>,
    /// Tracks with packets in the batch at hand.
    touched: Vec<usize>,
    /// Senders that owe a sender report at once.
    reports: Vec<(usize, u16)>,
    /// Peers with unreported arrivals, peers and m-lines with holes, tracks and encodings whose keyframe somebody waits for.
    arrivals: Vec<usize>,
    holes: Vec<usize>,
    keyframes: Vec<(usize, u8)>,
    /// Tracks of which there is something else to hear than before.
    voices: Vec<usize>,
    nack: Vec<u16>,
    paced: downlinks::Paced,
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
            happenings: Happenings::default(),
            estimates: Estimates::default(),
            answer: Message::new(),
            ready: Vec::with_capacity(1_024),
            touched: Vec::with_capacity(64),
            reports: Vec::with_capacity(64),
            arrivals: Vec::with_capacity(64),
            holes: Vec::with_capacity(64),
            keyframes: Vec::with_capacity(64),
            voices: Vec::with_capacity(64),
            nack: Vec::with_capacity(128),
            paced: downlinks::Paced::default(),
            next_tick: None,
            next_scan: None,
        }
    }

    /// What was dropped and why.
    pub fn drops(&self) -> &Drops {
        &self.drops
    }

    /// What else happened.
    pub fn happenings(&self) -> &Happenings {
        &self.happenings
    }

    /// What subscribers' lines were estimated to carry.
    pub fn estimates(&self) -> &Estimates {
        &self.estimates
    }

    /// A track's encodings, in the publisher's order; none if there is no such track here.
    pub fn encodings(&self, track: TrackKey) -> impl Iterator<Item = EncodingView> {
        let track = self.track_keys.get(&track).map(|&index| &self.tracks[index]);
        track.into_iter().flat_map(|track| (0..track.count).map(|place| track.encodings[usize::from(place)].view(track.size(place))))
    }

    /// Takes what arrived, forwards it, and empties the batch's list.
    pub fn handle_batch(&mut self, now: Instant, batch: &mut Batch, wire: &mut impl Wire) {
        self.open_batch(now, batch, wire);
        self.send_batch(now, batch, wire);
    }

    /// The first half of [`Forwarder::handle_batch`]: takes what arrived, keeps in mind where in the batch's bytes what is to be forwarded lies, and empties the list.
    /// More may be opened, behind it, before [`Forwarder::send_batch`].
    pub fn open_batch(&mut self, now: Instant, batch: &mut Batch, wire: &mut impl Wire) {
        let mut recent = None;
        for received in batch.received.drain(..) {
            let Some(bytes) = batch.bytes.get_mut(received.start..received.start + received.len) else { continue };
            let taken = match received.origin {
                Origin::Path { path, at } => self.handle_datagram((now, at), &path, received.start, bytes, &mut recent, wire),
                Origin::Trunk(packet) => self.handle_trunk(now, &packet, &received, bytes),
            };
            if let Err(drop) = taken {
                self.drops.count(drop);
            }
        }
    }

    /// To how many subscribers of this worker's what was opened goes.
    pub fn audience(&self) -> usize {
        self.touched.iter().map(|&track| self.tracks[track].subscribers.len()).sum()
    }

    /// The second half: forwards what was opened.
    pub fn send_batch(&mut self, now: Instant, batch: &Batch, wire: &mut impl Wire) {
        self.cross(&batch.bytes, wire);
        self.fan_out(now, &batch.bytes, wire);
        self.send_due_reports(now, wire);
        self.egress.flush(wire);
        self.tell_voices(wire);
    }

    fn handle_datagram(
        &mut self,
        (now, at): (Instant, Instant),
        path: &Path,
        start: usize,
        bytes: &mut [u8],
        recent: &mut Option<(Address, Owner)>,
        wire: &mut impl Wire,
    ) -> Result<(), Drop> {
        let protocol = Protocol::of(bytes).ok_or(Drop::UnknownProtocol)?;
        if protocol == Protocol::Stun {
            // It may change who owns an address.
            *recent = None;
            return self.handle_stun((now, at), path, bytes, wire);
        }
        let owner = match *recent {
            Some((address, owner)) if address == path.address() => owner,
            _ => {
                let owner = *self.addresses.get(&path.address()).ok_or(Drop::UnknownAddress)?;
                *recent = Some((path.address(), owner));
                owner
            }
        };
        let peer = match owner {
            Owner::Peer(peer) => peer,
            Owner::Worker(worker) => {
                wire.hand_over(worker, path, at, bytes);
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
            _ => self.handle_rtp((now, at), peer, start, bytes),
        }
    }

    fn handle_stun(&mut self, (now, at): (Instant, Instant), path: &Path, bytes: &[u8], wire: &mut impl Wire) -> Result<(), Drop> {
        let mut request = Request::parse(bytes)?;
        let Some(&index) = self.ufrags.get(request.local_ufrag()) else {
            return match crate::IceCredentials::owner(request.local_ufrag()) {
                // A TCP connection is its worker's alone.
                Some(owner) if owner != self.config.worker && owner.0 < self.config.workers && path.socket == SocketId::UDP => {
                    wire.hand_over(owner, path, at, bytes);
                    Ok(())
                }
                _ => Err(Drop::StunUnknownUser),
            };
        };
        let Some(peer) = self.peers.get_mut(index) else { return Err(Drop::StunUnknownUser) };
        let generations = peer.agent.ufrags().count();
        let heard = peer.agent.handle_request(now, path, &mut request, self.crypto.crypto(), &mut self.answer)?;
        let is_restarted = peer.agent.ufrags().count() < generations;
        peer.was_heard = true;
        peer.controls += 1;
        let key = peer.key;
        self.egress.datagram(path, &self.answer.raw, wire);
        if is_restarted {
            self.forget_superseded_ufrags(index);
        }
        if heard.moved {
            wire.event(Event::Connected { peer: key, remote: path.remote });
            self.refresh(now, index);
        }
        if let Some(address) = heard.forgotten {
            self.disown(index, address, wire);
        }
        if heard.new || self.addresses.get(&path.address()) != Some(&Owner::Peer(index)) {
            self.addresses.insert(path.address(), Owner::Peer(index));
            self.tell_owner(path.address(), Some(self.config.worker), wire);
        }
        self.schedule_scan(now);
        Ok(())
    }

    fn handle_rtp(&mut self, (now, at): (Instant, Instant), index: usize, start: usize, bytes: &mut [u8]) -> Result<(), Drop> {
        let peer = self.peers.get_mut(index).ok_or(Drop::UnknownAddress)?;
        if !peer.has_keys() {
            return peer.keep_early(at, bytes);
        }
        let was_pending = peer.arrivals.is_pending();
        let since_epoch = at.saturating_duration_since(self.config.epoch);
        let ingested = peer.open(now, since_epoch, bytes);
        if !was_pending && peer.arrivals.is_pending() {
            self.arrivals.push(index);
            self.schedule_tick(now, crate::feedback::INTERVAL);
        }
        let ingested = ingested?;
        let peer = &mut self.peers[index];
        let map = peer.receiver_of(ingested.track).map(|receiver| (receiver.config.extensions, receiver.is_missing()));
        let (map, has_holes) = map.ok_or(Drop::NotPublished)?;
        if has_holes && !self.holes.contains(&index) {
            self.holes.push(index);
            self.schedule_tick(now, Duration::from_millis(5));
        }
        let packet = &bytes[ingested.skip..ingested.skip + ingested.len];
        let track = *self.track_keys.get(&ingested.track).ok_or(Drop::NotPublished)?;
        if ingested.restarted {
            self.restart_encoding(track, ingested.encoding);
        }
        let descriptor = ingested.extensions.dependency_descriptor.and_then(|at| at.of(packet));
        let encoding = &mut self.tracks[track].encodings[usize::from(ingested.encoding)];
        let frame = encoding.read(ingested.codec, &packet[ingested.header.payload(packet.len())], descriptor);
        let ready = Ready {
            start: start + ingested.skip,
            len: ingested.len,
            header: ingested.header,
            index: ingested.index,
            encoding: ingested.encoding,
            codec: ingested.codec,
            frame,
            extensions: ingested.extensions,
            map,
            pad: 0,
        };
        self.enqueue(now, track, ready, packet)
    }

    /// A packet of another worker's track.
    fn handle_trunk(&mut self, now: Instant, trunk: &TrunkPacket, received: &Received, bytes: &[u8]) -> Result<(), Drop> {
        let track = *self.track_keys.get(&trunk.track).ok_or(Drop::NotPublished)?;
        debug_assert!(usize::from(trunk.encoding) < crate::MAX_ENCODINGS);
        let header = Header::parse(bytes).map_err(|_| Drop::Malformed)?;
        let extensions = trunk.extensions.parse(&header, bytes);
        let descriptor = extensions.dependency_descriptor.and_then(|at| at.of(bytes));
        let encoding = &mut self.tracks[track].encodings[usize::from(trunk.encoding)];
        let frame = encoding.read(trunk.codec, &bytes[header.payload(bytes.len())], descriptor);
        let ready = Ready {
            start: received.start,
            len: bytes.len(),
            header,
            index: trunk.index,
            encoding: trunk.encoding,
            codec: trunk.codec,
            frame,
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
        if track.encodings.iter().all(|encoding| encoding.batch.is_empty()) {
            self.touched.push(index);
        }
        // Padding is no picture.
        let has_picture = !ready.is_empty();
        if has_picture {
            track.hear(now, ready.encoding, &ready.frame, packet.len());
        }
        let encoding = &mut track.encodings[usize::from(ready.encoding)];
        if ready.frame.keyframe && has_picture {
            encoding.keyframes.handle_keyframe();
        }
        if let Some(history) = &mut encoding.history {
            history.insert(ready.index, ready.codec, packet);
            encoding.extensions = Some(ready.map);
        }
        if let Some(voice) = &mut track.voice {
            encoding.extensions = Some(ready.map);
            if voice.hear(now, ready.index, ready.codec, packet, ready.extensions.audio_level) && !self.voices.contains(&index) {
                self.voices.push(index);
            }
        }
        encoding.batch.push(self.ready.len() as u32);
        self.ready.push(ready);
        Ok(())
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
        self.next_tick.into_iter().chain(self.next_scan).chain(self.paced.due).min()
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
    fn disown(&mut self, peer: usize, address: Address, wire: &mut impl Wire) {
        if self.addresses.get(&address) == Some(&Owner::Peer(peer)) {
            self.addresses.remove(&address);
            self.tell_owner(address, None, wire);
        }
    }

    /// Tells the other workers whose an address is, if anything from it can come to them.
    fn tell_owner(&self, Address { socket, remote }: Address, owner: Option<WorkerIndex>, wire: &mut impl Wire) {
        if socket == SocketId::UDP {
            self.tell_all(wire, Remote::Address { remote, owner });
        }
    }

    /// Whether a peer has shown that it is behind this address.
    pub fn knows(&self, address: Address) -> bool {
        matches!(self.addresses.get(&address), Some(Owner::Peer(_)))
    }

    /// A TCP connection is closed.
    pub fn handle_closed(&mut self, now: Instant, address: Address, wire: &mut impl Wire) {
        let Some(&Owner::Peer(index)) = self.addresses.get(&address) else { return };
        let Some(peer) = self.peers.get_mut(index) else { return };
        if peer.agent.close(address.socket)
            && let Some(path) = peer.agent.egress()
        {
            wire.event(Event::Connected { peer: peer.key, remote: path.remote });
            self.refresh(now, index);
        }
        self.disown(index, address, wire);
    }

    /// Somebody needs a keyframe of a track's encoding.
    fn request_keyframe(&mut self, now: Instant, index: usize, encoding: u8) {
        let track = &mut self.tracks[index];
        let Some(keyframes) = track.encodings.get_mut(usize::from(encoding)).map(|encoding| &mut encoding.keyframes) else { return };
        if track.kind == MediaKind::Video && track.enabled && !keyframes.wanted() {
            keyframes.request();
            list_once(&mut self.keyframes, (index, encoding));
            self.schedule_tick(now, Duration::ZERO);
        }
    }

    /// Whoever gets a track needs a keyframe.
    fn request_wanted_keyframes(&mut self, now: Instant, index: usize) {
        let in_use = self.in_use(index);
        for encoding in (0..self.tracks[index].count).filter(|encoding| in_use >> encoding & 1 == 1) {
            self.request_keyframe(now, index, encoding);
        }
    }

    /// The encodings of a track that are sent to anyone, or are to be: a bit for each.
    fn in_use(&self, index: usize) -> u8 {
        let track = &self.tracks[index];
        let sender = |subscriber: &Subscriber| self.peers.get(subscriber.peer)?.senders.get(usize::from(subscriber.sender))?.as_ref();
        let sent = track.subscribers.iter().filter_map(sender).map(|sender| {
            let encodings = [sender.layer().map(|layer| layer.encoding), sender.needs_keyframe()];
            encodings.into_iter().flatten().fold(0, |mask, encoding| mask | 1 << encoding)
        });
        sent.chain(track.trunks.iter().map(|crossing| crossing.wanted.carried)).fold(0, |all, mask| all | mask)
    }

    /// A participant's packets were lost both ways: what it is shown and what it shows begin anew.
    fn refresh(&mut self, now: Instant, index: usize) {
        let peer = &mut self.peers[index];
        if let Some(downlink) = &mut peer.downlink {
            downlink.begin_anew(now);
        }
        let keys = peer.routes.iter().flatten().map(|route| &route.track).chain(peer.published.iter().map(|(_, track)| track));
        let tracks: Vec<usize> = keys.filter_map(|key| self.track_keys.get(key).copied()).collect();
        for track in tracks {
            self.request_wanted_keyframes(now, track);
        }
    }

    /// An encoding's source has begun anew: what was kept of it means nothing any more.
    fn restart_encoding(&mut self, index: usize, place: u8) {
        let track = &mut self.tracks[index];
        let encoding = &mut track.encodings[usize::from(place)];
        encoding.clock = None;
        if encoding.history.is_some() {
            encoding.history = Some(History::new(Depth::ENCODING));
        }
        for subscriber in &track.subscribers {
            if let Some(sender) = self.peers.get_mut(subscriber.peer).and_then(|peer| peer.sender_mut(subscriber.sender)) {
                sender.restart(place);
            }
        }
    }
}

/// Whoever waited before, and has what they waited for, is taken from the list only when it is looked at.
fn list_once(keyframes: &mut Vec<(usize, u8)>, which: (usize, u8)) {
    if !keyframes.contains(&which) {
        keyframes.push(which);
    }
}

fn schedule(at: &mut Option<Instant>, when: Instant) {
    *at = Some(at.map_or(when, |at| at.min(when)));
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
