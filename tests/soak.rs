//! Thousands of joins and leaves leave nothing behind.

mod support;

use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use support::{Server, Socket};
use switchyard_client::{Client, Media, Options, Publish, Report, Sequence, Source, State};
use switchyard_protocol::Encoding;

const PATIENCE: Duration = Duration::from_secs(30);
const CYCLES: usize = 10;
/// People in a room, each of whom sends sound and a picture and gets everybody else's.
const IN_A_ROOM: usize = 5;
/// Streams that each of them gets.
const STREAMS: usize = 2 * (IN_A_ROOM - 1);
/// Rooms filled at the same time: what two cores can do beside the server.
const AT_ONCE: usize = 4;
const ROOMS: usize = 40;

/// What the program holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    tasks: usize,
    sockets: usize,
    threads: usize,
}

fn entries(server: &Server, of: &str) -> usize {
    std::fs::read_dir(format!("/proc/{}/{of}", server.child.id().expect("running"))).expect("a process").count()
}

async fn held(server: &Server) -> Held {
    let response = server.get("/debug/tasks").await;
    let tasks = response.rsplit("\r\n").next().and_then(|body| body.trim().parse().ok()).unwrap_or_else(|| panic!("no number: {response}"));
    Held { tasks, sockets: entries(server, "fd"), threads: entries(server, "task") }
}

/// Resident memory, in KiB.
fn memory(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id().expect("running"))).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("resident memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// People meet, everybody gets everybody's sound and picture, and leave. In turn they say goodbye or are just gone.
async fn meet(server: &Server, room: usize) {
    let sends = |source, packets_per_second, bytes| Publish::new(source, Media::Sequence(Sequence { packets_per_second, bytes, burst: 1 }));
    let options = |n| {
        let options = Options::new(server.url(), format!("room-{room}"), format!("Participant {n}"));
        options.publish(sends(Source::Microphone, 50, 100)).publish(sends(Source::Camera, 50, 1000))
    };
    let clients = try_join_all((0..IN_A_ROOM).map(|n| Client::connect(options(n)))).await.expect("everybody joins");
    for client in &clients {
        client.wait_connected(PATIENCE).await.expect("connected");
        client.wait_until(PATIENCE, |state: &State| state.slots.len() == STREAMS).await.expect("everybody in a slot");
        client.wait_for_report(PATIENCE, |report: &Report| report.sequences.len() == STREAMS).await.expect("media of everybody");
        client.send_text(None, "hello").await.expect("sent");
    }
    join_all(clients.into_iter().enumerate().map(|(n, client)| async move {
        if n % 2 == room % 2 {
            client.leave().await.expect("left");
        }
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_times_two_hundred_joins_and_leaves_leave_nothing_behind() {
    let server = Server::start(&["--debug-http"]).await;
    // Whatever is made once is made.
    meet(&server, 0).await;
    let baseline = settled(&server, None).await;
    let mut memories = Vec::new();
    for cycle in 0..CYCLES {
        for first in (0..ROOMS).step_by(AT_ONCE) {
            join_all((first..first + AT_ONCE).map(|room| meet(&server, room))).await;
        }
        let held = settled(&server, Some(baseline)).await;
        assert_eq!(held, baseline, "after cycle {cycle}");
        memories.push(memory(&server));
        println!("cycle {cycle}: {held:?}, {} KiB", memories[cycle]);
    }
    let (third, last) = (memories[2], memories[CYCLES - 1]);
    assert!(last * 100 <= third * 105, "{third} KiB after the third cycle, {last} after the last: {memories:?}");
    // It is a living server still.
    Socket::connect(&server, Encoding::Json).await.join("demo", "Fay").await;
}

/// What is held once it is as wanted, or no longer changes.
async fn settled(server: &Server, wanted: Option<Held>) -> Held {
    let mut last = held(server).await;
    for _ in 0..60 {
        if Some(last) == wanted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = held(server).await;
        if wanted.is_none() && now == last {
            break;
        }
        last = now;
    }
    last
}
