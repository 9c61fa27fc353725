//! Access control against the real program, over WebSockets and HTTP: every role × every verb × every state of a token. What each cell has to be is a rule
//! of this file, [`permits`]; what it doesn't name is forbidden.

#[path = "support/http.rs"]
mod http;
#[path = "support/peer.rs"]
mod peer;
mod support;
#[path = "support/tokens.rs"]
mod tokens;

use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use http::request;
use peer::Peer;
use serde_json::{Value, json};
use support::{OFFER, SOON, Server, Socket, accept, server_offer};
use switchyard_client::{Client, ClientEvent, DataPayload, Kind, Options};
use switchyard_protocol::{
    Encoding, ErrorCode, Event, Joined, LeaveReason, ParticipantId, ProtocolError, Reply, Request, RoomSettingsChange, ServerMessage,
    Source, Token, TrackId, TrackView,
};
use tokens::{KeyFile, Signer, encode, hmac_with, now, public, unsigned};
use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite::Message;

/// The server's keys: one that tokens are made with now, the one before, and one whose private half it doesn't have.
const NEW: (&str, Signer) = ("new", Signer::Hmac(1));
const OLD: (&str, Signer) = ("old", Signer::Hmac(2));
const ED: (&str, Signer) = ("ed", Signer::Ed25519(3));

const SDP: &str = "content-type: application/sdp";

/// Locks a room, or unlocks it.
fn lock(locked: bool) -> Request {
    Request::Configure { settings: RoomSettingsChange { locked: Some(locked), ..RoomSettingsChange::default() } }
}

fn key_file() -> KeyFile {
    KeyFile::new(&[NEW, OLD, ED].map(|(kid, signer)| signer.jwk(kid)))
}

async fn server(keys: &KeyFile) -> Server {
    // However busy the machine is: nobody is refused for that.
    Server::start(&["--access-keys", keys.path(), "--advertise", "127.0.0.1", "--max-load", "0"]).await
}

/// What a token says of whom it is for, beside time and room.
const ROLES: [&str; 16] = [
    "host",
    "speaker",
    "listener",
    "publisher",
    "server",
    "no role",
    "a role that there isn't",
    "a role of another case",
    "join only",
    "camera only",
    "microphone only",
    "subscribe only",
    "data only",
    "moderate only",
    "manage only",
    "everything but join",
];

fn role_claims(role: &str) -> Value {
    let all = ["camera", "microphone", "screen", "screen_audio"];
    match role {
        "no role" => json!({}),
        "a role that there isn't" => json!({ "role": "admin" }),
        "a role of another case" => json!({ "role": "HOST" }),
        // Grants take the role's place.
        "join only" => json!({ "role": "host", "grants": { "join": true } }),
        "camera only" => json!({ "role": "host", "grants": { "join": true, "publish": ["camera"] } }),
        "microphone only" => json!({ "grants": { "join": true, "publish": ["microphone"] } }),
        "subscribe only" => json!({ "grants": { "join": true, "subscribe": true } }),
        "data only" => json!({ "grants": { "join": true, "data": true } }),
        "moderate only" => json!({ "role": "listener", "grants": { "join": true, "moderate": true } }),
        "manage only" => json!({ "role": "host", "grants": { "manage": true } }),
        "everything but join" => json!({ "role": "host", "grants": { "publish": all, "subscribe": true, "data": true, "moderate": true } }),
        role => json!({ "role": role }),
    }
}

/// What can be done with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Join,
    Camera,
    Microphone,
    Screen,
    ScreenAudio,
    /// To get slots.
    Receive,
    Subscribe,
    View,
    Pause,
    Chat,
    MuteOthers,
    Ban,
    Remove,
    Configure,
    Admit,
    Deny,
    /// To publish a camera by HTTP.
    Whip,
    /// To publish sound by HTTP.
    WhipSound,
    /// To play by HTTP.
    Whep,
    /// To use the API.
    Manage,
}

use Verb::*;

/// In an order in which none is in the way of those after it.
const VERBS: [Verb; 20] = [
    Join,
    Camera,
    Microphone,
    Screen,
    ScreenAudio,
    Receive,
    Subscribe,
    View,
    Pause,
    Chat,
    MuteOthers,
    Whip,
    WhipSound,
    Whep,
    Manage,
    Configure,
    Admit,
    Deny,
    Ban,
    Remove,
];

