//! What is published: how far it has come, and what of it is measured.

use std::sync::atomic::{AtomicU64, Ordering};

use switchyard_rtp::Codec;

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
    /// Whether receivers get a part of it on purpose: one encoding, fewer layers, nothing. Then its packets are expected as far as a receiver's numbers
    /// say that they were addressed to it.
    pub is_selective: bool,
    /// What it consists of, the lowest first; one of what is no simulcast.
    pub encodings: Vec<Picture>,
    streams: Vec<Counted>,
}

/// An encoding, as it is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Its RID; empty if it is the only one.
    pub name: String,
    /// In pixels.
    pub size: (u16, u16),
}

/// How far an encoding has come.
#[derive(Debug)]
struct Counted {
    /// Packets sent; the next one has this number.
    sent: AtomicU64,
    /// The first packet of the measured window, and the first one after it.
    from: AtomicU64,
    to: AtomicU64,
}

impl Publication {
    /// One that everybody gets the whole of. It has sent nothing, and is before the window.
    pub fn new(media: &'static str, codec: Codec, churns: bool) -> Self {
        Self { media, codec, churns, is_selective: false, encodings: Vec::new(), streams: vec![Counted::new()] }
    }

    /// One of which each receiver gets a part.
    pub fn selective(media: &'static str, codec: Codec, churns: bool, encodings: Vec<Picture>) -> Self {
        let streams = encodings.iter().map(|_| Counted::new()).collect();
        Self { media, codec, churns, is_selective: true, encodings, streams }
    }

    /// The encoding that a tile of this size wants: the smallest that fills it without being enlarged by more than an eighth, else the largest.
    pub fn covering(&self, (width, height): (u16, u16)) -> u8 {
        let enough = |has: u16, wants: u16| u32::from(has) * 9 >= u32::from(wants) * 8;
        let covers = |picture: &Picture| enough(picture.size.0, width) || enough(picture.size.1, height);
        self.encodings.iter().position(covers).unwrap_or(self.encodings.len().saturating_sub(1)) as u8
    }

    /// The largest encoding that somebody has use for when it is shown this large at most, in pixels, as browsers' SDK has it; nothing if nobody is shown it.
    pub fn largest_of_use(&self, wanted: (u16, u16)) -> Option<u8> {
        (wanted.0 > 0 && wanted.1 > 0).then(|| self.covering(wanted))
    }

    /// Packet `number` of an encoding has been sent.
    pub fn count_sent(&self, encoding: u8, number: u64) {
        if let Some(stream) = self.stream(encoding) {
            stream.sent.store(number + 1, Ordering::Relaxed);
        }
    }

    /// Whether anything has been sent.
    pub fn has_sent(&self) -> bool {
        self.streams.iter().any(|stream| stream.sent.load(Ordering::Relaxed) > 0)
    }

    /// Packets of the window, of all encodings together.
    pub fn expected(&self) -> u64 {
        self.streams.iter().map(Counted::expected).sum()
    }

    /// Whether packet `number` of an encoding is of the window.
    pub(super) fn is_measured(&self, encoding: u8, number: u64) -> bool {
        self.stream(encoding).is_some_and(|stream| stream.is_measured(number))
    }

    /// What everybody gets the whole of is one stream, whatever its encoding is called.
    fn stream(&self, encoding: u8) -> Option<&Counted> {
        if self.is_selective { self.streams.get(usize::from(encoding)) } else { self.streams.first() }
    }
}

impl Counted {
    fn new() -> Self {
        let never = || AtomicU64::new(u64::MAX);
        Self { sent: AtomicU64::new(0), from: never(), to: never() }
    }

    fn expected(&self) -> u64 {
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
        for stream in self.0.iter().flat_map(|publication| &publication.streams) {
            stream.from.store(stream.sent.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// What is sent from now on is not.
    pub fn close_window(&self) {
        for stream in self.0.iter().flat_map(|publication| &publication.streams) {
            stream.to.store(stream.sent.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}
