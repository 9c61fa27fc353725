//! The handle on one participant: what a test or a load generator calls.

use std::fmt::Debug;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use switchyard_protocol::{Encoding, Participant, ParticipantId, Reply, Request, Token, Track, TrackId};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::direct::{Lane, Lines, Sender, Sink};
use crate::error::{ClientError, Closed, WaitError};
use crate::media::Publish;
use crate::meter::Report;
use crate::session::{self, Command, Handles};
use crate::state::{ClientEvent, DataPayload, State};
use crate::tap::SharedMeter;

/// Commands on their way to the session; callers wait for their answers, so only concurrent callers queue.
const COMMANDS: usize = 64;

/// Everybody, as the destination of a binary data message.
const EVERYONE: u32 = u32::MAX;

/// How long leaving may take; without a connection it can't be said.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two looks at a report that is waited for: packets come by the thousand, a report is as large as the room.
const REPORT_INTERVAL: Duration = Duration::from_millis(10);

/// Who joins which room, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// `ws://host:port/v1/ws`.
    pub url: String,
    /// The room's id.
    pub room: String,
    /// The display name.
    pub name: String,
    /// An access token, where the server asks for one.
    pub token: Option<Token>,
    /// Of signaling.
    pub encoding: Encoding,
    /// What is published at once; more can follow.
    pub publish: Vec<Publish>,
    /// Whether publications send as soon as they can; otherwise they wait for [`Client::set_sending`].
    pub sending: bool,
    /// The RTCP this client sends and understands.
    pub feedback: Feedback,
    /// The one SRTP profile to offer in DTLS; all that are known if absent, AES-GCM first.
    pub srtp: Option<SrtpProfile>,
    /// The address of the media socket; the one the server was reached from if absent.
    pub media_address: Option<IpAddr>,
    /// Whether the participant comes back when the connection or the server is lost, as browsers do. Otherwise that is the end of it.
    pub reconnect: bool,
    /// Of the chance in it: when to try again.
    pub seed: u64,
}

impl Options {
    /// A participant that publishes nothing, speaks JSON, sends reports only, and comes back when it is lost, at a moment that nobody can foretell.
    pub fn new(url: impl Into<String>, room: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            room: room.into(),
            name: name.into(),
            token: None,
            encoding: Encoding::Json,
            publish: Vec::new(),
            sending: true,
            feedback: Feedback::default(),
            srtp: None,
            media_address: None,
            reconnect: true,
            seed: RandomState::new().hash_one(()),
        }
    }

    /// The same with one more publication.
    pub fn publish(mut self, publish: Publish) -> Self {
        self.publish.push(publish);
        self
    }
}

/// The RTCP a client takes part in. What it doesn't, it doesn't negotiate either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feedback {
    /// Sender and receiver reports.
    pub reports: bool,
    /// NACKs: sent for gaps, answered from a history. Off where loss is to be counted.
    pub nack: bool,
    /// Transport-wide sequence numbers and feedback about them.
    pub transport_wide: bool,
}

impl Default for Feedback {
    /// Reports only: nothing hides a loss.
    fn default() -> Self {
        Self { reports: true, nack: false, transport_wide: false }
    }
}

impl Feedback {
    /// None at all.
    pub const NONE: Feedback = Feedback { reports: false, nack: false, transport_wide: false };

    /// What a browser takes part in.
    pub const BROWSER: Feedback = Feedback { reports: true, nack: true, transport_wide: true };
}

/// SRTP protection profiles a server may meet (RFC 5764 §4.1.2, RFC 7714 §14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SrtpProfile {
    /// AEAD_AES_128_GCM.
    AeadAes128Gcm,
    /// AES128_CM_HMAC_SHA1_80.
    AesCm128HmacSha1,
}

/// What became of an offer of the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renegotiated {
    /// The server answered it.
    Answered,
    /// It collided with an offer of the server's and was taken back; the next one was answered.
    AfterCollision,
}

/// A participant in a room. Dropping it leaves the room; [`Client::leave`] also waits until that is done.
pub struct Client {
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<State>,
    events: broadcast::Sender<ClientEvent>,
    meter: Arc<SharedMeter>,
    handles: watch::Receiver<Handles>,
}

impl Client {
    /// Joins a room and returns when the first negotiation is done and everything in [`Options::publish`] is published. The
    /// transport may still be connecting.
    pub async fn connect(options: Options) -> Result<Client, ClientError> {
        Self::start(options, None).await
    }

