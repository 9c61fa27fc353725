//! The opening handshake (RFC 6455 §4.2): from an HTTP request to a [`WebSocket`].

use aws_lc_rs::digest;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper_util::rt::TokioIo;

use super::{Broken, WebSocket};
use crate::stream::Stream;

/// What a key is followed by before it is hashed, for no other protocol would do so (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request to open a WebSocket.
pub struct Upgrade {
    request: Request,
    accept: HeaderValue,
}

/// The request opens no WebSocket of version 13.
#[derive(Clone, Copy, Debug)]
pub struct Refused;

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let version = [(header::SEC_WEBSOCKET_VERSION, "13"), (header::UPGRADE, "websocket")];
        (StatusCode::UPGRADE_REQUIRED, version, "this address speaks WebSocket\n").into_response()
    }
}

impl Upgrade {
    /// Reads a request.
    pub fn read(request: Request) -> Result<Self, Refused> {
        let headers = request.headers();
        let is_one = request.method() == Method::GET
            && lists(headers, header::CONNECTION, "upgrade")
            && lists(headers, header::UPGRADE, "websocket")
            && headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
        let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| is_one).ok_or(Refused)?;
        let accept = accept(key.as_bytes());
        Ok(Self { request, accept })
    }

    /// The subprotocols the client speaks, in its order.
    pub fn protocols(&self) -> impl Iterator<Item = &str> {
        listed(self.request.headers(), header::SEC_WEBSOCKET_PROTOCOL)
    }

    /// The answer; and what becomes of it, once that is sent. `protocol`: the subprotocol that is spoken, one of the client's.
    pub fn accept(self, protocol: Option<&'static str>, max_message: usize) -> (Response, impl Future<Output = Result<WebSocket, Broken>>) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        if let Some(protocol) = protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        let upgraded = hyper::upgrade::on(self.request);
        let socket = async move {
            let upgraded = upgraded.await.map_err(|_| Broken::Lost)?;
            let parts = upgraded.downcast::<TokioIo<Stream>>().map_err(|_| Broken::Lost)?;
            Ok(WebSocket::new(parts.io.into_inner(), &parts.read_buf, max_message)?)
        };
        (response, socket)
    }
}

/// The words of a header field that is a list, in whatever fields they come (RFC 9110 §5.6.1).
fn listed(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    let fields = headers.get_all(name).into_iter().filter_map(|field| field.to_str().ok());
    fields.flat_map(|field| field.split(',').map(str::trim)).filter(|word| !word.is_empty())
}

fn lists(headers: &HeaderMap, name: header::HeaderName, word: &str) -> bool {
    listed(headers, name).any(|listed| listed.eq_ignore_ascii_case(word))
}

/// What shows that the server understands a client's key.
fn accept(key: &[u8]) -> HeaderValue {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(GUID);
    let text = STANDARD.encode(context.finish());
    HeaderValue::from_str(&text).expect("base64 is ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(change: impl FnOnce(&mut HeaderMap)) -> Request {
        let mut request = Request::new(Body::empty());
        let headers = request.headers_mut();
        for (name, value) in [
            (header::CONNECTION, "keep-alive, Upgrade"),
            (header::UPGRADE, "WebSocket"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        change(headers);
        request
    }

    #[test]
    fn the_example_of_the_rfc_is_answered_as_it_says() {
        // RFC 6455 §1.3.
        let upgrade = Upgrade::read(request(|_| {})).expect("a WebSocket");
        assert_eq!(upgrade.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn what_does_not_ask_for_a_websocket_gets_none() {
        for name in [header::CONNECTION, header::UPGRADE, header::SEC_WEBSOCKET_VERSION, header::SEC_WEBSOCKET_KEY] {
            assert!(Upgrade::read(request(|headers| drop(headers.remove(&name)))).is_err(), "without {name}");
        }
        let old = request(|headers| drop(headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("8"))));
        assert_eq!(Upgrade::read(old).map(drop).expect_err("an old version").into_response().status(), StatusCode::UPGRADE_REQUIRED);
        let mut posted = request(|_| {});
        *posted.method_mut() = Method::POST;
        assert!(Upgrade::read(posted).is_err());
    }

    #[test]
    fn subprotocols_may_come_in_several_fields() {
        let upgrade = Upgrade::read(request(|headers| {
            headers.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("one, two"));
            headers.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("three"));
        }));
        assert_eq!(upgrade.expect("a WebSocket").protocols().collect::<Vec<_>>(), ["one", "two", "three"]);
    }
}
