//! The forwarder without sockets: what its own code costs a datagram, beside the sealing in it.
//!
//! One publisher's bursts of three packets, as real clients' in the patterns of [`crate::clients`], go to subscribers whose packets are numbered. Between two bursts
//! a server has slept, and its clients have run on the same cores: *cold*, 64 MiB of something else are read before each burst, so that no
//! cache has anything of the forwarder's; *warm*, nothing is.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use switchyard_forward::{
    Batch, Command, Config, Event, Forwarder, Origin, Path, Received, Remote, Run, SocketId, TrackKey, TrunkPacket, Wire, WorkerIndex,
};

use crate::floor::Floor;
use crate::support::{Client, extensions};
use crate::{Scale, median};

const WORKER: WorkerIndex = WorkerIndex(0);
const TRACK: TrackKey = TrackKey(1);
const PAYLOAD: usize = 1_150;
const BURST: usize = 3;
const EVERY: Duration = Duration::from_millis(12);
/// Read between two bursts: more than any cache of most machines holds.
const OTHER: usize = 64 << 20;
/// Bytes of the batch for each datagram.
const STRIDE: usize = 2_048;

pub fn run(scale: Scale) -> anyhow::Result<()> {
    println!("Alone: bursts of {BURST} packets of {PAYLOAD} bytes, {} interleaved rounds", scale.rounds);
    println!("  subscribers   caches   forwarder ns   sealing ns   beside it (min … max)");
    for subscribers in [50, 200] {
        let (mut alone, mut bare) = (Alone::new(subscribers)?, Bare::new(subscribers)?);
        let other = vec![1_u64; OTHER / 8];
        for (name, other) in [("warm", &other[..0]), ("cold", &other[..])] {
            let bursts = scale.datagrams / (subscribers * BURST);
            let (mut ours, mut floor) = (Vec::new(), Vec::new());
            for _ in 0..scale.rounds {
                ours.push(alone.measure(bursts, other)?);
                floor.push(bare.measure(bursts, other)?);
            }
            let beside: Vec<f64> = ours.iter().zip(&floor).map(|(ours, floor)| ours - floor).collect();
            println!(
                "  {subscribers:11}   {name}     {:12.0}   {:10.0}   {:9.0} ({:.0} … {:.0})",
                median(ours.clone()),
                median(floor.clone()),
                median(beside.clone()),
                beside.iter().copied().fold(f64::INFINITY, f64::min),
                beside.iter().copied().fold(0.0, f64::max),
            );
        }
    }
    Ok(())
}

/// Takes what is sent, and counts it.
#[derive(Default)]
struct Sink {
    datagrams: usize,
}

impl Wire for Sink {
    fn send(&mut self, _: &[u8], runs: &[Run]) {
        self.datagrams += runs.iter().map(|run| run.len.div_ceil(run.segment)).sum::<usize>();
    }

    fn hand_over(&mut self, _: WorkerIndex, _: &Path, _: Instant, _: &[u8]) {}
    fn trunk(&mut self, _: WorkerIndex, _: &TrunkPacket, _: &[u8]) {}
    fn fetch(&self, at: *const u8, len: usize) {
        switchyard_worker::fetch(at, len);
    }
    fn deliver(&mut self) {}
    fn tell(&mut self, _: WorkerIndex, _: Remote) {}
    fn event(&mut self, _: Event) {}
}

/// The median time of a burst's datagram, in nanoseconds, where each burst takes `burst`, and returns how many datagrams it was.
fn time(bursts: usize, other: &[u64], mut burst: impl FnMut(&mut Duration) -> anyhow::Result<usize>) -> anyhow::Result<f64> {
    let mut took = Vec::with_capacity(bursts);
    for _ in 0..bursts.max(20) {
        black_box(other.iter().copied().fold(0, u64::wrapping_add));
        let mut spent = Duration::ZERO;
        let datagrams = burst(&mut spent)?;
        anyhow::ensure!(datagrams > 0, "nothing was sent");
        took.push(spent.as_nanos() as f64 / datagrams as f64);
    }
    Ok(median(took))
}

