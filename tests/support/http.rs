//! Plain HTTP, one connection a request.

#![allow(dead_code, reason = "each test target uses a part")]

use std::fmt::Write;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::SOON;

/// What a request was answered with.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().filter_map(|line| line.split_once(": ")).find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The error's code; checks that it is an error, and that its status is repeated in its body.
    pub fn code(&self) -> &str {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert!(self.body.contains(&format!("\"status\":{}", self.status)), "{self:?}");
        let (_, rest) = self.body.split_once("\"code\":\"").unwrap_or_else(|| panic!("no code in {self:?}"));
        rest.split_once('"').expect("a string").0
    }
}

/// `headers` are whole lines.
pub async fn request(at: SocketAddr, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Response {
    let mut stream = TcpStream::connect(at).await.expect("reachable");
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    headers.iter().for_each(|header| request.push_str(&format!("{header}\r\n")));
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    // A server that refuses by the header alone need not read the body.
    let _ = stream.write_all(body).await;
    let mut response = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut response)).await.expect("answered in time");
    assert!(read.is_ok() || !response.is_empty(), "no answer: {read:?}");
    let response = String::from_utf8_lossy(&response).into_owned();
    let (head, body) = response.split_once("\r\n\r\n").expect("a whole head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Response { status, head: head.to_owned(), body: body.to_owned() }
}

/// An offer of these m-lines (kind, direction) that nobody will ever connect by.
pub fn offer(lines: &[(&str, &str)]) -> String {
    let mids: Vec<String> = (0..lines.len()).map(|mid| mid.to_string()).collect();
    let mut sdp = format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=setup:actpass\r\na=ice-ufrag:abcd\r\n\
         a=ice-pwd:0123456789abcdefghijkl\r\na=fingerprint:sha-256 {}\r\n",
        mids.join(" "),
        ["AB"; 32].join(":")
    );
    for (mid, (kind, direction)) in lines.iter().enumerate() {
        let (number, codec) = if *kind == "audio" { (111, "opus/48000/2") } else { (96, "VP8/90000") };
        let _ = write!(
            sdp,
            "m={kind} 9 UDP/TLS/RTP/SAVPF {number}\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na={direction}\r\na=rtcp-mux\r\na=rtpmap:{number} {codec}\r\n"
        );
    }
    sdp
}
