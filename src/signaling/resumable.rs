//! A session's link to its client: one WebSocket after the other, and the time in between.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use switchyard_protocol::{
    ClientMessage, CloseReason, DecodeError, Encoding, ErrorCode, Event, ProtocolError, Reply, Request, Resumed, ServerMessage, Snapshot,
};

use super::log::{Bounds, Class, Log, Missed};
use super::sessions::{Arrival, Registration};
use super::socket::{Frame, Socket};
use crate::metrics::Away;
use crate::outbox::{Broadcast, Close};
use crate::participant::{Incoming, Link, sleep_until};
use crate::server::Server;

/// What a session has of its client. It stays while connections come and go.
pub struct Resumable {
    server: Arc<Server>,
    encoding: Encoding,
    connection: Connection,
    log: Log,
    registration: Registration,
}

#[expect(clippy::large_enum_variant, reason = "one for each session, in its box, and nearly always the large one")]
enum Connection {
    Here(Socket),
    /// It was lost. When the client is given up:
    Lost(Instant, #[expect(dead_code, reason = "counted as long as it is there")] Away),
    /// It is there, but the client has missed too much: first it has to be told the room as it is.
    Behind(Arrival),
}

/// What a session waits for.
enum Happened {
    Frame(Result<Frame, Close>),
    Arrived(Arrival),
    GivenUp,
}

impl Resumable {
    /// A session on its first connection, before anything is sent that counts; the client has sent `received` messages that do.
    pub fn new(server: &Arc<Server>, socket: Socket, registration: Registration, received: u32) -> Self {
        let encoding = socket.encoding();
        let mut log = Log::new(Bounds::default());
        (0..received).for_each(|_| log.count_received());
        Self { server: Arc::clone(server), encoding, connection: Connection::Here(socket), log, registration }
    }

    /// Ends it: nobody finds it any more, and the client is told if there is a connection.
    pub async fn close(self, close: Close) {
        let Self { server, connection, registration, .. } = self;
        registration.end(&close, server.resume_within);
        if let Connection::Here(socket) = connection {
            socket.close(close).await;
        }
    }

    fn take(&mut self, frame: Frame) -> Incoming {
        let Connection::Here(socket) = &mut self.connection else { unreachable!("frames come from a connection") };
        self.log.count_received();
        let message = socket.decode(frame);
        if let Ok(ClientMessage { id, request: Request::Ping { received: Some(received) } }) = message
            && self.log.acknowledge(received).is_err()
        {
            let error = ProtocolError::new(ErrorCode::WrongState, "the server has not sent that many messages");
            return Incoming::Message(Err(DecodeError { id: Some(id), error }));
        }
        Incoming::Message(message)
    }

    /// Takes a connection in place of the one there is. `None`: there is nothing for the participant to do.
    fn arrive(&mut self, arrival: Arrival) -> Option<Incoming> {
        match self.log.resume(arrival.received) {
            // Who has a connection does not lose it to one that knows less.
            Err(_) if !matches!(self.connection, Connection::Lost(..)) => None,
            Err(_) => Some(Incoming::Closed(Close::Gone)),
            Ok(Missed::Messages(messages)) => {
                self.attach(arrival, None, messages);
                None
            }
            Ok(Missed::TooMuch) => {
                self.connect(Connection::Behind(arrival));
                Some(Incoming::Behind)
            }
        }
    }

    /// The client goes on here: it is told so, and then what it missed.
    fn attach(&mut self, arrival: Arrival, snapshot: Option<Snapshot>, missed: Vec<Bytes>) {
        let id = arrival.id;
        let Some(mut socket) = arrival.take() else { return };
        let result = Reply::Resumed(Resumed { received: self.log.received(), snapshot });
        let told = socket.send(&ServerMessage::Reply { id, result });
        let told = told.and_then(|()| missed.into_iter().try_for_each(|bytes| socket.push(bytes)));
        self.connect(Connection::Here(socket));
        if told.is_err() {
            self.lose();
        }
    }

