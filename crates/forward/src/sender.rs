//! One receiving m-line of a participant's: what it carries, and how a published packet is rewritten for it.

use std::time::{Duration, Instant};

use switchyard_rtp::codec::{Codec, MediaKind};
use switchyard_rtp::rtp::{HeaderFields, pad, write_header};
use switchyard_rtp::srtp::{SealError, Sealer, StreamIndex};
use switchyard_rtp::{Extension, red, sequence};

use crate::drops::Drop;
use crate::history::{Depth, History};
use crate::{SenderConfig, TrackKey};

/// Sources that a retransmission request may reach back over.
const SEGMENTS: usize = 4;
/// A jump of the publisher's larger than this is closed: receivers take such a gap for another stream.
const MAX_JUMP: u64 = 2_000;
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
    /// Whether a decoder can begin here.
    pub(crate) keyframe: bool,
    /// Without header and padding.
    pub(crate) payload: &'a [u8],
    pub(crate) passed: Passed<'a>,
    /// Bytes of padding that make it as long as its neighbours.
    pub(crate) pad: u8,
}

/// The header extensions that subscribers get as the publisher sent them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passed<'a> {
    pub(crate) audio_level: Option<[u8; 1]>,
    pub(crate) capture_time: Option<&'a [u8]>,
    pub(crate) dependency_descriptor: Option<&'a [u8]>,
}

/// Publisher's sequence numbers `from`.. are sent as `to`...
#[derive(Clone, Copy, Debug)]
struct Segment {
    track: TrackKey,
    from: u64,
    to: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Carries nothing.
    Off,
    /// Carries a track from its next keyframe (video) or packet (audio) on.
    Waiting,
    /// Carries a track.
    Live,
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
    state: State,
    /// The newest last.
    segments: Vec<Segment>,
    /// The next index of the media stream and of its RTX twin; they never go back.
    next: u64,
    next_rtx: u64,
    /// Added to the publisher's timestamps.
    timestamp_offset: u32,
    last_timestamp: u32,
    last_sent: Option<Instant>,
    timed_for: Option<TrackKey>,
    /// For sender reports.
    packets: u32,
    octets: u32,
    pub(crate) report_due: bool,
    resent: Vec<(u64, Instant)>,
    ciphertext: Option<History>,
    /// The last packet and the one before, sealed, while packets are repeated.
    repeated: [Vec<u8>; 2],
}

impl Sender {
    /// A sender that carries nothing.
    pub(crate) fn new(config: SenderConfig) -> Self {
        Self {
            streams: None,
            next: 0,
            next_rtx: 0,
            config,
            state: State::Off,
            segments: Vec::with_capacity(SEGMENTS),
            timestamp_offset: 0,
            last_timestamp: 0,
            last_sent: None,
            timed_for: None,
            packets: 0,
            octets: 0,
            report_due: false,
            resent: Vec::new(),
            ciphertext: None,
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
            (self.next, self.next_rtx) = (next, rtx.map_or(0, |(_, next)| next));
            self.streams = Some(Streams { media, rtx: rtx.map(|(stream, _)| stream) });
        }
        self.state = State::Waiting;
        Ok(())
    }

    /// Carries nothing.
    pub(crate) fn stop(&mut self) {
        self.state = State::Off;
    }

    /// The publisher's stream has begun anew: its numbers and times have nothing to do with those before.
    pub(crate) fn restart(&mut self) {
        if self.state == State::Live {
            self.state = State::Waiting;
        }
        self.timed_for = None;
        self.segments.clear();
    }

    /// Whether nothing can be sent before a keyframe comes.
    pub(crate) fn needs_keyframe(&self) -> bool {
        self.state == State::Waiting && self.config.kind == MediaKind::Video
    }

