//! A published track as one worker knows it: where it comes from, its encodings, who gets it.

use std::time::{Duration, Instant};

use switchyard_rtp::MediaKind;

use crate::encoding::Encoding;
use crate::layers::{Candidate, FrameInfo, Layer, MAX_ENCODINGS, Target, resolve};
use crate::voice::Voice;
use crate::{TrackKey, WorkerIndex};

/// After nothing came of any encoding for this long, which of them come is seen anew: after a pause browsers begin with the lowest.
const PAUSE: Duration = Duration::from_secs(3);
/// What nobody wants any more is told after this long: a glance elsewhere doesn't stop and start an encoder.
const UNWANTED: Duration = Duration::from_millis(1_000);
/// What is wanted is found out anew after this long, whatever was noticed: who has gone may have wanted it.
const JUDGED: Duration = Duration::from_secs(1);
/// What the largest encoding is taken for while no keyframe has said its size: a camera's usual.
const USUAL: (u16, u16) = (1280, 720);

/// Where a track comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// From a peer of this worker's.
    Local { peer: usize },
    /// Over the trunk.
    Remote(WorkerIndex),
}

/// What comes first where a subscriber's line does not carry everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Somebody's camera.
    #[default]
    Other,
    /// The camera of who speaks.
    Speaker,
    /// A screen.
    Screen,
}

/// A receiving m-line that carries the track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscriber {
    pub(crate) peer: usize,
    pub(crate) sender: u16,
}

/// Another worker that gets the track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crossing {
    pub(crate) to: WorkerIndex,
    /// A bit for each encoding that anyone there wants.
    pub(crate) wanted: u8,
}

/// A published track.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) key: TrackKey,
    pub(crate) kind: MediaKind,
    pub(crate) home: Home,
    pub(crate) enabled: bool,
    pub(crate) standing: Standing,
    pub(crate) subscribers: Vec<Subscriber>,
    pub(crate) trunks: Vec<Crossing>,
    pub(crate) encodings: [Encoding; MAX_ENCODINGS],
    /// How many of them the publisher has.
    pub(crate) count: u8,
    /// Whether there is another choice of encodings than the subscribers know.
    pub(crate) changed: bool,
    /// Whether other encodings may be wanted than [`Track::wanted`] says.
    pub(crate) stale: bool,
    wanted: u8,
    judged: Option<Instant>,
    heard: Option<Instant>,
    /// The encodings that were said to be wanted, and since when fewer are.
    told: Option<u8>,
    fewer: Option<Instant>,
    /// Of audio.
    pub(crate) voice: Option<Box<Voice>>,
}

impl Track {
    pub(crate) fn new(key: TrackKey, kind: MediaKind, home: Home) -> Self {
        Self {
            key,
            kind,
            home,
            enabled: true,
            standing: Standing::default(),
            subscribers: Vec::new(),
            trunks: Vec::new(),
            encodings: std::array::from_fn(|_| Encoding::new()),
            count: 1,
            changed: false,
            stale: true,
            wanted: 0,
            judged: None,
            heard: None,
            told: None,
            fewer: None,
            voice: (kind == MediaKind::Audio).then(|| Box::new(Voice::new())),
        }
    }

    /// A packet has come.
    pub(crate) fn hear(&mut self, now: Instant, encoding: u8, frame: &FrameInfo, bytes: usize) {
        if self.heard.replace(now).is_some_and(|heard| now.saturating_duration_since(heard) >= PAUSE) {
            self.encodings.iter_mut().for_each(Encoding::forget_heard);
        }
        if self.count <= encoding {
            self.count = encoding + 1;
        }
        self.changed |= self.encodings[usize::from(encoding)].hear(now, frame, bytes);
        if self.count > 1 && frame.starts {
            for other in (0..self.count).filter(|&other| other != encoding) {
                self.encodings[usize::from(other)].miss();
            }
        }
    }

    /// Looks which encodings still come, and what they take.
    pub(crate) fn look(&mut self, now: Instant) {
        for encoding in &mut self.encodings[..usize::from(self.count)] {
            self.changed |= encoding.look(now);
            encoding.rates.look(now);
        }
    }

    /// What a target comes to with the encodings that come, and those that may do until then.
    pub(crate) fn aim(&self, target: Target) -> Option<(Layer, u8)> {
        let live = (0..self.count).any(|encoding| self.encodings[usize::from(encoding)].is_live());
        resolve(target, self.candidates(live))
    }

