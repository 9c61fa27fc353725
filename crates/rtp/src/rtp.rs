//! RTP headers (RFC 3550 §5.1) and their extensions (RFC 8285): parsed in place, written into the caller's buffer.

use std::ops::Range;

#[cfg(test)]
mod tests;

/// Bytes of a header without contributing sources and extensions.
pub const FIXED_HEADER_LEN: usize = 12;

/// The profile that announces one-byte extension headers (RFC 8285 §4.2).
pub const ONE_BYTE_PROFILE: u16 = 0xbede;

/// The profile that announces two-byte extension headers (RFC 8285 §4.3), with its four application bits zero.
pub const TWO_BYTE_PROFILE: u16 = 0x1000;

/// The largest id of the one-byte form; 15 is reserved (RFC 8285 §4.2).
const MAX_ONE_BYTE_ID: u8 = 14;

/// The longest value of the one-byte form (RFC 8285 §4.2).
const MAX_ONE_BYTE_LEN: usize = 16;

const PADDING_BIT: u8 = 0x20;
const EXTENSION_BIT: u8 = 0x10;

/// Why bytes are not an RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The fixed header, the contributing sources or the extension block end beyond the packet.
    #[error("the header is longer than the packet")]
    Truncated,
    /// Not RTP version 2.
    #[error("not RTP version 2")]
    Version,
    /// The padding count is zero or larger than the payload.
    #[error("the padding is zero or longer than the payload")]
    Padding,
}

/// Where the extension block of a packet lies; offsets count from the packet's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionBlock {
    /// The 16 bits "defined by profile": [`ONE_BYTE_PROFILE`], 0x1000–0x100f, or something unknown.
    pub profile: u16,
    /// Offset of the first byte after the four-byte block header.
    start: u32,
    /// Offset after the last byte.
    end: u32,
}

impl ExtensionBlock {
    /// The block's content as offsets into the packet, without its four-byte header.
    pub fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A parsed RTP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The marker bit.
    pub marker: bool,
    /// 0–127.
    pub payload_type: u8,
    /// The 16-bit sequence number.
    pub sequence: u16,
    /// Media time in units of the codec's clock rate.
    pub timestamp: u32,
    /// The synchronisation source.
    pub ssrc: u32,
    /// Bytes before the payload: the fixed header, the contributing sources and the extension block.
    pub header_len: usize,
    /// Bytes of padding after the payload, its count byte included; 0 until read from decrypted bytes.
    pub padding: usize,
    /// The extension block, if there is one.
    pub extensions: Option<ExtensionBlock>,
}

impl Header {
    /// Parses a packet in the clear, its padding included.
    pub fn parse(packet: &[u8]) -> Result<Header, HeaderError> {
        let mut header = Self::parse_encrypted(packet)?;
        header.read_padding(packet)?;
        Ok(header)
    }

    /// Parses the header of a packet whose payload may still be encrypted: `padding` stays 0 whatever the packet says,
    /// because its count is part of the payload. [`Header::read_padding`] completes it.
    pub fn parse_encrypted(packet: &[u8]) -> Result<Header, HeaderError> {
        let Some((fixed, _)) = packet.split_first_chunk::<FIXED_HEADER_LEN>() else {
            return Err(HeaderError::Truncated);
        };
        let [first, second, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3] = *fixed;
        if first >> 6 != 2 {
            return Err(HeaderError::Version);
        }
        let mut header_len = FIXED_HEADER_LEN + 4 * usize::from(first & 0x0f);
        let mut extensions = None;
        if first & EXTENSION_BIT != 0 {
            let Some(&[p0, p1, l0, l1]) = packet.get(header_len..).and_then(|rest| rest.first_chunk::<4>()) else {
                return Err(HeaderError::Truncated);
            };
            let start = header_len + 4;
            header_len = start + 4 * usize::from(u16::from_be_bytes([l0, l1]));
            extensions = Some(ExtensionBlock { profile: u16::from_be_bytes([p0, p1]), start: start as u32, end: header_len as u32 });
        }
        if header_len > packet.len() {
            return Err(HeaderError::Truncated);
        }
        Ok(Header {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([r0, r1, r2, r3]),
            header_len,
            padding: 0,
            extensions,
        })
    }

