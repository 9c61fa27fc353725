//! Which participant a worker's event is for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use axum::body::Bytes;
use dashmap::DashMap;
use switchyard_forward::{Event, PeerKey, WorkerIndex};
use switchyard_protocol::{CloseReason, Destination, Snapshot};
use tokio::sync::{Notify, mpsc};

use crate::outbox::Broadcast;
use crate::queue::{self, Refused};
use crate::rooms::Sensed;

/// Room and transport notices waiting for one participant: as many as the outgoing queue behind it takes.
const MAX_NOTICES: usize = 4096;
/// Of those, places that events leave to what can't be made up for by a look at the room.
const RESERVED: usize = 64;
/// DTLS datagrams waiting for one participant: 384 KB, more than an SCTP receive window. The rest is dropped; DTLS and SCTP repeat.
const MAX_DATAGRAMS: usize = 256;
/// Relayed data channel messages waiting for one participant's task, and their bytes: what comes in the moment before it gets to them. Those that the client does not take
/// wait in its session.
const MAX_RELAYED: usize = 4096;
const MAX_RELAYED_BYTES: usize = 1 << 20;

/// What a participant's task is told.
#[derive(Debug)]
pub enum Notice {
    /// For the client.
    Event(Arc<Broadcast>),
    /// The room as it is between the events before and those after this.
    Snapshot(Box<Snapshot>),
    /// Negotiate this many slots.
    SetSlots(usize),
    /// The participant that was being watched is gone.
    Dismissed,
    /// The participant was sent away; what its client is told.
    Removed(CloseReason),
    /// The participant was moved; what its client is told.
    Moved(Arc<Destination>),
    /// Of a transport's path.
    Path(PeerKey, PathNotice),
}

/// What a participant's task is told of a transport's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathNotice {
    /// Media goes over a path the client nominated, or over another one than before.
    Connected,
    /// Nothing authenticated was heard for some seconds.
    Silent,
    /// Heard again after that.
    Heard,
    /// The client is heard again after a gap.
    Recovered,
    /// Nothing authenticated was heard for 30 s.
    Expired,
}

/// A data channel message of another participant's, as it is to be sent on.
#[derive(Debug)]
pub struct Relayed {
    /// From one channel of a kind to the others of the same kind.
    pub channel: Channel,
    /// Text or binary.
    pub text: bool,
    /// With the sender in front.
    pub bytes: Bytes,
}

/// The data channels that are relayed between participants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// What is sent arrives, in order.
    Reliable,
    /// What is sent may be lost: what comes later matters more.
    Lossy,
}

/// Relayed messages on their way to a participant's task.
#[derive(Debug, Default)]
struct Backlog {
    bytes: AtomicUsize,
    /// Of a reliable channel, and lost because there was no room.
    missed: AtomicU32,
}

/// Where a participant is reached. Never waits: who does not keep up misses events, and if that is not enough their session ends.
#[derive(Clone, Debug)]
pub struct Mailbox {
    /// Whether there is anybody to be told of events.
    events: bool,
    notices: queue::Sender<Notice>,
    datagrams: queue::Sender<Vec<u8>>,
    relayed: queue::Sender<Arc<Relayed>>,
    missed: Arc<Notify>,
    backlog: Arc<Backlog>,
    overrun: Arc<Notify>,
}

/// A participant's end of its [`Mailbox`].
#[derive(Debug)]
pub struct Inbox {
    pub notices: queue::Receiver<Notice>,
    pub datagrams: queue::Receiver<Vec<u8>>,
    pub relayed: RelayedInbox,
    /// Notified once events were lost.
    pub missed: Arc<Notify>,
    /// Notified once other notices were lost.
    pub overrun: Arc<Notify>,
}

/// The relayed messages of an [`Inbox`].
#[derive(Debug)]
pub struct RelayedInbox {
    messages: queue::Receiver<Arc<Relayed>>,
    backlog: Arc<Backlog>,
}

