//! Rooms, and who is kept out of them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use switchyard_access::Managed;
use switchyard_protocol::{
    ErrorCode, Guest, GuestId, IceServer, ProtocolError, RoomSettings, RoomSettingsChange, Token, validate_identity,
};
use utoipa::ToSchema;

use super::openapi::Refused;
use super::{Json, Outcome, json, malformed, query};
use crate::rooms::manage::{About, Changes, Ice};
use crate::server::Server;

/// Rooms in a list that doesn't say how many.
const USUAL: usize = 100;
/// Rooms in a list: each is asked.
const MOST: usize = 1000;
/// How long a room stays at most when nobody is in it: a day.
const MAX_EMPTY_TIMEOUT: u32 = 86_400;
/// Of a room's own, and URLs of each: browsers slow down with more than five.
const MAX_ICE_SERVERS: usize = 8;
/// Bytes of a URL, user name or credential: what fits into a TURN message's attribute (RFC 8489 §14.3).
const MAX_ICE_TEXT: usize = 512;

/// A room.
#[derive(Serialize, ToSchema)]
#[schema(as = Room)]
pub struct RoomBody {
    /// Its id.
    room: String,
    /// How many take part.
    participants: usize,
    /// How many wait to be let in.
    waiting: usize,
    /// How many players by WHEP there are beside them.
    viewers: usize,
    /// Whether nobody new comes in but moderators.
    locked: bool,
    /// Whether moderators let in everybody else one by one.
    lobby: bool,
    /// Whether who is no moderator needs a password.
    password: bool,
    /// How many may be there at the same time.
    max_participants: u32,
    /// For how many seconds it stays when nobody is in it; 0: it is gone with the last.
    empty_timeout: u64,
    /// Since when there is such a room, in milliseconds since 1970-01-01 UTC.
    opened_at: u64,
    /// Whether who comes reaches the server through TURN servers only; absent: as the server is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    relay_only: Option<bool>,
    /// The URLs of the room's own STUN and TURN servers, if it has any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ice_urls: Vec<String>,
}

impl From<About> for RoomBody {
    fn from(about: About) -> Self {
        let RoomSettings { locked, lobby, password, max_participants } = about.settings;
        let About { id, waiting, participants, viewers, opened, empty_timeout, ice, .. } = about;
        Self {
            room: id,
            participants,
            waiting,
            viewers,
            locked,
            lobby,
            password,
            max_participants,
            empty_timeout: empty_timeout.as_secs(),
            opened_at: milliseconds(opened),
            relay_only: ice.relay_only,
            ice_urls: ice.servers.into_iter().flatten().flat_map(|server| server.urls).collect(),
        }
    }
}

/// Milliseconds since 1970-01-01 UTC.
pub fn milliseconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Rooms, in the order of their ids.
#[derive(Serialize, ToSchema)]
pub struct Rooms {
    rooms: Vec<RoomBody>,
    /// There are more: `after` for the next ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<String>,
}

/// What a room is to be like; what isn't said stays as it is.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoomChanges {
    /// Whether nobody new comes in but moderators.
    locked: Option<bool>,
    /// Whether moderators let in everybody else one by one. Turned off, it lets in all who wait.
    lobby: Option<bool>,
    /// What everybody needs who comes from now on and is no moderator; empty: nothing.
    #[schema(value_type = Option<String>, max_length = 128)]
    password: Option<Token>,
    /// How many may be there at the same time; at most as many as the server permits.
    #[schema(minimum = 1)]
    max_participants: Option<u32>,
    /// For how many seconds it stays when nobody is in it: at most a day; 0: it is gone with the last.
    #[schema(maximum = 86_400)]
    empty_timeout: Option<u32>,
    /// Whether who comes from now on reaches the server through TURN servers only.
    relay_only: Option<bool>,
    /// For `RTCConfiguration.iceServers` of who comes, or restarts ICE, from now on, in place of the server's; none: the server's.
    #[schema(max_items = 8)]
    ice_servers: Option<Vec<IceServerEntry>>,
}

/// An entry of `RTCConfiguration.iceServers`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IceServerEntry {
    /// `stun:`, `turn:` or `turns:` URLs (RFC 7064, RFC 7065).
    #[schema(min_items = 1, max_items = 8)]
    urls: Vec<String>,
    /// For TURN.
    #[schema(max_length = 512)]
    username: Option<String>,
    /// For TURN.
    #[schema(max_length = 512)]
    credential: Option<String>,
}

