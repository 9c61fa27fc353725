//! The real worker beside the bare loop, frame after frame.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use switchyard_forward::{TrackKey, WorkerIndex};
use switchyard_worker::{Config, Workers, start};

use crate::cpu::{self, CpuClock};
use crate::floor::{Floor, send_together};
use crate::sinks::{Taken, drain};
use crate::support::Client;
use crate::{Scale, median};

/// Packets of the frames, in turn.
const FRAMES: [usize; 8] = [3, 7, 4, 10, 5, 8, 6, 9];
/// Payload bytes of a frame's first packets; the others have one more.
const PAYLOAD: usize = 1085;
/// Packets that may wait in a sink. A socket with the usual buffer holds some 90 of this size.
const WAITING: usize = 40;
const PATIENCE: Duration = Duration::from_secs(20);

/// What one repetition cost.
struct Cost {
    micros: f64,
    datagrams: usize,
    runs: f64,
    calls: f64,
}

pub fn run(scale: Scale) -> anyhow::Result<()> {
    println!("Saturated: frames of {FRAMES:?} packets, sinks on loopback emptied between frames, {} interleaved rounds", scale.rounds);
    println!("  subscribers   worker µs   floor µs   ratio (min … max)      packets a run    packets a call   bytes");
    for subscribers in [20, 100, 500] {
        let mut worker = Through::new(subscribers)?;
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

/// One publisher and many subscribers on a real worker.
struct Through {
    workers: Workers,
    clock: CpuClock,
    publisher: Client,
    subscribers: Vec<Client>,
    next: u64,
    server: SocketAddrV4,
}

impl Through {
    fn new(subscribers: usize) -> anyhow::Result<Self> {
        let before = cpu::threads("media-")?;
        let (workers, events) = start(Config::default())?;
        // Nobody listens: the control plane is not measured.
        drop(events);
        // Threads name themselves as they begin.
        let deadline = Instant::now() + PATIENCE;
        let tid = loop {
            if let Some(&tid) = cpu::threads("media-")?.iter().find(|tid| !before.contains(tid)) {
                break tid;
            }
            anyhow::ensure!(Instant::now() < deadline, "the worker's thread doesn't begin");
        };
        let home = WorkerIndex(0);
        let publisher = Client::join(&workers, home, 0);
        publisher.publish(&workers, TrackKey(1));
        let subscribers: Vec<_> = (1..=subscribers as u16)
            .map(|number| {
                let client = Client::join(&workers, home, number);
                client.subscribe(&workers, TrackKey(1));
                client.socket.set_nonblocking(true).expect("non-blocking");
                client
            })
            .collect();
        publisher.socket.set_nonblocking(true)?;
        let server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, workers.port());
        let mut through = Self { workers, clock: CpuClock::of_thread(tid), publisher, subscribers, next: 0, server };
        through.begin()?;
        Ok(through)
    }

    /// Sends keyframes until every subscriber gets them.
    fn begin(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let keyframe = self.publisher.seal(self.next, true, PAYLOAD);
            self.next += 1;
            self.publisher.send(&keyframe);
            let mut waiting = 0;
            std::thread::sleep(Duration::from_millis(50));
            for subscriber in &self.subscribers {
                let mut taken = Taken::default();
                drain([&subscriber.socket], &mut taken);
                waiting += usize::from(taken.media == 0);
            }
            if waiting == 0 {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "{waiting} subscribers get nothing: {:?}", self.workers.counters());
        }
    }

    /// Has about `datagrams` delivered. Also what the sinks took.
    fn measure(&mut self, datagrams: usize) -> anyhow::Result<(Cost, Taken)> {
        // Beforehand, so that nothing but the worker's work happens on this machine meanwhile.
        let rounds = datagrams.div_ceil(self.subscribers.len() * FRAMES.iter().sum::<usize>());
        let frames: Vec<Vec<Vec<u8>>> = FRAMES
            .repeat(rounds)
            .into_iter()
            .map(|packets| {
                (0..packets)
                    .map(|i| {
                        self.next += 1;
                        self.publisher.seal(self.next - 1, false, PAYLOAD + usize::from(i >= packets / 2))
                    })
                    .collect()
            })
            .collect();
        let expected = frames.iter().map(Vec::len).sum::<usize>() * self.subscribers.len();

        self.consent()?;
        let (before, cpu) = (self.workers.counters(), self.clock.read()?);
        let mut taken = Taken::default();
        let (mut target, mut waiting) = (before.datagrams_out, 0);
        for frame in &frames {
            send_together(&self.publisher.socket, self.server, frame)?;
            target += (frame.len() * self.subscribers.len()) as u64;
            self.await_sent(target)?;
            waiting += frame.len();
            if waiting + FRAMES.iter().max().unwrap_or(&0) > WAITING {
                drain(self.subscribers.iter().map(|subscriber| &subscriber.socket), &mut taken);
                waiting = 0;
            }
        }
        self.await_taken(expected, &mut taken)?;
        let (after, cpu) = (self.workers.counters(), self.clock.read()? - cpu);
        drain([&self.publisher.socket], &mut Taken::default());
        let cost = Cost {
            micros: cpu.as_secs_f64() * 1e6 / taken.media as f64,
            datagrams: taken.media,
            runs: (after.runs_out - before.runs_out) as f64,
            calls: (after.send_calls - before.send_calls) as f64,
        };
        Ok((cost, taken))
    }

    /// Consent to receive lasts 30 s (RFC 7675), which a busy machine may need for one repetition.
    fn consent(&self) -> anyhow::Result<()> {
        let clients = || std::iter::once(&self.publisher).chain(&self.subscribers);
        let sent = self.workers.counters().datagrams_out;
        for client in clients() {
            client.send(&client.binding_request());
        }
        self.await_sent(sent + clients().count() as u64)?;
        drain(clients().map(|client| &client.socket), &mut Taken::default());
        Ok(())
    }

    fn await_sent(&self, target: u64) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.workers.counters().datagrams_out < target {
            // Rather than spinning on the worker's own cache line.
            std::thread::sleep(Duration::from_micros(20));
            anyhow::ensure!(Instant::now() < deadline, "the worker has stopped sending: {:?}", self.workers.counters());
        }
        Ok(())
    }

    /// RTCP counts as sent too, so that the last frame's end is known by the sinks only.
    fn await_taken(&self, expected: usize, taken: &mut Taken) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            drain(self.subscribers.iter().map(|subscriber| &subscriber.socket), taken);
            if taken.media == expected {
                return Ok(());
            }
            let drops: Vec<_> = self.workers.drops().filter(|(_, count)| *count > 0).collect();
            anyhow::ensure!(Instant::now() < deadline, "{} of {expected} came: {:?} {drops:?}", taken.media, self.workers.counters());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
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
