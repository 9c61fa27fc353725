//! What publishers hear of the codecs that those decode who may receive them, from the real program.

#[path = "support/http.rs"]
mod http;
mod support;

use http::{offer, request};
use support::{OFFER, Server, Socket, accept, server_offer};
use switchyard_protocol::{Event, Reply, Request, Source, VideoCodec};

use VideoCodec::{Av1, H264, Vp8, Vp9};

/// What it decodes.
const CHROMIUM: [VideoCodec; 4] = [Vp8, Vp9, H264, Av1];

/// Enters as Chromium does, and takes the slots that are offered.
async fn enter(server: &Server, name: &str) -> Socket {
    let (mut socket, _) = server.join("demo", name).await;
    socket.request(Request::Offer { sdp: OFFER.into() }).await.expect("answered");
    let (revision, sdp) = socket.event(server_offer).await;
    socket.request(Request::Answer { revision, sdp: accept(&sdp) }).await.expect("taken");
    socket
}

/// What is told next.
async fn told(socket: &mut Socket) -> Vec<Vec<VideoCodec>> {
    socket.event(|event| if let Event::Codecs { sets, .. } = event { Some(sets.clone()) } else { None }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_hears_what_others_decode_as_they_come_and_go() {
    let server = Server::start(&["--advertise", "127.0.0.1"]).await;
    let mut ada = enter(&server, "Ada").await;
    let published = ada.request(Request::Publish { mid: "1".into(), source: Source::Camera, muted: false }).await;
    let Ok(Reply::Published(_)) = published else { panic!("not published: {published:?}") };
    let _ben = enter(&server, "Ben").await;
    assert_eq!(told(&mut ada).await, [CHROMIUM.to_vec()]);

    let player = offer(&[("video", "recvonly")]);
    let playing = request(server.http, "POST", "/v1/whep/demo", &["content-type: application/sdp"], player.as_bytes()).await;
    assert_eq!(playing.status, 201);
    assert_eq!(told(&mut ada).await, [vec![Vp8], CHROMIUM.to_vec()]);
    let session = playing.header("location").expect("a session").to_owned();
    assert_eq!(request(server.http, "DELETE", &session, &[], b"").await.status, 200);
    assert_eq!(told(&mut ada).await, [CHROMIUM.to_vec()]);
}
