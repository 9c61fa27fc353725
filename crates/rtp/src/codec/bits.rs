//! Bits, the highest first, as H.264's headers and the dependency descriptor are written.

/// Reads a few bytes bit by bit; what is beyond their end reads as `None`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// An unsigned number of at most 32 bits.
    pub(super) fn get(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = *self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        Some(self.get(1)? == 1)
    }

    /// A number below `below`, in as few bits as that takes (AV1 RTP payload format, appendix A.8.1: `ns`).
    pub(super) fn below(&mut self, below: u32) -> Option<u32> {
        let width = 32 - below.leading_zeros();
        let short = (1u32 << width) - below;
        let value = self.get(width.checked_sub(1)?)?;
        if value < short {
            return Some(value);
        }
        Some((value << 1) - short + self.get(1)?)
    }

    /// An unsigned Exp-Golomb code (ITU-T H.264 §9.1).
    pub(super) fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some(((1u64 << zeros) - 1) as u32 + self.get(zeros)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_kind_are_read_to_the_last_bit() {
        let mut bits = Bits::new(&[0b1010_1100, 0b1000_0010]);
        assert_eq!((bits.flag(), bits.golomb(), bits.golomb(), bits.golomb()), (Some(true), Some(1), Some(0), Some(0)));
        assert_eq!((bits.golomb(), bits.get(5), bits.get(1)), (Some(3), Some(2), None));
        let mut bits = Bits::new(&[0b0001_1011, 0b1110_0000]);
        let values: Vec<_> = (0..5).map(|_| bits.below(5).unwrap()).collect();
        assert_eq!(values, [0, 1, 2, 4, 3], "0, 1 and 2 have two bits, 3 and 4 three");
        assert_eq!(Bits::new(&[]).below(1), Some(0), "no bits at all");
        assert_eq!(Bits::new(&[0; 8]).golomb(), None);
    }
}
