//! The decoder on bytes however they come, and whole connections with another implementation at the other end.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use proptest::prelude::*;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;

const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
const LIMIT: usize = 100_000;

/// A client's frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ ..126 => bytes.push(0x80 | len as u8),
        len @ 126..65_536 => bytes.extend([0xfe, (len >> 8) as u8, len as u8]),
        len => {
            bytes.push(0xff);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

fn decode(bytes: &[u8]) -> Result<Vec<Incoming>, Violation> {
    let mut incoming = VecDeque::new();
    Decoder::new(LIMIT).decode(bytes, &mut incoming).map(|()| incoming.into())
}

#[test]
fn messages_of_all_lengths_and_control_frames_between_fragments_are_read() {
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, LIMIT] {
        let payload = vec![b'x'; len];
        assert_eq!(decode(&frame(0x81, &payload)), Ok(vec![Incoming::Text(payload.clone())]), "{len}");
        assert_eq!(decode(&frame(0x82, &payload)), Ok(vec![Incoming::Binary(payload)]), "{len}");
    }
    let fragments =
        [frame(0x01, "gr".as_bytes()), frame(0x89, b"?"), frame(0x00, &[0xc3]), frame(0x8a, b""), frame(0x80, &[0xbc, b'n'])].concat();
    let expected = vec![Incoming::Ping(b"?".to_vec()), Incoming::Pong, Incoming::Text("grün".into())];
    assert_eq!(decode(&fragments), Ok(expected));
}

#[test]
fn what_rfc_6455_forbids_is_a_violation() {
    let unmasked = [0x81, 1, b'x'];
    let mut negative = vec![0x82, 0xff, 0x80];
    negative.extend([0; 11]);
    for (what, bytes, violation) in [
        ("no mask", unmasked.to_vec(), Violation::Malformed),
        ("a reserved bit", frame(0xc1, b"x"), Violation::Malformed),
        ("a reserved opcode", frame(0x83, b"x"), Violation::Malformed),
        ("a reserved control opcode", frame(0x8b, b""), Violation::Malformed),
        ("a ping in fragments", frame(0x09, b""), Violation::Malformed),
        ("a long ping", frame(0x89, &[0; 126]), Violation::Malformed),
        ("the end of nothing", frame(0x80, b"x"), Violation::Malformed),
        ("a message in a message", [frame(0x01, b"x"), frame(0x81, b"y")].concat(), Violation::Malformed),
        ("half a code", frame(0x88, &[3]), Violation::Malformed),
        ("a reason that is no text", frame(0x88, &[3, 0xe8, 0xff]), Violation::Malformed),
        ("text that is none", frame(0x81, &[0xc3]), Violation::Utf8),
        ("too long", frame(0x82, &vec![0; LIMIT + 1]), Violation::TooLong),
        ("too long together", [frame(0x02, &vec![0; LIMIT]), frame(0x80, b"x")].concat(), Violation::TooLong),
        ("longer than anything", negative, Violation::TooLong),
    ] {
        assert_eq!(decode(&bytes), Err(violation), "{what}");
    }
}

#[test]
fn nothing_counts_after_a_close_and_only_codes_that_may_be_sent_are_sent_back() {
    for (code, read) in [(1000, Some(1000)), (1001, Some(1001)), (4000, Some(4000)), (1005, None), (1006, None), (999, None), (2000, None)]
    {
        let bytes = [frame(0x88, &u16::to_be_bytes(code)), frame(0x81, b"more")].concat();
        assert_eq!(decode(&bytes), Ok(vec![Incoming::Close(read)]), "{code}");
    }
    assert_eq!(decode(&frame(0x88, b"")), Ok(vec![Incoming::Close(None)]));
}

#[test]
fn announcing_a_message_costs_the_server_little() {
    let mut decoder = Decoder::new(1 << 30);
    let mut incoming = VecDeque::new();
    let mut header = vec![0x82, 0xff];
    header.extend((1u64 << 29).to_be_bytes());
    header.extend(MASK);
    decoder.decode(&header, &mut incoming).unwrap();
    assert!(decoder.reserved() <= 1 << 14, "{}", decoder.reserved());
}