impl RelayedInbox {
    /// The next one.
    pub async fn recv(&mut self) -> Option<Arc<Relayed>> {
        let message = self.messages.recv().await?;
        self.backlog.bytes.fetch_sub(message.bytes.len(), Ordering::Relaxed);
        Some(message)
    }

    /// How many were lost since the last call. None are lost while none wait.
    pub fn take_missed(&self) -> u32 {
        self.backlog.missed.swap(0, Ordering::Relaxed)
    }
}

/// A mailbox and its inbox. `events`: whether [`Notice::Event`]s are wanted.
pub fn mailbox(events: bool) -> (Mailbox, Inbox) {
    let (notices, notices_in) = queue::queue(MAX_NOTICES);
    let (datagrams, datagrams_in) = queue::queue(MAX_DATAGRAMS);
    let (relayed, relayed_in) = queue::queue(MAX_RELAYED);
    let (missed, overrun) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let backlog = Arc::<Backlog>::default();
    let inbox = Inbox {
        notices: notices_in,
        datagrams: datagrams_in,
        relayed: RelayedInbox { messages: relayed_in, backlog: Arc::clone(&backlog) },
        missed: Arc::clone(&missed),
        overrun: Arc::clone(&overrun),
    };
    (Mailbox { events, notices, datagrams, relayed, backlog, missed, overrun }, inbox)
}

impl Mailbox {
    /// Whether there is anybody to be told of events.
    pub fn hears_events(&self) -> bool {
        self.events
    }

    pub fn notify(&self, notice: Notice) {
        if matches!(notice, Notice::Event(_)) {
            if !self.events {
                return;
            }
            if self.notices.capacity() <= RESERVED {
                return self.missed.notify_one();
            }
        }
        if let Err(Refused::Full(_)) = self.notices.try_send(notice) {
            self.overrun.notify_one();
        }
    }

    pub fn relay(&self, message: Arc<Relayed>) {
        let (len, is_lossy) = (message.bytes.len(), message.channel == Channel::Lossy);
        let fits = self.backlog.bytes.fetch_add(len, Ordering::Relaxed) + len <= MAX_RELAYED_BYTES;
        if !fits || self.relayed.try_send(message).is_err() {
            self.backlog.bytes.fetch_sub(len, Ordering::Relaxed);
            self.backlog.missed.fetch_add(u32::from(!is_lossy), Ordering::Relaxed);
        }
    }

    fn datagram(&self, datagram: Vec<u8>) {
        let _ = self.datagrams.try_send(datagram);
    }
}

/// Everybody with a transport.
#[derive(Debug, Default)]
pub struct Peers {
    mailboxes: DashMap<PeerKey, (Mailbox, mpsc::Sender<Sensed>)>,
    last: AtomicU64,
}

