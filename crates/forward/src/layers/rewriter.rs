//! Sequence numbers, times and codecs' numbers as a subscriber sees them: without a gap for what was left out on purpose, going on over changes of
//! the source, and the way back from a number that was sent to the packet it stood for.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use switchyard_rtp::sequence;

use super::codec::{Numbers, Sent, Shift};
use super::{FrameInfo, Layer};
use crate::TrackKey;

/// Pieces remembered, each between two things left out: 2 s of 30 frames a second of which every second one is. What is asked for after that comes too late.
const SEGMENTS: usize = 64;
/// Pieces before the newest without layers: sources that a retransmission request may reach back over.
const FEW: usize = 3;
/// A jump of the publisher's larger than this is closed: receivers take such a gap for another stream.
const MAX_JUMP: u64 = 2_000;
/// By how much a picture that would come before the last one is sent after it: 1 ms of video's clock.
const STEP: u32 = 90;

/// What a stretch of sent packets is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) track: TrackKey,
    pub(crate) encoding: u8,
}

/// The source's packets `from`.. are sent as `to`...
#[derive(Clone, Copy, Debug)]
struct Segment {
    source: Source,
    /// Counts beginnings: packets that come late belong to the same one only.
    run: u32,
    from: u64,
    to: u64,
    shift: Shift,
    /// What was sent of it: what comes late is judged by that.
    layer: Layer,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// The extended sequence number it is sent under.
    pub(crate) index: u64,
    pub(crate) shift: Shift,
    pub(crate) layer: Layer,
}

/// Renumbers one sender's packets.
#[derive(Debug, Default)]
pub(crate) struct Rewriter {
    /// The newest, here because every packet needs it.
    current: Option<Segment>,
    /// Those before, the newest last.
    before: VecDeque<Segment>,
    run: u32,
    /// The next number to be given; it never goes back.
    next: u64,
    /// After the newest packet of the source that was placed or left out.
    head: u64,
    /// The source's time of that packet.
    newest: u32,
    /// Added to the source's times, but for pictures that would come too early.
    offset: u32,
    /// What was sent before a change of the source, while its pictures would still come before that.
    floor: bool,
    last_timestamp: Option<u32>,
    sent: Sent,
}

impl Rewriter {
    /// The first number to be given is `next`.
    pub(crate) fn new(next: u64) -> Self {
        Self { next, ..Self::default() }
    }

    /// The next number to be given.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// What is added to the source's times.
    pub(crate) fn offset(&self) -> u32 {
        self.offset
    }

    /// The latest time sent.
    pub(crate) fn last_timestamp(&self) -> Option<u32> {
        self.last_timestamp
    }

    /// The source's numbers begin anew: none of before is one of these.
    pub(crate) fn forget(&mut self) {
        self.current = None;
        self.before.clear();
    }

