use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use switchyard_forward::{IceCredentials, PeerKey};

use super::*;

fn config(workers: u8) -> Config {
    Config { bind: IpAddr::V4(Ipv4Addr::LOCALHOST), workers, ..Config::default() }
}

fn add(peer: u64) -> Command {
    Command::AddPeer { peer: PeerKey(peer), ice: IceCredentials::generate(WorkerIndex(0), [peer as u8; 24]) }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("media-"))
        .count()
}

#[test]
fn time_zero_of_unix_is_seventy_years_after_ntp() {
    assert_eq!(ntp(UNIX_EPOCH), 2_208_988_800 << 32);
    assert_eq!(ntp(UNIX_EPOCH + Duration::from_millis(1500)), (2_208_988_801 << 32) | 1 << 31);
}

#[tokio::test]
async fn no_workers_is_an_error() {
    assert!(matches!(start(config(0)), Err(StartError::NoWorkers)));
}

#[tokio::test]
async fn rooms_go_where_the_fewest_peers_are_and_ties_take_turns() {
    let (workers, _events) = start(config(3)).unwrap();
    let mut first: Vec<_> = (0..3).map(|_| workers.place().0).collect();
    first.sort_unstable();
    assert_eq!(first, [0, 1, 2]);
    workers.command(WorkerIndex(0), add(1)).await.unwrap();
    workers.command(WorkerIndex(2), add(2)).await.unwrap();
    workers.command(WorkerIndex(2), add(3)).await.unwrap();
    assert_eq!(workers.place(), WorkerIndex(1));
    assert_eq!(workers.load(WorkerIndex(2)), 2);
    for peer in [2, 3, 3] {
        workers.command(WorkerIndex(2), Command::RemovePeer { peer: PeerKey(peer) }).await.unwrap();
    }
    assert_eq!(workers.load(WorkerIndex(2)), 0);
}

#[tokio::test]
async fn shutdown_ends_the_threads_and_refuses_commands() {
    // The other tests of this process may have workers of their own: this one has eleven.
    let (workers, mut events) = start(config(11)).unwrap();
    let clone = workers.clone();
    clone.shutdown();
    assert_eq!(workers.command(WorkerIndex(0), add(1)).await, Err(Stopped));
    assert!(events.recv().await.is_none(), "every thread has dropped its end");
    workers.shutdown();
    assert!(threads() < 11);
}

#[tokio::test]
async fn the_last_handle_ends_the_threads() {
    let (workers, mut events) = start(config(2)).unwrap();
    let clone = workers.clone();
    drop(workers);
    clone.command(WorkerIndex(1), add(1)).await.unwrap();
    drop(clone);
    assert!(events.recv().await.is_none());
}

