//! How large each video track is wanted at most, or carried by any line, and when its publisher is to be told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use switchyard_protocol::TrackId;

/// A publisher is told this much later that less is wanted: who turns a page or moves a window may want it back at once, and what begins anew costs a
/// keyframe.
const GRACE: Duration = Duration::from_secs(1);

/// A picture in pixels of the screen it is shown on. The greater it is, the more of the publisher's picture it needs: one direction is enough to cover it, so it is the
/// narrower one of both that counts, for a picture of 16 to 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Across.
    pub width: u16,
    /// Down.
    pub height: u16,
}

impl Size {
    /// Not wanted at all.
    pub const NONE: Self = Self { width: 0, height: 0 };
    /// As large as it gets.
    pub const FULL: Self = Self { width: u16::MAX, height: u16::MAX };

    fn key(self) -> (u32, u16, u16) {
        let (width, height) = (u32::from(self.width), u32::from(self.height));
        ((width * 9).min(height * 16), self.width, self.height)
    }
}

impl PartialOrd for Size {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Size {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    /// How many want it at each size. Never 0.
    sizes: BTreeMap<Size, u32>,
    /// What lines carry of it at most.
    limit: Size,
    /// What the publisher believes.
    told: Size,
    /// When it is to hear of less.
    less_at: Option<Instant>,
}

impl Wanted {
    fn most(&self) -> Size {
        self.sizes.last_key_value().map_or(Size::NONE, |(&size, _)| size.min(self.limit))
    }
}

/// All video tracks of a room.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Demand {
    tracks: BTreeMap<TrackId, Wanted>,
    /// Those of which another size may have to be told.
    changed: BTreeSet<TrackId>,
}

impl Demand {
    /// A new track: its publisher believes that it is wanted.
    pub fn publish(&mut self, track: TrackId) {
        self.tracks.insert(track, Wanted { sizes: BTreeMap::new(), limit: Size::FULL, told: Size::FULL, less_at: None });
        self.changed.insert(track);
    }

    pub fn unpublish(&mut self, track: TrackId) {
        self.tracks.remove(&track);
        self.changed.remove(&track);
    }

    /// Somebody wants a track at another size, or not any more; or one begins to.
    pub fn change(&mut self, track: TrackId, from: Option<Size>, to: Option<Size>) {
        let Some(wanted) = self.tracks.get_mut(&track).filter(|_| from != to) else { return };
        if let Some(from) = from
            && let Some(count) = wanted.sizes.get_mut(&from)
        {
            *count -= 1;
            if *count == 0 {
                wanted.sizes.remove(&from);
            }
        }
        if let Some(to) = to {
            *wanted.sizes.entry(to).or_default() += 1;
        }
        self.changed.insert(track);
    }

    /// No line carries more of a track than this.
    pub fn limit(&mut self, track: TrackId, limit: Size) {
        if let Some(wanted) = self.tracks.get_mut(&track)
            && std::mem::replace(&mut wanted.limit, limit) != limit
        {
            self.changed.insert(track);
        }
    }

    /// What publishers are to be told now: more at once, less after a while.
    pub fn tell(&mut self, now: Instant) -> Vec<(TrackId, Size)> {
        let mut told = Vec::new();
        self.changed.retain(|&track| {
            let Some(wanted) = self.tracks.get_mut(&track) else { return false };
            let most = wanted.most();
            let waits = most < wanted.told && *wanted.less_at.get_or_insert(now + GRACE) > now;
            if waits {
                return true;
            }
            wanted.less_at = None;
            if most != wanted.told {
                wanted.told = most;
                told.push((track, most));
            }
            false
        });
        told
    }

