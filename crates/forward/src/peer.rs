//! One participant's transport: paths, keys, what arrives on its sending m-lines, what leaves on its receiving ones.

use std::time::{Duration, Instant};

use switchyard_rtp::MediaKind;
use switchyard_rtp::codec::{Codec, Payload};
use switchyard_rtp::rtcp::{ReportBlock, RtcpWriter, SenderInfo};
use switchyard_rtp::rtp::{original_sequence, unpad};
use switchyard_rtp::srtp::{OpenError, Opener, Sealer, SrtpKeys};
use switchyard_rtp::{Extension, Header, ParsedExtensions};

use crate::agent::Agent;
use crate::clock::{Ntp, PublisherClock, TrackClock, WallClock, compact_duration};
use crate::counted::Drop;
use crate::downlink::{Downlink, Share};
use crate::egress::{Egress, MAX_DATAGRAM};
use crate::feedback::Arrivals;
use crate::layers::Target;
use crate::loss::{Arrival, Reception};
use crate::pulse::Pulse;
use crate::quality::Quality;
use crate::sender::Sender;
use crate::silence::Silence;
use crate::{Grade, IceCredentials, Outcome, PeerKey, ReceiverConfig, SenderConfig, Simulcast, TrackKey, Wire};

/// Between two reports on the same stream; browsers expect about one a second.
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// SRTP packets kept until the keys are there. The handshake's last flight overtakes media by one round trip at most: 64 packets are
/// 100 ms of 5 Mbit/s.
const MAX_EARLY: usize = 64;
/// SSRCs bound at once: every m-line's two, and what MID extensions bind besides.
const MAX_SSRCS: usize = 128;
/// A line counts as losing packets when a report says that it lost at least so many of 256 (2 %) …
const LOSSY: u8 = 5;
/// … and until none were lost for so long: repeated sound hides from reports most of what is lost.
const REPEATING: Duration = Duration::from_secs(30);
/// Report blocks in one packet, of 24 bytes each: six cameras of three encodings and some sound.
const MAX_BLOCKS: usize = 20;
/// The SSRC of what is sent without a media stream of one's own: libwebrtc uses the same for receive-only.
const REPORTER: u32 = 1;

/// What an SSRC of the participant's stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Binding {
    /// Of the m-line, and of the encoding on it.
    place: usize,
    encoding: u8,
    rtx: bool,
}

/// An m-line on which the participant sends.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) config: ReceiverConfig,
    pub(crate) track: Option<TrackKey>,
    /// At least one.
    pub(crate) encodings: Vec<Incoming>,
}

/// One encoding on such an m-line.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) reception: Reception,
    pub(crate) media_ssrc: Option<u32>,
    /// The publisher's time in the last sender report, and when it came.
    last_report: Option<(Ntp, Instant)>,
    /// Added to sequence numbers, so that they go on when the SSRC changes.
    base: u64,
}

/// What a sender is to carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) track: TrackKey,
    pub(crate) target: Target,
    /// Whether it comes before others of its standing.
    pub(crate) pinned: bool,
    /// What of the target the line carries.
    pub(crate) share: Share,
    /// The largest encoding that it would carry; `None`: whatever the target comes to.
    pub(crate) reach: Option<u8>,
}

/// A packet that may be forwarded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ingested {
    pub(crate) track: TrackKey,
    pub(crate) encoding: u8,
    /// Where the packet begins now: a retransmission is unwrapped in place.
    pub(crate) skip: usize,
    pub(crate) len: usize,
    pub(crate) header: Header,
    pub(crate) index: u64,
    pub(crate) codec: Codec,
    pub(crate) extensions: ParsedExtensions,
    /// Whether a new SSRC begins: nothing before it belongs to the same stream.
    pub(crate) restarted: bool,
}

