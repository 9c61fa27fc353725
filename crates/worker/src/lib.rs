//! The threads of the media plane: each with its own UDP socket on the one media port, its [`Forwarder`](switchyard_forward::Forwarder),
//! and the queues over which the control plane and the other workers reach it.
//!
//! [`start`] opens the sockets and starts the threads; [`Workers`] is the control plane's handle to them. What a datagram means is the
//! forwarder's business; here are only sockets, threads, queues and wake-ups. This is the only crate of the server with unsafe code: the system calls
//! of `udp`, `wake` and `thread`.
//!
//! Per packet a worker allocates nothing, takes no lock and logs nothing. A thread that panics aborts the process: its peers would
//! otherwise be silent for ever, and a supervisor can restart a process but not a thread.

mod ahead;
mod astray;
mod config;
mod counters;
mod inbox;
mod outlet;
mod pace;
mod streams;
mod thread;
mod turn;
mod udp;
mod waits;
mod wake;
mod workers;

pub use ahead::fetch;
pub use config::{Config, StartError};
pub use counters::Counters;
pub use thread::yield_to_media;
pub use udp::limit_send_buffer;
pub use waits::Waits;
pub use workers::{Scrape, Stopped, Workers, start};