    /// When [`Demand::tell`] wants to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        self.changed.iter().filter_map(|track| self.tracks.get(track)?.less_at).min()
    }

    /// What somebody believes about their own track who was told everything.
    pub fn told(&self, track: TrackId) -> Option<Size> {
        self.tracks.get(&track).map(|wanted| wanted.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACK: TrackId = TrackId(1);
    const SMALL: Size = Size { width: 320, height: 180 };
    const LARGE: Size = Size { width: 1280, height: 720 };

    fn shown(size: Size) -> (Demand, Instant) {
        let (mut demand, now) = (Demand::default(), Instant::now());
        demand.publish(TRACK);
        demand.change(TRACK, None, Some(size));
        demand.tell(now);
        demand.tell(now + GRACE);
        (demand, now + GRACE)
    }

    #[test]
    fn more_is_told_at_once_and_less_after_a_while() {
        let (mut demand, now) = shown(SMALL);
        assert_eq!(demand.told(TRACK), Some(SMALL));
        demand.change(TRACK, None, Some(LARGE));
        assert_eq!(demand.tell(now), [(TRACK, LARGE)]);
        demand.change(TRACK, Some(LARGE), None);
        assert_eq!(demand.tell(now), []);
        assert_eq!(demand.deadline(), Some(now + GRACE));
        assert_eq!(demand.tell(now + GRACE / 2), []);
        assert_eq!(demand.tell(now + GRACE), [(TRACK, SMALL)]);
        assert_eq!(demand.deadline(), None);
    }

    #[test]
    fn what_is_given_up_and_wanted_again_at_once_is_not_told() {
        let (mut demand, now) = shown(LARGE);
        demand.change(TRACK, Some(LARGE), None);
        assert_eq!(demand.tell(now), []);
        demand.change(TRACK, None, Some(LARGE));
        assert_eq!(demand.tell(now + GRACE / 2), []);
        demand.change(TRACK, Some(LARGE), None);
        assert_eq!(demand.tell(now + GRACE), [], "the time begins anew");
        assert_eq!(demand.tell(now + GRACE * 2), [(TRACK, Size::NONE)]);
    }

    #[test]
    fn a_track_that_nobody_takes_up_is_not_wanted() {
        let (mut demand, now) = (Demand::default(), Instant::now());
        demand.publish(TRACK);
        assert_eq!(demand.tell(now), []);
        assert_eq!(demand.tell(now + GRACE), [(TRACK, Size::NONE)]);
        demand.unpublish(TRACK);
        demand.change(TRACK, None, Some(LARGE));
        assert_eq!(demand, Demand::default());
    }

    #[test]
    fn a_tall_tile_needs_less_of_the_picture_than_a_wide_one_of_fewer_pixels() {
        let (tall, wide) = (Size { width: 688, height: 864 }, Size { width: 1024, height: 576 });
        let (mut demand, now) = shown(tall);
        demand.change(TRACK, None, Some(wide));
        assert_eq!(demand.tell(now), [(TRACK, wide)], "640 by 360 covers the former, in one direction");
    }

    #[test]
    fn what_no_line_carries_is_not_wanted_however_large_it_is_shown() {
        let (mut demand, now) = shown(LARGE);
        demand.limit(TRACK, SMALL);
        assert_eq!(demand.tell(now), []);
        assert_eq!(demand.tell(now + GRACE), [(TRACK, SMALL)]);
        demand.change(TRACK, Some(LARGE), Some(Size::FULL));
        assert_eq!(demand.tell(now + GRACE), []);
        demand.limit(TRACK, Size::FULL);
        assert_eq!(demand.tell(now + GRACE), [(TRACK, Size::FULL)], "at once");
        demand.limit(TRACK, LARGE);
        demand.change(TRACK, Some(Size::FULL), Some(SMALL));
        demand.tell(now + GRACE);
        assert_eq!(demand.tell(now + GRACE * 2), [(TRACK, SMALL)]);
        demand.limit(TrackId(2), SMALL);
        assert_eq!(demand.tell(now + GRACE * 2), []);
    }

    #[test]
    fn the_largest_counts_however_many_want_less() {
        let (mut demand, now) = shown(LARGE);
        (0..3).for_each(|_| demand.change(TRACK, None, Some(SMALL)));
        demand.change(TRACK, Some(SMALL), None);
        assert_eq!(demand.tell(now), []);
        demand.change(TRACK, Some(LARGE), Some(SMALL));
        demand.tell(now);
        assert_eq!(demand.tell(now + GRACE), [(TRACK, SMALL)]);
    }
}
