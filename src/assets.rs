//! The web app, embedded in the program.

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "web/app/dist"]
struct Files;

/// Shown instead of the app by a program that was built without it.
const PLACEHOLDER: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Switchyard</title>\
<p>This server was built without its web app. Build it with <code>cargo xtask web</code>, then build the server again; \
or use <code>cargo xtask run</code>, which does both.";

/// The app's one page: it picks a room, or enters the one that the path names.
pub async fn page(headers: HeaderMap) -> Response {
    match Files::get("index.html") {
        Some(file) => serve(&file, "no-cache", &headers),
        None => Html(PLACEHOLDER).into_response(),
    }
}

/// A file whose name has its content's hash in it.
pub async fn hashed(Path(path): Path<String>, headers: HeaderMap) -> Response {
    match Files::get(&format!("assets/{path}")) {
        Some(file) => serve(&file, "public, max-age=31536000, immutable", &headers),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Any other file of the app, such as its icon.
pub async fn other(uri: Uri, headers: HeaderMap) -> Response {
    match Files::get(uri.path().trim_start_matches('/')) {
        Some(file) => serve(&file, "no-cache", &headers),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn serve(file: &EmbeddedFile, cache: &'static str, headers: &HeaderMap) -> Response {
    let tag: String = file.metadata.sha256_hash()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let tag = HeaderValue::from_str(&format!("\"{tag}\"")).expect("hexadecimal in quotes");
    let fresh = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known == tag);
    let mut response = if fresh { StatusCode::NOT_MODIFIED.into_response() } else { file.data.clone().into_response() };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, tag);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    let kind = file.metadata.mimetype();
    let kind = if kind.starts_with("text/") { format!("{kind}; charset=utf-8") } else { kind.to_owned() };
    if let Ok(kind) = HeaderValue::from_str(&kind) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    response
}
