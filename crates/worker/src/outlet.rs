//! A worker's way out: its socket, the other workers' inboxes, the control plane's queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use switchyard_forward::{Address, Event, Origin, Path, Remote, Run, SocketId, TrunkPacket, Wire, WorkerIndex};
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::ahead;
use crate::astray::Astray;
use crate::counters::Tally;
use crate::inbox::Inbox;
use crate::streams::Streams;
use crate::udp::{Sender, Socket};

/// What must not be lost and finds no room waits here: changes of a path, by peer or address. A worker has a few thousand of either; only
/// a control plane or worker that has stopped lets this many gather.
const PENDING: usize = 1 << 16;

/// The [`Wire`] of one worker.
pub(crate) struct Outlet {
    worker: WorkerIndex,
    pub(crate) socket: Socket,
    sender: Sender,
    pub(crate) streams: Streams,
    inboxes: Arc<[Inbox]>,
    /// What of the socket's is others'; `None`: nobody shares the port, or the kernel can't be told.
    astray: Option<Astray>,
    /// Whose bell to ring, and since when there has been something for them.
    put: Box<[Option<Instant>]>,
    messages: VecDeque<(WorkerIndex, Remote)>,
    events: mpsc::Sender<(WorkerIndex, Event)>,
    pending: VecDeque<Event>,
}

impl Outlet {
    pub(crate) fn new(
        worker: WorkerIndex,
        socket: Socket,
        streams: Streams,
        inboxes: Arc<[Inbox]>,
        astray: Option<Astray>,
        events: mpsc::Sender<(WorkerIndex, Event)>,
    ) -> Self {
        let sender = Sender::new(&socket);
        let put = vec![None; inboxes.len()].into();
        Self { worker, socket, sender, streams, inboxes, astray, put, messages: VecDeque::new(), events, pending: VecDeque::new() }
    }

    /// Its own inbox.
    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inboxes[usize::from(self.worker.0)]
    }

    /// Its TCP connections, and its own inbox.
    pub(crate) fn streams(&mut self) -> (&mut Streams, &Inbox) {
        (&mut self.streams, &self.inboxes[usize::from(self.worker.0)])
    }

    /// A TCP connection that has ended, once.
    pub(crate) fn poll_ended(&mut self) -> Option<Address> {
        self.streams.poll_ended(&self.inboxes[usize::from(self.worker.0)].tally)
    }

    /// Its own counts.
    pub(crate) fn tally(&self) -> &Tally {
        &self.inbox().tally
    }

    /// Ends a turn: tries again what found no room, and wakes whoever was given something that can't wait.
    pub(crate) fn finish(&mut self) {
        while let Some(&(to, message)) = self.messages.front() {
            self.put[usize::from(to.0)].get_or_insert_with(Instant::now);
            if self.inboxes[usize::from(to.0)].messages.push(message).is_err() {
                break;
            }
            self.messages.pop_front();
        }
        while let Some(event) = self.pending.pop_front() {
            if let Err(TrySendError::Full((_, event))) = self.events.try_send((self.worker, event)) {
                self.pending.push_front(event);
                break;
            }
        }
        self.ring();
    }

    /// Wakes whoever was given something since the last time.
    fn ring(&mut self) {
        for (put, inbox) in self.put.iter_mut().zip(self.inboxes.iter()) {
            if put.take().is_some() {
                inbox.wake.ring();
            }
        }
    }

    /// Whether something waits for room elsewhere, so that [`Outlet::finish`] wants to be called again soon.
    pub(crate) fn is_pending(&self) -> bool {
        !self.messages.is_empty() || !self.pending.is_empty()
    }

    /// The inbox of another worker; `None` if there is no such worker.
    fn other(&self, to: WorkerIndex) -> Option<&Inbox> {
        self.inboxes.get(usize::from(to.0)).filter(|_| to != self.worker)
    }

    fn put(&mut self, to: WorkerIndex, origin: Origin, bytes: &[u8]) -> bool {
        if self.other(to).is_none() {
            return false;
        }
        // One look at the clock for all that is put before the bell rings.
        let since = *self.put[usize::from(to.0)].get_or_insert_with(Instant::now);
        self.inboxes[usize::from(to.0)].put(since, origin, bytes)
    }
}

impl Wire for Outlet {
    fn send(&mut self, bytes: &[u8], runs: &[Run]) {
        let tally = &self.inboxes[usize::from(self.worker.0)].tally;
        self.sender.send(&self.socket, bytes, runs, tally);
        if !self.streams.is_empty() {
            for run in runs.iter().filter(|run| run.path.socket != SocketId::UDP) {
                self.streams.send(bytes, run, tally);
            }
        }
    }

    fn hand_over(&mut self, to: WorkerIndex, path: &Path, at: Instant, datagram: &[u8]) {
        let done = self.put(to, Origin::Path { path: *path, at }, datagram);
        if done { &self.tally().handed_over } else { &self.tally().hand_over_drops }.add(1);
        // A STUN request is handed over by what it says of itself, anything else because the address was proved to be its owner's.
        if done
            && datagram.first().is_some_and(|first| *first > 3)
            && let Some(astray) = &mut self.astray
        {
            astray.note(path.remote, to, at);
        }
    }

    fn trunk(&mut self, to: WorkerIndex, packet: &TrunkPacket, bytes: &[u8]) {
        let done = self.put(to, Origin::Trunk(*packet), bytes);
        if done { &self.tally().trunk_packets } else { &self.tally().trunk_drops }.add(1);
    }

    #[inline]
    fn fetch(&self, at: *const u8, len: usize) {
        ahead::fetch(at, len);
    }

    fn deliver(&mut self) {
        self.ring();
    }

    fn tell(&mut self, to: WorkerIndex, message: Remote) {
        // Said to each of the others: once is enough.
        if let (Remote::Address { remote, owner: None }, Some(astray)) = (message, &self.astray)
            && to == WorkerIndex(u8::from(self.worker == WorkerIndex(0)))
        {
            astray.forget(remote);
        }
        // An address that stays unknown loses a client's media for as long as it keeps the address, and what is wanted is said once as well; the rest is
        // said again and again.
        let keep = matches!(message, Remote::Address { .. } | Remote::Encodings { .. } | Remote::Wanted { .. });
        let behind = keep && !self.messages.is_empty();
        let Some(inbox) = self.other(to) else {
            return self.tally().message_drops.add(1);
        };
        let is_put = !behind && inbox.messages.push(message).is_ok();
        // Whose an address is matters with the next datagram from there, before which messages are heard.
        if !is_put || !matches!(message, Remote::Address { .. }) {
            self.put[usize::from(to.0)].get_or_insert_with(Instant::now);
        }
        if is_put {
            return;
        }
        if keep && self.messages.len() < PENDING {
            self.messages.push_back((to, message));
        } else {
            self.tally().message_drops.add(1);
        }
    }

    fn event(&mut self, event: Event) {
        let keep = !matches!(event, Event::Dtls { .. });
        // Behind what waits already: nothing overtakes a change of path.
        let refused = if self.pending.is_empty() {
            match self.events.try_send((self.worker, event)) {
                Ok(()) => return,
                // Nobody listens any more: the program is ending.
                Err(TrySendError::Closed(_)) => return,
                Err(TrySendError::Full((_, event))) => event,
            }
        } else {
            event
        };
        if keep && self.pending.len() < PENDING {
            self.pending.push_back(refused);
        } else {
            self.tally().event_drops.add(1);
        }
    }
}

#[cfg(test)]
mod tests;