/// One participant's transport.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) key: PeerKey,
    pub(crate) agent: Agent,
    opener: Option<Opener>,
    pub(crate) sealer: Option<Sealer>,
    pub(crate) receivers: Vec<Receiver>,
    bindings: Vec<(u32, Binding)>,
    /// Tracks by mid, also of m-lines not yet negotiated.
    pub(crate) published: Vec<(String, TrackKey)>,
    pub(crate) senders: Vec<Option<Sender>>,
    /// What [`crate::Command::SetSenders`] said before there were keys.
    waiting_senders: Option<Vec<Option<SenderConfig>>>,
    /// What each sender is to carry, also before it is negotiated.
    pub(crate) routes: Vec<Option<Route>>,
    early: Vec<(Instant, Vec<u8>)>,
    pub(crate) arrivals: Arrivals,
    clock: PublisherClock,
    pub(crate) round_trip: Option<Duration>,
    pub(crate) report_at: Option<Instant>,
    /// Whether its address is known to the other workers is the forwarder's; whether it ever had one is here.
    pub(crate) was_heard: bool,
    /// Authentic STUN requests and RTCP packets.
    pub(crate) controls: u64,
    pub(crate) silence: Silence,
    pub(crate) pulse: Pulse,
    pub(crate) quality: Quality,
    /// Until when the line is taken to lose packets on the way to the participant.
    pub(crate) lossy_until: Option<Instant>,
    /// The line to the participant, once what it is sent is numbered.
    pub(crate) downlink: Option<Box<Downlink>>,
}

impl Peer {
    pub(crate) fn new(key: PeerKey, ice: IceCredentials) -> Self {
        Self {
            key,
            agent: Agent::new(ice),
            opener: None,
            sealer: None,
            receivers: Vec::new(),
            bindings: Vec::new(),
            published: Vec::new(),
            senders: Vec::new(),
            waiting_senders: None,
            routes: Vec::new(),
            early: Vec::new(),
            arrivals: Arrivals::new(),
            clock: PublisherClock::default(),
            round_trip: None,
            report_at: None,
            was_heard: false,
            controls: 0,
            silence: Silence::default(),
            pulse: Pulse::new(),
            quality: Quality::default(),
            lossy_until: None,
            downlink: None,
        }
    }

    /// Takes the keys, once; returns what had arrived before them.
    pub(crate) fn set_keys(&mut self, keys: &SrtpKeys) -> Vec<(Instant, Vec<u8>)> {
        if self.sealer.is_some() {
            // A second sealer under the same keys could use an index twice.
            return Vec::new();
        }
        self.opener = Some(Opener::new(keys.profile, &keys.remote));
        self.sealer = Some(Sealer::new(keys.profile, &keys.local));
        if let Some(configs) = self.waiting_senders.take() {
            self.set_senders(configs);
        }
        std::mem::take(&mut self.early)
    }

    pub(crate) fn has_keys(&self) -> bool {
        self.sealer.is_some()
    }

    /// Keeps an SRTP packet that came before the keys.
    pub(crate) fn keep_early(&mut self, at: Instant, packet: &[u8]) -> Result<(), Drop> {
        if self.early.len() == MAX_EARLY || packet.len() > MAX_DATAGRAM {
            return Err(Drop::BeforeKeys);
        }
        self.early.push((at, packet.to_vec()));
        Ok(())
    }

    /// Replaces the sending m-lines; those that stay keep their state.
    pub(crate) fn set_receivers(&mut self, configs: Vec<ReceiverConfig>) {
        // With room for these and no more, here and below: a vector that grows begins with four.
        let mut before = std::mem::replace(&mut self.receivers, Vec::with_capacity(configs.len()));
        self.bindings.clear();
        for config in configs {
            let kept = before.iter().position(|receiver| receiver.config.mid == config.mid).map(|place| before.swap_remove(place));
            let track = self.published.iter().find(|(mid, _)| *mid == config.mid).map(|(_, track)| *track);
            let mut receiver = kept.unwrap_or_else(|| Receiver { config: config.clone(), track, encodings: Vec::new() });
            receiver.encodings.reserve_exact(config.encodings().saturating_sub(receiver.encodings.len()));
            receiver.encodings.resize_with(config.encodings(), || Incoming::new(config.kind, config.nack));
            let place = self.receivers.len();
            for (encoding, media, rtx) in config.announced() {
                self.bind(media, Binding { place, encoding, rtx: false });
                if let Some(ssrc) = rtx {
                    self.bind(ssrc, Binding { place, encoding, rtx: true });
                }
            }
            // A stream that its MID bound goes on where no SSRC was announced.
            if config.announced().next().is_none() {
                for (encoding, incoming) in receiver.encodings.iter().enumerate() {
                    if let Some(ssrc) = incoming.media_ssrc {
                        self.bind(ssrc, Binding { place, encoding: encoding as u8, rtx: false });
                    }
                }
            }
            receiver.config = config;
            receiver.track = track;
            self.receivers.push(receiver);
        }
    }