impl Peers {
    /// A key for a new peer whose events go to `mailbox` from now on, and what is sensed of it to its `room`.
    pub fn add(&self, mailbox: Mailbox, room: mpsc::Sender<Sensed>) -> PeerKey {
        let peer = PeerKey(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        self.mailboxes.insert(peer, (mailbox, room));
        peer
    }

    pub fn remove(&self, peer: PeerKey) {
        self.mailboxes.remove(&peer);
    }

    /// Tells everybody who has a WebSocket.
    pub fn broadcast(&self, broadcast: &Arc<Broadcast>) {
        self.mailboxes.iter().for_each(|entry| entry.value().0.notify(Notice::Event(Arc::clone(broadcast))));
    }

    /// Hands events over until the workers are gone.
    pub async fn dispatch(self: Arc<Self>, mut events: mpsc::Receiver<(WorkerIndex, Event)>) {
        while let Some((_, event)) = events.recv().await {
            let (Event::Dtls { peer, .. }
            | Event::Connected { peer, .. }
            | Event::Silent { peer }
            | Event::Heard { peer }
            | Event::Recovered { peer }
            | Event::Voice { peer, .. }
            | Event::Quality { peer, .. }
            | Event::Limited { peer, .. }
            | Event::Allocated { peer, .. }
            | Event::Decodable { peer, .. }
            | Event::Expired { peer }) = event;
            let Some(entry) = self.mailboxes.get(&peer) else { continue };
            let (mailbox, room) = &*entry;
            let notice = match event {
                Event::Dtls { datagram, .. } => {
                    mailbox.datagram(datagram);
                    continue;
                }
                Event::Voice { track, activity, level, .. } => {
                    // A room that does not keep up hears it a second later.
                    let _ = room.try_send(Sensed::Voice { track, activity, level });
                    continue;
                }
                Event::Quality { grade, figures, .. } => {
                    let _ = room.try_send(Sensed::Quality { peer, quality: Some((grade, figures)) });
                    continue;
                }
                Event::Allocated { track, outcome, size, .. } => {
                    let _ = room.try_send(Sensed::Allocated { peer, track, outcome, size });
                    continue;
                }
                Event::Decodable { track, decodable, .. } => {
                    let _ = room.try_send(Sensed::Decodable { peer, track, decodable });
                    continue;
                }
                Event::Limited { track, most, .. } => {
                    // It is said again.
                    let _ = room.try_send(Sensed::Limited { track, most });
                    continue;
                }
                Event::Connected { .. } => PathNotice::Connected,
                Event::Silent { .. } => {
                    let _ = room.try_send(Sensed::Quality { peer, quality: None });
                    PathNotice::Silent
                }
                Event::Heard { .. } => PathNotice::Heard,
                Event::Recovered { .. } => PathNotice::Recovered,
                Event::Expired { .. } => PathNotice::Expired,
            };
            mailbox.notify(Notice::Path(peer, notice));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_protocol::Event;

    fn event() -> Notice {
        Notice::Event(Broadcast::new(Event::Slots { slots: Vec::new() }))
    }

    /// Whether it was notified; which is taken note of, then.
    fn notified(notify: &Notify) -> bool {
        let mut waiting = std::pin::pin!(notify.notified());
        waiting.as_mut().enable()
    }

    #[test]
    fn who_does_not_keep_up_misses_events_before_anything_else() {
        let (mailbox, mut inbox) = mailbox(true);
        (0..MAX_NOTICES - RESERVED).for_each(|_| mailbox.notify(event()));
        assert!(!notified(&inbox.missed));
        mailbox.notify(event());
        assert!(notified(&inbox.missed) && !notified(&inbox.missed));
        let connected = || Notice::Path(PeerKey(1), PathNotice::Connected);
        (0..RESERVED).for_each(|_| mailbox.notify(connected()));
        assert!(!notified(&inbox.overrun));
        mailbox.notify(connected());
        assert!(notified(&inbox.overrun) && !notified(&inbox.missed));
        let taken = std::iter::from_fn(|| inbox.notices.try_recv());
        assert_eq!(taken.filter(|notice| matches!(notice, Notice::Path(..))).count(), RESERVED);
        // Where there is nobody to be told, nothing can be missed.
        let (mailbox, mut inbox) = super::mailbox(false);
        (0..=MAX_NOTICES).for_each(|_| mailbox.notify(event()));
        assert!(inbox.notices.try_recv().is_none() && !notified(&inbox.missed));
    }

    fn message(channel: Channel, len: usize) -> Arc<Relayed> {
        Arc::new(Relayed { channel, text: false, bytes: vec![0; len].into() })
    }

    #[tokio::test]
    async fn what_waits_for_a_task_is_bounded_and_what_is_lost_is_counted() {
        let (mailbox, mut inbox) = mailbox(true);
        for (len, fit) in [(60_000, MAX_RELAYED_BYTES / 60_000), (1, MAX_RELAYED)] {
            (0..fit + 10).for_each(|_| mailbox.relay(message(Channel::Reliable, len)));
            (0..10).for_each(|_| mailbox.relay(message(Channel::Lossy, len)));
            assert_eq!(inbox.relayed.take_missed(), 10, "{len} bytes");
            for _ in 0..fit {
                inbox.relayed.recv().await.expect("a message");
            }
            assert_eq!(inbox.relayed.backlog.bytes.load(Ordering::Relaxed), 0);
        }
        assert_eq!(inbox.relayed.take_missed(), 0);
    }
}
