//! The WebSocket: opening it, requests out, messages in.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use switchyard_protocol::{ClientMessage, Encoding, MAX_MESSAGE_BYTES, ServerMessage};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};

use crate::error::{ClientError, Closed};

/// How long opening the WebSocket may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests on their way out; a client has a handful at a time, and candidates come a few at once.
const OUTGOING: usize = 64;

/// An open WebSocket, with the addresses of its TCP connection.
pub(crate) struct Signaling {
    pub(crate) local: IpAddr,
    pub(crate) server: IpAddr,
    encoding: Encoding,
    stream: SplitStream<WebSocketStream<TcpStream>>,
    outgoing: mpsc::Sender<Message>,
}

impl Signaling {
    pub(crate) async fn connect(url: &str, encoding: Encoding) -> Result<Self, ClientError> {
        tokio::time::timeout(CONNECT_TIMEOUT, Self::open(url, encoding)).await.map_err(|_| ClientError::Timeout(CONNECT_TIMEOUT))?
    }

    async fn open(url: &str, encoding: Encoding) -> Result<Self, ClientError> {
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
        let (outgoing, queue) = mpsc::channel(OUTGOING);
        tokio::spawn(write(sink, queue));
        Ok(Self { local, server, encoding, stream, outgoing })
    }

    /// The next message; pings are answered underneath.
    pub(crate) async fn receive(&mut self) -> Result<ServerMessage, Closed> {
        loop {
            let message = match self.stream.next().await {
                None => return Err(Closed::WebSocket("without a close".into())),
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(message)) => message,
            };
            return match (self.encoding, message) {
                (Encoding::Json, Message::Text(text)) => Ok(self.encoding.decode_server(text.as_bytes())?),
                (Encoding::MessagePack, Message::Binary(bytes)) => Ok(self.encoding.decode_server(&bytes)?),
                (_, Message::Text(_) | Message::Binary(_)) => Err(Closed::Protocol("a frame of the other encoding".into())),
                (_, Message::Close(Some(frame))) if frame.code == CloseCode::Normal => Err(Closed::Left),
                (_, Message::Close(frame)) => {
                    Err(Closed::WebSocket(frame.map_or("closed".into(), |frame| format!("{}: {}", frame.code, frame.reason))))
                }
                (_, Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
            };
        }
    }

    /// Queues a request; waits while the server does not read.
    pub(crate) async fn send(&self, message: &ClientMessage) -> Result<(), Closed> {
        let bytes = Bytes::from(self.encoding.encode_client(message));
        let message = match self.encoding {
            Encoding::MessagePack => Message::Binary(bytes),
            Encoding::Json => Message::Text(Utf8Bytes::try_from(bytes).map_err(|error| Closed::Protocol(error.to_string()))?),
        };
        self.outgoing.send(message).await.map_err(|_| Closed::WebSocket("not writable".into()))
    }
}

/// Writes what is queued until nobody queues any more, and closes: a connection that just ended would be a lost one, whose session goes on for a while.
async fn write(mut sink: SplitSink<WebSocketStream<TcpStream>, Message>, mut queue: mpsc::Receiver<Message>) {
    while let Some(message) = queue.recv().await {
        if sink.send(message).await.is_err() {
            return;
        }
    }
    let _ = sink.send(Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() }))).await;
}
