//! Reading compounds.

use super::{
    BYE, FORMAT_APPLICATION, FORMAT_FIR, FORMAT_NACK, FORMAT_PLI, FORMAT_TRANSPORT_WIDE, MAX_PACKETS, PAYLOAD_FEEDBACK, RECEIVER_REPORT,
    REPORT_BLOCK_LEN, ReportBlock, SENDER_REPORT, SOURCE_DESCRIPTION, TRANSPORT_FEEDBACK, TransportFeedback,
};

/// Why the rest of a compound was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtcpError {
    /// A packet's length reaches beyond the compound, or its content beyond its length.
    #[error("a packet is longer than what holds it")]
    Truncated,
    /// Not RTCP version 2.
    #[error("not RTCP version 2")]
    Version,
    /// Padding that is zero or longer than its packet.
    #[error("malformed padding")]
    Padding,
    /// More than [`MAX_PACKETS`].
    #[error("more packets than a compound may have")]
    TooMany,
}

/// One packet of a compound.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Packet<'a> {
    /// What a sender has sent, and what it has received (RFC 3550 §6.4.1).
    SenderReport(SenderReport<'a>),
    /// What a receiver has received (RFC 3550 §6.4.2).
    ReceiverReport(ReceiverReport<'a>),
    /// Names of sources (RFC 3550 §6.5); of no use to a forwarder.
    SourceDescription,
    /// Sources that end (RFC 3550 §6.6).
    Bye(Bye<'a>),
    /// Packets a receiver misses (RFC 4585 §6.2.1).
    Nack(Nack<'a>),
    /// A receiver asks for a keyframe (RFC 4585 §6.3.1).
    PictureLossIndication {
        /// Who asks.
        sender: u32,
        /// The source asked for a keyframe.
        media: u32,
    },
    /// A receiver asks for keyframes (RFC 5104 §4.3.1).
    FullIntraRequest(FullIntraRequest<'a>),
    /// A receiver's estimate of the bandwidth (draft-alvestrand-rmcat-remb-03).
    Remb(Remb<'a>),
    /// When packets arrived (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    TransportFeedback(TransportFeedback<'a>),
    /// Well formed, and not one of the above.
    Unknown {
        /// The RTCP packet type.
        packet_type: u8,
        /// The count, subtype or feedback format.
        format: u8,
    },
}

/// Iterates over the packets of a compound, or of a reduced-size packet (RFC 5506); after an error it ends.
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Packets<'a> {
    /// Begins to read the clear compound `bytes`; nothing is checked before it is reached.
    pub const fn parse(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, left: MAX_PACKETS }
    }

    fn read(&mut self) -> Result<Packet<'a>, RtcpError> {
        let Some(&[first, packet_type, l0, l1]) = self.rest.first_chunk::<4>() else {
            return Err(RtcpError::Truncated);
        };
        if first >> 6 != 2 {
            return Err(RtcpError::Version);
        }
        self.left = self.left.checked_sub(1).ok_or(RtcpError::TooMany)?;
        let len = 4 + 4 * usize::from(u16::from_be_bytes([l0, l1]));
        let (packet, rest) = self.rest.split_at_checked(len).ok_or(RtcpError::Truncated)?;
        let mut body = &packet[4..];
        if first & 0x20 != 0 {
            let padding = body.last().map_or(0, |&count| usize::from(count));
            // RFC 3550 §6.4.1 has whole words of it, and only at the end of a compound; browsers pad their transport-wide feedback with one to three bytes.
            if padding == 0 || padding > body.len() {
                return Err(RtcpError::Padding);
            }
            body = &body[..body.len() - padding];
        }
        self.rest = rest;
        read_body(packet_type, first & 0x1f, body).ok_or(RtcpError::Truncated)
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let packet = self.read();
        if packet.is_err() {
            self.rest = &[];
        }
        Some(packet)
    }
}

impl std::iter::FusedIterator for Packets<'_> {}

/// `None` where the body is too short for what it announces.
fn read_body(packet_type: u8, format: u8, body: &[u8]) -> Option<Packet<'_>> {
    Some(match (packet_type, format) {
        (SENDER_REPORT, count) => Packet::SenderReport(SenderReport::read(count, body)?),
        (RECEIVER_REPORT, count) => {
            let (ssrc, body) = word(body)?;
            Packet::ReceiverReport(ReceiverReport { ssrc, blocks: blocks(count, body)? })
        }
        (SOURCE_DESCRIPTION, _) => Packet::SourceDescription,
        (BYE, count) => Packet::Bye(Bye { ssrcs: body.get(..4 * usize::from(count))? }),
        (TRANSPORT_FEEDBACK, FORMAT_NACK) => {
            let (sender, media, pairs) = feedback(body)?;
            Packet::Nack(Nack { sender, media, pairs })
        }
        (TRANSPORT_FEEDBACK, FORMAT_TRANSPORT_WIDE) => {
            let (sender, media, body) = feedback(body)?;
            Packet::TransportFeedback(TransportFeedback::read(sender, media, body)?)
        }
        (PAYLOAD_FEEDBACK, FORMAT_PLI) => {
            let (sender, media, _) = feedback(body)?;
            Packet::PictureLossIndication { sender, media }
        }
        (PAYLOAD_FEEDBACK, FORMAT_FIR) => {
            let (sender, _, entries) = feedback(body)?;
            Packet::FullIntraRequest(FullIntraRequest { sender, entries })
        }
        (PAYLOAD_FEEDBACK, FORMAT_APPLICATION) => {
            let (sender, _, body) = feedback(body)?;
            match body.strip_prefix(b"REMB") {
                Some(body) => Packet::Remb(Remb::read(sender, body)?),
                None => Packet::Unknown { packet_type, format },
            }
        }
        _ => Packet::Unknown { packet_type, format },
    })
}

fn word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*word), rest))
}