impl IceServerEntry {
    fn checked(self) -> Outcome<IceServer> {
        let Self { urls, username, credential } = self;
        if !(1..=MAX_ICE_SERVERS).contains(&urls.len()) {
            return Err(malformed(format!("an entry of ice_servers has 1 to {MAX_ICE_SERVERS} urls")));
        }
        for url in &urls {
            let known = ["stun:", "stuns:", "turn:", "turns:"].iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme));
            if !known || url.len() > MAX_ICE_TEXT || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(malformed(format!("{url:?} is no stun:, turn: or turns: URL")));
            }
            if url.starts_with("turn") && (username.is_none() || credential.is_none()) {
                return Err(malformed(format!("{url:?} needs a username and a credential")));
            }
        }
        if [&username, &credential].into_iter().flatten().any(|text| text.len() > MAX_ICE_TEXT) {
            return Err(malformed(format!("a username or credential has at most {MAX_ICE_TEXT} bytes")));
        }
        Ok(IceServer { urls, username, credential })
    }
}

impl RoomChanges {
    fn changes(self, server: &Server) -> Outcome<Changes> {
        if self.empty_timeout.is_some_and(|seconds| seconds > MAX_EMPTY_TIMEOUT) {
            return Err(malformed(format!("empty_timeout is at most {MAX_EMPTY_TIMEOUT} seconds")));
        }
        let Self { locked, lobby, password, max_participants, empty_timeout, relay_only, ice_servers } = self;
        if ice_servers.as_ref().is_some_and(|servers| servers.len() > MAX_ICE_SERVERS) {
            return Err(malformed(format!("there are at most {MAX_ICE_SERVERS} ice_servers")));
        }
        let servers = ice_servers.map(|servers| servers.into_iter().map(IceServerEntry::checked).collect()).transpose()?;
        let settings = RoomSettingsChange { locked, lobby, password, max_participants };
        let empty_timeout = empty_timeout.map(|seconds| Duration::from_secs(seconds.into()));
        Ok(Changes { settings, empty_timeout, ice: Ice { relay_only, servers }, has_turn: server.turn.credentials().is_some() })
    }
}

/// The rooms that the token is for.
#[utoipa::path(get, path = "/v1/rooms", tag = "rooms",
    params(
        ("limit" = Option<usize>, Query, description = "At most so many, 1 to 1000; 100 unless it is said."),
        ("after" = Option<String>, Query, description = "Those whose ids come after this one.")
    ),
    responses((status = 200, description = "In the order of their ids.", body = Rooms), Refused))]
pub async fn list(
    State(server): State<Arc<Server>>,
    Extension(Managed { scope, .. }): Extension<Managed>,
    RawQuery(parameters): RawQuery,
) -> Outcome<Response> {
    let [limit, after] = query(parameters.as_deref(), ["limit", "after"])?;
    let limit = limit.map_or(Some(USUAL), |limit| limit.parse().ok().filter(|limit| (1..=MOST).contains(limit)));
    let limit = limit.ok_or_else(|| malformed(format!("limit is a number from 1 to {MOST}")))?;
    let mut ids: Vec<String> = server.rooms.ids();
    ids.retain(|id| scope.covers(id) && after.as_ref().is_none_or(|after| id > after));
    ids.sort_unstable();
    let more = ids.len() > limit;
    ids.truncate(limit);
    let next = ids.last().filter(|_| more).cloned();
    let mut rooms = Vec::with_capacity(ids.len());
    for id in ids {
        // One that has closed meanwhile is none.
        if let Ok(about) = server.rooms.about(&id).await {
            rooms.push(about.into());
        }
    }
    Ok(json(StatusCode::OK, &Rooms { rooms, next }))
}

/// A room.
#[utoipa::path(get, path = "/v1/rooms/{room}", tag = "rooms", params(("room" = String, Path)),
    responses((status = 200, description = "As it is now.", body = RoomBody), Refused))]
pub async fn get(State(server): State<Arc<Server>>, Path(room): Path<String>) -> Outcome<Response> {
    Ok(json(StatusCode::OK, &RoomBody::from(server.rooms.about(&room).await?)))
}

/// Makes a room that nobody is in yet, or changes the one that there is.
#[utoipa::path(put, path = "/v1/rooms/{room}", tag = "rooms", params(("room" = String, Path)), request_body = Option<RoomChanges>,
    responses((status = 200, description = "There was one.", body = RoomBody), (status = 201, description = "It was made.", body = RoomBody), Refused))]
pub async fn make(State(server): State<Arc<Server>>, Path(room): Path<String>, Json(settings): Json<RoomChanges>) -> Outcome<Response> {
    let (about, made) = server.rooms.make(&room, settings.changes(&server)?).await?;
    Ok(json(if made { StatusCode::CREATED } else { StatusCode::OK }, &RoomBody::from(about)))
}

