//! What one subscriber's line carries, and how to live within it.
//!
//! * [`Estimator`] measures the line from transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01): how the delay
//!   grows, what is lost, what arrives, and what probes find.
//! * [`Pacer`] spreads what is sent over time, audio first.
//! * [`allocate`] divides the estimate among what the subscriber wants to see.
//!
//! Pure: the time is passed in, nothing is drawn at random, nothing waits. Per packet nothing is allocated. The same calls give the same
//! outcome to the bit on every platform: floating-point arithmetic uses only the operations that IEEE 754 defines exactly.

#![deny(clippy::iter_over_hash_type, reason = "what happens must not depend on a hash")]
#![forbid(unsafe_code)]

mod acknowledged;
mod allocation;
mod estimator;
mod loss;
mod pacer;
mod probe;
mod queue;
mod sent;
mod trend;

pub use allocation::{Demand, Grant, Layer, Outcome, Rung, Source, allocate};
pub use estimator::{Config, Estimator, Figures, Reported};
pub use pacer::{Class, Full, Pacer, Release};
pub use probe::{Cluster, Probe};
