//! What tracks send, as scenarios say it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchyard_netem::units::{Bytes, duration, optional_duration};
use switchyard_netem::{Rate, Ratio};

use super::MAX_PAYLOAD;
use super::outbox::PACE;
use super::stamp::{MIN_OPUS, MIN_VP8_FRAME, VP8_DESCRIPTOR};
use super::temporal::MAX_LAYERS;

/// A camera's track: VP8 in one encoding or in several (simulcast).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VideoConfig {
    /// Bits of RTP payload a second in the long run, all encodings together; 20 kbit/s to 50 Mbit/s.
    pub bitrate: Rate,
    /// Frames a second, 1 to 120.
    pub fps: u32,
    /// Of the picture, in pixels; 16 to 16,383.
    pub width: u16,
    /// Of the picture, in pixels; 16 to 16,383.
    pub height: u16,
    /// A keyframe at least this often. Browsers make keyframes only when they are asked, which is the default.
    #[serde(with = "optional_duration")]
    pub keyframe_interval: Option<Duration>,
    /// Temporal layers of each encoding, 1 to 3: frames that a receiver can do without.
    pub temporal_layers: u8,
    /// The simulcast encodings, lowest first; none means a single one without a rid.
    pub encodings: Vec<Encoding>,
}

/// One simulcast encoding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoding {
    /// Its name (RFC 8851): 1 to 16 letters and digits.
    pub rid: String,
    /// Its part of the bitrate; all encodings' come to 100 %.
    pub share: Ratio,
    /// The picture's width and height are divided by this.
    #[serde(default = "one")]
    pub scale: u16,
}

const fn one() -> u16 {
    1
}

/// A microphone's track: Opus in packets of 20 ms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AudioConfig {
    /// Bits of RTP payload a second while somebody talks; 16 to 510 kbit/s.
    pub bitrate: Rate,
    /// Part of the time somebody talks.
    pub talking: Ratio,
    /// How long they talk on average before they are silent; 100 ms to an hour.
    #[serde(with = "duration")]
    pub spurt: Duration,
    /// Discontinuous transmission: in silence only a packet of comfort noise every 400 ms. Otherwise silence is sent as quiet sound.
    pub dtx: bool,
}

/// A shared screen's track: small frames most of the time, and a burst when the slide changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScreenConfig {
    /// The bitrate that the encoder was given. The burst of a slide is paced at 2.5 times this; on average much less is sent.
    pub bitrate: Rate,
    /// Frames a second, 1 to 60. None is made while the pacer is busy.
    pub fps: u32,
    /// Of the picture, in pixels; 16 to 16,383.
    pub width: u16,
    /// Of the picture, in pixels; 16 to 16,383.
    pub height: u16,
    /// Bytes of a frame in which little changes, on average; 50 to 100,000.
    pub idle: Bytes,
    /// Bytes of a changed slide's first frame, on average; at most 5 s at the pacer's rate.
    pub slide: Bytes,
    /// How long a slide stays on average.
    #[serde(with = "duration")]
    pub every: Duration,
}

/// Equal VP8 packets in equal bursts: what servers are compared with, since every client can send it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FixedConfig {
    /// Packets a second, 1 to 20,000; a frame has its equal part of them.
    pub packets_per_second: u32,
    /// Bytes of each RTP payload.
    pub payload: u16,
    /// Frames a second, 1 to 120, and at most as many as packets.
    pub fps: u32,
    /// Packets that leave together.
    pub burst: u32,
    /// The time from one burst of a frame to the next.
    #[serde(with = "duration")]
    pub spacing: Duration,
}

/// Why something is no configuration of a track.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A value is less or more than makes sense.
    #[error("{key} is {least} to {most}, not {given}")]
    OutOfRange {
        /// Whose value.
        key: &'static str,
        /// What was said.
        given: String,
        /// The least that is allowed.
        least: String,
        /// The most that is allowed.
        most: String,
    },
    /// The encodings' shares don't come to the whole.
    #[error("the encodings' shares come to {0}; they must come to 100 %")]
    Shares(String),
    /// An encoding's name is not allowed.
    #[error("`{0}` is no rid: it is 1 to 16 letters and digits, and no two encodings have the same")]
    Rid(String),
    /// A slide takes too long to send.
    #[error("a slide of {slide} at 2.5 times {bitrate} takes more than 5 s: make it smaller or the bitrate higher")]
    Slide {
        /// The slide's size.
        slide: Bytes,
        /// The track's bitrate.
        bitrate: Rate,
    },
    /// A frame's bursts take longer than the frame.
    #[error("a frame of {packets} packets in bursts of {burst} does not fit in its time: make bursts larger or closer")]
    Bursts {
        /// Packets of a frame.
        packets: u32,
        /// Packets of a burst.
        burst: u32,
    },
}

impl Default for VideoConfig {
    /// What Chromium sends of a camera of 720p in one encoding.
    fn default() -> Self {
        Self {
            bitrate: Rate::bits(1_500_000),
            fps: 30,
            width: 1280,
            height: 720,
            keyframe_interval: None,
            temporal_layers: 1,
            encodings: Vec::new(),
        }
    }
}

impl Default for AudioConfig {
    /// What browsers send of one voice that never pauses.
    fn default() -> Self {
        Self { bitrate: Rate::bits(32_000), talking: Ratio::ONE, spurt: Duration::from_secs(4), dtx: true }
    }
}

impl Default for ScreenConfig {
    fn default() -> Self {
        Self {
            bitrate: Rate::bits(2_500_000),
            fps: 5,
            width: 1920,
            height: 1080,
            idle: Bytes(800),
            slide: Bytes(150_000),
            every: Duration::from_secs(15),
        }
    }
}

