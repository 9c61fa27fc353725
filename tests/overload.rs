//! A server with no room left: newcomers are refused in a way they can act on, and nobody who is there loses anything.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use support::{Server, Socket};
use switchyard_client::{Client, ClientError, Media, Options, Publish, Sequence, Source, State};
use switchyard_protocol::{Encoding, ErrorCode, ProtocolError, Request};

const PATIENCE: Duration = Duration::from_secs(30);
const RATE: u32 = 1_500;

/// Two participants in a room of their own who send to each other once they are told.
async fn call(server: &Server, room: &str) -> Vec<Client> {
    let mut clients = Vec::new();
    for name in ["Ada", "Ben"] {
        let camera = Publish::new(Source::Camera, Media::Sequence(Sequence { packets_per_second: RATE, bytes: 1000, burst: 1 }));
        let mut options = Options::new(server.url(), room, name).publish(camera);
        options.sending = false;
        clients.push(Client::connect(options).await.expect("joined"));
    }
    for client in &clients {
        client.wait_connected(PATIENCE).await.expect("connected");
        client.wait_until(PATIENCE, |state: &State| state.slots.len() == 1).await.expect("the other one is in a slot");
    }
    clients
}

async fn set_sending(clients: &[Client], sending: bool) {
    for client in clients {
        client.set_sending(sending).await.expect("the session goes on");
    }
}

/// Checks that each of the two has every packet of the other's, once and in order.
async fn nothing_is_lost(clients: &[Client]) {
    let sent: BTreeMap<_, u64> = clients
        .iter()
        .map(|client| (client.id(), client.state().published.values().map(|published| published.packets_sent()).sum()))
        .collect();
    for (client, other) in [(&clients[0], &clients[1]), (&clients[1], &clients[0])] {
        let sent = sent[&other.id()];
        let key = (other.id(), 0);
        let all = |report: &switchyard_client::Report| report.sequences.get(&key).is_some_and(|seen| seen.progress.last + 1 >= sent);
        let report = client.wait_for_report(PATIENCE, all).await.unwrap_or_else(|_| client.report());
        let progress = &report.sequences[&key].progress;
        assert_eq!(
            (progress.received, progress.lost(), progress.duplicated, progress.reordered),
            (sent, 0, 0, 0),
            "received, lost, duplicated, reordered"
        );
        assert!(sent > u64::from(RATE), "{sent} packets are hardly a call");
    }
}

async fn join(server: &Server, room: &str) -> Result<Socket, ProtocolError> {
    let mut socket = server.connect(Encoding::Json).await;
    socket.request(Request::Join { room: room.into(), name: "Eve".into(), token: None, password: None }).await.map(|_| socket)
}

