//! Perfect negotiation, the polite side.

use std::time::Duration;

use switchyard_protocol::Request;
use tokio::time::Instant;
use tracing::warn;

use super::{Answer, Done, Session};
use crate::client::Renegotiated;
use crate::error::ClientError;
use crate::state::{Negotiation, Transport};

/// How long an ICE restart may take before the next one: a round trip for the offer and two for the checks, with room for some losses.
const RESTART_PATIENCE: Duration = Duration::from_secs(5);

/// An ICE restart that is the session's own idea.
#[derive(Default)]
pub(super) struct Restart {
    /// Whether the next offer restarts ICE.
    wanted: bool,
    /// When it should have helped.
    due: Option<Instant>,
}

/// An offer that is to be made, and who waits for its answer.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) restart_ice: bool,
    pub(super) collided: bool,
    pub(super) waiting: Vec<Done<Renegotiated>>,
}

/// An offer in flight.
pub(super) struct Offer {
    pub(super) request: u32,
    pub(super) made_for: Wanted,
}

impl Session {
    /// Does what has become possible: an offer that is wanted, a publication whose m-line is there.
    pub(super) async fn advance(&mut self) {
        self.offer_after.take_if(|after| *after <= Instant::now());
        // Without a connection an offer would only grow old, and one that restarts ICE would give up the old path for nothing.
        if self.link.is_up() && !self.renewing && self.offer.is_none() && self.offer_after.is_none() {
            if std::mem::take(&mut self.restart.wanted) {
                self.restart.due = Some(Instant::now() + RESTART_PATIENCE);
                self.wanted.get_or_insert_default().restart_ice = true;
            }
            if let Some(wanted) = self.wanted.take() {
                match self.peer.offer(wanted.restart_ice).await {
                    Ok(sdp) => match self.request(Request::Offer { sdp }, Answer::Offer).await {
                        Some(request) => {
                            self.offer = Some(Offer { request, made_for: wanted });
                            self.state.send_modify(|state| state.negotiation.offers += 1);
                        }
                        None => {
                            self.roll_back().await;
                            self.give_up(wanted, ClientError::Backlog);
                        }
                    },
                    Err(error) => self.give_up(wanted, error),
                }
            } else {
                self.ask_to_publish().await;
                if let Some(ready) = self.ready.take() {
                    let _ = ready.send(Ok(()));
                }
            }
        }
        let stable = self.offer.is_none() && self.wanted.is_none();
        self.state.send_if_modified(|state| std::mem::replace(&mut state.negotiation.stable, stable) != stable);
    }

    pub(super) async fn handle_answer(&mut self, request: u32, sdp: &str) {
        // An answer to an offer that was rolled back means that the two sides disagree about who won.
        let Some(offer) = self.offer.take_if(|offer| offer.request == request) else {
            self.failed("an answer to an offer that was rolled back");
            return;
        };
        let result = self.peer.apply_answer(sdp).await;
        let outcome = if offer.made_for.collided { Renegotiated::AfterCollision } else { Renegotiated::Answered };
        for done in offer.made_for.waiting {
            let _ = done.send(result.clone().map(|()| outcome));
        }
        match result {
            Ok(()) => self.described(sdp, |negotiation| negotiation.answered += 1),
            Err(error) => {
                self.failed(&format!("the server's answer: {error}"));
                if let Some(ready) = self.ready.take() {
                    let _ = ready.send(Err(error));
                }
            }
        }
    }

    pub(super) async fn handle_offer(&mut self, revision: u32, sdp: &str) {
        self.offer_after = None;
        if let Some(offer) = self.offer.take() {
            self.roll_back().await;
            self.state.send_modify(|state| state.negotiation.rolled_back += 1);
            self.offer_again(offer.made_for);
        }
        match self.peer.answer(sdp).await {
            Ok(answer) => {
                self.described(sdp, |negotiation| negotiation.server_offers += 1);
                self.request(Request::Answer { revision, sdp: answer }, Answer::Nobody).await;
            }
            Err(error) => self.failed(&format!("the server's offer {revision}: {error}")),
        }
    }

    /// The path to the server, or signs of it, changed.
    pub(super) fn handle_transport(&mut self, transport: Transport) {
        self.state.send_modify(|state| state.transport = transport);
        self.open_gates();
        match transport {
            Transport::Connected => self.restart = Restart::default(),
            Transport::Disconnected | Transport::Failed => {
                // The same network carries signaling, perhaps.
                self.link.doubt();
                self.restart_ice();
            }
            Transport::New | Transport::Connecting | Transport::Closed => {}
        }
    }

    /// Restarts ICE as soon as it can, unless that is under way.
    pub(super) fn restart_ice(&mut self) {
        self.restart.wanted |= self.reconnect && self.restart.due.is_none();
    }

    /// An ICE restart that was under way when the connection was lost has its time again.
    pub(super) fn resume_restart(&mut self) {
        if self.offer.as_ref().is_some_and(|offer| offer.made_for.restart_ice) {
            self.restart = Restart { wanted: false, due: Some(Instant::now() + RESTART_PATIENCE) };
        }
    }

    /// Restarts ICE again when that has not helped.
    pub(super) fn check_restart(&mut self) {
        if self.restart.due.take_if(|due| *due <= Instant::now()).is_some() {
            self.restart_ice();
        }
    }

    /// Tells whoever waits for an offer that there will be none, or no answer.
    pub(super) fn give_up(&mut self, wanted: Wanted, error: ClientError) {
        wanted.waiting.into_iter().for_each(|done| drop(done.send(Err(error.clone()))));
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(Err(error));
        }
    }

    pub(super) fn failed(&self, failure: &str) {
        warn!(failure, "negotiation failed");
        self.state.send_modify(|state| {
            state.negotiation.failed += 1;
            state.negotiation_failure = Some(failure.to_owned());
        });
    }

    pub(super) async fn roll_back(&mut self) {
        if let Err(error) = self.peer.roll_back().await {
            warn!(%error, "the offer can't be rolled back");
        }
    }

    /// Makes an offer again that collided.
    pub(super) fn offer_again(&mut self, made_for: Wanted) {
        let wanted = self.wanted.get_or_insert_default();
        wanted.restart_ice |= made_for.restart_ice;
        wanted.collided = true;
        wanted.waiting.extend(made_for.waiting);
    }

    /// A description of the server's is in force.
    pub(super) fn described(&self, sdp: &str, count: impl FnOnce(&mut Negotiation)) {
        if let Some(lane) = &self.lane {
            lane.describe(self.peer.incoming(), sdp);
        }
        self.meter.lock().set_incoming(self.peer.incoming());
        self.state.send_modify(|state| {
            state.negotiation.media_lines = self.peer.media_lines();
            count(&mut state.negotiation);
        });
    }
}
