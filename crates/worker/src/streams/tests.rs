use std::io::{Read, Write};
use std::net::TcpListener;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// The worker's side with one connection, and the client's end of it.
struct World {
    streams: Streams,
    tally: Tally,
    client: TcpStream,
    path: Path,
}

impl World {
    /// `received`: what was read before the connection was handed over.
    fn new(received: &[u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let (stream, remote) = listener.accept().unwrap();
        let (mut streams, tally) = (Streams::new().unwrap(), Tally::default());
        let local = stream.local_addr().unwrap().ip();
        streams.adopt(Instant::now(), Adopted { stream, local, remote, received: received.to_vec() }, &tally, |_| false);
        Self { streams, tally, client, path: Path { socket: SocketId(1), local, remote } }
    }

    /// Waits until there is something, and takes it.
    fn receive(&mut self) -> Vec<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut batch = Batch { bytes: vec![0; 100 + BYTES], received: Vec::with_capacity(DATAGRAMS) };
            self.streams.receive(Instant::now(), &mut batch, 100, &self.tally);
            if !batch.received.is_empty() || !self.streams.ended.is_empty() {
                assert!(batch.received.iter().all(|received| matches!(received.origin, Origin::Path { path, .. } if path == self.path)));
                return batch.received.iter().map(|received| batch.bytes[received.start..received.start + received.len].to_vec()).collect();
            }
            assert!(Instant::now() < deadline, "nothing came");
            let fd = self.streams.fd().expect("a connection");
            crate::wake::wait(
                &mut [libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 }],
                Some(Duration::from_millis(100)),
            );
        }
    }

    /// Sends datagrams of these lengths as one run, filled with their numbers; all but the last are equally long.
    fn send(&mut self, lengths: &[usize], first: u8) {
        let bytes: Vec<u8> = lengths.iter().zip(0..).flat_map(|(&len, number)| vec![first.wrapping_add(number); len]).collect();
        let run = Run { path: self.path, start: 0, len: bytes.len(), segment: lengths[0] };
        self.streams.send(&bytes, &run, &self.tally);
    }

    /// The next datagram at the client.
    fn read(&mut self) -> Vec<u8> {
        let mut len = [0; 2];
        self.client.read_exact(&mut len).expect("a frame");
        let mut datagram = vec![0; usize::from(u16::from_be_bytes(len))];
        self.client.read_exact(&mut datagram).expect("a whole frame");
        datagram
    }
}

fn frame(datagram: &[u8]) -> Vec<u8> {
    [&(datagram.len() as u16).to_be_bytes()[..], datagram].concat()
}

#[test]
fn datagrams_come_out_whole_however_the_stream_is_cut() {
    let first = [frame(b"first"), frame(&[7; 3])[..2].to_vec()].concat();
    let mut world = World::new(&first);
    assert_eq!(world.receive(), [b"first"], "what was read before is taken without anything new");
    world.client.write_all(&[7, 7, 7]).unwrap();
    assert_eq!(world.receive(), [[7; 3]]);
    let stream: Vec<u8> = [frame(&[1; MAX_FRAME]), frame(b""), frame(&[2; 1200]), frame(&[3; 1])].concat();
    let mut taken = Vec::new();
    for piece in stream.chunks(701) {
        world.client.write_all(piece).unwrap();
        // A piece need not end a datagram.
        std::thread::sleep(Duration::from_millis(2));
        let mut batch = Batch { bytes: vec![0; BYTES], received: Vec::with_capacity(DATAGRAMS) };
        world.streams.receive(Instant::now(), &mut batch, 0, &world.tally);
        taken.extend(batch.received.iter().map(|received| batch.bytes[received.start..received.start + received.len].to_vec()));
    }
    while taken.len() < 3 {
        taken.extend(world.receive());
    }
    assert_eq!(taken, [vec![1; MAX_FRAME], vec![2; 1200], vec![3; 1]], "an empty one says nothing");
}

#[test]
fn who_speaks_something_else_or_goes_is_told_of_once() {
    for bytes in [&(MAX_FRAME as u16 + 1).to_be_bytes()[..], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut world = World::new(&[]);
        world.client.write_all(bytes).unwrap();
        assert!(world.receive().is_empty());
        assert_eq!(world.streams.poll_ended(&world.tally), Some(world.path.address()));
        assert!(world.streams.poll_ended(&world.tally).is_none() && world.streams.is_empty());
        assert_eq!(world.client.read(&mut [0; 8]).unwrap_or(0), 0, "it is closed");
    }
    let mut world = World::new(&[]);
    world.client.shutdown(std::net::Shutdown::Both).unwrap();
    assert!(world.receive().is_empty());
    assert_eq!(world.streams.poll_ended(&world.tally), Some(world.path.address()));
}

