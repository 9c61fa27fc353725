//! A room's authority: who is there, who publishes what, and who gets which track in which slot.
//!
//! [`Room`] is a state machine. Methods take a request and either change the room or return a
//! [`ProtocolError`](switchyard_protocol::ProtocolError) and change nothing; what the change means for clients and for the media
//! plane comes out of [`Room::poll_effect`], in the order in which it is to be carried out.
//!
//! # Slots
//!
//! A participant receives on *slots*, each an audio and a video m-line. Camera and microphone of one publisher share a slot, screen and
//! screen audio another: such a pair is a *group*. Every group of somebody else's is subscribed by itself. A participant is given
//! one slot for each group and at least one to spare, in steps of four, so that most joins find a slot that is negotiated already;
//! slots are taken away only when more than a whole step too many are there. At most 56 slots are made; what does not fit waits, and
//! whenever a slot falls free the oldest waiting group gets it.
//!
//! A *viewer* receives like a participant and is shown to nobody; it brings its own fixed number of slots, and may be there for one
//! participant only.
//!
//! Tracks are shown and routed only on m-lines that are negotiated, which [`Room::slots_changed`] says.
//!
//! Pure: no clock, socket, thread or environment; deterministic, so that a simulation replays exactly.

mod effect;
mod rate;
mod room;
#[cfg(test)]
mod tests;
mod view;

pub use effect::{Audience, Effect};
pub use rate::{Bucket, Rate};
pub use room::{Entry, Limits, Room};
pub use view::SlotMids;