/// Changes a room.
#[utoipa::path(patch, path = "/v1/rooms/{room}", tag = "rooms", params(("room" = String, Path)), request_body = RoomChanges,
    responses((status = 200, description = "As it is now.", body = RoomBody), Refused))]
pub async fn change(State(server): State<Arc<Server>>, Path(room): Path<String>, Json(settings): Json<RoomChanges>) -> Outcome<Response> {
    let about = server.rooms.change(&room, settings.changes(&server)?).await?;
    Ok(json(StatusCode::OK, &RoomBody::from(about)))
}

/// Closes a room: everybody is sent away and told why, and nobody can resume.
#[utoipa::path(delete, path = "/v1/rooms/{room}", tag = "rooms", params(("room" = String, Path)),
    responses((status = 204, description = "It is closed."), Refused))]
pub async fn close(State(server): State<Arc<Server>>, Path(room): Path<String>) -> Outcome<StatusCode> {
    server.rooms.shut(&room).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who is kept out of a room.
#[derive(Serialize, ToSchema)]
pub struct Bans {
    /// What the application calls them.
    identities: Vec<String>,
}

/// Who is kept out of a room.
#[utoipa::path(get, path = "/v1/rooms/{room}/bans", tag = "bans", params(("room" = String, Path)),
    responses((status = 200, description = "In alphabetical order.", body = Bans), Refused))]
pub async fn bans(State(server): State<Arc<Server>>, Path(room): Path<String>) -> Outcome<Response> {
    Ok(json(StatusCode::OK, &Bans { identities: server.rooms.banned(&room).await? }))
}

/// Keeps an identity out of a room for as long as that exists and a day longer, and sends away whoever has it.
#[utoipa::path(put, path = "/v1/rooms/{room}/bans/{identity}", tag = "bans", params(("room" = String, Path), ("identity" = String, Path)),
    responses((status = 204, description = "It is kept out."), Refused))]
pub async fn ban(State(server): State<Arc<Server>>, Path((room, identity)): Path<(String, String)>) -> Outcome<StatusCode> {
    set_banned(&server, room, identity, true).await
}

/// Lets an identity in again.
#[utoipa::path(delete, path = "/v1/rooms/{room}/bans/{identity}", tag = "bans", params(("room" = String, Path), ("identity" = String, Path)),
    responses((status = 204, description = "It may come in."), Refused))]
pub async fn pardon(State(server): State<Arc<Server>>, Path((room, identity)): Path<(String, String)>) -> Outcome<StatusCode> {
    set_banned(&server, room, identity, false).await
}

async fn set_banned(server: &Server, room: String, identity: String, banned: bool) -> Outcome<StatusCode> {
    validate_identity(&identity).map_err(|error| ProtocolError::new(ErrorCode::InvalidIdentity, error.message))?;
    server.rooms.ban(&room, identity, banned).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who waits to be let into a room.
#[derive(Serialize, ToSchema)]
pub struct Guests {
    /// In the order in which they came.
    guests: Vec<Guest>,
}

/// Who waits to be let into a room.
#[utoipa::path(get, path = "/v1/rooms/{room}/guests", tag = "guests", params(("room" = String, Path)),
    responses((status = 200, description = "In the order in which they came.", body = Guests), Refused))]
pub async fn guests(State(server): State<Arc<Server>>, Path(room): Path<String>) -> Outcome<Response> {
    Ok(json(StatusCode::OK, &Guests { guests: server.rooms.guests(&room).await? }))
}

/// Lets in somebody who waits.
#[utoipa::path(post, path = "/v1/rooms/{room}/guests/{guest}/admit", tag = "guests", params(("room" = String, Path), ("guest" = u32, Path)),
    responses((status = 204, description = "They come in."), Refused))]
pub async fn admit(State(server): State<Arc<Server>>, Path((room, guest)): Path<(String, String)>) -> Outcome<StatusCode> {
    decide(&server, &room, &guest, true).await
}

/// Sends away somebody who waits.
#[utoipa::path(post, path = "/v1/rooms/{room}/guests/{guest}/deny", tag = "guests", params(("room" = String, Path), ("guest" = u32, Path)),
    responses((status = 204, description = "They are told so."), Refused))]
pub async fn deny(State(server): State<Arc<Server>>, Path((room, guest)): Path<(String, String)>) -> Outcome<StatusCode> {
    decide(&server, &room, &guest, false).await
}

async fn decide(server: &Server, room: &str, guest: &str, admitted: bool) -> Outcome<StatusCode> {
    let nobody = |_| ProtocolError::new(ErrorCode::NoSuchParticipant, "a guest's id is a number");
    server.rooms.decide(room, GuestId(guest.parse().map_err(nobody)?), admitted).await?;
    Ok(StatusCode::NO_CONTENT)
}
