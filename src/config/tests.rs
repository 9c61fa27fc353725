use clap::Parser;

use super::*;

fn wrong(text: &str) -> Vec<String> {
    options("x.toml", text, |_| true).expect_err("something is wrong").iter().map(ToString::to_string).collect()
}

fn right(text: &str) -> Vec<String> {
    let options = options("x.toml", text, |_| true).unwrap_or_else(|wrong| panic!("{wrong:?}"));
    options.into_iter().map(|option| option.into_string().expect("UTF-8")).collect()
}

#[test]
fn every_key_is_an_option_and_an_environment_variable_of_the_same_name() {
    assert!(keys().count() > 10);
    for arg in keys() {
        let id = arg.get_id().as_str();
        assert_eq!(arg.get_long(), Some(id.replace('_', "-").as_str()), "{id}");
        assert_eq!(arg.get_env().and_then(|env| env.to_str()), Some(format!("SWITCHYARD_{}", id.to_uppercase()).as_str()), "{id}");
        assert!(arg.get_help().is_some_and(|help| help.to_string().len() > 10), "{id} says nothing of itself");
        assert!(arg.get_default_values().len() <= 1, "{id}");
    }
    for live in LIVE {
        assert!(keys().any(|arg| arg.get_id() == live), "{live} is no key");
    }
}

#[test]
fn a_files_keys_become_options() {
    assert_eq!(
        right("dev = true\nspan_rooms = false\nmedia_port = 3478\nadvertise = ['192.0.2.7', '2001:db8::1']\nlog = 'debug'"),
        ["--advertise=192.0.2.7", "--advertise=2001:db8::1", "--dev", "--log=debug", "--media-port=3478"]
    );
    assert_eq!(right("advertise = '192.0.2.7'"), ["--advertise=192.0.2.7"], "a list of one");
    assert_eq!(right("# nothing"), [""; 0]);
}

#[test]
fn each_error_says_where_it_is_and_what_would_be_right() {
    for (text, place, hints) in [
        ("media_prot = 1", "x.toml:1:1: ", &["media_port"][..]),
        ("\n  blubb = 1", "x.toml:2:3: ", &["no key blubb", "config example"]),
        ("dev = true\nmedia_port = 70000", "x.toml:2:14: ", &["media_port", "70000", "UDP port", "http"]),
        ("media_port = -1", "x.toml:1:14: ", &["-1"]),
        ("media_port = 0x10", "x.toml:1:14: ", &["decimals"]),
        ("media_port = [1]", "x.toml:1:14: ", &["not a list"]),
        ("media_port = true", "x.toml:1:14: ", &["media_port"]),
        ("media_port = 2026-11-28", "x.toml:1:14: ", &["date"]),
        ("dev = 'yes'", "x.toml:1:7: ", &["true or false"]),
        ("advertise = ['192.0.2.7', 'here']", "x.toml:1:27: ", &["\"here\"", "advertise"]),
        ("http = 'localhost'", "x.toml:1:8: ", &["ADDRESS:PORT"]),
        ("log = 'a=b=c'", "x.toml:1:7: ", &["a=b=c"]),
        ("log_format = 'xml'", "x.toml:1:14: ", &["text", "json"]),
        ("heard = 57", "x.toml:1:9: ", &["1..=56"]),
        ("[media]\nport = 1", "x.toml:1:2: ", &["no section [media]"]),
        ("config = 'y.toml'", "x.toml:1:1: ", &["no key config"]),
        ("request_timeout_ms = 1", "x.toml:1:1: ", &["no key"]),
        ("dev = true\ndev = true", "x.toml:2:1: ", &["duplicate"]),
        ("dev = ", "x.toml:1:", &[]),
    ] {
        let wrong = wrong(text);
        assert_eq!(wrong.len(), 1, "{text}: {wrong:?}");
        assert!(wrong[0].starts_with(place), "{text}: {}", wrong[0]);
        for hint in hints {
            assert!(wrong[0].contains(hint), "{text}: {} does not say {hint}", wrong[0]);
        }
    }
    assert_eq!(wrong("heard = 0\nshown = 0\nblubb = 0").len(), 3, "all that is wrong is said at once");
}

#[test]
fn the_example_is_a_file_that_changes_nothing() {
    let options = right(&example());
    let default = Cli::command().try_get_matches_from(["switchyard", "serve"]).expect("defaults");
    let with = Cli::command().try_get_matches_from(["switchyard".into(), "serve".into()].into_iter().chain(options)).expect("options");
    let written = |matches: &ArgMatches| written(matches.subcommand_matches("serve").expect("serve")).0;
    assert_eq!(written(&with), written(&default));
    for arg in keys() {
        assert!(example().contains(&format!("{} =", arg.get_id())), "{} is not in it", arg.get_id());
    }
}

#[test]
fn what_contradicts_itself_is_said() {
    let check = |arguments: &[&str]| match Cli::parse_from([&["switchyard", "serve"], arguments].concat()).command {
        Command::Serve(serve) => serve.check(),
        _ => panic!("not serve"),
    };
    let (url, secret) = (["--turn-url", "turn:a.example"], ["--turn-secret-file", "x"]);
    for (arguments, hint) in [
        (vec![], None),
        ([url, secret].concat(), None),
        ([&url[..], &secret, &["--relay-only"]].concat(), None),
        (url.to_vec(), Some("turn_secret_file")),
        (secret.to_vec(), Some("turn_url")),
        (vec!["--relay-only"], Some("turn_url")),
    ] {
        let said = check(&arguments);
        assert_eq!(said.err().map(|said| hint.is_some_and(|hint| said.contains(hint))), hint.map(|_| true), "{arguments:?}: {said:?}");
    }
}

#[test]
fn times_have_bounds() {
    for (option, wrong) in
        [("--drain", "31d"), ("--drain", "18446744073709551615s"), ("--turn-lifetime", "59s"), ("--turn-lifetime", "1000y")]
    {
        assert!(Cli::try_parse_from(["switchyard", "serve", option, wrong]).is_err(), "{option} {wrong}");
    }
}

#[test]
fn what_has_changed_is_known() {
    let read = |text: &[&str]| {
        let arguments = [&["switchyard", "serve"], text].concat();
        load(arguments.into_iter().map(OsString::from)).expect("right").1
    };
    let before = read(&["--heard", "3", "--advertise", "192.0.2.7"]);
    for (now, changed) in [
        (&["--advertise=192.0.2.7", "--heard", "3"][..], &[][..]),
        (&["--heard", "4", "--advertise", "192.0.2.7"], &["heard"]),
        (&["--heard", "3", "--advertise", "192.0.2.7", "--advertise", "192.0.2.8", "--dev"], &["advertise", "dev"]),
        (&["--heard", "3"], &["advertise"]),
    ] {
        assert_eq!(read(now).changed(&before).collect::<Vec<_>>(), changed, "{now:?}");
    }
}
