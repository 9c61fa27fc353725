//! The real program for tests, and a bare WebSocket to talk to it.

#![allow(dead_code, reason = "each test target uses a part")]

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use switchyard_protocol::{
    ClientMessage, Encoding, Event, Joined, LeaveReason, ParticipantId, ProtocolError, Reply, Request, Resumed, ServerMessage,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// How long anything may take that should happen at once, on a busy machine.
pub const SOON: Duration = Duration::from_secs(10);

/// What a browser offers at first.
pub const OFFER: &str = include_str!("../../crates/negotiation/src/fixtures/chromium-plain.sdp");

/// An answer that takes everything a server offers, by a client that made [`OFFER`].
pub fn accept(server_offer: &str) -> String {
    let own = |prefix: &str| OFFER.lines().find(|line| line.starts_with(prefix)).expect("in every offer");
    let mut answer = String::new();
    for line in server_offer.lines() {
        let line = match line {
            "a=sendonly" => "a=recvonly",
            "a=recvonly" => "a=sendonly",
            "a=ice-lite" | "a=end-of-candidates" => continue,
            _ if line.starts_with("a=setup:") => "a=setup:active",
            _ if line.starts_with("a=ice-ufrag:") => own("a=ice-ufrag:"),
            _ if line.starts_with("a=ice-pwd:") => own("a=ice-pwd:"),
            _ if line.starts_with("a=fingerprint:") => own("a=fingerprint:"),
            _ if ["a=ssrc", "a=msid:", "a=candidate:"].iter().any(|prefix| line.starts_with(prefix)) => continue,
            _ => line,
        };
        answer.push_str(line);
        answer.push_str("\r\n");
    }
    answer
}

/// Revision and description, if the server offers.
pub fn server_offer(event: &Event) -> Option<(u32, String)> {
    match event {
        Event::Offer { revision, sdp } => Some((*revision, sdp.clone())),
        _ => None,
    }
}

/// Who left and why, if somebody did.
pub fn left(event: &Event) -> Option<(ParticipantId, LeaveReason)> {
    match event {
        Event::ParticipantLeft { participant, reason } => Some((*participant, *reason)),
        _ => None,
    }
}

/// A folder that is gone with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    /// An empty one.
    pub fn new(name: &str) -> Self {
        let folder = Self(std::env::temp_dir().join(format!("switchyard-{name}-{}", std::process::id())));
        std::fs::create_dir_all(&folder.0).expect("a folder");
        folder
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A port that is free for TCP and UDP, and below those that systems give to whoever asks for any (on Linux 32,768 and up, `ip_local_port_range`).
pub fn lasting_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() % 20_000) as u16;
    std::iter::repeat_with(|| 10_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000)
        .take(1_000)
        .find(|&port| UdpSocket::bind(("::", port)).is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok())
        .expect("a free port")
}

/// A running `switchyard serve --dev` on free ports. Killed when dropped.
pub struct Server {
    pub http: SocketAddr,
    pub media: u16,
    /// Where operators reach it, if `--admin` was among the arguments.
    pub admin: Option<SocketAddr>,
    pub child: Child,
}

impl Server {
    pub async fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, Stdio::inherit()).await
    }

    /// One that can be killed and started again: on ports that nobody is given by chance meanwhile.
    pub async fn start_to_be_killed(arguments: &[&str]) -> Self {
        Self::start_at(&format!("127.0.0.1:{}", lasting_port()), lasting_port(), arguments, Stdio::inherit()).await
    }

    pub async fn start_with(arguments: &[&str], stderr: Stdio) -> Self {
        Self::start_at("127.0.0.1:0", 0, arguments, stderr).await
    }

    /// At these addresses; whoever starts one has found out that they are free.
    pub async fn start_at(http: &str, media: u16, arguments: &[&str], stderr: Stdio) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .args(["serve", "--dev", "--http", http, "--media-port", &media.to_string()])
            .args(arguments)
            .env("SWITCHYARD_LOG", "warn")
            .stderr(stderr)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let ready = tokio::time::timeout(SOON, lines.next_line()).await.expect("ready in time").unwrap().expect("a ready line");
        let fields = ready.strip_prefix("listening http=").and_then(|rest| rest.split_once(" media="));
        let (http, media) = fields.unwrap_or_else(|| panic!("not a ready line: {ready}"));
        let mut more = media.split(' ');
        let media = more.next().expect("a port");
        let admin = more.find_map(|field| field.strip_prefix("admin="));
        // Whoever reads stdout may go on doing so.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            http: http.parse().expect("an address"),
            media: media.parse().expect("a port"),
            admin: admin.map(|admin| admin.parse().expect("an address")),
            child,
        }
    }

    /// Kills the program, as a crash would; returns when it is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("killed");
    }

    /// Starts the program again on the same ports, which are still free if it was [started for that](Self::start_to_be_killed); returns when it listens.
    pub async fn start_again(&mut self, arguments: &[&str]) {
        *self = Self::start_at(&self.http.to_string(), self.media, arguments, Stdio::inherit()).await;
    }

    pub fn url(&self) -> String {
        format!("ws://{}/v1/ws", self.http)
    }

    pub async fn connect(&self, encoding: Encoding) -> Socket {
        Socket::connect(self, encoding).await
    }

    /// A participant without media.
    pub async fn join(&self, room: &str, name: &str) -> (Socket, Joined) {
        let mut socket = self.connect(Encoding::Json).await;
        let joined = socket.join(room, name).await;
        (socket, joined)
    }

    /// Asks the program to stop and waits until it has; how it ended.
    pub async fn terminate(&mut self) -> ExitStatus {
        let pid = self.child.id().expect("running").to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill runs").success());
        tokio::time::timeout(SOON, self.child.wait()).await.expect("gone in time").expect("waited for")
    }

    /// One HTTP request, its response with header.
    pub async fn get(&self, path: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = TcpStream::connect(self.http).await.expect("reachable");
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.http);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        tokio::time::timeout(SOON, stream.read_to_end(&mut response)).await.expect("answered in time").unwrap();
        String::from_utf8_lossy(&response).into_owned()
    }
}

