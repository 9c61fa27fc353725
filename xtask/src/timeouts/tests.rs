use super::{constant, times};

#[test]
fn a_time_is_found_with_its_value() {
    let known = [
        ("pub(crate) const CONSENT: Duration = Duration::from_secs(30);", "CONSENT", "30 s"),
        ("const RETRY: Duration = Duration::from_millis(1_500);", "RETRY", "1500 ms"),
        ("const GIVE_UP: Duration = Duration::from_millis(1_000);", "GIVE_UP", "1 s"),
        ("    const TICK: Duration = Duration::from_micros(250);", "TICK", "250 µs"),
        ("const DAY: Duration = Duration::from_secs(24 * 3600);", "DAY", "86400 s"),
        ("export const OPEN_TIMEOUT = 10_000;", "OPEN_TIMEOUT", "10 s"),
    ];
    for (line, name, value) in known {
        assert_eq!(constant(line), Some((name.to_owned(), value.to_owned())), "{line}");
    }
}

#[test]
fn what_is_no_time_is_let_be() {
    for line in ["const MAX_CHAT = 500;", "const PACE: u32 = 50;", "let timeout = Duration::from_secs(1);", "const NAME_KEY = \"TIME\";"] {
        assert_eq!(constant(line), None, "{line}");
    }
}

#[test]
fn the_comment_above_says_why() {
    let rust = "/// Not this one.\n\n/// How long\n/// it takes.\nconst A: Duration = Duration::from_secs(1);\nconst B: Duration = Duration::from_secs(2);\n";
    let found: Vec<_> = times(rust).into_iter().map(|time| (time.name, time.why)).collect();
    assert_eq!(found, [("A".to_owned(), "How long it takes.".to_owned()), ("B".to_owned(), String::new())]);
    let script = "/** Milliseconds\n * to wait. */\nexport const OPEN_TIMEOUT = 2_000;\n";
    assert_eq!(times(script)[0].why, "Milliseconds to wait.");
}

#[test]
fn times_of_tests_are_let_be() {
    let text = "/// One.\nconst A: Duration = Duration::from_secs(1);\n#[cfg(test)]\nmod tests {\n    const B: Duration = Duration::from_secs(2);\n}\n";
    assert_eq!(times(text).len(), 1);
}
