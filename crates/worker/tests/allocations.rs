//! A worker allocates nothing per packet. Alone in its program, because the allocator counts for all of it.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::{Client, command};
use switchyard_forward::{Command, TrackKey, WorkerIndex};
use switchyard_rtp::MediaKind;
use switchyard_worker::{Config, start};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's demands.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Reads a datagram's worth of everything that has come.
fn drain(socket: &UdpSocket) -> usize {
    let mut bytes = [0; 2048];
    std::iter::from_fn(|| socket.recv(&mut bytes).ok()).count()
}

/// One publisher, 20 subscribers over two workers: what is allocated while 2,000 packets are sent, twice.
#[test]
fn a_packet_is_forwarded_without_an_allocation() {
    let bind = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let (workers, _events) = start(Config { bind, workers: 2, ..Config::default() }).unwrap();
    let (home, other) = (WorkerIndex(0), WorkerIndex(1));
    let track = TrackKey(1);
    let mut publisher = Client::join(&workers, home, 0);
    publisher.publish(&workers, track);
    command(&workers, other, Command::PublishRemote { track, kind: MediaKind::Video, home });
    command(&workers, home, Command::Trunk { track, to: other, on: true });
    let subscribers: Vec<_> = (1..=20)
        .map(|number| {
            let client = Client::join(&workers, WorkerIndex((number % 2) as u8), number);
            client.subscribe(&workers, track);
            client.socket.set_nonblocking(true).unwrap();
            client
        })
        .collect();
    // Sealed beforehand: the test's own thread must not allocate either.
    const PACKETS: usize = 2000;
    let mut keyframe = 0;
    let mut live = vec![false; subscribers.len()];
    let deadline = Instant::now() + Duration::from_secs(10);
    while !live.iter().all(|&live| live) {
        let packet = publisher.seal(keyframe, true, 1000);
        publisher.send(&packet);
        keyframe += 1;
        std::thread::sleep(Duration::from_millis(5));
        for (subscriber, live) in subscribers.iter().zip(&mut live) {
            *live |= drain(&subscriber.socket) > 0;
        }
        assert!(Instant::now() < deadline, "no media: {:?}", workers.counters());
    }
    let sealed: Vec<_> = (0..2 * PACKETS as u64).map(|i| publisher.seal(keyframe + i, false, 1000)).collect();
    let mut allocated = [0; 2];
    for (half, allocated) in sealed.chunks(PACKETS).zip(&mut allocated) {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let mut received = 0;
        for (i, burst) in half.chunks(10).enumerate() {
            for packet in burst {
                publisher.send(packet);
            }
            // All of the burst; sender reports may be among it.
            let expected = (i + 1) * 10 * subscribers.len();
            let deadline = Instant::now() + Duration::from_secs(10);
            while received < expected {
                received += subscribers.iter().map(|subscriber| drain(&subscriber.socket)).sum::<usize>();
                assert!(Instant::now() < deadline, "{received} of {expected} came: {:?}", workers.counters());
            }
        }
        *allocated = ALLOCATIONS.load(Ordering::Relaxed) - before;
    }
    // Reports, due a few times a second, may allocate; 40,000 forwarded packets may not.
    assert!(allocated[1] < 50, "{allocated:?} allocations for {PACKETS} packets to {} subscribers", subscribers.len());
    eprintln!("{allocated:?} allocations for {PACKETS} packets to {} subscribers each", subscribers.len());
}
