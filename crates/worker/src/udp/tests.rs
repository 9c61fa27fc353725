use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use switchyard_forward::{Batch, Origin, Path, Run, SocketId};

use super::*;
use crate::counters::Tally;
use crate::wake::wait;

fn config(bind: IpAddr, workers: u8) -> Config {
    Config { bind, workers, receive_buffer: 1 << 20, send_buffer: 1 << 20, ..Config::default() }
}

/// A socket of the media port, and what it counts.
struct Bench {
    socket: Socket,
    sender: Sender,
    receiver: Receiver,
    tally: Tally,
    port: u16,
    batch: Batch,
}

impl Bench {
    fn new(bind: IpAddr) -> Self {
        let (mut sockets, granted) = open(&config(bind, 1)).unwrap();
        let socket = sockets.remove(0);
        Self {
            sender: Sender::new(&socket),
            receiver: Receiver::new(),
            tally: Tally::default(),
            port: granted.port,
            batch: Batch { bytes: vec![0; BYTES], received: Vec::with_capacity(DATAGRAMS) },
            socket,
        }
    }

    fn at(&self, ip: impl Into<IpAddr>) -> SocketAddr {
        SocketAddr::new(ip.into(), self.port)
    }

    /// Receives until `count` datagrams have come: their bytes and paths.
    fn receive(&mut self, count: usize) -> Vec<(Vec<u8>, Path)> {
        let mut got = Vec::new();
        while got.len() < count {
            let mut fds = [libc::pollfd { fd: self.socket.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
            wait(&mut fds, Some(Duration::from_secs(10)));
            assert_ne!(fds[0].revents, 0, "{} of {count} datagrams came", got.len());
            self.receiver.receive(&self.socket, &mut self.batch, &self.tally);
            for received in self.batch.received.drain(..) {
                let Origin::Path { path, .. } = received.origin else { unreachable!() };
                got.push((self.batch.bytes[received.start..received.start + received.len].to_vec(), path));
            }
        }
        got
    }

    fn send(&mut self, bytes: &[u8], runs: &[Run]) {
        self.sender.send(&self.socket, bytes, runs, &self.tally);
    }
}

fn client(ip: impl Into<IpAddr>) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((ip.into(), 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn next(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut bytes = [0; 2048];
    let (len, from) = socket.recv_from(&mut bytes).unwrap();
    (bytes[..len].to_vec(), from)
}

const ANY6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
const ANY4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ONE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn path(local: impl Into<IpAddr>, remote: SocketAddr) -> Path {
    Path { socket: SocketId(0), local: local.into(), remote }
}

/// Bytes that tell where they are.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

#[test]
fn a_run_of_three_arrives_as_three_datagrams() {
    for bind in [ANY4, ANY6] {
        let mut bench = Bench::new(bind);
        assert!(bench.sender.segments());
        let (client, remote) = client(ONE);
        let bytes = pattern(5000);
        bench.send(&bytes, &[Run { path: path(ONE, remote), start: 100, len: 1130 * 2 + 900, segment: 1130 }]);
        assert_eq!(next(&client).0, bytes[100..1230]);
        assert_eq!(next(&client).0, bytes[1230..2360]);
        assert_eq!(next(&client).0, bytes[2360..3260]);
        assert_eq!(bench.tally.send_calls.get(), 1);
        assert_eq!(bench.tally.datagrams_out.get(), 3);
        assert_eq!(bench.tally.bytes_out.get(), 3160);
    }
}

#[test]
fn without_segmentation_a_run_leaves_datagram_by_datagram() {
    let mut bench = Bench::new(ANY6);
    bench.sender = Sender::new(&Socket { segments: false, ..Bench::new(ANY6).socket });
    assert!(!bench.sender.segments());
    let (client, remote) = client(ONE);
    let bytes = pattern(3000);
    bench.send(&bytes, &[Run { path: path(ONE, remote), start: 0, len: 2500, segment: 1000 }]);
    for range in [0..1000, 1000..2000, 2000..2500] {
        assert_eq!(next(&client).0, bytes[range]);
    }
    assert_eq!(bench.tally.datagrams_out.get(), 3);
}

#[test]
fn a_run_the_kernel_refuses_to_cut_leaves_datagram_by_datagram() {
    let mut bench = Bench::new(ANY6);
    let (client, remote) = client(ONE);
    // More segments than any kernel cuts at once.
    let bytes = pattern(400);
    bench.send(&bytes, &[Run { path: path(ONE, remote), start: 0, len: 400, segment: 2 }]);
    for pair in bytes.chunks(2) {
        assert_eq!(next(&client).0, pair);
    }
    assert_eq!(bench.tally.unsegmented_runs.get(), 1);
    assert!(bench.sender.segments(), "one refusal is not yet a habit");
    for _ in 0..7 {
        bench.send(&bytes, &[Run { path: path(ONE, remote), start: 0, len: 400, segment: 2 }]);
    }
    assert!(!bench.sender.segments());
}

#[test]
fn more_runs_than_fit_one_system_call_all_arrive_in_order() {
    let mut bench = Bench::new(ANY6);
    let (client, remote) = client(ONE);
    let bytes = pattern(200 * 10);
    let runs: Vec<_> = (0..200).map(|i| Run { path: path(ONE, remote), start: i * 10, len: 10, segment: 10 }).collect();
    bench.send(&bytes, &runs);
    for chunk in bytes.chunks(10) {
        assert_eq!(next(&client).0, chunk);
    }
    assert_eq!(bench.tally.send_calls.get(), 2);
}

#[test]
fn the_answer_leaves_from_the_address_that_was_asked() {
    for bind in [ANY4, ANY6] {
        let mut bench = Bench::new(bind);
        let (client, remote) = client(ONE);
        for asked in [TWO, ONE] {
            client.send_to(b"?", bench.at(asked)).unwrap();
            let (bytes, path) = bench.receive(1).remove(0);
            assert_eq!((bytes.as_slice(), path), (&b"?"[..], self::path(asked, remote)));
            bench.send(b"!!!", &[Run { path, start: 0, len: 3, segment: 2 }]);
            assert_eq!(next(&client), (b"!!".to_vec(), bench.at(asked)));
            assert_eq!(next(&client), (b"!".to_vec(), bench.at(asked)));
        }
    }
}

#[test]
fn one_socket_speaks_both_protocols() {
    let mut bench = Bench::new(ANY6);
    if bench.socket.family == Family::V4 {
        eprintln!("no IPv6 on this machine");
        return;
    }
    let (four, four_address) = client(ONE);
    let (six, six_address) = client(Ipv6Addr::LOCALHOST);
    four.send_to(b"4", bench.at(ONE)).unwrap();
    six.send_to(b"6", bench.at(Ipv6Addr::LOCALHOST)).unwrap();
    let got = bench.receive(2);
    assert_eq!(got[0], (b"4".to_vec(), path(ONE, four_address)));
    assert_eq!(got[1], (b"6".to_vec(), path(Ipv6Addr::LOCALHOST, six_address)));
    let run = |path| Run { path, start: 0, len: 4, segment: 2 };
    bench.send(b"abcd", &[run(got[0].1), run(got[1].1)]);
    for socket in [&four, &six] {
        assert_eq!(next(socket).0, b"ab");
        assert_eq!(next(socket).0, b"cd");
    }
    assert_eq!(bench.tally.send_calls.get(), 1);
}

#[test]
fn datagrams_the_kernel_joined_are_taken_apart() {
    let mut from = Bench::new(ANY6);
    let mut to = Bench::new(ANY6);
    let bytes = pattern(7 * 1100 + 30);
    let runs = [Run { path: path(ONE, to.at(ONE)), start: 0, len: bytes.len(), segment: 1100 }];
    from.send(&bytes, &runs);
    let got = to.receive(8);
    for (chunk, (datagram, path)) in bytes.chunks(1100).zip(&got) {
        assert_eq!(datagram, chunk);
        assert_eq!(*path, self::path(ONE, from.at(ONE)));
    }
    assert_eq!(to.tally.datagrams_in.get(), 8);
    assert_eq!(to.tally.receive_calls.get(), 1, "the kernel delivered the run whole");
}

#[test]
fn a_run_that_cant_leave_keeps_nothing_else_from_leaving() {
    let mut bench = Bench::new(ANY4);
    let (client, remote) = client(ONE);
    let elsewhere = Ipv4Addr::new(192, 0, 2, 1);
    let good = Run { path: path(ONE, remote), start: 0, len: 4, segment: 2 };
    let bad = Run { path: path(elsewhere, remote), ..good };
    let alien = Run { path: path(ONE, SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 9)), ..good };
    let closed = Run { path: path(ONE, SocketAddr::new(ONE.into(), 1)), ..good };
    for _ in 0..10 {
        bench.send(b"abcd", &[bad, good, alien, closed, good, bad, good]);
        for expected in [b"ab", b"cd", b"ab", b"cd", b"ab", b"cd"] {
            assert_eq!(next(&client).0, expected);
        }
    }
    assert_eq!(bench.tally.send_refused.get(), 10 * 3 * 2);
    assert_eq!(bench.tally.datagrams_out.get(), 10 * 4 * 2);
    assert!(bench.sender.segments(), "a bad address is not held against segmentation");
}

#[test]
fn sockets_of_several_workers_share_a_port_that_nobody_else_can_have() {
    let (sockets, granted) = open(&config(ANY6, 3)).unwrap();
    assert_eq!(sockets.len(), 3);
    assert_ne!(granted.port, 0);
    let taken = open(&Config { port: granted.port, ..config(ANY6, 2) });
    assert!(matches!(taken, Err(StartError::Bind { ref source, .. }) if source.raw_os_error() == Some(libc::EADDRINUSE)), "{taken:?}");

    // From many ports: the kernel spreads them, and each datagram comes to one socket.
    let mut counts = [0; 3];
    let clients: Vec<_> = (0..64).map(|_| client(ONE).0).collect();
    for client in &clients {
        client.send_to(b"x", (ONE, granted.port)).unwrap();
    }
    let mut batch = Batch { bytes: vec![0; BYTES], received: Vec::with_capacity(DATAGRAMS) };
    for (socket, count) in sockets.iter().zip(&mut counts) {
        let tally = Tally::default();
        while Receiver::new().receive(socket, &mut batch, &tally) {}
        *count = std::mem::take(&mut batch.received).len();
        batch.received.reserve(DATAGRAMS);
    }
    assert_eq!(counts.iter().sum::<usize>(), 64, "{counts:?}");
    assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
}

/// Which of the sockets a datagram of each client comes to.
fn comes_to(sockets: &[Socket], clients: &[UdpSocket], port: u16) -> Vec<Option<usize>> {
    for client in clients {
        let server = if client.local_addr().unwrap().is_ipv4() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { Ipv6Addr::LOCALHOST.into() };
        client.send_to(b"x", (server, port)).unwrap();
    }
    let mut came = vec![None; clients.len()];
    let mut batch = Batch { bytes: vec![0; BYTES], received: Vec::with_capacity(DATAGRAMS) };
    for (number, socket) in sockets.iter().enumerate() {
        loop {
            let has_more = Receiver::new().receive(socket, &mut batch, &Tally::default());
            for received in batch.received.drain(..) {
                let Origin::Path { path, .. } = received.origin else { unreachable!() };
                let client = clients.iter().position(|client| client.local_addr().unwrap() == path.remote).expect("one of the clients");
                assert_eq!(came[client].replace(number), None, "once");
            }
            if !has_more {
                break;
            }
        }
    }
    came
}

#[test]
fn who_is_known_comes_to_their_socket_and_nobody_else_anywhere_else_than_before() {
    const SOCKETS: u8 = 4;
    for bind in [ANY6, Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into()] {
        let (sockets, granted) = open(&config(bind, SOCKETS)).unwrap();
        // Of every address on this machine that reaches the socket, and a port that two of them have.
        let reaches = |ip: &IpAddr| match bind {
            IpAddr::V4(_) => ip.is_ipv4(),
            IpAddr::V6(bind) => bind.is_unspecified() || ip.is_ipv6(),
        };
        let ips = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into(), Ipv4Addr::new(127, 0, 0, 2).into()];
        let mut clients: Vec<UdpSocket> = Vec::new();
        for ip in ips.into_iter().filter(reaches) {
            let ports: Vec<u16> = clients.iter().take(20).map(|client| client.local_addr().unwrap().port()).collect();
            clients.extend(ports.into_iter().filter_map(|port| UdpSocket::bind((ip, port)).ok()));
            clients.extend((0..100).map(|_| UdpSocket::bind((ip, 0)).unwrap()));
        }
        let before = comes_to(&sockets, &clients, granted.port);
        let steering = Steering::attach(sockets[1].fd()).expect("CAP_BPF");
        assert_eq!(comes_to(&sockets, &clients, granted.port), before, "{bind}, nobody is known yet");
        let mut expected = before.clone();
        let known = || {
            clients.iter().enumerate().filter(|(number, _)| number % 3 > 0).map(|(number, client)| (number, client.local_addr().unwrap()))
        };
        for (number, remote) in known() {
            let socket = number * 7 / 3 % usize::from(SOCKETS);
            steering.steer(remote, socket as u8);
            expected[number] = Some(socket);
        }
        assert_ne!(before, expected);
        assert_eq!(comes_to(&sockets, &clients, granted.port), expected, "{bind}, {} clients", clients.len());
        known().for_each(|(_, remote)| steering.forget(remote));
        assert_eq!(comes_to(&sockets, &clients, granted.port), before, "{bind}, nobody is known any more");
    }
}

#[test]
fn more_than_there_is_room_for_are_known_of_whom_something_comes() {
    let (sockets, granted) = open(&config(ANY6, 2)).unwrap();
    let steering = Steering::attach(sockets[0].fd()).expect("CAP_BPF");
    let (busy, remote) = client(Ipv4Addr::LOCALHOST);
    for number in 0..60_000_u32 {
        steering.steer(SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + number), 9)), 1);
        // Something comes of one, who is told of once.
        if number == 0 {
            steering.steer(remote, 1);
        }
        if number % 100 == 0 {
            busy.send_to(b"x", (Ipv4Addr::LOCALHOST, granted.port)).unwrap();
        }
    }
    assert_eq!(steering.find(remote), Some(1));
    assert_eq!(steering.find(SocketAddr::from(([10, 0, 0, 0], 9))), None, "it was forgotten");
}

