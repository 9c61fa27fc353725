//! The media plane's logic: authenticated paths, published streams, subscriptions, and the RTCP both legs need.
//!
//! [`Forwarder`] is one worker's state machine. It is told the time, the datagrams and the commands; what it wants sent goes to a
//! [`Wire`]. Pure: no clock, socket, thread or environment. Per packet it allocates nothing, takes no lock and logs nothing;
//! names are resolved to indices when a command arrives, packets only index.

#![deny(clippy::iter_over_hash_type, reason = "what happens must not depend on a hash")]

mod agent;
mod clock;
mod comeback;
mod command;
mod counted;
mod downlink;
mod egress;
mod encoding;
mod feedback;
mod forwarder;
mod history;
mod keyframes;
mod layers;
mod loss;
mod peer;
mod pulse;
mod quality;
mod sender;
mod silence;
mod track;
mod voice;
mod wire;

pub use agent::owner_of;
pub use command::{Command, IceCredentials, PeerKey, ReceiverConfig, SenderConfig, Simulcast, TrackKey, WorkerIndex};
pub use counted::{Drop, Drops, ESTIMATE_BOUNDS, Estimates, Happening, Happenings};
pub use encoding::EncodingView;
pub use forwarder::{Config, Forwarder};
pub use layers::{Layer, MAX_ENCODINGS, Target};
pub use switchyard_bandwidth::Outcome;
pub use track::{Standing, Wanted};
pub use wire::{Activity, Address, Batch, Event, Figures, Grade, Origin, Path, Received, Remote, Run, SocketId, TrunkPacket, Wire};
