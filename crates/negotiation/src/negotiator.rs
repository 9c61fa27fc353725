//! The offer/answer state machine of one participant.

use crate::{Config, Event, IceCredentials, NegotiationError, Offer, Receiver, Remote, Slot};

/// One participant's negotiation: what was agreed, what is wanted, and the offer in flight.
#[derive(Clone, Debug)]
pub struct Negotiator {
    config: Config,
}

impl Negotiator {
    /// Nothing negotiated; waits for the client's first offer.
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// Takes the client's offer. `Ok(Some(answer))`: agreed. `Ok(None)`: it met an offer of the server's in flight and is ignored;
    /// the client rolls back and answers that one (WebRTC 1.0 §10.7). `Err`: nothing changed.
    ///
    /// `fresh` makes new local credentials, and is called only if the offer restarts ICE.
    pub fn handle_offer(&mut self, _sdp: &str, _fresh: impl FnOnce() -> IceCredentials) -> Result<Option<String>, NegotiationError> {
        todo!()
    }

    /// Takes the answer to the offer called `revision`. `Err`: nothing changed; the offer is still in flight, so that the client may
    /// answer it again; [`rollback`](Self::rollback) gives it up.
    pub fn handle_answer(&mut self, _revision: u32, _sdp: &str) -> Result<(), NegotiationError> {
        todo!()
    }

    /// Checks a candidate (RFC 8839 §5.1, with or without `candidate:`; empty: no more will come) and forgets it: a lite agent sends no
    /// checks. Names (`.local`) are accepted and never resolved.
    pub fn handle_candidate(&mut self, _candidate: &str, _mid: Option<&str>) -> Result<(), NegotiationError> {
        todo!()
    }

    /// How many slots there should be, capped by [`Limits::slots`](crate::Limits::slots). The next offer grows or shrinks to it.
    pub fn set_slots(&mut self, _count: usize) {}

    /// The next offer: `Some` only once the client's first offer was answered, while no offer is in flight, and if something changed
    /// since the last description.
    pub fn poll_offer(&mut self) -> Option<Offer> {
        todo!()
    }

    /// Gives up the offer in flight (it was not answered in time); [`poll_offer`](Self::poll_offer) makes another with a new revision.
    pub fn rollback(&mut self) {}

    /// The client's end of the transport; `None` before its first offer was answered.
    pub fn remote(&self) -> Option<&Remote> {
        None
    }

    /// The current local credentials.
    pub fn local_ice(&self) -> &IceCredentials {
        &self.config.ice
    }

    /// The m-lines on which the client sends, in m-line order.
    pub fn receivers(&self) -> &[Receiver] {
        &[]
    }

    /// The slots the client has accepted or refused, by index.
    pub fn slots(&self) -> &[Slot] {
        &[]
    }

    /// What changed, oldest first; each event at most once until polled.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }
}