/// A forwarder with a room on it.
struct Alone {
    forwarder: Forwarder,
    publisher: Client,
    batch: Batch,
    sink: Sink,
    now: Instant,
    next: u64,
    subscribers: usize,
}

impl Alone {
    fn new(subscribers: usize) -> anyhow::Result<Self> {
        let now = Instant::now();
        let mut forwarder = Forwarder::new(Config { worker: WORKER, workers: 1, epoch: now, epoch_ntp: 0 });
        let mut sink = Sink::default();
        let server = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
        let (publisher, commands) = Client::new(WORKER, 0, server);
        let publishing = publisher.publishing(TRACK, 1);
        commands.into_iter().chain(publishing).for_each(|command| forwarder.handle_command(now, command, &mut sink));
        let received = Vec::with_capacity(BURST + 1);
        let mut alone =
            Self { forwarder, publisher, batch: Batch { bytes: vec![0; STRIDE * BURST], received }, sink, now, next: 0, subscribers };
        let request = alone.publisher.binding_request();
        alone.deliver(0, &[request]);
        for number in 1..=subscribers as u16 {
            let (client, commands) = Client::new(WORKER, number, server);
            commands.into_iter().for_each(|command| alone.command(command));
            alone.deliver(number, &[client.binding_request()]);
            client.subscribing(TRACK, extensions()).into_iter().for_each(|command| alone.command(command));
        }
        let keyframe = alone.seal(true, 1);
        alone.deliver(0, &keyframe);
        Ok(alone)
    }

    fn command(&mut self, command: Command) {
        self.forwarder.handle_command(self.now, command, &mut self.sink);
    }

    fn seal(&mut self, keyframe: bool, packets: u64) -> Vec<Vec<u8>> {
        self.next += packets;
        (self.next - packets..self.next).map(|index| self.publisher.seal(index, keyframe, PAYLOAD)).collect()
    }

    /// Has datagrams of a client's arrive; how long that took.
    fn deliver(&mut self, number: u16, datagrams: &[Vec<u8>]) -> Duration {
        self.now += EVERY;
        let path = Path {
            socket: SocketId::UDP,
            local: Ipv4Addr::LOCALHOST.into(),
            remote: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 10_000 + number),
        };
        for (place, datagram) in datagrams.iter().enumerate() {
            let start = place * STRIDE;
            self.batch.bytes[start..start + datagram.len()].copy_from_slice(datagram);
            self.batch.received.push(Received { start, len: datagram.len(), origin: Origin::Path { path, at: self.now } });
        }
        let began = Instant::now();
        self.forwarder.handle_batch(self.now, &mut self.batch, &mut self.sink);
        began.elapsed()
    }

    fn measure(&mut self, bursts: usize, other: &[u64]) -> anyhow::Result<f64> {
        // Consent to receive lasts 30 s of its time (RFC 7675), and so do publishers' reports: this clock goes on as it likes, so nothing times out.
        time(bursts, other, |spent| {
            let packets = self.seal(false, BURST as u64);
            let before = self.sink.datagrams;
            *spent = self.deliver(0, &packets);
            let sent = self.sink.datagrams - before;
            anyhow::ensure!(sent >= self.subscribers * BURST, "{sent} datagrams: {:?}", self.forwarder.drops());
            Ok(sent)
        })
    }
}

/// The sealing alone.
struct Bare {
    floor: Floor,
    packets: Vec<Vec<u8>>,
}

impl Bare {
    fn new(subscribers: usize) -> anyhow::Result<Self> {
        let sinks = (0..subscribers).map(|_| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1));
        let mut floor = Floor::new(std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, sinks)?;
        floor.mute();
        // A header with a number, as subscribers get it.
        Ok(Self { floor, packets: vec![vec![0x5a; 12 + 8 + PAYLOAD]; BURST] })
    }

    fn measure(&mut self, bursts: usize, other: &[u64]) -> anyhow::Result<f64> {
        let packets: Vec<&[u8]> = self.packets.iter().map(Vec::as_slice).collect();
        time(bursts, other, |spent| {
            let before = self.floor.datagrams;
            let began = Instant::now();
            self.floor.send(&packets)?;
            *spent = began.elapsed();
            Ok(self.floor.datagrams - before)
        })
    }
}
