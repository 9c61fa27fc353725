//! Going down without cutting anybody off: no new rooms, everybody is told, and the server ends when the last room is empty or time is up.

use std::time::Duration;

use switchyard_protocol::Event;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::outbox::Broadcast;
use crate::peers::Peers;
use crate::rooms::Rooms;

/// Whether the server is being drained, and until when.
#[derive(Debug)]
pub struct Drain {
    deadline: watch::Sender<Option<Instant>>,
    asked: mpsc::Sender<Duration>,
}

impl Drain {
    /// Not yet. The receiver hears of those who ask for it.
    pub fn new() -> (Self, mpsc::Receiver<Duration>) {
        let (asked, asks) = mpsc::channel(1);
        (Self { deadline: watch::Sender::new(None), asked }, asks)
    }

    /// Asks the server to go down when its rooms are empty, or `within` this time.
    pub async fn ask(&self, within: Duration) {
        // Where nobody listens any more it is going down already.
        let _ = self.asked.send(within).await;
    }

    /// Begins, or sets another deadline.
    pub fn begin(&self, within: Duration, peers: &Peers) {
        self.deadline.send_replace(Some(Instant::now() + within));
        tracing::info!(within_secs = within.as_secs(), "draining: no new rooms");
        if let Some(event) = self.event() {
            peers.broadcast(&Broadcast::new(event));
        }
    }

    /// Whether it has begun.
    pub fn is_on(&self) -> bool {
        self.deadline.borrow().is_some()
    }

    /// Returns when it has begun.
    pub async fn begun(&self) {
        let mut deadline = self.deadline.subscribe();
        let _ = deadline.wait_for(Option::is_some).await;
    }

    /// What clients are told, while there is anything to tell.
    pub fn event(&self) -> Option<Event> {
        let left = self.deadline.borrow().as_ref()?.saturating_duration_since(Instant::now());
        Some(Event::Draining { within: u32::try_from(left.as_secs_f64().ceil() as u64).unwrap_or(u32::MAX) })
    }

    /// Returns when it is over.
    pub async fn over(&self, rooms: &Rooms) {
        let mut deadline = self.deadline.subscribe();
        let Ok(deadline) = deadline.wait_for(Option::is_some).await.map(|deadline| *deadline) else { return };
        tokio::select! {
            () = rooms.emptied() => tracing::info!("drained: nobody is here any more"),
            () = crate::participant::sleep_until(deadline.map(Instant::into_std)) => tracing::info!("drained: time is up"),
        }
    }
}
