//! Which of a track's encodings and layers a subscriber gets, and how what it gets is renumbered so that nothing seems to be missing.

mod codec;
mod rewriter;
mod selector;
mod target;

pub(crate) use codec::{Dependencies, FrameInfo};
pub(crate) use rewriter::{Placed, Rewriter, Source};
pub(crate) use selector::{Choice, Selector};
pub(crate) use target::{Candidate, resolve};
pub use target::{Layer, MAX_ENCODINGS, Target};
