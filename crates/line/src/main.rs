//! `switchyard-line`: makes a line and runs until told to end.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use switchyard_line::bridge::{Counts, Lateness};
use switchyard_line::{Bridge, Command, Namespace, Pump, altered};
use switchyard_netem::Config;
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// How often the counts on the terminal are renewed.
const REFRESH: Duration = Duration::from_secs(1);
/// How long a command has after it was asked to end.
const GRACE: Duration = Duration::from_secs(5);
/// Commands that may wait to be done: more than anybody types ahead; the reader waits then.
const WAITING: usize = 16;

/// A bad network line: a namespace whose only way out leads through it, to this machine. Needs root.
///
/// What is said about the line holds for each direction: a delay of 30 ms makes a round trip of 60. Without a command the line lasts until it is
/// interrupted or its input ends, and takes commands, one a line; `help` lists them.
#[derive(Debug, Parser)]
#[command(name = "switchyard-line", version)]
struct Arguments {
    /// The line in full, both ways: loss=5%,delay=30ms,rate=2Mbit/s,rate@10s=500kbit/s,… What the other options say replaces a part of it
    #[arg(long, value_name = "CONFIG", default_value = "perfect")]
    line: Config,
    /// Packets lost, in percent
    #[arg(long, value_name = "PERCENT")]
    loss: Option<String>,
    /// Packets lost in bursts, in percent of all
    #[arg(long, value_name = "PERCENT")]
    burst: Option<String>,
    /// Delay one way, in milliseconds or with a unit
    #[arg(long, value_name = "TIME")]
    delay: Option<String>,
    /// Standard deviation of the delay, in milliseconds or with a unit
    #[arg(long, value_name = "TIME")]
    jitter: Option<String>,
    /// Packets held back so that others overtake them, in percent
    #[arg(long, value_name = "PERCENT")]
    reorder: Option<String>,
    /// What the line carries, such as 2Mbit/s
    #[arg(long, value_name = "RATE")]
    rate: Option<String>,
    /// What waits for it at most, in milliseconds, or with a unit: 200ms, 64KiB
    #[arg(long, value_name = "SIZE")]
    queue: Option<String>,
    /// Another line for what goes out of the namespace
    #[arg(long, value_name = "CONFIG")]
    out: Option<Config>,
    /// Another line for what comes into the namespace
    #[arg(long = "in", value_name = "CONFIG")]
    inward: Option<Config>,
    /// Take addresses that programs don't think private: 198.18.0.0/16, which is for measurements (RFC 2544)
    #[arg(long)]
    public: bool,
    /// Of the randomness: the same seed and packets meet the same fate
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// A program to run behind the line, which ends with it
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Arguments {
    /// The directions out and in.
    fn configs(&self) -> anyhow::Result<[Config; 2]> {
        let mut line = self.line.clone();
        let options = [
            ("loss", &self.loss),
            ("burst_loss", &self.burst),
            ("delay", &self.delay),
            ("jitter", &self.jitter),
            ("reorder", &self.reorder),
            ("rate", &self.rate),
            ("queue", &self.queue),
        ];
        for (key, value) in options {
            if let Some(value) = value {
                line = altered(&line, key, value)?;
            }
        }
        let direction = |own: &Option<Config>| own.clone().unwrap_or_else(|| line.clone());
        Ok([direction(&self.out), direction(&self.inward)])
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let [out, inward] = arguments.configs()?;
    if !geteuid().is_root() {
        bail!("only root may make network namespaces: run it with sudo");
    }
    // Before there is anything to clean up.
    let mut signals = Signals::new()?;
    let bridge = Bridge::new(out, inward, arguments.seed, Instant::now())?;
    let (namespace, pump) = Namespace::create(bridge, arguments.public)?;
    let mut line = Running { namespace, pump, display: Display::new() };
    if arguments.command.is_empty() {
        line.take_commands(&mut signals).await?;
        return Ok(ExitCode::SUCCESS);
    }
    line.carry(&arguments.command, &mut signals).await
}

/// What asks the program to end.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Resolves with whether the terminal said so, which then has told the programs that run in it as well.
    async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.interrupt.recv() => true,
            _ = self.terminate.recv() => false,
            _ = self.hang_up.recv() => false,
        }
    }
}

