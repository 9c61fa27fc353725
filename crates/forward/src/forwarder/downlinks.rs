//! The lines to subscribers: what they report, what waits for them, and who gets what of them.

use std::time::{Duration, Instant};

use switchyard_bandwidth::{Demand, Grant, Layer as Rank, Outcome, Release, Rung, Source as Shown, allocate};
use switchyard_rtp::rtcp::TransportFeedback;
use switchyard_rtp::{Header, MediaKind};

use crate::counted::{Drop, Happening};
use crate::downlink::{Share, Told, Waiting};
use crate::encoding::{Encoding, SPATIAL, TEMPORAL};
use crate::forwarder::{Forwarder, packet_of, schedule};
use crate::layers::{FrameInfo, Layer, Source, Target};
use crate::peer::Route;
use crate::track::{Standing, Subscriber, Track};
use crate::{Event, Wire};

/// Between two allocations for one subscriber, unless what it wants changes: two or three rounds of feedback.
const ALLOCATION: Duration = Duration::from_millis(200);
/// Between two times that another size is told while all else stays: nobody reads faster.
const RESIZED: Duration = Duration::from_secs(1);
/// What has to wait longer than this for its turn is dropped: a picture that much later than its sound disturbs more than a gap.
const LATE: Duration = Duration::from_millis(400);
/// A larger encoding has to fit in so many allocations one after the other: going over to it takes a keyframe, which Chromium makes of all its encodings, for
/// everybody. Where all that is wanted fits, it is sent at once.
const RISES: u8 = 6;
/// Bits a second that are left for a voice, headers included, also while nobody speaks.
const VOICE: u64 = 50_000;
/// Headers of UDP and IP, and what is added to RTP, in bits, 50 times a second; while there is any sound.
const SOUND_HEADERS: u64 = 20_000;
/// So many sounds count: that more people speak at once is rare, and short.
const VOICES: usize = 3;
/// What the estimate has to be above what everything takes for all of it to be sent, in percent.
const SPARE: u64 = 120;
/// Headers of UDP and IP, and the tag of SRTP, above what is measured of a picture, in percent.
const HEADERS: u64 = 105;

/// Peers with something that waits, and when the first of it may leave.
#[derive(Debug, Default)]
pub(super) struct Paced {
    peers: Vec<usize>,
    pub(super) due: Option<Instant>,
}

impl Paced {
    pub(super) fn add(&mut self, peer: usize, listed: &mut bool, due: Instant) {
        if !std::mem::replace(listed, true) {
            self.peers.push(peer);
        }
        schedule(&mut self.due, due);
    }
}

impl Forwarder {
    /// What waits for a peer, or begins to, is not to be forgotten.
    pub(super) fn pace(&mut self, index: usize) {
        if let Some(downlink) = self.peers.get_mut(index).and_then(|peer| peer.downlink.as_deref_mut())
            && let Some(due) = downlink.poll_timeout()
        {
            self.paced.add(index, &mut downlink.listed, due);
        }
    }

    /// A subscriber reports when packets arrived.
    pub(super) fn handle_arrivals(&mut self, now: Instant, index: usize, feedback: &TransportFeedback<'_>, wire: &mut impl Wire) {
        let Some(downlink) = self.peers.get_mut(index).and_then(|peer| peer.downlink.as_deref_mut()) else { return };
        let is_first = !downlink.estimator.has_reports();
        let reported = downlink.estimator.handle_feedback(now, feedback.statuses());
        self.happenings.add(Happening::Arrived, reported.arrived);
        self.happenings.add(Happening::Missing, reported.missing);
        downlink.follow_estimate();
        if is_first {
            // Probes look for no more than is wanted.
            self.allocate(now, index, wire);
        }
        self.send_waiting(now, index, wire);
    }

    /// Sends what may leave by now, to everyone.
    pub(super) fn send_paced(&mut self, now: Instant, wire: &mut impl Wire) {
        if self.paced.due.is_none_or(|due| due > now) {
            return;
        }
        self.paced.due = None;
        for place in (0..self.paced.peers.len()).rev() {
            let index = self.paced.peers.swap_remove(place);
            if let Some(downlink) = self.peers.get_mut(index).and_then(|peer| peer.downlink.as_deref_mut()) {
                downlink.listed = false;
                self.send_waiting(now, index, wire);
            }
        }
    }

