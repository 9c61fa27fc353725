//! What the control plane and the other workers say.

use std::time::Instant;

use crate::forwarder::{Forwarder, Owner, packet_of};
use crate::history::{Depth, History};
use crate::peer::Peer;
use crate::track::{Home, Subscriber, Track};
use crate::{Batch, Command, Origin, Path, PeerKey, Received, Remote, TrackKey, TrunkPacket, Wire, WorkerIndex};
use switchyard_rtp::{Header, MediaKind};

impl Forwarder {
    /// Does what the control plane says.
    pub fn handle_command(&mut self, now: Instant, command: Command, wire: &mut impl Wire) {
        match command {
            Command::AddPeer { peer, ice } => {
                let ufrag = ice.ufrag.clone().into_bytes();
                let index = self.peers.insert(Peer::new(peer, ice));
                self.peer_keys.insert(peer, index);
                self.ufrags.insert(ufrag, index);
                self.schedule_scan(now);
            }
            Command::RemovePeer { peer } => self.remove_peer(peer, wire),
            Command::RestartIce { peer, ice } => {
                let Some(&index) = self.peer_keys.get(&peer) else { return };
                self.ufrags.insert(ice.ufrag.clone().into_bytes(), index);
                if let Some(ufrag) = self.peers[index].agent.restart(ice) {
                    self.ufrags.remove(ufrag.as_bytes());
                }
            }
            Command::SetKeys { peer, keys } => {
                let Some(&index) = self.peer_keys.get(&peer) else { return };
                let early = self.peers[index].set_keys(&keys);
                self.apply_routes(now, index);
                self.replay(now, index, &early, wire);
            }
            Command::SetReceivers { peer, receivers } => {
                if let Some(&index) = self.peer_keys.get(&peer) {
                    self.peers[index].set_receivers(receivers);
                }
            }
            Command::SetSenders { peer, senders } => {
                if let Some(&index) = self.peer_keys.get(&peer) {
                    self.peers[index].set_senders(senders);
                    self.apply_routes(now, index);
                }
            }
            Command::Publish { peer, mid, kind, track } => self.publish(peer, mid, kind, track),
            Command::PublishRemote { track, kind, home } => {
                self.add_track(Track::new(track, kind, Home::Remote(home)));
            }
            Command::Unpublish { track } => self.unpublish(track),
            Command::Enable { track, enabled } => self.enable(now, track, enabled),
            Command::Trunk { track, to, on } => self.set_trunk(now, track, to, on, wire),
            Command::Route { peer, sender, track } => self.route(now, peer, sender, track, wire),
            Command::Send { peer, datagram } => {
                let path = self.peer_keys.get(&peer).and_then(|&index| self.peers[index].agent.egress());
                if let Some(path) = path {
                    self.egress.datagram(&path, &datagram, wire);
                }
            }
        }
        self.egress.flush(wire);
    }

    /// Hears from another worker.
    pub fn handle_remote(&mut self, now: Instant, message: Remote, wire: &mut impl Wire) {
        match message {
            Remote::RequestKeyframe(track) => {
                if let Some(&index) = self.track_keys.get(&track) {
                    self.request_keyframe(now, index);
                }
            }
            Remote::Clock { track, ntp, rtp } => {
                if let Some(&index) = self.track_keys.get(&track) {
                    self.set_clock(now, index, crate::clock::TrackClock { ntp, rtp }, wire);
                }
            }
            Remote::Address { remote, owner: Some(owner) } => {
                self.addresses.insert(remote, Owner::Worker(owner));
            }
            Remote::Address { remote, owner: None } => {
                if matches!(self.addresses.get(&remote), Some(Owner::Worker(_))) {
                    self.addresses.remove(&remote);
                }
            }
        }
        self.egress.flush(wire);
    }

    /// Handles again what came before the keys.
    fn replay(&mut self, now: Instant, index: usize, early: &[Vec<u8>], wire: &mut impl Wire) {
        let Some(path) = self.peers[index].agent.egress() else { return };
        let mut batch = Batch { bytes: Vec::new(), received: Vec::new() };
        for packet in early {
            let path = Path { remote: path.remote, ..path };
            batch.received.push(Received { start: batch.bytes.len(), len: packet.len(), origin: Origin::Path(path) });
            batch.bytes.extend_from_slice(packet);
        }
        self.handle_batch(now, &mut batch, wire);
    }

