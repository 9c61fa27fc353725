//! HTTP: the accept loop and the routes.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use switchyard_worker::Workers;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::server::Server;
use crate::signaling::stopped;
use crate::{admin, assets, signaling, whip};

/// Connections that have not become WebSockets. Each holds a descriptor and some 20 KiB for at most a few header timeouts.
const MAX_CONNECTIONS: usize = 8192;
/// Bytes of a request's header; browsers stay under 4 KiB.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Header fields of a request.
const MAX_HEADERS: usize = 64;
/// How long a connection lives that does not become a WebSocket, so that a client that reads slowly can't hold it for ever. The whole app takes
/// a slow telephone a minute.
const MAX_LIFETIME: Duration = Duration::from_secs(180);
/// Bytes of a binding request; browsers send 100 to 140.
const MAX_BINDING_REQUEST: u16 = 511;
/// How long to wait after `accept` failed for lack of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Everything reachable by HTTP.
pub fn router(server: Arc<Server>, debug: bool) -> Router {
    let debugging = if debug { Router::new().route("/debug/tasks", get(tasks)) } else { Router::new() };
    debugging
        .route("/healthz", get(admin::health))
        .route("/readyz", get(|State(server): State<Arc<Server>>| async move { admin::ready(&server) }))
        .route("/v1/ws", get(signaling::upgrade))
        .merge(whip::routes())
        .route("/", get(assets::page))
        .route("/r/{room}", get(assets::page))
        .route("/assets/{*path}", get(assets::hashed))
        .fallback(get(assets::other))
        .layer(map_response(harden))
        .with_state(server)
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

/// Accepts connections until `stop` turns true. A connection that does not send a whole header within `header_timeout`, at first or after a
/// response, is closed. One that brings media (ICE-TCP) goes to `media`.
pub async fn accept(listener: TcpListener, router: Router, header_timeout: Duration, stop: watch::Receiver<bool>, media: Option<Workers>) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(stop.clone()) => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => continue,
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else { continue };
        let (router, stop, media) = (router.clone(), stop.clone(), media.clone());
        tokio::spawn(async move {
            let _ = tokio::time::timeout(MAX_LIFETIME, serve(stream, router, header_timeout, stop, media)).await;
            drop(permit);
        });
    }
}

/// The connection, if it is one of HTTP's. One that begins with a framed binding request (RFC 4571, RFC 8489) is media's: methods of HTTP begin with a letter, frames of
/// that size with 0 or 1.
async fn sift(mut stream: TcpStream, header_timeout: Duration, stop: &watch::Receiver<bool>, media: Option<Workers>) -> Option<TcpStream> {
    let Some(media) = media else { return Some(stream) };
    let sifting = async {
        let mut first = [0];
        if stream.peek(&mut first).await.ok()? == 0 || first[0] > MAX_BINDING_REQUEST.to_be_bytes()[0] {
            return Some(None);
        }
        framed(&mut stream).await.map(Some)
    };
    let sifted = tokio::select! {
        sifted = tokio::time::timeout(header_timeout, sifting) => sifted.ok()??,
        () = stopped(stop.clone()) => return None,
    };
    let Some(request) = sifted else { return Some(stream) };
    let worker = switchyard_forward::owner_of(&request[2..])?;
    media.adopt(worker, stream.into_std().ok()?, request);
    None
}

/// A whole frame with its length in front, if it can be a binding request.
async fn framed(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let len = stream.read_u16().await.ok().filter(|len| *len <= MAX_BINDING_REQUEST)?;
    let mut frame = len.to_be_bytes().to_vec();
    frame.resize(2 + usize::from(len), 0);
    stream.read_exact(&mut frame[2..]).await.ok()?;
    Some(frame)
}

async fn serve(stream: TcpStream, router: Router, header_timeout: Duration, stop: watch::Receiver<bool>, media: Option<Workers>) {
    // Signaling is small messages that somebody waits for.
    let _ = stream.set_nodelay(true);
    let Some(stream) = sift(stream, header_timeout, &stop, media).await else { return };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stopped(stop.clone()) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "an HTTP connection ended");
    }
}
