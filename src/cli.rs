//! The command line. The options of `serve` are the keys of a configuration file and environment variables as well: `config` makes them so.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use switchyard_room::Limits;

use crate::addresses::Network;
use crate::{access, addresses, bench, tls};

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
    Serve(Box<Serve>),
    /// Ask a server on this machine whether it is alive: exit code 1 if it isn't. It is found by the options it has: the same file and environment, or the same
    /// `--admin`, or else `--http`.
    Healthcheck(Box<Serve>),
    /// Check a configuration file, or print one to begin with.
    #[command(subcommand)]
    Config(Config),
    /// Make keys for access tokens, or replace them.
    #[command(subcommand)]
    Keys(access::KeysCommand),
    /// Make an access token and print it.
    Token(access::TokenOptions),
    /// Make a secret to share with a TURN server: a file that is a part of coturn's configuration (`turnserver -c FILE`) and a `--turn-secret-file` at the same
    /// time, readable by nobody else. One that is there already stays.
    TurnSecret {
        /// The file.
        file: PathBuf,
    },
    /// Load a server with synthetic participants and measure what arrives.
    #[command(subcommand)]
    Bench(Box<bench::Command>),
}

/// What to do with configuration files.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Say everything that is wrong with a configuration file; exit code 2 if anything is.
    Check {
        /// The file (TOML).
        #[arg(value_name = "FILE", env = "SWITCHYARD_CONFIG")]
        file: PathBuf,
    },
    /// Print a commented configuration file with every key at its default.
    Example,
    /// Print docs/configure.md, the table of every option.
    #[command(hide = true)]
    Reference,
}

/// How to run the server. Every option is an environment variable and a key of the configuration file, too; what the command line says comes first, then
/// the environment, then the file.
#[derive(Debug, Args)]
pub struct Serve {
    /// A configuration file (TOML). `switchyard config example` prints one.
    #[arg(long, value_name = "FILE", env = "SWITCHYARD_CONFIG")]
    pub config: Option<PathBuf>,

    /// Development: without --access-keys there is no access control, and anyone who can reach the server may join any room.
    #[arg(long, env = "SWITCHYARD_DEV")]
    pub dev: bool,

    #[command(flatten)]
    pub access: access::Options,

    /// Where HTTP and WebSocket listen: ADDRESS:PORT; port 0 takes any free one. The default takes every address, IPv4 and IPv6.
    #[arg(long, value_name = "ADDRESS:PORT", env = "SWITCHYARD_HTTP", default_value_t = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8080)))]
    #[arg(help_heading = "Addresses")]
    pub http: SocketAddr,

    #[command(flatten)]
    pub tls: tls::Options,

    /// A proxy in front, or a network of them, such as 127.0.0.1 or 10.0.0.0/8, whose X-Forwarded-For is believed: it says from which addresses requests come. May be repeated. Default: none is.
    #[arg(long, value_name = "NETWORK", env = "SWITCHYARD_TRUSTED_PROXIES", value_delimiter = ',', help_heading = "Addresses")]
    pub trusted_proxies: Vec<Network>,

    /// The UDP port for all media; 0 takes any free one. Default: the number of --http's, so that a firewall has one to open; 8080 where that is one below 1024 and all
    /// addresses are private, since Chromium takes no media there.
    #[arg(long, value_name = "PORT", env = "SWITCHYARD_MEDIA_PORT", help_heading = "Addresses")]
    pub media_port: Option<u16>,

    #[command(flatten)]
    pub addresses: addresses::Options,

    /// Offer clients no TCP for media. Otherwise those that UDP doesn't get through to use the port of HTTP for it (ICE-TCP, RFC 6544), unless that listens on loopback
    /// only, as behind a proxy.
    #[arg(long, env = "SWITCHYARD_NO_ICE_TCP", help_heading = "Addresses")]
    pub no_ice_tcp: bool,

    /// Be a TURN server as well, for clients that reach nothing but web servers: by TLS at --http, or by TCP where there is no TLS. It relays to this server's media only,
    /// and needs no other port.
    #[arg(long, env = "SWITCHYARD_TURN", help_heading = "TURN")]
    pub turn: bool,

    /// Where this TURN server takes UDP, ADDRESS:PORT, for clients to which only well-known ports are open: 3478 is TURN's. Default: nowhere.
    #[arg(long, value_name = "ADDRESS:PORT", env = "SWITCHYARD_TURN_UDP", help_heading = "TURN")]
    pub turn_udp: Option<SocketAddr>,

    /// A TURN server for clients that reach this server by no other way, such as turn:turn.example.org:3478 or turns:turn.example.org:443?transport=tcp. May be repeated.
    #[arg(long, value_name = "URL", env = "SWITCHYARD_TURN_URL", value_delimiter = ',', value_parser = crate::turn::url, help_heading = "TURN")]
    pub turn_url: Vec<String>,

    /// A file with the secret that the TURN servers share with this one, alone or as coturn's `static-auth-secret=…`; `switchyard turn-secret` makes one. Clients never see it, only what is made of it for each of them.
    #[arg(long, value_name = "FILE", env = "SWITCHYARD_TURN_SECRET_FILE", help_heading = "TURN")]
    pub turn_secret_file: Option<PathBuf>,

    /// Have clients reach this server through the TURN servers only: where there is no other way, so that they need not find that out, or to see whether it works.
    #[arg(long, env = "SWITCHYARD_RELAY_ONLY", help_heading = "TURN")]
    pub relay_only: bool,

    /// How long a client may begin to use a TURN server with what it was given. It gets new credentials before each ICE restart.
    #[arg(long, value_name = "TIME", default_value = "12h", env = "SWITCHYARD_TURN_LIFETIME", value_parser = lifetime)]
    #[arg(help_heading = "TURN")]
    pub turn_lifetime: Duration,

