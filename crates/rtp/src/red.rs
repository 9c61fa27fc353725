//! Redundant audio (RFC 2198): where the blocks of a payload lie.

use std::ops::Range;

#[cfg(test)]
mod tests;

/// Blocks of one payload, the primary included. Browsers send at most 9 redundant ones; more is an attempt to cost time.
pub const MAX_BLOCKS: usize = 16;

/// One block of a RED payload; offsets count from the payload's first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The payload type of the block's codec, 0–127.
    pub payload_type: u8,
    /// Where the byte with the payload type is; its top bit says that another block follows and stays as it is.
    pub payload_type_at: usize,
    /// How much older than the packet's the block's timestamp is; 0 for the primary.
    pub timestamp_offset: u16,
    /// The block's data.
    pub data: Range<usize>,
    /// Whether this is the primary: the last one, and the packet's own time.
    pub primary: bool,
}

/// Iterates over the blocks of a payload, oldest first, the primary last.
#[derive(Clone, Debug)]
pub struct Blocks<'a> {
    payload: &'a [u8],
    head: usize,
    data: usize,
}

impl<'a> Blocks<'a> {
    /// Checks that the block headers and the data they announce fit into `payload`. `None` if they don't, or if there are
    /// more than [`MAX_BLOCKS`].
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        let (mut head, mut redundant) = (0, 0usize);
        for _ in 0..MAX_BLOCKS {
            if payload.get(head)? & 0x80 == 0 {
                let data = head + 1;
                return (data + redundant <= payload.len()).then_some(Self { payload, head: 0, data });
            }
            redundant += usize::from(u16::from_be_bytes([*payload.get(head + 2)?, *payload.get(head + 3)?]) & 0x3ff);
            head += 4;
        }
        None
    }
}

impl Iterator for Blocks<'_> {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        let payload_type_at = self.head;
        let first = *self.payload.get(payload_type_at)?;
        let payload_type = first & 0x7f;
        if first & 0x80 == 0 {
            self.head = self.payload.len();
            let data = self.data..self.payload.len();
            return Some(Block { payload_type, payload_type_at, timestamp_offset: 0, data, primary: true });
        }
        let &[_, b1, b2, b3] = self.payload.get(payload_type_at..)?.first_chunk::<4>()?;
        let start = self.data;
        self.head += 4;
        self.data += usize::from(u16::from_be_bytes([b2, b3]) & 0x3ff);
        let timestamp_offset = u16::from_be_bytes([b1, b2]) >> 2;
        Some(Block { payload_type, payload_type_at, timestamp_offset, data: start..self.data, primary: false })
    }
}

/// Where the primary block's data lies in `payload`; `None` if the payload is malformed.
pub fn primary(payload: &[u8]) -> Option<Range<usize>> {
    Blocks::parse(payload)?.last().map(|block| block.data)
}
