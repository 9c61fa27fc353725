//! Everything that a subscriber's line costs, beside subscribers who have none of it, in the same run.
//!
//! Both rooms have as many subscribers on one worker, whose publisher sends frames as in the saturated bench, 25 in a second. In the *plain* one there is one encoding,
//! and nothing is numbered. In the *full* one there are three, each of them as much; a third of the subscribers is shown each; every packet has a transport-wide sequence
//! number, and each subscriber reports every 80 ms when its packets arrived, by the kernel's clock, as a browser does: there are estimators, pacers, probes and
//! allocations at work. Before anything is measured the estimates have settled.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use switchyard_forward::{TrackKey, WorkerIndex};
use switchyard_worker::{Config, Workers, start};

use crate::arrivals;
use crate::cpu::{self, CpuClock};
use crate::floor::send_together;
use crate::support::{Client, ENCODINGS, NUMBER};
use crate::through::{FRAMES, PAYLOAD};
use crate::{Scale, median};

const FRAME: Duration = Duration::from_millis(40);
/// Between two reports of a subscriber's, in frames: libwebrtc's interval for a few Mbit/s is 100 ms or less.
const REPORT: usize = 2;
/// How long the estimates may take to settle.
const SETTLE: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(20);
const TRACK: TrackKey = TrackKey(1);
/// A packet with everything on costs at most this many times what it costs without.
const MOST: f64 = 1.2;

/// One room.
struct Room {
    workers: Workers,
    clock: CpuClock,
    publisher: Client,
    encodings: usize,
    subscribers: Vec<Client>,
    lines: Vec<Line>,
    server: SocketAddrV4,
    next: [u64; ENCODINGS],
    frame: usize,
}

/// What one repetition cost.
struct Cost {
    micros: f64,
    runs: f64,
    turns: f64,
    /// Of what should have arrived, the part that did.
    arrived: f64,
}

/// Fails with `check` if the median is beyond [`MOST`].
pub fn run(scale: Scale, check: bool) -> anyhow::Result<()> {
    let seconds = scale.seconds.min(4);
    println!("Full: 25 frames a second of {FRAMES:?} packets, {} interleaved rounds of {seconds} s", scale.rounds);
    println!("  subscribers   plain µs   full µs   ratio (min … max)      packets a run    turns a second   arrived");
    let mut beyond = Vec::new();
    for subscribers in [50, 300] {
        let (mut plain, mut full) = (Room::new(subscribers, false)?, Room::new(subscribers, true)?);
        full.play(SETTLE)?;
        plain.play(Duration::from_secs(1))?;
        let (mut of_plain, mut of_full) = (Vec::new(), Vec::new());
        for _ in 0..scale.rounds {
            of_plain.push(plain.play(Duration::from_secs(seconds))?);
            full.play(Duration::from_secs(1))?;
            of_full.push(full.play(Duration::from_secs(seconds))?);
        }
        let ratios: Vec<f64> = of_full.iter().zip(&of_plain).map(|(full, plain)| full.micros / plain.micros).collect();
        let ratio = median(ratios.clone());
        if ratio > MOST {
            beyond.push(format!("{ratio:.3} for {subscribers} subscribers"));
        }
        let of = |costs: &[Cost], what: fn(&Cost) -> f64| median(costs.iter().map(what).collect());
        println!(
            "  {subscribers:11}   {:8.3}   {:7.3}   {:5.2} ({:.2} … {:.2})     {:5.2} / {:5.2}    {:5.0} / {:5.0}    {:5.1} / {:5.1} %",
            of(&of_plain, |cost| cost.micros),
            of(&of_full, |cost| cost.micros),
            ratio,
            ratios.iter().copied().fold(f64::INFINITY, f64::min),
            ratios.iter().copied().fold(0.0, f64::max),
            of(&of_plain, |cost| cost.runs),
            of(&of_full, |cost| cost.runs),
            of(&of_plain, |cost| cost.turns),
            of(&of_full, |cost| cost.turns),
            of(&of_plain, |cost| cost.arrived * 100.0),
            of(&of_full, |cost| cost.arrived * 100.0),
        );
    }
    let found = if beyond.is_empty() { "within it".to_owned() } else { format!("beyond it: {}", beyond.join(", ")) };
    println!("  the bound is {MOST} times the plain cost; {found}");
    anyhow::ensure!(!check || beyond.is_empty(), "the bound is {MOST} times the plain cost; {found}");
    Ok(())
}

