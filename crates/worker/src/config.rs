//! What the workers are told once, and how starting them fails.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// How many workers there are and where they listen.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address all sockets bind. `[::]`, the default, also takes IPv4; without IPv6 on the machine it means `0.0.0.0`.
    pub bind: IpAddr,
    /// The UDP port all workers share; 0: any free one.
    pub port: u16,
    /// Threads, each with its own socket; at least 1.
    pub workers: u8,
    /// Bytes of receive buffer to ask the kernel for, per socket. More than `net.core.rmem_max` is granted to root only.
    pub receive_buffer: usize,
    /// Bytes of send buffer to ask the kernel for, per socket; `net.core.wmem_max` likewise.
    pub send_buffer: usize,
    /// Events waiting for the control plane, of all workers. A DTLS datagram is at most 1,500 bytes, so the default keeps them under 6 MB.
    pub events: usize,
}

impl Default for Config {
    /// Any port of all addresses, one worker, and buffers for 50 ms at a gigabit each way.
    fn default() -> Self {
        Self { bind: IpAddr::V6(Ipv6Addr::UNSPECIFIED), port: 0, workers: 1, receive_buffer: 8 << 20, send_buffer: 8 << 20, events: 4096 }
    }
}

/// Why the workers could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// [`Config::workers`] is 0.
    #[error("at least one worker is needed")]
    NoWorkers,
    /// The port is taken or the address isn't this machine's.
    #[error("UDP {address} can't be bound: {source}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// The kernel's reason.
        source: std::io::Error,
    },
    /// The kernel refused something the media plane can't do without.
    #[error("{what}: {source}")]
    System {
        /// The operation.
        what: &'static str,
        /// The kernel's reason.
        source: std::io::Error,
    },
}
