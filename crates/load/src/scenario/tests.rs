use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::*;
use crate::traffic::{AudioConfig, FixedConfig, ScreenConfig, VideoConfig};

const MEETING: &str = r#"name = "meeting"
description = "Everybody with everybody."
duration = "20s"
warm_up = "3s"
ramp = "5/s"
rooms = 2
scale = "participants"

[[roles]]
name = "talker"
count = 2
video = { bitrate = "1 Mbit/s", encodings = [{ rid = "l", share = "25 %", scale = 2 }, { rid = "h", share = "75 %" }] }
audio = {}
uplink = "loss=5%,delay=60ms"
downlink = { rate = "2 Mbit/s" }
churn = "20s"

[[roles]]
name = "viewer"
count = 3
subscribe = "all"
shows = [{ width = 640, height = 360 }, { width = 320, height = 180, count = 8 }]
rotates = "5s"
"#;

fn error(text: &str) -> String {
    Scenario::parse("test.toml", text).unwrap_err().to_string()
}

/// The error of [`MEETING`] with one thing changed.
fn broken(from: &str, to: &str) -> String {
    assert!(MEETING.contains(from), "{from}");
    error(&MEETING.replacen(from, to, 1))
}

#[test]
fn a_scenario_is_read_with_everything_it_says() {
    let scenario = Scenario::parse("test.toml", MEETING).unwrap();
    assert_eq!(scenario.name, "meeting");
    assert_eq!((scenario.duration, scenario.warm_up), (Duration::from_secs(20), Duration::from_secs(3)));
    assert_eq!((scenario.ramp, scenario.rooms, scenario.transport), (Ramp::PerSecond(5.0), 2, Transport::Signaling));
    assert_eq!(scenario.participants(), 10);
    let talker = &scenario.roles[0];
    assert_eq!(talker.video.as_ref().unwrap().encodings.len(), 2);
    assert_eq!(talker.audio, Some(AudioConfig::default()));
    assert_eq!(talker.uplink, "loss=5%,delay=60ms".parse().unwrap());
    assert_eq!(talker.downlink, "rate=2Mbit/s".parse().unwrap());
    assert_eq!(talker.churn, Some(Duration::from_secs(20)));
    assert!(talker.is_publisher() && !scenario.roles[1].is_publisher());
    assert_eq!(talker.publishes().count(), 2);
    let viewer = &scenario.roles[1];
    assert_eq!(viewer.shows[1], Tiles { width: 320, height: 180, count: 8 });
    assert_eq!((viewer.shows[0].count, viewer.rotates), (1, Some(Duration::from_secs(5))));
    assert!(scenario.is_selective());
    let json = serde_json::to_value(&scenario).unwrap();
    assert_eq!(json["roles"][0]["uplink"], "loss=5%,delay=60ms");
    assert_eq!(json["duration"], "20s");
}

