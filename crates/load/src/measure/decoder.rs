//! A decoder as a receiver's eyes know it: which frames it could show, and how long the picture stood still.
//!
//! Frames are counted by their stamps. One can be shown when all its packets are there and it is a keyframe, or the frame before it was shown.
//! What is missing is waited for as long as a jitter buffer would; then the picture stands until a keyframe comes. A freeze is what W3C's
//! `freezeCount` (webrtc-stats) counts: a gap between two frames longer than three mean gaps, and longer than the mean and 150 ms.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

/// Frames that are put together at once: two seconds.
const FRAMES: usize = 64;
/// How long a decoder waits for what is missing once later frames are complete, in microseconds.
const PATIENCE: u64 = 500_000;
/// A gap that is longer than the mean by this, in microseconds, may be a freeze.
const FREEZE: u64 = 150_000;
/// Gaps that the mean is taken of.
const GAPS: usize = 30;

/// One packet of a frame, as its stamp says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramePacket {
    /// Counts the publication's frames.
    pub frame: u32,
    /// Packets in the frame.
    pub packets: u16,
    /// Which of them this is.
    pub index: u16,
    /// Whether the frame needs no other.
    pub keyframe: bool,
}

/// What was seen between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// Frames shown.
    pub shown: u64,
    /// Frames passed over.
    pub dropped: u64,
    /// Freezes that ended or go on.
    pub freezes: u64,
    /// Microseconds of freezes.
    pub frozen: u64,
    /// Microseconds since the first frame was shown.
    pub watched: u64,
}

struct Partial {
    frame: u32,
    missing: u16,
    /// One bit for each packet that came.
    came: Vec<u64>,
    keyframe: bool,
    complete_at: Option<u64>,
}

/// One receiver's picture of one track.
#[derive(Default)]
pub struct Decoder {
    partials: VecDeque<Partial>,
    /// The last frame that was shown or given up.
    last: Option<u32>,
    /// Nothing can be shown before a keyframe.
    broken: bool,
    shown_at: Option<u64>,
    first_shown_at: Option<u64>,
    gaps: VecDeque<u64>,
    /// When [`Decoder::take`] was last called.
    taken_at: u64,
    /// A freeze that goes on has been counted.
    freezing: bool,
    seen: Seen,
}

impl Decoder {
    /// Takes a packet that came at `now` microseconds; whether a keyframe is needed for the picture to go on.
    pub fn handle_packet(&mut self, packet: FramePacket, now: u64) -> bool {
        if self.last.is_some_and(|last| packet.frame.wrapping_sub(last).wrapping_sub(1) >= u32::MAX / 2) {
            return self.broken;
        }
        self.add(packet, now);
        self.advance(now);
        self.broken
    }

    /// When the first frame was shown.
    pub fn first_shown_at(&self) -> Option<u64> {
        self.first_shown_at
    }

    /// What was seen since this was last called. A picture that stands still stands still up to `now`.
    pub fn take(&mut self, now: u64) -> Seen {
        self.advance(now);
        if let (Some(first), Some(shown)) = (self.first_shown_at, self.shown_at) {
            self.seen.watched = now.saturating_sub(first.max(self.taken_at));
            let gap = now.saturating_sub(shown);
            if self.is_freeze(gap) {
                self.freeze(shown, now);
                self.freezing = true;
            }
        }
        self.taken_at = now;
        std::mem::take(&mut self.seen)
    }

    fn add(&mut self, packet: FramePacket, now: u64) {
        let place = self.partials.iter().position(|partial| partial.frame.wrapping_sub(packet.frame) as i32 >= 0);
        let place = match place {
            Some(place) if self.partials[place].frame == packet.frame => place,
            place => {
                let place = place.unwrap_or(self.partials.len());
                let packets = packet.packets.max(1);
                let came = vec![0; usize::from(packets).div_ceil(64)];
                let partial = Partial { frame: packet.frame, missing: packets, came, keyframe: packet.keyframe, complete_at: None };
                self.partials.insert(place, partial);
                place
            }
        };
        let partial = &mut self.partials[place];
        let (word, bit) = (usize::from(packet.index / 64), 1 << (packet.index % 64));
        let Some(word) = partial.came.get_mut(word).filter(|word| **word & bit == 0) else { return };
        *word |= bit;
        partial.missing = partial.missing.saturating_sub(1);
        if partial.missing == 0 {
            partial.complete_at = Some(now);
        }
    }

    fn advance(&mut self, now: u64) {
        loop {
            let Some(front) = self.partials.front() else { return };
            let follows = self.last.is_none_or(|last| front.frame == last.wrapping_add(1)) && !self.broken;
            if front.complete_at.is_some() && (front.keyframe || (follows && self.last.is_some())) {
                self.show(now);
                continue;
            }
            if front.complete_at.is_some() && self.last.is_none() && !front.keyframe {
                // The stream was entered in the middle.
                self.drop_front();
                self.broken = true;
                continue;
            }
            // What is missing is given up when something complete has waited for it too long, or when there is too much of it; a complete keyframe
            // needs nothing before it.
            let late = |partial: &Partial| partial.complete_at.is_some_and(|at| now >= at + PATIENCE);
            if self.partials.iter().skip(1).any(|partial| partial.keyframe && partial.complete_at.is_some())
                || self.partials.iter().any(late)
                || self.partials.len() > FRAMES
            {
                self.drop_front();
                self.broken = true;
                continue;
            }
            return;
        }
    }

    fn drop_front(&mut self) {
        let Some(front) = self.partials.pop_front() else { return };
        self.pass(front.frame);
        self.seen.dropped += u64::from(self.first_shown_at.is_some());
    }

    /// Counts the frames between the last one and `frame` as passed over, and goes on from there.
    fn pass(&mut self, frame: u32) {
        if let Some(last) = self.last.replace(frame)
            && self.first_shown_at.is_some()
        {
            self.seen.dropped += u64::from(frame.wrapping_sub(last).wrapping_sub(1));
        }
    }

    fn show(&mut self, now: u64) {
        let Some(front) = self.partials.pop_front() else { return };
        self.pass(front.frame);
        self.broken = false;
        self.seen.shown += 1;
        self.first_shown_at.get_or_insert(now);
        if let Some(before) = self.shown_at.replace(now) {
            let gap = now.saturating_sub(before);
            if self.is_freeze(gap) {
                self.freeze(before, now);
            }
            if self.gaps.len() == GAPS {
                self.gaps.pop_front();
            }
            self.gaps.push_back(gap);
        }
        self.freezing = false;
    }

    fn is_freeze(&self, gap: u64) -> bool {
        let count = self.gaps.len() as u64;
        if count == 0 {
            return false;
        }
        let mean = self.gaps.iter().sum::<u64>() / count;
        gap > (3 * mean).max(mean + FREEZE)
    }

    fn freeze(&mut self, from: u64, to: u64) {
        self.seen.freezes += u64::from(!self.freezing);
        self.seen.frozen += to.saturating_sub(from.max(self.taken_at));
    }
}
