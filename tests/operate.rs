//! What operators see and do: metrics, readiness, the log's filter, going down without cutting anybody off.

#[path = "support/http.rs"]
mod http;
mod support;
#[path = "support/talker.rs"]
mod talker;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Folder, SOON, Server};
use switchyard_protocol::{CloseReason, Encoding, ErrorCode, Event, Request};
use talker::{EVERYBODY, Talker};
use tokio::io::{AsyncBufReadExt, BufReader};

const SEED: u64 = 11;
const ADMIN: [&str; 2] = ["--admin", "127.0.0.1:0"];

async fn server(arguments: &[&str]) -> (Server, SocketAddr) {
    let server = Server::start(&[&ADMIN, arguments].concat()).await;
    let admin = server.admin.expect("operators' HTTP");
    (server, admin)
}

fn signal(server: &Server, signal: Signal) {
    kill(Pid::from_raw(server.child.id().expect("running") as i32), signal).expect("signalled");
}

/// The samples of a scrape, by name and labels as they are written.
async fn scrape(admin: SocketAddr) -> BTreeMap<String, f64> {
    let response = http::request(admin, "GET", "/metrics", &[], b"").await;
    assert_eq!(response.status, 200);
    assert!(response.header("content-type").is_some_and(|kind| kind.starts_with("application/openmetrics-text")), "{response:?}");
    assert!(response.body.ends_with("# EOF\n"), "not whole");
    let samples = response.body.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| line.rsplit_once(' ')).map(|(name, value)| (name.to_owned(), value.parse().expect(name))).collect()
}