/// The rule. What isn't said here is forbidden.
fn permits(role: &str, verb: Verb) -> bool {
    let publish = [Camera, Microphone, Screen, ScreenAudio, Whip, WhipSound];
    let receive = [Receive, Subscribe, View, Pause, Whep];
    let moderate = [MuteOthers, Ban, Remove, Configure, Admit, Deny];
    match role {
        "host" => verb != Manage,
        "server" | "manage only" => verb == Manage,
        "speaker" => verb == Join || publish.contains(&verb) || receive.contains(&verb) || verb == Chat,
        "listener" | "subscribe only" => verb == Join || receive.contains(&verb),
        "publisher" => verb == Join || publish.contains(&verb),
        "join only" => verb == Join,
        "camera only" => [Join, Camera, Whip].contains(&verb),
        "microphone only" => [Join, Microphone, WhipSound].contains(&verb),
        "data only" => [Join, Chat].contains(&verb),
        "moderate only" => verb == Join || moderate.contains(&verb),
        _ => false,
    }
}

/// What is the matter with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Valid,
    ValidOfTheKeyBefore,
    ValidEd25519,
    ValidForAnyRoom,
    Missing,
    Empty,
    Expired,
    WithoutExpiry,
    NotYet,
    WrongRoom,
    WithoutRoom,
    WithoutIdentity,
    ForAnotherService,
    AlgNone,
    AlgNoneWithoutSignature,
    SignedWithThePublicKey,
    SignedWithAnotherKey,
    OfAnUnknownKey,
    WithoutKeyId,
    TamperedClaims,
    TamperedSignature,
    AlgOfAnotherKey,
    Critical,
    Padded,
    Garbage,
}

use State::*;

const STATES: [State; 25] = [
    Valid,
    ValidOfTheKeyBefore,
    ValidEd25519,
    ValidForAnyRoom,
    Missing,
    Empty,
    Expired,
    WithoutExpiry,
    NotYet,
    WrongRoom,
    WithoutRoom,
    WithoutIdentity,
    ForAnotherService,
    AlgNone,
    AlgNoneWithoutSignature,
    SignedWithThePublicKey,
    SignedWithAnotherKey,
    OfAnUnknownKey,
    WithoutKeyId,
    TamperedClaims,
    TamperedSignature,
    AlgOfAnotherKey,
    Critical,
    Padded,
    Garbage,
];

impl State {
    fn is_valid(self) -> bool {
        matches!(self, Valid | ValidOfTheKeyBefore | ValidEd25519 | ValidForAnyRoom)
    }

    /// A token of a role in this state.
    fn token(self, role: &str, room: &str) -> Option<String> {
        let mut claims = json!({ "sub": format!("{role} {self:?}"), "room": room, "nbf": now() - 60, "exp": now() + 600 });
        let object = claims.as_object_mut().expect("an object");
        object.extend(role_claims(role).as_object().expect("an object").clone());
        match self {
            ValidForAnyRoom => drop(object.insert("room".into(), json!("*"))),
            Expired => drop(object.insert("exp".into(), json!(now() - 30))),
            WithoutExpiry => drop(object.remove("exp")),
            NotYet => drop(object.insert("nbf".into(), json!(now() + 60))),
            WrongRoom => drop(object.insert("room".into(), json!(format!("{room}-2")))),
            WithoutRoom => drop(object.remove("room")),
            WithoutIdentity => drop(object.remove("sub")),
            ForAnotherService => drop(object.insert("aud".into(), json!("billing"))),
            _ => {}
        }
        let good = |(kid, signer): (&str, Signer)| signer.token(kid, &claims);
        // Signed with the new key, whatever the header says.
        let headed = |header: Value| {
            let signed = unsigned(&header, &claims);
            format!("{signed}.{}", encode(&NEW.1.sign(signed.as_bytes())))
        };
        Some(match self {
            Missing => return None,
            Empty => String::new(),
            ValidOfTheKeyBefore => good(OLD),
            ValidEd25519 => good(ED),
            AlgNone => headed(json!({ "alg": "none", "kid": NEW.0 })),
            AlgNoneWithoutSignature => unsigned(&json!({ "alg": "none", "kid": NEW.0 }), &claims) + ".",
            SignedWithThePublicKey => {
                let signed = unsigned(&json!({ "alg": "HS256", "kid": ED.0 }), &claims);
                let signature = hmac_with(&public(3), signed.as_bytes());
                format!("{signed}.{}", encode(&signature))
            }
            SignedWithAnotherKey => Signer::Hmac(9).token(NEW.0, &claims),
            OfAnUnknownKey => Signer::Hmac(9).token("nine", &claims),
            WithoutKeyId => headed(json!({ "alg": "HS256" })),
            TamperedClaims => {
                let token = good(NEW);
                let (signed, signature) = token.rsplit_once('.').expect("three parts");
                let (header, _) = signed.split_once('.').expect("two parts");
                claims["role"] = json!("host");
                claims["name"] = json!("Mallory");
                format!("{header}.{}.{signature}", encode(claims.to_string().as_bytes()))
            }
            TamperedSignature => {
                let token = good(NEW);
                let (signed, signature) = token.rsplit_once('.').expect("three parts");
                let other = if signature.starts_with('A') { 'B' } else { 'A' };
                format!("{signed}.{other}{}", &signature[1..])
            }
            AlgOfAnotherKey => headed(json!({ "alg": "EdDSA", "kid": NEW.0 })),
            Critical => headed(json!({ "alg": "HS256", "kid": NEW.0, "crit": ["exp"] })),
            Padded => good(NEW) + "=",
            Garbage => "not a token".into(),
            _ => good(NEW),
        })
    }

