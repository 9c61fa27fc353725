//! Who may come in: as long as somebody is in a room, what they have goes before what newcomers want.
//!
//! Two things keep newcomers from harming who is there. They come in one after the other, at a pace that leaves most of the processor to
//! the packets, and wait a few seconds for their turn if many come at once. And they are refused while the media workers, or the control
//! plane itself, have no room for them. Whoever is in stays in, and may restart ICE and renegotiate as ever.

mod gauge;
mod quota;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use switchyard_forward::WorkerIndex;
use switchyard_protocol::{ErrorCode, ProtocolError};
use switchyard_room::{Bucket, Rate};
use switchyard_worker::Workers;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::Instant;

use crate::signaling::stopped;
use gauge::{Allowance, Busy, Lag};
pub use quota::Quota;
use quota::used;

/// Newcomers let in each second, for each core. One costs some 3 ms of the control plane's processor time in a room of usual size, so this
/// is a seventh of the machine.
const PACE: u32 = 50;
/// Newcomers let in at once after a pause: a meeting begins without delay, and 24 ms of work, on two cores, hold up no packet for long.
const BURST: u32 = 8;
/// How long a newcomer waits for their turn before they are refused. 500 at once need 5 s on two cores.
const PATIENCE: Duration = Duration::from_secs(6);
/// Between two looks at the turn's bucket: less than the time between two newcomers on two cores.
const STEP: Duration = Duration::from_millis(2);
/// Newcomers come in at half the pace while the control plane does what is due later than this: those who came before are not settled yet, or others use the machine.
const BEHIND: Duration = Duration::from_millis(20);
/// As how many a newcomer then counts. It is not forever: a machine that others keep busy may be late for as long as a crowd is waiting.
const BEHIND_COST: u32 = 2;
/// Between two looks at the workers and at how late the control plane is.
const PERIOD: Duration = Duration::from_millis(100);

/// A worker has little to do below this percentage of the time.
const CALM: u8 = 25;

/// Decides who may come in.
pub struct Admission {
    /// In percent of the time; 0: as many as come.
    max_load: AtomicU8,
    /// How many peers each worker may have for now.
    ceilings: Box<[AtomicU32]>,
    /// For how much of the time each worker is busy, smoothed, in percent.
    busy: Box<[AtomicU8]>,
    /// The quota that all of them share with the control plane, and whether too much of it is used for newcomers.
    quota: Option<Quota>,
    used_up: AtomicBool,
    /// The control plane has been late for a while.
    lagging: AtomicBool,
    start: Instant,
    /// When the control plane is to look next, and how late it last was; microseconds, the former since `start`.
    next_look: AtomicU64,
    late: AtomicU64,
    turn: Mutex<Bucket>,
    patience: Duration,
    /// A permit for each who waits for their turn.
    queue: Semaphore,
}

impl Admission {
    /// Lets in as many as `workers` workers on `cores` cores have room for, and `quota`. A worker is full when it is busy for `max_load` percent of the
    /// time; 0: never.
    pub fn new(max_load: u8, workers: u8, cores: usize, quota: Option<Quota>) -> Arc<Self> {
        let cores = cores.clamp(1, 256) as f64;
        // A quota is gone within a period's first moments if so much is done at once.
        let (share, burst) = match quota.as_ref().and_then(Quota::cores).filter(|quota| *quota < cores) {
            Some(quota) => (quota, (f64::from(BURST) * quota / 2.0).clamp(f64::from(BEHIND_COST), f64::from(BURST)) as u32),
            None => (cores, BURST),
        };
        let per_second = (f64::from(PACE) * share).max(1.0) as u32;
        Arc::new(Self { quota, ..Self::with(max_load, workers, Rate { burst, per_second }, PATIENCE) })
    }

