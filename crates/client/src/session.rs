//! One participant's session: a task that owns the WebSocket, the peer connection and what is known of the room.
//!
//! It is the polite side of perfect negotiation (WebRTC 1.0 §10.7): an offer of the server's that meets one of its own wins;
//! the own one is rolled back and made again. The server sees its own offer in flight and ignores the other, and both know it
//! from the order of messages alone.

mod negotiation;
mod publications;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use switchyard_protocol::{ClientMessage, Event, Joined, Kind, ParticipantId, Reply, Request, ServerMessage, TrackId};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, warn};
use webrtc::data_channel::DataChannel;

use negotiation::{Offer, Wanted};
use publications::{Entry, Progress};

use crate::client::{Options, Renegotiated};
use crate::direct::{Lane, Sender};
use crate::error::{ClientError, Closed};
use crate::media::Publish;
use crate::peer::{Line, Peer, PeerEvent, PeerOptions};
use crate::signaling::Signaling;
use crate::state::{ClientEvent, DataMessage, DataPayload, State, Transport};
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
    Sender {
        track: TrackId,
        done: Done<Sender>,
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
pub(crate) async fn start(options: Options, lane: Option<Arc<Lane>>, commands: mpsc::Receiver<Command>) -> Result<Started, ClientError> {
    let mut signaling = Signaling::connect(&options.url, options.encoding).await?;
    let joined = join(&mut signaling, &options).await?;
    let meter = Arc::new(SharedMeter::default());
    let (peer_events, from_peer) = mpsc::unbounded_channel();
    let peer_options = PeerOptions {
        local: options.media_address.unwrap_or(signaling.local),
        server: signaling.server,
        feedback: options.feedback,
        srtp: options.srtp,
        lane: lane.clone(),
    };
    let peer = Peer::new(peer_options, meter.clone(), peer_events.clone()).await?;
    let data = peer.open_data_channel(peer_events).await?;
    let me = joined.participant;
    let (state, watched) = watch::channel(State::new(joined));
    let (events, _) = broadcast::channel(EVENTS);
    let mut session = Session {
        signaling,
        peer,
        lane,
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

struct Session {
    signaling: Signaling,
    peer: Peer,
    lane: Option<Arc<Lane>>,
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
                    self.expire().await;
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

    async fn expire(&mut self) {
        let now = Instant::now();
        let late: Vec<u32> = self.pending.iter().filter(|(_, pending)| pending.deadline <= now).map(|(id, _)| *id).collect();
        for id in late {
            if let Some(pending) = self.pending.remove(&id) {
                self.refuse(id, pending.answer, ClientError::Timeout(REQUEST_TIMEOUT)).await;
            }
        }
    }

    /// Tells whoever waits that a request failed.
    async fn refuse(&mut self, request: u32, answer: Answer, error: ClientError) {
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
                    self.roll_back().await;
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
                        self.refuse(id, answer, ClientError::Refused(error)).await;
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
                self.refuse(id, answer, error).await;
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
            Command::Sender { track, done } => drop(done.send(self.sender(track))),
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
