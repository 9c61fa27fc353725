//! Starting the workers, and the control plane's handle to them.

use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use switchyard_forward::{Command, Drop, Estimates, Event, Happening, WorkerIndex};
use tokio::sync::mpsc;

use crate::astray::Astray;
use crate::counters::Count;
use crate::inbox::Inbox;
use crate::streams::{Adopted, Streams};
use crate::turn::Worker;
use crate::{Config, Counters, StartError, Waits, thread, udp};

/// The workers have ended; the program is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the media workers have stopped")]
pub struct Stopped;

/// What one worker has counted since its start.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// Datagrams, bytes, system calls.
    pub counters: Counters,
    /// Why its forwarder dropped something, and how often.
    pub drops: Vec<(Drop, u64)>,
    /// What else happened to media.
    pub happenings: Vec<(Happening, u64)>,
    /// What its subscribers' lines were estimated to carry.
    pub estimates: Estimates,
    /// How long packets of other workers waited to be taken.
    pub waits: Waits,
    /// How long it took from the moment the worker woke up for packets until all their copies were the kernel's; what the pacer holds back is not in it.
    pub forwarding: Waits,
    /// Peers now.
    pub peers: u32,
}

/// The control plane's handle to the workers; clones are the same. The threads end with [`Workers::shutdown`] or the last clone.
#[derive(Clone, Debug)]
pub struct Workers(Arc<Shared>);

struct Shared {
    inboxes: Arc<[Inbox]>,
    port: u16,
    /// Where to begin looking for the least loaded worker.
    turn: AtomicU32,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Opens the sockets and starts the threads. What they have to say comes out of the receiver, in each worker's order.
///
/// # Errors
///
/// The port is taken, the address isn't this machine's, or the kernel lacks what is needed.
pub fn start(config: Config) -> Result<(Workers, mpsc::Receiver<(WorkerIndex, Event)>), StartError> {
    if config.workers == 0 {
        return Err(StartError::NoWorkers);
    }
    let (sockets, granted) = udp::open(&config)?;
    tracing::info!(
        port = granted.port,
        workers = config.workers,
        family = ?granted.family,
        receive_buffer = granted.receive_buffer,
        send_buffer = granted.send_buffer,
        gso = granted.gso,
        gro = granted.gro,
        "media port open"
    );
    let inboxes = (0..config.workers)
        .map(|_| Inbox::new(config.workers == 1))
        .collect::<Result<Arc<[Inbox]>, _>>()
        .map_err(|source| StartError::System { what: "creating a worker's bell (eventfd)", source })?;
    let (events, heard) = mpsc::channel(config.events.max(1));
    let epoch = Instant::now();
    let epoch_ntp = ntp(SystemTime::now());
    let shared = Shared { inboxes: inboxes.clone(), port: granted.port, turn: AtomicU32::new(0), threads: Mutex::new(Vec::new()) };
    let workers = Workers(Arc::new(shared));
    let steering = steering(&sockets).map(Arc::new);
    // A worker for each core: each stays on its own, because the kernel likes to put who is woken beside who wakes, who has long to go.
    // With fewer workers, or a share of the cores that isn't a set of them, the kernel knows better where there is room.
    let cores = thread::cores();
    let is_one_each = cores.len() == usize::from(config.workers);
    for (worker, socket) in (0..config.workers).map(WorkerIndex).zip(sockets) {
        let core = cores.get(usize::from(worker.0)).copied().filter(|_| is_one_each);
        let config = switchyard_forward::Config { worker, workers: config.workers, epoch, epoch_ntp };
        let streams = Streams::new().map_err(|source| StartError::System { what: "watching TCP connections (epoll)", source })?;
        let (inboxes, astray, events) = (inboxes.clone(), steering.clone().map(Astray::new), events.clone());
        let thread = std::thread::Builder::new()
            .name(format!("media-{}", worker.0))
            .spawn(move || {
                if let Some(core) = core {
                    thread::stay_on(core);
                }
                inboxes[usize::from(worker.0)].thread.store(thread::id(), Ordering::Relaxed);
                live_or_abort(|| Worker::new(config, socket, streams, inboxes, astray, events).run())
            })
            .map_err(|source| StartError::System { what: "starting a media thread", source })?;
        workers.0.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    }
    Ok((workers, heard))
}

/// A table by which the kernel chooses among several sockets, where there may be one.
fn steering(sockets: &[udp::Socket]) -> Option<udp::Steering> {
    let [first, _, ..] = sockets else { return None };
    match udp::Steering::attach(first.fd()) {
        Ok(steering) => {
            tracing::info!("the kernel brings clients' datagrams to their own worker");
            Some(steering)
        }
        Err(error) => {
            tracing::info!(%error, "workers hand datagrams to each other: the server may not tell the kernel whose they are (CAP_BPF)");
            None
        }
    }
}

/// Runs a thread's life; a panic in it ends the process. The panic itself has been reported by the panic hook.
fn live_or_abort(life: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(life)).is_err() {
        let name = std::thread::current().name().unwrap_or("media").to_owned();
        tracing::error!(thread = name, "a media worker panicked; its peers can't be served any more: aborting the process");
        eprintln!("switchyard: media worker {name} panicked; aborting, so that the process can be restarted");
        std::process::abort();
    }
}

