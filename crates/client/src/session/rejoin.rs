//! After a loss: the same session over another connection, or another session.

use std::sync::Arc;

use switchyard_protocol::{Joined, Snapshot};
use tokio::time::Instant;
use tracing::debug;

use super::negotiation::{Restart, Wanted};
use super::{Answer, Connection, Handles, REQUEST_TIMEOUT, Session, first_ssrc};
use crate::data::Data;
use crate::error::ClientError;
use crate::meter::Meter;
use crate::state::{ClientEvent, State};

impl Session {
    /// The session goes on over another connection.
    pub(super) fn resume(&mut self, snapshot: Option<Snapshot>) {
        let missed = snapshot.is_some();
        self.state.send_modify(|state| {
            state.reconnecting = false;
            if let Some(snapshot) = snapshot {
                state.replace(snapshot);
            }
        });
        if missed {
            self.meter.lock().clear_slots();
            self.fill_slots();
        }
        // The server hears what it is asked only now.
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        self.pending.values_mut().for_each(|pending| pending.deadline = deadline);
        self.resume_restart();
        debug!(me = self.state.borrow().me.0, missed, "resumed");
        let _ = self.events.send(ClientEvent::Resumed { missed });
    }

    /// Another session takes the place of this one: another participant in the same room, over another peer connection, publishes what this one did.
    pub(super) async fn rejoin(&mut self, joined: Joined) -> Result<(), ClientError> {
        // What it might still hear must not be counted as the next one's.
        self.peer.close().await;
        *self.meter.lock() = Meter::default();
        let lane = self.lane.as_ref().map(|lane| lane.succeed());
        let connection = Connection::open(&self.options, self.link.ends, lane.clone(), self.meter.clone()).await?;
        (self.peer, self.from_peer, self.lane) = (connection.peer, connection.events, lane.clone());
        self.data.end().await;
        self.data = Arc::new(Data::new(connection.data));
        self.handles.send_replace(Handles { data: self.data.clone(), lane });
        self.renewing = false;

        let me = joined.participant;
        debug!(before = self.state.borrow().me.0, me = me.0, "joined again");
        self.state.send_replace(State::new(joined));
        self.next_ssrc = first_ssrc(me);
        self.lines.clear();
        self.add_first_lines().await?;
        self.settle_requests();
        self.publish_again().await?;

        let mut waiting = self.wanted.take().unwrap_or_default().waiting;
        waiting.extend(self.offer.take().map(|offer| offer.made_for.waiting).unwrap_or_default());
        self.wanted = Some(Wanted { waiting, ..Wanted::default() });
        self.offer_after = None;
        self.restart = Restart::default();
        let _ = self.events.send(ClientEvent::Rejoined { me });
        Ok(())
    }

    /// Does here what the last session was asked for of things that go on in this one. The rest was for that one.
    fn settle_requests(&mut self) {
        for (_, pending) in std::mem::take(&mut self.pending) {
            match pending.answer {
                // Their publications and offers are made anew.
                Answer::Nobody | Answer::Offer | Answer::Published { .. } => {}
                Answer::Renewed(done) => {
                    if let Some(done) = done {
                        let _ = done.send(Err(ClientError::Rejoined));
                    }
                }
                Answer::Caller(done) | Answer::Renamed { done, .. } => drop(done.send(Err(ClientError::Rejoined))),
                Answer::Unpublished { track, done } => {
                    self.publications.retain(|entry| entry.progress.live() != Some(track));
                    let _ = done.send(Ok(()));
                }
                Answer::Muted { track, muted, done } => {
                    self.publications.iter_mut().filter(|entry| entry.progress.live() == Some(track)).for_each(|entry| {
                        entry.publish.muted = muted;
                    });
                    let _ = done.send(Ok(()));
                }
            }
        }
    }
}
