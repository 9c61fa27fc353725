//! What the workers count: written by one thread each, read by anyone.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($(#[doc = $help:literal] $name:ident,)*) => {
        /// Sums over all workers since their start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $(#[doc = $help] pub $name: u64,)*
        }

        impl Counters {
            /// Each counter's name, what it is, and its value.
            pub fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), $help, self.$name),)*].into_iter()
            }
        }

        /// One worker's counters. Only its own thread adds; aligned so that two workers' don't share a cache line.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub(crate) struct Tally {
            $(pub(crate) $name: Count,)*
        }

        impl Tally {
            /// Adds what was counted so far to `sums`.
            pub(crate) fn add_to(&self, sums: &mut Counters) {
                $(sums.$name += self.$name.get();)*
            }
        }
    };
}

counters! {
    /// Datagrams taken from the sockets, those of TCP connections included.
    datagrams_in,
    /// Bytes of the datagrams taken from the sockets.
    bytes_in,
    /// Datagrams given to the kernel, those of TCP connections included.
    datagrams_out,
    /// Bytes of the datagrams given to the kernel.
    bytes_out,
    /// Messages given to the kernel: runs, or single datagrams.
    runs_out,
    /// Calls of `recvmmsg`, and reads of TCP connections.
    receive_calls,
    /// Calls of `sendmmsg` and `sendmsg`, and runs written to TCP connections.
    send_calls,
    /// Calls of `ppoll`: turns of the loop.
    turns,
    /// Nanoseconds between waking up in `ppoll` and calling it again: the time in which there was work.
    awake_nanos,
    /// Datagrams the kernel dropped because a socket's receive buffer was full (`SO_RXQ_OVFL`).
    kernel_drops,
    /// Datagrams received without the address they were sent to, or cut short: dropped.
    receive_malformed,
    /// Datagrams that did not fit into a turn's list: dropped.
    receive_overflow,
    /// Datagrams not sent because the socket's send buffer or the device's queue stayed full.
    send_full,
    /// Datagrams the kernel refused to send: no route, no such local address, too long.
    send_refused,
    /// Runs that were sent datagram by datagram because the kernel refused to segment them.
    unsegmented_runs,
    /// Packets put on the trunk to another worker.
    trunk_packets,
    /// Packets that did not fit: the other worker's inbox was full, or they were too long.
    trunk_drops,
    /// Datagrams handed over to the worker that owns them.
    handed_over,
    /// Datagrams that did not fit: the owner's inbox was full, or they were too long.
    hand_over_drops,
    /// Messages to another worker that did not fit.
    message_drops,
    /// TCP connections taken over (ICE-TCP).
    streams_opened,
    /// Those of them that have ended.
    streams_closed,
    /// TCP connections refused: there were too many.
    streams_refused,
    /// Datagrams dropped because a TCP connection's client doesn't take them fast enough.
    streams_full,
    /// Events the control plane did not take in time. Only DTLS datagrams, which DTLS sends again, unless thousands of others wait.
    event_drops,
}

/// A counter with one writer.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Adds `n`. With one writer a load and a store do, without the cost of an atomic addition.
    pub(crate) fn add(&self, n: usize) {
        self.0.store(self.0.load(Ordering::Relaxed) + n as u64, Ordering::Relaxed);
    }

    /// Follows a count kept elsewhere.
    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
