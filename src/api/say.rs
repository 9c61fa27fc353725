//! What is said in a room by whoever runs it: its `from` is 0.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use switchyard_protocol::{ErrorCode, MAX_DATA_BYTES, ParticipantId, ProtocolError, Request};
use utoipa::ToSchema;

use super::openapi::Refused;
use super::{Json, Outcome, json, malformed, spend};
use crate::peers::Channel;
use crate::problem::Problem;
use crate::rooms::manage;
use crate::server::Server;

/// Whom one message is for: as many as a room holds.
const MAX_RECIPIENTS: usize = 1000;
/// What a message costs at least, as those of participants do.
const LEAST_COST: usize = 1024;

/// A message for data channels: text or bytes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// For these; without it, for everybody.
    #[serde(default)]
    #[schema(max_items = 1000)]
    to: Option<Vec<ParticipantId>>,
    /// At most 65,536 bytes.
    #[serde(default)]
    text: Option<String>,
    /// Bytes, in the base64 of RFC 4648 §4; at most 65,536 of them.
    #[serde(default)]
    base64: Option<String>,
    /// `true` unless it is said: it arrives, in order. `false`: it may be lost.
    #[serde(default)]
    reliable: Option<bool>,
}

/// How far a message went.
#[derive(Serialize, ToSchema)]
pub struct Sent {
    /// How many it is on its way to.
    recipients: usize,
}

/// Sends a message over data channels; it comes from participant 0.
#[utoipa::path(post, path = "/v1/rooms/{room}/data", tag = "messages", params(("room" = String, Path)), request_body = Data,
    responses((status = 200, description = "It is on its way.", body = Sent), Refused))]
pub async fn data(State(server): State<Arc<Server>>, Path(room): Path<String>, Json(data): Json<Data>) -> Outcome<Response> {
    let Data { to, text, base64, reliable } = data;
    let (text, payload) = match (text, base64) {
        (Some(text), None) => (true, text.into_bytes()),
        (None, Some(base64)) => (false, STANDARD.decode(base64).map_err(|error| malformed(format!("base64: {error}")))?),
        _ => return Err(malformed("a message has either text or base64")),
    };
    if payload.len() > MAX_DATA_BYTES {
        return Err(ProtocolError::new(ErrorCode::TooLarge, format!("a message has at most {MAX_DATA_BYTES} bytes")).into());
    }
    if to.as_ref().is_some_and(|to| to.len() > MAX_RECIPIENTS) {
        return Err(malformed(format!("a message is for at most {MAX_RECIPIENTS}")));
    }
    spend(&server.api.data, u32::try_from(payload.len().max(LEAST_COST)).unwrap_or(u32::MAX))?;
    let channel = if reliable.unwrap_or(true) { Channel::Reliable } else { Channel::Lossy };
    let recipients = server.rooms.send_data(&room, manage::Data { to, channel, text, payload }).await?;
    Ok(json(StatusCode::OK, &Sent { recipients }))
}

/// Something to say.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Chat {
    /// At most 4,096 bytes.
    text: String,
    /// For this one; without it, for everybody.
    #[serde(default)]
    to: Option<ParticipantId>,
}

/// Says something in the chat; it comes from participant 0.
#[utoipa::path(post, path = "/v1/rooms/{room}/chat", tag = "messages", params(("room" = String, Path)), request_body = Chat,
    responses((status = 204, description = "It was said."), Refused))]
pub async fn chat(State(server): State<Arc<Server>>, Path(room): Path<String>, Json(Chat { text, to }): Json<Chat>) -> Outcome<StatusCode> {
    Request::Chat { text: text.clone(), to }.validate().map_err(Problem::from)?;
    server.rooms.say(&room, text, to).await?;
    Ok(StatusCode::NO_CONTENT)
}
