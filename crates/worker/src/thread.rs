//! Where threads run, who goes first when there is more work than cores, and who has to wait.

use std::time::Duration;

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

/// The calling thread, as [`wanted`] knows it.
pub(crate) fn id() -> libc::pid_t {
    // SAFETY: takes nothing and never fails.
    unsafe { libc::gettid() }
}

/// For how long a thread of this process has wanted a processor since its start: the time it ran, and the time it was ready to and had to wait (proc(5),
/// `schedstat`). `None` where the kernel doesn't count that.
pub(crate) fn wanted(thread: libc::pid_t) -> Option<Duration> {
    let counts = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    let mut nanos = counts.split_ascii_whitespace().map_while(|count| count.parse::<u64>().ok());
    let (ran, waited) = (nanos.next()?, nanos.next()?);
    // A kernel that doesn't count says that nothing ever ran.
    (ran > 0).then(|| Duration::from_nanos(ran.saturating_add(waited)))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_thread_wants_the_processor_also_while_another_has_it() {
        let (core, together) = (cores()[0], Barrier::new(3));
        let spin = || {
            stay_on(core);
            together.wait();
            let (began, before) = (Instant::now(), wanted(id())?);
            while began.elapsed() < Duration::from_millis(300) {}
            Some((wanted(id())? - before).as_secs_f64() / began.elapsed().as_secs_f64())
        };
        let rest = || {
            stay_on(core);
            together.wait();
            let (began, before) = (Instant::now(), wanted(id())?);
            std::thread::sleep(Duration::from_millis(300));
            Some((wanted(id())? - before).as_secs_f64() / began.elapsed().as_secs_f64())
        };
        let shares = std::thread::scope(|scope| {
            let threads = [scope.spawn(spin), scope.spawn(spin), scope.spawn(rest)];
            threads.map(|thread| thread.join().unwrap().expect("the kernel counts"))
        });
        // Half of it if the wait didn't count; what other machines on the same host take may not.
        assert!(shares[0] > 0.75 && shares[1] > 0.75, "two that share a core want all of it each: {shares:?}");
        assert!(shares[2] < 0.7, "who sleeps wants little: {shares:?}");
    }

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
