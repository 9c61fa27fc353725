//! One encoding of a published track: what was kept of it, what is asked for, what it measures.

use std::time::{Duration, Instant};

use switchyard_rtp::codec::dependency::Structure;
use switchyard_rtp::{Codec, ExtensionMap};

use crate::clock::TrackClock;
use crate::comeback::Comeback;
use crate::history::History;
use crate::keyframes::Keyframes;
use crate::layers::FrameInfo;

/// An encoding has stopped when nothing came of it for this long …
const STOPPED: Duration = Duration::from_millis(700);
/// … while another brought this many frames: a screen's high encoding may have a sixth of the frames of its low one.
const FRAMES_MEANWHILE: u32 = 12;
/// What is measured counts for what an encoding takes while no more frames of others have come since its last: it may be about to stop.
const FEW_MEANWHILE: u32 = FRAMES_MEANWHILE / 2;
/// Between two looks at the bytes: long enough for a rate that one large frame does not double.
const MEASURE: Duration = Duration::from_millis(500);
/// Spatial and temporal layers measured apart; what is above counts as the highest.
pub(crate) const SPATIAL: usize = 3;
pub(crate) const TEMPORAL: usize = 4;

/// One encoding of a track.
#[derive(Debug)]
pub(crate) struct Encoding {
    /// Made when the first subscriber who may ask for lost packets is to get it.
    pub(crate) history: Option<History>,
    /// The header extension ids of what is in there.
    pub(crate) extensions: Option<ExtensionMap>,
    pub(crate) clock: Option<TrackClock>,
    pub(crate) keyframes: Keyframes,
    /// The packets of the batch at hand, by their place in it.
    pub(crate) batch: Vec<u32>,
    /// What dependency descriptors refer to, as the last keyframe said.
    pub(crate) structure: Option<Box<Structure>>,
    /// In pixels, as the last keyframe said.
    pub(crate) size: Option<(u16, u16)>,
    /// The largest that any keyframe said: a publisher that is short of processor time sends less for a while.
    pub(crate) largest: Option<(u16, u16)>,
    /// When the last packet came, while any do.
    heard: Option<Instant>,
    /// Frames of other encodings since then.
    meanwhile: u32,
    pub(crate) rates: Rates,
    /// What it takes, or took while it came, and so would again; `None` while it isn't known, or nobody knows that it would come.
    known: Option<Rates>,
    pub(crate) comeback: Comeback,
}

impl Encoding {
    pub(crate) fn new() -> Self {
        Self {
            history: None,
            extensions: None,
            clock: None,
            keyframes: Keyframes::new(),
            batch: Vec::new(),
            structure: None,
            size: None,
            largest: None,
            heard: None,
            meanwhile: 0,
            rates: Rates::default(),
            known: None,
            comeback: Comeback::default(),
        }
    }

    /// What is known of it; `size` stands for that of an encoding that has said none.
    pub(crate) fn view(&self, size: (u16, u16)) -> EncodingView {
        EncodingView { live: self.is_live(), size: self.size.unwrap_or(size), rates: self.rates }
    }

    /// Reads what a packet says of its frame.
    pub(crate) fn read(&mut self, codec: Codec, payload: &[u8], descriptor: Option<&[u8]>) -> FrameInfo {
        if let Some(structure) = descriptor.and_then(Structure::parse) {
            self.structure = Some(Box::new(structure));
        }
        FrameInfo::read(codec, payload, descriptor, self.structure.as_deref())
    }

    /// Whether packets come.
    pub(crate) fn is_live(&self) -> bool {
        self.heard.is_some()
    }

    /// A packet has come; whether none did before.
    pub(crate) fn hear(&mut self, now: Instant, frame: &FrameInfo, bytes: usize) -> bool {
        self.meanwhile = 0;
        let begins = self.heard.replace(now).is_none();
        if begins {
            self.rates = self.known.map_or(self.rates, |known| known.from(now));
            self.comeback.begin(now);
        }
        self.rates.add(frame, bytes);
        let resized = frame.size.is_some() && self.size != frame.size;
        self.size = frame.size.or(self.size);
        let area = |(width, height): (u16, u16)| u32::from(width) * u32::from(height);
        self.largest = frame.size.filter(|&size| self.largest.is_none_or(|largest| area(size) >= area(largest))).or(self.largest);
        begins || resized
    }