    fn remove_peer(&mut self, key: PeerKey, wire: &mut impl Wire) {
        let Some(index) = self.peer_keys.remove(&key) else { return };
        let tracks: Vec<TrackKey> = self.peers[index].published.iter().map(|(_, track)| *track).collect();
        for track in tracks {
            self.unpublish(track);
        }
        for sender in 0..self.peers[index].routes.len() {
            self.unroute(index, sender as u16);
        }
        let peer = self.peers.remove(index);
        for ufrag in peer.agent.ufrags() {
            self.ufrags.remove(ufrag.as_bytes());
        }
        for address in peer.agent.addresses().collect::<Vec<_>>() {
            self.disown(index, address, wire);
        }
        // Indices are used again: nothing may lead to this one.
        self.arrivals.retain(|&peer| peer != index);
        self.holes.retain(|&peer| peer != index);
        self.reports.retain(|&(peer, _)| peer != index);
        self.ufrags.retain(|_, peer| *peer != index);
    }

    /// A nomination under new credentials ends the old ones.
    pub(super) fn forget_superseded_ufrags(&mut self, index: usize) {
        let Some(peer) = self.peers.get(index) else { return };
        let current: Vec<&str> = peer.agent.ufrags().collect();
        if current.len() == 1 {
            let current = current[0].as_bytes().to_vec();
            self.ufrags.retain(|ufrag, peer| *peer != index || *ufrag == current);
        }
    }

    fn add_track(&mut self, track: Track) {
        let key = track.key;
        if !self.track_keys.contains_key(&key) {
            let index = self.tracks.insert(track);
            self.track_keys.insert(key, index);
        }
    }

    fn publish(&mut self, peer: PeerKey, mid: String, kind: MediaKind, track: TrackKey) {
        let Some(&index) = self.peer_keys.get(&peer) else { return };
        let publisher = &mut self.peers[index];
        publisher.published.retain(|(published, _)| *published != mid);
        if let Some(receiver) = publisher.receiver_by_mid(&mid) {
            receiver.track = Some(track);
        }
        publisher.published.push((mid, track));
        self.add_track(Track::new(track, kind, Home::Local { peer: index }));
    }

    fn unpublish(&mut self, key: TrackKey) {
        let Some(index) = self.track_keys.remove(&key) else { return };
        let track = self.tracks.remove(index);
        if let Home::Local { peer } = track.home
            && let Some(publisher) = self.peers.get_mut(peer)
        {
            publisher.published.retain(|(_, published)| *published != key);
            if let Some(receiver) = publisher.receiver_of(key) {
                receiver.track = None;
            }
        }
        for subscriber in track.subscribers {
            let Some(peer) = self.peers.get_mut(subscriber.peer) else { continue };
            if let Some(route) = peer.routes.get_mut(usize::from(subscriber.sender)) {
                *route = None;
            }
            if let Some(sender) = peer.sender_mut(subscriber.sender) {
                sender.stop();
            }
        }
        self.keyframes.retain(|&track| track != index);
    }

    fn enable(&mut self, now: Instant, key: TrackKey, enabled: bool) {
        let Some(&index) = self.track_keys.get(&key) else { return };
        let track = &mut self.tracks[index];
        if track.enabled == enabled {
            return;
        }
        track.enabled = enabled;
        if let Some(voice) = &mut track.voice {
            voice.reset();
        }
        // Subscribers begin again where a decoder can.
        for subscriber in &track.subscribers {
            if let Some(Err(drop)) = self.peers.get_mut(subscriber.peer).and_then(|peer| peer.start_sender(subscriber.sender)) {
                self.drops.count(drop);
            }
        }
        if enabled && !(track.subscribers.is_empty() && track.trunks.is_empty()) {
            self.request_keyframe(now, index);
        }
    }

