//! Looks at SCTP packets on their way to and from `rtc-sctp`, for what it does not defend itself against: repeated
//! INITs, leaps of the TSN, resets, streams and fragments without number, packets larger than the path.

use std::collections::BTreeSet;

use bytes::Bytes;

/// Chunk types (RFC 9260 §3.2, RFC 3758 §3.2, RFC 6525 §3.1).
const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const SACK: u8 = 3;
const RE_CONFIG: u8 = 130;
const FORWARD_TSN: u8 = 192;
/// Parameters of RE-CONFIG (RFC 6525 §4).
const OUTGOING_RESET_REQUEST: u16 = 13;
const RECONFIG_RESPONSE: u16 = 16;
/// A RE-CONFIG response that will be followed by another (RFC 6525 §4.4).
const IN_PROGRESS: u32 = 6;
/// U, B and E: a DATA chunk that is a whole unordered message.
const WHOLE_UNORDERED: u8 = 7;

const COMMON_HEADER: usize = 12;
const SACK_HEADER: usize = 16;

/// The stream that data for closed channels goes to. No channel can have this id (RFC 8832 §6).
pub(crate) const SINK: u16 = u16::MAX;
/// How far a client's TSN may be ahead of what was acknowledged: `rtc-sctp` walks every TSN a FORWARD-TSN skips. More
/// than a full window of the smallest messages browsers send at once.
const MAX_TSN_LEAD: u32 = 1 << 16;
/// Resets in progress. RFC 6525 §5.1.1 allows one; `rtc-sctp` asks all of them again for every DATA chunk.
const MAX_RESETS: usize = 4;
/// Streams a client may use: its channels, and as many that are closing.
const MAX_STREAMS: usize = 2 * crate::channels::MAX_CHANNELS + 1;
/// DATA chunks waiting to be whole or in order. Each costs some 400 bytes beside its data, which alone counts for the
/// window: this keeps one-byte chunks to 6 MB.
const MAX_CHUNKS: usize = 1 << 14;

/// The same while messages are not taken because the client sends too fast: what comes beyond is lost on purpose, and comes again.
const MAX_UNTAKEN: usize = MAX_CHUNKS / 2;

/// What to do with an incoming packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// `rtc-sctp` may have it.
    Pass,
    /// It has no meaning, or what it asks for will be asked for again.
    Drop,
    /// It is the first packet again: answer with this.
    Answer(Bytes),
    /// No honest client does this: end the association.
    Abuse,
}

/// What has passed in both directions, as far as the limits need it.
#[derive(Debug)]
pub(crate) struct Screen {
    window: u32,
    max_packet: usize,
    init: Option<Vec<u8>>,
    init_ack: Option<Bytes>,
    acknowledged: u32,
    resets: Vec<u32>,
    streams: BTreeSet<u16>,
    closing: BTreeSet<u16>,
    chunks: usize,
    /// Messages wait to be taken.
    untaken: bool,
}

impl Screen {
    /// `window` is the receive window, `max_packet` the bytes of the largest packet sent.
    pub(crate) fn new(window: u32, max_packet: usize) -> Self {
        Self {
            window,
            max_packet,
            init: None,
            init_ack: None,
            acknowledged: 0,
            resets: Vec::new(),
            streams: BTreeSet::new(),
            closing: BTreeSet::new(),
            chunks: 0,
            untaken: false,
        }
    }

    /// Judges a packet from the client, and changes it where it is for a closed channel.
    pub(crate) fn inspect(&mut self, packet: &mut [u8]) -> Verdict {
        let mut changed = false;
        let mut at = COMMON_HEADER;
        while let Some((kind, end)) = chunk_at(packet, at) {
            let chunk = &mut packet[at..end];
            match kind {
                INIT => return self.inspect_init(chunk),
                _ if self.init.is_none() => return Verdict::Drop,
                DATA => {
                    let (Some(tsn), Some(stream)) = (u32_at(chunk, 4), u16_at(chunk, 8)) else { return Verdict::Drop };
                    if self.leaps(tsn) || self.untaken && self.chunks >= MAX_UNTAKEN {
                        return Verdict::Drop;
                    }
                    if self.closing.contains(&stream) {
                        chunk[1] |= WHOLE_UNORDERED;
                        chunk[8..10].copy_from_slice(&SINK.to_be_bytes());
                        changed = true;
                    } else {
                        self.streams.insert(stream);
                    }
                    self.chunks += 1;
                    if self.chunks > MAX_CHUNKS || self.streams.len() > MAX_STREAMS {
                        return Verdict::Abuse;
                    }
                }
                FORWARD_TSN if u32_at(chunk, 4).is_none_or(|tsn| self.leaps(tsn)) => return Verdict::Drop,
                RE_CONFIG => {
                    for (kind, parameter) in parameters(chunk) {
                        let Some(sequence) = u32_at(parameter, 4).filter(|_| kind == OUTGOING_RESET_REQUEST) else { continue };
                        if !self.resets.contains(&sequence) {
                            if self.resets.len() == MAX_RESETS {
                                return Verdict::Drop;
                            }
                            self.resets.push(sequence);
                        }
                    }
                }
                _ => {}
            }
            at = end.next_multiple_of(4);
        }
        if changed {
            seal(packet);
        }
        Verdict::Pass
    }

