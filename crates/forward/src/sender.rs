//! One receiving m-line of a participant's: what it carries, and how a published packet is rewritten for it.

use std::time::{Duration, Instant};

use switchyard_rtp::codec::{Codec, MediaKind};
use switchyard_rtp::rtp::{HeaderFields, WriteError, pad, write_header};
use switchyard_rtp::srtp::{SealError, Sealer, StreamIndex};
use switchyard_rtp::{Extension, ParsedExtensions, red, sequence};

use crate::clock::TrackClock;
use crate::counted::Drop;
use crate::encoding::Encoding;
use crate::history::{Depth, History};
use crate::layers::{Choice, FrameInfo, Layer, Placed, Rewriter, Selector, Source};
use crate::{SenderConfig, TrackKey};

/// That a receiver knows no codec is told again after this long, in case it was not heard.
const UNDECODABLE_AGAIN: Duration = Duration::from_secs(5);
/// That it knows one again is told this long after that at the earliest: a publisher may go to and fro with each packet.
const DECODABLE_AFTER: Duration = Duration::from_secs(1);
/// Encodings that were captured together are shown together if their clocks agree with when they came, as far as this; else the clocks are wrong.
const MAX_DISAGREEMENT: Duration = Duration::from_secs(3);
/// Retransmissions remembered, so that none is sent twice within [`RESEND`].
const RESENT: usize = 128;
/// A packet is sent again at most this often, whatever is asked, if the round trip isn't known or is shorter: less than that of most lines.
const RESEND: Duration = Duration::from_millis(20);
/// A round trip that is longer is taken for this: what is asked for again after half a second is more likely lost than under way.
const LONGEST_RESEND: Duration = Duration::from_millis(500);

/// A published packet, the same for all who get it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) marker: bool,
    pub(crate) timestamp: u32,
    /// The publisher's extended sequence number.
    pub(crate) index: u64,
    pub(crate) codec: Codec,
    pub(crate) frame: &'a FrameInfo,
    /// All of it.
    pub(crate) bytes: &'a [u8],
    /// Without header and padding.
    pub(crate) payload: &'a [u8],
    pub(crate) extensions: &'a ParsedExtensions,
    /// Bytes of padding that make it as long as its neighbours.
    pub(crate) pad: u8,
}

impl Packet<'_> {
    /// Whether it has header extensions that subscribers get.
    fn passes(&self) -> bool {
        let extensions = self.extensions;
        extensions.audio_level.is_some() || extensions.abs_capture_time.is_some() || extensions.dependency_descriptor.is_some()
    }
}

/// The header extensions that subscribers get as the publisher sent them, but for the frame number in the dependency descriptor.
#[derive(Clone, Copy, Debug, Default)]
struct Passed<'a> {
    audio_level: Option<[u8; 1]>,
    capture_time: Option<&'a [u8]>,
    dependency_descriptor: Option<&'a [u8]>,
}

/// The sealer's streams of one sender.
#[derive(Clone, Copy, Debug)]
struct Streams {
    media: StreamIndex,
    rtx: Option<StreamIndex>,
}

/// One receiving m-line of a participant's.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) config: SenderConfig,
    /// What it is sealed as; from the first time on that it carries something, because a sealer never forgets a stream.
    streams: Option<Streams>,
    /// Whether it carries a track.
    routed: bool,
    /// The number from which on it has not been interrupted.
    begun: u64,
    /// The receiver knows no codec of what it carries.
    undecodable: bool,
    /// When that was told last.
    told_undecodable: Option<Instant>,
    selector: Selector,
    rewriter: Rewriter,
    /// The next index of the RTX stream; it never goes back.
    next_rtx: u64,
    last_sent: Option<Instant>,
    /// Whose times the rewriter's offset is for.
    timed_for: Option<Source>,
    /// For sender reports.
    packets: u32,
    octets: u32,
    pub(crate) report_due: bool,
    resent: Vec<(u64, Instant)>,
    ciphertext: Option<History>,
    /// Whether it was ever asked to send anything again.
    was_asked: bool,
    /// The last packet and the one before, sealed, while packets are repeated.
    repeated: [Vec<u8>; 2],
}