    /// Media threads. Default: one for each core.
    #[arg(long, value_name = "N", env = "SWITCHYARD_WORKERS", value_parser = clap::value_parser!(u8).range(1..=128), help_heading = "Limits")]
    pub workers: Option<u8>,

    /// How busy a media thread may be, in percent of the time, before it takes no more participants: newcomers go to others, or are told to try
    /// again later, so that those who are there don't suffer. 0: there is no limit.
    #[arg(long, value_name = "PERCENT", env = "SWITCHYARD_MAX_LOAD", default_value_t = 85)]
    #[arg(value_parser = clap::value_parser!(u8).range(0..=100), help_heading = "Limits")]
    pub max_load: u8,

    /// The control group whose CPU quota counts, instead of the server's own (for tests).
    #[arg(long, value_name = "DIRECTORY", hide = true)]
    pub cgroup: Option<PathBuf>,

    /// Spread the participants of every room over all media threads, however few they are (for tests; large rooms are spread anyway).
    #[arg(long, env = "SWITCHYARD_SPAN_ROOMS", help_heading = "Rooms")]
    pub span_rooms: bool,

    /// How many sources of sound are forwarded at a time in a room: those who speak.
    #[arg(long, value_name = "N", env = "SWITCHYARD_HEARD", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=56), help_heading = "Rooms")]
    pub heard: u8,

    /// How many videos a client is sent that doesn't say what it shows: screens, and those who spoke last.
    #[arg(long, value_name = "N", env = "SWITCHYARD_SHOWN", default_value_t = 9)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=56), help_heading = "Rooms")]
    pub shown: u8,

    /// Where operators' HTTP listens, ADDRESS:PORT: metrics, readiness, the log's filter, going down. Whoever reaches it may do all of that, so nobody else
    /// should. Default: nowhere.
    #[arg(long, value_name = "ADDRESS:PORT", env = "SWITCHYARD_ADMIN", help_heading = "Operation")]
    pub admin: Option<SocketAddr>,

    /// How long SIGTERM waits for rooms to become empty: no new ones open meanwhile, and everybody is told. A second SIGTERM, or Ctrl-C, waits for nothing. With 0s
    /// SIGTERM doesn't either. A supervisor has to be as patient (Docker's `stop_grace_period`, systemd's `TimeoutStopSec`).
    #[arg(long, value_name = "TIME", default_value = "0s", env = "SWITCHYARD_DRAIN", value_parser = time, help_heading = "Operation")]
    pub drain: Duration,

    /// What to log: a level (error, warn, info, debug, trace) or `tracing` directives such as `info,switchyard=debug`.
    #[arg(long, value_name = "FILTER", default_value = "info", env = "SWITCHYARD_LOG", value_parser = filter, help_heading = "Operation")]
    pub log: String,

    /// How a line of the log looks.
    #[arg(long, value_name = "FORMAT", default_value = "text", env = "SWITCHYARD_LOG_FORMAT", help_heading = "Operation")]
    pub log_format: LogFormat,

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

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object (JSON), for programs.
    Json,
}

impl Serve {
    /// Says what contradicts itself, of what is right one by one.
    pub fn check(&self) -> Result<(), &'static str> {
        self.addresses.check()?;
        self.tls.check()?;
        match (self.turn_url.is_empty(), &self.turn_secret_file) {
            _ if self.turn_udp.is_some() && !self.turn => Err("turn_udp is of no use without turn"),
            (true, Some(_)) if !self.turn => Err("turn_secret_file is of no use without turn or turn_url"),
            (true, None) if self.relay_only && !self.turn => Err("relay_only wants turn or a turn_url: clients would reach nothing"),
            (false, None) => Err("turn_url wants a turn_secret_file: what turnserver.conf has as static-auth-secret"),
            _ => Ok(()),
        }
    }

    /// The bounds of every room.
    pub fn room_limits(&self) -> Limits {
        Limits { heard: usize::from(self.heard), shown: usize::from(self.shown), ..Limits::default() }
    }
}

/// The longest time that makes sense.
const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A time, such as 90s or 10m; at most 30 days.
pub fn time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| format!("{error}; a time is like 90s or 10m"))?;
    if time > MONTH { Err("that is more than 30 days".into()) } else { Ok(time) }
}

/// How long credentials are good: with less than a minute nobody gets to use them.
fn lifetime(text: &str) -> Result<Duration, String> {
    let time = time(text)?;
    if time < Duration::from_secs(60) { Err("that is less than a minute".into()) } else { Ok(time) }
}

fn milliseconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_millis)
}

/// A filter as it is written, if it is one.
fn filter(text: &str) -> Result<String, tracing_subscriber::filter::ParseError> {
    tracing_subscriber::EnvFilter::builder().parse(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    fn serve(arguments: &[&str]) -> Box<Serve> {
        match Cli::parse_from([&["switchyard", "serve"], arguments].concat()).command {
            Command::Serve(options) => options,
            _ => panic!("not serve"),
        }
    }

    #[test]
    fn rooms_are_as_large_as_their_crate_says_unless_told_otherwise() {
        assert_eq!(serve(&[]).room_limits(), Limits::default());
        assert_eq!(serve(&["--heard", "3", "--shown", "20"]).room_limits(), Limits { heard: 3, shown: 20, ..Limits::default() });
    }

    #[test]
    fn serve_dev_needs_nothing_else() {
        let options = serve(&["--dev"]);
        assert!(options.dev && options.http.port() == 8080 && options.media_port.is_none() && options.workers.is_none());
    }
}
