//! A published track as one worker knows it: where it comes from, its encodings, who gets it.

use std::time::{Duration, Instant};

use switchyard_rtp::MediaKind;

use crate::encoding::Encoding;
use crate::layers::{Candidate, FrameInfo, Layer, MAX_ENCODINGS, Target, resolve};
use crate::voice::Voice;
use crate::{TrackKey, WorkerIndex};

/// After nothing came of any encoding for this long, which of them come is seen anew: after a pause browsers begin with the lowest.
const PAUSE: Duration = Duration::from_secs(3);
/// That no line carries an encoding that somebody shows is told after this long: estimates dip, and those of new lines grow for some seconds.
const UNCARRIED: Duration = Duration::from_secs(8);
/// What was once said of it is said again, in case it was not heard.
const REPEAT: Duration = Duration::from_secs(10);
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
    /// What anyone there wants.
    pub(crate) wanted: Wanted,
}

/// Which of a track's encodings are wanted: a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those that somebody would have who shows them, if they came and lines were no limit.
    pub shown: u8,
    /// Those that are sent to somebody, or would be.
    pub carried: u8,
}

impl Wanted {
    pub(crate) fn union(self, other: Self) -> Self {
        Self { shown: self.shown | other.shown, carried: self.carried | other.carried }
    }
}

/// A published track.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) key: TrackKey,
    pub(crate) kind: MediaKind,
    pub(crate) home: Home,
    pub(crate) enabled: bool,
    pub(crate) standing: Standing,
    /// In the order of peers.
    pub(crate) subscribers: Vec<Subscriber>,
    pub(crate) trunks: Vec<Crossing>,
    pub(crate) encodings: [Encoding; MAX_ENCODINGS],
    /// How many of them the publisher has.
    pub(crate) count: u8,
    /// Whether there is another choice of encodings than the subscribers know.
    pub(crate) changed: bool,
    /// Whether other encodings may be wanted than [`Track::wanted`] says.
    pub(crate) stale: bool,
    wanted: Wanted,
    judged: Option<Instant>,
    heard: Option<Instant>,
    /// What was said last to who gathers what several workers want.
    told: Option<Wanted>,
    limit: Limit,
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
            wanted: Wanted::default(),
            judged: None,
            heard: None,
            told: None,
            limit: Limit::default(),
            voice: (kind == MediaKind::Audio).then(|| Box::new(Voice::new())),
        }
    }

    /// Somebody gets it from now on.
    pub(crate) fn subscribe(&mut self, subscriber: Subscriber) {
        let place = self.subscribers.partition_point(|other| other.peer <= subscriber.peer);
        self.subscribers.insert(place, subscriber);
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
        }
    }

    /// What a target comes to with the encodings that come, and those that may do until then.
    pub(crate) fn aim(&self, target: Target) -> Option<(Layer, u8)> {
        let live = (0..self.count).any(|encoding| self.encodings[usize::from(encoding)].is_live());
        let (layer, begin) = resolve(target, self.candidates(live))?;
        let spatial = match target {
            Target::Covering { width, height } => self.covering(layer.encoding, width, height),
            _ => layer.spatial,
        };
        Some((Layer { spatial, ..layer }, begin))
    }

    /// The lowest spatial layer of an encoding that covers so many pixels; each is half as wide and high as the next.
    fn covering(&self, encoding: u8, width: u16, height: u16) -> u8 {
        let (top, size) = (self.encodings[usize::from(encoding)].rates.top(), self.size(encoding));
        let of = |spatial: u8| Candidate { encoding, size: (size.0 >> (top - spatial), size.1 >> (top - spatial)) };
        (0..top).find(|&spatial| of(spatial).covers(width, height)).unwrap_or(Layer::all_of(encoding).spatial)
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

    /// What is wanted, as was just found out.
    pub(crate) fn judge(&mut self, now: Instant, wanted: Wanted) {
        (self.wanted, self.judged, self.stale) = (wanted, Some(now), false);
    }

    /// What is wanted, if that is to be said to who gathers what several workers want: at once.
    pub(crate) fn tell_wanted(&mut self) -> Option<Wanted> {
        (self.told.replace(self.wanted) != Some(self.wanted)).then_some(self.wanted)
    }

    /// The largest encoding of use, if it is smaller than what is shown: no line carries more.
    fn most(&self) -> Option<u8> {
        let (shown, carried) = (self.largest(self.wanted.shown)?, self.largest(self.wanted.carried)?);
        (self.area(carried) < self.area(shown)).then_some(carried)
    }

    /// The one of these encodings, a bit for each, that has the most pixels.
    fn largest(&self, encodings: u8) -> Option<u8> {
        (0..self.count).filter(|place| encodings >> place & 1 == 1).max_by_key(|&place| self.area(place))
    }

    /// Those of which the largest is smaller.
    pub(crate) fn smaller(&self, some: u8, others: u8) -> u8 {
        let area = |encodings: u8| self.largest(encodings).map(|place| self.area(place));
        if area(others) < area(some) { others } else { some }
    }

    fn area(&self, encoding: u8) -> u32 {
        let (width, height) = self.size(encoding);
        u32::from(width) * u32::from(height)
    }

    /// Beyond which size nothing is of use to anybody, when that is to be said; `None` within: there is no limit.
    pub(crate) fn tell_limit(&mut self, now: Instant) -> Option<Option<(u16, u16)>> {
        let most = self.most().map(|place| (self.area(place), self.encodings[usize::from(place)].largest.unwrap_or(self.size(place))));
        self.limit.look(now, most)
    }
}

