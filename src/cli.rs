//! The command line.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use switchyard_room::Limits;

use crate::bench;

/// A multi-party WebRTC server (SFU) with its signaling and a meeting app built in.
#[derive(Debug, Parser)]
#[command(name = "switchyard", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server until it is interrupted (Ctrl-C or SIGTERM).
    Serve(Serve),
    /// Load a server with synthetic participants and measure what arrives.
    #[command(subcommand)]
    Bench(bench::Command),
}

/// How to run the server.
#[derive(Debug, Args)]
pub struct Serve {
    /// Development: no configuration, no access control. Listens on loopback and on the machine's own addresses; anyone who can reach it
    /// may join any room.
    #[arg(long)]
    pub dev: bool,

    /// Where HTTP and WebSocket listen: ADDRESS:PORT; port 0 takes any free one. The default takes every address, IPv4 and IPv6.
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8080)))]
    pub http: SocketAddr,

    /// The UDP port for all media; 0 takes any free one.
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub media_port: u16,

    /// Media threads. Default: one for each core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=128))]
    pub workers: Option<u8>,

    /// An address to offer to clients for media, instead of the machine's own: behind a NAT, its public address. May be repeated.
    #[arg(long, value_name = "IP")]
    pub advertise: Vec<IpAddr>,

    /// How busy a media thread may be, in percent of the time, before it takes no more participants: newcomers go to others, or are told to try
    /// again later, so that those who are there don't suffer. 0: there is no limit.
    #[arg(long, value_name = "PERCENT", default_value_t = 85, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub max_load: u8,

    /// Spread the participants of every room over all media threads, however few they are (for tests; large rooms are spread anyway).
    #[arg(long)]
    pub span_rooms: bool,

    /// How many sources of sound are forwarded at a time in a room: those who speak.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=56))]
    pub heard: u8,

    /// How many videos a client is sent that doesn't say what it shows: screens, and those who spoke last.
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u8).range(1..=56))]
    pub shown: u8,

    /// What to log: a level (error, warn, info, debug, trace) or `tracing` directives such as `info,switchyard=debug`.
    #[arg(long, value_name = "FILTER", default_value = "info", env = "SWITCHYARD_LOG")]
    pub log: String,

    /// How long a request may stay unanswered, the server's own offers included.
    #[arg(long, value_name = "MS", default_value = "30000", value_parser = milliseconds, hide = true)]
    pub request_timeout_ms: Duration,

    /// Serve how many tasks the control plane has, at `/debug/tasks` (for tests).
    #[arg(long, hide = true)]
    pub debug_http: bool,

    /// How long a connection may take to send its HTTP header, to join, or to take what is sent to it.
    #[arg(long, value_name = "MS", default_value = "10000", value_parser = milliseconds, hide = true)]
    pub silence_timeout_ms: Duration,

    /// How long a participant stays in the room whose WebSocket was lost, unless they come back.
    #[arg(long, value_name = "MS", default_value = "60000", value_parser = milliseconds, hide = true)]
    pub resume_within_ms: Duration,
}

impl Serve {
    /// The bounds of every room.
    pub fn room_limits(&self) -> Limits {
        Limits { heard: usize::from(self.heard), shown: usize::from(self.shown), ..Limits::default() }
    }
}

fn milliseconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn rooms_are_as_large_as_their_crate_says_unless_told_otherwise() {
        let limits = |arguments: &[&str]| match Cli::parse_from([&["switchyard", "serve"], arguments].concat()).command {
            Command::Serve(options) => options.room_limits(),
            Command::Bench(_) => panic!("not serve"),
        };
        assert_eq!(limits(&[]), Limits::default());
        assert_eq!(limits(&["--heard", "3", "--shown", "20"]), Limits { heard: 3, shown: 20, ..Limits::default() });
    }

    #[test]
    fn serve_dev_needs_nothing_else() {
        let Command::Serve(options) = Cli::parse_from(["switchyard", "serve", "--dev"]).command else { panic!("not serve") };
        assert!(options.dev && options.http.port() == 8080 && options.media_port == 8080 && options.workers.is_none());
    }
}
