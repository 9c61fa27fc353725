//! What real encoders send, as seeded models.
//!
//! A [`Model`] is one published track. It is told the time and says which packets are to be sent: [`Model::poll`] until there is none, again at
//! [`Model::poll_timeout`]. A [`Packet`] has what goes into the RTP header and writes its own payload, which a VP8 or Opus parser finds in order and
//! which carries a [`Stamp`], so that a receiver can tell who sent it, which one it is and when.
//!
//! The video models follow libwebrtc: an encoder whose rate control keeps the bitrate in spite of keyframes, frames cut into packets of equal size,
//! and a pacer that sends at 2.5 times the bitrate in quanta of 5 ms.
//!
//! ```
//! # use std::time::{Duration, Instant};
//! use switchyard_load::traffic::{Model, ModelConfig, Stamp, VideoConfig};
//! use switchyard_rtp::Codec;
//!
//! # fn main() -> Result<(), switchyard_load::traffic::ConfigError> {
//! # let mut now = Instant::now();
//! let mut camera = Model::new(&ModelConfig::Video(VideoConfig::default()), 1, now)?;
//! let mut payload = Vec::new();
//! now = camera.poll_timeout().expect("a camera never ends");
//! while let Some(packet) = camera.poll(now) {
//!     packet.write(7, 1_700_000_000_000_000, &mut payload);
//!     assert!(packet.keyframe());
//!     assert_eq!(Stamp::read(Codec::Vp8, &payload).expect("every packet has one").publication, 7);
//! }
//! # Ok(())
//! # }
//! ```

use std::time::{Duration, Instant};

use serde::Serialize;

mod audio;
mod config;
mod fixed;
mod outbox;
mod rate;
mod screen;
mod stamp;
mod stream;
mod temporal;
#[cfg(test)]
mod tests;
mod video;

pub use audio::AudioModel;
pub use config::{AudioConfig, ConfigError, Encoding, FixedConfig, MAX_ENCODINGS, ScreenConfig, VideoConfig};
pub use fixed::FixedModel;
pub use screen::ScreenModel;
pub use stamp::Stamp;
pub use video::VideoModel;

/// Bytes of an RTP payload at most: with 12 bytes of RTP header and 24 of extensions the 1,200 at which libwebrtc cuts.
pub const MAX_PAYLOAD: usize = 1_164;

/// A model this far behind the time leaves out what it should have sent: a sender that was stopped for a while must not catch up in one burst.
const MAX_BEHIND: Duration = Duration::from_secs(1);

/// An encoder makes no two keyframes of one encoding within this time, as libwebrtc, so that many subscribers' requests cost one.
const KEYFRAMES_APART: Duration = Duration::from_millis(300);

/// What a track sends.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelConfig {
    /// A camera.
    Video(VideoConfig),
    /// A microphone.
    Audio(AudioConfig),
    /// A shared screen.
    Screen(ScreenConfig),
    /// Equal packets in equal bursts.
    Fixed(FixedConfig),
}

/// A track's packets, as they are due.
#[derive(Debug)]
pub enum Model {
    /// A camera.
    Video(VideoModel),
    /// A microphone.
    Audio(AudioModel),
    /// A shared screen.
    Screen(ScreenModel),
    /// Equal packets in equal bursts.
    Fixed(FixedModel),
}

impl Model {
    /// A track that begins within a frame's time after `start`; when exactly depends on the seed, so that many of them don't beat as one.
    pub fn new(config: &ModelConfig, seed: u64, start: Instant) -> Result<Self, ConfigError> {
        Ok(match config {
            ModelConfig::Video(config) => Self::Video(VideoModel::new(config, seed, start)?),
            ModelConfig::Audio(config) => Self::Audio(AudioModel::new(config, seed, start)?),
            ModelConfig::Screen(config) => Self::Screen(ScreenModel::new(config, seed, start)?),
            ModelConfig::Fixed(config) => Self::Fixed(FixedModel::new(config, seed, start)?),
        })
    }

