//! The load bench: synthetic participants in rooms, and what it says about a server.
//!
//! [`traffic`] is what real encoders send, and [`scenario`] who sends it to whom: both pure, and a seed replays. [`measure`] is what arrives, as a decoder would see
//! it. `run` plays a scenario against a server. A run's figures are plain data ([`results`]), held against a promise ([`slo`]) and shown as text, JSON or
//! one HTML page ([`report`]); [`capacity`] searches for the largest load that keeps the promise; [`live`] shows a run while it goes on.

pub mod capacity;
pub mod live;
pub mod measure;
pub mod process;
pub mod report;
pub mod results;
pub mod run;
pub mod scenario;
pub mod slo;
pub mod traffic;

pub use scenario::{Scenario, ScenarioError};