    /// Reads the padding of `packet`, which this header was parsed from and which is now in the clear and of its final
    /// length.
    pub fn read_padding(&mut self, packet: &[u8]) -> Result<(), HeaderError> {
        self.padding = 0;
        let (Some(first), Some(last)) = (packet.first(), packet.last()) else {
            return Err(HeaderError::Truncated);
        };
        if first & PADDING_BIT != 0 {
            let padding = usize::from(*last);
            if padding == 0 || packet.len() < self.header_len + padding {
                return Err(HeaderError::Padding);
            }
            self.padding = padding;
        }
        Ok(())
    }

    /// Where the payload of a packet of `len` bytes lies, without header and padding. Empty if `len` is shorter than
    /// they are.
    pub fn payload(&self, len: usize) -> Range<usize> {
        let end = len.saturating_sub(self.padding);
        self.header_len.min(end)..end
    }

    /// The header extensions of `packet`, which this header was parsed from: (id, value). Ends early where the block is
    /// malformed; empty for a block that is neither of the one-byte nor of the two-byte form.
    pub fn extensions<'a>(&self, packet: &'a [u8]) -> Extensions<'a> {
        Extensions { packet, positions: self.extension_positions(packet) }
    }

    pub(crate) fn extension_positions(&self, packet: &[u8]) -> ExtensionPositions {
        let (range, form) = match self.extensions {
            Some(block) if block.profile == ONE_BYTE_PROFILE => (block.range(), Form::OneByte),
            Some(block) if block.profile & 0xfff0 == TWO_BYTE_PROFILE => (block.range(), Form::TwoByte),
            _ => (0..0, Form::OneByte),
        };
        let end = range.end.min(packet.len());
        ExtensionPositions { next: range.start.min(end), end, form }
    }
}

#[derive(Clone, Copy, Debug)]
enum Form {
    OneByte,
    TwoByte,
}

/// Walks the elements of an extension block by offset, so that a caller can keep the position of a value.
#[derive(Clone, Debug)]
pub(crate) struct ExtensionPositions {
    next: usize,
    end: usize,
    form: Form,
}

impl ExtensionPositions {
    /// The next element: its id and where its value lies in `packet`.
    pub(crate) fn next(&mut self, packet: &[u8]) -> Option<(u8, Range<usize>)> {
        let block = packet.get(..self.end)?;
        // A zero byte is padding in both forms (RFC 8285 §4.1.2).
        while *block.get(self.next)? == 0 {
            self.next += 1;
        }
        let head = block[self.next];
        let (id, start, len) = match self.form {
            Form::OneByte => (head >> 4, self.next + 1, usize::from(head & 0x0f) + 1),
            Form::TwoByte => (head, self.next + 2, usize::from(*block.get(self.next + 1)?)),
        };
        // Id 15 ends the one-byte form; id 0 with a length is malformed (RFC 8285 §4.2).
        let reserved = matches!(self.form, Form::OneByte) && (id == 0 || id == 15);
        if reserved || start + len > self.end {
            self.next = self.end;
            return None;
        }
        self.next = start + len;
        Some((id, start..start + len))
    }
}

/// Iterates over the header extensions of a packet: (id, value).
#[derive(Clone, Debug)]
pub struct Extensions<'a> {
    packet: &'a [u8],
    positions: ExtensionPositions,
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (id, range) = self.positions.next(self.packet)?;
        Some((id, &self.packet[range]))
    }
}

/// What [`write_header`] writes besides extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderFields {
    /// The marker bit.
    pub marker: bool,
    /// 0–127; a higher bit is dropped.
    pub payload_type: u8,
    /// The 16-bit sequence number.
    pub sequence: u16,
    /// Media time in units of the codec's clock rate.
    pub timestamp: u32,
    /// The synchronisation source.
    pub ssrc: u32,
}

/// Why a packet was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The buffer is too small.
    #[error("the buffer is too small")]
    NoSpace,
    /// An extension has id 0, or a value of more than 255 bytes.
    #[error("an extension that no form can carry")]
    Extension,
    /// The packet is padded already, or the padding is not 1–255 bytes.
    #[error("padding that can't be added")]
    Padding,
}

