//! One WebSocket: from the upgrade to the join, and the frames it brings.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use switchyard_negotiation::Mode;
use switchyard_protocol::{
    ClientMessage, CloseReason, DecodeError, Encoding, ErrorCode, MAX_MESSAGE_BYTES, ProtocolError, Reply, Request, ServerMessage,
};
use switchyard_room::{Bucket, Rate};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::outbox::{Broadcast, Close, Outbox, outbox};
use crate::participant::{Incoming, Link, Participant};
use crate::rooms::Entrant;
use crate::server::Server;

/// Bytes of a WebSocket message that is read at all; between the protocol's bound and this one, a message is refused by a typed error, beyond
/// it the connection is closed.
const MAX_READ_BYTES: usize = 2 * MAX_MESSAGE_BYTES;
/// Bytes read from a socket at once. Most messages are shorter; a description takes some turns more, and memory only meanwhile.
const READ_BUFFER: usize = 4 * 1024;
/// Bytes gathered before they are written, of messages that wait together.
const WRITE_BUFFER: usize = 4 * 1024;
/// Requests of one client. A join with its candidates takes some 50 at once, a hundred offers and answers a second are more than a browser makes.
const REQUEST_RATE: Rate = Rate { burst: 300, per_second: 100 };
/// A client of which nothing at all was heard for this long is gone: it answers pings, which come every 15 s.
const SILENCE: Duration = Duration::from_secs(40);
/// How long a client may take to close its end of a connection that the server closes.
const LINGER: Duration = Duration::from_secs(1);

/// `GET /v1/ws`
pub async fn upgrade(State(server): State<Arc<Server>>, upgrade: WebSocketUpgrade) -> Response {
    let Some((upgrade, encoding)) = choose_encoding(upgrade) else {
        let supported = [Encoding::Json, Encoding::MessagePack].map(Encoding::subprotocol).join(" or ");
        return (StatusCode::BAD_REQUEST, format!("the subprotocol is {supported}\n")).into_response();
    };
    let Ok(permit) = Arc::clone(&server.sockets).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many connections\n").into_response();
    };
    upgrade
        .read_buffer_size(READ_BUFFER)
        .max_message_size(MAX_READ_BYTES)
        .max_frame_size(MAX_READ_BYTES)
        .write_buffer_size(WRITE_BUFFER)
        .on_upgrade(async move |socket| {
            run(server, socket, encoding).await;
            drop(permit);
        })
}

/// JSON unless the client asks for something; `None` if it asks only for what there isn't.
fn choose_encoding(upgrade: WebSocketUpgrade) -> Option<(WebSocketUpgrade, Encoding)> {
    if upgrade.requested_protocols().next().is_none() {
        return Some((upgrade, Encoding::Json));
    }
    let upgrade = upgrade.protocols([Encoding::Json, Encoding::MessagePack].map(Encoding::subprotocol));
    let chosen = upgrade.selected_protocol()?;
    let encoding = [Encoding::Json, Encoding::MessagePack].into_iter().find(|encoding| chosen == encoding.subprotocol())?;
    Some((upgrade, encoding))
}

/// A connection's life: waits for the join, then is the participant; what is queued at the end still goes out.
async fn run(server: Arc<Server>, socket: WebSocket, encoding: Encoding) {
    let _guard = server.sessions.clone();
    let stop = server.stop.clone();
    let (sink, stream) = socket.split();
    let (outbox, writer) = outbox(encoding);
    let writer = tokio::spawn(writer.run(sink, server.silence_timeout));
    let now = Instant::now();
    let reader = Reader { stream, encoding, writer: Some(writer), requests: Bucket::new(REQUEST_RATE), heard: now, resume: now };
    let mut socket = Socket { reader, outbox };
    let joined = tokio::select! {
        joined = Box::pin(join(&server, &mut socket)) => joined,
        () = stopped(stop.clone()) => Err(Close::Because(CloseReason::ShuttingDown)),
    };
    let close = match joined {
        Ok(participant) => participant.run(&mut socket, stop).await,
        Err(close) => close,
    };
    socket.outbox.close(close);
    socket.reader.finish(server.silence_timeout).await;
}

