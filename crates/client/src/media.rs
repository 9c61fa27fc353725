//! What a participant can publish: short loops of real VP8 and Opus that browsers decode, or numbered test packets.

mod ivf;
mod ogg;
mod vp8;

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use switchyard_protocol::{Kind, Source};
use tokio::process::Command;

pub(crate) use vp8::Packetizer as Vp8Packetizer;

/// One track to publish.
#[derive(Clone, Debug)]
pub struct Publish {
    /// What the others take it for.
    pub source: Source,
    /// What it is made of; its kind must be the source's.
    pub media: Media,
    /// Whether it starts out muted; a muted track sends nothing.
    pub muted: bool,
    /// The names (RID, RFC 8851) of its simulcast encodings, up to three; none: it is one stream. For a client of
    /// [`Client::connect_direct`](crate::Client::connect_direct).
    pub encodings: Vec<String>,
}

impl Publish {
    /// A track that is not muted.
    pub fn new(source: Source, media: Media) -> Self {
        Self { source, media, muted: false, encodings: Vec::new() }
    }
}

/// What a track is made of.
#[derive(Clone, Debug)]
pub enum Media {
    /// A VP8 loop, over and over.
    Video(Arc<VideoLoop>),
    /// An Opus loop, over and over.
    Audio(Arc<AudioLoop>),
    /// Numbered packets ([`crate::Stamp`]) of the source's kind.
    Sequence(Sequence),
    /// Published, but nothing is ever sent.
    Silent,
}

impl Media {
    /// The only kind this can be, if there is only one.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self {
            Media::Video(_) => Some(Kind::Video),
            Media::Audio(_) => Some(Kind::Audio),
            Media::Sequence(_) | Media::Silent => None,
        }
    }
}

/// The shape of a stream of numbered packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Packets in a second.
    pub packets_per_second: u32,
    /// Bytes of RTP payload in each, [`crate::Stamp::MIN_PAYLOAD`] at least.
    pub bytes: usize,
    /// Packets sent at once, as the packets of a video frame are; 1 spaces them evenly.
    pub burst: u32,
}

/// Why there is no loop.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// ffmpeg can't be started.
    #[error("ffmpeg can't be started (is it installed?): {0}")]
    Start(std::io::Error),
    /// ffmpeg ran and failed.
    #[error("ffmpeg failed: {0}")]
    Ffmpeg(String),
    /// The file is no IVF file with VP8 in it.
    #[error("not an IVF file of VP8: {0}")]
    Ivf(&'static str),
    /// The file is no Ogg file with Opus in it.
    #[error("not an Ogg file of Opus: {0}")]
    Ogg(&'static str),
}

/// One VP8 frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) data: Bytes,
    pub(crate) keyframe: bool,
}

/// VP8 frames that can be played over and over: the first is a keyframe.
#[derive(Clone, Debug)]
pub struct VideoLoop {
    pub(crate) frames: Vec<Frame>,
    pub(crate) frame_time: Duration,
}

impl VideoLoop {
    /// Four seconds of ffmpeg's test pattern, 320x180 at 25 frames and one keyframe a second. Variants have other colours.
    pub async fn test_pattern(variant: u32) -> Result<Self, MediaError> {
        let filter = format!("testsrc2=size=320x180:rate=25,hue=h={}", u64::from(variant) * 67 % 360);
        let encoder = "-c:v libvpx -b:v 300k -g 25 -keyint_min 25 -auto-alt-ref 0 -lag-in-frames 0 -deadline realtime -cpu-used 8 -f ivf";
        Self::from_ivf(&ffmpeg(&filter, encoder).await?)
    }

    /// The frames of an IVF file.
    pub fn from_ivf(file: &[u8]) -> Result<Self, MediaError> {
        ivf::read(file)
    }

    /// Where the first keyframe at or after a frame is; the loop's first frame follows its last.
    pub(crate) fn keyframe_from(&self, frame: usize) -> usize {
        (frame..self.frames.len()).find(|index| self.frames[*index].keyframe).unwrap_or(0)
    }
}

/// Opus packets that can be played over and over.
#[derive(Clone, Debug)]
pub struct AudioLoop {
    pub(crate) packets: Vec<Bytes>,
    pub(crate) packet_time: Duration,
}

impl AudioLoop {
    /// Four seconds of a quiet tone that swells and fades; variants have other pitches.
    pub async fn test_tone(variant: u32) -> Result<Self, MediaError> {
        let filter = format!("sine=frequency={}:sample_rate=48000,volume=0.3,tremolo=f=1:d=0.8", 220 + 55 * (variant % 16));
        Self::from_ogg(&ffmpeg(&filter, "-c:a libopus -b:a 32k -frame_duration 20 -f ogg").await?)
    }

    /// The packets of an Ogg file.
    pub fn from_ogg(file: &[u8]) -> Result<Self, MediaError> {
        ogg::read(file)
    }
}

/// Four seconds of a lavfi source, encoded; the file as ffmpeg writes it.
async fn ffmpeg(filter: &str, encoder: &str) -> Result<Vec<u8>, MediaError> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-f", "lavfi", "-i", filter, "-t", "4"])
        .args(encoder.split(' '))
        .arg("pipe:1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(MediaError::Start)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(MediaError::Ffmpeg(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_test_pattern_loops_from_keyframe_to_keyframe() {
        let pattern = VideoLoop::test_pattern(1).await.expect("ffmpeg makes the loop");
        assert_eq!((pattern.frames.len(), pattern.frame_time), (100, Duration::from_millis(40)));
        let keyframes: Vec<_> = (0..100).filter(|index| pattern.frames[*index].keyframe).collect();
        assert_eq!(keyframes, [0, 25, 50, 75]);
        assert_eq!([0, 1, 25, 76].map(|frame| pattern.keyframe_from(frame)), [0, 25, 25, 0]);
    }

    #[tokio::test]
    async fn the_test_tone_is_made_of_packets_of_20_ms() {
        let tone = AudioLoop::test_tone(1).await.expect("ffmpeg makes the loop");
        assert!((195..=205).contains(&tone.packets.len()), "{}", tone.packets.len());
        assert_eq!(tone.packet_time, Duration::from_millis(20));
        assert!(tone.packets.iter().all(|packet| !packet.is_empty() && packet.len() < 1000));
    }
}
