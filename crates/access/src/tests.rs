use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use switchyard_protocol::{Grants, MAX_ACCESS_TOKEN_BYTES, Source};

use super::*;

const NOW: i64 = 1_800_000_000;

/// RFC 8037 §A.1 and A.2.
const SEED: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

fn set(keys: Value) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).expect("a key set")
}

fn hmac(kid: &str, byte: u8) -> Value {
    json!({ "kty": "oct", "kid": kid, "k": URL_SAFE_NO_PAD.encode([byte; 32]) })
}

fn ed25519(kid: &str) -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": PUBLIC, "d": SEED })
}

fn claims() -> Value {
    json!({ "sub": "ada", "room": "demo", "role": "speaker", "exp": NOW + 60 })
}

/// `claims` with some others; `null` takes one away.
fn with(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

/// A token of this header and payload, signed with HMAC-SHA256.
fn token(header: Value, payload: &Value, secret: &[u8]) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&header), encode(payload));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    let signature = URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn good(payload: &Value) -> String {
    token(json!({ "alg": "HS256", "kid": "one" }), payload, &[1; 32])
}

fn judged(payload: &Value) -> Result<Access, Refusal> {
    set(json!([hmac("one", 1)])).verify(&good(payload), "demo", NOW)
}

#[test]
fn the_examples_of_the_rfcs_are_authentic() {
    // RFC 7515 §A.1: HS256. It has no `sub`.
    const SECRET: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    const JOE: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let keys = set(json!([{ "kty": "oct", "kid": "joe", "k": SECRET }]));
    assert_eq!(keys.verify(JOE, "demo", 1_300_819_000), Err(Refusal::Claim("sub")));
    assert_eq!(keys.verify(JOE, "demo", 1_300_819_380 + LEEWAY), Err(Refusal::Expired));
    // RFC 8037 §A.4: Ed25519. What is signed is no JSON.
    const EXAMPLE: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let keys = set(json!([{ "kty": "OKP", "crv": "Ed25519", "kid": "example", "x": PUBLIC }]));
    assert_eq!(keys.verify(EXAMPLE, "demo", NOW), Err(Refusal::Malformed), "authentic, but no claims");
    assert_eq!(keys.verify(&EXAMPLE.replace("RXhh", "RXhi"), "demo", NOW), Err(Refusal::Signature));
}

#[test]
fn a_new_token_says_what_it_was_told_to() {
    for algorithm in [Algorithm::Hs256, Algorithm::EdDsa] {
        let keys = KeySet::new(Key::new(algorithm, "new", [7; 32]));
        let claims = Claims {
            identity: "ada@example.org".into(),
            name: Some("Ada 🚂".into()),
            room: "demo".into(),
            role: Some(Role::Listener),
            not_before: Some(NOW),
            expires: NOW + 60,
            issued_at: Some(NOW),
            id: Some("0123".into()),
            ..Claims::default()
        };
        let token = keys.sign(&claims).expect("a private key");
        let grants = Grants { subscribe: true, ..Grants::default() };
        let access = Access { identity: "ada@example.org".into(), name: Some("Ada 🚂".into()), grants };
        assert_eq!(keys.verify(&token, "demo", NOW), Ok(access.clone()));
        let written = KeySet::parse(keys.to_json().as_bytes()).expect("written as it is read");
        assert_eq!(written.verify(&token, "demo", NOW), Ok(access.clone()));
        match algorithm {
            Algorithm::Hs256 => assert_eq!(keys.public_json(), None, "there is nothing public about it"),
            Algorithm::EdDsa => {
                let public = keys.public_json().expect("a public key");
                assert!(!public.contains("\"d\""), "{public}");
                let public = KeySet::parse(public.as_bytes()).expect("a set");
                assert_eq!(public.verify(&token, "demo", NOW), Ok(access));
                assert_eq!(public.sign(&claims), Err(NoSigningKey));
            }
        }
    }
}

