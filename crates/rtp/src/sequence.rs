//! Sequence numbers that wrap, and their extension to indices that don't.

#[cfg(test)]
mod tests;

/// Whether `a` comes after `b` in the 16-bit circle (RFC 1982); false when they are equal or exactly opposite.
pub const fn is_newer(a: u16, b: u16) -> bool {
    let distance = a.wrapping_sub(b);
    distance != 0 && distance < 0x8000
}

/// Whether the RTP time `a` comes after `b` in the 32-bit circle; false when they are equal or exactly opposite.
pub const fn is_later(a: u32, b: u32) -> bool {
    let distance = a.wrapping_sub(b);
    distance != 0 && distance < 0x8000_0000
}

/// The index nearest to `reference` whose low 16 bits are `sequence` (RFC 3711 §3.3.1). `None` where that index would be
/// negative or overflow.
pub const fn nearest(reference: u64, sequence: u16) -> Option<u64> {
    let distance = sequence.wrapping_sub(reference as u16) as i16;
    reference.checked_add_signed(distance as i64)
}

/// Extends the 16-bit sequence numbers of one stream to indices that count on through wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequenceExtender {
    highest: Option<u64>,
}

impl SequenceExtender {
    /// An extender that continues from `index`.
    pub const fn starting_at(index: u64) -> Self {
        Self { highest: Some(index) }
    }

    /// The highest index so far; `None` before the first.
    pub const fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// The index of `sequence`, without remembering it. The first one lies one cycle above zero, so that packets
    /// reordered around the start have indices too.
    pub fn index(&self, sequence: u16) -> u64 {
        match self.highest {
            // Further below zero than a cycle can only be noise: it keeps its low bits.
            Some(highest) => nearest(highest, sequence).unwrap_or(u64::from(sequence)),
            None => 1 << 16 | u64::from(sequence),
        }
    }

    /// The index of `sequence`, remembered if it is the highest.
    pub fn extend(&mut self, sequence: u16) -> u64 {
        let index = self.index(sequence);
        self.highest = Some(self.highest.map_or(index, |highest| highest.max(index)));
        index
    }
}
