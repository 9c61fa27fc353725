//! HTTP: the accept loop and the routes.

mod proxies;

use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::uri::{Authority, PathAndQuery};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use switchyard_protocol::ErrorCode;
use switchyard_worker::Workers;
use tokio::io::{AsyncBufReadExt, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

use crate::participant::sleep_until;
use crate::problem::Problem;
use crate::server::Server;
use crate::signaling::stopped;
use crate::stream::Stream;
use crate::tls::Tls;
use crate::turn::Relay;
use crate::{admin, api, assets, signaling, whip};
pub use proxies::Proxies;

/// Connections that have not become WebSockets. Each holds a descriptor and some 20 KiB for at most a few header timeouts.
const MAX_CONNECTIONS: usize = 8192;
/// Bytes of a request's header; browsers stay under 4 KiB.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Header fields of a request.
const MAX_HEADERS: usize = 64;
/// How long a connection lives that does not become a WebSocket and reads no stream of events, so that a client that reads slowly can't hold it for ever. The whole
/// app takes a slow telephone a minute.
const MAX_LIFETIME: Duration = Duration::from_secs(180);
/// Bytes of a binding request; browsers send 100 to 140.
const MAX_BINDING_REQUEST: u16 = 511;
/// Bytes of a STUN header (RFC 8489 §5); so no frame is shorter, and no STUN request has a type as large.
const STUN_HEADER: u16 = 20;
/// The bits of a first byte that are 0 in STUN, and not in HTTP.
const STUN_MASK: u8 = 0b1100_0000;
/// The first byte of a TLS connection: a handshake's record (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 22;
/// How long to wait after `accept` failed for lack of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Everything reachable by HTTP.
pub fn router(server: Arc<Server>, debug: bool) -> Router {
    let secure = server.tls.is_some();
    let debugging = if debug { Router::new().route("/debug/tasks", get(tasks)) } else { Router::new() };
    debugging
        .route("/healthz", get(admin::health))
        .route("/readyz", get(|State(server): State<Arc<Server>>| async move { admin::ready(&server) }))
        .route("/v1/ws", get(signaling::upgrade))
        .merge(whip::routes())
        .merge(api::routes(&server))
        .route("/", get(assets::page))
        .route("/r/{room}", get(assets::page))
        .route("/assets/{*path}", get(assets::hashed))
        .fallback(get(assets::other))
        .layer(map_response(harden))
        .layer(map_response(move |response| remember(response, secure)))
        .with_state(server)
}

/// Browsers come by HTTPS from now on, for a month, if this is HTTPS (RFC 6797).
async fn remember(mut response: Response, secure: bool) -> Response {
    if secure {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=2592000"));
    }
    response
}

/// Tasks of the runtime that have not ended.
async fn tasks() -> String {
    format!("{}\n", tokio::runtime::Handle::current().metrics().num_alive_tasks())
}

/// Scripts, styles and connections only to this server, in no frame of anybody's; and no page learns of the room's address.
async fn harden(mut response: Response) -> Response {
    const FIELDS: [(HeaderName, &str); 6] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob: mediastream:; style-src 'self' 'unsafe-inline'; \
             worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(self), microphone=(self), display-capture=(self)"),
    ];
    for (name, value) in FIELDS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// What is reachable without TLS where there is TLS: whether the server is alive, what ACME asks for, and for all else where it is. `https`: the port of HTTPS, if
/// this is another one.
pub fn without_tls(server: Arc<Server>, tls: Tls, https: Option<u16>) -> Router {
    Router::new()
        .route("/healthz", get(admin::health))
        .route("/readyz", get(|State(server): State<Arc<Server>>| async move { admin::ready(&server) }))
        .route(
            "/.well-known/acme-challenge/{token}",
            get(|Path(token): Path<String>| async move { tls.answer(&token).ok_or((StatusCode::NOT_FOUND, "that is not asked for\n")) }),
        )
        .fallback(move |headers: HeaderMap, uri: Uri| async move {
            let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
            match host.and_then(|host| secure(host, &uri, https)) {
                Some(there) => Redirect::permanent(&there).into_response(),
                None => (StatusCode::BAD_REQUEST, "this server speaks HTTPS; a request says for which host it is\n").into_response(),
            }
        })
        .with_state(server)
}

/// Where a request should go. Who came without a port came to 80, and goes to 443, which may be another one here.
fn secure(host: &str, uri: &Uri, https: Option<u16>) -> Option<String> {
    let host: Authority = host.parse().ok().filter(|host: &Authority| !host.as_str().contains('@'))?;
    let port = match (host.port_u16(), https) {
        (None, _) => None,
        (came, None) => came,
        (_, https) => https,
    };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("https://{}{port}{}", host.host(), uri.path_and_query().map_or("/", PathAndQuery::as_str)))
}

