//! Both ends in one process: the client is `rtc-dtls` and `rtc-sctp` driven by [`client::Client`], the line between
//! them loses, repeats and reorders by a seed, and time is virtual.

mod client;
mod data;
mod handshake;
mod line;
mod outages;
mod pressure;
mod traps;