/// Writes a header without contributing sources and returns its length in bytes.
///
/// Extensions take the one-byte form when every id is at most 14 and every value has 1 to 16 bytes, else the two-byte
/// form. `extensions` is walked twice. On an error `out` may be partly overwritten.
pub fn write_header<'e>(
    out: &mut [u8],
    fields: &HeaderFields,
    extensions: impl Iterator<Item = (u8, &'e [u8])> + Clone,
) -> Result<usize, WriteError> {
    let (mut count, mut values, mut one_byte) = (0usize, 0usize, true);
    for (id, value) in extensions.clone() {
        if id == 0 || value.len() > 255 {
            return Err(WriteError::Extension);
        }
        one_byte &= id <= MAX_ONE_BYTE_ID && (1..=MAX_ONE_BYTE_LEN).contains(&value.len());
        count += 1;
        values += value.len();
    }
    let content = values + if one_byte { count } else { 2 * count };
    let padded = content.next_multiple_of(4);
    let len = FIXED_HEADER_LEN + if count == 0 { 0 } else { 4 + padded };
    let words = u16::try_from(padded / 4).map_err(|_| WriteError::NoSpace)?;
    let out = out.get_mut(..len).ok_or(WriteError::NoSpace)?;

    let (fixed, block) = out.split_at_mut(FIXED_HEADER_LEN);
    fixed[0] = 0x80 | if count == 0 { 0 } else { EXTENSION_BIT };
    fixed[1] = (fields.payload_type & 0x7f) | if fields.marker { 0x80 } else { 0 };
    fixed[2..4].copy_from_slice(&fields.sequence.to_be_bytes());
    fixed[4..8].copy_from_slice(&fields.timestamp.to_be_bytes());
    fixed[8..12].copy_from_slice(&fields.ssrc.to_be_bytes());
    if count == 0 {
        return Ok(len);
    }
    let profile = if one_byte { ONE_BYTE_PROFILE } else { TWO_BYTE_PROFILE };
    block[..2].copy_from_slice(&profile.to_be_bytes());
    block[2..4].copy_from_slice(&words.to_be_bytes());
    let mut rest = &mut block[4..];
    for (id, value) in extensions {
        let head: &[u8] = if one_byte { &[id << 4 | (value.len() as u8).wrapping_sub(1)] } else { &[id, value.len() as u8] };
        // An iterator whose clone differs from it must not reach beyond what was counted.
        if head.len() + value.len() > rest.len() {
            return Err(WriteError::NoSpace);
        }
        let (element, after) = rest.split_at_mut(head.len() + value.len());
        element[..head.len()].copy_from_slice(head);
        element[head.len()..].copy_from_slice(value);
        rest = after;
    }
    rest.fill(0);
    Ok(len)
}

/// Appends `count` bytes of padding to the clear packet `packet[..len]`, which has none, and returns its new length.
pub fn pad(packet: &mut [u8], len: usize, count: u8) -> Result<usize, WriteError> {
    let new_len = len.checked_add(usize::from(count)).filter(|&new_len| new_len <= packet.len()).ok_or(WriteError::NoSpace)?;
    if len < FIXED_HEADER_LEN || count == 0 || packet[0] & PADDING_BIT != 0 {
        return Err(WriteError::Padding);
    }
    packet[0] |= PADDING_BIT;
    packet[len..new_len].fill(0);
    packet[new_len - 1] = count;
    Ok(new_len)
}

/// Removes the padding of the clear packet `packet[..len]`, which `header` was parsed from, and returns its new length.
pub fn unpad(packet: &mut [u8], header: &mut Header, len: usize) -> usize {
    if let Some(first) = packet.first_mut() {
        *first &= !PADDING_BIT;
    }
    len - std::mem::take(&mut header.padding).min(len)
}

/// The sequence number of the packet that an RTX payload carries (RFC 4588 §4); the original payload follows its two
/// bytes. `None` for a payload without one, which is probing padding.
pub fn original_sequence(rtx_payload: &[u8]) -> Option<u16> {
    rtx_payload.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}
