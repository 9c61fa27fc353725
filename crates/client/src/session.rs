//! One participant's session: a task that owns the link to the server, the peer connection and what is known of the room.
//!
//! It is the polite side of perfect negotiation (WebRTC 1.0 §10.7): an offer of the server's that meets one of its own wins;
//! the own one is rolled back and made again. The server sees its own offer in flight and ignores the other, and both know it
//! from the order of messages alone.
//!
//! It outlives its connection, which is the link's business, and even itself: when the server knows it no more, [`rejoin`] begins another with what
//! was published in this one.

mod negotiation;
mod publications;
mod rejoin;
mod renewal;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use switchyard_protocol::{Event, Kind, ParticipantId, Reply, Request, ServerMessage, TrackId};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, warn};
use webrtc::data_channel::DataChannel;

use negotiation::{Offer, Restart, Wanted};
use publications::{Entry, Progress};

use crate::client::{Options, Renegotiated};
use crate::data::Data;
use crate::direct::{Lane, Sender};
use crate::error::{ClientError, Closed};
use crate::link::{Full, Heard, Link};
use crate::media::Publish;
use crate::peer::{Line, Peer, PeerEvent, PeerOptions};
use crate::signaling::Ends;
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
    Senders {
        track: TrackId,
        done: Done<Vec<Sender>>,
    },
    SetSending {
        sending: bool,
        done: Done<()>,
    },
    Negotiate {
        restart_ice: bool,
        done: Done<Renegotiated>,
    },
    Doubt {
        done: Done<()>,
    },
    Renew {
        done: Done<()>,
    },
}

/// What the handle uses past the session; others when the session is another.
pub(crate) struct Handles {
    pub(crate) data: Arc<Data>,
    pub(crate) lane: Option<Arc<Lane>>,
}

/// What a started session hands to its handle.
pub(crate) struct Started {
    pub(crate) state: watch::Receiver<State>,
    pub(crate) events: broadcast::Sender<ClientEvent>,
    pub(crate) meter: Arc<SharedMeter>,
    pub(crate) handles: watch::Receiver<Handles>,
    pub(crate) publish: Vec<Publish>,
}

/// Joins, makes the peer connection and starts the session's task, which ends when `commands` does.
pub(crate) async fn start(options: Options, lane: Option<Arc<Lane>>, commands: mpsc::Receiver<Command>) -> Result<Started, ClientError> {
    let (link, joined) = Link::join(&options).await?;
    let meter = Arc::new(SharedMeter::default());
    let connection = Connection::open(&options, link.ends, lane.clone(), meter.clone()).await?;
    let data = Arc::new(Data::new(connection.data));
    let (handles, watched_handles) = watch::channel(Handles { data: data.clone(), lane: lane.clone() });
    let me = joined.participant;
    let (state, watched) = watch::channel(State::new(joined));
    let (events, _) = broadcast::channel(EVENTS);
    let publish = options.publish.clone();
    let mut session = Session {
        link,
        peer: connection.peer,
        from_peer: connection.events,
        data,
        lane,
        handles,
        meter: meter.clone(),
        state,
        events: events.clone(),
        sending: options.sending,
        reconnect: options.reconnect,
        options,
        lines: Vec::new(),
        publications: Vec::new(),
        next_publication: 0,
        next_ssrc: first_ssrc(me),
        pending: HashMap::new(),
        offer: None,
        wanted: Some(Wanted::default()),
        offer_after: None,
        restart: Restart::default(),
        ready: None,
        renewing: false,
    };
    session.add_first_lines().await?;
    tokio::spawn(session.run(commands));
    Ok(Started { state: watched, events, meter, handles: watched_handles, publish })
}

/// A peer connection with what comes from it.
struct Connection {
    peer: Peer,
    events: mpsc::UnboundedReceiver<PeerEvent>,
    data: Arc<dyn DataChannel>,
}