    /// Joins with media that goes directly to `sink` and comes from [`Client::sender`]s, past the peer connection, which costs less: for load.
    /// What is published has to be [`Media::Silent`](crate::Media::Silent). A receiver gives the feedback a browser gives, whatever
    /// [`Options::feedback`] says, but tells when packets arrived only with [`Feedback::transport_wide`]: by that the server estimates what
    /// the line carries. [`Client::report`] stays empty. `lines`: a bad line that everything but signaling goes over.
    pub async fn connect_direct(options: Options, sink: Box<dyn Sink>, lines: Option<Lines>) -> Result<Client, ClientError> {
        let lane = Lane::new(sink, lines, options.feedback.transport_wide);
        Self::start(options, Some(lane)).await
    }

    async fn start(options: Options, lane: Option<Arc<Lane>>) -> Result<Client, ClientError> {
        let (commands, queue) = mpsc::channel(COMMANDS);
        let started = session::start(options, lane, queue).await?;
        let client = Client { commands, state: started.state, events: started.events, meter: started.meter, handles: started.handles };
        client.ask(|done| Command::Ready { done }).await?;
        for publish in started.publish {
            client.publish(publish).await?;
        }
        Ok(client)
    }

    /// The local address of the media socket, for a client of [`Client::connect_direct`].
    pub fn media_address(&self) -> Option<SocketAddr> {
        self.handles.borrow().lane.as_ref()?.local_address()
    }

    /// Who the client is; somebody else after [`ClientEvent::Rejoined`].
    pub fn id(&self) -> ParticipantId {
        self.state.borrow().me
    }

    /// What the client knows now.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Everybody else in the room.
    pub fn participants(&self) -> Vec<Participant> {
        self.state.borrow().participants.values().cloned().collect()
    }

    /// The tracks of everybody else, with who publishes them.
    pub fn tracks(&self) -> Vec<(ParticipantId, Track)> {
        self.state.borrow().tracks().map(|(publisher, track)| (publisher, *track)).collect()
    }

    /// Waits until what the client knows is as wanted, and returns it.
    pub async fn wait_until(&self, timeout: Duration, mut wanted: impl FnMut(&State) -> bool) -> Result<State, WaitError> {
        let mut state = self.state.clone();
        // A session that is over changes no more; but it may be what is waited for.
        let settled = state.wait_for(|state| wanted(state) || state.closed.is_some());
        match tokio::time::timeout(timeout, settled).await {
            Ok(Ok(state)) if state.closed.is_none() => return Ok(state.clone()),
            Ok(_) => {}
            Err(_) => return Err(not_in_time(timeout, &*self.state.borrow())),
        }
        let state = self.state.borrow().clone();
        if wanted(&state) {
            return Ok(state);
        }
        Err(WaitError::Closed(state.closed.unwrap_or(Closed::WebSocket("the session ended".into()))))
    }

    /// Waits until media and data flow.
    pub async fn wait_connected(&self, timeout: Duration) -> Result<State, WaitError> {
        self.wait_until(timeout, |state| state.transport == crate::Transport::Connected && state.data_channel_open).await
    }

    /// What has been received so far, since the client joined, or joined again.
    pub fn report(&self) -> Report {
        self.meter.lock().report()
    }

