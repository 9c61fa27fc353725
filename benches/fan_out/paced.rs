//! Workers that are busy half of the time: how long a packet takes, and how much of that it waits between two workers.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::arrivals;
use crate::cpu::{self, CpuClock};
use crate::floor::{Floor, send_together};
use crate::through::{PAYLOAD, Through};

/// Packets sent at once, as a pacer does.
const BURST: usize = 3;
/// Sinks that are read, evenly among all. Nobody reads the others: what waits there is dropped by the kernel, from every sender alike.
const SAMPLED: usize = 5;
/// How long the last packets are waited for.
const STRAGGLERS: Duration = Duration::from_millis(500);

/// How it went.
pub struct Paced {
    /// Packets a second from the publisher.
    pub rate: f64,
    /// Share of the time that the busiest thread used the processor.
    pub busy: f64,
    /// From the publisher's system call until arrival at a subscriber's socket, in microseconds, sorted.
    pub latencies: Vec<f64>,
    /// Packets of those that should have arrived at the subscribers that are watched, and didn't.
    pub lost: usize,
    /// Waits between workers, in microseconds: how many, the median, the 99th percentile. Zero where there is one worker.
    pub waits: (u64, f64, f64),
}

impl Paced {
    /// A quantile of the latency.
    pub fn latency(&self, quantile: f64) -> f64 {
        let rank = (self.latencies.len() as f64 * quantile) as usize;
        self.latencies.get(rank.min(self.latencies.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
    }
}

/// Sends through the workers at `rate` packets a second, for `time`.
pub fn through(room: &mut Through, rate: f64, time: Duration) -> anyhow::Result<Paced> {
    let bursts = (rate * time.as_secs_f64() / BURST as f64).ceil() as usize;
    let packets: Vec<_> = (0..bursts).map(|_| room.seal(BURST).swap_remove(0)).collect();
    room.consent()?;
    let clocks = room.clocks.clone();
    let sinks: Vec<_> = room.subscribers.iter().map(|subscriber| &subscriber.socket).collect();
    let before = room.workers.waits();
    let mut paced = send(&room.publishers[0].socket, room.server, &packets, &sinks, &clocks, rate)?;
    let waits = room.workers.waits().since(&before);
    let micros = |quantile| waits.quantile(quantile).as_secs_f64() * 1e6;
    paced.waits = (waits.count(), micros(0.5), micros(0.99));
    Ok(paced)
}

/// The same through a bare loop to as many sinks.
pub fn bare(subscribers: usize, rate: f64, time: Duration) -> anyhow::Result<Paced> {
    let sinks = (0..subscribers).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<Vec<_>, _>>()?;
    sinks.iter().try_for_each(|sink| sink.set_nonblocking(true))?;
    let addresses = sinks.iter().map(UdpSocket::local_addr).collect::<Result<Vec<_>, _>>()?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    let SocketAddr::V4(server) = socket.local_addr()? else { anyhow::bail!("bound to IPv4") };
    let mut floor = Floor::new(socket, addresses)?;
    let publisher = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (tell, told) = channel();
    let over = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&over);
    let thread = std::thread::Builder::new().name("floor".into()).spawn(move || -> anyhow::Result<()> {
        let _ = tell.send(cpu::this_thread());
        let mut packets = vec![Vec::new(); 256];
        loop {
            let count = floor.receive(&mut packets)?;
            if is_over.load(Ordering::Relaxed) {
                return Ok(());
            }
            let received: Vec<&[u8]> = packets[..count].iter().map(Vec::as_slice).collect();
            floor.send(&received)?;
        }
    })?;
    let clock = CpuClock::of_thread(told.recv().context("the floor's thread")??);
    let bursts = (rate * time.as_secs_f64() / BURST as f64).ceil() as usize;
    let packet = |number: usize| {
        // An RTP header with its sequence number; what the extensions and the tag of a sealed packet add, too.
        let mut packet = vec![0x80; 12 + 12 + PAYLOAD + 16];
        packet[1] = 96;
        packet[2..4].copy_from_slice(&(number as u16).to_be_bytes());
        packet
    };
    let packets: Vec<Vec<_>> = (0..bursts).map(|burst| (0..BURST).map(|i| packet(burst * BURST + i)).collect()).collect();
    let paced = send(&publisher, server, &packets, &sinks.iter().collect::<Vec<_>>(), &[clock], rate)?;
    over.store(true, Ordering::Relaxed);
    publisher.send_to(&[0], server)?;
    thread.join().map_err(|_| anyhow::anyhow!("the floor's thread panicked"))??;
    Ok(paced)
}

fn send(
    publisher: &UdpSocket,
    server: SocketAddrV4,
    bursts: &[Vec<Vec<u8>>],
    sinks: &[&UdpSocket],
    clocks: &[CpuClock],
    rate: f64,
) -> anyhow::Result<Paced> {
    arrivals::sleep_exactly();
    let mut sampled: Vec<(&UdpSocket, Option<u16>)> = (0..SAMPLED).map(|i| (sinks[i * (sinks.len() - 1) / (SAMPLED - 1)], None)).collect();
    for (sink, _) in &sampled {
        arrivals::stamp(sink)?;
        while arrivals::next(sink).is_some() {}
    }
    let period = Duration::from_secs_f64(BURST as f64 / rate);
    let mut sent = vec![0; bursts.len()];
    let mut latencies = Vec::with_capacity(bursts.len() * BURST * SAMPLED);
    let before = clocks.iter().map(|clock| clock.read()).collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    let mut due = start;
    for (number, burst) in bursts.iter().enumerate() {
        due += period;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        sent[number] = arrivals::now()?;
        send_together(publisher, server, burst)?;
        // What came of the burst before: after the system call, so that its own work does not delay this one.
        collect(&mut sampled, &sent[..=number], &mut latencies);
    }
    let elapsed = start.elapsed().as_secs_f64();
    let used = clocks.iter().zip(&before).map(|(clock, before)| Ok(clock.read()? - *before)).collect::<anyhow::Result<Vec<_>>>()?;
    let expected = bursts.len() * BURST * SAMPLED;
    let patience = Instant::now() + STRAGGLERS;
    while latencies.len() < expected && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(1));
        collect(&mut sampled, &sent, &mut latencies);
    }
    let lost = expected - latencies.len();
    anyhow::ensure!(lost * 100 < expected, "{} of {expected} arrived", latencies.len());
    latencies.sort_unstable_by(f64::total_cmp);
    let busy = used.iter().map(|used| used.as_secs_f64() / elapsed).fold(0.0, f64::max);
    Ok(Paced { rate: (bursts.len() * BURST) as f64 / elapsed, busy, latencies, lost, waits: (0, 0.0, 0.0) })
}

/// Reads the sampled sinks. A datagram's number is its sequence number's distance from the sink's first; runs are shorter than 2^16 packets.
fn collect(sampled: &mut [(&UdpSocket, Option<u16>)], sent: &[i64], latencies: &mut Vec<f64>) {
    for (sink, first) in sampled {
        while let Some((sequence, at)) = arrivals::next(sink) {
            let number = usize::from(sequence.wrapping_sub(*first.get_or_insert(sequence)));
            if let Some(sent) = sent.get(number / BURST) {
                latencies.push((at - sent) as f64 / 1000.0);
            }
        }
    }
}
