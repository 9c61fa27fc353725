//! One encoding's RTP stream: the numbers that count on.

use std::time::{Duration, Instant};

use switchyard_netem::Random;

use super::stamp::VP8_DESCRIPTOR;
use super::temporal::Place;
use super::{Content, KEYFRAMES_APART, MAX_PAYLOAD, Packet};

/// Where every frame is that has no layers.
const LOWEST: Place = Place { layer: 0, sync: false, leaf: false, part: 1.0 };

/// The times at which frames are made: the nth is at n / rate after the first, without drift.
#[derive(Clone, Debug)]
pub(super) struct FrameClock {
    origin: Instant,
    per_second: u64,
    /// Ticks of the RTP clock in a second.
    rtp_rate: u64,
    /// The next frame.
    ordinal: u64,
}

impl FrameClock {
    /// The first frame comes within a frame's time after `start`.
    pub(super) fn new(start: Instant, per_second: u32, rtp_rate: u32, random: &mut Random) -> Self {
        let phase = Duration::from_nanos(random.below(1_000_000_000 / u64::from(per_second)));
        Self { origin: start + phase, per_second: per_second.into(), rtp_rate: rtp_rate.into(), ordinal: 0 }
    }

    /// When the next frame is made.
    pub(super) fn next(&self) -> Instant {
        self.origin + Duration::from_nanos(self.ordinal * 1_000_000_000 / self.per_second)
    }

    /// Which one it is, counted from 0.
    pub(super) fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// Its time on the RTP clock, which begins at 0.
    pub(super) fn timestamp(&self) -> u32 {
        (self.ordinal * self.rtp_rate / self.per_second) as u32
    }

    /// Goes on to the frame after.
    pub(super) fn advance(&mut self) {
        self.ordinal += 1;
    }

    /// Leaves out the frames that are more than `behind` too late at `now`, and says how many.
    pub(super) fn skip(&mut self, now: Instant, behind: Duration) -> u64 {
        let late = now.saturating_duration_since(self.next());
        if late <= behind {
            return 0;
        }
        let skipped = (late.as_nanos() * u128::from(self.per_second) / 1_000_000_000) as u64;
        self.ordinal += skipped;
        skipped
    }
}

/// A frame on its way out.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    encoding: u8,
    timestamp: u32,
    number: u32,
    content: Content,
    /// Bytes of its payloads without the descriptors.
    len: usize,
    packets: u16,
    /// Packets that have been made.
    made: u16,
    /// When the encoder was done with it.
    pub(super) ready: Instant,
}

impl Frame {
    pub(super) fn encoding(&self) -> u8 {
        self.encoding
    }

    pub(super) fn is_done(&self) -> bool {
        self.made == self.packets
    }
}

/// Counts frames, pictures and packets of one encoding.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    encoding: u8,
    size: (u16, u16),
    first_timestamp: u32,
    picture_id: u16,
    /// Of the next frame of the lowest layer.
    tl0_index: u8,
    frames: u32,
    packets: u64,
    keyframe_wanted: bool,
    last_keyframe: Option<Instant>,
}

impl Stream {
    pub(super) fn new(encoding: u8, size: (u16, u16), random: &mut Random) -> Self {
        Self {
            encoding,
            size,
            first_timestamp: random.bits() as u32,
            picture_id: random.bits() as u16 & 0x7fff,
            tl0_index: random.bits() as u8,
            frames: 0,
            packets: 0,
            keyframe_wanted: true,
            last_keyframe: None,
        }
    }

    /// The next frame is a keyframe, whenever the last one was.
    pub(super) fn begin_anew(&mut self) {
        self.keyframe_wanted = true;
    }

    pub(super) fn request_keyframe(&mut self, now: Instant) -> bool {
        let wanted = self.keyframe_wanted || self.last_keyframe.is_none_or(|last| now.saturating_duration_since(last) >= KEYFRAMES_APART);
        self.keyframe_wanted = wanted;
        wanted
    }

    /// Whether the frame made at `at` has to be a keyframe: the first one, one asked for, or one that is due after `interval`.
    pub(super) fn takes_keyframe(&mut self, at: Instant, interval: Option<Duration>) -> bool {
        let due = interval.zip(self.last_keyframe).is_some_and(|(interval, last)| at.saturating_duration_since(last) >= interval);
        let keyframe = std::mem::take(&mut self.keyframe_wanted) || due;
        if keyframe {
            self.last_keyframe = Some(at);
        }
        keyframe
    }

    /// The next frame, of `len` bytes, in as few packets as it fits in.
    pub(super) fn frame(&mut self, ready: Instant, timestamp: u32, keyframe: bool, len: usize) -> Frame {
        self.layered(ready, timestamp, keyframe, len, &LOWEST)
    }

    /// The next frame, of `len` bytes, at its place among the temporal layers.
    pub(super) fn layered(&mut self, ready: Instant, timestamp: u32, keyframe: bool, len: usize, place: &Place) -> Frame {
        let packets = len.div_ceil(MAX_PAYLOAD - VP8_DESCRIPTOR).max(1);
        self.make(ready, timestamp, keyframe, (len, u16::try_from(packets).unwrap_or(u16::MAX)), place)
    }

    /// The next frame, of `len` bytes in `packets` packets.
    pub(super) fn frame_of(&mut self, ready: Instant, timestamp: u32, keyframe: bool, len: usize, packets: u16) -> Frame {
        self.make(ready, timestamp, keyframe, (len, packets), &LOWEST)
    }

    fn make(&mut self, ready: Instant, timestamp: u32, keyframe: bool, (len, packets): (usize, u16), place: &Place) -> Frame {
        let tl0_index = if place.layer == 0 { self.tl0_index } else { self.tl0_index.wrapping_sub(1) };
        let content = Content::Vp8 {
            keyframe,
            picture_id: self.picture_id,
            tl0_index,
            layer: place.layer,
            sync: place.sync,
            leaf: place.leaf,
            size: self.size,
            frame_len: u32::try_from(len).unwrap_or(u32::MAX),
        };
        let number = self.frames;
        self.picture_id = self.picture_id.wrapping_add(1) & 0x7fff;
        self.tl0_index = tl0_index.wrapping_add(1);
        self.frames = self.frames.wrapping_add(1);
        let timestamp = self.first_timestamp.wrapping_add(timestamp);
        Frame { encoding: self.encoding, timestamp, number, content, len, packets, made: 0, ready }
    }

    /// The next packet of `frame`. Its packets differ by a byte at most, the smaller first.
    pub(super) fn packet(&mut self, frame: &mut Frame, at: Instant) -> Packet {
        let (index, packets) = (usize::from(frame.made), usize::from(frame.packets));
        let larger = index >= packets - frame.len % packets;
        let payload_len = VP8_DESCRIPTOR + frame.len / packets + usize::from(larger);
        let counter = self.packets;
        self.packets += 1;
        frame.made += 1;
        Packet {
            at,
            encoding: frame.encoding,
            timestamp: frame.timestamp,
            marker: frame.is_done(),
            counter,
            frame: frame.number,
            index: index as u16,
            packets: frame.packets,
            payload_len: payload_len as u16,
            content: frame.content,
        }
    }
}
