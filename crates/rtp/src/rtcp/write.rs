//! Writing compounds.

use super::transport::FeedbackPlan;
use super::{
    BYE, FORMAT_APPLICATION, FORMAT_FIR, FORMAT_NACK, FORMAT_PLI, FORMAT_TRANSPORT_WIDE, MAX_REPORTS, PAYLOAD_FEEDBACK, RECEIVER_REPORT,
    ReportBlock, SENDER_REPORT, SOURCE_DESCRIPTION, TRANSPORT_FEEDBACK,
};

/// The canonical name, as item of a source description (RFC 3550 §6.5.1).
const ITEM_CNAME: u8 = 1;

/// Why a packet was not written; the compound stays as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The buffer is too small.
    #[error("the buffer is too small")]
    NoSpace,
    /// More report blocks, sources or bytes of name than the packet can count, or nothing at all to say.
    #[error("too many or too few entries")]
    Count,
}

/// The sender's part of a sender report (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    /// The sender.
    pub ssrc: u32,
    /// The sender's clock: seconds since 1900 in the upper half, their fraction in the lower.
    pub ntp: u64,
    /// The same instant as RTP timestamp.
    pub rtp: u32,
    /// Packets sent so far, modulo 2³².
    pub packets: u32,
    /// Payload bytes sent so far, modulo 2³².
    pub octets: u32,
}

/// Appends packets to a compound in the caller's buffer. Each method writes a whole packet or nothing.
#[derive(Debug)]
pub struct RtcpWriter<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

/// A packet being written, behind those of the compound; given up unless [`Draft::finish`] is reached.
struct Draft<'w> {
    buffer: &'w mut [u8],
    len: usize,
    committed: &'w mut usize,
}

impl<'w> Draft<'w> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let end = self.len + bytes.len();
        self.buffer.get_mut(self.len..end).ok_or(WriteError::NoSpace)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    fn word(&mut self, word: u32) -> Result<(), WriteError> {
        self.bytes(&word.to_be_bytes())
    }

    /// Fills up to a whole word with zeros, then writes the header's count and length.
    fn finish(mut self, count: u8) -> Result<(), WriteError> {
        let start = *self.committed;
        let fill = (self.len - start).next_multiple_of(4) - (self.len - start);
        self.bytes(&[0; 3][..fill])?;
        let words = u16::try_from((self.len - start) / 4 - 1).map_err(|_| WriteError::NoSpace)?;
        self.buffer[start] = 0x80 | count;
        self.buffer[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
        *self.committed = self.len;
        Ok(())
    }
}

impl<'a> RtcpWriter<'a> {
    /// Begins an empty compound. Leave the sealer's room out of `buffer`.
    pub const fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    /// Bytes written.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes left.
    pub const fn remaining(&self) -> usize {
        self.buffer.len() - self.len
    }

