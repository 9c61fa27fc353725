//! Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1): which packets arrived, and when.

use super::TICKS_PER_REFERENCE;

/// One status symbol of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Symbol {
    /// Did not arrive.
    Lost = 0,
    /// Arrived; the delta takes one byte, unsigned.
    Small = 1,
    /// Arrived; the delta takes two bytes, signed.
    Large = 2,
    /// Reserved.
    Reserved = 3,
}

impl Symbol {
    fn of(bits: u16) -> Self {
        match bits & 3 {
            0 => Symbol::Lost,
            1 => Symbol::Small,
            2 => Symbol::Large,
            _ => Symbol::Reserved,
        }
    }

    /// Bytes of its delta.
    pub(super) const fn delta_len(self) -> usize {
        match self {
            Symbol::Small => 1,
            Symbol::Large => 2,
            Symbol::Lost | Symbol::Reserved => 0,
        }
    }
}

/// The statuses one chunk stands for.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    bits: u16,
    /// Statuses already taken.
    taken: u16,
}

impl Chunk {
    const NONE: Chunk = Chunk { bits: 0, taken: 0 };

    const fn len(self) -> u16 {
        match self.bits >> 14 {
            0 | 1 => self.bits & 0x1fff,
            2 => 14,
            _ => 7,
        }
    }

    fn next(&mut self) -> Option<Symbol> {
        if self.taken >= self.len() {
            return None;
        }
        let at = self.taken;
        self.taken += 1;
        Some(match self.bits >> 14 {
            0 | 1 => Symbol::of(self.bits >> 13),
            2 => Symbol::of(self.bits >> (13 - at) & 1),
            _ => Symbol::of(self.bits >> (12 - 2 * at)),
        })
    }
}

/// Transport-wide feedback.
#[derive(Clone, Copy, Debug)]
pub struct TransportFeedback<'a> {
    /// Who reports.
    pub sender: u32,
    /// A source of the packets; of no meaning.
    pub media: u32,
    /// The transport-wide sequence number of the first status.
    pub base_sequence: u16,
    /// How many statuses there are.
    pub status_count: u16,
    /// The time the deltas start from, in units of 64 ms; 24 bits, signed; wraps. Its origin is the receiver's own.
    pub reference_time: i32,
    /// Counts the feedback messages, modulo 256.
    pub feedback_count: u8,
    /// The chunks, and the deltas behind them.
    chunks: &'a [u8],
    /// Where the deltas begin.
    deltas: &'a [u8],
}

impl<'a> TransportFeedback<'a> {
    /// Reads what follows the SSRCs. `None` if chunks or deltas are missing, which the walk here makes sure of once.
    pub(super) fn read(sender: u32, media: u32, body: &'a [u8]) -> Option<Self> {
        let (&[s0, s1, c0, c1, r0, r1, r2, feedback_count], rest) = body.split_first_chunk()?;
        let status_count = u16::from_be_bytes([c0, c1]);
        let (mut covered, mut delta_bytes, mut chunks_len) = (0u16, 0usize, 0usize);
        while covered < status_count {
            let &[b0, b1] = rest.get(chunks_len..)?.first_chunk()?;
            chunks_len += 2;
            let mut chunk = Chunk { bits: u16::from_be_bytes([b0, b1]), taken: 0 };
            let count = chunk.len().min(status_count - covered);
            covered += count;
            if chunk.bits >> 15 == 0 {
                delta_bytes += usize::from(count) * Symbol::of(chunk.bits >> 13).delta_len();
            } else {
                for _ in 0..count {
                    delta_bytes += chunk.next()?.delta_len();
                }
            }
        }
        let (chunks, deltas) = rest.split_at(chunks_len);
        Some(Self {
            sender,
            media,
            base_sequence: u16::from_be_bytes([s0, s1]),
            status_count,
            reference_time: i32::from_be_bytes([r0, r1, r2, 0]) >> 8,
            feedback_count,
            chunks,
            deltas: deltas.get(..delta_bytes)?,
        })
    }

    /// For each packet from the base on: its transport-wide sequence number, and when it arrived, `None` if it did not.
    ///
    /// The time is in ticks of 250 µs on the receiver's clock, from [`TransportFeedback::reference_time`]'s origin. There
    /// are up to 65,535 packets, most of which a malicious message can announce in a few bytes.
    pub fn statuses(&self) -> PacketStatuses<'a> {
        PacketStatuses {
            chunks: self.chunks.as_chunks().0.iter(),
            deltas: self.deltas,
            chunk: Chunk::NONE,
            left: self.status_count,
            sequence: self.base_sequence,
            ticks: i64::from(self.reference_time) * TICKS_PER_REFERENCE,
        }
    }
}

/// Iterates over the packets of a [`TransportFeedback`].
#[derive(Clone, Debug)]
pub struct PacketStatuses<'a> {
    chunks: std::slice::Iter<'a, [u8; 2]>,
    deltas: &'a [u8],
    chunk: Chunk,
    left: u16,
    sequence: u16,
    ticks: i64,
}

impl PacketStatuses<'_> {
    fn symbol(&mut self) -> Option<Symbol> {
        loop {
            if let Some(symbol) = self.chunk.next() {
                return Some(symbol);
            }
            self.chunk = Chunk { bits: u16::from_be_bytes(*self.chunks.next()?), taken: 0 };
        }
    }
}

