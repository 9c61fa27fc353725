//! What a room wants done.

use switchyard_protocol::{CloseReason, Event, Guest, GuestId, ParticipantId, Source, TrackId};

use crate::Size;

/// What becomes of somebody who waits to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// They come in.
    Admitted,
    /// They don't: a moderator has said so.
    Denied,
    /// There is nothing to come into any more.
    Closed,
}

/// One thing to do, by the shell around the room.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Tell clients.
    Notify {
        /// Whom.
        to: Audience,
        /// What.
        event: Event,
    },
    /// Negotiate this many slots with a participant; [`crate::Room::slots_changed`] reports back.
    SetSlots {
        /// With whom.
        participant: ParticipantId,
        /// All of them, not the difference.
        count: usize,
    },
    /// What arrives on an m-line is a track from now on; perhaps one of an m-line that is gone.
    Publish {
        /// From whom.
        participant: ParticipantId,
        /// On which m-line.
        mid: String,
        /// Which.
        track: TrackId,
        /// What it shows.
        source: Source,
        /// Whether to forward it (a track that starts out muted isn't).
        enabled: bool,
    },
    /// What arrives on another m-line is a track as well, in another codec, from now on; or there is no such m-line any more, and nothing is routed of it.
    BackUp {
        /// From whom.
        participant: ParticipantId,
        /// Which.
        track: TrackId,
        /// On which m-line, and whether to forward it.
        mid: Option<(String, bool)>,
    },
    /// A track is gone, or its m-line is, and its backup with it; nothing is routed of it any more.
    Unpublish {
        /// Which.
        track: TrackId,
    },
    /// Whether a track is forwarded.
    Enable {
        /// Which.
        track: TrackId,
        /// The new state.
        enabled: bool,
    },
    /// The participant for whom a viewer was there has left; the viewer is to leave as well.
    Dismiss {
        /// The viewer.
        viewer: ParticipantId,
    },
    /// A member was sent away, of whom the room knows nothing any more: its session is to end.
    Remove {
        /// Whom.
        participant: ParticipantId,
        /// What its client is told.
        reason: CloseReason,
    },
    /// Somebody who waited may come in now, by [`crate::Room::enter`] once more; or is to go.
    Decided {
        /// Who.
        guest: GuestId,
        /// What becomes of them.
        decision: Decision,
    },
    /// Others wait to be let in than before; moderators are told as well.
    Guests {
        /// In the order in which they came.
        guests: Vec<Guest>,
    },
    /// What a participant's receiving m-line carries from now on.
    Route {
        /// To whom.
        subscriber: ParticipantId,
        /// The m-line's position: slot × 2 for audio, slot × 2 + 1 for video.
        sender: u16,
        /// Which; nothing if `None`.
        track: Option<TrackId>,
        /// Not the track itself but what there is of it in another codec.
        backup: bool,
    },
    /// How large a participant shows the video that a receiving m-line carries. Until this is said, and after each [`Effect::Route`]: as large as it gets.
    Show {
        /// Who.
        subscriber: ParticipantId,
        /// As in [`Effect::Route`].
        sender: u16,
        /// In pixels of their screen; never [`Size::NONE`].
        size: Size,
        /// Whether it comes before what others show of the same kind, where not everything can be sent.
        pinned: bool,
    },
    /// Who speaks comes before others where not everything can be sent.
    Spotlight {
        /// The speaker's camera.
        track: TrackId,
        /// Whether they speak, or nobody has since.
        on: bool,
    },
}

/// What there is to hear on an audio track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Activity {
    /// Nothing, or noise.
    Silent,
    /// Something that may be a word.
    Sound,
    /// Somebody speaks.
    Speech,
}

/// Who is to be told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Everybody in the room.
    All,
    /// Everybody but this participant.
    Others(ParticipantId),
    /// This participant.
    One(ParticipantId),
}