    fn with(max_load: u8, workers: u8, rate: Rate, patience: Duration) -> Self {
        // Who would come after these would wait for longer than they may.
        let queue = (f64::from(rate.per_second) * patience.as_secs_f64()) as usize;
        let start = Instant::now();
        Self {
            max_load: AtomicU8::new(max_load),
            ceilings: (0..workers).map(|_| AtomicU32::new(u32::MAX)).collect(),
            busy: (0..workers).map(|_| AtomicU8::new(0)).collect(),
            quota: None,
            used_up: AtomicBool::new(false),
            lagging: AtomicBool::new(false),
            start,
            next_look: AtomicU64::new(0),
            late: AtomicU64::new(0),
            turn: Mutex::new(Bucket::new(rate)),
            patience,
            queue: Semaphore::new(queue),
        }
    }

    /// From now on a worker is full when it is busy for so many percent of the time; 0: never.
    pub fn set_max_load(&self, percent: u8) {
        self.max_load.store(percent, Ordering::Relaxed);
    }

    /// The share of the time, if there is a limit.
    fn max_load(&self) -> Option<f64> {
        let percent = self.max_load.load(Ordering::Relaxed);
        (percent > 0).then(|| f64::from(percent) / 100.0)
    }

    /// Waits for a newcomer's turn.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::Overloaded`]: nobody has room for them, or too many came at once.
    pub async fn admit(&self, workers: &Workers) -> Result<(), ProtocolError> {
        self.check(workers)?;
        let Ok(_place) = self.queue.try_acquire_many(self.cost()) else { return Err(crowded()) };
        tokio::time::timeout(self.patience, self.take_turn()).await.map_err(|_| crowded())?;
        self.check(workers)
    }

    /// Whether a worker has room for one more.
    pub fn has_room(&self, workers: &Workers, worker: WorkerIndex) -> bool {
        workers.load(worker) < self.ceilings[usize::from(worker.0)].load(Ordering::Relaxed)
    }

    /// Whether a worker has little to do.
    pub fn is_calm(&self, worker: WorkerIndex) -> bool {
        self.busy[usize::from(worker.0)].load(Ordering::Relaxed) < CALM
    }

    /// The worker with the fewest peers among those that have room.
    pub fn place(&self, workers: &Workers) -> Result<WorkerIndex, ProtocolError> {
        let fewest = workers.place();
        let others = (0..workers.count()).map(WorkerIndex);
        let open = |worker: &WorkerIndex| self.has_room(workers, *worker);
        Some(fewest).filter(open).or_else(|| others.filter(open).min_by_key(|worker| workers.load(*worker))).ok_or_else(full)
    }

    /// Whether somebody who came now would be let in.
    pub fn check(&self, workers: &Workers) -> Result<(), ProtocolError> {
        let is_open = |worker| self.has_room(workers, WorkerIndex(worker));
        let within_quota = !self.used_up.load(Ordering::Relaxed);
        let is_in_time = !self.lagging.load(Ordering::Relaxed);
        if is_in_time && within_quota && (0..workers.count()).any(is_open) { Ok(()) } else { Err(full()) }
    }

    /// One newcomer after the other, in the order in which they came.
    async fn take_turn(&self) {
        let mut bucket = self.turn.lock().await;
        while !bucket.take(Instant::now().into_std(), self.cost()) {
            tokio::time::sleep(STEP).await;
        }
    }

    /// As how many a newcomer counts at the moment.
    fn cost(&self) -> u32 {
        if self.is_behind() { BEHIND_COST } else { 1 }
    }

