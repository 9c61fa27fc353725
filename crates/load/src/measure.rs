//! What arrives at a participant.

pub mod decoder;
mod meter;
mod publication;
mod slot;
#[cfg(test)]
mod tests;

pub use meter::{Groups, LatencyOf, Meter, MeterSink, TrackTotals};
pub use publication::{Picture, Publication, Publications};