    /// The next packet that is due by `now`, in the order of being due.
    pub fn poll(&mut self, now: Instant) -> Option<Packet> {
        match self {
            Self::Video(model) => model.poll(now),
            Self::Audio(model) => model.poll(now),
            Self::Screen(model) => model.poll(now),
            Self::Fixed(model) => model.poll(now),
        }
    }

    /// When [`poll`](Self::poll) is to be asked again, after it had nothing more.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Video(model) => model.poll_timeout(),
            Self::Audio(model) => model.poll_timeout(),
            Self::Screen(model) => model.poll_timeout(),
            Self::Fixed(model) => model.poll_timeout(),
        }
    }

    /// Makes the next frame of an encoding a keyframe. Whether it will be: not for audio or an encoding there isn't, nor within 300 ms of the last
    /// keyframe.
    pub fn request_keyframe(&mut self, now: Instant, encoding: u8) -> bool {
        match self {
            Self::Video(model) => model.request_keyframe(now, encoding),
            Self::Audio(_) => false,
            Self::Screen(model) => model.request_keyframe(now, encoding),
            Self::Fixed(model) => model.request_keyframe(now, encoding),
        }
    }

    /// Stops an encoding or starts it again, with a keyframe. Only of a camera.
    pub fn set_active(&mut self, encoding: u8, active: bool) {
        if let Self::Video(model) = self {
            model.set_active(encoding, active);
        }
    }

    /// Frames left out because the model was asked too late or its pacer could not keep up.
    pub const fn skipped(&self) -> u64 {
        match self {
            Self::Video(model) => model.skipped(),
            Self::Audio(model) => model.skipped(),
            Self::Screen(model) => model.skipped(),
            Self::Fixed(model) => model.skipped(),
        }
    }
}

/// One RTP packet to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When it is due.
    pub at: Instant,
    /// The simulcast encoding, an index into [`VideoConfig::encodings`]; 0 for everything else. Each encoding is an RTP stream.
    pub encoding: u8,
    /// RTP timestamp: 90 kHz for video, 48 kHz for audio; begins anywhere.
    pub timestamp: u32,
    /// The marker bit: the last packet of a video frame, the first one of a talk spurt.
    pub marker: bool,
    /// Counts the encoding's packets from 0.
    pub counter: u64,
    /// Counts the encoding's frames from 0; each audio packet is one.
    pub frame: u32,
    /// The packet's place in its frame.
    pub index: u16,
    /// Packets of the frame.
    pub packets: u16,
    /// Bytes of the RTP payload.
    pub payload_len: u16,
    /// What the payload begins with.
    pub content: Content,
}

/// What a payload tells its codec's parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// VP8 (RFC 7741).
    Vp8 {
        /// Whether the frame can be decoded by itself.
        keyframe: bool,
        /// 15 bits, one more for each frame.
        picture_id: u16,
        /// The temporal layer 0 picture index, one more for each frame of that layer; of the others, that of the one before them.
        tl0_index: u8,
        /// The temporal layer.
        layer: u8,
        /// Whether a receiver of fewer layers can go up to this one here.
        sync: bool,
        /// Whether no other frame refers to this one.
        leaf: bool,
        /// Of the picture, in pixels.
        size: (u16, u16),
        /// Bytes of the whole frame.
        frame_len: u32,
    },
    /// Opus (RFC 7587).
    Opus {
        /// Audio level in −dBov, 0 (loud) to 127 (silent), for the header extension (RFC 6464).
        level: u8,
        /// Whether somebody speaks, for the same extension.
        voice: bool,
    },
}

impl Packet {
    /// Whether it belongs to a frame that can be decoded by itself; audio always can.
    pub const fn keyframe(&self) -> bool {
        match self.content {
            Content::Vp8 { keyframe, .. } => keyframe,
            Content::Opus { .. } => true,
        }
    }

    /// Replaces `payload` with the packet's RTP payload: what the codec's parser wants to see, a [`Stamp`] of `publication` and `sent_micros`, and
    /// zeros.
    pub fn write(&self, publication: u32, sent_micros: u64, payload: &mut Vec<u8>) {
        stamp::write(self, publication, sent_micros, payload);
    }
}
