//! Who is in which room, sends what and over which line: what a bench run plays, as it stands in a TOML file.
//!
//! ```
//! use switchyard_load::Scenario;
//!
//! # fn main() -> Result<(), switchyard_load::ScenarioError> {
//! let text = r#"
//!     name = "webinar"
//!     description = "Three speak, a hundred watch."
//!     duration = "30s"
//!     ramp = "20/s"
//!     scale = "subscribers"
//!
//!     [[roles]]
//!     name = "speaker"
//!     count = 3
//!     video = { bitrate = "1 Mbit/s" }
//!     audio = { talking = "40 %" }
//!
//!     [[roles]]
//!     name = "viewer"
//!     count = 100
//!     downlink = "loss=1%,delay=40ms,jitter=5ms"
//! "#;
//! let webinar = Scenario::parse("webinar.toml", text)?;
//! assert_eq!(webinar.participants(), 103);
//! assert_eq!(webinar.scaled(2.0).participants(), 203, "only those who publish nothing are more");
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchyard_netem::Config as Line;
use switchyard_netem::units::{duration, optional_duration};

use crate::slo::Slo;
use crate::traffic::{AudioConfig, FixedConfig, ModelConfig, ScreenConfig, VideoConfig};

mod file;
mod ramp;
#[cfg(test)]
mod tests;

pub use file::ScenarioError;
pub use ramp::{Join, Ramp};

/// Participants of a scenario at most: more than the ports of one client address, and what one machine can play.
pub const MAX_PARTICIPANTS: u32 = 50_000;

/// A scenario. Every room has the same roles.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scenario {
    /// Letters, digits and dashes.
    pub name: String,
    /// What it shows, for people.
    pub description: String,
    /// How participants talk to the server.
    pub transport: Transport,
    /// How long is measured.
    #[serde(with = "duration")]
    pub duration: Duration,
    /// From the last join of the ramp to the beginning of the measured time.
    #[serde(with = "duration")]
    pub warm_up: Duration,
    /// How fast participants join.
    pub ramp: Ramp,
    /// How many rooms there are.
    pub rooms: u32,
    /// What is made more or less to find the capacity.
    pub scale: Scale,
    /// Of all randomness: traffic, lines, churn.
    pub seed: u64,
    /// What is promised of it as it stands, on a server that the bench starts, unless something else is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo: Option<Slo>,
    /// The groups of participants in each room, in the order of joining.
    pub roles: Vec<Role>,
}

/// How participants talk to the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Switchyard's own signaling over a WebSocket.
    #[default]
    Signaling,
    /// WHIP (RFC 9725) to publish and WHEP to receive, which other servers speak as well.
    Whip,
}

/// What [`Scenario::scaled`] multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// In each room, those who publish nothing.
    Subscribers,
    /// In each room, everybody.
    Participants,
    /// The rooms.
    Rooms,
}

/// Whose tracks a participant receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subscribe {
    /// Everybody's in the room.
    #[default]
    All,
    /// Nobody's.
    None,
}

/// Pictures of one size that somebody shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tiles {
    /// In pixels.
    pub width: u16,
    /// In pixels.
    pub height: u16,
    /// How many there are.
    #[serde(default = "one")]
    pub count: u32,
}

const fn one() -> u32 {
    1
}

/// A group of participants who do the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// What they are called in reports.
    pub name: String,
    /// How many there are in each room.
    pub count: u32,
    /// Their camera.
    #[serde(default, deserialize_with = "file::checked")]
    pub video: Option<VideoConfig>,
    /// Their microphone.
    #[serde(default, deserialize_with = "file::checked")]
    pub audio: Option<AudioConfig>,
    /// The screen they share.
    #[serde(default, deserialize_with = "file::checked")]
    pub screen: Option<ScreenConfig>,
    /// Equal packets instead of a camera.
    #[serde(default, deserialize_with = "file::checked")]
    pub fixed: Option<FixedConfig>,
    /// Whom they receive.
    #[serde(default)]
    pub subscribe: Subscribe,
    /// What they show, the largest tile first; cameras and screens fill the tiles in the order of joining, and what finds no tile is not shown. Without it
    /// everything is shown, as large as it comes.
    #[serde(default)]
    pub shows: Vec<Tiles>,
    /// How often each tile shows the next one.
    #[serde(default, with = "optional_duration")]
    pub rotates: Option<Duration>,
    /// The line from them to the server.
    #[serde(default)]
    pub uplink: Line,
    /// The line from the server to them.
    #[serde(default)]
    pub downlink: Line,
    /// They leave and join again, after this time on average.
    #[serde(default, with = "optional_duration")]
    pub churn: Option<Duration>,
    /// They join this long after the measured time has begun instead of before it, to see what that does to those who are there.
    #[serde(default, with = "optional_duration")]
    pub joins_after: Option<Duration>,
    /// How fast they join, if not as the others.
    #[serde(default)]
    pub ramp: Option<Ramp>,
}

