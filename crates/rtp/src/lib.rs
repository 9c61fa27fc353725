//! RTP, RTCP and SRTP as a forwarding server needs them: parse in place, build into the caller's buffer, seal and open.
//!
//! Pure: no clock, socket, thread or environment. Nothing here allocates per packet, logs or panics on input.

#![deny(clippy::iter_over_hash_type, reason = "what happens must not depend on a hash")]
#![forbid(unsafe_code)]

pub mod codec;
pub mod extension;
pub mod red;
pub mod replay;
pub mod rtcp;
pub mod rtp;
pub mod sequence;
pub mod srtp;

pub use codec::{Codec, MediaKind};
pub use extension::{Extension, ExtensionMap, ParsedExtensions, ShortId};
pub use rtp::Header;
pub use sequence::SequenceExtender;
