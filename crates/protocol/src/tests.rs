use super::*;

fn round_trip(encoding: Encoding, request: Request) {
    let message = ClientMessage { id: 7, request };
    let bytes = encoding.encode_client(&message);
    assert_eq!(encoding.decode_client(&bytes), Ok(message));
}

#[test]
fn every_request_survives_both_encodings() {
    let requests = [
        Request::Join { room: "demo".into(), name: "Ada Lovelace 🚂".into(), token: None, password: None },
        Request::Join { room: "demo".into(), name: "Ada".into(), token: Some("eyJ.eyJ.x".into()), password: Some("tea at four".into()) },
        Request::Resume { token: "3f0e1d2c4b5a69788796a5b4c3d2e1f0".into(), received: 17 },
        Request::Renew { received: 17 },
        Request::Offer { sdp: "v=0\r\n".into() },
        Request::Answer { revision: 3, sdp: "v=0\r\n".into() },
        Request::Candidate { candidate: "candidate:1 1 UDP 1 192.0.2.1 9 typ host".into(), mid: Some("0".into()) },
        Request::Candidate { candidate: String::new(), mid: None },
        Request::EndOfCandidates,
        Request::Publish { mid: "1".into(), source: Source::ScreenAudio, muted: true },
        Request::BackUp {
            track: TrackId(1),
            backup: Some(Backup { mid: "5".into(), codec: VideoCodec::Vp8, instead_of: VideoCodec::Av1 }),
        },
        Request::BackUp { track: TrackId(1), backup: None },
        Request::Unpublish { track: TrackId(1) },
        Request::Mute { track: TrackId(1), muted: true },
        Request::Subscribe { track: TrackId(2) },
        Request::Unsubscribe { track: TrackId(2) },
        Request::Pause { track: TrackId(2), paused: true },
        Request::View { tracks: vec![TrackView { track: TrackId(2), width: 640, height: 360, pinned: true }], others: true },
        Request::Rename { name: "Grace".into() },
        Request::Chat { text: "hello".into(), to: Some(ParticipantId(4)) },
        Request::Remove { participant: ParticipantId(4) },
        Request::Ban { identity: "ben@example.org".into(), banned: true },
        Request::Configure { settings: RoomSettingsChange { locked: Some(true), ..RoomSettingsChange::default() } },
        Request::Configure {
            settings: RoomSettingsChange { lobby: Some(true), password: Some("".into()), max_participants: Some(9), locked: None },
        },
        Request::Admit { guest: Some(GuestId(3)) },
        Request::Deny { guest: None },
        Request::IceServers,
        Request::Ping { received: None },
        Request::Ping { received: Some(7) },
        Request::Leave,
    ];
    for request in requests {
        round_trip(Encoding::Json, request.clone());
        round_trip(Encoding::MessagePack, request);
    }
}

#[test]
fn the_list_of_types_is_the_list_of_requests() {
    for name in Request::TYPES {
        let bytes = format!(r#"{{"id":1,"type":"{name}"}}"#);
        match Encoding::Json.decode_client(bytes.as_bytes()) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.error.code, ErrorCode::Malformed, "{name}: {}", error.error.message),
        }
    }
    let error = serde_json::from_str::<Request>(r#"{"type":"nothing"}"#).unwrap_err().to_string();
    for name in Request::TYPES {
        assert!(error.contains(&format!("`{name}`")), "{name} is not a variant: {error}");
    }
    assert_eq!(error.matches('`').count() / 2 - 1, Request::TYPES.len(), "{error}");
}

