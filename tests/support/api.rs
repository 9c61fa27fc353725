//! A server with access control and its API, as an application's back end has them.

#![allow(dead_code, reason = "each test target uses a part")]

use serde_json::{Value, json};
use switchyard_protocol::{CloseReason, Encoding, Event, Joined, Reply, Request, Source, Token};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::http::{Response, request};
use crate::schema::Description;
use crate::support::{SOON, Server, Socket};
use crate::tokens::{KeyFile, Signer, now};

pub const KEY: (&str, Signer) = ("one", Signer::Hmac(1));

pub fn token(room: &str, identity: &str, role: &str) -> String {
    KEY.1.token(KEY.0, &json!({ "sub": identity, "room": room, "role": role, "exp": now() + 600 }))
}

/// A server with access control, and the API as a token with the role `server` has it.
pub struct Api {
    pub server: Server,
    _keys: KeyFile,
    pub token: String,
    pub description: Description,
}

impl Api {
    pub async fn start() -> Self {
        let keys = KeyFile::new(&[KEY.1.jwk(KEY.0)]);
        let server = Server::start(&["--access-keys", keys.path(), "--advertise", "127.0.0.1", "--max-load", "0"]).await;
        let description = Description::of(&request(server.http, "GET", "/v1/openapi.json", &[], b"").await.body);
        Self { server, _keys: keys, token: token("*", "back end", "server"), description }
    }

    pub async fn send(&self, token: Option<&str>, method: &str, path: &str, body: Option<&str>) -> Response {
        let authorization = token.map(|token| format!("authorization: Bearer {token}"));
        let json = body.map(|_| "content-type: application/json");
        let headers: Vec<&str> = authorization.as_deref().into_iter().chain(json).collect();
        let response = request(self.server.http, method, path, &headers, body.unwrap_or_default().as_bytes()).await;
        let kind = response.header("content-type").unwrap_or_default().to_owned();
        self.description.check(method, path, response.status, &kind, &response.body);
        response
    }

    /// What comes of a request that has to succeed.
    pub async fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let body = if body.is_null() { None } else { Some(body.to_string()) };
        let response = self.send(Some(&self.token), method, path, body.as_deref()).await;
        assert!((200..300).contains(&response.status), "{method} {path}: {response:?}");
        if response.body.is_empty() { Value::Null } else { serde_json::from_str(&response.body).expect("JSON") }
    }

    pub async fn get(&self, path: &str) -> Value {
        self.ask("GET", path, Value::Null).await
    }

    /// How a request is refused.
    pub async fn refused(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let response = self.send(Some(&self.token), method, path, Some(body)).await;
        (response.status, response.code().to_owned())
    }

    pub async fn enter(&self, room: &str, identity: &str, role: &str) -> (Socket, Joined) {
        let mut socket = self.server.connect(Encoding::Json).await;
        let join =
            Request::Join { room: room.into(), name: identity.into(), token: Some(Token(token(room, identity, role))), password: None };
        match socket.request(join).await {
            Ok(Reply::Joined(joined)) => (socket, joined),
            other => panic!("not let in: {other:?}"),
        }
    }

    pub async fn listen(&self, path: &str, last: Option<&str>) -> Listener {
        Listener::open(&self.server, &self.token, path, last).await
    }
}

/// Somebody who reads a stream of events.
pub struct Listener {
    pub lines: tokio::io::Lines<BufReader<TcpStream>>,
    /// The latest event's.
    pub id: String,
}

impl Listener {
    pub async fn open(server: &Server, token: &str, path: &str, last: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(server.http).await.expect("reachable");
        let last = last.map(|last| format!("last-event-id: {last}\r\n")).unwrap_or_default();
        let head = format!("GET {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n{last}\r\n", server.http);
        stream.write_all(head.as_bytes()).await.expect("written");
        let mut listener = Self { lines: BufReader::new(stream).lines(), id: String::new() };
        assert_eq!(listener.line().await, "HTTP/1.1 200 OK");
        while listener.line().await != ": listening" {}
        listener
    }

    pub async fn line(&mut self) -> String {
        tokio::time::timeout(SOON, self.lines.next_line()).await.expect("in time").expect("readable").expect("not over")
    }

    /// The next event's name and data.
    pub async fn next(&mut self) -> (String, Value) {
        let (mut name, mut data) = (String::new(), Value::Null);
        loop {
            // Lines of chunks and empty ones are passed over.
            let line = self.line().await;
            match line.split_once(": ") {
                Some(("id", id)) => self.id = id.to_owned(),
                Some(("event", event)) => name = event.to_owned(),
                Some(("data", json)) => data = serde_json::from_str(json).expect("JSON"),
                _ if line.is_empty() && !name.is_empty() && !data.is_null() => return (name, data),
                _ => {}
            }
        }
    }

    pub async fn names(&mut self, count: usize) -> Vec<String> {
        let mut names = Vec::new();
        while names.len() < count {
            names.push(self.next().await.0);
        }
        names
    }
}

pub async fn publish(socket: &mut Socket, source: Source) -> u32 {
    match socket.request(Request::Publish { mid: format!("{source:?}"), source, muted: false }).await {
        Ok(Reply::Published(published)) => published.track.0,
        other => panic!("not published: {other:?}"),
    }
}

/// Why the server closes a session.
pub async fn closing(socket: &mut Socket) -> CloseReason {
    socket.event(|event| if let Event::Closing { reason, .. } = event { Some(*reason) } else { None }).await
}