impl Sender {
    /// A sender that carries nothing.
    pub(crate) fn new(config: SenderConfig) -> Self {
        Self {
            streams: None,
            routed: false,
            begun: 0,
            undecodable: false,
            told_undecodable: None,
            selector: Selector::default(),
            rewriter: Rewriter::default(),
            next_rtx: 0,
            config,
            last_sent: None,
            timed_for: None,
            packets: 0,
            octets: 0,
            report_due: false,
            resent: Vec::new(),
            ciphertext: None,
            was_asked: false,
            repeated: [Vec::new(), Vec::new()],
        }
    }

    /// Carries a track from its next starting point on. The first time its indices begin where the sealer has got to under the same SSRCs.
    pub(crate) fn start(&mut self, sealer: &mut Sealer) -> Result<(), Drop> {
        if self.streams.is_none() {
            let mut begin = |ssrc: u32| {
                let stream = sealer.add_stream(ssrc).map_err(|_| Drop::TooManyStreams)?;
                // Below 2^14: a receiver that misses the first packets still guesses rollover counter 0 (RFC 3711 §3.3.1).
                let first = u64::from(ssrc & 0x3fff);
                Ok::<_, Drop>((stream, sealer.highest(stream).map_or(first, |highest| highest + 1)))
            };
            let (media, next) = begin(self.config.ssrc)?;
            let rtx = self.config.rtx_ssrc.map(&mut begin).transpose()?;
            (self.rewriter, self.next_rtx) = (Rewriter::new(next), rtx.map_or(0, |(_, next)| next));
            self.streams = Some(Streams { media, rtx: rtx.map(|(stream, _)| stream) });
        }
        self.routed = true;
        (self.undecodable, self.told_undecodable) = (false, None);
        self.selector.reset();
        Ok(())
    }

    /// Carries nothing.
    pub(crate) fn stop(&mut self) {
        self.routed = false;
        self.selector.reset();
    }

    /// What is to be sent, and with which encodings it may begin: a bit for each.
    pub(crate) fn set_target(&mut self, target: Option<(Layer, u8)>) {
        self.selector.set_target(target);
    }

    /// Something of what it carries is left out that nothing makes up for: it goes on from the next keyframe on, and what was sent before is of no use any more.
    pub(crate) fn interrupt(&mut self) {
        self.begun = self.rewriter.next();
        self.selector.reset();
    }

    /// One of the publisher's streams has begun anew: its numbers and times have nothing to do with those before.
    pub(crate) fn restart(&mut self, encoding: u8) {
        if self.timed_for.is_some_and(|source| source.encoding == encoding) {
            self.selector.reset();
            self.timed_for = None;
            self.rewriter.forget();
        }
    }

    /// The encoding without whose keyframe nothing can be sent, or not what is to be.
    pub(crate) fn needs_keyframe(&self) -> Option<u8> {
        self.selector.awaits().filter(|_| self.routed && !self.undecodable && self.config.kind == MediaKind::Video)
    }

    /// Whether the receiver knows no codec of what it carries.
    pub(crate) fn is_undecodable(&self) -> bool {
        self.undecodable
    }

    /// The same, when it is to be told: at once and every now and then while the receiver knows none, and once it does again, unless it was only just told.
    pub(crate) fn poll_undecodable(&mut self, now: Instant) -> Option<bool> {
        let since = self.told_undecodable.map(|told| now.saturating_duration_since(told));
        let due = match (since, self.undecodable) {
            (None, undecodable) => undecodable,
            (Some(since), undecodable) => since >= if undecodable { UNDECODABLE_AGAIN } else { DECODABLE_AFTER },
        };
        if due {
            self.told_undecodable = self.undecodable.then_some(now);
        }
        due.then_some(self.undecodable)
    }

    /// The encodings of which it may send something, what is being sent first.
    pub(crate) fn wants(&self) -> impl Iterator<Item = u8> + use<> {
        self.selector.wants()
    }

    /// What is being sent.
    pub(crate) fn layer(&self) -> Option<Layer> {
        self.selector.current().filter(|_| self.routed)
    }

    /// Whether its packets carry transport-wide sequence numbers.
    pub(crate) fn is_numbered(&self) -> bool {
        self.config.extensions.id(Extension::TransportSequence).is_some()
    }

    /// Whether the participant says anything of how its line carries them.
    pub(crate) fn is_measured(&self) -> bool {
        self.is_numbered() || self.config.remb
    }

