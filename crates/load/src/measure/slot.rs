//! The numbers of one RTP stream as a server that leaves frames out makes them: without a gap for what was left out on purpose. So what is
//! missing between two packets was addressed to this receiver, and is lost if it never comes.

use std::collections::VecDeque;

use switchyard_rtp::codec::vp8::Descriptor;
use switchyard_rtp::sequence::SequenceExtender;

use super::decoder::Layer;

/// Missing packets that are remembered: what comes later than so many others is not waited for.
const MISSING: usize = 2048;
/// A gap that is larger is another stream's beginning, as receivers take it.
const JUMP: u64 = 3000;
/// Bits of a picture id.
const PICTURE_BITS: u32 = 15;

/// A packet that has not come.
#[derive(Clone, Copy, Debug)]
struct Missing {
    index: u64,
    /// Whose it is taken for: whose the one behind it is.
    publication: u32,
    measured: bool,
}

/// One stream that carries now this publication, now that one.
#[derive(Debug, Default)]
pub(super) struct Slot {
    numbers: SequenceExtender,
    missing: VecDeque<Missing>,
    /// Of the newest packet.
    publication: Option<u32>,
    picture: Option<u32>,
}

/// What a packet is in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// None behind it came before.
    pub(super) is_newest: bool,
    /// It is the first of this publication here since another was.
    pub(super) enters: bool,
    /// Measured packets of this publication that are given up because too many are missing.
    pub(super) given_up: u64,
}

impl Slot {
    /// Takes a packet of a publication; whether it is measured decides whether what is missing before it is.
    pub(super) fn take(&mut self, sequence: u16, publication: u32, measured: bool) -> Taken {
        let highest = self.numbers.highest();
        let index = self.numbers.extend(sequence);
        let is_new = highest.is_none_or(|highest| index > highest);
        let mut taken = Taken { is_newest: is_new, enters: false, given_up: 0 };
        if !is_new {
            self.fill(index);
            return taken;
        }
        if let Some(highest) = highest.filter(|highest| index - highest < JUMP) {
            self.missing.extend((highest + 1..index).map(|index| Missing { index, publication, measured }));
            let surplus = self.missing.len().saturating_sub(MISSING);
            let given_up = self.missing.drain(..surplus).filter(|missing| missing.measured && missing.publication == publication);
            taken.given_up = given_up.count() as u64;
        }
        taken.enters = self.publication.replace(publication) != Some(publication);
        taken
    }

    /// A number that stands for nothing: the server can't tell beforehand that it will leave a packet out.
    pub(super) fn skip(&mut self, sequence: u16) {
        let highest = self.numbers.highest();
        let index = self.numbers.extend(sequence);
        match highest {
            Some(highest) if index > highest => {
                let publication = self.publication.unwrap_or(u32::MAX);
                let gap = highest + 1..index.min(highest + JUMP);
                self.missing.extend(gap.map(|index| Missing { index, publication, measured: false }));
                self.missing.drain(..self.missing.len().saturating_sub(MISSING));
            }
            _ => self.fill(index),
        }
    }

    fn fill(&mut self, index: u64) {
        // In the order of their numbers.
        if let Ok(at) = self.missing.binary_search_by_key(&index, |missing| missing.index) {
            self.missing.remove(at);
        }
    }

    /// Measured packets of a publication that have not come.
    pub(super) fn lost(&self, publication: u32) -> u64 {
        self.missing.iter().filter(|missing| missing.measured && missing.publication == publication).count() as u64
    }

    /// What is missing by now was before the measured time.
    pub(super) fn open_window(&mut self) {
        self.missing.iter_mut().for_each(|missing| missing.measured = false);
    }

    /// The frame's number, without a gap for what was left out, and its place among temporal layers; nothing if the payload does not say it.
    pub(super) fn frame(&mut self, payload: &[u8]) -> Option<(u32, Layer)> {
        let descriptor = Descriptor::parse(payload)?;
        let id = u32::from(descriptor.picture_id.filter(|id| id.long)?.value);
        let (base, _) = descriptor.tl0_picture_index?;
        // Beginning a cycle above 0, so that what came before the first has a number too.
        let last = self.picture.unwrap_or(1 << PICTURE_BITS | id);
        let ahead = (id.wrapping_sub(last) << (32 - PICTURE_BITS)) as i32 >> (32 - PICTURE_BITS);
        let number = last.wrapping_add_signed(ahead);
        if ahead >= 0 {
            self.picture = Some(number);
        }
        Some((number, Layer { temporal: descriptor.temporal_layer.unwrap_or(0), base, sync: descriptor.layer_sync }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_between_two_numbers_and_never_comes_is_lost() {
        let mut slot = Slot::default();
        assert!(slot.take(65_534, 1, true).enters);
        for sequence in [65_535, 2, 3] {
            assert!(!slot.take(sequence, 1, true).enters);
        }
        assert_eq!(slot.lost(1), 2, "0 and 1");
        slot.take(0, 1, true);
        slot.skip(1);
        assert_eq!(slot.lost(1), 0);
        slot.skip(4);
        slot.take(5, 1, true);
        assert_eq!(slot.lost(1), 0, "a number that stands for nothing is no loss");
    }

    #[test]
    fn what_is_missing_belongs_to_the_publication_behind_it_and_to_its_time() {
        let mut slot = Slot::default();
        slot.take(10, 1, false);
        slot.take(12, 1, false);
        assert_eq!(slot.lost(1), 0, "before the measured time");
        assert!(slot.take(14, 2, true).enters);
        assert_eq!((slot.lost(1), slot.lost(2)), (0, 1));
        assert!(slot.take(15, 1, true).enters);
        slot.open_window();
        assert_eq!(slot.lost(2), 0);
        slot.take(15 + 3_500, 1, true);
        assert_eq!(slot.lost(1), 0, "another beginning");
    }

    #[test]
    fn missing_packets_are_bounded_and_none_is_forgotten() {
        let mut slot = Slot::default();
        slot.take(0, 1, true);
        let mut given_up = 0;
        for step in 1..=4u16 {
            given_up += slot.take(step * 1000, 1, true).given_up;
        }
        assert_eq!(slot.missing.len(), MISSING);
        assert_eq!(given_up + slot.lost(1), 4 * 999);
    }

    #[test]
    fn picture_ids_go_on_beyond_their_bits() {
        let mut slot = Slot::default();
        let payload = |id: u16, temporal: u8| [0x90, 0xf0, 0x80 | (id >> 8) as u8, id as u8, 7, temporal << 6 | 0x20];
        let (first, layer) = slot.frame(&payload(0x7ffe, 2)).unwrap();
        assert_eq!(layer, Layer { temporal: 2, base: 7, sync: true });
        for (id, after) in [(0x7fff, 1), (0, 2), (1, 3), (0x7fff, 1), (2, 4)] {
            assert_eq!(slot.frame(&payload(id, 0)).unwrap().0, first + after, "{id}");
        }
        assert_eq!(slot.frame(&[0x10, 0]), None);
    }
}