    /// How it is refused: `forbidden` is a token that is good, but not for this.
    fn code(self) -> ErrorCode {
        if self == WrongRoom { ErrorCode::Forbidden } else { ErrorCode::Unauthorized }
    }
}

/// How a role is refused whose token is good in itself.
fn role_code(role: &str) -> ErrorCode {
    match role {
        "a role that there isn't" | "a role of another case" => ErrorCode::Unauthorized,
        _ => ErrorCode::Forbidden,
    }
}

fn join(room: &str, token: Option<&str>) -> Request {
    Request::Join { room: room.into(), name: "Subject".into(), token: token.map(Token::from), password: None }
}

async fn enter(server: &Server, room: &str, token: &str) -> (Socket, Joined) {
    let mut socket = server.connect(Encoding::Json).await;
    match socket.request(join(room, Some(token))).await {
        Ok(Reply::Joined(joined)) => (socket, joined),
        other => panic!("not let in: {other:?}"),
    }
}

/// Reads on until the server closes; the code and the reason.
async fn closed(socket: &mut Socket) -> (u16, String) {
    loop {
        match tokio::time::timeout(SOON, socket.stream.next()).await.expect("closed in time") {
            Some(Ok(Message::Close(Some(frame)))) => return (frame.code.into(), frame.reason.to_string()),
            Some(Ok(_)) => {}
            other => panic!("not closed with a code: {other:?}"),
        }
    }
}

/// The request of a verb that goes over a WebSocket, towards somebody else and their camera.
fn asked(verb: Verb, other: ParticipantId, track: TrackId) -> Option<Request> {
    let publish = |source| Request::Publish { mid: format!("{source:?}"), source, muted: false };
    Some(match verb {
        Join | Whip | WhipSound | Whep | Manage => return None,
        Camera => publish(Source::Camera),
        Microphone => publish(Source::Microphone),
        Screen => publish(Source::Screen),
        ScreenAudio => publish(Source::ScreenAudio),
        Receive => Request::Offer { sdp: OFFER.into() },
        Subscribe => Request::Subscribe { track },
        View => Request::View { tracks: vec![TrackView { track, width: 320, height: 180, pinned: false }], others: false },
        Pause => Request::Pause { track, paused: true },
        Chat => Request::Chat { text: "hello".into(), to: None },
        MuteOthers => Request::Mute { track, muted: true },
        Ban => Request::Ban { identity: "somebody else".into(), banned: true },
        Remove => Request::Remove { participant: other },
        Configure => lock(true),
        Admit => Request::Admit { guest: None },
        Deny => Request::Deny { guest: None },
    })
}

/// A verb by HTTP.
async fn post(server: &Server, verb: Verb, room: &str, token: Option<&str>) -> http::Response {
    let (path, sdp) = match verb {
        Manage => {
            let authorization = token.map(|token| format!("authorization: Bearer {token}"));
            let headers: Vec<&str> = authorization.as_deref().into_iter().collect();
            return request(server.http, "GET", &format!("/v1/rooms/{room}"), &headers, b"").await;
        }
        Whip => (format!("/v1/whip/{room}"), http::offer(&[("video", "sendonly")])),
        WhipSound => (format!("/v1/whip/{room}"), http::offer(&[("audio", "sendonly")])),
        Whep => (format!("/v1/whep/{room}"), http::offer(&[("video", "recvonly"), ("audio", "recvonly")])),
        _ => unreachable!("not by HTTP"),
    };
    let authorization = token.map(|token| format!("authorization: Bearer {token}"));
    let headers: Vec<&str> = [SDP].into_iter().chain(authorization.as_deref()).collect();
    request(server.http, "POST", &path, &headers, sdp.as_bytes()).await
}

