//! Another peer connection within the same session (PROTOCOL.md, *Beginning anew*).

use switchyard_protocol::{Renewed, Request};
use tracing::{debug, warn};

use super::negotiation::{Restart, Wanted};
use super::publications::Progress;
use super::{Answer, Connection, Done, Handles, Session};
use crate::error::ClientError;
use crate::state::{ClientEvent, Transport};

impl Session {
    /// Asks for it. Until the server answers, nothing is negotiated or published.
    pub(super) async fn renew(&mut self, done: Option<Done<()>>) {
        if self.renewing {
            if let Some(done) = done {
                let _ = done.send(Err(ClientError::Data("it is under way".into())));
            }
            return;
        }
        self.renewing = true;
        let received = self.data.close().await;
        self.request(Request::Renew { received }, Answer::Renewed(done)).await;
    }

    /// Does it. The participant and its tracks stay; what the server has negotiated is nothing.
    pub(super) async fn renewed(&mut self, renewed: Renewed) -> Result<(), ClientError> {
        self.peer.close().await;
        let lane = self.lane.as_ref().map(|lane| lane.succeed());
        let connection = Connection::open(&self.options, self.link.ends, lane.clone(), self.meter.clone()).await?;
        (self.peer, self.from_peer, self.lane) = (connection.peer, connection.events, lane.clone());
        self.data.renew(connection.data, renewed.received).await;
        self.handles.send_replace(Handles { data: self.data.clone(), lane });
        self.meter.lock().clear_slots();
        self.state.send_modify(|state| {
            state.slots.clear();
            state.published.clear();
            state.transport = Transport::New;
            state.data_channel_open = false;
        });
        self.lines.clear();
        self.add_first_lines().await?;
        // Of a publication that begins again others shall not think that it went back.
        for entry in &mut self.publications {
            if matches!(entry.progress, Progress::Live(..)) {
                entry.number = self.next_publication;
                self.next_publication = self.next_publication.wrapping_add(1);
            }
        }
        self.publish_again().await?;

        let mut waiting = self.wanted.take().unwrap_or_default().waiting;
        waiting.extend(self.offer.take().map(|offer| offer.made_for.waiting).unwrap_or_default());
        self.wanted = Some(Wanted { waiting, ..Wanted::default() });
        self.offer_after = None;
        self.restart = Restart::default();
        self.renewing = false;
        debug!(me = self.state.borrow().me.0, "another peer connection");
        let _ = self.events.send(ClientEvent::Renewed);
        Ok(())
    }

    /// It was refused: the peer connection goes on as it can.
    pub(super) async fn not_renewed(&mut self, done: Option<Done<()>>, error: ClientError) {
        warn!(%error, "not renewed");
        self.renewing = false;
        let open = self.state.borrow().data_channel_open;
        self.data.set_open(open).await;
        if let Some(done) = done {
            let _ = done.send(Err(error));
        }
    }
}