#[tokio::test]
async fn a_flood_of_commands_waits_its_turn_and_is_all_done() {
    let (workers, _events) = start(config(1)).unwrap();
    let tasks: Vec<_> = (0..4u64)
        .map(|task| {
            let workers = workers.clone();
            tokio::spawn(async move {
                for i in 0..5000 {
                    workers.command(WorkerIndex(0), add(task * 5000 + i)).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(workers.load(WorkerIndex(0)), 20_000);
    workers.shutdown();
    assert!(workers.0.inboxes[0].commands.is_empty());
}

/// What says what to do with the next datagram is done before it, and wakes nobody.
#[tokio::test]
async fn what_is_for_later_wakes_nobody_and_is_done_with_the_next_turn() {
    let (workers, _events) = start(config(1)).unwrap();
    let waiting = || workers.0.inboxes[0].commands.len();
    let deadline = Instant::now() + Duration::from_secs(10);
    workers.command(WorkerIndex(0), add(1)).await.unwrap();
    while waiting() > 0 {
        assert!(Instant::now() < deadline, "a worker without peers may have nothing else to wake it");
        tokio::task::yield_now().await;
    }
    // Ten times a second it looks at its peers, and then does what there is: in some of these rounds.
    let (mut waited, mut rounds) = (0, 0);
    for peer in 2..22 {
        let mut turns = 0;
        while std::mem::replace(&mut turns, workers.counters().turns) != turns || waiting() > 0 {
            assert!(Instant::now() < deadline, "it does not sleep");
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        workers.command(WorkerIndex(0), add(peer)).await.unwrap();
        workers.command(WorkerIndex(0), Command::SetReceivers { peer: PeerKey(peer), receivers: Vec::new() }).await.unwrap();
        workers.command(WorkerIndex(0), Command::SetSenders { peer: PeerKey(peer), senders: Vec::new() }).await.unwrap();
        workers.command(WorkerIndex(0), Command::RemovePeer { peer: PeerKey(peer) }).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        (waited, rounds) = (waited + u32::from(waiting() == 4), rounds + 1);
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&[255], (Ipv4Addr::LOCALHOST, workers.port())).unwrap();
        while waiting() > 0 {
            assert!(Instant::now() < deadline, "the next datagram finds {} commands", waiting());
            tokio::task::yield_now().await;
        }
    }
    assert!(waited * 2 > rounds, "in {waited} of {rounds} rounds");
    workers.put(WorkerIndex(0), add(12)).await.unwrap();
    workers.ring(WorkerIndex(0));
    while waiting() > 0 {
        assert!(Instant::now() < deadline, "nothing happens when it rings");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_worker_with_work_is_awake_and_one_without_sleeps() {
    let (workers, _events) = start(config(2)).unwrap();
    let start = Instant::now();
    let mut peer = 0;
    while workers.awake(WorkerIndex(0)) < Duration::from_millis(100) {
        workers.command(WorkerIndex(0), add(peer)).await.unwrap();
        peer += 1;
        assert!(start.elapsed() < Duration::from_secs(20), "{peer} commands are no work");
    }
    let (busy, idle) = (workers.awake(WorkerIndex(0)), workers.awake(WorkerIndex(1)));
    assert!(busy <= start.elapsed(), "{busy:?}");
    assert!(idle < busy / 5, "{idle:?}");
}

/// Whatever a turn left in the socket, a worker with nothing to do sleeps: its turns don't go on when nothing comes.
#[tokio::test]
async fn a_worker_that_has_emptied_its_socket_sleeps() {
    let (workers, _events) = start(config(1)).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut sent = 0;
    for burst in (1..=128).chain(1..=128) {
        for _ in 0..burst {
            socket.send_to(&[255; 20], (Ipv4Addr::LOCALHOST, workers.port())).unwrap();
        }
        sent += burst;
        let deadline = Instant::now() + Duration::from_secs(10);
        while workers.counters().datagrams_in < sent {
            assert!(Instant::now() < deadline, "{:?} of {sent}", workers.counters());
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        let turns = workers.counters().turns;
        tokio::time::sleep(Duration::from_millis(3)).await;
        let turns = workers.counters().turns - turns;
        assert!(turns < 10, "{turns} turns for nothing after {burst} datagrams");
    }
}

#[tokio::test]
async fn garbage_is_answered_by_nothing_and_breaks_nothing() {
    let (workers, mut events) = start(config(2)).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let target = (Ipv4Addr::LOCALHOST, workers.port());
    let mut state = 1u64;
    let mut sent = 0;
    for i in 0..4000usize {
        let bytes: Vec<u8> = (0..i % 1400)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        sent += u64::from(socket.send_to(&bytes, target).is_ok());
    }
    // All are seen: counted in, or dropped by the kernel.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let counters = workers.counters();
        if counters.datagrams_in + counters.kernel_drops >= sent {
            assert_eq!(counters.datagrams_out, 0);
            break;
        }
        assert!(Instant::now() < deadline, "{counters:?} of {sent}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(socket.recv(&mut [0; 1500]).is_err());
    assert!(events.try_recv().is_err());
    workers.command(WorkerIndex(0), add(1)).await.unwrap();
}
