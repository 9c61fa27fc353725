//! What the control plane and the other workers put before a worker: commands, messages, packets; all bounded, none with a lock.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32};
use std::time::Instant;

use crossbeam_queue::ArrayQueue;
use switchyard_forward::{Batch, Command, Drop, ESTIMATE_BOUNDS, Happening, Origin, Path, Received, Remote, SocketId};
use tokio::sync::Notify;

use crate::counters::{Count, Tally};
use crate::streams::Adopted;
use crate::waits::WaitTally;
use crate::wake::Wake;

/// Commands waiting. A join is some ten; beyond this the control plane waits, so the number only bounds memory.
const COMMANDS: usize = 1024;

/// Messages of other workers waiting: clocks and keyframe requests of a few thousand tracks in the few milliseconds of a long turn.
const MESSAGES: usize = 4096;

/// Packets of other workers waiting: 20 ms at 100,000 a second, 3 MiB.
const PARCELS: usize = 2048;

/// TCP connections waiting to be taken over: a crowd's in a few milliseconds.
const STREAMS: usize = 256;

/// The longest packet that crosses between workers: an Ethernet's MTU. Media packets are about 1,200 bytes long.
pub(crate) const PARCEL_BYTES: usize = 1500;

/// A packet on its way to another worker, with room for any; they are made at the start and go round.
#[derive(Debug)]
struct Parcel {
    origin: Origin,
    put_at: Instant,
    len: usize,
    bytes: [u8; PARCEL_BYTES],
}

/// One worker's inbox. Everyone puts, the worker takes.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) commands: ArrayQueue<Command>,
    /// Somebody waits for room among the commands.
    pub(crate) starved: AtomicBool,
    /// There is room among the commands again.
    pub(crate) room: Notify,
    pub(crate) messages: ArrayQueue<Remote>,
    parcels: ArrayQueue<Box<Parcel>>,
    empties: ArrayQueue<Box<Parcel>>,
    /// TCP connections on their way.
    pub(crate) streams: ArrayQueue<Adopted>,
    pub(crate) wake: Wake,
    /// The worker is to do what was commanded so far and end.
    pub(crate) stop: AtomicBool,
    /// The worker's thread; 0 until it runs.
    pub(crate) thread: AtomicI32,
    /// The worker's own counts.
    pub(crate) tally: Tally,
    /// How long packets waited here.
    pub(crate) waits: WaitTally,
    /// How long it took from the moment the worker woke up for packets until all their copies were the kernel's.
    pub(crate) forwarding: WaitTally,
    /// Its forwarder's counts, by reason.
    pub(crate) drops: [Count; Drop::ALL.len()],
    pub(crate) happenings: [Count; Happening::ALL.len()],
    /// Its subscribers' lines: looks by [`switchyard_forward::ESTIMATE_BOUNDS`], and the sum.
    pub(crate) estimates: [Count; ESTIMATE_BOUNDS.len() + 1],
    pub(crate) estimates_sum: Count,
    /// Peers the control plane has put on this worker.
    pub(crate) peers: AtomicU32,
}

impl Inbox {
    /// An inbox; one that only the control plane uses (`alone`) has no packets.
    pub(crate) fn new(alone: bool) -> std::io::Result<Self> {
        let parcels = if alone { 0 } else { PARCELS };
        let empties = ArrayQueue::new(parcels.max(1));
        let put_at = Instant::now();
        for _ in 0..parcels {
            let nowhere = Path { socket: SocketId(0), local: IpAddr::V4(Ipv4Addr::UNSPECIFIED), remote: SocketAddr::from(([0; 4], 0)) };
            let parcel = Box::new(Parcel { origin: Origin::Path { path: nowhere, at: put_at }, put_at, len: 0, bytes: [0; PARCEL_BYTES] });
            if empties.push(parcel).is_err() {
                unreachable!("the queue has room for all of them");
            }
        }
        Ok(Self {
            commands: ArrayQueue::new(COMMANDS),
            starved: AtomicBool::new(false),
            room: Notify::new(),
            messages: ArrayQueue::new(if alone { 1 } else { MESSAGES }),
            parcels: ArrayQueue::new(parcels.max(1)),
            empties,
            streams: ArrayQueue::new(STREAMS),
            wake: Wake::new()?,
            stop: AtomicBool::new(false),
            thread: AtomicI32::new(0),
            tally: Tally::default(),
            waits: WaitTally::default(),
            forwarding: WaitTally::default(),
            drops: std::array::from_fn(|_| Count::default()),
            happenings: std::array::from_fn(|_| Count::default()),
            estimates: std::array::from_fn(|_| Count::default()),
            estimates_sum: Count::default(),
            peers: AtomicU32::new(0),
        })
    }

