//! One participant's session: a task that owns the WebSocket, the peer connection and what is known of the room.
//!
//! It is the polite side of perfect negotiation (WebRTC 1.0 §10.7): an offer of the server's that meets one of its own wins;
//! the own one is rolled back and made again. The server sees its own offer in flight and ignores the other, and both know it
//! from the order of messages alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use switchyard_protocol::{ClientMessage, Event, Joined, Kind, ParticipantId, Reply, Request, ServerMessage, TrackId};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, warn};
use webrtc::data_channel::DataChannel;

use crate::client::{Options, Renegotiated};
use crate::error::{ClientError, Closed};
use crate::media::Publish;
use crate::peer::{Line, Peer, PeerEvent, PeerOptions};
use crate::publisher::{Publication, Publisher};
use crate::signaling::Signaling;
use crate::state::{ClientEvent, DataMessage, DataPayload, Published, State, Transport};
use crate::tap::SharedMeter;

/// How long a request may stay unanswered.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How often unanswered requests are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// Before an offer is made again that the server ignored for one of its own that can't be answered.
const OFFER_PAUSE: Duration = Duration::from_secs(1);

/// Events a slow reader may fall behind before it misses some.
const EVENTS: usize = 1024;

type Done<T> = oneshot::Sender<Result<T, ClientError>>;

/// What the handle asks of the session.
pub(crate) enum Command {
    /// Answered when the first negotiation is done.
    Ready {
        done: Done<()>,
    },
    Request {
        request: Request,
        done: Done<Reply>,
    },
    Publish {
        publish: Publish,
        done: Done<TrackId>,
    },
    Unpublish {
        track: TrackId,
        done: Done<()>,
    },
    Mute {
        track: TrackId,
        muted: bool,
        done: Done<()>,
    },
    SetSending {
        sending: bool,
        done: Done<()>,
    },
    Negotiate {
        restart_ice: bool,
        done: Done<Renegotiated>,
    },
}

/// What a started session hands to its handle.
pub(crate) struct Started {
    pub(crate) me: ParticipantId,
    pub(crate) state: watch::Receiver<State>,
    pub(crate) events: broadcast::Sender<ClientEvent>,
    pub(crate) meter: Arc<SharedMeter>,
    pub(crate) data: Arc<dyn DataChannel>,
    pub(crate) publish: Vec<Publish>,
}

/// Joins, makes the peer connection and starts the session's task, which ends when `commands` does.
pub(crate) async fn start(options: Options, commands: mpsc::Receiver<Command>) -> Result<Started, ClientError> {
    let mut signaling = Signaling::connect(&options.url, options.encoding).await?;
    let joined = join(&mut signaling, &options).await?;
    let meter = Arc::new(SharedMeter::default());
    let (peer_events, from_peer) = mpsc::unbounded_channel();
    let peer_options = PeerOptions {
        local: options.media_address.unwrap_or(signaling.local),
        server: signaling.server,
        feedback: options.feedback,
        srtp: options.srtp,
    };
    let peer = Peer::new(peer_options, meter.clone(), peer_events).await?;
    let me = joined.participant;
    let (state, watched) = watch::channel(State::new(joined));
    let (events, _) = broadcast::channel(EVENTS);
    let data = peer.data().clone();
    let mut session = Session {
        signaling,
        peer,
        meter: meter.clone(),
        state,
        events: events.clone(),
        sending: options.sending,
        reports: options.feedback.reports,
        lines: Vec::new(),
        publications: Vec::new(),
        next_publication: 0,
        next_request: 1,
        next_ssrc: first_ssrc(me),
        pending: HashMap::new(),
        offer: None,
        wanted: Some(Wanted::default()),
        offer_after: None,
        ready: None,
    };
    // Both kinds are in the first offer, whether they are used or not: the first m-line of a kind fixes the session's codecs.
    for kind in [Kind::Audio, Kind::Video] {
        session.add_line(kind).await?;
    }
    tokio::spawn(session.run(commands, from_peer));
    Ok(Started { me, state: watched, events, meter, data, publish: options.publish })
}

/// SSRCs only need to differ within the client's session; these also differ between the clients of a room.
fn first_ssrc(me: ParticipantId) -> u32 {
    0x0100_0000 | (me.0 & 0x7fff) << 8
}

