//! Where threads run, and who goes first when there is more work than cores.

/// Steps of niceness: the media threads get three times the share of a thread that has so many, and are not held up by it when they wake.
const STEPS: libc::c_int = 5;

/// Lets the media threads go before the calling thread: what a join computes in a millisecond, a packet should not wait for. Only for this
/// thread and those that it starts. It can't be taken back, and where it isn't allowed nothing changes.
pub fn yield_to_media() {
    // SAFETY: takes numbers only; 0 is the calling thread (setpriority(2), NOTES).
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, STEPS) };
}

/// The cores this process may use; none if that can't be told.
pub(crate) fn cores() -> Vec<usize> {
    // SAFETY: a C array of integers, for which zeroes are valid.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is writable for its size. Fails on machines with more cores than it has bits.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) } != 0 {
        return Vec::new();
    }
    // SAFETY: below the number of bits in the set.
    (0..libc::CPU_SETSIZE as usize).filter(|core| unsafe { libc::CPU_ISSET(*core, &set) }).collect()
}

/// Keeps the calling thread on one of [`cores`]. If the kernel refuses, it moves about as before.
pub(crate) fn stay_on(core: usize) {
    // SAFETY: a C array of integers, for which zeroes are valid.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `cores` gives numbers below the number of bits in the set; `set` is readable for its size.
    unsafe {
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_where_it_is_told_to() {
        let all = cores();
        assert!(!all.is_empty());
        let last = all[all.len() - 1];
        let within = std::thread::spawn(move || {
            stay_on(last);
            cores()
        });
        assert_eq!(within.join().unwrap(), [last]);
        assert_eq!(cores(), all, "and no other thread with it");
    }

    #[test]
    fn only_the_calling_thread_yields() {
        // SAFETY: takes numbers only.
        let nice = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let before = nice();
        let inside = std::thread::spawn(move || {
            yield_to_media();
            nice()
        });
        assert_eq!(inside.join().unwrap(), STEPS.max(before));
        assert_eq!(nice(), before);
    }
}