#[test]
fn malformed_json_gets_its_typed_error() {
    let deep = format!(r#"{{"id":1,"type":"ping","x":{}{}}}"#, "[".repeat(40), "]".repeat(40));
    let long_name = format!(r#"{{"id":1,"type":"join","room":"a","name":"{}"}}"#, "n".repeat(MAX_NAME_CHARS + 1));
    let long_chat = format!(r#"{{"id":1,"type":"chat","text":"{}"}}"#, "n".repeat(MAX_CHAT_BYTES + 1));
    let long_token = format!(r#"{{"id":1,"type":"join","room":"a","name":"a","token":"{}"}}"#, "n".repeat(MAX_ACCESS_TOKEN_BYTES + 1));
    let long_password = format!(r#"{{"id":1,"type":"join","room":"a","name":"a","password":"{}"}}"#, "n".repeat(MAX_PASSWORD_CHARS + 1));
    let long_new = format!(r#"{{"id":1,"type":"configure","settings":{{"password":"{}"}}}}"#, "n".repeat(MAX_PASSWORD_CHARS + 1));
    let tracks = vec![TrackView { track: TrackId(1), width: 1, height: 1, pinned: false }; MAX_VIEW_TRACKS + 1];
    let many = String::from_utf8(Encoding::Json.encode_client(&ClientMessage { id: 1, request: Request::View { tracks, others: false } }));
    let many = many.expect("JSON");
    let large = " ".repeat(MAX_MESSAGE_BYTES + 1);
    let table: &[(&str, Option<u32>, ErrorCode)] = &[
        ("", None, ErrorCode::Malformed),
        ("null", None, ErrorCode::Malformed),
        ("{", None, ErrorCode::Malformed),
        ("{}", None, ErrorCode::Malformed),
        (r#"{"type":"ping"}"#, None, ErrorCode::Malformed),
        (r#"{"id":-1,"type":"ping"}"#, None, ErrorCode::Malformed),
        (r#"{"id":4294967296,"type":"ping"}"#, None, ErrorCode::Malformed),
        (r#"{"id":1}"#, Some(1), ErrorCode::Malformed),
        (r#"{"id":1,"type":"dance"}"#, Some(1), ErrorCode::UnknownType),
        (r#"{"id":1,"type":"join"}"#, Some(1), ErrorCode::Malformed),
        (r#"{"id":1,"type":"join","room":"a b","name":"n"}"#, Some(1), ErrorCode::InvalidRoom),
        (r#"{"id":1,"type":"join","room":"","name":"n"}"#, Some(1), ErrorCode::InvalidRoom),
        (r#"{"id":1,"type":"join","room":"../etc","name":"n"}"#, Some(1), ErrorCode::InvalidRoom),
        (r#"{"id":1,"type":"join","room":"a","name":" "}"#, Some(1), ErrorCode::InvalidName),
        (r#"{"id":1,"type":"join","room":"a","name":"a\u0007"}"#, Some(1), ErrorCode::InvalidName),
        (&long_name, Some(1), ErrorCode::InvalidName),
        (r#"{"id":1,"type":"publish","mid":"","source":"camera"}"#, Some(1), ErrorCode::InvalidMid),
        (r#"{"id":1,"type":"publish","mid":"a b","source":"camera"}"#, Some(1), ErrorCode::InvalidMid),
        (r#"{"id":1,"type":"publish","mid":"0","source":"smell"}"#, Some(1), ErrorCode::Malformed),
        (r#"{"id":1,"type":"chat","text":"  "}"#, Some(1), ErrorCode::InvalidChat),
        (&long_chat, Some(1), ErrorCode::InvalidChat),
        (r#"{"id":1,"type":"ban","identity":"","banned":true}"#, Some(1), ErrorCode::InvalidIdentity),
        (&long_token, Some(1), ErrorCode::Unauthorized),
        (&long_password, Some(1), ErrorCode::WrongPassword),
        (&long_new, Some(1), ErrorCode::InvalidSettings),
        (r#"{"id":1,"type":"configure","settings":{"max_participants":0}}"#, Some(1), ErrorCode::InvalidSettings),
        (&many, Some(1), ErrorCode::LimitReached),
        (r#"{"id":1,"type":"view","tracks":[{"track":1,"width":-1,"height":1}]}"#, Some(1), ErrorCode::Malformed),
        (&deep, None, ErrorCode::TooDeep),
        (&large, None, ErrorCode::TooLarge),
    ];
    for (bytes, id, code) in table {
        let error = Encoding::Json.decode_client(bytes.as_bytes()).expect_err(&bytes[..bytes.len().min(80)]);
        assert_eq!((error.id, error.error.code), (*id, *code), "{:?}: {}", &bytes[..bytes.len().min(80)], error.error.message);
    }
}

#[test]
fn deep_and_trailing_messagepack_is_refused() {
    let mut deep = vec![0x83, 0xa2, b'i', b'd', 1, 0xa4, b't', b'y', b'p', b'e', 0xa4, b'p', b'i', b'n', b'g', 0xa1, b'x'];
    deep.extend(std::iter::repeat_n(0x91, 100_000));
    deep.push(0xc0);
    assert_eq!(Encoding::MessagePack.decode_client(&deep).unwrap_err().error.code, ErrorCode::TooDeep);

    let mut trailing = Encoding::MessagePack.encode_client(&ClientMessage { id: 1, request: Request::Ping { received: None } });
    trailing.push(0xc0);
    assert_eq!(Encoding::MessagePack.decode_client(&trailing).unwrap_err().error.code, ErrorCode::Malformed);
}

#[test]
fn a_token_is_a_string_on_the_wire_and_nothing_in_a_log() {
    let resume = Request::Resume { token: "3f0e1d2c".into(), received: 17 };
    let join = Request::Join { room: "demo".into(), name: "Ada".into(), token: Some("3f0e1d2c".into()), password: Some("3f0e1d2c".into()) };
    assert!(!format!("{join:?}").contains("3f0e"), "{join:?}");
    let session = Session { token: "3f0e1d2c".into(), resume_within: 60_000 };
    let json = Encoding::Json.encode_client(&ClientMessage { id: 1, request: resume.clone() });
    assert_eq!(String::from_utf8(json).unwrap(), r#"{"id":1,"type":"resume","token":"3f0e1d2c","received":17}"#);
    assert_eq!(serde_json::to_string(&session).unwrap(), r#"{"token":"3f0e1d2c","resume_within":60000}"#);
    assert!(!format!("{resume:?} {session:?}").contains("3f0e"), "{resume:?} {session:?}");
    let long = Request::Resume { token: Token("x".repeat(MAX_TOKEN_BYTES + 1)), received: 0 };
    assert_eq!(long.validate().unwrap_err().code, ErrorCode::NoSuchSession);
}

#[test]
fn brackets_in_strings_are_not_depth() {
    let text = "[{".repeat(100);
    round_trip(Encoding::Json, Request::Chat { text, to: None });
}

#[test]
fn the_typescript_module_declares_every_request() {
    let module = typescript();
    for name in Request::TYPES {
        assert!(module.contains(&format!("\"type\": \"{name}\"")), "{name} is missing from:\n{module}");
    }
}

proptest::proptest! {
    #[test]
    fn random_bytes_are_refused_without_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let _ = Encoding::Json.decode_client(&bytes);
        let _ = Encoding::MessagePack.decode_client(&bytes);
    }
}