    /// Waits until what has been received is as wanted, and returns it.
    pub async fn wait_for_report(&self, timeout: Duration, mut wanted: impl FnMut(&Report) -> bool) -> Result<Report, WaitError> {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let changed = self.meter.changed().notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let report = self.report();
            if wanted(&report) {
                return Ok(report);
            }
            if let Some(closed) = self.state.borrow().closed.clone() {
                return Err(WaitError::Closed(closed));
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Err(not_in_time(timeout, &report));
            }
            tokio::time::sleep(REPORT_INTERVAL).await;
        }
    }

    /// Everything that happens from now on. A reader that falls a thousand events behind misses some.
    pub fn events(&self) -> broadcast::Receiver<ClientEvent> {
        self.events.subscribe()
    }

    /// Asks the server for something that signaling has no method of its own for here.
    pub async fn request(&self, request: Request) -> Result<Reply, ClientError> {
        self.ask(|done| Command::Request { request, done }).await
    }

    /// Publishes a track, on an m-line that is free or on a new one.
    pub async fn publish(&self, publish: Publish) -> Result<TrackId, ClientError> {
        self.ask(|done| Command::Publish { publish, done }).await
    }

    /// Withdraws a track; its m-line is free for another.
    pub async fn unpublish(&self, track: TrackId) -> Result<(), ClientError> {
        self.ask(|done| Command::Unpublish { track, done }).await
    }

    /// Mutes a track or unmutes it; a muted one sends nothing.
    pub async fn mute(&self, track: TrackId, muted: bool) -> Result<(), ClientError> {
        self.ask(|done| Command::Mute { track, muted, done }).await
    }

    /// What sends a track's packets, for a client of [`Client::connect_direct`]; of a simulcast, those of its first encoding. There must be one
    /// only for each track. After [`ClientEvent::Rejoined`] it sends nothing more: there are other tracks then.
    pub async fn sender(&self, track: TrackId) -> Result<Sender, ClientError> {
        self.senders(track).await?.into_iter().next().ok_or(ClientError::NotDirect(track))
    }

    /// What sends the packets of each of a track's encodings, in the order of [`Publish::encodings`]; as [`Client::sender`].
    pub async fn senders(&self, track: TrackId) -> Result<Vec<Sender>, ClientError> {
        self.ask(|done| Command::Senders { track, done }).await
    }

    /// Lets all publications send, or stops them; when it returns from stopping, [`crate::Published::packets_sent`] is final.
    pub async fn set_sending(&self, sending: bool) -> Result<(), ClientError> {
        self.ask(|done| Command::SetSending { sending, done }).await
    }

    /// Makes an offer, whether there is a reason or not, and waits until it or, after a collision, a later one is answered.
    pub async fn renegotiate(&self) -> Result<Renegotiated, ClientError> {
        self.ask(|done| Command::Negotiate { restart_ice: false, done }).await
    }

    /// Restarts ICE (RFC 8445 §9) with an offer of the client's.
    pub async fn restart_ice(&self) -> Result<Renegotiated, ClientError> {
        self.ask(|done| Command::Negotiate { restart_ice: true, done }).await
    }

    /// Has the server give a sign of life: what a browser does when the network has changed. A connection on which nothing comes for two seconds is
    /// given up for another.
    pub async fn check_connection(&self) -> Result<(), ClientError> {
        self.ask(|done| Command::Doubt { done }).await
    }

    /// Puts another peer connection in the place of the one there is, in the same session, as a client does whose own can't be repaired. Returns when the server
    /// has agreed; everything is negotiated and published again then. For a client of [`Client::connect_direct`] its [`Client::sender`]s are others.
    pub async fn renew(&self) -> Result<(), ClientError> {
        self.ask(|done| Command::Renew { done }).await
    }

    /// Sends a text over the data channel, to one participant or to everybody. Waits while a megabyte is under way.
    pub async fn send_text(&self, to: Option<ParticipantId>, text: &str) -> Result<(), ClientError> {
        let to = to.map_or("*".to_owned(), |to| to.0.to_string());
        let data = self.handles.borrow().data.clone();
        data.send(DataPayload::Text(format!("{to}\n{text}"))).await
    }

    /// Sends bytes over the data channel, to one participant or to everybody. Waits while a megabyte is under way.
    pub async fn send_binary(&self, to: Option<ParticipantId>, bytes: &[u8]) -> Result<(), ClientError> {
        let mut message = Vec::with_capacity(4 + bytes.len());
        message.extend_from_slice(&to.map_or(EVERYONE, |to| to.0).to_be_bytes());
        message.extend_from_slice(bytes);
        let data = self.handles.borrow().data.clone();
        data.send(DataPayload::Binary(message)).await
    }

    /// Leaves the room and waits until the server has closed the session.
    pub async fn leave(self) -> Result<(), ClientError> {
        let left = async {
            self.ask(|done| Command::Request { request: Request::Leave, done }).await?;
            let mut state = self.state.clone();
            match state.wait_for(|state| state.closed.is_some()).await.map(|state| state.closed.clone()) {
                Ok(Some(Closed::Left) | None) | Err(_) => Ok(()),
                Ok(Some(other)) => Err(ClientError::Closed(other)),
            }
        };
        tokio::time::timeout(LEAVE_TIMEOUT, left).await.map_err(|_| ClientError::Timeout(LEAVE_TIMEOUT))?
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T, ClientError>>) -> Command) -> Result<T, ClientError> {
        let (done, answer) = oneshot::channel();
        let over = || ClientError::Closed(self.state.borrow().closed.clone().unwrap_or(Closed::WebSocket("the session ended".into())));
        self.commands.send(command(done)).await.map_err(|_| over())?;
        answer.await.map_err(|_| over())?
    }
}

fn not_in_time(after: Duration, state: &impl Debug) -> WaitError {
    WaitError::Timeout { after, state: format!("{state:?}") }
}