impl Iterator for PacketStatuses<'_> {
    type Item = (u16, Option<i64>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let symbol = self.symbol()?;
        let (delta, rest) = self.deltas.split_at_checked(symbol.delta_len())?;
        self.deltas = rest;
        let arrival = match *delta {
            [small] => Some(i64::from(small)),
            [d0, d1] => Some(i64::from(i16::from_be_bytes([d0, d1]))),
            _ => None,
        }
        .map(|delta| {
            self.ticks += delta;
            self.ticks
        });
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        Some((sequence, arrival))
    }
}

/// Statuses of one message: their count has 16 bits.
const MAX_STATUSES: usize = u16::MAX as usize;

/// Statuses of one run-length chunk.
const MAX_RUN: usize = 0x1fff;

/// Statuses of a vector chunk with one bit each, and with two.
const ONE_BIT_STATUSES: usize = 14;
const TWO_BIT_STATUSES: usize = 7;

/// Walks over arrivals, turning times into deltas; ends before a delta that no symbol can carry.
#[derive(Clone, Copy, Debug)]
struct Deltas<'a> {
    arrivals: &'a [Option<i64>],
    ticks: i64,
}

impl Iterator for Deltas<'_> {
    type Item = Option<i16>;

    fn next(&mut self) -> Option<Self::Item> {
        let (arrival, rest) = self.arrivals.split_first()?;
        let delta = match *arrival {
            Some(ticks) => {
                let delta = i16::try_from(ticks.wrapping_sub(self.ticks)).ok()?;
                self.ticks = ticks;
                Some(delta)
            }
            None => None,
        };
        self.arrivals = rest;
        Some(delta)
    }
}

const fn symbol(delta: Option<i16>) -> Symbol {
    match delta {
        None => Symbol::Lost,
        Some(0..=255) => Symbol::Small,
        Some(_) => Symbol::Large,
    }
}

/// Walks over the chunks that arrivals take, as long as they and their deltas fit into a space.
#[derive(Clone, Copy, Debug)]
struct Chunks<'a> {
    deltas: Deltas<'a>,
    /// Bytes left.
    space: usize,
}

impl Iterator for Chunks<'_> {
    /// The chunk, and how many statuses it stands for.
    type Item = (u16, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let space = self.space.checked_sub(2)?;
        let mut ahead = [Symbol::Lost; ONE_BIT_STATUSES];
        let mut seen = 0;
        for (place, delta) in ahead.iter_mut().zip(self.deltas) {
            *place = symbol(delta);
            seen += 1;
        }
        let ahead = &ahead[..seen];
        let first = *ahead.first()?;
        let run = ahead.iter().take_while(|&&symbol| symbol == first).count();
        let large = ahead.contains(&Symbol::Large);
        let (bits, count) = if run == seen || (large && run >= TWO_BIT_STATUSES) {
            let longest = space.checked_div(first.delta_len()).unwrap_or(MAX_RUN).min(MAX_RUN);
            let deltas = self.deltas;
            let run = deltas.take(longest).take_while(|&delta| symbol(delta) == first).count();
            ((first as u16) << 13 | run as u16, run)
        } else if large {
            let ahead = &ahead[..seen.min(TWO_BIT_STATUSES)];
            let bits = ahead.iter().zip((0..=12).rev().step_by(2)).fold(0xc000, |bits, (&symbol, at)| bits | (symbol as u16) << at);
            (bits, ahead.len())
        } else {
            let bits = ahead.iter().zip((0..=13).rev()).fold(0x8000, |bits, (&symbol, at)| bits | (symbol as u16) << at);
            (bits, ahead.len())
        };
        let mut rest = self.deltas;
        let delta_bytes: usize = rest.by_ref().take(count).map(|delta| symbol(delta).delta_len()).sum();
        if count == 0 || delta_bytes > space {
            return None;
        }
        *self = Self { deltas: rest, space: space - delta_bytes };
        Some((bits, count))
    }
}

/// The longest beginning of some arrivals that one message can carry.
#[derive(Clone, Copy, Debug)]
pub(super) struct FeedbackPlan<'a> {
    chunks: Chunks<'a>,
    /// In units of 64 ms, not yet cut to 24 bits.
    reference: i64,
    count: usize,
}

impl<'a> FeedbackPlan<'a> {
    /// Plans for `space` bytes of chunks and deltas; there may be no room for any. `None` for `arrivals` without any.
    pub(super) fn new(arrivals: &'a [Option<i64>], space: usize) -> Option<Self> {
        let arrivals = &arrivals[..arrivals.len().min(MAX_STATUSES)];
        let first = arrivals.iter().flatten().next()?;
        let reference = first.div_euclid(TICKS_PER_REFERENCE);
        let deltas = Deltas { arrivals, ticks: reference.wrapping_mul(TICKS_PER_REFERENCE) };
        let chunks = Chunks { deltas, space };
        let count = chunks.map(|(_, count)| count).sum();
        Some(Self { chunks, reference, count })
    }

    /// Statuses it carries.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// The reference time as sent: the low 24 bits.
    pub(super) const fn reference_time(&self) -> u32 {
        self.reference as u32 & 0x00ff_ffff
    }

    /// The chunks in their order.
    pub(super) fn chunks(&self) -> impl Iterator<Item = u16> {
        self.chunks.map(|(bits, _)| bits)
    }

    /// The deltas of what arrived, in their order.
    pub(super) fn deltas(&self) -> impl Iterator<Item = i16> {
        self.chunks.deltas.take(self.count).flatten()
    }
}
