//! The last packets of an encoding, for retransmission: decrypted, one copy for all subscribers, or the ciphertext of one who has no RTX.

use switchyard_rtp::Codec;

/// How much a [`History`] keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Depth {
    bytes: usize,
    packets: usize,
}

impl Depth {
    /// For a published encoding: 1.6 s of 2.5 Mbit/s; what a receiver still asks for after that is too late to be shown.
    pub(crate) const ENCODING: Self = Self { bytes: 512 * 1024, packets: 1_024 };
    /// For a voice that may soon be heard: 800 ms of packets of 20 ms, of 80 kbit/s.
    pub(crate) const SPEECH: Self = Self { bytes: 8 * 1024, packets: 40 };
    /// For the ciphertext of one subscriber without RTX: a third of that, because every such subscriber has one.
    pub(crate) const CIPHERTEXT: Self = Self { bytes: 160 * 1024, packets: 256 };
    /// For one subscriber's ciphertext of audio: half a second and more of 200 kbit/s, which is twice what a receiver's buffer grows to.
    pub(crate) const AUDIO: Self = Self { bytes: 16 * 1024, packets: 64 };
}

#[derive(Clone, Copy)]
struct Entry {
    index: u64,
    /// Where it begins, counting all bytes ever written.
    position: u64,
    len: u16,
    codec: Codec,
}

/// A ring of packets, found by extended sequence number.
pub(crate) struct History {
    depth: Depth,
    bytes: Box<[u8]>,
    written: u64,
    latest: u64,
    entries: Box<[Option<Entry>]>,
}

impl History {
    pub(crate) fn new(depth: Depth) -> Self {
        Self {
            depth,
            bytes: vec![0; depth.bytes].into_boxed_slice(),
            written: 0,
            latest: 0,
            entries: vec![None; depth.packets].into_boxed_slice(),
        }
    }

    /// Keeps a packet, header and all.
    pub(crate) fn insert(&mut self, index: u64, codec: Codec, packet: &[u8]) {
        let Ok(len) = u16::try_from(packet.len()) else { return };
        let Depth { bytes, packets } = self.depth;
        let mut start = (self.written % bytes as u64) as usize;
        if start + packet.len() > bytes {
            self.written += (bytes - start) as u64;
            start = 0;
        }
        self.bytes[start..start + packet.len()].copy_from_slice(packet);
        self.entries[index as usize % packets] = Some(Entry { index, position: self.written, len, codec });
        self.written += u64::from(len);
        self.latest = index;
    }

    /// What was kept last.
    pub(crate) fn latest(&self) -> Option<&[u8]> {
        self.get(self.latest).map(|(_, packet)| packet)
    }

    /// A packet, if it is still there.
    pub(crate) fn get(&self, index: u64) -> Option<(Codec, &[u8])> {
        let entry = self.entries[index as usize % self.depth.packets].filter(|entry| entry.index == index)?;
        if self.written - entry.position > self.depth.bytes as u64 {
            return None;
        }
        let start = (entry.position % self.depth.bytes as u64) as usize;
        Some((entry.codec, &self.bytes[start..start + usize::from(entry.len)]))
    }
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("written", &self.written).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_what_was_kept() {
        let mut history = History::new(Depth::ENCODING);
        let packet = |index: u64| vec![index as u8; 200 + (index * 7 % 1_000) as usize];
        for index in 0..5_000 {
            history.insert(index, Codec::Vp8, &packet(index));
            for back in 0..2_000u64 {
                let Some(earlier) = index.checked_sub(back) else { break };
                match history.get(earlier) {
                    Some((_, found)) => assert_eq!(found, packet(earlier), "{earlier} at {index}"),
                    None => assert!(back > 400, "{earlier} is forgotten at {index}"),
                }
                if back > 10 && index % 500 != 0 {
                    break;
                }
            }
        }
    }
}