/// (sender, media source, the rest) of a feedback message (RFC 4585 §6.1).
fn feedback(body: &[u8]) -> Option<(u32, u32, &[u8])> {
    let (sender, body) = word(body)?;
    let (media, body) = word(body)?;
    Some((sender, media, body))
}

fn blocks(count: u8, body: &[u8]) -> Option<&[u8]> {
    body.get(..REPORT_BLOCK_LEN * usize::from(count))
}

/// Fixed-size records one after the other; a rest that is no whole record is not there.
fn records<const LEN: usize>(bytes: &[u8]) -> std::slice::Iter<'_, [u8; LEN]> {
    bytes.as_chunks().0.iter()
}

/// A sender report (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug)]
pub struct SenderReport<'a> {
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
    blocks: &'a [u8],
}

impl<'a> SenderReport<'a> {
    fn read(count: u8, body: &'a [u8]) -> Option<Self> {
        let (ssrc, body) = word(body)?;
        let (ntp, body) = body.split_first_chunk()?;
        let (rtp, body) = word(body)?;
        let (packets, body) = word(body)?;
        let (octets, body) = word(body)?;
        Some(Self { ssrc, ntp: u64::from_be_bytes(*ntp), rtp, packets, octets, blocks: blocks(count, body)? })
    }

    /// What the sender reports on sources it receives.
    pub fn reports(&self) -> ReportBlocks<'a> {
        ReportBlocks(records(self.blocks))
    }
}

/// A receiver report (RFC 3550 §6.4.2).
#[derive(Clone, Copy, Debug)]
pub struct ReceiverReport<'a> {
    /// Who reports.
    pub ssrc: u32,
    blocks: &'a [u8],
}

impl<'a> ReceiverReport<'a> {
    /// What it reports on each source.
    pub fn reports(&self) -> ReportBlocks<'a> {
        ReportBlocks(records(self.blocks))
    }
}

/// Iterates over report blocks.
#[derive(Clone, Debug)]
pub struct ReportBlocks<'a>(std::slice::Iter<'a, [u8; REPORT_BLOCK_LEN]>);

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        self.0.next().map(ReportBlock::read)
    }
}

/// Sources that end (RFC 3550 §6.6).
#[derive(Clone, Copy, Debug)]
pub struct Bye<'a> {
    ssrcs: &'a [u8],
}

