//! Measures a line that runs: sends numbered, stamped datagrams both ways at the same time and says, as JSON, what became of them. Needs root.
//!
//! `probe --namespace switchyard-line-1 --near 10.213.1.2 --far 10.213.1.1 --packets 5000 --interval-us 1000`

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use serde::Serialize;
use switchyard_line::in_namespace;

/// Without a packet for so long, there are no more.
const SILENCE: Duration = Duration::from_millis(1_500);

/// Bytes of a socket's queue: half a second of 100 Mbit/s, as the kernel counts.
const RECEIVE_BUFFER: usize = 16 << 20;

#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    namespace: String,
    #[arg(long)]
    near: Ipv4Addr,
    #[arg(long)]
    far: Ipv4Addr,
    /// For each direction
    #[arg(long, default_value_t = 1_000)]
    packets: u64,
    /// Between two of them, in microseconds
    #[arg(long, default_value_t = 1_000)]
    interval_us: u64,
    /// Bytes of payload
    #[arg(long, default_value_t = 1_172)]
    size: usize,
}

/// What became of one direction's packets. Times in milliseconds, from before the sending call to after the receiving one.
#[derive(Default, Serialize)]
struct Report {
    sent: u64,
    received: usize,
    lost: f64,
    /// That came behind one sent later.
    reordered: u64,
    mean: f64,
    deviation: f64,
    min: f64,
    p50: f64,
    p99: f64,
    max: f64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let near = in_namespace(&arguments.namespace, || UdpSocket::bind((arguments.near, 0)))?.context("binding inside")?;
    let far = UdpSocket::bind((arguments.far, 0)).context("binding outside")?;
    let (near_address, far_address) = (near.local_addr()?, far.local_addr()?);
    for socket in [&near, &far] {
        socket.set_read_timeout(Some(SILENCE))?;
        // Holds what comes while this program has to wait for the processor.
        setsockopt(socket, RcvBufForce, &RECEIVE_BUFFER)?;
    }
    let start = Instant::now();
    let (out, inward) = std::thread::scope(|scope| {
        let out = scope.spawn(|| receive(&far, &arguments, start));
        let inward = scope.spawn(|| receive(&near, &arguments, start));
        let sender = scope.spawn(|| send(&near, far_address, &arguments, start));
        let sent = send(&far, near_address, &arguments, start);
        let join = "no thread panics";
        sender.join().expect(join).and(sent).and(Ok((out.join().expect(join)?, inward.join().expect(join)?)))
    })?;
    println!("{}", serde_json::json!({ "out": out, "in": inward }));
    Ok(())
}

fn send(from: &UdpSocket, to: std::net::SocketAddr, arguments: &Arguments, start: Instant) -> anyhow::Result<()> {
    let mut packet = vec![0; arguments.size.max(16)];
    for number in 0..arguments.packets {
        let due = start + Duration::from_micros(number * arguments.interval_us);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        packet[..8].copy_from_slice(&number.to_be_bytes());
        packet[8..16].copy_from_slice(&(start.elapsed().as_nanos() as u64).to_be_bytes());
        from.send_to(&packet, to)?;
    }
    Ok(())
}

fn receive(at: &UdpSocket, arguments: &Arguments, start: Instant) -> anyhow::Result<Report> {
    let mut packet = [0; 2_048];
    let mut delays = Vec::new();
    let (mut reordered, mut next) = (0, 0);
    while let Ok((length, _)) = at.recv_from(&mut packet) {
        let now = start.elapsed().as_nanos() as u64;
        anyhow::ensure!(length >= 16, "a packet of somebody else");
        let word = |at: usize| u64::from_be_bytes(std::array::from_fn(|index| packet[at + index]));
        let (number, sent) = (word(0), word(8));
        delays.push((now - sent) as f64 / 1e6);
        reordered += u64::from(number < next);
        next = next.max(number + 1);
    }
    if delays.is_empty() {
        return Ok(Report { sent: arguments.packets, lost: 1.0, ..Report::default() });
    }
    let received = delays.len();
    let mean = delays.iter().sum::<f64>() / received as f64;
    let deviation = (delays.iter().map(|delay| (delay - mean).powi(2)).sum::<f64>() / received as f64).sqrt();
    delays.sort_by(f64::total_cmp);
    let at = |share: f64| delays[((received - 1) as f64 * share) as usize];
    let lost = 1.0 - received as f64 / arguments.packets as f64;
    Ok(Report {
        sent: arguments.packets,
        received,
        lost,
        reordered,
        mean,
        deviation,
        min: at(0.0),
        p50: at(0.5),
        p99: at(0.99),
        max: at(1.0),
    })
}