/// Sends `join`, the first request, and reads its reply, the first message.
async fn join(signaling: &mut Signaling, options: &Options) -> Result<Joined, ClientError> {
    let request = Request::Join { room: options.room.clone(), name: options.name.clone() };
    signaling.send(&ClientMessage { id: 0, request }).await.map_err(ClientError::Closed)?;
    let answered = tokio::time::timeout(REQUEST_TIMEOUT, signaling.receive()).await;
    match answered.map_err(|_| ClientError::Timeout(REQUEST_TIMEOUT))?.map_err(ClientError::Closed)? {
        ServerMessage::Reply { id: 0, result: Reply::Joined(joined) } => Ok(joined),
        ServerMessage::Error { error, .. } => Err(ClientError::Refused(error)),
        _ => Err(ClientError::UnexpectedReply("join")),
    }
}

/// An unanswered request.
struct Pending {
    deadline: Instant,
    answer: Answer,
}

/// Who waits for a request's answer.
enum Answer {
    Nobody,
    Caller(Done<Reply>),
    Offer,
    Published { publication: u16 },
    Unpublished { track: TrackId, done: Done<()> },
    Muted { track: TrackId, muted: bool, done: Done<()> },
}

/// An offer that is to be made, and who waits for its answer.
#[derive(Default)]
struct Wanted {
    restart_ice: bool,
    collided: bool,
    waiting: Vec<Done<Renegotiated>>,
}

/// An offer in flight.
struct Offer {
    request: u32,
    made_for: Wanted,
}

/// One publication, from the wish to the end.
struct Entry {
    number: u16,
    line: Arc<Line>,
    publish: Publish,
    sent: Arc<AtomicU64>,
    progress: Progress,
}

enum Progress {
    /// Its m-line is not negotiated yet.
    Waiting(Done<TrackId>),
    /// `publish` is under way.
    Asked(String, Done<TrackId>),
    /// The room knows it.
    Live(TrackId, Publisher),
}

struct Session {
    signaling: Signaling,
    peer: Peer,
    meter: Arc<SharedMeter>,
    state: watch::Sender<State>,
    events: broadcast::Sender<ClientEvent>,
    sending: bool,
    reports: bool,
    lines: Vec<Arc<Line>>,
    publications: Vec<Entry>,
    next_publication: u16,
    next_request: u32,
    next_ssrc: u32,
    pending: HashMap<u32, Pending>,
    offer: Option<Offer>,
    wanted: Option<Wanted>,
    /// No offer before that; looked at with every sweep.
    offer_after: Option<Instant>,
    ready: Option<Done<()>>,
}

