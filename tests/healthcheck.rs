//! `switchyard healthcheck`, which containers ask whether the server is alive.

mod support;

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use support::{Folder, SOON, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;

async fn healthcheck(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let asking = Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .arg("healthcheck")
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(SOON, asking).await.expect("over in time").expect("the program runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn a_server_is_found_by_the_options_it_has() {
    let mut server = Server::start(&["--admin", "127.0.0.1:0"]).await;
    let (http, admin) = (server.http.to_string(), server.admin.expect("operators' HTTP").to_string());
    let alive = |output: &Output, asked: &str| {
        assert!(output.status.success(), "{}", said(output));
        assert_eq!(said(output), format!("http://{asked} is alive\n"));
    };
    alive(&healthcheck(&["--http", &http], &[]).await, &http);
    alive(&healthcheck(&["--http", "127.0.0.1:1", "--admin", &admin], &[]).await, &admin);
    alive(&healthcheck(&[], &[("SWITCHYARD_ADMIN", &admin)]).await, &admin);
    let folder = Folder::new("healthcheck");
    let file = folder.0.join("switchyard.toml");
    std::fs::write(&file, format!("http = \"[::]:{}\"\n", server.http.port())).expect("written");
    alive(&healthcheck(&[], &[("SWITCHYARD_CONFIG", &file.display().to_string())]).await, &http);

    server.kill().await;
    let output = healthcheck(&["--http", &http], &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).starts_with(&format!("error: http://{http}/healthz: ")), "{}", said(&output));
    let output = healthcheck(&["--http", "127.0.0.1:0"], &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("any free port"), "{}", said(&output));
}

#[tokio::test]
async fn what_is_there_and_not_well_is_not_alive() {
    for (answer, why) in [("HTTP/1.1 503 Service Unavailable\r\n\r\n", "503"), ("", "without an answer"), ("SSH-2.0-none\r\n", "SSH")] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let answering = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("somebody");
            assert!(stream.read(&mut [0; 1024]).await.expect("a request") > 0);
            stream.write_all(answer.as_bytes()).await.expect("written");
        });
        let output = healthcheck(&["--http", &address], &[]).await;
        assert_eq!(output.status.code(), Some(1), "{answer:?}");
        assert!(said(&output).contains(why), "{}", said(&output));
        answering.await.expect("answered");
    }
}

#[tokio::test]
async fn who_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let began = Instant::now();
    let output = healthcheck(&["--http", &address], &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("no answer within 3 s"), "{}", said(&output));
    assert!(began.elapsed() >= Duration::from_secs(3));
}