#[test]
fn a_run_arrives_as_datagrams() {
    let mut world = World::new(&[]);
    world.send(&[1200, 1200, 7], 1);
    assert_eq!([world.read(), world.read(), world.read()], [vec![1; 1200], vec![2; 1200], vec![3; 7]]);
    // For another connection that had the same number before.
    let run = Run { path: Path { remote: "192.0.2.1:9".parse().unwrap(), ..world.path }, start: 0, len: 3, segment: 3 };
    world.streams.send(b"old", &run, &world.tally);
    world.send(&[5], 9);
    assert_eq!(world.read(), [9; 5]);
    assert_eq!(world.tally.send_refused.get(), 1);
}

#[test]
fn what_a_stalled_client_does_not_take_is_bounded_and_what_arrives_is_whole() {
    let mut world = World::new(&[]);
    let runs = 4_000u32;
    for number in 0..runs {
        world.send(&[1200, 1200, 1100], number as u8);
        let held = world.streams.streams[0].outbound.len();
        assert!(held <= BUFFER + 1202, "{held} bytes are held");
    }
    let (taken, dropped) = (world.tally.datagrams_out.get(), world.tally.streams_full.get());
    assert!(dropped > 0 && taken + dropped == u64::from(runs) * 3, "{taken} and {dropped}");
    // It reads again: all that found room comes, each datagram whole.
    let mut read = 0;
    let mut batch = Batch { bytes: vec![0; BYTES], received: Vec::with_capacity(DATAGRAMS) };
    while read < taken {
        let datagram = world.read();
        assert!(matches!(datagram.len(), 1200 | 1100) && datagram.iter().all(|byte| *byte == datagram[0]), "{} bytes", datagram.len());
        read += 1;
        world.streams.receive(Instant::now(), &mut batch, 0, &world.tally);
    }
    assert!(world.streams.streams[0].outbound.is_empty());
    world.send(&[5], 9);
    assert_eq!(world.read(), [9; 5]);
}

#[test]
fn a_connection_that_stays_nobodys_is_closed() {
    let mut world = World::new(&[]);
    let now = Instant::now();
    let later = |seconds| now + UNKNOWN + Duration::from_secs(seconds);
    for (at, known, ends) in [(now + SWEEP, false, false), (later(2), true, false), (later(2), false, false), (later(4), false, true)] {
        world.streams.sweep(at, |_| known);
        assert_eq!(world.streams.poll_ended(&world.tally).is_some(), ends, "{:?}, known: {known}", at - now);
    }
}

#[test]
fn a_flood_of_small_datagrams_leaves_room_for_others() {
    let mut world = World::new(&[]);
    let flood = [0, 1, 9].repeat(PLACE / 3);
    world.client.write_all(&flood).unwrap();
    let (places, before) = (DATAGRAMS + 100, 40);
    let mut batch = Batch { bytes: vec![0; BYTES], received: Vec::with_capacity(places) };
    let other = Received { start: 0, len: 1, origin: Origin::Path { path: world.path, at: Instant::now() } };
    batch.received.extend(std::iter::repeat_n(other, before));
    let deadline = Instant::now() + PATIENCE;
    while world.tally.receive_overflow.get() == 0 {
        assert!(Instant::now() < deadline, "the flood does not come");
        batch.received.truncate(before);
        world.streams.receive(Instant::now(), &mut batch, 0, &world.tally);
    }
    assert_eq!(batch.received.len(), before + DATAGRAMS_OF_ONE);
}

#[test]
fn where_there_are_too_many_the_oldest_that_is_nobodys_gives_way() {
    let mut world = World::new(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = |world: &mut World, known: fn(Address) -> bool| {
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, remote) = listener.accept().unwrap();
        let adopted = Adopted { stream, local: world.path.local, remote, received: Vec::new() };
        world.streams.adopt(Instant::now(), adopted, &world.tally, known);
    };
    // As if there were so many: real ones would take as many descriptors.
    let full = world.streams.streams.len() + 2;
    while world.streams.streams.len() < full {
        connect(&mut world, |_| false);
    }
    world.streams.most = full;
    connect(&mut world, |_| true);
    assert_eq!((world.tally.streams_refused.get(), world.streams.streams.len()), (1, full), "everybody's is somebody's");
    connect(&mut world, |_| false);
    assert_eq!((world.tally.streams_refused.get(), world.tally.streams_closed.get()), (1, 1));
    assert!(world.streams.streams.iter().all(|(_, stream)| stream.path != world.path), "the first has gone");
}