impl<'a> Bye<'a> {
    /// The sources.
    pub fn ssrcs(&self) -> Ssrcs<'a> {
        Ssrcs(records(self.ssrcs))
    }
}

/// Iterates over SSRCs.
#[derive(Clone, Debug)]
pub struct Ssrcs<'a>(std::slice::Iter<'a, [u8; 4]>);

impl Iterator for Ssrcs<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.0.next().map(|bytes| u32::from_be_bytes(*bytes))
    }
}

/// Packets a receiver misses (RFC 4585 §6.2.1).
#[derive(Clone, Copy, Debug)]
pub struct Nack<'a> {
    /// Who asks.
    pub sender: u32,
    /// The source of the packets.
    pub media: u32,
    pairs: &'a [u8],
}

impl<'a> Nack<'a> {
    /// The sequence numbers asked for, in the order of the message; up to 17 for every four bytes of it.
    pub fn sequences(&self) -> Sequences<'a> {
        Sequences { pairs: records(self.pairs), base: 0, mask: 0 }
    }
}

/// Iterates over the sequence numbers of a NACK.
#[derive(Clone, Debug)]
pub struct Sequences<'a> {
    pairs: std::slice::Iter<'a, [u8; 4]>,
    /// The sequence number that bit 0 of `mask` stands for.
    base: u16,
    mask: u16,
}

impl Iterator for Sequences<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.mask == 0 {
            let &[p0, p1, m0, m1] = self.pairs.next()?;
            let packet = u16::from_be_bytes([p0, p1]);
            self.mask = u16::from_be_bytes([m0, m1]);
            self.base = packet.wrapping_add(1);
            return Some(packet);
        }
        let bit = self.mask.trailing_zeros();
        self.mask &= self.mask - 1;
        Some(self.base.wrapping_add(bit as u16))
    }
}

/// A receiver asks for keyframes (RFC 5104 §4.3.1).
#[derive(Clone, Copy, Debug)]
pub struct FullIntraRequest<'a> {
    /// Who asks.
    pub sender: u32,
    entries: &'a [u8],
}

impl<'a> FullIntraRequest<'a> {
    /// (the source, the command's sequence number: one that is repeated is the same request)
    pub fn entries(&self) -> FullIntraRequests<'a> {
        FullIntraRequests(records(self.entries))
    }
}

/// Iterates over the entries of a [`FullIntraRequest`].
#[derive(Clone, Debug)]
pub struct FullIntraRequests<'a>(std::slice::Iter<'a, [u8; 8]>);

impl Iterator for FullIntraRequests<'_> {
    type Item = (u32, u8);

    fn next(&mut self) -> Option<(u32, u8)> {
        self.0.next().map(|&[s0, s1, s2, s3, sequence, ..]| (u32::from_be_bytes([s0, s1, s2, s3]), sequence))
    }
}

/// A receiver's estimate of the bandwidth (draft-alvestrand-rmcat-remb-03).
#[derive(Clone, Copy, Debug)]
pub struct Remb<'a> {
    /// Who estimates.
    pub sender: u32,
    /// Bits in a second, for all sources together; saturates.
    pub bitrate: u64,
    ssrcs: &'a [u8],
}

impl<'a> Remb<'a> {
    /// Reads what follows the identifier.
    fn read(sender: u32, body: &'a [u8]) -> Option<Self> {
        let (&[count, b0, b1, b2], body) = body.split_first_chunk()?;
        let mantissa = u64::from(b0 & 0x03) << 16 | u64::from(b1) << 8 | u64::from(b2);
        let exponent = u32::from(b0 >> 2);
        let fits = mantissa == 0 || exponent <= mantissa.leading_zeros();
        let bitrate = if fits { mantissa << exponent } else { u64::MAX };
        Some(Self { sender, bitrate, ssrcs: body.get(..4 * usize::from(count))? })
    }

    /// The sources it is for.
    pub fn ssrcs(&self) -> Ssrcs<'a> {
        Ssrcs(records(self.ssrcs))
    }
}
