//! What one participant receives, packet by packet.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use switchyard_client::{Arrival, Progress, Sink};
use switchyard_rtp::Codec;

use super::decoder::{Decoder, FramePacket, Seen};
use super::publication::Publications;
use super::slot::Slot;
use crate::results::Percentiles;
use crate::traffic::{MAX_ENCODINGS, Stamp};

/// Histograms of one group, so that participants on different threads seldom meet at one.
const SHARDS: usize = 8;
/// The longest latency that is told from a longer one, in microseconds: a minute.
const MAX_LATENCY: u64 = 60_000_000;
/// Publications one participant may hear of; a stamp is believed, so what it says must not fill the memory.
const MAX_TRACKS: usize = 4096;

/// A distribution of latencies that many participants add to.
#[derive(Debug)]
pub struct LatencyOf(Vec<Mutex<Histogram<u32>>>);

impl Default for LatencyOf {
    fn default() -> Self {
        // One in a thousand is how exact a value is.
        let histogram = || Histogram::new_with_bounds(1, MAX_LATENCY, 3).expect("bounds in order");
        Self((0..SHARDS).map(|_| Mutex::new(histogram())).collect())
    }
}

impl LatencyOf {
    /// Adds a latency; `shard` is whoever adds it.
    pub fn record(&self, shard: usize, micros: u64) {
        let mut histogram = self.0[shard % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
        histogram.saturating_record(micros.max(1));
    }

    /// All of it in milliseconds, and none of it any more.
    pub fn take(&self) -> Percentiles {
        let mut all: Histogram<u32> = Histogram::new_with_bounds(1, MAX_LATENCY, 3).expect("bounds in order");
        for shard in &self.0 {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = all.add(&*shard);
            shard.reset();
        }
        let ms = |micros: u64| micros as f64 / 1000.0;
        Percentiles::by_quantile(all.len(), ms(all.min()), all.mean() / 1000.0, ms(all.max()), |at| ms(all.value_at_quantile(at)))
    }
}

/// What is told apart in a report: each media at each role.
#[derive(Debug, Default)]
pub struct Groups {
    /// In the measured window, by media and role.
    pub latency: BTreeMap<(&'static str, usize), LatencyOf>,
    /// Since it was last taken, all together.
    pub interval: LatencyOf,
    /// How late this process read its sockets.
    pub lag: LatencyOf,
}

/// What came of one publication in the measured window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TrackTotals {
    /// Packets, each counted once.
    pub received: u64,
    /// Packets that came again.
    pub duplicated: u64,
    /// Packets that came behind a later one, other than as retransmissions.
    pub reordered: u64,
    /// Packets that came as retransmissions.
    pub retransmitted: u64,
    /// Of what is selective: packets that were addressed to the receiver and never came.
    pub lost: u64,
    /// Bytes of payload.
    pub bytes: u64,
    /// The first and the last number received.
    pub span: Option<(u64, u64)>,
    /// What a decoder saw.
    pub seen: Seen,
}

struct Track {
    /// By encoding.
    progress: [Progress; MAX_ENCODINGS],
    totals: TrackTotals,
    decoder: Option<Decoder>,
    /// The stream that its newest packet came in.
    ssrc: Option<u32>,
}

impl Track {
    fn new(codec: Codec) -> Self {
        Self {
            progress: Default::default(),
            totals: TrackTotals::default(),
            decoder: (codec == Codec::Vp8).then(Decoder::default),
            ssrc: None,
        }
    }

    fn has_come(&self) -> bool {
        self.progress.iter().any(|progress| progress.received > 0)
    }
}

/// One session of one participant.
pub struct Meter {
    publications: Arc<Publications>,
    groups: Arc<Groups>,
    role: usize,
    shard: usize,
    /// What the participant publishes itself, which a player gets to see too.
    own: Vec<u32>,
    tracks: BTreeMap<u32, Track>,
    /// The streams that carry what is selective, by SSRC; a connection has no more than a thousand.
    slots: HashMap<u32, Slot>,
    /// What is shown, if that was said: publications, each once. Otherwise everything is.
    shown: Option<Vec<u32>>,
    /// Packets so far, each counted once.
    pub received: u64,
    /// When the first packet came, in microseconds of [`switchyard_client::now_micros`].
    pub first_packet_at: Option<u64>,
    /// When the first frame could be shown.
    pub first_frame_at: Option<u64>,
}

/// A meter that a connection writes to and a run reads.
#[derive(Clone)]
pub struct MeterSink(Arc<Mutex<Meter>>);

impl MeterSink {
    /// Counts for a participant of `role`, and nothing of the publications that are its `own`; `shard` spreads participants over histograms.
    pub fn new(publications: Arc<Publications>, groups: Arc<Groups>, role: usize, shard: usize, own: Vec<u32>) -> Self {
        Self(Arc::new(Mutex::new(Meter {
            publications,
            groups,
            role,
            shard,
            own,
            tracks: BTreeMap::new(),
            slots: HashMap::new(),
            shown: None,
            received: 0,
            first_packet_at: None,
            first_frame_at: None,
        })))
    }

