//! What a packet says of its frame: where it belongs among the layers, and the numbers that have to go on when frames are left out or the source
//! changes.

mod vp8;
mod vp9;

use switchyard_rtp::Codec;
use switchyard_rtp::codec::dependency::{Descriptor, Structure};
use switchyard_rtp::codec::{h264, is_keyframe, starts_frame};

/// What the selector and the rewriter need to know of a packet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FrameInfo {
    /// The packet begins a frame, of one spatial layer.
    pub(crate) starts: bool,
    /// The packet ends a frame, if that is said elsewhere than in the marker.
    pub(crate) ends: bool,
    /// A decoder can begin here.
    pub(crate) keyframe: bool,
    /// The spatial layer, from 0.
    pub(crate) spatial: u8,
    /// The temporal layer, from 0.
    pub(crate) temporal: u8,
    /// The frame refers to no other of its temporal layer or of one between it and the lowest, nor does any that follows: one may move up here.
    pub(crate) sync: bool,
    /// No picture that follows refers to one before this of a higher temporal layer than this one's: one may move up after it.
    pub(crate) opens: bool,
    /// The frame refers to no picture before: one may move up to its spatial layer from the one below.
    pub(crate) intra: bool,
    /// What a dependency descriptor says; then the three above don't count.
    pub(crate) dependencies: Option<Dependencies>,
    /// What a keyframe says of its size in pixels.
    pub(crate) size: Option<(u16, u16)>,
    pub(crate) numbers: Numbers,
}

/// What a dependency descriptor says of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dependencies {
    /// The frame's number.
    pub(crate) number: u16,
    /// The layers one may switch to here, if the frame can be decoded: bit spatial × 8 + temporal.
    pub(crate) switches: u32,
    /// The frames needed, the lowest bit for the one before; `None`: one too far back to know.
    pub(crate) needs: Option<u128>,
}

impl FrameInfo {
    /// Reads the beginning of a payload, and the dependency descriptor if there is one, which refers to `structure`.
    pub(crate) fn read(codec: Codec, payload: &[u8], descriptor: Option<&[u8]>, structure: Option<&Structure>) -> Self {
        let mut info = match codec {
            Codec::Vp8 => vp8::read(payload),
            Codec::Vp9Profile0 | Codec::Vp9Profile2 => vp9::read(payload),
            Codec::Opus | Codec::Red | Codec::Av1 | Codec::H265 => {
                Self { starts: starts_frame(codec, payload, descriptor), ..Self::default() }
            }
            _ => Self { starts: starts_frame(codec, payload, descriptor), size: h264::size(payload), ..Self::default() },
        };
        info.keyframe = is_keyframe(codec, payload, descriptor);
        if let Some(structure) = structure
            && let Some(said) = descriptor.and_then(|descriptor| Descriptor::parse(descriptor, structure))
        {
            (info.starts, info.ends, info.spatial, info.temporal) = (said.starts_frame, said.ends_frame, said.spatial, said.temporal);
            info.dependencies = Some(Dependencies { number: said.number, switches: said.switches, needs: said.needs });
            if info.keyframe {
                info.size = structure.size().or(info.size);
            }
        }
        info.numbers.frame = descriptor.and_then(|descriptor| Some(u16::from_be_bytes([*descriptor.get(1)?, *descriptor.get(2)?])));
        info
    }
}

/// Counters of a stream that receivers follow; `None` where a packet has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// 15 bits, or 7.
    pub(crate) picture: Option<Number>,
    /// Receivers wait for every picture id. Otherwise frames name others by the difference of theirs, which has to stay.
    pub(crate) dense: bool,
    /// VP8's and VP9's index of frames of the lowest temporal layer.
    pub(crate) base: Option<Number>,
    /// VP8's index of keyframes: 5 bits.
    pub(crate) key: Option<Number>,
    /// The dependency descriptor's; it stands in a header extension.
    pub(crate) frame: Option<u16>,
}

/// A counter and where it stands in the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) value: u16,
    pub(crate) at: u8,
    /// How many of the last bits at `at` it has: 15 stand in two bytes.
    pub(crate) bits: u8,
}

impl Number {
    fn write(self, payload: &mut [u8], value: u16) {
        let at = usize::from(self.at);
        if self.bits == 15 {
            if let Some(bytes) = payload.get_mut(at..at + 2) {
                bytes.copy_from_slice(&(value | 0x8000).to_be_bytes());
            }
        } else if let Some(byte) = payload.get_mut(at) {
            let mask = ((1u16 << self.bits) - 1) as u8;
            *byte = *byte & !mask | value as u8 & mask;
        }
    }
}

/// What is added to the numbers of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shift {
    pub(crate) timestamp: u32,
    pub(crate) picture: u16,
    pub(crate) base: u16,
    pub(crate) key: u16,
    pub(crate) frame: u16,
}

