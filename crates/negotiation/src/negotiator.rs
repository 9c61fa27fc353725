//! The offer/answer state machine of one participant.

mod agree;

#[cfg(test)]
mod tests;

use std::fmt::Write;

use switchyard_rtp::codec::MediaKind;

use crate::description::{Description, Mid};
use crate::fragment::Fragment;
use crate::layout::{Layout, Line, RECVONLY, Role, SENDONLY};
use crate::ssrc::Ssrcs;
use crate::{Config, Event, IceCredentials, Mode, NegotiationError, Offer, Receiver, Remote, Sender, Slot, SsrcPair, candidate};
use agree::Bodies;

/// One participant's negotiation: what was agreed, what is wanted, and the offer in flight.
#[derive(Clone, Debug)]
pub struct Negotiator {
    config: Config,
    agreed: Layout,
    /// The offer in flight.
    pending: Option<Box<Pending>>,
    /// The last offer that was given up. The client may have applied it all the same, so what it proposed stays proposed until a
    /// description of the client's shows otherwise; else the m-lines of the two ends would part for good.
    abandoned: Option<Box<Layout>>,
    wanted: usize,
    ssrcs: Ssrcs,
    /// Of mids; never goes back.
    mids: u32,
    /// Of the `o=` line; grows with every description.
    version: u64,
    revision: u32,
    events: Events,
}

/// An offer in flight.
#[derive(Clone, Debug)]
struct Pending {
    revision: u32,
    layout: Layout,
}

/// What has changed since it was last asked for: at most one of each.
#[derive(Clone, Copy, Debug, Default)]
struct Events {
    remote: bool,
    restarted: bool,
    receivers: bool,
    slots: bool,
}

impl Negotiator {
    /// Nothing negotiated; waits for the client's first offer.
    pub fn new(config: Config) -> Self {
        Self {
            agreed: Layout::new(config.ice.clone()),
            pending: None,
            abandoned: None,
            wanted: 0,
            ssrcs: Ssrcs::new(config.seed),
            mids: 0,
            version: 0,
            revision: 0,
            events: Events::default(),
            config,
        }
    }

    /// Takes the client's offer. `Ok(Some(answer))`: agreed. `Ok(None)`: it met an offer of the server's in flight and is ignored,
    /// unread; the client rolls back and answers that one (WebRTC 1.0 §10.7). `Err`: nothing changed.
    ///
    /// `fresh` makes new local credentials, and is called only if the offer restarts ICE.
    pub fn handle_offer(&mut self, sdp: &str, fresh: impl FnOnce() -> IceCredentials) -> Result<Option<String>, NegotiationError> {
        if self.pending.is_some() {
            return Ok(None);
        }
        let lines = &self.agreed.lines;
        let mut offer = Description::parse(sdp, &self.config.limits, |index| lines.get(index)?.seen.as_ref())?;
        offer.share(&self.config.shared);
        let reconciled = self.abandoned.as_ref().map(|abandoned| agree::reconcile(&offer, &self.agreed, abandoned));
        let base = reconciled.as_ref().unwrap_or(&self.agreed);
        let mut ssrcs = self.ssrcs.clone();
        let mut layout = agree::answer(base, &offer, self.config.mode, &self.config.limits, &mut ssrcs, &mut Bodies::default())?;
        let restarted = matches!((&self.agreed.remote, &layout.remote), (Some(old), Some(new)) if old.ice != new.ice);
        if restarted {
            layout.local_ice = fresh();
        }
        self.ssrcs = ssrcs;
        self.abandoned = None;
        self.commit(layout);
        self.version += 1;
        Ok(Some(self.agreed.write(&self.config, self.version, "passive")))
    }

    /// Takes the answer to the offer called `revision`. `Err`: nothing changed; the offer is still in flight, so that the client may
    /// answer it again; [`rollback`](Self::rollback) gives it up.
    pub fn handle_answer(&mut self, revision: u32, sdp: &str) -> Result<(), NegotiationError> {
        let pending = self.pending.as_ref().ok_or(NegotiationError::NoOffer)?;
        if pending.revision != revision {
            return Err(NegotiationError::Revision { offered: pending.revision, answered: revision });
        }
        let lines = &pending.layout.lines;
        let mut answer = Description::parse(sdp, &self.config.limits, |index| lines.get(index)?.seen.as_ref())?;
        answer.share(&self.config.shared);
        let layout = agree::conclude(&pending.layout, &answer, &mut Bodies::default())?;
        self.pending = None;
        self.commit(layout);
        Ok(())
    }

