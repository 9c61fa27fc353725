//! Scenario files: TOML, strictly read. Every error says where it is and what would be right.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};
use switchyard_netem::units::duration;
use toml::Spanned;

use super::{MAX_PARTICIPANTS, Ramp, Role, Scale, Scenario, Subscribe, Transport};
use crate::slo::Slo;
use crate::traffic::{AudioConfig, ConfigError, FixedConfig, ScreenConfig, VideoConfig};

/// Bytes of a file at most: hundreds of times what a scenario takes.
const MAX_FILE: usize = 1 << 20;

/// Tiles of one participant at most: what a server is told of.
const MAX_TILES: u32 = 256;

/// Roles at most: a report has to show them.
const MAX_ROLES: usize = 32;

/// Why a text is no scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct ScenarioError {
    /// The file's name, as it was given.
    pub file: String,
    /// Counted from 1. Where something is missing it is where the table begins that should have it.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

/// A file's root table: [`Scenario`] with the places of what is checked together.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: Spanned<String>,
    description: String,
    #[serde(default)]
    transport: Transport,
    duration: Spanned<Timespan>,
    #[serde(with = "duration", default = "warm_up")]
    warm_up: Duration,
    ramp: Ramp,
    #[serde(default = "one")]
    rooms: Spanned<u32>,
    scale: Spanned<Scale>,
    #[serde(default = "seed")]
    seed: u64,
    slo: Option<Slo>,
    roles: Spanned<Vec<Spanned<Role>>>,
}

