//! The way to the server for a session's messages: a WebSocket, and when it is lost, the next one. What was under way meanwhile is said again on
//! both sides (PROTOCOL.md, *Resuming*); where the server knows the session no more, another one begins.

mod backoff;
mod tally;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use switchyard_protocol::{ClientMessage, CloseReason, Encoding, Event, Joined, Reply, Request, Resumed, ServerMessage, Snapshot, Token};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, sleep_until};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tracing::debug;

use crate::client::Options;
use crate::error::{ClientError, Closed};
use crate::signaling::{Beginning, Ends, Socket, encode};
use backoff::Backoff;
pub(crate) use tally::Full;
use tally::{MAX_KEPT, Tally};

/// How long opening the first WebSocket may take: nobody tries again.
const FIRST_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long opening a further one may take before the next try: longer than TCP needs to send a lost SYN again, which is one second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the server may take to take up a session. It does so at once; a network that fails just then is given up soon.
const RESUME_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a join may take: the server lets newcomers wait for their turn for six seconds.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pings, which say what need not be kept any longer.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// A connection on which nothing at all came for this long after a ping is given up.
const PONG_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that lasted for this long was a good one: the next is tried at once.
const STABLE: Duration = Duration::from_secs(2);
/// Messages that wait to be written: those that are kept, and a farewell.
const QUEUE: usize = MAX_KEPT + 1;

/// The connection was given up by the client, which doubts that the server hears it.
const GIVEN_UP: u16 = 4000;

/// What comes over the link.
pub(crate) enum Heard {
    /// A message of the server's.
    Message(ServerMessage),
    /// The connection is lost; the next is being tried.
    Lost,
    /// The session goes on over another connection. With a snapshot, events were lost; without, everything that was missed follows.
    Resumed(Option<Snapshot>),
    /// The session was gone. This is another one, in which nothing was asked yet.
    Joined(Box<Joined>),
}

/// Where to, and as whom.
#[derive(Clone)]
struct Target {
    url: String,
    encoding: Encoding,
    room: String,
    name: String,
    access: Option<Token>,
}

/// The tries until there is another connection, and how long to wait when that is lost at once.
type Search = Pin<Box<dyn Future<Output = Result<(Arrival, Backoff), Closed>> + Send>>;

enum Connection {
    Up { socket: Socket, since: Instant },
    Down(Search),
}

/// What another connection brings.
enum Arrival {
    Resumed(Socket, Resumed),
    Joined(Socket, Box<Joined>),
}

/// A session's link. Dropping it leaves the room.
pub(crate) struct Link {
    target: Target,
    /// Whether a lost connection is followed by another.
    reconnect: bool,
    /// Whether the client has said that it leaves.
    leaving: bool,
    /// The session's.
    token: Token,
    tally: Tally<Message>,
    next_id: u32,
    connection: Connection,
    backoff: Backoff,
    pings: Interval,
    /// Pings without an answer, and when the last was sent on this connection.
    unanswered: Vec<u32>,
    pinged: Option<Instant>,
    /// Of the present or last connection.
    pub(crate) ends: Ends,
}

impl Link {
    /// Connects and joins.
    pub(crate) async fn join(options: &Options) -> Result<(Self, Joined), ClientError> {
        let target = Target {
            url: options.url.clone(),
            encoding: options.encoding,
            room: options.room.clone(),
            name: options.name.clone(),
            access: options.token.clone(),
        };
        let mut socket = Socket::open(&target.url, target.encoding, QUEUE, FIRST_CONNECT_TIMEOUT).await?;
        let joined = match join(&mut socket, &target).await {
            Ok(joined) => *joined,
            Err(beginning) => {
                // Who was let in after all leaves.
                socket.close(CloseCode::Normal);
                return Err(beginning.into());
            }
        };
        let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let link = Self {
            target,
            reconnect: options.reconnect,
            leaving: false,
            token: joined.session.token.clone(),
            tally: Tally::new(),
            next_id: 1,
            ends: socket.ends,
            connection: Connection::Up { socket, since: Instant::now() },
            backoff: Backoff::new(options.seed),
            pings,
            unanswered: Vec::new(),
            pinged: None,
        };
        Ok((link, joined))
    }

