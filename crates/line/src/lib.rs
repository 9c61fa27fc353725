//! A network line to try programs on: a namespace whose only way out leads through the line model of `switchyard-netem`.
//!
//! ```text
//!  namespace (the near end)                                       where this runs (the far end)
//!  10.213.N.2  ── TUN ──▶  [NAT] ─▶ cuts ─▶ netem, direction out ──▶  TUN ──  10.213.N.1
//!              ◀── TUN ──  [NAT] ◀─ netem, direction in ◀─ cuts  ◀──  TUN ──
//! ```
//!
//! A [`Bridge`] is pure: it is given IPv4 packets and the time, and hands out what is due. It also loses everything for a while, cuts single
//! protocols, and rewrites UDP ports as a NAT does whose bindings have changed. A [`Pump`] is the thread that carries packets between the
//! bridge and two TUN devices; a [`Namespace`] has the near one. [`Command`] is what people and tests say to all of it while it runs.
//!
//! Linux only, and only root may make namespaces and devices. The only unsafe code is two system calls: one attaches a TUN
//! device, the other gives the pump its priority.

pub mod bridge;
mod command;
pub mod firewall;
mod namespace;
pub mod nat;
pub mod packet;
mod pump;
mod tun;

pub use bridge::Bridge;
pub use command::{Command, CommandError, HELP, Protocols, Scope, altered};
pub use namespace::{Namespace, NamespaceError, PREFIX_LENGTH, in_namespace};
pub use pump::Pump;
