//! `switchyard bench`, as a person runs it: the real program, the real server, real transports.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use support::Server;
use switchyard_load::capacity::CapacityResult;
use switchyard_load::results::{Document, Layers, MediaResult, RunResult, ServerKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::Mutex;

/// What measures does so alone: two at once would measure each other.
static ALONE: Mutex<()> = Mutex::const_new(());

/// How the program ended, and what it said.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

async fn bench(arguments: &[&str]) -> Ended {
    let program = env!("CARGO_BIN_EXE_switchyard");
    let output =
        Command::new(program).arg("bench").args(arguments).stdin(Stdio::null()).kill_on_drop(true).output().await.expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A file of this test run's own.
fn file(name: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{}-{number}-{name}", std::process::id()))
}

/// A scenario of one's own. Whoever comes in sees the first frame once a keyframe was asked for and made, which the warm-up leaves time for.
fn scenario(name: &str, text: &str) -> String {
    scenario_after("1500ms", name, text)
}

/// One with another warm-up.
fn scenario_after(warm_up: &str, name: &str, text: &str) -> String {
    let path = file(&format!("{name}.toml"));
    std::fs::write(&path, format!("name = \"{name}\"\ndescription = \"\"\nramp = \"at once\"\nwarm_up = \"{warm_up}\"\n{text}"))
        .expect("written");
    path.display().to_string()
}

/// Runs and reads the figures, which must have been written; also how it ended.
async fn measured(scenario: &str, arguments: &[&str]) -> (Ended, RunResult, PathBuf) {
    let json = file("run.json");
    let path = json.display().to_string();
    let ended = bench(&[&["run", scenario, "--quiet", "--json", &path], arguments].concat()).await;
    let text = std::fs::read_to_string(&json).unwrap_or_default();
    match Document::from_json(&text) {
        Ok(Document::Run(run)) => (ended, *run, json),
        other => panic!("{other:?}; exit code {:?}\n{}\n{}", ended.code, ended.out, ended.err),
    }
}

fn by_name(run: &RunResult) -> BTreeMap<&str, &MediaResult> {
    run.media.iter().map(|media| (media.name.as_str(), media)).collect()
}

/// Every packet and frame of every group of media arrived, once.
fn assert_perfect(run: &RunResult, groups: &[&str]) {
    assert_eq!(by_name(run).into_keys().collect::<Vec<_>>(), groups);
    assert_eq!((run.joins.failed, run.joins.refused, run.joins.succeeded), (0, 0, run.load.participants), "{:?}", run.joins.errors);
    for media in &run.media {
        let (packets, frames) = (&media.packets, &media.frames);
        assert!(packets.received > 0 && packets.received == packets.expected, "{media:?}");
        assert_eq!((packets.lost, packets.duplicated, packets.reordered), (0, 0, 0), "{media:?}");
        assert_eq!((frames.complete, frames.dropped, frames.freezes), (frames.expected, 0, 0), "{media:?}");
        assert!(frames.frozen_seconds == 0.0 && (frames.expected > 0) != media.name.starts_with("audio"), "{media:?}");
        assert_eq!(media.latency_ms.count, packets.received, "{media:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_smoke_scenario_arrives_whole_and_its_seed_replays() {
    let _alone = ALONE.lock().await;
    let seed = "4711";
    let mut runs = Vec::new();
    for _ in 0..2 {
        let (ended, run, _) = measured("smoke", &["--seed", seed, "--at-most", "2s"]).await;
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert!(ended.out.contains("video to viewer") && ended.err.is_empty(), "{}\n{}", ended.out, ended.err);
        let groups = [
            "audio to camera",
            "audio to presenter",
            "audio to viewer",
            "screen to camera",
            "screen to viewer",
            "video to camera",
            "video to presenter",
            "video to viewer",
        ];
        assert_perfect(&run, &groups);
        assert!(run.server.is_some_and(|server| server.cpu_us_per_packet.is_some_and(|cost| cost > 0.0)));
        assert_eq!((run.seed, run.server_kind, run.measured_seconds.round()), (4711, ServerKind::Signaling, 2.0));
        assert!(!run.samples.is_empty() && run.joins.connected_ms.count == 12, "{:?}", run.joins);
        runs.push((run.load, run.media));
    }
    let (first, second) = (&runs[0], &runs[1]);
    assert_eq!(first.0, second.0);
    for (one, other) in first.1.iter().zip(&second.1) {
        // The same packets; but the window opens at a moment of its own.
        let (one, other) = (one.packets.sent as f64, other.packets.sent as f64);
        assert!((one / other - 1.0).abs() < 0.2, "seed {seed}: {one} and {other} packets");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_promise_ends_with_3_and_says_what_broke_and_results_become_one_page() {
    let _alone = ALONE.lock().await;
    let small = scenario(
        "small",
        "duration = \"1s\"\nscale = \"subscribers\"\n[[roles]]\nname = \"sender\"\ncount = 1\nfixed = {}\n[[roles]]\nname = \"viewer\"\ncount = 2\n",
    );
    let (ended, kept, kept_json) = measured(&small, &["--slo", "p99<5s,loss<50%,failures<=0%"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.out);
    assert!(ended.out.contains("The promise was kept") && kept.promise.is_some(), "{}", ended.out);
    let (ended, broken, broken_json) = measured(&small, &["--slo", "p50<1us,loss<50%"]).await;
    assert_eq!(ended.code, Some(3), "{}", ended.out);
    assert!(ended.out.contains("FAILED") && ended.out.contains("p50<1us"), "{}", ended.out);
    assert_eq!(broken.promise.map(|promise| promise.to_string()).as_deref(), Some("p50<1us,loss<50%"));

    let search_json = file("search.json").display().to_string();
    let ended = bench(&["capacity", &small, "--quiet", "--slo", "loss<50%", "--most", "2", "--json", &search_json]).await;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.out, ended.err);
    let search = Document::from_json(&std::fs::read_to_string(&search_json).unwrap());
    let Ok(Document::Capacity(search)) = search else { panic!("{search:?}") };
    let CapacityResult { unit, steps, .. } = *search;
    assert_eq!((unit.as_str(), steps.iter().map(|step| step.load).max()), ("subscribers", Some(2)), "{}", ended.out);

    let page = file("page.html").display().to_string();
    let files = [&kept_json, &broken_json].map(|path| path.display().to_string());
    let ended = bench(&["report", &files[0], &files[1], &search_json, "--html", &page]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let outcomes: Vec<&str> =
        ended.out.lines().filter(|line| line.starts_with("  small ")).filter_map(|line| line.split(' ').next_back()).collect();
    assert_eq!(outcomes, ["kept", "broken"], "a line for each run: {}", ended.out);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(
        page.starts_with("<!doctype html>") && page.contains("<svg") && page.contains("p50&lt;1us"),
        "a page with charts and the promise"
    );
    assert!(!page.contains("<script") && !page.contains("href="), "complete in itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_on_the_command_line_is_named() {
    let broken = file("broken.toml").display().to_string();
    std::fs::write(&broken, "name = \"x\"\nduration = \"1 parsec\"\n").unwrap();
    let no_results = file("nothing.json").display().to_string();
    std::fs::write(&no_results, "{\"format\":1,\"kind\":\"poem\"}").unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (ws, http) = (format!("ws://{nobody}/v1/ws"), format!("http://{nobody}"));
    let (template, endless) = (format!("{http}/{{room}}/whip"), format!("{http}/{{id}}/{{room}}"));
    for (arguments, code, said) in [
        (vec!["run", "no-such-thing"], 1, "there is no scenario \"no-such-thing\"; there are audio-only, "),
        (vec!["run", "no/such/file.toml"], 1, "no/such/file.toml: No such file"),
        (vec!["run", &broken], 1, "broken.toml:2:12: `parsec` in `1 parsec` is no unit of a duration"),
        (vec!["run"], 2, "<SCENARIO>"),
        (vec!["run", "smoke", "--slo", "p98<1ms"], 2, "p98"),
        (vec!["run", "smoke", "--slo", "loss<3ms"], 2, "loss<3ms"),
        (vec!["run", "smoke", "--scale", "0"], 1, "--scale 0: more than 0"),
        (vec!["run", "smoke", "--duration", "0s"], 1, "there is nothing to measure"),
        (vec!["run", "smoke", "--at-most", "0s"], 1, "there is nothing to measure"),
        (vec!["run", "smoke", "--at-most", "1s", "--duration", "1s"], 2, "cannot be used with"),
        (vec!["run", "smoke", "--duration", "soon"], 2, "--duration"),
        (vec!["run", "smoke", "--json", "/no/such/folder/x.json"], 1, "/no/such/folder/x.json: No such file"),
        (vec!["run", "smoke", "--url", &http], 1, "this scenario speaks to a ws:// address"),
        (vec!["run", "whip", "--url", &ws], 1, "this scenario speaks to a http:// address"),
        (vec!["run", "smoke", "--quiet", "--url", &ws], 1, "nobody could join: the server can't be reached"),
        (vec!["run", "whip", "--quiet", "--url", &http], 1, "nobody could join: the server can't be reached"),
        (vec!["run", "whip", "--whip-url", &template], 2, "--whep-url"),
        (vec!["run", "whip", "--url", &http, "--whip-url", &template, "--whep-url", &template], 2, "cannot be used with"),
        (vec!["run", "smoke", "--whip-url", &template, "--whep-url", &template], 1, "this scenario speaks Switchyard's own signaling"),
        (vec!["run", "whip", "--whip-url", &template, "--whep-url", &http], 1, "without {room} all rooms would be one"),
        (vec!["run", "whip", "--whip-url", &endless, "--whep-url", &template], 1, "{id} is neither {room} nor {name}"),
        (vec!["run", "smoke", "--server-pid", "1"], 2, "required"),
        (vec!["run", "smoke", "--url", &ws, "--server-workers", "2"], 2, "cannot be used with"),
        (vec!["run", "smoke", "--quiet", "--url", &ws, "--server-pid", "4000000000"], 1, "the server's process can't be watched"),
        (vec!["capacity", "smoke", "--steps", "0"], 1, "no run was allowed"),
        (vec!["show", "nothing"], 1, "there is no scenario"),
        (vec!["report", &no_results], 1, "results of the kind \"poem\""),
        (vec!["report"], 2, "<RESULTS>"),
    ] {
        let ended = bench(&arguments).await;
        assert!(ended.code == Some(code) && ended.err.contains(said), "{arguments:?}: {:?}, {said:?} in\n{}", ended.code, ended.err);
        assert!(ended.out.is_empty(), "{arguments:?}: {}", ended.out);
    }
    let listed = bench(&["list"]).await.out;
    assert!(listed.lines().count() >= 15 && listed.contains("whip "), "{listed}");
    assert!(bench(&["show", "whip"]).await.out.contains("transport = \"whip\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn players_by_whep_get_everything_that_is_published_by_whip() {
    let _alone = ALONE.lock().await;
    let (ended, run, _) = measured("whip", &["--scale", "0.2", "--duration", "1s", "--slo", "failures<=0%"]).await;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.out, ended.err);
    assert_perfect(&run, &["audio to player", "video to player"]);
    assert_eq!((run.server_kind, run.load.participants), (ServerKind::Whip, 5));

    // Whoever publishes and receives has a session for each, and is not shown itself.
    let meeting = scenario(
        "whip-meeting",
        "transport = \"whip\"\nduration = \"2s\"\nrooms = 2\nscale = \"participants\"\n\
         [[roles]]\nname = \"talker\"\ncount = 2\nvideo = { bitrate = \"300 kbit/s\" }\naudio = {}\n\
         [[roles]]\nname = \"presenter\"\ncount = 1\nscreen = { bitrate = \"500 kbit/s\", slide = \"20 kB\", every = \"1s\" }\n",
    );
    let (ended, run, _) = measured(&meeting, &[]).await;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.out, ended.err);
    assert_perfect(&run, &["audio to presenter", "audio to talker", "screen to talker", "video to presenter", "video to talker"]);
    let groups = by_name(&run);
    let (sent, expected) = (groups["video to talker"].packets.sent, groups["video to talker"].packets.expected);
    assert_eq!(sent, expected, "each of two gets the other's");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bad_line_loses_is_sent_again() {
    let _alone = ALONE.lock().await;
    let lossy = scenario(
        "lossy",
        "duration = \"3s\"\nscale = \"subscribers\"\n\
         [[roles]]\nname = \"near\"\ncount = 2\nvideo = { bitrate = \"1 Mbit/s\" }\nsubscribe = \"none\"\n\
         [[roles]]\nname = \"far\"\ncount = 2\ndownlink = \"loss=5%,delay=60ms\"\nuplink = \"delay=20ms\"\n\
         [[roles]]\nname = \"viewer\"\ncount = 2\n",
    );
    let (ended, run, _) = measured(&lossy, &["--seed", "11"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let groups = by_name(&run);
    let (far, near) = (groups["video to far"], groups["video to viewer"]);
    assert!((far.packets.lost as f64) < 0.01 * far.packets.expected as f64, "{}", ended.out);
    let resent = far.packets.retransmitted as f64 / far.packets.expected as f64;
    assert!((0.025..0.09).contains(&resent), "about one in twenty: {}", ended.out);
    assert!(far.latency_ms.min >= 60.0 && far.latency_ms.max > 140.0, "a round trip more for what was lost: {}", ended.out);
    assert_eq!((near.packets.lost, near.packets.retransmitted), (0, 0), "the others' lines are good: {}", ended.out);
    assert!(near.latency_ms.p50 < 60.0, "{}", ended.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lossy_uplink_is_repaired_before_anybody_misses_a_packet() {
    let _alone = ALONE.lock().await;
    let lossy = scenario(
        "lossy-uplink",
        "duration = \"2s\"\nscale = \"subscribers\"\n\
         [[roles]]\nname = \"far\"\ncount = 1\nvideo = { bitrate = \"1 Mbit/s\" }\nuplink = \"loss=5%,delay=10ms\"\ndownlink = \"delay=10ms\"\n\
         [[roles]]\nname = \"viewer\"\ncount = 2\n",
    );
    let (ended, run, _) = measured(&lossy, &["--seed", "12"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let packets = &by_name(&run)["video to viewer"].packets;
    assert!(packets.expected > 300 && (packets.lost as f64) < 0.01 * packets.expected as f64, "{}", ended.out);
    assert!(packets.reordered > 0, "what was repaired comes late: {}", ended.out);
}

/// A camera in three encodings with three temporal layers each.
const CAMERA: &str = "video = { bitrate = \"1 Mbit/s\", temporal_layers = 3, encodings = [\
    { rid = \"q\", share = \"10 %\", scale = 4 }, { rid = \"h\", share = \"30 %\", scale = 2 }, { rid = \"f\", share = \"60 %\" }] }";

fn layers<'a>(run: &'a RunResult, group: &str) -> &'a Layers {
    by_name(run)[group].layers.as_ref().unwrap_or_else(|| panic!("{group} has layers"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tile_gets_the_encoding_it_wants_and_nothing_is_sent_that_nobody_shows() {
    let _alone = ALONE.lock().await;
    let tiles = scenario(
        "tiles",
        &format!(
            "duration = \"3s\"\nscale = \"subscribers\"\n\
             [[roles]]\nname = \"camera\"\ncount = 2\n{CAMERA}\nsubscribe = \"none\"\n\
             [[roles]]\nname = \"small\"\ncount = 2\nshows = [{{ width = 320, height = 180, count = 2 }}]\n\
             [[roles]]\nname = \"large\"\ncount = 1\nshows = [{{ width = 1280, height = 720 }}]\n"
        ),
    );
    let (ended, run, _) = measured(&tiles, &[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_perfect(&run, &["video to large", "video to small"]);
    let (large, small) = (layers(&run, "video to large"), layers(&run, "video to small"));
    assert_eq!((large.encoding_share("f"), small.encoding_share("q")), (Some(1.0), Some(1.0)), "{}", ended.out);
    assert_eq!((large.as_wanted_share(), small.as_wanted_share(), large.unreached + small.unreached), (Some(1.0), Some(1.0), 0));
    assert_eq!((large.wanted_ms.count, small.wanted_ms.count, large.pauses + small.pauses), (1, 4, 0), "{}", ended.out);
    assert!(large.wanted_ms.max < 2_000.0 && small.wanted_ms.max < 2_000.0, "{}", ended.out);
    assert!((450e3..800e3).contains(&large.receiver_bitrate_bps), "six tenths of one camera: {}", ended.out);
    assert!((150e3..330e3).contains(&small.receiver_bitrate_bps), "a tenth of two: {}", ended.out);
    // Some 30, 50 and 80 packets a second for the three encodings: all of the first camera, the least of the second.
    let sent = by_name(&run)["video to small"].packets.sent as f64 / run.measured_seconds;
    assert!((150.0..230.0).contains(&sent), "{sent} packets a second: {}", ended.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tile_that_shows_another_camera_every_second_gets_it_soon_and_misses_nothing() {
    let _alone = ALONE.lock().await;
    let turning = scenario(
        "turning",
        &format!(
            "duration = \"6s\"\nscale = \"subscribers\"\n\
             [[roles]]\nname = \"camera\"\ncount = 3\n{CAMERA}\nsubscribe = \"none\"\n\
             [[roles]]\nname = \"viewer\"\ncount = 2\nshows = [{{ width = 1280, height = 720 }}, {{ width = 320, height = 180 }}]\nrotates = \"1s\"\n"
        ),
    );
    let (ended, run, _) = measured(&turning, &[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let (media, layers) = (by_name(&run)["video to viewer"], layers(&run, "video to viewer"));
    assert_eq!((media.packets.lost, media.packets.received, layers.unreached), (0, media.packets.expected, 0), "{}", ended.out);
    assert!(media.frames.dropped < 20 && media.frames.frozen_share() < Some(0.2), "a busy machine is late at times: {}", ended.out);
    // Two tiles of two viewers, seven turns at least.
    assert!(layers.wanted_ms.count > 20 && layers.wanted_ms.p50 < 500.0 && layers.wanted_ms.max < 2_000.0, "{}", ended.out);
    assert!(layers.as_wanted_share() > Some(0.8) && layers.switches > 4, "{}", ended.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_encoding_of_a_lossy_uplink_is_repaired() {
    let _alone = ALONE.lock().await;
    let lossy = scenario(
        "lossy-encodings",
        &format!(
            "duration = \"3s\"\nscale = \"subscribers\"\n\
             [[roles]]\nname = \"far\"\ncount = 1\n{CAMERA}\nsubscribe = \"none\"\nuplink = \"loss=5%,delay=10ms\"\ndownlink = \"delay=10ms\"\n\
             [[roles]]\nname = \"small\"\ncount = 1\nshows = [{{ width = 320, height = 180 }}]\n\
             [[roles]]\nname = \"large\"\ncount = 1\nshows = [{{ width = 1280, height = 720 }}]\n"
        ),
    );
    let (ended, run, _) = measured(&lossy, &["--seed", "13"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(layers(&run, "video to large").encoding_share("f") > Some(0.9), "{}", ended.out);
    for group in ["video to large", "video to small"] {
        let packets = &by_name(&run)[group].packets;
        assert!(packets.expected > 80 && packets.lost_share() < Some(0.01), "{}", ended.out);
        assert!(packets.reordered > 0, "what was repaired comes late: {}", ended.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_line_gets_the_layers_it_carries_and_a_wide_one_all_of_them() {
    let _alone = ALONE.lock().await;
    // An estimate needs some seconds to find its line.
    let lines = scenario_after(
        "10s",
        "lines",
        &format!(
            "duration = \"6s\"\nscale = \"subscribers\"\n\
             [[roles]]\nname = \"camera\"\ncount = 1\n{CAMERA}\nsubscribe = \"none\"\n\
             [[roles]]\nname = \"narrow\"\ncount = 1\nshows = [{{ width = 1280, height = 720 }}]\ndownlink = \"rate=200kbit/s,delay=20ms,queue=300ms\"\n\
             [[roles]]\nname = \"wide\"\ncount = 1\nshows = [{{ width = 1280, height = 720 }}]\ndownlink = \"rate=5Mbit/s,delay=20ms,queue=300ms\"\n"
        ),
    );
    let (ended, run, _) = measured(&lines, &[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let (narrow, wide) = (layers(&run, "video to narrow"), layers(&run, "video to wide"));
    assert!(wide.encoding_share("f") > Some(0.9) && narrow.encoding_share("q") > Some(0.9), "{}", ended.out);
    assert!(narrow.receiver_bitrate_bps < 200e3 && narrow.receiver_bitrate_bps * 3.0 < wide.receiver_bitrate_bps, "{}", ended.out);
    for media in &run.media {
        assert!(media.packets.lost_share() < Some(0.01), "what was left out is not lost: {}", ended.out);
        assert!(media.frames.frozen_share() < Some(0.1) && media.frames.complete > 0, "{}", ended.out);
    }
    assert!(by_name(&run)["video to narrow"].latency_ms.p50 < 200.0, "the queue of the line is not kept full: {}", ended.out);
}

/// Sends the first `most` players on to `server`, and has no place for the others.
async fn gate(server: &Server, most: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (own, server) = (listener.local_addr().unwrap(), server.http);
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.windows(4).any(|end| end == b"\r\n\r\n") && stream.read_buf(&mut request).await.unwrap() > 0 {}
                let request = String::from_utf8_lossy(&request).into_owned();
                let room = request.split(['/', ' ']).nth(3).unwrap_or_default();
                let response = if number < most {
                    format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{server}/v1/whep/{room}\r\ncontent-length: 0\r\n\r\n")
                } else {
                    let problem = r#"{"status":503,"code":"limit_reached","detail":"no place","retryable":true}"#;
                    format!("HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: {}\r\n\r\n{problem}", problem.len())
                };
                stream.write_all(response.as_bytes()).await.unwrap();
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            });
        }
    });
    format!("http://{own}/play/{{room}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn players_that_a_server_has_no_place_for_are_refusals() {
    let _alone = ALONE.lock().await;
    let server = Server::start(&["--advertise", "127.0.0.1"]).await;
    let (whip, whep) = (format!("http://{}/v1/whip/{{room}}?name={{name}}", server.http), gate(&server, 2).await);
    let full = scenario(
        "full",
        "transport = \"whip\"\nduration = \"1s\"\nscale = \"subscribers\"\n\
         [[roles]]\nname = \"sender\"\ncount = 1\nfixed = {}\nsubscribe = \"none\"\n[[roles]]\nname = \"player\"\ncount = 5\n",
    );
    let pid = server.child.id().unwrap().to_string();
    let arguments = ["--whip-url", &whip, "--whep-url", &whep, "--server-pid", &pid, "--slo", "failures<10%"];
    let (ended, run, _) = measured(&full, &arguments).await;
    assert_eq!(ended.code, Some(3), "{}\n{}", ended.out, ended.err);
    assert_eq!((run.joins.attempted, run.joins.succeeded, run.joins.refused, run.joins.failed), (6, 3, 3, 0), "{}", ended.out);
    assert_eq!(run.joins.errors, BTreeMap::from([("refused: 503 limit_reached".to_owned(), 3)]));
    let packets = &by_name(&run)["video to player"].packets;
    assert_eq!((packets.expected, packets.lost), (2 * packets.sent, 0), "the two that came in got everything: {}", ended.out);
    assert!(run.server.is_some() && ended.out.contains("failures<10%"), "{}", ended.out);
}
