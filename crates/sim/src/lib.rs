//! Calls under virtual time: minutes of them in seconds, the same to the bit for a seed.
//!
//! A [`Network`] is one bottleneck and the way back, shared by [`Flow`]s: [`Call`], a sender with the server's estimator and pacer and a
//! receiver that decodes, and [`Cubic`], a TCP connection that downloads. What happens is measured in [`Trace`]s.
//!
//! Pure: the time is passed in and only moves by what is simulated. What a seed has found goes into a test under its number.

#![deny(clippy::iter_over_hash_type, reason = "what happens must not depend on a hash")]
#![forbid(unsafe_code)]

mod call;
mod cubic;
mod decoder;
mod network;
mod source;
mod trace;

pub use call::{Call, Profile};
pub use cubic::Cubic;
pub use network::{Flow, Message, Network, Outbox, Packet};
pub use source::Video;
pub use trace::Trace;
