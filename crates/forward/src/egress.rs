//! Datagrams on their way out: written one after the other into an arena, grouped into runs by destination.

use crate::{Path, Run, Wire};

/// Bytes collected before they are sent. What has just been sealed is still in the second-level cache when the kernel copies it.
const ARENA: usize = 256 * 1024;

/// The largest datagram written: an Ethernet frame's worth, and what SRTP and header extensions can add to it.
pub(crate) const MAX_DATAGRAM: usize = 1_600;

/// Bytes in one run; the kernel takes up to 65,535 with headers.
const MAX_RUN: usize = 65_000;

/// Datagrams in one run (`UDP_MAX_SEGMENTS` of Linux before 6.9).
const MAX_SEGMENTS: usize = 64;

/// Runs collected before they are sent: what one `sendmmsg` takes.
const MAX_RUNS: usize = 256;

/// What waits to be sent. Empty between two calls of the worker's.
pub(crate) struct Egress {
    arena: Box<[u8]>,
    used: usize,
    runs: Vec<Run>,
    /// Whether the last run may still grow: no shorter datagram has ended it.
    open: bool,
}

impl Egress {
    pub(crate) fn new() -> Self {
        Self { arena: vec![0; ARENA].into_boxed_slice(), used: 0, runs: Vec::with_capacity(MAX_RUNS), open: false }
    }

    /// Room for one datagram of at most [`MAX_DATAGRAM`] bytes; [`Egress::commit`] says how many it has become.
    pub(crate) fn room(&mut self, wire: &mut impl Wire) -> &mut [u8] {
        if self.used + MAX_DATAGRAM > ARENA || self.runs.len() == MAX_RUNS {
            self.flush(wire);
        }
        &mut self.arena[self.used..self.used + MAX_DATAGRAM]
    }

    /// The first `len` bytes of the room go to `path`.
    pub(crate) fn commit(&mut self, path: &Path, len: usize) {
        let start = self.used;
        self.used += len;
        if let Some(run) = self.runs.last_mut()
            && self.open
            && run.path == *path
            && len <= run.segment
            && run.len + len <= MAX_RUN
            && run.len < run.segment * MAX_SEGMENTS
        {
            run.len += len;
            self.open = len == run.segment;
            return;
        }
        self.runs.push(Run { path: *path, start, len, segment: len });
        self.open = true;
    }

    /// Sends a whole datagram.
    pub(crate) fn datagram(&mut self, path: &Path, bytes: &[u8], wire: &mut impl Wire) {
        if let Some(room) = self.room(wire).get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
            self.commit(path, bytes.len());
        }
    }

    /// Sends everything.
    pub(crate) fn flush(&mut self, wire: &mut impl Wire) {
        if !self.runs.is_empty() {
            wire.send(&self.arena[..self.used], &self.runs);
        }
        self.runs.clear();
        self.used = 0;
        self.open = false;
    }
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Egress").field("used", &self.used).field("runs", &self.runs.len()).finish()
    }
}
