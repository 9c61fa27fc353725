//! Clients whose datagrams come to another worker's socket than their own's.
//!
//! All workers' sockets share one port, and the kernel spreads what comes over them by a hash: with `n` workers all but one in `n` clients come to the wrong socket, whose worker hands their
//! datagrams over. That wakes two threads for each burst. The kernel is therefore told of whoever sends much, where that is allowed ([`Steering`]); everybody else is handed over.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_forward::WorkerIndex;

use crate::udp::Steering;

/// Datagrams handed over in [`WINDOW`] from which on it is worth to tell the kernel of a client: less than sound, more than reports on what is received.
const MUCH: u32 = 30;
/// How long a client's datagrams are counted before that begins anew: who sends so many in it sends on, and is told of again if they still come to the wrong socket.
const WINDOW: Duration = Duration::from_secs(1);
/// Clients whose datagrams a worker counts; with more it begins anew.
const COUNTED: usize = 1_024;

/// One worker's counts of what it hands over.
#[derive(Debug)]
pub(crate) struct Astray {
    /// With room for all of them from the start: a packet allocates nothing.
    counts: HashMap<SocketAddr, (u32, Instant)>,
    steering: Arc<Steering>,
}

impl Astray {
    pub(crate) fn new(steering: Arc<Steering>) -> Self {
        Self { counts: HashMap::with_capacity(COUNTED), steering }
    }

    /// A datagram that came from `remote` at `at`, which is an address that the owner's peer has proved to be theirs, was handed over to the owner.
    pub(crate) fn note(&mut self, remote: SocketAddr, owner: WorkerIndex, at: Instant) {
        if self.counts.len() == COUNTED && !self.counts.contains_key(&remote) {
            self.counts.clear();
        }
        let (count, since) = self.counts.entry(remote).or_insert((0, at));
        if at.saturating_duration_since(*since) > WINDOW {
            (*count, *since) = (0, at);
        }
        *count += 1;
        if *count == MUCH {
            self.steering.steer(remote, owner.0);
        }
    }

    /// An address that was a client's of this worker's is nobody's any more.
    pub(crate) fn forget(&self, remote: SocketAddr) {
        self.steering.forget(remote);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, udp};

    #[test]
    fn the_kernel_is_told_of_who_sends_much_again_each_second_until_they_are_gone() {
        let (sockets, _) = udp::open(&Config { workers: 2, ..Config::default() }).unwrap();
        let steering = Arc::new(Steering::attach(sockets[0].fd()).expect("CAP_BPF"));
        let mut astray = Astray::new(Arc::clone(&steering));
        let room = astray.counts.capacity();
        let client = |number: u16| SocketAddr::from(([192, 0, 2, 1], number));
        let start = Instant::now();
        let mut send = |number, owner, count: u32, every: u64| {
            for i in 0..count {
                astray.note(client(number), WorkerIndex(owner), start + Duration::from_millis(every) * i);
            }
            steering.find(client(number))
        };
        assert_eq!(send(1, 1, 90, 50), None, "20 a second");
        assert_eq!(send(2, 1, 29, 20), None);
        assert_eq!(send(2, 1, 1, 0), Some(1));
        assert_eq!(send(2, 0, 90, 20), Some(0), "another's since");
        for number in 4..4_000 {
            assert_eq!(send(number, 1, 1, 0), None);
        }
        assert_eq!(send(4_000, 1, 30, 0), Some(1), "the counts began anew");
        assert!(astray.counts.len() <= COUNTED && astray.counts.capacity() == room, "no more room was needed");
        astray.forget(client(2));
        assert_eq!(steering.find(client(2)), None);
    }
}
