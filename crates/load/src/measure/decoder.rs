//! A decoder as a receiver's eyes know it: which frames it could show, and how long the picture stood still.
//!
//! Frames are counted by their stamps. One can be shown when all its packets are there and it is a keyframe, or the frame before it was shown.
//! What is missing is waited for as long as a jitter buffer would; then the picture stands until a keyframe comes. A freeze is what W3C's
//! `freezeCount` (webrtc-stats) counts: a gap between two frames longer than three mean gaps, and longer than the mean and 150 ms.
//!
//! Where the server leaves frames out on purpose, frames are counted by their picture ids, which it makes go on without a gap, over changes of the
//! encoding as well. Then a frame of an upper temporal layer that is missing takes only its like with it: the next frame of the lowest layer needs
//! no other than the one before (RFC 7741 §4.2, TL0PICIDX). While a picture is paused or hidden nobody looks at it, and nothing freezes.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::traffic::MAX_ENCODINGS;

/// Frames that are put together at once: two seconds.
const FRAMES: usize = 64;
/// How long a decoder waits for what is missing once later frames are complete, in microseconds.
const PATIENCE: u64 = 500_000;
/// A gap that is longer than the mean by this, in microseconds, may be a freeze.
const FREEZE: u64 = 150_000;
/// Gaps that the mean is taken of.
const GAPS: usize = 30;
/// What is wanted and has not come after this, in microseconds, is taken not to come; a keyframe takes a tenth of it.
const VAIN: u64 = 3_000_000;
/// Times to a wanted encoding that are remembered until they are asked for: more than tiles change in a run.
const REACHED: usize = 1024;

/// One packet of a frame, as its stamp says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramePacket {
    /// Counts the frames without a gap.
    pub frame: u32,
    /// Packets in the frame.
    pub packets: u16,
    /// Which of them this is.
    pub index: u16,
    /// Whether the frame needs no other.
    pub keyframe: bool,
    /// Of which encoding it is.
    pub encoding: u8,
    /// Its place among temporal layers, if there may be frames without it.
    pub layer: Option<Layer>,
}

/// A frame's place among temporal layers, as its payload descriptor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The layer, 0 the lowest.
    pub temporal: u8,
    /// Counts the frames of the lowest layer; of the others, the last of those.
    pub base: u8,
    /// Whether it needs nothing but that.
    pub sync: bool,
}

/// Whether somebody looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Showing {
    /// At this picture.
    #[default]
    Shown,
    /// At what stands in its place: the server has said that the line carries no more.
    Paused,
    /// At others.
    Hidden,
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
    /// Microseconds since the first frame was shown, without those of pauses.
    pub watched: u64,
    /// Those of them with a picture of each encoding.
    pub by_encoding: [u64; MAX_ENCODINGS],
    /// Those of them with a picture of the encoding that is wanted.
    pub as_wanted: u64,
    /// Changes from one encoding to another.
    pub switches: u64,
    /// Pauses that began.
    pub pauses: u64,
    /// Microseconds of pauses.
    pub paused: u64,
}

struct Partial {
    frame: u32,
    missing: u16,
    /// One bit for each packet that came.
    came: Vec<u64>,
    keyframe: bool,
    encoding: u8,
    layer: Option<Layer>,
    complete_at: Option<u64>,
}