    fn begin(&mut self, packet_type: u8) -> Result<Draft<'_>, WriteError> {
        let mut draft = Draft { buffer: self.buffer, len: self.len, committed: &mut self.len };
        draft.bytes(&[0x80, packet_type, 0, 0])?;
        Ok(draft)
    }

    /// A sender report with up to [`MAX_REPORTS`] blocks.
    pub fn sender_report(&mut self, info: &SenderInfo, reports: impl IntoIterator<Item = ReportBlock>) -> Result<(), WriteError> {
        let mut draft = self.begin(SENDER_REPORT)?;
        draft.word(info.ssrc)?;
        draft.bytes(&info.ntp.to_be_bytes())?;
        draft.word(info.rtp)?;
        draft.word(info.packets)?;
        draft.word(info.octets)?;
        report_blocks(draft, reports)
    }

    /// A receiver report with up to [`MAX_REPORTS`] blocks.
    pub fn receiver_report(&mut self, ssrc: u32, reports: impl IntoIterator<Item = ReportBlock>) -> Result<(), WriteError> {
        let mut draft = self.begin(RECEIVER_REPORT)?;
        draft.word(ssrc)?;
        report_blocks(draft, reports)
    }

    /// A source description with the canonical name, 1 to 255 bytes, of one source.
    pub fn source_description(&mut self, ssrc: u32, cname: &str) -> Result<(), WriteError> {
        let len = u8::try_from(cname.len()).ok().filter(|&len| len > 0).ok_or(WriteError::Count)?;
        let mut draft = self.begin(SOURCE_DESCRIPTION)?;
        draft.word(ssrc)?;
        draft.bytes(&[ITEM_CNAME, len])?;
        draft.bytes(cname.as_bytes())?;
        // The list ends with at least one zero byte.
        draft.bytes(&[0])?;
        draft.finish(1)
    }

    /// The end of 1 to 31 sources.
    pub fn bye(&mut self, ssrcs: impl IntoIterator<Item = u32>) -> Result<(), WriteError> {
        let mut draft = self.begin(BYE)?;
        let mut count = 0;
        for ssrc in ssrcs {
            count += 1;
            if count > MAX_REPORTS as u8 {
                return Err(WriteError::Count);
            }
            draft.word(ssrc)?;
        }
        if count == 0 {
            return Err(WriteError::Count);
        }
        draft.finish(count)
    }

    /// Asks for `sequences`, at least one; ascending ones take the least space.
    pub fn nack(&mut self, sender: u32, media: u32, sequences: impl IntoIterator<Item = u16>) -> Result<(), WriteError> {
        let mut sequences = sequences.into_iter();
        let mut packet = sequences.next().ok_or(WriteError::Count)?;
        let mut mask = 0u16;
        let mut draft = self.begin(TRANSPORT_FEEDBACK)?;
        draft.word(sender)?;
        draft.word(media)?;
        for sequence in sequences {
            match sequence.wrapping_sub(packet) {
                0 => {}
                distance @ 1..=16 => mask |= 1 << (distance - 1),
                _ => {
                    draft.word(u32::from(packet) << 16 | u32::from(mask))?;
                    (packet, mask) = (sequence, 0);
                }
            }
        }
        draft.word(u32::from(packet) << 16 | u32::from(mask))?;
        draft.finish(FORMAT_NACK)
    }

    /// Asks `media` for a keyframe.
    pub fn picture_loss_indication(&mut self, sender: u32, media: u32) -> Result<(), WriteError> {
        let mut draft = self.begin(PAYLOAD_FEEDBACK)?;
        draft.word(sender)?;
        draft.word(media)?;
        draft.finish(FORMAT_PLI)
    }

    /// Asks for keyframes: (the source, the command's sequence number, which changes with every new request).
    pub fn full_intra_request(&mut self, sender: u32, entries: impl IntoIterator<Item = (u32, u8)>) -> Result<(), WriteError> {
        let mut draft = self.begin(PAYLOAD_FEEDBACK)?;
        draft.word(sender)?;
        draft.word(0)?;
        let empty = draft.len;
        for (ssrc, sequence) in entries {
            draft.word(ssrc)?;
            draft.bytes(&[sequence, 0, 0, 0])?;
        }
        if draft.len == empty {
            return Err(WriteError::Count);
        }
        draft.finish(FORMAT_FIR)
    }

    /// Announces a bandwidth of `bitrate` bits in a second for up to 255 sources, rounded down to 18 significant bits.
    pub fn remb(&mut self, sender: u32, bitrate: u64, ssrcs: impl IntoIterator<Item = u32>) -> Result<(), WriteError> {
        let mut draft = self.begin(PAYLOAD_FEEDBACK)?;
        draft.word(sender)?;
        draft.word(0)?;
        draft.bytes(b"REMB")?;
        let count_at = draft.len;
        let exponent = (u64::BITS - bitrate.leading_zeros()).saturating_sub(18);
        draft.word(exponent << 18 | (bitrate >> exponent) as u32)?;
        let mut count = 0u8;
        for ssrc in ssrcs {
            count = count.checked_add(1).ok_or(WriteError::Count)?;
            draft.word(ssrc)?;
        }
        draft.buffer[count_at] = count;
        draft.finish(FORMAT_APPLICATION)
    }

    /// Reports when packets arrived: `arrivals` are those of `base_sequence` and its successors, in ticks of 250 µs from
    /// any fixed origin, `None` for what did not arrive.
    ///
    /// Writes as many as fit into the buffer and into the delta between two arrivals (8.19 s), at least one, and returns
    /// how many; the rest is for another message. Trailing losses are written too. Refuses `arrivals` without any.
    pub fn transport_feedback(
        &mut self,
        sender: u32,
        media: u32,
        base_sequence: u16,
        feedback_count: u8,
        arrivals: &[Option<i64>],
    ) -> Result<usize, WriteError> {
        let mut draft = self.begin(TRANSPORT_FEEDBACK)?;
        draft.word(sender)?;
        draft.word(media)?;
        // Behind these come the base and the count of statuses, the reference time and the count of messages: two words.
        // The message ends on a whole word.
        let space = draft.buffer.len().saturating_sub(draft.len + 8) & !3;
        let plan = FeedbackPlan::new(arrivals, space).ok_or(WriteError::Count)?;
        if plan.count() == 0 {
            return Err(WriteError::NoSpace);
        }
        draft.word(u32::from(base_sequence) << 16 | plan.count() as u32)?;
        draft.word(plan.reference_time() << 8 | u32::from(feedback_count))?;
        for chunk in plan.chunks() {
            draft.bytes(&chunk.to_be_bytes())?;
        }
        for delta in plan.deltas() {
            match u8::try_from(delta) {
                Ok(small) => draft.bytes(&[small])?,
                Err(_) => draft.bytes(&delta.to_be_bytes())?,
            }
        }
        let count = plan.count();
        draft.finish(FORMAT_TRANSPORT_WIDE)?;
        Ok(count)
    }
}

fn report_blocks(mut draft: Draft<'_>, reports: impl IntoIterator<Item = ReportBlock>) -> Result<(), WriteError> {
    let mut count = 0;
    for report in reports {
        count += 1;
        if count > MAX_REPORTS as u8 {
            return Err(WriteError::Count);
        }
        draft.bytes(&report.bytes())?;
    }
    draft.finish(count)
}