#[test]
fn every_error_names_its_place_and_what_would_be_right() {
    for (from, to, expected) in [
        ("name = \"meeting\"", "", "test.toml:1:1: missing field `name`"),
        ("name = \"meeting\"", "name = \"Meeting!\"", "test.toml:1:8: a name is 1 to 40 small letters"),
        ("duration = \"20s\"", "duration = \"20 parsecs\"", "test.toml:3:12: `parsecs` in `20 parsecs` is no unit of a duration"),
        ("duration = \"20s\"", "duration = \"20ms\"", "test.toml:3:12: the measured time is at least \"1s\""),
        ("warm_up", "warmup", "test.toml:4:1: unknown field `warmup`, expected one of `name`"),
        ("ramp = \"5/s\"", "ramp = \"fast\"", "test.toml:5:8: `fast` is not joins a second"),
        ("ramp = \"5/s\"", "ramp = 0", "test.toml:5:8: `0` is not joins a second"),
        ("rooms = 2", "rooms = 0", "test.toml:6:9: there is at least one room"),
        ("rooms = 2", "rooms = -1", "test.toml:6:9: invalid value"),
        ("rooms = 2", "rooms = 20000", "test.toml:9:1: 100000 participants in all rooms; at most 50000"),
        ("scale = \"participants\"", "scale = \"people\"", "test.toml:7:9: unknown variant `people`, expected one of `subscribers`"),
        ("[[roles]]", "[[rolls]]", "test.toml:9:3: unknown field `rolls`"),
        ("count = 2", "count = 0", "test.toml:9:1: role `talker`: `count` is at least 1"),
        ("count = 2\n", "", "test.toml:9:1: missing field `count`"),
        ("1 Mbit/s", "1 MB/s", "test.toml:12:21: `mb/s` in `1 MB/s` is no unit of a rate"),
        ("25 %", "35 %", "test.toml:12:9: the encodings' shares come to 110 %"),
        ("rid = \"h\", ", "", "missing field `rid`"),
        ("audio = {}", "audio = { bitrate = 1 }", "test.toml:13:9: bitrate is 16kbit/s to 510kbit/s, not 1bit/s"),
        ("audio = {}", "audio = {}\nfixed = {}", "test.toml:9:1: role `talker`: a participant has one camera"),
        ("loss=5%", "loss=5", "test.toml:14:10: loss: `5` is out of range"),
        ("{ rate = ", "{ speed = ", "test.toml:15:14: unknown field `speed`"),
        ("churn = \"20s\"", "churn = \"20ms\"", "test.toml:9:1: role `talker`: `churn` is at least \"1s\""),
        ("churn = \"20s\"", "joins_after = \"20s\"", "test.toml:9:1: role `talker`: `joins_after` is less than `duration`"),
        ("name = \"viewer\"", "name = \"talker\"", "test.toml:18:1: role `talker`: an earlier role has the same name"),
        ("\"all\"", "\"some\"", "test.toml:21:13: unknown variant `some`, expected `all` or `none`"),
        ("count = 3", "count = three", "test.toml:20:9: "),
        ("height = 360", "height = 0", "test.toml:18:1: role `viewer`: a tile that is shown has a `width`, a `height`"),
        ("count = 8", "count = 256", "test.toml:18:1: role `viewer`: there are at most 256 tiles"),
        ("\"all\"", "\"none\"", "test.toml:18:1: role `viewer`: whoever receives nobody `shows` nothing"),
        ("rotates = \"5s\"", "rotates = \"5ms\"", "test.toml:18:1: role `viewer`: `rotates` is at least \"1s\""),
        (
            "scale = 2 }",
            "scale = 2 }, { rid = \"x\", share = \"1 %\" }, { rid = \"y\", share = \"1 %\" }",
            "the number of encodings is 0 to 3, not 4",
        ),
    ] {
        let said = broken(from, to);
        assert!(said.contains(expected), "{to:?}: {said}");
    }
    let without_publishers = &MEETING.replace("video = ", "# ").replace("audio = ", "# ");
    assert!(error(without_publishers).starts_with("test.toml:9:1: nobody publishes: give a role `video`"));
    let without_viewers = MEETING.replace("participants", "subscribers").replace("subscribe = \"all\"", "audio = {}");
    assert!(error(&without_viewers).starts_with("test.toml:7:9: everybody publishes"));
    let whip = MEETING.replace("rooms = 2", "transport = \"whip\"").replace("audio = {}", "screen = {}");
    assert!(error(&whip).contains("over WHIP a participant publishes one video"));
    assert!(error(&MEETING.replace("rooms = 2", "transport = \"whip\"")).contains("over WHEP nobody can say what it `shows`"));
    let without_tiles = MEETING.split("shows").next().unwrap();
    let idle = without_tiles.replace("rooms = 2", "transport = \"whip\"").replace("\"all\"", "\"none\"");
    assert!(error(&idle).contains("over WHIP there is nobody who neither publishes nor receives"), "{}", error(&idle));
    assert!(error(&"#".repeat(2 << 20)).contains("at most 1048576"));
}

#[test]
fn a_scenario_may_promise_something_of_itself_as_it_stands() {
    let promising = MEETING.replacen("rooms = 2\n", "rooms = 2\nslo = \"memory<60KiB\"\n", 1);
    let scenario = Scenario::parse("test.toml", &promising).unwrap();
    assert_eq!(scenario.slo, Some("memory<60KiB".parse().unwrap()));
    assert_eq!((scenario.scaled(1.0).slo.is_some(), scenario.scaled(2.0).slo), (true, None));
    let wrong = error(&promising.replacen("60KiB", "60KB", 1));
    assert!(wrong.starts_with("test.toml:7:7: at column 10 of the promise: memory is measured in KiB or MiB"), "{wrong}");
}

#[test]
fn scaling_multiplies_what_the_scenario_names_and_nothing_else() {
    let scaled = |scale: &str, factor: f64| {
        let scenario = Scenario::parse("test.toml", &MEETING.replace("participants", scale)).unwrap();
        let scaled = scenario.scaled(factor);
        (scaled.rooms, scaled.roles[0].count, scaled.roles[1].count, scaled.size())
    };
    assert_eq!(scaled("participants", 2.5), (2, 5, 8, 13));
    assert_eq!(scaled("subscribers", 2.5), (2, 2, 8, 8));
    assert_eq!(scaled("rooms", 2.5), (5, 2, 3, 5));
    assert_eq!(scaled("participants", 1.0), (2, 2, 3, 5));
    assert_eq!(scaled("participants", 0.0), (2, 1, 1, 2), "at least one");
    assert_eq!(scaled("rooms", f64::NAN), (1, 2, 3, 1));

    for scale in ["participants", "subscribers", "rooms"] {
        let most = Scenario::parse("test.toml", &MEETING.replace("participants", scale)).unwrap().scaled(1e30);
        assert!((MAX_PARTICIPANTS - 10..=MAX_PARTICIPANTS).contains(&most.participants()), "{scale}: {}", most.participants());
    }
}