#[test]
fn a_token_is_good_from_its_beginning_to_its_end_and_ten_seconds_more() {
    let payload = with(json!({ "nbf": NOW, "exp": NOW + 60 }));
    let keys = set(json!([hmac("one", 1)]));
    for (at, outcome) in [
        (NOW - 11, Some(Refusal::NotYet)),
        (NOW - 10, None),
        (NOW + 69, None),
        (NOW + 70, Some(Refusal::Expired)),
        (i64::MAX, Some(Refusal::Expired)),
        (i64::MIN, Some(Refusal::NotYet)),
    ] {
        assert_eq!(keys.verify(&good(&payload), "demo", at).err(), outcome, "at {}", i128::from(at) - i128::from(NOW));
    }
    for (exp, outcome) in [
        (json!(NOW as f64 + 0.5), None),
        (json!(1e300), None),
        (json!(-1e300), Some(Refusal::Expired)),
        (json!(i64::MIN), Some(Refusal::Expired)),
        (json!("tomorrow"), Some(Refusal::Claim("exp"))),
        (json!(u64::MAX), None),
        (Value::Null, Some(Refusal::Claim("exp"))),
    ] {
        assert_eq!(judged(&with(json!({ "exp": exp }))).err(), outcome, "{exp}");
    }
}

#[test]
fn what_a_token_does_not_say_is_not_granted() {
    let all = || Source::ALL.to_vec();
    let speaker = Grants { publish: all(), subscribe: true, data: true, moderate: false };
    for (changes, outcome) in [
        (json!({}), Ok(speaker.clone())),
        (json!({ "role": "host" }), Ok(Grants { moderate: true, ..speaker.clone() })),
        (json!({ "role": "listener" }), Ok(Grants { subscribe: true, ..Grants::default() })),
        (json!({ "role": "publisher" }), Ok(Grants { publish: all(), ..Grants::default() })),
        (json!({ "role": null }), Err(Refusal::NotGranted)),
        (json!({ "role": "admin" }), Err(Refusal::UnknownRole)),
        (json!({ "role": "Host" }), Err(Refusal::UnknownRole)),
        (json!({ "role": 1 }), Err(Refusal::Claim("role"))),
        (json!({ "role": "admin", "grants": { "join": true } }), Err(Refusal::UnknownRole)),
        (json!({ "role": "host", "grants": {} }), Err(Refusal::NotGranted)),
        (json!({ "role": "host", "grants": { "join": true } }), Ok(Grants::default())),
        (
            json!({ "role": null, "grants": { "join": true, "publish": ["camera"] } }),
            Ok(Grants { publish: vec![Source::Camera], ..Grants::default() }),
        ),
        (json!({ "grants": { "join": true, "publish": ["webcam"] } }), Err(Refusal::Claim("grants"))),
        (json!({ "grants": { "join": true, "publish": true } }), Err(Refusal::Claim("grants"))),
        (json!({ "grants": { "join": true, "record": true } }), Err(Refusal::Claim("grants"))),
        (json!({ "grants": { "join": 1 } }), Err(Refusal::Claim("grants"))),
    ] {
        assert_eq!(judged(&with(changes.clone())).map(|access| access.grants), outcome, "{changes}");
    }
}

#[test]
fn managing_needs_its_grant_and_is_not_joining() {
    let keys = set(json!([hmac("one", 1)]));
    let managed = |changes| keys.verify_manager(&good(&with(changes)), NOW);
    let managing = |scope| Ok(Managed { scope, until: NOW + 60 + LEEWAY });
    assert_eq!(managed(json!({ "role": "server" })), managing(Scope::One("demo".into())));
    assert_eq!(managed(json!({ "role": "server", "room": "*" })), managing(Scope::Every));
    assert_eq!(managed(json!({ "role": null, "grants": { "manage": true } })), managing(Scope::One("demo".into())));
    for role in ["host", "speaker", "listener", "publisher"] {
        assert_eq!(managed(json!({ "role": role })), Err(Refusal::NotManaging));
    }
    assert_eq!(managed(json!({ "role": "server", "grants": { "join": true, "moderate": true } })), Err(Refusal::NotManaging));
    assert_eq!(managed(json!({ "role": "server", "exp": NOW - 60 })), Err(Refusal::Expired));
    assert_eq!(judged(&with(json!({ "role": "server" }))).err(), Some(Refusal::NotGranted));
}