/// All samples of a name added up, whatever their labels.
fn sum(samples: &BTreeMap<String, f64>, name: &str) -> f64 {
    let of = |key: &str| key == name || key.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
    assert!(samples.keys().any(|key| of(key)), "{name} is not there");
    samples.iter().filter(|(key, _)| of(key)).map(|(_, value)| value).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_say_what_happened() {
    println!("seed {SEED}");
    let (server, admin) = server(&[&EVERYBODY[..], &["--workers", "2", "--span-rooms"]].concat()).await;
    let before = scrape(admin).await;
    for (name, value) in &before {
        let is_new =
            !name.starts_with("process_") && !name.starts_with("switchyard_worker_turns") && !name.starts_with("switchyard_worker_busy");
        assert!(!is_new || *value == 0.0 || name == "switchyard_server_ready", "{name} is {value} before anybody came");
    }

    let url = server.url();
    let talkers = join_all((0..3).map(|number| {
        let url = &url;
        async move { Talker::enter(url, "metrics", &number.to_string(), Duration::from_millis(20), SEED + number).await }
    }));
    let talkers = talkers.await;
    join_all(talkers.iter().map(|talker| talker.hears(2, SOON))).await;
    let (mut away, _) = server.join("other", "Grace").await;
    let refused = away.request(Request::Join { room: "other".into(), name: "again".into(), token: None, password: None }).await;
    assert!(refused.is_err());
    drop(away);
    // What they hear is counted by the server as well, which had sent it before.
    let heard = |talkers: &[Talker]| talkers.iter().flat_map(|talker| talker.ear.voices()).map(|(_, voice)| voice.received).sum::<u64>();
    let deadline = Instant::now() + SOON;
    let (heard, after) = loop {
        let heard = heard(&talkers);
        let after = scrape(admin).await;
        if heard > 200 && sum(&after, "switchyard_signaling_sessions_away") == 1.0 {
            break (heard as f64, after);
        }
        assert!(Instant::now() < deadline, "{heard} packets heard: {after:#?}");
    };
    let total = |name: &str| sum(&after, name);
    assert!(
        total("switchyard_worker_datagrams_out_total") >= heard,
        "{heard} were heard: {}",
        total("switchyard_worker_datagrams_out_total")
    );
    assert!(total("switchyard_worker_datagrams_in_total") >= heard / 2.0);
    assert!(total("switchyard_worker_bytes_out_total") >= heard * 80.0);
    assert!(total("switchyard_worker_trunk_packets_total") > 0.0, "they are on two workers");
    assert!(total("switchyard_worker_forwarding_seconds_count") >= heard / 2.0);
    assert!(total("switchyard_worker_ring_wait_seconds_count") > 0.0);
    assert_eq!(total("switchyard_worker_peers"), 4.0);
    assert_eq!(total("switchyard_server_rooms"), 2.0);
    assert_eq!(total("switchyard_signaling_sessions"), 4.0);
    assert_eq!(total("switchyard_signaling_http_sessions"), 0.0);
    assert_eq!(total("switchyard_signaling_websockets"), 3.0);
    assert_eq!(after["switchyard_signaling_joins_total{by=\"websocket\",outcome=\"joined\"}"], 4.0);
    assert_eq!(total("switchyard_signaling_join_seconds_count"), 3.0, "one of the four has no media");
    assert!(total("process_cpu_seconds_total") > 0.0 && total("process_resident_memory_bytes") > 1e6 && total("process_threads") >= 3.0);
    // Cumulative, and none above the bucket without an end.
    let bucket = |le: &str| sum(&after, &format!("switchyard_signaling_join_seconds_bucket{{le=\"{le}\",by=\"websocket\"}}"));
    assert!(bucket("0.01") <= bucket("10.0") && bucket("10.0") <= bucket("+Inf") && bucket("+Inf") == 3.0);
    // Every histogram ends with a bucket that has all.
    for (name, count) in after.iter().filter(|(name, _)| name.contains("_seconds_count") || name.contains("_per_second_count")) {
        let labels = name.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
        let family = name.split("_count").next().expect("a name");
        let all = [format!("{family}_bucket{{le=\"+Inf\",{labels}}}"), format!("{family}_bucket{{{labels},le=\"+Inf\"}}")];
        let all = all.iter().find_map(|name| after.get(name)).unwrap_or_else(|| panic!("{family} has no last bucket"));
        assert_eq!(all, count, "{name}");
    }
    // A counter never falls.
    let later = scrape(admin).await;
    for (name, value) in after.iter().filter(|(name, _)| name.contains("_total")) {
        assert!(later[name] >= *value, "{name} fell from {value} to {}", later[name]);
    }
}

#[tokio::test]
async fn the_logs_filter_changes_while_the_server_runs() {
    let mut server = Server::start_with(&ADMIN, Stdio::piped()).await;
    let admin = server.admin.expect("operators' HTTP");
    let mut log = BufReader::new(server.child.stderr.take().expect("piped")).lines();
    let put = |filter: &'static str| async move { http::request(admin, "PUT", "/log", &[], filter.as_bytes()).await };
    assert_eq!(http::request(admin, "GET", "/log", &[], b"").await.body, "warn\n");
    for wrong in ["", "a=b=c"] {
        assert_eq!(put(wrong).await.status, 400, "{wrong:?}");
    }
    assert_eq!(put("info,switchyard=debug").await.status, 200);
    let said = tokio::time::timeout(SOON, log.next_line()).await.expect("in time").expect("read").expect("a line");
    assert!(said.contains("filter was changed"), "{said}");
    assert_eq!(http::request(admin, "GET", "/log", &[], b"").await.body, "info,switchyard=debug\n");
    // Nobody finds any of it where everybody is.
    for (method, path) in [("GET", "/metrics"), ("PUT", "/log"), ("POST", "/drain")] {
        let response = http::request(server.http, method, path, &[], b"error").await;
        assert!(matches!(response.status, 404 | 405), "{method} {path}: {response:?}");
    }
}

/// Waits until operators and everybody else are told so of the server's readiness.
async fn readiness(server: &Server, admin: SocketAddr, status: u16, why: &str) {
    for at in [server.http, admin] {
        let deadline = Instant::now() + 2 * SOON;
        loop {
            let ready = http::request(at, "GET", "/readyz", &[], b"").await;
            if ready.status == status && ready.body.contains(why) {
                break;
            }
            assert!(Instant::now() < deadline, "not {status} {why:?}: {ready:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(http::request(at, "GET", "/healthz", &[], b"").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_changes_how_many_are_heard_in_new_rooms_and_how_busy_a_worker_may_be() {
    println!("seed {SEED}");
    let folder = Folder::new("operate-live");
    let file = folder.0.join("switchyard.toml");
    let write = |text: &str| std::fs::write(&file, text).expect("written");
    write("heard = 1\nmax_load = 0\n");
    let (server, admin) = server(&["--workers", "1", "--config", file.to_str().expect("a path")]).await;
    let url = server.url();
    let enter = async |room: &str| {
        let talkers = (0..3).map(|number| {
            let (url, name) = (&url, number.to_string());
            async move { Talker::enter(url, room, &name, Duration::from_millis(1), SEED + number).await }
        });
        join_all(talkers).await
    };
    let is_refused = async || {
        let mut late = server.connect(Encoding::Json).await;
        let join = Request::Join { room: "first".into(), name: "Late".into(), token: None, password: None };
        late.request(join).await.err().map(|error| (error.code, error.retryable))
    };
    let first = enter("first").await;
    readiness(&server, admin, 200, "ready").await;
    assert_eq!(is_refused().await, None);

    write("heard = 56\nmax_load = 0\n");
    signal(&server, Signal::SIGHUP);
    let deadline = Instant::now() + SOON;
    let mut number = 0;
    // Whoever comes before the file is read again is in a room of before.
    let second = loop {
        number += 1;
        let talkers = enter(&format!("second-{number}")).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        if talkers.iter().all(|talker| talker.ear.voices().len() == 2) {
            break talkers;
        }
        assert!(Instant::now() < deadline, "still only one is heard");
    };
    first.iter().for_each(|talker| assert!(talker.ear.voices().len() <= 1, "its room is of before: {:?}", talker.ear.voices()));

    // Six who send a thousand packets a second each are more than a hundredth of a worker.
    write("heard = 56\nmax_load = 1\n");
    signal(&server, Signal::SIGHUP);
    readiness(&server, admin, 503, "no room for another participant").await;
    assert_eq!(is_refused().await, Some((ErrorCode::Overloaded, true)));
    assert_eq!(sum(&scrape(admin).await, "switchyard_server_ready"), 0.0);
    second.iter().for_each(|talker| talker.ear.clear());
    join_all(second.iter().map(|talker| talker.hears(2, SOON))).await;

    write("heard = 56\nmax_load = 0\n");
    signal(&server, Signal::SIGHUP);
    readiness(&server, admin, 200, "ready").await;
    assert_eq!(is_refused().await, None);
}

#[tokio::test]
async fn a_server_is_not_ready_before_it_has_its_first_certificate() {
    let folder = Folder::new("operate-acme");
    let store = folder.0.join("store");
    // Nobody is an ACME server there.
    let options = ["--acme-domain", "meet.example", "--acme-directory", "https://127.0.0.1:9/dir", "--acme-store"];
    let (server, admin) = server(&[&options[..], &[store.to_str().expect("a path")]].concat()).await;
    readiness(&server, admin, 503, "there is no TLS certificate yet").await;
    assert_eq!(sum(&scrape(admin).await, "switchyard_server_ready"), 0.0);
}

#[tokio::test]
async fn a_server_that_is_drained_takes_no_new_rooms_and_ends_when_the_last_is_empty() {
    let (mut server, admin) = server(&[]).await;
    let (mut ada, _) = server.join("open", "Ada").await;
    assert_eq!(http::request(server.http, "GET", "/readyz", &[], b"").await.status, 200);
    assert_eq!(http::request(admin, "POST", "/drain?within=soon", &[], b"").await.status, 400);
    assert_eq!(http::request(admin, "POST", "/drain?within=10m", &[], b"").await.status, 202);
    let within = ada.event(|event| if let Event::Draining { within } = event { Some(*within) } else { None }).await;
    assert!((590..=600).contains(&within), "{within}");
    for at in [server.http, admin] {
        let ready = http::request(at, "GET", "/readyz", &[], b"").await;
        assert!(ready.status == 503 && ready.body.contains("go down"), "{ready:?}");
        assert_eq!(http::request(at, "GET", "/healthz", &[], b"").await.status, 200);
    }
    assert_eq!(sum(&scrape(admin).await, "switchyard_server_draining"), 1.0);

    let mut late = server.connect(Encoding::Json).await;
    let refused = late
        .request(Request::Join { room: "new".into(), name: "Late".into(), token: None, password: None })
        .await
        .expect_err("no new rooms");
    assert!(refused.code == ErrorCode::ShuttingDown && refused.retryable, "{refused:?}");
    // To those inside nothing has changed, and others may still come to them.
    let (mut grace, joined) = server.join("open", "Grace").await;
    assert_eq!(joined.participants.len(), 1);
    grace.event(|event| matches!(event, Event::Draining { .. }).then_some(())).await;
    for mut socket in [ada, grace] {
        assert!(server.child.try_wait().expect("asked").is_none(), "somebody is there still");
        socket.request(Request::Leave).await.expect("left");
    }
    let status = tokio::time::timeout(SOON, server.child.wait()).await.expect("in time").expect("it ends");
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn what_the_api_has_begun_a_first_sigterm_leaves_and_pages_may_not_begin() {
    let mut server = Server::start_with(&[&ADMIN[..], &["--drain", "1h", "--log", "info"]].concat(), Stdio::piped()).await;
    let admin = server.admin.expect("operators' HTTP");
    let mut log = BufReader::new(server.child.stderr.take().expect("piped")).lines();
    let (mut ada, _) = server.join("open", "Ada").await;
    for header in ["origin: http://127.0.0.1:9090", "sec-fetch-site: cross-site"] {
        for (method, path) in [("POST", "/drain?within=0s"), ("PUT", "/log"), ("GET", "/metrics")] {
            assert_eq!(http::request(admin, method, path, &[header], b"off").await.status, 403, "{method} {path} {header}");
        }
    }
    for wrong in ["18446744073709551615s", "31d", "-1s", ""] {
        assert_eq!(http::request(admin, "POST", &format!("/drain?within={wrong}"), &[], b"").await.status, 400, "{wrong}");
    }
    assert_eq!(http::request(admin, "POST", "/drain?within=10m", &[], b"").await.status, 202);
    let told = |event: &Event| if let Event::Draining { within } = event { Some(*within) } else { None };
    assert!(ada.event(told).await <= 600);
    signal(&server, Signal::SIGTERM);
    // Two signals at once are one.
    let heard = async { while !log.next_line().await.expect("read").expect("a line").contains("already draining") {} };
    tokio::time::timeout(SOON, heard).await.expect("in time");
    tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
    assert_eq!(http::request(admin, "POST", "/drain?within=20m", &[], b"").await.status, 202);
    assert!(ada.event(told).await > 600, "the server is still there");
    signal(&server, Signal::SIGTERM);
    let status = tokio::time::timeout(SOON, server.child.wait()).await.expect("in time").expect("it ends");
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_second_sigterm_waits_for_nobody() {
    let (mut server, admin) = server(&["--drain", "1h"]).await;
    let (mut ada, _) = server.join("open", "Ada").await;
    signal(&server, Signal::SIGTERM);
    ada.event(|event| matches!(event, Event::Draining { within } if *within > 3500).then_some(())).await;
    assert_eq!(http::request(admin, "GET", "/readyz", &[], b"").await.status, 503);
    signal(&server, Signal::SIGTERM);
    ada.event(|event| matches!(event, Event::Closing { reason: CloseReason::ShuttingDown, .. }).then_some(())).await;
    let status = tokio::time::timeout(SOON, server.child.wait()).await.expect("in time").expect("it ends");
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_no_packet_is_lost_before_the_deadline() {
    const WITHIN: Duration = Duration::from_secs(4);
    println!("seed {SEED}");
    let (mut server, _) = server(&[&EVERYBODY[..], &["--drain", "4s"]].concat()).await;
    let url = server.url();
    let mut talkers: Vec<Talker> = Vec::new();
    for room in 0..5u64 {
        let entering = (0..8).map(|number| {
            let url = &url;
            async move {
                let (room, name) = (format!("room-{room}"), number.to_string());
                Talker::enter(url, &room, &name, Duration::from_millis(20), SEED + number).await
            }
        });
        talkers.extend(join_all(entering).await);
    }
    join_all(talkers.iter().map(|talker| talker.hears(7, SOON))).await;
    talkers.iter().for_each(|talker| talker.ear.clear());
    let asked = Instant::now();
    signal(&server, Signal::SIGTERM);
    let status = tokio::time::timeout(WITHIN + SOON, server.child.wait()).await.expect("in time").expect("it ends");
    let took = asked.elapsed();
    assert!(status.success(), "{status}");
    assert!(took >= WITHIN && took < WITHIN + Duration::from_secs(3), "it ended after {took:?}");
    for talker in &talkers {
        let voices = talker.ear.voices();
        assert_eq!(voices.len(), 7, "{:?}", voices.keys());
        for (who, voice) in voices {
            // Up to the deadline everything came, in time: 50 packets a second for nearly four seconds.
            assert_eq!(voice.lost, 0, "of {who}: {voice:?}");
            let heard_for = Duration::from_micros(voice.last - voice.first);
            assert!(heard_for > WITHIN - Duration::from_millis(500), "{who} was heard for {heard_for:?}");
            assert!(voice.received as f64 > heard_for.as_secs_f64() * 45.0, "of {who}: {voice:?}");
        }
    }
}
