//! Sockets that don't behave, against the real program: silent, slow, deaf, and full of noise.

mod support;

use std::time::{Duration, Instant};

use futures_util::SinkExt;
use support::{SOON, Server};
use switchyard_protocol::{Encoding, Event, LeaveReason, MAX_MESSAGE_BYTES, Reply, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_tungstenite::tungstenite::Message;

/// Reads until the other end closes.
async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut received)).await.expect("closed in time");
    received
}

#[tokio::test]
async fn silent_and_slow_sockets_are_closed() {
    let server = Server::start(&["--silence-timeout-ms", "500"]).await;
    let start = Instant::now();
    let mut silent = TcpStream::connect(server.http).await.unwrap();
    let mut slow = TcpStream::connect(server.http).await.unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
    let mut idle = TcpStream::connect(server.http).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut mute = server.connect(Encoding::Json).await;

    assert_eq!(until_closed(&mut silent).await, b"");
    let slow = until_closed(&mut slow).await;
    assert!(slow.is_empty() || slow.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&slow));
    assert!(until_closed(&mut idle).await.starts_with(b"HTTP/1.1 200"));
    assert_eq!(mute.closed().await, Some(1008));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn joins_are_quick_beside_many_silent_sockets() {
    let server = Server::start(&["--silence-timeout-ms", "3000"]).await;
    let mut silent = Vec::new();
    for _ in 0..800 {
        silent.push(TcpStream::connect(server.http).await.unwrap());
    }
    let start = Instant::now();
    let (mut socket, _) = server.join("demo", "Ada").await;
    assert_eq!(socket.request(Request::Ping { received: None }).await, Ok(Reply::Pong));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    for stream in &mut silent {
        assert_eq!(until_closed(stream).await, b"");
    }
}

#[tokio::test]
async fn a_message_beyond_reading_closes_the_connection_as_a_violation() {
    let server = Server::start(&[]).await;
    let (mut ben, _) = server.join("demo", "Ben").await;
    let (mut ada, _) = server.join("demo", "Ada").await;
    // The server stops reading in the middle, so the rest may not go out.
    let _ = ada.stream.send(Message::text("x".repeat(3 * MAX_MESSAGE_BYTES))).await;
    let reason = ben
        .event(|event| match event {
            Event::ParticipantLeft { reason, .. } => Some(*reason),
            _ => None,
        })
        .await;
    assert_eq!(reason, LeaveReason::Removed);
}

#[tokio::test]
async fn an_unknown_subprotocol_is_refused() {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let server = Server::start(&[]).await;
    let mut request = server.url().into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "graphql-ws".parse().unwrap());
    match tokio_tungstenite::connect_async(request).await {
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => assert_eq!(response.status(), 400),
        other => panic!("not refused: {:?}", other.map(|_| ())),
    }
    // Without any, it is JSON.
    let (stream, response) = tokio_tungstenite::connect_async(server.url()).await.unwrap();
    assert!(!response.headers().contains_key("sec-websocket-protocol"));
    drop(stream);
}

#[tokio::test]
async fn noise_at_the_media_port_is_not_answered_and_does_no_harm() {
    let server = Server::start(&[]).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(("127.0.0.1", server.media)).await.unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for n in 0..5000 {
        let len = (random() % 1500) as usize;
        let mut datagram: Vec<u8> = (0..len).map(|_| random() as u8).collect();
        match (n % 4, datagram.len()) {
            // As STUN, as DTLS, as RTP; and a STUN binding request with a plausible header and noise for attributes.
            (0, 20..) => {
                datagram[..8].copy_from_slice(&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
                let len = (datagram.len() - 20) as u16 & !3;
                datagram[2..4].copy_from_slice(&len.to_be_bytes());
            }
            (1, 13..) => datagram[0] = 22,
            (2, 12..) => datagram[0] = 0x80,
            _ => {}
        }
        let _ = socket.send(&datagram).await;
    }
    assert!(server.get("/healthz").await.starts_with("HTTP/1.1 200"));
    server.join("demo", "Ada").await;
    let mut answer = [0; 2048];
    let heard = tokio::time::timeout(Duration::from_millis(300), socket.recv(&mut answer)).await;
    assert!(heard.is_err(), "an answer of {heard:?}");
}

#[tokio::test]
async fn pages_come_with_headers_that_keep_others_out() {
    let server = Server::start(&[]).await;
    for path in ["/", "/r/demo", "/healthz", "/nothing-here"] {
        let response = server.get(path).await.to_ascii_lowercase();
        for header in ["content-security-policy: default-src 'self'", "x-content-type-options: nosniff", "referrer-policy: no-referrer"] {
            assert!(response.contains(header), "{path} lacks {header}: {response}");
        }
    }
    assert!(server.get("/nothing-here").await.starts_with("HTTP/1.1 404"));
    assert!(server.get("/assets/../../Cargo.toml").await.starts_with("HTTP/1.1 404"));
    assert!(server.get("/r/demo").await.contains("<!doctype html>"));
}

#[tokio::test]
async fn a_taken_port_is_named_with_what_to_do_about_it() {
    let server = Server::start(&[]).await;
    let start = |arguments: Vec<String>| async move {
        let output =
            tokio::process::Command::new(env!("CARGO_BIN_EXE_switchyard")).arg("serve").args(arguments).kill_on_drop(true).output();
        let output = tokio::time::timeout(SOON, output).await.expect("gives up at once").unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let http = server.http.to_string();
    let taken = start(vec!["--dev".into(), "--http".into(), http.clone(), "--media-port".into(), "0".into()]).await;
    assert!(taken.contains(&http) && taken.contains("--http"), "{taken}");
    let media = server.media.to_string();
    let taken = start(vec!["--dev".into(), "--http".into(), "127.0.0.1:0".into(), "--media-port".into(), media.clone()]).await;
    assert!(taken.contains(&media) && taken.contains("--media-port"), "{taken}");
    assert!(start(Vec::new()).await.contains("--dev"));
}
