//! What operators reach by HTTP, on a port of its own that nobody else should: metrics, what is logged, and going down.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use prometheus_client::registry::Registry;

use crate::cli;
use crate::logging::Log;
use crate::metrics;
use crate::server::Server;

/// Bytes of a log filter.
const MAX_FILTER: usize = 4 * 1024;

struct Admin {
    server: Arc<Server>,
    registry: Registry,
    log: Log,
    /// How long a drain takes at most that doesn't say it.
    drain: Duration,
}

/// The operators' routes.
pub fn router(server: &Arc<Server>, log: Log, drain: Duration) -> Router {
    let admin = Admin { server: Arc::clone(server), registry: server.metrics.registry(server), log, drain };
    Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(health))
        .route("/readyz", get(|State(admin): State<Arc<Admin>>| async move { ready(&admin.server) }))
        .route("/log", get(log_filter).put(set_log_filter))
        .route("/drain", post(begin_drain))
        .fallback(|| async { (StatusCode::NOT_FOUND, "there are /metrics, /healthz, /readyz, /log and /drain\n") })
        .layer(from_fn(not_from_pages))
        .with_state(Arc::new(admin))
}

/// Refuses what a page in some operator's browser asks for: browsers name its origin (the Fetch standard, §3.1) or its site (Fetch Metadata), programs don't.
async fn not_from_pages(request: Request, next: Next) -> Response {
    if is_of_a_page(request.headers()) {
        return (StatusCode::FORBIDDEN, "this is not for web pages\n").into_response();
    }
    next.run(request).await
}

/// Whether a browser says that a page asks.
pub fn is_of_a_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    headers.contains_key(header::ORIGIN) || site.is_some_and(|site| site != b"none")
}

/// `GET /healthz`: the program is alive.
pub async fn health() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: whether somebody who came now would be let in; and if not, why.
pub fn ready(server: &Server) -> Response {
    match server.is_ready() {
        Ok(()) => "ready\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

/// `GET /metrics`
async fn scrape(State(admin): State<Arc<Admin>>) -> Response {
    match metrics::scrape(&admin.registry) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics can't be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// `GET /log`
async fn log_filter(State(admin): State<Arc<Admin>>) -> String {
    admin.log.filter() + "\n"
}

/// `PUT /log`: the filter is the body.
async fn set_log_filter(State(admin): State<Arc<Admin>>, body: String) -> Response {
    let filter = body.trim();
    if filter.is_empty() || filter.len() > MAX_FILTER {
        return (StatusCode::BAD_REQUEST, "the body is a level or `tracing` directives, such as info,switchyard=debug\n").into_response();
    }
    match admin.log.set(filter) {
        Ok(()) => {
            tracing::info!(filter, "the log's filter was changed");
            format!("{filter}\n").into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{filter:?} is no filter: {error}\n")).into_response(),
    }
}

/// `POST /drain?within=10m`
async fn begin_drain(State(admin): State<Arc<Admin>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let within = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "within").map(|(_, within)| within.into_owned());
    let within = match within.map_or(Ok(admin.drain), |within| cli::time(&within)) {
        Ok(within) => within,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("within: {error}\n")).into_response(),
    };
    admin.server.drain.ask(within).await;
    (StatusCode::ACCEPTED, format!("draining, for {} at most\n", humantime::format_duration(within))).into_response()
}