    /// Notes what a packet tells the client; `None` if it can't be sent.
    pub(crate) fn release(&mut self, packet: Bytes) -> Option<Bytes> {
        let mut at = COMMON_HEADER;
        while let Some((kind, end)) = chunk_at(&packet, at) {
            let chunk = &packet[at..end];
            match kind {
                INIT_ACK => self.init_ack = Some(packet.clone()),
                SACK => {
                    self.acknowledged = u32_at(chunk, 4).unwrap_or(self.acknowledged);
                    if u32_at(chunk, 8) == Some(self.window) {
                        self.chunks = 0;
                    }
                }
                RE_CONFIG => {
                    for (kind, parameter) in parameters(chunk) {
                        if kind == RECONFIG_RESPONSE && u32_at(parameter, 8) != Some(IN_PROGRESS) {
                            self.resets.retain(|sequence| u32_at(parameter, 4) != Some(*sequence));
                        }
                    }
                }
                _ => {}
            }
            at = end.next_multiple_of(4);
        }
        if packet.len() <= self.max_packet { Some(packet) } else { shorten_sack(&packet, self.max_packet) }
    }

    /// A message of so many chunks was taken out of `rtc-sctp`.
    pub(crate) fn taken(&mut self, chunks: usize) {
        self.chunks = self.chunks.saturating_sub(chunks);
    }

    /// Whether messages wait to be taken, which is no fault of the client's.
    pub(crate) fn set_untaken(&mut self, untaken: bool) {
        self.untaken = untaken;
    }

    /// The server closed this stream: what still comes for it goes to [`SINK`]. `rtc-sctp` does not give out data of a
    /// closed stream, and puts off the client's own reset until somebody has taken it.
    pub(crate) fn closing(&mut self, stream: u16) {
        self.closing.insert(stream);
    }

    pub(crate) fn is_closing(&self, stream: u16) -> bool {
        self.closing.contains(&stream)
    }

    /// The stream is gone on both sides.
    pub(crate) fn gone(&mut self, stream: u16) {
        self.streams.remove(&stream);
        self.closing.remove(&stream);
    }

    /// The first INIT makes the association. `rtc-sctp` would make another for each.
    fn inspect_init(&mut self, chunk: &[u8]) -> Verdict {
        match (&self.init, &self.init_ack, u32_at(chunk, 16)) {
            (None, _, Some(tsn)) => {
                self.init = Some(chunk.to_vec());
                self.acknowledged = tsn.wrapping_sub(1);
                Verdict::Pass
            }
            (Some(init), Some(answer), _) if init == chunk => Verdict::Answer(answer.clone()),
            _ => Verdict::Drop,
        }
    }

    fn leaps(&self, tsn: u32) -> bool {
        let lead = tsn.wrapping_sub(self.acknowledged);
        lead > MAX_TSN_LEAD && lead < 1 << 31
    }
}

/// The type and end of the chunk that starts at `at`.
fn chunk_at(packet: &[u8], at: usize) -> Option<(u8, usize)> {
    let kind = *packet.get(at)?;
    let end = at + usize::from(u16_at(packet, at + 2)?);
    (end >= at + 4 && end <= packet.len()).then_some((kind, end))
}

/// The parameters of a RE-CONFIG chunk, type and whole.
fn parameters(chunk: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut at = 4;
    std::iter::from_fn(move || {
        let kind = u16_at(chunk, at)?;
        let length = usize::from(u16_at(chunk, at + 2)?);
        let parameter = chunk.get(at..at + length).filter(|_| length >= 4)?;
        at += length.next_multiple_of(4);
        Some((kind, parameter))
    })
}

/// A SACK with as many gap blocks as fit and no duplicates (RFC 9260 §3.3.4); `None` for other packets.
fn shorten_sack(packet: &[u8], max_packet: usize) -> Option<Bytes> {
    let (SACK, end) = chunk_at(packet, COMMON_HEADER)? else { return None };
    let gaps_start = COMMON_HEADER + SACK_HEADER;
    let gaps = usize::from(u16_at(packet, COMMON_HEADER + 12)?).min((max_packet - gaps_start) / 4);
    let mut short = packet.get(..(gaps_start + 4 * gaps).min(end))?.to_vec();
    let length = (SACK_HEADER + 4 * gaps) as u16;
    short[COMMON_HEADER + 2..][..2].copy_from_slice(&length.to_be_bytes());
    short[COMMON_HEADER + 12..][..2].copy_from_slice(&(gaps as u16).to_be_bytes());
    short[COMMON_HEADER + 14..][..2].copy_from_slice(&[0, 0]);
    seal(&mut short);
    Some(short.into())
}

/// Writes a packet's checksum (RFC 9260 §6.8).
fn seal(packet: &mut [u8]) {
    packet[8..COMMON_HEADER].fill(0);
    let checksum = crc32c(packet);
    packet[8..COMMON_HEADER].copy_from_slice(&checksum.to_le_bytes());
}

/// CRC-32C, reflected polynomial 0x82F63B78. A bit at a time: only changed packets need it, and they are rare.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

#[cfg(test)]
mod tests;