/// NTP time (RFC 5905 §6): seconds since 1900 in the upper 32 bits (modulo 2^32, the era), the fraction in the lower.
fn ntp(time: SystemTime) -> u64 {
    const UNIX_SINCE_1900: u64 = 2_208_988_800;
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    (since.as_secs().wrapping_add(UNIX_SINCE_1900) << 32) | fraction
}

impl Workers {
    /// How many there are.
    pub fn count(&self) -> u8 {
        self.0.inboxes.len() as u8
    }

    /// The UDP port they share.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// The worker with the fewest peers, for a new room. Among equals each in its turn, because a room is placed before its peers come.
    pub fn place(&self) -> WorkerIndex {
        let count = self.0.inboxes.len();
        let first = self.0.turn.fetch_add(1, Ordering::Relaxed) as usize;
        let worker = (0..count).map(|i| (first + i) % count).min_by_key(|&i| self.0.inboxes[i].peers.load(Ordering::Relaxed));
        WorkerIndex(worker.unwrap_or(0) as u8)
    }

    /// Peers on `worker`, counting those whose [`Command::AddPeer`] is on its way.
    ///
    /// # Panics
    ///
    /// If there is no such worker.
    pub fn load(&self, worker: WorkerIndex) -> u32 {
        self.inbox(worker).peers.load(Ordering::Relaxed)
    }

    /// For how long `worker` has had work since its start: the time its thread spent outside of its sleep, or was woken from it and waited for a
    /// processor. Its growth over a second or two says how busy the worker is. Reads a file of `/proc`.
    ///
    /// # Panics
    ///
    /// If there is no such worker.
    pub fn awake(&self, worker: WorkerIndex) -> Duration {
        let inbox = self.inbox(worker);
        // The kernel's count is the better one: on a machine with too few processors for its threads, or with a quota, much of the work is
        // waiting to be done.
        let outside_of_sleep = Duration::from_nanos(inbox.tally.awake_nanos.get());
        thread::wanted(inbox.thread.load(Ordering::Relaxed)).map_or(outside_of_sleep, |wanted| wanted.max(outside_of_sleep))
    }

    /// Puts a command before `worker`, waiting while it has a thousand others, and wakes it, unless the command is about what it does with the next datagram: it does commands before
    /// datagrams, and being woken is most of what either costs. Commands of one task are done in their order.
    ///
    /// # Errors
    ///
    /// The workers have ended.
    ///
    /// # Panics
    ///
    /// If there is no such worker.
    pub async fn command(&self, worker: WorkerIndex, command: Command) -> Result<(), Stopped> {
        let is_for_later = match command {
            // Without peers a worker may sleep for ever.
            Command::AddPeer { .. } => self.load(worker) > 0,
            Command::RemovePeer { .. } | Command::RestartIce { .. } | Command::SetReceivers { .. } | Command::SetSenders { .. } => true,
            _ => false,
        };
        self.put(worker, command).await?;
        if !is_for_later {
            self.ring(worker);
        }
        Ok(())
    }

    /// Wakes `worker` for what was [put](Workers::put) before it.
    ///
    /// # Panics
    ///
    /// If there is no such worker.
    pub fn ring(&self, worker: WorkerIndex) {
        self.inbox(worker).wake.ring();
    }