#[test]
fn participants_join_one_after_the_other_room_by_room() {
    let scenario = Scenario::parse("test.toml", MEETING).unwrap();
    let joins = scenario.joins();
    assert_eq!(joins.len(), 10);
    assert!(joins.iter().enumerate().all(|(index, join)| join.at == Duration::from_millis(200) * index as u32 && !join.measured));
    let who: Vec<_> = joins.iter().map(|join| (join.room, join.role, join.number)).collect();
    assert_eq!(who[..6], [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (0, 1, 2), (1, 0, 0)]);
    assert_eq!(who.iter().collect::<BTreeSet<_>>().len(), 10);
}

#[test]
fn a_role_can_join_later_at_its_own_pace() {
    let text = MEETING.replace("subscribe = \"all\"", "joins_after = \"5s\"\nramp = \"at once\"");
    let joins = Scenario::parse("test.toml", &text).unwrap().joins();
    let (before, during) = joins.split_at(4);
    assert!(before.iter().enumerate().all(|(index, join)| !join.measured && join.at == Duration::from_millis(200) * index as u32));
    assert!(during.iter().all(|join| join.measured && join.role == 1 && join.at == Duration::from_secs(5)));
}

#[test]
fn every_scenario_of_the_bench_can_be_played() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/scenarios");
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        let scenario = Scenario::parse(&file, &fs::read_to_string(&path).unwrap()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(file, format!("{}.toml", scenario.name), "a file is called as its scenario");
        assert!(scenario.scaled(2.0).size() > scenario.size(), "{file}: its capacity can be searched");
        let now = std::time::Instant::now();
        for role in &scenario.roles {
            for line in [&role.uplink, &role.downlink] {
                switchyard_netem::Line::<()>::new(line, scenario.seed, now).unwrap();
            }
            for track in role.publishes() {
                crate::traffic::Model::new(&track, scenario.seed, now).unwrap();
            }
        }
        names.insert(scenario.name);
    }
    let expected = [
        "audio-only",
        "bad-lines",
        "broadcast",
        "churn",
        "everyone-at-once",
        "idle",
        "joins",
        "large-room",
        "layers",
        "meeting",
        "narrow",
        "screen-share",
        "small-rooms",
        "smoke",
        "w1",
        "w2",
        "w3",
        "webinar",
        "whip",
    ];
    assert!(names.iter().map(String::as_str).eq(expected), "{names:?}");
}

#[test]
fn the_peers_patterns_are_those_of_the_comparison() {
    let read = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../benches/scenarios/{name}.toml"));
        Scenario::parse(name, &fs::read_to_string(path).unwrap()).unwrap()
    };
    for (name, publishers, viewers, packets) in [("w1", 1, 50, 250), ("w2", 10, 0, 250), ("w3", 1, 200, 100)] {
        let scenario = read(name);
        let fixed = FixedConfig { packets_per_second: packets, ..FixedConfig::default() };
        assert_eq!((fixed.payload, fixed.fps, fixed.burst, fixed.spacing), (1_150, 25, 3, Duration::from_millis(5)));
        assert_eq!(scenario.roles[0].fixed, Some(fixed));
        assert_eq!(scenario.roles[0].count, publishers);
        assert_eq!(scenario.roles.get(1).map_or(0, |role| role.count), viewers);
        assert_eq!((scenario.rooms, scenario.duration), (1, Duration::from_secs(20)));
    }
}

#[test]
fn the_reference_has_every_key() {
    let reference = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/bench.md")).unwrap();
    let scenario = Scenario::parse("test.toml", MEETING).unwrap();
    let (video, audio, screen, fixed) = (VideoConfig::default(), AudioConfig::default(), ScreenConfig::default(), FixedConfig::default());
    for value in [
        serde_json::to_value(&scenario),
        serde_json::to_value(&scenario.roles[1]),
        serde_json::to_value(video),
        serde_json::to_value(audio),
        serde_json::to_value(screen),
        serde_json::to_value(fixed),
    ] {
        let value = value.unwrap();
        for key in value.as_object().unwrap().keys() {
            let listed = |line: &str| line.starts_with('|') && line.split('|').nth(1).is_some_and(|cell| cell.contains(&format!("{key}`")));
            assert!(reference.lines().any(listed), "docs/bench.md has no `{key}`");
        }
    }
}