/// A duration that can be wrapped in `Spanned`.
#[derive(Deserialize)]
#[serde(transparent)]
struct Timespan(#[serde(with = "duration")] Duration);

const fn warm_up() -> Duration {
    Duration::from_secs(5)
}

fn one() -> Spanned<u32> {
    Spanned::new(0..0, 1)
}

const fn seed() -> u64 {
    1
}

/// What is wrong, and where in the text.
type Misplaced = (Range<usize>, String);

pub(super) fn parse(file: &str, text: &str) -> Result<Scenario, ScenarioError> {
    let at = |(span, message): Misplaced| {
        let before = text.get(..span.start.min(text.len())).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let (line, column) = (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1);
        ScenarioError { file: file.to_owned(), line, column, message }
    };
    if text.len() > MAX_FILE {
        return Err(at((0..0, format!("a scenario of {} bytes; at most {MAX_FILE} are read", text.len()))));
    }
    let document: Document = toml::from_str(text).map_err(|error| at((error.span().unwrap_or(0..0), error.message().to_owned())))?;
    document.into_scenario().map_err(at)
}

impl Document {
    fn into_scenario(self) -> Result<Scenario, Misplaced> {
        let fail = |span: Range<usize>, message: &dyn fmt::Display| Err((span, message.to_string()));
        if !is_name(self.name.get_ref()) {
            return fail(self.name.span(), &"a name is 1 to 40 small letters, digits and dashes");
        }
        let measured = self.duration.get_ref().0;
        if measured < Duration::from_secs(1) {
            return fail(self.duration.span(), &"the measured time is at least \"1s\"");
        }
        if *self.rooms.get_ref() == 0 {
            return fail(self.rooms.span(), &"there is at least one room");
        }
        let span = self.roles.span();
        let roles = self.roles.into_inner();
        if roles.is_empty() || roles.len() > MAX_ROLES {
            return fail(span, &format_args!("there are 1 to {MAX_ROLES} roles"));
        }
        for (index, role) in roles.iter().enumerate() {
            let names_before = roles[..index].iter().map(|role| role.get_ref().name.as_str());
            if let Err(message) = check(role.get_ref(), self.transport, measured, names_before) {
                return fail(role.span(), &format_args!("role `{}`: {message}", role.get_ref().name));
            }
        }
        let publishes = |role: &Spanned<Role>| role.get_ref().is_publisher();
        if !roles.iter().any(publishes) {
            return fail(span, &"nobody publishes: give a role `video`, `audio`, `screen` or `fixed`");
        }
        if *self.scale.get_ref() == Scale::Subscribers && roles.iter().all(publishes) {
            return fail(
                self.scale.span(),
                &"everybody publishes, so there are no \"subscribers\" to scale: use \"participants\" or \"rooms\"",
            );
        }
        let scenario = Scenario {
            name: self.name.into_inner(),
            description: self.description,
            transport: self.transport,
            duration: measured,
            warm_up: self.warm_up,
            ramp: self.ramp,
            rooms: self.rooms.into_inner(),
            scale: self.scale.into_inner(),
            seed: self.seed,
            slo: self.slo,
            roles: roles.into_iter().map(Spanned::into_inner).collect(),
        };
        match scenario.participants() {
            participants if participants > MAX_PARTICIPANTS => {
                fail(span, &format_args!("{participants} participants in all rooms; at most {MAX_PARTICIPANTS}"))
            }
            _ => Ok(scenario),
        }
    }
}

fn check<'a>(
    role: &Role,
    transport: Transport,
    measured: Duration,
    mut names_before: impl Iterator<Item = &'a str>,
) -> Result<(), &'static str> {
    if !is_name(&role.name) {
        return Err("a name is 1 to 40 small letters, digits and dashes");
    }
    if names_before.any(|name| name == role.name) {
        return Err("an earlier role has the same name");
    }
    if role.count == 0 {
        return Err("`count` is at least 1");
    }
    if role.video.is_some() && role.fixed.is_some() {
        return Err("a participant has one camera: either `video` or `fixed`");
    }
    if transport == Transport::Whip && role.screen.is_some() && (role.video.is_some() || role.fixed.is_some()) {
        return Err("over WHIP a participant publishes one video: either `screen` or a camera");
    }
    if transport == Transport::Whip && !role.is_publisher() && role.subscribe == Subscribe::None {
        return Err("over WHIP there is nobody who neither publishes nor receives");
    }
    if transport == Transport::Whip && !role.shows.is_empty() {
        return Err("over WHEP nobody can say what it `shows`");
    }
    if role.subscribe == Subscribe::None && !role.shows.is_empty() {
        return Err("whoever receives nobody `shows` nothing");
    }
    if role.shows.iter().any(|tiles| tiles.width == 0 || tiles.height == 0 || tiles.count == 0) {
        return Err("a tile that is shown has a `width`, a `height` and a `count` of at least 1");
    }
    if role.shows.iter().fold(0, |sum: u32, tiles| sum.saturating_add(tiles.count)) > MAX_TILES {
        return Err("there are at most 256 tiles");
    }
    if role.rotates.is_some_and(|rotates| rotates < Duration::from_secs(1) || role.shows.is_empty()) {
        return Err("`rotates` is at least \"1s\", and needs what is shown in `shows`");
    }
    if role.churn.is_some_and(|churn| churn < Duration::from_secs(1)) {
        return Err("`churn` is at least \"1s\"");
    }
    if role.joins_after.is_some_and(|after| after >= measured) {
        return Err("`joins_after` is less than `duration`");
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    (1..=40).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// What can be wrong in itself, so that the error is reported at its own place.
pub(super) trait Check {
    fn check(&self) -> Result<(), ConfigError>;
}

macro_rules! check {
    ($($type:ty),*) => { $(
        impl Check for $type {
            fn check(&self) -> Result<(), ConfigError> {
                <$type>::check(self)
            }
        }
    )* };
}

check!(VideoConfig, AudioConfig, ScreenConfig, FixedConfig);

/// Reads a track's configuration that makes sense.
pub(super) fn checked<'de, T: Deserialize<'de> + Check, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let config = T::deserialize(deserializer)?;
    config.check().map_err(D::Error::custom)?;
    Ok(Some(config))
}