    /// Rewrites and seals a packet into `room`; returns its length.
    pub(crate) fn forward(
        &mut self,
        now: Instant,
        track: TrackKey,
        packet: &Packet<'_>,
        sealer: &mut Sealer,
        room: &mut [u8],
    ) -> Result<usize, Drop> {
        let (payload_type, payload, inner) = self.payload(packet)?;
        match self.state {
            State::Off => return Err(Drop::NotRouted),
            State::Waiting if self.config.kind == MediaKind::Video && !packet.keyframe => return Err(Drop::AwaitsKeyframe),
            State::Waiting => self.begin(now, track, packet),
            State::Live => {}
        }
        let Some(mut segment) = self.segments.last().copied() else { return Err(Drop::NotRouted) };
        if packet.index < segment.from {
            return Err(Drop::BeforeSwitch);
        }
        if segment.to + (packet.index - segment.from) > self.next + MAX_JUMP {
            segment = Segment { track, from: packet.index, to: self.next };
            self.push(segment);
        }
        let index = segment.to + (packet.index - segment.from);
        let timestamp = packet.timestamp.wrapping_add(self.timestamp_offset);
        let fields = HeaderFields { marker: packet.marker, payload_type, sequence: index as u16, timestamp, ssrc: self.config.ssrc };
        let header_len = write_header(room, &fields, self.extensions(packet)).map_err(|_| Drop::TooLarge)?;
        let mut len = header_len + payload.len();
        let Some(body) = room.get_mut(header_len..len) else { return Err(Drop::TooLarge) };
        body.copy_from_slice(payload);
        if let Some(inner) = inner {
            rewrite_red(body, inner);
        }
        if packet.pad > 0 {
            len = pad(room, len, packet.pad).map_err(|_| Drop::TooLarge)?;
        }
        let stream = self.streams.ok_or(Drop::NotRouted)?.media;
        let sealed = sealer.seal_rtp(stream, index, room, header_len, len).map_err(Drop::from)?;
        self.next = self.next.max(index + 1);
        if self.last_sent.is_none() || sequence::is_later(timestamp, self.last_timestamp) {
            self.last_timestamp = timestamp;
        }
        self.last_sent = Some(now);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload.len() as u32);
        if let Some(ciphertext) = &mut self.ciphertext {
            ciphertext.insert(index, packet.codec, &room[..sealed]);
        }
        Ok(sealed)
    }

    /// Begins a source: numbers go on without a gap, and so does media time.
    fn begin(&mut self, now: Instant, track: TrackKey, packet: &Packet<'_>) {
        self.state = State::Live;
        self.push(Segment { track, from: packet.index, to: self.next });
        if self.timed_for != Some(track) {
            if let Some(last_sent) = self.last_sent {
                let rate = u64::from(packet.codec.clock_rate());
                let elapsed = now.saturating_duration_since(last_sent).as_micros().min(u128::from(u32::MAX)) as u64 * rate / 1_000_000;
                // At least a hundredth of a second: two pictures never share a time.
                let timestamp = self.last_timestamp.wrapping_add(elapsed.max(rate / 100) as u32);
                self.timestamp_offset = timestamp.wrapping_sub(packet.timestamp);
            }
            self.timed_for = Some(track);
        }
        self.report_due = true;
        if self.ciphertext.is_none() && self.config.kind == MediaKind::Video && self.config.nack && self.rtx_for(packet.codec).is_none() {
            self.ciphertext = Some(History::new(Depth::CIPHERTEXT));
        }
    }

    fn push(&mut self, segment: Segment) {
        if self.segments.len() == SEGMENTS {
            self.segments.remove(0);
        }
        self.segments.push(segment);
    }

    /// What is sent of a payload under which type, and what the blocks within RED are to be called.
    fn payload<'p>(&self, packet: &Packet<'p>) -> Result<(u8, &'p [u8], Option<u8>), Drop> {
        let codecs = &self.config.codecs;
        match (packet.codec, codecs.media(packet.codec), codecs.media(Codec::Opus)) {
            (Codec::Red, Some(red), Some(opus)) => Ok((red, packet.payload, Some(opus))),
            // Who doesn't take RED gets what it protects.
            (Codec::Red, _, Some(opus)) => {
                let primary = red::primary(packet.payload).ok_or(Drop::Malformed)?;
                Ok((opus, packet.payload.get(primary).ok_or(Drop::Malformed)?, None))
            }
            (_, Some(payload_type), _) => Ok((payload_type, packet.payload, None)),
            _ => Err(Drop::NoCodec),
        }
    }

    fn extensions<'p>(&self, packet: &'p Packet<'_>) -> impl Iterator<Item = (u8, &'p [u8])> + Clone {
        let passed = &packet.passed;
        [
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

    /// Which packet of which track was sent as `sequence`; `None` if it is too long ago.
    pub(crate) fn source(&self, sequence: u16) -> Option<(TrackKey, u64)> {
        let index = sequence::nearest(self.next.checked_sub(1)?, sequence).filter(|&index| index < self.next)?;
        let segment = self.segments.iter().rev().find(|segment| segment.to <= index)?;
        Some((segment.track, segment.from + (index - segment.to)))
    }

    /// The index after the last that was sent of a track, as far as is remembered.
    pub(crate) fn sent_of(&self, track: TrackKey) -> u64 {
        let Some(at) = self.segments.iter().rposition(|segment| segment.track == track) else { return 0 };
        let end = self.segments.get(at + 1).map_or(self.next, |next| next.to);
        self.segments[at].from + (end - self.segments[at].to)
    }

    /// Whether a retransmission of `sequence` may be sent now; notes that it is. Not while the last one can be under way: who asks again sooner than
    /// after a round trip, on a line whose queue has grown, would fill the queue with copies.
    pub(crate) fn may_resend(&mut self, now: Instant, sequence: u16, round_trip: Option<Duration>) -> bool {
        let apart = round_trip.map_or(RESEND, |trip| (trip * 3 / 4).clamp(RESEND, LONGEST_RESEND));
        if self.resent.is_empty() {
            self.resent = vec![(u64::MAX, now); RESENT];
        }
        let place = &mut self.resent[usize::from(sequence) % RESENT];
        if place.0 == u64::from(sequence) && now.saturating_duration_since(place.1) < apart {
            return false;
        }
        *place = (u64::from(sequence), now);
        true
    }

    /// The stored ciphertext of `sequence`: what is sent again where RTX was not negotiated. Of audio it is stored from the first request on: most
    /// people's lines lose nothing.
    pub(crate) fn ciphertext(&mut self, sequence: u16) -> Option<&[u8]> {
        if self.config.kind == MediaKind::Audio && self.config.nack && self.ciphertext.is_none() {
            self.ciphertext = Some(History::new(Depth::AUDIO));
        }
        let index = sequence::nearest(self.next.checked_sub(1)?, sequence)?;
        self.ciphertext.as_ref()?.get(index).map(|(_, packet)| packet)
    }

    /// Writes a packet that was sent as `sequence` again, under the RTX stream (RFC 4588).
    pub(crate) fn retransmit(&mut self, sequence: u16, packet: &Packet<'_>, sealer: &mut Sealer, room: &mut [u8]) -> Result<usize, Drop> {
        let (stream, payload_type) = self.rtx_for(packet.codec).ok_or(Drop::NoRtx)?;
        let (_, payload, _) = self.payload(packet)?;
        let fields = HeaderFields {
            marker: packet.marker,
            payload_type,
            sequence: self.next_rtx as u16,
            timestamp: packet.timestamp.wrapping_add(self.timestamp_offset),
            ssrc: self.config.rtx_ssrc.ok_or(Drop::NoRtx)?,
        };
        let header_len = write_header(room, &fields, self.extensions(packet)).map_err(|_| Drop::TooLarge)?;
        let len = header_len + 2 + payload.len();
        let Some(body) = room.get_mut(header_len..len) else { return Err(Drop::TooLarge) };
        body[..2].copy_from_slice(&sequence.to_be_bytes());
        body[2..].copy_from_slice(payload);
        let sealed = sealer.seal_rtp(stream, self.next_rtx, room, header_len, len).map_err(Drop::from)?;
        self.next_rtx += 1;
        Ok(sealed)
    }

    /// On a line that loses packets: what is to be sent behind `sealed`, which is about to be, namely the packet before it once more. Sound needs it where the
    /// participant neither takes RED nor asks for lost packets, as Firefox doesn't; it costs what RED does.
    pub(crate) fn repeat(&mut self, sealed: &[u8]) -> Option<&[u8]> {
        if self.config.kind != MediaKind::Audio || self.config.nack || self.config.codecs.media(Codec::Red).is_some() {
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
        self.state == State::Live
    }

    /// For a sender report: packets and payload bytes sent so far, and what is added to the publisher's timestamps.
    pub(crate) fn sent(&self) -> (u32, u32, u32) {
        (self.packets, self.octets, self.timestamp_offset)
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
