//! Who gets the packets of a batch: other workers over the trunk, and every subscriber of this one's.

use std::time::Instant;

use slab::Slab;
use switchyard_rtp::codec::Codec;
use switchyard_rtp::{ExtensionMap, Header, ParsedExtensions};

use crate::counted::{Drop, Happening};
use crate::downlink::Waiting;
use crate::forwarder::{Forwarder, schedule};
use crate::layers::{FrameInfo, Source};
use crate::peer::Peer;
use crate::sender::Packet;
use crate::track::Subscriber;
use crate::{Event, TrunkPacket, Wire};

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

    /// Sends what the batch brought to everyone who gets it: by track, by subscriber, so that what goes to one destination leaves as a run.
    pub(super) fn fan_out(&mut self, now: Instant, bytes: &[u8], wire: &mut impl Wire) {
        while let Some(index) = self.touched.pop() {
            if std::mem::take(&mut self.tracks[index].changed) {
                self.aim_all(index);
            }
            let track = &mut self.tracks[index];
            for encoding in &track.encodings {
                level(&mut self.ready, &encoding.batch);
            }
            for (place, subscriber) in track.subscribers.iter().enumerate() {
                fetch_next(&self.peers, &track.subscribers[place + 1..], wire);
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
                    self.keyframes.push((index, encoding));
                    schedule(&mut self.next_tick, now);
                }
            }
            for encoding in &mut track.encodings {
                encoding.batch.clear();
            }
        }
        self.ready.clear();
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
