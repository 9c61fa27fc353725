//! One direction of a network line, as a model: what goes in comes out later, changed in order or number, or not at all.
//!
//! A [`Line`] carries tokens of any type and is told how many bytes each stands for. A packet's way through it:
//!
//! 1. **Black hole**: while one is open, whatever enters is lost.
//! 2. **Bottleneck**: a queue in front of a transmitter of a given rate. A full queue drops what comes last (tail drop). The rate may change over
//!    time.
//! 3. **Loss**: in bursts (Gilbert–Elliott), and independently of them. What is lost here has used the transmitter, as on a radio link.
//! 4. **Delay** with jitter. The jitter is a function of time rather than of the packet: neighbours are late together, and packets keep their order.
//! 5. **Duplication** and **reordering**: a duplicate comes out right behind its original; a reordered packet is held back, and others pass it.
//!
//! ```
//! # use std::time::{Duration, Instant};
//! use switchyard_netem::{Config, Line};
//!
//! # fn main() -> Result<(), switchyard_netem::ConfigError> {
//! # let now = Instant::now();
//! let config: Config = "delay=60ms,rate=2Mbit/s,overhead=0".parse()?;
//! let mut line = Line::new(&config, 1, now)?;
//! line.push(now, 250, "hello");
//! let due = line.poll_timeout().expect("a packet is on the way");
//! assert_eq!(due, now + Duration::from_millis(61), "1 ms for 250 bytes, and the delay");
//! assert_eq!(line.poll(due), Some("hello"));
//! # Ok(())
//! # }
//! ```
//!
//! Pure: no clock, socket, thread or environment. The same configuration, seed and calls give the same outcome to the bit on every platform: all
//! arithmetic on the way is on integers or uses only the operations that IEEE 754 defines exactly.

#![deny(clippy::iter_over_hash_type, reason = "what happens must not depend on a hash")]
#![forbid(unsafe_code)]

mod config;
mod counters;
mod impairment;
mod line;
mod random;
mod schedule;
pub mod units;

pub use config::{BlackHole, Config, ConfigError, Queue, RateStep};
pub use counters::{Counters, Drop};
pub use line::{Line, Verdict};
pub use random::Random;
pub use units::{Rate, Ratio, UnitError};
