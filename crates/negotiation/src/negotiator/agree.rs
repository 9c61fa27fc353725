//! How a description of the client's becomes the next layout: an offer answered, or an answer taken.

use std::sync::Arc;

use switchyard_rtp::codec::MediaKind;
use switchyard_rtp::extension::Extension;

use crate::description::{Description, Section, Setup, Streams};
use crate::layout::{INACTIVE, Layout, Line, RECVONLY, Role, SENDONLY};
use crate::profile::{Body, Profile, Way, start_kbps};
use crate::ssrc::Ssrcs;
use crate::{Limits, Mode, NegotiationError, Receiver, Remote, Sender, Simulcast, Slot, SsrcPair};

/// Bodies made for one description. The m-lines of slots say the same for the most part, so that most are found here.
#[derive(Default)]
pub(super) struct Bodies(Vec<(Arc<Streams>, Arc<Body>)>);

impl Bodies {
    /// More than these few differ only in a description made to be slow: then each line gets its own.
    const MAX: usize = 8;

    /// What is agreed to be sent for `streams`, of what `offered` has.
    fn agreed(&mut self, kind: MediaKind, streams: &Arc<Streams>, offered: &Arc<Body>) -> Arc<Body> {
        if let Some((_, body)) = self.0.iter().find(|(known, body)| Arc::ptr_eq(known, streams) && body.profile.kind == kind) {
            return Arc::clone(body);
        }
        let profile = Profile::agree(kind, Way::Out, streams, Some(&offered.profile));
        let body = self.0.iter().map(|(_, body)| body).chain([offered]).find(|body| body.profile == profile).cloned();
        let body = body.unwrap_or_else(|| Body::new(profile));
        if self.0.len() < Self::MAX {
            self.0.push((Arc::clone(streams), Arc::clone(&body)));
        }
        body
    }
}

/// What the m-lines stand for when `offer` comes after an offer was given up: whether the client applied `abandoned` shows in its names,
/// line by line, since no mid is given out twice.
pub(super) fn reconcile(offer: &Description, agreed: &Layout, abandoned: &Layout) -> Layout {
    let mut base = abandoned.clone();
    let mut applied = 0;
    for (index, line) in base.lines.iter_mut().enumerate() {
        let old = agreed.lines.get(index);
        let is_new = matches!(line.role, Role::Slot(_)) && old.is_none_or(|old| old.mid != line.mid);
        if !is_new || offer.sections.get(index).is_some_and(|section| section.mid == line.mid) {
            applied = index + 1;
            continue;
        }
        if let Role::Slot(slot) = line.role {
            base.slots.truncate(slot);
        }
        match old {
            Some(old) => line.clone_from(old),
            None => line.stop(),
        }
    }
    base.lines.truncate(applied.max(agreed.lines.len()));
    for line in &mut base.lines {
        if matches!(line.role, Role::Slot(slot) if slot >= base.slots.len()) {
            line.stop();
        }
    }
    base
}

