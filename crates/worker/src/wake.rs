//! Waking a worker that sleeps in [`wait`], and only then.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A worker's bell. Whoever puts something into one of its queues rings afterwards, unless it is for the next turn, whenever that is; the worker announces its sleep and looks at its queues
/// once more before it sleeps. Both sides' accesses are sequentially consistent, so either the ringer sees the sleeper or the sleeper
/// sees what was put.
#[derive(Debug)]
pub(crate) struct Wake {
    event: OwnedFd,
    asleep: AtomicBool,
}

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just opened and is nobody else's.
        let event = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { event, asleep: AtomicBool::new(false) })
    }

    /// Wakes the worker if it sleeps: a system call then, a load otherwise.
    pub(crate) fn ring(&self) {
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            let one = 1u64.to_ne_bytes();
            // SAFETY: `one` is 8 readable bytes. A failure means that the counter is full: then it is readable already.
            unsafe { libc::write(self.event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        }
    }

    /// The worker's: from now on ringing costs a system call. It must look at its queues between this and [`Wake::sleep`].
    pub(crate) fn announce(&self) {
        self.asleep.store(true, Ordering::SeqCst);
    }

    /// The worker's: sleeps until the bell, `socket` or `streams` has something, or `timeout` (`None`: for ever) is over. Whether `socket` has something, and whether
    /// `streams` has.
    pub(crate) fn sleep(&self, socket: BorrowedFd<'_>, streams: Option<BorrowedFd<'_>>, timeout: Option<Duration>) -> (bool, bool) {
        let interest = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // A negative descriptor is passed over.
        let streams = streams.map_or(-1, |streams| streams.as_raw_fd());
        let mut fds = [interest(socket.as_raw_fd()), interest(self.event.as_raw_fd()), interest(streams)];
        let count = if streams < 0 { 2 } else { 3 };
        wait(&mut fds[..count], timeout);
        self.asleep.store(false, Ordering::SeqCst);
        if fds[1].revents != 0 {
            let mut count = [0u8; 8];
            // SAFETY: `count` is 8 writable bytes. The descriptor doesn't block.
            unsafe { libc::read(self.event.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        }
        (fds[0].revents != 0, fds[2].revents != 0)
    }
}

/// `ppoll`: sleeps until one of `fds` is ready, a signal comes, or `timeout` (`None`: for ever) is over. `poll` would round to milliseconds.
pub(crate) fn wait(fds: &mut [libc::pollfd], timeout: Option<Duration>) {
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos() as _,
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `fds` is a valid array of its length, `timeout` null or valid during the call. On failure `revents` stay 0: nothing is ready.
    unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout, std::ptr::null()) };
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_sleeper_is_woken_and_the_next_sleep_is_undisturbed() {
        let wake = Arc::new(Wake::new().unwrap());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        wake.announce();
        let ringer = std::thread::spawn({
            let wake = wake.clone();
            move || wake.ring()
        });
        let before = Instant::now();
        assert_eq!(wake.sleep(socket.as_fd(), None, Some(Duration::from_secs(20))), (false, false));
        assert!(before.elapsed() < Duration::from_secs(10));
        ringer.join().unwrap();
        let before = Instant::now();
        assert_eq!(wake.sleep(socket.as_fd(), None, Some(Duration::from_millis(20))), (false, false));
        assert!(before.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn ringing_costs_no_system_call_when_nobody_sleeps() {
        let wake = Wake::new().unwrap();
        wake.ring();
        let mut fds = [libc::pollfd { fd: wake.event.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
        wait(&mut fds, Some(Duration::ZERO));
        assert_eq!(fds[0].revents, 0);
    }
}