/// A WebSocket that speaks the protocol, or anything else.
pub struct Socket {
    pub stream: WebSocketStream<TcpStream>,
    pub encoding: Encoding,
    /// Events that came while something else was awaited.
    pub events: Vec<Event>,
    /// Messages that came after the reply to `join`, as `resume` counts them.
    pub received: u32,
    next_id: u32,
}

impl Socket {
    pub async fn connect(server: &Server, encoding: Encoding) -> Self {
        let stream = TcpStream::connect(server.http).await.expect("reachable");
        Self::open(server, encoding, stream).await
    }

    /// Over a connection that is made already.
    pub async fn open(server: &Server, encoding: Encoding, stream: TcpStream) -> Self {
        let mut request = server.url().into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", encoding.subprotocol().parse().unwrap());
        let (stream, response) = tokio_tungstenite::client_async(request, stream).await.expect("accepted");
        assert_eq!(response.headers()["sec-websocket-protocol"], encoding.subprotocol());
        Self { stream, encoding, events: Vec::new(), received: 0, next_id: 1 }
    }

    pub async fn join(&mut self, room: &str, name: &str) -> Joined {
        match self.request(Request::Join { room: room.into(), name: name.into(), token: None, password: None }).await.expect("joined") {
            Reply::Joined(joined) => {
                self.received = 0;
                joined
            }
            other => panic!("not joined: {other:?}"),
        }
    }

    /// Goes on with the session of `joined` in which `received` messages came.
    pub async fn resume(&mut self, joined: &Joined, received: u32) -> Result<Resumed, ProtocolError> {
        match self.request(Request::Resume { token: joined.session.token.clone(), received }).await? {
            Reply::Resumed(resumed) => {
                self.received = received;
                Ok(resumed)
            }
            other => panic!("not resumed: {other:?}"),
        }
    }

    /// Sends a request and awaits nothing; its id.
    pub async fn ask(&mut self, request: Request) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        let bytes = self.encoding.encode_client(&ClientMessage { id, request });
        self.send_bytes(bytes).await;
        id
    }

    /// Sends a request and awaits its reply or error.
    pub async fn request(&mut self, request: Request) -> Result<Reply, ProtocolError> {
        let id = self.ask(request).await;
        match self.answer().await {
            ServerMessage::Reply { id: answered, result } if answered == id => Ok(result),
            ServerMessage::Error { id: answered, error } if answered == Some(id) => Err(error),
            other => panic!("not the answer to {id}: {other:?}"),
        }
    }

    /// Sends bytes as a message of the connection's encoding.
    pub async fn send_bytes(&mut self, bytes: Vec<u8>) {
        let message = match self.encoding {
            Encoding::Json => match String::from_utf8(bytes) {
                Ok(text) => Message::text(text),
                Err(_) => panic!("text frames are UTF-8"),
            },
            Encoding::MessagePack => Message::binary(bytes),
        };
        self.send(message).await;
    }

    pub async fn send(&mut self, message: Message) {
        self.stream.send(message).await.expect("the server reads");
    }

    /// The next reply or error; events are kept.
    pub async fn answer(&mut self) -> ServerMessage {
        loop {
            match self.message().await.expect("not closed") {
                ServerMessage::Event { event } => self.events.push(event),
                answer => return answer,
            }
        }
    }

    /// The first event, kept or to come, of which `wanted` makes something. Events before it are dropped.
    pub async fn event<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        loop {
            while !self.events.is_empty() {
                if let Some(found) = wanted(&self.events.remove(0)) {
                    return found;
                }
            }
            match self.message().await.expect("not closed") {
                ServerMessage::Event { event } => self.events.push(event),
                other => panic!("not an event: {other:?}"),
            }
        }
    }

    /// The next message; `None` once the server closes.
    pub async fn message(&mut self) -> Option<ServerMessage> {
        loop {
            let message = tokio::time::timeout(SOON, self.stream.next()).await.expect("heard of the server in time")?;
            let bytes = match message.ok()? {
                Message::Text(text) if self.encoding == Encoding::Json => text.as_bytes().to_vec(),
                Message::Binary(bytes) if self.encoding == Encoding::MessagePack => bytes.to_vec(),
                Message::Ping(_) | Message::Pong(_) => continue,
                Message::Close(_) => return None,
                other => panic!("a frame of the wrong kind: {other:?}"),
            };
            self.received += 1;
            return Some(self.encoding.decode_server(&bytes).expect("a message"));
        }
    }

    /// Closes, with a code or without; the code that the server answers with.
    pub async fn close(mut self, code: Option<u16>) -> Option<u16> {
        let frame = code.map(|code| CloseFrame { code: code.into(), reason: "".into() });
        self.send(Message::Close(frame)).await;
        self.closed().await
    }

    /// Reads on until the server closes; the close code.
    pub async fn closed(&mut self) -> Option<u16> {
        loop {
            match tokio::time::timeout(SOON, self.stream.next()).await.expect("closed in time") {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}