#[test]
fn a_claim_that_is_missing_or_wrong_is_named() {
    let long = "x".repeat(129);
    for (changes, refusal) in [
        (json!({ "sub": null }), Refusal::Claim("sub")),
        (json!({ "sub": "" }), Refusal::Claim("sub")),
        (json!({ "sub": 7 }), Refusal::Claim("sub")),
        (json!({ "sub": long }), Refusal::Claim("sub")),
        (json!({ "sub": "a\nb" }), Refusal::Claim("sub")),
        (json!({ "name": " " }), Refusal::Claim("name")),
        (json!({ "name": "a\u{7}" }), Refusal::Claim("name")),
        (json!({ "nbf": "now" }), Refusal::Claim("nbf")),
        (json!({ "room": null }), Refusal::Claim("room")),
        (json!({ "room": "Demo" }), Refusal::WrongRoom),
        (json!({ "room": "demo2" }), Refusal::WrongRoom),
        (json!({ "room": "" }), Refusal::WrongRoom),
        (json!({ "room": "de*" }), Refusal::WrongRoom),
        (json!({ "aud": "billing" }), Refusal::Audience),
        (json!({ "aud": ["billing"] }), Refusal::Audience),
        (json!({ "aud": [] }), Refusal::Audience),
        (json!({ "aud": 1 }), Refusal::Claim("aud")),
    ] {
        assert_eq!(judged(&with(changes.clone())).err(), Some(refusal), "{changes}");
    }
    for changes in [json!({ "room": "*" }), json!({ "aud": "switchyard" }), json!({ "aud": ["a", "switchyard"] }), json!({ "iss": {} })] {
        assert_eq!(judged(&with(changes.clone())).err(), None, "{changes}");
    }
    // A claim twice could mean either.
    let twice = r#"{"sub":"ada","room":"demo","room":"*","role":"host","exp":1900000000}"#;
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(twice));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &[1; 32]);
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, signed.as_bytes())));
    assert_eq!(set(json!([hmac("one", 1)])).verify(&token, "demo", NOW), Err(Refusal::Malformed));
}