    /// What it takes, or would if it came; `None` where it is not known that it would.
    pub(crate) fn rates(&self) -> Option<&Rates> {
        self.known.as_ref().or(Some(&self.rates).filter(|_| self.is_live()))
    }

    /// Another encoding began a frame.
    pub(crate) fn miss(&mut self) {
        self.meanwhile = self.meanwhile.saturating_add(1);
    }

    /// Measures. Whether it has just been found to have stopped, or to have other layers.
    pub(crate) fn look(&mut self, now: Instant) -> bool {
        let top = self.rates.top();
        if self.rates.look(now) && self.is_live() && self.meanwhile <= FEW_MEANWHILE {
            self.known = Some(self.rates);
        }
        if !self.is_live() && self.comeback.is_in_vain(now) {
            self.known = None;
        }
        let silent = self.heard.is_some_and(|heard| now.saturating_duration_since(heard) >= STOPPED);
        let stopped = silent && self.meanwhile >= FRAMES_MEANWHILE;
        if stopped {
            self.forget_heard();
            self.comeback.stop(now);
        }
        stopped || self.rates.top() != top
    }

    /// Whether packets come is to be seen anew.
    pub(crate) fn forget_heard(&mut self) {
        (self.heard, self.meanwhile) = (None, 0);
    }
}

/// An encoding as whoever divides bandwidth sees it.
#[derive(Clone, Copy, Debug)]
pub struct EncodingView {
    /// Whether packets come; one that nobody wants may be stopped, and comes when it is wanted again.
    pub live: bool,
    /// In pixels, as its last keyframe said; until one did, a guess.
    pub size: (u16, u16),
    rates: Rates,
}

impl EncodingView {
    /// Bits a second of everything up to a spatial and a temporal layer, RTP headers included, smoothed over a second; of an encoding that has stopped what it
    /// took before is gone.
    pub fn bit_rate(&self, spatial: u8, temporal: u8) -> u64 {
        self.rates.up_to(spatial, temporal)
    }
}

/// What an encoding takes, layer by layer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    bytes: [[u32; TEMPORAL]; SPATIAL],
    since: Option<Instant>,
    bits_per_second: [[u32; TEMPORAL]; SPATIAL],
}

impl Rates {
    /// The same, measured on from `now`.
    fn from(self, now: Instant) -> Self {
        Self { bytes: [[0; TEMPORAL]; SPATIAL], since: Some(now), ..self }
    }

    fn add(&mut self, frame: &FrameInfo, bytes: usize) {
        let (spatial, temporal) = (usize::from(frame.spatial).min(SPATIAL - 1), usize::from(frame.temporal).min(TEMPORAL - 1));
        let sum = &mut self.bytes[spatial][temporal];
        *sum = sum.saturating_add(bytes as u32);
    }

    /// Measures, if it is time to.
    pub(crate) fn look(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let elapsed = now.saturating_duration_since(since);
        if elapsed < MEASURE {
            return false;
        }
        self.since = Some(now);
        for (bytes, rate) in self.bytes.iter_mut().flatten().zip(self.bits_per_second.iter_mut().flatten()) {
            let sample = u64::from(std::mem::take(bytes)) * 8_000 / elapsed.as_millis().max(1) as u64;
            // Half of it is new each time; at first all of it.
            let smooth = if *rate == 0 { sample } else { (u64::from(*rate) + sample) / 2 };
            *rate = u32::try_from(smooth).unwrap_or(u32::MAX);
        }
        true
    }

