//! The real worker beside the bare loop, frame after frame.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::Context;

use crate::cpu::{self, CpuClock};
use crate::floor::Floor;
use crate::sinks::{Taken, drain};
use crate::through::{Cost, FRAMES, Layout, Through, WAITING};
use crate::{Scale, median};

pub fn run(scale: Scale) -> anyhow::Result<()> {
    println!("Saturated: frames of {FRAMES:?} packets, sinks on loopback emptied between frames, {} interleaved rounds", scale.rounds);
    println!("  subscribers   worker µs   floor µs   ratio (min … max)      packets a run    packets a call   bytes");
    for subscribers in [20, 100, 500] {
        let mut worker = Through::new(subscribers, Layout::One)?;
        // Warm-up, and what the worker makes of the frames: that is what the floor sends.
        let (_, shape) = worker.measure(FRAMES.iter().sum::<usize>() * subscribers)?;
        let frames = frames_of(&shape.lengths);
        let bytes = shape.bytes / shape.media.max(1);
        let mut floor = Bare::new(subscribers, &frames)?;
        floor.measure(scale.datagrams / 10)?;
        let (mut through, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..scale.rounds {
            through.push(worker.measure(scale.datagrams)?.0);
            bare.push(floor.measure(scale.datagrams)?);
        }
        let ratios: Vec<f64> = through.iter().zip(&bare).map(|(through, bare)| through.micros / bare.micros).collect();
        let of = |costs: &[Cost], what: fn(&Cost) -> f64| median(costs.iter().map(what).collect());
        println!(
            "  {subscribers:11}   {:9.3}   {:8.3}   {:5.2} ({:.2} … {:.2})     {:5.2} / {:5.2}    {:6.1} / {:6.1}    {bytes}",
            of(&through, |cost| cost.micros),
            of(&bare, |cost| cost.micros),
            median(ratios.clone()),
            ratios.iter().copied().fold(f64::INFINITY, f64::min),
            ratios.iter().copied().fold(0.0, f64::max),
            of(&through, |cost| cost.datagrams as f64 / cost.runs),
            of(&bare, |cost| cost.datagrams as f64 / cost.runs),
            of(&through, |cost| cost.datagrams as f64 / cost.calls),
            of(&bare, |cost| cost.datagrams as f64 / cost.calls),
        );
    }
    Ok(())
}

/// Splits what one sink took from one round of [`FRAMES`] into frames of plaintext of the same lengths. Where the worker woke in the middle
/// of a frame, and did not level all of its packets, the floor has them level: it never has shorter runs than the frames allow.
fn frames_of(lengths: &[usize]) -> Vec<Vec<Vec<u8>>> {
    let mut rest = lengths;
    FRAMES
        .iter()
        .map(|&count| {
            let (frame, after) = rest.split_at(count);
            rest = after;
            // Less the tag, which sealing adds.
            let len = frame.iter().max().map_or(0, |len| len - 16);
            vec![vec![0x5a; len]; count]
        })
        .collect()
}

/// The bare loop on its own thread.
struct Bare {
    clock: CpuClock,
    sinks: Vec<UdpSocket>,
    packets: Vec<usize>,
    work: Sender<usize>,
    /// Runs and system calls so far.
    totals: (usize, usize),
    done: Receiver<anyhow::Result<(usize, usize)>>,
}

impl Bare {
    fn new(subscribers: usize, frames: &[Vec<Vec<u8>>]) -> anyhow::Result<Self> {
        let sinks = (0..subscribers).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<Vec<_>, _>>()?;
        sinks.iter().try_for_each(|sink| sink.set_nonblocking(true))?;
        let addresses = sinks.iter().map(UdpSocket::local_addr).collect::<Result<Vec<SocketAddr>, _>>()?;
        let mut floor = Floor::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, addresses)?;
        let packets = frames.iter().map(Vec::len).collect();
        let frames = frames.to_vec();
        let (work, orders) = channel::<usize>();
        let (finished, done) = channel();
        let (tell, told) = channel();
        std::thread::Builder::new().name("floor".into()).spawn(move || {
            let _ = tell.send(cpu::this_thread());
            while let Ok(frame) = orders.recv() {
                let packets: Vec<&[u8]> = frames[frame].iter().map(Vec::as_slice).collect();
                let sent = floor.send(&packets).map(|()| (floor.runs_sent, floor.calls));
                if finished.send(sent).is_err() {
                    break;
                }
            }
        })?;
        let tid = told.recv().context("the floor's thread")??;
        Ok(Self { clock: CpuClock::of_thread(tid), sinks, packets, work, totals: (0, 0), done })
    }

    fn measure(&mut self, datagrams: usize) -> anyhow::Result<Cost> {
        let rounds = datagrams.div_ceil(self.sinks.len() * self.packets.iter().sum::<usize>());
        let cpu = self.clock.read()?;
        let mut taken = Taken::default();
        let (mut waiting, before) = (0, self.totals);
        for frame in (0..self.packets.len()).cycle().take(rounds * self.packets.len()) {
            self.work.send(frame)?;
            self.totals = self.done.recv()??;
            waiting += self.packets[frame];
            if waiting + self.packets.iter().max().unwrap_or(&0) > WAITING {
                drain(&self.sinks, &mut taken);
                waiting = 0;
            }
        }
        drain(&self.sinks, &mut taken);
        let cpu = self.clock.read()? - cpu;
        let expected = rounds * self.packets.iter().sum::<usize>() * self.sinks.len();
        let all = taken.media + taken.other;
        anyhow::ensure!(all == expected, "{all} of {expected} came");
        Ok(Cost {
            micros: cpu.as_secs_f64() * 1e6 / all as f64,
            datagrams: all,
            runs: (self.totals.0 - before.0) as f64,
            calls: (self.totals.1 - before.1) as f64,
        })
    }
}