    /// Like [`Workers::command`], but never wakes the worker: to be followed by [`Workers::ring`].
    ///
    /// # Errors
    ///
    /// The workers have ended.
    ///
    /// # Panics
    ///
    /// If there is no such worker.
    pub async fn put(&self, worker: WorkerIndex, command: Command) -> Result<(), Stopped> {
        let inbox = self.inbox(worker);
        let change = match command {
            Command::AddPeer { .. } => 1,
            Command::RemovePeer { .. } => -1,
            _ => 0,
        };
        let mut next = command;
        loop {
            let mut room = pin!(inbox.room.notified());
            room.as_mut().enable();
            if inbox.stop.load(Ordering::SeqCst) {
                return Err(Stopped);
            }
            match inbox.commands.push(next) {
                Ok(()) => break,
                Err(command) => next = command,
            }
            // The worker looks at this after it has taken a command; it may have taken the last one just before: try once more.
            inbox.starved.store(true, Ordering::SeqCst);
            match inbox.commands.push(next) {
                Ok(()) => break,
                Err(command) => next = command,
            }
            inbox.wake.ring();
            room.await;
        }
        // Never fails: the closure always returns a value.
        let _ = inbox.peers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |peers| Some(peers.saturating_add_signed(change)));
        Ok(())
    }

    /// Gives `worker` a client's TCP connection (ICE-TCP) from which `received` was read, which has begun with a binding request for one of its peers. A connection for which
    /// there is no room is closed.
    pub fn adopt(&self, worker: WorkerIndex, stream: TcpStream, received: Vec<u8>) {
        let Some(inbox) = self.0.inboxes.get(usize::from(worker.0)) else { return };
        let (Ok(local), Ok(remote)) = (stream.local_addr(), stream.peer_addr()) else { return };
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        if inbox.streams.push(Adopted { stream, local: local.ip().to_canonical(), remote, received }).is_ok() {
            inbox.wake.ring();
        }
    }

    /// What the workers have counted since their start.
    pub fn counters(&self) -> Counters {
        let mut sums = Counters::default();
        for inbox in self.0.inboxes.iter() {
            inbox.tally.add_to(&mut sums);
        }
        sums
    }

    /// What one worker has counted since its start, and how many peers it has.
    ///
    /// # Panics
    ///
    /// If there is no such worker.
    pub fn scrape(&self, worker: WorkerIndex) -> Scrape {
        let inbox = self.inbox(worker);
        let (mut counters, mut waits, mut forwarding) = (Counters::default(), Waits::default(), Waits::default());
        inbox.tally.add_to(&mut counters);
        inbox.waits.add_to(&mut waits);
        inbox.forwarding.add_to(&mut forwarding);
        let estimates = Estimates { buckets: inbox.estimates.each_ref().map(Count::get), sum: inbox.estimates_sum.get() };
        Scrape {
            counters,
            drops: Drop::ALL.iter().copied().zip(inbox.drops.iter().map(Count::get)).collect(),
            happenings: Happening::ALL.iter().copied().zip(inbox.happenings.iter().map(Count::get)).collect(),
            estimates,
            waits,
            forwarding,
            peers: self.load(worker),
        }
    }

    /// How long packets of other workers, on the trunk or handed over, have waited to be taken, since the workers' start.
    pub fn waits(&self) -> Waits {
        let mut sums = Waits::default();
        for inbox in self.0.inboxes.iter() {
            inbox.waits.add_to(&mut sums);
        }
        sums
    }

    /// How many datagrams and packets the forwarders have dropped since their start, by reason.
    pub fn drops(&self) -> impl Iterator<Item = (Drop, u64)> {
        let count = |at: usize| self.0.inboxes.iter().map(|inbox| inbox.drops[at].get()).sum();
        Drop::ALL.iter().enumerate().map(move |(at, &reason)| (reason, count(at)))
    }

    /// Lets the workers do what was commanded so far, and waits for their threads to end: some milliseconds at most.
    pub fn shutdown(&self) {
        self.0.shutdown();
    }

    fn inbox(&self, worker: WorkerIndex) -> &Inbox {
        &self.0.inboxes[usize::from(worker.0)]
    }
}

impl Shared {
    fn shutdown(&self) {
        for inbox in self.inboxes.iter() {
            inbox.stop.store(true, Ordering::SeqCst);
            inbox.wake.ring();
            inbox.room.notify_waiters();
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A panic has aborted the process.
            let _ = thread.join();
        }
    }
}

impl std::ops::Drop for Shared {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("count", &self.inboxes.len()).field("port", &self.port).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