#[test]
fn an_address_of_another_machine_is_an_error_with_its_name() {
    let error = open(&config(IpAddr::from([192, 0, 2, 1]), 1)).unwrap_err();
    assert!(error.to_string().contains("192.0.2.1"), "{error}");
}

#[test]
fn datagrams_have_the_times_at_which_they_came_however_late_they_are_taken() {
    let mut bench = Bench::new(Ipv4Addr::LOCALHOST.into());
    let (client, _) = client(Ipv4Addr::LOCALHOST);
    let to = bench.at(Ipv4Addr::LOCALHOST);
    let Bench { socket, receiver, batch, tally, .. } = &mut bench;
    // The kernel begins a moment after it was told to note times; until then it notes when datagrams are taken.
    let began = Instant::now();
    loop {
        client.send_to(b"when", to).unwrap();
        let sent = Instant::now();
        std::thread::sleep(Duration::from_millis(20));
        receiver.receive(socket, batch, tally);
        let noted = batch
            .received
            .drain(..)
            .any(|received| matches!(received.origin, Origin::Path { at, .. } if at < sent + Duration::from_millis(10)));
        if noted {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(5), "times are not noted");
    }
    let mut sent = Vec::new();
    for _ in 0..3 {
        let before = Instant::now();
        client.send_to(b"when", to).unwrap();
        sent.push(before..=Instant::now());
        std::thread::sleep(Duration::from_millis(20));
    }
    receiver.receive(socket, batch, tally);
    assert_eq!(batch.received.len(), 3);
    // Two clocks are read one after the other.
    let blur = Duration::from_millis(5);
    for (received, sent) in batch.received.iter().zip(sent) {
        let Origin::Path { at, .. } = received.origin else { unreachable!() };
        assert!(
            (*sent.start() - blur..=*sent.end() + blur).contains(&at),
            "{:?} after it was sent",
            at.saturating_duration_since(*sent.start())
        );
    }
}

