//! Moving people to another room, and what is told to those who were away while they were moved, removed, or the room was closed.

#[path = "support/api.rs"]
mod api;
#[path = "support/http.rs"]
mod http;
#[path = "support/peer.rs"]
mod peer;
#[path = "support/schema.rs"]
mod schema;
mod support;
#[path = "support/tokens.rs"]
mod tokens;

use std::time::Instant;

use api::{Api, closing, publish, token};
use peer::Peer;
use serde_json::{Value, json};
use support::{Server, Socket, left};
use switchyard_client::Kind;
use switchyard_protocol::{
    CloseReason, Destination, Encoding, ErrorCode, Event, Joined, LeaveReason, ProtocolError, Reply, Request, ServerMessage, Source, Token,
};

/// Where somebody is told to go.
async fn sent_on(socket: &mut Socket) -> Destination {
    let to = |event: &Event| if let Event::Closing { reason: CloseReason::Moved, to, .. } = event { to.clone() } else { None };
    socket.event(to).await
}

async fn come(server: &Server, room: &str, name: &str, token: &str) -> Result<(Socket, Joined), ProtocolError> {
    let mut socket = server.connect(Encoding::Json).await;
    let join = Request::Join { room: room.into(), name: name.into(), token: Some(Token::from(token)), password: None };
    match socket.request(join).await? {
        Reply::Joined(joined) => Ok((socket, joined)),
        other => panic!("not joined: {other:?}"),
    }
}

fn path(room: &str, joined: &Joined) -> String {
    format!("/v1/rooms/{room}/participants/{}", joined.participant.0)
}

#[tokio::test]
async fn who_is_moved_leaves_at_once_and_comes_in_past_what_keeps_others_out() {
    let api = Api::start().await;
    let shut = json!({ "locked": true, "lobby": true, "password": "xyzzy" });
    api.ask("PUT", "/v1/rooms/side", shut).await;
    let (mut ada, _) = api.enter("demo", "ada", "host").await;
    let (mut ben, as_ben) = api.enter("demo", "ben", "speaker").await;
    publish(&mut ben, Source::Camera).await;
    // What they may do and are called now, not what their token said.
    api.ask("PATCH", &path("demo", &as_ben), json!({ "name": "Benjamin", "grants": { "data": false } })).await;
    let mut listener = api.listen("/v1/rooms/demo/events", None).await;
    api.ask("POST", &format!("{}/move", path("demo", &as_ben)), json!({ "room": "side" })).await;
    assert_eq!(api.get("/v1/rooms/demo").await["participants"], 1, "gone when it is answered");
    let Destination { room, token: passage } = sent_on(&mut ben).await;
    assert_eq!((room.as_str(), ben.closed().await), ("side", Some(1008)));
    assert_eq!(ada.event(left).await, (as_ben.participant, LeaveReason::Moved));
    let told = loop {
        let (name, data) = listener.next().await;
        if name == "participant_left" {
            break data;
        }
    };
    assert_eq!(told["reason"], "moved");

    let refused = async |room, token: &str| come(&api.server, room, "x", token).await.err().map(|error| error.code);
    assert_eq!(refused("demo", &passage.0).await, Some(ErrorCode::Unauthorized), "it is for one room");
    let (_there, joined) = come(&api.server, "side", "x", &passage.0).await.expect("let in");
    assert_eq!((joined.identity.as_deref(), joined.name.as_str()), (Some("ben"), "Benjamin"));
    assert_eq!((joined.grants.data, joined.grants.moderate, &joined.grants.publish), (false, false, &as_ben.grants.publish));
    // Once: after that it is as good as an access token.
    assert_eq!(refused("side", &passage.0).await, Some(ErrorCode::RoomLocked));
    assert_eq!(refused("side", &format!("{}A", passage.0)).await, Some(ErrorCode::Unauthorized));
    assert_eq!(refused("side", &token("side", "carol", "speaker")).await, Some(ErrorCode::RoomLocked));
    // Nor does it open the API, or anything by HTTP.
    for path in ["/v1/rooms/side", "/v1/rooms"] {
        assert_eq!(api.send(Some(&passage.0), "GET", path, None).await.status, 401);
    }
    let headers = ["content-type: application/sdp", &format!("authorization: Bearer {}", passage.0)];
    let offer = http::offer(&[("audio", "sendonly")]);
    assert_eq!(http::request(api.server.http, "POST", "/v1/whip/side", &headers, offer.as_bytes()).await.status, 401);
    // What changes there, they come back with.
    api.ask("PATCH", "/v1/rooms/side", json!({ "locked": false, "lobby": false, "password": "" })).await;
    api.ask("PATCH", &path("side", &joined), json!({ "name": "Ben", "grants": { "subscribe": false } })).await;
    let (_again, again) = come(&api.server, "side", "x", &passage.0).await.expect("let in");
    assert_eq!((again.name.as_str(), again.grants.subscribe), ("Ben", false));
    // Until they are sent away.
    api.ask("DELETE", &path("side", &again), Value::Null).await;
    assert_eq!(refused("side", &passage.0).await, Some(ErrorCode::Unauthorized));
}

