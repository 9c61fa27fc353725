//! The real program with real DTLS clients, beside a bare loop with the same pattern.

pub mod child;

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::Context;
use switchyard_load::traffic::{FixedConfig, Model, ModelConfig};

use crate::cpu::{self, CpuClock};
use crate::floor::Floor;
use crate::{Scale, median};

/// Bytes of each payload; 25 frames a second, in bursts of three packets 5 ms apart.
const PAYLOAD: u16 = 1150;

/// Who sends how much to whom.
#[derive(Clone, Copy)]
pub struct Pattern {
    name: &'static str,
    /// The first participants publish, …
    pub publishers: usize,
    /// … and so many are there in all. Each receives from every publisher but itself.
    pub participants: usize,
    /// Packets a second of each publisher.
    pub rate: u32,
}

impl Pattern {
    const ALL: [Pattern; 3] = [
        Pattern { name: "W1: 1 → 50 at 250/s", publishers: 1, participants: 51, rate: 250 },
        Pattern { name: "W2: 10 all to all at 250/s", publishers: 10, participants: 10, rate: 250 },
        Pattern { name: "W3: 1 → 200 at 100/s", publishers: 1, participants: 201, rate: 100 },
    ];

    /// Packets delivered in a second.
    fn deliveries(self) -> usize {
        self.publishers * (self.participants - 1) * self.rate as usize
    }

    fn arguments(self) -> [String; 3] {
        [self.publishers.to_string(), self.participants.to_string(), self.rate.to_string()]
    }

    /// What [`Pattern::arguments`] made.
    pub fn parse(publishers: &str, participants: &str, rate: &str) -> anyhow::Result<Self> {
        Ok(Self { name: "", publishers: publishers.parse()?, participants: participants.parse()?, rate: rate.parse()? })
    }

    /// What a publisher sends.
    pub fn model(self, publisher: usize) -> anyhow::Result<Model> {
        let spacing = Duration::from_millis(5);
        let fixed = FixedConfig { packets_per_second: self.rate, payload: PAYLOAD, fps: 25, burst: 3, spacing };
        Ok(Model::new(&ModelConfig::Fixed(fixed), publisher as u64, Instant::now())?)
    }
}

pub fn run(scale: Scale) -> anyhow::Result<()> {
    println!("Clients: {PAYLOAD} bytes in bursts of three, {} rounds of {} s", scale.rounds, scale.seconds);
    println!("  pattern                      server µs   floor µs   ratio (min … max)      packets/s, of");
    Pattern::ALL.into_iter().try_for_each(|pattern| compare(pattern, scale))
}

fn compare(pattern: Pattern, scale: Scale) -> anyhow::Result<()> {
    let mut server = Server::start()?;
    let url = format!("ws://{}/v1/ws", server.http);
    let [publishers, participants, rate] = pattern.arguments();
    let mut clients = Other::start(&["clients-child", &url, &publishers, &participants, &rate])?;
    clients.expect("ready")?;
    let (mut floor, floor_clock) = start_floor(pattern)?;

    let (mut whole, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        whole.push(measure(&mut clients, CpuClock::of_process(server.child.id()), scale)?);
        bare.push(measure(&mut floor, floor_clock, scale)?);
    }
    anyhow::ensure!(server.child.try_wait()?.is_none(), "the server has ended");
    let of = |rounds: &[(f64, f64)], what: fn(&(f64, f64)) -> f64| median(rounds.iter().map(what).collect());
    let ratios: Vec<f64> = whole.iter().zip(&bare).map(|(whole, bare)| whole.0 / bare.0).collect();
    println!(
        "  {:26} {:11.2}   {:8.2}   {:5.2} ({:.2} … {:.2})     {:.0} / {:.0}, {}",
        pattern.name,
        of(&whole, |round| round.0),
        of(&bare, |round| round.0),
        median(ratios.clone()),
        ratios.iter().copied().fold(f64::INFINITY, f64::min),
        ratios.iter().copied().fold(0.0, f64::max),
        of(&whole, |round| round.1),
        of(&bare, |round| round.1),
        pattern.deliveries(),
    );
    Ok(())
}