    fn bind(&mut self, ssrc: u32, binding: Binding) -> bool {
        match self.bindings.binary_search_by_key(&ssrc, |(ssrc, _)| *ssrc) {
            // An SSRC that two m-lines announce belongs to the first.
            Ok(_) => false,
            Err(_) if self.bindings.len() >= MAX_SSRCS => false,
            Err(place) => {
                self.bindings.insert(place, (ssrc, binding));
                true
            }
        }
    }

    fn binding(&self, ssrc: u32) -> Option<Binding> {
        self.bindings.binary_search_by_key(&ssrc, |(ssrc, _)| *ssrc).ok().map(|place| self.bindings[place].1)
    }

    /// Replaces the receiving m-lines; those that keep their SSRC keep their state.
    pub(crate) fn set_senders(&mut self, configs: Vec<Option<SenderConfig>>) {
        if self.sealer.is_none() {
            self.waiting_senders = Some(configs);
            return;
        }
        let mut before = std::mem::replace(&mut self.senders, Vec::with_capacity(configs.len()));
        for (place, config) in configs.into_iter().enumerate() {
            let kept = before
                .get_mut(place)
                .and_then(|sender| sender.take_if(|sender| Some(sender.config.ssrc) == config.as_ref().map(|c| c.ssrc)));
            let sender = match (kept, config) {
                (Some(mut sender), Some(config)) => {
                    sender.config = config;
                    Some(sender)
                }
                (None, Some(config)) => Some(Sender::new(config)),
                (_, None) => None,
            };
            self.senders.push(sender);
        }
    }

    /// Begins to measure the line if anything that is sent can be.
    pub(crate) fn measure(&mut self, now: Instant) {
        if self.downlink.is_none() && self.senders.iter().flatten().any(Sender::is_measured) {
            self.downlink = Some(Box::new(Downlink::new(now)));
        }
    }

    /// Has a sender carry a track from its next starting point on; `None` if it isn't negotiated.
    pub(crate) fn start_sender(&mut self, place: u16) -> Option<Result<&mut Sender, Drop>> {
        let sealer = self.sealer.as_mut()?;
        let sender = self.senders.get_mut(usize::from(place))?.as_mut()?;
        Some(sender.start(sealer).map(|()| sender))
    }

    /// How much of what it is shown its line leaves, by what was said: good if all, fair if less, poor if nothing of a picture.
    pub(crate) fn pictures(&self) -> Grade {
        let told = self.downlink.iter().flat_map(|downlink| &downlink.told).zip(&self.routes);
        let of_now = told.filter_map(|(told, route)| told.zip(*route)).filter(|(told, route)| told.track == route.track);
        let grade = |outcome| match outcome {
            Outcome::Full | Outcome::Hidden | Outcome::Absent => Grade::Good,
            Outcome::Reduced => Grade::Fair,
            Outcome::Paused => Grade::Poor,
        };
        of_now.map(|(told, _)| grade(told.outcome)).max().unwrap_or_default()
    }

    /// Has fetched what a packet on a sender needs.
    pub(crate) fn fetch(&self, place: u16, wire: &impl Wire) {
        if let Some(sender) = self.senders.get(usize::from(place)) {
            wire.fetch((&raw const *sender).cast(), size_of_val(sender));
        }
        if let Some(downlink) = self.downlink.as_deref() {
            wire.fetch((&raw const *downlink).cast(), size_of_val(downlink));
        }
    }

    pub(crate) fn sender_mut(&mut self, place: u16) -> Option<&mut Sender> {
        self.senders.get_mut(usize::from(place)).and_then(Option::as_mut)
    }

    pub(crate) fn sender_by_ssrc(&self, ssrc: u32) -> Option<u16> {
        self.senders.iter().position(|sender| sender.as_ref().is_some_and(|sender| sender.config.ssrc == ssrc)).map(|place| place as u16)
    }

    pub(crate) fn receiver_by_mid(&mut self, mid: &str) -> Option<&mut Receiver> {
        self.receivers.iter_mut().find(|receiver| receiver.config.mid == mid)
    }

    pub(crate) fn receiver_of(&mut self, track: TrackKey) -> Option<&mut Receiver> {
        self.receivers.iter_mut().find(|receiver| receiver.track == Some(track))
    }