    /// Sends what may leave by now, to one peer.
    fn send_waiting(&mut self, now: Instant, index: usize, wire: &mut impl Wire) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        let Some(downlink) = peer.downlink.as_deref_mut() else { return };
        if peer.senders.iter().flatten().any(|sender| sender.has_padding())
            && let Some(probe) = downlink.estimator.poll_probe(now)
        {
            downlink.pacer.begin_probe(now, probe);
        }
        while let Some(release) =
            self.peers.get_mut(index).and_then(|peer| peer.downlink.as_deref_mut()).and_then(|downlink| downlink.pacer.poll(now))
        {
            let sent = match release {
                Release::Packet(Waiting::Media { sender, source, index: packet }) => {
                    self.send_kept(now, index, sender, source, packet, wire)
                }
                Release::Packet(Waiting::Again { ssrc, sequence, .. }) => self.send_again(now, index, ssrc, sequence, wire),
                Release::Padding(size) => self.send_padding(now, index, size, wire),
            };
            let Err(drop) = sent else { continue };
            self.drops.count(drop);
            if matches!(release, Release::Padding(_))
                && let Some(downlink) = self.peers.get_mut(index).and_then(|peer| peer.downlink.as_deref_mut())
            {
                downlink.pacer.end_probe();
            }
        }
        self.pace(index);
    }

    /// Sends a published packet that had to wait.
    fn send_kept(&mut self, now: Instant, index: usize, place: u16, source: Source, packet: u64, wire: &mut impl Wire) -> Result<(), Drop> {
        let peer = self.peers.get_mut(index).ok_or(Drop::NotRouted)?;
        let path = peer.agent.egress().ok_or(Drop::NoPath)?;
        let sealer = peer.sealer.as_mut().ok_or(Drop::NoKeys)?;
        let sender = peer.senders.get_mut(usize::from(place)).and_then(Option::as_mut).ok_or(Drop::NotRouted)?;
        let downlink = peer.downlink.as_deref_mut().ok_or(Drop::NotRouted)?;
        // Another track may have taken its place.
        if peer.routes.get(usize::from(place)).copied().flatten().is_none_or(|route| route.track != source.track) {
            return Err(Drop::NotRouted);
        }
        let encodings = self.track_keys.get(&source.track).map(|&track| &self.tracks[track].encodings).ok_or(Drop::NotRouted)?;
        let encoding = encodings.get(usize::from(source.encoding)).ok_or(Drop::Forgotten)?;
        let (history, map) = encoding.history.as_ref().zip(encoding.extensions).ok_or(Drop::Forgotten)?;
        let (codec, bytes) = history.get(packet).ok_or(Drop::Forgotten)?;
        let header = Header::parse(bytes).map_err(|_| Drop::Malformed)?;
        let extensions = map.parse(&header, bytes);
        let descriptor = extensions.dependency_descriptor.and_then(|at| at.of(bytes));
        let frame =
            FrameInfo::read(codec, bytes.get(header.payload(bytes.len())).unwrap_or_default(), descriptor, encoding.structure.as_deref());
        let packet = packet_of(bytes, &header, packet, codec, &frame, &extensions, 0);
        let room = self.egress.room(wire);
        let len = sender.forward(now, source, &packet, encodings, (sealer, Some(downlink.number())), room)?;
        downlink.sent(now, len);
        self.egress.commit(&path, len);
        if sender.report_due {
            self.reports.push((index, place));
        }
        Ok(())
    }

    /// Sends a packet that says nothing, to probe the line.
    fn send_padding(&mut self, now: Instant, index: usize, size: usize, wire: &mut impl Wire) -> Result<(), Drop> {
        let peer = self.peers.get_mut(index).ok_or(Drop::NotRouted)?;
        let path = peer.agent.egress().ok_or(Drop::NoPath)?;
        let sealer = peer.sealer.as_mut().ok_or(Drop::NoKeys)?;
        let sender = peer.senders.iter_mut().flatten().find(|sender| sender.has_padding()).ok_or(Drop::NoRtx)?;
        let downlink = peer.downlink.as_deref_mut().ok_or(Drop::NotRouted)?;
        let len = sender.padding(size, downlink.number(), sealer, self.egress.room(wire))?;
        downlink.sent(now, len);
        self.egress.commit(&path, len);
        self.happenings.count(Happening::Probed);
        Ok(())
    }

    /// Holds what every subscriber wants against what its line carries, where anything is known of that.
    pub(super) fn allocate_all(&mut self, now: Instant, wire: &mut impl Wire) {
        for index in 0..self.peers.capacity() {
            let downlink = self.peers.get_mut(index).and_then(|peer| peer.downlink.as_deref_mut());
            let Some(downlink) = downlink.filter(|downlink| downlink.estimator.has_reports()) else { continue };
            if downlink.allocated.is_none_or(|allocated| now.saturating_duration_since(allocated) >= ALLOCATION) {
                downlink.allocated = Some(now);
                if downlink.estimator.is_settled() {
                    self.estimates.add(downlink.estimator.estimate());
                }
                self.leave_out_what_is_late(index);
                self.allocate(now, index, wire);
                self.send_waiting(now, index, wire);
            }
        }
    }

    /// Where more waits than anybody wants to see so late, it is dropped, and pictures begin anew.
    fn leave_out_what_is_late(&mut self, index: usize) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        let Some(downlink) = peer.downlink.as_deref_mut().filter(|downlink| downlink.pacer.waiting().1 > LATE) else { return };
        for (place, sender) in (0u16..).zip(&mut peer.senders) {
            let before = downlink.pacer.waiting().0;
            downlink.forget(place);
            if let Some(sender) = sender.as_mut().filter(|_| downlink.pacer.waiting().0 < before) {
                sender.interrupt();
            }
        }
    }

    fn allocate(&mut self, now: Instant, index: usize, wire: &mut impl Wire) {
        let Some(peer) = self.peers.get(index) else { return };
        let mut ladders = Vec::with_capacity(peer.routes.len());
        let mut voices = 0;
        for (place, route) in peer.routes.iter().enumerate() {
            let Some(route) = route else { continue };
            let (Some(&track), Some(Some(sender))) = (self.track_keys.get(&route.track), peer.senders.get(place)) else { continue };
            if !self.tracks[track].enabled {
                continue;
            }
            let kind = sender.config.kind;
            if kind == MediaKind::Video && sender.is_undecodable() {
                continue;
            }
            if kind == MediaKind::Video {
                ladders.push((place, track, kind, Ladder::new(&self.tracks[track], route, sender.layer())));
            } else if voices < VOICES {
                ladders.push((place, track, kind, Ladder::sound(&self.tracks[track], voices == 0)));
                voices += 1;
            }
        }
        let demands: Vec<Demand<'_>> = ladders.iter().map(|(_, _, kind, ladder)| ladder.demand(*kind)).collect();
        let Some(downlink) = self.peers.get_mut(index).and_then(|peer| peer.downlink.as_deref_mut()) else { return };
        let mut grants: Vec<Grant> = Vec::with_capacity(demands.len());
        let estimate = if downlink.estimator.is_settled() { downlink.estimator.estimate() } else { u64::MAX / 200 };
        let all = allocate(estimate, &demands, &mut grants);
        bear_dips(downlink.lately(estimate), &demands, &mut grants);
        let come_down = |((_, track, _, ladder), grant): (&(usize, usize, MediaKind, Ladder), &mut Grant)| {
            ladder.come_down(now, &mut self.tracks[*track].encodings, grant)
        };
        let reaches: Vec<Option<u8>> = ladders.iter().zip(&mut grants).map(come_down).collect();
        for ((place, ..), (demand, grant)) in ladders.iter().zip(demands.iter().zip(&mut grants)) {
            if !rises(demand, grant) {
                downlink.rising(*place, false);
            } else if downlink.rising(*place, true) < RISES {
                stay(demand, grant);
            }
        }
        downlink.set_wanted(now, all * SPARE / 100);
        let pictures = ladders.iter().zip(grants.iter().zip(reaches)).filter(|((_, _, kind, _), _)| *kind == MediaKind::Video);
        for ((place, track, _, ladder), (grant, reach)) in pictures {
            self.set_reach(index, (*place, *track), reach);
            let share = match grant.outcome {
                Outcome::Paused => Share::Paused,
                Outcome::Reduced => grant.layer.map_or(Share::Paused, |rank| Share::Part(ladder.layer(rank))),
                Outcome::Full | Outcome::Hidden | Outcome::Absent => Share::All,
            };
            self.set_share(now, index, (*place, *track), share);
            let size = grant
                .layer
                .and_then(|rank| ladder.rungs.iter().find(|rung| rung.layer == rank))
                .map_or((0, 0), |rung| (rung.width, rung.height));
            self.tell_outcome(now, index, (*place, *track), grant.outcome, size, wire);
        }
    }

    fn set_reach(&mut self, index: usize, (place, track): (usize, usize), reach: Option<u8>) {
        let Some(Some(route)) = self.peers[index].routes.get_mut(place) else { return };
        self.tracks[track].stale |= std::mem::replace(&mut route.reach, reach) != reach;
    }

    fn set_share(&mut self, now: Instant, index: usize, (place, track): (usize, usize), share: Share) {
        let Some(Some(route)) = self.peers[index].routes.get_mut(place) else { return };
        if std::mem::replace(&mut route.share, share) != share {
            self.aim(track, Subscriber { peer: index, sender: place as u16 });
            self.request_needed_keyframes(now, track);
        }
    }

    /// Tells the control plane what the line leaves of a subscription, if that is new.
    fn tell_outcome(
        &mut self,
        now: Instant,
        index: usize,
        (place, track): (usize, usize),
        outcome: Outcome,
        size: (u16, u16),
        wire: &mut impl Wire,
    ) {
        let track = self.tracks[track].key;
        let peer = &mut self.peers[index];
        let Some(downlink) = peer.downlink.as_deref_mut() else { return };
        if downlink.told.len() <= place {
            downlink.told.resize(place + 1, None);
        }
        let told = &mut downlink.told[place];
        let before = told.filter(|told| told.track == track);
        let is_known = match before {
            // All of it, or not measured yet: that is what holds until something is said.
            None => matches!(outcome, Outcome::Full | Outcome::Absent),
            Some(told) if told.outcome == outcome => told.size == size || now.saturating_duration_since(told.at) < RESIZED,
            Some(_) => false,
        };
        if !is_known {
            if outcome == Outcome::Paused {
                self.happenings.count(Happening::PicturePaused);
            }
            *told = Some(Told { at: now, track, outcome, size });
            wire.event(Event::Allocated { peer: peer.key, track, outcome, size });
        }
    }
}