/// One round: CPU by received packet in microseconds, and packets received in a second.
fn measure(other: &mut Other, clock: CpuClock, scale: Scale) -> anyhow::Result<(f64, f64)> {
    other.say("start")?;
    // Keyframes, first reports.
    std::thread::sleep(Duration::from_secs(1));
    let (before, cpu) = (other.count()?, clock.read()?);
    std::thread::sleep(Duration::from_secs(scale.seconds));
    let (packets, cpu) = (other.count()? - before, clock.read()? - cpu);
    other.say("stop")?;
    anyhow::ensure!(packets > 0, "nothing came");
    Ok((cpu.as_secs_f64() * 1e6 / packets as f64, packets as f64 / scale.seconds as f64))
}

/// The program, on free ports. Killed when dropped.
struct Server {
    child: Child,
    http: SocketAddr,
}

impl Server {
    fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .args(["serve", "--dev", "--http", "127.0.0.1:0", "--media-port", "0", "--log", "warn"])
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the program")?;
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().context("piped")?);
        lines.read_line(&mut line)?;
        // It may have more to say: somebody has to read it.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        let http = line.strip_prefix("listening http=").and_then(|rest| rest.split_once(' ')).context("a ready line")?.0;
        Ok(Self { http: http.parse()?, child })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This program again in another process: who publishes and receives. It is told lines and tells lines; it ends with its input.
struct Other {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Other {
    fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take().context("piped")?);
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    fn say(&mut self, line: &str) -> anyhow::Result<()> {
        Ok(writeln!(self.input.as_mut().context("open until dropped")?, "{line}")?)
    }

    fn hear(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        anyhow::ensure!(self.output.read_line(&mut line)? > 0, "the other process has ended");
        Ok(line.trim_end().to_owned())
    }

    fn expect(&mut self, wanted: &str) -> anyhow::Result<()> {
        let line = self.hear()?;
        anyhow::ensure!(line == wanted, "{line:?} instead of {wanted:?}");
        Ok(())
    }

    /// Packets received so far by everyone there.
    fn count(&mut self) -> anyhow::Result<u64> {
        self.say("count")?;
        Ok(self.hear()?.parse()?)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// The bare loop on a thread of this process, its publishers and sinks in another. It knows a publisher by the byte behind the header.
fn start_floor(pattern: Pattern) -> anyhow::Result<(Other, CpuClock)> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    let [publishers, participants, rate] = pattern.arguments();
    let mut other = Other::start(&["sinks-child", &socket.local_addr()?.to_string(), &publishers, &participants, &rate])?;
    let sinks = (0..pattern.participants).map(|_| Ok(other.hear()?.parse()?)).collect::<anyhow::Result<Vec<SocketAddr>>>()?;
    other.expect("ready")?;
    let mut floor = Floor::new(socket, sinks)?;
    let (tell, told) = channel();
    // Ends with the process.
    std::thread::Builder::new().name("floor".into()).spawn(move || {
        let _ = tell.send(cpu::this_thread());
        let mut packets = vec![Vec::new(); 256];
        loop {
            let received = floor.receive(&mut packets).and_then(|count| {
                // What one publisher sent at once goes to each of the others at once.
                for publisher in 0..pattern.publishers {
                    let theirs = packets[..count].iter().filter(|packet| usize::from(packet[12]) == publisher);
                    let theirs: Vec<&[u8]> = theirs.map(Vec::as_slice).collect();
                    floor.add(&theirs, Some(publisher))?;
                }
                floor.flush()
            });
            if let Err(error) = received {
                eprintln!("the floor stops: {error:#}");
                return;
            }
        }
    })?;
    Ok((other, CpuClock::of_thread(told.recv().context("the floor's thread")??)))
}
