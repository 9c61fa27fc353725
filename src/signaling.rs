//! Signaling over WebSockets: from the upgrade to the join, or to the session that is resumed.
//!
//! A session is a participant's task with a [`Resumable`] for its client. Each WebSocket begins as a newcomer in a task of its own. One that joins
//! becomes the first connection of a session, which goes on in that task; one that resumes is handed over to the session it names.

mod log;
mod resumable;
mod sessions;
mod socket;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request as HttpRequest, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use switchyard_negotiation::Mode;
use switchyard_protocol::{
    ClientMessage, CloseReason, DecodeError, Encoding, ErrorCode, Event, MAX_MESSAGE_BYTES, ProtocolError, Reply, Request, ServerMessage,
    Session, Token,
};
use switchyard_room::{Entrant, Knock, Pass};
use tokio::sync::{mpsc, watch};

use crate::access;
use crate::http::ClientAddress;
use crate::outbox::Close;
use crate::participant::Participant;
use crate::rooms::{Outside, Waiting};
use crate::server::{Server, host};
use crate::websocket::Upgrade;
use resumable::Resumable;
use sessions::Registration;
pub use sessions::Sessions;
use socket::Socket;

/// Bytes of a WebSocket message that is read at all; between the protocol's bound and this one, a message is refused by a typed error, beyond
/// it the connection is closed.
const MAX_READ_BYTES: usize = 2 * MAX_MESSAGE_BYTES;
/// `GET /v1/ws`
pub async fn upgrade(State(server): State<Arc<Server>>, request: HttpRequest) -> Response {
    if !server.access.is_welcome(request.headers()) {
        return (StatusCode::FORBIDDEN, "pages of this origin may not connect; see --allow-origin\n").into_response();
    }
    let host = host(&server, request.headers());
    let from = request.extensions().get().map(|ClientAddress(from)| *from);
    let upgrade = match Upgrade::read(request) {
        Ok(upgrade) => upgrade,
        Err(refused) => return refused.into_response(),
    };
    let Some((encoding, subprotocol)) = choose_encoding(&upgrade) else {
        let supported = ENCODINGS.map(Encoding::subprotocol).join(" or ");
        return (StatusCode::BAD_REQUEST, format!("the subprotocol is {supported}\n")).into_response();
    };
    let Ok(permit) = Arc::clone(&server.sockets).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many connections\n").into_response();
    };
    let (response, socket) = upgrade.accept(subprotocol, MAX_READ_BYTES);
    // A task is as large as the largest that it ever does: what comes before and after the session, which is most of its life, has a place of its own.
    let seated = Box::pin(async move {
        let socket = Socket::new(socket.await.ok()?, encoding, server.silence_timeout, permit);
        be_seated(server, socket, Caller { host, from }).await
    });
    tokio::spawn(async move {
        if let Some(session) = seated.await {
            run(session).await;
        }
    });
    response
}

const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::MessagePack];

/// JSON unless the client asks for something; `None` if it asks only for what there isn't.
fn choose_encoding(upgrade: &Upgrade) -> Option<(Encoding, Option<&'static str>)> {
    if upgrade.protocols().next().is_none() {
        return Some((Encoding::Json, None));
    }
    let asked = |encoding: &Encoding| upgrade.protocols().any(|protocol| protocol == encoding.subprotocol());
    let encoding = ENCODINGS.into_iter().find(asked)?;
    Some((encoding, Some(encoding.subprotocol())))
}

/// Who has opened a WebSocket.
#[derive(Clone)]
struct Caller {
    /// What they call this server.
    host: Option<String>,
    /// Where they are.
    from: Option<IpAddr>,
}

/// A session that its first connection has begun, and what keeps the server waiting for its end.
struct Begun {
    participant: Box<Participant>,
    link: Box<Resumable>,
    guard: mpsc::Sender<()>,
    stop: watch::Receiver<bool>,
}

/// A connection's life until it is a session's, or its end if it becomes none.
async fn be_seated(server: Arc<Server>, socket: Socket, caller: Caller) -> Option<Begun> {
    let guard = server.sessions.clone();
    let stop = server.stop.clone();
    let mut newcomer = Some(socket);
    let entered = tokio::select! {
        entered = enter(&server, &mut newcomer, caller) => entered,
        () = stopped(stop.clone()) => Err(Unseated::Close(Close::Because(CloseReason::ShuttingDown))),
    };
    match (entered, newcomer) {
        (Ok(entered), _) => return entered.map(|(participant, link)| Begun { participant, link, guard, stop }),
        (Err(Unseated::Close(close)), Some(socket)) => socket.close(close).await,
        (Err(Unseated::Refused(error)), Some(socket)) => socket.refuse(&error).await,
        (Err(_), None) => {}
    }
    None
}