/// Pictures that are sent go on, as small as can be, for as long as the line carried them lately: an estimate dips, and a picture that stands still for a
/// moment disturbs more than one that comes a little late.
fn bear_dips(lately: u64, demands: &[Demand<'_>], grants: &mut [Grant]) {
    let mut left = lately.saturating_sub(grants.iter().map(|grant| grant.bitrate).sum());
    for (demand, grant) in demands.iter().zip(grants).filter(|(demand, grant)| grant.outcome == Outcome::Paused && demand.current.is_some())
    {
        if let Some(least) = demand.rungs.iter().min_by_key(|rung| rung.layer).filter(|least| least.bitrate <= left) {
            left -= least.bitrate;
            *grant = Grant { layer: Some(least.layer), bitrate: least.bitrate, outcome: Outcome::Reduced };
        }
    }
}

/// Whether a larger encoding or a higher spatial layer is granted than is sent, on a line that does not carry everything.
fn rises(demand: &Demand<'_>, grant: &Grant) -> bool {
    let both = demand.current.zip(grant.layer);
    grant.outcome == Outcome::Reduced && both.is_some_and(|(current, layer)| layer.spatial > current.spatial)
}

/// The best of the encoding and layer that is sent, in place of a larger one.
fn stay(demand: &Demand<'_>, grant: &mut Grant) {
    let same = |rung: &&Rung| demand.current.map(|current| current.spatial) == Some(rung.layer.spatial) && rung.bitrate <= grant.bitrate;
    if let Some(rung) = demand.rungs.iter().filter(same).max_by_key(|rung| rung.layer) {
        (grant.layer, grant.bitrate) = (Some(rung.layer), rung.bitrate);
    }
}

/// What there is of a track to choose from, smallest first.
struct Ladder {
    rungs: Vec<Rung>,
    /// The encodings by their size.
    order: Vec<u8>,
    /// A bit for each encoding that has stopped: of those the rungs say what they would take.
    stopped: u8,
    wanted: (u16, u16),
    current: Option<Rank>,
    standing: Standing,
    pinned: bool,
}

impl Ladder {
    /// A sound is all or nothing; the first of them is taken for a voice.
    fn sound(track: &Track, first: bool) -> Self {
        let measured = match track.encodings[0].rates.up_to(u8::MAX, u8::MAX) {
            0 => 0,
            bits => bits + SOUND_HEADERS,
        };
        let bitrate = measured.max(if first { VOICE } else { 1 });
        let rung = Rung { layer: Rank { spatial: 0, temporal: 0 }, bitrate, width: 0, height: 0, rate: 0 };
        Self { rungs: vec![rung], order: vec![0], stopped: 0, wanted: (0, 0), current: None, standing: track.standing, pinned: false }
    }

    fn new(track: &Track, route: &Route, current: Option<Layer>) -> Self {
        let target = route.target;
        let is_live = |encoding: u8| track.encodings[usize::from(encoding)].is_live();
        let mut order: Vec<u8> = (0..track.count).filter(|&encoding| track.encodings[usize::from(encoding)].rates().is_some()).collect();
        let stopped = order.iter().filter(|&&encoding| !is_live(encoding)).fold(0, |mask, encoding| mask | 1 << encoding);
        order.sort_by_key(|&encoding| (u32::from(track.size(encoding).0) * u32::from(track.size(encoding).1), encoding));
        let mut rungs = Vec::with_capacity(order.len() * TEMPORAL);
        for (rank, &encoding) in (0u8..).zip(&order) {
            let Some(rates) = track.encodings[usize::from(encoding)].rates() else { continue };
            let (width, height) = track.size(encoding);
            let layers = rates.layers();
            for (spatial, temporal) in layers.iter().copied() {
                let above = |axis: fn(&(u8, u8)) -> u8, of: u8| layers.iter().map(axis).max().unwrap_or(of) - of;
                let below = above(|layer| layer.0, spatial);
                rungs.push(Rung {
                    layer: Rank { spatial: rank * SPATIAL as u8 + spatial, temporal },
                    bitrate: rates.up_to(spatial, temporal) * HEADERS / 100,
                    width: width >> below,
                    height: height >> below,
                    rate: 30 >> above(|layer| layer.1, temporal),
                });
            }
        }
        let wanted = match target {
            Target::Nothing => (0, 0),
            // As with the target: what is an eighth too small is large enough, and one way is enough.
            Target::Covering { width, height } => {
                let eighth = |pixels: u16| (u32::from(pixels) * 8).div_ceil(9) as u16;
                let (width, height) = (eighth(width), eighth(height));
                let covers = |rung: &&Rung| rung.width >= width || rung.height >= height;
                rungs.iter().filter(covers).map(|rung| (rung.width, rung.height)).min().unwrap_or((u16::MAX, u16::MAX))
            }
            Target::Largest | Target::Layer(_) => (u16::MAX, u16::MAX),
        };
        if let Target::Layer(most) = target {
            let most = order.iter().position(|&encoding| encoding == most.encoding).map(|rank| (rank as u8, most.spatial, most.temporal));
            rungs.retain(|rung| {
                let at = (rung.layer.spatial / SPATIAL as u8, rung.layer.spatial % SPATIAL as u8, rung.layer.temporal);
                most.is_none_or(|most| at.0 < most.0 || (at.0 == most.0 && at.1 <= most.1 && at.2 <= most.2))
            });
        }
        let rank = |layer: Layer| {
            let rank = order.iter().position(|&encoding| encoding == layer.encoding)? as u8;
            let top = track.encodings[usize::from(layer.encoding)].rates()?.top();
            Some(Rank { spatial: rank * SPATIAL as u8 + layer.spatial.min(top), temporal: layer.temporal })
        };
        let current = current.filter(|layer| is_live(layer.encoding)).and_then(rank);
        Self { current, rungs, order, stopped, wanted, standing: track.standing, pinned: route.pinned }
    }

    fn encoding(&self, rank: Rank) -> u8 {
        self.order.get(usize::from(rank.spatial) / SPATIAL).copied().unwrap_or(0)
    }

    /// In place of an encoding that has stopped grants what there is below it; the publisher is asked for it if it may be by now. Returns the largest encoding that
    /// the line carries, if it does not carry all that is wanted.
    fn come_down(&self, now: Instant, encodings: &mut [Encoding], grant: &mut Grant) -> Option<u8> {
        let is_limited = matches!(grant.outcome, Outcome::Reduced | Outcome::Paused);
        let smallest = self.order.first().copied();
        let Some(granted) = grant.layer else { return smallest.filter(|_| is_limited) };
        let has_stopped = |rank: Rank| self.stopped >> self.encoding(rank) & 1 == 1;
        if !has_stopped(granted) {
            return is_limited.then(|| self.encoding(granted));
        }
        let there = self.rungs.iter().filter(|rung| rung.layer < granted && !has_stopped(rung.layer)).max_by_key(|rung| rung.layer);
        (grant.layer, grant.bitrate) = there.map_or((None, 0), |rung| (Some(rung.layer), rung.bitrate));
        if encodings[usize::from(self.encoding(granted))].comeback.ask(now) {
            is_limited.then(|| self.encoding(granted))
        } else {
            grant.layer.map(|rank| self.encoding(rank)).or(smallest)
        }
    }

    fn demand(&self, kind: MediaKind) -> Demand<'_> {
        let source = match (kind, self.standing) {
            (MediaKind::Audio, _) => Shown::Audio,
            (MediaKind::Video, Standing::Screen) => Shown::Screen,
            (MediaKind::Video, _) => Shown::Camera,
        };
        let speaker = self.standing == Standing::Speaker;
        Demand { source, speaker, priority: u8::from(self.pinned), wanted: self.wanted, current: self.current, rungs: &self.rungs }
    }

    /// What a rung stands for.
    fn layer(&self, rank: Rank) -> Layer {
        let encoding = self.encoding(rank);
        let same = |rung: &&Rung| usize::from(rung.layer.spatial) / SPATIAL == usize::from(rank.spatial) / SPATIAL;
        let top = |axis: fn(&Rung) -> u8, of: u8| if self.rungs.iter().filter(same).map(axis).max() == Some(of) { 7 } else { of };
        let spatial = top(|rung| rung.layer.spatial, rank.spatial);
        Layer {
            encoding,
            spatial: if spatial == 7 { 7 } else { spatial % SPATIAL as u8 },
            temporal: top(|rung| rung.layer.temporal, rank.temporal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_goes_on_through_a_dip_as_far_as_the_line_carried_it() {
        let at = |spatial, temporal, bitrate| Rung { layer: Rank { spatial, temporal }, bitrate, width: 320, height: 180, rate: 30 };
        let rungs = [at(0, 2, 150_000), at(0, 0, 60_000), at(0, 1, 90_000)];
        let current = Some(Rank { spatial: 0, temporal: 2 });
        let demand = Demand { source: Shown::Camera, speaker: false, priority: 0, wanted: (320, 180), current, rungs: &rungs };
        let fresh = Demand { current: None, ..demand };
        let paused = Grant { layer: None, bitrate: 0, outcome: Outcome::Paused };
        let full = Grant { layer: current, bitrate: 150_000, outcome: Outcome::Full };
        for (lately, demands, before, after) in [
            (60_000, vec![demand], vec![paused], vec![60_000]),
            (59_999, vec![demand], vec![paused], vec![0]),
            (300_000, vec![fresh], vec![paused], vec![0]),
            (120_000, vec![demand; 3], vec![paused; 3], vec![60_000, 60_000, 0]),
            (209_999, vec![demand; 2], vec![full, paused], vec![150_000, 0]),
            (210_000, vec![demand; 2], vec![full, paused], vec![150_000, 60_000]),
        ] {
            let mut grants = before.clone();
            bear_dips(lately, &demands, &mut grants);
            assert_eq!(grants.iter().map(|grant| grant.bitrate).collect::<Vec<_>>(), after, "{lately}, {before:?}");
        }
    }

    #[test]
    fn instead_of_a_larger_encoding_the_best_of_the_one_that_is_sent() {
        let rung = |spatial, temporal, bitrate| Rung { layer: Rank { spatial, temporal }, bitrate, width: 320, height: 180, rate: 30 };
        let rungs = [rung(0, 0, 60), rung(0, 1, 80), rung(0, 2, 100), rung(3, 0, 90), rung(3, 1, 120)];
        let wanted = (640, 360);
        let sent = |current| Demand { source: Shown::Camera, speaker: false, priority: 0, wanted, current, rungs: &rungs };
        let grant = |rung: &Rung, outcome| Grant { layer: Some(rung.layer), bitrate: rung.bitrate, outcome };
        let small = sent(Some(rungs[1].layer));
        let mut granted = grant(&rungs[3], Outcome::Reduced);
        assert!(rises(&small, &granted));
        stay(&small, &mut granted);
        assert_eq!(granted, grant(&rungs[1], Outcome::Reduced), "no more than fits");
        let mut granted = grant(&rungs[4], Outcome::Reduced);
        stay(&small, &mut granted);
        assert_eq!(granted, grant(&rungs[2], Outcome::Reduced));
        assert!(!rises(&small, &grant(&rungs[2], Outcome::Reduced)), "the same encoding");
        assert!(!rises(&small, &grant(&rungs[4], Outcome::Full)), "the line carries everything");
        assert!(!rises(&sent(Some(rungs[4].layer)), &grant(&rungs[0], Outcome::Reduced)), "down");
        assert!(!rises(&sent(None), &grant(&rungs[3], Outcome::Reduced)), "nothing is sent yet");
    }
}
