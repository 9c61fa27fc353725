//! The dashboard of deploy/ with a real Prometheus: every panel's query is answered.

#[path = "support/http.rs"]
mod http;
mod support;
#[path = "support/talker.rs"]
mod talker;

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use support::{Folder, SOON, Server, lasting_port};
use talker::{EVERYBODY, Talker};
use tokio::process::Command;

/// For Prometheus to have scraped a few times.
const PATIENCE: Duration = Duration::from_secs(30);

/// The results of a query, or why there are none.
async fn query(prometheus: SocketAddr, query: &str) -> Result<Vec<serde_json::Value>, String> {
    let encoded: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
    let response = http::request(prometheus, "GET", &format!("/api/v1/query?query={encoded}"), &[], b"").await;
    let body: serde_json::Value = serde_json::from_str(&response.body).map_err(|error| format!("{error}: {}", response.body))?;
    match body["data"]["result"].as_array() {
        Some(results) if body["status"] == "success" => Ok(results.clone()),
        _ => Err(response.body),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panels_query_is_answered() {
    let server = Server::start(&[&EVERYBODY[..], &["--admin", "127.0.0.1:0", "--workers", "2", "--span-rooms"]].concat()).await;
    let admin = server.admin.expect("operators' HTTP");
    let folder = Folder::new("prometheus");
    let config = folder.0.join("prometheus.yml");
    // As in deploy/, but more often, and where the server is.
    let kept = include_str!("../deploy/prometheus.yml");
    let changed = kept.replace("10s", "1s").replace("switchyard:9090", &admin.to_string());
    assert_eq!(changed.matches(&admin.to_string()).count(), 1, "{kept}");
    std::fs::write(&config, changed).expect("written");
    let prometheus = SocketAddr::from(([127, 0, 0, 1], lasting_port()));
    let mut child = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.0.join("data").display()))
        .arg(format!("--web.listen-address={prometheus}"))
        .arg("--log.level=warn")
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("prometheus starts; `cargo xtask test` installs it on Debian");
    let url = server.url();
    let talkers = join_all((0..3).map(|number| {
        let url = &url;
        async move { Talker::enter(url, "room", &number.to_string(), Duration::from_millis(20), number).await }
    }));
    let talkers = talkers.await;
    join_all(talkers.iter().map(|talker| talker.hears(2, SOON))).await;

    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(child.try_wait().expect("asked").is_none(), "prometheus has ended");
        assert!(Instant::now() < deadline, "prometheus does not scrape");
        let reached = tokio::net::TcpStream::connect(prometheus).await.is_ok();
        // Rates take two scrapes, and something that grows between them.
        if reached && query(prometheus, "rate(switchyard_worker_datagrams_out_total[10s]) > 0").await.is_ok_and(|found| !found.is_empty()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let dashboard: serde_json::Value = serde_json::from_str(include_str!("../deploy/grafana-dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    assert!(panels.len() > 15);
    let mut silent = Vec::new();
    for panel in panels {
        for target in panel["targets"].as_array().expect("targets") {
            let expression = target["expr"].as_str().expect("an expression").replace("$__rate_interval", "10s");
            match query(prometheus, &expression).await {
                // What nobody has reported yet has no quantiles.
                Ok(results) if !results.is_empty() && (panel["title"] != "Time inside" || results[0]["value"][1] != "NaN") => {}
                Ok(_) => silent.push(format!("{}: nothing answers {expression}", panel["title"])),
                Err(why) => silent.push(format!("{}: {expression}: {why}", panel["title"])),
            }
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
    // And what it says is so.
    let sessions = query(prometheus, "sum(switchyard_signaling_sessions)").await.expect("an answer");
    assert_eq!(sessions[0]["value"][1], "3");
    child.kill().await.expect("ended");
}