    /// The newest first.
    fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.current.iter().chain(self.before.iter().rev())
    }

    /// The packet `index` begins another stretch, its times moved by `offset`. It takes the next number, and so do its codec's.
    pub(crate) fn begin(&mut self, source: Source, index: u64, timestamp: u32, numbers: &Numbers, layer: Layer, offset: u32) {
        self.run = self.run.wrapping_add(1);
        (self.head, self.offset) = (index, offset);
        self.newest = timestamp.wrapping_sub(1);
        let shift = self.sent.follow(numbers, Shift { timestamp: offset, ..Shift::default() });
        self.floor = self.last_timestamp.is_some();
        let (run, to) = (self.run, self.next);
        self.push(Segment { source, run, from: index, to, shift, layer });
    }

    /// Whether a packet of the source is older than one that was placed or left out.
    pub(crate) fn is_late(&self, index: u64) -> bool {
        index < self.head
    }

    /// Where a packet goes that is late. `None`: it was left out, or it is too old.
    pub(crate) fn place_late(&mut self, index: u64) -> Option<Placed> {
        let mut after = u64::MAX;
        for segment in self.segments().take_while(|segment| segment.run == self.run) {
            if segment.from <= index {
                let to = segment.to + (index - segment.from);
                return (to < after).then_some(Placed { index: to, shift: segment.shift, layer: segment.layer });
            }
            after = segment.to;
        }
        None
    }

    /// Where the newest packet goes; `layer` is what is being sent. `None`: nothing has begun.
    pub(crate) fn place(&mut self, index: u64, timestamp: u32, frame: &FrameInfo, layer: Layer) -> Option<Placed> {
        let segment = self.current.as_ref()?;
        let jumps = segment.to + (index - segment.from) > self.next + MAX_JUMP;
        if jumps || segment.layer != layer || (self.floor && timestamp != self.newest) {
            self.turn(index, timestamp, layer, jumps);
        }
        let segment = self.current.as_ref()?;
        let placed = Placed { index: segment.to + (index - segment.from), shift: segment.shift, layer };
        let sent = timestamp.wrapping_add(placed.shift.timestamp);
        if self.last_timestamp.is_none_or(|last| sequence::is_later(sent, last)) {
            self.last_timestamp = Some(sent);
        }
        (self.head, self.newest) = (index + 1, timestamp);
        self.sent.note(&frame.numbers, &placed.shift);
        Some(placed)
    }

    /// Another segment begins with `index`, or may do.
    #[cold]
    fn turn(&mut self, index: u64, timestamp: u32, layer: Layer, jumps: bool) {
        let Some(segment) = self.current else { return };
        if jumps {
            let to = self.next;
            self.push(Segment { from: index, to, ..segment });
        }
        if segment.layer != layer
            && let Some(segment) = self.cut(index)
        {
            segment.layer = layer;
        }
        if self.floor && timestamp != self.newest {
            self.lift(index, timestamp);
        }
    }

    /// The newest packet is left out on purpose: the next takes its number.
    pub(crate) fn skip(&mut self, index: u64, timestamp: u32, frame: &FrameInfo) {
        let is_whole = std::mem::replace(&mut self.newest, timestamp) != timestamp;
        if let Some(segment) = self.close(index).filter(|_| is_whole && frame.numbers.dense) {
            segment.shift.picture = segment.shift.picture.wrapping_sub(1);
        }
    }

    /// The newest packet belongs to no picture. The next takes its number, unless packets before it are missing: they may still come, and are no late ones then.
    pub(crate) fn pass_over(&mut self, index: u64) {
        if index == self.head {
            self.close(index);
        }
    }

    /// Nothing is sent for the newest packet: the segment, if there is one, begins after it.
    fn close(&mut self, index: u64) -> Option<&mut Segment> {
        self.head = index + 1;
        if self.before.capacity() < SEGMENTS {
            self.before.reserve_exact(SEGMENTS - self.before.len());
        }
        let segment = self.cut(index)?;
        (segment.from, segment.to) = (index + 1, segment.to + (index - segment.from));
        Some(segment)
    }

    /// A packet was sent under `index`.
    pub(crate) fn note(&mut self, index: u64) {
        self.next = self.next.max(index + 1);
    }

    /// Which packet was sent as `sequence`, and how; `None` if it is too long ago.
    pub(crate) fn source(&self, sequence: u16) -> Option<(Source, u64, Placed)> {
        let index = sequence::nearest(self.next.checked_sub(1)?, sequence).filter(|&index| index < self.next)?;
        let segment = self.segments().find(|segment| segment.to <= index)?;
        Some((segment.source, segment.from + (index - segment.to), Placed { index, shift: segment.shift, layer: segment.layer }))
    }

    /// The index after the last that was sent of a track, as far as is remembered.
    pub(crate) fn sent_of(&self, track: TrackKey) -> u64 {
        let mut end = self.next;
        for segment in self.segments() {
            if segment.source.track == track {
                return segment.from + end.saturating_sub(segment.to);
            }
            end = segment.to;
        }
        0
    }

    /// A change of the source came with pictures from before: each is sent a moment after the last, until the source has caught up.
    fn lift(&mut self, index: u64, timestamp: u32) {
        let Some(last) = self.last_timestamp else { return };
        let aligned = timestamp.wrapping_add(self.offset);
        self.floor = !sequence::is_later(aligned, last);
        let shift = if self.floor { last.wrapping_add(STEP).wrapping_sub(timestamp) } else { self.offset };
        if let Some(segment) = self.current.filter(|segment| segment.shift.timestamp != shift).and_then(|_| self.cut(index)) {
            segment.shift.timestamp = shift;
        }
    }

    /// The newest segment, made to begin at `index` at the latest number it can.
    fn cut(&mut self, index: u64) -> Option<&mut Segment> {
        let segment = self.current?;
        if segment.from < index {
            self.push(Segment { from: index, to: segment.to + (index - segment.from), ..segment });
        }
        self.current.as_mut()
    }

    fn push(&mut self, segment: Segment) {
        let Some(last) = self.current.replace(segment) else { return };
        if self.before.capacity() < FEW {
            self.before.reserve_exact(FEW);
        }
        if self.before.len() == self.before.capacity().min(SEGMENTS) {
            self.before.pop_front();
        }
        self.before.push_back(last);
    }
}