    /// Puts a connection in the place of the one there is, which is told so.
    fn connect(&mut self, connection: Connection) {
        let former = match std::mem::replace(&mut self.connection, connection) {
            Connection::Here(socket) => Some(socket),
            Connection::Behind(arrival) => arrival.take(),
            Connection::Lost(..) => None,
        };
        if let Some(socket) = former {
            let guard = self.server.sessions.clone();
            tokio::spawn(async move {
                socket.close(Close::Because(CloseReason::ResumedElsewhere)).await;
                drop(guard);
            });
        }
    }

    /// The connection is no more, or no use any more: it is broken off, and the client has a while to open another.
    fn lose(&mut self) {
        let lost = self.lost();
        if let Connection::Behind(arrival) = std::mem::replace(&mut self.connection, lost) {
            // Otherwise it would go back to who brought it.
            drop(arrival.take());
        }
    }

    fn lost(&self) -> Connection {
        Connection::Lost(Instant::now() + self.server.resume_within, self.server.metrics.away())
    }

    fn push(&mut self, class: Class, bytes: Bytes) {
        self.log.push(class, bytes.clone());
        if let Connection::Here(socket) = &mut self.connection
            && socket.push(bytes).is_err()
        {
            self.lose();
        }
    }
}

impl Link for Resumable {
    async fn next(&mut self) -> Incoming {
        loop {
            let happened = match &mut self.connection {
                Connection::Here(socket) => tokio::select! {
                    arrival = self.registration.arrival() => Happened::Arrived(arrival),
                    frame = socket.next() => Happened::Frame(frame),
                },
                Connection::Lost(deadline, _) => tokio::select! {
                    arrival = self.registration.arrival() => Happened::Arrived(arrival),
                    () = sleep_until(Some(*deadline)) => Happened::GivenUp,
                },
                Connection::Behind(_) => Happened::Arrived(self.registration.arrival().await),
            };
            match happened {
                Happened::Frame(Ok(frame)) => return self.take(frame),
                Happened::Frame(Err(Close::Gone)) => self.lose(),
                Happened::Frame(Err(close)) => return Incoming::Closed(close),
                Happened::GivenUp => return Incoming::Closed(Close::Gone),
                Happened::Arrived(arrival) => {
                    if let Some(incoming) = self.arrive(arrival) {
                        return incoming;
                    }
                }
            }
        }
    }

    fn send(&mut self, message: &ServerMessage) {
        let class = match message {
            ServerMessage::Reply { .. }
            | ServerMessage::Error { .. }
            | ServerMessage::Event { event: Event::Offer { .. } | Event::Renew } => Class::Answer,
            ServerMessage::Event { .. } => Class::Event,
        };
        self.push(class, self.encoding.encode_server(message).into());
    }

    fn broadcast(&mut self, broadcast: &Broadcast) {
        // Who is about to be told the room as it is will see it there.
        if !matches!(self.connection, Connection::Behind(_)) {
            self.push(Class::Event, broadcast.bytes(self.encoding));
        }
    }

    fn flush(&mut self) {
        if let Connection::Here(socket) = &mut self.connection {
            socket.flush();
        }
    }

    fn is_connected(&self) -> bool {
        matches!(self.connection, Connection::Here(_))
    }

    fn missed(&mut self) {
        self.log.push_lost();
        if !matches!(self.connection, Connection::Lost(..)) {
            self.lose();
        }
    }

    fn catch_up(&mut self, snapshot: Snapshot) -> Result<(), Close> {
        let lost = self.lost();
        let arrival = match std::mem::replace(&mut self.connection, lost) {
            Connection::Behind(arrival) => arrival,
            other => {
                self.connection = other;
                return Ok(());
            }
        };
        let missed = self.log.start_over().map_err(|_| Close::Gone)?;
        self.attach(arrival, Some(snapshot), missed);
        // What was said of it may be among what the client has missed, and is no part of the room.
        if let Some(event) = self.server.drain.event() {
            self.send(&ServerMessage::Event { event });
        }
        Ok(())
    }
}
