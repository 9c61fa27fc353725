//! One participant's offers and answers (JSEP, RFC 9429), seen from the server: SDP in, SDP and tables out.
//!
//! The client's first offer comes first. After that either side may offer (WebRTC 1.0 §10.7): the server is the impolite peer, so
//! an offer of the client's that meets one of the server's in flight is ignored and the client rolls back. At most one offer of
//! the server's is in flight; what changes meanwhile is folded into the next. What fails changes nothing.
//!
//! Sessions over plain HTTP ([`Mode::Ingress`], [`Mode::Egress`]) have one offer, the client's, and no other: it is taken up as a whole or
//! refused (RFC 9725 §4.4.3), and ICE is restarted by fragments (RFC 8840).
//!
//! Pure: no clock, socket, thread or environment; randomness is a seed in [`Config`]. What sessions have in common they share ([`Shared`]), which changes
//! nothing but the memory that they take.

#![deny(clippy::iter_over_hash_type, reason = "what happens must not depend on a hash")]

mod candidate;
mod description;
mod digest;
mod error;
mod format;
mod fragment;
mod layout;
mod negotiator;
mod profile;
mod shared;
mod ssrc;
mod types;

pub use error::NegotiationError;
pub use negotiator::Negotiator;
pub use shared::Shared;
pub use types::{
    Candidate, Config, Event, Feedback, IceCredentials, Limits, MAX_ENCODINGS, Mode, Offer, Receiver, Remote, Sender, Simulcast, Slot,
    SsrcPair,
};