impl Default for FixedConfig {
    /// Ten packets a frame in bursts of three, 5 ms apart.
    fn default() -> Self {
        Self { packets_per_second: 250, payload: 1_150, fps: 25, burst: 3, spacing: Duration::from_millis(5) }
    }
}

/// VP8 has 14 bits for each side of a picture.
const SIDE: (u16, u16) = (16, 0x3fff);

/// Encodings of one track at most: what browsers send and the server takes.
pub const MAX_ENCODINGS: usize = 3;

impl VideoConfig {
    /// Whether it makes sense.
    pub fn check(&self) -> Result<(), ConfigError> {
        within("bitrate", self.bitrate, Rate::bits(20_000), Rate::bits(50_000_000))?;
        within("fps", self.fps, 1, 120)?;
        within("width", self.width, SIDE.0, SIDE.1)?;
        within("height", self.height, SIDE.0, SIDE.1)?;
        within("temporal_layers", self.temporal_layers, 1, MAX_LAYERS)?;
        within("the number of encodings", self.encodings.len(), 0, MAX_ENCODINGS)?;
        if let Some(interval) = self.keyframe_interval {
            within("keyframe_interval in ms", interval.as_millis(), super::KEYFRAMES_APART.as_millis(), 3_600_000)?;
        }
        for (index, encoding) in self.encodings.iter().enumerate() {
            within("scale", encoding.scale, 1, 16)?;
            within("share", encoding.share, Ratio::percent(1), Ratio::ONE)?;
            let repeated = self.encodings[..index].iter().any(|earlier| earlier.rid == encoding.rid);
            let valid = (1..=16).contains(&encoding.rid.len()) && encoding.rid.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if repeated || !valid {
                return Err(ConfigError::Rid(encoding.rid.clone()));
            }
        }
        let shares: u64 = self.encodings.iter().map(|encoding| u64::from(encoding.share.billionths())).sum();
        // Within 0.1 %: thirds can be written.
        if !self.encodings.is_empty() && shares.abs_diff(u64::from(Ratio::ONE.billionths())) > 1_000_000 {
            return Err(ConfigError::Shares(format!("{} %", shares as f64 / 1e7)));
        }
        Ok(())
    }

    /// Each encoding's bits a second and picture, in pixels.
    pub(crate) fn streams(&self) -> Vec<(u64, (u16, u16))> {
        if self.encodings.is_empty() {
            return vec![(self.bitrate.bits_per_second(), (self.width, self.height))];
        }
        let one = u64::from(Ratio::ONE.billionths());
        self.encodings
            .iter()
            .map(|encoding| {
                let bits = self.bitrate.bits_per_second() * u64::from(encoding.share.billionths()) / one;
                (bits, (self.width / encoding.scale, self.height / encoding.scale))
            })
            .collect()
    }
}

impl AudioConfig {
    /// Whether it makes sense.
    pub fn check(&self) -> Result<(), ConfigError> {
        // 20 ms of it must hold a stamp, and RFC 7587 §3.1.1 knows no more.
        const { assert!(MIN_OPUS * 8 * 50 <= 16_000) };
        within("bitrate", self.bitrate, Rate::bits(16_000), Rate::bits(510_000))?;
        within("spurt in ms", self.spurt.as_millis(), 100, 3_600_000)
    }
}

impl ScreenConfig {
    /// Whether it makes sense.
    pub fn check(&self) -> Result<(), ConfigError> {
        within("bitrate", self.bitrate, Rate::bits(100_000), Rate::bits(50_000_000))?;
        within("fps", self.fps, 1, 60)?;
        within("width", self.width, SIDE.0, SIDE.1)?;
        within("height", self.height, SIDE.0, SIDE.1)?;
        within("idle", self.idle, Bytes(MIN_VP8_FRAME as u64), Bytes(100_000))?;
        within("slide", self.slide, self.idle, Bytes(10_000_000))?;
        within("every in ms", self.every.as_millis(), 1_000, 86_400_000)?;
        if self.slide.0 as f64 * 8.0 > 5.0 * PACE * self.bitrate.bits_per_second() as f64 {
            return Err(ConfigError::Slide { slide: self.slide, bitrate: self.bitrate });
        }
        Ok(())
    }
}

impl FixedConfig {
    /// What its keyframes say, in pixels.
    pub(crate) const SIZE: (u16, u16) = (640, 360);

    /// Whether it makes sense.
    pub fn check(&self) -> Result<(), ConfigError> {
        within("packets_per_second", self.packets_per_second, 1, 20_000)?;
        within("fps", self.fps, 1, self.packets_per_second.min(120))?;
        within("payload", usize::from(self.payload), VP8_DESCRIPTOR + MIN_VP8_FRAME, MAX_PAYLOAD)?;
        within("burst", self.burst, 1, 20_000)?;
        within("spacing in ms", self.spacing.as_millis(), 0, 1_000)?;
        let packets = self.packets_per_second.div_ceil(self.fps);
        let frame = Duration::from_secs(1) / self.fps;
        if self.spacing * (packets.div_ceil(self.burst) - 1) >= frame {
            return Err(ConfigError::Bursts { packets, burst: self.burst });
        }
        Ok(())
    }
}

fn within<V: PartialOrd + fmt::Display>(key: &'static str, given: V, least: V, most: V) -> Result<(), ConfigError> {
    if least <= given && given <= most {
        return Ok(());
    }
    Err(ConfigError::OutOfRange { key, given: given.to_string(), least: least.to_string(), most: most.to_string() })
}
