//! Sessions by their tokens, so that a connection finds the one it resumes.

use std::sync::Arc;

use dashmap::DashMap;
use switchyard_protocol::{Encoding, ErrorCode, ProtocolError, Token};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::socket::Socket;
use crate::queue;
use crate::server::secret;

/// Connections waiting for one session to take them: one for a client that resumes, and some that a client gave up just before. Who brings another waits.
const MAX_ARRIVALS: usize = 4;

/// All sessions that can be resumed. Each has a place, so that there are not more than those.
#[derive(Default)]
pub struct Sessions(DashMap<String, Entry>);

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
        self.0.insert(token.clone(), Entry { encoding, arrivals: sender });
        Ok(Registration { token, sessions: Arc::clone(self), arrivals, _place: place })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Hands a connection over to the session of this token, which answers the request `id`. If it doesn't take it, the connection is back, with what to
    /// answer.
    pub async fn hand_over(&self, token: &Token, socket: Socket, id: u32, received: u32) -> Result<(), (Socket, ProtocolError)> {
        let found = self.0.get(&token.0).map(|entry| (entry.encoding, entry.arrivals.clone()));
        let Some((encoding, arrivals)) = found else { return Err((socket, gone())) };
        if encoding != socket.encoding() {
            return Err((socket, ProtocolError::new(ErrorCode::WrongEncoding, "the session speaks the other subprotocol")));
        }
        let (back, returned) = oneshot::channel();
        // If the session has ended, sending drops it as well.
        let _ = arrivals.send(Arrival { id, received, connection: Some(Box::new((socket, back))) }).await;
        match returned.await {
            Ok(socket) => Err((socket, gone())),
            Err(_) => Ok(()),
        }
    }
}

fn gone() -> ProtocolError {
    ProtocolError::new(ErrorCode::NoSuchSession, "there is no such session, or it can't go on from there")
}

impl Registration {
    /// What the session is found by.
    pub fn token(&self) -> Token {
        Token(self.token.clone())
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
        self.sessions.0.remove(&self.token);
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