    /// Puts a packet, at `now`; whether there was room. The caller rings.
    pub(crate) fn put(&self, now: Instant, origin: Origin, bytes: &[u8]) -> bool {
        if bytes.len() > PARCEL_BYTES {
            return false;
        }
        let Some(mut parcel) = self.empties.pop() else {
            return false;
        };
        parcel.origin = origin;
        parcel.put_at = now;
        parcel.len = bytes.len();
        parcel.bytes[..bytes.len()].copy_from_slice(bytes);
        self.parcels.push(parcel).is_ok()
    }

    /// Takes at most `limit` packets into `batch`, from `start` in its bytes on.
    pub(crate) fn take(&self, batch: &mut Batch, mut start: usize, limit: usize) {
        if self.parcels.is_empty() {
            return;
        }
        let now = Instant::now();
        // What was put together has waited together.
        let mut together = (now, 0);
        for _ in 0..limit {
            let Some(parcel) = self.parcels.pop() else {
                break;
            };
            if parcel.put_at != together.0 {
                self.waits.add(together.1, now.saturating_duration_since(together.0));
                together = (parcel.put_at, 0);
            }
            together.1 += 1;
            batch.bytes[start..start + parcel.len].copy_from_slice(&parcel.bytes[..parcel.len]);
            batch.received.push(Received { start, len: parcel.len, origin: parcel.origin });
            start += parcel.len;
            if self.empties.push(parcel).is_err() {
                unreachable!("as many places as parcels");
            }
        }
        self.waits.add(together.1, now.saturating_duration_since(together.0));
    }

    /// Whether there is anything to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_quiet() && self.parcels.is_empty()
    }

    /// Whether there is nothing but packets of other workers.
    pub(crate) fn is_quiet(&self) -> bool {
        self.commands.is_empty() && self.messages.is_empty() && self.streams.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use switchyard_forward::{TrackKey, TrunkPacket};
    use switchyard_rtp::{Codec, ExtensionMap};

    use super::*;

    fn trunk(index: u64) -> Origin {
        Origin::Trunk(TrunkPacket { track: TrackKey(1), codec: Codec::Vp8, extensions: ExtensionMap::default(), encoding: 0, index })
    }

    fn batch() -> Batch {
        Batch { bytes: vec![0; 8 * PARCEL_BYTES], received: Vec::new() }
    }

    #[test]
    fn packets_come_out_in_order_and_whole() {
        let inbox = Inbox::new(false).unwrap();
        assert!(inbox.put(Instant::now(), trunk(1), &[1; 1500]));
        assert!(inbox.put(Instant::now(), trunk(2), &[2; 3]));
        assert!(!inbox.is_empty());
        let mut batch = batch();
        inbox.take(&mut batch, 100, 8);
        let lengths: Vec<_> = batch.received.iter().map(|r| (r.start, r.len)).collect();
        assert_eq!(lengths, [(100, 1500), (1600, 3)]);
        assert_eq!(batch.bytes[1599..1604], [1, 2, 2, 2, 0]);
        assert!(matches!(batch.received[1].origin, Origin::Trunk(TrunkPacket { index: 2, .. })));
        assert!(inbox.is_empty());
    }

    #[test]
    fn a_full_inbox_takes_no_more_and_room_comes_back() {
        let inbox = Inbox::new(false).unwrap();
        for i in 0..PARCELS {
            assert!(inbox.put(Instant::now(), trunk(i as u64), &[0; 10]));
        }
        assert!(!inbox.put(Instant::now(), trunk(0), &[0; 10]));
        inbox.take(&mut batch(), 0, 3);
        for _ in 0..3 {
            assert!(inbox.put(Instant::now(), trunk(0), &[0; 10]));
        }
        assert!(!inbox.put(Instant::now(), trunk(0), &[0; 10]));
    }

    #[test]
    fn a_packet_longer_than_a_parcel_is_refused() {
        let inbox = Inbox::new(false).unwrap();
        assert!(!inbox.put(Instant::now(), trunk(0), &[0; PARCEL_BYTES + 1]));
        assert!(inbox.put(Instant::now(), trunk(0), &[0; PARCEL_BYTES]));
    }

    #[test]
    fn a_worker_alone_spends_no_memory_on_packets() {
        let inbox = Inbox::new(true).unwrap();
        assert_eq!(inbox.parcels.capacity(), 1);
        assert!(inbox.empties.is_empty());
        assert!(!inbox.put(Instant::now(), trunk(0), &[0; 10]));
    }
}
