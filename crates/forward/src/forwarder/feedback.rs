//! RTCP on both legs: what participants report and ask for, and what they are sent because time has passed.

use std::time::{Duration, Instant};

use switchyard_rtp::rtcp::{Packet, Packets};
use switchyard_rtp::{Header, MediaKind};

use crate::agent::CONSENT;
use crate::clock::TrackClock;
use crate::counted::{Drop, Happening};
use crate::downlink::Waiting;
use crate::egress::MAX_DATAGRAM;
use crate::encoding::Encoding;
use crate::forwarder::{Forwarder, packet_of};
use crate::layers::FrameInfo;
use crate::peer::REPORT_INTERVAL;
use crate::silence::Change;
use crate::track::{Home, Subscriber, Wanted};
use crate::{Event, Remote, Wire};

/// Between two looks at every peer: reports, expired paths.
pub(super) const SCAN: Duration = Duration::from_millis(100);
/// Between two looks at what is missing or awaited.
const TICK: Duration = Duration::from_millis(10);
/// Retransmissions that one RTCP packet may ask for: what a compound of 1,200 bytes with 17 per entry can't exceed usefully.
const MAX_RESENT: usize = 128;
/// What was captured so long before the latest, in units of 90 kHz, is not sent again: two seconds. After an interruption browsers ask for all that they missed, and
/// would get to see it, late, in place of what is new.
const OLDEST_RESENT: i32 = 180_000;