    /// Rewrites and seals a packet of the track's `encodings` into `room`, under a transport-wide sequence number if there are any; returns its length.
    pub(crate) fn forward(
        &mut self,
        now: Instant,
        from: Source,
        packet: &Packet<'_>,
        encodings: &[Encoding],
        (sealer, number): (&mut Sealer, Option<u16>),
        room: &mut [u8],
    ) -> Result<usize, Drop> {
        let (payload_type, payload, inner) = match self.payload(packet) {
            Err(Drop::NoCodec) if self.config.kind == MediaKind::Video => {
                self.undecodable = true;
                // In a codec that the receiver knows it goes on with a keyframe, without a gap for what was left out meanwhile.
                if self.selector.current().is_some_and(|layer| layer.encoding == from.encoding) {
                    self.selector.reset();
                }
                return Err(Drop::NoCodec);
            }
            said => said?,
        };
        self.undecodable = false;
        if !self.routed {
            return Err(Drop::NotRouted);
        }
        let is_current = self.selector.current().is_some_and(|layer| layer.encoding == from.encoding);
        let placed = if is_current && self.rewriter.is_late(packet.index) {
            self.rewriter.place_late(packet.index).ok_or(Drop::BeforeSwitch)?
        } else if packet.payload.is_empty() {
            if is_current {
                self.rewriter.pass_over(packet.index);
            }
            return Err(Drop::Padding);
        } else {
            match self.selector.choose(from.encoding, packet.frame) {
                Choice::Forward => {}
                Choice::Begin => self.begin(now, from, packet, encodings),
                Choice::Skip => {
                    self.rewriter.skip(packet.index, packet.timestamp, packet.frame);
                    return Err(Drop::LeftOut);
                }
                Choice::Other => return Err(Drop::OtherEncoding),
                Choice::Awaits => return Err(Drop::AwaitsKeyframe),
            }
            let layer = self.selector.current().ok_or(Drop::NotRouted)?;
            self.rewriter.place(packet.index, packet.timestamp, packet.frame, layer).ok_or(Drop::NotRouted)?
        };
        let Placed { index, shift, .. } = placed;
        let timestamp = packet.timestamp.wrapping_add(shift.timestamp);
        let fields =
            HeaderFields { marker: placed.marker(packet), payload_type, sequence: index as u16, timestamp, ssrc: self.config.ssrc };
        let (header_len, mut len) = self.write(&fields, packet, payload, &placed, (&[], number), room)?;
        // Of what has its number but is left out, only the number goes: receivers wait for it.
        let is_empty = len == header_len;
        if let Some(inner) = inner {
            rewrite_red(&mut room[header_len..len], inner);
        }
        if packet.pad > 0 || is_empty {
            len = pad(room, len, packet.pad.max(1)).map_err(|_| Drop::TooLarge)?;
        }
        let stream = self.streams.ok_or(Drop::NotRouted)?.media;
        let sealed = sealer.seal_rtp(stream, index, room, header_len, len).map_err(Drop::from)?;
        self.rewriter.note(index);
        self.last_sent = Some(now);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload.len() as u32);
        if let Some(ciphertext) = &mut self.ciphertext {
            ciphertext.insert(index, packet.codec, &room[..sealed]);
        }
        Ok(sealed)
    }

    /// Writes header and payload, `before` which stands what RTX puts there, with the numbers they get; returns the lengths of header and packet.
    /// Nothing of the payload if it is left out.
    fn write(
        &self,
        fields: &HeaderFields,
        packet: &Packet<'_>,
        payload: &[u8],
        placed: &Placed,
        (before, number): (&[u8], Option<u16>),
        room: &mut [u8],
    ) -> Result<(usize, usize), Drop> {
        let included = placed.layer.includes(packet.frame);
        let header_len = if packet.passes() && included {
            self.write_passed(fields, packet, placed, number, room)
        } else {
            self.write_numbered(fields, number, room)
        };
        let header_len = header_len.map_err(|_| Drop::TooLarge)?;
        let payload = if included { payload } else { &[] };
        let begin = header_len + before.len();
        let len = begin + payload.len();
        let Some(body) = room.get_mut(header_len..len) else { return Err(Drop::TooLarge) };
        let (first, rest) = body.split_at_mut(before.len());
        first.copy_from_slice(before);
        rest.copy_from_slice(payload);
        packet.frame.numbers.write(rest, &placed.shift);
        Ok((header_len, len))
    }

    /// Writes a header that says nothing but the transport-wide sequence number, if there is one.
    fn write_numbered(&self, fields: &HeaderFields, number: Option<u16>, room: &mut [u8]) -> Result<usize, WriteError> {
        match self.config.extensions.id(Extension::TransportSequence).zip(number) {
            Some((id, number)) => write_header(room, fields, std::iter::once((id, number.to_be_bytes().as_slice()))),
            None => write_header(room, fields, std::iter::empty()),
        }
    }

    /// Writes a header with what of the publisher's extensions subscribers get.
    fn write_passed(
        &self,
        fields: &HeaderFields,
        packet: &Packet<'_>,
        placed: &Placed,
        number: Option<u16>,
        room: &mut [u8],
    ) -> Result<usize, WriteError> {
        let extensions = packet.extensions;
        let mut passed = Passed {
            audio_level: extensions.audio_level.map(|level| [level]),
            capture_time: extensions.abs_capture_time.as_ref().map(|time| time.as_bytes()),
            dependency_descriptor: extensions.dependency_descriptor.and_then(|at| at.of(packet.bytes)),
        };
        let mut copy = None;
        if let Some(descriptor) = passed.dependency_descriptor.filter(|_| placed.shift.frame != 0) {
            passed.dependency_descriptor = packet.frame.numbers.renumber(descriptor, &placed.shift, copy.insert([0; 255]));
        }
        let number = number.map(u16::to_be_bytes);
        write_header(room, fields, self.extensions(number.as_ref(), &passed))
    }

    /// Begins a source: numbers go on without a gap, and so does media time.
    fn begin(&mut self, now: Instant, from: Source, packet: &Packet<'_>, encodings: &[Encoding]) {
        let Some(layer) = self.selector.current() else { return };
        let offset = self.offset(now, from, packet, encodings);
        self.timed_for = Some(from);
        self.rewriter.begin(from, packet.index, packet.timestamp, &packet.frame.numbers, layer, offset);
        // Without a clock there is nothing to report; whoever gets the source is told of its clock when it is known.
        self.report_due = encodings.get(usize::from(from.encoding)).is_some_and(|encoding| encoding.clock.is_some());
        if self.ciphertext.is_none() && self.config.kind == MediaKind::Video && self.config.nack && self.rtx_for(packet.codec).is_none() {
            self.ciphertext = Some(History::new(Depth::CIPHERTEXT));
        }
    }

    /// What to add to the times of a source that begins with `packet`.
    fn offset(&self, now: Instant, from: Source, packet: &Packet<'_>, encodings: &[Encoding]) -> u32 {
        let before = self.rewriter.offset();
        let (Some(last_sent), Some(last)) = (self.last_sent, self.rewriter.last_timestamp()) else { return before };
        if self.timed_for == Some(from) {
            return before;
        }
        let rate = packet.codec.clock_rate();
        let elapsed = now.saturating_duration_since(last_sent).as_micros().min(u128::from(u32::MAX)) as u64 * u64::from(rate) / 1_000_000;
        // At least a hundredth of a second: two pictures never share a time.
        let by_arrival = last.wrapping_add(elapsed.max(u64::from(rate) / 100) as u32).wrapping_sub(packet.timestamp);
        let clock = |encoding: u8| encodings.get(usize::from(encoding)).and_then(|encoding| encoding.clock);
        let clocks: Option<(TrackClock, TrackClock)> = match self.timed_for {
            Some(source) if source.track == from.track => clock(source.encoding).zip(clock(from.encoding)),
            _ => None,
        };
        let Some((old, new)) = clocks else { return by_arrival };
        let aligned = before.wrapping_add(old.rtp_at(new.ntp, rate)).wrapping_sub(new.rtp);
        let apart = aligned.wrapping_sub(by_arrival) as i32;
        if u64::from(apart.unsigned_abs()) <= MAX_DISAGREEMENT.as_secs() * u64::from(rate) { aligned } else { by_arrival }
    }

    /// What is sent of a payload under which type, and what the blocks within RED are to be called.
    fn payload<'p>(&self, packet: &Packet<'p>) -> Result<(u8, &'p [u8], Option<u8>), Drop> {
        let codecs = &self.config.codecs;
        if packet.codec != Codec::Red {
            let payload_type = codecs.media(packet.codec).ok_or(Drop::NoCodec)?;
            return Ok((payload_type, packet.payload, None));
        }
        match (codecs.media(Codec::Red), codecs.media(Codec::Opus)) {
            (Some(red), Some(opus)) => Ok((red, packet.payload, Some(opus))),
            // Who doesn't take RED gets what it protects.
            (_, Some(opus)) => {
                let primary = red::primary(packet.payload).ok_or(Drop::Malformed)?;
                Ok((opus, packet.payload.get(primary).ok_or(Drop::Malformed)?, None))
            }
            (Some(red), None) => Ok((red, packet.payload, None)),
            _ => Err(Drop::NoCodec),
        }
    }

    fn extensions<'p>(&self, number: Option<&'p [u8; 2]>, passed: &'p Passed<'_>) -> impl Iterator<Item = (u8, &'p [u8])> + Clone {
        [
            (Extension::TransportSequence, number.map(|number| number.as_slice())),
            (Extension::AudioLevel, passed.audio_level.as_ref().map(|level| level.as_slice())),
            (Extension::AbsCaptureTime, passed.capture_time),
            (Extension::DependencyDescriptor, passed.dependency_descriptor),
        ]
        .map(|(extension, value)| self.config.extensions.id(extension).zip(value))
        .into_iter()
        .flatten()
    }

    fn rtx_for(&self, codec: Codec) -> Option<(StreamIndex, u8)> {
        self.streams?.rtx.zip(self.config.codecs.rtx(codec))
    }

    /// Which packet of which encoding was sent as `sequence`, and how; `None` if it is too long ago.
    pub(crate) fn source(&self, sequence: u16) -> Option<(Source, u64, Placed)> {
        self.rewriter.source(sequence).filter(|(.., placed)| placed.index >= self.begun)
    }

    /// The index after the last that was sent of a track, as far as is remembered.
    pub(crate) fn sent_of(&self, track: TrackKey) -> u64 {
        self.rewriter.sent_of(track)
    }

    /// The participant asks for something again: it needs nothing twice.
    pub(crate) fn note_asked(&mut self) {
        self.was_asked = true;
    }

    /// Whether a retransmission of `sequence` may be sent, after a `wait`; notes that it is. Not while the last one waits or can be under way: who asks again sooner
    /// than after a round trip, on a line whose queue has grown, would fill the queue with copies.
    pub(crate) fn may_resend(&mut self, now: Instant, wait: Duration, sequence: u16, round_trip: Option<Duration>) -> bool {
        let apart = round_trip.map_or(RESEND, |trip| (trip * 3 / 4).clamp(RESEND, LONGEST_RESEND));
        if self.resent.is_empty() {
            self.resent = vec![(u64::MAX, now); RESENT];
        }
        let place = &mut self.resent[usize::from(sequence) % RESENT];
        if place.0 == u64::from(sequence) && now.saturating_duration_since(place.1) < apart {
            return false;
        }
        *place = (u64::from(sequence), now + wait);
        true
    }

    /// The stored ciphertext of `sequence`: what is sent again where RTX was not negotiated. Of audio it is stored from the first request on: most
    /// people's lines lose nothing.
    pub(crate) fn ciphertext(&mut self, sequence: u16) -> Option<&[u8]> {
        if self.config.kind == MediaKind::Audio && self.config.nack && self.ciphertext.is_none() {
            self.ciphertext = Some(History::new(Depth::AUDIO));
        }
        let index = sequence::nearest(self.rewriter.next().checked_sub(1)?, sequence)?;
        self.ciphertext.as_ref()?.get(index).map(|(_, packet)| packet)
    }

    /// Writes a packet that was sent as `placed` says again, under the RTX stream (RFC 4588).
    pub(crate) fn retransmit(
        &mut self,
        placed: &Placed,
        packet: &Packet<'_>,
        number: Option<u16>,
        sealer: &mut Sealer,
        room: &mut [u8],
    ) -> Result<usize, Drop> {
        let (stream, payload_type) = self.rtx_for(packet.codec).ok_or(Drop::NoRtx)?;
        let (_, payload, _) = self.payload(packet)?;
        let fields = HeaderFields {
            marker: placed.marker(packet),
            payload_type,
            sequence: self.next_rtx as u16,
            timestamp: packet.timestamp.wrapping_add(placed.shift.timestamp),
            ssrc: self.config.rtx_ssrc.ok_or(Drop::NoRtx)?,
        };
        let sequence = (placed.index as u16).to_be_bytes();
        let (header_len, len) = self.write(&fields, packet, payload, placed, (&sequence, number), room)?;
        let sealed = sealer.seal_rtp(stream, self.next_rtx, room, header_len, len).map_err(Drop::from)?;
        self.next_rtx += 1;
        Ok(sealed)
    }

    /// Whether it can send [`Sender::padding`].
    pub(crate) fn has_padding(&self) -> bool {
        self.is_numbered() && self.any_rtx().is_some()
    }

    fn any_rtx(&self) -> Option<(StreamIndex, u8)> {
        let stream = self.streams?.rtx?;
        Codec::ALL.iter().find_map(|&codec| self.config.codecs.rtx(codec)).map(|payload_type| (stream, payload_type))
    }

    /// Writes a packet of nothing but padding under the RTX stream, where receivers look for no picture in it: it probes the line.
    pub(crate) fn padding(&mut self, size: usize, number: u16, sealer: &mut Sealer, room: &mut [u8]) -> Result<usize, Drop> {
        let (stream, payload_type) = self.any_rtx().ok_or(Drop::NoRtx)?;
        let timestamp = self.rewriter.last_timestamp().unwrap_or(0);
        let ssrc = self.config.rtx_ssrc.ok_or(Drop::NoRtx)?;
        let fields = HeaderFields { marker: false, payload_type, sequence: self.next_rtx as u16, timestamp, ssrc };
        let header_len = self.write_numbered(&fields, Some(number), room).map_err(|_| Drop::TooLarge)?;
        let count = size.saturating_sub(header_len).clamp(1, usize::from(u8::MAX)) as u8;
        let len = pad(room, header_len, count).map_err(|_| Drop::TooLarge)?;
        let sealed = sealer.seal_rtp(stream, self.next_rtx, room, header_len, len).map_err(Drop::from)?;
        self.next_rtx += 1;
        Ok(sealed)
    }

    /// On a line that loses packets: what is to be sent behind `sealed`, which is about to be, namely the packet before it once more. Sound needs it where the
    /// participant neither takes RED nor asks for lost packets, as Firefox doesn't, though it says in every other description that it would; it costs what RED does.
    pub(crate) fn repeat(&mut self, sealed: &[u8]) -> Option<&[u8]> {
        let asks = self.config.nack && self.was_asked;
        if self.config.kind != MediaKind::Audio || asks || self.config.codecs.media(Codec::Red).is_some() {
            return None;
        }
        let [last, before] = &mut self.repeated;
        std::mem::swap(last, before);
        last.clear();
        last.extend_from_slice(sealed);
        Some(&before[..]).filter(|before| !before.is_empty())
    }

    /// Whether sender reports are due at all: something is being sent.
    pub(crate) fn is_live(&self) -> bool {
        self.layer().is_some()
    }

    /// For a sender report: packets and payload bytes sent so far, and what is added to the publisher's timestamps.
    pub(crate) fn sent(&self) -> (u32, u32, u32) {
        (self.packets, self.octets, self.rewriter.offset())
    }
}

impl Placed {
    /// Whether the packet ends a picture as the subscriber gets it: with the highest spatial layer that it gets, or with one below if the publisher sends no more.
    fn marker(&self, packet: &Packet<'_>) -> bool {
        let frame = packet.frame;
        let ends = packet.marker || frame.ends && frame.spatial == self.layer.spatial;
        ends && self.layer.includes(frame)
    }
}

/// Renames the blocks of a RED payload (RFC 2198 §3): all of them are Opus.
fn rewrite_red(payload: &mut [u8], payload_type: u8) {
    let mut at = 0;
    while let Some(head) = payload.get_mut(at) {
        let more = *head & 0x80;
        *head = more | payload_type;
        if more == 0 {
            return;
        }
        at += 4;
    }
}

impl From<SealError> for Drop {
    fn from(error: SealError) -> Self {
        match error {
            SealError::IndexUsed => Drop::IndexUsed,
            SealError::NoSpace => Drop::TooLarge,
            _ => Drop::Seal,
        }
    }
}
