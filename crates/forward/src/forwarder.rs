//! One worker's state machine.

use std::time::Instant;

use crate::{Batch, Command, Remote, Wire, WorkerIndex};

/// What a forwarder is told once.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Which worker this is.
    pub worker: WorkerIndex,
    /// How many there are.
    pub workers: u8,
    /// A moment on the monotonic clock, the same for all workers …
    pub epoch: Instant,
    /// … and what it is in NTP time (RFC 5905 §6, 32.32), for sender reports.
    pub epoch_ntp: u64,
}

/// One worker's state machine: peers, their paths, the streams they publish and the routes between them.
#[derive(Debug)]
pub struct Forwarder {
    config: Config,
}

impl Forwarder {
    /// With no peers.
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// Does what the control plane says.
    pub fn handle_command(&mut self, now: Instant, command: Command, wire: &mut impl Wire) {
        let _ = (now, command, wire, self.config);
    }

    /// Takes what arrived, forwards it, and empties the batch's list.
    pub fn handle_batch(&mut self, now: Instant, batch: &mut Batch, wire: &mut impl Wire) {
        let _ = (now, batch, wire);
    }

    /// Hears from another worker.
    pub fn handle_remote(&mut self, now: Instant, message: Remote, wire: &mut impl Wire) {
        let _ = (now, message, wire);
    }

    /// When [`Forwarder::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Does what is due: feedback, reports, retransmission requests, expired paths.
    pub fn handle_timeout(&mut self, now: Instant, wire: &mut impl Wire) {
        let _ = (now, wire);
    }
}
