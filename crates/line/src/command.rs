//! What people and tests say to a line while it runs.

use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::Duration;

use switchyard_netem::units::Time;
use switchyard_netem::{Config, ConfigError, UnitError};

use crate::bridge::Change;

/// What can be said, for errors and help.
pub const HELP: &str = "\
line CONFIG      both directions are now so: loss=5%,delay=30ms,jitter=5ms,rate=2Mbit/s,… or perfect
out CONFIG       what goes out of the namespace
in CONFIG        what comes in
KEY VALUE        one of those alone, both ways: loss 30, delay 60, rate 500kbit/s (a bare number is percent or milliseconds)
hole TIME        loses everything for that long: hole 6s
cut PROTOCOL     loses tcp, udp or all until mended; plain: whatever is not TLS
mend             ends cuts and the black hole
down, up         the namespace's link
address [IP]     another address for the namespace, by default the next one
rebind           other UDP source ports, as behind a NAT that has forgotten
counts           what became of the packets, as JSON
quit             ends it and cleans up";

/// Which directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Both.
    Both,
    /// From the namespace.
    Out,
    /// Into it.
    In,
}

/// A set of protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    /// TCP.
    pub tcp: bool,
    /// UDP.
    pub udp: bool,
    /// All others.
    pub other: bool,
}

impl Protocols {
    /// None of them.
    pub const NONE: Self = Self { tcp: false, udp: false, other: false };
    /// All of them.
    pub const ALL: Self = Self { tcp: true, udp: true, other: true };

    /// Those in either.
    pub fn with(self, more: Self) -> Self {
        Self { tcp: self.tcp || more.tcp, udp: self.udp || more.udp, other: self.other || more.other }
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Change what the line does.
    Change(Scope, Change),
    /// Lose everything for so long.
    Hole(Duration),
    /// Lose these.
    Cut(Protocols),
    /// Lose whatever is not TLS.
    CutPlain,
    /// Lose them no longer.
    Mend,
    /// Take the near link down.
    Down,
    /// Bring it up again.
    Up,
    /// Give the near end this address, or the next one.
    Address(Option<Ipv4Addr>),
    /// Give UDP flows other ports.
    Rebind,
    /// Say what became of the packets.
    Counts,
    /// Say what can be said.
    Help,
    /// End.
    Quit,
}

/// Why something is no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Nothing was said.
    #[error("nothing was said; help lists what can be")]
    Empty,
    /// A configuration or one of its keys and values makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A duration makes no sense.
    #[error(transparent)]
    Time(#[from] UnitError),
    /// There is no such protocol.
    #[error("`{0}` is none of tcp, udp, all, plain")]
    Protocol(String),
    /// It's no address.
    #[error("`{0}` is no IPv4 address")]
    Address(String),
    /// More was said than belongs to it.
    #[error("`{0}` takes nothing more")]
    TooMuch(String),
}

impl FromStr for Command {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self, CommandError> {
        let text = text.trim();
        let (word, rest) = text.split_once(char::is_whitespace).map_or((text, ""), |(word, rest)| (word, rest.trim()));
        let alone = |command| if rest.is_empty() { Ok(command) } else { Err(CommandError::TooMuch(word.to_owned())) };
        let to = |scope| Ok(Self::Change(scope, Change::To(Box::new(rest.parse()?))));
        match word {
            "" => Err(CommandError::Empty),
            "line" => to(Scope::Both),
            "out" => to(Scope::Out),
            "in" => to(Scope::In),
            "hole" => Ok(Self::Hole(rest.parse::<Time>()?.0)),
            "cut" => match rest {
                "tcp" => Ok(Self::Cut(Protocols { tcp: true, ..Protocols::NONE })),
                "udp" => Ok(Self::Cut(Protocols { udp: true, ..Protocols::NONE })),
                "all" => Ok(Self::Cut(Protocols::ALL)),
                "plain" => Ok(Self::CutPlain),
                _ => Err(CommandError::Protocol(rest.to_owned())),
            },
            "mend" => alone(Self::Mend),
            "down" => alone(Self::Down),
            "up" => alone(Self::Up),
            "address" if rest.is_empty() => Ok(Self::Address(None)),
            "address" => Ok(Self::Address(Some(rest.parse().map_err(|_| CommandError::Address(rest.to_owned()))?))),
            "rebind" => alone(Self::Rebind),
            "counts" => alone(Self::Counts),
            "help" => alone(Self::Help),
            "quit" => alone(Self::Quit),
            _ => {
                // Whether it goes with the other properties shows when it is done.
                if let Err(error @ (ConfigError::UnknownKey { .. } | ConfigError::Unit { .. })) = altered(&Config::default(), word, rest) {
                    return Err(error.into());
                }
                Ok(Self::Change(Scope::Both, Change::Only(word.to_owned(), rest.to_owned())))
            }
        }
    }
}

/// A configuration with one property changed. The value is as in the text form, and a bare number of percent or milliseconds is understood as well.
pub fn altered(config: &Config, key: &str, value: &str) -> Result<Config, ConfigError> {
    let key = key.trim().replace('-', "_");
    let bare = value.ends_with(|last: char| last.is_ascii_digit());
    let unit = match key.as_str() {
        "loss" | "burst_loss" | "burst_density" | "duplicate" | "reorder" if bare => "%",
        "delay" | "jitter" | "coherence" | "reorder_by" | "queue" if bare => "ms",
        _ => "",
    };
    let text = config.to_string();
    let others = text.split(',').filter(|part| *part != "perfect" && part.split_once('=').is_none_or(|(other, _)| other != key));
    let changed = format!("{key}={value}{unit}");
    others.chain([changed.as_str()]).collect::<Vec<_>>().join(",").parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        text.parse().unwrap()
    }

