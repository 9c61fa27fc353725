//! What one participant receives, packet by packet.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use switchyard_client::{Arrival, Progress, Sink};
use switchyard_rtp::Codec;

use super::decoder::{Decoder, FramePacket, Seen};
use crate::results::Percentiles;
use crate::traffic::Stamp;

/// Histograms of one group, so that participants on different threads seldom meet at one.
const SHARDS: usize = 8;
/// The longest latency that is told from a longer one, in microseconds: a minute.
const MAX_LATENCY: u64 = 60_000_000;
/// Publications one participant may hear of; a stamp is believed, so what it says must not fill the memory.
const MAX_TRACKS: usize = 4096;

/// What is published in the whole run, by number.
#[derive(Debug, Default)]
pub struct Publications(Vec<Publication>);

/// One published track, and how far it has come.
#[derive(Debug)]
pub struct Publication {
    /// What it is called in reports: `video`, `audio`, `screen`.
    pub media: &'static str,
    /// What its payloads are parsed as.
    pub codec: Codec,
    /// Whether the publisher comes and goes: then what nobody was there to receive can't be told from what was lost.
    pub churns: bool,
    /// Packets sent; the next one has this number.
    pub sent: AtomicU64,
    /// The first packet of the measured window, and the first one after it.
    from: AtomicU64,
    to: AtomicU64,
}

impl Publication {
    /// One that has sent nothing, before the window.
    pub fn new(media: &'static str, codec: Codec, churns: bool) -> Self {
        let never = || AtomicU64::new(u64::MAX);
        Self { media, codec, churns, sent: AtomicU64::new(0), from: never(), to: never() }
    }

    /// Packets of the window.
    pub fn expected(&self) -> u64 {
        self.to.load(Ordering::Relaxed).min(self.sent.load(Ordering::Relaxed)).saturating_sub(self.from.load(Ordering::Relaxed))
    }

    fn is_measured(&self, number: u64) -> bool {
        number >= self.from.load(Ordering::Relaxed) && number < self.to.load(Ordering::Relaxed)
    }
}

impl Publications {
    /// All there will be.
    pub fn new(publications: Vec<Publication>) -> Self {
        Self(publications)
    }

    /// The one with this number.
    pub fn get(&self, number: u32) -> Option<&Publication> {
        self.0.get(number as usize)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Publication> {
        self.0.iter()
    }

    /// What is sent from now on is measured.
    pub fn open_window(&self) {
        for publication in &self.0 {
            publication.from.store(publication.sent.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// What is sent from now on is not.
    pub fn close_window(&self) {
        for publication in &self.0 {
            publication.to.store(publication.sent.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

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
    /// Bytes of payload.
    pub bytes: u64,
    /// The first and the last number received.
    pub span: Option<(u64, u64)>,
    /// What a decoder saw.
    pub seen: Seen,
}

struct Track {
    progress: Progress,
    totals: TrackTotals,
    decoder: Option<Decoder>,
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
        let tracks = BTreeMap::new();
        let meter = Meter { publications, groups, role, shard, own, tracks, received: 0, first_packet_at: None, first_frame_at: None };
        Self(Arc::new(Mutex::new(meter)))
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
        // A connection doesn't know the codec: a stamp stands elsewhere in each.
        let stamp = [Codec::Vp8, Codec::Opus].into_iter().find_map(|codec| Some((codec, Stamp::read(codec, arrival.payload)?)));
        let Some((codec, stamp)) = stamp.filter(|(_, stamp)| !self.own.contains(&stamp.publication)) else { return false };
        let publications = Arc::clone(&self.publications);
        let Some(publication) = publications.get(stamp.publication).filter(|publication| publication.codec == codec) else { return false };
        if self.tracks.len() >= MAX_TRACKS && !self.tracks.contains_key(&stamp.publication) {
            return false;
        }
        self.first_packet_at.get_or_insert(arrival.at_micros);
        let track = self.tracks.entry(stamp.publication).or_insert_with(|| Track {
            progress: Progress::default(),
            totals: TrackTotals::default(),
            decoder: (codec == Codec::Vp8).then(Decoder::default),
        });
        let (duplicated, reordered) = (track.progress.duplicated, track.progress.reordered);
        track.progress.record(stamp.counter);
        let again = track.progress.duplicated > duplicated;
        self.received += u64::from(!again);
        let latency = arrival.at_micros.saturating_sub(stamp.sent_micros);
        if !again {
            self.groups.interval.record(self.shard, latency);
        }
        if publication.is_measured(stamp.counter) {
            let totals = &mut track.totals;
            totals.duplicated += u64::from(again);
            totals.reordered += u64::from(track.progress.reordered > reordered && !arrival.retransmitted);
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
        let packet = FramePacket { frame: stamp.frame, packets: stamp.packets, index: stamp.index, keyframe: stamp.keyframe };
        let wants_keyframe = decoder.handle_packet(packet, arrival.at_micros);
        if self.first_frame_at.is_none() {
            self.first_frame_at = decoder.first_shown_at();
        }
        wants_keyframe
    }

    /// Whether something came of a publication.
    pub fn has(&self, publication: u32) -> bool {
        self.tracks.contains_key(&publication)
    }

    /// Begins the window: what decoders saw before does not count.
    pub fn open_window(&mut self, now: u64) {
        for track in self.tracks.values_mut() {
            track.decoder.as_mut().map(|decoder| decoder.take(now));
            track.totals = TrackTotals::default();
        }
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
        self.tracks.get(&publication).map_or_else(TrackTotals::default, |track| track.totals)
    }
}

fn add(sum: &mut Seen, seen: &Seen) {
    sum.shown += seen.shown;
    sum.dropped += seen.dropped;
    sum.freezes += seen.freezes;
    sum.frozen += seen.frozen;
    sum.watched += seen.watched;
}