#[tokio::test]
async fn who_is_on_the_way_has_a_place() {
    let api = Api::start().await;
    api.ask("PUT", "/v1/rooms/side", json!({ "max_participants": 1 })).await;
    let (_ada, _) = api.enter("demo", "ada", "host").await;
    let (mut ben, as_ben) = api.enter("demo", "ben", "speaker").await;
    let (_cleo, as_cleo) = api.enter("demo", "cleo", "speaker").await;
    api.ask("POST", &format!("{}/move", path("demo", &as_ben)), json!({ "room": "side" })).await;
    let to_side = json!({ "room": "side" }).to_string();
    let full = (503, "limit_reached".into());
    assert_eq!(api.refused("POST", &format!("{}/move", path("demo", &as_cleo)), &to_side).await, full);
    let eve = come(&api.server, "side", "Eve", &token("side", "eve", "speaker")).await;
    assert_eq!(eve.err().map(|error| error.code), Some(ErrorCode::LimitReached));
    let to = sent_on(&mut ben).await;
    come(&api.server, "side", "Ben", &to.token.0).await.expect("let in");
    assert_eq!(api.get("/v1/rooms/demo").await["participants"], 2, "nobody else has left");
}

#[tokio::test]
async fn who_would_not_be_taken_stays_where_they_are() {
    let api = Api::start().await;
    let (_ada, _) = api.enter("demo", "ada", "host").await;
    let (mut ben, as_ben) = api.enter("demo", "ben", "speaker").await;
    let move_ben = format!("{}/move", path("demo", &as_ben));
    let to = |room: &str| json!({ "room": room }).to_string();
    api.ask("PUT", "/v1/rooms/full", json!({ "max_participants": 1 })).await;
    let (_carol, _) = api.enter("full", "carol", "speaker").await;
    assert_eq!(api.refused("POST", &move_ben, &to("full")).await, (503, "limit_reached".into()));
    api.ask("PUT", "/v1/rooms/side", Value::Null).await;
    api.ask("PUT", "/v1/rooms/side/bans/ben", Value::Null).await;
    assert_eq!(api.refused("POST", &move_ben, &to("side")).await, (403, "forbidden".into()));
    assert_eq!(api.refused("POST", &move_ben, &to("demo")).await, (400, "malformed".into()));
    assert_eq!(api.refused("POST", &move_ben, &to("no room")).await, (400, "invalid_room".into()));
    assert_eq!(api.refused("POST", &move_ben, "{}").await, (400, "malformed".into()));
    assert_eq!(api.refused("POST", "/v1/rooms/demo/participants/99/move", &to("other")).await, (404, "no_such_participant".into()));
    // A token for one room moves nobody out of it.
    let narrow = token("demo", "back end", "server");
    assert_eq!(api.send(Some(&narrow), "POST", &move_ben, Some(&to("other"))).await.status, 403);
    let encoder = Peer::publish_as(api.server.http, "/v1/whip/demo", &[Kind::Audio], &token("demo", "encoder", "publisher")).await;
    let move_encoder = format!("/v1/rooms/demo/participants/{}/move", encoder.participant());
    assert_eq!(api.refused("POST", &move_encoder, &to("other")).await, (409, "wrong_state".into()));
    assert_eq!(api.get("/v1/rooms/demo").await["participants"], 3);
    assert_eq!(ben.request(Request::Ping { received: None }).await, Ok(Reply::Pong));
}