/// The numbers last sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    picture: Option<u16>,
    base: Option<u16>,
    key: Option<u16>,
    frame: Option<u16>,
}

impl Numbers {
    /// Writes them into a copy of the payload they were read from.
    pub(crate) fn write(&self, payload: &mut [u8], shift: &Shift) {
        if shift.picture | shift.base | shift.key == 0 {
            return;
        }
        for (number, by) in [(self.picture, shift.picture), (self.base, shift.base), (self.key, shift.key)] {
            if let Some(number) = number.filter(|_| by != 0) {
                number.write(payload, number.value.wrapping_add(by));
            }
        }
    }

    /// A copy of the dependency descriptor with its frame number moved.
    pub(crate) fn renumber<'c>(&self, descriptor: &[u8], shift: &Shift, copy: &'c mut [u8; 255]) -> Option<&'c [u8]> {
        let copy = copy.get_mut(..descriptor.len())?;
        copy.copy_from_slice(descriptor);
        if let (Some(frame), Some(number)) = (self.frame, copy.get_mut(1..3)) {
            number.copy_from_slice(&frame.wrapping_add(shift.frame).to_be_bytes());
        }
        Some(copy)
    }
}

impl Sent {
    /// What makes `numbers` the next after these, all else of the shift kept.
    pub(crate) fn follow(&self, numbers: &Numbers, shift: Shift) -> Shift {
        let next = |sent: Option<u16>, number: Option<u16>| match (sent, number) {
            (Some(sent), Some(value)) => sent.wrapping_add(1).wrapping_sub(value),
            _ => 0,
        };
        let value = |number: Option<Number>| number.map(|number| number.value);
        Shift {
            picture: next(self.picture, value(numbers.picture)),
            base: next(self.base, value(numbers.base)),
            key: next(self.key, value(numbers.key)),
            frame: next(self.frame, numbers.frame),
            ..shift
        }
    }

    /// These were sent.
    pub(crate) fn note(&mut self, numbers: &Numbers, shift: &Shift) {
        for (sent, number, by) in [
            (&mut self.picture, numbers.picture, shift.picture),
            (&mut self.base, numbers.base, shift.base),
            (&mut self.key, numbers.key, shift.key),
        ] {
            if let Some(number) = number {
                *sent = Some(number.value.wrapping_add(by));
            }
        }
        if let Some(frame) = numbers.frame {
            self.frame = Some(frame.wrapping_add(shift.frame));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_width_and_their_neighbours() {
        let table = [
            (15, vec![0xff, 0xff], 1, vec![0x80, 0x00]),
            (15, vec![0x80, 0x05], 0xffff, vec![0x80, 0x04]),
            (7, vec![0x7f], 1, vec![0x00]),
            (8, vec![0xff], 2, vec![0x01]),
            (5, vec![0xff], 1, vec![0xe0]),
            (5, vec![0x41], 3, vec![0x44]),
        ];
        for (bits, before, by, after) in table {
            let value = before.iter().fold(0u16, |value, byte| value << 8 | u16::from(*byte)) & ((1u32 << bits) - 1) as u16;
            let numbers = Numbers { picture: Some(Number { value, at: 0, bits }), ..Numbers::default() };
            let mut payload = before.clone();
            numbers.write(&mut payload, &Shift { picture: by, ..Shift::default() });
            assert_eq!(payload, after, "{before:?} of {bits} bits and {by}");
        }
        let beyond = Numbers { picture: Some(Number { value: 1, at: 3, bits: 15 }), ..Numbers::default() };
        beyond.write(&mut [0; 4], &Shift { picture: 1, ..Shift::default() });
    }

    #[test]
    fn a_new_source_follows_what_was_sent() {
        let number = |value, bits| Some(Number { value, at: 0, bits });
        let mut sent = Sent::default();
        let first = Numbers { picture: number(0x7fff, 15), dense: true, base: number(255, 8), key: number(31, 5), frame: Some(65_535) };
        assert_eq!(sent.follow(&first, Shift::default()), Shift::default(), "the first keeps its own");
        sent.note(&first, &Shift::default());
        let other = Numbers { picture: number(100, 15), dense: true, base: number(7, 8), key: number(2, 5), frame: Some(9) };
        let shift = sent.follow(&other, Shift { timestamp: 5, ..Shift::default() });
        assert_eq!((100 + u32::from(shift.picture)) & 0x7fff, 0);
        assert_eq!((7 + u32::from(shift.base)) & 0xff, 0);
        assert_eq!((2 + u32::from(shift.key)) & 0x1f, 0);
        assert_eq!((9u16.wrapping_add(shift.frame), shift.timestamp), (0, 5));
        sent.note(&Numbers::default(), &Shift::default());
        assert_eq!(sent.follow(&other, Shift::default()).picture, shift.picture, "a packet without numbers changes nothing");
    }
}