/// Where a request comes from, in its extensions: by what the proxies say that are trusted, or else whoever has opened the connection.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub IpAddr);

/// What connections to one port find.
pub struct Door {
    pub router: Router,
    /// Connections that have not sent a whole header after this, at first or after a response, are closed.
    pub header_timeout: Duration,
    /// Takes connections that bring media (ICE-TCP).
    pub media: Option<Workers>,
    /// Takes clients of the TURN server.
    pub turn: Option<Arc<Relay>>,
    /// Here is TLS; and what is reached without it.
    pub tls: Option<(Tls, Router)>,
    /// Whose word is taken for where requests come from.
    pub proxies: Proxies,
    /// Turns true when nobody is let in any more.
    pub stop: watch::Receiver<bool>,
}

/// The connection that a request came by.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Who is at its other end.
    pub peer: IpAddr,
    ends: Arc<Mutex<Instant>>,
}

impl Connection {
    fn new(peer: IpAddr) -> Self {
        Self { peer: peer.to_canonical(), ends: Arc::new(Mutex::new(Instant::now() + MAX_LIFETIME)) }
    }

    /// It lives for this time yet at least.
    pub fn prolong(&self, by: Duration) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        *ends = (*ends).max(Instant::now() + by);
    }

    /// Returns when its time is over.
    async fn over(&self) {
        loop {
            let ends = *self.ends.lock().unwrap_or_else(PoisonError::into_inner);
            if ends <= Instant::now() {
                return;
            }
            sleep_until(Some(ends)).await;
        }
    }
}

/// A request's body, if it has no more bytes than `most` and comes in time.
pub async fn read_body(body: Body, most: usize, within: Duration) -> Result<Bytes, Problem> {
    let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::Timeout, "the body did not come in time");
    let read = tokio::time::timeout(within, axum::body::to_bytes(body, most)).await.map_err(late)?;
    read.map_err(|_| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::TooLarge, format!("a body has at most {most} bytes")))
}

/// Accepts connections until the door's `stop`.
pub async fn accept(listener: TcpListener, door: Door) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let door = Arc::new(door);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(door.stop.clone()) => return,
        };
        let (stream, peer) = match accepted {
            Ok((stream, address)) => (stream, address.ip()),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => continue,
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else { continue };
        let door = Arc::clone(&door);
        tokio::spawn(async move {
            let connection = Connection::new(peer);
            tokio::select! {
                () = enter(stream, &door, &connection) => {}
                () = connection.over() => {}
            }
            drop(permit);
        });
    }
}

/// What a connection turns out to be by what it begins with.
enum Sifted {
    Http(TcpStream),
    Tls(TcpStream),
    /// ICE-TCP, with the first frame.
    Media(TcpStream, Vec<u8>),
    /// TURN, with its first bytes.
    Turn(TcpStream, [u8; 2]),
}

