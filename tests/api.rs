//! The server's API over HTTP, as an application's back end uses it. Every answer is held against the API's own description.

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

use std::time::{Duration, Instant};

use api::{Api, KEY, Listener, closing, publish, token};
use http::request;
use peer::Peer;
use serde_json::{Value, json};
use support::{OFFER, SOON, Server, left, server_offer};
use switchyard_client::{Client, ClientEvent, DataPayload, Kind, Options};
use switchyard_protocol::{
    CloseReason, Encoding, ErrorCode, Event, IceServer, ParticipantId, Reply, Request, RoomSettingsChange, ServerMessage, Source, Token,
};
use tokens::{Signer, now};
use tokio::io::AsyncReadExt;

fn locked(locked: bool) -> RoomSettingsChange {
    RoomSettingsChange { locked: Some(locked), ..RoomSettingsChange::default() }
}

#[tokio::test]
async fn no_operation_is_open_to_who_may_not_manage_the_room() {
    let api = Api::start().await;
    let (_ada, _) = api.enter("demo", "ada", "host").await;
    let operations = api.description.operations();
    assert_eq!(operations.len(), 21, "{operations:?}");
    let signed = |claims: Value| KEY.1.token(KEY.0, &claims);
    let good = json!({ "sub": "x", "room": "demo", "role": "server", "exp": now() + 600 });
    let with = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        signed(claims)
    };
    let forged = Signer::Hmac(9).token(KEY.0, &good);
    for (method, template) in operations {
        let path = template
            .replace("{room}", "demo")
            .replace("{participant}", "1")
            .replace("{track}", "1")
            .replace("{identity}", "eve")
            .replace("{guest}", "1");
        let in_a_room = template.contains("{room}");
        for (what, token, status) in [
            ("nothing", None, 401),
            ("no token", Some("x".to_owned()), 401),
            ("expired", Some(with("exp", json!(now() - 60))), 401),
            ("forged", Some(forged.clone()), 401),
            ("a host", Some(with("role", json!("host"))), 403),
            ("whoever may do all but manage", Some(with("grants", json!({ "join": true, "moderate": true, "data": true }))), 403),
            ("another room", Some(with("room", json!("other"))), if in_a_room { 403 } else { 200 }),
        ] {
            if status == 200 && template.ends_with("events") {
                continue;
            }
            let response = api.send(token.as_deref(), &method, &path, None).await;
            assert_eq!(response.status, status, "{method} {path} with {what}: {response:?}");
            if status == 401 {
                assert!(response.header("www-authenticate").is_some_and(|said| said.starts_with("Bearer ")));
            }
            assert!(response.header("access-control-allow-origin").is_none(), "no page of another origin reads this");
        }
    }
    let only = api.send(Some(&with("room", json!("other"))), "GET", "/v1/rooms", None).await;
    assert_eq!(only.body, r#"{"rooms":[]}"#, "others are not even listed");
    assert_eq!(api.get("/v1/rooms/demo").await["participants"], 1, "nothing was done");
    let mut socket = api.server.connect(Encoding::Json).await;
    let join = Request::Join { room: "demo".into(), name: "Mallory".into(), token: Some(Token(api.token.clone())), password: None };
    assert_eq!(socket.request(join).await.unwrap_err().code, ErrorCode::Forbidden, "managing is not joining");
}

#[tokio::test]
async fn without_access_control_only_programs_of_the_same_machine_are_let_in() {
    let server = Server::start(&[]).await;
    let status = async |headers: &[&str]| request(server.http, "GET", "/v1/rooms", headers, b"").await.status;
    assert_eq!(status(&[]).await, 200);
    let own = format!("origin: http://{}", server.http);
    for header in
        [&own, "origin: https://evil.example", "sec-fetch-site: cross-site", "sec-fetch-site: same-origin", "x-forwarded-for: 203.0.113.9"]
    {
        assert_eq!(status(&[header]).await, 403, "{header}");
    }
    let preflight = request(server.http, "OPTIONS", "/v1/rooms", &[&own], b"").await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (405, None), "no preflight succeeds");
}

