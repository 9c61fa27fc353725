//! The workers with their forwarders on real sockets: paths, fan-out, and rooms that span workers.

mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use support::{Client, command};
use switchyard_forward::{Command, Event, TrackKey, WorkerIndex};
use switchyard_rtp::MediaKind;
use switchyard_worker::{Config, Workers, start};

const TRACK: TrackKey = TrackKey(1);

fn workers(count: u8) -> (Workers, tokio::sync::mpsc::Receiver<(WorkerIndex, Event)>) {
    start(Config { bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED), workers: count, ..Config::default() }).expect("the workers start")
}

/// A publisher of worker 0, and subscribers of each worker in turn.
fn room(workers: &Workers, subscribers: u16) -> (Client, Vec<Client>) {
    let home = WorkerIndex(0);
    let publisher = Client::join(workers, home, 0);
    publisher.publish(workers, TRACK);
    for worker in (1..workers.count()).map(WorkerIndex) {
        command(workers, worker, Command::PublishRemote { track: TRACK, kind: MediaKind::Video, home });
        command(workers, home, Command::Trunk { track: TRACK, to: worker, on: true });
    }
    let subscribers = (1..=subscribers)
        .map(|number| {
            let client = Client::join(workers, WorkerIndex((number % u16::from(workers.count())) as u8), number);
            client.subscribe(workers, TRACK);
            client
        })
        .collect();
    (publisher, subscribers)
}

/// Commands that have been accepted have not yet been done: asks until a keyframe reaches `client`. Returns the next index.
fn warm_up(publisher: &mut Client, subscribers: &mut [Client]) -> u64 {
    let mut index = 0;
    for subscriber in subscribers {
        let deadline = Instant::now() + Duration::from_secs(10);
        subscriber.socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut bytes = [0; 2048];
        loop {
            let keyframe = publisher.seal(index, true, 100);
            publisher.send(&keyframe);
            index += 1;
            if subscriber.socket.peek(&mut bytes).is_ok() {
                break;
            }
            assert!(Instant::now() < deadline, "no media");
        }
        subscriber.socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    }
    index
}

#[test]
fn a_nominated_path_is_told_to_the_control_plane() {
    let (workers, mut events) = workers(1);
    let client = Client::join(&workers, WorkerIndex(0), 7);
    let (worker, event) = events.blocking_recv().unwrap();
    assert_eq!(worker, WorkerIndex(0));
    let address = client.socket.local_addr().unwrap();
    assert!(matches!(event, Event::Connected { peer, remote } if peer == client.key && remote == address), "{event:?}");
    assert_eq!(workers.drops().map(|(_, count)| count).sum::<u64>(), 0);
}

/// Sends 1,000 packets and expects each subscriber to get them once and in order, on one worker or over several.
fn everyone_gets_everything(count: u8) {
    let (workers, _events) = workers(count);
    let (mut publisher, mut subscribers) = room(&workers, 9);
    let first = warm_up(&mut publisher, &mut subscribers);
    let mut heard: Vec<Option<u64>> = vec![None; subscribers.len()];
    for index in first..first + 1000 {
        let packet = publisher.seal(index, false, 1000);
        publisher.send(&packet);
        // Not faster than the sockets of the subscribers can hold.
        if index % 20 == 19 || index == first + 999 {
            for (subscriber, heard) in subscribers.iter_mut().zip(&mut heard) {
                while *heard != Some(index) {
                    let (_, next) = subscriber.receive();
                    assert!(heard.is_none_or(|last| next == last + 1), "{next} after {heard:?}");
                    *heard = Some(next);
                }
            }
        }
    }
    let counters = workers.counters();
    assert_eq!((counters.trunk_drops, counters.hand_over_drops, counters.kernel_drops), (0, 0, 0), "{counters:?}");
    if count > 1 {
        assert!(counters.trunk_packets >= 1000, "{counters:?}");
        assert!(counters.handed_over > 0, "of ten clients some came to another's socket: {counters:?}");
    }
}

#[test]
fn everyone_of_one_worker_gets_everything() {
    everyone_gets_everything(1);
}

#[test]
fn a_room_spans_workers() {
    everyone_gets_everything(3);
}

#[test]
fn who_comes_to_the_wrong_socket_comes_to_their_own_before_long() {
    let (workers, _events) = workers(2);
    let handed_over = || workers.counters().handed_over;
    let home = WorkerIndex(0);
    // The kernel chooses by the client's port.
    let astray =
        (0..64).map(|number| (handed_over(), Client::join(&workers, home, 100 + number))).find(|(before, _)| handed_over() > *before);
    let (_, mut publisher) = astray.expect("one of 64 comes to the other socket");
    publisher.publish(&workers, TRACK);
    let mut subscriber = Client::join(&workers, home, 1);
    subscriber.subscribe(&workers, TRACK);
    let joined = handed_over();
    let mut index = warm_up(&mut publisher, std::slice::from_mut(&mut subscriber));
    // The first is handed over, and what came before the kernel was told; then nothing is any more.
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut since = (handed_over(), index);
    while index - since.1 < 200 {
        assert!(Instant::now() < deadline, "{} of {index} are handed over", handed_over());
        let packet = publisher.seal(index, false, 100);
        publisher.send(&packet);
        while subscriber.receive().1 != index {}
        index += 1;
        if handed_over() > since.0 {
            since = (handed_over(), index);
        }
    }
    assert!((1..30).contains(&(since.0 - joined)), "{since:?}, {joined}");
}

#[test]
fn datagrams_for_control_arrive_and_answers_leave_by_the_path() {
    let (workers, mut events) = workers(2);
    for number in 0..6u16 {
        let client = Client::join(&workers, WorkerIndex(u8::from(number % 2 == 1)), number);
        client.send(&[22, 254, 253, 1, 2, 3]);
        let datagram = loop {
            match events.blocking_recv().unwrap().1 {
                Event::Dtls { peer, datagram } if peer == client.key => break datagram,
                _ => {}
            }
        };
        assert_eq!(datagram, [22, 254, 253, 1, 2, 3]);
        command(&workers, client.worker, Command::Send { peer: client.key, datagram: vec![22, 9] });
        let mut bytes = [0; 100];
        loop {
            let len = client.socket.recv(&mut bytes).unwrap();
            if bytes[0] == 22 {
                assert_eq!(bytes[..len], [22, 9]);
                break;
            }
        }
    }
}

#[test]
fn a_packet_wakes_a_sleeping_worker_within_a_millisecond() {
    let (workers, _events) = workers(1);
    let (mut publisher, mut subscribers) = room(&workers, 1);
    let first = warm_up(&mut publisher, &mut subscribers);
    let mut times: Vec<_> = (first..first + 100)
        .map(|index| {
            let packet = publisher.seal(index, false, 1000);
            let sent = Instant::now();
            publisher.send(&packet);
            while subscribers[0].receive().1 != index {}
            sent.elapsed()
        })
        .collect();
    times.sort_unstable();
    // The median: other programs of the machine may hold up one or the other.
    eprintln!("through the worker: median {:?}, worst {:?}", times[50], times[99]);
    assert!(times[50] < Duration::from_millis(1), "{times:?}");
}
