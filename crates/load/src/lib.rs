//! The load bench: synthetic participants that send what browsers send, and the scenarios they play.
//!
//! [`traffic`] models encoders and microphones, packet by packet; [`scenario`] reads who is in which room, sends what and over which line. Both are
//! pure: no clock, socket, thread or environment, and a seed replays.

pub mod scenario;
pub mod traffic;

pub use scenario::{Scenario, ScenarioError};
