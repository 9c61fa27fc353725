//! A room's authority: who is there, who publishes what, and who gets which track in which slot.
//!
//! [`Room`] is a state machine. Methods take a request and either change the room or return a
//! [`ProtocolError`](switchyard_protocol::ProtocolError) and change nothing; what the change means for clients and for the media
//! plane comes out of [`Room::poll_effect`], in the order in which it is to be carried out.
//!
//! # What is received
//!
//! Every track of somebody else's is subscribed by itself. Of those, a participant hears the few that speak ([`Limits::heard`]), the same for all. It sees
//! what its client says that it shows; before the client has said anything, screens and whoever spoke last ([`Limits::shown`]).
//!
//! # Slots
//!
//! A participant receives on *slots*, each an audio and a video m-line. Camera and microphone of one publisher share a slot, screen and
//! screen audio another: such a pair is a *group*. A participant is given one slot for each group that it hears or sees and at least one to spare, in
//! steps of four, so that most joins find a slot that is negotiated already; but no more than it can see or hear at a time: beyond that the two halves of
//! a slot may carry different groups. Slots are taken away only when more than a whole step too many are there. At most 56 slots are made.
//!
//! Publishers are told how large each video track is shown at most, and which codecs those decode who may receive it.
//! A track may come in a second codec ([`Room::back_up`]), which whoever decodes that alone gets in the same slot.
//!
//! A *viewer* receives like a participant and is shown to nobody; it brings its own fixed number of slots, and may be there for one
//! participant only.
//!
//! Tracks are shown and routed only on m-lines that are negotiated, which [`Room::slots_changed`] says.
//!
//! # Who may do what
//!
//! Everybody comes with a [`Pass`]: who they are and what they may do. Each request is held against it; who may not receive has no slots. Moderators mute
//! others, send them away for good, and say how the room is set: locked, with a password, with a lobby, for how many. Who runs the room from
//! outside is a moderator called [`ParticipantId::SERVER`](switchyard_protocol::ParticipantId::SERVER), and may also change what passes permit.
//!
//! # Who comes in
//!
//! [`Room::enter`] lets somebody in, refuses them, or, where there is a lobby, has them wait as a guest, of whom only the moderators hear. Who is let in
//! comes again with what they waited as. A room with guests is not empty: it waits for a moderator as they do.
//!
//! Who is moved here from another room ([`Room::invite`]) has a place until they come, and is held up by nothing but a ban.
//!
//! Pure: no clock, socket, thread or environment; deterministic, so that a simulation replays exactly.

#![deny(clippy::iter_over_hash_type, reason = "what happens must not depend on a hash")]

mod contents;
mod decoders;
mod demand;
mod effect;
mod guesses;
mod hearing;
mod invitations;
mod lobby;
mod rate;
mod room;
mod settings;
mod speakers;
#[cfg(test)]
mod tests;
mod view;

pub use decoders::Codecs;
pub use demand::Size;
pub use effect::{Activity, Audience, Decision, Effect};
pub use rate::{Bucket, Rate};
pub use room::{Answer, Entrant, Entry, Figures, GrantChanges, Knock, Limits, Pass, Present, Room};
pub use view::SlotMids;