/// A session's life.
async fn run(Begun { participant, mut link, guard, stop }: Begun) {
    let close = participant.run(&mut *link, stop).await;
    Box::pin(link.close(close)).await;
    drop(guard);
}

/// Returns when the server stops.
pub async fn stopped(mut stop: watch::Receiver<bool>) {
    // Without a sender, the server is gone altogether.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A participant and the link to their client.
type Entered = (Box<Participant>, Box<Resumable>);

/// Why nothing becomes of a connection.
#[derive(Debug)]
enum Unseated {
    Close(Close),
    /// The client may not come in, and was told so.
    Refused(ProtocolError),
}

impl From<Close> for Unseated {
    fn from(close: Close) -> Self {
        Self::Close(close)
    }
}

/// Answers until a client has joined, or resumed the session that has the connection then. They have to ask for it in time; how long the answer takes is the
/// server's doing.
async fn enter(server: &Arc<Server>, newcomer: &mut Option<Socket>, caller: Caller) -> Result<Option<Entered>, Unseated> {
    let mut deadline = Instant::now() + server.silence_timeout;
    while let Some(socket) = newcomer {
        let frame = tokio::time::timeout_at(deadline.into(), socket.next()).await;
        let frame = frame.unwrap_or(Err(Close::Because(CloseReason::ProtocolViolation)))?;
        let (id, result) = match socket.decode(frame) {
            Err(refused) => (refused.id, Err(refused.error)),
            Ok(ClientMessage { id, request: Request::Ping { .. } }) => (Some(id), Ok(Reply::Pong)),
            Ok(ClientMessage { id, request: Request::Join { room, name, token, password } }) => {
                let knock = Knock { password, from: caller.from, waits: true, ..Knock::default() };
                let asked = Asked { room, name, token, knock, host: caller.host.clone() };
                match join(server, socket, asked).await? {
                    Ok(Seated { mut participant, registration, room, name, pass, heard }) => {
                        let session = session(server, &registration);
                        let result = Reply::Joined(participant.joined(room, name, pass, session));
                        socket.send(&ServerMessage::Reply { id, result }).map_err(|_| Close::Gone)?;
                        let link = newcomer.take().map(|socket| Resumable::new(server, socket, registration, heard));
                        // Futures that hold these stay small: each would be as large as the largest in it.
                        return Ok(link.map(|link| (participant, Box::new(link))));
                    }
                    Err(error) => {
                        deadline = Instant::now() + server.silence_timeout;
                        (Some(id), Err(error))
                    }
                }
            }
            Ok(ClientMessage { id, request: Request::Resume { token, received } }) => {
                let Some(socket) = newcomer.take() else { break };
                match server.resumable.hand_over(&token, socket, id, received).await {
                    Ok(()) => break,
                    Err((socket, Unseated::Refused(error))) => {
                        *newcomer = Some(socket);
                        (Some(id), Err(error))
                    }
                    Err((socket, over)) => {
                        *newcomer = Some(socket);
                        return Err(over);
                    }
                }
            }
            Ok(ClientMessage { id, .. }) => {
                (Some(id), Err(ProtocolError::new(ErrorCode::NotJoined, "the first request is join or resume")))
            }
        };
        let (message, refusal) = match (id, result) {
            (Some(id), Ok(result)) => (ServerMessage::Reply { id, result }, None),
            (id, Err(error)) => {
                let refusal =
                    matches!(error.code, ErrorCode::Unauthorized | ErrorCode::Forbidden | ErrorCode::NotAdmitted).then(|| error.clone());
                (ServerMessage::Error { id, error }, refusal)
            }
            (None, Ok(_)) => continue,
        };
        if let Some(socket) = newcomer {
            socket.send(&message).map_err(|_| Close::Because(CloseReason::TooSlow))?;
        }
        // Each try with another token takes a connection of its own.
        if let Some(error) = refusal {
            return Err(Unseated::Refused(error));
        }
    }
    Ok(None)
}

/// What somebody asks for who joins.
struct Asked {
    room: String,
    name: String,
    token: Option<Token>,
    knock: Knock,
    host: Option<String>,
}

/// Who has come in.
struct Seated {
    participant: Box<Participant>,
    registration: Registration,
    room: String,
    /// The one others see.
    name: String,
    pass: Pass,
    /// Messages of the client's since it asked.
    heard: u32,
}

/// As [`take_seat`]; counted.
async fn join(server: &Arc<Server>, socket: &mut Socket, asked: Asked) -> Result<Result<Seated, ProtocolError>, Close> {
    let seated = take_seat(server, socket, asked).await?;
    server.metrics.joined(Mode::Meeting, seated.as_ref().err().map(|error| error.code));
    Ok(seated)
}

/// Takes a seat in the room, and a place among the sessions, once a moderator lets the client in where one has to. Until then it has none of that.
async fn take_seat(server: &Arc<Server>, socket: &mut Socket, asked: Asked) -> Result<Result<Seated, ProtocolError>, Close> {
    let Asked { room, name, token, mut knock, host } = asked;
    let (name, pass) = match server.rooms.redeem(&room, token.as_ref()).await {
        Some(Ok(moved)) => {
            knock.passage = token.map(|token| token.0);
            moved
        }
        Some(Err(error)) => return Ok(Err(error)),
        None => match server.access.admit(token.as_ref(), &room) {
            Ok(admitted) => (admitted.name.unwrap_or(name), admitted.pass),
            Err(refusal) => return Ok(Err(access::refused(refusal))),
        },
    };
    let enter = async |knock: &Knock, encoding| {
        let full = |_| ProtocolError::new(ErrorCode::LimitReached, "too many sessions");
        let place = Arc::clone(&server.places).try_acquire_owned().map_err(full)?;
        let registration = server.resumable.register(encoding, place)?;
        let entrant = Entrant::Participant(name.clone(), pass.clone());
        let participant = Participant::enter(server, &room, entrant, knock, Mode::Meeting, host.clone()).await?;
        Ok::<_, Outside>((Box::new(participant), registration))
    };
    let mut heard = 0;
    // Who has been let in keeps their place until they are in.
    let mut place: Option<Waiting> = None;
    loop {
        let mut waiting = match enter(&knock, socket.encoding()).await {
            Ok((participant, registration)) => return Ok(Ok(Seated { participant, registration, room, name, pass, heard })),
            Err(Outside::Refused(error)) => return Ok(Err(error)),
            Err(Outside::Waits(waiting)) => waiting,
        };
        match wait(socket, &mut waiting).await? {
            Ok(messages) => heard += messages,
            Err(error) => return Ok(Err(error)),
        }
        knock.guest = Some(waiting.guest());
        place.replace(waiting);
    }
}

/// Tells a client that it waits, and answers what it says until it is let in; how many messages that was.
async fn wait(socket: &mut Socket, waiting: &mut Waiting) -> Result<Result<u32, ProtocolError>, Close> {
    let full = |_| Close::Because(CloseReason::TooSlow);
    socket.send(&ServerMessage::Event { event: Event::Waiting }).map_err(full)?;
    let mut heard = 0;
    loop {
        let frame = tokio::select! {
            admitted = waiting.admitted() => return Ok(admitted.map(|()| heard)),
            frame = socket.next() => frame?,
        };
        heard += 1;
        let message = match socket.decode(frame) {
            Err(DecodeError { id, error }) => ServerMessage::Error { id, error },
            Ok(ClientMessage { id, request: Request::Ping { .. } }) => ServerMessage::Reply { id, result: Reply::Pong },
            Ok(ClientMessage { id, request: Request::Leave }) => {
                socket.send(&ServerMessage::Reply { id, result: Reply::Done }).map_err(full)?;
                return Err(Close::Left);
            }
            Ok(ClientMessage { id, .. }) => {
                let error = ProtocolError::new(ErrorCode::NotJoined, "you wait to be let in");
                ServerMessage::Error { id: Some(id), error }
            }
        };
        socket.send(&message).map_err(full)?;
    }
}

/// What a client is told about resuming.
fn session(server: &Server, registration: &Registration) -> Session {
    Session { token: registration.token(), resume_within: u32::try_from(server.resume_within.as_millis()).unwrap_or(u32::MAX) }
}
