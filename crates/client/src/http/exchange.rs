//! Requests by HTTP/1.1, one connection each: a session has two or three in all.

use std::net::IpAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, ETAG, HOST, HeaderMap, HeaderName, IF_MATCH, LOCATION};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use switchyard_protocol::MAX_MESSAGE_BYTES;
use tokio::net::TcpStream;
use url::Url;

use super::HttpError;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request may stay unanswered.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an error's text that are kept: it is for people.
const MAX_DETAIL: usize = 200;

/// A connection to where an address points.
pub(super) struct Exchange {
    pub(super) local: IpAddr,
    pub(super) server: IpAddr,
    sender: SendRequest<String>,
}

/// What a request was answered with.
pub(super) struct Response {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    pub(super) body: String,
}

/// `text` as an address that can be spoken to.
pub(super) fn address(text: &str) -> Result<Url, HttpError> {
    let url = Url::parse(text).map_err(|_| HttpError::Url(text.to_owned()))?;
    match url.scheme() {
        "http" if url.has_host() => Ok(url),
        "https" => Err(HttpError::Tls(text.to_owned())),
        _ => Err(HttpError::Url(text.to_owned())),
    }
}

impl Exchange {
    pub(super) async fn open(url: &Url) -> Result<Self, HttpError> {
        let connecting = async {
            let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
            let tcp = TcpStream::connect((host, url.port_or_known_default().unwrap_or(80))).await?;
            tcp.set_nodelay(true)?;
            let (local, server) = (tcp.local_addr()?.ip(), tcp.peer_addr()?.ip());
            let (sender, connection) = http1::handshake(TokioIo::new(tcp)).await.map_err(std::io::Error::other)?;
            // It ends when the sender is dropped, or with its error, which the sender gets too.
            tokio::spawn(connection);
            Ok::<_, std::io::Error>(Self { local, server, sender })
        };
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| HttpError::Timeout(CONNECT_TIMEOUT))?;
        connected.map_err(|error| HttpError::Connect(format!("{}: {error}", url.authority())))
    }

    /// Sends a request with a body of `content_type`; `if_match` names an ICE session.
    pub(super) async fn send(
        mut self,
        method: Method,
        url: &Url,
        content_type: Option<&str>,
        if_match: Option<&str>,
        body: String,
    ) -> Result<Response, HttpError> {
        let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let mut request = Request::builder().method(method).uri(target).header(HOST, url.authority());
        for (name, value) in [(CONTENT_TYPE, content_type), (IF_MATCH, if_match)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let request = request.body(body).map_err(|_| HttpError::Url(url.to_string()))?;
        let exchange = async {
            let response = self.sender.send_request(request).await.map_err(|error| HttpError::Connect(error.to_string()))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_MESSAGE_BYTES).collect().await;
            let body = body.map_err(|error| HttpError::Answer(format!("the body can't be read: {error}")))?.to_bytes();
            let body = String::from_utf8(body.into()).map_err(|_| HttpError::Answer("the body is no UTF-8".into()))?;
            Ok(Response { status: head.status, headers: head.headers, body })
        };
        tokio::time::timeout(REQUEST_TIMEOUT, exchange).await.map_err(|_| HttpError::Timeout(REQUEST_TIMEOUT))?
    }
}

/// The members of a problem (RFC 9457) that say what went wrong; servers that know no such thing say it in plain text.
#[derive(Default, Deserialize)]
struct Problem {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    detail: Option<String>,
    #[serde(default)]
    retryable: Option<bool>,
}

impl Response {
    fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The resource that was made, or where to go instead.
    pub(super) fn location(&self, base: &Url) -> Option<Url> {
        base.join(self.header(LOCATION)?).ok()
    }

    pub(super) fn etag(&self) -> Option<String> {
        self.header(ETAG).map(str::to_owned)
    }

    /// Whether the request is to be made again elsewhere (RFC 9725 §4.5).
    pub(super) fn is_redirect(&self) -> bool {
        matches!(self.status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT)
    }

    /// The error that a response without success is.
    pub(super) fn refusal(&self) -> HttpError {
        let problem: Problem = serde_json::from_str(&self.body).unwrap_or_default();
        // RFC 9110 §15.5 and §15.6: what passes by itself.
        let passes = matches!(self.status.as_u16(), 408 | 425 | 429 | 502..=504);
        HttpError::Refused {
            status: self.status.as_u16(),
            code: problem.code.unwrap_or_default(),
            detail: problem.detail.unwrap_or_else(|| self.body.trim().chars().take(MAX_DETAIL).collect()),
            retryable: problem.retryable.unwrap_or(passes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_plain_http_is_said_so() {
        assert_eq!(address("http://[::1]:8080/v1/whip/a?name=b").unwrap().path(), "/v1/whip/a");
        assert!(matches!(address("https://example.com/whip"), Err(HttpError::Tls(_))));
        for other in ["ws://example.com/", "example.com", "", "http:", "data:text/plain,x"] {
            assert!(matches!(address(other), Err(HttpError::Url(_))), "{other}");
        }
    }

    #[test]
    fn refusals_of_all_servers_have_a_kind() {
        let refusal = |status: u16, body: &str| {
            let response = Response { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body: body.into() };
            match response.refusal() {
                HttpError::Refused { code, detail, retryable, .. } => (code, detail, retryable),
                other => panic!("{other}"),
            }
        };
        let ours = r#"{"status":503,"code":"limit_reached","detail":"the room is full","retryable":true}"#;
        assert_eq!(refusal(503, ours), ("limit_reached".into(), "the room is full".into(), true));
        assert_eq!(refusal(503, &ours.replace("true", "false")), ("limit_reached".into(), "the room is full".into(), false));
        assert_eq!(refusal(503, "later\n"), (String::new(), "later".into(), true));
        assert!(!refusal(404, "<html>").2);
        assert_eq!(refusal(400, &"x".repeat(1000)).1.len(), MAX_DETAIL);
    }

    #[test]
    fn locations_are_relative_to_the_request() {
        let located = |location: &str| {
            let headers = HeaderMap::from_iter([(LOCATION, location.parse().unwrap())]);
            let response = Response { status: StatusCode::CREATED, headers, body: String::new() };
            response.location(&address("http://a:1/whip/room?x").unwrap()).unwrap().to_string()
        };
        assert_eq!(located("/v1/sessions/7"), "http://a:1/v1/sessions/7");
        assert_eq!(located("session/7"), "http://a:1/whip/session/7");
        assert_eq!(located("http://b/7"), "http://b/7");
    }
}