/// Whether the server offers slots to who has made an offer: that comes before the answer to what is asked after it.
async fn gets_slots(socket: &mut Socket) -> bool {
    for _ in 0..2 {
        assert_eq!(socket.request(Request::Ping { received: None }).await, Ok(Reply::Pong));
    }
    socket.events.iter().any(|event| server_offer(event).is_some())
}

/// Does everything with a good token of a role; the cells that were looked at.
async fn try_all(server: &Server, role: &str, state: State, room: &str) -> usize {
    let witness = NEW.1.token(NEW.0, &json!({ "sub": "witness", "room": room, "role": "speaker", "exp": now() + 600 }));
    let (mut other, witnessed) = enter(server, room, &witness).await;
    let published = other.request(Request::Publish { mid: "1".into(), source: Source::Camera, muted: false }).await;
    let Ok(Reply::Published(published)) = published else { panic!("not published: {published:?}") };
    let token = state.token(role, room).expect("a token");

    let mut subject = server.connect(Encoding::Json).await;
    let joined = subject.request(join(room, Some(&token))).await;
    let came_in = permits(role, Join);
    match &joined {
        Ok(Reply::Joined(joined)) => {
            assert!(came_in, "{role}, {state:?}: came in");
            assert_eq!(joined.identity, Some(format!("{role} {state:?}")));
        }
        Err(error) => {
            assert_eq!((came_in, error.code), (false, role_code(role)), "{role}, {state:?}: {error}");
            assert_eq!(closed(&mut subject).await, (1008, error.message.clone()));
        }
        other => panic!("{other:?}"),
    }
    let mut cells = 1;
    for verb in VERBS.into_iter().filter(|verb| *verb != Join) {
        let cell = format!("{role}, {verb:?}, {state:?}");
        cells += 1;
        let Some(request) = asked(verb, witnessed.participant, published.track) else {
            let response = post(server, verb, room, Some(&token)).await;
            let expected = match (permits(role, verb), role_code(role)) {
                (true, _) if verb == Manage => 200,
                (true, _) => 201,
                (false, ErrorCode::Unauthorized) => 401,
                (false, _) => 403,
            };
            assert_eq!(response.status, expected, "{cell}: {}", response.body);
            let challenge = match expected {
                401 => Some("invalid_token"),
                403 => Some("insufficient_scope"),
                _ => None,
            };
            let said = response.header("www-authenticate");
            assert!(
                challenge.is_none_or(|challenge| said.is_some_and(|said| said.starts_with("Bearer ") && said.contains(challenge))),
                "{cell}"
            );
            continue;
        };
        if !came_in {
            assert!(!permits(role, verb), "{cell}: the rule contradicts itself");
            continue;
        }
        let answer = subject.request(request).await;
        match verb {
            // Anybody may negotiate; who may not receive is offered nothing.
            Receive => {
                assert!(matches!(answer, Ok(Reply::Answer(_))), "{cell}: {answer:?}");
                if permits(role, verb) {
                    subject.event(server_offer).await;
                } else {
                    assert!(!gets_slots(&mut subject).await, "{cell}");
                }
            }
            _ => match answer {
                Ok(_) => assert!(permits(role, verb), "{cell}: done"),
                Err(ProtocolError { code, .. }) => assert_eq!((permits(role, verb), code), (false, ErrorCode::Forbidden), "{cell}"),
            },
        }
    }
    // Of what was refused nobody has seen anything.
    if !permits(role, Remove) {
        assert_eq!(other.request(Request::Ping { received: None }).await, Ok(Reply::Pong));
        for event in &other.events {
            match event {
                Event::TrackPublished { track, .. } => {
                    let verb = match track.source {
                        Source::Camera => permits(role, Camera) || permits(role, Whip),
                        Source::Microphone => permits(role, Microphone) || permits(role, WhipSound),
                        Source::Screen => permits(role, Screen),
                        Source::ScreenAudio => permits(role, ScreenAudio),
                    };
                    assert!(verb, "{role}, {state:?}: {event:?}");
                }
                Event::Chat { .. } => assert!(permits(role, Chat), "{role}, {state:?}: {event:?}"),
                Event::TrackMuted { .. } | Event::Settings { .. } => panic!("{role}, {state:?}: {event:?}"),
                _ => {}
            }
        }
    }
    cells
}

