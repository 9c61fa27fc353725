//! What a participant may do.

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::ToSchema;

use crate::Source;

/// What a participant may do in its room, from its access token or as it was changed since; what is not granted is refused with `forbidden`. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS, ToSchema)]
pub struct Grants {
    /// What it may publish.
    pub publish: Vec<Source>,
    /// Whether it receives what others publish.
    pub subscribe: bool,
    /// Whether it may say something, by `chat` and over data channels. Everybody hears what is said.
    pub data: bool,
    /// Whether it may mute, remove and ban others, say how the room is set and let in who waits; and come in without any of that in its way.
    pub moderate: bool,
}

impl Grants {
    /// What everybody may do where there is no access control: everything but to moderate.
    pub fn without_access_control() -> Self {
        Self { publish: Source::ALL.to_vec(), subscribe: true, data: true, moderate: false }
    }

    /// Whether a track of this source may be published.
    pub fn may_publish(&self, source: Source) -> bool {
        self.publish.contains(&source)
    }
}