    /// Whether there is a connection.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.connection, Connection::Up { .. })
    }

    /// The name to join under when the session is gone.
    pub(crate) fn set_name(&mut self, name: String) {
        self.target.name = name;
    }

    /// Sends a request, now or over the next connection; its id.
    pub(crate) fn request(&mut self, request: Request) -> Result<u32, Full> {
        let id = self.next_id;
        let request_leaves = request == Request::Leave;
        let message = encode(self.target.encoding, &ClientMessage { id, request });
        self.tally.send(id, message.clone())?;
        self.leaving |= request_leaves;
        self.next_id = id.wrapping_add(1).max(1);
        if let Connection::Up { socket, .. } = &self.connection {
            socket.send(message);
        }
        Ok(id)
    }

    /// Asks the server for a sign of life. A connection on which none comes is given up.
    pub(crate) fn doubt(&mut self) {
        if self.is_up() && self.pinged.is_none() {
            // When too much is unanswered, what comes next tells as well.
            if let Ok(id) = self.request(Request::Ping { received: Some(self.tally.received()) }) {
                self.unanswered.push(id);
            }
            self.pinged = Some(Instant::now());
        }
    }

    /// What comes next; an error is the end. Nothing is lost if the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<Heard, Closed> {
        loop {
            let (socket, since) = match &mut self.connection {
                Connection::Up { socket, since } => (socket, *since),
                Connection::Down(arrival) => {
                    let (arrival, backoff) = arrival.await?;
                    self.backoff = backoff;
                    return self.arrive(arrival);
                }
            };
            // Whoever sends anything is alive, however late the answer.
            let silent = self.pinged.filter(|_| self.reconnect).map(|pinged| pinged.max(socket.heard) + PONG_TIMEOUT);
            let lost = tokio::select! {
                message = socket.receive() => match message {
                    Ok(message) => match self.take(message) {
                        Ok(Some(message)) => return Ok(Heard::Message(message)),
                        Ok(None) => continue,
                        Err(closed) => closed,
                    },
                    Err(closed) => closed,
                },
                _ = self.pings.tick() => {
                    self.doubt();
                    continue;
                }
                () = sleep_until(silent.unwrap_or_else(Instant::now)), if silent.is_some() => {
                    if self.pinged.is_some_and(|pinged| pinged.max(socket.heard) + PONG_TIMEOUT > Instant::now()) {
                        continue;
                    }
                    Closed::WebSocket("silent".into())
                }
            };
            return self.lose(lost, since);
        }
    }

    /// Counts a message, and keeps back what is between the two ends of the link.
    fn take(&mut self, message: ServerMessage) -> Result<Option<ServerMessage>, Closed> {
        let answered = match &message {
            ServerMessage::Reply { id, .. } => Some(*id),
            ServerMessage::Error { id, .. } => *id,
            ServerMessage::Event { .. } => None,
        };
        self.tally.receive(answered);
        if let Some(at) = answered.and_then(|answered| self.unanswered.iter().position(|id| *id == answered)) {
            self.unanswered.remove(at);
            self.pinged = self.pinged.filter(|_| !self.unanswered.is_empty());
            return Ok(None);
        }
        match message {
            ServerMessage::Event { event: Event::Closing { reason, message, to } } => Err(Closed::Closing { reason, message, to }),
            message => Ok(Some(message)),
        }
    }

    /// The connection that was there `since` then is over. What to do is for its end to say.
    fn lose(&mut self, closed: Closed, since: Instant) -> Result<Heard, Closed> {
        let token = match &closed {
            Closed::WebSocket(_) => Some(self.token.clone()),
            // The session is gone, but whoever has it is wanted.
            Closed::Closing { reason: CloseReason::ShuttingDown | CloseReason::TransportTimeout, .. } => None,
            Closed::Closing { .. } | Closed::Left | Closed::Refused { .. } | Closed::Protocol(_) | Closed::Peer(_) => return Err(closed),
        };
        if self.leaving {
            return Err(Closed::Left);
        }
        if !self.reconnect {
            return Err(closed);
        }
        debug!(%closed, "the connection is lost");
        if since.elapsed() >= STABLE {
            self.backoff.reset();
        }
        self.pinged = None;
        let backoff = std::mem::replace(&mut self.backoff, Backoff::new(0));
        let next = reconnect(self.target.clone(), token, self.tally.received(), backoff);
        if let Connection::Up { socket, .. } = std::mem::replace(&mut self.connection, Connection::Down(Box::pin(next))) {
            socket.close(CloseCode::from(GIVEN_UP));
        }
        Ok(Heard::Lost)
    }

    /// Goes on over another connection.
    fn arrive(&mut self, arrival: Arrival) -> Result<Heard, Closed> {
        let (socket, heard) = match arrival {
            Arrival::Resumed(socket, resumed) => {
                let again = self.tally.resume(resumed.received).map_err(|error| Closed::Protocol(error.to_string()))?;
                again.for_each(|message| socket.send(message.clone()));
                (socket, Heard::Resumed(resumed.snapshot))
            }
            Arrival::Joined(socket, joined) => {
                self.token.clone_from(&joined.session.token);
                self.tally = Tally::new();
                self.unanswered.clear();
                (socket, Heard::Joined(joined))
            }
        };
        self.ends = socket.ends;
        self.connection = Connection::Up { socket, since: Instant::now() };
        self.pings.reset();
        match heard {
            // Left by being lost: the new session ends at once.
            Heard::Joined(_) if self.leaving => Err(Closed::Left),
            heard => Ok(heard),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let nowhere = Connection::Down(Box::pin(std::future::pending()));
        if let Connection::Up { socket, .. } = std::mem::replace(&mut self.connection, nowhere)
            && tokio::runtime::Handle::try_current().is_ok()
        {
            socket.close(CloseCode::Normal);
        }
    }
}