    /// Opens an SRTP packet in place and finds what it is.
    pub(crate) fn open(&mut self, now: Instant, since_epoch: Duration, packet: &mut [u8]) -> Result<Ingested, Drop> {
        let opened = self.opener.as_mut().ok_or(Drop::NoKeys)?.open_rtp(packet)?;
        let packet = &mut packet[..opened.len];
        let header = opened.header;
        let mut restarted = false;
        let binding = match self.binding(header.ssrc) {
            Some(binding) => binding,
            None => self.latch(&header, packet)?,
        };
        let Binding { place, encoding, rtx } = binding;
        let receiver = &mut self.receivers[place];
        let incoming = receiver.encodings.get_mut(usize::from(encoding)).ok_or(Drop::UnknownSsrc)?;
        let extensions = receiver.config.extensions.parse(&header, packet);
        let number = extensions.transport_sequence.filter(|_| receiver.config.transport_cc);
        let number = number.and_then(|sequence| self.arrivals.record(sequence, header.ssrc, since_epoch));
        if let Some(number) = number.filter(|_| receiver.config.kind == MediaKind::Audio && !receiver.config.nack) {
            self.arrivals.record_sound(number, header.ssrc, opened.index);
        }
        let payload_len = header.payload(packet.len()).len();
        let payload = receiver.config.payloads.get(header.payload_type).ok_or(Drop::UnknownPayloadType)?;
        let (skip, header, index, codec, transit) = match (rtx, payload) {
            (false, Payload::Media(codec)) => {
                if incoming.media_ssrc != Some(header.ssrc) {
                    // Sequence numbers go on far enough above those before that nobody takes them for the same stream.
                    restarted = incoming.media_ssrc.replace(header.ssrc).is_some();
                    incoming.base = if restarted { (incoming.base + incoming.highest()).next_multiple_of(1 << 16) + (1 << 16) } else { 0 };
                }
                let index = incoming.base + opened.index;
                let arrival = (since_epoch.as_micros() as i64).wrapping_mul(i64::from(codec.clock_rate())) / 1_000_000;
                let transit = i64::from((arrival as u32).wrapping_sub(header.timestamp) as i32);
                (0, header, index, codec, Some(transit))
            }
            (_, Payload::Rtx(codec)) => {
                let range = header.payload(packet.len());
                let original = original_sequence(&packet[range]).ok_or(Drop::Padding)?;
                let index = incoming.reception.index(original).ok_or(Drop::UnknownSsrc)?;
                let ssrc = incoming.media_ssrc.ok_or(Drop::UnknownSsrc)?;
                // The header moves over the original sequence number (RFC 4588 §4).
                packet.copy_within(..header.header_len, 2);
                packet[4..6].copy_from_slice(&original.to_be_bytes());
                packet[10..14].copy_from_slice(&ssrc.to_be_bytes());
                let header = Header::parse(&packet[2..]).map_err(|_| Drop::Malformed)?;
                (2, header, index, codec, None)
            }
            (true, Payload::Media(_)) => return Err(Drop::UnknownPayloadType),
        };
        if incoming.reception.handle_packet(now, index, transit, number) == Arrival::Duplicate {
            return Err(Drop::Duplicate);
        }
        let (mut header, mut len) = (header, packet.len() - skip);
        if payload_len == skip {
            if skip > 0 || receiver.config.kind == MediaKind::Audio {
                return Err(Drop::Padding);
            }
            // A probe among the pictures: its number is all there is to it. Nobody probes with sound, and what comes again by RTX is no probe.
            len = unpad(packet, &mut header, len);
        }
        let extensions = if skip == 0 { extensions } else { receiver.config.extensions.parse(&header, &packet[skip..]) };
        let track = receiver.track.ok_or(Drop::NotPublished)?;
        Ok(Ingested { track, encoding, skip, len, header, index, codec, extensions, restarted })
    }

