//! One bottleneck, shared by flows.

use std::time::{Duration, Instant};

use switchyard_netem::{Config, ConfigError, Line, Verdict};

use crate::trace::Trace;

/// What a sender puts on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The sender's own number for it: transport-wide, or a TCP segment's.
    pub sequence: u64,
    /// The media packet in it and the picture it belongs to, for a decoder; none in padding.
    pub media: Option<(u64, Picture)>,
}

/// Which part of which picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Counts pictures.
    pub number: u64,
    /// Whether a decoder can begin with it.
    pub key: bool,
    /// The packet's place in it, and how many there are.
    pub part: (u16, u16),
}

/// What a receiver says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Transport-wide feedback: numbers, and ticks of arrival.
    Feedback(Vec<(u16, Option<i64>)>),
    /// Media packets are missing.
    Nack(Vec<u64>),
    /// Nothing can be decoded before a key picture.
    KeyRequest,
    /// A TCP segment has arrived.
    Ack(u64),
}

/// What a flow wants sent.
#[derive(Debug, Default)]
pub struct Outbox {
    packets: Vec<(usize, Packet)>,
    messages: Vec<Message>,
}

impl Outbox {
    /// A packet of `size` bytes, from the sender.
    pub fn packet(&mut self, size: usize, packet: Packet) {
        self.packets.push((size, packet));
    }

    /// A message, from the receiver.
    pub fn message(&mut self, message: Message) {
        self.messages.push(message);
    }
}

/// Both ends of what goes over the line.
pub trait Flow {
    /// When it has something to do by itself.
    fn poll_timeout(&self) -> Option<Instant>;
    /// Does what is due.
    fn handle_timeout(&mut self, now: Instant, out: &mut Outbox);
    /// A packet has reached the receiver.
    fn handle_packet(&mut self, now: Instant, packet: Packet, out: &mut Outbox);
    /// A message has reached the sender.
    fn handle_message(&mut self, now: Instant, message: Message, out: &mut Outbox);
    /// What the sender believes the line to carry for it, in bits a second.
    fn estimate(&self) -> u64;
}

/// A bottleneck, the way back, and the flows on them.
pub struct Network<F> {
    start: Instant,
    now: Instant,
    line: Line<(usize, usize, Packet)>,
    back: Line<(usize, Message)>,
    flows: Vec<F>,
    traces: Vec<Trace>,
    next_sample: Instant,
    digest: u64,
}

/// Between two samples of the traces.
pub(crate) const SAMPLE: Duration = Duration::from_millis(100);

impl<F: Flow> Network<F> {
    /// A line as `config` says, the way back as long and without limit.
    pub fn new(start: Instant, config: &Config, seed: u64) -> Result<Self, ConfigError> {
        let back = Config { delay: config.delay, ..Config::default() };
        Ok(Self {
            start,
            now: start,
            line: Line::new(config, seed, start)?,
            back: Line::new(&back, seed.wrapping_add(1), start)?,
            flows: Vec::new(),
            traces: Vec::new(),
            next_sample: start + SAMPLE,
            digest: 0xcbf2_9ce4_8422_2325,
        })
    }

    /// Adds a flow; its number is its place.
    pub fn add(&mut self, flow: F) {
        self.flows.push(flow);
        self.traces.push(Trace::default());
    }

    /// A flow.
    pub fn flow(&self, flow: usize) -> &F {
        &self.flows[flow]
    }

    /// What has been measured of a flow.
    pub fn trace(&self, flow: usize) -> &Trace {
        &self.traces[flow]
    }

    /// A number that depends on everything that happened, and when.
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// The present, since the start.
    pub fn now(&self) -> Duration {
        self.now - self.start
    }

    /// Lets time pass until `end` after the start.
    pub fn run_until(&mut self, end: Duration) {
        let end = self.start + end;
        while let Some(next) = self.next().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.step();
        }
        self.now = end;
    }

    fn next(&self) -> Option<Instant> {
        let flows = self.flows.iter().filter_map(Flow::poll_timeout);
        flows.chain(self.line.poll_timeout()).chain(self.back.poll_timeout()).chain([self.next_sample]).min()
    }

    fn step(&mut self) {
        let now = self.now;
        let mut out = Outbox::default();
        while let Some((flow, size, packet)) = self.line.poll(now) {
            self.note(&[flow as u64, size as u64, packet.sequence]);
            self.traces[flow].arrived(size);
            self.flows[flow].handle_packet(now, packet, &mut out);
            self.settle(flow, &mut out);
        }
        while let Some((flow, message)) = self.back.poll(now) {
            self.flows[flow].handle_message(now, message, &mut out);
            self.settle(flow, &mut out);
        }
        for flow in 0..self.flows.len() {
            if self.flows[flow].poll_timeout().is_some_and(|at| at <= now) {
                self.flows[flow].handle_timeout(now, &mut out);
                self.settle(flow, &mut out);
            }
        }
        if now >= self.next_sample {
            self.next_sample += SAMPLE;
            for flow in 0..self.flows.len() {
                let estimate = self.flows[flow].estimate();
                self.note(&[estimate]);
                self.traces[flow].sample(estimate);
            }
        }
    }

    fn settle(&mut self, flow: usize, out: &mut Outbox) {
        for (size, packet) in out.packets.drain(..) {
            let queue = self.line.queue_delay(self.now);
            let verdict = self.line.push(self.now, size, (flow, size, packet));
            self.traces[flow].sent(size, queue, matches!(verdict, Verdict::Dropped(_)));
        }
        for message in out.messages.drain(..) {
            self.back.push(self.now, 100, (flow, message));
        }
    }

    /// FNV-1a over words.
    fn note(&mut self, words: &[u64]) {
        let at = (self.now - self.start).as_nanos() as u64;
        for word in [at].iter().chain(words) {
            self.digest = (self.digest ^ word).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