impl Room {
    fn new(subscribers: u16, full: bool) -> anyhow::Result<Self> {
        let before = cpu::threads("media-")?;
        let (workers, events) = start(Config { workers: 1, ..Config::default() })?;
        drop(events);
        let deadline = Instant::now() + PATIENCE;
        let clock = loop {
            if let Some(tid) = cpu::threads("media-")?.into_iter().find(|tid| !before.contains(tid)) {
                break CpuClock::of_thread(tid);
            }
            anyhow::ensure!(Instant::now() < deadline, "the worker's thread doesn't begin");
        };
        let home = WorkerIndex(0);
        let publisher = Client::join(&workers, home, u16::MAX);
        let encodings = if full { ENCODINGS } else { 1 };
        publisher.publish_encodings(&workers, TRACK, encodings);
        publisher.socket.set_nonblocking(true)?;
        let subscribers: Vec<Client> = (0..subscribers)
            .map(|number| {
                let client = Client::join(&workers, home, 1 + number);
                if full {
                    client.subscribe_numbered(&workers, TRACK, usize::from(number) % ENCODINGS);
                } else {
                    client.subscribe(&workers, TRACK);
                }
                arrivals::stamp(&client.socket)?;
                client.socket.set_nonblocking(true)?;
                Ok(client)
            })
            .collect::<anyhow::Result<_>>()?;
        let server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, workers.port());
        let lines = subscribers.iter().map(|_| Line::default()).collect();
        let next = [0; ENCODINGS];
        Ok(Self { workers, clock, publisher, encodings, subscribers, lines, server, next, frame: 0 })
    }

    /// Frames for so long, in real time.
    fn play(&mut self, time: Duration) -> anyhow::Result<Cost> {
        for client in self.subscribers.iter().chain([&self.publisher]) {
            client.send(&client.binding_request());
        }
        let (before, cpu, begin) = (self.workers.counters(), self.clock.read()?, Instant::now());
        let (mut expected, mut media) = (0, 0);
        let mut due = begin;
        while begin.elapsed() < time {
            expected += self.send()? * self.subscribers.len();
            // Readers are there all the time: what waits for the next frame is read before it comes.
            due += FRAME;
            loop {
                media += self.read();
                let Some(left) = due.checked_duration_since(Instant::now()) else { break };
                std::thread::sleep(left.min(Duration::from_millis(8)));
            }
            self.frame += 1;
        }
        let seconds = begin.elapsed().as_secs_f64();
        std::thread::sleep(FRAME);
        media += self.read();
        let (after, cpu) = (self.workers.counters(), self.clock.read()? - cpu);
        let sent = (after.datagrams_out - before.datagrams_out) as f64;
        anyhow::ensure!(media > 0, "nothing came: {after:?}");
        Ok(Cost {
            micros: cpu.as_secs_f64() * 1e6 / media as f64,
            runs: sent / (after.runs_out - before.runs_out) as f64,
            turns: (after.turns - before.turns) as f64 / seconds,
            arrived: media as f64 / expected as f64,
        })
    }

    /// A frame of each encoding; how many packets each has. The first of each second is a keyframe, for whoever waits for one.
    fn send(&mut self) -> anyhow::Result<usize> {
        let packets = FRAMES[self.frame % FRAMES.len()];
        let is_key = self.frame.is_multiple_of(25);
        for encoding in 0..self.encodings {
            let first = self.next[encoding];
            self.next[encoding] += packets as u64;
            let sealed: Vec<Vec<u8>> = (0..packets)
                .map(|i| {
                    let place = (i == 0, i + 1 == packets);
                    self.publisher.seal_encoding(encoding, first + i as u64, self.frame as u32, place, is_key, PAYLOAD)
                })
                .collect();
            send_together(&self.publisher.socket, self.server, &sealed)?;
        }
        Ok(packets)
    }

    /// Reads what has come, and reports; how many media packets there were.
    fn read(&mut self) -> usize {
        while self.publisher.socket.recv(&mut [0; 2048]).is_ok() {}
        let mut media = 0;
        for (number, (client, line)) in self.subscribers.iter_mut().zip(&mut self.lines).enumerate() {
            while let Some((start, at)) = arrivals::next_start(&client.socket) {
                media += usize::from(line.note(&start, at, client.ssrc()));
            }
            // Not all at the same time.
            if self.frame % REPORT == number % REPORT {
                line.report(client, self.frame);
            }
        }
        media
    }
}

/// What a subscriber knows of its line.
#[derive(Default)]
struct Line {
    /// The transport-wide number of the first place in `ticks`, which are of 250 µs; since the last report.
    base: Option<u16>,
    ticks: Vec<Option<i64>>,
    messages: u8,
    /// The frame of the last report.
    reported: usize,
}

impl Line {
    /// Notes a packet, whose first bytes are `start`, that arrived at `at`; whether it is media rather than padding.
    fn note(&mut self, start: &[u8; arrivals::START], at: i64, ssrc: u32) -> bool {
        // The one-byte form, and in it the one element that slots have.
        if let [0xbe, 0xde, 0, 1, NUMBER, high, low, _] = start[12..] {
            let number = u16::from_be_bytes([high, low]);
            let place = usize::from(number.wrapping_sub(*self.base.get_or_insert(number)));
            // Loopback does not reorder; what is far ahead follows a loss that nobody measures.
            if place < 1_000 {
                self.ticks.resize(self.ticks.len().max(place + 1), None);
                self.ticks[place] = Some(at / 250_000);
            }
        }
        start[8..12] == ssrc.to_be_bytes()
    }

    /// Reports what was noted.
    fn report(&mut self, client: &mut Client, frame: usize) {
        let Some(base) = self.base.filter(|_| frame != self.reported && self.ticks.iter().any(Option::is_some)) else { return };
        let sent = client.send_rtcp(|writer| writer.transport_feedback(1, 1, base, self.messages, &self.ticks));
        self.base = Some(base.wrapping_add(sent as u16));
        self.ticks.drain(..sent.min(self.ticks.len()));
        (self.messages, self.reported) = (self.messages.wrapping_add(1), frame);
    }
}
