//! Load for a WebRTC server, and what it says about it.
//!
//! A run's figures are plain data ([`results`]), held against a promise ([`slo`]) and shown as text, JSON or one HTML page
//! ([`report`]); [`capacity`] searches for the largest load that keeps the promise; [`live`] shows a run while it goes on.

pub mod capacity;
pub mod live;
pub mod report;
pub mod results;
pub mod slo;