async fn enter(stream: TcpStream, door: &Door, connection: &Connection) {
    // Signaling is small messages that somebody waits for.
    let _ = stream.set_nodelay(true);
    let begun = async {
        let sifted = sift(stream, door).await?;
        match (sifted, &door.tls) {
            (Sifted::Http(stream), Some((_, router))) => Some((Stream::Plain(stream), router.clone())),
            (Sifted::Http(stream), None) => Some((Stream::Plain(stream), door.router.clone())),
            (Sifted::Tls(stream), Some((tls, _))) => {
                let accepted = tls.acceptor().accept(stream).await;
                let mut stream = accepted.inspect_err(|error| tracing::debug!(%error, "a TLS connection ended")).ok()?;
                if let Some(turn) = &door.turn
                    && stream.fill_buf().await.ok()?.first()? & STUN_MASK == 0
                {
                    turn.adopt(Stream::Tls(Box::new(stream)), &[]);
                    return None;
                }
                Some((Stream::Tls(Box::new(stream)), door.router.clone()))
            }
            (Sifted::Tls(_), None) => None,
            (Sifted::Media(stream, request), _) => {
                let worker = switchyard_forward::owner_of(&request[2..])?;
                door.media.as_ref()?.adopt(worker, stream.into_std().ok()?, request);
                None
            }
            // Where there is TLS, TURN is offered under it only.
            (Sifted::Turn(stream, begun), None) => {
                door.turn.as_ref()?.adopt(Stream::Plain(stream), &begun);
                None
            }
            (Sifted::Turn(..), Some(_)) => None,
        }
    };
    let begun = tokio::select! {
        begun = tokio::time::timeout(door.header_timeout, begun) => begun.ok().flatten(),
        () = stopped(door.stop.clone()) => None,
    };
    if let Some((stream, router)) = begun {
        serve(stream, router, door, connection).await;
    }
}

/// Tells connections apart: methods of HTTP begin with a letter, TLS with the type of a record, TURN with a request's type, framed binding requests (RFC 4571,
/// RFC 8489) with a length of 20 to 511. Only the last two are read.
async fn sift(mut stream: TcpStream, door: &Door) -> Option<Sifted> {
    let mut first = [0];
    if stream.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    match first[0] {
        TLS_HANDSHAKE if door.tls.is_some() => Some(Sifted::Tls(stream)),
        high if high <= MAX_BINDING_REQUEST.to_be_bytes()[0] && (door.media.is_some() || door.turn.is_some()) => {
            match stream.read_u16().await.ok()? {
                request @ ..STUN_HEADER => Some(Sifted::Turn(stream, request.to_be_bytes())),
                len @ ..=MAX_BINDING_REQUEST => {
                    let mut frame = len.to_be_bytes().to_vec();
                    frame.resize(2 + usize::from(len), 0);
                    stream.read_exact(&mut frame[2..]).await.ok()?;
                    Some(Sifted::Media(stream, frame))
                }
                _ => None,
            }
        }
        _ => Some(Sifted::Http(stream)),
    }
}

async fn serve(stream: Stream, router: Router, door: &Door, from: &Connection) {
    let (from, proxies) = (from.clone(), door.proxies.clone());
    let service = router.map_request(move |mut request: Request<Incoming>| {
        let client = proxies.client(from.peer, request.headers());
        request.extensions_mut().insert(ClientAddress(client));
        request.extensions_mut().insert(from.clone());
        request
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(door.header_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stopped(door.stop.clone()) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "an HTTP connection ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_without_tls_is_sent_where_it_is() {
        let there = |host: &str, https| secure(host, &"/r/demo?x=1".parse().unwrap(), https);
        assert_eq!(there("meet.example", Some(8443)).as_deref(), Some("https://meet.example/r/demo?x=1"));
        assert_eq!(there("meet.example:8080", Some(8443)).as_deref(), Some("https://meet.example:8443/r/demo?x=1"));
        assert_eq!(there("[2001:db8::7]:8443", None).as_deref(), Some("https://[2001:db8::7]:8443/r/demo?x=1"));
        for wrong in ["", "a b", "me@meet.example", "meet.example/x"] {
            assert_eq!(there(wrong, None), None, "{wrong}");
        }
    }
}
