//! RTCP (RFC 3550 §6) and its feedback messages (RFC 4585, RFC 5104, REMB, transport-wide congestion control): compounds
//! parsed in place, after decryption, and written into the caller's buffer.

mod parse;
#[cfg(test)]
mod tests;
mod transport;
mod write;

pub use parse::{
    Bye, FullIntraRequest, FullIntraRequests, Nack, Packet, Packets, ReceiverReport, Remb, ReportBlocks, RtcpError, SenderReport,
    Sequences, Ssrcs,
};
pub use transport::{PacketStatuses, TransportFeedback};
pub use write::{RtcpWriter, SenderInfo, WriteError};

/// Packets of one compound. Browsers send up to about ten; more is an attempt to cost time.
pub const MAX_PACKETS: usize = 64;

/// Report blocks of one report: the count has five bits.
pub const MAX_REPORTS: usize = 31;

/// Ticks of 250 µs in which transport-wide feedback counts arrival times.
pub const TICKS_PER_SECOND: i64 = 4000;

/// Ticks in a unit (64 ms) of transport-wide feedback's reference time.
pub const TICKS_PER_REFERENCE: i64 = 256;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

/// Format of a NACK within transport feedback (RFC 4585 §6.2.1).
const FORMAT_NACK: u8 = 1;
/// Format of transport-wide feedback within transport feedback.
const FORMAT_TRANSPORT_WIDE: u8 = 15;
/// Format of a picture loss indication within payload feedback (RFC 4585 §6.3.1).
const FORMAT_PLI: u8 = 1;
/// Format of a full intra request within payload feedback (RFC 5104 §4.3.1).
const FORMAT_FIR: u8 = 4;
/// Format of application feedback within payload feedback (RFC 4585 §6.4): REMB.
const FORMAT_APPLICATION: u8 = 15;

/// Bytes of a report block.
const REPORT_BLOCK_LEN: usize = 24;

/// What a receiver reports on one source (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source reported on.
    pub ssrc: u32,
    /// Packets lost since the last report, in 256ths of those expected.
    pub fraction_lost: u8,
    /// Packets lost since the beginning, less duplicates; 24 bits, signed. Written clamped.
    pub cumulative_lost: i32,
    /// The highest sequence number received, below its count of cycles.
    pub highest_sequence: u32,
    /// Interarrival jitter in units of the RTP timestamp.
    pub jitter: u32,
    /// The middle 32 bits of the last sender report's NTP time; 0 before the first.
    pub last_sender_report: u32,
    /// From the last sender report's arrival to this report, in 65536ths of a second; 0 before the first.
    pub delay_since_last_sender_report: u32,
}

impl ReportBlock {
    const MAX_LOST: i32 = (1 << 23) - 1;
    const MIN_LOST: i32 = -(1 << 23);

    fn read(bytes: &[u8; REPORT_BLOCK_LEN]) -> Self {
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self {
            ssrc: word(0),
            fraction_lost: bytes[4],
            cumulative_lost: ((word(4) << 8) as i32) >> 8,
            highest_sequence: word(8),
            jitter: word(12),
            last_sender_report: word(16),
            delay_since_last_sender_report: word(20),
        }
    }

    fn bytes(&self) -> [u8; REPORT_BLOCK_LEN] {
        let lost = self.cumulative_lost.clamp(Self::MIN_LOST, Self::MAX_LOST) as u32 & 0x00ff_ffff;
        let words = [
            self.ssrc,
            u32::from(self.fraction_lost) << 24 | lost,
            self.highest_sequence,
            self.jitter,
            self.last_sender_report,
            self.delay_since_last_sender_report,
        ];
        let mut bytes = [0; REPORT_BLOCK_LEN];
        for (out, word) in bytes.chunks_exact_mut(4).zip(words) {
            out.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }
}

/// The middle 32 bits of an NTP time, as report blocks refer to sender reports.
pub const fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}
