//! Who gets the packets of a batch: other workers over the trunk, and every subscriber of this one's.

use std::cmp::Reverse;
use std::time::Instant;

use slab::Slab;
use switchyard_rtp::codec::Codec;
use switchyard_rtp::{ExtensionMap, Header, ParsedExtensions};

use crate::counted::{Drop, Happening};
use crate::downlink::Waiting;
use crate::forwarder::{Forwarder, list_once, schedule};
use crate::layers::{FrameInfo, Source};
use crate::peer::Peer;
use crate::sender::Packet;
use crate::track::{Subscriber, Track};
use crate::{Event, TrunkPacket, Wire};

/// Tracks that at least so many get are served together.
const MANY: usize = 32;

/// Tracks that are served together: what is to be sent of them has to stay in the cache, and each is looked at for each subscriber.
const TOGETHER: usize = 16;

/// Packets of one batch are padded to the longest of their run if they lack at most this many bytes, so that the run can leave at once.
const MAX_PAD: usize = 8;

/// A packet of the batch at hand, opened and about to be fanned out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) header: Header,
    pub(super) index: u64,
    /// Below [`crate::MAX_ENCODINGS`].
    pub(super) encoding: u8,
    pub(super) codec: Codec,
    pub(super) frame: FrameInfo,
    pub(super) extensions: ParsedExtensions,
    /// Needed where the packet has to cross the trunk.
    pub(super) map: ExtensionMap,
    pub(super) pad: u8,
}

impl Forwarder {
    /// Puts what other workers' subscribers get on the trunk, so that those workers are at it while this one serves its own.
    pub(super) fn cross(&self, bytes: &[u8], wire: &mut impl Wire) {
        for track in self.touched.iter().map(|&index| &self.tracks[index]) {
            for crossing in &track.trunks {
                for ready in track.encodings.iter().flat_map(|encoding| &encoding.batch).map(|&at| &self.ready[at as usize]) {
                    let Ready { encoding, codec, index, map: extensions, .. } = *ready;
                    let header = TrunkPacket { track: track.key, codec, extensions, encoding, index };
                    wire.trunk(crossing.to, &header, &bytes[ready.start..ready.start + ready.len]);
                }
            }
        }
        wire.deliver();
    }

    /// How many copies of what was opened there will be at least of what dozens get.
    pub fn crowd(&self) -> usize {
        self.touched.iter().map(|&index| self.tracks[index].subscribers.len()).filter(|&count| count >= MANY).sum()
    }

    /// Sends what the batch brought to everyone who gets it, so that what goes to one destination leaves as a run: by track, by subscriber, or where dozens get several
    /// of the tracks, by subscriber, by track.
    pub(super) fn fan_out(&mut self, now: Instant, bytes: &[u8], wire: &mut impl Wire) {
        let mut touched = std::mem::take(&mut self.touched);
        for &index in &touched {
            if std::mem::take(&mut self.tracks[index].changed) {
                self.aim_all(index);
            }
            for encoding in &self.tracks[index].encodings {
                level(&mut self.ready, &encoding.batch);
            }
        }
        // Those that many get first, and of them what is longest: a run ends with the first packet that is shorter than the one before.
        touched.sort_unstable_by_key(|&index| {
            let track = &self.tracks[index];
            (track.subscribers.len() < MANY, Reverse(track.longest(&self.ready)))
        });
        let many = touched.partition_point(|&index| self.tracks[index].subscribers.len() >= MANY);
        let (large, small) = touched.split_at(if many > 1 { many } else { 0 });
        for together in large.chunks(TOGETHER) {
            self.serve_together(now, bytes, together, wire);
        }
        for &index in small {
            for place in 0..self.tracks[index].subscribers.len() {
                self.serve(now, bytes, index, place, wire);
            }
        }
        for index in touched.drain(..) {
            for encoding in &mut self.tracks[index].encodings {
                encoding.batch.clear();
            }
        }
        self.touched = touched;
        self.ready.clear();
    }

    /// Serves who gets any of these tracks, one after the other, with all that they get of them.
    fn serve_together(&mut self, now: Instant, bytes: &[u8], together: &[usize], wire: &mut impl Wire) {
        let mut places = [0; TOGETHER];
        let at = |tracks: &Slab<Track>, index: usize, place: usize| tracks[index].subscribers.get(place).map(|subscriber| subscriber.peer);
        while let Some(next) = together.iter().zip(places).filter_map(|(&index, place)| at(&self.tracks, index, place)).min() {
            for (&index, place) in together.iter().zip(&mut places) {
                while at(&self.tracks, index, *place) == Some(next) {
                    self.serve(now, bytes, index, *place, wire);
                    *place += 1;
                }
            }
        }
    }