    /// The layers that anything was measured of, as spatial and temporal; the lowest first.
    pub(crate) fn layers(&self) -> Vec<(u8, u8)> {
        let rates = self.bits_per_second.iter().enumerate();
        rates.flat_map(|(s, rates)| (0u8..).zip(rates).filter(|(_, rate)| **rate > 0).map(move |(t, _)| (s as u8, t))).collect()
    }

    /// The highest spatial layer that anything was measured of.
    pub(crate) fn top(&self) -> u8 {
        self.bits_per_second.iter().rposition(|rates| rates.iter().any(|rate| *rate > 0)).unwrap_or(0) as u8
    }

    /// Bits a second of everything up to a layer, RTP headers included.
    pub(crate) fn up_to(&self, spatial: u8, temporal: u8) -> u64 {
        let part = self.bits_per_second.iter().take(usize::from(spatial) + 1);
        part.flat_map(|rates| rates.iter().take(usize::from(temporal) + 1)).map(|&rate| u64::from(rate)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(temporal: u8) -> FrameInfo {
        FrameInfo { temporal, ..FrameInfo::default() }
    }

    #[test]
    fn the_rate_of_a_layer_is_that_of_all_it_needs() {
        let start = Instant::now();
        let mut rates = Rates::default();
        rates.look(start);
        for _ in 0..10 {
            rates.add(&at(0), 1_000);
            rates.add(&at(1), 500);
            rates.add(&at(6), 250);
        }
        rates.look(start + MEASURE / 2);
        assert_eq!(rates.up_to(7, 7), 0, "not yet");
        rates.look(start + MEASURE);
        assert_eq!([0, 1, 2, 3, 7].map(|temporal| rates.up_to(7, temporal)), [160_000, 240_000, 240_000, 280_000, 280_000]);
        for halves in 1..=4 {
            rates.look(start + MEASURE * (halves + 1));
            assert_eq!(rates.up_to(0, 0), 160_000 >> halves, "what stops is forgotten");
        }
    }

    #[test]
    fn what_an_encoding_took_is_known_until_it_is_asked_for_in_vain() {
        let start = Instant::now();
        let mut encoding = Encoding::new();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut now = 0;
        let mut took = Vec::new();
        // It comes for three seconds, 10,000 bits in each 100 ms; after that only another does. The last 500 ms that count may lack 100.
        while now < 6_000 {
            if now < 3_000 {
                encoding.hear(at(now), &FrameInfo::default(), 1_250);
            } else {
                (0..3).for_each(|_| encoding.miss());
            }
            encoding.look(at(now));
            took.extend(encoding.rates().map(|rates| rates.up_to(0, 0)).filter(|_| now >= 2_000));
            now += 100;
        }
        assert!(!encoding.is_live());
        assert!(took.len() == 40 && took.iter().all(|rate| (88_000..=110_000).contains(rate)), "{took:?}");
        assert!(encoding.comeback.ask(at(now)));
        encoding.look(at(now + 2_900));
        assert!(encoding.rates().is_some(), "it may come yet");
        encoding.look(at(now + 3_000));
        assert!(encoding.rates().is_none(), "its publisher doesn't send it");
    }

    #[test]
    fn an_encoding_has_stopped_when_others_go_on_without_it() {
        let start = Instant::now();
        let mut encoding = Encoding::new();
        assert!(!encoding.is_live());
        assert!(encoding.hear(start, &at(0), 100) && !encoding.hear(start, &at(0), 100));
        let later = start + STOPPED * 3;
        assert!(!encoding.look(later), "nobody sends");
        for _ in 0..FRAMES_MEANWHILE {
            encoding.miss();
        }
        assert!(!encoding.look(start + STOPPED / 2), "too soon to tell");
        assert!(encoding.look(later) && !encoding.is_live());
        assert!(!encoding.look(later), "told once");
        assert!(encoding.hear(later, &at(0), 100), "it is back");
        let resized = FrameInfo { size: Some((640, 360)), ..at(0) };
        assert!(encoding.hear(later, &resized, 100) && !encoding.hear(later, &resized, 100));
    }
}
