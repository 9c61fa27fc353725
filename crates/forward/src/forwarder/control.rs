//! What the control plane and the other workers say.

use std::time::Instant;

use crate::downlink::Share;
use crate::forwarder::{Forwarder, Owner, packet_of};
use crate::history::{Depth, History};
use crate::layers::{FrameInfo, Source, Target};
use crate::peer::{Peer, Route};
use crate::track::{Crossing, Home, Subscriber, Track, Wanted};
use crate::{Address, Batch, Command, Origin, Path, PeerKey, Received, Remote, SocketId, TrackKey, TrunkPacket, Wire, WorkerIndex};
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
            Command::RestartIce { peer, ice, client } => {
                let Some(&index) = self.peer_keys.get(&peer) else { return };
                self.ufrags.insert(ice.ufrag.clone().into_bytes(), index);
                if let Some(ufrag) = self.peers[index].agent.restart(ice, client) {
                    self.ufrags.remove(ufrag.as_bytes());
                }
            }
            Command::SetKeys { peer, keys } => {
                let Some(&index) = self.peer_keys.get(&peer) else { return };
                let early = self.peers[index].set_keys(&keys);
                self.peers[index].measure(now);
                self.apply_routes(now, index);
                self.replay(now, index, &early, wire);
            }
            Command::SetReceivers { peer, receivers } => {
                if let Some(&index) = self.peer_keys.get(&peer) {
                    self.peers[index].set_receivers(receivers);
                    self.count_encodings(now, index, wire);
                }
            }
            Command::SetSenders { peer, senders } => {
                if let Some(&index) = self.peer_keys.get(&peer) {
                    self.peers[index].set_senders(senders);
                    self.peers[index].measure(now);
                    self.apply_routes(now, index);
                }
            }
            Command::Publish { peer, mid, kind, track } => {
                if let Some(&index) = self.peer_keys.get(&peer) {
                    self.publish(index, mid, kind, track);
                    self.count_encodings(now, index, wire);
                }
            }
            Command::PublishRemote { track, kind, home } => {
                self.add_track(Track::new(track, kind, Home::Remote(home)));
            }
            Command::Unpublish { track } => self.unpublish(track),
            Command::Enable { track, enabled } => self.enable(now, track, enabled),
            Command::Trunk { track, to, on } => self.set_trunk(now, track, to, on, wire),
            Command::Route { peer, sender, track } => self.route(now, peer, sender, track, wire),
            Command::SetStanding { track, standing } => {
                if let Some(&index) = self.track_keys.get(&track) {
                    self.tracks[index].standing = standing;
                }
            }
            Command::SetTarget { peer, sender, target, pinned } => self.set_target(now, peer, sender, target, pinned),
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
            Remote::RequestKeyframe { track, encoding } => {
                if let Some(&index) = self.track_keys.get(&track) {
                    self.request_keyframe(now, index, encoding);
                }
            }
            Remote::Clock { track, encoding, ntp, rtp } => {
                if let Some(&index) = self.track_keys.get(&track) {
                    self.set_clock(now, index, encoding, crate::clock::TrackClock { ntp, rtp }, wire);
                }
            }
            Remote::Encodings { track, count } => {
                if let Some(&index) = self.track_keys.get(&track) {
                    self.tracks[index].count = count;
                    self.aim_all(index);
                    self.request_needed_keyframes(now, index);
                }
            }
            Remote::Wanted { track, from, wanted } => {
                if let Some(&index) = self.track_keys.get(&track)
                    && let Some(crossing) = self.tracks[index].trunks.iter_mut().find(|crossing| crossing.to == from)
                {
                    crossing.wanted = wanted;
                    self.tracks[index].stale = true;
                }
            }
            Remote::Address { remote, owner: Some(owner) } => {
                self.addresses.insert(Address { socket: SocketId::UDP, remote }, Owner::Worker(owner));
            }
            Remote::Address { remote, owner: None } => {
                let address = Address { socket: SocketId::UDP, remote };
                if matches!(self.addresses.get(&address), Some(Owner::Worker(_))) {
                    self.addresses.remove(&address);
                }
            }
        }
        self.egress.flush(wire);
    }

    /// Handles again what came before the keys.
    fn replay(&mut self, now: Instant, index: usize, early: &[(Instant, Vec<u8>)], wire: &mut impl Wire) {
        let Some(path) = self.peers[index].agent.egress() else { return };
        let mut batch = Batch { bytes: Vec::new(), received: Vec::new() };
        for (at, packet) in early {
            let path = Path { remote: path.remote, ..path };
            batch.received.push(Received { start: batch.bytes.len(), len: packet.len(), origin: Origin::Path { path, at: *at } });
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
        let current: Vec<&[u8]> = peer.agent.ufrags().map(str::as_bytes).collect();
        self.ufrags.retain(|ufrag, peer| *peer != index || current.contains(&ufrag.as_slice()));
    }

    fn add_track(&mut self, track: Track) {
        let key = track.key;
        if !self.track_keys.contains_key(&key) {
            let index = self.tracks.insert(track);
            self.track_keys.insert(key, index);
        }
    }

    fn publish(&mut self, index: usize, mid: String, kind: MediaKind, track: TrackKey) {
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
        self.keyframes.retain(|&(track, _)| track != index);
    }

    /// Counts the encodings of what a peer publishes, after its m-lines or its tracks have changed.
    fn count_encodings(&mut self, now: Instant, index: usize, wire: &mut impl Wire) {
        for place in 0..self.peers[index].receivers.len() {
            let receiver = &self.peers[index].receivers[place];
            let count = receiver.encodings.len() as u8;
            let Some(&track) = receiver.track.as_ref().and_then(|key| self.track_keys.get(key)) else { continue };
            if std::mem::replace(&mut self.tracks[track].count, count) != count {
                for crossing in &self.tracks[track].trunks {
                    wire.tell(crossing.to, Remote::Encodings { track: self.tracks[track].key, count });
                }
                self.aim_all(track);
                self.request_needed_keyframes(now, track);
            }
        }
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
        if enabled {
            self.request_wanted_keyframes(now, index);
        } else {
            // Nobody is asked and nothing comes; who waits then is waited for anew.
            track.encodings.iter_mut().for_each(|encoding| encoding.keyframes.withdraw());
        }
    }

    fn set_trunk(&mut self, now: Instant, key: TrackKey, to: WorkerIndex, on: bool, wire: &mut impl Wire) {
        let Some(&index) = self.track_keys.get(&key) else { return };
        let track = &mut self.tracks[index];
        track.stale = true;
        track.trunks.retain(|crossing| crossing.to != to);
        if on && to != self.config.worker {
            let largest = track.wish(Target::Largest);
            track.trunks.push(Crossing { to, wanted: Wanted { shown: largest, carried: largest } });
            wire.tell(to, Remote::Encodings { track: key, count: track.count });
            for (encoding, clock) in (0..).zip(&track.encodings).filter_map(|(place, encoding)| Some((place, encoding.clock?))) {
                wire.tell(to, Remote::Clock { track: key, encoding, ntp: clock.ntp, rtp: clock.rtp });
            }
            if let (Some(voice), Some(map)) = (&track.voice, track.encodings[0].extensions) {
                for (index, codec, bytes) in voice.word(now) {
                    wire.trunk(to, &TrunkPacket { track: key, codec, extensions: map, encoding: 0, index }, bytes);
                }
                wire.deliver();
            }
            self.request_wanted_keyframes(now, index);
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
        subscriber.routes[place] =
            Some(Route { track: key, target: Target::default(), pinned: false, share: Share::default(), reach: None });
        self.tracks[track].subscribe(Subscriber { peer: index, sender });
        self.tracks[track].stale = true;
        self.start_sender(now, index, sender, track);
        self.send_word(now, index, sender, track, wire);
    }

    /// Sends who begins to hear a voice the word that has just begun, from its beginning.
    fn send_word(&mut self, now: Instant, index: usize, place: u16, track: usize, wire: &mut impl Wire) {
        let track = &self.tracks[track];
        let peer = &mut self.peers[index];
        let (Some(voice), Some(map), Some(path)) = (&track.voice, track.encodings[0].extensions, peer.agent.egress()) else { return };
        let (Some(sealer), Some(Some(sender))) = (&mut peer.sealer, peer.senders.get_mut(usize::from(place))) else { return };
        let mut downlink = peer.downlink.as_deref_mut().filter(|_| sender.is_measured());
        let sent = sender.sent_of(track.key);
        for (index, codec, bytes) in voice.word(now).filter(|(index, ..)| *index >= sent) {
            let Ok(header) = Header::parse(bytes) else { continue };
            let extensions = map.parse(&header, bytes);
            let frame = FrameInfo::read(codec, bytes, None, None);
            let packet = packet_of(bytes, &header, index, codec, &frame, &extensions, 0);
            let source = Source { track: track.key, encoding: 0 };
            let number = downlink.as_ref().map(|downlink| downlink.number());
            match sender.forward(now, source, &packet, &track.encodings, (sealer, number), self.egress.room(wire)) {
                Ok(len) => {
                    self.egress.commit(&path, len);
                    if let Some(downlink) = &mut downlink {
                        downlink.sent(now, len);
                    }
                }
                Err(drop) => self.drops.count(drop),
            }
        }
    }

    /// Ends what a sender carries.
    fn unroute(&mut self, index: usize, sender: u16) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        let Some(Route { track: key, .. }) = peer.routes.get_mut(usize::from(sender)).and_then(Option::take) else { return };
        if let Some(sender) = peer.sender_mut(sender) {
            sender.stop();
        }
        if let Some(&track) = self.track_keys.get(&key) {
            self.tracks[track].subscribers.retain(|subscriber| *subscriber != Subscriber { peer: index, sender });
            self.tracks[track].stale = true;
        }
    }

    /// Begins what the routes of a peer say, after its senders have changed.
    fn apply_routes(&mut self, now: Instant, index: usize) {
        for place in 0..self.peers[index].routes.len() {
            let Some(Route { track: key, .. }) = self.peers[index].routes[place] else { continue };
            if let Some(&track) = self.track_keys.get(&key)
                && self.peers[index].senders.get(place).is_some_and(|sender| sender.as_ref().is_some_and(|sender| !sender.is_live()))
            {
                self.start_sender(now, index, place as u16, track);
            }
        }
    }

    fn start_sender(&mut self, now: Instant, peer: usize, sender: u16, track: usize) {
        match self.peers[peer].start_sender(sender) {
            Some(Ok(_)) => {
                self.aim(track, Subscriber { peer, sender });
                self.request_needed_keyframes(now, track);
            }
            Some(Err(drop)) => self.drops.count(drop),
            None => {}
        }
    }

    fn set_target(&mut self, now: Instant, peer: PeerKey, sender: u16, target: Target, pinned: bool) {
        let Some(&peer) = self.peer_keys.get(&peer) else { return };
        let Some(Some(route)) = self.peers[peer].routes.get_mut(usize::from(sender)) else { return };
        (route.target, route.pinned) = (target, pinned);
        if let Some(&track) = self.track_keys.get(&route.track) {
            self.aim(track, Subscriber { peer, sender });
            self.request_needed_keyframes(now, track);
        }
    }

    /// Every subscriber's target, after the choice of encodings has changed.
    pub(super) fn aim_all(&mut self, track: usize) {
        for place in 0..self.tracks[track].subscribers.len() {
            let subscriber = self.tracks[track].subscribers[place];
            self.aim(track, subscriber);
        }
    }

    /// What a subscriber's target comes to now; prepares for it.
    pub(super) fn aim(&mut self, index: usize, subscriber: Subscriber) {
        let Some(peer) = self.peers.get_mut(subscriber.peer) else { return };
        let Some(Some(Route { target, share, .. })) = peer.routes.get(usize::from(subscriber.sender)).copied() else { return };
        let Some(sender) = peer.sender_mut(subscriber.sender) else { return };
        let track = &mut self.tracks[index];
        track.stale = true;
        let aim = share.target(target).and_then(|target| track.aim(target));
        sender.set_target(aim);
        if sender.config.nack && sender.config.kind == MediaKind::Video {
            let begin = aim.map_or(0, |(_, begin)| begin);
            for encoding in (0..).zip(&mut track.encodings).filter(|(place, _)| begin >> place & 1 == 1).map(|(_, encoding)| encoding) {
                encoding.history.get_or_insert_with(|| History::new(Depth::ENCODING));
            }
        }
    }

    /// Keyframes that subscribers of a track can't go on without, or not as they are to.
    pub(super) fn request_needed_keyframes(&mut self, now: Instant, index: usize) {
        let sender = |subscriber: &Subscriber| self.peers.get(subscriber.peer)?.senders.get(usize::from(subscriber.sender))?.as_ref();
        let needed = self.tracks[index].subscribers.iter().filter_map(sender).filter_map(|sender| sender.needs_keyframe());
        let needed = needed.fold(0u8, |mask, encoding| mask | 1 << encoding);
        for encoding in (0..8).filter(|encoding| needed >> encoding & 1 == 1) {
            self.request_keyframe(now, index, encoding);
        }
    }
}
