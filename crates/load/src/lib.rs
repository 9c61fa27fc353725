//!
//! socket, thread or environment, and a seed replays.

pub mod traffic;