impl Role {
    /// The tracks each of them publishes.
    pub fn publishes(&self) -> impl Iterator<Item = ModelConfig> {
        let video = self.video.clone().map(ModelConfig::Video);
        let fixed = self.fixed.clone().map(ModelConfig::Fixed);
        let audio = self.audio.clone().map(ModelConfig::Audio);
        let screen = self.screen.clone().map(ModelConfig::Screen);
        [video, fixed, audio, screen].into_iter().flatten()
    }

    /// Whether they publish anything.
    pub const fn is_publisher(&self) -> bool {
        self.video.is_some() || self.fixed.is_some() || self.audio.is_some() || self.screen.is_some()
    }
}

impl Scenario {
    /// Reads a scenario from the text of `file`, whose name is only for errors.
    pub fn parse(file: &str, text: &str) -> Result<Self, ScenarioError> {
        file::parse(file, text)
    }

    /// Whether receivers get a part of what is published: there are encodings to choose from, or tiles to fill. Then receivers tell when packets arrive, so that
    /// the server follows their lines as well. Only Switchyard's own signaling has what that takes.
    pub fn is_selective(&self) -> bool {
        let chooses = |role: &Role| !role.shows.is_empty() || role.video.as_ref().is_some_and(|video| !video.encodings.is_empty());
        self.transport == Transport::Signaling && self.roles.iter().any(chooses)
    }

    /// Participants in all rooms.
    pub fn participants(&self) -> u32 {
        self.in_a_room(|_| true).saturating_mul(self.rooms)
    }

    /// How many there are of what [`scale`](Self::scale) names: rooms, or participants in each room.
    pub fn size(&self) -> u32 {
        match self.scale {
            Scale::Rooms => self.rooms,
            Scale::Participants | Scale::Subscribers => self.in_a_room(|role| self.is_scaled(role)),
        }
    }

    /// The same with `factor` times as much of what [`scale`](Self::scale) names, rounded for each role by itself, but at least one and at most
    /// [`MAX_PARTICIPANTS`] in all. Not a number counts as 0.
    pub fn scaled(&self, factor: f64) -> Self {
        let grows = match self.scale {
            Scale::Rooms => self.participants(),
            Scale::Participants | Scale::Subscribers => self.in_a_room(|role| self.is_scaled(role)).saturating_mul(self.rooms),
        };
        let stays = self.participants() - grows;
        let most = f64::from(MAX_PARTICIPANTS.saturating_sub(stays)) / f64::from(grows.max(1));
        // Rounding up at the limit would go beyond it.
        let times = |count: u32| if factor >= most { (f64::from(count) * most).floor() } else { (f64::from(count) * factor).round() };
        let mut scaled = self.clone();
        if factor != 1.0 {
            scaled.slo = None;
        }
        if self.scale == Scale::Rooms {
            scaled.rooms = (times(self.rooms) as u32).max(1);
        }
        for role in scaled.roles.iter_mut().filter(|role| self.is_scaled(role)) {
            role.count = (times(role.count) as u32).max(1);
        }
        scaled
    }

    /// Everybody, in the order of joining.
    pub fn joins(&self) -> Vec<Join> {
        ramp::joins(self)
    }

    fn is_scaled(&self, role: &Role) -> bool {
        match self.scale {
            Scale::Rooms => false,
            Scale::Participants => true,
            Scale::Subscribers => !role.is_publisher(),
        }
    }

    fn in_a_room(&self, counts: impl Fn(&Role) -> bool) -> u32 {
        self.roles.iter().filter(|role| counts(role)).fold(0, |sum, role| sum.saturating_add(role.count))
    }
}
