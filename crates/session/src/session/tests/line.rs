//! The line between a session and its client, in virtual time.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::client::{Client, Offer, Seen};
use crate::{Certificate, ChannelId, Event, FailReason, SendError, Session};

/// One identity for all tests: it is shared by design.
pub(super) static CERTIFICATE: LazyLock<Arc<Certificate>> = LazyLock::new(|| Certificate::generate().expect("a certificate"));

/// Splitmix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

/// What the line does to datagrams, in per cent and milliseconds.
#[derive(Clone, Copy, Default)]
pub(super) struct Weather {
    pub(super) loss: u64,
    pub(super) repeat: u64,
    pub(super) jitter: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    Server,
    Client,
}

struct Flying {
    arrives: Instant,
    order: u64,
    to: To,
    datagram: Vec<u8>,
}

pub(super) struct Line {
    pub(super) now: Instant,
    start: Instant,
    pub(super) session: Session,
    pub(super) client: Client,
    pub(super) weather: Weather,
    pub(super) random: Random,
    flying: Vec<Flying>,
    launched: u64,
    pub(super) events: VecDeque<Event>,
    /// Everything the session has sent.
    pub(super) sent: Vec<Vec<u8>>,
    /// Decides which datagrams get through, beyond the weather.
    pub(super) filter: Filter,
    /// Real time spent in the session's `handle_datagram`.
    pub(super) server_time: Duration,
}

type Filter = Box<dyn FnMut(To, &[u8]) -> bool>;

impl Line {
    pub(super) fn new(seed: u64, weather: Weather, offer: Offer) -> Self {
        let now = Instant::now();
        let client = Client::new(now, offer);
        let mut session = Session::new(Arc::clone(&CERTIFICATE));
        session.set_remote_fingerprint(client.fingerprint()).expect("a fingerprint");
        Self {
            now,
            start: now,
            session,
            client,
            weather,
            random: Random(seed),
            flying: Vec::new(),
            launched: 0,
            events: VecDeque::new(),
            sent: Vec::new(),
            filter: Box::new(|_, _| true),
            server_time: Duration::ZERO,
        }
    }

    /// A session and its client with a finished handshake over a good line.
    pub(super) fn established() -> Self {
        let mut line = Self::new(0, Weather::default(), Offer::default());
        line.run_until(Duration::from_secs(5), |line| line.has_keys() && line.client.seen.contains(&Seen::Connected));
        line
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    pub(super) fn has_keys(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Keys(_)))
    }

    pub(super) fn failure(&self) -> Option<FailReason> {
        self.events.iter().find_map(|event| match event {
            Event::Failed(reason) => Some(*reason),
            _ => None,
        })
    }

    pub(super) fn messages(&self) -> Vec<(u16, bool, Vec<u8>)> {
        let message = |event: &Event| match event {
            Event::Message { channel, text, data } => Some((*channel, *text, data.clone())),
            _ => None,
        };
        self.events.iter().filter_map(message).collect()
    }

    /// Has the session send a message.
    pub(super) fn send(&mut self, channel: ChannelId, text: bool, message: &[u8]) -> Result<(), SendError> {
        self.session.send(self.now, channel, text, Bytes::copy_from_slice(message))
    }

    /// Lets the session handle a datagram at once.
    pub(super) fn inject(&mut self, datagram: &[u8]) {
        self.session.handle_datagram(self.now, datagram);
        self.drain();
    }

    fn launch(&mut self, to: To, datagram: &[u8]) {
        if !(self.filter)(to, datagram) {
            return;
        }
        let copies = if self.random.percent(self.weather.repeat) { 2 } else { 1 };
        for _ in 0..copies {
            if self.random.percent(self.weather.loss) {
                continue;
            }
            let jitter = if self.weather.jitter == 0 { 0 } else { self.random.next() % self.weather.jitter };
            let arrives = self.now + Duration::from_millis(20 + jitter);
            self.launched += 1;
            self.flying.push(Flying { arrives, order: self.launched, to, datagram: datagram.to_vec() });
        }
    }

    /// Puts what both ends have to say on the line.
    pub(super) fn drain(&mut self) {
        while let Some(datagram) = self.session.poll_transmit(self.now) {
            assert!(datagram.len() <= 1200, "{} bytes in a datagram", datagram.len());
            self.launch(To::Client, &datagram);
            self.sent.push(datagram);
        }
        while let Some(datagram) = self.client.poll_transmit(self.now) {
            self.launch(To::Server, &datagram);
        }
        while let Some(event) = self.session.poll_event() {
            self.events.push_back(event);
        }
    }

    /// Goes to the next thing that happens before `end`, or to `end` if nothing does, and then says `false`.
    fn step(&mut self, end: Instant) -> bool {
        self.drain();
        let arrival = self.flying.iter().map(|flying| flying.arrives).min();
        let next = [arrival, self.session.poll_timeout(), self.client.poll_timeout()].into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next <= end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(next);
        let first = (0..self.flying.len())
            .filter(|&index| self.flying[index].arrives <= self.now)
            .min_by_key(|&index| (self.flying[index].arrives, self.flying[index].order));
        if let Some(index) = first {
            let flying = self.flying.swap_remove(index);
            match flying.to {
                To::Server => {
                    let began = Instant::now();
                    self.session.handle_datagram(self.now, &flying.datagram);
                    self.server_time += began.elapsed();
                }
                To::Client => self.client.handle_datagram(self.now, &flying.datagram),
            }
        }
        if self.session.poll_timeout().is_some_and(|at| at <= self.now) {
            self.session.handle_timeout(self.now);
        }
        if self.client.poll_timeout().is_some_and(|at| at <= self.now) {
            self.client.handle_timeout(self.now);
        }
        self.drain();
        true
    }

    /// Runs until `done`, or for `limit` of virtual time; says whether it was done.
    pub(super) fn run_until(&mut self, limit: Duration, done: impl Fn(&Line) -> bool) -> bool {
        let end = self.now + limit;
        self.drain();
        while !done(self) {
            if self.now >= end || !self.step(end) {
                return false;
            }
        }
        true
    }

    pub(super) fn run(&mut self, limit: Duration) {
        self.run_until(limit, |_| false);
    }
}
