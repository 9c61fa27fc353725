//! Which socket clients' datagrams come to.
//!
//! All workers' sockets share one port, and the kernel spreads what comes over them by a hash: with `n` workers all but one in `n` clients come to another worker's socket than their own's, which
//! hands their datagrams over. That wakes two threads for each burst. Whoever sends much is therefore made known to the kernel, which then chooses their worker's socket. It is an
//! optimisation only: where the kernel has no such programs, and for whoever is not known, handing over goes on.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use switchyard_forward::WorkerIndex;

use crate::udp;

/// Datagrams handed over in [`WINDOW`] from which on it is worth to have a client's come to the right socket: less than sound, more than reports on what is received.
const MUCH: u32 = 30;
/// How long a client's datagrams are counted before that begins anew: who sends so many in it sends on, and is told of again if they still come to the wrong socket.
const WINDOW: Duration = Duration::from_secs(1);
/// Clients whose datagrams a worker counts; with more it begins anew.
const COUNTED: usize = 256;
/// What workers have to say and was not heard yet. It is said again.
const WAITING: usize = 256;
/// The kernel hears at once of all who were told of within this: a crowd costs it one program.
const GATHER: Duration = Duration::from_millis(100);
/// Clients that the kernel knows at most: seven instructions each, of 4,096.
const KNOWN: usize = 512;

/// What a worker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// So much is handed over of what comes from here that it had better come to its owner at once.
    Astray(SocketAddr, WorkerIndex),
    /// Nobody's any more.
    Gone(SocketAddr),
}

/// One worker's counts of what it hands over.
#[derive(Clone, Debug)]
pub(crate) struct Astray {
    counts: HashMap<SocketAddr, (u32, Instant)>,
    /// Nobody listens where the kernel can't be told.
    words: SyncSender<Word>,
}

impl Astray {
    /// A datagram that came from `remote` at `at` was handed over to its owner.
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
            let _ = self.words.try_send(Word::Astray(remote, owner));
        }
    }

    /// An address that was a client's of this worker's is nobody's any more.
    pub(crate) fn forget(&mut self, remote: SocketAddr) {
        let _ = self.words.try_send(Word::Gone(remote));
    }
}

/// A counter for each worker, and what tells the kernel on a thread of its own, until all of them are gone. `socket` is one of those that share the port, which were bound in the
/// workers' order.
pub(crate) fn steering(socket: OwnedFd) -> (Astray, impl FnOnce()) {
    let (words, heard) = sync_channel(WAITING);
    (Astray { counts: HashMap::with_capacity(COUNTED), words }, move || run(&socket, &heard))
}

fn run(socket: &OwnedFd, words: &Receiver<Word>) {
    let mut known = Known::new(KNOWN);
    while let Ok(word) = words.recv() {
        let mut is_new = known.hear(word);
        let until = Instant::now() + GATHER;
        loop {
            match words.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(word) => is_new |= known.hear(word),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        if is_new && let Err(error) = tell(socket, &mut known) {
            tracing::debug!(%error, "the kernel takes no program for the media port; workers hand datagrams over instead");
            return;
        }
    }
}

/// Gives the kernel a program for as many as it takes.
fn tell(socket: &OwnedFd, known: &mut Known) -> io::Result<()> {
    loop {
        match udp::attach(socket, &mut udp::program(&known.places())) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && known.limit > 1 => known.limit(known.limit / 2),
            result => return result,
        }
    }
}

/// The clients that the kernel is told of, those of which it was said last if there are too many.
struct Known {
    places: HashMap<SocketAddr, (WorkerIndex, u64)>,
    turn: u64,
    limit: usize,
}

impl Known {
    fn new(limit: usize) -> Self {
        Self { places: HashMap::new(), turn: 0, limit }
    }

    /// Whether the kernel is to hear of it. That somebody has gone does no harm: whoever gets their address is handed over, and said to be astray.
    fn hear(&mut self, word: Word) -> bool {
        match word {
            Word::Astray(remote, owner) => {
                self.turn += 1;
                let before = self.places.insert(remote, (owner, self.turn));
                self.limit(self.limit);
                before.is_none_or(|(before, _)| before != owner)
            }
            Word::Gone(remote) => {
                self.places.remove(&remote);
                false
            }
        }
    }

    fn limit(&mut self, limit: usize) {
        self.limit = limit;
        while self.places.len() > limit
            && let Some(oldest) = self.places.iter().min_by_key(|(_, (_, turn))| *turn).map(|(remote, _)| *remote)
        {
            self.places.remove(&oldest);
        }
    }

    fn places(&self) -> Vec<udp::Place> {
        let mut places: Vec<_> = self.places.iter().map(|(remote, (owner, _))| (*remote, owner.0)).collect();
        places.sort_unstable_by_key(udp::order);
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], number))
    }

    #[test]
    fn who_sends_much_is_told_once_a_second() {
        let (words, heard) = sync_channel(8);
        let mut astray = Astray { counts: HashMap::new(), words };
        let start = Instant::now();
        let mut send = |number, count: u32, every: u64| {
            for i in 0..count {
                astray.note(client(number), WorkerIndex(1), start + Duration::from_millis(every) * i);
            }
            heard.try_iter().count()
        };
        assert_eq!(send(1, 90, 50), 0, "20 a second");
        assert_eq!(send(2, 29, 20), 0);
        assert_eq!(send(3, 140, 20), 3, "50 a second for 2.8 s");
        for number in 4..2_000 {
            assert_eq!(send(number, 1, 0), 0);
        }
        assert_eq!(send(2_000, 30, 0), 1, "the counts began anew");
        assert!(astray.counts.len() <= COUNTED);
    }

    #[test]
    fn the_kernel_hears_of_what_is_new_and_of_as_many_as_it_takes() {
        let mut known = Known::new(3);
        assert!(known.hear(Word::Astray(client(1), WorkerIndex(1))));
        assert!(!known.hear(Word::Astray(client(1), WorkerIndex(1))));
        assert!(known.hear(Word::Astray(client(2), WorkerIndex(0))));
        assert!(known.hear(Word::Astray(client(1), WorkerIndex(2))), "another's");
        assert!(known.hear(Word::Astray(client(9), WorkerIndex(2))));
        assert!(known.hear(Word::Astray(client(4), WorkerIndex(2))));
        assert_eq!(
            known.places(),
            [(client(1), 2), (client(4), 2), (client(9), 2)],
            "without the one of whom nothing was said for the longest time"
        );
        assert!(!known.hear(Word::Gone(client(4))));
        known.limit(1);
        assert_eq!(known.places(), [(client(9), 2)]);
    }
}
