//! Which participant a worker's event is for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use switchyard_forward::{Event, PeerKey, WorkerIndex};
use switchyard_protocol::Snapshot;
use tokio::sync::{Notify, mpsc};

use crate::outbox::Broadcast;

/// Room and transport notices waiting for one participant: as many as the outgoing queue behind it takes.
const MAX_NOTICES: usize = 4096;
/// Of those, places that events leave to what can't be made up for by a look at the room.
const RESERVED: usize = 64;
/// DTLS datagrams waiting for one participant: 384 KB, more than an SCTP receive window. The rest is dropped; DTLS and SCTP repeat.
const MAX_DATAGRAMS: usize = 256;
/// Relayed data channel messages waiting for one participant; beyond that they are dropped.
const MAX_RELAYED: usize = 64;

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
    /// The client nominated a path.
    Connected,
    /// Nothing authenticated was heard for some seconds.
    Silent,
    /// The client is heard again.
    Heard,
    /// Nothing authenticated was heard for 30 s.
    Expired,
}

/// A data channel message of another participant's, as it is to be sent on.
#[derive(Debug)]
pub struct Relayed {
    /// Text or binary.
    pub text: bool,
    /// With the sender in front.
    pub bytes: Vec<u8>,
}

/// Where a participant is reached. Never waits: who does not keep up misses events, and if that is not enough their session ends.
#[derive(Clone, Debug)]
pub struct Mailbox {
    /// Whether there is anybody to be told of events.
    events: bool,
    notices: mpsc::Sender<Notice>,
    datagrams: mpsc::Sender<Vec<u8>>,
    relayed: mpsc::Sender<Arc<Relayed>>,
    missed: Arc<Notify>,
    overrun: Arc<Notify>,
}

/// A participant's end of its [`Mailbox`].
#[derive(Debug)]
pub struct Inbox {
    pub notices: mpsc::Receiver<Notice>,
    pub datagrams: mpsc::Receiver<Vec<u8>>,
    pub relayed: mpsc::Receiver<Arc<Relayed>>,
    /// Notified once events were lost.
    pub missed: Arc<Notify>,
    /// Notified once other notices were lost.
    pub overrun: Arc<Notify>,
}

/// A mailbox and its inbox. `events`: whether [`Notice::Event`]s are wanted.
pub fn mailbox(events: bool) -> (Mailbox, Inbox) {
    let (notices, notices_in) = mpsc::channel(MAX_NOTICES);
    let (datagrams, datagrams_in) = mpsc::channel(MAX_DATAGRAMS);
    let (relayed, relayed_in) = mpsc::channel(MAX_RELAYED);
    let (missed, overrun) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let inbox = Inbox {
        notices: notices_in,
        datagrams: datagrams_in,
        relayed: relayed_in,
        missed: Arc::clone(&missed),
        overrun: Arc::clone(&overrun),
    };
    (Mailbox { events, notices, datagrams, relayed, missed, overrun }, inbox)
}

impl Mailbox {
    pub fn notify(&self, notice: Notice) {
        if matches!(notice, Notice::Event(_)) {
            if !self.events {
                return;
            }
            if self.notices.capacity() <= RESERVED {
                return self.missed.notify_one();
            }
        }
        if let Err(mpsc::error::TrySendError::Full(_)) = self.notices.try_send(notice) {
            self.overrun.notify_one();
        }
    }

    pub fn relay(&self, message: Arc<Relayed>) {
        let _ = self.relayed.try_send(message);
    }

    fn datagram(&self, datagram: Vec<u8>) {
        let _ = self.datagrams.try_send(datagram);
    }
}

/// Everybody with a transport.
#[derive(Debug, Default)]
pub struct Peers {
    mailboxes: DashMap<PeerKey, Mailbox>,
    last: AtomicU64,
}

impl Peers {
    /// A key for a new peer whose events go to `mailbox` from now on.
    pub fn add(&self, mailbox: Mailbox) -> PeerKey {
        let peer = PeerKey(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        self.mailboxes.insert(peer, mailbox);
        peer
    }

    pub fn remove(&self, peer: PeerKey) {
        self.mailboxes.remove(&peer);
    }

    /// Hands events over until the workers are gone.
    pub async fn dispatch(self: Arc<Self>, mut events: mpsc::Receiver<(WorkerIndex, Event)>) {
        while let Some((_, event)) = events.recv().await {
            let (Event::Dtls { peer, .. }
            | Event::Connected { peer, .. }
            | Event::Silent { peer }
            | Event::Heard { peer }
            | Event::Expired { peer }) = event;
            let Some(mailbox) = self.mailboxes.get(&peer) else { continue };
            match event {
                Event::Dtls { datagram, .. } => mailbox.datagram(datagram),
                Event::Connected { .. } => mailbox.notify(Notice::Connected),
                Event::Silent { .. } => mailbox.notify(Notice::Silent),
                Event::Heard { .. } => mailbox.notify(Notice::Heard),
                Event::Expired { .. } => mailbox.notify(Notice::Expired),
            }
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
        (0..RESERVED).for_each(|_| mailbox.notify(Notice::Connected));
        assert!(!notified(&inbox.overrun));
        mailbox.notify(Notice::Connected);
        assert!(notified(&inbox.overrun) && !notified(&inbox.missed));
        let taken = std::iter::from_fn(|| inbox.notices.try_recv().ok());
        assert_eq!(taken.filter(|notice| matches!(notice, Notice::Connected)).count(), RESERVED);
        // Where there is nobody to be told, nothing can be missed.
        let (mailbox, mut inbox) = super::mailbox(false);
        (0..=MAX_NOTICES).for_each(|_| mailbox.notify(event()));
        assert!(inbox.notices.try_recv().is_err() && !notified(&inbox.missed));
    }
}