/// Answers `offer`; `ssrcs` are for slots that the client offers.
pub(super) fn answer(
    base: &Layout,
    offer: &Description,
    mode: Mode,
    limits: &Limits,
    ssrcs: &mut Ssrcs,
    bodies: &mut Bodies,
) -> Result<Layout, NegotiationError> {
    if offer.sections.len() < base.lines.len() {
        return Err(NegotiationError::SectionsLost { negotiated: base.lines.len(), present: offer.sections.len() });
    }
    let mut layout = start(base);
    learn(&mut layout, offer);
    for (index, section) in offer.sections.iter().enumerate() {
        if section.stopped {
            layout.lines.push(Line::stopped(section));
            continue;
        }
        let known = |line: &&Line| line.is_used() || line.role == Role::Stopping && line.mid == section.mid;
        let old = base.lines.get(index).filter(known);
        if let Some(old) = old {
            check_same(index, old, section, offer)?;
        }
        let is_media = section.media.kind().is_some();
        if is_media {
            check_way(mode, index, section, offer)?;
        }
        let line = match old.map(|line| (line, line.role)) {
            // It was offered as stopped before, whether or not the client knows.
            Some((_, Role::Stopping)) => None,
            Some((line, Role::Slot(slot))) => answer_slot(&mut layout, line.clone(), offer, section, slot, bodies),
            _ if !offer.is_bundled(section) => None,
            _ if is_media && mode == Mode::Egress => {
                let slot = free_slot(layout.lines.iter().chain(base.lines.iter().skip(index)), section);
                if slot >= limits.slots {
                    return Err(NegotiationError::TooManySections);
                }
                add_slot(&mut layout, offer, section, slot, ssrcs, bodies)
            }
            _ if is_media => answer_client(&mut layout, old, offer, section),
            _ => answer_data(&layout, section),
        };
        if line.is_none() && is_media && mode != Mode::Meeting {
            return Err(NegotiationError::Unusable { section: index });
        }
        layout.lines.push(line.unwrap_or_else(|| Line::stopped(section)));
    }
    if layout.lines.iter().filter(|line| matches!(line.role, Role::Data | Role::Client)).count() > limits.client_sections {
        return Err(NegotiationError::TooManySections);
    }

    let data_channel = layout.lines.iter().any(|line| line.role == Role::Data);
    layout.tag = tag(&layout.lines, offer);
    match (layout.tag, &mut layout.remote) {
        (Some(tagged), remote) => {
            let choice = offer.transport(&offer.sections[tagged])?;
            if choice.setup == Some(Setup::Passive) {
                return Err(NegotiationError::Setup);
            }
            if remote.as_ref().is_some_and(|remote| remote.fingerprint != choice.fingerprint) {
                return Err(NegotiationError::FingerprintChanged);
            }
            *remote = Some(Remote { fingerprint: choice.fingerprint, ice: choice.ice, data_channel });
        }
        // A client that stopped everything keeps its transport: slots may come.
        (None, Some(remote)) => remote.data_channel = false,
        (None, None) => return Err(NegotiationError::NothingUsable),
    }
    Ok(layout)
}

/// Takes the answer to `offered`.
pub(super) fn conclude(offered: &Layout, answer: &Description, bodies: &mut Bodies) -> Result<Layout, NegotiationError> {
    if answer.sections.len() != offered.lines.len() {
        return Err(NegotiationError::SectionCount { offered: offered.lines.len(), answered: answer.sections.len() });
    }
    let mut layout = start(offered);
    for (index, (line, section)) in offered.lines.iter().zip(&answer.sections).enumerate() {
        let mut line = line.clone();
        line.seen = Some(Arc::clone(section));
        if !line.is_used() {
            if !section.stopped {
                return Err(NegotiationError::Stopped { section: index });
            }
            line.role = Role::Stopped;
            layout.lines.push(line);
            continue;
        }
        if section.stopped {
            layout.lines.push(Line { mid: line.mid, ..Line::stopped(section) });
            continue;
        }
        check_same(index, &line, section, answer)?;
        if section.protocol.is_none() {
            return Err(NegotiationError::Transport { section: index });
        }
        let direction = answer.direction(section);
        match (line.role, section.media.kind()) {
            (Role::Slot(slot), Some(kind)) => {
                if direction.sends {
                    return Err(NegotiationError::Direction { section: index });
                }
                let body = bodies.agreed(kind, &section.streams, &layout.body_to_send(kind));
                line.direction = if direction.receives { SENDONLY } else { INACTIVE };
                set_sender(&mut layout, slot, &line, &body, direction.receives);
                if body.profile.is_usable() && !std::mem::replace(&mut layout.settled[kind as usize], true) {
                    layout.to_send[kind as usize] = Some(body);
                }
            }
            (Role::Client, Some(kind)) => {
                if direction.receives {
                    return Err(NegotiationError::Direction { section: index });
                }
                let offered = line.body.as_ref().map(|body| &body.profile);
                let profile = Profile::agree(kind, Way::In, &section.streams, offered);
                line.direction = if direction.sends { RECVONLY } else { INACTIVE };
                line.simulcast = simulcast(&profile, section);
                layout.receivers.push(receiver(&profile, section, direction.sends));
            }
            _ => {}
        }
        layout.lines.push(line);
    }

    let data_channel = layout.lines.iter().any(|line| line.role == Role::Data);
    layout.tag = tag(&layout.lines, answer);
    if let Some(remote) = &mut layout.remote {
        if let Some(tagged) = layout.tag {
            let choice = answer.transport(&answer.sections[tagged])?;
            if choice.setup.is_some_and(|setup| setup != Setup::Active) {
                return Err(NegotiationError::Setup);
            }
            if remote.fingerprint != choice.fingerprint {
                return Err(NegotiationError::FingerprintChanged);
            }
            if remote.ice != choice.ice {
                return Err(NegotiationError::IceChanged);
            }
        }
        remote.data_channel = data_channel;
    }
    Ok(layout)
}

