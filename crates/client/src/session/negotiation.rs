//! Perfect negotiation, the polite side.

use switchyard_protocol::Request;
use tokio::time::Instant;
use tracing::warn;

use super::{Answer, Done, Session};
use crate::client::Renegotiated;
use crate::error::Closed;
use crate::state::Negotiation;

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
    pub(super) async fn advance(&mut self) -> Result<(), Closed> {
        self.offer_after.take_if(|after| *after <= Instant::now());
        if self.offer.is_none() && self.offer_after.is_none() {
            if let Some(wanted) = self.wanted.take() {
                match self.peer.offer(wanted.restart_ice).await {
                    Ok(sdp) => {
                        let request = self.request(Request::Offer { sdp }, Answer::Offer).await?;
                        self.offer = Some(Offer { request, made_for: wanted });
                        self.state.send_modify(|state| state.negotiation.offers += 1);
                    }
                    Err(error) => {
                        wanted.waiting.into_iter().for_each(|done| drop(done.send(Err(error.clone()))));
                        if let Some(ready) = self.ready.take() {
                            let _ = ready.send(Err(error));
                        }
                    }
                }
            } else {
                self.ask_to_publish().await?;
                if let Some(ready) = self.ready.take() {
                    let _ = ready.send(Ok(()));
                }
            }
        }
        let stable = self.offer.is_none() && self.wanted.is_none();
        self.state.send_if_modified(|state| std::mem::replace(&mut state.negotiation.stable, stable) != stable);
        Ok(())
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

    pub(super) async fn handle_offer(&mut self, revision: u32, sdp: &str) -> Result<(), Closed> {
        self.offer_after = None;
        if let Some(offer) = self.offer.take() {
            self.roll_back().await;
            self.state.send_modify(|state| state.negotiation.rolled_back += 1);
            self.offer_again(offer.made_for);
        }
        match self.peer.answer(sdp).await {
            Ok(answer) => {
                self.described(sdp, |negotiation| negotiation.server_offers += 1);
                self.request(Request::Answer { revision, sdp: answer }, Answer::Nobody).await?;
            }
            Err(error) => self.failed(&format!("the server's offer {revision}: {error}")),
        }
        Ok(())
    }

    pub(super) fn failed(&self, failure: &str) {
        warn!(failure, "negotiation failed");
        self.state.send_modify(|state| {
            state.negotiation.failed += 1;
            state.negotiation_failure = Some(failure.to_owned());
        });
    }

    pub(super) async fn roll_back(&self) {
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
