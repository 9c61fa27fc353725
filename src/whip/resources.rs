//! Sessions that are HTTP resources: made by POST, changed by PATCH, ended by DELETE.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use dashmap::DashMap;
use switchyard_protocol::{ErrorCode, ProtocolError, ServerMessage};
use switchyard_room::{Bucket, Rate};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::outbox::{Broadcast, Close};
use crate::participant::{Incoming, Link, Participant, Patch, Patched};
use crate::problem::Problem;
use crate::server::{Server, secret};

/// Requests waiting for one session; who brings another waits for space.
const MAX_WAITING: usize = 4;
/// Fragments of one session. A client that trickles each candidate by itself sends some 20 at once.
const PATCH_RATE: Rate = Rate { burst: 60, per_second: 10 };

/// Room for one more session; see [`permit`].
pub type Permit = OwnedSemaphorePermit;

/// All sessions without a WebSocket by their names, which nobody can guess. Each has a permit, so that there are not more than those.
#[derive(Debug, Default)]
pub struct Resources(DashMap<String, Resource>);

impl Resources {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// A session's end for requests.
#[derive(Clone, Debug)]
pub struct Resource(mpsc::Sender<Ask>);

/// What a request wants of a session.
enum Ask {
    Patch(Patch),
    End,
}

/// Room for one more session, by HTTP or by WebSocket.
pub fn permit(server: &Server) -> Result<Permit, ProtocolError> {
    let full = |_| ProtocolError::new(ErrorCode::LimitReached, "too many sessions");
    Arc::clone(&server.places).try_acquire_owned().map_err(full)
}

/// Runs a participant as a resource; its name.
pub fn start(server: &Arc<Server>, participant: Participant, permit: Permit) -> Result<String, ProtocolError> {
    let id = secret()?;
    let (asks, asked) = mpsc::channel(MAX_WAITING);
    server.resources.0.insert(id.clone(), Resource(asks));
    let (server, name) = (Arc::clone(server), id.clone());
    tokio::spawn(async move {
        let _guard = server.sessions.clone();
        let mut link = Requests { asked, patches: Bucket::new(PATCH_RATE) };
        Box::new(participant).run(&mut link, server.stop.clone()).await;
        server.resources.0.remove(&name);
        drop(permit);
    });
    Ok(id)
}

impl Resources {
    pub fn find(&self, id: &str) -> Result<Resource, Problem> {
        self.0.get(id).map(|resource| resource.clone()).ok_or_else(gone)
    }

    /// Nobody finds it from now on; what asked before still may.
    pub fn remove(&self, id: &str) -> Result<Resource, Problem> {
        self.0.remove(id).map(|(_, resource)| resource).ok_or_else(gone)
    }
}

impl Resource {
    /// Hands a fragment to the session.
    pub async fn patch(&self, ice_sessions: Option<Vec<String>>, fragment: String) -> Result<Patched, Problem> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Ask::Patch(Patch { ice_sessions, fragment, reply })).await.map_err(|_| gone())?;
        Ok(answer.await.map_err(|_| gone())??)
    }

    /// Ends the session and waits until it has, or for `patience`.
    pub async fn end(&self, patience: Duration) {
        let end = async {
            let _ = self.0.send(Ask::End).await;
            self.0.closed().await;
        };
        let _ = tokio::time::timeout(patience, end).await;
    }
}

fn gone() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, ErrorCode::NoSuchParticipant, "there is no such session")
}

/// What requests bring to one session. It ends once none can come any more.
struct Requests {
    asked: mpsc::Receiver<Ask>,
    patches: Bucket,
}

impl Link for Requests {
    async fn next(&mut self) -> Incoming {
        loop {
            match self.asked.recv().await {
                Some(Ask::Patch(patch)) if self.patches.take(Instant::now(), 1) => return Incoming::Patch(patch),
                Some(Ask::Patch(patch)) => {
                    let error = ProtocolError::new(ErrorCode::RateLimited, "fragments come too fast; wait a moment");
                    let _ = patch.reply.send(Err(error));
                }
                Some(Ask::End) | None => return Incoming::Closed(Close::Left),
            }
        }
    }

    /// There is nobody to be told.
    fn send(&mut self, _: &ServerMessage) {}

    fn broadcast(&mut self, _: &Broadcast) {}
}
