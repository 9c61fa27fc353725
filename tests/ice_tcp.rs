//! The port of HTTP brings media as well (ICE-TCP): what else comes there is refused, in time, and nobody is disturbed by it. Browsers use it in tests/network/blocked.test.mjs.

#[path = "support/http.rs"]
mod http;
mod support;

use std::time::{Duration, Instant};

use rtc_stun::attributes::ATTR_USERNAME;
use rtc_stun::message::{BINDING_REQUEST, Message, Setter};
use rtc_stun::textattrs::TextAttribute;
use support::{SOON, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A binding request for `username`, not authenticated, in a frame (RFC 4571).
fn request(username: &str) -> Vec<u8> {
    let mut message = Message::new();
    let username = TextAttribute::new(ATTR_USERNAME, username.to_owned());
    let setters: [Box<dyn Setter>; 2] = [Box::new(BINDING_REQUEST), Box::new(username)];
    message.build(&setters).expect("a request");
    [&(message.raw.len() as u16).to_be_bytes()[..], &message.raw].concat()
}

/// How long the server leaves a connection open on which these bytes came; what it said is nothing.
async fn closed_after(server: &Server, bytes: &[u8]) -> Duration {
    let mut stream = TcpStream::connect(server.http).await.expect("connected");
    let begun = Instant::now();
    stream.write_all(bytes).await.expect("written");
    let mut said = Vec::new();
    // Closed, or reset because not everything was read.
    let _ = tokio::time::timeout(2 * SOON, stream.read_to_end(&mut said)).await.expect("closed in time");
    assert!(said.is_empty(), "the server said {said:?} to {bytes:?}");
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_media_is_closed_and_http_goes_on() {
    let server = Server::start(&["--silence-timeout-ms", "1000", "--workers", "2", "--admin", "127.0.0.1:0"]).await;
    let at_once = Duration::from_millis(900);
    for bytes in [
        // Frames that are no binding request, of nobody's here, or longer than one can be.
        &b"\x00\x04abcd"[..],
        &b"\x00\x00"[..],
        &request("zzabcdefgh:peer"),
        &[&[1, 255][..], &[0; 511]].concat(),
    ] {
        let took = closed_after(&server, bytes).await;
        assert!(took < at_once, "{bytes:?}: {took:?}");
    }
    // What begins and doesn't go on: as slow HTTP.
    for bytes in [&b"\x00"[..], b"\x00\x50abc"] {
        let took = closed_after(&server, bytes).await;
        assert!(took > at_once && took < Duration::from_secs(5), "{bytes:?}: {took:?}");
    }
    assert_eq!(http::request(server.http, "GET", "/healthz", &[], b"").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_nobody_shows_to_be_theirs_is_closed_after_three_seconds() {
    let server = Server::start(&["--workers", "2", "--admin", "127.0.0.1:0"]).await;
    let admin = server.admin.expect("operators' HTTP");
    let metric = |name: &'static str| async move {
        let text = http::request(admin, "GET", "/metrics", &[], b"").await.body;
        let of_name = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit_once(' '));
        of_name.map(|(_, value)| value.parse::<f64>().expect("a number")).sum::<f64>()
    };
    // Both workers' ufrags as they could be, but no password.
    let (first, second) = (request("00abcdefgh:peer"), request("01abcdefgh:peer"));
    let (first, second) = tokio::join!(closed_after(&server, &first), closed_after(&server, &second));
    for took in [first, second] {
        assert!(took > Duration::from_secs(2) && took < Duration::from_secs(8), "{took:?}");
    }
    assert_eq!(metric("switchyard_worker_streams_opened_total").await, 2.0);
    assert_eq!(metric("switchyard_worker_streams_closed_total").await, 2.0);
    assert_eq!(metric("switchyard_media_drops_total{worker=\"0\",reason=\"stun_unknown_user\"}").await, 1.0);
}
