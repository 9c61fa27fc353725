//! One WebSocket: opening it, messages out and in.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use switchyard_protocol::{ClientMessage, CloseReason, Encoding, Event, MAX_MESSAGE_BYTES, ProtocolError, Reply, Request, ServerMessage};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};

use crate::error::{ClientError, Closed};

/// How long a server may take to read a farewell and to close its end.
const LINGER: Duration = Duration::from_secs(1);

/// The close code of a connection whose session goes on over another.
const RESUMED_ELSEWHERE: u16 = 4001;

/// The id of the request that begins a connection; those of a session begin with 1.
const FIRST: u32 = 0;

/// The addresses of a TCP connection.
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) local: IpAddr,
    pub(crate) server: IpAddr,
}

/// An open WebSocket. Dropping it loses it without a word.
pub(crate) struct Socket {
    pub(crate) ends: Ends,
    /// When anything last came.
    pub(crate) heard: Instant,
    encoding: Encoding,
    stream: SplitStream<WebSocketStream<TcpStream>>,
    outgoing: mpsc::Sender<Message>,
    writer: JoinHandle<()>,
}

impl Socket {
    /// Connects within `timeout`. `queue`: how many messages may wait to be written.
    pub(crate) async fn open(url: &str, encoding: Encoding, queue: usize, timeout: Duration) -> Result<Self, ClientError> {
        tokio::time::timeout(timeout, Self::connect(url, encoding, queue)).await.map_err(|_| ClientError::Timeout(timeout))?
    }

    async fn connect(url: &str, encoding: Encoding, queue: usize) -> Result<Self, ClientError> {
        let mut request = url.into_client_request().map_err(|error| ClientError::Url(error.to_string()))?;
        let uri = request.uri();
        let host = match (uri.scheme_str(), uri.host()) {
            (Some("ws"), Some(host)) => host.trim_matches(['[', ']']).to_owned(),
            _ => return Err(ClientError::Url(url.to_owned())),
        };
        let port = uri.port_u16().unwrap_or(80);
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(encoding.subprotocol()));
        let failed = |error: &dyn std::fmt::Display| ClientError::Connect(format!("{host}:{port}: {error}"));
        let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(|error| failed(&error))?;
        tcp.set_nodelay(true).map_err(|error| failed(&error))?;
        let local = tcp.local_addr().map_err(|error| failed(&error))?.ip();
        let server = tcp.peer_addr().map_err(|error| failed(&error))?.ip();
        let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE_BYTES)).max_frame_size(Some(MAX_MESSAGE_BYTES));
        let (socket, response) =
            tokio_tungstenite::client_async_with_config(request, tcp, Some(config)).await.map_err(|error| failed(&error))?;
        if response.headers().get(SEC_WEBSOCKET_PROTOCOL).is_none_or(|chosen| chosen != encoding.subprotocol()) {
            return Err(failed(&"the server does not speak the subprotocol"));
        }
        let (sink, stream) = socket.split();
        let (outgoing, waiting) = mpsc::channel(queue);
        let writer = tokio::spawn(write(sink, waiting));
        Ok(Self { ends: Ends { local, server }, heard: Instant::now(), encoding, stream, outgoing, writer })
    }

    /// The next message; pings are answered underneath. Nothing is lost if the future is dropped.
    pub(crate) async fn receive(&mut self) -> Result<ServerMessage, Closed> {
        loop {
            let message = match self.stream.next().await {
                None => return Err(Closed::WebSocket("without a close".into())),
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(message)) => message,
            };
            self.heard = Instant::now();
            return match (self.encoding, message) {
                (Encoding::Json, Message::Text(text)) => Ok(self.encoding.decode_server(text.as_bytes())?),
                (Encoding::MessagePack, Message::Binary(bytes)) => Ok(self.encoding.decode_server(&bytes)?),
                (_, Message::Text(_) | Message::Binary(_)) => Err(Closed::Protocol("a frame of the other encoding".into())),
                (_, Message::Close(Some(frame))) if frame.code == CloseCode::Normal => Err(Closed::Left),
                (_, Message::Close(Some(frame))) if u16::from(frame.code) == RESUMED_ELSEWHERE => {
                    Err(Closed::Closing { reason: CloseReason::ResumedElsewhere, message: frame.reason.to_string(), to: None })
                }
                (_, Message::Close(frame)) => {
                    Err(Closed::WebSocket(frame.map_or("closed".into(), |frame| format!("{}: {}", frame.code, frame.reason))))
                }
                (_, Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
            };
        }
    }

    /// Queues a message. One that does not fit any more, or that nobody writes any more, is lost with the connection.
    pub(crate) fn send(&self, message: Message) {
        let _ = self.outgoing.try_send(message);
    }

    /// Asks for the one thing that a connection begins with, and waits for the answer.
    pub(crate) async fn begin(&mut self, request: Request, timeout: Duration) -> Result<Reply, Beginning> {
        self.send(encode(self.encoding, &ClientMessage { id: FIRST, request }));
        match tokio::time::timeout(timeout, self.receive()).await.map_err(|_| Beginning::Unanswered(timeout))? {
            Ok(ServerMessage::Reply { id: FIRST, result }) => Ok(result),
            Ok(ServerMessage::Error { error, .. }) => Err(Beginning::Refused(error)),
            Ok(ServerMessage::Event { event: Event::Closing { reason, message, to } }) => {
                Err(Beginning::Closed(Closed::Closing { reason, message, to }))
            }
            Ok(_) => Err(Beginning::Closed(Closed::Protocol("another message before the first reply".into()))),
            Err(closed) => Err(Beginning::Closed(closed)),
        }
    }

    /// Says goodbye with `code`, within a moment and behind the caller's back. To be called within a tokio runtime.
    pub(crate) fn close(self, code: CloseCode) {
        let Self { mut stream, outgoing, mut writer, .. } = self;
        let _ = outgoing.try_send(Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::default() })));
        drop(outgoing);
        tokio::spawn(async move {
            // What the server still sends is read: TCP would take unread bytes for a reason to forget the farewell.
            let farewell = async {
                let _ = (&mut writer).await;
                while let Some(Ok(_)) = stream.next().await {}
            };
            let _ = tokio::time::timeout(LINGER, farewell).await;
            writer.abort();
        });
    }
}