/// Returns when the server stops.
pub async fn stopped(mut stop: watch::Receiver<bool>) {
    // Without a sender, the server is gone altogether.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Answers until a client has joined. They have to ask for it in time; how long the answer takes is the server's doing.
async fn join(server: &Arc<Server>, socket: &mut Socket) -> Result<Box<Participant>, Close> {
    let deadline = Instant::now() + server.silence_timeout;
    loop {
        let frame = tokio::time::timeout_at(deadline.into(), socket.reader.next()).await;
        let frame = frame.unwrap_or(Err(Close::Because(CloseReason::ProtocolViolation)))?;
        let (id, result) = match socket.reader.decode(frame) {
            Err(refused) => (refused.id, Err(refused.error)),
            Ok(ClientMessage { id, request: Request::Ping { .. } }) => (Some(id), Ok(Reply::Pong)),
            Ok(ClientMessage { id, request: Request::Join { room, name } }) => {
                match Participant::enter(server, &room, Entrant::Participant(name), Mode::Meeting).await {
                    Ok(mut participant) => {
                        let result = Reply::Joined(participant.joined(room));
                        socket.outbox.send(&ServerMessage::Reply { id, result }).map_err(|_| Close::Gone)?;
                        // Futures that hold a participant stay small: each would be as large as the largest in it.
                        return Ok(Box::new(participant));
                    }
                    Err(error) => (Some(id), Err(error)),
                }
            }
            Ok(ClientMessage { id, .. }) => (Some(id), Err(ProtocolError::new(ErrorCode::NotJoined, "the first request is join"))),
        };
        let message = match (id, result) {
            (Some(id), Ok(result)) => ServerMessage::Reply { id, result },
            (id, Err(error)) => ServerMessage::Error { id, error },
            (None, Ok(_)) => continue,
        };
        socket.send(&message)?;
    }
}

/// Both halves of a WebSocket.
struct Socket {
    reader: Reader,
    outbox: Outbox,
}

impl Link for Socket {
    async fn next(&mut self) -> Incoming {
        match self.reader.next().await {
            Ok(frame) => Incoming::Message(self.reader.decode(frame)),
            Err(close) => Incoming::Closed(close),
        }
    }

    fn send(&self, message: &ServerMessage) -> Result<(), Close> {
        self.outbox.send(message).map_err(|_| Close::Because(CloseReason::TooSlow))
    }

    fn broadcast(&self, broadcast: &Broadcast) -> Result<(), Close> {
        self.outbox.broadcast(broadcast).map_err(|_| Close::Because(CloseReason::TooSlow))
    }
}

/// A message as it came.
enum Frame {
    Text(Bytes),
    Binary(Bytes),
}

/// The reading half of a WebSocket.
struct Reader {
    stream: SplitStream<WebSocket>,
    encoding: Encoding,
    /// The task of the writing half; `None` once it has ended.
    writer: Option<JoinHandle<()>>,
    requests: Bucket,
    heard: Instant,
    /// Nothing is read before, so that a flood is not even parsed faster than twice the rate of requests.
    resume: Instant,
}

impl Reader {
    /// The next message, or what to say to there being no more. Nothing is lost if the future is dropped.
    async fn next(&mut self) -> Result<Frame, Close> {
        tokio::time::sleep_until(self.resume.into()).await;
        loop {
            let message = tokio::select! {
                message = self.stream.next() => message,
                () = ended(&mut self.writer) => return Err(Close::Gone),
                () = tokio::time::sleep_until((self.heard + SILENCE).into()) => return Err(Close::Gone),
            };
            self.heard = Instant::now();
            match message {
                Some(Ok(Message::Text(text))) => return Ok(Frame::Text(text.into())),
                Some(Ok(Message::Binary(bytes))) => return Ok(Frame::Binary(bytes)),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Err(Close::Gone),
                Some(Err(error)) if is_lost(&error) => return Err(Close::Gone),
                Some(Err(_)) => return Err(Close::Because(CloseReason::ProtocolViolation)),
            }
        }
    }

    /// Reads a request, unless they come too fast.
    fn decode(&mut self, frame: Frame) -> Result<ClientMessage, DecodeError> {
        let bytes = match (self.encoding, frame) {
            (Encoding::Json, Frame::Text(bytes)) | (Encoding::MessagePack, Frame::Binary(bytes)) => bytes,
            (Encoding::Json, Frame::Binary(_)) => return Err(wrong_encoding("this connection speaks JSON in text frames")),
            (Encoding::MessagePack, Frame::Text(_)) => return Err(wrong_encoding("this connection speaks MessagePack in binary frames")),
        };
        let message = self.encoding.decode_client(&bytes);
        let now = Instant::now();
        if self.requests.take(now, 1) {
            return message;
        }
        self.resume = now + Duration::from_secs(1) / (2 * REQUEST_RATE.per_second);
        let id = message.map_or_else(|refused| refused.id, |message| Some(message.id));
        Err(DecodeError { id, error: ProtocolError::new(ErrorCode::RateLimited, "requests come too fast; wait a moment") })
    }

    /// Lets the writer finish and the client close its end, so that the last messages arrive.
    async fn finish(mut self, patience: Duration) {
        if let Some(writer) = self.writer.take() {
            let _ = tokio::time::timeout(patience, writer).await;
        }
        let drained = async { while let Some(Ok(_)) = self.stream.next().await {} };
        let _ = tokio::time::timeout(LINGER, drained).await;
    }
}

/// Returns when a task has ended; a task that is gone has.
async fn ended(task: &mut Option<JoinHandle<()>>) {
    if let Some(running) = task {
        let _ = running.await;
        *task = None;
    }
}

/// Whether a connection just broke, as opposed to a client that breaks the protocol.
fn is_lost(error: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.is::<std::io::Error>() || error.to_string().contains("without closing handshake") {
            return true;
        }
        cause = error.source();
    }
    false
}

fn wrong_encoding(message: &str) -> DecodeError {
    DecodeError { id: None, error: ProtocolError::new(ErrorCode::WrongEncoding, message) }
}