    /// Whether the control plane has more to do than it gets done at once.
    fn is_behind(&self) -> bool {
        let overdue = self.micros(Instant::now()).saturating_sub(self.next_look.load(Ordering::Relaxed));
        let behind = u64::try_from(BEHIND.as_micros()).unwrap_or(u64::MAX);
        overdue > behind || self.late.load(Ordering::Relaxed) > behind
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_micros()).unwrap_or(u64::MAX)
    }

    /// Watches the workers and the control plane until the server stops. Without it nobody comes in at more than half the pace.
    pub async fn watch(self: Arc<Self>, workers: Workers, stop: watch::Receiver<bool>) {
        let stopped = stopped(stop);
        tokio::pin!(stopped);
        let mut busy: Vec<Busy> = (0..workers.count()).map(|_| Busy::new(f64::INFINITY)).collect();
        let mut awake: Vec<Duration> = (0..workers.count()).map(|worker| workers.awake(WorkerIndex(worker))).collect();
        let mut lag = Lag::default();
        let mut allowance = self.quota.as_ref().map(|quota| (quota, Allowance::new(f64::INFINITY), quota.counts(), used()));
        let mut looked = Instant::now();
        loop {
            let due = looked + PERIOD;
            self.next_look.store(self.micros(due), Ordering::Relaxed);
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = stopped.as_mut() => return,
            }
            let now = Instant::now();
            let (passed, late) = (now - looked, now.saturating_duration_since(due));
            looked = now;
            self.late.store(u64::try_from(late.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
            let was_lagging = lag.is_high();
            let lagging = lag.update(passed, late);
            let max_load = self.max_load();
            self.lagging.store(lagging && max_load.is_some(), Ordering::Relaxed);
            match (was_lagging, lagging) {
                (false, true) => tracing::warn!(lag_ms = lag.smoothed().as_millis(), "the control plane is too late for newcomers"),
                (true, false) => tracing::info!("the control plane has caught up"),
                _ => {}
            }
            if let Some((quota, allowance, counts, cpu)) = &mut allowance {
                let (now, then) = (quota.counts(), *counts);
                let (now_used, then_used) = (used(), *cpu);
                (*counts, *cpu) = (now, now_used);
                // A quota that was taken away since leaves the cores.
                let share = quota.cores().map_or(0.0, |cores| (now_used - then_used).as_secs_f64() / (cores * passed.as_secs_f64()));
                let throttled = now.throttled.saturating_sub(then.throttled) as f64;
                let throttled = (throttled / now.periods.saturating_sub(then.periods).max(1) as f64).min(1.0);
                let was_used_up = allowance.is_used_up();
                allowance.set_limit(max_load.unwrap_or(f64::INFINITY));
                self.used_up.store(allowance.update(passed, share, throttled), Ordering::Relaxed);
                let (used, throttled) = allowance.smoothed();
                let (percent, stopped_percent) = ((used * 100.0).round(), (throttled * 100.0).round());
                match (was_used_up, allowance.is_used_up()) {
                    (false, true) => tracing::warn!(percent, stopped_percent, "too much of the CPU quota is used for newcomers"),
                    (true, false) => tracing::info!(percent, stopped_percent, "the CPU quota has room for newcomers again"),
                    _ => {}
                }
            }
            for (worker, (busy, before)) in (0..workers.count()).map(WorkerIndex).zip(busy.iter_mut().zip(&mut awake)) {
                let awake = workers.awake(worker);
                let share = (awake.saturating_sub(*before)).as_secs_f64() / passed.as_secs_f64();
                *before = awake;
                let was_full = busy.is_full();
                busy.set_limit(max_load.unwrap_or(f64::INFINITY));
                let ceiling = busy.update(passed, share, workers.load(worker));
                self.ceilings[usize::from(worker.0)].store(ceiling, Ordering::Relaxed);
                let percent = (busy.smoothed() * 100.0).round();
                self.busy[usize::from(worker.0)].store(percent as u8, Ordering::Relaxed);
                match (was_full, busy.is_full()) {
                    (false, true) => tracing::warn!(worker = worker.0, percent, "a media worker is too busy for newcomers"),
                    (true, false) => tracing::info!(worker = worker.0, percent, "a media worker has room for newcomers again"),
                    _ => {}
                }
            }
        }
    }
}

fn full() -> ProtocolError {
    ProtocolError::new(ErrorCode::Overloaded, "the server has no room for another participant now; try again in a minute")
}

fn crowded() -> ProtocolError {
    ProtocolError::new(ErrorCode::Overloaded, "too many are joining at once; try again in a few seconds")
}

#[cfg(test)]
mod tests;