#[test]
fn the_algorithm_is_the_keys_and_the_key_is_the_servers() {
    let public = URL_SAFE_NO_PAD.decode(PUBLIC).unwrap();
    let keys = set(json!([hmac("one", 1), hmac("two", 2), ed25519("ed")]));
    for (header, secret, refusal) in [
        (json!({ "alg": "HS256", "kid": "one" }), &[1; 32][..], None),
        (json!({ "alg": "HS256", "kid": "one", "typ": "jwt" }), &[1; 32], None),
        (json!({ "alg": "HS256", "kid": "two" }), &[1; 32], Some(Refusal::Signature)),
        (json!({ "alg": "HS256", "kid": "ed" }), &public, Some(Refusal::Algorithm)),
        (json!({ "alg": "EdDSA", "kid": "ed" }), &public, Some(Refusal::Signature)),
        (json!({ "alg": "HS256", "kid": "three" }), &[1; 32], Some(Refusal::UnknownKey)),
        (json!({ "alg": "HS256", "kid": "" }), &[1; 32], Some(Refusal::UnknownKey)),
        (json!({ "alg": "HS256" }), &[1; 32], Some(Refusal::NoKeyId)),
        (json!({ "alg": "HS256", "kid": 1 }), &[1; 32], Some(Refusal::Malformed)),
        (json!({ "alg": "HS512", "kid": "one" }), &[1; 32], Some(Refusal::Algorithm)),
        (json!({ "alg": "RS256", "kid": "one" }), &[1; 32], Some(Refusal::Algorithm)),
        (json!({ "alg": "none", "kid": "one" }), &[1; 32], Some(Refusal::Algorithm)),
        (json!({ "alg": "hs256", "kid": "one" }), &[1; 32], Some(Refusal::Algorithm)),
        (json!({ "kid": "one" }), &[1; 32], Some(Refusal::Malformed)),
        (json!({ "alg": "HS256", "kid": "one", "crit": ["b64"], "b64": false }), &[1; 32], Some(Refusal::Critical)),
        (json!({ "alg": "HS256", "kid": "one", "typ": "at+jwt" }), &[1; 32], Some(Refusal::Malformed)),
        // A key that the token brings along is nobody's.
        (json!({ "alg": "HS256", "kid": "two", "jwk": hmac("two", 1) }), &[1; 32], Some(Refusal::Signature)),
    ] {
        assert_eq!(keys.verify(&token(header.clone(), &claims(), secret), "demo", NOW).err(), refusal, "{header}");
    }
    // Without a signature, in every way of writing it.
    for alg in ["none", "None", "NONE", "HS256"] {
        let whole = token(json!({ "alg": alg, "kid": "one" }), &claims(), &[1; 32]);
        let (signed, _) = whole.rsplit_once('.').expect("three parts");
        let refused = keys.verify(&format!("{signed}."), "demo", NOW).expect_err(alg);
        assert!(matches!(refused, Refusal::Algorithm | Refusal::Signature), "{alg}: {refused}");
        assert_eq!(keys.verify(signed, "demo", NOW), Err(Refusal::Malformed), "{alg}");
    }
    // With one key no name is needed.
    let unnamed = token(json!({ "alg": "HS256" }), &claims(), &[1; 32]);
    assert!(set(json!([hmac("one", 1)])).verify(&unnamed, "demo", NOW).is_ok());
}

#[test]
fn what_is_no_token_is_refused_before_it_is_looked_into() {
    let keys = set(json!([hmac("one", 1)]));
    let token = good(&claims());
    let large = good(&with(json!({ "padding": "x".repeat(MAX_ACCESS_TOKEN_BYTES) })));
    assert_eq!(keys.verify(&large, "demo", NOW), Err(Refusal::TooLong));
    let array = self::token(json!({ "alg": "HS256" }), &json!([1]), &[1; 32]);
    for text in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "Bearer x",
        "e30.e30.e30",
        &format!("{token}="),
        &format!("{token}.x"),
        &format!(" {token}"),
        &array,
    ] {
        assert_eq!(keys.verify(text, "demo", NOW), Err(Refusal::Malformed), "{text}");
    }
}