    /// The encodings that `target` would have if all came.
    pub(crate) fn wish(&self, target: Target) -> u8 {
        resolve(target, self.candidates(false)).map_or(0, |(layer, _)| 1 << layer.encoding)
    }

    fn candidates(&self, only_live: bool) -> impl Iterator<Item = Candidate> + Clone {
        let chosen = move |encoding: &u8| !only_live || self.encodings[usize::from(*encoding)].is_live();
        (0..self.count).filter(chosen).map(|encoding| Candidate { encoding, size: self.size(encoding) })
    }

    /// In pixels, as its last keyframe said; until one did, as far below the usual as its place among the encodings says.
    pub(crate) fn size(&self, encoding: u8) -> (u16, u16) {
        let below = self.count.saturating_sub(1 + encoding);
        self.encodings[usize::from(encoding)].size.unwrap_or((USUAL.0 >> below, USUAL.1 >> below))
    }

    /// Whether it is to be found out anew which encodings are wanted, which takes a look at every subscriber; what was found is told by [`Track::judge`].
    pub(crate) fn is_to_be_judged(&self, now: Instant) -> bool {
        self.stale || self.judged.is_none_or(|judged| now.saturating_duration_since(judged) >= JUDGED)
    }

    /// The encodings that anyone wants, a bit for each, as was just found out.
    pub(crate) fn judge(&mut self, now: Instant, wanted: u8) {
        (self.wanted, self.judged, self.stale) = (wanted, Some(now), false);
    }

    /// The encodings that anyone wants: a bit for each.
    pub(crate) fn wanted(&self) -> u8 {
        self.wanted
    }

    /// Whether to say that `wanted` are, to who gathers what several want: at once.
    pub(crate) fn tell_at_once(&mut self, wanted: u8) -> bool {
        self.told.replace(wanted) != Some(wanted)
    }

    /// Which encodings to say are wanted now that `wanted` are; `None`: those that were said to be. More at once, fewer after a while.
    pub(crate) fn tell(&mut self, now: Instant, wanted: u8) -> Option<u8> {
        let told = self.told.unwrap_or(0);
        let mut tell = told | wanted;
        if tell == wanted {
            self.fewer = None;
        } else if now.saturating_duration_since(*self.fewer.get_or_insert(now)) >= UNWANTED {
            (tell, self.fewer) = (wanted, None);
        }
        (self.told.replace(tell) != Some(tell)).then_some(tell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_told_at_once_and_what_is_not_after_a_while() {
        let start = Instant::now();
        let mut track = Track::new(TrackKey(1), MediaKind::Video, Home::Local { peer: 0 });
        let mut told = |ms: u64, wanted: u8| track.tell(start + Duration::from_millis(ms), wanted);
        let steps = [
            (0, 0b000, Some(0b000)),
            (50, 0b100, Some(0b100)),
            (100, 0b100, None),
            (200, 0b001, Some(0b101)),
            (1_100, 0b001, None),
            (1_200, 0b001, Some(0b001)),
            (1_300, 0b000, None),
            (1_900, 0b001, None),
            (2_000, 0b000, None),
            (2_900, 0b000, None),
            (3_000, 0b000, Some(0b000)),
            (3_100, 0b010, Some(0b010)),
        ];
        for (ms, wanted, expected) in steps {
            assert_eq!(told(ms, wanted), expected, "{wanted:03b} at {ms} ms");
        }
    }

    #[test]
    fn a_target_is_what_comes_and_a_wish_what_could() {
        let now = Instant::now();
        let mut track = Track::new(TrackKey(1), MediaKind::Video, Home::Local { peer: 0 });
        track.count = 3;
        assert_eq!(track.aim(Target::Largest), Some((Layer::all_of(2), 0b111)), "nothing came yet");
        track.hear(now, 0, &FrameInfo::default(), 100);
        assert_eq!(track.aim(Target::Largest), Some((Layer::all_of(0), 0b001)));
        assert_eq!(track.wish(Target::Largest), 0b100);
        assert_eq!(track.wish(Target::Covering { width: 500, height: 280 }), 0b010, "as large as its place says");
        assert_eq!(track.wish(Target::Nothing), 0);
        assert!(std::mem::take(&mut track.changed));
        track.hear(now, 1, &FrameInfo::default(), 100);
        assert!(std::mem::take(&mut track.changed));
        track.hear(now, 1, &FrameInfo::default(), 100);
        assert!(!track.changed);
    }
}