/// One receiver's picture of one track.
#[derive(Default)]
pub struct Decoder {
    partials: VecDeque<Partial>,
    /// The last frame that was shown or given up.
    last: Option<u32>,
    /// Of the lowest layer, likewise.
    base: u8,
    /// Nothing can be shown before a keyframe.
    broken: bool,
    /// A frame of an upper layer was given up: its like can't be shown before the next of the lowest.
    torn: bool,
    showing: Showing,
    /// What is on the screen.
    encoding: u8,
    /// What should be, and since when that has been waited for.
    wanted: Option<u8>,
    wanted_since: Option<u64>,
    /// How long it took each time, in microseconds.
    reached: Vec<u64>,
    shown_at: Option<u64>,
    first_shown_at: Option<u64>,
    gaps: VecDeque<u64>,
    /// Up to when it has been accounted for what was to be seen.
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
        self.look(now);
        std::mem::take(&mut self.seen)
    }

    /// Frames are of another stream from now on, whose numbers begin elsewhere.
    pub fn enter(&mut self) {
        self.partials.clear();
        (self.last, self.broken, self.torn) = (None, false, false);
    }

    /// From now on a picture of this encoding is wanted, if it is known of which; nothing happens if that is what was wanted.
    pub fn want(&mut self, encoding: Option<u8>, now: u64) {
        self.look(now);
        if self.wanted == encoding && self.showing != Showing::Hidden {
            return;
        }
        let is_there = self.showing == Showing::Shown && self.shown_at.is_some() && encoding == Some(self.encoding);
        if self.showing == Showing::Hidden {
            self.showing = Showing::Shown;
        }
        self.wanted = encoding;
        self.wanted_since = encoding.filter(|_| !is_there).map(|_| now);
    }

    /// The server has said that it sends nothing, or that it does again.
    pub fn pause(&mut self, paused: bool, now: u64) {
        self.look(now);
        match (self.showing, paused) {
            (Showing::Shown, true) => {
                self.showing = Showing::Paused;
                self.seen.pauses += 1;
            }
            (Showing::Paused, false) => {
                self.showing = Showing::Shown;
                self.shown_at = self.shown_at.map(|_| now);
            }
            _ => {}
        }
    }

    /// Nobody looks at it any more. If somebody does again, what is seen then begins with its first frame.
    pub fn hide(&mut self, now: u64) {
        self.look(now);
        (self.showing, self.wanted_since) = (Showing::Hidden, None);
        (self.shown_at, self.first_shown_at, self.freezing) = (None, None, false);
    }

    /// Whether there is nothing to be seen of it, on purpose.
    pub fn is_away(&self) -> bool {
        self.showing != Showing::Shown
    }

    /// How long each wanted encoding took to come since this was last called, in microseconds; and whether one has been waited for in vain.
    pub fn take_reached(&mut self, now: u64) -> (Vec<u64>, bool) {
        (std::mem::take(&mut self.reached), self.wanted_since.is_some_and(|since| now >= since + VAIN))
    }

    /// Accounts for what was to be seen up to now.
    fn look(&mut self, now: u64) {
        if let Some(shown) = self.shown_at.filter(|_| self.showing == Showing::Shown) {
            let gap = now.saturating_sub(shown);
            if self.is_freeze(gap) {
                self.freeze(shown, now);
                self.freezing = true;
            }
        }
        self.account(now);
    }

    fn account(&mut self, now: u64) {
        let since = |from: u64| now.saturating_sub(from.max(self.taken_at));
        match (self.showing, self.first_shown_at) {
            (Showing::Shown, Some(first)) => {
                let span = since(first);
                self.seen.watched += span;
                self.seen.by_encoding[usize::from(self.encoding).min(MAX_ENCODINGS - 1)] += span;
                self.seen.as_wanted += if self.wanted == Some(self.encoding) { span } else { 0 };
            }
            (Showing::Paused, _) => self.seen.paused += since(0),
            (Showing::Shown, None) | (Showing::Hidden, _) => {}
        }
        self.taken_at = self.taken_at.max(now);
    }

    fn add(&mut self, packet: FramePacket, now: u64) {
        let place = self.partials.iter().position(|partial| partial.frame.wrapping_sub(packet.frame) as i32 >= 0);
        let place = match place {
            Some(place) if self.partials[place].frame == packet.frame => place,
            place => {
                let place = place.unwrap_or(self.partials.len());
                let packets = packet.packets.max(1);
                let came = vec![0; usize::from(packets).div_ceil(64)];
                let partial = Partial {
                    frame: packet.frame,
                    missing: packets,
                    came,
                    keyframe: packet.keyframe,
                    encoding: packet.encoding,
                    layer: packet.layer,
                    complete_at: None,
                };
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
            // What no other frame needs is not waited for once a frame of the lowest layer that follows is there.
            if let Some(ahead) = self.partials.iter().position(|partial| self.is_next_base(partial)) {
                (0..ahead).for_each(|_| self.drop_front());
            }
            let Some(front) = self.partials.front() else { return };
            if front.complete_at.is_some() && (front.keyframe || self.follows(front)) {
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
                // A frame of an upper layer whose lowest one was shown breaks nothing but its like.
                let torn = front.layer.is_some_and(|layer| layer.temporal > 0 && layer.base == self.base) && self.last.is_some();
                self.drop_front();
                (self.torn, self.broken) = (true, self.broken || !torn);
                continue;
            }
            return;
        }
    }

    /// Whether a frame needs nothing that was not shown.
    fn follows(&self, partial: &Partial) -> bool {
        let Some(last) = self.last.filter(|_| !self.broken) else { return false };
        let in_turn = partial.frame == last.wrapping_add(1);
        match partial.layer {
            None => in_turn,
            Some(layer) if layer.temporal == 0 => layer.base == self.base.wrapping_add(1),
            Some(layer) => layer.base == self.base && (layer.sync || (in_turn && !self.torn)),
        }
    }

    /// Whether it is a whole frame of the lowest layer that can be shown, whatever is missing of the others.
    fn is_next_base(&self, partial: &Partial) -> bool {
        partial.complete_at.is_some()
            && !partial.keyframe
            && partial.layer.is_some_and(|layer| layer.temporal == 0)
            && self.follows(partial)
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
        if let Some(layer) = front.layer {
            self.base = layer.base;
            self.torn &= layer.temporal > 0 && !layer.sync;
        }
        self.seen.shown += 1;
        if self.showing == Showing::Paused && front.keyframe {
            // It is there before the server has said so; others were on their way when it paused.
            self.account(now);
            (self.showing, self.shown_at) = (Showing::Shown, None);
        }
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
        self.account(now);
        self.first_shown_at.get_or_insert(now);
        self.seen.switches += u64::from(self.first_shown_at != Some(now) && self.encoding != front.encoding);
        self.encoding = front.encoding;
        if self.wanted == Some(front.encoding)
            && let Some(since) = self.wanted_since.take()
            && self.reached.len() < REACHED
        {
            self.reached.push(now.saturating_sub(since));
        }
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
