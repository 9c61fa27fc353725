//! Switchyard: a multi-party WebRTC server (SFU) with its signaling and a meeting app built in.
//!
//! This package is the program: it puts the pure crates, the media workers and the sockets of HTTP and WebSocket together. `server`
//! starts and stops everything; `http` accepts connections, with `tls` or without; `signaling` are sessions over WebSockets (`websocket`), `whip` those without; `participant` is who is behind either, and
//! `transport` their end of the peer connection; `access` decides who may come in, `admission` when; `rooms` runs one task for each room; `peers` brings what
//! workers report to participants. `config` reads the configuration and `reload` reads it
//! again. `healthcheck` asks a running server. `bench` is the load bench's command line.

#![forbid(unsafe_code)]

mod access;
mod addresses;
mod admin;
mod admission;
mod api;
mod assets;
mod bench;
mod cli;
mod config;
mod delivery;
mod drain;
mod healthcheck;
mod http;
mod logging;
mod metrics;
mod outbox;
mod participant;
mod peers;
mod problem;
mod queue;
mod reload;
mod rooms;
mod server;
mod signaling;
mod stream;
mod tls;
mod transport;
mod turn;
mod websocket;
mod whip;

use std::process::ExitCode;

use crate::cli::{Command, Config, Serve};
use crate::config::{Failure, Written};
use crate::logging::Log;

fn main() -> ExitCode {
    let (command, written) = match config::load(std::env::args_os()) {
        Ok(loaded) => loaded,
        Err(failure) => return refuse(failure),
    };
    match command {
        Command::Serve(options) => serve(*options, written),
        Command::Healthcheck(options) => {
            print_or_fail(healthcheck::healthcheck(&options).map(|address| format!("http://{address} is alive\n")))
        }
        Command::Config(Config::Check { file }) => match config::check(&file) {
            Ok(()) => print(&format!("{}: nothing is wrong with it\n", file.display())),
            Err(failure) => refuse(failure),
        },
        Command::Config(Config::Example) => print(&config::example()),
        Command::Config(Config::Reference) => print(&config::reference()),
        Command::Keys(command) => print_or_fail(access::keys(command)),
        Command::Token(options) => print_or_fail(access::token(options)),
        Command::TurnSecret { file } => print_or_fail(turn::make_secret(&file)),
        Command::Bench(command) => bench::main(*command),
    }
}

fn serve(options: Serve, written: Written) -> ExitCode {
    let log = match Log::start(&options.log, options.log_format) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("error: log {:?}: {error}", options.log);
            return ExitCode::from(2);
        }
    };
    match server::run(options, written, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> ExitCode {
    use std::io::Write;
    // Whoever reads it may have read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn print_or_fail(made: anyhow::Result<String>) -> ExitCode {
    match made {
        Ok(text) => print(&text),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn refuse(failure: Failure) -> ExitCode {
    match failure {
        // Help and version are a success, and go to stdout.
        Failure::Usage(error) => {
            let _ = error.print();
            u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
        }
        Failure::File(wrong) => {
            wrong.iter().for_each(|wrong| eprintln!("error: {wrong}"));
            ExitCode::from(2)
        }
    }
}
