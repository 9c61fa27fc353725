use super::{forbidden_dependencies, forbidden_words};

#[test]
fn a_clock_in_the_code_is_found_and_one_in_a_comment_or_a_test_is_not() {
    let text = "use std::time::Instant;\n// Instant::now is not for here\nfn f() { let now = Instant::now(); }\n\
                #[cfg(test)]\nmod tests {\n    fn g() { Instant::now(); }\n}\n";
    assert_eq!(forbidden_words("a.rs", text), ["a.rs:3: `Instant::now`: the time is passed in"]);
}

#[test]
fn a_test_module_in_a_file_of_its_own_hides_nothing_after_it() {
    let text = "#[cfg(test)]\nmod tests;\n\nfn f() { std::thread::sleep(x); }\n";
    assert_eq!(forbidden_words("a.rs", text).len(), 1);
}

#[test]
fn parts_of_longer_words_are_let_be() {
    assert_eq!(forbidden_words("a.rs", "fn f(strand: &str) { strand::split(); unsafely(); my_rand::x(); }\n"), Vec::<String>::new());
    assert_eq!(forbidden_words("a.rs", "fn f() { rand::random() }\n").len(), 1);
}

#[test]
fn a_runtime_is_forbidden_at_any_depth_and_randomness_only_directly() {
    let tree = "0 switchyard-rtp v0.1.0\n1 bytes v1\n2 rand v0.10.3\n3 tokio v1.54.1\n1 getrandom v0.4\n3 tokio v1.54.1 (*)\n";
    let breaches = forbidden_dependencies("switchyard-rtp", tree);
    assert_eq!(breaches.len(), 2, "{breaches:?}");
    assert!(breaches.iter().any(|breach| breach.contains("tokio")));
    assert!(breaches.iter().any(|breach| breach.contains("getrandom")));
}