/// Why a connection did not begin as it should.
#[derive(Debug)]
pub(crate) enum Beginning {
    /// The server does not want to, or can't.
    Refused(ProtocolError),
    /// The server did not answer in time.
    Unanswered(Duration),
    /// The connection is over.
    Closed(Closed),
}

impl Beginning {
    /// Whether another try, over another connection, may turn out better.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Refused(error) => error.retryable,
            Self::Unanswered(_) => true,
            Self::Closed(Closed::Closing { reason, .. }) => *reason == CloseReason::ShuttingDown,
            Self::Closed(closed) => matches!(closed, Closed::WebSocket(_)),
        }
    }
}

impl From<Beginning> for ClientError {
    fn from(beginning: Beginning) -> Self {
        match beginning {
            Beginning::Refused(error) => ClientError::Refused(error),
            Beginning::Unanswered(timeout) => ClientError::Timeout(timeout),
            Beginning::Closed(closed) => ClientError::Closed(closed),
        }
    }
}

/// A message as the WebSocket carries it.
pub(crate) fn encode(encoding: Encoding, message: &ClientMessage) -> Message {
    let bytes = Bytes::from(encoding.encode_client(message));
    match encoding {
        Encoding::MessagePack => Message::Binary(bytes),
        Encoding::Json => Message::Text(Utf8Bytes::try_from(bytes).expect("JSON is UTF-8")),
    }
}

/// Writes what is queued until nobody queues any more.
async fn write(mut sink: SplitSink<WebSocketStream<TcpStream>, Message>, mut queue: mpsc::Receiver<Message>) {
    while let Some(message) = queue.recv().await {
        if sink.send(message).await.is_err() {
            return;
        }
    }
}
