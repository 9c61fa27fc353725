//! What happens in rooms, as server-sent events (HTML, §9.2).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use switchyard_access::{Managed, Scope};
use tokio::sync::watch;

use super::Outcome;
use super::openapi::Refused;
use crate::access::unix_seconds;
use crate::http::Connection;
use crate::participant::sleep_until;
use crate::rooms::feed::{Listener, Told};
use crate::server::Server;
use crate::signaling::stopped;

/// How often a listener is told that nothing has happened: proxies give up connections that are silent for half a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Who takes nothing of what it is told for this long is let go: four times that it is told something at least.
const PATIENCE: Duration = Duration::from_secs(60);
/// When a listener comes back that has lost its connection.
const RETRY: Duration = Duration::from_secs(1);

/// What happens in all rooms that the token is for, for as long as it is good. Each event has the name of its `kind`, and a `RoomEvent` for data. After a `missed` more had happened than the
/// server keeps: ask for the rooms as they are now.
#[utoipa::path(get, path = "/v1/events", tag = "events",
    params(("Last-Event-ID" = Option<String>, Header, description = "To go on after this one.")),
    responses((status = 200, description = "A stream of events that ends with the token or the server.", content_type = "text/event-stream", body = String), Refused))]
pub async fn everywhere(
    State(server): State<Arc<Server>>,
    Extension(managed): Extension<Managed>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
) -> Outcome<Response> {
    listen(&server, managed, connection, &headers)
}

/// What happens in a room, which need not be there yet, for as long as the token is good.
#[utoipa::path(get, path = "/v1/rooms/{room}/events", tag = "events",
    params(("room" = String, Path), ("Last-Event-ID" = Option<String>, Header, description = "To go on after this one.")),
    responses((status = 200, description = "A stream of events that ends with the token or the server.", content_type = "text/event-stream", body = String), Refused))]
pub async fn in_room(
    State(server): State<Arc<Server>>,
    Path(room): Path<String>,
    Extension(Managed { until, .. }): Extension<Managed>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
) -> Outcome<Response> {
    listen(&server, Managed { scope: Scope::One(room), until }, connection, &headers)
}

fn listen(server: &Server, managed: Managed, connection: Connection, headers: &HeaderMap) -> Outcome<Response> {
    let last = headers.get("last-event-id").map(|id| id.to_str().unwrap_or_default());
    let listener = server.rooms.feed().listen(managed.scope, last)?;
    let ends = ends(managed.until);
    let hearing = Hearing { listener, connection, ends, stop: server.stop.clone(), greeted: false };
    let events = stream::unfold(hearing, |mut hearing| async {
        let event = hearing.next().await?;
        Some((Ok::<_, Infallible>(event), hearing))
    });
    // Proxies are not to keep it back (nginx).
    Ok(([(header::HeaderName::from_static("x-accel-buffering"), "no")], Sse::new(events)).into_response())
}

/// When somebody has to bring another token who has one until then.
fn ends(until: i64) -> Option<Instant> {
    let left = u64::try_from(until.saturating_sub(unix_seconds())).unwrap_or(0);
    Instant::now().checked_add(Duration::from_secs(left))
}

/// A stream and the connection that it goes over, which lives for as long as something is taken of it.
struct Hearing {
    listener: Listener,
    connection: Connection,
    /// When its token is good no longer.
    ends: Option<Instant>,
    stop: watch::Receiver<bool>,
    greeted: bool,
}

impl Hearing {
    /// What is to be written next, asked for once there is room for it; `None`: no more.
    async fn next(&mut self) -> Option<Event> {
        self.connection.prolong(PATIENCE);
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(Event::default().retry(RETRY).comment("listening"));
        }
        let told = tokio::select! {
            told = tokio::time::timeout(KEEP_ALIVE, self.listener.next()) => told,
            () = stopped(self.stop.clone()) => return None,
            () = sleep_until(self.ends) => return None,
        };
        Some(match told {
            Ok(Told::Event(id, event)) => {
                let data = serde_json::to_string(&*event).unwrap_or_default();
                Event::default().id(id).event(event.happened.kind()).data(data)
            }
            Ok(Told::Missed(id)) => Event::default().id(id).event("missed").data("{}"),
            Err(_) => Event::default().comment("nothing new"),
        })
    }
}