#[test]
fn keys_are_of_one_purpose_and_strong_enough() {
    let short = json!({ "kty": "oct", "kid": "a", "k": URL_SAFE_NO_PAD.encode([1; 31]) });
    let other = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "a", "x": URL_SAFE_NO_PAD.encode([1; 32]), "d": SEED });
    let change = |key: Value, name: &str, value: Value| {
        let mut key = key;
        key[name] = value;
        key
    };
    let rsa = json!({ "kty": "RSA", "kid": "a", "n": "x", "e": "AQAB" });
    for (keys, error) in [
        (json!([]), KeyError::None),
        (json!([rsa]), KeyError::None),
        (json!([short]), KeyError::Secret("a".into())),
        (json!([change(hmac("a", 1), "k", json!("+/+"))]), KeyError::Secret("a".into())),
        (json!([change(hmac("a", 1), "kid", Value::Null)]), KeyError::KeyId(1)),
        (json!([hmac("a", 1), hmac(&"x".repeat(65), 2)]), KeyError::KeyId(2)),
        (json!([hmac("a", 1), ed25519("a")]), KeyError::Twice("a".into())),
        (json!([change(hmac("a", 1), "alg", json!("HS512"))]), KeyError::Purpose("a".into())),
        (json!([change(hmac("a", 1), "alg", json!("EdDSA"))]), KeyError::Purpose("a".into())),
        (json!([change(hmac("a", 1), "use", json!("enc"))]), KeyError::Purpose("a".into())),
        (json!([change(hmac("a", 1), "key_ops", json!(["sign"]))]), KeyError::Purpose("a".into())),
        (json!([other]), KeyError::Pair("a".into())),
        (json!([change(ed25519("a"), "x", json!("AA"))]), KeyError::Pair("a".into())),
        (json!([change(ed25519("a"), "d", json!("AA"))]), KeyError::Pair("a".into())),
        (json!((0..33).map(|n| hmac(&n.to_string(), n)).collect::<Vec<_>>()), KeyError::TooMany),
    ] {
        let text = json!({ "keys": keys }).to_string();
        assert_eq!(KeySet::parse(text.as_bytes()).map(drop), Err(error), "{text}");
    }
    let mixed = set(json!([rsa, change(ed25519("ed"), "alg", json!("Ed25519")), change(hmac("one", 1), "use", json!("sig"))]));
    assert_eq!(mixed.keys().iter().map(Key::id).collect::<Vec<_>>(), ["ed", "one"]);
    assert_eq!(KeySet::parse(b"{\n\"keys\": 1}").map(drop), Err(KeyError::Malformed { line: 2, column: 9 }));
    assert_eq!(KeySet::parse(&[b' '; 70_000]).map(drop), Err(KeyError::TooLong));
}

#[test]
fn after_a_rotation_old_tokens_are_good_for_as_long_as_their_key_is_kept() {
    let mut keys = KeySet::new(Key::new(Algorithm::Hs256, "first", [1; 32]));
    let claims = Claims { identity: "ada".into(), room: "demo".into(), role: Some(Role::Host), expires: NOW + 60, ..Claims::default() };
    let tokens: Vec<String> = (2..5)
        .map(|n| {
            let token = keys.sign(&claims).expect("it signs");
            keys.rotate(Key::new(Algorithm::EdDsa, format!("key {n}"), [n; 32]), 1);
            token
        })
        .collect();
    let outcomes: Vec<_> = tokens.iter().map(|token| keys.verify(token, "demo", NOW).map(|access| access.identity)).collect();
    assert_eq!(outcomes, [Err(Refusal::UnknownKey), Err(Refusal::UnknownKey), Ok("ada".into())]);
    assert_eq!(keys.keys().len(), 2);
}

#[test]
fn neither_keys_nor_refusals_show_what_they_are_about() {
    let keys = set(json!([hmac("one", 0x55), ed25519("ed")]));
    let shown = format!("{keys:?}");
    assert!(
        shown.contains("one") && !shown.contains("VVVV") && !shown.contains("0x55") && !shown.contains("85") && !shown.contains(SEED),
        "{shown}"
    );
    let text = r#"{"keys":[{"kty":"oct","kid":"a","k":"c2VjcmV0"}]}"#;
    assert!(!KeySet::parse(text.as_bytes()).unwrap_err().to_string().contains("c2Vj"));
}

proptest::proptest! {
    #[test]
    fn a_changed_token_is_never_good(at in 0usize..1000, byte in proptest::num::u8::ANY) {
        let keys = set(json!([hmac("one", 1)]));
        let mut token = good(&claims()).into_bytes();
        let at = at % token.len();
        proptest::prop_assume!(token[at] != byte);
        token[at] = byte;
        if let Ok(token) = String::from_utf8(token) {
            proptest::prop_assert!(keys.verify(&token, "demo", NOW).is_err());
        }
    }

    #[test]
    fn random_text_is_refused_without_panic(text in ".{0,200}", bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let keys = set(json!([hmac("one", 1)]));
        proptest::prop_assert!(keys.verify(&text, "demo", NOW).is_err());
        let payload = format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&bytes));
        proptest::prop_assert!(keys.verify(&payload, "demo", NOW).is_err());
        let _ = KeySet::parse(&bytes);
    }
}
