//! Who goes first when there is more work than cores.

/// Steps of niceness: the media threads get three times the share of a thread that has so many, and are not held up by it when they wake.
const STEPS: libc::c_int = 5;

/// Lets the media threads go before the calling thread: what a join computes in a millisecond, a packet should not wait for. Only for this
/// thread and those that it starts. It can't be taken back, and where it isn't allowed nothing changes.
pub fn yield_to_media() {
    // SAFETY: takes numbers only; 0 is the calling thread (setpriority(2), NOTES).
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, STEPS) };
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_the_calling_thread_yields() {
        // SAFETY: takes numbers only.
        let nice = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let before = nice();
        let inside = std::thread::spawn(move || {
            super::yield_to_media();
            nice()
        });
        assert_eq!(inside.join().unwrap(), super::STEPS.max(before));
        assert_eq!(nice(), before);
    }
}