    /// Binds an SSRC that was not announced by its MID extension (RFC 9143 §9.2), and by its RID where there are several encodings (RFC 8852).
    fn latch(&mut self, header: &Header, packet: &[u8]) -> Result<Binding, Drop> {
        for place in 0..self.receivers.len() {
            let config = &self.receivers[place].config;
            let Some(id) = config.extensions.id(Extension::Mid) else { continue };
            let is_it = header.extensions(packet).any(|(found, mid)| found == id && mid == config.mid.as_bytes());
            if !is_it {
                continue;
            }
            let rtx = match config.payloads.get(header.payload_type) {
                Some(Payload::Media(_)) => false,
                Some(Payload::Rtx(_)) => true,
                None => return Err(Drop::UnknownPayloadType),
            };
            let encoding = match &config.simulcast {
                Simulcast::Off => 0,
                Simulcast::Ssrcs => return Err(Drop::UnknownSsrc),
                Simulcast::Rids(rids) => {
                    let parsed = config.extensions.parse(header, packet);
                    let rid = if rtx { parsed.repaired_rid } else { parsed.rid }.ok_or(Drop::UnknownSsrc)?;
                    let encodings = rids.iter().take(config.encodings());
                    encodings.map(String::as_bytes).position(|known| known == rid.as_bytes()).ok_or(Drop::UnknownSsrc)? as u8
                }
            };
            let before = self.receivers[place].encodings.get(usize::from(encoding)).and_then(|incoming| incoming.media_ssrc);
            if let (false, Some(before)) = (rtx, before) {
                self.bindings.retain(|(ssrc, _)| *ssrc != before);
            }
            let binding = Binding { place, encoding, rtx };
            return if self.bind(header.ssrc, binding) { Ok(binding) } else { Err(Drop::UnknownSsrc) };
        }
        Err(Drop::UnknownSsrc)
    }

    /// Opens an SRTCP packet in place; returns its length.
    pub(crate) fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, Drop> {
        let len = self.opener.as_mut().ok_or(Drop::NoKeys)?.open_rtcp(packet)?;
        self.controls += 1;
        Ok(len)
    }

    /// How many authentic packets came so far.
    pub(crate) fn heard(&self) -> u64 {
        self.controls
            + self.receivers.iter().flat_map(|receiver| &receiver.encodings).map(|incoming| incoming.reception.received()).sum::<u64>()
    }

    /// Hears a sender report; returns the track and the encoding it is about, and their clock.
    pub(crate) fn handle_sender_report(
        &mut self,
        now: Instant,
        arrived: Ntp,
        ssrc: u32,
        ntp: Ntp,
        rtp: u32,
    ) -> Option<(TrackKey, u8, TrackClock)> {
        let Binding { place, encoding, .. } = self.binding(ssrc).filter(|binding| !binding.rtx)?;
        let receiver = &mut self.receivers[place];
        receiver.encodings.get_mut(usize::from(encoding))?.last_report = Some((ntp, now));
        let ntp = self.clock.handle_report(now, arrived, ntp);
        receiver.track.map(|track| (track, encoding, TrackClock { ntp, rtp }))
    }

    /// The line loses packets on the way to the participant.
    pub(crate) fn note_loss(&mut self, now: Instant) {
        self.lossy_until = Some(now + REPEATING);
    }

    /// Hears what the participant reports on what it was sent: the round trip and loss (RFC 3550 §6.4.1).
    pub(crate) fn handle_report_block(&mut self, now: Instant, arrived: Ntp, block: &ReportBlock) {
        if let Some(sender) = self.senders.iter().flatten().find(|sender| sender.config.ssrc == block.ssrc) {
            self.quality.received(block.fraction_lost, jitter(block, sender.config.kind));
        }
        let is_sign =
            if self.lossy_until.is_some_and(|until| until > now) { block.fraction_lost > 0 } else { block.fraction_lost >= LOSSY };
        if is_sign {
            self.note_loss(now);
        }
        if block.last_sender_report == 0 {
            return;
        }
        let trip = crate::clock::compact(arrived).wrapping_sub(block.last_sender_report).wrapping_sub(block.delay_since_last_sender_report);
        // More than 16 s is a clock's mistake, not a round trip.
        if trip < 16 << 16 {
            let sample = Duration::from_micros(u64::from(trip) * 1_000_000 / 65_536);
            self.round_trip = Some(self.round_trip.map_or(sample, |smooth| (smooth * 7 + sample) / 8));
        }
    }

