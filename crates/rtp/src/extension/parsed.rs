//! The known extensions of one packet, read once.

use super::{Extension, ExtensionMap};
use crate::rtp::Header;

/// The longest mid or rid kept: what the one-byte form can carry (RFC 8285 §4.2).
const MAX_ID_LEN: usize = 16;

/// A mid or rid: 1 to 16 printable ASCII bytes, held inline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortId {
    bytes: [u8; MAX_ID_LEN],
    len: u8,
}

impl ShortId {
    /// `None` if `value` is empty, too long, or holds anything but printable ASCII. Zero bytes at its end, with which some
    /// senders fill a fixed-size value, don't count.
    pub fn new(value: &[u8]) -> Option<Self> {
        let len = value.iter().rposition(|&byte| byte != 0)? + 1;
        let value = &value[..len];
        if len > MAX_ID_LEN || !value.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let mut bytes = [0; MAX_ID_LEN];
        bytes[..len].copy_from_slice(value);
        Some(Self { bytes, len: len as u8 })
    }

    /// The id's bytes, as an extension carries them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The id as SDP writes it.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl std::fmt::Debug for ShortId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl std::fmt::Display for ShortId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for ShortId {
    type Err = InvalidId;

    fn from_str(value: &str) -> Result<Self, InvalidId> {
        Self::new(value.as_bytes()).ok_or(InvalidId)
    }
}

/// Not a mid or rid that an extension can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is 1 to 16 printable ASCII characters")]
pub struct InvalidId;

/// An absolute capture time's value, kept as it came: 8 bytes of NTP time, or 16 with the estimated clock offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbsCaptureTime {
    bytes: [u8; 16],
    len: u8,
}

impl AbsCaptureTime {
    fn new(value: &[u8]) -> Option<Self> {
        if value.len() != 8 && value.len() != 16 {
            return None;
        }
        let mut bytes = [0; 16];
        bytes[..value.len()].copy_from_slice(value);
        Some(Self { bytes, len: value.len() as u8 })
    }

    /// The value as an extension carries it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Where a value lies in its packet; offsets count from the packet's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValuePosition {
    start: u32,
    len: u8,
}

impl ValuePosition {
    /// The value's place.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.start as usize..self.start as usize + usize::from(self.len)
    }

    /// The value within the packet it was found in; `None` in a shorter one.
    pub fn of<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        packet.get(self.range())
    }
}

/// The known extensions of one packet. A value of the wrong size is treated as absent; of an extension that is there twice
/// the last counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParsedExtensions {
    /// [`Extension::Mid`]
    pub mid: Option<ShortId>,
    /// [`Extension::Rid`]
    pub rid: Option<ShortId>,
    /// [`Extension::RepairedRid`]
    pub repaired_rid: Option<ShortId>,
    /// [`Extension::AudioLevel`] as it came: the top bit says voice, the rest is the level in -dBov (RFC 6464 §3).
    pub audio_level: Option<u8>,
    /// [`Extension::TransportSequence`]
    pub transport_sequence: Option<u16>,
    /// [`Extension::AbsSendTime`]: 24 bits, in 2⁻¹⁸ s; wraps after 64 s.
    pub abs_send_time: Option<u32>,
    /// [`Extension::AbsCaptureTime`]
    pub abs_capture_time: Option<AbsCaptureTime>,
    /// Where [`Extension::DependencyDescriptor`] lies in the packet.
    pub dependency_descriptor: Option<ValuePosition>,
}

impl ExtensionMap {
    /// Reads the extensions of `packet`, whose header is `header`, under this map's ids.
    pub fn parse(&self, header: &Header, packet: &[u8]) -> ParsedExtensions {
        let mut parsed = ParsedExtensions::default();
        let mut positions = header.extension_positions(packet);
        while let Some((id, range)) = positions.next(packet) {
            let Some(extension) = self.extension(id) else { continue };
            let position = ValuePosition { start: range.start as u32, len: range.len() as u8 };
            let value = &packet[range];
            match (extension, value) {
                (Extension::Mid, _) => parsed.mid = ShortId::new(value),
                (Extension::Rid, _) => parsed.rid = ShortId::new(value),
                (Extension::RepairedRid, _) => parsed.repaired_rid = ShortId::new(value),
                (Extension::AudioLevel, &[level, ..]) => parsed.audio_level = Some(level),
                // The second version of the extension appends two bytes, a request for feedback.
                (Extension::TransportSequence, &[s0, s1] | &[s0, s1, _, _]) => {
                    parsed.transport_sequence = Some(u16::from_be_bytes([s0, s1]));
                }
                (Extension::AbsSendTime, &[t0, t1, t2]) => parsed.abs_send_time = Some(u32::from_be_bytes([0, t0, t1, t2])),
                (Extension::AbsCaptureTime, _) => parsed.abs_capture_time = AbsCaptureTime::new(value),
                (Extension::DependencyDescriptor, &[_, ..]) => parsed.dependency_descriptor = Some(position),
                _ => {}
            }
        }
        parsed
    }
}
