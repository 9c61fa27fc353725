//! A headless participant: joins a room over the real signaling, publishes loops that browsers decode or numbered packets, and
//! counts what it receives. For tests and load. [`HttpSession`] is a publisher by WHIP or a player by WHEP, at any server.
//!
//! It stands on the peer connection of the crate `webrtc`, none of whose upper layers the server uses, so that what the two
//! ends agree on is the standards and not shared code.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use switchyard_client::{Client, Media, Options, Publish, Sequence, Source};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let sequence = Media::Sequence(Sequence { packets_per_second: 250, bytes: 1000, burst: 1 });
//! let options = Options::new("ws://127.0.0.1:8080/v1/ws", "demo", "Alice").publish(Publish::new(Source::Camera, sequence));
//! let alice = Client::connect(options).await?;
//! let bob = Client::connect(Options::new("ws://127.0.0.1:8080/v1/ws", "demo", "Bob")).await?;
//! bob.wait_for_report(Duration::from_secs(10), |report| {
//!     report.sequences.get(&(alice.id(), 0)).is_some_and(|sequence| sequence.progress.received > 1000)
//! })
//! .await?;
//! alice.leave().await?;
//! # Ok(())
//! # }
//! ```

mod client;
mod data;
mod direct;
mod error;
mod http;
mod link;
mod media;
mod meter;
mod peer;
mod progress;
mod publisher;
mod runtime;
mod sdp;
mod sequence;
mod session;
mod signaling;
mod state;
mod tap;

pub use client::{Client, Feedback, Options, Renegotiated, SrtpProfile};
pub use direct::{Arrival, Lines, Outgoing, Sender, Sink};
pub use error::{ClientError, Closed, WaitError};
pub use http::{HttpError, HttpSession};
pub use media::{AudioLoop, Media, MediaError, Publish, Sequence, VideoLoop};
pub use meter::{Report, RtcpReport, SequenceReport, StreamReport, TrackReport};
pub use progress::{Latency, Progress};
pub use sequence::{Stamp, now_micros};
pub use state::{ClientEvent, DataMessage, DataPayload, Negotiation, Published, State, Transport};
pub use switchyard_protocol::{Encoding, ErrorCode, Event, Kind, ParticipantId, Reception, Request, Source, TrackId, TrackView};

#[cfg(test)]
mod double;
#[cfg(test)]
mod tests;
