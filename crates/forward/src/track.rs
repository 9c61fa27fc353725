//! A published track as one worker knows it: where it comes from, who gets it.

use switchyard_rtp::{ExtensionMap, MediaKind};

use crate::clock::TrackClock;
use crate::history::History;
use crate::keyframes::Keyframes;
use crate::voice::Voice;
use crate::{TrackKey, WorkerIndex};

/// Where a track comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// From a peer of this worker's.
    Local { peer: usize },
    /// Over the trunk.
    Remote(WorkerIndex),
}

/// A receiving m-line that carries the track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscriber {
    pub(crate) peer: usize,
    pub(crate) sender: u16,
}

/// A published track.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) key: TrackKey,
    pub(crate) kind: MediaKind,
    pub(crate) home: Home,
    pub(crate) enabled: bool,
    pub(crate) subscribers: Vec<Subscriber>,
    pub(crate) trunks: Vec<WorkerIndex>,
    /// Made when the first subscriber who may ask for lost packets is there.
    pub(crate) history: Option<History>,
    /// The header extension ids of what is in there.
    pub(crate) extensions: Option<ExtensionMap>,
    pub(crate) clock: Option<TrackClock>,
    pub(crate) keyframes: Keyframes,
    /// Of audio.
    pub(crate) voice: Option<Box<Voice>>,
    /// The packets of the batch at hand, by their place in it.
    pub(crate) batch: Vec<u32>,
}

impl Track {
    pub(crate) fn new(key: TrackKey, kind: MediaKind, home: Home) -> Self {
        Self {
            key,
            kind,
            home,
            enabled: true,
            subscribers: Vec::new(),
            trunks: Vec::new(),
            history: None,
            extensions: None,
            clock: None,
            keyframes: Keyframes::new(),
            voice: (kind == MediaKind::Audio).then(|| Box::new(Voice::new())),
            batch: Vec::new(),
        }
    }
}
