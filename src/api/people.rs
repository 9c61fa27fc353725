//! Who is in a room, and what they may do.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use switchyard_access::{Managed, Refusal};
use switchyard_protocol::{ErrorCode, Grants, ParticipantId, Quality, Source, Track, validate_name, validate_room};
use switchyard_room::{GrantChanges, Present};
use utoipa::ToSchema;

use super::openapi::Refused;
use super::rooms::milliseconds;
use super::{Json, Outcome, json, malformed, participant, query, track};
use crate::problem::{Body, PROBLEM, Problem};
use crate::rooms::manage::{Mode, Person};
use crate::server::Server;

/// How somebody takes part.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Over a WebSocket: people in browsers, mostly.
    Websocket,
    /// Publishing over HTTP: an encoder.
    Whip,
    /// Playing over HTTP, seen by nobody.
    Whep,
}

/// Somebody in a room.
#[derive(Serialize, ToSchema)]
pub struct Participant {
    /// Who, in the room.
    id: ParticipantId,
    /// The display name; players by WHEP have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    name: Option<String>,
    /// What the application calls them; absent where there is no access control.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    identity: Option<String>,
    mode: Way,
    grants: Grants,
    tracks: Vec<Track>,
    /// How good their connection with the server is.
    quality: Quality,
    /// Since when they are there, in milliseconds since 1970-01-01 UTC.
    connected_since: u64,
}

impl From<Person> for Participant {
    fn from(Person { present, mode, since }: Person) -> Self {
        let Present { participant, name, identity, grants, tracks, quality } = present;
        let mode = match mode {
            Mode::WebSocket => Way::Websocket,
            Mode::Whip => Way::Whip,
            Mode::Whep => Way::Whep,
        };
        Self { id: participant, name, identity, mode, grants, tracks, quality, connected_since: milliseconds(since) }
    }
}

/// Everybody in a room.
#[derive(Serialize, ToSchema)]
pub struct Participants {
    /// Oldest first.
    participants: Vec<Participant>,
}

/// What somebody is to be otherwise; what isn't said stays as it is.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ParticipantChanges {
    /// The display name.
    name: Option<String>,
    grants: Option<GrantsChanges>,
}

/// What somebody may do from now on; what isn't said stays as it is.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantsChanges {
    /// What they may publish; what they publish of others ends.
    publish: Option<Vec<Source>>,
    /// Whether they receive what others publish.
    subscribe: Option<bool>,
    /// Whether they may say something, by chat and over data channels.
    data: Option<bool>,
    /// Whether they may moderate.
    moderate: Option<bool>,
}

/// Everybody in a room, players by WHEP included.
#[utoipa::path(get, path = "/v1/rooms/{room}/participants", tag = "participants", params(("room" = String, Path)),
    responses((status = 200, description = "Oldest first.", body = Participants), Refused))]
pub async fn all(State(server): State<Arc<Server>>, Path(room): Path<String>) -> Outcome<Response> {
    let participants = server.rooms.people(&room).await?.into_iter().map(Participant::from).collect();
    Ok(json(StatusCode::OK, &Participants { participants }))
}

/// Somebody in a room.
#[utoipa::path(get, path = "/v1/rooms/{room}/participants/{participant}", tag = "participants",
    params(("room" = String, Path), ("participant" = u32, Path)),
    responses((status = 200, description = "As they are now.", body = Participant), Refused))]
pub async fn one(State(server): State<Arc<Server>>, Path((room, id)): Path<(String, String)>) -> Outcome<Response> {
    Ok(json(StatusCode::OK, &Participant::from(server.rooms.person(&room, participant(&id)?).await?)))
}

/// Changes somebody's name, or what they may do. What they may not any more has stopped when this is answered: tracks are withdrawn, nothing is received.
#[utoipa::path(patch, path = "/v1/rooms/{room}/participants/{participant}", tag = "participants",
    params(("room" = String, Path), ("participant" = u32, Path)), request_body = ParticipantChanges,
    responses((status = 200, description = "As they are now.", body = Participant), Refused))]
pub async fn alter(
    State(server): State<Arc<Server>>,
    Path((room, id)): Path<(String, String)>,
    Json(changes): Json<ParticipantChanges>,
) -> Outcome<Response> {
    let ParticipantChanges { name, grants } = changes;
    if let Some(name) = &name {
        validate_name(name)?;
    }
    let GrantsChanges { publish, subscribe, data, moderate } = grants.unwrap_or_default();
    let grants = GrantChanges { publish, subscribe, data, moderate };
    Ok(json(StatusCode::OK, &Participant::from(server.rooms.change_person(&room, participant(&id)?, name, grants).await?)))
}

/// Sends somebody away.
#[utoipa::path(delete, path = "/v1/rooms/{room}/participants/{participant}", tag = "participants",
    params(
        ("room" = String, Path),
        ("participant" = u32, Path),
        ("ban" = Option<bool>, Query, description = "With everybody else of the same identity, which doesn't come in again.")
    ),
    responses((status = 204, description = "They are gone."), Refused))]
pub async fn expel(
    State(server): State<Arc<Server>>,
    Path((room, id)): Path<(String, String)>,
    RawQuery(parameters): RawQuery,
) -> Outcome<StatusCode> {
    let [ban] = query(parameters.as_deref(), ["ban"])?;
    let ban = ban.map_or(Ok(false), |ban| ban.parse()).map_err(|_| malformed("ban is true or false"))?;
    server.rooms.expel(&room, participant(&id)?, ban).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where somebody goes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// The id of a room that the token is for as well; it need not be there.
    room: String,
}

/// Moves somebody to another room. They leave this one at once, are told where to go, and come in there within a minute past lock, password and lobby, with the name and the grants that they have here. Until then their place is kept.
#[utoipa::path(post, path = "/v1/rooms/{room}/participants/{participant}/move", tag = "participants",
    params(("room" = String, Path), ("participant" = u32, Path)), request_body = Move,
    responses(
        (status = 204, description = "They are on their way."),
        (status = 409, description = "They publish or play over HTTP, and can't be told where to go.", content_type = PROBLEM, body = Body),
        Refused
    ))]
pub async fn relocate(
    State(server): State<Arc<Server>>,
    Extension(managed): Extension<Managed>,
    Path((room, id)): Path<(String, String)>,
    Json(Move { room: to }): Json<Move>,
) -> Outcome<StatusCode> {
    if !managed.scope.covers(&to) {
        return Err(Refusal::WrongRoom.into());
    }
    validate_room(&to)?;
    if to == room {
        return Err(malformed("they are in this room already"));
    }
    server.rooms.relocate(&room, participant(&id)?, &to).await.map_err(|error| match error.code {
        ErrorCode::WrongState => Problem::new(StatusCode::CONFLICT, error.code, error.message),
        _ => error.into(),
    })?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether a track is muted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrackChanges {
    /// `true`: only its publisher can unmute it.
    muted: bool,
}

/// Mutes a track.
#[utoipa::path(patch, path = "/v1/rooms/{room}/participants/{participant}/tracks/{track}", tag = "participants",
    params(("room" = String, Path), ("participant" = u32, Path), ("track" = u32, Path)), request_body = TrackChanges,
    responses((status = 200, description = "As it is now.", body = Track), Refused))]
pub async fn mute(
    State(server): State<Arc<Server>>,
    Path((room, id, track_id)): Path<(String, String, String)>,
    Json(TrackChanges { muted }): Json<TrackChanges>,
) -> Outcome<Response> {
    Ok(json(StatusCode::OK, &server.rooms.mute(&room, participant(&id)?, track(&track_id)?, muted).await?))
}