/// Joins and leaves until a join is refused.
async fn until_refused(server: &Server, room: &str) -> ProtocolError {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Err(error) = join(server, room).await {
            return error;
        }
        assert!(Instant::now() < deadline, "nobody is refused");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Asks to come in until there is room.
async fn until_let_in(server: &Server, room: &str) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = join(server, room).await {
        assert_eq!(error.code, ErrorCode::Overloaded);
        assert!(Instant::now() < deadline, "there is no room");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_refuses_newcomers_and_running_calls_lose_nothing() {
    let server = Server::start(&["--max-load", "2", "--workers", "2"]).await;
    // A call for each worker.
    let calls = [call(&server, "call").await, call(&server, "another").await];
    // Nobody sends yet; a fiftieth of a worker is little, and other tests take the processor from it.
    until_let_in(&server, "call").await;
    for clients in &calls {
        set_sending(clients, true).await;
    }
    for room in ["call", "another", "new"] {
        let error = until_refused(&server, room).await;
        assert_eq!((error.code, error.retryable), (ErrorCode::Overloaded, true));
        assert!(error.message.contains("try again"), "{}", error.message);
    }
    // The same WebSocket may ask again, and the headless client hears of it too.
    let mut socket = server.connect(Encoding::MessagePack).await;
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..20 {
        ticks.tick().await;
        let request = Request::Join { room: "call".into(), name: "Eve".into(), token: None, password: None };
        assert_eq!(socket.request(request).await.expect_err("refused").code, ErrorCode::Overloaded);
    }
    match Client::connect(Options::new(server.url(), "call", "Eve")).await.map(drop) {
        Err(ClientError::Refused(error)) => assert!(error.retryable),
        other => panic!("{other:?}"),
    }
    // Those who are there may do everything that they ever could.
    for clients in &calls {
        set_sending(clients, false).await;
        nothing_is_lost(clients).await;
    }
    // Once there is room again, also for whom this WebSocket was refused. A fiftieth of a worker is little: joining itself may take it.
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = socket.request(Request::Join { room: "call".into(), name: "Eve".into(), token: None, password: None }).await {
        assert_eq!(error.code, ErrorCode::Overloaded);
        assert!(Instant::now() < deadline, "no room again");
        ticks.tick().await;
    }
}

/// A control group as the kernel shows it, of half a core. Its quota is used up in every period for as long as it says so.
struct Group {
    directory: std::path::PathBuf,
    throttling: Arc<AtomicBool>,
    kernel: tokio::task::JoinHandle<()>,
}

impl Group {
    fn new(name: &str) -> Self {
        let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("cpu.max"), "50000 100000\n").unwrap();
        let throttling = Arc::new(AtomicBool::new(false));
        let (at, throttles) = (directory.clone(), Arc::clone(&throttling));
        let kernel = tokio::spawn(async move {
            let (mut periods, mut throttled) = (0u32, 0u32);
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            loop {
                periods += 1;
                throttled += u32::from(throttles.load(Ordering::Relaxed));
                // In one piece, as the kernel does.
                std::fs::write(at.join("next"), format!("nr_periods {periods}\nnr_throttled {throttled}\n")).unwrap();
                std::fs::rename(at.join("next"), at.join("cpu.stat")).unwrap();
                ticks.tick().await;
            }
        });
        Self { directory, throttling, kernel }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kernel.abort();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_is_used_up_refuses_newcomers_until_it_is_not() {
    let group = Group::new("quota");
    let server = Server::start(&["--cgroup", group.directory.to_str().unwrap()]).await;
    let clients = call(&server, "call").await;
    group.throttling.store(true, Ordering::Relaxed);
    let error = until_refused(&server, "call").await;
    assert_eq!((error.code, error.retryable), (ErrorCode::Overloaded, true));
    set_sending(&clients, true).await;
    assert!(join(&server, "another").await.is_err(), "no room on any worker");
    group.throttling.store(false, Ordering::Relaxed);
    until_let_in(&server, "call").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    set_sending(&clients, false).await;
    nothing_is_lost(&clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_limit_nobody_is_refused() {
    let server = Server::start(&["--max-load", "0", "--workers", "1"]).await;
    let clients = call(&server, "call").await;
    set_sending(&clients, true).await;
    for _ in 0..30 {
        join(&server, "call").await.expect("room");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    set_sending(&clients, false).await;
    nothing_is_lost(&clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once_all_come_in_and_a_running_call_loses_nothing() {
    let server = Server::start(&["--workers", "2"]).await;
    let clients = call(&server, "call").await;
    set_sending(&clients, true).await;
    let start = Instant::now();
    let sockets = join_all((0..200).map(|number| {
        let server = &server;
        // Into four rooms.
        async move { join(server, &format!("crowd-{}", number % 4)).await.expect("nobody is too late") }
    }))
    .await;
    // Fifty a second for each core, and eight at once.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let pace = Duration::from_secs_f64((sockets.len() - 8) as f64 / (50 * cores) as f64);
    assert!(start.elapsed() >= pace, "{} joined in {:?}", sockets.len(), start.elapsed());
    tokio::time::sleep(Duration::from_millis(1500).saturating_sub(start.elapsed())).await;
    set_sending(&clients, false).await;
    nothing_is_lost(&clients).await;
}