    /// The meter.
    pub fn lock(&self) -> MutexGuard<'_, Meter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for MeterSink {
    fn handle_packet(&mut self, arrival: &Arrival<'_>) -> bool {
        self.lock().handle_packet(arrival)
    }

    fn handle_lag(&mut self, micros: u64) {
        let meter = self.lock();
        meter.groups.lag.record(meter.shard, micros);
    }
}

impl Meter {
    fn handle_packet(&mut self, arrival: &Arrival<'_>) -> bool {
        if arrival.payload.is_empty() {
            if let Some(slot) = self.slots.get_mut(&arrival.ssrc) {
                slot.skip(arrival.sequence);
            }
            return false;
        }
        // A connection doesn't know the codec: a stamp stands elsewhere in each.
        let stamp = [Codec::Vp8, Codec::Opus].into_iter().find_map(|codec| Some((codec, Stamp::read(codec, arrival.payload)?)));
        let Some((codec, stamp)) = stamp.filter(|(_, stamp)| !self.own.contains(&stamp.publication)) else { return false };
        let publications = Arc::clone(&self.publications);
        let Some(publication) = publications.get(stamp.publication).filter(|publication| publication.codec == codec) else { return false };
        if self.tracks.len() >= MAX_TRACKS && !self.tracks.contains_key(&stamp.publication) {
            return false;
        }
        self.first_packet_at.get_or_insert(arrival.at_micros);
        let track = self.tracks.entry(stamp.publication).or_insert_with(|| {
            let mut track = Track::new(codec);
            if publication.is_selective && self.shown.is_none() {
                // All of it is wanted.
                let largest = (publication.encodings.len() - 1) as u8;
                if let Some(decoder) = &mut track.decoder {
                    decoder.want(Some(largest), arrival.at_micros);
                }
            }
            track
        });
        let measured = publication.is_measured(stamp.encoding, stamp.counter);
        let progress = &mut track.progress[if publication.is_selective { usize::from(stamp.encoding).min(MAX_ENCODINGS - 1) } else { 0 }];
        let (duplicated, reordered) = (progress.duplicated, progress.reordered);
        progress.record(stamp.counter);
        let (again, reordered) = (progress.duplicated > duplicated, progress.reordered > reordered);
        self.received += u64::from(!again);
        let latency = arrival.at_micros.saturating_sub(stamp.sent_micros);
        if !again {
            self.groups.interval.record(self.shard, latency);
        }
        if measured {
            let totals = &mut track.totals;
            totals.duplicated += u64::from(again);
            totals.reordered += u64::from(reordered && !arrival.retransmitted);
            totals.retransmitted += u64::from(arrival.retransmitted);
            if !again {
                totals.received += 1;
                totals.bytes += arrival.payload.len() as u64;
                let (first, last) = totals.span.unwrap_or((stamp.counter, stamp.counter));
                totals.span = Some((first.min(stamp.counter), last.max(stamp.counter)));
                if let Some(group) = self.groups.latency.get(&(publication.media, self.role)) {
                    group.record(self.shard, latency);
                }
            }
        }
        let Some(decoder) = &mut track.decoder else { return false };
        let mut packet = FramePacket {
            frame: stamp.frame,
            packets: stamp.packets,
            index: stamp.index,
            keyframe: stamp.keyframe,
            encoding: stamp.encoding,
            layer: None,
        };
        if publication.is_selective {
            let slot = self.slots.entry(arrival.ssrc).or_default();
            let taken = slot.take(arrival.sequence, stamp.publication, measured);
            track.totals.lost += taken.given_up;
            if taken.is_newest && (track.ssrc.replace(arrival.ssrc) != Some(arrival.ssrc) || taken.enters) {
                decoder.enter();
            }
            let frame = slot.frame(arrival.payload).filter(|_| track.ssrc == Some(arrival.ssrc));
            let Some((frame, layer)) = frame else { return false };
            (packet.frame, packet.layer) = (frame, Some(layer));
        }
        let wants_keyframe = decoder.handle_packet(packet, arrival.at_micros);
        if self.first_frame_at.is_none() {
            self.first_frame_at = decoder.first_shown_at();
        }
        wants_keyframe
    }

