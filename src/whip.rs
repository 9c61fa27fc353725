//! Publishing by WHIP (RFC 9725) and playing by WHEP (draft-ietf-wish-whep): a session description comes by one HTTP request and is answered
//! by its response; fragments for ICE and the end come by further ones. The rooms are the same as a WebSocket's.

mod resources;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use switchyard_negotiation::Mode;
use switchyard_protocol::{ErrorCode, IceServer, MAX_MESSAGE_BYTES, ParticipantId, ProtocolError, Request, Source, Token};
use switchyard_room::{Entrant, Knock};
use switchyard_rtp::MediaKind;

use crate::access::{Admitted, bearer};
use crate::http::{ClientAddress, read_body};
use crate::participant::{Participant, Patched};
use crate::problem::{Problem, not_allowed};
use crate::server::{Server, host};
use crate::transport;
pub use resources::Resources;

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
/// How a publisher is called that says nothing of it.
const NAME: &str = "Stream";
/// Which participant a publisher is, for whoever wants to play that one.
const PARTICIPANT: HeaderName = HeaderName::from_static("switchyard-participant");
/// The room's password, where it has one: an address would be in the logs of proxies.
const PASSWORD: HeaderName = HeaderName::from_static("switchyard-password");

/// The endpoints and the resources they make.
pub fn routes() -> Router<Arc<Server>> {
    // Whose representation nobody asks for: there is none (RFC 9725 §4.1). A player may find out by HEAD that it can play here.
    let nothing = || async { StatusCode::NO_CONTENT };
    let playable = || async { [(header::CONTENT_TYPE, SDP)] };
    let endpoint = || async { ([(ACCEPT_POST, SDP)], preflight("OPTIONS, GET, HEAD, POST")) };
    Router::new()
        .route("/v1/whip/{room}", post(publish).get(nothing).options(endpoint).fallback(not_allowed))
        .route("/v1/whep/{room}", post(play_all).get(playable).options(endpoint).fallback(not_allowed))
        .route("/v1/whep/{room}/{participant}", post(play_one).get(playable).options(endpoint).fallback(not_allowed))
        .route(
            "/v1/sessions/{id}",
            get(exists)
                .patch(patch)
                .delete(delete)
                .options(|| async { ([(ACCEPT_PATCH, FRAGMENT)], preflight("OPTIONS, GET, HEAD, PATCH, DELETE")) })
                .fallback(not_allowed),
        )
        .layer(map_response(share))
}

/// Pages of any origin may use this (the Fetch standard, §3.2): it knows no cookies, only what a request says by itself.
async fn share(mut response: Response) -> Response {
    const EXPOSED: &str = "location, etag, link, accept-patch, accept-post, retry-after, switchyard-participant, www-authenticate";
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    response
}

