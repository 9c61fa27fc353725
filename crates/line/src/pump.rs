//! The thread that carries packets between two devices and the bridge.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::bridge::{Bridge, Side};
use crate::tun::Tun;

/// Packets read from one device before the other has its turn: a few tenths of a millisecond.
const BATCH: usize = 64;
/// The longest packet there is.
const MAX_PACKET: usize = 65_535;
/// How often it looks whether it is to end.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// The real-time priority, the lowest there is: above all that is not real-time, so that a busy machine makes no packet late.
const PRIORITY: libc::c_int = 1;

/// The thread and what it shares. Ends when dropped.
#[derive(Debug)]
pub struct Pump {
    bridge: Arc<Mutex<Bridge>>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Pump {
    /// Begins to carry packets.
    pub(crate) fn start(bridge: Bridge, near: Tun, far: Tun) -> io::Result<Self> {
        let bridge = Arc::new(Mutex::new(bridge));
        let ending = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("pump".to_owned()).spawn({
            let (bridge, ending) = (bridge.clone(), ending.clone());
            move || run(&bridge, &ending, &near, &far)
        })?;
        Ok(Self { bridge, ending, thread: Some(thread) })
    }

    /// The bridge, which carries nothing while it is held.
    pub fn bridge(&self) -> MutexGuard<'_, Bridge> {
        lock(&self.bridge)
    }

    /// Whether it has ended by itself, which it does when a device fails.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => eprintln!("the line broke: {error}"),
            Some(Err(_)) => eprintln!("the line's thread panicked"),
            _ => {}
        }
    }
}

fn lock(bridge: &Mutex<Bridge>) -> MutexGuard<'_, Bridge> {
    bridge.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(bridge: &Mutex<Bridge>, ending: &AtomicBool, near: &Tun, far: &Tun) -> io::Result<()> {
    if let Err(error) = become_real_time() {
        eprintln!("the line has no real-time priority ({error}): packets may be late while the machine is busy");
    }
    let mut buffer = vec![0; MAX_PACKET];
    while !ending.load(Ordering::Relaxed) {
        let mut bridge = lock(bridge);
        for (side, device) in [(Side::Near, near), (Side::Far, far)] {
            for _ in 0..BATCH {
                let Some(length) = device.read(&mut buffer)? else { break };
                bridge.push(Instant::now(), side, buffer[..length].to_vec());
            }
        }
        let now = Instant::now();
        while let Some((side, packet)) = bridge.poll(now) {
            let device = if side == Side::Near { near } else { far };
            if device.write(&packet).is_err() {
                // The device is down; the packet is as lost as on a real line.
                bridge.refused(side);
            }
        }
        let due = bridge.poll_timeout();
        drop(bridge);
        let sleep = due.map_or(LONGEST_SLEEP, |due| due.saturating_duration_since(Instant::now()).min(LONGEST_SLEEP));
        let mut devices = [near, far].map(|device| PollFd::new(device.as_fd(), PollFlags::POLLIN));
        match ppoll(&mut devices, Some(TimeSpec::from_duration(sleep)), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Has this thread run before all that are not real-time.
fn become_real_time() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: the call reads `parameters`, which lives throughout; 0 stands for the calling thread.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