    #[test]
    fn one_property_changes_and_the_others_stay() {
        let line = config("loss=5%,delay=60ms,rate=2Mbit/s");
        assert_eq!(altered(&line, "loss", "30").unwrap(), config("loss=30%,delay=60ms,rate=2Mbit/s"));
        assert_eq!(altered(&line, "delay", "1s").unwrap(), config("loss=5%,delay=1s,rate=2Mbit/s"));
        assert_eq!(altered(&line, "reorder-by", "25").unwrap(), config("loss=5%,delay=60ms,rate=2Mbit/s,reorder_by=25ms"));
        assert_eq!(altered(&line, "rate", "unlimited").unwrap(), config("loss=5%,delay=60ms"));
        assert_eq!(altered(&Config::default(), "jitter", "10").unwrap(), config("jitter=10ms"));
        assert!(altered(&line, "lost", "30").unwrap_err().to_string().contains("there is no `lost`"));
        assert!(altered(&line, "loss", "30,delay=1s").is_err(), "twice");
    }

    #[test]
    fn commands_are_read() {
        for (text, command) in [
            ("line loss=5%,delay=30ms", Command::Change(Scope::Both, Change::To(Box::new(config("loss=5%,delay=30ms"))))),
            ("out perfect", Command::Change(Scope::Out, Change::To(Box::default()))),
            ("  in   rate=1Mbit/s ", Command::Change(Scope::In, Change::To(Box::new(config("rate=1Mbit/s"))))),
            ("loss 30", Command::Change(Scope::Both, Change::Only("loss".into(), "30".into()))),
            ("hole 6s", Command::Hole(Duration::from_secs(6))),
            ("cut tcp", Command::Cut(Protocols { tcp: true, ..Protocols::NONE })),
            ("cut all", Command::Cut(Protocols::ALL)),
            ("cut plain", Command::CutPlain),
            ("mend", Command::Mend),
            ("down", Command::Down),
            ("address", Command::Address(None)),
            ("address 10.0.0.7", Command::Address(Some(Ipv4Addr::new(10, 0, 0, 7)))),
            ("rebind", Command::Rebind),
            ("quit", Command::Quit),
        ] {
            assert_eq!(text.parse(), Ok(command), "{text}");
        }
    }

    #[test]
    fn what_is_no_command_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "nothing was said"),
            ("lose 5", "there is no `lose`; there are delay"),
            ("loss much", "loss: `much` is not a ratio"),
            ("hole", "is not a duration"),
            ("cut sctp", "none of tcp, udp, all, plain"),
            ("address here", "no IPv4 address"),
            ("mend it", "`mend` takes nothing more"),
            ("line loss=5", "out of range"),
        ] {
            let said = text.parse::<Command>().unwrap_err().to_string();
            assert!(said.contains(reason), "{text:?}: {said}");
        }
    }
}
