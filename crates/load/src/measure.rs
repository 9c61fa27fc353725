//! What arrives at a participant.

pub mod decoder;
mod meter;

pub use meter::{Groups, LatencyOf, Meter, MeterSink, Publication, Publications, TrackTotals};