#[test]
fn what_the_kernel_drops_is_counted() {
    let (mut sockets, granted) = open(&Config { receive_buffer: 4096, ..config(ANY6, 1) }).unwrap();
    let socket = sockets.remove(0);
    let (client, _) = client(ONE);
    for _ in 0..100 {
        client.send_to(&[0; 1000], (ONE, granted.port)).unwrap();
    }
    let (tally, mut receiver) = (Tally::default(), Receiver::new());
    let mut batch = Batch { bytes: vec![0; BYTES], received: Vec::with_capacity(DATAGRAMS) };
    while receiver.receive(&socket, &mut batch, &tally) {}
    // The count travels with the next datagram that is queued.
    client.send_to(&[0; 1000], (ONE, granted.port)).unwrap();
    while receiver.receive(&socket, &mut batch, &tally) {}
    assert_eq!(tally.datagrams_in.get() + tally.kernel_drops.get(), 101);
    assert!(tally.kernel_drops.get() > 0);
}

#[test]
fn what_comes_later_in_a_turn_stands_behind_what_came_before() {
    let mut bench = Bench::new(Ipv4Addr::LOCALHOST.into());
    let (client, _) = client(Ipv4Addr::LOCALHOST);
    let to = bench.at(Ipv4Addr::LOCALHOST);
    client.send_to(b"one", to).unwrap();
    client.send_to(b"two", to).unwrap();
    let Bench { socket, receiver, batch, tally, .. } = &mut bench;
    receiver.receive(socket, batch, tally);
    let mut kept: Vec<_> = batch.received.drain(..).collect();
    receiver.receive_more(socket, batch, tally);
    assert!(batch.received.is_empty(), "nothing has come since");
    client.send_to(b"three", to).unwrap();
    receiver.receive_more(socket, batch, tally);
    kept.append(&mut batch.received);
    let bytes: Vec<_> = kept.iter().map(|received| &batch.bytes[received.start..received.start + received.len]).collect();
    assert_eq!(bytes, [&b"one"[..], b"two", b"three"]);
    // As many as one turn takes, and no more.
    for _ in 0..receive::MESSAGES {
        client.send_to(b"more", to).unwrap();
    }
    batch.received.clear();
    assert!(receiver.receive_more(socket, batch, tally), "there is no room for all");
    assert_eq!(batch.received.len(), receive::MESSAGES - 3);
    assert!(receiver.receive_more(socket, batch, tally) && batch.received.len() == receive::MESSAGES - 3, "there is none at all");
}