async fn join(socket: &mut Socket, target: &Target) -> Result<Box<Joined>, Beginning> {
    let request = Request::Join { room: target.room.clone(), name: target.name.clone(), token: target.access.clone(), password: None };
    match socket.begin(request, JOIN_TIMEOUT).await? {
        Reply::Joined(joined) => Ok(Box::new(joined)),
        _ => Err(Beginning::Closed(Closed::Protocol("no reply to join".into()))),
    }
}

/// Tries until it resumes the session of `token`, of whose messages `received` came, or, when that is gone, until it joins; or until the server has
/// said that it never will.
async fn reconnect(target: Target, mut token: Option<Token>, received: u32, mut backoff: Backoff) -> Result<(Arrival, Backoff), Closed> {
    let mut wait = backoff.wait();
    loop {
        sleep(wait).await;
        wait = match attempt(&target, &mut token, received).await {
            Ok(arrival) => return Ok((arrival, backoff)),
            Err(beginning) if !beginning.is_passing() => {
                return Err(match beginning {
                    Beginning::Refused(error) => Closed::Refused { code: error.code, message: error.message },
                    Beginning::Closed(closed) => closed,
                    Beginning::Unanswered(timeout) => Closed::WebSocket(format!("unanswered for {timeout:?}")),
                });
            }
            Err(Beginning::Refused(error)) => {
                debug!(code = ?error.code, "no room");
                backoff.wait_for_room()
            }
            Err(Beginning::Unanswered(_) | Beginning::Closed(_)) => backoff.wait(),
        };
    }
}

/// One connection's try. Forgets a `token` that the server does not know.
async fn attempt(target: &Target, token: &mut Option<Token>, received: u32) -> Result<Arrival, Beginning> {
    let opened = Socket::open(&target.url, target.encoding, QUEUE, CONNECT_TIMEOUT).await;
    let mut socket = opened.map_err(|error| Beginning::Closed(Closed::WebSocket(error.to_string())))?;
    if let Some(known) = token {
        match socket.begin(Request::Resume { token: known.clone(), received }, RESUME_TIMEOUT).await {
            Ok(Reply::Resumed(resumed)) => return Ok(Arrival::Resumed(socket, resumed)),
            Ok(_) => return Err(Beginning::Closed(Closed::Protocol("no reply to resume".into()))),
            Err(Beginning::Refused(error)) if !error.retryable => *token = None,
            Err(beginning) => return Err(beginning),
        }
    }
    match join(&mut socket, target).await {
        Ok(joined) => Ok(Arrival::Joined(socket, joined)),
        Err(beginning) => {
            // Who was let in after all leaves: the next try would meet itself in the room.
            socket.close(CloseCode::Normal);
            Err(beginning)
        }
    }
}