    /// Seals what `write` writes and hands it to the path in use. Nothing is sent without keys, a path, or a word written.
    pub(crate) fn send_rtcp(
        &mut self,
        egress: &mut Egress,
        wire: &mut impl Wire,
        write: impl FnOnce(&mut Self, &mut RtcpWriter<'_>),
    ) -> Result<(), Drop> {
        let path = self.agent.egress().ok_or(Drop::NoPath)?;
        if self.sealer.is_none() {
            return Err(Drop::NoKeys);
        }
        let room = egress.room(wire);
        let mut writer = RtcpWriter::new(&mut room[..1_200]);
        write(self, &mut writer);
        let len = writer.len();
        if len == 0 {
            return Ok(());
        }
        let sealed = self.sealer.as_mut().ok_or(Drop::NoKeys)?.seal_rtcp(room, len).map_err(Drop::from)?;
        egress.commit(&path, sealed);
        Ok(())
    }

    /// Writes when what was not reported yet arrived.
    pub(crate) fn write_arrivals(&mut self, now: Instant, since_epoch: Duration, writer: &mut RtcpWriter<'_>) {
        let reporter = self.reporter();
        let incoming = || self.receivers.iter().flat_map(|receiver| &receiver.encodings);
        let may_lack = |numbers: &_| incoming().any(|incoming| incoming.reception.may_lack(now, numbers));
        self.arrivals.report((now, since_epoch), reporter, may_lack, writer);
    }

    /// What RTCP is sent under where no stream of one's own is meant.
    pub(crate) fn reporter(&self) -> u32 {
        self.senders.iter().flatten().next().map_or(REPORTER, |sender| sender.config.ssrc)
    }

    /// Writes the receiver report on everything the participant publishes.
    pub(crate) fn write_receiver_report(&mut self, now: Instant, writer: &mut RtcpWriter<'_>) {
        let reporter = self.reporter();
        let mut blocks: Vec<ReportBlock> = Vec::new();
        for receiver in &mut self.receivers {
            let kind = receiver.config.kind;
            for block in receiver.encodings.iter_mut().filter_map(|incoming| incoming.report(now)) {
                self.quality.sent(block.fraction_lost, jitter(&block, kind));
                blocks.push(block);
            }
        }
        blocks.truncate(MAX_BLOCKS);
        if !blocks.is_empty() {
            let _ = writer.receiver_report(reporter, blocks);
        }
    }

    /// Writes the sender report of one sender.
    pub(crate) fn write_sender_report(
        &mut self,
        now: Instant,
        clock: &WallClock,
        place: u16,
        track: &TrackClock,
        writer: &mut RtcpWriter<'_>,
    ) {
        let Some(sender) = self.sender_mut(place) else { return };
        let ntp = clock.ntp(now);
        let (packets, octets, offset) = sender.sent();
        let rate = if sender.config.kind == MediaKind::Audio { 48_000 } else { 90_000 };
        let rtp = track.rtp_at(ntp, rate).wrapping_add(offset);
        let ssrc = sender.config.ssrc;
        sender.report_due = false;
        let _ = writer.sender_report(&SenderInfo { ssrc, ntp, rtp, packets, octets }, []);
    }
}

/// Jitter of a sound; that of a picture is how its frames are sent.
fn jitter(block: &ReportBlock, kind: MediaKind) -> Duration {
    match kind {
        // Opus counts 48,000 in a second (RFC 7587).
        MediaKind::Audio => Duration::from_micros(u64::from(block.jitter) * 1_000_000 / 48_000),
        MediaKind::Video => Duration::ZERO,
    }
}

impl Receiver {
    /// Whether there is anything to ask for, now or later.
    pub(crate) fn is_missing(&self) -> bool {
        self.encodings.iter().any(|incoming| incoming.reception.is_missing())
    }
}

impl Incoming {
    fn new(kind: MediaKind, nack: bool) -> Self {
        Self { reception: Reception::new(kind, nack), media_ssrc: None, last_report: None, base: 0 }
    }

    fn highest(&self) -> u64 {
        self.reception.highest().unwrap_or(0).saturating_sub(self.base)
    }

    fn report(&mut self, now: Instant) -> Option<ReportBlock> {
        let ssrc = self.media_ssrc?;
        let statistics = self.reception.poll_statistics()?;
        let (last_sender_report, delay_since_last_sender_report) =
            self.last_report.map_or((0, 0), |(ntp, at)| (crate::clock::compact(ntp), compact_duration(now.saturating_duration_since(at))));
        Some(ReportBlock {
            ssrc,
            fraction_lost: statistics.fraction_lost,
            cumulative_lost: statistics.cumulative_lost,
            highest_sequence: (statistics.highest - self.base) as u32,
            jitter: statistics.jitter,
            last_sender_report,
            delay_since_last_sender_report,
        })
    }
}

impl From<OpenError> for Drop {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Replayed | OpenError::TooOld => Drop::Replayed,
            OpenError::NotAuthentic | OpenError::NotEncrypted => Drop::NotAuthentic,
            OpenError::TooManySources => Drop::TooManyStreams,
            _ => Drop::Malformed,
        }
    }
}