#[tokio::test]
async fn rooms_are_made_ahead_changed_listed_and_closed() {
    let api = Api::start().await;
    assert_eq!(api.get("/v1/rooms").await, json!({ "rooms": [] }));
    assert_eq!(api.refused("GET", "/v1/rooms/demo", "").await, (404, "no_such_room".into()));
    let made = api.send(Some(&api.token), "PUT", "/v1/rooms/demo", Some(r#"{"locked":true}"#)).await;
    assert_eq!(made.status, 201);
    let room: Value = serde_json::from_str(&made.body).unwrap();
    assert_eq!((&room["locked"], &room["participants"], &room["empty_timeout"]), (&json!(true), &json!(0), &json!(300)));
    let again = api.send(Some(&api.token), "PUT", "/v1/rooms/demo", None).await;
    assert_eq!((again.status, again.body.contains("\"locked\":true")), (200, true), "it stays as it is");

    let mut eve = api.server.connect(Encoding::Json).await;
    let join =
        || Request::Join { room: "demo".into(), name: "Eve".into(), token: Some(Token(token("demo", "eve", "speaker"))), password: None };
    assert_eq!(eve.request(join()).await.unwrap_err().code, ErrorCode::RoomLocked);
    assert_eq!(api.ask("PATCH", "/v1/rooms/demo", json!({ "locked": false })).await["locked"], false);
    assert!(matches!(eve.request(join()).await, Ok(Reply::Joined(_))));
    api.ask("PATCH", "/v1/rooms/demo", json!({ "locked": true })).await;
    assert!(eve.event(|event| if let Event::Settings { settings } = event { Some(settings.locked) } else { None }).await);

    // The rest of how it is set; the password is told to nobody.
    let set = api.ask("PATCH", "/v1/rooms/demo", json!({ "password": "tea at four", "lobby": true, "max_participants": 7 })).await;
    assert_eq!(
        (&set["locked"], &set["lobby"], &set["password"], &set["max_participants"]),
        (&json!(true), &json!(true), &json!(true), &json!(7))
    );
    for wrong in [json!({ "max_participants": 0 }), json!({ "max_participants": 1001 }), json!({ "password": "x".repeat(129) })] {
        let body = wrong.to_string();
        assert_eq!(api.refused("PATCH", "/v1/rooms/demo", &body).await, (400, "invalid_settings".into()), "{body}");
    }
    let mut ben = api.server.connect(Encoding::Json).await;
    let knock = |password: Option<&str>| Request::Join {
        room: "demo".into(),
        name: "Ben".into(),
        token: Some(Token(token("demo", "ben", "speaker"))),
        password: password.map(Token::from),
    };
    api.ask("PATCH", "/v1/rooms/demo", json!({ "locked": false })).await;
    assert_eq!(ben.request(knock(None)).await.unwrap_err().code, ErrorCode::PasswordRequired);
    ben.ask(knock(Some("tea at four"))).await;
    ben.event(|event| matches!(event, Event::Waiting).then_some(())).await;
    assert_eq!(api.get("/v1/rooms/demo").await["waiting"], 1);
    let set = api.ask("PATCH", "/v1/rooms/demo", json!({ "password": "", "lobby": false, "max_participants": 1000 })).await;
    assert_eq!((&set["lobby"], &set["password"]), (&json!(false), &json!(false)));
    let admitted = matches!(ben.answer().await, ServerMessage::Reply { result: Reply::Joined(_), .. });
    assert!(admitted, "without a lobby nobody waits");
    ben.close(Some(1000)).await;
    api.ask("PATCH", "/v1/rooms/demo", json!({ "locked": true })).await;

    // It stays without anybody, for as long as was said.
    eve.close(Some(1000)).await;
    for id in ["a", "b", "c"] {
        api.ask("PUT", &format!("/v1/rooms/{id}"), Value::Null).await;
    }
    let ids =
        |list: &Value| list["rooms"].as_array().unwrap().iter().map(|room| room["room"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let page = api.get("/v1/rooms?limit=2").await;
    assert_eq!((ids(&page), &page["next"]), (vec!["a".into(), "b".into()], &json!("b")));
    let rest = api.get("/v1/rooms?after=b").await;
    assert_eq!((ids(&rest), rest.get("next")), (vec!["c".into(), "demo".into()], None));
    api.ask("PATCH", "/v1/rooms/a", json!({ "empty_timeout": 0 })).await;
    let gone = async {
        while api.send(Some(&api.token), "GET", "/v1/rooms/a", None).await.status != 404 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, gone).await.expect("its time is over");
    api.ask("DELETE", "/v1/rooms/b", Value::Null).await;
    assert_eq!(ids(&api.get("/v1/rooms").await), ["c", "demo"]);
}

#[tokio::test]
async fn bad_input_is_told_what_is_wrong_with_it() {
    let api = Api::start().await;
    let (_ada, _) = api.enter("demo", "ada", "host").await;
    let long = "x".repeat(65_537);
    for (method, path, body, status, code) in [
        ("GET", "/v1/rooms?limit=0", "", 400, "malformed"),
        ("GET", "/v1/rooms?page=2", "", 400, "malformed"),
        ("PUT", "/v1/rooms/no%20room", "", 400, "invalid_room"),
        ("PUT", "/v1/rooms/demo", "{", 400, "malformed"),
        ("PUT", "/v1/rooms/demo", r#"{"lokced":true}"#, 400, "malformed"),
        ("PATCH", "/v1/rooms/demo", r#"{"empty_timeout":86401}"#, 400, "malformed"),
        ("PATCH", "/v1/rooms/nowhere", "{}", 404, "no_such_room"),
        ("GET", "/v1/rooms/demo/participants/ada", "", 404, "no_such_participant"),
        ("PATCH", "/v1/rooms/demo/participants/9", "{}", 404, "no_such_participant"),
        ("PATCH", "/v1/rooms/demo/participants/1", r#"{"name":""}"#, 400, "invalid_name"),
        ("PATCH", "/v1/rooms/demo/participants/1", r#"{"grants":{"publish":["webcam"]}}"#, 400, "malformed"),
        ("DELETE", "/v1/rooms/demo/participants/1?ban=perhaps", "", 400, "malformed"),
        ("PATCH", "/v1/rooms/demo/participants/1/tracks/7", r#"{"muted":true}"#, 404, "no_such_track"),
        ("POST", "/v1/rooms/demo/data", r#"{"text":"a","base64":"YQ=="}"#, 400, "malformed"),
        ("POST", "/v1/rooms/demo/data", r#"{"base64":"?"}"#, 400, "malformed"),
        ("POST", "/v1/rooms/demo/data", r#"{"text":"a","to":[1,9]}"#, 404, "no_such_participant"),
        ("POST", "/v1/rooms/demo/data", &json!({ "text": long }).to_string(), 413, "too_large"),
        ("POST", "/v1/rooms/demo/data", &json!({ "text": long.repeat(3) }).to_string(), 413, "too_large"),
        ("POST", "/v1/rooms/demo/chat", r#"{"text":""}"#, 400, "invalid_chat"),
        ("PUT", "/v1/rooms/demo/bans/%00", "", 400, "invalid_identity"),
    ] {
        assert_eq!(api.refused(method, path, body).await, (status, code.into()), "{method} {path} {}", &body[..body.len().min(80)]);
    }
    let authorization = format!("authorization: Bearer {}", api.token);
    let form = request(api.server.http, "PUT", "/v1/rooms/demo", &[&authorization, "content-type: text/plain"], b"{}").await;
    assert_eq!((form.status, form.code()), (415, "wrong_encoding"));
    let method = request(api.server.http, "POST", "/v1/rooms", &[&authorization], b"").await;
    assert_eq!((method.status, method.code()), (405, "unknown_type"));
}

#[tokio::test]
async fn who_asks_too_fast_is_slowed_down() {
    let api = Api::start().await;
    let mut refused = None;
    for _ in 0..40 {
        let asked = (0..40).map(|_| api.send(Some(&api.token), "GET", "/v1/rooms/demo", None));
        refused = futures_util::future::join_all(asked).await.into_iter().find(|response| response.status == 429);
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.expect("some are refused");
    assert_eq!((refused.code(), refused.header("retry-after").is_some()), ("rate_limited", true));
}

#[tokio::test]
async fn people_are_seen_renamed_muted_removed_and_kept_out() {
    let api = Api::start().await;
    let (mut ada, as_ada) = api.enter("demo", "ada", "speaker").await;
    let (mut ben, as_ben) = api.enter("demo", "ben", "speaker").await;
    let track = publish(&mut ada, Source::Microphone).await;
    let path = format!("/v1/rooms/demo/participants/{}", as_ada.participant.0);
    let seen = api.get(&path).await;
    assert_eq!(
        (&seen["name"], &seen["identity"], &seen["mode"], &seen["quality"]),
        (&json!("ada"), &json!("ada"), &json!("websocket"), &json!("good"))
    );
    assert_eq!(seen["tracks"], json!([{ "id": track, "kind": "audio", "source": "microphone", "muted": false }]));
    assert!(seen["connected_since"].as_u64().is_some_and(|at| at.abs_diff(now() as u64 * 1000) < 60_000));
    let whip = http::offer(&[("video", "sendonly")]);
    let whep = http::offer(&[("video", "recvonly")]);
    for (path, sdp, role) in [("/v1/whip/demo", whip, "publisher"), ("/v1/whep/demo", whep, "listener")] {
        let authorization = format!("authorization: Bearer {}", token("demo", role, role));
        assert_eq!(
            request(api.server.http, "POST", path, &["content-type: application/sdp", &authorization], sdp.as_bytes()).await.status,
            201
        );
    }
    let all = api.get("/v1/rooms/demo/participants").await;
    let modes: Vec<_> = all["participants"].as_array().unwrap().iter().map(|person| person["mode"].as_str().unwrap()).collect();
    assert_eq!(modes, ["websocket", "websocket", "whip", "whep"]);
    let room = api.get("/v1/rooms/demo").await;
    assert_eq!((&room["participants"], &room["viewers"]), (&json!(3), &json!(1)));

    api.ask("PATCH", &path, json!({ "name": "Ada Lovelace" })).await;
    let renamed = |event: &Event| if let Event::ParticipantChanged { name, .. } = event { Some(name.clone()) } else { None };
    assert_eq!((ada.event(renamed).await, ben.event(renamed).await), ("Ada Lovelace".into(), "Ada Lovelace".into()), "she is told as well");

    let muted = api.ask("PATCH", &format!("{path}/tracks/{track}"), json!({ "muted": true })).await;
    assert_eq!(muted["muted"], true);
    let by = ada.event(|event| if let Event::TrackMuted { by, .. } = event { Some(*by) } else { None }).await;
    assert_eq!(by, Some(ParticipantId::SERVER));
    assert_eq!(api.refused("PATCH", &format!("{path}/tracks/{track}"), r#"{"muted":false}"#).await, (403, "forbidden".into()));

    // Who is only sent away may come again, who is banned may not.
    api.ask("DELETE", &format!("/v1/rooms/demo/participants/{}", as_ben.participant.0), Value::Null).await;
    assert_eq!(closing(&mut ben).await, CloseReason::Removed);
    let (mut ben, as_ben) = api.enter("demo", "ben", "speaker").await;
    api.ask("DELETE", &format!("/v1/rooms/demo/participants/{}?ban=true", as_ben.participant.0), Value::Null).await;
    assert_eq!(closing(&mut ben).await, CloseReason::Removed);
    api.ask("PUT", "/v1/rooms/demo/bans/eve%40example.org", Value::Null).await;
    assert_eq!(api.get("/v1/rooms/demo/bans").await, json!({ "identities": ["ben", "eve@example.org"] }));
    let mut again = api.server.connect(Encoding::Json).await;
    let join =
        Request::Join { room: "demo".into(), name: "Ben".into(), token: Some(Token(token("demo", "ben", "speaker"))), password: None };
    assert_eq!(again.request(join).await.unwrap_err().code, ErrorCode::Forbidden);
    api.ask("DELETE", "/v1/rooms/demo/bans/ben", Value::Null).await;
    api.enter("demo", "ben", "speaker").await;
}

#[tokio::test]
async fn a_closed_room_is_closed_for_everybody_at_once() {
    let api = Api::start().await;
    api.ask("PUT", "/v1/rooms/demo", Value::Null).await;
    let (mut ada, as_ada) = api.enter("demo", "ada", "host").await;
    let (mut ben, _) = api.enter("demo", "ben", "speaker").await;
    api.ask("DELETE", "/v1/rooms/demo", Value::Null).await;
    assert_eq!(api.refused("GET", "/v1/rooms/demo", "").await, (404, "no_such_room".into()));
    for socket in [&mut ada, &mut ben] {
        assert_eq!(closing(socket).await, CloseReason::RoomClosed);
        assert!(!socket.events.iter().any(|event| left(event).is_some()), "nobody is told that the others leave");
        assert_eq!(socket.closed().await, Some(1008));
    }
    let mut again = api.server.connect(Encoding::Json).await;
    again.ask(Request::Resume { token: as_ada.session.token, received: 0 }).await;
    assert_eq!(closing(&mut again).await, CloseReason::RoomClosed, "who lost the connection just then is told as well");
    let (_, anew) = api.enter("demo", "ada", "host").await;
    assert_eq!(anew.participants, [], "another room of the same name");
}

#[tokio::test]
async fn what_is_not_granted_any_more_is_refused_and_what_is_granted_is_not() {
    let api = Api::start().await;
    let (mut ada, as_ada) = api.enter("demo", "ada", "host").await;
    let (mut ben, _) = api.enter("demo", "ben", "speaker").await;
    let path = format!("/v1/rooms/demo/participants/{}", as_ada.participant.0);
    let (camera, microphone) = (publish(&mut ada, Source::Camera).await, publish(&mut ada, Source::Microphone).await);
    let changed = json!({ "grants": { "publish": ["microphone"], "data": false, "moderate": false } });
    let seen = api.ask("PATCH", &path, changed).await;
    assert_eq!(seen["grants"], json!({ "publish": ["microphone"], "subscribe": true, "data": false, "moderate": false }));
    assert_eq!(seen["tracks"].as_array().map(Vec::len), Some(1), "the microphone, {microphone}");
    let grants = |event: &Event| if let Event::GrantsChanged { grants } = event { Some(grants.clone()) } else { None };
    let told = ada.event(grants).await;
    assert_eq!((told.publish, told.subscribe, told.data, told.moderate), (vec![Source::Microphone], true, false, false));
    let gone = |event: &Event| if let Event::TrackUnpublished { track, .. } = event { Some(track.0) } else { None };
    assert_eq!(ben.event(gone).await, camera);
    let verbs = || {
        [
            Request::Publish { mid: "again".into(), source: Source::Camera, muted: false },
            Request::Chat { text: "hello".into(), to: None },
            Request::Configure { settings: locked(false) },
        ]
    };
    for request in verbs() {
        assert_eq!(ada.request(request.clone()).await.unwrap_err().code, ErrorCode::Forbidden, "{request:?}");
    }
    api.ask("PATCH", &path, json!({ "grants": { "publish": ["camera", "microphone"], "data": true, "moderate": true } })).await;
    for request in verbs() {
        assert!(ada.request(request.clone()).await.is_ok(), "{request:?}");
    }
    // What was changed while a client was away it is told when it comes back.
    drop(ada);
    api.ask("PATCH", &path, json!({ "grants": { "moderate": false } })).await;
    let mut again = api.server.connect(Encoding::Json).await;
    again.resume(&as_ada, 0).await.expect("the session goes on");
    loop {
        match again.message().await.expect("not closed") {
            ServerMessage::Event { event: Event::GrantsChanged { grants } } if !grants.moderate && grants.data => break,
            _ => {}
        }
    }
}

#[tokio::test]
async fn slots_come_and_go_with_the_grant() {
    let api = Api::start().await;
    let (mut ada, as_ada) = api.enter("demo", "ada", "publisher").await;
    let (mut ben, _) = api.enter("demo", "ben", "speaker").await;
    publish(&mut ben, Source::Camera).await;
    assert!(matches!(ada.request(Request::Offer { sdp: OFFER.into() }).await, Ok(Reply::Answer(_))));
    let path = format!("/v1/rooms/demo/participants/{}", as_ada.participant.0);
    api.ask("PATCH", &path, json!({ "grants": { "subscribe": true } })).await;
    let (revision, offer) = ada.event(server_offer).await;
    assert_eq!(ada.request(Request::Answer { revision, sdp: support::accept(&offer) }).await, Ok(Reply::Done));
    let carries = |event: &Event| matches!(event, Event::Slots { slots } if slots.iter().any(|slot| slot.track.is_some())).then_some(());
    ada.event(carries).await;
    api.ask("PATCH", &path, json!({ "grants": { "subscribe": false } })).await;
    let carries_nothing =
        |event: &Event| matches!(event, Event::Slots { slots } if slots.iter().all(|slot| slot.track.is_none())).then_some(());
    ada.event(carries_nothing).await;
    assert_eq!(ada.request(Request::View { tracks: vec![], others: true }).await.unwrap_err().code, ErrorCode::Forbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_second_after_grants_are_taken_no_packet_comes_of_what_they_were_for() {
    let api = Api::start().await;
    let both = [Kind::Video, Kind::Audio];
    let at = api.server.http;
    let mut ben = Peer::publish_as(at, "/v1/whip/demo", &both, &token("demo", "ben", "speaker")).await;
    let mut studio = Peer::publish_as(at, "/v1/whip/demo", &both, &token("demo", "studio", "publisher")).await;
    let twice = [Kind::Video, Kind::Audio, Kind::Video, Kind::Audio];
    let mut witness = Peer::play_as(at, "/v1/whep/demo", &twice, &token("demo", "eve", "listener")).await;
    let mut deaf = Peer::play_as(at, "/v1/whep/demo", &twice, &token("demo", "grace", "listener")).await;
    for peer in [&mut ben, &mut studio, &mut witness, &mut deaf] {
        peer.connected().await;
    }
    ben.send();
    studio.send();
    let of = |peer: &Peer| [(peer.participant(), 0), (peer.participant(), 1)];
    let (bens, studios) = (of(&ben), of(&studio));
    witness.receives(&[bens, studios].concat(), 50).await;
    deaf.receives(&studios, 50).await;
    let people = api.get("/v1/rooms/demo/participants").await;
    let grace =
        people["participants"].as_array().unwrap().iter().find(|person| person["identity"] == "grace").expect("a player")["id"].clone();

    let taken = Instant::now();
    api.ask("PATCH", &format!("/v1/rooms/demo/participants/{}", ben.participant()), json!({ "grants": { "publish": ["microphone"] } }))
        .await;
    api.ask("PATCH", &format!("/v1/rooms/demo/participants/{grace}"), json!({ "grants": { "subscribe": false } })).await;
    // A second and a half of what goes on.
    witness.receives(&[vec![bens[1]], studios.to_vec()].concat(), 150).await;
    let late = |last: Option<Instant>| last.expect("some came").saturating_duration_since(taken);
    let stopped = [late(witness.last(bens[0])), late(deaf.last(studios[0])), late(deaf.last(studios[1]))];
    println!("the last packets, after the grants were taken: {stopped:?}");
    assert!(stopped.iter().all(|after| *after < Duration::from_millis(500)), "{stopped:?}");
    // And comes again with the grant.
    api.ask("PATCH", &format!("/v1/rooms/demo/participants/{grace}"), json!({ "grants": { "subscribe": true } })).await;
    let again = Instant::now();
    while late(deaf.last(studios[0])) < again.saturating_duration_since(taken) {
        assert!(again.elapsed() < SOON, "nothing comes again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let closed = Instant::now();
    api.ask("DELETE", "/v1/rooms/demo", Value::Null).await;
    for peer in [&ben, &studio, &witness, &deaf] {
        peer.gone().await;
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    let after = witness.last(studios[1]).expect("some came").saturating_duration_since(closed);
    assert!(after < Duration::from_millis(500), "media goes on for {after:?} in a closed room");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_says_arrives() {
    let api = Api::start().await;
    let connect = async |identity: &str| {
        let mut options = Options::new(api.server.url(), "demo", identity);
        options.token = Some(Token(token("demo", identity, "speaker")));
        let client = Client::connect(options).await.expect("let in");
        client.wait_connected(SOON).await.expect("connected");
        client
    };
    let (ada, ben) = (connect("ada").await, connect("ben").await);
    let mut heard = (ada.events(), ben.events());
    // Who has sent something has open channels, and the server knows them.
    ada.send_text(Some(ben.id()), "open").await.expect("the channel is open");
    ben.send_text(Some(ada.id()), "open").await.expect("the channel is open");
    let data = json!({ "text": "to one", "to": [ada.id().0] });
    assert_eq!(api.ask("POST", "/v1/rooms/demo/data", data).await, json!({ "recipients": 1 }));
    assert_eq!(api.ask("POST", "/v1/rooms/demo/data", json!({ "base64": "AAECAw==" })).await, json!({ "recipients": 2 }));
    api.ask("POST", "/v1/rooms/demo/chat", json!({ "text": "the recording starts" })).await;
    let (mut messages, mut chats) = (Vec::new(), 0);
    let listening = async {
        while messages.len() < 2 || chats < 1 {
            match heard.0.recv().await.expect("an event") {
                ClientEvent::Data(message) if message.from == ParticipantId::SERVER => messages.push(message.payload),
                ClientEvent::Room(Event::Chat { message }) => {
                    assert_eq!((message.from, &*message.text), (ParticipantId::SERVER, "the recording starts"));
                    chats += 1;
                }
                _ => {}
            }
        }
    };
    tokio::time::timeout(SOON, listening).await.expect("in time");
    assert_eq!(messages, [DataPayload::Text("to one".into()), DataPayload::Binary(vec![0, 1, 2, 3])]);
    let first = async {
        loop {
            if let ClientEvent::Data(message) = heard.1.recv().await.expect("an event")
                && message.from == ParticipantId::SERVER
            {
                return message.payload;
            }
        }
    };
    assert_eq!(tokio::time::timeout(SOON, first).await.expect("in time"), DataPayload::Binary(vec![0, 1, 2, 3]));
}

#[tokio::test]
async fn events_come_in_order_and_go_on_after_the_last_that_was_heard() {
    let api = Api::start().await;
    let mut listener = api.listen("/v1/rooms/demo/events", None).await;
    let mut everywhere = api.listen("/v1/events", None).await;
    let (mut ada, as_ada) = api.enter("demo", "ada", "host").await;
    let (_ben, _) = api.enter("elsewhere", "ben", "host").await;
    let track = publish(&mut ada, Source::Microphone).await;
    let person = format!("/v1/rooms/demo/participants/{}", as_ada.participant.0);
    ada.request(Request::Mute { track: switchyard_protocol::TrackId(track), muted: true }).await.unwrap();
    ada.request(Request::Configure { settings: locked(true) }).await.unwrap();
    ada.request(Request::Rename { name: "Ada".into() }).await.unwrap();
    api.ask("PATCH", &person, json!({ "grants": { "publish": [] } })).await;
    let mut heard = Vec::new();
    for expected in [
        "room_opened",
        "participant_joined",
        "track_published",
        "track_muted",
        "settings",
        "participant_changed",
        "grants_changed",
        "track_unpublished",
    ] {
        let (name, data) = listener.next().await;
        assert_eq!((&*name, &data["kind"], &data["room"]), (expected, &json!(expected), &json!("demo")));
        api.description.check_schema("RoomEvent", &data);
        heard.push((listener.id.clone(), name, data));
    }
    assert_eq!((&heard[1].2["name"], &heard[1].2["identity"]), (&json!("ada"), &json!("ada")));

    // Somebody else's events come to whoever asked for all.
    let mut rooms = Vec::new();
    for _ in 0..heard.len() + 2 {
        rooms.push(everywhere.next().await.1["room"].as_str().unwrap().to_owned());
    }
    assert_eq!(rooms.iter().filter(|room| *room == "elsewhere").count(), 2);

    // What happens while nobody listens is told to who comes back.
    drop(listener);
    api.ask("DELETE", "/v1/rooms/demo", Value::Null).await;
    let mut again = api.listen("/v1/rooms/demo/events", Some(&heard[5].0)).await;
    let names: Vec<_> = again.names(4).await;
    assert_eq!(names, ["grants_changed", "track_unpublished", "participant_left", "room_closed"]);
    let mut unknown = api.listen("/v1/rooms/demo/events", Some("0123-4")).await;
    assert_eq!(unknown.next().await.0, "missed", "of another run of the server");
    // A token for one room hears of that alone.
    let mut narrow = Listener::open(&api.server, &token("elsewhere", "x", "server"), "/v1/events", Some(&heard[0].0)).await;
    for expected in ["room_opened", "participant_joined"] {
        let (name, data) = narrow.next().await;
        assert_eq!((&*name, &data["room"]), (expected, &json!("elsewhere")));
    }
}

#[tokio::test]
async fn who_waits_is_seen_and_let_in_or_not() {
    let api = Api::start().await;
    api.ask("PUT", "/v1/rooms/demo", json!({ "lobby": true })).await;
    let mut events = api.listen("/v1/rooms/demo/events", None).await;
    let knock = async |name: &str| {
        let mut socket = api.server.connect(Encoding::Json).await;
        let token = Some(Token(token("demo", name, "speaker")));
        socket.ask(Request::Join { room: "demo".into(), name: name.into(), token, password: None }).await;
        socket.event(|event| matches!(event, Event::Waiting).then_some(())).await;
        socket
    };
    let (mut ben, mut eve) = (knock("ben").await, knock("eve").await);
    let guests = api.get("/v1/rooms/demo/guests").await["guests"].clone();
    let names: Vec<&str> = guests.as_array().unwrap().iter().map(|guest| guest["identity"].as_str().unwrap()).collect();
    assert_eq!(names, ["ben", "eve"]);
    let at = |guest: usize, what: &str| format!("/v1/rooms/demo/guests/{}/{what}", guests[guest]["id"]);
    assert_eq!(api.send(Some(&api.token), "POST", &at(0, "admit"), None).await.status, 204);
    assert!(matches!(ben.answer().await, ServerMessage::Reply { result: Reply::Joined(_), .. }));
    assert_eq!(api.refused("POST", &at(0, "admit"), "").await, (404, "no_such_participant".into()));
    assert_eq!(api.send(Some(&api.token), "POST", &at(1, "deny"), None).await.status, 204);
    assert!(matches!(eve.answer().await, ServerMessage::Error { error, .. } if error.code == ErrorCode::NotAdmitted));
    assert_eq!(api.refused("POST", "/v1/rooms/demo/guests/ben/deny", "").await, (404, "no_such_participant".into()));

    // Who waits at a room that is closed waits for nothing, and hears why.
    let mut kim = knock("kim").await;
    assert_eq!(api.send(Some(&api.token), "DELETE", "/v1/rooms/demo", None).await.status, 204);
    assert!(matches!(kim.answer().await, ServerMessage::Error { error, .. } if error.code == ErrorCode::NoSuchRoom));
    assert_eq!(api.refused("GET", "/v1/rooms/demo", "").await, (404, "no_such_room".into()));
    let mut waited = 0;
    loop {
        let (kind, data) = events.next().await;
        waited += usize::from(kind == "guests" && data["guests"].as_array().is_some_and(|guests| !guests.is_empty()));
        if kind == "room_closed" {
            break;
        }
    }
    assert!(waited > 0, "listeners hear who waits");
}

#[tokio::test]
async fn a_room_that_is_made_again_stays_as_it_was_made() {
    let api = Api::start().await;
    let made = api.ask("PUT", "/v1/rooms/demo", json!({ "lobby": true, "empty_timeout": 3600 })).await;
    assert_eq!(made["empty_timeout"], 3600);
    let again = api.ask("PUT", "/v1/rooms/demo", json!({ "max_participants": 50 })).await;
    assert_eq!((&again["empty_timeout"], &again["lobby"], &again["max_participants"]), (&json!(3600), &json!(true), &json!(50)));
    // For a second from then, however long it was empty before.
    api.ask("PUT", "/v1/rooms/demo", json!({ "empty_timeout": 2 })).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    api.ask("PUT", "/v1/rooms/demo", Value::Null).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(api.get("/v1/rooms/demo").await["lobby"], true, "it was made again meanwhile");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(api.refused("GET", "/v1/rooms/demo", "").await, (404, "no_such_room".into()));
}

#[tokio::test]
async fn listeners_end_with_the_server() {
    let mut api = Api::start().await;
    let mut listener = api.listen("/v1/events", None).await;
    let asked = Instant::now();
    assert!(api.server.terminate().await.success());
    assert!(asked.elapsed() < Duration::from_secs(2), "nobody waits for a listener: {:?}", asked.elapsed());
    let mut rest = String::new();
    let read = listener.lines.get_mut().read_to_string(&mut rest);
    tokio::time::timeout(SOON, read).await.expect("the stream ends").unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "as a whole: {rest:?}");
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let api = Api::start().await;
    for path in ["/v1/events", "/v1/rooms/demo/events"] {
        // A clock may be ten seconds behind.
        let short = KEY.1.token(KEY.0, &json!({ "sub": "back end", "room": "*", "role": "server", "exp": now() - 8 }));
        let mut listener = Listener::open(&api.server, &short, path, None).await;
        // The last chunk.
        while listener.line().await != "0" {}
        assert_eq!(api.send(Some(&short), "GET", "/v1/rooms", None).await.status, 401);
    }
}

#[tokio::test]
async fn a_rooms_own_way_through_the_network_is_told_to_who_comes() {
    let api = Api::start().await;
    let relay_only = json!({ "relay_only": true }).to_string();
    assert_eq!(api.refused("PUT", "/v1/rooms/demo", &relay_only).await, (400, "invalid_settings".into()), "there is no TURN server");
    let urls = ["turn:relay.example.org:3478?transport=udp", "turns:relay.example.org"].map(String::from).to_vec();
    let servers = json!([{ "urls": urls, "username": "ada", "credential": "xyzzy" }]);
    let made = api.ask("PUT", "/v1/rooms/demo", json!({ "relay_only": true, "ice_servers": servers })).await;
    assert_eq!((&made["relay_only"], &made["ice_urls"]), (&json!(true), &json!(urls)));
    assert!(!made.to_string().contains("xyzzy"), "nobody is told the credential who doesn't come in");
    let (mut ada, joined) = api.enter("demo", "ada", "host").await;
    let own = IceServer { urls, username: Some("ada".into()), credential: Some("xyzzy".into()) };
    assert_eq!((joined.relay_only, joined.ice_servers), (true, vec![own]));
    let (_, elsewhere) = api.enter("other", "ben", "host").await;
    assert_eq!((elsewhere.relay_only, elsewhere.ice_servers), (false, Vec::new()));
    // Without the servers there is no way any more.
    let none = json!({ "ice_servers": [] });
    assert_eq!(api.refused("PATCH", "/v1/rooms/demo", &none.to_string()).await, (400, "invalid_settings".into()));
    let changed = api.ask("PATCH", "/v1/rooms/demo", json!({ "relay_only": false, "ice_servers": [] })).await;
    assert_eq!((&changed["relay_only"], &changed["ice_urls"]), (&json!(false), &Value::Null));
    assert!(
        matches!(ada.request(Request::IceServers).await, Ok(Reply::IceServers(told)) if told.ice_servers.is_empty()),
        "for the next restart"
    );
    let many = vec![json!({ "urls": ["stun:a"] }); 9];
    for wrong in [
        json!([{ "urls": [] }]),
        json!([{ "urls": ["http://example.org"] }]),
        json!([{ "urls": ["turn:"] , "username": "u", "credential": "c" }]),
        json!([{ "urls": ["turn:example.org"] }]),
        json!([{ "urls": ["stun:exam ple"] }]),
        json!([{ "urls": [format!("stun:{}", "x".repeat(512))] }]),
        json!([{ "urls": ["stun:a"], "username": "x".repeat(513) }]),
        json!(many),
    ] {
        let body = json!({ "ice_servers": wrong }).to_string();
        assert_eq!(api.refused("PATCH", "/v1/rooms/demo", &body).await, (400, "malformed".into()), "{body}");
    }
}

#[tokio::test]
async fn who_is_kept_out_stays_out_when_everybody_has_left() {
    let api = Api::start().await;
    let mut listener = api.listen("/v1/rooms/demo/events", None).await;
    let (ada, _) = api.enter("demo", "ada", "host").await;
    api.ask("PUT", "/v1/rooms/demo/bans/eve", Value::Null).await;
    ada.close(Some(1000)).await;
    while listener.next().await.0 != "room_closed" {}
    // Each try opens the room, which closes behind them.
    for _ in 0..2 {
        let mut eve = api.server.connect(Encoding::Json).await;
        let join =
            Request::Join { room: "demo".into(), name: "Eve".into(), token: Some(Token(token("demo", "eve", "host"))), password: None };
        assert_eq!(eve.request(join).await.unwrap_err().code, ErrorCode::Forbidden);
    }
    let (_ada, _) = api.enter("demo", "ada", "host").await;
    assert_eq!(api.get("/v1/rooms/demo/bans").await, json!({ "identities": ["eve"] }));
    api.ask("DELETE", "/v1/rooms/demo/bans/eve", Value::Null).await;
    api.enter("demo", "eve", "speaker").await;
}
