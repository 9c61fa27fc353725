//! A worker's loop.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use switchyard_forward::{Batch, Drop, Event, Forwarder, Happening, WorkerIndex};
use tokio::sync::mpsc;

use crate::astray::Astray;
use crate::inbox::{Inbox, PARCEL_BYTES};
use crate::outlet::Outlet;
use crate::pace::Pace;
use crate::streams::{self, Streams};
use crate::udp::{self, Receiver, Socket};

/// Commands done in one turn. The costliest, a new set of m-lines, takes some microseconds: a flood of them delays packets by less than
/// a millisecond a turn, and each turn takes packets too.
const COMMANDS: usize = 64;

/// Messages of other workers heard in one turn; each costs less than a microsecond.
const MESSAGES: usize = 512;

/// Packets of other workers taken in one turn: as many as fill a batch of the socket's in the usual case, so that neither starves the other.
const PARCELS: usize = 256;

/// Where in the batch's bytes what TCP connections have begins.
const STREAMS_AT: usize = udp::BYTES + PARCELS * PARCEL_BYTES;

/// Subscribers for whom it is worth to look into the socket once more, which costs a quarter of a packet.
const AUDIENCE: usize = 8;

/// How soon to try again what found no room.
const RETRY: Duration = Duration::from_millis(5);

/// One worker: what its thread owns.
pub(crate) struct Worker {
    forwarder: Forwarder,
    receiver: Receiver,
    batch: Batch,
    outlet: Outlet,
    /// The socket has something, or may have.
    readable: bool,
    /// The TCP connections have something, or may have.
    streams_readable: bool,
    /// The socket may have more than the last turn took.
    backlog: bool,
    pace: Pace,
}

impl Worker {
    /// Made on its own thread: the socket's buffers point into themselves.
    pub(crate) fn new(
        config: switchyard_forward::Config,
        socket: Socket,
        streams: Streams,
        inboxes: Arc<[Inbox]>,
        astray: Option<Astray>,
        events: mpsc::Sender<(WorkerIndex, Event)>,
    ) -> Self {
        Self {
            forwarder: Forwarder::new(config),
            receiver: Receiver::new(),
            batch: Batch {
                bytes: vec![0; STREAMS_AT + streams::BYTES],
                received: Vec::with_capacity(udp::DATAGRAMS + PARCELS + streams::DATAGRAMS),
            },
            outlet: Outlet::new(config.worker, socket, streams, inboxes, astray, events),
            streams_readable: false,
            readable: false,
            backlog: false,
            pace: Pace::default(),
        }
    }

    /// Turns until it is told to stop; then does what was commanded so far.
    ///
    /// Every turn takes a bounded amount from each source, so that no source, however busy, keeps another waiting for longer than a turn.
    /// Commands come before packets because packets mean nothing without the keys and routes of an earlier command.
    pub(crate) fn run(mut self) {
        let mut now = Instant::now();
        loop {
            let stop = self.outlet.inbox().stop.load(Ordering::Acquire);
            if !stop {
                self.wait(now);
            }
            now = Instant::now();
            self.take_commands(now, if stop { usize::MAX } else { COMMANDS });
            self.take_messages(now);
            self.take_parcels();
            self.take_streams(now);
            self.receive();
            self.forward(now);
            self.tick(now);
            self.end_streams(now);
            self.finish();
            if stop {
                return;
            }
        }
    }

    /// Sleeps until there is something to do: a datagram, something in the inbox, or the forwarder's next moment. The turn before began at
    /// `woken`.
    fn wait(&mut self, woken: Instant) {
        let inbox = self.outlet.inbox();
        let now = Instant::now();
        inbox.tally.turns.add(1);
        inbox.tally.awake_nanos.add(now.saturating_duration_since(woken).as_nanos() as usize);
        inbox.wake.announce();
        let timeout = if self.backlog || !inbox.is_empty() || inbox.stop.load(Ordering::SeqCst) {
            Some(Duration::ZERO)
        } else {
            let due = [self.forwarder.poll_timeout(), self.outlet.streams.due(now)].into_iter().flatten().min();
            let due = due.map(|due| due.saturating_duration_since(now));
            let retry = self.outlet.is_pending().then_some(RETRY);
            due.into_iter().chain(retry).min()
        };
        (self.readable, self.streams_readable) = inbox.wake.sleep(self.outlet.socket.fd(), self.outlet.streams.fd(), timeout);
        let rested = Instant::now();
        self.pace.count(now.saturating_duration_since(woken), rested.saturating_duration_since(now));
        let inbox = self.outlet.inbox();
        // What one turn takes is bounded: a worker that leaves something behind has no time to wait.
        let has_time = self.readable && !self.streams_readable && !self.backlog && inbox.is_quiet();
        let due = || [self.forwarder.poll_timeout(), self.outlet.streams.due(rested)].into_iter().flatten().min();
        if has_time && let Some(pause) = self.pace.pause(rested, due()) {
            std::thread::sleep(pause);
            self.pace.count(Duration::ZERO, rested.elapsed());
        }
    }