    /// Checks a candidate (RFC 8839 §5.1, with or without `candidate:`; empty: no more will come) and forgets it: a lite agent sends no
    /// checks. Names (`.local`) are accepted and never resolved.
    pub fn handle_candidate(&mut self, candidate: &str, mid: Option<&str>) -> Result<(), NegotiationError> {
        // The m-line may be one of an offer that was ignored, so that its mid need not be known.
        if mid.is_some_and(|mid| !mid.is_empty() && Mid::new(mid).is_none()) {
            return Err(NegotiationError::Candidate);
        }
        candidate::validate(candidate)
    }

    /// Takes an ICE fragment of the client's (RFC 8840 §9); for sessions of [`Mode::Ingress`] and [`Mode::Egress`]. Candidates are checked and
    /// forgotten: `Ok(None)`. Other credentials of the client's than before restart ICE (RFC 9725 §4.3.3), and the fragment that answers
    /// them is returned; `fresh` makes the new local credentials. `Err`: nothing changed.
    pub fn handle_fragment(&mut self, fragment: &str, fresh: impl FnOnce() -> IceCredentials) -> Result<Option<String>, NegotiationError> {
        debug_assert_ne!(self.config.mode, Mode::Meeting, "offers restart a meeting's ICE");
        let remote = self.agreed.remote.as_mut().ok_or(NegotiationError::NoOffer)?;
        let Some(ice) = Fragment::parse(fragment)?.restart(&remote.ice)? else { return Ok(None) };
        remote.ice = ice;
        self.agreed.local_ice = fresh();
        self.events.restarted = true;
        Ok(Some(self.agreed.write_fragment(&self.config)))
    }

    /// How many slots there should be, capped by [`Limits::slots`](crate::Limits::slots). The next offer grows or shrinks to it, at
    /// the end: the last slots are the first to go. Where only the client offers, it changes nothing.
    pub fn set_slots(&mut self, count: usize) {
        self.wanted = count.min(self.config.limits.slots);
    }

    /// The next offer: `Some` only once the client's first offer was answered, while no offer is in flight, and if something changed
    /// since the last description, or an offer was given up.
    pub fn poll_offer(&mut self) -> Option<Offer> {
        if self.pending.is_some() || self.agreed.remote.is_none() || self.config.mode != Mode::Meeting {
            return None;
        }
        let mut layout = match &self.abandoned {
            Some(abandoned) => (**abandoned).clone(),
            None if self.wanted == self.agreed.slots.len() => return None,
            None => self.agreed.clone(),
        };
        // Slots that the client may or may not have taken up are offered once more before they go: Chromium refuses a new name on an m-line
        // that is stopped and stays so.
        let unconfirmed = |(line, old): (&Line, Option<&Line>)| match line.role {
            Role::Slot(slot) if old.is_none_or(|old| old.mid != line.mid) => Some(slot + 1),
            _ => None,
        };
        let old = self.agreed.lines.iter().map(Some).chain(std::iter::repeat(None));
        let unconfirmed = layout.lines.iter().zip(old).filter_map(unconfirmed).max().unwrap_or(0);
        shrink(&mut layout, self.wanted.max(unconfirmed));
        self.grow(&mut layout);
        self.repeat(&mut layout);
        if !layout.tag.is_some_and(|tag| layout.lines[tag].is_used()) {
            // A line that the client knows, if there is one.
            let used = |line: &Line| line.is_used() && line.seen.is_some();
            layout.tag = layout.lines.iter().position(used).or_else(|| layout.lines.iter().position(Line::is_used));
        }
        self.abandoned = None;
        self.version += 1;
        self.revision += 1;
        let sdp = layout.write(&self.config, self.version, "actpass");
        self.pending = Some(Box::new(Pending { revision: self.revision, layout }));
        Some(Offer { revision: self.revision, sdp })
    }