/// Which encodings lines carry at most, as the publisher has heard it: more at once, less after a while.
#[derive(Debug, Default)]
struct Limit {
    /// The largest encoding's area, and what is said of it. `None`: there is no limit.
    told: Most,
    said: Option<Instant>,
    /// Since when it is less, and the most that it was since then.
    less: Option<(Instant, Most)>,
}

type Most = Option<(u32, (u16, u16))>;

impl Limit {
    fn look(&mut self, now: Instant, most: Most) -> Option<Option<(u16, u16)>> {
        let rank = |most: Most| most.map_or(u32::MAX, |(area, _)| area);
        let mut tell = self.told;
        if rank(most) >= rank(self.told) {
            (tell, self.less) = (most, None);
        } else {
            let (since, best) = self.less.get_or_insert((now, most));
            *best = if rank(most) > rank(*best) { most } else { *best };
            if now.saturating_duration_since(*since) >= UNCARRIED {
                (tell, self.less) = (*best, None);
            }
        }
        let is_new = rank(tell) != rank(self.told);
        let is_due = is_new || self.said.is_some_and(|said| now.saturating_duration_since(said) >= REPEAT);
        self.told = tell;
        if is_due {
            self.said = Some(now);
        }
        is_due.then(|| tell.map(|(_, size)| size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_lines_carry_more_is_told_at_once_and_that_they_carry_less_after_a_while() {
        let start = Instant::now();
        let mut limit = Limit::default();
        let size = |place: u16| (320 << place, 180 << place);
        let mut told = |ms: u64, most: Option<u16>| {
            let most = most.map(|place| (u32::from(size(place).0) * u32::from(size(place).1), size(place)));
            limit.look(start + Duration::from_millis(ms), most)
        };
        let steps = [
            (0, None, None),
            (100, Some(1), None),
            (7_900, Some(1), None),
            (8_000, None, None),
            (8_100, Some(1), None),
            (9_000, Some(0), None),
            (16_100, Some(0), Some(Some(size(1)))),
            (16_200, Some(0), None),
            (24_200, Some(0), Some(Some(size(0)))),
            (34_100, Some(0), None),
            (34_200, Some(0), Some(Some(size(0)))),
            (34_300, Some(1), Some(Some(size(1)))),
            (34_400, None, Some(None)),
            (44_400, None, Some(None)),
        ];
        for (ms, most, expected) in steps {
            assert_eq!(told(ms, most), expected, "{most:?} at {ms} ms");
        }
    }

    #[test]
    fn the_limit_is_the_largest_that_is_carried_if_more_is_shown() {
        let mut track = Track::new(TrackKey(1), MediaKind::Video, Home::Local { peer: 0 });
        track.count = 3;
        for (shown, carried, most) in [
            (0b100, 0b100, None),
            (0b101, 0b011, Some(1)),
            (0b010, 0b011, None),
            (0b001, 0b100, None),
            (0b100, 0b001, Some(0)),
            (0b100, 0, None),
            (0, 0, None),
        ] {
            track.judge(Instant::now(), Wanted { shown, carried });
            assert_eq!(track.most(), most, "{shown:03b} are shown, {carried:03b} carried");
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