    fn take_commands(&mut self, now: Instant, limit: usize) {
        let mut taken = 0;
        while taken < limit {
            let Some(command) = self.outlet.inbox().commands.pop() else {
                break;
            };
            self.forwarder.handle_command(now, command, &mut self.outlet);
            taken += 1;
        }
        let inbox = self.outlet.inbox();
        if taken > 0 && inbox.starved.swap(false, Ordering::SeqCst) {
            inbox.room.notify_waiters();
        }
    }

    fn take_messages(&mut self, now: Instant) {
        for _ in 0..MESSAGES {
            let Some(message) = self.outlet.inbox().messages.pop() else {
                return;
            };
            self.forwarder.handle_remote(now, message, &mut self.outlet);
        }
    }

    /// Packets of other workers, into the batch, behind what the socket may fill.
    fn take_parcels(&mut self) {
        self.outlet.inbox().take(&mut self.batch, udp::BYTES, PARCELS);
    }

    /// New TCP connections, and the datagrams of all, into the batch, behind what the others may fill.
    fn take_streams(&mut self, now: Instant) {
        let (streams, inbox) = self.outlet.streams();
        for _ in 0..streams::EVENTS {
            let Some(adopted) = inbox.streams.pop() else { break };
            streams.adopt(now, adopted, &inbox.tally, |address| self.forwarder.knows(address));
        }
        if self.streams_readable || streams.due(now).is_some_and(|due| due <= now) {
            streams.receive(now, &mut self.batch, STREAMS_AT, &inbox.tally);
            streams.sweep(now, |address| self.forwarder.knows(address));
        }
    }

    /// TCP connections that have ended.
    fn end_streams(&mut self, now: Instant) {
        while let Some(address) = self.outlet.poll_ended() {
            self.forwarder.handle_closed(now, address, &mut self.outlet);
        }
    }

    /// Datagrams of the socket, into the batch.
    fn receive(&mut self) {
        self.backlog = self.readable && self.receiver.receive(&self.outlet.socket, &mut self.batch, self.outlet.tally());
    }

    /// Opens what came and sends it on. While the first packets of a burst were opened more of it has often come: what many get is sent with that, because what
    /// goes to one destination together costs little more than one packet of it.
    fn forward(&mut self, now: Instant) {
        if self.batch.received.is_empty() {
            return;
        }
        let mut packets = 0;
        while !self.batch.received.is_empty() {
            packets += self.batch.received.len();
            self.forwarder.open_batch(now, &mut self.batch, &mut self.outlet);
            if self.readable && !self.backlog && self.forwarder.audience() >= AUDIENCE {
                self.backlog = self.receiver.receive_more(&self.outlet.socket, &mut self.batch, self.outlet.tally());
            }
        }
        self.pace.forwards(now, self.forwarder.crowd());
        self.forwarder.send_batch(now, &self.batch, &mut self.outlet);
        self.outlet.inbox().forwarding.add(packets, now.elapsed());
    }

    /// Ends the turn: what the others are to hear, and what was counted.
    fn finish(&mut self) {
        self.outlet.finish();
        let (drops, happenings, estimates) = (self.forwarder.drops(), self.forwarder.happenings(), self.forwarder.estimates());
        let inbox = self.outlet.inbox();
        for (&reason, count) in Drop::ALL.iter().zip(&inbox.drops) {
            count.set(drops.get(reason));
        }
        for (&what, count) in Happening::ALL.iter().zip(&inbox.happenings) {
            count.set(happenings.get(what));
        }
        for (&looks, count) in estimates.buckets.iter().zip(&inbox.estimates) {
            count.set(looks);
        }
        inbox.estimates_sum.set(estimates.sum);
    }

    fn tick(&mut self, now: Instant) {
        if self.forwarder.poll_timeout().is_some_and(|due| due <= now) {
            self.forwarder.handle_timeout(now, &mut self.outlet);
        }
    }
}