    /// Gives up the offer in flight (it was not answered in time); [`poll_offer`](Self::poll_offer) makes another with a new revision.
    pub fn rollback(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.abandoned = Some(Box::new(pending.layout));
        }
    }

    /// The client's end of the transport; `None` before its first offer was answered.
    pub fn remote(&self) -> Option<&Remote> {
        self.agreed.remote.as_ref()
    }

    /// The current local credentials.
    pub fn local_ice(&self) -> &IceCredentials {
        &self.agreed.local_ice
    }

    /// The m-lines on which the client sends or may send, in m-line order.
    pub fn receivers(&self) -> &[Receiver] {
        &self.agreed.receivers
    }

    /// The slots the client has answered, by index. One it refused, or stopped, stays here without being active until the slots shrink.
    pub fn slots(&self) -> &[Slot] {
        &self.agreed.slots
    }

    /// What changed; each event at most once until polled.
    pub fn poll_event(&mut self) -> Option<Event> {
        let events = &mut self.events;
        let all = [
            (&mut events.remote, Event::RemoteChanged),
            (&mut events.restarted, Event::IceRestarted),
            (&mut events.receivers, Event::ReceiversChanged),
            (&mut events.slots, Event::SlotsChanged),
        ];
        all.into_iter().find_map(|(flag, event)| std::mem::take(flag).then_some(event))
    }

    /// Offers again what is in use, all of it, whatever the client last made of it.
    fn repeat(&self, layout: &mut Layout) {
        let to_send = layout.to_send.clone();
        for line in &mut layout.lines {
            match (line.role, line.media.kind()) {
                // The client alone decides whether it sends, so that it can begin to in its answer.
                (Role::Client, _) => line.direction = RECVONLY,
                (Role::Slot(_), Some(kind)) => {
                    line.direction = SENDONLY;
                    line.body.clone_from(&to_send[kind as usize]);
                }
                _ => {}
            }
        }
    }

    /// Adds slots up to the wanted number, on stopped m-lines first (RFC 9429 §5.2.2), but not on one before the tagging m-line: Chromium's
    /// answers order the BUNDLE group by m-line, so that another would come to tag it, with a transport of its own.
    fn grow(&mut self, layout: &mut Layout) {
        let mut from = layout.tag.unwrap_or(0);
        for index in layout.slots.len()..self.wanted {
            let audio = self.add_line(layout, &mut from, MediaKind::Audio, index);
            let video = self.add_line(layout, &mut from, MediaKind::Video, index);
            layout.slots.push(Slot { index, audio, video });
        }
    }

    /// Puts a slot's line on the first stopped one at or after `from`, or at the end.
    fn add_line(&mut self, layout: &mut Layout, from: &mut usize, kind: MediaKind, index: usize) -> Sender {
        let body = layout.body_to_send(kind);
        let mid = self.new_mid(layout);
        let receivers = &layout.receivers;
        let taken = |ssrc| receivers.iter().flat_map(|receiver| &receiver.ssrcs).any(|pair| pair.ssrc == ssrc || pair.rtx == Some(ssrc));
        let ssrc = self.ssrcs.next(taken);
        let rtx = body.profile.has_rtx().then(|| self.ssrcs.next(taken));
        let line = Line::of_slot(mid, kind, index, SsrcPair { ssrc, rtx }, &body);
        let at = layout.lines.iter().skip(*from).position(|line| line.role == Role::Stopped).map(|at| at + *from);
        match at {
            Some(at) => layout.lines[at] = line,
            None => layout.lines.push(line),
        }
        *from = at.map_or(layout.lines.len(), |at| at + 1);
        Sender::new(mid.as_str().to_owned(), kind, ssrc)
    }

    /// A mid that no m-line ever had: `s00`, `s01`, ... in base 36.
    fn new_mid(&mut self, layout: &Layout) -> Mid {
        loop {
            let mut text = String::from("s");
            let digit = |value: u32| char::from_digit(value % 36, 36).unwrap_or('0');
            match self.mids {
                few @ 0..1296 => text.extend([digit(few / 36), digit(few)]),
                many => {
                    let _ = write!(text, "{many}");
                }
            }
            self.mids += 1;
            if let Some(mid) = Mid::new(&text).filter(|mid| !layout.lines.iter().any(|line| line.mid == Some(*mid))) {
                return mid;
            }
        }
    }

    fn commit(&mut self, mut layout: Layout) {
        layout.settle(&self.config.shared);
        let old = std::mem::replace(&mut self.agreed, layout);
        let new = &self.agreed;
        if let (Some(before), Some(now)) = (&old.remote, &new.remote) {
            self.events.remote |= before.data_channel != now.data_channel;
            self.events.restarted |= before.ice != now.ice;
        }
        self.events.remote |= old.remote.is_none();
        self.events.receivers |= old.receivers != new.receivers;
        self.events.slots |= old.slots != new.slots;
    }
}

/// Drops the highest slots, down to `count`.
fn shrink(layout: &mut Layout, count: usize) {
    layout.slots.truncate(count);
    for line in &mut layout.lines {
        if matches!(line.role, Role::Slot(index) if index >= count) {
            line.stop();
        }
    }
}
