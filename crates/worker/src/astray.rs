//! Clients whose datagrams come to another worker's socket than their own's.
//!
//! All workers' sockets share one port, and the kernel spreads what comes over them by a hash: with `n` workers all but one in `n` clients come to the wrong socket, whose worker hands their
//! datagrams over. That wakes two threads for each burst. The kernel is therefore told of whoever comes to the wrong one, where that is allowed ([`Steering`]): with the first datagram after an address was proved, because
//! a handshake is several, and before media flow nothing overtakes anything.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_forward::WorkerIndex;

use crate::udp::Steering;

/// Before the kernel is told of the same client again, whose datagrams still come to the wrong socket: it had no room, or has forgotten.
const AGAIN: Duration = Duration::from_secs(1);
/// Clients of whom a worker remembers that it told the kernel; with more it begins anew.
const REMEMBERED: usize = 1_024;

/// What one worker has told the kernel of those whose datagrams it hands over.
#[derive(Debug)]
pub(crate) struct Astray {
    /// With room for all of them from the start: a packet allocates nothing.
    told: HashMap<SocketAddr, Instant>,
    /// When that list was begun.
    since: Option<Instant>,
    steering: Arc<Steering>,
}

impl Astray {
    pub(crate) fn new(steering: Arc<Steering>) -> Self {
        Self { told: HashMap::with_capacity(REMEMBERED), since: None, steering }
    }

    /// A datagram that came from `remote` at `at`, which is an address that the owner's peer has proved to be theirs, was handed over to the owner.
    pub(crate) fn note(&mut self, remote: SocketAddr, owner: WorkerIndex, at: Instant) {
        match self.told.get_mut(&remote) {
            Some(told) if at.saturating_duration_since(*told) < AGAIN => return,
            Some(told) => *told = at,
            None => {
                if self.told.len() == REMEMBERED {
                    // Where so many come that can't be told of, or are forgotten, telling is no use.
                    if self.since.is_some_and(|since| at.saturating_duration_since(since) < AGAIN) {
                        return;
                    }
                    self.told.clear();
                    self.since = Some(at);
                }
                self.told.insert(remote, at);
            }
        }
        self.steering.steer(remote, owner.0);
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
    fn the_kernel_is_told_of_who_comes_to_the_wrong_socket_once_a_second_until_they_are_gone() {
        let (sockets, _) = udp::open(&Config { workers: 2, ..Config::default() }).unwrap();
        let steering = Arc::new(Steering::attach(sockets[0].fd()).expect("CAP_BPF"));
        let mut astray = Astray::new(Arc::clone(&steering));
        let room = astray.told.capacity();
        let client = |number: u16| SocketAddr::from(([192, 0, 2, 1], number));
        let start = Instant::now();
        let mut send = |number, owner, after: u64| {
            astray.note(client(number), WorkerIndex(owner), start + Duration::from_millis(after));
            steering.find(client(number))
        };
        assert_eq!(send(1, 1, 0), Some(1));
        assert_eq!(send(1, 0, 999), Some(1), "it was told a moment ago");
        assert_eq!(send(1, 0, 1_000), Some(0), "another's since");
        for number in 2..2_049 {
            assert_eq!(send(number, 1, 1_000), Some(1));
        }
        assert_eq!(send(2_049, 1, 1_999), None, "two thousand in a second are enough");
        assert_eq!(send(2_049, 1, 2_000), Some(1));
        assert!(astray.told.len() <= REMEMBERED && astray.told.capacity() == room, "no more room was needed");
        astray.forget(client(1));
        assert_eq!(steering.find(client(1)), None);
    }
}