    /// Sends one subscriber of a track what the batch brought of that.
    fn serve(&mut self, now: Instant, bytes: &[u8], index: usize, place: usize, wire: &mut impl Wire) {
        let track = &mut self.tracks[index];
        let Some((&subscriber, next)) = track.subscribers.get(place..).and_then(<[_]>::split_first) else { return };
        fetch_next(&self.peers, next, wire);
        let Some(peer) = self.peers.get_mut(subscriber.peer) else { return };
        let Some(path) = peer.agent.egress() else {
            return self.drops.count(Drop::NoPath);
        };
        let is_lossy = peer.lossy_until.is_some_and(|until| until > now);
        let (Some(sealer), Some(Some(sender))) = (&mut peer.sealer, peer.senders.get_mut(usize::from(subscriber.sender))) else {
            return self.drops.count(Drop::NoKeys);
        };
        let before = sender.layer();
        let mut downlink = peer.downlink.as_deref_mut().filter(|_| sender.is_measured());
        for encoding in sender.wants() {
            let source = Source { track: track.key, encoding };
            let Some(batch) = track.encodings.get(usize::from(encoding)).map(|encoding| &encoding.batch) else { continue };
            for ready in batch.iter().map(|&at| &self.ready[at as usize]) {
                let packet = ready.packet(&bytes[ready.start..ready.start + ready.len]);
                if let Some(downlink) = &mut downlink
                    && sender.config.nack
                    && !downlink.is_open(now, sender.config.kind)
                {
                    self.happenings.count(Happening::Paced);
                    let waiting = Waiting::Media { sender: subscriber.sender, source, index: ready.index };
                    if downlink.wait(ready.len, waiting).is_err() {
                        self.drops.count(Drop::LineFull);
                        downlink.forget(subscriber.sender);
                        sender.interrupt();
                    }
                    continue;
                }
                let number = downlink.as_ref().map(|downlink| downlink.number());
                match sender.forward(now, source, &packet, &track.encodings, (sealer, number), self.egress.room(wire)) {
                    Ok(len) => {
                        let copy = if is_lossy { sender.repeat(&self.egress.room(wire)[..len]) } else { None };
                        self.egress.commit(&path, len);
                        if let Some(copy) = copy {
                            self.egress.datagram(&path, copy, wire);
                        }
                        if let Some(downlink) = &mut downlink {
                            downlink.sent(now, len);
                        }
                    }
                    Err(drop) => self.drops.count(drop),
                }
            }
        }
        if let Some(undecodable) = sender.poll_undecodable(now) {
            // What the line leaves of it is told anew after that.
            if let Some(told) = downlink.as_mut().and_then(|downlink| downlink.told.get_mut(usize::from(subscriber.sender))) {
                *told = None;
            }
            wire.event(Event::Decodable { peer: peer.key, track: track.key, decodable: !undecodable });
        }
        if let Some(downlink) = downlink
            && let Some(due) = downlink.poll_timeout()
        {
            self.paced.add(subscriber.peer, &mut downlink.listed, due);
        }
        track.stale |= sender.layer() != before;
        if sender.report_due {
            self.reports.push((subscriber.peer, subscriber.sender));
        }
        if let Some(encoding) = sender.needs_keyframe()
            && let Some(keyframes) = track.encodings.get_mut(usize::from(encoding)).map(|encoding| &mut encoding.keyframes)
            && !keyframes.wanted()
        {
            keyframes.request();
            list_once(&mut self.keyframes, (index, encoding));
            schedule(&mut self.next_tick, now);
        }
    }
}

/// Has the state of the next subscriber fetched while this one's packets are sealed: of the one after that what says where the rest is.
fn fetch_next(peers: &Slab<Peer>, next: &[Subscriber], wire: &impl Wire) {
    let [next, after @ ..] = next else { return };
    let Some(peer) = peers.get(next.peer) else { return };
    peer.fetch(next.sender, wire);
    if let [after, ..] = after {
        // Reckoned, because looking whether it is there would be waiting for it.
        let distance = after.peer.wrapping_sub(next.peer) as isize;
        wire.fetch(std::ptr::from_ref(peer).wrapping_offset(distance).cast(), size_of::<Peer>());
    }
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

impl Track {
    /// Bytes of the longest packet of the batch at hand.
    fn longest(&self, ready: &[Ready]) -> usize {
        self.encodings.iter().flat_map(|encoding| &encoding.batch).map(|&at| ready[at as usize].len).max().unwrap_or(0)
    }
}

impl Ready {
    fn payload_len(&self) -> usize {
        self.header.payload(self.len).len()
    }

    /// Whether it was all padding.
    pub(super) fn is_empty(&self) -> bool {
        self.payload_len() == 0
    }

    fn packet<'a>(&'a self, bytes: &'a [u8]) -> Packet<'a> {
        packet_of(bytes, &self.header, self.index, self.codec, &self.frame, &self.extensions, self.pad)
    }
}

pub(super) fn packet_of<'a>(
    bytes: &'a [u8],
    header: &Header,
    index: u64,
    codec: Codec,
    frame: &'a FrameInfo,
    extensions: &'a ParsedExtensions,
    pad: u8,
) -> Packet<'a> {
    Packet {
        marker: header.marker,
        timestamp: header.timestamp,
        index,
        codec,
        frame,
        bytes,
        payload: bytes.get(header.payload(bytes.len())).unwrap_or_default(),
        extensions,
        pad,
    }
}
