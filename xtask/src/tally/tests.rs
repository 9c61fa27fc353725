use super::{Format, Tally};

fn count(format: Format, output: &str) -> Tally {
    let mut tally = Tally::new(format);
    output.lines().for_each(|line| tally.line(line));
    tally
}

#[test]
fn tests_of_all_rust_targets_are_added_up() {
    let tally = count(
        Format::Cargo,
        "     Running unittests src/lib.rs (target/debug/deps/rtp-1)\n\
         test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
         \x20    Running tests/meeting.rs (target/debug/deps/meeting-1)\n\
         test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n",
    );
    assert_eq!((tally.passed, tally.failed, tally.skipped), (15, 2, 1));
    assert!(tally.verdict(true).is_err());
}

#[test]
fn a_rust_integration_test_without_tests_is_an_error_and_a_library_without_tests_is_not() {
    let library = "Running unittests src/lib.rs (x)\ntest result: ok. 0 passed; 0 failed; 0 ignored\n";
    let full = "Running tests/full.rs (x)\ntest result: ok. 1 passed; 0 failed; 0 ignored\n";
    let empty = "Running tests/empty.rs (x)\ntest result: ok. 0 passed; 0 failed; 1 ignored\n";
    let docs = "Doc-tests rtp\ntest result: ok. 0 passed; 0 failed; 0 ignored\n";
    assert!(count(Format::Cargo, &format!("{library}{full}{docs}")).verdict(true).is_ok());
    let error = count(Format::Cargo, &format!("{full}{empty}{docs}")).verdict(true).unwrap_err();
    assert!(error.to_string().contains("tests/empty.rs"), "{error}");
}

#[test]
fn vitest_counts_are_read() {
    let tally = count(Format::Vitest, " Test Files  2 passed (2)\n      Tests  1 failed | 12 passed | 2 skipped (15)\n   Duration  1 s\n");
    assert_eq!((tally.passed, tally.failed, tally.skipped), (12, 1, 2));
}

#[test]
fn node_counts_are_read() {
    let tally =
        count(Format::Node, "✔ a meeting (12ms)\nℹ tests 5\nℹ suites 1\nℹ pass 2\nℹ fail 1\nℹ cancelled 1\nℹ skipped 1\nℹ todo 0\n");
    assert_eq!((tally.passed, tally.failed, tally.skipped), (2, 2, 1));
}

#[test]
fn a_suite_in_which_nothing_ran_is_a_failure() {
    for format in [Format::Cargo, Format::Vitest, Format::Node] {
        assert!(count(format, "nothing to see here\n").verdict(true).is_err());
    }
    assert!(count(Format::Node, "ℹ pass 0\nℹ skipped 4\n").verdict(true).is_err());
}

#[test]
fn a_runner_that_fails_is_a_failure_even_if_its_tests_passed() {
    assert!(count(Format::Node, "ℹ pass 3\n").verdict(false).is_err());
}