impl Connection {
    async fn open(options: &Options, ends: Ends, lane: Option<Arc<Lane>>, meter: Arc<SharedMeter>) -> Result<Self, ClientError> {
        let (peer_events, events) = mpsc::unbounded_channel();
        let peer_options = PeerOptions {
            local: options.media_address.unwrap_or(ends.local),
            server: ends.server,
            feedback: options.feedback,
            srtp: options.srtp,
            lane,
        };
        let peer = Peer::new(peer_options, meter, peer_events.clone()).await?;
        let data = peer.open_data_channel(peer_events).await?;
        Ok(Self { peer, events, data })
    }
}

/// SSRCs only need to differ within the client's session; these also differ between the clients of a room.
fn first_ssrc(me: ParticipantId) -> u32 {
    0x0100_0000 | (me.0 & 0x7fff) << 8
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
    Renamed { name: String, done: Done<Reply> },
    Renewed(Option<Done<()>>),
}

struct Session {
    link: Link,
    peer: Peer,
    from_peer: mpsc::UnboundedReceiver<PeerEvent>,
    data: Arc<Data>,
    lane: Option<Arc<Lane>>,
    handles: watch::Sender<Handles>,
    meter: Arc<SharedMeter>,
    state: watch::Sender<State>,
    events: broadcast::Sender<ClientEvent>,
    options: Options,
    /// Whether publications may send.
    sending: bool,
    reconnect: bool,
    lines: Vec<Arc<Line>>,
    publications: Vec<Entry>,
    next_publication: u16,
    next_ssrc: u32,
    pending: HashMap<u32, Pending>,
    offer: Option<Offer>,
    wanted: Option<Wanted>,
    /// No offer before that; looked at with every sweep.
    offer_after: Option<Instant>,
    restart: Restart,
    ready: Option<Done<()>>,
    /// Another peer connection was asked for.
    renewing: bool,
}