/// `base` without its m-lines; no slot is active until its m-lines show that it is.
fn start(base: &Layout) -> Layout {
    let mut slots = base.slots.clone();
    for slot in &mut slots {
        slot.audio.active = false;
        slot.video.active = false;
    }
    Layout {
        lines: Vec::with_capacity(base.lines.len() + 2),
        slots,
        receivers: Vec::with_capacity(base.receivers.len() + 1),
        remote: base.remote.clone(),
        local_ice: base.local_ice.clone(),
        known: base.known.clone(),
        tag: None,
        to_send: base.to_send.clone(),
        settled: base.settled,
    }
}

/// The line that tags the BUNDLE group: the first of the client's group that is in use.
fn tag(lines: &[Line], description: &Description) -> Option<usize> {
    description.bundle().find_map(|mid| lines.iter().position(|line| line.is_used() && line.mid == Some(mid)))
}

/// Learns the payload types and ids of the client's own m-lines, for the slots still to come.
fn learn(layout: &mut Layout, offer: &Description) {
    let mut last: Option<&Arc<Streams>> = None;
    for section in offer.sections.iter().filter(|section| offer.is_bundled(section)) {
        // Slots' m-lines teach nothing new; in a large room they are most.
        let Some(kind) = section.media.kind().filter(|_| last.is_none_or(|last| !Arc::ptr_eq(last, &section.streams))) else { continue };
        layout.known.learn(kind, &section.streams);
        last = Some(&section.streams);
    }
}

/// An m-line in use keeps its mid, its kind and its place in the BUNDLE group.
fn check_same(index: usize, line: &Line, section: &Section, description: &Description) -> Result<(), NegotiationError> {
    if section.mid != line.mid || section.media != line.media {
        return Err(NegotiationError::SectionChanged { section: index });
    }
    if !description.is_bundled(section) {
        return Err(NegotiationError::NotBundled { section: index });
    }
    Ok(())
}

/// In a session that has one way only, every m-line goes that way (RFC 9725 §4.2).
fn check_way(mode: Mode, index: usize, section: &Section, offer: &Description) -> Result<(), NegotiationError> {
    let direction = offer.direction(section);
    match mode {
        Mode::Ingress if !direction.sends => Err(NegotiationError::OneWay { section: index, required: "sendonly" }),
        Mode::Egress if !direction.receives => Err(NegotiationError::OneWay { section: index, required: "recvonly" }),
        _ => Ok(()),
    }
}

/// The first slot without an m-line of this kind.
fn free_slot<'a>(lines: impl Iterator<Item = &'a Line>, section: &Section) -> usize {
    let mut taken: Vec<usize> = lines
        .filter(|line| line.media == section.media)
        .filter_map(|line| if let Role::Slot(slot) = line.role { Some(slot) } else { None })
        .collect();
    taken.sort_unstable();
    taken.iter().enumerate().find(|(at, slot)| at != *slot).map_or(taken.len(), |(at, _)| at)
}

/// An m-line on which the client offers to receive; `None` if the server can't send anything on it.
fn add_slot(
    layout: &mut Layout,
    offer: &Description,
    section: &Arc<Section>,
    slot: usize,
    ssrcs: &mut Ssrcs,
    bodies: &mut Bodies,
) -> Option<Line> {
    let (kind, mid) = (section.media.kind()?, section.mid?);
    let body = layout.body_to_send(kind);
    let taken = |ssrc| offer.sections.iter().flat_map(|section| &section.ssrcs).any(|pair| pair.ssrc == ssrc || pair.rtx == Some(ssrc));
    let ssrc = ssrcs.next(taken);
    let rtx = body.profile.has_rtx().then(|| ssrcs.next(taken));
    for index in layout.slots.len()..=slot {
        let absent = |kind| Sender::new(String::new(), kind, 0);
        layout.slots.push(Slot { index, audio: absent(MediaKind::Audio), video: absent(MediaKind::Video) });
    }
    *layout.sender(slot, section.media)? = Sender::new(mid.as_str().to_owned(), kind, ssrc);
    let line = Line::of_slot(mid, kind, slot, SsrcPair { ssrc, rtx }, &body);
    answer_slot(layout, line, offer, section, slot, bodies)
}