    fn set_trunk(&mut self, now: Instant, key: TrackKey, to: WorkerIndex, on: bool, wire: &mut impl Wire) {
        let Some(&index) = self.track_keys.get(&key) else { return };
        let track = &mut self.tracks[index];
        track.trunks.retain(|&worker| worker != to);
        if on && to != self.config.worker {
            track.trunks.push(to);
            if let Some(clock) = track.clock {
                wire.tell(to, Remote::Clock { track: key, ntp: clock.ntp, rtp: clock.rtp });
            }
            if let (Some(voice), Some(map)) = (&track.voice, track.extensions) {
                for (index, codec, bytes) in voice.word(now) {
                    wire.trunk(to, &TrunkPacket { track: key, codec, extensions: map, index }, bytes);
                }
                wire.deliver();
            }
            self.request_keyframe(now, index);
        }
    }

    fn route(&mut self, now: Instant, peer: PeerKey, sender: u16, track: Option<TrackKey>, wire: &mut impl Wire) {
        let Some(&index) = self.peer_keys.get(&peer) else { return };
        self.unroute(index, sender);
        let place = usize::from(sender);
        let Some(track) = track.and_then(|key| self.track_keys.get(&key).map(|&track| (key, track))) else { return };
        let (key, track) = track;
        let subscriber = &mut self.peers[index];
        if subscriber.routes.len() <= place {
            subscriber.routes.resize(place + 1, None);
        }
        subscriber.routes[place] = Some(key);
        self.tracks[track].subscribers.push(Subscriber { peer: index, sender });
        self.start_sender(now, index, sender, track);
        self.send_word(now, index, sender, track, wire);
    }

    /// Sends who begins to hear a voice the word that has just begun, from its beginning.
    fn send_word(&mut self, now: Instant, index: usize, place: u16, track: usize, wire: &mut impl Wire) {
        let track = &self.tracks[track];
        let peer = &mut self.peers[index];
        let (Some(voice), Some(map), Some(path)) = (&track.voice, track.extensions, peer.agent.egress()) else { return };
        let (Some(sealer), Some(Some(sender))) = (&mut peer.sealer, peer.senders.get_mut(usize::from(place))) else { return };
        let sent = sender.sent_of(track.key);
        for (index, codec, bytes) in voice.word(now).filter(|(index, ..)| *index >= sent) {
            let Ok(header) = Header::parse(bytes) else { continue };
            let extensions = map.parse(&header, bytes);
            let packet = packet_of(bytes, &header, index, codec, false, &extensions, 0);
            match sender.forward(now, track.key, &packet, sealer, self.egress.room(wire)) {
                Ok(len) => self.egress.commit(&path, len),
                Err(drop) => self.drops.count(drop),
            }
        }
    }

    /// Ends what a sender carries.
    fn unroute(&mut self, index: usize, sender: u16) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        let Some(key) = peer.routes.get_mut(usize::from(sender)).and_then(Option::take) else { return };
        if let Some(sender) = peer.sender_mut(sender) {
            sender.stop();
        }
        if let Some(&track) = self.track_keys.get(&key) {
            self.tracks[track].subscribers.retain(|subscriber| *subscriber != Subscriber { peer: index, sender });
        }
    }

    /// Begins what the routes of a peer say, after its senders have changed.
    fn apply_routes(&mut self, now: Instant, index: usize) {
        for place in 0..self.peers[index].routes.len() {
            let Some(key) = self.peers[index].routes[place] else { continue };
            if let Some(&track) = self.track_keys.get(&key)
                && self.peers[index].senders.get(place).is_some_and(|sender| sender.as_ref().is_some_and(|sender| !sender.is_live()))
            {
                self.start_sender(now, index, place as u16, track);
            }
        }
    }

    fn start_sender(&mut self, now: Instant, peer: usize, sender: u16, track: usize) {
        let sender = match self.peers[peer].start_sender(sender) {
            Some(Ok(sender)) => sender,
            Some(Err(drop)) => return self.drops.count(drop),
            None => return,
        };
        if sender.config.nack && sender.config.kind == MediaKind::Video && self.tracks[track].history.is_none() {
            self.tracks[track].history = Some(History::new(Depth::ENCODING));
        }
        self.request_keyframe(now, track);
    }
}
