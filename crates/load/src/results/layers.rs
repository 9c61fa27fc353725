//! Which part of what was published came to its receivers, where each gets what it shows and what its line carries.

use serde::{Deserialize, Serialize};

use super::{Percentiles, share};

/// What one kind of receiver got of the encodings of one kind of media, all receivers and pictures together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Layers {
    /// Receivers that had something to see.
    pub receivers: u64,
    /// RTP bits a second that reached a receiver on average, headers included.
    pub receiver_bitrate_bps: f64,
    /// What was on the screen, the smallest picture first.
    pub encodings: Vec<EncodingTime>,
    /// Seconds in which the encoding on the screen was the one that its tile wants.
    pub as_wanted_seconds: f64,
    /// From wanting an encoding, at first or because the tile's size or what it shows has changed, to its first frame on the screen, in milliseconds.
    pub wanted_ms: Percentiles,
    /// Wanted encodings that had been waited for in vain, for three seconds or more, when the run ended.
    pub unreached: u64,
    /// Changes from one encoding to another.
    pub switches: u64,
    /// Times the server paused a picture because the line carried no more, and said so.
    pub pauses: u64,
    /// Seconds of that.
    pub paused_seconds: f64,
}

/// How long an encoding was on the screen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EncodingTime {
    /// Its RID; empty if it is the only one.
    pub name: String,
    /// Across, in pixels.
    pub width: u16,
    /// Down, in pixels.
    pub height: u16,
    /// Seconds, of all pictures together.
    pub seconds: f64,
}

impl Layers {
    /// Adds time with an encoding on the screen.
    pub fn add_time(&mut self, name: &str, (width, height): (u16, u16), seconds: f64) {
        let is_it = |time: &&mut EncodingTime| time.name == name && (time.width, time.height) == (width, height);
        if let Some(time) = self.encodings.iter_mut().find(is_it) {
            time.seconds += seconds;
            return;
        }
        self.encodings.push(EncodingTime { name: name.to_owned(), width, height, seconds });
        self.encodings.sort_by_key(|time| (u32::from(time.width) * u32::from(time.height), time.name.clone()));
    }

    /// Seconds with anything on the screen.
    pub fn watched_seconds(&self) -> f64 {
        self.encodings.iter().map(|time| time.seconds).sum()
    }

    /// An encoding's part of that; nothing if there was nothing on the screen.
    pub fn encoding_share(&self, name: &str) -> Option<f64> {
        let seconds = self.encodings.iter().filter(|time| time.name == name).map(|time| time.seconds).sum();
        share(seconds, self.watched_seconds())
    }

    /// How much of it was as wanted; nothing if there was nothing on the screen.
    pub fn as_wanted_share(&self) -> Option<f64> {
        share(self.as_wanted_seconds, self.watched_seconds())
    }
}