/// The client's side of a slot's m-line; `None` if it became unusable.
fn answer_slot(
    layout: &mut Layout,
    mut line: Line,
    offer: &Description,
    section: &Arc<Section>,
    slot: usize,
    bodies: &mut Bodies,
) -> Option<Line> {
    let kind = section.media.kind()?;
    line.protocol = section.protocol?;
    let body = bodies.agreed(kind, &section.streams, &layout.body_to_send(kind));
    if !body.profile.is_usable() {
        return None;
    }
    let receives = offer.direction(section).receives;
    line.seen = Some(Arc::clone(section));
    line.direction = if receives { SENDONLY } else { INACTIVE };
    set_sender(layout, slot, &line, &body, receives);
    line.body = Some(body);
    Some(line)
}

/// An m-line of the client's own; `None` if the server can't receive anything on it.
fn answer_client(layout: &mut Layout, old: Option<&Line>, offer: &Description, section: &Arc<Section>) -> Option<Line> {
    let (kind, protocol) = (section.media.kind()?, section.protocol?);
    let mut profile = Profile::agree(kind, Way::In, &section.streams, None);
    if !profile.is_usable() {
        return None;
    }
    let simulcast = simulcast(&profile, section);
    profile.start_kbps = start_kbps(kind, &simulcast);
    let sends = offer.direction(section).sends;
    layout.receivers.push(receiver(&profile, section, sends));
    let same = old.and_then(|line| line.body.as_ref()).filter(|body| body.profile == profile).cloned();
    let mut line = used(section, Role::Client, protocol);
    line.direction = if sends { RECVONLY } else { INACTIVE };
    line.simulcast = simulcast;
    line.body = Some(same.unwrap_or_else(|| Body::new(profile)));
    Some(line)
}

/// The m-line of the data channels: there is one association, so only the first.
fn answer_data(layout: &Layout, section: &Arc<Section>) -> Option<Line> {
    let first = !layout.lines.iter().any(|line| line.role == Role::Data);
    section.protocol.filter(|_| first).map(|protocol| used(section, Role::Data, protocol))
}

fn used(section: &Arc<Section>, role: Role, protocol: &'static str) -> Line {
    Line { role, protocol, refusal: None, ..Line::stopped(section) }
}

/// Without the extension no packet could say its RID.
fn simulcast(profile: &Profile, section: &Section) -> Simulcast {
    match &section.simulcast {
        Simulcast::Rids(_) if profile.extensions.id(Extension::Rid).is_none() => Simulcast::Off,
        simulcast => simulcast.clone(),
    }
}

fn receiver(profile: &Profile, section: &Section, active: bool) -> Receiver {
    Receiver {
        mid: section.mid.as_ref().map_or_else(String::new, |mid| mid.as_str().to_owned()),
        kind: profile.kind,
        active: active && profile.is_usable(),
        payloads: profile.payload_types(),
        feedback: profile.feedback(),
        extensions: profile.extensions,
        ssrcs: section.ssrcs.clone(),
        simulcast: simulcast(profile, section),
    }
}

fn set_sender(layout: &mut Layout, slot: usize, line: &Line, body: &Body, receives: bool) {
    let Some(sender) = layout.sender(slot, line.media) else { return };
    let profile = &body.profile;
    sender.active = receives && profile.is_usable();
    sender.codecs = profile.codec_table();
    sender.feedback = profile.feedback();
    sender.extensions = profile.extensions;
    sender.rtx_ssrc = line.ssrcs.and_then(|ssrcs| ssrcs.rtx).filter(|_| profile.has_rtx());
}
