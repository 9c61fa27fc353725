//! The real workers with a room on them: one publisher and many subscribers, on one worker or over two.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use switchyard_forward::{Command, TrackKey, WorkerIndex};
use switchyard_rtp::MediaKind;
use switchyard_worker::{Config, Workers, start};

use crate::cpu::{self, CpuClock};
use crate::floor::send_together;
use crate::sinks::{Taken, drain};
use crate::support::{Client, command};

/// Packets of the frames, in turn.
pub const FRAMES: [usize; 8] = [3, 7, 4, 10, 5, 8, 6, 9];
/// Payload bytes of a frame's first packets; the others have one more.
pub const PAYLOAD: usize = 1085;
/// Packets that may wait in a sink. A socket with the usual buffer holds some 90 of this size.
pub const WAITING: usize = 40;
const PATIENCE: Duration = Duration::from_secs(20);
/// Sockets tried until one is in the right worker's hands.
const ATTEMPTS: u16 = 64;

/// Who is on which worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Everybody on one.
    One,
    /// Two rooms on two workers, half of the subscribers in each: what two workers at once cost without a trunk.
    Apart,
    /// One room: the publisher and half of the subscribers on one worker, the others on another.
    Spanning,
}

/// What one repetition cost.
pub struct Cost {
    /// Of all the workers' threads, by delivered datagram.
    pub micros: f64,
    /// Delivered.
    pub datagrams: usize,
    /// Given to the kernel.
    pub runs: f64,
    /// Calls of the kernel.
    pub calls: f64,
}

/// Real workers with a room or two.
pub struct Through {
    pub workers: Workers,
    pub clocks: Vec<CpuClock>,
    pub publishers: Vec<Client>,
    pub subscribers: Vec<Client>,
    pub server: SocketAddrV4,
    next: u64,
}

impl Through {
    /// With a keyframe delivered to everyone.
    pub fn new(subscribers: usize, layout: Layout) -> anyhow::Result<Self> {
        let count = if layout == Layout::One { 1 } else { 2 };
        let before = cpu::threads("media-")?;
        let (workers, events) = start(Config { workers: count, ..Config::default() })?;
        // Nobody listens: the control plane is not measured.
        drop(events);
        // Threads name themselves as they begin.
        let deadline = Instant::now() + PATIENCE;
        let clocks = loop {
            let new: Vec<_> = cpu::threads("media-")?.into_iter().filter(|tid| !before.contains(tid)).collect();
            if new.len() == usize::from(count) {
                break new.into_iter().map(CpuClock::of_thread).collect();
            }
            anyhow::ensure!(Instant::now() < deadline, "the workers' threads don't begin");
        };
        let homes = if layout == Layout::Apart { 2 } else { 1 };
        let publishers = (0..homes).map(|home| publisher(&workers, home)).collect::<Result<Vec<_>, _>>()?;
        if layout == Layout::Spanning {
            let (track, home, to) = (track(0), WorkerIndex(0), WorkerIndex(1));
            command(&workers, to, Command::PublishRemote { track, kind: MediaKind::Video, home });
            command(&workers, home, Command::Trunk { track, to, on: true });
        }
        let subscribers = (0..subscribers as u16)
            .map(|number| {
                let worker = (number % u16::from(count)) as u8;
                let client = Client::join(&workers, WorkerIndex(worker), 1 + number);
                client.subscribe(&workers, track(if layout == Layout::Apart { worker } else { 0 }));
                client.socket.set_nonblocking(true).expect("non-blocking");
                client
            })
            .collect();
        let server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, workers.port());
        let mut through = Self { workers, clocks, publishers, subscribers, server, next: 0 };
        through.begin()?;
        Ok(through)
    }

    /// Sends keyframes until every subscriber gets them.
    fn begin(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for publisher in &mut self.publishers {
                let keyframe = publisher.seal(self.next, true, PAYLOAD);
                publisher.send(&keyframe);
            }
            self.next += 1;
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

    /// A frame of each publisher's, sealed.
    pub fn seal(&mut self, packets: usize) -> Vec<Vec<Vec<u8>>> {
        let first = self.next;
        self.next += packets as u64;
        self.publishers
            .iter_mut()
            .map(|publisher| {
                (0..packets).map(|i| publisher.seal(first + i as u64, false, PAYLOAD + usize::from(i >= packets / 2))).collect()
            })
            .collect()
    }

    /// Has about `datagrams` delivered. Also what the sinks took.
    pub fn measure(&mut self, datagrams: usize) -> anyhow::Result<(Cost, Taken)> {
        // Beforehand, so that nothing but the workers' work happens on this machine meanwhile.
        let rounds = datagrams.div_ceil(self.subscribers.len() * FRAMES.iter().sum::<usize>());
        let frames: Vec<_> = FRAMES.repeat(rounds).into_iter().map(|packets| self.seal(packets)).collect();
        let expected = rounds * FRAMES.iter().sum::<usize>() * self.subscribers.len();

        self.consent()?;
        let (before, cpu) = (self.workers.counters(), self.cpu()?);
        let mut taken = Taken::default();
        let (mut target, mut waiting) = (before.datagrams_out, 0);
        for frame in &frames {
            for (publisher, packets) in self.publishers.iter().zip(frame) {
                send_together(&publisher.socket, self.server, packets)?;
            }
            let packets = frame.first().map_or(0, Vec::len);
            target += (packets * self.subscribers.len()) as u64;
            self.await_sent(target)?;
            waiting += packets;
            if waiting + FRAMES.iter().max().unwrap_or(&0) > WAITING {
                drain(self.subscribers.iter().map(|subscriber| &subscriber.socket), &mut taken);
                waiting = 0;
            }
        }
        self.await_taken(expected, &mut taken)?;
        let (after, cpu) = (self.workers.counters(), self.cpu()? - cpu);
        drain(self.publishers.iter().map(|publisher| &publisher.socket), &mut Taken::default());
        let cost = Cost {
            micros: cpu.as_secs_f64() * 1e6 / taken.media as f64,
            datagrams: taken.media,
            runs: (after.runs_out - before.runs_out) as f64,
            calls: (after.send_calls - before.send_calls) as f64,
        };
        Ok((cost, taken))
    }

    /// What the workers' threads have used so far.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        self.clocks.iter().map(|clock| clock.read()).sum()
    }

    /// Consent to receive lasts 30 s (RFC 7675), which a busy machine may need for one repetition.
    pub fn consent(&self) -> anyhow::Result<()> {
        let clients = || self.publishers.iter().chain(&self.subscribers);
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
            anyhow::ensure!(Instant::now() < deadline, "the workers have stopped sending: {:?}", self.workers.counters());
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

fn track(home: u8) -> TrackKey {
    TrackKey(1 + u64::from(home))
}

/// A publisher whose datagrams come to its own worker's socket from the first on: the kernel chooses by the client's port, until it is told.
fn publisher(workers: &Workers, home: u8) -> anyhow::Result<Client> {
    for attempt in 0..ATTEMPTS {
        let before = workers.counters().handed_over;
        let client = Client::join(workers, WorkerIndex(home), u16::MAX - u16::from(home) * ATTEMPTS - attempt);
        if workers.counters().handed_over == before {
            client.publish(workers, track(home));
            client.socket.set_nonblocking(true)?;
            return Ok(client);
        }
        command(workers, WorkerIndex(home), Command::RemovePeer { peer: client.key });
    }
    anyhow::bail!("none of {ATTEMPTS} sockets is in the right hands")
}
