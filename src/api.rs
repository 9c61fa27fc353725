//! The server's API for applications' back ends: rooms, who is in them and what they may do, over HTTP; and what happens in them, as server-sent events.
//!
//! Every request but the one for the API's description is let through by [`admit`] or answered by it: handlers can't forget to ask. What they do is [`Rooms`]'s.

mod events;
mod openapi;
mod people;
mod rooms;
mod say;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequest, RawPathParams, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use serde::de::DeserializeOwned;
use switchyard_access::{Managed, Refusal, Scope};
use switchyard_protocol::{ErrorCode, MAX_DATA_BYTES, ParticipantId, ProtocolError, TrackId, validate_room};
use switchyard_room::{Bucket, Rate};

use crate::access::bearer;
use crate::admin::is_of_a_page;
use crate::http::{Connection, read_body};
use crate::problem::{Problem, not_allowed};
use crate::server::Server;

/// Requests of all who have a token together: a control plane's share that those in rooms don't notice.
const REQUESTS: Rate = Rate { burst: 400, per_second: 200 };
/// Bytes for data channels: as much as one participant may send.
const DATA: Rate = Rate { burst: 4 << 20, per_second: 2 << 20 };
/// Bytes of a body: the longest data message in base64, and to whom.
const MAX_BODY: usize = 2 * MAX_DATA_BYTES;

/// How fast the API is asked.
#[derive(Debug)]
pub struct Api {
    requests: Mutex<Bucket>,
    data: Mutex<Bucket>,
}

impl Default for Api {
    fn default() -> Self {
        Self { requests: Mutex::new(Bucket::new(REQUESTS)), data: Mutex::new(Bucket::new(DATA)) }
    }
}

/// Takes so much of a rate, or says that it is too fast.
fn spend(bucket: &Mutex<Bucket>, cost: u32) -> Result<(), Problem> {
    // Whoever held it has left a bucket.
    let taken = bucket.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now(), cost);
    if taken { Ok(()) } else { Err(ProtocolError::new(ErrorCode::RateLimited, "requests come too fast; wait a moment").into()) }
}

/// The API's routes.
pub fn routes(server: &Arc<Server>) -> Router<Arc<Server>> {
    openapi::operations()
        .layer(from_fn_with_state(Arc::clone(server), admit))
        .route("/v1/openapi.json", get(openapi::document))
        .method_not_allowed_fallback(not_allowed)
}

type Outcome<T> = Result<T, Problem>;

/// Lets a request through that may manage the room it is about; which ones those are goes along.
async fn admit(State(server): State<Arc<Server>>, params: RawPathParams, mut request: Request, next: Next) -> Response {
    let judged = match judge(&server, &request) {
        Ok(managed) => managed,
        Err(problem) => return problem.into_response(),
    };
    let room = params.iter().find(|(name, _)| *name == "room").map(|(_, room)| room);
    let may = room.map_or(Ok(()), |room| {
        if !judged.scope.covers(room) {
            return Err(Problem::from(Refusal::WrongRoom));
        }
        Ok(validate_room(room)?)
    });
    if let Err(problem) = may.and_then(|()| spend(&server.api.requests, 1)) {
        return problem.into_response();
    }
    request.extensions_mut().insert(judged);
    tokio::time::timeout(server.request_timeout, next.run(request))
        .await
        .unwrap_or_else(|_| Problem::from(ProtocolError::new(ErrorCode::Timeout, "the server did not get to it in time")).into_response())
}

/// Which rooms a request may be about, and until when.
///
/// With access control that is the token's to say, and only the token's: it is in no cookie, so no page can use one that it doesn't have; and as there is no CORS
/// here, browsers keep pages of other origins from bringing one. Without access control it is open to programs of the same machine alone: not to pages in
/// its browsers, and not to what a proxy there hands on.
fn judge(server: &Server, request: &Request) -> Result<Managed, Problem> {
    let headers = request.headers();
    match server.access.manager(bearer(headers).as_ref()) {
        Ok(Some(managed)) => Ok(managed),
        Ok(None) => {
            let is_near = request.extensions().get::<Connection>().is_some_and(|connection| connection.peer.is_loopback());
            let is_handed_on = ["forwarded", "x-forwarded-for", "x-real-ip", "via"].iter().any(|name| headers.contains_key(*name));
            if is_near && !is_handed_on && !is_of_a_page(headers) {
                return Ok(Managed { scope: Scope::Every, until: i64::MAX });
            }
            let message = "without access control only programs on the server's own machine may manage rooms";
            Err(ProtocolError::new(ErrorCode::Forbidden, message).into())
        }
        Err(Refusal::Missing) => Err(Problem::from(Refusal::Missing).saying("an access token that permits managing rooms is needed")),
        Err(refusal) => Err(refusal.into()),
    }
}

/// A response in JSON.
fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => {
            tracing::error!(%error, "a response can't be written");
            Problem::from(ProtocolError::new(ErrorCode::Internal, "the response can't be written")).into_response()
        }
    }
}

/// A body in JSON; without any it is `{}`.
struct Json<T>(T);

impl<T: DeserializeOwned> FromRequest<Arc<Server>> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, server: &Arc<Server>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        parse(server, &parts.headers, body).await.map(Self)
    }
}

async fn parse<T: DeserializeOwned>(server: &Server, headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    let bytes = read_body(body, MAX_BODY, server.silence_timeout).await?;
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_json = media_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json");
    if !bytes.is_empty() && !is_json {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::WrongEncoding, "the body is to be application/json"));
    }
    let json: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(json).map_err(|error| malformed(format!("the body: {error}")))
}

fn malformed(message: impl Into<String>) -> Problem {
    ProtocolError::new(ErrorCode::Malformed, message).into()
}

/// A participant's id in a path.
fn participant(id: &str) -> Result<ParticipantId, Problem> {
    let nobody = |_| ProtocolError::new(ErrorCode::NoSuchParticipant, "a participant's id is a number").into();
    id.parse().map(ParticipantId).map_err(nobody)
}

/// A track's id in a path.
fn track(id: &str) -> Result<TrackId, Problem> {
    let nothing = |_| ProtocolError::new(ErrorCode::NoSuchTrack, "a track's id is a number").into();
    id.parse().map(TrackId).map_err(nothing)
}

/// The parameters of a query, each of these names at most once.
fn query<const N: usize>(query: Option<&str>, names: [&str; N]) -> Result<[Option<String>; N], Problem> {
    let mut values = [const { None }; N];
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let at = names.iter().position(|known| *known == name).ok_or_else(|| malformed(format!("the query has no parameter {name:?}")))?;
        if values[at].replace(value.into_owned()).is_some() {
            return Err(malformed(format!("the query has the parameter {name:?} twice")));
        }
    }
    Ok(values)
}