/// Tries a verb with a token that is no good, on a connection of its own, without waiting for what becomes of the join.
async fn try_in_vain(server: &Server, role: &str, verb: Verb, state: State, room: &str) {
    let cell = format!("{role}, {verb:?}, {state:?}");
    let token = state.token(role, room);
    let unauthorized = state.code() == ErrorCode::Unauthorized || role_code(role) == ErrorCode::Unauthorized;
    let Some(request) = asked(verb, ParticipantId(1), TrackId(1)).or((verb == Join).then_some(Request::Ping { received: None })) else {
        let response = post(server, verb, room, token.as_deref()).await;
        let said = response.header("www-authenticate").unwrap_or_default();
        assert_eq!(
            (response.status, said.starts_with("Bearer ")),
            (if unauthorized { 401 } else { 403 }, true),
            "{cell}: {}",
            response.body
        );
        // Without a token between them, white space ends the header field.
        assert_eq!(said.contains("error="), !matches!(state, Missing | Empty), "{cell}: {said}");
        return;
    };
    let mut socket = server.connect(if verb == Chat { Encoding::MessagePack } else { Encoding::Json }).await;
    socket.ask(join(room, token.as_deref())).await;
    socket.ask(request).await;
    match socket.message().await {
        Some(ServerMessage::Error { error, .. }) => {
            let expected = if unauthorized { ErrorCode::Unauthorized } else { ErrorCode::Forbidden };
            assert_eq!((error.code, error.retryable), (expected, false), "{cell}: {error}");
            assert_eq!(closed(&mut socket).await, (1008, error.message), "{cell}");
        }
        other => panic!("{cell}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_can_do_with_every_token_what_it_is_permitted_and_nothing_else() {
    let keys = key_file();
    let server = server(&keys).await;
    let mut cells = 0;
    for (r, role) in ROLES.into_iter().enumerate() {
        for (s, state) in STATES.into_iter().enumerate() {
            let room = format!("room-{r}-{s}");
            if state.is_valid() {
                cells += try_all(&server, role, state, &room).await;
                continue;
            }
            for verb in VERBS {
                try_in_vain(&server, role, verb, state, &room).await;
                cells += 1;
            }
        }
    }
    assert_eq!(cells, ROLES.len() * STATES.len() * VERBS.len(), "every cell was looked at");
}

fn claims(room: &str, identity: &str, role: &str) -> Value {
    json!({ "sub": identity, "room": room, "role": role, "exp": now() + 600 })
}

fn token(room: &str, identity: &str, role: &str) -> String {
    NEW.1.token(NEW.0, &claims(room, identity, role))
}

#[tokio::test]
async fn the_tokens_name_counts_and_who_has_none_chooses_one() {
    let keys = key_file();
    let server = server(&keys).await;
    let mut named = claims("demo", "ada@example.org", "speaker");
    named["name"] = json!("Ada Lovelace");
    let (mut ada, joined) = enter(&server, "demo", &NEW.1.token(NEW.0, &named)).await;
    assert_eq!((&*joined.name, joined.identity.as_deref()), ("Ada Lovelace", Some("ada@example.org")));
    assert_eq!(ada.request(Request::Rename { name: "Mallory".into() }).await.unwrap_err().code, ErrorCode::Forbidden);
    let (mut ben, joined) = enter(&server, "demo", &token("demo", "ben", "speaker")).await;
    assert_eq!((&*joined.name, joined.identity.as_deref()), ("Subject", Some("ben")));
    assert_eq!((&*joined.participants[0].name, joined.participants[0].identity.as_deref()), ("Ada Lovelace", Some("ada@example.org")));
    assert_eq!(ben.request(Request::Rename { name: "Ben".into() }).await, Ok(Reply::Done));
    // The same person may be there twice, with two devices.
    let (_phone, joined) = enter(&server, "demo", &token("demo", "ben", "listener")).await;
    assert_eq!(joined.participants.len(), 2);
}

#[tokio::test]
async fn a_session_outlives_its_token() {
    let keys = key_file();
    let server = server(&keys).await;
    let mut brief = claims("demo", "ada", "speaker");
    // Good for as long as clocks may differ, and a little more.
    brief["exp"] = json!(now() - 8);
    let brief = NEW.1.token(NEW.0, &brief);
    let (ada, joined) = enter(&server, "demo", &brief).await;
    let expired = async {
        loop {
            let mut socket = server.connect(Encoding::Json).await;
            match socket.request(join("demo", Some(&brief))).await {
                Err(error) => return error,
                Ok(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    let error = tokio::time::timeout(SOON, expired).await.expect("it expires");
    assert_eq!((error.code, &*error.message), (ErrorCode::Unauthorized, "the access token has expired"));
    drop(ada);
    let mut again = server.connect(Encoding::Json).await;
    again.resume(&joined, 0).await.expect("the session goes on");
    let publish = |source| Request::Publish { mid: format!("{source:?}"), source, muted: false };
    assert!(again.request(publish(Source::Camera)).await.is_ok(), "with its grants");
    assert_eq!(again.request(lock(true)).await.unwrap_err().code, ErrorCode::Forbidden, "and no others");
}

#[tokio::test]
async fn keys_are_rotated_while_the_server_runs() {
    let keys = KeyFile::new(&[OLD.1.jwk(OLD.0)]);
    let server = server(&keys).await;
    let old = OLD.1.token(OLD.0, &claims("demo", "ada", "speaker"));
    let new = NEW.1.token(NEW.0, &claims("demo", "ben", "speaker"));
    let attempt = async |token: &str| {
        let mut socket = server.connect(Encoding::Json).await;
        socket.request(join("demo", Some(token))).await.map(drop).map_err(|error| error.code)
    };
    assert_eq!((attempt(&old).await, attempt(&new).await), (Ok(()), Err(ErrorCode::Unauthorized)));
    keys.write(&[NEW.1.jwk(NEW.0), OLD.1.jwk(OLD.0)]);
    assert_eq!((attempt(&old).await, attempt(&new).await), (Ok(()), Ok(())));
    std::fs::write(&keys.0, "{").expect("written");
    assert_eq!((attempt(&old).await, attempt(&new).await), (Ok(()), Ok(())), "while the file is broken, all stays as it was");
    keys.write(&[NEW.1.jwk(NEW.0)]);
    assert_eq!((attempt(&old).await, attempt(&new).await), (Err(ErrorCode::Unauthorized), Ok(())));
}

#[tokio::test]
async fn pages_of_other_origins_open_no_websocket() {
    let server = Server::start(&["--allow-origin", "https://meet.example"]).await;
    let own = format!("http://{}", server.http);
    for (origin, status) in [
        (None, 101),
        (Some(own.as_str()), 101),
        (Some("https://meet.example"), 101),
        (Some("https://evil.example"), 403),
        (Some("https://meet.example.evil.example"), 403),
        (Some("http://localhost:1"), 403),
        (Some("null"), 403),
    ] {
        let origin_line = origin.map(|origin| format!("origin: {origin}\r\n")).unwrap_or_default();
        let head = format!(
            "GET /v1/ws HTTP/1.1\r\nhost: {}\r\n{origin_line}connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            server.http
        );
        let mut stream = tokio::net::TcpStream::connect(server.http).await.expect("reachable");
        tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.expect("written");
        let mut line = [0; 12];
        tokio::time::timeout(SOON, stream.read_exact(&mut line)).await.expect("in time").expect("answered");
        assert_eq!(String::from_utf8_lossy(&line), format!("HTTP/1.1 {status}"), "{origin:?}");
    }
}

#[tokio::test]
async fn no_log_tells_a_token() {
    let keys = key_file();
    let mut server = Server::start_with(&["--access-keys", keys.path(), "--log", "trace"], Stdio::piped()).await;
    let mut stderr = server.child.stderr.take().expect("piped");
    let log = tokio::spawn(async move {
        let mut log = String::new();
        stderr.read_to_string(&mut log).await.map(|_| log)
    });
    let mut secrets = Vec::new();
    for state in STATES {
        let Some(token) = state.token("speaker", "demo").filter(|token| token.contains('.')) else { continue };
        for encoding in [Encoding::Json, Encoding::MessagePack] {
            let mut socket = server.connect(encoding).await;
            if let Ok(Reply::Joined(joined)) = socket.request(join("demo", Some(&token))).await {
                secrets.push(joined.session.token.0);
                let _ = socket.request(Request::Leave).await;
            }
        }
        for verb in [Whip, Whep] {
            let made = post(&server, verb, "demo", Some(&token)).await;
            secrets.extend(made.header("location").and_then(|path| path.rsplit('/').next()).map(str::to_owned));
        }
        secrets.extend(token.split('.').filter(|part| !part.is_empty()).map(str::to_owned));
    }
    secrets.extend([encode(&[1; 32]), encode(&[2; 32])]);
    assert!(server.terminate().await.success());
    let log = log.await.expect("read").expect("UTF-8");
    assert!(
        log.contains("has expired") && log.contains("signature") && log.contains("session ended"),
        "joins are logged, good and bad ones:\n{log}"
    );
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret} is in the log:\n{log}");
    }
}

#[tokio::test]
async fn without_keys_the_server_starts_only_for_development() {
    let serve = |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_switchyard"));
        command.args(["serve", "--http", "127.0.0.1:0", "--media-port", "0"]).args(arguments).kill_on_drop(true).stdin(Stdio::null());
        command
    };
    let refused = tokio::time::timeout(SOON, serve(&[]).output()).await.expect("in time").expect("it starts");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("--access-keys") && said.contains("--dev"), "{said}");
    let missing =
        tokio::time::timeout(SOON, serve(&["--access-keys", "/nowhere.json"]).output()).await.expect("in time").expect("it starts");
    assert!(!missing.status.success() && String::from_utf8_lossy(&missing.stderr).contains("/nowhere.json"));
    let keys = key_file();
    let mut child = serve(&["--access-keys", keys.path()]).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut line = [0; 9];
    let read = child.stdout.as_mut().expect("piped").read_exact(&mut line);
    tokio::time::timeout(SOON, read).await.expect("in time").expect("a line");
    assert_eq!(&line, b"listening");
}

#[tokio::test]
async fn what_a_moderator_does_holds() {
    let keys = key_file();
    let server = server(&keys).await;
    let (mut ada, _) = enter(&server, "demo", &token("demo", "ada", "host")).await;
    let (mut ben, as_ben) = enter(&server, "demo", &token("demo", "ben", "speaker")).await;
    let published = ben.request(Request::Publish { mid: "1".into(), source: Source::Microphone, muted: false }).await;
    let Ok(Reply::Published(published)) = published else { panic!("not published: {published:?}") };

    // Mutes: the one who is muted hears of it, and may unmute.
    assert_eq!(ada.request(Request::Mute { track: published.track, muted: true }).await, Ok(Reply::Done));
    let by = ben.event(|event| if let Event::TrackMuted { muted: true, by, .. } = event { Some(*by) } else { None }).await;
    assert!(by.is_some());
    assert_eq!(ada.request(Request::Mute { track: published.track, muted: false }).await.unwrap_err().code, ErrorCode::Forbidden);
    assert_eq!(ben.request(Request::Mute { track: published.track, muted: false }).await, Ok(Reply::Done));

    // Locks: nobody new, but who has lost the connection comes back.
    assert_eq!(ada.request(lock(true)).await, Ok(Reply::Done));
    assert!(ben.event(|event| if let Event::Settings { settings } = event { Some(settings.locked) } else { None }).await);
    let mut eve = server.connect(Encoding::Json).await;
    let refused = eve.request(join("demo", Some(&token("demo", "eve", "speaker")))).await.unwrap_err();
    assert_eq!((refused.code, refused.retryable), (ErrorCode::RoomLocked, true));
    assert_eq!(post(&server, Whep, "demo", Some(&token("demo", "eve", "listener"))).await.code(), "room_locked");
    drop(ben);
    let mut ben = server.connect(Encoding::Json).await;
    ben.resume(&as_ben, 0).await.expect("the session goes on");
    assert_eq!(ada.request(lock(false)).await, Ok(Reply::Done));
    assert!(
        matches!(eve.request(join("demo", Some(&token("demo", "eve", "speaker")))).await, Ok(Reply::Joined(_))),
        "on the same connection"
    );

    // Removes: with all that has the identity, for good.
    let played = post(&server, Whep, "demo", Some(&token("demo", "ben", "listener"))).await;
    assert_eq!(played.status, 201);
    let player = played.header("location").expect("a session").to_owned();
    assert_eq!(ada.request(Request::Remove { participant: as_ben.participant }).await, Ok(Reply::Done));
    let left =
        |event: &Event| if let Event::ParticipantLeft { participant, reason } = event { Some((*participant, *reason)) } else { None };
    assert_eq!(ada.event(left).await, (as_ben.participant, LeaveReason::Removed));
    assert_eq!(closed(&mut ben).await, (1008, "removed".into()));
    let mut again = server.connect(Encoding::Json).await;
    again.ask(Request::Resume { token: as_ben.session.token, received: 0 }).await;
    assert_eq!(closed(&mut again).await, (1008, "removed".into()));
    let mut again = server.connect(Encoding::Json).await;
    let fresh = NEW.1.token(NEW.0, &json!({ "sub": "ben", "room": "*", "role": "host", "iat": now(), "exp": now() + 900, "jti": "fresh" }));
    let refused = again.request(join("demo", Some(&fresh))).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Forbidden);
    assert_eq!(closed(&mut again).await, (1008, refused.message));
    for verb in [Whip, Whep] {
        assert_eq!(post(&server, verb, "demo", Some(&fresh)).await.status, 403);
    }
    let gone = async { while request(server.http, "GET", &player, &[], b"").await.status != 404 {} };
    tokio::time::timeout(SOON, gone).await.expect("players as well");

    // Until a moderator says otherwise.
    assert_eq!(ada.request(Request::Ban { identity: "ben".into(), banned: false }).await, Ok(Reply::Done));
    enter(&server, "demo", &fresh).await;
}

#[tokio::test]
async fn slots_come_with_the_grant() {
    let keys = key_file();
    let server = server(&keys).await;
    let (mut listener, _) = enter(&server, "demo", &token("demo", "ada", "listener")).await;
    let (mut encoder, _) = enter(&server, "demo", &token("demo", "studio", "publisher")).await;
    assert!(matches!(encoder.request(Request::Offer { sdp: OFFER.into() }).await, Ok(Reply::Answer(_))));
    assert!(matches!(listener.request(Request::Offer { sdp: OFFER.into() }).await, Ok(Reply::Answer(_))));
    let (revision, offer) = listener.event(server_offer).await;
    assert_eq!(listener.request(Request::Answer { revision, sdp: accept(&offer) }).await, Ok(Reply::Done));
    assert!(encoder.request(Request::Publish { mid: "1".into(), source: Source::Camera, muted: false }).await.is_ok());
    listener.event(|event| matches!(event, Event::Slots { slots } if slots.iter().any(|slot| slot.track.is_some())).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_who_is_removed_no_packet_comes_half_a_second_later_and_none_goes_to_them() {
    let keys = key_file();
    let server = server(&keys).await;
    let (mut ada, _) = enter(&server, "demo", &token("demo", "ada", "host")).await;
    let both = [Kind::Video, Kind::Audio];
    let mut ben = Peer::publish_as(server.http, "/v1/whip/demo", &both, &token("demo", "ben", "speaker")).await;
    let mut studio = Peer::publish_as(server.http, "/v1/whip/demo", &both, &token("demo", "studio", "publisher")).await;
    let twice = [Kind::Video, Kind::Audio, Kind::Video, Kind::Audio];
    let mut witness = Peer::play_as(server.http, "/v1/whep/demo", &twice, &token("demo", "eve", "listener")).await;
    let mut screen = Peer::play_as(server.http, "/v1/whep/demo", &twice, &token("demo", "ben", "listener")).await;
    for peer in [&mut ben, &mut studio, &mut witness, &mut screen] {
        peer.connected().await;
    }
    ben.send();
    studio.send();
    let of = |peer: &Peer| [(peer.participant(), 0), (peer.participant(), 1)];
    let (bens, studios) = (of(&ben), of(&studio));
    witness.receives(&[bens, studios].concat(), 50).await;
    screen.receives(&studios, 50).await;

    let removed = Instant::now();
    assert_eq!(ada.request(Request::Remove { participant: ParticipantId(ben.participant()) }).await, Ok(Reply::Done));
    // Both go on as if they had heard nothing of it: a second and a half of packets.
    witness.receives(&studios, 150).await;
    let late = |last: Option<Instant>| last.expect("some came").saturating_duration_since(removed);
    let stopped: Vec<Duration> =
        [late(witness.last(bens[0])), late(witness.last(bens[1])), late(screen.last(studios[0])), late(screen.last(studios[1]))].into();
    println!("the last packets, after the removal: {stopped:?}");
    assert!(stopped.iter().all(|after| *after < Duration::from_millis(500)), "{stopped:?}");
    ben.gone().await;
    screen.gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_on_a_data_channel_needs_the_grant() {
    let keys = key_file();
    let server = server(&keys).await;
    let connect = async |identity: &str, role: &str| {
        let mut options = Options::new(server.url(), "demo", identity);
        options.token = Some(Token(token("demo", identity, role)));
        let client = Client::connect(options).await.expect("let in");
        client.wait_connected(SOON).await.expect("connected");
        client
    };
    let listener = connect("listener", "listener").await;
    let (ada, ben) = (connect("ada", "speaker").await, connect("ben", "speaker").await);
    let mut heard = (ada.events(), listener.events());
    listener.send_text(None, "unheard of").await.expect("the channel is open");
    listener.send_binary(Some(ada.id()), b"unheard of").await.expect("the channel is open");
    // There is nothing that would say when the server has dropped it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    ben.send_text(None, "heard").await.expect("the channel is open");
    for events in [&mut heard.0, &mut heard.1] {
        let first = async {
            loop {
                if let ClientEvent::Data(message) = events.recv().await.expect("an event") {
                    return message;
                }
            }
        };
        let first = tokio::time::timeout(SOON, first).await.expect("in time");
        assert_eq!((first.from, first.payload), (ben.id(), DataPayload::Text("heard".into())));
    }
}