struct Running {
    // Dropped in this order: first the thread with the devices, then the namespace.
    display: Display,
    pump: Pump,
    namespace: Namespace,
}

impl Running {
    /// Takes commands until there are no more. Each is answered by one line: `ok`, `error REASON`, or what was asked for.
    async fn take_commands(&mut self, signals: &mut Signals) -> anyhow::Result<()> {
        let Self { namespace, .. } = self;
        say(&format!("ready namespace={} near={} far={}", namespace.name(), namespace.near(), namespace.far()))?;
        if self.display.shown {
            eprintln!("run programs behind the line: ip netns exec {} PROGRAM", namespace.name());
            eprintln!("they reach this machine at {}; type help for what can be changed, quit to end", namespace.far());
        }
        let mut commands = read_lines();
        let mut refresh = tokio::time::interval(REFRESH);
        loop {
            tokio::select! {
                text = commands.recv() => {
                    let Some(text) = text else { break };
                    match text.parse() {
                        Ok(Command::Quit) => {
                            say("ok")?;
                            break;
                        }
                        Ok(command) => match self.act(command) {
                            Ok(answer) => say(&answer)?,
                            Err(error) => say(&format!("error {error:#}"))?,
                        },
                        Err(error) => say(&format!("error {error}"))?,
                    }
                }
                _ = signals.next() => break,
                _ = refresh.tick() => self.refresh()?,
            }
        }
        let left = self.namespace.processes()?;
        if !left.is_empty() {
            eprintln!("these processes still run behind the line, without a network from now on: {left:?}");
        }
        Ok(())
    }

    fn act(&mut self, command: Command) -> anyhow::Result<String> {
        let mut bridge = self.pump.bridge();
        let now = Instant::now();
        match command {
            Command::Change(scope, change) => bridge.change(now, scope, &change)?,
            Command::Hole(length) => bridge.hole(now, length),
            Command::Cut(protocols) => bridge.cut(protocols),
            Command::CutPlain => bridge.cut_plain(),
            Command::Mend => bridge.mend(),
            Command::Rebind => bridge.rebind(),
            Command::Counts => {
                let ([out, inward], late) = (bridge.counts(now), bridge.take_lateness());
                drop(bridge);
                return Ok(serde_json::json!({ "out": out, "in": inward, "late": late }).to_string());
            }
            Command::Help => return Ok(switchyard_line::HELP.to_owned()),
            Command::Quit => {}
            // These take the time of a few system calls, during which packets go on.
            Command::Down | Command::Up | Command::Address(_) => {
                drop(bridge);
                match command {
                    Command::Down => self.namespace.down()?,
                    Command::Up => self.namespace.up()?,
                    Command::Address(address) => {
                        self.namespace.set_address(address)?;
                        return Ok(format!("ok near={}", self.namespace.near()));
                    }
                    _ => {}
                }
            }
        }
        Ok("ok".to_owned())
    }

    /// Runs a program behind the line; its exit code.
    async fn carry(&mut self, command: &[String], signals: &mut Signals) -> anyhow::Result<ExitCode> {
        let name = self.namespace.name();
        if self.display.shown {
            eprintln!(
                "this machine is at {}; in another terminal, run programs behind the line with ip netns exec {name} PROGRAM",
                self.namespace.far()
            );
        }
        // The program owns the terminal, so nothing is shown on it before the end.
        let mut child = tokio::process::Command::new("ip")
            .args(["netns", "exec", name])
            .args(command)
            .env("SWITCHYARD_LINE_FAR", self.namespace.far().to_string())
            .kill_on_drop(true)
            .spawn()
            .context("starting `ip`, which is iproute2's")?;
        let mut refresh = tokio::time::interval(REFRESH);
        let status = loop {
            tokio::select! {
                status = child.wait() => break status?,
                by_terminal = signals.next() => if !by_terminal {
                    break end(&mut child).await?;
                },
                _ = refresh.tick() => if self.pump.has_ended() {
                    bail!("the line broke");
                },
            }
        };
        if self.display.shown {
            self.display.show(&self.pump);
            eprintln!();
        }
        Ok(status.code().map_or(ExitCode::FAILURE, |code| ExitCode::from(code as u8)))
    }

