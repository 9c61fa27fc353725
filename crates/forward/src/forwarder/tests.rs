//! A small world around one or two forwarders: clients with real keys, virtual time, and a wire that remembers.

mod gaps;
mod indices;
mod lines;
mod media;
mod simulcast;
mod sound;
mod svc;
mod voices;
mod world;