impl Session {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>, mut from_peer: mpsc::UnboundedReceiver<PeerEvent>) {
        let closed = self.serve(&mut commands, &mut from_peer).await;
        debug!(me = self.state.borrow().me.0, %closed, "session over");
        self.publications.clear();
        self.state.send_modify(|state| {
            state.closed = Some(closed.clone());
            state.transport = Transport::Closed;
            state.data_channel_open = false;
        });
        self.meter.changed().notify_waiters();
        let _ = self.events.send(ClientEvent::Closed(closed));
        self.peer.close().await;
    }

    async fn serve(&mut self, commands: &mut mpsc::Receiver<Command>, from_peer: &mut mpsc::UnboundedReceiver<PeerEvent>) -> Closed {
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Err(closed) = self.advance().await {
                return closed;
            }
            let handled = tokio::select! {
                message = self.signaling.receive() => match message {
                    Ok(message) => self.handle_message(message).await,
                    Err(closed) => return closed,
                },
                command = commands.recv() => match command {
                    Some(command) => self.handle_command(command).await,
                    None => return Closed::Left,
                },
                event = from_peer.recv() => match event {
                    Some(event) => self.handle_peer(event).await,
                    None => return Closed::WebSocket("the peer connection ended".into()),
                },
                _ = sweep.tick() => {
                    self.expire();
                    Ok(())
                }
            };
            if let Err(closed) = handled {
                return closed;
            }
        }
    }

    // ---- requests

    async fn request(&mut self, request: Request, answer: Answer) -> Result<u32, Closed> {
        let id = self.next_request;
        self.next_request = self.next_request.wrapping_add(1);
        self.pending.insert(id, Pending { deadline: Instant::now() + REQUEST_TIMEOUT, answer });
        self.signaling.send(&ClientMessage { id, request }).await?;
        Ok(id)
    }

    fn expire(&mut self) {
        let now = Instant::now();
        let late: Vec<u32> = self.pending.iter().filter(|(_, pending)| pending.deadline <= now).map(|(id, _)| *id).collect();
        for id in late {
            if let Some(pending) = self.pending.remove(&id) {
                self.refuse(id, pending.answer, ClientError::Timeout(REQUEST_TIMEOUT));
            }
        }
    }

    /// Tells whoever waits that a request failed.
    fn refuse(&mut self, request: u32, answer: Answer, error: ClientError) {
        match answer {
            Answer::Nobody => warn!(%error, "a request failed"),
            Answer::Caller(done) => drop(done.send(Err(error))),
            Answer::Unpublished { done, .. } | Answer::Muted { done, .. } => drop(done.send(Err(error))),
            Answer::Published { publication } => {
                if let Some(entry) = self.take_publication(publication)
                    && let Progress::Asked(_, done) = entry.progress
                {
                    let _ = done.send(Err(error));
                }
            }
            Answer::Offer => {
                if let Some(offer) = self.offer.take_if(|offer| offer.request == request) {
                    offer.made_for.waiting.into_iter().for_each(|done| drop(done.send(Err(error.clone()))));
                    if let Some(ready) = self.ready.take() {
                        let _ = ready.send(Err(error));
                    }
                }
            }
        }
    }

    fn take_publication(&mut self, number: u16) -> Option<Entry> {
        let index = self.publications.iter().position(|entry| entry.number == number)?;
        Some(self.publications.swap_remove(index))
    }

    // ---- messages of the server

    async fn handle_message(&mut self, message: ServerMessage) -> Result<(), Closed> {
        match message {
            ServerMessage::Reply { id, result } => match self.pending.remove(&id) {
                Some(pending) => self.handle_reply(id, pending.answer, result).await,
                None => Err(Closed::Protocol(format!("a reply to the unknown request {id}"))),
            },
            ServerMessage::Error { id, error } => {
                match id.and_then(|id| self.pending.remove(&id).map(|pending| (id, pending.answer))) {
                    Some((id, answer)) => {
                        if matches!(answer, Answer::Offer) && self.offer.as_ref().is_some_and(|offer| offer.request == id) {
                            self.roll_back().await;
                        }
                        self.refuse(id, answer, ClientError::Refused(error));
                    }
                    None => warn!(code = ?error.code, message = error.message, "an error nobody asked for"),
                }
                Ok(())
            }
            ServerMessage::Event { event } => self.handle_event(event).await,
        }
    }

    async fn handle_reply(&mut self, id: u32, answer: Answer, reply: Reply) -> Result<(), Closed> {
        match (answer, reply) {
            (Answer::Nobody, _) => {}
            (Answer::Caller(done), reply) => drop(done.send(Ok(reply))),
            (Answer::Offer, Reply::Answer(answered)) => self.handle_answer(id, &answered.sdp).await,
            (Answer::Offer, Reply::Ignored) => {
                self.state.send_modify(|state| state.negotiation.ignored += 1);
                // The server's offer comes before this reply and has rolled this one back, unless it could not be answered: then
                // the server takes offers again when it has given up waiting.
                if let Some(offer) = self.offer.take_if(|offer| offer.request == id) {
                    self.roll_back().await;
                    self.offer_again(offer.made_for);
                    self.offer_after = Some(Instant::now() + OFFER_PAUSE);
                }
            }
            (Answer::Published { publication }, Reply::Published(published)) => self.go_live(publication, published.track),
            (Answer::Unpublished { track, done }, Reply::Done) => {
                self.publications.retain(|entry| !matches!(entry.progress, Progress::Live(live, _) if live == track));
                self.state.send_modify(|state| drop(state.published.remove(&track)));
                let _ = done.send(Ok(()));
            }
            (Answer::Muted { track, muted, done }, Reply::Done) => {
                self.set_muted(track, muted);
                let _ = done.send(Ok(()));
            }
            (answer, _) => {
                let error = match &answer {
                    Answer::Offer => ClientError::UnexpectedReply("offer"),
                    Answer::Published { .. } => ClientError::UnexpectedReply("publish"),
                    Answer::Unpublished { .. } => ClientError::UnexpectedReply("unpublish"),
                    _ => ClientError::UnexpectedReply("mute"),
                };
                self.refuse(id, answer, error);
            }
        }
        Ok(())
    }

    async fn handle_event(&mut self, event: Event) -> Result<(), Closed> {
        match event {
            Event::Offer { revision, sdp } => return self.handle_offer(revision, &sdp).await,
            Event::Closing { reason, message } => return Err(Closed::Closing { reason, message }),
            event => {
                self.state.send_modify(|state| state.apply(&event));
                self.assign_slots(&event);
                let _ = self.events.send(ClientEvent::Room(event));
            }
        }
        Ok(())
    }

    /// Tells the meter whose packets to expect where. A track can be in a slot before its publication was told of.
    fn assign_slots(&self, event: &Event) {
        if !matches!(event, Event::Slots { .. } | Event::TrackPublished { .. } | Event::ParticipantJoined { .. }) {
            return;
        }
        let state = self.state.borrow();
        let mut meter = self.meter.lock();
        if let Event::Slots { slots } = event {
            for slot in slots.iter().filter(|slot| slot.track.is_none()) {
                meter.set_slot(&slot.mid, None);
            }
        }
        for (mid, track) in &state.slots {
            if let Some(publisher) = state.publisher_of(*track) {
                meter.set_slot(mid, Some((*track, publisher)));
            }
        }
    }

    // ---- negotiation

    /// Does what has become possible: an offer that is wanted, a publication whose m-line is there.
    async fn advance(&mut self) -> Result<(), Closed> {
        self.offer_after.take_if(|after| *after <= Instant::now());
        if self.offer.is_none() && self.offer_after.is_none() {
            if let Some(wanted) = self.wanted.take() {
                match self.peer.offer(wanted.restart_ice).await {
                    Ok(sdp) => {
                        let request = self.request(Request::Offer { sdp }, Answer::Offer).await?;
                        self.offer = Some(Offer { request, made_for: wanted });
                        self.state.send_modify(|state| state.negotiation.offers += 1);
                    }
                    Err(error) => wanted.waiting.into_iter().for_each(|done| drop(done.send(Err(error.clone())))),
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

    /// Publishes on m-lines that are negotiated by now.
    async fn ask_to_publish(&mut self) -> Result<(), Closed> {
        for index in 0..self.publications.len() {
            if !matches!(self.publications[index].progress, Progress::Waiting(_)) {
                continue;
            }
            let Some(mid) = self.peer.mid(&self.publications[index].line).await else { continue };
            let entry = &mut self.publications[index];
            let (number, source, muted) = (entry.number, entry.publish.source, entry.publish.muted);
            // The placeholder stands for no longer than this statement.
            let waiting = std::mem::replace(&mut entry.progress, Progress::Asked(mid.clone(), oneshot::channel().0));
            if let Progress::Waiting(done) = waiting {
                entry.progress = Progress::Asked(mid.clone(), done);
            }
            self.request(Request::Publish { mid, source, muted }, Answer::Published { publication: number }).await?;
        }
        Ok(())
    }

    async fn handle_answer(&mut self, request: u32, sdp: &str) {
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
            Ok(()) => self.described(|negotiation| negotiation.answered += 1),
            Err(error) => {
                self.failed(&format!("the server's answer: {error}"));
                if let Some(ready) = self.ready.take() {
                    let _ = ready.send(Err(error));
                }
            }
        }
    }

    async fn handle_offer(&mut self, revision: u32, sdp: &str) -> Result<(), Closed> {
        self.offer_after = None;
        if let Some(offer) = self.offer.take() {
            self.roll_back().await;
            self.state.send_modify(|state| state.negotiation.rolled_back += 1);
            self.offer_again(offer.made_for);
        }
        match self.peer.answer(sdp).await {
            Ok(sdp) => {
                self.described(|negotiation| negotiation.server_offers += 1);
                self.request(Request::Answer { revision, sdp }, Answer::Nobody).await?;
            }
            Err(error) => self.failed(&format!("the server's offer {revision}: {error}")),
        }
        Ok(())
    }

    fn failed(&self, failure: &str) {
        warn!(failure, "negotiation failed");
        self.state.send_modify(|state| {
            state.negotiation.failed += 1;
            state.negotiation_failure = Some(failure.to_owned());
        });
    }

    async fn roll_back(&self) {
        if let Err(error) = self.peer.roll_back().await {
            warn!(%error, "the offer can't be rolled back");
        }
    }

    /// Makes an offer again that collided.
    fn offer_again(&mut self, made_for: Wanted) {
        let wanted = self.wanted.get_or_insert_default();
        wanted.restart_ice |= made_for.restart_ice;
        wanted.collided = true;
        wanted.waiting.extend(made_for.waiting);
    }

    /// A description of the server's is in force.
    fn described(&self, count: impl FnOnce(&mut crate::state::Negotiation)) {
        self.meter.lock().set_incoming(self.peer.incoming());
        self.state.send_modify(|state| {
            state.negotiation.media_lines = self.peer.media_lines();
            count(&mut state.negotiation);
        });
    }

    // ---- publications

    async fn add_line(&mut self, kind: Kind) -> Result<Arc<Line>, ClientError> {
        let line = Arc::new(self.peer.add_line(kind, self.next_ssrc).await?);
        self.next_ssrc += 1;
        self.lines.push(line.clone());
        Ok(line)
    }

    /// An m-line of this kind that no publication uses; a new one if there is none.
    async fn free_line(&mut self, kind: Kind) -> Result<Arc<Line>, ClientError> {
        let used = |line: &&Arc<Line>| self.publications.iter().any(|entry| Arc::ptr_eq(&entry.line, line));
        if let Some(line) = self.lines.iter().find(|line| line.kind == kind && !used(line)) {
            return Ok(line.clone());
        }
        let line = self.add_line(kind).await?;
        self.wanted.get_or_insert_default();
        Ok(line)
    }

    async fn publish(&mut self, publish: Publish, done: Done<TrackId>) {
        let kind = publish.source.kind();
        if publish.media.kind().is_some_and(|media| media != kind) {
            let _ = done.send(Err(ClientError::WrongKind(publish.source)));
            return;
        }
        match self.free_line(kind).await {
            Ok(line) => {
                let number = self.next_publication;
                self.next_publication = number.wrapping_add(1);
                self.publications.push(Entry { number, line, publish, sent: Arc::default(), progress: Progress::Waiting(done) });
            }
            Err(error) => drop(done.send(Err(error))),
        }
    }

    fn go_live(&mut self, number: u16, track: TrackId) {
        let me = self.state.borrow().me;
        let Some(entry) = self.publications.iter_mut().find(|entry| entry.number == number) else { return };
        let keyframe_requests = Arc::new(AtomicU64::new(0));
        self.meter.lock().count_keyframe_requests(entry.line.ssrc, keyframe_requests.clone());
        let publisher = Publisher::start(Publication {
            line: entry.line.clone(),
            media: entry.publish.media.clone(),
            publisher: me,
            number,
            sent: entry.sent.clone(),
            keyframe_requests,
            reports: self.reports,
        });
        let asked = std::mem::replace(&mut entry.progress, Progress::Live(track, publisher));
        if let Progress::Asked(mid, done) = asked {
            let (source, muted, sent) = (entry.publish.source, entry.publish.muted, entry.sent.clone());
            self.state.send_modify(|state| {
                state.published.insert(track, Published { mid, source, muted, publication: number, sent });
            });
            let _ = done.send(Ok(track));
        }
        self.open_gates();
    }

    /// Lets those publications send that may.
    fn open_gates(&self) {
        let connected = self.state.borrow().transport == Transport::Connected;
        for entry in &self.publications {
            if let Progress::Live(_, publisher) = &entry.progress {
                publisher.set_open(connected && self.sending && !entry.publish.muted);
            }
        }
    }

    fn set_muted(&mut self, track: TrackId, muted: bool) {
        for entry in &mut self.publications {
            if matches!(entry.progress, Progress::Live(live, _) if live == track) {
                entry.publish.muted = muted;
            }
        }
        self.state.send_modify(|state| {
            if let Some(published) = state.published.get_mut(&track) {
                published.muted = muted;
            }
        });
        self.open_gates();
    }

    /// Stops or starts everything, and answers when the last packet is counted.
    fn set_sending(&mut self, sending: bool, done: Done<()>) {
        self.sending = sending;
        self.open_gates();
        let mut resting: Vec<watch::Receiver<bool>> = Vec::new();
        if !sending {
            resting.extend(self.publications.iter().filter_map(|entry| match &entry.progress {
                Progress::Live(_, publisher) => Some(publisher.resting()),
                _ => None,
            }));
        }
        tokio::spawn(async move {
            for publisher in &mut resting {
                let _ = publisher.wait_for(|resting| *resting).await;
            }
            let _ = done.send(Ok(()));
        });
    }

    // ---- commands and events of the peer connection

    async fn handle_command(&mut self, command: Command) -> Result<(), Closed> {
        match command {
            Command::Ready { done } => self.ready = Some(done),
            Command::Request { request, done } => {
                self.request(request, Answer::Caller(done)).await?;
            }
            Command::Publish { publish, done } => self.publish(publish, done).await,
            Command::Unpublish { track, done } => {
                self.request(Request::Unpublish { track }, Answer::Unpublished { track, done }).await?;
            }
            Command::Mute { track, muted, done } => {
                self.request(Request::Mute { track, muted }, Answer::Muted { track, muted, done }).await?;
            }
            Command::SetSending { sending, done } => self.set_sending(sending, done),
            Command::Negotiate { restart_ice, done } => {
                let wanted = self.wanted.get_or_insert_default();
                wanted.restart_ice |= restart_ice;
                wanted.waiting.push(done);
            }
        }
        Ok(())
    }

    async fn handle_peer(&mut self, event: PeerEvent) -> Result<(), Closed> {
        match event {
            PeerEvent::Candidate { candidate, mid } => {
                self.request(Request::Candidate { candidate, mid }, Answer::Nobody).await?;
            }
            PeerEvent::EndOfCandidates => {
                self.request(Request::EndOfCandidates, Answer::Nobody).await?;
            }
            PeerEvent::Transport(transport) => {
                self.state.send_modify(|state| state.transport = transport);
                self.open_gates();
            }
            PeerEvent::DataOpen(open) => self.state.send_modify(|state| state.data_channel_open = open),
            PeerEvent::Data(payload) => match relayed(payload) {
                Some(message) => drop(self.events.send(ClientEvent::Data(message))),
                None => warn!("a data message without a sender"),
            },
        }
        Ok(())
    }
}

/// Reads who sent a relayed message: a line in front of a text, four bytes in front of the rest.
fn relayed(payload: DataPayload) -> Option<DataMessage> {
    match payload {
        DataPayload::Text(text) => {
            let (from, text) = text.split_once('\n')?;
            Some(DataMessage { from: ParticipantId(from.parse().ok()?), payload: DataPayload::Text(text.to_owned()) })
        }
        DataPayload::Binary(bytes) => {
            let (from, bytes) = bytes.split_first_chunk::<4>()?;
            Some(DataMessage { from: ParticipantId(u32::from_be_bytes(*from)), payload: DataPayload::Binary(bytes.to_vec()) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relayed_messages_say_who_sent_them() {
        let text = relayed(DataPayload::Text("7\nhello\nworld".into())).unwrap();
        assert_eq!(text, DataMessage { from: ParticipantId(7), payload: DataPayload::Text("hello\nworld".into()) });
        let binary = relayed(DataPayload::Binary(vec![0, 0, 1, 0, 42])).unwrap();
        assert_eq!(binary, DataMessage { from: ParticipantId(256), payload: DataPayload::Binary(vec![42]) });
        for bad in [DataPayload::Text("7".into()), DataPayload::Text("x\ny".into()), DataPayload::Binary(vec![0, 1])] {
            assert_eq!(relayed(bad), None);
        }
    }
}