impl Session {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let closed = self.serve(&mut commands).await;
        debug!(me = self.state.borrow().me.0, %closed, "session over");
        self.publications.clear();
        self.data.end().await;
        self.state.send_modify(|state| {
            state.closed = Some(closed.clone());
            state.reconnecting = false;
            state.transport = Transport::Closed;
            state.data_channel_open = false;
        });
        self.meter.changed().notify_waiters();
        let _ = self.events.send(ClientEvent::Closed(closed));
        self.peer.close().await;
    }

    async fn serve(&mut self, commands: &mut mpsc::Receiver<Command>) -> Closed {
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.advance().await;
            tokio::select! {
                heard = self.link.next() => {
                    let handled = match heard {
                        Ok(heard) => self.handle_heard(heard).await,
                        Err(closed) => Err(closed),
                    };
                    if let Err(closed) = handled {
                        return closed;
                    }
                }
                command = commands.recv() => match command {
                    Some(command) => self.handle_command(command).await,
                    None => return Closed::Left,
                },
                // What comes of a peer connection that is given up has not come.
                event = self.from_peer.recv(), if !self.renewing => match event {
                    Some(event) => self.handle_peer(event).await,
                    None => return Closed::Peer("its task is over".into()),
                },
                _ = sweep.tick() => {
                    self.expire().await;
                    self.check_restart();
                    self.data.tell().await;
                }
            }
        }
    }

    /// Both kinds are in the first offer, whether they are used or not: the first m-line of a kind fixes the session's codecs. It is for what is
    /// published first.
    async fn add_first_lines(&mut self) -> Result<(), ClientError> {
        for kind in [Kind::Audio, Kind::Video] {
            let first = self.options.publish.iter().find(|publish| publish.source.kind() == kind);
            let encodings = first.map(|publish| publish.encodings.clone()).unwrap_or_default();
            self.add_line(kind, &encodings).await?;
        }
        Ok(())
    }

    // ---- requests

    /// Asks the server, now or when there is a connection again. Its id, unless too much is unanswered.
    async fn request(&mut self, request: Request, answer: Answer) -> Option<u32> {
        match self.link.request(request) {
            Ok(id) => {
                self.pending.insert(id, Pending { deadline: Instant::now() + REQUEST_TIMEOUT, answer });
                Some(id)
            }
            Err(Full) => {
                self.refuse(0, answer, ClientError::Backlog).await;
                None
            }
        }
    }

    async fn expire(&mut self) {
        // What the server can't be asked, it need not answer.
        if !self.link.is_up() {
            return;
        }
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
            Answer::Caller(done) | Answer::Renamed { done, .. } => drop(done.send(Err(error))),
            Answer::Unpublished { done, .. } | Answer::Muted { done, .. } => drop(done.send(Err(error))),
            Answer::Renewed(done) => self.not_renewed(done, error).await,
            Answer::Published { publication } => {
                if let Some(entry) = self.take_publication(publication)
                    && let Progress::Asked(_, Some(done)) = entry.progress
                {
                    let _ = done.send(Err(error));
                }
            }
            Answer::Offer => {
                if let Some(offer) = self.offer.take_if(|offer| offer.request == request) {
                    self.roll_back().await;
                    self.give_up(offer.made_for, error);
                }
            }
        }
    }

    fn take_publication(&mut self, number: u16) -> Option<Entry> {
        let index = self.publications.iter().position(|entry| entry.number == number)?;
        Some(self.publications.swap_remove(index))
    }

    // ---- messages of the server

    async fn handle_heard(&mut self, heard: Heard) -> Result<(), Closed> {
        match heard {
            Heard::Message(ServerMessage::Reply { id, result: Reply::Renewed(renewed) }) => {
                let done = match self.pending.remove(&id) {
                    Some(Pending { answer: Answer::Renewed(done), .. }) => done,
                    _ => return Err(Closed::Peer("a transport began anew that nobody asked for".into())),
                };
                self.renewed(renewed).await.map_err(|error| Closed::Peer(error.to_string()))?;
                if let Some(done) = done {
                    let _ = done.send(Ok(()));
                }
            }
            Heard::Message(message) => self.handle_message(message).await,
            Heard::Lost => self.state.send_modify(|state| state.reconnecting = true),
            Heard::Resumed(snapshot) => self.resume(snapshot),
            Heard::Joined(joined) => return self.rejoin(*joined).await.map_err(|error| Closed::Peer(error.to_string())),
        }
        Ok(())
    }

    async fn handle_message(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::Reply { id, result } => match self.pending.remove(&id) {
                Some(pending) => self.handle_reply(id, pending.answer, result).await,
                None => warn!(id, "a reply after nobody waits for it any more"),
            },
            ServerMessage::Error { id, error } => match id.and_then(|id| self.pending.remove(&id).map(|pending| (id, pending.answer))) {
                Some((id, answer)) => {
                    self.refuse(id, answer, ClientError::Refused(error)).await;
                }
                None => warn!(code = ?error.code, message = error.message, "an error nobody asked for"),
            },
            ServerMessage::Event { event } => self.handle_event(event).await,
        }
    }

    async fn handle_reply(&mut self, id: u32, answer: Answer, reply: Reply) {
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
                self.publications.retain(|entry| entry.progress.live() != Some(track));
                self.state.send_modify(|state| drop(state.published.remove(&track)));
                let _ = done.send(Ok(()));
            }
            (Answer::Muted { track, muted, done }, Reply::Done) => {
                self.set_muted(track, muted);
                let _ = done.send(Ok(()));
            }
            (Answer::Renamed { name, done }, Reply::Done) => {
                self.link.set_name(name);
                let _ = done.send(Ok(Reply::Done));
            }
            (answer, _) => {
                let error = match &answer {
                    Answer::Offer => ClientError::UnexpectedReply("offer"),
                    Answer::Published { .. } => ClientError::UnexpectedReply("publish"),
                    Answer::Unpublished { .. } => ClientError::UnexpectedReply("unpublish"),
                    Answer::Renamed { .. } => ClientError::UnexpectedReply("rename"),
                    Answer::Renewed(_) => ClientError::UnexpectedReply("renew"),
                    _ => ClientError::UnexpectedReply("mute"),
                };
                self.refuse(id, answer, error).await;
            }
        }
    }

    async fn handle_event(&mut self, event: Event) {
        match event {
            // It is void already.
            Event::Offer { .. } if self.renewing => {}
            Event::Offer { revision, sdp } => self.handle_offer(revision, &sdp).await,
            Event::Renew => self.renew(None).await,
            Event::RestartIce { .. } => self.restart_ice(),
            event => {
                if let Event::TrackMuted { participant, track, muted, by: Some(_) } = event
                    && participant == self.state.borrow().me
                {
                    self.set_muted(track, muted);
                }
                self.state.send_modify(|state| state.apply(&event));
                self.assign_slots(&event);
                let _ = self.events.send(ClientEvent::Room(event));
            }
        }
    }

    /// Tells the meter whose packets to expect where. A track can be in a slot before its publication was told of.
    fn assign_slots(&self, event: &Event) {
        if !matches!(event, Event::Slots { .. } | Event::TrackPublished { .. } | Event::ParticipantJoined { .. }) {
            return;
        }
        if let Event::Slots { slots } = event {
            let mut meter = self.meter.lock();
            for slot in slots.iter().filter(|slot| slot.track.is_none()) {
                meter.set_slot(&slot.mid, None);
            }
        }
        self.fill_slots();
    }

    /// Tells the meter what is in the slots that carry something.
    fn fill_slots(&self) {
        let state = self.state.borrow();
        let mut meter = self.meter.lock();
        for (mid, track) in &state.slots {
            if let Some(publisher) = state.publisher_of(*track) {
                meter.set_slot(mid, Some((*track, publisher)));
            }
        }
    }

    // ---- commands and events of the peer connection

    async fn handle_command(&mut self, command: Command) {
        match command {
            Command::Ready { done } => self.ready = Some(done),
            Command::Request { request, done } => {
                let answer = match &request {
                    Request::Rename { name } => Answer::Renamed { name: name.clone(), done },
                    _ => Answer::Caller(done),
                };
                self.request(request, answer).await;
            }
            Command::Publish { publish, done } => self.publish(publish, done).await,
            Command::Unpublish { track, done } => {
                self.request(Request::Unpublish { track }, Answer::Unpublished { track, done }).await;
            }
            Command::Mute { track, muted, done } => {
                self.request(Request::Mute { track, muted }, Answer::Muted { track, muted, done }).await;
            }
            Command::Senders { track, done } => drop(done.send(self.senders(track))),
            Command::SetSending { sending, done } => self.set_sending(sending, done),
            Command::Negotiate { restart_ice, done } => {
                let wanted = self.wanted.get_or_insert_default();
                wanted.restart_ice |= restart_ice;
                wanted.waiting.push(done);
            }
            Command::Doubt { done } => {
                self.link.doubt();
                let _ = done.send(Ok(()));
            }
            Command::Renew { done } => self.renew(Some(done)).await,
        }
    }

    async fn handle_peer(&mut self, event: PeerEvent) {
        match event {
            PeerEvent::Candidate { candidate, mid } => {
                self.request(Request::Candidate { candidate, mid }, Answer::Nobody).await;
            }
            PeerEvent::EndOfCandidates => {
                self.request(Request::EndOfCandidates, Answer::Nobody).await;
            }
            PeerEvent::Transport(transport) => self.handle_transport(transport),
            PeerEvent::DataOpen(open) => {
                self.data.set_open(open).await;
                self.state.send_modify(|state| state.data_channel_open = open);
            }
            PeerEvent::Data(payload) => {
                let Some(payload) = self.data.take(payload).await else { return };
                match relayed(payload) {
                    Some(message) => drop(self.events.send(ClientEvent::Data(message))),
                    None => warn!("a data message without a sender"),
                }
            }
        }
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