proptest! {
    #[test]
    fn it_does_not_matter_in_which_pieces_bytes_come(
        messages in prop::collection::vec((any::<bool>(), prop::collection::vec(32u8..127, 0..400)), 1..6),
        pieces in prop::collection::vec(1usize..50, 1..200),
    ) {
        let bytes: Vec<u8> = messages.iter().flat_map(|(text, payload)| frame(if *text { 0x81 } else { 0x82 }, payload)).collect();
        let (mut decoder, mut incoming, mut rest) = (Decoder::new(LIMIT), VecDeque::new(), &bytes[..]);
        for piece in pieces.iter().cycle() {
            let (now, later) = rest.split_at((*piece).min(rest.len()));
            decoder.decode(now, &mut incoming).unwrap();
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let expected: Vec<_> =
            messages.into_iter().map(|(text, payload)| if text { Incoming::Text(payload) } else { Incoming::Binary(payload) }).collect();
        prop_assert_eq!(Vec::from(incoming), expected);
        prop_assert_eq!(decoder.reserved(), 0);
    }

    #[test]
    fn noise_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut decoder = Decoder::new(64);
        let _ = decoder.decode(&bytes, &mut VecDeque::new());
        prop_assert!(decoder.reserved() <= 64 + 125 + 16, "{}", decoder.reserved());
    }
}

/// Both ends of a connection.
async fn pair() -> (WebSocket, WebSocketStream<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let client = WebSocketStream::from_raw_socket(client.unwrap(), Role::Client, None).await;
    (WebSocket::new(Stream::Plain(server.unwrap().0), &[], LIMIT).unwrap(), client)
}

/// Runs a story that may hang if it goes wrong.
async fn soon(story: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(20), story).await.expect("in time");
}

#[tokio::test]
async fn another_implementation_understands_and_is_understood() {
    let (mut server, mut client) = pair().await;
    soon(async {
        let long = "x".repeat(LIMIT);
        for text in ["", "hi", &long] {
            let (sent, read) = tokio::join!(client.send(Message::text(text)), server.next());
            assert!(sent.is_ok() && matches!(read, Ok(Incoming::Text(read)) if read == text.as_bytes()));
            server.send_text(Bytes::from(text.to_owned())).unwrap();
            let (written, read) = tokio::join!(server.drain(), client.next());
            assert!(written.is_ok());
            assert_eq!(read.unwrap().unwrap(), Message::text(text));
        }
        client.send(Message::Ping("there?".into())).await.unwrap();
        assert!(matches!(server.next().await, Ok(Incoming::Ping(_))));
        server.flush();
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong("there?".into()));
        server.close(Some(code::AWAY), "bye");
        server.send_text("too late".into()).unwrap();
        server.flush();
        let Message::Close(Some(close)) = client.next().await.unwrap().unwrap() else { panic!("no close") };
        assert_eq!((u16::from(close.code), close.reason.as_str()), (1001, "bye"));
        client.flush().await.unwrap();
        assert!(matches!(server.next().await, Ok(Incoming::Close(Some(1001)))));
        assert!(matches!(server.next().await, Err(Broken::Lost)));
    })
    .await;
}

#[tokio::test]
async fn what_the_client_closes_is_answered_before_it_is_over() {
    let (mut server, mut client) = pair().await;
    soon(async {
        client.close(None).await.unwrap();
        assert!(matches!(server.next().await, Ok(Incoming::Close(None))));
        assert!(matches!(server.next().await, Err(Broken::Lost)));
        drop(server);
        assert!(matches!(client.next().await, Some(Ok(Message::Close(None)))));
        assert!(client.next().await.is_none());
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_read_still_is_read_and_gets_it_all_later() {
    let (mut server, mut client) = pair().await;
    soon(async {
        let payload = Bytes::from(vec![7; 1 << 20]);
        let queued = std::iter::from_fn(|| server.send_binary(payload.clone()).ok()).count();
        server.flush();
        let written = server.waiting_after().expect("more than a socket takes");
        client.send(Message::text("hi")).await.unwrap();
        assert!(matches!(server.next().await, Ok(Incoming::Text(_))));
        let reading = async {
            for _ in 0..queued {
                assert_eq!(client.next().await.unwrap().unwrap().into_data(), payload);
            }
        };
        tokio::select! {
            () = reading => {}
            incoming = server.next() => panic!("{incoming:?}"),
        }
        assert!(written > 0 && server.waiting_after().is_none());
    })
    .await;
}