    fn refresh(&mut self) -> anyhow::Result<()> {
        if self.pump.has_ended() {
            bail!("the line broke");
        }
        if self.display.shown {
            self.display.show(&self.pump);
        }
        Ok(())
    }
}

/// Asks a program to end, and ends it when it doesn't.
async fn end(child: &mut Child) -> anyhow::Result<std::process::ExitStatus> {
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
        kill(Pid::from_raw(id), Signal::SIGTERM)?;
    }
    match tokio::time::timeout(GRACE, child.wait()).await {
        Ok(status) => Ok(status?),
        Err(_) => {
            child.kill().await?;
            Ok(child.wait().await?)
        }
    }
}

/// Writes a line that a program may read, at once.
fn say(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}

/// The lines of the standard input, read on a thread that ends with the process: a read can't be taken back.
fn read_lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(WAITING);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The line of counts on the terminal.
struct Display {
    shown: bool,
    before: [Counts; 2],
    at: Instant,
}

impl Display {
    fn new() -> Self {
        Self { shown: io::stderr().is_terminal(), before: [Counts::default(); 2], at: Instant::now() }
    }

    /// Writes it over the one before.
    fn show(&mut self, pump: &Pump) {
        let now = Instant::now();
        let (counts, delays, lateness) = {
            let mut bridge = pump.bridge();
            (bridge.counts(now), bridge.configs().map(|config| config.delay), bridge.take_lateness())
        };
        let seconds = (now - self.at).as_secs_f64().max(0.001);
        let part = |index: usize, name: &str| {
            let (counts, before) = (&counts[index], &self.before[index]);
            let (packets, lost) = (counts.packets - before.packets, counts.lost() - before.lost());
            format!(
                "{name} {:.2} Mbit/s, {:.0} packets/s, {:.1} % lost, {} on the way, queue {} ms, delay {} ms",
                (counts.bytes - before.bytes) as f64 * 8e-6 / seconds,
                packets as f64 / seconds,
                lost as f64 * 100.0 / packets.max(1) as f64,
                counts.on_the_way,
                counts.queue_ms,
                delays[index].as_millis(),
            )
        };
        let Lateness { over_1ms, .. } = lateness;
        let late = if over_1ms > 0 { format!(" | {over_1ms} packets late by more than 1 ms: this machine is busy") } else { String::new() };
        eprint!("\r\x1b[K{} | {}{late}", part(0, "out"), part(1, "in"));
        (self.before, self.at) = (counts, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_come_together_to_a_line() {
        let configs = |arguments: &str| Arguments::try_parse_from(format!("line {arguments}").split_whitespace()).unwrap().configs();
        let [out, inward] = configs("--loss 10 --delay 60 --rate 2Mbit/s --in delay=5ms --seed 7").unwrap();
        assert_eq!(out, "loss=10%,delay=60ms,rate=2Mbit/s".parse().unwrap());
        assert_eq!(inward, "delay=5ms".parse().unwrap());
        let [out, _] = configs("--line delay=60ms,burst_length=9 --burst 3 --jitter 5 --reorder 1 --queue 64KiB").unwrap();
        assert_eq!(out, "delay=60ms,burst_length=9,burst_loss=3%,jitter=5ms,reorder=1%,queue=64KiB".parse().unwrap());
        assert!(configs("--loss 101").is_err());
    }
}