#[tokio::test]
async fn without_access_control_people_are_moved_as_well() {
    let server = Server::start(&["--advertise", "127.0.0.1"]).await;
    let ask = async |method: &str, path: &str, body: &str| {
        http::request(server.http, method, path, &["content-type: application/json"], body.as_bytes()).await
    };
    assert_eq!(ask("PUT", "/v1/rooms/side", r#"{ "locked": true }"#).await.status, 201);
    let (mut ben, as_ben) = server.join("demo", "Ben").await;
    // Alone, so that the room closes behind him.
    assert_eq!(ask("POST", &format!("{}/move", path("demo", &as_ben)), r#"{ "room": "side" }"#).await.status, 204);
    let to = sent_on(&mut ben).await;
    let (_there, joined) = come(&server, &to.room, "Ben", &to.token.0).await.expect("let in");
    assert_eq!((joined.identity, joined.name.as_str()), (None, "Ben"));
    // What another run of the server has given out, or a room that is no more, says that it is good no longer.
    let refused = come(&server, "demo", "Ben", "passage.3f0e1d2c4b5a69788796a5b4c3d2e1f0").await;
    assert_eq!(refused.err().map(|error| error.code), Some(ErrorCode::Unauthorized));
}

#[tokio::test]
async fn who_was_away_hears_what_became_of_them() {
    let api = Api::start().await;
    let back = async |joined: &Joined, expected: CloseReason| {
        // As often as it takes: the answer may be lost as well.
        for _ in 0..2 {
            let mut socket = api.server.connect(Encoding::Json).await;
            socket.ask(Request::Resume { token: joined.session.token.clone(), received: 0 }).await;
            if expected == CloseReason::Moved {
                assert_eq!(sent_on(&mut socket).await.room, "side");
            } else {
                assert_eq!(closing(&mut socket).await, expected);
            }
            assert_eq!(socket.closed().await, Some(1008));
        }
    };
    let mut away = Vec::new();
    for identity in ["removed", "banned", "moved", "closed"] {
        let (socket, joined) = api.enter("demo", identity, "speaker").await;
        socket.close(None).await;
        away.push(joined);
    }
    let [removed, banned, moved, closed] = &away[..] else { panic!("four") };
    api.ask("DELETE", &path("demo", removed), Value::Null).await;
    api.ask("DELETE", &format!("{}?ban=true", path("demo", banned)), Value::Null).await;
    api.ask("POST", &format!("{}/move", path("demo", moved)), json!({ "room": "side" })).await;
    api.ask("DELETE", "/v1/rooms/demo", Value::Null).await;
    back(removed, CloseReason::Removed).await;
    back(banned, CloseReason::Removed).await;
    back(moved, CloseReason::Moved).await;
    back(closed, CloseReason::RoomClosed).await;
}

#[tokio::test]
async fn how_a_session_ended_is_forgotten_when_it_could_not_be_resumed_any_more() {
    let server = Server::start(&["--advertise", "127.0.0.1", "--resume-within-ms", "1000"]).await;
    let (socket, ben) = server.join("demo", "Ben").await;
    socket.close(None).await;
    let response = http::request(server.http, "DELETE", &path("demo", &ben), &[], b"").await;
    assert_eq!(response.status, 204);
    let deadline = Instant::now() + support::SOON;
    let mut told = false;
    loop {
        let mut again = server.connect(Encoding::Json).await;
        again.ask(Request::Resume { token: ben.session.token.clone(), received: 0 }).await;
        match again.message().await {
            Some(ServerMessage::Error { error, .. }) => {
                assert_eq!(error.code, ErrorCode::NoSuchSession);
                assert!(told, "it was remembered at first");
                return;
            }
            Some(ServerMessage::Event { event: Event::Closing { reason: CloseReason::Removed, .. } }) => told = true,
            other => panic!("{other:?}"),
        }
        assert!(Instant::now() < deadline, "still remembered");
    }
}
