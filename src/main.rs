//! Switchyard: a multi-party WebRTC server (SFU) with its signaling and a meeting app built in.
//!
//! This package is the program: it puts the pure crates, the media workers and the sockets of HTTP and WebSocket together. `server`
//! starts and stops everything; `http` accepts connections; `signaling` are sessions over WebSockets (`websocket`), `whip` those without; `participant` is who is behind either, and
//! `transport` their end of the peer connection; `admission` decides who may come in; `rooms` runs one task for each room; `peers` brings what
//! workers report to participants. `bench` is the load bench's command line.

#![forbid(unsafe_code)]

mod addresses;
mod admission;
mod assets;
mod bench;
mod cli;
mod delivery;
mod http;
mod outbox;
mod participant;
mod peers;
mod rooms;
mod server;
mod signaling;
mod transport;
mod websocket;
mod whip;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(options) => {
            if let Err(error) = start_logging(&options.log) {
                eprintln!("error: --log {:?}: {error}", options.log);
                return ExitCode::from(2);
            }
            match server::run(options) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("error: {error:#}");
                    ExitCode::FAILURE
                }
            }
        }
        Command::Bench(command) => bench::main(command),
    }
}

/// Logs go to stderr; stdout says where the server listens. No log at any level holds a session description, a password, a client's address or
/// what people say: that is why only the server's own crates log, whatever the filter asks for.
fn start_logging(filter: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = tracing_subscriber::EnvFilter::builder().parse(filter)?;
    let own = FilterFn::new(|metadata| metadata.target().starts_with("switchyard"));
    let format = tracing_subscriber::fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(format.with_filter(own).with_filter(filter)).init();
    Ok(())
}
