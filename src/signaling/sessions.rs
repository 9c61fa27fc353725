//! Sessions by their tokens, so that a connection finds the one it resumes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use switchyard_protocol::{Encoding, ErrorCode, ProtocolError, Token};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Unseated;
use super::socket::Socket;
use crate::outbox::Close;
use crate::queue;
use crate::server::secret;

/// Connections waiting for one session to take them: one for a client that resumes, and some that a client gave up just before. Who brings another waits.
const MAX_ARRIVALS: usize = 4;

/// Sessions whose end is remembered: those of the largest room, and more.
const MAX_FAREWELLS: usize = 10_000;

/// All sessions that can be resumed. Each has a place, so that there are not more than those. And for a while how some have ended, for clients that come back.
#[derive(Default)]
pub struct Sessions {
    live: DashMap<String, Entry>,
    farewells: Mutex<Farewells>,
}

/// What clients are told that come back to sessions which are over. All are kept equally long.
#[derive(Default)]
struct Farewells {
    by_token: HashMap<String, (Instant, Close)>,
    /// Until when each is told, the oldest first.
    until: VecDeque<(Instant, String)>,
}

impl Farewells {
    fn keep(&mut self, now: Instant, until: Instant, token: String, close: Close) {
        while let Some((_, token)) = self.until.pop_front_if(|(until, _)| *until <= now) {
            self.by_token.remove(&token);
        }
        if self.by_token.len() < MAX_FAREWELLS {
            self.until.push_back((until, token.clone()));
            self.by_token.insert(token, (until, close));
        }
    }

    fn of(&self, now: Instant, token: &str) -> Option<Close> {
        self.by_token.get(token).filter(|(until, _)| now < *until).map(|(_, close)| close.clone())
    }
}

struct Entry {
    encoding: Encoding,
    arrivals: queue::Sender<Arrival>,
}

/// A connection that wants to be a session's. Given back where it is dropped without having been taken.
pub struct Arrival {
    /// The `resume` to be answered.
    pub id: u32,
    /// How many of the session's messages the client has got.
    pub received: u32,
    connection: Option<Box<(Socket, oneshot::Sender<Socket>)>>,
}

/// A session's place among [`Sessions`]; nobody finds it any more once this is dropped.
pub struct Registration {
    token: String,
    sessions: Arc<Sessions>,
    arrivals: queue::Receiver<Arrival>,
    _place: OwnedSemaphorePermit,
}

impl Sessions {
    /// A new session whose messages are written in `encoding`. It keeps one of [`Server::places`](crate::server::Server::places).
    pub fn register(self: &Arc<Self>, encoding: Encoding, place: OwnedSemaphorePermit) -> Result<Registration, ProtocolError> {
        let token = secret()?;
        let (sender, arrivals) = queue::queue(MAX_ARRIVALS);
        self.live.insert(token.clone(), Entry { encoding, arrivals: sender });
        Ok(Registration { token, sessions: Arc::clone(self), arrivals, _place: place })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.live.len()
    }

    /// Hands a connection over to the session of this token, which answers the request `id`. If it doesn't take it, the connection is back, with what to
    /// answer, or to close it with.
    pub(super) async fn hand_over(&self, token: &Token, socket: Socket, id: u32, received: u32) -> Result<(), (Socket, Unseated)> {
        let found = self.live.get(&token.0).map(|entry| (entry.encoding, entry.arrivals.clone()));
        let Some((encoding, arrivals)) = found else { return Err((socket, self.gone(token))) };
        if encoding != socket.encoding() {
            let error = ProtocolError::new(ErrorCode::WrongEncoding, "the session speaks the other subprotocol");
            return Err((socket, Unseated::Refused(error)));
        }
        let (back, returned) = oneshot::channel();
        // If the session has ended, sending drops it as well.
        let _ = arrivals.send(Arrival { id, received, connection: Some(Box::new((socket, back))) }).await;
        match returned.await {
            Ok(socket) => Err((socket, self.gone(token))),
            Err(_) => Ok(()),
        }
    }

    fn farewells(&self) -> MutexGuard<'_, Farewells> {
        // Whoever held it has at most forgotten something.
        self.farewells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gone(&self, token: &Token) -> Unseated {
        let error = ProtocolError::new(ErrorCode::NoSuchSession, "there is no such session, or it can't go on from there");
        self.farewells().of(Instant::now(), &token.0).map_or(Unseated::Refused(error), Unseated::Close)
    }
}

impl Registration {
    /// What the session is found by.
    pub fn token(&self) -> Token {
        Token(self.token.clone())
    }

    /// The session ends so; who comes back to it within this time is told.
    pub fn end(self, close: &Close, within: Duration) {
        if close.is_news() {
            let now = Instant::now();
            self.sessions.farewells().keep(now, now + within, self.token.clone(), close.clone());
        }
    }

    /// The next connection that resumes the session. Nothing is lost if the future is dropped.
    pub async fn arrival(&mut self) -> Arrival {
        match self.arrivals.recv().await {
            Some(arrival) => arrival,
            // The other end is taken away only by dropping this one.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.sessions.live.remove(&self.token);
    }
}

impl Arrival {
    /// The connection, which is the session's from now on.
    pub fn take(mut self) -> Option<Socket> {
        self.connection.take().map(|connection| connection.0)
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            let (socket, back) = *connection;
            // Where nobody waits any more, the connection is broken off.
            let _ = back.send(socket);
        }
    }
}