/// What a browser asks before it lets a page of another origin send something.
fn preflight(methods: &'static str) -> impl IntoResponse + use<> {
    [
        (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, if-match, switchyard-password"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ]
}

type Outcome = Result<Response, Problem>;

/// `POST /v1/whip/{room}?name=`
async fn publish(
    State(server): State<Arc<Server>>,
    Path(room): Path<String>,
    RawQuery(query): RawQuery,
    Extension(client): Extension<ClientAddress>,
    headers: HeaderMap,
    body: Body,
) -> Outcome {
    let outcome = start_publishing(&server, room, query, client, headers, body).await;
    server.metrics.joined(Mode::Ingress, outcome.as_ref().err().map(Problem::code));
    outcome
}

async fn start_publishing(
    server: &Arc<Server>,
    room: String,
    query: Option<String>,
    client: ClientAddress,
    headers: HeaderMap,
    body: Body,
) -> Outcome {
    let name = query.as_deref().unwrap_or_default().as_bytes();
    let name = form_urlencoded::parse(name).find(|(key, _)| key == "name").map_or_else(|| NAME.into(), |(_, name)| name.into_owned());
    Request::Join { room: room.clone(), name: name.clone(), token: None, password: None }.validate()?;
    let Admitted { name: own_name, pass, .. } = authorize(server, &headers, &room)?;
    let sdp = read(server, &headers, body, SDP).await?;
    let permit = resources::permit(server)?;
    let publications = publications(transport::preview(server, Mode::Ingress, &sdp)?)?;
    let is_granted = |publication: &Request| matches!(publication, Request::Publish { source, .. } if pass.grants.may_publish(*source));
    if !publications.iter().all(is_granted) {
        return Err(ProtocolError::new(ErrorCode::Forbidden, "your access token doesn't permit you to publish this").into());
    }
    let entrant = Entrant::Participant(own_name.unwrap_or(name), pass);
    let mut participant =
        Participant::enter(server, &room, entrant, &knock(&headers, client), Mode::Ingress, host(server, &headers)).await?;
    let answer = participant.accept(&sdp, publications).await?;
    let id = HeaderValue::from(participant.id().0);
    let mut response = created(server, participant, answer, permit)?;
    response.headers_mut().insert(PARTICIPANT, id);
    Ok(response)
}

/// `POST /v1/whep/{room}`
async fn play_all(
    State(server): State<Arc<Server>>,
    Path(room): Path<String>,
    Extension(client): Extension<ClientAddress>,
    headers: HeaderMap,
    body: Body,
) -> Outcome {
    play(server, room, None, client, headers, body).await
}

/// `POST /v1/whep/{room}/{participant}`
async fn play_one(
    State(server): State<Arc<Server>>,
    Path((room, participant)): Path<(String, String)>,
    Extension(client): Extension<ClientAddress>,
    headers: HeaderMap,
    body: Body,
) -> Outcome {
    let nobody = || Problem::from(ProtocolError::new(ErrorCode::NoSuchParticipant, "a participant's id is a number"));
    let participant = participant.parse().map_err(|_| nobody())?;
    play(server, room, Some(ParticipantId(participant)), client, headers, body).await
}

async fn play(
    server: Arc<Server>,
    room: String,
    only: Option<ParticipantId>,
    client: ClientAddress,
    headers: HeaderMap,
    body: Body,
) -> Outcome {
    let outcome = start_playing(&server, room, only, client, headers, body).await;
    server.metrics.joined(Mode::Egress, outcome.as_ref().err().map(Problem::code));
    outcome
}

async fn start_playing(
    server: &Arc<Server>,
    room: String,
    only: Option<ParticipantId>,
    client: ClientAddress,
    headers: HeaderMap,
    body: Body,
) -> Outcome {
    Request::Join { room: room.clone(), name: NAME.into(), token: None, password: None }.validate()?;
    let Admitted { pass, .. } = authorize(server, &headers, &room)?;
    if !pass.grants.subscribe {
        return Err(ProtocolError::new(ErrorCode::Forbidden, "your access token doesn't permit you to receive what others publish").into());
    }
    let sdp = read(server, &headers, body, SDP).await?;
    let permit = resources::permit(server)?;
    transport::preview(server, Mode::Egress, &sdp)?;
    let (entrant, knock) = (Entrant::Viewer(only, pass), knock(&headers, client));
    let mut participant = Participant::enter(server, &room, entrant, &knock, Mode::Egress, host(server, &headers)).await?;
    let answer = participant.accept(&sdp, Vec::new()).await?;
    created(server, participant, answer, permit)
}

/// `GET /v1/sessions/{id}`
async fn exists(State(server): State<Arc<Server>>, Path(id): Path<String>) -> Outcome {
    server.resources.find(&id)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `PATCH /v1/sessions/{id}`
async fn patch(State(server): State<Arc<Server>>, Path(id): Path<String>, headers: HeaderMap, body: Body) -> Outcome {
    let resource = server.resources.find(&id)?;
    let fragment = read(&server, &headers, body, FRAGMENT).await?;
    let ice_sessions = entity_tags(&headers)?;
    Ok(match resource.patch(ice_sessions, fragment).await? {
        Patched::Trickled => StatusCode::NO_CONTENT.into_response(),
        Patched::Restarted { ice_session, fragment, ice_servers } => {
            let headers = [(header::CONTENT_TYPE, FRAGMENT), (header::ETAG, &format!("\"{ice_session}\""))];
            with_links((headers, fragment).into_response(), &ice_servers)
        }
    })
}

/// `DELETE /v1/sessions/{id}`
async fn delete(State(server): State<Arc<Server>>, Path(id): Path<String>) -> Outcome {
    server.resources.remove(&id)?.end(server.request_timeout).await;
    Ok(StatusCode::OK.into_response())
}

/// Whom a request comes from, by its bearer token (RFC 6750 §2.1). It is needed to make a session; a session's own address is a secret.
fn authorize(server: &Server, headers: &HeaderMap, room: &str) -> Result<Admitted, Problem> {
    server.access.admit(bearer(headers).as_ref(), room).map_err(Problem::from)
}

/// What a request brings beside its token. Nobody waits by HTTP to be let in.
fn knock(headers: &HeaderMap, ClientAddress(from): ClientAddress) -> Knock {
    let password = headers.get(PASSWORD).and_then(|value| str::from_utf8(value.as_bytes()).ok());
    Knock { password: password.map(Token::from), from: Some(from), ..Knock::default() }
}

/// The response to an offer that was taken up.
fn created(server: &Arc<Server>, participant: Participant, answer: String, permit: resources::Permit) -> Outcome {
    let etag = format!("\"{}\"", participant.ice_session());
    let ice_servers = participant.ice_servers();
    let id = resources::start(server, participant, permit)?;
    let location = format!("/v1/sessions/{id}");
    let headers = [(header::CONTENT_TYPE, SDP), (header::LOCATION, &location), (header::ETAG, &etag), (ACCEPT_PATCH, FRAGMENT)];
    Ok(with_links((StatusCode::CREATED, headers, answer).into_response(), &ice_servers))
}

/// Tells of ICE servers as RFC 9725 §4.6 has it for a session that is made. Where ICE restarts it asks for nothing, but `Link` may stand in any response (RFC 8288 §3),
/// and credentials that have expired meanwhile would be of no use: a client that passes these on to its ICE agent has good ones the next time it gathers.
fn with_links(mut response: Response, servers: &[IceServer]) -> Response {
    let link = |url: &String, server: &IceServer| {
        let (username, credential) = (server.username.as_deref().unwrap_or_default(), server.credential.as_deref().unwrap_or_default());
        let text =
            format!("<{url}>; rel=\"ice-server\"; username=\"{username}\"; credential=\"{credential}\"; credential-type=\"password\"");
        HeaderValue::from_str(&text).ok()
    };
    for link in servers.iter().flat_map(|server| server.urls.iter().filter_map(move |url| link(url, server))) {
        response.headers_mut().append(header::LINK, link);
    }
    response
}

/// The first video m-line is the camera, the first audio m-line the microphone, a second of each what is shared.
fn publications(receivers: Vec<(String, MediaKind)>) -> Result<Vec<Request>, Problem> {
    let mut sources = [
        (MediaKind::Video, Source::Camera),
        (MediaKind::Audio, Source::Microphone),
        (MediaKind::Video, Source::Screen),
        (MediaKind::Audio, Source::ScreenAudio),
    ]
    .map(Some);
    let publication = |(mid, kind)| {
        let free = sources.iter_mut().find(|source| source.is_some_and(|(other, _)| other == kind));
        let (_, source) = free.and_then(Option::take).ok_or_else(|| {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, ErrorCode::InvalidSdp, "more than two m-lines of a kind can't be published")
        })?;
        Ok(Request::Publish { mid, source, muted: false })
    };
    receivers.into_iter().map(publication).collect()
}

/// The body, if it is of the type and size it should have and comes in time.
async fn read(server: &Server, headers: &HeaderMap, body: Body, expected: &'static str) -> Result<String, Problem> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(expected) {
        let message = format!("the body is to be {expected}");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::WrongEncoding, message));
    }
    let bytes = read_body(body, MAX_MESSAGE_BYTES, server.silence_timeout).await?;
    String::from_utf8(bytes.into()).map_err(|_| Problem::new(StatusCode::BAD_REQUEST, ErrorCode::Malformed, "the body is not UTF-8"))
}

/// The ICE sessions that `If-Match` names; `None`: any. Weak tags match nothing (RFC 9110 §13.1.1).
fn entity_tags(headers: &HeaderMap) -> Result<Option<Vec<String>>, Problem> {
    let mut tags = Vec::new();
    let mut fields = headers.get_all(header::IF_MATCH).iter().peekable();
    if fields.peek().is_none() {
        let message = "If-Match is to name the ICE session, or be * to restart it";
        return Err(Problem::new(StatusCode::PRECONDITION_REQUIRED, ErrorCode::WrongState, message));
    }
    for tag in fields.filter_map(|field| field.to_str().ok()).flat_map(|field| field.split(',')).map(str::trim) {
        match tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) {
            // The RFC's own examples have the asterisk in quotes.
            Some("*") => return Ok(None),
            None if tag == "*" => return Ok(None),
            Some(tag) => tags.push(tag.to_owned()),
            None => {}
        }
    }
    Ok(Some(tags))
}