impl Forwarder {
    pub(super) fn handle_rtcp(&mut self, now: Instant, index: usize, bytes: &mut [u8], wire: &mut impl Wire) -> Result<(), Drop> {
        let arrived = self.clock.ntp(now);
        let len = self.peers.get_mut(index).ok_or(Drop::UnknownAddress)?.open_rtcp(bytes)?;
        for packet in Packets::parse(&bytes[..len]) {
            match packet.map_err(|_| Drop::Malformed)? {
                Packet::SenderReport(report) => {
                    let peer = &mut self.peers[index];
                    for block in report.reports() {
                        peer.handle_report_block(now, arrived, &block);
                    }
                    let clock = peer.handle_sender_report(now, arrived, report.ssrc, report.ntp, report.rtp);
                    if let Some((key, encoding, clock)) = clock
                        && let Some(&track) = self.track_keys.get(&key)
                    {
                        self.set_clock(now, track, encoding, clock, wire);
                    }
                }
                Packet::ReceiverReport(report) => {
                    for block in report.reports() {
                        self.peers[index].handle_report_block(now, arrived, &block);
                    }
                }
                Packet::Nack(nack) => {
                    for sequence in nack.sequences().take(MAX_RESENT) {
                        self.happenings.count(Happening::NackReceived);
                        match self.resend(now, index, nack.media, sequence, wire) {
                            // The server had it, so it was lost after that.
                            Ok(()) => self.peers[index].note_loss(now),
                            Err(drop) => self.drops.count(drop),
                        }
                    }
                }
                Packet::PictureLossIndication { media, .. } => self.handle_keyframe_request(now, index, media),
                Packet::FullIntraRequest(request) => {
                    for (ssrc, _) in request.entries() {
                        self.handle_keyframe_request(now, index, ssrc);
                    }
                }
                Packet::TransportFeedback(feedback) => self.handle_arrivals(now, index, &feedback, wire),
                Packet::Remb(remb) => {
                    if let Some(downlink) = &mut self.peers[index].downlink {
                        downlink.estimator.handle_remb(remb.bitrate);
                        downlink.follow_estimate();
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn handle_keyframe_request(&mut self, now: Instant, index: usize, ssrc: u32) {
        self.happenings.count(Happening::KeyframeRequestReceived);
        let peer = &self.peers[index];
        let Some(place) = peer.sender_by_ssrc(ssrc).map(usize::from) else { return };
        let route = peer.routes.get(place).copied().flatten();
        let sender = peer.senders.get(place).and_then(Option::as_ref);
        let encoding = sender.and_then(|sender| sender.layer().map(|layer| layer.encoding).or(sender.needs_keyframe()));
        if let (Some(&track), Some(encoding)) = (route.and_then(|route| self.track_keys.get(&route.track)), encoding) {
            self.request_keyframe(now, track, encoding);
        }
    }

    /// Sends a packet again: by RTX, or the stored ciphertext.
    fn resend(&mut self, now: Instant, index: usize, ssrc: u32, sequence: u16, wire: &mut impl Wire) -> Result<(), Drop> {
        let peer = &mut self.peers[index];
        let round_trip = peer.round_trip;
        let place = peer.sender_by_ssrc(ssrc).ok_or(Drop::NotRouted)?;
        let sender = peer.senders.get_mut(usize::from(place)).and_then(Option::as_mut).ok_or(Drop::NotRouted)?;
        sender.note_asked();
        let (source, original, _) = sender.source(sequence).ok_or(Drop::Forgotten)?;
        let kind = sender.config.kind;
        let downlink = peer.downlink.as_deref_mut().and_then(|downlink| (!downlink.is_open(now, kind)).then_some(downlink));
        // Who asks again meanwhile asks for what waits.
        let wait = downlink.as_ref().map_or(Duration::ZERO, |downlink| downlink.pacer.next_again());
        if !sender.may_resend(now, wait, sequence, round_trip) {
            return Err(Drop::ResentJustNow);
        }
        if let Some(downlink) = downlink {
            let encoding = |&track: &usize| self.tracks[track].encodings.get(usize::from(source.encoding));
            let history = self.track_keys.get(&source.track).and_then(encoding).and_then(|encoding| encoding.history.as_ref());
            let size = history.and_then(|history| history.get(original)).map_or(MAX_DATAGRAM, |(_, packet)| packet.len());
            downlink.wait(size, Waiting::Again { sender: place, ssrc, sequence }).map_err(|_| Drop::LineFull)?;
            self.pace(index);
            return Ok(());
        }
        self.send_again(now, index, ssrc, sequence, wire)
    }

    /// As [`Forwarder::resend`], now that it is its turn.
    pub(super) fn send_again(&mut self, now: Instant, index: usize, ssrc: u32, sequence: u16, wire: &mut impl Wire) -> Result<(), Drop> {
        let peer = &mut self.peers[index];
        let path = peer.agent.egress().ok_or(Drop::NoPath)?;
        let place = peer.sender_by_ssrc(ssrc).ok_or(Drop::NotRouted)?;
        let sealer = peer.sealer.as_mut().ok_or(Drop::NoKeys)?;
        let sender = peer.senders.get_mut(usize::from(place)).and_then(Option::as_mut).ok_or(Drop::NotRouted)?;
        let (source, original, placed) = sender.source(sequence).ok_or(Drop::Forgotten)?;
        if let Some(ciphertext) = sender.ciphertext(sequence) {
            self.egress.datagram(&path, ciphertext, wire);
            if let Some(downlink) = peer.downlink.as_deref_mut() {
                downlink.pacer.sent(now, ciphertext.len());
            }
            self.happenings.count(Happening::Resent);
            return Ok(());
        }
        let encodings = self.track_keys.get(&source.track).map(|&track| &self.tracks[track].encodings).ok_or(Drop::Forgotten)?;
        let encoding = encodings.get(usize::from(source.encoding)).ok_or(Drop::Forgotten)?;
        let (history, map) = encoding.history.as_ref().zip(encoding.extensions).ok_or(Drop::Forgotten)?;
        let (codec, bytes) = history.get(original).ok_or(Drop::Forgotten)?;
        let header = Header::parse(bytes).map_err(|_| Drop::Malformed)?;
        let latest = history.latest().and_then(|latest| Header::parse(latest).ok()).map_or(header.timestamp, |latest| latest.timestamp);
        if latest.wrapping_sub(header.timestamp).cast_signed() > OLDEST_RESENT {
            return Err(Drop::TooOld);
        }
        let extensions = map.parse(&header, bytes);
        let descriptor = extensions.dependency_descriptor.and_then(|at| at.of(bytes));
        let frame =
            FrameInfo::read(codec, bytes.get(header.payload(bytes.len())).unwrap_or_default(), descriptor, encoding.structure.as_deref());
        let packet = packet_of(bytes, &header, original, codec, &frame, &extensions, 0);
        let mut downlink = peer.downlink.as_deref_mut().filter(|_| sender.is_measured());
        let number = downlink.as_ref().map(|downlink| downlink.number());
        let len = sender.retransmit(&placed, &packet, number, sealer, self.egress.room(wire))?;
        if let Some(downlink) = &mut downlink {
            downlink.sent(now, len);
        }
        self.egress.commit(&path, len);
        self.happenings.count(Happening::Resent);
        Ok(())
    }

    /// The clock of a track's encoding is known, or known better: subscribers who have had no report yet get one at once.
    pub(super) fn set_clock(&mut self, now: Instant, index: usize, encoding: u8, clock: TrackClock, wire: &mut impl Wire) {
        let track = &mut self.tracks[index];
        let Some(place) = track.encodings.get_mut(usize::from(encoding)) else { return };
        let is_first = place.clock.replace(clock).is_none();
        for crossing in &track.trunks {
            wire.tell(crossing.to, Remote::Clock { track: track.key, encoding, ntp: clock.ntp, rtp: clock.rtp });
        }
        if is_first {
            self.reports.extend(track.subscribers.iter().map(|subscriber| (subscriber.peer, subscriber.sender)));
            self.send_due_reports(now, wire);
        }
    }

    /// Sends the sender reports that are owed at once: to who was just switched to a track.
    pub(super) fn send_due_reports(&mut self, now: Instant, wire: &mut impl Wire) {
        while let Some((index, place)) = self.reports.pop() {
            self.send_sender_report(now, index, place, wire);
        }
    }

    fn send_sender_report(&mut self, now: Instant, index: usize, place: u16, wire: &mut impl Wire) {
        let clock = self.clock;
        let Some(peer) = self.peers.get_mut(index) else { return };
        let route = peer.routes.get(usize::from(place)).copied().flatten();
        let Some(track) = route.and_then(|route| self.track_keys.get(&route.track)).map(|&track| &self.tracks[track]) else { return };
        let layer = peer.sender_mut(place).and_then(|sender| sender.layer());
        let encoding = layer.and_then(|layer| track.encodings.get(usize::from(layer.encoding)));
        let Some(track_clock) = encoding.and_then(|encoding| encoding.clock) else { return };
        let sent = peer.send_rtcp(&mut self.egress, wire, |peer, writer| {
            peer.write_sender_report(now, &clock, place, &track_clock, writer);
            let ssrc = peer.sender_mut(place).map_or(0, |sender| sender.config.ssrc);
            let _ = writer.source_description(ssrc, &cname(place));
        });
        if let Err(drop) = sent {
            self.drops.count(drop);
        }
    }

    /// Does what is due: expired paths, reports, feedback, retransmission requests; keyframe requests last, which the others may bring about.
    pub fn handle_timeout(&mut self, now: Instant, wire: &mut impl Wire) {
        if self.next_scan.is_some_and(|scan| scan <= now) {
            let late = self.next_scan.take().map_or(Duration::ZERO, |scan| now.saturating_duration_since(scan));
            self.scan(now, late, wire);
            if !self.peers.is_empty() {
                self.schedule_scan(now);
            }
        }
        if self.next_tick.is_some_and(|tick| tick <= now) {
            self.next_tick = None;
            self.report_arrivals(now, wire);
            self.request_missing(now, wire);
            let again = self.ask_for_keyframes(now, wire);
            if !(self.arrivals.is_empty() && self.holes.is_empty()) {
                self.schedule_tick(now, TICK);
            }
            if let Some(again) = again {
                self.schedule_tick(now, again.saturating_duration_since(now).max(TICK));
            }
        }
        self.send_paced(now, wire);
        self.send_due_reports(now, wire);
        self.egress.flush(wire);
    }

    /// Transport-wide feedback to publishers.
    fn report_arrivals(&mut self, now: Instant, wire: &mut impl Wire) {
        let since_epoch = now.saturating_duration_since(self.config.epoch);
        let (peers, egress, drops) = (&mut self.peers, &mut self.egress, &mut self.drops);
        self.arrivals.retain(|&index| {
            let Some(peer) = peers.get_mut(index) else { return false };
            if !peer.arrivals.is_due(now) {
                return peer.arrivals.is_pending();
            }
            let sent = peer.send_rtcp(egress, wire, |peer, writer| peer.write_arrivals(now, since_epoch, writer));
            if let Err(drop) = sent {
                drops.count(drop);
                return false;
            }
            peer.arrivals.is_pending()
        });
    }

    /// Retransmission requests to publishers.
    fn request_missing(&mut self, now: Instant, wire: &mut impl Wire) {
        let (peers, egress, nack, happenings) = (&mut self.peers, &mut self.egress, &mut self.nack, &mut self.happenings);
        self.holes.retain(|&index| {
            let Some(peer) = peers.get_mut(index) else { return false };
            let (round_trip, reporter) = (peer.round_trip, peer.reporter());
            for place in 0..peer.receivers.len() {
                for encoding in 0..peer.receivers[place].encodings.len() {
                    let incoming = &mut peer.receivers[place].encodings[encoding];
                    nack.clear();
                    incoming.reception.poll_nack(now, round_trip, nack);
                    if let (Some(ssrc), false) = (incoming.media_ssrc, nack.is_empty()) {
                        happenings.add(Happening::NackSent, nack.len());
                        let _ = peer.send_rtcp(egress, wire, |_, writer| {
                            let _ = writer.nack(reporter, ssrc, nack.iter().copied());
                        });
                    }
                }
            }
            peer.receivers.iter().any(|receiver| receiver.is_missing())
        });
    }

    /// Keyframe requests to publishers, merged over all who wait. When to look again, if anybody still does.
    fn ask_for_keyframes(&mut self, now: Instant, wire: &mut impl Wire) -> Option<Instant> {
        let mut waiting = std::mem::take(&mut self.keyframes);
        let mut next: Option<Instant> = None;
        waiting.retain(|&(index, encoding)| {
            let again = self.ask_for_keyframe(now, index, encoding, wire);
            next = next.into_iter().chain(again).min();
            again.is_some()
        });
        self.keyframes = waiting;
        next
    }

    /// When to look again, if somebody still waits for a keyframe of a track's encoding.
    fn ask_for_keyframe(&mut self, now: Instant, index: usize, encoding: u8, wire: &mut impl Wire) -> Option<Instant> {
        let track = self.tracks.get_mut(index).filter(|track| track.enabled)?;
        if let Home::Local { peer } = track.home
            && self.peers.get(peer).is_some_and(|peer| peer.pulse.is_silent(now))
        {
            // It would not hear the request, which is made as soon as it is heard.
            return Some(now);
        }
        let Encoding { keyframes, .. } = track.encodings.get_mut(usize::from(encoding))?;
        let again = keyframes.is_asked();
        let is_due = keyframes.poll(now);
        let due = keyframes.due();
        if !is_due {
            return due;
        }
        // Who waited may be sent another by now, and this one be stopped: asked for a keyframe of it, browsers make one of each that they send, every time.
        if again && self.in_use(index) >> encoding & 1 == 0 {
            self.tracks[index].encodings[usize::from(encoding)].keyframes.withdraw();
            return None;
        }
        let track = &self.tracks[index];
        match track.home {
            Home::Remote(worker) => wire.tell(worker, Remote::RequestKeyframe { track: track.key, encoding }),
            Home::Local { peer } => {
                let peer = self.peers.get_mut(peer)?;
                let reporter = peer.reporter();
                let ssrc = peer.receiver_of(track.key).and_then(|receiver| receiver.request_ssrc(encoding));
                if let Some(ssrc) = ssrc {
                    self.happenings.count(Happening::KeyframeRequestSent);
                    let _ = peer.send_rtcp(&mut self.egress, wire, |_, writer| {
                        let _ = writer.picture_loss_indication(reporter, ssrc);
                    });
                }
            }
        }
        due
    }

    /// Looks at every peer: gaps, silence, expired paths, reports. `late`: how long ago it should have looked.
    fn scan(&mut self, now: Instant, late: Duration, wire: &mut impl Wire) {
        for index in 0..self.peers.capacity() {
            let Some(peer) = self.peers.get_mut(index) else { continue };
            match peer.silence.look(now, peer.heard()) {
                Some(Change::Silent) => wire.event(Event::Silent { peer: peer.key }),
                Some(Change::Heard) => {
                    wire.event(Event::Heard { peer: peer.key });
                    let (grade, figures) = peer.quality.told();
                    wire.event(Event::Quality { peer: peer.key, grade, figures });
                }
                None => {}
            }
            peer.pulse.excuse(late);
            if peer.pulse.look(now, peer.heard()) {
                wire.event(Event::Recovered { peer: peer.key });
                self.refresh(now, index);
            }
            let Some(peer) = self.peers.get_mut(index) else { continue };
            let gone = peer.agent.expire(now);
            if peer.was_heard && !peer.agent.has_egress() {
                peer.was_heard = false;
                wire.event(Event::Expired { peer: peer.key });
            }
            for address in gone {
                self.disown(index, address, wire);
            }
            let Some(peer) = self.peers.get_mut(index) else { continue };
            let report_at = *peer.report_at.get_or_insert(now + REPORT_INTERVAL);
            if report_at > now {
                continue;
            }
            peer.report_at = Some(now + REPORT_INTERVAL);
            let pictures = peer.pictures();
            if let Some((grade, figures)) = peer.quality.look(peer.round_trip, pictures) {
                wire.event(Event::Quality { peer: peer.key, grade, figures });
            }
            if !peer.has_keys() || !peer.agent.has_egress() {
                continue;
            }
            let _ = peer.send_rtcp(&mut self.egress, wire, |peer, writer| {
                peer.write_receiver_report(now, writer);
                if !writer.is_empty() {
                    let _ = writer.source_description(peer.reporter(), &cname(0));
                }
            });
            for place in 0..self.peers[index].senders.len() {
                self.send_sender_report(now, index, place as u16, wire);
            }
        }
        for (index, track) in &mut self.tracks {
            if track.voice.as_mut().is_some_and(|voice| voice.look(now)) {
                self.voices.push(index);
            }
        }
        self.tell_voices(wire);
        self.look_at_tracks(now, wire);
        self.allocate_all(now, wire);
        debug_assert!(SCAN < CONSENT);
    }
}

impl Forwarder {
    /// Looks at every video track: which encodings come, and which of them anyone wants.
    fn look_at_tracks(&mut self, now: Instant, wire: &mut impl Wire) {
        for index in 0..self.tracks.capacity() {
            let Some(track) = self.tracks.get_mut(index).filter(|track| track.kind == MediaKind::Video) else { continue };
            track.look(now);
            if std::mem::take(&mut track.changed) {
                self.aim_all(index);
                self.request_needed_keyframes(now, index);
            }
            if self.tracks[index].is_to_be_judged(now) {
                let wanted = self.wanted(index);
                self.tracks[index].judge(now, wanted);
            }
            let track = &mut self.tracks[index];
            match track.home {
                Home::Remote(worker) => {
                    if let Some(wanted) = track.tell_wanted() {
                        wire.tell(worker, Remote::Wanted { track: track.key, from: self.config.worker, wanted });
                    }
                }
                Home::Local { peer } => {
                    let Some(peer) = self.peers.get(peer) else { continue };
                    if let Some(most) = track.tell_limit(now) {
                        wire.event(Event::Limited { peer: peer.key, track: track.key, most });
                    }
                }
            }
        }
    }

    /// Which of a track's encodings are wanted, here and by other workers.
    fn wanted(&self, index: usize) -> Wanted {
        let track = &self.tracks[index];
        let route =
            |subscriber: &Subscriber| self.peers.get(subscriber.peer)?.routes.get(usize::from(subscriber.sender)).copied().flatten();
        let wished = track.subscribers.iter().filter_map(route).map(|route| {
            let shown = track.wish(route.target);
            Wanted { shown, carried: route.reach.map_or(shown, |reach| track.smaller(shown, 1 << reach)) }
        });
        let others = track.trunks.iter().map(|crossing| crossing.wanted);
        let wanted = wished.chain(others).fold(Wanted::default(), Wanted::union);
        Wanted { carried: wanted.carried | self.in_use(index), ..wanted }
    }
}

/// The canonical name of what a sender sends (RFC 3550 §6.5.1): its slot's, as in the `a=ssrc` lines.
fn cname(place: u16) -> String {
    format!("slot-{}", place / 2)
}

impl crate::peer::Receiver {
    /// Which SSRC to ask for a keyframe of an encoding: the one that sends, or the one announced.
    fn request_ssrc(&self, encoding: u8) -> Option<u32> {
        if self.config.kind != MediaKind::Video {
            return None;
        }
        let announced = || self.config.announced().find(|(place, ..)| *place == encoding).map(|(_, media, _)| media);
        self.encodings.get(usize::from(encoding))?.media_ssrc.or_else(announced)
    }
}