    /// Whether something came of a publication, or nothing is to come.
    pub fn has(&self, publication: u32) -> bool {
        let is_away = |track: &Track| track.decoder.as_ref().is_some_and(Decoder::is_away);
        self.tracks.get(&publication).is_some_and(|track| track.has_come() || is_away(track))
    }

    /// Whether a picture is shown; all are, unless something else was said.
    pub fn shows(&self, publication: u32) -> bool {
        self.shown.as_ref().is_none_or(|shown| shown.contains(&publication))
    }

    /// From now on these publications are shown and no others: each with the encoding that its tile wants.
    pub fn show(&mut self, tiles: &[(u32, u8)], now: u64) {
        for (number, encoding) in tiles {
            let Some(publication) = self.publications.get(*number) else { continue };
            let track = self.tracks.entry(*number).or_insert_with(|| Track::new(publication.codec));
            if let Some(decoder) = &mut track.decoder {
                decoder.want(Some(*encoding), now);
            }
        }
        for (_, track) in self.tracks.iter_mut().filter(|(number, _)| !tiles.iter().any(|(shown, _)| shown == *number)) {
            if let Some(decoder) = &mut track.decoder {
                decoder.hide(now);
            }
        }
        self.shown = Some(tiles.iter().map(|(number, _)| *number).collect());
    }

    /// The server has said that it sends nothing of a publication, because the line carries no more, or that it does again.
    pub fn pause(&mut self, publication: u32, paused: bool, now: u64) {
        let Some(codec) = self.publications.get(publication).map(|publication| publication.codec) else { return };
        let track = self.tracks.entry(publication).or_insert_with(|| Track::new(codec));
        if let Some(decoder) = &mut track.decoder {
            decoder.pause(paused, now);
        }
    }

    /// How long each wanted encoding of a publication took to come since this was last called, in microseconds; and whether one has been waited for in
    /// vain.
    pub fn take_reached(&mut self, publication: u32, now: u64) -> (Vec<u64>, bool) {
        let decoder = self.tracks.get_mut(&publication).and_then(|track| track.decoder.as_mut());
        decoder.map(|decoder| decoder.take_reached(now)).unwrap_or_default()
    }

    /// Begins the window: what decoders saw before does not count.
    pub fn open_window(&mut self, now: u64) {
        for track in self.tracks.values_mut() {
            track.decoder.as_mut().map(|decoder| decoder.take(now));
            track.totals = TrackTotals::default();
        }
        self.slots.values_mut().for_each(Slot::open_window);
    }

    /// What decoders saw since this was last asked, all together, without ending the window.
    pub fn watch(&mut self, now: u64) -> Seen {
        let mut all = Seen::default();
        for track in self.tracks.values_mut() {
            let Some(decoder) = &mut track.decoder else { continue };
            let seen = decoder.take(now);
            add(&mut track.totals.seen, &seen);
            add(&mut all, &seen);
        }
        all
    }

    /// What came of a publication in the window.
    pub fn totals(&self, publication: u32) -> TrackTotals {
        let Some(track) = self.tracks.get(&publication) else { return TrackTotals::default() };
        let missing: u64 = self.slots.values().map(|slot| slot.lost(publication)).sum();
        TrackTotals { lost: track.totals.lost + missing, ..track.totals }
    }
}

fn add(sum: &mut Seen, seen: &Seen) {
    sum.shown += seen.shown;
    sum.dropped += seen.dropped;
    sum.freezes += seen.freezes;
    sum.frozen += seen.frozen;
    sum.watched += seen.watched;
    sum.by_encoding.iter_mut().zip(seen.by_encoding).for_each(|(sum, seen)| *sum += seen);
    sum.as_wanted += seen.as_wanted;
    sum.switches += seen.switches;
    sum.pauses += seen.pauses;
    sum.paused += seen.paused;
}
